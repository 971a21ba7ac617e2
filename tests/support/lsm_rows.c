/* lsm_rows.c: see lsm_rows.h. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    struct mote_error error;
    mote_last_error(&error);
    fprintf(stderr, "lsm_rows: %s failed: %s\n", what, error.message);
    abort();
}

struct memory *lsm_memory(uint64_t budget_bytes)
{
    struct memory *memory = NULL;
    require(memory_create(budget_bytes, false, &memory) == MOTE_OK && memory_seal(memory) == MOTE_OK, "memory_create");
    return memory;
}

uint64_t lsm_seed(const char *test)
{
    const char *given = getenv("MOTE_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)now.tv_sec;
    if (seed == 0)
        seed = 1;
    printf("%s: MOTE_TEST_SEED=%llu\n", test, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

uint64_t lsm_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

uint64_t lsm_random_below(uint64_t *state, uint64_t bound) { return (lsm_random(state) >> 16) % bound; }

struct schema *lsm_schema(struct memory *memory, const struct mote_column_definition *columns, uint32_t count, const uint32_t *key, uint32_t key_count, int32_t time_column)
{
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = "arm";
    definition.columns = columns;
    definition.column_count = count;
    definition.key_columns = key;
    definition.key_column_count = key_count;
    definition.time_column = time_column;
    struct schema *schema = NULL;
    require(schema_create(memory, &definition, 7, 100, &schema) == MOTE_OK, "schema_create");
    return schema;
}

struct schema *lsm_schema_all(struct memory *memory)
{
    struct mote_column_definition columns[12];
    char names[12][4];
    for (uint32_t i = 0; i < 12; i++) {
        snprintf(names[i], sizeof names[i], "c%u", i + 1);
        columns[i] = (struct mote_column_definition){.name = names[i], .type = i + 1, .dimension = type_is_vector(i + 1) ? 3 : 0};
    }
    const uint32_t key[2] = {0, 6};
    return lsm_schema(memory, columns, 12, key, 2, 5);
}

static int64_t random_int(uint64_t *state)
{
    static const int64_t special[] = {0, 1, -1, INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, 255, 256, -256};
    uint64_t kind = lsm_random_below(state, 4);
    if (kind == 0)
        return special[lsm_random_below(state, sizeof special / sizeof special[0])];
    return (int64_t)lsm_random(state) >> (kind == 1 ? 56 : kind == 2 ? 30 : 0);
}

static double random_float(uint64_t *state, bool nan)
{
    static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, 5e-324, -5e-324, 1.7976931348623157e308, -1.0, 1.0, NAN};
    if (lsm_random_below(state, 3) == 0)
        return special[lsm_random_below(state, sizeof special / sizeof special[0] - !nan)];
    return ((double)(int64_t)lsm_random(state)) * pow(2.0, (double)lsm_random_below(state, 200) - 160.0);
}

/* Few different bytes, so that prefixes and equal values occur; zeros inside. */
static uint64_t random_bytes(uint64_t *state, bool text, uint8_t *room)
{
    static const char *const letters[] = {"a", "b", "\xC3\xA9", "\xF0\x9F\xA4\x96", "\x7F"};
    uint64_t pieces = lsm_random_below(state, 12), size_bytes = 0;
    for (uint64_t i = 0; i < pieces; i++) {
        uint64_t kind = lsm_random_below(state, 8);
        if (kind < 2) {
            room[size_bytes++] = 0;
        } else if (kind < 5) {
            room[size_bytes++] = kind == 2 ? 1 : 'a';
        } else if (!text) {
            room[size_bytes++] = kind == 5 ? 0xFF : (uint8_t)lsm_random(state);
        } else {
            const char *letter = letters[lsm_random_below(state, 5)];
            memcpy(room + size_bytes, letter, strlen(letter));
            size_bytes += strlen(letter);
        }
    }
    return size_bytes;
}

void lsm_random_value(uint64_t *state, const struct schema_column *column, bool nan, uint8_t *room, struct mote_value *value)
{
    *value = (struct mote_value){.type = column->type};
    switch (column->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        value->as.i64 = random_int(state);
        break;
    case MOTE_TYPE_INT32:
        value->as.i32 = (int32_t)random_int(state);
        break;
    case MOTE_TYPE_FLOAT64:
        value->as.f64 = random_float(state, nan);
        break;
    case MOTE_TYPE_FLOAT32:
        value->as.f32 = (float)random_float(state, nan);
        break;
    case MOTE_TYPE_BOOL:
        value->as.boolean = (uint8_t)lsm_random_below(state, 2);
        break;
    case MOTE_TYPE_POINT3:
        for (int i = 0; i < 3; i++)
            value->as.point[i] = random_float(state, nan);
        break;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
        value->as.bytes.data = room;
        value->as.bytes.size_bytes = random_bytes(state, column->type == MOTE_TYPE_TEXT, room);
        break;
    default:
        require(column->value_bytes <= LSM_VALUE_ROOM, "a vector's room");
        for (uint32_t i = 0; i < column->value_bytes; i++)
            room[i] = (uint8_t)lsm_random(state);
        value->as.bytes.data = room;
        value->as.bytes.size_bytes = column->value_bytes;
    }
}

void lsm_random_row(uint64_t *state, const struct schema *schema, struct mote_value *values, uint8_t rooms[][LSM_VALUE_ROOM])
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        bool nullable = !(schema->columns[i].flags & MOTE_COLUMN_NOT_NULL);
        lsm_random_value(state, &schema->columns[i], nullable, rooms[i], &values[i]);
        if (nullable && lsm_random_below(state, 4) == 0)
            values[i] = lsm_null(values[i].type);
    }
}

uint32_t lsm_encode_row(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image)
{
    uint32_t row_bytes = 0;
    if (row_check_values(schema, values, count, &row_bytes) != MOTE_OK || row_bytes > LSM_IMAGE_ROOM)
        abort();
    memset(image, 0xAA, row_bytes);
    row_encode_values(schema, values, count, rowid, image, row_bytes);
    if (row_image_check(schema, image, row_bytes) != MOTE_OK)
        abort();
    return row_bytes;
}

bool lsm_value_equal(const struct schema_column *column, const struct mote_value *a, const struct mote_value *b)
{
    if (a->type != column->type || b->type != column->type || (a->is_null != 0) != (b->is_null != 0))
        return false;
    if (a->is_null)
        return true;
    if (!type_is_var(column->type) && !type_is_vector(column->type))
        return memcmp(&a->as, &b->as, column->value_bytes) == 0;
    uint64_t size_bytes = a->as.bytes.size_bytes;
    return size_bytes == b->as.bytes.size_bytes && (size_bytes == 0 || memcmp(a->as.bytes.data, b->as.bytes.data, size_bytes) == 0);
}

static int order_of(double a, double b)
{
    if (a == b)
        return !!signbit(b) - !!signbit(a);
    return a < b ? -1 : 1;
}

bool lsm_row_equal(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, const struct mote_value *values)
{
    for (uint32_t i = 0; i < image_schema->column_count; i++) {
        struct mote_value value;
        row_value(schema, image_schema, image, i, &value);
        if (lsm_value_equal(&schema->columns[i], &value, &values[i]) && row_is_null(image_schema, image, i) == (values[i].is_null != 0))
            continue;
        printf("column %s is not what was put in\n", schema->columns[i].name);
        return false;
    }
    return true;
}

int lsm_value_order(const struct mote_value *a, const struct mote_value *b)
{
    switch (a->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        return (a->as.i64 > b->as.i64) - (a->as.i64 < b->as.i64);
    case MOTE_TYPE_INT32:
        return (a->as.i32 > b->as.i32) - (a->as.i32 < b->as.i32);
    case MOTE_TYPE_FLOAT64:
        return order_of(a->as.f64, b->as.f64);
    case MOTE_TYPE_FLOAT32:
        return order_of((double)a->as.f32, (double)b->as.f32);
    case MOTE_TYPE_BOOL:
        return a->as.boolean - b->as.boolean;
    default: {
        uint64_t a_bytes = a->as.bytes.size_bytes, b_bytes = b->as.bytes.size_bytes, shared = a_bytes < b_bytes ? a_bytes : b_bytes;
        int order = shared ? memcmp(a->as.bytes.data, b->as.bytes.data, shared) : 0;
        return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
    }
    }
}

struct mote_value lsm_null(uint32_t type) { return (struct mote_value){.type = type, .is_null = 1}; }
struct mote_value lsm_int64(int64_t v) { return (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = v}; }
struct mote_value lsm_text(const char *text) { return (struct mote_value){.type = MOTE_TYPE_TEXT, .as.bytes = {text, strlen(text)}}; }
