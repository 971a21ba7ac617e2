/* model.h: what a database must hold, kept as simply as possible: the history of every change in order, and a digest of the whole content after each of them. A recovered volume is right
 * when its content has the digest of some point of the history that is not before what was acknowledged.
 *
 * A point p of the history is the state after its first p changes (ops). One call of the API is one op: so a batch is there entirely or not at all. Row changes carry the seqs that the
 * engine gave them; DDL stands among them in the order of the calls.
 *
 * Cells: one value in a byte form of its own (0: NULL; 1, then the value's bytes, for text and blobs behind a 32-bit length). A row is its cells in the order of the columns, a key the
 * cells of the key columns. Equal bytes mean equal values bit by bit. The digest is a sum of 128-bit hashes over all rows and the catalog, so that it does not depend on an order;
 * order is checked apart.
 *
 * Threads: one. Memory: plain malloc; aborts when there is none. */
#ifndef MOTE_TESTS_SUPPORT_MODEL_H
#define MOTE_TESTS_SUPPORT_MODEL_H

#include "include/mote.h"

#define MODEL_COLUMNS_MAX 20u
#define MODEL_KEY_MAX 3u
#define MODEL_NAME_BYTES 24u
#define MODEL_ROW_BYTES_MAX 16384u
#define MODEL_CELL_BYTES_MAX 8192u

/* ---- Random numbers (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) ---- */

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline uint32_t random_below(uint64_t *state, uint32_t limit) { return limit ? (uint32_t)(random_next(state) % limit) : 0; }
static inline bool random_one_in(uint64_t *state, uint32_t n) { return random_below(state, n) == 0; }

struct digest {
    uint64_t a, b;
};
struct digest digest_bytes(uint64_t seed, const void *data, size_t size_bytes);
static inline struct digest digest_add(struct digest x, struct digest y) { return (struct digest){x.a + y.a, x.b + y.b}; }
static inline struct digest digest_subtract(struct digest x, struct digest y) { return (struct digest){x.a - y.a, x.b - y.b}; }
static inline bool digest_equal(struct digest x, struct digest y) { return x.a == y.a && x.b == y.b; }

/* ---- Columns, cells, rows ---- */

struct model_column {
    char name[MODEL_NAME_BYTES];
    uint32_t type, dimension, flags;
    uint32_t default_bytes; /* 0: no default, NULL */
    uint8_t default_cell[48];
};

struct model_schema {
    char name[MODEL_NAME_BYTES];
    uint32_t flags;
    bool hidden; /* column 0 is the engine's rowid */
    uint32_t column_count;
    uint32_t key_count;
    uint32_t key[MODEL_KEY_MAX]; /* positions */
    int32_t time_column;         /* position, the hidden column counted; or -1 */
    struct model_column columns[MODEL_COLUMNS_MAX];
};

size_t cell_bytes(const struct model_column *column, const uint8_t *cell);
size_t cell_from_value(const struct model_column *column, const struct mote_value *value, uint8_t *cell);
/* Bytes point into the cell. */
void cell_to_value(const struct model_column *column, const uint8_t *cell, struct mote_value *value);
/* Of values that are not NULL and may be in a key. */
int cell_compare(const struct model_column *column, const uint8_t *a, const uint8_t *b);
/* The default, or NULL. */
size_t cell_absent(const struct model_column *column, uint8_t *cell);
/* Row `row` of a batch or chunk column. */
size_t cell_from_column(const struct model_column *column, const struct mote_column *values, size_t row, uint8_t *cell);
/* The cell of column `position` of a row. */
const uint8_t *row_cell(const struct model_schema *schema, const uint8_t *row, uint32_t position);
size_t row_key(const struct model_schema *schema, const uint8_t *row, uint8_t *key);
int row_compare_keys(const struct model_schema *schema, const uint8_t *a, const uint8_t *b);
/* false: the row has no time. */
bool row_model_time(const struct model_schema *schema, const uint8_t *row, int64_t *time_ns);
/* One line for a person. */
void row_describe(const struct model_schema *schema, const uint8_t *row, char *text, size_t text_bytes);

/* The hash of one row of a table, and of a table's definition. */
struct digest row_digest(const char *table, const uint8_t *row, size_t row_bytes);
struct digest schema_digest(const struct model_schema *schema);

/* ---- History ---- */

struct model_row {
    uint64_t seq, key_hash;
    uint32_t column_count, key_bytes, row_bytes; /* row_bytes 0: a deletion */
    uint8_t bytes[];                             /* the key, then the row */
};

enum model_op_kind { MODEL_PUT, MODEL_DELETE, MODEL_CREATE, MODEL_DROP, MODEL_ADD_COLUMN };

struct model_op {
    enum model_op_kind kind;
    uint32_t table; /* number of its CREATE among all of them */
    uint64_t seq_first, seq_last; /* DDL: both the newest seq before it */
    uint32_t row_count;
    bool uncertain; /* the call failed in a way that leaves open whether it will be there */
    struct model_row **rows;
    struct model_schema *schema; /* CREATE */
    struct model_column column;  /* ADD_COLUMN */
};

struct model_table {
    bool live;
    struct model_schema schema;
    struct model_row **slots; /* newest version of each key that has a row; open addressing */
    uint32_t slot_count, used_count, row_count;
    struct digest rows;
    int64_t rowid_max;
};

struct model {
    struct model_op **ops;
    struct digest *digests; /* [p]: after p ops */
    uint32_t op_count, capacity;
    uint32_t inherited; /* ops below belong to the model that this was cloned from, which must outlive it */
    struct model_table *tables;
    uint32_t table_count, table_capacity;
};

struct model *model_create(void);
/* The state at a point of another model, to go on from there. */
struct model *model_clone(const struct model *from, uint32_t point);
void model_destroy(struct model *model);

/* A put of rows (rows[i] in cells of the present schema), a deletion by key cells. */
struct model_op *model_op_rows(const struct model *model, enum model_op_kind kind, uint32_t table, uint32_t row_count);
void model_op_set_row(const struct model *model, struct model_op *op, uint32_t index, const uint8_t *row_or_key, size_t size_bytes);
/* A copy of a put or deletion, to be applied to this model. */
struct model_op *model_op_copy(const struct model *model, const struct model_op *op);
void model_op_free(struct model_op *op);
/* Appends the op (of rows: their seqs end at seq_last) to the history. */
void model_apply(struct model *model, struct model_op *op, uint64_t seq_last);
void model_create_table(struct model *model, const struct model_schema *schema, uint64_t seq);
void model_drop_table(struct model *model, uint32_t table, uint64_t seq);
void model_add_column(struct model *model, uint32_t table, const struct model_column *column, uint64_t seq);

/* The live table of this name, or -1. */
int model_find_table(const struct model *model, const char *name);
/* The key's row now, or NULL. */
const struct model_row *model_find_row(const struct model *model, uint32_t table, const uint8_t *key, size_t key_bytes);
/* A row at random; NULL: the table is empty. */
const struct model_row *model_random_row(const struct model *model, uint32_t table, uint64_t *random);
/* The row in cells of the table's present schema; returns its size. */
size_t model_row_now(const struct model *model, uint32_t table, const struct model_row *row, uint8_t *cells);
static inline const uint8_t *model_row_cells(const struct model_row *row) { return row->bytes + row->key_bytes; }

/* Whether the newest op may or may not be there: then the model's present state is no measure of a live handle. */
static inline bool model_ends_uncertain(const struct model *model) { return model->op_count > 0 && model->ops[model->op_count - 1]->uncertain; }
/* How many ops everything up to durable_seq covers, up to the first uncertain one. Counting begins at `from`. */
uint32_t model_point_of_seq(const struct model *model, uint32_t from, uint64_t durable_seq);
/* The seq of the newest row change before the point; 0: none. */
uint64_t model_seq_at(const struct model *model, uint32_t point);
/* The first point at or after `from` that has this digest; UINT32_MAX: none. */
uint32_t model_find_digest(const struct model *model, uint32_t from, struct digest digest);
/* The number of the live table of that name at a point, or -1. */
int model_find_table_at(const struct model *model, uint32_t point, const char *name);
/* What the key had at a point: its newest change (perhaps a deletion), or NULL. */
const struct model_row *model_find_row_at(const struct model *model, uint32_t point, uint32_t table, const uint8_t *key, size_t key_bytes);
/* Row changes with seq above `flushed_seq` of tables that live at the point; of one table, or of all (-1). */
uint64_t model_count_pending(const struct model *model, uint32_t point, uint64_t flushed_seq, int table);

#endif
