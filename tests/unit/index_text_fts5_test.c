/* index_text_fts5_test.c: 117,659 real texts, the glosses of WordNet, in the text index and in SQLite's FTS5 (tokenizer unicode61): the same documents, the same scores and the same order for hundreds of queries, of sections by themselves and of a table. The texts are those of
 * the Debian package wordnet-base (/usr/share/wordnet, or where MOTE_TEST_WORDNET says); where they or SQLite are not there, the test prints SKIPPED. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MOTE_TEST_SQLITE
#include <math.h>
#include <sqlite3.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text.h"
#include "tests/support/codec_check.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/requests.h"
#include "tests/support/text_rig.h"

enum { GLOSSES_MAX = 120000, QUERIES = 300 };

struct glosses {
    char *texts[GLOSSES_MAX];
    uint32_t count;
};

static bool load_glosses(struct glosses *glosses)
{
    static const char *const names[] = {"data.noun", "data.verb", "data.adj", "data.adv"};
    const char *folder = getenv("MOTE_TEST_WORDNET");
    char path[512], *line = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder ? folder : "/usr/share/wordnet", names[i]);
        FILE *file = fopen(path, "r");
        if (!file)
            return false;
        while (getline(&line, &capacity, file) > 0) {
            char *gloss = strstr(line, " | ");
            if (line[0] == ' ' || !gloss)
                continue; /* the licence */
            gloss += 3;
            gloss[strcspn(gloss, "\n")] = 0;
            cr_assert_lt(glosses->count, (uint32_t)GLOSSES_MAX);
            glosses->texts[glosses->count++] = strdup(gloss);
        }
        fclose(file);
    }
    free(line);
    return true;
}

static void run_sql(sqlite3 *db, const char *sql) { cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db)); }

static sqlite3 *fill_sqlite(const struct glosses *glosses)
{
    sqlite3 *db;
    sqlite3_stmt *insert;
    cr_assert_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    run_sql(db, "CREATE VIRTUAL TABLE t USING fts5(x, tokenize=\"unicode61 remove_diacritics 2\"); BEGIN");
    cr_assert_eq(sqlite3_prepare_v2(db, "INSERT INTO t(rowid, x) VALUES(?, ?)", -1, &insert, NULL), SQLITE_OK);
    for (uint32_t i = 0; i < glosses->count; i++) {
        sqlite3_bind_int64(insert, 1, i);
        sqlite3_bind_text(insert, 2, glosses->texts[i], -1, SQLITE_STATIC);
        cr_assert_eq(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    run_sql(db, "COMMIT");
    return db;
}

struct hit {
    uint32_t ordinal;
    double score;
};
struct hits {
    struct hit *all;
    uint32_t count, first; /* first: ordinal of the section's first row */
};

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct hits *hits = context;
    (void)threshold;
    if (hits->count == GLOSSES_MAX)
        return MOTE_EINTERNAL;
    hits->all[hits->count++] = (struct hit){hits->first + ordinal, score};
    return 0;
}

/* Both results by ordinal; then the order: descending by score, ties by ordinal, which are the row ids. */
static int by_rank(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

static char *pick_word(const struct glosses *glosses, uint64_t *random, char *word)
{
    for (;;) {
        const char *text = glosses->texts[(codec_check_random(random) >> 33) % glosses->count];
        size_t length = strlen(text), at = (codec_check_random(random) >> 33) % (length + 1), end;
        while (at > 0 && strchr("abcdefghijklmnopqrstuvwxyz", text[at - 1]))
            at--;
        end = at + strspn(text + at, "abcdefghijklmnopqrstuvwxyz");
        if (end == at || end - at > 30)
            continue;
        memcpy(word, text + at, end - at);
        word[end - at] = 0;
        return word;
    }
}

/* Several words that follow each other somewhere. */
static void pick_phrase(const struct glosses *glosses, uint64_t *random, char *phrase)
{
    for (;;) {
        const char *text = glosses->texts[(codec_check_random(random) >> 33) % glosses->count];
        size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz "), taken = 2 + (codec_check_random(random) >> 33) % 2, spaces = 0, end = 0;
        for (; end < length && (text[end] != ' ' || ++spaces < taken); end++)
            ;
        if (spaces < taken || end > 60 || text[0] == ' ')
            continue;
        sprintf(phrase, "\"%.*s\"", (int)end, text);
        return;
    }
}

static void make_query(const struct glosses *glosses, uint64_t *random, uint32_t kind, char *query)
{
    char a[80], b[80], c[80];
    pick_word(glosses, random, a);
    pick_word(glosses, random, b);
    pick_word(glosses, random, c);
    switch (kind % 10) {
    case 0:
        strcpy(query, a);
        break;
    case 1:
        sprintf(query, "%s %s", a, b);
        break;
    case 2:
        sprintf(query, "%s OR %s", a, b);
        break;
    case 3:
        sprintf(query, "%s OR %s OR %s", a, b, c);
        break;
    case 4:
        pick_phrase(glosses, random, query);
        break;
    case 5:
        sprintf(query, "%.4s*", a);
        break;
    case 6:
        sprintf(query, "%s NOT %s", a, b);
        break;
    case 7:
        pick_phrase(glosses, random, c);
        sprintf(query, "(%s OR %s) AND %s", c, a, b);
        break;
    case 8:
        sprintf(query, "%s AND %.3s* OR %s", a, b, c);
        break;
    default:
        pick_phrase(glosses, random, c);
        sprintf(query, "%s OR %s NOT %s", c, a, b);
        break;
    }
}

static uint32_t ask_sqlite(sqlite3 *db, const char *query, struct hit *hits)
{
    sqlite3_stmt *select;
    uint32_t count = 0;
    cr_assert_eq(sqlite3_prepare_v2(db, "SELECT rowid, bm25(t) FROM t WHERE t MATCH ?", -1, &select, NULL), SQLITE_OK);
    sqlite3_bind_text(select, 1, query, -1, SQLITE_STATIC);
    while (sqlite3_step(select) == SQLITE_ROW)
        hits[count++] = (struct hit){(uint32_t)sqlite3_column_int64(select, 0), -sqlite3_column_double(select, 1)};
    cr_assert_eq(sqlite3_finalize(select), SQLITE_OK, "%s: %s", query, sqlite3_errmsg(db));
    qsort(hits, count, sizeof *hits, by_rank);
    return count;
}

enum { PARTS = 2 };

static void ask_sections(struct memory *memory, struct text_analyser *analyser, struct text_rig *rigs, const uint32_t *firsts, const char *bytes, struct hits *hits)
{
    struct text_options options = {0};
    struct text_statistics statistics = {0};
    struct text_search *searches[PARTS];
    struct section_source sources[PARTS];
    struct text_query *query;
    cr_assert_eq(text_query_parse(memory, analyser, bytes, strlen(bytes), NULL, &query), 0, "%s", bytes);
    for (int p = 0; p < PARTS; p++) {
        sources[p] = text_rig_source(&rigs[p]);
        cr_assert_eq(text_search_open(query, &options, &rigs[p].identity, &rigs[p].root, &sources[p], memory, &searches[p]), 0);
        cr_assert_eq(text_search_statistics(searches[p], &statistics), 0);
    }
    hits->count = 0;
    for (int p = 0; p < PARTS; p++) {
        hits->first = firsts[p];
        cr_assert_eq(text_search_run(searches[p], &statistics, -INFINITY, take_hit, hits), 0);
        text_search_close(searches[p]);
    }
    text_query_destroy(memory, query);
    qsort(hits->all, hits->count, sizeof *hits->all, by_rank);
}

/* Scores that differ in their last digits may stand in another order: they are compared place by place, and each document's score with its own. */
static void compare(const char *query, const struct hits *hits, const struct hit *expected, uint32_t expected_count)
{
    static double scores[GLOSSES_MAX];
    cr_assert_eq(hits->count, expected_count, "%s: %u documents, not %u", query, hits->count, expected_count);
    for (uint32_t i = 0; i < expected_count; i++)
        scores[expected[i].ordinal] = expected[i].score;
    for (uint32_t i = 0; i < expected_count; i++) {
        cr_assert(fabs(hits->all[i].score - expected[i].score) <= 1e-9 * fabs(expected[i].score), "%s: place %u", query, i);
        cr_assert(fabs(hits->all[i].score - scores[hits->all[i].ordinal]) <= 1e-9 * fabs(hits->all[i].score), "%s: document %u scores %.12g, not %.12g", query, hits->all[i].ordinal, hits->all[i].score,
                  scores[hits->all[i].ordinal]);
    }
    memset(scores, 0, sizeof scores);
}

Test(index_text_fts5, wordnet_ranks_as_sqlite_does)
{
    uint64_t random = requests_seed("index_text_fts5") | 1, documents = 0;
    static struct glosses glosses;
    if (!load_glosses(&glosses)) {
        printf("SKIPPED: WordNet is not there (Debian package wordnet-base)\n");
        return;
    }
    cr_assert_eq(glosses.count, 117659);
    struct memory *memory;
    cr_assert_eq(memory_create(512u << 20, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    struct text_options options = {0};
    struct text_analyser *analyser;
    struct text_rig rigs[PARTS];
    uint32_t firsts[PARTS + 1] = {0, 80000, glosses.count};
    cr_assert_eq(text_analyser_create(memory, &options, &analyser), 0);
    for (int p = 0; p < PARTS; p++) {
        struct text_builder *builder;
        text_rig_init(&rigs[p], 3, false);
        struct section_sink sink = text_rig_sink(&rigs[p]);
        cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
        for (uint32_t i = firsts[p]; i < firsts[p + 1]; i++)
            cr_assert_eq(text_builder_add(builder, i - firsts[p], glosses.texts[i], strlen(glosses.texts[i])), 0);
        cr_assert_eq(text_builder_finish(builder, &rigs[p].identity, &sink, &rigs[p].root), 0);
        text_builder_destroy(builder);
        struct section_source source = text_rig_source(&rigs[p]);
        cr_assert_eq(text_verify(&rigs[p].identity, &rigs[p].root, &source, memory, firsts[p + 1] - firsts[p]), 0);
    }
    sqlite3 *db = fill_sqlite(&glosses);
    struct hits hits = {.all = malloc(GLOSSES_MAX * sizeof *hits.all)};
    struct hit *expected = malloc(GLOSSES_MAX * sizeof *expected);
    for (uint32_t q = 0; q < QUERIES; q++) {
        char query[512];
        make_query(&glosses, &random, q, query);
        uint32_t count = ask_sqlite(db, query, expected);
        ask_sections(memory, analyser, rigs, firsts, query, &hits);
        compare(query, &hits, expected, count);
        documents += count;
    }
    printf("%d queries, %llu documents ranked alike\n", QUERIES, (unsigned long long)documents);
    sqlite3_close(db);
    free(hits.all);
    free(expected);
    for (int p = 0; p < PARTS; p++)
        text_rig_free(&rigs[p]);
    for (uint32_t i = 0; i < glosses.count; i++)
        free(glosses.texts[i]);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

/* ---- Through the engine ---- */

enum { ENGINE_QUERIES = 60, IN_MEMTABLE = 5000 };

static mote_table *fill_table(struct fixture *fixture, const struct glosses *glosses)
{
    struct mote_column_definition columns[2] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "body", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0, body = 1;
    mote_table *table;
    schema.name = "glosses";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(fixture->db, &schema, &table));
    index.name = "words";
    index.kind = MOTE_INDEX_TEXT;
    index.columns = &body;
    index.column_count = 1;
    for (uint32_t i = 0; i < glosses->count; i++) {
        const struct mote_value values[2] = {value_i64(i), value_text(glosses->texts[i])};
        if (i == glosses->count / 3)
            must(mote_index_create(table, &index));
        if (i == glosses->count - IN_MEMTABLE)
            must(mote_flush(fixture->db));
        must(mote_append(table, values, 2, NULL, NULL));
    }
    return table;
}

static void ask_table(mote_table *table, const char *words, uint64_t limit, struct hits *hits)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_WORDS, .words = words};
    const uint32_t id = 0;
    struct mote_hit_chunk chunk;
    mote_hits *found;
    options.terms = &term;
    options.term_count = 1;
    options.columns = &id;
    options.column_count = 1;
    options.limit = limit;
    must(mote_search(table, &options, &found));
    hits->count = 0;
    do {
        must(mote_hits_next(found, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++)
            hits->all[hits->count++] = (struct hit){(uint32_t)((const int64_t *)chunk.columns[0].values)[i], chunk.scores[i]};
    } while (chunk.row_count > 0);
    mote_hits_close(found);
    for (uint32_t i = 1; i < hits->count; i++)
        cr_assert_lt(by_rank(&hits->all[i - 1], &hits->all[i]), 0, "%s: place %u", words, i);
}

/* A third of the rows was there before the index, the last are in a memtable: segments of both kinds, and rows, give one order. */
Test(index_text_fts5, tables_rank_as_sqlite_does)
{
    uint64_t random = requests_seed("index_text_fts5_engine") | 1, documents = 0;
    static struct glosses glosses;
    struct fixture fixture;
    if (!load_glosses(&glosses)) {
        printf("SKIPPED: WordNet is not there (Debian package wordnet-base)\n");
        return;
    }
    fixture_image(&fixture, 256ull << 20);
    fixture.options.memory_bytes = 128ull << 20;
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    mote_table *table = fill_table(&fixture, &glosses);
    sqlite3 *db = fill_sqlite(&glosses);
    struct hits hits = {.all = malloc(GLOSSES_MAX * sizeof *hits.all)};
    struct hit *expected = malloc(GLOSSES_MAX * sizeof *expected);
    for (uint32_t q = 0; q < ENGINE_QUERIES; q++) {
        char query[512];
        make_query(&glosses, &random, q, query);
        uint32_t count = ask_sqlite(db, query, expected);
        ask_table(table, query, 0, &hits);
        compare(query, &hits, expected, count);
        ask_table(table, query, 10, &hits);
        cr_assert_eq(hits.count, count < 10 ? count : 10);
        for (uint32_t i = 0; i < hits.count; i++)
            cr_assert(fabs(hits.all[i].score - expected[i].score) <= 1e-9 * expected[i].score, "%s: place %u of the first ten", query, i);
        documents += count;
    }
    printf("%d queries of a table, %llu documents ranked alike\n", ENGINE_QUERIES, (unsigned long long)documents);
    sqlite3_close(db);
    free(hits.all);
    free(expected);
    for (uint32_t i = 0; i < glosses.count; i++)
        free(glosses.texts[i]);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
#else
Test(index_text_fts5, wordnet_ranks_as_sqlite_does)
{
    printf("SKIPPED: built without SQLite (Debian package libsqlite3-dev)\n");
}
#endif
