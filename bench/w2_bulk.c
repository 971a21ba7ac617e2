/* w2_bulk.c: bulk ingest: batches of 1,024 rows that need not be durable one by one, one sync at the end, then the time until everything is flushed and settled. Whole tables are dropped
 * as it goes, so that it can go on for longer than the device is large: at most TABLES_LIVE tables of an eighth of the device's size in raw rows.
 *
 * Ceiling: direct writes of the raw bytes, 512 KiB a request, eight under way, one FLUSH at the end; written/raw 1.
 */
#include <stdlib.h>

#include "bench/ceiling.h"
#include "bench/engine.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

enum { TABLES_LIVE = 3, TABLE_SHARE = 8 };

static const struct metric metrics[] = {{"rows_per_s", "rows/s durable", false},
                                        {"settled_rows_per_s", "rows/s settled", false},
                                        {"cpu_s_per_million", "CPU s/M rows", true},
                                        {"machine_cpu_s_per_million", "machine CPU s/M", true},
                                        {"written_per_raw", "written/raw", true},
                                        {"space_per_row", "bytes/row on device", true},
                                        {"seconds", "seconds", false},
                                        {NULL, NULL, false}};
static const enum row_kind recorded = ROWS_RECORDED, random_floats = ROWS_RANDOM;
static const struct bench_case cases[] = {{"recorded", &recorded}, {"random floats", &random_floats}};

/* At least 20 s, unless a quick look is all that is wanted. */
static double seconds_of(const struct run *run)
{
    return run->options->quick || run->options->seconds >= 20 ? run->options->seconds : run->options->seconds * 10;
}

static int run_device(struct run *run)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0};
    double cpu = cpu_seconds(), machine = machine_cpu_seconds();
    int code = ceiling_open(&ceiling, run->path, REQUEST_BYTES_MAX, MOTE_BARRIER_NONE /* but for the one at the end */);
    if (!code)
        code = ceiling_write(&ceiling, REQUEST_BYTES_MAX, 8, seconds_of(run), &result);
    uint64_t flush_ns = clock_ns();
    if (!code && blockdev_flush(ceiling.queue))
        code = bench_fail_mote("cannot flush");
    if (!code) {
        double seconds = result.seconds + (double)(clock_ns() - flush_ns) / 1e9, rows = (double)result.count * REQUEST_BYTES_MAX / ROW_BYTES;
        run_emit(run, NULL, "rows_per_s", rows / seconds, "raw bytes, 8 writes of 512 KiB under way");
        run_emit(run, NULL, "settled_rows_per_s", rows / seconds, NULL);
        run_emit(run, NULL, "cpu_s_per_million", (cpu_seconds() - cpu) / rows * 1e6, NULL);
        run_emit(run, NULL, "machine_cpu_s_per_million", (machine_cpu_seconds() - machine) / rows * 1e6, NULL);
        run_emit(run, NULL, "written_per_raw", 1, NULL);
        run_emit(run, NULL, "space_per_row", ROW_BYTES, NULL);
        run_emit(run, NULL, "seconds", seconds, NULL);
    }
    recorder_close(&result.latency);
    ceiling_close(&ceiling);
    return code;
}

struct progress {
    uint64_t table_rows, rows, rows_in_table, tables, dropped;
};

static int ingest(struct run *run, void *state, struct row_source *source, uint64_t end_ns, struct progress *progress)
{
    while (clock_ns() < end_ns) {
        if (progress->rows_in_table >= progress->table_rows) {
            if (progress->tables - progress->dropped == TABLES_LIVE) {
                if (run->engine->drop_table(state))
                    return -1;
                progress->dropped++;
            }
            if (run->engine->next_table(state))
                return -1;
            progress->tables++;
            progress->rows_in_table = 0;
        }
        if (run->engine->put(state, 0, rows_next(source, BATCH_ROWS_MAX), BATCH_ROWS_MAX, PUT_LAZY, NULL))
            return -1;
        progress->rows += BATCH_ROWS_MAX;
        progress->rows_in_table += BATCH_ROWS_MAX;
    }
    return 0;
}

static int measure(struct run *run, void *state, struct row_source *source)
{
    struct progress progress = {.table_rows = round_up(run->options->size_bytes / TABLE_SHARE / ROW_BYTES, BATCH_ROWS_MAX), .tables = 1};
    double cpu = cpu_seconds(), machine = machine_cpu_seconds();
    uint64_t begin_ns = clock_ns(), settled_ns, space_bytes;
    if (ingest(run, state, source, begin_ns + (uint64_t)(seconds_of(run) * 1e9), &progress) || run->engine->sync(state))
        return -1;
    uint64_t durable_ns = clock_ns();
    if (run->engine->settle(state, &settled_ns))
        return -1;
    double rows = (double)progress.rows, cpu_used = cpu_seconds() - cpu, machine_used = machine_cpu_seconds() - machine;
    if (run->engine->space(state, &space_bytes))
        return -1;
    double live = (double)(progress.rows_in_table + (progress.tables - progress.dropped - 1) * progress.table_rows);
    run_emit(run, NULL, "rows_per_s", rows / ((double)(durable_ns - begin_ns) / 1e9), NULL);
    run_emit(run, NULL, "settled_rows_per_s", rows / ((double)(settled_ns - begin_ns) / 1e9), NULL);
    run_emit(run, NULL, "cpu_s_per_million", cpu_used / rows * 1e6, NULL);
    run_emit(run, NULL, "machine_cpu_s_per_million", machine_used / rows * 1e6, NULL);
    run_emit(run, NULL, "space_per_row", (double)space_bytes / live, NULL);
    run_emit(run, NULL, "seconds", (double)(settled_ns - begin_ns) / 1e9, NULL);
    run_emit_raw(run, NULL, progress.rows * ROW_BYTES);
    return 0;
}

static int run_engine(struct run *run)
{
    struct row_source source = {0};
    void *state;
    struct engine_options open = {.path = run->path, .barrier = run->barrier, .create = true};
    if (rows_open(&source, *(const enum row_kind *)run->case_data, 0, SERIES_COUNT, 1))
        return -1;
    if (run->engine->open(&open, &state)) {
        rows_close(&source);
        return -1;
    }
    int code = measure(run, state, &source);
    int closed = run->engine->close(state);
    rows_close(&source);
    return code ? code : closed;
}

const struct workload workload_w2 = {.name = "w2",
                                     .title = "W2: bulk ingest",
                                     .about = "Batches of 1,024 rows, durable by one sync at the end (rows/s durable), then until all is flushed and compacted (rows/s settled). At most three tables of "
                                              "an eighth of the device are live; the oldest is dropped as a whole. CPU: the process's user and kernel time; machine CPU: all busy processors, kernel "
                                              "threads too (and whatever else ran). written/raw: the kernel's count of bytes written to the device, to the end of a clean close.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 2,
                                     .device = run_device,
                                     .engine = run_engine};
