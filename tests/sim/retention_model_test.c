/* retention_model_test.c: tables with retention against a model that knows each row's newest version, the horizon, the pins, and what was recycled: random rows, replaced and deleted ones, late ones and such from the future, a clock that jumps, pins,
 * changed settings, a named snapshot, flushes, compactions, opens and crashes; every kind of read is compared. Rows come one by one, in write batches and in transactions.
 *
 * By age alone the model knows what is shown. By bytes, and for space, it is told by how many rows fewer there are: no row may be missing that is pinned or that came since the last drop, none may show an older version, none may come back. The snapshot shows what it saw, but for what has expired or was recycled.
 *
 *     retention_model_test [--seed N]   one seed alone
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/retained_world.h"
#include "tests/support/sample_table.h"

#define BEGIN (1700000000 * RETAINED_SECOND)

static int64_t read_clock(void *context) { return ((struct retained_model *)context)->clock_ns; }

/* first: what segments tell of the rows from before may be less than all. */
static void set_retention(struct retained_world *world, bool first)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    struct retained_model *model = &world->model;
    bool by_age = world->seed % 3 != 2;
    retention.age_ns = by_age ? (500 + (int64_t)retained_below(world, 3000)) * RETAINED_SECOND : 0;
    if (!first && by_age && retained_below(world, 4) == 0)
        retention.age_ns = 0;
    retention.window_ns = retained_below(world, 2) ? (1 + (int64_t)retained_below(world, 400)) * RETAINED_SECOND : 0;
    retention.future_ns = 100 * RETAINED_SECOND;
    if (world->seed % 3 == 1)
        retention.bytes_max = 12 * MIB_BYTES;
    retention.recycle = world->seed % 3 == 2;
    must(mote_table_set_retention(world->table, &retention));
    /* What was too far ahead when it came may count now, and first by the old age. */
    const struct mote_retention_info info = retained_info(world);
    model->future_ns = retention.future_ns;
    retained_check(first || info.newest_ns >= model->newest_ns);
    model->newest_ns = info.newest_ns;
    retained_raise_horizon(model);
    model->age_ns = retention.age_ns;
}

static void reopened(struct retained_world *world, bool crashed)
{
    struct retained_model *model = &world->model;
    must(mote_table_open(world->fixture.db, "arm", &world->table));
    model->rows_recycled = UINT64_MAX; /* the close, or what was before it, may have recycled some */
    struct mote_retention_info info = retained_info(world);
    if (!crashed)
        retained_check(info.newest_ns == model->newest_ns && info.horizon_ns >= model->horizon_ns);
    /* What was appended since the last flush is judged by the clock of the replay. */
    model->newest_ns = info.newest_ns;
    retained_check(info.horizon_ns <= model->horizon_ns || info.horizon_ns <= model->clock_ns - model->age_ns);
    model->horizon_ns = info.horizon_ns;
}

static void change_pin(struct retained_world *world)
{
    struct retained_model *model = &world->model;
    uint32_t slot = (uint32_t)retained_below(world, RETAINED_PINS_MAX);
    char name[8];
    snprintf(name, sizeof name, "pin%u", slot);
    if (model->pins[slot].used) {
        must(mote_unpin(world->table, name));
        model->pins[slot].used = false;
        return;
    }
    int64_t from_ns = world->front_ns - (int64_t)retained_below(world, 4000) * RETAINED_SECOND, to_ns = from_ns + (int64_t)retained_below(world, 600) * RETAINED_SECOND;
    retained_learn_recycled(world);
    int result = mote_pin(world->table, name, from_ns, to_ns);
    retained_learn_recycled(world);
    if (to_ns < model->horizon_ns) {
        retained_check(result == MOTE_EINVAL);
        return;
    }
    retained_check(result == MOTE_OK || result == MOTE_EBUDGET);
    if (result)
        return;
    model->pins[slot].used = true;
    model->pins[slot].from_ns = from_ns < model->horizon_ns ? model->horizon_ns : from_ns;
    model->pins[slot].to_ns = to_ns;
    model->pins[slot].value = world->next_value;
}

static void change_snapshot(struct retained_world *world)
{
    if (world->has_snapshot) {
        must(mote_snapshot_drop(world->fixture.db, "saved"));
    } else {
        retained_learn_recycled(world);
        retained_list_shown(world);
        must(mote_snapshot_take(world->fixture.db, "saved", NULL));
        memcpy(world->saved, world->shown, world->shown_count * sizeof *world->saved);
        world->saved_count = world->shown_count;
    }
    world->has_snapshot = !world->has_snapshot;
}

static void step(struct retained_world *world)
{
    struct mote_db *db = world->fixture.db;
    struct retained_model *model = &world->model;
    switch (retained_below(world, 24)) {
    case 0:
        must(mote_flush(db));
        break;
    case 1:
        must(mote_retain(db));
        break;
    case 2:
        must(mote_compact(db, retained_below(world, 2) ? "arm" : NULL));
        break;
    case 3:
        must(mote_checkpoint(db));
        break;
    case 4:
        fixture_reopen(&world->fixture);
        reopened(world, false);
        break;
    case 5:
        must(mote_wait(db, mote_visible_seq(db), MOTE_FOREVER));
        fixture_crash(&world->fixture);
        reopened(world, true);
        break;
    case 6:
    case 7:
        change_pin(world);
        break;
    case 8:
        model->clock_ns += ((int64_t)retained_below(world, 2000) - 800) * RETAINED_SECOND;
        break;
    case 9:
        if (retained_below(world, 6) == 0)
            model->clock_ns += (int64_t)retained_below(world, 1000000) * RETAINED_SECOND;
        else if (retained_below(world, 3) == 0)
            model->clock_ns = world->front_ns;
        break;
    case 10:
        if (retained_below(world, 3) == 0)
            set_retention(world, false);
        break;
    case 11:
        retained_delete_one(world);
        break;
    case 12:
        retained_replace_one(world);
        break;
    case 13:
        change_snapshot(world);
        break;
    default:
        retained_append_some(world);
    }
    retained_raise_horizon(model);
    retained_check(retained_info(world).horizon_ns == model->horizon_ns);
    if (retained_below(world, 6) == 0)
        retained_check_all(world);
}

static void make_table(struct retained_world *world)
{
    const uint32_t indexed[] = {2};
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    world->table = sample_table_series(world->fixture.db, "arm", 0);
    index.name = "values";
    index.kind = MOTE_INDEX_COLUMN;
    index.columns = indexed;
    index.column_count = 1;
    must(mote_index_create(world->table, &index));
}

static void run_seed(uint64_t seed, uint32_t steps)
{
    struct retained_world *world = calloc(1, sizeof *world);
    world->seed = seed;
    world->random = seed * 77 + 1;
    world->model.entries = calloc(RETAINED_KEYS_MAX, sizeof *world->model.entries);
    world->shown = calloc(RETAINED_KEYS_MAX, sizeof *world->shown);
    world->saved = calloc(RETAINED_KEYS_MAX, sizeof *world->saved);
    world->model.clock_ns = world->front_ns = BEGIN;
    world->model.newest_ns = world->model.horizon_ns = INT64_MIN;
    world->model.recycles = seed % 3 != 0;
    fixture_image(&world->fixture, (seed % 3 == 2 ? 24 : 64) * MIB_BYTES);
    world->fixture.realtime_ns = read_clock;
    world->fixture.realtime_context = &world->model;
    world->fixture.options.inline_io = 1;
    world->fixture.options.memtable_bytes = (256 + retained_below(world, 1024)) * 1024;
    world->fixture.options.block_rows = 64;
    fixture_open(&world->fixture);
    make_table(world);
    for (uint32_t i = 0; i < 10; i++)
        retained_append_some(world); /* from before the retention */
    set_retention(world, true);
    retained_raise_horizon(&world->model);
    for (uint32_t i = 0; i < steps; i++)
        step(world);
    retained_check_all(world);
    fixture_remove(&world->fixture);
    free(world->model.entries);
    free(world->shown);
    free(world->saved);
    free(world);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        run_seed(strtoull(argv[2], NULL, 0), 400);
        return 0;
    }
    uint64_t seeds = fixture_scale(30);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_seed(seed, 400);
    printf("%llu passed, 0 failed\n", (unsigned long long)seeds);
    return 0;
}
