/* codec_kernels_avx2_floats.c: floats to integers and back by AVX2 (codec_kernels.h): the same operations as the portable loops, several at a time. */
#if defined(__x86_64__)

#include "blockdev/base/codec_kernels_avx2.h"

enum { GROUP = CODEC_GROUP_VALUES };

/* Bits of the lanes that differ. */
AVX2_INLINE uint64_t differ_8(__m256i a, __m256i b) { return 0xffu & ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))); }
AVX2_INLINE uint64_t differ_4(__m256d a, __m256d b)
{
    return 0xfu & ~(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_castpd_si256(a), _mm256_castpd_si256(b))));
}
AVX2_INLINE __m256d integers_to_doubles(__m256i integers)
{
    const __m256d shifter = _mm256_set1_pd(CODEC_SHIFTER);
    return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(integers, _mm256_castpd_si256(shifter))), shifter);
}
AVX2_INLINE __m256i doubles_to_integers(__m256d values)
{
    const __m256d shifter = _mm256_set1_pd(CODEC_SHIFTER);
    return _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(values, shifter)), _mm256_castpd_si256(shifter));
}
/* Eight int32 times a double, as floats. */
AVX2_INLINE __m256 scale_8(__m256i integers, __m256d scale)
{
    __m128 low = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(integers)), scale));
    __m128 high = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(integers, 1)), scale));
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

AVX2_INLINE __m256 divide_8(__m256i integers, __m256d divisor)
{
    __m128 low = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(integers)), divisor));
    __m128 high = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(integers, 1)), divisor));
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}
/* Eight floats times a double, as the nearest int32. */
AVX2_INLINE __m256i nearest_8(__m256i floats, __m256d factor)
{
    __m128 low = _mm_castsi128_ps(_mm256_castsi256_si128(floats)), high = _mm_castsi128_ps(_mm256_extracti128_si256(floats, 1));
    __m128i integer_low = _mm256_cvtpd_epi32(_mm256_mul_pd(_mm256_cvtps_pd(low), factor)), integer_high = _mm256_cvtpd_epi32(_mm256_mul_pd(_mm256_cvtps_pd(high), factor));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(integer_low), integer_high, 1);
}

AVX2_TARGET bool codec_avx2_divide_64(const uint64_t *values, uint32_t groups, double ten_power, uint64_t *quotients)
{
    const __m256d factor = _mm256_set1_pd(ten_power), inverse = _mm256_set1_pd(1 / ten_power);
    const __m256i first = _mm256_set1_epi64x((long long)values[0]), reach = _mm256_set1_epi64x(1ll << 50);
    for (uint32_t group = 0; group < groups; group++, values += GROUP, quotients += GROUP) {
        __m256i wrong = _mm256_setzero_si256();
        for (int i = 0; i < GROUP; i += 4) {
            __m256i difference = _mm256_sub_epi64(load_256(values + i), first);
            __m256i quotient = doubles_to_integers(_mm256_mul_pd(integers_to_doubles(difference), inverse));
            __m256i product = doubles_to_integers(_mm256_mul_pd(integers_to_doubles(quotient), factor));
            store_256(quotients + i, quotient);
            wrong = _mm256_or_si256(wrong, _mm256_xor_si256(product, difference));
            wrong = _mm256_or_si256(wrong, _mm256_srli_epi64(_mm256_add_epi64(difference, reach), 51));
        }
        if (!_mm256_testz_si256(wrong, wrong))
            return false;
    }
    return true;
}

AVX2_TARGET void codec_avx2_decimals_f32(const uint32_t *bits, uint32_t groups, float ten_power, uint32_t *integers, uint64_t *misses)
{
    const __m256 factor = _mm256_set1_ps(ten_power), limit = _mm256_set1_ps(0x1p24f), sign = _mm256_set1_ps(-0.0f);
    const __m256i none = _mm256_set1_epi32(INT32_MIN);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 8) {
            __m256i value = load_256(bits + i);
            __m256 product = _mm256_mul_ps(_mm256_castsi256_ps(value), factor), within = _mm256_cmp_ps(_mm256_andnot_ps(sign, product), limit, _CMP_LE_OQ);
            __m256i integer = _mm256_blendv_epi8(none, _mm256_cvtps_epi32(product), _mm256_castps_si256(within));
            store_256(integers + i, integer);
            missed |= differ_8(_mm256_castps_si256(_mm256_div_ps(_mm256_cvtepi32_ps(integer), factor)), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_decimals_f32_exact(const uint32_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(ten_power);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 8) {
            __m256i value = load_256(bits + i), integer = nearest_8(value, factor);
            store_256(integers + i, integer);
            missed |= differ_8(_mm256_castps_si256(divide_8(integer, factor)), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_decimals_f64_half(const uint64_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(ten_power);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 4) {
            __m256d value = _mm256_castsi256_pd(load_256(bits + i));
            __m128i integer = _mm256_cvtpd_epi32(_mm256_mul_pd(value, factor));
            _mm_storeu_si128((__m128i *)(integers + i), integer);
            missed |= differ_4(_mm256_div_pd(_mm256_cvtepi32_pd(integer), factor), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_decimals_f64(const uint64_t *bits, uint32_t groups, double ten_power, uint64_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(ten_power);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 4) {
            __m256d value = _mm256_castsi256_pd(load_256(bits + i));
            __m256i integer = doubles_to_integers(_mm256_mul_pd(value, factor));
            store_256(integers + i, integer);
            missed |= differ_4(_mm256_div_pd(integers_to_doubles(integer), factor), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_scaled_f32(const uint32_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(scale), inverse = _mm256_set1_pd(1 / scale);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 8) {
            __m256i value = load_256(bits + i), integer = nearest_8(value, inverse);
            store_256(integers + i, integer);
            missed |= differ_8(_mm256_castps_si256(scale_8(integer, factor)), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_scaled_f64_half(const uint64_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(scale), inverse = _mm256_set1_pd(1 / scale);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 4) {
            __m256d value = _mm256_castsi256_pd(load_256(bits + i));
            __m128i integer = _mm256_cvtpd_epi32(_mm256_mul_pd(value, inverse));
            _mm_storeu_si128((__m128i *)(integers + i), integer);
            missed |= differ_4(_mm256_mul_pd(_mm256_cvtepi32_pd(integer), factor), value) << i;
        }
        misses[group] = missed;
    }
}

AVX2_TARGET void codec_avx2_scaled_f64(const uint64_t *bits, uint32_t groups, double scale, uint64_t *integers, uint64_t *misses)
{
    const __m256d factor = _mm256_set1_pd(scale), inverse = _mm256_set1_pd(1 / scale);
    for (uint32_t group = 0; group < groups; group++, bits += GROUP, integers += GROUP) {
        uint64_t missed = 0;
        for (int i = 0; i < GROUP; i += 4) {
            __m256d value = _mm256_castsi256_pd(load_256(bits + i));
            __m256i integer = doubles_to_integers(_mm256_mul_pd(value, inverse));
            store_256(integers + i, integer);
            missed |= differ_4(_mm256_mul_pd(integers_to_doubles(integer), factor), value) << i;
        }
        misses[group] = missed;
    }
}

#else
typedef int codec_kernels_avx2_floats_not_built; /* ISO C wants a declaration in each file. */
#endif
