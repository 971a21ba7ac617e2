/* recover_reader.c: see recover_reader.h. */
#include "wal/recover_reader.h"

#include <assert.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"

static uint64_t range_end(const struct wal_range *range)
{
    return range->lsn + range->length_bytes;
}

uint64_t wal_reader_mapped_from(const struct wal_recovery *recovery, uint64_t lsn)
{
    for (uint32_t i = 0; i < recovery->range_count; i++)
        if (range_end(&recovery->ranges[i]) > lsn)
            return recovery->ranges[i].lsn > lsn ? recovery->ranges[i].lsn : lsn;
    return UINT64_MAX;
}

uint64_t wal_reader_device_offset(const struct wal_recovery *recovery, uint64_t lsn)
{
    for (uint32_t i = 0; i < recovery->range_count; i++)
        if (lsn >= recovery->ranges[i].lsn && lsn < range_end(&recovery->ranges[i]))
            return recovery->ranges[i].device_offset_bytes + (lsn - recovery->ranges[i].lsn);
    return 0;
}

int wal_reader_open(struct wal_reader *reader, struct wal_recovery *recovery)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(blockdev_queue_device(recovery->queue));
    const size_t align_bytes = geometry->buffer_align_bytes > PAGE_BYTES ? geometry->buffer_align_bytes : PAGE_BYTES;
    *reader = (struct wal_reader){.recovery = recovery};
    reader->chunk_bytes = (uint32_t)round_down(geometry->request_bytes_max, recovery->frame_align_bytes);
    if (reader->chunk_bytes > REQUEST_BYTES_MAX)
        reader->chunk_bytes = REQUEST_BYTES_MAX;
    int code = MOTE_OK;
    for (unsigned i = 0; i < READER_CHUNKS; i++) {
        reader->chunks[i].buffer = memory_alloc_aligned(recovery->memory, reader->chunk_bytes, align_bytes);
        if (!reader->chunks[i].buffer)
            code = MOTE_EBUDGET;
    }
    reader->assembly = memory_alloc_aligned(recovery->memory, recovery->frame_bytes_max, align_bytes);
    if (!reader->assembly)
        code = MOTE_EBUDGET;
    if (code != MOTE_OK)
        wal_reader_close(reader);
    return code;
}

static struct wal_reader_chunk *chunk_at(struct wal_reader *reader, uint64_t index)
{
    assert(index >= reader->first && index < reader->end);
    return &reader->chunks[index % READER_CHUNKS];
}

/* Reaps at least one request if any is in flight. */
static int reap_some(struct wal_reader *reader)
{
    struct blockdev_request *done[READER_CHUNKS];
    if (reader->inflight_count == 0)
        return MOTE_OK;
    int count = blockdev_reap(reader->recovery->queue, 1, -1, done, READER_CHUNKS);
    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        struct wal_reader_chunk *chunk = done[i]->user;
        assert(!chunk->done);
        chunk->done = true;
        reader->inflight_count--;
        reader->recovery->bytes_read += chunk->length_bytes;
    }
    return MOTE_OK;
}

static int wait_for_all(struct wal_reader *reader)
{
    int code = MOTE_OK;
    while (code == MOTE_OK && reader->inflight_count > 0)
        code = reap_some(reader);
    return code;
}

void wal_reader_close(struct wal_reader *reader)
{
    /* A queue that fails here fails for ever; its requests are then given up by the kernel when it is destroyed. */
    wait_for_all(reader);
    for (unsigned i = 0; i < READER_CHUNKS; i++)
        memory_free(reader->recovery->memory, reader->chunks[i].buffer);
    memory_free(reader->recovery->memory, reader->assembly);
}

int wal_reader_seek(struct wal_reader *reader, uint64_t lsn)
{
    int code = wait_for_all(reader);
    if (code != MOTE_OK)
        return code;
    const struct wal_recovery *recovery = reader->recovery;
    reader->first = reader->end;
    reader->next_lsn = lsn;
    for (reader->next_range = 0; reader->next_range < recovery->range_count; reader->next_range++)
        if (range_end(&recovery->ranges[reader->next_range]) > lsn)
            break;
    return MOTE_OK;
}

/* Keeps READER_CHUNKS chunks on their way. */
static int read_ahead(struct wal_reader *reader)
{
    const struct wal_recovery *recovery = reader->recovery;
    while (reader->end - reader->first < READER_CHUNKS && reader->next_range < recovery->range_count) {
        const struct wal_range *range = &recovery->ranges[reader->next_range];
        uint64_t lsn = reader->next_lsn > range->lsn ? reader->next_lsn : range->lsn;
        uint64_t left_bytes = range_end(range) - lsn;
        struct wal_reader_chunk *chunk = &reader->chunks[reader->end % READER_CHUNKS];
        chunk->lsn = lsn;
        chunk->length_bytes = left_bytes < reader->chunk_bytes ? (uint32_t)left_bytes : reader->chunk_bytes;
        chunk->done = false;
        chunk->request = (struct blockdev_request){.op = BLOCKDEV_READ,
                                                   .length_bytes = chunk->length_bytes,
                                                   .offset_bytes = range->device_offset_bytes + (lsn - range->lsn),
                                                   .buffer = chunk->buffer,
                                                   .user = chunk};
        struct blockdev_request *request = &chunk->request;
        int taken = blockdev_submit(recovery->queue, &request, 1);
        if (taken < 0)
            return taken;
        if (taken == 0)
            return reader->end > reader->first ? MOTE_OK : error_set(MOTE_EIO, "the device's queue takes no reads of the log; open it again");
        reader->inflight_count++;
        reader->end++;
        reader->next_lsn = lsn + chunk->length_bytes;
        if (reader->next_lsn == range_end(range))
            reader->next_range++;
    }
    return MOTE_OK;
}

static int note_unreadable(struct wal_reader *reader, uint64_t lsn, uint64_t offset_bytes, uint32_t unit_bytes)
{
    if (reader->recovery->continue_on_damage && reader->unreadable_count < READER_UNREADABLE_MAX) {
        reader->unreadable_lsn[reader->unreadable_count++] = lsn;
        return MOTE_OK;
    }
    error_set(MOTE_EIO, "the log cannot be read at LSN %llu; replace the device, or open with on_damage = continue to give that part up",
              (unsigned long long)lsn);
    error_add_device(blockdev_path(blockdev_queue_device(reader->recovery->queue)), offset_bytes, unit_bytes);
    error_add_lsn(lsn);
    return MOTE_EIO;
}

/* Reads a chunk that failed once more, unit by unit. */
static int read_again(struct wal_reader *reader, struct wal_reader_chunk *chunk)
{
    const uint32_t unit_bytes = reader->recovery->frame_align_bytes;
    int code = wait_for_all(reader);
    for (uint32_t at = 0; code == MOTE_OK && at < chunk->length_bytes; at += unit_bytes) {
        uint64_t offset_bytes = chunk->request.offset_bytes + at;
        int result = blockdev_read_range(reader->recovery->queue, offset_bytes, chunk->buffer + at, unit_bytes);
        if (result == MOTE_OK)
            continue;
        if (result != MOTE_EIO)
            return result;
        memset(chunk->buffer + at, 0, unit_bytes);
        code = note_unreadable(reader, chunk->lsn + at, offset_bytes, unit_bytes);
    }
    return code;
}

/* Waits until a chunk's bytes are there. */
static int complete_chunk(struct wal_reader *reader, struct wal_reader_chunk *chunk)
{
    int code = MOTE_OK;
    while (code == MOTE_OK && !chunk->done)
        code = reap_some(reader);
    if (code != MOTE_OK || chunk->request.result == MOTE_OK)
        return code;
    code = chunk->request.result == MOTE_EIO ? read_again(reader, chunk) : chunk->request.result;
    if (code == MOTE_OK)
        chunk->request.result = MOTE_OK;
    else if (code != MOTE_EIO)
        error_set(code, "the device of the log went away while it was read; attach it and open again");
    return code;
}

/* Drops chunks in front of lsn and reads on. */
static int advance_to(struct wal_reader *reader, uint64_t lsn)
{
    while (reader->first < reader->end) {
        struct wal_reader_chunk *chunk = chunk_at(reader, reader->first);
        if (chunk->lsn + chunk->length_bytes > lsn)
            break;
        while (!chunk->done) {
            int code = reap_some(reader);
            if (code != MOTE_OK)
                return code;
        }
        reader->first++;
    }
    /* Ranges that a jump leaves behind are not read at all. */
    const struct wal_recovery *recovery = reader->recovery;
    if (reader->first == reader->end && reader->next_lsn < lsn) {
        reader->next_lsn = lsn;
        while (reader->next_range < recovery->range_count && range_end(&recovery->ranges[reader->next_range]) <= lsn)
            reader->next_range++;
    }
    return read_ahead(reader);
}

int wal_reader_view(struct wal_reader *reader, uint64_t lsn, uint32_t size_bytes, const uint8_t **data)
{
    assert(size_bytes <= reader->recovery->frame_bytes_max);
    int code = advance_to(reader, lsn);
    if (code != MOTE_OK)
        return code;
    uint32_t copied = 0;
    for (uint64_t i = reader->first; i < reader->end; i++) {
        struct wal_reader_chunk *chunk = chunk_at(reader, i);
        uint64_t at_lsn = lsn + copied;
        if (at_lsn < chunk->lsn || at_lsn >= chunk->lsn + chunk->length_bytes)
            return READER_UNMAPPED;
        code = complete_chunk(reader, chunk);
        if (code != MOTE_OK)
            return code;
        const uint8_t *from = chunk->buffer + (at_lsn - chunk->lsn);
        uint64_t there = chunk->lsn + chunk->length_bytes - at_lsn;
        if (copied == 0 && there >= size_bytes) {
            *data = from;
            return MOTE_OK;
        }
        uint32_t piece = there < size_bytes - copied ? (uint32_t)there : size_bytes - copied;
        memcpy(reader->assembly + copied, from, piece);
        copied += piece;
        if (copied == size_bytes) {
            *data = reader->assembly;
            return MOTE_OK;
        }
    }
    return READER_UNMAPPED;
}

bool wal_reader_is_unreadable(const struct wal_reader *reader, uint64_t lsn, uint64_t length_bytes)
{
    for (uint32_t i = 0; i < reader->unreadable_count; i++)
        if (reader->unreadable_lsn[i] + reader->recovery->frame_align_bytes > lsn && reader->unreadable_lsn[i] < lsn + length_bytes)
            return true;
    return false;
}
