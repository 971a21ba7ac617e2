/* workload.c: what the seeded owner does (workload.h). Opening, closing and marks: workload_run.c. */
#include "tests/support/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/workload_private.h"

#define BATCH_ROWS_MAX 64u

/* ---- Rows on their way in ---- */

struct intake {
    struct run *run;
    uint32_t table;
    mote_table *handle;
    const struct model_schema *schema;
    uint32_t count;
    uint8_t *rows[BATCH_ROWS_MAX];
    size_t row_bytes[BATCH_ROWS_MAX];
    uint32_t absent; /* bits of columns that are left out */
    bool batch, insert, engine_ids;
    uint32_t durability;
};

static struct row_source row_source(struct run *run)
{
    return (struct row_source){&run->random, &run->serial, &run->clock_ns, random_one_in(&run->random, 4)};
}

static void free_intake(struct intake *intake)
{
    for (uint32_t i = 0; i < intake->count; i++)
        free(intake->rows[i]);
    intake->count = 0;
}

static bool repeats_key(const struct intake *intake, const uint8_t *row)
{
    uint8_t key[MODEL_ROW_BYTES_MAX];
    if (model_find_row(intake->run->model, intake->table, key, row_key(intake->schema, row, key)))
        return true;
    for (uint32_t i = 0; i < intake->count; i++) {
        if (row_compare_keys(intake->schema, intake->rows[i], row) == 0)
            return true;
    }
    return false;
}

static void add_row(struct intake *intake, const uint8_t *row, size_t row_bytes)
{
    uint8_t *copy = malloc(row_bytes);
    if (!copy)
        abort();
    memcpy(copy, row, row_bytes);
    intake->rows[intake->count] = copy;
    intake->row_bytes[intake->count++] = row_bytes;
}

/* A row for the table: new, or (replace) of a key that is there. An append-only table never gets a key twice. */
static void make_row(struct intake *intake, bool replace)
{
    struct run *run = intake->run;
    struct row_source source = row_source(run);
    uint8_t row[MODEL_ROW_BYTES_MAX], old[MODEL_ROW_BYTES_MAX];
    bool once = (intake->schema->flags & MOTE_TABLE_APPEND_ONLY) != 0;
    const struct model_row *present = replace && !once && !intake->schema->hidden ? model_random_row(run->model, intake->table, &run->random) : NULL;
    if (present) {
        model_row_now(run->model, intake->table, present, old);
        add_row(intake, row, workload_replace_row(&source, intake->schema, old, row));
        return;
    }
    size_t row_bytes;
    do
        row_bytes = workload_new_row(&source, intake->schema, row);
    while (once && repeats_key(intake, row));
    add_row(intake, row, row_bytes);
}

/* Leaves out some columns that may be absent: their cells become what an absent column reads as. */
static void leave_out(struct intake *intake)
{
    for (uint32_t i = 0; i < intake->schema->column_count; i++) {
        const struct model_column *column = &intake->schema->columns[i];
        bool may = column->default_bytes || !(column->flags & (MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_HIDDEN));
        if (!may || !random_one_in(&intake->run->random, 5))
            continue;
        uint8_t cell[64];
        size_t size_bytes = cell_absent(column, cell);
        intake->absent |= 1u << i;
        for (uint32_t r = 0; r < intake->count; r++) {
            intake->rows[r] = realloc(intake->rows[r], intake->row_bytes[r] + sizeof cell);
            intake->row_bytes[r] = workload_set_cell(intake->schema, intake->rows[r], intake->row_bytes[r], i, cell, size_bytes);
        }
    }
}

/* ---- The call ---- */

static int call_single(struct intake *intake, const struct mote_write_options *options, uint64_t *ticket)
{
    struct mote_value values[MODEL_COLUMNS_MAX];
    size_t count = workload_row_values(intake->schema, intake->rows[0], values);
    uint32_t hidden = intake->schema->hidden ? 1 : 0;
    if (intake->engine_ids && !intake->schema->hidden)
        values[intake->schema->key[0]].is_null = 1;
    while (count > 0 && intake->absent >> (count - 1 + hidden) & 1)
        count--; /* the last ones may simply be missing */
    return intake->insert ? mote_insert(intake->handle, values, count, options, ticket) : mote_append(intake->handle, values, count, options, ticket);
}

static int call_batch(struct intake *intake, const struct mote_write_options *options, uint64_t *ticket)
{
    struct batch_memory made;
    uint32_t absent = intake->absent;
    if (intake->engine_ids && !intake->schema->hidden)
        absent |= 1u << intake->schema->key[0];
    workload_make_batch(intake->schema, (const uint8_t *const *)intake->rows, intake->count, absent, &intake->run->random, &made);
    int result = intake->insert ? mote_insert_columns(intake->handle, &made.batch, options, ticket) : mote_append_columns(intake->handle, &made.batch, options, ticket);
    workload_free_batch(&made);
    return result;
}

/* Reads back the numbers that the engine gave: they are above all others, so the last rows of the table are the new ones. */
struct numbering {
    struct intake *intake;
    uint32_t left;
    int64_t above;
};

static int number_row(void *context, const uint8_t *row, size_t row_bytes)
{
    struct numbering *numbering = context;
    struct intake *intake = numbering->intake;
    struct mote_value value;
    uint32_t at = --numbering->left;
    uint32_t position = intake->schema->key[0];
    const struct model_column *column = &intake->schema->columns[position];
    const uint8_t *cell = row_cell(intake->schema, row, position);
    cell_to_value(column, cell, &value);
    intake->row_bytes[at] = workload_set_cell(intake->schema, intake->rows[at], intake->row_bytes[at], position, cell, cell_bytes(column, cell));
    if (value.as.i64 <= numbering->above)
        return oracle_fail(&intake->run->oracle, "table %s gave the row id %lld again", intake->schema->name, (long long)value.as.i64), 1;
    if (row_bytes != intake->row_bytes[at] || memcmp(row, intake->rows[at], row_bytes) != 0)
        return oracle_fail(&intake->run->oracle, "the last rows of table %s are not those just appended", intake->schema->name), 1;
    return MOTE_OK;
}

static int read_numbers(struct intake *intake)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct numbering numbering = {intake, intake->count, intake->run->model->tables[intake->table].rowid_max};
    options.descending = 1;
    options.limit = intake->count;
    int result = oracle_scan(intake->handle, intake->schema, &options, number_row, &numbering);
    if (result < 0)
        return oracle_fail_code(&intake->run->oracle, result, "the scan for new row ids of %s", intake->schema->name);
    if (result == 0 && numbering.left)
        return oracle_fail(&intake->run->oracle, "%u rows just appended to %s cannot be read", numbering.left, intake->schema->name);
    return result ? -1 : MOTE_OK;
}

static void remember_rows(struct intake *intake, uint64_t seq_last)
{
    struct model_op *op = model_op_rows(intake->run->model, MODEL_PUT, intake->table, intake->count);
    for (uint32_t i = 0; i < intake->count; i++)
        model_op_set_row(intake->run->model, op, i, intake->rows[i], intake->row_bytes[i]);
    model_apply(intake->run->model, op, seq_last);
}

/* Whether mote_insert must refuse. */
static bool expect_exists(const struct intake *intake)
{
    if (!intake->insert || intake->engine_ids || (intake->schema->flags & MOTE_TABLE_APPEND_ONLY))
        return false;
    struct intake before = *intake;
    for (uint32_t i = 0; i < intake->count; i++) {
        before.count = i;
        if (repeats_key(&before, intake->rows[i]))
            return true;
    }
    return false;
}

static int put_rows(struct intake *intake)
{
    struct run *run = intake->run;
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    uint64_t ticket = 0, before = mote_visible_seq(run->db);
    options.durability = intake->durability;
    options.period_ms = 1 + random_below(&run->random, 20);
    bool exists = expect_exists(intake);
    int result = intake->batch ? call_batch(intake, &options, &ticket) : call_single(intake, &options, &ticket);
    uint64_t after = mote_visible_seq(run->db);
    if (after != before && after != before + intake->count)
        return oracle_fail(&run->oracle, "an append of %u rows moved the visible seq from %llu to %llu", intake->count, (unsigned long long)before, (unsigned long long)after);
    if (after == before && result == MOTE_OK)
        return oracle_fail(&run->oracle, "an append to %s returned well and changed nothing", intake->schema->name);
    if (after != before && result == MOTE_OK && ticket != after)
        return oracle_fail(&run->oracle, "the ticket is %llu, the newest row's seq %llu", (unsigned long long)ticket, (unsigned long long)after);
    if (after != before) {
        if (intake->engine_ids && read_numbers(intake))
            return -1;
        remember_rows(intake, after);
    }
    if (exists != (result == MOTE_EEXISTS) && !(run->faults && run_is_fault(result)))
        return oracle_fail_code(&run->oracle, result, "an insert into %s of a key that %s", intake->schema->name, exists ? "has a row" : "has none");
    if (result == MOTE_EEXISTS || (result == MOTE_ETOOBIG && intake->batch))
        return MOTE_OK;
    if (result == MOTE_OK && intake->durability == MOTE_DURABILITY_SYNC && mote_durable_seq(run->db) < after)
        return oracle_fail(&run->oracle, "a SYNC append returned before it was durable");
    return run_judge(run, result, "an append to %s", intake->schema->name);
}

static uint32_t random_durability(struct run *run)
{
    static const uint32_t LEVELS[] = {MOTE_DURABILITY_SYNC, MOTE_DURABILITY_SYNC, MOTE_DURABILITY_GROUP, MOTE_DURABILITY_GROUP, MOTE_DURABILITY_GROUP, MOTE_DURABILITY_PERIODIC, MOTE_DURABILITY_NONE, MOTE_DURABILITY_NONE};
    return LEVELS[random_below(&run->random, 8)];
}

static bool begin_intake(struct run *run, int table, struct intake *intake)
{
    memset(intake, 0, sizeof *intake);
    if (table < 0)
        return false;
    intake->run = run;
    intake->table = (uint32_t)table;
    intake->schema = &run->model->tables[table].schema;
    intake->durability = random_durability(run);
    if (mote_table_open(run->db, intake->schema->name, &intake->handle) != MOTE_OK)
        return false;
    bool counted = intake->schema->hidden || (intake->schema->columns[intake->schema->key[0]].flags & MOTE_COLUMN_AUTO_INCREMENT);
    intake->engine_ids = counted && !run->faults && (intake->schema->hidden || random_one_in(&run->random, 2));
    return true;
}

static int random_table(struct run *run)
{
    uint32_t count = run->model->table_count;
    for (uint32_t tries = 0; tries < 40 && count; tries++) {
        uint32_t table = random_below(&run->random, count);
        bool usable = run->model->tables[table].live && !(run->faults && run->model->tables[table].schema.hidden);
        if (usable)
            return (int)table;
    }
    return -1;
}

/* ---- Actions: writing ---- */

static int put_random(struct run *run, int table, uint32_t count, bool batch, bool insert, bool replace, uint32_t durability)
{
    struct intake intake;
    if (!begin_intake(run, table, &intake))
        return MOTE_OK;
    intake.batch = batch;
    intake.insert = insert;
    if (durability)
        intake.durability = durability;
    for (uint32_t i = 0; i < count; i++)
        make_row(&intake, replace && !intake.engine_ids && random_one_in(&run->random, 2));
    if (batch)
        leave_out(&intake);
    int result = put_rows(&intake);
    free_intake(&intake);
    return result;
}

int act_append_one(struct run *run) { return put_random(run, random_table(run), 1, false, false, true, 0); }
int act_append_batch(struct run *run) { return put_random(run, random_table(run), 1 + random_below(&run->random, 40), true, false, true, 0); }
int act_insert_one(struct run *run) { return put_random(run, random_table(run), 1, false, true, true, 0); }
int act_insert_batch(struct run *run) { return put_random(run, random_table(run), 1 + random_below(&run->random, 8), true, true, random_one_in(&run->random, 3), 0); }

/* Much at once, of the levels that nobody waits for: frames fill, stages and memtables change, the log grows. */
int act_burst(struct run *run)
{
    int table = random_table(run), result = MOTE_OK;
    uint32_t count = 4 + random_below(&run->random, 12);
    for (uint32_t i = 0; i < count && !result && !run->failure; i++) {
        bool batch = random_one_in(&run->random, 2);
        result = put_random(run, table, batch ? 10 + random_below(&run->random, 50) : 1, batch, false, false, random_one_in(&run->random, 3) ? MOTE_DURABILITY_GROUP : MOTE_DURABILITY_NONE);
        run_mark(run);
    }
    return result;
}

int run_append_rows(struct run *run, const char *table, uint32_t row_count, uint32_t durability)
{
    return put_random(run, model_find_table(run->model, table), row_count, true, false, false, durability);
}

int act_delete(struct run *run)
{
    struct intake intake;
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    struct mote_value values[MODEL_KEY_MAX];
    uint8_t key[MODEL_ROW_BYTES_MAX], row[MODEL_ROW_BYTES_MAX];
    uint64_t before = mote_visible_seq(run->db);
    if (!begin_intake(run, random_table(run), &intake))
        return MOTE_OK;
    const struct model_row *present = random_one_in(&run->random, 5) ? NULL : model_random_row(run->model, intake.table, &run->random);
    struct row_source source = row_source(run);
    if (present)
        model_row_now(run->model, intake.table, present, row);
    else
        workload_new_row(&source, intake.schema, row);
    size_t key_bytes = row_key(intake.schema, row, key);
    for (uint32_t k = 0; k < intake.schema->key_count; k++)
        cell_to_value(&intake.schema->columns[intake.schema->key[k]], row_cell(intake.schema, row, intake.schema->key[k]), &values[k]);
    options.durability = intake.durability;
    int result = mote_delete(intake.handle, values, intake.schema->key_count, &options, NULL);
    uint64_t after = mote_visible_seq(run->db);
    if (intake.schema->flags & MOTE_TABLE_APPEND_ONLY) {
        bool refused = result == MOTE_EREADONLY || (run->faults && result == MOTE_EPOISONED);
        return refused && after == before ? MOTE_OK : oracle_fail_code(&run->oracle, result, "a delete from the append-only table %s", intake.schema->name);
    }
    if (after != before) {
        struct model_op *op = model_op_rows(run->model, MODEL_DELETE, intake.table, 1);
        model_op_set_row(run->model, op, 0, key, key_bytes);
        model_apply(run->model, op, after);
    }
    return run_judge(run, result, "a delete from %s", intake.schema->name);
}

int act_wait(struct run *run)
{
    uint64_t durable = mote_durable_seq(run->db), visible = mote_visible_seq(run->db);
    uint64_t ticket = durable + (visible > durable ? 1 + random_below(&run->random, (uint32_t)(visible - durable)) : 0);
    int result = mote_wait(run->db, ticket, MOTE_FOREVER);
    if (!result && mote_durable_seq(run->db) < ticket)
        return oracle_fail(&run->oracle, "a wait for seq %llu returned with durable seq %llu", (unsigned long long)ticket, (unsigned long long)mote_durable_seq(run->db));
    return run_judge(run, result, "a wait");
}

/* ---- Actions: definitions ---- */

int act_create_table(struct run *run)
{
    struct model_schema schema;
    char name[MODEL_NAME_BYTES];
    uint32_t live = 0;
    for (uint32_t i = 0; i < run->model->table_count; i++)
        live += run->model->tables[i].live;
    if (live >= WORKLOAD_TEMPLATES + 2)
        return MOTE_OK;
    snprintf(name, sizeof name, "temporary%u", random_below(&run->random, 3));
    uint32_t which = random_below(&run->random, WORKLOAD_TEMPLATES);
    if (run->faults && which == 1)
        which = 0;
    workload_template(which, name, &schema);
    return run_create_table(run, &schema);
}

int run_create_table(struct run *run, const struct model_schema *schema)
{
    bool exists = model_find_table(run->model, schema->name) >= 0;
    uint64_t seq = mote_visible_seq(run->db);
    int result = workload_create_table(run->db, schema);
    if (exists || result == MOTE_EEXISTS)
        return exists && (result == MOTE_EEXISTS || run->faults) ? MOTE_OK : oracle_fail_code(&run->oracle, result, "creating table %s, which %s", schema->name, exists ? "exists" : "does not exist");
    if (!result || run_is_poisoned(run)) {
        model_create_table(run->model, schema, seq);
        run->model->ops[run->model->op_count - 1]->uncertain = result != 0;
    }
    return run_judge(run, result, "creating table %s", schema->name);
}

int run_create_tables(struct run *run)
{
    struct model_schema schema;
    for (uint32_t i = 0; i < WORKLOAD_TEMPLATES; i++) {
        workload_template(i, WORKLOAD_TABLES[i], &schema);
        if (run->faults && schema.hidden)
            continue;
        if (run_create_table(run, &schema))
            return -1;
        run_mark(run);
        if (model_ends_uncertain(run->model))
            break;
    }
    return MOTE_OK;
}

int act_add_column(struct run *run)
{
    struct intake intake;
    struct model_column column;
    char name[MODEL_NAME_BYTES];
    uint64_t seq = mote_visible_seq(run->db);
    if (!begin_intake(run, random_table(run), &intake) || intake.schema->column_count + 2 > MODEL_COLUMNS_MAX)
        return MOTE_OK;
    snprintf(name, sizeof name, "added%u", intake.schema->column_count);
    workload_new_column(&run->random, name, &column);
    int result = workload_add_column(intake.handle, &column);
    if (!result || run_is_poisoned(run)) {
        model_add_column(run->model, intake.table, &column, seq);
        run->model->ops[run->model->op_count - 1]->uncertain = result != 0;
    }
    return run_judge(run, result, "adding a column to %s", intake.schema->name);
}

int act_drop_table(struct run *run)
{
    int table = random_table(run);
    uint64_t seq = mote_visible_seq(run->db);
    if (table < 0 || (strncmp(run->model->tables[table].schema.name, "temporary", 9) != 0 && !random_one_in(&run->random, 6)))
        return MOTE_OK;
    int result = mote_table_drop(run->db, run->model->tables[table].schema.name);
    if (!result || run_is_poisoned(run)) {
        model_drop_table(run->model, (uint32_t)table, seq);
        run->model->ops[run->model->op_count - 1]->uncertain = result != 0;
    }
    return run_judge(run, result, "dropping table %s", run->model->tables[table].schema.name);
}

/* ---- Actions: maintenance ---- */

int run_flush(struct run *run)
{
    uint64_t seq = mote_visible_seq(run->db), pending = 1;
    int result = mote_flush(run->db);
    if (!result) {
        run_mark_flushed(run, seq);
        if (mote_pending_updates(run->db, NULL, &pending) || pending)
            return oracle_fail(&run->oracle, "a flush returned and %llu updates are pending", (unsigned long long)pending);
    }
    return run_judge(run, result, "a flush");
}

int run_checkpoint(struct run *run)
{
    uint64_t seq = mote_visible_seq(run->db);
    int result = mote_checkpoint(run->db);
    if (!result) {
        run_mark_flushed(run, seq);
        run_mark_head(run);
    }
    return run_judge(run, result, "a checkpoint");
}

int act_compact(struct run *run)
{
    int table = random_table(run);
    bool one = table >= 0 && random_one_in(&run->random, 2);
    return run_judge(run, mote_compact(run->db, one ? run->model->tables[table].schema.name : NULL), "a compaction");
}

/* The position of the table's first column of the type, or -1. */
static int find_column(const struct model_schema *schema, uint32_t type)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].type == type)
            return (int)i;
    return -1;
}

/* The position of the first column behind `from` that a column index takes, or -1. */
static int find_value(const struct model_schema *schema, uint32_t from)
{
    static const uint32_t types[] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB};
    for (uint32_t i = from; i < schema->column_count; i++)
        for (size_t k = 0; !(schema->columns[i].flags & MOTE_COLUMN_LARGE) && k < sizeof types / sizeof types[0]; k++)
            if (schema->columns[i].type == types[k])
                return (int)i;
    return -1;
}

/* Declares, drops or rebuilds an index of a table. Which indexes there are is not in the model: what they answer is checked wherever they are (oracle_check_searches). */
static int act_declared_index(struct run *run, const struct model_schema *schema, uint32_t kind, const char *name, uint32_t column)
{
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    struct mote_index_info info = {.size_bytes = sizeof info};
    mote_table *table;
    int result = mote_table_open(run->db, schema->name, &table);
    if (result)
        return run_judge(run, result, "opening %s", schema->name);
    if (mote_index_describe(table, name, &info) == MOTE_OK) {
        bool drop = random_one_in(&run->random, 3);
        return run_judge(run, drop ? mote_index_drop(table, name) : mote_index_rebuild(table, name), "%s the index of %s", drop ? "dropping" : "rebuilding", schema->name);
    }
    options.name = name;
    options.kind = kind;
    options.metric = kind == MOTE_INDEX_VECTOR ? 1 + random_below(&run->random, 3) : 0;
    options.columns = &column;
    options.column_count = 1;
    options.strategy = random_below(&run->random, MOTE_INDEX_HYBRID + 1);
    return run_judge(run, mote_index_create(table, &options), "creating an index of %s", schema->name);
}

static int find_vector(const struct model_schema *schema)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].type == MOTE_TYPE_VECTOR_F32)
            return (int)i;
    return -1;
}

int act_indexes(struct run *run)
{
    for (uint32_t t = 0; t < run->model->table_count; t++) {
        const struct model_schema *schema = &run->model->tables[t].schema;
        int column = run->model->tables[t].live ? find_column(schema, MOTE_TYPE_POINT3) : -1;
        if (column >= 0 && random_one_in(&run->random, 2))
            return act_declared_index(run, schema, MOTE_INDEX_SPATIAL, "near", (uint32_t)column);
        column = run->model->tables[t].live ? find_column(schema, MOTE_TYPE_TEXT) : -1;
        if (column >= 0 && random_one_in(&run->random, 3))
            return act_declared_index(run, schema, MOTE_INDEX_TEXT, "words", (uint32_t)column);
        column = run->model->tables[t].live ? find_vector(schema) : -1;
        if (column >= 0 && random_one_in(&run->random, 2))
            return act_declared_index(run, schema, MOTE_INDEX_VECTOR, "like", (uint32_t)column);
        column = run->model->tables[t].live ? find_value(schema, random_below(&run->random, schema->column_count)) : -1;
        if (column >= 0 && random_one_in(&run->random, 2))
            return act_declared_index(run, schema, MOTE_INDEX_COLUMN, schema->columns[column].type == MOTE_TYPE_TEXT ? "text" : "value", (uint32_t)column);
    }
    bool rebuild = random_one_in(&run->random, 2);
    return run_judge(run, rebuild ? mote_rebuild_timestamp_index(run->db) : mote_flush_all_indexes(run->db), "%s", rebuild ? "a rebuild of the timestamp index" : "flushing the indexes");
}
