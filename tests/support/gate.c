/* gate.c: see gate.h. Requests go to the inner device as they are; what is held waits in a list of its queue and is handed over by the next reap after the release. */
#include "tests/support/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "blockdev/blockdev_private.h"
#include "include/mote.h"

#define SLICE_NS (500 * 1000)
#define HELD_MAX 1024u

struct gate {
    struct blockdev blockdev;
    struct blockdev *inner;
    _Atomic uint32_t op_mask, source_mask;
    _Atomic uint32_t held_count;
    _Atomic uint32_t slow_op, slow_flags, slow_us;
};

struct gate_queue {
    struct blockdev_queue queue;
    struct blockdev_queue *inner;
    unsigned held_count;
    struct blockdev_request *held[HELD_MAX];
};

static struct gate *gate_of(struct blockdev *device) { return (struct gate *)device; }
static struct gate_queue *gate_queue_of(struct blockdev_queue *queue) { return (struct gate_queue *)queue; }

static void sleep_slice(void)
{
    struct timespec slice = {0, SLICE_NS};
    nanosleep(&slice, NULL);
}

static int create_queue(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **out)
{
    struct gate_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        abort();
    int result = blockdev_queue_create(gate_of(device)->inner, options, &queue->inner);
    if (result) {
        free(queue);
        return result;
    }
    queue->queue.registered = blockdev_queue_registered(queue->inner);
    *out = &queue->queue;
    return MOTE_OK;
}

static void hand_over(struct gate_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    while (count > 0) {
        int taken = blockdev_submit(queue->inner, requests, count);
        if (taken <= 0)
            abort(); /* the inner queue is as deep as the outer one */
        requests += taken;
        count -= (unsigned)taken;
    }
}

static bool is_held(const struct gate *gate, const struct blockdev_request *request)
{
    uint32_t op_mask = atomic_load(&gate->op_mask), source_mask = atomic_load(&gate->source_mask);
    return (op_mask >> request->op & 1) && (source_mask == 0 || (source_mask >> request->source & 1));
}

/* Holds the submitter up, once for each slow request. */
static void slow_down(struct gate *gate, struct blockdev_request *const *requests, unsigned count)
{
    uint32_t slow_us = atomic_load(&gate->slow_us), flags = atomic_load(&gate->slow_flags);
    for (unsigned i = 0; i < count && slow_us; i++) {
        struct timespec pause = {0, (long)slow_us * NS_PER_US};
        if (requests[i]->op == atomic_load(&gate->slow_op) && (requests[i]->flags & flags) == flags)
            nanosleep(&pause, NULL);
    }
}

static int submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct gate_queue *own = gate_queue_of(queue);
    struct gate *gate = gate_of(queue->device);
    unsigned length;
    slow_down(gate, requests, count);
    for (unsigned at = 0; at < count; at += length) {
        bool hold = false;
        length = 0;
        do
            hold |= is_held(gate, requests[at + length]);
        while ((requests[at + length++]->flags & BLOCKDEV_LINK) && at + length < count);
        if (!hold) {
            hand_over(own, requests + at, length);
            continue;
        }
        for (unsigned i = 0; i < length; i++)
            own->held[own->held_count++] = requests[at + i];
        atomic_fetch_add(&gate->held_count, length);
    }
    return (int)count;
}

static void hand_over_held(struct gate_queue *queue)
{
    struct gate *gate = gate_of(queue->queue.device);
    if (queue->held_count == 0 || atomic_load(&gate->op_mask) != 0)
        return;
    atomic_fetch_sub(&gate->held_count, queue->held_count);
    unsigned count = queue->held_count;
    queue->held_count = 0;
    hand_over(queue, queue->held, count);
}

static int reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct gate_queue *own = gate_queue_of(queue);
    unsigned got = 0;
    int64_t left_ns = timeout_ns;
    for (;;) {
        hand_over_held(own);
        bool holding = own->held_count > 0;
        bool enough = got >= wait_count;
        int64_t slice_ns = enough ? 0 : holding ? SLICE_NS : left_ns;
        if (timeout_ns >= 0 && slice_ns > left_ns)
            slice_ns = left_ns;
        int count = blockdev_reap(own->inner, enough ? 0 : wait_count - got, slice_ns, done + got, done_max - got);
        if (count < 0)
            return count;
        got += (unsigned)count;
        bool wakeable = (queue->flags & BLOCKDEV_QUEUE_WAKE) != 0;
        /* A wake looks like an empty reap. An early return is allowed then. */
        if (got >= wait_count || !holding || (wakeable && count == 0))
            return (int)got;
        if (timeout_ns >= 0) {
            left_ns -= SLICE_NS;
            if (left_ns <= 0)
                return (int)got;
        }
        if (count == 0 && !wakeable)
            sleep_slice();
    }
}

static void destroy_queue(struct blockdev_queue *queue)
{
    struct gate_queue *own = gate_queue_of(queue);
    blockdev_drain(queue);
    blockdev_queue_destroy(own->inner);
    free(own);
}

static void wake(struct blockdev_queue *queue) { blockdev_wake(gate_queue_of(queue)->inner); }

static int refresh(struct blockdev *device)
{
    struct gate *gate = gate_of(device);
    int result = blockdev_refresh(gate->inner);
    __atomic_store_n(&device->geometry.size_bytes, __atomic_load_n(&blockdev_geometry(gate->inner)->size_bytes, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    return result;
}

static void close_gate(struct blockdev *device) { free(device); }

static const struct blockdev_ops GATE_OPS = {
    .name = "gate", .queue_create = create_queue, .queue_destroy = destroy_queue, .submit = submit, .reap = reap, .wake = wake, .refresh = refresh, .close = close_gate};

struct blockdev *gate_create(struct blockdev *inner)
{
    struct gate *gate = calloc(1, sizeof *gate);
    if (!gate)
        abort();
    blockdev_init(&gate->blockdev, &GATE_OPS, blockdev_path(inner));
    gate->blockdev.geometry = *blockdev_geometry(inner);
    gate->inner = inner;
    return &gate->blockdev;
}

void gate_hold(struct blockdev *device, uint32_t op_mask, uint32_t source_mask)
{
    struct gate *gate = gate_of(device);
    atomic_store(&gate->source_mask, source_mask);
    atomic_store(&gate->op_mask, op_mask);
}

void gate_release(struct blockdev *device) { atomic_store(&gate_of(device)->op_mask, 0); }

uint32_t gate_held(struct blockdev *gate) { return atomic_load(&gate_of(gate)->held_count); }

void gate_wait_held(struct blockdev *device)
{
    for (unsigned i = 0; atomic_load(&gate_of(device)->held_count) == 0; i++) {
        if (i > 40 * 1000) {
            fprintf(stderr, "gate: nothing was held for 20 s\n");
            abort();
        }
        sleep_slice();
    }
}

void gate_slow(struct blockdev *device, uint32_t op, uint32_t flags, uint32_t microseconds)
{
    struct gate *gate = gate_of(device);
    atomic_store(&gate->slow_op, op);
    atomic_store(&gate->slow_flags, flags);
    atomic_store(&gate->slow_us, microseconds);
}

struct blockdev *gate_inner(struct blockdev *device) { return gate_of(device)->inner; }
