/* spatial_estimate.c: how many rows a box holds, about: from the inner pages alone, for a planner that must not read what it plans.
 *
 * Subtrees that the box contains count whole, those that it does not touch not at all; those that it cuts are in doubt and are looked into, the largest first, as long as pages may be read. What is in doubt at the end counts by the part
 * of its box that lies in the box searched for: right where points fill their boxes evenly, too low or too high otherwise; the bounds hold in any case.
 * Threads: a call keeps everything in memory of its own. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"

enum { DOUBTED_MAX = 1024 };

struct doubt {
    struct spatial_child child;
    double part;
};

struct estimator {
    const struct spatial_section *section;
    double min[3], max[3];
    uint64_t least, doubted_rows;
    double expected; /* of what is no longer in the list */
    uint32_t doubt_count;
    struct doubt doubts[DOUBTED_MAX]; /* a heap, the most rows on top; leaves are not in it */
};
_Static_assert(sizeof(struct estimator) <= SPATIAL_SEARCH_BYTES_MAX - 1024, "what spatial.h promises");

static void push_doubt(struct estimator *estimator, const struct doubt *doubt)
{
    uint32_t at = estimator->doubt_count++;
    for (; at > 0 && estimator->doubts[(at - 1) / 2].child.count < doubt->child.count; at = (at - 1) / 2)
        estimator->doubts[at] = estimator->doubts[(at - 1) / 2];
    estimator->doubts[at] = *doubt;
}

static struct doubt pop_doubt(struct estimator *estimator)
{
    assert(estimator->doubt_count > 0);
    struct doubt top = estimator->doubts[0], last = estimator->doubts[--estimator->doubt_count];
    uint32_t at = 0, child;
    for (; (child = 2 * at + 1) < estimator->doubt_count; at = child) {
        child += child + 1 < estimator->doubt_count && estimator->doubts[child + 1].child.count > estimator->doubts[child].child.count;
        if (estimator->doubts[child].child.count <= last.child.count)
            break;
        estimator->doubts[at] = estimator->doubts[child];
    }
    estimator->doubts[at] = last;
    return top;
}

/* The part of a side that lies in the box. Halves first, for what is larger than any number. */
static double part_of_side(double low, double high, double min, double max)
{
    double from = low > min ? low : min, to = high < max ? high : max;
    if (from > to)
        return 0;
    if (low == high)
        return 1;
    double part = (to / 2 - from / 2) / (high / 2 - low / 2);
    return part >= 0 && part <= 1 ? part : 0.5; /* infinite sides */
}

static void take_children(struct estimator *estimator, const struct spatial_pin *pin)
{
    for (uint32_t i = 0; i < pin->count; i++) {
        struct doubt doubt = {.child = spatial_child_load(pin, i), .part = 1};
        bool contained = true;
        for (uint32_t axis = 0; axis < 3; axis++) {
            double low = (double)spatial_side(pin->page, i, axis), high = (double)spatial_side(pin->page, i, axis + 3);
            doubt.part *= part_of_side(low, high, estimator->min[axis], estimator->max[axis]);
            contained &= low >= estimator->min[axis] && high <= estimator->max[axis];
            if (low > estimator->max[axis] || high < estimator->min[axis])
                doubt.child.count = 0;
        }
        if (contained) {
            estimator->least += doubt.child.count;
        } else if (doubt.child.count > 0) {
            estimator->doubted_rows += doubt.child.count;
            if (doubt.child.level > 0 && estimator->doubt_count < DOUBTED_MAX)
                push_doubt(estimator, &doubt);
            else
                estimator->expected += doubt.part * doubt.child.count;
        }
    }
}

/* A section of one leaf: it is here, so that nothing need be guessed. */
static int take_leaf(struct estimator *estimator, const struct spatial_pin *pin)
{
    struct spatial_points *points = memory_alloc(estimator->section->memory, sizeof *points);
    if (!points)
        return MOTE_EBUDGET;
    int result = spatial_decode(estimator->section, pin, points);
    for (uint32_t i = 0; !result && i < points->count; i++) {
        bool inside = true;
        for (int axis = 0; axis < 3; axis++)
            inside &= points->at[axis][i] >= estimator->min[axis] && points->at[axis][i] <= estimator->max[axis];
        estimator->least += inside;
    }
    memory_free(estimator->section->memory, points);
    return result;
}

static int estimate(struct estimator *estimator, uint32_t pages_max, uint64_t *rows)
{
    struct spatial_pin pin;
    int result = spatial_pin_root(estimator->section, &pin, rows);
    if (result)
        return result;
    if (pin.level > 0)
        take_children(estimator, &pin);
    else
        result = take_leaf(estimator, &pin);
    spatial_unpin(estimator->section, &pin);
    for (; !result && pages_max > 0 && estimator->doubt_count > 0; pages_max--) {
        struct doubt doubt = pop_doubt(estimator);
        result = spatial_pin_child(estimator->section, &doubt.child, &pin);
        if (result)
            break;
        estimator->doubted_rows -= doubt.child.count;
        take_children(estimator, &pin);
        spatial_unpin(estimator->section, &pin);
    }
    return result;
}

int spatial_estimate_box(const struct spatial_section *section, const double min[3], const double max[3], uint32_t pages_max, struct spatial_estimate *made)
{
    *made = (struct spatial_estimate){0};
    if (spatial_any_nan(min, 3) || spatial_any_nan(max, 3))
        return error_set(MOTE_EINVAL, "a corner of the box has a coordinate that is NaN");
    struct estimator *estimator = memory_alloc(section->memory, sizeof *estimator);
    if (!estimator)
        return MOTE_EBUDGET;
    estimator->section = section;
    estimator->least = estimator->doubted_rows = 0;
    estimator->expected = 0;
    estimator->doubt_count = 0;
    memcpy(estimator->min, min, sizeof estimator->min);
    memcpy(estimator->max, max, sizeof estimator->max);
    uint64_t rows = 0;
    int result = estimate(estimator, pages_max, &rows);
    if (!result) {
        double expected = estimator->expected;
        for (uint32_t i = 0; i < estimator->doubt_count; i++)
            expected += estimator->doubts[i].part * estimator->doubts[i].child.count;
        *made = (struct spatial_estimate){.rows = rows, .least = estimator->least, .most = estimator->least + estimator->doubted_rows, .expected = (double)estimator->least + expected};
    }
    memory_free(section->memory, estimator);
    return result;
}
