/* spatial.h: the spatial index: the points (x, y, z; float64) of a segment's rows, known by ordinal, as a packed tree of boxes in a section: built from rows in key order, searched by box, by radius, by nearness, counted,
 * verified. Format: spatial_format.h; what it costs: docs/indexes.md.
 *
 * Points: every float64 but NaN. +-0 are equal in all comparisons; infinities are points like others. What is found comes back bit for bit as it was added.
 * Distances, everywhere here: for each axis t = coordinate - centre, 0 where both are the same infinity; then (tx * tx + ty * ty) + tz * tz, each operation rounded to float64, none fused. The radius includes what has a squared
 * distance <= radius * radius, as computed. So distances above some 1e154 are all equal (infinite), and those below some 1e-162 are 0.
 *
 * Memory: of the struct memory handed over, nothing else. A builder takes spatial_builder_bytes, a search less than SPATIAL_SEARCH_BYTES_MAX, nearest SPATIAL_SEARCH_BYTES_MAX and 40 bytes a wanted row (at most 4,096 of them count) and, in
 * steps as it needs them, 24 bytes for each of at most 16,384 subtrees that it has yet to look at; verify a bit a row beside. Nothing here is recursive.
 * Threads: a builder, a search and an iterator belong to one thread; a section may be searched by many. Failures: MOTE_EINVAL (a NaN, a negative radius, misuse), MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, and what sink, source and visit return.
 */
#ifndef MOTE_INDEX_SPATIAL_H
#define MOTE_INDEX_SPATIAL_H

#include "index/index.h"

#define SPATIAL_SEARCH_BYTES_MAX (96u * 1024u)

/* ---- Building ---- */

struct spatial_builder;
/* rows_max: the points at most, for which the memory is taken at once: at most 2^32 - 1. */
int spatial_builder_create(struct memory *memory, uint64_t rows_max, struct spatial_builder **builder);
/* Row `ordinal` (ascending) has this point. Rows without a point are not added. MOTE_EINVAL: a NaN, out of order, or more than rows_max; the builder stays as it was. */
int spatial_builder_add(struct spatial_builder *builder, uint32_t ordinal, const double point[3]);
/* The same for count rows, first_ordinal, + 1, + 2, ...: x, y, z of the first, of the second, ... All of them, or with MOTE_EINVAL none. */
int spatial_builder_add_many(struct spatial_builder *builder, uint32_t first_ordinal, const double *points, uint32_t count);
/* Writes the section, 4 KiB pages all, the root last. A section of no points is valid. Once only: it reorders what the builder holds. */
int spatial_builder_finish(struct spatial_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
void spatial_builder_destroy(struct spatial_builder *builder);
/* What a builder takes, the writing included. */
uint64_t spatial_builder_bytes(uint64_t rows_max);
/* No section of so many points is longer, gaps not included. */
uint64_t spatial_bytes_bound(uint64_t rows);

/* ---- Searching ---- */

/* An index section and where its pages and memory come from. All must outlive the call, or the iterator. */
struct spatial_section {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    struct memory *memory;
};

/* Rows that were found; valid during the visit. */
struct spatial_hits {
    uint32_t count;
    const uint32_t *ordinals;
    const double (*points)[3];
    const double *squared_distances; /* NULL in a search by box */
};
/* Non-zero stops the search and is returned. No page is pinned meanwhile. */
typedef int spatial_visit(void *context, const struct spatial_hits *hits);

/* All rows with min <= point <= max on each axis, in no particular order. min above max on an axis: none. */
int spatial_search_box(const struct spatial_section *section, const double min[3], const double max[3], spatial_visit *visit, void *context);
/* All rows at most radius (>= 0) from the centre, in no particular order. */
int spatial_search_radius(const struct spatial_section *section, const double centre[3], double radius, spatial_visit *visit, void *context);
/* How many rows are in the box, exactly: from the inner pages, and the leaves that its surface cuts. */
int spatial_count_box(const struct spatial_section *section, const double min[3], const double max[3], uint64_t *count);

struct spatial_estimate {
    uint64_t rows;        /* in the section */
    uint64_t least, most; /* no fewer and no more are in the box */
    double expected;      /* between them: where a subtree is cut, the part of its box that is in the box */
};
/* For a planner: reads the inner pages only, at most pages_max of them (0: the root alone is read), those with the most rows in doubt first. */
int spatial_estimate_box(const struct spatial_section *section, const double min[3], const double max[3], uint32_t pages_max, struct spatial_estimate *estimate);

/* ---- Nearest ---- */

struct spatial_hit {
    double squared_distance;
    double point[3];
    uint32_t ordinal;
};

struct spatial_nearest_options {
    uint32_t wanted;             /* how many rows the caller expects to take; more may be taken, in further passes over the tree */
    double squared_distance_max; /* none beyond it: INFINITY for all */
    bool (*accept)(void *context, uint32_t ordinal, const double point[3]); /* may be NULL; rows that it refuses are passed over. It may be asked of a row more than once, and of rows that are not taken in the end */
    void *accept_context;
};

struct spatial_nearest;
/* The rows by distance from the centre, the lower ordinal first among equals. */
int spatial_nearest_create(const struct spatial_section *section, const double centre[3], const struct spatial_nearest_options *options, struct spatial_nearest **nearest);
/* 1: *hit is the next; 0: there is none; or negative, and the iterator can but be destroyed. */
int spatial_nearest_next(struct spatial_nearest *nearest, struct spatial_hit *hit);
void spatial_nearest_destroy(struct spatial_nearest *nearest);

/* ---- Verifying ---- */

/* Walks every page: checksums, levels, counts, boxes that contain what is below them, points without NaN, ordinals below row_count and none twice, zeros where zeros belong. */
int spatial_verify(const struct spatial_section *section, uint64_t row_count);

#endif
