/* producer_headroom.c: how much of the active generation is kept for producers, so that their records go on being taken while other writers wait for a flush.
 *
 * All tables share the generations. A writer at full speed fills them faster than they are flushed and then waits, which is as it should be; but a control loop's ring holds 100 ms, and its records would wait behind. So other writers may
 * fill a generation only up to the headroom (append.c) and wait for a free one then, and the rest takes the producers' records meanwhile. Deletes may use it as well: they free space.
 *
 * Size: what all producers push, times how long it may last until a generation is free:
 *   rate    the largest number of bytes that all of them wanted in a window of 100 ms, dropped records included, each at the most that it can take in a memtable; halves in four seconds without such a window
 *   time    a second, and twice the longest flush of late: one may have begun just before, and a checkpoint or a step of a compaction may come before the next
 * within a sixteenth and a quarter of the arena: a burst from silence finds some, and other writers never lose more. 48,000 records of 40 bytes a second take 5 MB/s, 10 to 15 MiB of a generation of 64 MiB where flushes take a second.
 * None is kept while no producer is open, or with inline_io, where whoever lacks room flushes by himself.
 *
 * Threads: whoever holds drain_mutex.
 */
#include "engine/producer_private.h"

#define WINDOW_NS (100 * NS_PER_MS)
#define SHARE_MIN 16u /* of the arena: one of so many */
#define SHARE_MAX 4u

uint32_t producer_row_room_bytes(const struct schema *schema)
{
    enum { ROWS = 64 };
    uint64_t row_bytes = round_up(schema->fixed_bytes, 8) + (schema->key_bytes_fixed ? schema->key_bytes_fixed : MOTE_KEY_BYTES_MAX);
    return (uint32_t)((memtable_room_bytes(ROWS, ROWS * row_bytes) + memtable_note_bytes(ROWS)) / ROWS);
}

/* What all producers wanted since they were opened. */
static uint64_t wanted_bytes(const struct producer_set *set)
{
    uint64_t bytes = set->closed_wanted_bytes;
    for (uint32_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i])
            bytes += producer_wanted(set->slots[i]) * set->slots[i]->row_room_bytes;
    }
    return bytes;
}

static uint64_t choose_bytes(const struct mote_db *db)
{
    const struct producer_set *set = db->producers;
    if (set->count == 0 || db->options.inline_io)
        return 0;
    uint64_t arena_bytes = memtable_arena_bytes(db->generations[0].memtables), least = arena_bytes / SHARE_MIN, most = arena_bytes / SHARE_MAX;
    uint64_t wait_ms = 1000 + 2 * atomic_load(&db->flush_ns) / (uint64_t)NS_PER_MS;
    uint64_t bytes = set->rate_bytes_per_s / 1000 * wait_ms;
    return bytes < least ? least : bytes > most ? most : bytes;
}

bool producer_headroom_is_low(const struct mote_db *db)
{
    uint64_t kept_bytes = atomic_load_explicit(&db->headroom_bytes, memory_order_relaxed);
    const struct generation *active = wal_active_user(db->wal);
    return kept_bytes > 0 && memtable_used_bytes(active->memtables) + kept_bytes / 2 > memtable_arena_bytes(active->memtables);
}

void producer_headroom_choose(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    uint64_t now = now_ns(), gone_ns = now - set->window_begin_ns;
    if (gone_ns >= WINDOW_NS) {
        uint64_t wanted = wanted_bytes(set), rate = (wanted - set->window_bytes) * 1000 / (gone_ns / (uint64_t)NS_PER_MS);
        set->rate_bytes_per_s -= set->rate_bytes_per_s / 64;
        set->rate_bytes_per_s = rate > set->rate_bytes_per_s ? rate : set->rate_bytes_per_s;
        set->window_bytes = wanted;
        set->window_begin_ns = now;
    }
    atomic_store_explicit(&db->headroom_bytes, choose_bytes(db), memory_order_relaxed);
}
