/* w1_durable.c: durable ingest: 1, 64 and 1,024 rows a commit; one committer that waits for each commit, four that do, and one that keeps up to 2, 8 or 32 commits under way and is told of
 * them in order. Rows count when they are durable. Flushes and compactions of the engine go on as they come.
 *
 * Ceiling: the fastest direct writer that has as many commits to put together and keep under way (ceiling_search), without copying a row.
 * An engine without tickets has no pipelined cases: each of its commits waits.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench/ceiling.h"
#include "bench/engine.h"
#include "include/mote.h"

enum { PIPELINE_MAX = 32, WAITERS_MAX = 4 };

struct plan {
    uint32_t rows;
    unsigned waiters, pipeline; /* pipeline 0: each waits */
    enum row_kind kind;
};

static const struct metric metrics[] = {{"rows_per_s", "rows/s", false}, {"us_p50", "p50 us", true},   {"us_p99", "p99 us", true}, {"us_p999", "p99.9 us", true},
                                        {"us_p9999", "p99.99 us", true},   {"us_max", "max us", true}, {"cpu_s_per_million", "CPU s/M rows", true}, {"written_per_raw", "written/raw", true}, {NULL, NULL, false}};

#define PLAN(rows, waiters, pipeline, kind) (&(const struct plan){rows, waiters, pipeline, kind})
#define FIVE(rows, text)                                                                                                                                                       \
    {text ", 1 waits", PLAN(rows, 1, 0, ROWS_RECORDED)}, {text ", 4 wait", PLAN(rows, 4, 0, ROWS_RECORDED)}, {text ", 2 under way", PLAN(rows, 1, 2, ROWS_RECORDED)},          \
        {text ", 8 under way", PLAN(rows, 1, 8, ROWS_RECORDED)}, {text ", 32 under way", PLAN(rows, 1, 32, ROWS_RECORDED)}, {                                                  \
        text ", 1 waits, random floats", PLAN(rows, 1, 0, ROWS_RANDOM)                                                                                                         \
    }
static const struct bench_case cases[] = {FIVE(1, "1 row"), FIVE(64, "64 rows"), FIVE(1024, "1024 rows")};

static int write_for(const struct run *run, uint64_t write_bytes, uint32_t barrier, unsigned depth, struct ceiling_result *result)
{
    struct ceiling ceiling;
    int code = ceiling_open(&ceiling, run->path, write_bytes, barrier);
    if (!code)
        code = ceiling_write(&ceiling, write_bytes, depth, run->options->seconds, result);
    ceiling_close(&ceiling);
    return code;
}

/* Where the fastest way puts commits together: what the device does if each commit is a write of its own, so many under way, by the barrier that is faster for that. */
static int note_single(const struct run *run, const struct ceiling_choice *choice, char *note)
{
    static const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    const struct plan *plan = run->case_data;
    double best = 0;
    uint32_t best_barrier = choice->barrier;
    if (plan->pipeline == 0 || plan->pipeline > CEILING_DEPTH_MAX || choice->grouped == 1)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        struct ceiling_result result = {0};
        int code = write_for(run, ceiling_commit_bytes(plan->rows), barriers[i], plan->pipeline, &result);
        double rate = code ? 0 : (double)result.count * plan->rows / result.seconds;
        recorder_close(&result.latency);
        if (code)
            return code;
        if (rate > best) {
            best = rate;
            best_barrier = barriers[i];
        }
    }
    size_t length = strlen(note);
    snprintf(note + length, NOTE_MAX_BYTES - length, "; each commit a write of its own: %.0f rows/s (%s)", best, barrier_name(best_barrier));
    return 0;
}

static int run_device(struct run *run)
{
    const struct plan *plan = run->case_data;
    unsigned concurrency = plan->pipeline ? plan->pipeline : plan->waiters;
    struct ceiling_choice choice;
    struct ceiling_result result = {0};
    char note[NOTE_MAX_BYTES];
    double seconds = run->options->seconds;
    if (ceiling_search(run, plan->rows, concurrency, seconds / 8 < 0.02 ? 0.02 : seconds / 8, &choice))
        return -1;
    uint64_t write_bytes = ceiling_commit_bytes((uint64_t)plan->rows * choice.grouped);
    snprintf(note, sizeof note, "%s, %u writes of %llu bytes under way", barrier_name(choice.barrier), choice.depth, (unsigned long long)write_bytes);
    int code = note_single(run, &choice, note);
    double cpu = cpu_seconds();
    if (!code)
        code = write_for(run, write_bytes, choice.barrier, choice.depth, &result);
    if (!code) {
        double rows = (double)result.count * plan->rows * choice.grouped;
        run_emit(run, NULL, "rows_per_s", rows / result.seconds, note);
        run_emit(run, NULL, "cpu_s_per_million", (cpu_seconds() - cpu) / rows * 1e6, NULL);
        run_emit(run, NULL, "written_per_raw", (double)(result.count * write_bytes) / (rows * ROW_BYTES), NULL);
        run_emit_latency(run, NULL, &result.latency);
    }
    recorder_close(&result.latency);
    return code;
}

struct committer {
    pthread_t thread;
    const struct run *run;
    const struct plan *plan;
    void *state;
    struct row_source source;
    struct recorder latency;
    uint64_t end_ns, rows;
    unsigned number;
    int code;
};

static void commit_and_wait(struct committer *committer)
{
    const struct plan *plan = committer->plan;
    uint64_t end_ns;
    do {
        const struct row *rows = rows_next(&committer->source, plan->rows);
        uint64_t put_ns = clock_ns();
        committer->code = committer->run->engine->put(committer->state, committer->number, rows, plan->rows, PUT_DURABLE, NULL);
        end_ns = clock_ns();
        recorder_add(&committer->latency, end_ns - put_ns);
        committer->rows += plan->rows;
    } while (!committer->code && end_ns < committer->end_ns);
}

static void commit_and_go_on(struct committer *committer)
{
    const struct plan *plan = committer->plan;
    const struct engine_type *engine = committer->run->engine;
    uint64_t tickets[PIPELINE_MAX], put_ns[PIPELINE_MAX], put = 0, told = 0;
    bool more = true;
    while (!committer->code && (more || told < put)) {
        if (more && put - told < plan->pipeline) {
            unsigned slot = (unsigned)(put++ % plan->pipeline);
            put_ns[slot] = clock_ns();
            more = put_ns[slot] < committer->end_ns;
            committer->code = engine->put(committer->state, committer->number, rows_next(&committer->source, plan->rows), plan->rows, PUT_TICKET, &tickets[slot]);
            continue;
        }
        unsigned slot = (unsigned)(told++ % plan->pipeline);
        committer->code = engine->wait(committer->state, tickets[slot]);
        recorder_add(&committer->latency, clock_ns() - put_ns[slot]);
        committer->rows += plan->rows;
    }
}

static void *commit(void *opaque)
{
    struct committer *committer = opaque;
    if (committer->plan->pipeline)
        commit_and_go_on(committer);
    else
        commit_and_wait(committer);
    return NULL;
}

static int emit(struct run *run, struct committer *committers, unsigned count, double seconds, double cpu)
{
    struct recorder *latency = &committers[0].latency;
    uint64_t rows = committers[0].rows;
    for (unsigned i = 1; i < count; i++) {
        recorder_merge(latency, &committers[i].latency);
        rows += committers[i].rows;
    }
    run_emit(run, NULL, "rows_per_s", (double)rows / seconds, NULL);
    run_emit(run, NULL, "cpu_s_per_million", cpu / (double)rows * 1e6, NULL);
    run_emit_latency(run, NULL, latency);
    run_emit_raw(run, NULL, rows * ROW_BYTES);
    return 0;
}

static int run_engine(struct run *run)
{
    const struct plan *plan = run->case_data;
    struct committer committers[WAITERS_MAX] = {{0}};
    void *state = NULL;
    if (plan->pipeline && !run->engine->wait)
        return 0;
    struct engine_options open = {.path = run->path, .barrier = run->barrier, .create = true};
    if (run->engine->open(&open, &state))
        return -1;
    int code = 0;
    uint32_t each = SERIES_COUNT / plan->waiters;
    for (unsigned i = 0; i < plan->waiters && !code; i++) {
        committers[i] = (struct committer){.run = run, .plan = plan, .state = state, .number = i};
        code = rows_open(&committers[i].source, plan->kind, i * each, each, 1) ? -1 : recorder_open(&committers[i].latency);
    }
    double cpu = cpu_seconds();
    uint64_t begin_ns = clock_ns();
    unsigned started = 0;
    for (; started < plan->waiters && !code; started++) {
        committers[started].end_ns = begin_ns + (uint64_t)(run->options->seconds * 1e9);
        if (pthread_create(&committers[started].thread, NULL, commit, &committers[started])) {
            code = bench_fail("cannot start a thread");
            break;
        }
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(committers[i].thread, NULL);
        code = code ? code : committers[i].code;
    }
    if (!code)
        code = emit(run, committers, plan->waiters, (double)(clock_ns() - begin_ns) / 1e9, cpu_seconds() - cpu);
    int closed = run->engine->close(state);
    for (unsigned i = 0; i < plan->waiters; i++) {
        rows_close(&committers[i].source);
        recorder_close(&committers[i].latency);
    }
    return code ? code : closed;
}

const struct workload workload_w1 = {.name = "w1",
                                     .title = "W1: durable ingest",
                                     .about = "Rows of 128 bytes, 64 series in turn, counted when a completed barrier covers them. Ceiling: the same raw bytes and a 64-byte header, rounded up to "
                                              "4 KiB, by the fastest of both barriers, 1 to 8 writes under way and commits put together. written/raw is to the end of a clean close.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = sizeof cases / sizeof cases[0],
                                     .device = run_device,
                                     .engine = run_engine};
