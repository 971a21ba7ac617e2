/* sst_timestamp.c: the timestamp section of a segment: where it lies (inside, or rebuilt in extents of its own), reading it through the cache, building it anew. This is the only place where the LSM meets an index, through the
 * callbacks of index/index.h alone.
 *
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, MOTE_ENOSPC.
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"
#include "engine/lsm/sst_reader_private.h"
#include "blockdev/section.h"

struct page_check {
    int (*check)(const uint8_t *data, uint32_t length_bytes, void *context);
    void *context;
};

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct sst_section *section = context;
    struct sst_iterator *iterator = section->iterator;
    struct cache_key key = {section->segment_id, section->start_bytes + offset_bytes};
    uint64_t device_offset, contiguous_bytes = length_bytes;
    if (length_bytes == 0 || offset_bytes > section->length_bytes || length_bytes > section->length_bytes - offset_bytes)
        return sst_refuse(iterator, section->start_bytes, section->length_bytes, "a page of the timestamp index lies outside of it");
    if (section->rebuilt) {
        key.offset_bytes = SST_SECTION_KEY(section->section_id) + offset_bytes;
        device_offset = layout_extent_offset(iterator->context->layout, section->rebuilt->run.first) + offset_bytes;
    } else {
        device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, section->start_bytes + offset_bytes, length_bytes, &contiguous_bytes);
    }
    if (contiguous_bytes < length_bytes)
        return sst_refuse(iterator, section->start_bytes + offset_bytes, length_bytes, "a page of the timestamp index does not lie in one run");
    struct cache_entry *entry;
    int result = cache_get(iterator->context->cache, key, iterator->queue, device_offset, length_bytes, check, check_context, &entry, data);
    *handle = entry;
    if (result == MOTE_EDAMAGED) {
        error_add_device(blockdev_path(iterator->context->device), device_offset, length_bytes);
        error_add_table(sst_table_name(iterator));
    }
    return result;
}

static void release_page(void *context, void *handle)
{
    struct sst_section *section = context;
    cache_release(section->iterator->context->cache, handle);
}

int sst_section_open(struct sst_iterator *iterator, struct sst_section *section, struct section_identity *identity, struct section_root *root, struct section_source *source)
{
    const struct segment_section *rebuilt = &iterator->segment->record.timestamp;
    int result = sst_footer_pin(iterator);
    if (result)
        return result;
    const struct sst_footer *footer = &iterator->footer;
    *section = (struct sst_section){.iterator = iterator, .segment_id = iterator->segment_id};
    *root = (struct section_root){.kind = iterator->context->timestamps->kind};
    if (rebuilt->run.count > 0) {
        section->rebuilt = rebuilt;
        section->section_id = rebuilt->section_id;
        root->length_bytes = rebuilt->length_bytes;
        root->root_offset_bytes = rebuilt->root_offset_bytes;
        root->root_bytes = rebuilt->root_bytes;
        root->root_crc = rebuilt->root_crc;
        if (rebuilt->length_bytes > rebuilt->run.count * iterator->context->layout->extent_bytes)
            return sst_refuse(iterator, 0, 0, "the rebuilt timestamp index is longer than its extents");
    } else {
        if (footer->timestamp_offset_bytes == 0)
            return MOTE_ENOTFOUND;
        section->start_bytes = footer->timestamp_offset_bytes;
        section->section_id = footer->section_id;
        root->length_bytes = footer->timestamp_length_bytes;
        root->root_offset_bytes = footer->timestamp_root_offset_bytes;
        root->root_bytes = footer->timestamp_root_bytes;
        root->root_crc = footer->timestamp_root_crc;
        uint64_t segment_bytes = iterator->segment->record.segment_bytes;
        if (section->start_bytes > segment_bytes || root->length_bytes > segment_bytes - section->start_bytes)
            return sst_refuse(iterator, section->start_bytes, 0, "the timestamp index lies outside of the segment");
    }
    section->length_bytes = root->length_bytes;
    *identity = (struct section_identity){.segment_id = iterator->segment_id, .section_id = section->section_id};
    memcpy(identity->uuid, iterator->context->uuid, sizeof identity->uuid);
    *source = (struct section_source){.read = read_page, .release = release_page, .context = section};
    return MOTE_OK;
}

/* What is asked of the section: its rows in the range one after the other, or their number. */
struct range_question {
    int64_t from_ns, to_ns;
    int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count); /* NULL: the number */
    void *visit_context;
    uint64_t count;
};

static int ask_section(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, struct range_question *question)
{
    struct sst_iterator *iterator;
    struct sst_section section;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
    int result = sst_iterator_create(context, queue, &iterator);
    if (result)
        return result;
    /* The footer is all that is needed of the segment: an iterator without a schema. */
    iterator->segment = segment;
    iterator->segment_id = segment->record.id;
    result = sst_section_open(iterator, &section, &identity, &root, &source);
    if (!result) {
        result = question->visit ? context->timestamps->search(&identity, &root, &source, context->memory, question->from_ns, question->to_ns, question->visit, question->visit_context)
                                 : context->timestamps->count(&identity, &root, &source, context->memory, question->from_ns, question->to_ns, &question->count);
        if (result == MOTE_EDAMAGED || result == MOTE_EIO)
            atomic_store(&segment->timestamp_unusable, 1);
    }
    sst_iterator_destroy(iterator);
    return result;
}

int sst_timestamp_search(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, int64_t from_ns, int64_t to_ns,
                         int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count), void *visit_context)
{
    struct range_question question = {.from_ns = from_ns, .to_ns = to_ns, .visit = visit, .visit_context = visit_context};
    return ask_section(context, queue, segment, &question);
}

int sst_timestamp_count(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, int64_t from_ns, int64_t to_ns, uint64_t *count)
{
    struct range_question question = {.from_ns = from_ns, .to_ns = to_ns};
    int result = ask_section(context, queue, segment, &question);
    *count = question.count;
    return result;
}

/* ---- Rebuilding ---- */

static int collect_rows(struct sst_iterator *iterator, struct ordinal_index *builder)
{
    uint64_t ordinal = 0;
    int moved = sst_first(iterator);
    for (; moved > 0; moved = sst_next(iterator), ordinal++) {
        int64_t time_ns;
        bool has_time;
        int result = sst_time(iterator, &time_ns, &has_time);
        if (!result && has_time)
            result = iterator->context->timestamps->add(builder, (uint32_t)ordinal, time_ns);
        if (result)
            return result;
    }
    return moved;
}

struct rebuilt {
    const struct ordinal_index_ops *ops;
    struct ordinal_index *builder;
};

static int fill_section(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct rebuilt *rebuilt = context;
    return rebuilt->ops->finish(rebuilt->builder, identity, sink, root);
}

int sst_rebuild_timestamp(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, uint64_t section_id, struct segment_section *section)
{
    struct rebuilt rebuilt = {.ops = context->timestamps};
    struct sst_section_write write = {.context = context, .queue = queue, .segment_id = segment->record.id, .section_id = section_id, .fill = fill_section, .fill_context = &rebuilt, .standing = true};
    struct sst_iterator *iterator;
    write.bytes_max = context->timestamps->bytes_bound(segment->record.row_count);
    int result = sst_iterator_create(context, queue, &iterator);
    if (result)
        return result;
    result = sst_iterator_open(iterator, segment, schema);
    if (!result)
        result = context->timestamps->create(context->memory, segment->record.row_count, &rebuilt.builder);
    if (!result)
        result = collect_rows(iterator, rebuilt.builder);
    sst_iterator_destroy(iterator);
    if (!result)
        result = sst_section_write(&write, section);
    context->timestamps->destroy(rebuilt.builder);
    return result;
}
