/* vector_bench.c: what the vector index costs: building, bytes, memory, and for several lengths of the list recall@10, queries a second by one and by two threads, nodes read for a query (each is a read of the device where nothing is cached).
 *
 *     vector_bench [--quick | rows [folder of the exact answers [degree [build list]]]]     default: 60,000 rows of Fashion-MNIST; 1000 or --quick runs as a test in a moment
 *
 * The section lies in memory, its pages verified before: the time of a block cache and of the device is not in it, the number of reads is. All times are CPU time: on a machine that does other
 * things, too, what a thread would do with a processor of its own. hnswlib_bench (bench/peers) asks the same of the same vectors. */
#include <pthread.h>

#include "bench/section_store.h"
#include "bench/vector_data.h"
#include "blockdev/base/memory.h"
#include "index/vector.h"

enum { K = 10, THREADS_MAX = 2 };

static void check(bool holds, const char *what)
{
    if (!holds)
        vector_data_fail(what);
}

struct asker {
    const struct vector_data *data;
    const struct vector_index *index;
    struct vector_search_options options;
    size_t first, step;
    uint64_t found, nodes_read, codes_compared;
    double cpu_s;
    int32_t *exact; /* not NULL: the answers go here */
};

static void *ask(void *context)
{
    struct asker *asker = context;
    const struct vector_data *data = asker->data;
    double start = vector_data_now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t q = asker->first; q < data->query_count; q += asker->step) {
        struct vector_search *search;
        struct vector_search_counts counts;
        struct vector_hit hit;
        check(vector_search_create(asker->index, data->queries + q * data->dimension, &asker->options, &search) == 0, "vector_search_create failed");
        for (size_t i = 0; i < K; i++) {
            check(vector_search_next(search, &hit) == 1, "vector_search_next failed");
            for (size_t j = 0; !asker->exact && j < K; j++)
                asker->found += (uint32_t)data->exact[q * VECTOR_DATA_EXACT + j] == hit.ordinal;
            if (asker->exact)
                asker->exact[q * VECTOR_DATA_EXACT + i] = (int32_t)hit.ordinal;
        }
        vector_search_counts(search, &counts);
        asker->nodes_read += counts.nodes_read;
        asker->codes_compared += counts.codes_compared;
        vector_search_destroy(search);
    }
    asker->cpu_s = vector_data_now(CLOCK_THREAD_CPUTIME_ID) - start;
    return NULL;
}

/* Queries a second, if each thread had a processor; the sums come to *all. */
static double ask_by(const struct asker *template, size_t threads, struct asker *all)
{
    pthread_t ids[THREADS_MAX];
    struct asker askers[THREADS_MAX];
    *all = *template;
    for (size_t i = 0; i < threads; i++) {
        askers[i] = *template;
        askers[i].first = i;
        askers[i].step = threads;
        check(pthread_create(&ids[i], NULL, ask, &askers[i]) == 0, "pthread_create failed");
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        all->cpu_s += askers[i].cpu_s;
        all->found += askers[i].found;
        all->nodes_read += askers[i].nodes_read;
        all->codes_compared += askers[i].codes_compared;
    }
    return (double)template->data->query_count * (double)threads / all->cpu_s;
}

static void bench_searches(struct vector_data *data, const struct vector_index *index)
{
    static const uint32_t lists[] = {16, 32, 48, 64, 96, 128, 192};
    double queries = (double)data->query_count;
    struct asker asker = {.data = data, .index = index, .options = {.size_bytes = sizeof asker.options, .wanted = K, .exact = true}}, all;
    if (!data->exact) {
        asker.exact = data->exact = vector_data_alloc(data->query_count * VECTOR_DATA_EXACT * sizeof(int32_t));
        printf("  exact: %.1f queries/s by one thread\n", ask_by(&asker, 1, &all));
    }
    asker.exact = NULL;
    asker.options.exact = false;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        asker.options.list = lists[i];
        double one = 0, two = 0;
        for (int run = 0; run < 3; run++) {
            double rate = ask_by(&asker, 1, &all), rate_two = ask_by(&asker, 2, &all);
            one = rate > one ? rate : one;
            two = rate_two > two ? rate_two : two;
        }
        printf("  list %3u%s: recall@10 %.4f  %8.0f queries/s by one thread  %8.0f by two  %6.1f nodes read  %7.1f codes compared a query\n", lists[i], lists[i] == VECTOR_LIST_DEFAULT ? " (default)" : "          ",
               (double)all.found / (K * queries), one, two, (double)all.nodes_read / queries, (double)all.codes_compared / queries);
    }
}

static void bench(struct vector_data *data, const struct vector_options *options)
{
    struct memory *memory;
    struct vector_builder *builder;
    struct vector_index *index;
    struct vector_facts facts;
    struct vector_verified verified;
    uint64_t builder_bytes = vector_builder_bytes(options, data->count);
    struct section_store store;
    struct section_identity identity = {.segment_id = 1, .section_id = 1};
    struct section_root root;
    section_store_open(&store, vector_bytes_bound(options, data->count), NULL);
    check(memory_create(builder_bytes + (32u << 20), false, &memory) == 0 && memory_seal(memory) == 0, "memory_create failed");
    double start = vector_data_now(CLOCK_THREAD_CPUTIME_ID), longest = 0;
    check(vector_builder_create(memory, options, data->count, &builder) == 0, "vector_builder_create failed");
    for (size_t i = 0; i < data->count; i++)
        check(vector_builder_add(builder, (uint32_t)i, data->rows + i * data->dimension) == 0, "vector_builder_add failed");
    check(vector_builder_begin(builder, &identity, &store.sink) == 0, "vector_builder_begin failed");
    for (bool finished = false; !finished;) {
        double before = vector_data_now(CLOCK_THREAD_CPUTIME_ID);
        check(vector_builder_step(builder, 1, &finished) == 0, "vector_builder_step failed");
        double took = vector_data_now(CLOCK_THREAD_CPUTIME_ID) - before;
        longest = took > longest ? took : longest;
    }
    vector_builder_root(builder, &root);
    double build = vector_data_now(CLOCK_THREAD_CPUTIME_ID) - start;
    uint64_t used_bytes = memory_used_bytes(memory);
    vector_builder_destroy(builder);
    double floats_bytes = (double)data->count * (double)data->dimension * 4;
    const struct vector_section section = {&identity, &root, &store.source, memory};
    check(vector_verify(&section, data->count, &verified) == 0, "vector_verify failed");
    check(vector_open(&section, UINT64_MAX, &index) == 0, "vector_open failed");
    vector_describe(index, &facts);
    printf("%s: %zu rows of %zu elements; build %.1f s CPU (longest step %.1f ms), %.2f times the vectors' bytes of memory (bound %.2f), section %.2f times; degree %u, %.1f edges a node, %.4f reachable\n", data->name, data->count,
           data->dimension, build, longest * 1e3, (double)used_bytes / floats_bytes, (double)builder_bytes / floats_bytes, (double)store.length / floats_bytes, facts.degree, (double)verified.edges / (double)data->count,
           (double)verified.reachable / (double)data->count);
    printf("  memory of the open index: %llu bytes, %.4f times the vectors' bytes (goal 0.25)\n", (unsigned long long)facts.resident_bytes, (double)facts.resident_bytes / floats_bytes);
    bench_searches(data, index);
    vector_close(index);
    memory_destroy(memory);
    free(store.bytes);
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && (strcmp(argv[1], "--quick") == 0 || strcmp(argv[1], "1000") == 0);
    size_t count = argc > 1 && !quick ? strtoul(argv[1], NULL, 10) : 60000;
    const char *folder = argc > 2 ? argv[2] : "../shared/data";
    struct vector_options options = {.size_bytes = sizeof options, .metric = VECTOR_L2, .degree = argc > 3 ? (uint32_t)atoi(argv[3]) : 0, .build_list = argc > 4 ? (uint32_t)atoi(argv[4]) : 0, .seed = 1};
    struct vector_data data;
    check(count >= 100 && count <= 60000, "rows from 100 to 60000");
    if (quick || !vector_data_fashion(&data, folder, count)) {
        if (!quick)
            printf("Fashion-MNIST is not installed (dataset-fashion-mnist): SKIPPED, clusters instead\n");
        vector_data_clusters(&data, quick ? 3000 : count, quick ? 50 : 1000, quick ? 32 : 128);
    }
    options.dimension = (uint32_t)data.dimension;
    bench(&data, &options);
    return 0;
}
