/* timestamp_build.c: writing a timestamp section: the merged rows in leaves, then the directory, then the root.
 *
 * Threads: one. Failures: MOTE_EBUDGET, and what the sink returns; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/timestamp_private.h"

struct section_writer {
    struct memory *memory;
    const struct section_identity *identity;
    const struct section_sink *sink;
    uint8_t *page;       /* INDEX_PAGE_BYTES_MAX */
    int64_t *times_ns;   /* TIMESTAMP_LEAF_ENTRIES, the leaf that is being filled */
    uint32_t *ordinals;
    uint32_t filled;
    void *scratch;
    size_t scratch_bytes;
    struct timestamp_entry *leaves;
    uint32_t leaf_count, leaf_capacity;
    uint64_t row_count, end_bytes;
    int64_t first_time_ns, last_time_ns;
};

/* Completes a page whose body is there, and writes it. */
static int write_page(struct section_writer *writer, uint32_t magic, uint32_t length_bytes, uint64_t *offset_bytes, uint32_t *crc)
{
    const struct section_identity *identity = writer->identity;
    uint8_t *page = writer->page;
    assert(length_bytes >= TIMESTAMP_HEADER_BYTES && length_bytes <= INDEX_PAGE_BYTES_MAX);
    int result = writer->sink->place(writer->sink->context, length_bytes, offset_bytes);
    if (result)
        return result;
    store_u32(page, magic);
    store_u64(page + 8, identity->segment_id);
    store_u64(page + 16, identity->section_id);
    store_u64(page + 24, *offset_bytes);
    store_u32(page + 32, length_bytes);
    store_u16(page + 36, TIMESTAMP_VERSION);
    store_u16(page + 38, 0);
    *crc = crc32c(crc32c_seed(identity->uuid, magic, identity->segment_id, *offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, *crc);
    writer->end_bytes = *offset_bytes + length_bytes;
    return writer->sink->write(writer->sink->context, page, length_bytes);
}

static int add_leaf_entry(struct section_writer *writer, const struct timestamp_entry *entry)
{
    if (writer->leaf_count == writer->leaf_capacity) {
        uint32_t capacity = writer->leaf_capacity ? writer->leaf_capacity * 2 : 64;
        struct timestamp_entry *grown = memory_realloc(writer->memory, writer->leaves, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        writer->leaves = grown;
        writer->leaf_capacity = capacity;
    }
    writer->leaves[writer->leaf_count++] = *entry;
    return MOTE_OK;
}

static int64_t encode_part(struct section_writer *writer, uint32_t type, const void *values, uint32_t at)
{
    struct codec_vector vector = {.type = type, .dimension = 1, .count = writer->filled, .values = values};
    return codec_encode(&vector, CODEC_TEXT_NONE, writer->page + at, INDEX_PAGE_BYTES_MAX - at, writer->scratch, writer->scratch_bytes);
}

static bool is_consecutive(const uint32_t *ordinals, uint32_t count)
{
    uint32_t gaps = 0;
    for (uint32_t i = 1; i < count; i++)
        gaps |= ordinals[i] - ordinals[i - 1] - 1;
    return gaps == 0;
}

static int write_leaf(struct section_writer *writer)
{
    assert(writer->filled > 0 && writer->filled <= TIMESTAMP_LEAF_ENTRIES);
    uint8_t *page = writer->page;
    memset(page, 0, TIMESTAMP_LEAF_HEADER_BYTES);
    bool consecutive = is_consecutive(writer->ordinals, writer->filled);
    int64_t times_bytes = encode_part(writer, MOTE_TYPE_TIMESTAMP, writer->times_ns, TIMESTAMP_LEAF_HEADER_BYTES);
    if (times_bytes < 0)
        return (int)times_bytes;
    uint32_t times_end = TIMESTAMP_LEAF_HEADER_BYTES + (uint32_t)times_bytes, at = (uint32_t)round_up(times_end, 8);
    assert(at <= INDEX_PAGE_BYTES_MAX);
    memset(page + times_end, 0, at - times_end);
    int64_t ordinals_bytes = consecutive ? 0 : encode_part(writer, MOTE_TYPE_INT32, writer->ordinals, at);
    if (ordinals_bytes < 0)
        return (int)ordinals_bytes;
    store_u32(page + 40, writer->filled);
    store_u32(page + 44, (uint32_t)writer->row_count);
    store_u32(page + 48, consecutive ? TIMESTAMP_LEAF_CONSECUTIVE : 0);
    store_u32(page + 52, writer->ordinals[0]);
    store_u32(page + 56, (uint32_t)times_bytes);
    store_u32(page + 60, (uint32_t)ordinals_bytes);

    struct timestamp_entry entry = {.first_time_ns = writer->times_ns[0], .length_bytes = at + (uint32_t)ordinals_bytes, .position = (uint32_t)writer->row_count, .count = writer->filled};
    int result = write_page(writer, TIMESTAMP_MAGIC_LEAF, entry.length_bytes, &entry.offset_bytes, &entry.crc);
    if (!result)
        result = add_leaf_entry(writer, &entry);
    if (writer->row_count == 0)
        writer->first_time_ns = writer->times_ns[0];
    writer->last_time_ns = writer->times_ns[writer->filled - 1];
    writer->row_count += writer->filled;
    writer->filled = 0;
    return result;
}

/* Fills leaves with rows in order. */
static int take_entries(struct section_writer *writer, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    while (count > 0) {
        uint32_t room = TIMESTAMP_LEAF_ENTRIES - writer->filled, taken = count < room ? count : room;
        memcpy(writer->times_ns + writer->filled, times_ns, taken * sizeof *times_ns);
        memcpy(writer->ordinals + writer->filled, ordinals, taken * sizeof *ordinals);
        writer->filled += taken;
        times_ns += taken;
        ordinals += taken;
        count -= taken;
        if (writer->filled == TIMESTAMP_LEAF_ENTRIES) {
            int result = write_leaf(writer);
            if (result)
                return result;
        }
    }
    return MOTE_OK;
}

static int write_leaves(struct ordinal_index *builder, struct section_writer *writer)
{
    struct timestamp_chunk *last = builder->chunk_count ? &builder->chunks[builder->chunk_count - 1] : NULL;
    struct timestamp_merge *merge;
    int result = last && timestamp_chunk_needs_sorting(last) ? timestamp_sort_chunk(builder, last) : MOTE_OK;
    if (!result)
        result = timestamp_merge_create(builder, &merge);
    if (result)
        return result;
    const int64_t *times_ns;
    const uint32_t *ordinals;
    uint32_t count;
    while (!result && (count = timestamp_merge_next(merge, &times_ns, &ordinals)) > 0)
        result = take_entries(writer, times_ns, ordinals, count);
    if (!result && writer->filled > 0)
        result = write_leaf(writer);
    timestamp_merge_destroy(merge);
    return result;
}

/* The directory pages, if there are several, and their entries instead of the leaves'. */
static int write_directory(struct section_writer *writer, uint32_t *top_count)
{
    *top_count = writer->leaf_count;
    if (writer->leaf_count <= TIMESTAMP_FANOUT)
        return MOTE_OK;
    uint32_t pages = 0;
    for (uint32_t first = 0; first < writer->leaf_count; first += TIMESTAMP_FANOUT) {
        uint32_t left = writer->leaf_count - first, count = left < TIMESTAMP_FANOUT ? left : TIMESTAMP_FANOUT;
        struct timestamp_entry top = {.first_time_ns = writer->leaves[first].first_time_ns, .position = writer->leaves[first].position};
        memset(writer->page, 0, TIMESTAMP_DIRECTORY_HEADER_BYTES);
        store_u32(writer->page + 40, count);
        for (uint32_t i = 0; i < count; i++) {
            timestamp_entry_store(writer->page + TIMESTAMP_DIRECTORY_HEADER_BYTES + (size_t)i * TIMESTAMP_ENTRY_BYTES, &writer->leaves[first + i]);
            top.count += writer->leaves[first + i].count;
        }
        top.length_bytes = TIMESTAMP_DIRECTORY_HEADER_BYTES + count * TIMESTAMP_ENTRY_BYTES;
        int result = write_page(writer, TIMESTAMP_MAGIC_DIRECTORY, top.length_bytes, &top.offset_bytes, &top.crc);
        if (result)
            return result;
        writer->leaves[pages++] = top; /* The leaves' entries from `first` on are not touched: pages <= first / FANOUT + 1. */
    }
    *top_count = pages;
    return MOTE_OK;
}

static int write_root(struct section_writer *writer, uint32_t leaf_count, uint32_t top_count, struct section_root *root)
{
    uint8_t *page = writer->page;
    assert(top_count <= TIMESTAMP_FANOUT);
    memset(page, 0, TIMESTAMP_ROOT_HEADER_BYTES);
    store_u32(page + 40, top_count);
    store_u32(page + 44, top_count == leaf_count ? 1 : 2);
    store_u64(page + 48, writer->row_count);
    store_u64(page + 56, (uint64_t)writer->first_time_ns);
    store_u64(page + 64, (uint64_t)writer->last_time_ns);
    store_u32(page + 72, leaf_count);
    for (uint32_t i = 0; i < top_count; i++)
        timestamp_entry_store(page + TIMESTAMP_ROOT_HEADER_BYTES + (size_t)i * TIMESTAMP_ENTRY_BYTES, &writer->leaves[i]);
    *root = (struct section_root){.kind = INDEX_TIMESTAMP, .root_bytes = TIMESTAMP_ROOT_HEADER_BYTES + top_count * TIMESTAMP_ENTRY_BYTES};
    int result = write_page(writer, TIMESTAMP_MAGIC_ROOT, root->root_bytes, &root->root_offset_bytes, &root->root_crc);
    root->length_bytes = writer->end_bytes;
    return result;
}

int timestamp_builder_finish(struct ordinal_index *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct section_writer writer = {.memory = builder->memory, .identity = identity, .sink = sink};
    writer.scratch_bytes = codec_scratch_bytes(TIMESTAMP_LEAF_ENTRIES, TIMESTAMP_LEAF_ENTRIES * sizeof(int64_t));
    int result = MOTE_EBUDGET;
    writer.page = memory_alloc(builder->memory, INDEX_PAGE_BYTES_MAX);
    if (!writer.page)
        return result;
    writer.times_ns = memory_alloc(builder->memory, TIMESTAMP_LEAF_ENTRIES * (sizeof(int64_t) + sizeof(uint32_t)));
    if (!writer.times_ns)
        goto free_page;
    writer.ordinals = (uint32_t *)(void *)(writer.times_ns + TIMESTAMP_LEAF_ENTRIES);
    writer.scratch = memory_alloc(builder->memory, writer.scratch_bytes);
    if (!writer.scratch)
        goto free_times;

    result = write_leaves(builder, &writer);
    uint32_t top_count = 0, leaf_count = writer.leaf_count;
    if (!result)
        result = write_directory(&writer, &top_count);
    if (!result)
        result = write_root(&writer, leaf_count, top_count, root);
    assert(result || writer.row_count == builder->count);

    memory_free(builder->memory, writer.leaves);
    memory_free(builder->memory, writer.scratch);
free_times:
    memory_free(builder->memory, writer.times_ns);
free_page:
    memory_free(builder->memory, writer.page);
    return result;
}
