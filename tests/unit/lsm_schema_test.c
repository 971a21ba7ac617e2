/* lsm_schema_test.c: which tables may be, what their rows look like, and their serialised form. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/errors.h"
#include "engine/lsm/schema_format.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char name_63[] = "123456789012345678901234567890123456789012345678901234567890123";
static const char name_64[] = "1234567890123456789012345678901234567890123456789012345678901234";

/* A definition to break: (id int64, t timestamp, f float64, note text, v vector_f32 of 2), key (id, t). */
struct fixture {
    struct mote_column_definition columns[5];
    uint32_t key[9];
    struct mote_schema definition;
};

static void make_fixture(struct fixture *f)
{
    static const float vector[2] = {1.5f, -2.0f};
    memset(f, 0, sizeof *f);
    f->columns[0] = (struct mote_column_definition){.name = "id", .type = MOTE_TYPE_INT64};
    f->columns[1] = (struct mote_column_definition){.name = "t", .type = MOTE_TYPE_TIMESTAMP};
    f->columns[2] = (struct mote_column_definition){.name = "f", .type = MOTE_TYPE_FLOAT64, .flags = MOTE_COLUMN_HAS_DEFAULT, .default_value = {.type = MOTE_TYPE_FLOAT64, .as.f64 = -0.5}};
    f->columns[3] = (struct mote_column_definition){.name = "note", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_HAS_DEFAULT, .default_value = lsm_text("ok")};
    f->columns[4] = (struct mote_column_definition){.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = 2, .flags = MOTE_COLUMN_HAS_DEFAULT, .default_value = {.type = MOTE_TYPE_VECTOR_F32, .as.bytes = {vector, sizeof vector}}};
    f->key[0] = 0;
    f->key[1] = 1;
    f->definition = (struct mote_schema)MOTE_SCHEMA_INIT;
    f->definition.name = "arm";
    f->definition.columns = f->columns;
    f->definition.column_count = 5;
    f->definition.key_columns = f->key;
    f->definition.key_column_count = 2;
    f->definition.time_column = 1;
}

Test(lsm_schema, wrong_definitions_are_refused)
{
    struct memory *memory = lsm_memory(4 << 20);
    uint64_t used = memory_used_bytes(memory);
    static const uint8_t big[SCHEMA_ENCODED_BYTES_MAX + 1];
    struct fixture f;
    struct schema *schema;
#define REFUSED(code, change)                                                                                          \
    do {                                                                                                               \
        make_fixture(&f);                                                                                              \
        change;                                                                                                        \
        schema = NULL;                                                                                                 \
        error_set(MOTE_EINTERNAL, "old");                                                                              \
        cr_assert_eq(schema_create(memory, &f.definition, 7, 100, &schema), code, "%s", #change);                      \
        struct mote_error error;                                                                                       \
        cr_assert((code) == MOTE_OK || (mote_last_error(&error) == (code) && strcmp(error.message, "old") != 0));      \
        cr_assert_eq(schema != NULL, (code) == MOTE_OK);                                                               \
        schema_free(memory, schema);                                                                                   \
        cr_assert_eq(memory_used_bytes(memory), used, "%s: memory is kept", #change);                                  \
    } while (0)
    REFUSED(MOTE_OK, (void)0);
    /* The table. */
    REFUSED(MOTE_EINVAL, f.definition.size_bytes--);
    REFUSED(MOTE_EINVAL, f.definition.column_count = 0);
    REFUSED(MOTE_EINVAL, f.definition.columns = NULL);
    REFUSED(MOTE_ETOOBIG, f.definition.column_count = MOTE_COLUMNS_MAX + 1);
    REFUSED(MOTE_ETOOBIG, (f.definition.column_count = MOTE_COLUMNS_MAX, f.definition.key_column_count = 0));
    REFUSED(MOTE_EINVAL, f.definition.flags = 4);
    REFUSED(MOTE_OK, f.definition.flags = MOTE_TABLE_APPEND_ONLY);
    REFUSED(MOTE_OK, f.definition.flags = MOTE_TABLE_APPEND_ONLY | MOTE_TABLE_ROW_PAGES);
    REFUSED(MOTE_EINVAL, f.definition.name = NULL);
    REFUSED(MOTE_EINVAL, f.definition.name = "");
    REFUSED(MOTE_EINVAL, f.definition.name = "a\nb");
    REFUSED(MOTE_EINVAL, f.definition.name = "a\x7F");
    REFUSED(MOTE_EINVAL, f.definition.name = "\xFF");
    REFUSED(MOTE_OK, f.definition.name = "grün");
    REFUSED(MOTE_OK, f.definition.name = name_63);
    REFUSED(MOTE_ETOOBIG, f.definition.name = name_64);
    /* The key and the time. */
    REFUSED(MOTE_ETOOBIG, f.definition.key_column_count = MOTE_KEY_COLUMNS_MAX + 1);
    REFUSED(MOTE_EINVAL, f.definition.key_columns = NULL);
    REFUSED(MOTE_EINVAL, f.key[1] = 5);
    REFUSED(MOTE_EINVAL, f.key[1] = 0);
    REFUSED(MOTE_EINVAL, f.key[1] = 4);
    REFUSED(MOTE_OK, f.key[1] = 3);
    REFUSED(MOTE_OK, f.key[1] = 2);
    REFUSED(MOTE_EINVAL, (f.key[1] = 2, f.columns[2].default_value.as.f64 = NAN));
    REFUSED(MOTE_OK, f.columns[2].default_value.as.f64 = NAN);
    REFUSED(MOTE_OK, f.definition.key_column_count = 0);
    REFUSED(MOTE_EINVAL, (f.definition.key_column_count = 0, f.columns[2].name = "rowid"));
    REFUSED(MOTE_EINVAL, f.definition.time_column = 5);
    REFUSED(MOTE_EINVAL, f.definition.time_column = -2);
    REFUSED(MOTE_EINVAL, f.definition.time_column = 3);
    REFUSED(MOTE_OK, f.definition.time_column = -1);
    REFUSED(MOTE_OK, f.definition.time_column = 2);
    REFUSED(MOTE_OK, f.definition.time_column = 0);
    /* Columns. */
    REFUSED(MOTE_EINVAL, f.columns[3].name = NULL);
    REFUSED(MOTE_EINVAL, f.columns[3].name = "");
    REFUSED(MOTE_EINVAL, f.columns[3].name = "t");
    REFUSED(MOTE_ETOOBIG, f.columns[3].name = name_64);
    REFUSED(MOTE_EINVAL, f.columns[1].type = 0);
    REFUSED(MOTE_EINVAL, f.columns[1].type = 13);
    REFUSED(MOTE_EINVAL, f.columns[1].dimension = 2);
    REFUSED(MOTE_EINVAL, f.columns[4].dimension = 0);
    REFUSED(MOTE_EINVAL, f.columns[4].dimension = MOTE_VECTOR_DIMENSION_MAX + 1);
    REFUSED(MOTE_OK, (f.columns[4].dimension = MOTE_VECTOR_DIMENSION_MAX, f.columns[4].flags = 0));
    REFUSED(MOTE_EINVAL, f.columns[1].flags = 8);
    REFUSED(MOTE_EINVAL, f.columns[1].reserved = 1);
    REFUSED(MOTE_EINVAL, f.columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT);
    REFUSED(MOTE_OK, (f.columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT, f.definition.key_column_count = 1));
    REFUSED(MOTE_EINVAL, (f.columns[1].flags = MOTE_COLUMN_AUTO_INCREMENT, f.definition.key_column_count = 1));
    REFUSED(MOTE_EINVAL, (f.columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT, f.definition.key_column_count = 0));
    REFUSED(MOTE_EINVAL, (f.columns[0].type = MOTE_TYPE_INT32, f.columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT, f.definition.key_column_count = 1));
    REFUSED(MOTE_EINVAL, (f.columns[0].flags = MOTE_COLUMN_AUTO_INCREMENT | MOTE_COLUMN_HAS_DEFAULT, f.columns[0].default_value = lsm_int64(1), f.definition.key_column_count = 1));
    /* Defaults. */
    REFUSED(MOTE_EINVAL, f.columns[2].default_value.is_null = 1);
    REFUSED(MOTE_EINVAL, f.columns[2].default_value.type = MOTE_TYPE_FLOAT32);
    REFUSED(MOTE_EINVAL, f.columns[3].default_value = lsm_text("\xC0"));
    REFUSED(MOTE_EINVAL, f.columns[3].default_value.as.bytes.data = NULL);
    REFUSED(MOTE_EINVAL, f.columns[4].default_value.as.bytes.size_bytes = 4);
    REFUSED(MOTE_EINVAL, (f.columns[1].type = MOTE_TYPE_BOOL, f.definition.time_column = -1, f.columns[1].flags = MOTE_COLUMN_HAS_DEFAULT, f.columns[1].default_value = (struct mote_value){.type = MOTE_TYPE_BOOL, .as.boolean = 2}));
    REFUSED(MOTE_OK, (f.columns[3].type = MOTE_TYPE_BLOB, f.columns[3].default_value = (struct mote_value){.type = MOTE_TYPE_BLOB, .as.bytes = {NULL, 0}}));
    REFUSED(MOTE_ETOOBIG, (f.columns[3].default_value.as.bytes.data = big, f.columns[3].default_value.as.bytes.size_bytes = sizeof big));
    REFUSED(MOTE_ETOOBIG, (f.columns[3].default_value.as.bytes.data = big, f.columns[3].default_value.as.bytes.size_bytes = sizeof big - 100));
    REFUSED(MOTE_OK, (f.columns[3].default_value.as.bytes.data = big, f.columns[3].default_value.as.bytes.size_bytes = sizeof big - 1000));
    REFUSED(MOTE_ETOOBIG, (f.columns[3].default_value.as.bytes.size_bytes = UINT64_MAX));
    REFUSED(MOTE_ETOOBIG, (f.key[1] = 3, f.columns[3].default_value.as.bytes.data = big, f.columns[3].default_value.as.bytes.size_bytes = 1000));
    cr_assert_eq(schema_create(memory, NULL, 7, 100, &schema), MOTE_EINVAL);
#undef REFUSED
    memory_destroy(memory);
}

Test(lsm_schema, rows_larger_than_the_limit_are_refused)
{
    struct memory *memory = lsm_memory(8 << 20);
    static struct mote_column_definition columns[MOTE_COLUMNS_MAX];
    static char names[MOTE_COLUMNS_MAX][8];
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    const uint32_t key[] = {0};
    for (uint32_t i = 0; i < MOTE_COLUMNS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "c%u", i);
        columns[i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_INT64};
    }
    definition.name = "wide";
    definition.columns = columns;
    definition.key_columns = key;
    definition.column_count = MOTE_COLUMNS_MAX;
    definition.key_column_count = 1;
    struct schema *schema, *more;
    cr_assert_eq(schema_create(memory, &definition, 7, 100, &schema), MOTE_OK);
    cr_assert_eq(schema->fixed_bytes, 128 + 8 * MOTE_COLUMNS_MAX);
    const struct mote_column_definition one = {.name = "more", .type = MOTE_TYPE_BOOL};
    cr_assert_eq(schema_add_column(memory, schema, &one, 9999, &more), MOTE_ETOOBIG);
    schema_free(memory, schema);
    /* 8 bytes of null bits, 8 of key, 64 KiB each vector: three fit and a fourth that is 16 bytes smaller. */
    definition.column_count = 5;
    for (uint32_t i = 1; i < 5; i++)
        columns[i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_VECTOR_F32, .dimension = MOTE_VECTOR_DIMENSION_MAX};
    cr_assert_eq(schema_create(memory, &definition, 7, 100, &schema), MOTE_ETOOBIG);
    columns[4].dimension -= 4;
    cr_assert_eq(schema_create(memory, &definition, 7, 100, &schema), MOTE_OK);
    cr_assert_eq(schema->fixed_bytes, MOTE_ROW_BYTES_MAX);
    cr_assert_eq(schema_add_column(memory, schema, &one, 9999, &more), MOTE_ETOOBIG);
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_schema, layout_is_aligned_and_dense)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = lsm_schema_all(memory);
    uint8_t taken[256] = {0};
    cr_assert_eq(schema->null_bytes, 8);
    cr_assert_leq(schema->fixed_bytes, sizeof taken);
    static const uint32_t align[] = {0, 8, 4, 8, 4, 1, 8, 4, 4, 4, 2, 1, 8};
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        uint32_t size_bytes = type_is_var(column->type) ? 8 : column->value_bytes;
        cr_assert_eq(column->row_offset % align[column->type], 0);
        cr_assert(column->row_offset >= schema->null_bytes && column->row_offset + size_bytes <= schema->fixed_bytes);
        for (uint32_t at = 0; at < size_bytes; at++)
            cr_assert_eq(taken[column->row_offset + at]++, 0, "two columns share a byte");
        cr_assert_eq(column->id, 100 + i);
        cr_assert_eq(schema_find_column(schema, column->name), (int)i);
    }
    for (uint32_t at = schema->null_bytes; at < schema->fixed_bytes; at++)
        cr_assert_eq(taken[at], 1, "a gap");
    cr_assert_eq(schema_find_column(schema, "none"), -1);
    cr_assert(schema->has_var && !schema->auto_increment && schema->key_bytes_fixed == 0 && schema->key_tail_bytes == 0);
    cr_assert(schema->columns[0].flags & MOTE_COLUMN_NOT_NULL);
    cr_assert_str_eq(type_name(MOTE_TYPE_POINT3), "point3");
    cr_assert_str_eq(type_name(99), "?");
    schema_free(memory, schema);
    memory_destroy(memory);
}

Test(lsm_schema, added_column_makes_a_new_version)
{
    struct memory *memory = lsm_memory(1 << 20);
    uint64_t used = memory_used_bytes(memory);
    struct fixture f;
    make_fixture(&f);
    f.definition.key_column_count = 0;
    struct schema *old, *new = NULL;
    cr_assert_eq(schema_create(memory, &f.definition, 7, 100, &old), MOTE_OK);
    cr_assert(old->columns[0].hidden && strcmp(old->columns[0].name, "rowid") == 0 && old->time_column == 2 && old->key_bytes_fixed == 8);
    struct mote_column_definition added = {.name = "w", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_HAS_DEFAULT, .default_value = {.type = MOTE_TYPE_BLOB, .as.bytes = {"\0\1", 2}}};
    cr_assert_eq(schema_add_column(memory, old, &added, 500, &new), MOTE_OK);
    cr_assert(new->version == 2 && new->table_id == 7 && new->column_count == 7 && new->columns[6].added_in == 2 && new->columns[6].id == 500 && new->columns[0].hidden && new->time_column == 2);
    cr_assert_neq(new->columns[4].default_value.as.bytes.data, old->columns[4].default_value.as.bytes.data, "defaults are copied");
    for (uint32_t i = 0; i < old->column_count; i++)
        cr_assert(new->columns[i].id == old->columns[i].id && new->columns[i].type == old->columns[i].type && strcmp(new->columns[i].name, old->columns[i].name) == 0);
    schema_free(memory, new);
    new = NULL;
#define REFUSED(code, id, change)                                                                                      \
    do {                                                                                                               \
        struct mote_column_definition keep = added;                                                                    \
        change;                                                                                                        \
        cr_assert_eq(schema_add_column(memory, old, &added, id, &new), code, "%s", #change);                           \
        cr_assert_null(new);                                                                                           \
        added = keep;                                                                                                  \
    } while (0)
    REFUSED(MOTE_EEXISTS, 500, added.name = "note");
    REFUSED(MOTE_EEXISTS, 500, added.name = "rowid");
    REFUSED(MOTE_EINVAL, 500, added.name = NULL);
    REFUSED(MOTE_ETOOBIG, 500, added.name = name_64);
    REFUSED(MOTE_EINVAL, 500, added.flags = MOTE_COLUMN_NOT_NULL);
    REFUSED(MOTE_EINVAL, 500, (added.type = MOTE_TYPE_INT64, added.flags = MOTE_COLUMN_AUTO_INCREMENT));
    REFUSED(MOTE_EINVAL, 105, (void)0);
    REFUSED(MOTE_ETOOBIG, 500, added.default_value.as.bytes.size_bytes = UINT64_MAX);
    cr_assert_eq(schema_add_column(memory, old, NULL, 500, &new), MOTE_EINVAL);
    old->version = UINT32_MAX;
    REFUSED(MOTE_ETOOBIG, 500, (void)0);
#undef REFUSED
    schema_free(memory, old);
    cr_assert_eq(memory_used_bytes(memory), used);
    memory_destroy(memory);
}

static uint8_t *encode(const struct schema *schema, size_t *size_bytes)
{
    *size_bytes = schema_encoded_bytes(schema);
    uint8_t *bytes = malloc(*size_bytes);
    struct byte_writer writer = byte_writer_make(bytes, *size_bytes);
    schema_encode(schema, &writer);
    cr_assert(!writer.failed && byte_writer_size(&writer) == *size_bytes);
    return bytes;
}

/* The fixture with one column more, as bytes: these are on devices and may never change. */
static const uint8_t golden[] = {
    'M', 'S', 'C', 'H', 1, 0, 2, 0,  7, 0, 0, 0, 0, 0, 0, 0,  2, 0, 0, 0,  0, 0, 0, 0,  6, 0, 0, 0,  1, 0, 0, 0,  0xF0, 0, 0, 0,  3, 0,  0, 0,
    0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,  'a', 'r', 'm',
    100, 0, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,  1, 0, 0, 0,  1, 1, 2, 0,  0, 0, 0, 0,  'i', 'd',
    101, 0, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,  1, 0, 0, 0,  6, 1, 1, 0,  0, 0, 0, 0,  't',
    102, 0, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,  1, 0, 0, 0,  3, 4, 1, 0,  8, 0, 0, 0,  'f',  0, 0, 0, 0, 0, 0, 0xE0, 0xBF,
    103, 0, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,  1, 0, 0, 0,  7, 5, 4, 0,  2, 0, 0, 0,  'n', 'o', 't', 'e',  'o', 'k',
    104, 0, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,  2, 0, 0, 0,  9, 4, 1, 0,  8, 0, 0, 0,  'v',  0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0,
    0, 1, 0, 0, 0, 0, 0, 0,  2, 0, 0, 0,  1, 0, 0, 0,  5, 0, 2, 0,  0, 0, 0, 0,  'o', 'n',
};

static struct schema *make_golden_schema(struct memory *memory)
{
    struct fixture f;
    make_fixture(&f);
    struct schema *first, *second;
    cr_assert_eq(schema_create(memory, &f.definition, 7, 100, &first), MOTE_OK);
    const struct mote_column_definition on = {.name = "on", .type = MOTE_TYPE_BOOL};
    cr_assert_eq(schema_add_column(memory, first, &on, 256, &second), MOTE_OK);
    schema_free(memory, first);
    return second;
}

Test(lsm_schema, golden_bytes)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct schema *schema = make_golden_schema(memory), *decoded;
    size_t size_bytes;
    uint8_t *bytes = encode(schema, &size_bytes);
    cr_assert_eq(size_bytes, sizeof golden);
    for (size_t i = 0; i < sizeof golden; i++)
        cr_assert_eq(bytes[i], golden[i], "byte %zu is %02x", i, bytes[i]);
    struct byte_reader reader = byte_reader_make(golden, sizeof golden);
    cr_assert_eq(schema_decode(memory, &reader, &decoded), MOTE_OK);
    cr_assert_eq(byte_reader_left(&reader), 0);
    cr_assert(decoded->version == 2 && decoded->fixed_bytes == schema->fixed_bytes && decoded->key_bytes_fixed == 16 && decoded->key_tail_bytes == 8);
    cr_assert_arr_eq(decoded->default_image, schema->default_image, schema->fixed_bytes);
    cr_assert_eq(memcmp(decoded->key_parts, schema->key_parts, sizeof schema->key_parts), 0);
    schema_free(memory, decoded);
    schema_free(memory, schema);
    free(bytes);
    memory_destroy(memory);
}

/* Any older version can be made from the newest, as it was. */
Test(lsm_schema, older_versions_are_as_they_were)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct fixture f;
    make_fixture(&f);
    struct schema *versions[4], *again;
    cr_assert_eq(schema_create(memory, &f.definition, 7, 100, &versions[0]), MOTE_OK);
    for (uint32_t i = 1; i < 4; i++) {
        static const char *const names[] = {"", "x", "y", "z"};
        const struct mote_column_definition column = {.name = names[i], .type = i == 1 ? MOTE_TYPE_INT64 : MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_HAS_DEFAULT, .default_value = i == 1 ? lsm_int64(-1) : lsm_text(names[i])};
        cr_assert_eq(schema_add_column(memory, versions[i - 1], &column, 500 + i, &versions[i]), MOTE_OK);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(schema_at_version(memory, versions[3], i + 1, &again), MOTE_OK);
        size_t expected_bytes, again_bytes;
        uint8_t *expected = encode(versions[i], &expected_bytes), *bytes = encode(again, &again_bytes);
        cr_assert_eq(again_bytes, expected_bytes);
        cr_assert_arr_eq(bytes, expected, expected_bytes);
        cr_assert_arr_eq(again->default_image, versions[i]->default_image, versions[i]->fixed_bytes);
        free(expected);
        free(bytes);
        schema_free(memory, again);
    }
    /* A time column that came later would leave the first version without it: no device may claim that. */
    size_t size_bytes;
    uint8_t *bytes = encode(versions[3], &size_bytes);
    struct byte_reader reader = byte_reader_make(bytes, size_bytes);
    bytes[28] = 5;
    cr_assert_eq(schema_decode(memory, &reader, &again), MOTE_EDAMAGED);
    free(bytes);
    for (uint32_t i = 0; i < 4; i++)
        schema_free(memory, versions[i]);
    memory_destroy(memory);
}

/* Random tables survive; the reader stops at the end of the schema, whatever follows. */
Test(lsm_schema, round_trips)
{
    struct memory *memory = lsm_memory(4 << 20);
    uint64_t random = lsm_seed("lsm_schema"), used = memory_used_bytes(memory);
    for (int round = 0; round < 300; round++) {
        struct mote_column_definition columns[40];
        static char names[40][16];
        static uint8_t rooms[40][LSM_VALUE_ROOM];
        uint32_t count = 1 + (uint32_t)lsm_random_below(&random, 40), key[4], key_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct schema_column like = {.type = 1 + (uint32_t)lsm_random_below(&random, 12)};
            like.dimension = type_is_vector(like.type) ? 1 + (uint32_t)lsm_random_below(&random, 50) : 1;
            like.value_bytes = type_value_bytes(like.type, like.dimension);
            snprintf(names[i], sizeof names[i], "c%u", i);
            columns[i] = (struct mote_column_definition){.name = names[i], .type = like.type, .dimension = like.dimension, .flags = (uint32_t)lsm_random_below(&random, 2) * MOTE_COLUMN_HAS_DEFAULT};
            columns[i].flags |= (uint32_t)lsm_random_below(&random, 2) * MOTE_COLUMN_NOT_NULL;
            lsm_random_value(&random, &like, false, rooms[i], &columns[i].default_value);
            if (key_count < 4 && type_is_key(like.type) && lsm_random_below(&random, 3) == 0)
                key[key_count++] = i;
        }
        struct schema *schema = lsm_schema(memory, columns, count, key, key_count, -1), *decoded;
        size_t size_bytes, again_bytes;
        uint8_t *bytes = encode(schema, &size_bytes);
        uint8_t *longer = malloc(size_bytes + 3);
        memcpy(longer, bytes, size_bytes);
        struct byte_reader reader = byte_reader_make(longer, size_bytes + 3);
        cr_assert_eq(schema_decode(memory, &reader, &decoded), MOTE_OK);
        cr_assert_eq(byte_reader_left(&reader), 3);
        free(longer); /* the decoded schema keeps nothing of it */
        uint8_t *again = encode(decoded, &again_bytes);
        cr_assert_eq(again_bytes, size_bytes);
        cr_assert_arr_eq(again, bytes, size_bytes);
        cr_assert_arr_eq(decoded->default_image, schema->default_image, schema->fixed_bytes);
        free(again);
        free(bytes);
        schema_free(memory, decoded);
        schema_free(memory, schema);
    }
    cr_assert_eq(memory_used_bytes(memory), used);
    memory_destroy(memory);
}

/* A decoded schema must be one that could have been made: it encodes to the very bytes it came from. */
static bool decode_hostile(struct memory *memory, const uint8_t *bytes, size_t size_bytes)
{
    struct schema *decoded = NULL;
    struct byte_reader reader = byte_reader_make(bytes, size_bytes);
    uint64_t used = memory_used_bytes(memory);
    int code = schema_decode(memory, &reader, &decoded);
    if (code == MOTE_OK) {
        size_t again_bytes;
        uint8_t *again = encode(decoded, &again_bytes);
        cr_assert_leq(again_bytes, size_bytes);
        cr_assert_arr_eq(again, bytes, again_bytes);
        free(again);
        schema_free(memory, decoded);
    } else {
        cr_assert_eq(code, MOTE_EDAMAGED);
        cr_assert_null(decoded);
    }
    cr_assert_eq(memory_used_bytes(memory), used);
    return code == MOTE_OK;
}

static void attack(struct memory *memory, const uint8_t *bytes, size_t size_bytes, uint64_t *random)
{
    uint8_t *copy = malloc(size_bytes);
    int refused = 0, taken = 0;
    for (size_t at = 0; at < size_bytes * 256; at++) {
        memcpy(copy, bytes, size_bytes);
        copy[at / 256] = (uint8_t)at;
        bool ok = decode_hostile(memory, copy, size_bytes);
        taken += ok;
        refused += !ok;
    }
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, bytes, size_bytes);
        for (int k = 0; k < 3; k++)
            copy[lsm_random_below(random, size_bytes)] = (uint8_t)(lsm_random_below(random, 3) ? lsm_random(random) : 0xFF);
        decode_hostile(memory, copy, size_bytes);
    }
    free(copy);
    for (size_t cut = 0; cut < size_bytes; cut++) {
        copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        cr_assert_not(decode_hostile(memory, copy, cut), "cut at %zu", cut);
        free(copy);
    }
    cr_assert(refused > 0 && taken > 0);
}

Test(lsm_schema, hostile_bytes_are_a_schema_or_an_error)
{
    struct memory *memory = lsm_memory(4 << 20);
    uint64_t random = lsm_seed("lsm_schema");
    attack(memory, golden, sizeof golden, &random);
    const struct mote_column_definition columns[] = {{.name = "x", .type = MOTE_TYPE_TEXT}};
    struct schema *hidden = lsm_schema(memory, columns, 1, NULL, 0, -1);
    size_t size_bytes;
    uint8_t *bytes = encode(hidden, &size_bytes);
    attack(memory, bytes, size_bytes, &random);
    free(bytes);
    schema_free(memory, hidden);
    memory_destroy(memory);
}

/* Each allocation fails in turn: MOTE_EBUDGET, and nothing is kept. */
Test(lsm_schema, failing_memory_is_reported)
{
    struct memory *memory = lsm_memory(1 << 20);
    struct fixture f;
    make_fixture(&f);
    struct schema *base = make_golden_schema(memory);
    const struct mote_column_definition more = {.name = "more", .type = MOTE_TYPE_INT32};
    uint64_t used = memory_used_bytes(memory);
    for (int call = 0; call < 3; call++) {
        int64_t n = 0;
        for (int code = MOTE_EBUDGET; code != MOTE_OK; n++) {
            struct schema *schema = NULL;
            struct byte_reader reader = byte_reader_make(golden, sizeof golden);
            memory_fail_after(memory, n, false);
            code = call == 0 ? schema_create(memory, &f.definition, 7, 100, &schema) : call == 1 ? schema_add_column(memory, base, &more, 999, &schema) : schema_decode(memory, &reader, &schema);
            memory_fail_after(memory, -1, false);
            cr_assert(code == MOTE_OK || code == MOTE_EBUDGET);
            schema_free(memory, schema);
            cr_assert_eq(memory_used_bytes(memory), used);
        }
        cr_assert_eq(n, 3, "two allocations, then success");
    }
    schema_free(memory, base);
    memory_destroy(memory);
}
