/* term_column.c: search terms about the value of one column: equal, range, list, prefix, NULL, not NULL (search_term.h), with a column index or without.
 *
 * What a section and what a row tell are the same because both use the index's own order (column_compare_values). Of long texts and blobs a section keeps the beginning: where an operand is longer than that too, rows so marked are asked
 * themselves, and their rank always is.
 * Rank: value 0, bytes column_rank_bytes. Among equals keys ascend or, as in a section's descending order, descend with the values.
 * Memory: a list of values is copied to be sorted, 48 bytes each; a search's (index/column_index.h). Threads: the searching one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/search_term.h"
#include "index/column_index.h"

#define LIST_VALUES_MAX 65536u

struct column_term {
    struct column_query query; /* as a section is asked; operands are those given */
    struct mote_value *list;   /* IN: sorted, each once */
    uint32_t list_count;
    bool inexact;              /* an operand is longer than what an index keeps */
    bool descending;
};

_Static_assert(COLUMN_RANK_BYTES_MAX <= SEARCH_RANK_BYTES_MAX, "a rank holds what orders a value");

static struct column_term *state_of(const struct search_term *term) { return term->state; }
static bool is_bytes(const struct mote_value *value) { return value->type == MOTE_TYPE_TEXT || value->type == MOTE_TYPE_BLOB; }
static bool is_long(const struct mote_value *value) { return is_bytes(value) && value->as.bytes.size_bytes > COLUMN_KEPT_BYTES; }

/* ---- Operands ---- */

static const char *term_name(const struct search_term *term)
{
    static const char *const names[] = {"equal", "range", "in", "prefix", "null", "not null"};
    return names[term->given->kind - MOTE_TERM_EQUAL];
}

static int check_operand(const struct search_term *term, const struct mote_value *value)
{
    const struct schema_column *column = &term->schema->columns[term->columns[0]];
    if (value->is_null)
        return error_set(MOTE_EINVAL, "term \"%s\" on column %s of table %s: an operand is NULL; ask for NULLs by a term of their own", term_name(term), column->name, term->table_name);
    if (value->type != column->type)
        return error_set(MOTE_ESCHEMA, "term \"%s\" on column %s of table %s: an operand is of type %u, and the column of type %u", term_name(term), column->name, term->table_name, value->type, column->type);
    if (is_bytes(value) && !value->as.bytes.data && value->as.bytes.size_bytes)
        return error_set(MOTE_EINVAL, "term \"%s\" on column %s of table %s: an operand's bytes are NULL", term_name(term), column->name, term->table_name);
    state_of(term)->inexact |= is_long(value);
    return MOTE_OK;
}

/* NULL: no bound. */
static int take_bound(const struct search_term *term, const struct mote_value *value, bool excluded, struct column_bound *bound)
{
    if (value->is_null)
        return MOTE_OK;
    *bound = (struct column_bound){excluded ? COLUMN_EXCLUDED : COLUMN_INCLUDED, *value};
    return check_operand(term, value);
}

static int compare_for_sort(const void *a, const void *b) { return column_compare_values(a, b); }

static int take_list(struct search_term *term)
{
    const struct mote_term *given = term->given;
    struct column_term *state = state_of(term);
    if (given->value_count > LIST_VALUES_MAX)
        return error_set(MOTE_ETOOBIG, "term \"in\" of a search of table %s has %zu values, above %u: split it", term->table_name, given->value_count, LIST_VALUES_MAX);
    if (!given->values && given->value_count)
        return error_set(MOTE_EINVAL, "term \"in\" of a search of table %s: values is NULL", term->table_name);
    for (size_t i = 0; i < given->value_count; i++) {
        int result = check_operand(term, &given->values[i]);
        if (result)
            return result;
    }
    state->list = memory_alloc(term->memory, (given->value_count + 1) * sizeof *state->list);
    if (!state->list)
        return MOTE_EBUDGET;
    for (size_t i = 0; i < given->value_count; i++)
        state->list[i] = given->values[i];
    if (given->value_count)
        qsort(state->list, given->value_count, sizeof *state->list, compare_for_sort);
    for (size_t i = 0; i < given->value_count; i++)
        if (i == 0 || column_compare_values(&state->list[i], &state->list[state->list_count - 1]) != 0)
            state->list[state->list_count++] = state->list[i];
    state->query.values = state->list;
    state->query.value_count = state->list_count;
    return MOTE_OK;
}

static int take_operands(struct search_term *term)
{
    const struct mote_term *given = term->given;
    struct column_query *query = &state_of(term)->query;
    int result;
    switch (given->kind) {
    case MOTE_TERM_EQUAL:
        query->kind = COLUMN_EQUAL;
        query->from.value = given->from;
        return check_operand(term, &given->from);
    case MOTE_TERM_RANGE:
        query->kind = COLUMN_RANGE;
        result = take_bound(term, &given->from, given->flags & MOTE_TERM_FROM_EXCLUDED, &query->from);
        return result ? result : take_bound(term, &given->to, given->flags & MOTE_TERM_TO_EXCLUDED, &query->to);
    case MOTE_TERM_IN:
        query->kind = COLUMN_IN;
        return take_list(term);
    case MOTE_TERM_PREFIX:
        query->kind = COLUMN_PREFIX;
        query->from.value = given->from;
        result = check_operand(term, &given->from);
        if (!result && !is_bytes(&given->from))
            result = error_set(MOTE_EINVAL, "term \"prefix\" of a search of table %s: column %s is neither text nor blob; ask by a range", term->table_name, term->schema->columns[term->columns[0]].name);
        return result;
    default:
        query->kind = given->kind == MOTE_TERM_NULL ? COLUMN_NULL : COLUMN_NOT_NULL;
        return MOTE_OK;
    }
}

static int prepare(struct search_term *term)
{
    const struct mote_term *given = term->given;
    uint32_t allowed = MOTE_TERM_DESCENDING | (given->kind == MOTE_TERM_RANGE ? MOTE_TERM_FROM_EXCLUDED | MOTE_TERM_TO_EXCLUDED : 0u);
    if (term->column_count != 1 || !column_type_is_indexed(term->schema->columns[term->columns[0]].type))
        return error_set(MOTE_EINVAL, "term \"%s\" of a search of table %s is about one column of int64, int32, timestamp, float64, float32, bool, text or blob", term_name(term), term->table_name);
    if (given->flags & ~allowed)
        return error_set(MOTE_EINVAL, "term \"%s\" of a search of table %s does not have the flags %#x", term_name(term), term->table_name, given->flags & ~allowed);
    term->state = memory_alloc_zero(term->memory, sizeof(struct column_term));
    if (!term->state)
        return MOTE_EBUDGET;
    state_of(term)->descending = state_of(term)->query.descending = given->flags & MOTE_TERM_DESCENDING;
    return take_operands(term);
}

static void destroy(struct search_term *term)
{
    if (term->state)
        memory_free(term->memory, state_of(term)->list);
    memory_free(term->memory, term->state);
    term->state = NULL;
}

/* ---- Rows ---- */

static bool in_list(const struct column_term *state, const struct mote_value *value)
{
    uint32_t low = 0, high = state->list_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = column_compare_values(&state->list[middle], value);
        if (order == 0)
            return true;
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return false;
}

static bool in_range(const struct column_query *query, const struct mote_value *value)
{
    int above = query->from.kind == COLUMN_OPEN ? 1 : column_compare_values(value, &query->from.value);
    int below = query->to.kind == COLUMN_OPEN ? -1 : column_compare_values(value, &query->to.value);
    return (above > 0 || (above == 0 && query->from.kind == COLUMN_INCLUDED)) && (below < 0 || (below == 0 && query->to.kind == COLUMN_INCLUDED));
}

static bool has_prefix(const struct mote_value *prefix, const struct mote_value *value)
{
    uint64_t size_bytes = prefix->as.bytes.size_bytes;
    return size_bytes <= value->as.bytes.size_bytes && (size_bytes == 0 || memcmp(prefix->as.bytes.data, value->as.bytes.data, size_bytes) == 0);
}

static bool satisfies(const struct column_term *state, const struct mote_value *value)
{
    if (value->is_null)
        return state->query.kind == COLUMN_NULL;
    switch (state->query.kind) {
    case COLUMN_EQUAL:
        return column_compare_values(value, &state->query.from.value) == 0;
    case COLUMN_RANGE:
        return in_range(&state->query, value);
    case COLUMN_IN:
        return in_list(state, value);
    case COLUMN_PREFIX:
        return has_prefix(&state->query.from.value, value);
    default:
        return state->query.kind == COLUMN_NOT_NULL;
    }
}

static void set_rank(const struct column_term *state, const struct mote_value *value, struct search_rank *rank)
{
    rank->value = 0;
    rank->byte_count = value->is_null ? 0 : column_rank_bytes(value, state->descending, rank->bytes);
}

static int match(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank)
{
    *matches = satisfies(state_of(term), values);
    if (*matches && rank && term->ranks)
        set_rank(state_of(term), values, rank);
    return MOTE_OK;
}

/* Of texts and blobs that begin alike. */
static int order_values(const struct search_term *term, const struct mote_value *a, const struct mote_value *b)
{
    int order = column_compare_values(a, b);
    return state_of(term)->descending ? -order : order;
}

/* ---- Zone maps ---- */

static struct mote_value value_of_i64(uint32_t type, int64_t number)
{
    struct mote_value value = {.type = type};
    if (type == MOTE_TYPE_BOOL)
        value.as.boolean = number != 0;
    else if (type == MOTE_TYPE_INT32)
        value.as.i32 = (int32_t)number;
    else
        value.as.i64 = number;
    return value;
}

static struct mote_value value_of_f64(uint32_t type, double number)
{
    struct mote_value value = {.type = type};
    if (type == MOTE_TYPE_FLOAT32)
        value.as.f32 = (float)number;
    else
        value.as.f64 = number;
    return value;
}

/* The least and the greatest value of a block; false: not known. */
static bool zone_bounds(uint32_t type, const struct sst_zone *zone, struct mote_value *least, struct mote_value *greatest)
{
    if (type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB || (!zone->has_range && !(zone->is_float && zone->has_nan)))
        return false;
    if (!zone->is_float) {
        *least = value_of_i64(type, zone->min_i64);
        *greatest = value_of_i64(type, zone->max_i64);
        return true;
    }
    *least = value_of_f64(type, zone->has_range ? zone->min_f64 : (double)NAN);
    *greatest = value_of_f64(type, zone->has_nan ? (double)NAN : zone->max_f64);
    return true;
}

/* Whether a value of the list lies between the two. */
static bool list_reaches(const struct column_term *state, const struct mote_value *least, const struct mote_value *greatest)
{
    uint32_t low = 0, high = state->list_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool below = column_compare_values(&state->list[middle], least) < 0;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low < state->list_count && column_compare_values(&state->list[low], greatest) <= 0;
}

static bool range_reaches(const struct column_query *query, const struct mote_value *least, const struct mote_value *greatest)
{
    int from = query->from.kind == COLUMN_OPEN ? -1 : column_compare_values(&query->from.value, greatest);
    int to = query->to.kind == COLUMN_OPEN ? 1 : column_compare_values(&query->to.value, least);
    return (from < 0 || (from == 0 && query->from.kind == COLUMN_INCLUDED)) && (to > 0 || (to == 0 && query->to.kind == COLUMN_INCLUDED));
}

static bool excludes(const struct search_term *term, const struct sst_statistics *statistics)
{
    const struct column_term *state = state_of(term);
    struct mote_value least, greatest;
    struct sst_zone zone;
    sst_statistics_zone(statistics, term->columns[0], &zone);
    if (state->query.kind == COLUMN_NULL)
        return zone.value_count == statistics->row_count;
    if (zone.value_count == 0)
        return true;
    if (!zone_bounds(term->schema->columns[term->columns[0]].type, &zone, &least, &greatest))
        return false;
    switch (state->query.kind) {
    case COLUMN_EQUAL:
        return column_compare_values(&state->query.from.value, &least) < 0 || column_compare_values(&state->query.from.value, &greatest) > 0;
    case COLUMN_RANGE:
        return !range_reaches(&state->query, &least, &greatest);
    case COLUMN_IN:
        return !list_reaches(state, &least, &greatest);
    default:
        return false;
    }
}

/* ---- Sections ---- */

static struct column_section section_of(const struct search_term *term, const struct search_section *section)
{
    return (struct column_section){&section->at->identity, &section->at->root, &section->at->source, term->memory};
}

static int refuse_section(const char *what) { return error_set(MOTE_EDAMAGED, "a section of a column index holds %s; the rows answer, and it is rebuilt from them", what); }

static int open_section(struct search_term *term, struct search_section *section)
{
    struct column_section from = section_of(term, section);
    struct column_statistics statistics;
    int result = column_read_statistics(&from, &statistics);
    if (!result && (statistics.type != term->schema->columns[term->columns[0]].type || statistics.rows > section->row_count))
        result = refuse_section("another column");
    return result;
}

static int estimate(struct search_term *term, struct search_section *section, uint64_t *rows)
{
    struct column_section from = section_of(term, section);
    struct column_estimate found;
    int result = column_estimate(&from, &state_of(term)->query, &found);
    *rows = result ? 0 : (uint64_t)found.expected;
    return result;
}

static int mark(struct search_term *term, struct search_section *section, uint64_t *marks, bool *exact)
{
    struct column_section from = section_of(term, section);
    struct column_set set;
    int result = column_search_set(&from, &state_of(term)->query, section->row_count, &set);
    *exact = !state_of(term)->inexact;
    if (result)
        return result;
    if (set.words)
        for (uint64_t i = 0; i < (section->row_count + 63) / 64; i++)
            marks[i] |= set.words[i];
    else
        for (uint64_t i = 0; i < set.count; i++)
            marks[set.ordinals[i] / 64] |= 1ull << set.ordinals[i] % 64;
    column_set_destroy(term->memory, &set);
    return MOTE_OK;
}

/* ---- Ranking ---- */

struct ranked {
    const struct column_term *state;
    struct search_ranking *ranking;
    struct column_section section;
    uint64_t row_count;
    struct search_rank rank; /* of the value that is being offered */
    bool enough;
};

static struct mote_value value_at(const struct column_hits *hits, uint32_t i)
{
    struct mote_value value = {.type = hits->values.type};
    if (hits->is_null) {
        value.is_null = true;
    } else if (hits->values.offsets) {
        value.as.bytes.data = (const uint8_t *)hits->values.values + hits->values.offsets[i];
        value.as.bytes.size_bytes = hits->values.offsets[i + 1] - hits->values.offsets[i];
    } else {
        size_t value_bytes = codec_value_bytes(hits->values.type, 1);
        memcpy(&value.as, (const uint8_t *)hits->values.values + i * value_bytes, value_bytes);
    }
    return value;
}

static bool inexact_at(const struct column_hits *hits, uint32_t i) { return hits->inexact && hits->inexact[i]; }

static bool same_value(const struct column_hits *hits, uint32_t a, uint32_t b)
{
    struct mote_value x, y;
    if (hits->is_null)
        return true;
    x = value_at(hits, a);
    y = value_at(hits, b);
    return inexact_at(hits, a) == inexact_at(hits, b) && column_compare_values(&x, &y) == 0;
}

/* Offers the row of hit i; the rank is that of the hit before where the values are the same. */
static int offer_hit(struct ranked *ranked, const struct column_hits *hits, uint32_t i, bool same)
{
    struct search_ranking *ranking = ranked->ranking;
    uint32_t ordinal = hits->ordinals[i];
    bool exact = !inexact_at(hits, i), enough = false;
    if (ordinal >= ranked->row_count)
        return refuse_section("a row that does not exist");
    if (exact && !same) {
        struct mote_value value = value_at(hits, i);
        set_rank(ranked->state, &value, &ranked->rank);
    }
    if (ranking->marks && !(ranking->marks[ordinal / 64] >> ordinal % 64 & 1))
        return MOTE_OK;
    int result = ranking->offer(ranking->context, ordinal, exact ? &ranked->rank : NULL, &enough);
    /* Among values that begin alike a later row may come before this one. */
    ranked->enough |= exact && enough;
    return result;
}

static int rank(struct search_term *term, struct search_section *section, struct search_ranking *ranking)
{
    struct ranked *ranked = memory_alloc_zero(term->memory, sizeof *ranked);
    struct column_search *search = NULL;
    struct column_hits hits;
    int result;
    if (!ranked)
        return MOTE_EBUDGET;
    *ranked = (struct ranked){.state = state_of(term), .ranking = ranking, .section = section_of(term, section), .row_count = section->row_count};
    result = column_search_create(&ranked->section, &ranked->state->query, &search);
    while (!result && !ranked->enough) {
        int found = column_search_next(search, &hits);
        if (found <= 0) {
            result = found;
            break;
        }
        for (uint32_t i = 0; i < hits.count && !result && !ranked->enough; i++)
            result = offer_hit(ranked, &hits, i, i > 0 && same_value(&hits, i, i - 1));
    }
    column_search_destroy(search);
    memory_free(term->memory, ranked);
    return result;
}

extern const struct search_term_ops search_column_ops;

const struct search_term_ops search_column_ops = {
    .kind_first = MOTE_TERM_EQUAL,
    .kind_last = MOTE_TERM_NOT_NULL,
    .index_kind = MOTE_INDEX_COLUMN,
    .may_rank = true,
    .name = "value",
    .prepare = prepare,
    .destroy = destroy,
    .match = match,
    .order = order_values,
    .cut_bytes = COLUMN_RANK_BYTES_MAX,
    .excludes = excludes,
    .open = open_section,
    .estimate = estimate,
    .mark = mark,
    .rank = rank,
};
