/* workload_ceiling.c: the device alone: durable writes of given sizes with both barriers at depths 1 to 8, reads, and memory copy. No engine takes part. */
#include <stdlib.h>

#include "bench/ceiling.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

static const struct metric metrics[] = {{"per_s", "per s", false},   {"bytes_per_s", "bytes/s", false}, {"us_p50", "p50 us", true},   {"us_p99", "p99 us", true},
                                        {"us_p999", "p99.9 us", true}, {"us_p9999", "p99.99 us", true},   {"us_max", "max us", true}, {NULL, NULL, false}};

static int emit(struct run *run, const char *name, uint64_t bytes, struct ceiling_result *result)
{
    double per_s = result->seconds > 0 ? (double)result->count / result->seconds : 0;
    run_emit(run, name, "per_s", per_s, NULL);
    run_emit(run, name, "bytes_per_s", per_s * (double)bytes, NULL);
    run_emit_latency(run, name, &result->latency);
    return 0;
}

static int measure_writes(struct run *run, uint64_t write_bytes, uint32_t barrier)
{
    int code = 0;
    for (unsigned depth = 1; depth <= 8 && !code; depth *= 2) {
        struct ceiling ceiling;
        struct ceiling_result result = {0};
        char name[NAME_MAX_BYTES];
        snprintf(name, sizeof name, "write %llu, %s, depth %u", (unsigned long long)write_bytes, barrier_name(barrier), depth);
        code = ceiling_open(&ceiling, run->path, write_bytes, barrier);
        if (!code)
            code = ceiling_write(&ceiling, write_bytes, depth, run->options->seconds, &result);
        if (!code)
            code = emit(run, name, write_bytes, &result);
        recorder_close(&result.latency);
        ceiling_close(&ceiling);
    }
    return code;
}

static int run_writes(struct run *run)
{
    static const uint64_t sizes[] = {4096, 12288, 135168, 524288}; /* commits of 1, 64 and 1,024 rows; the largest request */
    static const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    uint64_t given_bytes = run->options->write_bytes;
    for (unsigned i = 0; i < (given_bytes ? 1 : 4); i++) {
        for (unsigned b = 0; b < 2; b++) {
            if (given_bytes && run->barrier != MOTE_BARRIER_NONE && barriers[b] != run->barrier)
                continue; /* one size and one barrier were asked for */
            if (measure_writes(run, given_bytes ? given_bytes : sizes[i], run->barrier == MOTE_BARRIER_NONE ? MOTE_BARRIER_NONE : barriers[b]))
                return -1;
            if (run->barrier == MOTE_BARRIER_NONE)
                break;
        }
    }
    return 0;
}

static int run_reads(struct run *run)
{
    static const uint64_t sizes[] = {PAGE_BYTES, REQUEST_BYTES_MAX};
    for (unsigned i = 0; i < 8; i++) {
        uint64_t read_bytes = sizes[i / 4];
        unsigned depth = i % 2 ? 32 : 1;
        bool random = i / 2 % 2;
        struct ceiling ceiling;
        struct ceiling_result result = {0};
        char name[NAME_MAX_BYTES];
        snprintf(name, sizeof name, "%s read %llu, depth %u", random ? "random" : "sequential", (unsigned long long)read_bytes, depth);
        int code = ceiling_open(&ceiling, run->path, depth * read_bytes, run->barrier);
        if (!code)
            code = ceiling_read(&ceiling, read_bytes, depth, random, run->options->seconds, &result);
        if (!code)
            code = emit(run, name, read_bytes, &result);
        recorder_close(&result.latency);
        ceiling_close(&ceiling);
        if (code)
            return -1;
    }
    return 0;
}

static int run_memory(struct run *run)
{
    run_emit(run, NULL, "bytes_per_s", ceiling_memory_bytes_per_s(run->options->seconds), NULL);
    return 0;
}

struct part {
    int (*run)(struct run *run);
};
static const struct part writes = {run_writes}, reads = {run_reads}, memory = {run_memory};
static const struct bench_case cases[] = {{"writes", &writes}, {"reads", &reads}, {"memory copy", &memory}};

static int run_part(struct run *run)
{
    const struct part *part = run->case_data;
    if (run->options->write_bytes && part != &writes)
        return 0;
    return part->run(run);
}

const struct workload workload_ceiling = {.name = "ceiling",
                                          .title = "The device's ceiling",
                                          .about = "Direct I/O without any engine: durable writes (each with its barrier), reads, and one thread's memory copy.",
                                          .metrics = metrics,
                                          .cases = cases,
                                          .case_count = 3,
                                          .device = run_part};
