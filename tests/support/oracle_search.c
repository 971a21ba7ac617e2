/* oracle_search.c: what the indexes answer, against the rows that a scan found (oracle.h): a box around everything must hold every row with a point, in key order, and the nearest rows must be the first of all by distance. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle.h"
#include "tests/support/oracle_vector.h"

struct searching {
    struct oracle *oracle;
    const struct content_table *table;
};

/* The row's point, if it has one that an index holds. */
static bool row_point(const struct model_schema *schema, const uint8_t *row, uint32_t column, double point[3])
{
    const uint8_t *cell = row_cell(schema, row, column);
    if (cell[0] == 0)
        return false;
    memcpy(point, cell + 1, 3 * sizeof *point);
    return !isnan(point[0]) && !isnan(point[1]) && !isnan(point[2]);
}

static int check_box(struct searching *searching, const struct mote_index_info *info)
{
    struct oracle *oracle = searching->oracle;
    const struct content_table *table = searching->table;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    uint32_t positions[MODEL_COLUMNS_MAX], row = table->row_first, end = row + table->row_count;
    mote_hits *hits;
    double point[3];
    struct mote_term term = {.kind = MOTE_TERM_BOX, .index = info->name};
    options.terms = &term;
    options.term_count = 1;
    options.columns = positions;
    options.column_count = table->schema.column_count;
    options.chunk_rows = 64;
    for (uint32_t i = 0; i < table->schema.column_count; i++)
        positions[i] = i;
    for (unsigned i = 0; i < 3; i++) {
        term.min[i] = -(double)INFINITY;
        term.max[i] = (double)INFINITY;
    }
    int result = mote_search(table->handle, &options, &hits);
    if (result)
        return oracle_fail_code(oracle, result, "a search of table %s", table->schema.name);
    do {
        result = mote_hits_next(hits, &chunk);
        const struct mote_chunk rows = {chunk.row_count, chunk.column_count, chunk.columns};
        for (size_t i = 0; !result && i < chunk.row_count; i++, row++) {
            uint8_t cells[MODEL_ROW_BYTES_MAX * 2];
            size_t size_bytes = oracle_row_from_chunk(&table->schema, &rows, i, cells);
            while (row < end && !row_point(&table->schema, oracle->content.bytes + oracle->content.row_at[row], info->columns[0], point))
                row++;
            if (row == end || oracle->content.row_at[row + 1] - oracle->content.row_at[row] != size_bytes || memcmp(oracle->content.bytes + oracle->content.row_at[row], cells, size_bytes) != 0) {
                mote_hits_close(hits);
                return oracle_fail(oracle, "a search of table %s finds another row than a scan at row %u of %u", table->schema.name, row - table->row_first, table->row_count);
            }
        }
    } while (!result && chunk.row_count > 0);
    mote_hits_close(hits);
    if (result)
        return oracle_fail_code(oracle, result, "the hits of a search of table %s", table->schema.name);
    for (; row < end; row++)
        if (row_point(&table->schema, oracle->content.bytes + oracle->content.row_at[row], info->columns[0], point))
            return oracle_fail(oracle, "a search of table %s misses row %u of %u", table->schema.name, row - table->row_first, table->row_count);
    return MOTE_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The distances of the nearest rows; which of those at equal distances, the unit tests look at. */
static int check_nearest(struct searching *searching, const struct mote_index_info *info)
{
    struct oracle *oracle = searching->oracle;
    const struct content_table *table = searching->table;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk = {0};
    uint64_t count = 0, different = 0;
    mote_hits *hits;
    double *squared = malloc((table->row_count + 1) * sizeof *squared), point[3];
    if (!squared)
        abort();
    for (uint32_t row = table->row_first; row < table->row_first + table->row_count; row++) {
        if (!row_point(&table->schema, oracle->content.bytes + oracle->content.row_at[row], info->columns[0], point))
            continue;
        double xx = point[0] * point[0], yy = point[1] * point[1], zz = point[2] * point[2];
        squared[count++] = sqrt(xx + yy + zz);
    }
    qsort(squared, count, sizeof *squared, compare_doubles);
    const struct mote_term term = {.kind = MOTE_TERM_NEAREST, .index = info->name};
    options.terms = &term;
    options.term_count = 1;
    options.limit = 7;
    options.chunk_rows = 7;
    int result = mote_search(table->handle, &options, &hits);
    if (!result) {
        result = mote_hits_next(hits, &chunk);
        for (size_t i = 0; !result && i < chunk.row_count && i < count; i++)
            different += fabs(chunk.scores[i] - squared[i]) > 1e-9 * squared[i];
        mote_hits_close(hits);
    }
    free(squared);
    if (result)
        return oracle_fail_code(oracle, result, "the nearest rows of table %s", table->schema.name);
    uint64_t wanted = count < 7 ? count : 7;
    return chunk.row_count == wanted && !different
               ? MOTE_OK
               : oracle_fail(oracle, "%zu nearest rows of table %s were found, not %llu, %llu of them at another distance", chunk.row_count, table->schema.name, (unsigned long long)wanted, (unsigned long long)different);
}

static int check_index(const struct mote_index_info *info, void *context)
{
    struct searching *searching = context;
    if (info->kind == MOTE_INDEX_COLUMN)
        return oracle_check_column_index(searching->oracle, searching->table, info);
    if (info->kind == MOTE_INDEX_TEXT)
        return oracle_check_text(searching->oracle, searching->table, info);
    if (info->kind == MOTE_INDEX_VECTOR)
        return oracle_check_vectors(searching->oracle, searching->table, info);
    if (info->kind != MOTE_INDEX_SPATIAL)
        return MOTE_OK;
    int result = check_box(context, info);
    return result ? result : check_nearest(context, info);
}

int oracle_check_searches(struct oracle *oracle)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < oracle->content.table_count && !result; i++) {
        struct searching searching = {oracle, &oracle->content.tables[i]};
        result = mote_index_list(searching.table->handle, check_index, &searching);
    }
    return result ? -1 : MOTE_OK;
}
