/* codec_bits.c: bit-packing (codec_format.h) without vector instructions. Pure functions; never fails: bounds are the callers'.
 *
 * Eight numbers of w bits are w whole bytes, so that within each eight the shifts and byte offsets are the same; for each width there is a copy of the loop in which they are constants. */
#include "blockdev/base/codec_kernels.h"

#include <assert.h>

#define EIGHT_WIDTHS(X, w) X(w) X(w + 1) X(w + 2) X(w + 3) X(w + 4) X(w + 5) X(w + 6) X(w + 7)
#define ALL_WIDTHS(X) EIGHT_WIDTHS(X, 1) EIGHT_WIDTHS(X, 9) EIGHT_WIDTHS(X, 17) EIGHT_WIDTHS(X, 25) EIGHT_WIDTHS(X, 33) EIGHT_WIDTHS(X, 41) EIGHT_WIDTHS(X, 49) EIGHT_WIDTHS(X, 57)

/* Stores whole words: up to 7 bytes behind the last eight are overwritten. */
static inline __attribute__((always_inline)) void pack_eights(const uint64_t *numbers, uint64_t subtract, uint32_t eights, const uint32_t width, uint8_t *out)
{
    for (uint32_t n = 0; n < eights; n++, numbers += 8, out += width) {
        uint64_t word = 0;
#define PACK(k)                                                                                                                                                                                            \
    do {                                                                                                                                                                                                   \
        const uint32_t filled = ((k) * width) & 63, at = ((k) * width) >> 6 << 3;                                                                                                                          \
        uint64_t number = numbers[k] - subtract;                                                                                                                                                           \
        word |= number << filled;                                                                                                                                                                          \
        if (filled + width >= 64) {                                                                                                                                                                        \
            store_u64(out + at, word);                                                                                                                                                                     \
            word = filled ? number >> ((64 - filled) & 63) : 0;                                                                                                                                            \
        }                                                                                                                                                                                                  \
    } while (0)
        PACK(0);
        PACK(1);
        PACK(2);
        PACK(3);
        PACK(4);
        PACK(5);
        PACK(6);
        PACK(7);
#undef PACK
        if (width & 7)
            store_u64(out + (width >> 3 << 3), word);
    }
}

void codec_pack_portable(const uint64_t *numbers, uint64_t subtract, uint32_t eights, uint32_t width, uint8_t *out)
{
    assert(width <= 64 && eights <= 8);
    switch (width) {
#define WIDTH(w)                                                                                                                                                                                           \
    case w:                                                                                                                                                                                                \
        pack_eights(numbers, subtract, eights, w, out);                                                                                                                                                    \
        break;
        ALL_WIDTHS(WIDTH)
#undef WIDTH
    default:
        break; /* width 0: nothing is stored */
    }
}

/* Widths up to 56: whatever the bit that a number begins at, its bits lie within 8 bytes. */
static inline __attribute__((always_inline)) void unpack_narrow(const uint8_t *in, const uint32_t width, uint64_t add, uint64_t *numbers)
{
    const uint64_t mask = (1ull << width) - 1;
    for (uint32_t i = 0; i < CODEC_GROUP_VALUES; i += 8, in += width) {
#define UNPACK(k) numbers[i + (k)] = (load_u64(in + (((k) * width) >> 3)) >> (((k) * width) & 7) & mask) + add
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

static void unpack_wide(const uint8_t *in, uint32_t width, uint64_t add, uint64_t *numbers)
{
    uint64_t mask = width == 64 ? ~0ull : (1ull << width) - 1;
    for (uint32_t i = 0; i < CODEC_GROUP_VALUES; i++) {
        uint32_t bit = i * width, shift = bit & 7;
        const uint8_t *at = in + (bit >> 3);
        uint64_t number = load_u64(at) >> shift;
        if (shift)
            number |= (uint64_t)at[8] << (64 - shift);
        numbers[i] = (number & mask) + add;
    }
}

void codec_unpack_portable(const uint8_t *in, uint32_t width, uint64_t add, uint64_t *numbers)
{
    assert(width <= 64);
    switch (width) {
    case 0:
        for (uint32_t i = 0; i < CODEC_GROUP_VALUES; i++)
            numbers[i] = add;
        break;
#define WIDTH(w)                                                                                                                                                                                           \
    case w:                                                                                                                                                                                                \
        unpack_narrow(in, w, add, numbers);                                                                                                                                                                \
        break;
        EIGHT_WIDTHS(WIDTH, 1) EIGHT_WIDTHS(WIDTH, 9) EIGHT_WIDTHS(WIDTH, 17)
#undef WIDTH
    default:
        if (width <= 56)
            unpack_narrow(in, width, add, numbers);
        else
            unpack_wide(in, width, add, numbers);
    }
}
