/* spatial_verify.c: all of a spatial section, page by page.
 *
 * Depth first, with the box that the parent gave beside each child that is yet to be read. Threads: a call keeps everything in memory of its own. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"

enum { WAITING_MAX = SPATIAL_LEVELS_MAX * SPATIAL_FANOUT };

struct entry {
    struct spatial_child child;
    struct spatial_box box;
};

struct verifier {
    const struct spatial_section *section;
    uint64_t row_count;
    uint8_t *seen; /* a bit for each ordinal */
    uint64_t pages_left;
    uint32_t waiting_count;
    struct entry waiting[WAITING_MAX];
    struct spatial_points points;
};
_Static_assert(sizeof(struct verifier) <= SPATIAL_SEARCH_BYTES_MAX - 1024, "what spatial.h promises");

static bool all_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

static bool box_contains(const struct spatial_box *box, const double min[3], const double max[3])
{
    bool contained = true;
    for (int axis = 0; axis < 3; axis++)
        contained &= (double)box->min[axis] <= min[axis] && max[axis] <= (double)box->max[axis];
    return contained;
}

static int verify_leaf(struct verifier *verifier, const struct spatial_pin *pin, const struct spatial_box *box, uint64_t offset_bytes)
{
    struct spatial_points *points = &verifier->points;
    int result = spatial_decode(verifier->section, pin, points);
    if (result)
        return result;
    uint32_t end = spatial_leaf_end(pin->page);
    if (!all_zero(pin->page + end, SPATIAL_PAGE_BYTES - end))
        return spatial_refuse(verifier->section, offset_bytes, "something behind the points");
    for (uint32_t i = 0; i < points->count; i++) {
        double at[3] = {points->at[0][i], points->at[1][i], points->at[2][i]};
        uint32_t ordinal = points->ordinals[i];
        if (spatial_any_nan(at, 3) || !box_contains(box, at, at))
            return spatial_refuse(verifier->section, offset_bytes, "a point outside its box");
        if (ordinal >= verifier->row_count || (verifier->seen[ordinal / 8] >> (ordinal % 8) & 1))
            return spatial_refuse(verifier->section, offset_bytes, "a row that does not exist, or twice");
        verifier->seen[ordinal / 8] = (uint8_t)(verifier->seen[ordinal / 8] | 1u << (ordinal % 8));
    }
    return MOTE_OK;
}

static bool rest_is_zero(const struct spatial_pin *pin)
{
    bool zero = load_u64(pin->page + 56) == 0 && all_zero(pin->page + SPATIAL_INNER_END, SPATIAL_PAGE_BYTES - SPATIAL_INNER_END);
    for (size_t array = 0; array < 10; array++) {
        /* Of 4-byte elements: six sides, two halves' worth of offsets, checksums, counts. */
        size_t width = array == 6 ? 8 : 4, at = SPATIAL_BOXES_AT + 4 * (size_t)SPATIAL_FANOUT * (array > 6 ? array + 1 : array);
        if (array < 9)
            zero &= all_zero(pin->page + at + width * pin->count, width * (SPATIAL_FANOUT - pin->count));
    }
    return zero;
}

static int verify_inner(struct verifier *verifier, const struct spatial_pin *pin, const struct spatial_box *box, uint64_t offset_bytes)
{
    uint64_t points = 0;
    if (!rest_is_zero(pin))
        return spatial_refuse(verifier->section, offset_bytes, "something behind the children");
    for (uint32_t i = pin->count; i-- > 0;) {
        struct entry entry = {.child = spatial_child_load(pin, i)};
        double min[3], max[3];
        for (uint32_t axis = 0; axis < 3; axis++) {
            min[axis] = (double)(entry.box.min[axis] = spatial_side(pin->page, i, axis));
            max[axis] = (double)(entry.box.max[axis] = spatial_side(pin->page, i, axis + 3));
        }
        if (!box_contains(box, min, max))
            return spatial_refuse(verifier->section, offset_bytes, "a box outside its parent's");
        if (verifier->waiting_count == WAITING_MAX)
            return spatial_refuse(verifier->section, offset_bytes, "more levels than there can be");
        verifier->waiting[verifier->waiting_count++] = entry;
        points += entry.child.count;
    }
    return points == load_u64(pin->page + 48) ? MOTE_OK : spatial_refuse(verifier->section, offset_bytes, "counts that do not add up");
}

static int verify_pages(struct verifier *verifier)
{
    const struct spatial_section *section = verifier->section;
    struct spatial_box box = {{-INFINITY, -INFINITY, -INFINITY}, {INFINITY, INFINITY, INFINITY}};
    struct spatial_pin pin;
    uint64_t rows, offset_bytes = section->root->root_offset_bytes;
    int result = spatial_pin_root(section, &pin, &rows);
    while (!result) {
        result = pin.level ? verify_inner(verifier, &pin, &box, offset_bytes) : verify_leaf(verifier, &pin, &box, offset_bytes);
        spatial_unpin(section, &pin);
        if (result || verifier->waiting_count == 0)
            break;
        const struct entry *next = &verifier->waiting[--verifier->waiting_count];
        box = next->box;
        offset_bytes = next->child.offset_bytes;
        result = spatial_pin_next(section, &next->child, &verifier->pages_left, &pin);
    }
    return result;
}

int spatial_verify(const struct spatial_section *section, uint64_t row_count)
{
    int result = MOTE_EBUDGET;
    struct verifier *verifier = memory_alloc(section->memory, sizeof *verifier);
    if (!verifier)
        return result;
    verifier->section = section;
    verifier->row_count = row_count;
    verifier->pages_left = section->root->length_bytes / SPATIAL_PAGE_BYTES;
    verifier->waiting_count = 0;
    verifier->seen = memory_alloc_zero(section->memory, (size_t)(row_count / 8 + 1));
    if (verifier->seen)
        result = verify_pages(verifier);
    memory_free(section->memory, verifier->seen);
    memory_free(section->memory, verifier);
    return result;
}
