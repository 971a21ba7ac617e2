/* engine_search_mix_test.c: searches whose terms are of all kinds at once (values, places, vectors, words, time), beside random changes (of rows one by one, in write batches over two tables, and in transactions), flushes, compactions, reopenings and indexes that come and go: in either table, of now or of a snapshot, each must find the rows, in the order,
 * that looking at every row of a model in memory finds. Vectors have small whole elements, so that every distance is exact. Of BM25 scores the order is checked, and that a limit takes the first. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/engine_fixture.h"

enum { KEYS = 1200, DIMENSION = 4, WORDS = 10, TEXT_WORDS = 5, COLUMN_AT = 1, COLUMN_VALUE = 2, COLUMN_TEXT = 3, COLUMN_PLACE = 4, COLUMN_VECTOR = 5, KINDS = 4, TABLES = 2 };
static const char *const names[TABLES] = {"mix", "twin"};

struct row {
    bool alive, has_value, has_text, has_place, has_vector;
    int64_t time_ns, value;
    unsigned words; /* a bit for each of the vocabulary */
    double place[3];
    float vector[DIMENSION];
};

struct mix {
    uint64_t seed, state;
    mote_db *db;
    mote_table *tables[TABLES];
    const mote_snapshot *snapshot; /* of which is searched; NULL: now */
    mote_table *table;             /* the one that is searched, and its rows */
    const struct row *rows;
    bool indexed[KINDS];
    struct row now[TABLES][KEYS], before[TABLES][KEYS], seen[TABLES][KEYS]; /* before the changes that may be refused; by the snapshot */
};

/* Where a change goes: into a write batch, a transaction, or neither, and nothing else. */
struct way {
    mote_write *write;
    mote_transaction *transaction;
};

static const char *const vocabulary[WORDS] = {"arm", "bolt", "camera", "drill", "engine", "frame", "gear", "hand", "iron", "joint"};
static const struct {
    const char *name;
    uint32_t kind, column;
} indexes[KINDS] = {{"by value", MOTE_INDEX_COLUMN, COLUMN_VALUE}, {"by place", MOTE_INDEX_SPATIAL, COLUMN_PLACE}, {"by vector", MOTE_INDEX_VECTOR, COLUMN_VECTOR}, {"by words", MOTE_INDEX_TEXT, COLUMN_TEXT}};
static const uint32_t positions[] = {0, COLUMN_AT, COLUMN_VALUE, COLUMN_TEXT, COLUMN_PLACE, COLUMN_VECTOR};

static uint64_t draw(struct mix *mix, uint64_t below) { return fixture_random(&mix->state) % below; }

/* ---- Changes ---- */

static void create_table(struct mix *mix, uint32_t t)
{
    const struct mote_column_definition columns[] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "at", .type = MOTE_TYPE_TIMESTAMP},
        {.name = "value", .type = MOTE_TYPE_INT64},
        {.name = "text", .type = MOTE_TYPE_TEXT},
        {.name = "place", .type = MOTE_TYPE_POINT3},
        {.name = "vector", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = names[t];
    schema.columns = columns;
    schema.column_count = 6;
    schema.key_columns = positions;
    schema.key_column_count = 1;
    schema.time_column = COLUMN_AT;
    must(mote_table_create(mix->db, &schema, &mix->tables[t]));
}

static void open_tables(struct mix *mix, mote_db *db)
{
    mix->db = db;
    for (uint32_t t = 0; t < TABLES; t++)
        must(mote_table_open(db, names[t], &mix->tables[t]));
}

static void turn_index(struct mix *mix, uint32_t number)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    options.name = indexes[number].name;
    options.kind = indexes[number].kind;
    options.columns = &positions[indexes[number].column];
    options.column_count = 1;
    for (uint32_t t = 0; t < TABLES; t++) {
        options.strategy = (uint32_t)draw(mix, 3);
        must(mix->indexed[number] ? mote_index_drop(mix->tables[t], options.name) : mote_index_create(mix->tables[t], &options));
    }
    mix->indexed[number] = !mix->indexed[number];
}

static void put_row(struct mix *mix, const struct way *way, uint32_t t, int64_t id)
{
    struct row *row = &mix->now[t][id];
    char text[256] = "";
    *row = (struct row){.alive = true, .has_value = draw(mix, 10) != 0, .has_text = draw(mix, 10) != 0, .has_place = draw(mix, 10) != 0, .has_vector = draw(mix, 10) != 0};
    row->time_ns = (int64_t)draw(mix, 1000);
    row->value = (int64_t)draw(mix, 60) - 30;
    for (uint64_t i = 0, count = draw(mix, TEXT_WORDS + 1); i < count; i++) {
        uint64_t word = draw(mix, WORDS);
        row->words |= 1u << word;
        strcat(strcat(text, text[0] ? " " : ""), vocabulary[word]);
    }
    for (unsigned i = 0; i < 3; i++)
        row->place[i] = (double)draw(mix, 40);
    for (unsigned i = 0; i < DIMENSION; i++)
        row->vector[i] = (float)draw(mix, 9);
    struct mote_value values[] = {
        value_i64(id),
        value_timestamp(row->time_ns),
        row->has_value ? value_i64(row->value) : value_null(MOTE_TYPE_INT64),
        row->has_text ? value_text(text) : value_null(MOTE_TYPE_TEXT),
        row->has_place ? value_point(row->place[0], row->place[1], row->place[2]) : value_null(MOTE_TYPE_POINT3),
        row->has_vector ? value_bytes(MOTE_TYPE_VECTOR_F32, row->vector, sizeof row->vector) : value_null(MOTE_TYPE_VECTOR_F32),
    };
    must(way->write ? mote_write_put(way->write, mix->tables[t], values, 6)
         : way->transaction ? mote_transaction_put(way->transaction, mix->tables[t], values, 6) : mote_append(mix->tables[t], values, 6, NULL, NULL));
}

static void delete_row(struct mix *mix, const struct way *way, uint32_t t, int64_t id)
{
    struct mote_value key = value_i64(id);
    must(way->write ? mote_write_delete(way->write, mix->tables[t], &key, 1)
         : way->transaction ? mote_transaction_delete(way->transaction, mix->tables[t], &key, 1) : mote_delete(mix->tables[t], &key, 1, NULL, NULL));
    mix->now[t][id].alive = false;
}

static void change_some(struct mix *mix, const struct way *way, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t t = (uint32_t)draw(mix, TABLES);
        int64_t id = (int64_t)draw(mix, KEYS);
        if (draw(mix, 4) != 0)
            put_row(mix, way, t, id);
        else
            delete_row(mix, way, t, id);
    }
}

/* One that goes back to a savepoint, or is aborted, or refused because of what somebody else wrote: that then is all that was. */
static void transact(struct mix *mix, uint32_t count)
{
    const struct way directly = {0};
    struct way way = {0};
    uint64_t savepoint, end = draw(mix, 4);
    must(mote_transaction_begin(mix->db, NULL, &way.transaction));
    memcpy(mix->before, mix->now, sizeof mix->now);
    if (end > 1)
        change_some(mix, &way, count);
    if (end == 0) {
        put_row(mix, &way, 0, 7);
        memcpy(mix->now, mix->before, sizeof mix->now);
        put_row(mix, &directly, 0, 7);
        memcpy(mix->before, mix->now, sizeof mix->now);
        change_some(mix, &way, count);
        must_fail(mote_transaction_commit(way.transaction, NULL, NULL), MOTE_ECONFLICT);
    } else if (end == 1) {
        change_some(mix, &way, count);
        mote_transaction_abort(way.transaction);
    } else {
        memcpy(mix->before, mix->now, sizeof mix->now);
        must(mote_transaction_savepoint(way.transaction, &savepoint));
        change_some(mix, &way, (uint32_t)draw(mix, 20));
        must(mote_transaction_rollback_to(way.transaction, savepoint));
        memcpy(mix->now, mix->before, sizeof mix->now);
        must(mote_transaction_commit(way.transaction, NULL, NULL));
    }
    memcpy(mix->now, mix->before, sizeof mix->now);
}

static void change(struct mix *mix, uint32_t count)
{
    while (count > 0) {
        uint32_t some = 1 + (uint32_t)draw(mix, count < 300 ? count : 300);
        struct way way = {0};
        uint64_t drawn = draw(mix, 4);
        if (drawn == 0) {
            transact(mix, some);
        } else if (drawn == 1) {
            must(mote_write_begin(mix->db, &way.write));
            change_some(mix, &way, some);
            must(mote_write_commit(way.write, NULL, NULL));
            mote_write_free(way.write);
        } else {
            change_some(mix, &way, some);
        }
        count -= some;
    }
}

/* ---- What a search should find ---- */

struct query {
    struct mote_search_options options;
    struct mote_term terms[5];
    uint32_t count, rank; /* rank: the number of the term that ranks, UINT32_MAX: none */
    unsigned words;       /* of the WORDS term */
    char text[256];
    float vector[DIMENSION];
};

struct expected {
    int64_t id;
    double rank;
};

static double square(double value) { return value * value; }

/* Whether the row satisfies the term, and its rank by it. */
static bool satisfies(const struct query *query, const struct mote_term *term, const struct row *row, double *rank)
{
    double distance = 0;
    *rank = 0;
    switch (term->kind) {
    case MOTE_TERM_EQUAL:
        return row->has_value && row->value == term->from.as.i64;
    case MOTE_TERM_RANGE:
        *rank = term->flags & MOTE_TERM_DESCENDING ? -(double)row->value : (double)row->value;
        return row->has_value && row->value >= term->from.as.i64 && row->value <= term->to.as.i64;
    case MOTE_TERM_NULL:
        return !row->has_value;
    case MOTE_TERM_BOX:
        for (unsigned i = 0; i < 3; i++)
            if (row->place[i] < term->min[i] || row->place[i] > term->max[i])
                return false;
        return row->has_place;
    case MOTE_TERM_RADIUS:
    case MOTE_TERM_NEAREST:
        for (unsigned i = 0; i < 3; i++)
            distance += square(row->place[i] - term->centre[i]);
        *rank = distance;
        return row->has_place && ((term->kind == MOTE_TERM_NEAREST && term->radius <= 0) || distance <= square(term->radius));
    case MOTE_TERM_VECTOR:
        for (unsigned i = 0; i < DIMENSION; i++)
            distance += square((double)row->vector[i] - (double)query->vector[i]);
        *rank = distance;
        return row->has_vector;
    default:
        return row->has_text && (term->flags & MOTE_TERM_ANY_WORD ? (row->words & query->words) != 0 : (row->words & query->words) == query->words);
    }
}

static bool is_expected(const struct query *query, const struct row *row, double *rank)
{
    const struct mote_search_options *options = &query->options;
    *rank = 0;
    if (!row->alive || (options->use_time_range && (row->time_ns < options->time_from_ns || row->time_ns > options->time_to_ns)))
        return false;
    for (uint32_t i = 0; i < query->count; i++) {
        double of_term;
        if (!satisfies(query, &query->terms[i], row, &of_term))
            return false;
        if (i == query->rank)
            *rank = of_term;
    }
    return true;
}

static int compare_expected(const void *a, const void *b, void *descending)
{
    const struct expected *x = a, *y = b;
    if (x->rank < y->rank || x->rank > y->rank)
        return x->rank < y->rank ? -1 : 1;
    return *(bool *)descending ? (x->id < y->id) - (x->id > y->id) : (x->id > y->id) - (x->id < y->id);
}

/* ---- Queries ---- */

static void draw_value_term(struct mix *mix, struct mote_term *term)
{
    static const uint32_t kinds[] = {MOTE_TERM_RANGE, MOTE_TERM_RANGE, MOTE_TERM_RANGE, MOTE_TERM_EQUAL, MOTE_TERM_NULL};
    int64_t from = (int64_t)draw(mix, 60) - 30;
    *term = (struct mote_term){.kind = kinds[draw(mix, 5)], .columns = &positions[COLUMN_VALUE], .column_count = 1, .from = value_i64(from), .to = value_i64(from + (int64_t)draw(mix, 40))};
}

static void draw_place_term(struct mix *mix, uint32_t kind, struct mote_term *term)
{
    *term = (struct mote_term){.kind = kind, .columns = &positions[COLUMN_PLACE], .column_count = 1};
    for (unsigned i = 0; i < 3; i++) {
        term->min[i] = (double)draw(mix, 20);
        term->max[i] = term->min[i] + 10 + (double)draw(mix, 30);
        term->centre[i] = (double)draw(mix, 40);
    }
    term->radius = kind == MOTE_TERM_NEAREST && draw(mix, 2) ? 0 : 10 + (double)draw(mix, 30);
}

static void draw_vector_term(struct mix *mix, struct query *query, struct mote_term *term)
{
    for (unsigned i = 0; i < DIMENSION; i++)
        query->vector[i] = (float)draw(mix, 9);
    *term = (struct mote_term){.kind = MOTE_TERM_VECTOR, .flags = MOTE_TERM_EXACT, .vector = query->vector, .dimension = DIMENSION};
}

static void draw_words_term(struct mix *mix, struct query *query, struct mote_term *term)
{
    *term = (struct mote_term){.kind = MOTE_TERM_WORDS, .flags = draw(mix, 2) ? MOTE_TERM_ANY_WORD : 0, .words = query->text};
    query->words = 0;
    query->text[0] = 0;
    for (uint64_t i = 0, count = 1 + draw(mix, 3); i < count; i++) {
        uint64_t word = draw(mix, WORDS);
        query->words |= 1u << word;
        strcat(strcat(query->text, query->text[0] ? " " : ""), vocabulary[word]);
    }
}

/* At most one term of each sort; those that need an index only where there is one. */
static void draw_query(struct mix *mix, struct query *query)
{
    struct mote_search_options *options = &query->options;
    uint32_t always = UINT32_MAX, unasked = UINT32_MAX, unasked_count = 0, value = UINT32_MAX;
    bool vector = mix->indexed[2] && draw(mix, 3) == 0;
    *options = (struct mote_search_options)MOTE_SEARCH_OPTIONS_INIT;
    query->count = 0;
    if (draw(mix, 2)) {
        value = query->count;
        draw_value_term(mix, &query->terms[query->count++]);
    }
    if (draw(mix, 2))
        draw_place_term(mix, vector ? MOTE_TERM_BOX + (uint32_t)draw(mix, 2) : MOTE_TERM_BOX + (uint32_t)draw(mix, 3), &query->terms[query->count++]);
    if (vector)
        draw_vector_term(mix, query, &query->terms[query->count++]);
    if (mix->indexed[3] && draw(mix, 2))
        draw_words_term(mix, query, &query->terms[query->count++]);
    for (uint32_t i = 0; i < query->count; i++) {
        uint32_t kind = query->terms[i].kind;
        if (kind == MOTE_TERM_NEAREST || kind == MOTE_TERM_VECTOR)
            always = i;
        if (kind == MOTE_TERM_RADIUS || kind == MOTE_TERM_WORDS) {
            unasked = i;
            unasked_count++;
        }
    }
    query->rank = always != UINT32_MAX ? always : unasked_count == 1 ? unasked : UINT32_MAX;
    if (always == UINT32_MAX && value != UINT32_MAX && query->terms[value].kind == MOTE_TERM_RANGE && draw(mix, 2)) {
        query->rank = value;
        options->rank_by = value + 1;
        query->terms[value].flags = draw(mix, 2) ? MOTE_TERM_DESCENDING : 0;
    } else if (always == UINT32_MAX && draw(mix, 4) == 0) {
        query->rank = UINT32_MAX;
        options->rank_by = MOTE_RANK_NONE;
    }
    options->terms = query->terms;
    options->snapshot = mix->snapshot;
    options->term_count = query->count;
    options->limit = always != UINT32_MAX || draw(mix, 2) ? 1 + draw(mix, 60) : 0;
    options->use_time_range = draw(mix, 2) == 0;
    options->time_from_ns = (int64_t)draw(mix, 800);
    options->time_to_ns = options->time_from_ns + (int64_t)draw(mix, 600);
    options->chunk_rows = 1 + (uint32_t)draw(mix, 300);
}

static void fail(const struct mix *mix, const struct query *query, const char *explained, uint64_t found, const char *what)
{
    fprintf(stderr, "seed %llu: a search of %u terms, ranked by %d, limit %llu, at hit %llu: %s\n%s", (unsigned long long)mix->seed, query->count, (int)query->rank, (unsigned long long)query->options.limit, (unsigned long long)found, what,
            explained ? explained : "");
    abort();
}

static bool in_order(const struct query *query, double score, double last)
{
    return query->terms[query->rank].kind == MOTE_TERM_WORDS ? score <= last : score >= last;
}

static void check_hits(struct mix *mix, const struct query *query, const struct expected *expected, uint64_t all, mote_hits *hits)
{
    const char *explained = mote_hits_explain(hits);
    uint64_t limit = query->options.limit, wanted = limit && all > limit ? limit : all, found = 0;
    bool ranked = query->rank != UINT32_MAX, words = ranked && query->terms[query->rank].kind == MOTE_TERM_WORDS;
    bool exact = words ? false : ranked || wanted == all;
    double last = words ? (double)INFINITY : -(double)INFINITY;
    int64_t last_id = -1;
    struct mote_hit_chunk chunk;
    if (mote_hits_count(hits) != wanted)
        fail(mix, query, explained, mote_hits_count(hits), "another number of hits");
    for (;;) {
        must(mote_hits_next(hits, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++, found++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
            double rank, score = chunk.scores[i];
            if (found == wanted || (exact ? id != expected[found].id : !is_expected(query, &mix->rows[id], &rank)))
                fail(mix, query, explained, found, "another row");
            if (((const int64_t *)chunk.columns[1].values)[i] != mix->rows[id].time_ns)
                fail(mix, query, explained, found, "another time");
            if (!ranked ? id <= last_id : words && !(score < last) && id <= last_id)
                fail(mix, query, explained, found, "hits out of the order of their keys");
            if (ranked && query->terms[query->rank].kind >= MOTE_TERM_BOX && !in_order(query, score, last))
                fail(mix, query, explained, found, "hits out of the order of their scores");
            last = score;
            last_id = id;
        }
    }
    if (found != wanted)
        fail(mix, query, explained, found, "the chunks do not hold all hits");
}

/* Whether a limit takes the first of all, to the bit of their scores. */
static bool takes_first(struct mix *mix, const struct query *query, bool last_try)
{
    struct query all = *query;
    struct mote_hit_chunk first, of_all;
    mote_hits *some_hits, *all_hits;
    bool same = true;
    all.options.limit = 0;
    all.options.chunk_rows = KEYS;
    struct mote_search_options some = query->options;
    some.chunk_rows = KEYS;
    must(mote_search(mix->table, &some, &some_hits));
    must(mote_search(mix->table, &all.options, &all_hits));
    must(mote_hits_next(some_hits, &first));
    must(mote_hits_next(all_hits, &of_all));
    for (size_t i = 0; i < first.row_count && same; i++) {
        same = ((const int64_t *)first.columns[0].values)[i] == ((const int64_t *)of_all.columns[0].values)[i] && memcmp(&first.scores[i], &of_all.scores[i], sizeof(double)) == 0;
        if (!same && last_try)
            fail(mix, query, mote_hits_explain(some_hits), i, "a limit takes others than the first");
    }
    mote_hits_close(some_hits);
    mote_hits_close(all_hits);
    return same;
}

/* Dead rows of a section count in the statistics, and those of rows that no section holds do not: a worker that builds one between the two searches changes every score. */
static void check_first(struct mix *mix, const struct query *query)
{
    enum { TRIES = 6 };
    for (unsigned i = 1; i <= TRIES && !takes_first(mix, query, i == TRIES); i++)
        ;
}

static void check(struct mix *mix, uint32_t searches)
{
    static struct expected expected[KEYS];
    for (uint32_t i = 0; i < searches; i++) {
        struct query query;
        mote_hits *hits;
        uint64_t count = 0;
        uint32_t t = (uint32_t)draw(mix, TABLES);
        mix->table = mix->tables[t];
        mix->rows = mix->snapshot ? mix->seen[t] : mix->now[t];
        draw_query(mix, &query);
        for (int64_t id = 0; id < KEYS; id++) {
            double rank;
            if (is_expected(&query, &mix->rows[id], &rank))
                expected[count++] = (struct expected){id, rank};
        }
        bool descending = query.rank != UINT32_MAX && query.terms[query.rank].flags & MOTE_TERM_DESCENDING;
        qsort_r(expected, count, sizeof *expected, compare_expected, &descending);
        must(mote_search(mix->table, &query.options, &hits));
        check_hits(mix, &query, expected, count, hits);
        mote_hits_close(hits);
        if (query.options.limit && query.rank != UINT32_MAX && query.terms[query.rank].kind == MOTE_TERM_WORDS)
            check_first(mix, &query);
    }
}

/* Changes beside a snapshot, which does not see them. */
static void change_beside_snapshot(struct mix *mix)
{
    mote_snapshot *snapshot;
    must(mote_snapshot_take(mix->db, NULL, &snapshot));
    memcpy(mix->seen, mix->now, sizeof mix->now);
    change(mix, 1 + (uint32_t)draw(mix, 600));
    if (draw(mix, 4) == 0)
        must(mote_flush(mix->db));
    mix->snapshot = snapshot;
    check(mix, 8);
    mix->snapshot = NULL;
    mote_snapshot_release(snapshot);
}

/* MOTE_SEED: the first seed (1); MOTE_TEST_SCALE: 16 seeds at 100. */
Test(engine_search_mix, terms_of_all_kinds_find_what_looking_at_every_row_finds)
{
    const char *first = getenv("MOTE_SEED");
    uint64_t begin = first ? strtoull(first, NULL, 10) : 1, end = begin + fixture_scale(16);
    for (uint64_t seed = begin; seed < end; seed++) {
        struct fixture fixture;
        static struct mix mix;
        memset(&mix, 0, sizeof mix);
        mix.seed = seed;
        mix.state = seed * 0x9E3779B97F4A7C15u + 7;
        uint32_t steps = 4 + (uint32_t)draw(&mix, 20);
        fixture_set_strategy(MOTE_INDEX_HYBRID); /* of few rows; each index draws its own */
        fixture_image(&fixture, 96 << 20);
        fixture.options.workers = seed % 2 ? 1 : MOTE_NO_THREADS;
        fixture_open(&fixture);
        mix.db = fixture.db;
        for (uint32_t t = 0; t < TABLES; t++)
            create_table(&mix, t);
        change(&mix, 3000);
        for (uint32_t step = 0; step < steps; step++) {
            check(&mix, 8);
            if (step < KINDS || draw(&mix, 4) == 0)
                turn_index(&mix, step < KINDS ? step : (uint32_t)draw(&mix, KINDS));
            if (draw(&mix, 3) == 0)
                change_beside_snapshot(&mix);
            else
                change(&mix, 1 + (uint32_t)draw(&mix, 600));
            uint64_t event = draw(&mix, 12);
            if (event < 4)
                must(mote_flush(fixture.db));
            else if (event == 6) { /* what was not flushed is in memtables again */
                must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
                fixture_crash(&fixture);
                open_tables(&mix, fixture.db);
            }
            else if (event == 4)
                must(mote_compact(fixture.db, NULL));
            else if (event == 5) {
                fixture_reopen(&fixture);
                open_tables(&mix, fixture.db);
            }
        }
        must(mote_flush_all_indexes(fixture.db));
        check(&mix, 100);
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_remove(&fixture);
    }
    printf("seeds %llu to %llu\n", (unsigned long long)begin, (unsigned long long)end - 1);
}
