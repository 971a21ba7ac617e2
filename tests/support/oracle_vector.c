/* oracle_vector.c: what a vector index answers, against the rows that a scan found (oracle.h): asked for exact answers, all rows with a vector in the order of their distances, and the nearest few. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle_vector.h"
#include "tests/support/vector_world.h"

enum { DIMENSION_MAX = 64, FEW = 7 };

/* The row's vector, if it has one that an index holds. */
static bool row_vector(const struct model_schema *schema, const uint8_t *row, uint32_t column, float *vector)
{
    const uint8_t *cell = row_cell(schema, row, column);
    uint32_t dimension = schema->columns[column].dimension;
    bool finite = cell[0] != 0;
    if (finite)
        memcpy(vector, cell + 1, dimension * sizeof *vector);
    for (uint32_t i = 0; finite && i < dimension; i++)
        finite = isfinite(vector[i]);
    return finite;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int check_search(struct oracle *oracle, const struct content_table *table, const struct mote_search_options *options, const double *distances, uint64_t count)
{
    uint64_t wanted = count < options->limit ? count : options->limit, at = 0, different = 0;
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    int result = mote_search(table->handle, options, &hits);
    if (result)
        return oracle_fail_code(oracle, result, "a search of the vectors of table %s", table->schema.name);
    do {
        result = mote_hits_next(hits, &chunk);
        for (size_t i = 0; !result && i < chunk.row_count; i++, at++)
            different += at >= count || chunk.scores[i] < distances[at] || chunk.scores[i] > distances[at];
    } while (!result && chunk.row_count > 0);
    mote_hits_close(hits);
    if (result)
        return oracle_fail_code(oracle, result, "the nearest vectors of table %s", table->schema.name);
    return at == wanted && !different ? MOTE_OK
                                      : oracle_fail(oracle, "%llu nearest vectors of table %s were found, not %llu, %llu of them at another distance", (unsigned long long)at, table->schema.name, (unsigned long long)wanted,
                                                    (unsigned long long)different);
}

int oracle_check_vectors(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info)
{
    uint32_t column = info->columns[0], dimension = table->schema.columns[column].dimension;
    float query[DIMENSION_MAX], vector[DIMENSION_MAX];
    struct mote_term term = {.kind = MOTE_TERM_VECTOR, .flags = MOTE_TERM_EXACT, .index = info->name, .vector = query, .dimension = dimension};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    uint64_t count = 0;
    double *distances = dimension <= DIMENSION_MAX ? malloc((table->row_count + 1) * sizeof *distances) : NULL;
    if (!distances)
        abort();
    for (uint32_t i = 0; i < dimension; i++)
        query[i] = (float)(random_below(&oracle->random, 2001) / 1000.0 - 1);
    for (uint32_t row = table->row_first; row < table->row_first + table->row_count; row++)
        if (row_vector(&table->schema, oracle->content.bytes + oracle->content.row_at[row], column, vector))
            distances[count++] = vector_world_distance((enum vector_metric)info->metric, query, vector, dimension);
    qsort(distances, count, sizeof *distances, compare_doubles);
    options.terms = &term;
    options.term_count = 1;
    options.columns = &column;
    options.column_count = 1;
    options.limit = count + FEW;
    int result = check_search(oracle, table, &options, distances, count);
    options.limit = FEW;
    if (!result)
        result = check_search(oracle, table, &options, distances, count);
    free(distances);
    return result;
}
