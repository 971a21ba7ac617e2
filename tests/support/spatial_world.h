/* spatial_world.h: spatial sections in memory and clouds of points, for the tests and the fuzz target of the spatial index. Plain helpers; what they cannot do aborts the program. */
#ifndef MOTE_TESTS_SUPPORT_SPATIAL_WORLD_H
#define MOTE_TESTS_SUPPORT_SPATIAL_WORLD_H

#include "index/spatial.h"
#include "tests/support/section_world.h"

struct spatial_world {
    struct section_world pages;
    struct spatial_section section;
};

/* Points for the ordinals that have one. */
struct spatial_cloud {
    uint32_t count;
    uint32_t *ordinals; /* ascending */
    double (*points)[3];
    uint64_t row_count; /* above every ordinal */
};

enum { SPATIAL_SHAPES = 14 };
extern const char *const spatial_shape_names[SPATIAL_SHAPES];

/* The caller frees with spatial_cloud_free. state: of codec_check_random. */
struct spatial_cloud spatial_cloud_make(uint64_t *state, uint32_t shape, uint32_t count);
void spatial_cloud_free(struct spatial_cloud *cloud);

void spatial_world_begin(struct spatial_world *world, struct memory *memory, bool gaps, bool prefetch);
/* Builds the section of a cloud; spatial_world_begin before. */
void spatial_world_build(struct spatial_world *world, const struct spatial_cloud *cloud);
/* Makes the page at offset_bytes and its way up to the root agree with what stands in it: an author who lies, not a device that fails. */
void spatial_world_reseal(struct spatial_world *world, uint64_t offset_bytes);

/* The distance as spatial.h defines it. */
double spatial_world_square(const double point[3], const double centre[3]);

#endif
