/* oracle_reads.c: samples of gets and scans against the full scan that was found right (oracle.h). */
#include <stdio.h>
#include <string.h>

#include "tests/support/oracle.h"

struct wanted {
    struct oracle *oracle;
    const struct content_table *table;
    bool (*matches)(const struct wanted *wanted, const uint8_t *row);
    bool descending;
    uint32_t next;     /* row of the content, counted from the table's first (descending: from behind) */
    uint64_t left;     /* limit */
    const char *what;
    int64_t time_from_ns, time_to_ns;
    const uint8_t *key_from, *key_to; /* rows */
    uint32_t key_count;
};

static const uint8_t *table_row(const struct content *content, const struct content_table *table, uint32_t row, size_t *row_bytes)
{
    uint32_t at = table->row_first + row;
    *row_bytes = content->row_at[at + 1] - content->row_at[at];
    return content->bytes + content->row_at[at];
}

/* The next row of the content that the scan should yield; NULL: none. */
static const uint8_t *next_wanted(struct wanted *wanted, size_t *row_bytes)
{
    while (wanted->left > 0 && wanted->next < wanted->table->row_count) {
        uint32_t row = wanted->descending ? wanted->table->row_count - 1 - wanted->next : wanted->next;
        const uint8_t *cells = table_row(&wanted->oracle->content, wanted->table, row, row_bytes);
        wanted->next++;
        if (wanted->matches(wanted, cells)) {
            wanted->left--;
            return cells;
        }
    }
    return NULL;
}

static int compare_row(void *context, const uint8_t *row, size_t row_bytes)
{
    struct wanted *wanted = context;
    size_t wanted_bytes = 0;
    char got[300], text[300] = "the end";
    const uint8_t *cells = next_wanted(wanted, &wanted_bytes);
    if (cells && wanted_bytes == row_bytes && memcmp(cells, row, row_bytes) == 0)
        return MOTE_OK;
    row_describe(&wanted->table->schema, row, got, sizeof got);
    if (cells)
        row_describe(&wanted->table->schema, cells, text, sizeof text);
    oracle_fail(wanted->oracle, "a scan of %s by %s yields %s, wanted %s", wanted->table->schema.name, wanted->what, got, text);
    return 1;
}

static int run_scan(struct wanted *wanted, struct mote_scan_options *options)
{
    struct oracle *oracle = wanted->oracle;
    static const uint32_t CHUNK_ROWS[] = {0, 1, 5, 33};
    size_t row_bytes;
    options->descending = wanted->descending = random_one_in(&oracle->random, 2);
    options->limit = random_one_in(&oracle->random, 4) ? 1 + random_below(&oracle->random, 10) : 0;
    options->chunk_rows = CHUNK_ROWS[random_below(&oracle->random, 4)];
    wanted->left = options->limit ? options->limit : UINT64_MAX;
    int result = oracle_scan(wanted->table->handle, &wanted->table->schema, options, compare_row, wanted);
    if (result < 0)
        return oracle_fail_code(oracle, result, "a scan of %s by %s", wanted->table->schema.name, wanted->what);
    const uint8_t *missed = result ? NULL : next_wanted(wanted, &row_bytes);
    if (missed) {
        char text[300];
        row_describe(&wanted->table->schema, missed, text, sizeof text);
        return oracle_fail(oracle, "a scan of %s by %s (%s, limit %llu, chunks of %u) ends before %s", wanted->table->schema.name, wanted->what, wanted->descending ? "descending" : "ascending",
                           (unsigned long long)options->limit, options->chunk_rows, text);
    }
    return result ? -1 : MOTE_OK;
}

/* ---- Time ranges ---- */

static bool matches_time(const struct wanted *wanted, const uint8_t *row)
{
    int64_t time_ns;
    return row_model_time(&wanted->table->schema, row, &time_ns) && time_ns >= wanted->time_from_ns && time_ns <= wanted->time_to_ns;
}

static int64_t random_time(struct oracle *oracle, const struct content_table *table)
{
    size_t row_bytes;
    int64_t time_ns = 0;
    row_model_time(&table->schema, table_row(&oracle->content, table, random_below(&oracle->random, table->row_count), &row_bytes), &time_ns);
    return time_ns + (int64_t)random_below(&oracle->random, 3) - 1;
}

static int check_time_range(struct oracle *oracle, const struct content_table *table)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct wanted wanted = {.oracle = oracle, .table = table, .matches = matches_time, .what = "time range"};
    if (table->schema.time_column < 0 || table->row_count == 0)
        return MOTE_OK;
    int64_t a = random_time(oracle, table), b = random_time(oracle, table);
    options.use_time_range = 1;
    options.time_from_ns = wanted.time_from_ns = a < b ? a : b;
    options.time_to_ns = wanted.time_to_ns = a < b ? b : a;
    if (random_one_in(&oracle->random, 6)) {
        options.time_from_ns = wanted.time_from_ns = INT64_MIN;
        options.time_to_ns = wanted.time_to_ns = INT64_MAX;
    }
    return run_scan(&wanted, &options);
}

/* ---- Key ranges ---- */

static int compare_prefix(const struct model_schema *schema, const uint8_t *a, const uint8_t *b, uint32_t key_count)
{
    for (uint32_t k = 0; k < key_count; k++) {
        uint32_t position = schema->key[k];
        int order = cell_compare(&schema->columns[position], row_cell(schema, a, position), row_cell(schema, b, position));
        if (order)
            return order;
    }
    return 0;
}

static bool matches_key(const struct wanted *wanted, const uint8_t *row)
{
    const struct model_schema *schema = &wanted->table->schema;
    bool from = !wanted->key_from || compare_prefix(schema, row, wanted->key_from, wanted->key_count) >= 0;
    return from && (!wanted->key_to || compare_prefix(schema, row, wanted->key_to, wanted->key_count) <= 0);
}

static void key_values(const struct model_schema *schema, const uint8_t *row, struct mote_value *values)
{
    for (uint32_t k = 0; k < schema->key_count; k++)
        cell_to_value(&schema->columns[schema->key[k]], row_cell(schema, row, schema->key[k]), &values[k]);
}

static int check_key_range(struct oracle *oracle, const struct content_table *table)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct wanted wanted = {.oracle = oracle, .table = table, .matches = matches_key, .what = "key range"};
    struct mote_value from[MODEL_KEY_MAX], to[MODEL_KEY_MAX];
    size_t row_bytes;
    if (table->row_count == 0)
        return MOTE_OK;
    wanted.key_from = table_row(&oracle->content, table, random_below(&oracle->random, table->row_count), &row_bytes);
    wanted.key_to = table_row(&oracle->content, table, random_below(&oracle->random, table->row_count), &row_bytes);
    wanted.key_count = 1 + random_below(&oracle->random, table->schema.key_count);
    if (random_one_in(&oracle->random, 3)) {
        wanted.what = "key prefix";
        wanted.key_to = wanted.key_from;
        options.key_prefix = from;
        options.key_prefix_count = wanted.key_count;
        key_values(&table->schema, wanted.key_from, from);
        return run_scan(&wanted, &options);
    }
    if (random_one_in(&oracle->random, 5))
        wanted.key_from = NULL;
    if (wanted.key_from) {
        key_values(&table->schema, wanted.key_from, from);
        options.key_from = from;
        options.key_from_count = wanted.key_count;
    }
    key_values(&table->schema, wanted.key_to, to);
    options.key_to = to;
    options.key_to_count = wanted.key_count;
    return run_scan(&wanted, &options);
}

/* ---- Gets ---- */

static int compare_got(struct oracle *oracle, const struct content_table *table, const mote_row *row, const uint8_t *cells, size_t row_bytes, uint64_t seq)
{
    uint8_t got[MODEL_ROW_BYTES_MAX * 2];
    size_t at = 0;
    for (uint32_t i = 0; i < table->schema.column_count; i++) {
        struct mote_value value;
        int result = mote_row_value(row, i, &value);
        if (result)
            return oracle_fail_code(oracle, result, "column %u of a row of %s", i, table->schema.name);
        at += cell_from_value(&table->schema.columns[i], &value, got + at);
    }
    if (at != row_bytes || memcmp(got, cells, at) != 0) {
        char text[300], wanted[300];
        row_describe(&table->schema, got, text, sizeof text);
        row_describe(&table->schema, cells, wanted, sizeof wanted);
        return oracle_fail(oracle, "get of %s yields %s, the scan %s", table->schema.name, text, wanted);
    }
    if (mote_row_seq(row) != seq)
        return oracle_fail(oracle, "get of %s says seq %llu, the row was written with %llu", table->schema.name, (unsigned long long)mote_row_seq(row), (unsigned long long)seq);
    return MOTE_OK;
}

static int check_present(struct oracle *oracle, const struct model *model, uint32_t point, const struct content_table *table)
{
    struct mote_value values[MODEL_KEY_MAX];
    uint8_t key[MODEL_ROW_BYTES_MAX];
    size_t row_bytes;
    mote_row *row = NULL;
    const uint8_t *cells = table_row(&oracle->content, table, random_below(&oracle->random, table->row_count), &row_bytes);
    key_values(&table->schema, cells, values);
    int result = mote_get(table->handle, values, table->schema.key_count, &row);
    if (result)
        return oracle_fail_code(oracle, result, "get of a row of %s that a scan yields", table->schema.name);
    int number = model_find_table_at(model, point, table->schema.name);
    const struct model_row *wanted = model_find_row_at(model, point, (uint32_t)number, key, row_key(&table->schema, cells, key));
    result = wanted ? compare_got(oracle, table, row, cells, row_bytes, wanted->seq) : oracle_fail(oracle, "the model has no such row in %s", table->schema.name);
    mote_row_free(row);
    return result;
}

/* Any key that was ever written to the table: present, deleted, or of a later point. */
static int check_any(struct oracle *oracle, const struct model *model, uint32_t point, const struct content_table *table)
{
    struct mote_value values[MODEL_KEY_MAX];
    int number = model_find_table_at(model, point, table->schema.name);
    if (model->op_count == 0 || number < 0)
        return MOTE_OK;
    const struct model_op *op = model->ops[random_below(&oracle->random, model->op_count)];
    if (op->row_count == 0 || op->table != (uint32_t)number)
        return MOTE_OK;
    const struct model_row *chosen = op->rows[random_below(&oracle->random, op->row_count)];
    const struct model_row *wanted = model_find_row_at(model, point, (uint32_t)number, chosen->bytes, chosen->key_bytes);
    const uint8_t *at = chosen->bytes;
    for (uint32_t k = 0; k < table->schema.key_count; k++) {
        const struct model_column *column = &table->schema.columns[table->schema.key[k]];
        cell_to_value(column, at, &values[k]);
        at += cell_bytes(column, at);
    }
    mote_row *row = NULL;
    int result = mote_get(table->handle, values, table->schema.key_count, &row);
    bool present = wanted && wanted->row_bytes;
    if (present && result == MOTE_OK && mote_row_seq(row) != wanted->seq)
        result = oracle_fail(oracle, "get of %s says seq %llu, the row was written with %llu", table->schema.name, (unsigned long long)mote_row_seq(row), (unsigned long long)wanted->seq);
    else if (result != (present ? MOTE_OK : MOTE_ENOTFOUND))
        result = oracle_fail_code(oracle, result, "get of a key of %s that %s", table->schema.name, present ? "has a row" : "has none");
    else
        result = MOTE_OK;
    mote_row_free(row);
    return result;
}

int oracle_check_reads(struct oracle *oracle, mote_db *db, const struct model *model, uint32_t point)
{
    mote_table *none;
    if (mote_table_open(db, "never made", &none) != MOTE_ENOTABLE)
        return oracle_fail(oracle, "a table that was never made can be opened");
    for (uint32_t t = 0; t < oracle->content.table_count; t++) {
        const struct content_table *table = &oracle->content.tables[t];
        for (int i = 0; i < 2; i++) {
            if ((table->row_count && check_present(oracle, model, point, table)) || check_any(oracle, model, point, table))
                return -1;
        }
        if (check_time_range(oracle, table) || check_key_range(oracle, table))
            return -1;
    }
    return MOTE_OK;
}
