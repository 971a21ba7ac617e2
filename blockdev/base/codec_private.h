/* codec_private.h: between the files of the codecs (codec*.c); the format is in codec_format.h, the inner loops in codec_kernels.h. */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_PRIVATE_H
#define MOTE_BLOCKDEV_BASE_CODEC_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/codec.h"
#include "blockdev/base/codec_format.h"
#include "blockdev/base/codec_kernels.h"

/* What the values of a stream are. */
enum codec_kind { KIND_U8, KIND_U32, KIND_I32, KIND_I64, KIND_TIME, KIND_F32, KIND_F64 };

static inline uint32_t codec_kind_bytes(enum codec_kind kind)
{
    return kind == KIND_U8 ? 1 : kind == KIND_U32 || kind == KIND_I32 || kind == KIND_F32 ? 4 : 8;
}
static inline bool codec_kind_is_float(enum codec_kind kind) { return kind == KIND_F32 || kind == KIND_F64; }

enum { CHUNK_BYTES_MAX = CODEC_CHUNK_HEADER_BYTES + CODEC_CHUNK_VALUES * 8, CODEC_FRONT_WORDS = 8 };

/* Arrays for one chunk; the fixed part of the scratch. Those of 64-bit words hold 32-bit ones as well. Each is a multiple of 64 bytes, so that vectors do not straddle cache lines. */
struct codec_work {
    uint64_t bits[CODEC_CHUNK_VALUES];    /* the values' bit patterns: 32 bits each, or 64. Whole groups: filled up with the last value. While decoding: those that do not go straight to the caller */
    uint64_t front[CODEC_FRONT_WORDS];    /* integers[-1] and [-2] are written while planning */
    uint64_t integers[CODEC_CHUNK_VALUES]; /* what is coded instead of them */
    uint64_t quotients_front[CODEC_FRONT_WORDS];
    uint64_t quotients[CODEC_CHUNK_VALUES]; /* what is coded instead of those */
    uint64_t packs[2][CODEC_CHUNK_VALUES];  /* first and second differences */
    uint64_t misses[CODEC_GROUPS_MAX];      /* a bit for each value that its integer does not give back */
    double samples[256];
    uint16_t exceptions[CODEC_CHUNK_VALUES];
    uint8_t candidate[CHUNK_BYTES_MAX + 56]; /* the best chunk so far; sizes are known before a better one overwrites it */
    uint8_t padded[2 * (CODEC_GROUP_VALUES * 8 + CODEC_UNPACK_SLACK_BYTES)]; /* while decoding: the last groups, and zeros behind them */
    uint64_t group[CODEC_GROUP_VALUES]; /* one group of which a part is wanted */
    const uint8_t *readable_end; /* of the memory in which the encoding lies */
    const uint64_t *floats; /* while encoding: work->bits, or the caller's own values where they are whole groups */
    const struct codec_kernels *kernels;
};

/* How a sequence of integers is best coded. */
struct integer_plan {
    uint32_t codec; /* CODEC_FOR, DELTA, DOD */
    uint32_t power; /* of ten, divided out */
    uint32_t count;
    uint32_t bytes; /* of all that codec_write_integers writes */
    bool wide;      /* 64 bits, else 32 */
    uint64_t origin, first, first_delta, base;
    void *numbers;  /* to pack, before their base is taken off; whole groups of room */
    uint8_t widths[CODEC_GROUPS_MAX];
};

/* Whether DOD is among what a plan looks at: where a sample of the values promises something, never, always. */
enum plan_seconds { SECONDS_SAMPLED, SECONDS_NEVER, SECONDS_ALWAYS };

/* codec_integers.c. values: 64 bits each if wide, else 32; whole groups of room, filled up with the last value; values[-1] and [-2] are written. divide: look for a common power of ten. The plan points into work. */
void codec_plan_integers(struct codec_work *work, void *values, bool wide, uint32_t count, bool divide, enum plan_seconds seconds, struct integer_plan *plan);
void codec_write_integers(const struct codec_work *work, const struct integer_plan *plan, uint8_t *out);

/* A chunk header, decoded. */
struct chunk_header {
    uint32_t codec, inner, power, exception_count, payload_bytes;
    bool narrow, half;
};

/* codec_floats.c. Writes the smallest chunk that it finds for work->floats (64 bits each if is_f64, else 32) to work->candidate and returns its size, header included. narrow: the stream is float64, but its values are float32. */
uint32_t codec_encode_floats(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, struct codec_hint *hint);
void codec_store_chunk_header(uint8_t *out, const struct chunk_header *header);

/* The rows of a chunk of `count` values that are decoded: from `from` to before `to`, to out, of any alignment: words of 32 bits, or 64. */
struct chunk_rows {
    uint32_t count, from, to;
    uint8_t *out;
};

/* codec_decode.c: the payload of FOR, DELTA, DOD of integers; of ALP, SCALED, FOR, DELTA, DOD of floats. */
bool codec_decode_integers(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, bool wide, const struct chunk_rows *rows);
bool codec_decode_floats(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, bool is_f64, const struct chunk_rows *rows);

/* codec_scale.c. The scale of which the values (work->floats) are integer multiples, if there seems to be one. */
bool codec_find_scale(struct codec_work *work, uint32_t count, bool is_f64, double *scale);
/* Whether a few values look as if they had one; cheap, and may be wrong. */
bool codec_seems_scaled(struct codec_work *work, uint32_t count, bool is_f64);

/* codec_stream.c. stride_bytes: from one value to the next. Before decoding: work->readable_end. */
void codec_encode_stream(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, size_t count, struct codec_hint *hint, struct byte_writer *writer);
bool codec_decode_stream(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t count, uint8_t *values, size_t stride_bytes);
/* Only the values from `first` to before `end`; that of first goes to values. What lies behind their chunks is not read. */
bool codec_decode_stream_rows(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t first, size_t end, size_t count, uint8_t *values, size_t stride_bytes);

/* codec_section.c. unit_bytes: the size of one value, for CONSTANT; 0: unknown. trial: size_bytes of room; state: codec_state_bytes(). */
size_t codec_state_bytes(void);
void codec_encode_section(const uint8_t *data, size_t size_bytes, size_t unit_bytes, uint32_t compression, uint8_t *trial, void *state,
                          struct byte_writer *writer);
bool codec_decode_section(struct byte_reader *reader, uint8_t *data, size_t size_bytes, void *state);

extern const uint64_t codec_integer_powers_of_ten[CODEC_TEN_POWER_MAX + 1];
extern const double codec_powers_of_ten[CODEC_ALP_POWER_MAX + 1];

static inline double codec_load_float(const struct codec_work *work, uint32_t i, bool is_f64)
{
    return is_f64 ? double_of_bits(work->floats[i]) : (double)float_of_bits(((const uint32_t *)work->floats)[i]);
}

#endif
