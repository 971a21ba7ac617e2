/* codec_kernels_avx2.c: the integer loops of the codecs by AVX2 (codec_kernels.h, codec_kernels_avx2.h). */
#if defined(__x86_64__)

#include "blockdev/base/codec_kernels_avx2.h"

enum { GROUP = CODEC_GROUP_VALUES };

/* ---- Scans ---- */

AVX2_INLINE __m256i zigzag_8(__m256i delta) { return _mm256_xor_si256(_mm256_slli_epi32(delta, 1), _mm256_srai_epi32(delta, 31)); }
AVX2_INLINE __m256i zigzag_4(__m256i delta) { return _mm256_xor_si256(_mm256_add_epi64(delta, delta), _mm256_cmpgt_epi64(_mm256_setzero_si256(), delta)); }

AVX2_INLINE uint32_t fold_u32(__m256i lanes, bool most)
{
    __m128i half = most ? _mm_max_epu32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1)) : _mm_min_epu32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    __m128i swapped = _mm_shuffle_epi32(half, 0x4e);
    half = most ? _mm_max_epu32(half, swapped) : _mm_min_epu32(half, swapped);
    swapped = _mm_shuffle_epi32(half, 0xb1);
    half = most ? _mm_max_epu32(half, swapped) : _mm_min_epu32(half, swapped);
    return (uint32_t)_mm_cvtsi128_si32(half);
}

/* Of signed lanes. */
AVX2_INLINE uint64_t fold_i64(__m256i lanes, bool most)
{
    int64_t v[4];
    store_256(v, lanes);
    if (most) {
        int64_t a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
        return (uint64_t)(a > b ? a : b);
    }
    int64_t a = v[0] < v[1] ? v[0] : v[1], b = v[2] < v[3] ? v[2] : v[3];
    return (uint64_t)(a < b ? a : b);
}

static const uint32_t sign_32 = 1u << 31;
static const uint64_t sign_64 = 1ull << 63;

AVX2_TARGET static void scan_32(const uint32_t *values, uint32_t groups, uint32_t *deltas, struct codec_range *value_range, struct codec_range *delta_range)
{
    /* Signed values become unsigned numbers of the same order by their sign bit. */
    const __m256i sign = _mm256_set1_epi32(INT32_MIN);
    __m256i least = _mm256_set1_epi32(INT32_MAX), delta_least = _mm256_set1_epi32(-1);
    for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {
        __m256i most = sign, delta_most = _mm256_setzero_si256();
        for (int i = 0; i < GROUP; i += 8) {
            __m256i value = load_256(values + i), delta = zigzag_8(_mm256_sub_epi32(value, load_256(values + i - 1)));
            store_256(deltas + i, delta);
            least = _mm256_min_epi32(least, value);
            most = _mm256_max_epi32(most, value);
            delta_least = _mm256_min_epu32(delta_least, delta);
            delta_most = _mm256_max_epu32(delta_most, delta);
        }
        value_range->most[group] = fold_u32(_mm256_xor_si256(most, sign), true) ^ sign_32;
        delta_range->most[group] = fold_u32(delta_most, true);
    }
    value_range->least = fold_u32(_mm256_xor_si256(least, sign), false) ^ sign_32;
    delta_range->least = fold_u32(delta_least, false);
}

AVX2_TARGET static void scan_second_32(const uint32_t *values, uint32_t groups, uint32_t *deltas, struct codec_range *delta_range)
{
    __m256i delta_least = _mm256_set1_epi32(-1);
    for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {
        __m256i delta_most = _mm256_setzero_si256();
        for (int i = 0; i < GROUP; i += 8) {
            __m256i before = load_256(values + i - 1), second = _mm256_sub_epi32(_mm256_add_epi32(load_256(values + i), load_256(values + i - 2)), _mm256_add_epi32(before, before));
            __m256i delta = zigzag_8(second);
            store_256(deltas + i, delta);
            delta_least = _mm256_min_epu32(delta_least, delta);
            delta_most = _mm256_max_epu32(delta_most, delta);
        }
        delta_range->most[group] = fold_u32(delta_most, true);
    }
    delta_range->least = fold_u32(delta_least, false);
}

AVX2_TARGET static void scan_64(const uint64_t *values, uint32_t groups, uint64_t *deltas, struct codec_range *value_range, struct codec_range *delta_range)
{
    const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
    __m256i least = _mm256_set1_epi64x(INT64_MAX), delta_least = least;
    for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {
        __m256i most = sign, delta_most = sign;
        for (int i = 0; i < GROUP; i += 4) {
            __m256i value = load_256(values + i), delta = zigzag_4(_mm256_sub_epi64(value, load_256(values + i - 1))), ordered = _mm256_xor_si256(delta, sign);
            store_256(deltas + i, delta);
            least = least_i64(least, value);
            most = most_i64(most, value);
            delta_least = least_i64(delta_least, ordered);
            delta_most = most_i64(delta_most, ordered);
        }
        value_range->most[group] = fold_i64(most, true);
        delta_range->most[group] = fold_i64(delta_most, true) ^ sign_64;
    }
    value_range->least = fold_i64(least, false);
    delta_range->least = fold_i64(delta_least, false) ^ sign_64;
}

AVX2_TARGET static void scan_second_64(const uint64_t *values, uint32_t groups, uint64_t *deltas, struct codec_range *delta_range)
{
    const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
    __m256i delta_least = _mm256_set1_epi64x(INT64_MAX);
    for (uint32_t group = 0; group < groups; group++, values += GROUP, deltas += GROUP) {
        __m256i delta_most = sign;
        for (int i = 0; i < GROUP; i += 4) {
            __m256i before = load_256(values + i - 1), second = _mm256_sub_epi64(_mm256_add_epi64(load_256(values + i), load_256(values + i - 2)), _mm256_add_epi64(before, before));
            __m256i delta = zigzag_4(second), ordered = _mm256_xor_si256(delta, sign);
            store_256(deltas + i, delta);
            delta_least = least_i64(delta_least, ordered);
            delta_most = most_i64(delta_most, ordered);
        }
        delta_range->most[group] = fold_i64(delta_most, true) ^ sign_64;
    }
    delta_range->least = fold_i64(delta_least, false) ^ sign_64;
}

/* ---- Packing ---- */

/* Two neighbours of w bits are one number of 2w bits, two of those one of 4w, and two of these 8w bits: w whole bytes. */
AVX2_INLINE __m256i pair_up(__m256i numbers, __m128i width)
{
    return _mm256_or_si256(_mm256_blend_epi32(numbers, _mm256_setzero_si256(), 0xaa), _mm256_sll_epi64(_mm256_srli_epi64(numbers, 32), width));
}

/* In each half: the upper 64 bits, of `bits` bits like the lower ones, moved down to where those end. */
AVX2_INLINE __m256i close_up(__m256i words, __m128i bits, __m128i bits_left)
{
    __m256i low = _mm256_or_si256(words, _mm256_sll_epi64(_mm256_srli_si256(words, 8), bits));
    return _mm256_blend_epi32(low, _mm256_srl_epi64(words, bits_left), 0xcc);
}

/* Eight numbers, less the base; wide: of 64 bits, of which 32 are left then. */
AVX2_INLINE __m256i load_numbers(const void *numbers, uint32_t i, __m256i base, bool wide)
{
    if (!wide)
        return _mm256_sub_epi32(load_256((const uint32_t *)numbers + i), base);
    const uint64_t *at = (const uint64_t *)numbers + i;
    __m256 low = _mm256_castsi256_ps(_mm256_sub_epi64(load_256(at), base)), high = _mm256_castsi256_ps(_mm256_sub_epi64(load_256(at + 4), base));
    return _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)), 0xd8);
}

AVX2_INLINE void store_low(uint8_t *at, __m256i value) { _mm_storeu_si128((__m128i *)at, _mm256_castsi256_si128(value)); }
AVX2_INLINE void store_high(uint8_t *at, __m256i value) { _mm_storeu_si128((__m128i *)at, _mm256_extracti128_si256(value, 1)); }

/* Widths up to 16: four numbers in 64 bits, sixteen at a time. The last eight of an odd number of eights come with eight that are not stored: whole groups are readable. */
AVX2_INLINE void pack_narrow(const void *numbers, __m256i base, uint32_t eights, uint32_t width, bool wide, uint8_t *out)
{
    const __m128i one = _mm_cvtsi32_si128((int)width), two = _mm_cvtsi32_si128((int)(2 * width)), four = _mm_cvtsi32_si128((int)(4 * width)), left = _mm_cvtsi32_si128((int)(64 - 4 * width));
    for (uint32_t n = 0; n < eights; n += 2, out += 2 * width) {
        __m256i a = pair_up(load_numbers(numbers, n * 8, base, wide), one), b = pair_up(load_numbers(numbers, n * 8 + 8, base, wide), one);
        a = _mm256_or_si256(a, _mm256_sll_epi64(_mm256_srli_si256(a, 8), two));
        b = _mm256_or_si256(b, _mm256_sll_epi64(_mm256_srli_si256(b, 8), two));
        __m256i packed = close_up(_mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xd8), four, left);
        store_low(out, packed);
        if (n + 1 < eights)
            store_high(out + width, packed);
    }
}

/* Widths of 17 to 32: four numbers in 128 bits. An odd width ends them amid a byte: the upper four move by half a byte, and bring the half before along. */
AVX2_INLINE void pack_broad(const void *numbers, __m256i base, uint32_t eights, uint32_t width, bool wide, uint8_t *out)
{
    const __m128i one = _mm_cvtsi32_si128((int)width), two = _mm_cvtsi32_si128((int)(2 * width)), left = _mm_cvtsi32_si128((int)(64 - 2 * width));
    const __m128i shared = _mm_insert_epi8(_mm_set1_epi8(-1), (int)(width / 2), 0);
    for (uint32_t n = 0; n < eights; n++, out += width) {
        __m256i packed = close_up(pair_up(load_numbers(numbers, n * 8, base, wide), one), two, left);
        __m128i low = _mm256_castsi256_si128(packed), high = _mm256_extracti128_si256(packed, 1);
        _mm_storeu_si128((__m128i *)out, low);
        if (width % 2)
            high = _mm_or_si128(_mm_or_si128(_mm_slli_epi64(high, 4), _mm_srli_epi64(_mm_slli_si128(high, 8), 60)), _mm_shuffle_epi8(low, shared));
        _mm_storeu_si128((__m128i *)(out + width / 2), high);
    }
}

AVX2_TARGET static void pack_32(const uint32_t *numbers, uint32_t subtract, uint32_t eights, uint32_t width, uint8_t *out)
{
    const __m256i base = _mm256_set1_epi32((int)subtract);
    if (width == 0)
        return;
    if (width <= 16)
        pack_narrow(numbers, base, eights, width, false, out);
    else
        pack_broad(numbers, base, eights, width, false, out);
}

AVX2_TARGET static void pack_64(const uint64_t *numbers, uint64_t subtract, uint32_t eights, uint32_t width, uint8_t *out)
{
    const __m256i base = _mm256_set1_epi64x((long long)subtract);
    if (width > 32)
        codec_pack_portable(numbers, subtract, eights, width, out);
    else if (width > 16)
        pack_broad(numbers, base, eights, width, true, out);
    else if (width > 0)
        pack_narrow(numbers, base, eights, width, true, out);
}

/* All but the names, and what AVX-512 does better. */
#define SHARED_KERNELS                                                                                                                                                                                     \
    .scan_32 = scan_32, .scan_64 = scan_64, .scan_second_32 = scan_second_32, .scan_second_64 = scan_second_64, .pack_32 = pack_32, .pack_64 = pack_64,                                                    \
    .decode_64 = codec_avx2_decode_64, .divide_64 = codec_avx2_divide_64, .decimals_f32 = codec_avx2_decimals_f32,                                                                                         \
    .decimals_f32_exact = codec_avx2_decimals_f32_exact, .decimals_f64_half = codec_avx2_decimals_f64_half, .decimals_f64 = codec_avx2_decimals_f64,                                                       \
    .scaled_f32 = codec_avx2_scaled_f32, .scaled_f64_half = codec_avx2_scaled_f64_half, .scaled_f64 = codec_avx2_scaled_f64, .sum_i32 = codec_avx2_sum_i32,                                                \
    .sum_i64 = codec_avx2_sum_i64, .sum_f32 = codec_avx2_sum_f32, .sum_f64 = codec_avx2_sum_f64

const struct codec_kernels codec_kernels_avx2 = {.name = "avx2", .decode_32 = codec_avx2_decode_32, SHARED_KERNELS};
const struct codec_kernels codec_kernels_avx512 = {.name = "avx512", .decode_32 = codec_avx512_decode_32, SHARED_KERNELS};

#else
typedef int codec_kernels_avx2_not_built; /* ISO C wants a declaration in each file. */
#endif
