/* log_format.h: what the payload of a rows frame is: operations, one after the other, each covering consecutive seqs.
 *
 *   offset  size  field
 *        0     1  kind: 1 put rows, 2 delete by key, 3 put a batch of columns; 4 a part of a batch, 5 the end of a batch, 6 nothing
 *        1     1  flags: 1 = every row image has the same size (image_bytes below)
 *        2     2  reserved, zero
 *        4     4  schema_version
 *        8     8  table_id; kinds 4 and 5: the batch's id; kind 6: 0
 *       16     4  row_count: seqs used, at least 1; kind 4: 0
 *       20     4  op_bytes: of the whole operation, a multiple of 8
 *       24     4  image_bytes: of each row image when flag 1 is set, else 0
 *       28     4  reserved, zero
 *       32        put, flag 1: row_count images, each padded with zeros to a multiple of 8
 *                 put: row_count times u32 image size, u32 zero, the image padded to a multiple of 8
 *                 delete: row_count times u32 key size, u32 zero, key bytes padded to a multiple of 8
 *                 columns: i64 first rowid (of the rows that take one, in order); then for each column that was given: u32 its position in the schema, u32 encoded size, the values (blockdev/base/codec.h) padded with zeros to a multiple of 8
 *                 part: a piece of the batch's operations (kinds 1 and 2, one after the other), op_bytes - 32 bytes of it; schema_version is the part's number from 0, image_bytes the length of all parts together
 *                 end: u64 the length of all parts together; schema_version is how many they were
 *                 nothing: anything; the seqs were taken by a transaction that found a conflict
 * Row images and keys: lsm/schema.h. Little-endian. An operation never spans frames; the frame's checksum covers it.
 *
 * A write over several tables that fits a frame is a run of operations of kinds 1 and 2 in one reservation of the log, and so in one frame: there as a whole or not at all. One that does not fit lies in parts, which use no seqs, and an
 * end, which gives seqs to all its rows at once: without its end it is nothing. Parts of one batch follow each other in the log, with frames' other operations between them but no other batch's; all of them and the end lie between the same
 * two cuts of the log, so that the head is never among them; and the id is not another batch's of the same incarnation. A batch without its end is followed by another's part 0, or by the end of its incarnation.
 */
#ifndef MOTE_ENGINE_LOG_FORMAT_H
#define MOTE_ENGINE_LOG_FORMAT_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"

enum { LOG_OP_PUT = 1, LOG_OP_DELETE = 2, LOG_OP_COLUMNS = 3, LOG_OP_PART = 4, LOG_OP_END = 5, LOG_OP_NOTHING = 6 };
enum { LOG_OP_FIXED = 1 };
#define LOG_OP_HEADER_BYTES 32u
#define LOG_ITEM_HEADER_BYTES 8u
#define LOG_END_BYTES (LOG_OP_HEADER_BYTES + 8u)

struct log_op {
    uint32_t kind, flags, schema_version, row_count, op_bytes, image_bytes;
    uint64_t table_id;
};

static inline void log_op_encode(uint8_t *at, const struct log_op *op)
{
    memset(at, 0, LOG_OP_HEADER_BYTES);
    store_u8(at + 0, (uint8_t)op->kind);
    store_u8(at + 1, (uint8_t)op->flags);
    store_u32(at + 4, op->schema_version);
    store_u64(at + 8, op->table_id);
    store_u32(at + 16, op->row_count);
    store_u32(at + 20, op->op_bytes);
    store_u32(at + 24, op->image_bytes);
}

/* false: not a valid operation header within left_bytes. */
static inline bool log_op_decode(const uint8_t *at, uint64_t left_bytes, struct log_op *op)
{
    if (left_bytes < LOG_OP_HEADER_BYTES)
        return false;
    *op = (struct log_op){load_u8(at), load_u8(at + 1), load_u32(at + 4), load_u32(at + 16), load_u32(at + 20), load_u32(at + 24), load_u64(at + 8)};
    if (op->kind < LOG_OP_PUT || op->kind > LOG_OP_NOTHING || op->flags > LOG_OP_FIXED || load_u16(at + 2) || load_u32(at + 28))
        return false;
    if ((op->row_count == 0) != (op->kind == LOG_OP_PART) || op->op_bytes < LOG_OP_HEADER_BYTES || op->op_bytes > left_bytes || op->op_bytes % 8)
        return false;
    if (op->kind == LOG_OP_PART)
        return op->flags == 0 && op->op_bytes > LOG_OP_HEADER_BYTES && op->image_bytes >= op->op_bytes - LOG_OP_HEADER_BYTES && op->image_bytes % 8 == 0;
    if (op->kind == LOG_OP_END)
        return op->flags == 0 && op->image_bytes == 0 && op->op_bytes == LOG_END_BYTES;
    if (op->kind == LOG_OP_COLUMNS || op->kind == LOG_OP_NOTHING)
        return op->flags == 0 && op->image_bytes == 0;
    uint64_t each = (op->flags & LOG_OP_FIXED) ? round_up(op->image_bytes, 8) : LOG_ITEM_HEADER_BYTES;
    uint64_t items = (uint64_t)op->row_count * each;
    uint64_t room = op->op_bytes - LOG_OP_HEADER_BYTES;
    return (op->flags & LOG_OP_FIXED) ? items == room : items <= room;
}

#endif
