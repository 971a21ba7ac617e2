/* vector.h: the vector index: the float32 vectors of a segment's rows, known by ordinal, as a section: built from rows in key order in bounded steps, searched for the nearest, merged, verified.
 * Format: vector_format.h; what it costs: docs/indexes-vector.md.
 *
 * Vectors: `dimension` finite float32, 1 to MOTE_VECTOR_DIMENSION_MAX; NaN and infinities are MOTE_EINVAL. With VECTOR_COSINE what is stored is the vector divided by its length (in float64, rounded to float32); a vector of zeros stays
 * zero, and has the distance 1 from everything, as a query of zeros has.
 * Distances, everywhere here, float64: VECTOR_L2 the squared distance, VECTOR_INNER_PRODUCT the negative product, VECTOR_COSINE 1 - product of the two divided vectors. Element i goes to the partial sum i % 16 (in order; of
 * (query - element)^2 or query * element, each operation rounded to float64, none fused); these are added as s[j] + s[j + 8], then + 4, + 2, + 1. Every processor computes the same bits. Equal distances: the lower ordinal first.
 *
 * Sections of at most rows_flat_max rows are flat: every search looks at every vector. Larger ones are a graph (each node's page holds its vector and its neighbours), beside it codes of four bits an element, by which a search chooses the
 * nodes that it reads; what it returns is ranked by the exact distances of the nodes read. So a search of a graph may miss rows, but never returns a wrong distance.
 *
 * Memory: of the struct memory handed over, nothing else; docs/indexes-vector.md has the formulas. A search pins at most VECTOR_BEAM_MAX pages, and two more. Nothing here is recursive.
 * Threads: a builder and a search belong to one thread; an open index may be searched by many. Failures: MOTE_EINVAL, MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, and what sink, source and callbacks return.
 */
#ifndef MOTE_INDEX_VECTOR_H
#define MOTE_INDEX_VECTOR_H

#include "index/index.h"

enum vector_metric { VECTOR_L2 = 1, VECTOR_INNER_PRODUCT = 2, VECTOR_COSINE = 3 };

enum {
    VECTOR_DEGREE_MAX = 128,
    VECTOR_DEGREE_DEFAULT = 48,
    VECTOR_BUILD_LIST_DEFAULT = 96,
    VECTOR_LIST_MAX = 4096,
    VECTOR_LIST_DEFAULT = 48,
    VECTOR_BEAM_MAX = 32,
    VECTOR_BEAM_DEFAULT = 4,
    VECTOR_FLAT_DEFAULT = 1000,
};
#define VECTOR_DROPPED UINT32_MAX

/* ---- Building ---- */

/* Zero stands for the default. */
struct vector_options {
    uint32_t size_bytes; /* of this struct */
    uint32_t dimension;
    enum vector_metric metric;
    uint32_t degree;        /* neighbours of a node at most: 4 to VECTOR_DEGREE_MAX */
    uint32_t build_list;    /* candidates that an insertion looks at: 8 to 1,024 */
    uint32_t rows_flat_max; /* sections of no more rows are flat; UINT32_MAX: all */
    uint64_t seed;          /* of the order of insertion; the same rows and seed give the same bytes */
    /* May be NULL: then the builder keeps the vectors, 4 bytes an element. Else it asks for those that were added, up to three times each and mostly in order: the position-th one added, as it was added. */
    int (*fetch)(void *context, uint32_t position, uint32_t ordinal, float *vector);
    void *fetch_context;
};

struct vector_builder;
/* rows_max: the vectors at most. */
int vector_builder_create(struct memory *memory, const struct vector_options *options, uint64_t rows_max, struct vector_builder **builder);
/* Row `ordinal` (ascending) has this vector. Rows without one are not added. MOTE_EINVAL (not finite, out of order, more than rows_max): the builder stays as it was. MOTE_EBUDGET. */
int vector_builder_add(struct vector_builder *builder, uint32_t ordinal, const float *vector);
/* No more rows come: identity and sink must stay until the end. Takes the memory for the graph. */
int vector_builder_begin(struct vector_builder *builder, const struct section_identity *identity, const struct section_sink *sink);
/* Goes on by about `work` pieces, each of the cost of inserting a row in the graph or less; at least one. *finished: the section is written. After a failure the builder can but be destroyed. */
int vector_builder_step(struct vector_builder *builder, uint32_t work, bool *finished);
/* Of a finished section. */
void vector_builder_root(const struct vector_builder *builder, struct section_root *root);
/* Begins, and takes all steps. */
int vector_builder_finish(struct vector_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
void vector_builder_destroy(struct vector_builder *builder);
/* What a builder of so many rows takes at most. */
uint64_t vector_builder_bytes(const struct vector_options *options, uint64_t rows);
/* No section of so many rows is longer, gaps not included. */
uint64_t vector_bytes_bound(const struct vector_options *options, uint64_t rows);

/* ---- An open index ---- */

/* An index section and where its pages and memory come from. All must outlive the open index. */
struct vector_section {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    struct memory *memory;
};

struct vector_index;
/* Reads the directory and the model of the codes into memory; the codes too, if all of it takes no more than resident_bytes_max, else they are read through the source as searches need them. */
int vector_open(const struct vector_section *section, uint64_t resident_bytes_max, struct vector_index **index);
void vector_close(struct vector_index *index);

/* The same open index, read through another source of the same section (section->memory as before): for a thread with a source of its own. It borrows what `index` has in memory, which must outlive it. */
int vector_share(const struct vector_index *index, const struct vector_section *section, struct vector_index **shared);

struct vector_facts {
    uint64_t rows, ordinal_end; /* ordinals are below it */
    uint32_t dimension, degree;
    enum vector_metric metric;
    bool flat, codes_resident;
    uint64_t resident_bytes; /* taken by the open index: 16 bytes a page, 4 (1 + c) (dimension + 1) for c <= 64 centroids, and the codes if they are resident */
    uint64_t codes_bytes;    /* of all codes: 9 + dimension / 2 bytes a row; taken or not */
    uint64_t section_pages;
};
void vector_describe(const struct vector_index *index, struct vector_facts *facts);
/* What the root alone tells: reads one page. resident_bytes: what an open index takes with its codes. */
int vector_peek(const struct vector_section *section, struct vector_facts *facts);

/* ---- Vectors that are in no section ---- */

/* The vector as a section would keep it. false: not all elements are finite. */
bool vector_accept(enum vector_metric metric, const float *vector, uint32_t dimension, float *accepted);
/* The distance of two accepted vectors as a search would tell it, bit for bit. */
double vector_measure(enum vector_metric metric, const float *query, const float *vector, uint32_t dimension);

/* ---- Searching ---- */

struct vector_hit {
    double distance;
    uint32_t ordinal;
};

/* Zero stands for the default. */
struct vector_search_options {
    uint32_t size_bytes; /* of this struct */
    uint32_t wanted;     /* how many rows the caller expects to take: 1 to VECTOR_LIST_MAX, default 10; more may be taken, in further passes */
    uint32_t list;       /* candidates that the first pass settles: recall against reads; at least wanted */
    uint32_t beam;       /* nodes that are read at once */
    bool exact;          /* look at every row */
    /* May be NULL; rows that it refuses are passed over. May be asked of a row more than once, and of rows that are not returned. */
    bool (*keep)(void *context, uint32_t ordinal);
    void *keep_context;
    double keep_share; /* which share of the rows it keeps, by estimate; where few are kept, all those are looked at instead of the graph. Default: all */
};

struct vector_search_counts {
    uint64_t nodes_read, codes_compared;
    uint32_t passes;
    bool exhaustive; /* the last pass looked at every row that is kept */
};

struct vector_search;
/* The rows by distance from the query. In an exhaustive search they ascend from the first to the last. Else each pass gives its `wanted` best; a later pass looks further, and what it finds may be nearer than what came before; no row comes
 * twice, and in the end, the graph used up, every row comes that is kept. */
int vector_search_create(const struct vector_index *index, const float *query, const struct vector_search_options *options, struct vector_search **search);
/* 1: *hit is the next; 0: there is none; or negative, and the search can but be destroyed. */
int vector_search_next(struct vector_search *search, struct vector_hit *hit);
void vector_search_counts(const struct vector_search *search, struct vector_search_counts *counts);
void vector_search_destroy(struct vector_search *search);

/* ---- Merging, verifying ---- */

struct vector_merge_options {
    uint32_t size_bytes; /* of this struct */
    uint32_t degree, build_list, rows_flat_max; /* as for building */
    uint64_t seed;
    uint64_t rows_max; /* no more rows than this stay */
    /* Is told ordinals of input number `input` and replaces each by the row's new ordinal or VECTOR_DROPPED. No two rows may get the same. */
    int (*map)(void *context, uint32_t input, uint32_t *ordinals, uint32_t count);
    void *map_context;
};

/* A builder of the rows that stay of several sections, which it reads again as it goes; after vector_builder_begin it is stepped like others. The graph of the largest input is kept where at least half of its rows stay, and the other rows
 * are inserted. Inputs of one dimension and metric; they must outlive the builder. Memory: vector_merge_bytes. */
int vector_merge_create(const struct vector_index *const *inputs, uint32_t input_count, const struct vector_merge_options *options, struct memory *memory, struct vector_builder **builder);
uint64_t vector_merge_bytes(const struct vector_merge_options *options, uint32_t dimension);

struct vector_verified {
    uint64_t rows, edges;
    uint64_t reachable; /* nodes that the graph's entries lead to; all rows of a flat section */
};
/* Walks every page: checksums, ordinals ascending and below row_count, edges that lead to other nodes and none twice, vectors finite, codes those of their vectors, zeros where zeros belong. verified may be NULL. */
int vector_verify(const struct vector_section *section, uint64_t row_count, struct vector_verified *verified);
/* All rows of an open index, ordinals ascending, each vector as the section keeps it; valid during the visit, whose non-zero result stops and is returned. Memory: a node and a vector. */
int vector_visit(const struct vector_index *index, int (*visit)(void *context, uint32_t ordinal, const float *vector), void *context);

#endif
