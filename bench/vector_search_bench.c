/* vector_search_bench.c: the vector index through the engine: Fashion-MNIST, turned (vector_data.h), as rows of a table on an image file; the index declared, graphs built; recall@10 at the default list, queries a second by one and by two
 * threads, what a query reads of the device, what the index takes.
 *
 *     vector_search_bench [--quick | rows [folder of the exact answers [image file [cache MiB]]]]     default: 60,000 rows, an image file in /tmp; one in memory is made before: truncate -s 4G /dev/shm/image
 *
 * Exact answers of fewer rows are asked of the index itself. Times are CPU time of the asking threads, as in vector_bench; the image in memory adds no device time. */
#include <pthread.h>
#include <unistd.h>

#include "bench/vector_data.h"
#include "include/mote.h"

enum { K = 10, THREADS_MAX = 2, BATCH_BYTES = 400 * 1024 };

static void check(bool holds, const char *what)
{
    struct mote_error error = {0};
    if (holds)
        return;
    mote_last_error(&error);
    fprintf(stderr, "vector_search_bench: %s: %s\n", what, error.message);
    exit(1);
}

struct asker {
    const struct vector_data *data;
    mote_table *table;
    size_t first, step;
    uint32_t list;
    bool exact, with_rows, without_rows; /* the row's id and vector; not even its id */
    uint64_t found;
    double cpu_s;
    int32_t *answers; /* not NULL: they go here */
};

static void note_answer(struct asker *asker, size_t query, size_t place, int64_t id)
{
    for (size_t j = 0; !asker->answers && j < K; j++)
        asker->found += asker->data->exact[query * VECTOR_DATA_EXACT + j] == id;
    if (asker->answers)
        asker->answers[query * VECTOR_DATA_EXACT + place] = (int32_t)id;
}

static void ask_one(struct asker *asker, size_t query)
{
    const uint32_t id_column = 0;
    struct mote_term term = {.kind = MOTE_TERM_VECTOR, .flags = asker->exact ? MOTE_TERM_EXACT : 0, .vector = asker->data->queries + query * asker->data->dimension, .dimension = (uint32_t)asker->data->dimension, .list = asker->list};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.limit = K;
    options.columns = asker->with_rows ? NULL : &id_column;
    options.column_count = asker->with_rows ? 0 : 1;
    check(mote_search(asker->table, &options, &hits) == MOTE_OK, "mote_search");
    check(asker->without_rows || (mote_hits_next(hits, &chunk) == MOTE_OK && chunk.row_count == K), "mote_hits_next");
    for (size_t i = 0; i < K && !asker->without_rows; i++)
        note_answer(asker, query, i, ((const int64_t *)chunk.columns[0].values)[i]);
    mote_hits_close(hits);
}

static void *ask(void *context)
{
    struct asker *asker = context;
    double start = vector_data_now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t q = asker->first; q < asker->data->query_count; q += asker->step)
        ask_one(asker, q);
    asker->cpu_s = vector_data_now(CLOCK_THREAD_CPUTIME_ID) - start;
    return NULL;
}

/* Queries a second, if each thread had a processor. */
static double ask_by(const struct asker *template, size_t threads, uint64_t *found)
{
    pthread_t ids[THREADS_MAX];
    struct asker askers[THREADS_MAX];
    double cpu_s = 0;
    *found = 0;
    for (size_t i = 0; i < threads; i++) {
        askers[i] = *template;
        askers[i].first = i;
        askers[i].step = threads;
        check(pthread_create(&ids[i], NULL, ask, &askers[i]) == 0, "pthread_create");
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        cpu_s += askers[i].cpu_s;
        *found += askers[i].found;
    }
    return (double)template->data->query_count * (double)threads / cpu_s;
}

static mote_table *create_table(mote_db *db, uint32_t dimension)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = dimension}};
    const uint32_t key = 0, column = 1;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    mote_table *table;
    schema.name = "vectors";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;

    check(mote_table_create(db, &schema, &table) == MOTE_OK, "mote_table_create");
    index.name = "near";
    index.kind = MOTE_INDEX_VECTOR;
    index.columns = &column;
    index.column_count = 1;
    check(mote_index_create(table, &index) == MOTE_OK, "mote_index_create");
    return table;
}

static void ingest(mote_table *table, const struct vector_data *data)
{
    size_t batch_rows = BATCH_BYTES / (data->dimension * sizeof(float));
    int64_t *ids = vector_data_alloc(batch_rows * sizeof *ids);
    for (size_t first = 0; first < data->count; first += batch_rows) {
        size_t rows = data->count - first < batch_rows ? data->count - first : batch_rows;
        for (size_t i = 0; i < rows; i++)
            ids[i] = (int64_t)(first + i);
        const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_VECTOR_F32, .dimension = (uint32_t)data->dimension, .values = data->rows + first * data->dimension}};
        const struct mote_batch batch = {.row_count = rows, .column_count = 2, .columns = columns};
        check(mote_append_columns(table, &batch, NULL, NULL) == MOTE_OK, "mote_append_columns");
    }
    free(ids);
}

static struct mote_stats stats_of(mote_db *db)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    check(mote_get_stats(db, &stats) == MOTE_OK, "mote_get_stats");
    return stats;
}

static void bench_searches(mote_db *db, mote_table *table, struct vector_data *data)
{
    static const uint32_t lists[] = {16, 0, 96};
    double queries = (double)data->query_count;
    struct asker asker = {.data = data, .table = table, .exact = true};
    uint64_t found;
    if (!data->exact) {
        asker.answers = data->exact = vector_data_alloc(data->query_count * VECTOR_DATA_EXACT * sizeof(int32_t));
        printf("  exact: %.1f queries/s by one thread\n", ask_by(&asker, 1, &found));
    }
    asker.answers = NULL;
    asker.exact = false;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        asker.list = lists[i];
        double rates[2] = {0, 0};
        ask_by(&asker, 1, &found);
        struct mote_stats before = stats_of(db);
        for (unsigned run = 0; run < 3; run++)
            for (unsigned threads = 1; threads <= 2; threads++) {
                double rate = ask_by(&asker, threads, &found);
                rates[threads - 1] = rate > rates[threads - 1] ? rate : rates[threads - 1];
            }
        struct mote_stats after = stats_of(db);
        printf("  list %3u: recall@10 %.4f  %8.0f queries/s by one thread  %8.0f by two  cache misses a query %.1f, %.1f KiB read\n", lists[i] ? lists[i] : 48, (double)found / (K * queries), rates[0], rates[1],
               (double)(after.cache_misses - before.cache_misses) / (6 * queries), (double)(after.bytes_read - before.bytes_read) / (6 * queries) / 1024);
    }
    asker.list = 0;
    asker.with_rows = true;
    double with_rows = ask_by(&asker, 1, &found);
    asker.without_rows = true;
    ask_by(&asker, 1, &found);
    struct mote_stats before = stats_of(db);
    double without_rows = ask_by(&asker, 1, &found);
    struct mote_stats after = stats_of(db);
    printf("  list  48, with the vectors of the hits: %.0f queries/s by one thread; without reading the hits' rows: %.0f, %.1f cache misses, %.1f KiB read\n", with_rows, without_rows,
           (double)(after.cache_misses - before.cache_misses) / queries, (double)(after.bytes_read - before.bytes_read) / queries / 1024);
}

static void bench(struct vector_data *data, const char *path, bool temporary, uint64_t cache_mib)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_index_info info = {.size_bytes = sizeof info};
    mote_db *db;
    double bytes = (double)data->count * (double)data->dimension * 4;
    format.image_size_bytes = (uint64_t)(bytes * 10) + (256ull << 20);
    format.image_size_bytes -= format.image_size_bytes % (1 << 20);
    format.sparse = 1;
    format.force = "mote"; /* the image of the run before */
    options.cache_bytes = cache_mib << 20;
    check(mote_format(path, &format, NULL) == MOTE_OK, "mote_format");
    check(mote_open(path, &options, &db, NULL) == MOTE_OK, "mote_open");
    mote_table *table = create_table(db, (uint32_t)data->dimension);
    double start = vector_data_now(CLOCK_PROCESS_CPUTIME_ID), clock = vector_data_now(CLOCK_MONOTONIC);
    ingest(table, data);
    check(mote_flush(db) == MOTE_OK, "mote_flush");
    double flushed = vector_data_now(CLOCK_PROCESS_CPUTIME_ID) - start, flushed_clock = vector_data_now(CLOCK_MONOTONIC) - clock;
    check(mote_compact(db, NULL) == MOTE_OK, "mote_compact");
    check(mote_flush_all_indexes(db) == MOTE_OK, "mote_flush_all_indexes");
    check(mote_index_describe(table, "near", &info) == MOTE_OK, "mote_index_describe");
    struct mote_stats stats = stats_of(db);
    printf("%s: %zu rows of %zu elements: in the table after %.1f s (%.1f s CPU), graphs of %llu segments after %.1f s CPU more; index %.2f times the vectors' bytes; written %.1f times (log %.1f, flush %.1f, compaction %.1f, index %.1f)\n", data->name,
           data->count, data->dimension, flushed_clock, flushed, (unsigned long long)info.segments, vector_data_now(CLOCK_PROCESS_CPUTIME_ID) - start - flushed, (double)info.bytes / bytes,
           (double)(stats.bytes_wal + stats.bytes_flush + stats.bytes_compaction + stats.bytes_index) / bytes, (double)stats.bytes_wal / bytes, (double)stats.bytes_flush / bytes, (double)stats.bytes_compaction / bytes,
           (double)stats.bytes_index / bytes);
    check(info.segments_waiting == 0 && info.segments_indexed == info.segments, "a graph is missing");
    uint64_t used = stats.memory_used_bytes;
    bench_searches(db, table, data);
    printf("  memory taken by the searches, open indexes included: %.3f times the vectors' bytes\n", ((double)stats_of(db).memory_used_bytes - (double)used) / bytes);
    check(mote_close(db) == MOTE_OK, "mote_close");
    if (temporary)
        unlink(path);
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && (strcmp(argv[1], "--quick") == 0 || strcmp(argv[1], "1000") == 0);
    size_t count = argc > 1 && !quick ? strtoul(argv[1], NULL, 10) : 60000;
    const char *folder = argc > 2 ? argv[2] : "../shared/data";
    char path[64];
    struct vector_data data;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a run takes minutes: what is known is shown, also in a pipe */
    snprintf(path, sizeof path, "/tmp/vector_search_bench.%d.img", (int)getpid());
    if (quick || !vector_data_fashion(&data, folder, count)) {
        if (!quick)
            printf("Fashion-MNIST is not installed (dataset-fashion-mnist): SKIPPED, clusters instead\n");
        vector_data_clusters(&data, quick ? 3000 : count, quick ? 50 : 1000, quick ? 32 : 128);
    }
    bench(&data, argc > 3 ? argv[3] : path, argc <= 3, argc > 4 ? strtoul(argv[4], NULL, 10) : 0);
    if (data.queries != data.rows + data.count * data.dimension) /* else they lie behind the rows */
        free(data.queries);
    free(data.rows);
    free(data.exact);
    return 0;
}
