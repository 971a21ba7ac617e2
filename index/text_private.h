/* text_private.h: what the parts of the text index share: the writer of sections, their reader, the dictionary, cursors over postings, and the parsed query. */
#ifndef MOTE_INDEX_TEXT_PRIVATE_H
#define MOTE_INDEX_TEXT_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "index/text_format.h"

#define TEXT_END UINT32_MAX /* the ordinal behind all */
#define TEXT_VARINT_BYTES_MAX 10u

struct text_page_entry {
    uint64_t offset_bytes;
    uint32_t length_bytes, crc;
};

/* Of the root. */
struct text_totals {
    uint64_t documents, tokens, postings, terms, term_bytes, skips;
    uint32_t ordinal_end, inner_levels, length_min;
};

static inline uint8_t *text_varint_store(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

static inline uint64_t text_varint_read(struct byte_reader *reader)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(reader);
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    reader->failed = true;
    return 0;
}

static inline uint32_t text_bits_of(uint32_t value) { return value ? 32u - (uint32_t)__builtin_clz(value) : 0; }

/* count values of `bits` bits each, packed from the lowest bit up. Both may touch up to 7 bytes behind the last one. */
static inline void text_bits_pack(uint8_t *at, const uint32_t *values, uint32_t count, uint32_t bits)
{
    uint64_t held = 0;
    uint32_t held_bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        held |= (uint64_t)values[i] << held_bits;
        for (held_bits += bits; held_bits >= 8; held_bits -= 8, held >>= 8)
            *at++ = (uint8_t)held;
    }
    if (held_bits > 0)
        *at = (uint8_t)held;
}

static inline void text_bits_unpack(const uint8_t *at, uint32_t *values, uint32_t count, uint32_t bits)
{
    uint64_t mask = (1ull << bits) - 1;
    for (uint64_t i = 0, bit = 0; i < count; i++, bit += bits)
        values[i] = (uint32_t)(load_u64(at + bit / 8) >> (bit % 8) & mask);
}

/* ---- text_analyse.c ---- */

const struct text_options *text_analyser_options(const struct text_analyser *analyser);

/* ---- text_write.c: a section out of terms in ascending order, each with postings in ascending order ---- */

struct text_writer;
int text_writer_create(struct memory *memory, const struct text_options *options, const struct section_identity *identity, const struct section_sink *sink, struct text_writer **writer);
void text_writer_destroy(struct text_writer *writer);
int text_writer_term(struct text_writer *writer, const uint8_t *term, uint32_t term_bytes); /* begins a term, whose postings follow, and ends the one before; one without postings leaves no trace */
int text_writer_posting(struct text_writer *writer, uint32_t ordinal, uint32_t document_length); /* its positions follow, at least one */
int text_writer_position(struct text_writer *writer, uint32_t position);
int text_writer_length(struct text_writer *writer, uint32_t ordinal, uint32_t document_length); /* after all terms: the documents in ascending order */
int text_writer_finish(struct text_writer *writer, struct section_root *root);
uint64_t text_section_bytes_bound(uint64_t ordinals, uint64_t terms, uint64_t term_bytes, uint64_t postings, uint64_t tokens);

/* ---- text_dictionary.c: the writer's half of the dictionary ---- */

/* Pages under construction of one level. */
struct text_level {
    uint8_t *payload; /* TEXT_PAYLOAD_BYTES; NULL: nothing came to this level */
    uint32_t fill_bytes, entries, restarts, pages;
    uint16_t restart_offsets[TEXT_PAYLOAD_BYTES / 4 / TEXT_RESTART_ENTRIES + 1];
    uint8_t first[TEXT_TERM_BYTES_MAX], last[TEXT_TERM_BYTES_MAX];
    uint32_t first_bytes, last_bytes;
    uint64_t bases[3]; /* of a leaf */
};
struct text_leaf_entry {
    const uint8_t *term;
    uint32_t term_bytes;
    enum text_term_kind kind;
    uint32_t documents, ordinal, position;
    uint64_t occurrences, postings_at, positions_at, skip_first;
};
struct text_dictionary_writer {
    struct memory *memory;
    int (*write_page)(void *context, enum text_stream_number stream, const uint8_t *payload, uint32_t payload_bytes, uint32_t *number);
    void *context;
    struct text_level levels[TEXT_DICTIONARY_LEVELS_MAX + 1];
};
int text_dictionary_add(struct text_dictionary_writer *dictionary, const struct text_leaf_entry *entry);
int text_dictionary_finish(struct text_dictionary_writer *dictionary, uint32_t *inner_levels);
void text_dictionary_free(struct text_dictionary_writer *dictionary);

/* ---- text_read.c: an open section ---- */

struct text_page {
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint32_t number;
    void *handle; /* NULL: nothing is pinned */
};
struct text_section {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    struct memory *memory;
    const uint8_t *root_page;
    void *root_handle;
    const uint8_t *table_page;
    void *table_handle;
    uint32_t table_number; /* UINT32_MAX: none is pinned */
    uint32_t language, flags, table_pages, pages[TEXT_STREAMS], first_pages[TEXT_STREAMS], page_count;
    struct text_totals totals;
    struct text_page lengths; /* the last one used */
};
/* The section is filled, whether it can be opened or not; close it in either case. */
int text_section_open(struct text_section *section, struct memory *memory, const struct section_identity *identity, const struct section_root *root, const struct section_source *source);
void text_section_close(struct text_section *section);
int text_section_expect(const struct text_section *section, const struct text_options *options);
int text_section_refuse(const struct text_section *section, const char *what);
/* Pins page `number` of a stream; the page that *page holds is released, unless it is this one. */
int text_page_pin(struct text_section *section, enum text_stream_number stream, uint32_t number, struct text_page *page);
void text_page_release(struct text_section *section, struct text_page *page);
/* Length of a document; *is_document false: the ordinal has none. */
int text_section_length(struct text_section *section, uint32_t ordinal, uint32_t *length, bool *is_document);

/* A term as the dictionary has it. */
struct text_term {
    enum text_term_kind kind;
    uint32_t documents, ordinal, position; /* ordinal, position: of TEXT_TERM_INLINE */
    uint64_t occurrences, postings_at, positions_at, skip_first;
};
/* Terms in ascending order, from one on. */
struct text_terms {
    struct text_section *section;
    struct text_page page;
    uint32_t leaf, index, at_bytes; /* of the next entry */
    uint8_t term[TEXT_TERM_BYTES_MAX];
    uint32_t term_bytes;
    struct text_term entry;
    bool ended; /* there is no term here */
};
int text_terms_seek(struct text_terms *terms, struct text_section *section, const uint8_t *bytes, uint32_t byte_count); /* the first term that is not below */
int text_terms_next(struct text_terms *terms);
void text_terms_close(struct text_terms *terms);
int text_compare(const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes);
/* A page of terms, and a reader at its first entry; then an inner page's next entry: its term (after the one in term) and its child. */
int text_inner_entry(struct text_section *section, const struct text_page *page, uint32_t level, struct byte_reader *reader, uint8_t *term, uint32_t *term_bytes, uint32_t *child);
int text_dictionary_page(struct text_section *section, enum text_stream_number stream, uint32_t number, uint32_t level, struct text_page *page, struct byte_reader *reader, uint32_t *entries);

/* ---- text_postings.c: a cursor over a term's postings ---- */

struct text_numbers { /* grows as it is filled */
    uint32_t *values;
    uint32_t count, capacity;
};
struct text_skip {
    uint32_t last_ordinal, frequency_max, length_min;
    uint64_t postings_at, positions_at;
};
struct text_cursor {
    struct text_section *section;
    struct text_term term;
    uint32_t at; /* the present ordinal, TEXT_END behind the last */
    uint32_t block_count, block, count, index; /* block UINT32_MAX: none is decoded */
    uint32_t *ordinals, *frequencies;          /* min(documents, 128) each */
    uint64_t positions_at;                     /* of the posting positions_index of the block */
    uint32_t positions_index;
    struct text_page skips, postings, positions; /* the last two are kept only by text_cursor_create */
    bool reused;
    uint32_t bound_block; /* whose skip entry is in bound; UINT32_MAX: none */
    struct text_skip bound;
};
int text_cursor_open(struct text_section *section, const struct text_term *term, struct text_cursor **cursor);
/* One for many terms, one after the other (text_cursor_start); it keeps a page of postings and one of positions pinned. */
int text_cursor_create(struct text_section *section, struct text_cursor **cursor);
int text_cursor_start(struct text_cursor *cursor, const struct text_term *term);
void text_cursor_close(struct text_cursor *cursor);
int text_cursor_rewind(struct text_cursor *cursor);
int text_cursor_seek(struct text_cursor *cursor, uint32_t target); /* forward to the first ordinal that is not below */
static inline uint32_t text_cursor_frequency(const struct text_cursor *cursor) { return cursor->frequencies[cursor->index]; }
/* Of the present posting, appended to numbers; ascending or MOTE_EDAMAGED. Called at most once for a posting unless rewound. */
int text_cursor_positions(struct text_cursor *cursor, struct text_numbers *numbers);
/* Highest frequency and smallest length among the term's postings from target up to *until (TEXT_END: the end); *frequency_max 0: there are none. */
int text_cursor_bound(struct text_cursor *cursor, uint32_t target, uint32_t *frequency_max, uint32_t *length_min, uint32_t *until);
int text_skip_load(struct text_cursor *cursor, uint32_t block, struct text_skip *skip);
int text_numbers_add(struct memory *memory, struct text_numbers *numbers, uint32_t value);
void text_numbers_sort(struct text_numbers *numbers);

/* ---- text_query.c, text_match.c ---- */

enum text_node_kind { TEXT_NODE_LEAF, TEXT_NODE_AND, TEXT_NODE_OR, TEXT_NODE_NOT };
#define TEXT_NODES_MAX (2 * TEXT_QUERY_LEAVES_MAX)
#define TEXT_NODE_NONE UINT16_MAX
struct text_node {
    enum text_node_kind kind;
    uint16_t leaf;              /* of a leaf */
    uint16_t first, sibling;    /* children and the next child of the parent, in the query's order; TEXT_NODE_NONE */
};
struct text_item {
    uint8_t term[TEXT_TERM_BYTES_MAX];
    uint8_t term_bytes;
    bool prefix;
    uint8_t offset; /* from the phrase's first word, in positions */
};
struct text_leaf {
    uint16_t item_first, item_count;
};
struct text_query {
    uint32_t node_count, leaf_count, item_count;
    uint16_t root; /* TEXT_NODE_NONE: matches nothing */
    struct text_node nodes[TEXT_NODES_MAX]; /* children stand before their parent */
    struct text_leaf leaves[TEXT_QUERY_LEAVES_MAX];
    struct text_item items[TEXT_QUERY_TERMS_MAX];
};
struct text_scoring {
    double weights[TEXT_QUERY_LEAVES_MAX]; /* idf * (k1 + 1) */
    double length_weight;                  /* k1 * b / average length */
};
void text_scoring_prepare(const struct text_query *query, const struct text_statistics *statistics, struct text_scoring *scoring);
double text_leaf_score(const struct text_scoring *scoring, uint32_t leaf, uint32_t frequency, uint32_t length);
/* Whether a document with these frequencies of the leaves matches, and its score (scoring NULL: 0). */
bool text_query_evaluate(const struct text_query *query, const struct text_scoring *scoring, const uint32_t *frequencies, uint32_t length, double *score);

#endif
