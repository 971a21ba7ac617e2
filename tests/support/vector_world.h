/* vector_world.h: vector sections in memory and sets of vectors, for the tests and the fuzz target of the vector index. Plain helpers; what they cannot do aborts the program. */
#ifndef MOTE_TESTS_SUPPORT_VECTOR_WORLD_H
#define MOTE_TESTS_SUPPORT_VECTOR_WORLD_H

#include "index/vector.h"
#include "tests/support/section_world.h"

struct vector_world {
    struct section_world pages;
    struct vector_section section;
};

/* Vectors for the ordinals that have one. */
struct vector_rows {
    uint32_t count, dimension;
    uint32_t *ordinals; /* ascending */
    float *vectors;     /* count * dimension */
    uint64_t row_count; /* above every ordinal */
};

enum { VECTOR_SHAPES = 10 };
extern const char *const vector_shape_names[VECTOR_SHAPES];

/* The caller frees with vector_rows_free. state: of codec_check_random. sparse: some rows have no vector. */
struct vector_rows vector_rows_make(uint64_t *state, uint32_t shape, uint32_t count, uint32_t dimension, bool sparse);
void vector_rows_free(struct vector_rows *rows);
static inline const float *vector_row(const struct vector_rows *rows, uint32_t i) { return rows->vectors + (size_t)i * rows->dimension; }

void vector_world_begin(struct vector_world *world, struct memory *memory, bool gaps, bool prefetch);
/* Builds the section of the rows; vector_world_begin before. */
void vector_world_build(struct vector_world *world, const struct vector_rows *rows, const struct vector_options *options);
/* Makes the page at offset_bytes and its way up to the root agree with what stands in it: an author who lies, not a device that fails. */
void vector_world_reseal(struct vector_world *world, uint64_t offset_bytes);
/* The offsets of all pages, at most max; how many there are. */
uint32_t vector_world_pages(const struct vector_world *world, uint64_t *offsets, uint32_t max);
struct vector_index *vector_world_open(const struct vector_world *world, bool resident);

/* The distance as vector.h defines it, by the plainest loops. */
double vector_world_distance(enum vector_metric metric, const float *query, const float *vector, uint32_t dimension);
/* All rows that keep (NULL: all) takes, by distance, then ordinal; the caller frees. *count: how many. */
struct vector_hit *vector_world_ranked(const struct vector_rows *rows, enum vector_metric metric, const float *query, bool (*keep)(void *context, uint32_t ordinal), void *context, uint32_t *count);

#endif
