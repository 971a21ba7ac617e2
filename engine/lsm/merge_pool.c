/* merge_pool.c: the segments of a merge that share few iterators (merge.h).
 *
 * In a long recording by (series, time) hundreds of segments lie above each other by key, but only those of one time after the other are at the front. So a source of the pool has an iterator only from when the merge comes to what it waits at
 * until another one needs the iterator more: it is *parked* then, which leaves a copy of its next record's key and seq. Who comes last in the merge's order is parked: of all choices that is the one with the fewest openings.
 *
 * Invariants
 *   1. A source that waits stands, in the heap's order, at or before each of its records that are still to come: at a bound (seq UINT64_MAX, before all records of that key), or at its next record itself (parked).
 *   2. The source at the top has its iterator whenever the merge is on a record; it is never parked.
 *   3. A hint is a bound of what comes after the place where it was taken, so also of what comes after any later place. It names the iterator that was on the segment, which the caller checks.
 *   4. A merge that goes on from hints begins behind every deleted key that the one before passed over, and none passes over one beyond its end: else an older version of the key could come to light whose tombstone is not met again.
 * Threads: the merge's. Failures: MOTE_EBUDGET, where not even one iterator can be had; hints are lost without memory.
 */
#include "engine/lsm/merge_private.h"

#include <assert.h>

#include "blockdev/base/errors.h"

int merge_reserve(struct merge *merge, uint32_t capacity)
{
    struct source *sources = memory_alloc(merge->memory, capacity * (sizeof *sources + sizeof(uint32_t)));
    if (!sources)
        return MOTE_EBUDGET;
    if (merge->count)
        memcpy(sources, merge->sources, merge->count * sizeof *sources);
    memory_free(merge->memory, merge->sources);
    merge->sources = sources;
    merge->heap = (uint32_t *)(sources + capacity);
    merge->capacity = capacity;
    return MOTE_OK;
}

void merge_set_pool(struct merge *merge, const struct merge_pool *pool) { merge->pool = *pool; }

int merge_add_later(struct merge *merge, struct segment *segment, const uint8_t *bound, uint32_t bound_bytes, struct sst_iterator *held)
{
    assert(merge->mode == MERGE_VISIBLE && bound_bytes <= MERGE_BOUND_BYTES && !merge->live);
    int result = merge->count == merge->capacity ? merge_reserve(merge, merge->capacity * 2) : MOTE_OK;
    struct source *source = result ? NULL : merge_add_source(merge);
    if (!source)
        return MOTE_EBUDGET;
    source->later = segment;
    source->segment = held;
    source->bound_bytes = (uint8_t)bound_bytes;
    if (bound_bytes)
        memcpy(source->bound, bound, bound_bytes);
    return MOTE_OK;
}

/* ---- Waiting ---- */

static void forget_key(struct merge *merge, struct source *source)
{
    memory_free(merge->memory, source->long_key);
    source->long_key = NULL;
}

void merge_pool_clear(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++)
        if (merge->sources[i].long_key)
            forget_key(merge, &merge->sources[i]);
}

static void wait_at(struct source *source, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    source->record = (struct record){.key = key, .key_bytes = key_bytes, .kind = RECORD_PUT, .seq = seq};
    source->key_prefix = load_prefix(key, key_bytes);
    source->standing = source->waiting = true;
}

void merge_stand_at_bounds(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        source->standing = source->waiting = false;
        if (source->later && !source->began && source->bound_bytes)
            wait_at(source, source->bound, source->bound_bytes, UINT64_MAX);
    }
}

bool merge_may_wait(const struct merge *merge, const struct source *source, const uint8_t *key, uint32_t key_bytes)
{
    if (source->began || !source->bound_bytes)
        return false;
    if (!key)
        return true;
    int order = key_compare(source->bound, source->bound_bytes, key, key_bytes);
    return merge->descending ? order < 0 : order > 0;
}

/* ---- The pool ---- */

/* The source stands where its iterator stood, without it. */
static int park(struct merge *merge, struct source *source)
{
    struct sst_iterator *iterator = source->segment;
    if (source->standing && !source->waiting) {
        uint32_t key_bytes = source->record.key_bytes;
        uint8_t *key = source->bound;
        if (key_bytes > sizeof source->bound)
            key = source->long_key = memory_alloc(merge->memory, key_bytes);
        if (!key)
            return MOTE_EBUDGET;
        memcpy(key, source->record.key, key_bytes);
        wait_at(source, key, key_bytes, source->record.seq);
    }
    source->segment = NULL;
    merge->pool.close(merge->pool.context, iterator, true);
    return MOTE_OK;
}

bool merge_park_last(struct merge *merge, const struct source *except)
{
    struct source *last = NULL;
    for (uint32_t i = 0; i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        if (!source->later || !source->segment || source == except)
            continue;
        if (!source->standing) {
            last = source; /* positioned later, or never again */
            break;
        }
        if (!last || compare_sources(merge, source, last) > 0)
            last = source;
    }
    return last && park(merge, last) == MOTE_OK;
}

int merge_pool_open(struct merge *merge, struct source *source)
{
    struct sst_iterator *iterator;
    int result;
    while ((result = merge->pool.open(merge->pool.context, source->later, source->segment, &iterator)) == MERGE_POOL_FULL)
        if (!merge_park_last(merge, source))
            return error_set(MOTE_EBUDGET, "a merge has no iterator for any of its segments; please report it");
    if (result)
        return result;
    forget_key(merge, source);
    source->segment = iterator;
    source->began = true;
    return MOTE_OK;
}

void merge_pool_end(struct merge *merge, struct source *source)
{
    if (!source->later)
        return;
    source->ended = true;
    source->standing = source->waiting = false;
    if (source->segment)
        merge->pool.close(merge->pool.context, source->segment, false);
    source->segment = NULL;
}

/* ---- Hints ---- */

static void take_hint(const struct merge *merge, const struct source *source, bool on_top, struct hint *hint)
{
    *hint = (struct hint){.segment_id = source->later->record.id, .iterator = source->segment, .ended = source->ended};
    /* The top's record may have been passed in a copied run. A key cut short is a bound from below only. */
    uint32_t key_bytes = source->record.key_bytes;
    if (on_top || !source->standing || (merge->descending && key_bytes > sizeof hint->bound))
        return;
    hint->bound_bytes = (uint8_t)(key_bytes < sizeof hint->bound ? key_bytes : sizeof hint->bound);
    memcpy(hint->bound, source->record.key, hint->bound_bytes);
}

void merge_remember(struct merge *merge)
{
    merge->hint_count = merge->hint_next = 0;
    if (merge->failed)
        return;
    if (merge->hint_capacity < merge->count) {
        memory_free(merge->memory, merge->hints);
        merge->hints = memory_alloc(merge->memory, merge->capacity * sizeof *merge->hints);
        merge->hint_capacity = merge->hints ? merge->capacity : 0;
    }
    for (uint32_t i = 0; i < merge->count && merge->hints; i++)
        if (merge->sources[i].later)
            take_hint(merge, &merge->sources[i], merge->live > 0 && merge->heap[0] == i, &merge->hints[merge->hint_count++]);
}

void merge_set_end(struct merge *merge, const uint8_t *key, uint32_t key_bytes)
{
    merge->end = key;
    merge->end_bytes = key_bytes;
}

bool merge_last_deleted(const struct merge *merge, const uint8_t **key, uint32_t *key_bytes)
{
    *key = merge->deleted_key;
    *key_bytes = merge->deleted_key_bytes;
    return *key_bytes > 0;
}

bool merge_recall(struct merge *merge, uint64_t segment_id, struct merge_hint *known)
{
    for (uint32_t i = 0; i < merge->hint_count; i++) {
        const struct hint *hint = &merge->hints[merge->hint_next];
        merge->hint_next = merge->hint_next + 1 < merge->hint_count ? merge->hint_next + 1 : 0;
        if (hint->segment_id != segment_id)
            continue;
        *known = (struct merge_hint){.ended = hint->ended, .bound = hint->bound, .bound_bytes = hint->bound_bytes, .iterator = hint->iterator};
        return true;
    }
    return false;
}

void merge_rest(struct merge *merge)
{
    merge_pool_clear(merge);
    merge->count = merge->live = 0;
    memory_free(merge->memory, merge->hints);
    merge->hints = NULL;
    merge->hint_count = merge->hint_capacity = merge->hint_next = 0;
    if (merge->capacity > merge->sources_max)
        (void)merge_reserve(merge, merge->sources_max); /* without memory for the smaller ones the larger stay */
}
