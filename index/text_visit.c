/* text_visit.c: all that a text section holds, word by word, for whoever compares it with the texts (text.h).
 *
 * Threads: one. Failures: MOTE_EINVAL (a section of other options), MOTE_EDAMAGED, MOTE_EBUDGET, and what source and visit return.
 */
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

struct visitor {
    struct text_section section;
    struct text_numbers positions;
    int (*visit)(void *context, const struct text_occurrence *occurrence);
    void *context;
};

static int visit_postings(struct visitor *visitor, struct text_cursor *cursor, struct text_occurrence *occurrence)
{
    int result = MOTE_OK;
    while (!result && cursor->at != TEXT_END) {
        visitor->positions.count = 0;
        result = text_cursor_positions(cursor, &visitor->positions);
        occurrence->ordinal = cursor->at;
        for (uint32_t i = 0; i < visitor->positions.count && !result; i++) {
            occurrence->position = visitor->positions.values[i];
            result = visitor->visit(visitor->context, occurrence);
        }
        if (!result)
            result = text_cursor_seek(cursor, cursor->at + 1);
    }
    return result;
}

static int visit_terms(struct visitor *visitor)
{
    struct text_terms terms;
    int result = text_terms_seek(&terms, &visitor->section, (const uint8_t *)"", 0);
    while (!result && !terms.ended) {
        struct text_occurrence occurrence = {.term = terms.term, .term_bytes = terms.term_bytes};
        struct text_cursor *cursor = NULL;
        result = text_cursor_open(&visitor->section, &terms.entry, &cursor);
        if (!result)
            result = visit_postings(visitor, cursor, &occurrence);
        text_cursor_close(cursor);
        if (!result)
            result = text_terms_next(&terms);
    }
    text_terms_close(&terms);
    return result;
}

static int visit_documents(struct visitor *visitor)
{
    int result = MOTE_OK;
    for (uint32_t ordinal = 0; ordinal < visitor->section.totals.ordinal_end && !result; ordinal++) {
        struct text_occurrence document = {.ordinal = ordinal};
        bool is_document;
        result = text_section_length(&visitor->section, ordinal, &document.position, &is_document);
        if (!result && is_document)
            result = visitor->visit(visitor->context, &document);
    }
    return result;
}

int text_visit(const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory,
               int (*visit)(void *context, const struct text_occurrence *occurrence), void *context)
{
    struct visitor visitor = {.visit = visit, .context = context};
    int result = text_section_open(&visitor.section, memory, identity, root, source);
    if (!result)
        result = text_section_expect(&visitor.section, options);
    if (!result)
        result = visit_terms(&visitor);
    if (!result)
        result = visit_documents(&visitor);
    memory_free(memory, visitor.positions.values);
    text_section_close(&visitor.section);
    return result;
}
