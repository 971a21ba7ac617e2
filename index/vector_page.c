/* vector_page.c: what the streams of a vector section measure, and its pages from the source (vector_format.h).
 *
 * What a page says of itself is checked each time it is pinned (the source verifies the checksum only when the bytes come from the device), and every number is bounded before it is used: after vector_open_pages the shape agrees with the
 * section's length. Threads: pure but for the source; a pin belongs to one thread. Failures: MOTE_EDAMAGED, MOTE_EBUDGET and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/vector_private.h"

enum { NODE_PREFETCH_MAX = 4096, LINE_BYTES = 64 };

/* ---- Shape ---- */

static void fill_stream(struct vector_shape *shape, enum vector_stream stream, uint64_t records, uint32_t record_bytes, uint32_t page_bytes)
{
    struct vector_stream_shape *made = &shape->streams[stream];
    made->records = records;
    made->record_bytes = record_bytes;
    made->page_bytes = page_bytes;
    made->per_page = (page_bytes - VECTOR_HEADER_BYTES) / record_bytes;
    made->pages = divide_up(records, made->per_page);
    made->first_page = shape->pages;
    shape->pages += made->pages;
}

void vector_shape_fill(struct vector_shape *shape)
{
    bool flat = shape->kind == VECTOR_FLAT;
    shape->pages = 0;
    shape->node_bytes = VECTOR_NODE_HEADER_BYTES + 4 * shape->degree + 4 * shape->dimension;
    shape->parts = shape->node_bytes > VECTOR_PAYLOAD_MAX ? VECTOR_PARTS : 1;
    uint32_t part_bytes = shape->parts > 1 ? (uint32_t)round_up(divide_up(shape->node_bytes, VECTOR_PARTS), 4) : shape->node_bytes;
    uint32_t page_bytes = flat ? INDEX_PAGE_BYTES_MAX : (uint32_t)round_up(VECTOR_HEADER_BYTES + part_bytes, VECTOR_UNIT_BYTES);
    fill_stream(shape, VECTOR_NODES, shape->nodes * shape->parts, part_bytes, page_bytes);
    fill_stream(shape, VECTOR_CODES, flat ? 0 : shape->nodes, vector_code_bytes(shape->dimension), VECTOR_CODE_PAGE_BYTES);
    fill_stream(shape, VECTOR_MODEL, flat ? 0 : vector_model_floats(shape->dimension, shape->centroids) + shape->centroids, 4, VECTOR_CODE_PAGE_BYTES);
    fill_stream(shape, VECTOR_ORDINALS, shape->flags & VECTOR_FLAG_DENSE ? 0 : shape->nodes, 4, INDEX_PAGE_BYTES_MAX);
    shape->directory_pages = divide_up(shape->pages, VECTOR_DIRECTORY_ENTRIES);
}

uint32_t vector_page_records(const struct vector_shape *shape, enum vector_stream stream, uint64_t page)
{
    const struct vector_stream_shape *of = &shape->streams[stream];
    uint64_t left = of->records - page * of->per_page;
    assert(page < of->pages);
    return left < of->per_page ? (uint32_t)left : of->per_page;
}

uint32_t vector_page_bytes(const struct vector_shape *shape, enum vector_stream stream, uint64_t page)
{
    return (uint32_t)round_up(VECTOR_HEADER_BYTES + (uint64_t)vector_page_records(shape, stream, page) * shape->streams[stream].record_bytes, VECTOR_UNIT_BYTES);
}

/* ---- Pages ---- */

/* What a page must be. */
struct page_expected {
    const struct section_identity *identity;
    struct vector_page_place place;
    uint32_t length_bytes, stream, number, records;
};

int vector_refuse(const struct vector_section *section, uint64_t offset_bytes, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the vector index of segment %llu is damaged at byte %llu of its section (%s); rebuild the vector index", (unsigned long long)section->identity->segment_id, (unsigned long long)offset_bytes, what);
}

static bool header_fits(const struct page_expected *expected, const uint8_t *page, uint32_t length_bytes)
{
    const struct section_identity *identity = expected->identity;
    return length_bytes == expected->length_bytes && load_u32(page) == VECTOR_MAGIC && load_u32(page + 4) == expected->place.crc && load_u64(page + 8) == identity->segment_id && load_u64(page + 16) == identity->section_id &&
           load_u64(page + 24) == expected->place.offset_bytes && load_u32(page + 32) == length_bytes && load_u16(page + 36) == VECTOR_VERSION && load_u16(page + 38) == expected->stream && load_u32(page + 40) == expected->number &&
           load_u32(page + 44) == expected->records;
}

static int check_page(const uint8_t *page, uint32_t length_bytes, void *context)
{
    const struct page_expected *expected = context;
    const struct section_identity *identity = expected->identity;
    uint32_t seed = crc32c_seed(identity->uuid, VECTOR_MAGIC, identity->segment_id, expected->place.offset_bytes);
    if (length_bytes != expected->length_bytes || crc32c(seed, page + 8, length_bytes - 8) != expected->place.crc || load_u32(page + 4) != expected->place.crc)
        return error_set(MOTE_EDAMAGED, "the vector index of segment %llu fails its checksum at byte %llu of its section; rebuild the vector index", (unsigned long long)identity->segment_id,
                         (unsigned long long)expected->place.offset_bytes);
    return MOTE_OK;
}

static bool lies_inside(const struct vector_section *section, const struct page_expected *expected)
{
    uint64_t section_bytes = section->root->length_bytes;
    return expected->length_bytes <= section_bytes && expected->place.offset_bytes <= section_bytes - expected->length_bytes;
}

static int pin_expected(const struct vector_section *section, struct page_expected *expected, const uint8_t **page, void **handle)
{
    if (!lies_inside(section, expected))
        return vector_refuse(section, expected->place.offset_bytes, "a page lies outside");
    int result = section->source->read(section->source->context, expected->place.offset_bytes, expected->length_bytes, check_page, expected, page, handle);
    if (!result && !header_fits(expected, *page, expected->length_bytes)) {
        section->source->release(section->source->context, *handle);
        result = vector_refuse(section, expected->place.offset_bytes, "another page is there");
    }
    return result;
}

static struct page_expected expect_page(const struct vector_index *index, enum vector_stream stream, uint64_t page)
{
    const struct vector_shape *shape = &index->shape;
    return (struct page_expected){.identity = index->section.identity,
                                  .place = index->directory[shape->streams[stream].first_page + page],
                                  .length_bytes = vector_page_bytes(shape, stream, page),
                                  .stream = stream,
                                  .number = (uint32_t)page,
                                  .records = vector_page_records(shape, stream, page)};
}

int vector_pin_record(const struct vector_index *index, enum vector_stream stream, uint64_t record, struct vector_pin *pin, const uint8_t **at)
{
    const struct vector_stream_shape *shape = &index->shape.streams[stream];
    assert(record < shape->records);
    uint64_t page = record / shape->per_page;
    if (!pin->page || pin->number != shape->first_page + page) {
        struct page_expected expected = expect_page(index, stream, page);
        vector_unpin(index, pin);
        int result = pin_expected(&index->section, &expected, &pin->page, &pin->handle);
        if (result) {
            pin->page = NULL;
            return result;
        }
        pin->number = shape->first_page + page;
    }
    *at = pin->page + VECTOR_HEADER_BYTES + record % shape->per_page * shape->record_bytes;
    return MOTE_OK;
}

void vector_unpin(const struct vector_index *index, struct vector_pin *pin)
{
    if (pin->page)
        index->section.source->release(index->section.source->context, pin->handle);
    pin->page = NULL;
}

void vector_announce(const struct vector_index *index, const uint32_t *nodes, uint32_t count)
{
    struct page_expected expected[VECTOR_PARTS * VECTOR_BEAM_MAX];
    struct section_page pages[VECTOR_PARTS * VECTOR_BEAM_MAX];
    uint32_t announced = 0, parts = index->shape.parts;
    assert(count <= VECTOR_BEAM_MAX);
    if (!index->section.source->prefetch || count * parts < 2)
        return;
    for (uint32_t i = 0; i < count * parts; i++) {
        uint64_t record = (uint64_t)nodes[i / parts] * parts + i % parts;
        expected[announced] = expect_page(index, VECTOR_NODES, record / index->shape.streams[VECTOR_NODES].per_page);
        if (!lies_inside(&index->section, &expected[announced]))
            continue;
        pages[announced] = (struct section_page){.offset_bytes = expected[announced].place.offset_bytes, .length_bytes = expected[announced].length_bytes, .check_context = &expected[announced]};
        announced++;
    }
    index->section.source->prefetch(index->section.source->context, pages, announced, check_page);
}

int vector_pin_nodes(const struct vector_index *index, const uint32_t *nodes, uint32_t count, struct vector_pin *pins)
{
    const struct vector_shape *shape = &index->shape;
    uint32_t bytes = shape->streams[VECTOR_NODES].record_bytes;
    int result = MOTE_OK;
    memset(pins, 0, count * sizeof *pins);
    vector_announce(index, nodes, count);
    for (uint32_t i = 0; i < count && !result; i++) {
        const uint8_t *record;
        result = vector_pin_record(index, VECTOR_NODES, (uint64_t)nodes[i] * shape->parts, &pins[i], &record);
        for (uint32_t at = 0; !result && at < bytes && at < NODE_PREFETCH_MAX; at += LINE_BYTES)
            __builtin_prefetch(record + at);
    }
    return result;
}

void vector_unpin_nodes(const struct vector_index *index, uint32_t count, struct vector_pin *pins)
{
    for (uint32_t i = 0; i < count; i++)
        vector_unpin(index, &pins[i]);
}

int vector_read_node(const struct vector_index *index, uint32_t number, struct vector_pin *pin, uint8_t *scratch, struct vector_node *node)
{
    const struct vector_shape *shape = &index->shape;
    const uint8_t *record;
    uint32_t part_bytes = shape->streams[VECTOR_NODES].record_bytes;
    int result = vector_pin_record(index, VECTOR_NODES, (uint64_t)number * shape->parts, pin, &record);
    if (!result && shape->parts > 1) {
        memcpy(scratch, record, part_bytes);
        result = vector_pin_record(index, VECTOR_NODES, (uint64_t)number * shape->parts + 1, pin, &record);
        if (!result)
            memcpy(scratch + part_bytes, record, shape->node_bytes - part_bytes);
        record = scratch;
    }
    if (result)
        return result;
    *node = (struct vector_node){load_u32(record), load_u16(record + 4), record + VECTOR_NODE_HEADER_BYTES, record + VECTOR_NODE_HEADER_BYTES + 4 * (size_t)shape->degree};
    bool sound = node->degree <= shape->degree && node->ordinal < shape->ordinal_end;
    for (uint32_t i = 0; sound && i < node->degree; i++)
        sound = load_u32(node->neighbours + 4 * (size_t)i) < shape->nodes;
    if (!sound)
        return vector_refuse(&index->section, index->directory[pin->number].offset_bytes, "a node that contradicts the section");
    return MOTE_OK;
}

/* ---- The root and the directory ---- */

static bool load_shape(const uint8_t *page, const struct section_root *root, struct vector_shape *shape)
{
    uint32_t metric = load_u32(page + 68), kind = load_u32(page + 72), flags = load_u32(page + 88);
    *shape = (struct vector_shape){.nodes = load_u64(page + 48),
                                   .ordinal_end = load_u64(page + 56),
                                   .dimension = load_u32(page + 64),
                                   .degree = load_u32(page + 76),
                                   .centroids = load_u32(page + 80),
                                   .exponent = (int32_t)load_u32(page + 84),
                                   .flags = flags};
    bool flat = kind == VECTOR_FLAT;
    if (metric < VECTOR_L2 || metric > VECTOR_COSINE || (!flat && kind != VECTOR_GRAPH) || flags > VECTOR_FLAG_DENSE || shape->dimension < 1 || shape->dimension > MOTE_VECTOR_DIMENSION_MAX || shape->nodes > UINT32_MAX ||
        shape->ordinal_end > (uint64_t)UINT32_MAX + 1 || shape->ordinal_end < shape->nodes)
        return false;
    if (flat ? shape->degree != 0 || shape->centroids != 0
             : shape->nodes == 0 || shape->degree < 1 || shape->degree > VECTOR_DEGREE_MAX || shape->centroids < 1 || shape->centroids > VECTOR_CENTROIDS_MAX || shape->centroids > shape->nodes)
        return false;
    if (shape->exponent < -VECTOR_EXPONENT_MAX || shape->exponent > VECTOR_EXPONENT_MAX || (flags & VECTOR_FLAG_DENSE && shape->ordinal_end != shape->nodes))
        return false;
    shape->metric = (enum vector_metric)metric;
    shape->kind = (enum vector_kind)kind;
    vector_shape_fill(shape);
    return shape->pages <= VECTOR_PAGES_MAX && shape->pages <= root->length_bytes / VECTOR_UNIT_BYTES && shape->directory_pages == load_u32(page + 92) &&
           round_up(VECTOR_ROOT_FIXED_BYTES + shape->directory_pages * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES) == root->root_bytes;
}

static struct vector_page_place load_entry(const uint8_t *at) { return (struct vector_page_place){load_u64(at), load_u32(at + 8)}; }

static int load_directory(struct vector_index *index, const uint8_t *root_page)
{
    const struct vector_section *section = &index->section;
    for (uint64_t number = 0; number < index->shape.directory_pages; number++) {
        uint64_t first = number * VECTOR_DIRECTORY_ENTRIES, left = index->shape.pages - first;
        uint32_t count = (uint32_t)(left < VECTOR_DIRECTORY_ENTRIES ? left : VECTOR_DIRECTORY_ENTRIES);
        struct page_expected expected = {.identity = section->identity,
                                         .place = load_entry(root_page + VECTOR_ROOT_FIXED_BYTES + number * VECTOR_ENTRY_BYTES),
                                         .length_bytes = (uint32_t)round_up(VECTOR_HEADER_BYTES + (uint64_t)count * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES),
                                         .stream = VECTOR_DIRECTORY,
                                         .number = (uint32_t)number,
                                         .records = count};
        const uint8_t *page;
        void *handle;
        int result = pin_expected(section, &expected, &page, &handle);
        if (result)
            return result;
        for (uint32_t i = 0; i < count; i++)
            index->directory[first + i] = load_entry(page + VECTOR_HEADER_BYTES + (size_t)i * VECTOR_ENTRY_BYTES);
        section->source->release(section->source->context, handle);
    }
    return MOTE_OK;
}

/* The root, pinned, and what it says. */
static int read_root(const struct vector_section *section, struct vector_shape *shape, const uint8_t **page, void **handle)
{
    const struct section_root *root = section->root;
    struct page_expected expected = {.identity = section->identity, .place = {root->root_offset_bytes, root->root_crc}, .length_bytes = root->root_bytes, .stream = VECTOR_ROOT};
    if (root->kind != INDEX_VECTOR || root->root_bytes < VECTOR_UNIT_BYTES || root->root_bytes > INDEX_PAGE_BYTES_MAX || root->root_bytes % VECTOR_UNIT_BYTES != 0)
        return vector_refuse(section, root->root_offset_bytes, "no root of a vector index");
    if (!lies_inside(section, &expected))
        return vector_refuse(section, root->root_offset_bytes, "its root lies outside");
    int result = section->source->read(section->source->context, root->root_offset_bytes, root->root_bytes, check_page, &expected, page, handle);
    if (result)
        return result;
    /* How many entries the root has it says itself, under its checksum. */
    expected.records = load_u32(*page + 44);
    if (header_fits(&expected, *page, root->root_bytes) && load_shape(*page, root, shape) && expected.records == shape->directory_pages)
        return MOTE_OK;
    section->source->release(section->source->context, *handle);
    return vector_refuse(section, root->root_offset_bytes, "a root that contradicts itself");
}

int vector_read_shape(const struct vector_section *section, struct vector_shape *shape)
{
    const uint8_t *page;
    void *handle;
    int result = read_root(section, shape, &page, &handle);
    if (!result)
        section->source->release(section->source->context, handle);
    return result;
}

int vector_open_pages(const struct vector_section *section, struct vector_index **index)
{
    struct vector_shape shape;
    const uint8_t *page;
    void *handle;
    *index = NULL;
    int result = read_root(section, &shape, &page, &handle);
    if (result)
        return result;
    struct vector_index *made = memory_alloc_zero(section->memory, sizeof *made);
    if (made) {
        made->section = *section;
        made->kernels = vector_kernels();
        made->shape = shape;
        made->resident_bytes = sizeof *made + shape.pages * sizeof *made->directory;
        made->directory = memory_alloc(section->memory, (size_t)(shape.pages + 1) * sizeof *made->directory);
    }
    result = made && made->directory ? load_directory(made, page) : MOTE_EBUDGET;
    section->source->release(section->source->context, handle);
    if (result)
        vector_close(made);
    else
        *index = made;
    return result;
}
