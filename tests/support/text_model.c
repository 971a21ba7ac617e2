/* text_model.c: see text_model.h. */
#include "tests/support/text_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lsm/utf8.h"

struct expected {
    int64_t id;
    double score;
};

static uint64_t draw(struct text_model *model, uint64_t below) { return fixture_random(&model->state) % below; }

void text_model_options(struct mote_options *options)
{
    options->workers = MOTE_NO_THREADS;
    options->compaction_runs_max = 32;
}

void text_model_create(struct text_model *model, mote_db *db, uint64_t seed)
{
    struct mote_column_definition columns[3] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "at", .type = MOTE_TYPE_TIMESTAMP},
        {.name = "body", .type = MOTE_TYPE_TEXT},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key[] = {0};
    memset(model, 0, sizeof *model);
    model->seed = seed;
    model->state = seed * 0x9E3779B97F4A7C15u + 1;
    model->texts = malloc(TEXT_MODEL_DOCUMENTS_MAX * sizeof *model->texts);
    model->documents = malloc(TEXT_MODEL_DOCUMENTS_MAX * sizeof *model->documents);
    require(model->texts && model->documents);
    schema.name = "texts";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &model->table));
}

void text_model_free(struct text_model *model)
{
    free(model->texts);
    free(model->documents);
}

void text_model_open(struct text_model *model, mote_db *db) { must(mote_table_open(db, "texts", &model->table)); }

void text_model_add_index(struct text_model *model, const char *name)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t body = 2;
    options.name = name;
    options.kind = MOTE_INDEX_TEXT;
    options.columns = &body;
    options.column_count = 1;
    must(mote_index_create(model->table, &options));
}

static void remove_document(struct text_model *model, uint32_t at)
{
    model->count--;
    model->texts[at] = model->texts[model->count];
    model->documents[at] = model->documents[model->count];
}

/* Its version in the memtable vanishes; that in a segment is dead. */
static void forget(struct text_model *model, int64_t id)
{
    for (uint32_t i = model->count; i-- > 0;) {
        if (model->documents[i].id != id || !model->documents[i].alive)
            continue;
        model->documents[i].alive = false;
        model->vanished |= !model->documents[i].in_segment;
        if (!model->documents[i].in_segment)
            remove_document(model, i);
    }
}

void text_model_insert(struct text_model *model, int64_t id)
{
    struct mote_value values[3] = {value_i64(id), value_timestamp((int64_t)draw(model, 1000)), value_null(MOTE_TYPE_TEXT)};
    require(model->count < TEXT_MODEL_DOCUMENTS_MAX);
    forget(model, id);
    if (draw(model, 15) > 0) {
        struct text_rig_text *text = &model->texts[model->count];
        do
            text_rig_make_text(&model->state, 14, text);
        while (!utf8_is_valid((const uint8_t *)text->bytes, text->byte_count)); /* what a text column refuses */
        values[2] = value_bytes(MOTE_TYPE_TEXT, text->bytes, text->byte_count);
        model->documents[model->count++] = (struct text_model_document){.id = id, .time_ns = values[1].as.i64, .alive = true};
    }
    must(mote_append(model->table, values, 3, NULL, NULL));
}

void text_model_change(struct text_model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t id = (int64_t)draw(model, TEXT_MODEL_KEYS);
        if (draw(model, 4) != 0) {
            text_model_insert(model, id);
            continue;
        }
        struct mote_value key = value_i64(id);
        must(mote_delete(model->table, &key, 1, NULL, NULL));
        forget(model, id);
    }
}

void text_model_flush(struct text_model *model, mote_db *db)
{
    must(mote_flush(db));
    model->vanished = false;
    for (uint32_t i = 0; i < model->count; i++)
        model->documents[i].in_segment = true;
}

void text_model_compact(struct text_model *model, mote_db *db)
{
    text_model_flush(model, db);
    must(mote_compact(db, "texts"));
    for (uint32_t i = model->count; i-- > 0;)
        if (!model->documents[i].alive)
            remove_document(model, i);
}

/* ---- Searching ---- */

static int by_score(const void *a, const void *b)
{
    const struct expected *x = a, *y = b;
    if (x->score < y->score || x->score > y->score)
        return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    const struct expected *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

struct asking {
    const char *words;
    uint64_t limit;
    uint32_t flags;
    bool unranked, in_time;
    int64_t time_from_ns, time_to_ns;
};

static uint32_t ask(struct text_model *model, const struct asking *asking, int64_t *ids, double *scores, uint32_t most)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t body = 2;
    struct mote_term term = {.kind = MOTE_TERM_WORDS, .flags = asking->flags, .columns = &body, .column_count = 1, .words = asking->words};
    struct mote_hit_chunk chunk;
    uint32_t count = 0;
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.rank_by = asking->unranked ? MOTE_RANK_NONE : 0;
    options.limit = asking->limit;
    options.use_time_range = asking->in_time;
    options.time_from_ns = asking->time_from_ns;
    options.time_to_ns = asking->time_to_ns;
    options.chunk_rows = 1 + (uint32_t)draw(model, 200);
    must(mote_search(model->table, &options, &hits));
    require(mote_hits_count(hits) <= most);
    for (;;) {
        must(mote_hits_next(hits, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++, count++) {
            ids[count] = ((const int64_t *)chunk.columns[0].values)[i];
            scores[count] = chunk.scores[i];
        }
    }
    require(count == mote_hits_count(hits));
    mote_hits_close(hits);
    return count;
}

uint32_t text_model_ask(struct text_model *model, const char *words, uint32_t flags, uint64_t limit, int64_t *ids, double *scores, uint32_t most)
{
    struct asking asking = {.words = words, .limit = limit, .flags = flags};
    return ask(model, &asking, ids, scores, most);
}

static void fail(const struct text_model *model, const struct asking *asking, uint32_t place, const char *what)
{
    fprintf(stderr, "seed %llu: %s (limit %llu%s%s): hit %u: %s\n", (unsigned long long)model->seed, asking->words, (unsigned long long)asking->limit, asking->unranked ? ", unranked" : "",
            asking->in_time ? ", in a time range" : "", place, what);
    abort();
}

/* Sums of the same numbers in another order differ in their last digits: scores are compared place by place and row by row, the order by the scores that were told. */
static void compare(const struct text_model *model, const struct asking *asking, const struct expected *ranked, uint32_t expected_count, const int64_t *ids, const double *scores, uint32_t count)
{
    static double by_key[TEXT_MODEL_KEYS];
    uint64_t wanted = asking->limit && asking->limit < expected_count ? asking->limit : expected_count;
    bool exact = fixture_strategy() == MOTE_INDEX_BATCH || !model->vanished;
    if (count != wanted)
        fail(model, asking, count, "another number of hits");
    for (uint32_t i = 0; i < TEXT_MODEL_KEYS; i++)
        by_key[i] = -1;
    for (uint32_t i = 0; i < expected_count; i++)
        by_key[ranked[i].id] = ranked[i].score;
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= TEXT_MODEL_KEYS || by_key[ids[i]] < 0)
            fail(model, asking, i, "a row that does not match");
        if (asking->unranked) {
            if (!asking->limit && ids[i] != ranked[i].id)
                fail(model, asking, i, "another row");
            continue;
        }
        if (exact && (!(fabs(scores[i] - ranked[i].score) <= 1e-9 * (1 + ranked[i].score)) || !(fabs(scores[i] - by_key[ids[i]]) <= 1e-9 * (1 + scores[i]))))
            fail(model, asking, i, "another score");
        if (i > 0 && (scores[i] > scores[i - 1] || (!(scores[i] < scores[i - 1]) && ids[i] <= ids[i - 1])))
            fail(model, asking, i, "out of order");
    }
}

static void check_query(struct text_model *model, uint32_t variant)
{
    static struct text_rig_query query;
    static double scores[TEXT_MODEL_DOCUMENTS_MAX], told[TEXT_MODEL_KEYS];
    static struct expected ranked[TEXT_MODEL_KEYS];
    static int64_t ids[TEXT_MODEL_KEYS];
    uint32_t expected_count = 0;
    text_rig_make_query(&model->state, &query);
    struct asking asking = {.words = query.bytes, .unranked = variant % 5 == 4, .limit = variant % 2 ? 1 + draw(model, 25) : 0, .in_time = variant % 3 == 2};
    asking.time_from_ns = (int64_t)draw(model, 1000);
    asking.time_to_ns = asking.time_from_ns + (int64_t)draw(model, 500);
    text_rig_answer(&query, model->texts, model->count, scores);
    for (uint32_t i = 0; i < model->count; i++) {
        const struct text_model_document *document = &model->documents[i];
        if (document->alive && scores[i] >= 0 && (!asking.in_time || (document->time_ns >= asking.time_from_ns && document->time_ns <= asking.time_to_ns)))
            ranked[expected_count++] = (struct expected){document->id, scores[i]};
    }
    qsort(ranked, expected_count, sizeof *ranked, asking.unranked ? by_id : by_score);
    uint32_t count = ask(model, &asking, ids, told, TEXT_MODEL_KEYS);
    compare(model, &asking, ranked, expected_count, ids, told, count);
}

void text_model_check(struct text_model *model, uint32_t searches)
{
    for (uint32_t i = 0; i < searches; i++)
        check_query(model, i);
}
