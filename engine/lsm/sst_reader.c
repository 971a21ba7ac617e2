/* sst_reader.c: an iterator over one segment (sst.h): its life, and its movement from row to row, block to block, partition to partition.
 *
 * Invariants
 *   1. on_record: the present block is entered and row is one of its rows.
 *   2. Movement passes over blocks that the time range does not want, in either direction, and over whole partitions where the footer says enough.
 *   3. A failed movement leaves the iterator on no record.
 *   4. An iterator that defers stands on the first row of a block before the block is read; whatever needs more than the block's entry settles it first (sst_settle).
 * Threads: one. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include <assert.h>

#include "engine/lsm/sst_filter.h"
#include "engine/lsm/sst_reader_private.h"

#define SLOTS_BYTES_IDLE (512u * 1024u) /* of an iterator that nobody uses for now: a block of 60 columns of 8 bytes */

int sst_iterator_create(struct sst_context *context, struct blockdev_queue *queue, struct sst_iterator **iterator)
{
    *iterator = memory_alloc_zero(context->memory, sizeof **iterator);
    if (!*iterator)
        return MOTE_EBUDGET;
    (*iterator)->context = context;
    (*iterator)->queue = queue;
    (*iterator)->block.number = SST_NONE;
    atomic_fetch_add(&context->iterator_count, 1);
    return MOTE_OK;
}

void sst_iterator_unpin(struct sst_iterator *iterator)
{
    sst_unpin(iterator, &iterator->unit_pin);
    sst_unpin(iterator, &iterator->block_pin);
    sst_unpin(iterator, &iterator->stream_pin);
    sst_unpin(iterator, &iterator->partition_pin);
    sst_unpin(iterator, &iterator->ahead_pin);
    sst_unpin(iterator, &iterator->footer_pin);
}

void sst_iterator_shrink(struct sst_iterator *iterator)
{
    if (iterator->slots_bytes <= SLOTS_BYTES_IDLE)
        return;
    sst_block_leave(iterator);
    for (uint32_t i = 0; i < iterator->slot_count; i++) {
        struct sst_slot *slot = &iterator->slots[i];
        memory_free(iterator->context->memory, slot->memory);
        slot->memory = NULL;
        slot->memory_bytes = slot->stamp = slot->part_stamp = 0;
    }
    iterator->slots_bytes = 0;
}

static void free_slots(struct sst_iterator *iterator)
{
    for (uint32_t i = 0; i < iterator->slot_count; i++)
        memory_free(iterator->context->memory, iterator->slots[i].memory);
    memory_free(iterator->context->memory, iterator->slots);
    iterator->slots = NULL;
    iterator->slot_count = 0;
    iterator->slots_bytes = 0;
}

/* Forgets the segment. */
static void close_segment(struct sst_iterator *iterator)
{
    sst_iterator_unpin(iterator);
    sst_block_leave(iterator);
    sst_ahead_leave(iterator);
    sst_range_clear(iterator);
    sst_layout_clear(iterator);
    iterator->segment = NULL;
    iterator->segment_id = 0;
    iterator->defers = iterator->deferred = false;
    iterator->expected_rows = 0;
}

void sst_iterator_destroy(struct sst_iterator *iterator)
{
    if (!iterator)
        return;
    struct sst_context *context = iterator->context;
    close_segment(iterator);
    sst_iterator_set_ahead(iterator, NULL);
    free_slots(iterator);
    memory_free(context->memory, iterator->rows);
    memory_free(context->memory, iterator);
    if (atomic_fetch_sub(&context->iterator_count, 1) == 1)
        sst_scratch_drain(context);
}

int sst_iterator_open(struct sst_iterator *iterator, struct segment *segment, const struct schema *schema)
{
    const struct segment_record *record = &segment->record;
    iterator->projection.set = false;
    bool same = iterator->segment && iterator->segment_id == record->id && iterator->footer_crc == record->footer_crc && iterator->schema_version == schema->version;
    if (same) {
        iterator->segment = segment; /* It may be a new struct of the same segment, or schema. */
        iterator->schema = schema;
        iterator->on_record = iterator->key_valid = iterator->defers = iterator->deferred = false;
        sst_range_clear(iterator);
        return MOTE_OK;
    }
    close_segment(iterator);
    if (iterator->slot_count != schema->column_count + 2) {
        free_slots(iterator);
        iterator->slots = memory_alloc_zero(iterator->context->memory, (schema->column_count + 2) * sizeof *iterator->slots);
        if (!iterator->slots)
            return MOTE_EBUDGET;
        iterator->slot_count = schema->column_count + 2;
    }
    iterator->segment = segment;
    iterator->schema = schema;
    iterator->segment_id = record->id;
    iterator->footer_crc = record->footer_crc;
    iterator->schema_version = schema->version;
    int result = sst_footer_pin(iterator);
    if (result)
        close_segment(iterator);
    return result;
}

void sst_iterator_set_deferred(struct sst_iterator *iterator, sst_wants wants, void *context)
{
    iterator->defers = true;
    iterator->wants = wants;
    iterator->wants_context = context;
}

void sst_iterator_set_time_range(struct sst_iterator *iterator, int64_t from_ns, int64_t to_ns)
{
    sst_range_clear(iterator);
    iterator->range = (struct sst_time_range){.active = true, .from_ns = from_ns, .to_ns = to_ns};
}

int sst_enter(struct sst_iterator *iterator, uint32_t partition, uint32_t index)
{
    int result = sst_partition_pin(iterator, partition);
    return result ? result : sst_block_enter(iterator, index);
}

static int stand_on(struct sst_iterator *iterator, uint32_t row)
{
    assert(row < iterator->block.row_count);
    iterator->row = row;
    iterator->on_record = true;
    iterator->key_valid = iterator->sought = iterator->deferred = false;
    return 1;
}

static int stand_nowhere(struct sst_iterator *iterator, int result)
{
    iterator->on_record = iterator->key_valid = iterator->deferred = false;
    return result;
}

/* On the first row of a block of the pinned partition, which is not read yet. */
static int stand_before(struct sst_iterator *iterator, uint32_t index)
{
    iterator->deferred_partition = iterator->partition;
    iterator->deferred_index = index;
    iterator->row = 0;
    iterator->on_record = iterator->deferred = true;
    iterator->key_valid = iterator->sought = false;
    return 1;
}

int sst_settle(struct sst_iterator *iterator)
{
    if (!iterator->deferred)
        return MOTE_OK;
    int result = sst_enter(iterator, iterator->deferred_partition, iterator->deferred_index);
    iterator->on_record = true;
    iterator->deferred = result != MOTE_OK;
    return result;
}

/* To the first row of the next wanted block at or after (partition, index). */
static int go_forward(struct sst_iterator *iterator, uint32_t partition, uint32_t index)
{
    int result = sst_footer_pin(iterator);
    for (; !result && partition < iterator->footer.partition_count; partition++, index = 0) {
        struct sst_directory_entry directory;
        sst_directory_load(iterator, partition, &directory);
        if (!sst_range_wants_partition(iterator, &directory))
            continue;
        result = sst_partition_pin(iterator, partition);
        for (; !result && index < directory.block_count; index++) {
            struct sst_block_entry entry;
            sst_block_entry_load(iterator, index, &entry);
            if (!sst_range_wants_block(iterator, directory.first_block + index, &entry))
                continue;
            if (iterator->defers && entry.delete_count == 0)
                return stand_before(iterator, index);
            result = sst_block_enter(iterator, index);
            return result ? stand_nowhere(iterator, result) : stand_on(iterator, 0);
        }
    }
    sst_ahead_leave(iterator);
    return stand_nowhere(iterator, result);
}

/* To the last row of the last wanted block before (partition, index). */
static int go_backward(struct sst_iterator *iterator, uint32_t partition, uint32_t index)
{
    int result = sst_footer_pin(iterator);
    for (bool first = true; !result; first = false) {
        struct sst_directory_entry directory;
        if (!first || index == 0) {
            if (partition == 0)
                return stand_nowhere(iterator, 0);
            sst_directory_load(iterator, --partition, &directory);
            index = directory.block_count;
        } else {
            sst_directory_load(iterator, partition, &directory);
        }
        if (!sst_range_wants_partition(iterator, &directory))
            continue;
        result = sst_partition_pin(iterator, partition);
        while (!result && index-- > 0) {
            struct sst_block_entry entry;
            sst_block_entry_load(iterator, index, &entry);
            if (!sst_range_wants_block(iterator, directory.first_block + index, &entry))
                continue;
            result = sst_block_enter(iterator, index);
            return result ? stand_nowhere(iterator, result) : stand_on(iterator, iterator->block.row_count - 1);
        }
    }
    return stand_nowhere(iterator, result);
}

int sst_first(struct sst_iterator *iterator) { return go_forward(iterator, 0, 0); }

int sst_last(struct sst_iterator *iterator)
{
    int result = sst_footer_pin(iterator);
    return result ? stand_nowhere(iterator, result) : go_backward(iterator, iterator->footer.partition_count, 0);
}

int sst_next(struct sst_iterator *iterator)
{
    if (!iterator->on_record)
        return 0;
    int result = sst_settle(iterator);
    if (result)
        return result;
    if (iterator->row + 1 < iterator->block.row_count)
        return stand_on(iterator, iterator->row + 1);
    return go_forward(iterator, iterator->block.partition, iterator->block.index + 1);
}

void sst_skip(struct sst_iterator *iterator, uint32_t count)
{
    assert(iterator->on_record && !iterator->deferred && count < iterator->block.row_count - iterator->row);
    (void)stand_on(iterator, iterator->row + count);
}

uint64_t sst_segment_id(const struct sst_iterator *iterator) { return iterator->segment_id; }

uint32_t sst_block_number(const struct sst_iterator *iterator) { return iterator->block.number; }

int sst_stand(struct sst_iterator *iterator, uint32_t block, uint32_t row)
{
    struct sst_directory_entry directory;
    uint32_t low = 0, high;
    int result = sst_footer_pin(iterator);
    if (result)
        return stand_nowhere(iterator, result);
    for (high = iterator->footer.partition_count; high - low > 1;) {
        uint32_t middle = low + (high - low) / 2;
        sst_directory_load(iterator, middle, &directory);
        if (directory.first_block <= block)
            low = middle;
        else
            high = middle;
    }
    sst_directory_load(iterator, low, &directory);
    if (block - directory.first_block >= directory.block_count)
        return stand_nowhere(iterator, error_set(MOTE_EINTERNAL, "a block was asked for that the segment does not have; please report it"));
    result = sst_enter(iterator, low, block - directory.first_block);
    if (result)
        return stand_nowhere(iterator, result);
    if (row >= iterator->block.row_count)
        return stand_nowhere(iterator, error_set(MOTE_EINTERNAL, "a row was asked for that its block does not have; please report it"));
    (void)stand_on(iterator, row);
    return MOTE_OK;
}

int sst_previous(struct sst_iterator *iterator)
{
    if (!iterator->on_record)
        return 0;
    int result = sst_settle(iterator);
    if (result)
        return result;
    if (iterator->row > 0)
        return stand_on(iterator, iterator->row - 1);
    return go_backward(iterator, iterator->block.partition, iterator->block.index);
}

int sst_skip_block(struct sst_iterator *iterator)
{
    assert(iterator->on_record && iterator->deferred);
    if (!iterator->wants)
        sst_ahead_leave(iterator); /* what is read ahead would be this block */
    return go_forward(iterator, iterator->deferred_partition, iterator->deferred_index + 1);
}

/* The partition that holds the row: the last that begins at or before it. */
static uint32_t partition_of_ordinal(struct sst_iterator *iterator, uint32_t ordinal)
{
    uint32_t low = 0, high = iterator->footer.partition_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        struct sst_directory_entry directory;
        sst_directory_load(iterator, middle, &directory);
        if (directory.first_ordinal <= ordinal)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int sst_seek_ordinal(struct sst_iterator *iterator, uint32_t ordinal, bool *alone)
{
    struct sst_directory_entry directory;
    struct sst_block_entry entry;
    int result = sst_footer_pin(iterator);
    if (!result && ordinal >= iterator->footer.row_count)
        result = sst_refuse(iterator, 0, 0, "an index names a row beyond the segment's last");
    if (result)
        return stand_nowhere(iterator, result);
    uint32_t partition = partition_of_ordinal(iterator, ordinal);
    sst_directory_load(iterator, partition, &directory);
    result = sst_partition_pin(iterator, partition);
    if (result)
        return stand_nowhere(iterator, result);
    uint32_t low = 0, high = directory.block_count, in_partition = ordinal - (uint32_t)directory.first_ordinal;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        sst_block_entry_load(iterator, middle, &entry);
        if (entry.first_ordinal <= in_partition)
            low = middle;
        else
            high = middle;
    }
    sst_block_entry_load(iterator, low, &entry);
    if (iterator->block.number != directory.first_block + low || !iterator->on_record || iterator->deferred)
        result = sst_block_enter(iterator, low);
    if (!result && in_partition - entry.first_ordinal >= iterator->block.row_count)
        result = sst_refuse(iterator, 0, 0, "the counts of rows in the block index do not add up");
    if (result)
        return stand_nowhere(iterator, result);
    uint32_t row = in_partition - entry.first_ordinal;
    *alone = row > 0 && iterator->block.repeat_count == 0;
    return stand_on(iterator, row);
}

int sst_next_block(struct sst_iterator *iterator) { return iterator->on_record ? go_forward(iterator, iterator->block.partition, iterator->block.index + 1) : 0; }

uint32_t sst_block_row_count(const struct sst_iterator *iterator) { return iterator->block.row_count; }

int sst_block_deleted(struct sst_iterator *iterator, const uint8_t **deleted) { return sst_kinds_decode(iterator, deleted); }

/* Where in the entered block the target is; on the way forward from a row of the same block the search begins there. */
static int search_block(struct sst_iterator *iterator, const struct sst_target *target, uint32_t *row)
{
    uint32_t from = 0;
    if (iterator->on_record && !iterator->deferred && iterator->row > 0) {
        struct record record;
        int result = sst_record(iterator, &record);
        if (result)
            return result;
        int order = key_compare(record.key, record.key_bytes, target->key, target->key_bytes);
        from = order < 0 ? iterator->row : 0;
    }
    return sst_row_search(iterator, target, from, row);
}

int sst_seek(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    struct sst_target target;
    uint32_t partition, index, row;
    sst_target_make(iterator, key, key_bytes, seq, &target);
    int result = sst_locate(iterator, &target, &partition, &index);
    if (result <= 0)
        return stand_nowhere(iterator, result);
    struct sst_block_entry entry;
    sst_block_entry_load(iterator, index, &entry);
    uint32_t number = load_u32(iterator->partition_pin.data + 40) + index;
    if (!sst_range_wants_block(iterator, number, &entry))
        return go_forward(iterator, partition, index + 1);
    bool is_first = !sst_is_before(entry.first_key, entry.first_key_bytes, entry.first_seq, &target);
    if (is_first && iterator->defers && entry.delete_count == 0)
        return stand_before(iterator, index);
    result = sst_block_enter(iterator, index);
    row = 0;
    if (!result && !is_first) /* else the partition knows: no key of the block need be decoded */
        result = search_block(iterator, &target, &row);
    if (result)
        return stand_nowhere(iterator, result);
    if (row >= iterator->block.row_count)
        return go_forward(iterator, partition, index + 1);
    (void)stand_on(iterator, row);
    iterator->sought = true;
    return 1;
}

int sst_seek_before(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    struct sst_target target;
    uint32_t partition, index, row;
    sst_target_make(iterator, key, key_bytes, seq, &target);
    int result = sst_locate(iterator, &target, &partition, &index);
    if (result < 0)
        return stand_nowhere(iterator, result);
    if (result == 0)
        return go_backward(iterator, iterator->footer.partition_count, 0);
    struct sst_block_entry entry;
    sst_block_entry_load(iterator, index, &entry);
    uint32_t number = load_u32(iterator->partition_pin.data + 40) + index;
    if (!sst_range_wants_block(iterator, number, &entry))
        return go_backward(iterator, partition, index);
    result = sst_block_enter(iterator, index);
    if (!result)
        result = search_block(iterator, &target, &row);
    if (result)
        return stand_nowhere(iterator, result);
    return row > 0 ? stand_on(iterator, row - 1) : go_backward(iterator, partition, index);
}

/* Asks the filter of the partition. */
static int ask_filter(struct sst_iterator *iterator, const struct sst_directory_entry *directory, const uint8_t *key, uint32_t key_bytes)
{
    struct sst_pin pin = {0};
    if (directory->filter.length_bytes == 0)
        return 1;
    int result = sst_pin_structure(iterator, &directory->filter, NULL, &pin);
    if (result)
        return result;
    bool may = sst_filter_may_hold(pin.data, directory->filter.length_bytes, sst_key_hash(key, key_bytes));
    sst_unpin(iterator, &pin);
    return may;
}

int sst_may_contain(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes)
{
    struct sst_target target;
    uint32_t partition, index;
    if (!segment_may_hold(&iterator->segment->record, key, key_bytes, key, key_bytes))
        return 0;
    sst_target_make(iterator, key, key_bytes, UINT64_MAX, &target);
    int result = sst_locate(iterator, &target, &partition, &index);
    if (result <= 0)
        return result;
    struct sst_block_entry entry;
    sst_block_entry_load(iterator, index, &entry);
    if (key_compare(key, key_bytes, entry.first_key, entry.first_key_bytes) < 0)
        return 0;
    struct sst_directory_entry directory;
    sst_directory_load(iterator, partition, &directory);
    return ask_filter(iterator, &directory, key, key_bytes);
}

/* The point read in a block of columns. */
static int get_from_columns(struct sst_iterator *iterator, struct sst_target *target, uint32_t index, struct record *record)
{
    uint32_t row = 0, found_bytes;
    int result = sst_block_enter(iterator, index);
    /* Where no key comes twice and every version is seen, the key decides alone, and of the seqs one is enough. */
    bool simple = !result && iterator->block.repeat_count == 0 && iterator->block.seq_max <= target->seq;
    if (simple)
        target->seq = UINT64_MAX;
    if (!result)
        result = sst_row_search(iterator, target, 0, &row);
    if (result || row == iterator->block.row_count)
        return stand_nowhere(iterator, result);
    result = sst_key_make(iterator, row, iterator->probe, &found_bytes);
    if (result || key_compare(iterator->probe, found_bytes, target->key, target->key_bytes) != 0)
        return stand_nowhere(iterator, result);
    stand_on(iterator, row);
    iterator->sought = true;
    if (simple && iterator->block.delete_count == 0) {
        *record = (struct record){.key = target->key, .key_bytes = target->key_bytes, .kind = RECORD_PUT};
        result = sst_seq_of_row(iterator, row, &record->seq);
    } else {
        result = sst_record(iterator, record);
    }
    return result ? stand_nowhere(iterator, result) : 1;
}

int sst_get(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct record *record)
{
    struct sst_target target;
    uint32_t partition, index;
    iterator->got_unit = false;
    sst_target_make(iterator, key, key_bytes, seq, &target);
    int result = sst_locate(iterator, &target, &partition, &index);
    if (result <= 0)
        return stand_nowhere(iterator, result);
    struct sst_block_entry entry;
    sst_block_entry_load(iterator, index, &entry);
    if (key_compare(key, key_bytes, entry.first_key, entry.first_key_bytes) < 0)
        return stand_nowhere(iterator, 0);
    struct sst_directory_entry directory;
    sst_directory_load(iterator, partition, &directory);
    result = ask_filter(iterator, &directory, key, key_bytes);
    if (result <= 0)
        return stand_nowhere(iterator, result);
    if (entry.pages) {
        result = sst_pages_get(iterator, &entry, key, key_bytes, seq, record);
        iterator->got_unit = result > 0;
        return stand_nowhere(iterator, result);
    }
    return get_from_columns(iterator, &target, index, record);
}

int sst_get_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes)
{
    return iterator->got_unit ? sst_pages_image(iterator, room, capacity_bytes, image_bytes) : sst_row_image(iterator, room, capacity_bytes, image_bytes);
}
