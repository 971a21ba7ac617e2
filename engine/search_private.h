/* search_private.h: the parts of a search and how they fit together.
 *
 *     search.c        the public calls: checks, the handle, reading the hits' rows
 *     search_run.c    what is looked at: memtables row by row, segments through their sections, or row by row where they have none that is good
 *     search_list.c   the hits: all, or the best so many
 *
 * A hit of a section is a row version; it counts only if it is the newest of its key that the snapshot sees, so each is checked against the memtables and those segments that may hold something newer. Where only the best so many are
 * wanted, a section is asked for the next best until that is so or what it gives is worse than all that were found: what does not count is made up for.
 */
#ifndef MOTE_ENGINE_SEARCH_PRIVATE_H
#define MOTE_ENGINE_SEARCH_PRIVATE_H

#include "engine/get_private.h"

struct search_hit {
    double rank; /* the smaller the better */
    uint64_t segment_id; /* 0: a memtable's */
    uint64_t key_at;     /* in list.keys */
    uint32_t key_bytes;
};

/* Without a limit in the order of arrival, else a heap with the worst at its top; until it is sorted: by rank, then key. */
struct search_list {
    struct memory *memory;
    uint64_t limit; /* 0: none */
    struct search_hit *hits;
    uint64_t count, capacity;
    uint8_t *keys;
    uint64_t keys_bytes, keys_capacity;
};

/* MOTE_EBUDGET. A hit that is worse than a full list's worst is passed over. */
int search_list_add(struct search_list *list, double rank, uint64_t segment_id, const uint8_t *key, uint32_t key_bytes);
/* Beyond this rank nothing is wanted. */
double search_list_bound(const struct search_list *list);
/* Removes the segment's hits. */
void search_list_forget(struct search_list *list, uint64_t segment_id);
void search_list_sort(struct search_list *list);
void search_list_free(struct search_list *list);

struct search {
    mote_table *table;
    const struct schema *schema;
    const struct mote_search_options *options;
    struct manifest_index index;
    uint32_t columns[ROW_INDEX_COLUMNS_MAX];
    double squared_max; /* of what counts */
    uint64_t snapshot;
    struct search_list *list;
    /* For the time of the search: */
    struct view view;
    const struct segment_list *segments;
    struct reader *reader;
    struct sst_iterator *iterator;
    /* Of the present segment: */
    struct segment *segment;
    struct segment **rivals; /* others that may hold newer versions of its keys */
    uint32_t rival_count;
    uint64_t *marks;         /* a bit for each row: whether its time is in the range; NULL: not known */
    uint32_t *ordinals;      /* found in the section */
    double *ranks;
    uint64_t found_count, found_capacity;
};

/* Fills search->list. */
int search_run(struct search *search);

#endif
