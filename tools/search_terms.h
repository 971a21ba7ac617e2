/* search_terms.h: the terms of a search as `mote search` is given them on the command line. */
#ifndef MOTE_TOOLS_SEARCH_TERMS_H
#define MOTE_TOOLS_SEARCH_TERMS_H

#include "tools/keys.h"

/* What was given. */
struct search_words {
    struct option_list index, where;
    const char *place, *box, *centre, *radius, *near_vector, *words, *order_by;
    uint64_t nearest, k, list, limit;
    bool any_word, exact, descending;
};

/* Options that point to their terms; freed by search_terms_free. */
struct search_terms {
    struct mote_search_options options;
    size_t count;
    struct mote_term terms[MOTE_SEARCH_TERMS_MAX];
    uint32_t columns[MOTE_SEARCH_TERMS_MAX][4];
    const char *score_name; /* of the score in the output; NULL: nothing has one */
    size_t piece_count, piece_capacity;
    void **pieces; /* memory of values */
};

/* Returns 0 or an exit code, the failure printed. terms: zeros. */
int search_terms_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                       const struct search_words *given, struct search_terms *terms);
void search_terms_free(struct search_terms *terms);

#endif
