/* memtable.h: rows in memory before they are in an SSTable. A *generation* holds the memtables of all tables between two cuts of the log: one fixed arena, and for each table a lock-free skiplist in (key bytes ascending, seq descending) order.
 *
 * Invariants
 *   1. A generation's arena is carved at open; an insert takes nothing but room that was reserved before (memtable_reserve), so it cannot fail.
 *   2. Nodes are never moved or freed before the whole generation is recycled (memtable_generation_reset), which needs that no reader pins it.
 *   3. Inserts by any number of threads; readers need no lock and see a node as soon as its insert returned (they filter by seq).
 *   4. Rows that arrive in key order (per table, or interleaved series by series) cost a short finger search from the last insert position of the writer, not a walk from the top.
 *   5. Sizes are exact: entry_count and bytes per table.
 * Node: tower of 32-bit offsets (8-byte units), seq, kind, table's schema version, key bytes, row image (8-byte aligned).
 * Threads: as above; reset and create by one thread. Failures: memtable_reserve says MOTE_EBUDGET-free "full" (returns false).
 */
#ifndef MOTE_ENGINE_LSM_MEMTABLE_H
#define MOTE_ENGINE_LSM_MEMTABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/lsm/schema.h"

enum record_kind { RECORD_PUT = 1, RECORD_DELETE = 2 };

/* One version of one row, as every iterator of the LSM yields it. */
struct record {
    const uint8_t *key;
    uint32_t key_bytes;
    uint32_t kind; /* enum record_kind */
    uint64_t seq;
};

struct memtable_generation;
struct memtable; /* one table's list inside a generation */

/* arena: carved, page-aligned. table_slots: tables that it can hold. */
int memtable_generation_create(struct memory *memory, void *arena, uint64_t arena_bytes, uint32_t table_slots, struct memtable_generation **generation);
void memtable_generation_destroy(struct memory *memory, struct memtable_generation *generation);
void memtable_generation_reset(struct memtable_generation *generation);
/* Room that `rows` rows of together key_and_image_bytes (each image rounded up to 8) need at most. */
uint64_t memtable_room_bytes(uint64_t rows, uint64_t key_and_image_bytes);
struct memtable_room {
    uint64_t at, end; /* in the arena */
};
/* Takes room_bytes; false: it does not fit (time to rotate). Lock-free. What is reserved and not used is lost until the reset. */
bool memtable_reserve(struct memtable_generation *generation, uint64_t room_bytes, struct memtable_room *room);
/* The memtable of a table, made at its first use (table slots: linear probing by table id; lock-free). NULL: all slots taken. */
struct memtable *memtable_of_table(struct memtable_generation *generation, uint64_t table_id, bool make);
/* Copies key and image into the room and links the node. finger: the writer's own hint (zero-initialised, per thread or per call; may be NULL). kind DELETE: image NULL, 0 bytes. */
struct memtable_finger {
    uint64_t words[24];
};
void memtable_insert(struct memtable *memtable, struct memtable_room *room, struct memtable_finger *finger, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint64_t seq,
                     enum record_kind kind, const uint8_t *image, uint32_t image_bytes);

uint64_t memtable_used_bytes(const struct memtable_generation *generation);
uint64_t memtable_arena_bytes(const struct memtable_generation *generation);
/* Entries of all tables; of one. */
uint64_t memtable_generation_count(const struct memtable_generation *generation);
uint64_t memtable_count(const struct memtable *memtable);
/* Calls visit for each memtable with entries, in table id order. */
int memtable_visit(struct memtable_generation *generation, int (*visit)(void *context, uint64_t table_id, struct memtable *memtable), void *context);

/* Iterator; a plain value, nothing to free. Valid while the generation is not reset. */
struct memtable_iterator {
    struct memtable *memtable;
    uint64_t node; /* 0: not on a record */
};
void memtable_iterate(struct memtable *memtable, struct memtable_iterator *iterator);
/* To the first record at or after (key, seq): key ascending, seq descending; seq UINT64_MAX: the key's newest. */
bool memtable_seek(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
/* To the last record before (key, seq). */
bool memtable_seek_before(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
bool memtable_first(struct memtable_iterator *iterator);
bool memtable_last(struct memtable_iterator *iterator);
bool memtable_next(struct memtable_iterator *iterator);
bool memtable_previous(struct memtable_iterator *iterator); /* O(log n): a search */
/* The record under the iterator; *image is NULL for DELETE; *schema_version as given at insert. */
void memtable_record(const struct memtable_iterator *iterator, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes);

#endif
