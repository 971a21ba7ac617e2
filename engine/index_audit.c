/* index_audit.c: the sections of a segment's indexes, checked page by page and then held against the segment's rows: each row version that a kind indexes is in its section exactly once, with what the row has, and nothing else is.
 *
 * Both sides are streamed into tallies (blockdev/section_tally.h); where they differ, both are read again for fewer and fewer rows, until one row is left that can be named.
 * Memory: two tallies, a block of rows, what a search of a section takes. Threads: one. Failures: MOTE_EBUDGET, and those of rows that cannot be read, which end the comparison: sst_verify has told of them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "blockdev/section_tally.h"
#include "engine/engine_private.h"

struct audit {
    struct mote_db *db;
    struct segment *segment;
    const struct schema *schema;
    struct section_tally *section, *rows;
    uint64_t row_first, row_end; /* what is looked at */
    bool rows_failed;            /* they cannot be read */
};

/* One index, the timestamp index or a declared one: who tells its entries, and how it is called. */
struct subject {
    char name[MOTE_NAME_BYTES_MAX + 16]; /* "index near", "the timestamp index" */
    const char *entry;
    int (*tally_section)(struct audit *audit, const struct subject *subject);
    int (*tally_rows)(struct audit *audit, const struct subject *subject);
    const struct manifest_index *definition;
    const struct row_index_ops *ops;
    const struct segment_section *place;
};

/* ---- Declared indexes ---- */

static int tally_index(struct audit *audit, const struct subject *subject)
{
    struct mote_db *db = audit->db;
    struct sst_index_section at;
    sst_index_open(&db->sst, db->queue, audit->segment, subject->place, subject->ops->kind, &at);
    return subject->ops->audit->tally_section(subject->definition->options, subject->definition->options_bytes, &at.identity, &at.root, &at.source, db->memory, audit->section);
}

static int tally_blocks(struct audit *audit, const struct subject *subject, struct sst_iterator *iterator, struct row_audit *row_audit)
{
    uint32_t positions[ROW_INDEX_COLUMNS_MAX], ordinal = 0, count = subject->definition->column_count;
    index_columns(audit->schema, subject->definition, positions);
    int moved = sst_first(iterator);
    for (; moved > 0 && ordinal < audit->row_end; moved = sst_next_block(iterator)) {
        struct codec_vector columns[ROW_INDEX_COLUMNS_MAX];
        uint32_t rows = sst_block_row_count(iterator);
        const uint8_t *deleted;
        bool wanted = ordinal + (uint64_t)rows > audit->row_first;
        int result = wanted ? sst_block_deleted(iterator, &deleted) : MOTE_OK;
        for (uint32_t i = 0; i < count && wanted && !result; i++)
            result = sst_block_column(iterator, positions[i], &columns[i]);
        if (result)
            return result;
        if (wanted)
            result = subject->ops->audit->tally_rows(row_audit, ordinal, columns, count, deleted, audit->rows);
        if (result)
            return result;
        ordinal += rows;
    }
    return moved < 0 ? moved : MOTE_OK;
}

static int tally_columns(struct audit *audit, const struct subject *subject)
{
    struct mote_db *db = audit->db;
    struct row_audit *row_audit = NULL;
    struct sst_iterator *iterator;
    int result = sst_iterator_create(&db->sst, db->queue, &iterator);
    if (result)
        return result;
    result = subject->ops->audit->create(db->memory, subject->definition->options, subject->definition->options_bytes, &row_audit);
    if (!result)
        result = sst_iterator_open(iterator, audit->segment, audit->schema);
    if (!result)
        result = tally_blocks(audit, subject, iterator, row_audit);
    subject->ops->audit->destroy(row_audit);
    sst_iterator_destroy(iterator);
    return result;
}

/* ---- The timestamp index ---- */

static void tally_time(struct section_tally *tally, uint64_t ordinal, int64_t time_ns)
{
    struct section_entry entry = section_entry_of((uint32_t)ordinal);
    section_entry_add_number(&entry, (uint64_t)time_ns);
    section_tally_add(tally, &entry);
}

static int take_times(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tally_time(context, ordinals[i], times_ns[i]);
    return MOTE_OK;
}

static int tally_timestamps(struct audit *audit, const struct subject *subject)
{
    (void)subject;
    return sst_timestamp_search(&audit->db->sst, audit->db->queue, audit->segment, INT64_MIN, INT64_MAX, take_times, audit->section);
}

/* Tombstones with a time are in the index too. */
static int tally_times(struct audit *audit, const struct subject *subject)
{
    struct sst_iterator *iterator;
    uint64_t ordinal = 0;
    (void)subject;
    int result = sst_iterator_create(&audit->db->sst, audit->db->queue, &iterator);
    if (result)
        return result;
    result = sst_iterator_open(iterator, audit->segment, audit->schema);
    int on_record = result ? result : sst_first(iterator);
    for (; on_record > 0 && !result; on_record = sst_next(iterator), ordinal++) {
        int64_t time_ns;
        bool has_time;
        result = sst_time(iterator, &time_ns, &has_time);
        if (!result && has_time)
            tally_time(audit->rows, ordinal, time_ns);
    }
    sst_iterator_destroy(iterator);
    return result ? result : on_record < 0 ? on_record : MOTE_OK;
}

/* ---- Both sides ---- */

static int tally_both(struct audit *audit, const struct subject *subject, uint32_t *bucket)
{
    section_tally_begin(audit->section, audit->row_first, audit->row_end);
    section_tally_begin(audit->rows, audit->row_first, audit->row_end);
    int result = subject->tally_rows(audit, subject);
    if (result) {
        audit->rows_failed = true;
        return result;
    }
    result = subject->tally_section(audit, subject);
    *bucket = result ? 0 : section_tally_compare(audit->section, audit->rows);
    return result;
}

static int tell(const struct audit *audit, const struct subject *subject, uint32_t bucket)
{
    const struct section_tally_bucket *section = &audit->section->buckets[bucket], *rows = &audit->rows->buckets[bucket];
    const char *of_which = section->count < rows->count ? "fewer" : "more";
    uint64_t id = audit->segment->record.id, row = audit->row_first + bucket;
    if (rows->count == 0)
        return error_set(MOTE_EDAMAGED, "%s disagrees with segment %" PRIu64 ": it holds a %s of row %" PRIu64 ", which has none; rebuild the index", subject->name, id, subject->entry, row);
    if (section->count == 0)
        return error_set(MOTE_EDAMAGED, "%s disagrees with segment %" PRIu64 ": it lacks the %s of row %" PRIu64 "; rebuild the index", subject->name, id, subject->entry, row);
    if (section->count != rows->count)
        return error_set(MOTE_EDAMAGED, "%s disagrees with segment %" PRIu64 ": it holds %s entries of row %" PRIu64 " than the row has (%" PRIu64 ", not %" PRIu64 "); rebuild the index", subject->name, id, of_which, row, section->count,
                         rows->count);
    return error_set(MOTE_EDAMAGED, "%s disagrees with segment %" PRIu64 ": it holds another %s of row %" PRIu64 " than the row has; rebuild the index", subject->name, id, subject->entry, row);
}

/* MOTE_EDAMAGED with a sentence where they differ. */
static int compare(struct audit *audit, const struct subject *subject)
{
    uint32_t bucket;
    audit->row_first = 0;
    audit->row_end = audit->segment->record.row_count;
    audit->rows_failed = false;
    for (;;) {
        int result = tally_both(audit, subject, &bucket);
        if (result || bucket == SECTION_TALLY_BUCKETS)
            return result;
        uint64_t bucket_rows = audit->rows->bucket_rows;
        if (bucket_rows == 1)
            return tell(audit, subject, bucket);
        audit->row_first += bucket * bucket_rows;
        audit->row_end = audit->row_first + bucket_rows < audit->row_end ? audit->row_first + bucket_rows : audit->row_end;
    }
}

static int compare_timestamps(struct audit *audit)
{
    const struct subject subject = {.name = "the timestamp index", .entry = "time", .tally_section = tally_timestamps, .tally_rows = tally_times};
    return audit->schema->time_column < 0 ? MOTE_OK : compare(audit, &subject);
}

static bool find_definition(struct mote_db *db, uint64_t index_id, struct manifest_index *definition)
{
    bool found = false;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count && !found; i++) {
        found = db->indexes[i].id == index_id;
        if (found)
            *definition = db->indexes[i];
    }
    pthread_mutex_unlock(&db->index_mutex);
    return found;
}

static int check_index(struct audit *audit, const struct segment_index *section)
{
    struct mote_db *db = audit->db;
    struct manifest_index definition;
    const struct row_index_ops *ops = find_definition(db, section->index_id, &definition) ? sst_index_ops(&db->sst, definition.kind) : NULL;
    if (!ops)
        return MOTE_OK;
    struct subject subject = {.entry = ops->audit->entry, .tally_section = tally_index, .tally_rows = tally_columns, .definition = &definition, .ops = ops, .place = &section->section};
    snprintf(subject.name, sizeof subject.name, "index %s", definition.name);
    int result = sst_index_verify(&db->sst, db->queue, audit->segment, &section->section, ops);
    return result ? result : compare(audit, &subject);
}

static bool is_fault(int result) { return result == MOTE_EDAMAGED || result == MOTE_EIO; }

static int begin(struct audit *audit)
{
    struct memory *memory = audit->db->memory;
    audit->section = memory_alloc(memory, sizeof *audit->section);
    audit->rows = memory_alloc(memory, sizeof *audit->rows);
    return audit->section && audit->rows ? MOTE_OK : MOTE_EBUDGET;
}

static void end(struct audit *audit)
{
    memory_free(audit->db->memory, audit->section);
    memory_free(audit->db->memory, audit->rows);
}

/* What it returned, after a fault was told of: rows that cannot be read are none of the section's. */
static int settle(struct audit *audit, int result, _Atomic uint32_t *unusable, void (*report)(void *context), void *context)
{
    if (!is_fault(result))
        return result;
    if (audit->rows_failed)
        return MOTE_OK;
    atomic_store(unusable, 1);
    error_add_table(audit->schema->name);
    report(context);
    return MOTE_OK;
}

int indexes_verify(struct mote_db *db, struct segment *segment, const struct schema *schema, void (*report)(void *context), void *context)
{
    struct audit audit = {.db = db, .segment = segment, .schema = schema};
    int result = begin(&audit);
    /* A timestamp section that is damaged in itself was told of by sst_verify. */
    if (!result && !atomic_load(&segment->timestamp_unusable))
        result = settle(&audit, compare_timestamps(&audit), &segment->timestamp_unusable, report, context);
    for (uint32_t i = 0; i < segment->index_count && !result; i++) {
        audit.rows_failed = false;
        result = settle(&audit, check_index(&audit, &segment->indexes[i]), &segment->indexes[i].unusable, report, context);
    }
    end(&audit);
    return result;
}

int engine_check_timestamp_index(struct mote_db *db)
{
    int result = MOTE_OK;
    struct version *version = version_acquire(db->manifest);
    for (uint32_t t = 0; t < version->count && !result; t++) {
        const struct segment_list *list = version->lists[t];
        const struct schema *schema = catalog_live_schema(db, list->table_id);
        for (uint32_t s = 0; schema && s < list->count && !result; s++) {
            struct audit audit = {.db = db, .segment = list->segments[s], .schema = schema};
            result = begin(&audit);
            if (!result)
                result = compare_timestamps(&audit);
            end(&audit);
        }
    }
    version_release(db->manifest, version);
    if (result)
        error_add_device(blockdev_path(db->device), 0, 0);
    return result;
}
