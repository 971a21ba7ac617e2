/* spatial_nearest.c: the rows by distance, as an iterator of bounded memory.
 *
 * A pass over the tree finds the next few rows (the batch) behind the last one that was handed out, in the order (squared distance, ordinal): the best first, by the distance of boxes, so that it reads the pages only that it must; a page
 * whose box begins beyond the worst of the batch, or ends before the last row handed out, is not read. Who asks for more than the batch begins another pass, for twice as many, up to BATCH_MAX: what was read then comes out of the
 * cache, mostly. Subtrees that wait are a heap by distance; when there are more than pending_max, the iterator goes depth first until there are fewer, which needs SPATIAL_FANOUT more for each level and no more.
 *
 * Ties are exact: box distances are never above those of the points in the box, bit for bit (spatial_leaf.c), and a page that begins just where the batch ends is read.
 * Threads: one. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"

enum { BATCH_MIN = 16, BATCH_MAX = 4096, PENDING_FIRST = 512, PENDING_MAX = 16384, ANNOUNCED_MAX = 16 };

struct pending {
    double square; /* of the nearest corner */
    struct spatial_child child;
};

/* A row of the batch; its point is in points[slot]. */
struct candidate {
    double square;
    uint32_t ordinal, slot;
};

struct spatial_nearest {
    struct spatial_section section;
    struct spatial_nearest_options options;
    double centre[3];
    uint32_t batch, found, handed; /* rows that a pass looks for; that it found; that were handed out of these */
    bool began, exhausted;         /* the last pass found all that there was */
    struct candidate last;         /* the last one handed out, if began */
    struct candidate *batch_rows;  /* during a pass a heap, the worst on top; then in order */
    double (*batch_points)[3];     /* behind them, in the same memory */
    struct pending *pending;       /* a heap, the nearest on top */
    uint32_t pending_count, pending_capacity, pending_max;
    struct spatial_points points;
    double squares[SPATIAL_LEAF_POINTS_MAX];
};
_Static_assert(sizeof(struct spatial_nearest) + PENDING_FIRST * sizeof(struct pending) <= SPATIAL_SEARCH_BYTES_MAX - 1024, "what spatial.h promises");
_Static_assert(sizeof(struct candidate) + 3 * sizeof(double) == 40 && sizeof(struct pending) <= 32, "what spatial.h promises");

static bool comes_before(const struct candidate *a, const struct candidate *b) { return a->square < b->square || (a->square == b->square && a->ordinal < b->ordinal); }

/* Puts a candidate in the place of the top of a heap of count, and down to where it belongs. */
static void sift_down(struct candidate *heap, uint32_t count, struct candidate candidate)
{
    uint32_t at = 0, child;
    for (; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && comes_before(&heap[child], &heap[child + 1]);
        if (!comes_before(&candidate, &heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = candidate;
}

/* In a full batch it takes the place, and the slot, of the worst. */
static void keep_candidate(struct spatial_nearest *nearest, struct candidate candidate, const double point[3])
{
    struct candidate *heap = nearest->batch_rows;
    if (nearest->found == nearest->batch) {
        candidate.slot = heap[0].slot;
        sift_down(heap, nearest->found, candidate);
    } else {
        uint32_t at = candidate.slot = nearest->found++;
        for (; at > 0 && comes_before(&heap[(at - 1) / 2], &candidate); at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
        heap[at] = candidate;
    }
    memcpy(nearest->batch_points[candidate.slot], point, sizeof *nearest->batch_points);
}

/* Nothing beyond it is of interest. */
static double bound_of(const struct spatial_nearest *nearest)
{
    double most = nearest->options.squared_distance_max;
    return nearest->found == nearest->batch && nearest->batch_rows[0].square < most ? nearest->batch_rows[0].square : most;
}

static void take_leaf(struct spatial_nearest *nearest)
{
    const struct spatial_points *points = &nearest->points;
    double bound = bound_of(nearest);
    spatial_square(points, nearest->centre, nearest->squares);
    for (uint32_t i = 0; i < points->count; i++) {
        if (!(nearest->squares[i] <= bound))
            continue;
        const struct candidate candidate = {.square = nearest->squares[i], .ordinal = points->ordinals[i]};
        const double point[3] = {points->at[0][i], points->at[1][i], points->at[2][i]};
        if (nearest->found == nearest->batch && !comes_before(&candidate, &nearest->batch_rows[0]))
            continue;
        if (nearest->began && !comes_before(&nearest->last, &candidate))
            continue;
        if (nearest->options.accept && !nearest->options.accept(nearest->options.accept_context, candidate.ordinal, point))
            continue;
        keep_candidate(nearest, candidate, point);
        bound = bound_of(nearest);
    }
}

static int grow_pending(struct spatial_nearest *nearest)
{
    uint32_t capacity = nearest->pending_capacity * 2;
    struct pending *grown = memory_realloc(nearest->section.memory, nearest->pending, capacity * sizeof *grown);
    if (!grown)
        return MOTE_EBUDGET;
    nearest->pending = grown;
    nearest->pending_capacity = capacity;
    return MOTE_OK;
}

static int push_pending(struct spatial_nearest *nearest, struct pending pending)
{
    if (nearest->pending_count == nearest->pending_capacity) {
        int result = grow_pending(nearest);
        if (result)
            return result;
    }
    uint32_t at = nearest->pending_count++;
    for (; at > 0 && nearest->pending[(at - 1) / 2].square > pending.square; at = (at - 1) / 2)
        nearest->pending[at] = nearest->pending[(at - 1) / 2];
    nearest->pending[at] = pending;
    return MOTE_OK;
}

/* Takes out the one at this place of the heap. */
static struct pending pop_pending(struct spatial_nearest *nearest, uint32_t at)
{
    struct pending *heap = nearest->pending, taken = heap[at], last = heap[--nearest->pending_count];
    uint32_t child;
    for (; at > 0 && heap[(at - 1) / 2].square > last.square; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    for (; (child = 2 * at + 1) < nearest->pending_count; at = child) {
        child += child + 1 < nearest->pending_count && heap[child + 1].square < heap[child].square;
        if (heap[child].square >= last.square)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return taken;
}

/* Too many wait: one of the lowest level, the nearest of these. */
static uint32_t choose_lowest(const struct spatial_nearest *nearest)
{
    uint32_t chosen = 0;
    for (uint32_t i = 1; i < nearest->pending_count; i++) {
        const struct pending *a = &nearest->pending[i], *b = &nearest->pending[chosen];
        if (a->child.level < b->child.level || (a->child.level == b->child.level && a->square < b->square))
            chosen = i;
    }
    return chosen;
}

/* Of leaves that were just found, those that will surely or probably be read: the nearest ones that together hold the batch. */
static void announce_leaves(const struct spatial_nearest *nearest, const struct pending *leaves, uint32_t count)
{
    struct spatial_child announced[ANNOUNCED_MAX];
    uint32_t announced_count = 0;
    uint64_t rows = nearest->found;
    double reached = -1;
    bool taken[SPATIAL_FANOUT] = {false};
    for (; announced_count < ANNOUNCED_MAX && announced_count < count; announced_count++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++)
            if (!taken[i] && (best == UINT32_MAX || leaves[i].square < leaves[best].square))
                best = i;
        if (rows >= nearest->batch && leaves[best].square > reached)
            break;
        taken[best] = true;
        rows += leaves[best].child.count;
        reached = leaves[best].square;
        announced[announced_count] = leaves[best].child;
    }
    spatial_announce(&nearest->section, announced, announced_count);
}

static int take_children(struct spatial_nearest *nearest, const struct spatial_pin *pin)
{
    double squares[SPATIAL_FANOUT], farthest[SPATIAL_FANOUT], bound = bound_of(nearest);
    struct pending taken[SPATIAL_FANOUT];
    uint32_t taken_count = 0;
    spatial_square_boxes(pin->page, pin->count, nearest->centre, squares, farthest);
    /* A child that alone fills the batch bounds it; where rows may be refused, or were handed out before, it need not fill it. */
    for (uint32_t i = 0; i < pin->count && !nearest->began && !nearest->options.accept; i++)
        if (farthest[i] < bound && spatial_child_load(pin, i).count >= nearest->batch)
            bound = farthest[i];
    for (uint32_t i = 0; i < pin->count; i++)
        if (squares[i] <= bound && (!nearest->began || farthest[i] >= nearest->last.square))
            taken[taken_count++] = (struct pending){squares[i], spatial_child_load(pin, i)};
    if (nearest->section.source->prefetch && pin->level == 1)
        announce_leaves(nearest, taken, taken_count);
    int result = MOTE_OK;
    for (uint32_t i = 0; !result && i < taken_count; i++)
        result = push_pending(nearest, taken[i]);
    return result;
}

static int take_page(struct spatial_nearest *nearest, struct spatial_pin *pin)
{
    int result = MOTE_OK;
    if (pin->level > 0) {
        result = take_children(nearest, pin);
    } else {
        result = spatial_decode(&nearest->section, pin, &nearest->points);
        if (!result)
            take_leaf(nearest);
    }
    spatial_unpin(&nearest->section, pin);
    return result;
}

static void sort_batch(struct spatial_nearest *nearest)
{
    struct candidate *heap = nearest->batch_rows;
    for (uint32_t count = nearest->found; count > 1; count--) {
        struct candidate worst = heap[0];
        sift_down(heap, count - 1, heap[count - 1]);
        heap[count - 1] = worst;
    }
}

static int find_batch(struct spatial_nearest *nearest)
{
    struct spatial_pin pin;
    uint64_t rows, pages_left = nearest->section.root->length_bytes / SPATIAL_PAGE_BYTES;
    nearest->found = nearest->handed = nearest->pending_count = 0;
    int result = spatial_pin_root(&nearest->section, &pin, &rows);
    if (!result)
        result = take_page(nearest, &pin);
    while (!result && nearest->pending_count > 0) {
        bool crowded = nearest->pending_count > nearest->pending_max;
        struct pending next = pop_pending(nearest, crowded ? choose_lowest(nearest) : 0);
        if (next.square > bound_of(nearest)) {
            if (!crowded)
                break; /* so are all others */
            continue;
        }
        result = spatial_pin_next(&nearest->section, &next.child, &pages_left, &pin);
        if (!result)
            result = take_page(nearest, &pin);
    }
    if (result)
        return result;
    nearest->exhausted = nearest->found < nearest->batch;
    sort_batch(nearest);
    return MOTE_OK;
}

static bool make_batch(struct spatial_nearest *nearest, uint32_t batch)
{
    struct candidate *rows = memory_realloc(nearest->section.memory, nearest->batch_rows, batch * (sizeof *rows + sizeof *nearest->batch_points));
    if (!rows)
        return false;
    nearest->batch_rows = rows;
    nearest->batch_points = (double(*)[3])(void *)(rows + batch);
    nearest->batch = batch;
    return true;
}

/* For the next pass: twice as many rows, if there is memory; else it goes on as it was. */
static void enlarge_batch(struct spatial_nearest *nearest)
{
    uint32_t batch = nearest->batch < BATCH_MIN / 2 ? BATCH_MIN : nearest->batch * 2;
    if (batch <= BATCH_MAX)
        (void)make_batch(nearest, batch);
}

int spatial_nearest_create(const struct spatial_section *section, const double centre[3], const struct spatial_nearest_options *options, struct spatial_nearest **nearest)
{
    if (spatial_any_nan(centre, 3) || isnan(options->squared_distance_max))
        return error_set(MOTE_EINVAL, "the nearest rows of a point with a coordinate that is NaN, or up to a distance that is NaN");
    struct spatial_nearest *made = memory_alloc(section->memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->section = *section;
    made->options = *options;
    memcpy(made->centre, centre, sizeof made->centre);
    made->found = made->handed = made->pending_count = 0;
    made->began = made->exhausted = false;
    made->pending_capacity = PENDING_FIRST;
    made->pending_max = PENDING_MAX;
    made->pending = NULL;
    made->batch_rows = NULL;
    if (make_batch(made, options->wanted < 1 ? 1 : options->wanted > BATCH_MAX ? BATCH_MAX : options->wanted))
        made->pending = memory_alloc(section->memory, made->pending_capacity * sizeof *made->pending);
    if (!made->pending) {
        spatial_nearest_destroy(made);
        return MOTE_EBUDGET;
    }
    *nearest = made;
    return MOTE_OK;
}

void spatial_nearest_set_pending_max(struct spatial_nearest *nearest, uint32_t pending_max) { nearest->pending_max = pending_max; }

int spatial_nearest_next(struct spatial_nearest *nearest, struct spatial_hit *hit)
{
    if (nearest->handed == nearest->found) {
        if (nearest->exhausted)
            return 0;
        if (nearest->began)
            enlarge_batch(nearest);
        int result = find_batch(nearest);
        if (result)
            return result;
        if (nearest->found == 0)
            return 0;
    }
    assert(nearest->handed < nearest->found);
    nearest->last = nearest->batch_rows[nearest->handed++];
    nearest->began = true;
    hit->squared_distance = nearest->last.square;
    hit->ordinal = nearest->last.ordinal;
    memcpy(hit->point, nearest->batch_points[nearest->last.slot], sizeof hit->point);
    return 1;
}

void spatial_nearest_destroy(struct spatial_nearest *nearest)
{
    if (!nearest)
        return;
    memory_free(nearest->section.memory, nearest->pending);
    memory_free(nearest->section.memory, nearest->batch_rows);
    memory_free(nearest->section.memory, nearest);
}
