/* blob_values.c: what a caller gives for large columns becomes what rows hold: the bytes themselves behind a tag, or, from blob_threshold_bytes on, a reference to bytes that are written and durable by then (blob.h).
 *
 * What is wrong with a row or a batch is left to the checks of those who append it, with the same sentences as for other tables; only what would be written for nothing, or read beyond its end, is looked at before.
 */
#include "engine/blob.h"

#include <string.h>

static int keep(struct blob_stored *stored, uint8_t *bytes)
{
    if (stored->made_count == stored->made_capacity) {
        uint32_t capacity = stored->made_capacity ? 2 * stored->made_capacity : 4;
        uint8_t **made = memory_realloc(stored->db->memory, stored->made, capacity * sizeof(uint8_t *));
        if (!made) {
            memory_free(stored->db->memory, bytes);
            return MOTE_EBUDGET;
        }
        stored->made = made;
        stored->made_capacity = capacity;
    }
    stored->made[stored->made_count++] = bytes;
    return MOTE_OK;
}

void blob_stored_free(struct blob_stored *stored)
{
    if (!stored->db)
        return;
    struct memory *memory = stored->db->memory;
    blobs_release(stored->db, &stored->holds);
    for (uint32_t i = 0; i < stored->made_count; i++)
        memory_free(memory, stored->made[i]);
    memory_free(memory, stored->made);
    memory_free(memory, stored->values);
    memory_free(memory, stored->columns);
    *stored = (struct blob_stored){0};
}

static bool is_outside(const struct mote_db *db, uint64_t size_bytes)
{
    uint64_t threshold = db->options.blob_threshold_bytes;
    return size_bytes > BLOB_INLINE_BYTES_MAX || (threshold != MOTE_NEVER && size_bytes >= threshold);
}

/* The bytes go through *io, which is taken at the first; they are durable after blob_io_sync, and the device may read the caller's memory until then. */
static int write_out(struct mote_table *table, struct blob_stored *stored, struct blob_io **io, const void *bytes, uint64_t size_bytes, const uint8_t **made, uint64_t *made_bytes)
{
    struct blob_sink sink;
    uint8_t *reference;
    if (!*io && !(*io = blob_io_take(table->db)))
        return MOTE_EBUDGET;
    int result = blob_sink_begin(&sink, table, *io, size_bytes);
    if (!result)
        result = blob_sink_write_lent(&sink, bytes, size_bytes);
    if (!result)
        result = blob_sink_finish(&sink, &reference, made_bytes);
    if (!result)
        result = keep(stored, reference);
    if (!result)
        result = blobs_move_holds(table->db, &sink.holds, &stored->holds);
    if (!result)
        *made = reference;
    blob_sink_end(&sink);
    return result;
}

/* Ends what write_out began. */
static int write_end(struct mote_table *table, struct blob_io *io, int result)
{
    if (!io)
        return result;
    struct mote_error cause;
    error_get(&cause);
    int synced = blob_io_sync(io);
    if (synced == MOTE_EIO)
        blobs_seal(table);
    blob_io_give(io);
    return result ? error_restore(&cause) : synced;
}

static int copy_inline(struct blob_stored *stored, struct mote_value *value)
{
    uint64_t size_bytes = value->as.bytes.size_bytes;
    uint8_t *copy = memory_alloc(stored->db->memory, size_bytes + 1);
    int result = copy ? keep(stored, copy) : MOTE_EBUDGET;
    if (result)
        return result;
    copy[0] = BLOB_INLINE;
    if (size_bytes)
        memcpy(copy + 1, value->as.bytes.data, size_bytes);
    value->as.bytes.data = copy;
    value->as.bytes.size_bytes = size_bytes + 1;
    return MOTE_OK;
}

/* ---- A row ---- */

static uint32_t hidden_columns(const struct schema *schema) { return schema->columns[0].hidden ? 1u : 0u; }

static bool is_large(const struct schema *schema, size_t number, const struct mote_value *value)
{
    size_t position = number + hidden_columns(schema);
    return position < schema->column_count && (schema->columns[position].flags & MOTE_COLUMN_LARGE) && !value->is_null && (value->type == MOTE_TYPE_BLOB || value->type == MOTE_VALUE_WRITER);
}

/* Whether the row is good but for its large values. */
static int check_others(const struct schema *schema, const struct mote_value *values, size_t value_count, struct mote_value *copy)
{
    static const uint8_t small[1] = {BLOB_INLINE};
    uint32_t image_bytes;
    for (size_t i = 0; i < value_count; i++) {
        copy[i] = values[i];
        if (!is_large(schema, i, &values[i]))
            continue;
        if (values[i].type == MOTE_TYPE_BLOB && !values[i].as.bytes.data && values[i].as.bytes.size_bytes)
            return error_set(MOTE_EINVAL, "a large value of table %s is NULL with a size", schema->name);
        copy[i] = (struct mote_value){.type = MOTE_TYPE_BLOB, .as.bytes = {small, sizeof small}};
    }
    return row_check_values(schema, copy, value_count, &image_bytes);
}

int blob_store_values(struct mote_table *table, const struct mote_value *values, size_t value_count, struct blob_stored *stored)
{
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    *stored = (struct blob_stored){.db = db};
    if (!schema->has_large || value_count > schema->column_count)
        return MOTE_OK;
    stored->values = memory_alloc(db->memory, (value_count + 1) * sizeof *stored->values);
    int result = stored->values ? check_others(schema, values, value_count, stored->values) : MOTE_EBUDGET;
    struct blob_io *io = NULL;
    for (size_t i = 0; i < value_count && !result; i++) {
        struct mote_value *value = &stored->values[i];
        if (!is_large(schema, i, &values[i]))
            continue;
        const uint8_t *reference;
        uint64_t reference_bytes;
        if (values[i].type == MOTE_VALUE_WRITER) {
            result = blob_writer_store(table, &values[i], &stored->holds, &reference, &reference_bytes);
        } else if (is_outside(db, values[i].as.bytes.size_bytes)) {
            result = write_out(table, stored, &io, values[i].as.bytes.data, values[i].as.bytes.size_bytes, &reference, &reference_bytes);
        } else {
            value->as = values[i].as;
            result = copy_inline(stored, value);
            continue;
        }
        if (!result)
            *value = (struct mote_value){.type = MOTE_TYPE_BLOB, .as.bytes = {reference, reference_bytes}};
    }
    return write_end(table, io, result);
}

/* ---- A batch ---- */

/* A column's values in stored form, one behind the other. */
struct grown {
    uint8_t *bytes;
    uint64_t used, capacity;
};

static uint8_t *grow(struct memory *memory, struct grown *grown, uint64_t more_bytes)
{
    if (grown->used + more_bytes > grown->capacity) {
        uint64_t capacity = grown->used + more_bytes + grown->capacity / 2;
        uint8_t *bytes = memory_realloc(memory, grown->bytes, capacity);
        if (!bytes)
            return NULL;
        grown->bytes = bytes;
        grown->capacity = capacity;
    }
    uint8_t *at = grown->bytes + grown->used;
    grown->used += more_bytes;
    return at;
}

static int add_value(struct mote_table *table, struct blob_stored *stored, struct blob_io **io, struct grown *grown, const uint8_t *bytes, uint64_t size_bytes)
{
    struct memory *memory = table->db->memory;
    bool outside = is_outside(table->db, size_bytes);
    const uint8_t *source = bytes;
    uint64_t source_bytes = size_bytes;
    int result = outside ? write_out(table, stored, io, bytes, size_bytes, &source, &source_bytes) : MOTE_OK;
    uint8_t *at = result ? NULL : grow(memory, grown, source_bytes + !outside);
    if (!at)
        return result ? result : MOTE_EBUDGET;
    if (!outside)
        *at++ = BLOB_INLINE;
    if (source_bytes)
        memcpy(at, source, source_bytes);
    if (grown->used > UINT32_MAX)
        return error_set(MOTE_ETOOBIG, "a batch's large values of one column take more than 4 GiB in rows: split it");
    return MOTE_OK;
}

/* false: the offsets cannot be; whoever checks the batch says so. */
static bool offsets_ascend(const struct mote_column *column, size_t row_count)
{
    for (size_t row = 0; row < row_count; row++)
        if (column->offsets[row] > column->offsets[row + 1])
            return false;
    return column->values || column->offsets[row_count] == column->offsets[0];
}

static int store_column(struct mote_table *table, struct blob_stored *stored, struct blob_io **io, const struct mote_column *given, size_t row_count, struct mote_column *column)
{
    struct memory *memory = table->db->memory;
    struct grown grown = {0};
    uint32_t *offsets = memory_alloc(memory, (row_count + 1) * sizeof *offsets);
    int result = offsets ? keep(stored, (uint8_t *)offsets) : MOTE_EBUDGET;
    for (size_t row = 0; row < row_count && !result; row++) {
        offsets[row] = (uint32_t)grown.used;
        if (!given->validity || (given->validity[row / 8] >> (row % 8) & 1))
            result = add_value(table, stored, io, &grown, (const uint8_t *)given->values + given->offsets[row], given->offsets[row + 1] - given->offsets[row]);
    }
    if (!result)
        offsets[row_count] = (uint32_t)grown.used;
    if (grown.bytes) {
        int kept = keep(stored, grown.bytes);
        result = result ? result : kept;
    }
    column->values = grown.bytes;
    column->offsets = offsets;
    return result;
}

int blob_store_batch(struct mote_table *table, const struct mote_batch *batch, struct blob_stored *stored)
{
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    *stored = (struct blob_stored){.db = db};
    stored->batch = batch ? *batch : (struct mote_batch){0};
    if (!schema->has_large || !batch || !batch->columns || batch->column_count > schema->column_count || batch->row_count > UINT32_MAX / 64)
        return MOTE_OK;
    stored->columns = memory_alloc(db->memory, (batch->column_count + 1) * sizeof *stored->columns);
    if (!stored->columns)
        return MOTE_EBUDGET;
    if (batch->column_count)
        memcpy(stored->columns, batch->columns, batch->column_count * sizeof *stored->columns);
    stored->batch.columns = stored->columns;
    struct blob_io *io = NULL;
    int result = MOTE_OK;
    for (size_t i = 0; i < batch->column_count && !result; i++) {
        const struct mote_column *given = &batch->columns[i];
        size_t position = batch->column_index ? batch->column_index[i] : i + hidden_columns(schema);
        bool large = position < schema->column_count && (schema->columns[position].flags & MOTE_COLUMN_LARGE);
        if (large && given->type == MOTE_TYPE_BLOB && given->offsets && offsets_ascend(given, batch->row_count))
            result = store_column(table, stored, &io, given, batch->row_count, &stored->columns[i]);
        else if (large)
            result = error_set(MOTE_EINVAL, "column %zu of the batch, for the large column %s of table %s, is not of blobs with ascending offsets", i, schema->columns[position].name, schema->name);
    }
    return write_end(table, io, result);
}
