/* spatial_bench.c: what the spatial index costs: building, bytes, searching by box, by radius and by nearness, pages read; beside brute force over an array of the same points.
 *
 *     spatial_bench [--quick | points [cloud.xyz.f32 ...]]        default 1,000,000 points of each made cloud; 1000 or --quick runs as a test in a moment
 *
 * One thread, its CPU time; the section lies in memory, its pages verified before: the time of a block cache and of the device is not in it, the number of pages is. Medians of five runs. Every answer's size is compared with that of brute
 * force. nanoflann_bench (bench/peers) asks the same of the same clouds. */
#include "bench/section_store.h"
#include "bench/spatial_clouds.h"
#include "blockdev/base/memory.h"
#include "index/spatial.h"

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "spatial_bench: %s failed\n", what);
        exit(1);
    }
}

static int count_hits(void *context, const struct spatial_hits *hits)
{
    *(uint64_t *)context += hits->count;
    return 0;
}

static uint64_t query_box(const struct spatial_section *section, const double centre[3], double half)
{
    uint64_t found = 0;
    const double min[3] = {centre[0] - half, centre[1] - half, centre[2] - half}, max[3] = {centre[0] + half, centre[1] + half, centre[2] + half};
    check(spatial_search_box(section, min, max, count_hits, &found) == 0, "a search by box");
    return found;
}

static uint64_t query_count(const struct spatial_section *section, const double centre[3], double half)
{
    uint64_t found = 0;
    const double min[3] = {centre[0] - half, centre[1] - half, centre[2] - half}, max[3] = {centre[0] + half, centre[1] + half, centre[2] + half};
    check(spatial_count_box(section, min, max, &found) == 0, "a count");
    return found;
}

static uint64_t query_radius(const struct spatial_section *section, const double centre[3], double radius)
{
    uint64_t found = 0;
    check(spatial_search_radius(section, centre, radius, count_hits, &found) == 0, "a search by radius");
    return found;
}

static uint64_t query_nearest(const struct spatial_section *section, const double centre[3], double wanted)
{
    struct spatial_nearest_options options = {.wanted = (uint32_t)wanted, .squared_distance_max = INFINITY};
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    uint64_t found = 0;
    check(spatial_nearest_create(section, centre, &options, &nearest) == 0, "an iterator");
    while (found < options.wanted && spatial_nearest_next(nearest, &hit) == 1)
        found++;
    spatial_nearest_destroy(nearest);
    return found;
}

static uint64_t brute_box(const struct cloud *cloud, const double centre[3], double half)
{
    uint64_t found = 0;
    const double min[3] = {centre[0] - half, centre[1] - half, centre[2] - half}, max[3] = {centre[0] + half, centre[1] + half, centre[2] + half};
    for (size_t i = 0; i < cloud->count; i++) {
        const double *p = cloud->points[i];
        found += (p[0] >= min[0]) & (p[0] <= max[0]) & (p[1] >= min[1]) & (p[1] <= max[1]) & (p[2] >= min[2]) & (p[2] <= max[2]);
    }
    return found;
}

static double square_of(const double p[3], const double centre[3])
{
    double x = p[0] - centre[0], y = p[1] - centre[1], z = p[2] - centre[2];
    return (x * x + y * y) + z * z;
}

static uint64_t brute_radius(const struct cloud *cloud, const double centre[3], double radius)
{
    uint64_t found = 0;
    for (size_t i = 0; i < cloud->count; i++)
        found += square_of(cloud->points[i], centre) <= radius * radius;
    return found;
}

/* The wanted nearest by an array that is kept sorted. */
static uint64_t brute_nearest(const struct cloud *cloud, const double centre[3], double wanted)
{
    double kept[128];
    size_t found = 0;
    for (size_t i = 0; i < cloud->count; i++) {
        double square = square_of(cloud->points[i], centre);
        if (found == (size_t)wanted && square >= kept[found - 1])
            continue;
        size_t at = found < (size_t)wanted ? found++ : found - 1;
        for (; at > 0 && kept[at - 1] > square; at--)
            kept[at] = kept[at - 1];
        kept[at] = square;
    }
    return found;
}

struct question {
    const char *name;
    uint64_t (*ask)(const struct spatial_section *section, const double centre[3], double size);
    uint64_t (*brute)(const struct cloud *cloud, const double centre[3], double size);
    double size; /* of the cloud's extent; or rows */
    bool in_rows;
};

static const struct question questions[] = {
    {"box, 1 % of the extent wide", query_box, brute_box, 0.005, false}, {"box, 10 %", query_box, brute_box, 0.05, false}, {"count in a box, 10 %", query_count, brute_box, 0.05, false},
    {"radius 1 %", query_radius, brute_radius, 0.01, false},             {"nearest 1", query_nearest, brute_nearest, 1, true}, {"nearest 10", query_nearest, brute_nearest, 10, true},
    {"nearest 100", query_nearest, brute_nearest, 100, true},
};

static void bench_question(const struct cloud *cloud, const struct spatial_section *section, uint64_t *pages, const struct question *question, size_t queries)
{
    double runs[CLOUD_RUNS], size = question->in_rows ? question->size : question->size * cloud->extent;
    size_t brute_queries = queries < 15 ? queries : 15;
    uint64_t found = 0, brute_found = 0, first_found = 0;
    for (int run = 0; run < CLOUD_RUNS; run++) {
        found = *pages = 0;
        double start = cloud_now_ns();
        for (size_t i = 0; i < queries; i++) {
            double centre[3];
            cloud_centre(cloud, i, centre);
            found += question->ask(section, centre, size);
            first_found = i + 1 == brute_queries ? found : first_found;
        }
        runs[run] = (cloud_now_ns() - start) / (double)queries;
    }
    double start = cloud_now_ns();
    for (size_t i = 0; i < brute_queries; i++) {
        double centre[3];
        cloud_centre(cloud, i, centre);
        brute_found += question->brute(cloud, centre, size);
    }
    double brute_ns = (cloud_now_ns() - start) / (double)brute_queries, ns = cloud_median(runs, CLOUD_RUNS);
    check(brute_found == first_found, "the same answer as brute force's");
    printf("  %-30s %9.2f us  %9.0f a second  %8.1f rows  %6.1f pages  brute force %10.1f us, %7.0f times as long\n", question->name, ns / 1e3, 1e9 / ns, (double)found / (double)queries, (double)*pages / (double)queries, brute_ns / 1e3,
           brute_ns / ns);
}

static void bench_cloud(struct cloud *cloud, size_t queries)
{
    struct memory *memory;
    struct spatial_builder *builder;
    struct section_store store;
    uint64_t pages = 0;
    struct section_identity identity = {.segment_id = 1, .section_id = 1};
    struct section_root root;
    double runs[CLOUD_RUNS];
    section_store_open(&store, spatial_bytes_bound(cloud->count), &pages);
    check(memory_create(spatial_builder_bytes(cloud->count) + (4u << 20), false, &memory) == 0 && memory_seal(memory) == 0, "memory_create");
    for (int run = 0; run < CLOUD_RUNS; run++) {
        store.length = 0;
        double start = cloud_now_ns();
        check(spatial_builder_create(memory, cloud->count, &builder) == 0, "spatial_builder_create");
        for (size_t i = 0; i < cloud->count; i += 1024)
            check(spatial_builder_add_many(builder, (uint32_t)i, cloud->points[i], (uint32_t)(cloud->count - i < 1024 ? cloud->count - i : 1024)) == 0, "spatial_builder_add_many");
        check(spatial_builder_finish(builder, &identity, &store.sink, &root) == 0, "spatial_builder_finish");
        spatial_builder_destroy(builder);
        runs[run] = (cloud_now_ns() - start) / (double)cloud->count;
    }
    printf("%s: %zu points; build %.1f ns a point, %.2f bytes a point on the device, %llu pages; %.1f bytes a point in memory\n", cloud->name, cloud->count, cloud_median(runs, CLOUD_RUNS), (double)store.length / (double)cloud->count,
           (unsigned long long)store.length / 4096, (double)spatial_builder_bytes(cloud->count) / (double)cloud->count);
    const struct spatial_section section = {&identity, &root, &store.source, memory};
    check(spatial_verify(&section, cloud->count) == 0, "spatial_verify");
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        bench_question(cloud, &section, &pages, &questions[i], queries);
    memory_destroy(memory);
    free(store.bytes);
    free(cloud->points);
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    size_t count = quick ? 1000 : argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    check(count >= 1 && count <= 100000000, "points from 1 to 100000000");
    size_t queries = count < 10000 ? 100 : CLOUD_QUERIES_MAX;
    for (int kind = 0; kind < 3; kind++) {
        struct cloud cloud = cloud_make(kind, count);
        bench_cloud(&cloud, queries);
    }
    for (int i = 2; i < argc; i++) {
        struct cloud cloud = cloud_load(argv[i], SIZE_MAX);
        bench_cloud(&cloud, queries);
    }
    return 0;
}
