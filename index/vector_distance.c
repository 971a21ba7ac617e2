/* vector_distance.c: choice of the kernels, the portable ones, and what becomes of a vector before it is stored (vector.h, vector_private.h).
 *
 * Threads: the chosen set is one atomic pointer to a constant; threads that race to set it store the same value. Never fails.
 */
#include <stdatomic.h>

#include "index/vector_private.h"

static double square_portable(const float *query, const uint8_t *vector, uint32_t dimension)
{
    double sums[VECTOR_LANES] = {0};
    for (uint32_t i = 0; i < dimension; i++) {
        double t = (double)query[i] - (double)vector_load_f32(vector + 4 * (size_t)i);
        sums[i % VECTOR_LANES] += t * t;
    }
    return vector_combine(sums);
}

static double product_portable(const float *query, const uint8_t *vector, uint32_t dimension)
{
    double sums[VECTOR_LANES] = {0};
    for (uint32_t i = 0; i < dimension; i++)
        sums[i % VECTOR_LANES] += (double)query[i] * (double)vector_load_f32(vector + 4 * (size_t)i);
    return vector_combine(sums);
}

static int32_t product_i8_portable(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static int32_t product_u4_portable(const uint8_t *codes, const int8_t *low, const int8_t *high, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (codes[i] & 15) * low[i] + (codes[i] >> 4) * high[i];
    return sum;
}

const struct vector_kernels vector_kernels_portable = {"portable", square_portable, product_portable, product_i8_portable, product_u4_portable};

size_t vector_kernels_all(const struct vector_kernels *all[VECTOR_KERNELS_MAX])
{
    size_t count = 0;
    all[count++] = &vector_kernels_portable;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        all[count++] = &vector_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        all[count++] = &vector_kernels_avx512;
#elif defined(__aarch64__)
    all[count++] = &vector_kernels_neon;
#endif
    return count;
}

const struct vector_kernels *vector_kernels(void)
{
    static _Atomic(const struct vector_kernels *) in_use;
    const struct vector_kernels *chosen = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (!chosen) {
        const struct vector_kernels *all[VECTOR_KERNELS_MAX];
        chosen = all[vector_kernels_all(all) - 1];
        atomic_store_explicit(&in_use, chosen, memory_order_relaxed);
    }
    return chosen;
}

bool vector_accept(enum vector_metric metric, const float *vector, uint32_t dimension, float *accepted)
{
    bool finite = true;
    double square = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        finite &= isfinite(vector[i]) != 0;
        square += (double)vector[i] * (double)vector[i];
    }
    if (!finite)
        return false;
    double length = metric == VECTOR_COSINE && square > 0 ? sqrt(square) : 1;
    for (uint32_t i = 0; i < dimension; i++)
        accepted[i] = (float)((double)vector[i] / length);
    return true;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors in memory are laid out as on the device");

double vector_measure(enum vector_metric metric, const float *query, const float *vector, uint32_t dimension)
{
    return vector_distance(vector_kernels(), metric, query, (const uint8_t *)(const void *)vector, dimension);
}
