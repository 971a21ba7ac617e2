/* text_query_fuzz.c: fuzz target of the analyser and of the query parser: any bytes are a text and a query. A query that parses is matched against the text, alone and through a section of that one text: both must say the same. Tokens
 * are bounded, valid UTF-8, at ascending positions, and the same when the text is analysed again.
 *
 * Input: byte 0: bit 0 any_word, bits 1 to 3 the analyser; byte 1: the query's length; then the query, then the text.
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: text_query_fuzz [-n count] [-s seed] [file ...]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text.h"
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/text_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { ANALYSERS = 4 };
static struct memory *memory;
static struct text_options options[ANALYSERS] = {{0}, {.keep_diacritics = true}, {0}, {0}};
static struct text_analyser *analysers[ANALYSERS];
static uint64_t parsed_count, matching_count;

static void demand(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void prepare(void)
{
    if (memory)
        return;
    demand(memory_create(64u << 20, false, &memory) == 0 && memory_seal(memory) == 0, "memory");
    demand(text_language_find("english", &options[2].language) == 0 && text_language_find("german", &options[3].language) == 0, "languages");
    for (uint32_t i = 0; i < ANALYSERS; i++)
        demand(text_analyser_create(memory, &options[i], &analysers[i]) == 0, "analyser");
}

struct sum {
    uint64_t sum;
    uint32_t count;
};

static int take_token(void *context, const struct text_token *token)
{
    struct sum *sum = context;
    demand(token->position == sum->count, "positions do not ascend by one");
    demand(token->term_bytes > 0 && token->term_bytes <= TEXT_TERM_BYTES_MAX && token->word_bytes > 0 && token->word_bytes <= TEXT_TERM_BYTES_MAX, "a term out of bounds");
    for (uint32_t at = 0; at < token->term_bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t width = utf8proc_iterate(token->term + at, (utf8proc_ssize_t)(token->term_bytes - at), &c);
        demand(width > 0, "a term that is no UTF-8");
        at += (uint32_t)width;
        sum->sum = sum->sum * 31 + (uint64_t)c;
    }
    sum->count++;
    return 0;
}

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    (void)threshold;
    demand(ordinal == 7, "another row");
    *(double *)context = score;
    return 0;
}

/* The query against the text, alone and in a section. */
static void compare(struct text_query *query, uint32_t which, const uint8_t *text, size_t text_bytes)
{
    struct text_match match;
    struct text_statistics alone = {0}, section = {0};
    struct text_builder *builder;
    struct text_search *search;
    struct text_rig rig;
    text_rig_init(&rig, 1, false);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    demand(text_match(query, analysers[which], text, text_bytes, &match) == 0, "match");
    text_statistics_add(query, &match, &alone);
    demand(text_builder_create(memory, analysers[which], &builder) == 0 && text_builder_add(builder, 7, text, text_bytes) == 0, "build");
    demand(text_builder_finish(builder, &rig.identity, &sink, &rig.root) == 0, "finish");
    text_builder_destroy(builder);
    demand(text_verify(&rig.identity, &rig.root, &source, memory, 8) == 0, "verify");
    demand(text_search_open(query, &options[which], &rig.identity, &rig.root, &source, memory, &search) == 0, "open");
    demand(text_search_statistics(search, &section) == 0, "statistics");
    demand(memcmp(&alone, &section, sizeof alone) == 0, "other statistics alone than in a section");
    double score = -1;
    demand(text_search_run(search, &section, -INFINITY, take_hit, &score) == 0, "run");
    parsed_count++;
    matching_count += match.matches;
    demand(match.matches == (score >= 0), "a match alone and none in a section, or the other way round");
    demand(!match.matches || text_match_score(query, &match, &alone) == score, "another score");
    text_search_close(search);
    text_rig_free(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes < 2 || size_bytes > 20000)
        return 0;
    prepare();
    uint32_t which = data[0] / 2 % ANALYSERS;
    size_t query_bytes = data[1] < size_bytes - 2 ? data[1] : size_bytes - 2, text_bytes = size_bytes - 2 - query_bytes;
    struct text_query_options query_options = {.any_word = data[0] & 1};
    /* Each of its exact size, for the address sanitizer. */
    uint8_t *query_copy = malloc(query_bytes + 1), *text = malloc(text_bytes + 1);
    query_copy = realloc(query_copy, query_bytes ? query_bytes : 1);
    text = realloc(text, text_bytes ? text_bytes : 1);
    memcpy(query_copy, data + 2, query_bytes);
    memcpy(text, data + 2 + query_bytes, text_bytes);
    struct sum first = {0}, second = {0};
    uint32_t count;
    demand(text_analyse(analysers[which], text, text_bytes, take_token, &first, &count) == 0 && count == first.count, "analysis");
    demand(text_analyse(analysers[which], text, text_bytes, take_token, &second, &count) == 0 && second.sum == first.sum && second.count == first.count, "another analysis of the same text");
    struct text_query *query;
    uint64_t used_bytes = memory_used_bytes(memory);
    int result = text_query_parse(memory, analysers[which], query_copy, query_bytes, &query_options, &query);
    demand(result == 0 || result == MOTE_EINVAL || result == MOTE_ETOOBIG, "an error that is none of a query's");
    if (!result)
        compare(query, which, text, text_bytes);
    text_query_destroy(memory, query);
    demand(memory_used_bytes(memory) == used_bytes, "memory was not given back");
    free(query_copy);
    free(text);
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 20000 };

static uint32_t below(uint64_t *random, uint32_t limit) { return (uint32_t)(codec_check_random(random) >> 33) % limit; }

static size_t put_part(uint64_t *random, uint8_t *at, bool query)
{
    static const char *const parts[] = {"a", "b", "ab", "A", "\xC3\xA9", "e\xCC\x81", "\xE5\xB1\xB1", "\xE5\xB7\x9D", "\xE3\x81\x8B", "\xE3\x82\x99", "\xEF\xBD\xB6", "\xEF\xBE\x9E", " ", " ", "-", "\xC2\xAD", "running", "\xED\x95\x9C",
                                        "\xEF\xB7\xBA", "\xE0\xA4\xB9\xE0\xA4\xBF", "\xFF", "\xC3", "\xF0\xA0\x80\x8B", "\xF0\x9F\x98\x80", "\xC2\xBD"};
    static const char *const signs[] = {" AND ", " OR ", " NOT ", "(", ")", "\"", "\"\"", "*", " "};
    enum { PARTS = sizeof parts / sizeof parts[0], SIGNS = sizeof signs / sizeof signs[0] };
    if (below(random, 40) == 0) { /* any character */
        utf8proc_int32_t c = (utf8proc_int32_t)below(random, below(random, 2) ? 0x3000 : 0x110000);
        return utf8proc_codepoint_valid(c) ? (size_t)utf8proc_encode_char(c, at) : 0;
    }
    if (below(random, 60) == 0) {
        at[0] = (uint8_t)below(random, 256);
        return 1;
    }
    const char *part = query && below(random, 3) == 0 ? signs[below(random, SIGNS)] : parts[below(random, PARTS)];
    memcpy(at, part, strlen(part));
    return strlen(part);
}

static size_t make_input(uint64_t *random, uint8_t *data)
{
    uint32_t query_parts = below(random, 14), text_parts = below(random, below(random, 20) ? 60 : 1500);
    size_t length = 2;
    data[0] = (uint8_t)below(random, 256);
    for (uint32_t i = 0; i < query_parts && length < 230; i++)
        length += put_part(random, data + length, true);
    data[1] = (uint8_t)(length - 2);
    for (uint32_t i = 0; i < text_parts; i++)
        length += put_part(random, data + length, false);
    return length;
}

static void finish(void)
{
    printf("%llu queries parsed, %llu matched\n", (unsigned long long)parsed_count, (unsigned long long)matching_count);
    for (uint32_t i = 0; i < ANALYSERS; i++)
        text_analyser_destroy(analysers[i]);
    memory_destroy(memory);
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 10000, .bytes_max = INPUT_BYTES_MAX, .prepare = prepare, .finish = finish};
    return fuzz_run(&run, argc, argv);
}
#endif
