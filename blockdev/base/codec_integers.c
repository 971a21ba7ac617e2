/* codec_integers.c: sequences of at most 1024 integers by frame of reference, differences, or differences of differences, bit-packed in
 * groups of 64 with a width each (codec_format.h). All arithmetic is on uint64, modulo 2^64. */
#include "blockdev/base/codec_private.h"

#include <assert.h>

static const int64_t ten_powers[CODEC_TEN_POWER_MAX + 1] = {1,
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

static inline uint64_t zigzag(uint64_t value) { return value << 1 ^ (uint64_t)((int64_t)value >> 63); }
static inline uint64_t unzigzag(uint64_t value) { return value >> 1 ^ (0 - (value & 1)); }
static inline uint32_t width_of(uint64_t value) { return value ? 64u - (uint32_t)__builtin_clzll(value) : 0; }

/* Fills in the widths and the size; fixed_bytes: what is stored before the packed numbers. */
static void size_plan(struct integer_plan *plan, uint32_t fixed_bytes)
{
    uint32_t bytes = fixed_bytes + 8, group = 0;
    for (uint32_t i = 0; i < plan->count; i += CODEC_GROUP_VALUES, group++) {
        uint32_t count = plan->count - i < CODEC_GROUP_VALUES ? plan->count - i : CODEC_GROUP_VALUES;
        uint64_t all = 0;
        for (uint32_t k = 0; k < count; k++)
            all |= plan->numbers[i + k] - plan->subtract;
        uint32_t width = width_of(all);
        plan->widths[group] = (uint8_t)width;
        bytes += 1 + (count * width + 7) / 8;
    }
    plan->bytes = bytes;
}

/* The largest power of ten that divides all the differences. */
static uint32_t find_power(const int64_t *differences, uint32_t count)
{
    uint32_t power = CODEC_TEN_POWER_MAX;
    bool any = false;
    for (uint32_t i = 0; i < count && power > 0; i++) {
        if (differences[i] == 0)
            continue;
        any = true;
        while (power > 0 && differences[i] % ten_powers[power] != 0)
            power--;
    }
    return any ? power : 0;
}

static void plan_for(const int64_t *integers, uint32_t count, int64_t least, uint32_t power, uint64_t *numbers, struct integer_plan *plan)
{
    *plan = (struct integer_plan){.codec = CODEC_FOR, .power = power, .count = count, .base = (uint64_t)least, .numbers = numbers};
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = (uint64_t)integers[i] - (uint64_t)least;
    if (power > 0) {
        uint64_t divisor = (uint64_t)ten_powers[power];
        for (uint32_t i = 0; i < count; i++)
            numbers[i] /= divisor;
    }
    size_plan(plan, 0);
}

/* differences: divided already. order: 1 DELTA, 2 DOD. */
static void plan_differences(const int64_t *integers, const int64_t *differences, uint32_t count, uint32_t order, uint32_t power,
                             uint64_t *numbers, struct integer_plan *plan)
{
    uint32_t skip = order - 1, packed = count - order;
    *plan = (struct integer_plan){
        .codec = order == 1 ? CODEC_DELTA : CODEC_DOD, .power = power, .count = packed, .first = integers[0], .numbers = numbers};
    if (order == 2)
        plan->first_delta = (int64_t)((uint64_t)differences[0] * (uint64_t)ten_powers[power]);
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < packed; i++) {
        uint64_t value = (uint64_t)differences[i + skip] - (order == 2 ? (uint64_t)differences[i] : 0);
        numbers[i] = zigzag(value);
        least = numbers[i] < least ? numbers[i] : least;
    }
    plan->base = plan->subtract = packed ? least : 0;
    size_plan(plan, 8 * order);
}

void codec_plan_integers(struct codec_work *work, const int64_t *integers, uint32_t count, bool divide, struct integer_plan *plan)
{
    assert(count >= 1 && count <= CODEC_CHUNK_VALUES);
    /* The differences share the room of the numbers that DOD packs: number i is written after difference i was read for the last time. */
    int64_t *differences = (int64_t *)work->packs[2];
    int64_t least = integers[0], most = integers[0];
    for (uint32_t i = 1; i < count; i++) {
        differences[i - 1] = (int64_t)((uint64_t)integers[i] - (uint64_t)integers[i - 1]);
        least = integers[i] < least ? integers[i] : least;
        most = integers[i] > most ? integers[i] : most;
    }
    uint32_t power = 0;
    if (divide && (uint64_t)most - (uint64_t)least <= INT64_MAX) { /* beyond, differences wrap and their divisors mean nothing */
        power = find_power(differences, count - 1);
        for (uint32_t i = 0; power > 0 && i + 1 < count; i++)
            differences[i] /= ten_powers[power];
    }
    struct integer_plan trial;
    plan_for(integers, count, least, power, work->packs[0], plan);
    plan_differences(integers, differences, count, 1, power, work->packs[1], &trial);
    if (count < 3 || trial.bytes >= plan->bytes + plan->bytes / 4) {
        if (trial.bytes < plan->bytes)
            *plan = trial;
        return; /* differences that are far wider than the values do not get narrower by differencing again */
    }
    if (trial.bytes < plan->bytes)
        *plan = trial;
    plan_differences(integers, differences, count, 2, power, work->packs[2], &trial);
    if (trial.bytes < plan->bytes)
        *plan = trial;
}

void codec_write_integers(const struct integer_plan *plan, uint8_t *out)
{
    uint8_t *at = out;
    if (plan->codec != CODEC_FOR) {
        store_u64(at, (uint64_t)plan->first);
        at += 8;
    }
    if (plan->codec == CODEC_DOD) {
        store_u64(at, (uint64_t)plan->first_delta);
        at += 8;
    }
    store_u64(at, plan->base);
    at += 8;
    uint32_t groups = (plan->count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES;
    memcpy(at, plan->widths, groups);
    at += groups;
    for (uint32_t group = 0; group < groups; group++) {
        uint32_t i = group * CODEC_GROUP_VALUES;
        uint32_t count = plan->count - i < CODEC_GROUP_VALUES ? plan->count - i : CODEC_GROUP_VALUES;
        at += codec_pack(plan->numbers + i, count, plan->subtract, plan->widths[group], at);
    }
    assert((size_t)(at - out) == plan->bytes);
}

/* The packed numbers, without their base, which is returned. */
static bool read_packed(struct byte_reader *reader, uint32_t count, struct codec_work *work, uint64_t *numbers, uint64_t *base)
{
    *base = read_u64(reader);
    uint32_t groups = (count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES;
    const uint8_t *widths = read_bytes(reader, groups);
    if (!widths)
        return false;
    for (uint32_t group = 0; group < groups; group++) {
        uint32_t i = group * CODEC_GROUP_VALUES;
        uint32_t in_group = count - i < CODEC_GROUP_VALUES ? count - i : CODEC_GROUP_VALUES;
        size_t readable_bytes = byte_reader_left(reader);
        if (widths[group] > 64)
            return false;
        const uint8_t *bytes = read_bytes(reader, ((size_t)in_group * widths[group] + 7) / 8);
        if (!bytes)
            return false;
        codec_unpack(bytes, readable_bytes, in_group, widths[group], numbers + i, work->padded);
    }
    return true;
}

bool codec_read_integers(struct byte_reader *reader, uint32_t codec, uint32_t power, uint32_t count, struct codec_work *work,
                         int64_t *integers)
{
    assert(count >= 1 && count <= CODEC_CHUNK_VALUES);
    uint32_t order = codec == CODEC_FOR ? 0 : codec == CODEC_DELTA ? 1 : 2;
    if (power > CODEC_TEN_POWER_MAX || count < order)
        return false;
    uint64_t *numbers = work->packs[0], factor = (uint64_t)ten_powers[power], base;
    uint64_t value = order >= 1 ? read_u64(reader) : 0, delta = order == 2 ? read_u64(reader) : 0;
    if (!read_packed(reader, count - order, work, numbers, &base))
        return false;
    if (order == 0) {
        if (factor == 1) {
            for (uint32_t i = 0; i < count; i++)
                integers[i] = (int64_t)(base + numbers[i]);
        } else {
            for (uint32_t i = 0; i < count; i++)
                integers[i] = (int64_t)(base + numbers[i] * factor);
        }
    } else if (order == 1) {
        integers[0] = (int64_t)value;
        for (uint32_t i = 1; i < count; i++)
            integers[i] = (int64_t)(value += unzigzag(base + numbers[i - 1]) * factor);
    } else {
        integers[0] = (int64_t)value;
        integers[1] = (int64_t)(value += delta);
        for (uint32_t i = 2; i < count; i++) {
            delta += unzigzag(base + numbers[i - 2]) * factor;
            integers[i] = (int64_t)(value += delta);
        }
    }
    return true;
}
