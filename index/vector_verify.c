/* vector_verify.c: all of a vector section, record by record (vector.h).
 *
 * Then a walk along the edges from the entries, to count what they lead to; it reads every node a second time. Memory: the open index's, a node, and 5 bytes a row. Threads: one. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include "blockdev/base/memory.h"
#include "index/vector_private.h"

struct verifier {
    const struct vector_index *index;
    struct vector_pin node_pin, code_pin, ordinal_pin;
    uint8_t *node_bytes, *code;
    float *vector, *scaled, *residual;
    uint8_t *seen; /* a bit for each node */
    uint32_t *queue;
    struct vector_verified found;
};

static int refuse(const struct verifier *verifier, const char *what) { return vector_refuse(&verifier->index->section, verifier->index->section.root->root_offset_bytes, what); }

static bool all_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

/* Nothing but zeros behind the records of each page, and in the halves of nodes in two parts. */
static int verify_rests(struct verifier *verifier)
{
    const struct vector_index *index = verifier->index;
    for (uint32_t stream = 0; stream < VECTOR_STREAMS; stream++) {
        const struct vector_stream_shape *shape = &index->shape.streams[stream];
        for (uint64_t page = 0; page < shape->pages; page++) {
            struct vector_pin pin = {0};
            const uint8_t *at;
            int result = vector_pin_record(index, (enum vector_stream)stream, page * shape->per_page, &pin, &at);
            if (result)
                return result;
            uint32_t used = VECTOR_HEADER_BYTES + vector_page_records(&index->shape, (enum vector_stream)stream, page) * shape->record_bytes;
            uint32_t bytes = vector_page_bytes(&index->shape, (enum vector_stream)stream, page);
            if (stream == VECTOR_NODES && index->shape.parts > 1 && page % VECTOR_PARTS == 1)
                used -= VECTOR_PARTS * shape->record_bytes - index->shape.node_bytes;
            bool zero = all_zero(pin.page + used, bytes - used);
            vector_unpin(index, &pin);
            if (!zero)
                return refuse(verifier, "something behind the records of a page");
        }
    }
    return MOTE_OK;
}

static bool edges_are_sound(const struct vector_node *node, uint32_t number, uint32_t degree)
{
    bool sound = all_zero(node->neighbours + 4 * (size_t)node->degree, 4 * (size_t)(degree - node->degree));
    for (uint32_t i = 0; i < node->degree; i++) {
        uint32_t neighbour = load_u32(node->neighbours + 4 * (size_t)i);
        sound &= neighbour != number;
        for (uint32_t j = 0; j < i; j++)
            sound &= load_u32(node->neighbours + 4 * (size_t)j) != neighbour;
    }
    return sound;
}

static int verify_code(struct verifier *verifier, uint32_t number)
{
    const struct vector_index *index = verifier->index;
    const uint8_t *code;
    int result = vector_pin_record(index, VECTOR_CODES, number, &verifier->code_pin, &code);
    if (result)
        return result;
    if (code[8] >= index->shape.centroids)
        return refuse(verifier, "a code of no centroid");
    vector_scale(&index->model, verifier->vector, verifier->scaled);
    vector_encode(&index->model, verifier->scaled, code[8], verifier->residual, verifier->code);
    return memcmp(code, verifier->code, vector_code_bytes(index->shape.dimension)) == 0 ? MOTE_OK : refuse(verifier, "a code that is not its vector's");
}

static int verify_node(struct verifier *verifier, uint32_t number, uint64_t row_count, uint64_t *next_ordinal)
{
    const struct vector_index *index = verifier->index;
    const uint8_t *at;
    struct vector_node node;
    int result = vector_read_node(index, number, &verifier->node_pin, verifier->node_bytes, &node);
    if (result)
        return result;
    bool finite = true;
    for (uint32_t i = 0; i < index->shape.dimension; i++) {
        verifier->vector[i] = vector_load_f32(node.vector + 4 * (size_t)i);
        finite &= isfinite(verifier->vector[i]) != 0;
    }
    if (!finite)
        return refuse(verifier, "a vector that is not finite");
    if (node.ordinal < *next_ordinal || node.ordinal >= row_count)
        return refuse(verifier, "a row that does not exist, or out of order");
    *next_ordinal = (uint64_t)node.ordinal + 1;
    if (!edges_are_sound(&node, number, index->shape.degree) || load_u16(node.neighbours - 2) != 0)
        return refuse(verifier, "edges that contradict themselves");
    verifier->found.edges += node.degree;
    if (index->shape.flags & VECTOR_FLAG_DENSE) {
        if (node.ordinal != number)
            return refuse(verifier, "an ordinal that should be the node's number");
    } else {
        result = vector_pin_record(index, VECTOR_ORDINALS, number, &verifier->ordinal_pin, &at);
        if (!result && load_u32(at) != node.ordinal)
            result = refuse(verifier, "two ordinals for one node");
    }
    return result || index->shape.kind == VECTOR_FLAT ? result : verify_code(verifier, number);
}

static bool come_to(struct verifier *verifier, uint32_t node)
{
    if (verifier->seen[node / 8] >> (node % 8) & 1)
        return false;
    verifier->seen[node / 8] = (uint8_t)(verifier->seen[node / 8] | 1u << (node % 8));
    verifier->queue[verifier->found.reachable++] = node;
    return true;
}

static int walk(struct verifier *verifier)
{
    const struct vector_index *index = verifier->index;
    for (uint32_t k = 0; k < index->shape.centroids; k++)
        (void)come_to(verifier, index->entries[k]);
    for (uint64_t at = 0; at < verifier->found.reachable; at++) {
        struct vector_node node;
        int result = vector_read_node(index, verifier->queue[at], &verifier->node_pin, verifier->node_bytes, &node);
        if (result)
            return result;
        for (uint32_t i = 0; i < node.degree; i++)
            (void)come_to(verifier, load_u32(node.neighbours + 4 * (size_t)i));
    }
    return MOTE_OK;
}

static int verify_all(struct verifier *verifier, uint64_t row_count)
{
    const struct vector_shape *shape = &verifier->index->shape;
    uint64_t next_ordinal = 0;
    int result = verify_rests(verifier);
    for (uint64_t number = 0; !result && number < shape->nodes; number++)
        result = verify_node(verifier, (uint32_t)number, row_count, &next_ordinal);
    if (!result && next_ordinal != shape->ordinal_end)
        result = refuse(verifier, "ordinals that end elsewhere");
    verifier->found.rows = shape->nodes;
    if (!result && shape->kind == VECTOR_GRAPH)
        result = walk(verifier);
    else
        verifier->found.reachable = shape->nodes;
    return result;
}

int vector_verify(const struct vector_section *section, uint64_t row_count, struct vector_verified *verified)
{
    struct vector_index *index;
    struct memory *memory = section->memory;
    int result = vector_open(section, 0, &index);
    if (result)
        return result;
    const struct vector_shape *shape = &index->shape;
    struct verifier verifier = {.index = index};
    verifier.node_bytes = memory_alloc(memory, shape->node_bytes);
    verifier.code = memory_alloc(memory, vector_code_bytes(shape->dimension));
    verifier.vector = memory_alloc(memory, 3 * (size_t)shape->dimension * sizeof(float));
    verifier.seen = memory_alloc_zero(memory, (size_t)(shape->nodes / 8 + 1));
    verifier.queue = memory_alloc(memory, (size_t)(shape->nodes + 1) * sizeof(uint32_t));
    result = MOTE_EBUDGET;
    if (verifier.node_bytes && verifier.code && verifier.vector && verifier.seen && verifier.queue) {
        verifier.scaled = verifier.vector + shape->dimension;
        verifier.residual = verifier.scaled + shape->dimension;
        result = verify_all(&verifier, row_count);
    }
    vector_unpin(index, &verifier.node_pin);
    vector_unpin(index, &verifier.code_pin);
    vector_unpin(index, &verifier.ordinal_pin);
    if (verified)
        *verified = verifier.found;
    memory_free(memory, verifier.queue);
    memory_free(memory, verifier.seen);
    memory_free(memory, verifier.vector);
    memory_free(memory, verifier.code);
    memory_free(memory, verifier.node_bytes);
    vector_close(index);
    return result;
}

int vector_visit(const struct vector_index *index, int (*visit)(void *context, uint32_t ordinal, const float *vector), void *context)
{
    struct memory *memory = index->section.memory;
    const struct vector_shape *shape = &index->shape;
    struct vector_pin pin = {0};
    uint8_t *node_bytes = memory_alloc(memory, shape->node_bytes);
    float *vector = memory_alloc(memory, shape->dimension * sizeof *vector);
    int result = node_bytes && vector ? MOTE_OK : MOTE_EBUDGET;
    for (uint64_t number = 0; number < shape->nodes && !result; number++) {
        struct vector_node node;
        result = vector_read_node(index, (uint32_t)number, &pin, node_bytes, &node);
        for (uint32_t i = 0; i < shape->dimension && !result; i++)
            vector[i] = vector_load_f32(node.vector + 4 * (size_t)i);
        if (!result)
            result = visit(context, node.ordinal, vector);
    }
    vector_unpin(index, &pin);
    memory_free(memory, vector);
    memory_free(memory, node_bytes);
    return result;
}
