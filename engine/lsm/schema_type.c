/* schema_type.c: the column types: sizes, names, and which values one may hold (schema.h). Pure functions. */
#include "engine/lsm/schema_private.h"
#include "engine/lsm/utf8.h"

bool type_is_var(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }

bool type_is_vector(uint32_t type)
{
    return type == MOTE_TYPE_VECTOR_F32 || type == MOTE_TYPE_VECTOR_F16 || type == MOTE_TYPE_VECTOR_U8;
}

bool type_is_key(uint32_t type) { return type >= MOTE_TYPE_INT64 && type <= MOTE_TYPE_BLOB; }

uint32_t type_value_bytes(uint32_t type, uint32_t dimension)
{
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_TIMESTAMP:
        return 8;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
        return 4;
    case MOTE_TYPE_BOOL:
        return 1;
    case MOTE_TYPE_POINT3:
        return 24;
    case MOTE_TYPE_VECTOR_F32:
        return dimension * 4;
    case MOTE_TYPE_VECTOR_F16:
        return dimension * 2;
    case MOTE_TYPE_VECTOR_U8:
        return dimension;
    default:
        return 0;
    }
}

const char *type_name(uint32_t type)
{
    static const char *const names[] = {"?", "int64", "int32", "float64", "float32", "bool", "timestamp", "text", "blob", "vector_f32", "vector_f16", "vector_u8", "point3"};
    return type < sizeof names / sizeof names[0] ? names[type] : names[0];
}

uint64_t schema_default_bytes(const struct mote_column_definition *definition)
{
    if (!(definition->flags & MOTE_COLUMN_HAS_DEFAULT))
        return 0;
    uint32_t type = definition->default_value.type;
    return type_is_var(type) || type_is_vector(type) ? definition->default_value.as.bytes.size_bytes : 0;
}

/* Text, blob or vector. */
static const char *find_bytes_fault(const struct schema_column *column, bool in_key, const struct mote_value *value, int *code)
{
    uint64_t size_bytes = value->as.bytes.size_bytes;
    const uint8_t *data = value->as.bytes.data;
    *code = MOTE_EINVAL;
    if (!data && size_bytes != 0)
        return "the value's data is NULL but its size is not 0";
    if (type_is_vector(column->type)) {
        *code = MOTE_ESCHEMA;
        return size_bytes == column->value_bytes ? NULL : "the vector's size is not that of the column's dimension";
    }
    *code = MOTE_ETOOBIG;
    if (size_bytes > MOTE_ROW_BYTES_MAX)
        return "the value is larger than a row may be (256 KiB); split it";
    if (in_key && (size_bytes > MOTE_KEY_BYTES_MAX || key_var_bytes(data, size_bytes) > MOTE_KEY_BYTES_MAX))
        return "the value makes the key longer than 1024 bytes; shorten it";
    *code = MOTE_EINVAL;
    if (column->type == MOTE_TYPE_TEXT && !utf8_is_valid(data, size_bytes))
        return "the text is not valid UTF-8; use a blob for other bytes";
    return NULL;
}

const char *schema_value_fault(const struct schema_column *column, bool in_key, const struct mote_value *value, int *code)
{
    *code = MOTE_ESCHEMA;
    if (value->type != column->type)
        return "the value's type is not the column's";
    switch (column->type) {
    case MOTE_TYPE_BOOL:
        *code = MOTE_EINVAL;
        return value->as.boolean <= 1 ? NULL : "a bool is 0 or 1";
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_FLOAT32:
        *code = MOTE_EINVAL;
        return in_key && float_is_nan(column->type, &value->as) ? "a key cannot hold NaN" : NULL;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
    case MOTE_TYPE_VECTOR_F32:
    case MOTE_TYPE_VECTOR_F16:
    case MOTE_TYPE_VECTOR_U8:
        return find_bytes_fault(column, in_key, value, code);
    default:
        return NULL;
    }
}
