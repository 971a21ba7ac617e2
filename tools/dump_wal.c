/* dump_wal.c: `mote dump PATH wal`: the log's ranges and, frame by frame, what lies in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tools/dump.h"
#include "tools/output.h"
#include "wal/wal.h"

struct piece {
    uint64_t lsn, device_offset_bytes, length_bytes;
};

static void print_frame(const struct dump *dump, uint64_t device_offset_bytes, const struct wal_frame *frame)
{
    if (!dump->common.json) {
        printf("%16llu  at %llu  incarnation %016llx  seq %llu + %u  payload %u of %u  kind %u flags %x  durable %llu  "
               "crc %08x after %08x\n",
               (unsigned long long)frame->lsn, (unsigned long long)device_offset_bytes,
               (unsigned long long)frame->incarnation, (unsigned long long)frame->first_seq, frame->count,
               frame->payload_bytes, frame->frame_bytes, frame->kind, frame->flags,
               (unsigned long long)frame->durable_lsn, frame->crc, frame->previous_crc);
        return;
    }
    struct output out;
    struct json json;
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_u64(&json, "lsn", frame->lsn);
    json_u64(&json, "offset_bytes", device_offset_bytes);
    json_u64(&json, "incarnation", frame->incarnation);
    json_u64(&json, "first_seq", frame->first_seq);
    json_u64(&json, "count", frame->count);
    json_u64(&json, "payload_bytes", frame->payload_bytes);
    json_u64(&json, "frame_bytes", frame->frame_bytes);
    json_u64(&json, "kind", frame->kind);
    json_u64(&json, "flags", frame->flags);
    json_u64(&json, "batch_id", frame->batch_id);
    json_u64(&json, "durable_lsn", frame->durable_lsn);
    json_u64(&json, "superblock_generation", frame->superblock_generation);
    json_u64(&json, "catalog_version", frame->catalog_version);
    json_u64(&json, "crc", frame->crc);
    json_u64(&json, "previous_crc", frame->previous_crc);
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

/* The mapped ranges as pieces of the device, neighbours joined where both LSN and device go on. Returns their number.
 */
static uint32_t join_ranges(const struct dump *dump, const struct manifest_state *state, struct piece *pieces)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->log_range_count; i++) {
        const struct manifest_log_range *range = &state->log_ranges[i];
        struct piece piece = {range->lsn, layout_extent_offset(&dump->superblock.layout, range->run.first),
                              (uint64_t)range->run.count * dump->superblock.layout.extent_bytes};
        struct piece *last = count ? &pieces[count - 1] : NULL;
        if (last && last->lsn + last->length_bytes == piece.lsn &&
            last->device_offset_bytes + last->length_bytes == piece.device_offset_bytes)
            last->length_bytes += piece.length_bytes;
        else
            pieces[count++] = piece;
    }
    return count;
}

/* Prints the frames of one piece from *lsn on. Returns 0 at the end of the piece or of the frames, or an exit code. */
static int dump_piece(struct dump *dump, const struct piece *piece, uint8_t *buffer, uint64_t *lsn, uint64_t *frames)
{
    while (*lsn < piece->lsn + piece->length_bytes && (!dump->limit || *frames < dump->limit)) {
        uint64_t skip = *lsn - piece->lsn, rest = piece->length_bytes - skip;
        uint32_t length = rest < REQUEST_BYTES_MAX ? (uint32_t)rest : REQUEST_BYTES_MAX;
        if (blockdev_read_range(dump->queue, piece->device_offset_bytes + skip, buffer, length))
            return tool_fail(&dump->common, NULL);
        struct wal_frame frame;
        if (wal_frame_decode(buffer, length, dump->superblock.uuid, *lsn, REQUEST_BYTES_MAX, &frame) ||
            frame.frame_bytes == 0) {
            if (!dump->common.json)
                printf("%16llu  at %llu  no frame\n", (unsigned long long)*lsn,
                       (unsigned long long)(piece->device_offset_bytes + skip));
            return 0;
        }
        print_frame(dump, piece->device_offset_bytes + skip, &frame);
        *lsn += frame.frame_bytes;
        ++*frames;
    }
    return 0;
}

int dump_wal(struct dump *dump)
{
    int result = dump_open_manifest(dump);
    if (result)
        return result;
    const struct manifest_state *state = manifest_get_state(dump->manifest);
    if (!dump->common.json) {
        printf("head %llu, flushed seq %llu\n", (unsigned long long)state->head_lsn,
               (unsigned long long)state->flushed_seq);
        for (uint32_t i = 0; i < state->incarnation_count; i++) {
            const struct manifest_incarnation *incarnation = &state->incarnations[i];
            printf("incarnation %016llx from %llu", (unsigned long long)incarnation->id,
                   (unsigned long long)incarnation->first_lsn);
            if (incarnation->end_lsn == UINT64_MAX)
                printf(" (live)\n");
            else
                printf(" to %llu\n", (unsigned long long)incarnation->end_lsn);
        }
    }
    struct piece *pieces = tool_alloc(MANIFEST_LOG_RANGES_MAX * sizeof pieces[0]);
    uint8_t *buffer = aligned_alloc(PAGE_BYTES, REQUEST_BYTES_MAX);
    uint32_t count = join_ranges(dump, state, pieces);
    uint64_t frames = 0, start = dump->from_lsn > state->head_lsn ? dump->from_lsn : state->head_lsn;
    for (uint32_t i = 0; buffer && !result && i < count; i++) {
        const struct piece *piece = &pieces[i];
        if (piece->lsn + piece->length_bytes <= start)
            continue;
        if (!dump->common.json)
            printf("range %llu to %llu at %llu\n", (unsigned long long)piece->lsn,
                   (unsigned long long)(piece->lsn + piece->length_bytes),
                   (unsigned long long)piece->device_offset_bytes);
        uint64_t lsn = piece->lsn > start ? piece->lsn : start;
        result = dump_piece(dump, piece, buffer, &lsn, &frames);
    }
    free(buffer);
    free(pieces);
    return result;
}
