/* cache.h: the bounded cache of checksummed device ranges (SSTable blocks, index pages), keyed by (segment id, offset in the segment).
 *
 * An entry is one read range as it stands on the device, verified once by the caller's check when it was filled; entries are pinned while in use and replaced by CLOCK among the
 * unpinned. Fixed memory: one carved region in slots of 4 KiB pages, entries take whole pages (a run; a small free-run allocator inside).
 * Threads: any; sharded mutexes, held only for look-up and insertion, never for I/O. Two threads that miss the same range may both read it; one wins.
 * Failures: cache_get returns MOTE_EIO or what check returned; nothing is cached then. If every slot is pinned: MOTE_EBUDGET.
 */
#ifndef MOTE_BLOCKDEV_CACHE_H
#define MOTE_BLOCKDEV_CACHE_H

#include "blockdev/blockdev.h"

struct cache;
struct cache_entry; /* pinned while held */

struct cache_key {
    uint64_t segment_id;
    uint64_t offset_bytes; /* in the segment */
};

struct cache_counters {
    uint64_t hits, misses, evictions;
};

/* region: page-aligned memory of region_bytes, carved by the caller. entries_max bounds the table. */
struct memory;
int cache_create(struct memory *memory, void *region, uint64_t region_bytes, uint32_t entries_max, struct cache **cache);
void cache_destroy(struct cache *cache);
/* The bytes [device_offset, device_offset + length) of the device, read (rounded out to logical blocks) through queue if not cached, then passed to check
 * (may be NULL) before anyone else sees them. *data points to the first byte asked for. Release each entry. queue must be idle and is used by this thread alone. */
int cache_get(struct cache *cache, struct cache_key key, struct blockdev_queue *queue, uint64_t device_offset_bytes, uint32_t length_bytes,
              int (*check)(const uint8_t *data, uint32_t length_bytes, void *context), void *context, struct cache_entry **entry, const uint8_t **data);
/* The same without reading: false if the range is not cached. */
bool cache_try(struct cache *cache, struct cache_key key, uint32_t length_bytes, struct cache_entry **entry, const uint8_t **data);
void cache_release(struct cache *cache, struct cache_entry *entry);
/* A miss whose read the caller does himself, so that he can have many in flight. */
struct cache_fill {
    struct cache_entry *entry;
    uint8_t *buffer;             /* to be filled with the device's size_bytes from from_bytes on: whole logical blocks */
    const uint8_t *data;         /* the first byte asked for, in buffer */
    uint64_t from_bytes, size_bytes;
};
/* 1: begun, cache_fill_end must follow; 0: the range is cached; MOTE_EBUDGET, without a sentence: no room. */
int cache_fill_begin(struct cache *cache, struct cache_key key, uint32_t logical_block_bytes, uint64_t device_offset_bytes, uint32_t length_bytes, struct cache_fill *fill);
/* good: the data was read and passes its check; else nothing is cached. */
void cache_fill_end(struct cache *cache, struct cache_fill *fill, bool good);
/* Forgets a segment's entries (its extents are freed). Pinned ones vanish at their release. */
void cache_forget_segment(struct cache *cache, uint64_t segment_id);
void cache_get_counters(const struct cache *cache, struct cache_counters *counters);

#endif
