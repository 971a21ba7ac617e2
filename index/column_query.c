/* column_query.c: queries as ascending ranges between cuts, places in the order of keys (column_index.h).
 *
 * Operands longer than COLUMN_KEPT_BYTES become keys that stand for all values that begin alike: ranges then include these, and are marked inexact. Threads: one. Failures: MOTE_EINVAL, MOTE_EBUDGET.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

static int check_operand(const struct mote_value *value, uint32_t type)
{
    if (value->is_null)
        return error_set(MOTE_EINVAL, "NULL cannot be compared with by a column index; ask for the NULLs (COLUMN_NULL)");
    if (value->type != type)
        return error_set(MOTE_EINVAL, "a value of type %u cannot be compared with a column of type %u; use the column's type", value->type, type);
    return MOTE_OK;
}

/* The key of an operand; bytes are kept in room. *cut: it was too long to be kept whole. */
static struct column_key key_of(const struct mote_value *value, uint8_t room[COLUMN_KEY_BYTES_MAX], bool *cut)
{
    struct column_key key = {0};
    if (column_type_is_bytes(value->type)) {
        key.length = column_key_cut(value->as.bytes.data, value->as.bytes.size_bytes, room);
        key.bytes = room;
        *cut = value->as.bytes.size_bytes > COLUMN_KEPT_BYTES;
    } else {
        column_keys_from(value->type, &value->as, 1, &key.bits);
        *cut = false;
    }
    return key;
}

static struct column_cut cut_at(struct column_key key, bool above) { return (struct column_cut){.kind = COLUMN_CUT_KEY, .above = above, .key = key}; }

/* Behind all values that begin with the key: the least key that is greater and does not. */
static struct column_cut cut_behind_prefix(const struct column_key *key, uint8_t room[COLUMN_KEY_BYTES_MAX])
{
    uint32_t length = key->length;
    if (length)
        memcpy(room, key->bytes, length);
    while (length > 0 && room[length - 1] == 255)
        length--;
    if (length == 0)
        return (struct column_cut){.kind = COLUMN_CUT_VALUES_END};
    room[length - 1]++;
    return cut_at((struct column_key){.bytes = room, .length = length}, false);
}

static int make_range(const struct column_query *query, uint32_t type, struct column_ranges *ranges)
{
    struct column_range *range = &ranges->single;
    bool cut;
    *range = (struct column_range){.from.kind = COLUMN_CUT_BEGIN, .to.kind = COLUMN_CUT_VALUES_END};
    if (query->from.kind > COLUMN_EXCLUDED || query->to.kind > COLUMN_EXCLUDED)
        return error_set(MOTE_EINVAL, "a bound of a column search is of no known kind");
    if (query->from.kind != COLUMN_OPEN) {
        int result = check_operand(&query->from.value, type);
        if (result)
            return result;
        struct column_key key = key_of(&query->from.value, ranges->room[0], &cut);
        range->from = cut_at(key, query->from.kind == COLUMN_EXCLUDED && !cut);
        ranges->inexact |= cut;
    }
    if (query->to.kind != COLUMN_OPEN) {
        int result = check_operand(&query->to.value, type);
        if (result)
            return result;
        struct column_key key = key_of(&query->to.value, ranges->room[1], &cut);
        range->to = cut_at(key, query->to.kind == COLUMN_INCLUDED || cut);
        ranges->inexact |= cut;
    }
    if (query->from.kind != COLUMN_OPEN && query->to.kind != COLUMN_OPEN) {
        int order = column_key_compare(column_type_is_bytes(type), &range->from.key, &range->to.key);
        if (order > 0 || (order == 0 && range->from.above >= range->to.above))
            ranges->count = 0;
    }
    return MOTE_OK;
}

static int make_single(const struct column_query *query, uint32_t type, struct column_ranges *ranges)
{
    bool cut;
    int result = check_operand(&query->from.value, type);
    if (result)
        return result;
    if (query->kind == COLUMN_PREFIX && !column_type_is_bytes(type))
        return error_set(MOTE_EINVAL, "only text and blob have prefixes; search the column of type %u by range", type);
    struct column_key key = key_of(&query->from.value, ranges->room[0], &cut);
    ranges->inexact = cut;
    ranges->single.from = cut_at(key, false);
    ranges->single.to = query->kind == COLUMN_PREFIX && !cut ? cut_behind_prefix(&key, ranges->room[1]) : cut_at(key, true);
    return MOTE_OK;
}

static bool range_above(const struct column_range *a, const struct column_range *b, bool is_bytes) { return column_key_compare(is_bytes, &a->from.key, &b->from.key) > 0; }

/* A heap sort: in place, and never slower than count * log(count). */
static void sort_ranges(struct column_range *ranges, uint32_t count, bool is_bytes)
{
    for (uint32_t root = count / 2, end = count; end > 1;) {
        struct column_range moved;
        if (root > 0) {
            moved = ranges[--root];
        } else {
            moved = ranges[--end];
            ranges[end] = ranges[0];
        }
        uint64_t at = root;
        for (uint64_t child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && range_above(&ranges[child + 1], &ranges[child], is_bytes))
                child++;
            if (!range_above(&ranges[child], &moved, is_bytes))
                break;
            ranges[at] = ranges[child];
        }
        ranges[at] = moved;
    }
}

static int make_list(struct memory *memory, const struct column_query *query, uint32_t type, struct column_ranges *ranges)
{
    bool is_bytes = column_type_is_bytes(type), cut;
    uint64_t bytes = 0;
    ranges->count = 0;
    for (uint32_t i = 0; i < query->value_count; i++) {
        int result = check_operand(&query->values[i], type);
        if (result)
            return result;
        uint64_t size_bytes = is_bytes ? query->values[i].as.bytes.size_bytes : 0;
        bytes += size_bytes < COLUMN_KEY_BYTES_MAX ? size_bytes : COLUMN_KEY_BYTES_MAX;
    }
    if (query->value_count == 0)
        return MOTE_OK;
    ranges->ranges = memory_alloc(memory, (size_t)query->value_count * sizeof *ranges->ranges);
    ranges->bytes = memory_alloc(memory, bytes + COLUMN_KEY_BYTES_MAX); /* the last may be written with its whole room */
    if (!ranges->ranges || !ranges->bytes)
        return MOTE_EBUDGET;
    uint8_t *at = ranges->bytes;
    for (uint32_t i = 0; i < query->value_count; i++) {
        struct column_key key = key_of(&query->values[i], at, &cut);
        at += key.length;
        ranges->inexact |= cut;
        ranges->ranges[i] = (struct column_range){cut_at(key, false), cut_at(key, true)};
    }
    sort_ranges(ranges->ranges, query->value_count, is_bytes);
    for (uint32_t i = 0; i < query->value_count; i++)
        if (i == 0 || range_above(&ranges->ranges[i], &ranges->ranges[ranges->count - 1], is_bytes))
            ranges->ranges[ranges->count++] = ranges->ranges[i];
    return MOTE_OK;
}

int column_ranges_make(struct memory *memory, const struct column_query *query, uint32_t type, struct column_ranges *ranges)
{
    ranges->ranges = &ranges->single;
    ranges->count = 1;
    ranges->inexact = false;
    ranges->bytes = NULL;
    switch (query->kind) {
    case COLUMN_EQUAL:
    case COLUMN_PREFIX:
        return make_single(query, type, ranges);
    case COLUMN_RANGE:
        return make_range(query, type, ranges);
    case COLUMN_IN:
        return make_list(memory, query, type, ranges);
    case COLUMN_NULL:
        ranges->single = (struct column_range){.from.kind = COLUMN_CUT_VALUES_END, .to.kind = COLUMN_CUT_END};
        return MOTE_OK;
    case COLUMN_NOT_NULL:
        ranges->single = (struct column_range){.from.kind = COLUMN_CUT_BEGIN, .to.kind = COLUMN_CUT_VALUES_END};
        return MOTE_OK;
    case COLUMN_ALL:
        ranges->single = (struct column_range){.from.kind = COLUMN_CUT_BEGIN, .to.kind = COLUMN_CUT_END};
        return MOTE_OK;
    default:
        ranges->count = 0;
        return error_set(MOTE_EINVAL, "a column search of no known kind, %d", (int)query->kind);
    }
}

void column_ranges_free(struct memory *memory, struct column_ranges *ranges)
{
    if (ranges->ranges != &ranges->single)
        memory_free(memory, ranges->ranges);
    memory_free(memory, ranges->bytes);
    ranges->ranges = &ranges->single;
    ranges->bytes = NULL;
    ranges->count = 0;
}
