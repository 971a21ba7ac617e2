/* chunk.h: the output of a cursor: column vectors that grow within the budget, in the layout of struct mote_column. One thread. */
#ifndef MOTE_ENGINE_CHUNK_H
#define MOTE_ENGINE_CHUNK_H

#include "engine/lsm/merge.h"

#define CHUNK_BYTES_SOFT_MAX (4ull << 20) /* a chunk ends early once its values take so much, or a sixty-fourth of the budget */

struct chunk_column {
    uint32_t position; /* in the schema */
    uint32_t type, dimension, value_bytes;
    uint8_t *values;
    uint64_t values_bytes, capacity_bytes;
    uint32_t *offsets; /* text, blob */
    uint8_t *validity;
    bool has_nulls, large, owns_values; /* owns: apart from the chunk's area */
};

struct mote_db;

struct chunk_buffer {
    struct memory *memory;
    struct mote_db *db; /* for large values, which are read into the chunk; set by whoever may ask for such columns */
    uint32_t column_count, rows_max, row_count;
    bool has_large;
    uint64_t bytes_max; /* of its values: then it ends */
    struct chunk_column *columns;
    struct mote_column *views; /* what the caller gets */
    uint8_t *area; /* one piece of memory for all bitmaps, and where they are small for all fixed values */
};

/* A column of a chunk; its position is its user's. */
struct chunk_shape {
    uint32_t position, type, dimension;
    bool large;
};

int chunk_create(struct memory *memory, const struct schema *schema, const uint32_t *positions, uint32_t column_count, uint32_t rows_max, struct chunk_buffer *chunk);
/* The same of columns that are no table's. */
int chunk_create_shaped(struct memory *memory, const struct chunk_shape *shapes, uint32_t column_count, uint32_t rows_max, struct chunk_buffer *chunk);
void chunk_destroy(struct chunk_buffer *chunk);
void chunk_clear(struct chunk_buffer *chunk);
bool chunk_full(const struct chunk_buffer *chunk);
/* Appends the merge's present row. */
int chunk_add_row(struct chunk_buffer *chunk, struct merge *merge);
/* Appends a row of one value for each column. */
int chunk_add_values(struct chunk_buffer *chunk, const struct mote_value *values);
/* Appends a row from its image. */
int chunk_add_image(struct chunk_buffer *chunk, const struct schema *schema, const struct schema *image_schema, const uint8_t *image);
/* Appends count rows of the iterator's block, from its present row on. */
int chunk_add_run(struct chunk_buffer *chunk, struct sst_iterator *iterator, uint32_t count);
/* Fills views. */
void chunk_finish(struct chunk_buffer *chunk);

#endif
