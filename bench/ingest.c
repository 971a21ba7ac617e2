/* ingest.c: durable ingest of 128-byte sensor rows at 1, 64 and 1024 rows a commit, beside the device's ceiling for the same bytes, in interleaved rounds on one device.
 *
 *     mote-bench-ingest [--seconds S] [--rounds N] [--batches 1,64,1024] [--barrier flush|fua] [--size BYTES] [--json] PATH
 *
 * PATH is DESTROYED: a block device, or an image file (made when absent). Row: series int32, time, sequence int32 (the key), 14 float64 of a made-up arm; 64 series in turn.
 * Ceiling: one writer, depth 1, the same bytes plus a 64-byte header rounded up to 4 KiB, the same barrier, through the same backend, registered buffers. Each figure is the median over rounds; the spread is min and max.
 * mote: one committer that waits for each commit (SYNC), flush and tables under way; the time includes no final flush. Exit: 0, 1 on any error.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "blockdev/blockdev.h"
#include "blockdev/probe.h"
#include "mote.h"

#define VALUES 14u
#define ROW_BYTES 128u
#define SERIES 64u
#define BATCH_MAX 2048u
#define ROUNDS_MAX 32u
#define BATCHES_MAX 8u

struct setup {
    const char *path;
    double seconds;
    unsigned rounds, batch_count;
    unsigned batches[BATCHES_MAX];
    uint32_t barrier;
    uint64_t size_bytes;
    bool json;
};

struct figure {
    double rows_per_s[ROUNDS_MAX];
};

struct cell {
    struct figure ceiling, mote;
    double cpu_s_per_million, commit_us_p50, commit_us_p99, write_amplification;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int fail(const char *what)
{
    struct mote_error error;
    mote_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.message);
    return 1;
}

/* ---- Ceiling ---- */

/* One durable write of length_bytes at offset; returns 0 or a negative code. */
static int write_durably(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint32_t length_bytes, uint32_t barrier)
{
    struct blockdev_request write = {.op = BLOCKDEV_WRITE, .offset_bytes = offset_bytes, .buffer = buffer, .length_bytes = length_bytes};
    struct blockdev_request flush = {.op = BLOCKDEV_FLUSH};
    struct blockdev_request *requests[2] = {&write, &flush}, *done[2];
    unsigned count = barrier == MOTE_BARRIER_FUA ? 1 : 2, got = 0;
    write.flags = barrier == MOTE_BARRIER_FUA ? BLOCKDEV_FUA : BLOCKDEV_LINK;
    int result = blockdev_submit(queue, requests, count);
    while (result >= 0 && got < count) {
        result = blockdev_reap(queue, count - got, -1, done, 2);
        got += result > 0 ? (unsigned)result : 0;
    }
    return result < 0 ? result : write.result ? write.result : flush.result;
}

static int run_ceiling(const struct setup *setup, unsigned batch, double *rows_per_s)
{
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct blockdev_open_options how = {.busy_timeout_ms = 2000};
    uint32_t length_bytes = (uint32_t)round_up((uint64_t)batch * ROW_BYTES + 64, PAGE_BYTES);
    uint8_t *buffer = aligned_alloc(PAGE_BYTES, length_bytes);
    if (!buffer || blockdev_open(setup->path, &how, &device))
        return fail("cannot open for the ceiling");
    struct blockdev_queue_options options = {.depth = 8, .registered_base = buffer, .registered_bytes = length_bytes};
    memset(buffer, 0x5a, length_bytes);
    if (blockdev_queue_create(device, &options, &queue))
        return fail("cannot make a queue");
    uint64_t begin_bytes = 2 * MIB_BYTES, offset_bytes = begin_bytes, commits = 0;
    uint64_t end_bytes = round_down(blockdev_geometry(device)->size_bytes, PAGE_BYTES) - MIB_BYTES;
    double begin = seconds_now(), elapsed = 0;
    while (elapsed < setup->seconds) {
        if (write_durably(queue, offset_bytes, buffer, length_bytes, setup->barrier))
            return fail("ceiling");
        offset_bytes += length_bytes;
        if (offset_bytes + length_bytes > end_bytes)
            offset_bytes = begin_bytes;
        commits++;
        elapsed = seconds_now() - begin;
    }
    *rows_per_s = (double)commits * batch / elapsed;
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(buffer);
    return 0;
}

/* ---- mote ---- */

struct rows {
    int32_t series[BATCH_MAX], sequence[BATCH_MAX];
    int64_t time_ns[BATCH_MAX];
    double values[VALUES][BATCH_MAX];
};

/* Smooth joint values with four decimals, as an encoder's driver gives them. */
static void fill_rows(struct rows *rows, unsigned batch, uint64_t first)
{
    for (unsigned i = 0; i < batch; i++) {
        uint64_t n = first + i;
        uint64_t tick = n / SERIES;
        rows->series[i] = (int32_t)(n % SERIES);
        rows->sequence[i] = (int32_t)tick;
        rows->time_ns[i] = (int64_t)(tick * 1000000);
        uint64_t phase = tick * 7 + (uint64_t)rows->series[i] * 131;
        for (unsigned v = 0; v < VALUES; v++) {
            int64_t wave = (int64_t)((phase * (v + 3)) % 62832);
            wave = wave < 31416 ? wave : 62832 - wave;
            rows->values[v][i] = (double)(wave - 15708) / 1e4;
        }
    }
}

static int create_table(mote_db *db, mote_table **table)
{
    static const char *const names[VALUES] = {"q1", "q2", "q3", "q4", "q5", "q6", "q7", "dq1", "dq2", "dq3", "dq4", "dq5", "dq6", "dq7"};
    struct mote_column_definition columns[3 + VALUES] = {{"series", MOTE_TYPE_INT32, 0, 0, 0, {0}}, {"time", MOTE_TYPE_TIMESTAMP, 0, 0, 0, {0}}, {"sequence", MOTE_TYPE_INT32, 0, 0, 0, {0}}};
    static const uint32_t key[] = {0, 1, 2};
    for (unsigned v = 0; v < VALUES; v++)
        columns[3 + v] = (struct mote_column_definition){.name = names[v], .type = MOTE_TYPE_FLOAT64};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = "sensor";
    schema.columns = columns;
    schema.column_count = 3 + VALUES;
    schema.key_columns = key;
    schema.key_column_count = 3;
    schema.time_column = 1;
    return mote_table_create(db, &schema, table);
}

static int ingest(const struct setup *setup, mote_table *table, unsigned batch, double *rows_per_s, double *cpu)
{
    static struct rows rows;
    struct mote_column columns[3 + VALUES] = {{MOTE_TYPE_INT32, 0, rows.series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 0, rows.time_ns, NULL, NULL}, {MOTE_TYPE_INT32, 0, rows.sequence, NULL, NULL}};
    for (unsigned v = 0; v < VALUES; v++)
        columns[3 + v] = (struct mote_column){MOTE_TYPE_FLOAT64, 0, rows.values[v], NULL, NULL};
    struct mote_batch given = {.row_count = batch, .column_count = 3 + VALUES, .columns = columns};
    struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
    sync.durability = MOTE_DURABILITY_SYNC;
    uint64_t written = 0;
    double generating = 0, cpu_begin = cpu_seconds(), begin = seconds_now(), elapsed = 0;
    while (elapsed < setup->seconds) {
        double before = seconds_now();
        fill_rows(&rows, batch, written);
        generating += seconds_now() - before;
        if (mote_append_columns(table, &given, &sync, NULL))
            return fail("append");
        written += batch;
        elapsed = seconds_now() - begin - generating;
    }
    *rows_per_s = (double)written / elapsed;
    *cpu = (cpu_seconds() - cpu_begin - generating) / ((double)written / 1e6);
    return 0;
}

static int run_mote(const struct setup *setup, unsigned batch, unsigned round, struct cell *cell)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    mote_db *db;
    mote_table *table;
    struct mote_layout layout;
    format.image_size_bytes = setup->size_bytes;
    if (mote_format(setup->path, &format, &layout) == MOTE_EFOREIGN) {
        format.force = layout.found; /* the device was named to be destroyed */
        if (mote_format(setup->path, &format, NULL))
            return fail("format");
    }
    options.barrier = setup->barrier;
    if (mote_open(setup->path, &options, &db, NULL) || create_table(db, &table))
        return fail("open");
    if (ingest(setup, table, batch, &cell->mote.rows_per_s[round], &cell->cpu_s_per_million))
        return 1;
    if (mote_flush(db) || mote_get_stats(db, &stats))
        return fail("flush");
    cell->commit_us_p50 = (double)stats.commit_ns_p50 / 1e3;
    cell->commit_us_p99 = (double)stats.commit_ns_p99 / 1e3;
    cell->write_amplification =
        (double)(stats.bytes_wal + stats.bytes_flush + stats.bytes_compaction + stats.bytes_index + stats.bytes_manifest + stats.bytes_superblock) / ((double)stats.rows_appended * ROW_BYTES);
    return mote_close(db) ? fail("close") : 0;
}

/* ---- Report ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(struct figure *figure, unsigned rounds)
{
    qsort(figure->rows_per_s, rounds, sizeof figure->rows_per_s[0], compare);
    return figure->rows_per_s[rounds / 2];
}

static void report(const struct setup *setup, struct cell *cells)
{
    const char *barrier = setup->barrier == MOTE_BARRIER_FUA ? "fua" : "flush";
    printf(setup->json ? "{\"barrier\": \"%s\", \"rounds\": %u, \"row_bytes\": 128, \"cells\": [\n" : "barrier %s, %u rounds, 128-byte rows, one committer that waits\n", barrier, setup->rounds);
    if (!setup->json)
        printf("%8s %14s %14s %7s %26s %12s %12s %8s %10s\n", "rows", "ceiling", "mote", "ratio", "mote min .. max", "commit p50", "commit p99", "written", "CPU s/M");
    for (unsigned i = 0; i < setup->batch_count; i++) {
        struct cell *cell = &cells[i];
        double ceiling = median(&cell->ceiling, setup->rounds), mote = median(&cell->mote, setup->rounds);
        double low = cell->mote.rows_per_s[0], high = cell->mote.rows_per_s[setup->rounds - 1];
        if (setup->json)
            printf("%s{\"batch\": %u, \"ceiling_rows_per_s\": %.0f, \"mote_rows_per_s\": %.0f, \"ratio\": %.3f, \"mote_min\": %.0f, \"mote_max\": %.0f, \"commit_us_p50\": %.1f, \"commit_us_p99\": %.1f, \"write_amplification\": %.3f, \"cpu_s_per_million\": %.3f}\n",
                   i ? ", " : "", setup->batches[i], ceiling, mote, mote / ceiling, low, high, cell->commit_us_p50, cell->commit_us_p99, cell->write_amplification, cell->cpu_s_per_million);
        else
            printf("%8u %12.0f/s %12.0f/s %7.2f %12.0f ..%12.0f %9.0f us %9.0f us %7.2fx %10.3f\n", setup->batches[i], ceiling, mote, mote / ceiling, low, high, cell->commit_us_p50, cell->commit_us_p99,
                   cell->write_amplification, cell->cpu_s_per_million);
    }
    if (setup->json)
        printf("]}\n");
}

static int parse_batches(struct setup *setup, char *list)
{
    setup->batch_count = 0;
    for (char *token = strtok(list, ","); token; token = strtok(NULL, ",")) {
        unsigned long batch = strtoul(token, NULL, 10);
        if (batch < 1 || batch > BATCH_MAX || setup->batch_count == BATCHES_MAX)
            return -1;
        setup->batches[setup->batch_count++] = (unsigned)batch;
    }
    return setup->batch_count ? 0 : -1;
}

static int parse(int argc, char **argv, struct setup *setup)
{
    static const struct option options[] = {{"seconds", 1, NULL, 's'}, {"rounds", 1, NULL, 'r'}, {"batches", 1, NULL, 'b'}, {"barrier", 1, NULL, 'f'}, {"size", 1, NULL, 'z'}, {"json", 0, NULL, 'j'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            setup->seconds = strtod(optarg, NULL);
        else if (option == 'r')
            setup->rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'b' && parse_batches(setup, optarg))
            return -1;
        else if (option == 'f')
            setup->barrier = strcmp(optarg, "fua") == 0 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
        else if (option == 'z')
            setup->size_bytes = strtoull(optarg, NULL, 10);
        else if (option == 'j')
            setup->json = true;
        else if (option == '?')
            return -1;
    }
    if (optind + 1 != argc || setup->rounds < 1 || setup->rounds > ROUNDS_MAX || setup->seconds <= 0)
        return -1;
    setup->path = argv[optind];
    return 0;
}

int main(int argc, char **argv)
{
    struct setup setup = {.seconds = 2, .rounds = 3, .batch_count = 3, .batches = {1, 64, 1024}, .barrier = MOTE_BARRIER_FUA, .size_bytes = 2048ull * MIB_BYTES};
    static struct cell cells[BATCHES_MAX];
    if (parse(argc, argv, &setup)) {
        fprintf(stderr, "usage: mote-bench-ingest [--seconds S] [--rounds N] [--batches 1,64,1024] [--barrier flush|fua] [--size BYTES] [--json] PATH\nPATH is destroyed.\n");
        return 2;
    }
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.image_size_bytes = setup.size_bytes;
    mote_format(setup.path, &format, NULL); /* makes an image where there is none; whatever else is wrong shows below */
    for (unsigned round = 0; round < setup.rounds; round++) {
        for (unsigned i = 0; i < setup.batch_count; i++) {
            if (run_ceiling(&setup, setup.batches[i], &cells[i].ceiling.rows_per_s[round]) || run_mote(&setup, setup.batches[i], round, &cells[i]))
                return 1;
        }
    }
    report(&setup, cells);
    return 0;
}
