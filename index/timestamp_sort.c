/* timestamp_sort.c: the stable sort of one chunk of a timestamp index whose times come in no order: by radix, least significant digit first, 11 bits a pass, over the bits that the chunk's times differ in only.
 * Threads: one. Failures: MOTE_EBUDGET for the second half of the passes.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/timestamp_private.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* One pass from `from` to `to` by the digit at `shift` of time - least. */
static void sort_pass(const struct timestamp_chunk *from, struct timestamp_chunk *to, uint64_t least, unsigned shift)
{
    uint32_t starts[DIGITS] = {0};
    for (uint32_t i = 0; i < from->count; i++)
        starts[(((uint64_t)from->times_ns[i] - least) >> shift) & (DIGITS - 1)]++;
    uint32_t sum = 0;
    for (uint32_t digit = 0; digit < DIGITS; digit++) {
        uint32_t count = starts[digit];
        starts[digit] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        uint32_t at = starts[(((uint64_t)from->times_ns[i] - least) >> shift) & (DIGITS - 1)]++;
        to->times_ns[at] = from->times_ns[i];
        to->ordinals[at] = from->ordinals[i];
    }
    to->count = from->count;
}

static void copy_back(struct timestamp_chunk *chunk, const struct timestamp_chunk *from)
{
    memcpy(chunk->times_ns, from->times_ns, chunk->count * sizeof *chunk->times_ns);
    memcpy(chunk->ordinals, from->ordinals, chunk->count * sizeof *chunk->ordinals);
}

int timestamp_sort_chunk(struct ordinal_index *builder, struct timestamp_chunk *chunk)
{
    assert(chunk->count > 0);
    if (!builder->spare.times_ns) {
        int result = timestamp_chunk_alloc(builder->memory, TIMESTAMP_CHUNK_ENTRIES, &builder->spare);
        if (result)
            return result;
    }
    int64_t least = chunk->times_ns[0], greatest = least;
    for (uint32_t i = 1; i < chunk->count; i++) {
        least = chunk->times_ns[i] < least ? chunk->times_ns[i] : least;
        greatest = chunk->times_ns[i] > greatest ? chunk->times_ns[i] : greatest;
    }
    uint64_t span = (uint64_t)greatest - (uint64_t)least;
    struct timestamp_chunk *from = chunk, *to = &builder->spare;
    for (unsigned shift = 0; shift < 64 && span >> shift; shift += DIGIT_BITS) {
        sort_pass(from, to, (uint64_t)least, shift);
        struct timestamp_chunk *swap = from;
        from = to;
        to = swap;
    }
    if (from != chunk)
        copy_back(chunk, from);
    chunk->run_count = 1;
    chunk->run_starts[0] = 0;
    return MOTE_OK;
}
