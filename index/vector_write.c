/* vector_write.c: the pages of a vector section into its sink: those of several streams side by side as their records come, then the directory, then the root (vector_format.h).
 *
 * Invariants: records of a stream come in order; a page is written when it is full or its stream's last record is in. Threads: one. Failures: what the sink returns; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/vector_private.h"

uint64_t vector_writer_bytes(const struct vector_shape *shape)
{
    uint64_t bytes = sizeof(struct vector_writer) + shape->pages * sizeof(struct vector_page_place) + INDEX_PAGE_BYTES_MAX + 256;
    for (uint32_t stream = 0; stream < VECTOR_STREAMS; stream++)
        bytes += shape->streams[stream].page_bytes;
    return bytes;
}

int vector_writer_create(struct memory *memory, const struct vector_shape *shape, const struct section_identity *identity, const struct section_sink *sink, struct vector_writer **writer)
{
    struct vector_writer *made = memory_alloc_zero(memory, sizeof *made);
    *writer = made;
    if (!made)
        return MOTE_EBUDGET;
    *made = (struct vector_writer){.memory = memory, .identity = identity, .sink = sink, .shape = *shape};
    made->directory = memory_alloc(memory, (size_t)(shape->pages + 1) * sizeof *made->directory);
    if (!made->directory)
        return MOTE_EBUDGET;
    for (uint32_t stream = 0; stream < VECTOR_STREAMS; stream++) {
        if (shape->streams[stream].records == 0)
            continue;
        made->streams[stream].page = memory_alloc_zero(memory, shape->streams[stream].page_bytes);
        if (!made->streams[stream].page)
            return MOTE_EBUDGET;
    }
    return MOTE_OK;
}

void vector_writer_destroy(struct vector_writer *writer)
{
    if (!writer)
        return;
    for (uint32_t stream = 0; stream < VECTOR_STREAMS; stream++)
        memory_free(writer->memory, writer->streams[stream].page);
    memory_free(writer->memory, writer->directory);
    memory_free(writer->memory, writer);
}

static int write_page(struct vector_writer *writer, uint8_t *page, uint32_t length_bytes, uint32_t stream, uint64_t number, uint32_t records, struct vector_page_place *place)
{
    const struct section_identity *identity = writer->identity;
    int result = writer->sink->place(writer->sink->context, length_bytes, &place->offset_bytes);
    if (result)
        return result;
    store_u32(page, VECTOR_MAGIC);
    store_u64(page + 8, identity->segment_id);
    store_u64(page + 16, identity->section_id);
    store_u64(page + 24, place->offset_bytes);
    store_u32(page + 32, length_bytes);
    store_u16(page + 36, VECTOR_VERSION);
    store_u16(page + 38, (uint16_t)stream);
    store_u32(page + 40, (uint32_t)number);
    store_u32(page + 44, records);
    place->crc = crc32c(crc32c_seed(identity->uuid, VECTOR_MAGIC, identity->segment_id, place->offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, place->crc);
    writer->end_bytes = place->offset_bytes + length_bytes;
    return writer->sink->write(writer->sink->context, page, length_bytes);
}

uint8_t *vector_writer_room(struct vector_writer *writer, enum vector_stream stream)
{
    const struct vector_stream_shape *shape = &writer->shape.streams[stream];
    assert(writer->streams[stream].number < shape->pages && writer->streams[stream].records < shape->per_page);
    return writer->streams[stream].page + VECTOR_HEADER_BYTES + (size_t)writer->streams[stream].records * shape->record_bytes;
}

int vector_writer_put(struct vector_writer *writer, enum vector_stream stream)
{
    const struct vector_stream_shape *shape = &writer->shape.streams[stream];
    uint64_t number = writer->streams[stream].number;
    uint32_t records = ++writer->streams[stream].records;
    if (records < vector_page_records(&writer->shape, stream, number))
        return MOTE_OK;
    int result = write_page(writer, writer->streams[stream].page, vector_page_bytes(&writer->shape, stream, number), stream, number, records, &writer->directory[shape->first_page + number]);
    memset(writer->streams[stream].page, 0, shape->page_bytes);
    writer->streams[stream].number++;
    writer->streams[stream].records = 0;
    return result;
}

static void store_entry(uint8_t *at, const struct vector_page_place *place)
{
    store_u64(at, place->offset_bytes);
    store_u32(at + 8, place->crc);
}

static void fill_root(const struct vector_shape *shape, uint8_t *page)
{
    store_u64(page + 48, shape->nodes);
    store_u64(page + 56, shape->ordinal_end);
    store_u32(page + 64, shape->dimension);
    store_u32(page + 68, (uint32_t)shape->metric);
    store_u32(page + 72, (uint32_t)shape->kind);
    store_u32(page + 76, shape->degree);
    store_u32(page + 80, shape->centroids);
    store_u32(page + 84, (uint32_t)shape->exponent);
    store_u32(page + 88, shape->flags);
    store_u32(page + 92, (uint32_t)shape->directory_pages);
}

int vector_writer_end(struct vector_writer *writer, struct section_root *root)
{
    const struct vector_shape *shape = &writer->shape;
    struct vector_page_place place = {0};
    int result = MOTE_EBUDGET;
    uint8_t *page = memory_alloc(writer->memory, INDEX_PAGE_BYTES_MAX), *last = memory_alloc_zero(writer->memory, INDEX_PAGE_BYTES_MAX);
    if (!page || !last)
        goto done;
    result = MOTE_OK;
    for (uint64_t number = 0; !result && number < shape->directory_pages; number++) {
        uint64_t first = number * VECTOR_DIRECTORY_ENTRIES;
        uint32_t count = (uint32_t)(shape->pages - first < VECTOR_DIRECTORY_ENTRIES ? shape->pages - first : VECTOR_DIRECTORY_ENTRIES);
        memset(page, 0, INDEX_PAGE_BYTES_MAX);
        for (uint32_t i = 0; i < count; i++)
            store_entry(page + VECTOR_HEADER_BYTES + (size_t)i * VECTOR_ENTRY_BYTES, &writer->directory[first + i]);
        result = write_page(writer, page, (uint32_t)round_up(VECTOR_HEADER_BYTES + (uint64_t)count * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES), VECTOR_DIRECTORY, number, count, &place);
        store_entry(last + VECTOR_ROOT_FIXED_BYTES + number * VECTOR_ENTRY_BYTES, &place);
    }
    if (result)
        goto done;
    fill_root(shape, last);
    uint32_t root_bytes = (uint32_t)round_up(VECTOR_ROOT_FIXED_BYTES + shape->directory_pages * VECTOR_ENTRY_BYTES, VECTOR_UNIT_BYTES);
    result = write_page(writer, last, root_bytes, VECTOR_ROOT, 0, (uint32_t)shape->directory_pages, &place);
    *root = (struct section_root){.kind = INDEX_VECTOR, .length_bytes = writer->end_bytes, .root_offset_bytes = place.offset_bytes, .root_bytes = root_bytes, .root_crc = place.crc};
done:
    memory_free(writer->memory, last);
    memory_free(writer->memory, page);
    return result;
}
