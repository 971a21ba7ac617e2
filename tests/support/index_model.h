/* index_model.h: a table with a spatial index beside a model in memory: the same random changes to both, and searches that must tell what looking at every row of the model tells. One thread; a difference aborts with the seed. */
#ifndef MOTE_TESTS_SUPPORT_INDEX_MODEL_H
#define MOTE_TESTS_SUPPORT_INDEX_MODEL_H

#include "tests/support/engine_fixture.h"

enum { INDEX_MODEL_KEYS = 1500 };

struct index_model {
    uint64_t seed, state;
    mote_table *table;
    bool axes; /* three float64 columns instead of a point3 */
    struct {
        bool alive, has_point;
        double point[3];
        int64_t time_ns;
    } rows[INDEX_MODEL_KEYS];
};

/* The table "places": id int64 (key), at timestamp, place point3 (or x, y, z float64), all but the key nullable. Without an index. */
void index_model_create(struct index_model *model, mote_db *db, uint64_t seed, bool axes);
/* After an open. */
void index_model_open(struct index_model *model, mote_db *db);
void index_model_add_index(struct index_model *model, const char *name);
/* count random upserts and deletes. */
void index_model_change(struct index_model *model, uint32_t count);
/* Some searches of each kind, alone and with more terms, through indexes if there are any. */
void index_model_check(struct index_model *model, uint32_t searches);

#endif
