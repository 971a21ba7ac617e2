/* key.c: keys as bytes that memcmp orders as their values (schema.h).
 *
 * Threads: pure functions. Failures: key_from_values and key_decode refuse; key_from_row cannot, since the row was checked. */
#include "engine/lsm/schema_private.h"

#include "blockdev/base/errors.h"
#include "engine/lsm/utf8.h"

#include <assert.h>

static inline uint64_t unflip_float64(uint64_t key) { return key ^ (key & KEY_SIGN64 ? KEY_SIGN64 : UINT64_MAX); }
static inline uint32_t unflip_float32(uint32_t key) { return key ^ (key & KEY_SIGN32 ? KEY_SIGN32 : UINT32_MAX); }

/* Text or blob: runs without zeros are copied, each zero gets an escape, two zeros end it. */
static uint32_t append_var(const uint8_t *data, size_t size_bytes, uint8_t *at)
{
    uint8_t *start = at;
    while (size_bytes > 0) {
        const uint8_t *zero = memchr(data, 0, size_bytes);
        size_t run_bytes = zero ? (size_t)(zero - data) : size_bytes;
        memcpy(at, data, run_bytes);
        at += run_bytes;
        if (!zero)
            break;
        *at++ = 0;
        *at++ = 0xFF;
        data += run_bytes + 1;
        size_bytes -= run_bytes + 1;
    }
    *at++ = 0;
    *at++ = 0;
    return (uint32_t)(at - start);
}

uint32_t key_from_row(const struct schema *schema, const uint8_t *image, uint8_t *key)
{
    uint8_t *at = key;
    const struct schema_key_part *end = schema->key_parts + schema->key_column_count;
    for (const struct schema_key_part *part = schema->key_parts; part < end; part++) {
        const uint8_t *value = image + part->row_offset;
        if (type_is_var(part->type))
            at += append_var(image + load_u32(value), load_u32(value + 4), at);
        else
            at += key_append_fixed(part->type, value, at);
    }
    assert(at - key <= MOTE_KEY_BYTES_MAX);
    return (uint32_t)(at - key);
}

uint32_t key_append_value(uint32_t type, const struct mote_value *value, uint8_t *at)
{
    assert(type_is_key(type) && !value->is_null);
    return type_is_var(type) ? append_var(value->as.bytes.data, value->as.bytes.size_bytes, at) : key_append_fixed(type, &value->as, at);
}

int key_from_values(const struct schema *schema, const struct mote_value *values, size_t count, uint8_t *key, uint32_t *key_bytes)
{
    if (count > schema->key_column_count)
        return schema_refuse(schema, -1, MOTE_ESCHEMA, "the key given has %zu values, the table's key %u", count, schema->key_column_count);
    if (!values && count > 0)
        return schema_refuse(schema, -1, MOTE_EINVAL, "the key's values are NULL but their count is %zu", count);
    uint32_t size_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        int position = (int)schema->key_columns[i];
        const struct schema_column *column = &schema->columns[position];
        const struct mote_value *value = &values[i];
        if (value->is_null)
            return schema_refuse(schema, position, MOTE_ESCHEMA, "a key cannot hold NULL");
        int code;
        const char *fault = schema_value_fault(column, true, value, &code);
        if (fault)
            return schema_refuse(schema, position, code, "%s", fault);
        uint64_t part_bytes = type_is_var(column->type) ? key_var_bytes(value->as.bytes.data, value->as.bytes.size_bytes) : column->value_bytes;
        if (part_bytes > MOTE_KEY_BYTES_MAX - size_bytes)
            return schema_refuse(schema, position, MOTE_ETOOBIG, "the key takes more than 1024 bytes; shorten its text or blob");
        size_bytes += key_append_value(column->type, value, key + size_bytes);
    }
    *key_bytes = size_bytes;
    return MOTE_OK;
}

/* Undoes key_append_fixed. false: no value has this form. */
static bool decode_fixed(const struct schema_column *column, const uint8_t *at, struct mote_value *value)
{
    switch (column->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        value->as.i64 = (int64_t)(load_be64(at) ^ KEY_SIGN64);
        return true;
    case MOTE_TYPE_INT32:
        value->as.i32 = (int32_t)(load_be32(at) ^ KEY_SIGN32);
        return true;
    case MOTE_TYPE_FLOAT64: {
        uint64_t bits = unflip_float64(load_be64(at));
        memcpy(&value->as.f64, &bits, sizeof bits);
        return !float_is_nan(MOTE_TYPE_FLOAT64, &bits);
    }
    case MOTE_TYPE_FLOAT32: {
        uint32_t bits = unflip_float32(load_be32(at));
        memcpy(&value->as.f32, &bits, sizeof bits);
        return !float_is_nan(MOTE_TYPE_FLOAT32, &bits);
    }
    default:
        value->as.boolean = *at;
        return *at <= 1;
    }
}

/* Undoes append_var; returns the bytes of the key that it took, or 0 if no text or blob has this form. */
static uint32_t decode_var(const uint8_t *at, uint32_t left_bytes, uint8_t *scratch, uint32_t *size_bytes)
{
    uint32_t taken = 0;
    *size_bytes = 0;
    while (taken + 1 < left_bytes) {
        uint8_t byte = at[taken];
        if (byte != 0) {
            scratch[(*size_bytes)++] = byte;
            taken++;
            continue;
        }
        uint8_t escape = at[taken + 1];
        taken += 2;
        if (escape == 0)
            return taken;
        if (escape != 0xFF)
            return 0;
        scratch[(*size_bytes)++] = 0;
    }
    return 0;
}

int key_decode_prefix(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint32_t column_count, struct mote_value *values, uint8_t *scratch)
{
    assert(column_count <= schema->key_column_count);
    if (key_bytes > MOTE_KEY_BYTES_MAX)
        return schema_refuse(schema, -1, MOTE_EDAMAGED, "a key has %u bytes, at most 1024 are possible; run fsck.mote", key_bytes);
    uint32_t at = 0;
    for (uint32_t i = 0; i < column_count; i++) {
        int position = (int)schema->key_columns[i];
        const struct schema_column *column = &schema->columns[position];
        values[i] = (struct mote_value){.type = column->type};
        bool right;
        if (type_is_var(column->type)) {
            uint32_t size_bytes, taken = decode_var(key + at, key_bytes - at, scratch, &size_bytes);
            right = taken != 0 && (column->type == MOTE_TYPE_BLOB || utf8_is_valid(scratch, size_bytes));
            values[i].as.bytes.data = scratch;
            values[i].as.bytes.size_bytes = size_bytes;
            scratch += size_bytes;
            at += taken;
        } else {
            right = key_bytes - at >= column->value_bytes && decode_fixed(column, key + at, &values[i]);
            at += right ? column->value_bytes : 0;
        }
        if (!right)
            return schema_refuse(schema, position, MOTE_EDAMAGED, "a key's part is damaged; run fsck.mote");
    }
    if (at != key_bytes)
        return schema_refuse(schema, -1, MOTE_EDAMAGED, "a key has %u bytes too many; run fsck.mote", key_bytes - at);
    return MOTE_OK;
}

int key_decode(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, struct mote_value *values, uint8_t *scratch)
{
    return key_decode_prefix(schema, key, key_bytes, schema->key_column_count, values, scratch);
}

uint32_t key_prefix_bytes(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint32_t column_count)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < column_count && at < key_bytes; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        if (!type_is_var(column->type)) {
            at += column->value_bytes;
            continue;
        }
        /* Zeros come in pairs: escaped ones with 0xFF, the end with another zero. */
        const uint8_t *zero;
        do {
            zero = memchr(key + at, 0, key_bytes - at);
            at = zero ? (uint32_t)(zero - key) + 2 : key_bytes;
        } while (zero && at < key_bytes && zero[1] != 0);
    }
    return at < key_bytes ? at : key_bytes;
}

int key_time(const struct schema *schema, const uint8_t *key, uint32_t key_bytes, int64_t *time_ns)
{
    struct mote_value values[MOTE_KEY_COLUMNS_MAX];
    uint8_t scratch[MOTE_KEY_BYTES_MAX];
    assert(schema->time_in_key);
    if (schema->key_tail_bytes != 0 && key_bytes >= schema->key_tail_bytes) {
        *time_ns = (int64_t)(load_be64(key + key_bytes - schema->key_tail_bytes) ^ (1ull << 63));
        return MOTE_OK;
    }
    int result = key_decode(schema, key, key_bytes, values, scratch);
    for (uint32_t i = 0; i < schema->key_column_count && !result; i++) {
        if ((int32_t)schema->key_columns[i] == schema->time_column)
            *time_ns = values[i].as.i64;
    }
    return result;
}
