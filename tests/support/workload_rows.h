/* workload_rows.h: the tables and rows that the workload writes: definitions, random values, and their way into the API's structs. */
#ifndef MOTE_TESTS_SUPPORT_WORKLOAD_ROWS_H
#define MOTE_TESTS_SUPPORT_WORKLOAD_ROWS_H

#include "tests/support/model.h"

#define WORKLOAD_TEMPLATES 5u
#define WORKLOAD_SERIAL "serial" /* the int64 column that makes each row unlike any other */
#define WORKLOAD_THRESHOLD_BYTES 1000u /* large values from this size on lie in blob files */

/* Definition number `which` (below WORKLOAD_TEMPLATES), under that name; the fixed tables' names. */
void workload_template(uint32_t which, const char *name, struct model_schema *schema);
extern const char *const WORKLOAD_TABLES[WORKLOAD_TEMPLATES];
/* Makes the public definition out of it. */
int workload_create_table(mote_db *db, const struct model_schema *schema);
/* A column to be added, under that name. */
void workload_new_column(uint64_t *random, const char *name, struct model_column *column);
int workload_add_column(mote_table *table, const struct model_column *column);

struct row_source {
    uint64_t *random;
    uint64_t *serial;
    int64_t *clock_ns;
    bool large; /* some values of kilobytes */
};
/* A new row of the table, in cells; a hidden rowid is 0. */
size_t workload_new_row(const struct row_source *source, const struct model_schema *schema, uint8_t *row);
/* Another row with the same key as `row`. */
size_t workload_replace_row(const struct row_source *source, const struct model_schema *schema, const uint8_t *row, uint8_t *out);
/* Puts another cell into a row; returns the new size. */
size_t workload_set_cell(const struct model_schema *schema, uint8_t *row, size_t row_bytes, uint32_t position, const uint8_t *cell, size_t size_bytes);

/* The row as values, without a hidden column. Bytes point into the row. Returns their count. */
size_t workload_row_values(const struct model_schema *schema, const uint8_t *row, struct mote_value *values);

/* Rows as a batch; columns whose position has its bit set in `absent` are left out. */
struct batch_memory {
    struct mote_batch batch;
    struct mote_column columns[MODEL_COLUMNS_MAX];
    uint32_t index[MODEL_COLUMNS_MAX];
    uint8_t *memory;
};
void workload_make_batch(const struct model_schema *schema, const uint8_t *const *rows, uint32_t row_count, uint32_t absent, uint64_t *random, struct batch_memory *made);
void workload_free_batch(struct batch_memory *made);

#endif
