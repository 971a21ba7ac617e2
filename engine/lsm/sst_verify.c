/* sst_verify.c: reading everything that a segment holds, from the device, and comparing each thing with what others say of it (sst.h).
 *
 * Checked: the footer against the manifest's record; each partition against the footer and its bounds; each block: every column decodes, keys and seqs in order, counts, bounds, zone maps, times; each filter holds every key of its
 * partition; the timestamp section has order, and the same (time, ordinal) pairs as the rows (compared by count and an order-free digest).
 * A fault is reported and the walk goes on with the next structure. Threads: one. Failures: MOTE_EDAMAGED if anything was reported; MOTE_EIO and MOTE_EBUDGET of a structure are reported too, and returned.
 */
#include <assert.h>

#include "engine/lsm/sst_filter.h"
#include "engine/lsm/sst_reader_private.h"
#include "blockdev/section.h"

struct verify {
    struct sst_iterator *iterator;
    void (*report)(const struct mote_error *fault, void *context);
    void *report_context;
    int result; /* the gravest so far */
    uint64_t row_count, delete_count, timed_count, seq_min, seq_max;
    int64_t time_min_ns, time_max_ns;
    uint64_t time_digest;
    /* The last row of the block before. */
    bool has_last;
    uint64_t last_seq;
    uint32_t last_key_bytes;
    uint8_t last_key[MOTE_KEY_BYTES_MAX];
};

/* What the rows of a block turn out to be. */
struct block_facts {
    uint32_t repeats, deletes, timed, untimed_deletes;
    uint64_t seq_min, seq_max;
    int64_t time_min_ns, time_max_ns;
};

static void note(struct verify *verify)
{
    struct mote_error fault;
    int code = error_get(&fault);
    if (verify->report)
        verify->report(&fault, verify->report_context);
    if (verify->result == MOTE_OK || verify->result == MOTE_EDAMAGED)
        verify->result = code;
}

static void note_block(struct verify *verify, const char *what)
{
    const struct sst_header *header = &verify->iterator->block.header;
    sst_refuse(verify->iterator, header->offset_bytes, header->length_bytes, what);
    note(verify);
}

static uint64_t digest(int64_t time_ns, uint64_t ordinal) { return sst_hash_fold((uint64_t)time_ns * 0x9E3779B97F4A7C15u + ordinal, 0xD6E8FEB86659FD93u); }

/* ---- One block ---- */

static bool zone_fits(const uint8_t *zone, const struct codec_vector *vector)
{
    struct codec_stats stats;
    uint32_t flags = load_u32(zone + 4);
    uint64_t min, max;
    codec_stats(vector, &stats);
    if (load_u32(zone) != stats.count)
        return false;
    if (!(flags & SST_ZONE_RANGE))
        return load_u64(zone + 8) == 0 && load_u64(zone + 16) == 0;
    min = load_u64(zone + 8);
    max = load_u64(zone + 16);
    if (!stats.is_float)
        return (int64_t)min == stats.min_i64 && (int64_t)max == stats.max_i64 && (!(flags & SST_ZONE_SUM) || (int64_t)load_u64(zone + 24) == stats.sum_i64);
    double zone_min, zone_max;
    memcpy(&zone_min, &min, sizeof min);
    memcpy(&zone_max, &max, sizeof max);
    return zone_min == stats.min_f64 && zone_max == stats.max_f64;
}

static void check_columns(struct verify *verify, const struct sst_block_entry *entry)
{
    struct sst_iterator *iterator = verify->iterator;
    for (uint32_t i = 0; i < iterator->stored_columns; i++) {
        struct sst_slot *slot;
        if (sst_column_decode(iterator, i, &slot))
            note(verify);
        else if (!zone_fits(entry->zones + i * SST_ZONE_BYTES, &slot->vector))
            note_block(verify, "a zone map is not that of its column");
    }
}

/* Order of one row after the one before; *repeats: the same key. */
static bool row_in_order(struct verify *verify, const struct record *record, bool *repeats)
{
    int order = verify->has_last ? key_compare(verify->last_key, verify->last_key_bytes, record->key, record->key_bytes) : -1;
    *repeats = order == 0;
    bool ordered = order < 0 || (order == 0 && verify->last_seq > record->seq);
    verify->has_last = true;
    verify->last_seq = record->seq;
    verify->last_key_bytes = record->key_bytes;
    memcpy(verify->last_key, record->key, record->key_bytes);
    return ordered;
}

static int walk_rows(struct verify *verify, const uint8_t *filter, uint32_t filter_bytes, struct block_facts *facts)
{
    struct sst_iterator *iterator = verify->iterator;
    *facts = (struct block_facts){.seq_min = UINT64_MAX, .time_min_ns = INT64_MAX, .time_max_ns = INT64_MIN};
    for (uint32_t row = 0; row < iterator->block.row_count; row++) {
        struct record record;
        bool repeats, has_time;
        int64_t time_ns;
        iterator->row = row;
        iterator->on_record = true;
        iterator->key_valid = false;
        int result = sst_record_of_row(iterator, &record);
        if (!result)
            result = sst_time(iterator, &time_ns, &has_time);
        if (result)
            return result;
        if (!row_in_order(verify, &record, &repeats))
            return sst_refuse(iterator, iterator->block.header.offset_bytes, iterator->block.header.length_bytes, "its rows are not in the order of their keys and seqs");
        if (filter && !sst_filter_may_hold(filter, filter_bytes, sst_key_hash(record.key, record.key_bytes)))
            return sst_refuse(iterator, iterator->block.header.offset_bytes, iterator->block.header.length_bytes, "the filter lacks one of its keys");
        bool deleted = record.kind == RECORD_DELETE;
        facts->repeats += repeats && row > 0;
        facts->deletes += deleted;
        facts->untimed_deletes += deleted && !has_time;
        facts->seq_min = record.seq < facts->seq_min ? record.seq : facts->seq_min;
        facts->seq_max = record.seq > facts->seq_max ? record.seq : facts->seq_max;
        if (has_time) {
            facts->timed++;
            facts->time_min_ns = time_ns < facts->time_min_ns ? time_ns : facts->time_min_ns;
            facts->time_max_ns = time_ns > facts->time_max_ns ? time_ns : facts->time_max_ns;
            verify->time_digest += digest(time_ns, verify->row_count + row);
        }
    }
    return MOTE_OK;
}

static void check_facts(struct verify *verify, const struct sst_block_entry *entry, const struct block_facts *facts)
{
    const struct sst_block *block = &verify->iterator->block;
    if (facts->repeats != block->repeat_count || facts->deletes != block->delete_count || facts->seq_min != block->seq_min || facts->seq_max != block->seq_max)
        note_block(verify, "a block's counts are not those of its rows");
    if (facts->timed != entry->timed_count || facts->untimed_deletes != entry->untimed_delete_count || facts->time_min_ns != entry->time_min_ns || facts->time_max_ns != entry->time_max_ns)
        note_block(verify, "a block's times are not those of its rows");
    if (entry->last_seq != verify->last_seq || key_compare(entry->last_key, entry->last_key_bytes, verify->last_key, verify->last_key_bytes) != 0)
        note_block(verify, "a block's last key is not that of its rows");
}

static void check_first_key(struct verify *verify, const struct sst_block_entry *entry)
{
    struct sst_iterator *iterator = verify->iterator;
    uint32_t key_bytes;
    const uint64_t *seqs;
    if (sst_keys_decode(iterator) || sst_key_make(iterator, 0, iterator->probe, &key_bytes) || sst_seqs_decode(iterator, &seqs))
        return; /* The walk over the rows says so. */
    if (seqs[0] != entry->first_seq || key_compare(iterator->probe, key_bytes, entry->first_key, entry->first_key_bytes) != 0)
        note_block(verify, "a block's first key is not that of its rows");
}

static void check_block(struct verify *verify, uint32_t index, const uint8_t *filter, uint32_t filter_bytes)
{
    struct sst_iterator *iterator = verify->iterator;
    struct sst_block_entry entry;
    struct block_facts facts;
    sst_block_entry_load(iterator, index, &entry);
    if (sst_block_enter(iterator, index) || sst_block_pin(iterator)) {
        note(verify);
    } else {
        if (entry.pages ? sst_pages_verify(iterator, &entry) : sst_parts_verify(iterator, &entry))
            note(verify);
        check_columns(verify, &entry);
        check_first_key(verify, &entry);
        if (walk_rows(verify, filter, filter_bytes, &facts))
            note(verify);
        else
            check_facts(verify, &entry, &facts);
        verify->seq_min = facts.seq_min < verify->seq_min ? facts.seq_min : verify->seq_min;
        verify->seq_max = facts.seq_max > verify->seq_max ? facts.seq_max : verify->seq_max;
    }
    verify->row_count += entry.row_count;
    verify->delete_count += entry.delete_count;
    verify->timed_count += entry.timed_count;
    verify->time_min_ns = entry.time_min_ns < verify->time_min_ns ? entry.time_min_ns : verify->time_min_ns;
    verify->time_max_ns = entry.time_max_ns > verify->time_max_ns ? entry.time_max_ns : verify->time_max_ns;
}

/* ---- Partitions, footer, timestamp section ---- */

static void check_directory(struct verify *verify, const struct sst_directory_entry *directory, int64_t time_min_ns, int64_t time_max_ns, uint64_t untimed_deletes)
{
    struct sst_block_entry last;
    sst_block_entry_load(verify->iterator, directory->block_count - 1, &last);
    if (last.last_seq == directory->last_seq && key_compare(last.last_key, last.last_key_bytes, directory->last_key, directory->last_key_bytes) == 0 && directory->time_min_ns == time_min_ns &&
        directory->time_max_ns == time_max_ns && directory->untimed_delete_count == untimed_deletes)
        return;
    sst_refuse(verify->iterator, directory->partition.offset_bytes, directory->partition.length_bytes, "the footer's last key or times of a partition are not its blocks'");
    note(verify);
}

static void check_partition(struct verify *verify, uint32_t partition)
{
    struct sst_iterator *iterator = verify->iterator;
    struct sst_directory_entry directory;
    struct sst_pin filter = {0};
    int64_t time_min_ns = INT64_MAX, time_max_ns = INT64_MIN;
    uint64_t untimed_deletes = 0;
    sst_directory_load(iterator, partition, &directory);
    if (sst_partition_pin(iterator, partition)) {
        note(verify);
        verify->has_last = false;
        return;
    }
    if (directory.filter.length_bytes && sst_pin_structure(iterator, &directory.filter, NULL, &filter))
        note(verify);
    for (uint32_t i = 0; i < directory.block_count; i++) {
        struct sst_block_entry entry;
        sst_block_entry_load(iterator, i, &entry);
        time_min_ns = entry.time_min_ns < time_min_ns ? entry.time_min_ns : time_min_ns;
        time_max_ns = entry.time_max_ns > time_max_ns ? entry.time_max_ns : time_max_ns;
        untimed_deletes += entry.untimed_delete_count;
        check_block(verify, i, filter.data, directory.filter.length_bytes);
    }
    check_directory(verify, &directory, time_min_ns, time_max_ns, untimed_deletes);
    sst_unpin(iterator, &filter);
}

static int digest_index(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    uint64_t *sum = context;
    for (uint32_t i = 0; i < count; i++)
        *sum += digest(times_ns[i], ordinals[i]);
    return MOTE_OK;
}

static void check_timestamps(struct verify *verify)
{
    struct sst_iterator *iterator = verify->iterator;
    struct memory *memory = iterator->context->memory;
    struct sst_section section;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
    uint64_t count = 0, sum = 0;
    int result = sst_section_open(iterator, &section, &identity, &root, &source);
    if (result == MOTE_ENOTFOUND && iterator->schema->time_column < 0)
        return;
    if (result == MOTE_ENOTFOUND)
        result = sst_refuse(iterator, iterator->segment->record.footer_offset_bytes, 0, "the table has a time column and the segment no timestamp index");
    if (!result)
        result = iterator->context->timestamps->verify(&identity, &root, &source, memory, iterator->footer.row_count);
    if (!result)
        result = iterator->context->timestamps->count(&identity, &root, &source, memory, INT64_MIN, INT64_MAX, &count);
    if (!result)
        result = iterator->context->timestamps->search(&identity, &root, &source, memory, INT64_MIN, INT64_MAX, digest_index, &sum);
    if (!result && verify->result == MOTE_OK && (count != verify->timed_count || sum != verify->time_digest))
        result = sst_refuse(iterator, section.start_bytes, section.length_bytes, "the timestamp index is not that of the rows; rebuild it");
    if (result) {
        atomic_store(&iterator->segment->timestamp_unusable, 1);
        note(verify);
    }
}

static void check_sums(struct verify *verify)
{
    const struct sst_footer *footer = &verify->iterator->footer;
    const struct segment_record *record = &verify->iterator->segment->record;
    bool fits = verify->row_count == footer->row_count && verify->delete_count == footer->delete_count && verify->timed_count == footer->timed_count && verify->seq_min == footer->seq_min &&
                verify->seq_max == footer->seq_max && verify->time_min_ns == footer->time_min_ns && verify->time_max_ns == footer->time_max_ns;
    bool recorded = record->seq_min == footer->seq_min && record->seq_max == footer->seq_max && record->time_min == footer->time_min_ns && record->time_max == footer->time_max_ns;
    if (verify->result == MOTE_OK && !(fits && recorded)) {
        sst_refuse(verify->iterator, record->footer_offset_bytes, record->footer_bytes, "the footer's or the manifest's counts are not those of the blocks");
        note(verify);
    }
}

int sst_verify(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, void (*report)(const struct mote_error *fault, void *context), void *report_context)
{
    struct verify *verify = memory_alloc_zero(context->memory, sizeof *verify);
    if (!verify)
        return MOTE_EBUDGET;
    verify->report = report;
    verify->report_context = report_context;
    verify->seq_min = UINT64_MAX;
    verify->time_min_ns = INT64_MAX;
    verify->time_max_ns = INT64_MIN;
    /* What is cached was good when it was read; what counts is what the device holds now. */
    cache_forget_segment(context->cache, segment->record.id);
    int result = sst_iterator_create(context, queue, &verify->iterator);
    if (!result) {
        if (sst_iterator_open(verify->iterator, segment, schema)) {
            note(verify);
        } else {
            for (uint32_t i = 0; i < verify->iterator->footer.partition_count; i++)
                check_partition(verify, i);
            check_sums(verify);
            check_timestamps(verify);
        }
        result = verify->result;
    }
    sst_iterator_destroy(verify->iterator);
    memory_free(context->memory, verify);
    return result;
}
