/* vector_train.c: the model of the codes: mean and centroids, by some rounds of k-means over a sample of the rows that is spread evenly (vector_private.h).
 *
 * Deterministic: sample, first centroids and ties follow from the rows alone. Threads: one. Failures: MOTE_EBUDGET and what the caller's fetch returns.
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
    builder->centroid_sums = memory_alloc_zero(builder->memory, (size_t)centroids * dimension * sizeof(double));
    builder->centroid_counts = memory_alloc_zero(builder->memory, centroids * sizeof(uint32_t));
    if (!model->mean || !builder->sample || !builder->centroid_sums || !builder->centroid_counts)
        return MOTE_EBUDGET;
    model->centroid = model->mean + dimension;
    for (uint32_t i = 0; i < dimension; i++)
        model->mean[i] = (float)(builder->sums[i] / (double)builder->count * model->scale);
    return MOTE_OK;
}

void vector_train_end(struct vector_builder *builder)
{
    memory_free(builder->memory, builder->sample);
    memory_free(builder->memory, builder->centroid_sums);
    memory_free(builder->memory, builder->centroid_counts);
    builder->sample = NULL;
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

/* Round 0 fetches the sample, the others assign it. */
int vector_train_step(struct vector_builder *builder, bool *done)
{
    struct vector_model *model = &builder->model;
    uint32_t dimension = model->dimension, at = (uint32_t)builder->position;
    float *row = builder->sample + (size_t)at * dimension;
    assert(at < builder->sample_count);
    *done = false;
    if (builder->iteration == 0) {
        int result = vector_builder_vector(builder, (uint32_t)(at * builder->count / builder->sample_count), builder->vector);
        if (result)
            return result;
        vector_scale(model, builder->vector, row);
    } else {
        double square;
        uint32_t k = vector_nearest_centroid(model, row, &square);
        double *sums = builder->centroid_sums + (size_t)k * dimension;
        for (uint32_t i = 0; i < dimension; i++)
            sums[i] += (double)row[i];
        builder->centroid_counts[k]++;
    }
    if (++builder->position < builder->sample_count)
        return MOTE_OK;
    if (builder->iteration > 0)
        move_centroids(builder);
    for (uint32_t k = 0; builder->iteration == 0 && k < model->centroids; k++)
        memcpy(model->centroid + (size_t)k * dimension, builder->sample + (size_t)((uint64_t)k * builder->sample_count / model->centroids) * dimension, dimension * sizeof(float));
    builder->position = 0;
    *done = ++builder->iteration > ROUNDS;
    return MOTE_OK;
}
