/* codec_bits.c: bit-packing of groups of 64 numbers (codec_format.h). Pure functions; never fails: bounds are the callers'.
 *
 * Eight numbers of w bits are w whole bytes, so that within each eight the shifts and byte offsets are the same and stay in registers.
 * Unpacking loads 8 bytes at each number's first byte; where that would read beyond what is readable the group is copied first. */
#include "blockdev/base/codec_private.h"

#include <assert.h>

size_t codec_pack(const uint64_t *numbers, uint32_t count, uint64_t subtract, uint32_t width, uint8_t *out)
{
    assert(count <= CODEC_GROUP_VALUES && width <= 64);
    if (width == 0)
        return 0;
    uint64_t word = 0;
    uint32_t filled = 0;
    uint8_t *at = out;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = numbers[i] - subtract;
        word |= number << filled;
        filled += width;
        if (filled >= 64) {
            store_u64(at, word);
            at += 8;
            filled -= 64;
            word = filled ? number >> (width - filled) : 0;
        }
    }
    for (; filled > 0; filled = filled > 8 ? filled - 8 : 0, word >>= 8)
        *at++ = (uint8_t)word;
    return (size_t)(at - out);
}

/* Widths up to 56: whatever the bit that a number begins at, its bits lie within 8 bytes. */
static inline __attribute__((always_inline)) void unpack_narrow(const uint8_t *in, uint32_t width, uint64_t *numbers)
{
    uint64_t mask = (1ull << width) - 1;
    for (uint32_t i = 0; i < CODEC_GROUP_VALUES; i += 8, in += width) {
#define UNPACK(k) numbers[i + k] = load_u64(in + ((k * width) >> 3)) >> ((k * width) & 7) & mask
        UNPACK(0);
        UNPACK(1);
        UNPACK(2);
        UNPACK(3);
        UNPACK(4);
        UNPACK(5);
        UNPACK(6);
        UNPACK(7);
#undef UNPACK
    }
}

static void unpack_wide(const uint8_t *in, uint32_t width, uint64_t *numbers)
{
    uint64_t mask = width == 64 ? ~0ull : (1ull << width) - 1;
    for (uint32_t i = 0; i < CODEC_GROUP_VALUES; i++) {
        uint32_t bit = i * width, shift = bit & 7;
        const uint8_t *at = in + (bit >> 3);
        uint64_t number = load_u64(at) >> shift;
        if (shift)
            number |= (uint64_t)at[8] << (64 - shift);
        numbers[i] = number & mask;
    }
}

/* numbers has room for 64 whatever count is. The usual widths of sensor data are constants here, so that shifts and masks are too. */
size_t codec_unpack(const uint8_t *in, size_t readable_bytes, uint32_t count, uint32_t width, uint64_t *numbers, uint8_t *padded)
{
    size_t group_bytes = ((size_t)count * width + 7) / 8;
    assert(count <= CODEC_GROUP_VALUES && width <= 64 && readable_bytes >= group_bytes);
    if (readable_bytes < (size_t)8 * width + 9) {
        memset(padded, 0, CODEC_GROUP_VALUES * 8 + 16);
        memcpy(padded, in, group_bytes);
        in = padded;
    }
    switch (width) {
    case 0:
        memset(numbers, 0, CODEC_GROUP_VALUES * sizeof *numbers);
        break;
#define WIDTH(w)                                                                                                       \
    case w:                                                                                                            \
        unpack_narrow(in, w, numbers);                                                                                 \
        break;
#define WIDTHS(w) WIDTH(w) WIDTH(w + 1) WIDTH(w + 2) WIDTH(w + 3)
        WIDTHS(1) WIDTHS(5) WIDTHS(9) WIDTHS(13) WIDTHS(17) WIDTHS(21)
#undef WIDTHS
#undef WIDTH
    default:
        if (width <= 56)
            unpack_narrow(in, width, numbers);
        else
            unpack_wide(in, width, numbers);
    }
    return group_bytes;
}
