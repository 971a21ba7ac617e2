/* resize_crash_test.c: crash enumeration of resizes.
 *
 * A volume on a simulated disk that records every write and barrier is made larger, then smaller, by much and by little, so that old and new places of the end overlap. The power is cut after each event that changes what may be left, with
 * nothing unflushed, all of it, all but one write, only one, or torn subsets surviving. Each image opens, read-only and read-write, with the old or the new size, holds all rows, takes more, and can be resized again to what was wanted.
 *
 *     resize_crash_test [--first N] [--seeds N]
 *
 * MOTE_TEST_SCALE: percent of the usual number of images. MOTE_TEST_JOBS: processes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crash_visit.h"
#include "tests/support/sized_volume.h"
#include "tests/support/test_workers.h"

enum { SEEDS_DEFAULT = 4, SIZE = 24 * 1024 * 1024, IMAGES_OF_FULL = 600 };
enum { COUNT_IMAGES, COUNT_OLD, COUNT_NEW };

struct run {
    struct test_worker *worker;
    uint64_t seed, old_bytes, new_bytes;
    struct blockdev *device;
    struct mote_options options;
    const struct state *state;
};

static bool read_volume(struct run *run, struct blockdev *device, bool read_only, uint64_t *size_bytes)
{
    struct mote_options how = run->options;
    struct state_tables tables;
    struct state found;
    mote_db *db;
    how.read_only = read_only;
    if (engine_open(device, &how, &db, NULL))
        return false;
    states_open(db, &tables);
    must(states_read(&tables, NULL, false, &found));
    bool good = states_equal(&found, run->state) && backup_frames_equal(db, run->state);
    if (!read_only) {
        char text[STATE_TEXT_BYTES];
        struct mote_value row[3];
        size_t count = states_row(0, STATE_KEYS, 7, text, row);
        struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
        sync.durability = MOTE_DURABILITY_SYNC;
        must(mote_append(tables.tables[0], row, count, &sync, NULL));
        must(mote_delete(tables.tables[0], row, 1, &sync, NULL));
        must(mote_checkpoint(db));
    }
    engine_abandon(db);
    *size_bytes = sized_volume_bytes(device);
    return good;
}

static bool close_cleanly(struct run *run, struct blockdev *device)
{
    mote_db *db;
    if (engine_open(device, &run->options, &db, NULL))
        return false;
    must(mote_checkpoint(db));
    engine_abandon(db);
    return true;
}

static bool check_image(void *context, struct blockdev *device)
{
    struct run *run = context;
    uint64_t first, second, last;
    if (!read_volume(run, device, true, &first) || !read_volume(run, device, false, &second))
        return false;
    run->worker->counts[COUNT_OLD] += first == run->old_bytes;
    run->worker->counts[COUNT_NEW] += first == run->new_bytes;
    if (first != second || (first != run->old_bytes && first != run->new_bytes) || !close_cleanly(run, device))
        return false;
    /* A volume that was abandoned is made larger; only one that was closed is made smaller. */
    if (run->new_bytes > first && engine_resize(device, run->new_bytes, false, NULL))
        return false;
    return read_volume(run, device, true, &last) && last == (run->new_bytes > first ? run->new_bytes : first);
}

static struct crash_check make_check(struct run *run)
{
    struct crash_check check = {.worker = run->worker, .device = run->device, .seed = run->seed, .check = check_image, .context = run};
    snprintf(check.what, sizeof check.what, "resize_crash_test --first %" PRIu64 " --seeds 1: %" PRIu64 " to %" PRIu64 " bytes", run->seed, run->old_bytes, run->new_bytes);
    return check;
}

/* Barriers, the end, and a share of the other events; image becomes the outcome. */
static void explore(struct run *run, uint8_t *image)
{
    struct sim_options options = {.size_bytes = SIZE, .logical_block_bytes = 512, .seed = run->seed, .reorder = true, .record = true, .initial = image};
    uint64_t random = run->seed + 5;
    bool barrier;
    must(sim_create(&options, &run->device));
    must(engine_resize(run->device, run->new_bytes, false, NULL));
    const struct crash_check check = make_check(run);
    uint64_t count = sim_event_count(run->device), every = count / (test_scale(IMAGES_OF_FULL) / 8 + 1) + 1;
    for (uint64_t event = 0; event < count; event++) {
        bool chosen = event + 30 >= count || fixture_random(&random) % every == 0;
        if (sim_event_is_cut(run->device, event, &barrier) && (barrier || chosen))
            crash_check_event(&check, event);
    }
    sim_read_content(run->device, true, image);
    blockdev_close(run->device);
}

static void work(struct test_worker *worker, uint64_t seed)
{
    static const uint64_t kib[] = {18 * 1024, 24 * 1024, 23 * 1024 + 512, 15 * 1024, 15 * 1024 + 100, 14 * 1024 + 900, 24 * 1024, 14 * 1024};
    struct state state = {0};
    uint8_t *image = calloc(1, SIZE);
    struct run run = {.worker = worker, .seed = seed, .state = &state};
    require(image != NULL);
    sized_volume_make(seed, kib[0] * 1024, 10, image, &state, &run.options);
    for (size_t i = 1; i < sizeof kib / sizeof kib[0]; i++) {
        run.old_bytes = kib[i - 1] * 1024;
        run.new_bytes = kib[i] * 1024;
        explore(&run, image);
    }
    free(image);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, seeds = SEEDS_DEFAULT, sums[8] = {0};
    test_workers_seeds(argc, argv, &first, &seeds);
    uint64_t failures = test_workers_run(first, seeds, test_workers_default(), 5, work, sums);
    printf("resize_crash_test: %" PRIu64 " crash images of %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " of the old size, %" PRIu64 " of the new one\n", sums[COUNT_IMAGES], seeds, first, sums[COUNT_OLD], sums[COUNT_NEW]);
    if (!sums[COUNT_OLD] || !sums[COUNT_NEW])
        failures++; /* something that should happen never did */
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_IMAGES], failures);
    return failures != 0;
}
