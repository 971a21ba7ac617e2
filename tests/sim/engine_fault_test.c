/* engine_fault_test.c: a device or an allocator that fails under a seeded owner (tests/support/workload.h), at every operation in turn.
 *
 *   EIO         on each read, write and barrier, once and for ever, from the open to the close; also ENOSPC and the device's removal
 *   silent      lost and misdirected writes and bits flipped on their way: what is read later is right, or an error that names the range
 *   memory      the n-th allocation fails, once and from then on
 *   full        rows until nothing fits any more, and on from there
 *   shrunk      a device smaller than its superblock says is refused, and nothing is written
 *
 * After each failure the state is unchanged, or the handle is poisoned: then nothing is acknowledged any more, and what is visible can still be read. When the device is good again everything
 * that was acknowledged is there: after the owner died, and after a power cut.
 *
 *     engine_fault_test [--first N] [--items N]    MOTE_TEST_SCALE, MOTE_TEST_JOBS as usual */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/memory.h"
#include "blockdev/faulty.h"
#include "blockdev/sim.h"
#include "engine/engine_private.h"
#include "tests/support/kept_device.h"
#include "tests/support/sealed.h"
#include "tests/support/test_workers.h"
#include "tests/support/virtual_clock.h"
#include "tests/support/workload_private.h"

enum { COUNT_RUNS, COUNT_HITS, COUNT_POISONED, COUNT_REFUSED_OPENS, COUNT_CUTS, COUNT_MEMORY, COUNT_FULL, COUNT_DETECTED };

/* One run under one rule. */
struct bench {
    struct test_worker *worker;
    struct run run;
    struct blockdev *sim, *faulty;
    struct faulty_rule rule;
    bool armed; /* the next open gets the rule */
    int rule_number;
    uint64_t hits;
    uint64_t poisoned_durable; /* durable seq when the handle was poisoned; UINT64_MAX: it is not */
    uint64_t seed;
    char what[200];
};

static int fail(struct bench *bench, const char *why)
{
    printf("FAILED seed %" PRIu64 ", %s: %s\n", bench->seed, bench->what, why);
    fflush(stdout);
    bench->worker->failures++;
    return -1;
}

static struct blockdev *wrap(void *context, struct blockdev *device)
{
    struct bench *bench = context;
    struct blockdev *kept = kept_device_create(device, NULL, NULL);
    if (!bench->armed)
        return kept;
    if (faulty_create(kept, &bench->faulty))
        abort();
    bench->rule_number = faulty_add(bench->faulty, &bench->rule);
    return bench->faulty;
}

static void begin(struct bench *bench, struct test_worker *worker, uint64_t seed, struct model *empty)
{
    struct profile profile;
    memset(bench, 0, sizeof *bench);
    bench->worker = worker;
    bench->seed = seed;
    bench->poisoned_durable = UINT64_MAX;
    virtual_clock_reset(seed);
    profile_choose(&profile, seed);
    profile.weights[ACTION_REOPEN] = profile.weights[ACTION_KILL] = 0;
    struct sim_options options = {.size_bytes = profile.device_bytes, .logical_block_bytes = profile.logical_block_bytes, .seed = seed, .reorder = profile.reorder, .record = true};
    if (sim_create(&options, &bench->sim) || workload_format(bench->sim, &profile))
        abort();
    run_begin(&bench->run, bench->sim, &profile, empty, &(struct promise){.clean = true}, seed);
    bench->run.advance_clock = virtual_clock_advance;
    bench->run.wrap = wrap;
    bench->run.wrap_context = bench;
    bench->run.faults = true;
    worker->counts[COUNT_RUNS]++;
}

static void end(struct bench *bench)
{
    run_free(&bench->run);
    blockdev_close(bench->sim);
}

/* ---- What must hold when something failed ---- */

/* Everything visible is read as the model has it; where reads may fail, or is told to be unreadable. */
static int check_visible(struct bench *bench, bool reads_may_fail)
{
    struct tolerance tolerance = {0};
    struct content wanted = {0};
    struct run *run = &bench->run;
    if (!reads_may_fail)
        return oracle_check_live(&run->oracle, run->db, run->model) ? fail(bench, run->oracle.why) : MOTE_OK;
    content_of_model(run->model, &wanted);
    int result = tolerant_check(&run->oracle, run->db, &wanted, 3, &tolerance);
    free(wanted.row_at);
    free(wanted.bytes);
    return result ? fail(bench, run->oracle.why) : MOTE_OK;
}

/* After each step. */
static int check_failure(struct bench *bench, bool reads_may_fail)
{
    struct run *run = &bench->run;
    if (!run->failure || model_ends_uncertain(run->model))
        return MOTE_OK;
    bool poisoned = run_is_poisoned(run);
    if (poisoned && bench->poisoned_durable == UINT64_MAX) {
        bench->poisoned_durable = mote_durable_seq(run->db);
        bench->worker->counts[COUNT_POISONED]++;
    }
    if (poisoned && mote_durable_seq(run->db) != bench->poisoned_durable)
        return fail(bench, "a poisoned handle acknowledges");
    run->failure = 0;
    return check_visible(bench, reads_may_fail);
}

static int work_on(struct bench *bench, uint32_t steps, bool reads_may_fail)
{
    struct run *run = &bench->run;
    for (uint32_t i = 0; i < steps && run->db && !model_ends_uncertain(run->model); i++) {
        if (run_step(run))
            return fail(bench, run->oracle.why);
        if (check_failure(bench, reads_may_fail))
            return -1;
    }
    return MOTE_OK;
}

/* The device is good again: the owner's successor finds everything, on the device as it is and after a power cut. */
static int check_successor(struct bench *bench)
{
    struct run *run = &bench->run;
    struct promise promise = {.point = run->point, .flushed_seq = run->flushed_seq, .head_lsn = run->head_lsn, .clean = run->closed};
    uint64_t event = sim_event_count(bench->sim) - 1;
    for (uint32_t policy = SIM_CRASH_NONE; policy <= SIM_CRASH_TORN; policy += policy == SIM_CRASH_ALL ? 3 : 1) {
        struct blockdev *image;
        struct run after;
        if (sim_create_from_crash(bench->sim, event, (enum sim_crash_policy)policy, 0, bench->seed, NULL, &image))
            abort();
        run_begin(&after, image, &run->profile, run->model, &promise, bench->seed);
        int result = run_open(&after);
        if (result)
            fail(bench, after.oracle.why);
        bench->worker->counts[COUNT_CUTS]++;
        run_free(&after);
        blockdev_close(image);
        if (result)
            return -1;
    }
    bench->armed = false;
    run->faults = false;
    if (run_open(run) || run_append_rows(run, "arm", 2, MOTE_DURABILITY_SYNC) || run_close(run))
        return fail(bench, run->oracle.why);
    return MOTE_OK;
}

/* Notes how often the rule hit, while the device is there. */
static void note_hits(struct bench *bench)
{
    if (bench->run.db)
        bench->hits = faulty_hits(bench->faulty, bench->rule_number);
}

/* ---- EIO at each operation ---- */

/* The whole life of a handle under the rule. false: the rule never hit, there are no more operations. */
static bool live_under_rule(struct test_worker *worker, uint64_t seed, const struct faulty_rule *rule, const char *what)
{
    struct bench bench;
    struct model *empty = model_create();
    begin(&bench, worker, seed, empty);
    bench.rule = *rule;
    bench.armed = true;
    snprintf(bench.what, sizeof bench.what, "%s at operation %" PRIu64 "%s", what, rule->skip, rule->times > 1 ? " and ever after" : "");
    snprintf(worker->at, sizeof worker->at, "seed %" PRIu64 ", %s", seed, bench.what);
    worker->progress++;
    bool reads_may_fail = rule->op_mask == 0 || (rule->op_mask & 1u << BLOCKDEV_READ) || rule->kind == FAULTY_REMOVED;
    bench.run.unread = reads_may_fail;
    if (reads_may_fail)
        bench.run.profile.weights[ACTION_READ] = bench.run.profile.weights[ACTION_CURSOR] = 0;
    int result = run_open(&bench.run);
    bench.run.unread = false;
    bench.hits = result ? 1 : 0; /* a refused open is the rule's doing */
    if (result < 0 && !bench.run.db) {
        worker->counts[COUNT_REFUSED_OPENS]++;
        result = MOTE_OK;
    } else if (result) {
        fail(&bench, bench.run.oracle.why);
    }
    if (!result && bench.run.db) {
        result = run_create_tables(&bench.run) || check_failure(&bench, reads_may_fail) || work_on(&bench, 14, reads_may_fail) ? -1 : MOTE_OK;
        note_hits(&bench);
        if (!result && seed % 2)
            result = run_close(&bench.run) ? fail(&bench, bench.run.oracle.why) : MOTE_OK;
    }
    run_kill(&bench.run);
    if (!result)
        result = check_successor(&bench);
    worker->counts[COUNT_HITS] += bench.hits;
    bool hit = bench.hits > 0;
    end(&bench);
    model_destroy(empty);
    return hit;
}

static const struct {
    const char *name;
    uint32_t op;
    uint64_t times;
    enum faulty_kind kind;
    int system_errno;
} EIO_RULES[] = {
    {"EIO on a read", 1u << BLOCKDEV_READ, 1, FAULTY_ERRNO, EIO},           {"EIO on a read", 1u << BLOCKDEV_READ, UINT64_MAX, FAULTY_ERRNO, EIO},
    {"EIO on a write", 1u << BLOCKDEV_WRITE, 1, FAULTY_ERRNO, EIO},         {"EIO on a write", 1u << BLOCKDEV_WRITE, UINT64_MAX, FAULTY_ERRNO, EIO},
    {"EIO on a barrier", 1u << BLOCKDEV_FLUSH, 1, FAULTY_ERRNO, EIO},       {"EIO on a barrier", 1u << BLOCKDEV_FLUSH, UINT64_MAX, FAULTY_ERRNO, EIO},
    {"a short write", 1u << BLOCKDEV_WRITE, 1, FAULTY_SHORT, 0},            {"removal", 0, 1, FAULTY_REMOVED, 0},
};
#define EIO_RULE_COUNT (sizeof EIO_RULES / sizeof EIO_RULES[0])

static void test_eio(struct test_worker *worker, uint64_t seed, uint32_t which)
{
    uint64_t failures = worker->failures, step = 1;
    bool hit = true;
    for (uint64_t skip = 0; hit && worker->failures < failures + 3; skip += step) {
        struct faulty_rule rule = {.kind = EIO_RULES[which].kind, .op_mask = EIO_RULES[which].op, .skip = skip, .times = EIO_RULES[which].times, .system_errno = EIO_RULES[which].system_errno};
        hit = live_under_rule(worker, seed, &rule, EIO_RULES[which].name);
        /* Every one of the first operations, then some of them. */
        step = skip < 150 ? 1 : 1 + (skip * 7 + seed) % 5;
    }
}

/* ---- Silent faults ---- */

/* Everything is acknowledged, witnessed, and then read by a successor: rightly, or with an error that names the range. */
static int check_told(struct bench *bench)
{
    struct run *run = &bench->run;
    struct mote_options options;
    struct mote_db *db;
    struct content wanted = {0};
    struct tolerance tolerance = {0};
    uint64_t random = bench->seed;
    struct blockdev *device = kept_device_create(bench->sim, NULL, NULL);
    profile_options(&run->profile, &random, &options);
    int result = engine_open(device, &options, &db, NULL);
    if (result) {
        blockdev_close(device);
        bench->worker->counts[COUNT_DETECTED]++;
        return tolerant_error(&run->oracle, result, "the open") ? fail(bench, run->oracle.why) : MOTE_OK;
    }
    content_of_model(run->model, &wanted);
    result = tolerant_check(&run->oracle, db, &wanted, 6, &tolerance);
    bench->worker->counts[COUNT_DETECTED] += tolerance.errors > 0;
    free(wanted.row_at);
    free(wanted.bytes);
    blockdev_close(engine_abandon(db));
    return result ? fail(bench, run->oracle.why) : MOTE_OK;
}

static bool live_with_silent_fault(struct test_worker *worker, uint64_t seed, const struct faulty_rule *rule, const char *what)
{
    struct bench bench;
    struct model *empty = model_create();
    begin(&bench, worker, seed, empty);
    bench.rule = *rule;
    snprintf(bench.what, sizeof bench.what, "%s at write %" PRIu64, what, rule->skip);
    snprintf(worker->at, sizeof worker->at, "seed %" PRIu64 ", %s", seed, bench.what);
    worker->progress++;
    bench.armed = true;
    bench.run.unread = true;
    bench.run.profile.weights[ACTION_READ] = bench.run.profile.weights[ACTION_CURSOR] = 0;
    int result = run_open(&bench.run);
    bench.run.unread = false;
    if (!result)
        result = run_create_tables(&bench.run) || work_on(&bench, 14, true) ? -1 : MOTE_OK;
    note_hits(&bench);
    if (result && bench.run.db)
        fail(&bench, bench.run.oracle.why);
    bool whole = !result && bench.run.db && !run_is_poisoned(&bench.run) && !model_ends_uncertain(bench.run.model);
    if (whole && run_append_rows(&bench.run, "arm", 2, MOTE_DURABILITY_SYNC) == MOTE_OK && !run_is_poisoned(&bench.run)) {
        for (int i = 0; i < 8; i++) { /* marks bear witness to the last frames */
            virtual_clock_advance(20 * NS_PER_MS);
            wal_pump(bench.run.db->wal);
        }
        uint64_t durable = mote_durable_seq(bench.run.db);
        whole = durable == mote_visible_seq(bench.run.db);
        run_kill(&bench.run);
        if (whole)
            check_told(&bench);
    }
    worker->counts[COUNT_HITS] += bench.hits;
    bool hit = bench.hits > 0;
    end(&bench);
    model_destroy(empty);
    return hit;
}

static void test_silent(struct test_worker *worker, uint64_t seed, uint32_t which)
{
    static const struct {
        const char *name;
        enum faulty_kind kind;
        int64_t shift_bytes;
    } RULES[] = {{"a lost write", FAULTY_LOST, 0}, {"a misdirected write", FAULTY_MISDIRECTED, 64 * 1024}, {"a write misdirected by a page", FAULTY_MISDIRECTED, 4096}, {"a bit flipped in a write", FAULTY_BIT_FLIP, 0}};
    uint64_t failures = worker->failures, random = seed;
    bool hit = true;
    for (uint64_t skip = 0; hit && worker->failures < failures + 3; skip += skip > 100 ? 2 : 1) {
        struct faulty_rule rule = {.kind = RULES[which].kind, .op_mask = 1u << BLOCKDEV_WRITE, .skip = skip, .times = 1, .shift_bytes = RULES[which].shift_bytes, .bit = random_next(&random) % (1u << 20)};
        hit = live_with_silent_fault(worker, seed, &rule, RULES[which].name);
    }
}

/* ---- Memory ---- */

static void test_memory(struct test_worker *worker, uint64_t seed, bool for_ever)
{
    struct bench bench;
    struct model *empty = model_create();
    struct run *run = &bench.run;
    begin(&bench, worker, seed, empty);
    run->profile.weights[ACTION_READ] = 0; /* check_visible reads, when there is memory again */
    snprintf(bench.what, sizeof bench.what, "before any allocation fails");
    int result = run_open(run) || run_create_tables(run) ? fail(&bench, run->oracle.why) : MOTE_OK;
    for (uint32_t i = 0; i < 400 && !result && !run_is_poisoned(run); i++) {
        int64_t n = (int64_t)random_below(&run->random, 1 + i % 24);
        snprintf(bench.what, sizeof bench.what, "step %u, allocation %" PRId64 " fails%s", i, n, for_ever ? " and all after it" : "");
        snprintf(worker->at, sizeof worker->at, "seed %" PRIu64 ", %s", seed, bench.what);
        worker->progress++;
        run->failure = 0;
        memory_fail_after(run->db->memory, n, for_ever);
        result = run_step(run);
        memory_fail_after(run->db->memory, -1, false);
        worker->counts[COUNT_MEMORY] += run->failure != 0;
        if (result || (run->failure && run->failure != MOTE_EBUDGET && run->failure != MOTE_ENOMEM))
            result = fail(&bench, result ? run->oracle.why : run->failure_cause.message);
        else if (run->failure)
            result = check_visible(&bench, false);
    }
    if (!result && run_is_poisoned(run))
        result = fail(&bench, "the handle is poisoned for want of memory");
    run->faults = false;
    if (!result && (run_close(run) || run_open(run)))
        fail(&bench, run->oracle.why);
    end(&bench);
    model_destroy(empty);
}

/* ---- A full device ---- */

static int die_and_return(struct bench *bench)
{
    struct run *run = &bench->run;
    run_kill(run);
    return run_open(run) ? fail(bench, run->oracle.why) : MOTE_OK;
}

static void test_full(struct test_worker *worker, uint64_t seed)
{
    struct bench bench;
    struct model *empty = model_create();
    struct run *run = &bench.run;
    uint32_t full = 0;
    begin(&bench, worker, seed, empty);
    run->profile.weights[ACTION_DROP] = run->profile.weights[ACTION_DELETE] = run->profile.weights[ACTION_CREATE] = 0;
    run->profile.weights[ACTION_BURST] = 60;
    run->profile.constant = true; /* smaller memtables could not take what larger ones held */
    run->profile.cache_bytes = 8 * MIB_BYTES; /* many small segments come together */
    snprintf(bench.what, sizeof bench.what, "a device that fills up");
    int result = run_open(run) || run_create_tables(run) ? fail(&bench, run->oracle.why) : MOTE_OK;
    for (uint32_t i = 0; i < 1500 && !result && full < 30; i++) {
        snprintf(bench.what, sizeof bench.what, "a device that fills up, step %u, full %u times", i, full);
        snprintf(worker->at, sizeof worker->at, "seed %" PRIu64 ", %s", seed, bench.what);
        worker->progress++;
        run->failure = 0;
        result = run_step(run) ? fail(&bench, run->oracle.why) : MOTE_OK;
        if (result || !run->failure)
            continue;
        full++;
        worker->counts[COUNT_FULL]++;
        if (run->failure != MOTE_ENOSPC || run_is_poisoned(run))
            result = fail(&bench, run_is_poisoned(run) ? "a full device poisons the handle" : run->failure_cause.message);
        else if (full % 6 == 5 && run->epoch_count + 2 < WORKLOAD_EPOCHS_MAX)
            result = die_and_return(&bench);
        else
            result = check_visible(&bench, false);
    }
    if (!result && !full)
        result = fail(&bench, "it never was");
    /* Space comes back when tables go. */
    snprintf(bench.what, sizeof bench.what, "a device that was full and is no more");
    for (uint32_t t = 0; t < run->model->table_count && !result; t++) {
        if (!run->model->tables[t].live || strcmp(run->model->tables[t].schema.name, "arm") == 0)
            continue;
        uint64_t seq = mote_visible_seq(run->db);
        int dropped = mote_table_drop(run->db, run->model->tables[t].schema.name);
        if (dropped)
            result = fail(&bench, oracle_fail_code(&run->oracle, dropped, "dropping a table") ? run->oracle.why : "");
        else
            model_drop_table(run->model, t, seq);
    }
    run->failure = 0;
    run->faults = false;
    if (!result && (run_checkpoint(run) || run_append_rows(run, "arm", 20, MOTE_DURABILITY_SYNC) || run_flush(run) || oracle_check_live(&run->oracle, run->db, run->model) || run_close(run) || run_open(run)))
        fail(&bench, run->oracle.why);
    end(&bench);
    model_destroy(empty);
}

/* ---- A device that shrank ---- */

static void test_shrunk(struct test_worker *worker, uint64_t seed)
{
    struct bench bench;
    struct model *empty = model_create();
    struct blockdev_counters counters;
    struct mote_options options;
    struct mote_db *db;
    uint64_t random = seed;
    begin(&bench, worker, seed, empty);
    snprintf(bench.what, sizeof bench.what, "a device that shrank");
    if (run_open(&bench.run) || run_create_tables(&bench.run) || run_close(&bench.run))
        fail(&bench, bench.run.oracle.why);
    bench.armed = true;
    bench.rule = (struct faulty_rule){.kind = FAULTY_ERRNO, .skip = UINT64_MAX};
    struct blockdev *device = wrap(&bench, bench.sim);
    faulty_shrink(bench.faulty, bench.run.profile.device_bytes - MIB_BYTES);
    blockdev_refresh(device);
    profile_options(&bench.run.profile, &random, &options);
    int result = engine_open(device, &options, &db, NULL);
    blockdev_get_counters(device, &counters);
    if (result != MOTE_ESHRUNK)
        fail(&bench, mote_error_name(result));
    if (result == MOTE_OK)
        engine_abandon(db);
    if (counters.write_count)
        fail(&bench, "something was written to it");
    blockdev_close(device);
    bench.armed = false;
    if (run_open(&bench.run)) /* the whole one is as it was */
        fail(&bench, bench.run.oracle.why);
    end(&bench);
    model_destroy(empty);
}

/* ---- The program ---- */

#define SEEDS_EIO 3u
#define SEEDS_SILENT 2u
#define SEEDS_OTHER 6u
#define ITEMS (EIO_RULE_COUNT * SEEDS_EIO + 4 * SEEDS_SILENT + 3 * SEEDS_OTHER + 1)

static void work(struct test_worker *worker, uint64_t item)
{
    double begin = real_seconds();
    uint64_t runs = worker->counts[COUNT_RUNS], hits = worker->counts[COUNT_HITS], at = item;
    if (at < EIO_RULE_COUNT * SEEDS_EIO)
        test_eio(worker, 1 + at / EIO_RULE_COUNT, (uint32_t)(at % EIO_RULE_COUNT));
    else if ((at -= EIO_RULE_COUNT * SEEDS_EIO) < 4 * SEEDS_SILENT)
        test_silent(worker, 1 + at / 4, (uint32_t)(at % 4));
    else if ((at -= 4 * SEEDS_SILENT) < 2 * SEEDS_OTHER)
        test_memory(worker, 1 + at / 2, at % 2);
    else if ((at -= 2 * SEEDS_OTHER) < SEEDS_OTHER)
        test_full(worker, 1 + at);
    else
        test_shrunk(worker, 1);
    printf("item %" PRIu64 ": %" PRIu64 " runs, %" PRIu64 " faults, %.1f s\n", item, worker->counts[COUNT_RUNS] - runs, worker->counts[COUNT_HITS] - hits, real_seconds() - begin);
    fflush(stdout);
}

int main(int argument_count, char **arguments)
{
    uint64_t first = 0, items = ITEMS, sums[8] = {0};
    for (int i = 1; i + 1 < argument_count; i += 2) {
        if (strcmp(arguments[i], "--first") == 0)
            first = strtoull(arguments[i + 1], NULL, 10);
        else if (strcmp(arguments[i], "--items") == 0)
            items = strtoull(arguments[i + 1], NULL, 10);
    }
    if (first + items > ITEMS)
        items = ITEMS - first;
    uint64_t failures = test_workers_run(first, items, test_workers_default(), 12, work, sums);
    printf("%" PRIu64 " runs: %" PRIu64 " faults met, %" PRIu64 " handles poisoned, %" PRIu64 " opens refused, %" PRIu64 " power cuts after them, %" PRIu64 " calls without memory, %" PRIu64 " without space, %" PRIu64 " silent faults told\n",
           sums[COUNT_RUNS], sums[COUNT_HITS], sums[COUNT_POISONED], sums[COUNT_REFUSED_OPENS], sums[COUNT_CUTS], sums[COUNT_MEMORY], sums[COUNT_FULL], sums[COUNT_DETECTED]);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_RUNS] - (failures < sums[COUNT_RUNS] ? failures : sums[COUNT_RUNS]), failures);
    return failures != 0;
}
