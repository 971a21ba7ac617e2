/* term_vector.c: the search term MOTE_TERM_VECTOR: rows by the distance of their vector from a query's, in the index's metric.
 *
 * A section is asked for its nearest rows, as many as the list of the search settles, so that rows which do not count (deleted, replaced, out of a time range that no mark told) are mostly made up for by the same pass; where they are not, the
 * next pass looks further. One more than is wanted is always asked for: the first row beyond the last hit ends the segment.
 * Invariant: a row's distance is the same from a section, a memtable and a block of rows, bit for bit (vector.h). Threads: the searching one. Failures: as search_term.h says.
 */
#include <math.h>
#include <string.h>

#include "engine/search_term.h"
#include "engine/vector_cache.h"
#include "engine/vector_options.h"

struct vector_state {
    struct vector_options options; /* of the index */
    float *query;                  /* as sections keep vectors */
    float *vector, *accepted;      /* a row's */
};

static int prepare(struct search_term *term)
{
    const struct mote_term *given = term->given;
    struct vector_options options;
    if (!vector_options_load(term->index.options, term->index.options_bytes, &options))
        return error_set(MOTE_EVERSION, "the options of index %s of table %s are of another version of mote; drop the index and create it anew", term->index.name, term->table_name);
    if (!given->vector || given->dimension != options.dimension)
        return error_set(MOTE_EINVAL, "index %s of table %s has vectors of %u elements: the search gives %s of %u", term->index.name, term->table_name, options.dimension, given->vector ? "one" : "none", given->dimension);
    if (given->list > VECTOR_LIST_MAX)
        return error_set(MOTE_EINVAL, "a search of vectors of table %s has a list of at most %d, not %u", term->table_name, VECTOR_LIST_MAX, given->list);
    struct vector_state *state = memory_alloc_zero(term->memory, sizeof *state);
    term->state = state;
    if (!state)
        return MOTE_EBUDGET;
    state->options = options;
    state->query = memory_alloc(term->memory, 3 * (size_t)options.dimension * sizeof(float));
    if (!state->query)
        return MOTE_EBUDGET;
    state->vector = state->query + options.dimension;
    state->accepted = state->vector + options.dimension;
    if (!vector_accept(options.metric, given->vector, options.dimension, state->query))
        return error_set(MOTE_EINVAL, "the vector of a search of table %s has an element that is no finite number", term->table_name);
    return MOTE_OK;
}

static void destroy(struct search_term *term)
{
    struct vector_state *state = term->state;
    if (!state)
        return;
    memory_free(term->memory, state->query);
    memory_free(term->memory, state);
    term->state = NULL;
}

static int match(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank)
{
    struct vector_state *state = term->state;
    const struct vector_options *options = &state->options;
    *matches = !values->is_null && values->as.bytes.size_bytes == options->dimension * sizeof(float);
    if (!*matches)
        return MOTE_OK;
    memcpy(state->vector, values->as.bytes.data, options->dimension * sizeof(float));
    *matches = vector_accept(options->metric, state->vector, options->dimension, state->accepted);
    if (*matches && rank) {
        rank->value = vector_measure(options->metric, state->query, state->accepted, options->dimension);
        rank->byte_count = 0;
    }
    return MOTE_OK;
}

static double score(const struct search_term *term, double value)
{
    (void)term;
    return value;
}

/* ---- A section ---- */

static void close_section(struct search_term *term, struct search_section *section)
{
    struct vector_lease *lease = section->state;
    if (!lease)
        return;
    vector_cache_give(term->db->vector_cache, lease);
    memory_free(term->memory, lease);
    section->state = NULL;
}

static int open_section(struct search_term *term, struct search_section *section)
{
    const struct vector_state *state = term->state;
    struct vector_lease *lease = memory_alloc_zero(term->memory, sizeof *lease);
    struct vector_facts facts;
    if (!lease)
        return MOTE_EBUDGET;
    int result = vector_cache_take(term->db->vector_cache, section->at, lease);
    if (result) {
        memory_free(term->memory, lease);
        return result;
    }
    section->state = lease;
    vector_describe(lease->index, &facts);
    if (facts.dimension == state->options.dimension && facts.metric == state->options.metric && facts.ordinal_end <= section->row_count)
        return MOTE_OK;
    close_section(term, section);
    return error_set(MOTE_EDAMAGED, "a section of index %s of table %s has vectors of another kind than the index; rebuild the index", term->index.name, term->table_name);
}

static int estimate(struct search_term *term, struct search_section *section, uint64_t *rows)
{
    const struct vector_lease *lease = section->state;
    struct vector_facts facts;
    (void)term;
    vector_describe(lease->index, &facts);
    *rows = facts.rows;
    return MOTE_OK;
}

struct kept {
    const uint64_t *marks;
    uint64_t row_count;
};

static bool is_marked(void *context, uint32_t ordinal)
{
    const struct kept *kept = context;
    return ordinal < kept->row_count && (kept->marks[ordinal / 64] >> ordinal % 64 & 1);
}

/* How many candidates the first pass settles: what the caller says, else enough for what is wanted. */
static uint32_t choose_list(const struct mote_term *given, uint64_t wanted)
{
    uint64_t least = wanted + 1 < VECTOR_LIST_MAX ? wanted + 1 : VECTOR_LIST_MAX, list = given->list ? given->list : 2 * wanted > VECTOR_LIST_DEFAULT ? 2 * wanted : VECTOR_LIST_DEFAULT;
    list = list < least ? least : list;
    return list < VECTOR_LIST_MAX ? (uint32_t)list : VECTOR_LIST_MAX;
}

static int offer_nearest(struct vector_search *search, const struct search_section *section, struct search_ranking *ranking)
{
    struct search_rank rank = {0};
    for (;;) {
        struct vector_hit hit;
        bool enough = false;
        int found = vector_search_next(search, &hit);
        if (found <= 0)
            return found;
        if (hit.ordinal >= section->row_count)
            return error_set(MOTE_EDAMAGED, "a vector index names row %u of a segment of %llu; rebuild the index", hit.ordinal, (unsigned long long)section->row_count);
        if (hit.distance > ranking->bound)
            return MOTE_OK;
        rank.value = hit.distance;
        int result = ranking->offer(ranking->context, hit.ordinal, &rank, &enough);
        if (result || enough)
            return result;
    }
}

static int rank_section(struct search_term *term, struct search_section *section, struct search_ranking *ranking)
{
    const struct vector_lease *lease = section->state;
    const struct mote_term *given = term->given;
    uint32_t list = choose_list(given, ranking->wanted ? ranking->wanted : VECTOR_LIST_MAX);
    struct vector_search_options options = {.size_bytes = sizeof options, .wanted = list, .list = list, .exact = (given->flags & MOTE_TERM_EXACT) != 0};
    struct kept kept = {ranking->marks, section->row_count};
    struct vector_search *search;
    if (ranking->marks) {
        options.keep = is_marked;
        options.keep_context = &kept;
        options.keep_share = ranking->marked_share;
    }
    int result = vector_search_create(lease->index, given->vector, &options, &search);
    if (result)
        return result;
    result = offer_nearest(search, section, ranking);
    vector_search_destroy(search);
    return result;
}

const struct search_term_ops search_vector_ops = {
    .kind_first = MOTE_TERM_VECTOR,
    .kind_last = MOTE_TERM_VECTOR,
    .index_kind = MOTE_INDEX_VECTOR,
    .needs_index = true,
    .always_ranks = true,
    .name = "vector",
    .prepare = prepare,
    .destroy = destroy,
    .score = score,
    .match = match,
    .open = open_section,
    .close = close_section,
    .estimate = estimate,
    .rank = rank_section,
};
