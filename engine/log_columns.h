/* log_columns.h: a batch of columns as one operation of the log, encoded once (log_format.h, kind 3). What is logged is the batch that the caller gave, column by column; recovery checks it like a batch from a caller and makes the same rows.
 *
 * Used for batches of LOG_COLUMNS_ROWS_MIN rows or more, and LOG_COLUMNS_ROWS_PER_COLUMN times the columns, whose rows have one size; others are logged row by row. Threads: pure but for the memory budget. Failures: encode: false, nothing is kept, the batch is logged as rows; decode:
 * MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#ifndef MOTE_ENGINE_LOG_COLUMNS_H
#define MOTE_ENGINE_LOG_COLUMNS_H

#include "engine/log_format.h"
#include "engine/lsm/schema.h"

#define LOG_COLUMNS_ROWS_MIN 32u
#define LOG_COLUMNS_ROWS_PER_COLUMN 4u /* with fewer rows a column, the codecs' fixed cost of each column is more than the smaller frame saves */
#define LOG_COLUMNS_RAW_BYTES_MAX (8u << 20) /* of the row images that an operation makes */
#define LOG_COLUMNS_ROW_BYTES_MAX 4096u       /* larger rows are logged as rows */

struct memory;

/* An encoded batch: what follows the operation's header. */
struct log_columns {
    uint8_t *room; /* memory_alloc'ed */
    uint8_t *data; /* in room */
    uint32_t size_bytes;
};
/* hints: one for each column of the schema, what the encoder remembers from batch to batch; or NULL. */
struct codec_hint;
bool log_columns_encode(struct memory *memory, const struct row_batch *prepared, int64_t first_rowid, struct codec_hint *hints, struct log_columns *out);
void log_columns_free(struct memory *memory, struct log_columns *columns);

/* A decoded operation. Large: not for the stack. */
struct log_batch {
    struct row_batch prepared;
    struct mote_batch batch;
    struct mote_column columns[MOTE_COLUMNS_MAX];
    uint32_t column_index[MOTE_COLUMNS_MAX];
    int64_t first_rowid;
    uint8_t *room; /* memory_alloc'ed; grows */
    uint64_t room_bytes;
};
/* Decodes what follows the header of a LOG_OP_COLUMNS; *what names the fault. */
int log_columns_decode(struct memory *memory, const struct schema *schema, const struct log_op *op, const uint8_t *data, struct log_batch *batch, const char **what);
void log_batch_free(struct memory *memory, struct log_batch *batch);

/* How many rows of `stride_bytes` are made at a time. */

#endif
