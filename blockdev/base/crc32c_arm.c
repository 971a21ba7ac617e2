/* crc32c_arm.c: CRC-32C by the CRC32 and PMULL instructions of aarch64 (crc32c.h). They are written as assembly because compilers hide the
 * intrinsics behind whole-file options, and a file built so could hold such instructions outside of the checked path. */
#if defined(__aarch64__)

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c_private.h"
#include "blockdev/base/crc32c_table.h"

#include <sys/auxv.h>

#ifndef HWCAP_PMULL
#define HWCAP_PMULL (1ul << 4)
#endif
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1ul << 7)
#endif

#define CRC_TARGET

static inline uint32_t step_8(uint32_t state, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(state) : "r"(word));
    return state;
}

static inline uint32_t step_1(uint32_t state, uint8_t byte)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(state) : "r"((uint32_t)byte));
    return state;
}

static inline uint64_t multiply(uint32_t state, uint32_t factor)
{
    uint64_t product;
    __asm__(".arch_extension aes\n\t"
            "fmov d16, %x1\n\tfmov d17, %x2\n\tpmull v16.1q, v16.1d, v17.1d\n\tfmov %x0, d16"
            : "=r"(product)
            : "r"((uint64_t)state), "r"((uint64_t)factor)
            : "v16", "v17");
    return product;
}

#include "blockdev/base/crc32c_three_way.h"

bool crc32c_arm_available(void)
{
    unsigned long features = getauxval(AT_HWCAP);
    return (features & HWCAP_CRC32) != 0 && (features & HWCAP_PMULL) != 0;
}

uint32_t crc32c_update_arm(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes)
{
    return target ? update_all(state, target, source, size_bytes, true) : update_all(state, NULL, source, size_bytes, false);
}

#else
typedef int crc32c_arm_not_built; /* ISO C wants a declaration in each file. */
#endif
