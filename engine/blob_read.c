/* blob_read.c: a value's bytes out of blob files: whole chunks are read, several requests in flight, and held against their checksums before any byte of them counts (blob.h). */
#include "engine/blob.h"

#include <inttypes.h>
#include <string.h>

#include "blockdev/base/crc32c.h"

/* A place in the value, and in its pieces. */
struct place {
    const struct blob_reference *reference;
    uint32_t number;         /* of the piece */
    struct blob_piece piece; /* what is left of it */
};

static void place_skip(struct place *place, uint64_t page_count)
{
    while (page_count >= place->piece.page_count) {
        page_count -= place->piece.page_count;
        if (++place->number == place->reference->piece_count) {
            place->piece.page_count = 0;
            return;
        }
        blob_reference_piece(place->reference, place->number, &place->piece);
    }
    place->piece.first_page += (uint32_t)page_count;
    place->piece.page_count -= (uint32_t)page_count;
}

static void place_begin(const struct blob_reference *reference, uint64_t at_bytes, struct place *place)
{
    *place = (struct place){.reference = reference};
    blob_reference_piece(reference, 0, &place->piece);
    place_skip(place, at_bytes / PAGE_BYTES);
}

/* What one call does: bytes [begin, end) of the value are read, of which [from, to) are wanted at out. */
struct job {
    struct blob_io *io;
    const struct blob_reference *reference;
    uint64_t begin, end, from, to;
    uint8_t *out;
    struct place next, checked; /* for the next request; for the seeds */
    uint32_t crc, chunk_filled;
};

static int request_slot(struct job *job, struct blob_slot *slot, uint64_t at_bytes)
{
    uint64_t left = job->end - at_bytes, bytes = left < job->io->slot_bytes ? left : job->io->slot_bytes;
    uint32_t pages = (uint32_t)divide_up(bytes, PAGE_BYTES), done = 0;
    int result = MOTE_OK;
    while (!result && done < pages) {
        struct blob_piece part = job->next.piece;
        uint64_t device_bytes;
        part.page_count = part.page_count < pages - done ? part.page_count : pages - done;
        assert(part.page_count > 0);
        result = blobs_locate(job->io->db, &part, &device_bytes);
        if (!result)
            result = blob_io_read(job->io, slot, device_bytes, slot->buffer + (size_t)done * PAGE_BYTES, part.page_count * PAGE_BYTES);
        place_skip(&job->next, part.page_count);
        done += part.page_count;
    }
    return result;
}

static int chunk_damaged(const struct job *job, uint64_t end_bytes)
{
    uint64_t chunk = (end_bytes - 1) / job->reference->chunk_bytes;
    struct place place;
    uint64_t device_bytes = 0;
    place_begin(job->reference, chunk * job->reference->chunk_bytes, &place);
    blobs_locate(job->io->db, &place.piece, &device_bytes);
    error_set(MOTE_EDAMAGED, "bytes %" PRIu64 " to %" PRIu64 " of a large value fail their checksum, at byte %" PRIu64 " of blob file %" PRIu64 ": restore the row", chunk * job->reference->chunk_bytes, end_bytes,
              (uint64_t)place.piece.first_page * PAGE_BYTES, place.piece.file_id);
    error_add_device(blockdev_path(job->io->db->device), device_bytes, end_bytes - chunk * job->reference->chunk_bytes);
    return MOTE_EDAMAGED;
}

/* Checks what a slot holds and gives out what is wanted of it. */
static int use_slot(struct job *job, const struct blob_slot *slot, uint64_t at_bytes)
{
    const struct blob_reference *reference = job->reference;
    uint64_t end = at_bytes + job->io->slot_bytes < job->end ? at_bytes + job->io->slot_bytes : job->end;
    for (uint64_t at = at_bytes; at < end;) {
        uint64_t room = reference->chunk_bytes - job->chunk_filled, part = end - at < room ? end - at : room;
        if (job->chunk_filled == 0) {
            place_begin(reference, at, &job->checked);
            job->crc = crc32c_seed(job->io->db->sst.uuid, BLOB_CRC_KIND, job->checked.piece.file_id, (uint64_t)job->checked.piece.first_page * PAGE_BYTES);
        }
        job->crc = crc32c(job->crc, slot->buffer + (at - at_bytes), part);
        job->chunk_filled += (uint32_t)part;
        at += part;
        if (job->chunk_filled == reference->chunk_bytes || at == reference->length_bytes) {
            if (job->crc != blob_reference_crc(reference, (uint32_t)((at - 1) / reference->chunk_bytes)))
                return chunk_damaged(job, at);
            job->chunk_filled = 0;
        }
    }
    uint64_t from = at_bytes > job->from ? at_bytes : job->from, to = end < job->to ? end : job->to;
    if (from < to)
        memcpy(job->out + (from - job->from), slot->buffer + (from - at_bytes), to - from);
    return MOTE_OK;
}

int blob_read(struct blob_io *io, const struct blob_reference *reference, uint64_t offset_bytes, uint8_t *out, uint64_t size_bytes)
{
    assert(offset_bytes <= reference->length_bytes && size_bytes <= reference->length_bytes - offset_bytes);
    if (!size_bytes)
        return MOTE_OK;
    struct job job = {.io = io, .reference = reference, .from = offset_bytes, .to = offset_bytes + size_bytes, .out = out};
    job.begin = round_down(offset_bytes, reference->chunk_bytes);
    job.end = round_up(job.to, reference->chunk_bytes);
    if (job.end > reference->length_bytes)
        job.end = reference->length_bytes;
    place_begin(reference, job.begin, &job.next);
    uint64_t asked = job.begin, used = job.begin;
    int result = MOTE_OK;
    while (!result && used < job.end) {
        while (!result && asked < job.end && asked - used < (uint64_t)BLOB_SLOTS * io->slot_bytes) {
            result = request_slot(&job, &io->slots[(asked - job.begin) / io->slot_bytes % BLOB_SLOTS], asked);
            asked += io->slot_bytes;
        }
        struct blob_slot *slot = &io->slots[(used - job.begin) / io->slot_bytes % BLOB_SLOTS];
        if (!result)
            result = blob_io_wait(io, slot);
        if (!result)
            result = use_slot(&job, slot, used);
        used += io->slot_bytes;
    }
    struct mote_error cause;
    error_get(&cause);
    for (uint32_t i = 0; i < BLOB_SLOTS; i++)
        blob_io_wait(io, &io->slots[i]);
    return result ? error_restore(&cause) : MOTE_OK;
}

static int malformed(void) { return error_set(MOTE_EDAMAGED, "a row's large value is neither one nor a reference to one: run fsck.mote"); }

int blob_length(const uint8_t *stored, uint64_t stored_bytes, uint64_t *length_bytes)
{
    struct blob_reference reference;
    if (stored_bytes == 0 || (stored[0] != BLOB_INLINE && !blob_reference_decode(stored, stored_bytes, &reference)))
        return malformed();
    *length_bytes = stored[0] == BLOB_INLINE ? stored_bytes - 1 : reference.length_bytes;
    return MOTE_OK;
}

int blob_fetch(struct mote_db *db, const uint8_t *stored, uint64_t stored_bytes, uint8_t *out)
{
    struct blob_reference reference;
    if (stored_bytes > 0 && stored[0] == BLOB_INLINE) {
        memcpy(out, stored + 1, stored_bytes - 1);
        return MOTE_OK;
    }
    if (!blob_reference_decode(stored, stored_bytes, &reference))
        return malformed();
    struct blob_io *io = blob_io_take(db);
    if (!io)
        return MOTE_EBUDGET;
    int result = blob_read(io, &reference, 0, out, reference.length_bytes);
    blob_io_give(io);
    return result;
}
