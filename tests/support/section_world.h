/* section_world.h: an index section in memory, written and read through the callbacks of blockdev/section.h, for the tests and the fuzz targets of the indexes. Plain helpers; what they cannot do aborts the program. */
#ifndef MOTE_TESTS_SUPPORT_SECTION_WORLD_H
#define MOTE_TESTS_SUPPORT_SECTION_WORLD_H

#include "blockdev/section.h"

/* gaps: some pages are preceded by bytes that belong to nothing. As a source it hands out copies of the exact size, for the address sanitizer. */
struct section_world {
    uint8_t *bytes;
    uint64_t length, capacity;
    uint64_t random; /* of the gaps; not 0 */
    bool gaps;
    uint64_t reads, announced, pinned; /* pages read, pages announced by prefetch that are good, pages pinned now */
    struct section_identity identity;
    struct section_root root;
    struct section_sink sink;
    struct section_source source;
};

/* Sealed. */
struct memory *section_world_memory(uint64_t budget_bytes);
/* Stays where it is from here on: sink and source point to it. */
void section_world_begin(struct section_world *world, bool gaps, bool prefetch);
void section_world_end(struct section_world *world);

#endif
