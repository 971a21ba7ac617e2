/* sst_builder.c: rows in (key, seq descending) order in, a segment out (sst.h). Here is decided where blocks, partitions and the segment end; the parts are in sst_builder_private.h.
 *
 * Invariants
 *   1. Rows come in strict order: one that does not is refused, since readers search.
 *   2. While sst_builder_full is false there is room for one row more and everything that must follow it, provided that the reservation is enough for all rows and free space does not lie in pieces shorter than a structure
 *      (else MOTE_ENOSPC).
 *   3. Before finish has succeeded nothing refers to the extents: destroy gives them back.
 * Threads: one, with a queue of its own. Failures: kept; every later call returns the first.
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"
#include "engine/lsm/sst_filter.h"

static int fail(struct sst_builder *builder, int code)
{
    if (!builder->error) {
        builder->error = code;
        (void)error_get(&builder->error_detail);
    }
    return error_restore(&builder->error_detail);
}

int sst_builder_staging(struct sst_builder *builder, size_t size_bytes)
{
    if (size_bytes <= builder->staging_bytes)
        return MOTE_OK;
    memory_free(builder->memory, builder->staging);
    builder->staging_bytes = 0;
    builder->staging = memory_alloc(builder->memory, size_bytes + size_bytes / 8);
    if (!builder->staging)
        return MOTE_EBUDGET;
    builder->staging_bytes = size_bytes + size_bytes / 8;
    return MOTE_OK;
}

static uint32_t key_bytes_bound(const struct schema *schema) { return schema->key_bytes_fixed ? schema->key_bytes_fixed : MOTE_KEY_BYTES_MAX; }

/* What follows the block after the present one, at most: two entries more in the partition, its filter, the timestamp section, the footer; each may begin at a new logical block. */
static uint64_t tail_bound(const struct sst_builder *builder)
{
    uint64_t coming = 2 * (uint64_t)builder->options.block_rows;
    uint64_t partition = SST_PARTITION_HEADER_BYTES + sst_entry_list_bytes(&builder->blocks, SST_PARTITION_HEADER_BYTES) + 2 * (builder->entry_bytes_bound + 8);
    uint64_t filter = builder->hashing ? sst_filter_bytes(builder->sums.row_count + coming) : 0;
    uint64_t times = builder->timestamps ? builder->options.context->timestamps->bytes_bound(builder->row_count + coming) : 0;
    uint64_t footer = SST_FOOTER_HEADER_BYTES + builder->schema->column_count * SST_FOOTER_COLUMN_BYTES + builder->partitions.bytes_used + 2 * (SST_DIRECTORY_ENTRY_BYTES + MOTE_KEY_BYTES_MAX + 16) +
                      builder->partitions.count * 4;
    return partition + filter + times + footer + 6 * (builder->stream.logical_bytes + SST_ALIGN_BYTES);
}

uint64_t sst_builder_tail_bytes(const struct sst_builder *builder) { return tail_bound(builder) + builder->block_bytes_bound; }

uint64_t sst_bytes_bound(const struct schema *schema, uint32_t block_rows, uint64_t rows, uint64_t raw_bytes)
{
    block_rows = block_rows < 1 ? 1 : block_rows > SST_BLOCK_ROWS_MAX ? SST_BLOCK_ROWS_MAX : block_rows;
    uint64_t added_bytes = 0; /* what rows of older versions are given by default */
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].added_in > 1)
            added_bytes += schema->columns[i].value_bytes + (type_is_var(schema->columns[i].type) && !schema->columns[i].default_value.is_null ? schema->columns[i].default_value.as.bytes.size_bytes : 0);
    raw_bytes += rows * added_bytes;
    bool row_pages = schema->flags & MOTE_TABLE_ROW_PAGES;
    if (row_pages && block_rows > SST_PAGES_ROWS_MAX)
        block_rows = SST_PAGES_ROWS_MAX;
    /* A block ends at block_rows rows, or when the next row, at most MOTE_ROW_BYTES_MAX, would exceed half a MiB. */
    uint64_t blocks = 1 + rows / block_rows + (raw_bytes + rows * schema->fixed_bytes) / MOTE_ROW_BYTES_MAX;
    blocks = blocks < rows ? blocks : rows;
    uint64_t rows_a_block = rows < block_rows ? rows : block_rows;
    uint64_t entry_bytes = SST_ENTRY_BYTES + schema->column_count * (SST_ZONE_BYTES + SST_STREAM_BYTES) + 2 * SST_STREAM_BYTES + 2 * key_bytes_bound(schema) + 16;
    uint64_t structures = blocks * (sst_block_bytes_bound(schema, (uint32_t)rows_a_block, 0) + entry_bytes + SST_PARTITION_HEADER_BYTES + SST_DIRECTORY_ENTRY_BYTES + key_bytes_bound(schema) + 3 * SST_ALIGN_BYTES);
    uint64_t filters = rows * SST_FILTER_BITS_PER_KEY / 8 + (divide_up(rows, SST_PARTITION_ROWS_MAX) + blocks) * (SST_FILTER_HEADER_BYTES + 2 * SST_FILTER_LINE_BYTES);
    uint64_t times = schema->time_column >= 0 ? ordinal_index_bytes_max(rows) : 0;
    uint64_t all = raw_bytes + structures + filters + times + SST_FOOTER_HEADER_BYTES + schema->column_count * SST_FOOTER_COLUMN_BYTES + 8 * PAGE_BYTES;
    if (row_pages) {
        uint64_t pages_bytes = sst_pages_block_bound(schema, rows, raw_bytes + rows * schema->fixed_bytes /* tombstones have it too */) + blocks * 3 * SST_PAGE_BYTES; /* what a block leaves in its last page, and what is skipped before it */
        all += pages_bytes - (pages_bytes < raw_bytes ? pages_bytes : raw_bytes) + sst_pages_directory_bound(schema, pages_bytes);
    }
    /* What is skipped at the end of a run is smaller than the structure that follows. */
    uint64_t structure_max = row_pages ? sst_pages_block_bound(schema, rows_a_block, SST_PAGES_RAW_BYTES_MAX) : MOTE_ROW_BYTES_MAX * 2 + 65536;
    uint64_t skipped = (SEGMENT_RUNS_MAX - 1) * structure_max;
    return all + (skipped < all ? skipped : all);
}

static int create_parts(struct sst_builder *builder)
{
    const struct sst_builder_options *options = &builder->options;
    int result = sst_stream_create(&builder->stream);
    if (!result)
        result = sst_rows_create(&builder->rows, builder->memory, builder->schema, options->block_rows, options->block_bytes_max);
    if (!result && builder->schema->time_column >= 0)
        result = options->context->timestamps->create(builder->memory, options->rows_max, &builder->timestamps);
    if (result)
        return result;
    builder->scratch_bytes = codec_scratch_bytes(options->block_rows, SST_BLOCK_RAW_BYTES_MAX);
    builder->scratch = memory_alloc(builder->memory, builder->scratch_bytes);
    builder->hints = memory_alloc_zero(builder->memory, (builder->schema->column_count + 2) * sizeof *builder->hints);
    builder->stream_crcs = memory_alloc_zero(builder->memory, (builder->schema->column_count + 2) * sizeof *builder->stream_crcs);
    return builder->scratch && builder->hints && builder->stream_crcs ? MOTE_OK : MOTE_EBUDGET;
}

int sst_builder_create(const struct sst_builder_options *options, struct sst_builder **builder)
{
    *builder = NULL;
    if (options->block_rows == 0 || options->block_rows > SST_BLOCK_ROWS_MAX || options->block_bytes_max > SST_BLOCK_RAW_BYTES_MAX || options->rows_max > UINT32_MAX)
        return error_set(MOTE_EINVAL, "an SSTable has blocks of 1 to %d rows and at most %d bytes, and at most %u rows; %u, %u and %llu were asked for", SST_BLOCK_ROWS_MAX, SST_BLOCK_RAW_BYTES_MAX,
                         UINT32_MAX, options->block_rows, options->block_bytes_max, (unsigned long long)options->rows_max);
    struct memory *memory = options->context->memory;
    struct sst_builder *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->options = *options;
    made->memory = memory;
    made->schema = options->schema;
    made->hashing = true;
    made->seq_min = UINT64_MAX;
    made->time_min_ns = made->sums.time_min_ns = INT64_MAX;
    made->time_max_ns = made->sums.time_max_ns = INT64_MIN;
    made->row_pages = options->schema->flags & MOTE_TABLE_ROW_PAGES;
    if (made->row_pages && made->options.block_rows > SST_PAGES_ROWS_MAX)
        made->options.block_rows = SST_PAGES_ROWS_MAX;
    if (made->row_pages && made->options.block_bytes_max > SST_PAGES_RAW_BYTES_MAX)
        made->options.block_bytes_max = SST_PAGES_RAW_BYTES_MAX;
    made->block_bytes_bound = sst_block_bytes_bound(options->schema, options->block_rows, options->block_bytes_max);
    made->entry_bytes_bound = SST_ENTRY_BYTES + options->schema->column_count * (SST_ZONE_BYTES + SST_STREAM_BYTES) + 2 * SST_STREAM_BYTES + (uint32_t)round_up(2 * key_bytes_bound(options->schema), 8);
    if (made->row_pages) {
        made->block_bytes_bound = sst_pages_block_bound(options->schema, made->options.block_rows, made->options.block_bytes_max + (uint64_t)MOTE_ROW_BYTES_MAX) + SST_PAGE_BYTES;
        if (made->block_bytes_bound < made->options.block_bytes_max + SST_PAGE_BYTES)
            made->block_bytes_bound = made->options.block_bytes_max + SST_PAGE_BYTES;
        made->pages.directory_bytes_bound = (uint32_t)sst_pages_directory_bound(options->schema, made->block_bytes_bound);
        made->entry_bytes_bound += made->pages.directory_bytes_bound;
    }
    uint64_t likely_bytes = sst_bytes_bound(options->schema, options->block_rows, options->rows_max, options->rows_max * options->schema->fixed_bytes * (options->schema->has_var ? 4 : 1));
    made->stream = (struct sst_stream){.context = options->context, .queue = options->queue, .reservation = options->reservation, .segment_id = options->segment_id, .source = (uint8_t)options->source};
    made->stream.wanted_bytes = likely_bytes < options->segment_bytes_max ? likely_bytes : options->segment_bytes_max;
    int result = create_parts(made);
    if (result) {
        sst_builder_destroy(made);
        return result;
    }
    made->tail_bytes = tail_bound(made);
    *builder = made;
    return MOTE_OK;
}

int sst_builder_emit(struct sst_builder *builder, uint32_t magic, uint32_t length_bytes, struct sst_header *header)
{
    assert(length_bytes >= SST_HEADER_BYTES && length_bytes <= builder->staging_bytes);
    *header = (struct sst_header){.magic = magic, .length_bytes = length_bytes, .segment_id = builder->options.segment_id};
    int result = sst_stream_place(&builder->stream, length_bytes, sst_builder_tail_bytes(builder), &header->offset_bytes);
    if (result)
        return result;
    sst_header_store(builder->staging, builder->options.context->uuid, header, builder->stream_crcs);
    return sst_stream_write(&builder->stream, builder->staging, length_bytes);
}

static int end_block(struct sst_builder *builder)
{
    int result = sst_block_write(builder);
    if (result)
        return result;
    const struct sst_partition_sums *sums = &builder->sums;
    if (builder->hashing && !builder->options.filter && sums->seq_descent_count * 100 <= sums->row_count) {
        builder->hashing = false;
        builder->hash_count = 0;
    }
    uint32_t partition_bytes = SST_PARTITION_HEADER_BYTES + sst_entry_list_bytes(&builder->blocks, SST_PARTITION_HEADER_BYTES) + 8 /* the next one's start, rounded */;
    bool partition_ends = builder->blocks.count == SST_PARTITION_BLOCKS_MAX || sums->row_count >= SST_PARTITION_ROWS_MAX ||
                          (builder->row_pages ? builder->blocks.bytes_used > SST_PARTITION_BYTES_MAX / 2 : partition_bytes + builder->entry_bytes_bound > SST_PARTITION_BYTES_MAX);
    if (partition_ends)
        result = sst_partition_write(builder);
    builder->tail_bytes = tail_bound(builder);
    return result;
}

static int note_hash(struct sst_builder *builder, const struct record *record)
{
    if (builder->hash_count == builder->hash_capacity) {
        uint32_t capacity = 2 * builder->hash_capacity + builder->options.block_rows;
        uint64_t *grown = memory_realloc(builder->memory, builder->hashes, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        builder->hashes = grown;
        builder->hash_capacity = capacity;
    }
    builder->hashes[builder->hash_count++] = sst_key_hash(record->key, record->key_bytes);
    return MOTE_OK;
}

static int refuse_order(struct sst_builder *builder)
{
    error_set(MOTE_EINTERNAL, "a row of table %s did not come in the order of its key; please report it", builder->schema->name);
    error_add_table(builder->schema->name);
    return fail(builder, MOTE_EINTERNAL);
}

static inline void prefetch_image(const uint8_t *image, uint32_t image_bytes)
{
    uint32_t end = image_bytes < 512 ? image_bytes : 512;
    for (uint32_t at = 0; at < end; at += 64)
        __builtin_prefetch(image + at);
}

int sst_builder_add(struct sst_builder *builder, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy)
{
    if (builder->error)
        return fail(builder, builder->error);
    assert(record->key_bytes <= MOTE_KEY_BYTES_MAX && !builder->finished);
    struct sst_rows *rows = &builder->rows;
    if (!copy && image)
        prefetch_image(image, image_bytes); /* The block's gathering comes for it later. */
    bool repeats = false;
    if (builder->row_count + rows->count > 0) {
        int order = key_compare(builder->last_key, builder->last_key_bytes, record->key, record->key_bytes);
        repeats = order == 0;
        if (order > 0 || (repeats && record->seq >= builder->last_seq))
            return refuse_order(builder);
    }
    if (builder->row_count + rows->count >= builder->options.rows_max)
        return fail(builder, error_set(MOTE_EINTERNAL, "more rows of table %s came than were announced; please report it", builder->schema->name));
    uint64_t raw_bytes = sst_rows_raw_bytes(rows, record, image_schema, image_bytes);
    int result = MOTE_OK;
    if (rows->count == rows->capacity || (rows->count > 0 && rows->raw_bytes + raw_bytes > builder->options.block_bytes_max))
        result = end_block(builder);
    if (!result)
        result = sst_rows_add(rows, record, image_schema, image, image_bytes, copy, raw_bytes);
    if (!result && builder->hashing)
        result = note_hash(builder, record);
    if (result)
        return fail(builder, result);
    if (rows->count == 1) {
        memcpy(builder->first_key, record->key, record->key_bytes);
        builder->first_key_bytes = record->key_bytes;
    } else {
        builder->repeat_count += repeats;
    }
    memcpy(builder->last_key, record->key, record->key_bytes);
    builder->last_key_bytes = record->key_bytes;
    builder->last_seq = record->seq;
    return MOTE_OK;
}

/* Whether one row more has no room for sure, when the present block holds rows_bytes. */
static bool lacks_room_at(const struct sst_builder *builder, uint64_t rows_bytes)
{
    uint64_t row_max = builder->schema->has_var ? (uint64_t)MOTE_ROW_BYTES_MAX : builder->schema->fixed_bytes;
    uint64_t overhead = builder->block_bytes_bound - builder->options.block_bytes_max; /* of a block, beyond its rows */
    /* The present block, one row more (perhaps in a block of its own), what follows, and what may be skipped at the end of a run. */
    uint64_t tail = builder->tail_bytes, pending = rows_bytes + row_max + 2 * overhead;
    uint64_t room = sst_stream_room(&builder->stream), skip = builder->stream.run_count < SEGMENT_RUNS_MAX ? pending : 0;
    bool footer_full = builder->partitions.bytes_used + 4 * builder->partitions.count + SST_FOOTER_HEADER_BYTES + builder->schema->column_count * SST_FOOTER_COLUMN_BYTES +
                           4 * (SST_DIRECTORY_ENTRY_BYTES + MOTE_KEY_BYTES_MAX) > SST_FOOTER_BYTES_MAX;
    return pending + tail + skip > room || footer_full;
}

/* The same, or the segment is as large as it was meant to be. The size is a wish, the room a need: where keys vary, the page directories could be a hundred times what they are. */
static bool is_full_at(const struct sst_builder *builder, uint64_t rows_bytes)
{
    uint64_t likely_tail = builder->tail_bytes - 2ull * builder->pages.directory_bytes_bound + 2ull * builder->pages.directory_bytes_most;
    return builder->stream.at + rows_bytes + likely_tail >= builder->options.segment_bytes_max || lacks_room_at(builder, rows_bytes);
}

static bool took_all(const struct sst_builder *builder) { return builder->row_count + builder->rows.count >= builder->options.rows_max; }

bool sst_builder_full(const struct sst_builder *builder) { return is_full_at(builder, builder->rows.raw_bytes) || took_all(builder); }

bool sst_builder_feeds_full(const struct sst_builder *builder) { return builder->feeds_full; }

uint32_t sst_builder_spare_extents(const struct sst_builder *builder)
{
    uint64_t overhead = builder->block_bytes_bound - builder->options.block_bytes_max;
    uint64_t wanted = builder->rows.raw_bytes + overhead + builder->tail_bytes, left = builder->stream.end - builder->stream.at;
    return left > wanted ? (uint32_t)((left - wanted) / builder->options.context->layout->extent_bytes) : 0;
}

bool sst_builder_must_end(const struct sst_builder *builder) { return lacks_room_at(builder, builder->rows.raw_bytes) || took_all(builder); }

/* How many rows of that size go into the present block before anything must be decided. */
static uint32_t count_fitting(const struct sst_builder *builder, uint32_t wanted, uint64_t row_bytes)
{
    const struct sst_rows *rows = &builder->rows;
    uint64_t announced = builder->options.rows_max - (builder->row_count + rows->count);
    uint64_t room = rows->raw_bytes < builder->options.block_bytes_max ? (builder->options.block_bytes_max - rows->raw_bytes) / row_bytes : 0;
    uint32_t count = wanted < rows->capacity - rows->count ? wanted : rows->capacity - rows->count;
    count = count < announced ? count : (uint32_t)announced;
    count = count < room ? count : (uint32_t)room;
    return count > 0 && is_full_at(builder, rows->raw_bytes + (count - 1) * row_bytes) ? 0 : count;
}

int sst_builder_add_stretch(struct sst_builder *builder, const struct record_stretch *stretch)
{
    if (builder->error)
        return fail(builder, builder->error);
    assert(stretch->count > 0 && stretch->count <= INT32_MAX && !builder->finished);
    struct sst_rows *rows = &builder->rows;
    uint64_t row_bytes = round_up(stretch->image_bytes, 8);
    uint32_t count = rows->count == 0 || stretch->schema != builder->schema ? 0 : count_fitting(builder, stretch->count, row_bytes);
    if (count == 0)
        return 0;
    const uint8_t *last = stretch->rows + (uint64_t)(count - 1) * stretch->row_bytes;
    if (key_compare(builder->last_key, builder->last_key_bytes, stretch->rows + RECORD_STRETCH_KEY_AT, stretch->key_bytes) >= 0)
        return refuse_order(builder);
    assert(count == 1 || memcmp(stretch->rows + RECORD_STRETCH_KEY_AT, last + RECORD_STRETCH_KEY_AT, stretch->key_bytes) < 0);
    sst_rows_add_stretch(rows, stretch, count);
    for (uint32_t i = 0; i < count && builder->hashing; i++) {
        struct record record = {.key = stretch->rows + (uint64_t)i * stretch->row_bytes + RECORD_STRETCH_KEY_AT, .key_bytes = stretch->key_bytes};
        int result = note_hash(builder, &record);
        if (result)
            return fail(builder, result);
    }
    memcpy(builder->last_key, last + RECORD_STRETCH_KEY_AT, stretch->key_bytes);
    builder->last_key_bytes = stretch->key_bytes;
    builder->last_seq = load_u64(last);
    return (int)count;
}

static void fill_record(const struct sst_builder *builder, const struct sst_header *footer, struct segment_record *record)
{
    const struct sst_stream *stream = &builder->stream;
    *record = (struct segment_record){.id = builder->options.segment_id, .table_id = builder->schema->table_id, .schema_version = builder->schema->version};
    record->level = builder->options.level;
    record->run_id = builder->options.run_id;
    record->row_count = builder->row_count;
    record->delete_count = builder->delete_count;
    record->seq_min = builder->seq_min;
    record->seq_max = builder->seq_max;
    record->time_min = builder->time_min_ns;
    record->time_max = builder->time_max_ns;
    record->segment_bytes = stream->at;
    record->footer_offset_bytes = footer->offset_bytes;
    record->footer_bytes = footer->length_bytes;
    record->footer_crc = footer->crc;
    record->block_count = builder->block_count;
    record->extent_run_count = stream->run_count;
    memcpy(record->runs, stream->runs, stream->run_count * sizeof *stream->runs);
    record->min_key = builder->min_key;
    record->max_key = builder->max_key;
}

int sst_builder_finish(struct sst_builder *builder, struct segment_record *record)
{
    if (builder->error)
        return fail(builder, builder->error);
    assert(!builder->finished);
    if (builder->row_count + builder->rows.count == 0)
        return fail(builder, error_set(MOTE_EINTERNAL, "an SSTable of table %s without rows was asked for; please report it", builder->schema->name));
    struct sst_header footer = {0};
    int result = builder->rows.count ? end_block(builder) : MOTE_OK;
    if (!result && builder->blocks.count)
        result = sst_partition_write(builder);
    if (!result)
        result = sst_timestamps_write(builder);
    if (!result)
        result = sst_footer_write(builder, &footer);
    if (!result)
        result = sst_stream_finish(&builder->stream);
    if (result)
        return fail(builder, result);
    sst_stream_trim(&builder->stream);
    fill_record(builder, &footer, record);
    builder->finished = true;
    return MOTE_OK;
}

uint32_t sst_builder_failed_extent(const struct sst_builder *builder) { return builder->stream.failed_extent; }

void sst_builder_destroy(struct sst_builder *builder)
{
    if (!builder)
        return;
    struct memory *memory = builder->memory;
    sst_stream_destroy(&builder->stream, builder->finished);
    sst_rows_destroy(&builder->rows);
    builder->options.context->timestamps->destroy(builder->timestamps);
    sst_entry_list_free(memory, &builder->blocks);
    sst_entry_list_free(memory, &builder->partitions);
    sst_pages_free(builder);
    memory_free(memory, builder->hashes);
    memory_free(memory, builder->staging);
    memory_free(memory, builder->scratch);
    memory_free(memory, builder->hints);
    memory_free(memory, builder->stream_crcs);
    memory_free(memory, builder);
}
