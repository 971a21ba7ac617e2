/* search_row.c: one row of a search: its values, the terms that no section has answered, its time, and whether it is the newest version that the snapshot sees. And every row of a segment, block by block, where nothing narrows it.
 *
 * Threads: the searching one. Failures: MOTE_EIO, MOTE_EDAMAGED (of rows), MOTE_EBUDGET, and what a term's match returns. */
#include <string.h>

#include "engine/search_private.h"

#define AHEAD_ROWS_MIN 4096u /* a segment with fewer rows is not read ahead */

const struct search_rank search_no_rank;

bool search_has_enough(const struct search *search) { return !search->ranking && search->list->limit && search->list->count >= search->list->limit; }

/* ---- Values ---- */

static int read_value(struct search *search, const struct search_source *source, uint32_t column, struct mote_value *value)
{
    if (!source->image)
        return sst_value(search->iterator, column, value);
    row_value(search->schema, source->image_schema, source->image, column, value);
    return MOTE_OK;
}

int search_values(struct search *search, const struct search_source *source, const struct search_term *term, struct mote_value *values)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < term->column_count && !result; i++)
        result = read_value(search, source, term->columns[i], &values[i]);
    return result;
}

static int match_time(struct search *search, const struct search_source *source, bool *matches)
{
    const struct mote_search_options *options = search->options;
    struct mote_value value;
    int64_t time_ns = 0;
    uint32_t column = (uint32_t)search->schema->time_column;
    int result = read_value(search, source, column, &value);
    bool has_time = !result && !value.is_null && value_time(&search->schema->columns[column], &value, &time_ns);
    if (source->own)
        *matches = !result && search_own_wants_time(search->own, has_time, time_ns);
    else
        *matches = has_time && time_ns >= options->time_from_ns && time_ns <= options->time_to_ns && !(search->filter && time_filter_hides(search->filter, time_ns));
    return result;
}

int search_match(struct search *search, const struct search_source *source, bool rank_known, struct search_rank *rank, bool *matches)
{
    int result = MOTE_OK;
    bool asked = !source->image || search->batch; /* sections were */
    *matches = true;
    if (search->options->use_time_range && (!(asked && search->time_sure) || (search->filter && search->filter->gap_count > 0)))
        result = match_time(search, source, matches);
    for (uint32_t i = 0; i < search->part_count && !result && *matches; i++) {
        struct search_part *part = &search->parts[search->match_order[i]];
        struct mote_value values[ROW_INDEX_COLUMNS_MAX];
        bool ranks = part == search->ranking && !rank_known;
        if (!ranks && (part == search->ranking || (part->sure && asked)))
            continue;
        result = search_values(search, source, &part->term, values);
        if (!result)
            result = part->term.ops->match(&part->term, values, matches, ranks ? rank : NULL);
    }
    return result;
}

/* ---- A row of a segment ---- */

/* Whether nothing newer than the version, that the snapshot sees, is in memtables or segments. */
static int is_newest(struct search *search, const struct record *record, bool alone, bool *newest)
{
    const struct get_key key = {record->key, record->key_bytes, search->snapshot};
    struct found_row found = {true, record->seq};
    bool decided = false;
    int64_t time_ns = 0;
    *newest = false;
    int result = search->own ? search_own_find(search->own, search->table->id, record->key, record->key_bytes, NULL, &decided, &(bool){false}) : MOTE_OK;
    if (!result && !decided)
        result = get_from_memtables(&search->view, search->table->id, &key, NULL, &found, &decided);
    if (result || decided)
        return result;
    if (search->schema->time_in_key)
        result = key_time(search->schema, record->key, record->key_bytes, &time_ns);
    for (uint32_t i = 0; i < search->rival_count && !result && found.seq == record->seq; i++) {
        struct segment *rival = search->rivals[i];
        struct sst_iterator *iterator;
        if ((rival == search->segment && alone) || !get_may_be_in(&rival->record, search->schema, &key, time_ns, &found))
            continue;
        result = get_iterator(search->table->db, search->reader, rival, search->schema, &iterator);
        if (!result)
            result = get_from_segment(iterator, search->schema, &key, NULL, &found);
    }
    *newest = found.seq == record->seq;
    return result;
}

/* The row that the iterator stands on, which satisfies everything. */
static int add_newest(struct search *search, const struct record *record, bool alone, const struct search_rank *rank)
{
    bool newest;
    if (!search_list_wants(search->list, rank, record->key, record->key_bytes))
        return MOTE_OK;
    int result = is_newest(search, record, alone, &newest);
    return result || !newest ? result : search_list_add(search->list, rank, search->segment->record.id, record->key, record->key_bytes);
}

int search_offer(struct search *search, uint32_t ordinal, const struct search_rank *rank, bool *unwanted)
{
    static const struct search_source here = {NULL, NULL, false};
    struct search_rank made;
    struct record record;
    bool alone, matches;
    if (search->batch)
        return search_recent_offer(search, ordinal, rank, unwanted);
    search->report->examined++;
    int found = sst_seek_ordinal(search->iterator, ordinal, &alone);
    int result = found < 0 ? found : sst_record(search->iterator, &record);
    if (!result && rank && unwanted)
        *unwanted = !search_list_wants(search->list, rank, record.key, record.key_bytes);
    if (result || record.kind != RECORD_PUT || record.seq > search->snapshot || (rank && unwanted && *unwanted))
        return result;
    result = search_match(search, &here, rank != NULL, &made, &matches);
    if (result || !matches)
        return result;
    return add_newest(search, &record, alone, rank ? rank : search->ranking ? &made : &search_no_rank);
}

void search_narrow(struct search *search)
{
    uint32_t columns[MOTE_SEARCH_TERMS_MAX * ROW_INDEX_COLUMNS_MAX + 1], count = 0;
    if (search->batch)
        return;
    for (uint32_t i = 0; i < search->part_count; i++) {
        const struct search_part *part = &search->parts[i];
        for (uint32_t k = 0; k < part->term.column_count && !part->sure && part != search->ranking; k++)
            columns[count++] = part->term.columns[k];
    }
    if (!search->time_sure || (search->filter && search->filter->gap_count > 0))
        columns[count++] = (uint32_t)search->schema->time_column;
    sst_iterator_set_columns(search->iterator, columns, count, true, true);
}

/* ---- All rows of a segment ---- */

/* Which columns a scan asks for; it reads ahead, and keeps in the cache what of a table so large is small against it. */
static void begin_scan(struct search *search, const struct search_term *only)
{
    struct mote_db *db = search->table->db;
    const struct segment_record *record = &search->segment->record;
    uint32_t columns[MOTE_SEARCH_TERMS_MAX * ROW_INDEX_COLUMNS_MAX + 1], count = 0;
    for (uint32_t i = 0; i < search->part_count; i++) {
        const struct search_term *term = &search->parts[i].term;
        for (uint32_t k = 0; k < term->column_count && (!only || only == term); k++)
            columns[count++] = term->columns[k];
    }
    if (!only && search->options->use_time_range)
        columns[count++] = (uint32_t)search->schema->time_column;
    bool keep = record->segment_bytes / search->schema->column_count * (count + 1) * search->segments->count <= db->options.cache_bytes / 2;
    sst_iterator_set_columns(search->iterator, columns, count, true, keep);
    if (record->row_count < AHEAD_ROWS_MIN)
        return;
    if (!search->reader->ahead && sst_ahead_create(&db->sst, &search->reader->ahead))
        search->reader->ahead = NULL; /* without memory for it a scan is only slower */
    sst_iterator_set_ahead(search->iterator, search->reader->ahead);
}

static int end_scan(struct search *search, int result)
{
    sst_iterator_set_ahead(search->iterator, NULL);
    return result;
}

/* Whether the present row, which the iterator stands on, is of the snapshot. The iterator stays. */
static int stand_on_row(struct search *search, uint32_t ordinal, struct record *record, bool *alone, bool *visible)
{
    int found = sst_seek_ordinal(search->iterator, ordinal, alone);
    int result = found < 0 ? found : sst_record(search->iterator, record);
    *visible = !result && record->kind == RECORD_PUT && record->seq <= search->snapshot;
    return result;
}

static int scan_block(struct search *search, uint32_t first_ordinal)
{
    static const struct search_source here = {NULL, NULL, false};
    const uint8_t *deleted;
    bool first_alone;
    /* The iterator may stand before a block that it has not read. */
    int result = sst_seek_ordinal(search->iterator, first_ordinal, &first_alone);
    if (result > 0)
        result = sst_block_deleted(search->iterator, &deleted);
    uint32_t count = result ? 0 : sst_block_row_count(search->iterator);
    for (uint32_t row = 0; row < count && !result && !search_has_enough(search); row++) {
        struct search_rank rank;
        struct record record;
        bool matches, alone, visible;
        if (row > 0)
            sst_skip(search->iterator, 1);
        if (deleted && deleted[row])
            continue;
        search->report->examined++;
        result = search_match(search, &here, false, &rank, &matches);
        if (result || !matches)
            continue;
        result = stand_on_row(search, first_ordinal + row, &record, &alone, &visible);
        if (!result && visible)
            result = add_newest(search, &record, alone, search->ranking ? &rank : &search_no_rank);
    }
    return result;
}

/* Whether the zone maps say that nothing in the block is wanted. */
static bool is_excluded(const struct search *search, const struct sst_statistics *statistics)
{
    const struct mote_search_options *options = search->options;
    if (options->use_time_range && !search->time_sure && (statistics->timed_count == 0 || statistics->time_min_ns > options->time_to_ns || statistics->time_max_ns < options->time_from_ns))
        return true;
    for (uint32_t i = 0; i < search->part_count; i++) {
        const struct search_term *term = &search->parts[i].term;
        if (term->ops->excludes && term->ops->excludes(term, statistics))
            return true;
    }
    return false;
}

static bool wants_block(void *context, const struct sst_statistics *statistics) { return !is_excluded(context, statistics); }

static int scan_blocks(struct search *search)
{
    uint32_t ordinal = 0, count = 0;
    int moved = sst_first(search->iterator);
    while (moved > 0 && !search_has_enough(search)) {
        struct sst_statistics statistics;
        /* Without statistics the block has tombstones, and was read already. */
        if (sst_statistics(search->iterator, &statistics) && is_excluded(search, &statistics)) {
            search->report->blocks_excluded++;
            count = statistics.row_count;
            moved = sst_skip_block(search->iterator);
        } else {
            int result = scan_block(search, ordinal);
            if (result)
                return result;
            count = sst_block_row_count(search->iterator);
            moved = sst_next_block(search->iterator);
        }
        ordinal += count;
    }
    return moved < 0 ? moved : MOTE_OK;
}

static int scan_batch(struct search *search)
{
    int result = MOTE_OK;
    for (uint64_t i = 0; i < search->row_count && !result && !search_has_enough(search); i++)
        result = search_offer(search, (uint32_t)i, NULL, NULL);
    return result;
}

int search_scan(struct search *search)
{
    if (search->batch)
        return scan_batch(search);
    begin_scan(search, NULL);
    sst_iterator_set_deferred(search->iterator, wants_block, search);
    return end_scan(search, scan_blocks(search));
}

static int survey_block(struct search *search, struct search_term *term, uint32_t first_ordinal)
{
    static const struct search_source here = {NULL, NULL, false};
    uint32_t count = sst_block_row_count(search->iterator);
    int result = MOTE_OK;
    for (uint32_t row = 0; row < count && !result; row++) {
        struct mote_value values[ROW_INDEX_COLUMNS_MAX];
        struct record record;
        bool alone, visible, newest = false;
        result = stand_on_row(search, first_ordinal + row, &record, &alone, &visible);
        if (!result && visible)
            result = is_newest(search, &record, alone, &newest);
        if (result || !newest)
            continue;
        search->report->surveyed++;
        result = search_values(search, &here, term, values);
        if (!result)
            result = term->ops->survey_row(term, values);
    }
    return result;
}

int search_scan_survey(struct search *search, struct search_term *term)
{
    uint32_t ordinal = 0;
    int result = MOTE_OK;
    begin_scan(search, term);
    int moved = sst_first(search->iterator);
    for (; moved > 0 && !result; moved = sst_next_block(search->iterator)) {
        uint32_t count = sst_block_row_count(search->iterator);
        result = survey_block(search, term, ordinal);
        ordinal += count;
    }
    return end_scan(search, moved < 0 ? moved : result);
}
