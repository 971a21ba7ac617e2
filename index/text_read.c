/* text_read.c: an open text section: its root, its page table, its pages, the documents' lengths, and the dictionary (text_format.h).
 *
 * What a page says of itself is checked each time it is pinned (the source verifies the checksum only when the bytes come from the device); every number is bounded before it is used. A section pins its root, at most one table
 * page and at most one page of lengths while it is open.
 * Threads: one for each struct text_section; many may be open on one section. Failures: MOTE_EDAMAGED, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/text_private.h"

static const uint32_t magics[TEXT_STREAMS] = {TEXT_MAGIC_LEAVES, TEXT_MAGIC_INNER, TEXT_MAGIC_POSTINGS, TEXT_MAGIC_POSITIONS, TEXT_MAGIC_SKIPS, TEXT_MAGIC_LENGTHS};

/* What a page must be. */
struct page_expected {
    const struct section_identity *identity;
    uint64_t offset_bytes;
    uint32_t magic, crc, number;
};

int text_section_refuse(const struct text_section *section, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the text index of segment %llu is damaged (%s); rebuild the text index", (unsigned long long)section->identity->segment_id, what);
}

static bool header_fits(const struct page_expected *expected, const uint8_t *page, uint32_t length_bytes)
{
    const struct section_identity *identity = expected->identity;
    return length_bytes > TEXT_HEADER_BYTES && load_u32(page) == expected->magic && load_u32(page + 4) == expected->crc && load_u64(page + 8) == identity->segment_id &&
           load_u64(page + 16) == identity->section_id && load_u64(page + 24) == expected->offset_bytes && load_u32(page + 32) == length_bytes && load_u16(page + 36) == TEXT_VERSION &&
           load_u16(page + 38) == 0 && load_u32(page + 40) == expected->number && load_u32(page + 44) == 0;
}

static int check_page(const uint8_t *page, uint32_t length_bytes, void *context)
{
    const struct page_expected *expected = context;
    const struct section_identity *identity = expected->identity;
    if (!header_fits(expected, page, length_bytes) ||
        crc32c(crc32c_seed(identity->uuid, expected->magic, identity->segment_id, expected->offset_bytes), page + 8, length_bytes - 8) != expected->crc)
        return error_set(MOTE_EDAMAGED, "the text index of segment %llu fails its checksum at byte %llu of its section; rebuild the text index", (unsigned long long)identity->segment_id,
                         (unsigned long long)expected->offset_bytes);
    return MOTE_OK;
}

static int pin(struct text_section *section, uint32_t magic, uint32_t number, const struct text_page_entry *entry, const uint8_t **page, void **handle)
{
    struct page_expected expected = {.identity = section->identity, .offset_bytes = entry->offset_bytes, .magic = magic, .crc = entry->crc, .number = number};
    uint64_t section_bytes = section->root->length_bytes;
    uint32_t most = magic == TEXT_MAGIC_ROOT || magic == TEXT_MAGIC_TABLE ? INDEX_PAGE_BYTES_MAX : TEXT_HEADER_BYTES + TEXT_PAYLOAD_BYTES;
    *handle = NULL;
    if (entry->length_bytes <= TEXT_HEADER_BYTES || entry->length_bytes > most || entry->offset_bytes > section_bytes || entry->length_bytes > section_bytes - entry->offset_bytes)
        return text_section_refuse(section, "a page lies outside");
    int result = section->source->read(section->source->context, entry->offset_bytes, entry->length_bytes, check_page, &expected, page, handle);
    if (result) {
        *handle = NULL;
        return result;
    }
    if (!header_fits(&expected, *page, entry->length_bytes)) {
        section->source->release(section->source->context, *handle);
        *handle = NULL;
        return text_section_refuse(section, "another page is in its place");
    }
    return MOTE_OK;
}

static void unpin(struct text_section *section, void **handle)
{
    if (*handle)
        section->source->release(section->source->context, *handle);
    *handle = NULL;
}

static void load_entry(const uint8_t *at, struct text_page_entry *entry)
{
    entry->offset_bytes = load_u64(at);
    entry->length_bytes = load_u32(at + 8);
    entry->crc = load_u32(at + 12);
}

/* Whether the root's numbers can be true together. */
static bool load_root(struct text_section *section)
{
    const uint8_t *payload = section->root_page + TEXT_HEADER_BYTES;
    struct text_totals *totals = &section->totals;
    uint64_t pages = 0;
    section->language = load_u16(payload);
    section->flags = load_u16(payload + 2);
    totals->documents = load_u64(payload + 8);
    totals->tokens = load_u64(payload + 16);
    totals->postings = load_u64(payload + 24);
    totals->terms = load_u64(payload + 32);
    totals->term_bytes = load_u64(payload + 40);
    totals->ordinal_end = load_u32(payload + 48);
    totals->inner_levels = load_u32(payload + 52);
    totals->skips = load_u64(payload + 56);
    totals->length_min = load_u32(payload + 64);
    section->table_pages = load_u32(payload + 68);
    for (uint32_t i = 0; i < TEXT_STREAMS; i++) {
        section->first_pages[i] = (uint32_t)pages;
        section->pages[i] = load_u32(payload + 72 + 4 * (size_t)i);
        pages += section->pages[i];
        if (pages > (uint64_t)TEXT_FANOUT * TEXT_FANOUT)
            return false;
    }
    section->page_count = (uint32_t)pages;
    uint32_t tables = pages > TEXT_FANOUT ? (uint32_t)divide_up(pages, TEXT_FANOUT) : 0;
    return section->table_pages == tables && section->root->root_bytes == TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES + (tables ? tables : section->page_count) * TEXT_PAGE_ENTRY_BYTES &&
           totals->documents <= totals->ordinal_end && totals->postings <= totals->tokens && totals->terms <= totals->postings && totals->inner_levels < TEXT_DICTIONARY_LEVELS_MAX &&
           section->pages[TEXT_LENGTHS] == divide_up(totals->ordinal_end, TEXT_LENGTHS_PER_PAGE) && section->pages[TEXT_SKIPS] == divide_up(totals->skips, TEXT_SKIPS_PER_PAGE) &&
           (totals->terms > 0) == (section->pages[TEXT_LEAVES] > 0) && (totals->inner_levels > 0) == (section->pages[TEXT_INNER] > 0) && (totals->inner_levels > 0) == (section->pages[TEXT_LEAVES] > 1) &&
           (section->flags & ~(uint32_t)TEXT_FLAG_KEEP_DIACRITICS) == 0;
}

int text_section_open(struct text_section *section, struct memory *memory, const struct section_identity *identity, const struct section_root *root, const struct section_source *source)
{
    *section = (struct text_section){.identity = identity, .root = root, .source = source, .memory = memory, .table_number = UINT32_MAX};
    struct text_page_entry entry = {root->root_offset_bytes, root->root_bytes, root->root_crc};
    int result = pin(section, TEXT_MAGIC_ROOT, 0, &entry, &section->root_page, &section->root_handle);
    if (result)
        return result;
    if (root->root_bytes < TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES || !load_root(section))
        return text_section_refuse(section, "a root that contradicts itself");
    if (load_u32(section->root_page + TEXT_HEADER_BYTES + 4) != TEXT_ANALYSIS_VERSION)
        return error_set(MOTE_EVERSION, "the text index of segment %llu was built by the analysis rules of version %u, which this mote does not know; use a newer mote, or rebuild the text index",
                         (unsigned long long)identity->segment_id, load_u32(section->root_page + TEXT_HEADER_BYTES + 4));
    return MOTE_OK;
}

void text_section_close(struct text_section *section)
{
    text_page_release(section, &section->lengths);
    unpin(section, &section->table_handle);
    unpin(section, &section->root_handle);
}

int text_section_expect(const struct text_section *section, const struct text_options *options)
{
    if (section->language != options->language || (section->flags & TEXT_FLAG_KEEP_DIACRITICS) != (options->keep_diacritics ? TEXT_FLAG_KEEP_DIACRITICS : 0u))
        return error_set(MOTE_EINVAL, "the text index of segment %llu was built with another stemmer, or another rule for diacritics; use the table's options, or rebuild the text index",
                         (unsigned long long)section->identity->segment_id);
    return MOTE_OK;
}

static int table_pin(struct text_section *section, uint32_t table)
{
    struct text_page_entry entry;
    if (table == section->table_number)
        return MOTE_OK;
    unpin(section, &section->table_handle);
    section->table_number = UINT32_MAX;
    load_entry(section->root_page + TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES + (size_t)table * TEXT_PAGE_ENTRY_BYTES, &entry);
    int result = pin(section, TEXT_MAGIC_TABLE, table, &entry, &section->table_page, &section->table_handle);
    if (result)
        return result;
    uint32_t left = section->page_count - table * TEXT_FANOUT, count = left < TEXT_FANOUT ? left : TEXT_FANOUT;
    if (entry.length_bytes != TEXT_HEADER_BYTES + count * TEXT_PAGE_ENTRY_BYTES) {
        unpin(section, &section->table_handle);
        return text_section_refuse(section, "a table page of another length");
    }
    section->table_number = table;
    return MOTE_OK;
}

int text_page_pin(struct text_section *section, enum text_stream_number stream, uint32_t number, struct text_page *page)
{
    struct text_page_entry entry;
    if (page->handle && page->number == number)
        return MOTE_OK;
    text_page_release(section, page);
    if (number >= section->pages[stream])
        return text_section_refuse(section, "a page that does not exist");
    uint32_t all = section->first_pages[stream] + number;
    int result = section->table_pages ? table_pin(section, all / TEXT_FANOUT) : MOTE_OK;
    if (result)
        return result;
    if (section->table_pages)
        load_entry(section->table_page + TEXT_HEADER_BYTES + (size_t)(all % TEXT_FANOUT) * TEXT_PAGE_ENTRY_BYTES, &entry);
    else
        load_entry(section->root_page + TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES + (size_t)all * TEXT_PAGE_ENTRY_BYTES, &entry);
    const uint8_t *bytes;
    result = pin(section, magics[stream], number, &entry, &bytes, &page->handle);
    if (result)
        return result;
    page->payload = bytes + TEXT_HEADER_BYTES;
    page->payload_bytes = entry.length_bytes - TEXT_HEADER_BYTES;
    page->number = number;
    return MOTE_OK;
}

void text_page_release(struct text_section *section, struct text_page *page) { unpin(section, &page->handle); }

int text_section_length(struct text_section *section, uint32_t ordinal, uint32_t *length, bool *is_document)
{
    const struct text_totals *totals = &section->totals;
    *length = 0;
    *is_document = false;
    if (ordinal >= totals->ordinal_end)
        return MOTE_OK;
    uint32_t number = ordinal / TEXT_LENGTHS_PER_PAGE, index = ordinal % TEXT_LENGTHS_PER_PAGE;
    int result = text_page_pin(section, TEXT_LENGTHS, number, &section->lengths);
    if (result)
        return result;
    const struct text_page *page = &section->lengths;
    uint32_t count = number + 1 < section->pages[TEXT_LENGTHS] ? TEXT_LENGTHS_PER_PAGE : totals->ordinal_end - number * TEXT_LENGTHS_PER_PAGE, bits = page->payload[0];
    if (bits > 32 || page->payload_bytes != TEXT_LENGTHS_HEADER_BYTES + (count * bits + 7) / 8)
        return text_section_refuse(section, "a page of lengths that contradicts itself");
    uint32_t bit = index * bits, first = TEXT_LENGTHS_HEADER_BYTES + bit / 8, left = page->payload_bytes - first;
    uint8_t bytes[8] = {0};
    memcpy(bytes, page->payload + first, left < 8 ? left : 8);
    uint32_t value = (uint32_t)(load_u64(bytes) >> bit % 8 & ((1ull << bits) - 1));
    *is_document = value > 0;
    *length = value ? value - 1 : 0;
    return MOTE_OK;
}

int text_compare(const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

int text_dictionary_page(struct text_section *section, enum text_stream_number stream, uint32_t number, uint32_t level, struct text_page *page, struct byte_reader *reader, uint32_t *entries)
{
    int result = text_page_pin(section, stream, number, page);
    if (result)
        return result;
    bool whole = page->payload_bytes > TEXT_DICTIONARY_HEADER_BYTES;
    uint32_t restarts = whole ? load_u16(page->payload + 2) : 0;
    *entries = whole ? load_u16(page->payload) : 0;
    if (!whole || *entries == 0 || restarts != divide_up(*entries, TEXT_RESTART_ENTRIES) || load_u32(page->payload + 4) != level || TEXT_DICTIONARY_HEADER_BYTES + restarts * 2 > page->payload_bytes)
        return text_section_refuse(section, "a page of terms that contradicts itself");
    *reader = byte_reader_make(page->payload, page->payload_bytes - restarts * 2);
    reader->at += TEXT_DICTIONARY_HEADER_BYTES;
    return MOTE_OK;
}

/* The next term of a page, after the one that is in term. */
static bool read_term(struct byte_reader *reader, uint8_t *term, uint32_t *term_bytes)
{
    uint32_t shared = read_u8(reader), further = read_u8(reader);
    const uint8_t *bytes = read_bytes(reader, further);
    if (!bytes || shared > *term_bytes || shared + further > TEXT_TERM_BYTES_MAX || shared + further == 0)
        return false;
    memcpy(term + shared, bytes, further);
    *term_bytes = shared + further;
    return true;
}

int text_inner_entry(struct text_section *section, const struct text_page *page, uint32_t level, struct byte_reader *reader, uint8_t *term, uint32_t *term_bytes, uint32_t *child)
{
    bool whole = read_term(reader, term, term_bytes);
    uint64_t number = text_varint_read(reader);
    if (!whole || reader->failed || number >= section->pages[level == 1 ? TEXT_LEAVES : TEXT_INNER] || (level > 1 && number >= page->number))
        return text_section_refuse(section, "an entry that leads nowhere");
    *child = (uint32_t)number;
    return MOTE_OK;
}

/* Sets the reader to the last restart whose term is not above the bytes, or to the first. */
static int find_restart(struct text_section *section, const struct text_page *page, struct byte_reader *reader, uint32_t entries, const uint8_t *bytes, uint32_t byte_count, uint32_t *index)
{
    uint32_t low = 0, high = (uint32_t)divide_up(entries, TEXT_RESTART_ENTRIES), restarts = high;
    const uint8_t *offsets = page->payload + page->payload_bytes - 2 * restarts;
    uint32_t end = page->payload_bytes - 2 * restarts;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2, offset = load_u16(offsets + 2 * (size_t)middle), term_bytes;
        if (offset < TEXT_DICTIONARY_HEADER_BYTES || offset + 2 > end || page->payload[offset] != 0 || (term_bytes = page->payload[offset + 1]) > end - offset - 2)
            return text_section_refuse(section, "a term's place that cannot be");
        if (text_compare(page->payload + offset + 2, term_bytes, bytes, byte_count) <= 0)
            low = middle;
        else
            high = middle;
    }
    uint32_t offset = load_u16(offsets + 2 * (size_t)low);
    if (offset < TEXT_DICTIONARY_HEADER_BYTES || offset + 2 > end || page->payload[offset] != 0)
        return text_section_refuse(section, "a term's place that cannot be");
    reader->at = page->payload + offset;
    *index = low * TEXT_RESTART_ENTRIES;
    return MOTE_OK;
}

/* The leaf in which the bytes are, or would be. */
static int find_leaf(struct text_section *section, const uint8_t *bytes, uint32_t byte_count, uint32_t *leaf)
{
    struct text_page page = {0};
    uint32_t number = section->pages[TEXT_INNER] - 1;
    int result = MOTE_OK;
    *leaf = 0;
    for (uint32_t level = section->totals.inner_levels; level > 0 && !result; level--) {
        struct byte_reader reader;
        uint32_t entries, index, term_bytes = 0, child = 0, chosen = 0;
        uint8_t term[TEXT_TERM_BYTES_MAX];
        result = text_dictionary_page(section, TEXT_INNER, number, level, &page, &reader, &entries);
        if (!result)
            result = find_restart(section, &page, &reader, entries, bytes, byte_count, &index);
        for (bool first = true; !result && index < entries; index++, first = false) {
            result = text_inner_entry(section, &page, level, &reader, term, &term_bytes, &child);
            if (!result && !first && text_compare(term, term_bytes, bytes, byte_count) > 0)
                break;
            chosen = child;
        }
        number = *leaf = chosen;
    }
    text_page_release(section, &page);
    return result;
}

/* The entry at the present place becomes the present term. */
static int load_term(struct text_terms *terms, struct byte_reader *reader)
{
    struct text_section *section = terms->section;
    const struct text_totals *totals = &section->totals;
    const uint8_t *payload = terms->page.payload;
    struct text_term *entry = &terms->entry;
    *entry = (struct text_term){0};
    bool whole = read_term(reader, terms->term, &terms->term_bytes);
    uint64_t value = text_varint_read(reader), documents = value / 4;
    entry->kind = (enum text_term_kind)(value % 4);
    if (!whole || documents == 0 || documents > totals->documents || documents > totals->tokens || entry->kind > TEXT_TERM_LARGE || (entry->kind != TEXT_TERM_LARGE) != (documents <= TEXT_BLOCK_POSTINGS))
        return text_section_refuse(section, "a term that cannot be");
    entry->documents = (uint32_t)documents;
    if (entry->kind == TEXT_TERM_INLINE) {
        uint64_t ordinal = text_varint_read(reader), position = text_varint_read(reader);
        if (documents != 1 || ordinal >= totals->ordinal_end || position >= UINT32_MAX)
            return text_section_refuse(section, "a term that cannot be");
        entry->ordinal = (uint32_t)ordinal;
        entry->position = (uint32_t)position;
        entry->occurrences = 1;
    } else {
        uint64_t further = text_varint_read(reader);
        if (further > totals->tokens - documents)
            return text_section_refuse(section, "a term that occurs more often than there are words");
        entry->occurrences = documents + further;
        if (entry->kind == TEXT_TERM_SMALL) {
            entry->postings_at = load_u64(payload + 8) + text_varint_read(reader);
            entry->positions_at = load_u64(payload + 16) + text_varint_read(reader);
        } else {
            entry->skip_first = load_u64(payload + 24) + text_varint_read(reader);
            if (entry->skip_first >= totals->skips || divide_up(documents, TEXT_BLOCK_POSTINGS) > totals->skips - entry->skip_first)
                return text_section_refuse(section, "a term whose blocks do not exist");
        }
    }
    if (reader->failed)
        return text_section_refuse(section, "a page of terms that ends too early");
    terms->at_bytes = (uint32_t)(reader->at - payload);
    terms->index++;
    return MOTE_OK;
}

int text_terms_next(struct text_terms *terms)
{
    struct byte_reader reader;
    uint32_t entries;
    int result = text_dictionary_page(terms->section, TEXT_LEAVES, terms->leaf, 0, &terms->page, &reader, &entries);
    if (!result && terms->index == entries) {
        if (terms->leaf + 1 == terms->section->pages[TEXT_LEAVES]) {
            terms->ended = true;
            return MOTE_OK;
        }
        terms->leaf++;
        terms->index = 0;
        terms->at_bytes = TEXT_DICTIONARY_HEADER_BYTES;
        result = text_dictionary_page(terms->section, TEXT_LEAVES, terms->leaf, 0, &terms->page, &reader, &entries);
    }
    if (result)
        return result;
    if (terms->index == 0)
        terms->term_bytes = 0;
    assert(terms->at_bytes <= terms->page.payload_bytes);
    reader.at = terms->page.payload + terms->at_bytes;
    if (reader.at > reader.end)
        return text_section_refuse(terms->section, "a page of terms that ends too early");
    return load_term(terms, &reader);
}

int text_terms_seek(struct text_terms *terms, struct text_section *section, const uint8_t *bytes, uint32_t byte_count)
{
    struct byte_reader reader;
    uint32_t entries;
    *terms = (struct text_terms){.section = section, .ended = section->pages[TEXT_LEAVES] == 0};
    if (terms->ended)
        return MOTE_OK;
    int result = find_leaf(section, bytes, byte_count, &terms->leaf);
    if (!result)
        result = text_dictionary_page(section, TEXT_LEAVES, terms->leaf, 0, &terms->page, &reader, &entries);
    if (!result)
        result = find_restart(section, &terms->page, &reader, entries, bytes, byte_count, &terms->index);
    if (result)
        return result;
    terms->at_bytes = (uint32_t)(reader.at - terms->page.payload);
    do
        result = text_terms_next(terms);
    while (!result && !terms->ended && text_compare(terms->term, terms->term_bytes, bytes, byte_count) < 0);
    return result;
}

void text_terms_close(struct text_terms *terms)
{
    if (terms->section)
        text_page_release(terms->section, &terms->page);
}
