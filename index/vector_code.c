/* vector_code.c: codes of four bits an element, the model that they refer to, and queries made ready for them (vector_format.h has the formulas).
 *
 * Every step is one rounded operation in a stated order, so that every processor makes the same code of the same vector: a verification encodes again and compares. Threads: pure. Never fails.
 */
#include <assert.h>

#include "index/vector_private.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors in memory are handed to the kernels as they stand on the device");

static const float widths[] = {1, 0.85f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f};
enum { WIDTHS = sizeof widths / sizeof *widths };
#define RESIDUAL_MIN 0x1p-100f /* smaller residuals count as zero */
#define QUERY_MAX 0x1p40

static const uint8_t *device_form(const float *vector) { return (const uint8_t *)(const void *)vector; }

void vector_scale(const struct vector_model *model, const float *vector, float *scaled)
{
    for (uint32_t i = 0; i < model->dimension; i++) {
        /* Stored vectors are at most 1 now; a query may be anything. */
        double value = (double)vector[i] * model->scale;
        value = value > QUERY_MAX ? QUERY_MAX : value;
        scaled[i] = (float)(value < -QUERY_MAX ? -QUERY_MAX : value);
    }
}

uint32_t vector_nearest_centroid(const struct vector_model *model, const float *scaled, double *square)
{
    const struct vector_kernels *kernels = vector_kernels();
    uint32_t nearest = 0;
    assert(model->centroids > 0);
    *square = INFINITY;
    for (uint32_t k = 0; k < model->centroids; k++) {
        double distance = kernels->square(scaled, device_form(model->centroid + (size_t)k * model->dimension), model->dimension);
        if (distance < *square) {
            *square = distance;
            nearest = k;
        }
    }
    return nearest;
}

static uint32_t code_of(float element, float inverse)
{
    float code = element * inverse + 8.0f;
    code = code < 0.0f ? 0.0f : code;
    return (uint32_t)(int32_t)(code > 15.0f ? 15.0f : code);
}

/* r.g and g.g of the code with this width. */
static void try_width(const float *residual, uint32_t dimension, float inverse, double *rg, double *gg)
{
    double products[4] = {0}, sums[4] = {0};
    int64_t squares = 0, total = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t code = code_of(residual[i], inverse);
        products[i % 4] += (double)residual[i] * (double)(int32_t)code;
        sums[i % 4] += (double)residual[i];
        squares += (int64_t)code * code;
        total += code;
    }
    *rg = ((products[0] + products[1]) + (products[2] + products[3])) - 7.5 * ((sums[0] + sums[1]) + (sums[2] + sums[3]));
    *gg = (double)squares - 15.0 * (double)total + 56.25 * (double)dimension;
}

static void put_nibbles(const float *residual, uint32_t dimension, float inverse, uint8_t *nibbles)
{
    uint32_t half = vector_half(dimension);
    for (uint32_t i = 0; i < half; i++) {
        uint32_t high = half + i < dimension ? code_of(residual[half + i], inverse) : 0;
        nibbles[i] = (uint8_t)(code_of(residual[i], inverse) | high << 4);
    }
}

/* (c - m).g for the code in nibbles. */
static double product_with_code(const float *centroid, const float *mean, uint32_t dimension, const uint8_t *nibbles)
{
    uint32_t half = vector_half(dimension);
    double sum = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t code = i < half ? nibbles[i] & 15u : (uint32_t)nibbles[i - half] >> 4;
        sum += ((double)centroid[i] - (double)mean[i]) * ((double)(int32_t)code - 7.5);
    }
    return sum;
}

void vector_encode(const struct vector_model *model, const float *scaled, uint32_t centroid, float *residual, uint8_t *code)
{
    uint32_t dimension = model->dimension;
    const float *c = model->centroid + (size_t)centroid * dimension;
    float most = 0;
    double square = 0, whole = 0, scale = 0, best = 0;
    assert(centroid < model->centroids);
    for (uint32_t i = 0; i < dimension; i++) {
        residual[i] = scaled[i] - c[i];
        most = fabsf(residual[i]) > most ? fabsf(residual[i]) : most;
        square += (double)residual[i] * (double)residual[i];
        whole += (double)scaled[i] * (double)scaled[i];
    }
    memset(code, 0, vector_code_bytes(dimension));
    if (most >= RESIDUAL_MIN) {
        float inverse = 0;
        for (uint32_t w = 0; w < WIDTHS; w++) {
            double rg, gg;
            float tried = 7.5f / (widths[w] * most);
            try_width(residual, dimension, tried, &rg, &gg);
            if (rg > 0 && rg * rg / gg > best) {
                best = rg * rg / gg;
                scale = square / rg;
                inverse = tried;
            }
        }
        put_nibbles(residual, dimension, inverse, code + VECTOR_CODE_HEADER_BYTES);
    }
    double bias = square + 2 * scale * product_with_code(c, model->mean, dimension, code + VECTOR_CODE_HEADER_BYTES);
    vector_store_f32(code, (float)(model->metric == VECTOR_INNER_PRODUCT ? bias - whole : bias));
    vector_store_f32(code + 4, (float)scale);
    code[8] = (uint8_t)centroid;
}

void vector_question_make(const struct vector_model *model, const float *query, float *scratch, struct vector_question *question)
{
    const struct vector_kernels *kernels = vector_kernels();
    uint32_t dimension = model->dimension, half = vector_half(dimension);
    float most = 0;
    int64_t total = 0;
    vector_scale(model, query, scratch);
    double from_mean = kernels->square(scratch, device_form(model->mean), dimension);
    for (uint32_t k = 0; k < model->centroids; k++)
        question->squares[k] = (float)(kernels->square(scratch, device_form(model->centroid + (size_t)k * dimension), dimension) - from_mean);
    for (uint32_t k = model->centroids; k < VECTOR_CENTROIDS_MAX; k++)
        question->squares[k] = INFINITY;
    for (uint32_t i = 0; i < dimension; i++) {
        scratch[i] -= model->mean[i];
        most = fabsf(scratch[i]) > most ? fabsf(scratch[i]) : most;
    }
    float step = most >= RESIDUAL_MIN ? most / 127 : 1;
    memset(question->high, 0, half);
    for (uint32_t i = 0; i < dimension; i++) {
        int8_t value = vector_round_i8(scratch[i] / step);
        if (i < half)
            question->low[i] = value;
        else
            question->high[i - half] = value;
        total += value;
    }
    question->half = half;
    question->slope = 2 * step;
    question->offset = 15 * step * (float)total;
}
