/* recent_bench.c: what the strategy of an index does to rows that are not flushed yet: a table with one index of each kind in turn, its rows appended one by one without waiting for durability, then searched while they are in memtables,
 * then searched again after a flush.
 *
 *     recent_bench [rows [image file]]     default: 200,000 rows, an image file in /dev/shm
 *
 * Times are CPU time, as the machine may be busy with other work: of an append that of the appending thread, and in brackets of all threads, the log's and the worker's with it; of a search that of the searching thread. */
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"

enum { DIMENSION = 32, WORDS = 9, VOCABULARY = 4096, SEARCHES = 40, KINDS = 4, STRATEGIES = 4, TEXT_BYTES = 128 };

static const char *const kind_names[KINDS] = {"value: equal", "place: box", "words: any of two, ranked", "vector: nearest 10"};
static const uint32_t kinds[KINDS] = {MOTE_INDEX_COLUMN, MOTE_INDEX_SPATIAL, MOTE_INDEX_TEXT, MOTE_INDEX_VECTOR};
static const char *const strategy_names[STRATEGIES] = {"no index", "batch", "realtime", "hybrid"};
static uint64_t random_state;

static void check(int result, const char *what)
{
    struct mote_error error = {0};
    if (result == MOTE_OK)
        return;
    mote_last_error(&error);
    fprintf(stderr, "recent_bench: %s: %s\n", what, error.message);
    exit(1);
}

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static double cpu_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void make_words(char *text, unsigned count)
{
    size_t used = 0;
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, TEXT_BYTES - used, "%sw%u", i ? " " : "", (unsigned)(exp((double)draw(1u << 20) / (1u << 20) * log(VOCABULARY)) - 1));
}

static mote_table *make_table(mote_db *db, unsigned kind, unsigned strategy)
{
    const struct mote_column_definition payloads[KINDS] = {{.name = "value", .type = MOTE_TYPE_INT64}, {.name = "place", .type = MOTE_TYPE_POINT3}, {.name = "words", .type = MOTE_TYPE_TEXT}, {.name = "vector", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION}};
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, payloads[kind]};
    const uint32_t key = 0, payload = 1;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    mote_table *table;
    schema.name = "rows";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;
    check(mote_table_create(db, &schema, &table), "mote_table_create");
    index.name = "index";
    index.kind = kinds[kind];
    index.columns = &payload;
    index.column_count = 1;
    index.strategy = strategy ? strategy - 1 : 0;
    if (strategy)
        check(mote_index_create(table, &index), "mote_index_create");
    return table;
}

static void append(mote_table *table, unsigned kind, int64_t id)
{
    const struct mote_write_options options = {.size_bytes = sizeof options, .durability = MOTE_DURABILITY_NONE};
    struct mote_value values[2] = {{.type = MOTE_TYPE_INT64, .as.i64 = id}, {0}};
    char text[TEXT_BYTES];
    float vector[DIMENSION];
    switch (kind) {
    case 0:
        values[1] = (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = (int64_t)draw(20000)};
        break;
    case 1:
        values[1].type = MOTE_TYPE_POINT3;
        for (unsigned i = 0; i < 3; i++)
            values[1].as.point[i] = (double)draw(1u << 30) / (1u << 30);
        break;
    case 2:
        make_words(text, WORDS);
        values[1].type = MOTE_TYPE_TEXT;
        values[1].as.bytes.data = text;
        values[1].as.bytes.size_bytes = strlen(text);
        break;
    default:
        for (unsigned i = 0; i < DIMENSION; i++)
            vector[i] = (float)draw(1000) / 1000;
        values[1].type = MOTE_TYPE_VECTOR_F32;
        values[1].as.bytes.data = vector;
        values[1].as.bytes.size_bytes = sizeof vector;
    }
    check(mote_append(table, values, 2, &options, NULL), "mote_append");
}

/* One search; whether rows in memory were indexed, all but few. */
static void search(mote_table *table, unsigned kind, uint64_t *indexed)
{
    static const uint32_t payload = 1;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {.columns = &payload, .column_count = 1};
    unsigned long long batches = 0, rows = 0;
    char text[TEXT_BYTES];
    float vector[DIMENSION];
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.limit = kind >= 2 ? 10 : 0;
    make_words(text, 2);
    for (unsigned i = 0; i < DIMENSION; i++)
        vector[i] = (float)draw(1000) / 1000;
    term.kind = kind == 0 ? MOTE_TERM_EQUAL : kind == 1 ? MOTE_TERM_BOX : kind == 2 ? MOTE_TERM_WORDS : MOTE_TERM_VECTOR;
    term.from = (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = (int64_t)draw(20000)};
    for (unsigned i = 0; i < 3; i++) {
        term.min[i] = (double)draw(900) / 1000;
        term.max[i] = term.min[i] + 0.04;
    }
    term.words = text;
    term.flags = kind == 2 ? MOTE_TERM_ANY_WORD : 0;
    if (kind == 3) {
        term.vector = vector;
        term.dimension = DIMENSION;
    }
    check(mote_search(table, &options, &hits), "mote_search");
    if (indexed) {
        const char *at = strstr(mote_hits_explain(hits), "in memory: ");
        *indexed = at && sscanf(at, "in memory: %llu batches of together %llu", &batches, &rows) == 2 ? rows : 0;
    }
    mote_hits_close(hits);
}

static double search_many(mote_table *table, unsigned kind)
{
    double begin = cpu_s(CLOCK_THREAD_CPUTIME_ID);
    random_state = 99;
    for (unsigned i = 0; i < SEARCHES; i++)
        search(table, kind, NULL);
    return (cpu_s(CLOCK_THREAD_CPUTIME_ID) - begin) / SEARCHES * 1e6;
}

static void measure(const char *path, uint64_t rows, unsigned kind, unsigned strategy)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    uint64_t indexed = 0;
    mote_db *db;
    unlink(path);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0 || ftruncate(file, 2ll << 30) || close(file)) {
        perror(path);
        exit(1);
    }
    check(mote_format(path, &format, NULL), "mote_format");
    options.memory_bytes = 1ull << 30;
    options.memtable_bytes = 192ull << 20;
    options.memtable_count = 2;
    options.checkpoint_period_ms = MOTE_NEVER;
    check(mote_open(path, &options, &db, NULL), "mote_open");
    mote_table *table = make_table(db, kind, strategy);
    random_state = 7;
    double begin = cpu_s(CLOCK_THREAD_CPUTIME_ID), begin_all = cpu_s(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t id = 0; id < rows; id++)
        append(table, kind, (int64_t)id);
    double end = cpu_s(CLOCK_THREAD_CPUTIME_ID), own_ns = (end - begin) / (double)rows * 1e9;
    /* The worker comes to the end of it; what is less than a batch stays. */
    for (; strategy == 3 && indexed + 1024 < rows; search(table, kind, &indexed))
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double asking = cpu_s(CLOCK_THREAD_CPUTIME_ID) - end, all_ns = (cpu_s(CLOCK_PROCESS_CPUTIME_ID) - begin_all - asking) / (double)rows * 1e9;
    printf("%-26s %-9s append %7.0f ns (%7.0f in all threads)", kind_names[kind], strategy_names[strategy], own_ns, all_ns);
    if (strategy) {
        double before = search_many(table, kind);
        check(mote_flush(db), "mote_flush");
        double after = search_many(table, kind);
        printf("   search unflushed %9.1f us, flushed %9.1f us: %6.2f times as long", before, after, before / after);
    }
    printf("\n");
    fflush(stdout);
    check(mote_close(db), "mote_close");
    unlink(path);
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    char path[64];
    snprintf(path, sizeof path, "%s/mote_recent_bench_%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned strategy = 0; strategy < STRATEGIES; strategy++)
            measure(argc > 2 ? argv[2] : path, rows, kind, strategy);
    return 0;
}
