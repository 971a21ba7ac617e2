/* vector_private.h: what the parts of the vector index share: kernels, geometry of the streams, codes, the graph in memory, page writer and page reader. */
#ifndef MOTE_INDEX_VECTOR_PRIVATE_H
#define MOTE_INDEX_VECTOR_PRIVATE_H

#include <math.h>

#include "blockdev/base/bytes.h"
#include "index/vector_format.h"

/* ---- vector_distance*.c: inner loops; a portable set and one for each instruction set that pays. All give the same bits (vector.h has the order of summation). Any count, any alignment. ---- */

struct vector_kernels {
    const char *name;
    double (*square)(const float *query, const uint8_t *vector, uint32_t dimension);  /* vector: as on the device */
    double (*product)(const float *query, const uint8_t *vector, uint32_t dimension);
    int32_t (*product_i8)(const int8_t *a, const int8_t *b, uint32_t count); /* elements -127 to 127 */
    int32_t (*product_u4)(const uint8_t *codes, const int8_t *low, const int8_t *high, uint32_t count); /* of count bytes: low halves by low, high halves by high */
};
enum { VECTOR_KERNELS_MAX = 4, VECTOR_LANES = 16 };
/* The fastest set for this processor; all that it can run, the portable one first: how many. */
const struct vector_kernels *vector_kernels(void);
size_t vector_kernels_all(const struct vector_kernels *all[VECTOR_KERNELS_MAX]);
extern const struct vector_kernels vector_kernels_portable;
#if defined(__x86_64__)
extern const struct vector_kernels vector_kernels_avx2, vector_kernels_avx512;
#elif defined(__aarch64__)
extern const struct vector_kernels vector_kernels_neon;
#endif

static inline float vector_load_f32(const uint8_t *at)
{
    uint32_t bits = load_u32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline void vector_store_f32(uint8_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    store_u32(at, bits);
}
/* Of -127 to 127: the nearest integer. */
static inline int8_t vector_round_i8(float value) { return (int8_t)((int32_t)(value + 127.5f) - 127); }
static inline double vector_combine(const double *sums)
{
    double s[VECTOR_LANES];
    memcpy(s, sums, sizeof s);
    for (uint32_t half = VECTOR_LANES / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}
/* The exact distance of vector.h. */
static inline double vector_distance(const struct vector_kernels *kernels, enum vector_metric metric, const float *query, const uint8_t *vector, uint32_t dimension)
{
    if (metric == VECTOR_L2)
        return kernels->square(query, vector, dimension);
    double product = kernels->product(query, vector, dimension);
    return metric == VECTOR_COSINE ? 1 - product : 0 - product;
}

/* ---- vector_page.c: what a section's parts measure ---- */

struct vector_stream_shape {
    uint64_t records;
    uint32_t record_bytes, per_page, page_bytes; /* page_bytes: of all but the last page */
    uint64_t pages, first_page;
};
struct vector_shape {
    uint64_t nodes, ordinal_end;
    uint32_t dimension, degree, centroids, flags, parts, node_bytes;
    enum vector_metric metric;
    enum vector_kind kind;
    int32_t exponent;
    uint64_t pages, directory_pages;
    struct vector_stream_shape streams[VECTOR_STREAMS];
};
/* From nodes, dimension, degree, kind, centroids and flags, which must be within their bounds. */
void vector_shape_fill(struct vector_shape *shape);
static inline uint32_t vector_half(uint32_t dimension) { return (dimension + 1) / 2; }
static inline uint32_t vector_code_bytes(uint32_t dimension) { return VECTOR_CODE_HEADER_BYTES + vector_half(dimension); }
uint32_t vector_page_records(const struct vector_shape *shape, enum vector_stream stream, uint64_t page);
uint32_t vector_page_bytes(const struct vector_shape *shape, enum vector_stream stream, uint64_t page);

/* ---- vector_code.c: codes, and queries made ready for them ---- */

struct vector_model {
    uint32_t dimension, centroids;
    enum vector_metric metric;
    double scale; /* 2^-e */
    float *mean;      /* dimension */
    float *centroid;  /* centroids * dimension */
};
static inline size_t vector_model_floats(uint32_t dimension, uint32_t centroids) { return (1 + (size_t)centroids) * dimension; }
/* The vector as codes see it. */
void vector_scale(const struct vector_model *model, const float *vector, float *scaled);
uint32_t vector_nearest_centroid(const struct vector_model *model, const float *scaled, double *square);
/* residual: room for dimension floats; code: vector_code_bytes. */
void vector_encode(const struct vector_model *model, const float *scaled, uint32_t centroid, float *residual, uint8_t *code);

struct vector_question {
    uint32_t half;
    float squares[VECTOR_CENTROIDS_MAX]; /* of the query from each centroid */
    float slope, offset;
    int8_t *low, *high; /* half each */
};
/* scratch: dimension floats; low and high are set. */
void vector_question_make(const struct vector_model *model, const float *query, float *scratch, struct vector_question *question);
/* The estimate by which a search goes; never NaN. */
static inline float vector_estimate(const struct vector_kernels *kernels, const struct vector_question *question, const uint8_t *code)
{
    int32_t product = kernels->product_u4(code + VECTOR_CODE_HEADER_BYTES, question->low, question->high, question->half);
    float estimate = question->squares[code[8] % VECTOR_CENTROIDS_MAX] + vector_load_f32(code) - vector_load_f32(code + 4) * (question->slope * (float)product - question->offset);
    return estimate < INFINITY ? estimate : INFINITY;
}

/* ---- vector_graph.c: the graph under construction ---- */

struct vector_near {
    float distance;
    uint32_t node;
};
struct vector_graph {
    struct memory *memory;
    const struct vector_kernels *kernels;
    uint64_t nodes;
    uint32_t dimension, degree, room, list_max; /* room: of a node's neighbours while building */
    int8_t *codes;    /* dimension each */
    float *scales, *squares, *lifts; /* of each node; lifts: NULL but with VECTOR_INNER_PRODUCT */
    uint32_t *edges;  /* 1 + room each: count, neighbours */
    uint32_t *stamps; /* of the last search that saw the node */
    uint32_t stamp;
    struct vector_near *list, *seen; /* list_max + 1; seen_max */
    bool *settled;                   /* of the list */
    uint32_t list_count, seen_count, seen_max;
    uint32_t *fresh;                 /* room: neighbours that a search has not seen */
    struct vector_near *pruned;      /* seen_max + room */
};
int vector_graph_create(struct memory *memory, uint64_t nodes, uint32_t dimension, uint32_t degree, uint32_t list_max, bool lifted, struct vector_graph **graph);
void vector_graph_destroy(struct vector_graph *graph);
uint64_t vector_graph_bytes(uint64_t nodes, uint32_t dimension, uint32_t degree, uint32_t list_max, bool lifted);
/* centred: the scaled vector less the mean. */
void vector_graph_encode(struct vector_graph *graph, uint32_t node, const float *centred, float lift);
static inline uint32_t *vector_edges(const struct vector_graph *graph, uint32_t node) { return graph->edges + (size_t)node * (graph->room + 1); }
float vector_graph_distance(const struct vector_graph *graph, uint32_t a, uint32_t b);
/* Nearest to node in graph->list, all that was settled in graph->seen. */
void vector_graph_search(struct vector_graph *graph, uint32_t node, const uint32_t *entries, uint32_t entry_count);
/* The node's neighbours out of graph->seen and those it has; and the node to theirs. */
void vector_graph_connect(struct vector_graph *graph, uint32_t node);
/* Cuts a node's neighbours to the degree. */
void vector_graph_trim(struct vector_graph *graph, uint32_t node);

/* ---- vector_write.c ---- */

struct vector_page_place {
    uint64_t offset_bytes;
    uint32_t crc;
};
struct vector_writer {
    struct memory *memory;
    const struct section_identity *identity;
    const struct section_sink *sink;
    struct vector_shape shape;
    uint64_t end_bytes;
    struct vector_page_place *directory; /* shape.pages */
    struct {
        uint8_t *page;
        uint64_t number;
        uint32_t records;
    } streams[VECTOR_STREAMS];
};
int vector_writer_create(struct memory *memory, const struct vector_shape *shape, const struct section_identity *identity, const struct section_sink *sink, struct vector_writer **writer);
void vector_writer_destroy(struct vector_writer *writer);
/* Room for the next record of a stream, zeros; the page is written when vector_writer_put finds it full. */
uint8_t *vector_writer_room(struct vector_writer *writer, enum vector_stream stream);
int vector_writer_put(struct vector_writer *writer, enum vector_stream stream);
int vector_writer_end(struct vector_writer *writer, struct section_root *root);
uint64_t vector_writer_bytes(const struct vector_shape *shape);

/* ---- vector_page.c: pages from the source ---- */

struct vector_pin {
    const uint8_t *page; /* NULL: nothing is pinned */
    void *handle;
    uint64_t number; /* in the whole section */
};
struct vector_index {
    struct vector_section section;
    struct vector_shape shape;
    const struct vector_kernels *kernels;
    struct vector_page_place *directory;
    struct vector_model model;
    uint32_t *entries; /* one for each centroid */
    uint8_t *codes;    /* NULL: not resident */
    uint64_t resident_bytes;
    bool borrows; /* directory, model, entries and codes are another's */
};
int vector_refuse(const struct vector_section *section, uint64_t offset_bytes, const char *what);
/* The shape alone. */
int vector_read_shape(const struct vector_section *section, struct vector_shape *shape);
/* Directory only: model and codes are not looked at. */
int vector_open_pages(const struct vector_section *section, struct vector_index **index);
/* Pins the page of a record, unless *pin holds it already, and gives the record. */
int vector_pin_record(const struct vector_index *index, enum vector_stream stream, uint64_t record, struct vector_pin *pin, const uint8_t **at);
void vector_unpin(const struct vector_index *index, struct vector_pin *pin);
/* Tells the source that these nodes will be read, if it wants to know; at most VECTOR_BEAM_MAX. */
void vector_announce(const struct vector_index *index, const uint32_t *nodes, uint32_t count);
/* The same, and pins the first page of each, so that their bytes come to the processor meanwhile. Unpin them in either case. */
int vector_pin_nodes(const struct vector_index *index, const uint32_t *nodes, uint32_t count, struct vector_pin *pins);
void vector_unpin_nodes(const struct vector_index *index, uint32_t count, struct vector_pin *pins);
/* A node's record in one piece: on its page, or in scratch (node_bytes; may be NULL where parts is 1). The neighbours are bounded. */
struct vector_node {
    uint32_t ordinal, degree;
    const uint8_t *neighbours, *vector;
};
int vector_read_node(const struct vector_index *index, uint32_t number, struct vector_pin *pin, uint8_t *scratch, struct vector_node *node);

/* ---- vector_build.c ---- */

struct vector_builder {
    struct memory *memory;
    struct vector_options options; /* resolved */
    uint64_t rows_max, count, next_ordinal;
    uint32_t chunk_rows, chunk_count, chunk_capacity;
    uint8_t **chunks; /* of chunk_rows ordinals and, if they are kept, vectors */
    double *sums;     /* of the elements */
    double square_max;
    float element_max;
    bool kept, accepted; /* kept: vectors in chunks; accepted: what fetch gives has its length already */
    bool begun;
    int failed;
    uint32_t phase;
    uint64_t position; /* in the phase */
    struct vector_shape shape;
    struct vector_model model;
    struct vector_near *entries; /* of each centroid: the nearest node */
    float *sample;
    double *sample_squares, *centroid_sums;
    uint64_t random;
    uint32_t *centroid_counts;
    uint32_t sample_count, iteration;
    uint8_t *assigned; /* centroid of each node */
    uint32_t *order;   /* of insertion */
    uint32_t first_inserted;    /* UINT32_MAX: none */
    uint64_t queue_head, queue_tail;
    float *vector, *scaled, *residual;
    struct vector_graph *graph;
    struct vector_writer *writer;
    struct section_root root;
    const struct section_identity *identity;
    const struct section_sink *sink;
    struct vector_merge *merge; /* vector_merge.c; NULL: no merge */
};
struct vector_merge;
int vector_builder_vector(struct vector_builder *builder, uint32_t node, float *vector);
uint32_t vector_builder_ordinal(const struct vector_builder *builder, uint32_t node);
/* A row whose vector fetch will give. */
int vector_builder_admit(struct vector_builder *builder, uint32_t ordinal, const float *vector, bool accepted);
/* vector_merge.c: fills in edges of the kept graph; marks with a stamp of 1 the nodes that have theirs. */
int vector_merge_graph(struct vector_merge *merge, struct vector_graph *graph);
void vector_merge_destroy(struct vector_merge *merge);

/* ---- vector_train.c ---- */

/* Steps of k-means; vector_train_step looks at one row of the sample. */
int vector_train_begin(struct vector_builder *builder);
int vector_train_step(struct vector_builder *builder, bool *done);
void vector_train_end(struct vector_builder *builder);

/* A seeded sequence; state not 0. */
static inline uint64_t vector_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

/* ---- vector_set.c: a set of node numbers that grows, and pool of hits in order ---- */

struct vector_set {
    struct memory *memory;
    uint32_t *slots; /* UINT32_MAX: free; no node has that number */
    uint64_t capacity, count;
};
/* 1: was added; 0: was in; or MOTE_EBUDGET. */
int vector_set_add(struct vector_set *set, uint32_t node);
bool vector_set_has(const struct vector_set *set, uint32_t node);
void vector_set_free(struct vector_set *set);

struct vector_pool {
    struct memory *memory;
    struct vector_hit *hits; /* ascending; the first `taken` are gone */
    uint32_t count, taken, capacity;
};
static inline bool vector_hit_below(const struct vector_hit *a, const struct vector_hit *b) { return a->distance < b->distance || (a->distance == b->distance && a->ordinal < b->ordinal); }
int vector_pool_add(struct vector_pool *pool, const struct vector_hit *hit);
void vector_pool_free(struct vector_pool *pool);

#endif
