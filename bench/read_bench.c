/* read_bench.c: point reads and scans of both layouts, with a cache that holds the index and little else, beside what the device does: random reads of 4 KiB one at a time and 32 at a time, sequential reads of 512 KiB.
 *
 *     read_bench [ROWS [PATH [SECONDS]]]
 *
 * PATH is DESTROYED: a block device or an image file (made when absent); without it a temporary image file is made and removed. ROWS rows (default 1,000,000) of 136 bytes go into each of two tables, keyed by a number: "columns" and "rows".
 * Each figure is taken for SECONDS (default 1). Ratios are to the device's own rate in the same run, which is measured before and after; CPU is of the whole process, kernel included.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/blockdev.h"
#include "blockdev/probe.h"
#include "include/mote.h"

enum { VALUES = 14, COLUMNS = VALUES + 2, BATCH_ROWS = 1024, MANY = 256, DEPTH = 32, SEQUENTIAL_DEPTH = 4, SEQUENTIAL_BYTES = 512 * 1024 };

struct bench {
    const char *path;
    char made[64]; /* the temporary image */
    int64_t rows;
    double seconds;
    uint64_t random;
    mote_db *db;
};

struct figure {
    double per_s, cpu_us, bytes_per_s;
};

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void check(int result, const char *what)
{
    struct mote_error error;
    if (result >= 0)
        return;
    mote_last_error(&error);
    fprintf(stderr, "read_bench: %s: %s: %s\n", what, mote_error_name(result), error.message);
    exit(1);
}

static uint64_t next_random(struct bench *bench)
{
    bench->random ^= bench->random >> 12;
    bench->random ^= bench->random << 25;
    bench->random ^= bench->random >> 27;
    return bench->random * 0x2545F4914F6CDD1Du;
}

static int64_t random_id(struct bench *bench) { return (int64_t)(next_random(bench) % (uint64_t)bench->rows); }

/* ---- The device ---- */

/* Reads of length_bytes, at random or one after the other, depth at a time, in the first span_bytes. */
static struct figure read_device(struct bench *bench, uint32_t length_bytes, uint32_t depth, bool sequential, uint64_t span_bytes)
{
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct blockdev_open_options options = {.read_only = true, .busy_timeout_ms = 5000};
    struct blockdev_queue_options queue_options = {.depth = DEPTH};
    struct blockdev_request requests[DEPTH], *done[DEPTH];
    uint8_t *buffers = aligned_alloc(4096, (size_t)depth * length_bytes);
    uint64_t count = 0, at = 0;
    check(blockdev_open(bench->path, &options, &device), "opening the device");
    check(blockdev_queue_create(device, &queue_options, &queue), "a queue");
    double start = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), now = start;
    for (uint32_t i = 0; i < depth; i++)
        done[i] = &requests[i];
    for (unsigned ready = depth; now - start < bench->seconds;) {
        for (unsigned i = 0; i < ready; i++) {
            struct blockdev_request *request = done[i];
            uint64_t place = sequential ? at++ : next_random(bench);
            uint8_t *buffer = buffers + (size_t)(request - requests) * length_bytes;
            *request = (struct blockdev_request){.op = BLOCKDEV_READ, .length_bytes = length_bytes, .offset_bytes = place % (span_bytes / length_bytes) * length_bytes, .buffer = buffer};
        }
        check(blockdev_submit(queue, done, ready), "submitting reads");
        int reaped = blockdev_reap(queue, depth > 8 ? 8 : 1, -1, done, DEPTH);
        check(reaped, "reaping reads");
        for (int i = 0; i < reaped; i++)
            check(done[i]->result, "a read");
        ready = (unsigned)reaped;
        count += ready;
        now = seconds_of(CLOCK_MONOTONIC);
    }
    struct figure figure = {(double)count / (now - start), (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count * 1e6, (double)count * length_bytes / (now - start)};
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(buffers);
    return figure;
}

/* ---- The tables ---- */

static void open_volume(struct bench *bench, uint64_t cache_bytes)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    options.memory_bytes = cache_bytes + 320 * MIB_BYTES;
    options.cache_bytes = cache_bytes;
    options.checkpoint_period_ms = MOTE_NEVER;
    check(mote_open(bench->path, &options, &bench->db, NULL), "opening the volume");
}

static mote_table *make_table(struct bench *bench, const char *name, uint32_t flags)
{
    struct mote_column_definition columns[COLUMNS] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}};
    char names[VALUES][8];
    const uint32_t key[] = {0};
    for (uint32_t i = 0; i < VALUES; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        columns[2 + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT64};
    }
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    schema.flags = flags;
    check(mote_table_create(bench->db, &schema, &table), "making a table");
    return table;
}

static void fill_table(struct bench *bench, mote_table *table)
{
    static int64_t ids[BATCH_ROWS], times[BATCH_ROWS];
    static double values[VALUES][BATCH_ROWS];
    struct mote_column columns[COLUMNS] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_TIMESTAMP, .values = times}};
    for (uint32_t i = 0; i < VALUES; i++)
        columns[2 + i] = (struct mote_column){.type = MOTE_TYPE_FLOAT64, .values = values[i]};
    for (int64_t id = 0; id < bench->rows;) {
        size_t count = 0;
        for (; count < BATCH_ROWS && id < bench->rows; count++, id++) {
            ids[count] = id;
            times[count] = 1700000000000000000 + id * 1000000;
            for (uint32_t i = 0; i < VALUES; i++)
                values[i][count] = (double)(id * (i + 1) % 100000) * 0.001 + (double)(next_random(bench) % 1000) * 1e-6;
        }
        struct mote_batch batch = {.row_count = count, .column_count = COLUMNS, .columns = columns};
        check(mote_append_columns(table, &batch, NULL, NULL), "appending");
    }
}

/* ---- Reads ---- */

static struct mote_value id_value(int64_t id) { return (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = id}; }

static uint64_t bytes_read(struct bench *bench)
{
    struct mote_stats stats = MOTE_INIT(struct mote_stats);
    check(mote_get_stats(bench->db, &stats), "the statistics");
    return stats.bytes_read;
}

static void expect_id(const mote_row *row, int64_t id)
{
    struct mote_value value;
    check(mote_row_value(row, 0, &value), "a value");
    if (value.as.i64 != id) {
        fprintf(stderr, "read_bench: asked for row %lld, got %lld\n", (long long)id, (long long)value.as.i64);
        exit(1);
    }
}

static struct figure run_gets(struct bench *bench, mote_table *table, size_t many)
{
    static mote_row *rows[MANY];
    static struct mote_value keys[MANY];
    static int32_t results[MANY];
    uint64_t count = 0, before = bytes_read(bench);
    double start = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), now = start;
    while (now - start < bench->seconds) {
        for (size_t i = 0; i < many; i++)
            keys[i] = id_value(random_id(bench));
        if (many == 1)
            check(mote_get(table, keys, 1, &rows[0]), "a get");
        else
            check(mote_get_many(table, keys, 1, many, rows, results), "a get of many");
        for (size_t i = 0; i < many; i++)
            expect_id(rows[i], keys[i].as.i64);
        count += many;
        if (many > 1 || count % 16 == 0)
            now = seconds_of(CLOCK_MONOTONIC);
    }
    struct figure figure = {(double)count / (now - start), (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count * 1e6, (double)(bytes_read(bench) - before) / (now - start)};
    for (size_t i = 0; i < many; i++) {
        mote_row_free(rows[i]);
        rows[i] = NULL;
    }
    return figure;
}

/* A full scan of some columns; bytes_per_s: read from the device. */
static struct figure run_scan(struct bench *bench, mote_table *table, size_t column_count)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint32_t positions[COLUMNS];
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t count = 0, before = bytes_read(bench);
    for (uint32_t i = 0; i < column_count; i++)
        positions[i] = i;
    options.columns = positions;
    options.column_count = column_count;
    double start = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    check(mote_scan(table, &options, &cursor), "a scan");
    do {
        check(mote_cursor_next(cursor, &chunk), "a chunk");
        count += chunk.row_count;
    } while (chunk.row_count);
    mote_cursor_close(cursor);
    double seconds = seconds_of(CLOCK_MONOTONIC) - start;
    if (count != (uint64_t)bench->rows) {
        fprintf(stderr, "read_bench: the scan gave %llu rows\n", (unsigned long long)count);
        exit(1);
    }
    return (struct figure){(double)count / seconds, (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count * 1e6, (double)(bytes_read(bench) - before) / seconds};
}

/* ---- Report ---- */

static void print_gets(const char *what, struct figure figure, struct figure ceiling, const char *of)
{
    printf("%-34s %10.0f/s  %6.2f us CPU  %8.0f bytes read each   %5.2f of %s\n", what, figure.per_s, figure.cpu_us, figure.bytes_per_s / figure.per_s, figure.per_s / ceiling.per_s, of);
}

static void print_scan(const char *what, struct figure figure, struct figure ceiling)
{
    printf("%-34s %10.0f rows/s  %6.3f us CPU a row  %7.1f MB/s from the device   %5.2f of sequential reads\n", what, figure.per_s, figure.cpu_us, figure.bytes_per_s / 1e6, figure.bytes_per_s / ceiling.bytes_per_s);
}

static void run_table(struct bench *bench, const char *name, struct figure single, struct figure deep, struct figure sequential)
{
    mote_table *table;
    char what[64];
    open_volume(bench, 8 * MIB_BYTES);
    check(mote_table_open(bench->db, name, &table), "the table");
    (void)run_gets(bench, table, 1); /* the index comes into the cache */
    snprintf(what, sizeof what, "%s: get, cold", name);
    print_gets(what, run_gets(bench, table, 1), single, "reads at depth 1");
    snprintf(what, sizeof what, "%s: get_many of %d, cold", name, MANY);
    print_gets(what, run_gets(bench, table, MANY), deep, "reads at depth 32");
    snprintf(what, sizeof what, "%s: scan of all columns, cold", name);
    print_scan(what, run_scan(bench, table, COLUMNS), sequential);
    snprintf(what, sizeof what, "%s: scan of two columns, cold", name);
    print_scan(what, run_scan(bench, table, 2), sequential);
    check(mote_close(bench->db), "closing");
    open_volume(bench, 512 * MIB_BYTES);
    check(mote_table_open(bench->db, name, &table), "the table");
    for (int warm = 0; warm < 2; warm++)
        (void)run_gets(bench, table, MANY);
    snprintf(what, sizeof what, "%s: get, warm", name);
    print_gets(what, run_gets(bench, table, 1), single, "reads at depth 1");
    check(mote_close(bench->db), "closing");
}

static void make_volume(struct bench *bench)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.image_size_bytes = round_up((uint64_t)bench->rows * 600, MIB_BYTES) + 256 * MIB_BYTES;
    format.sparse = bench->made[0] != 0;
    format.force = "mote";
    if (mote_format(bench->path, &format, NULL)) {
        format.force = NULL;
        check(mote_format(bench->path, &format, NULL), "formatting");
    }
    open_volume(bench, 64 * MIB_BYTES);
    mote_table *columns = make_table(bench, "columns", 0), *rows = make_table(bench, "rows", MOTE_TABLE_ROW_PAGES);
    fill_table(bench, columns);
    fill_table(bench, rows);
    check(mote_flush(bench->db), "flushing");
    check(mote_close(bench->db), "closing");
}

int main(int argc, char **argv)
{
    struct bench bench = {.rows = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000, .path = argc > 2 ? argv[2] : NULL, .random = 88172645463325252ull};
    bench.seconds = argc > 3 ? strtod(argv[3], NULL) : bench.rows < 10000 ? 0.01 : 1;
    if (bench.rows < 1 || bench.seconds <= 0) {
        fprintf(stderr, "usage: read_bench [ROWS [PATH [SECONDS]]]\nPATH is destroyed.\n");
        return 2;
    }
    if (!bench.path) {
        const char *folder = getenv("TMPDIR");
        snprintf(bench.made, sizeof bench.made, "%s/mote-read-bench-%d.img", folder && strlen(folder) < 30 ? folder : "/tmp", (int)getpid());
        bench.path = bench.made;
    }
    make_volume(&bench);
    uint64_t span_bytes = (uint64_t)bench.rows * 150 + 16 * MIB_BYTES;
    struct figure single = read_device(&bench, 4096, 1, false, span_bytes), deep = read_device(&bench, 4096, DEPTH, false, span_bytes);
    struct figure sequential = read_device(&bench, SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH, true, span_bytes);
    printf("device: 4 KiB at random, depth 1 %.0f/s (%.2f us CPU), depth 32 %.0f/s (%.2f us CPU); 512 KiB in order, depth 4 %.1f MB/s\n", single.per_s, single.cpu_us, deep.per_s, deep.cpu_us, sequential.bytes_per_s / 1e6);
    run_table(&bench, "columns", single, deep, sequential);
    run_table(&bench, "rows", single, deep, sequential);
    struct figure after = read_device(&bench, 4096, 1, false, span_bytes), deep_after = read_device(&bench, 4096, DEPTH, false, span_bytes);
    sequential = read_device(&bench, SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH, true, span_bytes);
    printf("device afterwards: depth 1 %.0f/s, depth 32 %.0f/s, in order %.1f MB/s\n", after.per_s, deep_after.per_s, sequential.bytes_per_s / 1e6);
    if (bench.made[0])
        unlink(bench.made);
    return 0;
}
