/* producer_bench.c: what a push costs a control loop: p50, p99, p99.9 and the worst, at 1 kHz and 48 kHz, with the engine idle and beside an ingest that appends as fast as it can.
 *
 *     producer_bench [--json] [PUSHES [PATH]]
 *
 * PUSHES: of each run (default 20000 at 1 kHz, ten times as many at 48 kHz); PATH: a volume to use, or an image file to create (default: an image file in TMPDIR, removed at the end). A record is 8 + 8 x 4 bytes.
 *
 * Each push is timed by the processor's own counter; what an empty measurement costs is printed beside and not subtracted. The loop sleeps between pushes (timer slack 1 ns), so that its caches are as cold as a real loop's; whatever interrupts or
 * preempts the thread within a push counts against it. `back to back` is the mean of pushes one after the other. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"

enum { CHANNELS = 8, INGEST_ROWS = 512, BACK_TO_BACK = 4000 };

struct record {
    int64_t time_ns;
    float channels[CHANNELS];
};

struct bench {
    mote_db *db;
    mote_table *table, *background;
    double ns_per_tick;
    bool json;
    _Atomic uint32_t stop;
    uint64_t ingested;
};

static void must(int result, const char *what)
{
    struct mote_error error = {0};
    if (result >= 0)
        return;
    mote_last_error(&error);
    fprintf(stderr, "producer_bench: %s: %s: %s\n", what, mote_error_name(result), error.message);
    exit(1);
}

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    uint32_t low, high, processor;
    __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(processor)::"memory");
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t now;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(now)::"memory");
    return now;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void measure_ticks(struct bench *bench)
{
    int64_t begin_ns = clock_ns();
    uint64_t begin = ticks();
    while (clock_ns() - begin_ns < 50000000)
        ;
    bench->ns_per_tick = (double)(clock_ns() - begin_ns) / (double)(ticks() - begin);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(const struct bench *bench, const char *name, uint64_t *samples, size_t count, const struct mote_producer_stats *stats, double ingest_rows_per_s)
{
    qsort(samples, count, sizeof *samples, compare);
    double at[4];
    const double quantiles[] = {0.5, 0.99, 0.999};
    for (int i = 0; i < 3; i++)
        at[i] = (double)samples[(size_t)((double)(count - 1) * quantiles[i])] * bench->ns_per_tick;
    at[3] = (double)samples[count - 1] * bench->ns_per_tick;
    uint64_t dropped = stats ? stats->dropped : 0, used = stats ? stats->ring_used_max : 0;
    if (bench->json)
        printf("{\"run\": \"%s\", \"pushes\": %zu, \"ns_p50\": %.1f, \"ns_p99\": %.1f, \"ns_p999\": %.1f, \"ns_max\": %.1f, \"dropped\": %llu, \"ring_used_max\": %llu, \"ingest_rows_per_s\": %.0f}\n", name, count, at[0], at[1],
               at[2], at[3], (unsigned long long)dropped, (unsigned long long)used, ingest_rows_per_s);
    else
        printf("%-28s %8.0f %8.0f %8.0f %10.0f %9llu %9llu %12.0f\n", name, at[0], at[1], at[2], at[3], (unsigned long long)dropped, (unsigned long long)used, ingest_rows_per_s);
    fflush(stdout);
}

static mote_table *make_table(mote_db *db, const char *name)
{
    static const char *const names[CHANNELS] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};
    struct mote_column_definition columns[1 + CHANNELS] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP}};
    for (unsigned i = 0; i < CHANNELS; i++)
        columns[1 + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT32};
    const uint32_t key = 0;
    struct mote_schema schema = {sizeof schema, name, columns, 1 + CHANNELS, 0, &key, 1, 0};
    mote_table *table;
    int result = mote_table_create(db, &schema, &table);
    must(result == MOTE_EEXISTS ? mote_table_open(db, name, &table) : result, "table");
    return table;
}

/* Appends batches as fast as the engine takes them; keys repeat from time to time, so that a small device never fills. */
static void *ingest(void *argument)
{
    struct bench *bench = argument;
    static int64_t times[INGEST_ROWS];
    static float values[INGEST_ROWS];
    struct mote_column columns[1 + CHANNELS] = {{.type = MOTE_TYPE_TIMESTAMP, .values = times}};
    for (unsigned i = 0; i < CHANNELS; i++)
        columns[1 + i] = (struct mote_column){.type = MOTE_TYPE_FLOAT32, .values = values};
    const struct mote_batch batch = {.row_count = INGEST_ROWS, .column_count = 1 + CHANNELS, .columns = columns};
    for (int64_t first = 0; !atomic_load(&bench->stop); first = (first + INGEST_ROWS) % 1000000) {
        for (int64_t i = 0; i < INGEST_ROWS; i++) {
            times[i] = first + i;
            values[i] = (float)(first ^ i);
        }
        int result = mote_append_columns(bench->background, &batch, NULL, NULL);
        if (result == MOTE_ENOSPC) /* the compaction is behind */
            usleep(10000);
        else
            must(result, "ingest");
        bench->ingested += result == MOTE_OK ? INGEST_ROWS : 0;
    }
    return NULL;
}

static void run_paced(struct bench *bench, const char *name, int64_t period_ns, size_t count, uint32_t ring_records, bool beside_ingest)
{
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    mote_producer *producer;
    pthread_t ingester;
    uint64_t *samples = malloc(count * sizeof *samples);
    options.ring_records = ring_records;
    options.record_bytes = sizeof(struct record);
    must(mote_producer_open(bench->table, &options, &producer), "producer");
    must(samples ? 0 : MOTE_ENOMEM, "memory");
    memset(samples, 0, count * sizeof *samples);
    atomic_store(&bench->stop, 0);
    bench->ingested = 0;
    if (beside_ingest && pthread_create(&ingester, NULL, ingest, bench) != 0)
        must(MOTE_ENOMEM, "thread");
    int64_t begin_ns = clock_ns();
    for (size_t i = 0; i < count; i++) {
        int64_t due_ns = begin_ns + (int64_t)i * period_ns;
        struct timespec until = {due_ns / 1000000000, due_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        struct record record = {.time_ns = due_ns};
        for (int c = 0; c < CHANNELS; c++)
            record.channels[c] = (float)(i + (size_t)c);
        uint64_t begin = ticks();
        int result = mote_producer_push(producer, &record);
        samples[i] = ticks() - begin;
        must(result, "push");
    }
    double seconds = (double)(clock_ns() - begin_ns) / 1e9;
    atomic_store(&bench->stop, 1);
    if (beside_ingest)
        pthread_join(ingester, NULL);
    must(mote_producer_flush(producer, MOTE_FOREVER), "flush");
    must(mote_producer_stats(producer, &stats), "stats");
    if (stats.durable + stats.dropped != count) {
        fprintf(stderr, "producer_bench: %zu pushes, but %llu rows are durable and %llu were dropped\n", count, (unsigned long long)stats.durable, (unsigned long long)stats.dropped);
        exit(1);
    }
    report(bench, name, samples, count, &stats, (double)bench->ingested / seconds);
    must(mote_producer_close(producer), "close");
    free(samples);
}

static void run_bare(struct bench *bench, size_t count)
{
    uint64_t *samples = malloc(count * sizeof *samples);
    must(samples ? 0 : MOTE_ENOMEM, "memory");
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = ticks();
        samples[i] = ticks() - begin;
    }
    report(bench, "an empty measurement", samples, count, NULL, 0);
    free(samples);
}

/* What the same loop pays for copying the record into a plain array: the floor that the machine's idle states and cold caches set. */
static void run_copy(struct bench *bench, const char *name, int64_t period_ns, size_t count)
{
    struct record *copies = malloc(count * sizeof *copies);
    uint64_t *samples = malloc(count * sizeof *samples);
    must(copies && samples ? 0 : MOTE_ENOMEM, "memory");
    memset(copies, 0, count * sizeof *copies);
    memset(samples, 0, count * sizeof *samples);
    int64_t begin_ns = clock_ns();
    for (size_t i = 0; i < count; i++) {
        int64_t due_ns = begin_ns + (int64_t)i * period_ns;
        struct timespec until = {due_ns / 1000000000, due_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        struct record record = {.time_ns = due_ns};
        uint64_t begin = ticks();
        memcpy(&copies[i], &record, sizeof record);
        __asm__ volatile("" ::"r"(copies) : "memory");
        samples[i] = ticks() - begin;
    }
    report(bench, name, samples, count, NULL, 0);
    free(samples);
    free(copies);
}

static void run_back_to_back(struct bench *bench, size_t rounds)
{
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    mote_producer *producer;
    uint64_t spent = 0, pushes = 0;
    options.ring_records = 2 * BACK_TO_BACK;
    must(mote_producer_open(bench->table, &options, &producer), "producer");
    for (size_t round = 0; round < rounds; round++) {
        struct record record = {.time_ns = (int64_t)round};
        uint64_t begin = ticks();
        for (int i = 0; i < BACK_TO_BACK; i++, record.time_ns++)
            must(mote_producer_push(producer, &record), "push");
        spent += ticks() - begin;
        pushes += BACK_TO_BACK;
        must(mote_producer_flush(producer, MOTE_FOREVER), "flush");
    }
    double ns = (double)spent * bench->ns_per_tick / (double)pushes;
    if (bench->json)
        printf("{\"run\": \"back to back\", \"pushes\": %llu, \"ns_mean\": %.1f}\n", (unsigned long long)pushes, ns);
    else
        printf("%-28s %8.1f (mean)\n", "back to back", ns);
    must(mote_producer_close(producer), "close");
}

int main(int argc, char **argv)
{
    struct bench bench = {.json = argc > 1 && strcmp(argv[1], "--json") == 0};
    argc -= bench.json;
    argv += bench.json;
    size_t pushes = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    char path[4096];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/mote-producer-bench-%d.img", folder ? folder : "/tmp", (int)getpid());
    if (argc > 2)
        snprintf(path, sizeof path, "%s", argv[2]);
    bool made = access(path, F_OK) != 0;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.image_size_bytes = pushes > 5000 ? 2ull << 30 : 256ull << 20;
    format.sparse = pushes <= 5000;
    if (made)
        must(mote_format(path, &format, NULL), path);
    must(mote_open(path, NULL, &bench.db, NULL), path);
    bench.table = make_table(bench.db, "bench_pushed");
    bench.background = make_table(bench.db, "bench_background");
    prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
    measure_ticks(&bench);
    if (!bench.json)
        printf("%-28s %8s %8s %8s %10s %9s %9s %12s\n", "ns of one push", "p50", "p99", "p99.9", "max", "dropped", "ring max", "ingest row/s");
    run_bare(&bench, 100000);
    run_back_to_back(&bench, 1 + pushes / 500);
    run_copy(&bench, "1 kHz, a plain copy", 1000000, pushes);
    run_paced(&bench, "1 kHz, idle engine", 1000000, pushes, 16384, false);
    run_paced(&bench, "1 kHz, full ingest", 1000000, pushes, 16384, true);
    run_copy(&bench, "48 kHz, a plain copy", 20833, pushes * 10);
    run_paced(&bench, "48 kHz, idle engine", 20833, pushes * 10, 48000, false);
    run_paced(&bench, "48 kHz, full ingest", 20833, pushes * 10, 48000, true);
    must(mote_close(bench.db), "close");
    if (made && argc <= 2)
        unlink(path);
    return 0;
}
