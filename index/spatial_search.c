/* spatial_search.c: by box, by radius, counting, estimating.
 *
 * A search goes depth first with a stack of children that are yet to be read: at most SPATIAL_FANOUT for each level. Before it reads the children of a page it announces them to the source.
 * Threads: a call keeps everything in memory of its own. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what source and visit return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"

enum { WAITING_MAX = SPATIAL_LEVELS_MAX * SPATIAL_FANOUT };

/* What is looked for: a box, or a ball. */
struct region {
    double min[3], max[3];
    float inner_min[3], inner_max[3], outer_min[3], outer_max[3]; /* the box rounded inward and outward: compared with boxes of pages, which are float32 */
    bool is_ball;
    double centre[3], square;
};

struct search {
    const struct spatial_section *section;
    struct region region;
    spatial_visit *visit; /* NULL: counting */
    void *context;
    uint64_t counted;
    uint64_t pages_left; /* that the section can have besides those read: a tree that has more is none */
    uint32_t waiting_count;
    struct spatial_child waiting[WAITING_MAX];
    struct spatial_points points;
    double squares[SPATIAL_LEAF_POINTS_MAX];
    double hit_points[SPATIAL_LEAF_POINTS_MAX][3];
    double hit_squares[SPATIAL_LEAF_POINTS_MAX];
    uint32_t hit_ordinals[SPATIAL_LEAF_POINTS_MAX];
};
_Static_assert(sizeof(struct search) <= SPATIAL_SEARCH_BYTES_MAX - 1024, "what spatial.h promises");

static int make_box(struct region *region, const double min[3], const double max[3])
{
    if (spatial_any_nan(min, 3) || spatial_any_nan(max, 3))
        return error_set(MOTE_EINVAL, "a corner of the box has a coordinate that is NaN");
    for (int axis = 0; axis < 3; axis++) {
        region->min[axis] = min[axis];
        region->max[axis] = max[axis];
        region->outer_min[axis] = spatial_round_down(min[axis]);
        region->outer_max[axis] = spatial_round_up(max[axis]);
        region->inner_min[axis] = spatial_round_up(min[axis]);
        region->inner_max[axis] = spatial_round_down(max[axis]);
    }
    region->is_ball = false;
    return MOTE_OK;
}

static bool is_empty(const struct region *region)
{
    return region->min[0] > region->max[0] || region->min[1] > region->max[1] || region->min[2] > region->max[2];
}

/* Which children of the page the region touches, and which of them (counting in a box) it contains. */
static void relate_children(const struct region *region, const struct spatial_pin *pin, uint8_t *touched, uint8_t *contained)
{
    if (region->is_ball) {
        double nearest[SPATIAL_FANOUT];
        spatial_square_boxes(pin->page, pin->count, region->centre, nearest, NULL);
        for (uint32_t i = 0; i < pin->count; i++) {
            touched[i] = nearest[i] <= region->square;
            contained[i] = 0;
        }
        return;
    }
    memset(touched, 1, pin->count);
    memset(contained, 1, pin->count);
    for (uint32_t axis = 0; axis < 3; axis++) {
        const float outer_min = region->outer_min[axis], outer_max = region->outer_max[axis], inner_min = region->inner_min[axis], inner_max = region->inner_max[axis];
        for (uint32_t i = 0; i < pin->count; i++) {
            float low = spatial_side(pin->page, i, axis), high = spatial_side(pin->page, i, axis + 3);
            touched[i] &= (uint8_t)((low <= outer_max) & (high >= outer_min));
            contained[i] &= (uint8_t)((low >= inner_min) & (high <= inner_max));
        }
    }
}

static int push_children(struct search *search, const struct spatial_pin *pin)
{
    uint8_t touched[SPATIAL_FANOUT], contained[SPATIAL_FANOUT];
    uint32_t first = search->waiting_count;
    relate_children(&search->region, pin, touched, contained);
    for (uint32_t i = pin->count; i-- > 0;) {
        struct spatial_child child = spatial_child_load(pin, i);
        if (!touched[i])
            continue;
        if (!search->visit && contained[i])
            search->counted += child.count;
        else if (search->waiting_count < WAITING_MAX)
            search->waiting[search->waiting_count++] = child;
        else
            return spatial_refuse(search->section, child.offset_bytes, "more levels than there can be");
    }
    spatial_announce(search->section, search->waiting + first, search->waiting_count - first);
    return MOTE_OK;
}

/* The indexes of the points inside. */
static uint32_t find_inside(struct search *search, uint16_t *inside)
{
    const struct region *region = &search->region;
    const struct spatial_points *points = &search->points;
    uint32_t found = 0;
    if (region->is_ball) {
        spatial_square(points, region->centre, search->squares);
        for (uint32_t i = 0; i < points->count; i++) {
            inside[found] = (uint16_t)i;
            found += search->squares[i] <= region->square;
        }
        return found;
    }
    const double x0 = region->min[0], x1 = region->max[0], y0 = region->min[1], y1 = region->max[1], z0 = region->min[2], z1 = region->max[2];
    for (uint32_t i = 0; i < points->count; i++) {
        double x = points->at[0][i], y = points->at[1][i], z = points->at[2][i];
        inside[found] = (uint16_t)i;
        found += (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) & (z >= z0) & (z <= z1);
    }
    return found;
}

static int search_points(struct search *search)
{
    uint16_t inside[SPATIAL_LEAF_POINTS_MAX + 1];
    const struct spatial_points *points = &search->points;
    uint32_t found = find_inside(search, inside);
    search->counted += found;
    if (!search->visit || found == 0)
        return MOTE_OK;
    for (uint32_t i = 0; i < found; i++) {
        uint32_t from = inside[i];
        search->hit_ordinals[i] = points->ordinals[from];
        for (int axis = 0; axis < 3; axis++)
            search->hit_points[i][axis] = points->at[axis][from];
        search->hit_squares[i] = search->squares[from];
    }
    struct spatial_hits hits = {.count = found, .ordinals = search->hit_ordinals, .points = (const double(*)[3])search->hit_points, .squared_distances = search->region.is_ball ? search->hit_squares : NULL};
    return search->visit(search->context, &hits);
}

static int search_page(struct search *search, struct spatial_pin *pin)
{
    bool is_leaf = pin->level == 0;
    int result = is_leaf ? spatial_decode(search->section, pin, &search->points) : push_children(search, pin);
    spatial_unpin(search->section, pin); /* before visit, which may read pages of its own */
    return result || !is_leaf ? result : search_points(search);
}

static int run_search(struct search *search)
{
    struct spatial_pin pin;
    uint64_t rows;
    int result = spatial_pin_root(search->section, &pin, &rows);
    if (!result)
        result = search_page(search, &pin);
    while (!result && search->waiting_count > 0) {
        struct spatial_child child = search->waiting[--search->waiting_count];
        result = spatial_pin_next(search->section, &child, &search->pages_left, &pin);
        if (!result)
            result = search_page(search, &pin);
    }
    return result;
}

static struct search *make_search(const struct spatial_section *section, const struct region *region, spatial_visit *visit, void *context)
{
    struct search *search = memory_alloc(section->memory, sizeof *search);
    if (!search)
        return NULL;
    search->section = section;
    search->region = *region;
    search->visit = visit;
    search->context = context;
    search->counted = 0;
    search->pages_left = section->root->length_bytes / SPATIAL_PAGE_BYTES;
    search->waiting_count = 0;
    memset(search->squares, 0, sizeof search->squares); /* copied in a search by box, where nobody reads them */
    return search;
}

static int search_region(const struct spatial_section *section, const struct region *region, spatial_visit *visit, void *context, uint64_t *counted)
{
    struct search *search = make_search(section, region, visit, context);
    if (!search)
        return MOTE_EBUDGET;
    int result = run_search(search);
    if (counted)
        *counted = result ? 0 : search->counted;
    memory_free(section->memory, search);
    return result;
}

int spatial_search_box(const struct spatial_section *section, const double min[3], const double max[3], spatial_visit *visit, void *context)
{
    struct region region;
    int result = make_box(&region, min, max);
    return result || is_empty(&region) ? result : search_region(section, &region, visit, context, NULL);
}

int spatial_search_radius(const struct spatial_section *section, const double centre[3], double radius, spatial_visit *visit, void *context)
{
    struct region region = {.is_ball = true, .square = radius * radius};
    if (spatial_any_nan(centre, 3) || !(radius >= 0))
        return error_set(MOTE_EINVAL, "a search around a point with a coordinate that is NaN, or by a radius that is negative or NaN");
    memcpy(region.centre, centre, sizeof region.centre);
    return search_region(section, &region, visit, context, NULL);
}

int spatial_count_box(const struct spatial_section *section, const double min[3], const double max[3], uint64_t *count)
{
    struct region region;
    *count = 0;
    int result = make_box(&region, min, max);
    return result || is_empty(&region) ? result : search_region(section, &region, NULL, NULL, count);
}
