/* base_codec_golden_test.c: the bytes of each codec, fixed for ever, and what becomes of them when any bit is flipped.
 *
 * LZ4 and ZSTD may choose other bytes in another release of their library: of these only the decoding is fixed. */
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_MAX = 70, VALUES_BYTES = COUNT_MAX * 24 };

struct golden {
    const char *name;
    uint32_t type, count, codec, compression;
    const char *hex;
    bool bytes_may_differ;
};

static const struct golden goldens[] = {
#include "tests/unit/base_codec_golden.inc"
};
enum { GOLDEN_COUNT = sizeof goldens / sizeof *goldens };

static union {
    uint8_t bytes[VALUES_BYTES];
    int64_t i64[COUNT_MAX];
    int32_t i32[COUNT_MAX];
    double f64[3 * COUNT_MAX];
    float f32[COUNT_MAX];
} values;
static uint32_t offsets[COUNT_MAX + 1];
static uint8_t validity[COUNT_MAX / 8 + 1];

static void fill_integers(const char *name, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t noise = i * 2654435761u >> 24;
        if (!strcmp(name, "raw"))
            values.i64[i] = (int64_t)(0x9e3779b97f4a7c15u * (i + 1) * (i + 7) * (i + 11));
        else if (!strcmp(name, "constant"))
            values.i32[i] = -7;
        else if (!strcmp(name, "for"))
            values.i64[i] = INT64_MIN + 1000 + noise;
        else if (!strcmp(name, "delta"))
            values.i64[i] = (i ? values.i64[i - 1] : 5000000000) - 3000 + (i * i * i * 2654435761u >> 24);
        else
            values.i64[i] = 1700000000000000123 + i * 1000000ll + i * i * 30000ll + noise % 4 * 1000;
    }
}

static void fill_floats(const char *name, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t noise = i * 2654435761u >> 20;
        if (!strcmp(name, "alp")) {
            values.f64[i] = ((double)noise - 2000) / 1e4;
        } else if (!strcmp(name, "scaled")) {
            values.f32[i] = (float)(((double)noise - 2000) * 0.000208615);
        } else if (!strcmp(name, "narrow")) {
            values.f64[i] = (double)(float)(((double)noise - 2000) * 0.000208615);
        } else if (!strcmp(name, "patterns")) {
            values.f64[i] = 1.0 + (double)noise * noise * noise * 0x1p-40;
        } else {
            for (uint32_t c = 0; c < 3; c++)
                values.f64[3 * i + c] = (double)((noise + c * i) % 500) / 100;
        }
    }
    if (!strcmp(name, "alp")) {
        uint64_t nan_payload = 0x7ff0000000000abc;
        memcpy(&values.f64[3], &nan_payload, 8);
        values.f64[17] = -0.0;
        values.f64[40] = -INFINITY;
    }
}

/* The vector of a golden case. */
static struct codec_vector make_vector(const struct golden *golden)
{
    static const char text[] = "robot arm joint torque sensor robot arm joint torque";
    struct codec_vector v = {golden->type, 0, golden->count, &values, NULL, NULL};
    memset(&values, 0, sizeof values);
    if (golden->type == MOTE_TYPE_TEXT) {
        offsets[0] = 0;
        for (uint32_t i = 0; i < golden->count; i++) {
            uint32_t length = golden->compression == CODEC_TEXT_NONE ? 5 : 10 + i % 30;
            memcpy(values.bytes + offsets[i], golden->compression == CODEC_TEXT_NONE ? "mote!" : text, length);
            offsets[i + 1] = offsets[i] + length;
        }
        v.offsets = offsets;
    } else if (golden->type == MOTE_TYPE_BOOL) {
        for (uint32_t i = 0; i < golden->count; i++) {
            values.bytes[i] = i % 3 == 0;
            validity[i / 8] = (uint8_t)(validity[i / 8] | (i % 5 != 0) << (i % 8));
        }
        v.validity = validity;
    } else if (golden->type == MOTE_TYPE_FLOAT64 || golden->type == MOTE_TYPE_FLOAT32 || golden->type == MOTE_TYPE_POINT3) {
        fill_floats(golden->name, golden->count);
    } else {
        fill_integers(golden->name, golden->count);
    }
    return v;
}

static size_t parse_hex(const char *hex, uint8_t *bytes)
{
    size_t size_bytes = strlen(hex) / 2;
    for (size_t i = 0; i < size_bytes; i++) {
        unsigned byte;
        cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return size_bytes;
}

static void print_hex(const char *name, const uint8_t *bytes, size_t size_bytes)
{
    printf("%s: \"", name);
    for (size_t i = 0; i < size_bytes; i++)
        printf("%02x", bytes[i]);
    printf("\"\n");
}

Test(base_codec_golden, encoding_gives_the_fixed_bytes)
{
    uint8_t expected[4096];
    size_t wrong = 0;
    for (size_t g = 0; g < GOLDEN_COUNT; g++) {
        struct codec_vector v = make_vector(&goldens[g]);
        struct codec_check check;
        cr_assert(codec_check_round_trip(&v, goldens[g].compression, &check), "%s: %s", goldens[g].name, check.fault);
        size_t expected_bytes = parse_hex(goldens[g].hex, expected);
        bool equal = expected_bytes == check.encoded_bytes && memcmp(expected, check.encoded, expected_bytes) == 0;
        if (!equal && !goldens[g].bytes_may_differ) {
            print_hex(goldens[g].name, check.encoded, check.encoded_bytes);
            wrong++;
        }
        codec_check_free(&check);
    }
    cr_assert_eq(wrong, 0, "%zu encodings changed: that needs a new CODEC_VERSION", wrong);
}

Test(base_codec_golden, fixed_bytes_decode_to_the_values)
{
    uint8_t encoded[4096], back[VALUES_BYTES], back_validity[COUNT_MAX];
    uint32_t back_offsets[COUNT_MAX + 1];
    size_t scratch_bytes = codec_scratch_bytes(COUNT_MAX, VALUES_BYTES);
    void *scratch = malloc(scratch_bytes);
    for (size_t g = 0; g < GOLDEN_COUNT; g++) {
        struct codec_vector v = make_vector(&goldens[g]);
        size_t encoded_bytes = parse_hex(goldens[g].hex, encoded), values_bytes = 0;
        bool has_nulls = false;
        struct codec_info info;
        cr_assert_eq(codec_decode(encoded, encoded_bytes, v.type, 0, v.count, back, sizeof back, back_offsets, back_validity, &has_nulls,
                                  &values_bytes, scratch, scratch_bytes),
                     MOTE_OK, "%s", goldens[g].name);
        cr_assert_eq(codec_inspect(encoded, encoded_bytes, &info), MOTE_OK);
        cr_assert_eq(info.codec, goldens[g].codec, "%s is by %s", goldens[g].name, codec_name(info.codec));
        cr_assert_eq(has_nulls, v.validity != NULL);
        cr_assert_eq(values_bytes, codec_vector_bytes(&v));
        if (v.offsets)
            cr_assert_eq(memcmp(back_offsets, offsets, (v.count + 1) * 4), 0);
        for (uint32_t i = 0; v.validity && i < v.count; i++) {
            bool valid = v.validity[i / 8] >> (i % 8) & 1;
            cr_assert_eq(back[i], valid ? values.bytes[i] : 0);
            cr_assert_eq(back_validity[i / 8] >> (i % 8) & 1, valid);
        }
        if (!v.validity)
            cr_assert_eq(memcmp(back, &values, values_bytes), 0, "%s", goldens[g].name);
    }
    free(scratch);
}

Test(base_codec_golden, every_flipped_bit_is_an_error_or_some_values)
{
    uint8_t encoded[4096];
    size_t errors = 0, flips = 0;
    for (size_t g = 0; g < GOLDEN_COUNT; g++) {
        size_t encoded_bytes = parse_hex(goldens[g].hex, encoded);
        for (size_t bit = 0; bit < encoded_bytes * 8; bit++, flips++) {
            encoded[bit / 8] = (uint8_t)(encoded[bit / 8] ^ 1u << (bit % 8));
            int result = codec_check_decode(encoded, encoded_bytes, goldens[g].type, 0, goldens[g].count);
            cr_assert(result == MOTE_OK || result == MOTE_EDAMAGED, "%s, bit %zu: %d", goldens[g].name, bit, result);
            errors += result != MOTE_OK;
            encoded[bit / 8] = (uint8_t)(encoded[bit / 8] ^ 1u << (bit % 8));
        }
        for (size_t size_bytes = 0; size_bytes < encoded_bytes; size_bytes++)
            cr_assert_eq(codec_check_decode(encoded, size_bytes, goldens[g].type, 0, goldens[g].count), MOTE_EDAMAGED, "%s cut to %zu",
                         goldens[g].name, size_bytes);
        cr_assert_eq(codec_check_decode(encoded, encoded_bytes, goldens[g].type, 0, goldens[g].count), MOTE_OK);
        cr_assert_eq(codec_check_decode(encoded, encoded_bytes, goldens[g].type, 0, goldens[g].count + 1), MOTE_EDAMAGED);
        cr_assert_eq(codec_check_decode(encoded, encoded_bytes, MOTE_TYPE_VECTOR_U8, 8, goldens[g].count), MOTE_EDAMAGED);
    }
    printf("%zu flips, %zu errors\n", flips, errors);
    cr_assert_gt(errors, flips / 20);
}
