/* index_text.c: the text index as a declared index: from blocks of a text column to words.
 *
 * Options: one text column; the language of the stemmer, and whether diacritics are kept. Their bytes, little-endian: version (2), language (2; text_analyse.c numbers them), flags (2; bit 0: diacritics are kept), reserved (2).
 *
 * Memory. What a builder needs depends on the words, not on the rows. It is told how much it may take (row_index_ops.set_limit: the builders of a segment share an eighth of the memory budget):
 *   - flush and compaction, whose rows come once: when half of it is taken the segment ends (full). Should one block more than fill the rest, which takes a block of nothing but new words, this segment goes without the section; no flush fails for it.
 *   - the build from the rows of a segment that is complete, for such ones and for an index that is declared later: what does not fit is put down in parts (struct section_scratch: extents that nothing refers to), also in the midst of a
 *     text, and the parts are merged, up to PARTS_MAX at a time, so that memory is bounded whatever the segment holds; there is no segment that can never be built. A crash leaves nothing behind: scratch is free space to the next open.
 * Beside it a few hundred bytes of malloc, which libstemmer takes for a stemmer, for each builder and each search.
 *
 * Threads and failures: those of index/text.h.
 */
#include <stdio.h>
#include <string.h>

#include "blockdev/section_tally.h"
#include "engine/index_text.h"
#include "engine/index_type.h"
#include "index/index.h"

enum { OPTIONS_VERSION = 1, OPTIONS_BYTES = 8, OPTIONS_KEEP_DIACRITICS = 1, PARTS_MAX = 8, LEVELS_MAX = 12 };

struct text_rows {
    struct memory *memory;
    struct text_options options;
    struct text_analyser *analyser;
    struct text_builder *builder;
    const struct section_scratch *scratch; /* NULL: none */
    /* Parts in the order of their rows: those of a level are made of PARTS_MAX of the level below; the highest levels come first. */
    struct section_part *parts[LEVELS_MAX][PARTS_MAX];
    uint32_t part_counts[LEVELS_MAX];
    bool in_parts;
};

static struct text_rows *rows_of(struct row_index *index) { return (struct text_rows *)(void *)index; }

/* ---- Options ---- */

static void options_store(const struct text_options *options, struct manifest_index *index)
{
    memset(index->options, 0, OPTIONS_BYTES);
    store_u16(index->options, OPTIONS_VERSION);
    store_u16(index->options + 2, (uint16_t)options->language);
    store_u16(index->options + 4, options->keep_diacritics ? OPTIONS_KEEP_DIACRITICS : 0);
    index->options_bytes = OPTIONS_BYTES;
}

int text_index_options(const uint8_t *bytes, uint32_t byte_count, struct text_options *options)
{
    *options = (struct text_options){0};
    if (byte_count >= 2 && load_u16(bytes) > OPTIONS_VERSION)
        return error_set(MOTE_EVERSION, "a text index was declared in version %u of its options; this mote knows version %u: use a newer one, or drop the index and create it again", load_u16(bytes), OPTIONS_VERSION);
    if (byte_count != OPTIONS_BYTES || load_u16(bytes) != OPTIONS_VERSION || !text_language_name(load_u16(bytes + 2)) || (load_u16(bytes + 4) & ~OPTIONS_KEEP_DIACRITICS) != 0 || load_u16(bytes + 6) != 0)
        return error_set(MOTE_EDAMAGED, "the options of a text index are damaged; drop the index and create it again");
    options->language = load_u16(bytes + 2);
    options->keep_diacritics = load_u16(bytes + 4) & OPTIONS_KEEP_DIACRITICS;
    return MOTE_OK;
}

/* ---- Building ---- */

/* Of the rows alone: 8 bytes a document, twice that while their array grows. */
static uint64_t builder_bytes(const uint8_t *options, uint32_t options_bytes, uint64_t rows_max)
{
    (void)options;
    (void)options_bytes;
    return TEXT_BUILDER_BYTES_MIN + 16 * rows_max;
}

static void destroy(struct row_index *index)
{
    struct text_rows *rows = rows_of(index);
    if (!rows)
        return;
    for (uint32_t level = 0; level < LEVELS_MAX; level++)
        for (uint32_t i = 0; i < rows->part_counts[level]; i++)
            rows->scratch->release(rows->scratch->context, rows->parts[level][i]);
    text_builder_destroy(rows->builder);
    text_analyser_destroy(rows->analyser);
    memory_free(rows->memory, rows);
}

static int create(struct memory *memory, const uint8_t *options, uint32_t options_bytes, uint64_t rows_max, struct row_index **builder)
{
    (void)rows_max;
    struct text_rows *rows = memory_alloc_zero(memory, sizeof *rows);
    if (!rows)
        return MOTE_EBUDGET;
    rows->memory = memory;
    int result = text_index_options(options, options_bytes, &rows->options);
    if (!result)
        result = text_analyser_create(memory, &rows->options, &rows->analyser);
    if (!result)
        result = text_builder_create(memory, rows->analyser, &rows->builder);
    if (result) {
        destroy((struct row_index *)(void *)rows);
        return result;
    }
    *builder = (struct row_index *)(void *)rows;
    return MOTE_OK;
}

static int fill_from_builder(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct text_rows *rows = context;
    return text_builder_finish(rows->builder, identity, sink, root);
}

struct part_merge {
    struct text_rows *rows;
    struct section_merge_input inputs[PARTS_MAX];
    uint32_t count;
};

static void add_parts(struct part_merge *merge, uint32_t level)
{
    for (uint32_t i = 0; i < merge->rows->part_counts[level]; i++) {
        const struct section_part *part = merge->rows->parts[level][i];
        assert(merge->count < PARTS_MAX);
        merge->inputs[merge->count++] = (struct section_merge_input){.identity = &part->identity, .root = &part->root, .source = &part->source, .row_count = UINT32_MAX};
    }
}

static int fill_from_parts(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct part_merge *merge = context;
    return text_merge(merge->rows->memory, &merge->rows->options, merge->inputs, merge->count, identity, sink, root);
}

/* A level's parts become one of the level above, which has room. */
static int merge_level(struct text_rows *rows, uint32_t level)
{
    const struct section_scratch *scratch = rows->scratch;
    struct part_merge merge = {.rows = rows};
    struct section_part *merged;
    uint64_t bytes_max;
    assert(level + 1 < LEVELS_MAX && rows->part_counts[level + 1] < PARTS_MAX);
    add_parts(&merge, level);
    int result = text_merge_section_bytes_bound(rows->memory, merge.inputs, merge.count, &bytes_max);
    if (!result)
        result = scratch->write(scratch->context, bytes_max, fill_from_parts, &merge, &merged);
    if (result)
        return result;
    for (uint32_t i = 0; i < rows->part_counts[level]; i++)
        scratch->release(scratch->context, rows->parts[level][i]);
    rows->part_counts[level] = 0;
    rows->parts[level + 1][rows->part_counts[level + 1]++] = merged;
    return MOTE_OK;
}

/* The same, after the levels above have made room. */
static int merge_up(struct text_rows *rows, uint32_t level)
{
    uint32_t top = level + 1;
    int result = MOTE_OK;
    while (top + 1 < LEVELS_MAX && rows->part_counts[top] == PARTS_MAX)
        top++;
    for (uint32_t i = top; i-- > level && !result;)
        result = merge_level(rows, i);
    return result;
}

/* What the builder holds becomes a part. */
static int put_part(void *context)
{
    struct text_rows *rows = context;
    struct section_part *part;
    int result = rows->part_counts[0] == PARTS_MAX ? merge_up(rows, 0) : MOTE_OK;
    if (!result)
        result = rows->scratch->write(rows->scratch->context, text_builder_section_bytes_bound(rows->builder), fill_from_builder, rows, &part);
    if (result)
        return result;
    rows->parts[0][rows->part_counts[0]++] = part;
    rows->in_parts = true;
    return MOTE_OK;
}

/* The last rows become a part too, and no more are left than one merge takes. */
static int complete(struct row_index *index)
{
    struct text_rows *rows = rows_of(index);
    int result = rows->in_parts ? put_part(rows) : MOTE_OK;
    while (!result) {
        uint32_t count = 0, lowest = LEVELS_MAX;
        for (uint32_t level = LEVELS_MAX; level-- > 0;) {
            count += rows->part_counts[level];
            lowest = rows->part_counts[level] ? level : lowest;
        }
        if (count <= PARTS_MAX)
            break;
        result = merge_up(rows, lowest);
    }
    return result;
}

static void set_limit(struct row_index *index, uint64_t memory_bytes_max, const struct section_scratch *scratch)
{
    struct text_rows *rows = rows_of(index);
    rows->scratch = scratch;
    text_builder_set_limit(rows->builder, memory_bytes_max, scratch ? put_part : NULL, rows);
}

static bool is_full(const struct row_index *index)
{
    const struct text_rows *rows = (const struct text_rows *)(const void *)index;
    return text_builder_is_half_full(rows->builder);
}

static int add(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    struct text_rows *rows = rows_of(index);
    const uint8_t *validity = columns[0].validity, *bytes = columns[0].values;
    const uint32_t *offsets = columns[0].offsets;
    int result = MOTE_OK;
    assert(column_count == 1);
    (void)column_count;
    for (uint32_t row = 0; row < columns[0].count && !result; row++) {
        if ((deleted && deleted[row]) || (validity && !(validity[row / 8] >> row % 8 & 1)))
            continue;
        result = text_builder_add(rows->builder, first_ordinal + row, bytes + offsets[row], offsets[row + 1] - offsets[row]);
    }
    return result;
}

static uint64_t section_bytes_bound(const struct row_index *index)
{
    const struct text_rows *rows = (const struct text_rows *)(const void *)index;
    return rows->in_parts ? text_builder_merged_bytes_bound(rows->builder) : text_builder_section_bytes_bound(rows->builder);
}

static int finish(struct row_index *index, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct text_rows *rows = rows_of(index);
    struct part_merge merge = {.rows = rows};
    if (!rows->in_parts)
        return text_builder_finish(rows->builder, identity, sink, root);
    for (uint32_t level = LEVELS_MAX; level-- > 0;)
        add_parts(&merge, level);
    return fill_from_parts(&merge, identity, sink, root);
}

static int merge_sections(struct memory *memory, const uint8_t *bytes, uint32_t byte_count, const struct section_merge_input *inputs, uint32_t input_count, const struct section_identity *identity, const struct section_sink *sink,
                          struct section_root *root)
{
    struct text_options options;
    int result = text_index_options(bytes, byte_count, &options);
    return result ? result : text_merge(memory, &options, inputs, input_count, identity, sink, root);
}

static int merge_bytes_bound(struct memory *memory, const uint8_t *bytes, uint32_t byte_count, const struct section_merge_input *inputs, uint32_t input_count, uint64_t *bytes_max)
{
    (void)bytes;
    (void)byte_count;
    return text_merge_section_bytes_bound(memory, inputs, input_count, bytes_max);
}

static int verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    return text_verify(identity, root, source, memory, row_count);
}

/* ---- Comparing a section with its rows: each occurrence of a word is an entry, and each text with its length ---- */

struct text_audit {
    struct memory *memory;
    struct text_analyser *analyser;
    struct section_tally *tally; /* of the present rows */
    uint32_t ordinal;
};

static int tally_occurrence(void *context, const struct text_occurrence *occurrence)
{
    struct section_tally *tally = context;
    struct section_entry entry = section_entry_of(occurrence->ordinal);
    if (!section_tally_wants(tally, occurrence->ordinal))
        return MOTE_OK;
    section_entry_add_number(&entry, occurrence->position);
    if (occurrence->term)
        section_entry_add_bytes(&entry, occurrence->term, occurrence->term_bytes);
    section_tally_add(tally, &entry);
    return MOTE_OK;
}

static int tally_section(const uint8_t *options, uint32_t options_bytes, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, struct section_tally *tally)
{
    struct text_options text;
    int result = text_index_options(options, options_bytes, &text);
    if (!result)
        result = text_visit(&text, identity, root, source, memory, tally_occurrence, tally);
    return result == MOTE_EINVAL ? error_set(MOTE_EDAMAGED, "a section of a text index was built with other options than the index has") : result;
}

static void destroy_audit(struct row_audit *audit)
{
    struct text_audit *texts = (struct text_audit *)(void *)audit;
    if (!texts)
        return;
    text_analyser_destroy(texts->analyser);
    memory_free(texts->memory, texts);
}

static int create_audit(struct memory *memory, const uint8_t *options, uint32_t options_bytes, struct row_audit **audit)
{
    struct text_audit *made = memory_alloc_zero(memory, sizeof *made);
    struct text_options text;
    *audit = (struct row_audit *)(void *)made;
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    int result = text_index_options(options, options_bytes, &text);
    return result ? result : text_analyser_create(memory, &text, &made->analyser);
}

static int tally_token(void *context, const struct text_token *token)
{
    const struct text_audit *texts = context;
    return tally_occurrence(texts->tally, &(struct text_occurrence){token->term, token->term_bytes, texts->ordinal, token->position});
}

static int tally_rows(struct row_audit *audit, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted, struct section_tally *tally)
{
    struct text_audit *texts = (struct text_audit *)(void *)audit;
    const uint8_t *validity = columns[0].validity, *bytes = columns[0].values;
    const uint32_t *offsets = columns[0].offsets;
    int result = MOTE_OK;
    assert(column_count == 1);
    (void)column_count;
    texts->tally = tally;
    for (uint32_t row = 0; row < columns[0].count && !result; row++) {
        struct text_occurrence document = {.ordinal = first_ordinal + row};
        texts->ordinal = first_ordinal + row;
        if ((deleted && deleted[row]) || (validity && !(validity[row / 8] >> row % 8 & 1)) || !section_tally_wants(tally, texts->ordinal))
            continue;
        result = text_analyse(texts->analyser, bytes + offsets[row], offsets[row + 1] - offsets[row], tally_token, texts, &document.position);
        if (!result)
            result = tally_occurrence(tally, &document);
    }
    return result;
}

static const struct row_index_audit audit = {.entry = "word", .tally_section = tally_section, .create = create_audit, .tally_rows = tally_rows, .destroy = destroy_audit};

const struct row_index_ops text_row_index_ops = {
    .kind = INDEX_TEXT,
    .builder_bytes = builder_bytes,
    .create = create,
    .set_limit = set_limit,
    .add = add,
    .full = is_full,
    .complete = complete,
    .section_bytes_bound = section_bytes_bound,
    .finish = finish,
    .destroy = destroy,
    .verify = verify,
    .merge = merge_sections,
    .merge_bytes_bound = merge_bytes_bound,
    .audit = &audit,
};

/* ---- Declaring ---- */

static int declare(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index)
{
    struct text_options text = {.keep_diacritics = options->keep_diacritics != 0};
    if (options->column_count != 1 || schema->columns[options->columns[0]].type != MOTE_TYPE_TEXT)
        return error_set(MOTE_EINVAL, "a text index of table %s needs one text column", schema->name);
    int result = text_language_find(options->language, &text.language);
    if (!result)
        options_store(&text, index);
    return result;
}

static void describe(const struct manifest_index *index, struct mote_index_info *info)
{
    struct text_options options;
    struct mote_error kept;
    int code = error_get(&kept);
    if (text_index_options(index->options, index->options_bytes, &options) == MOTE_OK) {
        info->keep_diacritics = options.keep_diacritics;
        snprintf(info->language, sizeof info->language, "%s", text_language_name(options.language));
    } else if (code) {
        error_restore(&kept);
    }
}

const struct index_type text_index_type = {.rows = &text_row_index_ops, .name = "text", .declare = declare, .describe = describe};
