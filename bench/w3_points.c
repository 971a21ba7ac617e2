/* w3_points.c: random point reads with a cache of 64 MiB, within the memory cgroup: one thread, two, and several rows by one call where the engine has one. Every row is compared with what
 * was written.
 *
 * Ceiling: random reads of 4 KiB, as many under way as there are threads (or rows in a call): what a get costs when its row is in no cache.
 */
#include <pthread.h>
#include <string.h>

#include "bench/ceiling.h"
#include "bench/load.h"
#include "blockdev/base/units.h"

enum { READERS_MAX = 2, MULTI_ROWS = 32 };

static const struct metric metrics[] = {{"rows_per_s", "rows/s", false}, {"us_p50", "p50 us", true}, {"us_p99", "p99 us", true}, {"us_p999", "p99.9 us", true}, {"us_max", "max us", true}, {"cpu_us_per_row", "CPU us/row", true}, {NULL, NULL, false}};
static const struct bench_case cases[] = {{"point reads", NULL}};

struct shape {
    const char *name;
    unsigned readers, rows; /* rows of one call */
};
static const struct shape shapes[] = {{"get, 1 thread", 1, 1}, {"get, 2 threads", 2, 1}, {"multi-get of 32, 1 thread", 1, MULTI_ROWS}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static int run_device(struct run *run)
{
    for (unsigned i = 0; i < SHAPES; i++) {
        struct recorder latency = {0};
        double reads_per_s, cpu = cpu_seconds();
        if (ceiling_random_reads_per_s(run, PAGE_BYTES, shapes[i].readers * shapes[i].rows, &reads_per_s, &latency))
            return -1;
        run_emit(run, shapes[i].name, "rows_per_s", reads_per_s, "one random 4 KiB read for each row, no cache");
        run_emit(run, shapes[i].name, "cpu_us_per_row", (cpu_seconds() - cpu) * 1e6 / (double)latency.seen, NULL);
        run_emit_latency(run, shapes[i].name, &latency);
        recorder_close(&latency);
    }
    return 0;
}

struct reader {
    pthread_t thread;
    struct run *run;
    const struct loaded *loaded;
    const struct shape *shape;
    struct recorder latency;
    uint64_t end_ns, rows, state;
    unsigned number;
    int code;
};

static int read_some(struct reader *reader)
{
    const struct engine_type *engine = reader->run->engine;
    struct row wanted[MULTI_ROWS], found[MULTI_ROWS];
    struct row_key keys[MULTI_ROWS];
    unsigned count = reader->shape->rows;
    for (unsigned i = 0; i < count; i++) {
        rows_make(&reader->loaded->source, random_next(&reader->state) % reader->loaded->rows, &wanted[i]);
        keys[i] = wanted[i].key;
    }
    uint64_t begin_ns = clock_ns();
    int got = count == 1 ? engine->get(reader->loaded->state, reader->number, &keys[0], &found[0]) : engine->multi_get(reader->loaded->state, reader->number, keys, count, found);
    recorder_add(&reader->latency, clock_ns() - begin_ns);
    if (got < 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if ((unsigned)got != count || memcmp(&wanted[i], &found[i], sizeof found[i]) != 0) {
            reader->run->outbox->refused = 1;
            return bench_fail("%s: series %d, sequence %d: not found, or not what was written", engine->name, keys[i].series, keys[i].sequence);
        }
    }
    reader->rows += count;
    return 0;
}

static void *read_all(void *opaque)
{
    struct reader *reader = opaque;
    while (!reader->code && clock_ns() < reader->end_ns)
        reader->code = read_some(reader);
    return NULL;
}

/* quiet: a warm-up, which nobody is told of. */
static int measure(struct run *run, const struct loaded *loaded, const struct shape *shape, double seconds, bool quiet)
{
    struct reader readers[READERS_MAX] = {{0}};
    unsigned started = 0;
    int code = 0;
    double cpu = cpu_seconds();
    uint64_t begin_ns = clock_ns(), rows = 0;
    for (; started < shape->readers && !code; started++) {
        readers[started] = (struct reader){.run = run, .loaded = loaded, .shape = shape, .number = started, .state = started + (quiet ? 100 : 200), .end_ns = begin_ns + (uint64_t)(seconds * 1e9)};
        code = recorder_open(&readers[started].latency);
        if (!code && pthread_create(&readers[started].thread, NULL, read_all, &readers[started])) {
            code = bench_fail("cannot start a thread");
            break;
        }
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(readers[i].thread, NULL);
        code = code ? code : readers[i].code;
        rows += readers[i].rows;
        if (i > 0)
            recorder_merge(&readers[0].latency, &readers[i].latency);
    }
    double elapsed = (double)(clock_ns() - begin_ns) / 1e9;
    if (!code && !quiet) {
        run_emit(run, shape->name, "rows_per_s", (double)rows / elapsed, NULL);
        run_emit(run, shape->name, "cpu_us_per_row", (cpu_seconds() - cpu) * 1e6 / (double)rows, NULL);
        run_emit_latency(run, shape->name, &readers[0].latency);
    }
    for (unsigned i = 0; i < READERS_MAX; i++)
        recorder_close(&readers[i].latency);
    return code;
}

static int run_engine(struct run *run)
{
    struct loaded loaded;
    if (!run->engine->get)
        return 0;
    if (load_rows(run, &loaded))
        return -1;
    int code = measure(run, &loaded, &shapes[0], run->options->seconds / 2, true);
    for (unsigned i = 0; i < SHAPES && !code; i++) {
        if (shapes[i].rows == 1 || run->engine->multi_get)
            code = measure(run, &loaded, &shapes[i], run->options->seconds, false);
    }
    int closed = load_close(run, &loaded);
    return code ? code : closed;
}

const struct workload workload_w3 = {.name = "w3",
                                     .title = "W3: random point reads",
                                     .about = "Whole rows by key, uniformly at random, from a settled and reopened volume, 64 MiB of block cache, all within a memory cgroup. A call that the engine lacks has no "
                                              "line. Ceiling: one random 4 KiB read a row; a cache that holds part of the rows may beat it.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 1,
                                     .small_memory = true,
                                     .device = run_device,
                                     .engine = run_engine};
