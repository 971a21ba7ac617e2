/* codec_floats.c: chunks of floats as integers: decimals (ALP: A. Afroozeh, L. Kuffo, P. Boncz, "ALP: Adaptive Lossless floating-Point
 * Compression", 2023, with an exact division in place of its two products), multiples of a scale, or their bit patterns.
 *
 * Exact for every value: each integer is turned back by the decoder's own expression while encoding, and a value whose bits differ (NaN,
 * -0.0, infinities, whatever is no decimal) becomes an exception. */
#include "blockdev/base/codec_private.h"

#include <assert.h>
#include <math.h>

const double codec_powers_of_ten[CODEC_ALP_POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

enum { SAMPLE_COUNT = 32, SAMPLE_FIRST = 8, POWER_TRIED_MAX = 17, POWER_NONE = 255 };

void codec_store_chunk_header(uint8_t *out, const struct chunk_header *header)
{
    assert(header->payload_bytes <= UINT16_MAX && header->exception_count <= UINT16_MAX);
    store_u8(out, (uint8_t)header->codec);
    store_u8(out + 1, (uint8_t)(header->inner | (header->narrow ? CODEC_INNER_NARROW : 0)));
    store_u8(out + 2, (uint8_t)header->power);
    store_u8(out + 3, 0);
    store_u16(out + 4, (uint16_t)header->exception_count);
    store_u16(out + 6, (uint16_t)header->payload_bytes);
}

/* The fewest decimals that give the value back, or POWER_NONE. */
static uint32_t count_decimals(double value, uint64_t bits, bool is_f64)
{
    for (uint32_t power = 0; power <= POWER_TRIED_MAX; power++) {
        double scaled = value * codec_powers_of_ten[power];
        if (!(fabs(scaled) < 0x1p51))
            return POWER_NONE;
        if (alp_bits(nearest_integer(scaled), codec_powers_of_ten[power], is_f64) == bits)
            return power;
    }
    return POWER_NONE;
}

/* The number of decimals that promises the smallest chunk, from a sample: each one costs log2(10) bits for every value, too few make
 * exceptions. POWER_NONE if the values do not look like decimals. */
static uint32_t choose_power(const struct codec_work *work, uint32_t count, bool is_f64)
{
    uint32_t histogram[POWER_TRIED_MAX + 1] = {0}, sampled = 0, found = 0;
    uint32_t step = count <= SAMPLE_COUNT ? 1 : count / SAMPLE_COUNT;
    for (uint32_t i = 0; i < count && sampled < SAMPLE_COUNT; i += step) {
        uint32_t power = count_decimals(work->floats[i], work->bits[i], is_f64);
        sampled++;
        if (power != POWER_NONE) {
            histogram[power]++;
            found++;
        }
        if (sampled == SAMPLE_FIRST && found == 0)
            return POWER_NONE;
    }
    if (found * 2 < sampled)
        return POWER_NONE;
    uint32_t best_power = POWER_NONE, covered = 0;
    double best_cost = INFINITY;
    for (uint32_t power = 0; power <= POWER_TRIED_MAX; power++) {
        covered += histogram[power];
        double cost = 3.33 * power * sampled + (is_f64 ? 80.0 : 48.0) * (sampled - covered);
        if (histogram[power] && cost < best_cost) {
            best_cost = cost;
            best_power = power;
        }
    }
    return best_power;
}

/* Gives the exceptions the integer before them (those at the start the first good one), which costs the packing least. */
static void fill_exceptions(struct codec_work *work, uint32_t count, uint32_t exception_count)
{
    uint32_t first_good = 0;
    while (first_good < exception_count && work->exceptions[first_good] == first_good)
        first_good++;
    int64_t start = first_good < count ? work->integers[first_good] : 0;
    for (uint32_t e = 0; e < exception_count; e++) {
        uint32_t i = work->exceptions[e];
        work->integers[i] = i > 0 && e >= first_good ? work->integers[i - 1] : start;
    }
}

/* Writes work->integers and the exceptions as a chunk, if that is smaller than best_bytes. scale: of SCALED only. */
static uint32_t write_if_smaller(struct codec_work *work, uint32_t count, struct chunk_header header, double scale, bool is_f64,
                                 uint32_t best_bytes)
{
    struct integer_plan plan;
    uint32_t value_bytes = is_f64 ? 8 : 4, scale_bytes = header.codec == CODEC_SCALED ? 8 : 0;
    codec_plan_integers(work, work->integers, count, false, &plan);
    uint32_t payload_bytes = scale_bytes + plan.bytes + header.exception_count * (2 + value_bytes);
    if (payload_bytes + CODEC_CHUNK_HEADER_BYTES >= best_bytes)
        return best_bytes;
    if (header.codec == CODEC_RAW) /* bit patterns: the integers' codec is the chunk's */
        header.codec = plan.codec;
    else
        header.inner = plan.codec;
    header.payload_bytes = payload_bytes;
    uint8_t *at = work->candidate;
    codec_store_chunk_header(at, &header);
    at += CODEC_CHUNK_HEADER_BYTES;
    if (scale_bytes) {
        store_u64(at, bits_of_double(scale));
        at += 8;
    }
    codec_write_integers(&plan, at);
    at += plan.bytes;
    for (uint32_t e = 0; e < header.exception_count; e++, at += 2)
        store_u16(at, work->exceptions[e]);
    for (uint32_t e = 0; e < header.exception_count; e++, at += value_bytes) {
        uint64_t bits = work->bits[work->exceptions[e]];
        if (is_f64)
            store_u64(at, bits);
        else
            store_u32(at, (uint32_t)bits);
    }
    return payload_bytes + CODEC_CHUNK_HEADER_BYTES;
}

static uint32_t try_decimals(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, uint32_t best_bytes)
{
    uint32_t power = choose_power(work, count, is_f64), exception_count = 0;
    if (power == POWER_NONE)
        return best_bytes;
    double ten_power = codec_powers_of_ten[power];
    for (uint32_t i = 0; i < count; i++) {
        int64_t integer = nearest_integer(work->floats[i] * ten_power);
        work->integers[i] = integer;
        work->exceptions[exception_count] = (uint16_t)i;
        exception_count += alp_bits(integer, ten_power, is_f64) != work->bits[i];
    }
    if (exception_count * 2 > count)
        return best_bytes;
    fill_exceptions(work, count, exception_count);
    struct chunk_header header = {.codec = CODEC_ALP, .power = power, .exception_count = exception_count, .narrow = narrow};
    return write_if_smaller(work, count, header, 0, is_f64, best_bytes);
}

static uint32_t try_scaled(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, uint32_t best_bytes)
{
    double scale;
    if (!codec_find_scale(work, count, is_f64, &scale))
        return best_bytes;
    double inverse = 1 / scale;
    uint32_t exception_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t integer = nearest_integer(work->floats[i] * inverse);
        work->integers[i] = integer;
        work->exceptions[exception_count] = (uint16_t)i;
        exception_count += scaled_bits(integer, scale, is_f64) != work->bits[i];
    }
    if (exception_count * 2 > count)
        return best_bytes;
    fill_exceptions(work, count, exception_count);
    struct chunk_header header = {.codec = CODEC_SCALED, .exception_count = exception_count, .narrow = narrow};
    return write_if_smaller(work, count, header, scale, is_f64, best_bytes);
}

/* Bit patterns as integers that sort as the floats do; the low zero bits that all have in common are shifted out. */
static uint32_t try_patterns(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, uint32_t best_bytes)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < count; i++)
        all |= work->bits[i];
    uint32_t shift = all ? (uint32_t)__builtin_ctzll(all) : 0;
    if (shift >= (is_f64 ? 63u : 31u))
        shift = 0;
    int64_t flip = (is_f64 ? INT64_MAX : INT32_MAX) >> shift;
    for (uint32_t i = 0; i < count; i++) {
        int64_t pattern = (is_f64 ? (int64_t)work->bits[i] : (int64_t)(int32_t)work->bits[i]) >> shift;
        work->integers[i] = pattern < 0 ? pattern ^ flip : pattern;
    }
    struct chunk_header header = {.codec = CODEC_RAW, .power = shift, .narrow = narrow};
    return write_if_smaller(work, count, header, 0, is_f64, best_bytes);
}

uint32_t codec_encode_floats(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, uint32_t best_bytes)
{
    uint32_t raw_bytes = count * (is_f64 ? 8 : 4);
    best_bytes = try_decimals(work, count, is_f64, narrow, best_bytes);
    if (best_bytes > raw_bytes / 2)
        best_bytes = try_scaled(work, count, is_f64, narrow, best_bytes);
    if (best_bytes > raw_bytes / 2)
        best_bytes = try_patterns(work, count, is_f64, narrow, best_bytes);
    return best_bytes;
}

static bool read_exceptions(struct byte_reader *reader, uint32_t count, uint32_t exception_count, bool is_f64, uint64_t *bits)
{
    uint32_t value_bytes = is_f64 ? 8 : 4;
    const uint8_t *positions = read_bytes(reader, (size_t)exception_count * 2);
    const uint8_t *values = read_bytes(reader, (size_t)exception_count * value_bytes);
    if (!positions || !values)
        return false;
    uint32_t least = 0; /* positions ascend */
    for (uint32_t e = 0; e < exception_count; e++) {
        uint32_t at = load_u16(positions + 2 * e);
        if (at < least || at >= count)
            return false;
        bits[at] = is_f64 ? load_u64(values + 8 * e) : load_u32(values + 4 * e);
        least = at + 1;
    }
    return true;
}

bool codec_decode_floats(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, uint32_t count,
                         bool is_f64, uint64_t *bits)
{
    bool patterns = header->codec != CODEC_ALP && header->codec != CODEC_SCALED;
    double scale = header->codec == CODEC_SCALED ? double_of_bits(read_u64(reader)) : 0;
    uint32_t codec = patterns ? header->codec : header->inner;
    if (codec != CODEC_FOR && codec != CODEC_DELTA && codec != CODEC_DOD)
        return false;
    if (!codec_read_integers(reader, codec, 0, count, work, work->integers))
        return false;
    const int64_t *integers = work->integers;
    if (header->codec == CODEC_ALP) {
        if (header->power > CODEC_ALP_POWER_MAX)
            return false;
        double ten_power = codec_powers_of_ten[header->power];
        for (uint32_t i = 0; i < count; i++)
            bits[i] = alp_bits(integers[i], ten_power, is_f64);
    } else if (header->codec == CODEC_SCALED) {
        for (uint32_t i = 0; i < count; i++)
            bits[i] = scaled_bits(integers[i], scale, is_f64);
    } else {
        uint32_t shift = header->power;
        if (shift >= (is_f64 ? 63u : 31u) || header->exception_count != 0)
            return false;
        int64_t flip = (is_f64 ? INT64_MAX : INT32_MAX) >> shift;
        for (uint32_t i = 0; i < count; i++) {
            int64_t pattern = integers[i] < 0 ? integers[i] ^ flip : integers[i];
            uint64_t wide = (uint64_t)pattern << shift;
            bits[i] = is_f64 ? wide : (uint32_t)wide;
        }
    }
    return read_exceptions(reader, count, header->exception_count, is_f64, bits);
}
