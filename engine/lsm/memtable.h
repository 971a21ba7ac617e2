/* memtable.h: rows in memory before they are in an SSTable. A *generation* holds the memtables of all tables between two cuts of the log: one fixed arena, and for each table runs of rows that arrived in order and a lock-free skiplist of the others; iterators merge them in (key bytes ascending, seq descending) order.
 *
 * Invariants
 *   1. A generation's arena is carved at open; an insert takes nothing but room that was reserved before (memtable_reserve), so it cannot fail.
 *   2. Nodes are never moved or freed before the whole generation is recycled (memtable_generation_reset), which needs that no reader pins it.
 *   3. Inserts by any number of threads; readers need no lock and see a node as soon as its insert returned (they filter by seq).
 *   4. Rows that arrive in key order, per table or per series (the rows that agree in the key's columns before the time column, or before the last if the key holds no time), however the series interleave and whoever writes them, go to the end of the series' run: a hash, a comparison, and
 *      the row is made where it stays, beside the one before. What is late finds its place in the skiplist from the series' last insert position there (a *finger*).
 *   5. Counts are exact.
 * Row of a run: seq, key, image, each 8-byte aligned. Node of the skiplist: first 8 key bytes as a number, seq, schema, kind, tower of 32-bit offsets (8-byte units), key bytes, row image (8-byte aligned). An arena is at most 32 GiB. Runs take
 *      their blocks of at most 64 rows from the arena beside the rooms; when there is none left, rows go to the skiplist, for which every room suffices. What a room did not need is given back or kept for the next that asks.
 * Threads: as above; reset, create and destroy by one thread while no other uses the generation. Failures: create says MOTE_EINVAL or MOTE_EBUDGET; memtable_reserve returns false when full.
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

/* Records of rows that lie side by side in memory, in order, each with a key of its own: row i begins at rows + i * row_bytes with its seq (8 bytes), its key, and at image_at its image. All are PUT, of one schema and one size. */
#define RECORD_STRETCH_KEY_AT 8u
struct record_stretch {
    const uint8_t *rows;
    uint32_t count, row_bytes, key_bytes, image_at, image_bytes;
    const struct schema *schema;
};

struct memory;
struct memtable_generation;
struct memtable; /* one table's list inside a generation */

/* arena: carved, page-aligned; it stays the caller's. table_slots: tables that it can hold; list heads, fingers and hash slots take about a twelfth of the arena. */
int memtable_generation_create(struct memory *memory, void *arena, uint64_t arena_bytes, uint32_t table_slots, struct memtable_generation **generation);
void memtable_generation_destroy(struct memory *memory, struct memtable_generation *generation);
void memtable_generation_reset(struct memtable_generation *generation);
/* Room that `rows` rows of together key_and_image_bytes (each image rounded up to 8) need at most. */
uint64_t memtable_room_bytes(uint64_t rows, uint64_t key_and_image_bytes);
struct memtable_room {
    uint64_t at, end;       /* in the arena */
    uint32_t tower_credit;  /* links that the next towers may have together beyond two each */
    uint32_t note;          /* of its rows, being made; 0: none */
};
/* Takes room_bytes; false: it does not fit (time to rotate). Lock-free. */
bool memtable_reserve(struct memtable_generation *generation, uint64_t room_bytes, struct memtable_room *room);
/* Gives the rest of the room back, or sets it aside for later rooms if somebody reserved after it; the room is used up then. The bound of memtable_room_bytes is rarely met: call it after the last insert. */
void memtable_unreserve(struct memtable_generation *generation, struct memtable_room *room);
/* The memtable of a table, made at its first use (table slots: linear probing by table id; lock-free). NULL: all slots taken. */
struct memtable *memtable_of_table(struct memtable_generation *generation, uint64_t table_id, bool make);
/* Copies key and image into the room and links the node; readers see it from then on. schema: the row's, kept by pointer. seq: no other insert has the same. kind DELETE: image NULL, 0 bytes. */
void memtable_insert(struct memtable *memtable, struct memtable_room *room, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint64_t seq, enum record_kind kind, const uint8_t *image,
                     uint32_t image_bytes);

/* Several rows of one schema at a time: each gets its place, in which the caller makes the image; publishing shows them to readers. Between the two nothing may block. */
enum { MEMTABLE_WRITE_ROWS_MAX = 64 };
struct run;
struct memtable_write {
    struct memtable *memtable;
    struct memtable_room *room;
    const struct schema *schema;
    uint32_t row_count, run_count, node_count; /* since the last publish */
    struct run *runs[MEMTABLE_WRITE_ROWS_MAX];
    uint32_t nodes[MEMTABLE_WRITE_ROWS_MAX];
};
/* The write must stay where it is until its last publish. */
void memtable_write_begin(struct memtable_write *write, struct memtable *memtable, struct memtable_room *room, const struct schema *schema);
/* At most MEMTABLE_WRITE_ROWS_MAX rows between publishes. Returns where image_bytes of image belong; the key is copied. As memtable_insert otherwise. */
uint8_t *memtable_write_place(struct memtable_write *write, const uint8_t *key, uint32_t key_bytes, uint64_t seq, enum record_kind kind, uint32_t image_bytes);
void memtable_write_publish(struct memtable_write *write);
/* Rows of a checked batch, with seqs from first_seq on; tables without text and blobs, with keys of one size, only. images: all rows of the batch as row_batch_encode_rows made them, to be copied; NULL: they are turned from columns into
 * images in their places. rowid: of the first of them that takes one; returns that of the next row after them. *rowid_max: of an AUTO_INCREMENT key the greatest that was seen, if it is greater. */
int64_t memtable_insert_batch(struct memtable *memtable, struct memtable_room *room, const struct row_batch *prepared, const uint8_t *images, size_t first_row, size_t row_count, uint64_t first_seq, int64_t rowid,
                              int64_t *rowid_max);

/* ---- Notes: a table's rows in the order of their coming, for those who follow them (indexes in memory) ----
 * A writer who notes its rows puts a list of their places, which lies in its room, in front of those that are there, with one compare-and-swap. Rows that are not noted are in no list: whoever needs all of them sees to it that all are.
 */
struct memtable_ref {
    uint32_t row, run; /* offsets in the arena; run 0: a node of the skiplist */
};
/* The room for it, beside memtable_room_bytes. */
uint64_t memtable_note_bytes(uint64_t rows);
/* PUTs that are inserted from this room are noted from now on, at most so many; DELETEs are not. */
void memtable_note_begin(struct memtable *memtable, struct memtable_room *room, uint32_t rows_max);
/* After the inserts, before the rows may be seen. Returns how many rows are noted up to these; 0 where no note was begun, or none of them is a PUT. */
uint32_t memtable_note_end(struct memtable *memtable, struct memtable_room *room);
struct memtable_note {
    uint32_t place; /* 0: none, and nothing before it */
    uint32_t count, total; /* rows of it; and with all that came before */
    const struct memtable_ref *refs; /* in the order in which they were inserted */
};
void memtable_note_last(const struct memtable *memtable, struct memtable_note *note);
void memtable_note_previous(const struct memtable *memtable, struct memtable_note *note);
/* As memtable_record. */
void memtable_ref_record(const struct memtable *memtable, struct memtable_ref ref, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes);
/* Of the record under the iterator. */
struct memtable_iterator;
struct memtable_ref memtable_iterator_ref(const struct memtable_iterator *iterator);

/* Bytes that rooms have taken, and that they can take together (a larger room never fits). */
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
    uint32_t side; /* which side of the merge the record is on; 0: not on a record */
    uint32_t list_node, run, run_index; /* where both sides are */
    const uint8_t *row;
};
/* memtable NULL (a table without one): nothing is ever found. */
void memtable_iterate(struct memtable *memtable, struct memtable_iterator *iterator);
/* To the first record at or after (key, seq): key ascending, seq descending; seq UINT64_MAX: the key's newest. */
bool memtable_seek(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
/* To the last record before (key, seq). */
bool memtable_seek_before(struct memtable_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
bool memtable_first(struct memtable_iterator *iterator);
bool memtable_last(struct memtable_iterator *iterator);
bool memtable_next(struct memtable_iterator *iterator);
bool memtable_previous(struct memtable_iterator *iterator); /* O(log n): a search */
/* The record under the iterator; *image is NULL for DELETE; *schema as given at insert. The image is 8-byte aligned. */
void memtable_record(const struct memtable_iterator *iterator, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes);
/* The records from the iterator's on that lie side by side, itself included; false: it stands alone. Then memtable_skip moves over `count` of them, as so many times memtable_next. */
bool memtable_stretch(const struct memtable_iterator *iterator, struct record_stretch *stretch);
bool memtable_skip(struct memtable_iterator *iterator, uint32_t count);

#endif
