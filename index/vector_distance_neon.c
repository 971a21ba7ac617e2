/* vector_distance_neon.c: the kernels of the vector index by NEON, which every aarch64 has (vector_private.h). Lanes 0 and 1 of the eight accumulators are the partial sums 0 to 15 of vector.h. */
#if defined(__aarch64__)

#include "index/vector_private.h"

#include <arm_neon.h>

static void widen(float32x4_t values, float64x2_t wide[2])
{
    wide[0] = vcvt_f64_f32(vget_low_f32(values));
    wide[1] = vcvt_high_f64_f32(values);
}

static double combine(const float64x2_t *sums, const float *query, const uint8_t *vector, uint32_t from, uint32_t dimension, bool squares)
{
    double lanes[VECTOR_LANES];
    for (uint32_t j = 0; j < VECTOR_LANES / 2; j++)
        vst1q_f64(lanes + 2 * j, sums[j]);
    for (uint32_t i = from; i < dimension; i++) {
        double q = (double)query[i], v = (double)vector_load_f32(vector + 4 * (size_t)i), t = q - v;
        lanes[i % VECTOR_LANES] += squares ? t * t : q * v;
    }
    return vector_combine(lanes);
}

static double square(const float *query, const uint8_t *vector, uint32_t dimension)
{
    float64x2_t sums[VECTOR_LANES / 2], q[2], v[2];
    uint32_t i = 0;
    for (uint32_t j = 0; j < VECTOR_LANES / 2; j++)
        sums[j] = vdupq_n_f64(0);
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        for (uint32_t j = 0; j < 4; j++) {
            widen(vld1q_f32(query + i + 4 * j), q);
            widen(vreinterpretq_f32_u8(vld1q_u8(vector + 4 * ((size_t)i + 4 * j))), v);
            for (uint32_t half = 0; half < 2; half++) {
                float64x2_t t = vsubq_f64(q[half], v[half]);
                sums[2 * j + half] = vaddq_f64(sums[2 * j + half], vmulq_f64(t, t));
            }
        }
    return combine(sums, query, vector, i, dimension, true);
}

static double product(const float *query, const uint8_t *vector, uint32_t dimension)
{
    float64x2_t sums[VECTOR_LANES / 2], q[2], v[2];
    uint32_t i = 0;
    for (uint32_t j = 0; j < VECTOR_LANES / 2; j++)
        sums[j] = vdupq_n_f64(0);
    for (; i + VECTOR_LANES <= dimension; i += VECTOR_LANES)
        for (uint32_t j = 0; j < 4; j++) {
            widen(vld1q_f32(query + i + 4 * j), q);
            widen(vreinterpretq_f32_u8(vld1q_u8(vector + 4 * ((size_t)i + 4 * j))), v);
            for (uint32_t half = 0; half < 2; half++)
                sums[2 * j + half] = vaddq_f64(sums[2 * j + half], vmulq_f64(q[half], v[half]));
        }
    return combine(sums, query, vector, i, dimension, false);
}

static int32_t product_i8(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32x4_t sums = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        int8x16_t x = vld1q_s8(a + i), y = vld1q_s8(b + i);
        sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        sums = vpadalq_s16(sums, vmull_high_s8(x, y));
    }
    int32_t sum = vaddvq_s32(sums);
    for (; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static int32_t product_u4(const uint8_t *codes, const int8_t *low, const int8_t *high, uint32_t count)
{
    int32x4_t sums = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        uint8x16_t both = vld1q_u8(codes + i);
        int8x16_t lows = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), highs = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        int8x16_t l = vld1q_s8(low + i), h = vld1q_s8(high + i);
        /* Two products of at most 15 * 127 each fit 16 bits. */
        sums = vpadalq_s16(sums, vmlal_s8(vmull_s8(vget_low_s8(lows), vget_low_s8(l)), vget_low_s8(highs), vget_low_s8(h)));
        sums = vpadalq_s16(sums, vmlal_high_s8(vmull_high_s8(lows, l), highs, h));
    }
    int32_t sum = vaddvq_s32(sums);
    for (; i < count; i++)
        sum += (codes[i] & 15) * low[i] + (codes[i] >> 4) * high[i];
    return sum;
}

const struct vector_kernels vector_kernels_neon = {"neon", square, product, product_i8, product_u4};

#endif
