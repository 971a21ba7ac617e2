/* lsm_rows.h: what the tests of schemas, rows, keys and memtables share: memory, random values, schemas, comparison bit for bit. */
#ifndef MOTE_TESTS_SUPPORT_LSM_ROWS_H
#define MOTE_TESTS_SUPPORT_LSM_ROWS_H

#include "blockdev/base/memory.h"
#include "engine/lsm/schema.h"

/* A sealed budget. Aborts the test if there is none. */
struct memory *lsm_memory(uint64_t budget_bytes);
/* MOTE_TEST_SEED, or one from the clock; never 0; printed with the test's name. */
uint64_t lsm_seed(const char *test);
uint64_t lsm_random(uint64_t *state);
/* 0 to bound - 1. */
uint64_t lsm_random_below(uint64_t *state, uint64_t bound);

/* A schema from a list; key: positions, none if key_count is 0. Aborts if it is refused. */
struct schema *lsm_schema(struct memory *memory, const struct mote_column_definition *columns, uint32_t count, const uint32_t *key, uint32_t key_count, int32_t time_column);
/* One column of each type, c1 (int64) to c12 (point3), all nullable but the key (c1, c7); vectors of dimension 3. */
struct schema *lsm_schema_all(struct memory *memory);

/* A random value of the column's type, often a special one (infinities, extremes, empty, embedded zeros); its bytes go to room[LSM_VALUE_ROOM]. NaN only if nan. */
enum { LSM_VALUE_ROOM = 256 };
void lsm_random_value(uint64_t *state, const struct schema_column *column, bool nan, uint8_t *room, struct mote_value *value);
/* A random row; NULL now and then where it may be. */
void lsm_random_row(uint64_t *state, const struct schema *schema, struct mote_value *values, uint8_t rooms[][LSM_VALUE_ROOM]);
/* The image of a row that the schema takes, of at most LSM_IMAGE_ROOM bytes; its size. Aborts if the row, or the image, is refused. */
enum { LSM_IMAGE_ROOM = 8192 };
uint32_t lsm_encode_row(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image);
/* Same type, same NULL, same bits. */
bool lsm_value_equal(const struct schema_column *column, const struct mote_value *a, const struct mote_value *b);
/* Whether the image's columns are these values, seen with schema; false: says which is not. */
bool lsm_row_equal(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, const struct mote_value *values);
/* How two values of a key type order: the reference that the bytes of keys are held against (-0.0 before +0.0). */
int lsm_value_order(const struct mote_value *a, const struct mote_value *b);
/* A value that is NULL. */
struct mote_value lsm_null(uint32_t type);
struct mote_value lsm_int64(int64_t v);
struct mote_value lsm_text(const char *text);

#endif
