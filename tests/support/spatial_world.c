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

void spatial_world_begin(struct spatial_world *world, struct memory *memory, bool gaps, bool prefetch)
{
    section_world_begin(&world->pages, gaps, prefetch);
    world->section = (struct spatial_section){&world->pages.identity, &world->pages.root, &world->pages.source, memory};
}

void spatial_world_build(struct spatial_world *world, const struct spatial_cloud *cloud)
{
    struct spatial_builder *builder;
    need(spatial_builder_create(world->section.memory, cloud->count, &builder) == 0);
    for (uint32_t i = 0; i < cloud->count; i++)
        need(spatial_builder_add(builder, cloud->ordinals[i], cloud->points[i]) == 0);
    need(spatial_builder_finish(builder, &world->pages.identity, &world->pages.sink, &world->pages.root) == 0);
    need(world->pages.root.length_bytes == world->pages.length && (world->pages.gaps || world->pages.length <= spatial_bytes_bound(cloud->count)));
    spatial_builder_destroy(builder);
}

static uint32_t seal_page(struct spatial_world *world, uint64_t offset_bytes)
{
    uint8_t *page = world->pages.bytes + offset_bytes;
    uint32_t crc = crc32c(crc32c_seed(world->pages.identity.uuid, SPATIAL_MAGIC, world->pages.identity.segment_id, offset_bytes), page + 8, SPATIAL_PAGE_BYTES - 8);
    store_u32(page + 4, crc);
    return crc;
}

void spatial_world_reseal(struct spatial_world *world, uint64_t offset_bytes)
{
    uint32_t crc = seal_page(world, offset_bytes);
    bool found = offset_bytes != world->pages.root.root_offset_bytes;
    /* Parents come after their children, so that one walk forward goes all the way up. */
    for (uint64_t at = offset_bytes + SPATIAL_PAGE_BYTES; found && at + SPATIAL_PAGE_BYTES <= world->pages.length;) {
        uint8_t *page = world->pages.bytes + at;
        bool is_page = load_u32(page) == SPATIAL_MAGIC && load_u64(page + 24) == at;
        for (uint32_t i = 0; is_page && load_u16(page + 38) > 0 && i < load_u32(page + 40) && i < SPATIAL_FANOUT; i++)
            if (load_u64(page + SPATIAL_OFFSETS_AT + 8 * (size_t)i) == offset_bytes) {
                store_u32(page + SPATIAL_CHECKSUMS_AT + 4 * (size_t)i, crc);
                crc = seal_page(world, at);
                offset_bytes = at;
                break;
            }
        found = offset_bytes != world->pages.root.root_offset_bytes;
        at += is_page ? SPATIAL_PAGE_BYTES : 64;
    }
    world->pages.root.root_crc = seal_page(world, world->pages.root.root_offset_bytes);
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
