/* text_search_private.h: what text_search.c and text_leaf.c share: the state of a query's leaves in one section. */
#ifndef MOTE_INDEX_TEXT_SEARCH_PRIVATE_H
#define MOTE_INDEX_TEXT_SEARCH_PRIVATE_H

#include "index/text_private.h"

/* The cursors of one word (at most one) or of one prefix; a heap by where they stand. */
struct text_heads {
    struct text_cursor **cursors;
    uint32_t count, capacity;
    uint64_t documents; /* the sum of theirs */
};
struct text_leaf_state {
    struct text_section *section; /* NULL: never opened */
    const struct text_item *items;
    uint32_t item_count;
    struct text_heads *heads; /* for each item */
    uint64_t documents_max;   /* it occurs in no more */
    bool begun;               /* at is valid */
    uint32_t at, frequency;   /* frequency: of a phrase */
    struct text_numbers starts, positions;
    /* All documents of a phrase or prefix and its frequencies there, two by two, noted while they were counted; if there were not too many, the leaf is read from here afterwards. */
    struct text_numbers noted;
    bool is_noted;
    uint32_t noted_index, noted_frequency_max;
};
/* The state is filled, whether it succeeds or not; close it in either case. */
int text_leaf_open(struct text_section *section, struct text_leaf_state *state, const struct text_item *items, uint32_t item_count);
/* What a leaf has noted, on its way from one state to another; the values are of the section's memory. */
struct text_leaf_finding {
    struct text_numbers noted;
    uint32_t noted_frequency_max;
    uint64_t documents_max;
};
/* Moves it out, if it is noted and takes at most bytes_max; the state is but to be closed then. */
bool text_leaf_keep(struct text_leaf_state *state, uint64_t bytes_max, struct text_leaf_finding *finding);
/* In place of text_leaf_open: the leaf's words are not looked up. */
void text_leaf_open_found(struct text_section *section, struct text_leaf_state *state, const struct text_item *items, uint32_t item_count, struct text_leaf_finding *finding);
void text_leaf_close(struct text_leaf_state *state);
int text_leaf_rewind(struct text_leaf_state *state);
/* In how many documents it occurs. */
int text_leaf_count(struct text_leaf_state *state, uint64_t *documents);
/* Forward to the first document not below target; state->at. */
int text_leaf_seek(struct text_leaf_state *state, uint32_t target);
uint32_t text_leaf_frequency(const struct text_leaf_state *state); /* at state->at */
/* No document from target to *until has a higher score of this leaf. */
int text_leaf_bound(struct text_leaf_state *state, const struct text_scoring *scoring, uint32_t leaf, uint32_t target, double *bound, uint32_t *until);

#endif
