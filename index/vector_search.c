/* vector_search.c: the nearest rows of a vector section (vector.h): passes of a beam search through the graph, or looks at every row.
 *
 * The list holds the nearest nodes by estimate, in order; a pass takes the nearest ones that are not settled, `beam` of them at a time, reads them (exact distance, neighbours), and enters neighbours that were not met before; it ends when all of
 * the list is settled. A further pass doubles the list, with what fell from it before; so do passes that settle too few rows which are kept. When the list has come to an eighth of all rows, or the graph is used up, a look at every row that was not settled is cheaper, or all that is left.
 * Invariants: each node is met once and settled once; a hit in the pool is of a settled node, or of a row that a look found. Estimates choose, exact distances rank. Threads: one. Failures: as vector.h says.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"

enum { LOOK_SHARE = 8, LOOK_HITS_MAX = 32768, CODE_PREFETCH_MAX = 512, LINE_BYTES = 64 };

struct candidate {
    float estimate;
    uint32_t node;
    bool settled;
};

struct vector_search {
    const struct vector_index *index;
    struct vector_search_options options; /* resolved */
    float *query, *scratch;
    int8_t *halves;
    uint8_t *node_bytes; /* of a node in parts */
    struct vector_question question;
    struct candidate *list; /* list_max + 1 */
    uint32_t list_count, list_max;
    struct candidate *fallen; /* from the list, or never in it */
    size_t fallen_count, fallen_capacity;
    struct vector_set met, settled;
    struct vector_pool pool;
    uint32_t ready;  /* hits of the pool, from its first on, that may be returned */
    uint64_t target; /* so many rows are to be kept before the next are returned */
    bool looking, complete; /* complete: every row has been looked at */
    struct vector_hit looked; /* the last hit of the looks so far */
    uint32_t look_hits;       /* so many the next look keeps; doubles from look to look, so that taking all rows takes few looks */
    struct vector_pin code_pin, ordinal_pin;
    struct vector_search_counts counts;
};

/* ---- Creation ---- */

static bool resolve(const struct vector_search_options *given, struct vector_search_options *options)
{
    *options = (struct vector_search_options){0};
    if (given)
        memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    options->wanted = options->wanted ? options->wanted : 10;
    options->list = options->list ? options->list : VECTOR_LIST_DEFAULT;
    options->list = options->list < options->wanted ? options->wanted : options->list;
    options->beam = options->beam ? options->beam : VECTOR_BEAM_DEFAULT;
    if (!options->keep || options->keep_share <= 0 || options->keep_share > 1)
        options->keep_share = 1;
    return options->list <= VECTOR_LIST_MAX && options->beam <= VECTOR_BEAM_MAX;
}

/* Whether to look at all rows that are kept reads fewer nodes than a pass that has to settle list / share of them. */
static bool looks_at_once(const struct vector_index *index, const struct vector_search_options *options)
{
    double share = options->keep_share;
    return index->shape.kind == VECTOR_FLAT || options->exact || (double)index->shape.nodes * share * share <= (double)options->list;
}

int vector_search_create(const struct vector_index *index, const float *query, const struct vector_search_options *options, struct vector_search **search)
{
    struct memory *memory = index->section.memory;
    uint32_t dimension = index->shape.dimension, half = vector_half(dimension);
    struct vector_search_options resolved;
    *search = NULL;
    if (!resolve(options, &resolved))
        return error_set(MOTE_EINVAL, "a search of a vector index has a list of at most %d and a beam of at most %d, not %u and %u", VECTOR_LIST_MAX, VECTOR_BEAM_MAX, resolved.list, resolved.beam);
    struct vector_search *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->index = index;
    made->options = resolved;
    made->met.memory = made->settled.memory = made->pool.memory = memory;
    made->looked.distance = -INFINITY;
    made->looking = looks_at_once(index, &resolved);
    made->target = resolved.list;
    made->look_hits = resolved.wanted;
    double list_max = resolved.list / resolved.keep_share;
    made->list_max = list_max < VECTOR_LIST_MAX ? (uint32_t)list_max : VECTOR_LIST_MAX;
    made->query = memory_alloc(memory, 2 * (size_t)dimension * sizeof(float));
    made->halves = memory_alloc(memory, 2 * (size_t)half);
    made->list = made->looking ? NULL : memory_alloc(memory, ((size_t)made->list_max + 1) * sizeof *made->list);
    made->node_bytes = index->shape.parts > 1 ? memory_alloc(memory, index->shape.node_bytes) : NULL;
    int result = made->query && made->halves && (made->list || made->looking) && (made->node_bytes || index->shape.parts == 1) ? MOTE_OK : MOTE_EBUDGET;
    if (!result && !vector_accept(index->shape.metric, query, dimension, made->query))
        result = error_set(MOTE_EINVAL, "the query has an element that is no finite number; ask with %u finite ones", dimension);
    if (result) {
        vector_search_destroy(made);
        return result;
    }
    made->scratch = made->query + dimension;
    made->question.low = made->halves;
    made->question.high = made->halves + half;
    if (!made->looking)
        vector_question_make(&index->model, made->query, made->scratch, &made->question);
    *search = made;
    return MOTE_OK;
}

void vector_search_destroy(struct vector_search *search)
{
    if (!search)
        return;
    struct memory *memory = search->index->section.memory;
    vector_unpin(search->index, &search->code_pin);
    vector_unpin(search->index, &search->ordinal_pin);
    vector_pool_free(&search->pool);
    vector_set_free(&search->settled);
    vector_set_free(&search->met);
    memory_free(memory, search->fallen);
    memory_free(memory, search->list);
    memory_free(memory, search->node_bytes);
    memory_free(memory, search->halves);
    memory_free(memory, search->query);
    memory_free(memory, search);
}

void vector_search_counts(const struct vector_search *search, struct vector_search_counts *counts) { *counts = search->counts; }

/* ---- Nodes ---- */

/* Reads a node, and its exact distance. */
static int measure_node(struct vector_search *search, uint32_t number, struct vector_pin *pin, struct vector_node *node, struct vector_hit *hit)
{
    const struct vector_index *index = search->index;
    int result = vector_read_node(index, number, pin, search->node_bytes, node);
    if (result)
        return result;
    search->counts.nodes_read++;
    *hit = (struct vector_hit){vector_distance(index->kernels, index->shape.metric, search->query, node->vector, index->shape.dimension), node->ordinal};
    return isfinite(hit->distance) ? MOTE_OK : vector_refuse(&index->section, index->section.root->root_offset_bytes, "a vector that is not finite");
}

static bool is_kept(const struct vector_search *search, uint32_t ordinal) { return !search->options.keep || search->options.keep(search->options.keep_context, ordinal); }

/* ---- The list ---- */

static bool is_nearer(const struct candidate *a, const struct candidate *b) { return a->estimate < b->estimate || (a->estimate == b->estimate && a->node < b->node); }

static int let_fall(struct vector_search *search, const struct candidate *candidate)
{
    if (search->fallen_count == search->fallen_capacity) {
        size_t capacity = search->fallen_capacity ? search->fallen_capacity * 2 : 1024;
        struct candidate *grown = memory_realloc(search->index->section.memory, search->fallen, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        search->fallen = grown;
        search->fallen_capacity = capacity;
    }
    search->fallen[search->fallen_count++] = *candidate;
    return MOTE_OK;
}

/* Its place comes to *place, list_max if it is not among the nearest. */
static int enter_list(struct vector_search *search, const struct candidate *candidate, uint32_t *place)
{
    *place = search->list_max;
    if (search->list_count == search->list_max) {
        bool enters = is_nearer(candidate, &search->list[search->list_count - 1]);
        int result = let_fall(search, enters ? &search->list[search->list_count - 1] : candidate);
        if (result || !enters)
            return result;
        search->list_count--;
    }
    uint32_t low = 0, high = search->list_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (is_nearer(&search->list[middle], candidate))
            low = middle + 1;
        else
            high = middle;
    }
    memmove(&search->list[low + 1], &search->list[low], (search->list_count - low) * sizeof *search->list);
    search->list[low] = *candidate;
    search->list_count++;
    *place = low;
    return MOTE_OK;
}

/* A node that may have been met: its estimate, and into the list. */
static int meet(struct vector_search *search, uint32_t node, uint32_t *place)
{
    const struct vector_index *index = search->index;
    const uint8_t *code = index->codes + (size_t)node * vector_code_bytes(index->shape.dimension);
    if (!index->codes) {
        int result = vector_pin_record(index, VECTOR_CODES, node, &search->code_pin, &code);
        if (result)
            return result;
    }
    struct candidate candidate = {vector_estimate(index->kernels, &search->question, code), node, false};
    search->counts.codes_compared++;
    return enter_list(search, &candidate, place);
}

static void prefetch_code(const struct vector_index *index, uint32_t node)
{
    uint32_t bytes = vector_code_bytes(index->shape.dimension), most = bytes < CODE_PREFETCH_MAX ? bytes : CODE_PREFETCH_MAX;
    for (uint32_t at = 0; index->codes && at < most; at += LINE_BYTES)
        __builtin_prefetch(index->codes + (size_t)node * bytes + at);
}

/* Reads a node of the list, takes its distance, and meets its neighbours. *lowest: the first place of the list where something new came. */
static int settle(struct vector_search *search, uint32_t number, struct vector_pin *pin, uint32_t *lowest)
{
    uint32_t fresh[VECTOR_DEGREE_MAX], fresh_count = 0;
    struct vector_node node;
    struct vector_hit hit;
    int result = vector_set_add(&search->settled, number);
    if (result >= 0)
        result = measure_node(search, number, pin, &node, &hit);
    if (result)
        return result;
    if (is_kept(search, hit.ordinal))
        result = vector_pool_add(&search->pool, &hit);
    for (uint32_t i = 0; !result && i < node.degree; i++) {
        uint32_t neighbour = load_u32(node.neighbours + 4 * (size_t)i);
        int added = vector_set_add(&search->met, neighbour);
        if (added > 0) {
            prefetch_code(search->index, neighbour);
            fresh[fresh_count++] = neighbour;
        }
        result = added < 0 ? added : MOTE_OK;
    }
    for (uint32_t i = 0; !result && i < fresh_count; i++) {
        uint32_t place;
        result = meet(search, fresh[i], &place);
        *lowest = place < *lowest ? place : *lowest;
    }
    return result;
}

/* Until all of the list is settled. */
static int run_pass(struct vector_search *search)
{
    struct vector_pin pins[VECTOR_BEAM_MAX];
    uint32_t at = 0;
    int result = MOTE_OK;
    search->counts.passes++;
    while (!result && at < search->list_count) {
        uint32_t chosen[VECTOR_BEAM_MAX], count = 0, lowest = search->list_max;
        for (uint32_t i = at; i < search->list_count && count < search->options.beam; i++)
            if (!search->list[i].settled) {
                search->list[i].settled = true;
                chosen[count++] = search->list[i].node;
            }
        result = vector_pin_nodes(search->index, chosen, count, pins);
        for (uint32_t i = 0; !result && i < count; i++)
            result = settle(search, chosen[i], &pins[i], &lowest);
        vector_unpin_nodes(search->index, count, pins);
        at = lowest < at ? lowest : at;
        while (at < search->list_count && search->list[at].settled)
            at++;
    }
    return result;
}

/* All entries are met, the nearest of them are settled: a cluster that few edges lead to is found by its own entry. */
static int enter_graph(struct vector_search *search)
{
    const struct vector_index *index = search->index;
    int result = MOTE_OK;
    for (uint32_t k = 0; k < index->shape.centroids && !result; k++) {
        uint32_t place;
        int added = vector_set_add(&search->met, index->entries[k]);
        result = added > 0 ? meet(search, index->entries[k], &place) : added;
    }
    return result;
}

/* ---- Further passes ---- */

static void sift(struct candidate *heap, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && is_nearer(&heap[child], &heap[child + 1]);
        if (!is_nearer(&heap[at], &heap[child]))
            return;
        struct candidate held = heap[at];
        heap[at] = heap[child];
        heap[child] = held;
    }
}

static void sort_candidates(struct candidate *candidates, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(candidates, i, count);
    for (size_t left = count; left-- > 1;) {
        struct candidate held = candidates[0];
        candidates[0] = candidates[left];
        candidates[left] = held;
        sift(candidates, 0, left);
    }
}

/* Doubles the list, the nearest of what has fallen into it. */
static int widen_list(struct vector_search *search)
{
    uint32_t list_max = search->list_max * 2;
    struct candidate *grown = memory_realloc(search->index->section.memory, search->list, ((size_t)list_max + 1) * sizeof *grown);
    if (!grown)
        return MOTE_EBUDGET;
    search->list = grown;
    search->list_max = list_max;
    sort_candidates(search->fallen, search->fallen_count);
    /* All in the list are nearer than what has fallen. */
    size_t moved = list_max - search->list_count < search->fallen_count ? list_max - search->list_count : search->fallen_count;
    memcpy(search->list + search->list_count, search->fallen, moved * sizeof *search->list);
    search->list_count += (uint32_t)moved;
    search->fallen_count -= moved;
    memmove(search->fallen, search->fallen + moved, search->fallen_count * sizeof *search->fallen);
    return MOTE_OK;
}

/* Until as many rows that are kept are settled as a search without a filter would settle; each further call asks for twice as many. */
static int pass_further(struct vector_search *search)
{
    int result = MOTE_OK;
    if (search->counts.passes == 0) {
        result = enter_graph(search);
        if (!result)
            result = run_pass(search);
    } else {
        search->target *= 2;
    }
    while (!result && !search->looking && search->pool.count < search->target) {
        search->looking = search->list_count < search->list_max || (uint64_t)search->list_max * 2 * LOOK_SHARE >= search->index->shape.nodes;
        if (!search->looking)
            result = widen_list(search);
        if (!result && !search->looking)
            result = run_pass(search);
    }
    assert(result || search->looking || search->pool.count - search->pool.taken >= search->options.wanted);
    search->ready = search->looking ? 0 : search->options.wanted;
    return result;
}

/* ---- Looking at every row ---- */

static int ordinal_of(struct vector_search *search, uint32_t node, uint32_t *ordinal)
{
    const uint8_t *at;
    *ordinal = node;
    if (search->index->shape.flags & VECTOR_FLAG_DENSE)
        return MOTE_OK;
    int result = vector_pin_record(search->index, VECTOR_ORDINALS, node, &search->ordinal_pin, &at);
    if (!result)
        *ordinal = load_u32(at);
    return result;
}

/* Keeps the nearest beyond what earlier looks gave. */
static int look_at_nodes(struct vector_search *search, const uint32_t *nodes, uint32_t count, struct vector_pool *found)
{
    struct vector_pin pin = {0};
    int result = MOTE_OK;
    vector_announce(search->index, nodes, count);
    for (uint32_t i = 0; !result && i < count; i++) {
        struct vector_node node;
        struct vector_hit hit;
        result = measure_node(search, nodes[i], &pin, &node, &hit);
        if (result || !vector_hit_below(&search->looked, &hit))
            continue;
        bool full = found->count == search->look_hits;
        if (full && !vector_hit_below(&hit, &found->hits[found->count - 1]))
            continue;
        found->count -= full;
        result = vector_pool_add(found, &hit);
    }
    vector_unpin(search->index, &pin);
    return result;
}

static int look(struct vector_search *search)
{
    struct vector_pool found = {.memory = search->index->section.memory};
    uint32_t nodes[VECTOR_BEAM_MAX], count = 0;
    int result = MOTE_OK;
    search->counts.passes++;
    search->counts.exhaustive = true;
    for (uint64_t node = 0; !result && node < search->index->shape.nodes; node++) {
        uint32_t ordinal = 0;
        if (vector_set_has(&search->settled, (uint32_t)node))
            continue;
        result = search->options.keep ? ordinal_of(search, (uint32_t)node, &ordinal) : MOTE_OK;
        if (result || (search->options.keep && !is_kept(search, ordinal)))
            continue;
        nodes[count++] = (uint32_t)node;
        if (count == VECTOR_BEAM_MAX) {
            result = look_at_nodes(search, nodes, count, &found);
            count = 0;
        }
    }
    if (!result)
        result = look_at_nodes(search, nodes, count, &found);
    /* More may be beyond these, unless there was room for more. */
    search->complete = found.count < search->look_hits;
    search->look_hits = search->look_hits * 2 < LOOK_HITS_MAX ? search->look_hits * 2 : LOOK_HITS_MAX;
    if (found.count > 0)
        search->looked = found.hits[found.count - 1];
    for (uint32_t i = 0; !result && i < found.count; i++)
        result = vector_pool_add(&search->pool, &found.hits[i]);
    vector_pool_free(&found);
    search->ready = 0;
    while (!result && search->pool.taken + search->ready < search->pool.count && (search->complete || !vector_hit_below(&search->looked, &search->pool.hits[search->pool.taken + search->ready])))
        search->ready++;
    return result;
}

int vector_search_next(struct vector_search *search, struct vector_hit *hit)
{
    while (search->ready == 0) {
        if (search->complete)
            return 0;
        int result = search->looking ? look(search) : pass_further(search);
            vector_unpin(search->index, &search->code_pin);
        vector_unpin(search->index, &search->ordinal_pin);
        if (result)
            return result;
    }
    *hit = search->pool.hits[search->pool.taken++];
    search->ready--;
    return 1;
}
