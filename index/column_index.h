/* column_index.h: the column index: the values of one column of a segment's rows, known by ordinal, in order, as a section: built from rows in key order, searched by equality, range, list, prefix and NULL, in both directions, counted,
 * verified. Format: column_format.h; what it costs: docs/indexes-column.md.
 *
 * Types: int64, int32, timestamp, float64, float32, bool, text, blob. Order: numbers by value, false before true, text and blob by their bytes as unsigned numbers, the shorter first where one begins with the other (UTF-8: the order of
 * code points). NULL is no value and comes after all values. Rows of equal values are in the order of their ordinals.
 * Floats: -0.0 and 0.0 are equal, and come back as 0.0. NaN is equal to NaN and greater than infinity: it is found by equality with NaN and by ranges that reach beyond infinity; one who wants IEEE's comparisons ends a range at infinity.
 * All NaNs come back as the same quiet one.
 * Long values: of a text or blob of more than COLUMN_KEPT_BYTES bytes the index keeps that many, and that there are more. Such rows come back with `inexact` set: what is there is the beginning of the value, their order among each other
 * is by ordinal, and if an operand of the query is longer than COLUMN_KEPT_BYTES too, only the row can tell whether it belongs to the answer. With operands that are no longer, answers are exact.
 *
 * Memory: of the struct memory handed over, nothing else; how much is said with each call. Nothing here is recursive.
 * Threads: a builder and a search belong to one thread; a section may be searched by many. Failures: MOTE_EINVAL (misuse), MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, and what sink and source return.
 */
#ifndef MOTE_INDEX_COLUMN_INDEX_H
#define MOTE_INDEX_COLUMN_INDEX_H

#include "include/mote.h"
#include "index/index.h"

#define COLUMN_KEPT_BYTES 254u
#define COLUMN_PAGE_BYTES_DEFAULT (16u * 1024u)
#define COLUMN_PAGE_BYTES_MIN (4u * 1024u)
#define COLUMN_SEARCH_BYTES_MAX (40u * 1024u)
#define COLUMN_WRITER_BYTES_MAX (2048u * 1024u)
#define COLUMN_BATCH_ROWS 128u

/* ---- Building ---- */

struct column_builder;
/* type: enum mote_type of the column. rows_max: the rows at most, NULLs included, at most 2^32 - 2. page_bytes: no page is longer; COLUMN_PAGE_BYTES_MIN to INDEX_PAGE_BYTES_MAX, 0: COLUMN_PAGE_BYTES_DEFAULT. */
int column_builder_create(struct memory *memory, uint32_t type, uint64_t rows_max, uint32_t page_bytes, struct column_builder **builder);
/* Rows first_ordinal, + 1, + 2, ... (ascending from call to call) have these values; NULLs by the validity. A bool that is neither 0 nor 1 counts as 1. MOTE_EINVAL (another type, out of order, too many): the builder stays as it was;
 * MOTE_EBUDGET: it can but be destroyed. */
int column_builder_add_many(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values);
/* The same, but rows whose byte in `absent` is not 0 are not in the index, neither as values nor as NULLs. absent: NULL: all are. */
int column_builder_add_present(struct column_builder *builder, uint32_t first_ordinal, const struct codec_vector *values, const uint8_t *absent);
/* Of what was added: the memory that different texts or blobs take at most, the writing included (0 of other types), and column_bytes_bound. */
uint64_t column_builder_kept_bytes(const struct column_builder *builder);
uint64_t column_builder_section_bytes(const struct column_builder *builder);
/* Writes the section. A section of no rows is valid. Once only: it reorders what the builder holds. */
int column_builder_finish(struct column_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
void column_builder_destroy(struct column_builder *builder);
/* What a builder takes at most, the writing included. distinct, distinct_bytes: of text and blob, how many different values there are and their bytes (at most COLUMN_KEPT_BYTES + 1 each); else ignored. */
uint64_t column_builder_bytes(uint32_t type, uint64_t rows_max, uint64_t distinct, uint64_t distinct_bytes);
/* No section of so many rows is longer, gaps not included. value_bytes: of text and blob, the bytes of all rows' values; else ignored. */
uint64_t column_bytes_bound(uint32_t type, uint64_t rows, uint64_t value_bytes);

/* ---- Values ---- */

bool column_type_is_indexed(uint32_t type);
/* The order of the index, told from whole values of one such type, neither of them NULL: below 0, 0, above 0. */
int column_compare_values(const struct mote_value *a, const struct mote_value *b);
/* Bytes that, compared as unsigned numbers, are in this order (descending: in the reverse order); of texts and blobs by their first COLUMN_RANK_VALUE_BYTES bytes and whether there are more. Returns how many: at most COLUMN_RANK_BYTES_MAX. */
#define COLUMN_RANK_VALUE_BYTES 448u
#define COLUMN_RANK_BYTES_MAX (COLUMN_RANK_VALUE_BYTES / 8 * 9)
uint32_t column_rank_bytes(const struct mote_value *value, bool descending, uint8_t bytes[COLUMN_RANK_BYTES_MAX]);

/* ---- Searching ---- */

/* An index section and where its pages and memory come from. All must outlive the call, or the search. */
struct column_section {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    struct memory *memory;
};

enum column_bound_kind { COLUMN_OPEN = 0, COLUMN_INCLUDED = 1, COLUMN_EXCLUDED = 2 };

struct column_bound {
    enum column_bound_kind kind;
    struct mote_value value; /* of the column's type, not NULL; ignored if open */
};

enum column_query_kind {
    COLUMN_EQUAL = 1,  /* from.value */
    COLUMN_RANGE = 2,  /* from, to; nothing if from is above to */
    COLUMN_IN = 3,     /* values, in any order, repeated or not; none: no row */
    COLUMN_PREFIX = 4, /* text and blob: values that begin with from.value */
    COLUMN_NULL = 5,
    COLUMN_NOT_NULL = 6,
    COLUMN_ALL = 7,    /* values, then NULLs */
};

struct column_query {
    enum column_query_kind kind;
    bool descending; /* the exact reverse of the ascending answer, ordinals included */
    struct column_bound from, to;
    const struct mote_value *values;
    uint32_t value_count;
};

/* Rows that were found; valid until the next call. */
struct column_hits {
    uint32_t count; /* at most COLUMN_BATCH_ROWS */
    const uint32_t *ordinals;
    bool is_null;                /* all of them, or none */
    struct codec_vector values;  /* of the column's type; no validity. NULLs: zeros */
    const uint8_t *inexact;      /* a byte a row, 1: the value is longer than what is here. NULL: of none */
};

struct column_search;
/* Checks the query against the root, and reads nothing else. Copies what it needs of the query. Memory: COLUMN_SEARCH_BYTES_MAX, and 64 bytes for each value of a list; text and blob: their bytes too. */
int column_search_create(const struct column_section *section, const struct column_query *query, struct column_search **search);
/* 1: *hits are the next rows, in order; 0: there are none; or negative, and the search can but be destroyed. No page is pinned when it returns. */
int column_search_next(struct column_search *search, struct column_hits *hits);
void column_search_destroy(struct column_search *search);

/* How many rows column_search_next gives in all: from two paths of pages for each range or value. *inexact (may be NULL): only the rows can tell of some (see above), so that fewer may belong to the answer. */
int column_count(const struct column_section *section, const struct column_query *query, uint64_t *count, bool *inexact);

struct column_estimate {
    uint64_t least, most; /* no fewer and no more rows are in the answer */
    double expected;      /* between them */
};
/* For a planner: the root and inner pages only. */
int column_estimate(const struct column_section *section, const struct column_query *query, struct column_estimate *estimate);

/* The rows of an answer as a set, to intersect with others. */
struct column_set {
    uint64_t count;
    uint32_t *ordinals;  /* ascending, or NULL, and then: */
    uint64_t *words;     /* a bit for each ordinal below row_count, least significant first */
};
/* A list while the answer is at most a 64th of row_count (8 bytes a hit while it is built if hits are not in the order of their ordinals, else 4), a bitmap above. An ordinal of row_count or above is MOTE_EDAMAGED. */
int column_search_set(const struct column_section *section, const struct column_query *query, uint64_t row_count, struct column_set *set);
void column_set_destroy(struct memory *memory, struct column_set *set);

struct column_statistics {
    uint32_t type;
    uint64_t rows, nulls; /* rows: NULLs included */
    uint64_t distinct;    /* different values; long ones that begin alike count as one */
    bool min_inexact, max_inexact; /* these are beginnings of long values */
    struct mote_value min, max;    /* NULL where there is no value; bytes point into `bytes` */
    uint8_t bytes[2 * COLUMN_KEPT_BYTES];
};
/* From the root. */
int column_read_statistics(const struct column_section *section, struct column_statistics *statistics);

/* ---- Verifying ---- */

/* Walks every page: checksums, levels, order, separators, ordinals below row_count and none twice, counts and totals. Memory: COLUMN_SEARCH_BYTES_MAX and a bit a row. */
int column_verify(const struct column_section *section, uint64_t row_count);

#endif
