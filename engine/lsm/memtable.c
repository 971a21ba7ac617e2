/* memtable.c: generations: the arena and its rooms, the tables' slots (memtable.h). A row's way in is in memtable_write.c, rows lie in runs.c and skiplist.c, the iterators are in memtable_iterator.c, the layout in memtable_private.h. */
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

/* Where the tables' fixed parts lie in the arena. */
struct table_plan {
    uint32_t finger_count, run_slot_count; /* of each table */
    uint64_t fingers_at, slots_at, heads_at;
};
_Static_assert(HEAD_BYTES % NODE_UNIT_BYTES == 0, "heads lie side by side");

/* As many as count_max allows and a share of the arena holds; a power of two, or 0. */
static uint32_t count_fitting(uint64_t share_bytes, uint32_t table_slots, uint32_t item_bytes, uint32_t count_max)
{
    uint64_t fit = share_bytes / item_bytes / table_slots;
    uint32_t count = count_max;
    while (count > fit)
        count /= 2;
    return count;
}

static void place_table(struct memtable_generation *generation, uint32_t i, const struct table_plan *plan)
{
    struct memtable *table = &generation->tables[i];
    uint8_t *arena = generation->arena;
    table->generation = generation;
    table->list = (struct skiplist){.arena = arena, .finger_count = plan->finger_count};
    table->list.fingers = (struct series_finger *)(void *)(arena + plan->fingers_at) + (uint64_t)i * plan->finger_count;
    table->list.head = (uint32_t)((plan->heads_at + 2ull * i * HEAD_BYTES) / NODE_UNIT_BYTES);
    table->directory = (struct skiplist){.arena = arena, .head = (uint32_t)((plan->heads_at + (2ull * i + 1) * HEAD_BYTES) / NODE_UNIT_BYTES)};
    table->run_slot_count = plan->run_slot_count;
    table->run_slots = (_Atomic uint32_t *)(void *)(arena + plan->slots_at) + (uint64_t)i * plan->run_slot_count;
    skiplist_reset(&table->list);
    runs_reset(table);
}

int memtable_generation_create(struct memory *memory, void *arena, uint64_t arena_bytes, uint32_t table_slots, struct memtable_generation **result)
{
    const uint64_t arena_bytes_max = ((uint64_t)UINT32_MAX + 1) * NODE_UNIT_BYTES;
    if (!arena || (uintptr_t)arena % sizeof(struct series_finger) != 0 || table_slots == 0 || table_slots > UINT16_MAX || arena_bytes > arena_bytes_max)
        return error_set(MOTE_EINVAL, "cannot make a memtable of %llu bytes for %u tables: at most 32 GiB, aligned to 64 bytes, for 1 to 65535 tables", (unsigned long long)arena_bytes, table_slots);
    struct table_plan plan = {
        .finger_count = count_fitting(arena_bytes / 16, table_slots, sizeof(struct series_finger), FINGER_COUNT_MAX),
        .run_slot_count = count_fitting(arena_bytes / 64, table_slots, sizeof(uint32_t), RUN_SLOT_COUNT_MAX),
        .fingers_at = sizeof(struct series_finger),
    };
    plan.slots_at = plan.fingers_at + (uint64_t)table_slots * plan.finger_count * sizeof(struct series_finger);
    plan.heads_at = round_up(plan.slots_at + (uint64_t)table_slots * plan.run_slot_count * sizeof(uint32_t), NODE_UNIT_BYTES);
    uint64_t rooms_at = plan.heads_at + 2ull * table_slots * HEAD_BYTES;
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
    for (uint32_t i = 0; i < table_slots; i++)
        place_table(generation, i, &plan);
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
        skiplist_reset(&table->list);
        runs_reset(table);
        atomic_store_explicit(&table->count, 0, memory_order_relaxed);
        atomic_store_explicit(&table->notes, 0, memory_order_relaxed);
        atomic_store_explicit(&table->table_key, 0, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < SPARE_COUNT; i++)
        atomic_store_explicit(&generation->spares[i], 0, memory_order_relaxed);
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

/* Takes from the front of a piece that was set aside. A piece that comes back while we look at it is as good as before: the number says all of it. */
static bool take_spare(struct memtable_generation *generation, uint64_t room_bytes, struct memtable_room *room)
{
    for (uint32_t i = 0; i < SPARE_COUNT; i++) {
        uint64_t spare = atomic_load_explicit(&generation->spares[i], memory_order_relaxed), units = room_bytes / NODE_UNIT_BYTES;
        while ((uint32_t)spare >= units) {
            uint64_t rest = (uint32_t)spare == units ? 0 : spare + (units << 32) - units;
            if (!atomic_compare_exchange_weak_explicit(&generation->spares[i], &spare, rest, memory_order_acquire, memory_order_relaxed))
                continue;
            uint64_t at = (spare >> 32) * NODE_UNIT_BYTES;
            *room = (struct memtable_room){at, at + room_bytes, TOWER_HEIGHT_MAX - 2, 0};
            return true;
        }
    }
    return false;
}

/* Sets the rest of a room aside, in place of the smallest piece if that is smaller. */
static void give_spare(struct memtable_generation *generation, uint64_t at, uint64_t size_bytes)
{
    uint64_t units = size_bytes / NODE_UNIT_BYTES < UINT32_MAX ? size_bytes / NODE_UNIT_BYTES : UINT32_MAX, spare = at / NODE_UNIT_BYTES << 32 | units;
    uint32_t least = 0;
    for (uint32_t i = 0; i < SPARE_COUNT; i++) {
        uint64_t present = atomic_load_explicit(&generation->spares[i], memory_order_relaxed);
        if (present == 0 && atomic_compare_exchange_strong_explicit(&generation->spares[i], &present, spare, memory_order_release, memory_order_relaxed))
            return;
        if ((uint32_t)present < (uint32_t)atomic_load_explicit(&generation->spares[least], memory_order_relaxed))
            least = i;
    }
    uint64_t present = atomic_load_explicit(&generation->spares[least], memory_order_relaxed);
    if ((uint32_t)present < units)
        (void)atomic_compare_exchange_strong_explicit(&generation->spares[least], &present, spare, memory_order_release, memory_order_relaxed);
}

bool memtable_reserve(struct memtable_generation *generation, uint64_t room_bytes, struct memtable_room *room)
{
    assert(room_bytes > 0);
    if (room_bytes > generation->arena_bytes)
        return false;
    room_bytes = round_up(room_bytes, NODE_UNIT_BYTES);
    if (take_spare(generation, room_bytes, room))
        return true;
    uint64_t used = atomic_load_explicit(&generation->used, memory_order_relaxed);
    do {
        if (room_bytes > generation->arena_bytes - used)
            return false;
        /* Acquire pairs with the release of memtable_unreserve: what is given back was written by nobody. */
    } while (!atomic_compare_exchange_weak_explicit(&generation->used, &used, used + room_bytes, memory_order_acquire, memory_order_relaxed));
    *room = (struct memtable_room){used, used + room_bytes, TOWER_HEIGHT_MAX - 2, 0};
    return true;
}

void memtable_unreserve(struct memtable_generation *generation, struct memtable_room *room)
{
    assert(room->at <= room->end);
    uint64_t end = room->end;
    bool back = atomic_compare_exchange_strong_explicit(&generation->used, &end, room->at, memory_order_release, memory_order_relaxed);
    if (!back && room->at < room->end)
        give_spare(generation, room->at, room->end - room->at);
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
