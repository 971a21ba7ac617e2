/* scan_bench.c: what a row of a cached scan costs: of whole scans, and of ranges of consecutive rows of one series, with a consumer that adds up every value and with one that looks at none.
 *
 *     scan_bench [ROWS [PATH [SECONDS [RECORDING.csv [SHAPE]]]]]
 *
 * PATH is DESTROYED: an image file (made when absent); without it (or with "") a temporary one is made and removed. ROWS rows (default 1,000,000) of 64 series are written: key (series, time, sequence) and 28 float32, those of the recording
 * (a line of names; then time and values, by commas), each series reading it from another place, or of a made-up arm. All is cached before anything is measured. Each figure is taken for SECONDS (default 1); figures are CPU time of the one
 * thread that scans. SHAPE: "all" or "range" alone, for a profiler. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"

enum { SERIES = 64, VALUES = 28, KEYS = 3, COLUMNS = KEYS + VALUES, BATCH_ROWS = 1024, RECORDED_MAX = 65536, RANGE_ROWS = 1000, LATENCIES_MAX = 1 << 20 };

struct bench {
    char path[128];
    int64_t rows;
    double seconds;
    float (*recorded)[VALUES];
    uint32_t recorded_count;
    mote_db *db;
    mote_table *table;
    double *took_ns;
};

static double now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int64_t tick_time_ns(int64_t tick) { return tick * 1000000 + (tick * 7919) % 20000; }

static void fail(const char *what)
{
    struct mote_error error;
    mote_last_error(&error);
    fprintf(stderr, "scan_bench: %s: %s\n", what, error.message);
    exit(1);
}

/* Columns beyond those of the recording repeat them, from half of it on. */
static void read_recording(struct bench *bench, const char *path)
{
    char line[1024];
    FILE *file = fopen(path, "re");
    if (!file || !fgets(line, sizeof line, file)) {
        fprintf(stderr, "scan_bench: the recording %s cannot be read\n", path);
        exit(1);
    }
    uint32_t columns = 0;
    while (bench->recorded_count < RECORDED_MAX && fgets(line, sizeof line, file)) {
        columns = 0;
        for (char *at = strchr(line, ','); at && columns < VALUES; columns++, at = *at == ',' ? at : NULL)
            bench->recorded[bench->recorded_count][columns] = strtof(at + 1, &at);
        bench->recorded_count += columns > 0;
    }
    fclose(file);
    for (uint32_t i = 0; i < bench->recorded_count; i++)
        for (uint32_t c = columns; columns > 0 && c < VALUES; c++)
            bench->recorded[i][c] = bench->recorded[(i + bench->recorded_count / 2) % bench->recorded_count][c % columns];
}

static void make_recording(struct bench *bench)
{
    for (bench->recorded_count = 0; bench->recorded_count < 20544; bench->recorded_count++)
        for (uint32_t c = 0; c < VALUES; c++) {
            double t = bench->recorded_count * 1e-3, value = 1.2 * sin((1.3 + 0.1 * c) * t) + 0.4 * sin(5.1 * t + c);
            bench->recorded[bench->recorded_count][c] = (float)(nearbyint(value * 1e5) / 1e5);
        }
}

/* Row i of all: of the series i % 64, at the tick i / 64. */
static void write_rows(struct bench *bench)
{
    static int32_t series[BATCH_ROWS], sequence[BATCH_ROWS];
    static int64_t time_ns[BATCH_ROWS];
    static float values[VALUES][BATCH_ROWS];
    for (int64_t n = 0; n < bench->rows; n += BATCH_ROWS) {
        uint32_t count = bench->rows - n < BATCH_ROWS ? (uint32_t)(bench->rows - n) : BATCH_ROWS;
        struct mote_column columns[COLUMNS] = {{MOTE_TYPE_INT32, 1, series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 1, time_ns, NULL, NULL}, {MOTE_TYPE_INT32, 1, sequence, NULL, NULL}};
        for (uint32_t i = 0; i < count; i++) {
            int64_t tick = (n + i) / SERIES;
            series[i] = (int32_t)((n + i) % SERIES);
            sequence[i] = (int32_t)tick;
            time_ns[i] = tick_time_ns(tick);
            const float *row = bench->recorded[((uint64_t)tick + (uint64_t)series[i] * (bench->recorded_count / SERIES)) % bench->recorded_count];
            for (uint32_t c = 0; c < VALUES; c++)
                values[c][i] = row[c];
        }
        for (uint32_t c = 0; c < VALUES; c++)
            columns[KEYS + c] = (struct mote_column){MOTE_TYPE_FLOAT32, 1, values[c], NULL, NULL};
        struct mote_batch batch = {count, COLUMNS, columns, NULL};
        struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
        how.durability = MOTE_DURABILITY_NONE;
        if (mote_append_columns(bench->table, &batch, &how, NULL))
            fail("rows were not appended");
    }
}

static void make_volume(struct bench *bench)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_column_definition columns[COLUMNS] = {{"series", MOTE_TYPE_INT32, 0, 0, 0, {0}}, {"time", MOTE_TYPE_TIMESTAMP, 0, 0, 0, {0}}, {"sequence", MOTE_TYPE_INT32, 0, 0, 0, {0}}};
    static const uint32_t key[KEYS] = {0, 1, 2};
    static char names[VALUES][16];
    format.image_size_bytes = (uint64_t)bench->rows * 400 / 4096 * 4096 + (64u << 20);
    options.memory_bytes = (uint64_t)bench->rows * 500 + (128u << 20);
    options.cache_bytes = (uint64_t)bench->rows * 128 + (64u << 20);
    for (uint32_t c = 0; c < VALUES; c++) {
        snprintf(names[c], sizeof names[c], "v%u", c);
        columns[KEYS + c] = (struct mote_column_definition){.name = names[c], .type = MOTE_TYPE_FLOAT32};
    }
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = KEYS;
    schema.time_column = 1;
    unlink(bench->path);
    if (mote_format(bench->path, &format, NULL) || mote_open(bench->path, &options, &bench->db, NULL) || mote_table_create(bench->db, &schema, &bench->table))
        fail("no volume");
    write_rows(bench);
    if (mote_flush(bench->db) || mote_compact(bench->db, NULL) || mote_checkpoint(bench->db))
        fail("the volume did not settle");
}

static uint64_t add_up(const struct mote_chunk *chunk)
{
    uint64_t sum = 0;
    for (uint32_t c = 0; c < chunk->column_count; c++) {
        const uint32_t *words = chunk->columns[c].values;
        size_t count = chunk->row_count * (chunk->columns[c].type == MOTE_TYPE_TIMESTAMP ? 2 : 1);
        uint32_t column_sum = 0;
        for (size_t i = 0; i < count; i++)
            column_sum += words[i];
        sum += column_sum * (c + 1ull);
    }
    return sum;
}

static uint64_t scan(struct bench *bench, const struct mote_scan_options *options, bool sums, uint64_t *sum)
{
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t rows = 0;
    int result;
    if (mote_scan(bench->table, options, &cursor))
        fail("no cursor");
    while (!(result = mote_cursor_next(cursor, &chunk)) && chunk.row_count > 0) {
        rows += chunk.row_count;
        *sum += sums ? add_up(&chunk) : 0;
    }
    mote_cursor_close(cursor);
    if (result)
        fail("the scan failed");
    return rows;
}

/* Long scans read beside the cache, ranges through it. */
static void warm(struct bench *bench)
{
    uint64_t rows = 0, sum = 0;
    for (int32_t series = 0; series < SERIES; series++) {
        for (int64_t tick = 0; tick * SERIES + series < bench->rows; tick += RANGE_ROWS) {
            struct mote_value from[2] = {{.type = MOTE_TYPE_INT32, .as.i32 = series}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = tick_time_ns(tick)}};
            struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
            options.key_prefix = options.key_from = from;
            options.key_prefix_count = 1;
            options.key_from_count = 2;
            options.limit = RANGE_ROWS;
            rows += scan(bench, &options, true, &sum);
        }
    }
    if (rows != (uint64_t)bench->rows)
        fail("not all rows were found");
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void measure(struct bench *bench, bool range, bool sums)
{
    uint64_t rows = 0, sum = 0, random = 88172645463325252u, count = 0;
    int64_t ticks = bench->rows / SERIES;
    double begin = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    do {
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        struct mote_value from[2] = {{.type = MOTE_TYPE_INT32}, {.type = MOTE_TYPE_TIMESTAMP}};
        if (range) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            int64_t tick = (int64_t)(random >> 8) % (ticks > RANGE_ROWS ? ticks - RANGE_ROWS + 1 : 1);
            from[0].as.i32 = (int32_t)(random % SERIES);
            from[1].as.i64 = tick_time_ns(tick);
            options.key_prefix = from;
            options.key_prefix_count = 1;
            options.key_from = from;
            options.key_from_count = 2;
            options.limit = RANGE_ROWS;
        }
        double start = now_ns(CLOCK_MONOTONIC);
        rows += scan(bench, &options, sums, &sum);
        bench->took_ns[count++] = now_ns(CLOCK_MONOTONIC) - start;
    } while (now_ns(CLOCK_MONOTONIC) - begin < bench->seconds * 1e9 && count < LATENCIES_MAX);
    cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    qsort(bench->took_ns, count, sizeof *bench->took_ns, compare);
    printf("%-22s %-12s %6.2f ns CPU a row, p50 %9.1f us a scan, %llu scans\n", range ? "1,000 rows of a series" : "all rows", sums ? "added up" : "not read", cpu / (double)rows, bench->took_ns[count / 2] / 1e3, (unsigned long long)count);
    if (sums && !range)
        printf("   sum of a scan: %llx\n", (unsigned long long)(sum / count));
}

int main(int argc, char **argv)
{
    struct bench bench = {.rows = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000};
    const char *folder = getenv("TMPDIR"), *shape = argc > 5 ? argv[5] : "";
    bool given = argc > 2 && argv[2][0];
    bench.seconds = argc > 3 ? strtod(argv[3], NULL) : bench.rows < 100000 ? 0.01 : 1;
    bench.recorded = calloc(RECORDED_MAX, sizeof *bench.recorded);
    bench.took_ns = calloc(LATENCIES_MAX, sizeof *bench.took_ns);
    if (bench.rows < SERIES || bench.seconds <= 0 || !bench.recorded || !bench.took_ns) {
        fprintf(stderr, "usage: scan_bench [ROWS [PATH [SECONDS [RECORDING.csv [all|range]]]]]; 64 rows at least\nPATH is destroyed.\n");
        return 2;
    }
    if (given)
        snprintf(bench.path, sizeof bench.path, "%s", argv[2]);
    else
        snprintf(bench.path, sizeof bench.path, "%s/mote-scan-bench-%d.img", folder && strlen(folder) < 60 ? folder : "/tmp", (int)getpid());
    if (argc > 4 && argv[4][0])
        read_recording(&bench, argv[4]);
    else
        make_recording(&bench);
    make_volume(&bench);
    warm(&bench);
    for (int range = 0; range < 2; range++)
        for (int sums = 1; sums >= 0; sums--)
            if (!shape[0] || strcmp(shape, range ? "range" : "all") == 0)
                measure(&bench, range, sums);
    if (mote_close(bench.db))
        fail("the volume did not close");
    if (!given)
        unlink(bench.path);
    return 0;
}
