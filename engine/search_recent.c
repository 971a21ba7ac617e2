/* search_recent.c: the rows of memtables (search_private.h): those that are indexed in memory batch by batch, through the sections of each (recent.h), the others one by one.
 *
 * Invariants: what is seen of each memtable is fixed when the search begins, so that the survey and the search itself look at the same rows. A row counts if it is the newest of its key, in a batch or not.
 * Memory: of each memtable what its view takes. Threads: the searching one. Failures: MOTE_EBUDGET, and what a term's kind returns.
 */
#include "engine/search_private.h"

typedef int visit_row(struct search *search, const struct record *record, const struct search_source *source);

int search_recents_begin(struct search *search)
{
    struct view *view = &search->view;
    search->recents = memory_alloc(search->memory, (view->generation_count + 1) * sizeof *search->recents);
    if (!search->recents)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < view->generation_count; i++)
        recent_pin(search->table, view->generations[i], memtable_of_table(view->generations[i]->memtables, search->table->id, false), &search->recents[i]);
    return MOTE_OK;
}

void search_recents_end(struct search *search)
{
    for (uint32_t i = 0; search->recents && i < search->view.generation_count; i++)
        recent_unpin(search->table, &search->recents[i]);
    memory_free(search->memory, search->recents);
    search->recents = NULL;
}

/* ---- One row ---- */

int search_newest_in_memtables(struct search *search, const struct record *record, bool *newest)
{
    const struct get_key key = {record->key, record->key_bytes, search->snapshot};
    struct found_row found = {false, 0};
    bool decided = false, mine = false;
    *newest = false;
    int result = search->own ? search_own_find(search->own, search->table->id, record->key, record->key_bytes, NULL, &mine, &(bool){false}) : MOTE_OK;
    if (result || mine)
        return result;
    result = get_from_memtables(&search->view, search->table->id, &key, NULL, &found, &decided);
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
    result = search_newest_in_memtables(search, record, &newest);
    return result || !newest ? result : search_list_add(search->list, found, 0, record->key, record->key_bytes);
}

static int survey_record(struct search *search, const struct record *record, const struct search_source *source)
{
    struct search_term *term = &search->ranking->term;
    struct mote_value values[ROW_INDEX_COLUMNS_MAX];
    bool newest;
    int result = search_newest_in_memtables(search, record, &newest);
    if (result || !newest)
        return result;
    search->report->surveyed++;
    result = search_values(search, source, term, values);
    return result ? result : term->ops->survey_row(term, values);
}

int search_recent_offer(struct search *search, uint32_t ordinal, const struct search_rank *rank, bool *unwanted)
{
    struct search_source source = {0};
    struct search_rank made;
    struct record record;
    uint32_t image_bytes;
    bool matches, newest;
    search->report->memtable_rows++;
    if (ordinal >= search->row_count)
        return error_set(MOTE_EDAMAGED, "an index in memory names a row that its batch does not have");
    memtable_ref_record(search->batch->memtable, search->batch->rows[ordinal], &record, &source.image_schema, &source.image, &image_bytes);
    if (rank && unwanted)
        *unwanted = !search_list_wants(search->list, rank, record.key, record.key_bytes);
    if (record.seq > search->snapshot || (rank && unwanted && *unwanted))
        return MOTE_OK;
    int result = search_match(search, &source, rank != NULL, &made, &matches);
    if (result || !matches)
        return result;
    const struct search_rank *found = rank ? rank : search->ranking ? &made : &search_no_rank;
    if (!search_list_wants(search->list, found, record.key, record.key_bytes))
        return MOTE_OK;
    result = search_newest_in_memtables(search, &record, &newest);
    return result || !newest ? result : search_list_add(search->list, found, search->unit_id, record.key, record.key_bytes);
}

/* ---- Many rows ---- */

static int visit_memtable(struct search *search, struct memtable *memtable, visit_row *visit)
{
    struct memtable_iterator iterator;
    int result = MOTE_OK;
    memtable_iterate(memtable, &iterator);
    for (bool on = memtable_first(&iterator); on && !result && !search_has_enough(search); on = memtable_next(&iterator)) {
        struct record record;
        struct search_source source = {0};
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &source.image_schema, &source.image, &image_bytes);
        if (record.kind == RECORD_PUT && record.seq <= search->snapshot)
            result = visit(search, &record, &source);
    }
    return result;
}

static int visit_refs(struct search *search, const struct memtable *memtable, const struct memtable_ref *refs, uint32_t count, visit_row *visit)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < count && !result && !search_has_enough(search); i++) {
        struct record record;
        struct search_source source = {0};
        uint32_t image_bytes;
        memtable_ref_record(memtable, refs[i], &record, &source.image_schema, &source.image, &image_bytes);
        if (record.seq <= search->snapshot)
            result = visit(search, &record, &source);
    }
    return result;
}

/* The rows that are in no batch. */
static int visit_tail(struct search *search, const struct recent_view *recent, visit_row *visit)
{
    int result = MOTE_OK;
    if (!recent->complete)
        return recent->memtable ? visit_memtable(search, recent->memtable, visit) : MOTE_OK;
    for (struct memtable_note note = recent->last; note.place != recent->end_place && !result; memtable_note_previous(recent->memtable, &note))
        result = visit_refs(search, recent->memtable, note.refs, note.count, visit);
    return result;
}

int search_recents(struct search *search)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->view.generation_count && !result; i++) {
        const struct recent_view *recent = &search->recents[i];
        for (uint32_t k = 0; k < recent->batch_count && !result && !search_has_enough(search); k++)
            result = search_batch(search, recent->batches[k]);
        if (!result)
            result = visit_tail(search, recent, offer_record);
    }
    return result;
}

/* ---- The survey ---- */

static int survey_batch(struct search *search, struct recent_batch *batch)
{
    struct search_part *part = search->ranking;
    if (batch->seq_min > search->snapshot)
        return MOTE_OK;
    search_enter_batch(search, batch);
    int result = search_open_section(search, part);
    bool told = false;
    if (!result && part->open) {
        result = part->term.ops->survey_section(&part->term, &part->section);
        told = !result;
        if (result == MOTE_EIO || result == MOTE_EDAMAGED) {
            search_give_up(search, part);
            result = MOTE_OK;
        }
        search_close_section(search, part);
    }
    search_leave_batch(search);
    return result || told ? result : visit_refs(search, batch->memtable, batch->rows, batch->row_count, survey_record);
}

int search_recents_survey(struct search *search)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->view.generation_count && !result; i++) {
        const struct recent_view *recent = &search->recents[i];
        for (uint32_t k = 0; k < recent->batch_count && !result; k++)
            result = survey_batch(search, recent->batches[k]);
        if (!result)
            result = visit_tail(search, recent, survey_record);
    }
    return result;
}
