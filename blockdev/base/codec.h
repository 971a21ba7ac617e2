/* codec.h: the column codecs that the log, the tables and the indexes share: a vector of typed values in, the smallest encoding that a
 * bounded trial finds out, and back, bit for bit: NaN payloads, -0.0, infinities and INT64_MIN come back as they went in.
 *
 * The encoding is described in codec_format.h. It carries its own lengths and type but no checksum: the structure around it (a block, a
 * frame) has one. All the same codec_decode trusts nothing: hostile bytes give MOTE_EDAMAGED or some values, never an access out of bounds.
 *
 * NULLs: only the values that are not NULL are stored. What lies in the slot of a NULL is ignored on encode and is zero (text and blob:
 * empty) on decode.
 * Memory: none is allocated; scratch comes from the caller (codec_scratch_bytes, 16-byte aligned), serves encode and decode, and carries
 * nothing from call to call. Threads: any number, each with its own scratch. No call blocks or enters the kernel.
 * The floating-point rounding mode must be the default (to nearest, even) in encode and decode.
 */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_H
#define MOTE_BLOCKDEV_BASE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a chunk of up to 1024 values (or the bytes of a column) is stored; the numbers are on the device. */
enum codec_id {
    CODEC_RAW = 0,      /* as it is */
    CODEC_CONSTANT = 1, /* all values equal */
    CODEC_FOR = 2,      /* integers, float bit patterns: frame of reference, bit-packed */
    CODEC_DELTA = 3,    /* the same: differences, zigzag, FOR */
    CODEC_DOD = 4,      /* timestamps: differences of differences, zigzag, FOR */
    CODEC_ALP = 5,      /* floats that are decimals: integer / 10^p by FOR or DELTA, and exceptions */
    CODEC_SCALED = 6,   /* floats that are integer multiples of one scale: by FOR or DELTA, and exceptions */
    CODEC_LZ4 = 7,      /* bytes */
    CODEC_ZSTD = 8,     /* bytes */
    CODEC_BITMAP = 9,   /* bools, one bit each */
    CODEC_ID_COUNT = 10,
};

/* Values of text_compression, as in mote_options.compression. */
enum { CODEC_TEXT_DEFAULT = 0 /* LZ4 */, CODEC_TEXT_NONE = 1, CODEC_TEXT_LZ4 = 2, CODEC_TEXT_ZSTD = 3 };

enum {
    CODEC_COUNT_MAX = 1 << 20,        /* values of one vector */
    CODEC_VALUE_BYTES_MAX = 1 << 28,  /* bytes of all its values */
    CODEC_HEADER_BYTES = 16,
};

/* A vector of values, laid out as struct mote_column (include/mote.h): fixed types contiguous, text and blob through offsets[count + 1]
 * (ascending, offsets[0] may be above 0), validity NULL or a bitmap, least significant bit first. */
struct codec_vector {
    uint32_t type;      /* enum mote_type */
    uint32_t dimension; /* of the vector types; else ignored */
    uint32_t count;
    const void *values;
    const uint32_t *offsets;
    const uint8_t *validity;
};

/* Bytes of one value of a fixed type (vectors: all elements; point3: 24); 0 for text, blob, an unknown type or a dimension out of range. */
size_t codec_value_bytes(uint32_t type, uint32_t dimension);

/* Bytes of the values of v: count times the value's size, or offsets[count] - offsets[0]. */
size_t codec_vector_bytes(const struct codec_vector *v);

/* No encoding of v is larger. */
size_t codec_encode_bound(const struct codec_vector *v);

/* Scratch that serves every codec_encode and codec_decode of at most count_max values with at most value_bytes_max bytes in all.
 * That is 2 * value_bytes_max + 4 * count_max + about 1 MiB (of which ZSTD is the most), and grows with both. */
size_t codec_scratch_bytes(uint32_t count_max, uint32_t value_bytes_max);

/* What the encoder remembers of a column from one call to the next, so that it need not search again: the caller's, one for each column that is encoded block by block, zeros at first, and then what codec_encode_hinted
 * made of it. The encoding tells all that decoding needs. */
struct codec_hint {
    uint8_t method, power, inner;
    bool half, narrow, is_f64;
    uint8_t signs;                        /* that another method might be better, which the last search did not confirm */
    uint8_t patience, patience_set;       /* chunks in which signs of a change are passed over; that number when it was set */
    uint8_t scale_pause, scale_pause_set; /* searches that do not look for a scale; that number when it was set */
    uint16_t wait, pause;                 /* chunks until the next full search; that number when it was set */
    uint32_t chunk_bytes;
    double scale;
};

/* Picks the smallest codec by trial (cheap estimators first) and writes header and payload to out. text_compression: CODEC_TEXT_...
 * Returns the size in bytes, or MOTE_EINVAL (type, dimension, count or offsets out of range), MOTE_ETOOBIG (out_capacity below what is
 * needed: codec_encode_bound is always enough; values beyond CODEC_VALUE_BYTES_MAX), MOTE_EBUDGET (scratch too small). */
int64_t codec_encode(const struct codec_vector *v, uint32_t text_compression, void *out, size_t out_capacity, void *scratch,
                     size_t scratch_bytes);
/* The same with a hint; NULL: none. */
int64_t codec_encode_hinted(const struct codec_vector *v, uint32_t text_compression, struct codec_hint *hint, void *out, size_t out_capacity, void *scratch, size_t scratch_bytes);

/* What an encoding says of itself. */
struct codec_info {
    uint32_t type;          /* enum mote_type */
    uint32_t count;         /* values, NULLs included */
    uint32_t values_bytes;  /* what codec_decode needs as values_capacity */
    uint32_t encoded_bytes; /* header and payload */
    uint32_t codec;         /* enum codec_id of its first chunk; for printing */
    bool has_nulls;
};

/* Reads and checks the header of an encoding that begins at in; MOTE_EDAMAGED. It may be followed by other bytes (in_bytes is a bound). */
int codec_inspect(const void *in, size_t in_bytes, struct codec_info *info);

/* Decodes an encoding that begins at in into the caller's memory and checks that it is of this type, dimension and count.
 *   values          at least what codec_info.values_bytes says, any alignment
 *   offsets         count + 1 for text and blob (offsets[0] = 0), else ignored
 *   validity        (count + 7) / 8 bytes; all bits of the rows set when there is no NULL. NULL allowed if the caller refuses NULLs: an
 *                   encoding with NULLs is then MOTE_EDAMAGED
 *   has_nulls, values_bytes   may be NULL
 * Returns 0, MOTE_EDAMAGED (also: values_capacity too small for what the header says, or another type), MOTE_EBUDGET (scratch too small).
 * The caller adds the place to the error (error_add_device). */
int codec_decode(const void *in, size_t in_bytes, uint32_t type, uint32_t dimension, uint32_t count, void *values, size_t values_capacity,
                 uint32_t *offsets, uint8_t *validity, bool *has_nulls, size_t *values_bytes, void *scratch, size_t scratch_bytes);

/* Decodes the values at the indexes from `first` to before `end` only, to values (codec_value_bytes each, that of first in front): by their groups of 64, and the groups before them where values are coded as differences. As codec_decode,
 * but 1: done; 0: not in this way (NULLs, vectors, points, text and blobs): decode all. Damage in what it does not read it does not see. */
int codec_decode_rows(const void *in, size_t in_bytes, uint32_t type, uint32_t count, uint32_t first, uint32_t end, void *values, void *scratch, size_t scratch_bytes);

/* Zone map of a vector. Integers, timestamps and bools fill the i64 members, floats the f64 members; other types the counts only. */
struct codec_stats {
    uint64_t count;      /* values that are not NULL */
    uint64_t null_count;
    uint64_t nan_count;  /* floats: not in min, max and sum */
    int64_t min_i64, max_i64; /* min > max: no value */
    int64_t sum_i64;     /* 0 if sum_overflow */
    double min_f64, max_f64;  /* min > max: no value. Of -0.0 and 0.0 either may stand for both */
    double sum_f64;      /* eight partial sums, number i over the rows i, i + 8, i + 16, ... in their order, NULLs and NaN left out; then ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)) */
    bool is_float;
    bool sum_overflow;   /* sum_i64 does not hold the sum */
};
void codec_stats(const struct codec_vector *v, struct codec_stats *out);

/* The name of a codec, for printing: "raw", "alp", ...; "?" for an unknown one. */
const char *codec_name(uint32_t codec);

#endif
