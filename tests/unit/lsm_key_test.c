/* lsm_key_test.c: keys order as their values, come back, and refuse what cannot be one. */
#include "tests/support/lsm_rows.h"

#include <criterion/criterion.h>
#include <math.h>

static const uint32_t key_types[] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB};
enum { KEY_TYPES = sizeof key_types / sizeof key_types[0] };

static int sign(int v) { return (v > 0) - (v < 0); }

/* A table whose key has these types. */
static struct schema *schema_of_types(struct memory *memory, const uint32_t *types, uint32_t count)
{
    static const char *const names[] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"};
    static const uint32_t positions[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct mote_column_definition columns[9];
    for (uint32_t i = 0; i < count; i++)
        columns[i] = (struct mote_column_definition){.name = names[i], .type = types[i]};
    columns[count] = (struct mote_column_definition){.name = names[8], .type = MOTE_TYPE_FLOAT64};
    return lsm_schema(memory, columns, count + 1, positions, count, -1);
}

Test(lsm_key, values_of_each_type_order_as_bytes)
{
    struct memory *memory = lsm_memory(1 << 20);
    uint64_t random = lsm_seed("lsm_key");
    for (uint32_t t = 0; t < KEY_TYPES; t++) {
        struct schema *schema = schema_of_types(memory, &key_types[t], 1);
        uint32_t pairs_equal = 0, pairs_ordered = 0;
        for (int i = 0; i < 40000; i++) {
            struct mote_value value[2];
            uint8_t room[2][LSM_VALUE_ROOM], key[2][MOTE_KEY_BYTES_MAX];
            uint32_t key_bytes[2];
            for (int k = 0; k < 2; k++) {
                lsm_random_value(&random, &schema->columns[0], false, room[k], &value[k]);
                cr_assert_eq(key_from_values(schema, &value[k], 1, key[k], &key_bytes[k]), MOTE_OK);
            }
            int expected = sign(lsm_value_order(&value[0], &value[1]));
            cr_assert_eq(sign(key_compare(key[0], key_bytes[0], key[1], key_bytes[1])), expected, "type %s", type_name(key_types[t]));
            pairs_equal += expected == 0;
            pairs_ordered += expected != 0;
        }
        cr_assert(pairs_equal > 0 && pairs_ordered > 1000, "type %s: the random values do not cover both cases", type_name(key_types[t]));
        schema_free(memory, schema);
    }
    memory_destroy(memory);
}

/* Columns of a key: the first difference decides, and a row's key is its values' key, which decodes to them. */
Test(lsm_key, composite_orders_and_round_trips)
{
    struct memory *memory = lsm_memory(1 << 20);
    uint64_t random = lsm_seed("lsm_key");
    for (int round = 0; round < 300; round++) {
        uint32_t types[MOTE_KEY_COLUMNS_MAX], count = 1 + (uint32_t)lsm_random_below(&random, MOTE_KEY_COLUMNS_MAX);
        for (uint32_t i = 0; i < count; i++)
            types[i] = key_types[lsm_random_below(&random, KEY_TYPES)];
        struct schema *schema = schema_of_types(memory, types, count);
        for (int i = 0; i < 50; i++) {
            struct mote_value value[2][MOTE_KEY_COLUMNS_MAX];
            static uint8_t room[2][MOTE_KEY_COLUMNS_MAX][LSM_VALUE_ROOM], key[2][MOTE_KEY_BYTES_MAX];
            uint32_t key_bytes[2];
            int expected = 0;
            for (uint32_t c = 0; c < count; c++) {
                lsm_random_value(&random, &schema->columns[c], false, room[0][c], &value[0][c]);
                lsm_random_value(&random, &schema->columns[c], false, room[1][c], &value[1][c]);
                if (lsm_random_below(&random, 2))
                    value[1][c] = value[0][c];
                if (expected == 0)
                    expected = sign(lsm_value_order(&value[0][c], &value[1][c]));
            }
            for (int k = 0; k < 2; k++) {
                cr_assert_eq(key_from_values(schema, value[k], count, key[k], &key_bytes[k]), MOTE_OK);
                if (schema->key_bytes_fixed)
                    cr_assert_eq(key_bytes[k], schema->key_bytes_fixed);
                struct mote_value decoded[MOTE_KEY_COLUMNS_MAX];
                uint8_t scratch[MOTE_KEY_BYTES_MAX];
                cr_assert_eq(key_decode(schema, key[k], key_bytes[k], decoded, scratch), MOTE_OK);
                for (uint32_t c = 0; c < count; c++)
                    cr_assert(lsm_value_equal(&schema->columns[c], &value[k][c], &decoded[c]));
                static uint8_t image[8192], from_row[MOTE_KEY_BYTES_MAX];
                uint32_t row_bytes;
                cr_assert_eq(row_check_values(schema, value[k], count, &row_bytes), MOTE_OK);
                cr_assert_leq(row_bytes, sizeof image);
                row_encode_values(schema, value[k], count, 0, image, row_bytes);
                cr_assert_eq(key_from_row(schema, image, from_row), key_bytes[k]);
                cr_assert_arr_eq(from_row, key[k], key_bytes[k]);
            }
            cr_assert_eq(sign(key_compare(key[0], key_bytes[0], key[1], key_bytes[1])), expected);
        }
        schema_free(memory, schema);
    }
    memory_destroy(memory);
}

Test(lsm_key, prefix_is_the_beginning_of_the_whole)
{
    struct memory *memory = lsm_memory(1 << 20);
    const uint32_t types[3] = {MOTE_TYPE_TEXT, MOTE_TYPE_INT32, MOTE_TYPE_BLOB};
    struct schema *schema = schema_of_types(memory, types, 3);
    struct mote_value values[3] = {lsm_text("left"), {.type = MOTE_TYPE_INT32, .as.i32 = -5}, {.type = MOTE_TYPE_BLOB, .as.bytes = {"\0\1", 2}}};
    uint8_t whole[MOTE_KEY_BYTES_MAX], part[MOTE_KEY_BYTES_MAX];
    uint32_t whole_bytes, part_bytes, before_bytes = 0;
    cr_assert_eq(key_from_values(schema, values, 3, whole, &whole_bytes), MOTE_OK);
    static const uint8_t golden[] = {'l', 'e', 'f', 't', 0, 0, 0x7F, 0xFF, 0xFF, 0xFB, 0, 0xFF, 1, 0, 0};
    cr_assert_eq(whole_bytes, sizeof golden);
    cr_assert_arr_eq(whole, golden, sizeof golden);
    for (size_t count = 0; count <= 3; count++) {
        cr_assert_eq(key_from_values(schema, values, count, part, &part_bytes), MOTE_OK);
        cr_assert(count == 0 ? part_bytes == 0 : part_bytes > before_bytes);
        if (part_bytes > 0)
            cr_assert_arr_eq(part, whole, part_bytes);
        before_bytes = part_bytes;
    }
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* The bytes are on devices: they may never change. */
Test(lsm_key, golden_bytes_of_each_type)
{
    static const struct {
        struct mote_value value;
        uint8_t bytes[8];
        uint32_t size_bytes;
    } cases[] = {
        {{.type = MOTE_TYPE_INT64, .as.i64 = INT64_MIN}, {0}, 8},
        {{.type = MOTE_TYPE_INT64, .as.i64 = 258}, {0x80, 0, 0, 0, 0, 0, 1, 2}, 8},
        {{.type = MOTE_TYPE_TIMESTAMP, .as.i64 = -1}, {0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8},
        {{.type = MOTE_TYPE_INT32, .as.i32 = INT32_MAX}, {0xFF, 0xFF, 0xFF, 0xFF}, 4},
        {{.type = MOTE_TYPE_FLOAT64, .as.f64 = 1.0}, {0xBF, 0xF0}, 8},
        {{.type = MOTE_TYPE_FLOAT64, .as.f64 = -0.0}, {0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8},
        {{.type = MOTE_TYPE_FLOAT64, .as.f64 = 0.0}, {0x80}, 8},
        {{.type = MOTE_TYPE_FLOAT32, .as.f32 = -1.0f}, {0x40, 0x7F, 0xFF, 0xFF}, 4},
        {{.type = MOTE_TYPE_BOOL, .as.boolean = 1}, {1}, 1},
        {{.type = MOTE_TYPE_TEXT, .as.bytes = {"", 0}}, {0, 0}, 2},
        {{.type = MOTE_TYPE_TEXT, .as.bytes = {"a\0b", 3}}, {'a', 0, 0xFF, 'b', 0, 0}, 6},
        {{.type = MOTE_TYPE_BLOB, .as.bytes = {"\xFF", 1}}, {0xFF, 0, 0}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t at[16];
        cr_assert_eq(key_append_value(cases[i].value.type, &cases[i].value, at), cases[i].size_bytes, "case %zu", i);
        cr_assert_arr_eq(at, cases[i].bytes, cases[i].size_bytes, "case %zu", i);
    }
}

Test(lsm_key, wrong_values_are_refused)
{
    struct memory *memory = lsm_memory(1 << 20);
    const uint32_t types[4] = {MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT};
    struct schema *schema = schema_of_types(memory, types, 4);
    static uint8_t key[MOTE_KEY_BYTES_MAX + 16];
    static char text[2 * MOTE_KEY_BYTES_MAX];
    const struct mote_value good[5] = {{.type = MOTE_TYPE_FLOAT64, .as.f64 = INFINITY}, {.type = MOTE_TYPE_FLOAT32, .as.f32 = -INFINITY}, {.type = MOTE_TYPE_BOOL}, lsm_text("x"), lsm_text("y")};
    struct mote_value bad[5];
    uint32_t key_bytes = 12345;
#define REFUSED(code, count, change)                                                                                   \
    do {                                                                                                               \
        memcpy(bad, good, sizeof bad);                                                                                 \
        change;                                                                                                        \
        cr_assert_eq(key_from_values(schema, bad, count, key, &key_bytes), code, "%s", #change);                       \
    } while (0)
    REFUSED(MOTE_OK, 4, (void)0);
    REFUSED(MOTE_ESCHEMA, 5, (void)0);
    REFUSED(MOTE_EINVAL, 4, bad[0].as.f64 = NAN);
    REFUSED(MOTE_EINVAL, 4, bad[0].as.f64 = -NAN);
    REFUSED(MOTE_EINVAL, 4, bad[1].as.f32 = NAN);
    REFUSED(MOTE_EINVAL, 4, bad[2].as.boolean = 2);
    REFUSED(MOTE_ESCHEMA, 4, bad[2].is_null = 1);
    REFUSED(MOTE_ESCHEMA, 4, bad[0].type = MOTE_TYPE_INT64);
    REFUSED(MOTE_EINVAL, 4, bad[3] = lsm_text("\xC0\x80"));
    REFUSED(MOTE_EINVAL, 4, bad[3].as.bytes.data = NULL);
    /* 13 bytes before the text, 2 after it. */
    memset(text, 'a', sizeof text);
    REFUSED(MOTE_OK, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = 1009));
    cr_assert_eq(key_bytes, 1024);
    REFUSED(MOTE_ETOOBIG, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = 1010));
    REFUSED(MOTE_ETOOBIG, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = sizeof text));
    REFUSED(MOTE_ETOOBIG, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = UINT64_MAX));
    memset(text, 0, sizeof text);
    REFUSED(MOTE_OK, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = 504));
    REFUSED(MOTE_ETOOBIG, 4, (bad[3].as.bytes.data = text, bad[3].as.bytes.size_bytes = 505));
    cr_assert_eq(key_from_values(schema, NULL, 1, key, &key_bytes), MOTE_EINVAL);
    cr_assert_eq(key_from_values(schema, NULL, 0, key, &key_bytes), MOTE_OK);
    struct mote_error error;
    REFUSED(MOTE_EINVAL, 4, bad[0].as.f64 = NAN);
    cr_assert_eq(mote_last_error(&error), MOTE_EINVAL);
    cr_assert(strstr(error.message, "arm") && strstr(error.message, "k0"), "%s", error.message);
#undef REFUSED
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* Each byte of a key changed to each value, and each truncation: an error, or another key in its one form. */
Test(lsm_key, hostile_bytes_decode_to_a_key_or_an_error)
{
    struct memory *memory = lsm_memory(1 << 20);
    uint64_t random = lsm_seed("lsm_key");
    struct schema *schema = schema_of_types(memory, key_types, KEY_TYPES);
    int refused = 0, taken = 0;
    for (int round = 0; round < 10; round++) {
        struct mote_value values[KEY_TYPES], decoded[KEY_TYPES];
        static uint8_t room[KEY_TYPES][LSM_VALUE_ROOM], key[MOTE_KEY_BYTES_MAX], again[MOTE_KEY_BYTES_MAX], scratch[MOTE_KEY_BYTES_MAX];
        uint32_t key_bytes, again_bytes;
        for (uint32_t i = 0; i < KEY_TYPES; i++)
            lsm_random_value(&random, &schema->columns[i], false, room[i], &values[i]);
        cr_assert_eq(key_from_values(schema, values, KEY_TYPES, key, &key_bytes), MOTE_OK);
        for (uint32_t at = 0; at < key_bytes * 256; at++) {
            uint8_t *copy = malloc(key_bytes); /* exactly so large that a sanitizer sees a read beyond */
            memcpy(copy, key, key_bytes);
            copy[at / 256] = (uint8_t)at;
            if (key_decode(schema, copy, key_bytes, decoded, scratch) == MOTE_OK) {
                cr_assert_eq(key_from_values(schema, decoded, KEY_TYPES, again, &again_bytes), MOTE_OK);
                cr_assert(key_compare(again, again_bytes, copy, key_bytes) == 0);
                taken++;
            } else {
                refused++;
            }
            free(copy);
        }
        for (uint32_t cut = 0; cut < key_bytes; cut++) {
            uint8_t *copy = malloc(cut + 1);
            memcpy(copy, key, cut);
            cr_assert_eq(key_decode(schema, copy, cut, decoded, scratch), MOTE_EDAMAGED);
            free(copy);
        }
        key[key_bytes] = 0;
        cr_assert_eq(key_decode(schema, key, key_bytes + 1, decoded, scratch), MOTE_EDAMAGED);
        cr_assert_eq(key_decode(schema, key, MOTE_KEY_BYTES_MAX + 1, decoded, scratch), MOTE_EDAMAGED);
    }
    cr_assert(refused > 0 && taken > 0);
    schema_free(memory, schema);
    memory_destroy(memory);
}
