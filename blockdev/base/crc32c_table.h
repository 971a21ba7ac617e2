/* crc32c_table.h: constants of CRC-32C, private to crc32c*.c. All follow from the reflected polynomial 0x82F63B78:
 *   crc32c_slices[0][b]   the CRC register after the byte b, begun with 0; slices[k][b]: after b and k zero bytes (slicing-by-8)
 *   crc32c_powers[k]      x^(2^k) mod P, reflected. x^(2^31) = x, so that k repeats after 31
 *   CRC32C_FOLD_n         x^(8n - 33) mod P, reflected: the factor that moves a register over n bytes by a carry-less product
 *                         followed by one CRC step over its 64 bits
 * The unit test computes all of them anew. */
#ifndef MOTE_BLOCKDEV_BASE_CRC32C_TABLE_H
#define MOTE_BLOCKDEV_BASE_CRC32C_TABLE_H

#include <stdint.h>

#define CRC32C_FOLD_336 0xa60ce07bu
#define CRC32C_FOLD_672 0xcec3662eu
#define CRC32C_FOLD_1360 0x3f70cc6fu
#define CRC32C_FOLD_2720 0x5aa1f3cfu

extern const uint32_t crc32c_slices[8][256];
extern const uint32_t crc32c_powers[31];

#endif
