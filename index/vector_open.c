/* vector_open.c: an open vector index: directory, model and, where they fit, codes in memory (vector.h).
 *
 * Threads: read-only once open. Failures: MOTE_EDAMAGED, MOTE_EBUDGET and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"

void vector_close(struct vector_index *index)
{
    if (!index)
        return;
    struct memory *memory = index->section.memory;
    if (!index->borrows) {
        memory_free(memory, index->codes);
        memory_free(memory, index->entries);
        memory_free(memory, index->model.mean);
        memory_free(memory, index->directory);
    }
    memory_free(memory, index);
}

static int load_model(struct vector_index *index)
{
    struct memory *memory = index->section.memory;
    const struct vector_shape *shape = &index->shape;
    size_t floats = vector_model_floats(shape->dimension, shape->centroids);
    struct vector_pin pin = {0};
    bool sound = true;
    int result = MOTE_OK;
    index->model = (struct vector_model){.dimension = shape->dimension, .centroids = shape->centroids, .metric = shape->metric, .scale = ldexp(1, -shape->exponent)};
    index->model.mean = memory_alloc(memory, floats * sizeof(float));
    index->entries = memory_alloc(memory, shape->centroids * sizeof(uint32_t));
    if (!index->model.mean || !index->entries)
        return MOTE_EBUDGET;
    index->model.centroid = index->model.mean + shape->dimension;
    index->resident_bytes += floats * sizeof(float) + shape->centroids * sizeof(uint32_t);
    for (size_t i = 0; i < floats + shape->centroids && !result; i++) {
        const uint8_t *at;
        result = vector_pin_record(index, VECTOR_MODEL, i, &pin, &at);
        if (result)
            break;
        if (i < floats) {
            index->model.mean[i] = vector_load_f32(at);
            sound &= isfinite(index->model.mean[i]) != 0;
        } else {
            index->entries[i - floats] = load_u32(at);
            sound &= load_u32(at) < shape->nodes;
        }
    }
    vector_unpin(index, &pin);
    if (!result && !sound)
        result = vector_refuse(&index->section, index->section.root->root_offset_bytes, "a model that contradicts the section");
    return result;
}

static int load_codes(struct vector_index *index)
{
    const struct vector_stream_shape *shape = &index->shape.streams[VECTOR_CODES];
    struct vector_pin pin = {0};
    int result = MOTE_OK;
    index->codes = memory_alloc(index->section.memory, (size_t)shape->records * shape->record_bytes);
    if (!index->codes)
        return MOTE_EBUDGET;
    for (uint64_t page = 0; page < shape->pages && !result; page++) {
        const uint8_t *at;
        uint64_t first = page * shape->per_page;
        result = vector_pin_record(index, VECTOR_CODES, first, &pin, &at);
        if (!result)
            memcpy(index->codes + first * shape->record_bytes, at, (size_t)vector_page_records(&index->shape, VECTOR_CODES, page) * shape->record_bytes);
    }
    vector_unpin(index, &pin);
    index->resident_bytes += shape->records * shape->record_bytes;
    return result;
}

int vector_open(const struct vector_section *section, uint64_t resident_bytes_max, struct vector_index **index)
{
    int result = vector_open_pages(section, index);
    if (result)
        return result;
    struct vector_index *opened = *index;
    const struct vector_stream_shape *codes = &opened->shape.streams[VECTOR_CODES];
    if (opened->shape.kind == VECTOR_GRAPH)
        result = load_model(opened);
    if (!result && codes->records > 0 && opened->resident_bytes + codes->records * codes->record_bytes <= resident_bytes_max)
        result = load_codes(opened);
    if (result) {
        vector_close(opened);
        *index = NULL;
    }
    return result;
}

int vector_share(const struct vector_index *index, const struct vector_section *section, struct vector_index **shared)
{
    assert(section->memory == index->section.memory);
    *shared = memory_alloc(section->memory, sizeof **shared);
    if (!*shared)
        return MOTE_EBUDGET;
    **shared = *index;
    (*shared)->section = *section;
    (*shared)->borrows = true;
    return MOTE_OK;
}

static void describe_shape(const struct vector_shape *shape, struct vector_facts *facts)
{
    *facts = (struct vector_facts){.rows = shape->nodes,
                                   .ordinal_end = shape->ordinal_end,
                                   .dimension = shape->dimension,
                                   .degree = shape->degree,
                                   .metric = shape->metric,
                                   .flat = shape->kind == VECTOR_FLAT,
                                   .codes_bytes = shape->streams[VECTOR_CODES].records * shape->streams[VECTOR_CODES].record_bytes,
                                   .section_pages = shape->pages + shape->directory_pages + 1};
}

void vector_describe(const struct vector_index *index, struct vector_facts *facts)
{
    describe_shape(&index->shape, facts);
    facts->codes_resident = index->codes != NULL;
    facts->resident_bytes = index->resident_bytes;
}

int vector_peek(const struct vector_section *section, struct vector_facts *facts)
{
    struct vector_shape shape;
    int result = vector_read_shape(section, &shape);
    if (result)
        return result;
    describe_shape(&shape, facts);
    facts->resident_bytes = sizeof(struct vector_index) + shape.pages * sizeof(struct vector_page_place) + facts->codes_bytes;
    if (!facts->flat)
        facts->resident_bytes += vector_model_floats(shape.dimension, shape.centroids) * sizeof(float) + shape.centroids * sizeof(uint32_t);
    return MOTE_OK;
}
