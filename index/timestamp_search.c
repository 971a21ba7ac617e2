/* timestamp_search.c: finding, counting and verifying in a timestamp section (timestamp_format.h).
 *
 * A search reads the root, at most one directory page at a time, and the leaves that the range touches. What a page says of itself is checked
 * each time it is pinned (the source verifies the checksum only when the bytes come from the device), every number is bounded before it is used.
 * Threads: a call keeps everything on its stack and in memory of its own. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, and what source and visit return.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/timestamp_private.h"

struct section_reader {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    struct memory *memory;
    const uint8_t *root_page, *directory_page;
    void *root_handle, *directory_handle;
    uint32_t top_count, levels, leaf_count;
    uint32_t directory_number, directory_count; /* UINT32_MAX: none is pinned */
    uint64_t row_count;
    int64_t *times_ns; /* the decoded leaf */
    uint32_t *ordinals;
    void *scratch;
    size_t scratch_bytes;
};

/* What a page must be. */
struct page_expected {
    const struct section_identity *identity;
    uint64_t offset_bytes;
    uint32_t magic, crc;
};

static int refuse(const struct section_reader *reader, uint64_t offset_bytes, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the timestamp index of segment %llu is damaged at byte %llu of its section (%s); rebuild the timestamp index", (unsigned long long)reader->identity->segment_id,
                     (unsigned long long)offset_bytes, what);
}

static bool header_fits(const struct page_expected *expected, const uint8_t *page, uint32_t length_bytes)
{
    const struct section_identity *identity = expected->identity;
    return length_bytes >= TIMESTAMP_HEADER_BYTES && load_u32(page) == expected->magic && load_u32(page + 4) == expected->crc && load_u64(page + 8) == identity->segment_id &&
           load_u64(page + 16) == identity->section_id && load_u64(page + 24) == expected->offset_bytes && load_u32(page + 32) == length_bytes && load_u16(page + 36) == TIMESTAMP_VERSION &&
           load_u16(page + 38) == 0;
}

static int check_page(const uint8_t *page, uint32_t length_bytes, void *context)
{
    const struct page_expected *expected = context;
    const struct section_identity *identity = expected->identity;
    if (!header_fits(expected, page, length_bytes) ||
        crc32c(crc32c_seed(identity->uuid, expected->magic, identity->segment_id, expected->offset_bytes), page + 8, length_bytes - 8) != expected->crc)
        return error_set(MOTE_EDAMAGED, "the timestamp index of segment %llu fails its checksum at byte %llu of its section; rebuild the timestamp index", (unsigned long long)identity->segment_id,
                         (unsigned long long)expected->offset_bytes);
    return MOTE_OK;
}

static int pin_page(struct section_reader *reader, uint32_t magic, uint64_t offset_bytes, uint32_t length_bytes, uint32_t crc, const uint8_t **page, void **handle)
{
    struct page_expected expected = {.identity = reader->identity, .offset_bytes = offset_bytes, .magic = magic, .crc = crc};
    uint64_t section_bytes = reader->root->length_bytes;
    if (length_bytes < TIMESTAMP_HEADER_BYTES || length_bytes > INDEX_PAGE_BYTES_MAX || offset_bytes > section_bytes || length_bytes > section_bytes - offset_bytes)
        return refuse(reader, offset_bytes, "a page lies outside");
    int result = reader->source->read(reader->source->context, offset_bytes, length_bytes, check_page, &expected, page, handle);
    if (result)
        return result;
    if (!header_fits(&expected, *page, length_bytes)) {
        reader->source->release(reader->source->context, *handle);
        return refuse(reader, offset_bytes, "another page is there");
    }
    return MOTE_OK;
}

static void close_section(struct section_reader *reader)
{
    if (reader->directory_number != UINT32_MAX)
        reader->source->release(reader->source->context, reader->directory_handle);
    if (reader->root_page)
        reader->source->release(reader->source->context, reader->root_handle);
    memory_free(reader->memory, reader->times_ns);
    memory_free(reader->memory, reader->scratch);
}

static int open_section(struct section_reader *reader)
{
    reader->directory_number = UINT32_MAX;
    const struct section_root *root = reader->root;
    int result = pin_page(reader, TIMESTAMP_MAGIC_ROOT, root->root_offset_bytes, root->root_bytes, root->root_crc, &reader->root_page, &reader->root_handle);
    if (result) {
        reader->root_page = NULL;
        return result;
    }
    const uint8_t *page = reader->root_page;
    bool whole = root->root_bytes >= TIMESTAMP_ROOT_HEADER_BYTES;
    if (whole) {
        reader->top_count = load_u32(page + 40);
        reader->levels = load_u32(page + 44);
        reader->row_count = load_u64(page + 48);
        reader->leaf_count = load_u32(page + 72);
        uint32_t tops = reader->levels == 1 ? reader->leaf_count : (uint32_t)divide_up(reader->leaf_count, TIMESTAMP_FANOUT);
        whole = reader->top_count <= TIMESTAMP_FANOUT && root->root_bytes == TIMESTAMP_ROOT_HEADER_BYTES + reader->top_count * TIMESTAMP_ENTRY_BYTES && (reader->levels == 1 || reader->levels == 2) &&
                tops == reader->top_count && reader->row_count <= (uint64_t)UINT32_MAX + 1 && (reader->row_count == 0) == (reader->leaf_count == 0) && load_u32(page + 76) == 0;
    }
    if (!whole)
        return refuse(reader, root->root_offset_bytes, "a root that contradicts itself");
    reader->scratch_bytes = codec_scratch_bytes(TIMESTAMP_LEAF_ENTRIES, TIMESTAMP_LEAF_ENTRIES * sizeof(int64_t));
    reader->times_ns = memory_alloc(reader->memory, TIMESTAMP_LEAF_ENTRIES * (sizeof(int64_t) + sizeof(uint32_t)));
    reader->scratch = memory_alloc(reader->memory, reader->scratch_bytes);
    if (!reader->times_ns || !reader->scratch)
        return MOTE_EBUDGET;
    reader->ordinals = (uint32_t *)(void *)(reader->times_ns + TIMESTAMP_LEAF_ENTRIES);
    return MOTE_OK;
}

static int open_directory(struct section_reader *reader, uint32_t number)
{
    assert(reader->levels == 2 && number < reader->top_count);
    if (reader->directory_number != UINT32_MAX)
        reader->source->release(reader->source->context, reader->directory_handle);
    reader->directory_number = UINT32_MAX;
    struct timestamp_entry top;
    timestamp_entry_load(reader->root_page + TIMESTAMP_ROOT_HEADER_BYTES + (size_t)number * TIMESTAMP_ENTRY_BYTES, &top);
    int result = pin_page(reader, TIMESTAMP_MAGIC_DIRECTORY, top.offset_bytes, top.length_bytes, top.crc, &reader->directory_page, &reader->directory_handle);
    if (result)
        return result;
    reader->directory_number = number;
    uint32_t left = reader->leaf_count - number * TIMESTAMP_FANOUT, count = left < TIMESTAMP_FANOUT ? left : TIMESTAMP_FANOUT;
    if (top.length_bytes != TIMESTAMP_DIRECTORY_HEADER_BYTES + count * TIMESTAMP_ENTRY_BYTES || load_u32(reader->directory_page + 40) != count || load_u32(reader->directory_page + 44) != 0)
        return refuse(reader, top.offset_bytes, "a directory page that contradicts itself");
    return MOTE_OK;
}

static int leaf_entry(struct section_reader *reader, uint32_t leaf, struct timestamp_entry *entry)
{
    assert(leaf < reader->leaf_count);
    const uint8_t *at = reader->root_page + TIMESTAMP_ROOT_HEADER_BYTES + (size_t)leaf * TIMESTAMP_ENTRY_BYTES;
    if (reader->levels == 2) {
        uint32_t number = leaf / TIMESTAMP_FANOUT;
        int result = number == reader->directory_number ? MOTE_OK : open_directory(reader, number);
        if (result)
            return result;
        at = reader->directory_page + TIMESTAMP_DIRECTORY_HEADER_BYTES + (size_t)(leaf % TIMESTAMP_FANOUT) * TIMESTAMP_ENTRY_BYTES;
    }
    timestamp_entry_load(at, entry);
    if (entry->count == 0 || entry->count > TIMESTAMP_LEAF_ENTRIES || (uint64_t)entry->position + entry->count > reader->row_count)
        return refuse(reader, entry->offset_bytes, "an entry out of range");
    return MOTE_OK;
}

static int decode_leaf_parts(struct section_reader *reader, const struct timestamp_entry *entry, const uint8_t *page)
{
    if (entry->length_bytes < TIMESTAMP_LEAF_HEADER_BYTES || load_u32(page + 40) != entry->count || load_u32(page + 44) != entry->position || load_u32(page + 48) > TIMESTAMP_LEAF_CONSECUTIVE)
        return refuse(reader, entry->offset_bytes, "a leaf that contradicts its directory");
    uint32_t body_bytes = entry->length_bytes - TIMESTAMP_LEAF_HEADER_BYTES, times_bytes = load_u32(page + 56), ordinals_bytes = load_u32(page + 60);
    bool consecutive = load_u32(page + 48) != 0;
    if (times_bytes > body_bytes)
        return refuse(reader, entry->offset_bytes, "a leaf that contradicts itself");
    uint32_t ordinals_at = (uint32_t)round_up(times_bytes, 8);
    if (ordinals_at > body_bytes || ordinals_bytes != body_bytes - ordinals_at || (consecutive && ordinals_bytes))
        return refuse(reader, entry->offset_bytes, "a leaf that contradicts itself");
    const uint8_t *body = page + TIMESTAMP_LEAF_HEADER_BYTES;
    int result = codec_decode(body, times_bytes, MOTE_TYPE_TIMESTAMP, 1, entry->count, reader->times_ns, entry->count * sizeof(int64_t), NULL, NULL, NULL, NULL, reader->scratch, reader->scratch_bytes);
    if (result)
        return result;
    if (consecutive) {
        uint32_t first = load_u32(page + 52);
        for (uint32_t i = 0; i < entry->count; i++)
            reader->ordinals[i] = first + i;
        return MOTE_OK;
    }
    return codec_decode(body + ordinals_at, ordinals_bytes, MOTE_TYPE_INT32, 1, entry->count, reader->ordinals, entry->count * sizeof(uint32_t), NULL, NULL, NULL, NULL, reader->scratch,
                        reader->scratch_bytes);
}

/* Decodes a leaf into times_ns and ordinals, and makes sure that the times ascend: the searches below rely on it. */
static int decode_leaf(struct section_reader *reader, const struct timestamp_entry *entry)
{
    const uint8_t *page;
    void *handle;
    int result = pin_page(reader, TIMESTAMP_MAGIC_LEAF, entry->offset_bytes, entry->length_bytes, entry->crc, &page, &handle);
    if (result)
        return result;
    result = decode_leaf_parts(reader, entry, page);
    reader->source->release(reader->source->context, handle);
    if (result)
        return result;
    int descents = reader->times_ns[0] != entry->first_time_ns;
    for (uint32_t i = 1; i < entry->count; i++)
        descents |= reader->times_ns[i] < reader->times_ns[i - 1];
    return descents ? refuse(reader, entry->offset_bytes, "times out of order") : MOTE_OK;
}

/* The first entry of the decoded leaf whose time is not below (above: is above) time_ns. */
static uint32_t find_in_leaf(const struct section_reader *reader, uint32_t count, int64_t time_ns, bool above)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool before = above ? reader->times_ns[middle] <= time_ns : reader->times_ns[middle] < time_ns;
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low;
}

/* The number of leaves whose first time is below (above: not above) time_ns. */
static int find_leaf(struct section_reader *reader, int64_t time_ns, bool above, uint32_t *leaf)
{
    uint32_t low = 0, high = reader->leaf_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct timestamp_entry entry;
        int result = leaf_entry(reader, middle, &entry);
        if (result)
            return result;
        bool before = above ? entry.first_time_ns <= time_ns : entry.first_time_ns < time_ns;
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    *leaf = low;
    return MOTE_OK;
}

/* How many rows have a time below (above: not above) time_ns. */
static int find_position(struct section_reader *reader, int64_t time_ns, bool above, uint64_t *position)
{
    uint32_t leaf;
    struct timestamp_entry entry;
    int result = find_leaf(reader, time_ns, above, &leaf);
    *position = 0;
    if (result || leaf == 0)
        return result;
    result = leaf_entry(reader, leaf - 1, &entry);
    if (!result)
        result = decode_leaf(reader, &entry);
    if (!result)
        *position = (uint64_t)entry.position + find_in_leaf(reader, entry.count, time_ns, above);
    return result;
}

static int search_leaves(struct section_reader *reader, int64_t from_ns, int64_t to_ns, int (*visit)(void *, const int64_t *, const uint32_t *, uint32_t), void *context)
{
    uint32_t leaf, end;
    int result = find_leaf(reader, from_ns, false, &leaf);
    if (!result)
        result = find_leaf(reader, to_ns, true, &end);
    /* The leaf before the first that begins inside the range may end inside it. */
    for (leaf = result || leaf == 0 ? leaf : leaf - 1; !result && leaf < end; leaf++) {
        struct timestamp_entry entry;
        result = leaf_entry(reader, leaf, &entry);
        if (!result)
            result = decode_leaf(reader, &entry);
        if (result)
            break;
        uint32_t first = find_in_leaf(reader, entry.count, from_ns, false), last = find_in_leaf(reader, entry.count, to_ns, true);
        if (first < last)
            result = visit(context, reader->times_ns + first, reader->ordinals + first, last - first);
    }
    return result;
}

int timestamp_search(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns,
                     int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count), void *context)
{
    if (from_ns > to_ns)
        return MOTE_OK;
    struct section_reader reader = {.identity = identity, .root = root, .source = source, .memory = memory};
    int result = open_section(&reader);
    if (!result)
        result = search_leaves(&reader, from_ns, to_ns, visit, context);
    close_section(&reader);
    return result;
}

int timestamp_count(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns, uint64_t *count)
{
    *count = 0;
    if (from_ns > to_ns)
        return MOTE_OK;
    struct section_reader reader = {.identity = identity, .root = root, .source = source, .memory = memory};
    uint64_t before = 0, up_to = 0;
    int result = open_section(&reader);
    if (!result)
        result = find_position(&reader, from_ns, false, &before);
    if (!result)
        result = find_position(&reader, to_ns, true, &up_to);
    if (!result && up_to < before)
        result = refuse(&reader, root->root_offset_bytes, "positions out of order");
    close_section(&reader);
    if (!result)
        *count = up_to - before;
    return result;
}

/* One leaf's entries after the one before: order, and every ordinal for the first time. */
static int verify_entries(struct section_reader *reader, const struct timestamp_entry *entry, uint64_t row_count, uint8_t *seen, int64_t *last_time_ns, int64_t *last_ordinal)
{
    for (uint32_t i = 0; i < entry->count; i++) {
        int64_t time_ns = reader->times_ns[i];
        uint32_t ordinal = reader->ordinals[i];
        if (time_ns < *last_time_ns || (time_ns == *last_time_ns && ordinal <= *last_ordinal))
            return refuse(reader, entry->offset_bytes, "entries out of order");
        if (ordinal >= row_count || (seen[ordinal / 8] >> (ordinal % 8) & 1))
            return refuse(reader, entry->offset_bytes, "a row that does not exist, or twice");
        seen[ordinal / 8] = (uint8_t)(seen[ordinal / 8] | 1u << (ordinal % 8));
        *last_time_ns = time_ns;
        *last_ordinal = ordinal;
    }
    return MOTE_OK;
}

int timestamp_verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    struct section_reader reader = {.identity = identity, .root = root, .source = source, .memory = memory};
    uint8_t *seen = memory_alloc_zero(memory, (size_t)(row_count / 8 + 1));
    if (!seen)
        return MOTE_EBUDGET;
    int64_t last_time_ns = INT64_MIN, last_ordinal = -1;
    uint64_t position = 0;
    int result = open_section(&reader);
    for (uint32_t leaf = 0; !result && leaf < reader.leaf_count; leaf++) {
        struct timestamp_entry entry;
        result = leaf_entry(&reader, leaf, &entry);
        if (!result && entry.position != position)
            result = refuse(&reader, entry.offset_bytes, "positions out of order");
        if (!result)
            result = decode_leaf(&reader, &entry);
        if (!result)
            result = verify_entries(&reader, &entry, row_count, seen, &last_time_ns, &last_ordinal);
        if (!result && leaf == 0 && (int64_t)load_u64(reader.root_page + 56) != entry.first_time_ns)
            result = refuse(&reader, root->root_offset_bytes, "a first time that is not the first");
        position += result ? 0 : entry.count;
    }
    if (!result && (position != reader.row_count || (position && (int64_t)load_u64(reader.root_page + 64) != last_time_ns)))
        result = refuse(&reader, root->root_offset_bytes, "another number of rows, or another last time");
    close_section(&reader);
    memory_free(memory, seen);
    return result;
}
