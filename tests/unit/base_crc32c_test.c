/* base_crc32c_test.c: CRC-32C against published values, and its implementations against each other and against a bit-by-bit one. */
#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/crc32c_private.h"
#include "blockdev/base/crc32c_table.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_BYTES = 20000 };

static uint32_t step_bit(uint32_t state) { return state >> 1 ^ (state & 1 ? 0x82F63B78u : 0); }

/* The definition, bit by bit. */
static uint32_t crc_by_bits(uint32_t crc, const uint8_t *data, size_t size_bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = step_bit(crc);
    }
    return ~crc;
}

static uint8_t *make_bytes(uint32_t seed)
{
    uint8_t *bytes = malloc(BUFFER_BYTES);
    printf("seed %u\n", seed);
    srand(seed);
    for (size_t i = 0; i < BUFFER_BYTES; i++)
        bytes[i] = (uint8_t)rand();
    return bytes;
}

Test(base_crc32c, published_vectors_match)
{
    uint8_t bytes[32] = {0};
    cr_assert_eq(crc32c(0, "123456789", 9), 0xE3069283u);
    cr_assert_eq(crc32c(0, "", 0), 0u);
    cr_assert_eq(crc32c(0, bytes, 32), 0x8A9136AAu); /* RFC 3720, B.4 */
    memset(bytes, 0xff, 32);
    cr_assert_eq(crc32c(0, bytes, 32), 0x62A8AB43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    cr_assert_eq(crc32c(0, bytes, 32), 0x46DD794Eu);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    cr_assert_eq(crc32c(0, bytes, 32), 0x113FDB5Cu);
    cr_assert_not_null(crc32c_implementation());
    printf("implementation: %s\n", crc32c_implementation());
}

Test(base_crc32c, all_implementations_agree)
{
    uint8_t *bytes = make_bytes(11), *copy = malloc(BUFFER_BYTES + 16);
    static const size_t lengths[] = {0, 1, 7, 8, 9, 63, 1007, 1008, 1009, 1015, 4079, 4080, 4081, 4092, 4096, 5088, 8192, 12000, 19000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        for (size_t skew = 0; skew < 9; skew++) {
            const uint8_t *data = bytes + skew;
            uint32_t expected = crc_by_bits(0x1234567, data, lengths[l]);
            cr_assert_eq(crc32c(0x1234567, data, lengths[l]), expected, "%zu bytes", lengths[l]);
            cr_assert_eq(~crc32c_update_table(~0x1234567u, NULL, data, lengths[l]), expected);
            memset(copy, 0x5a, BUFFER_BYTES + 16);
            cr_assert_eq(crc32c_copy(0x1234567, copy + 1, data, lengths[l]), expected);
            cr_assert_eq(memcmp(copy + 1, data, lengths[l]), 0);
            cr_assert(copy[0] == 0x5a && copy[lengths[l] + 1] == 0x5a);
            memset(copy, 0x5a, lengths[l] + 2);
            cr_assert_eq(~crc32c_update_table(~0x1234567u, copy + 1, data, lengths[l]), expected);
            cr_assert_eq(memcmp(copy + 1, data, lengths[l]), 0);
        }
    }
    free(copy);
    free(bytes);
}

Test(base_crc32c, parts_combine_to_the_whole)
{
    uint8_t *bytes = make_bytes(12);
    for (size_t cut = 0; cut <= 9000; cut = cut * 3 / 2 + 1) {
        for (size_t rest = 0; rest <= 9000; rest = rest * 2 + 1)
            cr_assert_eq(crc32c_combine(crc32c(0, bytes, cut), crc32c(0, bytes + cut, rest), rest), crc32c(0, bytes, cut + rest));
        cr_assert_eq(crc32c(crc32c(0, bytes, cut), bytes + cut, 777), crc32c(0, bytes, cut + 777));
    }
    /* Zeros of a length that no buffer has: twice 2^40 is 2^41. */
    uint32_t half = crc32c(0, "x", 1);
    cr_assert_eq(crc32c_combine(crc32c_combine(half, 0, 1ull << 40), 0, 1ull << 40), crc32c_combine(half, 0, 1ull << 41));
    free(bytes);
}

Test(base_crc32c, tables_follow_from_the_polynomial)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int k = 0; k < 8; k++) {
            for (int bit = 0; bit < 8; bit++)
                state = step_bit(state);
            cr_assert_eq(crc32c_slices[k][byte], state);
        }
    }
    uint32_t power = 1u << 31; /* x^0 */
    for (uint64_t exponent = 0; exponent <= 8 * 2720 - 33; exponent++, power = step_bit(power)) {
        if (exponent && (exponent & (exponent - 1)) == 0)
            cr_assert_eq(crc32c_powers[__builtin_ctzll(exponent)], power);
        if (exponent == 8 * 336 - 33)
            cr_assert_eq(CRC32C_FOLD_336, power);
        if (exponent == 8 * 672 - 33)
            cr_assert_eq(CRC32C_FOLD_672, power);
        if (exponent == 8 * 1360 - 33)
            cr_assert_eq(CRC32C_FOLD_1360, power);
        if (exponent == 8 * 2720 - 33)
            cr_assert_eq(CRC32C_FOLD_2720, power);
    }
}

Test(base_crc32c, seed_differs_by_volume_kind_and_address)
{
    uint8_t uuid[16] = {1, 2, 3};
    uint32_t seed = crc32c_seed(uuid, 1, 4096, 0);
    cr_assert_eq(seed, crc32c_seed(uuid, 1, 4096, 0));
    cr_assert_neq(seed, crc32c_seed(uuid, 2, 4096, 0));
    cr_assert_neq(seed, crc32c_seed(uuid, 1, 8192, 0));
    cr_assert_neq(seed, crc32c_seed(uuid, 1, 4096, 1));
    cr_assert_neq(crc32c_seed(uuid, 1, 0, 4096), seed);
    uuid[15] = 9;
    cr_assert_neq(seed, crc32c_seed(uuid, 1, 4096, 0));
}
