/* index_spatial_damage_test.c: what a device or an author can do to a spatial section: every bit of every page flipped, pages of another place, lies whose checksums are good. Searches answer as before or say MOTE_EDAMAGED. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/spatial_world.h"

TestSuite(index_spatial_damage, .timeout = 120);

/* A fixed set of questions; the sum tells two answers apart. */
struct answer {
    int result;
    uint64_t sum;
};

static int add_hits(void *context, const struct spatial_hits *hits)
{
    uint64_t *sum = context;
    for (uint32_t i = 0; i < hits->count; i++) {
        uint64_t bits[3];
        memcpy(bits, hits->points[i], sizeof bits);
        *sum += (hits->ordinals[i] + 1) * 0x9e3779b97f4a7c15u ^ bits[0] ^ bits[1] * 3 ^ bits[2] * 7; /* in any order */
    }
    return 0;
}

static struct answer ask(const struct spatial_world *world, const double min[3], const double max[3])
{
    const struct spatial_section *section = &world->section;
    struct answer answer = {0};
    struct spatial_nearest_options options = {.wanted = 20, .squared_distance_max = INFINITY};
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    uint64_t counted = 0;
    answer.result = spatial_search_box(section, min, max, add_hits, &answer.sum);
    if (!answer.result)
        answer.result = spatial_search_radius(section, min, 0.4, add_hits, &answer.sum);
    if (!answer.result)
        answer.result = spatial_count_box(section, min, max, &counted);
    answer.sum = answer.sum * 31 + counted;
    if (answer.result)
        return answer;
    cr_assert_eq(spatial_nearest_create(section, max, &options, &nearest), 0);
    for (uint32_t i = 0; i < 60 && answer.result >= 0; i++) {
        answer.result = spatial_nearest_next(nearest, &hit);
        if (answer.result == 1)
            answer.sum = answer.sum * 31 + hit.ordinal;
    }
    answer.result = answer.result > 0 ? 0 : answer.result;
    spatial_nearest_destroy(nearest);
    return answer;
}

static const double box_min[3] = {0.2, -0.4, 502}, box_max[3] = {0.7, 0.5, 507};

Test(index_spatial_damage, every_bit_flipped_gives_damage_or_the_same_answer)
{
    uint64_t random = requests_seed("index_spatial_flip") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    uint32_t differed = 0;
    static const uint32_t counts[] = {0, 3, 130, 1200};
    for (uint32_t c = 0; c < 4; c++) {
        struct spatial_cloud cloud = spatial_cloud_make(&random, 0, counts[c]);
        struct spatial_world world;
        spatial_world_begin(&world, memory, c == 3, c % 2);
        spatial_world_build(&world, &cloud);
        struct answer right = ask(&world, box_min, box_max);
        cr_assert_eq(right.result, 0);
        for (uint64_t at = 0; at < world.pages.length; at++) {
            /* All bits of headers and ends of pages; of the rest one at random. */
            bool all = c < 3 || at % SPATIAL_PAGE_BYTES < 120 || at % 97 == 0;
            for (uint32_t bit = all ? 0 : (uint32_t)(codec_check_random(&random) >> 61); bit < 8; bit += all ? 1 : 8) {
                world.pages.bytes[at] ^= (uint8_t)(1u << bit);
                struct answer answer = ask(&world, box_min, box_max);
                cr_assert(answer.result == MOTE_EDAMAGED || (answer.result == 0 && answer.sum == right.sum), "byte %llu bit %u of %u rows: %d", (unsigned long long)at, bit, counts[c], answer.result);
                differed += answer.result != 0;
                world.pages.bytes[at] ^= (uint8_t)(1u << bit);
            }
        }
        cr_assert_eq(world.pages.pinned, 0);
        section_world_end(&world.pages);
        spatial_cloud_free(&cloud);
    }
    cr_assert_gt(differed, 30000);
    memory_destroy(memory);
}

Test(index_spatial_damage, verify_finds_every_flipped_byte)
{
    uint64_t random = requests_seed("index_spatial_verify") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 7, 20000);
    struct spatial_world world;
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    for (uint64_t at = 0; at < world.pages.length; at += 1 + codec_check_random(&random) % 300) {
        uint8_t bit = (uint8_t)(1u << (codec_check_random(&random) >> 61));
        world.pages.bytes[at] ^= bit;
        cr_assert_eq(spatial_verify(&world.section, cloud.row_count), MOTE_EDAMAGED, "byte %llu", (unsigned long long)at);
        world.pages.bytes[at] ^= bit;
    }
    cr_assert_eq(spatial_verify(&world.section, cloud.row_count), 0);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

Test(index_spatial_damage, foreign_identity_is_damage)
{
    uint64_t random = 3;
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 9000);
    struct spatial_world world;
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    world.pages.identity.section_id++;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.identity.section_id--;
    world.pages.identity.uuid[3] ^= 1;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.identity.uuid[3] ^= 1;
    world.pages.identity.segment_id++;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.identity.segment_id--;
    world.pages.root.root_offset_bytes -= SPATIAL_PAGE_BYTES;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.root.root_offset_bytes += SPATIAL_PAGE_BYTES;
    world.pages.root.root_bytes--;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.root.root_bytes++;
    world.pages.root.kind = INDEX_TIMESTAMP;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.root.kind = INDEX_SPATIAL;
    world.pages.root.length_bytes = 100;
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    world.pages.root.length_bytes = world.pages.length;
    cr_assert_eq(ask(&world, box_min, box_max).result, 0);
    cr_assert_eq(spatial_verify(&world.section, cloud.row_count), 0);
    cr_assert_eq(spatial_verify(&world.section, cloud.row_count - 1), MOTE_EDAMAGED, "an ordinal beyond the rows");
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

/* A section whose pages name the same child a hundred times, level after level: a tree of 100^6 leaves on six pages. */
Test(index_spatial_damage, children_named_many_times_end_in_damage)
{
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_writer *writer = malloc(sizeof *writer);
    struct spatial_record records[5] = {{{0.3, 0.2, 504}, 0}, {{0.3, 0.3, 505}, 1}, {{0.3, 0.25, 505}, 2}, {{0.3, 0.2, 503}, 3}, {{0.5, 0.4, 506}, 4}};
    struct spatial_world world;
    spatial_world_begin(&world, memory, false, false);
    spatial_writer_begin(writer, &world.pages.identity, &world.pages.sink);
    cr_assert_eq(spatial_writer_leaf(writer, records, 5), 0);
    for (uint32_t level = 1; level < 7; level++) {
        uint64_t offset_bytes = world.pages.length;
        uint8_t page[SPATIAL_PAGE_BYTES] = {0}, child[SPATIAL_PAGE_BYTES];
        memcpy(child, world.pages.bytes + offset_bytes - SPATIAL_PAGE_BYTES, SPATIAL_PAGE_BYTES);
        memcpy(page, child, 40);
        store_u64(page + 24, offset_bytes);
        store_u16(page + 38, (uint16_t)level);
        store_u32(page + 40, SPATIAL_FANOUT);
        store_u64(page + 48, 5); /* which does not add up, but only verify adds up */
        for (uint32_t i = 0; i < SPATIAL_FANOUT; i++) {
            for (uint32_t side = 0; side < 6; side++)
                store_u32(page + SPATIAL_BOXES_AT + 4 * (side * SPATIAL_FANOUT + i), side < 3 ? 0xff800000 : 0x7f800000);
            store_u64(page + SPATIAL_OFFSETS_AT + 8 * i, offset_bytes - SPATIAL_PAGE_BYTES);
            store_u32(page + SPATIAL_CHECKSUMS_AT + 4 * i, load_u32(child + 4));
            store_u32(page + SPATIAL_COUNTS_AT + 4 * i, 5);
        }
        uint64_t place;
        cr_assert_eq(world.pages.sink.place(&world, SPATIAL_PAGE_BYTES, &place), 0);
        cr_assert_eq(world.pages.sink.write(&world, page, SPATIAL_PAGE_BYTES), 0);
        world.pages.root = (struct section_root){INDEX_SPATIAL, world.pages.length, offset_bytes, SPATIAL_PAGE_BYTES, 0};
        spatial_world_reseal(&world, offset_bytes);
    }
    cr_assert_eq(ask(&world, box_min, box_max).result, MOTE_EDAMAGED);
    cr_assert_eq(spatial_verify(&world.section, 5), MOTE_EDAMAGED);
    cr_assert_lt(world.pages.reads, 50);
    free(writer);
    section_world_end(&world.pages);
    memory_destroy(memory);
}

/* Lies with good checksums, each of which verify must see, and no search may come to harm by. */
Test(index_spatial_damage, lies_with_good_checksums_are_found_by_verify)
{
    uint64_t random = requests_seed("index_spatial_lies") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 9000);
    struct spatial_world world;
    spatial_world_begin(&world, memory, false, true);
    spatial_world_build(&world, &cloud);
    uint8_t *pristine = malloc(world.pages.length);
    struct section_root root = world.pages.root;
    memcpy(pristine, world.pages.bytes, world.pages.length);
    const uint64_t top = root.root_offset_bytes;
    cr_assert_eq(load_u16(world.pages.bytes + top + 38), 1);
    /* Offsets in a leaf and in the root; each is changed by setting it to this byte. */
    static const struct {
        bool in_root;
        uint16_t at;
        uint8_t byte;
    } lies[] = {
        {false, 38, 1},    {false, 38, 8},    {false, 40, 0},    {false, 41, 9},    {false, 44, 1},   {false, 48, 0},     {false, 56, 64},   {false, 59, 9},   {false, 59, 0},
        {false, 62, 5},    {false, 62, 4},    {false, 63, 1},    {false, 71, 0xff}, {false, 90, 0xff}, {false, 92, 1},    {false, 4095, 1}, {true, 38, 2},
        {true, 38, 0},     {true, 38, 200},   {true, 40, 0},     {true, 40, 101},   {true, 44, 1},    {true, 48, 0},      {true, 52, 1},     {true, 56, 1},    {true, 4064, 1},
        {true, 4063, 1},   {true, 67, 0x7f},  {true, 1267, 0xff}, {true, 2466, 0xff}, {true, 2465, 0x10}, {true, 2471, 0x7f}, {true, 3664, 0}, {true, 3667, 0xff}, {true, 32, 1},
        {true, 36, 2},     {true, 24, 0xff},
    };
    for (uint32_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint64_t page = lies[i].in_root ? top : 3 * SPATIAL_PAGE_BYTES;
        uint8_t *at = world.pages.bytes + page + lies[i].at;
        *at = *at == lies[i].byte ? (uint8_t)(*at + 1) : lies[i].byte;
        spatial_world_reseal(&world, page);
        cr_assert_eq(spatial_verify(&world.section, cloud.row_count), MOTE_EDAMAGED, "lie %u at %u", i, lies[i].at);
        struct answer answer = ask(&world, box_min, box_max);
        cr_assert(answer.result == 0 || answer.result == MOTE_EDAMAGED);
        cr_assert_eq(world.pages.pinned, 0);
        memcpy(world.pages.bytes, pristine, world.pages.length);
        world.pages.root = root;
    }
    cr_assert_eq(spatial_verify(&world.section, cloud.row_count), 0);
    free(pristine);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}
