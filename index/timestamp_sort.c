/* timestamp_sort.c: the stable sort of one chunk of a timestamp index. A chunk of few ascending runs, as a few series one after the other are, is merged in one pass. Else a radix sort: least significant digit first, 11 bits a pass,
 * over the bits that the chunk's times differ in only. Two passes at a time would save nothing: a chunk stays in the second-level cache.
 * Threads: one. Failures: MOTE_EBUDGET for the second half of the passes.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/timestamp_private.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, RUNS_MERGED_MAX = 8 };

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

uint32_t timestamp_merge_runs(struct timestamp_run *runs, uint32_t *run_count, uint32_t most, int64_t *times_ns, uint32_t *ordinals)
{
    int64_t heads[TIMESTAMP_RUNS_MAX];
    uint32_t count = *run_count, taken = 0;
    assert(count <= TIMESTAMP_RUNS_MAX);
    for (uint32_t i = 0; i < count; i++)
        heads[i] = runs[i].times_ns[0];
    while (count > 1 && taken < most) {
        int64_t least = heads[0];
        uint32_t first = 0;
        for (uint32_t i = 1; i < count; i++) {
            first = heads[i] < least ? i : first;
            least = heads[i] < least ? heads[i] : least;
        }
        struct timestamp_run *run = &runs[first];
        times_ns[taken] = least;
        ordinals[taken++] = *run->ordinals++;
        run->times_ns++;
        if (--run->left > 0) {
            heads[first] = *run->times_ns;
            continue;
        }
        count--;
        memmove(run, run + 1, (count - first) * sizeof *run);
        memmove(heads + first, heads + first + 1, (count - first) * sizeof *heads);
    }
    if (count == 1) {
        uint32_t room = most - taken, copied = runs[0].left < room ? runs[0].left : room;
        memcpy(times_ns + taken, runs[0].times_ns, copied * sizeof *times_ns);
        memcpy(ordinals + taken, runs[0].ordinals, copied * sizeof *ordinals);
        runs[0].times_ns += copied;
        runs[0].ordinals += copied;
        runs[0].left -= copied;
        taken += copied;
        count = runs[0].left > 0;
    }
    *run_count = count;
    return taken;
}

/* The ascending runs of the chunk; 0 if there are too many. */
static uint32_t find_runs(const struct timestamp_chunk *chunk, struct timestamp_run *runs)
{
    uint32_t count = 0;
    for (uint32_t i = 0, start = 0; i < chunk->count; i++) {
        if (i + 1 < chunk->count && chunk->times_ns[i + 1] >= chunk->times_ns[i])
            continue;
        if (count == RUNS_MERGED_MAX)
            return 0;
        runs[count++] = (struct timestamp_run){chunk->times_ns + start, chunk->ordinals + start, i + 1 - start};
        start = i + 1;
    }
    return count;
}

static void copy_back(struct timestamp_chunk *chunk, const struct timestamp_chunk *from)
{
    memcpy(chunk->times_ns, from->times_ns, chunk->count * sizeof *chunk->times_ns);
    memcpy(chunk->ordinals, from->ordinals, chunk->count * sizeof *chunk->ordinals);
    chunk->sorted = true;
}

int timestamp_sort_chunk(struct ordinal_index *builder, struct timestamp_chunk *chunk)
{
    assert(chunk->count > 0);
    if (!builder->spare.times_ns) {
        int result = timestamp_chunk_alloc(builder->memory, TIMESTAMP_CHUNK_ENTRIES, &builder->spare);
        if (result)
            return result;
    }
    struct timestamp_run runs[RUNS_MERGED_MAX];
    uint32_t run_count = find_runs(chunk, runs);
    if (run_count > 0) {
        timestamp_merge_runs(runs, &run_count, chunk->count, builder->spare.times_ns, builder->spare.ordinals);
        copy_back(chunk, &builder->spare);
        return MOTE_OK;
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
    chunk->sorted = true;
    return MOTE_OK;
}
