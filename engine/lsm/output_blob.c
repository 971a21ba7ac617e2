/* output_blob.c: which blob files the rows of each segment refer to, and how many bytes of each, for the segment's record in the manifest (blob_file.h).
 *
 * A reference to a file that the manifest does not have is damage that whoever reads the value is told of; it keeps no flush from going on, and is not recorded. Threads: the job's. Failures: MOTE_EBUDGET.
 */
#include <assert.h>

#include "engine/lsm/blob_format.h"
#include "engine/lsm/lsm_private.h"

/* The present segment's entry of that file, or where it would be. */
static uint32_t find_place(const struct lsm_output *output, uint64_t file_id)
{
    uint32_t low = output->blob_use_first, high = output->blob_use_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (output->blob_uses[middle].file_id < file_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int note_piece(struct lsm_output *output, const struct blob_piece *piece)
{
    uint32_t at = find_place(output, piece->file_id);
    uint64_t bytes = (uint64_t)piece->page_count * PAGE_BYTES;
    if (at < output->blob_use_count && output->blob_uses[at].file_id == piece->file_id) {
        output->blob_uses[at].bytes += bytes;
        return MOTE_OK;
    }
    if (output->blob_use_count == output->blob_use_capacity) {
        uint32_t capacity = output->blob_use_capacity ? 2 * output->blob_use_capacity : 16;
        struct blob_use *uses = memory_realloc(output->job->sst->memory, output->blob_uses, capacity * sizeof *uses);
        if (!uses)
            return MOTE_EBUDGET;
        output->blob_uses = uses;
        output->blob_use_capacity = capacity;
    }
    memmove(&output->blob_uses[at + 1], &output->blob_uses[at], (output->blob_use_count - at) * sizeof *output->blob_uses);
    output->blob_uses[at] = (struct blob_use){output->segment_id, piece->file_id, bytes};
    output->blob_use_count++;
    return MOTE_OK;
}

int lsm_blobs_note(struct lsm_output *output, const struct schema *image_schema, const uint8_t *image)
{
    const struct schema *schema = output->schema;
    assert(schema->has_large && image);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        struct mote_value value;
        struct blob_reference reference;
        if (!(schema->columns[i].flags & MOTE_COLUMN_LARGE))
            continue;
        row_value(schema, image_schema, image, i, &value);
        if (value.is_null || !blob_reference_decode(value.as.bytes.data, value.as.bytes.size_bytes, &reference))
            continue;
        for (uint32_t k = 0; k < reference.piece_count; k++) {
            struct blob_piece piece;
            blob_reference_piece(&reference, k, &piece);
            int result = note_piece(output, &piece);
            if (result)
                return result;
        }
    }
    return MOTE_OK;
}

void lsm_blobs_add(struct manifest_edit *edit, const struct lsm_output *output, uint64_t segment_id, uint32_t *at)
{
    struct blob_use *uses = output->blob_uses + *at;
    uint32_t count = 0;
    for (; *at + count < output->blob_use_count && uses[count].segment_id == segment_id; count++)
        if (!manifest_find_blob_file(output->job->manifest, uses[count].file_id))
            uses[count].bytes = 0; /* left out */
    manifest_edit_set_blobs(edit, segment_id, uses, count);
    *at += count;
}
