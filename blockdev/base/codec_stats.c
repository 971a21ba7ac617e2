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

static void set_sum(struct codec_stats *out, __int128 sum)
{
    out->sum_overflow = sum < INT64_MIN || sum > INT64_MAX;
    out->sum_i64 = out->sum_overflow ? 0 : (int64_t)sum;
}

/* With NULLs: value by value, each float into the partial sum of its row. */
static void sum_present_integers(const struct codec_vector *v, struct codec_stats *out)
{
    __int128 sum = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (is_null(v, i))
            continue;
        int64_t value = load_integer(v, i);
        out->count++;
        out->min_i64 = value < out->min_i64 ? value : out->min_i64;
        out->max_i64 = value > out->max_i64 ? value : out->max_i64;
        sum += value;
    }
    set_sum(out, sum);
}

static void sum_present_floats(const struct codec_vector *v, struct codec_stats *out)
{
    double sums[8] = {0};
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
        sums[i % 8] += value;
    }
    out->min_f64 += 0.0; /* -0.0 + 0.0 is 0.0 */
    out->max_f64 += 0.0;
    out->sum_f64 = codec_combine_sums(sums);
}

static void sum_integers(const struct codec_vector *v, struct codec_stats *out)
{
    struct codec_summary sums = {0};
    if (v->validity || v->type == MOTE_TYPE_BOOL) {
        sum_present_integers(v, out);
        return;
    }
    if (v->type == MOTE_TYPE_INT32)
        codec_kernels()->sum_i32(v->values, v->count, &sums);
    else
        codec_kernels()->sum_i64(v->values, v->count, &sums);
    __int128 sum = (__int128)sums.sum_high * ((__int128)1 << 32) + sums.sum_low;
    out->count = v->count;
    out->min_i64 = sums.least_i64;
    out->max_i64 = sums.most_i64;
    set_sum(out, sum);
}

static void sum_floats(const struct codec_vector *v, struct codec_stats *out)
{
    struct codec_summary sums = {0};
    if (v->validity) {
        sum_present_floats(v, out);
        return;
    }
    if (v->type == MOTE_TYPE_FLOAT32)
        codec_kernels()->sum_f32(v->values, v->count, &sums);
    else
        codec_kernels()->sum_f64(v->values, v->count, &sums);
    out->count = v->count;
    out->nan_count = sums.nan_count;
    out->min_f64 = sums.least_f64;
    out->max_f64 = sums.most_f64;
    out->sum_f64 = sums.sum_f64;
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
