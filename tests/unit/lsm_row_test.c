/* lsm_row_test.c: row images from values, and hostile images; refused batches. Those that are taken are in lsm_row_batch_test.c. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TYPES = 12, IMAGE_ROOM = LSM_IMAGE_ROOM };

Test(lsm_row, all_types_round_trip)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    uint64_t random = lsm_seed("lsm_row");
    static uint8_t image[IMAGE_ROOM], rooms[TYPES][LSM_VALUE_ROOM];
    for (int round = 0; round < 5000; round++) {
        struct mote_value values[TYPES];
        lsm_random_row(&random, schema, values, rooms);
        lsm_encode_row(schema, values, TYPES, 0, image);
        cr_assert(lsm_row_equal(schema, schema, image, values));
    }
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* The image is in the log: its layout may never change for a given schema. */
Test(lsm_row, golden_image)
{
    struct memory *memory = lsm_memory(1 << 20);
    const struct mote_column_definition columns[] = {
        {.name = "on", .type = MOTE_TYPE_BOOL}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "note", .type = MOTE_TYPE_TEXT}, {.name = "n", .type = MOTE_TYPE_INT32}, {.name = "raw", .type = MOTE_TYPE_BLOB}};
    const uint32_t key[] = {1};
    struct schema *schema = lsm_schema(memory, columns, 5, key, 1, 1);
    const struct mote_value values[5] = {{.type = MOTE_TYPE_BOOL, .as.boolean = 1}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 0x0102}, lsm_text("hi"), lsm_null(MOTE_TYPE_INT32), {.type = MOTE_TYPE_BLOB, .as.bytes = {"\0\xFF", 2}}};
    static const uint8_t golden[] = {8, 0, 0, 0, 0, 0, 0, 0,  2, 1, 0, 0, 0, 0, 0, 0,  37, 0, 0, 0, 2, 0, 0, 0,  0, 0, 0, 0,  39, 0, 0, 0, 2, 0, 0, 0,  1,  'h', 'i',  0, 0xFF};
    static uint8_t image[IMAGE_ROOM];
    cr_assert_eq(lsm_encode_row(schema, values, 5, 0, image), sizeof golden);
    cr_assert_arr_eq(image, golden, sizeof golden);
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_row, added_columns_read_as_default_or_null_in_old_rows)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *first = lsm_schema_all(memory), *second, *third;
    const struct mote_column_definition with = {.name = "with", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_HAS_DEFAULT, .default_value = lsm_text("grün")};
    const struct mote_column_definition without = {.name = "without", .type = MOTE_TYPE_INT64};
    cr_assert_eq(schema_add_column(memory, first, &with, 200, &second), MOTE_OK);
    cr_assert_eq(schema_add_column(memory, second, &without, 201, &third), MOTE_OK);
    uint64_t random = lsm_seed("lsm_row");
    static uint8_t image[IMAGE_ROOM], rooms[TYPES][LSM_VALUE_ROOM];
    struct mote_value values[TYPES], value;
    lsm_random_row(&random, first, values, rooms);
    lsm_encode_row(first, values, TYPES, 0, image);
    cr_assert(lsm_row_equal(third, first, image, values));
    row_value(third, first, image, TYPES, &value);
    cr_assert(lsm_value_equal(&third->columns[TYPES], &value, &with.default_value));
    row_value(third, first, image, TYPES + 1, &value);
    cr_assert(value.is_null && value.type == MOTE_TYPE_INT64);
    /* A row of the newer schema that was given the old columns only. */
    struct mote_value all[TYPES + 2];
    memcpy(all, values, sizeof values);
    all[TYPES] = with.default_value;
    all[TYPES + 1] = lsm_null(MOTE_TYPE_INT64);
    lsm_encode_row(third, values, TYPES, 0, image);
    cr_assert(lsm_row_equal(third, third, image, all));
    schema_free(memory, third);
    schema_free(memory, second);
    schema_free(memory, first);
    memory_destroy(memory);
}

/* (id int64 key, name text NOT NULL, f float64, v vector_u8 of 3, b bool) */
static struct schema *small_schema(struct memory *memory, bool float_key)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "name", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "f", .type = MOTE_TYPE_FLOAT64}, {.name = "v", .type = MOTE_TYPE_VECTOR_U8, .dimension = 3}, {.name = "b", .type = MOTE_TYPE_BOOL}};
    const uint32_t key[] = {0, 2};
    return lsm_schema(memory, columns, 5, key, float_key ? 2 : 1, -1);
}

Test(lsm_row, wrong_values_are_refused)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = small_schema(memory, true);
    static char big[MOTE_ROW_BYTES_MAX + 1];
    memset(big, 'x', sizeof big);
    struct mote_value good[6] = {lsm_int64(1), lsm_text("n"), {.type = MOTE_TYPE_FLOAT64}, {.type = MOTE_TYPE_VECTOR_U8, .as.bytes = {"abc", 3}}, {.type = MOTE_TYPE_BOOL, .as.boolean = 1}, lsm_int64(1)}, bad[6];
    uint32_t row_bytes = 0;
#define REFUSED(code, count, change)                                                                                   \
    do {                                                                                                               \
        memcpy(bad, good, sizeof bad);                                                                                 \
        change;                                                                                                        \
        cr_assert_eq(row_check_values(schema, bad, count, &row_bytes), code, "%s", #change);                           \
    } while (0)
    REFUSED(MOTE_OK, 5, (void)0);
    REFUSED(MOTE_OK, 3, (void)0);
    REFUSED(MOTE_ESCHEMA, 6, (void)0);
    REFUSED(MOTE_ESCHEMA, 2, (void)0); /* the key's float is absent */
    REFUSED(MOTE_ESCHEMA, 0, (void)0);
    REFUSED(MOTE_ESCHEMA, 5, bad[0].is_null = 1);
    REFUSED(MOTE_ESCHEMA, 5, bad[1].is_null = 1);
    REFUSED(MOTE_ESCHEMA, 5, bad[0].type = MOTE_TYPE_INT32);
    REFUSED(MOTE_ESCHEMA, 5, bad[3].as.bytes.size_bytes = 2);
    REFUSED(MOTE_OK, 5, bad[3].is_null = 1);
    REFUSED(MOTE_EINVAL, 5, bad[2].as.f64 = NAN);
    REFUSED(MOTE_EINVAL, 5, bad[4].as.boolean = 255);
    REFUSED(MOTE_EINVAL, 5, bad[1] = lsm_text("\xED\xA0\x80"));
    REFUSED(MOTE_EINVAL, 5, bad[1].as.bytes.data = NULL);
    uint64_t room = MOTE_ROW_BYTES_MAX - schema->fixed_bytes;
    REFUSED(MOTE_OK, 5, (bad[1].as.bytes.data = big, bad[1].as.bytes.size_bytes = room));
    cr_assert_eq(row_bytes, MOTE_ROW_BYTES_MAX);
    REFUSED(MOTE_ETOOBIG, 5, (bad[1].as.bytes.data = big, bad[1].as.bytes.size_bytes = room + 1));
    REFUSED(MOTE_ETOOBIG, 5, (bad[1].as.bytes.data = big, bad[1].as.bytes.size_bytes = MOTE_ROW_BYTES_MAX + 1));
    REFUSED(MOTE_ETOOBIG, 5, (bad[1].as.bytes.data = big, bad[1].as.bytes.size_bytes = UINT64_MAX));
    cr_assert_eq(row_check_values(schema, NULL, 1, &row_bytes), MOTE_EINVAL);
    struct mote_error error;
    REFUSED(MOTE_ESCHEMA, 5, bad[1].is_null = 1);
    mote_last_error(&error);
    cr_assert(strstr(error.message, "\"name\"") && strcmp(error.table, "arm") == 0, "%s", error.message);
#undef REFUSED
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_row, wrong_batches_are_refused)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = small_schema(memory, true);
    enum { ROWS = 20 };
    static const int64_t ids[ROWS];
    static const double floats[ROWS];
    static const char big[2 * MOTE_ROW_BYTES_MAX];
    static const uint8_t bytes[ROWS * 3], twos[ROWS] = {[ROWS - 1] = 2}, not_utf8[ROWS] = {[7] = 0xC3, [8] = 0xA9}, no_third[3] = {0xFB, 0xFF, 0xFF};
    static const double nan_last[ROWS] = {[ROWS - 1] = NAN};
    uint32_t offsets[ROWS + 1], index[6] = {0, 1, 2, 3, 4, 0};
    for (uint32_t i = 0; i <= ROWS; i++)
        offsets[i] = i;
    const struct mote_column good[6] = {{MOTE_TYPE_INT64, 1, ids, NULL, NULL}, {MOTE_TYPE_TEXT, 1, bytes, offsets, NULL}, {MOTE_TYPE_FLOAT64, 0, floats, NULL, NULL}, {MOTE_TYPE_VECTOR_U8, 3, bytes, NULL, NULL}, {MOTE_TYPE_BOOL, 1, bytes, NULL, NULL}, {MOTE_TYPE_BOOL, 1, bytes, NULL, NULL}};
    struct mote_column columns[6];
    static struct row_batch prepared;
    struct mote_batch batch;
#define REFUSED(code, change)                                                                                          \
    do {                                                                                                               \
        memcpy(columns, good, sizeof columns);                                                                         \
        batch = (struct mote_batch){ROWS, 5, columns, NULL};                                                           \
        for (uint32_t o = 0; o <= ROWS; o++)                                                                           \
            offsets[o] = o;                                                                                            \
        change;                                                                                                        \
        cr_assert_eq(row_batch_check(schema, &batch, &prepared), code, "%s", #change);                                 \
    } while (0)
    REFUSED(MOTE_OK, (void)0);
    REFUSED(MOTE_OK, batch.row_count = 0);
    REFUSED(MOTE_OK, batch.column_count = 3);
    REFUSED(MOTE_ESCHEMA, batch.column_count = 2);
    REFUSED(MOTE_ESCHEMA, batch.column_count = 0);
    REFUSED(MOTE_ESCHEMA, batch.column_count = 6);
    REFUSED(MOTE_EINVAL, batch.columns = NULL);
    REFUSED(MOTE_ETOOBIG, batch.row_count = 1ull << 32);
    REFUSED(MOTE_ESCHEMA, (batch.column_index = index, index[4] = 5));
    REFUSED(MOTE_ESCHEMA, (batch.column_index = index, index[4] = 0));
    REFUSED(MOTE_ESCHEMA, columns[0].type = MOTE_TYPE_TIMESTAMP);
    REFUSED(MOTE_ESCHEMA, columns[3].dimension = 4);
    REFUSED(MOTE_EINVAL, columns[0].values = NULL);
    REFUSED(MOTE_EINVAL, columns[1].offsets = NULL);
    REFUSED(MOTE_EINVAL, columns[1].values = NULL);
    REFUSED(MOTE_OK, (columns[1].values = NULL, memset(offsets, 0, sizeof offsets)));
    REFUSED(MOTE_EINVAL, offsets[3] = 5);
    REFUSED(MOTE_ESCHEMA, columns[0].validity = no_third);
    REFUSED(MOTE_ESCHEMA, columns[1].validity = no_third);
    REFUSED(MOTE_ESCHEMA, columns[2].validity = no_third);
    REFUSED(MOTE_OK, columns[3].validity = no_third);
    REFUSED(MOTE_EINVAL, columns[2].values = nan_last);
    REFUSED(MOTE_EINVAL, columns[4].values = twos);
    REFUSED(MOTE_EINVAL, columns[1].values = not_utf8);              /* a character cut in two by the rows */
    REFUSED(MOTE_OK, (columns[1].values = not_utf8, offsets[8] = 7)); /* the same bytes in one row */
    REFUSED(MOTE_ETOOBIG, (columns[1].values = big, offsets[ROWS] = MOTE_ROW_BYTES_MAX + ROWS));
    REFUSED(MOTE_ETOOBIG, (columns[1].values = big, offsets[ROWS] = MOTE_ROW_BYTES_MAX + ROWS - 1));
    REFUSED(MOTE_OK, (columns[1].values = big, offsets[ROWS] = MOTE_ROW_BYTES_MAX + ROWS - 1 - schema->fixed_bytes));
    struct mote_error error;
    REFUSED(MOTE_ESCHEMA, columns[1].validity = no_third);
    mote_last_error(&error);
    cr_assert(strstr(error.message, "\"name\"") && strstr(error.message, "row 2 "), "%s", error.message);
#undef REFUSED
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_row, hidden_rowid_cannot_be_given)
{
    struct memory *memory = lsm_memory(1 << 20);
    const struct mote_column_definition columns[] = {{.name = "x", .type = MOTE_TYPE_INT64}};
    struct schema *schema = lsm_schema(memory, columns, 1, NULL, 0, 0);
    cr_assert_eq(schema->time_column, 1);
    static const int64_t values[4] = {5, 6, 7, 8};
    const struct mote_column column[2] = {{MOTE_TYPE_INT64, 1, values, NULL, NULL}, {MOTE_TYPE_INT64, 1, values, NULL, NULL}};
    const uint32_t first[] = {0}, second[] = {1};
    static struct row_batch prepared;
    struct mote_batch batch = {4, 1, column, first};
    cr_assert_eq(row_batch_check(schema, &batch, &prepared), MOTE_ESCHEMA);
    batch.column_count = 2;
    batch.column_index = NULL;
    cr_assert_eq(row_batch_check(schema, &batch, &prepared), MOTE_ESCHEMA);
    batch.column_count = 1;
    for (int i = 0; i < 2; i++) {
        batch.column_index = i ? second : NULL;
        cr_assert_eq(row_batch_check(schema, &batch, &prepared), MOTE_OK);
        cr_assert_eq(prepared.auto_increment_count, 4);
        uint8_t image[24];
        row_batch_encode(&prepared, 2, 77, image, sizeof image);
        static const uint8_t golden[24] = {[8] = 77, [16] = 7};
        cr_assert_arr_eq(image, golden, sizeof golden);
    }
    const struct mote_value two[2] = {lsm_int64(1), lsm_int64(2)};
    uint32_t row_bytes;
    cr_assert_eq(row_check_values(schema, two, 2, &row_bytes), MOTE_ESCHEMA);
    cr_assert_eq(row_check_values(schema, two, 1, &row_bytes), MOTE_OK);
    cr_assert_eq(row_bytes, 24);
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_row, key_of_a_row_is_bounded)
{
    struct memory *memory = lsm_memory(1 << 20);
    const struct mote_column_definition columns[] = {{.name = "a", .type = MOTE_TYPE_TEXT}, {.name = "b", .type = MOTE_TYPE_BLOB}};
    const uint32_t key[] = {0, 1};
    struct schema *schema = lsm_schema(memory, columns, 2, key, 2, -1);
    static char text[1100];
    memset(text, 'a', sizeof text);
    static uint8_t image[IMAGE_ROOM], key_bytes[MOTE_KEY_BYTES_MAX];
    static struct row_batch prepared;
    for (uint32_t length = 0; length <= 1024; length++) {
        uint32_t row_bytes, offsets[2] = {0, length}, zero_offsets[2] = {0, 100};
        static const uint8_t zeros[100];
        struct mote_value values[2] = {{.type = MOTE_TYPE_TEXT, .as.bytes = {text, length}}, {.type = MOTE_TYPE_BLOB, .as.bytes = {zeros, 100}}};
        const struct mote_column batch_columns[2] = {{MOTE_TYPE_TEXT, 1, text, offsets, NULL}, {MOTE_TYPE_BLOB, 1, zeros, zero_offsets, NULL}};
        const struct mote_batch batch = {1, 2, batch_columns, NULL};
        /* length + 2 for the text, 2 * 100 + 2 for the blob. */
        int expected = length + 204 <= MOTE_KEY_BYTES_MAX ? MOTE_OK : MOTE_ETOOBIG;
        cr_assert_eq(row_check_values(schema, values, 2, &row_bytes), expected);
        cr_assert_eq(row_batch_check(schema, &batch, &prepared), expected);
        if (expected == MOTE_OK) {
            lsm_encode_row(schema, values, 2, 0, image);
            cr_assert_eq(key_from_row(schema, image, key_bytes), length + 204);
        }
    }
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* What an accepted image says must encode to the same image again. */
static void assert_canonical(const struct schema *schema, const uint8_t *image, uint32_t row_bytes)
{
    struct mote_value values[TYPES];
    static uint8_t again[IMAGE_ROOM];
    for (uint32_t i = 0; i < schema->column_count; i++)
        row_value(schema, schema, image, i, &values[i]);
    cr_assert_eq(lsm_encode_row(schema, values, schema->column_count, 0, again), row_bytes);
    cr_assert_arr_eq(again, image, row_bytes);
    cr_assert_leq(key_from_row(schema, image, again), MOTE_KEY_BYTES_MAX);
}

Test(lsm_row, hostile_images_are_a_row_or_an_error)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    uint64_t random = lsm_seed("lsm_row");
    static uint8_t image[IMAGE_ROOM], rooms[TYPES][LSM_VALUE_ROOM];
    int refused = 0, taken = 0;
    for (int round = 0; round < 8; round++) {
        struct mote_value values[TYPES];
        lsm_random_row(&random, schema, values, rooms);
        uint32_t row_bytes = lsm_encode_row(schema, values, TYPES, 0, image);
        uint8_t *copy = malloc(row_bytes);
        for (uint32_t at = 0; at < row_bytes * 256; at++) {
            memcpy(copy, image, row_bytes);
            copy[at / 256] = (uint8_t)at;
            if (row_image_check(schema, copy, row_bytes) == MOTE_OK) {
                assert_canonical(schema, copy, row_bytes);
                taken++;
            } else {
                refused++;
            }
        }
        free(copy);
        for (uint32_t cut = 0; cut < row_bytes; cut++) {
            copy = malloc(cut + 1);
            memcpy(copy, image, cut);
            if (row_image_check(schema, copy, cut) == MOTE_OK)
                assert_canonical(schema, copy, cut);
            free(copy);
        }
        image[row_bytes] = 0;
        cr_assert_eq(row_image_check(schema, image, row_bytes + 1), MOTE_EDAMAGED);
        cr_assert_eq(row_image_check(schema, image, UINT32_MAX), MOTE_EDAMAGED);
    }
    cr_assert(refused > 0 && taken > 0);
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_row, time_of_a_row_in_nanoseconds)
{
    static const struct {
        uint32_t type;
        int64_t i64;
        double f64;
        bool has;
        int64_t time_ns;
    } cases[] = {
        {MOTE_TYPE_TIMESTAMP, INT64_MIN, 0, true, INT64_MIN},
        {MOTE_TYPE_INT64, 42, 0, true, 42},
        {MOTE_TYPE_FLOAT64, 0, 1.5, true, 1500000000},
        {MOTE_TYPE_FLOAT64, 0, -1.25, true, -1250000000},
        {MOTE_TYPE_FLOAT64, 0, -1e-9, true, -1},
        {MOTE_TYPE_FLOAT64, 0, 4e-10, true, 0},
        {MOTE_TYPE_FLOAT64, 0, 1700000000.123456717, true, 1700000000123456717},
        {MOTE_TYPE_FLOAT64, 0, 9223372035.5, true, 9223372035500000000},
        {MOTE_TYPE_FLOAT64, 0, -9223372036.0, true, -9223372036000000000},
        {MOTE_TYPE_FLOAT64, 0, 9223372036.0, false, 0},
        {MOTE_TYPE_FLOAT64, 0, -9223372036.5, false, 0},
        {MOTE_TYPE_FLOAT64, 0, NAN, false, 0},
        {MOTE_TYPE_FLOAT64, 0, INFINITY, false, 0},
    };
    struct memory *memory = lsm_memory(1 << 20);
    uint8_t image[IMAGE_ROOM];
    int64_t time_ns;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT32}, {.name = "t", .type = cases[i].type}};
        const uint32_t key[] = {0};
        struct schema *schema = lsm_schema(memory, columns, 2, key, 1, 1), *timeless = lsm_schema(memory, columns, 2, key, 1, -1);
        struct mote_value values[2] = {{.type = MOTE_TYPE_INT32}, {.type = cases[i].type, .as.i64 = cases[i].i64}};
        if (cases[i].type == MOTE_TYPE_FLOAT64)
            values[1].as.f64 = cases[i].f64;
        lsm_encode_row(schema, values, 2, 0, image);
        cr_assert_eq(row_time(schema, image, &time_ns), cases[i].has, "case %zu", i);
        if (cases[i].has)
            cr_assert_eq(time_ns, cases[i].time_ns, "case %zu: %lld", i, (long long)time_ns);
        cr_assert_not(row_time(timeless, image, &time_ns));
        lsm_encode_row(schema, values, 1, 0, image);
        cr_assert_not(row_time(schema, image, &time_ns), "case %zu: NULL", i);
        schema_free(memory, timeless);
        schema_free(memory, schema);
    }
    memory_destroy(memory);
}
