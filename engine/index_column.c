/* index_column.c: the column index as a declared index: from blocks of one column to its values in order. Its options in the manifest: version u8 (1), flags u8 (bit 0: unique), type of the column u8 (enum mote_type), zero u8.
 *
 * Memory: of numbers a builder takes what its rows tell. Different texts and blobs are kept while it builds, so that it plans with KEPT_ROW_BYTES for each row and says that it is full when they take that much, or a BUDGET_SHARE-th of the
 * budget if that is more: segments of long different values have fewer rows. Threads and failures: those of index/column_index.h; MOTE_EVERSION: options of a newer mote.
 */
#include <string.h>

#include "blockdev/section_tally.h"
#include "engine/index_type.h"
#include "index/column_index.h"

#define OPTIONS_VERSION 1u
#define OPTIONS_BYTES 4u
#define OPTION_UNIQUE 1u
/* Half of what a different text of 16 bytes takes: where texts repeat that is plenty, where none does a segment has half of the rows. */
#define KEPT_ROW_BYTES 96u
#define BUDGET_SHARE 64u

struct column_rows {
    struct memory *memory;
    struct column_builder *builder;
    uint64_t kept_bytes_max;
};

static struct column_rows *rows_of(struct row_index *index) { return (struct column_rows *)(void *)index; }
static const struct column_rows *rows_of_const(const struct row_index *index) { return (const struct column_rows *)(const void *)index; }

/* ---- Options ---- */

/* False: a newer mote's. */
static bool read_options(const uint8_t *options, uint32_t options_bytes, uint32_t *type)
{
    if (options_bytes != OPTIONS_BYTES || options[0] != OPTIONS_VERSION || (options[1] & ~OPTION_UNIQUE) || !column_type_is_indexed(options[2]) || options[3])
        return false;
    *type = options[2];
    return true;
}

static bool keeps_bytes(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }

static uint64_t kept_bytes_planned(uint32_t type, uint64_t rows_max) { return keeps_bytes(type) ? rows_max * KEPT_ROW_BYTES : 0; }

static uint64_t kept_bytes_max(const struct memory *memory, uint32_t type, uint64_t rows_max)
{
    uint64_t planned = kept_bytes_planned(type, rows_max), share = memory_budget_bytes(memory) / BUDGET_SHARE;
    return !keeps_bytes(type) ? 0 : planned > share ? planned : share;
}

/* ---- Building ---- */

static uint64_t builder_bytes(const uint8_t *options, uint32_t options_bytes, uint64_t rows_max)
{
    uint32_t type;
    return read_options(options, options_bytes, &type) ? column_builder_bytes(type, rows_max, 0, 0) + kept_bytes_planned(type, rows_max) : 0;
}

static int create(struct memory *memory, const uint8_t *options, uint32_t options_bytes, uint64_t rows_max, struct row_index **builder)
{
    uint32_t type;
    if (!read_options(options, options_bytes, &type))
        return error_set(MOTE_EVERSION, "a column index was declared by a newer mote; its table is searched without it");
    struct column_rows *rows = memory_alloc_zero(memory, sizeof *rows);
    if (!rows)
        return MOTE_EBUDGET;
    rows->memory = memory;
    rows->kept_bytes_max = kept_bytes_max(memory, type, rows_max);
    int result = column_builder_create(memory, type, rows_max, 0, &rows->builder);
    if (result) {
        memory_free(memory, rows);
        return result;
    }
    *builder = (struct row_index *)(void *)rows;
    return MOTE_OK;
}

static void destroy(struct row_index *index)
{
    struct column_rows *rows = rows_of(index);
    if (!rows)
        return;
    column_builder_destroy(rows->builder);
    memory_free(rows->memory, rows);
}

static int add(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    if (column_count != 1)
        return error_set(MOTE_EINVAL, "a column index is of one column, not of %u", column_count);
    return column_builder_add_present(rows_of(index)->builder, first_ordinal, &columns[0], deleted);
}

static bool full(const struct row_index *index)
{
    const struct column_rows *rows = rows_of_const(index);
    return rows->kept_bytes_max && column_builder_kept_bytes(rows->builder) >= rows->kept_bytes_max;
}

static uint64_t section_bytes_bound(const struct row_index *index) { return column_builder_section_bytes(rows_of_const(index)->builder); }

static int finish(struct row_index *index, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    return column_builder_finish(rows_of(index)->builder, identity, sink, root);
}

static int verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    struct column_section section = {identity, root, source, memory};
    return column_verify(&section, row_count);
}

/* ---- Comparing a section with its rows ---- */

struct column_audit {
    struct memory *memory;
    uint32_t type;
};

/* A value as an index tells it: what equals is the same, and of long ones the beginning counts. */
static void tally_value(struct section_tally *tally, uint32_t ordinal, const struct codec_vector *values, uint32_t row, bool is_null, bool is_longer)
{
    uint8_t rank[COLUMN_RANK_BYTES_MAX];
    struct mote_value value = {.type = values->type};
    struct section_entry entry = section_entry_of(ordinal);
    if (!section_tally_wants(tally, ordinal))
        return;
    if (is_null) {
        section_entry_add_number(&entry, 2);
    } else if (values->offsets) {
        uint32_t size_bytes = values->offsets[row + 1] - values->offsets[row];
        section_entry_add_number(&entry, is_longer || size_bytes > COLUMN_KEPT_BYTES);
        section_entry_add_bytes(&entry, (const uint8_t *)values->values + values->offsets[row], size_bytes < COLUMN_KEPT_BYTES ? size_bytes : COLUMN_KEPT_BYTES);
    } else {
        size_t value_bytes = codec_value_bytes(values->type, 1);
        memcpy(&value.as, (const uint8_t *)values->values + row * value_bytes, value_bytes);
        section_entry_add_bytes(&entry, rank, column_rank_bytes(&value, false, rank));
    }
    section_tally_add(tally, &entry);
}

static int tally_section(const uint8_t *options, uint32_t options_bytes, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, struct section_tally *tally)
{
    const struct column_section section = {identity, root, source, memory};
    const struct column_query all = {.kind = COLUMN_ALL};
    struct column_statistics statistics;
    struct column_search *search = NULL;
    struct column_hits hits;
    uint32_t type;
    int found = 1, result = column_read_statistics(&section, &statistics);
    if (!result && (!read_options(options, options_bytes, &type) || statistics.type != type))
        result = error_set(MOTE_EDAMAGED, "a section of a column index holds values of another type than its column");
    if (!result)
        result = column_search_create(&section, &all, &search);
    while (!result && found > 0) {
        found = column_search_next(search, &hits);
        for (uint32_t i = 0; found > 0 && i < hits.count; i++)
            tally_value(tally, hits.ordinals[i], &hits.values, i, hits.is_null, hits.inexact && hits.inexact[i]);
    }
    column_search_destroy(search);
    return result ? result : found;
}

static int create_audit(struct memory *memory, const uint8_t *options, uint32_t options_bytes, struct row_audit **audit)
{
    struct column_audit *made = memory_alloc_zero(memory, sizeof *made);
    *audit = (struct row_audit *)(void *)made;
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    return read_options(options, options_bytes, &made->type) ? MOTE_OK : error_set(MOTE_EVERSION, "a column index was declared by a newer mote; its table is searched without it");
}

static void destroy_audit(struct row_audit *audit)
{
    struct column_audit *column = (struct column_audit *)(void *)audit;
    if (column)
        memory_free(column->memory, column);
}

static int tally_rows(struct row_audit *audit, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted, struct section_tally *tally)
{
    assert(column_count == 1 && columns->type == ((struct column_audit *)(void *)audit)->type);
    (void)audit;
    (void)column_count;
    for (uint32_t row = 0; row < columns->count; row++)
        if (!deleted || !deleted[row])
            tally_value(tally, first_ordinal + row, columns, row, columns->validity && !(columns->validity[row / 8] >> row % 8 & 1), false);
    return MOTE_OK;
}

static const struct row_index_audit audit = {.entry = "value", .tally_section = tally_section, .create = create_audit, .tally_rows = tally_rows, .destroy = destroy_audit};

const struct row_index_ops column_row_index_ops = {
    .kind = INDEX_COLUMN,
    .builder_bytes = builder_bytes,
    .create = create,
    .add = add,
    .full = full,
    .section_bytes_bound = section_bytes_bound,
    .finish = finish,
    .destroy = destroy,
    .verify = verify,
    .audit = &audit,
};

/* ---- Declaring ---- */

static int declare(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index)
{
    uint32_t type = options->column_count ? schema->columns[options->columns[0]].type : 0;
    if (options->column_count != 1 || !column_type_is_indexed(type))
        return error_set(MOTE_EINVAL, "a column index of table %s needs one column of int64, int32, timestamp, float64, float32, bool, text or blob", schema->name);
    if (options->unique > 1)
        return error_set(MOTE_EINVAL, "unique of an index of table %s is 0 or 1, not %u", schema->name, options->unique);
    index->options[0] = OPTIONS_VERSION;
    index->options[1] = options->unique ? OPTION_UNIQUE : 0;
    index->options[2] = (uint8_t)type;
    index->options[3] = 0;
    index->options_bytes = OPTIONS_BYTES;
    return MOTE_OK;
}

static void describe(const struct manifest_index *index, struct mote_index_info *info)
{
    uint32_t type;
    if (read_options(index->options, index->options_bytes, &type))
        info->unique = index->options[1] & OPTION_UNIQUE;
}

const struct index_type column_index_type = {.rows = &column_row_index_ops, .name = "column", .declare = declare, .describe = describe};
