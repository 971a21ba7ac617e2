/* spatial_build.c: from rows to leaves: the records are divided along the longest side of what they span until each part fills a leaf, in place.
 *
 * Why so and not along a space-filling curve: on the point clouds that this was measured with (docs/indexes.md), nearest-neighbour searches read half as many leaves, and dividing costs no more than sorting.
 * How: a part of n points of which a leaf holds c needs k = ceil(n / c) leaves, and is divided so that one side is filled by half of them. c is at least what a leaf of any subset holds, as widths only shrink; so k leaves suffice.
 * Where k is beyond SPATIAL_FANOUT, the cut is between groups of leaves that fill one page of level 1, which is thereby a region, too.
 * Threads: one. Failures: MOTE_EINVAL, MOTE_EBUDGET, and what the sink returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/spatial_private.h"

enum { PARTS_MAX = 80 }; /* the left part waits for no more than the right ones beside it: each is at most two thirds of the one before, log(2^32) / log(3 / 2) = 55 */

uint64_t spatial_builder_bytes(uint64_t rows_max) { return rows_max * sizeof(struct spatial_record) + sizeof(struct spatial_builder) + sizeof(struct spatial_writer) + 256; }

uint64_t spatial_bytes_bound(uint64_t rows) { return SPATIAL_PAGE_BYTES * (rows / 60 + rows / 600 + 2); }

int spatial_builder_create(struct memory *memory, uint64_t rows_max, struct spatial_builder **builder)
{
    if (rows_max > UINT32_MAX)
        return error_set(MOTE_EINVAL, "a spatial index of %llu rows was asked for; a segment has at most 2^32 - 1 with a point", (unsigned long long)rows_max);
    struct spatial_builder *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->rows_max = rows_max;
    if (rows_max > 0)
        made->records = memory_alloc(memory, (size_t)rows_max * sizeof *made->records);
    if (rows_max > 0 && !made->records) {
        memory_free(memory, made);
        return MOTE_EBUDGET;
    }
    *builder = made;
    return MOTE_OK;
}

void spatial_builder_destroy(struct spatial_builder *builder)
{
    if (!builder)
        return;
    memory_free(builder->memory, builder->records);
    memory_free(builder->memory, builder);
}

int spatial_builder_add_many(struct spatial_builder *builder, uint32_t first_ordinal, const double *points, uint32_t count)
{
    if (count == 0)
        return MOTE_OK;
    if (builder->finished || count > builder->rows_max - builder->count || first_ordinal < builder->next_ordinal || (uint64_t)first_ordinal + count > UINT32_MAX)
        return error_set(MOTE_EINVAL, "row %u of a spatial index comes out of order, or is one more than the %llu it was made for", first_ordinal, (unsigned long long)builder->rows_max);
    if (spatial_any_nan(points, (size_t)count * 3))
        return error_set(MOTE_EINVAL, "a point of the rows from %u on has a coordinate that is NaN; it has no place in a spatial index", first_ordinal);
    for (uint32_t i = 0; i < count; i++)
        spatial_builder_put(builder, first_ordinal + i, points + 3 * (size_t)i);
    builder->next_ordinal = (uint64_t)first_ordinal + count;
    return MOTE_OK;
}

int spatial_builder_add(struct spatial_builder *builder, uint32_t ordinal, const double point[3]) { return spatial_builder_add_many(builder, ordinal, point, 1); }

uint32_t spatial_longest_axis(const struct spatial_extent *extent)
{
    double longest = -1;
    uint32_t chosen = 0;
    for (uint32_t axis = 0; axis < 3; axis++) {
        double side = extent->max[axis] == extent->min[axis] ? 0 : extent->max[axis] - extent->min[axis];
        if (side > longest) {
            longest = side;
            chosen = axis;
        }
    }
    return chosen;
}

/* How many of count records go to the left, all of which are too many for one leaf of capacity. */
static size_t left_count(size_t count, uint32_t capacity, bool *between_groups)
{
    size_t leaves = (size_t)divide_up(count, capacity), each = (size_t)divide_up(count, leaves), groups = (size_t)divide_up(leaves, SPATIAL_FANOUT);
    *between_groups = groups > 1;
    size_t left = *between_groups ? groups / 2 * (size_t)divide_up(leaves, groups) * each : leaves / 2 * each;
    assert(leaves > 1 && left > 0);
    return left < count ? left : count - 1;
}

struct part {
    size_t first, count;
    bool begins_region;
};

static int divide_records(struct spatial_writer *writer, struct spatial_record *records, size_t count)
{
    struct part waiting[PARTS_MAX];
    uint32_t waiting_count = 0;
    struct part part = {0, count, false};
    int result = MOTE_OK;
    for (;;) {
        struct spatial_extent extent;
        spatial_extent_of(records + part.first, part.count, &extent);
        uint32_t capacity = spatial_leaf_capacity(&extent);
        if (part.count > capacity) {
            bool between_groups;
            size_t left = left_count(part.count, capacity, &between_groups);
            uint32_t axis = spatial_longest_axis(&extent);
            if (extent.min[axis] < extent.max[axis])
                spatial_select(records + part.first, part.count, left, axis);
            assert(waiting_count < PARTS_MAX);
            waiting[waiting_count++] = (struct part){part.first + left, part.count - left, between_groups};
            part.count = left;
            continue;
        }
        if (part.begins_region)
            result = spatial_writer_region(writer);
        if (!result)
            result = spatial_writer_leaf(writer, records + part.first, (uint32_t)part.count);
        if (result || waiting_count == 0)
            return result;
        part = waiting[--waiting_count];
    }
}

int spatial_builder_write(struct spatial_builder *builder, struct spatial_writer *writer)
{
    assert(builder->count > 0);
    size_t count = (size_t)builder->count;
    builder->count = 0;
    return divide_records(writer, builder->records, count);
}

int spatial_builder_finish(struct spatial_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    if (builder->finished)
        return error_set(MOTE_EINVAL, "a spatial index is finished once only");
    struct spatial_writer *writer = memory_alloc(builder->memory, sizeof *writer);
    if (!writer)
        return MOTE_EBUDGET;
    builder->finished = true;
    spatial_writer_begin(writer, identity, sink);
    int result = builder->count ? spatial_builder_write(builder, writer) : spatial_writer_leaf(writer, NULL, 0);
    if (!result)
        result = spatial_writer_end(writer, root);
    memory_free(builder->memory, writer);
    return result;
}
