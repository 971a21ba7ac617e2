/* engine_crash_test.c: crash enumeration of the whole engine over the simulated disk.
 *
 * For each seed an owner works on a small volume (tests/support/workload.h) while the disk records every write and barrier. Then the power is cut after each event that changes what may
 * be left: nothing unflushed survives, all of it, all but one write, only one write, random torn subsets of sectors. Each image is opened, and what it holds must be a point of the history at or after
 * what was acknowledged before the cut (tests/support/oracle.h); some of it are large values in blob files, read and compared like the rest. A part of the recoveries is recorded itself, works on for a few calls, and is cut again at each of its own events, and once more inside those:
 * what a recovered open showed must be there after every later cut, and no seq or LSN may come again.
 *
 *     engine_crash_test                                   all seeds
 *     engine_crash_test --first N --seeds N               these
 *     engine_crash_test --seed N --cut E:POLICY:I:S ...   one image again, with words; nested cuts follow one another. POLICY: none, all, lose, keep, torn
 *
 * MOTE_TEST_SCALE: percent of the usual number of seeds. MOTE_TEST_JOBS: processes. Time and randomness are the test's own, so that a seed always does the same. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim.h"
#include "engine/engine.h"
#include "tests/support/test_workers.h"
#include "tests/support/virtual_clock.h"
#include "tests/support/workload.h"

#define SEEDS_DEFAULT 16u
#define DEPTH_MAX 3u
#define ONE_BY_ONE_MAX 10u /* unflushed writes up to which each one is lost and kept alone; beyond, so many of them */
#define TORN_SEEDS 3u
#define NESTED_ONE_IN 280u /* recoveries that are recorded and cut again */

struct cut {
    uint64_t event;
    uint32_t policy, index;
    uint64_t torn_seed;
};

struct path {
    uint64_t seed;
    uint32_t depth;
    struct cut cuts[DEPTH_MAX];
};

enum { COUNT_IMAGES, COUNT_NESTED, COUNT_EVENTS, COUNT_BARRIERS, COUNT_STEPS, COUNT_FRAMES };

struct explorer {
    struct test_worker *worker;
    struct path path;
    struct path wanted; /* depth > 0: only this one */
    bool verbose;
    struct oracle oracle;
    uint64_t failures_before; /* of the worker's other seeds */
};

static const char *const POLICY_NAMES[] = {"none", "all", "lose", "keep", "torn"};

/* ---- Paths ---- */

static uint64_t hash_path(const struct path *path)
{
    uint64_t words[1 + 4 * DEPTH_MAX] = {path->seed};
    uint32_t count = 1;
    for (uint32_t i = 0; i < path->depth; i++) {
        const struct cut *cut = &path->cuts[i];
        words[count++] = cut->event;
        words[count++] = cut->policy;
        words[count++] = cut->index;
        words[count++] = cut->torn_seed;
    }
    return digest_bytes(99, words, count * sizeof words[0]).a;
}

static void print_path(const struct path *path, char *text, size_t text_bytes)
{
    int length = snprintf(text, text_bytes, "engine_crash_test --seed %" PRIu64, path->seed);
    for (uint32_t i = 0; i < path->depth && length > 0 && (size_t)length < text_bytes; i++) {
        const struct cut *cut = &path->cuts[i];
        length += snprintf(text + length, text_bytes - (size_t)length, " --cut %" PRIu64 ":%s:%u:%" PRIu64, cut->event, POLICY_NAMES[cut->policy], cut->index, cut->torn_seed);
    }
}

static bool parse_cut(const char *text, struct cut *cut)
{
    char policy[8] = "";
    if (sscanf(text, "%" SCNu64 ":%7[a-z]:%u:%" SCNu64, &cut->event, policy, &cut->index, &cut->torn_seed) < 2)
        return false;
    for (uint32_t i = 0; i < 5; i++) {
        if (strcmp(policy, POLICY_NAMES[i]) == 0) {
            cut->policy = i;
            return true;
        }
    }
    return false;
}

static void fail_path(struct explorer *explorer, const char *when, const char *why)
{
    char text[400];
    print_path(&explorer->path, text, sizeof text);
    printf("FAILED %s\n  %s: %s\n", text, when, why);
    fflush(stdout);
    explorer->worker->failures++;
}

/* ---- One image ---- */

static void explore(struct explorer *explorer, struct run *run);

static struct promise promise_at(struct blockdev *device, uint64_t event, uint64_t last)
{
    return (struct promise){
        .point = (uint32_t)sim_mark_at(device, last, MARK_POINT),
        .flushed_seq = sim_mark_at(device, last, MARK_FLUSHED),
        .head_lsn = sim_mark_at(device, last, MARK_HEAD),
        .clean = sim_mark_at(device, last, MARK_CLOSED) > event,
    };
}

static int work_on(struct explorer *explorer, struct run *run, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        int result = run_step(run);
        explorer->worker->counts[COUNT_STEPS]++;
        if (result)
            return result;
    }
    return MOTE_OK;
}

/* A while after the recovery: writes on, closes, opens, and finds everything. */
static int live_on(struct explorer *explorer, struct run *run)
{
    int result = work_on(explorer, run, 1 + random_below(&run->random, 6));
    if (!result)
        result = run_close(run);
    return result ? result : run_open(run);
}

static int check_opened(struct explorer *explorer, struct run *run, bool nested, const struct frame_facts *facts)
{
    uint64_t chance = random_next(&run->random);
    if (facts->frame_count) {
        explorer->worker->counts[COUNT_FRAMES] += facts->frame_count;
        if (oracle_check_new_numbers(&run->oracle, run->db, facts))
            return -1;
    }
    if (nested)
        return work_on(explorer, run, 2 + (uint32_t)(chance % 7));
    if (chance % 8 == 0)
        return run_append_rows(run, run->model->table_count ? run->model->tables[0].schema.name : "", 1, MOTE_DURABILITY_SYNC);
    return chance % 24 == 1 ? live_on(explorer, run) : MOTE_OK;
}

/* The recovery from an image, in run, and what follows. Returns 0 or -1 with the sentence in run->oracle. */
static int check_image(struct explorer *explorer, struct run *run, uint64_t hash, bool nested)
{
    struct frame_facts facts = {0};
    uint8_t uuid[16];
    workload_uuid(uuid);
    if (hash % 4 == 1 || nested)
        oracle_frame_facts(run->device, uuid, &facts);
    if (hash % 16 == 5 && run_look_read_only(run))
        return -1;
    int result = run_open(run);
    return result ? result : check_opened(explorer, run, nested, &facts);
}

static bool is_nested(const struct explorer *explorer, uint64_t hash)
{
    if (explorer->path.depth >= DEPTH_MAX)
        return false;
    if (explorer->path.depth < explorer->wanted.depth)
        return true;
    return hash / 64 % (NESTED_ONE_IN * explorer->path.depth) == 0;
}

static void visit_image(struct explorer *explorer, const struct run *parent, const struct cut *cut, const struct promise *promise, struct model *model)
{
    struct path *path = &explorer->path;
    path->cuts[path->depth++] = *cut;
    uint64_t hash = hash_path(path);
    bool nested = is_nested(explorer, hash);
    struct sim_options options = {.record = nested, .reorder = parent->profile.reorder, .seed = hash};
    struct blockdev *device;
    struct run run;
    char text[400];
    print_path(path, explorer->worker->at, sizeof explorer->worker->at);
    explorer->worker->progress++;
    explorer->worker->counts[path->depth > 1 ? COUNT_NESTED : COUNT_IMAGES]++;
    virtual_clock_reset(hash);
    if (sim_create_from_crash(parent->device, cut->event, (enum sim_crash_policy)cut->policy, cut->index, cut->torn_seed, &options, &device))
        abort();
    run_begin(&run, device, &parent->profile, model, promise, hash);
    run.advance_clock = virtual_clock_advance;
    run.oracle.content = explorer->oracle.content; /* its memory goes from image to image */
    int result = check_image(explorer, &run, hash, nested);
    if (explorer->verbose) {
        print_path(path, text, sizeof text);
        printf("%s: acknowledged point %u, seq %" PRIu64 "; %s, point %u of %u\n", text, promise->point, model_seq_at(model, promise->point), result ? run.oracle.why : "good", run.point, model->op_count);
    }
    if (result)
        fail_path(explorer, "after the cut", run.oracle.why);
    explorer->oracle.content = run.oracle.content;
    memset(&run.oracle.content, 0, sizeof run.oracle.content);
    run_kill(&run);
    if (nested && !result)
        explore(explorer, &run);
    run_free(&run);
    blockdev_close(device);
    path->depth--;
}

/* ---- All cuts of one recording ---- */

/* Whether the event changes what may be left: a flush that is only submitted and a write that completed in the cache do not. */
static bool changes_state(struct blockdev *device, uint64_t event, bool *barrier)
{
    if (!sim_event_is_cut(device, event, barrier))
        return false;
    if (*barrier)
        return true;
    return event == 0 || sim_unflushed_count(device, event) != sim_unflushed_count(device, event - 1);
}

static bool enough(const struct explorer *explorer) { return explorer->worker->failures >= explorer->failures_before + 3; }

static void visit_policies(struct explorer *explorer, const struct run *run, uint64_t event, const struct promise *promise, struct model *model)
{
    uint32_t unflushed = sim_unflushed_count(run->device, event);
    uint64_t random = hash_path(&explorer->path) ^ event;
    bool all = explorer->path.depth == 0 && unflushed <= ONE_BY_ONE_MAX;
    uint32_t each = all ? unflushed : unflushed < 3 ? unflushed : explorer->path.depth ? 2 : ONE_BY_ONE_MAX;
    visit_image(explorer, run, &(struct cut){event, SIM_CRASH_NONE, 0, 0}, promise, model);
    if (unflushed == 0)
        return; /* the others are the same */
    visit_image(explorer, run, &(struct cut){event, SIM_CRASH_ALL, 0, 0}, promise, model);
    for (uint32_t i = 0; i < each && unflushed > 1 && !enough(explorer); i++) {
        visit_image(explorer, run, &(struct cut){event, SIM_CRASH_LOSE_ONE, all ? i : random_below(&random, unflushed), 0}, promise, model);
        visit_image(explorer, run, &(struct cut){event, SIM_CRASH_KEEP_ONE, all ? i : random_below(&random, unflushed), 0}, promise, model);
    }
    for (uint32_t i = 0; i < (explorer->path.depth ? 1 : TORN_SEEDS) && !enough(explorer); i++)
        visit_image(explorer, run, &(struct cut){event, SIM_CRASH_TORN, 0, random_next(&random)}, promise, model);
}

static void visit_event(struct explorer *explorer, struct run *run, uint64_t event, uint64_t last)
{
    struct promise promise = promise_at(run->device, event, last);
    struct model *model = run->epochs[sim_mark_at(run->device, last, MARK_EPOCH)];
    const struct path *wanted = &explorer->wanted;
    uint32_t depth = explorer->path.depth;
    if (depth >= wanted->depth)
        visit_policies(explorer, run, event, &promise, model);
    else if (wanted->cuts[depth].event == event)
        visit_image(explorer, run, &wanted->cuts[depth], &promise, model);
}

/* Cuts after every event of the run's device. What was promised by the time of the next change counts. */
static void explore(struct explorer *explorer, struct run *run)
{
    uint64_t count = sim_event_count(run->device), pending = UINT64_MAX;
    bool barrier;
    for (uint64_t event = 0; event < count && !enough(explorer); event++) {
        bool changes = changes_state(run->device, event, &barrier);
        explorer->worker->counts[COUNT_EVENTS] += changes;
        explorer->worker->counts[COUNT_BARRIERS] += changes && barrier;
        if (changes && pending != UINT64_MAX)
            visit_event(explorer, run, pending, event - 1);
        if (changes)
            pending = event;
    }
    if (pending != UINT64_MAX && !enough(explorer))
        visit_event(explorer, run, pending, count);
}

/* ---- One seed ---- */

static int record_run(struct explorer *explorer, struct run *run)
{
    int result = run_open(run);
    if (!result)
        result = run_create_tables(run);
    for (uint32_t i = 0; i < run->profile.step_count && !result; i++) {
        snprintf(explorer->worker->at, sizeof explorer->worker->at, "engine_crash_test --seed %" PRIu64 ", step %u", explorer->path.seed, i);
        explorer->worker->progress++;
        explorer->worker->counts[COUNT_STEPS]++;
        result = run_step(run);
        if (result)
            printf("  at step %u\n", i);
    }
    if (!result && run->random % 2)
        result = run_close(run);
    return result;
}

static void explore_seed(struct explorer *explorer)
{
    struct profile profile;
    struct blockdev *device;
    struct run run;
    char text[300];
    double begin = real_seconds();
    uint64_t before = explorer->worker->counts[COUNT_IMAGES], nested_before = explorer->worker->counts[COUNT_NESTED];
    profile_choose(&profile, explorer->path.seed);
    struct sim_options options = {.size_bytes = profile.device_bytes, .logical_block_bytes = profile.logical_block_bytes, .seed = explorer->path.seed, .reorder = profile.reorder, .record = true};
    snprintf(explorer->worker->at, sizeof explorer->worker->at, "engine_crash_test --seed %" PRIu64, explorer->path.seed);
    virtual_clock_reset(explorer->path.seed);
    /* The volume is formatted on another disk: a cut format is no volume yet, and has a test of its own. */
    struct blockdev *fresh;
    if (sim_create(&options, &fresh) || workload_format(fresh, &profile) || sim_create_from_crash(fresh, sim_event_count(fresh), SIM_CRASH_ALL, 0, 0, &options, &device))
        abort();
    struct model *empty = model_create();
    run_begin(&run, device, &profile, empty, &(struct promise){.clean = true}, explorer->path.seed);
    run.advance_clock = virtual_clock_advance;
    int result = record_run(explorer, &run);
    run_kill(&run);
    if (result)
        fail_path(explorer, "before any cut", run.oracle.why);
    else
        explore(explorer, &run);
    profile_describe(&profile, text, sizeof text);
    printf("seed %" PRIu64 ": %" PRIu64 " events, %u ops, %u opens, %" PRIu64 " images and %" PRIu64 " nested, %.1f s (%s)\n", explorer->path.seed, sim_event_count(device), run.model->op_count, run.epoch_count - 1,
           explorer->worker->counts[COUNT_IMAGES] - before, explorer->worker->counts[COUNT_NESTED] - nested_before, real_seconds() - begin, text);
    fflush(stdout);
    run_free(&run);
    model_destroy(empty);
    blockdev_close(device);
    blockdev_close(fresh);
}

static void work(struct test_worker *worker, uint64_t seed)
{
    struct explorer explorer = {.worker = worker, .path.seed = seed, .failures_before = worker->failures};
    explore_seed(&explorer);
    oracle_free(&explorer.oracle);
}

/* ---- The program ---- */

static int repeat_one(const struct path *wanted)
{
    static struct test_worker worker;
    struct explorer explorer = {.worker = &worker, .path.seed = wanted->seed, .wanted = *wanted, .verbose = true};
    explore_seed(&explorer);
    oracle_free(&explorer.oracle);
    printf("%d passed, %" PRIu64 " failed\n", worker.failures == 0, worker.failures);
    return worker.failures != 0;
}

static int run_all(uint64_t first, uint64_t seeds)
{
    uint64_t sums[8] = {0};
    double begin = real_seconds();
    uint32_t workers = test_workers_default();
    printf("crash enumeration: seeds %" PRIu64 " to %" PRIu64 " in %u processes\n", first, first + seeds - 1, workers);
    uint64_t failures = test_workers_run(first, seeds, workers, 20, work, sums);
    printf("%" PRIu64 " crash images (%" PRIu64 " of them nested) after %" PRIu64 " events (%" PRIu64 " barriers) of %" PRIu64 " seeds; %" PRIu64 " calls, %" PRIu64 " log frames compared; %.0f s\n", sums[COUNT_IMAGES] + sums[COUNT_NESTED],
           sums[COUNT_NESTED], sums[COUNT_EVENTS], sums[COUNT_BARRIERS], seeds, sums[COUNT_STEPS], sums[COUNT_FRAMES], real_seconds() - begin);
    uint64_t images = sums[COUNT_IMAGES] + sums[COUNT_NESTED];
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", images - (failures < images ? failures : images), failures);
    return failures != 0 || images == 0;
}

int main(int argument_count, char **arguments)
{
    struct path wanted = {0};
    uint64_t first = 1, seeds = test_scale(SEEDS_DEFAULT);
    bool one = false;
    for (int i = 1; i < argument_count; i += 2) {
        const char *value = i + 1 < argument_count ? arguments[i + 1] : "";
        bool known = i + 1 < argument_count;
        if (strcmp(arguments[i], "--seed") == 0) {
            wanted.seed = strtoull(value, NULL, 10);
            one = true;
        } else if (strcmp(arguments[i], "--first") == 0) {
            first = strtoull(value, NULL, 10);
        } else if (strcmp(arguments[i], "--seeds") == 0) {
            seeds = strtoull(value, NULL, 10);
        } else if (strcmp(arguments[i], "--cut") == 0 && wanted.depth < DEPTH_MAX) {
            known = known && parse_cut(value, &wanted.cuts[wanted.depth++]);
        } else {
            known = false;
        }
        if (!known) {
            fprintf(stderr, "usage: engine_crash_test [--first N] [--seeds N] | --seed N [--cut EVENT:POLICY:INDEX:TORN_SEED]...\n");
            return 2;
        }
    }
    return one ? repeat_one(&wanted) : run_all(first, seeds);
}
