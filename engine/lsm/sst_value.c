/* sst_value.c: what a caller takes out of the row and the block under an iterator: record, values, columns, runs, times, row images.
 *
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET of the decoding; MOTE_EINVAL on no record. */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

static int refuse_nowhere(void) { return error_set(MOTE_EINTERNAL, "an SSTable's iterator was asked for a record while it is on none; please report it"); }

int sst_record_of_row(struct sst_iterator *iterator, struct record *record)
{
    const uint64_t *seqs;
    const uint8_t *kinds;
    if (!iterator->on_record)
        return refuse_nowhere();
    if (iterator->deferred)
        return sst_deferred_record(iterator, record);
    int result = sst_seqs_decode(iterator, &seqs);
    if (!result)
        result = sst_kinds_decode(iterator, &kinds);
    if (!result && !iterator->key_valid) {
        result = sst_keys_decode(iterator);
        if (!result)
            result = sst_key_make(iterator, iterator->row, iterator->key, &iterator->key_bytes);
        iterator->key_valid = !result;
    }
    if (result)
        return result;
    *record = (struct record){.key = iterator->key, .key_bytes = iterator->key_bytes, .kind = kinds && kinds[iterator->row] ? RECORD_DELETE : RECORD_PUT, .seq = seqs[iterator->row]};
    return MOTE_OK;
}

int sst_record(struct sst_iterator *iterator, struct record *record)
{
    const struct sst_block *block = &iterator->block;
    struct sst_block_entry entry;
    bool first = iterator->row == 0, last = iterator->row + 1 == block->row_count;
    if (!iterator->on_record || iterator->deferred || block->delete_count > 0 || !(first || last))
        return sst_record_of_row(iterator, record);
    /* Of the first and the last row the partition knows key and seq: a merge that takes whole blocks decodes none. */
    int result = sst_block_entry_pin(iterator, &entry);
    if (result)
        return result;
    iterator->key_bytes = first ? entry.first_key_bytes : entry.last_key_bytes;
    memcpy(iterator->key, first ? entry.first_key : entry.last_key, iterator->key_bytes);
    iterator->key_valid = true;
    *record = (struct record){.key = iterator->key, .key_bytes = iterator->key_bytes, .kind = RECORD_PUT, .seq = first ? entry.first_seq : entry.last_seq};
    return MOTE_OK;
}

int sst_value(struct sst_iterator *iterator, uint32_t column, struct mote_value *value)
{
    if (!iterator->on_record)
        return refuse_nowhere();
    struct sst_slot *slot = &iterator->slots[column];
    int result = sst_settle(iterator);
    if (!result && slot->stamp != iterator->block.stamp) {
        result = sst_row_decode(iterator, column, &slot);
        sst_unpin(iterator, &iterator->block_pin);
        sst_parts_unpin(iterator);
    }
    if (!result)
        sst_slot_value(slot, iterator->row, value);
    return result;
}

int sst_block_column(struct sst_iterator *iterator, uint32_t column, struct codec_vector *values)
{
    struct sst_slot *slot;
    if (!iterator->on_record)
        return refuse_nowhere();
    int result = sst_settle(iterator);
    if (!result && iterator->run_count)
        result = sst_part_decode(iterator, column, iterator->row, iterator->row + iterator->run_count, &slot);
    else if (!result)
        result = sst_column_decode(iterator, column, &slot);
    if (!result)
        *values = slot->vector;
    return result;
}

int sst_run_copy(struct sst_iterator *iterator, uint32_t column, void *values)
{
    assert(iterator->run_count > 0);
    if (!iterator->on_record)
        return refuse_nowhere();
    int result = sst_settle(iterator);
    return result ? result : sst_part_copy(iterator, column, iterator->row, iterator->row + iterator->run_count, values);
}

void sst_run_begin(struct sst_iterator *iterator, uint32_t count)
{
    assert(count > 0 && count <= sst_block_rows_left(iterator));
    iterator->run_count = count;
}

void sst_run_end(struct sst_iterator *iterator)
{
    iterator->run_count = 0;
    sst_unpin(iterator, &iterator->block_pin);
    sst_parts_unpin(iterator);
}

uint32_t sst_block_row(const struct sst_iterator *iterator) { return iterator->row; }

uint32_t sst_block_rows_left(const struct sst_iterator *iterator) { return iterator->block.row_count - iterator->row; }

bool sst_block_times(struct sst_iterator *iterator, int64_t *min_ns, int64_t *max_ns)
{
    struct sst_block_entry entry;
    if (!iterator->on_record || sst_settle(iterator) || sst_block_entry_pin(iterator, &entry) || entry.timed_count != entry.row_count)
        return false;
    *min_ns = entry.time_min_ns;
    *max_ns = entry.time_max_ns;
    return true;
}

/* The rows up to `end` that are PUTs visible to the snapshot, each with another key than the one before. */
static int count_run(struct sst_iterator *iterator, uint64_t snapshot_seq, uint32_t end, uint32_t *count)
{
    const struct sst_block *block = &iterator->block;
    const uint64_t *seqs = NULL;
    const uint8_t *kinds = NULL;
    *count = end - iterator->row;
    if (block->delete_count == 0 && block->repeat_count == 0 && block->seq_max <= snapshot_seq)
        return MOTE_OK;
    int result = sst_seqs_decode(iterator, &seqs);
    if (!result)
        result = sst_kinds_decode(iterator, &kinds);
    if (!result && block->repeat_count)
        result = sst_keys_decode(iterator);
    uint32_t row = iterator->row;
    while (!result && row < end && seqs[row] <= snapshot_seq && !(kinds && kinds[row]) && !(block->repeat_count && row > iterator->row && sst_same_key(iterator, row, row - 1)))
        row++;
    *count = row - iterator->row;
    return result;
}

uint32_t sst_run_length(struct sst_iterator *iterator, uint64_t snapshot_seq, const uint8_t *bound, uint32_t bound_bytes)
{
    struct sst_block_entry entry;
    uint32_t count = 0;
    if (!iterator->on_record || sst_settle(iterator) || (bound && sst_block_entry_pin(iterator, &entry)))
        return 0; /* Whoever then asks for the record's values, or for the next one, is told why. */
    uint32_t end = iterator->block.row_count;
    if (bound && key_compare(entry.last_key, entry.last_key_bytes, bound, bound_bytes) >= 0) {
        struct sst_target target;
        sst_target_make(iterator, bound, bound_bytes, UINT64_MAX, &target);
        if (sst_row_search(iterator, &target, iterator->row, &end))
            return 0;
    }
    return count_run(iterator, snapshot_seq, end, &count) ? 0 : count;
}

int sst_time(struct sst_iterator *iterator, int64_t *time_ns, bool *has_time)
{
    const struct schema *schema = iterator->schema;
    struct mote_value value;
    *has_time = false;
    if (schema->time_column < 0)
        return MOTE_OK;
    int result = sst_value(iterator, (uint32_t)schema->time_column, &value);
    if (!result && !value.is_null)
        *has_time = value_time(&schema->columns[schema->time_column], &value, time_ns);
    return result;
}

/* ---- Row images ---- */

/* Decodes every column of the block, or of the row, and adds up what the row needs. */
static int measure_image(struct sst_iterator *iterator, uint64_t *size_bytes)
{
    const struct schema *schema = iterator->schema;
    *size_bytes = schema->fixed_bytes;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        struct sst_slot *slot = &iterator->slots[i];
        int result = slot->stamp == iterator->block.stamp ? MOTE_OK : sst_row_decode(iterator, i, &slot);
        if (result)
            return result;
        if (slot->vector.offsets)
            *size_bytes += slot->vector.offsets[iterator->row + 1] - slot->vector.offsets[iterator->row];
    }
    return MOTE_OK;
}

static void fill_image(struct sst_iterator *iterator, uint8_t *image)
{
    const struct schema *schema = iterator->schema;
    uint32_t row = iterator->row, var_at = schema->fixed_bytes;
    memset(image, 0, schema->null_bytes);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        const struct sst_slot *slot = &iterator->slots[i];
        const uint8_t *values = slot->vector.values;
        uint8_t *at = image + column->row_offset;
        bool var = slot->vector.offsets != NULL;
        if (slot->has_nulls && !(slot->vector.validity[row / 8] >> row % 8 & 1)) {
            image[i / 8] = (uint8_t)(image[i / 8] | 1u << i % 8);
            memset(at, 0, var ? 8 : column->value_bytes);
        } else if (var) {
            uint32_t start = slot->vector.offsets[row], length = slot->vector.offsets[row + 1] - start;
            store_u32(at, var_at);
            store_u32(at + 4, length);
            memcpy(image + var_at, values + start, length);
            var_at += length;
        } else if (column->value_bytes == 8) {
            memcpy(at, values + (size_t)row * 8, 8);
        } else {
            memcpy(at, values + (size_t)row * column->value_bytes, column->value_bytes);
        }
    }
}

int sst_row_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes)
{
    const uint8_t *kinds;
    uint64_t size_bytes;
    *image_bytes = 0;
    if (!iterator->on_record)
        return refuse_nowhere();
    int result = sst_settle(iterator);
    if (!result)
        result = sst_kinds_decode(iterator, &kinds);
    if (result || (kinds && kinds[iterator->row]))
        return result;
    result = measure_image(iterator, &size_bytes);
    sst_unpin(iterator, &iterator->block_pin);
    sst_parts_unpin(iterator);
    if (result)
        return result;
    *image_bytes = (uint32_t)(size_bytes <= UINT32_MAX ? size_bytes : UINT32_MAX);
    if (size_bytes > capacity_bytes)
        return error_set(MOTE_ETOOBIG, "a row of table %s takes %llu bytes, there is room for %u", iterator->schema->name, (unsigned long long)size_bytes, capacity_bytes);
    fill_image(iterator, room);
    return MOTE_OK;
}
