/* index_text_edge_test.c: the text index at its edges: a dictionary of several levels under a page table of several pages, one document of many pages, every allocation that fails, a sink that fails, misuse, golden bytes. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/text_rig.h"

static const struct text_options plain_options;

static const char *why(void)
{
    static struct mote_error error;
    mote_last_error(&error);
    return error.message;
}

static struct memory *make_memory(uint64_t budget_bytes)
{
    struct memory *memory;
    cr_assert_eq(memory_create(budget_bytes, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    return memory;
}

struct hits {
    uint32_t count, last;
    double score;
};

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct hits *hits = context;
    (void)threshold;
    hits->count++;
    hits->last = ordinal;
    hits->score = score;
    return 0;
}

static int search(struct memory *memory, struct text_rig *rig, const struct text_query *query, struct hits *hits, struct text_statistics *statistics)
{
    struct section_source source = text_rig_source(rig);
    struct text_search *search;
    *hits = (struct hits){0};
    *statistics = (struct text_statistics){0};
    int result = text_search_open(query, &plain_options, &rig->identity, &rig->root, &source, memory, &search);
    if (!result)
        result = text_search_statistics(search, statistics);
    uint64_t bytes;
    struct text_findings *findings = result ? NULL : text_search_keep(search, UINT64_MAX, &bytes);
    if (findings) {
        text_search_close(search);
        result = text_search_open_again(query, &plain_options, &rig->identity, &rig->root, &source, memory, findings, &search);
    }
    if (!result)
        result = text_search_run(search, statistics, -INFINITY, take_hit, hits);
    text_search_close(search);
    return result;
}

static int search_bytes(struct memory *memory, struct text_analyser *analyser, struct text_rig *rig, const char *bytes, size_t byte_count, struct hits *hits)
{
    struct text_query *query;
    struct text_statistics statistics;
    int result = text_query_parse(memory, analyser, bytes, byte_count, NULL, &query);
    cr_assert_eq(result, 0, "%s", why());
    result = search(memory, rig, query, hits, &statistics);
    text_query_destroy(memory, query);
    return result;
}

/* Row i's only word, of 128 letters. */
static void make_word(uint32_t i, char *word)
{
    uint64_t random = i * 0x9E3779B97F4A7C15u + 1;
    for (uint32_t b = 0; b < TEXT_TERM_BYTES_MAX; b++)
        word[b] = (char)('a' + (codec_check_random(&random) >> 40) % 26);
}

Test(index_text_edge, dictionary_of_several_levels_finds_every_word)
{
    enum { COUNT = 620000 };
    struct memory *memory = make_memory(700u << 20);
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig rig, merged;
    struct hits hits;
    char word[TEXT_TERM_BYTES_MAX];
    text_rig_init(&rig, 4, false);
    text_rig_init(&merged, 4, false);
    struct section_sink sink = text_rig_sink(&rig), merged_sink = text_rig_sink(&merged);
    struct section_source source = text_rig_source(&rig);
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        make_word(i, word);
        cr_assert_eq(text_builder_add(builder, i, word, sizeof word), 0);
    }
    uint64_t bound = text_builder_section_bytes_bound(builder);
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    cr_assert_leq(rig.length, bound);

    struct text_section section;
    cr_assert_eq(text_section_open(&section, memory, &rig.identity, &rig.root, &source), 0);
    cr_assert_geq(section.totals.inner_levels, 2);
    cr_assert_geq(section.table_pages, 2);
    text_section_close(&section);
    for (uint32_t i = 0; i < COUNT; i += 3011) {
        make_word(i, word);
        uint64_t reads = rig.reads;
        cr_assert_eq(search_bytes(memory, analyser, &rig, word, sizeof word, &hits), 0);
        cr_assert_eq(hits.count, 1, "word %u", i);
        cr_assert_eq(hits.last, i);
        cr_assert_leq(rig.reads - reads, 10, "%llu pages were read", (unsigned long long)(rig.reads - reads));
        word[TEXT_TERM_BYTES_MAX - 1]++;
        cr_assert_eq(search_bytes(memory, analyser, &rig, word, sizeof word, &hits), 0);
        cr_assert_eq(hits.count, 0);
        word[20] = '*';
        cr_assert_eq(search_bytes(memory, analyser, &rig, word, 21, &hits), 0);
        cr_assert_eq(hits.count, 1);
    }
    cr_assert_eq(search_bytes(memory, analyser, &rig, "ab*", 3, &hits), 0);
    cr_assert(hits.count > COUNT / 1400 && hits.count < COUNT / 400, "%u", hits.count);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "zzzzzzzzzzzzzzzz*", 17, &hits), 0);
    cr_assert_eq(hits.count, 0);
    cr_assert_eq(text_verify(&rig.identity, &rig.root, &source, memory, COUNT), 0, "%s", why());
    uint32_t *same = malloc(COUNT * sizeof *same);
    for (uint32_t i = 0; i < COUNT; i++)
        same[i] = i;
    struct section_merge_input input = {&rig.identity, &rig.root, &source, same, COUNT, 0, COUNT};
    cr_assert_eq(text_merge(memory, &plain_options, &input, 1, &merged.identity, &merged_sink, &merged.root), 0);
    cr_assert_eq(merged.length, rig.length);
    cr_assert_eq(memcmp(merged.bytes, rig.bytes, rig.length), 0);
    free(same);
    text_rig_free(&rig);
    text_rig_free(&merged);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

Test(index_text_edge, prefix_of_too_many_words_is_refused)
{
    struct memory *memory = make_memory(256u << 20);
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig rig;
    struct hits hits;
    text_rig_init(&rig, 4, false);
    struct section_sink sink = text_rig_sink(&rig);
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    for (uint32_t i = 0; i <= TEXT_PREFIX_TERMS_MAX; i++) {
        char word[16];
        int length = snprintf(word, sizeof word, "w%06u", i);
        cr_assert_eq(text_builder_add(builder, i, word, (size_t)length), 0);
    }
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "w*", 2, &hits), MOTE_ETOOBIG);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "w0*", 3, &hits), MOTE_ETOOBIG);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "w03*", 4, &hits), 0);
    cr_assert_eq(hits.count, 10000);
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

/* A document whose positions fill many pages, among small ones. */
Test(index_text_edge, document_of_many_pages_is_found)
{
    enum { WORDS = 300000 };
    struct memory *memory = make_memory(64u << 20);
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig rig;
    struct hits hits;
    struct text_statistics statistics;
    struct text_query *query;
    text_rig_init(&rig, 4, true);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    char *text = malloc(WORDS * 4 + 1);
    for (uint32_t i = 0; i < WORDS; i++)
        memcpy(text + 4 * i, i % 3000 == 2999 ? "end " : i % 2 ? "two " : "one ", 4);
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    cr_assert_eq(text_builder_add(builder, 3, "one two", 7), 0);
    cr_assert_eq(text_builder_add(builder, 9, text, WORDS * 4), 0);
    cr_assert_eq(text_builder_add(builder, 4000000, "one two end", 11), 0);
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    cr_assert_eq(text_verify(&rig.identity, &rig.root, &source, memory, 4000001), 0, "%s", why());
    cr_assert_eq(text_query_parse(memory, analyser, "\"one end one two\"", 17, NULL, &query), 0);
    cr_assert_eq(search(memory, &rig, query, &hits, &statistics), 0);
    cr_assert_eq(hits.count, 1);
    cr_assert_eq(hits.last, 9);
    struct text_match match;
    cr_assert_eq(text_match(query, analyser, text, WORDS * 4, &match), 0);
    cr_assert_eq(match.frequencies[0], WORDS / 3000 - 1);
    cr_assert_eq(text_match_score(query, &match, &statistics), hits.score);
    text_query_destroy(memory, query);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "one AND end", 11, &hits), 0);
    cr_assert_eq(hits.count, 2);
    cr_assert_eq(hits.last, 4000000);
    free(text);
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

struct failing {
    struct memory *memory;
    struct text_analyser *analyser;
    struct text_query *query;
    struct text_rig rig, out;
    uint32_t new_ordinals[400];
};

/* 0: build, 1: merge, 2: search, 3: verify. Each gives back what it took, whatever fails. */
static int attempt(struct failing *failing, int what)
{
    struct section_sink sink = text_rig_sink(&failing->out);
    struct section_source source = text_rig_source(&failing->rig);
    struct text_builder *builder = NULL;
    struct text_statistics statistics;
    struct hits hits;
    int result;
    failing->out.length = 0;
    if (what == 0) {
        result = text_builder_create(failing->memory, failing->analyser, &builder);
        for (uint32_t i = 0; i < 400 && !result; i++) {
            char text[64];
            int length = snprintf(text, sizeof text, "word%u all these w%u", i % 300, i % 3);
            result = text_builder_add(builder, i, text, (size_t)length);
        }
        if (!result)
            result = text_builder_finish(builder, &failing->out.identity, &sink, &failing->out.root);
        text_builder_destroy(builder);
        return result;
    }
    struct section_merge_input input = {&failing->rig.identity, &failing->rig.root, &source, failing->new_ordinals, 400, 0, 400};
    return what == 1   ? text_merge(failing->memory, &plain_options, &input, 1, &failing->out.identity, &sink, &failing->out.root)
           : what == 2 ? search(failing->memory, &failing->rig, failing->query, &hits, &statistics)
                       : text_verify(&failing->rig.identity, &failing->rig.root, &source, failing->memory, 400);
}

Test(index_text_edge, allocations_that_fail_are_budget_errors)
{
    struct failing failing = {.memory = make_memory(64u << 20)};
    text_rig_init(&failing.rig, 4, false);
    text_rig_init(&failing.out, 4, false);
    for (uint32_t i = 0; i < 400; i++)
        failing.new_ordinals[i] = i;
    cr_assert_eq(text_analyser_create(failing.memory, &plain_options, &failing.analyser), 0);
    cr_assert_eq(text_query_parse(failing.memory, failing.analyser, "\"all these\" OR word1* w1", 24, NULL, &failing.query), 0);
    cr_assert_eq(attempt(&failing, 0), 0);
    failing.rig.bytes = malloc(failing.out.length);
    memcpy(failing.rig.bytes, failing.out.bytes, failing.out.length);
    failing.rig.length = failing.out.length;
    failing.rig.root = failing.out.root;
    uint64_t used_bytes = memory_used_bytes(failing.memory);
    for (int what = 0; what < 4; what++) {
        int result = MOTE_EBUDGET, failures = 0;
        for (int64_t n = 0; result == MOTE_EBUDGET; n++, failures++) {
            memory_fail_after(failing.memory, n, true);
            result = attempt(&failing, what);
            memory_fail_after(failing.memory, -1, false);
            cr_assert_eq(memory_used_bytes(failing.memory), used_bytes, "%d, allocation %lld: memory was not given back", what, (long long)n);
            cr_assert_eq(failing.rig.pinned, 0, "%d, allocation %lld: pages stay pinned", what, (long long)n);
        }
        cr_assert_eq(result, 0, "%d: %s", what, why());
        cr_assert_gt(failures, 2);
    }
    text_query_destroy(failing.memory, failing.query);
    text_rig_free(&failing.rig);
    text_rig_free(&failing.out);
    text_analyser_destroy(failing.analyser);
    memory_destroy(failing.memory);
}

static int full_place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    uint64_t *left = context;
    *offset_bytes = 0;
    return *left < length_bytes ? MOTE_ENOSPC : 0;
}

static int full_write(void *context, const void *data, uint32_t length_bytes)
{
    (void)data;
    *(uint64_t *)context -= length_bytes;
    return 0;
}

Test(index_text_edge, misuse_and_a_full_device_are_refused)
{
    struct memory *memory = make_memory(32u << 20);
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig rig;
    struct section_root root;
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    cr_assert_eq(text_builder_add(builder, 5, "a b", 3), 0);
    cr_assert_eq(text_builder_add(builder, 5, "a", 1), MOTE_EINVAL);
    cr_assert_eq(text_builder_add(builder, 4, "a", 1), MOTE_EINVAL);
    cr_assert_eq(text_builder_add(builder, UINT32_MAX, "a", 1), MOTE_EINVAL);
    cr_assert_eq(text_builder_add(builder, 6, "", 0), 0);
    cr_assert_gt(text_builder_memory_bytes(builder), 0);
    text_rig_init(&rig, 4, false);
    for (uint64_t room = 0, result = 1; result; room += 50) {
        uint64_t left = room;
        struct section_sink full = {full_place, full_write, &left};
        int finished = text_builder_finish(builder, &rig.identity, &full, &root);
        cr_assert(finished == 0 || finished == MOTE_ENOSPC, "%d", finished);
        result = finished != 0;
        cr_assert_lt(room, 5000);
    }
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    struct text_query *query;
    struct text_search *made;
    struct text_options other = {.language = 3};
    cr_assert_eq(text_query_parse(memory, analyser, "a", 1, NULL, &query), 0);
    cr_assert_eq(text_search_open(query, &other, &rig.identity, &rig.root, &source, memory, &made), MOTE_EINVAL);
    cr_assert_null(made);
    /* A root of rules that a newer mote made. */
    rig.bytes[rig.root.root_offset_bytes + TEXT_HEADER_BYTES + 4]++;
    text_rig_reseal(&rig);
    cr_assert_eq(text_search_open(query, &plain_options, &rig.identity, &rig.root, &source, memory, &made), MOTE_EVERSION);
    text_query_destroy(memory, query);
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

static const uint8_t golden[] = {
#include "tests/unit/index_text_golden.inc"
};

/* Version 1, byte for byte: what is on devices stays readable. */
Test(index_text_edge, golden_bytes_are_written_and_read)
{
    struct memory *memory = make_memory(32u << 20);
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig rig;
    struct hits hits;
    text_rig_init(&rig, 0x1122334455667788, false);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    cr_assert_eq(text_builder_add(builder, 0, "The cat, the mat.", 17), 0);
    cr_assert_eq(text_builder_add(builder, 2, "\xE5\xAF\x8C\xE5\xA3\xAB\xE5\xB1\xB1 Caf\xC3\xA9", 15), 0);
    cr_assert_eq(text_builder_add(builder, 3, "", 0), 0);
    for (uint32_t i = 5; i < 140; i++)
        cr_assert_eq(text_builder_add(builder, i, "cat cat mats", i % 3 ? 7 : 12), 0);
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    if (rig.length != sizeof golden || memcmp(rig.bytes, golden, sizeof golden) != 0)
        for (uint64_t i = 0; i < rig.length; i++)
            printf("%s0x%02x,%s", i % 24 ? " " : "", rig.bytes[i], i % 24 == 23 || i + 1 == rig.length ? "\n" : "");
    cr_assert_eq(rig.length, sizeof golden);
    cr_assert_eq(memcmp(rig.bytes, golden, sizeof golden), 0);
    memcpy(rig.bytes, golden, sizeof golden);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "cat NOT the", 11, &hits), 0);
    cr_assert_eq(hits.count, 135);
    cr_assert_eq(search_bytes(memory, analyser, &rig, "\xE5\xA3\xAB cafe", 8, &hits), 0);
    cr_assert_eq(hits.count, 1);
    cr_assert_eq(hits.last, 2);
    cr_assert_eq(text_verify(&rig.identity, &rig.root, &source, memory, 140), 0);
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}
