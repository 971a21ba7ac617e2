/* clone.c: mote_clone: mote_send into mote_receive through a ring of bytes in memory; the receiver is a thread.
 *
 * Invariants: bytes leave the ring in the order in which they entered it; whoever ends first (well or not) wakes the other, whose next call fails with what ended it. Threads: two, one mutex. Failures: the receiver's if it failed by itself, else the sender's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "engine/engine_private.h"

#define RING_BYTES (4u * MIB_BYTES)

struct pipe {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint64_t written, read; /* in bytes; their difference is in the ring */
    bool sender_done, receiver_done;
    int sent; /* result of the sender, once it is done */
    int received;
    struct mote_error receive_error;
    const char *path;
    const struct mote_receive_options *options;
    struct mote_transfer transfer;
    uint8_t ring[RING_BYTES];
};

static int put_bytes(const void *data, size_t size_bytes, void *context)
{
    struct pipe *pipe = context;
    const uint8_t *from = data;
    pthread_mutex_lock(&pipe->mutex);
    while (size_bytes > 0 && !pipe->receiver_done) {
        uint64_t room = RING_BYTES - (pipe->written - pipe->read), at = pipe->written % RING_BYTES;
        size_t length = room < size_bytes ? room : size_bytes;
        if (length > RING_BYTES - at)
            length = RING_BYTES - at;
        if (length == 0) {
            pthread_cond_wait(&pipe->cond, &pipe->mutex);
            continue;
        }
        memcpy(pipe->ring + at, from, length);
        pipe->written += length;
        from += length;
        size_bytes -= length;
        pthread_cond_broadcast(&pipe->cond);
    }
    bool refused = size_bytes > 0;
    pthread_mutex_unlock(&pipe->mutex);
    return refused ? error_set(MOTE_EIO, "the receiving side gave up") : MOTE_OK;
}

static int get_bytes(void *data, size_t size_max, size_t *size_bytes, void *context)
{
    struct pipe *pipe = context;
    pthread_mutex_lock(&pipe->mutex);
    while (pipe->written == pipe->read && !pipe->sender_done)
        pthread_cond_wait(&pipe->cond, &pipe->mutex);
    uint64_t there = pipe->written - pipe->read, at = pipe->read % RING_BYTES;
    size_t length = there < size_max ? there : size_max;
    if (length > RING_BYTES - at)
        length = RING_BYTES - at;
    memcpy(data, pipe->ring + at, length);
    pipe->read += length;
    *size_bytes = length;
    int result = length == 0 && pipe->sent ? pipe->sent : MOTE_OK;
    pthread_cond_broadcast(&pipe->cond);
    pthread_mutex_unlock(&pipe->mutex);
    return result;
}

static void *run_receiver(void *context)
{
    struct pipe *pipe = context;
    int result = mote_receive(pipe->path, pipe->options, get_bytes, pipe, &pipe->transfer);
    pthread_mutex_lock(&pipe->mutex);
    pipe->received = result;
    error_get(&pipe->receive_error);
    pipe->receiver_done = true;
    pthread_cond_broadcast(&pipe->cond);
    pthread_mutex_unlock(&pipe->mutex);
    return NULL;
}

static int run_both(struct pipe *pipe, mote_db *db, const struct mote_send_options *send)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_receiver, pipe) != 0)
        return error_set(MOTE_ENOMEM, "the operating system refused a thread");
    struct mote_error cause;
    int sent = mote_send(db, send, put_bytes, pipe, NULL);
    error_get(&cause);
    pthread_mutex_lock(&pipe->mutex);
    pipe->sent = sent;
    pipe->sender_done = true;
    pthread_cond_broadcast(&pipe->cond);
    pthread_mutex_unlock(&pipe->mutex);
    pthread_join(thread, NULL);
    /* The receiver's reason is the first one where it gave up while bytes were still to come. */
    if (pipe->received && pipe->received != sent)
        return error_restore(&pipe->receive_error);
    return sent ? error_restore(&cause) : MOTE_OK;
}

int mote_clone(mote_db *db, const char *path, const struct mote_send_options *send, const struct mote_receive_options *receive, struct mote_transfer *transfer)
{
    int result = db_check(db);
    if (!result && !path)
        result = error_set(MOTE_EINVAL, "the path is NULL");
    if (result)
        return result;
    struct pipe *pipe = calloc(1, sizeof *pipe);
    if (!pipe)
        return error_set(MOTE_ENOMEM, "out of memory while cloning");
    pthread_mutex_init(&pipe->mutex, NULL);
    pthread_cond_init(&pipe->cond, NULL);
    pipe->path = path;
    pipe->options = receive;
    result = run_both(pipe, db, send);
    if (transfer)
        *transfer = pipe->transfer;
    pthread_cond_destroy(&pipe->cond);
    pthread_mutex_destroy(&pipe->mutex);
    free(pipe);
    return result;
}
