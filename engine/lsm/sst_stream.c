/* sst_stream.c: the bytes of a segment on their way to the device: runs of extents taken as they are needed, aligned buffers, writes in flight.
 *
 * Invariants
 *   1. What was placed lies in one run. Bytes between structures are zero, so that nothing of a former owner of the buffer reaches the device.
 *   2. A request lies in one extent, so that a failed write names the extent to retire.
 *   3. A buffer is not touched while its request is in flight; all requests are reaped before the stream is destroyed.
 *   4. No block of the device is written twice: a request that ends early is padded to a whole logical block, and the next begins behind it.
 * Threads: one. Failures: MOTE_ENOSPC, MOTE_EBUDGET, MOTE_EIO of a write (kept; everything later returns it).
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

#define RUNS_KEPT 3u /* for ending a segment, when free space lies in pieces */

int sst_stream_create(struct sst_stream *stream)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(stream->context->device);
    uint32_t align_bytes = geometry->buffer_align_bytes > PAGE_BYTES ? geometry->buffer_align_bytes : PAGE_BYTES;
    stream->logical_bytes = geometry->logical_block_bytes;
    stream->buffer_bytes = geometry->request_bytes_max < REQUEST_BYTES_MAX ? geometry->request_bytes_max : REQUEST_BYTES_MAX;
    stream->buffer_bytes = (uint32_t)round_down(stream->buffer_bytes, stream->logical_bytes);
    stream->failed_extent = UINT32_MAX;
    assert(is_power_of_two(stream->logical_bytes) && stream->logical_bytes % SST_ALIGN_BYTES == 0 && stream->buffer_bytes > 0);
    for (uint32_t i = 0; i < SST_STREAM_BUFFERS; i++) {
        stream->buffers[i].data = memory_alloc_aligned(stream->context->memory, stream->buffer_bytes, align_bytes);
        if (!stream->buffers[i].data)
            return MOTE_EBUDGET;
    }
    return MOTE_OK;
}

static int keep_error(struct sst_stream *stream, int code)
{
    if (!stream->error) {
        stream->error = code;
        (void)error_get(&stream->error_detail);
    }
    return stream->error;
}

static uint64_t device_offset(const struct sst_stream *stream, uint64_t segment_offset_bytes)
{
    assert(stream->run_count > 0 && segment_offset_bytes >= stream->run_start && segment_offset_bytes < stream->end);
    return layout_extent_offset(stream->context->layout, stream->runs[stream->run_count - 1].first) + (segment_offset_bytes - stream->run_start);
}

static void note_result(struct sst_stream *stream, struct blockdev_request *request)
{
    struct sst_stream_buffer *buffer = request->user;
    assert(buffer->busy && stream->inflight > 0);
    buffer->busy = false;
    stream->inflight--;
    if (request->result == MOTE_OK || stream->error)
        return;
    const struct layout *layout = stream->context->layout;
    stream->failed_extent = (uint32_t)((request->offset_bytes - layout->extents_offset_bytes) / layout->extent_bytes);
    error_set_errno(request->result, request->system_errno, "cannot write %u bytes of segment %llu; nothing refers to them yet, extent %u is to be retired", request->length_bytes,
                    (unsigned long long)stream->segment_id, stream->failed_extent);
    error_add_device(blockdev_path(stream->context->device), request->offset_bytes, request->length_bytes);
    keep_error(stream, request->result);
}

/* Waits for at least one write. */
static int reap_some(struct sst_stream *stream)
{
    struct blockdev_request *done[SST_STREAM_BUFFERS];
    int count = blockdev_reap(stream->queue, 1, -1, done, SST_STREAM_BUFFERS);
    if (count < 0)
        return keep_error(stream, count);
    for (int i = 0; i < count; i++)
        note_result(stream, done[i]);
    return stream->error;
}

static int submit_buffer(struct sst_stream *stream)
{
    struct sst_stream_buffer *buffer = stream->buffer;
    if (!buffer)
        return stream->error;
    uint64_t used_bytes = stream->at - stream->buffer_start, padded_bytes = round_up(used_bytes, stream->logical_bytes);
    assert(used_bytes > 0 && padded_bytes <= stream->buffer_bytes);
    memset(buffer->data + used_bytes, 0, padded_bytes - used_bytes);
    buffer->request = (struct blockdev_request){.op = BLOCKDEV_WRITE, .source = stream->source, .length_bytes = (uint32_t)padded_bytes, .buffer = buffer->data, .user = buffer};
    buffer->request.offset_bytes = device_offset(stream, stream->buffer_start);
    stream->at = stream->buffer_start + padded_bytes;
    stream->buffer = NULL;
    while (!stream->error) {
        struct blockdev_request *request = &buffer->request;
        int taken = blockdev_submit(stream->queue, &request, 1);
        if (taken == 1) {
            buffer->busy = true;
            stream->inflight++;
            return MOTE_OK;
        }
        if (taken < 0)
            return keep_error(stream, taken);
        if (stream->inflight == 0)
            return keep_error(stream, error_set(MOTE_EINTERNAL, "the queue given to write segment %llu is not idle; give each builder a queue of its own", (unsigned long long)stream->segment_id));
        reap_some(stream);
    }
    return stream->error;
}

static int begin_buffer(struct sst_stream *stream)
{
    assert(!stream->buffer && stream->at % stream->logical_bytes == 0 && stream->at < stream->end);
    while (!stream->error) {
        for (uint32_t i = 0; i < SST_STREAM_BUFFERS && !stream->buffer; i++)
            if (!stream->buffers[i].busy)
                stream->buffer = &stream->buffers[i];
        if (stream->buffer)
            break;
        reap_some(stream);
    }
    if (stream->error) {
        stream->buffer = NULL;
        return stream->error;
    }
    uint64_t extent_bytes = stream->context->layout->extent_bytes;
    uint64_t extent_end = stream->run_start + round_down(stream->at - stream->run_start, extent_bytes) + extent_bytes;
    stream->buffer_start = stream->at;
    stream->buffer_limit = stream->at + stream->buffer_bytes < extent_end ? stream->at + stream->buffer_bytes : extent_end;
    return MOTE_OK;
}

/* data NULL: zeros. */
static int put_bytes(struct sst_stream *stream, const uint8_t *data, uint64_t length_bytes)
{
    while (length_bytes > 0) {
        int result = stream->buffer ? stream->error : begin_buffer(stream);
        if (result)
            return result;
        uint64_t room = stream->buffer_limit - stream->at, part = length_bytes < room ? length_bytes : room;
        uint8_t *target = stream->buffer->data + (stream->at - stream->buffer_start);
        if (data)
            memcpy(target, data, part);
        else
            memset(target, 0, part);
        stream->at += part;
        length_bytes -= part;
        data = data ? data + part : NULL;
        if (stream->at == stream->buffer_limit) {
            result = submit_buffer(stream);
            if (result)
                return result;
        }
    }
    return MOTE_OK;
}

/* One run more, or a longer last one where the new extents continue it. */
static int add_run(struct sst_stream *stream, uint64_t length_bytes, uint64_t tail_bytes)
{
    uint64_t extent_bytes = stream->context->layout->extent_bytes;
    bool last = stream->run_count + 1 >= SEGMENT_RUNS_MAX;
    uint64_t least = divide_up(length_bytes, extent_bytes), wished = last ? divide_up(length_bytes + tail_bytes, extent_bytes) : least;
    uint64_t missing = stream->wanted_bytes > stream->end ? divide_up(stream->wanted_bytes - stream->end, extent_bytes) : 0;
    uint64_t most = missing > wished ? missing : wished;
    most = most < stream->reservation->count ? most : stream->reservation->count;
    if (stream->run_count == SEGMENT_RUNS_MAX || least > most)
        return keep_error(stream, error_set(MOTE_ENOSPC, "segment %llu needs %llu extents more in run %u of at most %u, and %u are reserved; free space on the device", (unsigned long long)stream->segment_id,
                                            (unsigned long long)least, stream->run_count + 1, SEGMENT_RUNS_MAX, stream->reservation->count));
    struct extent_run run;
    int result = extents_allocate(stream->context->extents, stream->reservation, (uint32_t)least, (uint32_t)most, &run);
    if (result)
        return keep_error(stream, result);
    struct extent_run *previous = stream->run_count ? &stream->runs[stream->run_count - 1] : NULL;
    if (previous && previous->first + previous->count == run.first) {
        previous->count += run.count;
    } else {
        result = submit_buffer(stream);
        stream->run_start = stream->at = stream->end;
        stream->runs[stream->run_count++] = run;
    }
    stream->end += (uint64_t)run.count * extent_bytes;
    return result;
}

int sst_stream_align(struct sst_stream *stream, uint32_t align_bytes)
{
    assert(is_power_of_two(align_bytes) && stream->context->layout->extent_bytes % align_bytes == 0 && stream->context->layout->extents_offset_bytes % align_bytes == 0);
    if (stream->error)
        return error_restore(&stream->error_detail);
    /* A run ends at an extent's end, which is aligned: there is room for the zeros. */
    uint64_t gap = round_up(stream->at, align_bytes) - stream->at;
    return gap ? put_bytes(stream, NULL, gap) : MOTE_OK;
}

int sst_stream_place(struct sst_stream *stream, uint64_t length_bytes, uint64_t tail_bytes, uint64_t *offset_bytes)
{
    assert(length_bytes > 0);
    if (stream->error)
        return error_restore(&stream->error_detail);
    uint64_t gap = round_up(stream->at, SST_ALIGN_BYTES) - stream->at;
    int result = stream->buffer ? put_bytes(stream, NULL, gap) : MOTE_OK;
    while (!result && stream->end - stream->at < length_bytes)
        result = add_run(stream, length_bytes, tail_bytes);
    *offset_bytes = stream->at;
    assert(result || (stream->at % SST_ALIGN_BYTES == 0 && stream->end - stream->at >= length_bytes));
    return result;
}

int sst_stream_write(struct sst_stream *stream, const void *data, uint64_t length_bytes)
{
    assert(stream->end - stream->at >= length_bytes);
    return put_bytes(stream, data, length_bytes);
}

int sst_stream_set_source(struct sst_stream *stream, enum blockdev_source source)
{
    int result = source == stream->source ? stream->error : submit_buffer(stream);
    stream->source = (uint8_t)source;
    return result;
}

uint64_t sst_stream_room(const struct sst_stream *stream)
{
    uint32_t runs_left = SEGMENT_RUNS_MAX - stream->run_count, extents_left = stream->reservation->count;
    /* While there are runs enough, only the reservation bounds the segment: its owner made it for all of the rows, in however few segments, and another segment would need more of it, not less. */
    if (runs_left > RUNS_KEPT)
        return UINT64_MAX / 2;
    /* The last runs may be as short as one extent each: what is counted on must be there in any case. */
    if (extents_left > runs_left)
        extents_left = runs_left;
    return stream->end - stream->at + extents_left * stream->context->layout->extent_bytes;
}

int sst_stream_wait(struct sst_stream *stream)
{
    while (stream->inflight > 0) {
        uint32_t before = stream->inflight;
        reap_some(stream);
        if (stream->inflight == before && stream->error)
            break; /* The queue itself is gone: destroying it ends what is in flight. */
    }
    return stream->error ? error_restore(&stream->error_detail) : MOTE_OK;
}

int sst_stream_finish(struct sst_stream *stream)
{
    submit_buffer(stream);
    return sst_stream_wait(stream);
}

static void give_back(struct sst_stream *stream, struct extent_run run)
{
    struct extent_reservation again = {0};
    struct mote_error kept;
    int code = error_get(&kept);
    extents_release_unused(stream->context->extents, run);
    /* Another job may have taken them in between; then this one has a smaller reservation, and says so when that is too small. */
    if (extents_reserve(stream->context->extents, run.count, stream->reservation->standing, &again) == MOTE_OK)
        stream->reservation->count += again.count;
    else if (code)
        error_restore(&kept); /* why the builder is given up matters more */
}

void sst_stream_trim(struct sst_stream *stream)
{
    assert(!stream->buffer && stream->run_count > 0);
    struct extent_run *last = &stream->runs[stream->run_count - 1];
    uint64_t extent_bytes = stream->context->layout->extent_bytes;
    uint32_t used = (uint32_t)divide_up(stream->at - stream->run_start, extent_bytes);
    assert(used > 0 && used <= last->count);
    if (used < last->count) {
        struct extent_run surplus = {last->first + used, last->count - used};
        last->count = used;
        stream->end = stream->run_start + used * extent_bytes;
        give_back(stream, surplus);
    }
}

/* Frees a run that nothing refers to, without the extent that failed. */
static void release_run(struct sst_stream *stream, struct extent_run run)
{
    uint32_t failed = stream->failed_extent, end = run.first + run.count;
    if (failed < run.first || failed >= end) {
        give_back(stream, run);
        return;
    }
    struct extent_run before = {run.first, failed - run.first}, behind = {failed + 1, end - failed - 1};
    if (before.count)
        give_back(stream, before);
    if (behind.count)
        give_back(stream, behind);
}

void sst_stream_destroy(struct sst_stream *stream, bool keep)
{
    while (stream->inflight > 0) {
        uint32_t before = stream->inflight;
        reap_some(stream);
        if (stream->inflight == before)
            break;
    }
    for (uint32_t i = 0; !keep && i < stream->run_count; i++)
        release_run(stream, stream->runs[i]);
    /* A buffer that the kernel may still read is not handed to anyone else. */
    for (uint32_t i = 0; i < SST_STREAM_BUFFERS; i++)
        if (!stream->buffers[i].busy)
            memory_free(stream->context->memory, stream->buffers[i].data);
    stream->run_count = 0;
}
