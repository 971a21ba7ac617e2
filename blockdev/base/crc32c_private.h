/* crc32c_private.h: the implementations that crc32c.c chooses from. Private to crc32c*.c.
 *
 * Each continues the raw register (no inversion at either end) over size_bytes bytes; where target is not NULL it also copies them there.
 * The hardware ones must be called only where crc32c_*_available answered true. */
#ifndef MOTE_BLOCKDEV_BASE_CRC32C_PRIVATE_H
#define MOTE_BLOCKDEV_BASE_CRC32C_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t crc32c_update(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes);

struct crc32c_method {
    const char *name;
    crc32c_update *update;
};

uint32_t crc32c_update_table(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes);
#if defined(__x86_64__)
bool crc32c_x86_available(void);
uint32_t crc32c_update_x86(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes);
#elif defined(__aarch64__)
bool crc32c_arm_available(void);
uint32_t crc32c_update_arm(uint32_t state, uint8_t *target, const uint8_t *source, size_t size_bytes);
#endif

#endif
