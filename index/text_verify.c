/* text_verify.c: walking a whole text section: every page's checksum, the dictionary's order and its tree, every posting and position, every length, and that all of it adds up to what the root says.
 *
 * Threads: one. Failures: MOTE_EDAMAGED with the first thing that is wrong, MOTE_EBUDGET, and what the source returns.
 */
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/text_private.h"

struct verify {
    struct text_section section;
    struct text_totals seen;
    uint64_t postings_at, positions_at; /* the next block's must not be before, must be here */
    uint32_t level_next[TEXT_DICTIONARY_LEVELS_MAX + 1]; /* for each level, the page of the level below that no entry led to yet */
    struct text_numbers positions;
};

static int verify_checksums(struct verify *verify)
{
    struct text_section *section = &verify->section;
    struct text_page page = {0};
    int result = MOTE_OK;
    for (uint32_t stream = 0; stream < TEXT_STREAMS && !result; stream++)
        for (uint32_t i = 0; i < section->pages[stream] && !result; i++)
            result = text_page_pin(section, (enum text_stream_number)stream, i, &page), text_page_release(section, &page);
    return result;
}

/* The page of the level below, from *next on, to which the next entry of a level must lead. */
static int next_child(struct verify *verify, uint32_t level, uint32_t own_number, uint32_t *child)
{
    struct text_section *section = &verify->section;
    uint32_t *next = &verify->level_next[level], pages = section->pages[level == 1 ? TEXT_LEAVES : TEXT_INNER];
    for (; *next < pages && (level == 1 || *next < own_number); (*next)++) {
        struct text_page page = {0};
        if (level > 1) {
            int result = text_page_pin(section, TEXT_INNER, *next, &page);
            if (result)
                return result;
            bool below = page.payload_bytes > 4 && page.payload[4] == level - 1;
            text_page_release(section, &page);
            if (!below)
                continue;
        }
        *child = (*next)++;
        return MOTE_OK;
    }
    return text_section_refuse(section, "an inner page of terms that leads to too many");
}

/* That a page's first term is this one. */
static int verify_first_term(struct verify *verify, uint32_t level, uint32_t number, const uint8_t *term, uint32_t term_bytes)
{
    struct text_section *section = &verify->section;
    struct text_page page = {0};
    struct byte_reader reader;
    uint32_t entries;
    int result = text_dictionary_page(section, level == 0 ? TEXT_LEAVES : TEXT_INNER, number, level, &page, &reader, &entries);
    if (!result && (byte_reader_left(&reader) < 2 + term_bytes || reader.at[0] != 0 || reader.at[1] != term_bytes || memcmp(reader.at + 2, term, term_bytes) != 0))
        result = text_section_refuse(section, "a page of terms that begins with another term than the page above says");
    text_page_release(section, &page);
    return result;
}

static int verify_inner_page(struct verify *verify, uint32_t number, uint32_t level)
{
    struct text_section *section = &verify->section;
    struct text_page page = {0};
    struct byte_reader reader;
    uint32_t entries, term_bytes = 0, before_bytes = 0, child, expected = 0;
    uint8_t term[TEXT_TERM_BYTES_MAX], before[TEXT_TERM_BYTES_MAX];
    int result = text_dictionary_page(section, TEXT_INNER, number, level, &page, &reader, &entries);
    if (!result && (load_u64(page.payload + 8) | load_u64(page.payload + 16) | load_u64(page.payload + 24)) != 0)
        result = text_section_refuse(section, "an inner page of terms that contradicts itself");
    for (uint32_t i = 0; i < entries && !result; i++) {
        result = text_inner_entry(section, &page, level, &reader, term, &term_bytes, &child);
        if (!result)
            result = next_child(verify, level, number, &expected);
        if (!result && (child != expected || (i > 0 && text_compare(before, before_bytes, term, term_bytes) >= 0)))
            result = text_section_refuse(section, "an inner page of terms whose entries are out of order");
        if (!result)
            result = verify_first_term(verify, level - 1, child, term, term_bytes);
        memcpy(before, term, term_bytes);
        before_bytes = term_bytes;
    }
    text_page_release(section, &page);
    return result;
}

static int verify_tree(struct verify *verify)
{
    struct text_section *section = &verify->section;
    uint32_t levels = section->totals.inner_levels, pages = section->pages[TEXT_INNER], tops = 0;
    for (uint32_t number = 0; number < pages; number++) {
        struct text_page page = {0};
        int result = text_page_pin(section, TEXT_INNER, number, &page);
        if (result)
            return result;
        uint32_t level = page.payload_bytes > 4 ? page.payload[4] : 0;
        text_page_release(section, &page);
        if (level == 0 || level > levels || (level == levels) != (number + 1 == pages))
            return text_section_refuse(section, "an inner page of terms of a level that cannot be");
        tops += level == levels;
        result = verify_inner_page(verify, number, level);
        if (result)
            return result;
    }
    if (pages > 0 && (tops != 1 || verify->level_next[1] != section->pages[TEXT_LEAVES]))
        return text_section_refuse(section, "pages of terms to which nothing leads");
    return MOTE_OK;
}

/* One block's skip entry, against what the block has. */
static int verify_skip(struct verify *verify, struct text_cursor *cursor, uint32_t block, uint32_t frequency_max, uint32_t length_min)
{
    struct text_skip skip;
    int result = text_skip_load(cursor, block, &skip);
    if (!result && (skip.frequency_max != frequency_max || skip.length_min != length_min))
        result = text_section_refuse(&verify->section, "a skip entry that contradicts its block");
    return result;
}

/* That a block's positions begin where those before ended, and its postings not before them. */
static int verify_places(struct verify *verify, const struct text_cursor *cursor, uint64_t postings_at)
{
    if (cursor->positions_at != verify->positions_at || postings_at < verify->postings_at)
        return text_section_refuse(&verify->section, "a term's blocks out of place");
    return MOTE_OK;
}

/* The block that the cursor has decoded: its documents, its positions. */
static int verify_block(struct verify *verify, struct text_cursor *cursor, int64_t *last_ordinal, uint64_t *occurrences)
{
    struct text_section *section = &verify->section;
    uint32_t frequency_max = 0, length_min = UINT32_MAX;
    for (uint32_t i = 0; i < cursor->count; i++) {
        uint32_t length;
        bool is_document;
        cursor->index = i;
        cursor->at = cursor->ordinals[i];
        if (cursor->at <= *last_ordinal)
            return text_section_refuse(section, "ordinals out of order");
        *last_ordinal = cursor->at;
        int result = text_section_length(section, cursor->at, &length, &is_document);
        verify->positions.count = 0;
        if (!result)
            result = text_cursor_positions(cursor, &verify->positions);
        if (result)
            return result;
        if (!is_document || verify->positions.values[verify->positions.count - 1] >= length)
            return text_section_refuse(section, "a word behind its text's end");
        frequency_max = cursor->frequencies[i] > frequency_max ? cursor->frequencies[i] : frequency_max;
        length_min = length < length_min ? length : length_min;
        *occurrences += cursor->frequencies[i];
    }
    return cursor->term.kind == TEXT_TERM_LARGE ? verify_skip(verify, cursor, cursor->block, frequency_max, length_min) : MOTE_OK;
}

static int verify_postings(struct verify *verify, struct text_cursor *cursor)
{
    int64_t last_ordinal = -1;
    uint64_t occurrences = 0;
    int result = MOTE_OK;
    while (!result && cursor->at != TEXT_END) {
        struct text_skip skip = {.postings_at = cursor->term.postings_at};
        if (cursor->term.kind == TEXT_TERM_LARGE)
            result = text_skip_load(cursor, cursor->block, &skip);
        if (!result && cursor->term.kind != TEXT_TERM_INLINE)
            result = verify_places(verify, cursor, skip.postings_at);
        if (!result)
            result = verify_block(verify, cursor, &last_ordinal, &occurrences);
        if (cursor->term.kind != TEXT_TERM_INLINE) {
            verify->postings_at = skip.postings_at + 2;
            verify->positions_at = cursor->positions_at;
        }
        if (!result)
            result = text_cursor_seek(cursor, cursor->at + 1);
    }
    if (!result && occurrences != cursor->term.occurrences)
        result = text_section_refuse(&verify->section, "a term that occurs another number of times");
    return result;
}

static int verify_terms(struct verify *verify)
{
    struct text_section *section = &verify->section;
    struct text_totals *seen = &verify->seen;
    struct text_terms terms;
    uint8_t before[TEXT_TERM_BYTES_MAX];
    uint32_t before_bytes = 0;
    int result = text_terms_seek(&terms, section, before, 0);
    while (!result && !terms.ended) {
        struct text_cursor *cursor = NULL;
        if (text_compare(before, before_bytes, terms.term, terms.term_bytes) >= 0 || (terms.entry.kind == TEXT_TERM_LARGE && terms.entry.skip_first != seen->skips))
            result = text_section_refuse(section, "terms out of order");
        if (!result)
            result = text_cursor_open(section, &terms.entry, &cursor);
        if (!result)
            result = verify_postings(verify, cursor);
        text_cursor_close(cursor);
        memcpy(before, terms.term, terms.term_bytes);
        before_bytes = terms.term_bytes;
        seen->terms++;
        seen->term_bytes += terms.term_bytes;
        seen->postings += terms.entry.documents;
        seen->tokens += terms.entry.occurrences;
        seen->skips += terms.entry.kind == TEXT_TERM_LARGE ? divide_up(terms.entry.documents, TEXT_BLOCK_POSTINGS) : 0;
        if (!result)
            result = text_terms_next(&terms);
    }
    text_terms_close(&terms);
    return result;
}

static int verify_lengths(struct verify *verify)
{
    struct text_section *section = &verify->section;
    uint64_t tokens = 0;
    uint32_t length_min = UINT32_MAX;
    for (uint32_t ordinal = 0; ordinal < section->totals.ordinal_end; ordinal++) {
        uint32_t length;
        bool is_document;
        int result = text_section_length(section, ordinal, &length, &is_document);
        if (result)
            return result;
        if (ordinal + 1 == section->totals.ordinal_end && !is_document)
            return text_section_refuse(section, "an end of rows behind the last text");
        if (!is_document)
            continue;
        verify->seen.documents++;
        tokens += length;
        length_min = length < length_min ? length : length_min;
    }
    if (tokens != section->totals.tokens || (verify->seen.documents ? length_min : 0) != section->totals.length_min)
        return text_section_refuse(section, "lengths that do not add up");
    return MOTE_OK;
}

int text_verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    struct verify verify = {0};
    struct text_section *section = &verify.section;
    int result = text_section_open(section, memory, identity, root, source);
    if (!result && section->totals.ordinal_end > row_count)
        result = text_section_refuse(section, "it has more rows than its segment");
    if (!result)
        result = verify_checksums(&verify);
    if (!result)
        result = verify_tree(&verify);
    if (!result)
        result = verify_terms(&verify);
    if (!result)
        result = verify_lengths(&verify);
    const struct text_totals *totals = &section->totals, *seen = &verify.seen;
    if (!result && (totals->documents != seen->documents || totals->tokens != seen->tokens || totals->postings != seen->postings || totals->terms != seen->terms ||
                    totals->term_bytes != seen->term_bytes || totals->skips != seen->skips))
        result = text_section_refuse(section, "totals that are not the sums of what there is");
    memory_free(memory, verify.positions.values);
    text_section_close(section);
    return result;
}
