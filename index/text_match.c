/* text_match.c: one text against a query, without an index; and the score, which rows of sections and of memtables get from the same function.
 *
 * Score: Okapi BM25 as SQLite FTS5's auxiliary function bm25() computes it (Robertson and Zaragoza 2009; https://sqlite.org/fts5.html#the_bm25_function), with the sign turned: higher is better.
 *
 *   score = sum over the query's words, prefixes and phrases of   idf * f * (k1 + 1) / (f + k1 * (1 - b + b * length / average length))
 *   idf   = ln((documents - matching + 0.5) / (matching + 0.5)),  and 0.000001 where that is not above 0
 *   k1 = 1.2, b = 0.75; f: occurrences in the document; matching: documents in which it occurs
 *
 * Leaves count where they match: of an OR the sides that do, of a NOT the left side. The sum is taken in the order of the query, everywhere, so that equal documents have equal scores to the last bit.
 * Threads: any; a query is only read. Failures: those of the analyser.
 */
#include <assert.h>
#include <math.h>

#include "blockdev/base/errors.h"
#include "index/text_private.h"

#define BM25_K1 1.2
#define BM25_B 0.75

void text_scoring_prepare(const struct text_query *query, const struct text_statistics *statistics, struct text_scoring *scoring)
{
    double documents = (double)statistics->documents;
    double average_length = statistics->documents && statistics->tokens ? (double)statistics->tokens / documents : 1;
    scoring->length_weight = BM25_K1 * BM25_B / average_length;
    for (uint32_t i = 0; i < query->leaf_count; i++) {
        double matching = (double)statistics->matching[i], idf = log((documents - matching + 0.5) / (matching + 0.5));
        if (!(idf > 0))
            idf = 1e-6; /* also where statistics are not those of these documents */
        scoring->weights[i] = idf * (BM25_K1 + 1);
    }
}

double text_leaf_score(const struct text_scoring *scoring, uint32_t leaf, uint32_t frequency, uint32_t length)
{
    double f = (double)frequency;
    return scoring->weights[leaf] * f / (f + (BM25_K1 * (1 - BM25_B) + scoring->length_weight * (double)length));
}

bool text_query_evaluate(const struct text_query *query, const struct text_scoring *scoring, const uint32_t *frequencies, uint32_t length, double *score)
{
    bool matches[TEXT_NODES_MAX];
    double scores[TEXT_NODES_MAX];
    *score = 0;
    if (query->root == TEXT_NODE_NONE)
        return false;
    for (uint32_t i = 0; i < query->node_count; i++) {
        const struct text_node *node = &query->nodes[i];
        scores[i] = 0;
        if (node->kind == TEXT_NODE_LEAF) {
            matches[i] = frequencies[node->leaf] > 0;
            scores[i] = matches[i] && scoring ? text_leaf_score(scoring, node->leaf, frequencies[node->leaf], length) : 0;
            continue;
        }
        matches[i] = node->kind != TEXT_NODE_OR;
        for (uint16_t child = node->first; child != TEXT_NODE_NONE; child = query->nodes[child].sibling) {
            assert(child < i);
            if (node->kind == TEXT_NODE_NOT && child != node->first) {
                matches[i] = matches[i] && !matches[child];
                continue;
            }
            matches[i] = node->kind == TEXT_NODE_OR ? matches[i] || matches[child] : matches[i] && matches[child];
            scores[i] += matches[child] ? scores[child] : 0;
        }
    }
    *score = scores[query->root];
    return matches[query->root];
}

/* For each phrase, by its start modulo 128: how many of its words stand where they must. Tokens come in the order of positions, and a phrase's words have ascending offsets below 128. */
struct matching {
    const struct text_query *query;
    struct text_match *match;
    uint8_t met[TEXT_QUERY_LEAVES_MAX][TEXT_PHRASE_POSITIONS_MAX];
};

static bool item_fits(const struct text_item *item, const struct text_token *token)
{
    return (item->prefix ? item->term_bytes <= token->term_bytes : item->term_bytes == token->term_bytes) && memcmp(item->term, token->term, item->term_bytes) == 0;
}

static int take_token(void *context, const struct text_token *token)
{
    struct matching *matching = context;
    const struct text_query *query = matching->query;
    for (uint32_t l = 0; l < query->leaf_count; l++) {
        const struct text_leaf *leaf = &query->leaves[l];
        const struct text_item *items = query->items + leaf->item_first;
        uint8_t *met = matching->met[l];
        if (leaf->item_count == 1) {
            matching->match->frequencies[l] += item_fits(items, token);
            continue;
        }
        met[token->position % TEXT_PHRASE_POSITIONS_MAX] = 0;
        for (uint32_t i = 0; i < leaf->item_count && items[i].offset <= token->position; i++) {
            uint8_t *start = &met[(token->position - items[i].offset) % TEXT_PHRASE_POSITIONS_MAX];
            if (*start != i || !item_fits(&items[i], token))
                continue;
            *start = (uint8_t)(i + 1);
            matching->match->frequencies[l] += i + 1u == leaf->item_count;
        }
    }
    return MOTE_OK;
}

int text_match(const struct text_query *query, struct text_analyser *analyser, const void *text, size_t text_bytes, struct text_match *match)
{
    struct matching matching = {.query = query, .match = match};
    double score;
    *match = (struct text_match){0};
    int result = text_analyse(analyser, text, text_bytes, take_token, &matching, &match->length);
    if (!result)
        match->matches = text_query_evaluate(query, NULL, match->frequencies, match->length, &score);
    return result;
}

void text_statistics_add(const struct text_query *query, const struct text_match *match, struct text_statistics *statistics)
{
    statistics->documents++;
    statistics->tokens += match->length;
    for (uint32_t i = 0; i < query->leaf_count; i++)
        statistics->matching[i] += match->frequencies[i] > 0;
}

double text_match_score(const struct text_query *query, const struct text_match *match, const struct text_statistics *statistics)
{
    struct text_scoring scoring;
    double score;
    text_scoring_prepare(query, statistics, &scoring);
    (void)text_query_evaluate(query, &scoring, match->frequencies, match->length, &score);
    return score;
}
