/* schema.h: what a table is, how a row lies in memory and how its key becomes bytes that memcmp orders.
 *
 * Schemas are immutable once published: adding a column makes a new `struct schema` with version + 1 and the same table id; old ones live as long as the table's memory. Ids are 64-bit and never reused.
 *
 * Row image (memtable and log; little-endian; not used on the device outside the log):
 *     null bitmap   (column_count + 7) / 8 bytes, bit set = NULL, then zero padding to 8
 *     fixed area    each column at schema->columns[i].row_offset: its value, naturally sized (bool 1, int32/float32 4, int64/float64/timestamp 8, point3 24, vectors dimension * width),
 *                   text and blob: u32 offset from the start of the row image, u32 length; a NULL's bytes are all zero
 *     var area      bytes of text and blobs, in column order, without gaps: a row has exactly one image
 *   Offsets are assigned by descending alignment (8, 4, 2, 1) so that no padding is needed. fixed_bytes is the size up to the var area.
 *   A row image is always of its schema's version; a reader with a newer schema fills absent columns with the default. It is at most MOTE_ROW_BYTES_MAX long.
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

/* A schema's serialised form, defaults included, is never longer. */
#define SCHEMA_ENCODED_BYTES_MAX (256u * 1024u)

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

/* One step of making a key from a row image. */
struct schema_key_part {
    uint32_t row_offset;
    uint32_t type; /* enum mote_type */
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
    bool time_in_key;    /* the time column, a timestamp or int64, is one of the key columns: every row and tombstone has a time, and rows of different times have different keys */
    bool auto_increment; /* the key is one AUTO_INCREMENT int64 */
    bool has_var;        /* any text or blob column */
    bool has_large;      /* any LARGE column: its values lie in rows as blob_format.h says */
    uint32_t null_bytes;  /* the bitmap with its padding: where the fixed area begins */
    uint32_t fixed_bytes; /* where the var area begins */
    uint32_t key_bytes_fixed; /* size of every key, or 0 when it varies */
    uint32_t key_tail_bytes;  /* size of a key's part from the time column on (from the last column on, if the time is not in the key), or 0 when it varies: what is before it names a series */
    struct schema_key_part key_parts[MOTE_KEY_COLUMNS_MAX];
    const uint8_t *default_image; /* fixed_bytes: the row whose values are all absent, but for the bytes of text and blobs */
    struct schema_column columns[];
};

bool type_is_var(uint32_t type);       /* text, blob */
bool type_is_vector(uint32_t type);
bool type_is_key(uint32_t type);       /* may be in a key */
uint32_t type_value_bytes(uint32_t type, uint32_t dimension); /* 0 for text, blob */
uint32_t type_row_align(uint32_t type); /* alignment class in the row image: 8, 4, 2 or 1 */
const char *type_name(uint32_t type);  /* "int64", ... ; "?" */

/* Checks a public definition and builds the schema (adds the hidden rowid when no key is given). Column ids are next_column_id and up, one for each column of the schema (the hidden rowid takes the first).
 * *schema is memory_alloc'ed. MOTE_EINVAL, MOTE_ETOOBIG, MOTE_EBUDGET. */
int schema_create(struct memory *memory, const struct mote_schema *definition, uint64_t table_id, uint64_t next_column_id, struct schema **schema);
/* The schema with one more column, at the end; column_id is above all others. Also MOTE_EEXISTS. */
int schema_add_column(struct memory *memory, const struct schema *old, const struct mote_column_definition *column, uint64_t column_id, struct schema **schema);
/* The schema as it was at an older version (1 to newest->version; newest->version: a copy). */
int schema_at_version(struct memory *memory, const struct schema *newest, uint32_t version, struct schema **schema);
void schema_free(struct memory *memory, struct schema *schema);
/* Position of the column of that name, or -1. */
int schema_find_column(const struct schema *schema, const char *name);
/* Serialised form (manifest, log): see schema_format.h. */
size_t schema_encoded_bytes(const struct schema *schema);
void schema_encode(const struct schema *schema, struct byte_writer *writer);
/* Reads one schema, no byte more. MOTE_EDAMAGED for anything that schema_create and schema_add_column would not have made. */
int schema_decode(struct memory *memory, struct byte_reader *reader, struct schema **schema);

/* ---- Rows: from values or from a batch to row images ---- */

/* Checks values[0..count) against the schema (types, NOT NULL, UTF-8, NaN in keys, limits) and gives the row image's size. Values beyond count take their defaults; the hidden rowid is not among them. */
int row_check_values(const struct schema *schema, const struct mote_value *values, size_t count, uint32_t *row_bytes);
/* true: the row's AUTO_INCREMENT column is absent or NULL, so that it takes the rowid that row_encode_values is given. */
bool row_values_take_rowid(const struct schema *schema, const struct mote_value *values, size_t count);
/* Writes the image (exactly row_bytes). rowid: value of the AUTO_INCREMENT column when absent. */
void row_encode_values(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image, uint32_t row_bytes);
/* Where one column's values go. */
struct row_copy {
    const uint8_t *values;
    uint32_t row_offset;
    uint32_t position; /* in the schema */
};
enum row_copy_class { ROW_COPY_8, ROW_COPY_4, ROW_COPY_1, ROW_COPY_WIDE, ROW_COPY_CLASSES };
/* A batch, checked as a whole before anything is written; afterwards row i's size is row_batch_row_bytes(...). Large (some 26 KiB): make it without clearing it, row_batch_check fills what is used. */
struct row_batch {
    const struct schema *schema;
    const struct mote_batch *batch;
    const struct mote_column *by_position[MOTE_COLUMNS_MAX]; /* NULL: default */
    uint64_t total_bytes;         /* of all row images, each rounded up to 8 */
    uint32_t auto_increment_count; /* rows whose rowid is to be made */
    bool some_absent;              /* a column of the schema takes its default */
    uint32_t row_bytes_min;        /* fixed area, and the text and blob defaults of absent columns */
    uint32_t copy_ends[ROW_COPY_CLASSES]; /* the copies of a class end here; the first class begins at 0 */
    uint32_t nullable_count, var_count;
    uint8_t absent_nulls[MOTE_COLUMNS_MAX / 8]; /* the null bitmap of a row whose given columns all have values */
    struct row_copy copies[MOTE_COLUMNS_MAX];  /* fixed-size values, by class */
    uint16_t nullable[MOTE_COLUMNS_MAX];       /* positions of fixed-size columns with NULLs in this batch */
    uint16_t var[MOTE_COLUMNS_MAX];            /* positions of text and blob columns, absent ones with a default included */
};
int row_batch_check(const struct schema *schema, const struct mote_batch *batch, struct row_batch *prepared);
/* true: row_batch_encode needs a rowid for this row. */
bool row_batch_takes_rowid(const struct row_batch *prepared, size_t row);
uint32_t row_batch_row_bytes(const struct row_batch *prepared, size_t row);
void row_batch_encode(const struct row_batch *prepared, size_t row, int64_t rowid, uint8_t *image, uint32_t row_bytes);
/* Bytes that the keys of all rows take at most. */
uint64_t row_batch_key_bytes(const struct row_batch *prepared);
/* Some rows of a table without text and blobs, each in fixed_bytes rounded up to 8, zero-padded. rowid: of the first of them that takes one; returns that of the next row after them. */
int64_t row_batch_encode_rows(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *images);
/* The same, each row at images[i], at a multiple of 8. */
int64_t row_batch_encode_at(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *const *images);
/* The keys of some rows, as key_from_row would make them of the images, stride_bytes apart. Only where keys have a fixed size (schema->key_bytes_fixed). rowid and result: as above. */
int64_t row_batch_encode_keys(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *keys, size_t stride_bytes);
/* Checks an image from the log: MOTE_EDAMAGED unless row_encode_values could have made exactly these bytes (every offset inside, unused bits zero, values and key within their rules). */
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
/* One value's key form, appended; for tests and the SSTable reader. Returns bytes written; room must suffice (8; text and blob: twice their size and 2). */
uint32_t key_append_value(uint32_t type, const struct mote_value *value, uint8_t *at);
/* Decodes key bytes back into values, one for each key column (text and blob unescaped into scratch[MOTE_KEY_BYTES_MAX]). MOTE_EDAMAGED for what key_from_values would not have made. */
int key_decode(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, struct mote_value *values, uint8_t *scratch);
/* The same of a key's first columns, whose bytes are all that is given. */
int key_decode_prefix(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint32_t column_count, struct mote_value *values, uint8_t *scratch);
/* How many bytes of a whole key its first columns take. */
uint32_t key_prefix_bytes(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint32_t column_count);
/* The time that a key holds (schema->time_in_key). MOTE_EDAMAGED as key_decode. */
int key_time(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, int64_t *time_ns);
/* memcmp order, shorter first. */
static inline int key_compare(const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

#endif
