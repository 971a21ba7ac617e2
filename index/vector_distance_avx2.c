/* vector_distance_avx2.c: the kernels of the vector index by AVX2 (vector_private.h). They are called only where the processor has it; the build need not.
 * Lanes 0 to 3 of the four accumulators are the partial sums 0 to 15 of vector.h. */
#if defined(__x86_64__)

#include "index/vector_private.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE __attribute__((target("avx2"), always_inline)) static inline

INLINE __m256d wide_query(const float *at) { return _mm256_cvtps_pd(_mm_loadu_ps(at)); }
INLINE __m256d wide_device(const uint8_t *at) { return _mm256_cvtps_pd(_mm_castsi128_ps(_mm_loadu_si128((const __m128i *)(const void *)at))); }

INLINE void store_lanes(double *lanes, const __m256d sums[4])
{
    for (int j = 0; j < 4; j++)
        _mm256_storeu_pd(lanes + 4 * j, sums[j]);
}

TARGET static double square(const float *query, const uint8_t *vector, uint32_t dimension)
{
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    double lanes[VECTOR_LANES];
    uint32_t i = 0;
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        for (uint32_t j = 0; j < 4; j++) {
            __m256d t = _mm256_sub_pd(wide_query(query + i + 4 * j), wide_device(vector + 4 * ((size_t)i + 4 * j)));
            sums[j] = _mm256_add_pd(sums[j], _mm256_mul_pd(t, t));
        }
    store_lanes(lanes, sums);
    for (; i < dimension; i++) {
        double t = (double)query[i] - (double)vector_load_f32(vector + 4 * (size_t)i);
        lanes[i % VECTOR_LANES] += t * t;
    }
    return vector_combine(lanes);
}

TARGET static double product(const float *query, const uint8_t *vector, uint32_t dimension)
{
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    double lanes[VECTOR_LANES];
    uint32_t i = 0;
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        for (uint32_t j = 0; j < 4; j++)
            sums[j] = _mm256_add_pd(sums[j], _mm256_mul_pd(wide_query(query + i + 4 * j), wide_device(vector + 4 * ((size_t)i + 4 * j))));
    store_lanes(lanes, sums);
    for (; i < dimension; i++)
        lanes[i % VECTOR_LANES] += (double)query[i] * (double)vector_load_f32(vector + 4 * (size_t)i);
    return vector_combine(lanes);
}

INLINE int32_t add_lanes(__m256i sums)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

TARGET static int32_t product_i8(const int8_t *a, const int8_t *b, uint32_t count)
{
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    uint32_t i = 0;
    for (; i + 32 <= count; i += 32)
        for (uint32_t j = 0; j < 2; j++) {
            __m256i wide_a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(a + i + 16 * j)));
            __m256i wide_b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(b + i + 16 * j)));
            sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(wide_a, wide_b));
        }
    int32_t sum = add_lanes(_mm256_add_epi32(sums[0], sums[1]));
    for (; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

TARGET static int32_t product_u4(const uint8_t *codes, const int8_t *low, const int8_t *high, uint32_t count)
{
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i sums = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)(codes + i));
        /* Two products of at most 15 * 127 each: 16 bits hold four of them. */
        __m256i lows = _mm256_maddubs_epi16(_mm256_and_si256(both, mask), _mm256_loadu_si256((const __m256i *)(const void *)(low + i)));
        __m256i highs = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), mask), _mm256_loadu_si256((const __m256i *)(const void *)(high + i)));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_add_epi16(lows, highs), ones));
    }
    int32_t sum = add_lanes(sums);
    for (; i < count; i++)
        sum += (codes[i] & 15) * low[i] + (codes[i] >> 4) * high[i];
    return sum;
}

const struct vector_kernels vector_kernels_avx2 = {"avx2", square, product, product_i8, product_u4};

#endif
