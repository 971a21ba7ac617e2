/* spatial_fuzz.c: fuzz target of the spatial index's pages. The input changes a good section: its first eight bytes choose cloud and questions, then each four bytes set a byte of a page (place, value) whose checksum, and those of all pages
 * above it, are made good again, so that everything behind the checksums is reached. Searches, the iterator, the estimate and verify must end, within memory, with an answer or MOTE_EDAMAGED.
 *
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: spatial_fuzz [-n count] [-s seed] [file ...]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "index/spatial_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/spatial_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void need(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "spatial_fuzz: %s\n", what);
        abort();
    }
}

static bool is_answer(int result) { return result == 0 || result == MOTE_EDAMAGED; }

static int look_at_hits(void *context, const struct spatial_hits *hits)
{
    double *sum = context;
    need(hits->count <= SPATIAL_LEAF_POINTS_MAX, "more hits than a leaf has");
    for (uint32_t i = 0; i < hits->count; i++)
        *sum += hits->points[i][0] + hits->points[i][2] + (double)hits->ordinals[i];
    return 0;
}

static void ask(const struct spatial_section *section, const double centre[3], uint32_t wanted)
{
    const double max[3] = {centre[0] + 0.3, centre[1] + 0.4, centre[2] + 5};
    struct spatial_nearest_options options = {.wanted = wanted, .squared_distance_max = INFINITY};
    struct spatial_estimate estimate;
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    uint64_t counted;
    double sum = 0;
    int result = 1;
    need(is_answer(spatial_search_box(section, centre, max, look_at_hits, &sum)), "box");
    need(is_answer(spatial_search_radius(section, centre, 0.5, look_at_hits, &sum)), "radius");
    need(is_answer(spatial_count_box(section, centre, max, &counted)), "count");
    need(is_answer(spatial_estimate_box(section, centre, max, 4, &estimate)), "estimate");
    need(spatial_nearest_create(section, centre, &options, &nearest) == 0, "nearest");
    for (uint32_t i = 0; i < 100 && result == 1; i++)
        result = spatial_nearest_next(nearest, &hit);
    need(result == 1 || is_answer(result), "nearest");
    spatial_nearest_destroy(nearest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const uint32_t counts[] = {0, 1, 200, 1500};
    if (size_bytes < 8 || size_bytes > 1u << 12)
        return 0;
    uint64_t state = 1 + data[0];
    struct memory *memory = section_world_memory(4u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&state, data[1] % SPATIAL_SHAPES, counts[data[2] % 4]);
    struct spatial_world world;
    double centre[3] = {(double)data[4] / 256, (double)data[5] / 256 - 0.5, 500 + (double)data[6] / 30};
    spatial_world_begin(&world, memory, false, data[3] % 2);
    spatial_world_build(&world, &cloud);
    uint64_t pages = world.pages.length / SPATIAL_PAGE_BYTES, used_bytes = memory_used_bytes(memory);
    for (size_t i = 8; i + 4 <= size_bytes; i += 4) {
        uint64_t page = data[i] % pages * SPATIAL_PAGE_BYTES;
        world.pages.bytes[page + load_u16(data + i + 1) % SPATIAL_PAGE_BYTES] = data[i + 3];
        spatial_world_reseal(&world, page);
    }
    ask(&world.section, centre, data[7]);
    need(is_answer(spatial_verify(&world.section, cloud.row_count)), "verify");
    need(size_bytes >= 12 || spatial_verify(&world.section, cloud.row_count) == 0, "a good section is refused");
    need(world.pages.pinned == 0 && memory_used_bytes(memory) == used_bytes, "something was kept");
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
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
            store_u16(data + i + 1, (uint16_t)(random >> 20) % 100);
        if (random >> 62 == 0)
            data[i] = 255 - (uint8_t)(random >> 50) % 3;
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
