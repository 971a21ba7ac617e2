/* codec_integers.c: sequences of at most 1024 integers of 32 or 64 bits by frame of reference, differences, or differences of differences, bit-packed in groups of 64 with a width each (codec_format.h). One pass over the values finds
 * the widths of the first two, from which their sizes follow; the third is looked at where a sample of it promises something. */
#include "blockdev/base/codec_private.h"

#include <assert.h>

static inline uint32_t width_of(uint64_t value) { return value ? 64u - (uint32_t)__builtin_clzll(value) : 0; }

#define LANE 32
#include "blockdev/base/codec_lane.h"
#define LANE 64
#include "blockdev/base/codec_lane.h"

const uint64_t codec_integer_powers_of_ten[CODEC_TEN_POWER_MAX + 1] = {1,
                                                                       10,
                                                                       100,
                                                                       1000,
                                                                       10000,
                                                                       100000,
                                                                       1000000,
                                                                       10000000,
                                                                       100000000,
                                                                       1000000000,
                                                                       10000000000,
                                                                       100000000000,
                                                                       1000000000000,
                                                                       10000000000000,
                                                                       100000000000000,
                                                                       1000000000000000,
                                                                       10000000000000000,
                                                                       100000000000000000,
                                                                       1000000000000000000};

enum { POWER_SAMPLES = 16, POWER_DIVIDED_MAX = 15 /* 10^15 < 2^51, below which doubles divide exactly */ };

/* The power of ten that divides the differences between some of the values and the first. */
static uint32_t sample_power(const void *values, bool wide, uint32_t count)
{
    const uint64_t *v64 = values;
    const uint32_t *v32 = values;
    uint32_t power = POWER_DIVIDED_MAX, step = count <= POWER_SAMPLES ? 1 : count / POWER_SAMPLES;
    bool any = false;
    for (uint32_t i = 1; i < count && power > 0; i += step) {
        uint64_t difference = wide ? v64[i] - v64[0] : (uint64_t)((int64_t)(int32_t)v32[i] - (int32_t)v32[0]);
        difference = (int64_t)difference < 0 ? 0 - difference : difference;
        any = any || difference != 0;
        while (power > 0 && difference % codec_integer_powers_of_ten[power] != 0)
            power--;
    }
    return any ? power : 0;
}

/* quotients = (values - values[0]) / ten_power; false if one is not whole. */
static bool divide_32(const uint32_t *values, uint32_t groups, double ten_power, uint32_t *quotients)
{
    double first = (double)(int32_t)values[0], inverse = 1 / ten_power, wrong = 0;
    for (uint32_t i = 0; i < groups * CODEC_GROUP_VALUES; i++) {
        double difference = (double)(int32_t)values[i] - first, quotient = (difference * inverse + CODEC_SHIFTER) - CODEC_SHIFTER, rest = difference - quotient * ten_power;
        wrong += rest * rest;
        quotients[i] = (uint32_t)(int32_t)quotient;
    }
    return wrong == 0;
}

/* The power of ten that divides all differences; quotients: of them, if it is not 0. */
static uint32_t divide_values(const struct codec_work *work, const void *values, bool wide, uint32_t count, void *quotients)
{
    uint32_t power = sample_power(values, wide, count), groups = (count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES;
    for (; power > 0; power--) {
        double ten_power = codec_powers_of_ten[power];
        if (wide ? work->kernels->divide_64(values, groups, ten_power, quotients) : divide_32(values, groups, ten_power, quotients))
            break;
    }
    return power;
}

void codec_plan_integers(struct codec_work *work, void *values, bool wide, uint32_t count, bool divide, enum plan_seconds seconds, struct integer_plan *plan)
{
    assert(count >= 1 && count <= CODEC_CHUNK_VALUES);
    uint64_t origin = wide ? *(uint64_t *)values : *(uint32_t *)values;
    uint32_t power = divide ? divide_values(work, values, wide, count, work->quotients) : 0;
    if (power)
        values = work->quotients;
    if (wide)
        plan_lane_64(work, values, count, seconds, plan);
    else
        plan_lane_32(work, values, count, seconds, plan);
    plan->wide = wide;
    plan->power = power;
    plan->origin = power ? origin : 0;
    plan->bytes += power ? 8 : 0;
}

void codec_write_integers(const struct codec_work *work, const struct integer_plan *plan, uint8_t *out)
{
    uint8_t *at = out;
    if (plan->power) {
        store_u64(at, plan->origin);
        at += 8;
    }
    at = plan->wide ? write_lane_64(work, plan, at) : write_lane_32(work, plan, at);
    assert((size_t)(at - out) == plan->bytes);
}
