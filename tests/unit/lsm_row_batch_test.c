/* lsm_row_batch_test.c: row images and keys from batches of columns: the very ones that the same rows become when they are given as values. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { TYPES = 12, IMAGE_ROOM = LSM_IMAGE_ROOM };

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
        places[row] = room + (rows - 1 - row) * place_bytes;
    int64_t first_rowid = 77, next = row_batch_encode_at(prepared, 0, rows, first_rowid, places);
    cr_assert_eq(next, first_rowid + prepared->auto_increment_count);
    for (size_t row = 0; row < rows; row++)
        cr_assert(memcmp(places[row], expected + row * stride_bytes, stride_bytes) == 0 && places[row][stride_bytes] == 0x55);
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
        uint32_t value_bytes = lsm_encode_row(schema, values + hidden, schema->column_count - hidden, rowid, from_values);
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
        cr_assert(lsm_row_equal(schema, schema, from_batch, values));
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

Test(lsm_row_batch, batches_encode_as_values_do)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    compare_random_batches(schema, 200, 1u << 0 | 1u << 6);
    schema_free(memory, schema);
    memory_destroy(memory);
}

/* Every type with a default, NULL or not, and a key that the engine counts: hidden, or declared. */
Test(lsm_row_batch, batches_with_defaults_and_rowids_encode_as_values_do)
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
