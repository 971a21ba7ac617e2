/* index_vector_damage_test.c: what a device or an author can do to a vector section: bits of every page flipped, pages of another place, lies whose checksums are good. Searches answer as before or say MOTE_EDAMAGED. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/vector_world.h"

TestSuite(index_vector_damage, .timeout = 120);

/* A fixed question; the sum tells two answers apart. */
struct answer {
    int result;
    uint64_t sum;
};

static struct answer ask(const struct vector_world *world, const float *query, uint32_t wanted, bool resident)
{
    struct answer answer = {0};
    struct vector_search_options options = {.size_bytes = sizeof options, .wanted = 12, .list = 16};
    struct vector_index *index;
    struct vector_search *search;
    struct vector_hit hit;
    answer.result = vector_open(&world->section, resident ? UINT64_MAX : 0, &index);
    if (answer.result)
        return answer;
    cr_assert_eq(vector_search_create(index, query, &options, &search), 0);
    for (uint32_t i = 0; i < wanted && answer.result >= 0; i++) {
        answer.result = vector_search_next(search, &hit);
        uint64_t bits;
        memcpy(&bits, &hit.distance, sizeof bits);
        if (answer.result == 1)
            answer.sum = answer.sum * 31 + hit.ordinal + bits;
    }
    answer.result = answer.result > 0 ? 0 : answer.result;
    vector_search_destroy(search);
    vector_close(index);
    return answer;
}

static struct vector_options options_of(uint32_t dimension, bool flat)
{
    return (struct vector_options){.size_bytes = sizeof(struct vector_options), .dimension = dimension, .metric = VECTOR_L2, .degree = 8, .build_list = 16, .rows_flat_max = flat ? 0 : 1};
}

Test(index_vector_damage, flipped_bits_give_damage_or_the_same_answer)
{
    uint64_t random = requests_seed("index_vector_flip") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    static const uint32_t counts[] = {0, 5, 90, 150};
    uint32_t differed = 0;
    for (uint32_t c = 0; c < 4; c++) {
        struct vector_rows rows = vector_rows_make(&random, 0, counts[c], 12, c % 2);
        struct vector_options options = options_of(12, c < 2);
        struct vector_world world;
        static const float query[12] = {0.1f, -0.2f, 0.3f};
        vector_world_begin(&world, memory, c == 3, c % 2);
        vector_world_build(&world, &rows, &options);
        /* Some of them by the graph, all of them by a look at every row. */
        uint32_t wanted = c == 2 ? 12 : 200;
        struct answer right = ask(&world, query, wanted, c % 2);
        cr_assert_eq(right.result, 0);
        for (uint64_t at = 0; at < world.pages.length; at++) {
            /* All bits of headers and of what is after; of the rest one at random of every third byte. */
            bool all = at % 4096 < 100;
            for (uint32_t bit = all ? 0 : (uint32_t)(codec_check_random(&random) >> 61); bit < 8 && (all || at % 3 == 0); bit += all ? 1 : 8) {
                world.pages.bytes[at] ^= (uint8_t)(1u << bit);
                struct answer answer = ask(&world, query, wanted, c % 2);
                cr_assert(answer.result == MOTE_EDAMAGED || (answer.result == 0 && answer.sum == right.sum), "byte %llu bit %u of %u rows: %d", (unsigned long long)at, bit, counts[c], answer.result);
                differed += answer.result != 0;
                world.pages.bytes[at] ^= (uint8_t)(1u << bit);
            }
        }
        cr_assert_eq(world.pages.pinned, 0);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    cr_assert_gt(differed, 10000);
    memory_destroy(memory);
}

Test(index_vector_damage, verify_finds_every_flipped_byte)
{
    uint64_t random = requests_seed("index_vector_verify") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t dimension = round == 2 ? 16300 : 30;
        struct vector_rows rows = vector_rows_make(&random, 1, round == 2 ? 6 : 400, dimension, round > 0);
        struct vector_options options = options_of(dimension, round == 0);
        struct vector_world world;
        vector_world_begin(&world, memory, false, false);
        vector_world_build(&world, &rows, &options);
        for (uint64_t at = 0; at < world.pages.length; at += 1 + codec_check_random(&random) % (world.pages.length / 300)) {
            uint8_t bit = (uint8_t)(1u << (codec_check_random(&random) >> 61));
            world.pages.bytes[at] ^= bit;
            cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), MOTE_EDAMAGED, "round %u, byte %llu", round, (unsigned long long)at);
            world.pages.bytes[at] ^= bit;
        }
        cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), 0);
        cr_assert_eq(vector_verify(&world.section, rows.row_count - 1, NULL), MOTE_EDAMAGED, "a row that is not in the segment");
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    memory_destroy(memory);
}

Test(index_vector_damage, pages_of_another_place_are_refused)
{
    uint64_t random = requests_seed("index_vector_place") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    struct vector_rows rows = vector_rows_make(&random, 0, 300, 100, true);
    struct vector_options options = options_of(100, false);
    struct vector_world world;
    uint64_t pages[64];
    vector_world_begin(&world, memory, false, false);
    vector_world_build(&world, &rows, &options);
    uint32_t count = vector_world_pages(&world, pages, 64), swapped = 0;
    cr_assert_gt(count, 20);
    uint8_t *whole = malloc(world.pages.length);
    memcpy(whole, world.pages.bytes, world.pages.length);
    for (uint32_t i = 0; i + 1 < count; i++) {
        uint32_t bytes = load_u32(whole + pages[i] + 32);
        if (bytes != load_u32(whole + pages[i + 1] + 32))
            continue;
        memcpy(world.pages.bytes + pages[i], whole + pages[i + 1], bytes);
        memcpy(world.pages.bytes + pages[i + 1], whole + pages[i], bytes);
        cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), MOTE_EDAMAGED, "pages at %llu", (unsigned long long)pages[i]);
        memcpy(world.pages.bytes, whole, world.pages.length);
        swapped++;
    }
    cr_assert_gt(swapped, 5);
    /* The same bytes as another segment's, section's, volume's, or another kind of index. */
    struct vector_index *index;
    world.pages.identity.segment_id++;
    cr_assert_eq(vector_open(&world.section, 0, &index), MOTE_EDAMAGED);
    world.pages.identity.segment_id--;
    world.pages.identity.section_id++;
    cr_assert_eq(vector_open(&world.section, 0, &index), MOTE_EDAMAGED);
    world.pages.identity.section_id--;
    world.pages.identity.uuid[3] ^= 1;
    cr_assert_eq(vector_open(&world.section, 0, &index), MOTE_EDAMAGED);
    world.pages.identity.uuid[3] ^= 1;
    world.pages.root.kind = INDEX_SPATIAL;
    cr_assert_eq(vector_open(&world.section, 0, &index), MOTE_EDAMAGED);
    world.pages.root.kind = INDEX_VECTOR;
    cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), 0);
    free(whole);
    section_world_end(&world.pages);
    vector_rows_free(&rows);
    memory_destroy(memory);
}

/* ---- Lies whose checksums are good ---- */

/* The first page of a stream. */
static uint64_t page_of(const struct vector_world *world, uint32_t stream)
{
    uint64_t pages[64];
    uint32_t count = vector_world_pages(world, pages, 64);
    for (uint32_t i = 0; i < count; i++)
        if (load_u16(world->pages.bytes + pages[i] + 38) == stream)
            return pages[i];
    cr_assert_fail("no page of stream %u", stream);
    return 0;
}

struct lie {
    uint32_t stream, at, value;
    uint32_t bytes; /* 2 or 4 */
    const char *what;
};

Test(index_vector_damage, lies_with_good_checksums_are_found_by_verify)
{
    uint64_t random = requests_seed("index_vector_lies") | 1;
    enum { DIMENSION = 12, DEGREE = 8, VECTOR_AT = 48 + 8 + 4 * DEGREE };
    static const struct lie lies[] = {
        {VECTOR_NODES, 48, 1u << 30, 4, "an ordinal beyond all rows"},
        {VECTOR_NODES, 52, DEGREE + 1, 2, "more neighbours than the degree"},
        {VECTOR_NODES, 52, 0, 2, "neighbours behind the last"},
        {VECTOR_NODES, 54, 1, 2, "a reserved field"},
        {VECTOR_NODES, 56, 0, 4, "an edge to itself"},
        {VECTOR_NODES, 56, 1u << 20, 4, "an edge to nowhere"},
        {VECTOR_NODES, VECTOR_AT, 0x7fc00000u, 4, "a NaN"},
        {VECTOR_NODES, VECTOR_AT + 4, 0xff800000u, 4, "an infinity"},
        {VECTOR_NODES, VECTOR_AT + 8, 0x3f800000u, 4, "another vector than its code's"},
        {VECTOR_CODES, 48, 0x7fc00000u, 4, "a code's b"},
        {VECTOR_CODES, 56, 0xffff, 2, "a code of no centroid"},
        {VECTOR_CODES, 58, 0xffff, 2, "another code"},
        {VECTOR_MODEL, 48, 0x7f800000u, 4, "a mean that is not finite"},
        {VECTOR_MODEL, 48 + 4 * 2 * DIMENSION, 1u << 30, 4, "an entry to nowhere"},
        {VECTOR_ORDINALS, 52, 1000, 4, "another ordinal than the node's"},
        {VECTOR_DIRECTORY, 48, 1u << 30, 4, "a page outside"},
        {VECTOR_DIRECTORY, 48, 64, 4, "a page elsewhere"},
        {VECTOR_ROOT, 48, 1u << 20, 4, "more nodes"},
        {VECTOR_ROOT, 48, 40, 4, "fewer nodes"},
        {VECTOR_ROOT, 52, 1, 4, "2^32 nodes"},
        {VECTOR_ROOT, 56, 1u << 20, 4, "ordinals that end elsewhere"},
        {VECTOR_ROOT, 64, 0, 4, "no dimension"},
        {VECTOR_ROOT, 64, UINT32_MAX, 4, "a huge dimension"},
        {VECTOR_ROOT, 64, DIMENSION - 1, 4, "another dimension"},
        {VECTOR_ROOT, 68, 4, 4, "no metric"},
        {VECTOR_ROOT, 68, VECTOR_INNER_PRODUCT, 4, "another metric"},
        {VECTOR_ROOT, 72, 3, 4, "no kind"},
        {VECTOR_ROOT, 72, VECTOR_FLAT, 4, "another kind"},
        {VECTOR_ROOT, 76, VECTOR_DEGREE_MAX + 1, 4, "a huge degree"},
        {VECTOR_ROOT, 80, 0, 4, "no centroid"},
        {VECTOR_ROOT, 80, VECTOR_CENTROIDS_MAX + 1, 4, "too many centroids"},
        {VECTOR_ROOT, 84, 1000, 4, "a huge exponent"},
        {VECTOR_ROOT, 88, 1, 4, "a flag"},
        {VECTOR_ROOT, 92, 100, 4, "more pages of the directory"},
    };
    struct memory *memory = section_world_memory(16u << 20);
    struct vector_rows rows = vector_rows_make(&random, 0, 50, DIMENSION, true);
    struct vector_options options = options_of(DIMENSION, false);
    struct vector_world world;
    static const float query[DIMENSION] = {0.1f};
    vector_world_begin(&world, memory, false, true);
    vector_world_build(&world, &rows, &options);
    uint8_t *whole = malloc(world.pages.length);
    struct section_root root = world.pages.root;
    memcpy(whole, world.pages.bytes, world.pages.length);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const struct lie *lie = &lies[i];
        uint64_t page = page_of(&world, lie->stream);
        if (lie->bytes == 2)
            store_u16(world.pages.bytes + page + lie->at, (uint16_t)lie->value);
        else
            store_u32(world.pages.bytes + page + lie->at, lie->value);
        vector_world_reseal(&world, page);
        cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), MOTE_EDAMAGED, "%s", lie->what);
        /* A search may answer, but it ends. */
        for (uint32_t resident = 0; resident < 2; resident++) {
            struct answer answer = ask(&world, query, 100, resident);
            cr_assert(answer.result == 0 || answer.result == MOTE_EDAMAGED, "%s: %d", lie->what, answer.result);
        }
        memcpy(world.pages.bytes, whole, world.pages.length);
        world.pages.root = root;
    }
    vector_world_reseal(&world, page_of(&world, VECTOR_NODES));
    cr_assert(memcmp(world.pages.bytes, whole, world.pages.length) == 0 && world.pages.root.root_crc == root.root_crc, "sealing what was sealed changes nothing");
    cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), 0);
    free(whole);
    section_world_end(&world.pages);
    vector_rows_free(&rows);
    memory_destroy(memory);
}

/* ---- Sources and sinks that fail ---- */

struct failing {
    struct vector_world *world;
    struct section_source source;
    struct section_sink sink;
    int64_t left;
};

static int read_failing(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct failing *failing = context;
    return failing->left-- == 0 ? MOTE_EIO : failing->source.read(failing->source.context, offset_bytes, length_bytes, check, check_context, data, handle);
}

static void release_failing(void *context, void *handle)
{
    struct failing *failing = context;
    failing->source.release(failing->source.context, handle);
}

static int place_failing(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct failing *failing = context;
    return failing->left-- == 0 ? MOTE_ENOSPC : failing->sink.place(failing->sink.context, length_bytes, offset_bytes);
}

static int write_failing(void *context, const void *data, uint32_t length_bytes)
{
    struct failing *failing = context;
    return failing->left-- == 0 ? MOTE_EIO : failing->sink.write(failing->sink.context, data, length_bytes);
}

Test(index_vector_damage, failures_of_source_and_sink_come_back)
{
    uint64_t random = requests_seed("index_vector_failing") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    uint64_t empty_bytes = memory_used_bytes(memory);
    struct vector_rows rows = vector_rows_make(&random, 0, 120, 12, true);
    struct vector_options options = options_of(12, false);
    struct vector_world world;
    static const float query[12] = {0.1f};
    vector_world_begin(&world, memory, false, false);
    struct failing failing = {.world = &world, .source = world.pages.source, .sink = world.pages.sink};
    world.pages.sink = (struct section_sink){place_failing, write_failing, &failing};
    int result = MOTE_EIO;
    uint32_t failures = 0;
    for (int64_t n = 0; result; n++, failures++) {
        struct vector_builder *builder;
        world.pages.length = 0;
        failing.left = n;
        cr_assert_eq(vector_builder_create(memory, &options, rows.count, &builder), 0);
        for (uint32_t i = 0; i < rows.count; i++)
            cr_assert_eq(vector_builder_add(builder, rows.ordinals[i], vector_row(&rows, i)), 0);
        result = vector_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root);
        cr_assert_eq(result, failing.left >= 0 ? 0 : n % 2 ? MOTE_EIO : MOTE_ENOSPC);
        bool finished;
        cr_assert(result == 0 || vector_builder_step(builder, 1, &finished) == result, "a failed builder stays failed");
        vector_builder_destroy(builder);
    }
    cr_assert_gt(failures, 10);
    world.pages.source.read = read_failing;
    world.pages.source.release = release_failing;
    world.pages.source.context = &failing;
    for (uint32_t resident = 0; resident < 2; resident++) {
        result = MOTE_EIO;
        for (int64_t n = 0; result; n++) {
            failing.left = n;
            result = ask(&world, query, 200, resident).result;
            cr_assert_eq(result, failing.left >= 0 ? 0 : MOTE_EIO);
            cr_assert_eq(world.pages.pinned, 0);
        }
    }
    section_world_end(&world.pages);
    vector_rows_free(&rows);
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}
