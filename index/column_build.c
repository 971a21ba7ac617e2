/* column_build.c: collecting the rows of a column index, sorting them, and handing them to the writer (column_index.h).
 *
 * Numbers are kept as (key, ordinal). Of text and blob each different key is kept once, in a hash table; rows refer to it by its number, which at the end is replaced by its rank, so that the sort of rows is that of small numbers.
 * Memory: 12 bytes for each of rows_max at once; 12 for each row that has a value while they are sorted, unless they are in order; column_builder_bytes says how much in all. NULLs take the end of the array of ordinals.
 * Threads: one. Failures: MOTE_EINVAL: the builder stays as it was; MOTE_EBUDGET, and what the sink returns: it can but be destroyed.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"
#include "index/column_words.h"

struct column_builder {
    struct memory *memory;
    uint32_t type, page_bytes;
    bool is_bytes, is_finished;
    uint64_t rows_max, count, null_count, next_ordinal;
    uint64_t value_bytes; /* of text and blob, all rows' */
    uint64_t *keys;      /* of text and blob: numbers of words */
    uint32_t *ordinals;  /* count from the begin, null_count from the end, descending */
    struct column_words words;
};

int column_builder_create(struct memory *memory, uint32_t type, uint64_t rows_max, uint32_t page_bytes, struct column_builder **builder)
{
    *builder = NULL;
    page_bytes = page_bytes ? page_bytes : COLUMN_PAGE_BYTES_DEFAULT;
    if (!column_type_is_indexed(type) || page_bytes < COLUMN_PAGE_BYTES_MIN || page_bytes > INDEX_PAGE_BYTES_MAX || rows_max >= UINT32_MAX)
        return error_set(MOTE_EINVAL, "no column index has %llu rows of type %u in pages of %u bytes", (unsigned long long)rows_max, type, page_bytes);
    struct column_builder *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->type = type;
    made->is_bytes = column_type_is_bytes(type);
    made->page_bytes = page_bytes;
    made->rows_max = rows_max;
    made->words.memory = memory;
    made->keys = memory_alloc(memory, (rows_max + 1) * sizeof *made->keys);
    made->ordinals = memory_alloc(memory, (rows_max + 1) * sizeof *made->ordinals);
    if (!made->keys || !made->ordinals) {
        column_builder_destroy(made);
        return MOTE_EBUDGET;
    }
    *builder = made;
    return MOTE_OK;
}

void column_builder_destroy(struct column_builder *builder)
{
    if (!builder)
        return;
    struct memory *memory = builder->memory;
    column_words_free(&builder->words);
    memory_free(memory, builder->ordinals);
    memory_free(memory, builder->keys);
    memory_free(memory, builder);
}

static bool is_valid(const uint8_t *validity, uint32_t row) { return !validity || (validity[row / 8] >> row % 8 & 1); }

/* Rows with values, one after the other, from row `from` on. */
static void add_numbers(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values, const uint8_t *absent)
{
    size_t value_bytes = codec_value_bytes(builder->type, 1);
    const uint8_t *at = values->values;
    if (!values->validity && !absent) {
        column_keys_from(builder->type, at, values->count, builder->keys + builder->count);
        for (uint32_t i = 0; i < values->count; i++)
            builder->ordinals[builder->count + i] = first_ordinal + i;
        builder->count += values->count;
        return;
    }
    for (uint32_t i = 0; i < values->count; i++) {
        if (absent && absent[i])
            continue;
        if (is_valid(values->validity, i)) {
            column_keys_from(builder->type, at + i * value_bytes, 1, builder->keys + builder->count);
            builder->ordinals[builder->count++] = first_ordinal + i;
        } else {
            builder->ordinals[builder->rows_max - ++builder->null_count] = first_ordinal + i;
        }
    }
}

static int add_bytes(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values, const uint8_t *absent)
{
    uint8_t room[COLUMN_KEY_BYTES_MAX];
    for (uint32_t i = 0; i < values->count; i++) {
        if (absent && absent[i])
            continue;
        if (!is_valid(values->validity, i)) {
            builder->ordinals[builder->rows_max - ++builder->null_count] = first_ordinal + i;
            continue;
        }
        uint32_t size_bytes = values->offsets[i + 1] - values->offsets[i], length = size_bytes, number;
        const uint8_t *key = (const uint8_t *)values->values + values->offsets[i];
        if (size_bytes > COLUMN_KEPT_BYTES) {
            length = column_key_cut(key, size_bytes, room);
            key = room;
        }
        int result = column_words_add(&builder->words, key, length, &number);
        if (result)
            return result;
        builder->value_bytes += length;
        builder->keys[builder->count] = number;
        builder->ordinals[builder->count++] = first_ordinal + i;
    }
    return MOTE_OK;
}

int column_builder_add_present(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values, const uint8_t *absent)
{
    if (values->type != builder->type || builder->is_finished)
        return error_set(MOTE_EINVAL, "values of type %u do not go into a column index of type %u%s", values->type, builder->type, builder->is_finished ? " that is finished" : "");
    if (first_ordinal < builder->next_ordinal || values->count > builder->rows_max - builder->count - builder->null_count || values->count >= (uint64_t)UINT32_MAX + 1 - first_ordinal)
        return error_set(MOTE_EINVAL, "%u rows from %u on do not fit a column index of at most %llu rows that expects row %llu or later", values->count, first_ordinal, (unsigned long long)builder->rows_max,
                         (unsigned long long)builder->next_ordinal);
    builder->next_ordinal = (uint64_t)first_ordinal + values->count;
    if (builder->is_bytes)
        return add_bytes(builder, first_ordinal, values, absent);
    add_numbers(builder, first_ordinal, values, absent);
    return MOTE_OK;
}

int column_builder_add_many(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values) { return column_builder_add_present(builder, first_ordinal, values, NULL); }

uint64_t column_builder_kept_bytes(const struct column_builder *builder) { return builder->is_bytes ? column_words_bytes(builder->words.count, builder->words.bytes_count) : 0; }

uint64_t column_builder_section_bytes(const struct column_builder *builder) { return column_bytes_bound(builder->type, builder->count + builder->null_count, builder->value_bytes); }

static int write_bytes_rows(struct column_builder *builder, struct column_writer *writer)
{
    int result = column_words_rank(&builder->words);
    if (result)
        return result;
    for (uint64_t i = 0; i < builder->count; i++)
        builder->keys[i] = builder->words.ranks[builder->keys[i]];
    result = column_sort_pairs(builder->memory, builder->keys, builder->ordinals, builder->count);
    for (uint64_t from = 0, to; !result && from < builder->count; from = to) {
        for (to = from + 1; to < builder->count && builder->keys[to] == builder->keys[from]; to++)
            ;
        uint32_t length;
        const uint8_t *key = column_words_of_rank(&builder->words, (uint32_t)builder->keys[from], &length);
        result = column_writer_add_bytes(writer, key, length, builder->ordinals + from, to - from);
    }
    return result;
}

/* NULLs lie backwards at the end. */
static void turn_nulls(const struct column_builder *builder)
{
    uint32_t *first = builder->ordinals + builder->rows_max - builder->null_count;
    for (uint64_t i = 0, j = builder->null_count; i + 1 < j; i++, j--) {
        uint32_t swap = first[i];
        first[i] = first[j - 1];
        first[j - 1] = swap;
    }
}

int column_builder_finish(struct column_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct column_writer *writer;
    if (builder->is_finished)
        return error_set(MOTE_EINVAL, "a column index is written once; build another");
    builder->is_finished = true;
    int result = builder->is_bytes ? MOTE_OK : column_sort_pairs(builder->memory, builder->keys, builder->ordinals, builder->count);
    if (result)
        return result;
    result = column_writer_create(builder->memory, builder->type, builder->page_bytes, identity, sink, &writer);
    if (result)
        return result;
    result = builder->is_bytes ? write_bytes_rows(builder, writer) : column_writer_add(writer, builder->keys, builder->ordinals, builder->count);
    if (!result) {
        turn_nulls(builder);
        result = column_writer_add_nulls(writer, builder->ordinals + builder->rows_max - builder->null_count, builder->null_count);
    }
    if (!result)
        result = column_writer_finish(writer, root);
    column_writer_destroy(writer);
    return result;
}

uint64_t column_builder_bytes(uint32_t type, uint64_t rows_max, uint64_t distinct, uint64_t distinct_bytes)
{
    uint64_t bytes = 24 * rows_max + COLUMN_WRITER_BYTES_MAX + (256u << 10);
    return column_type_is_bytes(type) ? bytes + column_words_bytes(distinct, distinct_bytes) : bytes;
}

/* Of numbers an entry takes at most 4 + 8 + 4 bytes and its part of three block headers; of text 4 + 2 + 4, the key and a part of headers. A leaf is filled to within less than 400 bytes of at least 4 KiB; its entry above takes 36 bytes
 * and a separator, and that in turn. */
uint64_t column_bytes_bound(uint32_t type, uint64_t rows, uint64_t value_bytes)
{
    uint64_t entries = column_type_is_bytes(type) ? 11 * rows + value_bytes : 17 * rows;
    return entries + entries / 4 + 4096;
}
