/* memtable.c: generations: the arena and its rooms, the tables' slots, inserts and iterators (memtable.h). The lists are in skiplist.c, the layout in memtable_private.h. */
#include "engine/lsm/memtable_private.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"

#include <assert.h>

enum {
    HEAD_BYTES = sizeof(struct skip_node) + TOWER_HEIGHT_MAX * sizeof(uint32_t),
    LINK_BYTES = sizeof(uint32_t),
    ROOMS_BYTES_MIN = 1024, /* an arena with less left is a mistake */
};
_Static_assert(HEAD_BYTES % NODE_UNIT_BYTES == 0, "heads lie side by side");

/* Fingers for each table: as many as FINGER_COUNT_MAX allows and a sixteenth of the arena holds. */
static uint32_t count_fingers(uint64_t arena_bytes, uint32_t table_slots)
{
    uint64_t fit = arena_bytes / 16 / sizeof(struct series_finger) / table_slots;
    uint32_t count = FINGER_COUNT_MAX;
    while (count > fit)
        count /= 2;
    return count;
}

int memtable_generation_create(struct memory *memory, void *arena, uint64_t arena_bytes, uint32_t table_slots, struct memtable_generation **result)
{
    const uint64_t arena_bytes_max = ((uint64_t)UINT32_MAX + 1) * NODE_UNIT_BYTES;
    if (!arena || (uintptr_t)arena % sizeof(struct series_finger) != 0 || table_slots == 0 || table_slots > UINT16_MAX || arena_bytes > arena_bytes_max)
        return error_set(MOTE_EINVAL, "cannot make a memtable of %llu bytes for %u tables: at most 32 GiB, aligned to 64 bytes, for 1 to 65535 tables", (unsigned long long)arena_bytes, table_slots);
    uint32_t finger_count = count_fingers(arena_bytes, table_slots);
    uint64_t fingers_at = sizeof(struct series_finger);
    uint64_t heads_at = fingers_at + (uint64_t)table_slots * finger_count * sizeof(struct series_finger);
    uint64_t rooms_at = heads_at + (uint64_t)table_slots * HEAD_BYTES;
    if (arena_bytes < rooms_at + ROOMS_BYTES_MIN)
        return error_set(MOTE_EINVAL, "cannot make a memtable of %llu bytes for %u tables: it needs %llu; raise memtable_bytes or lower tables_max", (unsigned long long)arena_bytes, table_slots,
                         (unsigned long long)(rooms_at + ROOMS_BYTES_MIN));
    struct memtable_generation *generation = memory_alloc_aligned(memory, sizeof *generation + table_slots * sizeof(struct memtable), 64);
    if (!generation)
        return MOTE_EBUDGET;
    memset(generation, 0, sizeof *generation + table_slots * sizeof(struct memtable));
    generation->memory = memory;
    generation->arena = arena;
    generation->arena_bytes = round_down(arena_bytes, NODE_UNIT_BYTES);
    generation->rooms_at = rooms_at;
    generation->table_slots = table_slots;
    atomic_store_explicit(&generation->used, rooms_at, memory_order_relaxed);
    for (uint32_t i = 0; i < table_slots; i++) {
        struct memtable *table = &generation->tables[i];
        table->arena = arena;
        table->finger_count = finger_count;
        table->fingers = (struct series_finger *)(void *)(generation->arena + fingers_at) + (uint64_t)i * finger_count;
        table->head = (uint32_t)((heads_at + (uint64_t)i * HEAD_BYTES) / NODE_UNIT_BYTES);
        skiplist_reset(table);
    }
    *result = generation;
    return MOTE_OK;
}

void memtable_generation_destroy(struct memory *memory, struct memtable_generation *generation)
{
    if (!generation)
        return;
    assert(generation->memory == memory);
    memory_free(memory, generation);
}

void memtable_generation_reset(struct memtable_generation *generation)
{
    for (uint32_t i = 0; i < generation->table_slots; i++) {
        struct memtable *table = &generation->tables[i];
        if (atomic_load_explicit(&table->table_key, memory_order_relaxed) == 0)
            continue;
        skiplist_reset(table);
        atomic_store_explicit(&table->table_key, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&generation->used, generation->rooms_at, memory_order_release);
}

/* ---- Rooms ---- */

/* A node takes its header, its links, its key rounded up (at most 7 more) and its image. Towers take two links a row on average at most: the first may be as tall as any, from then on each insert earns two and spends its height. */
uint64_t memtable_room_bytes(uint64_t rows, uint64_t key_and_image_bytes)
{
    const uint64_t row_bytes_max = sizeof(struct skip_node) + 2 * LINK_BYTES + (NODE_UNIT_BYTES - 1);
    const uint64_t first_tower_bytes = (TOWER_HEIGHT_MAX - 2) * LINK_BYTES;
    return round_up(rows * row_bytes_max + first_tower_bytes + key_and_image_bytes, NODE_UNIT_BYTES);
}

bool memtable_reserve(struct memtable_generation *generation, uint64_t room_bytes, struct memtable_room *room)
{
    if (room_bytes > generation->arena_bytes)
        return false;
    room_bytes = round_up(room_bytes, NODE_UNIT_BYTES);
    uint64_t used = atomic_load_explicit(&generation->used, memory_order_relaxed);
    do {
        if (room_bytes > generation->arena_bytes - used)
            return false;
        /* Acquire pairs with the release of memtable_unreserve: what is given back was written by nobody. */
    } while (!atomic_compare_exchange_weak_explicit(&generation->used, &used, used + room_bytes, memory_order_acquire, memory_order_relaxed));
    *room = (struct memtable_room){used, used + room_bytes, TOWER_HEIGHT_MAX - 2};
    return true;
}

void memtable_unreserve(struct memtable_generation *generation, struct memtable_room *room)
{
    assert(room->at <= room->end);
    uint64_t end = room->end;
    atomic_compare_exchange_strong_explicit(&generation->used, &end, room->at, memory_order_release, memory_order_relaxed);
    room->end = room->at;
}

uint64_t memtable_used_bytes(const struct memtable_generation *generation)
{
    return atomic_load_explicit(&generation->used, memory_order_relaxed) - generation->rooms_at;
}

uint64_t memtable_arena_bytes(const struct memtable_generation *generation) { return generation->arena_bytes - generation->rooms_at; }

/* ---- Tables ---- */

struct memtable *memtable_of_table(struct memtable_generation *generation, uint64_t table_id, bool make)
{
    assert(table_id != UINT64_MAX);
    uint64_t key = table_id + 1;
    uint32_t slot = (uint32_t)(table_id % generation->table_slots);
    for (uint32_t i = 0; i < generation->table_slots; i++) {
        struct memtable *table = &generation->tables[slot];
        uint64_t present = atomic_load_explicit(&table->table_key, memory_order_acquire);
        /* A slot's list is ready before the slot is taken, so that one compare-and-swap makes a table. */
        if (present == 0 && (!make || atomic_compare_exchange_strong_explicit(&table->table_key, &present, key, memory_order_acq_rel, memory_order_acquire)))
            return make ? table : NULL;
        if (present == key)
            return table;
        slot = slot + 1 == generation->table_slots ? 0 : slot + 1;
    }
    return NULL;
}

uint64_t memtable_count(const struct memtable *memtable) { return atomic_load_explicit(&memtable->count, memory_order_relaxed); }

uint64_t memtable_generation_count(const struct memtable_generation *generation)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < generation->table_slots; i++)
        count += memtable_count(&generation->tables[i]);
    return count;
}

int memtable_visit(struct memtable_generation *generation, int (*visit)(void *context, uint64_t table_id, struct memtable *memtable), void *context)
{
    /* Slots are few and this is once a flush: the next id is looked for each time. */
    uint64_t done_key = 0;
    for (;;) {
        struct memtable *next = NULL;
        uint64_t next_key = UINT64_MAX;
        for (uint32_t i = 0; i < generation->table_slots; i++) {
            struct memtable *table = &generation->tables[i];
            uint64_t key = atomic_load_explicit(&table->table_key, memory_order_acquire);
            if (key > done_key && key <= next_key && memtable_count(table) > 0) {
                next = table;
                next_key = key;
            }
        }
        if (!next)
            return MOTE_OK;
        int code = visit(context, next_key - 1, next);
        if (code != MOTE_OK)
            return code;
        done_key = next_key;
    }
}

/* ---- Inserts ---- */

static inline uint64_t mix(uint64_t value)
{
    value *= 0x9E3779B97F4A7C15u;
    value ^= value >> 32;
    value *= 0xD6E8FEB86659FD93u;
    return value ^ value >> 32;
}

/* Names the series of a key: all key columns but the last. A key of one column, or one that ends in text, is cut in half: far keys are different series then. */
static inline uint32_t series_tag(const struct schema *schema, const struct skip_target *target)
{
    uint32_t last_bytes = schema->key_last_bytes;
    uint32_t series_bytes = last_bytes != 0 && target->key_bytes > last_bytes ? target->key_bytes - last_bytes : target->key_bytes / 2;
    uint64_t hash = 0;
    const uint8_t *at = target->key;
    for (; series_bytes > 8; series_bytes -= 8, at += 8)
        hash = mix(hash ^ load_u64(at));
    if (series_bytes > 0)
        hash = mix(hash ^ key_prefix(at, series_bytes) ^ series_bytes);
    return (uint32_t)(hash >> 16) | 1;
}

/* Height of the next tower: one in four has the next level. Taken from the seq, which is never repeated, so that no thread keeps a state. */
static inline uint32_t draw_height(uint64_t seq, struct memtable_room *room)
{
    uint32_t height = 1 + (uint32_t)__builtin_ctzll(mix(seq) | 1ull << (2 * (TOWER_HEIGHT_MAX - 1))) / 2;
    room->tower_credit += 2;
    if (height > room->tower_credit)
        height = room->tower_credit;
    room->tower_credit -= height;
    /* A node has at least one link; two were just earned, so that the credit never falls below what later rows need. */
    assert(height >= 1 && height <= TOWER_HEIGHT_MAX);
    return height;
}

void memtable_insert(struct memtable *memtable, struct memtable_room *room, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint64_t seq, enum record_kind kind, const uint8_t *image,
                     uint32_t image_bytes)
{
    assert(key_bytes <= MOTE_KEY_BYTES_MAX && (kind == RECORD_PUT) == (image != NULL));
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t height = draw_height(seq, room);
    uint32_t image_at = node_image_at(height, key_bytes);
    uint64_t node_bytes = image_at + round_up(image_bytes, NODE_UNIT_BYTES);
    assert(node_bytes <= room->end - room->at);
    uint32_t offset = (uint32_t)(room->at / NODE_UNIT_BYTES);
    struct skip_node *node = node_at(memtable, offset);
    room->at += node_bytes;
    node->prefix = target.prefix;
    node->seq = seq;
    node->schema = schema;
    node->image_bytes = image_bytes;
    node->key_bytes = (uint16_t)key_bytes;
    node->kind = (uint8_t)kind;
    node->height = (uint8_t)height;
    memcpy((uint8_t *)node + node_key_at(height), key, key_bytes);
    if (image_bytes != 0)
        memcpy((uint8_t *)node + image_at, image, image_bytes);
    skiplist_link(memtable, &target, offset, series_tag(schema, &target));
    atomic_fetch_add_explicit(&memtable->count, 1, memory_order_relaxed);
}

/* ---- Iterators ---- */

void memtable_iterate(struct memtable *memtable, struct memtable_iterator *iterator) { *iterator = (struct memtable_iterator){memtable, 0}; }

bool memtable_seek(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    iterator->node = 0;
    if (!iterator->memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t found;
    skiplist_find(iterator->memtable, &target, &found);
    iterator->node = found;
    return found != 0;
}

bool memtable_seek_before(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    iterator->node = 0;
    if (!iterator->memtable)
        return false;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t after, before = skiplist_find(iterator->memtable, &target, &after);
    iterator->node = before == iterator->memtable->head ? 0 : before;
    return iterator->node != 0;
}

static inline uint32_t next_of(const struct memtable_iterator *iterator, uint32_t offset)
{
    return atomic_load_explicit(&node_at(iterator->memtable, offset)->next[0], memory_order_acquire);
}

bool memtable_first(struct memtable_iterator *iterator)
{
    iterator->node = iterator->memtable ? next_of(iterator, iterator->memtable->head) : 0;
    return iterator->node != 0;
}

bool memtable_last(struct memtable_iterator *iterator)
{
    iterator->node = iterator->memtable ? skiplist_last(iterator->memtable) : 0;
    return iterator->node != 0;
}

bool memtable_next(struct memtable_iterator *iterator)
{
    if (iterator->node != 0)
        iterator->node = next_of(iterator, (uint32_t)iterator->node);
    return iterator->node != 0;
}

bool memtable_previous(struct memtable_iterator *iterator)
{
    if (iterator->node == 0)
        return false;
    const struct skip_node *node = node_at(iterator->memtable, (uint32_t)iterator->node);
    return memtable_seek_before(iterator, node_key(node), node->key_bytes, node->seq);
}

void memtable_record(const struct memtable_iterator *iterator, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    assert(iterator->node != 0);
    const struct skip_node *node = node_at(iterator->memtable, (uint32_t)iterator->node);
    *record = (struct record){node_key(node), node->key_bytes, node->kind, node->seq};
    *schema = node->schema;
    *image_bytes = node->image_bytes;
    *image = node->kind == RECORD_PUT ? (const uint8_t *)node + node_image_at(node->height, node->key_bytes) : NULL;
}
