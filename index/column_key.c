/* column_key.c: values of a column as keys that ascend with them, and back (column_format.h). Pure functions; any thread; nothing fails. */
#include <assert.h>

#include "index/column_private.h"

#define SIGN_64 ((uint64_t)1 << 63)
#define SIGN_32 ((uint32_t)1 << 31)
#define NAN_64 0x7ff8000000000000u
#define NAN_32 0x7fc00000u

bool column_type_is_indexed(uint32_t type)
{
    return type == MOTE_TYPE_INT64 || type == MOTE_TYPE_INT32 || type == MOTE_TYPE_TIMESTAMP || type == MOTE_TYPE_FLOAT64 || type == MOTE_TYPE_FLOAT32 || type == MOTE_TYPE_BOOL || column_type_is_bytes(type);
}

static uint64_t key_of_float64(uint64_t bits)
{
    if ((bits & ~SIGN_64) > 0x7ff0000000000000u)
        bits = NAN_64;
    if (bits == SIGN_64)
        bits = 0;
    return bits & SIGN_64 ? ~bits : bits | SIGN_64;
}

static uint64_t key_of_float32(uint32_t bits)
{
    if ((bits & ~SIGN_32) > 0x7f800000u)
        bits = NAN_32;
    if (bits == SIGN_32)
        bits = 0;
    return bits & SIGN_32 ? ~bits : bits | SIGN_32;
}

void column_keys_from(uint32_t type, const void *values, uint32_t count, uint64_t *keys)
{
    const uint8_t *at = values;
    assert(column_type_is_indexed(type) && !column_type_is_bytes(type));
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        for (uint32_t i = 0; i < count; i++)
            keys[i] = load_u64(at + 8 * (size_t)i) ^ SIGN_64;
        break;
    case MOTE_TYPE_INT32:
        for (uint32_t i = 0; i < count; i++)
            keys[i] = load_u32(at + 4 * (size_t)i) ^ SIGN_32;
        break;
    case MOTE_TYPE_FLOAT64:
        for (uint32_t i = 0; i < count; i++)
            keys[i] = key_of_float64(load_u64(at + 8 * (size_t)i));
        break;
    case MOTE_TYPE_FLOAT32:
        for (uint32_t i = 0; i < count; i++)
            keys[i] = key_of_float32(load_u32(at + 4 * (size_t)i));
        break;
    default:
        for (uint32_t i = 0; i < count; i++)
            keys[i] = at[i] != 0;
    }
}

/* Keys that a hostile page made up become some value of the type. */
void column_keys_to(uint32_t type, const uint64_t *keys, uint32_t count, void *values)
{
    uint8_t *at = values;
    assert(column_type_is_indexed(type) && !column_type_is_bytes(type));
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        for (uint32_t i = 0; i < count; i++)
            store_u64(at + 8 * (size_t)i, keys[i] ^ SIGN_64);
        break;
    case MOTE_TYPE_INT32:
        for (uint32_t i = 0; i < count; i++)
            store_u32(at + 4 * (size_t)i, (uint32_t)keys[i] ^ SIGN_32);
        break;
    case MOTE_TYPE_FLOAT64:
        for (uint32_t i = 0; i < count; i++)
            store_u64(at + 8 * (size_t)i, keys[i] & SIGN_64 ? keys[i] ^ SIGN_64 : ~keys[i]);
        break;
    case MOTE_TYPE_FLOAT32:
        for (uint32_t i = 0; i < count; i++) {
            uint32_t key = (uint32_t)keys[i];
            store_u32(at + 4 * (size_t)i, key & SIGN_32 ? key ^ SIGN_32 : ~key);
        }
        break;
    default:
        for (uint32_t i = 0; i < count; i++)
            at[i] = keys[i] != 0;
    }
}

int column_compare_values(const struct mote_value *a, const struct mote_value *b)
{
    assert(a->type == b->type && !a->is_null && !b->is_null);
    if (column_type_is_bytes(a->type)) {
        uint64_t shared = a->as.bytes.size_bytes < b->as.bytes.size_bytes ? a->as.bytes.size_bytes : b->as.bytes.size_bytes;
        int order = shared ? memcmp(a->as.bytes.data, b->as.bytes.data, shared) : 0;
        return order ? order : (a->as.bytes.size_bytes > b->as.bytes.size_bytes) - (a->as.bytes.size_bytes < b->as.bytes.size_bytes);
    }
    uint64_t x, y;
    column_keys_from(a->type, &a->as, 1, &x);
    column_keys_from(b->type, &b->as, 1, &y);
    return (x > y) - (x < y);
}

/* Eight bytes at a time, filled up with zeros, each eight followed by how many of them count, 9: there are more. So nothing is the beginning of anything else, and the reverse order is the complement. */
static uint32_t rank_of_bytes(const uint8_t *value, uint64_t size_bytes, uint8_t *bytes)
{
    uint32_t used = 0;
    for (uint64_t at = 0; used == 0 || (at < size_bytes && at < COLUMN_RANK_VALUE_BYTES); at += 8, used += 9) {
        uint64_t left = size_bytes - at;
        uint32_t kept = left < 8 ? (uint32_t)left : 8;
        memset(bytes + used, 0, 8);
        if (kept)
            memcpy(bytes + used, value + at, kept);
        bytes[used + 8] = (uint8_t)(left > 8 ? 9 : left);
    }
    return used;
}

uint32_t column_rank_bytes(const struct mote_value *value, bool descending, uint8_t bytes[COLUMN_RANK_BYTES_MAX])
{
    uint32_t used = 8;
    assert(!value->is_null);
    if (column_type_is_bytes(value->type)) {
        used = rank_of_bytes(value->as.bytes.data, value->as.bytes.size_bytes, bytes);
    } else {
        uint64_t key;
        column_keys_from(value->type, &value->as, 1, &key);
        for (unsigned i = 0; i < 8; i++)
            bytes[i] = (uint8_t)(key >> (56 - 8 * i));
    }
    for (uint32_t i = 0; descending && i < used; i++)
        bytes[i] = (uint8_t)~bytes[i];
    return used;
}

uint32_t column_key_cut(const void *value, uint64_t size_bytes, uint8_t room[COLUMN_KEY_BYTES_MAX])
{
    uint32_t kept = size_bytes < COLUMN_KEPT_BYTES ? (uint32_t)size_bytes : COLUMN_KEPT_BYTES;
    if (kept)
        memcpy(room, value, kept);
    if (size_bytes > COLUMN_KEPT_BYTES)
        room[kept++] = 0;
    return kept;
}
