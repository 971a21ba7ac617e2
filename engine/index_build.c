/* index_build.c: sections of declared indexes from the rows of segments: of indexes that were declared when the table held rows already, that a flush had no memory or space for, or whose section failed a check. One section, one edit.
 *
 * Invariant: compact_mutex is held from looking at the segments to the edit, so that no compaction replaces them meanwhile (what takes longer: index_steps.c); a table or an index that is dropped meanwhile refuses the edit, which then is nobody's loss.
 * Threads: any. Failures: those of reading and writing a segment; what was built before one stays.
 */
#include "engine/engine_private.h"

#define RETRY_COUNT 4u

void indexes_want(struct mote_db *db)
{
    pthread_mutex_lock(&db->job_mutex);
    db->index_wanted = true;
    pthread_cond_broadcast(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
}

int index_commit_section(struct mote_db *db, struct blockdev_queue *queue, const struct index_section *section)
{
    struct manifest_edit *edit;
    int result = blockdev_flush(queue);
    if (!result)
        result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        manifest_edit_set_section(edit, section);
        result = manifest_commit(edit, NULL, NULL);
    }
    /* A refused edit is not on the device; a failed one may be: its extents stay out of use until the next open. */
    if (result && !manifest_poisoned(db->manifest, NULL))
        extents_release_unused(db->extents, section->section.run);
    return result == MOTE_ENOTFOUND ? MOTE_OK : result; /* dropped meanwhile */
}

static int build_section(struct mote_db *db, const struct manifest_index *index, struct segment *segment, const struct schema *schema)
{
    struct sst_index_feed feed = {.ops = sst_index_ops(&db->sst, index->kind), .column_count = index->column_count, .manifest = db->manifest};
    struct index_section section = {.segment_id = segment->record.id, .index_id = index->id};
    index_columns(schema, index, feed.columns);
    int result = MOTE_EIO;
    /* Each attempt that fails to write retires an extent. */
    for (uint32_t i = 0; i < RETRY_COUNT && result == MOTE_EIO; i++)
        result = sst_index_build(&db->sst, db->compact_queue, segment, schema, index->options, index->options_bytes, &feed, manifest_take_section_id(db->manifest), &section.section);
    return result ? result : index_commit_section(db, db->compact_queue, &section);
}

bool index_is_wanted(const struct segment *segment, uint64_t index_id, const struct index_build *build)
{
    const struct segment_index *section = segment_find_index(segment, index_id);
    return !section || atomic_load(&section->unusable) || (build->everything && section->section.section_id < build->first_section_id);
}

static int build_index(struct mote_db *db, const struct version *version, const struct manifest_index *index, struct index_build *build)
{
    const struct row_index_ops *ops = sst_index_ops(&db->sst, index->kind);
    const struct segment_list *list = ops && !ops->steps ? version_find(version, index->table_id) : NULL;
    const struct schema *schema = list ? catalog_live_schema(db, index->table_id) : NULL;
    int result = MOTE_OK;
    for (uint32_t i = 0; schema && i < list->count && !result && (!build->section_max || build->built < build->section_max); i++) {
        if (!index_is_wanted(list->segments[i], index->id, build))
            continue;
        result = build_section(db, index, list->segments[i], schema);
        build->built += result == MOTE_OK;
    }
    return result;
}

static int build_locked(struct mote_db *db, struct index_build *build)
{
    struct manifest_index *indexes = memory_alloc(db->memory, MANIFEST_INDEXES_MAX * sizeof *indexes);
    int result = indexes ? MOTE_OK : MOTE_EBUDGET;
    if (result)
        return result;
    build->first_section_id = manifest_take_section_id(db->manifest);
    pthread_mutex_lock(&db->index_mutex);
    uint32_t count = db->index_count;
    memcpy(indexes, db->indexes, count * sizeof *indexes);
    pthread_mutex_unlock(&db->index_mutex);
    for (uint32_t i = 0; i < count && !result; i++) {
        bool wanted = (!build->table_id || build->table_id == indexes[i].table_id) && (!build->index_id || build->index_id == indexes[i].id);
        /* A version for each index: what was built for the one before has replaced segments. */
        for (bool again = wanted; again;) {
            uint32_t before = build->built;
            struct version *version = version_acquire(db->manifest);
            result = build_index(db, version, &indexes[i], build);
            version_release(db->manifest, version);
            /* What was replaced is free only now that nothing holds it. */
            again = result == MOTE_ENOSPC && build->built > before && trim_some(db, db->compact_queue) > 0;
        }
    }
    memory_free(db->memory, indexes);
    return result;
}

int indexes_build(struct mote_db *db, struct index_build *build)
{
    if (!indexes_any(db))
        return MOTE_OK;
    pthread_mutex_lock(&db->compact_mutex);
    int result = build_locked(db, build);
    pthread_mutex_unlock(&db->compact_mutex);
    return result ? result : index_steps_build(db, build);
}

/* The same again at the worker's next turn; no other worker is woken for it. */
static void want_more(struct mote_db *db)
{
    pthread_mutex_lock(&db->job_mutex);
    db->index_wanted = true;
    pthread_mutex_unlock(&db->job_mutex);
}

bool indexes_build_some(struct mote_db *db)
{
    struct index_build build = {.section_max = 1};
    if (!jobs_take_wish(db, &db->index_wanted))
        return false;
    bool busy = pthread_mutex_trylock(&db->compact_mutex) != 0;
    int result = busy ? MOTE_OK : build_locked(db, &build);
    if (!busy)
        pthread_mutex_unlock(&db->compact_mutex);
    if (result == MOTE_EIO || result == MOTE_ENODEV)
        db_settle(db, result);
    bool did = !result && build.built, again = did || busy;
    if (!result && !did)
        did = index_steps_some(db, &again);
    /* After a failure the next flush, checkpoint or open tries again. */
    if (again || busy)
        want_more(db);
    return did;
}
