/* vector_build.c: builder of vector sections: rows are collected, then the section is made in steps that the caller paces (vector.h).
 *
 * Phases: the sample of the model is fetched and its centroids are moved; every row is encoded for the graph; every row is inserted, in a seeded random order after those nearest to the centroids; every node is trimmed; nodes that the entries do
 * not lead to are given an edge from a node near to them that has room; the pages are written. A flat section is only written.
 * Invariants: rows come in ascending order of their ordinals; what the section will look like (shape) is fixed when the steps begin. Threads: one. Failures: as vector.h says; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/vector_private.h"

enum phase { PHASE_TRAIN, PHASE_ENCODE, PHASE_INSERT, PHASE_TRIM, PHASE_REACH, PHASE_WRITE, PHASE_END };
enum { CHUNK_BYTES = 1 << 20, ROWS_PER_CENTROID = 64, CENTROID_MASK = 63, IS_INSERTED = 64, IS_REACHED = 128, LAST_REACHED = 256 };

/* ---- Collecting rows ---- */

static bool resolve_options(const struct vector_options *given, struct vector_options *options)
{
    *options = (struct vector_options){0};
    memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    options->degree = options->degree ? options->degree : VECTOR_DEGREE_DEFAULT;
    options->build_list = options->build_list ? options->build_list : VECTOR_BUILD_LIST_DEFAULT;
    options->rows_flat_max = options->rows_flat_max ? options->rows_flat_max : VECTOR_FLAT_DEFAULT;
    return options->dimension >= 1 && options->dimension <= MOTE_VECTOR_DIMENSION_MAX && options->metric >= VECTOR_L2 && options->metric <= VECTOR_COSINE && options->degree >= 4 && options->degree <= VECTOR_DEGREE_MAX &&
           options->build_list >= 8 && options->build_list <= 1024;
}

static uint32_t stored_row_bytes(const struct vector_options *options) { return 4 + (options->fetch ? 0 : 4 * options->dimension); }
static uint32_t rows_of_chunk(const struct vector_options *options)
{
    uint32_t rows = CHUNK_BYTES / stored_row_bytes(options);
    return rows > 16 ? rows : 16;
}

int vector_builder_create(struct memory *memory, const struct vector_options *options, uint64_t rows_max, struct vector_builder **builder)
{
    struct vector_options resolved;
    *builder = NULL;
    if (!resolve_options(options, &resolved))
        return error_set(MOTE_EINVAL, "a vector index of dimension %u, metric %d, degree %u and list %u cannot be built; see vector.h for what is allowed", resolved.dimension, (int)resolved.metric, resolved.degree, resolved.build_list);
    if (rows_max >= UINT32_MAX)
        return error_set(MOTE_EINVAL, "a vector index holds fewer than %u rows, not %llu; build smaller segments", UINT32_MAX, (unsigned long long)rows_max);
    struct vector_builder *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->options = resolved;
    made->rows_max = rows_max;
    made->kept = !resolved.fetch;
    made->chunk_rows = rows_of_chunk(&resolved);
    made->sums = memory_alloc_zero(memory, resolved.dimension * sizeof(double));
    made->vector = memory_alloc(memory, 3 * (size_t)resolved.dimension * sizeof(float));
    *builder = made;
    if (!made->sums || !made->vector) {
        vector_builder_destroy(made);
        *builder = NULL;
        return MOTE_EBUDGET;
    }
    made->scaled = made->vector + resolved.dimension;
    made->residual = made->scaled + resolved.dimension;
    return MOTE_OK;
}

static int add_chunk(struct vector_builder *builder)
{
    if (builder->chunk_count == builder->chunk_capacity) {
        uint32_t capacity = builder->chunk_capacity ? builder->chunk_capacity * 2 : 16;
        uint8_t **grown = memory_realloc(builder->memory, builder->chunks, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        builder->chunks = grown;
        builder->chunk_capacity = capacity;
    }
    uint64_t left = builder->rows_max - builder->count;
    uint8_t *chunk = memory_alloc(builder->memory, (size_t)(left < builder->chunk_rows ? left : builder->chunk_rows) * stored_row_bytes(&builder->options));
    if (!chunk)
        return MOTE_EBUDGET;
    builder->chunks[builder->chunk_count++] = chunk;
    return MOTE_OK;
}

static uint8_t *stored_row(const struct vector_builder *builder, uint32_t node)
{
    return builder->chunks[node / builder->chunk_rows] + (size_t)(node % builder->chunk_rows) * stored_row_bytes(&builder->options);
}

uint32_t vector_builder_ordinal(const struct vector_builder *builder, uint32_t node) { return load_u32(stored_row(builder, node)); }

int vector_builder_admit(struct vector_builder *builder, uint32_t ordinal, const float *vector, bool accepted)
{
    uint32_t dimension = builder->options.dimension;
    if (builder->begun || builder->count == builder->rows_max || ordinal < builder->next_ordinal)
        return error_set(MOTE_EINVAL, "row %u does not fit a vector index of at most %llu rows that expects row %llu or later", ordinal, (unsigned long long)builder->rows_max, (unsigned long long)builder->next_ordinal);
    float *row = builder->vector;
    if (accepted)
        memcpy(row, vector, dimension * sizeof(float));
    else if (!vector_accept(builder->options.metric, vector, dimension, row))
        return error_set(MOTE_EINVAL, "the vector of row %u has an element that is no finite number; leave the row without a vector", ordinal);
    int result = builder->count % builder->chunk_rows == 0 && builder->count / builder->chunk_rows == builder->chunk_count ? add_chunk(builder) : MOTE_OK;
    if (result)
        return result;
    uint8_t *stored = stored_row(builder, (uint32_t)builder->count);
    store_u32(stored, ordinal);
    if (builder->kept)
        memcpy(stored + 4, row, dimension * sizeof(float));
    double square = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        builder->sums[i] += (double)row[i];
        square += (double)row[i] * (double)row[i];
        builder->element_max = fabsf(row[i]) > builder->element_max ? fabsf(row[i]) : builder->element_max;
    }
    builder->square_max = square > builder->square_max ? square : builder->square_max;
    builder->next_ordinal = (uint64_t)ordinal + 1;
    builder->count++;
    return MOTE_OK;
}

int vector_builder_add(struct vector_builder *builder, uint32_t ordinal, const float *vector) { return vector_builder_admit(builder, ordinal, vector, false); }

/* The vector of a node as it is stored. */
int vector_builder_vector(struct vector_builder *builder, uint32_t node, float *vector)
{
    if (builder->kept) {
        memcpy(vector, stored_row(builder, node) + 4, builder->options.dimension * sizeof(float));
        return MOTE_OK;
    }
    int result = builder->options.fetch(builder->options.fetch_context, node, vector_builder_ordinal(builder, node), vector);
    if (!result && !builder->accepted && !vector_accept(builder->options.metric, vector, builder->options.dimension, vector))
        result = error_set(MOTE_EINVAL, "the vector of row %u has changed while its index was built", vector_builder_ordinal(builder, node));
    return result;
}

void vector_builder_destroy(struct vector_builder *builder)
{
    if (!builder)
        return;
    vector_writer_destroy(builder->writer);
    vector_graph_destroy(builder->graph);
    vector_train_end(builder);
    vector_merge_destroy(builder->merge);
    memory_free(builder->memory, builder->order);
    memory_free(builder->memory, builder->assigned);
    memory_free(builder->memory, builder->entries);
    memory_free(builder->memory, builder->model.mean);
    memory_free(builder->memory, builder->vector);
    memory_free(builder->memory, builder->sums);
    for (uint32_t i = 0; i < builder->chunk_count; i++)
        memory_free(builder->memory, builder->chunks[i]);
    memory_free(builder->memory, builder->chunks);
    memory_free(builder->memory, builder);
}

/* ---- Beginning ---- */

static struct vector_shape shape_of(const struct vector_options *options, uint64_t rows, uint64_t ordinal_end)
{
    bool flat = rows == 0 || rows <= options->rows_flat_max;
    uint64_t centroids = rows / ROWS_PER_CENTROID;
    centroids = centroids < 1 ? 1 : centroids > VECTOR_CENTROIDS_MAX ? VECTOR_CENTROIDS_MAX : centroids;
    struct vector_shape shape = {.nodes = rows, .ordinal_end = ordinal_end, .dimension = options->dimension, .metric = options->metric};
    shape.kind = flat ? VECTOR_FLAT : VECTOR_GRAPH;
    shape.degree = flat ? 0 : options->degree;
    shape.centroids = flat ? 0 : (uint32_t)centroids;
    shape.flags = ordinal_end == rows ? VECTOR_FLAG_DENSE : 0;
    vector_shape_fill(&shape);
    return shape;
}

uint64_t vector_builder_bytes(const struct vector_options *options, uint64_t rows)
{
    struct vector_options resolved;
    if (!resolve_options(options, &resolved))
        return 0;
    struct vector_shape shape = shape_of(&resolved, rows, rows + 1);
    uint64_t chunks = divide_up(rows, rows_of_chunk(&resolved));
    uint64_t bytes = sizeof(struct vector_builder) + rows * stored_row_bytes(&resolved) + chunks * 96 + 20ull * resolved.dimension + vector_writer_bytes(&shape) + 8192;
    if (shape.kind == VECTOR_FLAT)
        return bytes;
    bytes += shape.centroids * (32ull * (4 * resolved.dimension + 8) + 12ull * resolved.dimension + 32) + 4ull * resolved.dimension + rows * 5;
    return bytes + vector_graph_bytes(rows, resolved.dimension, resolved.degree, resolved.build_list, resolved.metric == VECTOR_INNER_PRODUCT);
}

uint64_t vector_bytes_bound(const struct vector_options *options, uint64_t rows)
{
    struct vector_options resolved;
    if (!resolve_options(options, &resolved))
        return 0;
    struct vector_shape shape = shape_of(&resolved, rows, rows + 1);
    uint64_t entries = shape.directory_pages > 0 ? shape.pages - (shape.directory_pages - 1) * VECTOR_DIRECTORY_ENTRIES : 0;
    uint64_t bytes = round_up(VECTOR_ROOT_FIXED_BYTES + shape.directory_pages * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES);
    if (entries > 0)
        bytes += (shape.directory_pages - 1) * INDEX_PAGE_BYTES_MAX + round_up(VECTOR_HEADER_BYTES + entries * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES);
    for (uint32_t stream = 0; stream < VECTOR_STREAMS; stream++) {
        const struct vector_stream_shape *of = &shape.streams[stream];
        if (of->pages > 0)
            bytes += (of->pages - 1) * of->page_bytes + vector_page_bytes(&shape, (enum vector_stream)stream, of->pages - 1);
    }
    return bytes;
}

static int begin_graph(struct vector_builder *builder)
{
    struct vector_shape *shape = &builder->shape;
    struct memory *memory = builder->memory;
    if (builder->element_max > 0)
        (void)frexpf(builder->element_max, &shape->exponent);
    builder->model = (struct vector_model){.dimension = shape->dimension, .centroids = shape->centroids, .metric = shape->metric, .scale = ldexp(1, -shape->exponent)};
    builder->entries = memory_alloc(memory, shape->centroids * sizeof *builder->entries);
    builder->assigned = memory_alloc_zero(memory, builder->count);
    builder->order = memory_alloc(memory, builder->count * sizeof(uint32_t));
    if (!builder->entries || !builder->assigned || !builder->order)
        return MOTE_EBUDGET;
    for (uint32_t k = 0; k < shape->centroids; k++)
        builder->entries[k] = (struct vector_near){INFINITY, UINT32_MAX};
    int result = vector_graph_create(memory, builder->count, shape->dimension, shape->degree, builder->options.build_list, shape->metric == VECTOR_INNER_PRODUCT, &builder->graph);
    return result ? result : vector_train_begin(builder);
}

int vector_builder_begin(struct vector_builder *builder, const struct section_identity *identity, const struct section_sink *sink)
{
    if (builder->begun)
        return error_set(MOTE_EINVAL, "a builder of a vector index makes one section; create another");
    builder->begun = true;
    builder->identity = identity;
    builder->sink = sink;
    builder->shape = shape_of(&builder->options, builder->count, builder->next_ordinal);
    builder->phase = builder->shape.kind == VECTOR_FLAT ? PHASE_WRITE : PHASE_TRAIN;
    if (builder->shape.pages > VECTOR_PAGES_MAX)
        builder->failed = error_set(MOTE_EINVAL, "a vector index has at most %llu pages, not %llu; build smaller segments", (unsigned long long)VECTOR_PAGES_MAX, (unsigned long long)builder->shape.pages);
    else if (builder->shape.kind == VECTOR_GRAPH)
        builder->failed = begin_graph(builder);
    return builder->failed;
}

/* ---- Steps ---- */

static int encode_row(struct vector_builder *builder, uint32_t node)
{
    const struct vector_model *model = &builder->model;
    double square, lift = 0;
    int result = vector_builder_vector(builder, node, builder->vector);
    if (result)
        return result;
    vector_scale(model, builder->vector, builder->scaled);
    uint32_t k = vector_nearest_centroid(model, builder->scaled, &square);
    builder->assigned[node] = (uint8_t)k;
    if ((float)square < builder->entries[k].distance)
        builder->entries[k] = (struct vector_near){(float)square, node};
    if (model->metric == VECTOR_INNER_PRODUCT) {
        lift = builder->square_max * model->scale * model->scale;
        for (uint32_t i = 0; i < model->dimension; i++)
            lift -= (double)builder->scaled[i] * (double)builder->scaled[i];
        lift = lift > 0 ? sqrt(lift) : 0;
    }
    for (uint32_t i = 0; i < model->dimension; i++)
        builder->scaled[i] -= model->mean[i];
    vector_graph_encode(builder->graph, node, builder->scaled, (float)lift);
    return MOTE_OK;
}

/* All rows encoded: centroids that are nobody's get the first entry that there is, and the order of insertion is drawn. */
static int order_rows(struct vector_builder *builder)
{
    uint64_t count = builder->count, random = builder->options.seed | 1ull << 32;
    uint32_t some = UINT32_MAX;
    for (uint32_t k = builder->shape.centroids; k-- > 0;)
        some = builder->entries[k].node != UINT32_MAX ? builder->entries[k].node : some;
    assert(some != UINT32_MAX);
    for (uint32_t k = 0; k < builder->shape.centroids; k++)
        builder->entries[k].node = builder->entries[k].node == UINT32_MAX ? some : builder->entries[k].node;
    for (uint64_t i = 0; i < count; i++)
        builder->order[i] = (uint32_t)i;
    for (uint64_t i = count; i > 1; i--) {
        uint64_t j = vector_random(&random) % i;
        uint32_t held = builder->order[i - 1];
        builder->order[i - 1] = builder->order[j];
        builder->order[j] = held;
    }
    builder->first_inserted = UINT32_MAX;
    if (!builder->merge)
        return MOTE_OK;
    int result = vector_merge_graph(builder->merge, builder->graph);
    for (uint64_t i = count; !result && i-- > 0;)
        if (builder->graph->stamps[i] == 1) {
            builder->assigned[i] |= IS_INSERTED;
            builder->first_inserted = (uint32_t)i;
        }
    builder->graph->stamp = 1;
    return result;
}

/* Those from which a search may begin: the entries that are in the graph; before there are any, some node that is. */
static uint32_t collect_entries(const struct vector_builder *builder, uint32_t entries[VECTOR_CENTROIDS_MAX + 1])
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < builder->shape.centroids; k++)
        if (builder->assigned[builder->entries[k].node] & IS_INSERTED)
            entries[count++] = builder->entries[k].node;
    if (builder->first_inserted != UINT32_MAX)
        entries[count++] = builder->first_inserted;
    return count;
}

static void insert_row(struct vector_builder *builder, uint32_t node)
{
    uint32_t entries[VECTOR_CENTROIDS_MAX + 1];
    if (builder->assigned[node] & IS_INSERTED)
        return;
    uint32_t count = collect_entries(builder, entries);
    if (count > 0) {
        vector_graph_search(builder->graph, node, entries, count);
        vector_graph_connect(builder->graph, node);
    }
    builder->assigned[node] |= IS_INSERTED;
    builder->first_inserted = builder->first_inserted == UINT32_MAX ? node : builder->first_inserted;
}

/* The entries first, then all in the drawn order. */
static int insert_next(struct vector_builder *builder)
{
    uint64_t at = builder->position;
    insert_row(builder, at < builder->shape.centroids ? builder->entries[at].node : builder->order[at - builder->shape.centroids]);
    return MOTE_OK;
}

/* The order has done its duty, and is the queue of a walk through the graph from the entries. */
static void reach(struct vector_builder *builder, uint32_t node)
{
    if (builder->assigned[node] & IS_REACHED)
        return;
    builder->assigned[node] |= IS_REACHED;
    builder->order[builder->queue_tail++] = node;
}

static bool link_from(struct vector_builder *builder, uint32_t from, uint32_t node)
{
    uint32_t *edges = vector_edges(builder->graph, from);
    if (edges[0] >= builder->graph->degree)
        return false;
    edges[++edges[0]] = node;
    reach(builder, node);
    return true;
}

/* An edge from the nearest node that has room; among very many equal vectors these may all be full, and one of those that were reached last is taken. */
static void link_unreached(struct vector_builder *builder, uint32_t node)
{
    struct vector_graph *graph = builder->graph;
    uint32_t entries[VECTOR_CENTROIDS_MAX];
    bool linked = false;
    for (uint32_t k = 0; k < builder->shape.centroids; k++)
        entries[k] = builder->entries[k].node;
    vector_graph_search(graph, node, entries, builder->shape.centroids);
    for (uint32_t i = 0; i < graph->list_count && !linked; i++)
        linked = link_from(builder, graph->list[i].node, node);
    for (uint64_t i = 0; i < LAST_REACHED && i < builder->queue_tail && !linked; i++)
        linked = link_from(builder, builder->order[builder->queue_tail - 1 - i], node);
}

/* One node of the walk, or where it has ended the next node that it did not come to. false: there is none. */
static bool reach_next(struct vector_builder *builder)
{
    if (builder->queue_head < builder->queue_tail) {
        const uint32_t *edges = vector_edges(builder->graph, builder->order[builder->queue_head++]);
        for (uint32_t i = 1; i <= edges[0]; i++)
            reach(builder, edges[i]);
        return true;
    }
    while (builder->position < builder->count && builder->assigned[builder->position] & IS_REACHED)
        builder->position++;
    if (builder->position == builder->count)
        return false;
    link_unreached(builder, (uint32_t)builder->position++);
    return true;
}

static int write_node(struct vector_builder *builder, uint32_t node)
{
    const struct vector_shape *shape = &builder->shape;
    struct vector_writer *writer = builder->writer;
    uint32_t part_bytes = shape->streams[VECTOR_NODES].record_bytes;
    uint8_t *record = vector_writer_room(writer, VECTOR_NODES), *pieces = record;
    int result = MOTE_OK;
    if (shape->parts > 1) {
        pieces = memory_alloc(builder->memory, shape->node_bytes);
        if (!pieces)
            return MOTE_EBUDGET;
        memset(pieces, 0, shape->node_bytes);
    }
    store_u32(pieces, vector_builder_ordinal(builder, node));
    if (shape->degree > 0) {
        const uint32_t *edges = vector_edges(builder->graph, node);
        store_u16(pieces + 4, (uint16_t)edges[0]);
        for (uint32_t i = 0; i < edges[0]; i++)
            store_u32(pieces + VECTOR_NODE_HEADER_BYTES + 4 * (size_t)i, edges[1 + i]);
    }
    for (uint32_t i = 0; i < shape->dimension; i++)
        vector_store_f32(pieces + VECTOR_NODE_HEADER_BYTES + 4 * ((size_t)shape->degree + i), builder->vector[i]);
    if (shape->parts > 1) {
        memcpy(record, pieces, part_bytes);
        result = vector_writer_put(writer, VECTOR_NODES);
        memcpy(vector_writer_room(writer, VECTOR_NODES), pieces + part_bytes, shape->node_bytes - part_bytes);
        memory_free(builder->memory, pieces);
    }
    return result ? result : vector_writer_put(writer, VECTOR_NODES);
}

static int write_row(struct vector_builder *builder, uint32_t node)
{
    struct vector_writer *writer = builder->writer;
    int result = vector_builder_vector(builder, node, builder->vector);
    if (!result)
        result = write_node(builder, node);
    if (!result && builder->shape.kind == VECTOR_GRAPH) {
        vector_scale(&builder->model, builder->vector, builder->scaled);
        vector_encode(&builder->model, builder->scaled, builder->assigned[node] & CENTROID_MASK, builder->residual, vector_writer_room(writer, VECTOR_CODES));
        result = vector_writer_put(writer, VECTOR_CODES);
    }
    if (!result && !(builder->shape.flags & VECTOR_FLAG_DENSE)) {
        store_u32(vector_writer_room(writer, VECTOR_ORDINALS), vector_builder_ordinal(builder, node));
        result = vector_writer_put(writer, VECTOR_ORDINALS);
    }
    return result;
}

static int write_end(struct vector_builder *builder)
{
    const struct vector_shape *shape = &builder->shape;
    size_t floats = vector_model_floats(shape->dimension, shape->centroids);
    int result = MOTE_OK;
    for (size_t i = 0; shape->kind == VECTOR_GRAPH && !result && i < floats + shape->centroids; i++) {
        uint8_t *at = vector_writer_room(builder->writer, VECTOR_MODEL);
        if (i < floats)
            vector_store_f32(at, builder->model.mean[i]);
        else
            store_u32(at, builder->entries[i - floats].node);
        result = vector_writer_put(builder->writer, VECTOR_MODEL);
    }
    return result ? result : vector_writer_end(builder->writer, &builder->root);
}

static void enter_phase(struct vector_builder *builder, enum phase phase)
{
    builder->phase = phase;
    builder->position = 0;
}

static int step_before_graph(struct vector_builder *builder)
{
    int result = MOTE_OK;
    bool done = false;
    if (builder->phase == PHASE_TRAIN) {
        result = vector_train_step(builder, &done);
        if (done) {
            vector_train_end(builder);
            enter_phase(builder, PHASE_ENCODE);
        }
        return result;
    }
    result = encode_row(builder, (uint32_t)builder->position);
    if (!result && ++builder->position == builder->count) {
        result = order_rows(builder);
        enter_phase(builder, PHASE_INSERT);
    }
    return result;
}

static int step_graph(struct vector_builder *builder)
{
    int result = MOTE_OK;
    if (builder->phase == PHASE_INSERT) {
        result = insert_next(builder);
        if (++builder->position == builder->count + builder->shape.centroids)
            enter_phase(builder, PHASE_TRIM);
    } else if (builder->phase == PHASE_TRIM) {
        vector_graph_trim(builder->graph, (uint32_t)builder->position);
        if (++builder->position == builder->count) {
            enter_phase(builder, PHASE_REACH);
            for (uint32_t k = 0; k < builder->shape.centroids; k++)
                reach(builder, builder->entries[k].node);
        }
    } else if (!reach_next(builder)) {
        enter_phase(builder, PHASE_WRITE);
    }
    return result;
}

static int step_write(struct vector_builder *builder)
{
    int result = builder->writer ? MOTE_OK : vector_writer_create(builder->memory, &builder->shape, builder->identity, builder->sink, &builder->writer);
    if (!result && builder->position < builder->count)
        return write_row(builder, (uint32_t)builder->position++);
    if (!result)
        result = write_end(builder);
    if (!result)
        enter_phase(builder, PHASE_END);
    return result;
}

int vector_builder_step(struct vector_builder *builder, uint32_t work, bool *finished)
{
    *finished = false;
    if (!builder->begun || builder->failed)
        return builder->failed ? builder->failed : error_set(MOTE_EINVAL, "vector_builder_begin comes before the steps");
    for (uint32_t done = 0; (done < work || done == 0) && builder->phase != PHASE_END && !builder->failed; done++) {
        if (builder->phase <= PHASE_ENCODE)
            builder->failed = step_before_graph(builder);
        else
            builder->failed = builder->phase < PHASE_WRITE ? step_graph(builder) : step_write(builder);
    }
    *finished = builder->phase == PHASE_END;
    return builder->failed;
}

void vector_builder_root(const struct vector_builder *builder, struct section_root *root)
{
    assert(builder->phase == PHASE_END);
    *root = builder->root;
}

int vector_builder_finish(struct vector_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    bool finished = false;
    int result = vector_builder_begin(builder, identity, sink);
    while (!result && !finished)
        result = vector_builder_step(builder, UINT32_MAX, &finished);
    if (!result)
        vector_builder_root(builder, root);
    return result;
}
