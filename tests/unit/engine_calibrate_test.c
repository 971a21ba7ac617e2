/* engine_calibrate_test.c: mote_calibrate: the choice follows the figures and holds at the next open on the same model; nothing but free extents is written; a crash at any point leaves rows and choice whole. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/superblock.h"
#include "tests/support/engine_model.h"
#include "tests/support/gate.h"

TestSuite(calibrate, .timeout = 300);

enum { KEYS = 500 };

static struct mote_calibrate_options brief(uint32_t operations)
{
    struct mote_calibrate_options options = MOTE_CALIBRATE_OPTIONS_INIT;
    options.case_ms = 50;
    options.case_operations = operations;
    options.scratch_bytes = 4 * MIB_BYTES;
    return options;
}

/* A volume with rows in SSTables, in the log, and replaced ones. */
static struct model fill(struct fixture *fixture)
{
    struct model model = model_make(KEYS);
    mote_table *table = model_table_create(fixture->db, "arm");
    model_put_batch(table, &model, 0, KEYS, 1, NULL, NULL);
    must(mote_flush(fixture->db));
    uint64_t ticket = 0;
    for (uint32_t key = 0; key < KEYS; key += 7)
        model_put(table, &model, key, 2, NULL, &ticket);
    must(mote_wait(fixture->db, ticket, MOTE_FOREVER));
    return model;
}

static void check_figures(const struct mote_calibration *calibration)
{
    double logarithms = 0;
    cr_assert_eq(calibration->case_count, 23);
    for (uint32_t i = 0; i < calibration->case_count; i++) {
        const struct mote_calibration_case *one = &calibration->cases[i];
        cr_assert(one->operations > 0 && one->operations_per_s > 0, "case %u", i);
        cr_assert(one->ns_p50 <= one->ns_p99 && one->ns_p99 <= one->ns_max, "case %u", i);
    }
    for (uint32_t i = 0; i < 16; i += 2) {
        const struct mote_calibration_case *flush = &calibration->cases[i], *fua = flush + 1;
        cr_assert(flush->kind == MOTE_CALIBRATION_FLUSH && fua->kind == MOTE_CALIBRATION_FUA);
        cr_assert(flush->request_bytes == fua->request_bytes && flush->depth == fua->depth);
        logarithms += log(fua->operations_per_s / flush->operations_per_s);
    }
    cr_assert(fabs(exp(logarithms / 8) / calibration->fua_over_flush - 1) < 1e-9);
    cr_assert_eq(calibration->barrier, calibration->fua_over_flush >= 1.05 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH);
    cr_assert(strstr(calibration->reason, calibration->barrier == MOTE_BARRIER_FUA ? "FUA is chosen" : "FLUSH is chosen"), "%s", calibration->reason);
}

static uint32_t barrier_in_force(struct fixture *fixture)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    must(mote_get_options(fixture->db, &options));
    return options.barrier;
}

Test(calibrate, image_file_keeps_the_choice)
{
    struct fixture fixture;
    struct mote_calibration calibration = {.size_bytes = sizeof calibration};
    struct mote_calibrate_options options = brief(20);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    struct model model = fill(&fixture);
    must_fail(mote_calibrate(fixture.path, &options, &calibration), MOTE_EBUSY);
    fixture_kill(&fixture); /* the calibration recovers first */
    must(mote_calibrate(fixture.path, &options, &calibration));
    check_figures(&calibration);
    cr_expect_str_eq(calibration.model, "image file");
    cr_expect_eq(calibration.barrier_before, MOTE_BARRIER_AUTO);
    cr_expect(strstr(calibration.reason, "O_DSYNC"), "%s", calibration.reason);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_open(&fixture);
    cr_expect_eq(barrier_in_force(&fixture), calibration.barrier);
    cr_expect_str_eq(fixture_stats(&fixture).barrier, calibration.barrier == MOTE_BARRIER_FUA ? "fua" : "flush");
    model_check(model_table_open(fixture.db, "arm"), &model);
    fixture_close(&fixture);
    uint32_t first = calibration.barrier;
    options.dry_run = 1;
    must(mote_calibrate(fixture.path, &options, &calibration));
    cr_expect_eq(calibration.barrier_before, first);
    fixture_open(&fixture);
    cr_expect_eq(barrier_in_force(&fixture), first, "a dry run records nothing");
    fixture_close(&fixture);
    model_free(&model);
    fixture_remove(&fixture);
}

/* What is slow by a millisecond is avoided, and that from the next open on: the FLUSH first, then FUA. */
Test(calibrate, slow_barrier_is_avoided)
{
    struct fixture fixture;
    struct mote_calibration calibration;
    struct mote_calibrate_options options = brief(4);
    fixture_sim(&fixture, 64 * MIB_BYTES, 3, false);
    fixture.options.inline_io = 1;
    fixture_open(&fixture);
    cr_expect_eq(barrier_in_force(&fixture), MOTE_BARRIER_FLUSH);
    for (uint32_t round = 0; round < 2; round++) {
        if (round == 0)
            gate_slow(fixture.gate, BLOCKDEV_FLUSH, 0, 1000);
        else
            gate_slow(fixture.gate, BLOCKDEV_WRITE, BLOCKDEV_FUA, 1000);
        must(engine_calibrate(fixture.db, &options, &calibration));
        check_figures(&calibration);
        cr_expect_eq(calibration.barrier, round == 0 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH, "%s", calibration.reason);
        cr_expect_eq(calibration.barrier_before, round == 0 ? MOTE_BARRIER_AUTO : MOTE_BARRIER_FUA);
        gate_slow(fixture.gate, 0, 0, 0);
        fixture_reopen(&fixture);
        cr_expect_eq(barrier_in_force(&fixture), calibration.barrier);
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Under another model's name the record is void. */
Test(calibrate, record_of_another_device_is_void)
{
    struct fixture fixture;
    struct superblock superblock;
    struct blockdev_queue *queue;
    struct blockdev_queue_options shared = {.depth = 8, .flags = BLOCKDEV_QUEUE_SHARED};
    bool heal;
    fixture_sim(&fixture, 64 * MIB_BYTES, 4, false);
    for (int round = 0; round < 2; round++) {
        must(blockdev_queue_create(fixture.sim, &shared, &queue));
        must(superblock_read(queue, &superblock, &heal));
        superblock.barrier = MOTE_BARRIER_FUA;
        superblock.generation++;
        memset(superblock.calibrated_model, 0, sizeof superblock.calibrated_model);
        strcpy(superblock.calibrated_model, round ? "sim" : "another");
        must(superblock_write(queue, &superblock));
        blockdev_queue_destroy(queue);
        fixture_open(&fixture);
        cr_expect_eq(barrier_in_force(&fixture), round ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH);
        fixture_close(&fixture);
    }
    fixture_remove(&fixture);
}

/* Before and after a dry run the device differs in one stretch of free extents only: what is not free is what the owner had before, byte for byte. */
Test(calibrate, only_free_extents_are_written)
{
    struct fixture fixture;
    struct mote_calibration calibration;
    struct mote_calibrate_options options = brief(50);
    const uint64_t size = 64 * MIB_BYTES;
    uint8_t *before = malloc(size), *after = malloc(size);
    require(before && after);
    options.dry_run = 1;
    options.scratch_bytes = 8 * MIB_BYTES;
    fixture_sim(&fixture, size, 5, false);
    fixture.options.inline_io = 1;
    fixture_open_faulty(&fixture);
    struct model model = fill(&fixture);
    const struct faulty_rule kept = {.kind = FAULTY_LOST, .op_mask = 1u << BLOCKDEV_DISCARD, .times = UINT64_MAX}; /* so that what was written stays to be seen */
    require(faulty_add(fixture.faulty, &kept) >= 0);
    uint64_t free_before = fixture_stats(&fixture).extents_free;
    sim_read_content(fixture.sim, false, before);
    must(engine_calibrate(fixture.db, &options, &calibration));
    sim_read_content(fixture.sim, false, after);
    check_figures(&calibration);
    cr_expect_eq(fixture_stats(&fixture).extents_free, free_before);
    uint64_t first = UINT64_MAX, last = 0;
    for (uint64_t at = 0; at < size; at += PAGE_BYTES) {
        if (memcmp(before + at, after + at, PAGE_BYTES) == 0)
            continue;
        first = at < first ? at : first;
        last = at + PAGE_BYTES;
        for (uint64_t i = 0; i < PAGE_BYTES; i++)
            cr_assert_eq(before[at + i], 0, "offset %llu held something", (unsigned long long)(at + i));
    }
    cr_expect_gt(last, first, "the scratch space was written");
    cr_expect_leq(last - first, calibration.scratch_bytes);
    cr_expect_geq(calibration.written_bytes, calibration.scratch_bytes);
    fixture_crash(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    fixture_close(&fixture);
    model_free(&model);
    free(before);
    free(after);
    fixture_remove(&fixture);
}

/* ---- A power cut at every event ---- */

static void check_cut(struct fixture *fixture, const struct model *model, uint64_t event, enum sim_crash_policy policy, uint32_t *choices)
{
    struct blockdev *device;
    mote_db *db;
    must(sim_create_from_crash(fixture->sim, event, policy, 0, event, NULL, &device));
    must(engine_open(device, &fixture->options, &db, NULL));
    struct mote_options options = MOTE_OPTIONS_INIT;
    must(mote_get_options(db, &options));
    require(options.barrier == MOTE_BARRIER_FLUSH || options.barrier == MOTE_BARRIER_FUA);
    choices[options.barrier == MOTE_BARRIER_FUA]++;
    model_check(model_table_open(db, "arm"), model);
    must(mote_close(db));
}

Test(calibrate, power_cut_leaves_rows_and_choice_whole)
{
    struct fixture fixture;
    struct mote_calibration calibration;
    struct mote_calibrate_options options = brief(4);
    uint32_t choices[2] = {0}, images = 0;
    fixture_sim(&fixture, 64 * MIB_BYTES, 6, true);
    fixture.options.inline_io = 1;
    fixture_open(&fixture);
    struct model model = fill(&fixture);
    gate_slow(fixture.gate, BLOCKDEV_FLUSH, 0, 1000);
    uint64_t begin = sim_event_count(fixture.sim);
    must(engine_calibrate(fixture.db, &options, &calibration));
    uint64_t end = sim_event_count(fixture.sim);
    cr_assert_eq(calibration.barrier, MOTE_BARRIER_FUA);
    fixture_kill(&fixture);
    fixture.options.inline_io = 1;
    uint64_t step = (end - begin) / (fixture_scale(100) < 50 ? 20 : 100) + 1;
    for (uint64_t event = begin; event < end; event++) {
        bool barrier;
        bool near_end = event + 24 >= end; /* there the superblock is written */
        if (!sim_event_is_cut(fixture.sim, event, &barrier) || (!near_end && event % step))
            continue;
        for (enum sim_crash_policy policy = SIM_CRASH_NONE; policy <= SIM_CRASH_TORN; policy++) {
            if (policy == SIM_CRASH_LOSE_ONE || policy == SIM_CRASH_KEEP_ONE)
                continue;
            check_cut(&fixture, &model, event, policy, choices);
            images++;
        }
    }
    cr_log_info("%u images: %u without the new choice, %u with it", images, choices[0], choices[1]);
    cr_expect_gt(choices[0], 0);
    cr_expect_gt(choices[1], 0);
    model_free(&model);
    fixture_remove(&fixture);
}

/* ---- Failures ---- */

Test(calibrate, failing_device_changes_nothing)
{
    struct fixture fixture;
    struct mote_calibration calibration;
    struct mote_calibrate_options options = brief(10);
    fixture_sim(&fixture, 64 * MIB_BYTES, 7, false);
    fixture.options.inline_io = 1;
    fixture_open_faulty(&fixture);
    struct model model = fill(&fixture);
    const struct faulty_rule broken = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .skip = 40, .times = 1, .system_errno = EIO};
    require(faulty_add(fixture.faulty, &broken) >= 0);
    must_fail(engine_calibrate(fixture.db, &options, &calibration), MOTE_EIO);
    struct mote_error error;
    mote_last_error(&error);
    cr_expect_gt(error.length_bytes, 0);
    cr_expect_eq(fixture_stats(&fixture).poisoned, 0, "nothing refers to what failed");
    model_check(model_table_open(fixture.db, "arm"), &model);
    fixture_reopen(&fixture);
    cr_expect_eq(barrier_in_force(&fixture), MOTE_BARRIER_FLUSH);
    model_check(model_table_open(fixture.db, "arm"), &model);
    fixture_close(&fixture);
    model_free(&model);
    fixture_remove(&fixture);
}

Test(calibrate, bad_arguments_are_refused)
{
    struct fixture fixture;
    struct mote_calibration calibration = {.size_bytes = sizeof calibration};
    struct mote_calibrate_options options = brief(4);
    struct mote_options open = MOTE_OPTIONS_INIT;
    fixture_image(&fixture, 64 * MIB_BYTES);
    options.scratch_bytes = MIB_BYTES;
    must_fail(mote_calibrate(fixture.path, &options, &calibration), MOTE_EINVAL);
    options = brief(4);
    options.case_ms = 100000;
    must_fail(mote_calibrate(fixture.path, &options, &calibration), MOTE_EINVAL);
    must_fail(mote_calibrate("/nonexistent/volume", NULL, &calibration), MOTE_ENODEV);
    options = brief(4);
    open.read_only = 1;
    options.open = &open;
    must_fail(mote_calibrate(fixture.path, &options, &calibration), MOTE_EREADONLY);
    calibration.size_bytes = 0;
    must_fail(mote_calibrate(fixture.path, NULL, &calibration), MOTE_EINVAL);
    fixture_remove(&fixture);
}
