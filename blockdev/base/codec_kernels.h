/* codec_kernels.h: the inner loops of the codecs, of which there is a portable set and one for each instruction set that pays; codec_kernels() chooses at run time. Private to codec*.c.
 *
 * Every set gives the same results bit for bit: integers are modulo their width, and each float expression is one IEEE operation at a time, in a stated order, never fused.
 * Arrays: `groups` groups of 64 values, all readable and writable to the end of the last group, aligned to 16 bytes or more. Threads: pure functions. */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_KERNELS_H
#define MOTE_BLOCKDEV_BASE_CODEC_KERNELS_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/codec_format.h"

/* The least of a sequence, and the most of each of its groups. Values are compared as signed, zigzag differences as unsigned numbers; 32-bit ones are zero-extended here. */
struct codec_range {
    uint64_t least;
    uint64_t most[CODEC_GROUPS_MAX];
};

/* What codec_stats needs of at most CODEC_COUNT_MAX fixed values without NULLs. Integers: in i64; the sum is sum_low + 2^32 sum_high. Floats: in f64, -0.0 as 0.0; the sum is eight partial sums in double precision, number i over the values at i, i + 8, i + 16, ..., in that
 * order, combined as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)); NaN is left out. Without a value: least > most. */
struct codec_summary {
    int64_t least_i64, most_i64;
    int64_t sum_low, sum_high;
    double least_f64, most_f64, sum_f64;
    uint64_t nan_count;
};

enum {
    CODEC_UNPACK_SLACK_BYTES = 64, /* what unpack may read behind the group's bytes */
    CODEC_PACK_SLACK_BYTES = 16,   /* what pack may write behind them */
};

/* What becomes of decoded integers. 64-bit ones count as the doubles that their sum with 1.5 * 2^52 in bits, less 1.5 * 2^52, makes: themselves up to 2^51. */
enum codec_conversion {
    CODEC_CONVERT_NONE,
    CODEC_CONVERT_PATTERNS,       /* bit patterns of floats of as many bits, shifted left by `shift`, the bits below the sign inverted in negative ones */
    CODEC_CONVERT_DECIMALS,       /* integer / factor: of 32 bits float32, by one division of float32 (of the nearest to both); of 64 bits float64 */
    CODEC_CONVERT_DECIMALS_EXACT, /* of 32 bits: float32, by one division of float64 and then rounded */
    CODEC_CONVERT_DECIMALS_F64,   /* of 32 bits: float64 */
    CODEC_CONVERT_SCALED,         /* integer * factor in float64: of 32 bits rounded to float32, of 64 bits float64 */
    CODEC_CONVERT_SCALED_F64,     /* of 32 bits: float64 */
    CODEC_CONVERSION_COUNT,
};

/* A sequence of packed groups, and where in it the decoding stands. */
struct codec_packed {
    const uint8_t *in;     /* the next group: 8 * its width bytes (codec_format.h) */
    const uint8_t *widths; /* its width, at most those of the lane, and those of the groups behind it */
    uint32_t order;        /* 0: the numbers themselves (FOR), 1: zigzag differences (DELTA), 2: differences of these (DOD) */
    uint32_t conversion;   /* enum codec_conversion */
    uint32_t shift;
    uint64_t base;
    uint64_t first, first_delta; /* the integer and the difference before the next group */
    double factor;
};

struct codec_kernels {
    const char *name;

    /* deltas[i] = zigzag(values[i] - values[i - 1]), from i = 0 on: values[-1] is read. */
    void (*scan_32)(const uint32_t *values, uint32_t groups, uint32_t *deltas, struct codec_range *value_range, struct codec_range *delta_range);
    void (*scan_64)(const uint64_t *values, uint32_t groups, uint64_t *deltas, struct codec_range *value_range, struct codec_range *delta_range);
    /* deltas[i] = zigzag(values[i] - 2 values[i - 1] + values[i - 2]): values[-1] and values[-2] are read. */
    void (*scan_second_32)(const uint32_t *values, uint32_t groups, uint32_t *deltas, struct codec_range *delta_range);
    void (*scan_second_64)(const uint64_t *values, uint32_t groups, uint64_t *deltas, struct codec_range *delta_range);
    /* Packs eights * 8 numbers, less `subtract`, in width bits each: eights * width bytes. */
    void (*pack_32)(const uint32_t *numbers, uint32_t subtract, uint32_t eights, uint32_t width, uint8_t *out);
    void (*pack_64)(const uint64_t *numbers, uint64_t subtract, uint32_t eights, uint32_t width, uint8_t *out);
    /* Decodes the next `groups` whole groups to out, of any alignment: 64 values each. NULL: passes over them. What lies behind the groups' bytes is read: CODEC_UNPACK_SLACK_BYTES. decode_64: not the conversions from 32 bits to float64. */
    void (*decode_32)(struct codec_packed *packed, uint32_t groups, void *out);
    void (*decode_64)(struct codec_packed *packed, uint32_t groups, void *out);
    /* quotients = (values - values[0]) / ten_power, which is at most 10^15. False, and any quotients, if one is not whole or a difference is beyond 2^51. */
    bool (*divide_64)(const uint64_t *values, uint32_t groups, double ten_power, uint64_t *quotients);

    /* Floats to integers: value * factor, rounded to nearest, even. Bit i % 64 of misses[i / 64]: the integer does not give the value back by the conversion of the same divisor or scale.
     * decimals_f32: by float arithmetic, the others by double; f32 and half: 32-bit integers, INT32_MIN where they do not hold the product (decimals_f32: beyond 2^24). */
    void (*decimals_f32)(const uint32_t *bits, uint32_t groups, float ten_power, uint32_t *integers, uint64_t *misses);
    void (*decimals_f32_exact)(const uint32_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses);
    void (*decimals_f64_half)(const uint64_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses);
    void (*decimals_f64)(const uint64_t *bits, uint32_t groups, double ten_power, uint64_t *integers, uint64_t *misses);
    void (*scaled_f32)(const uint32_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses);
    void (*scaled_f64_half)(const uint64_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses);
    void (*scaled_f64)(const uint64_t *bits, uint32_t groups, double scale, uint64_t *integers, uint64_t *misses);

    /* Any count, any alignment. */
    void (*sum_i32)(const void *values, size_t count, struct codec_summary *out);
    void (*sum_i64)(const void *values, size_t count, struct codec_summary *out);
    void (*sum_f32)(const void *values, size_t count, struct codec_summary *out);
    void (*sum_f64)(const void *values, size_t count, struct codec_summary *out);
};

/* The fastest set for this processor. */
const struct codec_kernels *codec_kernels(void);
/* All sets that this processor can run, for tests: the portable one first; at most 4. Returns how many. */
size_t codec_kernels_all(const struct codec_kernels *all[4]);

extern const struct codec_kernels codec_kernels_portable;
#if defined(__x86_64__)
extern const struct codec_kernels codec_kernels_avx2, codec_kernels_avx512;
#endif

/* codec_bits.c, for the sets that have nothing better. */
void codec_pack_portable(const uint64_t *numbers, uint64_t subtract, uint32_t eights, uint32_t width, uint8_t *out);
void codec_unpack_portable(const uint8_t *in, uint32_t width, uint64_t add, uint64_t *numbers);

static inline uint64_t bits_of_double(double value) { uint64_t bits; memcpy(&bits, &value, 8); return bits; }
static inline double double_of_bits(uint64_t bits) { double value; memcpy(&value, &bits, 8); return value; }
static inline uint32_t bits_of_float(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
static inline float float_of_bits(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }

/* 1.5 * 2^52: added to a double below 2^51 it pushes the fraction out of the mantissa, which then holds the nearest integer. */
#define CODEC_SHIFTER 6755399441055744.0
static inline int64_t nearest_integer(double value)
{
    return (int64_t)(bits_of_double(value + CODEC_SHIFTER) - bits_of_double(CODEC_SHIFTER));
}
static inline double double_of_integer(uint64_t integer)
{
    return double_of_bits(integer + bits_of_double(CODEC_SHIFTER)) - CODEC_SHIFTER;
}
static inline uint32_t zigzag_32(uint32_t value) { return value << 1 ^ (uint32_t)((int32_t)value >> 31); }
static inline uint32_t unzigzag_32(uint32_t value) { return value >> 1 ^ (0 - (value & 1)); }
static inline uint64_t zigzag_64(uint64_t value) { return value << 1 ^ (uint64_t)((int64_t)value >> 63); }
static inline uint64_t unzigzag_64(uint64_t value) { return value >> 1 ^ (0 - (value & 1)); }
/* One NaN for all: the one that infinity - infinity gives has its sign set on x86-64 and not on aarch64. */
static inline double codec_one_nan(double value) { return value == value ? value : double_of_bits(UINT64_C(0x7FF8000000000000)); }
/* The partial sums of codec_summary, combined. */
static inline double codec_combine_sums(const double *s) { return codec_one_nan(((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))); }

#endif
