/* text_leaf.c: the words, prefixes and phrases of a query in one section: where each occurs next, how often, and how much it can add to a score.
 *
 * A word is one cursor; a prefix a heap of the cursors of its terms, ordered by where they are; a phrase the intersection of its words, with their positions compared where all meet.
 * Memory: for each term a cursor (at most 1.3 KiB, less for a rare one); for a phrase the positions of one document; for a phrase or prefix that was counted, up to 256 KiB of its documents, so that it is not evaluated twice;
 * they may outlive the search (struct text_findings).
 * Threads: those of the search. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, MOTE_ETOOBIG (a prefix of too many terms), and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_search_private.h"

#define NOTED_VALUES_MAX (2u * 32768u)

/* ---- One word or prefix: cursors in a heap ---- */

static uint32_t heads_at(const struct text_heads *heads) { return heads->count ? heads->cursors[0]->at : TEXT_END; }

static void sift_down(struct text_heads *heads, uint32_t at)
{
    struct text_cursor **cursors = heads->cursors, *moved = cursors[at];
    for (uint64_t child; (child = 2 * (uint64_t)at + 1) < heads->count; at = (uint32_t)child) {
        child += child + 1 < heads->count && cursors[child + 1]->at < cursors[child]->at;
        if (cursors[child]->at >= moved->at)
            break;
        cursors[at] = cursors[child];
    }
    cursors[at] = moved;
}

static int heads_seek(struct text_heads *heads, uint32_t target)
{
    while (heads_at(heads) < target) {
        int result = text_cursor_seek(heads->cursors[0], target);
        if (result)
            return result;
        sift_down(heads, 0);
    }
    return MOTE_OK;
}

static int heads_rewind(struct text_heads *heads)
{
    for (uint32_t i = 0; i < heads->count; i++) {
        int result = text_cursor_rewind(heads->cursors[i]);
        if (result)
            return result;
    }
    for (uint32_t i = heads->count / 2; i-- > 0;)
        sift_down(heads, i);
    return MOTE_OK;
}

/* The heap's next place, in its own order, that is not below a place whose cursor stands elsewhere: those at the top's ordinal are a subtree around the root. count: no more. */
static uint32_t next_head(const struct text_heads *heads, uint32_t i)
{
    if (2 * (uint64_t)i + 1 < heads->count && heads->cursors[i]->at == heads->cursors[0]->at)
        return 2 * i + 1;
    while (i > 0 && (i % 2 == 0 || i + 1 >= heads->count))
        i = (i - 1) / 2;
    return i == 0 ? heads->count : i + 1;
}

static uint32_t heads_frequency(const struct text_heads *heads)
{
    uint32_t at = heads_at(heads);
    uint64_t frequency = 0;
    for (uint32_t i = 0; i < heads->count; i = next_head(heads, i))
        frequency += heads->cursors[i]->at == at ? text_cursor_frequency(heads->cursors[i]) : 0;
    return frequency < UINT32_MAX ? (uint32_t)frequency : UINT32_MAX;
}

/* Of the present document, ascending. */
static int heads_positions(struct text_heads *heads, struct text_numbers *numbers)
{
    uint32_t at = heads_at(heads), met = 0;
    numbers->count = 0;
    for (uint32_t i = 0; i < heads->count; i = next_head(heads, i)) {
        if (heads->cursors[i]->at != at)
            continue;
        int result = text_cursor_positions(heads->cursors[i], numbers);
        if (result)
            return result;
        met++;
    }
    if (met > 1)
        text_numbers_sort(numbers);
    return MOTE_OK;
}

static int heads_add(struct text_section *section, struct text_heads *heads, const struct text_term *term)
{
    if (heads->count == heads->capacity) {
        if (heads->count >= TEXT_PREFIX_TERMS_MAX)
            return error_set(MOTE_ETOOBIG, "a prefix of the query stands for more than %u words; write more of the word", TEXT_PREFIX_TERMS_MAX);
        uint32_t capacity = heads->capacity ? heads->capacity * 2 : 1;
        struct text_cursor **grown = memory_realloc(section->memory, heads->cursors, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        heads->cursors = grown;
        heads->capacity = capacity;
    }
    int result = text_cursor_open(section, term, &heads->cursors[heads->count]);
    if (!result) {
        heads->count++;
        heads->documents += term->documents;
    }
    return result;
}

static int heads_open(struct text_section *section, struct text_heads *heads, const struct text_item *item)
{
    struct text_terms terms;
    int result = text_terms_seek(&terms, section, item->term, item->term_bytes);
    while (!result && !terms.ended && terms.term_bytes >= item->term_bytes && memcmp(terms.term, item->term, item->term_bytes) == 0) {
        if (!item->prefix && terms.term_bytes != item->term_bytes)
            break;
        result = heads_add(section, heads, &terms.entry);
        if (result || !item->prefix)
            break;
        result = text_terms_next(&terms);
    }
    text_terms_close(&terms);
    for (uint32_t i = heads->count / 2; i-- > 0;)
        sift_down(heads, i);
    return result;
}

/* ---- A leaf ---- */

int text_leaf_open(struct text_section *section, struct text_leaf_state *state, const struct text_item *items, uint32_t item_count)
{
    int result = MOTE_OK;
    *state = (struct text_leaf_state){.section = section, .items = items, .item_count = item_count};
    state->heads = memory_alloc_zero(section->memory, item_count * sizeof *state->heads);
    if (!state->heads)
        return MOTE_EBUDGET;
    state->documents_max = UINT32_MAX;
    for (uint32_t i = 0; i < item_count && !result; i++) {
        result = heads_open(section, &state->heads[i], &items[i]);
        if (state->heads[i].documents < state->documents_max)
            state->documents_max = state->heads[i].documents;
    }
    return result;
}

bool text_leaf_keep(struct text_leaf_state *state, uint64_t bytes_max, struct text_leaf_finding *finding)
{
    struct text_numbers noted = state->noted;
    if (!state->is_noted || noted.count * sizeof *noted.values > bytes_max)
        return false;
    if (noted.count > 0 && noted.count < noted.capacity) {
        uint32_t *values = memory_realloc(state->section->memory, noted.values, noted.count * sizeof *values);
        noted.values = values ? values : noted.values;
        noted.capacity = values ? noted.count : noted.capacity;
    }
    *finding = (struct text_leaf_finding){noted, state->noted_frequency_max, state->documents_max};
    state->noted = (struct text_numbers){0};
    state->is_noted = false;
    return true;
}

void text_leaf_open_found(struct text_section *section, struct text_leaf_state *state, const struct text_item *items, uint32_t item_count, struct text_leaf_finding *finding)
{
    *state = (struct text_leaf_state){.section = section, .items = items, .item_count = item_count, .documents_max = finding->documents_max};
    state->noted = finding->noted;
    state->noted_frequency_max = finding->noted_frequency_max;
    state->is_noted = true;
    finding->noted = (struct text_numbers){0};
}

void text_leaf_close(struct text_leaf_state *state)
{
    for (uint32_t i = 0; state->heads && i < state->item_count; i++) {
        for (uint32_t c = 0; c < state->heads[i].count; c++)
            text_cursor_close(state->heads[i].cursors[c]);
        memory_free(state->section->memory, state->heads[i].cursors);
    }
    if (!state->section)
        return;
    memory_free(state->section->memory, state->heads);
    memory_free(state->section->memory, state->starts.values);
    memory_free(state->section->memory, state->positions.values);
    memory_free(state->section->memory, state->noted.values);
}

int text_leaf_rewind(struct text_leaf_state *state)
{
    int result = MOTE_OK;
    state->begun = false;
    state->noted_index = 0;
    for (uint32_t i = 0; i < state->item_count && !result && !state->is_noted; i++)
        result = heads_rewind(&state->heads[i]);
    return result;
}

/* Keeps of starts those at which, `offset` further on, one of positions is. */
static void keep_starts(struct text_numbers *starts, const struct text_numbers *positions, uint32_t offset)
{
    uint32_t kept = 0, p = 0;
    for (uint32_t s = 0; s < starts->count; s++) {
        uint64_t wanted = (uint64_t)starts->values[s] + offset;
        while (p < positions->count && positions->values[p] < wanted)
            p++;
        if (p < positions->count && positions->values[p] == wanted)
            starts->values[kept++] = starts->values[s];
    }
    starts->count = kept;
}

/* How often the phrase occurs in the document at which all its words stand. */
static int count_phrase(struct text_leaf_state *state)
{
    int result = heads_positions(&state->heads[0], &state->starts);
    for (uint32_t i = 1; i < state->item_count && !result; i++) {
        result = heads_positions(&state->heads[i], &state->positions);
        if (!result)
            keep_starts(&state->starts, &state->positions, state->items[i].offset);
    }
    state->frequency = state->starts.count;
    return result;
}

/* The first ordinal not below target that has all the phrase's words. */
static int meet(struct text_leaf_state *state, uint32_t target, uint32_t *met)
{
    for (uint32_t i = 0, agreed = 0; agreed < state->item_count && target != TEXT_END; i = (i + 1) % state->item_count) {
        int result = heads_seek(&state->heads[i], target);
        if (result)
            return result;
        uint32_t at = heads_at(&state->heads[i]);
        agreed = at == target ? agreed + 1 : 1;
        target = at;
    }
    *met = target;
    return MOTE_OK;
}

/* The same, from the noted documents: a few steps, then halving. */
static void seek_noted(struct text_leaf_state *state, uint32_t target)
{
    const uint32_t *values = state->noted.values;
    uint32_t low = state->noted_index, high = state->noted.count / 2;
    for (uint32_t i = 0; i < 4 && low < high && values[2 * low] < target; i++)
        low++;
    while (low < high && values[2 * low] < target) {
        uint32_t middle = low + (high - low) / 2;
        if (values[2 * middle] < target)
            low = middle + 1;
        else
            high = middle;
    }
    state->noted_index = low;
    state->at = 2 * low < state->noted.count ? values[2 * low] : TEXT_END;
    state->begun = true;
}

int text_leaf_seek(struct text_leaf_state *state, uint32_t target)
{
    if (state->begun && state->at >= target)
        return MOTE_OK;
    if (state->is_noted) {
        seek_noted(state, target);
        return MOTE_OK;
    }
    int result;
    if (state->item_count == 1) {
        result = heads_seek(&state->heads[0], target);
        state->at = heads_at(&state->heads[0]);
        state->begun = true;
        return result;
    }
    do {
        result = meet(state, target, &state->at);
        state->frequency = 0;
        if (!result && state->at != TEXT_END)
            result = count_phrase(state);
        target = state->at == TEXT_END ? TEXT_END : state->at + 1;
    } while (!result && state->frequency == 0 && state->at != TEXT_END);
    state->begun = true;
    return result;
}

int text_leaf_count(struct text_leaf_state *state, uint64_t *documents)
{
    struct memory *memory = state->section->memory;
    bool noting = true;
    *documents = state->is_noted ? state->noted.count / 2 : state->documents_max;
    if (state->is_noted)
        return MOTE_OK;
    if (state->item_count == 1 && state->heads[0].count <= 1)
        return MOTE_OK; /* a word: the dictionary has it */
    int result = text_leaf_rewind(state);
    state->noted.count = 0;
    *documents = 0;
    for (uint32_t target = 0; !result && target != TEXT_END;) {
        result = text_leaf_seek(state, target);
        if (result || state->at == TEXT_END)
            break;
        uint32_t frequency = text_leaf_frequency(state);
        noting = noting && state->noted.count < NOTED_VALUES_MAX;
        result = noting ? text_numbers_add(memory, &state->noted, state->at) : MOTE_OK;
        if (!result && noting)
            result = text_numbers_add(memory, &state->noted, frequency);
        state->noted_frequency_max = frequency > state->noted_frequency_max ? frequency : state->noted_frequency_max;
        (*documents)++;
        target = state->at + 1;
    }
    state->is_noted = !result && noting;
    return result;
}

uint32_t text_leaf_frequency(const struct text_leaf_state *state)
{
    if (state->is_noted)
        return state->noted.values[2 * state->noted_index + 1];
    if (state->item_count > 1)
        return state->frequency;
    return state->heads[0].count == 1 ? text_cursor_frequency(state->heads[0].cursors[0]) : heads_frequency(&state->heads[0]);
}

int text_leaf_bound(struct text_leaf_state *state, const struct text_scoring *scoring, uint32_t leaf, uint32_t target, double *bound, uint32_t *until)
{
    uint32_t frequency = UINT32_MAX, length = 0;
    *until = TEXT_END;
    *bound = 0;
    if (state->begun && state->at == TEXT_END)
        return MOTE_OK;
    if (state->is_noted) {
        frequency = state->noted_frequency_max;
        length = state->section->totals.length_min;
    }
    for (uint32_t i = 0; i < state->item_count && !state->is_noted; i++) {
        struct text_heads *heads = &state->heads[i];
        uint32_t frequency_max = UINT32_MAX, length_min = state->section->totals.length_min, item_until = TEXT_END;
        if (heads->count == 0)
            frequency_max = 0;
        else if (heads->count == 1) {
            int result = text_cursor_bound(heads->cursors[0], target, &frequency_max, &length_min, &item_until);
            if (result)
                return result;
        }
        frequency = frequency_max < frequency ? frequency_max : frequency;
        length = length_min > length ? length_min : length;
        *until = item_until < *until ? item_until : *until;
    }
    /* A little more than the formula's value: its roundings need not be monotone. */
    *bound = frequency ? text_leaf_score(scoring, leaf, frequency, length) * (1 + 1e-9) : 0;
    return MOTE_OK;
}
