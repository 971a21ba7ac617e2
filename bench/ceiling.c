/* ceiling.c: direct writes and reads on the device (ceiling.h). */
#include <stdlib.h>
#include <string.h>

#include "bench/ceiling.h"
#include "blockdev/base/units.h"
#include "blockdev/probe.h"
#include "include/mote.h"

uint64_t ceiling_commit_bytes(uint64_t rows)
{
    return round_up(rows * ROW_BYTES + 64, PAGE_BYTES);
}

const char *barrier_name(uint32_t barrier)
{
    static const char *const names[] = {"auto", "flush", "fua", "none"};
    return barrier < sizeof names / sizeof names[0] ? names[barrier] : "?";
}

int ceiling_open(struct ceiling *ceiling, const char *path, uint64_t bytes_max, uint32_t barrier)
{
    *ceiling = (struct ceiling){.barrier = barrier, .buffer_bytes = round_up(bytes_max, PAGE_BYTES)};
    ceiling->flights = calloc(CEILING_DEPTH_MAX, sizeof ceiling->flights[0]);
    /* Reads land side by side; writes may all come from the same bytes. */
    ceiling->buffer = aligned_alloc(PAGE_BYTES, ceiling->buffer_bytes);
    if (!ceiling->flights || !ceiling->buffer)
        return bench_fail("no memory for the ceiling");
    uint64_t state = 1;
    for (uint64_t at = 0; at < ceiling->buffer_bytes; at += sizeof(uint64_t)) {
        uint64_t word = random_next(&state);
        memcpy(ceiling->buffer + at, &word, sizeof word);
    }
    if (blockdev_open(path, &(struct blockdev_open_options){.busy_timeout_ms = 5000}, &ceiling->device))
        return bench_fail_mote("cannot open for the ceiling");
    struct blockdev_queue_options queue = {.depth = 1024, .registered_base = ceiling->buffer, .registered_bytes = ceiling->buffer_bytes};
    if (blockdev_queue_create(ceiling->device, &queue, &ceiling->queue))
        return bench_fail_mote("cannot make a queue for the ceiling");
    uint64_t size_bytes = blockdev_geometry(ceiling->device)->size_bytes;
    if (size_bytes < 4 * ceiling->buffer_bytes + 2 * (uint64_t)MIB_BYTES)
        return bench_fail("%s is too small for writes of %llu bytes", path, (unsigned long long)ceiling->buffer_bytes);
    ceiling->first_bytes = MIB_BYTES;
    ceiling->room_bytes = round_down(size_bytes - 2 * (uint64_t)MIB_BYTES, PAGE_BYTES);
    return 0;
}

void ceiling_close(struct ceiling *ceiling)
{
    if (ceiling->queue)
        blockdev_queue_destroy(ceiling->queue);
    if (ceiling->device)
        blockdev_close(ceiling->device);
    free(ceiling->buffer);
    free(ceiling->flights);
}

int ceiling_launch(struct ceiling *ceiling, struct ceiling_flight *flight, uint64_t write_bytes)
{
    struct blockdev_request *requests[CEILING_REQUESTS_MAX + 1];
    unsigned count = 0;
    bool fua = ceiling->barrier == MOTE_BARRIER_FUA, flush = ceiling->barrier == MOTE_BARRIER_FLUSH;
    uint32_t request_bytes = blockdev_geometry(ceiling->device)->request_bytes_max;
    if (ceiling->next_bytes + write_bytes > ceiling->room_bytes)
        ceiling->next_bytes = 0;
    for (uint64_t done = 0; done < write_bytes; done += request_bytes) {
        uint64_t rest = write_bytes - done;
        struct blockdev_request *write = &flight->writes[count];
        if (count == CEILING_REQUESTS_MAX)
            return bench_fail("a write of %llu bytes takes too many requests", (unsigned long long)write_bytes);
        *write = (struct blockdev_request){.op = BLOCKDEV_WRITE,
                                           .length_bytes = rest < request_bytes ? (uint32_t)rest : request_bytes,
                                           .offset_bytes = ceiling->first_bytes + ceiling->next_bytes + done,
                                           .buffer = ceiling->buffer + done,
                                           .user = flight};
        write->flags = (uint8_t)(fua ? BLOCKDEV_FUA : flush ? BLOCKDEV_LINK : 0);
        requests[count++] = write;
    }
    flight->flush = (struct blockdev_request){.op = BLOCKDEV_FLUSH, .user = flight};
    if (flush)
        requests[count++] = &flight->flush;
    flight->pending = count;
    flight->submitted_ns = clock_ns();
    ceiling->next_bytes += write_bytes;
    int taken = blockdev_submit(ceiling->queue, requests, count);
    return taken == (int)count ? 0 : bench_fail("the queue took %d of %u requests", taken, count);
}

int ceiling_reap(struct ceiling *ceiling, int64_t timeout_ns, struct ceiling_flight **done, unsigned done_max)
{
    struct blockdev_request *requests[64];
    unsigned finished = 0;
    int count = blockdev_reap(ceiling->queue, 1, timeout_ns, requests, done_max < 64 ? done_max : 64);
    if (count < 0)
        return bench_fail_mote("the device does not answer");
    for (int i = 0; i < count; i++) {
        struct ceiling_flight *flight = requests[i]->user;
        if (requests[i]->result)
            return bench_fail("a direct write or read failed: %s", mote_error_name(requests[i]->result));
        if (--flight->pending == 0)
            done[finished++] = flight;
    }
    return (int)finished;
}

/* Keeps depth of them under way: launch is called for each. */
static int keep_under_way(struct ceiling *ceiling, unsigned depth, double seconds, int (*launch)(struct ceiling *, struct ceiling_flight *, void *), void *context, struct ceiling_result *result)
{
    struct ceiling_flight *done[CEILING_DEPTH_MAX];
    unsigned under_way = 0;
    *result = (struct ceiling_result){0};
    if (depth > CEILING_DEPTH_MAX || recorder_open(&result->latency))
        return -1;
    uint64_t started_ns = clock_ns(), end_ns = started_ns + (uint64_t)(seconds * 1e9), last_ns = started_ns;
    for (; under_way < depth; under_way++) {
        if (launch(ceiling, &ceiling->flights[under_way], context))
            return -1;
    }
    while (under_way > 0) {
        int count = ceiling_reap(ceiling, -1, done, CEILING_DEPTH_MAX);
        if (count < 0)
            return -1;
        for (int i = 0; i < count; i++) {
            last_ns = clock_ns();
            recorder_add(&result->latency, last_ns - done[i]->submitted_ns);
            result->count++;
            if (last_ns >= end_ns)
                under_way--;
            else if (launch(ceiling, done[i], context))
                return -1;
        }
    }
    result->seconds = (double)(last_ns - started_ns) / 1e9;
    return 0;
}

static int launch_write(struct ceiling *ceiling, struct ceiling_flight *flight, void *context)
{
    return ceiling_launch(ceiling, flight, *(uint64_t *)context);
}

int ceiling_write(struct ceiling *ceiling, uint64_t write_bytes, unsigned depth, double seconds, struct ceiling_result *result)
{
    return keep_under_way(ceiling, depth, seconds, launch_write, &write_bytes, result);
}

struct read_plan {
    uint64_t read_bytes, state, next;
    bool random;
};

static int launch_read(struct ceiling *ceiling, struct ceiling_flight *flight, void *context)
{
    struct read_plan *plan = context;
    uint64_t places = ceiling->room_bytes / plan->read_bytes, slots = ceiling->buffer_bytes / plan->read_bytes;
    uint64_t place = plan->random ? random_next(&plan->state) % places : plan->next++ % places;
    struct blockdev_request *read = &flight->writes[0], *requests[1] = {read};
    uint64_t slot = (uint64_t)(flight - ceiling->flights) % slots;
    *read = (struct blockdev_request){.op = BLOCKDEV_READ,
                                      .length_bytes = (uint32_t)plan->read_bytes,
                                      .offset_bytes = ceiling->first_bytes + place * plan->read_bytes,
                                      .buffer = ceiling->buffer + slot * plan->read_bytes,
                                      .user = flight};
    flight->pending = 1;
    flight->submitted_ns = clock_ns();
    int taken = blockdev_submit(ceiling->queue, requests, 1);
    return taken == 1 ? 0 : bench_fail("the queue does not take a read");
}

int ceiling_read(struct ceiling *ceiling, uint64_t read_bytes, unsigned depth, bool random, double seconds, struct ceiling_result *result)
{
    struct read_plan plan = {.read_bytes = read_bytes, .state = 7, .random = random};
    return keep_under_way(ceiling, depth, seconds, launch_read, &plan, result);
}

static int try_commits(const char *path, uint32_t barrier, uint64_t write_bytes, unsigned depth, double seconds, double *per_s)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0};
    int code = ceiling_open(&ceiling, path, write_bytes, barrier);
    if (!code)
        code = ceiling_write(&ceiling, write_bytes, depth, seconds, &result);
    *per_s = result.seconds > 0 ? (double)result.count / result.seconds : 0;
    recorder_close(&result.latency);
    ceiling_close(&ceiling);
    return code;
}

int ceiling_search(const struct run *run, uint64_t rows, unsigned concurrency, double seconds, struct ceiling_choice *choice)
{
    *choice = (struct ceiling_choice){0};
    static const uint32_t both[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    for (unsigned b = 0; b < 2; b++) {
        for (unsigned depth = 1; depth <= 8 && depth <= concurrency; depth *= 2) {
            unsigned grouped = concurrency / depth;
            double per_s;
            if (try_commits(run->path, both[b], ceiling_commit_bytes(rows * grouped), depth, seconds, &per_s))
                return -1;
            if (per_s * grouped > choice->commits_per_s)
                *choice = (struct ceiling_choice){both[b], depth, grouped, per_s * grouped};
        }
    }
    return 0;
}

int ceiling_choose_barrier(const char *path, double seconds, uint32_t *barrier, char *why, size_t why_bytes)
{
    double best[2] = {0, 0}, per_s;
    for (unsigned turn = 0; turn < 6; turn++) { /* in turn, the better of three each: noise only ever slows down */
        if (try_commits(path, turn % 2 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH, PAGE_BYTES, 1, seconds, &per_s))
            return -1;
        if (per_s > best[turn % 2])
            best[turn % 2] = per_s;
    }
    *barrier = best[1] > best[0] ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
    snprintf(why, why_bytes, "%s, chosen: 4 KiB made durable %.0f times a second with flush, %.0f with fua", barrier_name(*barrier), best[0], best[1]);
    return 0;
}

double ceiling_memory_bytes_per_s(double seconds)
{
    size_t bytes = 64 * MIB_BYTES;
    uint8_t *from = malloc(bytes), *to = malloc(bytes);
    if (!from || !to) {
        free(from);
        free(to);
        return 0;
    }
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    uint64_t started_ns = clock_ns(), end_ns = started_ns + (uint64_t)(seconds * 1e9), copies = 0, ns = started_ns;
    while (ns < end_ns) {
        from[copies % bytes]++;
        memcpy(to, from, bytes);
        __asm__ volatile("" : : "r"(to) : "memory"); /* the copy is wanted although nobody reads it */
        copies++;
        ns = clock_ns();
    }
    free(from);
    free(to);
    return (double)copies * (double)bytes / ((double)(ns - started_ns) / 1e9);
}

int ceiling_sequential_bytes_per_s(const struct run *run, double *bytes_per_s)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0};
    int code = ceiling_open(&ceiling, run->path, 8 * REQUEST_BYTES_MAX, run->barrier);
    if (!code)
        code = ceiling_read(&ceiling, REQUEST_BYTES_MAX, 8, false, run->options->seconds, &result);
    *bytes_per_s = result.seconds > 0 ? (double)result.count * REQUEST_BYTES_MAX / result.seconds : 0;
    recorder_close(&result.latency);
    ceiling_close(&ceiling);
    return code;
}

int ceiling_random_reads_per_s(const struct run *run, uint64_t read_bytes, unsigned depth, double *reads_per_s, struct recorder *latency)
{
    struct ceiling ceiling;
    struct ceiling_result result = {0};
    int code = ceiling_open(&ceiling, run->path, depth * read_bytes, run->barrier);
    if (!code)
        code = ceiling_read(&ceiling, read_bytes, depth, true, run->options->seconds, &result);
    *reads_per_s = result.seconds > 0 ? (double)result.count / result.seconds : 0;
    if (latency)
        *latency = result.latency;
    else
        recorder_close(&result.latency);
    ceiling_close(&ceiling);
    return code;
}
