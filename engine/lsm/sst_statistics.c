/* sst_statistics.c: what the entry of a block in its partition tells of all the block's rows, for whoever can do without the rows.
 *
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET of pinning the partition again. */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

/* The entry of the block before which the iterator stands. */
static int load_deferred(struct sst_iterator *iterator, struct sst_block_entry *entry)
{
    assert(iterator->deferred);
    int result = sst_partition_pin(iterator, iterator->deferred_partition);
    if (!result)
        sst_block_entry_load(iterator, iterator->deferred_index, entry);
    return result;
}

int sst_deferred_record(struct sst_iterator *iterator, struct record *record)
{
    struct sst_block_entry entry;
    int result = load_deferred(iterator, &entry);
    if (result)
        return result;
    assert(entry.delete_count == 0);
    if (!iterator->key_valid)
        memcpy(iterator->key, entry.first_key, entry.first_key_bytes);
    iterator->key_bytes = entry.first_key_bytes;
    iterator->key_valid = true;
    *record = (struct record){.key = iterator->key, .key_bytes = iterator->key_bytes, .kind = RECORD_PUT, .seq = entry.first_seq};
    return MOTE_OK;
}

static void make_statistics(const struct sst_iterator *iterator, const struct sst_block_entry *entry, struct sst_statistics *statistics)
{
    *statistics = (struct sst_statistics){.iterator = iterator, .row_count = entry->row_count, .timed_count = entry->timed_count, .seq_max = entry->seq_max, .time_min_ns = entry->time_min_ns, .time_max_ns = entry->time_max_ns};
    statistics->first_key = entry->first_key;
    statistics->first_key_bytes = entry->first_key_bytes;
    statistics->last_key = entry->last_key;
    statistics->last_key_bytes = entry->last_key_bytes;
    statistics->zones = entry->zones;
    statistics->distinct = entry->repeat_count == 0;
}

bool sst_statistics(struct sst_iterator *iterator, struct sst_statistics *statistics)
{
    struct sst_block_entry entry;
    if (!iterator->on_record || !iterator->deferred || load_deferred(iterator, &entry))
        return false; /* What failed is told to whoever then asks for rows. */
    make_statistics(iterator, &entry, statistics);
    return true;
}

bool sst_deferrer_wants(const struct sst_iterator *iterator, const struct sst_block_entry *entry)
{
    struct sst_statistics statistics;
    if (!iterator->defers || !iterator->wants || entry->delete_count > 0)
        return true;
    make_statistics(iterator, entry, &statistics);
    return iterator->wants(iterator->wants_context, &statistics);
}

/* The zone of so many equal values. */
static void zone_of_default(const struct schema_column *column, uint32_t row_count, struct sst_zone *zone)
{
    const struct mote_value *value = &column->default_value;
    if (!(column->flags & MOTE_COLUMN_HAS_DEFAULT) || value->is_null)
        return;
    zone->value_count = row_count;
    if (zone->is_float) {
        double number = column->type == MOTE_TYPE_FLOAT32 ? (double)value->as.f32 : value->as.f64;
        zone->has_nan = number != number;
        zone->has_range = !zone->has_nan;
        if (zone->has_range) {
            zone->min_f64 = zone->max_f64 = number;
            zone->sum_f64 = number * row_count;
        }
        return;
    }
    int64_t number = column->type == MOTE_TYPE_BOOL ? value->as.boolean : column->type == MOTE_TYPE_INT32 ? value->as.i32 : value->as.i64;
    zone->has_range = true;
    zone->min_i64 = zone->max_i64 = number;
    zone->has_sum = !__builtin_mul_overflow(number, (int64_t)row_count, &zone->sum_i64);
}

void sst_statistics_zone(const struct sst_statistics *statistics, uint32_t column, struct sst_zone *zone)
{
    const struct sst_iterator *iterator = statistics->iterator;
    const struct schema_column *definition = &iterator->schema->columns[column];
    bool is_float = definition->type == MOTE_TYPE_FLOAT64 || definition->type == MOTE_TYPE_FLOAT32;
    *zone = (struct sst_zone){.is_float = is_float, .has_sum = is_float};
    if (column >= iterator->stored_columns) {
        zone_of_default(definition, statistics->row_count, zone);
        return;
    }
    const uint8_t *at = statistics->zones + column * SST_ZONE_BYTES;
    uint32_t flags = load_u32(at + 4);
    zone->value_count = load_u32(at);
    zone->has_range = flags & SST_ZONE_RANGE;
    zone->has_sum = flags & SST_ZONE_SUM;
    zone->has_nan = flags & SST_ZONE_NAN;
    uint64_t bits[3] = {load_u64(at + 8), load_u64(at + 16), load_u64(at + 24)};
    if (is_float) {
        memcpy(&zone->min_f64, &bits[0], sizeof bits[0]);
        memcpy(&zone->max_f64, &bits[1], sizeof bits[1]);
        memcpy(&zone->sum_f64, &bits[2], sizeof bits[2]);
    } else {
        zone->min_i64 = (int64_t)bits[0];
        zone->max_i64 = (int64_t)bits[1];
        zone->sum_i64 = (int64_t)bits[2];
    }
}
