/* timestamp_private.h: what the builder and the search of the timestamp index share: entries, page headers, the chunks that are merged. */
#ifndef MOTE_INDEX_TIMESTAMP_PRIVATE_H
#define MOTE_INDEX_TIMESTAMP_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "index/timestamp_format.h"

#define TIMESTAMP_CHUNK_ENTRIES 65536u
#define TIMESTAMP_CHUNK_RUNS_MAX 128u

struct timestamp_entry {
    int64_t first_time_ns;
    uint64_t offset_bytes;
    uint32_t length_bytes, crc, position, count;
};

/* Rows in the order of their ordinals, as runs of ascending times; if there are more of these than can be noted, the chunk is sorted when it is full, and is one run then. */
struct timestamp_chunk {
    int64_t *times_ns;
    uint32_t *ordinals;
    uint32_t count, run_count; /* run_count above TIMESTAMP_CHUNK_RUNS_MAX: to be sorted */
    uint32_t run_starts[TIMESTAMP_CHUNK_RUNS_MAX];
};

struct ordinal_index {
    struct memory *memory;
    uint64_t rows_max, count;
    uint64_t next_ordinal; /* no ordinal below it may come any more */
    int64_t last_time_ns;  /* of the present chunk */
    struct timestamp_chunk *chunks;
    uint32_t chunk_count, chunk_capacity;
    struct timestamp_chunk spare; /* the other half of a sorting pass; made when the first chunk needs sorting */
};

/* timestamp_sort.c: sorts a chunk of too many runs by time; equal times stay in the order of their ordinals. */
static inline bool timestamp_chunk_needs_sorting(const struct timestamp_chunk *chunk) { return chunk->run_count > TIMESTAMP_CHUNK_RUNS_MAX; }
int timestamp_sort_chunk(struct ordinal_index *builder, struct timestamp_chunk *chunk);

/* timestamp_merge.c: the runs of all chunks, none of which needs sorting, as one sequence in order of (time, ordinal). */
struct timestamp_merge;
int timestamp_merge_create(const struct ordinal_index *builder, struct timestamp_merge **merge);
/* The next rows, valid until the next call; their number, 0 at the end. */
uint32_t timestamp_merge_next(struct timestamp_merge *merge, const int64_t **times_ns, const uint32_t **ordinals);
void timestamp_merge_destroy(struct timestamp_merge *merge);
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
