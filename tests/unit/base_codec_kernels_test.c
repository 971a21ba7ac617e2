/* base_codec_kernels_test.c: every set of the codecs' inner loops that this processor can run gives what the portable one gives, bit for bit, for values of all kinds, and for hostile ones. */
#include "blockdev/base/codec_kernels.h"
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GROUPS = 5, COUNT = GROUPS * CODEC_GROUP_VALUES, FRONT = 8, ROUNDS = 300 };

static const struct codec_kernels *sets[4];
static size_t set_count;
static uint64_t random_state;

static void start(void)
{
    const char *given = getenv("MOTE_SEED");
    random_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
    set_count = codec_kernels_all(sets);
    printf("seed %llu (set MOTE_SEED to repeat); sets:", (unsigned long long)random_state);
    for (size_t i = 0; i < set_count; i++)
        printf(" %s", sets[i]->name);
    printf("\n");
    cr_assert_eq(sets[0], &codec_kernels_portable);
    cr_assert_eq(codec_kernels(), sets[set_count - 1]);
}

/* Numbers of one magnitude, or any, with extremes between them. */
static uint64_t draw(uint32_t round)
{
    static const uint64_t extremes[] = {0, 1, UINT64_MAX, INT64_MAX, 1ull << 63, UINT32_MAX, INT32_MAX, 1ull << 31, 1ull << 51, 0x7ff0000000000000, 0x7ff8000000000001, 0x8000000000000000};
    uint64_t number = codec_check_random(&random_state);
    if (round % 3 == 0 && number % 29 == 0)
        return extremes[number / 29 % (sizeof extremes / sizeof *extremes)];
    return number >> (round % 64);
}

struct lanes {
    uint64_t front[FRONT], values[COUNT];
};

static void fill_64(struct lanes *lanes, uint32_t round)
{
    for (int i = 0; i < FRONT; i++)
        lanes->front[i] = draw(round);
    for (int i = 0; i < COUNT; i++)
        lanes->values[i] = draw(round);
}

static void fill_32(struct lanes *lanes, uint32_t round)
{
    uint32_t *all = (uint32_t *)lanes;
    for (int i = 0; i < 2 * (FRONT + COUNT); i++)
        all[i] = (uint32_t)draw(round % 32);
}

static void expect_range(const struct codec_range *a, const struct codec_range *b, uint32_t groups, const char *what)
{
    cr_assert_eq(a->least, b->least, "%s", what);
    cr_assert_eq(memcmp(a->most, b->most, groups * sizeof *a->most), 0, "%s", what);
}

Test(base_codec_kernels, scans_are_alike)
{
    static struct lanes in;
    static uint64_t out[2][COUNT];
    struct codec_range values[2], deltas[2];
    start();
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (size_t s = 1; s < set_count; s++) {
            const struct codec_kernels *both[2] = {sets[0], sets[s]};
            fill_64(&in, round);
            for (int k = 0; k < 2; k++)
                both[k]->scan_64(in.values, GROUPS, out[k], &values[k], &deltas[k]);
            expect_range(&values[0], &values[1], GROUPS, "values, 64 bits");
            expect_range(&deltas[0], &deltas[1], GROUPS, "deltas, 64 bits");
            cr_assert_eq(memcmp(out[0], out[1], sizeof out[0]), 0);
            for (int k = 0; k < 2; k++)
                both[k]->scan_second_64(in.values, GROUPS, out[k], &deltas[k]);
            expect_range(&deltas[0], &deltas[1], GROUPS, "second deltas, 64 bits");
            cr_assert_eq(memcmp(out[0], out[1], sizeof out[0]), 0);
            fill_32(&in, round);
            const uint32_t *narrow = (const uint32_t *)in.values;
            for (int k = 0; k < 2; k++)
                both[k]->scan_32(narrow, GROUPS, (uint32_t *)out[k], &values[k], &deltas[k]);
            expect_range(&values[0], &values[1], GROUPS, "values, 32 bits");
            expect_range(&deltas[0], &deltas[1], GROUPS, "deltas, 32 bits");
            cr_assert_eq(memcmp(out[0], out[1], COUNT * 4), 0);
            for (int k = 0; k < 2; k++)
                both[k]->scan_second_32(narrow, GROUPS, (uint32_t *)out[k], &deltas[k]);
            expect_range(&deltas[0], &deltas[1], GROUPS, "second deltas, 32 bits");
            cr_assert_eq(memcmp(out[0], out[1], COUNT * 4), 0);
        }
}

Test(base_codec_kernels, packing_gives_numbers_back)
{
    uint64_t numbers[CODEC_GROUP_VALUES], back[CODEC_GROUP_VALUES];
    uint8_t *bytes[2];
    start();
    for (uint32_t width = 0; width <= 64; width++)
        for (uint32_t eights = 1; eights <= 8; eights++) {
            uint64_t subtract = draw(width);
            const uint8_t width_byte = (uint8_t)width;
            size_t room = eights * width + CODEC_PACK_SLACK_BYTES;
            for (int i = 0; i < CODEC_GROUP_VALUES; i++)
                numbers[i] = (width ? codec_check_random(&random_state) >> (64 - width) : 0) + subtract;
            for (size_t s = 0; s < set_count; s++) {
                for (int k = 0; k < 2; k++)
                    bytes[k] = calloc(1, 8 * width + CODEC_UNPACK_SLACK_BYTES);
                uint8_t *exact = malloc(room);
                sets[s]->pack_64(numbers, subtract, eights, width, exact);
                memcpy(bytes[0], exact, eights * width);
                sets[0]->pack_64(numbers, subtract, eights, width, exact);
                memcpy(bytes[1], exact, eights * width);
                cr_assert_eq(memcmp(bytes[0], bytes[1], eights * width), 0, "%u bits", width);
                struct codec_packed packed = {.in = bytes[0], .widths = &width_byte, .base = subtract};
                sets[s]->decode_64(&packed, 1, back);
                cr_assert_eq(memcmp(back, numbers, eights * 64), 0, "%s, %u bits", sets[s]->name, width);
                if (width <= 32) {
                    uint32_t narrow[CODEC_GROUP_VALUES], narrow_back[CODEC_GROUP_VALUES];
                    for (int i = 0; i < CODEC_GROUP_VALUES; i++)
                        narrow[i] = (uint32_t)numbers[i];
                    sets[s]->pack_32(narrow, (uint32_t)subtract, eights, width, exact);
                    cr_assert_eq(memcmp(bytes[1], exact, eights * width), 0, "%s, %u bits", sets[s]->name, width);
                    packed = (struct codec_packed){.in = bytes[0], .widths = &width_byte, .base = subtract};
                    sets[s]->decode_32(&packed, 1, narrow_back);
                    cr_assert_eq(memcmp(narrow_back, narrow, eights * 32), 0, "%s, %u bits", sets[s]->name, width);
                }
                free(exact);
                free(bytes[0]);
                free(bytes[1]);
            }
        }
}

Test(base_codec_kernels, whole_quotients_are_found)
{
    static struct lanes in;
    static uint64_t out[4][COUNT];
    start();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t factor = round % 2 ? 1000 : 1000000, origin = draw(round);
        for (int i = 0; i < COUNT; i++)
            in.values[i] = origin + (i ? (codec_check_random(&random_state) % 2000000 - 1000000) * factor : 0);
        if (round % 5 == 0)
            in.values[codec_check_random(&random_state) % COUNT] += round % 10 ? 1 : 1ull << 51;
        bool whole = sets[0]->divide_64(in.values, GROUPS, (double)factor, out[0]);
        cr_assert_eq(whole, round % 5 != 0, "round %u", round);
        for (int i = 0; whole && i < COUNT; i++)
            cr_assert_eq(in.values[0] + out[0][i] * factor, in.values[i]);
        for (size_t s = 1; s < set_count; s++) {
            cr_assert_eq(sets[s]->divide_64(in.values, GROUPS, (double)factor, out[s]), whole);
            cr_assert(!whole || memcmp(out[0], out[s], sizeof out[0]) == 0);
        }
    }
}

/* Decimals, multiples of a scale, and whatever else. */
static void fill_floats(uint64_t *wide, uint32_t *narrow, uint32_t round)
{
    static const double tens[] = {1, 10, 1e3, 1e6, 1e10};
    for (int i = 0; i < COUNT; i++) {
        uint64_t number = codec_check_random(&random_state);
        double value = (double)((int64_t)number >> (20 + round % 40)) / tens[round % 5];
        if (round % 7 == 0)
            value = double_of_bits(draw(round));
        wide[i] = bits_of_double(number % 17 ? value : value * 0.000208615);
        narrow[i] = round % 7 == 0 ? (uint32_t)draw(round % 32) : bits_of_float((float)value);
    }
}

#define ALIKE(call_0, call_s, a, b, bytes)                                                                                                                                                                 \
    do {                                                                                                                                                                                                   \
        call_0;                                                                                                                                                                                            \
        call_s;                                                                                                                                                                                            \
        cr_assert_eq(memcmp(a, b, bytes), 0, #call_0 ", round %u", round);                                                                                                                                 \
        cr_assert_eq(memcmp(misses[0], misses[1], sizeof misses[0]), 0, #call_0 ", round %u", round);                                                                                                      \
    } while (0)

/* Whole words as values. */
static void convert(const struct codec_kernels *kernels, uint32_t lane, const void *integers, uint32_t conversion, double factor, void *out)
{
    static uint8_t room[COUNT * 8 + CODEC_UNPACK_SLACK_BYTES];
    uint8_t widths[GROUPS];
    memcpy(room, integers, COUNT * lane / 8);
    memset(widths, (int)lane, sizeof widths);
    struct codec_packed packed = {.in = room, .widths = widths, .conversion = conversion, .factor = factor};
    (lane == 64 ? kernels->decode_64 : kernels->decode_32)(&packed, GROUPS, out);
}

Test(base_codec_kernels, floats_are_alike)
{
    static uint64_t wide[COUNT], out[2][COUNT];
    static uint32_t narrow[COUNT], half[2][COUNT];
    uint64_t misses[2][GROUPS] = {{0}};
    start();
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (size_t s = 1; s < set_count; s++) {
            const struct codec_kernels *p = sets[0], *k = sets[s];
            double ten = pow(10, round % 11), scale = 0.000208615 * (1 + round % 3);
            fill_floats(wide, narrow, round);
            ALIKE(p->decimals_f32(narrow, GROUPS, (float)ten, half[0], misses[0]), k->decimals_f32(narrow, GROUPS, (float)ten, half[1], misses[1]), half[0], half[1], sizeof half[0]);
            ALIKE(convert(p, 32, half[0], CODEC_CONVERT_DECIMALS, ten, out[0]), convert(k, 32, half[0], CODEC_CONVERT_DECIMALS, ten, out[1]), out[0], out[1], COUNT * 4);
            for (int i = 0; i < COUNT; i++)
                cr_assert((misses[0][i / 64] >> (i % 64) & 1) || ((uint32_t *)out[0])[i] == narrow[i]);
            ALIKE(p->decimals_f32_exact(narrow, GROUPS, ten, half[0], misses[0]), k->decimals_f32_exact(narrow, GROUPS, ten, half[1], misses[1]), half[0], half[1], sizeof half[0]);
            ALIKE(convert(p, 32, half[0], CODEC_CONVERT_DECIMALS_EXACT, ten, out[0]), convert(k, 32, half[0], CODEC_CONVERT_DECIMALS_EXACT, ten, out[1]), out[0], out[1], COUNT * 4);
            ALIKE(p->scaled_f32(narrow, GROUPS, scale, half[0], misses[0]), k->scaled_f32(narrow, GROUPS, scale, half[1], misses[1]), half[0], half[1], sizeof half[0]);
            ALIKE(convert(p, 32, half[0], CODEC_CONVERT_SCALED, scale, out[0]), convert(k, 32, half[0], CODEC_CONVERT_SCALED, scale, out[1]), out[0], out[1], COUNT * 4);
            ALIKE(p->decimals_f64_half(wide, GROUPS, ten, half[0], misses[0]), k->decimals_f64_half(wide, GROUPS, ten, half[1], misses[1]), half[0], half[1], sizeof half[0]);
            ALIKE(convert(p, 32, half[0], CODEC_CONVERT_DECIMALS_F64, ten, out[0]), convert(k, 32, half[0], CODEC_CONVERT_DECIMALS_F64, ten, out[1]), out[0], out[1], sizeof out[0]);
            for (int i = 0; i < COUNT; i++)
                cr_assert((misses[0][i / 64] >> (i % 64) & 1) || out[0][i] == wide[i]);
            ALIKE(p->scaled_f64_half(wide, GROUPS, scale, half[0], misses[0]), k->scaled_f64_half(wide, GROUPS, scale, half[1], misses[1]), half[0], half[1], sizeof half[0]);
            ALIKE(convert(p, 32, half[0], CODEC_CONVERT_SCALED_F64, scale, out[0]), convert(k, 32, half[0], CODEC_CONVERT_SCALED_F64, scale, out[1]), out[0], out[1], sizeof out[0]);
            ALIKE(p->decimals_f64(wide, GROUPS, ten, out[0], misses[0]), k->decimals_f64(wide, GROUPS, ten, out[1], misses[1]), out[0], out[1], sizeof out[0]);
            ALIKE(p->scaled_f64(wide, GROUPS, scale, out[0], misses[0]), k->scaled_f64(wide, GROUPS, scale, out[1], misses[1]), out[0], out[1], sizeof out[0]);
            static struct lanes hostile;
            fill_64(&hostile, round);
            ALIKE(convert(p, 64, hostile.values, CODEC_CONVERT_DECIMALS, ten, out[0]), convert(k, 64, hostile.values, CODEC_CONVERT_DECIMALS, ten, out[1]), out[0], out[1], sizeof out[0]);
            ALIKE(convert(p, 64, hostile.values, CODEC_CONVERT_SCALED, scale, out[0]), convert(k, 64, hostile.values, CODEC_CONVERT_SCALED, scale, out[1]), out[0], out[1], sizeof out[0]);
        }
}

static void expect_summary(const struct codec_summary *a, const struct codec_summary *b, size_t count, const char *what)
{
    cr_assert(a->least_i64 == b->least_i64 && a->most_i64 == b->most_i64, "%s of %zu", what, count);
    cr_assert((__int128)a->sum_high * ((__int128)1 << 32) + a->sum_low == (__int128)b->sum_high * ((__int128)1 << 32) + b->sum_low, "%s of %zu", what, count);
    cr_assert_eq(a->nan_count, b->nan_count, "%s of %zu", what, count);
    cr_assert(bits_of_double(a->least_f64) == bits_of_double(b->least_f64) && bits_of_double(a->most_f64) == bits_of_double(b->most_f64), "%s of %zu", what, count);
    cr_assert(bits_of_double(a->sum_f64) == bits_of_double(b->sum_f64) || (isnan(a->sum_f64) && isnan(b->sum_f64)), "%s of %zu", what, count);
}

Test(base_codec_kernels, sums_are_alike)
{
    static struct lanes in;
    static uint32_t narrow[COUNT];
    start();
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (size_t s = 1; s < set_count; s++) {
            size_t count = round % COUNT, skip = round % 3 * 4; /* any alignment of the type, and more */
            struct codec_summary sums[2];
            const uint8_t *at = (const uint8_t *)in.values + skip;
            memset(sums, 0, sizeof sums);
            fill_64(&in, round);
            count = count > 4 ? count - 4 : count;
            sets[0]->sum_i64(at, count, &sums[0]);
            sets[s]->sum_i64(at, count, &sums[1]);
            expect_summary(&sums[0], &sums[1], count, "int64");
            sets[0]->sum_i32(at, count, &sums[0]);
            sets[s]->sum_i32(at, count, &sums[1]);
            expect_summary(&sums[0], &sums[1], count, "int32");
            memset(sums, 0, sizeof sums);
            fill_floats(in.values, narrow, round);
            sets[0]->sum_f64(at, count, &sums[0]);
            sets[s]->sum_f64(at, count, &sums[1]);
            expect_summary(&sums[0], &sums[1], count, "float64");
            sets[0]->sum_f32(narrow, count, &sums[0]);
            sets[s]->sum_f32(narrow, count, &sums[1]);
            expect_summary(&sums[0], &sums[1], count, "float32");
        }
}
