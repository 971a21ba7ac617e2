/* search_term.h: the one interface of the kinds of search terms (enum mote_term_kind): a condition on a row, which a section of an index may answer for a whole segment, and by which the rows may be ranked.
 *
 * Each kind has one struct search_term_ops (engine/term_<kind>.c); search_run.c, which calls them, knows rows, versions and segments, and no kind. A row is what counts: a section only tells which rows are worth looking at, and how they
 * rank; what is not in a section (memtables, segments without one, or with one that fails a check) is told by match() from the row's values, and both must say the same, bit for bit.
 *
 * Order of calls: prepare; then, if the term ranks by statistics of the whole table, survey_row and survey_section for everything that is searched; then match for rows, and for each segment open, estimate, mark or rank, close;
 * destroy in the end, also after a failed prepare.
 * Threads: the searching one. Failures: MOTE_EINVAL and MOTE_ETOOBIG from prepare only (one sentence that names the term); MOTE_EIO and MOTE_EDAMAGED of a section mean that it is given up and the segment's rows answer; everything else ends the search.
 */
#ifndef MOTE_ENGINE_SEARCH_TERM_H
#define MOTE_ENGINE_SEARCH_TERM_H

#include "engine/engine_private.h"

#define SEARCH_RANK_BYTES_MAX 512u

/* The place of a row in the order: by value, the smaller first; among equals by bytes, as unsigned numbers, the shorter first where one begins with the other; then by key. */
struct search_rank {
    double value;
    uint32_t byte_count;
    uint8_t bytes[SEARCH_RANK_BYTES_MAX];
};

struct search_term {
    const struct search_term_ops *ops;
    struct mote_db *db;
    const struct mote_term *given; /* outlives the search */
    const struct schema *schema;
    const char *table_name;
    struct memory *memory;
    bool ranks;                    /* the hits are ordered by this term */
    bool has_index;
    struct manifest_index index;   /* if it has one */
    uint32_t column_count;         /* of the index, or as given; the kind's prepare checks number and types where there is no index */
    uint32_t columns[ROW_INDEX_COLUMNS_MAX];
    void *state;                   /* the kind's own */
};

/* A segment's section of the term's index. */
struct search_section {
    const struct sst_index_section *at; /* identity, root, source */
    uint64_t row_count;                 /* of the segment: ordinals are below it, or the section is damaged */
    void *state;                        /* the kind's own, from open to close */
};

/* Rows by rank: what a kind is given to work on. */
struct search_ranking {
    const uint64_t *marks; /* a bit for each ordinal: only these are wanted; NULL: all */
    double marked_share;   /* of the rows; 1 where marks is NULL */
    uint64_t wanted;       /* so many hits are asked for in all; 0: all */
    double bound;          /* no row of a greater rank value is wanted; grows smaller as hits are found: read it again after each offer */
    /* A row that the section gives. rank: NULL where only the row's values tell it. *enough: it came after the last that is wanted, and so will each that ranks (value, bytes, ordinal) behind it. */
    /* What it returns other than 0 is returned by rank, as it is. */
    int (*offer)(void *context, uint32_t ordinal, const struct search_rank *rank, bool *enough);
    void *context;
};

struct search_term_ops {
    uint32_t kind_first, kind_last; /* enum mote_term_kind */
    uint32_t index_kind;            /* enum mote_index_kind */
    bool needs_index;               /* cannot be asked without a declared index */
    bool always_ranks;              /* at most one such term is in a search */
    bool may_rank;                  /* ranks where nothing else does, or on demand */
    const char *name;               /* "equal", "nearest", ...: for sentences and explain */

    /* Checks the operands; makes what the others need. */
    int (*prepare)(struct search_term *term);
    void (*destroy)(struct search_term *term);

    /* What mote_hit_chunk.scores tells of a rank value: a distance, BM25. NULL: 0. Only of the term that ranks. */
    double (*score)(const struct search_term *term, double value);

    /* Of each newest version that the search sees and no section has; of each section: all of it or, where it fails, nothing. NULL: a rank needs nothing but the row. */
    int (*survey_row)(struct search_term *term, const struct mote_value *values);
    int (*survey_section)(struct search_term *term, struct search_section *section);

    /* Whether a row with these values (column_count) satisfies the term; *rank (NULL: not wanted) where it does and the term ranks. */
    int (*match)(struct search_term *term, const struct mote_value *values, bool *matches, struct search_rank *rank);

    /* Where ranks have bytes, and those of cut_bytes may be cut: the order of two values (of the term's first column, not NULL) whose ranks are the same. NULL: ranks tell all. */
    int (*order)(const struct search_term *term, const struct mote_value *a, const struct mote_value *b);
    uint32_t cut_bytes;

    /* Whether the zone maps of a block say that none of its rows satisfies it. NULL: they say nothing. */
    bool (*excludes)(const struct search_term *term, const struct sst_statistics *statistics);

    /* NULL: nothing to be done. open reads little: a root, a directory. */
    int (*open)(struct search_term *term, struct search_section *section);
    void (*close)(struct search_term *term, struct search_section *section);
    /* About how many rows satisfy it; from little reading. */
    int (*estimate)(struct search_term *term, struct search_section *section, uint64_t *rows);
    /* Sets the bit of every row that satisfies it (all are 0 before, *exact is true), and if it sets *exact to false, perhaps of others, whose values are asked then. NULL: the kind cannot. */
    int (*mark)(struct search_term *term, struct search_section *section, uint64_t *marks, bool *exact);
    /* Offers the rows that satisfy it, mostly best first, until nothing is left, or enough. What it offers satisfies the term if the rank is given. NULL: the kind cannot; then rows are marked, and ranked by their values. */
    int (*rank)(struct search_term *term, struct search_section *section, struct search_ranking *ranking);
};

/* Ended by NULL. */
extern const struct search_term_ops *const search_terms[];

#endif
