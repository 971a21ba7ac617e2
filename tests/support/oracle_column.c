/* oracle_column.c: what a column index answers, against the rows that a scan found (oracle.h): all rows with a value in the order of their values, either way; those between two values; those without one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle.h"

struct sorting {
    const struct oracle *oracle;
    const struct content_table *table;
    uint32_t column;
    bool descending;
};

static struct mote_value value_of(const struct sorting *sorting, uint32_t row)
{
    struct mote_value value;
    cell_to_value(&sorting->table->schema.columns[sorting->column], row_cell(&sorting->table->schema, sorting->oracle->content.bytes + sorting->oracle->content.row_at[row], sorting->column), &value);
    return value;
}

static int compare_floats(double x, double y)
{
    if (isnan(x) || isnan(y))
        return !!isnan(x) - !!isnan(y);
    return (x > y) - (x < y);
}

static int compare_values(const struct mote_value *a, const struct mote_value *b)
{
    switch (a->type) {
    case MOTE_TYPE_INT32:
        return (a->as.i32 > b->as.i32) - (a->as.i32 < b->as.i32);
    case MOTE_TYPE_FLOAT64:
        return compare_floats(a->as.f64, b->as.f64);
    case MOTE_TYPE_FLOAT32:
        return compare_floats((double)a->as.f32, (double)b->as.f32);
    case MOTE_TYPE_BOOL:
        return (a->as.boolean != 0) - (b->as.boolean != 0);
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB: {
        uint64_t shared = a->as.bytes.size_bytes < b->as.bytes.size_bytes ? a->as.bytes.size_bytes : b->as.bytes.size_bytes;
        int order = shared ? memcmp(a->as.bytes.data, b->as.bytes.data, shared) : 0;
        return order ? order : (a->as.bytes.size_bytes > b->as.bytes.size_bytes) - (a->as.bytes.size_bytes < b->as.bytes.size_bytes);
    }
    default:
        return (a->as.i64 > b->as.i64) - (a->as.i64 < b->as.i64);
    }
}

/* Rows are numbered in the order of their keys. */
static int compare_rows(const void *a, const void *b, void *context)
{
    const struct sorting *sorting = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    struct mote_value p = value_of(sorting, x), q = value_of(sorting, y);
    int order = compare_values(&p, &q);
    order = order ? order : (x > y) - (x < y);
    return sorting->descending ? -order : order;
}

/* The search finds exactly these rows, in this order. */
static int check_rows(struct oracle *oracle, const struct content_table *table, const struct mote_term *term, bool ranked, const uint32_t *expected, uint32_t count)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    uint32_t positions[MODEL_COLUMNS_MAX], found = 0;
    mote_hits *hits;
    options.terms = term;
    options.term_count = 1;
    options.rank_by = ranked ? 1 : MOTE_RANK_NONE;
    options.columns = positions;
    options.column_count = table->schema.column_count;
    options.chunk_rows = 64;
    for (uint32_t i = 0; i < table->schema.column_count; i++)
        positions[i] = i;
    int result = mote_search(table->handle, &options, &hits);
    if (result)
        return oracle_fail_code(oracle, result, "a search of table %s by column %s", table->schema.name, term->index);
    do {
        result = mote_hits_next(hits, &chunk);
        const struct mote_chunk rows = {chunk.row_count, chunk.column_count, chunk.columns};
        for (size_t i = 0; !result && i < chunk.row_count; i++, found++) {
            uint8_t cells[MODEL_ROW_BYTES_MAX * 2];
            size_t size_bytes = oracle_row_from_chunk(&table->schema, &rows, i, cells);
            const size_t *at = found < count ? &oracle->content.row_at[expected[found]] : NULL;
            if (!at || at[1] - at[0] != size_bytes || memcmp(oracle->content.bytes + at[0], cells, size_bytes) != 0) {
                mote_hits_close(hits);
                return oracle_fail(oracle, "a search of table %s by column %s (kind %u, flags %u) finds another row than a scan as number %u of %u", table->schema.name, term->index, term->kind, term->flags, found, count);
            }
        }
    } while (!result && chunk.row_count > 0);
    mote_hits_close(hits);
    if (result)
        return oracle_fail_code(oracle, result, "the hits of a search of table %s by column %s", table->schema.name, term->index);
    return found == count ? MOTE_OK : oracle_fail(oracle, "a search of table %s by column %s (kind %u) finds %u rows of %u", table->schema.name, term->index, term->kind, found, count);
}

static int check_nulls(struct oracle *oracle, const struct sorting *sorting, const char *index, uint32_t *rows)
{
    const struct content_table *table = sorting->table;
    const struct mote_term term = {.kind = MOTE_TERM_NULL, .index = index};
    uint32_t count = 0;
    for (uint32_t row = table->row_first; row < table->row_first + table->row_count; row++)
        if (value_of(sorting, row).is_null)
            rows[count++] = row;
    return check_rows(oracle, table, &term, false, rows, count);
}

/* rows: those with a value, in order. */
static int check_ranges(struct oracle *oracle, struct sorting *sorting, const char *index, uint32_t *rows, uint32_t count)
{
    struct mote_term term = {.kind = MOTE_TERM_NOT_NULL, .index = index, .flags = sorting->descending ? MOTE_TERM_DESCENDING : 0};
    int result = check_rows(oracle, sorting->table, &term, true, rows, count);
    if (result || count == 0 || sorting->descending)
        return result;
    uint32_t from = random_below(&oracle->random, count), to = from + random_below(&oracle->random, count - from);
    term = (struct mote_term){.kind = MOTE_TERM_RANGE, .index = index, .from = value_of(sorting, rows[from]), .to = value_of(sorting, rows[to])};
    for (struct mote_value value; from > 0 && (value = value_of(sorting, rows[from - 1]), compare_values(&value, &term.from) == 0);)
        from--;
    for (struct mote_value value; to + 1 < count && (value = value_of(sorting, rows[to + 1]), compare_values(&value, &term.to) == 0);)
        to++;
    return check_rows(oracle, sorting->table, &term, true, rows + from, to + 1 - from);
}

int oracle_check_column_index(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info)
{
    struct sorting sorting = {.oracle = oracle, .table = table, .column = info->columns[0]};
    uint32_t *rows = malloc((table->row_count + 1) * sizeof *rows), count;
    if (!rows)
        abort();
    int result = check_nulls(oracle, &sorting, info->name, rows);
    for (unsigned pass = 0; pass < 2 && !result; pass++) {
        sorting.descending = pass == 1;
        count = 0;
        for (uint32_t row = table->row_first; row < table->row_first + table->row_count; row++)
            if (!value_of(&sorting, row).is_null)
                rows[count++] = row;
        if (count)
            qsort_r(rows, count, sizeof *rows, compare_rows, &sorting);
        result = check_ranges(oracle, &sorting, info->name, rows, count);
    }
    free(rows);
    return result;
}
