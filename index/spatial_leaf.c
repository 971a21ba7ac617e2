/* spatial_leaf.c: the codec of leaves, and the loops over decoded points and over boxes (spatial_format.h).
 *
 * Every float expression is one IEEE operation at a time, in the order in which spatial.h gives it (the build forbids fusing them), so that the distances are the same everywhere. The loops exist a second time for AVX2, by the same
 * text. Threads: pure functions. Hostile bytes: decoding bounds every width and count and reads nothing beyond the page; wrong numbers are then wrong points, which checksums and spatial_verify are for.
 */
#include <assert.h>

#include "index/spatial_private.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

void spatial_extent_of(const struct spatial_record *records, size_t count, struct spatial_extent *extent)
{
    assert(count > 0);
    double min[3], max[3];
    uint64_t bits[3] = {0};
    uint32_t ordinal_min = records[0].ordinal, ordinal_max = ordinal_min;
    for (int axis = 0; axis < 3; axis++)
        min[axis] = max[axis] = records[0].at[axis];
    for (size_t i = 0; i < count; i++) {
        for (int axis = 0; axis < 3; axis++) {
            double value = records[i].at[axis];
            min[axis] = value < min[axis] ? value : min[axis];
            max[axis] = value > max[axis] ? value : max[axis];
            bits[axis] |= load_u64((const uint8_t *)&records[i] + 8 * axis);
        }
        uint32_t ordinal = records[i].ordinal;
        ordinal_min = ordinal < ordinal_min ? ordinal : ordinal_min;
        ordinal_max = ordinal > ordinal_max ? ordinal : ordinal_max;
    }
    memcpy(extent->min, min, sizeof min);
    memcpy(extent->max, max, sizeof max);
    memcpy(extent->bits, bits, sizeof bits);
    extent->ordinal_min = ordinal_min;
    extent->ordinal_max = ordinal_max;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return LE64(bits);
}

/* In bits; numbers of more than 57 may straddle nine bytes, and take eight whole ones instead. */
static uint32_t width_of(uint64_t number)
{
    uint32_t width = number ? 64u - (uint32_t)__builtin_clzll(number) : 0;
    return width > SPATIAL_WIDTH_MAX ? 64 : width;
}
static uint32_t shift_of(uint64_t bits) { return bits ? (uint32_t)__builtin_ctzll(bits) : 63; }
static uint32_t array_bytes(uint32_t count, uint32_t width) { return (count * width + 7) / 8; }

uint32_t spatial_leaf_capacity(const struct spatial_extent *extent)
{
    uint32_t width = width_of(extent->ordinal_max - extent->ordinal_min);
    for (int axis = 0; axis < 3; axis++) {
        /* Which of the two zeros is the least or the greatest is not known: whichever needs more. */
        uint64_t least = spatial_order(extent->min[axis] == 0 ? bits_of(-0.0) : bits_of(extent->min[axis])), most = spatial_order(extent->max[axis] == 0 ? bits_of(0.0) : bits_of(extent->max[axis]));
        uint32_t shift = shift_of(extent->bits[axis]);
        width += width_of((most >> shift) - (least >> shift));
    }
    /* Each of the four arrays may end in a byte that is not full. */
    uint32_t capacity = width ? (SPATIAL_LEAF_BODY_BYTES - 4) * 8 / width : SPATIAL_LEAF_POINTS_MAX;
    return capacity < SPATIAL_LEAF_POINTS_MAX ? capacity : SPATIAL_LEAF_POINTS_MAX;
}

/* Into bytes that are zero: number i at bit i * width. */
static void pack_number(uint8_t *out, uint32_t i, uint32_t width, uint64_t number)
{
    uint32_t bit = i * width;
    uint8_t *at = out + bit / 8;
    store_u64(at, load_u64(at) | number << (bit & 7));
}

static uint8_t *encode_axis(uint8_t *page, uint8_t *out, const struct spatial_record *records, uint32_t count, uint32_t axis)
{
    uint64_t bits = 0, least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t value = bits_of(records[i].at[axis]), order = spatial_order(value);
        bits |= value;
        least = order < least ? order : least;
        most = order > most ? order : most;
    }
    uint32_t shift = shift_of(bits);
    uint64_t base = least >> shift;
    uint32_t width = width_of((most >> shift) - base);
    page[56 + axis] = (uint8_t)shift;
    page[59 + axis] = (uint8_t)width;
    store_u64(page + SPATIAL_HEADER_BYTES + 8 * axis, base);
    assert(out + array_bytes(count, width) <= page + SPATIAL_PAGE_BYTES - SPATIAL_LEAF_SLACK_BYTES);
    for (uint32_t i = 0; i < count && width > 0; i++)
        pack_number(out, i, width, (spatial_order(bits_of(records[i].at[axis])) >> shift) - base);
    return out + array_bytes(count, width);
}

void spatial_leaf_encode(uint8_t *page, const struct spatial_record *records, uint32_t count)
{
    uint32_t ordinal_min = UINT32_MAX, ordinal_max = 0;
    for (uint32_t i = 0; i < count; i++) {
        ordinal_min = records[i].ordinal < ordinal_min ? records[i].ordinal : ordinal_min;
        ordinal_max = records[i].ordinal > ordinal_max ? records[i].ordinal : ordinal_max;
    }
    memset(page + 40, 0, SPATIAL_PAGE_BYTES - 40);
    store_u32(page + 40, count);
    store_u64(page + 48, count);
    if (count == 0)
        return;
    uint8_t *out = page + SPATIAL_LEAF_HEADER_BYTES;
    for (uint32_t axis = 0; axis < 3; axis++)
        out = encode_axis(page, out, records, count, axis);
    uint32_t width = width_of(ordinal_max - ordinal_min);
    page[62] = (uint8_t)width;
    store_u32(page + 88, ordinal_min);
    assert(out + array_bytes(count, width) <= page + SPATIAL_PAGE_BYTES - SPATIAL_LEAF_SLACK_BYTES);
    for (uint32_t i = 0; i < count && width > 0; i++)
        pack_number(out, i, width, records[i].ordinal - ordinal_min);
}

/* Number i of an array. Eight bytes from where it begins hold it: SPATIAL_LEAF_SLACK_BYTES follow the last array. */
ALWAYS_INLINE uint64_t unpack_number(const uint8_t *in, uint32_t i, uint32_t width, uint64_t mask)
{
    uint32_t bit = i * width;
    return load_u64(in + bit / 8) >> (bit & 7) & mask;
}

static uint64_t mask_of(uint32_t width) { return width == 64 ? UINT64_MAX : (1ull << width) - 1; }

ALWAYS_INLINE void decode_axis(const uint8_t *restrict in, uint32_t width, uint32_t shift, uint64_t base, uint32_t count, double *restrict out)
{
    uint64_t numbers[SPATIAL_LEAF_POINTS_MAX];
    const uint64_t mask = mask_of(width), sign = 1ull << 63;
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = unpack_number(in, i, width, mask);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = base + numbers[i], positive = (uint64_t)((int64_t)(number << shift) >> 63);
        uint64_t bits = ((number ^ ~positive) << shift) ^ (positive & sign);
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* 0 for the difference of an infinity and itself. */
ALWAYS_INLINE double difference(double a, double b)
{
    double t = a - b;
    return t == t ? t : 0;
}

ALWAYS_INLINE void square(const struct spatial_points *restrict points, const double centre[3], double *restrict squares)
{
    const double x = centre[0], y = centre[1], z = centre[2];
    const double *xs = points->at[0], *ys = points->at[1], *zs = points->at[2];
    for (uint32_t i = 0, count = points->count; i < count; i++) {
        double tx = difference(xs[i], x), ty = difference(ys[i], y), tz = difference(zs[i], z);
        squares[i] = (tx * tx + ty * ty) + tz * tz;
    }
}

/* The bounds hold to the last bit: rounding never turns the order of two differences, of two products of numbers that are not negative, or of two sums. */
ALWAYS_INLINE void square_boxes(const uint8_t *restrict page, uint32_t count, const double centre[3], double *restrict nearest, double *restrict farthest)
{
    for (uint32_t axis = 0; axis < 3; axis++) {
        const double at = centre[axis];
        for (uint32_t i = 0; i < count; i++) {
            double below = (double)spatial_side(page, i, axis) - at, above = at - (double)spatial_side(page, i, axis + 3);
            double gap = below > above ? below : above;
            gap = gap > 0 ? gap : 0; /* a NaN, too: both ends are at the same infinity as the centre, or one is */
            nearest[i] = axis == 0 ? gap * gap : nearest[i] + gap * gap;
        }
        for (uint32_t i = 0; i < count && farthest; i++) {
            double low = difference(at, (double)spatial_side(page, i, axis)), high = difference((double)spatial_side(page, i, axis + 3), at);
            low *= low;
            high *= high;
            low = low > high ? low : high;
            farthest[i] = axis == 0 ? low : farthest[i] + low;
        }
    }
}

static void decode_axis_plain(const uint8_t *in, uint32_t width, uint32_t shift, uint64_t base, uint32_t count, double *out) { decode_axis(in, width, shift, base, count, out); }
static void square_plain(const struct spatial_points *points, const double centre[3], double *squares) { square(points, centre, squares); }
static void square_boxes_plain(const uint8_t *page, uint32_t count, const double centre[3], double *nearest, double *farthest) { square_boxes(page, count, centre, nearest, farthest); }
static const struct spatial_loops plain = {decode_axis_plain, square_plain, square_boxes_plain};

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi2")))
AVX2 static void decode_axis_avx2(const uint8_t *in, uint32_t width, uint32_t shift, uint64_t base, uint32_t count, double *out) { decode_axis(in, width, shift, base, count, out); }
AVX2 static void square_avx2(const struct spatial_points *points, const double centre[3], double *squares) { square(points, centre, squares); }
AVX2 static void square_boxes_avx2(const uint8_t *page, uint32_t count, const double centre[3], double *nearest, double *farthest) { square_boxes(page, count, centre, nearest, farthest); }
static const struct spatial_loops avx2 = {decode_axis_avx2, square_avx2, square_boxes_avx2};

const struct spatial_loops *spatial_loops(bool portable) { return !portable && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? &avx2 : &plain; }
#else
const struct spatial_loops *spatial_loops(bool portable)
{
    (void)portable;
    return &plain;
}
#endif

bool spatial_leaf_decode(const uint8_t *page, struct spatial_points *points)
{
    uint32_t count = load_u32(page + 40), body_bytes = 0;
    if (count > SPATIAL_LEAF_POINTS_MAX || page[62] > 32 || page[63] != 0 || load_u32(page + 92) != 0)
        return false;
    for (uint32_t axis = 0; axis < 3; axis++) {
        uint32_t width = page[59 + axis];
        if (page[56 + axis] > 63 || (width > SPATIAL_WIDTH_MAX && width != 64))
            return false;
        body_bytes += array_bytes(count, width);
    }
    if (body_bytes + array_bytes(count, page[62]) > SPATIAL_LEAF_BODY_BYTES)
        return false;
    const uint8_t *in = page + SPATIAL_LEAF_HEADER_BYTES;
    const struct spatial_loops *loops = spatial_loops(false);
    for (uint32_t axis = 0; axis < 3; axis++) {
        uint32_t width = page[59 + axis];
        uint64_t base = load_u64(page + SPATIAL_HEADER_BYTES + 8 * axis);
        loops->decode_axis(in, width, page[56 + axis], base, count, points->at[axis]);
        in += array_bytes(count, width);
    }
    uint32_t width = page[62], base = load_u32(page + 88);
    const uint64_t mask = mask_of(width);
    for (uint32_t i = 0; i < count; i++)
        points->ordinals[i] = base + (uint32_t)unpack_number(in, i, width, mask);
    points->count = count;
    return true;
}

uint32_t spatial_leaf_end(const uint8_t *page)
{
    uint32_t count = load_u32(page + 40), end = SPATIAL_LEAF_HEADER_BYTES;
    for (uint32_t array = 0; array < 4; array++)
        end += array_bytes(count, page[59 + array]);
    return end;
}

void spatial_square(const struct spatial_points *points, const double centre[3], double *squares) { spatial_loops(false)->square(points, centre, squares); }

void spatial_square_boxes(const uint8_t *page, uint32_t count, const double centre[3], double *nearest, double *farthest)
{
    assert(count <= SPATIAL_FANOUT);
    spatial_loops(false)->square_boxes(page, count, centre, nearest, farthest);
}
