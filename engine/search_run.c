/* search_run.c: what a search looks at (search_private.h): each memtable row by row, each segment as search_segment.c decides; before that, where a rank rests on statistics of the whole table, their survey.
 *
 * Invariants: each version is judged by the same snapshot; the view is the one of the whole search. Rows that cannot be read end the search, sections never do.
 * Memory: the hits; of one segment at a time what its terms hold open, and marks.
 * Threads: the caller's. Failures: MOTE_EIO, MOTE_EDAMAGED (of rows), MOTE_EBUDGET, and what a term's kind returns.
 */
#include "engine/search_private.h"

/* ---- Memtables ---- */

/* Whether the version is the newest of its key that the snapshot sees. */
static int is_newest(struct search *search, const struct record *record, bool *newest)
{
    const struct get_key key = {record->key, record->key_bytes, search->snapshot};
    struct found_row found = {false, 0};
    bool decided = false;
    int result = get_from_memtables(&search->view, search->table->id, &key, NULL, &found, &decided);
    *newest = !result && decided && found.seq == record->seq;
    return result;
}

static int offer_record(struct search *search, const struct record *record, const struct search_source *source)
{
    struct search_rank rank;
    bool matches, newest;
    search->report->memtable_rows++;
    int result = search_match(search, source, false, &rank, &matches);
    const struct search_rank *found = search->ranking ? &rank : &search_no_rank;
    if (result || !matches || !search_list_wants(search->list, found, record->key, record->key_bytes))
        return result;
    result = is_newest(search, record, &newest);
    return result || !newest ? result : search_list_add(search->list, found, 0, record->key, record->key_bytes);
}

static int survey_record(struct search *search, const struct record *record, const struct search_source *source)
{
    struct search_term *term = &search->ranking->term;
    struct mote_value values[ROW_INDEX_COLUMNS_MAX];
    bool newest;
    int result = is_newest(search, record, &newest);
    if (result || !newest)
        return result;
    search->report->surveyed++;
    result = search_values(search, source, term, values);
    return result ? result : term->ops->survey_row(term, values);
}

static int visit_memtables(struct search *search, int (*visit)(struct search *search, const struct record *record, const struct search_source *source))
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->view.generation_count && !result; i++) {
        struct memtable *memtable = memtable_of_table(search->view.generations[i]->memtables, search->table->id, false);
        struct memtable_iterator iterator;
        if (!memtable)
            continue;
        memtable_iterate(memtable, &iterator);
        for (bool on = memtable_first(&iterator); on && !result && !search_has_enough(search); on = memtable_next(&iterator)) {
            struct record record;
            struct search_source source;
            uint32_t image_bytes;
            memtable_record(&iterator, &record, &source.image_schema, &source.image, &image_bytes);
            if (record.kind == RECORD_PUT && record.seq <= search->snapshot)
                result = visit(search, &record, &source);
        }
    }
    return result;
}

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
    int result = visit_memtables(search, survey_record);
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
    int result = search->segments ? prepare_segments(search) : MOTE_OK;
    if (!result)
        result = survey(search);
    if (!result && !search->segments_only)
        result = visit_memtables(search, offer_record);
    for (uint32_t i = search->segments ? search->segments->count : 0; i-- > 0 && !result && !search_has_enough(search);)
        result = search_segment(search, search->segments->segments[i]);
    release_segments(search);
    view_release(db, &search->view);
    search_list_sort(search->list);
    make_scores(search);
    return result;
}
