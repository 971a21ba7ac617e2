/* codec_check.c: see codec_check.h. */
#include "tests/support/codec_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_text(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }
static bool is_set(const uint8_t *bits, size_t i) { return !bits || (bits[i / 8] >> (i % 8) & 1); }

/* malloc of exactly the size, and never NULL for 0 bytes. */
static void *allocate(size_t size_bytes)
{
    void *memory = malloc(size_bytes ? size_bytes : 1);
    if (!memory)
        abort();
    return memory;
}

static bool compare(const struct codec_vector *v, const uint8_t *values, const uint32_t *offsets, const uint8_t *validity, char *fault,
                    size_t fault_bytes)
{
    size_t value_bytes = codec_value_bytes(v->type, v->dimension);
    for (size_t i = 0; i < v->count; i++) {
        if (is_set(v->validity, i) != is_set(validity, i)) {
            snprintf(fault, fault_bytes, "validity of value %zu differs", i);
            return false;
        }
        const uint8_t *before = (const uint8_t *)v->values + (is_text(v->type) ? v->offsets[i] : i * value_bytes);
        const uint8_t *after = values + (is_text(v->type) ? offsets[i] : i * value_bytes);
        size_t before_bytes = is_text(v->type) ? v->offsets[i + 1] - v->offsets[i] : value_bytes;
        size_t after_bytes = is_text(v->type) ? offsets[i + 1] - offsets[i] : value_bytes;
        bool equal;
        if (is_set(v->validity, i)) {
            equal = before_bytes == after_bytes && memcmp(before, after, before_bytes) == 0;
        } else {
            equal = !is_text(v->type) || after_bytes == 0;
            for (size_t k = 0; k < after_bytes; k++)
                equal = equal && after[k] == 0;
        }
        if (!equal) {
            snprintf(fault, fault_bytes, "value %zu of %u differs", i, v->count);
            return false;
        }
    }
    return true;
}

bool codec_check_round_trip(const struct codec_vector *v, uint32_t compression, struct codec_check *check)
{
    size_t bound = codec_encode_bound(v), scratch_bytes = codec_scratch_bytes(v->count, (uint32_t)codec_vector_bytes(v));
    void *scratch = allocate(scratch_bytes);
    uint8_t *encoded = allocate(bound);
    *check = (struct codec_check){.encoded = encoded};
    int64_t encoded_bytes = codec_encode(v, compression, encoded, bound, scratch, scratch_bytes);
    if (encoded_bytes < 0) {
        snprintf(check->fault, sizeof check->fault, "encode: %s", mote_error_name((int)encoded_bytes));
        free(scratch);
        return false;
    }
    uint8_t *exact = allocate((size_t)encoded_bytes); /* the decoder sees no byte more than the encoding */
    memcpy(exact, encoded, (size_t)encoded_bytes);
    free(encoded);
    check->encoded = exact;
    check->encoded_bytes = (size_t)encoded_bytes;
    struct codec_info info;
    int result = codec_inspect(exact, check->encoded_bytes, &info);
    uint8_t *values = allocate(info.values_bytes), *validity = allocate(((size_t)v->count + 7) / 8);
    uint32_t *offsets = allocate(((size_t)v->count + 1) * 4);
    size_t values_bytes = 0;
    bool has_nulls = false, equal = false;
    check->codec = info.codec;
    memset(scratch, 0xa5, scratch_bytes); /* nothing is carried over in it */
    if (result == MOTE_OK)
        result = codec_decode(exact, check->encoded_bytes, v->type, v->dimension, v->count, values, info.values_bytes, offsets, validity,
                              &has_nulls, &values_bytes, scratch, scratch_bytes);
    size_t value_bytes = codec_value_bytes(v->type, v->dimension);
    uint32_t wrong = UINT32_MAX;
    for (uint32_t i = 0; result == MOTE_OK && i < v->count && wrong == UINT32_MAX; i += 1 + v->count / 37) {
        /* One row, and as many as end in the same group of values, in another one and in another chunk. */
        const uint32_t ends[] = {i + 1, i + 2 + i % 61, i + 64 + i % 997, v->count};
        uint8_t *part = allocate((v->count - i) * value_bytes);
        for (unsigned k = 0; k < 4; k++) {
            uint32_t end = ends[k] < v->count ? ends[k] : v->count;
            int some = codec_decode_rows(exact, check->encoded_bytes, v->type, v->count, i, end, part, scratch, scratch_bytes);
            if (some < 0 || (some && memcmp(part, values + i * value_bytes, (end - i) * value_bytes) != 0))
                wrong = i;
        }
        free(part);
    }
    if (result != MOTE_OK)
        snprintf(check->fault, sizeof check->fault, "decode: %s", mote_error_name(result));
    else if (wrong != UINT32_MAX)
        snprintf(check->fault, sizeof check->fault, "value %u, or those behind it, differ when they are decoded alone", wrong);
    else
        equal = compare(v, values, offsets, validity, check->fault, sizeof check->fault);
    free(offsets);
    free(validity);
    free(values);
    free(scratch);
    return equal;
}

void codec_check_free(struct codec_check *check)
{
    free(check->encoded);
    check->encoded = NULL;
}

int codec_check_decode(const void *bytes, size_t size_bytes, uint32_t type, uint32_t dimension, uint32_t count)
{
    struct codec_info info;
    uint8_t *copy = allocate(size_bytes);
    if (size_bytes)
        memcpy(copy, bytes, size_bytes);
    int result = codec_inspect(copy, size_bytes, &info);
    if (result == MOTE_OK) {
        uint32_t values_bytes = info.values_bytes < 1u << 22 ? info.values_bytes : 1u << 22; /* a caller's own limit */
        size_t scratch_bytes = codec_scratch_bytes(count, values_bytes);
        void *scratch = allocate(scratch_bytes), *values = allocate(values_bytes);
        uint32_t *offsets = allocate(((size_t)count + 1) * 4);
        uint8_t *validity = allocate(((size_t)count + 7) / 8);
        result = codec_decode(copy, size_bytes, type, dimension, count, values, values_bytes, offsets, validity, NULL, NULL, scratch,
                              scratch_bytes);
        for (uint32_t i = 0; i < count && count <= 1u << 20; i += 1 + count / 5) {
            uint32_t end = i + 1 + i % 700 < count ? i + 1 + i % 700 : count;
            uint8_t *part = allocate((end - i) * 8);
            int some = codec_decode_rows(copy, size_bytes, type, count, i, end, part, scratch, scratch_bytes);
            free(part);
            if (result == MOTE_OK && some < 0)
                result = some; /* what is sound as a whole is sound in parts */
        }
        if (result == MOTE_OK && is_text(type)) { /* what it says must be usable */
            volatile uint8_t sum = 0;
            for (uint32_t i = offsets[0]; i < offsets[count]; i++)
                sum = (uint8_t)(sum + ((const uint8_t *)values)[i]);
        }
        free(validity);
        free(offsets);
        free(values);
        free(scratch);
    }
    free(copy);
    return result;
}

uint64_t codec_check_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Dull;
}

/* Bit patterns that break careless codecs. */
static uint64_t special_bits(uint64_t random, bool is_f64)
{
    static const uint64_t wide[] = {0x8000000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
                                    0xfff8dead0000beef, 1,                  0x000fffffffffffff, 0x7fefffffffffffff, 0x7fffffffffffffff,
                                    0xffffffffffffffff, 0x47efffffe0000000, 0x36a0000000000000, 0x7ff4000020000000};
    static const uint32_t narrow[] = {0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc0beef, 1,
                                      0x007fffff, 0x7f7fffff, 0x7fffffff, 0xffffffff};
    return is_f64 ? wide[random % (sizeof wide / sizeof *wide)] : narrow[random % (sizeof narrow / sizeof *narrow)];
}

static void random_float(uint64_t *state, uint32_t shape, size_t i, bool is_f64, uint8_t *at)
{
    static const double tens[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    uint64_t random = codec_check_random(state), bits;
    double value;
    switch (shape % 8) {
    case 0: /* decimals */
        value = (double)((int64_t)random >> 40) / tens[shape / 8 % 10];
        break;
    case 1: /* multiples of a scale */
        value = (double)((int64_t)random >> 52) * (0.000123456789 * (1 + shape / 8));
        break;
    case 2: /* a walk */
        value = sin((double)i * 0.01) * 100 + (double)(random % 1000) * 1e-9;
        break;
    case 3: /* any bits */
        memcpy(&value, &random, 8);
        break;
    case 4: /* float32 in float64 */
        value = (double)(float)((double)((int64_t)random >> 45) * 0.001);
        break;
    case 5: /* decimals of differing length */
        value = (double)((int64_t)random >> 44) / tens[random % 10];
        break;
    case 6:
        value = (double)(random % 5);
        break;
    default: /* decimals and what is none */
        value = random % 8 ? (double)((int64_t)random >> 40) / 1e4 : 0;
        break;
    }
    memcpy(&bits, &value, 8);
    float narrow = (float)value;
    uint32_t narrow_bits;
    memcpy(&narrow_bits, &narrow, 4);
    if (shape % 8 == 3)
        narrow_bits = (uint32_t)random;
    if (shape % 8 == 7 && value == 0) {
        bits = special_bits(random >> 8, true);
        narrow_bits = (uint32_t)special_bits(random >> 8, false);
    }
    memcpy(at, is_f64 ? (const void *)&bits : (const void *)&narrow_bits, is_f64 ? 8 : 4);
}

static void random_integer(uint64_t *state, uint32_t shape, size_t i, size_t value_bytes, uint8_t *at)
{
    uint64_t random = codec_check_random(state), value = 0;
    switch (shape % 8) {
    case 0:
        value = random;
        break;
    case 1:
        value = random % 1000 - 500;
        break;
    case 2: /* a clock with jitter */
        value = 1700000000000000000ull + i * 1000000 + random % 2000;
        break;
    case 3: /* a clock of microseconds in nanoseconds */
        value = 1700000000000000000ull + i * 1000000 + random % 50 * 1000;
        break;
    case 4:
        value = random % 16 ? i : (random & 16 ? (uint64_t)INT64_MIN : INT64_MAX);
        break;
    case 5:
        value = random >> (random % 64);
        break;
    case 6:
        value = 42;
        break;
    default:
        value = i * i * 3;
        break;
    }
    if (value_bytes == 1)
        value &= 1;
    memcpy(at, &value, value_bytes);
}

void *codec_check_random_vector(uint64_t *state, uint32_t type, uint32_t dimension, uint32_t count, uint32_t shape, bool nulls,
                                struct codec_vector *v)
{
    size_t value_bytes = codec_value_bytes(type, dimension), bitmap_bytes = ((size_t)count + 7) / 8, text_bytes_max = 40;
    size_t data_bytes = count * (is_text(type) ? text_bytes_max : value_bytes) + 8, offset_bytes = ((size_t)count + 1) * 4;
    uint8_t *memory = allocate(offset_bytes + bitmap_bytes + data_bytes);
    uint8_t *bitmap = memory + offset_bytes, *data = bitmap + bitmap_bytes;
    uint32_t *offsets = (uint32_t *)memory;
    for (size_t i = 0; i < bitmap_bytes; i++)
        bitmap[i] = (uint8_t)codec_check_random(state);
    offsets[0] = shape % 5; /* need not be 0 */
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = data + i * value_bytes;
        if (is_text(type)) {
            uint32_t length = shape % 3 == 0 ? 7 : (uint32_t)(codec_check_random(state) % text_bytes_max);
            offsets[i + 1] = offsets[i] + length;
            for (uint32_t k = 0; k < length; k++) {
                uint64_t letter = shape % 4 == 0 ? codec_check_random(state) : 'a' + (k + (shape % 4 == 1 ? 0 : i)) % 7;
                data[offsets[i] + k] = (uint8_t)letter;
            }
        } else if (type == MOTE_TYPE_FLOAT64 || type == MOTE_TYPE_POINT3) {
            for (size_t c = 0; c < value_bytes; c += 8)
                random_float(state, shape, i + c, true, at + c);
        } else if (type == MOTE_TYPE_FLOAT32 || type == MOTE_TYPE_VECTOR_F32) {
            for (size_t c = 0; c < value_bytes; c += 4)
                random_float(state, shape, i + c, false, at + c);
        } else if (type == MOTE_TYPE_VECTOR_F16 || type == MOTE_TYPE_VECTOR_U8) {
            for (size_t c = 0; c < value_bytes; c++)
                at[c] = (uint8_t)(shape % 2 ? codec_check_random(state) : c * 3);
        } else {
            random_integer(state, shape, i, value_bytes, at);
        }
    }
    *v = (struct codec_vector){type, dimension, count, data, offsets, nulls ? bitmap : NULL};
    return memory;
}
