/* vector_model.c: see vector_model.h. */
#include "tests/support/vector_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/vector_world.h"

struct expected {
    int64_t id;
    double distance;
};

static uint64_t draw(struct vector_model *model, uint64_t below) { return fixture_random(&model->state) % below; }

/* Clusters, and now and then the very same vector or one of zeros, so that distances are equal. */
static void draw_vector(struct vector_model *model, float *vector)
{
    uint64_t cluster = draw(model, 12), kind = draw(model, 50);
    for (uint32_t i = 0; i < model->dimension; i++) {
        double place = (double)((cluster * 2654435761u + i * 40503u) % 97) / 10 - 4.8;
        vector[i] = kind == 0 ? 0.0f : (float)(place + (kind == 1 ? 0 : (double)draw(model, 2000) / 1000 - 1));
    }
}

void vector_model_create(struct vector_model *model, mote_db *db, uint64_t seed, uint32_t dimension, uint32_t metric)
{
    const struct mote_column_definition columns[] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "at", .type = MOTE_TYPE_TIMESTAMP},
        {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = dimension},
    };
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    require(dimension <= VECTOR_MODEL_DIMENSION_MAX);
    memset(model, 0, sizeof *model);
    model->seed = seed;
    model->state = seed * 0x9E3779B97F4A7C15u + 1;
    model->dimension = dimension;
    model->metric = metric;
    schema.name = "vectors";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &model->table));
}

void vector_model_open(struct vector_model *model, mote_db *db) { must(mote_table_open(db, "vectors", &model->table)); }

void vector_model_add_index(struct vector_model *model, const char *name)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t column = 2;
    options.name = name;
    options.kind = MOTE_INDEX_VECTOR;
    options.metric = model->metric;
    options.columns = &column;
    options.column_count = 1;
    must(mote_index_create(model->table, &options));
}

/* ---- Changes ---- */

void vector_model_fill(struct vector_model *model, int64_t first, uint32_t count)
{
    enum { BATCH = 250 };
    static float vectors[BATCH * VECTOR_MODEL_DIMENSION_MAX];
    int64_t ids[BATCH], times[BATCH];
    require(first >= 0 && first + count <= VECTOR_MODEL_KEYS);
    for (uint32_t done = 0; done < count;) {
        uint32_t rows = count - done < BATCH ? count - done : BATCH;
        for (uint32_t i = 0; i < rows; i++) {
            ids[i] = first + done + i;
            times[i] = (int64_t)draw(model, 1000);
            draw_vector(model, vectors + (size_t)i * model->dimension);
            model->rows[ids[i]].alive = model->rows[ids[i]].has_vector = true;
            model->rows[ids[i]].time_ns = times[i];
            memcpy(model->rows[ids[i]].vector, vectors + (size_t)i * model->dimension, model->dimension * sizeof(float));
        }
        const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_TIMESTAMP, .values = times}, {.type = MOTE_TYPE_VECTOR_F32, .dimension = model->dimension, .values = vectors}};
        const struct mote_batch batch = {.row_count = rows, .column_count = 3, .columns = columns};
        must(mote_append_columns(model->table, &batch, NULL, NULL));
        done += rows;
    }
}

static void put_row(struct vector_model *model, int64_t id)
{
    float *vector = model->rows[id].vector;
    bool present = draw(model, 12) != 0;
    draw_vector(model, vector);
    if (draw(model, 40) == 0)
        vector[draw(model, model->dimension)] = draw(model, 2) ? NAN : INFINITY;
    const struct mote_value values[] = {value_i64(id), value_timestamp((int64_t)draw(model, 1000)),
                                        present ? value_bytes(MOTE_TYPE_VECTOR_F32, vector, model->dimension * sizeof(float)) : value_null(MOTE_TYPE_VECTOR_F32)};
    must(mote_append(model->table, values, 3, NULL, NULL));
    for (uint32_t i = 0; i < model->dimension; i++)
        present = present && isfinite(vector[i]);
    model->rows[id].alive = true;
    model->rows[id].has_vector = present;
    model->rows[id].time_ns = values[1].as.i64;
}

void vector_model_change(struct vector_model *model, uint32_t count, int64_t below)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t id = (int64_t)draw(model, (uint64_t)below);
        if (draw(model, 4) != 0) {
            put_row(model, id);
            continue;
        }
        struct mote_value key = value_i64(id);
        must(mote_delete(model->table, &key, 1, NULL, NULL));
        model->rows[id].alive = false;
    }
}

/* ---- Searches ---- */

static int compare_expected(const void *a, const void *b)
{
    const struct expected *x = a, *y = b;
    if (x->distance < y->distance || x->distance > y->distance)
        return x->distance < y->distance ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool counts(const struct vector_model *model, int64_t id, const struct mote_search_options *options)
{
    return model->rows[id].alive && model->rows[id].has_vector && (!options->use_time_range || (model->rows[id].time_ns >= options->time_from_ns && model->rows[id].time_ns <= options->time_to_ns));
}

static double distance_of(const struct vector_model *model, int64_t id, const struct mote_search_options *options)
{
    return vector_world_distance((enum vector_metric)model->metric, options->terms->vector, model->rows[id].vector, model->dimension);
}

static uint64_t list_expected(const struct vector_model *model, const struct mote_search_options *options, struct expected *expected)
{
    uint64_t count = 0;
    for (int64_t id = 0; id < VECTOR_MODEL_KEYS; id++)
        if (counts(model, id, options))
            expected[count++] = (struct expected){id, distance_of(model, id, options)};
    qsort(expected, count, sizeof *expected, compare_expected);
    uint64_t limit = options->limit ? options->limit : 10;
    return count < limit ? count : limit;
}

static void fail(const struct vector_model *model, const struct mote_search_options *options, uint64_t found, uint64_t wanted, const char *what)
{
    fprintf(stderr, "seed %llu: a search of metric %u (limit %llu, time range %u) found %llu rows, expected %llu: %s\n", (unsigned long long)model->seed, model->metric, (unsigned long long)options->limit, options->use_time_range,
            (unsigned long long)found, (unsigned long long)wanted, what);
    abort();
}

/* One hit; last: the one before, whose id is negative at first. */
static void check_hit(struct vector_model *model, const struct mote_search_options *options, const struct mote_hit_chunk *chunk, size_t i, struct expected *last)
{
    int64_t id = ((const int64_t *)chunk->columns[0].values)[i];
    struct expected hit = {id, chunk->scores[i]};
    if (id < 0 || id >= VECTOR_MODEL_KEYS || !counts(model, id, options))
        fail(model, options, i, 0, "a row that is not there or does not count");
    double distance = distance_of(model, id, options);
    if (hit.distance < distance || hit.distance > distance)
        fail(model, options, i, 0, "another distance");
    if (last->id >= 0 && compare_expected(last, &hit) >= 0)
        fail(model, options, i, 0, "out of order");
    if (memcmp((const float *)chunk->columns[2].values + i * model->dimension, model->rows[id].vector, model->dimension * sizeof(float)) != 0)
        fail(model, options, i, 0, "another vector");
    *last = hit;
}

static void check_search(struct vector_model *model, const struct mote_search_options *options)
{
    static struct expected expected[VECTOR_MODEL_KEYS];
    uint64_t wanted = list_expected(model, options, expected), at = 0;
    bool exact = options->terms->flags & MOTE_TERM_EXACT;
    struct expected last = {.id = -1};
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    must(mote_search(model->table, options, &hits));
    if (mote_hits_count(hits) != wanted)
        fail(model, options, mote_hits_count(hits), wanted, "the counts differ");
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            check_hit(model, options, &chunk, i, &last);
            if (exact && last.id != expected[at].id)
                fail(model, options, at, wanted, "another row");
            for (uint64_t k = 0; k < wanted && !exact; k++)
                model->found += expected[k].id == last.id;
        }
    } while (chunk.row_count > 0);
    if (at != wanted)
        fail(model, options, at, wanted, "the chunks do not hold them all");
    model->wanted += exact ? 0 : wanted;
    mote_hits_close(hits);
}

void vector_model_check(struct vector_model *model, uint32_t searches, bool exact)
{
    for (uint32_t i = 0; i < searches; i++) {
        float query[VECTOR_MODEL_DIMENSION_MAX];
        struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
        struct mote_term term = {.kind = MOTE_TERM_VECTOR, .flags = exact ? MOTE_TERM_EXACT : 0, .vector = query, .dimension = model->dimension};
        draw_vector(model, query);
        options.terms = &term;
        options.term_count = 1;
        options.chunk_rows = 1 + (uint32_t)draw(model, 200);
        options.limit = draw(model, 4) == 0 ? 0 : 1 + draw(model, draw(model, 3) == 0 ? 200 : 20);
        options.use_time_range = draw(model, 2) == 0;
        options.time_from_ns = (int64_t)draw(model, 1000);
        options.time_to_ns = options.time_from_ns + (int64_t)draw(model, draw(model, 2) ? 400 : 5);
        check_search(model, &options);
    }
}
