/* spatial_write.c: the pages of a spatial section into its sink: leaves as they are made, and for each level above the page that is being filled.
 *
 * Invariants: a page is written when it is full, when its region ends, or at the end; its parent's entry is made from it at once. The last page written is the root.
 * Threads: one. Failures: what the sink returns; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "index/spatial_private.h"

static int write_page(struct spatial_writer *writer, uint8_t *page, struct spatial_child *child)
{
    const struct section_identity *identity = writer->identity;
    int result = writer->sink->place(writer->sink->context, SPATIAL_PAGE_BYTES, &child->offset_bytes);
    if (result)
        return result;
    store_u32(page, SPATIAL_MAGIC);
    store_u64(page + 8, identity->segment_id);
    store_u64(page + 16, identity->section_id);
    store_u64(page + 24, child->offset_bytes);
    store_u32(page + 32, SPATIAL_PAGE_BYTES);
    store_u16(page + 36, SPATIAL_VERSION);
    store_u16(page + 38, (uint16_t)child->level);
    child->crc = crc32c(crc32c_seed(identity->uuid, SPATIAL_MAGIC, identity->segment_id, child->offset_bytes), page + 8, SPATIAL_PAGE_BYTES - 8);
    store_u32(page + 4, child->crc);
    writer->end_bytes = child->offset_bytes + SPATIAL_PAGE_BYTES;
    return writer->sink->write(writer->sink->context, page, SPATIAL_PAGE_BYTES);
}

static void empty_level(struct spatial_level *level)
{
    level->count = 0;
    level->points = 0;
    for (int axis = 0; axis < 3; axis++) {
        level->box.min[axis] = INFINITY;
        level->box.max[axis] = -INFINITY;
    }
    memset(level->page, 0, sizeof level->page);
}

void spatial_writer_begin(struct spatial_writer *writer, const struct section_identity *identity, const struct section_sink *sink)
{
    writer->identity = identity;
    writer->sink = sink;
    writer->end_bytes = 0;
    for (uint32_t i = 0; i < SPATIAL_LEVELS_MAX; i++) {
        empty_level(&writer->levels[i]);
        writer->levels[i].ever = 0;
    }
}

static void enter_child(struct spatial_level *level, const struct spatial_child *child, const struct spatial_box *box)
{
    assert(level->count < SPATIAL_FANOUT);
    for (uint32_t axis = 0; axis < 3; axis++) {
        uint32_t bits;
        memcpy(&bits, &box->min[axis], sizeof bits);
        store_u32(level->page + SPATIAL_BOXES_AT + 4 * ((size_t)axis * SPATIAL_FANOUT + level->count), bits);
        memcpy(&bits, &box->max[axis], sizeof bits);
        store_u32(level->page + SPATIAL_BOXES_AT + 4 * ((size_t)(axis + 3) * SPATIAL_FANOUT + level->count), bits);
        level->box.min[axis] = box->min[axis] < level->box.min[axis] ? box->min[axis] : level->box.min[axis];
        level->box.max[axis] = box->max[axis] > level->box.max[axis] ? box->max[axis] : level->box.max[axis];
    }
    store_u64(level->page + SPATIAL_OFFSETS_AT + 8 * (size_t)level->count, child->offset_bytes);
    store_u32(level->page + SPATIAL_CHECKSUMS_AT + 4 * (size_t)level->count, child->crc);
    store_u32(level->page + SPATIAL_COUNTS_AT + 4 * (size_t)level->count, child->count);
    level->count++;
    level->ever++;
    level->points += child->count;
    level->last = *child;
}

/* Writes the page of this level that is being filled and enters it in the one above, which has room. */
static int write_level(struct spatial_writer *writer, uint32_t number)
{
    struct spatial_level *level = &writer->levels[number];
    struct spatial_child child = {.count = (uint32_t)level->points, .level = number};
    assert(number > 0 && number + 1 < SPATIAL_LEVELS_MAX && level->count > 0 && level->points <= UINT32_MAX);
    store_u32(level->page + 40, level->count);
    store_u64(level->page + 48, level->points);
    int result = write_page(writer, level->page, &child);
    if (!result)
        enter_child(level + 1, &child, &level->box);
    empty_level(level);
    return result;
}

/* Full pages are written only when a further child comes, for each might be the root: from the highest of those in the way down. */
static int make_room(struct spatial_writer *writer, uint32_t number)
{
    uint32_t top = number;
    while (writer->levels[top].count == SPATIAL_FANOUT) {
        top++;
        assert(top < SPATIAL_LEVELS_MAX);
    }
    int result = MOTE_OK;
    while (!result && top > number)
        result = write_level(writer, --top);
    return result;
}

int spatial_writer_leaf(struct spatial_writer *writer, const struct spatial_record *records, uint32_t count)
{
    uint8_t *page = writer->levels[0].page;
    struct spatial_child child = {.count = count, .level = 0};
    struct spatial_box box = {{0}, {0}};
    spatial_leaf_encode(page, records, count);
    if (count > 0) {
        struct spatial_extent extent;
        spatial_extent_of(records, count, &extent);
        for (uint32_t axis = 0; axis < 3; axis++) {
            box.min[axis] = spatial_round_down(extent.min[axis]);
            box.max[axis] = spatial_round_up(extent.max[axis]);
        }
    }
    int result = write_page(writer, page, &child);
    if (!result)
        result = make_room(writer, 1);
    if (!result)
        enter_child(&writer->levels[1], &child, &box);
    return result;
}

int spatial_writer_region(struct spatial_writer *writer)
{
    if (writer->levels[1].count == 0)
        return MOTE_OK;
    int result = make_room(writer, 2);
    return result ? result : write_level(writer, 1);
}

int spatial_writer_end(struct spatial_writer *writer, struct section_root *root)
{
    uint32_t number = 1;
    int result = MOTE_OK;
    /* Up to the level that has had one child: its only child is the root, and was the last page to be written. */
    for (; !result && !(writer->levels[number].ever == 1 && writer->levels[number].count == 1); number++) {
        assert(number + 1 < SPATIAL_LEVELS_MAX);
        if (writer->levels[number].count == 0)
            continue;
        result = make_room(writer, number + 1);
        if (!result)
            result = write_level(writer, number);
    }
    if (result)
        return result;
    const struct spatial_child *last = &writer->levels[number].last;
    assert(last->offset_bytes + SPATIAL_PAGE_BYTES == writer->end_bytes);
    *root = (struct section_root){.kind = INDEX_SPATIAL, .length_bytes = writer->end_bytes, .root_offset_bytes = last->offset_bytes, .root_bytes = SPATIAL_PAGE_BYTES, .root_crc = last->crc};
    return MOTE_OK;
}
