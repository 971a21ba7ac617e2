/* spatial_merge.c: one section out of several: their leaves are streamed into a builder, row by row under its new ordinal, and divided anew, since where several segments overlap so do their leaves.
 *
 * Threads: one. Failures: MOTE_EINVAL (more rows than were announced), MOTE_EDAMAGED, MOTE_EBUDGET, and what source, map and sink return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "index/spatial_private.h"

struct merge {
    struct spatial_builder *builder;
    uint32_t input;
    int (*map)(void *context, uint32_t input, uint32_t *ordinals, uint32_t count);
    void *context;
};

static int take_rows(void *context, const struct spatial_hits *hits)
{
    struct merge *merge = context;
    uint32_t ordinals[SPATIAL_LEAF_POINTS_MAX];
    assert(hits->count <= SPATIAL_LEAF_POINTS_MAX);
    memcpy(ordinals, hits->ordinals, hits->count * sizeof *ordinals);
    int result = merge->map(merge->context, merge->input, ordinals, hits->count);
    for (uint32_t i = 0; !result && i < hits->count; i++)
        if (ordinals[i] != SPATIAL_DROPPED)
            result = spatial_builder_put(merge->builder, ordinals[i], hits->points[i][0], hits->points[i][1], hits->points[i][2]);
    return result;
}

int spatial_merge(const struct spatial_section *inputs, uint32_t input_count, int (*map)(void *context, uint32_t input, uint32_t *ordinals, uint32_t count), void *context, uint64_t rows_max, struct memory *memory,
                  const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    static const double least[3] = {-INFINITY, -INFINITY, -INFINITY}, most[3] = {INFINITY, INFINITY, INFINITY};
    struct merge merge = {.map = map, .context = context};
    int result = spatial_builder_create(memory, rows_max, &merge.builder);
    if (result)
        return result;
    for (; !result && merge.input < input_count; merge.input++)
        result = spatial_search_box(&inputs[merge.input], least, most, take_rows, &merge);
    if (!result)
        result = spatial_builder_finish(merge.builder, identity, sink, root);
    spatial_builder_destroy(merge.builder);
    return result;
}
