/* run.c: one run: a child process on an empty target, its outbox, its memory cgroup (bench.h). The parent has one thread. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/engine.h"
#include "include/mote.h"

int bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("mote-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return -1;
}

int bench_fail_mote(const char *what)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    return bench_fail("%s: %s [%s]", what, error.message, mote_error_name(error.code));
}

void run_emit(struct run *run, const char *case_name, const char *metric, double value, const char *note)
{
    struct outbox *outbox = run->outbox;
    if (outbox->count == OUTBOX_ITEMS) {
        bench_fail("more than %d figures of one run; \"%s\" is left out", OUTBOX_ITEMS, metric);
        return;
    }
    snprintf(outbox->items[outbox->count].case_name, NAME_MAX_BYTES, "%s", case_name ? case_name : run->case_name);
    snprintf(outbox->items[outbox->count].metric, NAME_MAX_BYTES, "%s", metric);
    snprintf(outbox->items[outbox->count].note, NOTE_MAX_BYTES, "%s", note ? note : "");
    outbox->items[outbox->count++].value = value;
}

void run_emit_latency(struct run *run, const char *case_name, struct recorder *recorder)
{
    static const struct {
        const char *metric;
        double quantile;
    } wanted[] = {{"us_p50", 0.5}, {"us_p99", 0.99}, {"us_p999", 0.999}, {"us_p9999", 0.9999}, {"us_max", 1}};
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        run_emit(run, case_name, wanted[i].metric, (double)recorder_quantile_ns(recorder, wanted[i].quantile) / 1e3, NULL);
}

void run_emit_raw(struct run *run, const char *case_name, uint64_t raw_bytes)
{
    run->outbox->raw_bytes = raw_bytes;
    snprintf(run->outbox->raw_case, NAME_MAX_BYTES, "%s", case_name ? case_name : run->case_name);
}

/* ---- Memory cgroup: version 2 where it has the memory controller, else version 1. ---- */

static const char *const cgroup_roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};

static bool write_text(const char *folder, const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

bool cgroup_enter(uint64_t memory_bytes, char *why, size_t why_bytes)
{
    static const char *const limits[] = {"memory.max", "memory.limit_in_bytes"};
    char folder[256], text[64];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(folder, sizeof folder, "%s/mote-bench-%d", cgroup_roots[i], (int)getpid());
        if (mkdir(folder, 0755))
            continue;
        snprintf(text, sizeof text, "%llu", (unsigned long long)memory_bytes);
        bool good = write_text(folder, limits[i], text);
        snprintf(text, sizeof text, "%d", (int)getpid());
        if (good && write_text(folder, "cgroup.procs", text)) {
            snprintf(why, why_bytes, "within a memory cgroup of %llu MiB", (unsigned long long)(memory_bytes >> 20));
            return true;
        }
        rmdir(folder);
    }
    snprintf(why, why_bytes, "no memory cgroup could be made here (%s): memory is not limited", strerror(errno));
    return false;
}

void cgroup_remove(int pid)
{
    char folder[256];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(folder, sizeof folder, "%s/mote-bench-%d", cgroup_roots[i], pid);
        for (unsigned tries = 0; tries < 50 && rmdir(folder) && errno == EBUSY; tries++)
            usleep(20000);
    }
}

/* ---- Children ---- */

static int child_main(struct run *run, const struct workload *workload)
{
    char why[NOTE_MAX_BYTES];
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0); /* a paced run sleeps to the microsecond, engine or not */
    if (workload->small_memory && run->engine) {
        cgroup_enter(run->options->memory_bytes, why, sizeof why);
        run_emit(run, NULL, "note", 0, why);
    }
    int code = run->engine ? workload->engine(run) : workload->device(run);
    return code == 0 ? EXIT_GOOD : run->outbox->refused ? EXIT_REFUSED : EXIT_DEVICE;
}

static int collect(const struct run *run, const struct workload *workload, const char *engine_name, uint64_t written_bytes, bool counted, struct report *report)
{
    const struct outbox *outbox = run->outbox;
    const char *note = "";
    for (uint32_t i = 0; i < outbox->count; i++) {
        if (strcmp(outbox->items[i].metric, "note") == 0) {
            note = outbox->items[i].note;
            continue;
        }
        const char *own = outbox->items[i].note[0] ? outbox->items[i].note : note;
        if (report_add(report, workload, outbox->items[i].case_name, engine_name, outbox->items[i].metric, outbox->items[i].value, own))
            return EXIT_DEVICE;
    }
    if (outbox->raw_bytes && counted && report_add(report, workload, outbox->raw_case, engine_name, "written_per_raw", (double)written_bytes / (double)outbox->raw_bytes, ""))
        return EXIT_DEVICE;
    return EXIT_GOOD;
}

static int run_child(struct run *run, const struct workload *workload)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        bench_fail("cannot fork: %s", strerror(errno));
        return EXIT_DEVICE;
    }
    if (pid == 0) {
        int code = child_main(run, workload);
        fflush(NULL);
        _exit(code);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    cgroup_remove(pid);
    if (WIFSIGNALED(status)) {
        bench_fail("the run of %s in %s, %s, was ended by signal %d%s", run->engine ? run->engine->name : "the device", workload->name, run->case_name, WTERMSIG(status),
                   WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
        return EXIT_DEVICE;
    }
    return WEXITSTATUS(status);
}

int run_case(const struct bench_options *options, const struct workload *workload, const struct bench_case *bench_case, const struct engine_type *engine, uint32_t barrier, struct report *report)
{
    struct run run = {.options = options, .engine = engine, .case_name = bench_case->name, .case_data = bench_case->data, .path = options->path, .barrier = barrier};
    bool on_filesystem = engine && engine->on_filesystem;
    uint64_t before_bytes = 0, after_bytes = 0;
    run.outbox = mmap(NULL, sizeof *run.outbox, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.outbox == MAP_FAILED) {
        bench_fail("no memory for the figures of a run");
        return EXIT_DEVICE;
    }
    if (on_filesystem)
        run.path = options->mount_path;
    if (target_wait(options->path) || (on_filesystem && engine_filesystem->make(options->path, options->mount_path)) || (engine && engine->format && engine->format(options->path))) {
        munmap(run.outbox, sizeof *run.outbox);
        return EXIT_DEVICE;
    }
    bool counted = target_written_bytes(options->path, &before_bytes);
    int code = run_child(&run, workload);
    /* What the filesystem still has to write is the engine's doing too. */
    if (on_filesystem && engine_filesystem->unmake(options->mount_path) && !code)
        code = EXIT_DEVICE;
    counted = counted && target_written_bytes(options->path, &after_bytes);
    if (!code)
        code = collect(&run, workload, engine ? engine->name : "device", after_bytes - before_bytes, counted, report);
    munmap(run.outbox, sizeof *run.outbox);
    return code;
}
