/* requests.c: see requests.h. */
#include "tests/support/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void stop(const char *what)
{
    fprintf(stderr, "requests: %s\n", what);
    abort();
}

struct blockdev_queue *requests_queue(struct blockdev *device, uint32_t depth)
{
    struct blockdev_queue_options options = {.depth = depth};
    struct blockdev_queue *queue;
    if (blockdev_queue_create(device, &options, &queue) != 0)
        stop("no queue");
    return queue;
}

int requests_do(struct blockdev_queue *queue, enum blockdev_op op, uint8_t flags, uint64_t offset_bytes, void *buffer, uint32_t length_bytes)
{
    struct blockdev_request request = {.op = (uint8_t)op, .flags = flags, .offset_bytes = offset_bytes, .length_bytes = length_bytes, .buffer = buffer};
    struct blockdev_request *pointer = &request, *done = NULL;
    if (blockdev_submit(queue, &pointer, 1) != 1)
        stop("not submitted");
    if (blockdev_reap(queue, 1, -1, &done, 1) != 1 || done != &request)
        stop("not reaped");
    return request.result;
}

int requests_write(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint32_t length_bytes)
{
    return requests_do(queue, BLOCKDEV_WRITE, 0, offset_bytes, buffer, length_bytes);
}

int requests_read(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint32_t length_bytes)
{
    return requests_do(queue, BLOCKDEV_READ, 0, offset_bytes, buffer, length_bytes);
}

int requests_flush(struct blockdev_queue *queue) { return requests_do(queue, BLOCKDEV_FLUSH, 0, 0, NULL, 0); }

uint8_t *requests_buffer(size_t size_bytes, uint8_t fill)
{
    uint8_t *buffer = aligned_alloc(4096, (size_bytes + 4095) / 4096 * 4096);
    if (!buffer)
        stop("no memory");
    memset(buffer, fill, size_bytes);
    return buffer;
}

uint64_t requests_seed(const char *test)
{
    const char *given = getenv("MOTE_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
    fprintf(stderr, "%s: MOTE_SEED=%llu\n", test, (unsigned long long)seed);
    return seed;
}
