/* lsm_utf8_test.c: the fast check of UTF-8 against the definition, for all sequences of up to two bytes, a third of those of three, and random ones near the edges. */
#include "tests/support/lsm_rows.h"

#include "engine/lsm/utf8.h"

#include <criterion/criterion.h>

/* The definition, apart from the table of ranges that the code uses: decode the code point, then ask whether this is its shortest form. */
static bool is_character(const uint8_t *bytes, size_t size_bytes)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (size_bytes == 1)
        return bytes[0] < 0x80;
    /* The lead begins with as many ones as there are bytes, then a zero. */
    if ((uint32_t)bytes[0] >> (7 - size_bytes) != (2u << size_bytes) - 2)
        return false;
    uint32_t code = bytes[0] & (0xFFu >> (size_bytes + 1));
    for (size_t i = 1; i < size_bytes; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return false;
        code = code << 6 | (bytes[i] & 0x3Fu);
    }
    return code >= least[size_bytes] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

static bool is_text(const uint8_t *bytes, size_t size_bytes)
{
    for (size_t at = 0, length; at < size_bytes; at += length) {
        for (length = 1; length <= 4; length++)
            if (at + length <= size_bytes && is_character(bytes + at, length))
                break;
        if (length > 4)
            return false;
    }
    return true;
}

Test(lsm_utf8, agrees_with_the_definition)
{
    uint64_t random = lsm_seed("lsm_utf8");
    for (uint32_t i = 0; i < 1u << 24; i += 1 + (uint32_t)(i >= 1u << 16) * 2) {
        const uint8_t bytes[3] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        size_t skip = i < 1u << 8 ? 2 : i < 1u << 16 ? 1 : 0;
        if (utf8_is_valid(bytes + skip, 3 - skip) != is_text(bytes + skip, 3 - skip))
            cr_assert(false, "%02x %02x %02x", bytes[0], bytes[1], bytes[2]);
    }
    int valid = 0;
    for (int i = 0; i < 1000000; i++) {
        /* Sequences of four near the edges, at any place of a text that the fast path skips. */
        static const uint8_t edges[] = {0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF};
        uint8_t text[80];
        memset(text, 'a', sizeof text);
        size_t at = lsm_random_below(&random, 76), size_bytes = at + 4 + lsm_random_below(&random, sizeof text - at - 3);
        text[at] = (uint8_t)(0xEF + lsm_random_below(&random, 7));
        for (int k = 1; k < 4; k++)
            text[at + (size_t)k] = edges[lsm_random_below(&random, sizeof edges)];
        bool expected = is_text(text, size_bytes);
        if (utf8_is_valid(text, size_bytes) != expected)
            cr_assert(false, "at %zu of %zu", at, size_bytes);
        valid += expected;
    }
    cr_assert(valid > 1000);
}
