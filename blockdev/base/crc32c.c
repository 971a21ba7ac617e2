/* crc32c.c: choice of the implementation, the portable one (slicing-by-8), combination and seeds (crc32c.h).
 *
 * Threads: the chosen method is one atomic pointer to a constant; threads that race to set it store the same value. Never fails. */
#include "blockdev/base/crc32c.h"
#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c_private.h"
#include "blockdev/base/crc32c_table.h"

#include <stdatomic.h>

static const struct crc32c_method method_table = {"table", crc32c_update_table};
#if defined(__x86_64__)
static const struct crc32c_method method_x86 = {"sse4.2+pclmul", crc32c_update_x86};
#elif defined(__aarch64__)
static const struct crc32c_method method_arm = {"armv8-crc", crc32c_update_arm};
#endif

static _Atomic(const struct crc32c_method *) method_in_use;

static const struct crc32c_method *choose_method(void)
{
    const struct crc32c_method *method = &method_table;
#if defined(__x86_64__)
    if (crc32c_x86_available())
        method = &method_x86;
#elif defined(__aarch64__)
    if (crc32c_arm_available())
        method = &method_arm;
#endif
    atomic_store_explicit(&method_in_use, method, memory_order_relaxed);
    return method;
}

static inline const struct crc32c_method *get_method(void)
{
    const struct crc32c_method *method = atomic_load_explicit(&method_in_use, memory_order_relaxed);
    return method ? method : choose_method();
}

uint32_t crc32c_update_table(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes)
{
    size_t at = 0;
    for (; size_bytes - at >= 8; at += 8) {
        uint64_t word = load_u64(source + at);
        if (target)
            store_u64(target + at, word);
        word ^= state;
        state = crc32c_slices[7][word & 0xff] ^ crc32c_slices[6][word >> 8 & 0xff] ^ crc32c_slices[5][word >> 16 & 0xff] ^
                crc32c_slices[4][word >> 24 & 0xff] ^ crc32c_slices[3][word >> 32 & 0xff] ^ crc32c_slices[2][word >> 40 & 0xff] ^
                crc32c_slices[1][word >> 48 & 0xff] ^ crc32c_slices[0][word >> 56];
    }
    for (; at < size_bytes; at++) {
        uint8_t byte = source[at];
        if (target)
            target[at] = byte;
        state = state >> 8 ^ crc32c_slices[0][(state ^ byte) & 0xff];
    }
    return state;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    return ~get_method()->update(~crc, NULL, data, size_bytes);
}

uint32_t crc32c_copy(uint32_t crc, void *target, const void *source, size_t size_bytes)
{
    return ~get_method()->update(~crc, target, source, size_bytes);
}

/* The product of two reflected polynomials mod P. */
static uint32_t multiply_mod(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = b >> 1 ^ (0x82F63B78u & (0u - (b & 1)));
    }
    return product;
}

/* Appending b moves a's register over size_b_bytes bytes, that is, multiplies it by x^(8 size); the inversions at both ends cancel. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b_bytes)
{
    uint32_t moved = crc_a;
    unsigned power = 3; /* x^8 = x^(2^3) for each byte */
    for (uint64_t left = size_b_bytes; left; left >>= 1, power++) {
        if (left & 1)
            moved = multiply_mod(crc32c_powers[power % 31], moved);
    }
    return moved ^ crc_b;
}

uint32_t crc32c_seed(const uint8_t uuid[16], uint32_t kind, uint64_t address_high, uint64_t address_low)
{
    uint8_t bytes[36];
    memcpy(bytes, uuid, 16);
    store_u32(bytes + 16, kind);
    store_u64(bytes + 20, address_high);
    store_u64(bytes + 28, address_low);
    return crc32c(0, bytes, sizeof bytes);
}

const char *crc32c_implementation(void) { return get_method()->name; }
