/* schema_private.h: what schema.c, schema_codec.c, row.c and key.c share.
 *
 * A schema is built in three steps: schema_begin takes the memory, schema_push_column copies one column after the other into it (names and defaults are checked first), schema_finish checks the whole and lays the row out. Creating,
 * adding a column and decoding all go through them, so that there is one set of rules. */
#ifndef MOTE_ENGINE_LSM_SCHEMA_PRIVATE_H
#define MOTE_ENGINE_LSM_SCHEMA_PRIVATE_H

#include <assert.h>

#include "engine/lsm/schema.h"

#define ROWID_NAME "rowid"

struct schema_builder {
    struct memory *memory;
    struct schema *schema;
    uint32_t column_count_max;
    uint8_t *room, *end; /* for the bytes of defaults */
};

/* An error that names the table and, if position >= 0, the column. Returns code. */
int schema_refuse(const struct schema *schema, int position, int code, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Memory for column_count_max columns and default_bytes of defaults, each rounded up to 8. Of the schema nothing is set. */
int schema_begin(struct schema_builder *builder, struct memory *memory, uint32_t column_count_max, uint64_t default_bytes);
/* The table's name, checked. */
int schema_set_name(struct schema_builder *builder, const char *name);
/* Appends a column; checks what can be checked by itself. */
int schema_push_column(struct schema_builder *builder, const struct mote_column_definition *definition, uint64_t column_id, uint32_t added_in);
/* Checks the columns against each other and the key, and computes everything that follows. On failure the schema is freed, as it is by schema_abandon. */
int schema_finish(struct schema_builder *builder, struct schema **schema);
void schema_abandon(struct schema_builder *builder);

/* Bytes of a default in the serialised form and in the schema's memory. */
uint64_t schema_default_bytes(const struct mote_column_definition *definition);
/* NULL if the value may be one of this column (it is not NULL), else what is wrong with it, with *code. */
const char *schema_value_fault(const struct schema_column *column, bool in_key, const struct mote_value *value, int *code);
/* Writes a fixed-size value at its place in a row image. */
void row_store_value(const struct schema_column *column, const struct mote_value *value, uint8_t *image);

static inline bool schema_column_in_key(const struct schema *schema, uint32_t position)
{
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        if (schema->key_columns[i] == position)
            return true;
    return false;
}

/* true: column 0 is the rowid made by the engine. */
static inline bool schema_has_hidden(const struct schema *schema) { return schema->columns[0].hidden; }

#define KEY_SIGN64 0x8000000000000000u
#define KEY_SIGN32 0x80000000u

/* Floats: positive ones order as their bits, negative ones against them. */
static inline uint64_t key_flip_float64(uint64_t bits) { return bits ^ ((uint64_t)((int64_t)bits >> 63) | KEY_SIGN64); }
static inline uint32_t key_flip_float32(uint32_t bits) { return bits ^ ((uint32_t)((int32_t)bits >> 31) | KEY_SIGN32); }

/* A fixed-size value from its bytes in memory; its size. */
static inline uint32_t key_append_fixed(uint32_t type, const void *value, uint8_t *at)
{
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        store_be64(at, load_u64(value) ^ KEY_SIGN64);
        return 8;
    case MOTE_TYPE_INT32:
        store_be32(at, load_u32(value) ^ KEY_SIGN32);
        return 4;
    case MOTE_TYPE_FLOAT64:
        store_be64(at, key_flip_float64(load_u64(value)));
        return 8;
    case MOTE_TYPE_FLOAT32:
        store_be32(at, key_flip_float32(load_u32(value)));
        return 4;
    default:
        assert(type == MOTE_TYPE_BOOL);
        *at = load_u8(value);
        return 1;
    }
}

/* Length of a text's or blob's part of a key. */
static inline uint64_t key_var_bytes(const uint8_t *data, uint64_t size_bytes)
{
    uint64_t zeros = 0;
    for (uint64_t i = 0; i < size_bytes; i++)
        zeros += data[i] == 0;
    return size_bytes + zeros + 2;
}

static inline bool float_is_nan(uint32_t type, const void *bits)
{
    if (type == MOTE_TYPE_FLOAT64)
        return (load_u64(bits) & INT64_MAX) > 0x7FF0000000000000u;
    if (type == MOTE_TYPE_FLOAT32)
        return (load_u32(bits) & INT32_MAX) > 0x7F800000u;
    return false;
}

#endif
