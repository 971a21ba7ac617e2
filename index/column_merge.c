/* column_merge.c: one column section of the rows of several, in one pass: each input is searched in order, the least row of all goes to the writer (column_index.h).
 *
 * Invariant: `order` is a heap of the inputs that have rows left, the least (value, new ordinal) first. Threads: one. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what map, source and sink return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

struct input {
    struct column_search *search;
    struct column_hits hits;
    uint32_t number, at;
    uint32_t ordinals[COLUMN_BATCH_ROWS]; /* new ones */
    uint8_t *key; /* text and blob: the present one */
    uint32_t key_length;
};

struct merge {
    const struct column_merge_options *options;
    struct column_writer *writer;
    bool is_bytes;
    struct input *inputs, **order;
    uint32_t left;
};

static bool is_before(const struct merge *merge, const struct input *a, const struct input *b)
{
    if (a->hits.is_null != b->hits.is_null)
        return b->hits.is_null;
    int order = a->hits.is_null ? 0 : merge->is_bytes ? column_bytes_compare(a->key, a->key_length, b->key, b->key_length) : (a->search->keys[a->at] > b->search->keys[b->at]) - (a->search->keys[a->at] < b->search->keys[b->at]);
    return order < 0 || (order == 0 && a->ordinals[a->at] < b->ordinals[b->at]);
}

static void sift_down(struct merge *merge, uint32_t at)
{
    struct input *moved = merge->order[at];
    for (uint64_t child; (child = 2 * (uint64_t)at + 1) < merge->left; at = (uint32_t)child) {
        if (child + 1 < merge->left && is_before(merge, merge->order[child + 1], merge->order[child]))
            child++;
        if (!is_before(merge, merge->order[child], moved))
            break;
        merge->order[at] = merge->order[child];
    }
    merge->order[at] = moved;
}

static void take_key(struct input *input)
{
    if (!input->key || input->hits.is_null)
        return;
    uint32_t from = input->hits.values.offsets[input->at], length = input->hits.values.offsets[input->at + 1] - from;
    input->key_length = length;
    if (length)
        memcpy(input->key, (const uint8_t *)input->hits.values.values + from, length);
    if (input->search->inexact[input->at])
        input->key[input->key_length++] = 0;
}

/* Moves an input to its next row that is not dropped, at or behind input->at. 0: there is none, 1: there is. */
static int settle(const struct merge *merge, struct input *input)
{
    for (;;) {
        while (input->at < input->hits.count && input->ordinals[input->at] == COLUMN_DROPPED)
            input->at++;
        if (input->at < input->hits.count) {
            take_key(input);
            return 1;
        }
        int result = column_search_next(input->search, &input->hits);
        if (result <= 0)
            return result;
        memcpy(input->ordinals, input->hits.ordinals, input->hits.count * sizeof *input->ordinals);
        input->at = 0;
        result = merge->options->map(merge->options->map_context, input->number, input->ordinals, input->hits.count);
        if (result)
            return result;
    }
}

static int open_inputs(struct merge *merge, const struct column_section *sections, uint32_t count, struct memory *memory)
{
    static const struct column_query all = {.kind = COLUMN_ALL};
    for (uint32_t i = 0; i < count; i++) {
        struct input *input = &merge->inputs[i];
        input->number = i;
        int result = column_search_create(&sections[i], &all, &input->search);
        if (result)
            return result;
        if (input->search->type != merge->options->type)
            return error_set(MOTE_EINVAL, "input %u of a merge of column indexes is of type %u, not %u; merge the indexes of one column", i, input->search->type, merge->options->type);
        if (merge->is_bytes && !(input->key = memory_alloc(memory, COLUMN_KEY_BYTES_MAX)))
            return MOTE_EBUDGET;
        result = settle(merge, input);
        if (result < 0)
            return result;
        if (result > 0)
            merge->order[merge->left++] = input;
    }
    for (uint32_t i = merge->left / 2; i-- > 0;)
        sift_down(merge, i);
    return MOTE_OK;
}

static int write_row(const struct merge *merge, const struct input *input)
{
    const uint32_t *ordinal = &input->ordinals[input->at];
    if (input->hits.is_null)
        return column_writer_add_nulls(merge->writer, ordinal, 1);
    if (merge->is_bytes)
        return column_writer_add_bytes(merge->writer, input->key, input->key_length, ordinal, 1);
    return column_writer_add(merge->writer, &input->search->keys[input->at], ordinal, 1);
}

static int merge_rows(struct merge *merge)
{
    while (merge->left > 0) {
        struct input *least = merge->order[0];
        int result = write_row(merge, least);
        if (result)
            return result;
        least->at++;
        result = settle(merge, least);
        if (result < 0)
            return result;
        if (result == 0)
            merge->order[0] = merge->order[--merge->left];
        if (merge->left > 0)
            sift_down(merge, 0);
    }
    return MOTE_OK;
}

int column_merge(const struct column_section *inputs, uint32_t input_count, const struct column_merge_options *options, struct memory *memory, const struct section_identity *identity, const struct section_sink *sink,
                 struct section_root *root)
{
    struct merge merge = {.options = options, .is_bytes = column_type_is_bytes(options->type)};
    uint32_t page_bytes = options->page_bytes ? options->page_bytes : COLUMN_PAGE_BYTES_DEFAULT;
    if (!column_type_is_indexed(options->type) || page_bytes < COLUMN_PAGE_BYTES_MIN || page_bytes > INDEX_PAGE_BYTES_MAX)
        return error_set(MOTE_EINVAL, "no column index has values of type %u in pages of %u bytes", options->type, page_bytes);
    merge.inputs = memory_alloc_zero(memory, ((size_t)input_count + 1) * sizeof *merge.inputs);
    merge.order = memory_alloc(memory, ((size_t)input_count + 1) * sizeof(struct input *));
    int result = merge.inputs && merge.order ? column_writer_create(memory, options->type, page_bytes, identity, sink, &merge.writer) : MOTE_EBUDGET;
    if (!result)
        result = open_inputs(&merge, inputs, input_count, memory);
    if (!result)
        result = merge_rows(&merge);
    if (!result)
        result = column_writer_finish(merge.writer, root);
    for (uint32_t i = 0; merge.inputs && i < input_count; i++) {
        column_search_destroy(merge.inputs[i].search);
        memory_free(memory, merge.inputs[i].key);
    }
    column_writer_destroy(merge.writer);
    memory_free(memory, merge.order);
    memory_free(memory, merge.inputs);
    return result;
}
