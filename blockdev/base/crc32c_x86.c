/* crc32c_x86.c: CRC-32C by the crc32 instruction of SSE4.2 and PCLMULQDQ on x86-64 (crc32c.h). */
#if defined(__x86_64__)

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c_private.h"
#include "blockdev/base/crc32c_table.h"

#include <immintrin.h>

#define CRC_TARGET __attribute__((target("sse4.2,pclmul")))

CRC_TARGET static inline uint32_t step_8(uint32_t state, uint64_t word) { return (uint32_t)_mm_crc32_u64(state, word); }
CRC_TARGET static inline uint32_t step_1(uint32_t state, uint8_t byte) { return _mm_crc32_u8(state, byte); }
CRC_TARGET static inline uint64_t multiply(uint32_t state, uint32_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)state), _mm_cvtsi32_si128((int)factor), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

#include "blockdev/base/crc32c_three_way.h"

bool crc32c_x86_available(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

CRC_TARGET uint32_t crc32c_update_x86(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes)
{
    return target ? update_all(state, target, source, size_bytes, true) : update_all(state, NULL, source, size_bytes, false);
}

#else
typedef int crc32c_x86_not_built; /* ISO C wants a declaration in each file. */
#endif
