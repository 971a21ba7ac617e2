/* vector_merge.c: a builder fed by the sections that are merged (vector.h).
 *
 * What stays is listed with its new ordinal and sorted by it; the builder asks for a vector again by its place in that list, which is read from the input's node. Of the largest input the graph is kept, where at least half of its rows stay: an edge
 * to a row that was dropped is replaced by that row's edges, as far as there is room, so that what it connected stays connected.
 * Invariants: an input's vectors are stored as they were divided before, and are not divided again. Threads: one. Failures: MOTE_EINVAL, MOTE_EBUDGET, and what sources and map return.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"

enum { MAP_ROWS = 1024, KEEP_SHARE = 2 };

struct row {
    uint32_t ordinal, input, node;
};
struct vector_merge {
    struct memory *memory;
    const struct vector_index *const *inputs;
    uint32_t input_count, largest;
    uint64_t rows_max, count, stayed; /* stayed: of the largest input */
    struct row *rows;                 /* rows_max; after sorting by ordinal, a row's place is its new node */
    struct vector_pin pin;
    uint32_t pinned_input;
    uint8_t *node_bytes;
    uint32_t *places; /* of the largest input's nodes in the new section; UINT32_MAX: dropped */
};

void vector_merge_destroy(struct vector_merge *merge)
{
    if (!merge)
        return;
    if (merge->pinned_input < merge->input_count)
        vector_unpin(merge->inputs[merge->pinned_input], &merge->pin);
    memory_free(merge->memory, merge->places);
    memory_free(merge->memory, merge->node_bytes);
    memory_free(merge->memory, merge->rows);
    memory_free(merge->memory, merge);
}

static int read_input(struct vector_merge *merge, uint32_t input, uint32_t number, struct vector_node *node)
{
    if (merge->pinned_input != input && merge->pinned_input < merge->input_count)
        vector_unpin(merge->inputs[merge->pinned_input], &merge->pin);
    merge->pinned_input = input;
    return vector_read_node(merge->inputs[input], number, &merge->pin, merge->node_bytes, node);
}

static int fetch_row(void *context, uint32_t position, uint32_t ordinal, float *vector)
{
    struct vector_merge *merge = context;
    const struct row *row = &merge->rows[position];
    struct vector_node node;
    (void)ordinal;
    int result = read_input(merge, row->input, row->node, &node);
    for (uint32_t i = 0; !result && i < merge->inputs[row->input]->shape.dimension; i++)
        vector[i] = vector_load_f32(node.vector + 4 * (size_t)i);
    return result;
}

/* ---- Which rows stay ---- */

static int list_batch(struct vector_merge *merge, const struct vector_merge_options *options, uint32_t input, uint32_t first, const uint32_t *ordinals, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ordinals[i] == VECTOR_DROPPED)
            continue;
        if (merge->count == options->rows_max)
            return error_set(MOTE_EINVAL, "more than %llu rows stay in a merge of vector indexes; allow for more", (unsigned long long)options->rows_max);
        merge->rows[merge->count++] = (struct row){ordinals[i], input, first + i};
        merge->stayed += input == merge->largest;
    }
    return MOTE_OK;
}

static int list_rows(struct vector_merge *merge, const struct vector_merge_options *options, uint32_t input)
{
    const struct vector_index *index = merge->inputs[input];
    struct vector_pin pin = {0};
    int result = MOTE_OK;
    for (uint64_t first = 0; !result && first < index->shape.nodes; first += MAP_ROWS) {
        uint32_t ordinals[MAP_ROWS], count = (uint32_t)(index->shape.nodes - first < MAP_ROWS ? index->shape.nodes - first : MAP_ROWS);
        for (uint32_t i = 0; !result && i < count; i++) {
            const uint8_t *at;
            ordinals[i] = (uint32_t)first + i;
            if (index->shape.flags & VECTOR_FLAG_DENSE)
                continue;
            result = vector_pin_record(index, VECTOR_ORDINALS, first + i, &pin, &at);
            if (!result)
                ordinals[i] = load_u32(at);
        }
        if (!result)
            result = options->map(options->map_context, input, ordinals, count);
        if (!result)
            result = list_batch(merge, options, input, (uint32_t)first, ordinals, count);
    }
    vector_unpin(index, &pin);
    return result;
}

static void sift(struct row *heap, uint64_t at, uint64_t count)
{
    for (uint64_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && heap[child].ordinal < heap[child + 1].ordinal;
        if (heap[at].ordinal >= heap[child].ordinal)
            return;
        struct row held = heap[at];
        heap[at] = heap[child];
        heap[child] = held;
    }
}

static void sort_rows(struct row *rows, uint64_t count)
{
    bool sorted = true;
    for (uint64_t i = 1; i < count; i++)
        sorted &= rows[i - 1].ordinal <= rows[i].ordinal;
    for (uint64_t i = count / 2; !sorted && i-- > 0;)
        sift(rows, i, count);
    for (uint64_t left = count; !sorted && left-- > 1;) {
        struct row held = rows[0];
        rows[0] = rows[left];
        rows[left] = held;
        sift(rows, 0, left);
    }
}

/* ---- The builder ---- */

static void *node_room(struct vector_merge *merge)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < merge->input_count; i++)
        most = merge->inputs[i]->shape.node_bytes > most ? merge->inputs[i]->shape.node_bytes : most;
    return memory_alloc(merge->memory, most);
}

static int gather(struct vector_merge *merge, const struct vector_merge_options *options, struct vector_builder *builder)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; !result && i < merge->input_count; i++)
        result = list_rows(merge, options, i);
    if (result)
        return result;
    sort_rows(merge->rows, merge->count);
    float *vector = builder->scaled;
    for (uint64_t i = 0; !result && i < merge->count; i++) {
        result = fetch_row(merge, (uint32_t)i, merge->rows[i].ordinal, vector);
        if (!result)
            result = vector_builder_admit(builder, merge->rows[i].ordinal, vector, true);
    }
    return result;
}

int vector_merge_create(const struct vector_index *const *inputs, uint32_t input_count, const struct vector_merge_options *options, struct memory *memory, struct vector_builder **builder)
{
    *builder = NULL;
    if (input_count == 0)
        return error_set(MOTE_EINVAL, "a merge of vector indexes has at least one input");
    uint32_t largest = 0;
    for (uint32_t i = 0; i < input_count; i++) {
        if (inputs[i]->shape.dimension != inputs[0]->shape.dimension || inputs[i]->shape.metric != inputs[0]->shape.metric)
            return error_set(MOTE_EINVAL, "vector indexes of dimension %u and %u, or of two metrics, cannot be merged; build the index again", inputs[0]->shape.dimension, inputs[i]->shape.dimension);
        largest = inputs[i]->shape.nodes > inputs[largest]->shape.nodes ? i : largest;
    }
    struct vector_merge *merge = memory_alloc_zero(memory, sizeof *merge);
    if (!merge)
        return MOTE_EBUDGET;
    *merge = (struct vector_merge){.memory = memory, .inputs = inputs, .input_count = input_count, .largest = largest, .rows_max = options->rows_max, .pinned_input = UINT32_MAX};
    struct vector_options building = {.size_bytes = sizeof building,
                                      .dimension = inputs[0]->shape.dimension,
                                      .metric = inputs[0]->shape.metric,
                                      .degree = options->degree,
                                      .build_list = options->build_list,
                                      .rows_flat_max = options->rows_flat_max,
                                      .seed = options->seed,
                                      .fetch = fetch_row,
                                      .fetch_context = merge};
    int result = vector_builder_create(memory, &building, options->rows_max, builder);
    if (result) {
        vector_merge_destroy(merge);
        return result;
    }
    (*builder)->merge = merge;
    (*builder)->accepted = true;
    merge->rows = memory_alloc(memory, (size_t)(options->rows_max + 1) * sizeof *merge->rows);
    merge->node_bytes = node_room(merge);
    result = merge->rows && merge->node_bytes ? gather(merge, options, *builder) : MOTE_EBUDGET;
    if (result) {
        vector_builder_destroy(*builder);
        *builder = NULL;
    }
    return result;
}

uint64_t vector_merge_bytes(const struct vector_merge_options *options, uint32_t dimension)
{
    struct vector_options building = {.size_bytes = sizeof building, .dimension = dimension, .metric = VECTOR_INNER_PRODUCT, .degree = options->degree, .build_list = options->build_list, .rows_flat_max = options->rows_flat_max, .fetch = fetch_row};
    /* The largest input may have twice the rows that stay of it. */
    return vector_builder_bytes(&building, options->rows_max) + (options->rows_max + 1) * sizeof(struct row) + 2 * options->rows_max * sizeof(uint32_t) + sizeof(struct vector_merge) + 4ull * dimension + 4ull * VECTOR_DEGREE_MAX + 4096;
}

/* ---- The graph of the largest input ---- */

static void add_neighbour(struct vector_graph *graph, uint32_t node, uint32_t other)
{
    uint32_t *edges = vector_edges(graph, node);
    if (other == UINT32_MAX || other == node || edges[0] == graph->room)
        return;
    for (uint32_t i = 1; i <= edges[0]; i++)
        if (edges[i] == other)
            return;
    edges[++edges[0]] = other;
}

/* The neighbours of a node that stays; of one that was dropped, its neighbours that stay. */
static int keep_edges(struct vector_merge *merge, struct vector_graph *graph, uint32_t number, uint32_t place)
{
    uint32_t dropped[VECTOR_DEGREE_MAX], dropped_count = 0;
    struct vector_node node;
    int result = read_input(merge, merge->largest, number, &node);
    for (uint32_t i = 0; !result && i < node.degree; i++) {
        uint32_t neighbour = load_u32(node.neighbours + 4 * (size_t)i);
        if (merge->places[neighbour] == UINT32_MAX)
            dropped[dropped_count++] = neighbour;
        else
            add_neighbour(graph, place, merge->places[neighbour]);
    }
    for (uint32_t i = 0; !result && i < dropped_count && vector_edges(graph, place)[0] < graph->room; i++) {
        result = read_input(merge, merge->largest, dropped[i], &node);
        for (uint32_t j = 0; !result && j < node.degree; j++)
            add_neighbour(graph, place, merge->places[load_u32(node.neighbours + 4 * (size_t)j)]);
    }
    return result;
}

int vector_merge_graph(struct vector_merge *merge, struct vector_graph *graph)
{
    const struct vector_shape *shape = &merge->inputs[merge->largest]->shape;
    if (shape->kind != VECTOR_GRAPH || merge->stayed * KEEP_SHARE < shape->nodes)
        return MOTE_OK;
    merge->places = memory_alloc(merge->memory, (size_t)shape->nodes * sizeof(uint32_t));
    if (!merge->places)
        return MOTE_EBUDGET;
    memset(merge->places, 0xff, (size_t)shape->nodes * sizeof(uint32_t));
    for (uint64_t i = 0; i < merge->count; i++)
        if (merge->rows[i].input == merge->largest)
            merge->places[merge->rows[i].node] = (uint32_t)i;
    int result = MOTE_OK;
    for (uint64_t i = 0; !result && i < merge->count; i++)
        if (merge->rows[i].input == merge->largest) {
            result = keep_edges(merge, graph, merge->rows[i].node, (uint32_t)i);
            graph->stamps[i] = 1;
        }
    memory_free(merge->memory, merge->places);
    merge->places = NULL;
    return result;
}
