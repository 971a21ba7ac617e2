/* text_postings.c: a cursor over the postings of one term of a section: block by block, forward, with the skip entries to find the block and their bounds for pruning.
 *
 * A cursor holds one decoded block (at most 128 ordinals and frequencies) and, for a term of many blocks, pins one page of skip entries; pages of postings and positions are pinned only while they are decoded.
 * Threads: those of the section. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/text_private.h"

int text_numbers_add(struct memory *memory, struct text_numbers *numbers, uint32_t value)
{
    if (numbers->count == numbers->capacity) {
        uint32_t capacity = numbers->capacity ? numbers->capacity * 2 : 64;
        uint32_t *grown = capacity > numbers->capacity ? memory_realloc(memory, numbers->values, (size_t)capacity * sizeof *grown) : NULL;
        if (!grown)
            return MOTE_EBUDGET;
        numbers->values = grown;
        numbers->capacity = capacity;
    }
    numbers->values[numbers->count++] = value;
    return MOTE_OK;
}

/* Heapsort: in place, and never worse than n log n, for the numbers come from a device. */
void text_numbers_sort(struct text_numbers *numbers)
{
    uint32_t *values = numbers->values;
    uint64_t count = numbers->count, start = count / 2;
    while (count > 1) {
        uint32_t value;
        if (start > 0) {
            value = values[--start];
        } else {
            value = values[--count];
            values[count] = values[0];
        }
        uint64_t at = start, child;
        while ((child = 2 * at + 1) < count) {
            child += child + 1 < count && values[child + 1] > values[child];
            if (values[child] <= value)
                break;
            values[at] = values[child];
            at = child;
        }
        values[at] = value;
    }
}

static uint32_t block_postings(const struct text_cursor *cursor, uint32_t block)
{
    return block + 1 < cursor->block_count ? TEXT_BLOCK_POSTINGS : cursor->term.documents - block * TEXT_BLOCK_POSTINGS;
}

int text_skip_load(struct text_cursor *cursor, uint32_t block, struct text_skip *skip)
{
    assert(cursor->term.kind == TEXT_TERM_LARGE && block < cursor->block_count);
    uint64_t number = cursor->term.skip_first + block;
    int result = text_page_pin(cursor->section, TEXT_SKIPS, (uint32_t)(number / TEXT_SKIPS_PER_PAGE), &cursor->skips);
    if (result)
        return result;
    uint32_t at = (uint32_t)(number % TEXT_SKIPS_PER_PAGE) * TEXT_SKIP_BYTES;
    if (at + TEXT_SKIP_BYTES > cursor->skips.payload_bytes)
        return text_section_refuse(cursor->section, "a page of skip entries that ends too early");
    const uint8_t *entry = cursor->skips.payload + at;
    *skip = (struct text_skip){load_u32(entry), load_u32(entry + 4), load_u32(entry + 8), load_u64(entry + 12), load_u64(entry + 20)};
    return MOTE_OK;
}

/* The block's ordinals and frequencies; before: the ordinal before the block. */
static int decode_block(struct text_cursor *cursor, uint64_t postings_at, uint32_t before, uint32_t count)
{
    struct text_section *section = cursor->section;
    struct text_page page = cursor->postings;
    uint8_t bytes[TEXT_BLOCK_BYTES_MAX + 8];
    int result = postings_at / TEXT_PAYLOAD_BYTES < section->pages[TEXT_POSTINGS] ? text_page_pin(section, TEXT_POSTINGS, (uint32_t)(postings_at / TEXT_PAYLOAD_BYTES), &page)
                                                                                  : text_section_refuse(section, "postings that do not exist");
    cursor->postings = page;
    if (result)
        return result;
    uint32_t at = (uint32_t)(postings_at % TEXT_PAYLOAD_BYTES), left = at < page.payload_bytes ? page.payload_bytes - at : 0;
    uint32_t ordinal_bits = left >= 2 ? page.payload[at] : UINT32_MAX, frequency_bits = left >= 2 ? page.payload[at + 1] : UINT32_MAX;
    bool whole = ordinal_bits <= 32 && frequency_bits <= 31;
    uint32_t ordinals_bytes = whole ? (count * ordinal_bits + 7) / 8 : 0, block_bytes = whole ? 2 + ordinals_bytes + (count * frequency_bits + 7) / 8 : 0;
    whole = whole && block_bytes <= left;
    if (whole)
        memcpy(bytes, page.payload + at, block_bytes);
    if (!cursor->reused)
        text_page_release(section, &cursor->postings);
    if (!whole)
        return text_section_refuse(section, "postings that end too early");
    memset(bytes + block_bytes, 0, 8);
    text_bits_unpack(bytes + 2, cursor->ordinals, count, ordinal_bits);
    text_bits_unpack(bytes + 2 + ordinals_bytes, cursor->frequencies, count, frequency_bits);
    uint64_t ordinal = before == UINT32_MAX ? 0 : (uint64_t)before + 1;
    for (uint32_t i = 0; i < count; i++) {
        ordinal += cursor->ordinals[i];
        cursor->ordinals[i] = (uint32_t)ordinal++;
        cursor->frequencies[i]++;
    }
    return ordinal <= section->totals.ordinal_end ? MOTE_OK : text_section_refuse(section, "postings of rows that do not exist");
}

static int load_block(struct text_cursor *cursor, uint32_t block)
{
    struct text_skip before = {.last_ordinal = UINT32_MAX}, skip;
    uint64_t postings_at = cursor->term.postings_at;
    uint32_t count = block_postings(cursor, block);
    int result = MOTE_OK;
    cursor->positions_at = cursor->term.positions_at;
    if (cursor->term.kind == TEXT_TERM_LARGE) {
        result = block > 0 ? text_skip_load(cursor, block - 1, &before) : MOTE_OK;
        if (!result)
            result = text_skip_load(cursor, block, &skip);
        if (result)
            return result;
        postings_at = skip.postings_at;
        cursor->positions_at = skip.positions_at;
    }
    result = decode_block(cursor, postings_at, before.last_ordinal, count);
    if (!result && cursor->term.kind == TEXT_TERM_LARGE && cursor->ordinals[count - 1] != skip.last_ordinal)
        result = text_section_refuse(cursor->section, "a block that contradicts its skip entry");
    if (result)
        return result;
    cursor->block = block;
    cursor->count = count;
    cursor->index = 0;
    cursor->positions_index = 0;
    cursor->at = cursor->ordinals[0];
    return MOTE_OK;
}

int text_cursor_rewind(struct text_cursor *cursor)
{
    cursor->bound_block = UINT32_MAX;
    if (cursor->term.kind != TEXT_TERM_INLINE)
        return load_block(cursor, 0);
    cursor->at = cursor->ordinals[0] = cursor->term.ordinal;
    cursor->frequencies[0] = 1;
    cursor->count = 1;
    cursor->block = cursor->index = 0;
    return MOTE_OK;
}

static struct text_cursor *make_cursor(struct text_section *section, uint32_t held)
{
    struct text_cursor *made = memory_alloc(section->memory, sizeof *made + 2 * held * sizeof(uint32_t));
    if (!made)
        return NULL;
    *made = (struct text_cursor){.section = section};
    made->ordinals = (uint32_t *)(void *)(made + 1);
    made->frequencies = made->ordinals + held;
    return made;
}

int text_cursor_create(struct text_section *section, struct text_cursor **cursor)
{
    *cursor = make_cursor(section, TEXT_BLOCK_POSTINGS);
    if (!*cursor)
        return MOTE_EBUDGET;
    (*cursor)->reused = true;
    return MOTE_OK;
}

int text_cursor_start(struct text_cursor *cursor, const struct text_term *term)
{
    cursor->term = *term;
    cursor->block_count = (uint32_t)divide_up(term->documents, TEXT_BLOCK_POSTINGS);
    cursor->positions_index = 0;
    return text_cursor_rewind(cursor);
}

int text_cursor_open(struct text_section *section, const struct text_term *term, struct text_cursor **cursor)
{
    struct text_cursor *made = *cursor = make_cursor(section, term->documents < TEXT_BLOCK_POSTINGS ? term->documents : TEXT_BLOCK_POSTINGS);
    if (!made)
        return MOTE_EBUDGET;
    int result = text_cursor_start(made, term);
    if (result) {
        text_cursor_close(made);
        *cursor = NULL;
    }
    return result;
}

void text_cursor_close(struct text_cursor *cursor)
{
    if (!cursor)
        return;
    text_page_release(cursor->section, &cursor->skips);
    text_page_release(cursor->section, &cursor->postings);
    text_page_release(cursor->section, &cursor->positions);
    memory_free(cursor->section->memory, cursor);
}

/* The first block from `from` on whose last ordinal is not below target, or block_count; *skip is its entry. Gallops, then halves. */
static int find_block(struct text_cursor *cursor, uint32_t from, uint32_t target, uint32_t *block, struct text_skip *skip)
{
    uint32_t low = from, high = from, step = 1;
    struct text_skip probe = {0};
    while (high < cursor->block_count) {
        int result = text_skip_load(cursor, high, &probe);
        if (result)
            return result;
        if (probe.last_ordinal >= target)
            break;
        low = high + 1;
        high = step < cursor->block_count - low ? low + step : cursor->block_count;
        step *= 2;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int result = text_skip_load(cursor, middle, &probe);
        if (result)
            return result;
        if (probe.last_ordinal >= target)
            high = middle;
        else
            low = middle + 1;
    }
    *block = low;
    return low < cursor->block_count ? text_skip_load(cursor, low, skip) : MOTE_OK;
}

int text_cursor_seek(struct text_cursor *cursor, uint32_t target)
{
    if (cursor->at >= target)
        return MOTE_OK;
    if (cursor->ordinals[cursor->count - 1] < target) {
        uint32_t block = cursor->block + 1;
        struct text_skip skip;
        int result = cursor->term.kind == TEXT_TERM_LARGE ? find_block(cursor, block, target, &block, &skip) : MOTE_OK;
        if (!result && block >= cursor->block_count) {
            cursor->at = TEXT_END;
            return MOTE_OK;
        }
        if (!result)
            result = load_block(cursor, block);
        if (result)
            return result;
    }
    /* Near ones are the rule: a few steps, then halving. */
    uint32_t low = cursor->index, high = cursor->count - 1;
    for (uint32_t i = 0; i < 4 && cursor->ordinals[low] < target; i++)
        low++;
    while (cursor->ordinals[low] < target) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (cursor->ordinals[middle - 1] < target)
            low = middle;
        else
            high = middle - 1;
    }
    cursor->index = low;
    cursor->at = cursor->ordinals[low];
    return MOTE_OK;
}

/* The varints of the positions stream from a place on, across pages. */
struct position_reader {
    struct text_section *section;
    struct text_page page;
    uint64_t at;
};

static int read_position(struct position_reader *reader, uint32_t *value)
{
    uint64_t read = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        uint64_t number = reader->at / TEXT_PAYLOAD_BYTES;
        uint32_t offset = (uint32_t)(reader->at % TEXT_PAYLOAD_BYTES);
        if (!reader->page.handle || reader->page.number != number) {
            int result = number < reader->section->pages[TEXT_POSITIONS] ? text_page_pin(reader->section, TEXT_POSITIONS, (uint32_t)number, &reader->page)
                                                                         : text_section_refuse(reader->section, "positions that do not exist");
            if (result)
                return result;
        }
        if (offset >= reader->page.payload_bytes)
            return text_section_refuse(reader->section, "positions that end too early");
        uint8_t byte = reader->page.payload[offset];
        reader->at++;
        read |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80 && read < UINT32_MAX) {
            *value = (uint32_t)read;
            return MOTE_OK;
        }
    }
    return text_section_refuse(reader->section, "a position that cannot be");
}

static int read_positions(struct text_cursor *cursor, struct position_reader *reader, struct text_numbers *numbers)
{
    uint32_t value, frequency = cursor->frequencies[cursor->index];
    for (; cursor->positions_index < cursor->index; cursor->positions_index++)
        for (uint32_t i = 0; i < cursor->frequencies[cursor->positions_index]; i++) {
            int result = read_position(reader, &value);
            if (result)
                return result;
        }
    uint64_t position = 0;
    for (uint32_t i = 0; i < frequency; i++) {
        int result = read_position(reader, &value);
        if (result)
            return result;
        position += value;
        if ((i > 0 && value == 0) || position >= UINT32_MAX)
            return text_section_refuse(cursor->section, "positions out of order");
        result = text_numbers_add(cursor->section->memory, numbers, (uint32_t)position);
        if (result)
            return result;
    }
    cursor->positions_index++;
    return MOTE_OK;
}

int text_cursor_positions(struct text_cursor *cursor, struct text_numbers *numbers)
{
    assert(cursor->at != TEXT_END && cursor->index < cursor->count && cursor->positions_index <= cursor->index);
    if (cursor->term.kind == TEXT_TERM_INLINE)
        return text_numbers_add(cursor->section->memory, numbers, cursor->term.position);
    struct position_reader reader = {.section = cursor->section, .page = cursor->positions, .at = cursor->positions_at};
    int result = read_positions(cursor, &reader, numbers);
    if (!cursor->reused)
        text_page_release(cursor->section, &reader.page);
    cursor->positions = reader.page;
    cursor->positions_at = reader.at;
    return result;
}

int text_cursor_bound(struct text_cursor *cursor, uint32_t target, uint32_t *frequency_max, uint32_t *length_min, uint32_t *until)
{
    *frequency_max = 0;
    *length_min = cursor->section->totals.length_min;
    *until = TEXT_END;
    if (cursor->at == TEXT_END)
        return MOTE_OK;
    if (cursor->term.kind != TEXT_TERM_LARGE) {
        if (cursor->ordinals[cursor->count - 1] < target)
            return MOTE_OK;
        for (uint32_t i = cursor->index; i < cursor->count; i++)
            *frequency_max = cursor->frequencies[i] > *frequency_max ? cursor->frequencies[i] : *frequency_max;
        *until = cursor->ordinals[cursor->count - 1];
        return MOTE_OK;
    }
    if (cursor->bound_block == UINT32_MAX || cursor->bound_block < cursor->block || (cursor->bound_block < cursor->block_count && cursor->bound.last_ordinal < target)) {
        uint32_t from = cursor->bound_block != UINT32_MAX && cursor->bound_block > cursor->block ? cursor->bound_block : cursor->block;
        int result = find_block(cursor, from, target, &cursor->bound_block, &cursor->bound);
        if (result)
            return result;
    }
    if (cursor->bound_block >= cursor->block_count)
        return MOTE_OK;
    *frequency_max = cursor->bound.frequency_max;
    *length_min = cursor->bound.length_min;
    *until = cursor->bound.last_ordinal;
    return MOTE_OK;
}
