/* log_columns_test.c: batches of columns in the log: what comes back makes the same rows, and damaged or hostile bytes are refused without a fault. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "blockdev/base/memory.h"
#include "engine/log_columns.h"
#include "tests/support/lsm_rows.h"

enum { COLUMNS = 6, ROWS_MAX = 3000 };

struct setting {
    struct memory *memory;
    struct schema *schema;
    struct log_batch *batch;
    int32_t series[ROWS_MAX];
    int64_t times[ROWS_MAX];
    float values[ROWS_MAX];
    double doubles[ROWS_MAX];
    uint8_t flags[ROWS_MAX], validity[ROWS_MAX / 8 + 1];
};

/* hidden: the engine makes the key. */
static struct setting *make_setting(uint64_t seed, bool hidden)
{
    const struct mote_column_definition columns[COLUMNS] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "v", .type = MOTE_TYPE_FLOAT32},
                                                            {.name = "d", .type = MOTE_TYPE_FLOAT64}, {.name = "b", .type = MOTE_TYPE_BOOL},         {.name = "absent", .type = MOTE_TYPE_INT64}};
    const uint32_t key[] = {0, 1};
    struct setting *s = calloc(1, sizeof *s);
    uint64_t random = seed;
    s->memory = lsm_memory(16 << 20);
    s->schema = lsm_schema(s->memory, columns, COLUMNS, hidden ? NULL : key, hidden ? 0 : 2, 1);
    s->batch = memory_alloc_zero(s->memory, sizeof *s->batch);
    for (uint32_t i = 0; i < ROWS_MAX; i++) {
        s->series[i] = (int32_t)(i % 7);
        s->times[i] = (int64_t)i * 1000000 - (int64_t)lsm_random_below(&random, 3);
        s->values[i] = (float)lsm_random_below(&random, 10000) / 100.0f;
        s->doubles[i] = (double)lsm_random(&random);
        s->flags[i] = (uint8_t)lsm_random_below(&random, 2);
        s->validity[i / 8] = (uint8_t)lsm_random(&random);
    }
    return s;
}

static void free_setting(struct setting *s)
{
    log_batch_free(s->memory, s->batch);
    schema_free(s->memory, s->schema);
    memory_destroy(s->memory);
    free(s);
}

/* The operation of the first row_count rows; *op_bytes 0: it is not taken. */
static uint8_t *encode(struct setting *s, uint32_t row_count, int64_t rowid, struct row_batch *prepared, struct log_op *op)
{
    struct mote_column columns[COLUMNS] = {{MOTE_TYPE_INT32, 0, s->series, NULL, NULL},  {MOTE_TYPE_TIMESTAMP, 0, s->times, NULL, NULL}, {MOTE_TYPE_FLOAT32, 0, s->values, NULL, s->validity},
                                           {MOTE_TYPE_FLOAT64, 0, s->doubles, NULL, NULL}, {MOTE_TYPE_BOOL, 0, s->flags, NULL, NULL}};
    static struct mote_column given[COLUMNS];
    static struct mote_batch batch;
    memcpy(given, columns, sizeof given);
    batch = (struct mote_batch){.row_count = row_count, .column_count = COLUMNS - 1, .columns = given};
    cr_assert_eq(row_batch_check(s->schema, &batch, prepared), MOTE_OK);
    struct log_columns encoded;
    if (!log_columns_encode(s->memory, prepared, rowid, NULL, &encoded))
        return NULL;
    uint8_t *bytes = malloc(LOG_OP_HEADER_BYTES + encoded.size_bytes);
    *op = (struct log_op){LOG_OP_COLUMNS, 0, 1, row_count, LOG_OP_HEADER_BYTES + encoded.size_bytes, 0, 1};
    log_op_encode(bytes, op);
    memcpy(bytes + LOG_OP_HEADER_BYTES, encoded.data, encoded.size_bytes);
    log_columns_free(s->memory, &encoded);
    return bytes;
}

static void compare_rows(const struct setting *s, const struct row_batch *before, int64_t rowid)
{
    size_t stride_bytes = round_up(s->schema->fixed_bytes, 8), row_count = before->batch->row_count;
    uint8_t *expected = malloc(row_count * stride_bytes), *found = malloc(row_count * stride_bytes);
    cr_assert_eq(s->batch->first_rowid, rowid);
    cr_assert_eq(row_batch_encode_rows(before, 0, row_count, rowid, expected), row_batch_encode_rows(&s->batch->prepared, 0, row_count, s->batch->first_rowid, found));
    cr_assert(memcmp(expected, found, row_count * stride_bytes) == 0);
    free(expected);
    free(found);
}

Test(log_columns, a_batch_comes_back_as_it_was)
{
    static struct row_batch prepared;
    for (int hidden = 0; hidden < 2; hidden++) {
        struct setting *s = make_setting(1 + (uint64_t)hidden, hidden);
        for (uint32_t row_count = 1; row_count <= ROWS_MAX; row_count += row_count / 3 + 1) {
            struct log_op op, decoded;
            const char *what;
            uint8_t *bytes = encode(s, row_count, hidden ? 1000 : 0, &prepared, &op);
            cr_assert_eq(bytes != NULL, row_count >= LOG_COLUMNS_ROWS_MIN, "%u rows", row_count);
            if (!bytes)
                continue;
            cr_assert(log_op_decode(bytes, op.op_bytes, &decoded) && memcmp(&decoded, &op, sizeof op) == 0);
            cr_assert_eq(log_columns_decode(s->memory, s->schema, &decoded, bytes + LOG_OP_HEADER_BYTES, s->batch, &what), MOTE_OK);
            compare_rows(s, &prepared, hidden ? 1000 : 0);
            free(bytes);
        }
        free_setting(s);
    }
}

/* The frame's checksum has passed before: here it is the structure alone that must hold. Each byte changed, each length cut, in a buffer of exactly its size. */
Test(log_columns, hostile_bytes_are_refused)
{
    static struct row_batch prepared;
    struct setting *s = make_setting(9, false);
    struct log_op op;
    const char *what;
    uint64_t random = 5, refused = 0;
    uint8_t *bytes = encode(s, 200, 0, &prepared, &op);
    cr_assert(bytes != NULL);
    for (uint32_t at = LOG_OP_HEADER_BYTES; at < op.op_bytes; at++) {
        uint8_t *copy = malloc(op.op_bytes);
        memcpy(copy, bytes, op.op_bytes);
        copy[at] ^= (uint8_t)(1u << lsm_random_below(&random, 8));
        int result = log_columns_decode(s->memory, s->schema, &op, copy + LOG_OP_HEADER_BYTES, s->batch, &what);
        cr_assert(result == MOTE_OK || result == MOTE_EDAMAGED, "byte %u: %d", at, result);
        refused += result != MOTE_OK;
        free(copy);
    }
    cr_assert_gt(refused, 20u);
    for (uint32_t size_bytes = LOG_OP_HEADER_BYTES; size_bytes < op.op_bytes; size_bytes += 8) {
        struct log_op cut = op;
        uint8_t *copy = malloc(size_bytes);
        memcpy(copy, bytes, size_bytes);
        cut.op_bytes = size_bytes;
        int result = log_columns_decode(s->memory, s->schema, &cut, copy + LOG_OP_HEADER_BYTES, s->batch, &what);
        cr_assert(result == MOTE_EDAMAGED || result == MOTE_OK); /* a column less is a batch that lacks it, where it may */
        free(copy);
    }
    struct log_op many = op;
    many.row_count = UINT32_MAX;
    cr_assert_eq(log_columns_decode(s->memory, s->schema, &many, bytes + LOG_OP_HEADER_BYTES, s->batch, &what), MOTE_EDAMAGED);
    free(bytes);
    free_setting(s);
}
