/* w7_producer.c: what a push into a producer's ring costs a control loop, at 1 kHz and at 48 kHz x 8 channels, with the engine idle and beside an ingest that appends as fast as it can
 * (in order of time, or the same million keys again and again), and what becomes of the records. mote only, through include/mote.h; the device and the other engines have nothing that could be called a push.
 *
 * A record has 40 bytes (a time and 8 float32), the ring holds 100 ms of them. The loop sleeps until each push is due, so that its caches are as cold as a real loop's; a push that is late is
 * made at once, none is left out. Each push is timed by the processor's own counter: an empty measurement is measured first, stated beside and not subtracted. Whatever interrupts or preempts
 * the thread within a push counts against it. Jitter is how far the time between the beginnings of two pushes is from the period. "Plain copy" is the same loop without an engine, with a copy
 * into an array of the ring's size: the floor that sleeping and the machine set. "Back to back" is the mean of pushes one after the other.
 *
 * Drops are counted by the loop and by the engine, and both must agree; every record taken must be durable after a flush of the producer, and be found by a scan after close and open.
 *
 * Threads: the loop is the child's only thread but for the engine's and the ingest's; struct ingest belongs to that thread until it is joined. Failures: as in bench.h.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/engine.h"
#include "include/mote.h"

enum { CHANNELS = 8, RINGS_PER_S = 10, INGEST_ROWS = 512, INGEST_VALUES = 1 << 20, BURST = 4000, SECONDS_FACTOR = 5 };
/* Rewritten keys: what an ingest in order of time never does, and what makes most work for compactions. A batch repeats none. */
static const int64_t keys_rewritten = 1 << 20, keys_ascending = INT64_MAX / INGEST_ROWS * INGEST_ROWS;

/* rate_hz 0: back to back. */
struct plan {
    uint32_t rate_hz;
    bool copies;
    const int64_t *ingest_keys; /* after how many they come round again; NULL: no ingest beside */
};
static const struct plan copy_1k = {1000, true, NULL}, idle_1k = {1000, false, NULL}, ingest_1k = {1000, false, &keys_ascending}, rewriting_1k = {1000, false, &keys_rewritten};
static const struct plan copy_48k = {48000, true, NULL}, idle_48k = {48000, false, NULL}, ingest_48k = {48000, false, &keys_ascending}, rewriting_48k = {48000, false, &keys_rewritten};
static const struct plan back_to_back = {0, false, NULL};
static const struct bench_case cases[] = {{"1 kHz, plain copy", &copy_1k},
                                          {"1 kHz, idle", &idle_1k},
                                          {"1 kHz, full ingest", &ingest_1k},
                                          {"1 kHz, rewriting ingest", &rewriting_1k},
                                          {"48 kHz x 8, plain copy", &copy_48k},
                                          {"48 kHz x 8, idle", &idle_48k},
                                          {"48 kHz x 8, full ingest", &ingest_48k},
                                          {"48 kHz x 8, rewriting ingest", &rewriting_48k},
                                          {"back to back", &back_to_back}};
static const struct metric metrics[] = {{"ns_p50", "p50 ns", true},
                                        {"ns_p99", "p99 ns", true},
                                        {"ns_p999", "p99.9 ns", true},
                                        {"ns_p9999", "p99.99 ns", true},
                                        {"ns_max", "max ns", true},
                                        {"ns_mean", "mean ns", true},
                                        {"ns_clock", "of it clock ns", true},
                                        {"jitter_us_p99", "jitter p99 us", true},
                                        {"jitter_us_max", "jitter max us", true},
                                        {"dropped", "dropped", true},
                                        {"ring_used_percent", "ring used at most %", true},
                                        {"ingest_rows_per_s", "ingest rows/s", false},
                                        {NULL, NULL, false}};

struct record {
    int64_t time_ns;
    float channels[CHANNELS];
};

/* The loop: what it pushes into, and what it has seen. */
struct loop {
    struct run *run;
    const struct plan *plan;
    uint64_t count; /* of pushes */
    uint32_t ring_records;
    mote_db *db;
    mote_table *pushed, *background;
    mote_producer *producer;
    struct record *copies; /* of a plain copy, ring_records of them */
    double ns_per_tick;
    struct recorder latency, jitter;
    double spent_ns;
    uint64_t taken, dropped, time_sum; /* time_sum: of the times of the records taken, modulo 2^64 */
};

struct ingest {
    mote_table *table;
    int64_t keys;
    _Atomic bool stop;
    pthread_t thread;
    uint64_t rows, begin_ns, full_count; /* full_count: times that it waited for space */
    int code;
};

/* ---- The clock ---- */

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
    return clock_ns();
#endif
}

static uint64_t ticks_to_ns(const struct loop *loop, uint64_t count) { return (uint64_t)((double)count * loop->ns_per_tick + 0.5); }

/* The counter's rate, and the median of empty measurements. */
static void measure_clock(struct loop *loop)
{
    enum { EMPTY_COUNT = 100000 };
    uint64_t begin_ns = clock_ns(), begin = ticks(), length_ns = loop->run->options->quick ? 10000000 : 100000000;
    while (clock_ns() - begin_ns < length_ns) {
    }
    loop->ns_per_tick = (double)(clock_ns() - begin_ns) / (double)(ticks() - begin);
    for (unsigned i = 0; i < EMPTY_COUNT; i++) {
        begin = ticks();
        recorder_add(&loop->latency, ticks_to_ns(loop, ticks() - begin));
    }
    run_emit(loop->run, NULL, "ns_clock", (double)recorder_quantile_ns(&loop->latency, 0.5), NULL);
    loop->latency.count = 0;
    loop->latency.seen = loop->latency.max_ns = 0;
    loop->latency.stride = 1;
}

/* ---- Tables ---- */

static int make_table(mote_db *db, const char *name, mote_table **table)
{
    static const char *const names[CHANNELS] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};
    static const uint32_t key[] = {0};
    struct mote_column_definition columns[1 + CHANNELS] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    for (unsigned i = 0; i < CHANNELS; i++)
        columns[1 + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT32};
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 1 + CHANNELS;
    schema.key_columns = key;
    schema.key_column_count = 1;
    return mote_table_create(db, &schema, table) ? bench_fail_mote("cannot create a table") : 0;
}

static int open_volume(struct loop *loop)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    options.barrier = loop->run->barrier;
    return mote_open(loop->run->path, &options, &loop->db, NULL) ? bench_fail_mote("cannot open") : 0;
}

static int open_producer(struct loop *loop)
{
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    options.ring_records = loop->ring_records;
    options.record_bytes = sizeof(struct record);
    if (open_volume(loop) || make_table(loop->db, "pushed", &loop->pushed) || make_table(loop->db, "background", &loop->background))
        return -1;
    return mote_producer_open(loop->pushed, &options, &loop->producer) ? bench_fail_mote("cannot open a producer") : 0;
}

/* ---- The ingest beside ---- */

static void *ingest_main(void *opaque)
{
    struct ingest *ingest = opaque;
    static int64_t times[INGEST_ROWS];
    static float values[INGEST_ROWS];
    struct mote_column columns[1 + CHANNELS] = {{.type = MOTE_TYPE_TIMESTAMP, .values = times}};
    for (unsigned i = 0; i < CHANNELS; i++)
        columns[1 + i] = (struct mote_column){.type = MOTE_TYPE_FLOAT32, .values = values};
    const struct mote_batch batch = {.row_count = INGEST_ROWS, .column_count = 1 + CHANNELS, .columns = columns};
    for (int64_t first = 0; !atomic_load(&ingest->stop) && !ingest->code; first = (first + INGEST_ROWS) % ingest->keys) {
        for (int64_t i = 0; i < INGEST_ROWS; i++) {
            times[i] = first + i;
            values[i] = (float)((first ^ i) % INGEST_VALUES);
        }
        int result = mote_append_columns(ingest->table, &batch, NULL, NULL);
        if (result == MOTE_ENOSPC) { /* the compaction is behind */
            ingest->full_count++;
            usleep(10000);
        } else if (result) {
            ingest->code = bench_fail_mote("the ingest beside cannot append");
        } else {
            ingest->rows += INGEST_ROWS;
        }
    }
    return NULL;
}

static int ingest_start(struct ingest *ingest, mote_table *table, int64_t keys)
{
    ingest->table = table;
    ingest->keys = keys;
    ingest->begin_ns = clock_ns();
    return pthread_create(&ingest->thread, NULL, ingest_main, ingest) ? bench_fail("cannot start a thread") : 0;
}

static int ingest_stop(struct ingest *ingest, struct run *run)
{
    atomic_store(&ingest->stop, true);
    pthread_join(ingest->thread, NULL);
    run_emit(run, NULL, "ingest_rows_per_s", (double)ingest->rows / ((double)(clock_ns() - ingest->begin_ns) / 1e9), NULL);
    return ingest->code;
}

/* ---- The loop ---- */

static inline void take_result(struct loop *loop, int result, int64_t time_ns)
{
    loop->dropped += result == MOTE_DROPPED;
    loop->taken += result == MOTE_OK;
    loop->time_sum += result == MOTE_OK ? (uint64_t)time_ns : 0;
}

/* copies is constant where this is called, so that no branch on it is within the measured time. */
static inline __attribute__((always_inline)) int pace(struct loop *loop, bool copies)
{
    double period_ns = 1e9 / loop->plan->rate_hz;
    uint64_t begin_ns = clock_ns() + 1000000, last = 0;
    int result = MOTE_OK;
    for (uint64_t i = 0; i < loop->count && result >= 0; i++) {
        uint64_t after_ns = i * UINT64_C(1000000000) / loop->plan->rate_hz;
        struct record record = {.time_ns = (int64_t)after_ns};
        for (unsigned c = 0; c < CHANNELS; c++)
            record.channels[c] = (float)(i + c);
        struct record *copy = copies ? &loop->copies[i % loop->ring_records] : NULL;
        sleep_until_ns(begin_ns + after_ns);
        uint64_t begin = ticks();
        if (copies) {
            memcpy(copy, &record, sizeof record);
            __asm__ volatile("" ::"r"(copy) : "memory");
        } else {
            result = mote_producer_push(loop->producer, &record);
        }
        uint64_t spent_ns = ticks_to_ns(loop, ticks() - begin);
        recorder_add(&loop->latency, spent_ns);
        loop->spent_ns += (double)spent_ns;
        if (i > 0)
            recorder_add(&loop->jitter, (uint64_t)fabs((double)(begin - last) * loop->ns_per_tick - period_ns));
        last = begin;
        take_result(loop, result, record.time_ns);
    }
    return result < 0 ? bench_fail("a push failed: %s", mote_error_name(result)) : 0;
}

static int push_bursts(struct loop *loop)
{
    for (uint64_t done = 0; done < loop->count; done += BURST) {
        uint64_t begin = ticks(), dropped = 0;
        for (uint64_t i = done; i < done + BURST; i++) {
            const struct record record = {.time_ns = (int64_t)i};
            dropped += mote_producer_push(loop->producer, &record) != MOTE_OK;
            loop->time_sum += i;
        }
        loop->spent_ns += (double)(ticks() - begin) * loop->ns_per_tick;
        loop->taken += BURST;
        if (dropped > 0)
            return bench_fail("%llu pushes of a burst that the ring can hold were not taken", (unsigned long long)dropped);
        if (mote_producer_flush(loop->producer, MOTE_FOREVER))
            return bench_fail_mote("cannot flush the producer");
    }
    return 0;
}

static int run_loop(struct loop *loop)
{
    struct ingest ingest = {0};
    if (loop->plan->ingest_keys && ingest_start(&ingest, loop->background, *loop->plan->ingest_keys))
        return -1;
    prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0); /* this thread only: the engine's keep theirs */
    int code = loop->plan->copies ? pace(loop, true) : loop->plan->rate_hz ? pace(loop, false) : push_bursts(loop);
    if (loop->plan->ingest_keys && ingest_stop(&ingest, loop->run))
        code = -1;
    if (ingest.full_count > 0)
        fprintf(stderr, "mote-bench: w7, %s: the ingest waited %llu times for space; a larger device shows what it does without\n", loop->run->case_name, (unsigned long long)ingest.full_count);
    return code;
}

/* ---- What became of the records ---- */

static void emit_loop(struct loop *loop)
{
    static const struct {
        const char *metric;
        double quantile;
    } wanted[] = {{"ns_p50", 0.5}, {"ns_p99", 0.99}, {"ns_p999", 0.999}, {"ns_p9999", 0.9999}, {"ns_max", 1}};
    run_emit(loop->run, NULL, "ns_mean", loop->spent_ns / (double)loop->count, NULL);
    if (loop->latency.seen == 0)
        return;
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        run_emit(loop->run, NULL, wanted[i].metric, (double)recorder_quantile_ns(&loop->latency, wanted[i].quantile), NULL);
    run_emit(loop->run, NULL, "jitter_us_p99", (double)recorder_quantile_ns(&loop->jitter, 0.99) / 1e3, NULL);
    run_emit(loop->run, NULL, "jitter_us_max", (double)recorder_quantile_ns(&loop->jitter, 1) / 1e3, NULL);
}

/* Every push is accounted for, and what was taken is durable. */
static int check_counts(struct loop *loop)
{
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    struct mote_stats all = {.size_bytes = sizeof all};
    char note[NOTE_MAX_BYTES];
    if (mote_producer_flush(loop->producer, MOTE_FOREVER) || mote_producer_stats(loop->producer, &stats) || mote_get_stats(loop->db, &all))
        return bench_fail_mote("cannot flush the producer");
    uint64_t used_max = stats.ring_used_max;
    snprintf(note, sizeof note, "%llu pushes, ring of %u, at most %llu used; %llu flushes, %llu compactions; writers waited %llu times, %.0f ms in all", (unsigned long long)loop->count, loop->ring_records,
             (unsigned long long)used_max, (unsigned long long)all.flushes, (unsigned long long)all.compactions, (unsigned long long)all.writer_stalls, (double)all.writer_stall_ns / 1e6);
    run_emit(loop->run, NULL, "dropped", (double)stats.dropped, note);
    run_emit(loop->run, NULL, "ring_used_percent", 100.0 * (double)used_max / loop->ring_records, note);
    if (loop->taken + loop->dropped == loop->count && stats.dropped == loop->dropped && stats.pushed == loop->taken && stats.durable == loop->taken && stats.rejected == 0)
        return 0;
    loop->run->outbox->refused = 1;
    return bench_fail("w7, %s: of %llu pushes %llu were taken and %llu dropped, but the engine counts %llu taken, %llu dropped, %llu rejected, %llu durable", loop->run->case_name, (unsigned long long)loop->count,
                      (unsigned long long)loop->taken, (unsigned long long)loop->dropped, (unsigned long long)stats.pushed, (unsigned long long)stats.dropped, (unsigned long long)stats.rejected,
                      (unsigned long long)stats.durable);
}

static int check_rows(struct loop *loop)
{
    static const uint32_t wanted[] = {0};
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t rows = 0, time_sum = 0;
    int result;
    options.columns = wanted;
    options.column_count = 1;
    if (mote_table_open(loop->db, "pushed", &loop->pushed) || mote_scan(loop->pushed, &options, &cursor))
        return bench_fail_mote("cannot scan");
    while (!(result = mote_cursor_next(cursor, &chunk)) && chunk.row_count > 0) {
        const int64_t *times = chunk.columns[0].values;
        for (size_t i = 0; i < chunk.row_count; i++)
            time_sum += (uint64_t)times[i];
        rows += chunk.row_count;
    }
    mote_cursor_close(cursor);
    if (result)
        return bench_fail_mote("cannot scan");
    if (rows == loop->taken && time_sum == loop->time_sum)
        return 0;
    loop->run->outbox->refused = 1;
    return bench_fail("w7, %s: %llu records were taken, %llu rows are found after close and open, or other ones", loop->run->case_name, (unsigned long long)loop->taken, (unsigned long long)rows);
}

static int close_volume(struct loop *loop)
{
    int closed = loop->db ? mote_close(loop->db) : MOTE_OK; /* with the producer */
    loop->db = NULL;
    return closed ? bench_fail_mote("cannot close") : 0;
}

/* ---- The run ---- */

static int prepare(struct loop *loop)
{
    double seconds = loop->run->options->quick ? loop->run->options->seconds : loop->run->options->seconds * SECONDS_FACTOR;
    loop->count = loop->plan->rate_hz ? (uint64_t)(seconds * loop->plan->rate_hz) + 1 : (1 + (uint64_t)(seconds * 20)) * BURST;
    loop->ring_records = loop->plan->rate_hz ? loop->plan->rate_hz / RINGS_PER_S : 2 * BURST;
    loop->copies = calloc(loop->ring_records, sizeof *loop->copies);
    if (!loop->copies)
        return bench_fail("no memory");
    if (recorder_open(&loop->latency) || recorder_open(&loop->jitter))
        return -1;
    /* No sample is the first to touch a page. */
    memset(loop->copies, 1, loop->ring_records * sizeof *loop->copies);
    memset(loop->latency.samples_ns, 1, loop->latency.room * sizeof loop->latency.samples_ns[0]);
    memset(loop->jitter.samples_ns, 1, loop->jitter.room * sizeof loop->jitter.samples_ns[0]);
    measure_clock(loop);
    return 0;
}

static int run_engine(struct run *run)
{
    struct loop loop = {.run = run, .plan = run->case_data};
    if (run->engine != &engine_mote)
        return 0; /* the other engines have no push */
    int code = prepare(&loop);
    if (!code && !loop.plan->copies)
        code = open_producer(&loop);
    if (!code)
        code = run_loop(&loop);
    if (!code)
        emit_loop(&loop);
    if (!code && !loop.plan->copies)
        code = check_counts(&loop);
    int closed = close_volume(&loop);
    code = code ? code : closed;
    if (!code && !loop.plan->copies) {
        code = open_volume(&loop) ? -1 : check_rows(&loop);
        closed = close_volume(&loop);
        code = code ? code : closed;
    }
    recorder_close(&loop.latency);
    recorder_close(&loop.jitter);
    free(loop.copies);
    return code;
}

const struct workload workload_w7 = {.name = "w7",
                                     .title = "W7: pushes of a control loop",
                                     .about = "One mote_producer_push of 40 bytes (a time and 8 float32) at a time, a ring of 100 ms, the engine idle or beside an ingest at full speed in order of time, or of a million keys again and again. mote only: the device and the "
                                              "other engines have no push. The clock's cost is in each figure. \"Plain copy\": the same loop without an engine. Every record taken was found durable, and after reopening.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = sizeof cases / sizeof cases[0],
                                     .engine = run_engine};
