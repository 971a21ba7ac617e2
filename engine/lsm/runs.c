/* runs.c: rows that arrive in key order within their series: a hash finds the series' run, the row goes to its end (memtable_private.h states the layout and the memory ordering).
 *
 * Invariants
 *   1. A run is in the directory before its lock is let go for the first time, hence before it has a row: a reader that walks the directory misses none.
 *   2. The keys of a run ascend strictly and all begin with its series; no two runs have the same.
 *   3. Blocks come from the arena when they are needed. When there is none left the caller uses the skiplist, for which it has room: an insert cannot fail.
 * Threads: writers try the run's lock and never wait for it; readers take none. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

enum { AHEAD_ROWS = 8, AHEAD_BYTES = 192, LINE_BYTES = 64 };

static inline struct run *run_at(const struct memtable *memtable, uint32_t offset)
{
    struct skip_node *node = node_at(&memtable->directory, offset);
    return (struct run *)(void *)((uint8_t *)node + node_image_at(node->height, node->key_bytes));
}

static inline uint32_t block_of(uint32_t index) { return 31u - (uint32_t)__builtin_clz(index / RUN_FIRST_COUNT + 1); }

static inline uint32_t *offset_at(const struct memtable *memtable, const struct run *run, uint32_t index)
{
    uint32_t block = block_of(index);
    uint32_t *offsets = (uint32_t *)(void *)(memtable->list.arena + (uint64_t)run->blocks[block] * NODE_UNIT_BYTES);
    return offsets + (index - RUN_FIRST_COUNT * ((1u << block) - 1));
}

static inline uint32_t count_of(const struct run *run) { return atomic_load_explicit(&run->count, memory_order_acquire); }

void runs_reset(struct memtable *memtable)
{
    skiplist_reset(&memtable->directory);
    for (uint32_t i = 0; i < memtable->run_slot_count; i++)
        atomic_store_explicit(&memtable->run_slots[i], 0, memory_order_relaxed);
    atomic_store_explicit(&memtable->run_count, 0, memory_order_relaxed);
}

/* ---- Writers ---- */

/* A directory node with an empty, locked run; 0: no memory. */
static uint32_t make_run(struct memtable *memtable, const struct skip_target *series, uint64_t hash)
{
    uint32_t height = 1 + (uint32_t)__builtin_ctzll(hash | 1ull << (2 * (TOWER_HEIGHT_MAX - 1))) / 2;
    uint32_t image_at = node_image_at(height, series->key_bytes);
    struct memtable_room room;
    if (!memtable_reserve(memtable->generation, image_at + sizeof(struct run), &room))
        return 0;
    uint32_t offset = (uint32_t)(room.at / NODE_UNIT_BYTES);
    struct skip_node *node = node_at(&memtable->directory, offset);
    node->prefix = series->prefix;
    node->seq = UINT64_MAX;
    node->schema = NULL;
    node->image_bytes = sizeof(struct run);
    node->key_bytes = (uint16_t)series->key_bytes;
    node->kind = RECORD_PUT;
    node->height = (uint8_t)height;
    if (series->key_bytes != 0)
        memcpy((uint8_t *)node + node_key_at(height), series->key, series->key_bytes);
    struct run *run = run_at(memtable, offset);
    memset(run, 0, sizeof *run);
    atomic_store_explicit(&run->locked, 1, memory_order_relaxed);
    return offset;
}

static bool is_series(const struct memtable *memtable, uint32_t offset, const struct skip_target *series)
{
    const struct skip_node *node = node_at(&memtable->directory, offset);
    return node->prefix == series->prefix && node->key_bytes == series->key_bytes && (series->key_bytes <= 8 || memcmp(node_key(node) + 8, series->key + 8, series->key_bytes - 8) == 0);
}

/* The run of a series, locked; NULL: there is none and no more are made, or another writer is at it. */
static struct run *find_run(struct memtable *memtable, const struct skip_target *series)
{
    uint64_t hash = hash_bytes(series->key, series->key_bytes);
    uint32_t mask = memtable->run_slot_count - 1, slot = (uint32_t)(hash >> 32) & mask, made = 0;
    for (;; slot = (slot + 1) & mask) {
        uint32_t offset = atomic_load_explicit(&memtable->run_slots[slot], memory_order_acquire);
        if (offset == 0) {
            if (!made && atomic_fetch_add_explicit(&memtable->run_count, 1, memory_order_relaxed) >= memtable->run_slot_count / 4 * 3) {
                atomic_fetch_sub_explicit(&memtable->run_count, 1, memory_order_relaxed);
                return NULL;
            }
            made = made ? made : make_run(memtable, series, hash);
            if (!made)
                return NULL; /* the arena is all but full: the count does not matter any more */
            if (atomic_compare_exchange_strong_explicit(&memtable->run_slots[slot], &offset, made, memory_order_release, memory_order_acquire)) {
                skiplist_link(&memtable->directory, series, made, 1);
                return run_at(memtable, made);
            }
        }
        /* A run that lost the race for its slot stays unused where it is. */
        if (is_series(memtable, offset, series)) {
            struct run *run = run_at(memtable, offset);
            bool taken = atomic_load_explicit(&run->locked, memory_order_relaxed) || atomic_exchange_explicit(&run->locked, 1, memory_order_acquire);
            return taken ? NULL : run;
        }
    }
}

static uint64_t tail_number(const struct skip_target *target, uint32_t tail_bytes) { return key_prefix(target->key + target->key_bytes - tail_bytes, tail_bytes); }

/* Whether the key lies above the run's last. */
static bool is_above(const struct memtable *memtable, const struct run *run, const struct skip_target *target, uint32_t tail_bytes)
{
    uint32_t count = atomic_load_explicit(&run->count, memory_order_relaxed);
    uint64_t tail = tail_number(target, tail_bytes);
    if (count == 0 || tail > run->last_tail)
        return true;
    if (tail < run->last_tail || tail_bytes <= 8)
        return false;
    const struct skip_node *last = node_at(&memtable->list, *offset_at(memtable, run, count - 1));
    assert(last->key_bytes == target->key_bytes);
    return memcmp(target->key + target->key_bytes - tail_bytes + 8, node_key(last) + target->key_bytes - tail_bytes + 8, tail_bytes - 8) > 0;
}

/* Whether there is a place for one offset more; a new block is taken if need be. */
static bool has_place(struct memtable *memtable, struct run *run)
{
    uint32_t count = atomic_load_explicit(&run->count, memory_order_relaxed), block = block_of(count);
    struct memtable_room room;
    if (block >= RUN_BLOCK_COUNT_MAX)
        return false;
    if (run->blocks[block] != 0)
        return true;
    if (!memtable_reserve(memtable->generation, sizeof(uint32_t) * ((uint64_t)RUN_FIRST_COUNT << block), &room))
        return false;
    run->blocks[block] = (uint32_t)(room.at / NODE_UNIT_BYTES);
    return true;
}

struct run *run_enter(struct memtable *memtable, const struct skip_target *target, uint32_t tail_bytes)
{
    assert(tail_bytes > 0 && tail_bytes <= target->key_bytes);
    if (memtable->run_slot_count == 0)
        return NULL;
    struct skip_target series = skip_target_make(target->key, target->key_bytes - tail_bytes, UINT64_MAX);
    struct run *run = find_run(memtable, &series);
    if (run && is_above(memtable, run, target, tail_bytes) && has_place(memtable, run))
        return run;
    if (run)
        atomic_store_explicit(&run->locked, 0, memory_order_release);
    return NULL;
}

void run_append(struct memtable *memtable, struct run *run, const struct skip_target *target, uint32_t tail_bytes, uint32_t offset)
{
    uint32_t count = atomic_load_explicit(&run->count, memory_order_relaxed);
    *offset_at(memtable, run, count) = offset;
    run->last_tail = tail_number(target, tail_bytes);
    atomic_store_explicit(&run->count, count + 1, memory_order_release);
    atomic_store_explicit(&run->locked, 0, memory_order_release);
}

/* ---- Readers ---- */

static uint32_t next_run(const struct memtable *memtable, uint32_t offset) { return atomic_load_explicit(&node_at(&memtable->directory, offset)->next[0], memory_order_acquire); }

static struct run_place place_at(const struct memtable *memtable, uint32_t run, uint32_t index)
{
    return (struct run_place){run, index, *offset_at(memtable, run_at(memtable, run), index)};
}

/* The first row of this run or, if it has none, of the next that has one. */
static struct run_place first_from(const struct memtable *memtable, uint32_t run)
{
    for (; run != 0; run = next_run(memtable, run))
        if (count_of(run_at(memtable, run)) > 0)
            return place_at(memtable, run, 0);
    return (struct run_place){0, 0, 0};
}

/* The last row of this run or of one before it. */
static struct run_place last_up_to(const struct memtable *memtable, uint32_t run)
{
    while (run != 0 && run != memtable->directory.head) {
        uint32_t count = count_of(run_at(memtable, run)), after;
        if (count > 0)
            return place_at(memtable, run, count - 1);
        const struct skip_node *node = node_at(&memtable->directory, run);
        struct skip_target series = {node_key(node), node->key_bytes, node->prefix, UINT64_MAX};
        run = skiplist_find(&memtable->directory, &series, &after);
    }
    return (struct run_place){0, 0, 0};
}

struct run_place runs_first(const struct memtable *memtable) { return first_from(memtable, next_run(memtable, memtable->directory.head)); }

struct run_place runs_last(const struct memtable *memtable) { return last_up_to(memtable, skiplist_last(&memtable->directory)); }

/* How many of the run's first `count` rows come before the target. */
static uint32_t count_before(const struct memtable *memtable, const struct run *run, uint32_t count, const struct skip_target *target)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (node_compare(node_at(&memtable->list, *offset_at(memtable, run, middle)), target) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The last run whose series is not above the target's key (the head if none); all of its rows come before the target unless its series begins the target's key. */
static uint32_t find_series(const struct memtable *memtable, const struct skip_target *target, uint32_t *after)
{
    struct skip_target series = *target;
    series.seq = 0; /* a series that equals the key comes before it */
    return skiplist_find(&memtable->directory, &series, after);
}

struct run_place runs_seek(const struct memtable *memtable, const struct skip_target *target)
{
    uint32_t after, before = find_series(memtable, target, &after);
    if (before != memtable->directory.head) {
        const struct run *run = run_at(memtable, before);
        uint32_t count = count_of(run), index = count_before(memtable, run, count, target);
        if (index < count) /* rows that are appended meanwhile may come before the target */
            return place_at(memtable, before, index);
    }
    return first_from(memtable, after);
}

struct run_place runs_seek_before(const struct memtable *memtable, const struct skip_target *target)
{
    uint32_t after, before = find_series(memtable, target, &after);
    if (before == memtable->directory.head)
        return (struct run_place){0, 0, 0};
    const struct run *run = run_at(memtable, before);
    uint32_t index = count_before(memtable, run, count_of(run), target);
    if (index > 0)
        return place_at(memtable, before, index - 1);
    const struct skip_node *node = node_at(&memtable->directory, before);
    struct skip_target series = {node_key(node), node->key_bytes, node->prefix, UINT64_MAX};
    return last_up_to(memtable, skiplist_find(&memtable->directory, &series, &after));
}

struct run_place runs_next(const struct memtable *memtable, struct run_place place)
{
    const struct run *run = run_at(memtable, place.run);
    uint32_t count = count_of(run), index = place.index + 1;
    if (index >= count)
        return first_from(memtable, next_run(memtable, place.run));
    if (index + AHEAD_ROWS < count) {
        const uint8_t *ahead = (const uint8_t *)node_at(&memtable->list, *offset_at(memtable, run, index + AHEAD_ROWS));
        for (uint32_t at = 0; at < AHEAD_BYTES; at += LINE_BYTES)
            __builtin_prefetch(ahead + at);
    }
    return place_at(memtable, place.run, index);
}
