/* sim.c: the simulated disk as a backend: queues, chains of linked requests, the order of completion, power.
 *
 * A request waits in its queue's slots, in order of submission, until a reap completes it: in order, or (reorder) the seeded choice among those that may go. One that is
 * linked behind another starts when that one has succeeded. A completed write is visible to reads at once; the model (sim_model.c) knows what of it is durable.
 * Threads: any; one mutex a device. Blocks only to wait on an empty queue. Failures: ENODEV without power; memory that runs out aborts (test code). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/errors.h"
#include "blockdev/sim_private.h"

struct sim_slot {
    struct blockdev_request *request;
    struct sim_write *write; /* of a write or discard; NULL once the power was cut */
    uint64_t cover_order;    /* of a flush: what had completed at its submission */
    uint64_t chain;
    bool started; /* submitted to the disk: not waiting behind another */
    bool leads;   /* the next slot is linked behind it */
    int failed_errno;
};

struct sim_queue {
    struct blockdev_queue queue;
    struct sim_queue *next;
    pthread_cond_t changed;
    bool woken;
    uint32_t slot_count;
    struct sim_slot slots[];
};

static struct sim_queue *sim_queue_of(struct blockdev_queue *queue) { return (struct sim_queue *)queue; }

static int create_queue(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue)
{
    struct sim_device *sim = sim_device_of(device);
    struct sim_queue *made = calloc(1, sizeof *made + options->depth * sizeof made->slots[0]);
    if (!made)
        return error_set(MOTE_ENOMEM, "no memory for a queue of %u requests", options->depth);
    made->queue.device = device;
    made->queue.depth = options->depth;
    made->queue.flags = options->flags;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&made->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_lock(&sim->lock);
    made->next = sim->queues;
    sim->queues = made;
    pthread_mutex_unlock(&sim->lock);
    *queue = &made->queue;
    return MOTE_OK;
}

static void add_event(struct sim_device *sim, struct sim_event event)
{
    if (sim->record_on)
        sim_record_add(&sim->record, event);
}

/* The request reaches the disk: from here on a write may survive a cut. */
static void start_slot(struct sim_device *sim, struct sim_slot *slot)
{
    slot->started = true;
    if (slot->write) {
        add_event(sim, (struct sim_event){.type = SIM_WRITE_SUBMITTED, .write = slot->write});
        sim_model_submit(&sim->model, slot->write);
        if (slot->write->discard)
            sim_table_lose(&sim->visible, slot->write->offset_bytes, slot->write->length_bytes);
    } else if (slot->request->op == BLOCKDEV_FLUSH) {
        add_event(sim, (struct sim_event){.type = SIM_FLUSH_SUBMITTED});
    }
}

static struct sim_write *copy_write(const struct blockdev_request *request, uint64_t chain)
{
    bool discard = request->op == BLOCKDEV_DISCARD;
    struct sim_write *write = malloc(sizeof *write + (discard ? 0 : request->length_bytes));
    if (!write) {
        fprintf(stderr, "sim: no memory for a write of %u bytes\n", request->length_bytes);
        abort();
    }
    *write = (struct sim_write){.offset_bytes = request->offset_bytes, .length_bytes = request->length_bytes, .discard = discard, .chain = chain};
    write->fua = !discard && (request->flags & BLOCKDEV_FUA);
    if (!discard)
        memcpy(write->data, request->buffer, request->length_bytes);
    return write;
}

/* A chain is taken whole or not at all. */
static unsigned count_fitting(const struct sim_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    unsigned room = queue->queue.depth - queue->slot_count;
    if (count <= room)
        return count;
    unsigned fitting = room;
    while (fitting > 0 && (requests[fitting - 1]->flags & BLOCKDEV_LINK))
        fitting--;
    return fitting;
}

static int submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct sim_queue *own = sim_queue_of(queue);
    struct sim_device *sim = sim_device_of(queue->device);
    pthread_mutex_lock(&sim->lock);
    unsigned taken = count_fitting(own, requests, count);
    bool linked = false;
    for (unsigned i = 0; i < taken; i++) {
        struct blockdev_request *request = requests[i];
        bool leads = (request->flags & BLOCKDEV_LINK) && i + 1 < taken;
        if (leads && !linked)
            sim->chain_last++;
        struct sim_slot *slot = &own->slots[own->slot_count++];
        *slot = (struct sim_slot){.request = request, .cover_order = sim->order, .leads = leads};
        slot->chain = leads || linked ? sim->chain_last : 0;
        if (!sim->powered)
            slot->failed_errno = ENODEV;
        else if (request->op == BLOCKDEV_WRITE || request->op == BLOCKDEV_DISCARD)
            slot->write = copy_write(request, slot->chain);
        if (!linked && sim->powered)
            start_slot(sim, slot);
        linked = leads;
    }
    pthread_mutex_unlock(&sim->lock);
    return (int)taken;
}

static void finish_write(struct sim_device *sim, const struct sim_slot *slot)
{
    struct sim_write *write = slot->write;
    if (!write->discard && memcmp(write->data, slot->request->buffer, write->length_bytes) != 0) {
        fprintf(stderr, "sim: the buffer of the write at %llu changed while it was in flight\n", (unsigned long long)write->offset_bytes);
        abort();
    }
    write->order = ++sim->order;
    if (!write->discard)
        sim_table_write(&sim->visible, write->offset_bytes, write->data, write->length_bytes);
    add_event(sim, (struct sim_event){.type = SIM_WRITE_COMPLETED, .write = write});
    sim_model_complete(&sim->model, write);
}

/* Does what the slot's request asks for; returns 0 or an errno. */
static int perform(struct sim_device *sim, const struct sim_slot *slot)
{
    const struct blockdev_request *request = slot->request;
    if (slot->failed_errno)
        return slot->failed_errno;
    assert(slot->started);
    switch (request->op) {
    case BLOCKDEV_READ:
        sim_table_read(&sim->visible, request->offset_bytes, request->buffer, request->length_bytes);
        return 0;
    case BLOCKDEV_WRITE:
    case BLOCKDEV_DISCARD:
        finish_write(sim, slot);
        return 0;
    case BLOCKDEV_FLUSH:
        add_event(sim, (struct sim_event){.type = SIM_FLUSH_COMPLETED, .words = {slot->cover_order, slot->chain}});
        sim_model_flush(&sim->model, slot->cover_order, slot->chain);
        return 0;
    default:
        return EINVAL;
    }
}

/* Completes slot `at` of the queue and removes it; what is linked behind it starts or fails. */
static struct blockdev_request *complete_slot(struct sim_device *sim, struct sim_queue *queue, uint32_t at)
{
    assert(at < queue->slot_count);
    struct sim_slot slot = queue->slots[at];
    slot.request->system_errno = perform(sim, &slot);
    if (slot.write && !slot.started)
        free(slot.write);
    if (slot.leads) {
        assert(at + 1 < queue->slot_count);
        struct sim_slot *next = &queue->slots[at + 1];
        if (slot.request->system_errno && !next->failed_errno)
            next->failed_errno = ECANCELED;
        else if (!slot.request->system_errno)
            start_slot(sim, next);
    }
    queue->slot_count--;
    memmove(&queue->slots[at], &queue->slots[at + 1], (queue->slot_count - at) * sizeof queue->slots[0]);
    return slot.request;
}

/* A random slot among those that do not wait behind another one. */
static uint32_t choose_slot(struct sim_device *sim, const struct sim_queue *queue)
{
    uint32_t ready_count = 0, chosen = 0;
    for (uint32_t i = 0; i < queue->slot_count; i++) {
        bool ready = i == 0 || !queue->slots[i - 1].leads;
        if (ready && sim_random_below(&sim->random, ++ready_count) == 0)
            chosen = i;
    }
    return chosen;
}

/* Waits on an empty queue. Returns at the time limit, when woken, or at once where nothing could ever end the wait. */
static void wait_for_wake(struct sim_device *sim, struct sim_queue *queue, int64_t timeout_ns)
{
    bool forever = timeout_ns < 0 || timeout_ns > NS_PER_S * 1000000000LL;
    if (forever && !(queue->queue.flags & BLOCKDEV_QUEUE_WAKE))
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (!forever) {
        int64_t ns = until.tv_nsec + timeout_ns % NS_PER_S;
        until.tv_sec += (time_t)(timeout_ns / NS_PER_S + ns / NS_PER_S);
        until.tv_nsec = (long)(ns % NS_PER_S);
    }
    while (!queue->woken) {
        if (forever)
            pthread_cond_wait(&queue->changed, &sim->lock);
        else if (pthread_cond_timedwait(&queue->changed, &sim->lock, &until) == ETIMEDOUT)
            break;
    }
}

static int reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct sim_queue *own = sim_queue_of(queue);
    struct sim_device *sim = sim_device_of(queue->device);
    pthread_mutex_lock(&sim->lock);
    if (own->slot_count == 0 && wait_count > 0 && timeout_ns != 0 && !own->woken)
        wait_for_wake(sim, own, timeout_ns);
    own->woken = false;
    unsigned limit = own->slot_count < done_max ? own->slot_count : done_max;
    if (sim->reorder) {
        unsigned least = timeout_ns == 0 ? 0 : wait_count < limit ? wait_count : limit;
        limit = least + (unsigned)sim_random_below(&sim->random, limit - least + 1);
    }
    for (unsigned i = 0; i < limit; i++)
        done[i] = complete_slot(sim, own, sim->reorder ? choose_slot(sim, own) : 0);
    pthread_mutex_unlock(&sim->lock);
    return (int)limit;
}

static void wake(struct blockdev_queue *queue)
{
    struct sim_queue *own = sim_queue_of(queue);
    struct sim_device *sim = sim_device_of(queue->device);
    pthread_mutex_lock(&sim->lock);
    own->woken = true;
    pthread_cond_broadcast(&own->changed);
    pthread_mutex_unlock(&sim->lock);
}

static void destroy_queue(struct blockdev_queue *queue)
{
    struct sim_queue *own = sim_queue_of(queue);
    struct sim_device *sim = sim_device_of(queue->device);
    pthread_mutex_lock(&sim->lock);
    while (own->slot_count > 0)
        complete_slot(sim, own, sim->reorder ? choose_slot(sim, own) : 0);
    struct sim_queue **at = &sim->queues;
    while (*at != own)
        at = &(*at)->next;
    *at = own->next;
    pthread_mutex_unlock(&sim->lock);
    pthread_cond_destroy(&own->changed);
    free(own);
}

static int refresh(struct blockdev *device)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    bool powered = sim->powered;
    pthread_mutex_unlock(&sim->lock);
    return powered ? MOTE_OK : error_set(MOTE_ENODEV, "the simulated disk has no power");
}

static void close_device(struct blockdev *device)
{
    struct sim_device *sim = sim_device_of(device);
    assert(!sim->queues);
    sim_table_destroy(&sim->visible);
    sim_model_destroy(&sim->model);
    if (sim->record_on)
        sim_record_destroy(&sim->record);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

static const struct blockdev_ops sim_ops = {
    .name = "sim",
    .queue_create = create_queue,
    .queue_destroy = destroy_queue,
    .submit = submit,
    .reap = reap,
    .wake = wake,
    .refresh = refresh,
    .close = close_device,
};

int sim_create_on_base(const struct sim_options *options, struct sim_base *base, struct sim_device **device)
{
    struct sim_device *made = calloc(1, sizeof *made);
    if (!made) {
        sim_base_release(base);
        return error_set(MOTE_ENOMEM, "no memory for a simulated disk");
    }
    blockdev_init(&made->blockdev, &sim_ops, "sim");
    made->blockdev.geometry = (struct blockdev_geometry){
        .size_bytes = options->size_bytes,
        .logical_block_bytes = options->logical_block_bytes,
        .physical_block_bytes = PAGE_BYTES,
        .buffer_align_bytes = options->logical_block_bytes,
        .request_bytes_max = REQUEST_BYTES_MAX,
        .discard_granularity_bytes = options->discard_granularity_bytes ? options->discard_granularity_bytes : PAGE_BYTES,
        .discard_alignment_bytes = options->discard_alignment_bytes,
        .write_cache = true,
        .fua = true,
        .block_device = true,
        .direct = true,
        .model = "sim",
    };
    pthread_mutex_init(&made->lock, NULL);
    made->record_on = options->record;
    made->reorder = options->reorder;
    made->powered = true;
    made->random = options->seed;
    sim_model_init(&made->model, base, options->size_bytes, true);
    sim_table_init(&made->visible, NULL, &made->model.durable, options->size_bytes);
    *device = made;
    return MOTE_OK;
}

int sim_create(const struct sim_options *options, struct blockdev **device)
{
    uint32_t block_bytes = options->logical_block_bytes;
    if (block_bytes != SECTOR_BYTES && block_bytes != PAGE_BYTES)
        return error_set(MOTE_EINVAL, "a simulated disk has logical blocks of 512 or 4096 bytes, not %u", block_bytes);
    if (options->size_bytes == 0 || options->size_bytes % block_bytes != 0 || options->size_bytes / PAGE_BYTES >= UINT32_MAX)
        return error_set(MOTE_EINVAL, "%llu bytes is no size for a simulated disk: use a multiple of %u", (unsigned long long)options->size_bytes, block_bytes);
    struct sim_base *base;
    struct sim_device *made;
    int result = sim_base_create(options, &base);
    if (result == MOTE_OK)
        result = sim_create_on_base(options, base, &made);
    if (result != MOTE_OK)
        return result;
    if (options->record)
        sim_record_init(&made->record, sim_base_reference(base), options->size_bytes);
    *device = &made->blockdev;
    return MOTE_OK;
}

void sim_read_content(struct blockdev *device, bool durable_only, uint8_t *image)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    sim_table_read(durable_only ? &sim->model.durable : &sim->visible, 0, image, sim->blockdev.geometry.size_bytes);
    pthread_mutex_unlock(&sim->lock);
}

/* What is in flight ends with ENODEV; whether its data survived was decided by the cut. */
static void fail_slots(struct sim_queue *queue)
{
    for (uint32_t i = 0; i < queue->slot_count; i++) {
        struct sim_slot *slot = &queue->slots[i];
        if (slot->write && !slot->started)
            free(slot->write);
        slot->write = NULL;
        slot->failed_errno = ENODEV;
    }
}

void sim_power_cut(struct blockdev *device, enum sim_crash_policy policy, uint32_t index, uint64_t seed)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    sim_model_survive(&sim->model, policy, index, seed, &sim->model.durable);
    sim_model_drop_cache(&sim->model);
    sim_table_reset(&sim->visible);
    for (struct sim_queue *queue = sim->queues; queue; queue = queue->next)
        fail_slots(queue);
    sim->powered = false;
    if (sim->record_on)
        add_event(sim, (struct sim_event){.type = SIM_CUT, .base = sim_table_freeze(&sim->model.durable)});
    pthread_mutex_unlock(&sim->lock);
}

void sim_power_on(struct blockdev *device)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    sim->powered = true;
    pthread_mutex_unlock(&sim->lock);
}
