/* hnswlib_bench.cpp: what vector_bench asks, of hnswlib's graph over the same vectors: all in memory, as float32, with its usual 16 links (32 at the lowest level) and 200 candidates while building.
 *
 *     hnswlib_bench [--quick | rows [folder of the exact answers]]
 *
 * All times are CPU time. Built only where hnswlib/hnswlib.h is found. */
#include "bench/vector_data.h"

#include <hnswlib/hnswlib.h>
#include <algorithm>
#include <thread>
#include <vector>

enum { K = 10 };

static void ask(hnswlib::HierarchicalNSW<float> *index, const vector_data *data, size_t first, size_t step, uint64_t *found, double *cpu_s)
{
    double start = vector_data_now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t q = first; q < data->query_count; q += step) {
        auto answer = index->searchKnn(data->queries + q * data->dimension, K);
        for (; !answer.empty(); answer.pop())
            for (size_t j = 0; j < K; j++)
                *found += (size_t)data->exact[q * VECTOR_DATA_EXACT + j] == answer.top().second;
    }
    *cpu_s = vector_data_now(CLOCK_THREAD_CPUTIME_ID) - start;
}

static double ask_by(hnswlib::HierarchicalNSW<float> *index, const vector_data *data, size_t threads, uint64_t *found)
{
    uint64_t each[2] = {0, 0};
    std::vector<std::thread> running;
    double cpu_s[2] = {0, 0};
    for (size_t i = 0; i < threads; i++)
        running.emplace_back(ask, index, data, i, threads, &each[i], &cpu_s[i]);
    for (auto &thread : running)
        thread.join();
    *found = each[0] + each[1];
    return (double)data->query_count * (double)threads / (cpu_s[0] + cpu_s[1]);
}

static void find_exact(vector_data *data)
{
    data->exact = (int32_t *)vector_data_alloc(data->query_count * VECTOR_DATA_EXACT * sizeof(int32_t));
    std::vector<std::pair<float, int32_t>> ranked(data->count);
    for (size_t q = 0; q < data->query_count; q++) {
        for (size_t i = 0; i < data->count; i++) {
            float square = 0;
            for (size_t k = 0; k < data->dimension; k++) {
                float t = data->queries[q * data->dimension + k] - data->rows[i * data->dimension + k];
                square += t * t;
            }
            ranked[i] = {square, (int32_t)i};
        }
        std::partial_sort(ranked.begin(), ranked.begin() + K, ranked.end());
        for (size_t i = 0; i < K; i++)
            data->exact[q * VECTOR_DATA_EXACT + i] = ranked[i].second;
    }
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    size_t count = argc > 1 && !quick ? strtoul(argv[1], NULL, 10) : 60000;
    vector_data data;
    if (quick || !vector_data_fashion(&data, argc > 2 ? argv[2] : "../shared/data", count))
        vector_data_clusters(&data, quick ? 3000 : count, quick ? 50 : 1000, quick ? 32 : 128);
    if (!data.exact)
        find_exact(&data);
    hnswlib::L2Space space(data.dimension);
    hnswlib::HierarchicalNSW<float> index(&space, data.count, 16, 200, 1);
    double start = vector_data_now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < data.count; i++)
        index.addPoint(data.rows + i * data.dimension, i);
    double floats_bytes = (double)data.count * (double)data.dimension * 4;
    printf("hnswlib, %s: %zu rows of %zu elements; build %.1f s CPU; %.3f times the vectors' bytes of memory, the vectors themselves included\n", data.name, data.count, data.dimension, vector_data_now(CLOCK_THREAD_CPUTIME_ID) - start,
           (double)index.size_data_per_element_ * (double)data.count / floats_bytes);
    for (size_t list : {10, 16, 24, 32, 48, 64, 96, 128, 192}) {
        uint64_t found = 0;
        double one = 0, two = 0;
        index.setEf(list);
        for (int run = 0; run < 3; run++) {
            one = std::max(one, ask_by(&index, &data, 1, &found));
            two = std::max(two, ask_by(&index, &data, 2, &found));
        }
        printf("  list %3zu: recall@10 %.4f  %8.0f queries/s by one thread  %8.0f by two\n", list, (double)found / (K * (double)data.query_count), one, two);
    }
    return 0;
}
