/* lsm_row_test.c: row images from values and from batches, and hostile images. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TYPES = 12, IMAGE_ROOM = 8192 };

/* A random row; NULL now and then where it may be. */
static void random_row(uint64_t *random, const struct schema *schema, struct mote_value *values, uint8_t rooms[][LSM_VALUE_ROOM])
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        lsm_random_value(random, &schema->columns[i], !(schema->columns[i].flags & MOTE_COLUMN_NOT_NULL), rooms[i], &values[i]);
        if (!(schema->columns[i].flags & MOTE_COLUMN_NOT_NULL) && lsm_random_below(random, 4) == 0)
            values[i] = lsm_null(values[i].type);
    }
}

static uint32_t encode_row(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image)
{
    uint32_t row_bytes = 0;
    cr_assert_eq(row_check_values(schema, values, count, &row_bytes), MOTE_OK);
    cr_assert_leq(row_bytes, IMAGE_ROOM);
    memset(image, 0xAA, row_bytes);
    row_encode_values(schema, values, count, rowid, image, row_bytes);
    cr_assert_eq(row_image_check(schema, image, row_bytes), MOTE_OK);
    return row_bytes;
}

static void assert_row(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, const struct mote_value *values)
{
    for (uint32_t i = 0; i < image_schema->column_count; i++) {
        struct mote_value value;
        row_value(schema, image_schema, image, i, &value);
        cr_assert(lsm_value_equal(&schema->columns[i], &value, &values[i]), "column %s", schema->columns[i].name);
        cr_assert_eq(row_is_null(image_schema, image, i), values[i].is_null != 0);
    }
}

Test(lsm_row, all_types_round_trip)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    uint64_t random = lsm_seed("lsm_row");
    static uint8_t image[IMAGE_ROOM], rooms[TYPES][LSM_VALUE_ROOM];
    for (int round = 0; round < 5000; round++) {
        struct mote_value values[TYPES];
        random_row(&random, schema, values, rooms);
        encode_row(schema, values, TYPES, 0, image);
        assert_row(schema, schema, image, values);
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
    cr_assert_eq(encode_row(schema, values, 5, 0, image), sizeof golden);
    cr_assert_arr_eq(image, golden, sizeof golden);
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* Arrow columns of random values, kept with the values that they stand for. */
struct random_batch {
    struct mote_batch batch;
    struct mote_column columns[TYPES + 1];
    uint32_t index[TYPES + 1];
    struct mote_value *values; /* [row * column_count of the schema + position]; absent columns are not set */
    uint8_t (*rooms)[LSM_VALUE_ROOM];
    void *blocks[(TYPES + 1) * 3];
    size_t block_count;
};

static void *take_block(struct random_batch *made, size_t size_bytes)
{
    void *block = calloc(1, size_bytes + 1);
    cr_assert(block != NULL);
    made->blocks[made->block_count++] = block;
    return block;
}

static void fill_column(uint64_t *random, struct random_batch *made, const struct schema *schema, uint32_t position, size_t rows, struct mote_column *column)
{
    const struct schema_column *described = &schema->columns[position];
    bool null_allowed = !(described->flags & MOTE_COLUMN_NOT_NULL) || (described->flags & MOTE_COLUMN_AUTO_INCREMENT);
    uint8_t *validity = null_allowed && lsm_random_below(random, 3) > 0 ? take_block(made, rows / 8 + 1) : NULL;
    uint32_t *offsets = type_is_var(described->type) ? take_block(made, (rows + 1) * 4) : NULL;
    uint32_t at = offsets ? (uint32_t)lsm_random_below(random, 9) : 0;
    uint8_t *bytes = take_block(made, offsets ? at + rows * LSM_VALUE_ROOM : rows * described->value_bytes);
    if (offsets)
        offsets[0] = at;
    for (size_t row = 0; row < rows; row++) {
        struct mote_value *value = &made->values[row * schema->column_count + position];
        lsm_random_value(random, described, null_allowed, made->rooms[row * schema->column_count + position], value);
        const void *from = type_is_var(described->type) || type_is_vector(described->type) ? value->as.bytes.data : (const void *)&value->as;
        uint32_t size_bytes = offsets ? (uint32_t)value->as.bytes.size_bytes : described->value_bytes;
        memcpy(bytes + at, from, size_bytes);
        at += size_bytes;
        if (offsets)
            offsets[row + 1] = at;
        if (validity && lsm_random_below(random, 3) == 0) {
            *value = lsm_null(described->type); /* the bytes under it stay, and must not be seen */
            if (type_is_var(described->type) && size_bytes > 0)
                bytes[at - 1] = 0xFF; /* not UTF-8 */
            if (described->type == MOTE_TYPE_BOOL)
                bytes[at - 1] = 9;
        } else if (validity) {
            validity[row / 8] = (uint8_t)(validity[row / 8] | 1u << row % 8);
        }
    }
    *column = (struct mote_column){described->type, described->dimension, bytes, offsets, validity};
}

static void make_batch(uint64_t *random, const struct schema *schema, size_t rows, const bool *present, struct random_batch *made)
{
    made->block_count = 0;
    made->values = calloc(rows * schema->column_count, sizeof *made->values);
    made->rooms = calloc(rows * schema->column_count, LSM_VALUE_ROOM);
    cr_assert(made->values && made->rooms);
    size_t count = 0;
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (present[i] && !schema->columns[i].hidden)
            made->index[count++] = i;
    for (size_t i = count; i > 1; i--) {
        size_t other = lsm_random_below(random, i);
        uint32_t swap = made->index[i - 1];
        made->index[i - 1] = made->index[other];
        made->index[other] = swap;
    }
    for (size_t i = 0; i < count; i++)
        fill_column(random, made, schema, made->index[i], rows, &made->columns[i]);
    made->batch = (struct mote_batch){rows, count, made->columns, made->index};
}

static void free_batch(struct random_batch *made)
{
    for (size_t i = 0; i < made->block_count; i++)
        free(made->blocks[i]);
    free(made->values);
    free(made->rooms);
}

/* Rows that are made wherever their places are, and their keys before them, are the same rows and keys. */
static void compare_scattered(const struct schema *schema, const struct row_batch *prepared, const uint8_t *expected)
{
    size_t rows = prepared->batch->row_count, stride_bytes = round_up(schema->fixed_bytes, 8), place_bytes = stride_bytes + 24, key_stride_bytes = schema->key_bytes_fixed + 3;
    uint8_t *room = malloc(rows * place_bytes + 1), **places = malloc((rows + 1) * sizeof *places), *keys = malloc(rows * key_stride_bytes + 1);
    memset(room, 0x55, rows * place_bytes);
    for (size_t row = 0; row < rows; row++)
        places[row] = room + (row * 7 % rows) * place_bytes; /* each once unless rows is a multiple of 7: then the last one wins, and is compared alone */
    bool distinct = rows % 7 != 0;
    int64_t first_rowid = 77, next = row_batch_encode_at(prepared, 0, rows, first_rowid, places);
    cr_assert_eq(next, first_rowid + prepared->auto_increment_count);
    for (size_t row = 0; row < rows && distinct; row++)
        cr_assert(memcmp(places[row], expected + row * stride_bytes, stride_bytes) == 0 && (stride_bytes == place_bytes || places[row][stride_bytes] == 0x55));
    if (schema->key_bytes_fixed) {
        cr_assert_eq(row_batch_encode_keys(prepared, 0, rows, first_rowid, keys, key_stride_bytes), next);
        for (size_t row = 0; row < rows; row++) {
            uint8_t key[MOTE_KEY_BYTES_MAX];
            cr_assert_eq(key_from_row(schema, expected + row * stride_bytes, key), schema->key_bytes_fixed);
            cr_assert(memcmp(key, keys + row * key_stride_bytes, schema->key_bytes_fixed) == 0, "the key of row %zu", row);
        }
    }
    free(room);
    free(places);
    free(keys);
}

/* All rows at once are the rows one by one, with zeros between them. */
static void compare_all_at_once(const struct schema *schema, const struct row_batch *prepared)
{
    size_t stride_bytes = round_up(schema->fixed_bytes, 8);
    uint8_t *images = malloc(prepared->batch->row_count * stride_bytes + 1), *image = calloc(1, stride_bytes);
    memset(images, 0x55, prepared->batch->row_count * stride_bytes + 1);
    int64_t rowid = 77;
    size_t half = prepared->batch->row_count / 3;
    int64_t next = row_batch_encode_rows(prepared, 0, half, rowid, images);
    next = row_batch_encode_rows(prepared, half, prepared->batch->row_count - half, next, images + half * stride_bytes);
    cr_assert_eq(next, rowid + prepared->auto_increment_count);
    for (size_t row = 0; row < prepared->batch->row_count; row++) {
        row_batch_encode(prepared, row, rowid, image, row_batch_row_bytes(prepared, row));
        rowid += row_batch_takes_rowid(prepared, row);
        cr_assert_arr_eq(images + row * stride_bytes, image, stride_bytes);
    }
    cr_assert_eq(images[prepared->batch->row_count * stride_bytes], 0x55);
    compare_scattered(schema, prepared, images);
    free(images);
    free(image);
}

/* Each row of a batch must become the bytes that the same row given as values becomes; absent columns are tried as such by giving their default as a value. */
static void compare_batch(const struct schema *schema, const struct random_batch *made, const bool *present)
{
    static struct row_batch prepared;
    static uint8_t from_batch[IMAGE_ROOM], from_values[IMAGE_ROOM];
    memset(&prepared, 0xEE, sizeof prepared);
    struct mote_error error;
    int code = row_batch_check(schema, &made->batch, &prepared);
    mote_last_error(&error);
    cr_assert_eq(code, MOTE_OK, "%s", error.message);
    uint64_t total = 0;
    uint32_t rowids = 0, hidden = schema->columns[0].hidden;
    for (size_t row = 0; row < made->batch.row_count; row++) {
        struct mote_value *values = &made->values[row * schema->column_count];
        for (uint32_t i = 0; i < schema->column_count; i++)
            if (!present[i])
                values[i] = schema->columns[i].flags & MOTE_COLUMN_HAS_DEFAULT ? schema->columns[i].default_value : lsm_null(schema->columns[i].type);
        int64_t rowid = 1000 + (int64_t)row;
        uint32_t value_bytes = encode_row(schema, values + hidden, schema->column_count - hidden, rowid, from_values);
        uint32_t row_bytes = row_batch_row_bytes(&prepared, row);
        cr_assert_eq(row_bytes, value_bytes);
        memset(from_batch, 0x55, row_bytes);
        row_batch_encode(&prepared, row, rowid, from_batch, row_bytes);
        cr_assert_arr_eq(from_batch, from_values, row_bytes);
        total += round_up(row_bytes, 8);
        cr_assert_eq(row_batch_takes_rowid(&prepared, row), row_values_take_rowid(schema, values + hidden, schema->column_count - hidden));
        rowids += row_batch_takes_rowid(&prepared, row);
        if (row_batch_takes_rowid(&prepared, row))
            values[schema->key_columns[0]] = lsm_int64(rowid);
        assert_row(schema, schema, from_batch, values);
    }
    cr_assert_eq(prepared.total_bytes, total);
    cr_assert_eq(prepared.auto_increment_count, rowids);
    if (!schema->has_var)
        compare_all_at_once(schema, &prepared);
}

static void compare_random_batches(struct schema *schema, int rounds, uint32_t needed)
{
    uint64_t random = lsm_seed("lsm_row");
    for (int round = 0; round < rounds; round++) {
        static struct random_batch made;
        bool present[TYPES + 1], all = lsm_random_below(&random, 3) == 0;
        for (uint32_t i = 0; i < schema->column_count; i++)
            present[i] = !schema->columns[i].hidden && (all || (needed >> i & 1) || lsm_random_below(&random, 2));
        make_batch(&random, schema, lsm_random_below(&random, 150), present, &made);
        compare_batch(schema, &made, present);
        free_batch(&made);
    }
}

Test(lsm_row, batches_encode_as_values_do)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    compare_random_batches(schema, 200, 1u << 0 | 1u << 6);
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* Every type with a default, NULL or not, and a key that the engine counts: hidden, or declared. */
Test(lsm_row, batches_with_defaults_and_rowids_encode_as_values_do)
{
    static const uint8_t vector[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct memory *memory = lsm_memory(1 << 20);
    struct mote_column_definition columns[TYPES];
    char names[TYPES][4];
    for (uint32_t i = 0; i < TYPES; i++) {
        uint32_t type = i + 1;
        snprintf(names[i], sizeof names[i], "c%u", type);
        columns[i] = (struct mote_column_definition){.name = names[i], .type = type, .dimension = type_is_vector(type) ? 3 : 0, .flags = MOTE_COLUMN_HAS_DEFAULT | (i % 3 == 0 ? MOTE_COLUMN_NOT_NULL : 0u)};
        columns[i].default_value = (struct mote_value){.type = type, .as.i64 = 1};
        if (type_is_vector(type))
            columns[i].default_value.as.bytes = (__typeof__(columns[i].default_value.as.bytes)){vector, type_value_bytes(type, 3)};
        else if (type_is_var(type))
            columns[i].default_value.as.bytes = (__typeof__(columns[i].default_value.as.bytes)){"default", type == MOTE_TYPE_TEXT ? 7u : 0u};
    }
    struct schema *hidden = lsm_schema(memory, columns, TYPES, NULL, 0, -1);
    cr_assert(hidden->columns[0].hidden && hidden->auto_increment);
    compare_random_batches(hidden, 100, 0);
    schema_free(memory, hidden);
    columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT;
    const uint32_t key[] = {0};
    struct schema *declared = lsm_schema(memory, columns, TYPES, key, 1, -1);
    cr_assert(!declared->columns[0].hidden && declared->auto_increment);
    compare_random_batches(declared, 100, 0);
    schema_free(memory, declared);
    /* The same without text and blob: rows of one size. */
    uint32_t fixed_count = 0;
    for (uint32_t i = 0; i < TYPES; i++)
        if (!type_is_var(columns[i].type))
            columns[fixed_count++] = columns[i];
    struct schema *fixed = lsm_schema(memory, columns, fixed_count, key, 1, -1);
    cr_assert(!fixed->has_var && fixed->auto_increment);
    compare_random_batches(fixed, 100, 0);
    schema_free(memory, fixed);
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
    random_row(&random, first, values, rooms);
    encode_row(first, values, TYPES, 0, image);
    assert_row(third, first, image, values);
    row_value(third, first, image, TYPES, &value);
    cr_assert(lsm_value_equal(&third->columns[TYPES], &value, &with.default_value));
    row_value(third, first, image, TYPES + 1, &value);
    cr_assert(value.is_null && value.type == MOTE_TYPE_INT64);
    /* A row of the newer schema that was given the old columns only. */
    struct mote_value all[TYPES + 2];
    memcpy(all, values, sizeof values);
    all[TYPES] = with.default_value;
    all[TYPES + 1] = lsm_null(MOTE_TYPE_INT64);
    encode_row(third, values, TYPES, 0, image);
    assert_row(third, third, image, all);
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
            encode_row(schema, values, 2, 0, image);
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
    cr_assert_eq(encode_row(schema, values, schema->column_count, 0, again), row_bytes);
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
        random_row(&random, schema, values, rooms);
        uint32_t row_bytes = encode_row(schema, values, TYPES, 0, image);
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
        encode_row(schema, values, 2, 0, image);
        cr_assert_eq(row_time(schema, image, &time_ns), cases[i].has, "case %zu", i);
        if (cases[i].has)
            cr_assert_eq(time_ns, cases[i].time_ns, "case %zu: %lld", i, (long long)time_ns);
        cr_assert_not(row_time(timeless, image, &time_ns));
        encode_row(schema, values, 1, 0, image);
        cr_assert_not(row_time(schema, image, &time_ns), "case %zu: NULL", i);
        schema_free(memory, timeless);
        schema_free(memory, schema);
    }
    memory_destroy(memory);
}
