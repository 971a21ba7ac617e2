/* column_model.h: a table with a column of each type that a column index takes, beside a model in memory: the same random changes to both, and searches by value that must tell what looking at every row of the model tells, compared by
 * code of its own. One thread; a difference aborts with the seed. */
#ifndef MOTE_TESTS_SUPPORT_COLUMN_MODEL_H
#define MOTE_TESTS_SUPPORT_COLUMN_MODEL_H

#include "tests/support/engine_fixture.h"

enum { COLUMN_MODEL_KEYS = 900, COLUMN_MODEL_COLUMNS = 8, COLUMN_MODEL_BYTES = 440 };

struct column_model {
    uint64_t seed, state;
    mote_table *table;
    struct {
        bool alive;
        struct mote_value values[COLUMN_MODEL_COLUMNS];
        uint8_t bytes[COLUMN_MODEL_COLUMNS][COLUMN_MODEL_BYTES];
    } rows[COLUMN_MODEL_KEYS];
};

/* The table "values": id int64 (key), then nullable columns at positions 1 to 8. Without an index. */
void column_model_create(struct column_model *model, mote_db *db, uint64_t seed);
/* After an open. */
void column_model_open(struct column_model *model, mote_db *db);
/* An index of the column at that position, named by it. */
void column_model_add_index(struct column_model *model, uint32_t position);
/* count random upserts and deletes. */
void column_model_change(struct column_model *model, uint32_t count);
/* Random searches of one or two terms; all kinds, ordered or not, with a limit or without. */
void column_model_check(struct column_model *model, uint32_t searches);

#endif
