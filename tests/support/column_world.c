/* column_world.c: see column_world.h. */
#include "tests/support/column_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/memory.h"
#include "index/column_format.h"
#include "tests/support/codec_check.h"

const uint32_t column_types[COLUMN_TYPES] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB};

static void need(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "column_world: %s\n", what);
        abort();
    }
}

void column_world_begin(struct column_world *world, struct memory *memory, bool gaps, bool prefetch)
{
    section_world_begin(&world->pages, gaps, prefetch);
    world->section = (struct column_section){&world->pages.identity, &world->pages.root, &world->pages.source, memory};
}

static uint32_t seal(struct column_world *world, uint64_t offset, uint32_t length)
{
    uint8_t *page = world->pages.bytes + offset;
    uint32_t magic = load_u32(page), crc = crc32c(crc32c_seed(world->pages.identity.uuid, magic, world->pages.identity.segment_id, offset), page + 8, length - 8);
    store_u32(page + 4, crc);
    return crc;
}

/* Children lie before parents: one pass over all pages in the order of their offsets, each of which repairs what later pages say of it. */
void column_world_reseal(struct column_world *world)
{
    uint64_t offsets[4096];
    uint32_t lengths[4096], crcs[4096], count = 0;
    for (uint64_t at = 0; at + COLUMN_HEADER_BYTES <= world->pages.length && count < 4096;) {
        uint32_t length = load_u32(world->pages.bytes + at + 32);
        if (length < COLUMN_HEADER_BYTES || length > world->pages.length - at)
            return; /* the lie goes too far: what follows fails its checksum */
        uint8_t *page = world->pages.bytes + at;
        uint32_t magic = load_u32(page), children = load_u32(page + 40), entries = COLUMN_INNER_HEADER_BYTES;
        if (magic == COLUMN_MAGIC_ROOT) {
            bool is_bytes = load_u32(page + 44) == MOTE_TYPE_TEXT || load_u32(page + 44) == MOTE_TYPE_BLOB;
            entries = COLUMN_ROOT_HEADER_BYTES + (is_bytes ? load_u16(page + 64) + (uint32_t)load_u16(page + 72) : 0);
        }
        for (uint32_t i = 0; magic != COLUMN_MAGIC_LEAF && i < children && entries + (uint64_t)(i + 1) * COLUMN_CHILD_BYTES <= length; i++)
            for (uint32_t k = 0; k < count; k++)
                if (load_u64(page + entries + i * COLUMN_CHILD_BYTES + 8) == offsets[k] && load_u32(page + entries + i * COLUMN_CHILD_BYTES + 16) == lengths[k])
                    store_u32(page + entries + i * COLUMN_CHILD_BYTES + 20, crcs[k]);
        offsets[count] = at;
        lengths[count] = length;
        crcs[count++] = seal(world, at, length);
        if (at == world->pages.root.root_offset_bytes)
            world->pages.root.root_crc = crcs[count - 1];
        at += length;
    }
}

static const double floats[] = {-INFINITY, -1e300, -1.5, -0.0, 0.0, 4.9e-324, 0.1, 1.5, 3e38, 1e300, INFINITY, NAN};
static const int64_t integers[] = {INT64_MIN, INT64_MIN + 1, INT32_MIN, -1, 0, 1, INT32_MAX, (int64_t)1 << 40, INT64_MAX - 1, INT64_MAX};

/* shape 0: few values; 1: many; 2: all equal; 3: ascending; 4: descending; 5: extremes; 6: each value some 20 times; 7: runs; 8: about half of them repeated */
static int64_t make_number(uint64_t *state, uint32_t shape, uint32_t i, uint32_t count)
{
    uint64_t random = codec_check_random(state);
    switch (shape) {
    case 0:
        return (int64_t)(random % 7) - 3;
    case 2:
        return -42;
    case 3:
        return (int64_t)i * 3 - 1000;
    case 4:
        return 5000 - (int64_t)i;
    case 5:
        return integers[random % 10];
    case 6:
        return (int64_t)(random % (count / 20 + 1)) * 1000003;
    case 7:
        return (int64_t)(i / 300);
    case 8:
        return random % 2 ? (int64_t)(random >> 33) : (int64_t)(random >> 1 & 63);
    default:
        return (int64_t)random;
    }
}

static void put_number(uint64_t *state, struct column_rows *rows, uint32_t shape, uint32_t i)
{
    int64_t number = make_number(state, shape, i, rows->count);
    double real = shape == 5 ? floats[codec_check_random(state) % 12] : shape == 1 ? (double)number * 0x1p-60 : (double)number / 8;
    if (shape == 1 && (uint64_t)number % 100 == 0)
        memcpy(&real, &number, 8); /* any bits, many kinds of NaN among them */
    float narrow = (float)real;
    int32_t small = (int32_t)(shape == 5 ? number >> (number % 2 ? 32 : 0) : number);
    switch (rows->type) {
    case MOTE_TYPE_INT32:
        memcpy(rows->values + 4 * (size_t)i, &small, 4);
        break;
    case MOTE_TYPE_FLOAT64:
        memcpy(rows->values + 8 * (size_t)i, &real, 8);
        break;
    case MOTE_TYPE_FLOAT32:
        memcpy(rows->values + 4 * (size_t)i, &narrow, 4);
        break;
    case MOTE_TYPE_BOOL:
        rows->values[i] = number & 1;
        break;
    default:
        memcpy(rows->values + 8 * (size_t)i, &number, 8);
    }
}

/* Texts that share beginnings, with bytes 0 and 255, empty ones, and some about COLUMN_KEPT_BYTES long and longer. */
static uint32_t make_bytes(uint64_t *state, uint32_t shape, uint32_t i, uint32_t count, uint8_t *at)
{
    uint64_t random = codec_check_random(state);
    if (shape == 5) {
        static const uint32_t lengths[] = {0, 1, 2, 253, 254, 255, 256, 300};
        uint32_t length = lengths[random % 8];
        memset(at, random >> 8 & 1 ? 255 : 0, length);
        for (uint32_t k = 0; k < 2 && length > 0; k++)
            at[random >> (16 + 8 * k) & 1 ? length - 1 : (random >> 32) % length] = random >> (40 + k) & 1 ? 'x' : 0;
        return length;
    }
    int64_t number = make_number(state, shape, i, count);
    if (shape == 1 && random % 3 == 0)
        return (uint32_t)snprintf((char *)at, 64, "%llx", (unsigned long long)number) % 5;
    return (uint32_t)snprintf((char *)at, 64, "https://a.example/%s/%lld", random % 2 || shape != 8 ? "item" : "index", (long long)number);
}

struct column_rows column_rows_make(uint64_t *state, uint32_t type, uint32_t shape, uint32_t count, bool nulls)
{
    bool is_bytes = type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB;
    struct column_rows rows = {.type = type, .count = count, .values = calloc((size_t)count + 1, is_bytes ? 304 : 8)};
    if (is_bytes)
        rows.offsets = calloc((size_t)count + 1, sizeof *rows.offsets);
    if (nulls)
        rows.validity = calloc((size_t)count / 8 + 1, 1);
    need(rows.values && (!is_bytes || rows.offsets) && (!nulls || rows.validity), "no memory");
    uint32_t nulls_of_16 = (uint32_t)(codec_check_random(state) % 17);
    for (uint32_t i = 0; i < count; i++) {
        if (nulls && codec_check_random(state) % 16 >= nulls_of_16)
            rows.validity[i / 8] = (uint8_t)(rows.validity[i / 8] | 1u << i % 8);
        if (is_bytes)
            rows.offsets[i + 1] = rows.offsets[i] + make_bytes(state, shape, i, count, rows.values + rows.offsets[i]);
        else
            put_number(state, &rows, shape, i);
    }
    return rows;
}

void column_rows_free(struct column_rows *rows)
{
    free(rows->values);
    free(rows->offsets);
    free(rows->validity);
}

bool column_rows_is_null(const struct column_rows *rows, uint32_t row) { return rows->validity && !(rows->validity[row / 8] >> row % 8 & 1); }

struct mote_value column_rows_value(const struct column_rows *rows, uint32_t row)
{
    struct mote_value value = {.type = rows->type};
    if (rows->offsets) {
        value.as.bytes.data = rows->values + rows->offsets[row];
        value.as.bytes.size_bytes = rows->offsets[row + 1] - rows->offsets[row];
    } else {
        size_t size = codec_value_bytes(rows->type, 1);
        memcpy(&value.as, rows->values + row * size, size);
    }
    return value;
}

struct codec_vector column_rows_slice(const struct column_rows *rows, uint32_t from, uint32_t count, uint8_t *validity)
{
    struct codec_vector v = {.type = rows->type, .dimension = 1, .count = count, .values = rows->values};
    if (rows->offsets)
        v.offsets = rows->offsets + from;
    else
        v.values = rows->values + from * codec_value_bytes(rows->type, 1);
    memset(validity, 0, (size_t)count / 8 + 1);
    for (uint32_t i = 0; rows->validity && i < count; i++)
        if (!column_rows_is_null(rows, from + i))
            validity[i / 8] = (uint8_t)(validity[i / 8] | 1u << i % 8);
    v.validity = rows->validity ? validity : NULL;
    return v;
}

int column_world_build(struct column_world *world, struct memory *memory, const struct column_rows *rows, uint32_t page_bytes, uint64_t *state)
{
    struct column_builder *builder;
    uint8_t *validity = malloc((size_t)rows->count / 8 + 1);
    int result = column_builder_create(memory, rows->type, rows->count, page_bytes, &builder);
    need(validity != NULL, "no memory");
    for (uint32_t at = 0, count; !result && at < rows->count; at += count) {
        uint32_t most = (uint32_t)(codec_check_random(state) % (rows->count / 2 + 2)) + 1;
        count = most < rows->count - at ? most : rows->count - at;
        struct codec_vector v = column_rows_slice(rows, at, count, validity);
        result = column_builder_add_many(builder, at, &v);
    }
    if (!result)
        result = column_builder_finish(builder, &world->pages.identity, &world->pages.sink, &world->pages.root);
    column_builder_destroy(builder);
    free(validity);
    return result;
}

/* ---- The answer by looking at each row ---- */

static int compare_floats(double a, double b)
{
    if (isnan(a) || isnan(b))
        return !!isnan(a) - !!isnan(b);
    return (a > b) - (a < b);
}

/* By the column's order; long values by their beginning, and that there is more. */
static int compare_values(const struct mote_value *a, const struct mote_value *b)
{
    switch (a->type) {
    case MOTE_TYPE_FLOAT64:
        return compare_floats(a->as.f64, b->as.f64);
    case MOTE_TYPE_FLOAT32:
        return compare_floats((double)a->as.f32, (double)b->as.f32);
    case MOTE_TYPE_INT32:
        return (a->as.i32 > b->as.i32) - (a->as.i32 < b->as.i32);
    case MOTE_TYPE_BOOL:
        return !!a->as.boolean - !!b->as.boolean;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB: {
        uint64_t x = a->as.bytes.size_bytes, y = b->as.bytes.size_bytes;
        x = x > COLUMN_KEPT_BYTES ? COLUMN_KEPT_BYTES + 1 : x;
        y = y > COLUMN_KEPT_BYTES ? COLUMN_KEPT_BYTES + 1 : y;
        uint64_t shared = x < y ? x : y;
        shared = shared > COLUMN_KEPT_BYTES ? COLUMN_KEPT_BYTES : shared;
        int order = shared ? memcmp(a->as.bytes.data, b->as.bytes.data, shared) : 0;
        return order ? order : (x > y) - (x < y);
    }
    default:
        return (a->as.i64 > b->as.i64) - (a->as.i64 < b->as.i64);
    }
}

static bool is_long(const struct mote_value *value) { return (value->type == MOTE_TYPE_TEXT || value->type == MOTE_TYPE_BLOB) && value->as.bytes.size_bytes > COLUMN_KEPT_BYTES; }

static bool within(const struct mote_value *value, const struct column_query *query)
{
    int from = query->from.kind ? compare_values(value, &query->from.value) : 1, to = query->to.kind ? compare_values(value, &query->to.value) : -1;
    bool from_included = query->from.kind == COLUMN_INCLUDED || (query->from.kind && is_long(&query->from.value)), to_included = query->to.kind == COLUMN_INCLUDED || (query->to.kind && is_long(&query->to.value));
    return (from > 0 || (from == 0 && from_included)) && (to < 0 || (to == 0 && to_included));
}

static bool belongs(const struct column_rows *rows, uint32_t row, const struct column_query *query)
{
    struct mote_value value = column_rows_value(rows, row);
    bool is_null = column_rows_is_null(rows, row), found = false;
    if (is_null || query->kind >= COLUMN_NULL)
        return query->kind == COLUMN_ALL || (is_null ? query->kind == COLUMN_NULL : query->kind == COLUMN_NOT_NULL);
    const struct mote_value *from = &query->from.value;
    switch (query->kind) {
    case COLUMN_EQUAL:
        return compare_values(&value, from) == 0;
    case COLUMN_RANGE:
        return within(&value, query);
    case COLUMN_PREFIX:
        if (is_long(from))
            return compare_values(&value, from) == 0;
        return value.as.bytes.size_bytes >= from->as.bytes.size_bytes && (from->as.bytes.size_bytes == 0 || memcmp(value.as.bytes.data, from->as.bytes.data, from->as.bytes.size_bytes) == 0);
    default:
        for (uint32_t i = 0; i < query->value_count; i++)
            found |= compare_values(&value, &query->values[i]) == 0;
        return found;
    }
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct column_rows *rows = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = column_rows_is_null(rows, x) - column_rows_is_null(rows, y);
    struct mote_value left = column_rows_value(rows, x), right = column_rows_value(rows, y);
    if (order == 0 && !column_rows_is_null(rows, x))
        order = compare_values(&left, &right);
    return order ? order : (x > y) - (x < y);
}

uint32_t *column_rows_answer(const struct column_rows *rows, const struct column_query *query, uint32_t *count)
{
    uint32_t *answer = malloc(((size_t)rows->count + 1) * sizeof *answer);
    need(answer != NULL, "no memory");
    *count = 0;
    for (uint32_t row = 0; row < rows->count; row++)
        if (belongs(rows, row, query))
            answer[(*count)++] = row;
    struct column_rows copy = *rows;
    qsort_r(answer, *count, sizeof *answer, compare_rows, &copy);
    for (uint32_t i = 0, j = *count; query->descending && i + 1 < j; i++, j--) {
        uint32_t swap = answer[i];
        answer[i] = answer[j - 1];
        answer[j - 1] = swap;
    }
    return answer;
}

bool column_rows_fit(const struct column_rows *rows, const struct column_hits *hits, const uint32_t *ordinals)
{
    struct column_rows found = {.type = rows->type, .count = hits->count, .values = (uint8_t *)(uintptr_t)hits->values.values, .offsets = (uint32_t *)(uintptr_t)hits->values.offsets};
    if (hits->values.type != rows->type || hits->values.count != hits->count || hits->count == 0 || hits->count > COLUMN_BATCH_ROWS)
        return false;
    for (uint32_t i = 0; i < hits->count; i++) {
        if (hits->ordinals[i] != ordinals[i] || column_rows_is_null(rows, ordinals[i]) != hits->is_null)
            return false;
        struct mote_value is = column_rows_value(&found, i), should = column_rows_value(rows, ordinals[i]);
        bool inexact = hits->inexact && hits->inexact[i];
        if (!hits->is_null && inexact != is_long(&should))
            return false;
        if (inexact ? is.as.bytes.size_bytes != COLUMN_KEPT_BYTES || memcmp(is.as.bytes.data, should.as.bytes.data, COLUMN_KEPT_BYTES) != 0 : !hits->is_null && compare_values(&is, &should) != 0)
            return false;
    }
    return true;
}
