/* codec_kernels_avx2_decode.c: packed numbers to values by AVX2 and FMA in one pass (codec_kernels.h): unpacked, summed up and converted in registers, and stored once. The processor must have both.
 *
 * Sums. The two halves of a register sum up the two halves of a group, four numbers at a time, each from zero: nothing crosses from half to half, and no group waits for the one before. Then what lies before each half is added.
 * Division. k / d of float32, d a power of ten up to 10^10, is the nearest to k * y + k * z, y the nearest to 1 / d and z the nearest to what is left of it, the sum rounded once (FMA). That it is for every k was tried out: each of the 2^23
 * mantissas with each d, and other exponents change nothing (tests/unit/base_codec_decode_test.c tries it again).
 * k / d by double, rounded to float32, d = 10^4 to 10^8: k * y is as good. Its error is below 2^-52 of it, and k / d is never so near to the middle m of two floats, of 25 bits, unless it is m: |k / d - m| is at least m / (d 2^25) > 2^-52 m;
 * and to be m, whose 25 bits are an odd number, k would have to be a multiple of 5^4 times that, beyond 2^31. */
#if defined(__x86_64__)

#include "blockdev/base/codec_kernels_avx2.h"

#include <assert.h>

#define FUSED_TARGET __attribute__((target("avx2,fma")))
#define FUSED_INLINE __attribute__((target("avx2,fma"), always_inline)) static inline

enum { GROUP = CODEC_GROUP_VALUES };

/* ---- Unpacking ---- */

/* For each width: where in 16 bytes the numbers of each half of the eight begin, as a byte shuffle and shifts. The halves' bytes begin at bits 0 and 4w (32-bit lanes, widths up to 25: four numbers each), or at bits 0, 2w, 4w, 6w
 * (64-bit lanes, widths up to 57: two numbers each). Wider numbers are unpacked to whole words before, and these have the last entry. */
#define BYTES_4(w, k, s) ((k) * (w) + (s)) / 8, ((k) * (w) + (s)) / 8 + 1, ((k) * (w) + (s)) / 8 + 2, ((k) * (w) + (s)) / 8 + 3
#define BYTES_8(w, k, s) BYTES_4(w, k, s), BYTES_4(w, k, s + 32)
#define SHIFT(w, k, s) ((k) * (w) + (s)) % 8
#define SHUFFLE_32(w)                                                                                                                                                                                      \
    {BYTES_4(w, 0, 0), BYTES_4(w, 1, 0), BYTES_4(w, 2, 0), BYTES_4(w, 3, 0), BYTES_4(w, 0, 4 * (w) % 8), BYTES_4(w, 1, 4 * (w) % 8), BYTES_4(w, 2, 4 * (w) % 8), BYTES_4(w, 3, 4 * (w) % 8)},
#define SHIFTS_32(w) {SHIFT(w, 0, 0), SHIFT(w, 1, 0), SHIFT(w, 2, 0), SHIFT(w, 3, 0), SHIFT(w, 4, 0), SHIFT(w, 5, 0), SHIFT(w, 6, 0), SHIFT(w, 7, 0)},
#define SHUFFLE_64(w)                                                                                                                                                                                      \
    {BYTES_8(w, 0, 0),         BYTES_8(w, 1, 0),         BYTES_8(w, 0, 2 * (w) % 8), BYTES_8(w, 1, 2 * (w) % 8),                                                                                           \
     BYTES_8(w, 0, 4 * (w) % 8), BYTES_8(w, 1, 4 * (w) % 8), BYTES_8(w, 0, 6 * (w) % 8), BYTES_8(w, 1, 6 * (w) % 8)},
#define EIGHT(X, w) X(w) X((w) + 1) X((w) + 2) X((w) + 3) X((w) + 4) X((w) + 5) X((w) + 6) X((w) + 7)

enum { WIDTH_32_MAX = 25, WIDTH_64_MAX = 57 };
static const uint8_t shuffles_32[WIDTH_32_MAX + 2][32] = {SHUFFLE_32(0) EIGHT(SHUFFLE_32, 1) EIGHT(SHUFFLE_32, 9) EIGHT(SHUFFLE_32, 17) SHUFFLE_32(25) SHUFFLE_32(32)};
static const uint8_t shuffles_64[WIDTH_64_MAX + 2][64] = {SHUFFLE_64(0) EIGHT(SHUFFLE_64, 1) EIGHT(SHUFFLE_64, 9) EIGHT(SHUFFLE_64, 17) EIGHT(SHUFFLE_64, 25) EIGHT(SHUFFLE_64, 33) EIGHT(SHUFFLE_64, 41)
                                                              EIGHT(SHUFFLE_64, 49) SHUFFLE_64(57) SHUFFLE_64(64)};
static const uint8_t shifts[WIDTH_64_MAX + 2][8] = {SHIFTS_32(0) EIGHT(SHIFTS_32, 1) EIGHT(SHIFTS_32, 9) EIGHT(SHIFTS_32, 17) EIGHT(SHIFTS_32, 25) EIGHT(SHIFTS_32, 33) EIGHT(SHIFTS_32, 41)
                                                        EIGHT(SHIFTS_32, 49) SHIFTS_32(57) SHIFTS_32(64)};

FUSED_INLINE __m256i load_halves(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
}

/* How the eights of a group are unpacked. */
struct unpack_32 {
    __m256i shuffle, shift, mask;
    __m256i shuffle_halves[2], shift_halves[2]; /* each half of the above, twice */
    uint32_t width;
};
struct unpack_64 {
    __m256i shuffle[2], shift[2], mask;
    uint32_t width;
};

FUSED_INLINE __m256i both_halves(__m256i n, const int half) { return half ? _mm256_permute2x128_si256(n, n, 0x11) : _mm256_permute2x128_si256(n, n, 0x00); }

FUSED_INLINE struct unpack_32 prepare_32(uint32_t width)
{
    uint32_t entry = width <= WIDTH_32_MAX ? width : WIDTH_32_MAX + 1;
    uint32_t mask = width < 32 ? (1u << width) - 1 : UINT32_MAX;
    struct unpack_32 unpack = {.shuffle = load_256(shuffles_32[entry]), .shift = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)shifts[width <= WIDTH_32_MAX ? width : 0])), .mask = _mm256_set1_epi32((int)mask), .width = width};
    for (int half = 0; half < 2; half++) {
        unpack.shuffle_halves[half] = both_halves(unpack.shuffle, half);
        unpack.shift_halves[half] = both_halves(unpack.shift, half);
    }
    return unpack;
}

FUSED_INLINE struct unpack_64 prepare_64(uint32_t width)
{
    uint32_t entry = width <= WIDTH_64_MAX ? width : WIDTH_64_MAX + 1;
    struct unpack_64 unpack = {.mask = _mm256_set1_epi64x(width < 64 ? (long long)((1ull << width) - 1) : -1), .width = width};
    for (int half = 0; half < 2; half++) {
        int four;
        memcpy(&four, shifts[entry] + 4 * half, 4);
        unpack.shuffle[half] = load_256(shuffles_64[entry] + 32 * half);
        unpack.shift[half] = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    }
    return unpack;
}

FUSED_INLINE __m256i unpack_eight(const struct unpack_32 *unpack, const uint8_t *in)
{
    __m256i bytes = load_halves(in, in + unpack->width / 2);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, unpack->shuffle), unpack->shift), unpack->mask);
}

FUSED_INLINE __m256i unpack_four(const struct unpack_64 *unpack, const uint8_t *in, int half)
{
    uint32_t width = unpack->width;
    __m256i bytes = half ? load_halves(in + 4 * width / 8, in + 6 * width / 8) : load_halves(in, in + 2 * width / 8);
    return _mm256_and_si256(_mm256_srlv_epi64(_mm256_shuffle_epi8(bytes, unpack->shuffle[half]), unpack->shift[half]), unpack->mask);
}

/* Numbers of 26 to 32 bits as whole words: rare, and out of the way of the others. */
FUSED_TARGET static void unpack_broad(const uint8_t *in, uint32_t width, uint32_t words[GROUP])
{
    const struct unpack_64 unpack = prepare_64(width);
    for (int i = 0; i < GROUP; i += 8, in += width) {
        __m256 low = _mm256_castsi256_ps(unpack_four(&unpack, in, 0)), high = _mm256_castsi256_ps(unpack_four(&unpack, in, 1));
        store_256(words + i, _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)), 0xd8));
    }
}

/* ---- Sums ---- */

FUSED_INLINE __m256i unzigzag_8(__m256i n) { return _mm256_xor_si256(_mm256_srli_epi32(n, 1), _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_and_si256(n, _mm256_set1_epi32(1)))); }
FUSED_INLINE __m256i unzigzag_4(__m256i n) { return _mm256_xor_si256(_mm256_srli_epi64(n, 1), _mm256_sub_epi64(_mm256_setzero_si256(), _mm256_and_si256(n, _mm256_set1_epi64x(1)))); }

/* In each half: the sums of its four numbers, and of what lies before them. *sum: that, in each of the half's lanes; moved on. */
FUSED_INLINE __m256i sum_up_halves(__m256i n, __m256i *sum)
{
    n = _mm256_add_epi32(n, _mm256_slli_si256(n, 4));
    n = _mm256_add_epi32(n, _mm256_slli_si256(n, 8));
    n = _mm256_add_epi32(n, *sum);
    *sum = _mm256_shuffle_epi32(n, 0xff);
    return n;
}

/* *sum: what was summed up before, in each lane; moved on. */
FUSED_INLINE __m256i sum_up_4(__m256i n, __m256i *sum)
{
    n = _mm256_add_epi64(n, _mm256_slli_si256(n, 8));
    n = _mm256_add_epi64(n, _mm256_blend_epi32(_mm256_setzero_si256(), _mm256_permute4x64_epi64(n, 0x50), 0xf0));
    __m256i out = _mm256_add_epi64(n, *sum);
    *sum = _mm256_add_epi64(*sum, _mm256_permute4x64_epi64(n, 0xff));
    return out;
}

/* ---- Conversion ---- */

/* Conversions of which there are faster ways for some divisors, and none at all. */
enum { CONVERT_DECIMALS_BY_PRODUCT = CODEC_CONVERSION_COUNT, PASS_OVER };

struct converter {
    __m256d factor, inverse;
    __m256 inverse_f32, inverse_rest_f32;
    __m256i pattern_mask;
    __m128i shift;
};

FUSED_INLINE struct converter make_converter(const struct codec_packed *packed, bool wide)
{
    const float inverse = (float)(1 / packed->factor);
    const double rest = 1 / packed->factor - (double)inverse; /* exact: what of the inverse float64 does not hold is too little to matter */
    return (struct converter){.factor = _mm256_set1_pd(packed->factor),
                              .inverse = _mm256_set1_pd(1 / packed->factor),
                              .inverse_f32 = _mm256_set1_ps(inverse),
                              .inverse_rest_f32 = _mm256_set1_ps((float)rest),
                              .pattern_mask = wide ? _mm256_set1_epi64x(INT64_MAX >> packed->shift) : _mm256_set1_epi32(INT32_MAX >> packed->shift),
                              .shift = _mm_cvtsi32_si128((int)packed->shift)};
}

FUSED_INLINE __m256d convert_to_double(__m128i four, const struct converter *converter, const int conversion)
{
    __m256d value = _mm256_cvtepi32_pd(four);
    if (conversion == CODEC_CONVERT_DECIMALS_EXACT || conversion == CODEC_CONVERT_DECIMALS_F64)
        return _mm256_div_pd(value, converter->factor);
    return _mm256_mul_pd(value, conversion == CONVERT_DECIMALS_BY_PRODUCT ? converter->inverse : converter->factor);
}

/* Stores numbers of 32 bits as values: the four of the low half to `low`, those of the high half to `high`. */
FUSED_INLINE void store_halves(__m256i n, const struct converter *converter, uint8_t *low, uint8_t *high, const int conversion)
{
    if (conversion == CODEC_CONVERT_NONE || conversion == CODEC_CONVERT_PATTERNS || conversion == CODEC_CONVERT_DECIMALS) {
        if (conversion == CODEC_CONVERT_PATTERNS) {
            n = _mm256_xor_si256(n, _mm256_and_si256(_mm256_srai_epi32(n, 31), converter->pattern_mask));
            n = _mm256_sll_epi32(n, converter->shift);
        } else if (conversion == CODEC_CONVERT_DECIMALS) {
            __m256 number = _mm256_cvtepi32_ps(n);
            n = _mm256_castps_si256(_mm256_fmadd_ps(number, converter->inverse_f32, _mm256_mul_ps(number, converter->inverse_rest_f32)));
        }
        if (high == low + 16) {
            store_256(low, n);
        } else {
            _mm_storeu_si128((__m128i *)low, _mm256_castsi256_si128(n));
            _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(n, 1));
        }
    } else {
        __m256d first = convert_to_double(_mm256_castsi256_si128(n), converter, conversion), second = convert_to_double(_mm256_extracti128_si256(n, 1), converter, conversion);
        if (conversion == CODEC_CONVERT_DECIMALS_F64 || conversion == CODEC_CONVERT_SCALED_F64) {
            store_256(low, _mm256_castpd_si256(first));
            store_256(high, _mm256_castpd_si256(second));
        } else {
            _mm_storeu_ps((float *)(void *)low, _mm256_cvtpd_ps(first));
            _mm_storeu_ps((float *)(void *)high, _mm256_cvtpd_ps(second));
        }
    }
}

/* Four of 64 bits. */
FUSED_INLINE void store_four(__m256i n, const struct converter *converter, uint8_t *out, const int conversion)
{
    const __m256d shifter = _mm256_set1_pd(CODEC_SHIFTER);
    if (conversion == CODEC_CONVERT_PATTERNS) {
        __m256i sign = _mm256_cmpgt_epi64(_mm256_setzero_si256(), n);
        n = _mm256_sll_epi64(_mm256_xor_si256(n, _mm256_and_si256(sign, converter->pattern_mask)), converter->shift);
    } else if (conversion != CODEC_CONVERT_NONE) {
        __m256d value = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(n, _mm256_castpd_si256(shifter))), shifter);
        n = _mm256_castpd_si256(conversion == CODEC_CONVERT_DECIMALS ? _mm256_div_pd(value, converter->factor) : _mm256_mul_pd(value, converter->factor));
    }
    store_256(out, n);
}

/* ---- Groups ---- */

/* Of a group whose numbers have the width: four of its first half and four of its second one, from number 4 `step` of each on. */
FUSED_INLINE __m256i unpack_halves(const struct unpack_32 *unpack, const uint8_t *in, const int step)
{
    const uint32_t start = (uint32_t)step / 2 * unpack->width + (uint32_t)step % 2 * (unpack->width / 2);
    __m256i bytes = load_halves(in + start, in + start + 4 * unpack->width);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, unpack->shuffle_halves[step % 2]), unpack->shift_halves[step % 2]), unpack->mask);
}

/* The sums of a group from zero in each of its halves, four at a time; *sum and *delta_sum: those of all of the half. */
FUSED_INLINE void sum_up_group(const struct unpack_32 *unpack, const uint8_t *in, __m256i base, const int order, __m256i sums[8], __m256i *sum, __m256i *delta_sum)
{
    *sum = *delta_sum = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = 0; step < 8; step++) {
        __m256i n = unzigzag_8(_mm256_add_epi32(unpack_halves(unpack, in, step), base));
        if (order > 1)
            n = sum_up_halves(n, delta_sum);
        sums[step] = sum_up_halves(n, sum);
    }
}

/* What lies before the halves' numbers is added to their sums, step by step, and moved on: *first, *first_delta, the same in each lane. */
FUSED_INLINE void complete_group(__m256i sums[8], __m256i sum, __m256i delta_sum, __m256i *first, __m256i *first_delta, const int order)
{
    __m256i before = *first, delta = *first_delta, low = both_halves(sum, 0), all = _mm256_add_epi32(low, both_halves(sum, 1));
    if (order > 1) {
        /* Each of 32 numbers adds the difference before them once more. */
        __m256i delta_low = both_halves(delta_sum, 0), delta_middle = _mm256_add_epi32(delta, delta_low);
        low = _mm256_add_epi32(low, _mm256_slli_epi32(delta, 5));
        all = _mm256_add_epi32(all, _mm256_slli_epi32(_mm256_add_epi32(delta, delta_middle), 5));
        *first_delta = _mm256_add_epi32(delta_middle, both_halves(delta_sum, 1));
        delta = _mm256_blend_epi32(delta, delta_middle, 0xf0);
    }
    *first = _mm256_add_epi32(before, all);
    before = _mm256_blend_epi32(before, _mm256_add_epi32(before, low), 0xf0);
    if (order > 1)
        before = _mm256_add_epi32(before, _mm256_mullo_epi32(delta, _mm256_setr_epi32(1, 2, 3, 4, 1, 2, 3, 4)));
    delta = _mm256_slli_epi32(delta, 2);
#pragma GCC unroll 8
    for (int step = 0; step < 8; step++) {
        sums[step] = _mm256_add_epi32(sums[step], before);
        if (order > 1)
            before = _mm256_add_epi32(before, delta);
    }
}

FUSED_INLINE uint32_t total_of(__m256i n)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

/* What a group whose values are not wanted adds to the sums. Number 8 r + l of 64 counts once in the differences' sum and 64 - 8 r - l times in the sum of their sums; r is the step, l the lane. */
FUSED_INLINE void pass_over_group(const struct unpack_32 *unpack, const uint8_t *in, __m256i base, const int order, __m256i *first, __m256i *first_delta)
{
    __m256i sum = _mm256_setzero_si256(), sums = sum;
    for (int step = 0; step < 8; step++, in += unpack->width) {
        sum = _mm256_add_epi32(sum, unzigzag_8(_mm256_add_epi32(unpack_eight(unpack, in), base)));
        sums = _mm256_add_epi32(sums, sum);
    }
    __m256i total = _mm256_set1_epi32((int)total_of(sum));
    if (order > 1) {
        sums = _mm256_sub_epi32(_mm256_slli_epi32(sums, 3), _mm256_mullo_epi32(sum, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
        *first = _mm256_add_epi32(*first, _mm256_add_epi32(_mm256_slli_epi32(*first_delta, 6), _mm256_set1_epi32((int)total_of(sums))));
        *first_delta = _mm256_add_epi32(*first_delta, total);
    } else {
        *first = _mm256_add_epi32(*first, total);
    }
}

FUSED_INLINE void run_32(struct codec_packed *packed, uint32_t groups, uint8_t *out, const int order, const int conversion)
{
    const __m256i base = _mm256_set1_epi32((int)packed->base);
    const struct converter converter = make_converter(packed, false);
    const size_t four_bytes = conversion == CODEC_CONVERT_DECIMALS_F64 || conversion == CODEC_CONVERT_SCALED_F64 ? 32 : 16;
    __m256i first = _mm256_set1_epi32((int)packed->first), first_delta = _mm256_set1_epi32((int)packed->first_delta);
    const uint8_t *in = packed->in;
    for (uint32_t group = 0; group < groups; group++) {
        const uint32_t width = packed->widths[group];
        const uint8_t *at = in;
        uint32_t words[GROUP];
        __m256i sums[8], sum, delta_sum;
        in += 8 * width;
        if (order == 0 && conversion == PASS_OVER)
            continue;
        if (__builtin_expect(width > WIDTH_32_MAX, 0)) {
            unpack_broad(at, width, words);
            at = (const uint8_t *)words;
        }
        const struct unpack_32 unpack = prepare_32(width <= WIDTH_32_MAX ? width : 32);
        if (order == 0) {
            for (int i = 0; i < 8; i++, at += unpack.width, out += 2 * four_bytes)
                store_halves(_mm256_add_epi32(unpack_eight(&unpack, at), base), &converter, out, out + four_bytes, conversion);
            continue;
        }
        if (conversion == PASS_OVER) {
            pass_over_group(&unpack, at, base, order, &first, &first_delta);
            continue;
        }
        sum_up_group(&unpack, at, base, order, sums, &sum, &delta_sum);
        complete_group(sums, sum, delta_sum, &first, &first_delta, order);
#pragma GCC unroll 8
        for (int step = 0; step < 8; step++)
            store_halves(sums[step], &converter, out + (size_t)step * four_bytes, out + (size_t)(8 + step) * four_bytes, conversion);
        out += 16 * four_bytes;
    }
    packed->in = in;
    packed->widths += groups;
    packed->first = (uint32_t)_mm256_cvtsi256_si32(first);
    packed->first_delta = (uint32_t)_mm256_cvtsi256_si32(first_delta);
}

FUSED_INLINE void run_64(struct codec_packed *packed, uint32_t groups, uint8_t *out, const int order, const int conversion)
{
    const __m256i base = _mm256_set1_epi64x((long long)packed->base);
    const struct converter converter = make_converter(packed, true);
    __m256i sum = _mm256_set1_epi64x((long long)packed->first), delta_sum = _mm256_set1_epi64x((long long)packed->first_delta);
    const uint8_t *in = packed->in;
    for (uint32_t group = 0; group < groups; group++) {
        const uint32_t width = packed->widths[group];
        const uint8_t *at = in;
        uint64_t words[GROUP];
        in += 8 * width;
        if (__builtin_expect(width > WIDTH_64_MAX, 0)) {
            codec_unpack_portable(at, width, 0, words);
            at = (const uint8_t *)words;
        }
        const struct unpack_64 unpack = prepare_64(width <= WIDTH_64_MAX ? width : 64);
        for (int i = 0; i < GROUP; i += 8, at += unpack.width) {
            for (int half = 0; half < 2; half++) {
                __m256i n = _mm256_add_epi64(unpack_four(&unpack, at, half), base);
                if (order > 0)
                    n = unzigzag_4(n);
                if (order > 1)
                    n = sum_up_4(n, &delta_sum);
                if (order > 0)
                    n = sum_up_4(n, &sum);
                if (conversion != PASS_OVER)
                    store_four(n, &converter, out, conversion);
                out += conversion != PASS_OVER ? 32 : 0;
            }
        }
    }
    packed->in = in;
    packed->widths += groups;
    packed->first = (uint64_t)_mm256_extract_epi64(sum, 0);
    packed->first_delta = (uint64_t)_mm256_extract_epi64(delta_sum, 0);
}

/* A copy of the loop for each order and conversion. */
typedef void (*run)(struct codec_packed *packed, uint32_t groups, uint8_t *out);
#define DEFINE_RUN(lane, order, conversion)                                                                                                                                                                \
    FUSED_TARGET static void run_##lane##_##order##_##conversion(struct codec_packed *packed, uint32_t groups, uint8_t *out) { run_##lane(packed, groups, out, order, conversion); }
#define DEFINE_ORDERS(lane, conversion) DEFINE_RUN(lane, 0, conversion) DEFINE_RUN(lane, 1, conversion) DEFINE_RUN(lane, 2, conversion)
#define ORDERS(lane, conversion) [conversion] = {run_##lane##_0_##conversion, run_##lane##_1_##conversion, run_##lane##_2_##conversion}

DEFINE_ORDERS(32, CODEC_CONVERT_NONE)
DEFINE_ORDERS(32, CODEC_CONVERT_PATTERNS)
DEFINE_ORDERS(32, CODEC_CONVERT_DECIMALS)
DEFINE_ORDERS(32, CODEC_CONVERT_DECIMALS_EXACT)
DEFINE_ORDERS(32, CODEC_CONVERT_DECIMALS_F64)
DEFINE_ORDERS(32, CODEC_CONVERT_SCALED)
DEFINE_ORDERS(32, CODEC_CONVERT_SCALED_F64)
DEFINE_ORDERS(32, CONVERT_DECIMALS_BY_PRODUCT)
DEFINE_ORDERS(32, PASS_OVER)
static const run runs_32[][3] = {ORDERS(32, CODEC_CONVERT_NONE),         ORDERS(32, CODEC_CONVERT_PATTERNS), ORDERS(32, CODEC_CONVERT_DECIMALS),   ORDERS(32, CODEC_CONVERT_DECIMALS_EXACT),
                                 ORDERS(32, CODEC_CONVERT_DECIMALS_F64), ORDERS(32, CODEC_CONVERT_SCALED),   ORDERS(32, CODEC_CONVERT_SCALED_F64), ORDERS(32, CONVERT_DECIMALS_BY_PRODUCT),
                                 ORDERS(32, PASS_OVER)};

DEFINE_ORDERS(64, CODEC_CONVERT_NONE)
DEFINE_ORDERS(64, CODEC_CONVERT_PATTERNS)
DEFINE_ORDERS(64, CODEC_CONVERT_DECIMALS)
DEFINE_ORDERS(64, CODEC_CONVERT_SCALED)
DEFINE_ORDERS(64, PASS_OVER)
static const run runs_64[][3] = {ORDERS(64, CODEC_CONVERT_NONE), ORDERS(64, CODEC_CONVERT_PATTERNS), ORDERS(64, CODEC_CONVERT_DECIMALS), ORDERS(64, CODEC_CONVERT_SCALED), ORDERS(64, PASS_OVER)};

void codec_avx2_decode_32(struct codec_packed *packed, uint32_t groups, void *out)
{
    uint32_t conversion = out ? packed->conversion : PASS_OVER;
    assert(packed->order <= 2 && packed->conversion < CODEC_CONVERSION_COUNT);
    if (conversion == CODEC_CONVERT_DECIMALS_EXACT && packed->factor >= 1e4 && packed->factor <= 1e8)
        conversion = CONVERT_DECIMALS_BY_PRODUCT;
    runs_32[conversion][packed->order](packed, groups, out);
}

void codec_avx2_decode_64(struct codec_packed *packed, uint32_t groups, void *out)
{
    uint32_t conversion = out ? packed->conversion : PASS_OVER;
    assert(packed->order <= 2 && (conversion == PASS_OVER || (conversion < CODEC_CONVERSION_COUNT && runs_64[conversion][0])));
    runs_64[conversion][packed->order](packed, groups, out);
}

#else
typedef int codec_kernels_avx2_decode_not_built; /* ISO C wants a declaration in each file. */
#endif
