/* sst_index_read.c: the footer and the partitions of a segment, from the cache.
 *
 * Invariants: a structure's checksum and everything that it says of itself alone (counts, starts, lengths of keys) is validated when the cache reads it; the header is compared with what the parent says at each pin, so that an image
 * whose parents point to a structure of another kind or length is refused. Nothing here trusts a number of the device otherwise.
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET (everything in the cache is pinned).
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

const char *sst_table_name(const struct sst_iterator *iterator) { return iterator->schema ? iterator->schema->name : ""; }

static void add_place(const struct sst_iterator *iterator, uint64_t offset_bytes, uint64_t length_bytes)
{
    uint64_t contiguous_bytes;
    uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, offset_bytes, length_bytes, &contiguous_bytes);
    error_add_device(blockdev_path(iterator->context->device), device_offset, length_bytes);
    error_add_table(sst_table_name(iterator));
}

int sst_refuse(const struct sst_iterator *iterator, uint64_t offset_bytes, uint64_t length_bytes, const char *what)
{
    error_set(MOTE_EDAMAGED, "segment %llu of table %s is damaged at its byte %llu: %s; restore the rows from a copy", (unsigned long long)iterator->segment->record.id, sst_table_name(iterator),
              (unsigned long long)offset_bytes, what);
    add_place(iterator, offset_bytes, length_bytes);
    return MOTE_EDAMAGED;
}

struct structure_check {
    const struct sst_header *expected;
    const uint8_t *uuid;
    bool (*validate)(const uint8_t *data, uint32_t length_bytes);
};

/* A whole structure of another version: nothing but the version speaks against it. */
static bool is_other_version(const struct structure_check *check, const uint8_t *data)
{
    uint32_t version = load_u16(data + 28);
    return version != SST_VERSION && version != 0 && load_u32(data) == check->expected->magic && load_u64(data + 16) == check->expected->offset_bytes && load_u32(data + 4) == check->expected->crc &&
           sst_crc(check->uuid, check->expected, data, NULL) == check->expected->crc;
}

static int check_structure(const uint8_t *data, uint32_t length_bytes, void *context)
{
    const struct structure_check *check = context;
    assert(length_bytes == check->expected->length_bytes);
    (void)length_bytes;
    if (is_other_version(check, data))
        return error_set(MOTE_EVERSION, "a segment was written in version %u of the table format; this mote reads version %u only: copy the rows with the mote that wrote them", load_u16(data + 28), SST_VERSION);
    if (!sst_header_fits(data, check->expected) || sst_crc(check->uuid, check->expected, data, NULL) != check->expected->crc)
        return MOTE_EDAMAGED;
    return check->validate && !check->validate(data, check->expected->length_bytes) ? MOTE_EDAMAGED : MOTE_OK;
}

int sst_pin_structure(struct sst_iterator *iterator, const struct sst_header *expected, bool (*validate)(const uint8_t *data, uint32_t length_bytes), struct sst_pin *pin)
{
    struct structure_check check = {expected, iterator->context->uuid, validate};
    struct cache_key key = {expected->segment_id, expected->offset_bytes};
    uint64_t contiguous_bytes;
    uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, expected->offset_bytes, expected->length_bytes, &contiguous_bytes);
    assert(!pin->entry);
    if (expected->length_bytes < SST_HEADER_BYTES || contiguous_bytes < expected->length_bytes)
        return sst_refuse(iterator, expected->offset_bytes, expected->length_bytes, "what its parent points to does not lie in one run of the segment");
    int result = cache_get(iterator->context->cache, key, iterator->queue, device_offset, expected->length_bytes, check_structure, &check, &pin->entry, &pin->data);
    if (result) {
        pin->entry = NULL;
        if (result == MOTE_EDAMAGED)
            return sst_refuse(iterator, expected->offset_bytes, expected->length_bytes, "the checksum fails");
        error_add_table(sst_table_name(iterator));
        return result;
    }
    if (!sst_header_fits(pin->data, expected)) {
        sst_unpin(iterator, pin);
        return sst_refuse(iterator, expected->offset_bytes, expected->length_bytes, "two parents disagree on what is there");
    }
    return MOTE_OK;
}

void sst_unpin(struct sst_iterator *iterator, struct sst_pin *pin)
{
    if (pin->entry)
        cache_release(iterator->context->cache, pin->entry);
    *pin = (struct sst_pin){0};
}

/* A table of count + 1 starts at `at`: ascending multiples of 8 from the table's end to the structure's end, entries of at least entry_bytes_min. */
static bool starts_fit(const uint8_t *data, uint32_t length_bytes, uint32_t at, uint32_t count, uint32_t entry_bytes_min)
{
    if (at > length_bytes || count > (length_bytes - at) / 4 || (uint64_t)at + ((uint64_t)count + 1) * 4 > length_bytes)
        return false;
    uint64_t previous = round_up((uint64_t)at + ((uint64_t)count + 1) * 4, 8);
    if (load_u32(data + at) != previous || load_u32(data + at + count * 4) != length_bytes)
        return false;
    for (uint32_t i = 1; i <= count; i++) {
        uint64_t start = load_u32(data + at + i * 4);
        if (start % 8 != 0 || start < previous + entry_bytes_min || start > length_bytes)
            return false;
        previous = start;
    }
    return true;
}

bool sst_footer_validate(const uint8_t *data, uint32_t length_bytes)
{
    if (length_bytes < SST_FOOTER_HEADER_BYTES)
        return false;
    uint32_t columns = load_u32(data + 120), partitions = load_u32(data + 116), blocks = 0;
    uint64_t ordinal = 0;
    if (columns == 0 || columns > MOTE_COLUMNS_MAX || partitions == 0 || load_u32(data + 124) != 0)
        return false;
    uint32_t at = SST_FOOTER_HEADER_BYTES + columns * SST_FOOTER_COLUMN_BYTES;
    if (!starts_fit(data, length_bytes, at, partitions, SST_DIRECTORY_ENTRY_BYTES))
        return false;
    for (uint32_t i = 0; i < partitions; i++) {
        const uint8_t *entry = data + load_u32(data + at + i * 4);
        uint32_t entry_bytes = load_u32(data + at + (i + 1) * 4) - load_u32(data + at + i * 4), key_bytes = load_u16(entry + 76), count = load_u32(entry + 20);
        bool fits = key_bytes <= MOTE_KEY_BYTES_MAX && SST_DIRECTORY_ENTRY_BYTES + key_bytes <= entry_bytes && load_u16(entry + 78) == 0 && load_u32(entry + 16) == blocks && count > 0 &&
                    count <= SST_PARTITION_BLOCKS_MAX && (i == 0 ? load_u64(entry + 24) == 0 : load_u64(entry + 24) > ordinal);
        if (!fits)
            return false;
        blocks += count;
        ordinal = load_u64(entry + 24);
    }
    return blocks == load_u32(data + 112) && ordinal < load_u64(data + 56) && load_u64(data + 56) <= UINT32_MAX;
}

/* The stream directory of a block: what is read by it lies in the block, behind its head. */
static bool streams_fit(const uint8_t *streams, uint64_t size_bytes, uint32_t columns, uint32_t block_length_bytes)
{
    uint32_t previous = sst_streams_at(columns);
    if (size_bytes != (uint64_t)(columns + 2) * SST_STREAM_BYTES || load_u32(streams) != previous)
        return false;
    for (uint32_t i = 0; i < columns + 2; i++) {
        uint32_t start = load_u32(streams + i * SST_STREAM_BYTES);
        if (start < previous || start > block_length_bytes || start % 8 != 0)
            return false;
        previous = start;
    }
    return true;
}

bool sst_partition_validate(const uint8_t *data, uint32_t length_bytes)
{
    if (length_bytes < SST_PARTITION_HEADER_BYTES)
        return false;
    uint32_t blocks = load_u32(data + 32), columns = load_u32(data + 36);
    uint64_t ordinal = 0;
    if (blocks == 0 || blocks > SST_PARTITION_BLOCKS_MAX || columns == 0 || columns > MOTE_COLUMNS_MAX || load_u32(data + 44) != 0 ||
        !starts_fit(data, length_bytes, SST_PARTITION_HEADER_BYTES, blocks, SST_ENTRY_BYTES + columns * SST_ZONE_BYTES))
        return false;
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t start = load_u32(data + SST_PARTITION_HEADER_BYTES + i * 4), entry_bytes = load_u32(data + SST_PARTITION_HEADER_BYTES + (i + 1) * 4) - start;
        const uint8_t *entry = data + start;
        uint32_t length = load_u32(entry + 8), rows = load_u32(entry + 16), deletes = load_u32(entry + 20), timed = load_u32(entry + 72), untimed_deletes = load_u32(entry + 76);
        uint32_t first_key_bytes = load_u16(entry + 84) & ~(uint32_t)SST_ENTRY_PAGES, last_key_bytes = load_u16(entry + 86);
        uint64_t keys_end = (uint64_t)SST_ENTRY_BYTES + columns * SST_ZONE_BYTES + first_key_bytes + last_key_bytes, pages_at = round_up(keys_end, 8);
        bool fits = length >= SST_BLOCK_HEADER_BYTES && length <= SST_BLOCK_BYTES_MAX && rows > 0 && rows <= SST_BLOCK_ROWS_MAX && deletes <= rows && timed <= rows && untimed_deletes <= deletes &&
                    untimed_deletes <= rows - timed && load_u32(entry + 80) == ordinal && first_key_bytes <= MOTE_KEY_BYTES_MAX && last_key_bytes <= MOTE_KEY_BYTES_MAX &&
                    load_u32(entry + 88) < rows && load_u32(entry + 92) == 0 && pages_at < entry_bytes;
        if (fits && (load_u16(entry + 84) & SST_ENTRY_PAGES))
            fits = sst_pages_validate(entry + pages_at, entry_bytes - pages_at, load_u64(entry), length, rows);
        else if (fits)
            fits = streams_fit(entry + pages_at, entry_bytes - pages_at, columns, length);
        if (!fits)
            return false;
        ordinal += rows;
    }
    return true;
}

static void footer_load(const uint8_t *data, struct sst_footer *footer)
{
    *footer = (struct sst_footer){.table_id = load_u64(data + 32), .schema_version = load_u32(data + 40), .level = load_u32(data + 44), .run_id = load_u64(data + 48)};
    footer->row_count = load_u64(data + 56);
    footer->delete_count = load_u64(data + 64);
    footer->seq_min = load_u64(data + 72);
    footer->seq_max = load_u64(data + 80);
    footer->time_min_ns = (int64_t)load_u64(data + 88);
    footer->time_max_ns = (int64_t)load_u64(data + 96);
    footer->timed_count = load_u64(data + 104);
    footer->block_count = load_u32(data + 112);
    footer->partition_count = load_u32(data + 116);
    footer->column_count = load_u32(data + 120);
    footer->timestamp_offset_bytes = load_u64(data + 128);
    footer->timestamp_length_bytes = load_u64(data + 136);
    footer->timestamp_root_offset_bytes = load_u64(data + 144);
    footer->timestamp_root_bytes = load_u32(data + 152);
    footer->timestamp_root_crc = load_u32(data + 156);
    footer->section_id = load_u64(data + 160);
}

/* The segment's columns must be those that the schema had at the segment's version. */
static bool columns_fit(const uint8_t *data, const struct sst_footer *footer, uint32_t count, const struct schema *schema)
{
    uint32_t expected = 0;
    while (expected < schema->column_count && schema->columns[expected].added_in <= footer->schema_version)
        expected++;
    if (count != expected)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *column = data + SST_FOOTER_HEADER_BYTES + i * SST_FOOTER_COLUMN_BYTES;
        if (load_u64(column) != schema->columns[i].id || load_u32(column + 8) != schema->columns[i].type || load_u32(column + 12) != schema->columns[i].dimension)
            return false;
    }
    return true;
}

int sst_footer_pin(struct sst_iterator *iterator)
{
    if (iterator->footer_pin.entry)
        return MOTE_OK;
    const struct segment_record *record = &iterator->segment->record;
    struct sst_header expected = {.magic = SST_MAGIC_FOOTER, .crc = record->footer_crc, .length_bytes = record->footer_bytes, .segment_id = record->id, .offset_bytes = record->footer_offset_bytes};
    int result = sst_pin_structure(iterator, &expected, sst_footer_validate, &iterator->footer_pin);
    if (result)
        return result;
    struct sst_footer *footer = &iterator->footer;
    footer_load(iterator->footer_pin.data, footer);
    uint32_t known_columns = iterator->schema ? iterator->schema->column_count : 0;
    iterator->stored_columns = footer->column_count < known_columns ? footer->column_count : known_columns;
    if (footer->table_id == record->table_id && footer->row_count == record->row_count && footer->block_count == record->block_count && footer->schema_version == record->schema_version &&
        footer->delete_count == record->delete_count && (!iterator->schema || columns_fit(iterator->footer_pin.data, footer, iterator->stored_columns, iterator->schema)))
        return MOTE_OK;
    sst_unpin(iterator, &iterator->footer_pin);
    return sst_refuse(iterator, expected.offset_bytes, expected.length_bytes, "its footer is not that of this segment, or not of this table");
}

void sst_directory_load(const struct sst_iterator *iterator, uint32_t partition, struct sst_directory_entry *entry)
{
    const uint8_t *data = iterator->footer_pin.data;
    assert(data && partition < iterator->footer.partition_count);
    const uint8_t *at = data + load_u32(data + SST_FOOTER_HEADER_BYTES + iterator->footer.column_count * SST_FOOTER_COLUMN_BYTES + partition * 4);
    *entry = (struct sst_directory_entry){.first_block = load_u32(at + 16), .block_count = load_u32(at + 20), .untimed_delete_count = load_u32(at + 56), .last_key_bytes = load_u16(at + 76)};
    entry->partition = (struct sst_header){.magic = SST_MAGIC_PARTITION, .crc = load_u32(at + 12), .length_bytes = load_u32(at + 8), .segment_id = iterator->segment_id, .offset_bytes = load_u64(at)};
    entry->filter = (struct sst_header){.magic = SST_MAGIC_FILTER, .crc = load_u32(at + 72), .length_bytes = load_u32(at + 60), .segment_id = iterator->segment_id, .offset_bytes = load_u64(at + 64)};
    entry->first_ordinal = load_u64(at + 24);
    entry->last_seq = load_u64(at + 32);
    entry->time_min_ns = (int64_t)load_u64(at + 40);
    entry->time_max_ns = (int64_t)load_u64(at + 48);
    entry->last_key = at + SST_DIRECTORY_ENTRY_BYTES;
}

int sst_partition_pin(struct sst_iterator *iterator, uint32_t partition)
{
    if (iterator->partition_pin.entry && iterator->partition == partition)
        return MOTE_OK;
    sst_unpin(iterator, &iterator->partition_pin);
    struct sst_directory_entry entry, following;
    int result = sst_footer_pin(iterator);
    if (result)
        return result;
    sst_directory_load(iterator, partition, &entry);
    result = sst_pin_structure(iterator, &entry.partition, sst_partition_validate, &iterator->partition_pin);
    if (result)
        return result;
    iterator->partition = partition;
    uint64_t end = iterator->footer.row_count;
    if (partition + 1 < iterator->footer.partition_count) {
        sst_directory_load(iterator, partition + 1, &following);
        end = following.first_ordinal;
    }
    const uint8_t *data = iterator->partition_pin.data;
    struct sst_block_entry last;
    bool fits = load_u32(data + 32) == entry.block_count && load_u32(data + 36) == iterator->footer.column_count && load_u32(data + 40) == entry.first_block && load_u64(data + 48) == entry.first_ordinal;
    if (fits) {
        sst_block_entry_load(iterator, entry.block_count - 1, &last);
        fits = entry.first_ordinal + last.first_ordinal + last.row_count == end;
    }
    if (fits)
        return MOTE_OK;
    sst_unpin(iterator, &iterator->partition_pin);
    return sst_refuse(iterator, entry.partition.offset_bytes, entry.partition.length_bytes, "a partition of its index contradicts the footer");
}

uint32_t sst_partition_block_count(const struct sst_iterator *iterator) { return load_u32(iterator->partition_pin.data + 32); }

void sst_block_entry_load(const struct sst_iterator *iterator, uint32_t index, struct sst_block_entry *entry)
{
    const uint8_t *data = iterator->partition_pin.data;
    assert(data && index < load_u32(data + 32));
    const uint8_t *at = data + load_u32(data + SST_PARTITION_HEADER_BYTES + index * 4);
    *entry = (struct sst_block_entry){.row_count = load_u32(at + 16), .delete_count = load_u32(at + 20), .repeat_count = load_u32(at + 88), .timed_count = load_u32(at + 72), .untimed_delete_count = load_u32(at + 76)};
    entry->header = (struct sst_header){.magic = SST_MAGIC_BLOCK, .crc = load_u32(at + 12), .length_bytes = load_u32(at + 8), .segment_id = iterator->segment_id, .offset_bytes = load_u64(at)};
    entry->seq_min = load_u64(at + 24);
    entry->seq_max = load_u64(at + 32);
    entry->first_seq = load_u64(at + 40);
    entry->last_seq = load_u64(at + 48);
    entry->time_min_ns = (int64_t)load_u64(at + 56);
    entry->time_max_ns = (int64_t)load_u64(at + 64);
    entry->first_ordinal = load_u32(at + 80);
    entry->first_key_bytes = load_u16(at + 84) & ~(uint32_t)SST_ENTRY_PAGES;
    entry->last_key_bytes = load_u16(at + 86);
    entry->zones = at + SST_ENTRY_BYTES;
    entry->first_key = entry->zones + iterator->footer.column_count * SST_ZONE_BYTES;
    entry->last_key = entry->first_key + entry->first_key_bytes;
    entry->streams = at + round_up((uint64_t)(entry->last_key + entry->last_key_bytes - at), 8);
    if (load_u16(at + 84) & SST_ENTRY_PAGES) {
        entry->header.magic = SST_MAGIC_ROWS;
        entry->pages = entry->streams;
        entry->streams = NULL;
        entry->unit_count = load_u32(entry->pages);
    }
}

void sst_target_make(const struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_target *target)
{
    const struct schema *schema = iterator->schema;
    uint32_t type = schema->columns[schema->key_columns[0]].type;
    *target = (struct sst_target){.key = key, .key_bytes = key_bytes, .seq = seq};
    if ((type == MOTE_TYPE_INT64 || type == MOTE_TYPE_TIMESTAMP) && key_bytes >= 8) {
        target->has_first = true;
        target->first = (int64_t)(load_be64(key) ^ (uint64_t)INT64_MIN);
    }
}

bool sst_is_before(const uint8_t *key, uint32_t key_bytes, uint64_t seq, const struct sst_target *target)
{
    int order = key_compare(key, key_bytes, target->key, target->key_bytes);
    return order < 0 || (order == 0 && seq > target->seq);
}

int sst_locate_partition(struct sst_iterator *iterator, const struct sst_target *target, uint32_t *partition)
{
    int result = sst_footer_pin(iterator);
    if (result)
        return result;
    uint32_t low = 0, high = iterator->footer.partition_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct sst_directory_entry entry;
        sst_directory_load(iterator, middle, &entry);
        if (sst_is_before(entry.last_key, entry.last_key_bytes, entry.last_seq, target))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == iterator->footer.partition_count)
        return 0;
    *partition = low;
    return 1;
}

int sst_locate(struct sst_iterator *iterator, const struct sst_target *target, uint32_t *partition, uint32_t *index)
{
    int result = sst_locate_partition(iterator, target, partition);
    if (result <= 0)
        return result;
    result = sst_partition_pin(iterator, *partition);
    if (result)
        return result;
    /* The last block's last row is the partition's: it need not be asked. */
    uint32_t low = 0, high = sst_partition_block_count(iterator) - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct sst_block_entry entry;
        sst_block_entry_load(iterator, middle, &entry);
        if (sst_is_before(entry.last_key, entry.last_key_bytes, entry.last_seq, target))
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return 1;
}
