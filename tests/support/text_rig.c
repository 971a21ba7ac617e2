/* text_rig.c: see text_rig.h. */
#include "tests/support/text_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/crc32c.h"
#include "index/text_private.h"
#include "tests/support/codec_check.h"

static int place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct text_rig *rig = context;
    (void)length_bytes;
    if (rig->gaps && rig->length > 0)
        rig->length += 64 * (codec_check_random(&rig->random) % 5);
    *offset_bytes = rig->length;
    return 0;
}

static int append(void *context, const void *data, uint32_t length_bytes)
{
    struct text_rig *rig = context;
    if (rig->length + length_bytes > rig->capacity) {
        rig->capacity = 2 * (rig->length + length_bytes);
        rig->bytes = realloc(rig->bytes, rig->capacity);
    }
    memcpy(rig->bytes + rig->length, data, length_bytes);
    rig->length += length_bytes;
    return 0;
}

static int read_part(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct text_rig *rig = context;
    if (offset_bytes > rig->length || length_bytes > rig->length - offset_bytes)
        return MOTE_EDAMAGED;
    uint8_t *copy = malloc(length_bytes);
    memcpy(copy, rig->bytes + offset_bytes, length_bytes);
    rig->reads++;
    int result = check(copy, length_bytes, check_context);
    if (result) {
        free(copy);
        return result;
    }
    rig->pinned++;
    *data = copy;
    *handle = copy;
    return 0;
}

static void release_part(void *context, void *handle)
{
    struct text_rig *rig = context;
    rig->pinned--;
    free(handle);
}

void text_rig_init(struct text_rig *rig, uint64_t segment_id, bool gaps)
{
    *rig = (struct text_rig){.random = 99, .gaps = gaps, .identity = {.segment_id = segment_id, .section_id = 5}};
    for (uint8_t i = 0; i < 16; i++)
        rig->identity.uuid[i] = i;
}

void text_rig_free(struct text_rig *rig) { free(rig->bytes); }
struct section_sink text_rig_sink(struct text_rig *rig) { return (struct section_sink){place, append, rig}; }
struct section_source text_rig_source(struct text_rig *rig) { return (struct section_source){read_part, release_part, rig}; }

/* Seals the page at an entry and notes its checksum there. */
static void seal_page(struct text_rig *rig, uint32_t magic, uint64_t offset, uint32_t length, uint8_t *crc_at)
{
    if (length <= TEXT_HEADER_BYTES || offset > rig->length || length > rig->length - offset)
        return;
    uint8_t *page = rig->bytes + offset;
    uint32_t crc = crc32c(crc32c_seed(rig->identity.uuid, magic, rig->identity.segment_id, offset), page + 8, length - 8);
    store_u32(page + 4, crc);
    store_u32(crc_at, crc);
}

void text_rig_reseal(struct text_rig *rig)
{
    static const uint32_t magics[TEXT_STREAMS] = {TEXT_MAGIC_LEAVES, TEXT_MAGIC_INNER, TEXT_MAGIC_POSTINGS, TEXT_MAGIC_POSITIONS, TEXT_MAGIC_SKIPS, TEXT_MAGIC_LENGTHS};
    uint8_t *root = rig->bytes + rig->root.root_offset_bytes, *entry = root + TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES, *end = root + rig->root.root_bytes, crc[4] = {0};
    for (uint32_t stream = 0; stream < TEXT_STREAMS; stream++)
        for (uint32_t i = 0; i < load_u32(root + TEXT_HEADER_BYTES + 72 + 4 * (size_t)stream) && entry + TEXT_PAGE_ENTRY_BYTES <= end; i++, entry += TEXT_PAGE_ENTRY_BYTES)
            seal_page(rig, magics[stream], load_u64(entry), load_u32(entry + 8), entry + 12);
    seal_page(rig, TEXT_MAGIC_ROOT, rig->root.root_offset_bytes, rig->root.root_bytes, crc);
    rig->root.root_crc = load_u32(crc);
}

/* ---- Texts ---- */

enum { WORDS = 14, CHARACTERS = 6, SPELLINGS = 3 };
/* Each word in several spellings that are one term; the first begins the others' terms, too. */
static const char *const words[WORDS][SPELLINGS] = {
    {"a", "A", "\xC3\xA1"},
    {"ab", "AB", "\xC3\x84" "b"},
    {"abc", "ABC", "\xEF\xBD\x81" "bc"},                     /* a full-width letter */
    {"abcd", "Abcd", "a\xCC\x81" "bcd"},                     /* a mark of its own */
    {"b", "B", "b\xCC\x8A"},
    {"ba", "Ba", "b\xC2\xAD" "a"},                           /* a soft hyphen */
    {"bad", "BAD", "b\xC3\xA0" "d"},
    {"c", "C", "\xC3\xA7"},
    {"strasse", "STRASSE", "Stra\xC3\x9F" "e"},
    {"42", "\xEF\xBC\x94" "2", "4\xC2\xB2"},                 /* full-width and superior digits */
    {"\xCE\xB1\xCE\xB2", "\xCE\x91\xCE\x92", "\xCE\xAC\xCE\xB2"},
    {"fin", "FIN", "\xEF\xAC\x81" "n"},                      /* a ligature */
    {"\xD0\xB4\xD0\xB0", "\xD0\x94\xD0\x90", "\xD0\xB4\xD0\xB0\xCC\x81"},
    {"zz", "ZZ", "Zz"},
};
static const char *const plain[WORDS] = {"a", "ab", "abc", "abcd", "b", "ba", "bad", "c", "strasse", "42", "\xCE\xB1\xCE\xB2", "fin", "\xD0\xB4\xD0\xB0", "zz"};
static const char *const characters[CHARACTERS][2] = {
    {"\xE5\xB1\xB1", "\xE5\xB1\xB1"}, {"\xE5\xB7\x9D", "\xE5\xB7\x9D"}, {"\xE5\xAF\x8C", "\xE5\xAF\x8C"}, {"\xE3\x81\xAE", "\xE3\x81\xAE"},
    {"\xE3\x82\xAC", "\xEF\xBD\xB6\xEF\xBE\x9E"}, /* ga, and half-width ka with its voicing mark */
    {"\xF0\xA0\x80\x8B", "\xF0\xA0\x80\x8B"},
};
static const char *const separators[] = {" ", ", ", "\n", " -- ", "\xE3\x80\x82", "\xFF", "\xC3 ", "\xE2\x80\xA6", "'", "_"};
enum { SEPARATORS = sizeof separators / sizeof separators[0] };

static uint32_t below(uint64_t *random, uint32_t limit) { return (uint32_t)(codec_check_random(random) >> 33) % limit; }

static void put(struct text_rig_text *text, const char *bytes)
{
    size_t length = strlen(bytes);
    if (text->byte_count + length > sizeof text->bytes)
        abort();
    memcpy(text->bytes + text->byte_count, bytes, length);
    text->byte_count += (uint32_t)length;
}

/* Common words are more common than others. */
static uint8_t pick_word(uint64_t *random)
{
    uint32_t word = below(random, WORDS + CHARACTERS);
    return (uint8_t)(below(random, 3) == 0 ? word : below(random, word + 1));
}

static void add_element(uint64_t *random, struct text_rig_text *text, uint8_t word, bool joined)
{
    bool character = word >= WORDS, after_character = text->count > 0 && text->elements[text->count - 1].word >= WORDS;
    joined = joined && character && after_character;
    if (text->count > 0 && !joined && (character == after_character || below(random, 2)))
        put(text, separators[below(random, SEPARATORS)]);
    put(text, character ? characters[word - WORDS][below(random, 2)] : words[word][below(random, SPELLINGS)]);
    text->elements[text->count++] = (struct text_rig_element){word, joined};
}

void text_rig_make_text(uint64_t *random, uint32_t elements_max, struct text_rig_text *text)
{
    uint32_t count = below(random, elements_max + 1);
    bool eastern = below(random, 4) == 0;
    text->count = text->byte_count = 0;
    if (below(random, 3) == 0)
        put(text, separators[below(random, SEPARATORS)]);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t word = eastern && below(random, 4) ? (uint8_t)(WORDS + below(random, CHARACTERS)) : pick_word(random);
        add_element(random, text, word, below(random, 5) != 0);
    }
    if (below(random, 3) == 0)
        put(text, separators[below(random, SEPARATORS)]);
}

/* ---- Queries ---- */

static void make_leaf(uint64_t *random, struct text_rig_query *query, char *out)
{
    uint32_t number = query->leaf_count++, elements = below(random, 2) ? 1 : 1 + below(random, 3);
    struct text_rig_text *leaf = &query->leaves[number];
    leaf->count = leaf->byte_count = 0;
    for (uint32_t i = 0; i < elements; i++)
        add_element(random, leaf, pick_word(random), below(random, 2));
    query->prefix[number] = leaf->elements[elements - 1].word < WORDS && below(random, 3) == 0;
    bool quoted = elements > 1 || below(random, 4) == 0;
    sprintf(out, "%s%.*s%s%s", quoted ? "\"" : "", (int)leaf->byte_count, leaf->bytes, quoted ? "\"" : "", query->prefix[number] ? "*" : "");
}

static uint32_t make_node(uint64_t *random, struct text_rig_query *query, uint32_t depth, char *out)
{
    static const char *const signs[] = {" ", " AND ", " OR ", " OR ", " NOT "};
    static const char kinds[] = {'&', '&', '|', '|', '-'};
    if (depth == 0 || below(random, 3) == 0 || query->leaf_count + 4 > TEXT_RIG_LEAVES_MAX) {
        uint32_t number = query->node_count++;
        query->nodes[number] = (struct text_rig_node){.kind = 'l', .leaf = query->leaf_count};
        make_leaf(random, query, out);
        return number;
    }
    uint32_t choice = below(random, 5);
    char *left_bytes = malloc(4096), *right_bytes = malloc(4096);
    uint32_t left = make_node(random, query, depth - 1, left_bytes), right = make_node(random, query, depth - 1, right_bytes), number = query->node_count++;
    query->nodes[number] = (struct text_rig_node){.kind = kinds[choice], .left = left, .right = right};
    sprintf(out, "(%s%s%s)", left_bytes, signs[choice], right_bytes);
    free(left_bytes);
    free(right_bytes);
    return number;
}

void text_rig_make_query(uint64_t *random, struct text_rig_query *query)
{
    query->leaf_count = query->node_count = 0;
    query->root = make_node(random, query, below(random, 4), query->bytes);
}

static bool element_fits(const struct text_rig_element *wanted, bool prefix, const struct text_rig_element *has)
{
    if (wanted->joined && !has->joined)
        return false;
    if (prefix && wanted->word < WORDS && has->word < WORDS)
        return strncmp(plain[wanted->word], plain[has->word], strlen(plain[wanted->word])) == 0;
    return wanted->word == has->word;
}

uint32_t text_rig_occurrences(const struct text_rig_query *query, uint32_t leaf, const struct text_rig_text *text)
{
    const struct text_rig_text *wanted = &query->leaves[leaf];
    uint32_t found = 0;
    for (uint32_t start = 0; start + wanted->count <= text->count; start++) {
        bool fits = true;
        for (uint32_t i = 0; i < wanted->count && fits; i++)
            fits = element_fits(&wanted->elements[i], query->prefix[leaf] && i + 1 == wanted->count, &text->elements[start + i]);
        found += fits;
    }
    return found;
}

/* Whether the node matches; its score in *score. */
static bool evaluate(const struct text_rig_query *query, uint32_t number, const double *leaf_scores, double *score)
{
    const struct text_rig_node *node = &query->nodes[number];
    double left = 0, right = 0;
    if (node->kind == 'l') {
        *score = leaf_scores[node->leaf];
        return leaf_scores[node->leaf] > 0;
    }
    bool a = evaluate(query, node->left, leaf_scores, &left), b = evaluate(query, node->right, leaf_scores, &right);
    *score = (a ? left : 0) + (b && node->kind != '-' ? right : 0);
    return node->kind == '&' ? a && b : node->kind == '|' ? a || b : a && !b;
}

void text_rig_answer(const struct text_rig_query *query, const struct text_rig_text *texts, uint32_t count, double *scores)
{
    double idf[TEXT_RIG_LEAVES_MAX], tokens = 0;
    for (uint32_t d = 0; d < count; d++)
        tokens += texts[d].count;
    for (uint32_t l = 0; l < query->leaf_count; l++) {
        double matching = 0;
        for (uint32_t d = 0; d < count; d++)
            matching += text_rig_occurrences(query, l, &texts[d]) > 0;
        idf[l] = log((count - matching + 0.5) / (matching + 0.5));
        idf[l] = idf[l] > 0 ? idf[l] : 1e-6;
    }
    for (uint32_t d = 0; d < count; d++) {
        double leaf_scores[TEXT_RIG_LEAVES_MAX];
        for (uint32_t l = 0; l < query->leaf_count; l++) {
            double f = text_rig_occurrences(query, l, &texts[d]);
            leaf_scores[l] = f > 0 ? idf[l] * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * texts[d].count / (tokens / count))) : 0;
        }
        if (!evaluate(query, query->root, leaf_scores, &scores[d]))
            scores[d] = -1;
    }
}
