/* columns.h: a batch under construction: one growing Arrow-like column for each field of the input, filled row by row
 * from text and handed to mote_append_columns as it is. Nothing is allocated per row once the buffers have reached
 * their size.
 *
 * How a field becomes a value (the same text that print.c writes)
 *   empty, not quoted  NULL
 *   int64, int32       decimal digits with an optional sign
 *   float64, float32   decimal, nan, inf (number.h)
 *   bool               true, false, t, f, yes, no, 1, 0
 *   timestamp          integer nanoseconds, or RFC 3339
 *   text               the field, which must be UTF-8
 *   blob               0x and pairs of hexadecimal digits
 *   vectors, point3    [1,2,3] with exactly the dimension's elements
 * Blanks around numbers are allowed.
 */
#ifndef MOTE_TOOLS_COLUMNS_H
#define MOTE_TOOLS_COLUMNS_H

#include "include/mote.h"

struct column_builder {
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint32_t type;          /* enum mote_type */
    uint32_t dimension;     /* of a vector */
    bool required;          /* NULL is refused */
    bool has_null;          /* in the present batch */
    uint32_t element_bytes; /* of a fixed type, else 0 */
    uint8_t *values;
    size_t values_used, values_capacity; /* bytes */
    uint32_t *offsets;                   /* of text and blobs */
    uint8_t *validity;
};

struct batch_builder {
    size_t column_count;
    struct column_builder *columns;
    size_t row_count, row_capacity;
    uint64_t *lines;      /* of the input, one for each row */
    uint64_t fixed_bytes; /* of one row, about what the engine's row image takes */
    uint64_t used_bytes;  /* of the batch, likewise */
};

/* What is wrong with a field. */
struct field_problem {
    size_t column;
    char expected[96];
};

/* Sizes the buffers for row_capacity rows. columns[] have name, type, dimension and required set; they are copied. */
void batch_init(struct batch_builder *batch, const struct column_builder *columns, size_t column_count,
                size_t row_capacity);
void batch_free(struct batch_builder *batch);
void batch_clear(struct batch_builder *batch);

struct csv_field;
/* Adds one row. On false nothing was added and *problem tells why. fields: one for each column. */
bool batch_add(struct batch_builder *batch, const struct csv_field *fields, uint64_t line,
               struct field_problem *problem);

/* Fills columns[column_count] with rows [first, first + count). scratch: column_count * ((count + 7) / 8 + 1) bytes,
 * used when first is no multiple of 8. */
void batch_slice(const struct batch_builder *batch, size_t first, size_t count, struct mote_column *columns,
                 uint8_t *scratch);

/* One value from text, for keys on the command line: bytes go to *bytes (to be freed). False: *problem. */
bool value_parse(uint32_t type, uint32_t dimension, const char *text, size_t length, struct mote_value *value,
                 void **bytes, struct field_problem *problem);

/* The name of a type in messages, --types and info, for example "vector_f32"; and back: 0 if there is none. */
const char *type_text(uint32_t type);
uint32_t type_from_text(const char *text, size_t length);
/* Bytes of one element of a vector; 0 for other types. */
uint32_t vector_element_bytes(uint32_t type);
/* Bytes of one value of a fixed type; 0 for text and blobs. */
uint32_t fixed_value_bytes(uint32_t type, uint32_t dimension);

#endif
