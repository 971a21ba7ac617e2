/* vector_graph.c: the graph under construction, in memory: insertion one by one, each by a search among those before, with the pruning of Vamana (Jayaram Subramanya et al., DiskANN, 2019): of the candidates from near to far one becomes a neighbour
 * unless an earlier neighbour is nearer to it than the node is, and in a second round unless one is 1.2 times nearer.
 *
 * Distances are those of the vectors less the mean, rounded to eight bits an element with a scale for each vector; with VECTOR_INNER_PRODUCT every vector is lifted, by one more element, to the length of the longest, so that the nearest by
 * distance are those with the greatest products.
 * Invariants: a node's neighbours are other nodes, none twice, at most `room` while building and `degree` once trimmed. Threads: one. Failures: MOTE_EBUDGET at creation only.
 */
#include <assert.h>

#include "blockdev/base/memory.h"
#include "index/vector_private.h"

enum { PREFETCH_BYTES_MAX = 1024, LINE_BYTES = 64 };
#define SLACK_SQUARED 1.44f

static uint32_t room_of(uint32_t degree) { return degree + degree / 3 + 1; }
static uint32_t seen_of(uint32_t list_max) { return 3 * list_max; }

uint64_t vector_graph_bytes(uint64_t nodes, uint32_t dimension, uint32_t degree, uint32_t list_max, bool lifted)
{
    uint64_t row_bytes = dimension + 4ull * (1 + room_of(degree)) + 4 + 8 + (lifted ? 4 : 0);
    return nodes * row_bytes + sizeof(struct vector_graph) + 16ull * (2 * list_max + 2 * seen_of(list_max) + 2 * room_of(degree) + 64);
}

int vector_graph_create(struct memory *memory, uint64_t nodes, uint32_t dimension, uint32_t degree, uint32_t list_max, bool lifted, struct vector_graph **graph)
{
    struct vector_graph *made = memory_alloc_zero(memory, sizeof *made);
    *graph = made;
    if (!made)
        return MOTE_EBUDGET;
    *made = (struct vector_graph){.memory = memory, .kernels = vector_kernels(), .nodes = nodes, .dimension = dimension, .degree = degree, .room = room_of(degree), .list_max = list_max, .seen_max = seen_of(list_max)};
    made->codes = memory_alloc(memory, nodes * dimension);
    made->scales = memory_alloc(memory, nodes * sizeof(float));
    made->squares = memory_alloc(memory, nodes * sizeof(float));
    made->lifts = lifted ? memory_alloc(memory, nodes * sizeof(float)) : NULL;
    made->edges = memory_alloc_zero(memory, nodes * (1 + made->room) * sizeof(uint32_t));
    made->stamps = memory_alloc_zero(memory, nodes * sizeof(uint32_t));
    made->list = memory_alloc(memory, (list_max + 1) * sizeof *made->list);
    made->settled = memory_alloc(memory, list_max + 1);
    made->seen = memory_alloc(memory, made->seen_max * sizeof *made->seen);
    made->fresh = memory_alloc(memory, (made->room + 1) * sizeof(uint32_t));
    made->pruned = memory_alloc(memory, (made->seen_max + made->room + 1) * sizeof *made->pruned);
    bool whole = made->codes && made->scales && made->squares && (made->lifts || !lifted) && made->edges && made->stamps && made->list && made->settled && made->seen && made->fresh && made->pruned;
    return whole ? MOTE_OK : MOTE_EBUDGET;
}

void vector_graph_destroy(struct vector_graph *graph)
{
    if (!graph)
        return;
    void *const parts[] = {graph->codes, graph->scales, graph->squares, graph->lifts, graph->edges, graph->stamps, graph->list, graph->settled, graph->seen, graph->fresh, graph->pruned};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        memory_free(graph->memory, parts[i]);
    memory_free(graph->memory, graph);
}

void vector_graph_encode(struct vector_graph *graph, uint32_t node, const float *centred, float lift)
{
    int8_t *code = graph->codes + (size_t)node * graph->dimension;
    float most = 0;
    int64_t square = 0;
    for (uint32_t i = 0; i < graph->dimension; i++)
        most = fabsf(centred[i]) > most ? fabsf(centred[i]) : most;
    float scale = most >= 0x1p-100f ? most / 127 : 0;
    for (uint32_t i = 0; i < graph->dimension; i++) {
        code[i] = scale > 0 ? vector_round_i8(centred[i] / scale) : 0;
        square += (int64_t)code[i] * code[i];
    }
    graph->scales[node] = scale;
    graph->squares[node] = scale * scale * (float)square;
    if (graph->lifts)
        graph->lifts[node] = lift;
}

float vector_graph_distance(const struct vector_graph *graph, uint32_t a, uint32_t b)
{
    int32_t product = graph->kernels->product_i8(graph->codes + (size_t)a * graph->dimension, graph->codes + (size_t)b * graph->dimension, graph->dimension);
    float distance = graph->squares[a] + graph->squares[b] - 2 * graph->scales[a] * graph->scales[b] * (float)product;
    if (graph->lifts)
        distance += (graph->lifts[a] - graph->lifts[b]) * (graph->lifts[a] - graph->lifts[b]);
    return distance > 0 ? distance : 0;
}

static void prefetch_code(const struct vector_graph *graph, uint32_t node)
{
    const int8_t *code = graph->codes + (size_t)node * graph->dimension;
    uint32_t bytes = graph->dimension < PREFETCH_BYTES_MAX ? graph->dimension : PREFETCH_BYTES_MAX;
    __builtin_prefetch(&graph->squares[node]);
    __builtin_prefetch(&graph->scales[node]);
    for (uint32_t at = 0; at < bytes; at += LINE_BYTES)
        __builtin_prefetch(code + at);
}

static bool is_nearer(const struct vector_near *a, const struct vector_near *b) { return a->distance < b->distance || (a->distance == b->distance && a->node < b->node); }

/* Returns its place, or list_max if it is not among the nearest. */
static uint32_t enter_list(struct vector_graph *graph, const struct vector_near *near)
{
    if (graph->list_count == graph->list_max && !is_nearer(near, &graph->list[graph->list_count - 1]))
        return graph->list_max;
    uint32_t low = 0, high = graph->list_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (is_nearer(&graph->list[middle], near))
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t moved = graph->list_count - low - (graph->list_count == graph->list_max);
    memmove(&graph->list[low + 1], &graph->list[low], moved * sizeof *graph->list);
    memmove(&graph->settled[low + 1], &graph->settled[low], moved);
    graph->list[low] = *near;
    graph->settled[low] = false;
    graph->list_count += graph->list_count < graph->list_max;
    return low;
}

static uint32_t look_at(struct vector_graph *graph, uint32_t node, uint32_t from)
{
    struct vector_near near = {vector_graph_distance(graph, node, from), from};
    return enter_list(graph, &near);
}

void vector_graph_search(struct vector_graph *graph, uint32_t node, const uint32_t *entries, uint32_t entry_count)
{
    uint32_t at = 0;
    graph->list_count = graph->seen_count = 0;
    if (++graph->stamp == 0) {
        memset(graph->stamps, 0, graph->nodes * sizeof *graph->stamps);
        graph->stamp = 1;
    }
    graph->stamps[node] = graph->stamp;
    for (uint32_t i = 0; i < entry_count; i++)
        if (graph->stamps[entries[i]] != graph->stamp) {
            graph->stamps[entries[i]] = graph->stamp;
            (void)look_at(graph, node, entries[i]);
        }
    while (at < graph->list_count) {
        if (graph->settled[at]) {
            at++;
            continue;
        }
        const uint32_t *edges = vector_edges(graph, graph->list[at].node);
        uint32_t fresh_count = 0, lowest = at + 1;
        graph->settled[at] = true;
        if (graph->seen_count < graph->seen_max)
            graph->seen[graph->seen_count++] = graph->list[at];
        for (uint32_t i = 1; i <= edges[0]; i++)
            if (graph->stamps[edges[i]] != graph->stamp) {
                graph->stamps[edges[i]] = graph->stamp;
                prefetch_code(graph, edges[i]);
                graph->fresh[fresh_count++] = edges[i];
            }
        for (uint32_t i = 0; i < fresh_count; i++) {
            uint32_t place = look_at(graph, node, graph->fresh[i]);
            lowest = place < lowest ? place : lowest;
        }
        at = lowest;
    }
}

static void sort_near(struct vector_near *nears, uint32_t count)
{
    /* By insertion: what a search settles is nearly in order, and the neighbours of a node are few. */
    for (uint32_t i = 1; i < count; i++) {
        struct vector_near near = nears[i];
        uint32_t j = i;
        for (; j > 0 && is_nearer(&near, &nears[j - 1]); j--)
            nears[j] = nears[j - 1];
        nears[j] = near;
    }
}

/* Whether a neighbour that is chosen already is `slack` times nearer to the candidate than the node is. */
static bool is_occluded(const struct vector_graph *graph, const uint32_t *edges, uint32_t chosen, const struct vector_near *candidate, float slack)
{
    for (uint32_t j = 1; j <= chosen; j++)
        if (slack * vector_graph_distance(graph, edges[j], candidate->node) <= candidate->distance)
            return true;
    return false;
}

/* The node's neighbours out of the count candidates in graph->pruned, whose nodes are UINT32_MAX once they are chosen. First those that are nearer to the node than to any other neighbour: they lead in all directions, to other clusters too;
 * then, while there is room, the near ones that the slack lets pass. */
static void prune(struct vector_graph *graph, uint32_t node, uint32_t count)
{
    struct vector_near *candidates = graph->pruned;
    uint32_t *edges = vector_edges(graph, node);
    uint32_t chosen = 0, same = 0;
    sort_near(candidates, count);
    for (uint32_t i = count; i-- > 0;)
        if (candidates[i].node == node || (i > 0 && candidates[i].node == candidates[i - 1].node))
            candidates[i].node = UINT32_MAX;
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < count && chosen < graph->degree; i++) {
            if (candidates[i].node == UINT32_MAX)
                continue;
            /* Equal vectors would all hide behind one another; half of the neighbours may be such. */
            bool equal = candidates[i].distance == 0;
            if (equal ? same == graph->degree / 2 : is_occluded(graph, edges, chosen, &candidates[i], round == 0 ? 1 : SLACK_SQUARED))
                continue;
            same += equal;
            edges[++chosen] = candidates[i].node;
            candidates[i].node = UINT32_MAX;
        }
    edges[0] = chosen;
}

void vector_graph_trim(struct vector_graph *graph, uint32_t node)
{
    const uint32_t *edges = vector_edges(graph, node);
    if (edges[0] <= graph->degree)
        return;
    uint32_t count = edges[0];
    for (uint32_t i = 0; i < count; i++)
        graph->pruned[i] = (struct vector_near){vector_graph_distance(graph, node, edges[1 + i]), edges[1 + i]};
    prune(graph, node, count);
}

static void add_edge(struct vector_graph *graph, uint32_t from, uint32_t to)
{
    uint32_t *edges = vector_edges(graph, from);
    for (uint32_t i = 1; i <= edges[0]; i++)
        if (edges[i] == to)
            return;
    if (edges[0] == graph->room)
        vector_graph_trim(graph, from);
    assert(edges[0] < graph->room);
    edges[++edges[0]] = to;
}

void vector_graph_connect(struct vector_graph *graph, uint32_t node)
{
    uint32_t *edges = vector_edges(graph, node);
    uint32_t count = graph->seen_count;
    memcpy(graph->pruned, graph->seen, count * sizeof *graph->seen);
    for (uint32_t i = 1; i <= edges[0]; i++)
        graph->pruned[count++] = (struct vector_near){vector_graph_distance(graph, node, edges[i]), edges[i]};
    prune(graph, node, count);
    for (uint32_t i = 1; i <= edges[0]; i++)
        add_edge(graph, edges[i], node);
}
