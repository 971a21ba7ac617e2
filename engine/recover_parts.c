/* recover_parts.c: see recover_parts.h. */
#include "engine/recover_parts.h"

#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "include/mote.h"

void recover_parts_drop(struct recover_parts *parts)
{
    parts->batch_id = 0;
    parts->count = 0;
    parts->size_bytes = parts->total_bytes = 0;
}

static int begin(struct recover_parts *parts, struct memory *memory, uint64_t incarnation, const struct log_op *op)
{
    recover_parts_drop(parts);
    if (parts->capacity_bytes < op->image_bytes) {
        memory_free(memory, parts->bytes);
        parts->capacity_bytes = 0;
        parts->bytes = memory_alloc_aligned(memory, op->image_bytes, 16);
        if (!parts->bytes)
            return error_set(MOTE_EBUDGET, "the log holds a batch of %u bytes, more than memory is left for: raise memory_bytes", op->image_bytes);
        parts->capacity_bytes = op->image_bytes;
    }
    parts->incarnation = incarnation;
    parts->batch_id = op->table_id;
    parts->total_bytes = op->image_bytes;
    return MOTE_OK;
}

int recover_parts_add(struct recover_parts *parts, struct memory *memory, uint64_t incarnation, const struct log_op *op, const uint8_t *piece)
{
    uint32_t piece_bytes = op->op_bytes - LOG_OP_HEADER_BYTES;
    if (op->table_id == 0)
        return MOTE_EDAMAGED;
    if (op->schema_version == 0) {
        int result = begin(parts, memory, incarnation, op);
        if (result)
            return result;
    }
    bool follows = parts->incarnation == incarnation && parts->batch_id == op->table_id && parts->count == op->schema_version && parts->total_bytes == op->image_bytes;
    if (!follows) {
        /* Its first parts were lost with a hole in the log. */
        recover_parts_drop(parts);
        return MOTE_OK;
    }
    if (piece_bytes > parts->total_bytes - parts->size_bytes)
        return MOTE_EDAMAGED;
    memcpy(parts->bytes + parts->size_bytes, piece, piece_bytes);
    parts->size_bytes += piece_bytes;
    parts->count++;
    return MOTE_OK;
}

bool recover_parts_complete(const struct recover_parts *parts, uint64_t batch_id, uint32_t count, uint64_t total_bytes)
{
    return batch_id != 0 && parts->batch_id == batch_id && parts->count == count && parts->size_bytes == total_bytes && parts->total_bytes == total_bytes;
}

void recover_parts_free(struct recover_parts *parts, struct memory *memory)
{
    memory_free(memory, parts->bytes);
    *parts = (struct recover_parts){0};
}
