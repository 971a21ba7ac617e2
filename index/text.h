/* text.h: the text index: words to ordinals, with what ranking by BM25 and phrases need. A segment's section is built from its rows, searched, merged and verified as index.h says of every index; rows that still lie in a
 * memtable are matched one by one with the same query (text_match), and both are ranked by the same summed statistics, so that neither the number of segments nor where a row lies changes a score.
 *
 *   a search over sections and memtable rows:
 *     text_query_parse      once
 *     text_search_open      for each section, text_match for each memtable row
 *     text_search_statistics, text_statistics_add      all of them, into one struct text_statistics
 *     text_search_run       for each section, text_match_score for each memtable row
 *
 * Format: text_format.h. Query syntax, page format, memory and figures: docs/indexes-text.md.
 * Threads: an analyser, a builder and a search belong to one thread; a query is read-only once parsed and may be used by many; an open section may be searched by many. Failures: MOTE_EINVAL (arguments; a query's error names
 * the byte), MOTE_EBUDGET, MOTE_EDAMAGED, MOTE_EIO, and what sink, source and callbacks return.
 */
#ifndef MOTE_INDEX_TEXT_H
#define MOTE_INDEX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blockdev/section.h"

struct memory;

#define TEXT_TERM_BYTES_MAX 128u        /* a longer word is cut, at a character */
#define TEXT_QUERY_BYTES_MAX 65536u
#define TEXT_QUERY_LEAVES_MAX 64u       /* words, prefixes and phrases of a query */
#define TEXT_QUERY_TERMS_MAX 128u       /* words of a query, those of its phrases included */
#define TEXT_QUERY_DEPTH_MAX 32u        /* parentheses in parentheses */
#define TEXT_PHRASE_POSITIONS_MAX 128u  /* from a phrase's first word to its last */
#define TEXT_PREFIX_TERMS_MAX 65536u    /* words of one section that one prefix stands for */

/* ---- Analysis: bytes to terms ---- */

struct text_options {
    uint32_t language;    /* of the stemmer: 0 none, else from text_language_find */
    bool keep_diacritics; /* false: combining marks are dropped (é is e), as SQLite FTS5's unicode61 does with remove_diacritics=2 */
};

enum text_token_kind {
    TEXT_TOKEN_WORD = 0,
    TEXT_TOKEN_PAIR = 1,   /* two characters of a run of Chinese or Japanese ones */
    TEXT_TOKEN_LAST = 2,   /* the last character of such a run of several */
    TEXT_TOKEN_SINGLE = 3, /* such a run of one character */
};
struct text_token {
    const uint8_t *term; /* 1 to TEXT_TERM_BYTES_MAX bytes of UTF-8; valid during the call */
    uint32_t term_bytes;
    const uint8_t *word; /* the same before stemming */
    uint32_t word_bytes;
    uint32_t position; /* 0, 1, 2, ... in the text */
    enum text_token_kind kind;
};
typedef int (*text_token_function)(void *context, const struct text_token *token);

struct text_analyser;
/* The number of a language by the name of its Snowball stemmer ("english", "german", "porter", ...); MOTE_EINVAL, MOTE_ENOTSUP (the installed libstemmer lacks it). NULL and "" are 0. */
int text_language_find(const char *name, uint32_t *language);
const char *text_language_name(uint32_t language); /* "" of 0; NULL: there is none of that number */
/* The stemmer's own few hundred bytes come from malloc, everything else from memory. */
int text_analyser_create(struct memory *memory, const struct text_options *options, struct text_analyser **analyser);
void text_analyser_destroy(struct text_analyser *analyser);
/* Calls take for each token in order; its non-zero result stops and is returned. token_count (may be NULL): the text's length in tokens. */
int text_analyse(struct text_analyser *analyser, const void *text, size_t text_bytes, text_token_function take, void *context, uint32_t *token_count);

/* ---- Building ---- */

struct text_builder;
/* The analyser is used by add, and outlives the builder. Memory: docs/indexes-text.md has the formula. */
int text_builder_create(struct memory *memory, struct text_analyser *analyser, struct text_builder **builder);
/* Row `ordinal` (ascending, below UINT32_MAX) has this text. A row without a text (NULL) is not added and is no document; an empty text is one. After MOTE_EBUDGET the builder can but be destroyed. */
int text_builder_add(struct text_builder *builder, uint32_t ordinal, const void *text, size_t text_bytes);
uint64_t text_builder_memory_bytes(const struct text_builder *builder);
/* Bounds the memory, that of finish included. Where the next word does not fit, full is called, also in the midst of a text: it writes what the builder holds as a section of its own (text_builder_finish), and the builder goes on without
 * it. All such sections in their order and the last one are one text index in parts, which text_merge (new_ordinals NULL) puts together. full NULL: MOTE_EBUDGET instead. At least TEXT_BUILDER_BYTES_MIN are used where they are needed. */
void text_builder_set_limit(struct text_builder *builder, uint64_t memory_bytes_max, int (*full)(void *context), void *context);
#define TEXT_BUILDER_BYTES_MIN (2u << 20)
/* More than half of the limit is taken, that of finish included: a good moment to end, while a row more is safe. */
bool text_builder_is_half_full(const struct text_builder *builder);
/* The section is not longer, gaps not included; what was written in parts is not counted. And the same of everything since the beginning, for the merged section. */
uint64_t text_builder_section_bytes_bound(const struct text_builder *builder);
uint64_t text_builder_merged_bytes_bound(const struct text_builder *builder);
/* Writes the section. One of no rows is valid. */
int text_builder_finish(struct text_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
void text_builder_destroy(struct text_builder *builder);

/* ---- Merging ---- */

/* new_ordinals NULL, for all inputs: they are parts of one index, in order; ordinals stay as they are. */
#define TEXT_DROPPED SECTION_ROW_DROPPED
/* One section out of several, the same byte for byte as one built from the surviving rows. Memory: a few pages for each input and each stream, 4 bytes for each row that is mapped, and 16 for each page written. Inputs of other analyses: MOTE_EINVAL. */
int text_merge(struct memory *memory, const struct text_options *options, const struct section_merge_input *inputs, uint32_t input_count, const struct section_identity *identity, const struct section_sink *sink,
               struct section_root *root);
/* What text_merge writes is not longer, gaps not included. */
int text_merge_section_bytes_bound(struct memory *memory, const struct section_merge_input *inputs, uint32_t input_count, uint64_t *bytes);

/* ---- Queries ---- */

struct text_query_options {
    bool any_word; /* words side by side: false, all of them (AND); true, any of them (OR) */
};
struct text_query;
/* The query is analysed by analyser, which it does not keep. MOTE_EINVAL with a sentence that names the byte (from 0) where the query is wrong; MOTE_ETOOBIG beyond the limits above. */
int text_query_parse(struct memory *memory, struct text_analyser *analyser, const void *bytes, size_t byte_count, const struct text_query_options *options, struct text_query **query);
void text_query_destroy(struct memory *memory, struct text_query *query);

/* Begins as zeros. */
struct text_statistics {
    uint64_t documents;                          /* rows with a text */
    uint64_t tokens;                             /* of them all */
    uint64_t matching[TEXT_QUERY_LEAVES_MAX];    /* documents in which each word, prefix or phrase of the query occurs */
};

/* ---- One text against a query ---- */

struct text_match {
    bool matches;
    uint32_t length;                             /* in tokens */
    uint32_t frequencies[TEXT_QUERY_LEAVES_MAX]; /* occurrences of each word, prefix or phrase of the query */
};
int text_match(const struct text_query *query, struct text_analyser *analyser, const void *text, size_t text_bytes, struct text_match *match);
/* Whether it matches or not: it is a document of the table. */
void text_statistics_add(const struct text_query *query, const struct text_match *match, struct text_statistics *statistics);
/* Of a text that matches. */
double text_match_score(const struct text_query *query, const struct text_match *match, const struct text_statistics *statistics);

/* ---- One section against a query ---- */

struct text_search;
/* Looks the query's words up. query, identity, root and source outlive the search. options: those of the query's analyser; a section of another analysis is MOTE_EINVAL. */
int text_search_open(const struct text_query *query, const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source,
                     struct memory *memory, struct text_search **search);
void text_search_close(struct text_search *search);
/* What text_search_statistics found of phrases and prefixes in a section, kept beyond the search: another one of the same query in the same section, which is opened with it, does not evaluate them again. */
struct text_findings;
/* Takes it out of a search that is closed next. NULL: there is nothing, it takes more than bytes_max, or there is no memory for it. *bytes: what it takes. */
struct text_findings *text_search_keep(struct text_search *search, uint64_t bytes_max, uint64_t *bytes);
void text_findings_destroy(struct memory *memory, struct text_findings *findings); /* NULL is allowed */
/* As text_search_open; findings (NULL: there are none) are the search's from then on, also after a failure. */
int text_search_open_again(const struct text_query *query, const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source,
                           struct memory *memory, struct text_findings *findings, struct text_search **search);
/* About how many documents match, at most: what the dictionary says. */
uint64_t text_search_estimate(const struct text_search *search);
/* Only ordinals whose bit is set are hits from now on; NULL: all. */
void text_search_set_filter(struct text_search *search, const uint64_t *marks, uint64_t mark_count);
/* All documents that match, ascending, without scores. */
int text_search_all(struct text_search *search, int (*hit)(void *context, uint32_t ordinal), void *context);
/* Adds this section's. Words come from the dictionary; phrases and prefixes have their postings read. */
int text_search_statistics(struct text_search *search, struct text_statistics *statistics);
/* Calls hit with the documents that match in ascending order of ordinals, but for those whose score is below *threshold, which may be left out; hit may raise *threshold (to the score of its k-th best so far that still lives), and
 * its non-zero result stops and is returned. Score: BM25, higher is better (text_match.c has formula and source). threshold -INFINITY: all matches. */
int text_search_run(struct text_search *search, const struct text_statistics *statistics, double threshold, int (*hit)(void *context, uint32_t ordinal, double score, double *threshold), void *context);

/* Walks every page: checksums, order of terms, ordinals ascending and below row_count, positions ascending and below the lengths, sums equal to the root's totals. */
int text_verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count);

/* An occurrence of a word in a document; term NULL: a document, whose length in tokens is `position`. */
struct text_occurrence {
    const uint8_t *term;
    uint32_t term_bytes, ordinal, position;
};
/* Everything that a section holds: the occurrences of each word in the order of the words, then the documents; the non-zero result of visit stops and is returned. MOTE_EINVAL: a section of other options. */
int text_visit(const struct text_options *options, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory,
               int (*visit)(void *context, const struct text_occurrence *occurrence), void *context);

#endif
