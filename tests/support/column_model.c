/* column_model.c: see column_model.h. */
#include "tests/support/column_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t types[COLUMN_MODEL_COLUMNS] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB};
static const char *const names[COLUMN_MODEL_COLUMNS] = {"i64", "i32", "at", "f64", "f32", "flag", "words", "bytes"};

static uint64_t draw(struct column_model *model, uint64_t below) { return fixture_random(&model->state) % below; }
static bool is_bytes(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }

void column_model_create(struct column_model *model, mote_db *db, uint64_t seed)
{
    struct mote_column_definition columns[1 + COLUMN_MODEL_COLUMNS] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key[] = {0};
    memset(model, 0, sizeof *model);
    model->seed = seed;
    model->state = seed * 0x9E3779B97F4A7C15u + 1;
    for (uint32_t i = 0; i < COLUMN_MODEL_COLUMNS; i++)
        columns[1 + i] = (struct mote_column_definition){.name = names[i], .type = types[i]};
    schema.name = "values";
    schema.columns = columns;
    schema.column_count = 1 + COLUMN_MODEL_COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &model->table));
}

void column_model_open(struct column_model *model, mote_db *db) { must(mote_table_open(db, "values", &model->table)); }

void column_model_add_index(struct column_model *model, uint32_t position)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    options.name = names[position - 1];
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = &position;
    options.column_count = 1;
    must(mote_index_create(model->table, &options));
}

/* ---- Values: few different ones, and the odd ones among them ---- */

static double draw_double(struct column_model *model)
{
    static const double odd[] = {0.0, -0.0, (double)INFINITY, -(double)INFINITY, (double)NAN, -(double)NAN};
    return draw(model, 4) == 0 ? odd[draw(model, 6)] : (double)draw(model, 40) / 4 - 5;
}

/* Some are longer than an index keeps, and begin alike. */
static void draw_bytes(struct column_model *model, uint32_t type, uint8_t *room, struct mote_value *value)
{
    static const uint32_t lengths[] = {0, 1, 2, 3, 5, 253, 254, 255, 256, 300, COLUMN_MODEL_BYTES};
    uint32_t length = lengths[draw(model, 11)], from = draw(model, 2) ? 0 : length > 3 ? length - 3 : 0;
    memset(room, type == MOTE_TYPE_TEXT ? 'a' : 255, length);
    for (uint32_t i = from; i < length && i < from + 3; i++)
        room[i] = (uint8_t)(type == MOTE_TYPE_TEXT ? 'a' + draw(model, 3) : draw(model, 2) ? 255 : draw(model, 2));
    *value = value_bytes(type, room, length);
}

static void draw_value(struct column_model *model, uint32_t type, uint8_t *room, struct mote_value *value)
{
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, -1, 0};
    int64_t number = draw(model, 8) == 0 ? odd[draw(model, 4)] : (int64_t)draw(model, 60) - 30;
    switch (type) {
    case MOTE_TYPE_INT64:
        *value = value_i64(number);
        break;
    case MOTE_TYPE_INT32:
        *value = value_i32((int32_t)(number < INT32_MIN ? INT32_MIN : number > INT32_MAX ? INT32_MAX : number));
        break;
    case MOTE_TYPE_TIMESTAMP:
        *value = value_timestamp(number);
        break;
    case MOTE_TYPE_FLOAT64:
        *value = value_f64(draw_double(model));
        break;
    case MOTE_TYPE_FLOAT32:
        *value = value_f32((float)draw_double(model));
        break;
    case MOTE_TYPE_BOOL:
        *value = value_bool(draw(model, 2));
        break;
    default:
        draw_bytes(model, type, room, value);
    }
}

void column_model_change(struct column_model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t id = (int64_t)draw(model, COLUMN_MODEL_KEYS);
        struct mote_value values[1 + COLUMN_MODEL_COLUMNS] = {value_i64(id)};
        if (draw(model, 4) == 0) {
            must(mote_delete(model->table, values, 1, NULL, NULL));
            model->rows[id].alive = false;
            continue;
        }
        for (uint32_t k = 0; k < COLUMN_MODEL_COLUMNS; k++) {
            draw_value(model, types[k], model->rows[id].bytes[k], &values[1 + k]);
            if (draw(model, 9) == 0)
                values[1 + k] = value_null(types[k]);
        }
        must(mote_append(model->table, values, 1 + COLUMN_MODEL_COLUMNS, NULL, NULL));
        memcpy(model->rows[id].values, values + 1, sizeof model->rows[id].values);
        model->rows[id].alive = true;
    }
}

/* ---- What belongs to an answer ---- */

static int compare_doubles(double x, double y)
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
        return compare_doubles(a->as.f64, b->as.f64);
    case MOTE_TYPE_FLOAT32:
        return compare_doubles((double)a->as.f32, (double)b->as.f32);
    case MOTE_TYPE_BOOL:
        return (int)a->as.boolean - (int)b->as.boolean;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB: {
        uint64_t i = 0, x = a->as.bytes.size_bytes, y = b->as.bytes.size_bytes;
        const uint8_t *p = a->as.bytes.data, *q = b->as.bytes.data;
        while (i < x && i < y && p[i] == q[i])
            i++;
        return i < x && i < y ? (p[i] > q[i] ? 1 : -1) : (x > y) - (x < y);
    }
    default:
        return (a->as.i64 > b->as.i64) - (a->as.i64 < b->as.i64);
    }
}

static bool satisfies(const struct mote_value *value, const struct mote_term *term)
{
    bool found = false;
    if (term->kind == MOTE_TERM_NULL || value->is_null)
        return term->kind == MOTE_TERM_NULL && value->is_null;
    switch (term->kind) {
    case MOTE_TERM_EQUAL:
        return compare_values(value, &term->from) == 0;
    case MOTE_TERM_RANGE: {
        int from = term->from.is_null ? 1 : compare_values(value, &term->from), to = term->to.is_null ? -1 : compare_values(value, &term->to);
        return (from > 0 || (from == 0 && !(term->flags & MOTE_TERM_FROM_EXCLUDED))) && (to < 0 || (to == 0 && !(term->flags & MOTE_TERM_TO_EXCLUDED)));
    }
    case MOTE_TERM_IN:
        for (size_t i = 0; i < term->value_count; i++)
            found |= compare_values(value, &term->values[i]) == 0;
        return found;
    case MOTE_TERM_PREFIX:
        return value->as.bytes.size_bytes >= term->from.as.bytes.size_bytes && memcmp(value->as.bytes.data, term->from.as.bytes.data, term->from.as.bytes.size_bytes) == 0;
    default:
        return true;
    }
}

static bool row_satisfies(const struct column_model *model, int64_t id, const struct mote_search_options *options)
{
    for (size_t i = 0; i < options->term_count && model->rows[id].alive; i++)
        if (!satisfies(&model->rows[id].values[options->terms[i].columns[0] - 1], &options->terms[i]))
            return false;
    return model->rows[id].alive;
}

/* Of the search that is checked: qsort has no context. */
static const struct column_model *sort_model;
static const struct mote_term *sort_term;

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    int order = 0;
    if (sort_term && sort_term->kind != MOTE_TERM_NULL)
        order = compare_values(&sort_model->rows[x].values[sort_term->columns[0] - 1], &sort_model->rows[y].values[sort_term->columns[0] - 1]);
    order = order ? order : (x > y) - (x < y);
    return sort_term && (sort_term->flags & MOTE_TERM_DESCENDING) ? -order : order;
}

static void fail(const struct column_model *model, const struct mote_search_options *options, uint64_t found, uint64_t wanted, const char *what)
{
    fprintf(stderr, "seed %llu: search by column %u, kind %u, flags %u, %zu terms (rank_by %u, limit %llu) found %llu rows, expected %llu: %s\n", (unsigned long long)model->seed, options->terms[0].columns[0],
            options->terms[0].kind, options->terms[0].flags, options->term_count, options->rank_by, (unsigned long long)options->limit, (unsigned long long)found, (unsigned long long)wanted, what);
    abort();
}

static void check_row(const struct column_model *model, const struct mote_search_options *options, const struct mote_hit_chunk *chunk, size_t row, int64_t id)
{
    const struct mote_chunk rows = {chunk->row_count, chunk->column_count, chunk->columns};
    for (uint32_t k = 0; k < COLUMN_MODEL_COLUMNS; k++) {
        struct mote_value value = chunk_value(&rows, 1 + k, row);
        if (!value_equal(&value, &model->rows[id].values[k]))
            fail(model, options, (uint64_t)id, 0, "another value of that row");
    }
}

static void check_search(struct column_model *model, const struct mote_search_options *options)
{
    static int64_t expected[COLUMN_MODEL_KEYS];
    uint64_t wanted = 0, found = 0;
    for (int64_t id = 0; id < COLUMN_MODEL_KEYS; id++)
        if (row_satisfies(model, id, options))
            expected[wanted++] = id;
    bool ranked = options->rank_by >= 1 && options->rank_by <= options->term_count;
    sort_model = model;
    sort_term = ranked ? &options->terms[options->rank_by - 1] : NULL;
    qsort(expected, wanted, sizeof *expected, compare_ids);
    bool any = !ranked && options->limit && wanted > options->limit;
    if (options->limit && wanted > options->limit)
        wanted = options->limit;
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    must(mote_search(model->table, options, &hits));
    if (mote_hits_count(hits) != wanted)
        fail(model, options, mote_hits_count(hits), wanted, "the counts differ");
    for (;;) {
        must(mote_hits_next(hits, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++, found++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
            if (found == wanted || (any ? !row_satisfies(model, id, options) : id != expected[found]))
                fail(model, options, found, wanted, "another row");
            check_row(model, options, &chunk, i, id);
        }
    }
    if (found != wanted)
        fail(model, options, found, wanted, "the chunks do not hold them all");
    mote_hits_close(hits);
}

/* ---- Random searches ---- */

struct drawn_term {
    uint32_t column;
    struct mote_value list[12];
    uint8_t bytes[14][COLUMN_MODEL_BYTES];
};

/* An operand: now and then one that a row has. */
static void draw_operand(struct column_model *model, uint32_t column, uint8_t *room, struct mote_value *value)
{
    const struct mote_value *of_row = &model->rows[draw(model, COLUMN_MODEL_KEYS)].values[column - 1];
    draw_value(model, types[column - 1], room, value);
    if (!draw(model, 2) || of_row->type != types[column - 1] || of_row->is_null)
        return;
    *value = *of_row;
    if (is_bytes(value->type)) {
        memcpy(room, of_row->as.bytes.data, of_row->as.bytes.size_bytes);
        value->as.bytes.data = room;
    }
}

static void draw_term(struct column_model *model, struct mote_term *term, struct drawn_term *drawn, bool ranked)
{
    static const uint32_t kinds[] = {MOTE_TERM_EQUAL, MOTE_TERM_RANGE, MOTE_TERM_RANGE, MOTE_TERM_IN, MOTE_TERM_PREFIX, MOTE_TERM_NULL, MOTE_TERM_NOT_NULL};
    drawn->column = 1 + (uint32_t)draw(model, COLUMN_MODEL_COLUMNS);
    uint32_t type = types[drawn->column - 1];
    *term = (struct mote_term){.kind = kinds[draw(model, 7)], .columns = &drawn->column, .column_count = 1, .values = drawn->list};
    if (term->kind == MOTE_TERM_PREFIX && !is_bytes(type))
        term->kind = MOTE_TERM_RANGE;
    draw_operand(model, drawn->column, drawn->bytes[12], &term->from);
    draw_operand(model, drawn->column, drawn->bytes[13], &term->to);
    if (term->kind == MOTE_TERM_PREFIX)
        term->from.as.bytes.size_bytes -= draw(model, term->from.as.bytes.size_bytes + 1) / (1 + draw(model, 3));
    if (term->kind == MOTE_TERM_RANGE) {
        if (draw(model, 4) == 0)
            term->from = value_null(type);
        if (draw(model, 4) == 0)
            term->to = value_null(type);
        term->flags = (uint32_t)draw(model, 4);
    }
    term->value_count = term->kind == MOTE_TERM_IN ? draw(model, 13) : 0;
    for (size_t i = 0; i < term->value_count; i++)
        draw_operand(model, drawn->column, drawn->bytes[i], &drawn->list[i]);
    if (ranked && draw(model, 2))
        term->flags |= MOTE_TERM_DESCENDING;
}

void column_model_check(struct column_model *model, uint32_t searches)
{
    static struct drawn_term drawn[2];
    for (uint32_t i = 0; i < searches; i++) {
        struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
        struct mote_term terms[2];
        options.terms = terms;
        options.term_count = 1 + draw(model, 2);
        options.rank_by = (uint32_t)draw(model, options.term_count + 1);
        for (uint32_t k = 0; k < options.term_count; k++)
            draw_term(model, &terms[k], &drawn[k], options.rank_by == k + 1);
        options.limit = draw(model, 2) ? 1 + draw(model, 40) : 0;
        options.chunk_rows = 1 + (uint32_t)draw(model, 200);
        check_search(model, &options);
    }
}
