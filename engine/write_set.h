/* write_set.h: rows of several tables that are to be written as one: as a write batch gathers them, or a transaction when it commits (write_commit.c).
 *
 * What is kept are the operations as the log will hold them (log_format.h, kinds 1 and 2), in the order in which they were given: of rows with one key the last counts. Row images lie in there; they move when the set grows.
 * Limits: a set takes at most a quarter of a memtable, and of the log's largest size a quarter (but a frame at least); beyond them a row is refused with MOTE_ETOOBIG, and the set stays as it was.
 * Threads: one at a time. Memory: the database's heap. Failures: MOTE_ETOOBIG, MOTE_EBUDGET, and what schema and values make of a row.
 */
#ifndef MOTE_ENGINE_WRITE_SET_H
#define MOTE_ENGINE_WRITE_SET_H

#include "engine/append_private.h"
#include "engine/blob.h"
#include "engine/log_format.h"

struct unique_check;

/* A table that the set writes to, and what holds it while the set is committed. */
struct write_table {
    struct mote_table *table;
    uint64_t row_count, put_count, key_bytes;
    bool inserts;              /* some of its rows must be new */
    struct unique_check *check;
    struct memtable *memtable;
    bool noted;                /* its rows are (recent.h) */
    uint32_t note, note_total; /* while rows are inserted; after it, the rows noted up to these */
};

struct write_set {
    struct mote_db *db;
    uint8_t *ops;
    uint64_t size_bytes, capacity_bytes;
    uint64_t last_at; /* the operation that may go on; UINT64_MAX: none */
    uint64_t row_count, put_count, content_bytes /* of keys and images, for the memtable */, raw_bytes;
    uint64_t *inserts; /* numbers of the rows that must be new, ascending */
    uint64_t insert_count, insert_capacity;
    struct write_table *tables; /* ascending by id once they are sorted */
    uint32_t table_count, table_capacity;
    struct blob_holds blobs; /* of large values of its rows */
};

/* One row of a set. */
struct write_row {
    uint64_t number;
    struct mote_table *table;
    const struct schema *schema;
    uint32_t kind; /* LOG_OP_PUT, LOG_OP_DELETE */
    const uint8_t *image; /* of a put */
    uint32_t image_bytes, key_bytes;
    bool insert;
    uint8_t key[MOTE_KEY_BYTES_MAX];
};
struct write_walk {
    const struct write_set *set;
    uint64_t at, number, next_insert;
    uint32_t left, item_bytes; /* of the operation */
    uint32_t kind, flags;
    uint64_t item_at;
    struct mote_table *table;
    const struct schema *schema;
};

void write_set_init(struct write_set *set, struct mote_db *db);
/* Empty again; its memory stays. */
void write_set_clear(struct write_set *set);
void write_set_free(struct write_set *set);
/* A row of values, an image or a key; insert: it must be new. The table is the database's and not dropped. */
int write_set_put(struct write_set *set, struct mote_table *table, const struct mote_value *values, size_t value_count, bool insert);
int write_set_put_image(struct write_set *set, struct mote_table *table, const struct schema *schema, const uint8_t *image, uint32_t image_bytes);
int write_set_delete_key(struct write_set *set, struct mote_table *table, const struct schema *schema, const uint8_t *key, uint32_t key_bytes);
/* All rows or none. */
int write_set_columns(struct write_set *set, struct mote_table *table, const struct mote_batch *batch);
/* Whether a set of so many rows, with that many bytes of keys and images and of operations, could be committed; else MOTE_ETOOBIG. */
int write_set_check_size(const struct mote_db *db, uint64_t row_count, uint64_t content_bytes, uint64_t ops_bytes);
/* The tables by their ids, in which order whoever takes several tables' locks takes them. */
void write_set_sort_tables(struct write_set *set);
struct write_table *write_set_table(struct write_set *set, const struct mote_table *table);

void write_walk_begin(const struct write_set *set, struct write_walk *walk);
bool write_walk_next(struct write_walk *walk, struct write_row *row);

/* Checks that both calls of a batch and of a transaction make: the table is of that database, and lives. */
int write_check_table(const struct mote_db *db, const struct mote_table *table);
/* Checks the values, and gives the image's size and the rowid that it takes. */
int write_check_row(struct mote_table *table, const struct mote_value *values, size_t value_count, const struct schema **schema, uint32_t *image_bytes, int64_t *rowid);

/* ---- write_commit.c ---- */

struct commit_terms {
    const struct mote_snapshot *snapshot; /* no key may have a newer version than it sees, else MOTE_ECONFLICT; NULL: no such condition */
    struct write_level level;
};
/* Writes all rows or none, as one step for every reader. The set is unchanged. */
int write_commit(struct write_set *set, const struct commit_terms *terms, uint64_t *ticket);

#endif
