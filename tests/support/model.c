/* model.c: the history of a database and its digests (model.h). */
#include "tests/support/model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t size_bytes)
{
    void *made = calloc(1, size_bytes ? size_bytes : 1);
    if (!made) {
        fprintf(stderr, "model: no memory for %zu bytes\n", size_bytes);
        abort();
    }
    return made;
}

static void *grow(void *array, uint32_t *capacity, uint32_t count, size_t item_bytes)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 64;
    array = realloc(array, *capacity * item_bytes);
    if (!array) {
        fprintf(stderr, "model: no memory\n");
        abort();
    }
    return array;
}

/* ---- Rows of a table: newest version by key. A removed key's slot keeps its deletion, so that probing goes on past it ---- */

static bool same_key(const struct model_row *row, uint64_t hash, const uint8_t *key, size_t key_bytes)
{
    return row->key_hash == hash && row->key_bytes == key_bytes && memcmp(row->bytes, key, key_bytes) == 0;
}

static struct model_row **find_slot(const struct model_table *table, uint64_t hash, const uint8_t *key, size_t key_bytes)
{
    for (uint64_t at = hash;; at++) {
        struct model_row **slot = &table->slots[at & (table->slot_count - 1)];
        if (!*slot || same_key(*slot, hash, key, key_bytes))
            return slot;
    }
}

static void make_room(struct model_table *table)
{
    if (table->used_count * 2 < table->slot_count)
        return;
    struct model_row **old = table->slots;
    uint32_t old_count = table->slot_count;
    table->slot_count = old_count ? old_count * 4 : 64;
    table->slots = allocate(table->slot_count * sizeof *table->slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i])
            *find_slot(table, old[i]->key_hash, old[i]->bytes, old[i]->key_bytes) = old[i];
    }
    free(old);
}

static size_t extend_row(const struct model_schema *schema, const struct model_row *row, uint8_t *cells)
{
    size_t at = row->row_bytes;
    memcpy(cells, row->bytes + row->key_bytes, at);
    for (uint32_t i = row->column_count; i < schema->column_count; i++)
        at += cell_absent(&schema->columns[i], cells + at);
    assert(at <= MODEL_ROW_BYTES_MAX);
    return at;
}

static struct digest digest_of(const struct model_schema *schema, const struct model_row *row)
{
    uint8_t cells[MODEL_ROW_BYTES_MAX];
    return row_digest(schema->name, cells, extend_row(schema, row, cells));
}

static void change_row(struct model_table *table, struct model_row *row)
{
    make_room(table);
    struct model_row **slot = find_slot(table, row->key_hash, row->bytes, row->key_bytes);
    if (!*slot)
        table->used_count++;
    if (*slot && (*slot)->row_bytes) {
        table->rows = digest_subtract(table->rows, digest_of(&table->schema, *slot));
        table->row_count--;
    }
    *slot = row;
    if (!row->row_bytes)
        return;
    table->rows = digest_add(table->rows, digest_of(&table->schema, row));
    table->row_count++;
    const struct model_column *first = &table->schema.columns[table->schema.key[0]];
    if (table->schema.key_count == 1 && first->type == MOTE_TYPE_INT64) {
        struct mote_value value;
        cell_to_value(first, row->bytes, &value);
        if (value.as.i64 > table->rowid_max)
            table->rowid_max = value.as.i64;
    }
}

/* ---- Ops ---- */

struct model_op *model_op_rows(const struct model *model, enum model_op_kind kind, uint32_t table, uint32_t row_count)
{
    struct model_op *op = allocate(sizeof *op);
    assert(table < model->table_count && model->tables[table].live);
    op->kind = kind;
    op->table = table;
    op->row_count = row_count;
    op->rows = allocate(row_count * sizeof *op->rows);
    return op;
}

void model_op_set_row(const struct model *model, struct model_op *op, uint32_t index, const uint8_t *cells, size_t size_bytes)
{
    const struct model_schema *schema = &model->tables[op->table].schema;
    uint8_t key[MODEL_ROW_BYTES_MAX];
    bool put = op->kind == MODEL_PUT;
    size_t key_bytes = size_bytes;
    if (put)
        key_bytes = row_key(schema, cells, key);
    else
        memcpy(key, cells, size_bytes);
    size_t row_bytes = put ? size_bytes : 0;
    struct model_row *row = allocate(sizeof *row + key_bytes + row_bytes);
    row->column_count = schema->column_count;
    row->key_bytes = (uint32_t)key_bytes;
    row->row_bytes = (uint32_t)row_bytes;
    row->key_hash = digest_bytes(3, key, key_bytes).a;
    memcpy(row->bytes, key, key_bytes);
    memcpy(row->bytes + key_bytes, cells, row_bytes);
    assert(index < op->row_count && !op->rows[index]);
    op->rows[index] = row;
}

struct model_op *model_op_copy(const struct model *model, const struct model_op *op)
{
    struct model_op *copy = model_op_rows(model, op->kind, op->table, op->row_count);
    for (uint32_t i = 0; i < op->row_count; i++) {
        size_t size_bytes = sizeof *op->rows[i] + op->rows[i]->key_bytes + op->rows[i]->row_bytes;
        copy->rows[i] = allocate(size_bytes);
        memcpy(copy->rows[i], op->rows[i], size_bytes);
    }
    return copy;
}

void model_op_free(struct model_op *op)
{
    for (uint32_t i = 0; op && i < op->row_count; i++)
        free(op->rows[i]);
    if (op) {
        free(op->rows);
        free(op->schema);
    }
    free(op);
}

static void apply_create(struct model *model, const struct model_op *op)
{
    model->tables = grow(model->tables, &model->table_capacity, model->table_count, sizeof *model->tables);
    struct model_table *table = &model->tables[model->table_count++];
    *table = (struct model_table){.live = true, .schema = *op->schema};
    make_room(table);
}

static void apply_column(struct model_table *table, const struct model_column *column)
{
    assert(table->schema.column_count < MODEL_COLUMNS_MAX);
    table->schema.columns[table->schema.column_count++] = *column;
    table->rows = (struct digest){0, 0};
    for (uint32_t i = 0; i < table->slot_count; i++) {
        if (table->slots[i] && table->slots[i]->row_bytes)
            table->rows = digest_add(table->rows, digest_of(&table->schema, table->slots[i]));
    }
}

static void change_state(struct model *model, const struct model_op *op)
{
    struct model_table *table = op->kind == MODEL_CREATE ? NULL : &model->tables[op->table];
    if (op->kind == MODEL_CREATE)
        apply_create(model, op);
    else if (op->kind == MODEL_DROP)
        table->live = false;
    else if (op->kind == MODEL_ADD_COLUMN)
        apply_column(table, &op->column);
    for (uint32_t i = 0; i < op->row_count; i++)
        change_row(table, op->rows[i]);
}

static struct digest digest_state(const struct model *model)
{
    struct digest sum = {0, 0};
    for (uint32_t i = 0; i < model->table_count; i++) {
        if (model->tables[i].live)
            sum = digest_add(sum, digest_add(model->tables[i].rows, schema_digest(&model->tables[i].schema)));
    }
    return sum;
}

static void append_op(struct model *model, struct model_op *op)
{
    uint32_t capacity = model->capacity;
    model->ops = grow(model->ops, &capacity, model->op_count + 1, sizeof *model->ops);
    model->digests = grow(model->digests, &model->capacity, model->op_count + 1, sizeof *model->digests);
    change_state(model, op);
    model->ops[model->op_count++] = op;
    model->digests[model->op_count] = digest_state(model);
}

void model_apply(struct model *model, struct model_op *op, uint64_t seq_last)
{
    op->seq_last = seq_last;
    op->seq_first = seq_last + 1 - op->row_count;
    for (uint32_t i = 0; i < op->row_count; i++)
        op->rows[i]->seq = op->seq_first + i;
    append_op(model, op);
}

static struct model_op *make_ddl(enum model_op_kind kind, uint32_t table, uint64_t seq)
{
    struct model_op *op = allocate(sizeof *op);
    op->kind = kind;
    op->table = table;
    op->seq_first = op->seq_last = seq;
    return op;
}

void model_create_table(struct model *model, const struct model_schema *schema, uint64_t seq)
{
    struct model_op *op = make_ddl(MODEL_CREATE, model->table_count, seq);
    op->schema = allocate(sizeof *schema);
    *op->schema = *schema;
    append_op(model, op);
}

void model_drop_table(struct model *model, uint32_t table, uint64_t seq) { append_op(model, make_ddl(MODEL_DROP, table, seq)); }

void model_add_column(struct model *model, uint32_t table, const struct model_column *column, uint64_t seq)
{
    struct model_op *op = make_ddl(MODEL_ADD_COLUMN, table, seq);
    op->column = *column;
    append_op(model, op);
}

/* ---- Models ---- */

struct model *model_create(void)
{
    struct model *model = allocate(sizeof *model);
    model->digests = grow(NULL, &model->capacity, 0, sizeof *model->digests);
    model->ops = allocate(model->capacity * sizeof *model->ops);
    model->digests[0] = (struct digest){0, 0};
    return model;
}

struct model *model_clone(const struct model *from, uint32_t point)
{
    struct model *model = model_create();
    assert(point <= from->op_count);
    for (uint32_t i = 0; i < point; i++)
        append_op(model, from->ops[i]);
    model->inherited = point;
    return model;
}

void model_destroy(struct model *model)
{
    if (!model)
        return;
    for (uint32_t i = model->inherited; i < model->op_count; i++)
        model_op_free(model->ops[i]);
    for (uint32_t i = 0; i < model->table_count; i++)
        free(model->tables[i].slots);
    free(model->tables);
    free(model->ops);
    free(model->digests);
    free(model);
}

/* ---- Questions ---- */

int model_find_table(const struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->table_count; i++) {
        if (model->tables[i].live && strcmp(model->tables[i].schema.name, name) == 0)
            return (int)i;
    }
    return -1;
}

const struct model_row *model_find_row(const struct model *model, uint32_t table, const uint8_t *key, size_t key_bytes)
{
    struct model_row *row = *find_slot(&model->tables[table], digest_bytes(3, key, key_bytes).a, key, key_bytes);
    return row && row->row_bytes ? row : NULL;
}

const struct model_row *model_random_row(const struct model *model, uint32_t table, uint64_t *random)
{
    const struct model_table *from = &model->tables[table];
    if (from->row_count == 0)
        return NULL;
    for (uint32_t at = random_below(random, from->slot_count);; at++) {
        const struct model_row *row = from->slots[at & (from->slot_count - 1)];
        if (row && row->row_bytes)
            return row;
    }
}

size_t model_row_now(const struct model *model, uint32_t table, const struct model_row *row, uint8_t *cells)
{
    return extend_row(&model->tables[table].schema, row, cells);
}

uint32_t model_point_of_seq(const struct model *model, uint32_t from, uint64_t durable_seq)
{
    uint32_t point = from;
    while (point < model->op_count && !model->ops[point]->uncertain && model->ops[point]->seq_last <= durable_seq)
        point++;
    return point;
}

uint64_t model_seq_at(const struct model *model, uint32_t point)
{
    uint64_t seq = 0;
    for (uint32_t i = point; i > 0 && seq == 0; i--)
        seq = model->ops[i - 1]->row_count ? model->ops[i - 1]->seq_last : 0;
    return seq;
}

uint32_t model_find_digest(const struct model *model, uint32_t from, struct digest digest)
{
    for (uint32_t point = from; point <= model->op_count; point++) {
        if (digest_equal(model->digests[point], digest))
            return point;
    }
    return UINT32_MAX;
}

int model_find_table_at(const struct model *model, uint32_t point, const char *name)
{
    int found = -1;
    for (uint32_t i = 0; i < point; i++) {
        const struct model_op *op = model->ops[i];
        if (op->kind == MODEL_CREATE && strcmp(op->schema->name, name) == 0)
            found = (int)op->table;
        else if (op->kind == MODEL_DROP && (int)op->table == found)
            found = -1;
    }
    return found;
}

const struct model_row *model_find_row_at(const struct model *model, uint32_t point, uint32_t table, const uint8_t *key, size_t key_bytes)
{
    uint64_t hash = digest_bytes(3, key, key_bytes).a;
    for (uint32_t i = point; i > 0; i--) {
        const struct model_op *op = model->ops[i - 1];
        for (uint32_t r = op->table == table ? op->row_count : 0; r > 0; r--) {
            if (same_key(op->rows[r - 1], hash, key, key_bytes))
                return op->rows[r - 1];
        }
    }
    return NULL;
}

static bool lives_at(const struct model *model, uint32_t point, uint32_t table)
{
    for (uint32_t i = 0; i < point; i++) {
        if (model->ops[i]->kind == MODEL_DROP && model->ops[i]->table == table)
            return false;
    }
    return true;
}

uint64_t model_count_pending(const struct model *model, uint32_t point, uint64_t flushed_seq, int table)
{
    uint64_t count = 0;
    for (uint32_t i = point; i > 0; i--) {
        const struct model_op *op = model->ops[i - 1];
        if (op->row_count && op->seq_last <= flushed_seq)
            break;
        if (op->row_count && (table < 0 || op->table == (uint32_t)table) && lives_at(model, point, op->table))
            count += op->seq_first > flushed_seq ? op->row_count : op->seq_last - flushed_seq;
    }
    return count;
}
