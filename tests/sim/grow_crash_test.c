/* grow_crash_test.c: crash enumeration of volumes that grow while rows are appended.
 *
 * A volume on a larger simulated disk that records every write and barrier takes over more of it (mote_grow), by a page, by less and by more than its end copies are long, while a thread appends rows, waits for each to be durable, and flushes now and then. The power
 * is cut after each event of the growth, and a share of those before and after it, with nothing unflushed, all of it, all but one write, only one, or torn subsets surviving. Each image opens, read-only and read-write, with the old or the new size (the new one once the call had returned),
 * holds each row that was acknowledged and of the others a beginning, takes more, and grows again.
 *
 *     grow_crash_test [--first N] [--seeds N]
 *
 * MOTE_TEST_SCALE: percent of the usual number of images. MOTE_TEST_JOBS: processes. Threads take turns as they come: a seed gives the same steps, not the same recording. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crash_visit.h"
#include "tests/support/engine_model.h"
#include "tests/support/sized_volume.h"
#include "tests/support/test_workers.h"

enum { SEEDS_DEFAULT = 4, SIZE = 24 * 1024 * 1024, IMAGES_OF_FULL = 900, KEYS = 16000, ROWS_AROUND = 12 };
enum { COUNT_IMAGES, COUNT_OLD, COUNT_NEW, COUNT_GROWN };
enum { MARK_ACKNOWLEDGED = 1, MARK_BEGUN = 2, MARK_GROWN = 3 };

struct run {
    struct test_worker *worker;
    uint64_t seed, old_bytes, new_bytes, event;
    struct blockdev *device;
    struct mote_options options;
    const struct state *state;
    mote_db *db;
    uint32_t first_row; /* those before are durable from the beginning */
    _Atomic uint32_t rows;
    _Atomic bool stop, done;
};

/* Rows 0, 1, 2, ... without a gap; their number. */
static bool read_rows(mote_db *db, uint64_t *count)
{
    static uint32_t versions[KEYS];
    uint64_t found = model_scan(model_table_open(db, "arm"), KEYS, false, versions);
    *count = 0;
    while (*count < KEYS && versions[*count] == 1)
        ++*count;
    return found == *count;
}

static bool read_volume(struct run *run, struct blockdev *device, bool read_only, uint64_t *size_bytes, uint64_t *rows)
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
    bool good = states_equal(&found, run->state) && backup_frames_equal(db, run->state) && read_rows(db, rows);
    if (!read_only) {
        struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
        sync.durability = MOTE_DURABILITY_SYNC;
        must(model_append(model_table_open(db, "arm"), (uint32_t)*rows, 1, &sync, NULL));
        must(mote_grow(db, run->new_bytes, NULL, NULL));
        must(model_append(model_table_open(db, "arm"), (uint32_t)*rows + 1, 1, &sync, NULL));
        must(mote_checkpoint(db));
    }
    engine_abandon(db);
    *size_bytes = sized_volume_bytes(device);
    return good;
}

static bool check_image(void *context, struct blockdev *device)
{
    struct run *run = context;
    uint64_t first, second, last, rows, rows_again, rows_last, acknowledged = sim_mark_at(run->device, run->event, MARK_ACKNOWLEDGED);
    bool grown = sim_mark_at(run->device, run->event, MARK_GROWN) != 0;
    if (acknowledged < run->first_row)
        acknowledged = run->first_row;
    if (!read_volume(run, device, true, &first, &rows) || !read_volume(run, device, false, &second, &rows_again) || !read_volume(run, device, true, &last, &rows_last))
        return false;
    run->worker->counts[COUNT_OLD] += first == run->old_bytes;
    run->worker->counts[COUNT_NEW] += first == run->new_bytes;
    run->worker->counts[COUNT_GROWN] += grown;
    bool known = first == run->new_bytes || (first == run->old_bytes && !grown);
    return known && second == run->new_bytes && last == run->new_bytes && rows >= acknowledged && rows_again == rows && rows_last == rows + 2;
}

/* ---- The recording ---- */

static void *append_rows(void *argument)
{
    struct run *run = argument;
    mote_table *table = model_table_open(run->db, "arm");
    struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
    sync.durability = MOTE_DURABILITY_SYNC;
    for (uint32_t row = run->first_row; !atomic_load(&run->stop) && row + 2 < KEYS; row++) {
        must(model_append(table, row, 1, &sync, NULL));
        sim_mark(run->device, MARK_ACKNOWLEDGED, row + 1);
        atomic_store(&run->rows, row + 1);
        if (row % 10 == run->seed % 10)
            must(mote_flush(run->db));
        if (row % 80 == 79)
            must(mote_compact(run->db, NULL)); /* or many small segments would fill the volume */
    }
    atomic_store(&run->done, true);
    return NULL;
}

static void wait_for_rows(struct run *run, uint32_t count)
{
    while (atomic_load(&run->rows) < count && !atomic_load(&run->done))
        sched_yield();
}

static void record(struct run *run)
{
    pthread_t thread;
    run->stop = run->done = false;
    run->rows = run->first_row;
    must(engine_open(run->device, &run->options, &run->db, NULL));
    require(pthread_create(&thread, NULL, append_rows, run) == 0);
    wait_for_rows(run, run->first_row + ROWS_AROUND);
    sim_mark(run->device, MARK_BEGUN, 1);
    must(mote_grow(run->db, run->new_bytes, NULL, NULL));
    sim_mark(run->device, MARK_GROWN, run->new_bytes);
    wait_for_rows(run, atomic_load(&run->rows) + ROWS_AROUND);
    atomic_store(&run->stop, true);
    pthread_join(thread, NULL);
    engine_abandon(run->db);
}

static struct crash_check make_check(struct run *run)
{
    struct crash_check check = {.worker = run->worker, .device = run->device, .seed = run->seed, .check = check_image, .context = run};
    snprintf(check.what, sizeof check.what, "grow_crash_test --first %" PRIu64 " --seeds 1: %" PRIu64 " to %" PRIu64 " bytes", run->seed, run->old_bytes, run->new_bytes);
    return check;
}

static bool is_growing(const struct run *run, uint64_t event) { return sim_mark_at(run->device, event, MARK_BEGUN) && !sim_mark_at(run->device, event, MARK_GROWN); }

/* What comes during the growth, and a share of what comes before and after, barriers above all; image becomes what is left at the end. */
static void explore(struct run *run, uint8_t *image)
{
    struct sim_options options = {.size_bytes = SIZE, .logical_block_bytes = 512, .seed = run->seed, .reorder = true, .record = true, .initial = image};
    uint64_t random = run->seed + 5;
    bool barrier;
    must(sim_create(&options, &run->device));
    record(run);
    const struct crash_check check = make_check(run);
    uint64_t count = sim_event_count(run->device), share = test_scale(IMAGES_OF_FULL), every = count / (share / 8 + 1) + 1, barrier_every = count / share + 1, growing_events = 0;
    for (uint64_t event = 0; event < count; event++)
        growing_events += is_growing(run, event);
    uint64_t growing_every = growing_events / (share / 4 + 1) + 1;
    for (run->event = 0; run->event < count; run->event++) {
        uint64_t drawn = fixture_random(&random);
        if (sim_event_is_cut(run->device, run->event, &barrier) && drawn % (barrier ? barrier_every : is_growing(run, run->event) ? growing_every : every) == 0)
            crash_check_event(&check, run->event);
    }
    sim_read_content(run->device, true, image);
    blockdev_close(run->device);
    run->first_row = atomic_load(&run->rows);
}

static void work(struct test_worker *worker, uint64_t seed)
{
    static const uint64_t kib[] = {18 * 1024, 18 * 1024 + 4, 18 * 1024 + 68, 19 * 1024 + 4, 20 * 1024 + 100, 24 * 1024};
    struct state state = {0};
    uint8_t *image = calloc(1, SIZE);
    struct run run = {.worker = worker, .seed = seed, .state = &state};
    require(image != NULL);
    sized_volume_make(seed, kib[0] * 1024, 6, image, &state, &run.options);
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
    printf("grow_crash_test: %" PRIu64 " crash images of %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " of the old size, %" PRIu64 " of the new one, %" PRIu64 " after the call had returned\n", sums[COUNT_IMAGES], seeds, first, sums[COUNT_OLD], sums[COUNT_NEW], sums[COUNT_GROWN]);
    if (!sums[COUNT_OLD] || sums[COUNT_NEW] <= sums[COUNT_GROWN])
        failures++; /* something that should happen never did */
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_IMAGES], failures);
    return failures != 0;
}
