/* snapshot.c: the register of live seqs, and the snapshots that callers hold or name.
 *
 * Slots: the first cursors_max for cursors, aggregations and hits; the next snapshots_max for snapshots' handles and transactions; the last MANIFEST_NAMED_MAX for named snapshots, whether anybody has a handle on them or not.
 *
 * Invariants
 *   1. A live seq S is registered under snapshot_mutex together with loading visible_seq, or while another slot holds the same S; a job collects the seqs and visible_seq under the same mutex, so that whoever registers later has S >= the job's,
 *      or one that the job knows.
 *   2. A named snapshot is in its slot before its record is committed, and until the record that drops it is durable. Its rows are durable before its record is, so that it sees the same after every crash.
 *   3. No row gets a seq that a named snapshot sees already, even if the rows that had these seqs were lost (recover.c).
 * Threads: any. Locks: ddl_mutex orders names; snapshot_mutex is a leaf.
 */
#include <string.h>
#include <time.h>

#include "engine/engine_private.h"

int snapshots_create(struct mote_db *db)
{
    db->snapshot_slots = db->options.cursors_max + db->options.snapshots_max + MANIFEST_NAMED_MAX;
    db->snapshots = memory_alloc_zero(db->memory, db->snapshot_slots * sizeof *db->snapshots);
    db->named = memory_alloc_zero(db->memory, MANIFEST_NAMED_MAX * sizeof *db->named);
    return db->snapshots && db->named ? MOTE_OK : MOTE_EBUDGET;
}

void snapshots_free(struct mote_db *db)
{
    memory_free(db->memory, db->named);
    memory_free(db->memory, db->snapshots);
    db->named = NULL;
    db->snapshots = NULL;
}

static uint64_t *named_slots(struct mote_db *db) { return db->snapshots + db->options.cursors_max + db->options.snapshots_max; }

/* 0 means unused; before the first row 1 keeps the same versions. */
static uint64_t slot_value(uint64_t seq) { return seq ? seq : 1; }

void snapshots_load(struct mote_db *db)
{
    const struct manifest_state *state = manifest_get_state(db->manifest);
    for (uint32_t i = 0; i < state->named_count; i++) {
        db->named[i] = state->named[i];
        named_slots(db)[i] = slot_value(state->named[i].seq);
    }
}

/* Under snapshot_mutex: the first free slot of a class takes the seq; false: there is none. */
static bool take_slot(struct mote_db *db, uint32_t first, uint32_t count, uint64_t seq, uint32_t *slot)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (db->snapshots[i] != 0)
            continue;
        db->snapshots[i] = slot_value(seq);
        *slot = i;
        return true;
    }
    return false;
}

int snapshot_register(struct mote_db *db, const struct mote_snapshot *of, uint64_t *seq, uint32_t *slot)
{
    if (of && of->db != db)
        return error_set(MOTE_EINVAL, "the snapshot is of another database than the table");
    pthread_mutex_lock(&db->snapshot_mutex);
    *seq = of ? of->seq : atomic_load(&db->visible_seq);
    bool taken = take_slot(db, 0, db->options.cursors_max, *seq, slot);
    pthread_mutex_unlock(&db->snapshot_mutex);
    return taken ? MOTE_OK : error_set(MOTE_EBUDGET, "%u cursors are open, the maximum: close one or raise cursors_max", db->options.cursors_max);
}

void snapshot_forget(struct mote_db *db, uint32_t slot)
{
    pthread_mutex_lock(&db->snapshot_mutex);
    assert(slot < db->snapshot_slots && db->snapshots[slot] != 0);
    db->snapshots[slot] = 0;
    pthread_mutex_unlock(&db->snapshot_mutex);
}

uint32_t snapshot_collect(struct mote_db *db, uint64_t *seqs)
{
    uint32_t count = 0;
    pthread_mutex_lock(&db->snapshot_mutex);
    for (uint32_t i = 0; i <= db->snapshot_slots; i++) {
        /* The visible seq as the last: while a recovery replays the log named snapshots are ahead of it. */
        uint64_t seq = i < db->snapshot_slots ? db->snapshots[i] : atomic_load(&db->visible_seq);
        if (seq == 0 && i < db->snapshot_slots)
            continue;
        uint32_t at = count++;
        for (; at > 0 && seqs[at - 1] > seq; at--)
            seqs[at] = seqs[at - 1];
        seqs[at] = seq;
    }
    pthread_mutex_unlock(&db->snapshot_mutex);
    return count;
}

uint64_t snapshots_newest_named(struct mote_db *db)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < MANIFEST_NAMED_MAX; i++)
        if (named_slots(db)[i] != 0 && db->named[i].seq > newest)
            newest = db->named[i].seq;
    return newest;
}

void snapshots_add_stats(struct mote_db *db, struct mote_stats *stats)
{
    stats->snapshot_seq_min = stats->visible_seq;
    pthread_mutex_lock(&db->snapshot_mutex);
    for (uint32_t i = 0; i < db->snapshot_slots; i++) {
        uint32_t names_at = db->snapshot_slots - MANIFEST_NAMED_MAX;
        if (db->snapshots[i] == 0)
            continue;
        stats->snapshots_named += i >= names_at;
        stats->snapshots_open += i >= db->options.cursors_max && i < names_at;
        stats->snapshot_seq_min = db->snapshots[i] < stats->snapshot_seq_min ? db->snapshots[i] : stats->snapshot_seq_min;
    }
    pthread_mutex_unlock(&db->snapshot_mutex);
}

/* ---- Handles ---- */

static int refuse_handle(const struct mote_db *db)
{
    return error_set(MOTE_EBUDGET, "%u snapshots and transactions are open, the maximum: end one or raise snapshots_max", db->options.snapshots_max);
}

int snapshot_begin(struct mote_db *db, struct mote_snapshot *snapshot)
{
    pthread_mutex_lock(&db->snapshot_mutex);
    *snapshot = (struct mote_snapshot){.db = db, .seq = atomic_load(&db->visible_seq)};
    bool taken = take_slot(db, db->options.cursors_max, db->options.snapshots_max, snapshot->seq, &snapshot->slot);
    pthread_mutex_unlock(&db->snapshot_mutex);
    return taken ? MOTE_OK : refuse_handle(db);
}

static int take_anonymous(struct mote_db *db, mote_snapshot **out)
{
    mote_snapshot *snapshot = memory_alloc_zero(db->memory, sizeof *snapshot);
    if (!snapshot)
        return MOTE_EBUDGET;
    int result = snapshot_begin(db, snapshot);
    if (result)
        memory_free(db->memory, snapshot);
    else
        *out = snapshot;
    return result;
}

static int check_name(struct mote_db *db, const char *name)
{
    int result = db_check(db);
    if (result)
        return result;
    size_t name_bytes = name ? strlen(name) : 0;
    if (name_bytes == 0)
        return error_set(MOTE_EINVAL, "the name of a snapshot is NULL or empty");
    return name_bytes > MOTE_NAME_BYTES_MAX ? error_set(MOTE_ETOOBIG, "the name of a snapshot has 1 to %d bytes, not %zu", MOTE_NAME_BYTES_MAX, name_bytes) : MOTE_OK;
}

/* Under snapshot_mutex: the number of the named snapshot, or MANIFEST_NAMED_MAX. */
static uint32_t find_named(struct mote_db *db, const char *name)
{
    uint32_t i = 0;
    while (i < MANIFEST_NAMED_MAX && (named_slots(db)[i] == 0 || strcmp(db->named[i].name, name) != 0))
        i++;
    return i;
}

int mote_snapshot_open(mote_db *db, const char *name, mote_snapshot **out)
{
    int result = check_name(db, name);
    if (!result && !out)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (result)
        return result;
    mote_snapshot *snapshot = memory_alloc_zero(db->memory, sizeof *snapshot);
    if (!snapshot)
        return MOTE_EBUDGET;
    bool taken = false;
    pthread_mutex_lock(&db->snapshot_mutex);
    uint32_t number = find_named(db, name);
    if (number < MANIFEST_NAMED_MAX) {
        *snapshot = (mote_snapshot){.db = db, .seq = db->named[number].seq};
        taken = take_slot(db, db->options.cursors_max, db->options.snapshots_max, snapshot->seq, &snapshot->slot);
    }
    pthread_mutex_unlock(&db->snapshot_mutex);
    if (taken) {
        *out = snapshot;
        return MOTE_OK;
    }
    memory_free(db->memory, snapshot);
    return number < MANIFEST_NAMED_MAX ? refuse_handle(db) : error_set(MOTE_ENOTFOUND, "no snapshot is named %s", name);
}

void mote_snapshot_release(mote_snapshot *snapshot)
{
    if (!snapshot || handle_check(snapshot->db))
        return;
    snapshot_forget(snapshot->db, snapshot->slot);
    memory_free(snapshot->db->memory, snapshot);
}

uint64_t mote_snapshot_seq(const mote_snapshot *snapshot) { return snapshot ? snapshot->seq : 0; }

/* ---- Names; under ddl_mutex ---- */

static int64_t real_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* The slot holds the seq from here on; its name counts once the record is durable. */
static int reserve_named(struct mote_db *db, const char *name, struct manifest_named *named, uint32_t *number)
{
    pthread_mutex_lock(&db->snapshot_mutex);
    bool exists = find_named(db, name) < MANIFEST_NAMED_MAX;
    uint64_t *slots = named_slots(db);
    *number = 0;
    while (*number < MANIFEST_NAMED_MAX && slots[*number] != 0)
        ++*number;
    *named = (struct manifest_named){.seq = atomic_load(&db->visible_seq), .taken_ns = real_time_ns()};
    if (!exists && *number < MANIFEST_NAMED_MAX) {
        db->named[*number] = *named; /* without a name: nobody finds it yet */
        slots[*number] = slot_value(named->seq);
    }
    pthread_mutex_unlock(&db->snapshot_mutex);
    if (exists)
        return error_set(MOTE_EEXISTS, "a snapshot named %s exists already", name);
    return *number < MANIFEST_NAMED_MAX ? MOTE_OK : error_set(MOTE_EBUDGET, "%u snapshots have names, the maximum: drop one", MANIFEST_NAMED_MAX);
}

static int commit_named(struct mote_db *db, const struct manifest_named *added, uint64_t dropped_id)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    if (added)
        manifest_edit_add_named(edit, added);
    else
        manifest_edit_drop_named(edit, dropped_id);
    return db_settle(db, manifest_commit(edit, NULL, NULL));
}

static int take_named(struct mote_db *db, const char *name)
{
    struct manifest_named named;
    uint32_t number;
    int result = reserve_named(db, name, &named, &number);
    if (result)
        return result;
    result = db_settle(db, wal_wait(db->wal, named.seq, MOTE_FOREVER));
    if (!result) {
        named.id = manifest_take_section_id(db->manifest);
        memcpy(named.name, name, strlen(name));
        result = commit_named(db, &named, 0);
    }
    pthread_mutex_lock(&db->snapshot_mutex);
    db->named[number] = named;
    /* A record that failed halfway may be durable, but then the handle is poisoned and drops nothing any more. */
    if (result)
        named_slots(db)[number] = 0;
    pthread_mutex_unlock(&db->snapshot_mutex);
    return result;
}

int mote_snapshot_take(mote_db *db, const char *name, mote_snapshot **out)
{
    int result = name ? check_name(db, name) : db_check(db);
    if (!result && !name && !out)
        result = error_set(MOTE_EINVAL, "a snapshot without a name needs a handle: the result pointer is NULL");
    if (!result && name)
        result = db_check_writable(db);
    if (result || !name)
        return result ? result : take_anonymous(db, out);
    pthread_mutex_lock(&db->ddl_mutex);
    mote_snapshot *snapshot = NULL;
    result = out ? take_anonymous(db, &snapshot) : MOTE_OK;
    if (!result)
        result = take_named(db, name);
    if (!result && out) {
        /* The handle sees what the name does: what became visible between the two is not older than either keeps. */
        pthread_mutex_lock(&db->snapshot_mutex);
        snapshot->seq = db->named[find_named(db, name)].seq;
        db->snapshots[snapshot->slot] = slot_value(snapshot->seq);
        pthread_mutex_unlock(&db->snapshot_mutex);
        *out = snapshot;
    } else if (snapshot) {
        mote_snapshot_release(snapshot);
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    return result;
}

int mote_snapshot_drop(mote_db *db, const char *name)
{
    int result = check_name(db, name);
    if (!result)
        result = db_check_writable(db);
    if (result)
        return result;
    pthread_mutex_lock(&db->ddl_mutex);
    pthread_mutex_lock(&db->snapshot_mutex);
    uint32_t number = find_named(db, name);
    uint64_t id = number < MANIFEST_NAMED_MAX ? db->named[number].id : 0;
    pthread_mutex_unlock(&db->snapshot_mutex);
    result = id ? commit_named(db, NULL, id) : error_set(MOTE_ENOTFOUND, "no snapshot is named %s", name);
    if (!result) {
        pthread_mutex_lock(&db->snapshot_mutex);
        named_slots(db)[number] = 0;
        pthread_mutex_unlock(&db->snapshot_mutex);
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    return result;
}

int mote_snapshot_list(mote_db *db, int (*visit)(const struct mote_snapshot_info *info, void *context), void *context)
{
    int result = db_check(db);
    if (!result && !visit)
        result = error_set(MOTE_EINVAL, "visit is NULL");
    uint64_t last_id = 0;
    while (!result) {
        struct mote_snapshot_info info = {.size_bytes = sizeof info};
        uint64_t next_id = UINT64_MAX;
        pthread_mutex_lock(&db->snapshot_mutex);
        for (uint32_t i = 0; i < MANIFEST_NAMED_MAX; i++) {
            const struct manifest_named *named = &db->named[i];
            if (named_slots(db)[i] == 0 || named->name[0] == 0 || named->id <= last_id || named->id >= next_id)
                continue;
            next_id = named->id;
            info.seq = named->seq;
            info.taken_ns = named->taken_ns;
            memcpy(info.name, named->name, sizeof info.name);
        }
        pthread_mutex_unlock(&db->snapshot_mutex);
        if (next_id == UINT64_MAX)
            break;
        last_id = next_id;
        result = visit(&info, context);
    }
    return result;
}
