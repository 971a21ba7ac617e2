/* options.c: what is asked for at open becomes what runs: presets, defaults, limits, and a memory plan that adds up. Nothing is adjusted in silence: a value out of its range is MOTE_EINVAL, a budget too small for the rest MOTE_EBUDGET. */
#include <string.h>

#include "engine/blob.h"

struct preset {
    uint64_t memory_bytes, memtable_bytes, cache_bytes;
    uint32_t memtable_count, workers, tables_max, cursors_max, producers_max, snapshots_max;
};

static const struct preset PRESETS[] = {
    [MOTE_PRESET_ROBOTICS] = {512ull << 20, 64ull << 20, 128ull << 20, 3, 1, 256, 32, 16, 32},
    [MOTE_PRESET_EDGE] = {96ull << 20, 12ull << 20, 24ull << 20, 3, 1, 64, 8, 8, 16},
    [MOTE_PRESET_THROUGHPUT] = {2048ull << 20, 256ull << 20, 512ull << 20, 4, 2, 256, 64, 64, 64},
};

#define HEAP_BYTES_MIN (8ull << 20)
#define OPEN_SEGMENT_BYTES (256ull << 10) /* a block's decoded columns, about */
#define SCANNED_SEGMENT_BYTES 512u /* what a reader keeps of a segment that it has not open: a source of the merge, and a hint */

static int check_range(const char *name, uint64_t value, uint64_t min, uint64_t max)
{
    if (value >= min && value <= max)
        return MOTE_OK;
    return error_set(MOTE_EINVAL, "option %s is %llu, outside %llu to %llu", name, (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
}

static void fill64(uint64_t *option, uint64_t value)
{
    if (*option == 0)
        *option = value;
}

static void fill32(uint32_t *option, uint32_t value)
{
    if (*option == 0)
        *option = value;
}

static int check_all(const struct mote_options *options)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } checks[] = {
        {"backend", options->backend, 0, MOTE_BACKEND_THREADS},
        {"barrier", options->barrier, 0, MOTE_BARRIER_NONE},
        {"on_damage", options->on_damage, 0, MOTE_DAMAGE_CONTINUE},
        {"durability", options->durability, MOTE_DURABILITY_SYNC, MOTE_DURABILITY_NONE},
        {"period_ms", options->period_ms, 1, 3600000},
        {"memory_bytes", options->memory_bytes, 4ull << 20, 1ull << 46},
        {"memtable_bytes", options->memtable_bytes, 64ull << 10, 32ull << 30},
        {"memtable_count", options->memtable_count, 2, GENERATIONS_MAX},
        {"cache_bytes", options->cache_bytes, 256ull << 10, 1ull << 44},
        {"tables_max", options->tables_max, 1, 65536},
        {"cursors_max", options->cursors_max, 1, 4096},
        {"producers_max", options->producers_max, 1, 1024},
        {"snapshots_max", options->snapshots_max, 1, 4096},
        {"wal_inflight_max", options->wal_inflight_max, 1, 64},
        {"wal_frame_bytes_max", options->wal_frame_bytes_max, 8192, REQUEST_BYTES_MAX},
        {"block_rows", options->block_rows, 1, 65536},
        {"compaction_runs_max", options->compaction_runs_max, 2, 32},
        {"compaction_spread_max", options->compaction_spread_max, 4, SPREAD_MAX},
        {"compression", options->compression, 0, 3},
        {"trim", options->trim, 0, MOTE_TRIM_ON},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        int result = check_range(checks[i].name, checks[i].value, checks[i].min, checks[i].max);
        if (result)
            return result;
    }
    if (options->wal_frame_bytes_max % PAGE_BYTES)
        return error_set(MOTE_EINVAL, "option wal_frame_bytes_max is %u, not a multiple of 4096", options->wal_frame_bytes_max);
    if (options->workers != MOTE_NO_THREADS && options->workers > WORKERS_MAX)
        return error_set(MOTE_EINVAL, "option workers is %u, above %u", options->workers, WORKERS_MAX);
    return MOTE_OK;
}

uint32_t options_stage_count(const struct mote_options *options) { return options->wal_inflight_max + 3; }

static uint64_t planned_bytes(const struct mote_options *options)
{
    return options->memtable_bytes * options->memtable_count + options->cache_bytes + (uint64_t)options_stage_count(options) * options->wal_frame_bytes_max;
}

/* What memtables, cache and log leave. */
static uint64_t left_bytes(const struct mote_options *options)
{
    uint64_t planned = planned_bytes(options);
    return options->memory_bytes > planned ? options->memory_bytes - planned : 0;
}

/* All that one scan has open may take a quarter of it. */
uint32_t options_iterators(const struct mote_options *options)
{
    uint64_t fit = left_bytes(options) / 4 / OPEN_SEGMENT_BYTES;
    return fit < 8 ? 8 : fit > READER_ITERATORS_MAX / 2 ? READER_ITERATORS_MAX / 2 : (uint32_t)fit;
}

/* A scan in key order keeps account of each of the segments that lie above each other; that may take a sixteenth of it. Where memory is small, memtables are too, and extents hold little of each segment: so many as can be open are merged. */
static uint32_t choose_spread(const struct mote_options *options)
{
    if (options_iterators(options) < READER_ITERATORS_MAX / 2)
        return options_iterators(options);
    uint64_t fit = left_bytes(options) / 16 / SCANNED_SEGMENT_BYTES;
    return fit < 64 ? 64 : fit > SPREAD_MAX ? SPREAD_MAX : (uint32_t)fit;
}

static int check_memory(const struct mote_options *options)
{
    uint64_t planned = planned_bytes(options);
    if (planned + HEAP_BYTES_MIN <= options->memory_bytes)
        return MOTE_OK;
    return error_set(MOTE_EBUDGET,
                     "memory_bytes is %llu but memtables, cache and log stages take %llu and the rest needs %llu: raise it or lower memtable_bytes, memtable_count or cache_bytes",
                     (unsigned long long)options->memory_bytes, (unsigned long long)planned, HEAP_BYTES_MIN);
}

/* What AUTO means: the recorded choice where this is the device that was calibrated; otherwise FLUSH, and no barrier at all only where the kernel says write-through now. */
static uint32_t choose_barrier(const struct blockdev_geometry *geometry, const struct superblock *superblock)
{
    if (!geometry->write_cache)
        return MOTE_BARRIER_NONE;
    if (superblock->barrier && geometry->model[0] && strcmp(superblock->calibrated_model, geometry->model) == 0)
        return superblock->barrier;
    return MOTE_BARRIER_FLUSH;
}

static void fill_memory(struct mote_options *options, const struct preset *preset)
{
    bool own_budget = options->memory_bytes != 0;
    fill64(&options->memory_bytes, preset->memory_bytes);
    fill32(&options->memtable_count, preset->memtable_count);
    if (!own_budget || options->memory_bytes >= preset->memory_bytes) {
        fill64(&options->memtable_bytes, preset->memtable_bytes);
        fill64(&options->cache_bytes, preset->cache_bytes);
    }
    /* A smaller budget than the preset's is shared out in the same proportions: three eighths for memtables, a quarter for the cache. */
    fill64(&options->memtable_bytes, round_down(options->memory_bytes * 3 / 8 / options->memtable_count, PAGE_BYTES));
    fill64(&options->cache_bytes, round_down(options->memory_bytes / 4, PAGE_BYTES));
    options->memtable_bytes = round_up(options->memtable_bytes, PAGE_BYTES);
    options->cache_bytes = round_up(options->cache_bytes, PAGE_BYTES);
}

int options_resolve(const struct mote_options *given, const struct blockdev_geometry *geometry, const struct superblock *superblock, struct mote_options *resolved)
{
    *resolved = (struct mote_options)MOTE_OPTIONS_INIT;
    if (given) {
        size_t known = given->size_bytes < sizeof *resolved ? given->size_bytes : sizeof *resolved;
        if (given->size_bytes < sizeof(size_t))
            return error_set(MOTE_EINVAL, "options.size_bytes is %zu: begin with MOTE_OPTIONS_INIT", given->size_bytes);
        memcpy(resolved, given, known);
        resolved->size_bytes = sizeof *resolved;
    }
    if (resolved->preset > MOTE_PRESET_THROUGHPUT)
        return error_set(MOTE_EINVAL, "option preset is %u, unknown", resolved->preset);
    const struct preset *preset = &PRESETS[resolved->preset];
    fill_memory(resolved, preset);
    fill32(&resolved->workers, preset->workers);
    fill32(&resolved->tables_max, preset->tables_max);
    fill32(&resolved->cursors_max, preset->cursors_max);
    fill32(&resolved->producers_max, preset->producers_max);
    fill32(&resolved->snapshots_max, preset->snapshots_max);
    fill32(&resolved->durability, MOTE_DURABILITY_GROUP);
    fill32(&resolved->period_ms, 10);
    fill32(&resolved->blob_threshold_bytes, BLOB_THRESHOLD_BYTES);
    fill32(&resolved->wal_inflight_max, 4);
    fill32(&resolved->wal_frame_bytes_max, REQUEST_BYTES_MAX);
    fill32(&resolved->block_rows, 1024);
    fill32(&resolved->compaction_runs_max, 4);
    fill32(&resolved->compaction_spread_max, choose_spread(resolved));
    fill32(&resolved->checkpoint_period_ms, 60000);
    fill64(&resolved->checkpoint_log_bytes, superblock->layout.log_bytes_max / 2);
    fill32(&resolved->open_timeout_ms, BUSY_TIMEOUT_MS);
    if (resolved->barrier == MOTE_BARRIER_AUTO)
        resolved->barrier = choose_barrier(geometry, superblock);
    if (resolved->inline_io)
        resolved->workers = MOTE_NO_THREADS;
    int result = check_all(resolved);
    return result ? result : check_memory(resolved);
}

int mote_get_options(const mote_db *db, struct mote_options *options)
{
    int result = db_check(db);
    if (result)
        return result;
    if (!options || options->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options is NULL or its size_bytes is not set");
    size_t known = options->size_bytes < sizeof *options ? options->size_bytes : sizeof *options;
    size_t wanted = options->size_bytes;
    memcpy(options, &db->options, known);
    options->size_bytes = wanted;
    return MOTE_OK;
}
