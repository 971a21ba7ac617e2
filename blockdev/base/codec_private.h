/* codec_private.h: between the files of the codecs (codec*.c); the format is in codec_format.h. */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_PRIVATE_H
#define MOTE_BLOCKDEV_BASE_CODEC_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/codec.h"
#include "blockdev/base/codec_format.h"

/* What the values of a stream are. */
enum codec_kind { KIND_U8, KIND_U32, KIND_I32, KIND_I64, KIND_TIME, KIND_F32, KIND_F64 };

static inline uint32_t codec_kind_bytes(enum codec_kind kind)
{
    return kind == KIND_U8 ? 1 : kind == KIND_U32 || kind == KIND_I32 || kind == KIND_F32 ? 4 : 8;
}

enum { CHUNK_BYTES_MAX = CODEC_CHUNK_HEADER_BYTES + CODEC_CHUNK_VALUES * 8 };

/* Arrays for one chunk; the fixed part of the scratch. */
struct codec_work {
    uint64_t bits[CODEC_CHUNK_VALUES];     /* the values' bit patterns, zero-extended (KIND_I32: sign-extended) */
    double floats[CODEC_CHUNK_VALUES];     /* the values of a float chunk */
    int64_t integers[CODEC_CHUNK_VALUES];  /* what is coded instead of them */
    uint64_t packs[3][CODEC_CHUNK_VALUES]; /* by FOR, DELTA, DOD: the numbers to pack, before their base is taken off */
    double samples[256];
    uint16_t exceptions[CODEC_CHUNK_VALUES];
    uint8_t candidate[CHUNK_BYTES_MAX]; /* the best chunk so far; sizes are known before a better one overwrites it */
    uint8_t padded[CODEC_GROUP_VALUES * 8 + 16];
};

/* How a sequence of integers is best coded. */
struct integer_plan {
    uint32_t codec;    /* CODEC_FOR, DELTA, DOD */
    uint32_t power;    /* of ten, divided out */
    uint32_t count;    /* numbers to pack */
    uint32_t bytes;    /* of all that codec_write_integers writes */
    uint64_t base;     /* stored */
    uint64_t subtract; /* taken off the numbers to pack: base, or 0 where that has been done */
    int64_t first, first_delta;
    const uint64_t *numbers;
    uint8_t widths[CODEC_GROUPS_MAX];
};

/* codec_bits.c. count values (at most 64) of width bits; both return the bytes: (count * width + 7) / 8. */
size_t codec_pack(const uint64_t *numbers, uint32_t count, uint64_t subtract, uint32_t width, uint8_t *out);
/* readable_bytes: what may be read at in, at least the group. padded: as codec_work.padded. */
size_t codec_unpack(const uint8_t *in, size_t readable_bytes, uint32_t count, uint32_t width, uint64_t *numbers, uint8_t *padded);

/* codec_integers.c. divide: look for a common power of ten. The plan points into work->packs. */
void codec_plan_integers(struct codec_work *work, const int64_t *integers, uint32_t count, bool divide, struct integer_plan *plan);
void codec_write_integers(const struct integer_plan *plan, uint8_t *out);
bool codec_read_integers(struct byte_reader *reader, uint32_t codec, uint32_t power, uint32_t count, struct codec_work *work,
                         int64_t *integers);

/* codec_floats.c. Looks for a chunk smaller than best_bytes for work->floats and work->bits, writes it to work->candidate and returns its
 * size (header included), or returns best_bytes. is_f64: bits are 64 wide; narrow: they are 32 wide though the stream is float64. */
uint32_t codec_encode_floats(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, uint32_t best_bytes);
/* A chunk header, decoded. */
struct chunk_header {
    uint32_t codec, inner, power, exception_count, payload_bytes;
    bool narrow;
};
void codec_store_chunk_header(uint8_t *out, const struct chunk_header *header);
/* Decodes the payload of ALP, SCALED, FOR, DELTA, DOD into bit patterns of is_f64 ? 64 : 32 bits. */
bool codec_decode_floats(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, uint32_t count,
                         bool is_f64, uint64_t *bits);

/* codec_scale.c. The scale of which the values are integer multiples, if there seems to be one. */
bool codec_find_scale(struct codec_work *work, uint32_t count, bool is_f64, double *scale);

/* codec_stream.c. stride_bytes: from one value to the next. */
void codec_encode_stream(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, size_t count,
                         struct byte_writer *writer);
bool codec_decode_stream(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t count, uint8_t *values,
                         size_t stride_bytes);

/* codec_section.c. unit_bytes: the size of one value, for CONSTANT; 0: unknown. trial: size_bytes of room; state: codec_state_bytes(). */
size_t codec_state_bytes(void);
void codec_encode_section(const uint8_t *data, size_t size_bytes, size_t unit_bytes, uint32_t compression, uint8_t *trial, void *state,
                          struct byte_writer *writer);
bool codec_decode_section(struct byte_reader *reader, uint8_t *data, size_t size_bytes, void *state);

/* Integers, as the codecs turn floats into them and back; encoder and decoder share these so that they cannot differ. */
extern const double codec_powers_of_ten[CODEC_ALP_POWER_MAX + 1];

static inline uint64_t bits_of_double(double value) { uint64_t bits; memcpy(&bits, &value, 8); return bits; }
static inline double double_of_bits(uint64_t bits) { double value; memcpy(&value, &bits, 8); return value; }
static inline uint32_t bits_of_float(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
static inline float float_of_bits(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
/* The nearest integer; any value beyond 2^51 (its callers check what comes back). 1.5 * 2^52 pushes the fraction out of the mantissa. */
static inline int64_t nearest_integer(double value)
{
    const double shifter = 6755399441055744.0;
    return (int64_t)(bits_of_double(value + shifter) - bits_of_double(shifter));
}
static inline uint64_t alp_bits(int64_t integer, double ten_power, bool is_f64)
{
    double value = (double)integer / ten_power;
    return is_f64 ? bits_of_double(value) : bits_of_float((float)value);
}
static inline uint64_t scaled_bits(int64_t integer, double scale, bool is_f64)
{
    double value = (double)integer * scale;
    return is_f64 ? bits_of_double(value) : bits_of_float((float)value);
}

#endif
