/* faulty.c: the fault injector: a backend that hands requests to another device and lets some of them go wrong.
 *
 * Each request in flight has a slot with the inner request made from it. A chain that no fault hits goes to the inner device as a chain; of a chain that one hits, each request
 * is handed over when its predecessor succeeded. Rules are matched at submission.
 *
 * Invariants: the inner queue is as deep as the outer one and each slot has one inner request at most, so that a hand-over always fits; a slot is in exactly one state.
 * Threads: the mutex guards the rules, the removal and the size; slots belong to the queue's user. Nothing waits with the mutex held.
 * Failures: those of the inner device, and the injected ones. Scratch memory that runs out is ENOMEM. */
#include "blockdev/faulty.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/blockdev_private.h"

#define RULES_MAX 32u
#define REAP_MAX 32u

struct counted_rule {
    struct faulty_rule rule;
    uint64_t seen, hits;
};

struct faulty_device {
    struct blockdev blockdev;
    struct blockdev *inner;
    pthread_mutex_t lock;
    struct counted_rule rules[RULES_MAX];
    unsigned rule_count;
    bool removed;
    uint64_t size_bytes; /* as it is now; the geometry learns of it at refresh */
};

enum slot_state {
    SLOT_FREE,
    SLOT_WAITING, /* behind its predecessor in a chain */
    SLOT_HELD,    /* delayed: not handed over yet */
    SLOT_INNER,   /* with the inner device */
    SLOT_DONE,    /* completes at the next reap with its errno */
};

/* What a rule made of a request. */
struct fault {
    bool hit;
    struct faulty_rule rule;
};

struct faulty_slot {
    enum slot_state state;
    struct blockdev_request inner;
    struct blockdev_request *outer;
    struct faulty_slot *follower; /* linked behind this one */
    struct fault fault;           /* chosen at submission */
    uint64_t number;              /* of its submission */
    int result_errno;             /* of SLOT_DONE, and of SLOT_INNER: reported in place of success */
    bool flip_read;
    uint64_t flip_bit;
    uint8_t *scratch; /* data that differs from the caller's */
};

struct faulty_queue {
    struct blockdev_queue queue;
    struct blockdev_queue *inner;
    uint64_t submitted_count, newest_completed;
    uint32_t depth;
    struct faulty_slot slots[];
};

static struct faulty_device *faulty_of(struct blockdev *device) { return (struct faulty_device *)device; }
static struct faulty_queue *faulty_queue_of(struct blockdev_queue *queue) { return (struct faulty_queue *)queue; }

static bool rule_matches(const struct faulty_rule *rule, const struct blockdev_request *request)
{
    if (rule->op_mask != 0 && !(rule->op_mask >> request->op & 1))
        return false;
    if (rule->source_mask != 0 && !(rule->source_mask >> request->source & 1))
        return false;
    if (rule->length_bytes == 0)
        return true;
    if (request->op == BLOCKDEV_FLUSH)
        return false;
    return request->offset_bytes < rule->offset_bytes + rule->length_bytes && rule->offset_bytes < request->offset_bytes + request->length_bytes;
}

/* Counts the request with every rule and yields the first that is due. The mutex is held. */
static struct fault match_rules(struct faulty_device *device, const struct blockdev_request *request)
{
    struct fault fault = {0};
    for (unsigned i = 0; i < device->rule_count; i++) {
        struct counted_rule *counted = &device->rules[i];
        if (!rule_matches(&counted->rule, request))
            continue;
        uint64_t position = counted->seen++;
        bool due = position >= counted->rule.skip && position - counted->rule.skip < counted->rule.times;
        if (due && !fault.hit) {
            counted->hits++;
            fault.hit = true;
            fault.rule = counted->rule;
        }
    }
    return fault;
}

static bool is_beyond(const struct faulty_device *device, const struct blockdev_request *request)
{
    return request->op != BLOCKDEV_FLUSH && request->offset_bytes + request->length_bytes > device->size_bytes;
}

static void finish_locally(struct faulty_slot *slot, int result_errno)
{
    slot->state = SLOT_DONE;
    slot->result_errno = result_errno;
}

static void flip(uint8_t *data, uint32_t length_bytes, uint64_t bit)
{
    uint64_t at = bit % ((uint64_t)length_bytes * 8);
    data[at / 8] = (uint8_t)(data[at / 8] ^ (1u << (at % 8)));
}

static void flip_bit(struct faulty_slot *slot, uint64_t bit)
{
    struct blockdev_request *inner = &slot->inner;
    if (inner->op == BLOCKDEV_READ) {
        slot->flip_read = true;
        slot->flip_bit = bit;
    } else if (inner->op == BLOCKDEV_WRITE) {
        slot->scratch = aligned_alloc(PAGE_BYTES, round_up(inner->length_bytes, PAGE_BYTES));
        if (!slot->scratch) {
            finish_locally(slot, ENOMEM);
            return;
        }
        memcpy(slot->scratch, inner->buffer, inner->length_bytes);
        flip(slot->scratch, inner->length_bytes, bit);
        inner->buffer = slot->scratch;
    }
}

static void shorten(struct faulty_slot *slot, uint32_t block_bytes)
{
    uint32_t half_bytes = (uint32_t)round_down(slot->inner.length_bytes / 2, block_bytes);
    if (slot->inner.op == BLOCKDEV_FLUSH || half_bytes == 0) {
        finish_locally(slot, EIO);
        return;
    }
    slot->inner.length_bytes = half_bytes;
    slot->result_errno = EIO;
}

static void misdirect(struct faulty_slot *slot, const struct faulty_device *device, int64_t shift_bytes)
{
    uint64_t to = slot->inner.offset_bytes + (uint64_t)shift_bytes, size_bytes = device->inner->geometry.size_bytes;
    if (to > size_bytes || slot->inner.length_bytes > size_bytes - to)
        finish_locally(slot, 0);
    else
        slot->inner.offset_bytes = to;
}

static void apply_fault(struct faulty_device *device, struct faulty_slot *slot, const struct faulty_rule *rule)
{
    switch (rule->kind) {
    case FAULTY_ERRNO:
        finish_locally(slot, rule->system_errno);
        break;
    case FAULTY_LOST:
        finish_locally(slot, 0);
        break;
    case FAULTY_MISDIRECTED:
        misdirect(slot, device, rule->shift_bytes);
        break;
    case FAULTY_BIT_FLIP:
        flip_bit(slot, rule->bit);
        break;
    case FAULTY_SHORT:
        shorten(slot, device->blockdev.geometry.logical_block_bytes);
        break;
    case FAULTY_DELAY:
        slot->state = SLOT_HELD;
        break;
    case FAULTY_REMOVED:
        pthread_mutex_lock(&device->lock);
        device->removed = true;
        pthread_mutex_unlock(&device->lock);
        finish_locally(slot, ENODEV);
        break;
    }
}

/* Decides what becomes of the slot: afterwards it is SLOT_INNER (to be handed over by the caller), SLOT_HELD or SLOT_DONE. */
static void decide_slot(struct faulty_device *device, struct faulty_slot *slot)
{
    slot->state = SLOT_INNER;
    pthread_mutex_lock(&device->lock);
    bool removed = device->removed, beyond = is_beyond(device, slot->outer);
    pthread_mutex_unlock(&device->lock);
    if (removed)
        finish_locally(slot, ENODEV);
    else if (slot->fault.hit)
        apply_fault(device, slot, &slot->fault.rule);
    else if (beyond)
        finish_locally(slot, EIO);
}

/* Gives requests to the inner device, which has room for them. */
static void hand_over(struct faulty_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    while (count > 0) {
        int taken = blockdev_submit(queue->inner, requests, count);
        if (taken < 0) {
            for (unsigned i = 0; i < count; i++)
                finish_locally(requests[i]->user, ENODEV);
            return;
        }
        requests += taken;
        count -= (unsigned)taken;
    }
}

/* A slot whose predecessor succeeded. */
static void start_alone(struct faulty_queue *queue, struct faulty_slot *slot)
{
    struct blockdev_request *inner = &slot->inner;
    decide_slot(faulty_of(queue->queue.device), slot);
    if (slot->state == SLOT_INNER)
        hand_over(queue, &inner, 1);
}

static struct faulty_slot *take_slot(struct faulty_queue *queue, struct blockdev_request *outer)
{
    struct faulty_slot *slot = queue->slots;
    while (slot->state != SLOT_FREE)
        slot++;
    assert(slot < queue->slots + queue->depth);
    *slot = (struct faulty_slot){.state = SLOT_WAITING, .outer = outer, .number = ++queue->submitted_count};
    slot->inner = (struct blockdev_request){.op = outer->op, .source = outer->source, .length_bytes = outer->length_bytes,
                                            .offset_bytes = outer->offset_bytes, .buffer = outer->buffer, .user = slot};
    slot->inner.flags = (uint8_t)(outer->flags & ~BLOCKDEV_LINK);
    return slot;
}

/* Hands over a whole chain that nothing goes wrong with: the inner device keeps its order. */
static void hand_over_chain(struct faulty_queue *queue, struct faulty_slot *first, unsigned count)
{
    struct blockdev_request **chain = calloc(count, sizeof *chain);
    unsigned at = 0;
    for (struct faulty_slot *slot = first, *next; slot; slot = next) {
        next = slot->follower;
        slot->follower = NULL;
        slot->state = SLOT_INNER;
        if (next)
            slot->inner.flags |= BLOCKDEV_LINK;
        if (chain)
            chain[at++] = &slot->inner;
        else
            finish_locally(slot, ENOMEM);
    }
    if (chain)
        hand_over(queue, chain, count);
    free(chain);
}

/* Submits one chain (or one request), and counts it. */
static void submit_chain(struct faulty_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct faulty_device *device = faulty_of(queue->queue.device);
    struct faulty_slot *first = NULL, *last = NULL;
    bool faulty = false;
    pthread_mutex_lock(&device->lock);
    for (unsigned i = 0; i < count; i++) {
        struct faulty_slot *slot = take_slot(queue, requests[i]);
        if (!device->removed)
            slot->fault = match_rules(device, requests[i]);
        faulty |= device->removed || slot->fault.hit || is_beyond(device, requests[i]);
        if (last)
            last->follower = slot;
        else
            first = slot;
        last = slot;
    }
    pthread_mutex_unlock(&device->lock);
    if (faulty)
        start_alone(queue, first);
    else
        hand_over_chain(queue, first, count);
}

static int submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct faulty_queue *own = faulty_queue_of(queue);
    unsigned free_count = 0, taken = 0;
    for (uint32_t i = 0; i < own->depth; i++)
        free_count += own->slots[i].state == SLOT_FREE;
    while (taken < count) {
        unsigned length = 1;
        while (taken + length < count && (requests[taken + length - 1]->flags & BLOCKDEV_LINK))
            length++;
        if (length > free_count)
            break;
        submit_chain(own, requests + taken, length);
        free_count -= length;
        taken += length;
    }
    return (int)taken;
}

/* The slot is over: its request goes back to the caller, its follower starts or is cancelled. */
static struct blockdev_request *finish_slot(struct faulty_queue *queue, struct faulty_slot *slot, int system_errno)
{
    struct blockdev_request *outer = slot->outer;
    outer->system_errno = system_errno;
    if (slot->flip_read && system_errno == 0)
        flip(outer->buffer, outer->length_bytes, slot->flip_bit);
    free(slot->scratch);
    if (slot->number > queue->newest_completed)
        queue->newest_completed = slot->number;
    struct faulty_slot *follower = slot->follower;
    memset(slot, 0, sizeof *slot);
    if (follower && system_errno)
        finish_locally(follower, ECANCELED);
    else if (follower)
        start_alone(queue, follower);
    return outer;
}

static int errno_of_inner(const struct faulty_queue *queue, const struct faulty_slot *slot)
{
    struct faulty_device *device = faulty_of(queue->queue.device);
    pthread_mutex_lock(&device->lock);
    bool removed = device->removed;
    pthread_mutex_unlock(&device->lock);
    if (removed)
        return ENODEV;
    if (slot->inner.result != MOTE_OK)
        return slot->inner.system_errno ? slot->inner.system_errno : EINVAL;
    return slot->result_errno;
}

static unsigned reap_local(struct faulty_queue *queue, struct blockdev_request **done, unsigned done_max)
{
    unsigned got = 0;
    for (bool again = true; again && got < done_max;) {
        again = false; /* a cancelled follower may stand before its predecessor */
        for (uint32_t i = 0; i < queue->depth && got < done_max; i++) {
            struct faulty_slot *slot = &queue->slots[i];
            if (slot->state == SLOT_DONE) {
                done[got++] = finish_slot(queue, slot, slot->result_errno);
                again = true;
            }
        }
    }
    return got;
}

/* Hands over what was delayed long enough: a later request completed, or nothing else is with the inner device. */
static void release_held(struct faulty_queue *queue)
{
    bool idle = blockdev_queue_inflight(queue->inner) == 0;
    for (uint32_t i = 0; i < queue->depth; i++) {
        struct faulty_slot *slot = &queue->slots[i];
        if (slot->state == SLOT_HELD && (idle || slot->number < queue->newest_completed)) {
            struct blockdev_request *inner = &slot->inner;
            slot->state = SLOT_INNER;
            hand_over(queue, &inner, 1);
        }
    }
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct faulty_queue *own = faulty_queue_of(queue);
    int64_t start_ns = now_ns();
    unsigned got = 0;
    for (;;) {
        got += reap_local(own, done + got, done_max - got);
        if (got == done_max)
            return (int)got;
        release_held(own);
        bool enough = got >= wait_count;
        bool wakeable = (queue->flags & BLOCKDEV_QUEUE_WAKE) != 0;
        if (blockdev_queue_inflight(own->inner) == 0 && (enough || !wakeable))
            return (int)got;
        int64_t left_ns = enough ? 0 : timeout_ns;
        if (!enough && timeout_ns > 0) {
            int64_t passed_ns = now_ns() - start_ns;
            left_ns = passed_ns < timeout_ns ? timeout_ns - passed_ns : 0;
        }
        struct blockdev_request *inner[REAP_MAX];
        unsigned inner_max = done_max - got < REAP_MAX ? done_max - got : REAP_MAX;
        int reaped = blockdev_reap(own->inner, enough ? 0 : 1, left_ns, inner, inner_max);
        if (reaped < 0)
            return got > 0 ? (int)got : reaped;
        for (int i = 0; i < reaped; i++) {
            struct faulty_slot *slot = inner[i]->user;
            assert(slot->state == SLOT_INNER);
            done[got++] = finish_slot(own, slot, errno_of_inner(own, slot));
        }
        if (reaped == 0)
            return (int)(got + reap_local(own, done + got, done_max - got));
    }
}

static void wake(struct blockdev_queue *queue) { blockdev_wake(faulty_queue_of(queue)->inner); }

static int create_queue(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue)
{
    struct faulty_queue *made = calloc(1, sizeof *made + options->depth * sizeof made->slots[0]);
    if (!made)
        return error_set(MOTE_ENOMEM, "no memory for a queue of %u requests", options->depth);
    int result = blockdev_queue_create(faulty_of(device)->inner, options, &made->inner);
    if (result != MOTE_OK) {
        free(made);
        return result;
    }
    made->depth = options->depth;
    made->queue.device = device;
    made->queue.depth = options->depth;
    made->queue.flags = options->flags;
    made->queue.registered = blockdev_queue_registered(made->inner);
    *queue = &made->queue;
    return MOTE_OK;
}

static bool queue_is_idle(const struct faulty_queue *queue)
{
    for (uint32_t i = 0; i < queue->depth; i++) {
        if (queue->slots[i].state != SLOT_FREE)
            return false;
    }
    return true;
}

static void destroy_queue(struct blockdev_queue *queue)
{
    struct faulty_queue *own = faulty_queue_of(queue);
    struct blockdev_request *done[REAP_MAX];
    while (!queue_is_idle(own) && reap(queue, 1, -1, done, REAP_MAX) >= 0)
        continue;
    blockdev_queue_destroy(own->inner);
    free(own);
}

static void retire_queue(struct blockdev_queue *queue) { blockdev_queue_retire(faulty_queue_of(queue)->inner); }

static int refresh(struct blockdev *device)
{
    struct faulty_device *own = faulty_of(device);
    pthread_mutex_lock(&own->lock);
    bool removed = own->removed;
    uint64_t size_bytes = own->size_bytes;
    pthread_mutex_unlock(&own->lock);
    if (removed)
        return error_set(MOTE_ENODEV, "the device %s was removed", device->path);
    int result = blockdev_refresh(own->inner);
    if (result == MOTE_OK) {
        uint64_t inner_bytes = own->inner->geometry.size_bytes;
        __atomic_store_n(&device->geometry.size_bytes, size_bytes < inner_bytes ? size_bytes : inner_bytes, __ATOMIC_RELAXED);
    }
    return result;
}

static void close_device(struct blockdev *device)
{
    struct faulty_device *own = faulty_of(device);
    blockdev_close(own->inner);
    pthread_mutex_destroy(&own->lock);
    free(own);
}

static const struct blockdev_ops faulty_ops = {
    .name = "faulty",
    .queue_create = create_queue,
    .queue_destroy = destroy_queue,
    .queue_retire = retire_queue,
    .submit = submit,
    .reap = reap,
    .wake = wake,
    .refresh = refresh,
    .close = close_device,
};

int faulty_create(struct blockdev *inner, struct blockdev **device)
{
    struct faulty_device *made = calloc(1, sizeof *made);
    if (!made)
        return error_set(MOTE_ENOMEM, "no memory for a fault injector");
    blockdev_init(&made->blockdev, &faulty_ops, inner->path);
    made->blockdev.geometry = inner->geometry;
    snprintf(made->blockdev.backend_name, sizeof made->blockdev.backend_name, "faulty(%.32s)", inner->backend_name);
    pthread_mutex_init(&made->lock, NULL);
    made->inner = inner;
    made->size_bytes = UINT64_MAX;
    *device = &made->blockdev;
    return MOTE_OK;
}

int faulty_add(struct blockdev *device, const struct faulty_rule *rule)
{
    struct faulty_device *own = faulty_of(device);
    int number = MOTE_EBUDGET;
    pthread_mutex_lock(&own->lock);
    if (own->rule_count < RULES_MAX) {
        number = (int)own->rule_count;
        own->rules[own->rule_count++] = (struct counted_rule){.rule = *rule};
    }
    pthread_mutex_unlock(&own->lock);
    return number < 0 ? error_set(number, "a fault injector holds %u rules at most", RULES_MAX) : number;
}

void faulty_clear(struct blockdev *device)
{
    struct faulty_device *own = faulty_of(device);
    pthread_mutex_lock(&own->lock);
    own->rule_count = 0;
    own->removed = false;
    pthread_mutex_unlock(&own->lock);
}

uint64_t faulty_hits(struct blockdev *device, int rule)
{
    struct faulty_device *own = faulty_of(device);
    uint64_t hits = 0;
    pthread_mutex_lock(&own->lock);
    if (rule >= 0 && (unsigned)rule < own->rule_count)
        hits = own->rules[rule].hits;
    pthread_mutex_unlock(&own->lock);
    return hits;
}

void faulty_shrink(struct blockdev *device, uint64_t size_bytes)
{
    struct faulty_device *own = faulty_of(device);
    pthread_mutex_lock(&own->lock);
    own->size_bytes = size_bytes;
    pthread_mutex_unlock(&own->lock);
}

struct blockdev *faulty_inner(struct blockdev *device) { return faulty_of(device)->inner; }
