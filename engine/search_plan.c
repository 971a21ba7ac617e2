/* search_plan.c: what the terms of a search mean: which kind each is, through which index it goes, which one ranks; what is refused.
 *
 * Threads: the searching one. Failures: MOTE_EINVAL, MOTE_ENOCOLUMN, MOTE_ENOTFOUND (no such index), and what a kind says of its operands. */
#include <string.h>

#include "engine/search_private.h"

#define LIMIT_DEFAULT 10u /* of terms that always rank */
#define FLAGS_ALL (MOTE_TERM_FROM_EXCLUDED | MOTE_TERM_TO_EXCLUDED | MOTE_TERM_DESCENDING | MOTE_TERM_ANY_WORD | MOTE_TERM_EXACT)

static const struct search_term_ops *find_ops(uint32_t kind)
{
    for (const struct search_term_ops *const *at = search_terms; *at; at++)
        if (kind >= (*at)->kind_first && kind <= (*at)->kind_last)
            return *at;
    return NULL;
}

/* ---- Indexes ---- */

static bool is_on(const struct search *search, const struct manifest_index *index, const struct mote_term *given)
{
    uint32_t columns[ROW_INDEX_COLUMNS_MAX];
    if (index->column_count != given->column_count)
        return false;
    index_columns(search->schema, index, columns);
    return memcmp(columns, given->columns, given->column_count * sizeof *columns) == 0;
}

/* The oldest index of the kind on just these columns. */
static bool find_index_on(const struct search *search, uint32_t kind, const struct mote_term *given, struct manifest_index *index)
{
    struct mote_db *db = search->table->db;
    bool found = false;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count && !found; i++) {
        found = db->indexes[i].table_id == search->table->id && db->indexes[i].kind == kind && is_on(search, &db->indexes[i], given);
        if (found)
            *index = db->indexes[i];
    }
    pthread_mutex_unlock(&db->index_mutex);
    return found;
}

static int check_columns(const struct search *search, const struct mote_term *given, const char *name)
{
    if (given->column_count > ROW_INDEX_COLUMNS_MAX || (given->column_count > 0 && !given->columns))
        return error_set(MOTE_EINVAL, "a term %s of a search of table %s cannot have %zu columns, or they are NULL", name, search->schema->name, given->column_count);
    for (size_t i = 0; i < given->column_count; i++)
        if (given->columns[i] >= search->schema->column_count)
            return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", search->schema->name, search->schema->column_count, given->columns[i]);
        else if ((search->schema->columns[given->columns[i]].flags & MOTE_COLUMN_LARGE) && given->kind != MOTE_TERM_NULL && given->kind != MOTE_TERM_NOT_NULL)
            return error_set(MOTE_EINVAL, "column %s of table %s is LARGE, whose values are not searched", search->schema->columns[given->columns[i]].name, search->schema->name);
    return MOTE_OK;
}

static int bind_index(const struct search *search, struct search_term *term)
{
    const struct mote_term *given = term->given;
    int result = check_columns(search, given, term->ops->name);
    if (result)
        return result;
    if (given->index || given->column_count == 0) {
        result = index_find(search->table, given->index, term->ops->index_kind, &term->index);
        if (!result && given->column_count > 0 && !is_on(search, &term->index, given))
            result = error_set(MOTE_EINVAL, "index %s of table %s is not on the columns that the term %s names", term->index.name, search->schema->name, term->ops->name);
        term->has_index = !result;
    } else {
        term->has_index = find_index_on(search, term->ops->index_kind, given, &term->index);
        if (!term->has_index && term->ops->needs_index)
            result = error_set(MOTE_ENOTFOUND, "table %s has no index on the column of the term %s, which needs one; create it", search->schema->name, term->ops->name);
    }
    if (result)
        return result;
    term->column_count = term->has_index ? term->index.column_count : (uint32_t)given->column_count;
    if (term->has_index)
        index_columns(search->schema, &term->index, term->columns);
    else
        memcpy(term->columns, given->columns, term->column_count * sizeof *term->columns);
    return MOTE_OK;
}

/* ---- What ranks ---- */

static bool ranks_unasked(uint32_t kind) { return kind == MOTE_TERM_RADIUS || kind == MOTE_TERM_WORDS; }

static int choose_ranking(struct search *search)
{
    uint32_t by = search->options->rank_by;
    struct search_part *always = NULL, *unasked = NULL;
    uint32_t unasked_count = 0;
    if (by != MOTE_RANK_NONE && by > search->part_count)
        return error_set(MOTE_EINVAL, "rank_by is %u, there are %u terms", by, search->part_count);
    for (uint32_t i = 0; i < search->part_count; i++) {
        struct search_part *part = &search->parts[i];
        if (part->term.ops->always_ranks && always)
            return error_set(MOTE_EINVAL, "the terms %s and %s both rank the rows; a search can have one such term", always->term.ops->name, part->term.ops->name);
        if (part->term.ops->always_ranks)
            always = part;
        if (ranks_unasked(part->term.given->kind)) {
            unasked = part;
            unasked_count++;
        }
    }
    if (by == 0)
        search->ranking = always ? always : unasked_count == 1 ? unasked : NULL;
    else
        search->ranking = by == MOTE_RANK_NONE ? NULL : &search->parts[by - 1];
    if (always && search->ranking != always)
        return error_set(MOTE_EINVAL, "the term %s always ranks; rank_by cannot say otherwise", always->term.ops->name);
    if (!search->ranking)
        return MOTE_OK;
    const struct search_term_ops *ops = search->ranking->term.ops;
    if (!ops->always_ranks && !ops->may_rank)
        return error_set(MOTE_EINVAL, "the term %s cannot rank rows", ops->name);
    search->ranking->term.ranks = true;
    return MOTE_OK;
}

/* A term "equal" that stands alone ranks where nothing else does: its rows are all alike, so that they come by key as they would have, and a section gives its few rows one by one, without a bit for each row of the segment. */
static void rank_alone(struct search *search)
{
    struct search_part *part = &search->parts[0];
    if (search->ranking || search->part_count != 1 || search->options->use_time_range || part->term.given->kind != MOTE_TERM_EQUAL || !part->term.has_index || (part->term.given->flags & MOTE_TERM_DESCENDING))
        return;
    search->ranking = part;
    part->term.ranks = true;
}

/* ---- All ---- */

static int find_kinds(struct search *search)
{
    const struct mote_search_options *options = search->options;
    if (options->term_count > MOTE_SEARCH_TERMS_MAX || (options->term_count > 0 && !options->terms))
        return error_set(MOTE_EINVAL, "a search has at most %d terms, not %zu, or they are NULL", MOTE_SEARCH_TERMS_MAX, options->term_count);
    for (size_t i = 0; i < options->term_count; i++) {
        struct search_term *term = &search->parts[i].term;
        *term = (struct search_term){.db = search->table->db, .given = &options->terms[i], .ops = find_ops(options->terms[i].kind)};
        term->schema = search->schema;
        term->table_name = search->schema->name;
        term->memory = search->memory;
        if (!term->ops)
            return error_set(MOTE_EINVAL, "there is no search term of kind %u", options->terms[i].kind);
        if (options->terms[i].flags & ~(uint32_t)FLAGS_ALL)
            return error_set(MOTE_EINVAL, "the flags %#x of the term %s do not exist", options->terms[i].flags, term->ops->name);
        search->part_count = (uint32_t)i + 1;
    }
    return MOTE_OK;
}

/* Kinds that need an index are those whose rows take longest to ask: they come last. */
static void order_matches(struct search *search)
{
    uint32_t count = 0;
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < search->part_count; i++)
            if (search->parts[i].term.ops->needs_index == (pass == 1))
                search->match_order[count++] = i;
    assert(count == search->part_count);
}

static void note_terms(struct search *search)
{
    struct search_report *report = search->report;
    report->term_count = search->part_count;
    report->use_time_range = search->options->use_time_range;
    for (uint32_t i = 0; i < search->part_count; i++) {
        struct search_part *part = &search->parts[i];
        part->note = &report->terms[i];
        *part->note = (struct search_term_note){.kind = part->term.given->kind, .name = part->term.ops->name, .has_index = part->term.has_index, .ranks = part->term.ranks, .column_count = part->term.column_count};
        memcpy(part->note->columns, part->term.columns, sizeof part->note->columns);
        if (part->term.has_index)
            memcpy(part->note->index, part->term.index.name, sizeof part->note->index);
    }
}

int search_plan(struct search *search)
{
    int result = find_kinds(search);
    if (!result)
        result = choose_ranking(search);
    for (uint32_t i = 0; i < search->part_count && !result; i++)
        result = bind_index(search, &search->parts[i].term);
    if (!result)
        rank_alone(search);
    while (!result && search->prepared_count < search->part_count) {
        struct search_term *term = &search->parts[search->prepared_count++].term;
        result = term->ops->prepare(term);
    }
    if (result)
        return result;
    order_matches(search);
    note_terms(search);
    search->list->limit = search->options->limit || !search->ranking || !search->ranking->term.ops->always_ranks ? search->options->limit : LIMIT_DEFAULT;
    search->list->keys_descending = search->ranking && search->ranking->term.given->flags & MOTE_TERM_DESCENDING;
    return MOTE_OK;
}

void search_plan_destroy(struct search *search)
{
    for (uint32_t i = 0; i < search->prepared_count; i++)
        if (search->parts[i].term.ops->destroy)
            search->parts[i].term.ops->destroy(&search->parts[i].term);
}
