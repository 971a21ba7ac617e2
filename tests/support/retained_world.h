/* retained_world.h: a table with retention and the model of it, for tests/sim/retention_model_test.c: each row's newest version, the horizon, the pins, and what was recycled; the rows that it is given (retained_world.c), and every kind of read compared with the
 * model (retained_reads.c). What differs aborts with the seed. */
#ifndef MOTE_TESTS_SUPPORT_RETAINED_WORLD_H
#define MOTE_TESTS_SUPPORT_RETAINED_WORLD_H

#include <stdio.h>
#include <stdlib.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

#define RETAINED_SECOND ((int64_t)NS_PER_S)
#define RETAINED_KEYS_MAX 65536u
#define RETAINED_PINS_MAX 4
#define RETAINED_ROWS_MAX 60u /* at a time */

struct retained_entry {
    bool used, live, recycled;
    int32_t series;
    int64_t time_ns, value;
};

struct retained_model {
    struct retained_entry *entries; /* RETAINED_KEYS_MAX, by hash */
    int64_t clock_ns, newest_ns, horizon_ns, age_ns, future_ns;
    bool recycles;
    uint64_t rows_recycled; /* told by the stats at the last look */
    struct {
        bool used;
        int64_t from_ns, to_ns, value; /* rows with lesser values were there before it */
    } pins[RETAINED_PINS_MAX];
};

struct retained_world {
    struct fixture fixture;
    mote_table *table;
    struct retained_model model;
    uint64_t random, seed, lifetime_recycled;
    int64_t next_value, front_ns; /* front_ns: where the rows in order are */
    struct retained_entry *shown; /* RETAINED_KEYS_MAX, in key order */
    uint32_t shown_count;
    struct retained_entry *saved; /* RETAINED_KEYS_MAX: what was shown when the snapshot was taken */
    uint32_t saved_count;
    bool has_snapshot;
    mote_write *write;   /* what rows are gathered in, if one is not NULL */
    mote_transaction *transaction;
    int64_t gathered_ns[RETAINED_ROWS_MAX];
    uint32_t gathered_count;
};

#define retained_check(condition)                                                                                                                                                                                 \
    do {                                                                                                                                                                                                 \
        if (!(condition)) {                                                                                                                                                                              \
            fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)world->seed, __FILE__, __LINE__, #condition);                                                                                   \
            abort();                                                                                                                                                                                     \
        }                                                                                                                                                                                                \
    } while (0)

/* ---- retained_world.c ---- */
uint64_t retained_below(struct retained_world *world, uint64_t limit);
struct retained_entry *retained_find(struct retained_world *world, int32_t series, int64_t time_ns);
/* Whether the pin's bytes cannot have been too few for it. */
bool retained_is_kept(const struct retained_model *model, const struct retained_entry *entry);
bool retained_is_shown(const struct retained_model *model, const struct retained_entry *entry);
void retained_raise_horizon(struct retained_model *model);
/* Fills world->shown. */
void retained_list_shown(struct retained_world *world);
void retained_append_some(struct retained_world *world);
void retained_delete_one(struct retained_world *world);
void retained_replace_one(struct retained_world *world);

/* ---- retained_reads.c ---- */
struct mote_retention_info retained_info(struct retained_world *world);
/* What was recycled is missing from the scan, and from here on in the model. */
void retained_learn_recycled(struct retained_world *world);
void retained_check_all(struct retained_world *world);

#endif
