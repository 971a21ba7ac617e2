/* vector_fuzz.c: fuzz target of the vector index's pages. The input changes a good section: its first eight bytes choose vectors and questions, then each four bytes set a byte of a page (place, value) whose checksum, and those of the pages
 * above it, are made good again, so that everything behind the checksums is reached. Opening, searches, a merge and verify must end, within memory, with an answer or MOTE_EDAMAGED.
 *
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: vector_fuzz [-n count] [-s seed] [file ...]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "index/vector_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/vector_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void need(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "vector_fuzz: %s\n", what);
        abort();
    }
}

static bool is_answer(int result) { return result == 0 || result == MOTE_EDAMAGED; }

static bool keep_odd(void *context, uint32_t ordinal)
{
    (void)context;
    return ordinal % 2;
}

static void ask(const struct vector_index *index, const float *query, const struct vector_search_options *options, uint32_t taken)
{
    struct vector_search *search;
    struct vector_hit hit;
    int result = vector_search_create(index, query, options, &search);
    need(result == 0, "a search");
    for (result = 1; taken > 0 && result == 1; taken--) {
        result = vector_search_next(search, &hit);
        need(result != 1 || isfinite(hit.distance), "a distance that is not finite");
    }
    need(result == 1 || is_answer(result), "the next hit");
    vector_search_destroy(search);
}

static int map_same(void *context, uint32_t input, uint32_t *ordinals, uint32_t count)
{
    (void)input;
    for (uint32_t i = 0; i < count; i++)
        ordinals[i] = ordinals[i] % *(const uint32_t *)context == 0 ? VECTOR_DROPPED : ordinals[i];
    return 0;
}

/* A lie about ordinals may make rows come out of order, or too many, which a merge refuses. */
static void merge(const struct vector_index *index, struct memory *memory, uint32_t drop)
{
    struct vector_merge_options options = {.size_bytes = sizeof options, .rows_max = 2000, .rows_flat_max = 20, .degree = 8, .build_list = 10, .map = map_same, .map_context = &drop};
    struct vector_builder *builder;
    struct vector_world world;
    vector_world_begin(&world, memory, false, false);
    int result = vector_merge_create(&index, 1, &options, memory, &builder);
    if (!result) {
        result = vector_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root);
        vector_builder_destroy(builder);
    }
    need(is_answer(result) || result == MOTE_EINVAL, "merge");
    section_world_end(&world.pages);
}

static void ask_all(const struct vector_world *world, const uint8_t *data, uint32_t dimension, bool resident)
{
    struct vector_index *index;
    struct vector_facts facts;
    float query[MOTE_VECTOR_DIMENSION_MAX];
    int result = vector_open(&world->section, resident ? UINT64_MAX : 0, &index);
    need(is_answer(result), "open");
    if (result)
        return;
    vector_describe(index, &facts);
    for (uint32_t i = 0; i < facts.dimension; i++)
        query[i] = (float)data[4 + i % dimension % 4] / 100 - 1;
    struct vector_search_options options = {.size_bytes = sizeof options, .wanted = 1 + data[7] % 20, .list = 8, .beam = 1 + data[6] % VECTOR_BEAM_MAX};
    ask(index, query, &options, 15);
    ask(index, query, &options, UINT32_MAX);
    options.keep = keep_odd;
    ask(index, query, &options, 15);
    options.exact = true;
    ask(index, query, &options, 15);
    merge(index, world->section.memory, 1 + data[5] % 9);
    vector_close(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const uint32_t counts[] = {0, 1, 60, 150}, dimensions[] = {1, 6, 20, 16320};
    if (size_bytes < 8 || size_bytes > 1u << 12)
        return 0;
    uint64_t state = 1 + data[0], pages[256];
    uint32_t dimension = dimensions[data[3] / 2 % 32 ? data[3] / 2 % 3 : 3], count = dimension > 1000 ? 5 : counts[data[2] % 4];
    struct memory *memory = section_world_memory(8u << 20);
    struct vector_rows rows = vector_rows_make(&state, data[1] % VECTOR_SHAPES, count, dimension, data[2] / 4 % 2);
    struct vector_options options = {.size_bytes = sizeof options, .dimension = dimension, .metric = (enum vector_metric)(1 + data[2] / 8 % 3), .degree = 8, .build_list = 10, .rows_flat_max = data[2] / 32 % 3 ? 1 : 0};
    struct vector_world world;
    vector_world_begin(&world, memory, false, data[3] % 2);
    uint64_t empty_bytes = memory_used_bytes(memory);
    vector_world_build(&world, &rows, &options);
    uint32_t page_count = vector_world_pages(&world, pages, 256);
    for (size_t i = 8; i + 4 <= size_bytes; i += 4) {
        uint64_t page = pages[page_count - 1 - data[i] % page_count];
        uint32_t bytes = page == pages[page_count - 1] ? world.pages.root.root_bytes : (uint32_t)(pages[page_count - data[i] % page_count] - page);
        world.pages.bytes[page + load_u16(data + i + 1) % bytes] = data[i + 3];
        vector_world_reseal(&world, page);
    }
    ask_all(&world, data, dimension, data[3] % 2);
    need(is_answer(vector_verify(&world.section, rows.row_count, NULL)), "verify");
    need(size_bytes >= 12 || vector_verify(&world.section, rows.row_count, NULL) == 0, "a good section is refused");
    need(world.pages.pinned == 0 && memory_used_bytes(memory) == empty_bytes, "something was kept");
    section_world_end(&world.pages);
    vector_rows_free(&rows);
    memory_destroy(memory);
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 1 << 13 }; /* those that are made have at most 8 + 4 * 12 */

static size_t make_input(uint64_t *state, uint8_t *data)
{
    size_t changes = codec_check_random(state) % 13;
    for (size_t i = 0; i < 8 + 4 * changes; i++)
        data[i] = (uint8_t)(codec_check_random(state) >> 40);
    for (size_t i = 8; i < 8 + 4 * changes; i += 4) {
        uint64_t random = codec_check_random(state);
        if (random % 2) /* mostly headers, where lies go furthest */
            store_u16(data + i + 1, (uint16_t)(random >> 20) % 130);
        if (random >> 62 == 0)
            data[i] = (uint8_t)(random >> 50) % 3; /* the last pages, root and directory */
        if (random % 5 == 0)
            data[i + 3] = (uint8_t)(random >> 61);
    }
    return 8 + 4 * changes;
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 2000, .bytes_max = INPUT_BYTES_MAX};
    return fuzz_run(&run, argc, argv);
}
#endif
