/* column_pack.c: streams of numbers in blocks of 128, each bit-packed as offsets from its least number or as differences where these are clearly shorter (column_format.h, "Stream").
 *
 * Arithmetic is modulo 2^64, or 2^32 where numbers are narrow, so that no sequence of numbers is refused and every packed bit pattern decodes to something. Pure functions; any thread.
 */
#include <assert.h>

#include "index/column_private.h"

static uint32_t bits_of(uint64_t number)
{
    uint32_t bits = number ? 64 - (uint32_t)__builtin_clzll(number) : 0;
    return bits > 56 ? 64 : bits; /* one load of 8 bytes holds a number that begins in any bit of its first byte */
}

void column_block_plan(const uint64_t *numbers, uint32_t count, bool narrow, struct column_block *block)
{
    assert(count > 0 && count <= COLUMN_BLOCK);
    uint64_t least = numbers[0], greatest = numbers[0];
    int64_t least_step = INT64_MAX, greatest_step = INT64_MIN;
    for (uint32_t i = 1; i < count; i++) {
        int64_t step = narrow ? (int32_t)(uint32_t)(numbers[i] - numbers[i - 1]) : (int64_t)(numbers[i] - numbers[i - 1]);
        least = numbers[i] < least ? numbers[i] : least;
        greatest = numbers[i] > greatest ? numbers[i] : greatest;
        least_step = step < least_step ? step : least_step;
        greatest_step = step > greatest_step ? step : greatest_step;
    }
    uint32_t width = bits_of(greatest - least), step_width = count == 1 ? 0 : bits_of((uint64_t)greatest_step - (uint64_t)least_step);
    block->delta = 8 * step_width < 7 * width; /* offsets can be searched and read one by one: that is worth an eighth */
    block->width = block->delta ? step_width : width;
    block->base = block->delta ? numbers[0] : least;
    block->reference = block->delta ? (uint64_t)least_step : 0;
}

/* Packs count numbers less their predictions; the bytes behind the last, up to 8, become 0. */
static void pack(uint8_t *out, const uint64_t *numbers, uint32_t count, bool narrow, const struct column_block *block)
{
    uint64_t filled = 0, mask = narrow ? UINT32_MAX : UINT64_MAX;
    uint32_t fill = 0, width = block->width;
    for (uint32_t i = 0; i < count && width; i++) {
        uint64_t part = !block->delta ? numbers[i] - block->base : i == 0 ? 0 : (numbers[i] - numbers[i - 1] - block->reference) & mask;
        assert(width == 64 || part >> width == 0);
        filled |= part << fill;
        fill += width;
        if (fill >= 64) {
            store_u64(out, filled);
            out += 8;
            fill -= 64;
            filled = fill ? part >> (width - fill) : 0;
        }
    }
    store_u64(out, filled);
}

uint32_t column_stream_write(uint8_t *out, const void *numbers, uint32_t count, bool narrow, const struct column_block *blocks)
{
    uint32_t block_count = (count + COLUMN_BLOCK - 1) / COLUMN_BLOCK, header_bytes = narrow ? COLUMN_NARROW_HEADER_BYTES : COLUMN_WIDE_HEADER_BYTES, place = block_count * header_bytes;
    for (uint32_t b = 0; b < block_count; b++) {
        const struct column_block *block = &blocks[b];
        uint32_t in_block = column_block_count(count, b), word = place | block->width << 17 | (block->delta ? (uint32_t)COLUMN_BLOCK_DELTA : 0);
        uint64_t wide[COLUMN_BLOCK];
        uint8_t *header = out + b * header_bytes;
        const uint64_t *from = narrow ? wide : (const uint64_t *)numbers + (size_t)b * COLUMN_BLOCK;
        assert(place < 1u << 17);
        for (uint32_t i = 0; narrow && i < in_block; i++)
            wide[i] = ((const uint32_t *)numbers)[(size_t)b * COLUMN_BLOCK + i];
        if (narrow) {
            store_u32(header, (uint32_t)block->base);
            store_u32(header + 4, (uint32_t)block->reference);
            store_u32(header + 8, word);
        } else {
            store_u64(header, block->base);
            store_u64(header + 8, block->reference);
            store_u32(header + 16, word);
        }
        pack(out + place, from, in_block, narrow, block);
        place += (block->width * in_block + 7) / 8;
    }
    return place;
}

static uint32_t load_block(const struct column_stream *stream, uint32_t number, struct column_block *block)
{
    const uint8_t *header = stream->at + (size_t)number * (stream->narrow ? COLUMN_NARROW_HEADER_BYTES : COLUMN_WIDE_HEADER_BYTES);
    uint32_t word = load_u32(header + (stream->narrow ? 8 : 16));
    block->base = stream->narrow ? load_u32(header) : load_u64(header);
    block->reference = stream->narrow ? load_u32(header + 4) : load_u64(header + 8);
    block->width = word >> 17 & 127;
    block->delta = (word & COLUMN_BLOCK_DELTA) != 0;
    return word;
}

bool column_stream_check(const struct column_stream *stream)
{
    uint64_t blocks = ((uint64_t)stream->count + COLUMN_BLOCK - 1) / COLUMN_BLOCK, header_bytes = stream->narrow ? COLUMN_NARROW_HEADER_BYTES : COLUMN_WIDE_HEADER_BYTES;
    return blocks * header_bytes <= stream->bytes;
}

uint64_t column_stream_base(const struct column_stream *stream, uint32_t block)
{
    const uint8_t *header = stream->at + (size_t)block * (stream->narrow ? COLUMN_NARROW_HEADER_BYTES : COLUMN_WIDE_HEADER_BYTES);
    return stream->narrow ? load_u32(header) : load_u64(header);
}

/* The header of a block, checked against the stream; false: damaged. *in: its packed bits. */
static bool open_block(const struct column_stream *stream, uint32_t number, struct column_block *block, const uint8_t **in)
{
    uint32_t word = load_block(stream, number, block), place = word & 0x1ffff, count = column_block_count(stream->count, number);
    *in = stream->at + place;
    return word >> 25 == 0 && (block->width <= 56 || block->width == 64) && place <= stream->bytes && (block->width * count + 7) / 8 <= stream->bytes - place;
}

static inline uint64_t mask_of(uint32_t width) { return width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1; }

bool column_stream_decode(const struct column_stream *stream, uint32_t number, uint32_t from, uint32_t to, uint64_t numbers[COLUMN_BLOCK])
{
    struct column_block block;
    const uint8_t *in;
    if (!open_block(stream, number, &block, &in))
        return false;
    assert(from < to && to <= column_block_count(stream->count, number));
    uint64_t limit = stream->narrow ? UINT32_MAX : UINT64_MAX, mask = mask_of(block.width);
    if (!block.delta) {
        for (uint32_t i = from, bit = from * block.width; i < to; i++, bit += block.width)
            numbers[i] = ((load_u64(in + bit / 8) >> bit % 8 & mask) + block.base) & limit;
        return true;
    }
    uint64_t number_now = block.base;
    numbers[0] = number_now;
    for (uint32_t i = 1, bit = block.width; i < to; i++, bit += block.width) {
        number_now = (number_now + block.reference + (load_u64(in + bit / 8) >> bit % 8 & mask)) & limit;
        numbers[i] = number_now;
    }
    return true;
}

bool column_stream_find(const struct column_stream *stream, uint32_t number, uint64_t limit, bool above, uint32_t *below)
{
    struct column_block block;
    const uint8_t *in;
    uint64_t numbers[COLUMN_BLOCK];
    uint32_t low = 0, high = column_block_count(stream->count, number);
    if (!open_block(stream, number, &block, &in) || (block.delta && !column_stream_decode(stream, number, 0, high, numbers)))
        return false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, bit = middle * block.width;
        uint64_t here = block.delta ? numbers[middle] : (load_u64(in + bit / 8) >> bit % 8 & mask_of(block.width)) + block.base;
        if (above ? here <= limit : here < limit)
            low = middle + 1;
        else
            high = middle;
    }
    *below = low;
    return true;
}
