/* calibrate.c: mote_calibrate: which barrier is the cheaper one on this device, by figures, recorded in the superblock. See mote.h.
 *
 * The volume is opened like any other, inline, so that no thread of its own disturbs; measured is in one run of free extents that only this handle knows of. After a crash the run is free again, whatever is in it: nothing refers to it, and noise
 * is no frame, block or page of anything. The choice is one superblock generation, written as all of them are: before it the old choice holds, after it the new one.
 * FLUSH and FUA of one size and depth are measured in turns (FLUSH, FUA, FUA, FLUSH), so that a device that gets slower with time wrongs neither. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/calibrate_private.h"

#define SCRATCH_BYTES_MIN (4u * MIB_BYTES)
#define SCRATCH_BYTES_DEFAULT (256u * MIB_BYTES)
#define FUA_GAIN_MIN 1.05
#define FILL_LIMIT_NS (3 * NS_PER_S)

enum { PAIRS = 8, PAIR_SIZES = 2, PAIR_DEPTHS = 4 };
static const uint32_t DURABLE_BYTES[PAIR_SIZES] = {4096, 128 * 1024};
static const uint32_t DURABLE_DEPTHS[PAIR_DEPTHS] = {1, 2, 4, 8};
static const uint32_t BULK_BYTES[] = {64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024, 1024 * 1024};
static const uint32_t READ_DEPTHS[] = {1, 32};

struct plan {
    uint64_t case_ns, case_operations, scratch_bytes;
    bool dry_run;
};

static int resolve_plan(const struct mote_calibrate_options *given, struct plan *plan)
{
    struct mote_calibrate_options options = MOTE_CALIBRATE_OPTIONS_INIT;
    if (given && given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "calibrate options: begin with MOTE_CALIBRATE_OPTIONS_INIT");
    if (given)
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    if (options.case_ms > 60000)
        return error_set(MOTE_EINVAL, "calibrate option case_ms is %u, above 60000", options.case_ms);
    if (options.scratch_bytes && options.scratch_bytes < SCRATCH_BYTES_MIN)
        return error_set(MOTE_EINVAL, "calibrate option scratch_bytes is %llu, below 4 MiB", (unsigned long long)options.scratch_bytes);
    *plan = (struct plan){
        .case_ns = (options.case_ms ? options.case_ms : 300ull) * NS_PER_MS,
        .case_operations = options.case_operations ? options.case_operations : 100000,
        .scratch_bytes = options.scratch_bytes ? options.scratch_bytes : SCRATCH_BYTES_DEFAULT,
        .dry_run = options.dry_run != 0,
    };
    return MOTE_OK;
}

/* ---- Cases ---- */

static int run_pair(struct measure *measure, const struct plan *plan, struct measure_case *flush, struct measure_case *fua)
{
    struct measure_case *turns[] = {flush, fua, fua, flush};
    int result = MOTE_OK;
    for (int i = 0; i < 4 && !result; i++)
        result = measure_slice(measure, turns[i], plan->case_ns / 2, (plan->case_operations + 1) / 2);
    measure_conclude(flush);
    measure_conclude(fua);
    return result;
}

/* scratch: two cases to work in. */
static int run_pairs(struct measure *measure, const struct plan *plan, struct measure_case *scratch, struct mote_calibration *calibration)
{
    double logarithms = 0;
    for (unsigned i = 0; i < PAIRS; i++) {
        uint32_t bytes = DURABLE_BYTES[i / PAIR_DEPTHS], depth = DURABLE_DEPTHS[i % PAIR_DEPTHS];
        memset(scratch, 0, 2 * sizeof *scratch);
        scratch[0].figures = (struct mote_calibration_case){.kind = MOTE_CALIBRATION_FLUSH, .request_bytes = bytes, .depth = depth};
        scratch[1].figures = (struct mote_calibration_case){.kind = MOTE_CALIBRATION_FUA, .request_bytes = bytes, .depth = depth};
        int result = run_pair(measure, plan, &scratch[0], &scratch[1]);
        if (result)
            return result;
        logarithms += log(scratch[1].figures.operations_per_s / scratch[0].figures.operations_per_s);
        calibration->cases[calibration->case_count++] = scratch[0].figures;
        calibration->cases[calibration->case_count++] = scratch[1].figures;
    }
    calibration->fua_over_flush = exp(logarithms / PAIRS);
    return MOTE_OK;
}

static int run_single(struct measure *measure, const struct plan *plan, struct measure_case *scratch, struct mote_calibration_case wanted, struct mote_calibration *calibration)
{
    memset(scratch, 0, sizeof *scratch);
    scratch->figures = wanted;
    int result = measure_slice(measure, scratch, plan->case_ns, plan->case_operations);
    measure_conclude(scratch);
    calibration->cases[calibration->case_count++] = scratch->figures;
    return result;
}

static int run_cases(struct measure *measure, const struct plan *plan, struct measure_case *scratch, struct mote_calibration *calibration)
{
    int result = measure_fill(measure, FILL_LIMIT_NS, SCRATCH_BYTES_MIN);
    if (!result)
        result = run_pairs(measure, plan, scratch, calibration);
    for (unsigned i = 0; i < sizeof BULK_BYTES / sizeof BULK_BYTES[0] && !result; i++)
        result = run_single(measure, plan, scratch, (struct mote_calibration_case){.kind = MOTE_CALIBRATION_BULK, .request_bytes = BULK_BYTES[i], .depth = 4}, calibration);
    for (unsigned i = 0; i < sizeof READ_DEPTHS / sizeof READ_DEPTHS[0] && !result; i++)
        result = run_single(measure, plan, scratch, (struct mote_calibration_case){.kind = MOTE_CALIBRATION_READ, .request_bytes = 4096, .depth = READ_DEPTHS[i]}, calibration);
    return result;
}

/* ---- The scratch space ---- */

/* One run of free extents, as long as there is up to the wanted size. */
static int take_scratch(struct mote_db *db, uint64_t wanted_bytes, struct extent_run *run)
{
    uint64_t extent_bytes = db->superblock.layout.extent_bytes;
    uint32_t least = (uint32_t)divide_up(SCRATCH_BYTES_MIN, extent_bytes);
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    uint64_t count = divide_up(wanted_bytes, extent_bytes);
    if (count > counts.free / 2)
        count = counts.free / 2;
    if (count < least)
        count = least;
    struct extent_reservation reservation;
    int result = extents_reserve(db->extents, (uint32_t)count, false, &reservation);
    if (!result) {
        result = extents_allocate(db->extents, &reservation, least, (uint32_t)count, run);
        extents_unreserve(db->extents, &reservation);
    }
    return result == MOTE_ENOSPC ? error_set(MOTE_ENOSPC, "there are not 4 MiB of free space in one piece on %s to calibrate in: drop or compact tables", blockdev_path(db->device)) : result;
}

static void give_scratch_back(struct mote_db *db, struct blockdev_queue *queue, struct extent_run run)
{
    const struct layout *layout = &db->superblock.layout;
    if (atomic_load(&db->trim)) /* a courtesy to the device; whether it worked changes nothing */
        (void)blockdev_discard_range(queue, layout_extent_offset(layout, run.first), run.count * layout->extent_bytes);
    extents_release_unused(db->extents, run);
}

static void make_noise(uint8_t *buffer, uint64_t bytes)
{
    uint64_t state = 0x9E3779B97F4A7C15ull;
    for (uint64_t i = 0; i < bytes; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(buffer + i, &state, 8);
    }
}

static int measure_device(struct mote_db *db, const struct plan *plan, struct mote_calibration *calibration)
{
    struct blockdev_queue_options shared = {.depth = 64, .flags = BLOCKDEV_QUEUE_SHARED};
    struct measure *measure = memory_alloc_zero(db->memory, sizeof *measure);
    struct extent_run run = {0};
    struct measure_case *scratch = memory_alloc(db->memory, 2 * sizeof *scratch);
    uint8_t *buffer = memory_alloc_aligned(db->memory, MEASURE_BUFFER_BYTES, PAGE_BYTES);
    int result = measure && scratch && buffer ? MOTE_OK : MOTE_EBUDGET;
    if (!result) {
        measure->db = db;
        measure->buffer = buffer;
        measure->random = 88172645463325252ull;
        make_noise(buffer, MEASURE_BUFFER_BYTES);
        shared.registered_base = buffer;
        shared.registered_bytes = MEASURE_BUFFER_BYTES;
        result = blockdev_queue_create(db->device, &shared, &measure->queue);
    }
    if (!result)
        result = take_scratch(db, plan->scratch_bytes, &run);
    if (!result) {
        measure->offset_bytes = layout_extent_offset(&db->superblock.layout, run.first);
        measure->length_bytes = run.count * db->superblock.layout.extent_bytes;
        result = run_cases(measure, plan, scratch, calibration);
        calibration->scratch_bytes = measure->length_bytes;
        calibration->written_bytes = measure->written_bytes;
        if (result != MOTE_EIO && result != MOTE_ENODEV)
            give_scratch_back(db, measure->queue, run); /* else what was in flight may still land: the extents stay out of use until the next open */
    }
    if (measure && measure->queue)
        blockdev_queue_destroy(measure->queue);
    memory_free(db->memory, buffer);
    memory_free(db->memory, scratch);
    memory_free(db->memory, measure);
    return result;
}

/* ---- The choice ---- */

static void explain(const struct mote_calibration *calibration, const struct blockdev_geometry *geometry, char *text, size_t room)
{
    const struct mote_calibration_case *flush = &calibration->cases[0], *fua = &calibration->cases[1];
    bool chosen = calibration->barrier == MOTE_BARRIER_FUA;
    int length = snprintf(text, room,
                          "A commit of 4 KiB that is waited for takes %.0f us with FUA and %.0f us with FLUSH (median). Over 4 and 128 KiB at depths 1, 2, 4 and 8, FUA makes %.2f times as many durable writes a second as FLUSH: %s is chosen%s.",
                          (double)fua->ns_p50 / 1e3, (double)flush->ns_p50 / 1e3, calibration->fua_over_flush, chosen ? "FUA" : "FLUSH", chosen ? "" : ", since FUA must be at least 1.05 times as fast");
    const char *note = "";
    if (!geometry->block_device)
        note = " On an image file FUA is a write with O_DSYNC semantics and FLUSH is fdatasync; every image file counts as the same model, wherever it lies: calibrate again after moving it.";
    else if (!geometry->write_cache)
        note = " The kernel reports a write-through device: while it does, no barrier is used at all.";
    if (length > 0 && (size_t)length < room)
        snprintf(text + length, room - (size_t)length, "%s", note);
}

static int record_choice(struct mote_db *db, uint32_t barrier)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    _Static_assert(sizeof geometry->model == sizeof db->superblock.calibrated_model, "the model's name is recorded whole");
    manifest_lock(db->manifest);
    db->superblock.barrier = barrier;
    memset(db->superblock.calibrated_model, 0, sizeof db->superblock.calibrated_model);
    memcpy(db->superblock.calibrated_model, geometry->model, strnlen(geometry->model, sizeof geometry->model - 1));
    manifest_unlock(db->manifest);
    return db_settle(db, manifest_write_superblock(db->manifest));
}

int engine_calibrate(struct mote_db *db, const struct mote_calibrate_options *options, struct mote_calibration *calibration)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    struct plan plan = {0};
    uint64_t begin_ns = now_ns();
    *calibration = (struct mote_calibration){.size_bytes = sizeof *calibration, .write_cache = geometry->write_cache};
    snprintf(calibration->device, sizeof calibration->device, "%s", blockdev_path(db->device));
    snprintf(calibration->model, sizeof calibration->model, "%s", geometry->model);
    snprintf(calibration->backend, sizeof calibration->backend, "%s", blockdev_backend(db->device));
    if (strcmp(db->superblock.calibrated_model, geometry->model) == 0)
        calibration->barrier_before = db->superblock.barrier;
    int result = db_check_writable(db);
    if (!result)
        result = resolve_plan(options, &plan);
    if (!result)
        result = measure_device(db, &plan, calibration);
    if (result)
        return result;
    calibration->barrier = calibration->fua_over_flush >= FUA_GAIN_MIN ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
    explain(calibration, geometry, calibration->reason, sizeof calibration->reason);
    if (!plan.dry_run)
        result = record_choice(db, calibration->barrier);
    calibration->duration_ns = now_ns() - begin_ns;
    return result;
}

int mote_calibrate(const char *path, const struct mote_calibrate_options *options, struct mote_calibration *out)
{
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_calibration calibration;
    struct mote_error cause;
    struct plan plan = {0};
    mote_db *db;
    if (out && out->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "calibration's size_bytes is not set");
    int result = resolve_plan(options, &plan); /* before anything is opened */
    if (result)
        return result;
    const struct mote_options *given = options && options->size_bytes >= sizeof *options ? options->open : NULL;
    if (given && given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options.size_bytes is %zu: begin with MOTE_OPTIONS_INIT", given->size_bytes);
    if (given)
        memcpy(&open, given, given->size_bytes < sizeof open ? given->size_bytes : sizeof open);
    open.size_bytes = sizeof open;
    open.inline_io = 1;
    result = mote_open(path, &open, &db, NULL);
    if (result)
        return result;
    result = engine_calibrate(db, options, &calibration);
    error_get(&cause);
    int closed = mote_close(db);
    if (result)
        error_restore(&cause);
    else
        result = closed;
    if (out) {
        size_t wanted = out->size_bytes;
        memcpy(out, &calibration, wanted < sizeof calibration ? wanted : sizeof calibration);
        out->size_bytes = wanted;
    }
    return result;
}
