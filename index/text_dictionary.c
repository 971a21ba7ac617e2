/* text_dictionary.c: writing the dictionary of a text section (text_format.h): leaves as terms come, and above them inner pages, one level over the other, until one page is the top.
 *
 * Invariants: terms ascend; a level's page is written when the next entry does not fit it, or at the end. Threads: one. Failures: MOTE_EBUDGET, MOTE_EINTERNAL (more levels than there can be), and what write_page returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

enum { ENTRY_BYTES_MAX = 2 + TEXT_TERM_BYTES_MAX + 5 * TEXT_VARINT_BYTES_MAX };

static int write_level(struct text_dictionary_writer *dictionary, uint32_t level_number, uint32_t *page_number)
{
    struct text_level *level = &dictionary->levels[level_number];
    uint8_t *payload = level->payload;
    assert(level->entries > 0 && level->fill_bytes + 2 * level->restarts <= TEXT_PAYLOAD_BYTES);
    store_u16(payload, (uint16_t)level->entries);
    store_u16(payload + 2, (uint16_t)level->restarts);
    store_u32(payload + 4, level_number);
    for (uint32_t i = 0; i < 3; i++)
        store_u64(payload + 8 + 8 * (size_t)i, level->bases[i]);
    for (uint32_t i = 0; i < level->restarts; i++)
        store_u16(payload + level->fill_bytes + 2 * (size_t)i, level->restart_offsets[i]);
    uint32_t payload_bytes = level->fill_bytes + 2 * level->restarts;
    level->pages++;
    level->entries = level->restarts = 0;
    level->fill_bytes = TEXT_DICTIONARY_HEADER_BYTES;
    return dictionary->write_page(dictionary->context, level_number == 0 ? TEXT_LEAVES : TEXT_INNER, payload, payload_bytes, page_number);
}

/* The term's shared and own bytes; what belongs to it follows at the place returned. */
static uint8_t *begin_entry(struct text_level *level, const uint8_t *term, uint32_t term_bytes)
{
    uint32_t shared = 0;
    if (level->entries == 0) {
        memcpy(level->first, term, term_bytes);
        level->first_bytes = term_bytes;
    }
    if (level->entries % TEXT_RESTART_ENTRIES == 0)
        level->restart_offsets[level->restarts++] = (uint16_t)level->fill_bytes;
    else
        while (shared < term_bytes && shared < level->last_bytes && term[shared] == level->last[shared])
            shared++;
    uint8_t *at = level->payload + level->fill_bytes;
    at[0] = (uint8_t)shared;
    at[1] = (uint8_t)(term_bytes - shared);
    memcpy(at + 2, term + shared, term_bytes - shared);
    memcpy(level->last, term, term_bytes);
    level->last_bytes = term_bytes;
    level->entries++;
    return at + 2 + term_bytes - shared;
}

static int open_level(struct text_dictionary_writer *dictionary, uint32_t level_number)
{
    struct text_level *level = &dictionary->levels[level_number];
    if (level->payload)
        return MOTE_OK;
    level->payload = memory_alloc_zero(dictionary->memory, TEXT_PAYLOAD_BYTES);
    level->fill_bytes = TEXT_DICTIONARY_HEADER_BYTES;
    return level->payload ? MOTE_OK : MOTE_EBUDGET;
}

/* Writes a level's page, and notes it in the level above, which has room. */
static int hand_up(struct text_dictionary_writer *dictionary, uint32_t level_number)
{
    struct text_level *above = &dictionary->levels[level_number + 1], *level = &dictionary->levels[level_number];
    uint32_t page_number;
    int result = open_level(dictionary, level_number + 1);
    if (!result)
        result = write_level(dictionary, level_number, &page_number);
    if (result)
        return result;
    uint8_t *at = begin_entry(above, level->first, level->first_bytes);
    above->fill_bytes = (uint32_t)(text_varint_store(at, page_number) - above->payload);
    return MOTE_OK;
}

/* Has room made for one more entry of this level; its full page is an entry of the level above, which may be full itself, and so on: the highest goes first. */
static int make_room(struct text_dictionary_writer *dictionary, uint32_t level_number)
{
    uint32_t full = level_number;
    while (full <= TEXT_DICTIONARY_LEVELS_MAX && dictionary->levels[full].fill_bytes + ENTRY_BYTES_MAX + 2 * (dictionary->levels[full].restarts + 1) > TEXT_PAYLOAD_BYTES)
        full++;
    if (full >= TEXT_DICTIONARY_LEVELS_MAX)
        return error_set(MOTE_EINTERNAL, "a text index's dictionary has more than %d levels; report it", TEXT_DICTIONARY_LEVELS_MAX);
    int result = MOTE_OK;
    while (!result && full-- > level_number)
        result = hand_up(dictionary, full);
    return result ? result : open_level(dictionary, level_number);
}

int text_dictionary_add(struct text_dictionary_writer *dictionary, const struct text_leaf_entry *entry)
{
    int result = make_room(dictionary, 0);
    if (result)
        return result;
    struct text_level *leaf = &dictionary->levels[0];
    if (leaf->entries == 0) {
        leaf->bases[0] = entry->postings_at;
        leaf->bases[1] = entry->positions_at;
        leaf->bases[2] = entry->skip_first;
    }
    assert(entry->postings_at >= leaf->bases[0] && entry->positions_at >= leaf->bases[1] && entry->skip_first >= leaf->bases[2]);
    uint8_t *at = begin_entry(leaf, entry->term, entry->term_bytes);
    at = text_varint_store(at, (uint64_t)entry->documents * 4 + entry->kind);
    if (entry->kind == TEXT_TERM_INLINE) {
        at = text_varint_store(at, entry->ordinal);
        at = text_varint_store(at, entry->position);
    } else {
        at = text_varint_store(at, entry->occurrences - entry->documents);
        if (entry->kind == TEXT_TERM_SMALL) {
            at = text_varint_store(at, entry->postings_at - leaf->bases[0]);
            at = text_varint_store(at, entry->positions_at - leaf->bases[1]);
        } else {
            at = text_varint_store(at, entry->skip_first - leaf->bases[2]);
        }
    }
    leaf->fill_bytes = (uint32_t)(at - leaf->payload);
    return MOTE_OK;
}

int text_dictionary_finish(struct text_dictionary_writer *dictionary, uint32_t *inner_levels)
{
    *inner_levels = 0;
    for (uint32_t number = 0; number < TEXT_DICTIONARY_LEVELS_MAX; number++) {
        struct text_level *level = &dictionary->levels[number];
        if (!level->payload || level->entries == 0)
            return MOTE_OK; /* a dictionary without terms */
        uint32_t page_number;
        *inner_levels = number;
        if (level->pages == 0)
            return write_level(dictionary, number, &page_number);
        int result = make_room(dictionary, number + 1);
        if (!result)
            result = hand_up(dictionary, number);
        if (result)
            return result;
    }
    return error_set(MOTE_EINTERNAL, "a text index's dictionary has more than %d levels; report it", TEXT_DICTIONARY_LEVELS_MAX);
}

void text_dictionary_free(struct text_dictionary_writer *dictionary)
{
    for (uint32_t number = 0; number <= TEXT_DICTIONARY_LEVELS_MAX; number++)
        memory_free(dictionary->memory, dictionary->levels[number].payload);
}
