/* memtable_model.h: memtables in an arena, and the sorted array that a memtable must equal. What differs aborts (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_MEMTABLE_MODEL_H
#define MOTE_TESTS_SUPPORT_MEMTABLE_MODEL_H

#include "engine/lsm/memtable.h"

enum { MEMTABLE_ENTRIES_MAX = 6000, MEMTABLE_KEY_ROOM = 24 };

struct memtable_world {
    struct memory *memory;
    struct schema *schema; /* key (int32 series, timestamp) */
    void *arena;
    uint64_t arena_bytes;
    struct memtable_generation *generation;
};

struct memtable_entry {
    uint8_t key[MEMTABLE_KEY_ROOM];
    uint32_t key_bytes;
    uint64_t seq;
    enum record_kind kind;
    uint8_t image[40];
    uint32_t image_bytes;
};

struct memtable_model {
    struct memtable_entry *entries; /* sorted */
    size_t count;
};

void memtable_world_make(struct memtable_world *f, uint64_t arena_bytes, uint32_t table_slots);
void memtable_world_free(struct memtable_world *f);
void memtable_world_insert(struct memtable_world *f, struct memtable *table, struct memtable_room *room, const struct memtable_entry *entry);

/* Two entries, in the order of the array. */
int memtable_model_compare_for_qsort(const void *a, const void *b);
void memtable_model_add(struct memtable_model *model, const struct memtable_entry *entry);
/* Keys of several kinds: rows of series (few values, so that keys repeat), keys of any length that agree in their first bytes, the empty key. */
void memtable_model_random_key(uint64_t *random, uint32_t kind, struct memtable_entry *entry);
void memtable_model_random(uint64_t *random, uint32_t kind, uint64_t seq, struct memtable_entry *entry);
/* The iterator stands on the entry. */
void memtable_model_expect_on(const struct memtable_world *f, const struct memtable_iterator *iterator, const struct memtable_entry *entry);
/* All entries forwards, and all backwards. */
void memtable_model_check(struct memtable_world *f, struct memtable *table, const struct memtable_model *model);
/* Seeks for this one, and the entries beside it. */
void memtable_model_check_seek(struct memtable_world *f, struct memtable *table, const struct memtable_model *model, const struct memtable_entry *wanted);

#endif
