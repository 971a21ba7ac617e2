/* base_codec_stats_test.c: zone maps of vectors, and the integers at the ends of their range through the codecs. */
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(base_codec_stats, integers_without_nulls_are_counted)
{
    static const uint8_t validity[] = {0x0d};
    int32_t values[] = {5, 1000000, -7, 3};
    struct codec_vector v = {MOTE_TYPE_INT32, 0, 4, values, NULL, validity};
    struct codec_stats stats;
    codec_stats(&v, &stats);
    cr_assert(stats.count == 3 && stats.null_count == 1 && !stats.is_float && !stats.sum_overflow);
    cr_assert(stats.min_i64 == -7 && stats.max_i64 == 5 && stats.sum_i64 == 1);
}

Test(base_codec_stats, sum_that_overflows_is_said)
{
    int64_t values[] = {INT64_MAX, 1, INT64_MIN};
    struct codec_vector v = {MOTE_TYPE_INT64, 0, 2, values, NULL, NULL};
    struct codec_stats stats;
    codec_stats(&v, &stats);
    cr_assert(stats.sum_overflow && stats.sum_i64 == 0 && stats.min_i64 == 1 && stats.max_i64 == INT64_MAX);
    v.count = 3; /* only the sum of all counts, whatever the order */
    codec_stats(&v, &stats);
    cr_assert(!stats.sum_overflow && stats.sum_i64 == 0 && stats.min_i64 == INT64_MIN && stats.max_i64 == INT64_MAX);
    values[0] = INT64_MIN;
    values[1] = -1;
    v.count = 2;
    codec_stats(&v, &stats);
    cr_assert(stats.sum_overflow && stats.sum_i64 == 0);
}

Test(base_codec_stats, nan_is_counted_apart)
{
    double values[] = {NAN, 2.5, -INFINITY, NAN};
    struct codec_vector v = {MOTE_TYPE_FLOAT64, 0, 2, values, NULL, NULL};
    struct codec_stats stats;
    codec_stats(&v, &stats);
    cr_assert(stats.is_float && stats.count == 2 && stats.nan_count == 1 && stats.sum_f64 == 2.5);
    v.count = 4;
    codec_stats(&v, &stats);
    cr_assert(stats.nan_count == 2 && stats.min_f64 == -INFINITY && stats.max_f64 == 2.5);
    v.count = 1;
    codec_stats(&v, &stats);
    cr_assert(stats.min_f64 > stats.max_f64, "no value");
    v.count = 0;
    codec_stats(&v, &stats);
    cr_assert(stats.count == 0 && stats.min_f64 > stats.max_f64);
}

/* The processor's own NaN has its sign set on x86-64, not on aarch64; what is stored must not tell where it was written. */
Test(base_codec_stats, sum_of_both_infinities_is_the_same_nan_everywhere)
{
    static const uint8_t validity[] = {0xff, 0xff};
    double wide[11] = {1, INFINITY, 2, -INFINITY, 3, 4, 5, 6, 7, 8, 9};
    float narrow[11] = {1, INFINITY, 2, -INFINITY, 3, 4, 5, 6, 7, 8, 9};
    const struct codec_vector vectors[] = {{MOTE_TYPE_FLOAT64, 0, 11, wide, NULL, NULL}, {MOTE_TYPE_FLOAT64, 0, 11, wide, NULL, validity}, {MOTE_TYPE_FLOAT32, 0, 11, narrow, NULL, NULL}, {MOTE_TYPE_FLOAT32, 0, 11, narrow, NULL, validity}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct codec_stats stats;
        uint64_t bits;
        codec_stats(&vectors[i], &stats);
        memcpy(&bits, &stats.sum_f64, sizeof bits);
        cr_assert_eq(bits, UINT64_C(0x7FF8000000000000), "%zu: %llx", i, (unsigned long long)bits);
        cr_assert(stats.nan_count == 0 && stats.min_f64 == -INFINITY && stats.max_f64 == INFINITY);
    }
}

Test(base_codec, ends_of_the_integers_come_back)
{
    int64_t wide[] = {INT64_MIN, INT64_MAX, 0, -1, 1, INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX};
    int32_t narrow[] = {INT32_MIN, INT32_MAX, 0, -1, INT32_MIN, INT32_MAX};
    int64_t tens[] = {INT64_MIN, INT64_MIN + 1000000, INT64_MIN + 5000000, INT64_MIN + 3000000};
    struct codec_vector vectors[] = {{MOTE_TYPE_INT64, 0, 9, wide, NULL, NULL},
                                     {MOTE_TYPE_TIMESTAMP, 0, 9, wide, NULL, NULL},
                                     {MOTE_TYPE_INT32, 0, 6, narrow, NULL, NULL},
                                     {MOTE_TYPE_INT64, 0, 4, tens, NULL, NULL}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct codec_check check;
        cr_assert(codec_check_round_trip(&vectors[i], 0, &check), "%zu: %s", i, check.fault);
        codec_check_free(&check);
    }
}

/* Every width of the bit-packing, from both ends of the group's length. */
Test(base_codec, every_width_comes_back)
{
    int64_t values[1024];
    uint64_t state = 99;
    for (uint32_t width = 0; width <= 64; width++) {
        for (uint32_t count = 1; count <= 1024; count = count < 130 ? count + 1 : count * 2 - 3) {
            for (uint32_t i = 0; i < count; i++)
                values[i] = width ? (int64_t)(codec_check_random(&state) >> (64 - width)) : 0;
            struct codec_vector v = {MOTE_TYPE_INT64, 0, count, values, NULL, NULL};
            struct codec_check check;
            if (count > 70 && count != 1024 && width % 8)
                continue;
            cr_assert(codec_check_round_trip(&v, 0, &check), "width %u, count %u: %s", width, count, check.fault);
            codec_check_free(&check);
        }
    }
}
