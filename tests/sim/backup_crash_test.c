/* backup_crash_test.c: crash enumeration of receives.
 *
 * A stream of a whole state, and then an increment of it, are received by a simulated disk that records every write and barrier. The power is cut after each event that changes what may be left, with nothing unflushed, all of it, all but one
 * write, only one, or torn subsets surviving. Each image
 *   - has no volume to open (MOTE_ERESTORING, or none at all) or the whole state, while the first stream was received; the base or the increment's state, both whole, while the second was;
 *   - takes the same stream again, from wherever it was cut, and holds its state then.
 *
 *     backup_crash_test [--first N] [--seeds N]
 *
 * MOTE_TEST_SCALE: percent of the usual number of images. MOTE_TEST_JOBS: processes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/backup.h"
#include "tests/support/crash_visit.h"
#include "tests/support/test_workers.h"

enum { SEEDS_DEFAULT = 4, SIZE = 16 * 1024 * 1024, ROUNDS = 10, IMAGES_OF_FULL = 1000 };
enum { COUNT_IMAGES, COUNT_NOTHING, COUNT_OLD, COUNT_NEW, COUNT_RESUMED };

struct run {
    struct test_worker *worker;
    uint64_t seed;
    struct blockdev *device;
    struct backup_stream *stream;
    const struct state *old; /* NULL: there is none */
    struct state new;
    struct mote_options options;
};

static int read_states(struct blockdev *device, const struct mote_options *options, struct state *state)
{
    struct mote_options how = *options;
    struct state_tables tables;
    mote_db *db;
    how.read_only = 1;
    int result = engine_open(device, &how, &db, NULL);
    if (result)
        return result;
    states_open(db, &tables);
    must(states_read(&tables, NULL, false, state));
    if (!backup_frames_equal(db, state))
        state->values[0][0] = -1; /* equal to none */
    engine_abandon(db);
    return MOTE_OK;
}

static bool check_image(void *context, struct blockdev *device)
{
    struct run *run = context;
    struct state found;
    struct test_worker *worker = run->worker;
    struct backup_stream stream = *run->stream;
    struct mote_transfer transfer = {0};
    int result = read_states(device, &run->options, &found);
    bool is_old = !result && run->old && states_equal(&found, run->old), is_new = !result && states_equal(&found, &run->new);
    worker->counts[COUNT_NOTHING] += result != 0;
    worker->counts[COUNT_OLD] += is_old;
    worker->counts[COUNT_NEW] += is_new;
    if (result ? run->old || (result != MOTE_ERESTORING && result != MOTE_EFOREIGN) : !is_old && !is_new)
        return false;
    result = backup_receive(device, &stream, &transfer);
    worker->counts[COUNT_RESUMED] += transfer.bytes_kept > 0;
    if (is_new && run->old ? result != MOTE_EINVAL : result != 0)
        return false; /* the increment was complete: it is not the base any more */
    return read_states(device, &run->options, &found) == MOTE_OK && states_equal(&found, &run->new);
}

static struct crash_check make_check(struct run *run)
{
    struct crash_check check = {.worker = run->worker, .device = run->device, .seed = run->seed, .check = check_image, .context = run};
    snprintf(check.what, sizeof check.what, "backup_crash_test --first %" PRIu64 " --seeds 1: %s", run->seed, run->old ? "increment" : "full");
    return check;
}

/* Of long receives a share of the events, the first and last ones all. */
static void visit_events(struct run *run)
{
    const struct crash_check check = make_check(run);
    uint64_t count = sim_event_count(run->device), wanted = test_scale(IMAGES_OF_FULL) / 8 + 1, every = count / wanted + 1;
    uint64_t random = run->seed + 5;
    bool barrier;
    for (uint64_t event = 0; event < count; event++) {
        bool always = event + 24 >= count, chosen = fixture_random(&random) % every == 0;
        if (sim_event_is_cut(run->device, event, &barrier) && (always || barrier || chosen))
            crash_check_event(&check, event);
    }
}

/* The stream is received by a device that holds image (NULL: nothing), with every event recorded. */
static void explore(struct run *run, const uint8_t *image)
{
    struct sim_options options = {.size_bytes = SIZE, .logical_block_bytes = 512, .seed = run->seed, .reorder = true, .record = true, .initial = image};
    must(sim_create(&options, &run->device));
    must(backup_receive(run->device, run->stream, NULL));
    visit_events(run);
}

static void work(struct test_worker *worker, uint64_t seed)
{
    struct fixture fixture;
    struct state_tables tables = {0};
    struct backup_stream full, increment;
    struct state first = {0};
    uint64_t random = seed * 31 + 7;
    uint8_t *image = malloc(SIZE);
    require(image != NULL);
    fixture_sim(&fixture, SIZE, seed, false);
    fixture_open(&fixture);
    backup_fill(fixture.db, &tables, ROUNDS, &random, &first);
    backup_send(fixture.db, NULL, "base", &full, NULL);
    struct run run = {.worker = worker, .seed = seed, .stream = &full, .new = first, .options = fixture.options};
    explore(&run, NULL);
    sim_read_content(run.device, true, image);
    blockdev_close(run.device);
    backup_fill(fixture.db, &tables, ROUNDS, &random, &run.new);
    backup_send(fixture.db, "base", NULL, &increment, NULL);
    run.old = &first;
    run.stream = &increment;
    explore(&run, image);
    blockdev_close(run.device);
    backup_free(&full);
    backup_free(&increment);
    free(image);
    fixture_remove(&fixture);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, seeds = SEEDS_DEFAULT, sums[8] = {0};
    test_workers_seeds(argc, argv, &first, &seeds);
    uint64_t failures = test_workers_run(first, seeds, test_workers_default(), 5, work, sums);
    printf("backup_crash_test: %" PRIu64 " crash images of %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " without a volume, %" PRIu64 " with the base, %" PRIu64 " with the new state; %" PRIu64 " receives went on with what was there\n", sums[COUNT_IMAGES],
           seeds, first, sums[COUNT_NOTHING], sums[COUNT_OLD], sums[COUNT_NEW], sums[COUNT_RESUMED]);
    if (!sums[COUNT_NOTHING] || !sums[COUNT_OLD] || !sums[COUNT_NEW] || !sums[COUNT_RESUMED])
        failures++; /* something that should happen never did */
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_IMAGES], failures);
    return failures != 0;
}
