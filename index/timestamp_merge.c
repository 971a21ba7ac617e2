/* timestamp_merge.c: merging the ascending runs of a timestamp index.
 *
 * Slice by slice: all rows whose time lies between the least that is left and a little later are taken out of each run, one run after the other, which is their order but for the time; a stable radix sort of few thousand small numbers,
 * which stay in the first-level cache, orders them by that. Whatever the number of runs, a row costs one comparison, and two or three passes of the sort. How much later follows the number of rows that came of it.
 * Where a slice has one run only, or the runs follow each other, nothing is sorted.
 * Threads: one. Failures: MOTE_EBUDGET.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/timestamp_private.h"

enum { PLACE_BITS = 13, SLICE_ROWS_MAX = 1 << PLACE_BITS, SLICE_ROWS_AIM = SLICE_ROWS_MAX / 2, DIGIT_BITS_MAX = 10, DIGITS_MAX = 1 << DIGIT_BITS_MAX, PASSES_MAX = 6, STEP_GROWTH_MAX = 16 };
#define STEP_FIRST_NS (1ull << 20)
#define STEP_MAX_NS (1ull << (64 - PLACE_BITS)) /* offsets are below it, and lie above the place in a key */
_Static_assert(PASSES_MAX * DIGIT_BITS_MAX >= 64 - PLACE_BITS, "the passes order all offsets");

/* What is left of a run, and how much of that the slice takes. */
struct run {
    const int64_t *times_ns;
    const uint32_t *ordinals;
    int64_t head_ns; /* times_ns[0] */
    uint32_t left, taken;
};

struct timestamp_merge {
    struct memory *memory;
    struct run *runs; /* in the order of their ordinals */
    uint32_t run_count;
    uint64_t step_ns; /* a slice's times are less than this above its least */
    uint64_t keys[2][SLICE_ROWS_MAX]; /* time - the least, place in places */
    uint32_t places[SLICE_ROWS_MAX];  /* ordinals */
    uint32_t counts[PASSES_MAX][DIGITS_MAX];
    int64_t times_ns[SLICE_ROWS_MAX];
    uint32_t ordinals[SLICE_ROWS_MAX];
};

int timestamp_merge_create(const struct ordinal_index *builder, struct timestamp_merge **merge)
{
    struct timestamp_merge *made = memory_alloc(builder->memory, sizeof *made);
    size_t run_count = 0;
    *merge = NULL;
    if (!made)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < builder->chunk_count; i++)
        run_count += builder->chunks[i].run_count;
    made->runs = memory_alloc(builder->memory, (run_count + 1) * sizeof *made->runs);
    if (!made->runs) {
        memory_free(builder->memory, made);
        return MOTE_EBUDGET;
    }
    made->memory = builder->memory;
    made->step_ns = STEP_FIRST_NS;
    made->run_count = 0;
    for (uint32_t i = 0; i < builder->chunk_count; i++) {
        const struct timestamp_chunk *chunk = &builder->chunks[i];
        assert(chunk->count > 0 && chunk->run_count > 0 && !timestamp_chunk_needs_sorting(chunk));
        for (uint32_t k = 0; k < chunk->run_count; k++) {
            uint32_t start = chunk->run_starts[k], end = k + 1 < chunk->run_count ? chunk->run_starts[k + 1] : chunk->count;
            assert(start < end);
            made->runs[made->run_count++] = (struct run){chunk->times_ns + start, chunk->ordinals + start, chunk->times_ns[start], end - start, 0};
        }
    }
    *merge = made;
    return MOTE_OK;
}

void timestamp_merge_destroy(struct timestamp_merge *merge)
{
    if (!merge)
        return;
    memory_free(merge->memory, merge->runs);
    memory_free(merge->memory, merge);
}

/* Takes what the last slice took off the runs, and those that ended out. Returns the run of the least time that is left, *next_ns the least of the others. */
static struct run *advance_runs(struct timestamp_merge *merge, int64_t *next_ns)
{
    uint32_t kept = 0, first = 0;
    int64_t least = INT64_MAX, next = INT64_MAX;
    for (uint32_t i = 0; i < merge->run_count; i++) {
        struct run run = merge->runs[i];
        if (run.taken == run.left)
            continue;
        run.times_ns += run.taken;
        run.ordinals += run.taken;
        run.left -= run.taken;
        run.taken = 0;
        run.head_ns = run.times_ns[0];
        if (kept == 0 || run.head_ns < least) {
            next = kept == 0 ? INT64_MAX : least;
            least = run.head_ns;
            first = kept;
        } else if (run.head_ns < next) {
            next = run.head_ns;
        }
        merge->runs[kept++] = run;
    }
    merge->run_count = kept;
    *next_ns = next;
    return &merge->runs[first];
}

/* The rows of a slice, before they are ordered. */
struct slice {
    uint64_t all_offsets; /* or-ed */
    uint32_t count, contributors, contributor; /* the last run that gave rows */
    bool ordered;
};

/* The keys of the rows whose time is at most least + span. False: there is no room for all of them; of equal times (span 0) as many as there is room for are taken. */
static bool collect_slice(struct timestamp_merge *merge, int64_t least, uint64_t span, struct slice *slice)
{
    uint64_t *keys = merge->keys[0], before = 0;
    *slice = (struct slice){.ordered = true};
    for (uint32_t r = 0; r < merge->run_count; r++) {
        struct run *run = &merge->runs[r];
        uint32_t room = SLICE_ROWS_MAX - slice->count, most = run->left < room ? run->left : room, i = 0;
        run->taken = 0;
        if ((uint64_t)run->head_ns - (uint64_t)least > span)
            continue;
        for (; i < most; i++) {
            uint64_t offset = (uint64_t)run->times_ns[i] - (uint64_t)least;
            if (offset > span)
                break;
            slice->all_offsets |= offset;
            keys[slice->count + i] = offset << PLACE_BITS | (slice->count + i);
        }
        if (i == most && i < run->left && span > 0 && (uint64_t)run->times_ns[i] - (uint64_t)least <= span)
            return false;
        if (i == 0)
            continue; /* no room, and equal times: later */
        memcpy(merge->places + slice->count, run->ordinals, i * sizeof *merge->places);
        slice->ordered = slice->ordered && keys[slice->count] >= before;
        slice->count += i;
        before = keys[slice->count - 1];
        run->taken = i;
        slice->contributors++;
        slice->contributor = r;
    }
    return true;
}

/* Orders the keys by their offsets; returns where they are. */
static const uint64_t *sort_keys(struct timestamp_merge *merge, const struct slice *slice)
{
    unsigned bits = slice->all_offsets ? 64u - (unsigned)__builtin_clzll(slice->all_offsets) : 0, passes = (bits + DIGIT_BITS_MAX - 1) / DIGIT_BITS_MAX;
    uint64_t *from = merge->keys[0], *to = merge->keys[1];
    if (slice->ordered || passes == 0)
        return from;
    unsigned digit_bits = (bits + passes - 1) / passes;
    uint64_t mask = (1ull << digit_bits) - 1;
    assert(passes <= PASSES_MAX && digit_bits <= DIGIT_BITS_MAX);
    for (unsigned pass = 0; pass < passes; pass++)
        memset(merge->counts[pass], 0, sizeof merge->counts[pass][0] << digit_bits);
    for (uint32_t i = 0; i < slice->count; i++) {
        uint64_t offset = from[i] >> PLACE_BITS;
        for (unsigned pass = 0; pass < passes; pass++, offset >>= digit_bits)
            merge->counts[pass][offset & mask]++;
    }
    for (unsigned pass = 0; pass < passes; pass++) {
        uint32_t *starts = merge->counts[pass], sum = 0;
        unsigned shift = PLACE_BITS + pass * digit_bits;
        for (uint32_t digit = 0; digit <= mask; digit++) {
            uint32_t count = starts[digit];
            starts[digit] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < slice->count; i++)
            to[starts[from[i] >> shift & mask]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* So that the next slice has about as many rows as it should. */
static void adapt_step(struct timestamp_merge *merge, uint32_t count)
{
    uint64_t growth = SLICE_ROWS_AIM / count, step_ns = merge->step_ns;
    growth = growth < 1 ? 1 : growth > STEP_GROWTH_MAX ? STEP_GROWTH_MAX : growth;
    step_ns = step_ns > STEP_MAX_NS / growth ? STEP_MAX_NS : step_ns * growth;
    merge->step_ns = step_ns > 1 && count > SLICE_ROWS_MAX - SLICE_ROWS_MAX / 4 ? step_ns - step_ns / 4 : step_ns;
}

uint32_t timestamp_merge_next(struct timestamp_merge *merge, const int64_t **times_ns, const uint32_t **ordinals)
{
    struct slice slice;
    int64_t next_ns;
    struct run *first = advance_runs(merge, &next_ns);
    if (merge->run_count == 0)
        return 0;
    if (merge->run_count == 1 || first->times_ns[first->left - 1] < next_ns) {
        *times_ns = first->times_ns;
        *ordinals = first->ordinals;
        return first->taken = first->left;
    }
    int64_t least = first->head_ns;
    while (!collect_slice(merge, least, merge->step_ns - 1, &slice))
        merge->step_ns = merge->step_ns > 4 ? merge->step_ns / 4 : 1;
    assert(slice.count > 0);
    adapt_step(merge, slice.count);
    if (slice.contributors == 1) {
        const struct run *run = &merge->runs[slice.contributor];
        *times_ns = run->times_ns;
        *ordinals = run->ordinals;
        return slice.count;
    }
    const uint64_t *keys = sort_keys(merge, &slice);
    for (uint32_t i = 0; i < slice.count; i++) {
        merge->times_ns[i] = (int64_t)((uint64_t)least + (keys[i] >> PLACE_BITS));
        merge->ordinals[i] = merge->places[keys[i] & (SLICE_ROWS_MAX - 1)];
    }
    *times_ns = merge->times_ns;
    *ordinals = merge->ordinals;
    return slice.count;
}
