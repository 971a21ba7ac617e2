/* nanoflann_bench.cpp: what spatial_bench asks, of nanoflann's k-d tree over the same clouds: a tree in memory over an array of float64 that stays, leaves of 10 points.
 *
 *     nanoflann_bench [points [cloud.xyz.f32 ...]]
 *
 * One thread, its CPU time, medians of five runs. Built only where nanoflann.hpp is found. */
#include "bench/spatial_clouds.h"

#include <nanoflann.hpp>
#include <utility>
#include <vector>

struct adaptor {
    const struct cloud *cloud;
    size_t kdtree_get_point_count() const { return cloud->count; }
    double kdtree_get_pt(size_t index, size_t axis) const { return cloud->points[index][axis]; }
    template <class BBOX> bool kdtree_get_bbox(BBOX &) const { return false; }
};
using tree = nanoflann::KDTreeSingleIndexAdaptor<nanoflann::L2_Simple_Adaptor<double, adaptor>, adaptor, 3, uint32_t>;

static void bench_question(const struct cloud *cloud, const tree &index, const char *name, bool nearest, double size, size_t queries)
{
    double runs[CLOUD_RUNS];
    uint64_t found = 0;
    std::vector<uint32_t> ordinals(128);
    std::vector<double> squares(128);
    std::vector<std::pair<uint32_t, double>> hits;
    for (int run = 0; run < CLOUD_RUNS; run++) {
        found = 0;
        double start = cloud_now_ns();
        for (size_t i = 0; i < queries; i++) {
            double centre[3];
            cloud_centre(cloud, i, centre);
            if (nearest)
                found += index.knnSearch(centre, (size_t)size, ordinals.data(), squares.data());
            else
                found += index.radiusSearch(centre, size * size, hits, nanoflann::SearchParams(32, 0, false));
        }
        runs[run] = (cloud_now_ns() - start) / (double)queries;
    }
    double ns = cloud_median(runs, CLOUD_RUNS);
    printf("  %-30s %9.2f us  %9.0f a second  %8.1f rows\n", name, ns / 1e3, 1e9 / ns, (double)found / (double)queries);
}

static void bench_cloud(struct cloud *cloud, size_t queries)
{
    adaptor points = {cloud};
    double runs[CLOUD_RUNS];
    for (int run = 0; run < CLOUD_RUNS; run++) {
        double start = cloud_now_ns();
        tree index(3, points, nanoflann::KDTreeSingleIndexAdaptorParams(10));
        runs[run] = (cloud_now_ns() - start) / (double)cloud->count;
    }
    tree index(3, points, nanoflann::KDTreeSingleIndexAdaptorParams(10));
    printf("%s: %zu points; build %.1f ns a point; %.2f bytes a point in memory besides the points\n", cloud->name, cloud->count, cloud_median(runs, CLOUD_RUNS), (double)index.usedMemory(index) / (double)cloud->count);
    bench_question(cloud, index, "radius 1 %", false, 0.01 * cloud->extent, queries);
    bench_question(cloud, index, "nearest 1", true, 1, queries);
    bench_question(cloud, index, "nearest 10", true, 10, queries);
    bench_question(cloud, index, "nearest 100", true, 100, queries);
    free(cloud->points);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    if (count < 1 || count > 100000000)
        cloud_fail("points from 1 to 100000000");
    size_t queries = count < 10000 ? 100 : (size_t)CLOUD_QUERIES_MAX;
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
