/* column_index_bench.c: what the column index costs: building, bytes, equality, ranges, counts, pages read; beside an index of SQLite over the same values where that library is there.
 *
 *     column_index_bench [--quick | rows]        default 1,000,000 rows of each kind; 1000 or --quick runs as a test in a moment
 *
 * One thread, its CPU time; the section lies in memory, its pages verified before: the time of a block cache and of the device is not in it, the number of pages is. SQLite has its table in memory, too, and is asked for the rowids of the
 * same values through prepared statements. Medians of five runs. The number of rows of each answer is compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/section_store.h"
#include "blockdev/base/memory.h"
#include "index/column_index.h"
#ifdef MOTE_BENCH_SQLITE
#include <sqlite3.h>
#endif

enum { RUNS = 5, RANGE_ROWS = 1000, CHUNK_ROWS = 4096 };

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "column_index_bench: %s failed\n", what);
        exit(1);
    }
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *runs)
{
    qsort(runs, RUNS, sizeof *runs, compare_doubles);
    return runs[RUNS / 2];
}

/* ---- The values ---- */

enum kind { SEQUENCE, RANDOM, STATES, TEXT, KINDS };

static const struct {
    const char *name;
    uint32_t type;
} kinds[KINDS] = {{"int64 sequence", MOTE_TYPE_INT64}, {"float64 random", MOTE_TYPE_FLOAT64}, {"int32, 10 values", MOTE_TYPE_INT32}, {"text, 40 bytes", MOTE_TYPE_TEXT}};

struct column {
    enum kind kind;
    uint32_t type, count;
    uint8_t *values;
    uint32_t *offsets;
};

static struct column make_column(enum kind kind, uint32_t count)
{
    struct column column = {.kind = kind, .type = kinds[kind].type, .count = count, .values = malloc((size_t)count * 48 + 64), .offsets = calloc((size_t)count + 1, 4)};
    uint64_t random = 88172645463325252u;
    check(column.values && column.offsets, "memory");
    for (uint32_t i = 0; i < count; i++) {
        uint64_t r = next_random(&random);
        int64_t number = i;
        double real = (double)(r >> 11) * 0x1p-53;
        int32_t state = (int32_t)(r >> 40) % 10;
        if (kind == SEQUENCE)
            memcpy(column.values + 8 * (size_t)i, &number, 8);
        else if (kind == RANDOM)
            memcpy(column.values + 8 * (size_t)i, &real, 8);
        else if (kind == STATES)
            memcpy(column.values + 4 * (size_t)i, &state, 4);
        else
            column.offsets[i + 1] = column.offsets[i] + (uint32_t)snprintf((char *)column.values + column.offsets[i], 48, "https://a.example/items/%016llx", (unsigned long long)r);
    }
    return column;
}

static struct mote_value value_of(const struct column *column, uint32_t row)
{
    struct mote_value value = {.type = column->type};
    if (column->kind == TEXT) {
        value.as.bytes.data = column->values + column->offsets[row];
        value.as.bytes.size_bytes = column->offsets[row + 1] - column->offsets[row];
    } else {
        size_t size = codec_value_bytes(column->type, 1);
        memcpy(&value.as, column->values + row * size, size);
    }
    return value;
}

static void build(struct memory *memory, const struct column *column, struct section_store *store, const struct section_identity *identity, struct section_root *root)
{
    struct column_builder *builder;
    size_t size = codec_value_bytes(column->type, 1);
    store->length = 0;
    check(column_builder_create(memory, column->type, column->count, 0, &builder) == 0, "create");
    for (uint32_t at = 0; at < column->count; at += CHUNK_ROWS) {
        uint32_t count = column->count - at < CHUNK_ROWS ? column->count - at : CHUNK_ROWS;
        struct codec_vector v = {.type = column->type, .dimension = 1, .count = count, .values = column->kind == TEXT ? column->values : column->values + at * size, .offsets = column->offsets + at};
        check(column_builder_add_many(builder, at, &v) == 0, "add");
    }
    check(column_builder_finish(builder, identity, &store->sink, root) == 0, "finish");
    column_builder_destroy(builder);
}

static uint64_t run(const struct column_section *section, const struct column_query *query, uint64_t rows_max)
{
    struct column_search *search;
    struct column_hits hits;
    uint64_t rows = 0, sum = 0;
    check(column_search_create(section, query, &search) == 0, "search");
    while (rows < rows_max && column_search_next(search, &hits) > 0)
        for (uint32_t i = 0; i < hits.count; i++, rows++)
            sum += hits.ordinals[i];
    column_search_destroy(search);
    check(rows == 0 || sum < UINT64_MAX, "sum"); /* the ordinals were looked at */
    return rows < rows_max ? rows : rows_max;
}

struct figures {
    double build_ns, bytes, equal_ns, range_ns, count_ns, equal_pages, range_pages;
    uint64_t equal_rows, range_rows;
};

/* Of enumerations the first RANGE_ROWS rows of an answer are taken. */
static struct column_query range_of(const struct column *column, uint64_t *random)
{
    struct column_query query = {.kind = COLUMN_RANGE, .from = {COLUMN_INCLUDED, value_of(column, (uint32_t)(next_random(random) % column->count))}};
    return query;
}

static void measure_section(struct memory *memory, const struct column *column, uint32_t queries, struct figures *figures)
{
    struct section_store store;
    uint64_t pages = 0;
    struct section_identity identity = {.segment_id = 1, .section_id = 1};
    struct section_root root;
    struct column_section section = {&identity, &root, &store.source, memory};
    double build_ns[RUNS], equal_ns[RUNS], range_ns[RUNS], count_ns[RUNS];
    section_store_open(&store, column_bytes_bound(column->type, column->count, column->offsets[column->count]), &pages);
    for (int i = 0; i < RUNS; i++) {
        double start = now_ns();
        build(memory, column, &store, &identity, &root);
        build_ns[i] = (now_ns() - start) / column->count;
        uint64_t random = 7, reads = pages, count;
        figures->equal_rows = figures->range_rows = 0;
        start = now_ns();
        for (uint32_t q = 0; q < queries; q++) {
            struct column_query query = {.kind = COLUMN_EQUAL, .from.value = value_of(column, (uint32_t)(next_random(&random) % column->count))};
            figures->equal_rows += run(&section, &query, RANGE_ROWS);
        }
        equal_ns[i] = (now_ns() - start) / queries;
        figures->equal_pages = (double)(pages - reads) / queries;
        reads = pages;
        start = now_ns();
        for (uint32_t q = 0; q < queries; q++) {
            struct column_query query = range_of(column, &random);
            figures->range_rows += run(&section, &query, RANGE_ROWS);
        }
        range_ns[i] = (now_ns() - start) / queries;
        figures->range_pages = (double)(pages - reads) / queries;
        start = now_ns();
        for (uint32_t q = 0; q < queries; q++) {
            struct column_query query = range_of(column, &random);
            check(column_count(&section, &query, &count, NULL) == 0 && count > 0, "count");
        }
        count_ns[i] = (now_ns() - start) / queries;
    }
    check(column_verify(&section, column->count) == 0, "verify");
    figures->build_ns = median(build_ns);
    figures->equal_ns = median(equal_ns);
    figures->range_ns = median(range_ns);
    figures->count_ns = median(count_ns);
    figures->bytes = (double)store.length / column->count;
    free(store.bytes);
}

#ifdef MOTE_BENCH_SQLITE
static void bind_value(sqlite3_stmt *statement, const struct column *column, uint32_t row)
{
    struct mote_value value = value_of(column, row);
    if (column->kind == TEXT)
        sqlite3_bind_text(statement, 1, value.as.bytes.data, (int)value.as.bytes.size_bytes, SQLITE_STATIC);
    else if (column->kind == RANDOM)
        sqlite3_bind_double(statement, 1, value.as.f64);
    else
        sqlite3_bind_int64(statement, 1, column->kind == STATES ? value.as.i32 : value.as.i64);
}

static int64_t ask_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW, sql);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static double ask_rows(sqlite3 *db, const char *sql, const struct column *column, uint32_t queries, uint64_t *random, uint64_t *rows)
{
    sqlite3_stmt *statement;
    int64_t sum = 0;
    check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, sql);
    double start = now_ns();
    *rows = 0;
    for (uint32_t q = 0; q < queries; q++) {
        bind_value(statement, column, (uint32_t)(next_random(random) % column->count));
        while (sqlite3_step(statement) == SQLITE_ROW) {
            sum += sqlite3_column_int64(statement, 0);
            ++*rows;
        }
        sqlite3_reset(statement);
    }
    double ns = (now_ns() - start) / queries;
    check(sum >= 0, "sum");
    sqlite3_finalize(statement);
    return ns;
}

static void measure_sqlite(const struct column *column, uint32_t queries, struct figures *figures)
{
    sqlite3 *db;
    sqlite3_stmt *insert;
    double build_ns[RUNS], equal_ns[RUNS], range_ns[RUNS];
    static const char *const equal = "SELECT rowid FROM t WHERE v = ? LIMIT 1000", *const range = "SELECT rowid FROM t WHERE v >= ? ORDER BY v LIMIT 1000";
    check(sqlite3_open(":memory:", &db) == SQLITE_OK && sqlite3_exec(db, "PRAGMA cache_size=-2000000; CREATE TABLE t(v); BEGIN", NULL, NULL, NULL) == SQLITE_OK, "SQLite");
    check(sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?)", -1, &insert, NULL) == SQLITE_OK, "SQLite");
    for (uint32_t i = 0; i < column->count; i++) {
        bind_value(insert, column, i);
        check(sqlite3_step(insert) == SQLITE_DONE && sqlite3_reset(insert) == SQLITE_OK, "insert");
    }
    sqlite3_finalize(insert);
    check(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "SQLite");
    int64_t pages = ask_number(db, "PRAGMA page_count");
    for (int i = 0; i < RUNS; i++) {
        check(sqlite3_exec(db, "DROP INDEX IF EXISTS x", NULL, NULL, NULL) == SQLITE_OK, "drop");
        double start = now_ns();
        check(sqlite3_exec(db, "CREATE INDEX x ON t(v)", NULL, NULL, NULL) == SQLITE_OK, "index");
        build_ns[i] = (now_ns() - start) / column->count;
        uint64_t random = 7;
        equal_ns[i] = ask_rows(db, equal, column, queries, &random, &figures->equal_rows);
        range_ns[i] = ask_rows(db, range, column, queries, &random, &figures->range_rows);
    }
    figures->build_ns = median(build_ns);
    figures->equal_ns = median(equal_ns);
    figures->range_ns = median(range_ns);
    figures->bytes = (double)(ask_number(db, "PRAGMA page_count") - pages) * (double)ask_number(db, "PRAGMA page_size") / column->count;
    sqlite3_close(db);
}
#endif

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (strcmp(argv[1], "--quick") == 0 ? 1000 : (uint32_t)strtoul(argv[1], NULL, 10)) : 1000000;
    if (count == 0 || count > 100000000) {
        fprintf(stderr, "usage: column_index_bench [--quick | rows]\n");
        return 2;
    }
    uint32_t queries = count < 100000 ? 20 : 2000;
    struct memory *memory;
    check(memory_create(column_builder_bytes(MOTE_TYPE_TEXT, count, count, 40 * (uint64_t)count) + (16u << 20), false, &memory) == 0 && memory_seal(memory) == 0, "memory");
    printf("%u rows; CPU ns; the first %d rows of an answer are taken\n", count, RANGE_ROWS);
    printf("%-18s %-8s %9s %10s %10s %10s %10s %12s %12s\n", "values", "index", "build/row", "bytes/row", "equal", "range", "count", "equal pages", "range pages");
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct column column = make_column(kind, count);
        struct figures mote = {0}, other = {0};
        measure_section(memory, &column, queries, &mote);
        printf("%-18s %-8s %9.1f %10.2f %10.0f %10.0f %10.0f %12.2f %12.2f\n", kinds[kind].name, "mote", mote.build_ns, mote.bytes, mote.equal_ns, mote.range_ns, mote.count_ns, mote.equal_pages, mote.range_pages);
#ifdef MOTE_BENCH_SQLITE
        measure_sqlite(&column, queries, &other);
        check(other.equal_rows == mote.equal_rows && other.range_rows == mote.range_rows, "SQLite's numbers of rows");
        printf("%-18s %-8s %9.1f %10.2f %10.0f %10.0f\n", "", "SQLite", other.build_ns, other.bytes, other.equal_ns, other.range_ns);
#else
        (void)other;
#endif
        free(column.values);
        free(column.offsets);
    }
    memory_destroy(memory);
    return 0;
}
