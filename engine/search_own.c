/* search_own.c: a search of a transaction: the rows that it has written itself (overlay.h), looked at one by one, and asked before any committed version of their keys counts (search_private.h).
 *
 * Invariants: what the search saw stays what its hits show: of writes made later nothing counts, and once any of those before were taken back the hits are refused.
 * Memory: none. Threads: the transaction's. Failures: MOTE_EBUDGET, and what a term's kind returns.
 */
#include "engine/overlay.h"
#include "engine/search_private.h"

int search_own_find(const struct search_own *own, uint64_t table_id, const uint8_t *key, uint32_t key_bytes, struct mote_row *row, bool *decided, bool *found)
{
    struct generation generation = {.memtables = own->overlay->memtables};
    const struct view view = {.generations = {&generation}, .generation_count = 1};
    const struct get_key wanted = {key, key_bytes, own->seq};
    struct found_row newest = {false, 0};
    *decided = false;
    int result = get_from_memtables(&view, table_id, &wanted, row, &newest, decided);
    *found = !result && *decided && newest.found;
    return result;
}

bool search_own_wants_time(const struct search_own *own, bool has_time, int64_t time_ns) { return !own->asked_time || (has_time && time_ns >= own->from_ns && time_ns <= own->to_ns); }

int search_own_check(const struct search_own *own)
{
    if (own->overlay && own->overlay->epoch != own->epoch)
        return error_set(MOTE_EINVAL, "the transaction of these hits has ended, or taken back writes since the search: they can only be closed");
    return MOTE_OK;
}

static int offer(struct search *search, const struct record *record, const struct search_source *source)
{
    struct search_rank rank;
    bool matches;
    search->report->memtable_rows++;
    int result = search_match(search, source, false, &rank, &matches);
    const struct search_rank *found = search->ranking ? &rank : &search_no_rank;
    if (result || !matches || !search_list_wants(search->list, found, record->key, record->key_bytes))
        return result;
    return search_list_add(search->list, found, SEARCH_OWN_ROWS, record->key, record->key_bytes);
}

static int survey(struct search *search, const struct record *record, const struct search_source *source)
{
    struct search_term *term = &search->ranking->term;
    struct mote_value values[ROW_INDEX_COLUMNS_MAX];
    (void)record;
    search->report->surveyed++;
    int result = search_values(search, source, term, values);
    return result ? result : term->ops->survey_row(term, values);
}

/* The newest version of each key, if it is a row. Versions come key by key, the newest first. */
static int visit(struct search *search, int (*look)(struct search *search, const struct record *record, const struct search_source *source))
{
    const struct search_own *own = search->own;
    struct memtable *memtable = memtable_of_table(own->overlay->memtables, search->table->id, false);
    struct memtable_iterator iterator;
    uint8_t last[MOTE_KEY_BYTES_MAX];
    uint32_t last_bytes = UINT32_MAX;
    int result = MOTE_OK;
    if (!memtable)
        return MOTE_OK;
    memtable_iterate(memtable, &iterator);
    for (bool on = memtable_first(&iterator); on && !result && !search_has_enough(search); on = memtable_next(&iterator)) {
        struct record record;
        struct search_source source = {.own = true};
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &source.image_schema, &source.image, &image_bytes);
        if (record.seq > own->seq || (last_bytes == record.key_bytes && memcmp(last, record.key, last_bytes) == 0))
            continue;
        last_bytes = record.key_bytes;
        memcpy(last, record.key, last_bytes);
        if (record.kind == RECORD_PUT)
            result = look(search, &record, &source);
    }
    return result;
}

int search_own_rows(struct search *search) { return visit(search, offer); }

int search_own_survey(struct search *search) { return visit(search, survey); }
