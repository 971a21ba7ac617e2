/* spatial_private.h: what the builder and the searches of the spatial index share: records, leaves and their codec, page writer and page reader. */
#ifndef MOTE_INDEX_SPATIAL_PRIVATE_H
#define MOTE_INDEX_SPATIAL_PRIVATE_H

#include <math.h>

#include "blockdev/base/bytes.h"
#include "index/spatial.h"
#include "index/spatial_format.h"

/* A row in the builder. Packed, because a builder holds all rows. */
struct __attribute__((packed, aligned(4))) spatial_record {
    double at[3];
    uint32_t ordinal;
};
_Static_assert(sizeof(struct spatial_record) == 28, "four bytes in seven are what padding would cost");

/* A box as it stands in a page: float32, rounded outward. min above max: empty. */
struct spatial_box {
    float min[3], max[3];
};

/* What a parent says of its child. */
struct spatial_child {
    uint64_t offset_bytes;
    uint32_t crc;
    uint32_t count; /* points */
    uint32_t level;
};

/* The points of a leaf, decoded. */
struct spatial_points {
    uint32_t count;
    uint32_t ordinals[SPATIAL_LEAF_POINTS_MAX];
    double at[3][SPATIAL_LEAF_POINTS_MAX];
};

/* ---- spatial_leaf.c: the codec of leaves ---- */

/* The extent of records: what an encoding of them takes at most follows from it. */
struct spatial_extent {
    double min[3], max[3];
    uint64_t bits[3]; /* all bits set in any of them */
    uint32_t ordinal_min, ordinal_max;
};
void spatial_extent_of(const struct spatial_record *records, size_t count, struct spatial_extent *extent);
/* How many points like these a leaf holds at least; 1 to SPATIAL_LEAF_POINTS_MAX. */
uint32_t spatial_leaf_capacity(const struct spatial_extent *extent);
/* Fills the page, its header's first 40 bytes excepted; count at most spatial_leaf_capacity of their extent. page: SPATIAL_PAGE_BYTES. */
void spatial_leaf_encode(uint8_t *page, const struct spatial_record *records, uint32_t count);
/* False: the leaf contradicts itself. */
bool spatial_leaf_decode(const uint8_t *page, struct spatial_points *points);
/* Where the bytes of a leaf that could be decoded end. */
uint32_t spatial_leaf_end(const uint8_t *page);
/* The squared distances of points->count points from the centre. */
void spatial_square(const struct spatial_points *points, const double centre[3], double *squares);
/* The children's boxes: squared distances of their nearest and (may be NULL) farthest corner; never above and below, respectively, that of a point in the box. */
void spatial_square_boxes(const uint8_t *page, uint32_t count, const double centre[3], double *nearest, double *farthest);

/* The loops beneath, of which there is a portable set and one for AVX2; they give the same bits. */
struct spatial_loops {
    void (*decode_axis)(const uint8_t *in, uint32_t width, uint32_t shift, uint64_t base, uint32_t count, double *out);
    void (*square)(const struct spatial_points *points, const double centre[3], double *squares);
    void (*square_boxes)(const uint8_t *page, uint32_t count, const double centre[3], double *nearest, double *farthest);
};
/* What this processor runs fastest, or (for tests) the portable set. */
const struct spatial_loops *spatial_loops(bool portable);

/* ---- spatial_select.c ---- */

/* Reorders records so that none of the first `rank` is above any of the others on this axis; 0 < rank < count. */
void spatial_select(struct spatial_record *records, size_t count, size_t rank, uint32_t axis);

/* ---- spatial_build.c ---- */

struct spatial_builder {
    struct memory *memory;
    uint64_t rows_max, count;
    uint64_t next_ordinal; /* no ordinal below it may come any more */
    struct spatial_record *records;
    bool finished;
};
/* A row that the builder has room for; ordinals may come in any order. */
static inline void spatial_builder_put(struct spatial_builder *builder, uint32_t ordinal, const double point[3])
{
    builder->records[builder->count++] = (struct spatial_record){{point[0], point[1], point[2]}, ordinal};
}
struct spatial_writer;
/* Writes leaves of all rows, at least one, and holds none any more. */
int spatial_builder_write(struct spatial_builder *builder, struct spatial_writer *writer);
uint32_t spatial_longest_axis(const struct spatial_extent *extent);

/* ---- spatial_write.c: pages into the sink, and the levels above the leaves ---- */

struct spatial_level {
    uint32_t count; /* children in the page that is being filled */
    uint64_t ever;  /* children of all pages of this level */
    uint64_t points;
    struct spatial_box box;
    struct spatial_child last; /* of the children */
    uint8_t page[SPATIAL_PAGE_BYTES];
};

struct spatial_writer {
    const struct section_identity *identity;
    const struct section_sink *sink;
    uint64_t end_bytes;
    struct spatial_level levels[SPATIAL_LEVELS_MAX]; /* [0] unused but for its page, where leaves are made */
};

void spatial_writer_begin(struct spatial_writer *writer, const struct section_identity *identity, const struct section_sink *sink);
int spatial_writer_leaf(struct spatial_writer *writer, const struct spatial_record *records, uint32_t count);
/* Ends the page of level 1 that is being filled: the next leaves are of another region. */
int spatial_writer_region(struct spatial_writer *writer);
int spatial_writer_end(struct spatial_writer *writer, struct section_root *root);

/* ---- spatial_page.c: pages from the source ---- */

struct spatial_pin {
    const uint8_t *page;
    void *handle;
    uint32_t level, count;
};

int spatial_refuse(const struct spatial_section *section, uint64_t offset_bytes, const char *what);
/* The root, of which nothing is known but what struct section_root says. */
int spatial_pin_root(const struct spatial_section *section, struct spatial_pin *pin, uint64_t *rows);
int spatial_pin_child(const struct spatial_section *section, const struct spatial_child *child, struct spatial_pin *pin);
/* The same, and refuses when more pages have been read than the section can have: children that are named many times would keep a search busy for years. */
int spatial_pin_next(const struct spatial_section *section, const struct spatial_child *child, uint64_t *pages_left, struct spatial_pin *pin);
void spatial_unpin(const struct spatial_section *section, struct spatial_pin *pin);
/* The pinned leaf's points. */
int spatial_decode(const struct spatial_section *section, const struct spatial_pin *pin, struct spatial_points *points);
/* Tells the source that these pages will be read, if it wants to know; at most SPATIAL_FANOUT. */
void spatial_announce(const struct spatial_section *section, const struct spatial_child *children, uint32_t count);

static inline float spatial_load_f32(const uint8_t *at)
{
    uint32_t bits = load_u32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* side 0 to 2: least x, y, z; 3 to 5: greatest. */
static inline float spatial_side(const uint8_t *page, uint32_t child, uint32_t side)
{
    return spatial_load_f32(page + SPATIAL_BOXES_AT + 4 * ((size_t)side * SPATIAL_FANOUT + child));
}

static inline struct spatial_child spatial_child_load(const struct spatial_pin *pin, uint32_t child)
{
    return (struct spatial_child){load_u64(pin->page + SPATIAL_OFFSETS_AT + 8 * (size_t)child), load_u32(pin->page + SPATIAL_CHECKSUMS_AT + 4 * (size_t)child),
                                  load_u32(pin->page + SPATIAL_COUNTS_AT + 4 * (size_t)child), pin->level - 1};
}

/* The largest float32 that is not above value, the smallest that is not below. Volatile, because gcc 12 loses the way to float and back where it makes vectors of several of them. */
static inline float spatial_round_down(double value)
{
    volatile float nearest = (float)value;
    return (double)nearest > value ? nextafterf(nearest, -INFINITY) : nearest;
}
static inline float spatial_round_up(double value)
{
    volatile float nearest = (float)value;
    return (double)nearest < value ? nextafterf(nearest, INFINITY) : nearest;
}

/* Bits of a coordinate that ascend with it, and back. */
static inline uint64_t spatial_order(uint64_t bits) { return bits >> 63 ? ~bits : bits | 1ull << 63; }

static inline bool spatial_any_nan(const double *values, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found |= isnan(values[i]);
    return found;
}

/* ---- spatial_nearest.c, for tests ---- */

/* Subtrees that are kept in order of distance; beyond this number the iterator goes depth first. */
void spatial_nearest_set_pending_max(struct spatial_nearest *nearest, uint32_t pending_max);

#endif
