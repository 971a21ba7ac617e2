/* stats.c: figures of an open volume, gathered from the parts that own them; nothing here counts by itself. */
#include <string.h>

#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/retention.h"

static const char *barrier_name(uint32_t barrier)
{
    static const char *const names[] = {"auto", "flush", "fua", "none"};
    return barrier < sizeof names / sizeof names[0] ? names[barrier] : "?";
}

static void copy_text(char *to, size_t room, const char *from)
{
    size_t length = strnlen(from, room - 1);
    memcpy(to, from, length);
    to[length] = 0;
}

static uint64_t table_pending(struct mote_db *db, uint64_t table_id)
{
    struct view view;
    uint64_t pending = 0;
    view_acquire(db, &view);
    for (uint32_t i = 0; i < view.generation_count; i++) {
        struct memtable *memtable = memtable_of_table(view.generations[i]->memtables, table_id, false);
        pending += memtable ? memtable_count(memtable) : 0;
    }
    view_release(db, &view);
    return pending;
}

static uint64_t all_pending(struct mote_db *db)
{
    uint64_t pending = 0;
    for (uint32_t i = 0; i < __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE); i++) {
        if (!atomic_load(&db->tables[i].dropped))
            pending += table_pending(db, db->tables[i].id);
    }
    return pending;
}

int mote_pending_updates(mote_db *db, const char *name, uint64_t *count)
{
    mote_table *table = NULL;
    int result = db_check(db);
    if (!result && !count)
        result = error_set(MOTE_EINVAL, "count is NULL");
    if (!result && name)
        result = mote_table_open(db, name, &table);
    if (!result)
        *count = table ? table_pending(db, table->id) : all_pending(db);
    return result;
}

/* 0 where the handle cannot be used: nothing is durable by it. */
uint64_t mote_durable_seq(const mote_db *db) { return db_check(db) ? 0 : db->read_only ? atomic_load(&db->visible_seq) : wal_durable_seq(db->wal); }
uint64_t mote_durable_lsn(const mote_db *db) { return db_check(db) ? 0 : db->read_only ? atomic_load(&db->head_lsn) : wal_durable_lsn(db->wal); }
uint64_t mote_visible_seq(const mote_db *db) { return db_check(db) ? 0 : atomic_load(&db->visible_seq); }

int mote_durable_eventfd(mote_db *db)
{
    int result = db_check_writable(db);
    return result ? result : wal_eventfd(db->wal);
}

int mote_table_describe(mote_table *table, struct mote_table_info *out)
{
    int result = table_check(table);
    if (result)
        return result;
    if (!out || out->size_bytes < sizeof *out)
        return error_set(MOTE_EINVAL, "info is NULL or its size_bytes is not set");
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load(&table->schema);
    *out = (struct mote_table_info){
        .size_bytes = sizeof *out,
        .id = table->id,
        .schema_version = schema->version,
        .column_count = schema->column_count,
        .key_column_count = schema->key_column_count,
        .flags = schema->flags,
        .time_column = schema->time_column,
        .time_min = INT64_MAX,
        .time_max = INT64_MIN,
        .pending_updates = table_pending(db, table->id),
    };
    copy_text(out->name, sizeof out->name, schema->name);
    memcpy(out->key_columns, schema->key_columns, sizeof out->key_columns);
    struct version *version = version_acquire(db->manifest);
    const struct segment_list *list = version_find(version, table->id);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        out->segment_count++;
        out->segment_rows += record->row_count;
        for (uint32_t r = 0; r < record->extent_run_count; r++)
            out->segment_bytes += record->runs[r].count * db->superblock.layout.extent_bytes;
        if (record->time_min <= record->time_max) {
            out->time_min = record->time_min < out->time_min ? record->time_min : out->time_min;
            out->time_max = record->time_max > out->time_max ? record->time_max : out->time_max;
        }
    }
    version_release(db->manifest, version);
    return MOTE_OK;
}

static void add_device(struct mote_db *db, struct mote_stats *stats)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    struct blockdev_counters counters;
    struct extents_counts extents;
    blockdev_get_counters(db->device, &counters);
    extents_get_counts(db->extents, &extents);
    copy_text(stats->backend, sizeof stats->backend, blockdev_backend(db->device));
    copy_text(stats->barrier, sizeof stats->barrier, barrier_name(db->options.barrier));
    copy_text(stats->device, sizeof stats->device, blockdev_path(db->device));
    copy_text(stats->model, sizeof stats->model, geometry->model);
    memcpy(stats->uuid, db->superblock.uuid, sizeof stats->uuid);
    stats->device_bytes = __atomic_load_n(&geometry->size_bytes, __ATOMIC_RELAXED); /* mote_grow reads it anew */
    stats->extent_bytes = db->superblock.layout.extent_bytes;
    stats->extents_total = extents.total;
    stats->extents_free = extents.free;
    stats->extents_bad = extents.bad;
    stats->bytes_wal = counters.written_bytes[BLOCKDEV_SOURCE_WAL];
    stats->bytes_flush = counters.written_bytes[BLOCKDEV_SOURCE_FLUSH];
    stats->bytes_compaction = counters.written_bytes[BLOCKDEV_SOURCE_COMPACTION];
    stats->bytes_index = counters.written_bytes[BLOCKDEV_SOURCE_INDEX];
    stats->bytes_manifest = counters.written_bytes[BLOCKDEV_SOURCE_MANIFEST];
    stats->bytes_superblock = counters.written_bytes[BLOCKDEV_SOURCE_SUPERBLOCK];
    stats->bytes_blob = counters.written_bytes[BLOCKDEV_SOURCE_BLOB];
    blobs_count(db, &stats->blob_files, &stats->blob_bytes);
    stats->bytes_other = counters.written_bytes[BLOCKDEV_SOURCE_OTHER];
    stats->bytes_trimmed = counters.discarded_bytes;
    stats->bytes_read = counters.read_bytes;
    stats->opens = db->superblock.opens;
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        stats->lifetime_bytes_written += db->superblock.lifetime_written_bytes[i] + counters.written_bytes[i] - db->wear.before.written_bytes[i];
}

static void add_log(struct mote_db *db, struct mote_stats *stats)
{
    struct wal_counters wal;
    stats->head_lsn = atomic_load(&db->head_lsn);
    if (db->read_only) {
        stats->tail_lsn = stats->durable_lsn = atomic_load(&db->mapped_end_lsn);
        stats->log_bytes_in_use = stats->tail_lsn > stats->head_lsn ? stats->tail_lsn - stats->head_lsn : 0;
        return;
    }
    wal_get_counters(db->wal, &wal);
    stats->durable_lsn = wal_durable_lsn(db->wal);
    stats->tail_lsn = wal_tail_lsn(db->wal);
    stats->log_bytes_in_use = stats->tail_lsn > stats->head_lsn ? stats->tail_lsn - stats->head_lsn : 0;
    stats->commits = wal.frames;
    stats->barriers = wal.barriers;
    stats->writer_stalls = wal.writer_stalls + atomic_load(&db->counters.stalls);
    stats->writer_stall_ns = wal.writer_stall_ns + atomic_load(&db->counters.stall_ns);
    stats->commit_ns_p50 = wal.commit_ns_p50;
    stats->commit_ns_p99 = wal.commit_ns_p99;
    stats->commit_ns_p999 = wal.commit_ns_p999;
    stats->commit_ns_max = wal.commit_ns_max;
    stats->rings_registered = wal.registered;
}

static void add_manifest(struct mote_db *db, struct mote_stats *stats)
{
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    stats->segment_count = state->segment_count;
    stats->manifest_edits = state->sequence;
    stats->lost_range_count = state->lost_range_count;
    for (uint32_t i = 0; i < state->lost_range_count; i++) {
        const struct manifest_lost_range *lost = &state->lost_ranges[i];
        if (lost->seq_to != UINT64_MAX && lost->seq_to >= lost->seq_from)
            stats->lost_rows_at_least += lost->seq_to - lost->seq_from + 1;
    }
    manifest_unlock(db->manifest);
}

int mote_get_stats(mote_db *db, struct mote_stats *out)
{
    int result = db_check(db);
    if (result)
        return result;
    if (!out || out->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "stats is NULL or its size_bytes is not set");
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct cache_counters cache;
    add_device(db, &stats);
    add_log(db, &stats);
    add_manifest(db, &stats);
    cache_get_counters(db->cache, &cache);
    stats.cache_hits = cache.hits;
    stats.cache_misses = cache.misses;
    stats.memory_budget_bytes = memory_budget_bytes(db->memory);
    stats.memory_used_bytes = memory_used_bytes(db->memory);
    stats.visible_seq = atomic_load(&db->visible_seq);
    stats.durable_seq = mote_durable_seq(db);
    stats.flushed_seq = atomic_load(&db->flushed_seq);
    stats.pending_updates = all_pending(db);
    stats.rows_appended = atomic_load(&db->counters.rows_appended);
    stats.rows_deleted = atomic_load(&db->counters.rows_deleted);
    stats.batches = atomic_load(&db->counters.batches);
    stats.bytes_appended = atomic_load(&db->counters.bytes_appended);
    stats.transactions = atomic_load(&db->counters.transactions);
    stats.transaction_conflicts = atomic_load(&db->counters.conflicts);
    stats.flushes = atomic_load(&db->counters.flushes);
    stats.compactions = atomic_load(&db->counters.compactions);
    stats.checkpoints = atomic_load(&db->counters.checkpoints);
    stats.recovery_ns = db->recovery_ns;
    stats.recovered_rows = db->recovered_rows;
    stats.recovered_log_bytes = db->recovered_log_bytes;
    stats.clean_open = db->clean_open;
    stats.poisoned = atomic_load(&db->poisoned);
    producers_add_stats(db, &stats);
    snapshots_add_stats(db, &stats);
    retention_add_stats(db, &stats);
    size_t wanted = out->size_bytes;
    memcpy(out, &stats, wanted < sizeof stats ? wanted : sizeof stats);
    out->size_bytes = wanted;
    return MOTE_OK;
}
