/* vector_model.h: a table with a vector index beside a model in memory: the same random changes to both, and searches that must tell what looking at every row of the model tells, by the plainest loops. One thread; a difference aborts with
 * the seed. */
#ifndef MOTE_TESTS_SUPPORT_VECTOR_MODEL_H
#define MOTE_TESTS_SUPPORT_VECTOR_MODEL_H

#include "index/vector.h"
#include "tests/support/engine_fixture.h"

enum { VECTOR_MODEL_KEYS = 6000, VECTOR_MODEL_DIMENSION_MAX = 32 };

struct vector_model {
    uint64_t seed, state;
    mote_table *table;
    uint32_t dimension, metric;
    struct {
        bool alive, has_vector;
        float vector[VECTOR_MODEL_DIMENSION_MAX];
        int64_t time_ns;
    } rows[VECTOR_MODEL_KEYS];
    uint64_t wanted, found; /* nearest rows of searches that may miss some, and how many of them were found */
};

/* The table "vectors": id int64 (key), at timestamp, v of that dimension, both nullable. Without an index. */
void vector_model_create(struct vector_model *model, mote_db *db, uint64_t seed, uint32_t dimension, uint32_t metric);
/* After an open. */
void vector_model_open(struct vector_model *model, mote_db *db);
void vector_model_add_index(struct vector_model *model, const char *name);
/* Rows first to first + count - 1, each with a vector, in batches. */
void vector_model_fill(struct vector_model *model, int64_t first, uint32_t count);
/* count random upserts and deletes of ids below `below`; now and then a row has no vector, or one with a NaN. */
void vector_model_change(struct vector_model *model, uint32_t count, int64_t below);
/* Some searches, some of them by time too. exact: every hit must be that of the model; else rows may be missed (wanted, found), but what is found is at the right distance, in order, and as many as there are. */
void vector_model_check(struct vector_model *model, uint32_t searches, bool exact);

#endif
