/* blockdev_contract_queue.c: the contract's cases on queues: depth, waking, time limits, threads, destruction, load. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract_private.h"

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void sleep_us(long duration_us)
{
    struct timespec duration = {.tv_nsec = duration_us * NS_PER_US};
    (void)nanosleep(&duration, NULL);
}

/* Rule 1: no more than depth are taken; a chain whole or not at all; one that can never fit is refused. */
void contract_run_depth(struct contract *contract)
{
    enum { DEPTH = 4, COUNT = 23 };
    struct blockdev_queue *queue = contract_queue(contract, DEPTH, 0);
    uint8_t *data = contract_buffer(COUNT * PAGE_BYTES, contract->seed), *seen = contract_buffer(COUNT * PAGE_BYTES, 0);
    struct blockdev_request requests[COUNT], *all[COUNT], *done[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i] = contract_request(BLOCKDEV_WRITE, (uint64_t)i * PAGE_BYTES, PAGE_BYTES, data + i * PAGE_BYTES, 0);
        all[i] = &requests[i];
    }
    unsigned sent = 0, reaped = 0;
    while (reaped < COUNT) {
        unsigned room = DEPTH - blockdev_queue_inflight(queue), left = COUNT - sent;
        int taken = blockdev_submit(queue, all + sent, left);
        CONTRACT_CHECK(contract, taken == (int)(left < room ? left : room));
        sent += taken > 0 ? (unsigned)taken : 0;
        CONTRACT_CHECK(contract, blockdev_submit(queue, all + sent, COUNT - sent) == 0 || sent == COUNT);
        int got = blockdev_reap(queue, 2, -1, done, 3);
        CONTRACT_CHECK(contract, got >= 1 && got <= 3);
        reaped += got > 0 ? (unsigned)got : COUNT;
    }
    CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, COUNT * PAGE_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(data, seen, COUNT * PAGE_BYTES) == 0);
    /* Three in flight, then a chain of two and a single one: the chain does not fit, and what comes after it does not overtake it. */
    CONTRACT_CHECK(contract, blockdev_submit(queue, all, 3) == 3);
    requests[3].flags = BLOCKDEV_LINK;
    CONTRACT_CHECK(contract, blockdev_submit(queue, all + 3, 3) == 0);
    for (reaped = 0; reaped < 3;)
        reaped += (unsigned)blockdev_reap(queue, 1, -1, done, 1);
    CONTRACT_CHECK(contract, blockdev_submit(queue, all + 3, 3) == 3);
    for (reaped = 0; reaped < 3;)
        reaped += (unsigned)blockdev_reap(queue, 3 - reaped, -1, done, 3);
    for (unsigned i = 0; i < DEPTH; i++)
        requests[i].flags = BLOCKDEV_LINK;
    contract_do(contract, queue, requests, DEPTH + 1);
    for (unsigned i = 0; i <= DEPTH; i++)
        CONTRACT_CHECK(contract, requests[i].result == (i == 0 ? MOTE_EINVAL : MOTE_EIO));
    blockdev_queue_destroy(queue);
    /* Options out of range. */
    struct blockdev_queue_options options = {.depth = 0};
    CONTRACT_CHECK(contract, blockdev_queue_create(contract->device, &options, &queue) == MOTE_EINVAL && queue == NULL);
    options.depth = 1025;
    CONTRACT_CHECK(contract, blockdev_queue_create(contract->device, &options, &queue) == MOTE_EINVAL && queue == NULL);
    options.depth = 1024;
    CONTRACT_CHECK(contract, blockdev_queue_create(contract->device, &options, &queue) == MOTE_OK);
    blockdev_queue_destroy(queue);
    free(data);
    free(seen);
}

struct waker {
    struct blockdev_queue *queue;
    _Atomic unsigned sent, seen;
    _Atomic bool stop;
    unsigned rounds;
};

/* Sends the next wake only after the last one was seen, at once or a little later, so that both sides of the race come up. */
static void *run_waker(void *argument)
{
    struct waker *waker = argument;
    for (unsigned i = 0; i < waker->rounds; i++) {
        if (i % 4 == 0)
            sleep_us(50);
        atomic_store(&waker->sent, i + 1);
        blockdev_wake(waker->queue);
        for (unsigned spin = 0; atomic_load(&waker->seen) < i + 1; spin++) {
            if (atomic_load(&waker->stop))
                return NULL;
            if (spin < 20)
                sched_yield();
            else
                sleep_us(20); /* on a loaded machine the other thread needs this processor */
        }
    }
    return NULL;
}

/* blockdev_wake ends a sleep, or the next one; none is lost; completions come through meanwhile. */
void contract_run_wake(struct contract *contract)
{
    struct blockdev_queue *queue = contract_queue(contract, 8, BLOCKDEV_QUEUE_WAKE);
    uint8_t *data = contract_buffer(PAGE_BYTES, 1);
    struct blockdev_request request = contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0), *one = &request, *done[4];
    blockdev_wake(queue);
    int64_t start_ns = now_ns();
    CONTRACT_CHECK(contract, blockdev_reap(queue, 1, 5 * NS_PER_S, done, 4) == 0);
    CONTRACT_CHECK(contract, now_ns() - start_ns < 2 * NS_PER_S);
    /* That wake is used up. */
    start_ns = now_ns();
    CONTRACT_CHECK(contract, blockdev_reap(queue, 1, 20 * NS_PER_MS, done, 4) == 0);
    CONTRACT_CHECK(contract, now_ns() - start_ns >= 20 * NS_PER_MS);
    struct waker waker = {.queue = queue, .rounds = 2000};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_waker, &waker) != 0)
        abort();
    bool busy = false;
    unsigned completions = 0;
    start_ns = now_ns();
    /* Three seconds of it are enough; a machine that lets nothing happen meanwhile gets a minute. */
    while (atomic_load(&waker.seen) < waker.rounds && now_ns() - start_ns < (completions > 0 && atomic_load(&waker.seen) > 0 ? 3 : 60) * NS_PER_S) {
        if (!busy && atomic_load(&waker.seen) % 3 == 0)
            busy = blockdev_submit(queue, &one, 1) == 1;
        int64_t slept_ns = now_ns();
        int got = blockdev_reap(queue, 4, 20 * NS_PER_S, done, 4);
        CONTRACT_CHECK(contract, got >= 0);
        CONTRACT_CHECK(contract, now_ns() - slept_ns < 20 * NS_PER_S); /* what a lost wake costs */
        for (int i = 0; i < got; i++) {
            CONTRACT_CHECK(contract, done[i] == &request && request.result == MOTE_OK);
            completions++;
            busy = false;
        }
        atomic_store(&waker.seen, atomic_load(&waker.sent));
    }
    CONTRACT_CHECK(contract, completions > 0 && atomic_load(&waker.seen) > 0);
    atomic_store(&waker.stop, true);
    pthread_join(thread, NULL);
    blockdev_queue_destroy(queue);
    free(data);
}

/* 0 polls, a limit is kept, a wait without limit ends with its completions. */
void contract_run_timeouts(struct contract *contract)
{
    struct blockdev_queue *queue = contract_queue(contract, 8, 0), *wakeable = contract_queue(contract, 8, BLOCKDEV_QUEUE_WAKE);
    uint8_t *data = contract_buffer(8 * PAGE_BYTES, 1);
    struct blockdev_request *done[8];
    int64_t start_ns = now_ns();
    CONTRACT_CHECK(contract, blockdev_reap(queue, 1, 0, done, 8) == 0);
    CONTRACT_CHECK(contract, blockdev_reap(queue, 1, -1, done, 8) == 0); /* nothing in flight and no wake: nothing to wait for */
    CONTRACT_CHECK(contract, blockdev_reap(wakeable, 1, 0, done, 8) == 0);
    CONTRACT_CHECK(contract, blockdev_reap(wakeable, 0, -1, done, 8) == 0);
    CONTRACT_CHECK(contract, now_ns() - start_ns < NS_PER_S);
    for (int64_t limit_ms = 1; limit_ms <= 16; limit_ms *= 4) {
        start_ns = now_ns();
        CONTRACT_CHECK(contract, blockdev_reap(wakeable, 8, limit_ms * NS_PER_MS, done, 8) == 0);
        int64_t took_ns = now_ns() - start_ns;
        CONTRACT_CHECK(contract, took_ns >= limit_ms * NS_PER_MS && took_ns < limit_ms * NS_PER_MS + NS_PER_S);
    }
    struct blockdev_request requests[8], *all[8];
    for (unsigned i = 0; i < 8; i++) {
        requests[i] = contract_request(BLOCKDEV_WRITE, (uint64_t)i * PAGE_BYTES, PAGE_BYTES, data + i * PAGE_BYTES, 0);
        all[i] = &requests[i];
    }
    CONTRACT_CHECK(contract, blockdev_submit(wakeable, all, 4) == 4);
    CONTRACT_CHECK(contract, blockdev_submit(queue, all + 4, 4) == 4);
    CONTRACT_CHECK(contract, blockdev_reap(queue, 4, 10 * NS_PER_S, done, 8) == 4);
    /* More than is in flight: what is there comes, at the latest at the limit. */
    unsigned early = 0;
    start_ns = now_ns();
    while (early < 4 && now_ns() - start_ns < 10 * NS_PER_S)
        early += (unsigned)blockdev_reap(wakeable, 8, 20 * NS_PER_MS, done, 8);
    CONTRACT_CHECK(contract, early == 4);
    /* Polling alone brings completions as well. */
    CONTRACT_CHECK(contract, blockdev_submit(queue, all, 8) == 8);
    unsigned reaped = 0;
    for (start_ns = now_ns(); reaped < 8 && now_ns() - start_ns < 10 * NS_PER_S;) {
        int got = blockdev_reap(queue, 0, 0, done, 3);
        CONTRACT_CHECK(contract, got >= 0 && got <= 3);
        reaped += (unsigned)got;
    }
    CONTRACT_CHECK(contract, reaped == 8);
    blockdev_queue_destroy(queue);
    blockdev_queue_destroy(wakeable);
    free(data);
}

struct sharer {
    struct contract *contract;
    struct blockdev_queue *queue;
    pthread_mutex_t *lock;
    unsigned number, failures;
    uint8_t *data;
};

/* Submits under the lock, lets others in, reaps under the lock: what it reaps may be the others'. */
static void *run_sharer(void *argument)
{
    struct sharer *sharer = argument;
    for (unsigned round = 0; round < 100; round++) {
        struct blockdev_request request = contract_request(BLOCKDEV_WRITE, sharer->number * (uint64_t)PAGE_BYTES, PAGE_BYTES, sharer->data, 0), *one = &request;
        _Atomic bool *finished = calloc(1, sizeof *finished);
        bool mine = false;
        request.user = finished;
        pthread_mutex_lock(sharer->lock);
        sharer->failures += blockdev_submit(sharer->queue, &one, 1) != 1;
        pthread_mutex_unlock(sharer->lock);
        while (!mine) {
            struct blockdev_request *done[4];
            pthread_mutex_lock(sharer->lock);
            int got = atomic_load(finished) ? 0 : blockdev_reap(sharer->queue, 1, NS_PER_MS, done, 4);
            for (int i = 0; i < got; i++) {
                sharer->failures += done[i]->result != MOTE_OK;
                atomic_store((_Atomic bool *)done[i]->user, true);
            }
            mine = atomic_load(finished);
            pthread_mutex_unlock(sharer->lock);
        }
        free(finished);
    }
    return NULL;
}

struct leaver {
    struct blockdev_queue *queue;
    struct blockdev_request *requests[3];
    unsigned count, taken;
};

static void *submit_and_leave(void *argument)
{
    struct leaver *leaver = argument;
    int taken = blockdev_submit(leaver->queue, leaver->requests, leaver->count);
    leaver->taken = taken < 0 ? 0 : (unsigned)taken;
    return NULL;
}

/* A thread that ends at once leaves its requests on a SHARED queue: they are carried out all the same. */
static void run_leavers(struct contract *contract, struct blockdev_queue *queue)
{
    enum { ROUNDS = 300 };
    uint8_t *data = contract_buffer(PAGE_BYTES, contract->seed + 7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct blockdev_request write = contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, round % 2 ? BLOCKDEV_LINK : BLOCKDEV_FUA), flush = {.op = BLOCKDEV_FLUSH}, *done[3];
        struct leaver leaver = {queue, {&write, &flush}, 2, 0};
        pthread_t thread;
        if (pthread_create(&thread, NULL, submit_and_leave, &leaver) != 0)
            abort();
        pthread_join(thread, NULL);
        CONTRACT_CHECK(contract, leaver.taken == 2);
        unsigned got = 0;
        while (got < leaver.taken) {
            int reaped = blockdev_reap(queue, 1, -1, done, 3); /* A flush of an image may take seconds on a busy disk. */
            CONTRACT_CHECK(contract, reaped > 0);
            if (reaped <= 0)
                break;
            got += (unsigned)reaped;
        }
        CONTRACT_CHECK(contract, write.result == MOTE_OK && flush.result == MOTE_OK);
    }
    free(data);
}

/* A SHARED queue: several threads, one at a time; one thread reaps what another submitted. */
void contract_run_shared_queue(struct contract *contract)
{
    enum { THREADS = 3 };
    struct blockdev_queue *queue = contract_queue(contract, 8, BLOCKDEV_QUEUE_SHARED);
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS];
    struct sharer sharers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        sharers[i] = (struct sharer){.contract = contract, .queue = queue, .lock = &lock, .number = i, .data = contract_buffer(PAGE_BYTES, i)};
        if (pthread_create(&threads[i], NULL, run_sharer, &sharers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CONTRACT_CHECK(contract, sharers[i].failures == 0);
        free(sharers[i].data);
    }
    run_leavers(contract, queue);
    CONTRACT_CHECK(contract, blockdev_queue_inflight(queue) == 0);
    blockdev_queue_destroy(queue);
}

static void *run_user_of_queue(void *argument)
{
    struct blockdev_queue *queue = argument;
    uint8_t *data = contract_buffer(PAGE_BYTES, 1);
    int result = blockdev_read_range(queue, 0, data, PAGE_BYTES);
    free(data);
    return result == MOTE_OK ? NULL : queue;
}

static void *run_and_retire(void *argument)
{
    void *failed = run_user_of_queue(argument);
    blockdev_queue_retire(argument);
    return failed;
}

/* Destroying waits for what is in flight; an idle queue may be destroyed by a thread that never used it, retired by its user or not, and that thread's own queues stay whole. */
void contract_run_destroy(struct contract *contract)
{
    enum { COUNT = 16 };
    uint8_t *data = contract_buffer(COUNT * PAGE_BYTES, contract->seed + 1), *seen = contract_buffer(COUNT * PAGE_BYTES, 0);
    struct blockdev_request requests[COUNT], *all[COUNT];
    struct blockdev_queue *queue = contract_queue(contract, COUNT, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i] = contract_request(BLOCKDEV_WRITE, (uint64_t)i * PAGE_BYTES, PAGE_BYTES, data + i * PAGE_BYTES, i % 2 == 0 ? BLOCKDEV_LINK : 0);
        all[i] = &requests[i];
    }
    CONTRACT_CHECK(contract, blockdev_submit(queue, all, COUNT) == COUNT);
    blockdev_queue_destroy(queue);
    struct blockdev_queue *own = contract_queue(contract, 4, 0);
    CONTRACT_CHECK(contract, blockdev_read_range(own, 0, seen, COUNT * PAGE_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(data, seen, COUNT * PAGE_BYTES) == 0);
    for (unsigned i = 0; i < 4; i++) {
        struct blockdev_queue *other = contract_queue(contract, 4, i % 2 ? BLOCKDEV_QUEUE_WAKE : 0);
        pthread_t thread;
        void *failed = other;
        if (pthread_create(&thread, NULL, i < 2 ? run_user_of_queue : run_and_retire, other) != 0)
            abort();
        pthread_join(thread, &failed);
        CONTRACT_CHECK(contract, failed == NULL);
        if (i % 2)
            blockdev_wake(other);
        blockdev_queue_destroy(other);
        CONTRACT_CHECK(contract, blockdev_read_range(own, 0, seen, COUNT * PAGE_BYTES) == MOTE_OK);
    }
    blockdev_queue_destroy(own);
    blockdev_queue_destroy(NULL);
    blockdev_queue_destroy(contract_queue(contract, 1, BLOCKDEV_QUEUE_WAKE)); /* never used */
    free(data);
    free(seen);
}

/* Many requests of all kinds in flight on slots that do not overlap; each read must see the slot's last completed write. */
void contract_run_random_load(struct contract *contract)
{
    enum { SLOTS = 32, SLOT_PAGES = 8, SLOT_BYTES = SLOT_PAGES * 4096, ROUNDS = 800 };
    uint64_t state = contract->seed + 99;
    struct blockdev_queue_options options = {.depth = SLOTS + 4};
    struct blockdev_queue *queue = NULL;
    uint8_t *memory = contract_buffer(2 * SLOTS * SLOT_BYTES, state), *expected = memory + SLOTS * SLOT_BYTES;
    struct blockdev_request requests[SLOTS], flush, *done[SLOTS + 4];
    bool busy[SLOTS] = {false}, flushing = false;
    options.registered_base = memory;
    options.registered_bytes = SLOTS * SLOT_BYTES;
    CONTRACT_CHECK(contract, blockdev_queue_create(contract->device, &options, &queue) == MOTE_OK);
    CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, expected, SLOTS * SLOT_BYTES) == MOTE_OK);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct blockdev_request *batch[SLOTS + 1];
        unsigned count = 0;
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            if (busy[slot] || contract_random(&state) % 4 != 0)
                continue;
            bool write = contract_random(&state) % 2;
            unsigned flags = write && contract_random(&state) % 8 == 0 ? BLOCKDEV_FUA : 0;
            uint8_t *data = memory + slot * SLOT_BYTES;
            requests[slot] = contract_request(write ? BLOCKDEV_WRITE : BLOCKDEV_READ, (uint64_t)slot * SLOT_BYTES, SLOT_BYTES, data, flags);
            if (write) {
                contract_fill(data, SLOT_BYTES, contract_random(&state));
                memcpy(expected + slot * SLOT_BYTES, data, SLOT_BYTES);
            }
            busy[slot] = true;
            batch[count++] = &requests[slot];
        }
        if (!flushing && contract_random(&state) % 32 == 0) {
            flush = contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, 0);
            batch[count++] = &flush;
            flushing = true;
        }
        CONTRACT_CHECK(contract, blockdev_submit(queue, batch, count) == (int)count);
        unsigned inflight = blockdev_queue_inflight(queue);
        unsigned wanted = round + 1 == ROUNDS ? inflight : (unsigned)(contract_random(&state) % (inflight + 1));
        int got = blockdev_reap(queue, wanted, -1, done, SLOTS + 4);
        CONTRACT_CHECK(contract, got >= (int)wanted);
        for (int i = 0; i < got; i++) {
            CONTRACT_CHECK(contract, done[i]->result == MOTE_OK);
            if (done[i] == &flush) {
                flushing = false;
                continue;
            }
            size_t slot = (size_t)(done[i] - requests);
            CONTRACT_CHECK(contract, slot < SLOTS && busy[slot]);
            busy[slot] = false;
            CONTRACT_CHECK(contract, memcmp(memory + slot * SLOT_BYTES, expected + slot * SLOT_BYTES, SLOT_BYTES) == 0);
        }
    }
    CONTRACT_CHECK(contract, blockdev_queue_inflight(queue) == 0);
    blockdev_queue_destroy(queue);
    free(memory);
}
