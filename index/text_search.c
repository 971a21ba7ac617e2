/* text_search.c: a query over one section: document at a time, in ascending order of ordinals.
 *
 * Each node of the query knows the next document that fits it (advance). With a threshold, nodes also know how much they can still add up to a certain ordinal, from the skip entries of their words' blocks; where that is
 * too little, the documents up to there are passed over unread. Of an OR at the top only those sides are advanced without which the threshold cannot be reached (block-max MaxScore; Ding and Suel, SIGIR 2011).
 *
 * Threads: a search belongs to one thread. Failures: MOTE_EINVAL (a section of another analysis), MOTE_EDAMAGED, MOTE_EBUDGET, MOTE_ETOOBIG, and what source and hit return.
 */
#include <assert.h>
#include <math.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_search_private.h"

struct node_state {
    uint32_t at; /* the next document that fits, valid for targets from `asked` on */
    bool begun;
    uint64_t cost; /* documents that may have to be looked at */
    uint16_t first_child, child_count; /* in children, the cheapest first (of a NOT in the query's order) */
};
struct text_search {
    const struct text_query *query;
    struct text_section section;
    struct text_scoring scoring;
    struct text_leaf_state leaves[TEXT_QUERY_LEAVES_MAX];
    struct node_state nodes[TEXT_NODES_MAX];
    uint16_t children[TEXT_NODES_MAX];
    /* children of an OR at the top, by what they can add up to the end of the present stretch */
    uint16_t ranked[TEXT_QUERY_LEAVES_MAX];
    double bounds[TEXT_NODES_MAX];
    const uint64_t *marks; /* a bit for each ordinal that may be a hit; NULL: all */
    uint64_t mark_count;
};

/* Children by cost: an AND then asks its rarest first. */
static void order_children(struct text_search *search, uint16_t number, uint16_t *filled)
{
    const struct text_query *query = search->query;
    const struct text_node *node = &query->nodes[number];
    struct node_state *state = &search->nodes[number];
    state->first_child = *filled;
    state->cost = node->kind == TEXT_NODE_LEAF ? search->leaves[node->leaf].documents_max : node->kind == TEXT_NODE_OR ? 0 : UINT64_MAX;
    for (uint16_t child = node->first; child != TEXT_NODE_NONE; child = query->nodes[child].sibling) {
        uint64_t cost = search->nodes[child].cost;
        uint16_t at = (*filled)++;
        state->child_count++;
        for (; node->kind != TEXT_NODE_NOT && at > state->first_child && search->nodes[search->children[at - 1]].cost > cost; at--)
            search->children[at] = search->children[at - 1];
        search->children[at] = child;
        if (node->kind == TEXT_NODE_OR)
            state->cost += cost;
        else if (node->kind == TEXT_NODE_AND || child == node->first)
            state->cost = cost < state->cost ? cost : state->cost;
    }
}

/* ---- What is kept of a section between two searches ---- */

struct text_findings {
    uint32_t leaf_count;
    bool found[TEXT_QUERY_LEAVES_MAX];
    struct text_leaf_finding leaves[]; /* of each leaf of the query, up to the last one that is found */
};

struct text_findings *text_search_keep(struct text_search *search, uint64_t bytes_max, uint64_t *bytes)
{
    struct memory *memory = search->section.memory;
    uint32_t leaf_count = search->query->leaf_count;
    while (leaf_count > 0 && !search->leaves[leaf_count - 1].is_noted)
        leaf_count--;
    *bytes = sizeof(struct text_findings) + leaf_count * sizeof(struct text_leaf_finding);
    if (leaf_count == 0 || *bytes > bytes_max)
        return NULL;
    struct text_findings *findings = memory_alloc_zero(memory, *bytes);
    if (!findings)
        return NULL;
    findings->leaf_count = leaf_count;
    for (uint32_t i = 0; i < leaf_count; i++) {
        struct text_leaf_finding *leaf = &findings->leaves[i];
        findings->found[i] = text_leaf_keep(&search->leaves[i], bytes_max - *bytes, leaf);
        *bytes += leaf->noted.count * sizeof *leaf->noted.values;
    }
    return findings;
}

void text_findings_destroy(struct memory *memory, struct text_findings *findings)
{
    for (uint32_t i = 0; findings && i < findings->leaf_count; i++)
        memory_free(memory, findings->leaves[i].noted.values);
    memory_free(memory, findings);
}

static int open_leaf(struct text_search *search, uint32_t i, struct text_findings *findings)
{
    const struct text_query *query = search->query;
    const struct text_item *items = query->items + query->leaves[i].item_first;
    uint32_t item_count = query->leaves[i].item_count;
    if (!findings || i >= findings->leaf_count || !findings->found[i])
        return text_leaf_open(&search->section, &search->leaves[i], items, item_count);
    text_leaf_open_found(&search->section, &search->leaves[i], items, item_count, &findings->leaves[i]);
    return MOTE_OK;
}

int text_search_open(const struct text_query *query, const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source,
                     struct memory *memory, struct text_search **search)
{
    return text_search_open_again(query, options, identity, root, source, memory, NULL, search);
}

int text_search_open_again(const struct text_query *query, const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source,
                           struct memory *memory, struct text_findings *findings, struct text_search **search)
{
    struct text_search *made = *search = memory_alloc_zero(memory, sizeof *made);
    uint16_t filled = 0;
    if (!made) {
        text_findings_destroy(memory, findings);
        return MOTE_EBUDGET;
    }
    made->query = query;
    int result = text_section_open(&made->section, memory, identity, root, source);
    if (!result)
        result = text_section_expect(&made->section, options);
    for (uint32_t i = 0; i < query->leaf_count && !result; i++)
        result = open_leaf(made, i, findings);
    text_findings_destroy(memory, findings);
    for (uint16_t i = 0; i < query->node_count && !result; i++)
        order_children(made, i, &filled);
    if (result) {
        text_search_close(made);
        *search = NULL;
    }
    return result;
}

void text_search_close(struct text_search *search)
{
    if (!search)
        return;
    for (uint32_t i = 0; i < search->query->leaf_count; i++)
        text_leaf_close(&search->leaves[i]);
    struct memory *memory = search->section.memory;
    text_section_close(&search->section);
    memory_free(memory, search);
}

int text_search_statistics(struct text_search *search, struct text_statistics *statistics)
{
    const struct text_totals *totals = &search->section.totals;
    statistics->documents += totals->documents;
    statistics->tokens += totals->tokens;
    for (uint32_t i = 0; i < search->query->leaf_count; i++) {
        uint64_t matching;
        int result = text_leaf_count(&search->leaves[i], &matching);
        if (result)
            return result;
        statistics->matching[i] += matching;
    }
    return MOTE_OK;
}

static int advance(struct text_search *search, uint16_t number, uint32_t target);

/* All children stand on the same document, none of those before is passed. */
static int advance_and(struct text_search *search, struct node_state *state, uint32_t target)
{
    const uint16_t *children = search->children + state->first_child;
    for (uint32_t i = 0, agreed = 0; agreed < state->child_count && target != TEXT_END;) {
        int result = advance(search, children[i], target);
        if (result)
            return result;
        uint32_t at = search->nodes[children[i]].at;
        agreed = at == target ? agreed + 1 : 1;
        /* After a step forward the cheapest child is asked again first, unless it was the one that stepped. */
        i = at == target ? (i + 1) % state->child_count : i == 0 ? 1 : 0;
        if (at != target && i == 0)
            agreed = 0;
        target = at;
    }
    state->at = target;
    return MOTE_OK;
}

static int advance_or(struct text_search *search, struct node_state *state, uint32_t target)
{
    uint32_t at = TEXT_END;
    for (uint32_t i = 0; i < state->child_count; i++) {
        uint16_t child = search->children[state->first_child + i];
        int result = advance(search, child, target);
        if (result)
            return result;
        at = search->nodes[child].at < at ? search->nodes[child].at : at;
    }
    state->at = at;
    return MOTE_OK;
}

static int advance_not(struct text_search *search, struct node_state *state, uint32_t target)
{
    uint16_t left = search->children[state->first_child], right = search->children[state->first_child + 1];
    int result = advance(search, left, target);
    while (!result && search->nodes[left].at != TEXT_END) {
        uint32_t at = search->nodes[left].at;
        result = advance(search, right, at);
        if (result || search->nodes[right].at != at)
            break;
        result = advance(search, left, at + 1);
    }
    state->at = search->nodes[left].at;
    return result;
}

/* The node's next document that is not below target. As deep as the query's parentheses are, which its parser bounds. */
static int advance(struct text_search *search, uint16_t number, uint32_t target)
{
    struct node_state *state = &search->nodes[number];
    const struct text_node *node = &search->query->nodes[number];
    int result = MOTE_OK;
    if (state->begun && state->at >= target)
        return MOTE_OK;
    switch (node->kind) {
    case TEXT_NODE_LEAF:
        result = text_leaf_seek(&search->leaves[node->leaf], target);
        state->at = search->leaves[node->leaf].at;
        break;
    case TEXT_NODE_AND:
        result = advance_and(search, state, target);
        break;
    case TEXT_NODE_OR:
        result = advance_or(search, state, target);
        break;
    case TEXT_NODE_NOT:
        result = advance_not(search, state, target);
        break;
    }
    state->begun = !result;
    return result;
}

/* What every node can add at most, up to *until: children stand before their parents. */
static int compute_bounds(struct text_search *search, uint32_t target, uint32_t *until)
{
    const struct text_query *query = search->query;
    *until = TEXT_END;
    for (uint16_t i = 0; i < query->node_count; i++) {
        const struct text_node *node = &query->nodes[i];
        uint32_t leaf_until;
        search->bounds[i] = 0;
        if (node->kind == TEXT_NODE_LEAF) {
            int result = text_leaf_bound(&search->leaves[node->leaf], &search->scoring, node->leaf, target, &search->bounds[i], &leaf_until);
            if (result)
                return result;
            *until = leaf_until < *until ? leaf_until : *until;
        }
        bool possible = true;
        for (uint16_t child = node->first; child != TEXT_NODE_NONE; child = query->nodes[child].sibling) {
            possible = possible && (search->bounds[child] > 0 || node->kind != TEXT_NODE_AND);
            search->bounds[i] += node->kind == TEXT_NODE_NOT && child != node->first ? 0 : search->bounds[child];
        }
        search->bounds[i] = possible ? search->bounds[i] : 0;
    }
    return MOTE_OK;
}

/* Orders the top OR's children by their bounds and says how many of them together stay below the threshold: no document that only they have is wanted. */
static uint32_t rank_children(struct text_search *search, uint16_t root, double threshold)
{
    const struct node_state *state = &search->nodes[root];
    for (uint32_t i = 0; i < state->child_count; i++) {
        uint16_t child = search->children[state->first_child + i];
        uint32_t at = i;
        for (; at > 0 && search->bounds[search->ranked[at - 1]] > search->bounds[child]; at--)
            search->ranked[at] = search->ranked[at - 1];
        search->ranked[at] = child;
    }
    double sum = 0;
    uint32_t passed = 0;
    while (passed < state->child_count && (sum += search->bounds[search->ranked[passed]]) < threshold)
        passed++;
    return passed;
}

/* The next candidate of a top OR, by the children whose place it depends on. */
static int advance_ranked(struct text_search *search, uint16_t root, uint32_t passed, uint32_t target, uint32_t *candidate)
{
    *candidate = TEXT_END;
    for (uint32_t i = passed; i < search->nodes[root].child_count; i++) {
        int result = advance(search, search->ranked[i], target);
        if (result)
            return result;
        uint32_t at = search->nodes[search->ranked[i]].at;
        *candidate = at < *candidate ? at : *candidate;
    }
    return MOTE_OK;
}

/* Scores a document on which no node stands further on; all leaves come to it. */
static int score_document(struct text_search *search, uint32_t ordinal, bool *matches, double *score)
{
    const struct text_query *query = search->query;
    uint32_t frequencies[TEXT_QUERY_LEAVES_MAX], length;
    bool is_document;
    for (uint32_t i = 0; i < query->leaf_count; i++) {
        struct text_leaf_state *leaf = &search->leaves[i];
        int result = text_leaf_seek(leaf, ordinal);
        if (result)
            return result;
        frequencies[i] = leaf->at == ordinal ? text_leaf_frequency(leaf) : 0;
    }
    int result = text_section_length(&search->section, ordinal, &length, &is_document);
    if (!result && !is_document)
        result = text_section_refuse(&search->section, "postings of a row without a text");
    if (!result)
        *matches = text_query_evaluate(query, &search->scoring, frequencies, length, score);
    return result;
}

/* The first ordinal from target on that is wanted. */
static uint32_t next_wanted(const struct text_search *search, uint32_t target)
{
    if (!search->marks || target == TEXT_END)
        return target;
    uint64_t words = (search->mark_count + 63) / 64, at = target / 64;
    uint64_t left = at < words ? search->marks[at] & (UINT64_MAX << (target % 64)) : 0;
    while (left == 0 && ++at < words)
        left = search->marks[at];
    uint64_t found = at < words ? at * 64 + (uint64_t)__builtin_ctzll(left) : UINT64_MAX;
    return found < search->mark_count ? (uint32_t)found : TEXT_END;
}

/* The next document from target on that matches and is wanted. */
static int find_next(struct text_search *search, uint32_t target, uint32_t *found)
{
    uint16_t root = search->query->root;
    for (;;) {
        target = next_wanted(search, target);
        int result = target == TEXT_END ? MOTE_OK : advance(search, root, target);
        if (result)
            return result;
        *found = target == TEXT_END ? TEXT_END : search->nodes[root].at;
        target = next_wanted(search, *found);
        if (target == *found)
            return MOTE_OK;
    }
}

static int run(struct text_search *search, double threshold, int (*hit)(void *context, uint32_t ordinal, double score, double *threshold), void *context)
{
    uint16_t root = search->query->root;
    bool ranked = search->query->nodes[root].kind == TEXT_NODE_OR, stale = true;
    uint32_t until = TEXT_END, passed = 0, target = next_wanted(search, 0), candidate;
    int result = MOTE_OK;
    while (!result && target != TEXT_END) {
        bool pruned = threshold > 0;
        if (pruned && (stale || target > until)) {
            result = compute_bounds(search, target, &until);
            stale = false;
            if (result)
                return result;
            if (search->bounds[root] < threshold) {
                target = until == TEXT_END ? TEXT_END : next_wanted(search, until + 1);
                continue;
            }
            passed = ranked ? rank_children(search, root, threshold) : 0;
        }
        if (pruned && ranked) {
            result = advance_ranked(search, root, passed, target, &candidate);
        } else {
            result = find_next(search, target, &candidate);
        }
        if (result)
            return result;
        if (pruned && candidate > until) {
            target = until == TEXT_END ? TEXT_END : next_wanted(search, until + 1);
            continue;
        }
        if (candidate == TEXT_END)
            break;
        bool matches = false;
        double score = 0, before = threshold;
        uint32_t wanted = next_wanted(search, candidate);
        if (wanted == candidate)
            result = score_document(search, candidate, &matches, &score);
        if (!result && matches && !(score < threshold))
            result = hit(context, candidate, score, &threshold);
        stale = stale || threshold != before;
        target = wanted == candidate ? next_wanted(search, candidate + 1) : wanted;
    }
    return result;
}

static int rewind_all(struct text_search *search)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->query->leaf_count && !result; i++)
        result = text_leaf_rewind(&search->leaves[i]);
    for (uint32_t i = 0; i < search->query->node_count; i++)
        search->nodes[i].begun = false;
    return result;
}

int text_search_run(struct text_search *search, const struct text_statistics *statistics, double threshold, int (*hit)(void *context, uint32_t ordinal, double score, double *threshold), void *context)
{
    if (search->query->root == TEXT_NODE_NONE)
        return MOTE_OK;
    text_scoring_prepare(search->query, statistics, &search->scoring);
    int result = rewind_all(search);
    return result ? result : run(search, threshold, hit, context);
}

int text_search_all(struct text_search *search, int (*hit)(void *context, uint32_t ordinal), void *context)
{
    uint32_t ordinal = 0;
    int result = search->query->root == TEXT_NODE_NONE ? MOTE_OK : rewind_all(search);
    while (!result && search->query->root != TEXT_NODE_NONE) {
        result = find_next(search, ordinal, &ordinal);
        if (result || ordinal == TEXT_END)
            break;
        result = hit(context, ordinal);
        ordinal++;
    }
    return result;
}

void text_search_set_filter(struct text_search *search, const uint64_t *marks, uint64_t mark_count)
{
    search->marks = marks;
    search->mark_count = mark_count;
}

uint64_t text_search_estimate(const struct text_search *search)
{
    if (search->query->root == TEXT_NODE_NONE)
        return 0;
    uint64_t cost = search->nodes[search->query->root].cost, documents = search->section.totals.documents;
    return cost < documents ? cost : documents;
}
