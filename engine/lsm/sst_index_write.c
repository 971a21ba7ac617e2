/* sst_index_write.c: what a builder writes about its blocks: partitions with their filters, the timestamp section, the footer.
 *
 * Threads: the builder's. Failures: MOTE_EBUDGET, and those of the stream. */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

int sst_entry_list_grow(struct memory *memory, struct sst_entry_list *list, uint32_t entry_bytes, uint8_t **room)
{
    assert(entry_bytes % 8 == 0);
    if (list->bytes_capacity - list->bytes_used < entry_bytes) {
        uint32_t capacity = 2 * list->bytes_capacity + entry_bytes + 4096;
        uint8_t *grown = memory_realloc(memory, list->bytes, capacity);
        if (!grown)
            return MOTE_EBUDGET;
        list->bytes = grown;
        list->bytes_capacity = capacity;
    }
    if (list->count == list->count_capacity) {
        uint32_t capacity = 2 * list->count_capacity + SST_PARTITION_BLOCKS_MAX;
        uint32_t *grown = memory_realloc(memory, list->starts, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        list->starts = grown;
        list->count_capacity = capacity;
    }
    list->starts[list->count++] = list->bytes_used;
    *room = list->bytes + list->bytes_used;
    memset(*room, 0, entry_bytes);
    list->bytes_used += entry_bytes;
    return MOTE_OK;
}

void sst_entry_list_free(struct memory *memory, struct sst_entry_list *list)
{
    memory_free(memory, list->bytes);
    memory_free(memory, list->starts);
    *list = (struct sst_entry_list){0};
}

static uint32_t table_bytes(const struct sst_entry_list *list, uint32_t at) { return (uint32_t)round_up(at + (list->count + 1) * 4, 8) - at; }

uint32_t sst_entry_list_bytes(const struct sst_entry_list *list, uint32_t at) { return table_bytes(list, at) + list->bytes_used; }

void sst_entry_list_store(const struct sst_entry_list *list, uint8_t *structure, uint32_t at)
{
    uint32_t first = at + table_bytes(list, at);
    memset(structure + at, 0, first - at);
    for (uint32_t i = 0; i < list->count; i++)
        store_u32(structure + at + i * 4, first + list->starts[i]);
    store_u32(structure + at + list->count * 4, first + list->bytes_used);
    memcpy(structure + first, list->bytes, list->bytes_used);
}

/* The partition's filter, if its keys came out of order. header->length_bytes 0: none. */
static int write_filter(struct sst_builder *builder, struct sst_header *header)
{
    *header = (struct sst_header){0};
    if (!builder->hashing || builder->hash_count != builder->sums.row_count)
        return MOTE_OK;
    uint32_t length_bytes = sst_filter_bytes(builder->hash_count);
    int result = sst_builder_staging(builder, length_bytes);
    if (result)
        return result;
    sst_filter_build(builder->staging, length_bytes, builder->hashes, builder->hash_count);
    return sst_builder_emit(builder, SST_MAGIC_FILTER, length_bytes, header);
}

static int add_directory_entry(struct sst_builder *builder, const struct sst_header *partition, const struct sst_header *filter)
{
    const struct sst_partition_sums *sums = &builder->sums;
    uint8_t *entry;
    int result = sst_entry_list_grow(builder->memory, &builder->partitions, (uint32_t)round_up(SST_DIRECTORY_ENTRY_BYTES + builder->last_key_bytes, 8), &entry);
    if (result)
        return result;
    store_u64(entry, partition->offset_bytes);
    store_u32(entry + 8, partition->length_bytes);
    store_u32(entry + 12, partition->crc);
    store_u32(entry + 16, sums->first_block);
    store_u32(entry + 20, builder->blocks.count);
    store_u64(entry + 24, sums->first_ordinal);
    store_u64(entry + 32, builder->last_seq);
    store_u64(entry + 40, (uint64_t)sums->time_min_ns);
    store_u64(entry + 48, (uint64_t)sums->time_max_ns);
    store_u32(entry + 56, sums->untimed_delete_count);
    store_u32(entry + 60, filter->length_bytes);
    store_u64(entry + 64, filter->offset_bytes);
    store_u32(entry + 72, filter->crc);
    store_u16(entry + 76, (uint16_t)builder->last_key_bytes);
    memcpy(entry + SST_DIRECTORY_ENTRY_BYTES, builder->last_key, builder->last_key_bytes);
    return MOTE_OK;
}

int sst_partition_write(struct sst_builder *builder)
{
    struct sst_partition_sums *sums = &builder->sums;
    assert(builder->blocks.count > 0 && builder->blocks.count <= SST_PARTITION_BLOCKS_MAX);
    uint32_t length_bytes = SST_PARTITION_HEADER_BYTES + sst_entry_list_bytes(&builder->blocks, SST_PARTITION_HEADER_BYTES);
    int result = sst_builder_staging(builder, length_bytes);
    if (result)
        return result;
    uint8_t *partition = builder->staging;
    memset(partition, 0, SST_PARTITION_HEADER_BYTES);
    store_u32(partition + 32, builder->blocks.count);
    store_u32(partition + 36, builder->schema->column_count);
    store_u32(partition + 40, sums->first_block);
    store_u64(partition + 48, sums->first_ordinal);
    sst_entry_list_store(&builder->blocks, partition, SST_PARTITION_HEADER_BYTES);
    struct sst_header header, filter;
    result = sst_builder_emit(builder, SST_MAGIC_PARTITION, length_bytes, &header);
    if (!result)
        result = write_filter(builder, &filter);
    if (!result)
        result = add_directory_entry(builder, &header, &filter);
    if (result)
        return result;
    /* Where more than one key in 100 came out of order, the next partition's keys will too. */
    bool disordered = builder->options.filter || sums->seq_descent_count * 100 > sums->row_count;
    builder->blocks.count = builder->blocks.bytes_used = 0;
    builder->hash_count = 0;
    builder->hashing = disordered;
    *sums = (struct sst_partition_sums){.first_block = builder->block_count, .first_ordinal = builder->row_count, .time_min_ns = INT64_MAX, .time_max_ns = INT64_MIN};
    return MOTE_OK;
}

/* The timestamp index's pages, each placed as a structure of its own. Offsets count from the first. */
struct page_sink {
    struct sst_builder *builder;
    uint64_t start_bytes;
    bool started;
};

static int place_page(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct page_sink *sink = context;
    uint64_t offset;
    int result = sst_stream_place(&sink->builder->stream, length_bytes, sst_builder_tail_bytes(sink->builder), &offset);
    if (result)
        return result;
    if (!sink->started) {
        sink->started = true;
        sink->start_bytes = offset;
    }
    *offset_bytes = offset - sink->start_bytes;
    return MOTE_OK;
}

static int write_page(void *context, const void *data, uint32_t length_bytes)
{
    struct page_sink *sink = context;
    return sst_stream_write(&sink->builder->stream, data, length_bytes);
}

int sst_timestamps_write(struct sst_builder *builder)
{
    if (!builder->timestamps)
        return MOTE_OK;
    struct page_sink context = {.builder = builder};
    struct section_sink sink = {.place = place_page, .write = write_page, .context = &context};
    struct section_identity identity = {.segment_id = builder->options.segment_id, .section_id = SST_SECTION_ID};
    memcpy(identity.uuid, builder->options.context->uuid, sizeof identity.uuid);
    int result = sst_stream_set_source(&builder->stream, BLOCKDEV_SOURCE_INDEX);
    if (!result)
        result = builder->options.context->timestamps->finish(builder->timestamps, &identity, &sink, &builder->timestamp_root);
    if (!result)
        result = sst_stream_set_source(&builder->stream, builder->options.source);
    builder->timestamp_offset_bytes = context.start_bytes;
    return result;
}

static void store_footer_head(const struct sst_builder *builder, uint8_t *footer)
{
    const struct sst_builder_options *options = &builder->options;
    const struct section_root *root = &builder->timestamp_root;
    memset(footer, 0, SST_FOOTER_HEADER_BYTES);
    store_u64(footer + 32, builder->schema->table_id);
    store_u32(footer + 40, builder->schema->version);
    store_u32(footer + 44, options->level);
    store_u64(footer + 48, options->run_id);
    store_u64(footer + 56, builder->row_count);
    store_u64(footer + 64, builder->delete_count);
    store_u64(footer + 72, builder->seq_min);
    store_u64(footer + 80, builder->seq_max);
    store_u64(footer + 88, (uint64_t)builder->time_min_ns);
    store_u64(footer + 96, (uint64_t)builder->time_max_ns);
    store_u64(footer + 104, builder->timed_count);
    store_u32(footer + 112, builder->block_count);
    store_u32(footer + 116, builder->partitions.count);
    store_u32(footer + 120, builder->schema->column_count);
    if (builder->timestamps) {
        store_u64(footer + 128, builder->timestamp_offset_bytes);
        store_u64(footer + 136, root->length_bytes);
        store_u64(footer + 144, root->root_offset_bytes);
        store_u32(footer + 152, root->root_bytes);
        store_u32(footer + 156, root->root_crc);
        store_u64(footer + 160, SST_SECTION_ID);
    }
}

int sst_footer_write(struct sst_builder *builder, struct sst_header *header)
{
    const struct schema *schema = builder->schema;
    uint32_t directory_at = SST_FOOTER_HEADER_BYTES + schema->column_count * SST_FOOTER_COLUMN_BYTES;
    uint32_t length_bytes = directory_at + sst_entry_list_bytes(&builder->partitions, directory_at);
    assert(length_bytes <= SST_FOOTER_BYTES_MAX);
    int result = sst_builder_staging(builder, length_bytes);
    if (result)
        return result;
    uint8_t *footer = builder->staging;
    store_footer_head(builder, footer);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        uint8_t *column = footer + SST_FOOTER_HEADER_BYTES + i * SST_FOOTER_COLUMN_BYTES;
        store_u64(column, schema->columns[i].id);
        store_u32(column + 8, schema->columns[i].type);
        store_u32(column + 12, schema->columns[i].dimension);
    }
    sst_entry_list_store(&builder->partitions, footer, directory_at);
    return sst_builder_emit(builder, SST_MAGIC_FOOTER, length_bytes, header);
}
