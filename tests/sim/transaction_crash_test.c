/* transaction_crash_test.c: crash enumeration of writes over several tables, transactions and named snapshots.
 *
 * For each seed an owner works on three tables of a small volume with small frames, so that many batches lie in parts, while the simulated disk records every write and barrier. The power is cut after each event that changes what may be left,
 * with nothing unflushed, all of it, all but one write, only one, or torn subsets surviving. Each image is opened. Then
 *   - its content is that after a whole number of steps, at least of those that were acknowledged: each value is written by one step only, so a part of a batch is no such content;
 *   - a named snapshot whose taking was acknowledged is there, unless its removal had begun; one whose removal was acknowledged is not; and each that is there reads as it did when it was taken.
 * Some recoveries are recorded themselves, go on for a few steps, and are cut again, also within their opening.
 *
 *     transaction_crash_test [--first N] [--seeds N]
 *
 * MOTE_TEST_SCALE: percent of the usual number of seeds. MOTE_TEST_JOBS: processes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/engine.h"
#include "tests/support/states.h"
#include "tests/support/test_workers.h"
#include "tests/support/virtual_clock.h"

enum { STEPS = 50, NESTED_STEPS = 5, STATES_MAX = 160, NAMES_MAX = 48, NESTED_ONE_IN = 250, EACH_MAX = 4, TORN_SEEDS = 2, SEEDS_DEFAULT = 12 };
enum { MARK_STATE = 1, MARK_TAKING, MARK_TAKEN, MARK_DROPPING, MARK_DROPPED };
enum { COUNT_IMAGES, COUNT_NESTED, COUNT_STEPS, COUNT_NAMES };

struct run {
    struct blockdev *device;
    struct mote_options options;
    mote_db *db;
    struct state_tables tables;
    struct state states[STATES_MAX];
    uint64_t seqs[STATES_MAX]; /* of the step that led to it */
    uint32_t count;
    struct state named[NAMES_MAX]; /* what snapshot n<i> sees */
    uint32_t named_count;
    uint64_t taking, taken, dropping, dropped; /* sets of names */
    uint64_t random;
    int64_t next_value;
    char why[600];
};

struct explorer {
    struct test_worker *worker;
    uint64_t seed;
    uint32_t depth;
};

/* ---- Work ---- */

static struct state *present(struct run *run) { return &run->states[run->count - 1]; }

static void note_durable(struct run *run)
{
    uint64_t durable = mote_durable_seq(run->db);
    uint32_t state = run->count - 1;
    while (state > 0 && run->seqs[state] > durable)
        state--;
    sim_mark(run->device, MARK_STATE, state);
}

/* The step after which the content is `next`. */
static void note_step(struct run *run, const struct state *next)
{
    run->states[run->count] = *next;
    run->seqs[run->count++] = mote_visible_seq(run->db);
    require(run->count < STATES_MAX);
}

static struct mote_write_options draw_options(struct run *run)
{
    static const uint32_t levels[] = {MOTE_DURABILITY_SYNC, MOTE_DURABILITY_GROUP, MOTE_DURABILITY_NONE};
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    options.durability = levels[random_below(&run->random, 3)];
    return options;
}

/* A row of a table that is put, or (value 0) deleted; its values point into the change. */
struct change {
    unsigned t;
    int64_t key, value;
    mote_table *table;
    size_t count;
    struct mote_value row[3];
    char text[STATE_TEXT_BYTES];
};

static void draw_change(struct run *run, struct change *change)
{
    change->t = random_below(&run->random, STATE_TABLES);
    change->key = random_below(&run->random, STATE_KEYS);
    change->value = random_below(&run->random, 5) ? ++run->next_value : 0;
    change->table = run->tables.tables[change->t];
    change->count = states_row(change->t, change->key, change->value, change->text, change->row);
}

static void write_batch(struct run *run, uint32_t rows)
{
    struct state next = *present(run);
    struct mote_write_options options = draw_options(run);
    mote_write *write;
    must(mote_write_begin(run->db, &write));
    for (uint32_t i = 0; i < rows; i++) {
        struct change change;
        draw_change(run, &change);
        must(change.value ? mote_write_put(write, change.table, change.row, change.count) : mote_write_delete(write, change.table, change.row, 1));
        next.values[change.t][change.key] = change.value;
    }
    must(mote_write_commit(write, &options, NULL));
    mote_write_free(write);
    note_step(run, &next);
}

static void write_transaction(struct run *run)
{
    struct state next = *present(run);
    struct mote_write_options options = draw_options(run);
    uint32_t rows = 1 + random_below(&run->random, 10), how = random_below(&run->random, 4);
    uint64_t savepoint = 0;
    mote_transaction *transaction;
    must(mote_transaction_begin(run->db, NULL, &transaction));
    for (uint32_t i = 0; i < rows; i++) {
        struct change change;
        draw_change(run, &change);
        if (i == rows / 2)
            must(mote_transaction_savepoint(transaction, &savepoint));
        must(change.value ? mote_transaction_put(transaction, change.table, change.row, change.count) : mote_transaction_delete(transaction, change.table, change.row, 1));
        if (i < rows / 2 || how != 1)
            next.values[change.t][change.key] = change.value;
    }
    if (how == 0) {
        mote_transaction_abort(transaction);
        return;
    }
    if (how == 1)
        must(mote_transaction_rollback_to(transaction, savepoint));
    must(mote_transaction_commit(transaction, &options, NULL));
    note_step(run, &next);
}

static void write_row(struct run *run)
{
    struct state next = *present(run);
    struct mote_write_options options = draw_options(run);
    struct change change;
    draw_change(run, &change);
    must(change.value ? mote_append(change.table, change.row, change.count, &options, NULL) : mote_delete(change.table, change.row, 1, &options, NULL));
    next.values[change.t][change.key] = change.value;
    note_step(run, &next);
}

static void name_text(uint32_t number, char name[8]) { snprintf(name, 8, "n%u", number); }

static void take_snapshot(struct run *run)
{
    char name[8];
    if (run->named_count == NAMES_MAX)
        return;
    uint32_t number = run->named_count++;
    name_text(number, name);
    run->named[number] = *present(run);
    sim_mark(run->device, MARK_TAKING, run->taking |= 1ull << number);
    must(mote_snapshot_take(run->db, name, NULL));
    sim_mark(run->device, MARK_TAKEN, run->taken |= 1ull << number);
}

static void drop_snapshot(struct run *run)
{
    char name[8];
    uint32_t number = random_below(&run->random, NAMES_MAX);
    for (uint32_t i = 0; i < NAMES_MAX && !((run->taken & ~run->dropped) >> number & 1); i++)
        number = (number + 1) % NAMES_MAX;
    if (!((run->taken & ~run->dropped) >> number & 1))
        return;
    name_text(number, name);
    sim_mark(run->device, MARK_DROPPING, run->dropping |= 1ull << number);
    must(mote_snapshot_drop(run->db, name));
    sim_mark(run->device, MARK_DROPPED, run->dropped |= 1ull << number);
}

static void open_run(struct run *run)
{
    must(engine_open(run->device, &run->options, &run->db, NULL));
    states_open(run->db, &run->tables);
}

/* A device outlives the handles on it: mote_close would close it. So the clean end is a checkpoint and a kill. */
static void reopen(struct run *run)
{
    if (random_below(&run->random, 2))
        must(mote_checkpoint(run->db));
    else
        must(mote_wait(run->db, mote_visible_seq(run->db), MOTE_FOREVER));
    note_durable(run);
    engine_abandon(run->db);
    open_run(run);
}

static void run_step(struct run *run)
{
    virtual_clock_advance(random_below(&run->random, 3) * NS_PER_MS);
    switch (random_below(&run->random, 16)) {
    case 0:
    case 1:
    case 2:
        write_batch(run, 1 + random_below(&run->random, 8));
        break;
    case 3:
    case 4:
        write_batch(run, 30 + random_below(&run->random, 16));
        break;
    case 5:
    case 6:
        write_transaction(run);
        break;
    case 7:
    case 8:
        write_row(run);
        break;
    case 9:
        must(mote_flush(run->db));
        break;
    case 10:
        must(mote_checkpoint(run->db));
        break;
    case 11:
        must(mote_compact(run->db, NULL));
        break;
    case 12:
    case 13:
        take_snapshot(run);
        break;
    case 14:
        drop_snapshot(run);
        break;
    default:
        reopen(run);
    }
    note_durable(run);
}

/* ---- One image ---- */

struct promise {
    uint32_t state;
    uint64_t taking, taken, dropping, dropped;
};

struct names {
    struct run *run;
    uint64_t listed;
};

static int note_name(const struct mote_snapshot_info *info, void *context)
{
    struct names *names = context;
    unsigned number = 0;
    require(sscanf(info->name, "n%u", &number) == 1 && number < NAMES_MAX);
    names->listed |= 1ull << number;
    return 0;
}

static int refuse(struct run *run, const char *what, const struct state *found, const struct state *expected)
{
    int length = snprintf(run->why, sizeof run->why, "%s: ", what);
    if (found && length > 0)
        states_describe(found, expected, run->why + length, sizeof run->why - (size_t)length);
    return -1;
}

static int check_names(struct run *run, const struct promise *promise, uint64_t *listed)
{
    struct names names = {.run = run};
    must(mote_snapshot_list(run->db, note_name, &names));
    *listed = names.listed;
    if (names.listed & ~promise->taking)
        return refuse(run, "a snapshot is there that nobody took", NULL, NULL);
    if (promise->taken & ~promise->dropping & ~names.listed)
        return refuse(run, "a snapshot is gone", NULL, NULL);
    if (names.listed & promise->dropped)
        return refuse(run, "a dropped snapshot is back", NULL, NULL);
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        struct state found;
        mote_snapshot *snapshot;
        char name[8];
        if (!(names.listed >> i & 1))
            continue;
        name_text(i, name);
        must(mote_snapshot_open(run->db, name, &snapshot));
        must(states_read(&run->tables, snapshot, i % 2 != 0, &found));
        mote_snapshot_release(snapshot);
        if (!states_equal(&found, &run->named[i]))
            return refuse(run, name, &found, &run->named[i]);
    }
    return 0;
}

/* What the volume holds must be a whole state; it is the run's present one from here on. */
static int check_opened(struct run *run, const struct promise *promise, uint64_t *listed)
{
    struct state found;
    must(states_read(&run->tables, NULL, false, &found));
    uint32_t state = promise->state;
    while (state < run->count && !states_equal(&run->states[state], &found))
        state++;
    if (state == run->count)
        return refuse(run, "no state that may be there; compared with the last", &found, present(run));
    note_step(run, &found);
    return check_names(run, promise, listed);
}

static void explore(struct explorer *explorer, struct run *run);

static void mark_recovered(struct run *run, uint64_t listed)
{
    sim_mark(run->device, MARK_STATE, run->count - 1);
    sim_mark(run->device, MARK_TAKEN, run->taken = listed);
    sim_mark(run->device, MARK_DROPPING, run->dropping = run->taking & ~listed);
    sim_mark(run->device, MARK_DROPPED, run->dropped = run->taking & ~listed);
}

static void visit_image(struct explorer *explorer, const struct run *parent, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t torn_seed, const struct promise *promise)
{
    struct run *run = malloc(sizeof *run);
    uint64_t hash = explorer->seed * 1000003 + event * 31 + (uint64_t)policy * 7 + index * 131 + torn_seed, listed = 0;
    bool nested = explorer->depth == 0 && random_one_in(&hash, NESTED_ONE_IN);
    struct sim_options options = {.record = nested, .reorder = true, .seed = hash};
    require(run != NULL);
    *run = *parent;
    run->db = NULL;
    snprintf(explorer->worker->at, sizeof explorer->worker->at, "transaction_crash_test --first %" PRIu64 " --seeds 1: depth %u, event %" PRIu64 ", policy %d, index %u, torn %" PRIu64, explorer->seed, explorer->depth, event, (int)policy, index,
             torn_seed);
    explorer->worker->progress++;
    explorer->worker->counts[explorer->depth ? COUNT_NESTED : COUNT_IMAGES]++;
    virtual_clock_reset(hash);
    must(sim_create_from_crash(parent->device, event, policy, index, torn_seed, &options, &run->device));
    run->random = hash;
    run->taking = promise->taking;
    run->taken = promise->taken;
    run->dropping = promise->dropping;
    run->dropped = promise->dropped;
    if (nested) { /* what is promised from the beginning of the recovery on */
        sim_mark(run->device, MARK_STATE, promise->state);
        sim_mark(run->device, MARK_TAKING, run->taking);
        sim_mark(run->device, MARK_TAKEN, run->taken);
        sim_mark(run->device, MARK_DROPPING, run->dropping);
        sim_mark(run->device, MARK_DROPPED, run->dropped);
    }
    open_run(run);
    int result = check_opened(run, promise, &listed);
    explorer->worker->counts[COUNT_NAMES] += (uint64_t)__builtin_popcountll(listed);
    if (result) {
        printf("FAILED %s\n  %s\n", explorer->worker->at, run->why);
        fflush(stdout);
        explorer->worker->failures++;
    } else if (nested) {
        mark_recovered(run, listed);
        for (uint32_t i = 0; i < NESTED_STEPS; i++)
            run_step(run);
    }
    engine_abandon(run->db);
    if (nested && !result) {
        explorer->depth++;
        explore(explorer, run);
        explorer->depth--;
    }
    blockdev_close(run->device);
    free(run);
}

/* ---- All cuts ---- */

static void visit_event(struct explorer *explorer, const struct run *run, uint64_t event, uint64_t last)
{
    const struct promise promise = {
        .state = (uint32_t)sim_mark_at(run->device, last, MARK_STATE),
        .taking = sim_mark_at(run->device, last, MARK_TAKING),
        .taken = sim_mark_at(run->device, last, MARK_TAKEN),
        .dropping = sim_mark_at(run->device, last, MARK_DROPPING),
        .dropped = sim_mark_at(run->device, last, MARK_DROPPED),
    };
    uint32_t unflushed = sim_unflushed_count(run->device, event), each = unflushed < EACH_MAX ? unflushed : EACH_MAX;
    uint64_t random = explorer->seed ^ event;
    visit_image(explorer, run, event, SIM_CRASH_NONE, 0, 0, &promise);
    if (unflushed == 0)
        return;
    visit_image(explorer, run, event, SIM_CRASH_ALL, 0, 0, &promise);
    for (uint32_t i = 0; i < each && unflushed > 1; i++) {
        uint32_t index = unflushed <= EACH_MAX ? i : random_below(&random, unflushed);
        visit_image(explorer, run, event, SIM_CRASH_LOSE_ONE, index, 0, &promise);
        visit_image(explorer, run, event, SIM_CRASH_KEEP_ONE, index, 0, &promise);
    }
    for (uint32_t i = 0; i < TORN_SEEDS; i++)
        visit_image(explorer, run, event, SIM_CRASH_TORN, 0, random_next(&random), &promise);
}

static void explore(struct explorer *explorer, struct run *run)
{
    uint64_t count = sim_event_count(run->device), pending = UINT64_MAX, failures = explorer->worker->failures;
    for (uint64_t event = 0; event < count && explorer->worker->failures < failures + 3; event++) {
        bool barrier = false;
        bool changes = sim_event_is_cut(run->device, event, &barrier) && (barrier || event == 0 || sim_unflushed_count(run->device, event) != sim_unflushed_count(run->device, event - 1));
        if (changes && pending != UINT64_MAX)
            visit_event(explorer, run, pending, event - 1);
        if (changes)
            pending = event;
    }
    if (pending != UINT64_MAX)
        visit_event(explorer, run, pending, count);
}

/* ---- One seed ---- */

static void choose_options(struct run *run)
{
    uint64_t *random = &run->random;
    run->options = (struct mote_options)MOTE_OPTIONS_INIT;
    run->options.inline_io = 1;
    run->options.memory_bytes = 24 * MIB_BYTES;
    run->options.cache_bytes = 512 * 1024;
    run->options.memtable_bytes = (96 + 32 * random_below(random, 4)) * 1024;
    run->options.memtable_count = 2 + random_below(random, 2);
    run->options.wal_frame_bytes_max = (2 + random_below(random, 2)) * PAGE_BYTES;
    run->options.wal_inflight_max = 1 + random_below(random, 4);
    run->options.barrier = random_below(random, 2) ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
    run->options.checkpoint_period_ms = MOTE_NEVER;
    run->options.tables_max = 8;
    run->options.cursors_max = 4;
    run->options.snapshots_max = 4;
}

static void format(struct blockdev *device)
{
    struct mote_format_options options = MOTE_FORMAT_OPTIONS_INIT;
    options.extent_bytes = 64 * 1024;
    options.log_bytes_max = 512 * 1024;
    memcpy(options.uuid, "transaction test", sizeof options.uuid);
    must(engine_format(device, &options, NULL));
}

static void work(struct test_worker *worker, uint64_t seed)
{
    struct explorer explorer = {.worker = worker, .seed = seed};
    struct sim_options options = {.size_bytes = 16 * MIB_BYTES, .logical_block_bytes = seed % 3 ? 512 : 4096, .seed = seed, .reorder = true, .record = true};
    struct blockdev *fresh;
    struct run *run = calloc(1, sizeof *run);
    double begin = real_seconds();
    uint64_t images = worker->counts[COUNT_IMAGES], nested = worker->counts[COUNT_NESTED];
    require(run != NULL);
    virtual_clock_reset(seed);
    run->random = seed;
    run->count = 1;
    choose_options(run);
    /* The volume with its tables is made on another disk: only what comes after is cut. */
    must(sim_create(&options, &fresh));
    format(fresh);
    must(engine_open(fresh, &run->options, &run->db, NULL));
    states_create(run->db, &run->tables);
    engine_abandon(run->db);
    must(sim_create_from_crash(fresh, sim_event_count(fresh), SIM_CRASH_ALL, 0, 0, &options, &run->device));
    open_run(run);
    for (uint32_t i = 0; i < STEPS; i++) {
        snprintf(worker->at, sizeof worker->at, "transaction_crash_test --first %" PRIu64 " --seeds 1: step %u", seed, i);
        worker->progress++;
        worker->counts[COUNT_STEPS]++;
        run_step(run);
    }
    engine_abandon(run->db);
    explore(&explorer, run);
    printf("seed %" PRIu64 ": %" PRIu64 " events, %u states, %u names, %" PRIu64 " images and %" PRIu64 " nested, %.1f s\n", seed, sim_event_count(run->device), run->count, run->named_count, worker->counts[COUNT_IMAGES] - images,
           worker->counts[COUNT_NESTED] - nested, real_seconds() - begin);
    fflush(stdout);
    blockdev_close(run->device);
    blockdev_close(fresh);
    free(run);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, seeds = test_scale(SEEDS_DEFAULT), sums[8] = {0};
    test_workers_seeds(argc, argv, &first, &seeds);
    uint64_t failures = test_workers_run(first, seeds, test_workers_default(), 3, work, sums);
    printf("%" PRIu64 " steps, %" PRIu64 " images, %" PRIu64 " nested, %" PRIu64 " named snapshots read in them\n", sums[COUNT_STEPS], sums[COUNT_IMAGES], sums[COUNT_NESTED], sums[COUNT_NAMES]);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_IMAGES] + sums[COUNT_NESTED], failures);
    return failures != 0;
}
