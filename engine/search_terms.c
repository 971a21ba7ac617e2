/* search_terms.c: all kinds of search terms. */
#include "engine/search_term.h"

extern const struct search_term_ops search_box_ops, search_radius_ops, search_nearest_ops;
extern const struct search_term_ops search_column_ops;
extern const struct search_term_ops search_words_ops;
extern const struct search_term_ops search_vector_ops;

const struct search_term_ops *const search_terms[] = {
    &search_box_ops,
    &search_radius_ops,
    &search_nearest_ops,
    &search_column_ops,
    &search_words_ops,
    &search_vector_ops,
    NULL,
};
