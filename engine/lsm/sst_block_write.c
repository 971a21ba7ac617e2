/* sst_block_write.c: the rows of the present block, encoded column by column, and the block's entry in its partition: counts, zone maps, times, keys.
 *
 * Threads: the builder's. Failures: MOTE_EBUDGET, and those of the stream. */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

/* What the encoding of a column may add to its values. Texts and blobs: their lengths as integers, and a byte section that falls back to raw. */
static uint64_t column_overhead_bytes(const struct schema_column *column, uint32_t rows)
{
    struct codec_vector vector = {.type = type_is_var(column->type) ? (uint32_t)MOTE_TYPE_INT32 : column->type, .dimension = column->dimension, .count = rows};
    uint64_t bound = codec_encode_bound(&vector) + rows / 8 + 1 + 16;
    return type_is_var(column->type) ? bound + 64 : bound - codec_vector_bytes(&vector);
}

uint64_t sst_block_bytes_bound(const struct schema *schema, uint32_t rows, uint64_t raw_bytes)
{
    struct codec_vector seqs = {.type = MOTE_TYPE_INT64, .dimension = 1, .count = rows}, kinds = {.type = MOTE_TYPE_BOOL, .dimension = 1, .count = rows};
    uint64_t bound = SST_BLOCK_HEADER_BYTES + (schema->column_count + 3) * 12 + raw_bytes + codec_encode_bound(&seqs) + codec_encode_bound(&kinds) + SST_ALIGN_BYTES;
    for (uint32_t i = 0; i < schema->column_count; i++)
        bound += column_overhead_bytes(&schema->columns[i], rows);
    return bound;
}

/* Appends one stream to the block in staging, and stores where it begins. */
static int encode_stream(struct sst_builder *builder, uint32_t stream, const struct codec_vector *vector, uint32_t *at)
{
    uint32_t compression = builder->options.compression;
    store_u32(builder->staging + SST_BLOCK_HEADER_BYTES + stream * 4, *at);
    int64_t size_bytes = codec_encode_hinted(vector, compression, &builder->hints[stream], builder->staging + *at, builder->staging_bytes - *at, builder->scratch, builder->scratch_bytes);
    if (size_bytes < 0)
        return (int)size_bytes;
    uint32_t end = *at + (uint32_t)size_bytes;
    *at = (uint32_t)round_up(end, 8);
    memset(builder->staging + end, 0, *at - end);
    return MOTE_OK;
}

static size_t staging_needed(const struct sst_builder *builder)
{
    const struct sst_rows *rows = &builder->rows;
    struct codec_vector seqs = {.type = MOTE_TYPE_INT64, .dimension = 1, .count = rows->count};
    size_t needed = SST_BLOCK_HEADER_BYTES + (builder->schema->column_count + 3) * 12 + 2 * (codec_encode_bound(&seqs) + 8);
    for (uint32_t i = 0; i < builder->schema->column_count; i++)
        needed += codec_encode_bound(&rows->vectors[i]) + 8;
    return needed;
}

static int encode_block(struct sst_builder *builder, uint64_t seq_min, uint64_t seq_max, uint32_t *length_bytes)
{
    struct sst_rows *rows = &builder->rows;
    uint32_t columns = builder->schema->column_count;
    int result = sst_builder_staging(builder, staging_needed(builder));
    if (result)
        return result;
    uint8_t *block = builder->staging;
    uint32_t directory_bytes = (columns + 3) * 4, at = (uint32_t)round_up(SST_BLOCK_HEADER_BYTES + directory_bytes, 8);
    memset(block + SST_BLOCK_HEADER_BYTES, 0, at - SST_BLOCK_HEADER_BYTES);
    store_u32(block + 32, rows->count);
    store_u32(block + 36, rows->delete_count);
    store_u32(block + 40, builder->repeat_count);
    store_u32(block + 44, columns);
    store_u64(block + 48, seq_min);
    store_u64(block + 56, seq_max);
    for (uint32_t i = 0; !result && i < columns; i++)
        result = encode_stream(builder, i, &rows->vectors[i], &at);
    struct codec_vector seqs = {.type = MOTE_TYPE_INT64, .dimension = 1, .count = rows->count, .values = rows->seqs};
    struct codec_vector kinds = {.type = MOTE_TYPE_BOOL, .dimension = 1, .count = rows->count, .values = rows->kinds};
    if (!result)
        result = encode_stream(builder, columns, &seqs, &at);
    store_u32(block + SST_BLOCK_HEADER_BYTES + (columns + 1) * 4, at);
    if (!result && rows->delete_count)
        result = encode_stream(builder, columns + 1, &kinds, &at);
    store_u32(block + SST_BLOCK_HEADER_BYTES + (columns + 2) * 4, at);
    *length_bytes = at;
    return result;
}

static void store_zone(uint8_t *zone, const struct codec_vector *vector)
{
    struct codec_stats stats;
    codec_stats(vector, &stats);
    memset(zone, 0, SST_ZONE_BYTES);
    store_u32(zone, (uint32_t)stats.count);
    uint32_t flags = 0;
    uint64_t min = 0, max = 0, sum = 0;
    if (stats.is_float) {
        flags = SST_ZONE_FLOAT | SST_ZONE_SUM | (stats.nan_count ? SST_ZONE_NAN : 0u) | (stats.min_f64 <= stats.max_f64 ? SST_ZONE_RANGE : 0u);
        if (flags & SST_ZONE_RANGE) {
            memcpy(&min, &stats.min_f64, sizeof min);
            memcpy(&max, &stats.max_f64, sizeof max);
        }
        memcpy(&sum, &stats.sum_f64, sizeof sum);
    } else if (stats.min_i64 <= stats.max_i64 && (vector->type == MOTE_TYPE_INT64 || vector->type == MOTE_TYPE_INT32 || vector->type == MOTE_TYPE_TIMESTAMP || vector->type == MOTE_TYPE_BOOL)) {
        flags = SST_ZONE_RANGE | (stats.sum_overflow ? 0u : SST_ZONE_SUM);
        min = (uint64_t)stats.min_i64;
        max = (uint64_t)stats.max_i64;
        sum = stats.sum_overflow ? 0 : (uint64_t)stats.sum_i64;
    }
    store_u32(zone + 4, flags);
    store_u64(zone + 8, min);
    store_u64(zone + 16, max);
    store_u64(zone + 24, sum);
}

struct block_times {
    int64_t min_ns, max_ns;
    uint32_t timed_count, untimed_delete_count;
};

static int note_time(struct sst_builder *builder, struct block_times *times, uint32_t row, int64_t time_ns)
{
    times->min_ns = time_ns < times->min_ns ? time_ns : times->min_ns;
    times->max_ns = time_ns > times->max_ns ? time_ns : times->max_ns;
    times->timed_count++;
    return builder->options.context->timestamps->add(builder->timestamps, (uint32_t)(builder->row_count + row), time_ns);
}

/* A time in each row, as int64. */
static int collect_all_times(struct sst_builder *builder, const int64_t *values, struct block_times *times)
{
    uint32_t count = builder->rows.count;
    int64_t min_ns = INT64_MAX, max_ns = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        min_ns = values[i] < min_ns ? values[i] : min_ns;
        max_ns = values[i] > max_ns ? values[i] : max_ns;
    }
    *times = (struct block_times){.min_ns = min_ns, .max_ns = max_ns, .timed_count = count};
    return builder->options.context->timestamps->add_many(builder->timestamps, (uint32_t)builder->row_count, values, count);
}

/* The times of the block's rows, into the timestamp index too. */
static int collect_times(struct sst_builder *builder, struct block_times *times)
{
    const struct sst_rows *rows = &builder->rows;
    *times = (struct block_times){.min_ns = INT64_MAX, .max_ns = INT64_MIN, .untimed_delete_count = rows->delete_count};
    if (!builder->timestamps)
        return MOTE_OK;
    const struct schema_column *column = &builder->schema->columns[builder->schema->time_column];
    const struct codec_vector *vector = &rows->vectors[builder->schema->time_column];
    if (!vector->validity && column->type != MOTE_TYPE_FLOAT64 && (uintptr_t)vector->values % sizeof(int64_t) == 0)
        return collect_all_times(builder, vector->values, times);
    for (uint32_t i = 0; i < rows->count; i++) {
        if (vector->validity && !(vector->validity[i / 8] >> i % 8 & 1))
            continue;
        int64_t time_ns;
        if (column->type == MOTE_TYPE_FLOAT64) {
            struct mote_value value = {.type = column->type};
            memcpy(&value.as.f64, (const uint8_t *)vector->values + (size_t)i * 8, 8);
            if (!value_time(column, &value, &time_ns))
                continue;
        } else {
            memcpy(&time_ns, (const uint8_t *)vector->values + (size_t)i * 8, 8);
        }
        times->untimed_delete_count -= rows->kinds[i];
        int result = note_time(builder, times, i, time_ns);
        if (result)
            return result;
    }
    return MOTE_OK;
}

static int add_entry(struct sst_builder *builder, const struct sst_header *header, const struct block_times *times, uint64_t seq_min, uint64_t seq_max)
{
    const struct sst_rows *rows = &builder->rows;
    uint32_t columns = builder->schema->column_count, zones_bytes = columns * SST_ZONE_BYTES;
    uint32_t keys_bytes = builder->first_key_bytes + builder->last_key_bytes, pages_at = (uint32_t)round_up(SST_ENTRY_BYTES + zones_bytes + keys_bytes, 8);
    uint32_t entry_bytes = pages_at + (builder->row_pages ? sst_pages_directory_bytes(builder) : (columns + 2) * SST_STREAM_BYTES);
    uint8_t *entry;
    int result = sst_entry_list_grow(builder->memory, &builder->blocks, entry_bytes, &entry);
    if (result)
        return result;
    store_u64(entry, header->offset_bytes);
    store_u32(entry + 8, header->length_bytes);
    store_u32(entry + 12, header->crc);
    store_u32(entry + 16, rows->count);
    store_u32(entry + 20, rows->delete_count);
    store_u64(entry + 24, seq_min);
    store_u64(entry + 32, seq_max);
    store_u64(entry + 40, rows->seqs[0]);
    store_u64(entry + 48, rows->seqs[rows->count - 1]);
    store_u64(entry + 56, (uint64_t)times->min_ns);
    store_u64(entry + 64, (uint64_t)times->max_ns);
    store_u32(entry + 72, times->timed_count);
    store_u32(entry + 76, times->untimed_delete_count);
    store_u32(entry + 80, (uint32_t)builder->sums.row_count);
    store_u16(entry + 84, (uint16_t)(builder->first_key_bytes | (builder->row_pages ? SST_ENTRY_PAGES : 0u)));
    store_u16(entry + 86, (uint16_t)builder->last_key_bytes);
    store_u32(entry + 88, builder->repeat_count);
    for (uint32_t i = 0; i < columns; i++)
        store_zone(entry + SST_ENTRY_BYTES + i * SST_ZONE_BYTES, &rows->vectors[i]);
    memcpy(entry + SST_ENTRY_BYTES + zones_bytes, builder->first_key, builder->first_key_bytes);
    memcpy(entry + SST_ENTRY_BYTES + zones_bytes + builder->first_key_bytes, builder->last_key, builder->last_key_bytes);
    if (builder->row_pages)
        sst_pages_directory_store(builder, entry + pages_at);
    /* The block is still in staging. */
    for (uint32_t i = 0; !builder->row_pages && i < columns + 2; i++) {
        store_u32(entry + pages_at + i * SST_STREAM_BYTES, load_u32(builder->staging + SST_BLOCK_HEADER_BYTES + i * 4));
        store_u32(entry + pages_at + i * SST_STREAM_BYTES + 4, builder->stream_crcs[i]);
    }
    return MOTE_OK;
}

/* Adds the block to what partition and segment say in sum. */
static void add_sums(struct sst_builder *builder, const struct block_times *times, uint64_t seq_min, uint64_t seq_max)
{
    struct sst_partition_sums *sums = &builder->sums;
    const struct sst_rows *rows = &builder->rows;
    if (builder->block_count == 0)
        segment_key_set(&builder->min_key, builder->first_key, builder->first_key_bytes);
    segment_key_set(&builder->max_key, builder->last_key, builder->last_key_bytes);
    sums->time_min_ns = times->min_ns < sums->time_min_ns ? times->min_ns : sums->time_min_ns;
    sums->time_max_ns = times->max_ns > sums->time_max_ns ? times->max_ns : sums->time_max_ns;
    sums->untimed_delete_count += times->untimed_delete_count;
    sums->row_count += rows->count;
    builder->time_min_ns = times->min_ns < builder->time_min_ns ? times->min_ns : builder->time_min_ns;
    builder->time_max_ns = times->max_ns > builder->time_max_ns ? times->max_ns : builder->time_max_ns;
    builder->timed_count += times->timed_count;
    builder->seq_min = seq_min < builder->seq_min ? seq_min : builder->seq_min;
    builder->seq_max = seq_max > builder->seq_max ? seq_max : builder->seq_max;
    builder->row_count += rows->count;
    builder->delete_count += rows->delete_count;
    builder->block_count++;
}

int sst_block_write(struct sst_builder *builder)
{
    struct sst_rows *rows = &builder->rows;
    assert(rows->count > 0);
    const uint64_t *seqs = rows->seqs;
    uint64_t seq_min = seqs[0], seq_max = seqs[0], descents = 0; /* local, so that the loop has no stores */
    for (uint32_t i = 1, count = rows->count; i < count; i++) {
        seq_min = seqs[i] < seq_min ? seqs[i] : seq_min;
        seq_max = seqs[i] > seq_max ? seqs[i] : seq_max;
        descents += seqs[i] < seqs[i - 1];
    }
    builder->sums.seq_descent_count += descents;
    struct block_times times;
    struct sst_header header;
    uint32_t length_bytes = 0;
    int result = sst_rows_gather(rows);
    if (!result)
        sst_feeds_add(builder);
    if (!result && builder->row_pages)
        result = sst_pages_write(builder, seq_min, seq_max, &header);
    else if (!result)
        result = encode_block(builder, seq_min, seq_max, &length_bytes);
    if (!result && !builder->row_pages)
        result = sst_builder_emit(builder, SST_MAGIC_BLOCK, length_bytes, &header);
    if (!result)
        result = collect_times(builder, &times);
    if (!result)
        result = add_entry(builder, &header, &times, seq_min, seq_max);
    if (result)
        return result;
    add_sums(builder, &times, seq_min, seq_max);
    sst_rows_clear(rows);
    builder->repeat_count = 0;
    return MOTE_OK;
}
