/* column_world.h: column sections in memory, columns of random values, and what a search of them must give by looking at every row, for the tests and the fuzz target of the column index. Plain helpers; what they cannot do aborts the
 * program. */
#ifndef MOTE_TESTS_SUPPORT_COLUMN_WORLD_H
#define MOTE_TESTS_SUPPORT_COLUMN_WORLD_H

#include "index/column_index.h"
#include "tests/support/section_world.h"

struct column_world {
    struct section_world pages;
    struct column_section section;
};

void column_world_begin(struct column_world *world, struct memory *memory, bool gaps, bool prefetch);
/* Makes all pages' checksums, and what parents repeat of them, agree with what stands in them: an author who lies, not a device that fails. Only for sections without gaps. */
void column_world_reseal(struct column_world *world);

enum { COLUMN_TYPES = 8, COLUMN_SHAPES = 9 };
extern const uint32_t column_types[COLUMN_TYPES];

/* A column of rows; values and offsets are laid out for a codec_vector. */
struct column_rows {
    uint32_t type, count;
    uint8_t *values;
    uint32_t *offsets; /* text and blob */
    uint8_t *validity; /* NULL: no NULLs */
};

/* The caller frees with column_rows_free. state: of codec_check_random. */
struct column_rows column_rows_make(uint64_t *state, uint32_t type, uint32_t shape, uint32_t count, bool nulls);
void column_rows_free(struct column_rows *rows);
bool column_rows_is_null(const struct column_rows *rows, uint32_t row);
struct mote_value column_rows_value(const struct column_rows *rows, uint32_t row);
/* Rows [from, from + count) as a vector; validity must be of sizeof (count + 7) / 8 bytes. */
struct codec_vector column_rows_slice(const struct column_rows *rows, uint32_t from, uint32_t count, uint8_t *validity);
/* Builds the section of rows, handed over in pieces; column_world_begin before. */
int column_world_build(struct column_world *world, struct memory *memory, const struct column_rows *rows, uint32_t page_bytes, uint64_t *state);

/* The rows of an answer in order, by looking at each; the caller frees. */
uint32_t *column_rows_answer(const struct column_rows *rows, const struct column_query *query, uint32_t *count);
/* Whether the hits are of these rows, values included. */
bool column_rows_fit(const struct column_rows *rows, const struct column_hits *hits, const uint32_t *ordinals);

#endif
