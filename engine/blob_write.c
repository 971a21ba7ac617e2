/* blob_write.c: bytes of a value into blob files, with a checksum for each chunk, and the reference to them (blob.h).
 *
 * Bytes that are lent until the requests are complete, and begin where the device can take them, go to it straight from where they are, and are summed while it works; of these only what is left of the last page is copied. All others are
 * copied into a slot's buffer and summed on the way. Four slots, of two requests of LENT_BYTES / 2 each or one of a buffer: what is under way, and what the caller waits for at a time.
 */
#include "engine/blob.h"

#include <string.h>

#include "blockdev/base/crc32c.h"

#define CHUNK_BYTES_SMALL (128u << 10)
#define CHUNK_BYTES_LARGE (1u << 20)
#define LENT_BYTES (2u * REQUEST_BYTES_MAX) /* of a slot */
#define SMALL_VALUE_BYTES (64ull << 20) /* so that small parts are read without much around them, and a reference stays small */

int blob_sink_begin(struct blob_sink *sink, struct mote_table *table, struct blob_io *io, uint64_t length_bytes)
{
    *sink = (struct blob_sink){.table = table, .io = io};
    sink->chunk_bytes = length_bytes && length_bytes <= SMALL_VALUE_BYTES ? CHUNK_BYTES_SMALL : CHUNK_BYTES_LARGE;
    return MOTE_OK;
}

static int push_crc(struct blob_sink *sink)
{
    if (sink->crc_count == BLOB_CHUNKS_MAX)
        return error_set(MOTE_ETOOBIG, "a large value has more than %llu bytes: split it", (unsigned long long)BLOB_CHUNKS_MAX * sink->chunk_bytes);
    if (sink->crc_count == sink->crc_capacity) {
        uint32_t capacity = sink->crc_capacity ? 2 * sink->crc_capacity : 16;
        uint32_t *crcs = memory_realloc(sink->table->db->memory, sink->crcs, capacity * sizeof *crcs);
        if (!crcs)
            return MOTE_EBUDGET;
        sink->crcs = crcs;
        sink->crc_capacity = capacity;
    }
    sink->crcs[sink->crc_count++] = sink->crc;
    sink->chunk_filled = 0;
    return MOTE_OK;
}

/* Room for so many pages beyond what is written. */
static int allocate(struct blob_sink *sink, uint32_t page_count)
{
    struct memory *memory = sink->table->db->memory;
    while (sink->pages_left < page_count) {
        struct blob_piece piece;
        int result = blobs_allocate(sink->table, page_count - (uint32_t)sink->pages_left, !sink->in_job, &sink->holds, &piece);
        if (result)
            return result;
        struct blob_piece *last = sink->piece_count ? &sink->pieces[sink->piece_count - 1] : NULL;
        if (last && last->file_id == piece.file_id && last->first_page + last->page_count == piece.first_page) {
            last->page_count += piece.page_count;
            sink->pages_left += piece.page_count;
            continue;
        }
        if (sink->piece_count == BLOB_PIECES_MAX)
            return error_set(MOTE_ETOOBIG, "a large value would lie in more than %u pieces: split it", BLOB_PIECES_MAX);
        if (sink->piece_count == sink->piece_capacity) {
            uint32_t capacity = sink->piece_capacity ? 2 * sink->piece_capacity : 4;
            struct blob_piece *pieces = memory_realloc(memory, sink->pieces, capacity * sizeof *pieces);
            if (!pieces)
                return MOTE_EBUDGET;
            sink->pieces = pieces;
            sink->piece_capacity = capacity;
        }
        sink->pieces[sink->piece_count++] = piece;
        sink->pages_left += piece.page_count;
    }
    return MOTE_OK;
}

/* The chunks' checksums of the next bytes, yet without their seeds; copied to target on the way, NULL: not. */
static int sum(struct blob_sink *sink, uint8_t *target, const uint8_t *bytes, uint64_t size_bytes)
{
    int result = MOTE_OK;
    for (uint64_t at = 0; at < size_bytes && !result;) {
        uint64_t room = sink->chunk_bytes - sink->chunk_filled, left = size_bytes - at, part = left < room ? left : room;
        uint32_t before = sink->chunk_filled ? sink->crc : 0;
        sink->crc = target ? crc32c_copy(before, target + at, bytes + at, part) : crc32c(before, bytes + at, part);
        sink->chunk_filled += (uint32_t)part;
        if (sink->chunk_filled == sink->chunk_bytes)
            result = push_crc(sink);
        at += part;
    }
    return result;
}

/* The crc of bytes behind a seed is that of the two one behind the other; so where a chunk lies need not be known when it is summed. */
static void seed_chunks(struct blob_sink *sink)
{
    uint32_t piece_at = 0;
    uint64_t piece_begin = 0; /* in the value */
    for (uint32_t i = 0; i < sink->crc_count; i++) {
        uint64_t at = (uint64_t)i * sink->chunk_bytes, left = sink->length_bytes - at;
        while (at - piece_begin >= (uint64_t)sink->pieces[piece_at].page_count * PAGE_BYTES)
            piece_begin += (uint64_t)sink->pieces[piece_at++].page_count * PAGE_BYTES;
        assert(piece_at < sink->piece_count);
        const struct blob_piece *piece = &sink->pieces[piece_at];
        uint32_t seed = crc32c_seed(sink->table->db->sst.uuid, BLOB_CRC_KIND, piece->file_id, (uint64_t)piece->first_page * PAGE_BYTES + (at - piece_begin));
        sink->crcs[i] = crc32c_combine(seed, sink->crcs[i], left < sink->chunk_bytes ? left : sink->chunk_bytes);
    }
}

/* Submits the next pages of the value; the next slot is taken when it is needed. */
static int submit_pages(struct blob_sink *sink, const uint8_t *bytes, uint32_t page_count)
{
    struct blob_slot *slot = &sink->io->slots[sink->slot];
    uint32_t done = 0, pages_max = blockdev_geometry(sink->table->db->device)->request_bytes_max / PAGE_BYTES;
    int result = allocate(sink, page_count);
    while (!result && done < page_count) {
        const struct blob_piece *piece = &sink->pieces[sink->piece_at];
        uint32_t left = piece->page_count - sink->page_at, count = page_count - done < left ? page_count - done : left;
        if (!left) {
            sink->piece_at++;
            sink->page_at = 0;
            continue;
        }
        count = count < pages_max ? count : pages_max;
        struct blob_piece part = {piece->file_id, piece->first_page + sink->page_at, count};
        uint64_t device_bytes;
        result = blobs_locate(sink->table->db, &part, &device_bytes);
        if (!result)
            result = blob_io_write(sink->io, slot, device_bytes, bytes + (uint64_t)done * PAGE_BYTES, count * PAGE_BYTES);
        sink->page_at += count;
        sink->pages_left -= count;
        done += count;
    }
    sink->slot = (sink->slot + 1) % BLOB_SLOTS;
    return result;
}

static int submit_slot(struct blob_sink *sink)
{
    uint8_t *buffer = sink->io->slots[sink->slot].buffer;
    uint32_t pages = (uint32_t)divide_up(sink->slot_filled, PAGE_BYTES);
    memset(buffer + sink->slot_filled, 0, (size_t)pages * PAGE_BYTES - sink->slot_filled);
    sink->slot_filled = 0;
    return submit_pages(sink, buffer, pages);
}

int blob_sink_write(struct blob_sink *sink, const uint8_t *bytes, uint64_t size_bytes)
{
    struct blob_io *io = sink->io;
    while (size_bytes > 0 && !sink->result) {
        struct blob_slot *slot = &io->slots[sink->slot];
        if (sink->slot_filled == 0)
            sink->result = blob_io_wait(io, slot);
        if (sink->result)
            break;
        uint64_t room = io->slot_bytes - sink->slot_filled, part = size_bytes < room ? size_bytes : room;
        sink->result = sum(sink, slot->buffer + sink->slot_filled, bytes, part);
        sink->slot_filled += (uint32_t)part;
        sink->length_bytes += part;
        bytes += part;
        size_bytes -= part;
        if (!sink->result && sink->slot_filled == io->slot_bytes)
            sink->result = submit_slot(sink);
    }
    return sink->result;
}

int blob_sink_write_lent(struct blob_sink *sink, const uint8_t *bytes, uint64_t size_bytes)
{
    struct blob_io *io = sink->io;
    bool fits = sink->length_bytes == 0 && ((uintptr_t)bytes & (blockdev_geometry(sink->table->db->device)->buffer_align_bytes - 1)) == 0;
    uint64_t whole = fits ? round_down(size_bytes, PAGE_BYTES) : 0;
    for (uint64_t at = 0; at < whole && !sink->result;) {
        uint64_t part = whole - at < LENT_BYTES ? whole - at : LENT_BYTES;
        sink->result = blob_io_wait(io, &io->slots[sink->slot]);
        if (!sink->result)
            sink->result = submit_pages(sink, bytes + at, (uint32_t)(part / PAGE_BYTES));
        if (!sink->result)
            sink->result = sum(sink, NULL, bytes + at, part); /* while the device takes them */
        at += part;
        sink->length_bytes += part;
    }
    return blob_sink_write(sink, bytes + whole, size_bytes - whole);
}

int blob_sink_finish(struct blob_sink *sink, uint8_t **stored, uint64_t *stored_bytes)
{
    struct memory *memory = sink->table->db->memory;
    *stored = NULL;
    if (!sink->result && sink->slot_filled)
        sink->result = submit_slot(sink);
    if (!sink->result && sink->chunk_filled)
        sink->result = push_crc(sink);
    if (sink->result)
        return sink->result;
    assert(sink->pages_left == 0);
    seed_chunks(sink);
    *stored_bytes = sink->length_bytes ? blob_reference_bytes(sink->piece_count, sink->crc_count) : 1;
    *stored = memory_alloc(memory, *stored_bytes);
    if (!*stored)
        return sink->result = MOTE_EBUDGET;
    if (sink->length_bytes)
        blob_reference_encode(*stored, sink->length_bytes, sink->chunk_bytes, sink->pieces, sink->piece_count, sink->crcs, sink->crc_count);
    else
        (*stored)[0] = BLOB_INLINE;
    return MOTE_OK;
}

void blob_sink_end(struct blob_sink *sink)
{
    if (!sink->table)
        return;
    struct mote_db *db = sink->table->db;
    if (sink->result == MOTE_EIO)
        blobs_seal(sink->table); /* the place is not written to again */
    blobs_release(db, &sink->holds);
    memory_free(db->memory, sink->pieces);
    memory_free(db->memory, sink->crcs);
    *sink = (struct blob_sink){0};
}
