/* column_sort.c: the sorts of the column index, by radix, least significant digit first, 11 bits a pass, over the bits that differ only; what is in order already is not touched.
 * Numbers of more than 33 bits are sorted by their uppermost 33 first, which tells nearly all of a random million apart; what is equal in these is then sorted in place.
 *
 * Stable, so that ordinals that came ascending stay so among equal keys. Threads: one. Failures: MOTE_EBUDGET for the second half of the passes.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES_MAX = 6, HIGH_PASSES = 3, GROUP_MIN = 64 };

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

/* Passes [first, end) over the pairs, by key - least; where they lie at last is *from. */
static void sort_by_digits(struct pairs *from, struct pairs *to, uint64_t count, uint64_t least, unsigned first, unsigned end, uint32_t (*counts)[DIGITS])
{
    memset(counts[first], 0, (end - first) * sizeof *counts);
    for (uint64_t i = 0; i < count; i++)
        for (unsigned pass = first; pass < end; pass++)
            counts[pass][(from->keys[i] - least) >> (pass * DIGIT_BITS) & (DIGITS - 1)]++;
    for (unsigned pass = first; pass < end; pass++) {
        if (!counts_to_places(counts[pass], count))
            continue;
        move_pairs(from, to, count, least, pass * DIGIT_BITS, counts[pass]);
        struct pairs swap = *from;
        *from = *to;
        *to = swap;
    }
}

static void sort_few(const struct pairs *pairs, uint64_t begin, uint64_t end)
{
    for (uint64_t i = begin + 1; i < end; i++) {
        uint64_t key = pairs->keys[i], at = i;
        uint32_t ordinal = pairs->ordinals[i];
        for (; at > begin && pairs->keys[at - 1] > key; at--) {
            pairs->keys[at] = pairs->keys[at - 1];
            pairs->ordinals[at] = pairs->ordinals[at - 1];
        }
        pairs->keys[at] = key;
        pairs->ordinals[at] = ordinal;
    }
}

/* Pairs in order by the digits from `digits` on: those that are equal there are sorted by the lower ones. Groups of random numbers are tiny, and large ones go through passes of their own. */
static void sort_groups(const struct pairs *pairs, const struct pairs *spare, uint64_t count, uint64_t least, unsigned digits, uint32_t (*counts)[DIGITS])
{
    for (uint64_t begin = 0, end; begin < count; begin = end) {
        uint64_t high = (pairs->keys[begin] - least) >> (digits * DIGIT_BITS);
        for (end = begin + 1; end < count && (pairs->keys[end] - least) >> (digits * DIGIT_BITS) == high; end++)
            ;
        if (end - begin < GROUP_MIN) {
            sort_few(pairs, begin, end);
            continue;
        }
        struct pairs from = {pairs->keys + begin, pairs->ordinals + begin}, to = {spare->keys + begin, spare->ordinals + begin};
        sort_by_digits(&from, &to, end - begin, least, 0, digits, counts);
        if (from.keys != pairs->keys + begin) {
            memcpy(pairs->keys + begin, from.keys, (end - begin) * sizeof *from.keys);
            memcpy(pairs->ordinals + begin, from.ordinals, (end - begin) * sizeof *from.ordinals);
        }
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
    unsigned passes = (64 - (unsigned)__builtin_clzll(greatest - least) + DIGIT_BITS - 1) / DIGIT_BITS, lower = passes > HIGH_PASSES ? passes - HIGH_PASSES : 0;
    assert(passes >= 1 && passes <= PASSES_MAX);
    uint32_t(*counts)[DIGITS] = memory_alloc(memory, passes * sizeof *counts);
    uint64_t *spare = memory_alloc(memory, count * (sizeof *keys + sizeof *ordinals));
    if (!counts || !spare) {
        memory_free(memory, counts);
        memory_free(memory, spare);
        return MOTE_EBUDGET;
    }
    struct pairs from = {keys, ordinals}, to = {spare, (uint32_t *)(void *)(spare + count)};
    sort_by_digits(&from, &to, count, least, lower, passes, counts);
    if (lower)
        sort_groups(&from, &to, count, least, lower, counts);
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
