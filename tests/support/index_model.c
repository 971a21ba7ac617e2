/* index_model.c: see index_model.h. */
#include "tests/support/index_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct expected {
    int64_t id;
    double squared;
};

static uint64_t draw(struct index_model *model, uint64_t below) { return fixture_random(&model->state) % below; }

/* Few different values, so that distances are equal now and then. */
static double draw_coordinate(struct index_model *model) { return (double)draw(model, 41) - 20.0 + (draw(model, 3) == 0 ? 0.5 : 0.0); }

void index_model_create(struct index_model *model, mote_db *db, uint64_t seed, bool axes)
{
    struct mote_column_definition columns[6] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "at", .type = MOTE_TYPE_TIMESTAMP},
        {.name = axes ? "x" : "place", .type = axes ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_POINT3},
        {.name = "y", .type = MOTE_TYPE_FLOAT64},
        {.name = "z", .type = MOTE_TYPE_FLOAT64},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key[] = {0};
    memset(model, 0, sizeof *model);
    model->seed = seed;
    model->state = seed * 0x9E3779B97F4A7C15u + 1;
    model->axes = axes;
    schema.name = "places";
    schema.columns = columns;
    schema.column_count = axes ? 5 : 3;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &model->table));
}

void index_model_open(struct index_model *model, mote_db *db) { must(mote_table_open(db, "places", &model->table)); }

void index_model_add_index(struct index_model *model, const char *name)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t columns[] = {2, 3, 4};
    options.name = name;
    options.kind = MOTE_INDEX_SPATIAL;
    options.columns = columns;
    options.column_count = model->axes ? 3 : 1;
    must(mote_index_create(model->table, &options));
}

static void put_row(struct index_model *model, int64_t id)
{
    struct mote_value values[5] = {value_i64(id), value_timestamp((int64_t)draw(model, 1000))};
    double point[3] = {draw_coordinate(model), draw_coordinate(model), draw_coordinate(model)};
    bool has_point = draw(model, 12) != 0;
    if (draw(model, 40) == 0)
        point[draw(model, 3)] = (double)NAN;
    values[2] = value_point(point[0], point[1], point[2]);
    for (unsigned i = 0; i < 3 && model->axes; i++)
        values[2 + i] = value_f64(point[i]);
    if (!has_point)
        values[2] = value_null(model->axes ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_POINT3);
    must(mote_append(model->table, values, model->axes ? 5 : 3, NULL, NULL));
    model->rows[id].alive = true;
    model->rows[id].has_point = has_point && !isnan(point[0]) && !isnan(point[1]) && !isnan(point[2]);
    memcpy(model->rows[id].point, point, sizeof point);
    model->rows[id].time_ns = values[1].as.i64;
}

void index_model_change(struct index_model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t id = (int64_t)draw(model, INDEX_MODEL_KEYS);
        if (draw(model, 4) != 0) {
            put_row(model, id);
            continue;
        }
        struct mote_value key = value_i64(id);
        must(mote_delete(model->table, &key, 1, NULL, NULL));
        model->rows[id].alive = false;
    }
}

static double squared_distance(const double centre[3], const double point[3])
{
    volatile double x = point[0] - centre[0], y = point[1] - centre[1], z = point[2] - centre[2];
    volatile double xx = x * x, yy = y * y, zz = z * z;
    volatile double sum = xx + yy;
    return sum + zz;
}

/* The number of the term that ranks; SIZE_MAX: none. */
static size_t ranking_term(const struct mote_search_options *options)
{
    size_t found = SIZE_MAX, count = 0;
    if (options->rank_by)
        return options->rank_by == MOTE_RANK_NONE ? SIZE_MAX : options->rank_by - 1;
    for (size_t t = 0; t < options->term_count; t++) {
        if (options->terms[t].kind == MOTE_TERM_NEAREST)
            return t;
        if (options->terms[t].kind == MOTE_TERM_RADIUS) {
            found = t;
            count++;
        }
    }
    return count == 1 ? found : SIZE_MAX;
}

/* The rank of a row that satisfies every term: the squared distance of the term that ranks, else 0. */
static bool is_expected(const struct index_model *model, int64_t id, const struct mote_search_options *options, double *squared)
{
    *squared = 0;
    if (!model->rows[id].alive || (!model->rows[id].has_point && options->term_count > 0))
        return false;
    if (options->use_time_range && (model->rows[id].time_ns < options->time_from_ns || model->rows[id].time_ns > options->time_to_ns))
        return false;
    for (size_t t = 0; t < options->term_count; t++) {
        const struct mote_term *term = &options->terms[t];
        double distance = squared_distance(term->centre, model->rows[id].point);
        for (unsigned i = 0; i < 3 && term->kind == MOTE_TERM_BOX; i++)
            if (model->rows[id].point[i] < term->min[i] || model->rows[id].point[i] > term->max[i])
                return false;
        if (term->kind != MOTE_TERM_BOX && !(term->kind == MOTE_TERM_NEAREST && term->radius <= 0) && distance > term->radius * term->radius)
            return false;
        if (t == ranking_term(options))
            *squared = distance;
    }
    return true;
}

static int compare_expected(const void *a, const void *b)
{
    const struct expected *x = a, *y = b;
    if (x->squared < y->squared || x->squared > y->squared)
        return x->squared < y->squared ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void fail(const struct index_model *model, const struct mote_search_options *options, uint64_t found, uint64_t wanted, const char *what)
{
    fprintf(stderr, "seed %llu: search of %zu terms, the first of kind %u (limit %llu, rank by %u, time range %u), found %llu rows, expected %llu: %s\n", (unsigned long long)model->seed, options->term_count,
            options->term_count ? options->terms[0].kind : 0, (unsigned long long)options->limit, options->rank_by, options->use_time_range, (unsigned long long)found, (unsigned long long)wanted, what);
    abort();
}

static void check_search(struct index_model *model, const struct mote_search_options *options)
{
    static struct expected expected[INDEX_MODEL_KEYS];
    uint64_t wanted = 0, found = 0;
    for (int64_t id = 0; id < INDEX_MODEL_KEYS; id++) {
        double squared;
        if (is_expected(model, id, options, &squared))
            expected[wanted++] = (struct expected){id, squared};
    }
    qsort(expected, wanted, sizeof *expected, compare_expected);
    bool any = ranking_term(options) == SIZE_MAX && options->limit && wanted > options->limit;
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
            double squared;
            if (any ? !is_expected(model, id, options, &squared) : id != expected[found].id)
                fail(model, options, found, wanted, "another row");
            double distance = any ? 0 : sqrt(expected[found].squared);
            if (chunk.scores[i] < distance || chunk.scores[i] > distance)
                fail(model, options, found, wanted, "another distance");
            if (!model->axes && model->rows[id].has_point && memcmp((const double *)chunk.columns[2].values + 3 * i, model->rows[id].point, 24) != 0)
                fail(model, options, found, wanted, "another point");
            if (((const int64_t *)chunk.columns[1].values)[i] != model->rows[id].time_ns)
                fail(model, options, found, wanted, "another time");
        }
    }
    if (found != wanted)
        fail(model, options, found, wanted, "the chunks do not hold them all");
    mote_hits_close(hits);
}

static void draw_term(struct index_model *model, uint32_t kind, struct mote_term *term)
{
    static const uint32_t columns[] = {2, 3, 4};
    *term = (struct mote_term){.kind = kind};
    for (unsigned axis = 0; axis < 3; axis++) {
        term->min[axis] = draw_coordinate(model);
        term->max[axis] = term->min[axis] + (double)draw(model, 20);
        term->centre[axis] = draw_coordinate(model) + 0.25;
    }
    term->radius = kind == MOTE_TERM_NEAREST && draw(model, 2) ? 0 : (double)draw(model, 15);
    /* By its columns a term is asked with an index and without one. */
    term->columns = columns;
    term->column_count = model->axes ? 3 : 1;
}

static void check_one(struct index_model *model, uint32_t kind)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term terms[4];
    bool nearest = kind == MOTE_TERM_NEAREST;
    draw_term(model, kind, &terms[0]);
    options.terms = terms;
    options.term_count = draw(model, 12) == 0 ? 0 : 1;
    if (options.term_count)
        options.term_count += draw(model, 4) ? 0 : draw(model, 4);
    for (size_t i = 1; i < options.term_count; i++) {
        draw_term(model, draw(model, 2) ? MOTE_TERM_BOX : MOTE_TERM_RADIUS, &terms[i]);
        terms[i].radius += 15;
        for (unsigned axis = 0; axis < 3; axis++)
            terms[i].max[axis] += 15;
    }
    if (options.term_count == 0)
        nearest = false;
    else if (!nearest && draw(model, 3) == 0)
        options.rank_by = kind == MOTE_TERM_RADIUS ? 1 : MOTE_RANK_NONE;
    options.chunk_rows = 1 + (uint32_t)draw(model, 200);
    options.limit = nearest || draw(model, 2) ? 1 + draw(model, 40) : 0;
    options.use_time_range = draw(model, 2) == 0;
    options.time_from_ns = (int64_t)draw(model, 1000);
    options.time_to_ns = options.time_from_ns + (int64_t)draw(model, 400);
    check_search(model, &options);
}

void index_model_check(struct index_model *model, uint32_t searches)
{
    static const uint32_t kinds[] = {MOTE_TERM_BOX, MOTE_TERM_RADIUS, MOTE_TERM_NEAREST};
    for (uint32_t i = 0; i < searches; i++)
        check_one(model, kinds[i % 3]);
}
