/* vector_data.h: the vectors of vector_bench and of its peers, so that all are asked the same: Fashion-MNIST (Debian's dataset-fashion-mnist, 60,000 vectors and 10,000 queries of 784 pixels) turned by a seeded orthogonal matrix, so that no
 * pixel is zero and no element is an integer, or made clusters where it is not installed. Header only, C and C++; what cannot be done ends the program. */
#ifndef MOTE_BENCH_VECTOR_DATA_H
#define MOTE_BENCH_VECTOR_DATA_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VECTOR_DATA_EXACT = 100 };

struct vector_data {
    const char *name;
    size_t count, query_count, dimension;
    float *rows, *queries;
    int32_t *exact; /* VECTOR_DATA_EXACT row numbers for each query; NULL: not known */
};

static inline void vector_data_fail(const char *what)
{
    fprintf(stderr, "vector_bench: %s\n", what);
    exit(1);
}

static inline void *vector_data_alloc(size_t bytes)
{
    void *made = malloc(bytes);
    if (!made)
        vector_data_fail("out of memory");
    return made;
}

static inline double vector_data_now(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline uint64_t vector_data_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static inline double vector_data_normal(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(vector_data_random(state) >> 11) * 0x1p-53;
    return sum - 6;
}

/* Rows are orthonormal, by Gram and Schmidt, twice. */
static inline float *vector_data_matrix(size_t dimension, uint64_t seed)
{
    double *rows = (double *)vector_data_alloc(dimension * dimension * sizeof(double));
    float *matrix = (float *)vector_data_alloc(dimension * dimension * sizeof(float));
    for (size_t i = 0; i < dimension; i++) {
        double *row = rows + i * dimension, square = 0;
        for (size_t k = 0; k < dimension; k++)
            row[k] = vector_data_normal(&seed);
        for (size_t j = 0; j < 2 * i; j++) {
            const double *other = rows + j % i * dimension;
            double product = 0;
            for (size_t k = 0; k < dimension; k++)
                product += row[k] * other[k];
            for (size_t k = 0; k < dimension; k++)
                row[k] -= product * other[k];
        }
        for (size_t k = 0; k < dimension; k++)
            square += row[k] * row[k];
        for (size_t k = 0; k < dimension; k++)
            row[k] /= sqrt(square);
    }
    for (size_t i = 0; i < dimension * dimension; i++)
        matrix[i] = (float)rows[i];
    free(rows);
    return matrix;
}

/* The images of a compressed file of the MNIST format, turned; NULL: it is not there. */
static inline float *vector_data_images(const char *path, const float *matrix, size_t dimension, size_t count)
{
    char command[512];
    uint8_t header[16];
    snprintf(command, sizeof command, "gzip -dc %s 2>/dev/null", path);
    FILE *pipe = popen(command, "r");
    if (!pipe || fread(header, 1, sizeof header, pipe) != sizeof header) {
        if (pipe)
            pclose(pipe);
        return NULL;
    }
    float *rows = (float *)vector_data_alloc(count * dimension * sizeof(float));
    uint8_t *pixels = (uint8_t *)vector_data_alloc(dimension);
    memset(rows, 0, count * dimension * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        float *row = rows + i * dimension;
        if (fread(pixels, 1, dimension, pipe) != dimension)
            vector_data_fail("an image file that ends early");
        for (size_t k = 0; k < dimension; k++)
            for (size_t j = 0; pixels[k] != 0 && j < dimension; j++)
                row[j] += (float)pixels[k] * matrix[k * dimension + j];
    }
    free(pixels);
    pclose(pipe);
    return rows;
}

/* folder: where the exact answers are, or NULL. false: the images are not installed. */
static inline int vector_data_fashion(struct vector_data *data, const char *folder, size_t count)
{
    char path[512];
    float *matrix = vector_data_matrix(784, 42);
    memset(data, 0, sizeof *data);
    data->name = "Fashion-MNIST, turned";
    data->dimension = 784;
    data->count = count;
    data->query_count = 1000;
    data->rows = vector_data_images("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz", matrix, 784, count);
    data->queries = vector_data_images("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", matrix, 784, data->query_count);
    free(matrix);
    if (!data->rows || !data->queries)
        return 0;
    snprintf(path, sizeof path, "%s/vectors-fashion-mnist/gt_l2sq_first1000q_k100.i32", folder);
    FILE *file = count == 60000 ? fopen(path, "rb") : NULL;
    if (file) {
        data->exact = (int32_t *)vector_data_alloc(data->query_count * VECTOR_DATA_EXACT * sizeof(int32_t));
        if (fread(data->exact, VECTOR_DATA_EXACT * sizeof(int32_t), data->query_count, file) != data->query_count)
            vector_data_fail("exact answers that end early");
        fclose(file);
    }
    return 1;
}

/* Clusters of normal clouds in a subspace, as embeddings have them. */
static inline void vector_data_clusters(struct vector_data *data, size_t count, size_t queries, size_t dimension)
{
    enum { CLUSTERS = 64, AXES = 16 };
    uint64_t seed = 7;
    size_t all = count + queries;
    memset(data, 0, sizeof *data);
    data->name = "made clusters";
    data->count = count;
    data->query_count = queries;
    data->dimension = dimension;
    float *centres = (float *)vector_data_alloc(CLUSTERS * dimension * sizeof(float)), *axes = (float *)vector_data_alloc(AXES * dimension * sizeof(float));
    for (size_t i = 0; i < CLUSTERS * dimension; i++)
        centres[i] = (float)vector_data_normal(&seed);
    for (size_t i = 0; i < AXES * dimension; i++)
        axes[i] = (float)vector_data_normal(&seed);
    data->rows = (float *)vector_data_alloc(all * dimension * sizeof(float));
    data->queries = data->rows + count * dimension;
    for (size_t i = 0; i < all; i++) {
        float *row = data->rows + i * dimension;
        const float *centre = centres + vector_data_random(&seed) % CLUSTERS * dimension;
        for (size_t j = 0; j < dimension; j++)
            row[j] = centre[j] + 0.2f * (float)vector_data_normal(&seed);
        for (size_t a = 0; a < AXES; a++) {
            float along = 0.5f * (float)vector_data_normal(&seed);
            for (size_t j = 0; j < dimension; j++)
                row[j] += along * axes[a * dimension + j];
        }
    }
    free(centres);
    free(axes);
}

#endif
