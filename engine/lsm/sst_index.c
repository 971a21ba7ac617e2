/* sst_index.c: sections of declared indexes: written into extents of their own beside a segment, read through the cache, built anew from rows. What is in them is the index's business (struct row_index_ops); that they are there, the
 * manifest's.
 *
 * Reading: a page at a time, or those that a search announces (prefetch) with up to READS_MAX requests in flight.
 * Threads: whoever uses the section; its queue is his. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, MOTE_ENOSPC.
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"
#include "engine/lsm/sst_reader_private.h"

#define READS_MAX 32u

const struct row_index_ops *sst_index_ops(const struct sst_context *context, uint32_t kind)
{
    for (uint32_t i = 0; context->indexes && context->indexes[i]; i++)
        if (context->indexes[i]->kind == kind)
            return context->indexes[i];
    return NULL;
}

/* ---- Reading ---- */

static uint64_t page_place(const struct sst_index_section *section, uint64_t offset_bytes) { return layout_extent_offset(section->context->layout, section->place.run.first) + offset_bytes; }

static struct cache_key page_key(const struct sst_index_section *section, uint64_t offset_bytes)
{
    return (struct cache_key){section->segment->record.id, SST_SECTION_KEY(section->place.section_id) + offset_bytes};
}

static bool is_inside(const struct sst_index_section *section, uint64_t offset_bytes, uint32_t length_bytes)
{
    return length_bytes != 0 && offset_bytes <= section->place.length_bytes && length_bytes <= section->place.length_bytes - offset_bytes;
}

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct sst_index_section *section = context;
    struct cache_entry *entry = NULL;
    int result;
    if (is_inside(section, offset_bytes, length_bytes))
        result = cache_get(section->context->cache, page_key(section, offset_bytes), section->queue, page_place(section, offset_bytes), length_bytes, check, check_context, &entry, data);
    else
        result = error_set(MOTE_EDAMAGED, "a page of an index of segment %llu lies outside of its section; the index is rebuilt from rows", (unsigned long long)section->segment->record.id);
    *handle = entry;
    if (result == MOTE_EDAMAGED)
        error_add_device(blockdev_path(section->context->device), page_place(section, 0), section->place.length_bytes);
    return result;
}

static void release_page(void *context, void *handle)
{
    struct sst_index_section *section = context;
    cache_release(section->context->cache, handle);
}

struct ahead {
    struct sst_index_section *section;
    int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context);
    const struct section_page *pages[READS_MAX];
    struct cache_fill fills[READS_MAX];
    struct blockdev_request requests[READS_MAX];
    uint32_t count;
};

/* Reads what was begun. A page that fails is no error here: whoever needs it reads it again and tells. */
static void read_ahead(struct ahead *ahead)
{
    struct blockdev_queue *queue = ahead->section->queue;
    struct blockdev_request *batch[READS_MAX], *done[READS_MAX];
    uint32_t submitted = 0, ended = 0;
    bool ends[READS_MAX] = {false}, failed = false;
    for (uint32_t i = 0; i < ahead->count; i++)
        batch[i] = &ahead->requests[i];
    while (!failed && ended < ahead->count) {
        int taken = submitted < ahead->count ? blockdev_submit(queue, batch + submitted, ahead->count - submitted) : 0;
        submitted += taken > 0 ? (uint32_t)taken : 0;
        int count = blockdev_queue_inflight(queue) > 0 ? blockdev_reap(queue, 1, -1, done, READS_MAX) : 0;
        failed = taken < 0 || count < 0 || (taken == 0 && count == 0);
        for (int i = 0; i < count; i++, ended++) {
            uint32_t at = (uint32_t)(done[i] - ahead->requests);
            struct cache_fill *fill = &ahead->fills[at];
            bool good = done[i]->result == MOTE_OK && ahead->check(fill->data, ahead->pages[at]->length_bytes, ahead->pages[at]->check_context) == MOTE_OK;
            cache_fill_end(ahead->section->context->cache, fill, good);
            ends[at] = true;
        }
    }
    for (uint32_t i = submitted; i < ahead->count; i++)
        if (!ends[i])
            cache_fill_end(ahead->section->context->cache, &ahead->fills[i], false);
    ahead->count = 0;
}

static void prefetch_pages(void *context, const struct section_page *pages, uint32_t count, int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context))
{
    struct sst_index_section *section = context;
    const struct blockdev_geometry *geometry = blockdev_geometry(section->context->device);
    struct ahead ahead = {.section = section, .check = check};
    struct mote_error kept;
    int code = error_get(&kept);
    for (uint32_t i = 0; i < count; i++) {
        const struct section_page *page = &pages[i];
        struct cache_fill *fill = &ahead.fills[ahead.count];
        if (!is_inside(section, page->offset_bytes, page->length_bytes) || page->length_bytes + 2 * geometry->logical_block_bytes > geometry->request_bytes_max)
            continue;
        if (cache_fill_begin(section->context->cache, page_key(section, page->offset_bytes), geometry->logical_block_bytes, page_place(section, page->offset_bytes), page->length_bytes, fill) != 1)
            continue;
        ahead.pages[ahead.count] = page;
        ahead.requests[ahead.count++] = (struct blockdev_request){.op = BLOCKDEV_READ, .length_bytes = (uint32_t)fill->size_bytes, .offset_bytes = fill->from_bytes, .buffer = fill->buffer};
        if (ahead.count == READS_MAX)
            read_ahead(&ahead);
    }
    if (ahead.count)
        read_ahead(&ahead);
    if (code)
        error_restore(&kept);
}

void sst_index_open(struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct segment_section *place, uint32_t kind, struct sst_index_section *section)
{
    *section = (struct sst_index_section){.context = context, .queue = queue, .segment = segment, .place = *place};
    section->identity = (struct section_identity){.segment_id = segment->record.id, .section_id = place->section_id};
    memcpy(section->identity.uuid, context->uuid, sizeof section->identity.uuid);
    section->root = (struct section_root){.kind = kind, .length_bytes = place->length_bytes, .root_offset_bytes = place->root_offset_bytes, .root_bytes = place->root_bytes, .root_crc = place->root_crc};
    section->source = (struct section_source){.read = read_page, .release = release_page, .context = section, .prefetch = prefetch_pages};
}

int sst_index_verify(struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct segment_section *place, const struct row_index_ops *ops)
{
    struct sst_index_section section;
    sst_index_open(context, queue, segment, place, ops->kind, &section);
    return ops->verify(&section.identity, &section.root, &section.source, context->memory, segment->record.row_count);
}

/* ---- Writing ---- */

static int place_page(void *context, uint32_t length_bytes, uint64_t *offset_bytes) { return sst_stream_place(context, length_bytes, 0, offset_bytes); }
static int write_page(void *context, const void *data, uint32_t length_bytes) { return sst_stream_write(context, data, length_bytes); }

static int write_pages(const struct sst_section_write *write, struct sst_stream *stream, const struct section_identity *identity, uint64_t bound_bytes, struct segment_section *place)
{
    struct section_sink sink = {.place = place_page, .write = write_page, .context = stream};
    struct section_root root;
    uint64_t start;
    /* A section lies in one run: it is taken as a whole before the first page. */
    int result = sst_stream_place(stream, bound_bytes, 0, &start);
    if (!result)
        result = write->fill(write->fill_context, identity, &sink, &root);
    if (!result)
        result = sst_stream_finish(stream);
    if (result)
        return result;
    assert(start == 0 && stream->run_count == 1);
    sst_stream_trim(stream);
    *place = (struct segment_section){.run = stream->runs[0], .section_id = identity->section_id, .length_bytes = root.length_bytes, .root_offset_bytes = root.root_offset_bytes};
    place->root_bytes = root.root_bytes;
    place->root_crc = root.root_crc;
    return MOTE_OK;
}

int sst_section_write(const struct sst_section_write *write, struct segment_section *place)
{
    struct sst_context *context = write->context;
    struct section_identity identity = {.segment_id = write->segment_id, .section_id = write->section_id};
    struct extent_reservation reservation = {0};
    struct sst_stream stream = {.context = context, .queue = write->queue, .reservation = &reservation, .segment_id = write->segment_id, .source = BLOCKDEV_SOURCE_INDEX};
    uint64_t bound_bytes = write->bytes_max + PAGE_BYTES, extents = divide_up(bound_bytes, context->layout->extent_bytes) + 1;
    memcpy(identity.uuid, context->uuid, sizeof identity.uuid);
    int result = extents_reserve(context->extents, extents < UINT32_MAX ? (uint32_t)extents : UINT32_MAX, write->standing, &reservation);
    if (result)
        return result;
    if (write->stream)
        *write->stream = &stream;
    result = sst_stream_create(&stream);
    if (!result)
        result = write_pages(write, &stream, &identity, bound_bytes, place);
    if (write->stream)
        *write->stream = NULL;
    sst_stream_destroy(&stream, result == MOTE_OK);
    /* Nobody else learns of the extent that failed: it is out of use until the next open, which may try it again. */
    if (result && stream.failed_extent != UINT32_MAX)
        extents_retire(context->extents, stream.failed_extent);
    extents_unreserve(context->extents, &reservation);
    return result;
}

struct builder_fill {
    const struct row_index_ops *ops;
    struct row_index *builder;
};

static int fill_from_builder(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct builder_fill *fill = context;
    return fill->ops->finish(fill->builder, identity, sink, root);
}

/* stream: as in struct sst_section_write. */
static int write_index(struct sst_context *context, struct blockdev_queue *queue, uint64_t segment_id, const struct row_index_ops *ops, struct row_index *builder, uint64_t section_id, struct sst_stream **stream, struct segment_section *place)
{
    struct builder_fill fill = {ops, builder};
    struct sst_section_write write = {.context = context, .queue = queue, .segment_id = segment_id, .section_id = section_id, .fill = fill_from_builder, .fill_context = &fill, .stream = stream};
    int result = ops->complete ? ops->complete(builder) : MOTE_OK;
    if (result)
        return result;
    write.bytes_max = ops->section_bytes_bound(builder);
    return sst_section_write(&write, place);
}

int sst_index_write(struct sst_context *context, struct blockdev_queue *queue, uint64_t segment_id, const struct row_index_ops *ops, struct row_index *builder, uint64_t section_id, struct segment_section *place)
{
    return write_index(context, queue, segment_id, ops, builder, section_id, NULL, place);
}

/* ---- Feeding ---- */

void sst_feeds_add(struct sst_builder *builder)
{
    const struct sst_rows *rows = &builder->rows;
    for (uint32_t i = 0; i < builder->options.feed_count; i++) {
        struct sst_index_feed *feed = &builder->options.feeds[i];
        struct codec_vector columns[ROW_INDEX_COLUMNS_MAX];
        if (!feed->builder)
            continue;
        for (uint32_t k = 0; k < feed->column_count; k++)
            columns[k] = rows->vectors[feed->columns[k]];
        if (feed->ops->add(feed->builder, (uint32_t)builder->row_count, columns, feed->column_count, rows->delete_count ? rows->kinds : NULL)) {
            feed->ops->destroy(feed->builder);
            feed->builder = NULL;
            continue;
        }
        builder->feeds_full |= feed->ops->full && feed->ops->full(feed->builder);
    }
}

static int feed_blocks(struct sst_iterator *iterator, struct sst_index_feed *feed)
{
    uint32_t ordinal = 0;
    int moved = sst_first(iterator);
    for (; moved > 0; moved = sst_next_block(iterator)) {
        struct codec_vector columns[ROW_INDEX_COLUMNS_MAX];
        const uint8_t *deleted;
        int result = sst_block_deleted(iterator, &deleted);
        for (uint32_t k = 0; k < feed->column_count && !result; k++)
            result = sst_block_column(iterator, feed->columns[k], &columns[k]);
        if (!result)
            result = feed->ops->add(feed->builder, ordinal, columns, feed->column_count, deleted);
        if (result)
            return result;
        ordinal += sst_block_row_count(iterator);
    }
    return moved;
}

int sst_index_build(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, const uint8_t *options, uint32_t options_bytes, struct sst_index_feed *feed, uint64_t section_id,
                    struct segment_section *place)
{
    struct sst_iterator *iterator;
    struct sst_scratch_sections sections;
    int result = sst_iterator_create(context, queue, &iterator);
    if (result)
        return result;
    feed->builder = NULL;
    sst_scratch_sections_open(&sections, context, queue, segment, feed);
    result = sst_iterator_open(iterator, segment, schema);
    if (!result)
        result = feed->ops->create(context->memory, options, options_bytes, segment->record.row_count, &feed->builder);
    if (!result && feed->ops->set_limit)
        feed->ops->set_limit(feed->builder, memory_budget_bytes(context->memory) / SST_INDEX_BUDGET_SHARE, feed->manifest ? &sections.scratch : NULL);
    if (!result)
        result = feed_blocks(iterator, feed);
    sst_iterator_destroy(iterator);
    if (!result)
        result = write_index(context, queue, segment->record.id, feed->ops, feed->builder, section_id, &sections.stream, place);
    if (feed->builder)
        feed->ops->destroy(feed->builder);
    feed->builder = NULL;
    return result;
}
