/* write_commit.c: a set of rows of several tables becomes visible, and durable, as one (write_set.h).
 *
 *   locks of the tables (ascending ids): insert_mutex where rows must be new, then unique_mutex where there is a unique index -> checks, which may read -> one generation, with memtable room for all rows -> of a transaction: no key was
 *   changed since its snapshot -> the log: one reservation, or parts and an end (log_format.h) -> of a transaction: nothing came in between -> publish, insert, one step of visible_seq
 *
 * Conflicts. Other writers take no notice of transactions. Their order is that of their seqs, so the question is whether a key has a version between the snapshot and the transaction's own first seq, and that is answered exactly once this
 * seq is known: all before it become visible in a moment, and what is newer than the seq up to which the keys were looked up before (checked_seq) is in memtables, where looking takes a microsecond a key and reads nothing. If there is one, or
 * if a flush took some of them to a segment meanwhile, the reserved place in the log says that it holds nothing, and the seqs are passed over.
 *
 * Invariants
 *   1. As intake.c, 1 to 3. Between a seq and its turn nothing is read and nothing waited for but writers with smaller seqs, of whom none waits for this one.
 *   2. All rows are in one generation, so that one cut, one flush and one edit cover all or none of them; the parts of a large set lie in it too.
 *   3. No view is held while room is waited for: it would pin generations that the wait may be for.
 *   4. Rows of tables that are indexed in memory are noted, table by table, before any of them is visible (recent.h). Notes are begun when nothing can keep the rows out any more, so that a set that is refused leaves none.
 * Locks: batch_mutex (one large set at a time is between its first part and its end) comes after the tables' and before rotate_mutex.
 */
#include <string.h>

#include "engine/blob.h"
#include "engine/get_private.h"
#include "engine/recent.h"
#include "engine/retention.h"
#include "engine/unique.h"
#include "engine/write_set.h"

#define FORGOTTEN 0 /* unique_end: nothing was written */

struct commit {
    struct mote_db *db;
    struct write_set *set;
    const struct commit_terms *terms;
    struct generation *generation;
    struct memtable_room room;
    struct wal_slot slot;
    uint64_t checked_seq;
    uint64_t batch_id; /* in parts; 0: the slot holds all */
    uint32_t part_count;
};

/* ---- Locks, and rows that must be new ---- */

static void lock_inserts(const struct write_set *set)
{
    for (uint32_t i = 0; i < set->table_count; i++)
        if (set->tables[i].inserts)
            pthread_mutex_lock(&set->tables[i].table->insert_mutex);
}

static void unlock_inserts(const struct write_set *set)
{
    for (uint32_t i = set->table_count; i-- > 0;)
        if (set->tables[i].inserts)
            pthread_mutex_unlock(&set->tables[i].table->insert_mutex);
}

#define TABLE_KEY_BYTES (MOTE_KEY_BYTES_MAX + 8u)

/* The keys of several tables in one map. */
static uint32_t tagged_key(const struct write_row *row, uint8_t *bytes)
{
    store_u64(bytes, row->table->id);
    memcpy(bytes + 8, row->key, row->key_bytes);
    return row->key_bytes + 8;
}

/* What the set's rows before this one made of its key: LOG_OP_PUT, LOG_OP_DELETE, or 0. */
static uint64_t kind_before(const struct unique_map *map, uint64_t hash, const uint8_t *key, uint32_t key_bytes)
{
    const struct unique_entry *entry;
    uint64_t at = 0;
    while ((entry = unique_map_next(map, hash, &at)))
        if (entry->key_bytes == key_bytes + 1 && memcmp(unique_map_key(map, entry), key, key_bytes) == 0)
            return entry->mark;
    return 0;
}

static int check_insert(const struct write_row *row, uint64_t before)
{
    struct found_row found = {.found = before == LOG_OP_PUT};
    int result = before ? MOTE_OK : lookup(row->table, row->key, row->key_bytes, NULL, &found);
    if (result || !found.found)
        return result;
    error_set(MOTE_EEXISTS, "row %llu of the write is an insert, and table %s has a row with its key already", (unsigned long long)row->number, row->schema->name);
    error_add_table(row->schema->name);
    return MOTE_EEXISTS;
}

/* The rows count one after the other: an insert may follow the deletion of its key. */
static int check_inserts(const struct write_set *set)
{
    struct unique_map map = {.memory = set->db->memory};
    struct write_walk walk;
    struct write_row row;
    uint8_t key[TABLE_KEY_BYTES];
    if (set->insert_count == 0)
        return MOTE_OK;
    int result = MOTE_OK;
    write_walk_begin(set, &walk);
    while (!result && write_walk_next(&walk, &row)) {
        uint32_t key_bytes = tagged_key(&row, key);
        uint64_t hash = unique_hash(key, key_bytes);
        if (row.insert)
            result = check_insert(&row, kind_before(&map, hash, key, key_bytes));
        if (!result)
            result = unique_map_reserve(&map, 1, key_bytes, 0);
        if (!result)
            unique_map_add(&map, hash, key, key_bytes, row.kind);
    }
    unique_map_free(&map);
    return result;
}

/* ---- Unique indexes ---- */

struct table_walk {
    struct write_walk walk;
    const struct mote_table *table;
    struct write_row row;
};

static bool next_of_table(void *context, struct unique_write *write)
{
    struct table_walk *of = context;
    do {
        if (!write_walk_next(&of->walk, &of->row))
            return false;
    } while (of->row.table != of->table);
    *write = (struct unique_write){.schema = of->row.schema, .image = of->row.image, .key = of->row.key, .key_bytes = of->row.key_bytes};
    return true;
}

static void end_uniques(struct write_set *set, uint64_t first_seq)
{
    for (uint32_t i = set->table_count; i-- > 0;) {
        unique_end(set->tables[i].check, first_seq);
        set->tables[i].check = NULL;
    }
}

static int begin_uniques(struct write_set *set)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < set->table_count && !result; i++) {
        struct write_table *of = &set->tables[i];
        struct table_walk walk = {.table = of->table};
        if (!unique_wanted(of->table))
            continue;
        write_walk_begin(set, &walk.walk);
        result = unique_begin_writes(of->table, (uint32_t)of->row_count, of->key_bytes, next_of_table, &walk, &of->check);
    }
    if (result)
        end_uniques(set, FORGOTTEN);
    return result;
}

/* An index was declared since begin_uniques. */
static bool uniques_missing(const struct write_set *set)
{
    for (uint32_t i = 0; i < set->table_count; i++)
        if (!set->tables[i].check && unique_wanted(set->tables[i].table))
            return true;
    return false;
}

/* ---- Conflicts ---- */

static int refuse_conflict(const struct write_row *row, uint64_t seq, uint64_t snapshot)
{
    error_set(MOTE_ECONFLICT, "a row of table %s that the transaction writes was changed at seq %llu, after its snapshot (seq %llu): nothing was written; begin again", row->schema->name, (unsigned long long)seq,
              (unsigned long long)snapshot);
    error_add_table(row->schema->name);
    return MOTE_ECONFLICT;
}

/* The key's newest version at or below `limit` in the view's memtables; 0: none there. */
static uint64_t newest_in_memory(const struct view *view, const struct write_row *row, uint64_t limit)
{
    const struct get_key key = {row->key, row->key_bytes, limit};
    struct found_row found = {false, 0};
    bool decided = false;
    int result = get_from_memtables(view, row->table->id, &key, NULL, &found, &decided);
    assert(!result); /* without a row to fill it cannot fail */
    (void)result;
    return decided ? found.seq : 0;
}

static bool any_newer(const struct segment_list *list, uint64_t snapshot)
{
    for (uint32_t i = 0; list && i < list->count; i++)
        if (list->segments[i]->record.seq_max > snapshot)
            return true;
    return false;
}

/* Before there is a seq: whatever is there, in memory and in those segments that were written since the snapshot. */
static int check_view(struct commit *commit, const struct view *view, struct reader **reader)
{
    const uint64_t snapshot = commit->terms->snapshot->seq;
    const struct segment_list *list = NULL;
    const struct mote_table *table = NULL;
    struct write_walk walk;
    struct write_row row;
    int result = MOTE_OK;
    bool newer = false;
    write_walk_begin(commit->set, &walk);
    while (!result && write_walk_next(&walk, &row)) {
        if (row.table != table) {
            table = row.table;
            list = version_find(view->version, table->id);
            newer = any_newer(list, snapshot);
        }
        uint64_t seq = newest_in_memory(view, &row, UINT64_MAX);
        if (seq == 0 && newer) {
            const struct get_key key = {row.key, row.key_bytes, UINT64_MAX};
            struct found_row found = {false, snapshot};
            if (!*reader && !(*reader = reader_take(commit->db, false)))
                return MOTE_EBUDGET;
            result = get_look_in_segments(commit->db, *reader, list, atomic_load_explicit(&row.table->schema, memory_order_acquire), &key, NULL, &found);
            seq = found.seq;
        }
        if (!result && seq > snapshot)
            result = refuse_conflict(&row, seq, snapshot);
    }
    return result;
}

static int check_before(struct commit *commit)
{
    struct reader *reader = NULL;
    struct view view;
    if (!commit->terms->snapshot)
        return MOTE_OK;
    commit->checked_seq = atomic_load(&commit->db->visible_seq);
    view_acquire(commit->db, &view);
    int result = check_view(commit, &view, &reader);
    if (reader) {
        reader_rest(reader);
        reader_give(commit->db, reader, false);
    }
    view_release(commit->db, &view);
    return result;
}

/* With the seq: what became visible since check_before. WAL_RETRY: a flush took some of it away from memory. */
static int check_after(struct commit *commit)
{
    const uint64_t before = commit->slot.first_seq - 1;
    struct write_walk walk;
    struct write_row row;
    struct view view;
    if (!commit->terms->snapshot)
        return MOTE_OK;
    visible_wait(commit->db, before);
    if (before == commit->checked_seq)
        return MOTE_OK;
    view_acquire(commit->db, &view);
    int result = view.version->flushed_seq > commit->checked_seq ? WAL_RETRY : MOTE_OK;
    write_walk_begin(commit->set, &walk);
    while (!result && write_walk_next(&walk, &row)) {
        uint64_t seq = newest_in_memory(&view, &row, before);
        if (seq > commit->terms->snapshot->seq)
            result = refuse_conflict(&row, seq, commit->terms->snapshot->seq);
    }
    view_release(commit->db, &view);
    return result;
}

/* ---- The log ---- */

/* All parts but the end, in the generation that was entered: WAL_RETRY where the log has gone on to another; what was written is nothing then. */
static int write_parts(struct commit *commit)
{
    struct wal *wal = commit->db->wal;
    const struct write_set *set = commit->set;
    const uint32_t piece_max = (uint32_t)round_down(wal_payload_bytes_max(wal) - LOG_OP_HEADER_BYTES, 8);
    commit->batch_id = ++commit->db->batch_id;
    commit->part_count = 0;
    for (uint64_t at = 0; at < set->size_bytes; commit->part_count++) {
        uint32_t piece_bytes = set->size_bytes - at < piece_max ? (uint32_t)(set->size_bytes - at) : piece_max;
        struct log_op op = {LOG_OP_PART, 0, commit->part_count, 0, LOG_OP_HEADER_BYTES + piece_bytes, (uint32_t)set->size_bytes, commit->batch_id};
        struct wal_slot slot;
        int result = wal_reserve(wal, op.op_bytes, 0, commit->generation, &slot);
        if (result)
            return result;
        log_op_encode(slot.payload, &op);
        memcpy(slot.payload + LOG_OP_HEADER_BYTES, set->ops + at, piece_bytes);
        wal_publish(wal, &slot, WAL_URGENCY_NONE, 0);
        at += piece_bytes;
    }
    return MOTE_OK;
}

static int reserve_log(struct commit *commit)
{
    struct mote_db *db = commit->db;
    const struct write_set *set = commit->set;
    bool large = set->size_bytes > wal_payload_bytes_max(db->wal);
    int result = MOTE_OK;
    if (large) {
        pthread_mutex_lock(&db->batch_mutex);
        result = write_parts(commit);
    }
    if (!result)
        result = wal_reserve(db->wal, large ? LOG_END_BYTES : (uint32_t)set->size_bytes, (uint32_t)set->row_count, commit->generation, &commit->slot);
    if (large)
        pthread_mutex_unlock(&db->batch_mutex);
    return result == MOTE_EPOISONED ? db_settle(db, result) : result;
}

static void fill_slot(struct commit *commit)
{
    const struct write_set *set = commit->set;
    if (!commit->batch_id) {
        memcpy(commit->slot.payload, set->ops, set->size_bytes);
        return;
    }
    struct log_op op = {LOG_OP_END, 0, commit->part_count, (uint32_t)set->row_count, LOG_END_BYTES, 0, commit->batch_id};
    log_op_encode(commit->slot.payload, &op);
    store_u64(commit->slot.payload + LOG_OP_HEADER_BYTES, set->size_bytes);
}

static void fill_with_nothing(struct commit *commit)
{
    struct log_op op = {LOG_OP_NOTHING, 0, 0, (uint32_t)commit->set->row_count, commit->slot.size_bytes, 0, 0};
    memset(commit->slot.payload, 0, commit->slot.size_bytes);
    log_op_encode(commit->slot.payload, &op);
}

/* ---- Notes (recent.h) ---- */

/* Which tables' rows are noted, and the memtable's room for that; in the generation. */
static uint64_t choose_noted(struct write_set *set)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < set->table_count; i++) {
        struct write_table *of = &set->tables[i];
        of->noted = of->put_count > 0 && recent_wanted(of->table);
        of->note = of->note_total = 0;
        bytes += of->noted ? memtable_note_bytes(of->put_count) : 0;
    }
    return bytes;
}

/* One room holds the notes of all tables; it knows of one at a time, that of the table whose row comes next. */
static void begin_notes(struct commit *commit)
{
    for (uint32_t i = 0; i < commit->set->table_count; i++) {
        struct write_table *of = &commit->set->tables[i];
        if (!of->noted)
            continue;
        memtable_note_begin(of->memtable, &commit->room, (uint32_t)of->put_count);
        of->note = commit->room.note;
        commit->room.note = 0;
    }
}

static void end_notes(struct commit *commit)
{
    for (uint32_t i = 0; i < commit->set->table_count; i++) {
        struct write_table *of = &commit->set->tables[i];
        commit->room.note = of->note;
        of->note_total = memtable_note_end(of->memtable, &commit->room);
        assert(of->noted == (of->note_total != 0));
    }
}

/* The rows are visible. */
static void follow_notes(const struct commit *commit)
{
    for (uint32_t i = 0; i < commit->set->table_count; i++) {
        const struct write_table *of = &commit->set->tables[i];
        if (of->noted)
            recent_follow(of->table, commit->generation, of->memtable, of->note_total, (uint32_t)of->put_count, false);
    }
}

/* ---- One try ---- */

static int take_memory(struct commit *commit)
{
    struct mote_db *db = commit->db;
    struct write_set *set = commit->set;
    commit->generation = generation_enter(db);
    commit->batch_id = 0;
    if (uniques_missing(set)) {
        generation_leave(commit->generation);
        return UNIQUE_AGAIN;
    }
    if (!generation_reserve(db, commit->generation, memtable_room_bytes(set->row_count, set->content_bytes) + choose_noted(set), set->put_count == 0, &commit->room)) {
        generation_leave(commit->generation);
        int result = rotate(db, commit->generation);
        return result ? result : WAL_RETRY;
    }
    for (uint32_t i = 0; i < set->table_count; i++) {
        set->tables[i].memtable = memtable_of_table(commit->generation->memtables, set->tables[i].table->id, true);
        if (set->tables[i].memtable)
            continue;
        memtable_unreserve(commit->generation->memtables, &commit->room);
        generation_leave(commit->generation);
        return error_set(MOTE_EBUDGET, "a memtable holds at most %u tables: raise tables_max", db->options.tables_max);
    }
    return MOTE_OK;
}

static void insert_rows(struct commit *commit)
{
    struct write_walk walk;
    struct write_row row;
    const struct write_table *of = NULL;
    begin_notes(commit);
    write_walk_begin(commit->set, &walk);
    while (write_walk_next(&walk, &row)) {
        if (!of || of->table != row.table)
            of = write_set_table(commit->set, row.table);
        commit->room.note = of->note;
        if (row.image && row.schema->auto_increment)
            table_raise_rowid(row.table, (int64_t)(load_be64(row.key) ^ (1ull << 63)));
        if (row.image && row.schema->has_large)
            blobs_note_image(commit->db, row.schema, row.image, commit->generation);
        memtable_insert(of->memtable, &commit->room, row.schema, row.key, row.key_bytes, commit->slot.first_seq + row.number, row.image ? RECORD_PUT : RECORD_DELETE, row.image, row.image_bytes);
        if (row.image)
            retention_note_row(row.table, row.schema, row.image);
    }
    end_notes(commit);
}

static int try_commit(struct commit *commit)
{
    struct mote_db *db = commit->db;
    int result = take_memory(commit);
    if (result)
        return result;
    result = check_before(commit);
    if (!result)
        result = reserve_log(commit);
    bool reserved = !result;
    if (reserved) {
        result = check_after(commit);
        if (result)
            fill_with_nothing(commit);
        else
            fill_slot(commit);
        wal_publish(db->wal, &commit->slot, result ? WAL_URGENCY_NONE : write_level_urgency(&commit->terms->level), commit->terms->level.period_ms);
    }
    if (!result)
        insert_rows(commit);
    memtable_unreserve(commit->generation->memtables, &commit->room);
    if (reserved) {
        visible_wait(db, commit->slot.first_seq - 1);
        atomic_store_explicit(&db->visible_seq, commit->slot.first_seq - 1 + commit->set->row_count, memory_order_release);
    }
    if (!result)
        follow_notes(commit);
    generation_leave(commit->generation);
    return result;
}

static int commit_locked(struct commit *commit)
{
    struct write_set *set = commit->set;
    int result = commit->terms->snapshot ? MOTE_OK : check_inserts(set);
    if (result)
        return result;
    do {
        uint32_t tries = 0;
        result = begin_uniques(set);
        if (result)
            return result;
        do
            result = try_commit(commit);
        while (result == WAL_RETRY || intake_extend_again(commit->db, result, tries++));
        end_uniques(set, result ? FORGOTTEN : commit->slot.first_seq);
    } while (result == UNIQUE_AGAIN);
    return result;
}

int write_commit(struct write_set *set, const struct commit_terms *terms, uint64_t *ticket)
{
    struct mote_db *db = set->db;
    struct commit commit = {.db = db, .set = set, .terms = terms};
    int result = space_check(db);
    if (!result && set->put_count)
        result = rotate_check_space(db, false);
    for (uint32_t i = 0; i < set->table_count && !result; i++)
        result = table_check(set->tables[i].table);
    if (result)
        return result;
    if (set->row_count == 0) {
        if (ticket)
            *ticket = terms->snapshot ? terms->snapshot->seq : atomic_load(&db->visible_seq);
        return MOTE_OK;
    }
    write_set_sort_tables(set);
    lock_inserts(set);
    result = commit_locked(&commit);
    unlock_inserts(set);
    if (result)
        return result;
    atomic_fetch_add_explicit(&db->counters.rows_appended, set->put_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->counters.rows_deleted, set->row_count - set->put_count, memory_order_relaxed);
    struct intake intake = {.count = (uint32_t)set->row_count, .slot = commit.slot};
    return intake_finish(db, &intake, &terms->level, set->raw_bytes, ticket);
}
