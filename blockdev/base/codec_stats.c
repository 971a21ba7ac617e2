/* codec_stats.c: the zone map of a vector (codec.h): counts, least, most and sum of the values that are not NULL. Pure functions. */
#include "blockdev/base/codec_private.h"
#include "include/mote.h"

#include <math.h>

static inline bool is_null(const struct codec_vector *v, size_t i) { return v->validity && !(v->validity[i / 8] >> (i % 8) & 1); }

static int64_t load_integer(const struct codec_vector *v, size_t i)
{
    const uint8_t *values = v->values;
    int64_t wide;
    int32_t narrow;
    switch (v->type) {
    case MOTE_TYPE_BOOL:
        return values[i];
    case MOTE_TYPE_INT32:
        memcpy(&narrow, values + i * 4, 4);
        return narrow;
    default:
        memcpy(&wide, values + i * 8, 8);
        return wide;
    }
}

static double load_float(const struct codec_vector *v, size_t i)
{
    const uint8_t *values = v->values;
    double wide;
    float narrow;
    if (v->type == MOTE_TYPE_FLOAT32) {
        memcpy(&narrow, values + i * 4, 4);
        return (double)narrow;
    }
    memcpy(&wide, values + i * 8, 8);
    return wide;
}

static void sum_integers(const struct codec_vector *v, struct codec_stats *out)
{
    int64_t sum = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (is_null(v, i))
            continue;
        int64_t value = load_integer(v, i);
        out->count++;
        out->min_i64 = value < out->min_i64 ? value : out->min_i64;
        out->max_i64 = value > out->max_i64 ? value : out->max_i64;
        out->sum_overflow |= __builtin_add_overflow(sum, value, &sum);
    }
    out->sum_i64 = out->sum_overflow ? 0 : sum;
}

static void sum_floats(const struct codec_vector *v, struct codec_stats *out)
{
    for (size_t i = 0; i < v->count; i++) {
        if (is_null(v, i))
            continue;
        double value = load_float(v, i);
        out->count++;
        if (isnan(value)) {
            out->nan_count++;
            continue;
        }
        out->min_f64 = value < out->min_f64 ? value : out->min_f64;
        out->max_f64 = value > out->max_f64 ? value : out->max_f64;
        out->sum_f64 += value;
    }
}

void codec_stats(const struct codec_vector *v, struct codec_stats *out)
{
    *out = (struct codec_stats){.min_i64 = INT64_MAX, .max_i64 = INT64_MIN, .min_f64 = INFINITY, .max_f64 = -INFINITY};
    switch (v->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_TIMESTAMP:
    case MOTE_TYPE_BOOL:
        sum_integers(v, out);
        break;
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_FLOAT32:
        out->is_float = true;
        sum_floats(v, out);
        break;
    default:
        for (size_t i = 0; i < v->count; i++)
            out->count += !is_null(v, i);
    }
    out->null_count = v->count - out->count;
}
