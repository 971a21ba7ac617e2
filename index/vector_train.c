/* vector_train.c: the model of the codes: mean and centroids, by some rounds of k-means over a sample of the rows that is spread evenly (vector_private.h). The first centroids are drawn one after the other with the chance of each row
 * proportional to its squared distance from those before (k-means++, Arthur and Vassilvitskii 2007), so that clusters have one of their own, and with it an entry of the graph.
 *
 * Deterministic: sample, first centroids and ties follow from the rows and the seed. Threads: one. Failures: MOTE_EBUDGET and what the caller's fetch returns.
 */
#include <assert.h>

#include "blockdev/base/memory.h"
#include "index/vector_private.h"

enum { ROUNDS = 5, SAMPLE_PER_CENTROID = 32 };

int vector_train_begin(struct vector_builder *builder)
{
    struct vector_model *model = &builder->model;
    uint32_t dimension = model->dimension, centroids = model->centroids;
    uint64_t wanted = (uint64_t)centroids * SAMPLE_PER_CENTROID;
    builder->sample_count = (uint32_t)(wanted < builder->count ? wanted : builder->count);
    model->mean = memory_alloc_zero(builder->memory, vector_model_floats(dimension, centroids) * sizeof(float));
    builder->sample = memory_alloc(builder->memory, (size_t)builder->sample_count * dimension * sizeof(float));
    builder->sample_squares = memory_alloc(builder->memory, builder->sample_count * sizeof(double));
    builder->random = builder->options.seed | 1ull << 33;
    builder->centroid_sums = memory_alloc_zero(builder->memory, (size_t)centroids * dimension * sizeof(double));
    builder->centroid_counts = memory_alloc_zero(builder->memory, centroids * sizeof(uint32_t));
    if (!model->mean || !builder->sample || !builder->sample_squares || !builder->centroid_sums || !builder->centroid_counts)
        return MOTE_EBUDGET;
    model->centroid = model->mean + dimension;
    for (uint32_t i = 0; i < dimension; i++)
        model->mean[i] = (float)(builder->sums[i] / (double)builder->count * model->scale);
    return MOTE_OK;
}

void vector_train_end(struct vector_builder *builder)
{
    memory_free(builder->memory, builder->sample);
    memory_free(builder->memory, builder->sample_squares);
    memory_free(builder->memory, builder->centroid_sums);
    memory_free(builder->memory, builder->centroid_counts);
    builder->sample = NULL;
    builder->sample_squares = NULL;
    builder->centroid_sums = NULL;
    builder->centroid_counts = NULL;
}

static void move_centroids(struct vector_builder *builder)
{
    struct vector_model *model = &builder->model;
    for (uint32_t k = 0; k < model->centroids; k++) {
        double *sums = builder->centroid_sums + (size_t)k * model->dimension;
        float *centroid = model->centroid + (size_t)k * model->dimension;
        /* A centroid that nothing is near to stays where it is. */
        for (uint32_t i = 0; builder->centroid_counts[k] > 0 && i < model->dimension; i++)
            centroid[i] = (float)(sums[i] / builder->centroid_counts[k]);
        builder->centroid_counts[k] = 0;
    }
    memset(builder->centroid_sums, 0, (size_t)model->centroids * model->dimension * sizeof(double));
}

static int fetch_sample(struct vector_builder *builder, uint32_t at)
{
    int result = vector_builder_vector(builder, (uint32_t)(at * builder->count / builder->sample_count), builder->vector);
    if (!result)
        vector_scale(&builder->model, builder->vector, builder->sample + (size_t)at * builder->model.dimension);
    return result;
}

/* The k-th centroid: a row of the sample, by chance. */
static void draw_centroid(struct vector_builder *builder, uint32_t k)
{
    struct vector_model *model = &builder->model;
    const struct vector_kernels *kernels = vector_kernels();
    uint32_t dimension = model->dimension, chosen = builder->sample_count / 2;
    float *centroid = model->centroid + (size_t)k * dimension;
    double total = 0;
    for (uint32_t i = 0; k > 0 && i < builder->sample_count; i++)
        total += builder->sample_squares[i];
    double drawn = total * ((double)(vector_random(&builder->random) >> 11) * 0x1p-53);
    for (uint32_t i = 0; total > 0 && i < builder->sample_count; i++) {
        chosen = builder->sample_squares[i] > 0 ? i : chosen;
        drawn -= builder->sample_squares[i];
        if (drawn < 0)
            break;
    }
    memcpy(centroid, builder->sample + (size_t)chosen * dimension, dimension * sizeof(float));
    for (uint32_t i = 0; i < builder->sample_count; i++) {
        double square = kernels->square(builder->sample + (size_t)i * dimension, (const uint8_t *)(const void *)centroid, dimension);
        builder->sample_squares[i] = k == 0 || square < builder->sample_squares[i] ? square : builder->sample_squares[i];
    }
}

static void assign_sample(struct vector_builder *builder, uint32_t at)
{
    struct vector_model *model = &builder->model;
    const float *row = builder->sample + (size_t)at * model->dimension;
    double square;
    uint32_t k = vector_nearest_centroid(model, row, &square);
    double *sums = builder->centroid_sums + (size_t)k * model->dimension;
    for (uint32_t i = 0; i < model->dimension; i++)
        sums[i] += (double)row[i];
    builder->centroid_counts[k]++;
}

/* Round 0 fetches the sample, round 1 draws the centroids, the others move them. */
int vector_train_step(struct vector_builder *builder, bool *done)
{
    uint32_t at = (uint32_t)builder->position, rows = builder->iteration == 1 ? builder->model.centroids : builder->sample_count;
    int result = MOTE_OK;
    assert(at < rows);
    *done = false;
    if (builder->iteration == 0)
        result = fetch_sample(builder, at);
    else if (builder->iteration == 1)
        draw_centroid(builder, at);
    else
        assign_sample(builder, at);
    if (result || ++builder->position < rows)
        return result;
    if (builder->iteration > 1)
        move_centroids(builder);
    builder->position = 0;
    *done = ++builder->iteration > ROUNDS + 1;
    return MOTE_OK;
}
