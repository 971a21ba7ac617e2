/* w4_scans.c: 1,000 consecutive rows of a random series; all rows; one column of the 28 of all rows; that column counted and summed for each minute. In the same surroundings as the point
 * reads. The number of rows and a checksum over all that was read are compared with what was written.
 *
 * Ceiling: the raw bytes that an ideal layout had to read: a random read of 1,000 rows, sequential reads of 128 bytes a row, of 4 (one column), of 12 (time and column).
 */
#include <math.h>
#include <string.h>

#include "bench/ceiling.h"
#include "bench/load.h"
#include "blockdev/base/units.h"

enum { RANGE_ROWS = 1000, COLUMN = LOAD_MINUTE_COLUMN, CHECKED_RANGES = 20 };

static const struct metric metrics[] = {{"rows_per_s", "rows/s", false}, {"us_p50", "p50 us a scan", true}, {"us_p99", "p99 us", true}, {"us_max", "max us", true}, {"cpu_s_per_million", "CPU s/M rows", true}, {NULL, NULL, false}};
static const struct bench_case cases[] = {{"scans", NULL}};

struct shape {
    const char *name;
    bool range, one_column, by_minute;
    unsigned row_bytes; /* of an ideal layout */
};
static const struct shape shapes[] = {{"1000 rows of a series", true, false, false, ROW_BYTES}, {"all rows", false, false, false, ROW_BYTES}, {"one column of 28", false, true, false, 4}, {"one column by minute", false, true, true, 12}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static int run_device(struct run *run)
{
    struct recorder latency = {0};
    double bytes_per_s, reads_per_s, copied_per_s = ceiling_memory_bytes_per_s(run->options->seconds / 4);
    char note[NOTE_MAX_BYTES];
    if (ceiling_random_reads_per_s(run, round_up(RANGE_ROWS * ROW_BYTES, PAGE_BYTES), 1, &reads_per_s, &latency))
        return -1;
    run_emit(run, shapes[0].name, "rows_per_s", reads_per_s * RANGE_ROWS, "one random read of 128,000 bytes a scan");
    run_emit_latency(run, shapes[0].name, &latency);
    recorder_close(&latency);
    if (ceiling_sequential_bytes_per_s(run, &bytes_per_s))
        return -1;
    for (unsigned i = 1; i < SHAPES; i++) {
        double rows = (double)load_rows_count(run->options), rows_per_s = bytes_per_s / shapes[i].row_bytes;
        snprintf(note, sizeof note, "sequential reads of %u bytes a row; one thread copies %.0f such rows a second in memory", shapes[i].row_bytes, copied_per_s / shapes[i].row_bytes);
        run_emit(run, shapes[i].name, "rows_per_s", rows_per_s, note);
        run_emit(run, shapes[i].name, "us_p50", rows / rows_per_s * 1e6, NULL);
    }
    return 0;
}

static int refuse(struct run *run, const struct shape *shape, uint64_t found, uint64_t expected)
{
    run->outbox->refused = 1;
    return bench_fail("%s, %s: %llu rows found, %llu expected, or their content differs", run->engine->name, shape->name, (unsigned long long)found, (unsigned long long)expected);
}

/* Whether counts and sums are those of what was written; engines may add in another order. */
static bool minutes_agree(const struct loaded *loaded, const struct scan_result *result)
{
    for (unsigned i = 0; i < SCAN_MINUTES; i++) {
        const struct scan_minute *found = &result->minutes[i], *expected = &loaded->minutes[i];
        if (found->count != expected->count || fabs(found->sum - expected->sum) > 1e-9 * (1 + fabs(expected->sum) + (double)expected->count))
            return false;
    }
    return true;
}

/* Scans once; number counts the scans so far. Returns the rows found, or -1. */
static int64_t scan_once(struct run *run, const struct loaded *loaded, const struct shape *shape, uint64_t number, uint64_t *random, struct scan_result *result, uint64_t *took_ns)
{
    struct scan scan = {.series = -1, .column = shape->one_column ? COLUMN : -1, .by_minute = shape->by_minute};
    uint64_t expected_rows = loaded->rows, expected_sum = shape->one_column ? loaded->column_checksum[COLUMN] : loaded->checksum, first = 0;
    bool check = true;
    memset(result, 0, sizeof *result);
    if (shape->range) {
        struct row row;
        uint64_t count = loaded->ticks < RANGE_ROWS ? loaded->ticks : RANGE_ROWS;
        first = random_next(random) % (loaded->ticks - count + 1);
        scan.series = (int32_t)(random_next(random) % SERIES_COUNT);
        scan.limit = expected_rows = count;
        check = number < CHECKED_RANGES;
        expected_sum = 0;
        for (uint64_t i = 0; i < (check ? count : 1); i++) {
            rows_make(&loaded->source, (first + i) * SERIES_COUNT + (uint64_t)scan.series, &row);
            expected_sum += row_checksum(&row);
            if (i == 0)
                scan.from_ns = row.key.time_ns;
        }
        /* Equal times of neighbours would make the beginning ambiguous; the recording has a few. */
        if (check && first > 0) {
            struct row before;
            rows_make(&loaded->source, (first - 1) * SERIES_COUNT + (uint64_t)scan.series, &before);
            check = before.key.time_ns != scan.from_ns;
        }
    }
    uint64_t begin_ns = clock_ns();
    if (run->engine->scan(loaded->state, &scan, result))
        return -1;
    *took_ns = clock_ns() - begin_ns;
    bool good = shape->by_minute ? minutes_agree(loaded, result) : !check || result->checksum == expected_sum;
    if (result->rows != expected_rows || !good)
        return refuse(run, shape, result->rows, expected_rows);
    return (int64_t)result->rows;
}

static int measure(struct run *run, const struct loaded *loaded, const struct shape *shape)
{
    static struct scan_result result;
    struct recorder latency;
    uint64_t random = 11, scans = 0, rows = 0, scanning_ns = 0, took_ns = 0;
    if (recorder_open(&latency))
        return -1;
    double cpu = cpu_seconds();
    uint64_t end_ns = clock_ns() + (uint64_t)(run->options->seconds * 1e9);
    int64_t found = 0;
    do {
        found = scan_once(run, loaded, shape, scans++, &random, &result, &took_ns);
        recorder_add(&latency, took_ns);
        scanning_ns += took_ns;
        rows += found > 0 ? (uint64_t)found : 0;
    } while (found >= 0 && clock_ns() < end_ns);
    if (found >= 0) {
        run_emit(run, shape->name, "rows_per_s", (double)rows / ((double)scanning_ns / 1e9), NULL);
        run_emit(run, shape->name, "cpu_s_per_million", (cpu_seconds() - cpu) / (double)rows * 1e6, NULL);
        run_emit_latency(run, shape->name, &latency);
    }
    recorder_close(&latency);
    return found < 0 ? -1 : 0;
}

static int run_engine(struct run *run)
{
    struct loaded loaded;
    if (!run->engine->scan)
        return 0;
    if (load_rows(run, &loaded))
        return -1;
    int code = 0;
    for (unsigned i = 0; i < SHAPES && !code; i++) {
        if (!shapes[i].range || run->engine->scans_series)
            code = measure(run, &loaded, &shapes[i]);
    }
    int closed = load_close(run, &loaded);
    return code ? code : closed;
}

const struct workload workload_w4 = {.name = "w4",
                                     .title = "W4: scans",
                                     .about = "From a settled and reopened volume, within the memory cgroup. Ceiling: the raw bytes of an ideal layout: one random read of 1,000 rows; sequential reads of 128, 4 and 12 "
                                              "bytes a row. Data that are packed smaller, or cached, may beat it.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 1,
                                     .small_memory = true,
                                     .device = run_device,
                                     .engine = run_engine};
