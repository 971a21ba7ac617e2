/* engine_model.h: a table whose every row follows from (key, version), and a model in memory of what it should hold; the check compares both by every way of reading.
 *
 * Columns: k int64 (key), t timestamp (time column; late and early ones by version), v float64 (NULL in each 7th version), s text (NULL or 0 to 60 bytes), n int32 (the version). */
#ifndef MOTE_TESTS_SUPPORT_ENGINE_MODEL_H
#define MOTE_TESTS_SUPPORT_ENGINE_MODEL_H

#include "tests/support/engine_fixture.h"

struct model {
    uint32_t key_count; /* keys are 0 to key_count - 1 */
    uint32_t *version;  /* of each key; 0: no row */
};

struct model model_make(uint32_t key_count);
void model_free(struct model *model);
/* Creates the table. */
mote_table *model_table_create(mote_db *db, const char *name);
mote_table *model_table_open(mote_db *db, const char *name);

/* The time of that version of the row. */
int64_t model_time(uint32_t key, uint32_t version);
/* Puts the row into table and model. options and ticket may be NULL. */
void model_put(mote_table *table, struct model *model, uint32_t key, uint32_t version, const struct mote_write_options *options, uint64_t *ticket);
/* Only into the table; the result of mote_append. */
int model_append(mote_table *table, uint32_t key, uint32_t version, const struct mote_write_options *options, uint64_t *ticket);
/* Keys [first, first + count) at this version in one batch of columns. */
int model_append_batch(mote_table *table, uint32_t first, uint32_t count, uint32_t version, const struct mote_write_options *options, uint64_t *ticket);
void model_put_batch(mote_table *table, struct model *model, uint32_t first, uint32_t count, uint32_t version, const struct mote_write_options *options, uint64_t *ticket);
void model_delete(mote_table *table, struct model *model, uint32_t key, const struct mote_write_options *options, uint64_t *ticket);

/* The version of the row that a get finds (checked in all columns); 0: none. */
uint32_t model_read(mote_table *table, uint32_t key);
/* Scans all: versions of each key into version[key_count] (0: no row), every column checked, keys in order. Returns the rows' number. */
uint64_t model_scan(mote_table *table, uint32_t key_count, bool descending, uint32_t *version);
/* Scan up and down, gets of a sample, and time ranges give exactly the model; else the program ends with what differs. */
void model_check(mote_table *table, const struct model *model);
/* The rows of a time range, counted with use_time_range. */
uint64_t model_count_time(mote_table *table, int64_t from_ns, int64_t to_ns);

#endif
