/* w6_paced.c: paced ingest: 100,000 rows a second, a commit of 100 rows each millisecond, flush and compaction beside. The latency of a commit runs from the moment it was due, not from the
 * moment the engine was ready for it, to the moment it is durable, so that a stall counts for every commit that it delays.
 *
 * An engine with tickets is given each commit when it is due, and a second thread waits for them in order. One without commits in the pacing thread; when it is late, all rows that are due
 * go into one commit, as a sane logger would do. The direct writer keeps up to eight writes under way and puts together what is due likewise; acknowledged in order.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench/ceiling.h"
#include "bench/engine.h"

enum { TICK_ROWS = 100, TICK_NS = 1000000, TICKS_TOGETHER_MAX = BATCH_ROWS_MAX / TICK_ROWS, DEPTH = 8, QUEUE = 65536 };

static const struct metric metrics[] = {{"us_p50", "p50 us", true}, {"us_p99", "p99 us", true}, {"us_p999", "p99.9 us", true}, {"us_p9999", "p99.99 us", true}, {"us_max", "max us", true}, {"rows_per_s", "rows/s", false}, {"cpu_percent", "CPU %", true}, {NULL, NULL, false}};
static const struct bench_case cases[] = {{"100 rows each ms", NULL}};

static uint64_t tick_count(const struct run *run)
{
    double seconds = run->options->quick ? run->options->seconds : run->options->seconds * 10;
    return (uint64_t)(seconds * 1e9 / TICK_NS) + 1;
}

static void emit(struct run *run, struct recorder *latency, uint64_t ticks, uint64_t begin_ns, double cpu)
{
    double seconds = (double)(clock_ns() - begin_ns) / 1e9;
    run_emit_latency(run, NULL, latency);
    run_emit(run, NULL, "rows_per_s", (double)ticks * TICK_ROWS / seconds, NULL);
    run_emit(run, NULL, "cpu_percent", (cpu_seconds() - cpu) / seconds * 100, NULL);
}

/* ---- The direct writer ---- */

/* Writes in order of submission; those that are done behind one that is not wait for it. */
struct direct {
    struct ceiling ceiling;
    struct recorder latency;
    struct {
        uint64_t first_tick, ticks, done_ns;
    } writes[DEPTH]; /* by number % DEPTH */
    uint64_t begin_ns, due, launched, submitted, acknowledged; /* due, launched: ticks; the others: writes */
    struct ceiling_flight *spare[DEPTH];
    unsigned spare_count;
};

static int launch_due(struct direct *direct, uint64_t ticks)
{
    uint64_t now = clock_ns(), due = now < direct->begin_ns ? 0 : (now - direct->begin_ns) / TICK_NS + 1;
    direct->due = due < ticks ? due : ticks;
    while (direct->launched < direct->due && direct->spare_count > 0 && direct->submitted - direct->acknowledged < DEPTH) {
        uint64_t count = direct->due - direct->launched;
        count = count < TICKS_TOGETHER_MAX ? count : TICKS_TOGETHER_MAX;
        struct ceiling_flight *flight = direct->spare[--direct->spare_count];
        flight->number = direct->submitted++;
        direct->writes[flight->number % DEPTH].first_tick = direct->launched;
        direct->writes[flight->number % DEPTH].ticks = count;
        direct->writes[flight->number % DEPTH].done_ns = 0;
        direct->launched += count;
        if (ceiling_launch(&direct->ceiling, flight, ceiling_commit_bytes(count * TICK_ROWS)))
            return -1;
    }
    return 0;
}

static int take_done(struct direct *direct, int64_t timeout_ns)
{
    struct ceiling_flight *done[DEPTH * 2];
    int count = ceiling_reap(&direct->ceiling, timeout_ns, done, DEPTH * 2);
    if (count < 0)
        return -1;
    uint64_t now = clock_ns();
    for (int i = 0; i < count; i++) {
        direct->writes[done[i]->number % DEPTH].done_ns = now;
        direct->spare[direct->spare_count++] = done[i];
    }
    while (direct->acknowledged < direct->submitted && direct->writes[direct->acknowledged % DEPTH].done_ns) {
        uint64_t slot = direct->acknowledged++ % DEPTH;
        for (uint64_t i = 0; i < direct->writes[slot].ticks; i++)
            recorder_add(&direct->latency, now - (direct->begin_ns + (direct->writes[slot].first_tick + i) * TICK_NS));
    }
    return 0;
}

static int run_device(struct run *run)
{
    struct direct direct = {.spare_count = DEPTH};
    uint64_t ticks = tick_count(run);
    double cpu = cpu_seconds();
    int code = recorder_open(&direct.latency);
    if (!code)
        code = ceiling_open(&direct.ceiling, run->path, ceiling_commit_bytes(BATCH_ROWS_MAX), run->barrier);
    for (unsigned i = 0; !code && i < DEPTH; i++)
        direct.spare[i] = &direct.ceiling.flights[i];
    direct.begin_ns = clock_ns() + TICK_NS;
    while (!code && (direct.launched < ticks || direct.acknowledged < direct.submitted)) {
        uint64_t next_ns = direct.begin_ns + direct.launched * TICK_NS, now = clock_ns();
        int64_t wait_ns = direct.launched >= ticks || direct.spare_count == 0 ? -1 : next_ns > now ? (int64_t)(next_ns - now) : 0;
        if (direct.acknowledged < direct.submitted)
            code = take_done(&direct, wait_ns);
        else
            sleep_until_ns(next_ns);
        if (!code)
            code = launch_due(&direct, ticks);
    }
    if (!code)
        emit(run, &direct.latency, ticks, direct.begin_ns, cpu);
    recorder_close(&direct.latency);
    ceiling_close(&direct.ceiling);
    return code;
}

/* ---- An engine ---- */

struct pace {
    struct run *run;
    void *state;
    struct row_source source;
    struct recorder latency;
    uint64_t begin_ns, ticks;
    sem_t put; /* raised for each ticket, and once at the end */
    uint64_t *tickets; /* QUEUE of them, by tick */
    _Atomic uint64_t acknowledged;
    _Atomic int put_code, wait_code;
};

static void *wait_in_order(void *opaque)
{
    struct pace *pace = opaque;
    for (uint64_t tick = 0; tick < pace->ticks; tick++) {
        while (sem_wait(&pace->put) && errno == EINTR) {
        }
        if (pace->put_code)
            break;
        pace->wait_code = pace->run->engine->wait(pace->state, pace->tickets[tick % QUEUE]);
        if (pace->wait_code)
            break;
        recorder_add(&pace->latency, clock_ns() - (pace->begin_ns + tick * TICK_NS));
        atomic_store(&pace->acknowledged, tick + 1);
    }
    atomic_store(&pace->acknowledged, UINT64_MAX / 2); /* nobody need wait for room any more */
    return NULL;
}

static int pace_with_tickets(struct pace *pace)
{
    pthread_t thread;
    if (sem_init(&pace->put, 0, 0) || pthread_create(&thread, NULL, wait_in_order, pace))
        return bench_fail("cannot start a thread");
    for (uint64_t tick = 0; tick < pace->ticks && !pace->put_code && !pace->wait_code; tick++) {
        sleep_until_ns(pace->begin_ns + tick * TICK_NS);
        while (tick >= atomic_load(&pace->acknowledged) + QUEUE)
            sleep_until_ns(clock_ns() + TICK_NS / 10);
        pace->put_code = pace->run->engine->put(pace->state, 0, rows_next(&pace->source, TICK_ROWS), TICK_ROWS, PUT_TICKET, &pace->tickets[tick % QUEUE]);
        sem_post(&pace->put);
    }
    sem_post(&pace->put);
    pthread_join(thread, NULL);
    sem_destroy(&pace->put);
    return pace->put_code ? pace->put_code : pace->wait_code;
}

static int pace_and_wait(struct pace *pace)
{
    for (uint64_t tick = 0; tick < pace->ticks;) {
        sleep_until_ns(pace->begin_ns + tick * TICK_NS);
        uint64_t due = (clock_ns() - pace->begin_ns) / TICK_NS + 1, count = (due < pace->ticks ? due : pace->ticks) - tick;
        count = count < TICKS_TOGETHER_MAX ? count : TICKS_TOGETHER_MAX;
        uint32_t rows = (uint32_t)count * TICK_ROWS;
        if (pace->run->engine->put(pace->state, 0, rows_next(&pace->source, rows), rows, PUT_DURABLE, NULL))
            return -1;
        uint64_t now = clock_ns();
        for (; count > 0; count--, tick++)
            recorder_add(&pace->latency, now - (pace->begin_ns + tick * TICK_NS));
    }
    return 0;
}

static int run_engine(struct run *run)
{
    struct engine_options open = {.path = run->path, .barrier = run->barrier, .create = true};
    struct pace pace = {.run = run, .ticks = tick_count(run), .tickets = calloc(QUEUE, sizeof(uint64_t))};
    int code = pace.tickets ? recorder_open(&pace.latency) : bench_fail("no memory");
    if (!code)
        code = rows_open(&pace.source, ROWS_RECORDED, 0, SERIES_COUNT, 1);
    if (!code)
        code = run->engine->open(&open, &pace.state);
    if (!code) {
        double cpu = cpu_seconds();
        pace.begin_ns = clock_ns() + 10 * TICK_NS;
        code = run->engine->wait ? pace_with_tickets(&pace) : pace_and_wait(&pace);
        if (!code)
            emit(run, &pace.latency, pace.ticks, pace.begin_ns, cpu);
        int closed = run->engine->close(pace.state);
        code = code ? code : closed;
    }
    rows_close(&pace.source);
    recorder_close(&pace.latency);
    free(pace.tickets);
    return code;
}

const struct workload workload_w6 = {.name = "w6",
                                     .title = "W6: paced ingest",
                                     .about = "100,000 rows of 128 bytes a second, a commit of 100 rows each millisecond. Latency from the moment a commit was due to the moment it is durable. Ceiling: the direct writer, "
                                              "paced the same.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 1,
                                     .device = run_device,
                                     .engine = run_engine};
