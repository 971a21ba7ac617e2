/* codec_kernels_avx2.h: what the files of the AVX2 kernels share (codec_kernels.h). The functions must be called only where the processor has AVX2 and FMA; the build need not have it. */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_KERNELS_AVX2_H
#define MOTE_BLOCKDEV_BASE_CODEC_KERNELS_AVX2_H

#include "blockdev/base/codec_kernels.h"

#include <immintrin.h>

#define AVX2_TARGET __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

AVX2_INLINE __m256i load_256(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }
AVX2_INLINE void store_256(void *at, __m256i value) { _mm256_storeu_si256((__m256i *)at, value); }
/* The lesser of each pair; AVX2 compares 64-bit integers but has no minimum of them. */
AVX2_INLINE __m256i least_i64(__m256i a, __m256i b) { return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b)); }
AVX2_INLINE __m256i most_i64(__m256i a, __m256i b) { return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b)); }

/* codec_kernels_avx2_floats.c */
void codec_avx2_decimals_f32(const uint32_t *bits, uint32_t groups, float ten_power, uint32_t *integers, uint64_t *misses);
void codec_avx2_decimals_f32_exact(const uint32_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses);
void codec_avx2_decimals_f64_half(const uint64_t *bits, uint32_t groups, double ten_power, uint32_t *integers, uint64_t *misses);
void codec_avx2_decimals_f64(const uint64_t *bits, uint32_t groups, double ten_power, uint64_t *integers, uint64_t *misses);
void codec_avx2_scaled_f32(const uint32_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses);
void codec_avx2_scaled_f64_half(const uint64_t *bits, uint32_t groups, double scale, uint32_t *integers, uint64_t *misses);
void codec_avx2_scaled_f64(const uint64_t *bits, uint32_t groups, double scale, uint64_t *integers, uint64_t *misses);
bool codec_avx2_divide_64(const uint64_t *values, uint32_t groups, double ten_power, uint64_t *quotients);
/* codec_kernels_avx2_decode.c */
void codec_avx2_decode_32(struct codec_packed *packed, uint32_t groups, void *out);
void codec_avx2_decode_64(struct codec_packed *packed, uint32_t groups, void *out);
/* codec_kernels_avx512.c: as codec_avx2_decode_32; where the processor has F, BW, VL and VBMI of AVX-512. */
void codec_avx512_decode_32(struct codec_packed *packed, uint32_t groups, void *out);
/* codec_kernels_avx2_sums.c */
void codec_avx2_sum_i32(const void *values, size_t count, struct codec_summary *out);
void codec_avx2_sum_i64(const void *values, size_t count, struct codec_summary *out);
void codec_avx2_sum_f32(const void *values, size_t count, struct codec_summary *out);
void codec_avx2_sum_f64(const void *values, size_t count, struct codec_summary *out);

#endif
