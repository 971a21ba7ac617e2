/* text_bench.c: what the text index costs: building, merging, size, and queries by kind, in a section by itself and through a table (an image file in TMPDIR), beside SQLite's FTS5 (in memory) where SQLite was there at the build.
 *
 *     text_bench [documents | --quick]        documents, default 117,659; 1000 (--quick) run as a test in a moment
 *
 * The documents are the glosses of WordNet (Debian package wordnet-base; /usr/share/wordnet or MOTE_TEST_WORDNET), repeated in another order beyond their number; without them, texts of a made-up vocabulary with Zipf's
 * distribution. Queries are drawn from the documents with a fixed seed. Both sides answer with the ten best by BM25. Figures are CPU time of the one thread, the best of several runs; both sides' answers are compared. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef MOTE_BENCH_SQLITE
#include <sqlite3.h>
#endif

#include "blockdev/base/memory.h"
#include "index/index.h"
#include "index/text.h"
#include "include/mote.h"

enum { DOCUMENTS_DEFAULT = 117659, BEST = 10, PARTS = 4, QUERIES = 40, RUNS = 3 };

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint32_t below(uint64_t *random, uint32_t limit) { return (uint32_t)(next_random(random) >> 33) % limit; }

static void demand(int result, const char *what)
{
    struct mote_error error;
    if (result == 0)
        return;
    mote_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.message);
    exit(1);
}

/* ---- Documents ---- */

struct documents {
    char **texts;
    uint32_t count, distinct;
    uint64_t bytes;
    bool real;
};

static bool load_wordnet(struct documents *documents, uint32_t most)
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
        while (getline(&line, &capacity, file) > 0 && documents->count < most) {
            char *gloss = strstr(line, " | ");
            if (line[0] == ' ' || !gloss)
                continue;
            gloss[strcspn(gloss, "\n")] = 0;
            documents->texts[documents->count++] = strdup(gloss + 3);
        }
        fclose(file);
    }
    free(line);
    return true;
}

static void make_documents(struct documents *documents, uint32_t count)
{
    uint64_t random = 88172645463325252u;
    documents->texts = calloc(count, sizeof *documents->texts);
    documents->real = load_wordnet(documents, count);
    while (!documents->real && documents->count < count) {
        char text[2048], *at = text;
        for (uint32_t words = 4 + below(&random, 20); words > 0; words--) {
            uint32_t rank = (uint32_t)exp(log(50000) * (double)below(&random, 1000000) * 1e-6);
            for (uint32_t rest = rank * 7919; rest > 0; rest /= 26)
                *at++ = (char)('a' + rest % 26);
            *at++ = ' ';
        }
        *at = 0;
        documents->texts[documents->count++] = strdup(text);
    }
    documents->distinct = documents->count;
    while (documents->count < count) {
        documents->texts[documents->count] = documents->texts[below(&random, documents->distinct)];
        documents->count++;
    }
    for (uint32_t i = 0; i < count; i++)
        documents->bytes += strlen(documents->texts[i]);
}

/* ---- Queries ---- */

static void pick_words(const struct documents *documents, uint64_t *random, uint32_t count, char *out)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (;;) {
        const char *text = documents->texts[below(random, documents->count)];
        size_t at = below(random, (uint32_t)strlen(text) + 1), length = 0;
        while (at > 0 && strchr(letters, text[at - 1]))
            at--;
        uint32_t words = 0;
        while (words < count) {
            size_t word = strspn(text + at + length, letters);
            if (word == 0)
                break;
            length += word;
            if (++words < count && text[at + length] == ' ')
                length++;
        }
        if (words < count || length > 60)
            continue;
        sprintf(out, "%.*s", (int)length, text + at);
        return;
    }
}

enum kind { ONE, COMMON, AND_TWO, OR_TWO, OR_THREE, PHRASE, PREFIX, NOT_ONE, KINDS };
static const char *const kind_names[KINDS] = {"word", "common word (the)", "a b", "a OR b", "the OR of OR a", "\"a b\"", "abc*", "a NOT the"};

static void make_query(const struct documents *documents, uint64_t *random, enum kind kind, char *out)
{
    char a[80], b[80];
    pick_words(documents, random, 1, a);
    pick_words(documents, random, 1, b);
    switch (kind) {
    case ONE:
        strcpy(out, a);
        break;
    case COMMON:
        strcpy(out, "the");
        break;
    case AND_TWO:
        sprintf(out, "%s %s", a, b);
        break;
    case OR_TWO:
        sprintf(out, "%s OR %s", a, b);
        break;
    case OR_THREE:
        sprintf(out, "the OR of OR %s", a);
        break;
    case PHRASE:
        pick_words(documents, random, 2, a);
        sprintf(out, "\"%s\"", a);
        break;
    case PREFIX:
        sprintf(out, "%.3s*", a);
        break;
    default:
        sprintf(out, "%s NOT the", a);
        break;
    }
}

/* ---- A section in memory ---- */

struct section {
    uint8_t *bytes;
    uint64_t length, capacity;
    struct section_identity identity;
    struct section_root root;
};

static int place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    (void)length_bytes;
    *offset_bytes = ((struct section *)context)->length;
    return 0;
}

static int append(void *context, const void *data, uint32_t length_bytes)
{
    struct section *section = context;
    if (section->length + length_bytes > section->capacity) {
        section->capacity = 2 * (section->length + length_bytes);
        section->bytes = realloc(section->bytes, section->capacity);
    }
    memcpy(section->bytes + section->length, data, length_bytes);
    section->length += length_bytes;
    return 0;
}

/* As a warm block cache: the bytes were verified before. */
static int read_part(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct section *section = context;
    (void)check;
    (void)check_context;
    if (offset_bytes > section->length || length_bytes > section->length - offset_bytes)
        return MOTE_EDAMAGED;
    *data = *handle = section->bytes + offset_bytes;
    return 0;
}

static void release_part(void *context, void *handle)
{
    (void)context;
    (void)handle;
}

struct best {
    double scores[BEST];
    uint32_t count;
};

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct best *best = context;
    uint32_t at = best->count < BEST ? best->count++ : BEST;
    (void)ordinal;
    if (at == BEST && score <= best->scores[--at])
        return 0;
    for (; at > 0 && best->scores[at - 1] < score; at--)
        best->scores[at] = best->scores[at - 1];
    best->scores[at] = score;
    if (best->count == BEST)
        *threshold = best->scores[BEST - 1];
    return 0;
}

struct rig {
    struct memory *memory;
    struct text_analyser *analyser;
    struct section whole, parts[PARTS];
};

static void build_section(struct rig *rig, const struct documents *documents, uint32_t first, uint32_t end, struct section *section, uint64_t *memory_bytes)
{
    struct text_builder *builder;
    struct section_sink sink = {place, append, section};
    section->identity.segment_id = first + 1;
    demand(text_builder_create(rig->memory, rig->analyser, &builder), "builder");
    for (uint32_t i = first; i < end; i++)
        demand(text_builder_add(builder, i - first, documents->texts[i], strlen(documents->texts[i])), "add");
    *memory_bytes = text_builder_memory_bytes(builder);
    demand(text_builder_finish(builder, &section->identity, &sink, &section->root), "finish");
    text_builder_destroy(builder);
}

static double merge_parts(struct rig *rig, const struct documents *documents)
{
    struct text_options options = {0};
    struct section_merge_input inputs[PARTS];
    struct section_source sources[PARTS];
    struct section merged = {.identity = rig->whole.identity};
    struct section_sink sink = {place, append, &merged};
    uint64_t memory_bytes;
    for (uint32_t p = 0; p < PARTS; p++) {
        uint32_t first = documents->count / PARTS * p, end = p + 1 < PARTS ? documents->count / PARTS * (p + 1) : documents->count;
        uint32_t *new_ordinals = malloc((end - first) * sizeof *new_ordinals);
        for (uint32_t i = first; i < end; i++)
            new_ordinals[i - first] = i;
        build_section(rig, documents, first, end, &rig->parts[p], &memory_bytes);
        sources[p] = (struct section_source){read_part, release_part, &rig->parts[p]};
        inputs[p] = (struct section_merge_input){&rig->parts[p].identity, &rig->parts[p].root, &sources[p], new_ordinals, end - first, 0, end - first};
    }
    double begun = now_s();
    demand(text_merge(rig->memory, &options, inputs, PARTS, &merged.identity, &sink, &merged.root), "merge");
    double taken = now_s() - begun;
    if (merged.length != rig->whole.length || memcmp(merged.bytes, rig->whole.bytes, merged.length) != 0) {
        fprintf(stderr, "the merge gives other bytes than the build\n");
        exit(1);
    }
    for (uint32_t p = 0; p < PARTS; p++)
        free((void *)(uintptr_t)inputs[p].new_ordinals);
    free(merged.bytes);
    return taken;
}

static void ask(struct rig *rig, const char *bytes, struct best *best)
{
    struct text_options options = {0};
    struct text_statistics statistics = {0};
    struct section_source source = {read_part, release_part, &rig->whole};
    struct text_query *query;
    struct text_search *search;
    best->count = 0;
    demand(text_query_parse(rig->memory, rig->analyser, bytes, strlen(bytes), NULL, &query), bytes);
    demand(text_search_open(query, &options, &rig->whole.identity, &rig->whole.root, &source, rig->memory, &search), bytes);
    demand(text_search_statistics(search, &statistics), bytes);
    demand(text_search_run(search, &statistics, -INFINITY, take_hit, best), bytes);
    text_search_close(search);
    text_query_destroy(rig->memory, query);
}

#ifdef MOTE_BENCH_SQLITE
static sqlite3 *db;
static sqlite3_stmt *statement;

static void run_sql(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        exit(1);
    }
}

static double fill_sqlite(const struct documents *documents, uint64_t *section_bytes)
{
    sqlite3_open(":memory:", &db);
    double begun = now_s();
    /* Without content, as the index has none. */
    run_sql("CREATE VIRTUAL TABLE t USING fts5(x, content='', tokenize=\"unicode61 remove_diacritics 2\"); BEGIN");
    sqlite3_prepare_v2(db, "INSERT INTO t(rowid, x) VALUES(?, ?)", -1, &statement, NULL);
    for (uint32_t i = 0; i < documents->count; i++) {
        sqlite3_bind_int64(statement, 1, i);
        sqlite3_bind_text(statement, 2, documents->texts[i], -1, SQLITE_STATIC);
        sqlite3_step(statement);
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
    run_sql("COMMIT; INSERT INTO t(t) VALUES('optimize')");
    double taken = now_s() - begun;
    sqlite3_prepare_v2(db, "SELECT sum(length(block)) FROM t_data", -1, &statement, NULL);
    sqlite3_step(statement);
    *section_bytes = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_prepare_v2(db, "SELECT sum(length(sz)) FROM t_docsize", -1, &statement, NULL);
    sqlite3_step(statement);
    *section_bytes += (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_prepare_v2(db, "SELECT rank FROM t WHERE t MATCH ? ORDER BY rank LIMIT 10", -1, &statement, NULL);
    return taken;
}

static void ask_sqlite(const char *bytes, struct best *best)
{
    best->count = 0;
    sqlite3_bind_text(statement, 1, bytes, -1, SQLITE_STATIC);
    while (sqlite3_step(statement) == SQLITE_ROW)
        best->scores[best->count++] = -sqlite3_column_double(statement, 0);
    sqlite3_reset(statement);
}
#endif

/* ---- The same through a table, on an image file ---- */

struct table {
    char path[512];
    mote_db *db;
    mote_table *handle;
    double load_s, indexed_load_s; /* append and flush, without the index and with it */
    double ranked_ns, unranked_ns; /* a row of a memtable, by a search */
    uint64_t index_bytes, segments;
};

static double process_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void ask_table(struct table *table, const char *bytes, uint32_t rank_by, struct best *best)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_WORDS, .words = bytes};
    const uint32_t id = 0;
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.rank_by = rank_by;
    options.limit = BEST;
    options.columns = &id;
    options.column_count = 1;
    best->count = 0;
    demand(mote_search(table->handle, &options, &hits), bytes);
    demand(mote_hits_next(hits, &chunk), bytes);
    for (size_t i = 0; i < chunk.row_count; i++)
        best->scores[best->count++] = chunk.scores[i];
    mote_hits_close(hits);
}

/* Seconds of all threads. */
static double load_table(struct table *table, const struct documents *documents, uint32_t count, const char *name, bool indexed)
{
    struct mote_column_definition columns[2] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "body", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0, body = 1;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    demand(mote_table_create(table->db, &schema, &table->handle), "table");
    index.name = "words";
    index.kind = MOTE_INDEX_TEXT;
    index.columns = &body;
    index.column_count = 1;
    if (indexed)
        demand(mote_index_create(table->handle, &index), "index");
    double begun = process_s();
    for (uint32_t i = 0; i < count; i++) {
        struct mote_value values[2] = {{.type = MOTE_TYPE_INT64}, {.type = MOTE_TYPE_TEXT}};
        values[0].as.i64 = i;
        values[1].as.bytes.data = documents->texts[i];
        values[1].as.bytes.size_bytes = strlen(documents->texts[i]);
        demand(mote_append(table->handle, values, 2, NULL, NULL), "append");
    }
    if (count == documents->count)
        demand(mote_flush(table->db), "flush");
    return process_s() - begun;
}

/* Rows that no flush has seen. */
static void ask_memtable(struct table *table, const struct documents *documents)
{
    uint32_t count = documents->count / 6;
    mote_table *whole = table->handle;
    struct best best;
    (void)load_table(table, documents, count, "loose", true);
    double begun = now_s();
    ask_table(table, "zebra", 0, &best);
    table->ranked_ns = (now_s() - begun) * 1e9 / count;
    begun = now_s();
    ask_table(table, "zebra", MOTE_RANK_NONE, &best);
    table->unranked_ns = (now_s() - begun) * 1e9 / count;
    table->handle = whole;
}

static void make_table(struct table *table, const struct documents *documents)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_index_info info = {.size_bytes = sizeof info};
    const char *folder = getenv("TMPDIR");
    snprintf(table->path, sizeof table->path, "%s/text_bench.%d", folder ? folder : "/tmp", (int)getpid());
    format.image_size_bytes = (128ull << 20) + documents->bytes / 4096 * 8 * 4096;
    format.sparse = 1;
    demand(mote_format(table->path, &format, NULL), "format");
    demand(mote_open(table->path, &options, &table->db, NULL), "open");
    table->load_s = load_table(table, documents, documents->count, "plain", false);
    table->indexed_load_s = load_table(table, documents, documents->count, "indexed", true);
    demand(mote_index_describe(table->handle, "words", &info), "describe");
    table->index_bytes = info.bytes;
    table->segments = info.segments;
    ask_memtable(table, documents);
}

static void drop_table(struct table *table)
{
    demand(mote_close(table->db), "close");
    unlink(table->path);
}

static void require_equal(const char *query, const struct best *mine, const struct best *theirs, const char *whose)
{
    bool equal = mine->count == theirs->count;
    for (uint32_t i = 0; i < mine->count && equal; i++)
        equal = fabs(mine->scores[i] - theirs->scores[i]) <= 1e-9 * theirs->scores[i];
    if (equal)
        return;
    fprintf(stderr, "%s: other scores than those of %s\n", query, whose);
    exit(1);
}

struct times {
    double section_us, table_us, sqlite_us;
};

/* Microseconds for each query; of SQLite 0: it is not there. */
static void measure(struct rig *rig, struct table *table, char queries[QUERIES][256], struct times *times)
{
    struct best mine, theirs;
    *times = (struct times){1e30, 1e30, 1e30};
    for (int run = 0; run < RUNS; run++) {
        double begun = now_s();
        for (int q = 0; q < QUERIES; q++)
            ask(rig, queries[q], &mine);
        double taken = (now_s() - begun) / QUERIES * 1e6;
        times->section_us = taken < times->section_us ? taken : times->section_us;
        begun = now_s();
        for (int q = 0; q < QUERIES; q++)
            ask_table(table, queries[q], 0, &mine);
        taken = (now_s() - begun) / QUERIES * 1e6;
        times->table_us = taken < times->table_us ? taken : times->table_us;
    }
    for (int q = 0; q < QUERIES; q++) {
        ask(rig, queries[q], &mine);
        ask_table(table, queries[q], 0, &theirs);
        require_equal(queries[q], &mine, &theirs, "the table");
    }
#ifdef MOTE_BENCH_SQLITE
    for (int run = 0; run < RUNS; run++) {
        double begun = now_s();
        for (int q = 0; q < QUERIES; q++)
            ask_sqlite(queries[q], &theirs);
        double taken = (now_s() - begun) / QUERIES * 1e6;
        times->sqlite_us = taken < times->sqlite_us ? taken : times->sqlite_us;
    }
    for (int q = 0; q < QUERIES; q++) {
        ask(rig, queries[q], &mine);
        ask_sqlite(queries[q], &theirs);
        require_equal(queries[q], &mine, &theirs, "SQLite");
    }
#else
    times->sqlite_us = 0;
#endif
}

static void print_queries(struct rig *rig, struct table *table, const struct documents *documents)
{
    uint64_t random = 4711;
    printf("the ten best, us a query; ratio: FTS5 to the table\n");
    printf("%-22s %10s %10s %10s %10s\n", "", "section", "table", "FTS5", "ratio");
    for (int kind = 0; kind < KINDS; kind++) {
        static char queries[QUERIES][256];
        struct times times;
        for (int q = 0; q < QUERIES; q++)
            make_query(documents, &random, (enum kind)kind, queries[q]);
        measure(rig, table, queries, &times);
        printf("%-22s %10.1f %10.1f %10.1f %10.1f\n", kind_names[kind], times.section_us, times.table_us, times.sqlite_us, times.sqlite_us / times.table_us);
    }
}

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 1000 : argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : DOCUMENTS_DEFAULT;
    struct documents documents = {0};
    struct rig rig = {0};
    struct table table = {0};
    struct text_options options = {0};
    uint64_t memory_bytes = 0, sqlite_bytes = 0;
    if (count < PARTS || count > 50000000) {
        fprintf(stderr, "usage: text_bench [documents | --quick]\n");
        return 2;
    }
    make_documents(&documents, count);
    demand(memory_create((256ull << 20) + documents.bytes * 12, false, &rig.memory), "memory");
    demand(memory_seal(rig.memory), "memory");
    demand(text_analyser_create(rig.memory, &options, &rig.analyser), "analyser");
    printf("%u documents, %.1f MB of text, %s\n", count, (double)documents.bytes * 1e-6, documents.real ? "WordNet's glosses" : "made up: WordNet is not there (Debian package wordnet-base)");
    double begun = now_s();
    build_section(&rig, &documents, 0, count, &rig.whole, &memory_bytes);
    double build_s = now_s() - begun, merge_s = merge_parts(&rig, &documents), sqlite_s = 0;
#ifdef MOTE_BENCH_SQLITE
    sqlite_s = fill_sqlite(&documents, &sqlite_bytes);
#else
    printf("SKIPPED: FTS5, for SQLite was not there at the build (Debian package libsqlite3-dev)\n");
#endif
    printf("%-22s %10s %10s %10s\n", "", "mote", "FTS5", "ratio");
    printf("%-22s %10.3f %10.3f %10.2f\n", "build, s", build_s, sqlite_s, sqlite_s / build_s);
    printf("%-22s %10.3f\n", "merge of 4, s", merge_s);
    printf("%-22s %10.3f %10.3f %10.2f\n", "section, MB", (double)rig.whole.length * 1e-6, (double)sqlite_bytes * 1e-6, (double)sqlite_bytes / (double)rig.whole.length);
    printf("%-22s %10.3f\n", "builder's memory, MB", (double)memory_bytes * 1e-6);
    make_table(&table, &documents);
    printf("%-22s %10.3f   of which the index %.3f, %.3f MB in %llu segments\n", "table: append, flush, s", table.indexed_load_s, table.indexed_load_s - table.load_s, (double)table.index_bytes * 1e-6, (unsigned long long)table.segments);
    printf("%-22s %10.0f   %.0f unranked\n", "memtable, ns a row", table.ranked_ns, table.unranked_ns);
    print_queries(&rig, &table, &documents);
    drop_table(&table);
#ifdef MOTE_BENCH_SQLITE
    sqlite3_finalize(statement);
    sqlite3_close(db);
#endif
    for (uint32_t i = 0; i < documents.distinct; i++)
        free(documents.texts[i]);
    for (uint32_t p = 0; p < PARTS; p++)
        free(rig.parts[p].bytes);
    free(documents.texts);
    free(rig.whole.bytes);
    text_analyser_destroy(rig.analyser);
    memory_destroy(rig.memory);
    return 0;
}
