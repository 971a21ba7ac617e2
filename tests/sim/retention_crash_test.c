/* retention_crash_test.c: power cuts at every boundary of a script that sets retention, appends, flushes, lets rows expire, recycles windows, pins and unpins. What is found afterwards is the state before the call under way, or the one after it, or
 * lies between the two: no row that was gone comes back, none is gone that the call did not drop, all of a batch or nothing is there, and pinned rows are there. The opened volume then drops what is due, is opened again, and shows the same.
 *
 *     retention_crash_test [--seed N]   one seed alone
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/crash_visit.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

#define SECOND ((int64_t)NS_PER_S)
#define BEGIN (1700000000 * SECOND)
#define STATES_MAX 256u
#define ROWS_MAX 4096u
#define MARK_STATE 1

struct state {
    uint32_t count;
    int64_t *values; /* ascending; each row has its own */
    int64_t clock_ns;
    int64_t pin_from_value, pin_to_value; /* rows that a pin holds; from > to: none */
    int64_t batch_from_value; /* of the call that led here: its rows are from here to the next state's; INT64_MAX: it appended none */
};

struct script {
    struct fixture fixture;
    mote_table *table;
    uint64_t seed, random;
    int64_t clock_ns, next_value;
    bool pinned;
    uint32_t state_count;
    struct state states[STATES_MAX];
    uint64_t images, failures;
};

static int64_t read_clock(void *context) { return *(int64_t *)context; }

static int compare_values(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* All rows' values. */
static int look(mote_table *table, int64_t *values, uint32_t *count)
{
    struct mote_chunk chunk;
    mote_cursor *cursor;
    *count = 0;
    int result = mote_scan(table, NULL, &cursor);
    if (result)
        return result;
    do {
        result = mote_cursor_next(cursor, &chunk);
        for (size_t i = 0; !result && i < chunk.row_count; i++) {
            require(*count < ROWS_MAX);
            values[(*count)++] = chunk_value(&chunk, 2, i).as.i64;
        }
    } while (!result && chunk.row_count > 0);
    mote_cursor_close(cursor);
    qsort(values, *count, sizeof *values, compare_values);
    return result;
}

static bool holds(const int64_t *values, uint32_t count, int64_t value) { return bsearch(&value, values, count, sizeof *values, compare_values) != NULL; }

/* ---- The script ---- */

static void keep_state(struct script *script, int64_t batch_from_value)
{
    static int64_t values[ROWS_MAX];
    require(script->state_count < STATES_MAX);
    struct state *before = script->state_count ? &script->states[script->state_count - 1] : NULL, *state = &script->states[script->state_count];
    *state = (struct state){.clock_ns = script->clock_ns, .pin_from_value = 1, .pin_to_value = 0, .batch_from_value = batch_from_value};
    if (before && script->pinned) {
        state->pin_from_value = before->pin_from_value;
        state->pin_to_value = before->pin_to_value;
    }
    must(look(script->table, values, &state->count));
    state->values = malloc((state->count + 1) * sizeof *values);
    memcpy(state->values, values, state->count * sizeof *values);
    sim_mark(script->fixture.sim, MARK_STATE, script->state_count++);
}

/* A row's time is its value's second. */
static int64_t time_of(int64_t value) { return BEGIN + value * SECOND; }

static void append_batch(struct script *script)
{
    static char note[600];
    static int32_t series[64];
    static int64_t times[64], values[64];
    static char notes[64 * sizeof note];
    static uint32_t offsets[65];
    uint32_t count = 8 + (uint32_t)(fixture_random(&script->random) % 32);
    int64_t first = script->next_value;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = script->next_value++;
        series[i] = (int32_t)(values[i] % 3);
        times[i] = time_of(values[i]);
        offsets[i + 1] = offsets[i] + sizeof note;
    }
    for (size_t i = 0; i < sizeof notes; i++)
        notes[i] = (char)(33 + fixture_random(&script->random) % 90);
    const struct mote_column columns[] = {{MOTE_TYPE_INT32, 1, series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 1, times, NULL, NULL}, {MOTE_TYPE_INT64, 1, values, NULL, NULL}, {MOTE_TYPE_TEXT, 1, notes, offsets, NULL}};
    const struct mote_batch batch = {count, 4, columns, NULL};
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    options.durability = MOTE_DURABILITY_SYNC;
    script->clock_ns = times[count - 1];
    must(mote_append_columns(script->table, &batch, &options, NULL));
    keep_state(script, first);
}

static void change_pin(struct script *script)
{
    struct state *last = &script->states[script->state_count - 1];
    if (script->pinned) {
        script->pinned = false;
        must(mote_unpin(script->table, "incident"));
        keep_state(script, INT64_MAX);
        return;
    }
    if (last->count < 40)
        return;
    int64_t from = last->values[last->count / 2], to = from + 20;
    int result = mote_pin(script->table, "incident", time_of(from), time_of(to));
    require(result == MOTE_OK || result == MOTE_EBUDGET);
    script->pinned = result == MOTE_OK;
    keep_state(script, INT64_MAX);
    last = &script->states[script->state_count - 1];
    if (script->pinned) {
        last->pin_from_value = from;
        last->pin_to_value = to;
    }
}

static void make_table(struct script *script)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    script->table = sample_table_series(script->fixture.db, "arm", 0);
    retention.age_ns = script->seed % 3 == 0 ? 400 * SECOND : 0;
    retention.bytes_max = script->seed % 3 == 1 ? 1280 * 1024 : 0;
    retention.recycle = script->seed % 3 == 2;
    retention.pin_bytes_max = 512 * 1024;
    retention.window_ns = 50 * SECOND;
    must(mote_table_set_retention(script->table, &retention));
}

static void play(struct script *script)
{
    fixture_sim(&script->fixture, 20 * MIB_BYTES, script->seed, true);
    script->fixture.realtime_ns = read_clock;
    script->fixture.realtime_context = &script->clock_ns;
    script->fixture.options.inline_io = 1;
    script->fixture.options.memtable_bytes = 256 * 1024;
    script->fixture.options.block_rows = 32;
    script->clock_ns = BEGIN;
    fixture_open(&script->fixture);
    make_table(script);
    keep_state(script, INT64_MAX);
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t kind = fixture_random(&script->random) % 12;
        if (kind < 8) {
            append_batch(script);
            continue;
        }
        if (kind == 8) {
            change_pin(script);
            continue;
        }
        must(kind == 9 ? mote_flush(script->fixture.db) : kind == 10 ? mote_retain(script->fixture.db) : mote_checkpoint(script->fixture.db));
        keep_state(script, INT64_MAX);
    }
}

/* ---- The images ---- */

static const char *why;

/* What was found lies between two states. */
static bool lies_between(const struct state *before, const struct state *after, const int64_t *values, uint32_t count)
{
    uint32_t fresh = 0, fresh_all = 0;
    why = "a row was found that neither state has";
    for (uint32_t i = 0; i < count; i++) {
        if (!holds(before->values, before->count, values[i]) && !holds(after->values, after->count, values[i]) && values[i] < after->batch_from_value)
            return false;
        fresh += values[i] >= after->batch_from_value;
    }
    why = "a row that both states have is missing";
    for (uint32_t i = 0; i < before->count; i++)
        if (holds(after->values, after->count, before->values[i]) && !holds(values, count, before->values[i]))
            return false;
    why = "a part of a batch was found";
    for (uint32_t i = 0; i < after->count; i++)
        fresh_all += after->values[i] >= after->batch_from_value;
    return fresh == 0 || fresh == fresh_all;
}

static bool has_pinned(const struct state *state, const int64_t *values, uint32_t count)
{
    why = "a pinned row is missing";
    for (uint32_t i = 0; i < state->count; i++)
        if (state->values[i] >= state->pin_from_value && state->values[i] <= state->pin_to_value && !holds(values, count, state->values[i]))
            return false;
    return true;
}

/* The opened volume goes on, and is opened again. */
static bool live_on(struct script *script, struct blockdev *device, mote_db *db, int64_t *clock_ns, const int64_t *values, uint32_t count)
{
    static int64_t later[ROWS_MAX], again[ROWS_MAX];
    uint32_t later_count, again_count;
    mote_table *table;
    must(mote_table_open(db, "arm", &table));
    must(mote_retain(db));
    must(look(table, later, &later_count));
    why = "a row came back";
    bool good = true;
    for (uint32_t i = 0; i < later_count; i++)
        good = good && holds(values, count, later[i]);
    engine_abandon(db);
    must(engine_open_at(device, &script->fixture.options, read_clock, clock_ns, &db, NULL));
    must(mote_table_open(db, "arm", &table));
    must(look(table, again, &again_count));
    if (good) {
        why = again_count > later_count ? "a second open shows more" : "a second open shows less";
        good = (again_count == later_count || (script->seed % 3 == 2 && again_count < later_count)); /* an open may recycle as well */
        for (uint32_t i = 0; i < again_count; i++)
            good = good && holds(later, later_count, again[i]);
    }
    engine_abandon(db);
    return good;
}

static void visit(void *context, uint64_t event, enum sim_crash_policy policy, uint32_t index)
{
    struct script *script = context;
    static int64_t values[ROWS_MAX];
    struct blockdev *device;
    mote_db *db;
    mote_table *table;
    struct mote_error error;
    uint64_t number = sim_mark_at(script->fixture.sim, event, MARK_STATE);
    const struct state *before = &script->states[number], *after = number + 1 < script->state_count ? before + 1 : before;
    int64_t clock_ns = after->clock_ns;
    uint32_t count;
    must(sim_create_from_crash(script->fixture.sim, event, policy, index, script->seed ^ event, NULL, &device));
    script->images++;
    int result = engine_open_at(device, &script->fixture.options, read_clock, &clock_ns, &db, &error);
    bool good = result == MOTE_OK;
    why = good ? "" : error.message;
    if (good) {
        must(mote_table_open(db, "arm", &table));
        must(look(table, values, &count));
        good = lies_between(before, after, values, count) && (before->pin_from_value != after->pin_from_value || has_pinned(before, values, count));
        if (good && script->images % 5 == 0)
            good = live_on(script, device, db, &clock_ns, values, count);
        else
            engine_abandon(db);
    }
    if (!good) {
        printf("FAILED seed %llu event %llu policy %d index %u, after state %llu: %s\n", (unsigned long long)script->seed, (unsigned long long)event, (int)policy, index, (unsigned long long)number, why);
        script->failures++;
    }
    blockdev_close(device);
}

int main(int argc, char **argv)
{
    uint64_t seeds = fixture_scale(6), images = 0, failures = 0, first = 1;
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        first = strtoull(argv[2], NULL, 0);
        seeds = 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct script *script = calloc(1, sizeof *script);
        script->seed = seed;
        script->random = seed * 1234567 + 1;
        play(script);
        crash_visit_all(script->fixture.sim, MARK_STATE, &script->failures, visit, script);
        images += script->images;
        failures += script->failures;
        for (uint32_t i = 0; i < script->state_count; i++)
            free(script->states[i].values);
        fixture_remove(&script->fixture);
        free(script);
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)(images - failures), (unsigned long long)failures);
    return failures ? 1 : 0;
}
