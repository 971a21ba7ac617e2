/* w5_kill.c: SIGKILL in the middle of durable ingest, then: how long until the volume is open and readable, how many acknowledged rows are lost, and how long a reopen takes after a clean
 * close. The acknowledged count is kept in memory shared with the killed process, raised after each acknowledgement. All rows found must be the first ones written, bit for bit.
 *
 * Ceiling: a direct writer commits for as long and its raw bytes are then read back in order; a reopen after a clean close is one 4 KiB read.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/ceiling.h"
#include "bench/engine.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

enum { ROWS = 64, PIPELINE_MAX = 8 };

static const struct metric metrics[] = {{"reopen_s", "reopen after SIGKILL, s", true}, {"clean_reopen_s", "after clean close, s", true}, {"rows_acknowledged", "acknowledged rows", false}, {"rows_found", "found", false}, {"rows_lost", "LOST", true}, {NULL, NULL, false}};
static const unsigned waits = 1, pipelined = PIPELINE_MAX;
static const struct bench_case cases[] = {{"64 rows, 1 waits", &waits}, {"64 rows, 8 under way", &pipelined}};

static int run_device(struct run *run)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0}, back = {0};
    unsigned depth = *(const unsigned *)run->case_data;
    uint64_t write_bytes = ceiling_commit_bytes(ROWS);
    int code = ceiling_open(&ceiling, run->path, 8 * REQUEST_BYTES_MAX, run->barrier);
    if (!code)
        code = ceiling_write(&ceiling, write_bytes, depth, run->options->seconds, &result);
    double wanted_bytes = (double)result.count * (double)write_bytes;
    if (!code)
        code = ceiling_read(&ceiling, REQUEST_BYTES_MAX, 8, false, run->options->seconds / 4, &back);
    if (!code) {
        double rows = (double)result.count * ROWS, bytes_per_s = (double)back.count * REQUEST_BYTES_MAX / back.seconds;
        run_emit(run, NULL, "reopen_s", wanted_bytes / bytes_per_s, "its own bytes read back in order");
        run_emit(run, NULL, "rows_acknowledged", rows, NULL);
        run_emit(run, NULL, "rows_found", rows, NULL);
        recorder_close(&back.latency);
        code = ceiling_read(&ceiling, PAGE_BYTES, 1, true, run->options->seconds / 4, &back);
    }
    if (!code)
        run_emit(run, NULL, "clean_reopen_s", (double)recorder_quantile_ns(&back.latency, 0.5) / 1e9, NULL);
    recorder_close(&back.latency);
    recorder_close(&result.latency);
    ceiling_close(&ceiling);
    return code;
}

struct shared {
    _Atomic uint64_t acknowledged, put;
};

/* The process that is killed. Ends only on an error. */
static int ingest_until_killed(struct run *run, struct shared *shared)
{
    struct engine_options open = {.path = run->path, .barrier = run->barrier, .create = true};
    struct row_source source;
    void *state;
    unsigned depth = *(const unsigned *)run->case_data;
    uint64_t tickets[PIPELINE_MAX], put = 0, told = 0;
    if (rows_open(&source, ROWS_RECORDED, 0, SERIES_COUNT, 1) || run->engine->open(&open, &state))
        return -1;
    for (;;) {
        if (depth > 1 && put - told == depth) {
            if (run->engine->wait(state, tickets[told % depth]))
                return -1;
            atomic_store(&shared->acknowledged, ++told * ROWS);
            continue;
        }
        atomic_store(&shared->put, (put + 1) * ROWS);
        if (run->engine->put(state, 0, rows_next(&source, ROWS), ROWS, depth > 1 ? PUT_TICKET : PUT_DURABLE, &tickets[put % depth]))
            return -1;
        put++;
        if (depth == 1)
            atomic_store(&shared->acknowledged, put * ROWS);
    }
}

static int kill_in_the_middle(struct run *run, struct shared *shared)
{
    pid_t pid = fork();
    if (pid < 0)
        return bench_fail("cannot fork");
    if (pid == 0) {
        ingest_until_killed(run, shared);
        _exit(EXIT_DEVICE);
    }
    uint64_t end_ns = 0;
    int status;
    while (end_ns == 0 || clock_ns() < end_ns) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return bench_fail("%s: the writer ended before it could be killed", run->engine->name);
        if (end_ns == 0 && atomic_load(&shared->acknowledged) > 0)
            end_ns = clock_ns() + (uint64_t)(run->options->seconds * 1e9);
        usleep(1000);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 0 : bench_fail("%s: the writer ended before it could be killed", run->engine->name);
}

/* Compares what is there with the first rows that were written. */
static int check_rows(struct run *run, void *state, const struct shared *shared)
{
    static struct scan_result result;
    struct scan all = {.series = -1, .column = -1};
    uint64_t acknowledged = shared->acknowledged, put = shared->put, expected = 0;
    if (run->engine->scan(state, &all, &result))
        return -1;
    struct row_source source = {.series_count = SERIES_COUNT, .step_scale = 1, .kind = ROWS_RECORDED};
    for (uint64_t n = 0; n < result.rows && n < put; n++) {
        struct row row;
        rows_make(&source, n, &row);
        expected += row_checksum(&row);
    }
    uint64_t lost = result.rows < acknowledged ? acknowledged - result.rows : 0;
    run_emit(run, NULL, "rows_acknowledged", (double)acknowledged, NULL);
    run_emit(run, NULL, "rows_found", (double)result.rows, NULL);
    run_emit(run, NULL, "rows_lost", (double)lost, NULL);
    if (lost || result.rows > put || result.checksum != expected) {
        bench_fail("%s after SIGKILL: %llu rows acknowledged, %llu put, %llu found%s", run->engine->name, (unsigned long long)acknowledged, (unsigned long long)put, (unsigned long long)result.rows,
                   result.checksum != expected ? ", whose content differs" : "");
        run->outbox->refused = 1;
        return -1;
    }
    return 0;
}

static int reopen(struct run *run, void **state, const char *metric)
{
    struct engine_options open = {.path = run->path, .barrier = run->barrier};
    uint64_t begin_ns = clock_ns();
    if (run->engine->open(&open, state))
        return -1;
    run_emit(run, NULL, metric, (double)(clock_ns() - begin_ns) / 1e9, NULL);
    return 0;
}

static int run_engine(struct run *run)
{
    void *state;
    if (*(const unsigned *)run->case_data > 1 && !run->engine->wait)
        return 0;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return bench_fail("no memory");
    int code = kill_in_the_middle(run, shared);
    if (!code)
        code = reopen(run, &state, "reopen_s");
    if (!code) {
        code = check_rows(run, state, shared);
        if (run->engine->close(state))
            code = -1;
        if (!code)
            code = reopen(run, &state, "clean_reopen_s");
        if (!code)
            code = run->engine->close(state);
    }
    munmap(shared, sizeof *shared);
    return code;
}

const struct workload workload_w5 = {.name = "w5",
                                     .title = "W5: SIGKILL in durable ingest, and reopen",
                                     .about = "The writer is killed, its volume opened and every row compared. The kernel lives on, so this shows what the engine's own recovery costs and keeps, not a power cut. Ceiling: "
                                              "a direct writer's bytes read back in order; one 4 KiB read.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 2,
                                     .device = run_device,
                                     .engine = run_engine};
