/* intake.c: the part of a row's way in that all writes share: durability, room in the memtable and the log in one generation, publication, visibility (append_private.h).
 *
 * Invariants
 *   1. Whatever can fail comes before wal_reserve succeeds; a seq that was given out is always encoded, published, inserted, and made visible.
 *   2. visible_seq advances in seq order: a writer waits for its predecessors, which never block between their seq and their turn.
 *   3. The generation in which a row is inserted is the one of the stage that holds it.
 */
#include <time.h>

#include "blockdev/base/thread.h"
#include "engine/append_private.h"
#include "engine/recent.h"
#include "engine/unique.h"

#define SPINS_BEFORE_SLEEP 200
#define TURN_SLEEP_NS 20000 /* not sched_yield: a predecessor that takes longer is preempted, and who yields then stands behind all that run */

int write_level_resolve(const struct mote_db *db, const struct mote_write_options *options, struct write_level *level)
{
    *level = (struct write_level){.durability = db->options.durability, .period_ms = db->options.period_ms};
    if (!options)
        return MOTE_OK;
    if (options->size_bytes < sizeof *options || options->durability > MOTE_DURABILITY_NONE)
        return error_set(MOTE_EINVAL, "write options: size_bytes is not set or durability %u is unknown", options->durability);
    if (options->durability)
        level->durability = options->durability;
    if (options->period_ms)
        level->period_ms = options->period_ms;
    return MOTE_OK;
}

struct generation *generation_enter(struct mote_db *db)
{
    for (;;) {
        struct generation *generation = wal_active_user(db->wal);
        atomic_fetch_add(&generation->writers, 1);
        if (generation == wal_active_user(db->wal))
            return generation;
        atomic_fetch_sub(&generation->writers, 1);
    }
}

void generation_leave(struct generation *generation) { atomic_fetch_sub_explicit(&generation->writers, 1, memory_order_release); }

/* One try: MOTE_OK (the caller leaves the generation after its inserts), WAL_RETRY, or an error. */
static int try_room(struct mote_table *table, struct intake *intake)
{
    struct mote_db *db = table->db;
    struct generation *generation = generation_enter(db);
    int result;
    if (!intake->checked && !intake->deletes && unique_wanted(table)) {
        generation_leave(generation);
        return UNIQUE_AGAIN;
    }
    intake->noted = !intake->deletes && recent_wanted(table);
    if (!generation_reserve(db, generation, intake->memtable_bytes + (intake->noted ? memtable_note_bytes(intake->count) : 0), intake->from_ring || intake->deletes, &intake->room)) {
        generation_leave(generation);
        if (intake->memtable_bytes > memtable_arena_bytes(generation->memtables) / 2)
            return error_set(MOTE_ETOOBIG, "a batch of %u rows needs %llu bytes of the memtable, which has %llu: make it smaller", intake->count,
                             (unsigned long long)intake->memtable_bytes, (unsigned long long)memtable_arena_bytes(generation->memtables));
        result = rotate(db, generation);
        return result ? result : WAL_RETRY;
    }
    intake->generation = generation;
    intake->memtable = memtable_of_table(generation->memtables, table->id, true);
    if (!intake->memtable)
        result = error_set(MOTE_EBUDGET, "a memtable holds at most %u tables: raise tables_max", db->options.tables_max);
    else
        result = wal_reserve(db->wal, intake->log_bytes, intake->count, generation, &intake->slot);
    if (result) {
        memtable_unreserve(generation->memtables, &intake->room);
        generation_leave(generation);
    } else if (intake->noted) {
        memtable_note_begin(intake->memtable, &intake->room, intake->count);
    }
    return result == MOTE_EPOISONED ? db_settle(db, result) : result;
}

/* Nobody else tries again before somebody needs it. */
bool intake_extend_again(struct mote_db *db, int result, uint32_t tries) { return (result == MOTE_EBUDGET || result == MOTE_ENOMEM) && tries == 0 && space_extend(db, false) == MOTE_OK; }

int intake_take_room(struct mote_table *table, struct intake *intake)
{
    uint32_t tries = 0;
    int result = space_check(table->db);
    if (!result && !intake->deletes)
        result = rotate_check_space(table->db, intake->from_ring);
    if (result)
        return result;
    do
        result = try_room(table, intake);
    while (result == WAL_RETRY || intake_extend_again(table->db, result, tries++));
    return result;
}

enum wal_urgency write_level_urgency(const struct write_level *level)
{
    return level->durability == MOTE_DURABILITY_NONE ? WAL_URGENCY_NONE
           : level->durability == MOTE_DURABILITY_PERIODIC ? WAL_URGENCY_TIMED
           : level->durability == MOTE_DURABILITY_SYNC ? WAL_URGENCY_OWN : WAL_URGENCY_NOW;
}

void intake_publish(struct mote_db *db, struct intake *intake, const struct write_level *level)
{
    wal_hold(db->wal, &intake->slot);
    wal_publish(db->wal, &intake->slot, write_level_urgency(level), level->period_ms);
}

void visible_wait(const struct mote_db *db, uint64_t before)
{
    for (int spins = 0; atomic_load_explicit(&db->visible_seq, memory_order_acquire) != before; spins++) {
        if (spins >= SPINS_BEFORE_SLEEP)
            nanosleep(&(struct timespec){.tv_nsec = TURN_SLEEP_NS}, NULL);
        else
            thread_pause();
    }
}

/* Whoever indexes noted rows is in their generation until then. */
void intake_make_visible(struct mote_table *table, struct intake *intake)
{
    struct mote_db *db = table->db;
    uint64_t before = intake->slot.first_seq - 1;
    uint32_t total = intake->noted ? memtable_note_end(intake->memtable, &intake->room) : 0;
    wal_release(db->wal, &intake->slot);
    memtable_unreserve(intake->generation->memtables, &intake->room);
    if (total == 0)
        generation_leave(intake->generation);
    visible_wait(db, before);
    atomic_store_explicit(&db->visible_seq, before + intake->count, memory_order_release);
    if (total == 0)
        return;
    recent_follow(table, intake->generation, intake->memtable, total, intake->count, intake->from_ring);
    generation_leave(intake->generation);
}

int intake_settle_wait(struct mote_db *db, int result)
{
    if (result == MOTE_EPOISONED || result == MOTE_EIO || result == MOTE_ENODEV)
        db_settle(db, result);
    return result;
}

int intake_finish(struct mote_db *db, struct intake *intake, const struct write_level *level, uint64_t raw_bytes, uint64_t *ticket)
{
    uint64_t seq = intake->slot.first_seq + intake->count - 1;
    atomic_fetch_add_explicit(&db->counters.batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->counters.bytes_appended, raw_bytes, memory_order_relaxed);
    if (ticket)
        *ticket = seq;
    int result = MOTE_OK;
    if (level->durability == MOTE_DURABILITY_SYNC)
        result = intake_settle_wait(db, wal_finish(db->wal, &intake->slot, intake->count));
    if (db->options.inline_io)
        jobs_inline(db);
    return result;
}
