/* schema.c: building a table's schema: the rules for tables, columns and keys, and the row's layout (schema.h).
 *
 * One block of memory holds the schema, its columns and the bytes of their defaults; default_image is a second one, since its size is known only after the layout. Threads: pure functions. Failures: every refusal
 * names the table and, where there is one, the column; nothing is kept of a schema that was refused. */
#include "engine/lsm/schema_private.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/lsm/schema_format.h"
#include "engine/lsm/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "row images are copied from memory: little-endian machines only");

enum {
    COLUMN_FLAGS_KNOWN = MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_AUTO_INCREMENT | MOTE_COLUMN_HAS_DEFAULT | MOTE_COLUMN_LARGE,
    TABLE_FLAGS_KNOWN = MOTE_TABLE_APPEND_ONLY | MOTE_TABLE_ROW_PAGES,
};

int schema_refuse(const struct schema *schema, int position, int code, const char *format, ...)
{
    char why[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    if (position >= 0 && schema->columns[position].name[0] != 0)
        error_set(code, "table \"%s\", column \"%s\": %s", schema->name, schema->columns[position].name, why);
    else
        error_set(code, "table \"%s\": %s", schema->name, why);
    error_add_table(schema->name);
    return code;
}

int schema_begin(struct schema_builder *builder, struct memory *memory, uint32_t column_count_max, uint64_t default_bytes)
{
    assert(column_count_max >= 1 && column_count_max <= MOTE_COLUMNS_MAX);
    assert(default_bytes <= 16u * SCHEMA_ENCODED_BYTES_MAX);
    size_t head_bytes = round_up(sizeof(struct schema) + column_count_max * sizeof(struct schema_column), 16);
    uint8_t *block = memory_alloc(memory, head_bytes + default_bytes);
    if (!block)
        return MOTE_EBUDGET;
    memset(block, 0, head_bytes);
    *builder = (struct schema_builder){memory, (struct schema *)(void *)block, column_count_max, block + head_bytes, block + head_bytes + default_bytes};
    return MOTE_OK;
}

void schema_abandon(struct schema_builder *builder)
{
    schema_free(builder->memory, builder->schema);
    builder->schema = NULL;
}

void schema_free(struct memory *memory, struct schema *schema)
{
    if (!schema)
        return;
    memory_free(memory, (void *)(uintptr_t)schema->default_image);
    memory_free(memory, schema);
}

/* Names are printed in messages and typed in shells: UTF-8 without control characters. NULL if this one may be. */
static const char *find_name_fault(const char *name, int *code)
{
    *code = MOTE_EINVAL;
    if (!name || name[0] == 0)
        return "a name is missing; give one of 1 to 63 bytes";
    size_t size_bytes = strnlen(name, MOTE_NAME_BYTES_MAX + 1);
    if (size_bytes > MOTE_NAME_BYTES_MAX) {
        *code = MOTE_ETOOBIG;
        return "a name is longer than 63 bytes; shorten it";
    }
    for (size_t i = 0; i < size_bytes; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7F)
            return "a name holds a control character; leave it out";
    return utf8_is_valid((const uint8_t *)name, size_bytes) ? NULL : "a name is not valid UTF-8; encode it so";
}

int schema_set_name(struct schema_builder *builder, const char *name)
{
    int code;
    const char *fault = find_name_fault(name, &code);
    if (fault)
        return error_set(code, "cannot make a table: %s", fault);
    memcpy(builder->schema->name, name, strlen(name) + 1);
    return MOTE_OK;
}

/* Copies a checked default; its bytes go into the schema's memory. */
static void copy_default(struct schema_builder *builder, struct schema_column *column, const struct mote_value *value)
{
    column->default_value = *value;
    if (!type_is_var(column->type) && !type_is_vector(column->type))
        return;
    uint64_t size_bytes = value->as.bytes.size_bytes;
    assert(round_up(size_bytes, 8) <= (uint64_t)(builder->end - builder->room));
    if (size_bytes != 0)
        memcpy(builder->room, value->as.bytes.data, size_bytes);
    column->default_value.as.bytes.data = builder->room;
    builder->room += round_up(size_bytes, 8);
}

/* Type, dimension and flags of a definition, each by itself. */
static const char *find_definition_fault(const struct mote_column_definition *definition)
{
    if (definition->type < MOTE_TYPE_INT64 || definition->type > MOTE_TYPE_POINT3)
        return "its type is unknown";
    if (type_is_vector(definition->type) && (definition->dimension < 1 || definition->dimension > MOTE_VECTOR_DIMENSION_MAX))
        return "a vector's dimension is 1 to 16384";
    if (!type_is_vector(definition->type) && definition->dimension > 1)
        return "only a vector has a dimension; give 0";
    if ((definition->flags & ~(uint32_t)COLUMN_FLAGS_KNOWN) != 0 || definition->reserved != 0)
        return "a flag is unknown, or the reserved field is not 0";
    if ((definition->flags & MOTE_COLUMN_AUTO_INCREMENT) && (definition->flags & MOTE_COLUMN_HAS_DEFAULT))
        return "AUTO_INCREMENT and a default exclude each other";
    if ((definition->flags & MOTE_COLUMN_HAS_DEFAULT) && definition->default_value.is_null)
        return "a default is NULL; leave HAS_DEFAULT away, an absent value is NULL then";
    if ((definition->flags & MOTE_COLUMN_LARGE) && (definition->type != MOTE_TYPE_BLOB || (definition->flags & MOTE_COLUMN_HAS_DEFAULT)))
        return "LARGE is for blobs without a default";
    return NULL;
}

int schema_push_column(struct schema_builder *builder, const struct mote_column_definition *definition, uint64_t column_id, uint32_t added_in)
{
    struct schema *schema = builder->schema;
    assert(schema->column_count < builder->column_count_max);
    int position = (int)schema->column_count;
    struct schema_column *column = &schema->columns[position];
    int code;
    const char *fault = find_name_fault(definition->name, &code);
    if (fault)
        return schema_refuse(schema, -1, code, "column %d: %s", position, fault);
    memcpy(column->name, definition->name, strlen(definition->name) + 1);
    fault = find_definition_fault(definition);
    if (fault)
        return schema_refuse(schema, position, MOTE_EINVAL, "%s", fault);
    column->id = column_id;
    column->type = definition->type;
    column->dimension = type_is_vector(definition->type) ? definition->dimension : 1;
    column->flags = definition->flags;
    column->value_bytes = type_value_bytes(column->type, column->dimension);
    column->added_in = added_in;
    if (column->flags & MOTE_COLUMN_HAS_DEFAULT) {
        fault = schema_value_fault(column, false, &definition->default_value, &code);
        if (fault)
            return schema_refuse(schema, position, code == MOTE_ESCHEMA ? MOTE_EINVAL : code, "its default cannot be: %s", fault);
        copy_default(builder, column, &definition->default_value);
    }
    schema->column_count++;
    return MOTE_OK;
}

/* Columns against each other. */
static int check_columns(const struct schema *schema)
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        for (uint32_t before = 0; before < i; before++)
            if (strcmp(schema->columns[before].name, column->name) == 0)
                return schema_refuse(schema, (int)i, MOTE_EINVAL, "two columns have this name; rename one");
        if (i > 0 && (column->id <= column[-1].id || column->added_in < column[-1].added_in))
            return schema_refuse(schema, (int)i, MOTE_EINVAL, "its id or version is not above those of the columns before");
        if (column->added_in < 1 || column->added_in > schema->version)
            return schema_refuse(schema, (int)i, MOTE_EINVAL, "it is newer than its table");
        if (column->added_in > 1 && (column->flags & (MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_HAS_DEFAULT)) == MOTE_COLUMN_NOT_NULL)
            return schema_refuse(schema, (int)i, MOTE_EINVAL, "an added NOT NULL column needs a default for the rows that exist");
        if (column->added_in > 1 && (column->flags & MOTE_COLUMN_LARGE))
            return schema_refuse(schema, (int)i, MOTE_EINVAL, "a LARGE column is as old as its table");
        if ((column->flags & MOTE_COLUMN_AUTO_INCREMENT) && (schema->key_column_count != 1 || schema->key_columns[0] != i || column->type != MOTE_TYPE_INT64))
            return schema_refuse(schema, (int)i, MOTE_EINVAL, "AUTO_INCREMENT needs an int64 column that is the only one of the key");
    }
    return MOTE_OK;
}

/* The key's columns, the time column and the table's flags. */
static int check_table(const struct schema *schema)
{
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        uint32_t position = schema->key_columns[i];
        if (position >= schema->column_count)
            return schema_refuse(schema, -1, MOTE_EINVAL, "key column %u is at position %u, which the table does not have", i, position);
        const struct schema_column *column = &schema->columns[position];
        for (uint32_t before = 0; before < i; before++)
            if (schema->key_columns[before] == position)
                return schema_refuse(schema, (int)position, MOTE_EINVAL, "it is in the key twice");
        if (!type_is_key(column->type) || column->added_in != 1 || (column->flags & MOTE_COLUMN_LARGE))
            return schema_refuse(schema, (int)position, MOTE_EINVAL, "a %s column cannot be in the key", type_name(column->type));
        int code;
        const char *fault = column->flags & MOTE_COLUMN_HAS_DEFAULT ? schema_value_fault(column, true, &column->default_value, &code) : NULL;
        if (fault)
            return schema_refuse(schema, (int)position, code, "its default cannot be: %s", fault);
    }
    if (schema->time_column < -1 || schema->time_column >= (int32_t)schema->column_count)
        return schema_refuse(schema, -1, MOTE_EINVAL, "the time column is at position %d, which the table does not have", schema->time_column);
    if (schema->time_column >= 0) {
        uint32_t type = schema->columns[schema->time_column].type;
        if (schema->columns[schema->time_column].added_in != 1)
            return schema_refuse(schema, schema->time_column, MOTE_EINVAL, "the time column is as old as the table");
        if (type != MOTE_TYPE_TIMESTAMP && type != MOTE_TYPE_INT64 && type != MOTE_TYPE_FLOAT64)
            return schema_refuse(schema, schema->time_column, MOTE_EINVAL, "the time column is a timestamp, an int64 or a float64, not %s", type_name(type));
    }
    if ((schema->flags & ~(uint32_t)TABLE_FLAGS_KNOWN) != 0)
        return schema_refuse(schema, -1, MOTE_EINVAL, "a flag is unknown (0x%x)", schema->flags);
    return MOTE_OK;
}

/* Each class's sizes are multiples of its alignment, so that classes in descending order need no padding. */
uint32_t type_row_align(uint32_t type)
{
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_TIMESTAMP:
    case MOTE_TYPE_POINT3:
        return 8;
    case MOTE_TYPE_VECTOR_F16:
        return 2;
    case MOTE_TYPE_VECTOR_U8:
    case MOTE_TYPE_BOOL:
        return 1;
    default:
        return 4;
    }
}

static int lay_out_row(struct schema *schema)
{
    schema->null_bytes = (uint32_t)round_up(divide_up(schema->column_count, 8), 8);
    uint64_t at = schema->null_bytes;
    for (uint32_t align = 8; align > 0; align /= 2) {
        for (uint32_t i = 0; i < schema->column_count; i++) {
            struct schema_column *column = &schema->columns[i];
            if (type_row_align(column->type) != align)
                continue;
            assert(at % align == 0);
            column->row_offset = (uint32_t)at;
            at += type_is_var(column->type) ? 8 : column->value_bytes;
            schema->has_var |= type_is_var(column->type);
            schema->has_large |= (column->flags & MOTE_COLUMN_LARGE) != 0;
            if (at > MOTE_ROW_BYTES_MAX)
                return schema_refuse(schema, (int)i, MOTE_ETOOBIG, "its rows would be larger than 256 KiB; split the table");
        }
    }
    schema->fixed_bytes = (uint32_t)at;
    return MOTE_OK;
}

static uint32_t tail_bytes(const struct schema *schema)
{
    uint32_t first = schema->key_column_count - 1, bytes = 0;
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        first = (int32_t)schema->key_columns[i] == schema->time_column ? i : first;
    for (uint32_t i = first; i < schema->key_column_count; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        if (type_is_var(column->type))
            return 0;
        bytes += column->value_bytes;
    }
    return bytes;
}

static void plan_key(struct schema *schema)
{
    bool varies = false;
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        schema->key_parts[i] = (struct schema_key_part){column->row_offset, column->type};
        schema->key_bytes_fixed += column->value_bytes;
        varies |= type_is_var(column->type);
        schema->time_in_key |= (int32_t)schema->key_columns[i] == schema->time_column && column->type != MOTE_TYPE_FLOAT64;
    }
    if (varies)
        schema->key_bytes_fixed = 0;
    schema->key_tail_bytes = tail_bytes(schema);
    schema->auto_increment = (schema->columns[schema->key_columns[0]].flags & MOTE_COLUMN_AUTO_INCREMENT) != 0;
}

void row_store_value(const struct schema_column *column, const struct mote_value *value, uint8_t *image)
{
    assert(!type_is_var(column->type));
    uint8_t *at = image + column->row_offset;
    const void *from = type_is_vector(column->type) ? value->as.bytes.data : (const void *)&value->as;
    memcpy(at, from, column->value_bytes);
}

static int make_default_image(struct memory *memory, struct schema *schema)
{
    uint8_t *image = memory_alloc_zero(memory, schema->fixed_bytes);
    if (!image)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        if (!(column->flags & (MOTE_COLUMN_HAS_DEFAULT | MOTE_COLUMN_NOT_NULL)))
            image[i / 8] = (uint8_t)(image[i / 8] | 1u << i % 8);
        else if ((column->flags & MOTE_COLUMN_HAS_DEFAULT) && !type_is_var(column->type))
            row_store_value(column, &column->default_value, image);
    }
    schema->default_image = image;
    return MOTE_OK;
}

int schema_finish(struct schema_builder *builder, struct schema **result)
{
    struct schema *schema = builder->schema;
    assert(schema->column_count > 0 && schema->key_column_count > 0);
    int code = check_table(schema);
    for (uint32_t i = 0; i < schema->key_column_count && code == MOTE_OK; i++)
        schema->columns[schema->key_columns[i]].flags |= MOTE_COLUMN_NOT_NULL;
    if (code == MOTE_OK)
        code = check_columns(schema);
    if (code == MOTE_OK)
        code = lay_out_row(schema);
    if (code == MOTE_OK && schema_encoded_bytes(schema) > SCHEMA_ENCODED_BYTES_MAX)
        code = schema_refuse(schema, -1, MOTE_ETOOBIG, "its description with all defaults is larger than 256 KiB; shorten the defaults");
    if (code == MOTE_OK) {
        plan_key(schema);
        code = make_default_image(builder->memory, schema);
    }
    if (code != MOTE_OK) {
        schema_abandon(builder);
        return code;
    }
    *result = schema;
    builder->schema = NULL;
    return MOTE_OK;
}

/* Memory that the defaults of these columns need. */
static int sum_defaults(const char *table, const struct mote_column_definition *columns, uint32_t count, uint64_t *default_bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size_bytes = schema_default_bytes(&columns[i]);
        if (size_bytes > SCHEMA_ENCODED_BYTES_MAX || *default_bytes > SCHEMA_ENCODED_BYTES_MAX)
            return error_set(MOTE_ETOOBIG, "table \"%.63s\": the defaults are larger than 256 KiB together; shorten them", table ? table : "");
        *default_bytes += round_up(size_bytes, 8);
    }
    return MOTE_OK;
}

/* What must hold before the definition can be walked. */
static int check_definition(const struct mote_schema *definition)
{
    if (!definition || definition->size_bytes != sizeof *definition)
        return error_set(MOTE_EINVAL, "cannot make a table: the schema's size_bytes is not sizeof(struct mote_schema); use MOTE_SCHEMA_INIT");
    if (definition->column_count == 0 || !definition->columns)
        return error_set(MOTE_EINVAL, "cannot make a table without columns; give at least one");
    if (definition->column_count + (uint64_t)(definition->key_column_count == 0) > MOTE_COLUMNS_MAX)
        return error_set(MOTE_ETOOBIG, "cannot make a table of %u columns: at most %d, the rowid of a table without key included; split it", definition->column_count, MOTE_COLUMNS_MAX);
    if (definition->key_column_count > MOTE_KEY_COLUMNS_MAX)
        return error_set(MOTE_ETOOBIG, "cannot make a table with %u key columns: at most %d", definition->key_column_count, MOTE_KEY_COLUMNS_MAX);
    if (definition->key_column_count > 0 && !definition->key_columns)
        return error_set(MOTE_EINVAL, "cannot make a table: key_columns is NULL but key_column_count is not 0");
    if (definition->time_column < -1 || definition->time_column >= (int64_t)definition->column_count)
        return error_set(MOTE_EINVAL, "cannot make a table: the time column is at position %d of %u; -1 means none", definition->time_column, definition->column_count);
    return MOTE_OK;
}

int schema_create(struct memory *memory, const struct mote_schema *definition, uint64_t table_id, uint64_t next_column_id, struct schema **result)
{
    struct schema_builder builder;
    uint64_t default_bytes = 0;
    int code = check_definition(definition);
    if (code == MOTE_OK)
        code = sum_defaults(definition->name, definition->columns, definition->column_count, &default_bytes);
    if (code != MOTE_OK)
        return code;
    uint32_t hidden = definition->key_column_count == 0;
    code = schema_begin(&builder, memory, definition->column_count + hidden, default_bytes);
    if (code != MOTE_OK)
        return code;
    struct schema *schema = builder.schema;
    schema->table_id = table_id;
    schema->version = 1;
    schema->flags = definition->flags;
    schema->time_column = definition->time_column < 0 ? -1 : definition->time_column + (int32_t)hidden;
    schema->key_column_count = hidden ? 1 : definition->key_column_count;
    for (uint32_t i = 0; i < definition->key_column_count; i++)
        schema->key_columns[i] = definition->key_columns[i];
    code = schema_set_name(&builder, definition->name);
    if (code == MOTE_OK && hidden) {
        const struct mote_column_definition rowid = {ROWID_NAME, MOTE_TYPE_INT64, 1, MOTE_COLUMN_NOT_NULL | MOTE_COLUMN_AUTO_INCREMENT, 0, {0}};
        code = schema_push_column(&builder, &rowid, next_column_id, 1);
        schema->columns[0].hidden = true;
    }
    for (uint32_t i = 0; i < definition->column_count && code == MOTE_OK; i++)
        code = schema_push_column(&builder, &definition->columns[i], next_column_id + hidden + i, 1);
    if (code != MOTE_OK) {
        schema_abandon(&builder);
        return code;
    }
    return schema_finish(&builder, result);
}

/* The definition that a column was made from. */
static struct mote_column_definition column_definition(const struct schema_column *column)
{
    return (struct mote_column_definition){column->name, column->type, column->dimension, column->flags, 0, column->default_value};
}

int schema_add_column(struct memory *memory, const struct schema *old, const struct mote_column_definition *added, uint64_t column_id, struct schema **result)
{
    struct schema_builder builder;
    if (!added)
        return schema_refuse(old, -1, MOTE_EINVAL, "the column to add is NULL");
    if (old->column_count == MOTE_COLUMNS_MAX)
        return schema_refuse(old, -1, MOTE_ETOOBIG, "it has %d columns already, which is the most", MOTE_COLUMNS_MAX);
    if (old->version == UINT32_MAX)
        return schema_refuse(old, -1, MOTE_ETOOBIG, "its version number is used up; copy the table");
    if (added->name && strnlen(added->name, MOTE_NAME_BYTES_MAX + 1) <= MOTE_NAME_BYTES_MAX && schema_find_column(old, added->name) >= 0)
        return schema_refuse(old, schema_find_column(old, added->name), MOTE_EEXISTS, "the table has a column of this name already");
    uint64_t default_bytes = 0;
    int code = sum_defaults(old->name, added, 1, &default_bytes);
    if (code != MOTE_OK)
        return code;
    for (uint32_t i = 0; i < old->column_count; i++) {
        struct mote_column_definition definition = column_definition(&old->columns[i]);
        default_bytes += round_up(schema_default_bytes(&definition), 8);
    }
    code = schema_begin(&builder, memory, old->column_count + 1, default_bytes);
    if (code != MOTE_OK)
        return code;
    struct schema *schema = builder.schema;
    memcpy(schema->name, old->name, sizeof schema->name);
    schema->table_id = old->table_id;
    schema->version = old->version + 1;
    schema->flags = old->flags;
    schema->key_column_count = old->key_column_count;
    memcpy(schema->key_columns, old->key_columns, sizeof schema->key_columns);
    schema->time_column = old->time_column;
    for (uint32_t i = 0; i < old->column_count && code == MOTE_OK; i++) {
        struct mote_column_definition definition = column_definition(&old->columns[i]);
        code = schema_push_column(&builder, &definition, old->columns[i].id, old->columns[i].added_in);
        schema->columns[i].hidden = old->columns[i].hidden;
    }
    if (code == MOTE_OK)
        code = schema_push_column(&builder, added, column_id, schema->version);
    if (code != MOTE_OK) {
        schema_abandon(&builder);
        return code;
    }
    return schema_finish(&builder, result);
}

int schema_find_column(const struct schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (strcmp(schema->columns[i].name, name) == 0)
            return (int)i;
    return -1;
}
