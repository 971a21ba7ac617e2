/* index_text_parts_test.c: a text section that was built in parts for want of memory, texts cut in two and three among them, is byte for byte the one that was built at once; memory stays in its bound; hits through a filter are those
 * of the documents that it marks. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/text_rig.h"

enum { TEXTS = 60, TEXT_BYTES = 256 * 1024, PARTS_MAX = 64, LIMIT_BYTES = TEXT_BUILDER_BYTES_MIN };

static const struct text_options plain_options;

static const char *why(void)
{
    static struct mote_error error;
    mote_last_error(&error);
    return error.message;
}

static uint32_t draw(uint64_t *random, uint32_t below) { return (uint32_t)(codec_check_random(random) >> 33) % below; }

/* Most have a few words; each tenth as many different ones as a row can hold. */
static size_t make_text(uint64_t *random, uint32_t number, char *text)
{
    size_t length = 0, wanted = number % 10 == 5 ? TEXT_BYTES - 64 : draw(random, 2000);
    uint32_t words = number % 10 == 5 ? UINT32_MAX >> 1 : 3000;
    while (length < wanted)
        length += (size_t)sprintf(text + length, "w%x%s", draw(random, words), draw(random, 4) ? " " : " and ");
    return length;
}

struct building {
    struct memory *memory;
    struct text_analyser *analyser;
    struct text_builder *builder;
    struct text_rig parts[PARTS_MAX];
    uint32_t part_count;
};

static int put_part(void *context)
{
    struct building *building = context;
    cr_assert_lt(building->part_count, (uint32_t)PARTS_MAX);
    struct text_rig *rig = &building->parts[building->part_count];
    text_rig_init(rig, 100 + building->part_count++, false);
    struct section_sink sink = text_rig_sink(rig);
    uint64_t bound = text_builder_section_bytes_bound(building->builder);
    int result = text_builder_finish(building->builder, &rig->identity, &sink, &rig->root);
    cr_assert_leq(rig->length, bound);
    return result;
}

static void begin(struct building *building, bool limited)
{
    cr_assert_eq(text_analyser_create(building->memory, &plain_options, &building->analyser), 0);
    cr_assert_eq(text_builder_create(building->memory, building->analyser, &building->builder), 0);
    if (limited)
        text_builder_set_limit(building->builder, LIMIT_BYTES, put_part, building);
}

static void end(struct building *building)
{
    text_builder_destroy(building->builder);
    text_analyser_destroy(building->analyser);
}

/* Parts first, first + 1, ... into one. */
static void merge(struct building *building, uint32_t first, uint32_t count, struct text_rig *out)
{
    struct section_merge_input inputs[PARTS_MAX];
    struct section_source sources[PARTS_MAX];
    struct section_sink sink = text_rig_sink(out);
    for (uint32_t i = 0; i < count; i++) {
        struct text_rig *part = &building->parts[first + i];
        sources[i] = text_rig_source(part);
        inputs[i] = (struct section_merge_input){&part->identity, &part->root, &sources[i], NULL, UINT32_MAX, 0, 0};
    }
    uint64_t bound;
    cr_assert_eq(text_merge_section_bytes_bound(building->memory, inputs, count, &bound), 0);
    cr_assert_eq(text_merge(building->memory, &plain_options, inputs, count, &out->identity, &sink, &out->root), 0, "%s", why());
    cr_assert_leq(out->length, bound);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(building->parts[first + i].pinned, 0);
}

static void require_equal(const struct text_rig *a, const struct text_rig *b, const char *what)
{
    cr_assert_eq(a->length, b->length, "%s: %llu bytes, not %llu", what, (unsigned long long)a->length, (unsigned long long)b->length);
    cr_assert_eq(memcmp(a->bytes, b->bytes, b->length), 0, "%s", what);
    cr_assert_eq(memcmp(&a->root, &b->root, sizeof a->root), 0, "%s", what);
}

Test(index_text_parts, limited_memory_gives_the_bytes_of_a_build)
{
    uint64_t random = requests_seed("index_text_parts") | 1, peak = 0;
    static char text[TEXT_BYTES + 64];
    struct building whole = {0}, parts = {0};
    struct text_rig built, merged, again;
    cr_assert_eq(memory_create(256u << 20, false, &whole.memory), 0);
    cr_assert_eq(memory_seal(whole.memory), 0);
    cr_assert_eq(memory_create(256u << 20, false, &parts.memory), 0);
    cr_assert_eq(memory_seal(parts.memory), 0);
    begin(&whole, false);
    begin(&parts, true);
    for (uint32_t i = 0; i < TEXTS; i++) {
        size_t length = make_text(&random, i, text);
        cr_assert_eq(text_builder_add(whole.builder, 3 * i, text, length), 0);
        cr_assert_eq(text_builder_add(parts.builder, 3 * i, text, length), 0, "%s", why());
        peak = memory_used_bytes(parts.memory) > peak ? memory_used_bytes(parts.memory) : peak;
    }
    cr_assert_geq(parts.part_count, 3u, "only %u parts", parts.part_count);
    cr_assert_leq(peak, (uint64_t)LIMIT_BYTES + 65536);
    text_rig_init(&built, 9, false);
    struct section_sink sink = text_rig_sink(&built);
    cr_assert_eq(text_builder_finish(whole.builder, &built.identity, &sink, &built.root), 0);
    cr_assert_geq(text_builder_merged_bytes_bound(parts.builder), built.length);
    cr_assert_eq(put_part(&parts), 0);
    text_rig_init(&merged, 9, false);
    merge(&parts, 0, parts.part_count, &merged);
    require_equal(&merged, &built, "all parts at once");
    struct section_source source = text_rig_source(&merged);
    cr_assert_eq(text_verify(&merged.identity, &merged.root, &source, parts.memory, 3 * TEXTS), 0, "%s", why());
    /* In twos, and those again, until one is left. */
    while (parts.part_count > 1) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < parts.part_count; i += 2, kept++) {
            uint32_t count = parts.part_count - i < 2 ? 1 : 2;
            struct text_rig out;
            text_rig_init(&out, parts.part_count <= 2 ? 9 : 500 + i + parts.part_count * 1000, false);
            merge(&parts, i, count, &out);
            for (uint32_t k = 0; k < count; k++)
                text_rig_free(&parts.parts[i + k]);
            parts.parts[kept] = out;
        }
        parts.part_count = kept;
    }
    again = parts.parts[0];
    require_equal(&again, &built, "parts two by two");
    text_rig_free(&again);
    text_rig_free(&merged);
    text_rig_free(&built);
    end(&whole);
    end(&parts);
    cr_assert_eq(memory_used_bytes(parts.memory), memory_used_bytes(whole.memory));
    memory_destroy(whole.memory);
    memory_destroy(parts.memory);
}

Test(index_text_parts, limited_memory_without_parts_is_a_budget_error)
{
    uint64_t random = requests_seed("index_text_parts_refused") | 1;
    static char text[TEXT_BYTES + 64];
    struct building building = {0};
    int result = 0;
    bool half = false;
    cr_assert_eq(memory_create(64u << 20, false, &building.memory), 0);
    cr_assert_eq(memory_seal(building.memory), 0);
    begin(&building, false);
    text_builder_set_limit(building.builder, LIMIT_BYTES, NULL, NULL);
    cr_assert_not(text_builder_is_half_full(building.builder));
    for (uint32_t i = 0; i < 2000 && !result; i++) {
        size_t length = 0;
        while (length < 3000)
            length += (size_t)sprintf(text + length, "w%x ", draw(&random, UINT32_MAX >> 1));
        half = half || text_builder_is_half_full(building.builder);
        result = text_builder_add(building.builder, i, text, length);
        cr_assert_leq(memory_used_bytes(building.memory), (uint64_t)LIMIT_BYTES + 65536);
    }
    cr_assert_eq(result, MOTE_EBUDGET);
    cr_assert(half);
    end(&building);
    memory_destroy(building.memory);
}

struct seen {
    uint64_t *marks;
    double *scores;
    uint32_t count, raised; /* raised: every so many hits the threshold becomes that score; 0: never */
};

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct seen *seen = context;
    cr_assert(seen->marks[ordinal / 64] >> ordinal % 64 & 1);
    seen->scores[ordinal] = score;
    if (seen->raised && ++seen->count % seen->raised == 0 && score > *threshold)
        *threshold = score;
    return 0;
}

static int take_all(void *context, uint32_t ordinal)
{
    struct seen *seen = context;
    seen->scores[ordinal] = 1;
    return 0;
}

Test(index_text_parts, filter_gives_the_marked_hits)
{
    static const char *const queries[] = {"alpha", "alpha beta", "alpha OR gamma", "alpha OR beta OR gamma OR delta", "alpha NOT beta", "\"alpha beta\"", "b*", "(alpha OR beta) AND gamma", "nothing", "nothing OR beta"};
    static const char *const words[] = {"alpha", "beta", "gamma", "delta", "bet", "and", "the", "of"};
    enum { DOCUMENTS = 9000 };
    uint64_t random = requests_seed("index_text_filter") | 1;
    struct building building = {0};
    struct text_rig rig;
    static double plain[DOCUMENTS], filtered[DOCUMENTS], all[DOCUMENTS];
    static uint64_t every[DOCUMENTS / 64 + 1], marks[DOCUMENTS / 64 + 1];
    cr_assert_eq(memory_create(64u << 20, false, &building.memory), 0);
    cr_assert_eq(memory_seal(building.memory), 0);
    begin(&building, false);
    for (uint32_t i = 0; i < DOCUMENTS; i++) {
        char text[256];
        size_t length = 0;
        for (uint32_t count = 1 + draw(&random, 12); count > 0; count--)
            length += (size_t)sprintf(text + length, "%s ", words[draw(&random, 4) ? 4 + draw(&random, 4) : draw(&random, 4)]);
        cr_assert_eq(text_builder_add(building.builder, i, text, length), 0);
    }
    text_rig_init(&rig, 3, false);
    struct section_sink sink = text_rig_sink(&rig);
    struct section_source source = text_rig_source(&rig);
    cr_assert_eq(text_builder_finish(building.builder, &rig.identity, &sink, &rig.root), 0);
    memset(every, 0xFF, sizeof every);
    for (uint32_t round = 0; round < 40; round++) {
        struct text_query *query;
        struct text_search *search;
        struct text_statistics statistics = {0};
        const char *words_asked = queries[round % (sizeof queries / sizeof queries[0])];
        uint32_t rare = round / 10 == 0 ? 1 : round / 10 == 1 ? 10 : 1000;
        memset(marks, 0, sizeof marks);
        for (uint32_t i = 0; i < DOCUMENTS; i++)
            marks[i / 64] |= (uint64_t)(draw(&random, rare) == 0) << i % 64;
        for (uint32_t i = 0; i < DOCUMENTS; i++)
            plain[i] = filtered[i] = all[i] = -1;
        cr_assert_eq(text_query_parse(building.memory, building.analyser, words_asked, strlen(words_asked), &(struct text_query_options){0}, &query), 0);
        cr_assert_eq(text_search_open(query, &plain_options, &rig.identity, &rig.root, &source, building.memory, &search), 0);
        cr_assert_eq(text_search_statistics(search, &statistics), 0);
        cr_assert_eq(text_search_run(search, &statistics, -(double)INFINITY, take_hit, &(struct seen){every, plain, 0, 0}), 0);
        cr_assert_eq(text_search_all(search, take_all, &(struct seen){every, all, 0, 0}), 0);
        text_search_set_filter(search, marks, DOCUMENTS);
        cr_assert_eq(text_search_run(search, &statistics, -(double)INFINITY, take_hit, &(struct seen){marks, filtered, 0, 0}), 0);
        uint64_t matching = 0;
        for (uint32_t i = 0; i < DOCUMENTS; i++) {
            bool marked = marks[i / 64] >> i % 64 & 1;
            matching += plain[i] >= 0;
            cr_assert_eq(all[i] >= 0, plain[i] >= 0, "%s: document %u", words_asked, i);
            cr_assert_eq(memcmp(&filtered[i], marked ? &plain[i] : &(double){-1}, sizeof filtered[i]), 0, "%s: document %u", words_asked, i);
        }
        cr_assert_geq(text_search_estimate(search), matching, "%s", words_asked);
        /* A threshold and a filter: what is at least as good as the last threshold is not left out. */
        for (uint32_t i = 0; i < DOCUMENTS; i++)
            filtered[i] = -1;
        cr_assert_eq(text_search_run(search, &statistics, 0, take_hit, &(struct seen){marks, filtered, 0, 3}), 0);
        double best = 0;
        for (uint32_t i = 0; i < DOCUMENTS; i++)
            best = (marks[i / 64] >> i % 64 & 1) && plain[i] > best ? plain[i] : best;
        for (uint32_t i = 0; i < DOCUMENTS; i++)
            if ((marks[i / 64] >> i % 64 & 1) && plain[i] >= 0 && plain[i] >= best)
                cr_assert(filtered[i] >= best, "%s: document %u", words_asked, i);
        text_search_close(search);
        text_query_destroy(building.memory, query);
    }
    cr_assert_eq(rig.pinned, 0);
    text_rig_free(&rig);
    end(&building);
    memory_destroy(building.memory);
}
