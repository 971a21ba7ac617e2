/* codec_kernels_avx512.c: packed numbers of 32 bits to values of 32 bits by AVX-512 with VBMI in one pass, sixteen at a time (codec_kernels.h). The processor must have F, BW, VL and VBMI.
 * Conversions by doubles are left to AVX2: they take fewer cycles there. Why the division by products is exact is in codec_kernels_avx2_decode.c.
 *
 * Sums. A group is four registers of sixteen numbers in a row; turned over (in each quarter of the registers four by four), number 4 s + r of the group is in register r, so that a lane holds four in a row, its segment s, and these are
 * summed up register by register. Only the sixteen lanes' totals are summed up across lanes, once for each order of differences; turning over again puts the sums in a row.
 * Lanes. Lane 4 j + k holds segment 4 k + j: permuting by `turned` puts lanes in the order of segments, and back. */
#if defined(__x86_64__)

#include "blockdev/base/codec_kernels_avx2.h"

#include <assert.h>

#define WIDE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
#define WIDE_INLINE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"), always_inline)) static inline

enum { GROUP = CODEC_GROUP_VALUES, REGISTERS = 4, LANES = 16, WIDTH_MAX = 25 };

/* ---- Unpacking ---- */

/* For each width: where sixteen numbers in a row begin, of which the first one begins a byte, as a byte permutation and shifts. Wider numbers than WIDTH_MAX are unpacked to whole words before, and these have the last entry. */
#define BYTES(w, k) ((k) * (w)) / 8, ((k) * (w)) / 8 + 1, ((k) * (w)) / 8 + 2, ((k) * (w)) / 8 + 3
#define BYTES_FOUR(w, k) BYTES(w, k), BYTES(w, k + 1), BYTES(w, k + 2), BYTES(w, k + 3)
#define PERMUTATION(w) {BYTES_FOUR(w, 0), BYTES_FOUR(w, 4), BYTES_FOUR(w, 8), BYTES_FOUR(w, 12)},
#define SHIFT(w, k) ((k) * (w)) % 8
#define SHIFTS(w) {SHIFT(w, 0), SHIFT(w, 1), SHIFT(w, 2), SHIFT(w, 3), SHIFT(w, 4), SHIFT(w, 5), SHIFT(w, 6), SHIFT(w, 7), SHIFT(w, 8), SHIFT(w, 9), SHIFT(w, 10), SHIFT(w, 11), SHIFT(w, 12), SHIFT(w, 13), SHIFT(w, 14), SHIFT(w, 15)},
#define EIGHT(X, w) X(w) X((w) + 1) X((w) + 2) X((w) + 3) X((w) + 4) X((w) + 5) X((w) + 6) X((w) + 7)

static const uint8_t permutations[WIDTH_MAX + 2][64] __attribute__((aligned(64))) = {PERMUTATION(0) EIGHT(PERMUTATION, 1) EIGHT(PERMUTATION, 9) EIGHT(PERMUTATION, 17) PERMUTATION(25) PERMUTATION(32)};
static const uint8_t shifts[WIDTH_MAX + 2][LANES] __attribute__((aligned(16))) = {SHIFTS(0) EIGHT(SHIFTS, 1) EIGHT(SHIFTS, 9) EIGHT(SHIFTS, 17) SHIFTS(25) SHIFTS(32)};

struct unpack {
    __m512i permutation, shift, mask;
    uint32_t width;
};

WIDE_INLINE struct unpack prepare(uint32_t width)
{
    const uint32_t entry = width <= WIDTH_MAX ? width : WIDTH_MAX + 1, mask = width < 32 ? (1u << width) - 1 : UINT32_MAX;
    return (struct unpack){.permutation = _mm512_load_si512(permutations[entry]),
                           .shift = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)shifts[entry])),
                           .mask = _mm512_set1_epi32((int)mask),
                           .width = width};
}

/* Sixteen numbers in a row, from number 16 k of the group on. */
WIDE_INLINE __m512i unpack_sixteen(const struct unpack *unpack, const uint8_t *in, uint32_t k)
{
    __m512i bytes = _mm512_permutexvar_epi8(unpack->permutation, _mm512_loadu_si512(in + 2 * k * unpack->width));
    return _mm512_and_si512(_mm512_srlv_epi32(bytes, unpack->shift), unpack->mask);
}

/* Numbers of 26 to 32 bits as whole words: rare, and out of the way of the others. */
WIDE_TARGET static void unpack_broad(const uint8_t *in, uint32_t width, uint32_t words[GROUP])
{
    uint64_t numbers[GROUP];
    codec_unpack_portable(in, width, 0, numbers);
    for (int i = 0; i < GROUP; i += 8)
        store_256(words + i, _mm512_cvtepi64_epi32(_mm512_loadu_si512(numbers + i)));
}

WIDE_INLINE __m512i unzigzag(__m512i n) { return _mm512_xor_si512(_mm512_srli_epi32(n, 1), _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_and_si512(n, _mm512_set1_epi32(1)))); }

/* ---- Sums ---- */

WIDE_INLINE void turn_over(__m512i n[REGISTERS])
{
    __m512i a = _mm512_unpacklo_epi32(n[0], n[1]), b = _mm512_unpacklo_epi32(n[2], n[3]), c = _mm512_unpackhi_epi32(n[0], n[1]), d = _mm512_unpackhi_epi32(n[2], n[3]);
    n[0] = _mm512_unpacklo_epi64(a, b);
    n[1] = _mm512_unpackhi_epi64(a, b);
    n[2] = _mm512_unpacklo_epi64(c, d);
    n[3] = _mm512_unpackhi_epi64(c, d);
}

WIDE_INLINE __m512i turned_lanes(__m512i n) { return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), n); }

/* In each lane: the sum of all before it and of what was summed up before. *sum: that, in each lane; moved on. */
WIDE_INLINE __m512i sums_before(__m512i n, __m512i *sum)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums = _mm512_add_epi32(n, _mm512_alignr_epi32(n, zero, 15));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, zero, 14));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, zero, 12));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, zero, 8));
    n = _mm512_add_epi32(_mm512_sub_epi32(sums, n), *sum);
    *sum = _mm512_add_epi32(*sum, _mm512_permutexvar_epi32(_mm512_set1_epi32(15), sums));
    return n;
}

WIDE_INLINE void sum_up_lanes(__m512i n[REGISTERS])
{
    for (int r = 1; r < REGISTERS; r++)
        n[r] = _mm512_add_epi32(n[r], n[r - 1]);
}

/* Numbers in a row to integers in a row. */
WIDE_INLINE void sum_up(__m512i n[REGISTERS], __m512i *first, __m512i *first_delta, const int order)
{
    __m512i delta = _mm512_setzero_si512(), before;
    turn_over(n);
    if (order > 1) {
        sum_up_lanes(n);
        delta = sums_before(turned_lanes(n[REGISTERS - 1]), first_delta);
    }
    sum_up_lanes(n);
    before = turned_lanes(n[REGISTERS - 1]);
    if (order > 1)
        before = _mm512_add_epi32(before, _mm512_slli_epi32(delta, 2)); /* each of four numbers adds the difference before them once more */
    before = turned_lanes(sums_before(before, first));
    delta = order > 1 ? turned_lanes(delta) : delta;
    for (int r = 0; r < REGISTERS; r++) {
        before = order > 1 ? _mm512_add_epi32(before, delta) : before;
        n[r] = _mm512_add_epi32(n[r], before);
    }
    turn_over(n);
}

/* ---- Conversion ---- */

/* No conversion at all. */
enum { PASS_OVER = CODEC_CONVERSION_COUNT };

struct converter {
    __m512 inverse, inverse_rest;
    __m512i pattern_mask;
    __m128i shift;
};

WIDE_INLINE struct converter make_converter(const struct codec_packed *packed)
{
    const float inverse = (float)(1 / packed->factor);
    const double rest = 1 / packed->factor - (double)inverse;
    return (struct converter){.inverse = _mm512_set1_ps(inverse), .inverse_rest = _mm512_set1_ps((float)rest), .pattern_mask = _mm512_set1_epi32(INT32_MAX >> packed->shift), .shift = _mm_cvtsi32_si128((int)packed->shift)};
}

/* Stores sixteen integers as values. */
WIDE_INLINE void store_sixteen(__m512i n, const struct converter *converter, uint8_t *out, const int conversion)
{
    if (conversion == CODEC_CONVERT_PATTERNS) {
        n = _mm512_xor_si512(n, _mm512_and_si512(_mm512_srai_epi32(n, 31), converter->pattern_mask));
        n = _mm512_sll_epi32(n, converter->shift);
    } else if (conversion == CODEC_CONVERT_DECIMALS) {
        __m512 number = _mm512_cvtepi32_ps(n);
        n = _mm512_castps_si512(_mm512_fmadd_ps(number, converter->inverse, _mm512_mul_ps(number, converter->inverse_rest)));
    }
    _mm512_storeu_si512(out, n);
}

/* ---- Groups ---- */

/* The next group's bytes as numbers of a width that can be unpacked; words: room for them. */
WIDE_INLINE struct unpack open_group(const uint8_t **at, uint32_t width, uint32_t words[GROUP])
{
    if (__builtin_expect(width > WIDTH_MAX, 0)) {
        unpack_broad(*at, width, words);
        *at = (const uint8_t *)words;
        width = 32;
    }
    return prepare(width);
}

WIDE_INLINE uint32_t total_of(__m512i n)
{
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(n), _mm512_extracti64x4_epi64(n, 1));
    __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    quarter = _mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, 0xb1)));
}

/* What groups whose values are not wanted add to the sums. Number 16 k + l of a group counts once in the differences' sum, and in the sum of their sums 64 - 16 k - l times and 64 times more for each group behind it. sum: all so far, lane by
 * lane; sums: the sum of what sum was after each step, in which a number counts 4 - k times, and 4 times more for each group behind it. */
WIDE_INLINE void pass_over(struct codec_packed *packed, uint32_t groups, const int order)
{
    const __m512i base = _mm512_set1_epi32((int)packed->base);
    __m512i sum = _mm512_setzero_si512(), sums = sum;
    const uint8_t *in = packed->in;
    for (uint32_t group = 0; group < groups; group++) {
        const uint32_t width = packed->widths[group];
        const uint8_t *at = in;
        uint32_t words[GROUP];
        in += 8 * width;
        if (order == 0)
            continue;
        const struct unpack unpack = open_group(&at, width, words);
        for (uint32_t k = 0; k < REGISTERS; k++) {
            sum = _mm512_add_epi32(sum, unzigzag(_mm512_add_epi32(unpack_sixteen(&unpack, at, k), base)));
            sums = order > 1 ? _mm512_add_epi32(sums, sum) : sums;
        }
    }
    packed->in = in;
    packed->widths += groups;
    const uint32_t total = total_of(sum);
    if (order == 1)
        packed->first = (uint32_t)packed->first + total;
    if (order > 1) {
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        sums = _mm512_sub_epi32(_mm512_slli_epi32(sums, 4), _mm512_mullo_epi32(sum, lane));
        packed->first = (uint32_t)packed->first + (uint32_t)packed->first_delta * (GROUP * groups) + total_of(sums);
        packed->first_delta = (uint32_t)packed->first_delta + total;
    }
}

WIDE_INLINE void run_groups(struct codec_packed *packed, uint32_t groups, uint8_t *out, const int order, const int conversion)
{
    const __m512i base = _mm512_set1_epi32((int)packed->base);
    const struct converter converter = make_converter(packed);
    __m512i first = _mm512_set1_epi32((int)packed->first), first_delta = _mm512_set1_epi32((int)packed->first_delta);
    const uint8_t *in = packed->in;
    for (uint32_t group = 0; group < groups; group++, out += GROUP * 4) {
        const uint32_t width = packed->widths[group];
        const uint8_t *at = in;
        uint32_t words[GROUP];
        __m512i n[REGISTERS];
        in += 8 * width;
        const struct unpack unpack = open_group(&at, width, words);
#pragma GCC unroll 4
        for (uint32_t k = 0; k < REGISTERS; k++) {
            n[k] = _mm512_add_epi32(unpack_sixteen(&unpack, at, k), base);
            n[k] = order > 0 ? unzigzag(n[k]) : n[k];
        }
        if (order > 0)
            sum_up(n, &first, &first_delta, order);
#pragma GCC unroll 4
        for (uint32_t k = 0; k < REGISTERS; k++)
            store_sixteen(n[k], &converter, out + k * (LANES * 4), conversion);
    }
    packed->in = in;
    packed->widths += groups;
    packed->first = (uint32_t)_mm512_cvtsi512_si32(first);
    packed->first_delta = (uint32_t)_mm512_cvtsi512_si32(first_delta);
}

/* A copy of the loop for each order and conversion. */
typedef void (*run)(struct codec_packed *packed, uint32_t groups, uint8_t *out);
#define DEFINE_RUN(order, conversion)                                                                                                                                                                      \
    WIDE_TARGET static void run_##order##_##conversion(struct codec_packed *packed, uint32_t groups, uint8_t *out) { run_groups(packed, groups, out, order, conversion); }
#define DEFINE_ORDERS(conversion) DEFINE_RUN(0, conversion) DEFINE_RUN(1, conversion) DEFINE_RUN(2, conversion)
#define DEFINE_PASS(order)                                                                                                                                                                                 \
    WIDE_TARGET static void run_##order##_PASS_OVER(struct codec_packed *packed, uint32_t groups, uint8_t *out)                                                                                             \
    {                                                                                                                                                                                                      \
        (void)out;                                                                                                                                                                                         \
        pass_over(packed, groups, order);                                                                                                                                                                  \
    }
#define ORDERS(conversion) [conversion] = {run_0_##conversion, run_1_##conversion, run_2_##conversion}

DEFINE_ORDERS(CODEC_CONVERT_NONE)
DEFINE_ORDERS(CODEC_CONVERT_PATTERNS)
DEFINE_ORDERS(CODEC_CONVERT_DECIMALS)
DEFINE_PASS(0)
DEFINE_PASS(1)
DEFINE_PASS(2)
static const run runs[][3] = {ORDERS(CODEC_CONVERT_NONE), ORDERS(CODEC_CONVERT_PATTERNS), ORDERS(CODEC_CONVERT_DECIMALS), ORDERS(PASS_OVER)};

void codec_avx512_decode_32(struct codec_packed *packed, uint32_t groups, void *out)
{
    const uint32_t conversion = out ? packed->conversion : PASS_OVER;
    assert(packed->order <= 2 && packed->conversion < CODEC_CONVERSION_COUNT);
    if (runs[conversion][packed->order])
        runs[conversion][packed->order](packed, groups, out);
    else
        codec_avx2_decode_32(packed, groups, out);
}

#else
typedef int codec_kernels_avx512_not_built; /* ISO C wants a declaration in each file. */
#endif
