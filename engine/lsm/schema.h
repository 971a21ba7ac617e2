/* schema.h: what a table is, how a row lies in memory and how its key becomes bytes that memcmp orders.
 *
 * Schemas are immutable once published: adding a column makes a new `struct schema` with version + 1 and the same table id; old ones live as long as the table's memory. Ids are 64-bit and never reused.
 *
 * Row image (memtable and log; little-endian; not used on the device outside the log):
 *     null bitmap   (column_count + 7) / 8 bytes, bit set = NULL, then zero padding to 8
 *     fixed area    each column at schema->columns[i].row_offset: its value, naturally sized (bool 1, int32/float32 4, int64/float64/timestamp 8, point3 24, vectors dimension * width),
 *                   text and blob: u32 offset from the start of the row image, u32 length
 *     var area      bytes of text and blobs
 *   Offsets are assigned by descending alignment (8, 4, 2, 1) so that no padding is needed. fixed_bytes is the size up to the var area.
 *   A row image is always of its schema's version; a reader with a newer schema fills absent columns with the default.
 *
 * Key bytes: the key columns' values, concatenated, in a form whose memcmp order is the value order: int64/timestamp big-endian with the sign bit flipped; int32 likewise in 4 bytes; bool 1 byte; floats: big-endian bits, all flipped
 * when negative, else the sign bit flipped (so -0.0 < +0.0; NaN refused); text and blob: bytes with 0x00 escaped as 0x00 0xFF, ended by 0x00 0x00 (a prefix sorts before its extensions). At most MOTE_KEY_BYTES_MAX.
 *
 * Threads: pure functions on immutable data. Failures: MOTE_ESCHEMA, MOTE_ETOOBIG, MOTE_EINVAL, with a sentence that names table and column.
 */
#ifndef MOTE_ENGINE_LSM_SCHEMA_H
#define MOTE_ENGINE_LSM_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blockdev/base/bytes.h"
#include "include/mote.h"

struct memory;

struct schema_column {
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t id;          /* never reused within the volume */
    uint32_t type;        /* enum mote_type */
    uint32_t dimension;   /* of vectors, else 1 */
    uint32_t flags;       /* enum mote_column_flags */
    uint32_t row_offset;  /* in the row image */
    uint32_t value_bytes; /* fixed size in the row image and in a column vector; text, blob: 8 in the image, 0 here */
    uint32_t added_in;    /* schema version that brought it */
    bool hidden;          /* the rowid made by the engine */
    struct mote_value default_value; /* bytes point into the schema's memory */
};

struct schema {
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t table_id;
    uint32_t version;      /* from 1 */
    uint32_t flags;        /* enum mote_table_flags */
    uint32_t column_count; /* with the hidden rowid, which is column 0 then */
    uint32_t key_column_count;
    uint32_t key_columns[MOTE_KEY_COLUMNS_MAX];
    int32_t time_column; /* or -1 */
    bool auto_increment; /* the key is one AUTO_INCREMENT int64 */
    bool has_var;        /* any text or blob column */
    uint32_t null_bytes, fixed_bytes;
    uint32_t key_bytes_fixed; /* size of every key, or 0 when it varies */
    struct schema_column columns[];
};

bool type_is_var(uint32_t type);       /* text, blob */
bool type_is_vector(uint32_t type);
bool type_is_key(uint32_t type);       /* may be in a key */
uint32_t type_value_bytes(uint32_t type, uint32_t dimension); /* 0 for text, blob */
const char *type_name(uint32_t type);  /* "int64", ... ; "?" */

/* Checks a public definition and builds the schema (adds the hidden rowid when no key is given). Column ids are next_column_id... *schema is memory_alloc'ed. */
int schema_create(struct memory *memory, const struct mote_schema *definition, uint64_t table_id, uint64_t next_column_id, struct schema **schema);
/* The schema with one more column. */
int schema_add_column(struct memory *memory, const struct schema *old, const struct mote_column_definition *column, uint64_t column_id, struct schema **schema);
void schema_free(struct memory *memory, struct schema *schema);
/* Position of the column of that name, or -1. */
int schema_find_column(const struct schema *schema, const char *name);
/* Serialised form (manifest, log): see schema_format.h. */
size_t schema_encoded_bytes(const struct schema *schema);
void schema_encode(const struct schema *schema, struct byte_writer *writer);
/* MOTE_EDAMAGED for anything that schema_create would not have made. */
int schema_decode(struct memory *memory, struct byte_reader *reader, struct schema **schema);

/* ---- Rows: from values or from a batch to row images ---- */

/* Checks values[0..count) against the schema (types, NOT NULL, UTF-8, NaN in keys, limits) and gives the row image's size. Values beyond count take their defaults; the hidden rowid is not among them. rowid: value of the AUTO_INCREMENT column when absent. */
int row_check_values(const struct schema *schema, const struct mote_value *values, size_t count, uint32_t *row_bytes);
/* Writes the image (exactly row_bytes). */
void row_encode_values(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image, uint32_t row_bytes);
/* A batch, checked as a whole before anything is written; afterwards row i's size is row_batch_bytes(...). */
struct row_batch {
    const struct schema *schema;
    const struct mote_batch *batch;
    const struct mote_column *by_position[MOTE_COLUMNS_MAX]; /* NULL: default */
    uint64_t total_bytes;         /* of all row images, each rounded up to 8 */
    uint32_t auto_increment_count; /* rows whose rowid is to be made */
};
int row_batch_check(const struct schema *schema, const struct mote_batch *batch, struct row_batch *prepared);
uint32_t row_batch_row_bytes(const struct row_batch *prepared, size_t row);
void row_batch_encode(const struct row_batch *prepared, size_t row, int64_t rowid, uint8_t *image, uint32_t row_bytes);
/* Checks an image from the log: every offset inside, bits of unused nulls zero. */
int row_image_check(const struct schema *schema, const uint8_t *image, uint32_t row_bytes);
bool row_is_null(const struct schema *schema, const uint8_t *image, uint32_t column);
/* The value of a column of a row image that was made with `image_schema`, as seen with `schema` (newer or the same). Bytes point into image or schema. */
void row_value(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, uint32_t column, struct mote_value *value);
/* The row's time in nanoseconds (timestamp and int64 as they are; float64 seconds: nearest nanosecond). false: no time column, or NULL, or a float out of range. */
bool row_time(const struct schema *schema, const uint8_t *image, int64_t *time_ns);
bool value_time(const struct schema_column *column, const struct mote_value *value, int64_t *time_ns);

/* ---- Keys ---- */

/* Key bytes of a row image into key[MOTE_KEY_BYTES_MAX]; the size. row_check has made sure that it fits. */
uint32_t key_from_row(const struct schema *schema, const uint8_t *image, uint8_t *key);
/* Key bytes of the first `count` key columns given as values (a whole key, or a prefix for scans). */
int key_from_values(const struct schema *schema, const struct mote_value *values, size_t count, uint8_t *key, uint32_t *key_bytes);
/* One value's key form, appended; for tests and the SSTable reader. Returns bytes written; room must suffice (key_value_bytes_max). */
uint32_t key_append_value(uint32_t type, const struct mote_value *value, uint8_t *at);
/* Decodes key bytes back into values (text and blob unescaped into scratch[MOTE_KEY_BYTES_MAX]). */
int key_decode(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, struct mote_value *values, uint8_t *scratch);
/* memcmp order, shorter first. */
static inline int key_compare(const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

#endif
