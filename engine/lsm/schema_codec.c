/* schema_codec.c: schemas to bytes and back (schema_format.h).
 *
 * Decoding trusts nothing: every length is bounded by the reader, and the result goes through the same rules as a schema that a caller defines, so that what decodes is a schema that could have been created. Threads: pure functions. */
#include "engine/lsm/schema_format.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/schema_private.h"

#include <assert.h>

static uint32_t encoded_default_bytes(const struct schema_column *column)
{
    if (!(column->flags & MOTE_COLUMN_HAS_DEFAULT))
        return 0;
    return type_is_var(column->type) ? (uint32_t)column->default_value.as.bytes.size_bytes : column->value_bytes;
}

size_t schema_encoded_bytes(const struct schema *schema)
{
    size_t size_bytes = SCHEMA_HEADER_BYTES + strlen(schema->name);
    for (uint32_t i = 0; i < schema->column_count; i++)
        size_bytes += SCHEMA_COLUMN_BYTES + strlen(schema->columns[i].name) + encoded_default_bytes(&schema->columns[i]);
    return size_bytes;
}

static void encode_column(const struct schema_column *column, struct byte_writer *writer)
{
    size_t name_bytes = strlen(column->name);
    uint32_t default_bytes = encoded_default_bytes(column);
    write_u64(writer, column->id);
    write_u32(writer, column->added_in);
    write_u32(writer, column->dimension);
    write_u8(writer, (uint8_t)column->type);
    write_u8(writer, (uint8_t)column->flags);
    write_u8(writer, (uint8_t)name_bytes);
    write_u8(writer, 0);
    write_u32(writer, default_bytes);
    write_bytes(writer, column->name, name_bytes);
    bool in_memory = type_is_var(column->type) || type_is_vector(column->type);
    write_bytes(writer, in_memory ? column->default_value.as.bytes.data : (const void *)&column->default_value.as, default_bytes);
}

void schema_encode(const struct schema *schema, struct byte_writer *writer)
{
    size_t name_bytes = strlen(schema->name);
    write_u32(writer, SCHEMA_MAGIC);
    write_u16(writer, SCHEMA_FORMAT_VERSION);
    write_u16(writer, (uint16_t)schema->key_column_count);
    write_u64(writer, schema->table_id);
    write_u32(writer, schema->version);
    write_u32(writer, schema->flags);
    write_u32(writer, schema->column_count);
    write_u32(writer, (uint32_t)schema->time_column);
    write_u32(writer, (uint32_t)schema_encoded_bytes(schema));
    write_u16(writer, (uint16_t)name_bytes);
    write_u16(writer, schema_has_hidden(schema));
    for (uint32_t i = 0; i < MOTE_KEY_COLUMNS_MAX; i++)
        write_u16(writer, i < schema->key_column_count ? (uint16_t)schema->key_columns[i] : (uint16_t)0);
    write_u64(writer, 0);
    write_bytes(writer, schema->name, name_bytes);
    for (uint32_t i = 0; i < schema->column_count; i++)
        encode_column(&schema->columns[i], writer);
}

static int damaged(const char *why)
{
    return error_set(MOTE_EDAMAGED, "a table's description is damaged: %s; run fsck.mote", why);
}

/* A name of stated length, made a string. false: not one. */
static bool read_name(struct byte_reader *reader, uint32_t name_bytes, char name[MOTE_NAME_BYTES_MAX + 1])
{
    const uint8_t *bytes = name_bytes <= MOTE_NAME_BYTES_MAX ? read_bytes(reader, name_bytes) : NULL;
    if (!bytes || memchr(bytes, 0, name_bytes))
        return false;
    memcpy(name, bytes, name_bytes);
    name[name_bytes] = 0;
    return true;
}

static int decode_column(struct schema_builder *builder, struct byte_reader *reader)
{
    char name[MOTE_NAME_BYTES_MAX + 1];
    struct mote_column_definition definition = {.name = name};
    uint64_t id = read_u64(reader);
    uint32_t added_in = read_u32(reader);
    definition.dimension = read_u32(reader);
    definition.type = read_u8(reader);
    definition.flags = read_u8(reader);
    uint32_t name_bytes = read_u8(reader);
    uint8_t reserved = read_u8(reader);
    uint32_t default_bytes = read_u32(reader);
    bool named = read_name(reader, name_bytes, name);
    const uint8_t *value = read_bytes(reader, default_bytes);
    if (!named || !value || reserved != 0)
        return damaged("a column's name, default or reserved byte is wrong");
    if (!type_is_vector(definition.type) && definition.dimension != 1)
        return damaged("a column that is not a vector has a dimension");
    if (definition.flags & MOTE_COLUMN_HAS_DEFAULT) {
        definition.default_value.type = definition.type;
        if (type_is_var(definition.type) || type_is_vector(definition.type)) {
            definition.default_value.as.bytes.data = value;
            definition.default_value.as.bytes.size_bytes = default_bytes;
        } else if (default_bytes != type_value_bytes(definition.type, 1) || default_bytes > sizeof definition.default_value.as) {
            return damaged("a default has the wrong size");
        } else {
            memcpy(&definition.default_value.as, value, default_bytes);
        }
    } else if (default_bytes != 0) {
        return damaged("a column has a default that it does not announce");
    }
    return schema_push_column(builder, &definition, id, added_in);
}

/* Header fields, all but the table's name. */
struct schema_header {
    uint32_t column_count, name_bytes, size_bytes;
    uint16_t hidden;
};

static int decode_header(struct byte_reader *reader, struct schema_header *header, struct schema *schema)
{
    size_t left_bytes = byte_reader_left(reader);
    uint32_t magic = read_u32(reader);
    uint16_t format_version = read_u16(reader);
    schema->key_column_count = read_u16(reader);
    schema->table_id = read_u64(reader);
    schema->version = read_u32(reader);
    schema->flags = read_u32(reader);
    header->column_count = read_u32(reader);
    schema->time_column = (int32_t)read_u32(reader);
    header->size_bytes = read_u32(reader);
    header->name_bytes = read_u16(reader);
    header->hidden = read_u16(reader);
    for (uint32_t i = 0; i < MOTE_KEY_COLUMNS_MAX; i++) {
        schema->key_columns[i] = read_u16(reader);
        if (i >= schema->key_column_count && schema->key_columns[i] != 0)
            return damaged("an unused key position is not 0");
    }
    uint64_t reserved = read_u64(reader);
    if (reader->failed || magic != SCHEMA_MAGIC || reserved != 0)
        return damaged("its header is cut short, its magic number is wrong or its reserved bytes are not 0");
    if (format_version != SCHEMA_FORMAT_VERSION)
        return damaged("its format version is unknown");
    if (header->size_bytes > SCHEMA_ENCODED_BYTES_MAX || header->size_bytes < SCHEMA_HEADER_BYTES || header->size_bytes > left_bytes)
        return damaged("its size is out of range");
    if (header->column_count < 1 || header->column_count > MOTE_COLUMNS_MAX || schema->key_column_count < 1 || schema->key_column_count > MOTE_KEY_COLUMNS_MAX || header->hidden > 1)
        return damaged("a count is out of range");
    if (schema->version < 1)
        return damaged("its version is 0");
    return MOTE_OK;
}

/* true: column 0 and the key are what schema_create makes for a table without a key. */
static bool hidden_is_right(const struct schema *schema)
{
    const struct schema_column *column = &schema->columns[0];
    return column->type == MOTE_TYPE_INT64 && column->flags == (MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_AUTO_INCREMENT) && strcmp(column->name, ROWID_NAME) == 0 && schema->key_column_count == 1 &&
           schema->key_columns[0] == 0 && schema->column_count > 1;
}

static int decode_columns(struct schema_builder *builder, const struct schema_header *header, struct byte_reader *reader)
{
    struct schema *schema = builder->schema;
    char name[MOTE_NAME_BYTES_MAX + 1];
    if (!read_name(reader, header->name_bytes, name))
        return damaged("its name is wrong");
    int code = schema_set_name(builder, name);
    for (uint32_t i = 0; i < header->column_count && code == MOTE_OK; i++)
        code = decode_column(builder, reader);
    if (code != MOTE_OK)
        return code;
    if (byte_reader_left(reader) != 0)
        return damaged("it has bytes that belong to no column");
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        if (schema->key_columns[i] < schema->column_count && !(schema->columns[schema->key_columns[i]].flags & MOTE_COLUMN_NOT_NULL))
            return damaged("a key column is not NOT NULL");
    schema->columns[0].hidden = header->hidden == 1;
    if (header->hidden == 1 && !hidden_is_right(schema))
        return damaged("its rowid column is wrong");
    return MOTE_OK;
}

int schema_decode(struct memory *memory, struct byte_reader *reader, struct schema **result)
{
    struct schema_builder builder;
    struct schema_header header;
    struct schema fields = {0};
    struct byte_reader start = *reader;
    int code = decode_header(reader, &header, &fields);
    if (code != MOTE_OK)
        return code;
    /* The defaults are part of the form; rounding each up adds at most 7 bytes a column. */
    code = schema_begin(&builder, memory, header.column_count, header.size_bytes + 8ull * header.column_count);
    if (code != MOTE_OK)
        return code;
    fields.column_count = 0;
    *builder.schema = fields;
    struct byte_reader body = byte_reader_make(start.at, header.size_bytes);
    body.at += SCHEMA_HEADER_BYTES;
    code = decode_columns(&builder, &header, &body);
    if (code != MOTE_OK)
        schema_abandon(&builder);
    else
        code = schema_finish(&builder, result);
    if (code == MOTE_OK) {
        read_bytes(reader, header.size_bytes - SCHEMA_HEADER_BYTES);
        return MOTE_OK;
    }
    if (code == MOTE_EBUDGET || code == MOTE_EDAMAGED)
        return code;
    struct mote_error error;
    error_get(&error);
    return error_set(MOTE_EDAMAGED, "a table's description is damaged: %s; run fsck.mote", error.message);
}
