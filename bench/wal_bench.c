/* wal_bench.c: what the log costs a writer, and how near its commits come to the device's own limit.
 *
 *     wal_bench [operations] [image path]      default 2,000,000 and a file in $TMPDIR or /tmp; 1000 runs as a test in a moment
 *
 * First: nanoseconds of wal_reserve + wal_publish for a slot of 64 bytes, payload not touched, over a device that does nothing, so that only the log is measured: one thread and several, each
 * urgency. Then on the image file, each beside the raw device's figure from the same run: commits (append 100 bytes, wait) by 1, 4 and 16 threads against bare 4 KiB writes linked with a flush, and
 * megabytes per second of a stream of 128-byte rows against bare writes of the largest frame. Best of three runs. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/probe.h"
#include "blockdev/sim.h"
#include "include/mote.h"
#include "wal/wal.h"

enum { RUNS = 3, THREADS_MAX = 16, FRAME_BYTES = REQUEST_BYTES_MAX, RANGE_BYTES = 64 * MIB_BYTES, RAW_DEPTH = 4 };

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void check(int code, const char *what)
{
    struct mote_error error = {0};
    if (code >= 0)
        return;
    mote_last_error(&error);
    fprintf(stderr, "wal_bench: %s: %s: %s\n", what, mote_error_name(code), error.message);
    exit(1);
}

/* A device that does nothing: every write is lost, and reported good at once. */
static struct blockdev *open_null(void)
{
    struct blockdev *sim, *device;
    check(sim_create(&(struct sim_options){.size_bytes = RANGE_BYTES, .logical_block_bytes = PAGE_BYTES}, &sim), "sim_create");
    check(faulty_create(sim, &device), "faulty_create");
    check(faulty_add(device, &(struct faulty_rule){.kind = FAULTY_LOST, .op_mask = 1u << BLOCKDEV_WRITE, .times = UINT64_MAX}), "faulty_add");
    return device;
}

/* ---- A log on a device ---- */

struct bench {
    struct blockdev *device;
    struct memory *memory;
    struct wal *wal;
    uint64_t lsn, size_bytes;
    uint32_t operations;
    enum wal_urgency urgency;
    uint32_t slot_bytes;
    bool wait, thread_only;
};

/* The image is used round and round: for a bench nothing is ever recovered. */
static void map_more(void *context)
{
    struct bench *bench = context;
    uint64_t length_bytes = bench->size_bytes < RANGE_BYTES ? bench->size_bytes : RANGE_BYTES;
    struct wal_range range = {bench->lsn, bench->lsn % (bench->size_bytes / length_bytes * length_bytes), length_bytes};
    wal_set_head(bench->wal, wal_durable_lsn(bench->wal));
    check(wal_add_range(bench->wal, &range), "wal_add_range");
    bench->lsn += length_bytes;
}

static void start_log(struct bench *bench, uint32_t barrier)
{
    check(memory_create(64 * MIB_BYTES, true, &bench->memory), "memory_create");
    struct wal_options options = {.device = bench->device,
                                  .memory = bench->memory,
                                  .frame_bytes_max = FRAME_BYTES,
                                  .frame_align_bytes = PAGE_BYTES,
                                  .inflight_max = RAW_DEPTH,
                                  .stage_count = 12,
                                  .barrier = barrier,
                                  .mark_delay_ms = 10,
                                  .thread_only = bench->thread_only,
                                  .low_space_bytes = 8 * MIB_BYTES,
                                  .need_space = map_more,
                                  .context = bench};
    check(wal_create(&options, &bench->wal), "wal_create");
    check(memory_seal(bench->memory), "memory_seal");
    bench->lsn = 0;
    bench->size_bytes = blockdev_geometry(bench->device)->size_bytes;
    map_more(bench);
    check(wal_start(bench->wal, &(struct wal_start){.incarnation = 1, .next_seq = 1, .user = bench}), "wal_start");
}

static void stop_log(struct bench *bench)
{
    wal_destroy(bench->wal);
    memory_destroy(bench->memory);
}

static void *run_writer(void *argument)
{
    struct bench *bench = argument;
    for (uint32_t i = 0; i < bench->operations; i++) {
        struct wal_slot slot;
        check(wal_reserve(bench->wal, bench->slot_bytes, 1, bench, &slot), "wal_reserve");
        if (bench->wait || bench->slot_bytes > 64)
            memset(slot.payload, (int)i, slot.size_bytes);
        wal_publish(bench->wal, &slot, bench->urgency, 10);
        if (bench->wait)
            check(wal_finish(bench->wal, &slot, 1), "wal_finish");
    }
    return NULL;
}

/* Wall nanoseconds of all threads' operations together. */
static double run_threads(struct bench *bench, unsigned thread_count, uint32_t operations)
{
    pthread_t threads[THREADS_MAX];
    bench->operations = operations / thread_count ? operations / thread_count : 1;
    double start_ns = now_ns();
    for (unsigned i = 0; i < thread_count; i++)
        pthread_create(&threads[i], NULL, run_writer, bench);
    for (unsigned i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    check(wal_wait(bench->wal, wal_next_seq(bench->wal) - 1, INT64_MAX), "wal_wait");
    return now_ns() - start_ns;
}

static void bench_hot_path(uint32_t operations)
{
    static const char *const urgency_names[] = {"now", "timed", "none"};
    for (int urgency = WAL_URGENCY_NOW; urgency <= WAL_URGENCY_NONE; urgency++)
        for (unsigned threads = 1; threads <= 4; threads *= 2) {
            double best_ns = 1e18;
            struct wal_counters counters = {0};
            for (int run = 0; run < RUNS; run++) {
                struct bench bench = {.device = open_null(), .urgency = (enum wal_urgency)urgency, .slot_bytes = 64};
                start_log(&bench, MOTE_BARRIER_NONE);
                double ns = run_threads(&bench, threads, operations);
                if (ns < best_ns) {
                    best_ns = ns;
                    wal_get_counters(bench.wal, &counters);
                }
                stop_log(&bench);
                blockdev_close(bench.device);
            }
            printf("reserve+publish 64 bytes, %-5s %u thread%s %7.1f ns an operation (%" PRIu64 " frames, %" PRIu64 " stalls)\n", urgency_names[urgency], threads, threads > 1 ? "s" : " ",
                   best_ns / operations, counters.frames, counters.writer_stalls);
        }
}

/* ---- The device's own limit ---- */

/* count chains of a write of write_bytes and a flush (flush_each), or count writes RAW_DEPTH deep and one flush at the end. Nanoseconds. */
static double run_raw(struct blockdev *device, uint32_t write_bytes, uint32_t count, bool flush_each)
{
    struct blockdev_queue *queue;
    static _Alignas(4096) uint8_t buffer[REQUEST_BYTES_MAX];
    struct blockdev_request writes[RAW_DEPTH], flush, *done[RAW_DEPTH + 1];
    check(blockdev_queue_create(device, &(struct blockdev_queue_options){.depth = RAW_DEPTH + 1, .registered_base = buffer, .registered_bytes = sizeof buffer}, &queue), "queue");
    memset(buffer, 0x5A, sizeof buffer);
    const uint64_t size_bytes = blockdev_geometry(device)->size_bytes / write_bytes * write_bytes;
    uint32_t free_slots[RAW_DEPTH], free_count = 0;
    for (uint32_t i = 0; i < (flush_each ? 1 : RAW_DEPTH); i++)
        free_slots[free_count++] = i;
    double start_ns = now_ns();
    for (uint32_t sent = 0, finished = 0; finished < count;) {
        while (sent < count && free_count > 0) {
            struct blockdev_request *write = &writes[free_slots[--free_count]], *pair[2] = {write, &flush};
            *write = (struct blockdev_request){.op = BLOCKDEV_WRITE, .flags = flush_each ? BLOCKDEV_LINK : 0, .source = BLOCKDEV_SOURCE_WAL, .length_bytes = write_bytes, .offset_bytes = (uint64_t)sent * write_bytes % size_bytes, .buffer = buffer};
            flush = (struct blockdev_request){.op = BLOCKDEV_FLUSH};
            check(blockdev_submit(queue, pair, flush_each ? 2 : 1), "submit");
            sent++;
        }
        int reaped = blockdev_reap(queue, flush_each ? 2 : 1, -1, done, RAW_DEPTH + 1);
        check(reaped, "reap");
        for (int i = 0; i < reaped; i++) {
            check(done[i]->result, "raw write");
            if (done[i] == &flush)
                continue;
            free_slots[free_count++] = (uint32_t)(done[i] - writes);
            finished++;
        }
    }
    check(blockdev_flush(queue), "flush");
    double ns = now_ns() - start_ns;
    blockdev_queue_destroy(queue);
    return ns;
}

static double run_log(struct blockdev *device, unsigned threads, uint32_t operations, uint32_t slot_bytes, bool wait, bool thread_only, struct wal_counters *counters)
{
    struct bench bench = {.device = device, .urgency = wait ? WAL_URGENCY_OWN : WAL_URGENCY_NONE, .slot_bytes = slot_bytes, .wait = wait, .thread_only = thread_only};
    start_log(&bench, MOTE_BARRIER_FLUSH);
    double ns = run_threads(&bench, threads, operations);
    wal_get_counters(bench.wal, counters);
    stop_log(&bench);
    return ns;
}

static void bench_commits(struct blockdev *device, uint32_t operations, bool thread_only)
{
    struct wal_counters counters, best = {0};
    printf("%s\n", thread_only ? "only the log's thread commits:" : "writers commit their own rows where the log is idle:");
    for (unsigned threads = 1; threads <= THREADS_MAX; threads *= 4) {
        double raw_ns = 1e18, best_ns = 1e18;
        for (int run = 0; run < RUNS; run++) {
            double ns = run_raw(device, PAGE_BYTES, operations, true);
            raw_ns = ns < raw_ns ? ns : raw_ns;
            ns = run_log(device, threads, operations, 100, true, thread_only, &counters);
            if (ns < best_ns) {
                best_ns = ns;
                best = counters;
            }
        }
        printf("raw 4 KiB write linked with a flush: %9.0f /s\n", operations / raw_ns * 1e9);
        printf("commits by %2u thread%s %9.0f rows/s, %9.0f frames/s (%.2f of raw), p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n", threads, threads > 1 ? "s:" : ": ", operations / best_ns * 1e9,
               (double)best.frames / best_ns * 1e9, (double)best.frames / best_ns * raw_ns / operations, (double)best.commit_ns_p50 / 1e3, (double)best.commit_ns_p99 / 1e3,
               (double)best.commit_ns_p999 / 1e3, (double)best.commit_ns_max / 1e3);
    }
}

static void bench_stream(struct blockdev *device, uint32_t rows)
{
    double raw_ns = 1e18, best_ns = 1e18;
    const uint64_t row_bytes = 128;
    const uint32_t writes = (uint32_t)(rows * row_bytes / FRAME_BYTES + 1);
    struct wal_counters counters = {0};
    for (int run = 0; run < RUNS; run++) {
        double ns = run_raw(device, FRAME_BYTES, writes, false);
        raw_ns = ns < raw_ns ? ns : raw_ns;
        ns = run_log(device, 1, rows, (uint32_t)row_bytes, false, true, &counters);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    double raw_rate = (double)writes * FRAME_BYTES / raw_ns * 1e3, rate = (double)rows * (double)row_bytes / best_ns * 1e3;
    printf("stream of 128-byte rows by 1 thread: %.0f MB/s, %.2f M rows/s; raw %u KiB writes, %d deep: %.0f MB/s; ratio %.2f\n", rate, rate / (double)row_bytes, FRAME_BYTES / 1024, RAW_DEPTH, raw_rate, rate / raw_rate);
}

int main(int argc, char **argv)
{
    uint32_t operations = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2000000;
    char path[4096];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/wal_bench_%d.img", folder ? folder : "/tmp", (int)getpid());
    const char *image = argc > 2 ? argv[2] : path;
    bench_hot_path(operations);
    struct blockdev *device;
    check(blockdev_image_create(image, operations > 100000 ? 512 * MIB_BYTES : 32 * MIB_BYTES, false, NULL, NULL), "image");
    int code = blockdev_open(image, &(struct blockdev_open_options){0}, &device);
    unlink(image);
    check(code, "open");
    printf("image file %s, backend %s, barrier: flush\n", image, blockdev_backend(device));
    for (int thread_only = 0; thread_only < 2; thread_only++)
        bench_commits(device, operations / 1000 ? operations / 1000 : 1, thread_only);
    bench_stream(device, operations);
    blockdev_close(device);
    return 0;
}
