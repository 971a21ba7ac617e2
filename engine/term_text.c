/* term_text.c: the search term of a text index: MOTE_TERM_WORDS, a query of words, ranked by BM25 (search_term.h, index/text.h).
 *
 * The rank value is the score with its sign turned. Scores are made of statistics of the whole table, which the survey sums up: the roots and dictionaries of all sections, and the rows that no section has; so a row has the same score, bit
 * for bit, whether a section tells it or the row itself. What the survey counts is documents of sections, older versions and deleted rows among them until a compaction drops them (docs/indexes-text.md).
 * A row that no section has is analysed twice where the hits are ranked, by the survey and by match: what would be kept of each row costs more memory than the second look costs time (the same page has figures).
 *
 * What the survey finds of phrases and prefixes in a section is kept until that section is searched, so that each is evaluated once.
 *
 * Threads and failures: those of search_term.h. Memory: of the table's budget; what is kept of sections at most 8 MiB and a thirty-second of the budget, beyond which they are evaluated twice; the stemmer's few hundred bytes by malloc.
 */
#include <string.h>

#include "engine/index_text.h"
#include "engine/search_term.h"

#define KEPT_BYTES_MAX (8u << 20)
#define KEPT_BUDGET_SHARE 32u

/* What the survey found in a section. */
struct kept {
    struct kept *next;
    struct section_identity identity;
    struct text_findings *findings;
};

struct words {
    struct text_options options;
    struct text_analyser *analyser;
    struct text_query *query;
    struct text_statistics statistics;
    struct kept *kept;
    uint64_t kept_bytes;
};

/* ---- What is kept between survey and search ---- */

static void keep_findings(struct search_term *term, const struct section_identity *identity, struct text_search *search)
{
    struct words *words = term->state;
    uint64_t bytes_max = memory_budget_bytes(term->memory) / KEPT_BUDGET_SHARE, bytes;
    if (bytes_max > KEPT_BYTES_MAX)
        bytes_max = KEPT_BYTES_MAX;
    if (words->kept_bytes + sizeof(struct kept) >= bytes_max)
        return;
    struct text_findings *findings = text_search_keep(search, bytes_max - words->kept_bytes - sizeof(struct kept), &bytes);
    struct kept *kept = findings ? memory_alloc(term->memory, sizeof *kept) : NULL;
    if (!kept) {
        text_findings_destroy(term->memory, findings);
        return;
    }
    *kept = (struct kept){words->kept, *identity, findings};
    words->kept = kept;
    words->kept_bytes += bytes + sizeof *kept;
}

/* They are the caller's then. NULL: there are none. */
static struct text_findings *take_findings(struct search_term *term, const struct section_identity *identity)
{
    struct words *words = term->state;
    for (struct kept **at = &words->kept; *at; at = &(*at)->next) {
        struct kept *kept = *at;
        if (kept->identity.segment_id != identity->segment_id || kept->identity.section_id != identity->section_id)
            continue;
        struct text_findings *findings = kept->findings;
        *at = kept->next;
        memory_free(term->memory, kept);
        return findings;
    }
    return NULL;
}

static void destroy(struct search_term *term)
{
    struct words *words = term->state;
    if (!words)
        return;
    for (struct kept *kept = words->kept, *next; kept; kept = next) {
        next = kept->next;
        text_findings_destroy(term->memory, kept->findings);
        memory_free(term->memory, kept);
    }
    text_query_destroy(term->memory, words->query);
    text_analyser_destroy(words->analyser);
    memory_free(term->memory, words);
    term->state = NULL;
}

static int prepare(struct search_term *term)
{
    const struct mote_term *given = term->given;
    if (!given->words)
        return error_set(MOTE_EINVAL, "the query of the term words of table %s is NULL", term->table_name);
    struct words *words = term->state = memory_alloc_zero(term->memory, sizeof *words);
    if (!words)
        return MOTE_EBUDGET;
    struct text_query_options options = {.any_word = given->flags & MOTE_TERM_ANY_WORD};
    int result = text_index_options(term->index.options, term->index.options_bytes, &words->options);
    if (!result)
        result = text_analyser_create(term->memory, &words->options, &words->analyser);
    return result ? result : text_query_parse(term->memory, words->analyser, given->words, strlen(given->words), &options, &words->query);
}

static double tell_score(const struct search_term *term, double value)
{
    (void)term;
    return 0 - value;
}

/* ---- Rows ---- */

static int match_text(struct words *words, const struct mote_value *value, struct text_match *match)
{
    return text_match(words->query, words->analyser, value->as.bytes.data, value->as.bytes.size_bytes, match);
}

static int survey_row(struct search_term *term, const struct mote_value *values)
{
    struct words *words = term->state;
    struct text_match match;
    if (values[0].is_null)
        return MOTE_OK;
    int result = match_text(words, &values[0], &match);
    if (!result)
        text_statistics_add(words->query, &match, &words->statistics);
    return result;
}

static int match_row(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank)
{
    struct words *words = term->state;
    struct text_match match;
    *matches = false;
    int result = values[0].is_null ? MOTE_OK : match_text(words, &values[0], &match);
    if (result || values[0].is_null)
        return result;
    *matches = match.matches;
    if (rank && match.matches) {
        rank->value = 0 - text_match_score(words->query, &match, &words->statistics);
        rank->byte_count = 0;
    }
    return MOTE_OK;
}

/* ---- Sections ---- */

static int open_section(struct search_term *term, struct search_section *section)
{
    struct words *words = term->state;
    const struct sst_index_section *at = section->at;
    struct text_search *search;
    section->state = NULL;
    int result = text_search_open_again(words->query, &words->options, &at->identity, &at->root, &at->source, term->memory, take_findings(term, &at->identity), &search);
    /* One of other options than its index has is not what it says. */
    if (result == MOTE_EINVAL)
        return error_set(MOTE_EDAMAGED, "a section of index %s of table %s was built with other options than the index has; it is rebuilt", term->index.name, term->table_name);
    if (!result)
        section->state = search;
    return result;
}

static void close_section(struct search_term *term, struct search_section *section)
{
    (void)term;
    text_search_close(section->state);
    section->state = NULL;
}

static int survey_section(struct search_term *term, struct search_section *section)
{
    struct words *words = term->state;
    bool open = section->state != NULL;
    struct text_statistics statistics = words->statistics;
    int result = open ? MOTE_OK : open_section(term, section);
    if (!result)
        result = text_search_statistics(section->state, &statistics);
    if (!result)
        words->statistics = statistics;
    if (!result) /* the section is closed next */
        keep_findings(term, &section->at->identity, section->state);
    if (!open)
        close_section(term, section);
    return result;
}

static int estimate_rows(struct search_term *term, struct search_section *section, uint64_t *rows)
{
    (void)term;
    *rows = text_search_estimate(section->state);
    return MOTE_OK;
}

struct hits {
    const struct search_term *term;
    const struct search_section *section;
    struct search_ranking *ranking;
    uint64_t *marks;
};

static int refuse_ordinal(const struct hits *hits)
{
    return error_set(MOTE_EDAMAGED, "a section of index %s of table %s has more rows than its segment; it is rebuilt", hits->term->index.name, hits->term->table_name);
}

static int take_mark(void *context, uint32_t ordinal)
{
    struct hits *hits = context;
    if (ordinal >= hits->section->row_count)
        return refuse_ordinal(hits);
    hits->marks[ordinal / 64] |= 1ull << ordinal % 64;
    return MOTE_OK;
}

static int mark_rows(struct search_term *term, struct search_section *section, uint64_t *marks, bool *exact)
{
    struct hits hits = {.term = term, .section = section, .marks = marks};
    (void)exact;
    text_search_set_filter(section->state, NULL, 0);
    return text_search_all(section->state, take_mark, &hits);
}

/* The score of the last that is wanted, as far as is known: what has less cannot count, what has as much may, by its key. */
static double threshold_of(const struct search_ranking *ranking) { return 0 - ranking->bound; }

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    struct hits *hits = context;
    struct search_rank rank;
    bool enough = false;
    if (ordinal >= hits->section->row_count)
        return refuse_ordinal(hits);
    rank.value = 0 - score;
    rank.byte_count = 0;
    int result = hits->ranking->offer(hits->ranking->context, ordinal, &rank, &enough);
    *threshold = threshold_of(hits->ranking);
    return result;
}

static int rank_rows(struct search_term *term, struct search_section *section, struct search_ranking *ranking)
{
    struct words *words = term->state;
    struct hits hits = {.term = term, .section = section, .ranking = ranking};
    text_search_set_filter(section->state, ranking->marks, section->row_count);
    return text_search_run(section->state, &words->statistics, threshold_of(ranking), take_hit, &hits);
}

extern const struct search_term_ops search_words_ops;
const struct search_term_ops search_words_ops = {
    .kind_first = MOTE_TERM_WORDS,
    .kind_last = MOTE_TERM_WORDS,
    .index_kind = MOTE_INDEX_TEXT,
    .needs_index = true,
    .may_rank = true,
    .name = "words",
    .prepare = prepare,
    .destroy = destroy,
    .score = tell_score,
    .survey_row = survey_row,
    .survey_section = survey_section,
    .match = match_row,
    .open = open_section,
    .close = close_section,
    .estimate = estimate_rows,
    .mark = mark_rows,
    .rank = rank_rows,
};
