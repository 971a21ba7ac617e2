/* merge_private.h: what merge.c and merge_pool.c share: the merge and its sources.
 *
 * Threads: the merge's. Failures: none. */
#ifndef MOTE_ENGINE_LSM_MERGE_PRIVATE_H
#define MOTE_ENGINE_LSM_MERGE_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "engine/lsm/merge.h"

struct source {
    uint64_t key_prefix; /* first eight bytes of the key, big-endian, padded with zeros */
    struct record record;
    struct sst_iterator *segment; /* NULL: a memtable, or a segment of the pool that has no iterator now */
    struct memtable_iterator memtable;
    const struct schema *image_schema; /* of a memtable's record */
    const uint8_t *image;
    uint32_t image_bytes;
    uint64_t limit_seq;   /* versions above it are not seen: the merge's snapshot, or of a private memtable its own */
    uint32_t passed_over; /* records of a memtable not yielded since the last search */
    struct segment *const *segments; /* of merge_add_segments */
    uint32_t segment_count, segment_next;
    const struct schema *reader_schema;
    /* Of the pool (merge_pool.c): */
    struct segment *later; /* NULL: not of the pool */
    bool standing; /* record holds: a record, or what it waits at */
    bool waiting;  /* record is a bound, or a copy of the key and seq at which the source was parked */
    bool began;    /* it was opened since the reset: its bound is void */
    bool ended;    /* it has nothing more in this view */
    uint8_t bound_bytes; /* 0: none */
    uint8_t bound[MERGE_BOUND_BYTES];
    uint8_t *long_key; /* of a parked source, where the key has no room in `bound` */
};

/* What is known of a segment from before the last reset. */
struct hint {
    uint64_t segment_id;
    struct sst_iterator *iterator; /* that was on it; NULL: none */
    uint8_t bound_bytes;           /* 0: none */
    bool ended;
    uint8_t bound[MERGE_BOUND_BYTES];
};

struct merge {
    struct memory *memory;
    const struct schema *schema;
    enum merge_mode mode;
    bool descending;
    bool has_current;
    int failed; /* MOTE_E of an iterator, until the next positioning */
    uint64_t snapshot_seq;
    uint32_t sources_max, capacity, count, live; /* sources_max: beyond it only segments of the pool */
    struct merge_pool pool;
    struct hint *hints;
    uint32_t hint_count, hint_capacity, hint_next; /* next: where the next one is looked for first */
    uint64_t current_prefix;
    uint32_t current_key_bytes;
    uint8_t current_key[MOTE_KEY_BYTES_MAX];
    uint8_t scratch[MOTE_KEY_BYTES_MAX];
    const uint8_t *end; /* of merge_set_end; NULL: none */
    uint32_t end_bytes;
    uint32_t deleted_key_bytes; /* of the last key that was passed over as deleted; 0: none since the reset */
    uint8_t deleted_key[MOTE_KEY_BYTES_MAX];
    uint32_t *heap; /* indices of sources; behind them, in the same memory */
    struct source *sources;
};

static inline uint64_t load_prefix(const uint8_t *key, uint32_t key_bytes)
{
    uint8_t padded[8] = {0};
    if (key_bytes >= 8)
        return load_be64(key);
    memcpy(padded, key, key_bytes);
    return load_be64(padded);
}

static inline int compare_sources(const struct merge *merge, const struct source *a, const struct source *b)
{
    int order;
    if (a->key_prefix != b->key_prefix)
        order = a->key_prefix < b->key_prefix ? -1 : 1;
    else
        order = key_compare(a->record.key, a->record.key_bytes, b->record.key, b->record.key_bytes);
    if (order)
        return merge->descending ? -order : order;
    return (a->record.seq < b->record.seq) - (a->record.seq > b->record.seq);
}

/* ---- merge.c ---- */
/* A new source, the last; NULL with MOTE_EBUDGET. */
struct source *merge_add_source(struct merge *merge);

/* ---- merge_pool.c ---- */
/* Room for so many sources. */
int merge_reserve(struct merge *merge, uint32_t capacity);
/* Before a positioning: sources of the pool stand at their bounds. */
void merge_stand_at_bounds(struct merge *merge);
/* Whether the source need not be opened for a position at the key (NULL: the very end). */
bool merge_may_wait(const struct merge *merge, const struct source *source, const uint8_t *key, uint32_t key_bytes);
/* The source, of the pool, has an iterator, open and on no record: its own, a free one, or that of the source that comes last. */
int merge_pool_open(struct merge *merge, struct source *source);
/* Takes the iterator of the open source of the pool that comes last, but not of `except`. false: there is none. */
bool merge_park_last(struct merge *merge, const struct source *except);
/* The source has come to its end. */
void merge_pool_end(struct merge *merge, struct source *source);
/* Frees what the sources hold. */
void merge_pool_clear(struct merge *merge);

#endif
