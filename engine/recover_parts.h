/* recover_parts.h: the parts of a batch that did not fit a frame, gathered until its end comes (log_format.h). At most one batch is under way in the log, so the parts of another one, or of another incarnation, mean that it never ended.
 *
 * A part that does not follow the one before it, where the log has a hole, leaves nothing: the batch is not complete then. Threads: one. Memory: the batch's length, at once, from the heap. Failures: MOTE_EBUDGET, MOTE_EDAMAGED without a
 * sentence.
 */
#ifndef MOTE_ENGINE_RECOVER_PARTS_H
#define MOTE_ENGINE_RECOVER_PARTS_H

#include "engine/log_format.h"

struct memory;

struct recover_parts {
    uint64_t incarnation, batch_id; /* 0: none */
    uint32_t count;
    uint64_t size_bytes, total_bytes, capacity_bytes;
    uint8_t *bytes;
};

int recover_parts_add(struct recover_parts *parts, struct memory *memory, uint64_t incarnation, const struct log_op *op, const uint8_t *piece);
bool recover_parts_complete(const struct recover_parts *parts, uint64_t batch_id, uint32_t count, uint64_t total_bytes);
void recover_parts_drop(struct recover_parts *parts);
void recover_parts_free(struct recover_parts *parts, struct memory *memory);

#endif
