/* vector_distance_avx512.c: the kernels of the vector index by AVX-512 with VNNI (vector_private.h). They are called only where the processor has it; the build need not.
 * Lanes 0 to 7 of the two accumulators are the partial sums 0 to 15 of vector.h; what a mask leaves out adds +0, which changes no partial sum, for none is -0. */
#if defined(__x86_64__)

#include "index/vector_private.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) static inline

struct pair {
    __m512d low, high;
};
INLINE struct pair widen(__m512 values)
{
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(values), 1));
    return (struct pair){_mm512_cvtps_pd(_mm512_castps512_ps256(values)), _mm512_cvtps_pd(high)};
}
INLINE void add_squares(struct pair *sums, __m512 query, __m512 vector)
{
    struct pair q = widen(query), v = widen(vector);
    __m512d low = _mm512_sub_pd(q.low, v.low), high = _mm512_sub_pd(q.high, v.high);
    sums->low = _mm512_add_pd(sums->low, _mm512_mul_pd(low, low));
    sums->high = _mm512_add_pd(sums->high, _mm512_mul_pd(high, high));
}
INLINE void add_products(struct pair *sums, __m512 query, __m512 vector)
{
    struct pair q = widen(query), v = widen(vector);
    sums->low = _mm512_add_pd(sums->low, _mm512_mul_pd(q.low, v.low));
    sums->high = _mm512_add_pd(sums->high, _mm512_mul_pd(q.high, v.high));
}
INLINE double combine(const struct pair *sums)
{
    double lanes[VECTOR_LANES];
    _mm512_storeu_pd(lanes, sums->low);
    _mm512_storeu_pd(lanes + 8, sums->high);
    return vector_combine(lanes);
}

TARGET static double square(const float *query, const uint8_t *vector, uint32_t dimension)
{
    struct pair sums = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    uint32_t i = 0;
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        add_squares(&sums, _mm512_loadu_ps(query + i), _mm512_loadu_ps(vector + 4 * (size_t)i));
    if (i < dimension) {
        __mmask16 rest = (__mmask16)((1u << (dimension - i)) - 1);
        add_squares(&sums, _mm512_maskz_loadu_ps(rest, query + i), _mm512_maskz_loadu_ps(rest, vector + 4 * (size_t)i));
    }
    return combine(&sums);
}

TARGET static double product(const float *query, const uint8_t *vector, uint32_t dimension)
{
    struct pair sums = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    uint32_t i = 0;
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        add_products(&sums, _mm512_loadu_ps(query + i), _mm512_loadu_ps(vector + 4 * (size_t)i));
    if (i < dimension) {
        __mmask16 rest = (__mmask16)((1u << (dimension - i)) - 1);
        add_products(&sums, _mm512_maskz_loadu_ps(rest, query + i), _mm512_maskz_loadu_ps(rest, vector + 4 * (size_t)i));
    }
    return combine(&sums);
}

INLINE __mmask64 first_bytes(uint32_t count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }

/* The instruction multiplies unsigned by signed bytes: a + 128 is unsigned, and 128 times the sum of b is taken off again. */
TARGET static int32_t product_i8(const int8_t *a, const int8_t *b, uint32_t count)
{
    const __m512i bias = _mm512_set1_epi8(-128);
    __m512i sums = _mm512_setzero_si512(), excess = _mm512_setzero_si512();
    for (uint32_t i = 0; i < count; i += 64) {
        __mmask64 present = first_bytes(count - i);
        __m512i lifted = _mm512_xor_si512(_mm512_maskz_loadu_epi8(present, a + i), bias), other = _mm512_maskz_loadu_epi8(present, b + i);
        sums = _mm512_dpbusd_epi32(sums, lifted, other);
        excess = _mm512_dpbusd_epi32(excess, bias, other);
    }
    return _mm512_reduce_add_epi32(_mm512_sub_epi32(sums, excess));
}

TARGET static int32_t product_u4(const uint8_t *codes, const int8_t *low, const int8_t *high, uint32_t count)
{
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i lows = _mm512_setzero_si512(), highs = _mm512_setzero_si512();
    for (uint32_t i = 0; i < count; i += 64) {
        __mmask64 present = first_bytes(count - i);
        __m512i both = _mm512_maskz_loadu_epi8(present, codes + i);
        lows = _mm512_dpbusd_epi32(lows, _mm512_and_si512(both, mask), _mm512_maskz_loadu_epi8(present, low + i));
        highs = _mm512_dpbusd_epi32(highs, _mm512_and_si512(_mm512_srli_epi16(both, 4), mask), _mm512_maskz_loadu_epi8(present, high + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(lows, highs));
}

const struct vector_kernels vector_kernels_avx512 = {"avx512", square, product, product_i8, product_u4};

#endif
