/* extents.h: free space. A bitmap in memory of the device's extents, rebuilt at open from the manifest and the live log, never journalled.
 *
 * States of an extent: free, reserved (counted, not yet chosen), used, quarantined (freed, but the freeing edit is not durable, or a reader may still touch it),
 * trimming (waiting for its discard), bad (retired; in the manifest's bad list).
 *
 * Invariants: free + used + quarantined + trimming + bad = extent_count; reserved <= free; an extent is handed out at most once until it is free again; what is
 * freed is first quarantined. Allocation prefers one contiguous run, first fit from a rotating cursor per class (log / tables), so that the log stays contiguous.
 * What awaits its trim is handed out untrimmed where free extents are short: a trim is advice, and nobody lacks space because of one.
 * Memory: one bit in each of seven maps for an extent; other maps take their place when the volume grows, and nothing else grows later.
 * Threads: any, one mutex; never on the append path. Failures: MOTE_ENOSPC.
 */
#ifndef MOTE_BLOCKDEV_EXTENTS_H
#define MOTE_BLOCKDEV_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

struct memory;
struct extents;

struct extent_run {
    uint32_t first;
    uint32_t count;
};

int extents_create(struct memory *memory, uint32_t extent_count, struct extents **extents);
void extents_destroy(struct extents *extents);
/* While rebuilding, before the first reservation. MOTE_EDAMAGED if an extent is marked twice or out of range. */
int extents_mark_used(struct extents *extents, struct extent_run run);
int extents_mark_bad(struct extents *extents, uint32_t extent);

/* A job's promise: takes count extents out of what others may reserve. standing: may dip into the standing reserve (see below). */
struct extent_reservation {
    uint32_t count;
    bool standing;
    bool log; /* of the log, whose cursor is apart from the tables'; extents_reserve clears it, the caller may set it */
};
int extents_reserve(struct extents *extents, uint32_t count, bool standing, struct extent_reservation *reservation);
/* Gives back what was not allocated. */
void extents_unreserve(struct extents *extents, struct extent_reservation *reservation);
/* The number of extents that only standing reservations may use. */
void extents_set_standing_reserve(struct extents *extents, uint32_t count);
/* Takes one contiguous run of count_min..count_max extents (as long as possible) out of the reservation. MOTE_ENOSPC: no run of count_min exists. */
int extents_allocate(struct extents *extents, struct extent_reservation *reservation, uint32_t count_min, uint32_t count_max, struct extent_run *run);
/* An allocated run that nothing on the device refers to: free at once. */
void extents_release_unused(struct extents *extents, struct extent_run run);
/* A run that the device refers to until an edit is durable: call when that edit is durable. Quarantined until every pin taken before is gone. */
void extents_free(struct extents *extents, struct extent_run run);
/* Readers: a pin keeps everything that was not free when it was taken from being handed out or trimmed. Cheap (two alternating epochs: what is freed may wait for pins
 * taken a little later too, never for ever). */
uint64_t extents_pin(struct extents *extents);
void extents_unpin(struct extents *extents, uint64_t pin);
/* A failed write: the run's extent is out of use for good (the caller records it in the manifest). It must be allocated. */
void extents_retire(struct extents *extents, uint32_t extent);
/* Takes up to count_max runs that await their trim; the caller discards them, then calls extents_trimmed. Where trim is off they are free at once (extents_set_trim). */
uint32_t extents_take_trimmable(struct extents *extents, struct extent_run *runs, uint32_t count_max);
void extents_trimmed(struct extents *extents, struct extent_run run);
void extents_set_trim(struct extents *extents, bool on);
/* How many free neighbours a run for the trim takes along on either side, where nobody needs them meanwhile: so that units of the device that are larger than an extent, or lie askew to it, are trimmed whole. */
void extents_set_trim_reach(struct extents *extents, uint32_t reach);
/* The first run of free extents at or after `at`, of at most count_max, as if it had been waiting for its trim: not handed out until extents_trimmed. At most half of what could be reserved beyond the standing reserve. false: none. */
bool extents_take_free(struct extents *extents, uint32_t at, uint32_t count_max, struct extent_run *run);

/* More extents, behind those that there are, while others allocate and free. First the memory, of which all that can fail is made (MOTE_EBUDGET); then either of the other two ends it. Growths are made one at a time. */
struct extents_growth;
int extents_growth_prepare(struct extents *extents, uint32_t extent_count, struct extents_growth **growth);
void extents_growth_install(struct extents *extents, struct extents_growth *growth); /* the new ones are free from here on */
void extents_growth_abandon(struct extents *extents, struct extents_growth *growth); /* NULL allowed */

struct extents_counts {
    uint32_t total, free, reserved, used, quarantined, trimming, bad;
};
void extents_get_counts(struct extents *extents, struct extents_counts *counts);

#endif
