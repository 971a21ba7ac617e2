/* receive_check.c: what a receive wrote, read from the device and held against its checksums before it counts (receive.c). */
#include "blockdev/base/crc32c.h"
#include "engine/receive_private.h"
#include "index/index.h"

static const struct schema *find_schema(const struct receive *receive, uint64_t table_id)
{
    const struct manifest_state *state = manifest_get_state(receive->tried);
    for (uint32_t i = 0; i < state->table_count; i++)
        if (state->tables[i].schema->table_id == table_id)
            return state->tables[i].schema;
    return NULL;
}

static int check_sections(struct receive *receive, struct segment *segment)
{
    const struct manifest_state *state = manifest_get_state(receive->tried);
    int result = MOTE_OK;
    for (uint32_t k = 0; k < segment->index_count && !result; k++)
        for (uint32_t i = 0; i < state->index_count && !result; i++) {
            const struct row_index_ops *ops = state->indexes[i].id == segment->indexes[k].index_id ? sst_index_ops(&receive->sst, state->indexes[i].kind) : NULL;
            if (ops)
                result = sst_index_verify(&receive->sst, receive->queue, segment, &segment->indexes[k].section, ops);
        }
    return result;
}

/* All that is there of the segment, as it can be read from the device. */
static int check_segment(struct receive *receive, uint64_t segment_id)
{
    struct segment *segment = manifest_find_segment(receive->tried, segment_id);
    const struct schema *schema = segment ? find_schema(receive, segment->record.table_id) : NULL;
    if (!schema)
        return error_set(MOTE_EDAMAGED, "the stream carries segment %llu of no table; send it again", (unsigned long long)segment_id);
    int result = sst_verify(&receive->sst, receive->queue, segment, schema, NULL, NULL);
    return result ? result : check_sections(receive, segment);
}

/* Its chunks' checksums are in rows; what was written is what came. */
static int check_file(struct receive *receive, const struct plan_item *item)
{
    uint64_t from = layout_extent_offset(&receive->superblock.layout, item->run.first);
    uint32_t crc = 0;
    for (uint64_t at = 0, length; at < item->bytes; at += length) {
        length = item->bytes - at < STREAM_CHUNK_BYTES ? item->bytes - at : STREAM_CHUNK_BYTES;
        int result = blockdev_read_range(receive->queue, from + at, receive->chunk, length);
        if (result)
            return result;
        crc = crc32c(crc, receive->chunk, length);
    }
    if (crc == receive->item_crc)
        return MOTE_OK;
    error_set(MOTE_EDAMAGED, "what was written of blob file %llu reads otherwise; check the device", (unsigned long long)item->segment_id);
    error_add_device(blockdev_path(receive->device), from, item->bytes);
    return MOTE_EDAMAGED;
}

int receive_check(struct receive *receive, const struct plan_item *item) { return item->type == STREAM_ITEM_BLOB ? check_file(receive, item) : check_segment(receive, item->segment_id); }
