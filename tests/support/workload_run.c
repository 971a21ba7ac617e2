/* workload_run.c: the owner's life: profiles, open, close, death, marks, and the choice of the next action (workload.h). */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/sim.h"
#include "engine/engine.h"
#include "engine/recent.h"
#include "tests/support/kept_device.h"
#include "tests/support/workload_private.h"

/* ---- Profiles ---- */

static uint64_t choose(uint64_t *random, const uint64_t *values, uint32_t count) { return values[random_below(random, count)]; }

void profile_choose(struct profile *profile, uint64_t seed)
{
    static const uint64_t DEVICE_MIB[] = {8, 10, 12};
    static const uint64_t MEMTABLE_KIB[] = {64, 64, 96, 128, 256};
    static const uint64_t LOG_KIB[] = {256, 512, 1024};
    static const uint32_t USUAL[ACTION_COUNT] = {[ACTION_APPEND_ONE] = 14, [ACTION_APPEND_BATCH] = 12, [ACTION_BURST] = 3, [ACTION_INSERT_ONE] = 3, [ACTION_INSERT_BATCH] = 2, [ACTION_DELETE] = 7, [ACTION_WAIT] = 3,
                                                 [ACTION_FLUSH] = 3, [ACTION_CHECKPOINT] = 2, [ACTION_COMPACT] = 1, [ACTION_INDEXES] = 1, [ACTION_CREATE] = 1, [ACTION_ADD_COLUMN] = 1, [ACTION_DROP] = 1,
                                                 [ACTION_IDLE] = 3, [ACTION_READ] = 1, [ACTION_CURSOR] = 2, [ACTION_REOPEN] = 1, [ACTION_KILL] = 1};
    uint64_t random = seed * 0x9E3779B97F4A7C15u + 11;
    memset(profile, 0, sizeof *profile);
    profile->device_bytes = choose(&random, DEVICE_MIB, 3) * MIB_BYTES;
    profile->memtable_bytes = choose(&random, MEMTABLE_KIB, 5) * 1024;
    profile->log_bytes_max = choose(&random, LOG_KIB, 3) * 1024;
    profile->cache_bytes = 256 * 1024;
    profile->checkpoint_log_bytes = (64 + random_below(&random, 256)) * 1024;
    profile->logical_block_bytes = random_one_in(&random, 2) ? SECTOR_BYTES : PAGE_BYTES;
    profile->barrier = random_one_in(&random, 3) ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
    profile->frame_bytes_max = (2 + random_below(&random, 3)) * PAGE_BYTES;
    profile->memtable_count = 2 + random_below(&random, 3);
    profile->inflight_max = 1 + random_below(&random, 4);
    profile->block_rows = 8 + random_below(&random, 120);
    profile->runs_max = 2 + random_below(&random, 3);
    profile->compression = 1 + random_below(&random, 3);
    profile->reorder = !random_one_in(&random, 4);
    memcpy(profile->weights, USUAL, sizeof USUAL);
    profile->step_count = 60;
    switch (seed % 6) { /* what this run does more of */
    case 0: break;
    case 1: profile->weights[ACTION_CREATE] = 6, profile->weights[ACTION_ADD_COLUMN] = 6, profile->weights[ACTION_DROP] = 5; break;
    case 2: profile->weights[ACTION_REOPEN] = 4, profile->weights[ACTION_KILL] = 6, profile->weights[ACTION_IDLE] = 8; break;
    case 3: profile->weights[ACTION_BURST] = 16, profile->weights[ACTION_CHECKPOINT] = 5, profile->log_bytes_max = 256 * 1024, profile->step_count = 40; break;
    case 4: profile->weights[ACTION_FLUSH] = 14, profile->weights[ACTION_COMPACT] = 5, profile->weights[ACTION_INDEXES] = 4, profile->runs_max = 2; break;
    default: profile->weights[ACTION_APPEND_ONE] = 40, profile->weights[ACTION_DELETE] = 20, profile->weights[ACTION_WAIT] = 10, profile->step_count = 90; break;
    }
}

void profile_describe(const struct profile *profile, char *text, size_t text_bytes)
{
    snprintf(text, text_bytes, "%llu MiB, blocks of %u, %s, frames of %u KiB, %u in flight, %u memtables of %llu KiB, log of %llu KiB%s", (unsigned long long)(profile->device_bytes / MIB_BYTES),
             profile->logical_block_bytes, profile->barrier == MOTE_BARRIER_FUA ? "FUA" : "FLUSH", profile->frame_bytes_max / 1024, profile->inflight_max, profile->memtable_count,
             (unsigned long long)(profile->memtable_bytes / 1024), (unsigned long long)(profile->log_bytes_max / 1024), profile->reorder ? ", reordered" : "");
}

void profile_options(const struct profile *profile, uint64_t *random, struct mote_options *options)
{
    *options = (struct mote_options)MOTE_OPTIONS_INIT;
    options->inline_io = 1;
    options->memory_bytes = 24 * MIB_BYTES + profile->cache_bytes;
    options->cache_bytes = profile->cache_bytes;
    options->memtable_bytes = profile->memtable_bytes;
    options->memtable_count = profile->memtable_count;
    options->barrier = profile->barrier;
    options->wal_frame_bytes_max = profile->frame_bytes_max;
    options->wal_inflight_max = profile->inflight_max;
    options->checkpoint_log_bytes = profile->checkpoint_log_bytes;
    options->checkpoint_period_ms = random_one_in(random, 2) ? MOTE_NEVER : 40;
    options->block_rows = profile->block_rows;
    options->compaction_runs_max = profile->runs_max;
    options->compression = profile->compression;
    options->tables_max = 48;
    options->blob_threshold_bytes = WORKLOAD_THRESHOLD_BYTES;
    options->cursors_max = 4;
    if (!profile->constant && random_one_in(random, 5)) { /* the next owner may be configured otherwise */
        options->wal_frame_bytes_max = (2 + random_below(random, 3)) * PAGE_BYTES;
        options->wal_inflight_max = 1 + random_below(random, 4);
        options->barrier = random_one_in(random, 2) ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
        options->memtable_bytes = (64 + 16 * random_below(random, 5)) * 1024;
    }
}

void workload_uuid(uint8_t uuid[16]) { memcpy(uuid, "crash test uuid", 16); }

int workload_format(struct blockdev *device, const struct profile *profile)
{
    struct mote_format_options options = MOTE_FORMAT_OPTIONS_INIT;
    options.extent_bytes = 64 * 1024;
    options.log_bytes_max = profile->log_bytes_max;
    workload_uuid(options.uuid);
    return engine_format(device, &options, NULL);
}

/* ---- Marks ---- */

bool run_is_fault(int result)
{
    return result == MOTE_EIO || result == MOTE_ENODEV || result == MOTE_EPOISONED || result == MOTE_ENOSPC || result == MOTE_EBUDGET || result == MOTE_ENOMEM || result == MOTE_EDAMAGED;
}

int run_judge(struct run *run, int result, const char *format, ...)
{
    char what[200];
    va_list arguments;
    if (result == MOTE_OK)
        return MOTE_OK;
    run->failure = result;
    mote_last_error(&run->failure_cause);
    if (run->faults && run_is_fault(result))
        return MOTE_OK;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return oracle_fail_code(&run->oracle, result, "%s", what);
}

bool run_is_poisoned(const struct run *run)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    return mote_get_stats(run->db, &stats) == MOTE_OK && stats.poisoned;
}

void run_mark(struct run *run)
{
    if (!run->db)
        return;
    uint32_t point = model_point_of_seq(run->model, run->point, mote_durable_seq(run->db));
    if (point == run->point)
        return;
    run->point = point;
    sim_mark(run->device, MARK_POINT, point);
}

void run_mark_flushed(struct run *run, uint64_t seq)
{
    run->flushed_seq = seq;
    sim_mark(run->device, MARK_FLUSHED, seq);
}

void run_mark_head(struct run *run)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    if (mote_get_stats(run->db, &stats))
        return;
    run->head_lsn = stats.head_lsn;
    sim_mark(run->device, MARK_HEAD, stats.head_lsn);
}

/* ---- Epochs ---- */

static void begin_epoch(struct run *run, struct model *model, uint32_t point)
{
    assert(run->epoch_count < WORKLOAD_EPOCHS_MAX);
    run->epochs[run->epoch_count] = run->model = model;
    run->point = point;
    sim_mark(run->device, MARK_EPOCH, run->epoch_count);
    sim_mark(run->device, MARK_POINT, point);
    run->epoch_count++;
}

void run_begin(struct run *run, struct blockdev *device, const struct profile *profile, struct model *model, const struct promise *promise, uint64_t random)
{
    memset(run, 0, sizeof *run);
    run->device = device;
    run->profile = *profile;
    run->random = random;
    run->oracle.random = random + 1;
    run->serial = (random >> 24) << 24;
    run->clock_ns = INT64_C(1700000000000000000) + (int64_t)(random % 1000) * 1000000;
    run->borrowed_epochs = 1;
    run->flushed_seq = promise->flushed_seq;
    run->head_lsn = promise->head_lsn;
    run->closed = promise->clean;
    sim_mark(device, MARK_FLUSHED, promise->flushed_seq);
    sim_mark(device, MARK_HEAD, promise->head_lsn);
    begin_epoch(run, model, promise->point);
}

int run_open(struct run *run)
{
    struct mote_options options;
    struct promise promise = {.point = run->point, .flushed_seq = run->flushed_seq, .head_lsn = run->head_lsn, .clean = run->closed};
    uint32_t point;
    struct blockdev *device = run->wrap ? run->wrap(run->wrap_context, run->device) : kept_device_create(run->device, NULL, NULL);
    profile_options(&run->profile, &run->random, &options);
    run->closed = false; /* even an open that fails may have written */
    int result = engine_open(device, &options, &run->db, NULL);
    if (result) {
        blockdev_close(device);
        run->db = NULL;
        oracle_fail_code(&run->oracle, result, "the open failed");
        return run->faults ? result : -1;
    }
    recents_set_rows(run->db, 8 + random_below(&run->random, 40));
    point = run->point;
    bool thorough = random_one_in(&run->random, 3);
    if (!run->unread && oracle_check(&run->oracle, run->db, run->model, &promise, thorough, &point))
        return -1;
    begin_epoch(run, model_clone(run->model, point), point);
    return MOTE_OK;
}

int run_look_read_only(struct run *run)
{
    struct mote_options options;
    struct promise promise = {.point = run->point, .flushed_seq = run->flushed_seq, .head_lsn = run->head_lsn, .clean = run->closed};
    struct mote_db *db;
    uint32_t point;
    struct blockdev *device = kept_device_create(run->device, NULL, NULL);
    profile_options(&run->profile, &run->random, &options);
    options.read_only = 1;
    int result = engine_open(device, &options, &db, NULL);
    if (result) {
        blockdev_close(device);
        /* It may not flush: a log that holds more than the memtables is refused, and says so. */
        return result == MOTE_EBUDGET ? MOTE_OK : oracle_fail_code(&run->oracle, result, "the read-only open failed");
    }
    result = oracle_check(&run->oracle, db, run->model, &promise, false, &point);
    blockdev_close(engine_abandon(db));
    if (!result)
        begin_epoch(run, model_clone(run->model, point), point);
    return result;
}

/* ---- The held cursor ---- */

static int subtract_row(void *context, const uint8_t *row, size_t row_bytes)
{
    struct held_cursor *held = context;
    held->left = digest_subtract(held->left, row_digest(held->schema.name, row, row_bytes));
    return MOTE_OK;
}

static int add_row(void *context, const uint8_t *row, size_t row_bytes)
{
    struct held_cursor *held = context;
    held->left = digest_add(held->left, row_digest(held->schema.name, row, row_bytes));
    return MOTE_OK;
}

static void drop_cursor(struct run *run)
{
    mote_cursor_close(run->held.cursor);
    memset(&run->held, 0, sizeof run->held);
}

static int hold_cursor(struct run *run)
{
    struct held_cursor *held = &run->held;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint32_t positions[MODEL_COLUMNS_MAX], table = random_below(&run->random, run->model->table_count);
    mote_table *handle;
    if (run->model->table_count == 0 || !run->model->tables[table].live || mote_table_open(run->db, run->model->tables[table].schema.name, &handle))
        return MOTE_OK;
    held->schema = run->model->tables[table].schema;
    held->table = table;
    held->left = (struct digest){0, 0};
    int result = oracle_scan(handle, &held->schema, &options, add_row, held);
    if (!result && !digest_equal(held->left, run->model->tables[table].rows))
        return oracle_fail(&run->oracle, "a scan of %s does not yield what was written", held->schema.name);
    for (uint32_t i = 0; i < held->schema.column_count; i++)
        positions[i] = i;
    options.columns = positions;
    options.column_count = held->schema.column_count;
    options.chunk_rows = 1 + random_below(&run->random, 40);
    options.descending = random_below(&run->random, 2);
    if (!result)
        result = mote_scan(handle, &options, &held->cursor);
    return run_judge(run, result, "opening a cursor on %s", held->schema.name);
}

static int advance_cursor(struct run *run, bool to_end)
{
    struct held_cursor *held = &run->held;
    struct mote_chunk chunk = {0};
    int result;
    do {
        result = mote_cursor_next(held->cursor, &chunk);
        for (size_t row = 0; !result && row < chunk.row_count; row++) {
            uint8_t cells[MODEL_ROW_BYTES_MAX];
            size_t at = 0;
            for (uint32_t i = 0; i < held->schema.column_count; i++)
                at += cell_from_column(&held->schema.columns[i], &chunk.columns[i], row, cells + at);
            subtract_row(held, cells, at);
        }
    } while (!result && to_end && chunk.row_count > 0);
    bool dropped = !run->model->tables[held->table].live;
    if (dropped && result == MOTE_ENOTABLE)
        result = MOTE_OK;
    else if (!result && to_end && !digest_equal(held->left, (struct digest){0, 0}))
        return oracle_fail(&run->oracle, "a cursor on %s that was open meanwhile did not yield its snapshot", held->schema.name);
    if (to_end || dropped || result)
        drop_cursor(run);
    return run_judge(run, result, "a cursor");
}

static int act_cursor(struct run *run)
{
    if (!run->held.cursor)
        return hold_cursor(run);
    return advance_cursor(run, random_one_in(&run->random, 2));
}

/* ---- Life ---- */

int run_close(struct run *run)
{
    if (run->held.cursor && advance_cursor(run, true))
        return -1;
    mote_db *db = run->db;
    run->db = NULL;
    int result = mote_close(db);
    if (!result) {
        run->closed = true;
        run->point = run->model->op_count;
        sim_mark(run->device, MARK_POINT, run->point);
        sim_mark(run->device, MARK_CLOSED, sim_event_count(run->device));
    }
    return run_judge(run, result, "the close");
}

void run_kill(struct run *run)
{
    if (!run->db)
        return;
    if (run->held.cursor)
        drop_cursor(run);
    struct blockdev *device = engine_abandon(run->db);
    run->db = NULL;
    blockdev_close(device);
}

void run_free(struct run *run)
{
    run_kill(run);
    for (uint32_t i = run->epoch_count; i > run->borrowed_epochs; i--)
        model_destroy(run->epochs[i - 1]);
    oracle_free(&run->oracle);
    run->epoch_count = 0;
}

static int act_reopen(struct run *run)
{
    if (run->epoch_count + 1 >= WORKLOAD_EPOCHS_MAX)
        return MOTE_OK;
    int result = run_close(run);
    return result ? result : run_open(run);
}

static int act_kill(struct run *run)
{
    if (run->epoch_count + 2 >= WORKLOAD_EPOCHS_MAX)
        return MOTE_OK;
    run_kill(run);
    if (random_one_in(&run->random, 2) && run_look_read_only(run))
        return -1;
    return run_open(run);
}

static int act_idle(struct run *run)
{
    if (run->advance_clock)
        run->advance_clock((int64_t)(1 + random_below(&run->random, 30)) * NS_PER_MS);
    return MOTE_OK;
}

static int act_read(struct run *run)
{
    if (oracle_check_live(&run->oracle, run->db, run->model))
        return -1;
    return oracle_check_reads(&run->oracle, run->db, run->model, run->model->op_count);
}

static int (*const ACTIONS[ACTION_COUNT])(struct run *run) = {
    [ACTION_APPEND_ONE] = act_append_one, [ACTION_APPEND_BATCH] = act_append_batch, [ACTION_BURST] = act_burst, [ACTION_INSERT_ONE] = act_insert_one, [ACTION_INSERT_BATCH] = act_insert_batch,
    [ACTION_DELETE] = act_delete, [ACTION_WAIT] = act_wait, [ACTION_FLUSH] = run_flush, [ACTION_CHECKPOINT] = run_checkpoint, [ACTION_COMPACT] = act_compact, [ACTION_INDEXES] = act_indexes,
    [ACTION_CREATE] = act_create_table, [ACTION_ADD_COLUMN] = act_add_column, [ACTION_DROP] = act_drop_table, [ACTION_IDLE] = act_idle, [ACTION_READ] = act_read, [ACTION_CURSOR] = act_cursor,
    [ACTION_REOPEN] = act_reopen, [ACTION_KILL] = act_kill,
};

int run_step(struct run *run)
{
    uint32_t sum = 0, action = 0;
    for (uint32_t i = 0; i < ACTION_COUNT; i++)
        sum += run->profile.weights[i];
    uint32_t at = random_below(&run->random, sum);
    while (at >= run->profile.weights[action])
        at -= run->profile.weights[action++];
    int result = ACTIONS[action](run);
    run_mark(run);
    return result;
}
