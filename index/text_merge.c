/* text_merge.c: one text section out of several (and out of what survives of each), term by term and posting by posting through the writer.
 *
 * Memory: for each input its root, a page of each stream and a cursor; the lengths of the documents that survive; the writer's pages; the positions of one document. The new ordinals are the caller's.
 * Parts of one index (new_ordinals NULL): a text that was cut is the last document of a part, the only one of those after it, and the first of the one where it ends; its positions go on from part to part, and the last of these parts has
 * its length. Its postings of one word become one.
 * Invariants: within each input new ordinals ascend with old ones, over all inputs none comes twice: what breaks that is MOTE_EINVAL. Threads: one. Failures: MOTE_EDAMAGED (an input), MOTE_EBUDGET, and what sources and sink return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

#define NO_DOCUMENT UINT32_MAX

struct side {
    const struct section_merge_input *input;
    struct text_section section;
    struct text_terms terms;
    struct text_cursor *cursor;
    uint32_t ordinal;            /* the next document's, old and new; new TEXT_END: there is none */
    uint32_t new_ordinal;
    uint32_t *lengths;           /* of the rows that are mapped, or NO_DOCUMENT; NULL: of parts */
    uint32_t last_length;        /* of parts: of its last document, where that ends */
};
struct merge {
    struct memory *memory;
    struct side *sides;
    uint32_t side_count;
    struct side **present; /* those that have the present term, in their order */
    uint32_t present_count;
    bool parts;
    struct text_writer *writer;
    struct text_numbers positions;
};

static uint32_t renumber(const struct side *side, uint32_t ordinal)
{
    const struct section_merge_input *input = side->input;
    if (!input->new_ordinals)
        return ordinal;
    uint32_t at = ordinal - input->first_ordinal;
    return at < input->mapped_count ? input->new_ordinals[at] : TEXT_DROPPED;
}

static int find_length(struct side *side, uint32_t ordinal, uint32_t *length, bool *is_document)
{
    if (!side->lengths)
        return text_section_length(&side->section, ordinal, length, is_document);
    *length = side->lengths[ordinal - side->input->first_ordinal];
    *is_document = *length != NO_DOCUMENT;
    return MOTE_OK;
}

/* Read once, in their order: postings come term by term. */
static int load_lengths(struct merge *merge, struct side *side)
{
    const struct section_merge_input *input = side->input;
    side->lengths = memory_alloc(merge->memory, ((size_t)input->mapped_count + 1) * sizeof *side->lengths);
    if (!side->lengths)
        return MOTE_EBUDGET;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < input->mapped_count && !result; i++) {
        uint32_t length;
        bool is_document = false;
        if (input->new_ordinals[i] != TEXT_DROPPED)
            result = text_section_length(&side->section, input->first_ordinal + i, &length, &is_document);
        side->lengths[i] = is_document ? length : NO_DOCUMENT;
    }
    return result;
}

static int open_sides(struct merge *merge, const struct section_merge_input *inputs, const struct text_options *options)
{
    for (uint32_t i = 0; i < merge->side_count; i++) {
        struct side *side = &merge->sides[i];
        side->input = &inputs[i];
        int result = text_section_open(&side->section, merge->memory, inputs[i].identity, inputs[i].root, inputs[i].source);
        if (!result && options)
            result = text_section_expect(&side->section, options);
        if (!result && side->section.totals.ordinal_end > inputs[i].row_count)
            result = text_section_refuse(&side->section, "it has more rows than its segment");
        if (!result && options)
            result = text_terms_seek(&side->terms, &side->section, (const uint8_t *)"", 0);
        if (!result && options)
            result = text_cursor_create(&side->section, &side->cursor);
        if (!result && options && inputs[i].new_ordinals)
            result = load_lengths(merge, side);
        if (result)
            return result;
    }
    return MOTE_OK;
}

static void close_sides(struct merge *merge)
{
    for (uint32_t i = 0; merge->sides && i < merge->side_count; i++) {
        struct side *side = &merge->sides[i];
        text_cursor_close(side->cursor);
        text_terms_close(&side->terms);
        if (side->input)
            text_section_close(&side->section);
        memory_free(merge->memory, side->lengths);
    }
    memory_free(merge->memory, merge->sides);
    memory_free(merge->memory, merge->present);
    memory_free(merge->memory, merge->positions.values);
}

/* The cursor's next posting, from the present one on, whose document survives. */
static int find_survivor(struct side *side)
{
    const struct section_merge_input *input = side->input;
    int result = input->new_ordinals && side->cursor->at < input->first_ordinal ? text_cursor_seek(side->cursor, input->first_ordinal) : MOTE_OK;
    while (!result && side->cursor->at != TEXT_END) {
        if (input->new_ordinals && side->cursor->at - input->first_ordinal >= input->mapped_count)
            break;
        side->new_ordinal = renumber(side, side->cursor->at);
        if (side->new_ordinal != TEXT_DROPPED)
            return MOTE_OK;
        result = text_cursor_seek(side->cursor, side->cursor->at + 1);
    }
    side->new_ordinal = TEXT_END;
    return result;
}

/* Of those that have the present term, or of all (documents): the side whose next document comes first; *until: the next one of the others. */
static struct side *lowest_side(struct side *const *sides, uint32_t count, uint32_t *until)
{
    struct side *lowest = NULL;
    *until = TEXT_END;
    for (uint32_t i = 0; i < count; i++) {
        struct side *side = sides[i];
        if (side->new_ordinal == TEXT_END)
            continue;
        if (!lowest || side->new_ordinal < lowest->new_ordinal) {
            *until = lowest ? lowest->new_ordinal : TEXT_END;
            lowest = side;
        } else if (side->new_ordinal < *until) {
            *until = side->new_ordinal;
        }
    }
    return lowest;
}

static int refuse_order(uint32_t ordinal) { return error_set(MOTE_EINVAL, "the new ordinal %u of a merge of text indexes is not above the one before; number the rows in the order of the output", ordinal); }

/* Of parts: where the last document of each ends there are the words of all of it. */
static int find_last_lengths(struct merge *merge)
{
    for (uint32_t i = merge->side_count; i-- > 0;) {
        struct side *side = &merge->sides[i], *next = i + 1 < merge->side_count ? side + 1 : NULL;
        uint32_t end = side->section.totals.ordinal_end, length;
        bool is_document = false, goes_on = false;
        int result = end ? text_section_length(&side->section, end - 1, &side->last_length, &is_document) : MOTE_OK;
        if (!result && end && next && next->section.totals.ordinal_end >= end)
            result = text_section_length(&next->section, end - 1, &length, &goes_on);
        if (result)
            return result;
        if (goes_on)
            side->last_length = next->section.totals.ordinal_end == end ? next->last_length : length;
    }
    return MOTE_OK;
}

/* first: of its document, which has no posting of the present term yet; else its positions go on. */
static int write_posting(struct merge *merge, struct side *side, bool first)
{
    uint32_t length, before = merge->positions.count && !first ? merge->positions.values[merge->positions.count - 1] : 0;
    bool is_document;
    merge->positions.count = 0;
    int result = find_length(side, side->cursor->at, &length, &is_document);
    if (!result && !is_document)
        result = text_section_refuse(&side->section, "postings of a row without a text");
    if (!result)
        result = text_cursor_positions(side->cursor, &merge->positions);
    if (!result && !first && merge->positions.count && merge->positions.values[0] <= before)
        result = text_section_refuse(&side->section, "positions out of order");
    if (merge->parts && side->cursor->at + 1 == side->section.totals.ordinal_end)
        length = side->last_length;
    if (!result && first)
        result = text_writer_posting(merge->writer, side->new_ordinal, length);
    for (uint32_t i = 0; i < merge->positions.count && !result; i++)
        result = text_writer_position(merge->writer, merge->positions.values[i]);
    if (!result)
        result = text_cursor_seek(side->cursor, side->cursor->at + 1);
    return result ? result : find_survivor(side);
}

/* Whether the side's next document may follow: after the one before, or (of parts) as the rest of it. */
static bool may_follow(const struct merge *merge, const struct side *side, uint64_t next_ordinal)
{
    return side->new_ordinal >= next_ordinal || (merge->parts && (uint64_t)side->new_ordinal + 1 == next_ordinal);
}

/* The postings of the sides that are present. */
static int merge_postings(struct merge *merge, const uint8_t *term, uint32_t term_bytes)
{
    int result = text_writer_term(merge->writer, term, term_bytes);
    for (uint32_t i = 0; i < merge->present_count && !result; i++) {
        struct side *side = merge->present[i];
        result = text_cursor_start(side->cursor, &side->terms.entry);
        if (!result)
            result = find_survivor(side);
    }
    uint64_t next_ordinal = 0;
    uint32_t until;
    for (struct side *side; !result && (side = lowest_side(merge->present, merge->present_count, &until)) != NULL;)
        do {
            if (!may_follow(merge, side, next_ordinal))
                return refuse_order(side->new_ordinal);
            bool first = side->new_ordinal >= next_ordinal;
            next_ordinal = (uint64_t)side->new_ordinal + 1;
            result = write_posting(merge, side, first);
        } while (!result && side->new_ordinal < until);
    return result;
}

/* Those that stand at the least term of all. */
static void find_present(struct merge *merge)
{
    merge->present_count = 0;
    for (uint32_t i = 0; i < merge->side_count; i++) {
        struct side *side = &merge->sides[i];
        const struct text_terms *least = merge->present_count ? &merge->present[0]->terms : NULL;
        if (side->terms.ended)
            continue;
        int order = least ? text_compare(side->terms.term, side->terms.term_bytes, least->term, least->term_bytes) : 0;
        if (order < 0)
            merge->present_count = 0;
        if (order <= 0)
            merge->present[merge->present_count++] = side;
    }
}

static int merge_terms(struct merge *merge)
{
    uint8_t term[TEXT_TERM_BYTES_MAX];
    int result = MOTE_OK;
    for (find_present(merge); merge->present_count && !result; find_present(merge)) {
        uint32_t term_bytes = merge->present[0]->terms.term_bytes;
        memcpy(term, merge->present[0]->terms.term, term_bytes);
        result = merge_postings(merge, term, term_bytes);
        for (uint32_t i = 0; i < merge->present_count && !result; i++) {
            struct text_terms *terms = &merge->present[i]->terms;
            result = text_terms_next(terms);
            if (!result && !terms->ended && text_compare(terms->term, terms->term_bytes, term, term_bytes) <= 0)
                result = text_section_refuse(terms->section, "terms out of order");
        }
    }
    return result;
}

/* The next document of a side, from side->ordinal on, that survives. */
static int find_document(struct side *side, uint32_t *length)
{
    const struct section_merge_input *input = side->input;
    uint64_t end = side->section.totals.ordinal_end;
    if (input->new_ordinals && (uint64_t)input->first_ordinal + input->mapped_count < end)
        end = (uint64_t)input->first_ordinal + input->mapped_count;
    for (; side->ordinal < end; side->ordinal++) {
        bool is_document;
        side->new_ordinal = renumber(side, side->ordinal);
        if (side->new_ordinal == TEXT_DROPPED)
            continue;
        int result = find_length(side, side->ordinal, length, &is_document);
        if (result || is_document)
            return result;
    }
    side->new_ordinal = TEXT_END;
    return MOTE_OK;
}

static int write_length(struct merge *merge, struct side *side, bool first)
{
    uint32_t length;
    int result = find_document(side, &length); /* once more, for its length */
    if (merge->parts && side->ordinal + 1 == side->section.totals.ordinal_end)
        length = side->last_length;
    if (!result && first)
        result = text_writer_length(merge->writer, side->new_ordinal, length);
    side->ordinal++;
    return result ? result : find_document(side, &length);
}

static int merge_lengths(struct merge *merge)
{
    uint64_t next_ordinal = 0;
    uint32_t length, until;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < merge->side_count && !result; i++) {
        merge->present[i] = &merge->sides[i];
        merge->sides[i].ordinal = merge->parts ? 0 : merge->sides[i].input->first_ordinal;
        result = find_document(&merge->sides[i], &length);
    }
    for (struct side *side; !result && (side = lowest_side(merge->present, merge->side_count, &until)) != NULL;)
        do {
            if (!may_follow(merge, side, next_ordinal))
                return refuse_order(side->new_ordinal);
            bool first = side->new_ordinal >= next_ordinal;
            next_ordinal = (uint64_t)side->new_ordinal + 1;
            result = write_length(merge, side, first);
        } while (!result && side->new_ordinal < until);
    return result;
}

int text_merge(struct memory *memory, const struct text_options *options, const struct section_merge_input *inputs, uint32_t input_count, const struct section_identity *identity, const struct section_sink *sink,
               struct section_root *root)
{
    struct merge merge = {.memory = memory, .side_count = input_count, .parts = input_count && !inputs[0].new_ordinals};
    merge.sides = memory_alloc_zero(memory, (input_count + 1) * sizeof *merge.sides);
    merge.present = memory_alloc(memory, (input_count + 1) * sizeof(struct side *));
    int result = merge.sides && merge.present ? text_writer_create(memory, options, identity, sink, &merge.writer) : MOTE_EBUDGET;
    if (!result)
        result = open_sides(&merge, inputs, options);
    if (!result && merge.parts)
        result = find_last_lengths(&merge);
    if (!result)
        result = merge_terms(&merge);
    if (!result)
        result = merge_lengths(&merge);
    if (!result)
        result = text_writer_finish(merge.writer, root);
    close_sides(&merge);
    text_writer_destroy(merge.writer);
    return result;
}

/* Of the documents that survive. *end: above their new ordinals. */
static int count_words(struct merge *merge, struct side *side, uint64_t *end, uint64_t *words)
{
    int result = load_lengths(merge, side);
    *end = *words = 0;
    for (uint32_t i = 0; i < side->input->mapped_count && !result; i++) {
        if (side->lengths[i] == NO_DOCUMENT)
            continue;
        *words += side->lengths[i];
        *end = (uint64_t)side->input->new_ordinals[i] + 1;
    }
    return result;
}

int text_merge_section_bytes_bound(struct memory *memory, const struct section_merge_input *inputs, uint32_t input_count, uint64_t *bytes)
{
    struct merge merge = {.memory = memory, .side_count = input_count};
    uint64_t ordinals = 0, terms = 0, term_bytes = 0, postings = 0, tokens = 0;
    *bytes = 0;
    merge.sides = memory_alloc_zero(memory, (input_count + 1) * sizeof *merge.sides);
    if (!merge.sides)
        return MOTE_EBUDGET;
    int result = open_sides(&merge, inputs, NULL);
    for (uint32_t i = 0; i < input_count && !result; i++) {
        struct side *side = &merge.sides[i];
        const struct text_totals *totals = &side->section.totals;
        uint64_t end = totals->ordinal_end, words = totals->tokens;
        if (inputs[i].new_ordinals)
            result = count_words(&merge, side, &end, &words);
        terms += totals->terms < words ? totals->terms : words;
        term_bytes += totals->term_bytes;
        postings += totals->postings < words ? totals->postings : words;
        tokens += words;
        ordinals = end > ordinals ? end : ordinals;
    }
    close_sides(&merge);
    if (!result)
        *bytes = text_section_bytes_bound(ordinals, terms, term_bytes, postings, tokens);
    return result;
}
