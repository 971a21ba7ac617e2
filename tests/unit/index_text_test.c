/* index_text_test.c: the text index by itself, in memory: random documents and queries (words, prefixes, phrases, Chinese and Japanese, AND, OR, NOT) over several sections and loose texts against brute force, with and without a
 * threshold; merges against a build from scratch, byte for byte; every bit of a section flipped. */
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

enum { SECTIONS = 3 };

static const struct text_options plain_options;

static const char *why(void)
{
    static struct mote_error error;
    mote_last_error(&error);
    return error.message;
}

static struct memory *make_memory(void)
{
    struct memory *memory;
    cr_assert_eq(memory_create(256u << 20, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    return memory;
}

static struct text_analyser *make_analyser(struct memory *memory)
{
    struct text_analyser *analyser;
    cr_assert_eq(text_analyser_create(memory, &plain_options, &analyser), 0);
    return analyser;
}

/* Texts first to last, of which ordinals has the ordinal of each, or TEXT_DROPPED: no row. */
static void build(struct memory *memory, const struct text_rig_text *texts, const uint32_t *ordinals, uint32_t count, struct text_rig *rig)
{
    struct text_analyser *analyser = make_analyser(memory);
    struct text_builder *builder;
    struct section_sink sink = text_rig_sink(rig);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    for (uint32_t i = 0; i < count; i++)
        if (ordinals[i] != TEXT_DROPPED)
            cr_assert_eq(text_builder_add(builder, ordinals[i], texts[i].bytes, texts[i].byte_count), 0);
    uint64_t bound = text_builder_section_bytes_bound(builder);
    cr_assert_eq(text_builder_finish(builder, &rig->identity, &sink, &rig->root), 0);
    cr_assert_eq(rig->root.length_bytes, rig->length);
    if (!rig->gaps)
        cr_assert_leq(rig->length, bound);
    text_builder_destroy(builder);
    text_analyser_destroy(analyser);
}

/* A table of texts: some in sections, the others loose, as in a memtable. */
struct world {
    struct memory *memory;
    uint64_t used_bytes; /* before anything was taken */
    struct text_analyser *analyser;
    struct text_rig_text *texts;
    uint32_t count, firsts[SECTIONS + 1]; /* of each section; then of the loose ones */
    uint32_t *ordinals;
    struct text_rig rigs[SECTIONS];
};

static void make_world(struct world *world, uint64_t *random, uint32_t count, uint32_t elements_max, bool gaps)
{
    *world = (struct world){.memory = make_memory(), .count = count};
    world->used_bytes = memory_used_bytes(world->memory);
    world->analyser = make_analyser(world->memory);
    world->texts = calloc(count + 1, sizeof *world->texts);
    world->ordinals = calloc(count + 1, sizeof *world->ordinals);
    for (uint32_t i = 0; i < count; i++)
        text_rig_make_text(random, elements_max, &world->texts[i]);
    world->firsts[1] = count / 2;
    world->firsts[2] = count / 2 + (uint32_t)(codec_check_random(random) >> 40) % (count / 4 + 1);
    world->firsts[3] = count - count / 10;
    for (uint32_t s = 0; s < SECTIONS; s++) {
        uint32_t ordinal = 0;
        for (uint32_t i = world->firsts[s]; i < world->firsts[s + 1]; i++) {
            ordinal += gaps ? (uint32_t)(codec_check_random(random) >> 62) * 1000 : 0; /* rows without a text */
            world->ordinals[i] = ordinal++;
        }
        text_rig_init(&world->rigs[s], 70 + s, gaps);
        build(world->memory, world->texts + world->firsts[s], world->ordinals + world->firsts[s], world->firsts[s + 1] - world->firsts[s], &world->rigs[s]);
    }
}

static void free_world(struct world *world)
{
    for (uint32_t s = 0; s < SECTIONS; s++) {
        cr_assert_eq(world->rigs[s].pinned, 0, "pages stay pinned");
        text_rig_free(&world->rigs[s]);
    }
    text_analyser_destroy(world->analyser);
    cr_assert_eq(memory_used_bytes(world->memory), world->used_bytes, "memory was not given back");
    memory_destroy(world->memory);
    free(world->texts);
    free(world->ordinals);
}

/* What a search finds: the k best, and all that it was handed. */
struct found {
    const struct world *world;
    uint32_t section, k, best_count, handed;
    double *scores; /* by text; -1: not handed over */
    double best[64];
    int64_t last_ordinal;
    bool wrong;
};

static void keep_best(struct found *found, double score, double *threshold)
{
    uint32_t at = found->best_count < found->k ? found->best_count++ : found->k;
    if (at == found->k && score <= found->best[--at])
        return;
    for (; at > 0 && found->best[at - 1] < score; at--)
        found->best[at] = found->best[at - 1];
    found->best[at] = score;
    if (found->best_count == found->k)
        *threshold = found->best[found->k - 1];
}

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct found *found = context;
    const struct world *world = found->world;
    found->wrong |= ordinal <= found->last_ordinal;
    found->last_ordinal = ordinal;
    found->handed++;
    uint32_t low = world->firsts[found->section], high = world->firsts[found->section + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (world->ordinals[middle] < ordinal)
            low = middle + 1;
        else
            high = middle;
    }
    found->wrong |= low == world->firsts[found->section + 1] || world->ordinals[low] != ordinal;
    if (found->wrong)
        return 1;
    found->scores[low] = score;
    if (found->k)
        keep_best(found, score, threshold);
    return 0;
}

/* The section's search is closed and opened again, with what was found of phrases and prefixes, if that fits. */
static int open_again(struct world *world, uint32_t s, const struct text_query *query, uint64_t bytes_max, const struct section_source *source, struct text_search **search)
{
    uint64_t bytes;
    struct text_findings *findings = text_search_keep(*search, bytes_max, &bytes);
    cr_assert(!findings || bytes <= bytes_max, "%llu bytes are kept, of at most %llu", (unsigned long long)bytes, (unsigned long long)bytes_max);
    text_search_close(*search);
    return text_search_open_again(query, &plain_options, &world->rigs[s].identity, &world->rigs[s].root, source, world->memory, findings, search);
}

/* The whole protocol over all sections and loose texts. */
static int ask(struct world *world, const struct text_query *query, uint32_t k, struct found *found)
{
    struct text_search *searches[SECTIONS] = {0};
    struct section_source sources[SECTIONS];
    struct text_statistics statistics = {0};
    struct text_match match;
    double threshold = -INFINITY;
    int result = 0;
    *found = (struct found){.world = world, .k = k, .scores = malloc((world->count + 1) * sizeof(double))};
    for (uint32_t i = 0; i < world->count; i++)
        found->scores[i] = -1;
    for (uint32_t s = 0; s < SECTIONS && !result; s++) {
        sources[s] = text_rig_source(&world->rigs[s]);
        result = text_search_open(query, &plain_options, &world->rigs[s].identity, &world->rigs[s].root, &sources[s], world->memory, &searches[s]);
        if (!result)
            result = text_search_statistics(searches[s], &statistics);
        if (!result && (s + k) % 4 > 0)
            result = open_again(world, s, query, (s + k) % 4 == 1 ? 1500 : UINT64_MAX, &sources[s], &searches[s]);
    }
    for (uint32_t i = world->firsts[SECTIONS]; i < world->count && !result; i++) {
        result = text_match(query, world->analyser, world->texts[i].bytes, world->texts[i].byte_count, &match);
        text_statistics_add(query, &match, &statistics);
    }
    for (uint32_t i = world->firsts[SECTIONS]; i < world->count && !result; i++) {
        result = text_match(query, world->analyser, world->texts[i].bytes, world->texts[i].byte_count, &match);
        if (match.matches) {
            found->scores[i] = text_match_score(query, &match, &statistics);
            if (k)
                keep_best(found, found->scores[i], &threshold);
        }
    }
    for (uint32_t s = 0; s < SECTIONS && !result; s++) {
        found->section = s;
        found->last_ordinal = -1;
        result = text_search_run(searches[s], &statistics, threshold, take_hit, found);
        /* The same text scores the same, in a section or loose, to the last bit. */
        for (uint32_t i = world->firsts[s]; i < world->firsts[s + 1] && !result && !k; i += 7) {
            result = text_match(query, world->analyser, world->texts[i].bytes, world->texts[i].byte_count, &match);
            found->wrong |= match.matches != (found->scores[i] >= 0) || (match.matches && text_match_score(query, &match, &statistics) != found->scores[i]);
        }
        threshold = found->best_count == k && k ? found->best[k - 1] : threshold;
    }
    for (uint32_t s = 0; s < SECTIONS; s++)
        text_search_close(searches[s]);
    return result;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static void check_query(struct world *world, uint64_t *random, double *expected)
{
    struct text_rig_query wanted;
    struct text_query *query;
    struct text_query_options options = {0};
    struct found found;
    text_rig_make_query(random, &wanted);
    cr_assert_eq(text_query_parse(world->memory, world->analyser, wanted.bytes, strlen(wanted.bytes), &options, &query), 0, "%s: %s", wanted.bytes, why());
    text_rig_answer(&wanted, world->texts, world->count, expected);
    cr_assert_eq(ask(world, query, 0, &found), 0, "%s", wanted.bytes);
    cr_assert(!found.wrong, "%s", wanted.bytes);
    for (uint32_t i = 0; i < world->count; i++)
        cr_assert(fabs(found.scores[i] - expected[i]) <= 1e-9 * (1 + fabs(expected[i])), "%s: text %u \"%.*s\" scores %.12g, not %.12g", wanted.bytes, i, (int)world->texts[i].byte_count,
                  world->texts[i].bytes, found.scores[i], expected[i]);
    free(found.scores);
    uint32_t k = 1 + (uint32_t)(codec_check_random(random) >> 40) % 20;
    cr_assert_eq(ask(world, query, k, &found), 0, "%s", wanted.bytes);
    cr_assert(!found.wrong, "%s", wanted.bytes);
    qsort(expected, world->count, sizeof *expected, descending);
    for (uint32_t i = 0; i < k; i++) {
        double best = i < found.best_count ? found.best[i] : -1, should = i < world->count ? expected[i] : -1;
        cr_assert(fabs(best - should) <= 1e-9 * (1 + fabs(should)), "%s: best %u of %u is %.12g, not %.12g", wanted.bytes, i, k, best, should);
    }
    free(found.scores);
    text_query_destroy(world->memory, query);
}

Test(index_text, random_queries_answers_equal_brute_force)
{
    uint64_t random = requests_seed("index_text_random") | 1;
    static const uint32_t counts[] = {0, 1, 5, 60, 300, 2500};
    for (uint32_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (uint32_t shape = 0; shape < 3; shape++) {
            struct world world;
            make_world(&world, &random, counts[c], shape == 0 ? 3 : shape == 1 ? 12 : 55, shape == 1);
            double *expected = malloc((counts[c] + 1) * sizeof *expected);
            for (uint32_t s = 0; s < SECTIONS; s++) {
                struct section_source source = text_rig_source(&world.rigs[s]);
                cr_assert_eq(text_verify(&world.rigs[s].identity, &world.rigs[s].root, &source, world.memory, 1u << 30), 0, "%s", why());
            }
            for (uint32_t i = 0; i < (counts[c] > 1000 ? 60 : 150); i++)
                check_query(&world, &random, expected);
            free(expected);
            free_world(&world);
        }
}

/* What the statistics needed of postings and positions is not read for the ranking again. */
Test(index_text, kept_phrases_are_not_evaluated_again)
{
    enum { COUNT = 20000 };
    static const char *const queries[] = {"\"one two\"", "th*", "\"one tw\"*", "\"one two\" OR th*", "th* NOT \"one two\""};
    uint64_t random = 7, bytes;
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory);
    struct text_builder *builder;
    struct text_rig rig;
    text_rig_init(&rig, 1, false);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    struct world world = {.count = COUNT, .firsts = {0, COUNT, COUNT, COUNT}, .ordinals = malloc(COUNT * sizeof(uint32_t))};
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        char text[400] = "";
        for (uint32_t w = 0; w < 20; w++)
            strcat(text, (codec_check_random(&random) >> 40) % 3 == 0 ? "one " : (codec_check_random(&random) >> 40) % 2 == 0 ? "two " : (codec_check_random(&random) >> 40) % 16 == 0 ? "three " : "thirty ");
        world.ordinals[i] = i;
        cr_assert_eq(text_builder_add(builder, i, text, strlen(text)), 0);
    }
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    for (uint32_t q = 0; q < sizeof queries / sizeof queries[0]; q++) {
        struct text_query *query;
        struct text_search *search;
        struct text_statistics statistics = {0};
        double *scores[2];
        uint64_t reads[2];
        cr_assert_eq(text_query_parse(memory, analyser, queries[q], strlen(queries[q]), NULL, &query), 0, "%s", why());
        for (uint32_t round = 0; round < 2; round++) {
            struct found found = {.world = &world, .scores = scores[round] = malloc(COUNT * sizeof(double)), .last_ordinal = -1};
            for (uint32_t i = 0; i < COUNT; i++)
                found.scores[i] = -1;
            statistics = (struct text_statistics){0};
            cr_assert_eq(text_search_open(query, &plain_options, &rig.identity, &rig.root, &source, memory, &search), 0);
            cr_assert_eq(text_search_statistics(search, &statistics), 0);
            struct text_findings *findings = text_search_keep(search, round == 0 ? 0 : UINT64_MAX, &bytes);
            cr_assert_eq(findings != NULL, round == 1, "%s", queries[q]);
            text_search_close(search);
            reads[round] = rig.reads;
            cr_assert_eq(text_search_open_again(query, &plain_options, &rig.identity, &rig.root, &source, memory, findings, &search), 0);
            cr_assert_eq(text_search_run(search, &statistics, -INFINITY, take_hit, &found), 0);
            reads[round] = rig.reads - reads[round];
            cr_assert(!found.wrong && found.handed > 0, "%s", queries[q]);
            text_search_close(search);
        }
        cr_assert_eq(memcmp(scores[0], scores[1], COUNT * sizeof(double)), 0, "%s", queries[q]);
        cr_assert_lt(reads[1], COUNT / 4000 + 10, "%s: %llu pages were read again, without what was kept %llu", queries[q], (unsigned long long)reads[1], (unsigned long long)reads[0]);
        cr_assert_lt(2 * reads[1], reads[0], "%s: %llu pages were read again, without what was kept %llu", queries[q], (unsigned long long)reads[1], (unsigned long long)reads[0]);
        free(scores[0]);
        free(scores[1]);
        text_query_destroy(memory, query);
    }
    free(world.ordinals);
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

/* Words that are common, and one that is rare: with a threshold most documents are passed over. */
Test(index_text, threshold_passes_over_documents)
{
    enum { COUNT = 60000, K = 10 };
    uint64_t random = 5;
    struct memory *memory = make_memory();
    struct text_analyser *analyser = make_analyser(memory);
    struct text_builder *builder;
    struct text_rig rig;
    text_rig_init(&rig, 1, false);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    cr_assert_eq(text_builder_create(memory, analyser, &builder), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        char text[400] = "";
        uint32_t length = 3 + (uint32_t)(codec_check_random(&random) >> 40) % 60;
        for (uint32_t w = 0; w < length; w++)
            strcat(text, (codec_check_random(&random) >> 40) % 5 == 0 ? "often " : (codec_check_random(&random) >> 40) % 5 == 0 ? "so " : "x ");
        strcat(text, i % 5000 == 77 ? "rare" : "");
        cr_assert_eq(text_builder_add(builder, i, text, strlen(text)), 0);
    }
    cr_assert_eq(text_builder_finish(builder, &rig.identity, &sink, &rig.root), 0);
    text_builder_destroy(builder);
    static const char *const queries[] = {"rare OR often", "often OR so", "often so", "so AND (rare OR often)"};
    static const uint64_t most[] = {COUNT / 20, COUNT, COUNT, COUNT};
    for (uint32_t q = 0; q < 4; q++) {
        struct text_query *query;
        struct text_search *search;
        struct text_statistics statistics = {0};
        struct world world = {.count = COUNT, .firsts = {0, COUNT, COUNT, COUNT}, .ordinals = malloc(COUNT * sizeof(uint32_t))};
        struct found all = {.world = &world, .scores = malloc(COUNT * sizeof(double)), .last_ordinal = -1}, best = {.world = &world, .k = K, .scores = malloc(COUNT * sizeof(double)), .last_ordinal = -1};
        for (uint32_t i = 0; i < COUNT; i++)
            world.ordinals[i] = i, all.scores[i] = -1;
        cr_assert_eq(text_query_parse(memory, analyser, queries[q], strlen(queries[q]), NULL, &query), 0);
        cr_assert_eq(text_search_open(query, &plain_options, &rig.identity, &rig.root, &source, memory, &search), 0);
        cr_assert_eq(text_search_statistics(search, &statistics), 0);
        cr_assert_eq(text_search_run(search, &statistics, -INFINITY, take_hit, &all), 0);
        uint64_t reads = rig.reads;
        cr_assert_eq(text_search_run(search, &statistics, -INFINITY, take_hit, &best), 0);
        reads = rig.reads - reads;
        qsort(all.scores, COUNT, sizeof(double), descending);
        for (uint32_t i = 0; i < K; i++)
            cr_assert_eq(all.scores[i], best.best[i], "%s: place %u", queries[q], i);
        cr_assert_lt(best.handed, all.handed / 5, "%s: %u of %u documents were handed over", queries[q], best.handed, all.handed);
        cr_assert_lt(reads, most[q], "%s: %llu pages were read", queries[q], (unsigned long long)reads);
        text_search_close(search);
        text_query_destroy(memory, query);
        free(all.scores);
        free(best.scores);
        free(world.ordinals);
    }
    text_rig_free(&rig);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

/* Several sections, some of whose rows are gone, interleaved: the same bytes as one section of what is left. */
Test(index_text, merge_gives_the_bytes_of_a_build)
{
    uint64_t random = requests_seed("index_text_merge") | 1;
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t count = round < 30 ? 4 + round * 5 : 3000, next = 0, kept = 0, dropping = round % 4 == 3 ? 1 : 3 + round % 5;
        struct world world;
        make_world(&world, &random, count, round % 3 == 0 ? 4 : 30, round % 2);
        uint32_t *new_ordinals[SECTIONS], at[SECTIONS], rows[SECTIONS], *ordinals = malloc((count + 1) * sizeof *ordinals);
        struct text_rig_text *texts = calloc(count + 1, sizeof *texts);
        struct section_merge_input inputs[SECTIONS];
        struct section_source sources[SECTIONS];
        for (uint32_t s = 0; s < SECTIONS; s++) {
            at[s] = world.firsts[s];
            rows[s] = world.firsts[s + 1] > world.firsts[s] ? world.ordinals[world.firsts[s + 1] - 1] + 2 : 0;
            new_ordinals[s] = malloc((rows[s] + 1) * sizeof(uint32_t));
            memset(new_ordinals[s], 0xFF, (rows[s] + 1) * sizeof(uint32_t));
            sources[s] = text_rig_source(&world.rigs[s]);
            inputs[s] = (struct section_merge_input){&world.rigs[s].identity, &world.rigs[s].root, &sources[s], new_ordinals[s], rows[s], 0, rows[s]};
        }
        for (;;) {
            uint32_t s = (uint32_t)(codec_check_random(&random) >> 40) % SECTIONS;
            if (at[0] == world.firsts[1] && at[1] == world.firsts[2] && at[2] == world.firsts[3])
                break;
            if (at[s] == world.firsts[s + 1])
                continue;
            uint32_t i = at[s]++;
            if ((codec_check_random(&random) >> 40) % dropping == 0)
                continue;
            next += (uint32_t)(codec_check_random(&random) >> 62);
            new_ordinals[s][world.ordinals[i]] = ordinals[kept] = next++;
            texts[kept++] = world.texts[i];
        }
        struct text_rig merged, built;
        text_rig_init(&merged, 9, false);
        text_rig_init(&built, 9, false);
        struct section_sink sink = text_rig_sink(&merged);
        struct section_source source = text_rig_source(&merged);
        uint64_t bound;
        cr_assert_eq(text_merge_section_bytes_bound(world.memory, inputs, SECTIONS, &bound), 0);
        cr_assert_eq(text_merge(world.memory, &plain_options, inputs, SECTIONS, &merged.identity, &sink, &merged.root), 0, "%s", why());
        build(world.memory, texts, ordinals, kept, &built);
        cr_assert_leq(merged.length, bound);
        cr_assert_eq(merged.length, built.length, "round %u", round);
        cr_assert_eq(memcmp(merged.bytes, built.bytes, built.length), 0, "round %u", round);
        cr_assert_eq(memcmp(&merged.root, &built.root, sizeof built.root), 0);
        cr_assert_eq(text_verify(&merged.identity, &merged.root, &source, world.memory, next), 0, "%s", why());
        text_rig_free(&merged);
        text_rig_free(&built);
        for (uint32_t s = 0; s < SECTIONS; s++)
            free(new_ordinals[s]);
        free(ordinals);
        free(texts);
        free_world(&world);
    }
}

Test(index_text, merge_with_descending_ordinals_is_refused)
{
    uint64_t random = 8;
    struct world world;
    make_world(&world, &random, 40, 5, false);
    uint32_t new_ordinals[40];
    for (uint32_t i = 0; i < 40; i++)
        new_ordinals[i] = 40 - i;
    struct section_source source = text_rig_source(&world.rigs[0]);
    struct section_merge_input input = {&world.rigs[0].identity, &world.rigs[0].root, &source, new_ordinals, 40, 0, 40};
    struct text_rig out;
    text_rig_init(&out, 1, false);
    struct section_sink sink = text_rig_sink(&out);
    cr_assert_eq(text_merge(world.memory, &plain_options, &input, 1, &out.identity, &sink, &out.root), MOTE_EINVAL);
    input.row_count = 3;
    cr_assert_eq(text_merge(world.memory, &plain_options, &input, 1, &out.identity, &sink, &out.root), MOTE_EDAMAGED);
    input.row_count = 40;
    struct text_options other = {.keep_diacritics = true};
    cr_assert_eq(text_merge(world.memory, &other, &input, 1, &out.identity, &sink, &out.root), MOTE_EINVAL);
    text_rig_free(&out);
    free_world(&world);
}

Test(index_text, bits_flipped_gives_damage_or_the_same_answer)
{
    uint64_t random = requests_seed("index_text_flip") | 1;
    static const char *const texts[] = {"a AND ab", "\"a ab\" OR b*", "\xE5\xB1\xB1 NOT zz", "strasse OR (a c)"};
    struct world world;
    make_world(&world, &random, 700, 20, true);
    for (uint32_t q = 0; q < 4; q++) {
        struct text_query *query;
        struct found good, found;
        cr_assert_eq(text_query_parse(world.memory, world.analyser, texts[q], strlen(texts[q]), NULL, &query), 0);
        cr_assert_eq(ask(&world, query, 0, &good), 0);
        struct text_rig *rig = &world.rigs[q % SECTIONS];
        struct section_source source = text_rig_source(rig);
        uint8_t *covered = calloc(rig->length, 1);
        for (uint64_t at = 0; at < rig->length; at += 1 + rig->length / 900) {
            uint8_t bit = (uint8_t)(1u << (codec_check_random(&random) >> 61));
            rig->bytes[at] ^= bit;
            int result = ask(&world, query, 0, &found);
            cr_assert(result == 0 || result == MOTE_EDAMAGED, "byte %llu: %d", (unsigned long long)at, result);
            cr_assert(result || (!found.wrong && memcmp(found.scores, good.scores, world.count * sizeof(double)) == 0), "byte %llu of %llu gives a wrong answer", (unsigned long long)at, (unsigned long long)rig->length);
            free(found.scores);
            int verified = text_verify(&rig->identity, &rig->root, &source, world.memory, 1u << 30);
            cr_assert(verified == 0 || verified == MOTE_EDAMAGED, "%d", verified);
            cr_assert(result == 0 || verified == MOTE_EDAMAGED);
            rig->bytes[at] ^= bit;
        }
        free(covered);
        free(good.scores);
        text_query_destroy(world.memory, query);
    }
    free_world(&world);
}

/* A section without gaps: there is no bit that verify does not look at. */
Test(index_text, verify_finds_every_bit)
{
    uint64_t random = requests_seed("index_text_verify") | 1;
    struct world world;
    make_world(&world, &random, 400, 12, false);
    struct text_rig *rig = &world.rigs[0];
    struct section_source source = text_rig_source(rig);
    for (uint64_t at = 0; at < rig->length; at++) {
        uint8_t bit = (uint8_t)(1u << (codec_check_random(&random) >> 61));
        rig->bytes[at] ^= bit;
        cr_assert_eq(text_verify(&rig->identity, &rig->root, &source, world.memory, 1u << 30), MOTE_EDAMAGED, "byte %llu", (unsigned long long)at);
        rig->bytes[at] ^= bit;
    }
    cr_assert_eq(text_verify(&rig->identity, &rig->root, &source, world.memory, 400), 0);
    cr_assert_eq(text_verify(&rig->identity, &rig->root, &source, world.memory, 10), MOTE_EDAMAGED);
    rig->identity.section_id++;
    cr_assert_eq(text_verify(&rig->identity, &rig->root, &source, world.memory, 400), MOTE_EDAMAGED);
    rig->identity.section_id--;
    rig->identity.uuid[3] ^= 1;
    cr_assert_eq(text_verify(&rig->identity, &rig->root, &source, world.memory, 400), MOTE_EDAMAGED);
    free_world(&world);
}
