/* w11_blobs.c: camera frames: values of 1 MiB of random bytes in a large column, one durable append each, or sixteen in a batch with one wait, from memory that is aligned as a camera's driver gives it, or not; then all of them read back by key. How fast they go in beside the device's sequential writes, and
 * the bytes written for each byte of a value, by mote's own counters after a checkpoint and, on a block device, by the kernel's. mote only.
 *
 * The values are made before the clock starts. Ceiling: direct writes, 512 KiB a request, eight under way, one FLUSH at the end. The run ends after its time, at least two seconds, or when half of the device is full. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/ceiling.h"
#include "bench/engine.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

enum { VALUE_BYTES = 1 << 20, BATCH_MAX = 16 };

struct plan {
    unsigned batch, askew_bytes; /* the values' memory begins so far behind an aligned place */
};
static const struct plan one = {1, 0}, sixteen = {BATCH_MAX, 0}, askew_one = {1, 8}, askew_sixteen = {BATCH_MAX, 8};
static const struct bench_case cases[] = {{"one append each", &one}, {"batches of 16", &sixteen}, {"one each, unaligned", &askew_one}, {"16, unaligned", &askew_sixteen}};
static const struct metric metrics[] = {{"bytes_per_s", "bytes/s durable", false},
                                        {"own_written", "written/raw, own count", true},
                                        {"written_per_raw", "written/raw, kernel's count", true},
                                        {"us_p50", "p50 us", true},
                                        {"us_p99", "p99 us", true},
                                        {"us_max", "max us", true},
                                        {"read_bytes_per_s", "bytes/s read", false},
                                        {"cpu_s_per_gib", "CPU s/GiB", true},
                                        {"values", "values", false},
                                        {NULL, NULL, false}};

static double seconds_of(const struct run *run) { return run->options->quick || run->options->seconds >= 2 ? run->options->seconds : 2; }

static int run_device(struct run *run)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0};
    int code = ceiling_open(&ceiling, run->path, REQUEST_BYTES_MAX, MOTE_BARRIER_NONE /* but for the one at the end */);
    if (!code)
        code = ceiling_write(&ceiling, REQUEST_BYTES_MAX, 8, seconds_of(run), &result);
    uint64_t flush_ns = clock_ns();
    if (!code && blockdev_flush(ceiling.queue))
        code = bench_fail_mote("cannot flush");
    if (!code)
        run_emit(run, NULL, "bytes_per_s", (double)result.count * REQUEST_BYTES_MAX / (result.seconds + (double)(clock_ns() - flush_ns) / 1e9), "8 writes of 512 KiB under way");
    recorder_close(&result.latency);
    ceiling_close(&ceiling);
    double read_bytes_per_s;
    if (!code)
        code = ceiling_sequential_bytes_per_s(run, &read_bytes_per_s);
    if (!code)
        run_emit(run, NULL, "read_bytes_per_s", read_bytes_per_s, NULL);
    return code;
}

struct frames {
    struct run *run;
    mote_db *db;
    mote_table *table;
    uint8_t *bytes; /* BATCH_MAX values and one more, of which parts serve as values: no two are the same */
    uint64_t count;
    unsigned batch;
};

static int open_table(struct frames *frames)
{
    static const uint32_t key[] = {0};
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "frame", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_error error;
    open.barrier = frames->run->barrier;
    schema.name = "camera";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.time_column = 0;
    if (mote_open(frames->run->path, &open, &frames->db, &error))
        return bench_fail("cannot open: %s", error.message);
    return mote_table_create(frames->db, &schema, &frames->table) ? bench_fail_mote("cannot create a table") : 0;
}

/* Where the value of that number lies. */
static const uint8_t *value_of(const struct frames *frames, uint64_t number) { return frames->bytes + number % (BATCH_MAX * 256) * 4096; }

static int append(struct frames *frames)
{
    struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
    how.durability = MOTE_DURABILITY_SYNC;
    if (frames->batch == 1) {
        struct mote_value row[2] = {{.type = MOTE_TYPE_TIMESTAMP, .as.i64 = (int64_t)frames->count}, {.type = MOTE_TYPE_BLOB, .as.bytes = {value_of(frames, frames->count), VALUE_BYTES}}};
        frames->count++;
        return mote_append(frames->table, row, 2, &how, NULL) ? bench_fail_mote("cannot append") : 0;
    }
    int64_t times[BATCH_MAX];
    uint32_t offsets[BATCH_MAX + 1];
    for (unsigned i = 0; i <= frames->batch; i++)
        offsets[i] = i * VALUE_BYTES;
    for (unsigned i = 0; i < frames->batch; i++)
        times[i] = (int64_t)frames->count++;
    const struct mote_column columns[] = {{.type = MOTE_TYPE_TIMESTAMP, .values = times}, {.type = MOTE_TYPE_BLOB, .values = frames->bytes, .offsets = offsets}};
    const struct mote_batch batch = {.row_count = frames->batch, .column_count = 2, .columns = columns};
    return mote_append_columns(frames->table, &batch, &how, NULL) ? bench_fail_mote("cannot append") : 0;
}

static int record(struct frames *frames)
{
    struct run *run = frames->run;
    struct recorder latency = {0};
    double cpu = cpu_seconds(), seconds = seconds_of(run);
    uint64_t begin_ns = clock_ns(), now_ns = begin_ns, most = run->options->size_bytes / 2 / VALUE_BYTES;
    int code = recorder_open(&latency);
    while (!code && frames->count + frames->batch <= most && (double)(now_ns - begin_ns) / 1e9 < seconds) {
        uint64_t before_ns = now_ns;
        code = append(frames);
        now_ns = clock_ns();
        recorder_add(&latency, now_ns - before_ns);
    }
    if (!code && frames->count > 0) {
        double gib = (double)frames->count * VALUE_BYTES / (1 << 30);
        run_emit(run, NULL, "bytes_per_s", (double)frames->count * VALUE_BYTES / ((double)(now_ns - begin_ns) / 1e9), NULL);
        run_emit(run, NULL, "cpu_s_per_gib", (cpu_seconds() - cpu) / gib, NULL);
        run_emit(run, NULL, "values", (double)frames->count, NULL);
        run_emit_latency(run, NULL, &latency);
    }
    recorder_close(&latency);
    return code;
}

static int count_written(struct frames *frames)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    if (mote_checkpoint(frames->db) || mote_get_stats(frames->db, &stats))
        return bench_fail_mote("cannot settle");
    uint64_t bytes = stats.bytes_blob + stats.bytes_wal + stats.bytes_flush + stats.bytes_compaction + stats.bytes_index + stats.bytes_manifest + stats.bytes_superblock;
    run_emit(frames->run, NULL, "own_written", (double)bytes / ((double)frames->count * VALUE_BYTES), NULL);
    run_emit_raw(frames->run, NULL, frames->count * VALUE_BYTES);
    return 0;
}

static int read_back(struct frames *frames)
{
    mote_row *row = NULL;
    uint64_t begin_ns = clock_ns();
    int code = 0;
    for (uint64_t i = 0; i < frames->count && !code; i++) {
        struct mote_value time = {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = (int64_t)i}, value;
        if (mote_get(frames->table, &time, 1, &row) || mote_row_value(row, 1, &value))
            code = bench_fail_mote("cannot read");
        const uint8_t *expected = frames->batch == 1 ? value_of(frames, i) : frames->bytes + i % frames->batch * VALUE_BYTES;
        if (!code && (value.as.bytes.size_bytes != VALUE_BYTES || memcmp(value.as.bytes.data, expected, VALUE_BYTES) != 0)) {
            frames->run->outbox->refused = 1;
            code = bench_fail("w11: value %llu is not what was written", (unsigned long long)i);
        }
    }
    mote_row_free(row);
    if (!code)
        run_emit(frames->run, NULL, "read_bytes_per_s", (double)frames->count * VALUE_BYTES / ((double)(clock_ns() - begin_ns) / 1e9), "compared as they come");
    return code;
}

static int run_engine(struct run *run)
{
    if (run->engine != &engine_mote)
        return 0; /* the peers' values of 1 MiB would pass their logs and trees; no figure rather than that one */
    const struct plan *plan = run->case_data;
    const size_t bytes_all = (BATCH_MAX + 1) * (size_t)VALUE_BYTES;
    uint8_t *memory = aligned_alloc(4096, bytes_all + 4096);
    if (!memory)
        return bench_fail("no memory");
    struct frames frames = {.run = run, .batch = plan->batch, .bytes = memory + plan->askew_bytes};
    uint64_t random = 11;
    for (size_t i = 0; i < bytes_all; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(frames.bytes + i, &word, 8);
    }
    int code = open_table(&frames);
    if (!code)
        code = record(&frames);
    if (!code)
        code = count_written(&frames);
    if (!code)
        code = read_back(&frames);
    if (frames.db && mote_close(frames.db) && !code)
        code = bench_fail_mote("cannot close");
    free(memory);
    return code;
}

const struct workload workload_w11 = {.name = "w11",
                                      .title = "W11: camera frames",
                                      .about = "Values of 1 MiB in a large column, durable one by one or sixteen at a time, from page-aligned memory and from memory that is not, beside direct sequential writes; bytes written for each byte of a value; read back by key. mote only.",
                                      .metrics = metrics,
                                      .cases = cases,
                                      .case_count = sizeof cases / sizeof cases[0],
                                      .device = run_device,
                                      .engine = run_engine};
