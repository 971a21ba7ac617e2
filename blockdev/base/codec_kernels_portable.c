/* codec_kernels_portable.c: the inner loops in plain C (codec_kernels.h): the reference for the other sets, and on aarch64, where NEON is part of every processor, what the compiler turns into NEON instructions: all loops run over whole
 * groups of 64, and those with a reduction keep separate lanes. */
#include "blockdev/base/codec_kernels.h"

#include <math.h>

enum { GROUP = CODEC_GROUP_VALUES, LANES = 8 };

#define DEFINE_SCAN(bits)                                                                                                                                                                                  \
    static void scan_##bits(const uint##bits##_t *values, uint32_t groups, uint##bits##_t *deltas, struct codec_range *value_range, struct codec_range *delta_range)                                       \
    {                                                                                                                                                                                                      \
        int##bits##_t least = INT##bits##_MAX;                                                                                                                                                             \
        uint##bits##_t delta_least = UINT##bits##_MAX;                                                                                                                                                     \
        for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {                                                                                                              \
            int##bits##_t most = INT##bits##_MIN;                                                                                                                                                          \
            uint##bits##_t delta_most = 0;                                                                                                                                                                 \
            for (int i = 0; i < GROUP; i++) {                                                                                                                                                              \
                int##bits##_t value = (int##bits##_t)values[i];                                                                                                                                            \
                uint##bits##_t delta = zigzag_##bits(values[i] - values[i - 1]);                                                                                                                           \
                deltas[i] = delta;                                                                                                                                                                         \
                least = value < least ? value : least;                                                                                                                                                     \
                most = value > most ? value : most;                                                                                                                                                        \
                delta_least = delta < delta_least ? delta : delta_least;                                                                                                                                   \
                delta_most = delta > delta_most ? delta : delta_most;                                                                                                                                      \
            }                                                                                                                                                                                              \
            value_range->most[group] = (uint##bits##_t)most;                                                                                                                                               \
            delta_range->most[group] = delta_most;                                                                                                                                                         \
        }                                                                                                                                                                                                  \
        value_range->least = (uint##bits##_t)least;                                                                                                                                                        \
        delta_range->least = delta_least;                                                                                                                                                                  \
    }                                                                                                                                                                                                      \
    static void scan_second_##bits(const uint##bits##_t *values, uint32_t groups, uint##bits##_t *deltas, struct codec_range *delta_range)                                                                 \
    {                                                                                                                                                                                                      \
        uint##bits##_t delta_least = UINT##bits##_MAX;                                                                                                                                                     \
        for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {                                                                                                              \
            uint##bits##_t delta_most = 0;                                                                                                                                                                 \
            for (int i = 0; i < GROUP; i++) {                                                                                                                                                              \
                uint##bits##_t delta = zigzag_##bits(values[i] - 2 * values[i - 1] + values[i - 2]);                                                                                                       \
                deltas[i] = delta;                                                                                                                                                                         \
                delta_least = delta < delta_least ? delta : delta_least;                                                                                                                                   \
                delta_most = delta > delta_most ? delta : delta_most;                                                                                                                                      \
            }                                                                                                                                                                                              \
            delta_range->most[group] = delta_most;                                                                                                                                                         \
        }                                                                                                                                                                                                  \
        delta_range->least = delta_least;                                                                                                                                                                  \
    }                                                                                                                                                                                                      \
    static void integrate_##bits(uint##bits##_t *numbers, uint##bits##_t first, bool zigzag)                                                                                                               \
    {                                                                                                                                                                                                      \
        if (zigzag) {                                                                                                                                                                                      \
            for (int i = 0; i < GROUP; i++)                                                                                                                                                                 \
                numbers[i] = first += unzigzag_##bits(numbers[i]);                                                                                                                                         \
        } else {                                                                                                                                                                                           \
            for (int i = 0; i < GROUP; i++)                                                                                                                                                                 \
                numbers[i] = first += numbers[i];                                                                                                                                                          \
        }                                                                                                                                                                                                  \
    }

DEFINE_SCAN(32)
DEFINE_SCAN(64)

static void pack_32(const uint32_t *numbers, uint32_t subtract, uint32_t eights, uint32_t width, uint8_t *out)
{
    uint64_t wide[GROUP];
    for (uint32_t i = 0; i < eights * 8; i++)
        wide[i] = numbers[i] - subtract;
    codec_pack_portable(wide, 0, eights, width, out);
}

static void unpack_32(const uint8_t *in, uint32_t width, uint32_t add, uint32_t *numbers)
{
    uint64_t wide[GROUP];
    codec_unpack_portable(in, width, add, wide);
    for (int i = 0; i < GROUP; i++)
        numbers[i] = (uint32_t)wide[i];
}

static void unpack_64(const uint8_t *in, uint32_t width, uint64_t add, uint64_t *numbers) { codec_unpack_portable(in, width, add, numbers); }

static bool divide_64(const uint64_t *values, uint32_t groups, double ten_power, uint64_t *quotients)
{
    const double inverse = 1 / ten_power;
    const uint64_t first = values[0];
    for (uint32_t group = 0; group < groups; group++, values += GROUP, quotients += GROUP) {
        uint64_t wrong = 0;
        for (int i = 0; i < GROUP; i++) {
            uint64_t difference = values[i] - first;
            double exact = double_of_integer(difference), quotient = double_of_integer((uint64_t)nearest_integer(exact * inverse));
            quotients[i] = (uint64_t)nearest_integer(quotient);
            wrong |= (bits_of_double(quotient * ten_power + CODEC_SHIFTER) - bits_of_double(CODEC_SHIFTER)) ^ difference;
            wrong |= (difference + (1ull << 50)) >> 51;
        }
        if (wrong)
            return false;
    }
    return true;
}

/* ---- Floats ---- */

static inline int32_t nearest_int32(double value)
{
    int64_t integer = fabs(value) < 0x1p32 ? nearest_integer(value) : INT32_MIN;
    return integer >= INT32_MIN && integer <= INT32_MAX ? (int32_t)integer : INT32_MIN;
}

static void decimals_f32(const uint32_t *bits, uint32_t groups, float ten_power, uint32_t *integers, uint64_t *misses)
{
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            float product = float_of_bits(bits[i]) * ten_power;
            int32_t integer = fabsf(product) <= 0x1p24f ? (int32_t)nearest_integer((double)product) : INT32_MIN;
            integers[i] = (uint32_t)integer;
            missed |= (uint64_t)(bits_of_float((float)integer / ten_power) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void decimals_f32_exact(const uint32_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses)
{
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t integer = nearest_int32((double)float_of_bits(bits[i]) * ten_power);
            integers[i] = (uint32_t)integer;
            missed |= (uint64_t)(bits_of_float((float)((double)integer / ten_power)) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void decimals_f64_half(const uint64_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses)
{
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t integer = nearest_int32(double_of_bits(bits[i]) * ten_power);
            integers[i] = (uint32_t)integer;
            missed |= (uint64_t)(bits_of_double((double)integer / ten_power) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void decimals_f64(const uint64_t *bits, uint32_t groups, double ten_power, uint64_t *integers, uint64_t *misses)
{
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            integers[i] = (uint64_t)nearest_integer(double_of_bits(bits[i]) * ten_power);
            missed |= (uint64_t)(bits_of_double(double_of_integer(integers[i]) / ten_power) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void scaled_f32(const uint32_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses)
{
    double inverse = 1 / scale;
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t integer = nearest_int32((double)float_of_bits(bits[i]) * inverse);
            integers[i] = (uint32_t)integer;
            missed |= (uint64_t)(bits_of_float((float)((double)integer * scale)) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void scaled_f64_half(const uint64_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses)
{
    double inverse = 1 / scale;
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t integer = nearest_int32(double_of_bits(bits[i]) * inverse);
            integers[i] = (uint32_t)integer;
            missed |= (uint64_t)(bits_of_double((double)integer * scale) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

static void scaled_f64(const uint64_t *bits, uint32_t groups, double scale, uint64_t *integers, uint64_t *misses)
{
    double inverse = 1 / scale;
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i++) {
            integers[i] = (uint64_t)nearest_integer(double_of_bits(bits[i]) * inverse);
            missed |= (uint64_t)(bits_of_double(double_of_integer(integers[i]) * scale) != bits[i]) << i;
        }
        misses[group] = missed;
    }
}

/* ---- Decoding ---- */

/* A loop for each conversion, so that the compiler can turn it into vector instructions; out may be of any alignment. */
#define EACH(type, expression)                                                                                                                                                                             \
    do {                                                                                                                                                                                                   \
        for (int i = 0; i < GROUP; i++) {                                                                                                                                                                  \
            const type value = (expression);                                                                                                                                                               \
            memcpy(out + (size_t)i * sizeof value, &value, sizeof value);                                                                                                                                  \
        }                                                                                                                                                                                                  \
    } while (0)

static void convert_32(const struct codec_packed *packed, const uint32_t *integers, uint8_t *out)
{
    const double factor = packed->factor;
    const float factor_f32 = (float)factor;
    const uint32_t shift = packed->shift;
    switch (packed->conversion) {
    case CODEC_CONVERT_PATTERNS:
        EACH(uint32_t, (integers[i] ^ ((uint32_t)((int32_t)integers[i] >> 31) & (uint32_t)(INT32_MAX >> shift))) << shift);
        break;
    case CODEC_CONVERT_DECIMALS:
        EACH(float, (float)(int32_t)integers[i] / factor_f32);
        break;
    case CODEC_CONVERT_DECIMALS_EXACT:
        EACH(float, (float)((double)(int32_t)integers[i] / factor));
        break;
    case CODEC_CONVERT_DECIMALS_F64:
        EACH(double, (double)(int32_t)integers[i] / factor);
        break;
    case CODEC_CONVERT_SCALED:
        EACH(float, (float)((double)(int32_t)integers[i] * factor));
        break;
    case CODEC_CONVERT_SCALED_F64:
        EACH(double, (double)(int32_t)integers[i] * factor);
        break;
    default:
        memcpy(out, integers, GROUP * 4);
    }
}

static void convert_64(const struct codec_packed *packed, const uint64_t *integers, uint8_t *out)
{
    const double factor = packed->factor;
    const uint32_t shift = packed->shift;
    switch (packed->conversion) {
    case CODEC_CONVERT_PATTERNS:
        EACH(uint64_t, (integers[i] ^ ((uint64_t)((int64_t)integers[i] >> 63) & (uint64_t)(INT64_MAX >> shift))) << shift);
        break;
    case CODEC_CONVERT_DECIMALS:
        EACH(double, double_of_integer(integers[i]) / factor);
        break;
    case CODEC_CONVERT_SCALED:
        EACH(double, double_of_integer(integers[i]) * factor);
        break;
    default:
        memcpy(out, integers, GROUP * 8);
    }
}

#define DEFINE_DECODE(bits)                                                                                                                                                                                \
    static void decode_##bits(struct codec_packed *packed, uint32_t groups, void *out)                                                                                                                     \
    {                                                                                                                                                                                                      \
        const bool widens = bits == 64 || packed->conversion == CODEC_CONVERT_DECIMALS_F64 || packed->conversion == CODEC_CONVERT_SCALED_F64;                                                              \
        uint##bits##_t numbers[GROUP], first = (uint##bits##_t)packed->first, first_delta = (uint##bits##_t)packed->first_delta;                                                                           \
        uint8_t *at = out;                                                                                                                                                                                 \
        for (uint32_t group = 0; group < groups; group++) {                                                                                                                                                \
            unpack_##bits(packed->in, *packed->widths, (uint##bits##_t)packed->base, numbers);                                                                                                             \
            packed->in += 8 * *packed->widths++;                                                                                                                                                           \
            if (packed->order == 2) {                                                                                                                                                                      \
                integrate_##bits(numbers, first_delta, true);                                                                                                                                              \
                first_delta = numbers[GROUP - 1];                                                                                                                                                          \
            }                                                                                                                                                                                              \
            if (packed->order > 0) {                                                                                                                                                                       \
                integrate_##bits(numbers, first, packed->order == 1);                                                                                                                                      \
                first = numbers[GROUP - 1];                                                                                                                                                                \
            }                                                                                                                                                                                              \
            if (at)                                                                                                                                                                                        \
                convert_##bits(packed, numbers, at);                                                                                                                                                       \
            at += at ? GROUP * (widens ? 8 : 4) : 0;                                                                                                                                                       \
        }                                                                                                                                                                                                  \
        packed->first = first;                                                                                                                                                                             \
        packed->first_delta = first_delta;                                                                                                                                                                 \
    }

DEFINE_DECODE(32)
DEFINE_DECODE(64)

/* ---- Sums ---- */

#define DEFINE_SUM_INTEGERS(bits)                                                                                                                                                                          \
    static void sum_i##bits(const void *values, size_t count, struct codec_summary *out)                                                                                                                   \
    {                                                                                                                                                                                                      \
        const uint8_t *at = values;                                                                                                                                                                        \
        int##bits##_t least = INT##bits##_MAX, most = INT##bits##_MIN;                                                                                                                                     \
        int64_t low = 0, high = 0;                                                                                                                                                                        \
        for (size_t i = 0; i < count; i++) {                                                                                                                                                               \
            int##bits##_t value;                                                                                                                                                                           \
            memcpy(&value, at + i * sizeof value, sizeof value);                                                                                                                                           \
            least = value < least ? value : least;                                                                                                                                                         \
            most = value > most ? value : most;                                                                                                                                                            \
            low += (int64_t)((uint64_t)value & UINT32_MAX);                                                                                                                                               \
            high += (int64_t)value >> 32;                                                                                                                                                                 \
        }                                                                                                                                                                                                  \
        out->least_i64 = count ? least : INT64_MAX;                                                                                                                                                        \
        out->most_i64 = count ? most : INT64_MIN;                                                                                                                                                          \
        out->sum_low = low;                                                                                                                                                                               \
        out->sum_high = high;                                                                                                                                                                             \
    }

DEFINE_SUM_INTEGERS(32)
DEFINE_SUM_INTEGERS(64)

#define DEFINE_SUM_FLOATS(name, type)                                                                                                                                                                      \
    static void name(const void *values, size_t count, struct codec_summary *out)                                                                                                                          \
    {                                                                                                                                                                                                      \
        const uint8_t *at = values;                                                                                                                                                                        \
        double sums[LANES] = {0};                                                                                                                                                                          \
        type least = (type)INFINITY, most = (type)-INFINITY;                                                                                                                                               \
        uint64_t nan_count = 0;                                                                                                                                                                            \
        for (size_t i = 0; i < count; i++) {                                                                                                                                                               \
            type value;                                                                                                                                                                                    \
            memcpy(&value, at + i * sizeof value, sizeof value);                                                                                                                                           \
            bool number = value == value;                                                                                                                                                                  \
            nan_count += !number;                                                                                                                                                                          \
            least = value < least ? value : least;                                                                                                                                                         \
            most = value > most ? value : most;                                                                                                                                                            \
            sums[i % LANES] += number ? (double)value : 0.0;                                                                                                                                               \
        }                                                                                                                                                                                                  \
        out->least_f64 = (double)least + 0.0; /* -0.0 + 0.0 is 0.0 */                                                                                                                                      \
        out->most_f64 = (double)most + 0.0;                                                                                                                                                                \
        out->sum_f64 = codec_combine_sums(sums);                                                                                                                                                           \
        out->nan_count = nan_count;                                                                                                                                                                        \
    }

DEFINE_SUM_FLOATS(sum_f32, float)
DEFINE_SUM_FLOATS(sum_f64, double)

const struct codec_kernels codec_kernels_portable = {
    .name = "portable",
    .scan_32 = scan_32,
    .scan_64 = scan_64,
    .scan_second_32 = scan_second_32,
    .scan_second_64 = scan_second_64,
    .pack_32 = pack_32,
    .pack_64 = codec_pack_portable,
    .decode_32 = decode_32,
    .decode_64 = decode_64,
    .divide_64 = divide_64,
    .decimals_f32 = decimals_f32,
    .decimals_f32_exact = decimals_f32_exact,
    .decimals_f64_half = decimals_f64_half,
    .decimals_f64 = decimals_f64,
    .scaled_f32 = scaled_f32,
    .scaled_f64_half = scaled_f64_half,
    .scaled_f64 = scaled_f64,
    .sum_i32 = sum_i32,
    .sum_i64 = sum_i64,
    .sum_f32 = sum_f32,
    .sum_f64 = sum_f64,
};
