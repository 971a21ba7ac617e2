/* spatial_world.c: see spatial_world.h. */
#include "tests/support/spatial_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/memory.h"
#include "index/spatial_format.h"
#include "tests/support/codec_check.h"

static void need(bool holds)
{
    if (!holds) {
        fprintf(stderr, "spatial_world: out of memory, or a build that failed\n");
        abort();
    }
}

static int place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct spatial_world *world = context;
    uint64_t gap = world->gaps && world->length > 0 ? 64 * (codec_check_random(&world->random) % 5) : 0;
    if (world->length + gap + length_bytes > world->capacity) {
        world->capacity = 2 * (world->length + gap + length_bytes);
        world->bytes = realloc(world->bytes, world->capacity);
        need(world->bytes != NULL);
    }
    memset(world->bytes + world->length, 0xa5, gap);
    world->length += gap;
    *offset_bytes = world->length;
    return 0;
}

static int append(void *context, const void *data, uint32_t length_bytes)
{
    struct spatial_world *world = context;
    memcpy(world->bytes + world->length, data, length_bytes);
    world->length += length_bytes;
    return 0;
}

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct spatial_world *world = context;
    if (offset_bytes > world->length || length_bytes > world->length - offset_bytes)
        return MOTE_EDAMAGED;
    uint8_t *copy = malloc(length_bytes);
    need(copy != NULL);
    memcpy(copy, world->bytes + offset_bytes, length_bytes);
    world->reads++;
    int result = check(copy, length_bytes, check_context);
    if (result) {
        free(copy);
        return result;
    }
    world->pinned++;
    *data = copy;
    *handle = copy;
    return 0;
}

static void release_page(void *context, void *handle)
{
    struct spatial_world *world = context;
    world->pinned--;
    free(handle);
}

static void announce_pages(void *context, const struct section_page *pages, uint32_t count, int (*check)(const uint8_t *, uint32_t, void *))
{
    struct spatial_world *world = context;
    for (uint32_t i = 0; i < count; i++) {
        need(pages[i].offset_bytes <= world->length && pages[i].length_bytes <= world->length - pages[i].offset_bytes);
        (void)check(world->bytes + pages[i].offset_bytes, pages[i].length_bytes, pages[i].check_context);
    }
    world->announced += count;
}

struct memory *spatial_world_memory(uint64_t budget_bytes)
{
    struct memory *memory;
    need(memory_create(budget_bytes, false, &memory) == 0 && memory_seal(memory) == 0);
    return memory;
}

void spatial_world_begin(struct spatial_world *world, struct memory *memory, bool gaps, bool prefetch)
{
    *world = (struct spatial_world){.random = 99, .gaps = gaps};
    for (uint8_t i = 0; i < 16; i++)
        world->identity.uuid[i] = i;
    world->identity.segment_id = 77;
    world->identity.section_id = 5;
    world->sink = (struct section_sink){place, append, world};
    world->source = (struct section_source){.read = read_page, .release = release_page, .context = world, .prefetch = prefetch ? announce_pages : NULL};
    world->section = (struct spatial_section){&world->identity, &world->root, &world->source, memory};
}

void spatial_world_build(struct spatial_world *world, const struct spatial_cloud *cloud)
{
    struct spatial_builder *builder;
    need(spatial_builder_create(world->section.memory, cloud->count, &builder) == 0);
    for (uint32_t i = 0; i < cloud->count; i++)
        need(spatial_builder_add(builder, cloud->ordinals[i], cloud->points[i]) == 0);
    need(spatial_builder_finish(builder, &world->identity, &world->sink, &world->root) == 0);
    need(world->root.length_bytes == world->length && (world->gaps || world->length <= spatial_bytes_bound(cloud->count)));
    spatial_builder_destroy(builder);
}

void spatial_world_end(struct spatial_world *world) { free(world->bytes); }

static uint32_t seal_page(struct spatial_world *world, uint64_t offset_bytes)
{
    uint8_t *page = world->bytes + offset_bytes;
    uint32_t crc = crc32c(crc32c_seed(world->identity.uuid, SPATIAL_MAGIC, world->identity.segment_id, offset_bytes), page + 8, SPATIAL_PAGE_BYTES - 8);
    store_u32(page + 4, crc);
    return crc;
}

void spatial_world_reseal(struct spatial_world *world, uint64_t offset_bytes)
{
    uint32_t crc = seal_page(world, offset_bytes);
    bool found = offset_bytes != world->root.root_offset_bytes;
    /* Parents come after their children, so that one walk forward goes all the way up. */
    for (uint64_t at = offset_bytes + SPATIAL_PAGE_BYTES; found && at + SPATIAL_PAGE_BYTES <= world->length;) {
        uint8_t *page = world->bytes + at;
        bool is_page = load_u32(page) == SPATIAL_MAGIC && load_u64(page + 24) == at;
        for (uint32_t i = 0; is_page && load_u16(page + 38) > 0 && i < load_u32(page + 40) && i < SPATIAL_FANOUT; i++)
            if (load_u64(page + SPATIAL_OFFSETS_AT + 8 * (size_t)i) == offset_bytes) {
                store_u32(page + SPATIAL_CHECKSUMS_AT + 4 * (size_t)i, crc);
                crc = seal_page(world, at);
                offset_bytes = at;
                break;
            }
        found = offset_bytes != world->root.root_offset_bytes;
        at += is_page ? SPATIAL_PAGE_BYTES : 64;
    }
    world->root.root_crc = seal_page(world, world->root.root_offset_bytes);
}

double spatial_world_square(const double point[3], const double centre[3])
{
    volatile double sum = 0; /* each operation by itself */
    for (int axis = 0; axis < 3; axis++) {
        volatile double t = point[axis] - centre[axis];
        volatile double product = isnan(t) ? 0 : t * t;
        sum = axis ? sum + product : product;
    }
    return sum;
}

const char *const spatial_shape_names[SPATIAL_SHAPES] = {"uniform",       "clustered", "all equal",  "collinear", "huge",       "tiny",         "duplicates",
                                                         "float32 cloud", "plane",     "infinities", "zeros",     "exponential", "integer grid", "descending"};

static double uniform(uint64_t *state) { return (double)(codec_check_random(state) >> 11) * 0x1p-53; }

static void make_point(uint64_t *state, uint32_t shape, uint32_t i, double point[3])
{
    double a = uniform(state), b = uniform(state), c = uniform(state);
    uint64_t r = codec_check_random(state);
    switch (shape) {
    case 1: /* forty clusters */
        for (int axis = 0; axis < 3; axis++)
            point[axis] = (double)((r % 40 * 7919 * (uint64_t)(axis + 1)) % 1000) + 0.01 * (axis == 0 ? a : axis == 1 ? b : c);
        return;
    case 2: point[0] = 1.5, point[1] = -2.25, point[2] = 0.1; return;
    case 3: point[0] = a * 3, point[1] = a * 6 - 1, point[2] = a * -9; return;
    case 4: point[0] = (a - 0.5) * 0x1p1023 * 1.9, point[1] = (b - 0.5) * 0x1p900, point[2] = (c - 0.5) * 0x1p1000; return;
    case 5: point[0] = a * 0x1p-1070, point[1] = b * -0x1p-1040, point[2] = c * 0x1p-600; return;
    case 6: point[0] = (double)(r % 7), point[1] = (double)(r / 7 % 3), point[2] = -1; return;
    case 7: {
        volatile float x = (float)(a * 4 - 2), y = (float)(b * 3), z = (float)(1 + 0.2 * a * b); /* volatile: gcc 12 loses conversions to and fro where it makes vectors of them */
        point[0] = (double)x, point[1] = (double)y, point[2] = (double)z;
        return;
    }
    case 8: point[0] = a, point[1] = b, point[2] = 0; return;
    case 9:
        point[0] = r % 11 == 0 ? INFINITY : r % 11 == 1 ? -INFINITY : a, point[1] = r % 13 == 0 ? INFINITY : b, point[2] = r % 17 == 0 ? -INFINITY : r % 17 == 1 ? INFINITY : c;
        return;
    case 10: point[0] = r & 1 ? 0.0 : -0.0, point[1] = r & 2 ? -0.0 : 0.0, point[2] = r & 4 ? a : 0.0; return;
    case 11: point[0] = exp(40 * a), point[1] = -exp(200 * b), point[2] = exp(300 * c - 600); return;
    case 12: point[0] = (double)(r % 20), point[1] = (double)(r / 20 % 20), point[2] = (double)(r / 400 % 20); return;
    case 13: point[0] = -(double)i, point[1] = (double)(i % 100), point[2] = -(double)(i / 100); return;
    default: point[0] = a, point[1] = b * 2 - 1, point[2] = c * 10 + 500; return;
    }
}

struct spatial_cloud spatial_cloud_make(uint64_t *state, uint32_t shape, uint32_t count)
{
    struct spatial_cloud cloud = {.count = count, .ordinals = malloc(((size_t)count + 1) * sizeof(uint32_t)), .points = malloc(((size_t)count + 1) * sizeof *cloud.points)};
    uint32_t ordinal = 0;
    need(cloud.ordinals && cloud.points);
    for (uint32_t i = 0; i < count; i++) {
        ordinal += shape % 3 == 1 ? (uint32_t)(codec_check_random(state) >> 60) : 0; /* rows without a point */
        cloud.ordinals[i] = ordinal++;
        make_point(state, shape, i, cloud.points[i]);
    }
    cloud.row_count = ordinal;
    return cloud;
}

void spatial_cloud_free(struct spatial_cloud *cloud)
{
    free(cloud->ordinals);
    free(cloud->points);
}
