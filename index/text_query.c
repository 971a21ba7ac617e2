/* text_query.c: the query language.
 *
 *   query   = and { "OR" and }
 *   and     = not { "AND" not }
 *   not     = group { "NOT" group }        what is on the left and not on the right
 *   group   = primary { primary }          side by side: all of them, or any of them (any_word)
 *   primary = "(" query ")" | word | word "*" | phrase | phrase "*"
 *   phrase  = '"' text '"'                 a quote in it is doubled
 *   word    = any bytes but space, control characters, parentheses, quotes and the star
 *
 * The operators are AND, OR, NOT in capitals; precedence as in SQLite FTS5. A star stands directly behind what it prolongs. A word that the analysis makes several terms of (e-mail) is a phrase; a run of Chinese or Japanese
 * characters is the phrase of its pairs, a single one the prefix of its pairs. A prefix is not stemmed. What has no term at all ("--") is left out of the query, as if it were not there; a query of nothing matches nothing.
 *
 * Threads: a query is made by one. Failures: MOTE_EINVAL (syntax; the sentence names the byte, from 0), MOTE_ETOOBIG (too long, too many words), MOTE_EBUDGET.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

enum symbol { SYMBOL_END, SYMBOL_AND, SYMBOL_OR, SYMBOL_NOT, SYMBOL_OPEN, SYMBOL_CLOSE, SYMBOL_WORD, SYMBOL_PHRASE };

struct parser {
    struct text_query *query;
    struct text_analyser *analyser;
    bool any_word;
    const uint8_t *text;
    size_t text_bytes, at;
    uint32_t depth;
    /* the present symbol */
    enum symbol symbol;
    size_t from, to;      /* of a word or of a phrase's inside */
    size_t symbol_at;
    bool star, doubled;   /* a star follows; the phrase has doubled quotes */
    uint8_t *unquoted;    /* room for a phrase without its doubled quotes */
    /* the primary that is being analysed */
    struct text_leaf leaf;
    uint32_t first_position, last_word_bytes;
    enum text_token_kind last_kind;
    uint8_t last_word[TEXT_TERM_BYTES_MAX];
};

static bool is_delimiter(uint8_t c) { return c <= ' ' || c == '(' || c == ')' || c == '"' || c == '*' || c == 0x7F; }

static bool is_operator(const struct parser *parser, const char *name)
{
    size_t length = strlen(name);
    return parser->to - parser->from == length && memcmp(parser->text + parser->from, name, length) == 0;
}

static int read_phrase(struct parser *parser)
{
    const uint8_t *text = parser->text;
    parser->symbol = SYMBOL_PHRASE;
    parser->from = ++parser->at;
    parser->doubled = false;
    for (; parser->at < parser->text_bytes; parser->at++) {
        if (text[parser->at] != '"')
            continue;
        if (parser->at + 1 == parser->text_bytes || text[parser->at + 1] != '"') {
            parser->to = parser->at++;
            return MOTE_OK;
        }
        parser->doubled = true;
        parser->at++;
    }
    return error_set(MOTE_EINVAL, "the query's phrase that begins at byte %zu does not end; close it with a quote", parser->symbol_at);
}

static int next_symbol(struct parser *parser)
{
    const uint8_t *text = parser->text;
    while (parser->at < parser->text_bytes && (text[parser->at] <= ' ' || text[parser->at] == 0x7F))
        parser->at++;
    parser->symbol_at = parser->from = parser->at;
    parser->star = false;
    if (parser->at == parser->text_bytes) {
        parser->symbol = SYMBOL_END;
        return MOTE_OK;
    }
    uint8_t c = text[parser->at];
    if (c == '(' || c == ')') {
        parser->symbol = c == '(' ? SYMBOL_OPEN : SYMBOL_CLOSE;
        parser->at++;
        return MOTE_OK;
    }
    if (c == '*')
        return error_set(MOTE_EINVAL, "the query has a star at byte %zu that no word or phrase stands directly before; write it behind the beginning of a word", parser->at);
    if (c == '"') {
        int result = read_phrase(parser);
        if (result)
            return result;
    } else {
        while (parser->at < parser->text_bytes && !is_delimiter(text[parser->at]))
            parser->at++;
        parser->to = parser->at;
        parser->symbol = is_operator(parser, "AND") ? SYMBOL_AND : is_operator(parser, "OR") ? SYMBOL_OR : is_operator(parser, "NOT") ? SYMBOL_NOT : SYMBOL_WORD;
    }
    parser->star = parser->symbol >= SYMBOL_WORD && parser->at < parser->text_bytes && text[parser->at] == '*';
    parser->at += parser->star;
    return MOTE_OK;
}

static int add_item(void *context, const struct text_token *token)
{
    struct parser *parser = context;
    struct text_query *query = parser->query;
    bool first = parser->leaf.item_count == 0;
    memcpy(parser->last_word, token->word, token->word_bytes);
    parser->last_word_bytes = token->word_bytes;
    parser->last_kind = token->kind;
    if (token->kind == TEXT_TOKEN_LAST)
        return MOTE_OK; /* its pair has it; and in the texts more may follow */
    if (query->item_count == TEXT_QUERY_TERMS_MAX)
        return error_set(MOTE_ETOOBIG, "the query has more than %u words at byte %zu; shorten it", TEXT_QUERY_TERMS_MAX, parser->symbol_at);
    if (first)
        parser->first_position = token->position;
    if (token->position - parser->first_position >= TEXT_PHRASE_POSITIONS_MAX)
        return error_set(MOTE_ETOOBIG, "the query's phrase at byte %zu is longer than %u words; shorten it", parser->symbol_at, TEXT_PHRASE_POSITIONS_MAX);
    struct text_item *item = &query->items[query->item_count++];
    memcpy(item->term, token->term, token->term_bytes);
    item->term_bytes = (uint8_t)token->term_bytes;
    item->prefix = token->kind == TEXT_TOKEN_SINGLE;
    item->offset = (uint8_t)(token->position - parser->first_position);
    parser->leaf.item_count++;
    return MOTE_OK;
}

static int add_node(struct parser *parser, enum text_node_kind kind, uint16_t *number)
{
    struct text_query *query = parser->query;
    assert(query->node_count < TEXT_NODES_MAX);
    *number = (uint16_t)query->node_count++;
    query->nodes[*number] = (struct text_node){.kind = kind, .first = TEXT_NODE_NONE, .sibling = TEXT_NODE_NONE};
    return MOTE_OK;
}

/* A word or a phrase becomes a leaf, or TEXT_NODE_NONE. */
static int parse_terms(struct parser *parser, uint16_t *number)
{
    struct text_query *query = parser->query;
    const uint8_t *bytes = parser->text + parser->from;
    size_t count = parser->to - parser->from;
    *number = TEXT_NODE_NONE;
    if (query->leaf_count == TEXT_QUERY_LEAVES_MAX)
        return error_set(MOTE_ETOOBIG, "the query has more than %u words and phrases at byte %zu; shorten it", TEXT_QUERY_LEAVES_MAX, parser->symbol_at);
    if (parser->symbol == SYMBOL_PHRASE && parser->doubled) {
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            parser->unquoted[kept++] = bytes[i];
            i += bytes[i] == '"';
        }
        bytes = parser->unquoted;
        count = kept;
    }
    parser->leaf = (struct text_leaf){.item_first = (uint16_t)query->item_count};
    int result = text_analyse(parser->analyser, bytes, count, add_item, parser, NULL);
    if (result || parser->leaf.item_count == 0)
        return result;
    if (parser->star && parser->last_kind == TEXT_TOKEN_WORD) {
        struct text_item *item = &query->items[query->item_count - 1];
        memcpy(item->term, parser->last_word, parser->last_word_bytes);
        item->term_bytes = (uint8_t)parser->last_word_bytes;
        item->prefix = true;
    }
    result = add_node(parser, TEXT_NODE_LEAF, number);
    if (result)
        return result;
    query->nodes[*number].leaf = (uint16_t)query->leaf_count;
    query->leaves[query->leaf_count++] = parser->leaf;
    return MOTE_OK;
}

/* Children in order; empty ones are left out, and a single one stands for itself. */
struct children {
    uint16_t first, last;
    uint32_t count;
};

static void add_child(struct parser *parser, struct children *children, uint16_t number)
{
    if (number == TEXT_NODE_NONE)
        return;
    if (children->count++ == 0)
        children->first = number;
    else
        parser->query->nodes[children->last].sibling = number;
    children->last = number;
}

static int join(struct parser *parser, const struct children *children, enum text_node_kind kind, uint16_t *number)
{
    *number = children->count ? children->first : TEXT_NODE_NONE;
    if (children->count < 2)
        return MOTE_OK;
    int result = add_node(parser, kind, number);
    if (!result)
        parser->query->nodes[*number].first = children->first;
    return result;
}

static int parse_or(struct parser *parser, uint16_t *number);

static int parse_primary(struct parser *parser, uint16_t *number)
{
    static const char *const names[] = {[SYMBOL_END] = "its end", [SYMBOL_AND] = "AND", [SYMBOL_OR] = "OR", [SYMBOL_NOT] = "NOT", [SYMBOL_CLOSE] = "a closing parenthesis"};
    size_t opened_at = parser->symbol_at;
    int result;
    if (parser->symbol == SYMBOL_WORD || parser->symbol == SYMBOL_PHRASE) {
        result = parse_terms(parser, number);
        return result ? result : next_symbol(parser);
    }
    if (parser->symbol != SYMBOL_OPEN)
        return error_set(MOTE_EINVAL, "the query has %s at byte %zu, where a word, a phrase or a parenthesis must stand", names[parser->symbol], parser->symbol_at);
    if (++parser->depth > TEXT_QUERY_DEPTH_MAX)
        return error_set(MOTE_EINVAL, "the query has parentheses deeper than %u at byte %zu; write it flatter", TEXT_QUERY_DEPTH_MAX, parser->symbol_at);
    result = next_symbol(parser);
    if (!result)
        result = parse_or(parser, number);
    if (result)
        return result;
    if (parser->symbol != SYMBOL_CLOSE)
        return error_set(MOTE_EINVAL, "the query's parenthesis at byte %zu is not closed at byte %zu", opened_at, parser->symbol_at);
    parser->depth--;
    return next_symbol(parser);
}

static int parse_group(struct parser *parser, uint16_t *number)
{
    struct children children = {0};
    do {
        uint16_t child = TEXT_NODE_NONE;
        int result = parse_primary(parser, &child);
        if (result)
            return result;
        add_child(parser, &children, child);
    } while (parser->symbol == SYMBOL_WORD || parser->symbol == SYMBOL_PHRASE || parser->symbol == SYMBOL_OPEN);
    return join(parser, &children, parser->any_word ? TEXT_NODE_OR : TEXT_NODE_AND, number);
}

static int parse_not(struct parser *parser, uint16_t *number)
{
    int result = parse_group(parser, number);
    while (!result && parser->symbol == SYMBOL_NOT) {
        struct children children = {0};
        uint16_t without;
        result = next_symbol(parser);
        if (!result)
            result = parse_group(parser, &without);
        if (result || *number == TEXT_NODE_NONE || without == TEXT_NODE_NONE)
            continue;
        add_child(parser, &children, *number);
        add_child(parser, &children, without);
        result = join(parser, &children, TEXT_NODE_NOT, number);
    }
    return result;
}

static int parse_list(struct parser *parser, enum symbol symbol, int (*parse)(struct parser *, uint16_t *), enum text_node_kind kind, uint16_t *number)
{
    struct children children = {0};
    uint16_t child = TEXT_NODE_NONE;
    int result = parse(parser, &child);
    while (!result) {
        add_child(parser, &children, child);
        if (parser->symbol != symbol)
            return join(parser, &children, kind, number);
        result = next_symbol(parser);
        if (!result)
            result = parse(parser, &child);
    }
    return result;
}

static int parse_and(struct parser *parser, uint16_t *number) { return parse_list(parser, SYMBOL_AND, parse_not, TEXT_NODE_AND, number); }
static int parse_or(struct parser *parser, uint16_t *number) { return parse_list(parser, SYMBOL_OR, parse_and, TEXT_NODE_OR, number); }

static int parse_query(struct parser *parser)
{
    parser->query->root = TEXT_NODE_NONE;
    int result = next_symbol(parser);
    if (result || parser->symbol == SYMBOL_END)
        return result;
    result = parse_or(parser, &parser->query->root);
    if (!result && parser->symbol != SYMBOL_END)
        return error_set(MOTE_EINVAL, "the query has a closing parenthesis at byte %zu that none opens", parser->symbol_at);
    return result;
}

int text_query_parse(struct memory *memory, struct text_analyser *analyser, const void *bytes, size_t byte_count, const struct text_query_options *options, struct text_query **query)
{
    *query = NULL;
    if (byte_count > TEXT_QUERY_BYTES_MAX)
        return error_set(MOTE_ETOOBIG, "a query of %zu bytes is longer than %u; shorten it", byte_count, TEXT_QUERY_BYTES_MAX);
    struct text_query *made = memory_alloc_zero(memory, sizeof *made);
    struct parser parser = {.query = made, .analyser = analyser, .any_word = options && options->any_word, .text = bytes, .text_bytes = byte_count};
    parser.unquoted = made ? memory_alloc(memory, byte_count + 1) : NULL;
    int result = parser.unquoted ? parse_query(&parser) : MOTE_EBUDGET;
    memory_free(memory, parser.unquoted);
    if (result) {
        memory_free(memory, made);
        return result;
    }
    *query = made;
    return MOTE_OK;
}

void text_query_destroy(struct memory *memory, struct text_query *query) { memory_free(memory, query); }
