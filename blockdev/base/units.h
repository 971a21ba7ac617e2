/* units.h: the project's units and the only place where they are converted. Header only; pure functions.
 *
 *   page        4 KiB, our unit of I/O
 *   sector      512 bytes, the smallest unit that a power cut keeps whole
 *   extent      unit of allocation (its size is in the superblock)
 */
#ifndef MOTE_BLOCKDEV_BASE_UNITS_H
#define MOTE_BLOCKDEV_BASE_UNITS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
#define SECTOR_BYTES 512u
#define REQUEST_BYTES_MAX (512u * 1024u) /* larger requests fall to a kernel worker thread under io_uring */
#define MIB_BYTES (1024u * 1024u)
#define NS_PER_US 1000
#define NS_PER_MS 1000000
#define NS_PER_S 1000000000LL

static inline bool is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

/* The smallest multiple of align_bytes (a power of two) that is not below value. */
static inline uint64_t round_up(uint64_t value, uint64_t align_bytes)
{
    assert(is_power_of_two(align_bytes));
    return (value + align_bytes - 1) & ~(align_bytes - 1);
}

static inline uint64_t round_down(uint64_t value, uint64_t align_bytes)
{
    assert(is_power_of_two(align_bytes));
    return value & ~(align_bytes - 1);
}

static inline uint64_t divide_up(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

#endif
