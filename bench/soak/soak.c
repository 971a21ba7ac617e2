/* soak.c: a long run on a device that is full: does anything grow, or become slower? docs/soak.md tells how to read it.
 *
 *     mote_soak [--seconds N] [--size MIB] [--csv FILE] [--force SIGNATURE] [--memory MIB] [--seed N] DEVICE
 *
 * DEVICE is a block device, whose content is destroyed if it is empty or --force names what is on it, or an image file, which is made and removed.
 * Three tables share it: `recorder` fills what is left and is recycled (a flight recorder), `bytes` keeps so many bytes, `events` expires by age. One thread commits batches, paced and unpaced phases in turn; a second one reads: searches
 * by value and by words, counts, snapshots that are taken, read and dropped, named and not; deletes. One row of twenty is late.
 * First the device is filled, unpaced, which is not measured. Then each second one line goes to the CSV file (soak_plot.py draws it). In the end the means of memory, log, segments, space and write amplification in the third and in the last quarter are printed, and the volume is verified. The exit code is not 0 if
 * a call failed that must not, or memory or segments grew by more than half; times are printed, not judged.
 * Threads: a writer, a reader, and the main thread, which takes the samples. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"

enum { BATCH = 64, SERIES = 16, LATE_PERCENT = 5, KINDS = 100, TEXT_BYTES = 96, TABLES = 3, HISTOGRAM = 64 * 16, QUARTERS = 4, PHASES = 8, FILL_PERCENT = 90 };
enum { RECORDER, BYTES, EVENTS };
#define SECOND INT64_C(1000000000)

/* Latencies: 16 steps for each power of two nanoseconds. */
struct histogram {
    _Atomic uint64_t counts[HISTOGRAM];
    _Atomic uint64_t max_ns;
};
struct soak {
    const char *path, *csv, *force;
    uint64_t size_mib, seconds, memory_mib, seed;
    bool image;
    mote_db *db;
    mote_table *tables[TABLES];
    int64_t begin_ns;
    _Atomic bool stop, failed;
    _Atomic int phase; /* 0 paced, 1 unpaced */
    _Atomic uint64_t rows, commits, late, reads, hits, snapshots, deletes, recycled_reads;
    struct histogram commit, read;
    pthread_mutex_t mutex; /* of the message of the first failure */
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % below;
}

/* false: it failed, and the run ends. */
static bool check(struct soak *soak, int result, const char *what)
{
    struct mote_error error = {0};
    if (result == MOTE_OK)
        return true;
    mote_last_error(&error);
    pthread_mutex_lock(&soak->mutex);
    if (!atomic_exchange(&soak->failed, true))
        fprintf(stderr, "mote_soak: %s: %s\n", what, error.message);
    pthread_mutex_unlock(&soak->mutex);
    atomic_store(&soak->stop, true);
    return false;
}

/* ---- Latencies ---- */

static void note(struct histogram *histogram, int64_t taken_ns)
{
    uint64_t ns = taken_ns < 16 ? 16 : (uint64_t)taken_ns, power = 63 - (uint64_t)__builtin_clzll(ns), max_ns = atomic_load(&histogram->max_ns);
    atomic_fetch_add_explicit(&histogram->counts[power * 16 + (ns >> (power - 4) & 15)], 1, memory_order_relaxed);
    while (ns > max_ns && !atomic_compare_exchange_weak(&histogram->max_ns, &max_ns, ns))
        continue;
}

struct latencies {
    uint64_t count;
    double p50_us, p99_us, p999_us, max_us;
};

/* The end of the step that it lies in. */
static double quantile(const uint64_t counts[HISTOGRAM], uint64_t count, double share, double max_us)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)count * share) + 1;
    for (unsigned i = 0; i < HISTOGRAM; i++) {
        seen += counts[i];
        double end_us = (double)((uint64_t)(16 + i % 16 + 1) << (i / 16 >= 4 ? i / 16 - 4 : 0)) / 1000;
        if (seen >= wanted && counts[i])
            return end_us < max_us ? end_us : max_us;
    }
    return 0;
}

/* Takes what was noted since the last call. */
static struct latencies take_latencies(struct histogram *histogram)
{
    uint64_t counts[HISTOGRAM];
    struct latencies latencies = {.max_us = (double)atomic_exchange(&histogram->max_ns, 0) / 1000};
    for (unsigned i = 0; i < HISTOGRAM; i++)
        latencies.count += counts[i] = atomic_exchange_explicit(&histogram->counts[i], 0, memory_order_relaxed);
    latencies.p50_us = quantile(counts, latencies.count, 0.5, latencies.max_us);
    latencies.p99_us = quantile(counts, latencies.count, 0.99, latencies.max_us);
    latencies.p999_us = quantile(counts, latencies.count, 0.999, latencies.max_us);
    return latencies;
}

/* ---- The volume ---- */

static int create_table(struct soak *soak, unsigned t, uint64_t device_bytes)
{
    static const char *const names[TABLES] = {"recorder", "bytes", "events"};
    static const uint32_t keys[] = {0, 1};
    const struct mote_column_definition columns[] = {
        {.name = "series", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "kind", .type = MOTE_TYPE_INT32},
        {.name = "x", .type = MOTE_TYPE_FLOAT64}, {.name = "y", .type = MOTE_TYPE_FLOAT64}, {.name = "text", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    struct mote_retention retention = MOTE_RETENTION_INIT;
    const uint32_t indexed = t == EVENTS ? 5 : 2;
    schema.name = names[t];
    schema.columns = columns;
    schema.column_count = 6;
    schema.key_columns = keys;
    schema.key_column_count = 2;
    schema.time_column = 1;
    index.name = "index";
    index.kind = t == EVENTS ? MOTE_INDEX_TEXT : MOTE_INDEX_COLUMN;
    index.strategy = t == EVENTS ? MOTE_INDEX_HYBRID : MOTE_INDEX_BATCH;
    index.columns = &indexed;
    index.column_count = 1;
    retention.window_ns = (int64_t)(soak->seconds / 60 + 1) * SECOND;
    retention.recycle = t == RECORDER;
    retention.bytes_max = t == BYTES ? device_bytes / 6 : 0;
    retention.age_ns = t == EVENTS ? (int64_t)(soak->seconds / 10 + 1) * SECOND : 0;
    int result = mote_table_create(soak->db, &schema, &soak->tables[t]);
    if (!result)
        result = mote_index_create(soak->tables[t], &index);
    return result ? result : mote_table_set_retention(soak->tables[t], &retention);
}

static bool make_volume(struct soak *soak)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct stat found;
    soak->image = stat(soak->path, &found) != 0;
    format.image_size_bytes = soak->image ? soak->size_mib << 20 : 0;
    format.force = soak->force;
    options.memory_bytes = soak->memory_mib << 20;
    if (!check(soak, mote_format(soak->path, &format, NULL), "format") || !check(soak, mote_open(soak->path, &options, &soak->db, NULL), "open") || !check(soak, mote_get_stats(soak->db, &stats), "statistics"))
        return false;
    for (unsigned t = 0; t < TABLES; t++)
        if (!check(soak, create_table(soak, t, stats.device_bytes), "create a table"))
            return false;
    return true;
}

/* ---- The writer ---- */

struct rows {
    int64_t series[BATCH], times[BATCH];
    int32_t kinds[BATCH];
    double x[BATCH], y[BATCH];
    uint32_t offsets[BATCH + 1];
    char text[BATCH * TEXT_BYTES];
};

static void make_rows(struct soak *soak, struct rows *rows, uint64_t *random, int64_t *newest_ns)
{
    int64_t now = now_ns(CLOCK_REALTIME);
    for (unsigned i = 0; i < BATCH; i++) {
        bool late = draw(random, 100) < LATE_PERCENT;
        *newest_ns = *newest_ns + 1 > now ? *newest_ns + 1 : now;
        rows->series[i] = (int64_t)(i % SERIES);
        rows->times[i] = late ? *newest_ns - (int64_t)draw(random, (soak->seconds / 20 + 2) * (uint64_t)SECOND) : *newest_ns;
        rows->kinds[i] = (int32_t)draw(random, KINDS);
        rows->x[i] = (double)draw(random, 1000000) / 1000;
        rows->y[i] = (double)draw(random, UINT64_C(1) << 52) / 3;
        rows->offsets[i + 1] = rows->offsets[i] + (uint32_t)snprintf(rows->text + rows->offsets[i], TEXT_BYTES, "event w%u of part w%u, state w%u", (unsigned)draw(random, 50), (unsigned)draw(random, 500), (unsigned)draw(random, 5000));
        atomic_fetch_add_explicit(&soak->late, late, memory_order_relaxed);
    }
}

static void *write_rows(void *context)
{
    struct soak *soak = context;
    struct rows *rows = calloc(1, sizeof *rows);
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    uint64_t random = soak->seed * 2 + 1;
    int64_t newest_ns = 0, due_ns = now_ns(CLOCK_MONOTONIC);
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .dimension = 1, .values = rows->series}, {.type = MOTE_TYPE_TIMESTAMP, .dimension = 1, .values = rows->times}, {.type = MOTE_TYPE_INT32, .dimension = 1, .values = rows->kinds},
                                          {.type = MOTE_TYPE_FLOAT64, .dimension = 1, .values = rows->x}, {.type = MOTE_TYPE_FLOAT64, .dimension = 1, .values = rows->y}, {.type = MOTE_TYPE_TEXT, .dimension = 1, .values = rows->text, .offsets = rows->offsets}};
    const struct mote_batch batch = {.row_count = BATCH, .column_count = 6, .columns = columns};
    options.durability = MOTE_DURABILITY_SYNC;
    for (uint64_t i = 0; !atomic_load(&soak->stop); i++) {
        unsigned t = i % 8 == 7 ? EVENTS : i % 4 == 1 ? BYTES : RECORDER;
        make_rows(soak, rows, &random, &newest_ns);
        int64_t begin_ns = now_ns(CLOCK_MONOTONIC);
        if (atomic_load(&soak->phase) == 0) {
            /* Four hundred commits a second; what was missed is not made up for. */
            due_ns = due_ns + SECOND / 400 > begin_ns ? due_ns + SECOND / 400 : begin_ns;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){due_ns / SECOND, due_ns % SECOND}, NULL);
            begin_ns = now_ns(CLOCK_MONOTONIC);
        }
        if (!check(soak, mote_append_columns(soak->tables[t], &batch, &options, NULL), "append"))
            break;
        note(&soak->commit, now_ns(CLOCK_MONOTONIC) - begin_ns);
        atomic_fetch_add(&soak->rows, BATCH);
        atomic_fetch_add(&soak->commits, 1);
        if (i % 50 == 0) {
            const struct mote_value key[] = {{.type = MOTE_TYPE_INT64, .as.i64 = rows->series[0]}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = rows->times[0]}};
            if (!check(soak, mote_delete(soak->tables[t], key, 2, NULL, NULL), "delete"))
                break;
            atomic_fetch_add(&soak->deletes, 1);
        }
    }
    free(rows);
    return NULL;
}

/* ---- The reader ---- */

/* Rows that retention took from a read are no failure. */
static bool check_read(struct soak *soak, int result, const char *what)
{
    atomic_fetch_add(&soak->recycled_reads, result == MOTE_ERECYCLED);
    return result == MOTE_ERECYCLED || check(soak, result, what);
}

static bool search(struct soak *soak, uint64_t *random, const mote_snapshot *snapshot)
{
    static const uint32_t kind_column = 2, text_column = 5;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {.kind = MOTE_TERM_EQUAL, .columns = &kind_column, .column_count = 1};
    struct mote_hit_chunk chunk = {0};
    mote_hits *hits;
    char words[64];
    bool text = draw(random, 2);
    snprintf(words, sizeof words, "w%u OR \"part w%u\"", (unsigned)draw(random, 5000), (unsigned)draw(random, 500));
    term.from = (struct mote_value){.type = MOTE_TYPE_INT32, .as.i32 = (int32_t)draw(random, KINDS)};
    if (text)
        term = (struct mote_term){.kind = MOTE_TERM_WORDS, .columns = &text_column, .column_count = 1, .words = words};
    options.terms = &term;
    options.term_count = 1;
    options.limit = 10;
    options.snapshot = snapshot;
    int64_t begin_ns = now_ns(CLOCK_MONOTONIC);
    int result = mote_search(soak->tables[text ? EVENTS : RECORDER], &options, &hits);
    if (!result) {
        result = mote_hits_next(hits, &chunk);
        mote_hits_close(hits);
    }
    note(&soak->read, now_ns(CLOCK_MONOTONIC) - begin_ns);
    atomic_fetch_add(&soak->reads, 1);
    atomic_fetch_add(&soak->hits, chunk.row_count);
    return check_read(soak, result, "search");
}

static bool count(struct soak *soak, uint64_t *random, const mote_snapshot *snapshot)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint64_t found;
    options.use_time_range = 1;
    options.time_to_ns = now_ns(CLOCK_REALTIME);
    options.time_from_ns = options.time_to_ns - (int64_t)draw(random, 10 * (uint64_t)SECOND);
    options.snapshot = snapshot;
    int64_t begin_ns = now_ns(CLOCK_MONOTONIC);
    int result = mote_count(soak->tables[draw(random, TABLES)], &options, &found);
    note(&soak->read, now_ns(CLOCK_MONOTONIC) - begin_ns);
    atomic_fetch_add(&soak->reads, 1);
    return check_read(soak, result, "count");
}

static void *read_rows(void *context)
{
    struct soak *soak = context;
    uint64_t random = soak->seed * 2 + 7;
    mote_snapshot *held = NULL;
    bool ok = true, named = false;
    for (uint64_t i = 0; ok && !atomic_load(&soak->stop); i++) {
        ok = search(soak, &random, NULL) && count(soak, &random, held) && (!held || search(soak, &random, held));
        /* A snapshot is held for about three seconds, then there is none for one; each second one has a name. */
        if (ok && i % 80 == 20) {
            ok = check(soak, mote_snapshot_take(soak->db, named ? "soak" : NULL, &held), "take a snapshot");
            atomic_fetch_add(&soak->snapshots, 1);
        }
        if (i % 80 == 79) {
            mote_snapshot_release(held);
            held = NULL;
            ok = ok && (!named || check(soak, mote_snapshot_drop(soak->db, "soak"), "drop a snapshot"));
            named = !named;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    mote_snapshot_release(held);
    return NULL;
}

/* ---- Samples ---- */

enum { FIGURE_RSS, FIGURE_MEMORY, FIGURE_LOG, FIGURE_SEGMENTS, FIGURE_USED, FIGURE_AMPLIFICATION, FIGURE_P50, FIGURE_P99, FIGURE_P999, FIGURES };
static const char *const figure_names[FIGURES] = {"RSS, MiB", "memory budget used, MiB", "log used, MiB", "segments", "space used, %", "written for each byte appended", "commit p50, us", "commit p99, us", "commit p99.9, us"};

struct sums {
    double figures[QUARTERS][FIGURES];
    uint64_t counts[QUARTERS];
};

static double rss_mib(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lu %lu", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static uint64_t written_bytes(const struct mote_stats *stats) { return stats->bytes_wal + stats->bytes_flush + stats->bytes_compaction + stats->bytes_index + stats->bytes_manifest + stats->bytes_superblock; }

/* One line for the second that has passed. before: the statistics of the line before. */
static bool sample(struct soak *soak, FILE *csv, struct mote_stats *before, int64_t *before_ns, struct sums *sums)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct latencies commit = take_latencies(&soak->commit), read = take_latencies(&soak->read);
    int64_t now = now_ns(CLOCK_MONOTONIC);
    double elapsed_s = (double)(now - soak->begin_ns) / 1e9, span_s = (double)(now - *before_ns) / 1e9;
    if (!check(soak, mote_get_stats(soak->db, &stats), "statistics"))
        return false;
    double appended = (double)(stats.bytes_appended - before->bytes_appended), written = (double)(written_bytes(&stats) - written_bytes(before));
    const double figures[FIGURES] = {rss_mib(),
                                     (double)stats.memory_used_bytes / (1 << 20),
                                     (double)stats.log_bytes_in_use / (1 << 20),
                                     (double)stats.segment_count,
                                     100 - 100 * (double)stats.extents_free / (double)stats.extents_total,
                                     appended > 0 ? written / appended : 0,
                                     commit.p50_us,
                                     commit.p99_us,
                                     commit.p999_us};
    fprintf(csv, "%.1f,%d,%.0f,%llu,%.1f,%.1f,%.1f,%.1f,%.2f,%.1f,%.1f,%.1f,%llu,%.3f,%.3f,%llu,%.1f,%.1f,%llu,%llu,%llu,%.1f\n", elapsed_s, atomic_load(&soak->phase), (double)(stats.rows_appended - before->rows_appended) / span_s,
            (unsigned long long)commit.count, commit.p50_us, commit.p99_us, commit.p999_us, commit.max_us, figures[FIGURE_USED], figures[FIGURE_RSS], figures[FIGURE_MEMORY], figures[FIGURE_LOG], (unsigned long long)stats.segment_count,
            figures[FIGURE_AMPLIFICATION], stats.bytes_appended ? (double)written_bytes(&stats) / (double)stats.bytes_appended : 0, (unsigned long long)read.count, read.p50_us, read.max_us, (unsigned long long)stats.rows_expired,
            (unsigned long long)stats.rows_recycled, (unsigned long long)stats.snapshots_open, (double)(stats.writer_stall_ns - before->writer_stall_ns) / 1e6);
    fflush(csv);
    unsigned quarter = (unsigned)(elapsed_s * QUARTERS / (double)soak->seconds);
    quarter = quarter < QUARTERS ? quarter : QUARTERS - 1;
    for (unsigned i = 0; i < FIGURES; i++)
        sums->figures[quarter][i] += figures[i];
    sums->counts[quarter]++;
    *before = stats;
    *before_ns = now;
    return true;
}

/* Until the recorder has been recycled, or the device is as full as is wanted; not for ever. */
static bool fill(struct soak *soak)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct mote_retention_info info = {.size_bytes = sizeof info};
    int64_t begin_ns = now_ns(CLOCK_MONOTONIC);
    double used_percent = 0;
    while (!atomic_load(&soak->stop) && info.rows_recycled == 0 && used_percent < FILL_PERCENT && now_ns(CLOCK_MONOTONIC) - begin_ns < 4 * (int64_t)soak->seconds * SECOND) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (!check(soak, mote_get_stats(soak->db, &stats), "statistics") || !check(soak, mote_table_get_retention(soak->tables[RECORDER], NULL, &info), "retention"))
            return false;
        used_percent = 100 - 100 * (double)stats.extents_free / (double)stats.extents_total;
    }
    printf("filled to %.0f %% in %.1f s, %llu rows recycled\n", used_percent, (double)(now_ns(CLOCK_MONOTONIC) - begin_ns) / 1e9, (unsigned long long)info.rows_recycled);
    fflush(stdout);
    (void)take_latencies(&soak->commit);
    (void)take_latencies(&soak->read);
    soak->begin_ns = now_ns(CLOCK_MONOTONIC);
    return !atomic_load(&soak->stop);
}

static bool run_samples(struct soak *soak, struct sums *sums)
{
    struct mote_stats before = {.size_bytes = sizeof before};
    int64_t before_ns = soak->begin_ns;
    FILE *csv = fopen(soak->csv, "w");
    if (!csv) {
        perror(soak->csv);
        return false;
    }
    fputs("seconds,phase,rows_per_s,commits,commit_p50_us,commit_p99_us,commit_p999_us,commit_max_us,space_percent,rss_mib,memory_mib,log_mib,segments,written_per_raw,written_per_raw_total,reads,read_p50_us,read_max_us,rows_expired,rows_recycled,"
          "snapshots,stall_ms\n", csv);
    bool ok = check(soak, mote_get_stats(soak->db, &before), "statistics");
    /* Where the whole process was stopped, seconds have no line. */
    for (uint64_t second = 1; ok && second <= soak->seconds && !atomic_load(&soak->stop); second = (uint64_t)((before_ns - soak->begin_ns + SECOND / 2) / SECOND) + 1) {
        int64_t due_ns = soak->begin_ns + (int64_t)second * SECOND;
        atomic_store(&soak->phase, (int)((second - 1) * PHASES / soak->seconds % 2 == 0));
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){due_ns / SECOND, due_ns % SECOND}, NULL);
        ok = sample(soak, csv, &before, &before_ns, sums);
    }
    fclose(csv);
    return ok;
}

/* The third quarter against the last: both have a paced and an unpaced phase, and in both the device is full. */
static bool judge(const struct soak *soak, const struct sums *sums, const struct mote_stats *stats)
{
    bool flat = true;
    printf("%llu rows in %llu commits, %llu of them late; %llu reads with %llu hits, %llu of which lost rows to retention; %llu snapshots, %llu deletes\n", (unsigned long long)soak->rows, (unsigned long long)soak->commits, (unsigned long long)soak->late,
           (unsigned long long)soak->reads, (unsigned long long)soak->hits, (unsigned long long)soak->recycled_reads, (unsigned long long)soak->snapshots, (unsigned long long)soak->deletes);
    printf("%llu rows recycled, %llu expired, %llu writer stalls; written for each byte appended %.2f\n", (unsigned long long)stats->rows_recycled, (unsigned long long)stats->rows_expired, (unsigned long long)stats->writer_stalls,
           (double)written_bytes(stats) / (double)stats->bytes_appended);
    printf("%-32s %12s %12s\n", "means of", "3rd quarter", "4th quarter");
    for (unsigned i = 0; i < FIGURES; i++) {
        double third = sums->figures[2][i] / (double)(sums->counts[2] ? sums->counts[2] : 1), last = sums->figures[3][i] / (double)(sums->counts[3] ? sums->counts[3] : 1);
        bool grows = (i == FIGURE_RSS || i == FIGURE_MEMORY || i == FIGURE_SEGMENTS) && last > 1.5 * third + 8;
        printf("%-32s %12.1f %12.1f%s\n", figure_names[i], third, last, grows ? "  grows" : "");
        flat = flat && !grows;
    }
    return flat;
}

static void report(const struct mote_error *fault, void *context)
{
    (void)context;
    fprintf(stderr, "mote_soak: %s\n", fault->message);
}

static int run(struct soak *soak)
{
    pthread_t writer, reader;
    struct sums sums = {0};
    struct mote_stats stats = {.size_bytes = sizeof stats};
    if (!make_volume(soak))
        return 1;
    atomic_store(&soak->phase, 1);
    if (pthread_create(&writer, NULL, write_rows, soak) || pthread_create(&reader, NULL, read_rows, soak)) {
        fprintf(stderr, "mote_soak: cannot start a thread\n");
        return 1;
    }
    bool ok = fill(soak) && run_samples(soak, &sums);
    atomic_store(&soak->stop, true);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    ok = ok && check(soak, mote_get_stats(soak->db, &stats), "statistics") && judge(soak, &sums, &stats);
    ok = check(soak, mote_close(soak->db), "close") && ok;
    ok = check(soak, mote_verify(soak->path, report, NULL), "verify") && ok;
    return ok && !atomic_load(&soak->failed) ? 0 : 1;
}

int main(int argument_count, char **arguments)
{
    struct soak soak = {.csv = "soak.csv", .size_mib = 1024, .seconds = 60, .seed = 1, .mutex = PTHREAD_MUTEX_INITIALIZER};
    for (int i = 1; i < argument_count; i++) {
        const char *value = i + 1 < argument_count ? arguments[i + 1] : "", *name = arguments[i];
        uint64_t number = strtoull(value, NULL, 10);
        i += strncmp(name, "--", 2) == 0;
        if (strcmp(name, "--seconds") == 0 && number > 0)
            soak.seconds = number;
        else if (strcmp(name, "--size") == 0 && number > 0)
            soak.size_mib = number;
        else if (strcmp(name, "--memory") == 0 && number > 0)
            soak.memory_mib = number;
        else if (strcmp(name, "--seed") == 0)
            soak.seed = number;
        else if (strcmp(name, "--csv") == 0 && *value)
            soak.csv = value;
        else if (strcmp(name, "--force") == 0 && *value)
            soak.force = value;
        else if (strncmp(name, "--", 2) != 0 && !soak.path)
            soak.path = name;
        else
            soak.path = NULL, i = argument_count;
    }
    if (!soak.path) {
        fprintf(stderr, "usage: mote_soak [--seconds N] [--size MIB] [--csv FILE] [--force SIGNATURE] [--memory MIB] [--seed N] DEVICE\n");
        return 2;
    }
    int code = run(&soak);
    if (soak.image)
        unlink(soak.path);
    return code;
}
