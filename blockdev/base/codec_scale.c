/* codec_scale.c: the scale of floats that are integer multiples of one number, as the samples of an analogue-to-digital converter are.
 *
 * A sample of absolute values is sorted; the greatest common divisor of the differences between neighbours is one step (or a few) of the
 * scale, blurred by rounding.
 * Then the values are gone through in ascending order: each, being k steps for some k, narrows the interval in which the scale lies, and
 * the interval is always narrow enough to tell the k of the next one. What comes out is a guess: the encoder checks each value. */
#include "blockdev/base/codec_private.h"

#include <math.h>

enum { SAMPLES_MAX = 256, SAMPLES_FEW = 64, SAMPLES_PROBE = 16, SAMPLES_MIN = 8, STEPS_TRIED_MAX = 3, NEIGHBOURS = 4, RATIO_MAX = 8 };

static void sort_values(double *values, uint32_t count)
{
    static const uint32_t gaps[] = {132, 57, 23, 10, 4, 1};
    for (uint32_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < count; i++) {
            double value = values[i];
            uint32_t k = i;
            for (; k >= gap && values[k - gap] > value; k -= gap)
                values[k] = values[k - gap];
            values[k] = value;
        }
    }
}

/* Narrows the interval of the scale from a first guess; false if too many values are no multiples. */
static bool narrow_scale(const double *sorted, uint32_t count, double guess, double precision, double *least, double *most)
{
    double scale = guess;
    uint32_t misses = 0;
    *least = guess * 0.7;
    *most = guess * 1.4;
    for (uint32_t i = 0; i < count; i++) {
        double value = sorted[i], steps = (double)nearest_integer(value / scale), blur = value * precision;
        if (steps < 1 || fabs(value - steps * scale) > 0.3 * scale) {
            misses++;
        } else {
            double low = (value - blur) / steps, high = (value + blur) / steps;
            if (low > *most || high < *least) {
                misses++;
            } else {
                *least = low > *least ? low : *least;
                *most = high < *most ? high : *most;
                scale = (*least + *most) / 2;
            }
        }
        if (misses > 2 + count / 16)
            return false;
    }
    return true;
}

static uint64_t product_bits(int64_t integer, double scale, bool is_f64)
{
    double value = (double)integer * scale;
    return is_f64 ? bits_of_double(value) : bits_of_float((float)value);
}

static uint32_t count_exact(const double *sorted, uint32_t count, double scale, bool is_f64)
{
    double inverse = 1 / scale;
    uint32_t exact = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = is_f64 ? bits_of_double(sorted[i]) : bits_of_float((float)sorted[i]);
        exact += product_bits(nearest_integer(sorted[i] * inverse), scale, is_f64) == bits;
    }
    return exact;
}

/* Of the numbers in the interval the one that gives most values back: its middle and the doubles around it, the nearest float32, the
 * reciprocal of an integer. Returns how many values it gives back. */
static uint32_t choose_scale(const double *sorted, uint32_t count, double least, double most, bool is_f64, double *scale)
{
    double candidates[2 * NEIGHBOURS + 3], middle = least + (most - least) / 2;
    uint32_t candidate_count = 0, best_exact = 0;
    candidates[candidate_count++] = 1 / nearbyint(1 / middle);
    candidates[candidate_count++] = (double)(float)middle;
    uint64_t bits = bits_of_double(middle);
    for (uint64_t k = 0; k <= NEIGHBOURS; k++) {
        candidates[candidate_count++] = double_of_bits(bits + k);
        if (k > 0)
            candidates[candidate_count++] = double_of_bits(bits - k);
    }
    for (uint32_t c = 0; c < candidate_count; c++) {
        double slack = middle * 0x1p-50;
        if (!(candidates[c] >= least - slack && candidates[c] <= most + slack))
            continue;
        uint32_t exact = count_exact(sorted, count, candidates[c], is_f64);
        if (exact > best_exact) {
            best_exact = exact;
            *scale = candidates[c];
        }
        if (exact == count)
            break;
    }
    return best_exact;
}

/* Euclid's greatest common divisor of the differences, of those that are not so much larger than it that the blur of either would tell.
 * blur: differences below it are none. 0 if there is none. */
static double divide_differences(const double *sorted, uint32_t count, double blur)
{
    double divisor = sorted[0], tolerance = blur * RATIO_MAX;
    for (uint32_t i = 1; i < count; i++) {
        double difference = sorted[i] - sorted[i - 1];
        if (difference > blur && difference < divisor)
            divisor = difference;
    }
    for (uint32_t i = 1; i < count && divisor > 4 * tolerance; i++) {
        double rest = sorted[i] - sorted[i - 1];
        if (rest > RATIO_MAX * divisor)
            continue;
        rest = fabs(rest - (double)nearest_integer(rest / divisor) * divisor);
        while (rest > tolerance) {
            double next = fabs(divisor - (double)nearest_integer(divisor / rest) * rest);
            divisor = rest;
            rest = next;
        }
    }
    return divisor > blur ? divisor : 0;
}

/* Samples at most `most` values; the scale that gives nearly all of them back. */
static bool find_in_samples(struct codec_work *work, uint32_t count, uint32_t most, bool is_f64, double *scale)
{
    double *samples = work->samples, precision = is_f64 ? 0x1p-53 : 0x1p-24;
    uint32_t sampled = 0, step = count <= most ? 1 : count / most;
    for (uint32_t i = 0; i < count && sampled < most; i += step) {
        double value = fabs(codec_load_float(work, i, is_f64));
        if (value > 0 && value < (is_f64 ? 1e300 : 1e37))
            samples[sampled++] = value;
    }
    if (sampled < SAMPLES_MIN)
        return false;
    sort_values(samples, sampled);
    double step_least = divide_differences(samples, sampled, samples[sampled - 1] * precision * 8);
    if (!(samples[sampled - 1] / step_least < 0x1p40) || step_least < 1e-300)
        return false;
    for (uint32_t steps = 1; steps <= STEPS_TRIED_MAX; steps++) {
        double least, greatest;
        if (narrow_scale(samples, sampled, step_least / steps, precision, &least, &greatest))
            return choose_scale(samples, sampled, least, greatest, is_f64, scale) >= sampled - sampled / 8;
    }
    return false;
}

/* Most columns have no scale: a few values tell. Where they have one, more of them make it certain. */
bool codec_find_scale(struct codec_work *work, uint32_t count, bool is_f64, double *scale)
{
    return find_in_samples(work, count, SAMPLES_FEW, is_f64, scale) && find_in_samples(work, count, SAMPLES_MAX, is_f64, scale);
}

bool codec_seems_scaled(struct codec_work *work, uint32_t count, bool is_f64)
{
    double scale;
    return find_in_samples(work, count, SAMPLES_PROBE, is_f64, &scale);
}
