/* flush.c: one memtable generation into durable segments (lsm.h).
 *
 *   reserve the worst case -> segments of every table (no barrier) -> one FLUSH -> the log durable up to the cut -> one edit with flushed_seq -> readers see segments instead of memtables
 *
 * The edit comes after the log: a segment must never hold rows that a power cut takes from the log, or a later table could be built on rows that never were.
 * A table with windows of time (window.h) is written window by window, a segment or several for each, all in the one edit.
 * A table that is dropped meanwhile (the edit is then refused with MOTE_ENOTABLE) loses its segments, and the edit is made again without it.
 * Up to the edit a failure leaves everything as it was, but for retired extents. After an edit that failed halfway (the manifest is poisoned) the segments' extents stay out of use until reopen: the edit may have become durable.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

/* What is written as one sorted run: a table, or of one with windows a part. */
struct flush_table {
    uint64_t table_id, rows, raw_bytes;
    struct window_part part;
    bool indexed; /* segments may end for the sake of an index */
    const struct schema *schema; /* NULL: dropped */
    struct memtable *memtable;
    uint32_t extents_bound;
    bool unindexed;
    struct lsm_output output;
};

struct flush_work {
    const struct lsm_job_context *job;
    struct lsm_flush *flush;
    struct flush_table *tables;
    uint32_t table_count, table_capacity;
    bool parted, whole; /* some table is written in parts; none may be, since the device has no room for so many segments */
    struct extent_reservation reservation;
    struct lsm_bad bad;
};

/* Bytes of the images (of tombstones: the keys). Where rows may be of any size they are counted; else the bound is exact enough. */
static uint64_t count_raw_bytes(const struct flush_table *table)
{
    const struct schema *schema = table->schema;
    if (!schema->has_var && schema->key_bytes_fixed)
        return table->rows * (schema->fixed_bytes > schema->key_bytes_fixed ? schema->fixed_bytes : schema->key_bytes_fixed);
    uint64_t raw_bytes = 0;
    struct memtable_iterator iterator;
    memtable_iterate(table->memtable, &iterator);
    for (bool found = memtable_first(&iterator); found; found = memtable_next(&iterator)) {
        struct record record;
        const struct schema *image_schema;
        const uint8_t *image;
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &image_schema, &image, &image_bytes);
        raw_bytes += image ? image_bytes : record.key_bytes;
    }
    return raw_bytes;
}

static int add_table(struct flush_work *work, const struct schema *schema, struct memtable *memtable, const struct window_part *part)
{
    if (work->table_count == work->table_capacity) {
        uint32_t capacity = work->table_capacity ? 2 * work->table_capacity : 4;
        struct flush_table *tables = memory_realloc(work->job->sst->memory, work->tables, capacity * sizeof *tables);
        if (!tables)
            return MOTE_EBUDGET;
        work->tables = tables;
        work->table_capacity = capacity;
    }
    struct flush_table *table = &work->tables[work->table_count++];
    *table = (struct flush_table){.table_id = schema->table_id, .rows = part->rows, .raw_bytes = part->raw_bytes, .part = *part, .schema = schema, .memtable = memtable};
    if (part->all)
        table->raw_bytes = count_raw_bytes(table);
    table->indexed = lsm_has_indexes(work->job->manifest, schema->table_id);
    table->extents_bound = lsm_extents_bound(work->job, schema, table->rows, table->raw_bytes);
    return MOTE_OK;
}

static int collect_table(void *context, uint64_t table_id, struct memtable *memtable)
{
    struct flush_work *work = context;
    struct lsm_flush *flush = work->flush;
    struct window_part parts[WINDOW_PARTS_MAX + 1] = {{.all = true, .rows = memtable_count(memtable)}};
    uint32_t part_count = 1;
    const struct schema *schema = flush->find_schema(flush->context, table_id);
    if (!parts[0].rows || !schema || !lsm_table_exists(work->job->manifest, table_id))
        return MOTE_OK;
    struct window_frame windows = {0};
    if (flush->windows && !work->whole)
        windows = flush->windows(flush->context, table_id);
    if (windows.window_ns)
        part_count = window_deal(memtable, schema, &windows, work->job->sst->layout->extent_bytes / 4, parts);
    work->parted = work->parted || part_count > 1;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < part_count && !result; i++)
        result = add_table(work, schema, memtable, &parts[i]);
    return result;
}

/* The worst case of the tables from `first` on; where there is more, also for segments that end for the sake of an index. */
static int reserve(struct flush_work *work, uint32_t first)
{
    uint64_t count = 0, more = 0;
    for (uint32_t i = first; i < work->table_count; i++) {
        const struct flush_table *table = &work->tables[i];
        count += table->extents_bound;
        if (table->schema && table->indexed)
            more += divide_up(table->raw_bytes, MIB_BYTES) * lsm_extents_bound(work->job, table->schema, 0, 0);
    }
    if (more && count + more < UINT32_MAX && extents_reserve(work->job->sst->extents, (uint32_t)(count + more), false, &work->reservation) == MOTE_OK)
        return MOTE_OK;
    return extents_reserve(work->job->sst->extents, count < UINT32_MAX ? (uint32_t)count : UINT32_MAX, true, &work->reservation);
}

static int add_record(struct lsm_output *output, const struct window_part *part, const struct memtable_iterator *iterator)
{
    struct record record;
    const struct schema *image_schema;
    const uint8_t *image;
    uint32_t image_bytes;
    memtable_record(iterator, &record, &image_schema, &image, &image_bytes);
    if (!window_holds(part, output->schema, &record, image_schema, image))
        return MOTE_OK;
    return lsm_output_wants(output, &record) ? lsm_output_add(output, &record, image_schema, image, image_bytes, false) : MOTE_OK;
}

/* The record, or the stretch of records, that the iterator stands on. *passed: so many are done with. */
static int add_some(struct lsm_output *output, const struct window_part *part, const struct memtable_iterator *iterator, uint32_t *passed)
{
    struct record_stretch stretch;
    enum window_share share = memtable_stretch(iterator, &stretch) ? window_holds_stretch(part, output->schema, &stretch) : WINDOW_SOME;
    *passed = 0;
    if (share == WINDOW_NONE)
        *passed = stretch.count;
    int result = share == WINDOW_ALL ? lsm_output_add_stretch(output, &stretch, passed) : MOTE_OK;
    if (result || *passed)
        return result;
    *passed = 1;
    return add_record(output, part, iterator);
}

static int write_once(struct flush_work *work, struct flush_table *table)
{
    struct lsm_output *output = &table->output;
    *output = (struct lsm_output){.job = work->job, .schema = table->schema, .reservation = &work->reservation, .source = BLOCKDEV_SOURCE_FLUSH, .rows_max = table->rows, .raw_bytes_max = table->raw_bytes};
    output->unindexed = table->unindexed;
    for (const struct flush_table *later = table + 1; later < work->tables + work->table_count; later++)
        output->extents_kept += later->extents_bound;
    int result = lsm_output_begin(output);
    struct memtable_iterator iterator;
    memtable_iterate(table->memtable, &iterator);
    for (bool found = memtable_first(&iterator); found && !result;) {
        uint32_t passed;
        result = add_some(output, &table->part, &iterator, &passed);
        found = passed > 1 ? memtable_skip(&iterator, passed) : memtable_next(&iterator);
    }
    return result ? result : lsm_output_finish(output);
}

static int write_tables(struct flush_work *work)
{
    for (uint32_t i = 0; i < work->table_count;) {
        struct lsm_output *output = &work->tables[i].output;
        int result = write_once(work, &work->tables[i]);
        if (!result) {
            i++;
            continue;
        }
        bool lacks_memory = lsm_indexes_lack_memory(output, result);
        work->tables[i].unindexed |= lacks_memory;
        lsm_output_end(output, false);
        if (!lacks_memory && !lsm_retire(work->job, output, result, &work->bad))
            return result;
        /* What the failed attempt took is free again, but no longer reserved. */
        extents_unreserve(work->job->sst->extents, &work->reservation);
        result = reserve(work, i);
        if (result)
            return result;
    }
    return MOTE_OK;
}

static int commit_once(struct flush_work *work)
{
    struct lsm_flush *flush = work->flush;
    struct manifest_edit *edit;
    int result = manifest_edit_begin(work->job->manifest, &edit);
    if (result)
        return result;
    for (uint32_t i = 0; i < work->table_count; i++) {
        const struct flush_table *table = &work->tables[i];
        if (!table->schema)
            continue;
        lsm_add_segments(edit, &table->output);
        int64_t next_rowid = flush->next_rowid ? flush->next_rowid(flush->context, table->table_id) : 0;
        if (next_rowid)
            manifest_edit_set_rowid(edit, table->table_id, next_rowid);
        if (flush->add_watermark)
            flush->add_watermark(flush->context, table->table_id, edit);
    }
    lsm_add_bad(edit, &work->bad);
    manifest_edit_set_flushed_seq(edit, flush->cut_seq);
    return manifest_commit(edit, flush->installed, flush->context);
}

/* Lets go of tables that the manifest has no more; whether there were any. */
static bool forget_dropped(struct flush_work *work)
{
    bool any = false;
    for (uint32_t i = 0; i < work->table_count; i++) {
        struct flush_table *table = &work->tables[i];
        if (!table->schema || lsm_table_exists(work->job->manifest, table->table_id))
            continue;
        lsm_output_end(&table->output, false);
        table->schema = NULL;
        any = true;
    }
    return any;
}

/* Sections that the manifest refuses must not hold the rows up. */
static bool give_up_sections(struct flush_work *work, int result)
{
    bool any = false;
    for (uint32_t i = 0; result && i < work->table_count; i++)
        if (work->tables[i].schema)
            any = lsm_indexes_give_up(&work->tables[i].output, result) || any;
    return any;
}

static int commit(struct flush_work *work)
{
    struct lsm_flush *flush = work->flush;
    bool written = false;
    for (uint32_t i = 0; i < work->table_count; i++)
        written |= work->tables[i].output.record_count > 0;
    int result = written ? blockdev_flush(work->job->queue) : MOTE_OK;
    if (!result && flush->wait_durable)
        result = flush->wait_durable(flush->context, flush->cut_seq);
    if (result)
        return result;
    do
        result = commit_once(work);
    while ((result == MOTE_ENOTABLE && forget_dropped(work)) || give_up_sections(work, result));
    return result;
}

int lsm_flush_generation(const struct lsm_job_context *job, struct lsm_flush *flush)
{
    assert(job->sst && job->manifest && job->queue && flush->generation && flush->find_schema);
    struct flush_work work = {.job = job, .flush = flush};
    int result = memtable_visit(flush->generation, collect_table, &work);
    if (!result)
        result = reserve(&work, 0);
    if (result == MOTE_ENOSPC && work.parted) {
        work.whole = true;
        work.table_count = 0;
        result = memtable_visit(flush->generation, collect_table, &work);
        if (!result)
            result = reserve(&work, 0);
    }
    if (!result)
        result = write_tables(&work);
    if (!result)
        result = commit(&work);
    extents_unreserve(job->sst->extents, &work.reservation);
    flush->segments_written = flush->rows_written = flush->bytes_written = 0;
    /* After a commit that failed halfway the edit may be durable: its extents must not be written again. */
    bool keep = !result || manifest_poisoned(job->manifest, NULL);
    for (uint32_t i = 0; i < work.table_count; i++) {
        struct lsm_output *output = &work.tables[i].output;
        if (!output->job)
            continue;
        flush->segments_written += result ? 0 : output->record_count;
        flush->rows_written += result ? 0 : output->rows_written;
        flush->bytes_written += result ? 0 : output->bytes_written;
        lsm_output_end(output, keep);
    }
    memory_free(job->sst->memory, work.tables);
    return result;
}
