/* search_private.h: the parts of a search and how they fit together.
 *
 *     search.c          mote_search: checks, the handle
 *     search_hits.c     the handle's calls: reading the hits' rows
 *     search_plan.c     terms: their indexes, which one ranks, what is refused
 *     search_run.c      what is looked at: memtables, segments one after the other; the survey before, where a rank needs one
 *     search_segment.c  one segment: which terms are asked through their sections, in which order, and what is done with what they mark
 *     search_recent.c   rows of memtables: the batches that are indexed in memory (recent.h), as segments are, and the others one by one
 *     search_own.c      rows that the searching transaction has written
 *     search_row.c      one row: values, terms that no section answered, whether it is the newest version
 *     search_list.c     the hits: all, or the first so many
 *     search_tie.c      the order of hits whose values are longer than their ranks
 *     search_explain.c  what was done, in words
 *     search_terms.c    the kinds of terms, each behind search_term.h
 *
 * A hit of a section is a row version; it counts only if it is the newest of its key that the snapshot sees, so each is checked against the memtables and those segments that may hold something newer. Where only the first so many are
 * wanted, a section is asked for the next best until that is so or what it gives comes after all that were found: what does not count is made up for.
 */
#ifndef MOTE_ENGINE_SEARCH_PRIVATE_H
#define MOTE_ENGINE_SEARCH_PRIVATE_H

#include "engine/chunk.h"
#include "engine/get_private.h"
#include "engine/recent.h"
#include "engine/retention.h"
#include "engine/search_term.h"

#define SEARCH_NOTES_MAX 8u
#define SEARCH_NOT_MARKED UINT64_MAX
#define SEARCH_OWN_ROWS (UINT64_C(1) << 63) /* segments count from below, batches from above */

struct overlay;

/* What a transaction has written, as a search sees it. */
struct search_own {
    struct overlay *overlay; /* NULL: the search is not a transaction's */
    uint64_t seq, epoch;     /* of its writes those up to seq, while the epoch is the same */
    bool asked_time;         /* its rows do not expire: the times that were asked for */
    int64_t from_ns, to_ns;
};

/* ---- Hits ---- */

struct search_hit {
    double value;        /* of its rank; after search_list_settle the score */
    uint64_t segment_id; /* or that of a batch; 0: a memtable's; SEARCH_OWN_ROWS: a transaction's */
    uint64_t key_at;     /* in list.bytes; the rank's bytes lie before it */
    uint32_t key_bytes, rank_bytes;
};

/* Without a limit in the order of arrival, else a heap with the last in order at its top; until it is sorted: by rank, then key. */
struct search_list {
    struct memory *memory;
    uint64_t limit; /* 0: none */
    bool keys_descending;
    /* Ranks of cut_bytes bytes may be cut: hits whose ranks are the same are ordered by their rows' values (search_tie.c). NULL: by their keys. A failure stays, and is the search's. */
    int (*order)(void *context, const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes, int *order);
    void *order_context;
    uint32_t cut_bytes;
    int failure;
    struct search_hit *hits;
    uint64_t count, capacity;
    uint8_t *bytes;
    uint64_t bytes_used, bytes_capacity;
};

/* MOTE_EBUDGET. A hit that comes after a full list's last is passed over. */
int search_list_add(struct search_list *list, const struct search_rank *rank, uint64_t segment_id, const uint8_t *key, uint32_t key_bytes);
/* Whether a row of this rank and key (NULL: whatever it is) may still become a hit. */
bool search_list_wants(struct search_list *list, const struct search_rank *rank, const uint8_t *key, uint32_t key_bytes);
/* Nothing of a greater rank value is wanted. */
double search_list_bound(const struct search_list *list);
/* Removes the segment's hits. */
void search_list_forget(struct search_list *list, uint64_t segment_id);
int search_list_sort(struct search_list *list);
void search_list_free(struct search_list *list);

/* ---- What was done ---- */

/* Of one term, over all segments. */
struct search_term_note {
    uint32_t kind; /* enum mote_term_kind */
    const char *name;
    bool has_index, ranks;
    char index[MOTE_NAME_BYTES_MAX + 1];
    uint32_t column_count, columns[ROW_INDEX_COLUMNS_MAX]; /* positions */
    uint64_t marked, ranked, by_rows, failed; /* segments */
    uint64_t marked_recent, ranked_recent;    /* batches of rows in memory */
};

enum search_way { SEARCH_RANKED = 1, SEARCH_MARKED = 2, SEARCH_SCANNED = 3 };

/* Of one segment. A step is a term, or the time range: MOTE_SEARCH_TERMS_MAX. */
struct search_segment_note {
    uint64_t segment_id, row_count, examined, marked_count;
    enum search_way way;
    uint32_t step_count;
    uint8_t steps[MOTE_SEARCH_TERMS_MAX + 1]; /* those that were estimated, the fewest rows first */
    uint64_t estimates[MOTE_SEARCH_TERMS_MAX + 1];
    uint64_t after[MOTE_SEARCH_TERMS_MAX + 1]; /* rows that were marked then, or SEARCH_NOT_MARKED */
};

struct search_report {
    uint32_t term_count;
    struct search_term_note terms[MOTE_SEARCH_TERMS_MAX];
    bool use_time_range;
    uint64_t time_marked, time_by_rows, time_inside; /* segments */
    uint64_t segments, out_of_time, ways[SEARCH_SCANNED + 1];
    uint64_t blocks_excluded, memtable_rows, examined, surveyed;
    uint64_t batches, batch_rows; /* rows in memory that are indexed */
    uint32_t note_count;
    struct search_segment_note notes[SEARCH_NOTES_MAX];
};

/* NULL: no memory. */
char *search_explain(struct memory *memory, const struct search_report *report, const struct schema *schema, uint64_t hit_count);

/* ---- The handle ---- */

#define SEARCH_BATCH_ROWS 256u

struct mote_hits {
    mote_table *table;
    uint64_t snapshot;
    uint32_t snapshot_slot; /* UINT32_MAX: none */
    struct search_own own;
    struct time_filter filter; /* what has expired, as of the search */
    struct search_list list;
    struct search_report report;
    char *explained; /* NULL: not asked yet */
    /* The rows that were read last: of hits next - (row_count - row_next), ... in the order of the hits. */
    mote_row *rows[SEARCH_BATCH_ROWS];
    uint32_t row_count, row_next;
    uint32_t batch_rows; /* so many at once, by the size of those before */
    uint64_t next;       /* in the list: the first hit whose row is not read yet */
    struct chunk_buffer chunk;
    double *scores; /* of the chunk's rows */
};

/* mote_search; of a transaction: own (else NULL) and the snapshot, which the options must not name. */
int search_open(mote_table *table, const struct mote_search_options *given, const mote_snapshot *snapshot, struct overlay *overlay, mote_hits **hits);

/* ---- The search ---- */

/* A term, and what it is in the present segment or batch. */
struct search_part {
    struct search_term term;
    struct search_term_note *note;
    bool open; /* its section may be asked */
    bool sure; /* every row that is offered satisfies it */
    struct segment_index *index;
    struct recent_section *recent; /* of a batch */
    struct sst_index_section at;
    struct search_section section;
    uint64_t estimate; /* rows; of the segment all, where nothing is known */
};

struct search {
    mote_table *table;
    const struct schema *schema;
    struct memory *memory;
    const struct mote_search_options *options;
    uint64_t snapshot;
    const struct time_filter *filter; /* NULL: nothing has expired; else the options' time range is cut to it, and its gaps are asked of each row */
    bool segments_only; /* of the present moment, without rows that only memtables have (unique.c) */
    const struct search_own *own; /* NULL: no transaction's */
    struct search_list *list;
    struct search_report *report;
    uint32_t part_count, prepared_count;
    struct search_part parts[MOTE_SEARCH_TERMS_MAX];
    uint32_t match_order[MOTE_SEARCH_TERMS_MAX]; /* in which rows are asked */
    struct search_part *ranking; /* NULL: none */
    /* For the time of the search: */
    struct view view;
    const struct segment_list *segments;
    struct reader *reader;
    struct sst_iterator *iterator;
    struct recent_view *recents; /* of each of the view's generations */
    mote_row *tied[2];           /* that are compared */
    /* Of the present segment, or of the present batch of rows in memory: */
    struct segment *segment;    /* NULL: a batch, or neither */
    struct recent_batch *batch; /* NULL: a segment, or neither */
    uint64_t unit_id, row_count;
    struct segment **rivals; /* others that may hold newer versions of its keys */
    uint32_t rival_count;
    bool time_sure;
    uint64_t *marks, *more_marks; /* a bit for each row, word_count words; room for the largest segment, made when needed */
    uint64_t word_count, words_capacity;
    uint64_t marked_count;
    bool has_marks;
    struct search_ranking ranks;
    int offer_result; /* of a row that a section gave */
};

/* ---- search_plan.c ---- */
int search_plan(struct search *search);
/* Also after search_plan failed. */
void search_plan_destroy(struct search *search);

/* ---- search_row.c ---- */
/* Where a row's values are: a memtable's image, or else the row that the search's iterator stands on. */
struct search_source {
    const struct schema *image_schema;
    const uint8_t *image;
    bool own; /* the searching transaction's */
};
/* Asks the row for each term that is not sure, and its time. *rank is made if something ranks, and rank_known does not say that it is made already (then the term that ranks is satisfied too). */
int search_match(struct search *search, const struct search_source *source, bool rank_known, struct search_rank *rank, bool *matches);
/* The values of the term's columns. */
int search_values(struct search *search, const struct search_source *source, const struct search_term *term, struct mote_value *values);
/* A row of the present segment. rank NULL: its values tell; else *unwanted (may be NULL) tells whether it comes after all that are wanted. */
int search_offer(struct search *search, uint32_t ordinal, const struct search_rank *rank, bool *unwanted);
/* Before a section offers rows with their ranks: of each row only its key is read then, and the columns that no section has answered, not the block of vectors or texts that it lies in. */
void search_narrow(struct search *search);
/* Looks at every row of the present segment whose block the zone maps do not exclude. */
int search_scan(struct search *search);
/* The same for the term's survey; every row whatever the terms. */
int search_scan_survey(struct search *search, struct search_term *term);
/* Nothing that ranks, and as many as are wanted, whichever they are. */
bool search_has_enough(const struct search *search);
/* Where nothing ranks. */
extern const struct search_rank search_no_rank;

/* Whether the version, in a memtable, is the newest of its key that the snapshot sees. */
int search_newest_in_memtables(struct search *search, const struct record *record, bool *newest);

/* ---- search_own.c ---- */
/* What the transaction made of the key: whether anything, and the row's version (row NULL: not wanted), if it did not delete it. */
int search_own_find(const struct search_own *own, uint64_t table_id, const uint8_t *key, uint32_t key_bytes, struct mote_row *row, bool *decided, bool *found);
/* All rows of the transaction; and the same for the survey of the term that ranks. */
int search_own_rows(struct search *search);
int search_own_survey(struct search *search);
bool search_own_wants_time(const struct search_own *own, bool has_time, int64_t time_ns);
/* MOTE_EINVAL once the transaction has ended, or taken back what the hits are to show. */
int search_own_check(const struct search_own *own);

/* ---- search_tie.c ---- */
/* The list compares by values what ranks do not tell; and it does not any more. */
void search_tie_begin(struct search *search);
void search_tie_end(struct search *search);

/* ---- search_recent.c ---- */
int search_recents_begin(struct search *search); /* after the view; MOTE_EBUDGET */
void search_recents_end(struct search *search);
/* All rows in memory; and the same for the survey of the term that ranks. */
int search_recents(struct search *search);
int search_recents_survey(struct search *search);
/* A row of the present batch: as search_offer. */
int search_recent_offer(struct search *search, uint32_t ordinal, const struct search_rank *rank, bool *unwanted);

/* ---- search_segment.c ---- */
int search_segment(struct search *search, struct segment *segment);
/* The same of a batch. */
int search_batch(struct search *search, struct recent_batch *batch);
void search_enter_batch(struct search *search, struct recent_batch *batch);
void search_leave_batch(struct search *search);
/* Opens the term's section in the present segment, if there is one that is good; part->open. */
int search_open_section(struct search *search, struct search_part *part);
void search_close_section(struct search *search, struct search_part *part);
/* The section failed a check, or could not be read: the rows answer, here and until it is rebuilt. */
void search_give_up(struct search *search, struct search_part *part);
/* The present segment, and who may hold newer versions of its rows. */
void search_enter(struct search *search, struct segment *segment);

/* ---- search_run.c ---- */
/* Fills search->list. */
int search_run(struct search *search);

#endif
