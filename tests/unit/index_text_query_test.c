/* index_text_query_test.c: the analysis (what becomes of which bytes), the query language (what it means, what it refuses and where), limits, and a text by itself against a query. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"

static const char *why(void)
{
    static struct mote_error error;
    mote_last_error(&error);
    return error.message;
}

static struct memory *make_memory(void)
{
    struct memory *memory;
    cr_assert_eq(memory_create(16u << 20, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    return memory;
}

static struct text_analyser *make_analyser(struct memory *memory, const char *language, bool keep_diacritics)
{
    struct text_options options = {.keep_diacritics = keep_diacritics};
    struct text_analyser *analyser;
    cr_assert_eq(text_language_find(language, &options.language), 0);
    cr_assert_eq(text_analyser_create(memory, &options, &analyser), 0);
    return analyser;
}

struct tokens {
    char text[8192];
    size_t length;
    uint32_t count;
};

static int take(void *context, const struct text_token *token)
{
    static const char marks[] = {[TEXT_TOKEN_WORD] = ' ', [TEXT_TOKEN_PAIR] = '+', [TEXT_TOKEN_LAST] = '.', [TEXT_TOKEN_SINGLE] = '!'};
    struct tokens *tokens = context;
    cr_assert_eq(token->position, tokens->count);
    cr_assert(token->term_bytes > 0 && token->term_bytes <= TEXT_TERM_BYTES_MAX);
    tokens->count++;
    tokens->length += (size_t)snprintf(tokens->text + tokens->length, sizeof tokens->text - tokens->length, "%.*s%c", (int)token->term_bytes, token->term, marks[token->kind]);
    return 0;
}

static const char *analyse(struct text_analyser *analyser, const char *text, size_t text_bytes)
{
    static struct tokens tokens;
    uint32_t count;
    tokens = (struct tokens){0};
    cr_assert_eq(text_analyse(analyser, text, text_bytes, take, &tokens, &count), 0);
    cr_assert_eq(count, tokens.count);
    return tokens.text;
}

/* Bytes in, terms out: a word is followed by a space, a pair by +, the last character of a run by a point, a run of one by !. */
Test(index_text_query, analysis_gives_the_terms_of_its_rules)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"The quick-brown FOX's 2nd", "the quick brown fox s 2nd "},
        {"\xC3\x89t\xC3\xA9 e\xCC\x81t\xC3\xA9", "ete ete "},                                     /* composed and decomposed */
        {"Vi\xE1\xBB\x87t", "viet "},                                                          /* two marks on one letter */
        {"Stra\xC3\x9F" "e \xE1\xBA\x9E", "strasse ss "},
        {"\xEF\xBC\xA1\xEF\xBC\xA2\xEF\xBC\x91", "ab1 "},                                         /* full width */
        {"\xEF\xAC\x81n \xC2\xBD x\xC2\xB2 a\xE2\x84\xA2", "fin 1 2 x2 a "},                       /* ligature, a half is 1 and 2, superscript, trade mark separates */
        {"co\xC2\xADop \xE2\x80\x8Bzero\xE2\x80\x8Dwidth", "coop zerowidth "},                     /* soft hyphen, zero-width space and joiner vanish */
        {"\xCE\xA3\xCE\xAF\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x82", "\xCF\x83\xCE\xB9\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x83 "}, /* final sigma */
        {"ab\xFF" "cd \xC3", "ab cd "},                                                         /* bytes that are no UTF-8 */
        {"a\xED\xA0\x80z \xC0\xAF \xF4\x90\x80\x80q", "a z q "},                                 /* a surrogate, an overlong form, above the last character */
        {"\xCC\x81" "abc \xCC\x81", "abc "},                                                     /* marks alone begin no word */
        {"\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1", "\xE5\xAF\x8C\xE5\xA3\xAB+\xE5\xA3\xAB\xE5\xB1\xB1+\xE5\xB1\xB1."},
        {"\xE5\xB1\xB1", "\xE5\xB1\xB1!"},
        {"K2\xE5\xB1\xB1x", "k2 \xE5\xB1\xB1!x "},
        {"\xE5\xB1\xB1\xE3\x80\x82\xE5\xB7\x9D", "\xE5\xB1\xB1!\xE5\xB7\x9D!"},
        {"\xEF\xBD\xB6\xEF\xBE\x9E\xEF\xBD\xBD", "\xE3\x82\xAC\xE3\x82\xB9+\xE3\x82\xB9."},         /* half-width ka, voicing mark, su: gasu */
        {"\xE3\x81\x8B\xE3\x82\x99\xE3\x81\x8D", "\xE3\x81\x8C\xE3\x81\x8D+\xE3\x81\x8D."},         /* a voicing mark of its own */
        {"\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80", "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80 "}, /* Hindi: vowel signs belong to the word */
        {"\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4", "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4 "},         /* Korean stays whole */
    };
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, NULL, false), *keeping = make_analyser(memory, "", true), *english = make_analyser(memory, "english", false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *terms = analyse(analyser, cases[i][0], strlen(cases[i][0]));
        cr_assert_str_eq(terms, cases[i][1], "\"%s\" gives \"%s\"", cases[i][0], terms);
    }
    cr_assert_str_eq(analyse(analyser, "a\0b", 3), "a b ");
    cr_assert_str_eq(analyse(keeping, "\xC3\x89t\xC3\xA9 e\xCC\x81", 9), "\xC3\xA9t\xC3\xA9 \xC3\xA9 ");
    cr_assert_str_eq(analyse(english, "Running runs \xE5\xB1\xB1", 16), "run run \xE5\xB1\xB1!");
    text_analyser_destroy(analyser);
    text_analyser_destroy(keeping);
    text_analyser_destroy(english);
    memory_destroy(memory);
}

Test(index_text_query, long_words_and_runs_are_bounded)
{
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, NULL, false);
    static char text[3000];
    memset(text, 'x', 300);
    text[300] = ' ';
    text[301] = 'y';
    cr_assert_eq(strlen(analyse(analyser, text, 302)), TEXT_TERM_BYTES_MAX + 3);
    /* The same word by the other path, with a letter that is not ASCII at its end: cut alike. */
    memcpy(text + 300, "\xC3\xA9 y", 4);
    cr_assert_eq(strlen(analyse(analyser, text, 304)), TEXT_TERM_BYTES_MAX + 3);
    /* Two bytes a letter: cut between letters. */
    for (int i = 0; i < 200; i++)
        memcpy(text + 2 * i, "\xD0\xB4", 2);
    cr_assert_eq(strlen(analyse(analyser, text, 400)), TEXT_TERM_BYTES_MAX + 1);
    memmove(text + 1, text, 400);
    text[0] = 'a';
    cr_assert_eq(strlen(analyse(analyser, text, 401)), TEXT_TERM_BYTES_MAX - 1 + 1);
    /* A thousand characters without a gap: as many terms, each once. */
    for (int i = 0; i < 1000; i++)
        memcpy(text + 3 * i, i % 2 ? "\xE5\xB1\xB1" : "\xE5\xB7\x9D", 3);
    uint32_t count;
    struct tokens *tokens = calloc(1, sizeof *tokens);
    cr_assert_eq(text_analyse(analyser, text, 3000, take, tokens, &count), 0);
    cr_assert_eq(count, 1000);
    cr_assert_eq(tokens->text[tokens->length - 1], '.');
    /* Marks without end. */
    for (int i = 1; i < 1500; i++)
        memcpy(text + 2 * i, "\xD6\xB0", 2); /* a Hebrew point, which is kept */
    memcpy(text, "ab", 2);
    cr_assert_leq(strlen(analyse(analyser, text, 3000)), TEXT_TERM_BYTES_MAX + 1);
    free(tokens);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

Test(index_text_query, unknown_languages_are_refused)
{
    struct memory *memory = make_memory();
    struct text_analyser *analyser;
    uint32_t language;
    cr_assert_eq(text_language_find("klingon", &language), MOTE_EINVAL);
    cr_assert(strstr(why(), "klingon") != NULL);
    struct text_options options = {.language = 1000};
    cr_assert_eq(text_analyser_create(memory, &options, &analyser), MOTE_EINVAL);
    static const char *const all[] = {"danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "porter", "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
                                      "arabic", "armenian", "basque", "catalan", "greek", "hindi", "indonesian", "irish", "lithuanian", "nepali", "serbian", "tamil", "yiddish"};
    for (uint32_t i = 0; i < 29; i++) {
        cr_assert_eq(text_language_find(all[i], &options.language), 0);
        cr_assert_eq(options.language, i + 1, "the numbers of languages are on devices");
        cr_assert_eq(text_analyser_create(memory, &options, &analyser), 0, "%s", all[i]);
        text_analyser_destroy(analyser);
    }
    memory_destroy(memory);
}

Test(index_text_query, wrong_syntax_names_the_byte)
{
    static const struct {
        const char *query, *byte;
    } cases[] = {
        {"AND", "byte 0"}, {"a AND", "byte 5"}, {"a OR OR b", "byte 5"}, {"NOT a", "byte 0"}, {"a NOT", "byte 5"}, {"a AND NOT b", "byte 6"}, {"(a", "byte 0"}, {"a (b", "byte 2"}, {"a)", "byte 1"}, {"()", "byte 1"},
        {"a \"b c", "byte 2"}, {"*", "byte 0"}, {"a *", "byte 2"}, {"a** b", "byte 2"}, {"(a)*", "byte 3"}, {"\"a\" \"", "byte 4"},
    };
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, NULL, false);
    struct text_query *query;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(text_query_parse(memory, analyser, cases[i].query, strlen(cases[i].query), NULL, &query), MOTE_EINVAL, "%s", cases[i].query);
        cr_assert(strstr(why(), cases[i].byte) != NULL, "%s: %s", cases[i].query, why());
        cr_assert_null(query);
    }
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

static int parse_repeated(struct memory *memory, struct text_analyser *analyser, const char *before, const char *part, const char *after, int count)
{
    static char bytes[80000];
    struct text_query *query;
    char *at = bytes;
    for (int i = 0; i < count; i++)
        at = stpcpy(at, before);
    at = stpcpy(at, part);
    for (int i = 0; i < count; i++)
        at = stpcpy(at, after);
    int result = text_query_parse(memory, analyser, bytes, (size_t)(at - bytes), NULL, &query);
    text_query_destroy(memory, query);
    return result;
}

Test(index_text_query, limits_are_refused)
{
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, NULL, false);
    cr_assert_eq(parse_repeated(memory, analyser, "(", "a", ")", 32), 0);
    cr_assert_eq(parse_repeated(memory, analyser, "(", "a", ")", 33), MOTE_EINVAL);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", " a", 63), 0);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", " a", 64), MOTE_ETOOBIG);
    cr_assert_eq(parse_repeated(memory, analyser, "(a OR ", "a", ")", 32), 0);
    cr_assert_eq(parse_repeated(memory, analyser, "", "\"a", " a", 127), MOTE_EINVAL);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", "-a", 127), 0);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", "-a", 128), MOTE_ETOOBIG);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", " ", 65536), MOTE_ETOOBIG);
    cr_assert_eq(parse_repeated(memory, analyser, "", "a", " ", 65535), 0);
    struct text_query *query;
    for (int n = 0; n < 2; n++) {
        memory_fail_after(memory, n, true);
        cr_assert_eq(text_query_parse(memory, analyser, "a", 1, NULL, &query), MOTE_EBUDGET);
        memory_fail_after(memory, -1, false);
    }
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

/* query, any word?, text, matches, occurrences of the first leaf */
static const struct {
    const char *query;
    bool any_word;
    const char *text;
    bool matches;
    uint32_t occurrences;
} meanings[] = {
    {"", false, "a", false, 0},
    {"--", false, "a --", false, 0},
    {"a --", false, "b a", true, 1},
    {"a NOT --", false, "b a", true, 1},
    {"a b", false, "b a", true, 1},
    {"a b", false, "a", false, 1},
    {"a b", true, "a", true, 1},
    {"a b AND c", true, "b", false, 0},
    {"a OR b AND c", false, "a", true, 1},            /* AND before OR */
    {"(a OR b) AND c", false, "a", false, 1},
    {"a b NOT c", false, "a b c", false, 1},          /* side by side before NOT */
    {"a AND b NOT c", false, "a b", true, 1},
    {"a NOT b NOT c", false, "a c", false, 1},
    {"a NOT (b OR c)", false, "a", true, 1},
    {"and or not", false, "NOT or AND", true, 1},     /* operators are in capitals */
    {"\"AND\"", false, "and", true, 1},
    {"\"a b\"", false, "a b a c b a b", true, 2},
    {"\"a b\"", false, "a, B", true, 1},
    {"\"a a\"", false, "a a a", true, 2},
    {"\"a b a b\"", false, "a b a b a b", true, 2},
    {"\"a b\"", false, "b a", false, 0},
    {"\"say \"\"a\"\" b\"", false, "say a b", true, 1},
    {"e-mail", false, "my e mail", true, 1},
    {"e-mail", false, "mail e", false, 0},
    {"ma*", false, "mail map am", true, 2},
    {"e-ma*", false, "e map", true, 1},
    {"\"a b\"*", false, "a bc a b a", true, 2},
    {"caf\xC3\xA9*", false, "CAFETERIA", true, 1},
    {"\xE5\xAF\x8C\xE5\xA3\xAB", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1", true, 1},
    {"\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1\xE3\x81\xAE", true, 1},
    {"\xE5\xAF\x8C\xE5\xB1\xB1", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1", false, 0},
    {"\xE5\xB1\xB1", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1 \xE5\xB1\xB1\xE5\xB7\x9D \xE5\xB1\xB1", true, 3},
    {"\xE5\xAF\x8C\xE5\xA3\xAB*", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1", true, 1},
    {"\"\xE5\xAF\x8C\xE5\xA3\xAB x\"", false, "\xE5\xAF\x8C\xE5\xA3\xAB x", true, 1},
    {"\"\xE5\xAF\x8C\xE5\xA3\xAB x\"", false, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1 x", false, 0},
};

Test(index_text_query, queries_mean_what_the_grammar_says)
{
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, NULL, false);
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        struct text_query_options options = {.any_word = meanings[i].any_word};
        struct text_query *query;
        struct text_match match;
        cr_assert_eq(text_query_parse(memory, analyser, meanings[i].query, strlen(meanings[i].query), &options, &query), 0, "%s: %s", meanings[i].query, why());
        cr_assert_eq(text_match(query, analyser, meanings[i].text, strlen(meanings[i].text), &match), 0);
        cr_assert_eq(match.matches, meanings[i].matches, "%s in \"%s\"", meanings[i].query, meanings[i].text);
        cr_assert_eq(match.frequencies[0], meanings[i].occurrences, "%s in \"%s\": %u", meanings[i].query, meanings[i].text, match.frequencies[0]);
        text_query_destroy(memory, query);
    }
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

Test(index_text_query, stems_find_each_other)
{
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory, "english", false);
    struct text_query *query;
    struct text_match match;
    cr_assert_eq(text_query_parse(memory, analyser, "connections", 11, NULL, &query), 0);
    cr_assert_eq(text_match(query, analyser, "connected connecting connect", 28, &match), 0);
    cr_assert_eq(match.frequencies[0], 3);
    text_query_destroy(memory, query);
    /* A prefix is as it is written. */
    cr_assert_eq(text_query_parse(memory, analyser, "connections*", 12, NULL, &query), 0);
    cr_assert_eq(text_match(query, analyser, "connected", 9, &match), 0);
    cr_assert_eq(match.frequencies[0], 0);
    text_query_destroy(memory, query);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}
