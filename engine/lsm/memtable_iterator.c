/* memtable_iterator.c: a table's rows in order: its runs and its skiplist, merged (memtable.h).
 *
 * An iterator on a record holds the record's place and the first record of the other side that comes after it. Threads: any, without locks; rows that are inserted meanwhile may be seen or not. Never fails. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

static inline struct run_place place_of(const struct memtable_iterator *iterator) { return (struct run_place){iterator->run, iterator->run_index, iterator->run_node}; }

static inline void set_place(struct memtable_iterator *iterator, struct run_place place)
{
    iterator->run = place.run;
    iterator->run_index = place.index;
    iterator->run_node = place.node;
}

static inline struct skip_target target_of(const struct skip_node *node) { return (struct skip_target){node_key(node), node->key_bytes, node->prefix, node->seq}; }

/* Whether node a comes before node b. */
static inline bool comes_before(const struct memtable *memtable, uint32_t a, uint32_t b)
{
    struct skip_target target = target_of(node_at(&memtable->list, b));
    return node_compare(node_at(&memtable->list, a), &target) < 0;
}

/* Goes to the smaller of both sides. */
static inline bool choose_next(struct memtable_iterator *iterator)
{
    if (iterator->run_node == 0)
        iterator->node = iterator->list_node;
    else if (iterator->list_node == 0)
        iterator->node = iterator->run_node;
    else
        iterator->node = comes_before(iterator->memtable, iterator->run_node, iterator->list_node) ? iterator->run_node : iterator->list_node;
    return iterator->node != 0;
}

static inline uint32_t next_in_list(const struct memtable *memtable, uint32_t node) { return atomic_load_explicit(&node_at(&memtable->list, node)->next[0], memory_order_acquire); }

void memtable_iterate(struct memtable *memtable, struct memtable_iterator *iterator) { *iterator = (struct memtable_iterator){.memtable = memtable}; }

bool memtable_seek(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    const struct memtable *memtable = iterator->memtable;
    iterator->node = 0;
    if (!memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    set_place(iterator, runs_seek(memtable, &target));
    skiplist_find(&memtable->list, &target, &iterator->list_node);
    return choose_next(iterator);
}

/* Goes to the greater of two places; of the other side the one after it comes next. before_run and before_list: 0 if that side has none. */
static bool choose_last(struct memtable_iterator *iterator, struct run_place before_run, uint32_t before_list)
{
    struct memtable *memtable = iterator->memtable;
    iterator->node = 0;
    if (before_run.node == 0 && before_list == 0)
        return false;
    bool on_list = before_run.node == 0 || (before_list != 0 && comes_before(memtable, before_run.node, before_list));
    if (on_list) {
        set_place(iterator, before_run.node ? runs_next(memtable, before_run) : runs_first(memtable));
        iterator->list_node = before_list;
        iterator->node = before_list;
    } else {
        iterator->list_node = next_in_list(memtable, before_list ? before_list : memtable->list.head);
        set_place(iterator, before_run);
        iterator->node = before_run.node;
    }
    return true;
}

bool memtable_seek_before(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    const struct memtable *memtable = iterator->memtable;
    iterator->node = 0;
    if (!memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t after, before = skiplist_find(&memtable->list, &target, &after);
    return choose_last(iterator, runs_seek_before(memtable, &target), before == memtable->list.head ? 0 : before);
}

bool memtable_first(struct memtable_iterator *iterator)
{
    iterator->node = 0;
    if (!iterator->memtable)
        return false;
    set_place(iterator, runs_first(iterator->memtable));
    iterator->list_node = next_in_list(iterator->memtable, iterator->memtable->list.head);
    return choose_next(iterator);
}

bool memtable_last(struct memtable_iterator *iterator)
{
    iterator->node = 0;
    return iterator->memtable && choose_last(iterator, runs_last(iterator->memtable), skiplist_last(&iterator->memtable->list));
}

bool memtable_next(struct memtable_iterator *iterator)
{
    if (iterator->node == 0)
        return false;
    if (iterator->node == iterator->run_node)
        set_place(iterator, runs_next(iterator->memtable, place_of(iterator)));
    else
        iterator->list_node = next_in_list(iterator->memtable, iterator->list_node);
    return choose_next(iterator);
}

bool memtable_previous(struct memtable_iterator *iterator)
{
    if (iterator->node == 0)
        return false;
    struct skip_target target = target_of(node_at(&iterator->memtable->list, iterator->node));
    return memtable_seek_before(iterator, target.key, target.key_bytes, target.seq);
}

void memtable_record(const struct memtable_iterator *iterator, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    assert(iterator->node != 0);
    const struct skip_node *node = node_at(&iterator->memtable->list, iterator->node);
    *record = (struct record){node_key(node), node->key_bytes, node->kind, node->seq};
    *schema = node->schema;
    *image_bytes = node->image_bytes;
    *image = node->kind == RECORD_PUT ? (const uint8_t *)node + node_image_at(node->height, node->key_bytes) : NULL;
}
