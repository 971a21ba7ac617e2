/* row.c: row images from values, checked images from the log, and values out of images (schema.h). Batches: row_batch.c.
 *
 * Threads: pure functions on immutable schemas. Failures: a refused row names table and column; encoding cannot fail after its check. */
#include "engine/lsm/schema_private.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/utf8.h"

#include <assert.h>

/* The caller's value for a column, or NULL if it gave none. */
static inline const struct mote_value *find_value(const struct schema *schema, const struct mote_value *values, size_t count, uint32_t position)
{
    size_t hidden = schema_has_hidden(schema);
    return position >= hidden && position - hidden < count ? &values[position - hidden] : NULL;
}

static inline void set_null(uint8_t *image, uint32_t position) { image[position / 8] = (uint8_t)(image[position / 8] | 1u << position % 8); }
static inline void clear_null(uint8_t *image, uint32_t position) { image[position / 8] = (uint8_t)(image[position / 8] & ~(1u << position % 8)); }

bool row_values_take_rowid(const struct schema *schema, const struct mote_value *values, size_t count)
{
    if (!schema->auto_increment)
        return false;
    const struct mote_value *value = find_value(schema, values, count, schema->key_columns[0]);
    return !value || value->is_null;
}

/* Bytes of a text or blob that the row will hold: the value's, the default's, or none. */
static const struct mote_value *effective_var(const struct schema_column *column, const struct mote_value *value)
{
    if (value)
        return value->is_null ? NULL : value;
    return column->flags & MOTE_COLUMN_HAS_DEFAULT ? &column->default_value : NULL;
}

/* A key of several parts of which one varies may exceed the limit although no part does. */
static int check_key_bytes(const struct schema *schema, const struct mote_value *values, size_t count)
{
    uint64_t key_bytes = 0;
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        if (!type_is_var(column->type)) {
            key_bytes += column->value_bytes;
            continue;
        }
        const struct mote_value *value = effective_var(column, find_value(schema, values, count, schema->key_columns[i]));
        assert(value);
        key_bytes += key_var_bytes(value->as.bytes.data, value->as.bytes.size_bytes);
    }
    if (key_bytes > MOTE_KEY_BYTES_MAX)
        return schema_refuse(schema, -1, MOTE_ETOOBIG, "the row's key takes %llu bytes, at most 1024 are possible; shorten its text or blob", (unsigned long long)key_bytes);
    return MOTE_OK;
}

/* One column of a row given as values; adds the bytes that it needs beyond the fixed area. */
static int check_column(const struct schema *schema, uint32_t position, const struct mote_value *value, uint64_t *row_bytes)
{
    const struct schema_column *column = &schema->columns[position];
    if ((!value || value->is_null) && schema->auto_increment && position == schema->key_columns[0])
        return MOTE_OK;
    if (value && !value->is_null) {
        int code;
        bool in_key = (column->flags & MOTE_COLUMN_NOT_NULL) && schema_column_in_key(schema, position);
        const char *fault = schema_value_fault(column, in_key, value, &code);
        if (fault)
            return schema_refuse(schema, (int)position, code, "%s", fault);
    } else if ((column->flags & MOTE_COLUMN_NOT_NULL) && (value || !(column->flags & MOTE_COLUMN_HAS_DEFAULT))) {
        return schema_refuse(schema, (int)position, MOTE_ESCHEMA, "the column is NOT NULL and the row has no value for it");
    }
    if (type_is_var(column->type)) {
        const struct mote_value *held = effective_var(column, value);
        *row_bytes += held ? held->as.bytes.size_bytes : 0;
    }
    return MOTE_OK;
}

/* Types of which every value may be in every column but a key's. */
enum { TYPES_WITHOUT_RULES = 1 << MOTE_TYPE_INT64 | 1 << MOTE_TYPE_INT32 | 1 << MOTE_TYPE_TIMESTAMP | 1 << MOTE_TYPE_POINT3 | 1 << MOTE_TYPE_FLOAT64 | 1 << MOTE_TYPE_FLOAT32 };

static inline bool needs_no_check(const struct schema_column *column, const struct mote_value *value)
{
    bool is_float = column->type == MOTE_TYPE_FLOAT64 || column->type == MOTE_TYPE_FLOAT32;
    return value && !value->is_null && value->type == column->type && (TYPES_WITHOUT_RULES >> column->type & 1) && !(is_float && (column->flags & MOTE_COLUMN_NOT_NULL));
}

int row_check_values(const struct schema *schema, const struct mote_value *values, size_t count, uint32_t *row_bytes)
{
    size_t count_max = schema->column_count - (size_t)schema_has_hidden(schema);
    if (count > count_max)
        return schema_refuse(schema, -1, MOTE_ESCHEMA, "the row has %zu values, the table %zu columns", count, count_max);
    if (!values && count > 0)
        return schema_refuse(schema, -1, MOTE_EINVAL, "values is NULL but their count is %zu", count);
    uint64_t size_bytes = schema->fixed_bytes;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct mote_value *value = find_value(schema, values, count, i);
        if (needs_no_check(&schema->columns[i], value))
            continue;
        int code = check_column(schema, i, value, &size_bytes);
        if (code != MOTE_OK)
            return code;
    }
    if (size_bytes > MOTE_ROW_BYTES_MAX)
        return schema_refuse(schema, -1, MOTE_ETOOBIG, "the row takes %llu bytes, at most 262144 are possible; split it", (unsigned long long)size_bytes);
    if (!schema->key_bytes_fixed) {
        int code = check_key_bytes(schema, values, count);
        if (code != MOTE_OK)
            return code;
    }
    *row_bytes = (uint32_t)size_bytes;
    return MOTE_OK;
}

void row_encode_values(const struct schema *schema, const struct mote_value *values, size_t count, int64_t rowid, uint8_t *image, uint32_t row_bytes)
{
    assert(row_bytes >= schema->fixed_bytes && row_bytes <= MOTE_ROW_BYTES_MAX);
    memcpy(image, schema->default_image, schema->fixed_bytes);
    uint32_t var_at = schema->fixed_bytes;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        const struct mote_value *value = find_value(schema, values, count, i);
        uint8_t *at = image + column->row_offset;
        if (type_is_var(column->type)) {
            const struct mote_value *held = effective_var(column, value);
            if (!held) {
                set_null(image, i);
                continue;
            }
            uint32_t size_bytes = (uint32_t)held->as.bytes.size_bytes;
            assert(size_bytes <= row_bytes - var_at);
            clear_null(image, i);
            store_u32(at, var_at);
            store_u32(at + 4, size_bytes);
            if (size_bytes != 0)
                memcpy(image + var_at, held->as.bytes.data, size_bytes);
            var_at += size_bytes;
        } else if (value && !value->is_null) {
            clear_null(image, i);
            if (column->value_bytes == 8 && !type_is_vector(column->type))
                memcpy(at, &value->as, 8);
            else
                row_store_value(column, value, image);
        } else if (value && !(column->flags & MOTE_COLUMN_NOT_NULL)) {
            set_null(image, i);
            memset(at, 0, column->value_bytes);
        }
    }
    if (row_values_take_rowid(schema, values, count))
        store_u64(image + schema->columns[schema->key_columns[0]].row_offset, (uint64_t)rowid);
    assert(var_at == row_bytes);
    (void)row_bytes;
}

static bool is_zero(const uint8_t *bytes, uint32_t size_bytes)
{
    uint8_t any = 0;
    for (uint32_t i = 0; i < size_bytes; i++)
        any |= bytes[i];
    return any == 0;
}

/* One column of an image from the log. *var_at: where its text or blob must begin. NULL if it is right. */
static const char *find_image_fault(const struct schema *schema, uint32_t position, const uint8_t *image, uint32_t row_bytes, uint32_t *var_at)
{
    const struct schema_column *column = &schema->columns[position];
    const uint8_t *at = image + column->row_offset;
    if (row_is_null(schema, image, position)) {
        if (column->flags & MOTE_COLUMN_NOT_NULL)
            return "a NOT NULL column is NULL";
        return is_zero(at, type_is_var(column->type) ? 8 : column->value_bytes) ? NULL : "a NULL has bytes";
    }
    if (column->type == MOTE_TYPE_BOOL)
        return *at <= 1 ? NULL : "a bool is neither 0 nor 1";
    if (column->type == MOTE_TYPE_FLOAT64 || column->type == MOTE_TYPE_FLOAT32)
        return float_is_nan(column->type, at) && schema_column_in_key(schema, position) ? "a key holds NaN" : NULL;
    if (!type_is_var(column->type))
        return NULL;
    uint32_t size_bytes = load_u32(at + 4);
    if (load_u32(at) != *var_at || size_bytes > row_bytes - *var_at)
        return "a text or blob is not where it must be";
    *var_at += size_bytes;
    return column->type == MOTE_TYPE_BLOB || utf8_is_valid(image + load_u32(at), size_bytes) ? NULL : "a text is not UTF-8";
}

static uint64_t image_key_bytes(const struct schema *schema, const uint8_t *image)
{
    uint64_t key_bytes = 0;
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        const uint8_t *at = image + column->row_offset;
        key_bytes += type_is_var(column->type) ? key_var_bytes(image + load_u32(at), load_u32(at + 4)) : column->value_bytes;
    }
    return key_bytes;
}

int row_image_check(const struct schema *schema, const uint8_t *image, uint32_t row_bytes)
{
    if (row_bytes < schema->fixed_bytes || row_bytes > MOTE_ROW_BYTES_MAX)
        return schema_refuse(schema, -1, MOTE_EDAMAGED, "a row in the log has %u bytes, which none of this table has", row_bytes);
    for (uint32_t bit = schema->column_count; bit < schema->null_bytes * 8; bit++)
        if (image[bit / 8] >> bit % 8 & 1)
            return schema_refuse(schema, -1, MOTE_EDAMAGED, "a row in the log has bits for columns that do not exist");
    uint32_t var_at = schema->fixed_bytes;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const char *fault = find_image_fault(schema, i, image, row_bytes, &var_at);
        if (fault)
            return schema_refuse(schema, (int)i, MOTE_EDAMAGED, "a row in the log is wrong: %s", fault);
    }
    if (var_at != row_bytes)
        return schema_refuse(schema, -1, MOTE_EDAMAGED, "a row in the log has bytes that belong to no column");
    if (!schema->key_bytes_fixed && image_key_bytes(schema, image) > MOTE_KEY_BYTES_MAX)
        return schema_refuse(schema, -1, MOTE_EDAMAGED, "a row in the log has a key longer than 1024 bytes");
    return MOTE_OK;
}

bool row_is_null(const struct schema *schema, const uint8_t *image, uint32_t column)
{
    assert(column < schema->column_count);
    (void)schema;
    return image[column / 8] >> column % 8 & 1;
}

void row_value(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, uint32_t position, struct mote_value *value)
{
    assert(position < schema->column_count && image_schema->version <= schema->version);
    const struct schema_column *column = &schema->columns[position];
    *value = (struct mote_value){.type = column->type};
    if (position >= image_schema->column_count) {
        if (column->flags & MOTE_COLUMN_HAS_DEFAULT)
            *value = column->default_value;
        else
            value->is_null = 1;
        return;
    }
    column = &image_schema->columns[position];
    const uint8_t *at = image + column->row_offset;
    if (row_is_null(image_schema, image, position)) {
        value->is_null = 1;
    } else if (type_is_var(column->type)) {
        value->as.bytes.data = image + load_u32(at);
        value->as.bytes.size_bytes = load_u32(at + 4);
    } else if (type_is_vector(column->type)) {
        value->as.bytes.data = at;
        value->as.bytes.size_bytes = column->value_bytes;
    } else {
        memcpy(&value->as, at, column->value_bytes);
    }
}

/* Seconds to the nearest nanosecond. Whole seconds and fraction are converted apart, since their sum in nanoseconds exceeds a double's 53 bits. */
static bool seconds_to_ns(double seconds, int64_t *time_ns)
{
    const double seconds_max = 9223372036.0; /* 2^63 ns, in whole seconds */
    if (!(seconds >= -seconds_max && seconds < seconds_max))
        return false;
    int64_t whole = (int64_t)seconds;
    if ((double)whole > seconds)
        whole--;
    *time_ns = whole * NS_PER_S + (int64_t)((seconds - (double)whole) * (double)NS_PER_S + 0.5);
    return true;
}

bool value_time(const struct schema_column *column, const struct mote_value *value, int64_t *time_ns)
{
    if (value->is_null)
        return false;
    if (column->type == MOTE_TYPE_FLOAT64)
        return seconds_to_ns(value->as.f64, time_ns);
    *time_ns = value->as.i64;
    return true;
}

bool row_time(const struct schema *schema, const uint8_t *image, int64_t *time_ns)
{
    if (schema->time_column < 0)
        return false;
    const struct schema_column *column = &schema->columns[schema->time_column];
    struct mote_value value = {.type = column->type, .is_null = row_is_null(schema, image, (uint32_t)schema->time_column)};
    memcpy(&value.as.i64, image + column->row_offset, sizeof value.as.i64);
    return value_time(column, &value, time_ns);
}
