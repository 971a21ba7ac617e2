/* memtable_iterator.c: a table's rows in order: its runs and its skiplist, merged (memtable.h).
 *
 * An iterator on a record holds the record's place and the first record of the other side that comes after it. Threads: any, without locks; rows that are inserted meanwhile may be seen or not. Never fails. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

enum side { SIDE_NONE, SIDE_LIST, SIDE_RUN };

static inline struct run_place place_of(const struct memtable_iterator *iterator) { return (struct run_place){iterator->row, iterator->run, iterator->run_index}; }

static inline void set_place(struct memtable_iterator *iterator, struct run_place place)
{
    iterator->row = place.row;
    iterator->run = place.run;
    iterator->run_index = place.index;
}

static inline struct skip_target target_at_place(const struct memtable *memtable, struct run_place place) { return run_target(run_of(memtable, place), place.row); }

/* Whether the run's row comes before the list's node. */
static inline bool run_is_first(const struct memtable *memtable, struct run_place place, uint32_t list_node)
{
    struct skip_target target = target_at_place(memtable, place);
    return node_compare(node_at(&memtable->list, list_node), &target) > 0;
}

/* Goes to the smaller of both sides. */
static inline bool choose_next(struct memtable_iterator *iterator)
{
    if (!iterator->row)
        iterator->side = iterator->list_node ? SIDE_LIST : SIDE_NONE;
    else if (iterator->list_node == 0)
        iterator->side = SIDE_RUN;
    else
        iterator->side = run_is_first(iterator->memtable, place_of(iterator), iterator->list_node) ? SIDE_RUN : SIDE_LIST;
    return iterator->side != SIDE_NONE;
}

static inline uint32_t next_in_list(const struct memtable *memtable, uint32_t node) { return atomic_load_explicit(&node_at(&memtable->list, node)->next[0], memory_order_acquire); }

void memtable_iterate(struct memtable *memtable, struct memtable_iterator *iterator) { *iterator = (struct memtable_iterator){.memtable = memtable}; }

bool memtable_seek(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    const struct memtable *memtable = iterator->memtable;
    iterator->side = SIDE_NONE;
    if (!memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    set_place(iterator, runs_seek(memtable, &target));
    skiplist_find(&memtable->list, &target, &iterator->list_node);
    return choose_next(iterator);
}

/* Goes to the greater of two places; of the other side the one after it comes next. before_run without a row and before_list 0: that side has none. */
static bool choose_last(struct memtable_iterator *iterator, struct run_place before_run, uint32_t before_list)
{
    struct memtable *memtable = iterator->memtable;
    iterator->side = SIDE_NONE;
    if (!before_run.row && before_list == 0)
        return false;
    if (!before_run.row || (before_list != 0 && run_is_first(memtable, before_run, before_list))) {
        set_place(iterator, before_run.row ? runs_next(memtable, before_run, 1) : runs_first(memtable));
        iterator->list_node = before_list;
        iterator->side = SIDE_LIST;
    } else {
        iterator->list_node = next_in_list(memtable, before_list ? before_list : memtable->list.head);
        set_place(iterator, before_run);
        iterator->side = SIDE_RUN;
    }
    return true;
}

bool memtable_seek_before(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    const struct memtable *memtable = iterator->memtable;
    iterator->side = SIDE_NONE;
    if (!memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t after, before = skiplist_find(&memtable->list, &target, &after);
    return choose_last(iterator, runs_seek_before(memtable, &target), before == memtable->list.head ? 0 : before);
}

bool memtable_first(struct memtable_iterator *iterator)
{
    iterator->side = SIDE_NONE;
    if (!iterator->memtable)
        return false;
    set_place(iterator, runs_first(iterator->memtable));
    iterator->list_node = next_in_list(iterator->memtable, iterator->memtable->list.head);
    return choose_next(iterator);
}

bool memtable_last(struct memtable_iterator *iterator)
{
    iterator->side = SIDE_NONE;
    return iterator->memtable && choose_last(iterator, runs_last(iterator->memtable), skiplist_last(&iterator->memtable->list));
}

bool memtable_next(struct memtable_iterator *iterator)
{
    if (iterator->side == SIDE_NONE)
        return false;
    if (iterator->side == SIDE_RUN)
        set_place(iterator, runs_next(iterator->memtable, place_of(iterator), 1));
    else
        iterator->list_node = next_in_list(iterator->memtable, iterator->list_node);
    return choose_next(iterator);
}

bool memtable_previous(struct memtable_iterator *iterator)
{
    const struct memtable *memtable = iterator->memtable;
    if (iterator->side == SIDE_NONE)
        return false;
    struct skip_target target = iterator->side == SIDE_RUN ? target_at_place(memtable, place_of(iterator)) : node_target(node_at(&memtable->list, iterator->list_node));
    return memtable_seek_before(iterator, target.key, target.key_bytes, target.seq);
}

void run_row_record(const struct memtable *memtable, const struct run *run, const uint8_t *row, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    *record = (struct record){row + RUN_KEY_AT, run->key_bytes, RECORD_PUT, load_u64(row)};
    *schema = run->schema;
    *image = row + run->image_at;
    *image_bytes = run->image_bytes;
    if (run->image_bytes == 0) {
        *image_bytes = load_u32(row + run->image_at + 4);
        *image = memtable->list.arena + (uint64_t)load_u32(row + run->image_at) * NODE_UNIT_BYTES;
    }
}

void node_record(const struct skip_node *node, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    *record = (struct record){node_key(node), node->key_bytes, node->kind, node->seq};
    *schema = node->schema;
    *image_bytes = node->image_bytes;
    *image = node->kind == RECORD_PUT ? (const uint8_t *)node + node_image_at(node->height, node->key_bytes) : NULL;
}

bool memtable_iterator_on_run(const struct memtable_iterator *iterator) { return iterator->side == SIDE_RUN; }

void memtable_record(const struct memtable_iterator *iterator, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    assert(iterator->side != SIDE_NONE);
    if (iterator->side == SIDE_RUN)
        run_row_record(iterator->memtable, run_of(iterator->memtable, place_of(iterator)), iterator->row, record, schema, image, image_bytes);
    else
        node_record(node_at(&iterator->memtable->list, iterator->list_node), record, schema, image, image_bytes);
}

bool memtable_stretch(const struct memtable_iterator *iterator, struct record_stretch *stretch)
{
    if (iterator->side != SIDE_RUN)
        return false;
    const struct run *run = run_of(iterator->memtable, place_of(iterator));
    if (run->image_bytes == 0)
        return false;
    uint32_t low = 1, high = runs_side_by_side(iterator->memtable, place_of(iterator));
    /* Those that come before the list's next record; the first does. */
    while (iterator->list_node != 0 && low < high) {
        uint32_t middle = high - (high - low) / 2;
        struct skip_target target = run_target(run, iterator->row + (uint64_t)(middle - 1) * run->row_bytes);
        if (node_compare(node_at(&iterator->memtable->list, iterator->list_node), &target) > 0)
            low = middle;
        else
            high = middle - 1;
    }
    *stretch = (struct record_stretch){.rows = iterator->row, .count = high, .row_bytes = run->row_bytes, .key_bytes = run->key_bytes, .image_at = run->image_at, .image_bytes = run->image_bytes, .schema = run->schema};
    return true;
}

bool memtable_skip(struct memtable_iterator *iterator, uint32_t count)
{
    assert(iterator->side == SIDE_RUN);
    set_place(iterator, runs_next(iterator->memtable, place_of(iterator), count));
    if (iterator->row)
        runs_prefetch_after(iterator->memtable, place_of(iterator));
    return choose_next(iterator);
}
