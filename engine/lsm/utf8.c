/* utf8.c: see utf8.h. Log lines and names are mostly ASCII, so that 32 bytes at a time are skipped while no byte has its top bit set. */
#include "engine/lsm/utf8.h"

#include <string.h>

#define TOP_BITS 0x8080808080808080u

size_t utf8_ascii_bytes(const uint8_t *text, size_t size_bytes)
{
    size_t at = 0;
    uint64_t word[4];
    for (; size_bytes - at >= sizeof word; at += sizeof word) {
        memcpy(word, text + at, sizeof word);
        if ((word[0] | word[1] | word[2] | word[3]) & TOP_BITS)
            break;
    }
    for (; size_bytes - at >= sizeof word[0]; at += sizeof word[0]) {
        memcpy(word, text + at, sizeof word[0]);
        if (word[0] & TOP_BITS)
            break;
    }
    while (at < size_bytes && text[at] < 0x80)
        at++;
    return at;
}

static inline bool is_between(uint8_t byte, uint8_t low, uint8_t high) { return byte >= low && byte <= high; }

/* Length of the well-formed sequence of two to four bytes at the start, or 0. */
static size_t sequence_bytes(const uint8_t *text, size_t size_bytes)
{
    uint8_t lead = text[0];
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (size_bytes < length)
        return 0;
    /* Only the second byte's range depends on the lead: it excludes overlong forms, surrogates and what is above U+10FFFF. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (!is_between(text[1], low, high))
        return 0;
    for (size_t i = 2; i < length; i++)
        if (!is_between(text[i], 0x80, 0xBF))
            return 0;
    return length;
}

bool utf8_is_valid(const uint8_t *text, size_t size_bytes)
{
    size_t at = 0;
    while (at < size_bytes) {
        if (text[at] < 0x80) {
            at += utf8_ascii_bytes(text + at, size_bytes - at);
            continue;
        }
        size_t length = sequence_bytes(text + at, size_bytes - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}
