/* runs.c: rows that arrive in key order within their series: a hash finds the series' run, the row is laid at its end (memtable_private.h states the layout and the memory ordering).
 *
 * Invariants
 *   1. A run is in the directory before anybody may enter it a second time, hence before readers are shown a row of it: a reader that walks the directory misses none.
 *   2. The keys of a run ascend strictly and all begin with its series; no two runs have the same. All its rows have one schema and one size.
 *   3. Blocks come from the arena when they are needed. When there is none left the caller uses the skiplist, for which it has room: an insert cannot fail.
 * Threads: writers try to own the run and never wait for it; readers take no lock. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

enum { AHEAD_BYTES_MAX = 256, LINE_BYTES = 64 };

static inline struct run *run_at(const struct memtable *memtable, uint32_t offset)
{
    struct skip_node *node = node_at(&memtable->directory, offset);
    return (struct run *)(void *)((uint8_t *)node + node_image_at(node->height, node->key_bytes));
}

static inline uint32_t *units_at(const struct memtable *memtable, uint32_t offset) { return (uint32_t *)(void *)(memtable->list.arena + (uint64_t)offset * NODE_UNIT_BYTES); }

/* ---- Blocks ---- */

enum { GROWING_ROWS = RUN_FIRST_ROWS * ((1 << RUN_GROWING_BLOCKS) - 1) };
_Static_assert(RUN_FIRST_ROWS << RUN_GROWING_BLOCKS == RUN_BLOCK_ROWS, "the blocks grow up to the largest");

struct block_range {
    uint32_t number, first, rows;
};

static inline struct block_range block_of(uint32_t index)
{
    if (index >= GROWING_ROWS) {
        uint32_t number = (index - GROWING_ROWS) / RUN_BLOCK_ROWS;
        return (struct block_range){RUN_GROWING_BLOCKS + number, GROWING_ROWS + number * RUN_BLOCK_ROWS, RUN_BLOCK_ROWS};
    }
    uint32_t number = 31u - (uint32_t)__builtin_clz(index / RUN_FIRST_ROWS + 1);
    return (struct block_range){number, RUN_FIRST_ROWS * ((1u << number) - 1), (uint32_t)RUN_FIRST_ROWS << number};
}

/* Which list a block's offset is in, and where. */
static inline uint32_t list_of(uint32_t block, uint32_t *at)
{
    uint32_t list = 31u - (uint32_t)__builtin_clz(block / RUN_LIST_FIRST + 1);
    *at = block - RUN_LIST_FIRST * ((1u << list) - 1);
    return list;
}

static inline uint8_t *row_at(const struct memtable *memtable, const struct run *run, uint32_t index)
{
    struct block_range block = block_of(index);
    uint32_t at, list = list_of(block.number, &at), offset = units_at(memtable, run->lists[list])[at];
    return (uint8_t *)units_at(memtable, offset) + (uint64_t)(index - block.first) * run->row_bytes;
}

/* Room for the block that begins with this row, and for its offset. */
static bool make_block(struct memtable *memtable, struct run *run, const struct block_range *block)
{
    struct memtable_room room;
    uint32_t at, list = list_of(block->number, &at);
    if (list >= RUN_LIST_COUNT_MAX)
        return false;
    if (run->lists[list] == 0) {
        if (!memtable_reserve(memtable->generation, sizeof(uint32_t) * ((uint64_t)RUN_LIST_FIRST << list), &room))
            return false;
        run->lists[list] = (uint32_t)(room.at / NODE_UNIT_BYTES);
    }
    /* An odd number of lines: blocks of one size that follow each other would else fall into the same few sets of the first-level cache, and many series in turn would throw each other out. */
    uint64_t block_bytes = round_up((uint64_t)block->rows * run->row_bytes, LINE_BYTES) | LINE_BYTES;
    if (!memtable_reserve(memtable->generation, block_bytes, &room))
        return false;
    units_at(memtable, run->lists[list])[at] = (uint32_t)(room.at / NODE_UNIT_BYTES);
    return true;
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

static void lay_out_rows(struct run *run, const struct schema *schema, uint32_t key_bytes)
{
    bool inside = !schema->has_var && schema->fixed_bytes <= RUN_IMAGE_BYTES_MAX;
    run->schema = schema;
    run->key_bytes = key_bytes;
    run->image_at = RUN_KEY_AT + (uint32_t)round_up(key_bytes, NODE_UNIT_BYTES);
    run->image_bytes = inside ? schema->fixed_bytes : 0;
    run->row_bytes = run->image_at + (inside ? (uint32_t)round_up(schema->fixed_bytes, NODE_UNIT_BYTES) : NODE_UNIT_BYTES);
}

/* A directory node with an empty run that belongs to the owner; 0: no memory. */
static uint32_t make_run(struct memtable *memtable, const struct schema *schema, const struct skip_target *series, uint32_t tail_bytes, uint64_t hash, uint64_t owner)
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
    lay_out_rows(run, schema, series->key_bytes + tail_bytes);
    atomic_store_explicit(&run->owner, owner, memory_order_relaxed);
    return offset;
}

static bool is_series(const struct memtable *memtable, uint32_t offset, const struct skip_target *series)
{
    const struct skip_node *node = node_at(&memtable->directory, offset);
    return node->prefix == series->prefix && node->key_bytes == series->key_bytes && (series->key_bytes <= 8 || memcmp(node_key(node) + 8, series->key + 8, series->key_bytes - 8) == 0);
}

/* Makes the run the owner's; *entered: it was not before. */
static bool enter_run(struct run *run, uint64_t owner, bool *entered)
{
    uint64_t present = atomic_load_explicit(&run->owner, memory_order_relaxed);
    if (present == owner)
        return true;
    *entered = present == 0 && atomic_compare_exchange_strong_explicit(&run->owner, &present, owner, memory_order_acquire, memory_order_relaxed);
    return *entered;
}

/* The run of a series, the owner's; NULL: there is none and no more are made, or another writer is at it. */
static struct run *find_run(struct memtable *memtable, const struct schema *schema, const struct skip_target *series, uint32_t tail_bytes, uint64_t owner, bool *entered)
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
            made = made ? made : make_run(memtable, schema, series, tail_bytes, hash, owner);
            if (!made)
                return NULL; /* the arena is all but full: the count does not matter any more */
            if (atomic_compare_exchange_strong_explicit(&memtable->run_slots[slot], &offset, made, memory_order_release, memory_order_acquire)) {
                skiplist_link(&memtable->directory, series, made, 1);
                *entered = true;
                return run_at(memtable, made);
            }
        }
        /* A run that lost the race for its slot stays unused where it is. */
        if (is_series(memtable, offset, series)) {
            struct run *run = run_at(memtable, offset);
            return enter_run(run, owner, entered) ? run : NULL;
        }
    }
}

static inline uint64_t tail_number(const struct skip_target *target, uint32_t tail_bytes) { return key_prefix(target->key + target->key_bytes - tail_bytes, tail_bytes); }

/* Whether the key lies above the last one that was placed. */
static inline bool is_above(const struct run *run, const struct skip_target *target, uint32_t tail_bytes, uint64_t tail)
{
    if (run->placed == 0 || tail > run->last_tail)
        return true;
    if (tail < run->last_tail || tail_bytes <= 8)
        return false;
    uint32_t at = target->key_bytes - tail_bytes + 8;
    return memcmp(target->key + at, run->last_row + RUN_KEY_AT + at, tail_bytes - 8) > 0;
}

/* Where the series' next row will be: with many series in turn the processor does not see the order in which they are written. */
static inline void prefetch_row(const uint8_t *row, uint32_t row_bytes)
{
    uint32_t end = row_bytes < AHEAD_BYTES_MAX ? row_bytes : AHEAD_BYTES_MAX;
    for (uint32_t at = 0; at < end; at += LINE_BYTES)
        __builtin_prefetch(row + at, 1);
}

uint8_t *run_place(struct memtable *memtable, const struct schema *schema, const struct skip_target *target, uint32_t tail_bytes, uint64_t owner, struct run **result, bool *entered)
{
    assert(tail_bytes > 0 && tail_bytes <= target->key_bytes && owner != 0);
    *entered = false;
    if (memtable->run_slot_count == 0)
        return NULL;
    struct skip_target series = skip_target_make(target->key, target->key_bytes - tail_bytes, UINT64_MAX);
    struct run *run = *result = find_run(memtable, schema, &series, tail_bytes, owner, entered);
    if (!run || run->schema != schema)
        return NULL;
    uint64_t tail = tail_number(target, tail_bytes);
    if (run->placed == UINT32_MAX || !is_above(run, target, tail_bytes, tail))
        return NULL;
    assert(run->key_bytes == target->key_bytes);
    struct block_range block = block_of(run->placed);
    if (block.first == run->placed && !make_block(memtable, run, &block))
        return NULL;
    uint8_t *row = block.first == run->placed ? row_at(memtable, run, run->placed) : (uint8_t *)(uintptr_t)run->last_row + run->row_bytes;
    prefetch_row(row + run->row_bytes, run->row_bytes);
    store_u64(row, target->seq);
    memcpy(row + RUN_KEY_AT, target->key, target->key_bytes);
    run->placed++;
    run->last_row = row;
    run->last_tail = tail;
    return row + run->image_at;
}

void run_publish(struct run *run)
{
    atomic_store_explicit(&run->count, run->placed, memory_order_release);
    atomic_store_explicit(&run->owner, 0, memory_order_release);
}

/* ---- Readers ---- */

const struct run *run_of(const struct memtable *memtable, struct run_place place) { return run_at(memtable, place.run); }

struct skip_target run_target(const struct run *run, const uint8_t *row) { return skip_target_make(row + RUN_KEY_AT, run->key_bytes, load_u64(row)); }

static uint32_t next_run(const struct memtable *memtable, uint32_t offset) { return atomic_load_explicit(&node_at(&memtable->directory, offset)->next[0], memory_order_acquire); }

static struct run_place place_at(const struct memtable *memtable, uint32_t run, uint32_t index) { return (struct run_place){row_at(memtable, run_at(memtable, run), index), run, index}; }

/* The first row of this run or, if it has none, of the next that has one. */
static struct run_place first_from(const struct memtable *memtable, uint32_t run)
{
    for (; run != 0; run = next_run(memtable, run))
        if (count_of(run_at(memtable, run)) > 0)
            return place_at(memtable, run, 0);
    return (struct run_place){NULL, 0, 0};
}

/* The last row of this run or of one before it. */
static struct run_place last_up_to(const struct memtable *memtable, uint32_t run)
{
    while (run != 0 && run != memtable->directory.head) {
        uint32_t count = count_of(run_at(memtable, run)), after;
        if (count > 0)
            return place_at(memtable, run, count - 1);
        struct skip_target series = node_target(node_at(&memtable->directory, run));
        series.seq = UINT64_MAX;
        run = skiplist_find(&memtable->directory, &series, &after);
    }
    return (struct run_place){NULL, 0, 0};
}

struct run_place runs_first(const struct memtable *memtable) { return first_from(memtable, next_run(memtable, memtable->directory.head)); }

struct run_place runs_last(const struct memtable *memtable) { return last_up_to(memtable, skiplist_last(&memtable->directory)); }

/* How many of the run's first `count` rows come before the target. */
static uint32_t count_before(const struct memtable *memtable, const struct run *run, uint32_t count, const struct skip_target *target)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct skip_target found = run_target(run, row_at(memtable, run, middle));
        if (target_compare(&found, target) < 0)
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
        return (struct run_place){NULL, 0, 0};
    const struct run *run = run_at(memtable, before);
    uint32_t index = count_before(memtable, run, count_of(run), target);
    if (index > 0)
        return place_at(memtable, before, index - 1);
    struct skip_target series = node_target(node_at(&memtable->directory, before));
    series.seq = UINT64_MAX;
    return last_up_to(memtable, skiplist_find(&memtable->directory, &series, &after));
}

struct run_place runs_next(const struct memtable *memtable, struct run_place place, uint32_t distance)
{
    uint32_t count = count_of(run_at(memtable, place.run));
    assert(distance > 0 && distance <= count - place.index);
    if (distance == count - place.index)
        return first_from(memtable, next_run(memtable, place.run));
    return place_at(memtable, place.run, place.index + distance);
}

uint32_t runs_side_by_side(const struct memtable *memtable, struct run_place place)
{
    struct block_range block = block_of(place.index);
    uint32_t count = count_of(run_at(memtable, place.run)), end = block.first + block.rows;
    assert(place.index < count);
    return (end < count ? end : count) - place.index;
}

void runs_prefetch_after(const struct memtable *memtable, struct run_place place)
{
    const struct run *run = run_at(memtable, place.run);
    uint32_t count = count_of(run), next = place.index + runs_side_by_side(memtable, place);
    if (next >= count)
        return;
    struct block_range block = block_of(next);
    uint32_t rows = count - next < block.rows ? count - next : block.rows;
    const uint8_t *from = row_at(memtable, run, next);
    for (uint64_t at = 0; at < (uint64_t)rows * run->row_bytes; at += LINE_BYTES)
        __builtin_prefetch(from + at, 0, 2);
}
