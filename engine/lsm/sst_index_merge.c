/* sst_index_merge.c: a section of a declared index out of those of the segments whose rows were merged (struct row_index_ops, merge), for kinds whose rows cost more to index than to copy.
 *
 * Reading: the pages of an input come about in the order in which they lie, those of several streams mixed. So each input is read in windows of up to WINDOW_BYTES, beside the cache, and the pages in use are copied out of them; a page that is
 * asked for again soon is still there. A page is checked when it is copied.
 * Invariant: the queue is idle when a window is read: what the section that is being written has in flight is waited for.
 * Memory: WINDOW_BYTES and at most PAGES_MAX pages for each input. Threads: the job's. Failures: MOTE_EIO, MOTE_EDAMAGED (an input), MOTE_EBUDGET, MOTE_ENOSPC; nothing is left of a section that failed.
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

#define WINDOW_BYTES (256u * 1024u)
#define PAGES_MAX 12u /* a root, a table, and one of each stream are in use at a time */

struct kept_page {
    uint64_t offset_bytes, used; /* used: when last */
    uint32_t length_bytes, capacity_bytes, references;
    uint8_t *bytes;
};

struct input {
    struct merge *merge;
    const struct sst_index_origin *origin;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
    uint8_t *window;
    uint64_t window_start_bytes, window_end_bytes; /* in the section; equal: nothing was read */
    uint64_t uses;
    struct kept_page pages[PAGES_MAX];
};

struct merge {
    struct sst_context *context;
    struct blockdev_queue *queue;
    struct sst_stream *stream; /* that is writing by the queue; NULL: none */
    const struct sst_index_merge *what;
    struct input *inputs;
    struct section_merge_input *given;
};

static int refuse(const struct input *input)
{
    return error_set(MOTE_EDAMAGED, "a page of an index of segment %llu lies outside of its section; the index is rebuilt from rows", (unsigned long long)input->identity.segment_id);
}

static int read_window(struct input *input, uint64_t offset_bytes, uint32_t length_bytes)
{
    const struct sst_context *context = input->merge->context;
    const struct segment_section *place = &input->origin->place;
    uint64_t start = offset_bytes / PAGE_BYTES * PAGE_BYTES, end = start + WINDOW_BYTES, extents_bytes = place->run.count * context->layout->extent_bytes;
    assert(length_bytes + PAGE_BYTES <= WINDOW_BYTES);
    end = end < extents_bytes ? end : extents_bytes;
    int result = input->merge->stream ? sst_stream_wait(input->merge->stream) : MOTE_OK;
    if (!result && !input->window && !(input->window = memory_alloc_aligned(context->memory, WINDOW_BYTES, PAGE_BYTES)))
        result = MOTE_EBUDGET;
    input->window_start_bytes = input->window_end_bytes = 0;
    if (!result)
        result = blockdev_read_range(input->merge->queue, layout_extent_offset(context->layout, place->run.first) + start, input->window, end - start);
    if (result)
        return result;
    input->window_start_bytes = start;
    input->window_end_bytes = end;
    return MOTE_OK;
}

/* The page if it is kept, else NULL and in *room the one that was least recently used of those that nobody holds. */
static struct kept_page *find_page(struct input *input, uint64_t offset_bytes, uint32_t length_bytes, struct kept_page **room)
{
    *room = NULL;
    for (uint32_t i = 0; i < PAGES_MAX; i++) {
        struct kept_page *page = &input->pages[i];
        if (page->length_bytes == length_bytes && page->offset_bytes == offset_bytes)
            return page;
        if (!page->references && (!*room || page->used < (*room)->used))
            *room = page;
    }
    return NULL;
}

static int copy_page(struct input *input, uint64_t offset_bytes, uint32_t length_bytes, struct kept_page *page)
{
    struct memory *memory = input->merge->context->memory;
    page->length_bytes = 0;
    if (page->capacity_bytes < length_bytes) {
        memory_free(memory, page->bytes);
        page->capacity_bytes = 0;
        page->bytes = memory_alloc(memory, length_bytes);
        if (!page->bytes)
            return MOTE_EBUDGET;
        page->capacity_bytes = length_bytes;
    }
    if (offset_bytes < input->window_start_bytes || offset_bytes + length_bytes > input->window_end_bytes) {
        int result = read_window(input, offset_bytes, length_bytes);
        if (result)
            return result;
    }
    memcpy(page->bytes, input->window + (offset_bytes - input->window_start_bytes), length_bytes);
    return MOTE_OK;
}

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct input *input = context;
    struct kept_page *room, *page;
    uint64_t section_bytes = input->origin->place.length_bytes;
    *handle = NULL;
    if (length_bytes == 0 || length_bytes + PAGE_BYTES > WINDOW_BYTES || offset_bytes > section_bytes || length_bytes > section_bytes - offset_bytes)
        return refuse(input);
    page = find_page(input, offset_bytes, length_bytes, &room);
    if (!page) {
        if (!room)
            return error_set(MOTE_EBUDGET, "a merge of indexes holds more than %u pages of a section", PAGES_MAX);
        int result = copy_page(input, offset_bytes, length_bytes, room);
        if (!result)
            result = check(room->bytes, length_bytes, check_context);
        if (result)
            return result;
        page = room;
        page->offset_bytes = offset_bytes;
        page->length_bytes = length_bytes;
    }
    page->references++;
    page->used = ++input->uses;
    *data = page->bytes;
    *handle = page;
    return MOTE_OK;
}

static void release_page(void *context, void *handle)
{
    struct kept_page *page = handle;
    (void)context;
    assert(page->references > 0);
    page->references--;
}

static void open_input(struct merge *merge, uint32_t i)
{
    const struct sst_index_origin *origin = &merge->what->origins[i];
    struct input *input = &merge->inputs[i];
    struct sst_index_section section;
    sst_index_open(merge->context, merge->queue, origin->segment, &origin->place, merge->what->ops->kind, &section);
    input->merge = merge;
    input->origin = origin;
    input->identity = section.identity;
    input->root = section.root;
    input->source = (struct section_source){.read = read_page, .release = release_page, .context = input};
    merge->given[i] = (struct section_merge_input){.identity = &input->identity, .root = &input->root, .source = &input->source, .new_ordinals = origin->new_ordinals, .row_count = (uint32_t)origin->segment->record.row_count,
                                                   .first_ordinal = origin->first_ordinal, .mapped_count = origin->mapped_count};
}

static int fill_from_inputs(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct merge *merge = context;
    const struct sst_index_merge *what = merge->what;
    return what->ops->merge(merge->context->memory, what->options, what->options_bytes, merge->given, what->origin_count, identity, sink, root);
}

int sst_index_merge(struct sst_context *context, struct blockdev_queue *queue, const struct sst_index_merge *what, struct segment_section *place)
{
    struct memory *memory = context->memory;
    struct merge merge = {.context = context, .queue = queue, .what = what};
    struct sst_section_write write = {.context = context, .queue = queue, .segment_id = what->segment_id, .section_id = what->section_id, .fill = fill_from_inputs, .fill_context = &merge, .stream = &merge.stream};
    merge.inputs = memory_alloc_zero(memory, (what->origin_count + 1) * sizeof *merge.inputs);
    merge.given = memory_alloc_zero(memory, (what->origin_count + 1) * sizeof *merge.given);
    int result = merge.inputs && merge.given ? MOTE_OK : MOTE_EBUDGET;
    for (uint32_t i = 0; i < what->origin_count && !result; i++)
        open_input(&merge, i);
    if (!result)
        result = what->ops->merge_bytes_bound(memory, what->options, what->options_bytes, merge.given, what->origin_count, &write.bytes_max);
    if (!result)
        result = sst_section_write(&write, place);
    for (uint32_t i = 0; merge.inputs && i < what->origin_count; i++) {
        memory_free(memory, merge.inputs[i].window);
        for (uint32_t k = 0; k < PAGES_MAX; k++)
            memory_free(memory, merge.inputs[i].pages[k].bytes);
    }
    memory_free(memory, merge.given);
    memory_free(memory, merge.inputs);
    return result;
}
