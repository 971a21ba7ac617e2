/* ceiling.h: what the device itself can do, without any engine: the figure that every other one is judged by.
 *
 * A commit is a write of a given size made durable by a barrier: FUA on each of its requests, or a FLUSH linked behind them. Writes ascend through the middle of the device like a log,
 * round and round; the first and last MiB stay as they are. Buffers are registered. One thread; blocks; 0 or -1 after a printed sentence.
 */
#ifndef MOTE_BENCH_CEILING_H
#define MOTE_BENCH_CEILING_H

#include "bench/bench.h"
#include "blockdev/blockdev.h"

enum { CEILING_DEPTH_MAX = 32, CEILING_REQUESTS_MAX = 32 };

/* One commit under way: its writes and, with FLUSH, the barrier linked behind them. */
struct ceiling_flight {
    struct blockdev_request writes[CEILING_REQUESTS_MAX], flush;
    unsigned pending;
    uint64_t submitted_ns;
    uint64_t number; /* the caller's own */
};
struct ceiling {
    struct blockdev *device;
    struct blockdev_queue *queue;
    uint8_t *buffer;
    uint64_t buffer_bytes, first_bytes, room_bytes, next_bytes;
    uint32_t barrier;
    struct ceiling_flight *flights; /* CEILING_DEPTH_MAX of them */
};
struct ceiling_result {
    uint64_t count;
    double seconds;
    struct recorder latency;
};

/* Opens the device for commits or reads of at most bytes_max. */
int ceiling_open(struct ceiling *ceiling, const char *path, uint64_t bytes_max, uint32_t barrier);
void ceiling_close(struct ceiling *ceiling);
/* Submits one commit of write_bytes (a multiple of 4 KiB). */
int ceiling_launch(struct ceiling *ceiling, struct ceiling_flight *flight, uint64_t write_bytes);
/* Waits up to timeout_ns (negative: for ever) and gives commits that have become durable, at most done_max. Returns their number or -1. */
int ceiling_reap(struct ceiling *ceiling, int64_t timeout_ns, struct ceiling_flight **done, unsigned done_max);
/* Keeps depth commits under way for that time. The result's recorder is opened here and closed by the caller. */
int ceiling_write(struct ceiling *ceiling, uint64_t write_bytes, unsigned depth, double seconds, struct ceiling_result *result);
/* Reads of read_bytes, depth under way, at random places or in ascending order. */
int ceiling_read(struct ceiling *ceiling, uint64_t read_bytes, unsigned depth, bool random, double seconds, struct ceiling_result *result);

/* Bytes of the smallest durable write that can hold so many rows: they and a 64-byte header, rounded up to 4 KiB. */
uint64_t ceiling_commit_bytes(uint64_t rows);

/* The fastest way to make commits of `rows` rows durable when `concurrency` of them are there at a time: both barriers, 1 to 8 writes under way, commits put together so that
 * concurrency are always covered. */
struct ceiling_choice {
    uint32_t barrier;
    unsigned depth, grouped; /* writes under way; commits in each */
    double commits_per_s;
};
int ceiling_search(const struct run *run, uint64_t rows, unsigned concurrency, double seconds, struct ceiling_choice *choice);
/* FLUSH or FUA, whichever made 4 KiB durable faster; why says the figures. */
int ceiling_choose_barrier(const char *path, double seconds, uint32_t *barrier, char *why, size_t why_bytes);
const char *barrier_name(uint32_t barrier);
/* Bytes per second of one thread's memcpy of 64 MiB. */
double ceiling_memory_bytes_per_s(double seconds);
/* Bytes read in order, 512 KiB a request, eight under way, in one second; and random reads of read_bytes per second. */
int ceiling_sequential_bytes_per_s(const struct run *run, double *bytes_per_s);
int ceiling_random_reads_per_s(const struct run *run, uint64_t read_bytes, unsigned depth, double *reads_per_s, struct recorder *latency);

#endif
