/* spatial_merge.c: one section out of several: their points are collected under their new ordinals and divided anew, since where several segments overlap so do their leaves.
 *
 * All at once if memory allows; else region by region. A region is a box of points, ends included, the first one is all of space. Its rows are searched for in each input. If there are more than memory holds, the region is cut in two at
 * the middle of those that were found by then, and both are tried in turn: each has at least half of what memory holds, so that inputs are read about three times in all. Regions are disjoint, as the right one begins with the number
 * that follows the last of the left one. A region of one point only, which cannot be cut, is written whenever memory is full: the order of equal points is of no account.
 *
 * Threads: one. Failures: MOTE_EINVAL (more rows than were announced), MOTE_EDAMAGED, MOTE_EBUDGET, and what source, map and sink return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"

enum { REGIONS_FIRST = 64 };

struct region {
    double min[3], max[3];
};

struct merge {
    struct spatial_builder *builder;
    struct spatial_writer *writer;
    struct memory *memory;
    uint64_t rows_max, written;
    struct region *waiting;
    uint32_t waiting_count, waiting_capacity;
    struct region region; /* that is being collected */
    bool full;            /* it has more rows than there is room for */
    uint32_t input;
    int (*map)(void *context, uint32_t input, uint32_t *ordinals, uint32_t count);
    void *context;
};

static bool is_point(const struct region *region)
{
    return region->min[0] == region->max[0] && region->min[1] == region->max[1] && region->min[2] == region->max[2];
}

/* Leaves of what has been collected. */
static int write_rows(struct merge *merge)
{
    merge->written += merge->builder->count;
    return merge->builder->count ? spatial_builder_write(merge->builder, merge->writer) : MOTE_OK;
}

static int take_rows(void *context, const struct spatial_hits *hits)
{
    struct merge *merge = context;
    struct spatial_builder *builder = merge->builder;
    uint32_t ordinals[SPATIAL_LEAF_POINTS_MAX];
    assert(hits->count <= SPATIAL_LEAF_POINTS_MAX);
    memcpy(ordinals, hits->ordinals, hits->count * sizeof *ordinals);
    int result = merge->map(merge->context, merge->input, ordinals, hits->count);
    for (uint32_t i = 0; !result && i < hits->count; i++) {
        if (ordinals[i] == SPATIAL_DROPPED)
            continue;
        if (merge->written + builder->count >= merge->rows_max)
            return error_set(MOTE_EINVAL, "more than the %llu rows announced stay in a merged spatial index", (unsigned long long)merge->rows_max);
        if (builder->count == builder->rows_max) {
            merge->full = !is_point(&merge->region);
            if (merge->full)
                return 1; /* ends the search */
            result = write_rows(merge);
            if (result)
                return result;
        }
        spatial_builder_put(builder, ordinals[i], hits->points[i]);
    }
    return result;
}

static int push_region(struct merge *merge, const struct region *region)
{
    if (merge->waiting_count == merge->waiting_capacity) {
        uint32_t capacity = merge->waiting_capacity ? merge->waiting_capacity * 2 : REGIONS_FIRST;
        struct region *grown = memory_realloc(merge->memory, merge->waiting, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        merge->waiting = grown;
        merge->waiting_capacity = capacity;
    }
    merge->waiting[merge->waiting_count++] = *region;
    return MOTE_OK;
}

/* Both halves wait, the left one on top. */
static int cut_region(struct merge *merge)
{
    struct spatial_builder *builder = merge->builder;
    struct region left = merge->region, right = merge->region;
    struct spatial_extent extent;
    spatial_extent_of(builder->records, (size_t)builder->count, &extent);
    uint32_t axis = spatial_longest_axis(&extent);
    if (extent.min[axis] == extent.max[axis]) /* all that was found is one point: parted from what is beside it */
        for (axis = 0; left.min[axis] == left.max[axis];)
            axis++;
    assert(axis < 3 && left.min[axis] < left.max[axis]);
    if (extent.min[axis] < extent.max[axis])
        spatial_select(builder->records, (size_t)builder->count, (size_t)builder->count / 2, axis);
    double cut = extent.min[axis];
    for (size_t i = 0; i < (size_t)builder->count / 2; i++)
        cut = builder->records[i].at[axis] > cut ? builder->records[i].at[axis] : cut;
    if (cut >= left.max[axis])
        cut = nextafter(left.max[axis], -INFINITY);
    left.max[axis] = cut;
    right.min[axis] = nextafter(cut, INFINITY);
    assert(left.min[axis] <= left.max[axis] && right.min[axis] <= right.max[axis]);
    builder->count = 0;
    int result = push_region(merge, &right);
    return result ? result : push_region(merge, &left);
}

static int merge_region(struct merge *merge, const struct spatial_section *inputs, uint32_t input_count)
{
    int result = spatial_writer_region(merge->writer);
    merge->full = false;
    for (merge->input = 0; !result && merge->input < input_count; merge->input++)
        result = spatial_search_box(&inputs[merge->input], merge->region.min, merge->region.max, take_rows, merge);
    return merge->full ? cut_region(merge) : result ? result : write_rows(merge);
}

static int merge_all(struct merge *merge, const struct spatial_section *inputs, uint32_t input_count)
{
    static const struct region everything = {{-INFINITY, -INFINITY, -INFINITY}, {INFINITY, INFINITY, INFINITY}};
    int result = push_region(merge, &everything);
    while (!result && merge->waiting_count > 0) {
        merge->region = merge->waiting[--merge->waiting_count];
        result = merge_region(merge, inputs, input_count);
    }
    if (!result && merge->written == 0)
        result = spatial_writer_leaf(merge->writer, NULL, 0);
    return result;
}

int spatial_merge(const struct spatial_section *inputs, uint32_t input_count, const struct spatial_merge_options *options, struct memory *memory, const struct section_identity *identity, const struct section_sink *sink,
                  struct section_root *root)
{
    uint64_t rows = options->rows_in_memory < SPATIAL_MERGE_ROWS_MIN ? SPATIAL_MERGE_ROWS_MIN : options->rows_in_memory;
    struct merge merge = {.memory = memory, .rows_max = options->rows_max, .map = options->map, .context = options->map_context};
    int result = options->rows_max > UINT32_MAX ? error_set(MOTE_EINVAL, "a merged spatial index of %llu rows was asked for; a segment has at most 2^32 - 1 with a point", (unsigned long long)options->rows_max) : MOTE_OK;
    if (!result)
        result = spatial_builder_create(memory, rows < options->rows_max ? rows : options->rows_max, &merge.builder);
    if (result)
        return result;
    merge.writer = memory_alloc(memory, sizeof *merge.writer);
    if (!merge.writer) {
        result = MOTE_EBUDGET;
        goto destroy_builder;
    }
    spatial_writer_begin(merge.writer, identity, sink);
    result = merge_all(&merge, inputs, input_count);
    if (!result)
        result = spatial_writer_end(merge.writer, root);
    memory_free(memory, merge.waiting);
    memory_free(memory, merge.writer);
destroy_builder:
    spatial_builder_destroy(merge.builder);
    return result;
}
