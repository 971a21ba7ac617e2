/* sst_block_read.c: one block of a segment: its columns decoded when they are first asked for, keys made of the key columns, rows searched by galloping.
 *
 * Invariants: what is decoded belongs to the iterator and carries the stamp of its block, so that entering another block costs nothing for each column. Starts and counts of the block are bounded where they are used.
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

#define COPIED_SHARE 2u /* of a block's rows: so large a part of them is always decoded to where it is wanted */
enum { LINE_BYTES = 64, FETCHED_BYTES = 2048 }; /* of a stream, before it is looked at */

static int refuse_block(const struct sst_iterator *iterator, const char *what)
{
    return sst_refuse(iterator, iterator->block.header.offset_bytes, iterator->block.header.length_bytes, what);
}

/* What a block says of itself must be what its partition says of it. */
static int check_block(struct sst_iterator *iterator)
{
    const struct sst_block *block = &iterator->block;
    const uint8_t *data = iterator->block_pin.data;
    if (load_u32(data + 32) == block->row_count && load_u32(data + 36) == block->delete_count && load_u32(data + 40) == block->repeat_count && load_u32(data + 44) == block->column_count &&
        load_u64(data + 48) == block->seq_min && load_u64(data + 56) == block->seq_max && (block->row_pages || sst_streams_at(block->column_count) <= block->length_bytes))
        return MOTE_OK;
    sst_unpin(iterator, &iterator->block_pin);
    return refuse_block(iterator, "a block contradicts its index");
}

int sst_block_pin(struct sst_iterator *iterator)
{
    if (iterator->block_pin.data)
        return MOTE_OK;
    iterator->block_pin.data = iterator->ahead ? sst_ahead_take(iterator, &iterator->block.header) : NULL;
    int result = iterator->block_pin.data ? MOTE_OK : sst_pin_structure(iterator, &iterator->block.header, NULL, &iterator->block_pin);
    return result ? result : check_block(iterator);
}

/* Pins the block if the cache holds the whole of it. */
static bool pin_cached(struct sst_iterator *iterator)
{
    const struct sst_header *header = &iterator->block.header;
    if (!cache_try(iterator->context->cache, (struct cache_key){header->segment_id, header->offset_bytes}, header->length_bytes, &iterator->block_pin.entry, &iterator->block_pin.data))
        return false;
    if (!sst_header_fits(iterator->block_pin.data, header) || check_block(iterator))
        sst_unpin(iterator, &iterator->block_pin);
    return iterator->block_pin.data != NULL;
}

static void unpin_block(struct sst_iterator *iterator)
{
    sst_unpin(iterator, &iterator->block_pin);
    sst_parts_unpin(iterator);
}

void sst_block_leave(struct sst_iterator *iterator)
{
    unpin_block(iterator);
    iterator->block.number = SST_NONE;
    iterator->on_record = iterator->key_valid = false;
}

int sst_block_enter(struct sst_iterator *iterator, uint32_t index)
{
    struct sst_block *block = &iterator->block;
    struct sst_block_entry entry;
    uint32_t first_block = load_u32(iterator->partition_pin.data + 40), left = block->number;
    if (block->number == first_block + index && block->partition == iterator->partition && (!block->in_parts || iterator->projection.set))
        return MOTE_OK;
    sst_block_leave(iterator);
    sst_block_entry_load(iterator, index, &entry);
    block->header = entry.header;
    block->length_bytes = entry.header.length_bytes;
    block->row_pages = entry.pages != NULL;
    block->row_count = entry.row_count;
    block->delete_count = entry.delete_count;
    block->repeat_count = entry.repeat_count;
    block->column_count = iterator->footer.column_count;
    block->seq_min = entry.seq_min;
    block->seq_max = entry.seq_max;
    iterator->ahead_checked = UINT64_MAX;
    if (iterator->projection.keys_left > 0)
        iterator->projection.keys_left--;
    sst_ahead_enter(iterator, first_block + index, left, entry.header.offset_bytes);
    block->in_parts = sst_parts_plan(iterator, &entry, block->groups, &block->group_count);
    if (block->in_parts)
        block->in_parts = !pin_cached(iterator);
    int result = block->in_parts ? MOTE_OK : sst_block_pin(iterator);
    if (result)
        return result;
    if (iterator->block_pin.entry)
        sst_unpin(iterator, &iterator->block_pin); /* Who merges many segments stands in many blocks, mostly without decoding any of them: pins would fill a small cache. The decoding finds the block there, or reads it again. */
    block->partition = iterator->partition;
    block->index = index;
    block->number = first_block + index;
    block->stamp = ++iterator->stamps;
    sst_range_note_block(iterator, left);
    return MOTE_OK;
}

/* Where stream number `stream` lies in the pinned block; false: the block contradicts itself. */
static bool find_stream(const struct sst_iterator *iterator, uint32_t stream, const uint8_t **data, uint32_t *size_bytes)
{
    const struct sst_block *block = &iterator->block;
    const uint8_t *bytes = iterator->block_pin.data, *at = bytes + SST_BLOCK_HEADER_BYTES + stream * 4;
    uint32_t start = load_u32(at), end = load_u32(at + 4);
    if (start < sst_streams_at(block->column_count) || start > end || end > block->length_bytes)
        return false;
    *data = bytes + start;
    *size_bytes = end - start;
    return true;
}

/* Columns of a run are decoded one after the other, as they lie in the block: the next one comes from memory meanwhile, or what of it the processor does not foresee. */
static void fetch_behind(const struct sst_iterator *iterator, const uint8_t *at)
{
    const size_t left = (size_t)(iterator->block_pin.data + iterator->block.length_bytes - at), bytes = left < FETCHED_BYTES ? left : FETCHED_BYTES;
    for (size_t i = 0; i < bytes; i += LINE_BYTES)
        __builtin_prefetch(at + i);
}

/* The bytes of a stream of the present block, checked; pinned with the block or alone, until unpin_block. Not of row pages. *bound_bytes: the stream's, and what of the block is behind them: that may be read and says nothing, but spares the
 * decoding a copy of the last numbers. */
static int open_stream(struct sst_iterator *iterator, uint32_t stream, const uint8_t **data, uint32_t *bound_bytes)
{
    struct codec_info info;
    uint32_t size_bytes;
    bool in_parts = iterator->block.in_parts && !iterator->block_pin.data;
    int result = in_parts ? sst_parts_stream(iterator, stream, data, &size_bytes) : sst_block_pin(iterator);
    if (result)
        return result;
    if (!in_parts && !find_stream(iterator, stream, data, &size_bytes))
        return refuse_block(iterator, "a block contradicts itself");
    if (iterator->run_count && !in_parts)
        fetch_behind(iterator, *data + size_bytes);
    if (codec_inspect(*data, size_bytes, &info))
        return refuse_block(iterator, "a column of a block is not what it must be");
    *bound_bytes = in_parts ? size_bytes : (uint32_t)(iterator->block_pin.data + iterator->block.length_bytes - *data);
    return MOTE_OK;
}

/* Lays offsets, bitmap and values out in the slot's memory. */
int sst_slot_reserve(struct sst_iterator *iterator, struct sst_slot *slot, uint32_t type, uint32_t dimension, size_t values_bytes, uint32_t **offsets, uint8_t **validity, uint8_t **values)
{
    uint32_t rows = iterator->block.row_count;
    size_t offsets_bytes = type_is_var(type) ? round_up((rows + 1) * sizeof(uint32_t), 16) : 0, validity_bytes = round_up((rows + 7) / 8, 16);
    size_t needed = offsets_bytes + validity_bytes + values_bytes + 16;
    if (needed > slot->memory_bytes) {
        memory_free(iterator->context->memory, slot->memory);
        iterator->slots_bytes -= slot->memory_bytes;
        slot->memory_bytes = 0;
        slot->memory = memory_alloc(iterator->context->memory, needed + needed / 8);
        if (!slot->memory)
            return MOTE_EBUDGET;
        slot->memory_bytes = needed + needed / 8;
        iterator->slots_bytes += slot->memory_bytes;
    }
    *offsets = (uint32_t *)(void *)slot->memory;
    *validity = slot->memory + offsets_bytes;
    *values = *validity + validity_bytes;
    slot->vector = (struct codec_vector){.type = type, .dimension = dimension, .count = rows, .values = *values, .offsets = type_is_var(type) ? *offsets : NULL, .validity = *validity};
    return MOTE_OK;
}

/* From rows; what is taken is the iterator's own, as what is decoded. */
static int take_from_pages(struct sst_iterator *iterator, uint32_t stream, uint32_t type, uint32_t dimension, struct sst_slot *slot)
{
    uint32_t columns = iterator->block.column_count;
    int result = stream < columns ? sst_pages_column(iterator, stream, type, dimension, slot) : sst_pages_numbers(iterator, stream > columns, slot);
    sst_unpin(iterator, &iterator->block_pin);
    return result;
}

static int decode_stream(struct sst_iterator *iterator, uint32_t stream, uint32_t type, uint32_t dimension, struct sst_slot *slot)
{
    const uint8_t *data;
    uint32_t size_bytes, *offsets;
    uint8_t *validity, *values;
    struct codec_info info;
    assert(iterator->block.number != SST_NONE);
    if (iterator->block.row_pages) {
        int pinned = sst_block_pin(iterator);
        return pinned ? pinned : take_from_pages(iterator, stream, type, dimension, slot);
    }
    int result = open_stream(iterator, stream, &data, &size_bytes);
    if (result)
        return result;
    if (codec_inspect(data, size_bytes, &info) || info.values_bytes > SST_BLOCK_RAW_BYTES_MAX || info.count != iterator->block.row_count || info.type != type)
        return refuse_block(iterator, "a column of a block is not what it must be");
    slot->stamp = slot->part_stamp = 0;
    result = sst_slot_reserve(iterator, slot, type, dimension, info.values_bytes, &offsets, &validity, &values);
    if (result)
        return result;
    size_t scratch_bytes = codec_scratch_bytes(info.count, info.values_bytes);
    void *scratch = sst_scratch_take(iterator->context, scratch_bytes);
    if (!scratch)
        return MOTE_EBUDGET;
    result = codec_decode(data, size_bytes, type, dimension, info.count, values, info.values_bytes, offsets, validity, &slot->has_nulls, NULL, scratch, scratch_bytes);
    sst_scratch_give(iterator->context, scratch);
    /* What is decoded is the iterator's own. A scan over many overlapping segments, and the compaction of them, would pin a small cache full of blocks that only wait. */
    if (!iterator->run_count)
        unpin_block(iterator);
    if (result == MOTE_EDAMAGED)
        return refuse_block(iterator, "a column of a block does not decode");
    if (!slot->has_nulls)
        slot->vector.validity = NULL;
    slot->stamp = result ? 0 : iterator->block.stamp;
    return result;
}

/* A column that is newer than the segment: its default in every row, or NULL. */
static int fill_default(struct sst_iterator *iterator, const struct schema_column *column, struct sst_slot *slot)
{
    uint32_t rows = iterator->block.row_count, *offsets;
    uint8_t *validity, *values;
    bool has_value = (column->flags & MOTE_COLUMN_HAS_DEFAULT) && !column->default_value.is_null, var = type_is_var(column->type);
    size_t width = !var ? column->value_bytes : has_value ? column->default_value.as.bytes.size_bytes : 0;
    slot->stamp = 0;
    if (width * rows > UINT32_MAX)
        return error_set(MOTE_EBUDGET, "the default of column %s in %u rows takes more than 4 GiB; read fewer rows a block", column->name, rows);
    int result = sst_slot_reserve(iterator, slot, column->type, column->dimension, width * rows, &offsets, &validity, &values);
    if (result)
        return result;
    for (uint32_t i = 0; var && i <= rows; i++)
        offsets[i] = (uint32_t)(width * i);
    const void *from = var || type_is_vector(column->type) ? column->default_value.as.bytes.data : &column->default_value.as;
    memset(validity, has_value ? 0xFF : 0, (rows + 7) / 8);
    for (uint32_t i = 0; has_value && width && i < rows; i++)
        memcpy(values + width * i, from, width);
    if (!has_value)
        memset(values, 0, width * rows);
    else
        slot->vector.validity = NULL;
    slot->has_nulls = !has_value;
    slot->stamp = iterator->block.stamp;
    return MOTE_OK;
}

static bool slot_holds(const struct sst_iterator *iterator, const struct sst_slot *slot, uint32_t first, uint32_t end)
{
    return slot->stamp == iterator->block.stamp || (slot->part_stamp == iterator->block.stamp && slot->part_first <= first && slot->part_end >= end);
}

/* Whether the rows of this column can be decoded without the others, by what is known before its bytes are looked at. */
static bool decodes_by_rows(const struct sst_iterator *iterator, uint32_t column)
{
    const struct schema_column *definition = &iterator->schema->columns[column];
    bool scalar = !type_is_var(definition->type) && !type_is_vector(definition->type) && definition->type != MOTE_TYPE_POINT3;
    return scalar && !iterator->block.row_pages && column < iterator->stored_columns;
}

/* The column's values in the rows from `first` to before `end`, that of first to `values`. 1: done; 0: it has NULLs, the whole column must be decoded. */
static int decode_rows(struct sst_iterator *iterator, uint32_t column, uint32_t first, uint32_t end, uint8_t *values)
{
    const struct schema_column *definition = &iterator->schema->columns[column];
    const uint8_t *data = NULL;
    uint32_t size_bytes = 0; /* which the compiler cannot see set */
    int result = open_stream(iterator, column, &data, &size_bytes);
    if (result)
        return result;
    size_t scratch_bytes = codec_scratch_bytes(iterator->block.row_count, definition->value_bytes * iterator->block.row_count);
    void *scratch = sst_scratch_take(iterator->context, scratch_bytes);
    if (!scratch)
        return MOTE_EBUDGET;
    result = codec_decode_rows(data, size_bytes, definition->type, iterator->block.row_count, first, end, values, scratch, scratch_bytes);
    sst_scratch_give(iterator->context, scratch);
    return result == MOTE_EDAMAGED ? refuse_block(iterator, "a column of a block does not decode") : result;
}

/* Decodes the column's values in the rows from `first` to before `end` only. 1: done; 0: the whole column must be decoded, as for who asks for a second part of it, since more will follow. */
static int decode_part(struct sst_iterator *iterator, uint32_t column, struct sst_slot *slot, uint32_t first, uint32_t end)
{
    const struct schema_column *definition = &iterator->schema->columns[column];
    uint32_t *offsets;
    uint8_t *validity, *values;
    if (!decodes_by_rows(iterator, column) || slot->part_stamp == iterator->block.stamp)
        return 0;
    size_t width = definition->value_bytes;
    slot->stamp = slot->part_stamp = 0;
    int result = sst_slot_reserve(iterator, slot, definition->type, definition->dimension, width * iterator->block.row_count, &offsets, &validity, &values);
    if (result)
        return result;
    result = decode_rows(iterator, column, first, end, values + first * width);
    if (result == 1) {
        slot->vector.validity = NULL;
        slot->has_nulls = false;
        slot->part_stamp = iterator->block.stamp;
        slot->part_first = first;
        slot->part_end = end;
    }
    return result;
}

int sst_part_copy(struct sst_iterator *iterator, uint32_t column, uint32_t first, uint32_t end, void *values)
{
    struct sst_slot *slot = &iterator->slots[column];
    assert(first < end && end <= iterator->block.row_count);
    /* Who takes a block in many small parts, since others come in between, gets the later ones out of the whole column; but for the last one. */
    uint32_t rows = iterator->block.row_count;
    bool again = slot->part_stamp == iterator->block.stamp, small = end - first < rows / COPIED_SHARE && end < rows;
    if (!decodes_by_rows(iterator, column) || slot_holds(iterator, slot, first, end) || (again && small))
        return 0;
    int result = decode_rows(iterator, column, first, end, values);
    if (result == 1 && !again) {
        slot->part_stamp = iterator->block.stamp;
        slot->part_first = slot->part_end = 0; /* nothing of it is in the slot */
    }
    return result;
}

int sst_part_decode(struct sst_iterator *iterator, uint32_t column, uint32_t first, uint32_t end, struct sst_slot **slot)
{
    struct sst_slot *found = &iterator->slots[column];
    assert(first < end && end <= iterator->block.row_count);
    *slot = found;
    if (slot_holds(iterator, found, first, end))
        return MOTE_OK;
    int result = end - first <= iterator->block.row_count / 4 * 3 ? decode_part(iterator, column, found, first, end) : 0;
    return result ? (result < 0 ? result : MOTE_OK) : sst_column_decode(iterator, column, slot);
}

int sst_row_decode(struct sst_iterator *iterator, uint32_t column, struct sst_slot **slot)
{
    *slot = &iterator->slots[column];
    if (slot_holds(iterator, *slot, iterator->row, iterator->row + 1))
        return MOTE_OK;
    /* Who was led here by a search wants this row. */
    return iterator->sought ? sst_part_decode(iterator, column, iterator->row, iterator->row + 1, slot) : sst_column_decode(iterator, column, slot);
}

int sst_column_decode(struct sst_iterator *iterator, uint32_t column, struct sst_slot **slot)
{
    assert(column < iterator->schema->column_count && iterator->block.number != SST_NONE);
    *slot = &iterator->slots[column];
    if ((*slot)->stamp == iterator->block.stamp)
        return MOTE_OK;
    const struct schema_column *definition = &iterator->schema->columns[column];
    if (column >= iterator->stored_columns)
        return fill_default(iterator, definition, *slot);
    return decode_stream(iterator, column, definition->type, definition->dimension, *slot);
}

int sst_seqs_decode(struct sst_iterator *iterator, const uint64_t **seqs)
{
    struct sst_slot *slot = &iterator->slots[iterator->schema->column_count];
    int result = slot->stamp == iterator->block.stamp ? MOTE_OK : decode_stream(iterator, iterator->block.column_count, MOTE_TYPE_INT64, 1, slot);
    *seqs = slot->vector.values;
    return !result && slot->has_nulls ? refuse_block(iterator, "a row without a seq") : result;
}

int sst_seq_of_row(struct sst_iterator *iterator, uint32_t row, uint64_t *seq)
{
    const struct sst_slot *slot = &iterator->slots[iterator->schema->column_count];
    const uint64_t *seqs;
    const uint8_t *data;
    uint32_t size_bytes;
    int result = MOTE_OK;
    if (slot->stamp != iterator->block.stamp && !iterator->block.row_pages) {
        result = open_stream(iterator, iterator->block.column_count, &data, &size_bytes);
        if (result)
            return result;
        size_t scratch_bytes = codec_scratch_bytes(iterator->block.row_count, iterator->block.row_count * 8u);
        void *scratch = sst_scratch_take(iterator->context, scratch_bytes);
        if (!scratch)
            return MOTE_EBUDGET;
        result = codec_decode_rows(data, size_bytes, MOTE_TYPE_INT64, iterator->block.row_count, row, row + 1, seq, scratch, scratch_bytes);
        sst_scratch_give(iterator->context, scratch);
        if (result == MOTE_EDAMAGED)
            return refuse_block(iterator, "a column of a block does not decode");
        if (result != 0)
            return result < 0 ? result : MOTE_OK;
    }
    result = sst_seqs_decode(iterator, &seqs);
    if (!result)
        *seq = seqs[row];
    return result;
}

int sst_kinds_decode(struct sst_iterator *iterator, const uint8_t **kinds)
{
    struct sst_slot *slot = &iterator->slots[iterator->schema->column_count + 1];
    *kinds = NULL;
    if (iterator->block.delete_count == 0)
        return MOTE_OK;
    int result = slot->stamp == iterator->block.stamp ? MOTE_OK : decode_stream(iterator, iterator->block.column_count + 1, MOTE_TYPE_BOOL, 1, slot);
    *kinds = slot->vector.values;
    return !result && slot->has_nulls ? refuse_block(iterator, "a row without a kind") : result;
}

void sst_slot_value(const struct sst_slot *slot, uint32_t row, struct mote_value *value)
{
    const struct codec_vector *vector = &slot->vector;
    *value = (struct mote_value){.type = vector->type};
    if (slot->has_nulls && !(vector->validity[row / 8] >> row % 8 & 1)) {
        value->is_null = 1;
        return;
    }
    const uint8_t *values = vector->values;
    switch (vector->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
    case MOTE_TYPE_FLOAT64:
        memcpy(&value->as, values + (size_t)row * 8, 8);
        break;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
        memcpy(&value->as, values + (size_t)row * 4, 4);
        break;
    case MOTE_TYPE_BOOL:
        value->as.boolean = values[row];
        break;
    case MOTE_TYPE_POINT3:
        memcpy(&value->as, values + (size_t)row * 24, 24);
        break;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
        value->as.bytes.data = values + vector->offsets[row];
        value->as.bytes.size_bytes = vector->offsets[row + 1] - vector->offsets[row];
        break;
    default:
        value->as.bytes.size_bytes = codec_value_bytes(vector->type, vector->dimension);
        value->as.bytes.data = values + (size_t)row * value->as.bytes.size_bytes;
    }
}

/* ---- Keys ---- */

int sst_keys_decode(struct sst_iterator *iterator)
{
    const struct schema *schema = iterator->schema;
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        struct sst_slot *slot = &iterator->slots[schema->key_columns[i]];
        int result = slot->stamp == iterator->block.stamp ? MOTE_OK : sst_column_decode(iterator, schema->key_columns[i], &slot);
        if (result)
            return result;
        if (slot->has_nulls) {
            slot->stamp = 0;
            return refuse_block(iterator, "a key that is NULL");
        }
    }
    return MOTE_OK;
}

/* Bytes of a text's or blob's part of a key. */
static uint64_t escaped_bytes(const uint8_t *data, uint64_t size_bytes)
{
    uint64_t zeros = 0;
    for (uint64_t i = 0; i < size_bytes; i++)
        zeros += data[i] == 0;
    return size_bytes + zeros + 2;
}

int sst_key_make(struct sst_iterator *iterator, uint32_t row, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes)
{
    const struct schema *schema = iterator->schema;
    uint32_t used = 0;
    assert(row < iterator->block.row_count);
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        const struct sst_slot *slot = &iterator->slots[schema->key_columns[i]];
        struct mote_value value;
        sst_slot_value(slot, row, &value);
        if (type_is_var(value.type)) {
            uint64_t size_bytes = value.as.bytes.size_bytes;
            if (size_bytes > MOTE_KEY_BYTES_MAX || escaped_bytes(value.as.bytes.data, size_bytes) > MOTE_KEY_BYTES_MAX - used)
                return refuse_block(iterator, "a key that is too long");
        } else if (used > MOTE_KEY_BYTES_MAX - 8) {
            return refuse_block(iterator, "a key that is too long");
        }
        used += key_append_value(value.type, &value, key + used);
    }
    *key_bytes = used;
    return MOTE_OK;
}

bool sst_same_key(struct sst_iterator *iterator, uint32_t row, uint32_t other_row)
{
    const struct schema *schema = iterator->schema;
    for (uint32_t i = schema->key_column_count; i-- > 0;) {
        const struct codec_vector *vector = &iterator->slots[schema->key_columns[i]].vector;
        const uint8_t *values = vector->values;
        if (vector->offsets) {
            uint32_t size_bytes = vector->offsets[row + 1] - vector->offsets[row];
            if (size_bytes != vector->offsets[other_row + 1] - vector->offsets[other_row] || memcmp(values + vector->offsets[row], values + vector->offsets[other_row], size_bytes) != 0)
                return false;
        } else {
            size_t width = schema->columns[schema->key_columns[i]].value_bytes;
            if (memcmp(values + row * width, values + other_row * width, width) != 0)
                return false;
        }
    }
    return true;
}

/* ---- Searching ---- */

/* Whether the row is before the target; negative: MOTE_E. */
static int row_is_before(struct sst_iterator *iterator, const struct sst_target *target, uint32_t row)
{
    if (target->has_first) {
        int64_t first;
        memcpy(&first, (const uint8_t *)iterator->slots[iterator->schema->key_columns[0]].vector.values + (size_t)row * 8, 8);
        if (first != target->first)
            return first < target->first;
    }
    uint32_t key_bytes;
    int result = sst_key_make(iterator, row, iterator->probe, &key_bytes);
    if (result)
        return result;
    int order = key_compare(iterator->probe, key_bytes, target->key, target->key_bytes);
    if (order != 0)
        return order < 0;
    if (target->seq == UINT64_MAX)
        return 0;
    const uint64_t *seqs;
    result = sst_seqs_decode(iterator, &seqs);
    return result ? result : seqs[row] > target->seq;
}

/* Whether the target is where the last search of this block ended: sources of a merge that wait are searched again and again for what they stand on. Negative: MOTE_E. */
static int is_searched_row(struct sst_iterator *iterator, const struct sst_target *target, uint32_t from)
{
    uint32_t row = iterator->searched_row;
    if (iterator->searched_stamp != iterator->block.stamp || row <= from || row >= iterator->block.row_count)
        return 0;
    int before = row_is_before(iterator, target, row - 1);
    if (before <= 0)
        return before;
    before = row_is_before(iterator, target, row);
    return before < 0 ? before : !before;
}

int sst_row_search(struct sst_iterator *iterator, const struct sst_target *target, uint32_t from, uint32_t *row)
{
    uint32_t low = from, high = iterator->block.row_count;
    int result = sst_keys_decode(iterator);
    if (result)
        return result;
    int known = is_searched_row(iterator, target, from);
    if (known < 0)
        return known;
    if (known) {
        *row = iterator->searched_row;
        return MOTE_OK;
    }
    /* Gallop: the target of a merge is mostly near. */
    for (uint64_t step = 1; low + step < high; step *= 4) {
        int before = row_is_before(iterator, target, (uint32_t)(low + step));
        if (before < 0)
            return before;
        if (!before) {
            high = (uint32_t)(low + step);
            break;
        }
        low = (uint32_t)(low + step + 1);
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int before = row_is_before(iterator, target, middle);
        if (before < 0)
            return before;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    iterator->searched_stamp = iterator->block.stamp;
    iterator->searched_row = *row = low;
    return MOTE_OK;
}
