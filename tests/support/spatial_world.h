/* spatial_world.h: spatial sections in memory and clouds of points, for the tests and the fuzz target of the spatial index. Plain helpers; what they cannot do aborts the program. */
#ifndef MOTE_TESTS_SUPPORT_SPATIAL_WORLD_H
#define MOTE_TESTS_SUPPORT_SPATIAL_WORLD_H

#include "index/spatial.h"

/* A section in memory; gaps: some pages are preceded by bytes that belong to nothing. As a source it hands out copies of the exact size, for the address sanitizer. */
struct spatial_world {
    uint8_t *bytes;
    uint64_t length, capacity;
    uint64_t random; /* of the gaps; not 0 */
    bool gaps;
    uint64_t reads, announced, pinned; /* pages read, pages announced by prefetch, pages pinned now */
    struct section_identity identity;
    struct section_root root;
    struct section_sink sink;
    struct section_source source;
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

struct memory *spatial_world_memory(uint64_t budget_bytes);
void spatial_world_begin(struct spatial_world *world, struct memory *memory, bool gaps, bool prefetch);
/* Builds the section of a cloud; spatial_world_begin before. */
void spatial_world_build(struct spatial_world *world, const struct spatial_cloud *cloud);
void spatial_world_end(struct spatial_world *world);
/* Makes the page at offset_bytes and its way up to the root agree with what stands in it: an author who lies, not a device that fails. */
void spatial_world_reseal(struct spatial_world *world, uint64_t offset_bytes);

/* The distance as spatial.h defines it. */
double spatial_world_square(const double point[3], const double centre[3]);

#endif
