/* sst_model.c: see sst_world.h: random tables, rows in a sorted list, and the comparison of a row with what an iterator stands on. */
#include "tests/support/sst_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t sst_random(struct sst_world *world)
{
    world->random ^= world->random >> 12;
    world->random ^= world->random << 25;
    world->random ^= world->random >> 27;
    return world->random * 0x2545F4914F6CDD1Du;
}

uint32_t sst_random_below(struct sst_world *world, uint32_t bound) { return (uint32_t)((sst_random(world) >> 32) * bound >> 32); }

/* ---- Tables ---- */

static struct mote_column_definition random_column(struct sst_world *world, const char *name, bool in_key)
{
    static const uint32_t key_types[] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32};
    struct mote_column_definition column = {.name = name};
    column.type = in_key ? key_types[sst_random_below(world, 8)] : 1 + sst_random_below(world, 12);
    if (column.type == MOTE_TYPE_VECTOR_F32 || column.type == MOTE_TYPE_VECTOR_F16 || column.type == MOTE_TYPE_VECTOR_U8)
        column.dimension = 1 + sst_random_below(world, 9);
    return column;
}

struct schema *sst_random_schema(struct sst_world *world, uint64_t table_id)
{
    struct mote_column_definition columns[24];
    char names[24][16];
    uint32_t keys[3] = {0}, key_count = 1 + sst_random_below(world, 3), count = key_count + 1 + sst_random_below(world, 20);
    int32_t time_column = -1;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "c%u", i);
        columns[i] = random_column(world, names[i], i < key_count);
    }
    if (sst_random_below(world, 4) > 0) { /* a time column, one time in three in the key */
        static const uint32_t types[] = {MOTE_TYPE_TIMESTAMP, MOTE_TYPE_INT64, MOTE_TYPE_FLOAT64};
        time_column = (int32_t)(sst_random_below(world, 3) == 0 ? sst_random_below(world, key_count) : key_count);
        columns[time_column].type = types[sst_random_below(world, 3)];
        columns[time_column].dimension = 0;
    }
    for (uint32_t i = 0; i < key_count; i++)
        keys[i] = i;
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = "random";
    definition.columns = columns;
    definition.column_count = count;
    definition.key_columns = keys;
    definition.key_column_count = sst_random_below(world, 8) == 0 && time_column != 0 ? 0 : key_count;
    definition.time_column = time_column;
    definition.flags = sst_random_below(world, 2) ? MOTE_TABLE_ROW_PAGES : 0;
    struct schema *schema;
    sst_world_check(schema_create(world->memory, &definition, table_id, 100, &schema), "a random schema");
    return schema;
}

struct schema *sst_plain_schema(struct sst_world *world, uint32_t columns)
{
    struct mote_column_definition definitions[64] = {{.name = "series", .type = MOTE_TYPE_INT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}};
    static char names[64][MOTE_NAME_BYTES_MAX + 1];
    uint32_t keys[2] = {0, 1};
    for (uint32_t i = 0; i < columns; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        definitions[2 + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT64};
    }
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = "plain";
    definition.columns = definitions;
    definition.column_count = 2 + columns;
    definition.key_columns = keys;
    definition.key_column_count = 2;
    definition.time_column = 1;
    struct schema *schema;
    sst_world_check(schema_create(world->memory, &definition, 7, 100, &schema), "a plain schema");
    return schema;
}

/* ---- Values ---- */

static void random_value(struct sst_world *world, uint32_t type, uint32_t dimension, bool in_key, uint32_t spread, uint8_t room[512], struct mote_value *value)
{
    static const double floats[] = {0.0, -0.0, 1e300, -1e-300, 0.1};
    uint32_t pick = sst_random_below(world, spread ? spread : 1), wild = sst_random_below(world, 16);
    *value = (struct mote_value){.type = type};
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        value->as.i64 = wild == 0 && !in_key ? (int64_t)sst_random(world) : wild == 1 ? INT64_MIN + pick : (int64_t)pick * 1000;
        break;
    case MOTE_TYPE_INT32:
        value->as.i32 = wild == 1 ? INT32_MIN + (int32_t)pick : (int32_t)pick - 5;
        break;
    case MOTE_TYPE_FLOAT64:
        value->as.f64 = wild == 0 ? floats[sst_random_below(world, 5)] : wild == 1 && !in_key ? (double)NAN : pick * 0.25 - 3;
        break;
    case MOTE_TYPE_FLOAT32:
        value->as.f32 = wild == 1 && !in_key ? INFINITY : (float)pick * 0.5f - 7;
        break;
    case MOTE_TYPE_BOOL:
        value->as.boolean = pick & 1;
        break;
    case MOTE_TYPE_POINT3:
        for (int i = 0; i < 3; i++)
            value->as.point[i] = pick * 0.5 + i;
        break;
    default: {
        uint32_t size_bytes = type_is_var(type) ? (uint32_t)snprintf((char *)room, 512, "%u%.*s", pick, (int)(pick % 40), "the quick brown fox jumps over the lazy dog") : type_value_bytes(type, dimension);
        for (uint32_t i = 0; !type_is_var(type) && i < size_bytes; i++)
            room[i] = (uint8_t)sst_random(world);
        if (type == MOTE_TYPE_VECTOR_F32) /* any bits but NaN are values like others; NaN too, but not for a comparison by bits through float loads */
            memset(room, 0x3F, size_bytes);
        if (type == MOTE_TYPE_BLOB && wild < 4)
            room[0] = 0;
        value->as.bytes.data = room;
        value->as.bytes.size_bytes = wild == 2 && type_is_var(type) ? 0 : size_bytes;
    }
    }
}

struct schema *sst_random_add_column(struct sst_world *world, const struct schema *old, uint32_t number)
{
    static uint8_t room[512];
    char name[16];
    struct schema *schema;
    snprintf(name, sizeof name, "added%u", number);
    struct mote_column_definition column = random_column(world, name, false);
    if (sst_random_below(world, 2)) {
        column.flags = MOTE_COLUMN_HAS_DEFAULT;
        random_value(world, column.type, column.dimension, true, 50, room, &column.default_value);
    }
    sst_world_check(schema_add_column(world->memory, old, &column, 500 + number, &schema), "adding a column");
    return schema;
}

/* ---- Rows ---- */

static struct model_row *new_row(struct model *model)
{
    if ((model->count & (model->count - 1)) == 0)
        model->rows = realloc(model->rows, (model->count ? 2 * model->count : 1) * sizeof *model->rows);
    struct model_row *row = &model->rows[model->count++];
    *row = (struct model_row){0};
    return row;
}

void sst_model_add(struct model *model, const struct schema *schema, const struct mote_value *values, size_t count, uint64_t seq, bool deleted)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t row_bytes;
    struct model_row *row = new_row(model);
    sst_world_check(row_check_values(schema, values, count, &row_bytes), "a row");
    row->image = malloc(row_bytes);
    row->image_bytes = row_bytes;
    row_encode_values(schema, values, count, (int64_t)seq / 3, row->image, row_bytes);
    row->key_bytes = key_from_row(schema, row->image, key);
    row->key = malloc(row->key_bytes + 1);
    memcpy(row->key, key, row->key_bytes);
    row->seq = seq;
    row->schema = schema;
    row->kind = deleted ? RECORD_DELETE : RECORD_PUT;
    if (deleted) {
        free(row->image);
        row->image = NULL;
        row->image_bytes = 0;
    }
}

struct model sst_random_rows(struct sst_world *world, const struct schema *schema, const struct schema *old, uint32_t count, uint32_t distinct_keys, uint32_t tombstone_percent)
{
    struct model model = {0};
    uint8_t(*rooms)[512] = malloc(512 * MOTE_COLUMNS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const struct schema *of = old && sst_random_below(world, 3) == 0 ? old : schema;
        struct mote_value values[64];
        uint32_t given = 0, hidden = of->columns[0].hidden;
        for (uint32_t c = hidden; c < of->column_count; c++) {
            const struct schema_column *column = &of->columns[c];
            bool in_key = false;
            for (uint32_t k = 0; k < of->key_column_count; k++)
                in_key |= of->key_columns[k] == c;
            random_value(world, column->type, column->dimension, in_key, in_key ? distinct_keys : 1000, rooms[c], &values[given]);
            if (!in_key && sst_random_below(world, 7) == 0)
                values[given] = (struct mote_value){.type = column->type, .is_null = 1};
            given++;
        }
        sst_model_add(&model, of, values, given, 1000 + i * 3 + sst_random_below(world, 3), sst_random_below(world, 100) < tombstone_percent);
    }
    free(rooms);
    sst_model_sort(&model);
    return model;
}

static int compare_rows(const void *a, const void *b)
{
    const struct model_row *x = a, *y = b;
    int order = key_compare(x->key, x->key_bytes, y->key, y->key_bytes);
    return order ? order : (x->seq < y->seq) - (x->seq > y->seq);
}

static void free_row(struct model_row *row)
{
    free(row->key);
    free(row->image);
}

void sst_model_sort(struct model *model)
{
    uint32_t kept = 0;
    qsort(model->rows, model->count, sizeof *model->rows, compare_rows);
    for (uint32_t i = 0; i < model->count; i++) {
        if (kept > 0 && compare_rows(&model->rows[kept - 1], &model->rows[i]) == 0)
            free_row(&model->rows[i]);
        else
            model->rows[kept++] = model->rows[i];
    }
    model->count = kept;
}

void sst_model_free(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++)
        free_row(&model->rows[i]);
    free(model->rows);
    *model = (struct model){0};
}

/* The value that the segment must have: of a tombstone the key's, else NULL. */
static void model_value(const struct schema *schema, const struct model_row *row, uint32_t column, struct mote_value *value)
{
    static _Thread_local uint8_t scratch[MOTE_KEY_BYTES_MAX];
    struct mote_value keys[MOTE_KEY_COLUMNS_MAX];
    if (row->kind == RECORD_PUT) {
        row_value(schema, row->schema, row->image, column, value);
        return;
    }
    *value = (struct mote_value){.type = schema->columns[column].type, .is_null = 1};
    sst_world_check(key_decode(schema, row->key, row->key_bytes, keys, scratch), "a key");
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        if (schema->key_columns[i] == column)
            *value = keys[i];
}

bool sst_model_time(const struct schema *schema, const struct model_row *row, int64_t *time_ns)
{
    struct mote_value value;
    if (schema->time_column < 0)
        return false;
    model_value(schema, row, (uint32_t)schema->time_column, &value);
    return !value.is_null && value_time(&schema->columns[schema->time_column], &value, time_ns);
}

static bool values_equal(const struct schema_column *column, const struct mote_value *a, const struct mote_value *b)
{
    if (a->is_null != b->is_null)
        return false;
    if (a->is_null)
        return true;
    if (type_is_var(column->type) || type_is_vector(column->type))
        return a->as.bytes.size_bytes == b->as.bytes.size_bytes && (a->as.bytes.size_bytes == 0 || memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.size_bytes) == 0);
    return memcmp(&a->as, &b->as, column->value_bytes) == 0;
}

bool sst_row_equals(struct sst_iterator *iterator, const struct schema *schema, const struct model_row *row, char fault[200], int *error)
{
    static _Thread_local uint8_t image[MOTE_ROW_BYTES_MAX];
    struct record record;
    uint32_t image_bytes;
    *error = sst_record(iterator, &record);
    if (*error)
        return false;
    snprintf(fault, 200, "record: kind %u for %u, seq %llu for %llu", record.kind, row->kind, (unsigned long long)record.seq, (unsigned long long)row->seq);
    if (record.kind != row->kind || record.seq != row->seq || key_compare(record.key, record.key_bytes, row->key, row->key_bytes) != 0)
        return false;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        struct mote_value got, expected;
        *error = sst_value(iterator, i, &got);
        if (*error)
            return false;
        model_value(schema, row, i, &expected);
        snprintf(fault, 200, "seq %llu: column %s of type %s differs", (unsigned long long)row->seq, schema->columns[i].name, type_name(schema->columns[i].type));
        if (!values_equal(&schema->columns[i], &got, &expected))
            return false;
    }
    *error = sst_row_image(iterator, image, sizeof image, &image_bytes);
    if (*error)
        return false;
    snprintf(fault, 200, "seq %llu: another row image", (unsigned long long)row->seq);
    if (row->kind == RECORD_DELETE)
        return image_bytes == 0;
    if (row->schema == schema)
        return image_bytes == row->image_bytes && memcmp(image, row->image, image_bytes) == 0;
    return row_image_check(schema, image, image_bytes) == 0;
}
