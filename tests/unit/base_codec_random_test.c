/* base_codec_random_test.c: round trips of random vectors of every type, with and without NULLs; the seed is printed. */
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t make_seed(void)
{
    const char *given = getenv("MOTE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
    printf("seed %llu (set MOTE_SEED to repeat)\n", (unsigned long long)seed);
    return seed;
}

Test(base_codec, random_vectors_come_back)
{
    uint64_t state = make_seed();
    static const uint32_t counts[] = {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 500, 1023, 1024, 1025, 2100};
    for (uint32_t type = MOTE_TYPE_INT64; type <= MOTE_TYPE_POINT3; type++) {
        for (uint32_t round = 0; round < 260; round++) {
            uint32_t count = counts[codec_check_random(&state) % (sizeof counts / sizeof *counts)];
            bool wide = round % 13 == 0;
            uint32_t dimension = wide ? 17 + (uint32_t)(codec_check_random(&state) % 40) : 1 + (uint32_t)(codec_check_random(&state) % 16);
            if (type >= MOTE_TYPE_VECTOR_F32 && count > 500)
                count /= 4;
            struct codec_vector v;
            struct codec_check check;
            void *memory = codec_check_random_vector(&state, type, dimension, count, round, round % 3 == 0, &v);
            uint32_t compression = round % 40 == 7 ? CODEC_TEXT_ZSTD : round % 4;
            bool equal = codec_check_round_trip(&v, compression == CODEC_TEXT_ZSTD && round % 8 ? 0 : compression, &check);
            cr_assert(equal, "type %u, dimension %u, count %u, round %u: %s", type, dimension, count, round, check.fault);
            cr_assert_leq(check.encoded_bytes, codec_encode_bound(&v));
            codec_check_free(&check);
            free(memory);
        }
    }
}

/* A hint that fits nothing any more costs bytes, never values: the columns change their nature from block to block. */
Test(base_codec, hints_never_change_values)
{
    static const uint32_t types[] = {MOTE_TYPE_FLOAT32, MOTE_TYPE_FLOAT64, MOTE_TYPE_INT32, MOTE_TYPE_INT64, MOTE_TYPE_POINT3, MOTE_TYPE_VECTOR_F32};
    uint64_t state = make_seed();
    static uint64_t back[3 * 1024 + 3];
    static uint8_t out[40 * 1024];
    size_t scratch_bytes = codec_scratch_bytes(1024, sizeof back), codecs_seen = 0;
    void *scratch = malloc(scratch_bytes);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct codec_hint hint = {0};
        uint32_t shape = 0;
        for (uint32_t round = 0; round < 400; round++) {
            struct codec_vector v;
            struct codec_info info;
            uint32_t count = codec_check_random(&state) % 4 ? 1024 : 1 + (uint32_t)(codec_check_random(&state) % 1024);
            shape = codec_check_random(&state) % 6 ? shape : (uint32_t)(codec_check_random(&state) % 80);
            void *memory = codec_check_random_vector(&state, types[t], 3, count, shape, false, &v);
            int64_t bytes = codec_encode_hinted(&v, 0, &hint, out, codec_encode_bound(&v), scratch, scratch_bytes);
            cr_assert_gt(bytes, 0, "type %u, round %u", types[t], round);
            cr_assert_eq(codec_inspect(out, (size_t)bytes, &info), MOTE_OK);
            codecs_seen |= 1u << info.codec;
            cr_assert_eq(codec_decode(out, (size_t)bytes, types[t], 3, count, back, sizeof back, NULL, NULL, NULL, NULL, scratch, scratch_bytes), MOTE_OK);
            cr_assert_eq(memcmp(back, v.values, codec_vector_bytes(&v)), 0, "type %u, round %u", types[t], round);
            free(memory);
        }
    }
    cr_assert_eq(codecs_seen & 0x7f, 0x7f, "%zx", codecs_seen);
    free(scratch);
}

Test(base_codec, zstd_text_comes_back_smaller)
{
    uint64_t state = make_seed();
    struct codec_vector v;
    struct codec_check check;
    void *memory = codec_check_random_vector(&state, MOTE_TYPE_TEXT, 0, 5000, 2, true, &v);
    cr_assert(codec_check_round_trip(&v, CODEC_TEXT_ZSTD, &check), "%s", check.fault);
    cr_assert_lt(check.encoded_bytes, codec_vector_bytes(&v) / 3);
    codec_check_free(&check);
    free(memory);
}

Test(base_codec, all_nulls_take_a_bitmap_only)
{
    uint8_t none[128] = {0};
    static uint64_t values[1024];
    struct codec_vector v = {MOTE_TYPE_FLOAT64, 0, 1024, values, NULL, none};
    struct codec_check check;
    cr_assert(codec_check_round_trip(&v, 0, &check), "%s", check.fault);
    cr_assert_eq(check.encoded_bytes, 16 + 128);
    codec_check_free(&check);
}

Test(base_codec, more_values_than_the_most_are_refused)
{
    uint64_t value = 0;
    uint8_t out[64];
    struct codec_vector v = {MOTE_TYPE_INT64, 0, CODEC_COUNT_MAX + 1, &value, NULL, NULL};
    cr_assert_eq(codec_encode(&v, 0, out, sizeof out, NULL, 0), MOTE_EINVAL);
    v.count = 1;
    cr_assert_eq(codec_encode(&v, 0, out, sizeof out, NULL, 0), MOTE_EBUDGET);
    size_t scratch_bytes = codec_scratch_bytes(1, 8);
    void *scratch = malloc(scratch_bytes);
    cr_assert_eq(codec_encode(&v, 0, out, 20, scratch, scratch_bytes), MOTE_ETOOBIG);
    v.type = 99;
    cr_assert_eq(codec_encode(&v, 0, out, sizeof out, scratch, scratch_bytes), MOTE_EINVAL);
    uint32_t offsets[] = {0, 5, 3};
    struct codec_vector text = {MOTE_TYPE_TEXT, 0, 2, "hello", offsets, NULL};
    cr_assert_eq(codec_encode(&text, 0, out, sizeof out, scratch, scratch_bytes), MOTE_EINVAL);
    free(scratch);
}
