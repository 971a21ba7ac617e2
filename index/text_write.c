/* text_write.c: writing a text section (text_format.h): terms in ascending order with their postings, then the documents' lengths, then page table and root. The builder (text_build.c) and the merge (text_merge.c) both write
 * through it, so that the same postings give the same bytes.
 *
 * Memory: a page for each stream and each level of the dictionary, one block, and 16 bytes for each page written: no postings list is held.
 * Threads: one. Failures: MOTE_EBUDGET, and what the sink returns; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/text_private.h"

static const uint32_t magics[TEXT_STREAMS] = {TEXT_MAGIC_LEAVES, TEXT_MAGIC_INNER, TEXT_MAGIC_POSTINGS, TEXT_MAGIC_POSITIONS, TEXT_MAGIC_SKIPS, TEXT_MAGIC_LENGTHS};

struct stream {
    uint8_t *payload; /* of the page that is being filled, TEXT_PAYLOAD_BYTES + 8; the dictionary has its own */
    uint32_t fill_bytes, pages, capacity;
    struct text_page_entry *entries;
};

struct text_writer {
    struct memory *memory;
    struct text_options options;
    const struct section_identity *identity;
    const struct section_sink *sink;
    uint8_t *page; /* INDEX_PAGE_BYTES_MAX */
    uint64_t end_bytes;
    struct stream streams[TEXT_STREAMS];
    struct text_dictionary_writer dictionary;
    struct text_totals totals;
    /* the present term */
    uint8_t term[TEXT_TERM_BYTES_MAX];
    uint32_t term_bytes, documents;
    uint64_t occurrences, skip_first;
    uint32_t ordinals[TEXT_BLOCK_POSTINGS], frequencies[TEXT_BLOCK_POSTINGS];
    uint32_t block_count, block_base; /* the ordinal before the block, UINT32_MAX for none: + 1 is 0 */
    uint32_t frequency_max, length_min;
    uint64_t block_positions_at;
    uint32_t last_position, first_position;
    bool first_position_held; /* the term's first position is not in its stream yet: it may go into the dictionary */
    /* the page of lengths that is being filled */
    uint32_t lengths[TEXT_LENGTHS_PER_PAGE], lengths_bits;
};

/* Completes a page whose payload is there, and writes it. */
static int write_page(struct text_writer *writer, uint32_t magic, uint32_t number, uint32_t payload_bytes, struct text_page_entry *entry)
{
    const struct section_identity *identity = writer->identity;
    uint8_t *page = writer->page;
    uint32_t length_bytes = TEXT_HEADER_BYTES + payload_bytes;
    assert(length_bytes <= INDEX_PAGE_BYTES_MAX);
    int result = writer->sink->place(writer->sink->context, length_bytes, &entry->offset_bytes);
    if (result)
        return result;
    store_u32(page, magic);
    store_u64(page + 8, identity->segment_id);
    store_u64(page + 16, identity->section_id);
    store_u64(page + 24, entry->offset_bytes);
    store_u32(page + 32, length_bytes);
    store_u16(page + 36, TEXT_VERSION);
    store_u16(page + 38, 0);
    store_u32(page + 40, number);
    store_u32(page + 44, 0);
    entry->length_bytes = length_bytes;
    entry->crc = crc32c(crc32c_seed(identity->uuid, magic, identity->segment_id, entry->offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, entry->crc);
    writer->end_bytes = entry->offset_bytes + length_bytes;
    return writer->sink->write(writer->sink->context, page, length_bytes);
}

static int write_stream_page(void *context, enum text_stream_number number, const uint8_t *payload, uint32_t payload_bytes, uint32_t *page_number)
{
    struct text_writer *writer = context;
    struct stream *stream = &writer->streams[number];
    assert(payload_bytes > 0 && payload_bytes <= TEXT_PAYLOAD_BYTES);
    if (stream->pages == stream->capacity) {
        uint32_t capacity = stream->capacity ? stream->capacity * 2 : 64;
        struct text_page_entry *grown = memory_realloc(writer->memory, stream->entries, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        stream->entries = grown;
        stream->capacity = capacity;
    }
    memcpy(writer->page + TEXT_HEADER_BYTES, payload, payload_bytes);
    *page_number = stream->pages++;
    return write_page(writer, magics[number], *page_number, payload_bytes, &stream->entries[*page_number]);
}

static int flush_stream(struct text_writer *writer, enum text_stream_number number)
{
    struct stream *stream = &writer->streams[number];
    uint32_t page_number, fill_bytes = stream->fill_bytes;
    stream->fill_bytes = 0;
    return fill_bytes ? write_stream_page(writer, number, stream->payload, fill_bytes, &page_number) : MOTE_OK;
}

static uint64_t stream_at(const struct stream *stream) { return (uint64_t)stream->pages * TEXT_PAYLOAD_BYTES + stream->fill_bytes; }

/* Room for byte_count bytes in one page. */
static int stream_room(struct text_writer *writer, enum text_stream_number number, uint32_t byte_count)
{
    return writer->streams[number].fill_bytes + byte_count > TEXT_PAYLOAD_BYTES ? flush_stream(writer, number) : MOTE_OK;
}

int text_writer_create(struct memory *memory, const struct text_options *options, const struct section_identity *identity, const struct section_sink *sink, struct text_writer **writer)
{
    *writer = NULL;
    struct text_writer *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->options = *options;
    made->identity = identity;
    made->sink = sink;
    made->totals.length_min = UINT32_MAX;
    made->dictionary = (struct text_dictionary_writer){.memory = memory, .write_page = write_stream_page, .context = made};
    bool whole = (made->page = memory_alloc_zero(memory, INDEX_PAGE_BYTES_MAX)) != NULL;
    for (uint32_t i = TEXT_POSTINGS; i < TEXT_STREAMS && whole; i++)
        whole = (made->streams[i].payload = memory_alloc_zero(memory, TEXT_PAYLOAD_BYTES + 8)) != NULL;
    if (!whole) {
        text_writer_destroy(made);
        return MOTE_EBUDGET;
    }
    *writer = made;
    return MOTE_OK;
}

void text_writer_destroy(struct text_writer *writer)
{
    if (!writer)
        return;
    text_dictionary_free(&writer->dictionary);
    for (uint32_t i = 0; i < TEXT_STREAMS; i++) {
        memory_free(writer->memory, writer->streams[i].payload);
        memory_free(writer->memory, writer->streams[i].entries);
    }
    memory_free(writer->memory, writer->page);
    memory_free(writer->memory, writer);
}

/* Writes the block; last: no posting of the term follows. */
static int write_block(struct text_writer *writer, bool last, uint64_t *postings_at)
{
    uint32_t count = writer->block_count, ordinal_bits = 0, frequency_bits = 0, deltas[TEXT_BLOCK_POSTINGS], less[TEXT_BLOCK_POSTINGS], before = writer->block_base;
    struct stream *postings = &writer->streams[TEXT_POSTINGS], *skips = &writer->streams[TEXT_SKIPS];
    assert(count > 0 && count <= TEXT_BLOCK_POSTINGS);
    for (uint32_t i = 0; i < count; i++) {
        deltas[i] = writer->ordinals[i] - before - 1;
        less[i] = writer->frequencies[i] - 1;
        before = writer->ordinals[i];
        ordinal_bits = ordinal_bits | deltas[i];
        frequency_bits = frequency_bits | less[i];
    }
    ordinal_bits = text_bits_of(ordinal_bits);
    frequency_bits = text_bits_of(frequency_bits);
    uint32_t ordinals_bytes = (count * ordinal_bits + 7) / 8, frequencies_bytes = (count * frequency_bits + 7) / 8, block_bytes = 2 + ordinals_bytes + frequencies_bytes;
    int result = stream_room(writer, TEXT_POSTINGS, block_bytes);
    if (result)
        return result;
    *postings_at = stream_at(postings);
    uint8_t *at = postings->payload + postings->fill_bytes;
    at[0] = (uint8_t)ordinal_bits;
    at[1] = (uint8_t)frequency_bits;
    text_bits_pack(at + 2, deltas, count, ordinal_bits);
    text_bits_pack(at + 2 + ordinals_bytes, less, count, frequency_bits);
    postings->fill_bytes += block_bytes;
    if (!last || writer->documents > TEXT_BLOCK_POSTINGS) {
        if (skips->fill_bytes == TEXT_SKIPS_PER_PAGE * TEXT_SKIP_BYTES)
            result = flush_stream(writer, TEXT_SKIPS);
        at = skips->payload + skips->fill_bytes;
        store_u32(at, before);
        store_u32(at + 4, writer->frequency_max);
        store_u32(at + 8, writer->length_min);
        store_u64(at + 12, *postings_at);
        store_u64(at + 20, writer->block_positions_at);
        skips->fill_bytes += TEXT_SKIP_BYTES;
        writer->totals.skips++;
    }
    writer->block_count = 0;
    writer->block_base = before;
    return result;
}

static int end_term(struct text_writer *writer)
{
    if (writer->documents == 0)
        return MOTE_OK;
    struct text_leaf_entry entry = {.term = writer->term, .term_bytes = writer->term_bytes, .documents = writer->documents, .occurrences = writer->occurrences, .skip_first = writer->skip_first};
    entry.positions_at = writer->block_positions_at;
    entry.postings_at = stream_at(&writer->streams[TEXT_POSTINGS]);
    int result = MOTE_OK;
    if (writer->first_position_held) {
        entry.kind = TEXT_TERM_INLINE;
        entry.ordinal = writer->ordinals[0];
        entry.position = writer->first_position;
    } else {
        entry.kind = writer->documents <= TEXT_BLOCK_POSTINGS ? TEXT_TERM_SMALL : TEXT_TERM_LARGE;
        result = write_block(writer, true, &entry.postings_at);
    }
    /* The dictionary's page may be written, and a term's bases are the lowest of their leaf: what is behind this term counts for the next. */
    if (!result)
        result = text_dictionary_add(&writer->dictionary, &entry);
    writer->totals.terms++;
    writer->totals.term_bytes += writer->term_bytes;
    writer->totals.postings += writer->documents;
    writer->documents = 0;
    return result;
}

int text_writer_term(struct text_writer *writer, const uint8_t *term, uint32_t term_bytes)
{
    assert(term_bytes > 0 && term_bytes <= TEXT_TERM_BYTES_MAX);
    int result = end_term(writer);
    memcpy(writer->term, term, term_bytes);
    writer->term_bytes = term_bytes;
    writer->occurrences = 0;
    writer->skip_first = writer->totals.skips;
    writer->block_count = 0;
    writer->block_base = UINT32_MAX;
    writer->block_positions_at = stream_at(&writer->streams[TEXT_POSITIONS]);
    return result;
}

int text_writer_posting(struct text_writer *writer, uint32_t ordinal, uint32_t document_length)
{
    int result = MOTE_OK;
    uint64_t postings_at;
    if (writer->block_count == TEXT_BLOCK_POSTINGS) {
        result = write_block(writer, false, &postings_at);
        writer->block_positions_at = stream_at(&writer->streams[TEXT_POSITIONS]);
    }
    if (writer->block_count == 0) {
        writer->frequency_max = 0;
        writer->length_min = UINT32_MAX;
    }
    writer->ordinals[writer->block_count] = ordinal;
    writer->frequencies[writer->block_count++] = 0;
    writer->length_min = document_length < writer->length_min ? document_length : writer->length_min;
    writer->documents++;
    return result;
}

static int put_position(struct text_writer *writer, uint32_t value)
{
    struct stream *stream = &writer->streams[TEXT_POSITIONS];
    uint8_t bytes[TEXT_VARINT_BYTES_MAX];
    uint32_t count = (uint32_t)(text_varint_store(bytes, value) - bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (stream->fill_bytes == TEXT_PAYLOAD_BYTES) {
            int result = flush_stream(writer, TEXT_POSITIONS);
            if (result)
                return result;
        }
        stream->payload[stream->fill_bytes++] = bytes[i];
    }
    return MOTE_OK;
}

int text_writer_position(struct text_writer *writer, uint32_t position)
{
    uint32_t *frequency = &writer->frequencies[writer->block_count - 1];
    int result = MOTE_OK;
    assert(writer->block_count > 0 && (*frequency == 0 || position > writer->last_position));
    if (++*frequency > writer->frequency_max)
        writer->frequency_max = *frequency;
    if (++writer->occurrences == 1) {
        writer->first_position_held = true;
        writer->first_position = writer->last_position = position;
        return MOTE_OK;
    }
    if (writer->first_position_held) {
        writer->first_position_held = false;
        result = put_position(writer, writer->first_position);
    }
    if (!result)
        result = put_position(writer, *frequency == 1 ? position : position - writer->last_position);
    writer->last_position = position;
    return result;
}

/* Writes the page of lengths up to ordinal_end, where the page ends or the section does. */
static int write_lengths(struct text_writer *writer, uint32_t count)
{
    struct stream *stream = &writer->streams[TEXT_LENGTHS];
    uint32_t bits = text_bits_of(writer->lengths_bits);
    memset(stream->payload, 0, TEXT_LENGTHS_HEADER_BYTES);
    stream->payload[0] = (uint8_t)bits;
    text_bits_pack(stream->payload + TEXT_LENGTHS_HEADER_BYTES, writer->lengths, count, bits);
    stream->fill_bytes = TEXT_LENGTHS_HEADER_BYTES + (count * bits + 7) / 8;
    memset(writer->lengths, 0, sizeof writer->lengths);
    writer->lengths_bits = 0;
    return flush_stream(writer, TEXT_LENGTHS);
}

int text_writer_length(struct text_writer *writer, uint32_t ordinal, uint32_t document_length)
{
    struct text_totals *totals = &writer->totals;
    int result = MOTE_OK;
    assert(ordinal >= totals->ordinal_end && ordinal < UINT32_MAX && document_length < UINT32_MAX);
    while (!result && writer->streams[TEXT_LENGTHS].pages < ordinal / TEXT_LENGTHS_PER_PAGE)
        result = write_lengths(writer, TEXT_LENGTHS_PER_PAGE);
    writer->lengths[ordinal % TEXT_LENGTHS_PER_PAGE] = document_length + 1;
    writer->lengths_bits |= document_length + 1;
    totals->ordinal_end = ordinal + 1;
    totals->documents++;
    totals->tokens += document_length;
    totals->length_min = document_length < totals->length_min ? document_length : totals->length_min;
    return result;
}

static uint8_t *store_entry(uint8_t *at, const struct text_page_entry *entry)
{
    store_u64(at, entry->offset_bytes);
    store_u32(at + 8, entry->length_bytes);
    store_u32(at + 12, entry->crc);
    return at + TEXT_PAGE_ENTRY_BYTES;
}

/* The entries of all streams, one stream after the other, in the page from at on; where there are more than a root holds, they go to table pages, whose entries stand here instead. */
static int write_table(struct text_writer *writer, uint64_t page_count, struct text_page_entry *tables, uint32_t table_count, uint32_t *filled)
{
    uint8_t *start = writer->page + TEXT_HEADER_BYTES + (table_count ? 0 : TEXT_ROOT_PAYLOAD_BYTES), *at = start;
    uint32_t table = 0;
    uint64_t seen = 0;
    for (uint32_t number = 0; number < TEXT_STREAMS; number++)
        for (uint32_t i = 0; i < writer->streams[number].pages; i++) {
            at = store_entry(at, &writer->streams[number].entries[i]);
            seen++;
            if (table_count && (seen % TEXT_FANOUT == 0 || seen == page_count)) {
                int result = write_page(writer, TEXT_MAGIC_TABLE, table, (uint32_t)(at - start), &tables[table]);
                if (result)
                    return result;
                at = start;
                table++;
            }
        }
    assert(seen == page_count && table == table_count);
    for (at = table_count ? writer->page + TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES : at, table = 0; table < table_count; table++)
        at = store_entry(at, &tables[table]);
    *filled = (uint32_t)(at - writer->page) - TEXT_HEADER_BYTES;
    return MOTE_OK;
}

static void fill_root(struct text_writer *writer, uint32_t table_count)
{
    uint8_t *payload = writer->page + TEXT_HEADER_BYTES;
    const struct text_totals *totals = &writer->totals;
    store_u16(payload, (uint16_t)writer->options.language);
    store_u16(payload + 2, writer->options.keep_diacritics ? TEXT_FLAG_KEEP_DIACRITICS : 0);
    store_u32(payload + 4, TEXT_ANALYSIS_VERSION);
    store_u64(payload + 8, totals->documents);
    store_u64(payload + 16, totals->tokens);
    store_u64(payload + 24, totals->postings);
    store_u64(payload + 32, totals->terms);
    store_u64(payload + 40, totals->term_bytes);
    store_u32(payload + 48, totals->ordinal_end);
    store_u32(payload + 52, totals->inner_levels);
    store_u64(payload + 56, totals->skips);
    store_u32(payload + 64, totals->documents ? totals->length_min : 0);
    store_u32(payload + 68, table_count);
    for (uint32_t i = 0; i < TEXT_STREAMS; i++)
        store_u32(payload + 72 + 4 * (size_t)i, writer->streams[i].pages);
}

int text_writer_finish(struct text_writer *writer, struct section_root *root)
{
    struct text_totals *totals = &writer->totals;
    int result = end_term(writer);
    if (!result)
        result = text_dictionary_finish(&writer->dictionary, &totals->inner_levels);
    for (uint32_t number = TEXT_POSTINGS; !result && number <= TEXT_SKIPS; number++)
        result = flush_stream(writer, (enum text_stream_number)number);
    if (!result && totals->ordinal_end > 0)
        result = write_lengths(writer, (totals->ordinal_end - 1) % TEXT_LENGTHS_PER_PAGE + 1);
    if (result)
        return result;
    uint64_t page_count = 0;
    for (uint32_t i = 0; i < TEXT_STREAMS; i++)
        page_count += writer->streams[i].pages;
    if (page_count > (uint64_t)TEXT_FANOUT * TEXT_FANOUT)
        return error_set(MOTE_ETOOBIG, "a text index of %llu pages is longer than a section can be; build smaller segments", (unsigned long long)page_count);
    uint32_t table_count = page_count > TEXT_FANOUT ? (uint32_t)divide_up(page_count, TEXT_FANOUT) : 0, filled;
    struct text_page_entry *tables = table_count ? memory_alloc(writer->memory, table_count * sizeof *tables) : NULL, entry;
    if (table_count && !tables)
        return MOTE_EBUDGET;
    result = write_table(writer, page_count, tables, table_count, &filled);
    memory_free(writer->memory, tables);
    if (result)
        return result;
    fill_root(writer, table_count);
    result = write_page(writer, TEXT_MAGIC_ROOT, 0, filled, &entry);
    *root = (struct section_root){.kind = INDEX_TEXT, .length_bytes = writer->end_bytes, .root_offset_bytes = entry.offset_bytes, .root_bytes = entry.length_bytes, .root_crc = entry.crc};
    return result;
}

uint64_t text_section_bytes_bound(uint64_t ordinals, uint64_t terms, uint64_t term_bytes, uint64_t postings, uint64_t tokens)
{
    /* A leaf's entry is at most its own bytes and 42 more with its restart; inner levels have at most a hundredth of that. A posting: 4 bytes of ordinal, 4 of frequency; a block of a term adds 30. A position: 5 bytes. */
    uint64_t payload = (term_bytes + terms * 42) + (term_bytes + terms * 42) / 50 + postings * 8 + (terms + postings / TEXT_BLOCK_POSTINGS + 1) * 30 + tokens * 5 + ordinals * 4;
    /* Pages are left when the next entry or block does not fit: at most a seventh of a page is lost, and each has a header and an entry. */
    uint64_t pages = payload / (TEXT_PAYLOAD_BYTES - TEXT_BLOCK_BYTES_MAX - TEXT_SKIP_BYTES) + ordinals / TEXT_LENGTHS_PER_PAGE + TEXT_STREAMS * 2 + TEXT_DICTIONARY_LEVELS_MAX;
    return payload + pages * (TEXT_HEADER_BYTES + TEXT_PAGE_ENTRY_BYTES + TEXT_LENGTHS_HEADER_BYTES + TEXT_DICTIONARY_HEADER_BYTES) + INDEX_PAGE_BYTES_MAX;
}
