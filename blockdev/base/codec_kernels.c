/* codec_kernels.c: which of the codecs' inner loops this processor runs (codec_kernels.h).
 *
 * Threads: the choice is one atomic pointer to a constant; threads that race to set it store the same value. Never fails. */
#include "blockdev/base/codec_kernels.h"

#include <stdatomic.h>

static _Atomic(const struct codec_kernels *) kernels_in_use;

size_t codec_kernels_all(const struct codec_kernels *all[4])
{
    size_t count = 0;
    all[count++] = &codec_kernels_portable;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[count++] = &codec_kernels_avx2;
    if (count == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi"))
        all[count++] = &codec_kernels_avx512;
#endif
    return count;
}

static const struct codec_kernels *choose_kernels(void)
{
    const struct codec_kernels *all[4];
    size_t count = codec_kernels_all(all);
    const struct codec_kernels *best = all[count - 1];
    atomic_store_explicit(&kernels_in_use, best, memory_order_relaxed);
    return best;
}

const struct codec_kernels *codec_kernels(void)
{
    const struct codec_kernels *kernels = atomic_load_explicit(&kernels_in_use, memory_order_relaxed);
    return kernels ? kernels : choose_kernels();
}
