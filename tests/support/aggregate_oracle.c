/* aggregate_oracle.c: see aggregate_oracle.h. */
#include "tests/support/aggregate_oracle.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_MAX = 8 };

struct figure {
    uint64_t count, numbers;
    __int128 sum_int;
    long double sum, sum_of_sizes;
    bool has_edge;
    int64_t edge_time_ns;
    struct mote_value edge, least, most;
};

struct group {
    __int128 bucket_ns;
    struct mote_value series[SERIES_MAX];
    uint64_t rows;
    struct figure *figures; /* one for each value asked */
};

struct aggregate_oracle {
    struct mote_table_info info;
    struct mote_aggregate_options options;
    struct mote_aggregate_value *values;
    uint32_t series_count;
    struct group *groups;
    size_t group_count, capacity, checked;
};

static void *need(void *memory)
{
    require(memory != NULL);
    return memory;
}

static struct mote_value keep_value(struct mote_value value)
{
    bool var = value.type == MOTE_TYPE_TEXT || value.type == MOTE_TYPE_BLOB;
    if (!var || value.is_null)
        return value;
    void *copy = need(malloc(value.as.bytes.size_bytes + 1));
    memcpy(copy, value.as.bytes.data, value.as.bytes.size_bytes);
    value.as.bytes.data = copy;
    return value;
}

static void drop_value(struct mote_value value)
{
    if ((value.type == MOTE_TYPE_TEXT || value.type == MOTE_TYPE_BLOB) && !value.is_null)
        free((void *)(uintptr_t)value.as.bytes.data);
}

/* Nanoseconds of a time column's value; seconds of float64 as the nearest nanosecond. */
static bool time_of(struct mote_value value, int64_t *time_ns)
{
    if (value.is_null)
        return false;
    if (value.type != MOTE_TYPE_FLOAT64) {
        *time_ns = value.as.i64;
        return true;
    }
    double ns = nearbyint(value.as.f64 * 1e9);
    if (!(ns >= -9223372036854775808.0 && ns < 9223372036854775808.0))
        return false;
    *time_ns = (int64_t)ns;
    return true;
}

static bool is_float(uint32_t type) { return type == MOTE_TYPE_FLOAT64 || type == MOTE_TYPE_FLOAT32; }

static long double number_of(struct mote_value value)
{
    switch (value.type) {
    case MOTE_TYPE_FLOAT64:
        return value.as.f64;
    case MOTE_TYPE_FLOAT32:
        return value.as.f32;
    case MOTE_TYPE_INT32:
        return value.as.i32;
    case MOTE_TYPE_BOOL:
        return value.as.boolean;
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        return value.as.i64; /* a long double of 64 bits holds it */
    default:
        return 0;
    }
}

static void add_value(struct figure *figure, uint32_t function, struct mote_value value, bool timed, bool has_time, int64_t time_ns)
{
    if (value.is_null)
        return;
    figure->count++;
    bool edge = function == MOTE_AGGREGATE_FIRST || function == MOTE_AGGREGATE_LAST;
    if (edge && (!timed || has_time)) {
        bool first = function == MOTE_AGGREGATE_FIRST;
        bool better = !figure->has_edge || (!timed ? !first : first ? time_ns < figure->edge_time_ns : time_ns >= figure->edge_time_ns);
        if (better) {
            figure->has_edge = true;
            figure->edge_time_ns = time_ns;
            figure->edge = value;
        }
    }
    if (function == MOTE_AGGREGATE_COUNT || edge)
        return;
    long double number = number_of(value);
    if (isnan(number))
        return;
    if (figure->numbers == 0 || number < number_of(figure->least))
        figure->least = value;
    if (figure->numbers == 0 || number > number_of(figure->most))
        figure->most = value;
    figure->numbers++;
    if (!is_float(value.type))
        figure->sum_int += value.type == MOTE_TYPE_INT32 ? value.as.i32 : value.type == MOTE_TYPE_BOOL ? value.as.boolean : value.as.i64;
    figure->sum += number;
    figure->sum_of_sizes += fabsl(number);
}

static struct group *find_group(struct aggregate_oracle *oracle, const struct mote_value *series, __int128 bucket_ns)
{
    for (size_t i = oracle->group_count; i-- > 0;) {
        struct group *group = &oracle->groups[i];
        bool same = group->bucket_ns == bucket_ns;
        for (uint32_t k = 0; k < oracle->series_count && same; k++)
            same = value_equal(&group->series[k], &series[k]);
        if (same)
            return group;
    }
    if (oracle->group_count == oracle->capacity) {
        oracle->capacity = oracle->capacity * 2 + 16;
        oracle->groups = need(realloc(oracle->groups, oracle->capacity * sizeof *oracle->groups));
    }
    struct group *group = &oracle->groups[oracle->group_count++];
    *group = (struct group){.bucket_ns = bucket_ns, .figures = need(calloc(oracle->options.value_count, sizeof(struct figure)))};
    for (uint32_t k = 0; k < oracle->series_count; k++)
        group->series[k] = keep_value(series[k]);
    return group;
}

static void add_row(struct aggregate_oracle *oracle, const struct mote_chunk *chunk, size_t row)
{
    const struct mote_aggregate_options *options = &oracle->options;
    int64_t time_ns = 0;
    bool timed = oracle->info.time_column >= 0, has_time = timed && time_of(chunk_value(chunk, (size_t)oracle->info.time_column, row), &time_ns);
    __int128 bucket_ns = 0;
    if (options->bucket_ns > 0) {
        if (!has_time)
            return;
        __int128 since = (__int128)time_ns - options->origin_ns, number = since / options->bucket_ns;
        if (number * options->bucket_ns > since)
            number--;
        bucket_ns = number * options->bucket_ns + options->origin_ns;
    }
    struct mote_value series[SERIES_MAX];
    for (uint32_t k = 0; k < oracle->series_count; k++)
        series[k] = chunk_value(chunk, oracle->info.key_columns[k], row);
    struct group *group = find_group(oracle, series, bucket_ns);
    group->rows++;
    for (size_t i = 0; i < options->value_count; i++)
        if (oracle->values[i].column != MOTE_AGGREGATE_ROWS)
            add_value(&group->figures[i], oracle->values[i].function, chunk_value(chunk, oracle->values[i].column, row), timed, has_time, time_ns);
}

static int compare_buckets(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return (x->bucket_ns > y->bucket_ns) - (x->bucket_ns < y->bucket_ns);
}

struct aggregate_oracle *aggregate_oracle_make(mote_table *table, const struct mote_aggregate_options *options)
{
    struct aggregate_oracle *oracle = need(calloc(1, sizeof *oracle));
    struct mote_scan_options scan = MOTE_SCAN_OPTIONS_INIT;
    uint32_t positions[64];
    mote_cursor *cursor;
    struct mote_chunk chunk;
    int code;
    oracle->info.size_bytes = sizeof oracle->info;
    must(mote_table_describe(table, &oracle->info));
    oracle->options = *options;
    oracle->values = need(malloc(options->value_count * sizeof *oracle->values));
    memcpy(oracle->values, options->values, options->value_count * sizeof *oracle->values);
    while (options->by_series && (int32_t)oracle->info.key_columns[oracle->series_count] != oracle->info.time_column)
        oracle->series_count++;
    scan.key_prefix = options->key_prefix;
    scan.key_prefix_count = options->key_prefix_count;
    scan.key_from = options->key_from;
    scan.key_from_count = options->key_from_count;
    scan.key_to = options->key_to;
    scan.key_to_count = options->key_to_count;
    scan.use_time_range = options->use_time_range;
    scan.time_from_ns = options->time_from_ns;
    scan.time_to_ns = options->time_to_ns;
    for (uint32_t i = 0; i < oracle->info.column_count; i++)
        positions[i] = i; /* a hidden rowid too */
    scan.columns = positions;
    scan.column_count = oracle->info.column_count;
    must(mote_scan(table, &scan, &cursor));
    while ((code = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0)
        for (size_t row = 0; row < chunk.row_count; row++)
            add_row(oracle, &chunk, row);
    must(code);
    mote_cursor_close(cursor);
    if (!options->by_series && oracle->group_count > 0)
        qsort(oracle->groups, oracle->group_count, sizeof *oracle->groups, compare_buckets);
    return oracle;
}

void aggregate_oracle_free(struct aggregate_oracle *oracle)
{
    for (size_t i = 0; i < oracle->group_count; i++) {
        free(oracle->groups[i].figures);
        for (uint32_t k = 0; k < oracle->series_count; k++)
            drop_value(oracle->groups[i].series[k]);
    }
    free(oracle->groups);
    free(oracle->values);
    free(oracle);
}

static bool sum_overflows(const struct figure *figure) { return figure->sum_int < INT64_MIN || figure->sum_int > INT64_MAX; }

bool aggregate_oracle_overflows(const struct aggregate_oracle *oracle)
{
    for (size_t i = 0; i < oracle->group_count; i++)
        for (size_t v = 0; v < oracle->options.value_count; v++)
            if (oracle->values[v].function == MOTE_AGGREGATE_SUM && sum_overflows(&oracle->groups[i].figures[v]))
                return true;
    return false;
}

/* Within what mote.h promises of any order of adding. */
static bool sum_close(double found, long double exact, long double sizes, uint64_t count)
{
    if (isnan(exact))
        return isnan(found);
    if (isinf(exact))
        return isinf(found) && (found > 0) == (exact > 0);
    return fabsl((long double)found - exact) <= (long double)(count + 4) * 0x1p-53L * sizes + DBL_TRUE_MIN;
}

static bool same_number(struct mote_value found, struct mote_value expected)
{
    if (!is_float(expected.type))
        return value_equal(&found, &expected);
    return found.type == expected.type && !found.is_null && number_of(found) == number_of(expected) && !(number_of(found) == 0 && signbit(number_of(found)));
}

static bool result_agrees(const struct mote_aggregate_value *asked, const struct group *group, const struct figure *figure, struct mote_value found)
{
    uint64_t count = asked->column == MOTE_AGGREGATE_ROWS ? group->rows : figure->count;
    bool none = figure->numbers == 0;
    switch (asked->function) {
    case MOTE_AGGREGATE_COUNT:
        return found.type == MOTE_TYPE_INT64 && !found.is_null && found.as.i64 == (int64_t)count;
    case MOTE_AGGREGATE_MIN:
        return none ? found.is_null : same_number(found, figure->least);
    case MOTE_AGGREGATE_MAX:
        return none ? found.is_null : same_number(found, figure->most);
    case MOTE_AGGREGATE_SUM:
        if (none || found.is_null)
            return none && found.is_null;
        return is_float(figure->least.type) ? found.type == MOTE_TYPE_FLOAT64 && sum_close(found.as.f64, figure->sum, figure->sum_of_sizes, figure->numbers)
                                            : found.type == MOTE_TYPE_INT64 && found.as.i64 == (int64_t)figure->sum_int;
    case MOTE_AGGREGATE_MEAN: {
        if (none || found.is_null)
            return none && found.is_null;
        long double count_ld = figure->numbers, sum = is_float(figure->least.type) ? figure->sum : (long double)figure->sum_int;
        return found.type == MOTE_TYPE_FLOAT64 && sum_close(found.as.f64, sum / count_ld, figure->sum_of_sizes / count_ld, figure->numbers + 4);
    }
    default:
        return figure->has_edge ? value_equal(&found, &figure->edge) : found.is_null;
    }
}

static bool row_agrees(const struct aggregate_oracle *oracle, const struct mote_chunk *chunk, size_t row, char *text)
{
    const struct group *group = &oracle->groups[oracle->checked];
    size_t at = 0;
    for (uint32_t k = 0; k < oracle->series_count; k++) {
        struct mote_value found = chunk_value(chunk, at++, row);
        if (!value_equal(&found, &group->series[k])) {
            snprintf(text, ORACLE_TEXT_BYTES, "result %zu is of another series", oracle->checked);
            return false;
        }
    }
    if (oracle->options.bucket_ns > 0) {
        struct mote_value found = chunk_value(chunk, at++, row);
        int64_t expected = group->bucket_ns < INT64_MIN ? INT64_MIN : (int64_t)group->bucket_ns;
        if (found.type != MOTE_TYPE_TIMESTAMP || found.is_null || found.as.i64 != expected) {
            snprintf(text, ORACLE_TEXT_BYTES, "result %zu is of bucket %lld, not %lld", oracle->checked, (long long)found.as.i64, (long long)expected);
            return false;
        }
    }
    for (size_t i = 0; i < oracle->options.value_count; i++) {
        struct mote_value found = chunk_value(chunk, at++, row);
        const struct figure *figure = &group->figures[i];
        if (!result_agrees(&oracle->values[i], group, figure, found)) {
            snprintf(text, ORACLE_TEXT_BYTES, "result %zu of %zu (bucket %lld, %llu rows): function %u of column %u is %s%.17Lg (bits %llx), expected of %llu values: sum %.17Lg, least %.17Lg, most %.17Lg, edge %.17Lg", oracle->checked,
                     oracle->group_count, (long long)group->bucket_ns, (unsigned long long)group->rows, oracle->values[i].function, oracle->values[i].column, found.is_null ? "NULL " : "", number_of(found),
                     (unsigned long long)found.as.i64, (unsigned long long)figure->count, figure->sum, number_of(figure->least), number_of(figure->most), number_of(figure->edge));
            return false;
        }
    }
    return true;
}

bool aggregate_oracle_check(struct aggregate_oracle *oracle, const struct mote_chunk *chunk, char *text)
{
    uint32_t rows_max = oracle->options.chunk_rows ? oracle->options.chunk_rows : 4096;
    if (chunk->row_count > rows_max) {
        snprintf(text, ORACLE_TEXT_BYTES, "a chunk of %zu rows, %u were allowed", chunk->row_count, rows_max);
        return false;
    }
    if (chunk->row_count == 0 && oracle->checked < oracle->group_count)
        snprintf(text, ORACLE_TEXT_BYTES, "%zu results came, %zu were expected", oracle->checked, oracle->group_count);
    if (chunk->row_count == 0)
        return oracle->checked == oracle->group_count;
    for (size_t row = 0; row < chunk->row_count; row++, oracle->checked++) {
        if (oracle->checked == oracle->group_count) {
            snprintf(text, ORACLE_TEXT_BYTES, "more than the %zu results expected", oracle->group_count);
            return false;
        }
        if (!row_agrees(oracle, chunk, row, text))
            return false;
    }
    return true;
}

bool aggregate_agrees(mote_table *table, const struct mote_aggregate_options *options, char *text)
{
    struct aggregate_oracle *oracle = aggregate_oracle_make(table, options);
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    bool good = true;
    int code;
    must(mote_aggregate(table, options, &aggregation));
    do {
        code = mote_aggregation_next(aggregation, &chunk);
        if (!code)
            good = aggregate_oracle_check(oracle, &chunk, text);
    } while (!code && good && chunk.row_count > 0);
    if (code == MOTE_ERANGE && aggregate_oracle_overflows(oracle))
        code = MOTE_OK;
    else if (!code && good && aggregate_oracle_overflows(oracle))
        good = snprintf(text, ORACLE_TEXT_BYTES, "a sum beyond an int64 was no error") < 0;
    must(code);
    mote_aggregation_close(aggregation);
    aggregate_oracle_free(oracle);
    return good;
}

bool count_agrees(mote_table *table, const struct mote_scan_options *options, char *text)
{
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t expected = 0, found = UINT64_MAX;
    int code;
    must(mote_scan(table, options, &cursor));
    while ((code = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0)
        expected += chunk.row_count;
    must(code);
    mote_cursor_close(cursor);
    must(mote_count(table, options, &found));
    if (found != expected)
        snprintf(text, ORACLE_TEXT_BYTES, "mote_count says %llu rows, a scan has %llu", (unsigned long long)found, (unsigned long long)expected);
    return found == expected;
}

/* ---- Latest rows: the rows of a scan, but each that the next one of the same series follows ---- */

struct kept_rows {
    struct mote_value *values;
    size_t count, capacity, columns;
};

static void keep_row(struct kept_rows *rows, const struct mote_chunk *chunk, size_t row, const uint32_t *same, uint32_t same_count, bool first_of_series_counts)
{
    rows->columns = chunk->column_count;
    bool follows = rows->count > 0;
    for (uint32_t k = 0; k < same_count && follows; k++) {
        struct mote_value now = chunk_value(chunk, same[k], row);
        follows = value_equal(&now, &rows->values[(rows->count - 1) * rows->columns + same[k]]);
    }
    if (follows && first_of_series_counts)
        return;
    if (follows) {
        rows->count--;
        for (size_t i = 0; i < rows->columns; i++)
            drop_value(rows->values[rows->count * rows->columns + i]);
    }
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity * 2 + 16;
        rows->values = need(realloc(rows->values, rows->capacity * rows->columns * sizeof *rows->values));
    }
    for (size_t i = 0; i < rows->columns; i++)
        rows->values[rows->count * rows->columns + i] = keep_value(chunk_value(chunk, i, row));
    rows->count++;
}

bool latest_agrees(mote_table *table, const struct mote_scan_options *options, char *text)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    struct mote_scan_options all = *options;
    struct kept_rows rows = {0};
    uint32_t series_count = 0;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    size_t checked = 0;
    bool good = true;
    int code;
    must(mote_table_describe(table, &info));
    while ((int32_t)info.key_columns[series_count] != info.time_column)
        series_count++;
    all.limit = 0;
    all.chunk_rows = 0;
    must(mote_scan(table, &all, &cursor));
    while ((code = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0)
        for (size_t row = 0; row < chunk.row_count; row++)
            keep_row(&rows, &chunk, row, info.key_columns, series_count, options->descending != 0);
    must(code);
    mote_cursor_close(cursor);
    size_t expected = options->limit && rows.count > options->limit ? (size_t)options->limit : rows.count;
    must(mote_latest(table, options, &cursor));
    while (good && (code = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0)
        for (size_t row = 0; row < chunk.row_count && good; row++, checked++)
            for (size_t i = 0; i < rows.columns && good; i++) {
                struct mote_value found = chunk_value(&chunk, i, row);
                good = checked < expected && value_equal(&found, &rows.values[checked * rows.columns + i]);
            }
    must(code);
    mote_cursor_close(cursor);
    if (!good || checked != expected)
        snprintf(text, ORACLE_TEXT_BYTES, "latest row %zu of %zu differs or is one too many, or only so many came", checked, expected);
    for (size_t i = 0; i < rows.count * rows.columns; i++)
        drop_value(rows.values[i]);
    free(rows.values);
    return good && checked == expected;
}
