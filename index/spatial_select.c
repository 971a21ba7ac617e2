/* spatial_select.c: dividing records by one coordinate, in place.
 *
 * Hoare's selection: the records are parted at a pivot until the wanted rank lies between two parts. The pivot is taken from an evenly spaced sample, at the wanted rank's place in it, so that the first part is close and later ones
 * are short. Coordinates may be such that pivots go wrong each time, by chance or by design; after ROUNDS_MAX of them the pivot is the middle of the values' bit patterns between the least and the greatest, which ends after 64 more.
 * Deterministic. Threads: pure function. Never fails.
 */
#include <assert.h>

#include "index/spatial_private.h"

enum { SAMPLE_MAX = 63, ROUNDS_MAX = 40 };

static double pick_pivot(const struct spatial_record *records, size_t first, size_t end, size_t rank, uint32_t axis)
{
    double sample[SAMPLE_MAX];
    size_t count = end - first, wanted = count > 4096 ? SAMPLE_MAX : count > 256 ? 15 : 3, step = count / wanted;
    for (size_t i = 0; i < wanted; i++) {
        double value = records[first + step / 2 + i * step].at[axis];
        size_t at = i;
        for (; at > 0 && sample[at - 1] > value; at--)
            sample[at] = sample[at - 1];
        sample[at] = value;
    }
    return sample[(rank - first) * wanted / count];
}

/* The middle of the values by their bits; below the greatest unless all are equal. */
static double middle_pivot(const struct spatial_record *records, size_t first, size_t end, uint32_t axis)
{
    uint64_t least = UINT64_MAX, most = 0, bits;
    for (size_t i = first; i < end; i++) {
        double value = records[i].at[axis] + 0.0; /* one zero */
        memcpy(&bits, &value, sizeof bits);
        bits = spatial_order(bits);
        least = bits < least ? bits : least;
        most = bits > most ? bits : most;
    }
    bits = least + (most - least) / 2;
    bits = bits >> 63 ? bits ^ 1ull << 63 : ~bits;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void spatial_select(struct spatial_record *records, size_t count, size_t rank, uint32_t axis)
{
    assert(rank > 0 && rank < count && axis < 3);
    size_t first = 0, end = count;
    for (uint32_t round = 0; end - first > 1; round++) {
        double pivot = round < ROUNDS_MAX ? pick_pivot(records, first, end, rank, axis) : middle_pivot(records, first, end, axis);
        /* Below `low` nothing is above the pivot, from `high` on nothing is below it. Both loops stop at an equal value, so that equal ones go to both sides. A value of this range, or (the middle) one below none but the greatest:
         * in its first run each loop finds something to stop at or the range's end. */
        size_t low = first, high = end;
        for (;;) {
            while (low < end && records[low].at[axis] < pivot)
                low++;
            while (high > first && records[high - 1].at[axis] > pivot)
                high--;
            if (low >= high)
                break;
            struct spatial_record moved = records[low];
            records[low++] = records[--high];
            records[high] = moved;
        }
        assert(low >= high && low <= end && high >= first);
        /* [first, high) <= pivot <= [low, end), and what is between equals it. */
        if (rank < high)
            end = high;
        else if (rank >= low)
            first = low;
        else
            return;
    }
}
