/* sst_parts.c: a block of which few columns are wanted: its streams are read alone, in groups of neighbours, and trusted by the checksums that the partition has of them.
 *
 * The rule: a group costs its bytes, rounded out to logical blocks, and REQUEST_COST_BYTES, which a device could read sequentially in the time that one more small read among many takes it. Streams with less than that between them are
 * one group, the streams in the gap included. If all groups together cost less than the block, rounded out, the block is read in parts. Where the whole block is in the cache it is used instead.
 * Keys and seqs are wanted where the reader said so, and for a while after he has asked for them all the same: sources that overlap need them in each block.
 *
 * Invariants: no byte of a stream is looked at before the checksum of that stream held. In the cache a group is a range of its own, keyed by its first stream; groups of several lengths may begin there, the longer one serves the shorter.
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

enum { REQUEST_COST_BYTES = 8 * 1024, KEYS_BLOCKS = 4 };

void sst_iterator_set_columns(struct sst_iterator *iterator, const uint32_t *columns, uint32_t count, bool with_keys, bool keep)
{
    struct sst_projection *projection = &iterator->projection;
    uint64_t wanted[MOTE_COLUMNS_MAX / 64] = {0};
    for (uint32_t i = 0; i < count; i++) {
        assert(columns[i] < MOTE_COLUMNS_MAX);
        wanted[columns[i] / 64] |= 1ull << columns[i] % 64;
    }
    if (!iterator->projection.set) {
        memset(projection->keys, 0, sizeof projection->keys);
        for (uint32_t i = 0; i < iterator->schema->key_column_count; i++)
            projection->keys[iterator->schema->key_columns[i] / 64] |= 1ull << iterator->schema->key_columns[i] % 64;
    }
    if (memcmp(wanted, projection->wanted, sizeof wanted) != 0) {
        memcpy(projection->wanted, wanted, sizeof wanted);
        projection->keys_left = 0;
        iterator->block.group_count = 0; /* The groups of the block that was entered are not those any more: what is missing of it is read stream by stream. */
    }
    projection->set = true;
    projection->with_keys = with_keys;
    projection->keep = keep;
}

static bool is_key(const struct sst_iterator *iterator, uint32_t column) { return iterator->projection.keys[column / 64] >> column % 64 & 1; }

/* The next stream from `stream` on that is wanted, or the number of streams. */
static uint32_t next_wanted(const struct sst_iterator *iterator, const struct sst_block_entry *entry, uint32_t stream)
{
    const struct sst_projection *projection = &iterator->projection;
    uint32_t columns = iterator->footer.column_count;
    bool keys = projection->with_keys || projection->keys_left > 0;
    for (uint32_t word = stream / 64; word * 64 < iterator->stored_columns; word++) {
        uint64_t bits = projection->wanted[word] | (keys ? projection->keys[word] : 0);
        if (word == stream / 64)
            bits &= UINT64_MAX << stream % 64;
        uint32_t found = word * 64 + (bits ? (uint32_t)__builtin_ctzll(bits) : 64);
        if (bits && found < iterator->stored_columns)
            return found;
    }
    if (keys && stream <= columns)
        return columns;
    return keys && stream == columns + 1 && entry->delete_count > 0 ? columns + 1 : columns + 2;
}

static uint32_t stream_start(const struct sst_iterator *iterator, const struct sst_block_entry *entry, uint32_t stream)
{
    return stream == iterator->footer.column_count + 2 ? entry->header.length_bytes : load_u32(entry->streams + stream * SST_STREAM_BYTES);
}

bool sst_parts_plan(const struct sst_iterator *iterator, const struct sst_block_entry *entry, struct sst_group groups[SST_GROUPS_MAX], uint32_t *group_count)
{
    uint32_t logical_bytes = blockdev_geometry(iterator->context->device)->logical_block_bytes, count = 0;
    uint64_t cost_bytes = 0, end_bytes = 0; /* of the group before, rounded out */
    *group_count = 0;
    if (!iterator->projection.set || !iterator->schema || entry->pages)
        return false;
    uint64_t offset_bytes = entry->header.offset_bytes, whole_bytes = round_up(offset_bytes + entry->header.length_bytes, logical_bytes) - round_down(offset_bytes, logical_bytes);
    for (uint32_t stream = next_wanted(iterator, entry, 0); stream < iterator->footer.column_count + 2; stream = next_wanted(iterator, entry, stream + 1)) {
        uint64_t from = round_down(offset_bytes + stream_start(iterator, entry, stream), logical_bytes), to = round_up(offset_bytes + stream_start(iterator, entry, stream + 1), logical_bytes);
        if (count > 0 && from < end_bytes + REQUEST_COST_BYTES) {
            cost_bytes += to > end_bytes ? to - end_bytes : 0;
            groups[count - 1].last = stream;
        } else if (count == SST_GROUPS_MAX) {
            return false;
        } else {
            cost_bytes += to - from + REQUEST_COST_BYTES;
            groups[count++] = (struct sst_group){stream, stream};
        }
        end_bytes = to;
    }
    *group_count = count;
    return cost_bytes < whole_bytes;
}

void sst_group_range(const struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group, uint64_t *offset_bytes, uint32_t *length_bytes)
{
    uint32_t start = stream_start(iterator, entry, group->first);
    *offset_bytes = entry->header.offset_bytes + start;
    *length_bytes = stream_start(iterator, entry, group->last + 1) - start;
}

bool sst_group_fits(const struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group, const uint8_t *data)
{
    uint32_t first = stream_start(iterator, entry, group->first);
    for (uint32_t stream = group->first; stream <= group->last; stream++) {
        uint32_t start = stream_start(iterator, entry, stream), end = stream_start(iterator, entry, stream + 1);
        if (sst_stream_crc(iterator->context->uuid, entry->header.segment_id, entry->header.offset_bytes + start, data + (start - first), end - start) != load_u32(entry->streams + stream * SST_STREAM_BYTES + 4))
            return false;
    }
    return true;
}

struct group_check {
    const struct sst_iterator *iterator;
    const struct sst_block_entry *entry;
    const struct sst_group *group;
};

static int check_group(const uint8_t *data, uint32_t length_bytes, void *context)
{
    const struct group_check *check = context;
    (void)length_bytes;
    return sst_group_fits(check->iterator, check->entry, check->group, data) ? MOTE_OK : MOTE_EDAMAGED;
}

void sst_parts_unpin(struct sst_iterator *iterator) { sst_unpin(iterator, &iterator->stream_pin); }

int sst_block_entry_pin(struct sst_iterator *iterator, struct sst_block_entry *entry)
{
    assert(iterator->block.number != SST_NONE);
    int result = sst_partition_pin(iterator, iterator->block.partition);
    if (!result)
        sst_block_entry_load(iterator, iterator->block.index, entry);
    return result;
}

static int pin_group(struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group)
{
    struct group_check check = {iterator, entry, group};
    uint64_t offset_bytes, contiguous_bytes;
    uint32_t length_bytes;
    sst_group_range(iterator, entry, group, &offset_bytes, &length_bytes);
    uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, offset_bytes, length_bytes, &contiguous_bytes);
    if (length_bytes == 0 || contiguous_bytes < length_bytes)
        return sst_refuse(iterator, offset_bytes, length_bytes, "a column of a block does not lie in one run of the segment, or is empty");
    iterator->stream_pin.data = iterator->ahead ? sst_ahead_take_group(iterator, entry, group) : NULL;
    if (iterator->stream_pin.data) {
        if (iterator->projection.keep)
            sst_keep(iterator, offset_bytes, length_bytes, iterator->stream_pin.data);
        return MOTE_OK;
    }
    int result = cache_get(iterator->context->cache, (struct cache_key){iterator->segment_id, offset_bytes}, iterator->queue, device_offset, length_bytes, check_group, &check, &iterator->stream_pin.entry,
                           &iterator->stream_pin.data);
    if (!result)
        return MOTE_OK;
    iterator->stream_pin = (struct sst_pin){0};
    if (result == MOTE_EDAMAGED)
        return sst_refuse(iterator, offset_bytes, length_bytes, "the checksum of a column fails");
    error_add_table(sst_table_name(iterator));
    return result;
}

int sst_parts_stream(struct sst_iterator *iterator, uint32_t stream, const uint8_t **data, uint32_t *size_bytes)
{
    struct sst_block *block = &iterator->block;
    struct sst_block_entry entry;
    struct sst_group group = {stream, stream};
    int result = sst_block_entry_pin(iterator, &entry);
    if (result)
        return result;
    assert(block->in_parts && entry.streams && stream < block->column_count + 2);
    for (uint32_t i = 0; i < block->group_count; i++)
        if (block->groups[i].first <= stream && stream <= block->groups[i].last)
            group = block->groups[i];
    bool asked_for = stream < block->column_count && (iterator->projection.wanted[stream / 64] >> stream % 64 & 1);
    if (!asked_for && (stream >= block->column_count || is_key(iterator, stream)))
        iterator->projection.keys_left = KEYS_BLOCKS;
    if (iterator->stream_pin.data && block->group_pinned != group.first)
        sst_parts_unpin(iterator);
    if (!iterator->stream_pin.data)
        result = pin_group(iterator, &entry, &group);
    if (result)
        return result;
    block->group_pinned = group.first;
    uint32_t start = stream_start(iterator, &entry, stream);
    *data = iterator->stream_pin.data + (start - stream_start(iterator, &entry, group.first));
    *size_bytes = stream_start(iterator, &entry, stream + 1) - start;
    return MOTE_OK;
}

int sst_parts_verify(const struct sst_iterator *iterator, const struct sst_block_entry *entry)
{
    const struct sst_group all = {0, iterator->footer.column_count + 1};
    const uint8_t *data = iterator->block_pin.data;
    assert(data && entry->streams);
    bool fits = true;
    for (uint32_t stream = 0; stream < iterator->footer.column_count + 2; stream++)
        fits = fits && load_u32(data + SST_BLOCK_HEADER_BYTES + stream * 4) == stream_start(iterator, entry, stream);
    if (fits && sst_group_fits(iterator, entry, &all, data + stream_start(iterator, entry, 0)))
        return MOTE_OK;
    return sst_refuse(iterator, entry->header.offset_bytes, entry->header.length_bytes, "the partition's directory of its streams is not that of the block");
}
