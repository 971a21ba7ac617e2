/* workload_rows.c: see workload_rows.h. */
#include "tests/support/workload_rows.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const WORKLOAD_TABLES[WORKLOAD_TEMPLATES] = {"arm", "events", "config", "frames", "samples"};

#define TICK_NS 1000000

/* ---- Definitions ---- */

struct column_template {
    const char *name;
    uint32_t type, dimension, flags;
};

struct table_template {
    struct column_template columns[8];
    uint32_t key[MODEL_KEY_MAX];
    uint32_t key_count;
    int32_t time_column;
    uint32_t flags;
};

#define REQUIRED MOTE_COLUMN_NOT_NULL

static const struct table_template TEMPLATES[WORKLOAD_TEMPLATES] = {
    /* A robot arm: keyed by series and time. */
    {{{"series", MOTE_TYPE_INT32, 0, REQUIRED}, {"time", MOTE_TYPE_TIMESTAMP, 0, REQUIRED}, {WORKLOAD_SERIAL, MOTE_TYPE_INT64, 0, REQUIRED}, {"angle", MOTE_TYPE_FLOAT64, 0, 0}, {"torque", MOTE_TYPE_FLOAT32, 0, 0},
      {"moving", MOTE_TYPE_BOOL, 0, 0}, {"label", MOTE_TYPE_TEXT, 0, 0}}, {0, 1}, 2, 1, 0},
    /* Events without a key of their own: the hidden rowid is column 0. Some payloads lie outside of their rows. */
    {{{"time", MOTE_TYPE_TIMESTAMP, 0, 0}, {WORKLOAD_SERIAL, MOTE_TYPE_INT64, 0, REQUIRED}, {"payload", MOTE_TYPE_BLOB, 0, MOTE_COLUMN_LARGE}, {"level", MOTE_TYPE_INT32, 0, 0}}, {0}, 0, 0, 0},
    /* Settings that are replaced again and again: a text key; the time, in seconds, is not in the key. Row by row. */
    {{{"name", MOTE_TYPE_TEXT, 0, REQUIRED}, {WORKLOAD_SERIAL, MOTE_TYPE_INT64, 0, REQUIRED}, {"value", MOTE_TYPE_TEXT, 0, 0}, {"place", MOTE_TYPE_POINT3, 0, 0}, {"updated", MOTE_TYPE_FLOAT64, 0, 0}}, {0}, 1, 4, MOTE_TABLE_ROW_PAGES},
    /* Frames numbered by the engine or by the caller; no time. */
    {{{"id", MOTE_TYPE_INT64, 0, REQUIRED | MOTE_COLUMN_AUTO_INCREMENT}, {WORKLOAD_SERIAL, MOTE_TYPE_INT64, 0, REQUIRED}, {"embedding", MOTE_TYPE_VECTOR_F32, 4, 0}, {"half", MOTE_TYPE_VECTOR_F16, 3, 0},
      {"bytes", MOTE_TYPE_VECTOR_U8, 5, 0}}, {0}, 1, -1, MOTE_TABLE_ROW_PAGES},
    /* Append-only samples, keyed by integer time. */
    {{{"time", MOTE_TYPE_INT64, 0, REQUIRED}, {"part", MOTE_TYPE_INT32, 0, REQUIRED}, {WORKLOAD_SERIAL, MOTE_TYPE_INT64, 0, REQUIRED}, {"value", MOTE_TYPE_FLOAT32, 0, 0}}, {0, 1}, 2, 0, MOTE_TABLE_APPEND_ONLY},
};

static void add_column(struct model_schema *schema, const char *name, uint32_t type, uint32_t dimension, uint32_t flags)
{
    struct model_column *column = &schema->columns[schema->column_count++];
    snprintf(column->name, sizeof column->name, "%s", name);
    column->type = type;
    column->dimension = dimension;
    column->flags = flags;
}

void workload_template(uint32_t which, const char *name, struct model_schema *schema)
{
    const struct table_template *from = &TEMPLATES[which];
    memset(schema, 0, sizeof *schema);
    snprintf(schema->name, sizeof schema->name, "%s", name);
    schema->flags = from->flags;
    schema->hidden = from->key_count == 0;
    schema->key_count = schema->hidden ? 1 : from->key_count;
    if (schema->hidden)
        add_column(schema, "rowid", MOTE_TYPE_INT64, 0, MOTE_COLUMN_HIDDEN);
    memcpy(schema->key, from->key, sizeof schema->key);
    schema->time_column = from->time_column < 0 ? -1 : from->time_column + schema->hidden;
    for (uint32_t i = 0; from->columns[i].name; i++)
        add_column(schema, from->columns[i].name, from->columns[i].type, from->columns[i].dimension, from->columns[i].flags);
    if (which == 1) {
        struct mote_value seven = {.type = MOTE_TYPE_INT32, .as.i32 = 7};
        struct model_column *level = &schema->columns[schema->column_count - 1];
        level->flags |= MOTE_COLUMN_HAS_DEFAULT;
        level->default_bytes = (uint32_t)cell_from_value(level, &seven, level->default_cell);
    }
}

static void public_column(const struct model_column *column, struct mote_column_definition *definition)
{
    *definition = (struct mote_column_definition){.name = column->name, .type = column->type, .dimension = column->dimension, .flags = column->flags};
    if (column->default_bytes)
        cell_to_value(column, column->default_cell, &definition->default_value);
}

int workload_create_table(mote_db *db, const struct model_schema *schema)
{
    struct mote_column_definition columns[MODEL_COLUMNS_MAX];
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    uint32_t hidden = schema->hidden ? 1 : 0;
    for (uint32_t i = hidden; i < schema->column_count; i++)
        public_column(&schema->columns[i], &columns[i - hidden]);
    definition.name = schema->name;
    definition.columns = columns;
    definition.column_count = schema->column_count - hidden;
    definition.flags = schema->flags;
    definition.key_columns = schema->key;
    definition.key_column_count = schema->hidden ? 0 : schema->key_count;
    definition.time_column = schema->time_column < 0 ? -1 : schema->time_column - (int32_t)hidden;
    return mote_table_create(db, &definition, NULL);
}

void workload_new_column(uint64_t *random, const char *name, struct model_column *column)
{
    static const uint32_t TYPES[] = {MOTE_TYPE_INT64, MOTE_TYPE_TEXT, MOTE_TYPE_FLOAT64, MOTE_TYPE_BOOL};
    memset(column, 0, sizeof *column);
    snprintf(column->name, sizeof column->name, "%s", name);
    column->type = TYPES[random_below(random, 4)];
    if (random_one_in(random, 3))
        return;
    struct mote_value value = {.type = column->type, .as.i64 = 1};
    if (column->type == MOTE_TYPE_INT64)
        value.as.i64 = -(int64_t)random_below(random, 1000);
    else if (column->type == MOTE_TYPE_FLOAT64)
        value.as.f64 = 0.5 + random_below(random, 100);
    else if (column->type == MOTE_TYPE_TEXT)
        value.as.bytes.data = "absent", value.as.bytes.size_bytes = 6;
    column->flags = MOTE_COLUMN_HAS_DEFAULT | (random_one_in(random, 2) ? MOTE_COLUMN_NOT_NULL : 0u);
    column->default_bytes = (uint32_t)cell_from_value(column, &value, column->default_cell);
}

int workload_add_column(mote_table *table, const struct model_column *column)
{
    struct mote_column_definition definition;
    public_column(column, &definition);
    return mote_table_add_column(table, &definition);
}

/* ---- Random rows ---- */

static double random_double(uint64_t *random)
{
    static const double SPECIAL[] = {0.0, -0.0, 1e300, -1e-300, 3.25};
    if (random_one_in(random, 12))
        return SPECIAL[random_below(random, 5)];
    return (double)(int32_t)random_next(random) / (random_one_in(random, 2) ? 1000.0 : 16.0);
}

static int64_t random_time(const struct row_source *source)
{
    if (random_one_in(source->random, 5)) /* late */
        return *source->clock_ns - (int64_t)random_below(source->random, 400) * TICK_NS;
    *source->clock_ns += (int64_t)(1 + random_below(source->random, 3)) * TICK_NS;
    return *source->clock_ns;
}

static void fill_random(uint64_t *random, uint8_t *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        bytes[i] = (uint8_t)random_next(random);
}

/* Of a large value: now and then one that lies outside of its row, in one page or two. */
static size_t random_large_length(const struct row_source *source)
{
    if (random_one_in(source->random, 12))
        return WORKLOAD_THRESHOLD_BYTES + random_below(source->random, 6500);
    return random_below(source->random, random_one_in(source->random, 8) ? WORKLOAD_THRESHOLD_BYTES : 40);
}

static size_t random_length(const struct row_source *source)
{
    if (source->large && random_one_in(source->random, 6))
        return 500 + random_below(source->random, 2500);
    return random_below(source->random, 40);
}

static size_t random_text(const struct row_source *source, char *text)
{
    size_t length = random_length(source);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + random_below(source->random, random_one_in(source->random, 2) ? 26 : 3));
    return length;
}

static void random_scalar(const struct row_source *source, const struct model_schema *schema, uint32_t position, struct mote_value *value)
{
    uint64_t *random = source->random;
    bool is_time = (int32_t)position == schema->time_column;
    switch (schema->columns[position].type) {
    case MOTE_TYPE_INT32: value->as.i32 = (int32_t)random_below(random, 4); break;
    case MOTE_TYPE_BOOL: value->as.boolean = (uint8_t)random_below(random, 2); break;
    case MOTE_TYPE_FLOAT64: value->as.f64 = is_time ? (double)(random_time(source) / 1000000000) + 0.25 * random_below(random, 4) : random_double(random); break;
    case MOTE_TYPE_FLOAT32: value->as.f32 = (float)random_double(random); break;
    case MOTE_TYPE_POINT3:
        for (int i = 0; i < 3; i++)
            value->as.point[i] = random_double(random);
        break;
    default: value->as.i64 = is_time ? random_time(source) : (int64_t)random_below(random, 100000); break;
    }
}

static size_t random_cell(const struct row_source *source, const struct model_schema *schema, uint32_t position, uint8_t *cell)
{
    const struct model_column *column = &schema->columns[position];
    struct mote_value value = {.type = column->type};
    uint8_t bytes[MODEL_CELL_BYTES_MAX];
    if (strcmp(column->name, WORKLOAD_SERIAL) == 0) {
        value.as.i64 = (int64_t)(*source->serial)++;
        return cell_from_value(column, &value, cell);
    }
    if (!(column->flags & MOTE_COLUMN_NOT_NULL) && random_one_in(source->random, 6)) {
        value.is_null = 1;
        return cell_from_value(column, &value, cell);
    }
    value.as.bytes.data = bytes;
    bool in_key = schema->key[0] == position;
    switch (column->type) {
    case MOTE_TYPE_TEXT:
        value.as.bytes.size_bytes = in_key ? (size_t)snprintf((char *)bytes, sizeof bytes, "key/%u", random_below(source->random, 120)) : random_text(source, (char *)bytes);
        break;
    case MOTE_TYPE_BLOB:
        value.as.bytes.size_bytes = column->flags & MOTE_COLUMN_LARGE ? random_large_length(source) : random_length(source);
        fill_random(source->random, bytes, value.as.bytes.size_bytes);
        break;
    case MOTE_TYPE_VECTOR_F32:
        for (uint32_t i = 0; i < column->dimension; i++)
            ((float *)(void *)bytes)[i] = (float)random_double(source->random);
        value.as.bytes.size_bytes = 4 * (size_t)column->dimension;
        break;
    case MOTE_TYPE_VECTOR_F16:
    case MOTE_TYPE_VECTOR_U8:
        value.as.bytes.size_bytes = column->dimension * (column->type == MOTE_TYPE_VECTOR_F16 ? 2u : 1u);
        fill_random(source->random, bytes, value.as.bytes.size_bytes);
        break;
    default: random_scalar(source, schema, position, &value); break;
    }
    return cell_from_value(column, &value, cell);
}

size_t workload_new_row(const struct row_source *source, const struct model_schema *schema, uint8_t *row)
{
    struct mote_value zero = {.type = MOTE_TYPE_INT64};
    size_t at = 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (i == 0 && schema->hidden)
            at += cell_from_value(&schema->columns[0], &zero, row);
        else
            at += random_cell(source, schema, i, row + at);
    }
    assert(at <= MODEL_ROW_BYTES_MAX);
    return at;
}

size_t workload_set_cell(const struct model_schema *schema, uint8_t *row, size_t row_bytes, uint32_t position, const uint8_t *cell, size_t size_bytes)
{
    size_t at = (size_t)(row_cell(schema, row, position) - row);
    size_t old_bytes = cell_bytes(&schema->columns[position], row + at);
    memmove(row + at + size_bytes, row + at + old_bytes, row_bytes - at - old_bytes);
    memcpy(row + at, cell, size_bytes);
    return row_bytes - old_bytes + size_bytes;
}

size_t workload_replace_row(const struct row_source *source, const struct model_schema *schema, const uint8_t *row, uint8_t *out)
{
    size_t row_bytes = workload_new_row(source, schema, out);
    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t position = schema->key[k];
        const uint8_t *cell = row_cell(schema, row, position);
        row_bytes = workload_set_cell(schema, out, row_bytes, position, cell, cell_bytes(&schema->columns[position], cell));
    }
    return row_bytes;
}

/* ---- Rows for the API ---- */

size_t workload_row_values(const struct model_schema *schema, const uint8_t *row, struct mote_value *values)
{
    uint32_t hidden = schema->hidden ? 1 : 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (i >= hidden)
            cell_to_value(&schema->columns[i], row, &values[i - hidden]);
        row += cell_bytes(&schema->columns[i], row);
    }
    return schema->column_count - hidden;
}

/* One column of all rows, into memory at *at. */
static void fill_column(const struct model_schema *schema, const uint8_t *const *rows, uint32_t row_count, uint32_t position, struct mote_column *out, uint8_t **at)
{
    const struct model_column *column = &schema->columns[position];
    bool var = column->type == MOTE_TYPE_TEXT || column->type == MOTE_TYPE_BLOB;
    uint8_t *validity = *at, *values;
    uint32_t *offsets = (uint32_t *)(void *)(*at + (row_count / 8 / 8 + 1) * 8);
    bool nulls = false;
    values = (uint8_t *)offsets + (var ? ((size_t)row_count + 2) / 2 * 8 : 0);
    uint8_t *next = values;
    memset(validity, 0, row_count / 8 + 1);
    for (uint32_t r = 0; r < row_count; r++) {
        const uint8_t *cell = row_cell(schema, rows[r], position);
        uint8_t full[MODEL_CELL_BYTES_MAX] = {0};
        size_t skip = var ? 5 : 1, size_bytes = cell[0] ? cell_bytes(column, cell) - skip : 0;
        if (var)
            offsets[r] = (uint32_t)(next - values);
        nulls = nulls || !cell[0];
        if (cell[0])
            validity[r / 8] = (uint8_t)(validity[r / 8] | 1u << (r % 8));
        if (!var && !cell[0]) { /* whatever stands under a NULL must not matter */
            struct mote_value filler = {.type = column->type};
            uint8_t garbage[256] = {0x5a};
            filler.as.bytes.data = garbage;
            filler.as.bytes.size_bytes = column->dimension * (column->type == MOTE_TYPE_VECTOR_F32 ? 4u : column->type == MOTE_TYPE_VECTOR_F16 ? 2u : 1u);
            if (column->type < MOTE_TYPE_TEXT || column->type == MOTE_TYPE_POINT3)
                memset(&filler.as, 0, sizeof filler.as);
            size_bytes = cell_from_value(column, &filler, full) - 1;
            cell = full;
        }
        memcpy(next, cell + skip, size_bytes);
        next += size_bytes;
    }
    if (var)
        offsets[row_count] = (uint32_t)(next - values);
    *out = (struct mote_column){.type = column->type, .dimension = column->dimension, .values = values, .offsets = var ? offsets : NULL, .validity = nulls ? validity : NULL};
    *at = values + ((size_t)(next - values) / 8 + 1) * 8;
}

void workload_make_batch(const struct model_schema *schema, const uint8_t *const *rows, uint32_t row_count, uint32_t absent, uint64_t *random, struct batch_memory *made)
{
    uint32_t hidden = schema->hidden ? 1 : 0, count = 0;
    size_t room = 4096;
    for (uint32_t r = 0; r < row_count; r++)
        room += (size_t)(row_cell(schema, rows[r], schema->column_count) - rows[r]) + MODEL_COLUMNS_MAX * 40;
    made->memory = malloc(room);
    if (!made->memory)
        abort();
    uint8_t *at = made->memory;
    for (uint32_t i = hidden; i < schema->column_count; i++) {
        if (absent >> i & 1)
            continue;
        uint32_t place = random_below(random, count + 1); /* in any order */
        made->columns[count] = made->columns[place];
        made->index[count] = made->index[place];
        fill_column(schema, rows, row_count, i, &made->columns[place], &at);
        made->index[place] = i;
        count++;
    }
    assert((size_t)(at - made->memory) <= room);
    made->batch = (struct mote_batch){.row_count = row_count, .column_count = count, .columns = made->columns, .column_index = made->index};
}

void workload_free_batch(struct batch_memory *made)
{
    free(made->memory);
    made->memory = NULL;
}
