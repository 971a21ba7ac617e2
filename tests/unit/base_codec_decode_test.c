/* base_codec_decode_test.c: packed numbers to values: every set of kernels gives what plain arithmetic gives, bit for bit, wherever a sequence is taken up again, and reads no further than it may. */
#include "blockdev/base/codec_kernels.h"
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GROUP = CODEC_GROUP_VALUES, GROUPS = CODEC_GROUPS_MAX, COUNT = GROUPS * GROUP, ROUNDS = 400 };

static const struct codec_kernels *sets[4];
static size_t set_count;
static uint64_t random_state;

static void start(void)
{
    const char *given = getenv("MOTE_SEED");
    random_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
    set_count = codec_kernels_all(sets);
    printf("seed %llu (set MOTE_SEED to repeat)\n", (unsigned long long)random_state);
}

/* Groups of drawn widths with drawn bits, in exactly as many bytes as the kernels may read. */
static uint8_t *draw_groups(uint32_t lane, uint32_t round, uint8_t widths[GROUPS])
{
    uint32_t bytes = 0;
    for (int g = 0; g < GROUPS; g++) {
        widths[g] = (uint8_t)(round < lane + 1 ? round : codec_check_random(&random_state) % (lane + 1));
        bytes += 8u * widths[g];
    }
    uint8_t *in = malloc(bytes + CODEC_UNPACK_SLACK_BYTES);
    for (uint32_t i = 0; i < bytes + CODEC_UNPACK_SLACK_BYTES; i++)
        in[i] = (uint8_t)codec_check_random(&random_state);
    return in;
}

/* What the integers are, bit by bit. */
static void decode_plainly(const struct codec_packed *packed, uint32_t lane, uint64_t *integers)
{
    const uint64_t mask = lane == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t x = packed->first, d = packed->first_delta;
    const uint8_t *in = packed->in;
    for (int i = 0; i < COUNT; i++) {
        uint32_t width = packed->widths[i / GROUP];
        uint64_t z = 0;
        for (uint32_t bit = 0; bit < width; bit++) {
            uint32_t at = (uint32_t)(i % GROUP) * width + bit;
            z |= (uint64_t)(in[at / 8] >> (at % 8) & 1) << bit;
        }
        in += i % GROUP == GROUP - 1 ? 8 * width : 0;
        z = (z + packed->base) & mask;
        uint64_t signed_z = z >> 1 ^ (0 - (z & 1));
        d = packed->order == 2 ? d + signed_z : signed_z;
        x = packed->order == 0 ? z : x + d;
        integers[i] = x & mask;
    }
}

static uint64_t convert_plainly(const struct codec_packed *packed, uint32_t lane, uint64_t integer)
{
    const int64_t wide = (int64_t)integer;
    const int32_t narrow = (int32_t)integer;
    const double f64 = lane == 64 ? double_of_integer(integer) : (double)narrow;
    switch (packed->conversion) {
    case CODEC_CONVERT_PATTERNS:
        return lane == 64 ? (uint64_t)(wide < 0 ? wide ^ (INT64_MAX >> packed->shift) : wide) << packed->shift : (uint32_t)(narrow < 0 ? narrow ^ (INT32_MAX >> packed->shift) : narrow) << packed->shift;
    case CODEC_CONVERT_DECIMALS:
        return lane == 64 ? bits_of_double(f64 / packed->factor) : bits_of_float((float)narrow / (float)packed->factor);
    case CODEC_CONVERT_DECIMALS_EXACT:
        return bits_of_float((float)(f64 / packed->factor));
    case CODEC_CONVERT_DECIMALS_F64:
        return bits_of_double(f64 / packed->factor);
    case CODEC_CONVERT_SCALED:
        return lane == 64 ? bits_of_double(f64 * packed->factor) : bits_of_float((float)(f64 * packed->factor));
    case CODEC_CONVERT_SCALED_F64:
        return bits_of_double(f64 * packed->factor);
    default:
        return integer;
    }
}

/* In three parts, of which the middle one is passed over in every second round. */
static void decode_in_parts(const struct codec_kernels *kernels, struct codec_packed packed, uint32_t lane, uint32_t out_bytes, uint32_t round, const uint8_t *expected)
{
    static uint8_t room[COUNT * 8 + 1];
    void (*decode)(struct codec_packed *, uint32_t, void *) = lane == 64 ? kernels->decode_64 : kernels->decode_32;
    uint32_t first = (uint32_t)(codec_check_random(&random_state) % GROUPS), second = first + (uint32_t)(codec_check_random(&random_state) % (GROUPS - first + 1));
    uint8_t *out = room + 1; /* of any alignment */
    memset(room, 0xa5, sizeof room);
    decode(&packed, first, out);
    decode(&packed, second - first, round % 2 ? NULL : out + (size_t)first * GROUP * out_bytes);
    decode(&packed, GROUPS - second, out + (size_t)second * GROUP * out_bytes);
    for (uint32_t i = 0; i < COUNT; i++) {
        bool passed = round % 2 && i / GROUP >= first && i / GROUP < second;
        cr_assert(passed || memcmp(out + (size_t)i * out_bytes, expected + (size_t)i * out_bytes, out_bytes) == 0, "%s, %u bits, order %u, conversion %u, round %u, value %u", kernels->name, lane, packed.order, packed.conversion,
                  round, i);
    }
}

static void check_lane(uint32_t lane, const uint32_t *conversions, uint32_t conversion_count)
{
    static uint64_t integers[COUNT];
    static uint8_t expected[COUNT * 8];
    uint8_t widths[GROUPS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint8_t *in = draw_groups(lane, round, widths);
        uint64_t bits = lane == 64 ? UINT64_MAX : UINT32_MAX;
        struct codec_packed packed = {.in = in, .widths = widths, .order = round % 3, .base = round % 4 ? codec_check_random(&random_state) & bits : 0, .first = codec_check_random(&random_state) & bits,
                                      .first_delta = codec_check_random(&random_state) & bits, .shift = (uint32_t)(codec_check_random(&random_state) % (lane - 1))};
        decode_plainly(&packed, lane, integers);
        for (uint32_t c = 0; c < conversion_count; c++) {
            packed.conversion = conversions[c];
            packed.factor = packed.conversion >= CODEC_CONVERT_SCALED ? 0.000208615 : pow(10, round % 11);
            uint32_t out_bytes = lane == 64 || packed.conversion == CODEC_CONVERT_DECIMALS_F64 || packed.conversion == CODEC_CONVERT_SCALED_F64 ? 8 : 4;
            for (uint32_t i = 0; i < COUNT; i++) {
                uint64_t value = convert_plainly(&packed, lane, integers[i]);
                memcpy(expected + (size_t)i * out_bytes, &value, out_bytes);
            }
            for (size_t s = 0; s < set_count; s++)
                decode_in_parts(sets[s], packed, lane, out_bytes, round, expected);
        }
        free(in);
    }
}

Test(base_codec_decode, numbers_of_32_bits_become_what_they_must)
{
    static const uint32_t conversions[] = {CODEC_CONVERT_NONE, CODEC_CONVERT_PATTERNS, CODEC_CONVERT_DECIMALS, CODEC_CONVERT_DECIMALS_EXACT, CODEC_CONVERT_DECIMALS_F64, CODEC_CONVERT_SCALED, CODEC_CONVERT_SCALED_F64};
    start();
    check_lane(32, conversions, sizeof conversions / sizeof *conversions);
}

Test(base_codec_decode, numbers_of_64_bits_become_what_they_must)
{
    static const uint32_t conversions[] = {CODEC_CONVERT_NONE, CODEC_CONVERT_PATTERNS, CODEC_CONVERT_DECIMALS, CODEC_CONVERT_SCALED};
    start();
    check_lane(64, conversions, sizeof conversions / sizeof *conversions);
}

/* Where a set divides by multiplication: every mantissa that a float32 has, by every power of ten. */
Test(base_codec_decode, quotients_of_all_mantissas_are_exact)
{
    static uint32_t words[COUNT + CODEC_UNPACK_SLACK_BYTES / 4];
    static float out[COUNT];
    uint8_t widths[GROUPS];
    start();
    memset(widths, 32, sizeof widths);
    for (uint32_t power = 0; power <= CODEC_ALP_POWER_F32_MAX; power++) {
        const float divisor = (float)pow(10, power);
        for (uint32_t k = 1u << 23; k < 1u << 24; k += COUNT) {
            struct codec_packed packed = {.in = (const uint8_t *)words, .widths = widths, .conversion = CODEC_CONVERT_DECIMALS, .factor = pow(10, power)};
            for (uint32_t i = 0; i < COUNT; i++)
                words[i] = k + i;
            for (size_t s = set_count > 1; s < set_count; s++) {
                struct codec_packed copy = packed;
                uint32_t wrong = 0;
                sets[s]->decode_32(&copy, GROUPS, out);
                for (uint32_t i = 0; i < COUNT; i++)
                    wrong += out[i] != (float)(k + i) / divisor;
                cr_assert_eq(wrong, 0, "%s, %u from %u on by 10^%u", sets[s]->name, wrong, k, power);
            }
        }
    }
}

/* The divisors for which one product of doubles serves: integers beside those that lie nearest to the middle of two floats. */
Test(base_codec_decode, quotients_near_the_middle_of_floats_are_exact)
{
    static uint32_t words[COUNT + CODEC_UNPACK_SLACK_BYTES / 4];
    static float out[COUNT];
    uint8_t widths[GROUPS];
    start();
    memset(widths, 32, sizeof widths);
    for (uint32_t round = 0; round < 20000; round++) {
        const double divisor = pow(10, round % 23);
        struct codec_packed packed = {.in = (const uint8_t *)words, .widths = widths, .conversion = CODEC_CONVERT_DECIMALS_EXACT, .factor = divisor};
        for (uint32_t i = 0; i < COUNT; i++) {
            float near = (float)((double)(int32_t)(codec_check_random(&random_state) >> (32 + i % 24)) / divisor);
            double middle = ((double)near + (double)nextafterf(near, INFINITY)) / 2;
            words[i] = (uint32_t)(int32_t)fmax(fmin(nearbyint(middle * divisor), INT32_MAX), INT32_MIN) + i % 3 - 1;
        }
        sets[set_count - 1]->decode_32(&packed, GROUPS, out);
        for (uint32_t i = 0; i < COUNT; i++)
            cr_assert_eq(bits_of_float(out[i]), bits_of_float((float)((double)(int32_t)words[i] / divisor)), "%d by 10^%u", (int)words[i], round % 23);
    }
}

/* A column of one chunk of decimals, in which the values at some rows are none. */
struct column {
    float values[COUNT];
    uint8_t *bytes; /* exactly size_bytes */
    size_t size_bytes;
    uint8_t *widths;    /* of its groups */
    uint8_t *positions; /* of its exceptions, two bytes each */
    uint32_t exception_count;
    void *scratch;
    size_t scratch_bytes;
};

enum { COLUMN_HEADER_BYTES = 16 };

static void make_column(struct column *column)
{
    static const uint16_t odd[] = {0, 5, 63, 64, 500, 501, 640, 1022, 1023};
    struct codec_vector vector = {.type = MOTE_TYPE_FLOAT32, .dimension = 1, .count = COUNT, .values = column->values};
    for (int i = 0; i < COUNT; i++)
        column->values[i] = (float)((int32_t)(codec_check_random(&random_state) % 2000) - 1000) / 1000;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        column->values[odd[i]] = 0.1234567f + (float)i;
    column->scratch_bytes = codec_scratch_bytes(COUNT, sizeof column->values);
    column->scratch = malloc(column->scratch_bytes);
    uint8_t *room = malloc(codec_encode_bound(&vector));
    column->size_bytes = (size_t)codec_encode(&vector, 0, room, codec_encode_bound(&vector), column->scratch, column->scratch_bytes);
    column->bytes = malloc(column->size_bytes);
    memcpy(column->bytes, room, column->size_bytes);
    free(room);
    const uint8_t *chunk = column->bytes + COLUMN_HEADER_BYTES;
    column->exception_count = load_u16(chunk + 4);
    cr_assert(chunk[0] == CODEC_ALP && chunk[1] == CODEC_FOR && column->exception_count == sizeof odd / sizeof *odd, "codec %u, inner %u, %u exceptions", chunk[0], chunk[1], column->exception_count);
    column->widths = column->bytes + COLUMN_HEADER_BYTES + CODEC_CHUNK_HEADER_BYTES + 4;
    column->positions = column->bytes + column->size_bytes - column->exception_count * 6;
}

static int decode_column_rows(const struct column *column, uint32_t first, uint32_t end, float *out)
{
    return codec_decode_rows(column->bytes, column->size_bytes, MOTE_TYPE_FLOAT32, COUNT, first, end, out, column->scratch, column->scratch_bytes);
}

/* All of it, and each single row: exceptions are looked at whole, wherever the rows lie. */
static void expect_refused(const struct column *column, const char *what)
{
    float out[1];
    cr_assert_eq(codec_check_decode(column->bytes, column->size_bytes, MOTE_TYPE_FLOAT32, 1, COUNT), MOTE_EDAMAGED, "%s", what);
    for (uint32_t row = 0; row < COUNT; row += 1023 / 3)
        cr_assert_eq(decode_column_rows(column, row, row + 1, out), MOTE_EDAMAGED, "%s, row %u", what, row);
}

static void free_column(struct column *column)
{
    free(column->bytes);
    free(column->scratch);
}

Test(base_codec_decode, exceptions_are_in_their_rows_and_no_others)
{
    static const uint32_t ends[] = {0, 1, 5, 6, 63, 64, 65, 128, 500, 501, 502, 640, 641, 1000, 1022, 1023, 1024};
    static struct column column;
    static float out[COUNT + 2];
    start();
    make_column(&column);
    for (size_t a = 0; a < sizeof ends / sizeof *ends; a++)
        for (size_t b = a + 1; b < sizeof ends / sizeof *ends; b++) {
            const uint32_t first = ends[a], count = ends[b] - first;
            memset(out, 0xa5, sizeof out);
            cr_assert_eq(decode_column_rows(&column, first, ends[b], out + 1), 1);
            cr_assert_eq(memcmp(out + 1, column.values + first, count * sizeof *out), 0, "rows %u to %u", first, ends[b]);
            cr_assert(bits_of_float(out[0]) == 0xa5a5a5a5 && bits_of_float(out[count + 1]) == 0xa5a5a5a5, "rows %u to %u", first, ends[b]);
        }
    free_column(&column);
}

Test(base_codec_decode, exceptions_that_do_not_ascend_or_lie_outside_are_refused)
{
    static struct column column;
    start();
    make_column(&column);
    for (uint32_t e = 0; e < column.exception_count; e++) {
        const uint16_t position = load_u16(column.positions + 2 * e);
        store_u16(column.positions + 2 * e, COUNT);
        expect_refused(&column, "a position behind the chunk");
        if (e > 0) {
            store_u16(column.positions + 2 * e, load_u16(column.positions + 2 * (e - 1)));
            expect_refused(&column, "a position twice");
        }
        store_u16(column.positions + 2 * e, position);
    }
    cr_assert_eq(codec_check_decode(column.bytes, column.size_bytes, MOTE_TYPE_FLOAT32, 1, COUNT), MOTE_OK);
    free_column(&column);
}

/* The groups' bytes stay as many as they were: nothing but the width itself tells. */
Test(base_codec_decode, widths_beyond_the_lane_are_refused_in_every_group)
{
    static struct column column;
    uint8_t widths[GROUPS];
    start();
    make_column(&column);
    memcpy(widths, column.widths, GROUPS);
    for (uint32_t wide = 33; wide <= 128; wide += 95)
        for (int g = 0; g < GROUPS; g++) {
            uint32_t taken = wide - widths[g];
            column.widths[g] = (uint8_t)wide;
            for (int other = 0; other < GROUPS; other++) {
                uint32_t less = other == g ? 0 : taken < widths[other] ? taken : widths[other];
                column.widths[other] = (uint8_t)(column.widths[other] - less);
                taken -= less;
            }
            cr_assert_eq(taken, 0);
            expect_refused(&column, "a width beyond the lane");
            memcpy(column.widths, widths, GROUPS);
        }
    cr_assert_eq(codec_check_decode(column.bytes, column.size_bytes, MOTE_TYPE_FLOAT32, 1, COUNT), MOTE_OK);
    free_column(&column);
}
