/* search_tie.c: the order of hits whose values are longer than what their ranks hold (struct search_rank), and begin alike: both rows are read, and their values compared. So the order is that of the whole values, and the hits take no more memory.
 *
 * Two point reads for each comparison that needs them, under the search's view, mostly from the cache. A key that has no row any more is a version that does not count; it is equal to everything until that is found out.
 * Memory: two rows. Threads: the searching one. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include "engine/search_private.h"

static int read_value(struct search *search, unsigned number, const uint8_t *key, uint32_t key_bytes, struct mote_value *value)
{
    struct mote_db *db = search->table->db;
    const struct get_key wanted = {key, key_bytes, search->snapshot};
    struct found_row found = {false, 0};
    bool made, decided = false, there = false;
    *value = (struct mote_value){.is_null = true};
    int result = row_make(db, &search->tied[number], &made);
    mote_row *row = search->tied[number];
    if (!result && search->own)
        result = search_own_find(search->own, search->table->id, key, key_bytes, row, &decided, &there);
    if (!result && !decided) {
        result = get_from_memtables(&search->view, search->table->id, &wanted, row, &found, &decided);
        if (!result && !decided && search->segments)
            result = get_look_in_segments(db, search->reader, search->segments, search->schema, &wanted, row, &found);
        there = found.found;
    }
    if (!result && there)
        row_value(search->schema, row->image_schema, row->image, search->ranking->term.columns[0], value);
    return result;
}

static int order(void *context, const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes, int *order)
{
    struct search *search = context;
    const struct search_term *term = &search->ranking->term;
    struct mote_value x, y;
    *order = 0;
    int result = read_value(search, 0, a, a_bytes, &x);
    if (!result)
        result = read_value(search, 1, b, b_bytes, &y);
    if (!result && !x.is_null && !y.is_null)
        *order = term->ops->order(term, &x, &y);
    return result;
}

void search_tie_begin(struct search *search)
{
    if (!search->ranking || !search->ranking->term.ops->order)
        return;
    search->list->order = order;
    search->list->order_context = search;
    search->list->cut_bytes = search->ranking->term.ops->cut_bytes;
}

void search_tie_end(struct search *search)
{
    search->list->order = NULL;
    for (unsigned i = 0; i < 2; i++) {
        mote_row_free(search->tied[i]);
        search->tied[i] = NULL;
    }
}
