/* column_sort.c: the sorts of the column index, by radix, least significant digit first, 11 bits a pass, over the bits that differ only; what is in order already is not touched.
 *
 * Stable, so that ordinals that came ascending stay so among equal keys. Threads: one. Failures: MOTE_EBUDGET for the second half of the passes.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES_MAX = 6 };

struct pairs {
    uint64_t *keys;
    uint32_t *ordinals;
};

/* Counts become places; false: all are of one digit, and the pass would move nothing. */
static bool counts_to_places(uint32_t counts[DIGITS], uint64_t count)
{
    uint32_t sum = 0;
    for (uint32_t digit = 0; digit < DIGITS; digit++) {
        uint32_t here = counts[digit];
        if (here == count)
            return false;
        counts[digit] = sum;
        sum += here;
    }
    return true;
}

static void move_pairs(const struct pairs *from, const struct pairs *to, uint64_t count, uint64_t least, unsigned shift, uint32_t *places)
{
    const uint64_t *restrict keys = from->keys;
    const uint32_t *restrict ordinals = from->ordinals;
    uint64_t *restrict to_keys = to->keys;
    uint32_t *restrict to_ordinals = to->ordinals;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t key = keys[i];
        uint32_t at = places[(key - least) >> shift & (DIGITS - 1)]++;
        to_keys[at] = key;
        to_ordinals[at] = ordinals[i];
    }
}

int column_sort_pairs(struct memory *memory, uint64_t *keys, uint32_t *ordinals, uint64_t count)
{
    assert(count <= UINT32_MAX);
    uint64_t least = UINT64_MAX, greatest = 0, descents = 0;
    for (uint64_t i = 0; i < count; i++) {
        least = keys[i] < least ? keys[i] : least;
        greatest = keys[i] > greatest ? keys[i] : greatest;
        descents += i > 0 && keys[i] < keys[i - 1];
    }
    if (descents == 0)
        return MOTE_OK;
    unsigned passes = (64 - (unsigned)__builtin_clzll(greatest - least) + DIGIT_BITS - 1) / DIGIT_BITS;
    assert(passes >= 1 && passes <= PASSES_MAX);
    uint32_t(*counts)[DIGITS] = memory_alloc_zero(memory, passes * sizeof *counts);
    uint64_t *spare = memory_alloc(memory, count * (sizeof *keys + sizeof *ordinals));
    if (!counts || !spare) {
        memory_free(memory, counts);
        memory_free(memory, spare);
        return MOTE_EBUDGET;
    }
    for (uint64_t i = 0; i < count; i++)
        for (unsigned pass = 0; pass < passes; pass++)
            counts[pass][(keys[i] - least) >> (pass * DIGIT_BITS) & (DIGITS - 1)]++;
    struct pairs from = {keys, ordinals}, to = {spare, (uint32_t *)(void *)(spare + count)};
    for (unsigned pass = 0; pass < passes; pass++) {
        if (!counts_to_places(counts[pass], count))
            continue;
        move_pairs(&from, &to, count, least, pass * DIGIT_BITS, counts[pass]);
        struct pairs swap = from;
        from = to;
        to = swap;
    }
    if (from.keys != keys) {
        memcpy(keys, from.keys, count * sizeof *keys);
        memcpy(ordinals, from.ordinals, count * sizeof *ordinals);
    }
    memory_free(memory, spare);
    memory_free(memory, counts);
    return MOTE_OK;
}

int column_sort_ordinals(struct memory *memory, uint32_t *ordinals, uint64_t count)
{
    uint64_t descents = 0;
    uint32_t greatest = 0;
    assert(count <= UINT32_MAX);
    for (uint64_t i = 0; i < count; i++) {
        greatest = ordinals[i] > greatest ? ordinals[i] : greatest;
        descents += i > 0 && ordinals[i] < ordinals[i - 1];
    }
    if (descents == 0)
        return MOTE_OK;
    uint32_t *spare = memory_alloc(memory, count * sizeof *spare);
    if (!spare)
        return MOTE_EBUDGET;
    uint32_t *from = ordinals, *to = spare;
    for (unsigned shift = 0; shift < 32 && greatest >> shift; shift += DIGIT_BITS) {
        uint32_t places[DIGITS] = {0};
        for (uint64_t i = 0; i < count; i++)
            places[from[i] >> shift & (DIGITS - 1)]++;
        if (!counts_to_places(places, count))
            continue;
        for (uint64_t i = 0; i < count; i++)
            to[places[from[i] >> shift & (DIGITS - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != ordinals)
        memcpy(ordinals, from, count * sizeof *ordinals);
    memory_free(memory, spare);
    return MOTE_OK;
}
