/* spatial_clouds.h: the clouds and the questions of spatial_bench and nanoflann_bench, the same for both: C and C++. Header only; what fails ends the program. */
#ifndef MOTE_BENCH_SPATIAL_CLOUDS_H
#define MOTE_BENCH_SPATIAL_CLOUDS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLOUD_QUERIES_MAX = 2000, CLOUD_RUNS = 5 };

struct cloud {
    char name[64];
    size_t count;
    double (*points)[3];
    double extent; /* of its longest side, outliers left out */
};

static inline double cloud_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline void cloud_fail(const char *what)
{
    fprintf(stderr, "spatial clouds: %s\n", what);
    exit(1);
}

static inline double cloud_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-53;
}

static inline int cloud_compare(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Between the first and the last hundredth of a sample, the longest of the three sides. */
static inline void cloud_measure(struct cloud *cloud)
{
    double sample[999];
    size_t step = cloud->count / 999 + 1, taken = 0;
    cloud->extent = 0;
    for (int axis = 0; axis < 3; axis++) {
        taken = 0;
        for (size_t i = 0; i < cloud->count && taken < 999; i += step)
            sample[taken++] = cloud->points[i][axis];
        qsort(sample, taken, sizeof *sample, cloud_compare);
        double side = sample[taken - 1 - taken / 100] - sample[taken / 100];
        cloud->extent = side > cloud->extent ? side : cloud->extent;
    }
}

/* kind 0: uniform, all bits of float64; 1: clusters; 2: a surface of float32. */
static inline struct cloud cloud_make(int kind, size_t count)
{
    static const char *const names[] = {"uniform, float64", "clusters, float64", "surface, float32"};
    struct cloud cloud;
    uint64_t state = 88172645463325252u;
    memset(&cloud, 0, sizeof cloud);
    snprintf(cloud.name, sizeof cloud.name, "%s", names[kind]);
    cloud.count = count;
    cloud.points = (double(*)[3])malloc(count * sizeof *cloud.points);
    if (!cloud.points)
        cloud_fail("out of memory");
    for (size_t i = 0; i < count; i++) {
        double a = cloud_random(&state), b = cloud_random(&state), c = cloud_random(&state), *p = cloud.points[i];
        if (kind == 0) {
            p[0] = a, p[1] = b, p[2] = c;
        } else if (kind == 1) {
            size_t cluster = (size_t)(cloud_random(&state) * 300);
            p[0] = (double)(cluster * 7919 % 997) / 10 + a * b, p[1] = (double)(cluster * 104729 % 991) / 10 + b * c, p[2] = (double)(cluster * 1299709 % 983) / 10 + c * a;
        } else {
            volatile float x = (float)(20 * a - 10), y = (float)(20 * b - 10), z = (float)(sin(a * 9) + cos(b * 7) + 0.01 * c); /* volatile: gcc 12 loses conversions to and fro */
            p[0] = (double)x, p[1] = (double)y, p[2] = (double)z;
        }
    }
    cloud_measure(&cloud);
    return cloud;
}

/* A file of float32 triples. */
static inline struct cloud cloud_load(const char *path, size_t count_max)
{
    struct cloud cloud;
    memset(&cloud, 0, sizeof cloud);
    const char *name = strrchr(path, '/');
    snprintf(cloud.name, sizeof cloud.name, "%.40s", name ? name + 1 : path);
    FILE *file = fopen(path, "rb");
    if (!file)
        cloud_fail("a cloud cannot be read");
    fseek(file, 0, SEEK_END);
    cloud.count = (size_t)ftell(file) / 12;
    cloud.count = cloud.count < count_max ? cloud.count : count_max;
    rewind(file);
    cloud.points = (double(*)[3])malloc((cloud.count + 1) * sizeof *cloud.points);
    for (size_t i = 0; cloud.points && i < cloud.count; i++) {
        float read[3];
        if (fread(read, sizeof *read, 3, file) != 3)
            cloud_fail("a cloud is shorter than it says");
        for (int axis = 0; axis < 3; axis++)
            cloud.points[i][axis] = (double)read[axis];
    }
    fclose(file);
    if (!cloud.points || cloud.count == 0)
        cloud_fail("a cloud is empty, or out of memory");
    cloud_measure(&cloud);
    return cloud;
}

/* Query number i: near a point of the cloud, a hundredth of its extent away at most. */
static inline void cloud_centre(const struct cloud *cloud, size_t i, double centre[3])
{
    uint64_t state = 0x9e3779b97f4a7c15u * (i + 1);
    for (int skip = 0; skip < 3; skip++)
        (void)cloud_random(&state);
    const double *p = cloud->points[(size_t)(cloud_random(&state) * (double)cloud->count)];
    for (int axis = 0; axis < 3; axis++)
        centre[axis] = p[axis] + (cloud_random(&state) - 0.5) * 0.02 * cloud->extent;
}

static inline double cloud_median(double *runs, int count)
{
    qsort(runs, (size_t)count, sizeof *runs, cloud_compare);
    return runs[count / 2];
}

#endif
