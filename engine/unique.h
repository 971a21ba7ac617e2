/* unique.h: unique indexes: a row with a value that another row has is refused before anything gets a number (unique.c). */
#ifndef MOTE_ENGINE_UNIQUE_H
#define MOTE_ENGINE_UNIQUE_H

#include "engine/engine_private.h"

struct unique_check;

/* Whether writers of the table must ask; one load. */
static inline bool unique_wanted(const struct mote_table *table) { return atomic_load(&((struct mote_table *)(uintptr_t)table)->unique_count) != 0; }
/* Checks the rows of a write, and keeps other writers of the table out until unique_end. *check NULL: the table has no unique index (any more). rowid: of the first row that takes one. MOTE_EEXISTS: one sentence that names table, index and
 * value; MOTE_EBUDGET, MOTE_EIO, MOTE_EDAMAGED. */
int unique_begin_row(struct mote_table *table, const struct schema *schema, const struct mote_value *values, size_t value_count, int64_t rowid, uint32_t image_bytes, struct unique_check **check);
int unique_begin_batch(struct mote_table *table, const struct row_batch *prepared, uint64_t key_bytes, int64_t rowid, struct unique_check **check);
/* The same of rows that count one after the other, deletions among them; next fills one and is false after the last. Images lie still until unique_end. */
struct unique_write {
    const struct schema *schema; /* of the image */
    const uint8_t *image;        /* NULL: the row with the key is deleted */
    const uint8_t *key;
    uint32_t key_bytes;
};
int unique_begin_writes(struct mote_table *table, uint32_t row_count, uint64_t key_bytes, bool (*next)(void *context, struct unique_write *write), void *context, struct unique_check **check);
/* first_seq: of the rows, which are visible now; 0: nothing was written. NULL is allowed. */
void unique_end(struct unique_check *check, uint64_t first_seq);

/* ---- unique_declare.c ---- */

/* Keeps writers out while a unique index of the table is declared or dropped. */
void unique_lock(struct mote_table *table);
void unique_unlock(struct mote_table *table);
/* Locked: from now on writers ask; those that began before have ended on return, and no two rows have the same value. MOTE_EEXISTS: a sentence with the value; writers do not ask then. */
int unique_declare(struct mote_table *table, const struct manifest_index *index);
/* Locked: the set is that of db->indexes. After a declaration, whether it became durable or not, and after a drop. */
void unique_settle(struct mote_table *table);
/* After an open, all tables. */
int uniques_load(struct mote_db *db);
void uniques_free(struct mote_table *table);

/* ---- unique_map.c: keys by the hash of something ---- */

struct unique_entry {
    uint64_t hash, mark; /* mark 0: not there any more */
    uint64_t key_at;
    uint32_t key_bytes;  /* + 1; 0: empty */
};
struct unique_map {
    struct memory *memory;
    struct unique_entry *entries;
    uint64_t capacity, used; /* capacity: a power of two, at least twice what is used */
    uint8_t *keys;
    uint64_t keys_bytes, keys_capacity;
};
/* For sentences. */
#define UNIQUE_TEXT_BYTES 64u
void unique_value_text(const struct mote_value *value, char text[UNIQUE_TEXT_BYTES]);
/* Of a value that is not NULL; equal values have the same. */
uint64_t unique_hash_value(const struct mote_value *value);
uint64_t unique_hash(const void *data, uint64_t size_bytes);
/* Room for so many entries more; entries whose mark is at or below mark_min go. MOTE_EBUDGET: the map stays as it was. */
int unique_map_reserve(struct unique_map *map, uint64_t entries, uint64_t key_bytes, uint64_t mark_min);
/* Cannot fail where room was reserved. An entry of the same hash and key gets the new mark. */
void unique_map_add(struct unique_map *map, uint64_t hash, const uint8_t *key, uint32_t key_bytes, uint64_t mark);
/* The entries of a hash, one after the other: *at is 0 at first. NULL: there is no other. */
struct unique_entry *unique_map_next(const struct unique_map *map, uint64_t hash, uint64_t *at);
static inline const uint8_t *unique_map_key(const struct unique_map *map, const struct unique_entry *entry) { return map->keys + entry->key_at; }
void unique_map_free(struct unique_map *map);

/* ---- The unique indexes of a table, under its unique_mutex ---- */

struct unique_index {
    struct manifest_index definition;
    struct unique_map recent; /* values of rows in memtables; mark: the row's seq */
    bool filled;              /* false: not yet, after an open or a declaration */
};
struct unique_set {
    uint32_t count;
    struct unique_index *indexes[MANIFEST_TABLE_INDEXES_MAX];
};

#endif
