/* sst_want.c: the way of a point read as far as the cache goes (sst.h): which structure it would have to read next. The caller reads that for many keys at a time and asks again.
 *
 * Invariant: nothing is read here but the footer of a segment just opened. Threads: the iterator's. Failures: none; whatever cannot be told is left to sst_get. */
#include "engine/lsm/sst_filter.h"
#include "engine/lsm/sst_reader_private.h"

/* Whether the range must be read; *want says how. A range that does not lie in one run is left to sst_get, which refuses it. */
static bool is_wanted(const struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes, struct sst_want *want)
{
    struct cache_entry *entry;
    const uint8_t *data;
    uint64_t contiguous_bytes;
    want->key = (struct cache_key){iterator->segment_id, offset_bytes};
    want->length_bytes = length_bytes;
    if (cache_try(iterator->context->cache, want->key, length_bytes, &entry, &data)) {
        cache_release(iterator->context->cache, entry);
        return false;
    }
    want->device_offset_bytes = segment_device_offset(&iterator->segment->record, iterator->context->layout, offset_bytes, length_bytes, &contiguous_bytes);
    return length_bytes >= SST_HEADER_BYTES && contiguous_bytes >= length_bytes;
}

static bool structure_wanted(const struct sst_iterator *iterator, const struct sst_header *header, bool (*validate)(const uint8_t *, uint32_t), struct sst_want *want)
{
    *want = (struct sst_want){.magic = header->magic, .crc = header->crc, .validate = validate};
    return is_wanted(iterator, header->offset_bytes, header->length_bytes, want);
}

/* Whether the filter, which is cached, lets the key pass. */
static bool filter_passes(struct sst_iterator *iterator, const struct sst_header *filter, const uint8_t *key, uint32_t key_bytes)
{
    struct cache_entry *entry;
    const uint8_t *data;
    if (!cache_try(iterator->context->cache, (struct cache_key){iterator->segment_id, filter->offset_bytes}, filter->length_bytes, &entry, &data))
        return true;
    bool passes = !sst_header_fits(data, filter) || sst_filter_may_hold(data, filter->length_bytes, sst_key_hash(key, key_bytes));
    cache_release(iterator->context->cache, entry);
    return passes;
}

int sst_get_want(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_want *want)
{
    struct sst_target target;
    struct sst_directory_entry directory;
    struct sst_block_entry entry;
    uint32_t partition, index;
    sst_target_make(iterator, key, key_bytes, seq, &target);
    if (sst_locate_partition(iterator, &target, &partition) <= 0)
        return 0;
    sst_directory_load(iterator, partition, &directory);
    bool at_hand = iterator->partition_pin.entry && iterator->partition == partition;
    if (!at_hand && structure_wanted(iterator, &directory.partition, sst_partition_validate, want))
        return 1;
    if (sst_locate(iterator, &target, &partition, &index) <= 0)
        return 0;
    sst_block_entry_load(iterator, index, &entry);
    if (key_compare(key, key_bytes, entry.first_key, entry.first_key_bytes) < 0)
        return 0;
    if (directory.filter.length_bytes) {
        if (structure_wanted(iterator, &directory.filter, NULL, want))
            return 1;
        if (!filter_passes(iterator, &directory.filter, key, key_bytes))
            return 0;
    }
    struct sst_unit unit;
    if (!entry.pages)
        return iterator->block.number != directory.first_block + index && structure_wanted(iterator, &entry.header, NULL, want);
    if (!sst_pages_place(&entry, key, key_bytes, seq, &unit))
        return 0;
    *want = (struct sst_want){.magic = SST_MAGIC_PAGE, .crc = unit.crc};
    return is_wanted(iterator, unit.offset_bytes, unit.length_bytes, want);
}

bool sst_want_fits(const struct sst_context *context, const struct sst_want *want, const uint8_t *data)
{
    if (want->magic == SST_MAGIC_PAGE)
        return crc32c(crc32c_seed(context->uuid, SST_MAGIC_PAGE, want->key.segment_id, want->key.offset_bytes), data, want->length_bytes) == want->crc;
    struct sst_header header = {.magic = want->magic, .crc = want->crc, .length_bytes = want->length_bytes, .segment_id = want->key.segment_id, .offset_bytes = want->key.offset_bytes};
    return sst_header_fits(data, &header) && sst_crc(context->uuid, &header, data, NULL) == want->crc && (!want->validate || want->validate(data, want->length_bytes));
}
