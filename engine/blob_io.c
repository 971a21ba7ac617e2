/* blob_io.c: a queue of its own with four buffers, so that large values are written and read with several requests in flight, and nothing of them passes the cache (blob.h). One thread at a time. */
#include "engine/blob.h"

#include <errno.h>
#include <string.h>

#define SLOT_BYTES_MIN (16u << 10)
#define SLOT_BYTES_MAX (256u << 10)
#define BUDGET_SHARE 512u
#define POOL_MAX 4u

static uint32_t choose_slot_bytes(const struct mote_db *db)
{
    uint64_t share = memory_budget_bytes(db->memory) / BUDGET_SHARE;
    uint32_t bytes = SLOT_BYTES_MIN;
    while (bytes < SLOT_BYTES_MAX && 2ull * bytes <= share && 2ull * bytes <= blockdev_geometry(db->device)->request_bytes_max)
        bytes *= 2;
    return bytes;
}

int blob_io_create(struct mote_db *db, struct blob_io **out)
{
    struct blockdev_queue_options options = {.depth = BLOB_SLOTS * BLOB_SLOT_REQUESTS, .flags = BLOCKDEV_QUEUE_SHARED};
    struct blob_io *io = memory_alloc_zero(db->memory, sizeof *io);
    *out = NULL;
    if (!io)
        return MOTE_EBUDGET;
    io->db = db;
    io->slot_bytes = choose_slot_bytes(db);
    io->buffers = memory_alloc_aligned(db->memory, (size_t)BLOB_SLOTS * io->slot_bytes, PAGE_BYTES);
    int result = io->buffers ? blockdev_queue_create(db->device, &options, &io->queue) : MOTE_EBUDGET;
    if (result) {
        memory_free(db->memory, io->buffers);
        memory_free(db->memory, io);
        return result;
    }
    for (uint32_t i = 0; i < BLOB_SLOTS; i++)
        io->slots[i].buffer = io->buffers + (size_t)i * io->slot_bytes;
    *out = io;
    return MOTE_OK;
}

static void wait_all(struct blob_io *io)
{
    for (uint32_t i = 0; i < BLOB_SLOTS; i++)
        blob_io_wait(io, &io->slots[i]);
}

void blob_io_destroy(struct blob_io *io)
{
    if (!io)
        return;
    struct memory *memory = io->db->memory;
    wait_all(io);
    blockdev_queue_destroy(io->queue);
    memory_free(memory, io->buffers);
    memory_free(memory, io);
}

void blob_io_pool_create(struct mote_db *db)
{
    pthread_mutex_init(&db->blob_io_mutex, NULL);
    pthread_cond_init(&db->blob_io_cond, NULL);
    db->blob_io_left = POOL_MAX;
}

void blob_io_pool_destroy(struct mote_db *db)
{
    while (db->blob_io) {
        struct blob_io *io = db->blob_io;
        db->blob_io = io->next;
        blob_io_destroy(io);
    }
    pthread_mutex_destroy(&db->blob_io_mutex);
    pthread_cond_destroy(&db->blob_io_cond);
}

struct blob_io *blob_io_take(struct mote_db *db)
{
    pthread_mutex_lock(&db->blob_io_mutex);
    while (!db->blob_io && !db->blob_io_left)
        pthread_cond_wait(&db->blob_io_cond, &db->blob_io_mutex);
    struct blob_io *io = db->blob_io;
    if (io)
        db->blob_io = io->next;
    else
        db->blob_io_left--;
    pthread_mutex_unlock(&db->blob_io_mutex);
    if (io || blob_io_create(db, &io) == MOTE_OK)
        return io;
    pthread_mutex_lock(&db->blob_io_mutex);
    db->blob_io_left++;
    pthread_cond_signal(&db->blob_io_cond);
    pthread_mutex_unlock(&db->blob_io_mutex);
    return NULL;
}

void blob_io_give(struct blob_io *io)
{
    struct mote_db *db = io->db;
    wait_all(io);
    io->wrote = false;
    io->result = MOTE_OK;
    pthread_mutex_lock(&db->blob_io_mutex);
    io->next = db->blob_io;
    db->blob_io = io;
    pthread_cond_signal(&db->blob_io_cond);
    pthread_mutex_unlock(&db->blob_io_mutex);
}

static bool is_in_buffer(const struct blob_io *io, const struct blob_slot *slot, const struct blockdev_request *request)
{
    const uint8_t *bytes = request->buffer;
    return bytes >= slot->buffer && bytes < slot->buffer + io->slot_bytes;
}

static int reap_some(struct blob_io *io)
{
    struct blockdev_request *done[BLOB_SLOT_REQUESTS];
    int count = blockdev_reap(io->queue, 1, -1, done, BLOB_SLOT_REQUESTS);
    for (int i = 0; i < count; i++) {
        struct blob_slot *slot = done[i]->user;
        assert(slot->pending > 0);
        slot->pending--;
        if (!done[i]->result)
            continue;
        if (done[i]->system_errno == EFAULT && done[i]->op == BLOCKDEV_WRITE && !is_in_buffer(io, slot, done[i])) {
            slot->refused = true;
            continue;
        }
        error_set_errno(done[i]->result, done[i]->system_errno, "%s of a large value failed on %s", done[i]->op == BLOCKDEV_READ ? "a read" : "a write", blockdev_path(io->db->device));
        error_add_device(blockdev_path(io->db->device), done[i]->offset_bytes, done[i]->length_bytes);
        if (!slot->result)
            slot->result = done[i]->result;
    }
    return count < 0 ? count : MOTE_OK;
}

static int wait_slot(struct blob_io *io, struct blob_slot *slot)
{
    int result = MOTE_OK;
    while (slot->pending > 0 && !result)
        result = reap_some(io);
    return result;
}

static int submit(struct blob_io *io, struct blob_slot *slot, struct blockdev_request *request)
{
    request->user = slot;
    int taken = blockdev_submit(io->queue, &request, 1);
    if (taken != 1)
        return taken < 0 ? taken : error_set(MOTE_EINTERNAL, "a queue of large values is full; please report it");
    slot->pending++;
    return MOTE_OK;
}

/* The device cannot be made to read the caller's memory, but the processor may: once more, through the slot's buffer. */
static int write_copied(struct blob_io *io, struct blob_slot *slot, const struct blockdev_request *refused)
{
    int result = MOTE_OK;
    for (uint32_t at = 0; at < refused->length_bytes && !result; at += io->slot_bytes) {
        uint32_t left = refused->length_bytes - at, part = left < io->slot_bytes ? left : io->slot_bytes;
        slot->again = (struct blockdev_request){.op = BLOCKDEV_WRITE, .source = BLOCKDEV_SOURCE_BLOB, .length_bytes = part, .offset_bytes = refused->offset_bytes + at, .buffer = slot->buffer};
        memcpy(slot->buffer, (const uint8_t *)refused->buffer + at, part);
        result = submit(io, slot, &slot->again);
        if (!result)
            result = wait_slot(io, slot);
        if (!result)
            result = slot->result;
    }
    return result;
}

int blob_io_wait(struct blob_io *io, struct blob_slot *slot)
{
    int result = wait_slot(io, slot);
    if (!result)
        result = slot->result;
    for (uint32_t i = 0; i < slot->request_count && slot->refused && !result; i++)
        if (slot->requests[i].system_errno == EFAULT)
            result = write_copied(io, slot, &slot->requests[i]);
    if (!io->result)
        io->result = result;
    slot->request_count = 0;
    slot->refused = false;
    slot->result = MOTE_OK;
    return result;
}

static int add(struct blob_io *io, struct blob_slot *slot, const struct blockdev_request *request)
{
    int result = slot->request_count == BLOB_SLOT_REQUESTS ? blob_io_wait(io, slot) : MOTE_OK;
    if (result)
        return result;
    slot->requests[slot->request_count] = *request;
    result = submit(io, slot, &slot->requests[slot->request_count]);
    slot->request_count += !result;
    return result;
}

int blob_io_read(struct blob_io *io, struct blob_slot *slot, uint64_t device_bytes, uint8_t *bytes, uint32_t length_bytes)
{
    return add(io, slot, &(struct blockdev_request){.op = BLOCKDEV_READ, .source = BLOCKDEV_SOURCE_BLOB, .length_bytes = length_bytes, .offset_bytes = device_bytes, .buffer = bytes});
}

int blob_io_write(struct blob_io *io, struct blob_slot *slot, uint64_t device_bytes, const uint8_t *bytes, uint32_t length_bytes)
{
    /* A write does not change what it writes (blockdev.h). */
    int result = add(io, slot, &(struct blockdev_request){.op = BLOCKDEV_WRITE, .source = BLOCKDEV_SOURCE_BLOB, .length_bytes = length_bytes, .offset_bytes = device_bytes, .buffer = (uint8_t *)(uintptr_t)bytes});
    io->wrote = io->wrote || !result;
    return result;
}

int blob_io_sync(struct blob_io *io)
{
    wait_all(io);
    int result = io->result;
    if (result || !io->wrote)
        return result;
    io->wrote = false;
    if (io->db->options.barrier == MOTE_BARRIER_NONE || io->db->blob_flush_left_out)
        return MOTE_OK;
    result = blockdev_flush(io->queue);
    return result ? db_poison(io->db, result) : MOTE_OK; /* what others wrote may be lost with it, and no later FLUSH would tell */
}
