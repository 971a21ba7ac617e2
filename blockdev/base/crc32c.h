/* crc32c.h: CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected, as in RFC 3720), the checksum of every structure on the device.
 *
 * Run-time dispatch: SSE4.2 + PCLMULQDQ (three-way interleaved) on x86-64, the CRC32 extension (+ PMULL) on aarch64, slicing tables
 * elsewhere; all give the same value and are tested against each other. The choice is made once, by a constructor-free atomic lazily
 * set pointer. Threads: any. Never fails.
 *
 * Structures are seeded: crc32c(seed, ...) begins with volume_seed(uuid) mixed with the structure's own address, so that a structure that
 * lands at another place or on another volume fails its check (misdirected and stale writes).
 */
#ifndef MOTE_BLOCKDEV_BASE_CRC32C_H
#define MOTE_BLOCKDEV_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of data appended to what `crc` covers; crc32c(0, data, n) is the standard CRC-32C of data ("123456789" gives 0xE3069283). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes);
/* Copies size_bytes from source to target (not overlapping) and returns the CRC as crc32c(crc, source, size_bytes). */
uint32_t crc32c_copy(uint32_t crc, void *target, const void *source, size_t size_bytes);
/* CRC of a || b from crc(a), crc(b) and the length of b. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b_bytes);
/* The seed of a structure: CRC over the volume's UUID (16 bytes), then a structure kind and two 64-bit words of its address (for example
 * device offset and 0; segment id and offset in the segment), little-endian. */
uint32_t crc32c_seed(const uint8_t uuid[16], uint32_t kind, uint64_t address_high, uint64_t address_low);
/* Name of the implementation in use ("sse4.2+pclmul", "armv8-crc", "table"). */
const char *crc32c_implementation(void);

#endif
