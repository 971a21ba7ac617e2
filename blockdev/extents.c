/* extents.c: see extents.h. Seven bitmaps, one for each state; every extent has its bit in exactly one of them (reserved is a count).
 *
 * Quarantine works in two alternating epochs. A pin belongs to the epoch in which it was taken; what is freed goes to the present epoch's map. When the other epoch has
 * neither pins nor a map to wait with, the present one ends: new pins then belong to the other. A map is released when its epoch has ended and its last pin is gone: every pin that was
 * there when something was freed belonged to that epoch or to the one before, which had no pins left when this one ended.
 *
 * Threads: one mutex in every call. Failures: extents_create MOTE_EBUDGET; marking MOTE_EDAMAGED; reserving and allocating MOTE_ENOSPC. Freeing what is not used is a fault of the program: assertion. */
#include "blockdev/extents.h"

#include <pthread.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"

enum map {
    MAP_FREE,
    MAP_USED,
    MAP_BAD,
    MAP_QUARANTINE_0, /* of the even epoch */
    MAP_QUARANTINE_1, /* of the odd epoch */
    MAP_TRIM_WAITING,
    MAP_TRIM_TAKEN, /* its discard is under way */
    MAP_COUNT
};

enum { CURSOR_TABLES, CURSOR_LOG, CURSOR_COUNT };

struct extents {
    pthread_mutex_t lock;
    struct memory *memory;
    uint32_t total_count, word_count;
    uint32_t counts[MAP_COUNT];
    uint32_t reserved_count, standing_count;
    uint32_t cursors[CURSOR_COUNT];
    bool trim;
    uint32_t trim_reach;
    uint64_t epoch;
    uint64_t pin_counts[2]; /* by epoch, even and odd */
    uint64_t *maps[MAP_COUNT];
    struct extents_growth *growth; /* that the maps lie in; NULL: in words */
    uint64_t words[];
};

struct extents_growth {
    uint32_t total_count, word_count; /* a map */
    uint64_t words[];
};

/* ---- Bits ---- */

/* The bits of word that [first, end) covers. */
static uint64_t word_mask(uint32_t word, uint32_t first, uint32_t end)
{
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64)
        mask &= ~UINT64_C(0) << (first % 64);
    if (word == end / 64)
        mask &= (UINT64_C(1) << (end % 64)) - 1;
    return mask;
}

static bool all_set(const struct extents *extents, enum map map, struct extent_run run)
{
    uint32_t end = run.first + run.count;
    for (uint32_t word = run.first / 64; word <= (end - 1) / 64; word++) {
        uint64_t mask = word_mask(word, run.first, end);
        if ((extents->maps[map][word] & mask) != mask)
            return false;
    }
    return true;
}

/* Moves a run, all of which is in `from`, to `to`. */
static void move_run(struct extents *extents, struct extent_run run, enum map from, enum map to)
{
    uint32_t end = run.first + run.count;
    assert(run.count > 0 && end <= extents->total_count && all_set(extents, from, run));
    for (uint32_t word = run.first / 64; word <= (end - 1) / 64; word++) {
        uint64_t mask = word_mask(word, run.first, end);
        extents->maps[from][word] &= ~mask;
        extents->maps[to][word] |= mask;
    }
    extents->counts[from] -= run.count;
    extents->counts[to] += run.count;
}

static void move_all(struct extents *extents, enum map from, enum map to)
{
    if (extents->counts[from] == 0)
        return;
    for (uint32_t word = 0; word < extents->word_count; word++) {
        extents->maps[to][word] |= extents->maps[from][word];
        extents->maps[from][word] = 0;
    }
    extents->counts[to] += extents->counts[from];
    extents->counts[from] = 0;
}

/* The first extent at or after `at`, below end, whose bit in the map is `set`; end if there is none. */
static uint32_t find_bit(const uint64_t *map, uint32_t at, uint32_t end, bool set)
{
    while (at < end) {
        uint64_t word = set ? map[at / 64] : ~map[at / 64];
        word &= ~UINT64_C(0) << (at % 64);
        if (word != 0) {
            uint32_t found = at / 64 * 64 + (uint32_t)__builtin_ctzll(word);
            return found < end ? found : end;
        }
        at = at / 64 * 64 + 64;
    }
    return end;
}

/* ---- Life ---- */

int extents_create(struct memory *memory, uint32_t extent_count, struct extents **extents)
{
    assert(extent_count > 0 && extent_count <= 1u << 30);
    uint32_t word_count = extent_count / 64 + 1;
    struct extents *made = memory_alloc_zero(memory, sizeof *made + (size_t)word_count * MAP_COUNT * sizeof(uint64_t));
    if (!made)
        return MOTE_EBUDGET;
    pthread_mutex_init(&made->lock, NULL);
    made->memory = memory;
    made->total_count = extent_count;
    made->word_count = word_count;
    for (unsigned map = 0; map < MAP_COUNT; map++)
        made->maps[map] = made->words + (size_t)map * word_count;
    for (uint32_t word = 0; word < word_count; word++)
        made->maps[MAP_FREE][word] = word_mask(word, 0, extent_count);
    made->counts[MAP_FREE] = extent_count;
    made->cursors[CURSOR_TABLES] = extent_count / 4; /* the log begins at the start */
    *extents = made;
    return MOTE_OK;
}

void extents_destroy(struct extents *extents)
{
    if (!extents)
        return;
    pthread_mutex_destroy(&extents->lock);
    memory_free(extents->memory, extents->growth);
    memory_free(extents->memory, extents);
}

int extents_growth_prepare(struct extents *extents, uint32_t extent_count, struct extents_growth **growth)
{
    assert(extent_count >= extents->total_count && extent_count <= 1u << 30);
    uint32_t word_count = extent_count / 64 + 1;
    struct extents_growth *made = memory_alloc_zero(extents->memory, sizeof *made + (size_t)word_count * MAP_COUNT * sizeof(uint64_t));
    *growth = made;
    if (!made)
        return MOTE_EBUDGET;
    made->total_count = extent_count;
    made->word_count = word_count;
    return MOTE_OK;
}

void extents_growth_install(struct extents *extents, struct extents_growth *growth)
{
    pthread_mutex_lock(&extents->lock);
    struct extents_growth *before = extents->growth;
    uint32_t first = extents->total_count, end = growth->total_count;
    assert(end >= first && growth->word_count >= extents->word_count);
    for (unsigned map = 0; map < MAP_COUNT; map++) {
        uint64_t *words = growth->words + (size_t)map * growth->word_count;
        memcpy(words, extents->maps[map], extents->word_count * sizeof *words);
        extents->maps[map] = words;
    }
    for (uint32_t word = first / 64; first < end && word <= (end - 1) / 64; word++)
        extents->maps[MAP_FREE][word] |= word_mask(word, first, end);
    extents->counts[MAP_FREE] += end - first;
    extents->total_count = end;
    extents->word_count = growth->word_count;
    extents->growth = growth;
    pthread_mutex_unlock(&extents->lock);
    memory_free(extents->memory, before);
}

void extents_growth_abandon(struct extents *extents, struct extents_growth *growth) { memory_free(extents->memory, growth); }

static int mark(struct extents *extents, struct extent_run run, enum map to)
{
    int result = MOTE_OK;
    pthread_mutex_lock(&extents->lock);
    if (run.count == 0 || run.first >= extents->total_count || run.count > extents->total_count - run.first)
        result = error_set(MOTE_EDAMAGED, "the manifest names extents %u to %llu of %u; run fsck.mote", run.first, (unsigned long long)run.first + run.count,
                           extents->total_count);
    else if (!all_set(extents, MAP_FREE, run))
        result = error_set(MOTE_EDAMAGED, "the manifest names one of the extents %u to %u twice; run fsck.mote", run.first, run.first + run.count - 1);
    else
        move_run(extents, run, MAP_FREE, to);
    pthread_mutex_unlock(&extents->lock);
    return result;
}

int extents_mark_used(struct extents *extents, struct extent_run run) { return mark(extents, run, MAP_USED); }
int extents_mark_bad(struct extents *extents, uint32_t extent) { return mark(extents, (struct extent_run){extent, 1}, MAP_BAD); }

/* ---- Reserving and allocating ---- */

/* What may be reserved now beyond what is kept. The mutex is held. */
static uint32_t open_count(const struct extents *extents, uint32_t kept)
{
    assert(extents->reserved_count <= extents->counts[MAP_FREE]);
    uint32_t left = extents->counts[MAP_FREE] - extents->reserved_count;
    return left > kept ? left - kept : 0;
}

/* The same; where it is less than count, what awaits its trim goes without. */
static uint32_t open_for(struct extents *extents, uint32_t count, uint32_t kept)
{
    if (open_count(extents, kept) < count)
        move_all(extents, MAP_TRIM_WAITING, MAP_FREE);
    return open_count(extents, kept);
}

int extents_reserve(struct extents *extents, uint32_t count, bool standing, struct extent_reservation *reservation)
{
    int result = MOTE_OK;
    pthread_mutex_lock(&extents->lock);
    uint32_t kept_count = standing ? 0 : extents->standing_count;
    if (open_for(extents, count, kept_count) < count)
        result = error_set(MOTE_ENOSPC, "the device is full: %u extents are wanted, %u are free, %u of them promised and %u kept for flushing; delete or retain less", count,
                           extents->counts[MAP_FREE], extents->reserved_count, kept_count);
    else
        extents->reserved_count += count;
    pthread_mutex_unlock(&extents->lock);
    *reservation = (struct extent_reservation){.count = result == MOTE_OK ? count : 0, .standing = standing};
    return result;
}

void extents_unreserve(struct extents *extents, struct extent_reservation *reservation)
{
    pthread_mutex_lock(&extents->lock);
    assert(reservation->count <= extents->reserved_count);
    extents->reserved_count -= reservation->count;
    reservation->count = 0;
    pthread_mutex_unlock(&extents->lock);
}

void extents_set_standing_reserve(struct extents *extents, uint32_t count)
{
    pthread_mutex_lock(&extents->lock);
    extents->standing_count = count;
    pthread_mutex_unlock(&extents->lock);
}

/* The first free run of count_max in [at, end), or the longest one; *best holds the longest so far. Returns whether it is long enough. */
static bool search_range(const struct extents *extents, uint32_t at, uint32_t end, uint32_t count_max, struct extent_run *best)
{
    const uint64_t *map = extents->maps[MAP_FREE];
    while ((at = find_bit(map, at, end, true)) < end) {
        uint32_t limit = end - at > count_max ? at + count_max : end;
        uint32_t run_end = find_bit(map, at, limit, false);
        if (run_end - at > best->count)
            *best = (struct extent_run){at, run_end - at};
        if (best->count == count_max)
            return true;
        at = run_end;
    }
    return false;
}

/* From the cursor on, then from the start. The second range overlaps the first by one run, so that a run across the cursor is seen whole. */
static void search_both(const struct extents *extents, uint32_t cursor, uint32_t count_min, uint32_t count_max, struct extent_run *best)
{
    if (count_max >= count_min && !search_range(extents, cursor, extents->total_count, count_max, best))
        search_range(extents, 0, cursor + count_max < extents->total_count ? cursor + count_max : extents->total_count, count_max, best);
}

int extents_allocate(struct extents *extents, struct extent_reservation *reservation, uint32_t count_min, uint32_t count_max, struct extent_run *run)
{
    struct extent_run best = {0};
    int result = MOTE_OK;
    assert(count_min > 0 && count_min <= count_max);
    if (count_max > reservation->count)
        count_max = reservation->count;
    pthread_mutex_lock(&extents->lock);
    uint32_t *cursor = &extents->cursors[reservation->log ? CURSOR_LOG : CURSOR_TABLES];
    search_both(extents, *cursor, count_min, count_max, &best);
    /* Neighbours that await their trim are handed out without it, as they are where the number is short. */
    if (best.count < count_min && count_max >= count_min && extents->counts[MAP_TRIM_WAITING] > 0) {
        move_all(extents, MAP_TRIM_WAITING, MAP_FREE);
        search_both(extents, *cursor, count_min, count_max, &best);
    }
    if (best.count < count_min || count_max < count_min) {
        result = error_set(MOTE_ENOSPC, "no %u free extents lie side by side, the longest run has %u of %u free ones; compact or delete", count_min, best.count,
                           extents->counts[MAP_FREE]);
    } else {
        move_run(extents, best, MAP_FREE, MAP_USED);
        assert(extents->reserved_count >= best.count);
        extents->reserved_count -= best.count;
        reservation->count -= best.count;
        *cursor = best.first + best.count < extents->total_count ? best.first + best.count : 0;
        *run = best;
    }
    pthread_mutex_unlock(&extents->lock);
    return result;
}

void extents_release_unused(struct extents *extents, struct extent_run run)
{
    pthread_mutex_lock(&extents->lock);
    move_run(extents, run, MAP_USED, MAP_FREE);
    pthread_mutex_unlock(&extents->lock);
}

void extents_retire(struct extents *extents, uint32_t extent)
{
    pthread_mutex_lock(&extents->lock);
    move_run(extents, (struct extent_run){extent, 1}, MAP_USED, MAP_BAD);
    pthread_mutex_unlock(&extents->lock);
}

/* ---- Quarantine and trim ---- */

static enum map quarantine_of(uint64_t epoch) { return epoch & 1 ? MAP_QUARANTINE_1 : MAP_QUARANTINE_0; }

/* Ends epochs and releases their maps as far as the pins allow. The mutex is held. */
static void advance(struct extents *extents)
{
    for (int step = 0; step < 2; step++) {
        uint64_t other = extents->epoch ^ 1;
        if (extents->pin_counts[other & 1] != 0)
            return;
        /* The other epoch ended and has no pins: nobody can touch what was freed in it. */
        move_all(extents, quarantine_of(other), extents->trim ? MAP_TRIM_WAITING : MAP_FREE);
        if (extents->counts[quarantine_of(extents->epoch)] == 0)
            return;
        extents->epoch++;
    }
}

void extents_free(struct extents *extents, struct extent_run run)
{
    pthread_mutex_lock(&extents->lock);
    move_run(extents, run, MAP_USED, quarantine_of(extents->epoch));
    advance(extents);
    pthread_mutex_unlock(&extents->lock);
}

uint64_t extents_pin(struct extents *extents)
{
    pthread_mutex_lock(&extents->lock);
    uint64_t pin = extents->epoch;
    extents->pin_counts[pin & 1]++;
    pthread_mutex_unlock(&extents->lock);
    return pin;
}

void extents_unpin(struct extents *extents, uint64_t pin)
{
    pthread_mutex_lock(&extents->lock);
    assert(extents->pin_counts[pin & 1] > 0);
    if (--extents->pin_counts[pin & 1] == 0)
        advance(extents);
    pthread_mutex_unlock(&extents->lock);
}

/* Free neighbours of a taken run, as many as there are up to the reach and nobody needs. The mutex is held. */
static struct extent_run widen(struct extents *extents, struct extent_run run)
{
    for (uint32_t i = 0; i < extents->trim_reach && run.first > 0; i++) {
        struct extent_run before = {run.first - 1, 1};
        if (!all_set(extents, MAP_FREE, before) || open_count(extents, extents->standing_count) == 0)
            break;
        move_run(extents, before, MAP_FREE, MAP_TRIM_TAKEN);
        run = (struct extent_run){before.first, run.count + 1};
    }
    for (uint32_t i = 0; i < extents->trim_reach && run.first + run.count < extents->total_count; i++) {
        struct extent_run behind = {run.first + run.count, 1};
        if (!all_set(extents, MAP_FREE, behind) || open_count(extents, extents->standing_count) == 0)
            break;
        move_run(extents, behind, MAP_FREE, MAP_TRIM_TAKEN);
        run.count++;
    }
    return run;
}

uint32_t extents_take_trimmable(struct extents *extents, struct extent_run *runs, uint32_t count_max)
{
    uint32_t count = 0, at = 0;
    pthread_mutex_lock(&extents->lock);
    const uint64_t *map = extents->maps[MAP_TRIM_WAITING];
    while (count < count_max && extents->counts[MAP_TRIM_WAITING] > 0) {
        at = find_bit(map, at, extents->total_count, true);
        uint32_t end = find_bit(map, at, extents->total_count, false);
        struct extent_run run = {at, end - at};
        move_run(extents, run, MAP_TRIM_WAITING, MAP_TRIM_TAKEN);
        runs[count++] = widen(extents, run);
        at = end;
    }
    pthread_mutex_unlock(&extents->lock);
    return count;
}

void extents_set_trim_reach(struct extents *extents, uint32_t reach)
{
    pthread_mutex_lock(&extents->lock);
    extents->trim_reach = reach;
    pthread_mutex_unlock(&extents->lock);
}

bool extents_take_free(struct extents *extents, uint32_t at, uint32_t count_max, struct extent_run *run)
{
    pthread_mutex_lock(&extents->lock);
    uint32_t left = open_count(extents, extents->standing_count);
    left -= left / 2; /* others may want some meanwhile */
    count_max = count_max < left ? count_max : left;
    at = count_max > 0 && at < extents->total_count ? find_bit(extents->maps[MAP_FREE], at, extents->total_count, true) : extents->total_count;
    bool found = at < extents->total_count;
    if (found) {
        uint32_t limit = extents->total_count - at > count_max ? at + count_max : extents->total_count;
        *run = (struct extent_run){at, find_bit(extents->maps[MAP_FREE], at, limit, false) - at};
        move_run(extents, *run, MAP_FREE, MAP_TRIM_TAKEN);
    }
    pthread_mutex_unlock(&extents->lock);
    return found;
}

void extents_trimmed(struct extents *extents, struct extent_run run)
{
    pthread_mutex_lock(&extents->lock);
    move_run(extents, run, MAP_TRIM_TAKEN, MAP_FREE);
    pthread_mutex_unlock(&extents->lock);
}

void extents_set_trim(struct extents *extents, bool on)
{
    pthread_mutex_lock(&extents->lock);
    extents->trim = on;
    if (!on)
        move_all(extents, MAP_TRIM_WAITING, MAP_FREE);
    pthread_mutex_unlock(&extents->lock);
}

void extents_get_counts(struct extents *extents, struct extents_counts *counts)
{
    pthread_mutex_lock(&extents->lock);
    counts->total = extents->total_count;
    counts->free = extents->counts[MAP_FREE];
    counts->reserved = extents->reserved_count;
    counts->used = extents->counts[MAP_USED];
    counts->quarantined = extents->counts[MAP_QUARANTINE_0] + extents->counts[MAP_QUARANTINE_1];
    counts->trimming = extents->counts[MAP_TRIM_WAITING] + extents->counts[MAP_TRIM_TAKEN];
    counts->bad = extents->counts[MAP_BAD];
    pthread_mutex_unlock(&extents->lock);
}
