/* term_spatial.c: the search terms of places: in a box, within a radius, the nearest. A rank is the squared distance as the spatial index computes it (spatial_distance), a score the distance.
 *
 * Memory: of a segment at a time, the rows within a radius (16 bytes each) where all are wanted, else a nearest-neighbour iterator. Threads: the searching one. Failures: MOTE_EINVAL of operands; those of index/spatial.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/search_term.h"
#include "index/spatial.h"

extern const struct search_term_ops search_box_ops, search_radius_ops, search_nearest_ops;

enum { WANTED_MAX = 4096, ESTIMATE_PAGES = 8 };

struct found {
    double square;
    uint32_t ordinal;
};

struct spatial_term {
    double squared_max; /* of what counts */
    struct found *found;
    uint64_t count, capacity;
};

/* ---- Operands, rows ---- */

static int check_columns(const struct search_term *term)
{
    const struct schema *schema = term->schema;
    bool point = term->column_count == 1 && schema->columns[term->columns[0]].type == MOTE_TYPE_POINT3, axes = term->column_count == 3;
    for (uint32_t i = 0; i < term->column_count && axes; i++)
        axes = schema->columns[term->columns[i]].type == MOTE_TYPE_FLOAT64;
    return point || axes ? MOTE_OK : error_set(MOTE_EINVAL, "the term %s of a search of table %s needs one point3 column or three float64 columns", term->ops->name, term->table_name);
}

static int prepare(struct search_term *term)
{
    const struct mote_term *given = term->given;
    bool box = given->kind == MOTE_TERM_BOX;
    int result = check_columns(term);
    if (result)
        return result;
    if (given->flags)
        return error_set(MOTE_EINVAL, "the term %s of a search of table %s has no flags", term->ops->name, term->table_name);
    for (unsigned i = 0; i < 3; i++)
        if (box ? isnan(given->min[i]) || isnan(given->max[i]) : isnan(given->centre[i]))
            return error_set(MOTE_EINVAL, "a coordinate of the term %s of a search of table %s is NaN", term->ops->name, term->table_name);
    if (!box && !(given->radius >= 0))
        return error_set(MOTE_EINVAL, "the radius of the term %s of a search of table %s cannot be %g", term->ops->name, term->table_name, given->radius);
    struct spatial_term *state = memory_alloc_zero(term->memory, sizeof *state);
    if (!state)
        return MOTE_EBUDGET;
    state->squared_max = given->kind == MOTE_TERM_NEAREST && !(given->radius > 0) ? (double)INFINITY : given->radius * given->radius;
    term->state = state;
    return MOTE_OK;
}

static void destroy(struct search_term *term)
{
    struct spatial_term *state = term->state;
    if (state)
        memory_free(term->memory, state->found);
    memory_free(term->memory, state);
    term->state = NULL;
}

static double score(const struct search_term *term, double value)
{
    (void)term;
    return sqrt(value);
}

static bool point_of(const struct search_term *term, const struct mote_value *values, double point[3])
{
    for (uint32_t i = 0; i < term->column_count; i++) {
        if (values[i].is_null)
            return false;
        if (term->column_count == 1)
            memcpy(point, values[i].as.point, 3 * sizeof *point);
        else
            point[i] = values[i].as.f64;
    }
    return !isnan(point[0]) && !isnan(point[1]) && !isnan(point[2]);
}

static int match_box(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank)
{
    const struct mote_term *given = term->given;
    double point[3];
    (void)rank; /* a box ranks nothing */
    *matches = point_of(term, values, point);
    for (unsigned i = 0; i < 3 && *matches; i++)
        *matches = given->min[i] <= point[i] && point[i] <= given->max[i];
    return MOTE_OK;
}

static int match_distance(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank)
{
    const struct spatial_term *state = term->state;
    double point[3], square;
    *matches = false;
    if (!point_of(term, values, point))
        return MOTE_OK;
    square = spatial_distance(term->given->centre, point);
    *matches = square <= state->squared_max;
    if (rank && *matches) {
        rank->value = square;
        rank->byte_count = 0;
    }
    return MOTE_OK;
}

/* ---- Sections ---- */

static struct spatial_section section_of(const struct search_term *term, const struct search_section *section)
{
    return (struct spatial_section){&section->at->identity, &section->at->root, &section->at->source, term->memory};
}

static int estimate_box(const struct search_term *term, const struct search_section *section, const double min[3], const double max[3], double share, uint64_t *rows)
{
    struct spatial_section spatial = section_of(term, section);
    struct spatial_estimate estimate;
    int result = spatial_estimate_box(&spatial, min, max, ESTIMATE_PAGES, &estimate);
    if (!result)
        *rows = (uint64_t)(estimate.expected * share + 0.5);
    return result;
}

static int estimate_of_box(struct search_term *term, struct search_section *section, uint64_t *rows) { return estimate_box(term, section, term->given->min, term->given->max, 1, rows); }

/* By the box about the ball, of which it fills a little more than half. */
static int estimate_of_ball(struct search_term *term, struct search_section *section, uint64_t *rows)
{
    const struct mote_term *given = term->given;
    double min[3], max[3];
    if (given->kind == MOTE_TERM_NEAREST && !(given->radius > 0)) {
        *rows = section->row_count;
        return MOTE_OK;
    }
    for (unsigned i = 0; i < 3; i++) {
        min[i] = given->centre[i] - given->radius;
        max[i] = given->centre[i] + given->radius;
        if (isnan(min[i]) || isnan(max[i])) {
            *rows = section->row_count;
            return MOTE_OK;
        }
    }
    return estimate_box(term, section, min, max, 0.52, rows);
}

struct marking {
    uint64_t *marks;
    uint64_t row_count;
};

static int mark_hits(void *context, const struct spatial_hits *hits)
{
    struct marking *marking = context;
    for (uint32_t i = 0; i < hits->count; i++) {
        if (hits->ordinals[i] >= marking->row_count)
            return error_set(MOTE_EDAMAGED, "a section of a spatial index names a row that its segment does not have");
        marking->marks[hits->ordinals[i] / 64] |= 1ull << hits->ordinals[i] % 64;
    }
    return MOTE_OK;
}

static int mark(struct search_term *term, struct search_section *section, uint64_t *marks, bool *exact)
{
    const struct mote_term *given = term->given;
    struct spatial_section spatial = section_of(term, section);
    struct marking marking = {marks, section->row_count};
    *exact = true;
    return given->kind == MOTE_TERM_BOX ? spatial_search_box(&spatial, given->min, given->max, mark_hits, &marking) : spatial_search_radius(&spatial, given->centre, given->radius, mark_hits, &marking);
}

/* ---- Ranking ---- */

/* A term and what it ranks. */
struct ranked {
    struct search_term *term;
    struct search_section *section;
    struct search_ranking *ranking;
};

static bool is_marked(const struct ranked *ranked, uint32_t ordinal)
{
    const uint64_t *marks = ranked->ranking->marks;
    return !marks || (ordinal < ranked->section->row_count && (marks[ordinal / 64] >> ordinal % 64 & 1));
}

static bool accept_marked(void *context, uint32_t ordinal, const double point[3])
{
    (void)point;
    return is_marked(context, ordinal);
}

static int keep_hits(void *context, const struct spatial_hits *hits)
{
    struct ranked *ranked = context;
    struct spatial_term *state = ranked->term->state;
    if (state->capacity - state->count < hits->count) {
        uint64_t capacity = 2 * state->capacity + hits->count + 1024;
        struct found *grown = memory_realloc(ranked->term->memory, state->found, capacity * sizeof *grown);
        if (!grown)
            return error_set(MOTE_EBUDGET, "the term %s finds more than %llu rows in one segment and there is no memory for more; narrow it", ranked->term->ops->name, (unsigned long long)state->count);
        state->found = grown;
        state->capacity = capacity;
    }
    for (uint32_t i = 0; i < hits->count; i++)
        if (is_marked(ranked, hits->ordinals[i]))
            state->found[state->count++] = (struct found){hits->squared_distances[i], hits->ordinals[i]};
    return MOTE_OK;
}

static int compare_found(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

static int offer(struct ranked *ranked, uint32_t ordinal, double square, bool *enough)
{
    struct search_rank rank;
    rank.value = square;
    rank.byte_count = 0;
    return ranked->ranking->offer(ranked->ranking->context, ordinal, &rank, enough);
}

/* Everything within the radius, in the order in which the rows lie. */
static int rank_all(struct ranked *ranked)
{
    const struct mote_term *given = ranked->term->given;
    struct spatial_term *state = ranked->term->state;
    struct spatial_section spatial = section_of(ranked->term, ranked->section);
    state->count = 0;
    int result = spatial_search_radius(&spatial, given->centre, given->radius, keep_hits, ranked);
    if (!result && state->count)
        qsort(state->found, state->count, sizeof *state->found, compare_found);
    for (uint64_t i = 0; i < state->count && !result; i++) {
        bool enough; /* all are wanted */
        result = offer(ranked, state->found[i].ordinal, state->found[i].square, &enough);
    }
    return result;
}

static int rank_nearest(struct ranked *ranked)
{
    const struct spatial_term *state = ranked->term->state;
    struct search_ranking *ranking = ranked->ranking;
    struct spatial_section spatial = section_of(ranked->term, ranked->section);
    struct spatial_nearest_options options = {.wanted = ranking->wanted && ranking->wanted < WANTED_MAX ? (uint32_t)ranking->wanted : WANTED_MAX, .squared_distance_max = fmin(ranking->bound, state->squared_max)};
    struct spatial_nearest *nearest;
    if (ranking->marks) {
        options.accept = accept_marked;
        options.accept_context = ranked;
    }
    int result = spatial_nearest_create(&spatial, ranked->term->given->centre, &options, &nearest);
    if (result)
        return result;
    for (bool enough = false; !result && !enough;) {
        struct spatial_hit hit;
        int found = spatial_nearest_next(nearest, &hit);
        if (found <= 0) {
            result = found;
            break;
        }
        result = offer(ranked, hit.ordinal, hit.squared_distance, &enough);
    }
    spatial_nearest_destroy(nearest);
    return result;
}

static int rank(struct search_term *term, struct search_section *section, struct search_ranking *ranking)
{
    struct ranked ranked = {term, section, ranking};
    bool all = term->given->kind == MOTE_TERM_RADIUS && ranking->wanted == 0;
    return all ? rank_all(&ranked) : rank_nearest(&ranked);
}

const struct search_term_ops search_box_ops = {
    .kind_first = MOTE_TERM_BOX,
    .kind_last = MOTE_TERM_BOX,
    .index_kind = MOTE_INDEX_SPATIAL,
    .name = "box",
    .prepare = prepare,
    .destroy = destroy,
    .match = match_box,
    .estimate = estimate_of_box,
    .mark = mark,
};

const struct search_term_ops search_radius_ops = {
    .kind_first = MOTE_TERM_RADIUS,
    .kind_last = MOTE_TERM_RADIUS,
    .index_kind = MOTE_INDEX_SPATIAL,
    .may_rank = true,
    .name = "radius",
    .prepare = prepare,
    .destroy = destroy,
    .score = score,
    .match = match_distance,
    .estimate = estimate_of_ball,
    .mark = mark,
    .rank = rank,
};

const struct search_term_ops search_nearest_ops = {
    .kind_first = MOTE_TERM_NEAREST,
    .kind_last = MOTE_TERM_NEAREST,
    .index_kind = MOTE_INDEX_SPATIAL,
    .always_ranks = true,
    .name = "nearest",
    .prepare = prepare,
    .destroy = destroy,
    .score = score,
    .match = match_distance,
    .estimate = estimate_of_ball,
    .rank = rank,
};
