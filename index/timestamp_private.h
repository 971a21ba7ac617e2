/* timestamp_private.h: what the builder and the search of the timestamp index share: entries, page headers, the chunks that are sorted. */
#ifndef MOTE_INDEX_TIMESTAMP_PRIVATE_H
#define MOTE_INDEX_TIMESTAMP_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "index/timestamp_format.h"

#define TIMESTAMP_CHUNK_ENTRIES 65536u

struct timestamp_entry {
    int64_t first_time_ns;
    uint64_t offset_bytes;
    uint32_t length_bytes, crc, position, count;
};

/* Rows in the order of their ordinals until the chunk is full, then in the order of their times. */
struct timestamp_chunk {
    int64_t *times_ns;
    uint32_t *ordinals;
    uint32_t count;
    bool sorted;
};

struct ordinal_index {
    struct memory *memory;
    uint64_t rows_max, count;
    uint64_t next_ordinal; /* no ordinal below it may come any more */
    int64_t last_time_ns;  /* of the present chunk */
    struct timestamp_chunk *chunks;
    uint32_t chunk_count, chunk_capacity;
    struct timestamp_chunk spare; /* the other half of a pass; made when the first chunk needs sorting */
};

/* timestamp_sort.c: sorts a chunk by time; equal times stay in the order of their ordinals. */
int timestamp_sort_chunk(struct ordinal_index *builder, struct timestamp_chunk *chunk);
/* Entries in ascending order of time that are still to be merged. */
struct timestamp_run {
    const int64_t *times_ns;
    const uint32_t *ordinals;
    uint32_t left;
};
#define TIMESTAMP_RUNS_MAX 16u
/* Takes the first `most` entries of at most TIMESTAMP_RUNS_MAX runs, none of them empty, in order of time, equal ones in the order of the runs; runs that end are removed. Returns how many it took. */
uint32_t timestamp_merge_runs(struct timestamp_run *runs, uint32_t *run_count, uint32_t most, int64_t *times_ns, uint32_t *ordinals);
int timestamp_chunk_alloc(struct memory *memory, uint32_t capacity, struct timestamp_chunk *chunk);
void timestamp_chunk_free(struct memory *memory, struct timestamp_chunk *chunk);

static inline void timestamp_entry_store(uint8_t *at, const struct timestamp_entry *entry)
{
    store_u64(at, (uint64_t)entry->first_time_ns);
    store_u64(at + 8, entry->offset_bytes);
    store_u32(at + 16, entry->length_bytes);
    store_u32(at + 20, entry->crc);
    store_u32(at + 24, entry->position);
    store_u32(at + 28, entry->count);
}

static inline void timestamp_entry_load(const uint8_t *at, struct timestamp_entry *entry)
{
    entry->first_time_ns = (int64_t)load_u64(at);
    entry->offset_bytes = load_u64(at + 8);
    entry->length_bytes = load_u32(at + 16);
    entry->crc = load_u32(at + 20);
    entry->position = load_u32(at + 24);
    entry->count = load_u32(at + 28);
}

#endif
