/* tolerant.c: reads of a damaged volume: the right answer or an error that names the range (sealed.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sealed.h"

/* ---- The content that must be read, out of the model ---- */

static _Thread_local const struct model_schema *sort_schema;

static int compare_cells(const void *a, const void *b)
{
    const uint8_t *const *x = a, *const *y = b;
    return row_compare_keys(sort_schema, *x, *y);
}

static void append_row(struct content *content, const uint8_t *row, size_t row_bytes)
{
    if (content->row_count + 2 > content->row_capacity) {
        content->row_capacity = content->row_capacity ? content->row_capacity * 2 : 1024;
        content->row_at = realloc(content->row_at, content->row_capacity * sizeof *content->row_at);
    }
    size_t at = content->row_count ? content->row_at[content->row_count] : 0;
    if (at + row_bytes > content->byte_capacity) {
        content->byte_capacity = (at + row_bytes) * 2;
        content->bytes = realloc(content->bytes, content->byte_capacity);
    }
    if (!content->row_at || !content->bytes)
        abort();
    content->row_at[content->row_count] = at;
    memcpy(content->bytes + at, row, row_bytes);
    content->row_at[++content->row_count] = at + row_bytes;
}

static void add_table(const struct model *model, uint32_t number, struct content *content)
{
    const struct model_table *from = &model->tables[number];
    struct content_table *table = &content->tables[content->table_count++];
    uint8_t **rows = malloc((from->row_count + 1) * sizeof *rows), cells[MODEL_ROW_BYTES_MAX];
    uint32_t count = 0;
    *table = (struct content_table){.schema = from->schema, .row_first = content->row_count, .row_count = from->row_count};
    for (uint32_t i = 0; i < from->slot_count; i++) {
        if (!from->slots[i] || !from->slots[i]->row_bytes)
            continue;
        size_t row_bytes = model_row_now(model, number, from->slots[i], cells);
        rows[count] = malloc(row_bytes);
        memcpy(rows[count++], cells, row_bytes);
    }
    sort_schema = &from->schema;
    qsort(rows, count, sizeof *rows, compare_cells);
    for (uint32_t i = 0; i < count; i++) {
        append_row(content, rows[i], (size_t)(row_cell(&from->schema, rows[i], from->schema.column_count) - rows[i]));
        free(rows[i]);
    }
    free(rows);
}

void content_of_model(const struct model *model, struct content *content)
{
    content->table_count = content->row_count = 0;
    for (uint32_t i = 0; i < model->table_count; i++) {
        if (model->tables[i].live)
            add_table(model, i, content);
    }
}

/* ---- Reads ---- */

int tolerant_error(struct oracle *oracle, int code, const char *what)
{
    struct mote_error error;
    mote_last_error(&error);
    if (code != MOTE_EDAMAGED && code != MOTE_EIO && code != MOTE_ELOST && code != MOTE_ENODEV)
        return oracle_fail_code(oracle, code, "%s of a damaged volume fails with the wrong error", what);
    if (error.code != code || (error.length_bytes == 0 && error.lsn == UINT64_MAX) || error.message[0] == 0)
        return oracle_fail_code(oracle, code, "%s fails without naming the range (offset %llu, length %llu)", what, (unsigned long long)error.offset_bytes, (unsigned long long)error.length_bytes);
    return MOTE_OK;
}

struct following {
    struct oracle *oracle;
    const struct content *content;
    const struct content_table *table;
    bool by_time;
    int64_t from_ns, to_ns;
    uint32_t next;
};

static const uint8_t *row_of(const struct following *following, uint32_t row, size_t *row_bytes)
{
    uint32_t at = following->table->row_first + row;
    *row_bytes = following->content->row_at[at + 1] - following->content->row_at[at];
    return following->content->bytes + following->content->row_at[at];
}

static const uint8_t *next_row(struct following *following, size_t *row_bytes)
{
    int64_t time_ns;
    while (following->next < following->table->row_count) {
        const uint8_t *row = row_of(following, following->next++, row_bytes);
        if (!following->by_time || (row_model_time(&following->table->schema, row, &time_ns) && time_ns >= following->from_ns && time_ns <= following->to_ns))
            return row;
    }
    return NULL;
}

static int follow(void *context, const uint8_t *row, size_t row_bytes)
{
    struct following *following = context;
    size_t wanted_bytes = 0;
    const uint8_t *wanted = next_row(following, &wanted_bytes);
    if (wanted && wanted_bytes == row_bytes && memcmp(wanted, row, row_bytes) == 0)
        return MOTE_OK;
    char got[300], text[300] = "the end";
    row_describe(&following->table->schema, row, got, sizeof got);
    if (wanted)
        row_describe(&following->table->schema, wanted, text, sizeof text);
    return oracle_fail(following->oracle, "a scan of the damaged table %s yields %s, wanted %s", following->table->schema.name, got, text), 1;
}

static int follow_scan(struct following *following, mote_table *handle, struct tolerance *tolerance)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    size_t row_bytes;
    following->next = 0;
    options.use_time_range = following->by_time;
    options.time_from_ns = following->from_ns;
    options.time_to_ns = following->to_ns;
    int result = oracle_scan(handle, &following->table->schema, &options, follow, following);
    if (result > 0)
        return -1;
    if (result < 0) {
        tolerance->errors++;
        return tolerant_error(following->oracle, result, "a scan");
    }
    tolerance->answers++;
    if (next_row(following, &row_bytes))
        return oracle_fail(following->oracle, "a scan of the damaged table %s ends too early and says nothing", following->table->schema.name);
    return MOTE_OK;
}

static int tolerant_get(struct following *following, mote_table *handle, uint32_t row, struct tolerance *tolerance)
{
    const struct model_schema *schema = &following->table->schema;
    struct mote_value values[MODEL_KEY_MAX];
    uint8_t got[MODEL_ROW_BYTES_MAX * 2];
    size_t row_bytes, at = 0;
    const uint8_t *cells = row_of(following, row, &row_bytes);
    mote_row *found = NULL;
    for (uint32_t k = 0; k < schema->key_count; k++)
        cell_to_value(&schema->columns[schema->key[k]], row_cell(schema, cells, schema->key[k]), &values[k]);
    int result = mote_get(handle, values, schema->key_count, &found);
    if (result) {
        tolerance->errors++;
        return tolerant_error(following->oracle, result, "a get");
    }
    for (uint32_t i = 0; i < schema->column_count && !result; i++) {
        struct mote_value value;
        result = mote_row_value(found, i, &value);
        at += result ? 0 : cell_from_value(&schema->columns[i], &value, got + at);
    }
    mote_row_free(found);
    tolerance->answers++;
    if (result || at != row_bytes || memcmp(got, cells, at) != 0)
        return oracle_fail(following->oracle, "a get from the damaged table %s yields another row", schema->name);
    return MOTE_OK;
}

static int check_table(struct oracle *oracle, mote_db *db, const struct content *wanted, const struct content_table *table, uint32_t gets, struct tolerance *tolerance)
{
    struct following following = {.oracle = oracle, .content = wanted, .table = table};
    mote_table *handle;
    int result = mote_table_open(db, table->schema.name, &handle);
    if (result)
        return oracle_fail_code(oracle, result, "table %s of a damaged volume", table->schema.name);
    result = follow_scan(&following, handle, tolerance);
    for (uint32_t i = 0; i < gets && !result && table->row_count; i++)
        result = tolerant_get(&following, handle, gets >= table->row_count ? i % table->row_count : random_below(&oracle->random, table->row_count), tolerance);
    if (result || table->schema.time_column < 0 || table->row_count == 0)
        return result;
    following.by_time = true;
    following.from_ns = INT64_MIN;
    following.to_ns = INT64_MAX;
    result = follow_scan(&following, handle, tolerance);
    for (int i = 0; i < 2 && !result; i++) {
        size_t row_bytes;
        int64_t a = 0, b = 0;
        row_model_time(&table->schema, row_of(&following, random_below(&oracle->random, table->row_count), &row_bytes), &a);
        row_model_time(&table->schema, row_of(&following, random_below(&oracle->random, table->row_count), &row_bytes), &b);
        following.from_ns = a < b ? a : b;
        following.to_ns = a < b ? b : a;
        result = follow_scan(&following, handle, tolerance);
    }
    return result;
}

struct counting {
    uint32_t count;
};

static int count_table(mote_table *table, const char *name, void *context)
{
    (void)table;
    (void)name;
    ((struct counting *)context)->count++;
    return 0;
}

int tolerant_check(struct oracle *oracle, mote_db *db, const struct content *wanted, uint32_t gets, struct tolerance *tolerance)
{
    struct counting counting = {0};
    if (mote_table_list(db, count_table, &counting) || counting.count != wanted->table_count)
        return oracle_fail(oracle, "the damaged volume has %u tables, not %u", counting.count, wanted->table_count);
    for (uint32_t t = 0; t < wanted->table_count; t++) {
        if (check_table(oracle, db, wanted, &wanted->tables[t], gets, tolerance))
            return -1;
    }
    return MOTE_OK;
}
