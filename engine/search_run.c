/* search_run.c: what a search looks at (search_private.h): memtables as search_recent.c does it, each segment as search_segment.c decides; before that, where a rank rests on statistics of the whole table, their survey.
 *
 * Invariants: each version is judged by the same snapshot; the view is the one of the whole search. Rows that cannot be read end the search, sections never do.
 * Memory: the hits; of one segment at a time what its terms hold open, and marks.
 * Threads: the caller's. Failures: MOTE_EIO, MOTE_EDAMAGED (of rows), MOTE_EBUDGET, and what a term's kind returns.
 */
#include "engine/search_private.h"

/* ---- The survey ---- */

static int survey_segment(struct search *search, struct segment *segment)
{
    struct search_part *part = search->ranking;
    const struct segment_record *record = &segment->record;
    if (record->row_count == record->delete_count || record->seq_min > search->snapshot)
        return MOTE_OK;
    search_enter(search, segment);
    int result = search_open_section(search, part);
    if (!result && part->open) {
        result = part->term.ops->survey_section(&part->term, &part->section);
        if (result == MOTE_EIO || result == MOTE_EDAMAGED) {
            search_give_up(search, part);
            result = MOTE_OK;
        }
        if (result || part->open) {
            search_close_section(search, part);
            return result;
        }
    }
    if (!result)
        result = sst_iterator_open(search->iterator, segment, search->schema);
    return result ? result : search_scan_survey(search, &part->term);
}

static int survey(struct search *search)
{
    if (!search->ranking || !search->ranking->term.ops->survey_row)
        return MOTE_OK;
    int result = search_recents_survey(search);
    if (!result && search->own)
        result = search_own_survey(search);
    for (uint32_t i = search->segments ? search->segments->count : 0; i-- > 0 && !result;)
        result = survey_segment(search, search->segments->segments[i]);
    return result;
}

/* ---- All ---- */

static int prepare_segments(struct search *search)
{
    struct mote_db *db = search->table->db;
    search->rivals = memory_alloc(search->memory, (search->segments->count + 1) * sizeof *search->rivals);
    search->reader = search->rivals ? reader_take(db, false) : NULL;
    return search->reader ? sst_iterator_create(&db->sst, search->reader->queue, &search->iterator) : MOTE_EBUDGET;
}

static void release_segments(struct search *search)
{
    if (search->iterator)
        sst_iterator_destroy(search->iterator);
    if (search->reader) {
        reader_rest(search->reader);
        reader_give(search->table->db, search->reader, false);
    }
    memory_free(search->memory, search->rivals);
    memory_free(search->memory, search->marks);
    memory_free(search->memory, search->more_marks);
}

/* Hits tell scores, not ranks. */
static void make_scores(struct search *search)
{
    const struct search_term *term = search->ranking ? &search->ranking->term : NULL;
    for (uint64_t i = 0; i < search->list->count; i++) {
        struct search_hit *hit = &search->list->hits[i];
        hit->value = term && term->ops->score ? term->ops->score(term, hit->value) : 0;
    }
}

int search_run(struct search *search)
{
    struct mote_db *db = search->table->db;
    view_acquire(db, &search->view);
    if (search->segments_only) /* loaded after the view, as by a point read */
        search->snapshot = atomic_load(&db->visible_seq);
    search->segments = version_find(search->view.version, search->table->id);
    int result = search->segments_only ? MOTE_OK : search_recents_begin(search);
    if (!result && search->segments)
        result = prepare_segments(search);
    search_tie_begin(search);
    if (!result)
        result = survey(search);
    if (!result && search->own)
        result = search_own_rows(search);
    if (!result && !search->segments_only)
        result = search_recents(search);
    for (uint32_t i = search->segments ? search->segments->count : 0; i-- > 0 && !result && !search_has_enough(search);)
        result = search_segment(search, search->segments->segments[i]);
    if (!result)
        result = search->list->failure ? search->list->failure : search_list_sort(search->list);
    search_tie_end(search);
    release_segments(search);
    search_recents_end(search);
    view_release(db, &search->view);
    make_scores(search);
    return result;
}
