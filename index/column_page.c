/* column_page.c: pages of a column section: their headers, child entries, and reading them back from the source (column_format.h).
 *
 * What a page says of itself is checked each time it is pinned (the source verifies the checksum only when the bytes come from the device), and every number is bounded before it is used. A child is one level below its parent, so that
 * no path is longer than COLUMN_LEVELS_MAX. Threads: those of a reader. Failures: MOTE_EDAMAGED and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "index/column_private.h"

enum { AHEAD_PAGES = 8 };

/* What a page must be. */
struct page_expected {
    const struct section_identity *identity;
    uint64_t offset_bytes;
    uint32_t magic, crc, level;
};

int column_page_write(const struct section_identity *identity, const struct section_sink *sink, uint8_t *page, uint32_t magic, uint32_t level, uint32_t length_bytes, uint64_t *offset_bytes, uint32_t *crc)
{
    assert(length_bytes >= COLUMN_HEADER_BYTES && length_bytes <= INDEX_PAGE_BYTES_MAX && level < COLUMN_LEVELS_MAX);
    int result = sink->place(sink->context, length_bytes, offset_bytes);
    if (result)
        return result;
    store_u32(page, magic);
    store_u64(page + 8, identity->segment_id);
    store_u64(page + 16, identity->section_id);
    store_u64(page + 24, *offset_bytes);
    store_u32(page + 32, length_bytes);
    store_u16(page + 36, COLUMN_VERSION);
    store_u16(page + 38, (uint16_t)level);
    *crc = crc32c(crc32c_seed(identity->uuid, magic, identity->segment_id, *offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, *crc);
    return sink->write(sink->context, page, length_bytes);
}

void column_child_store(uint8_t *at, bool is_bytes, const struct column_child *child, uint32_t separator_offset)
{
    if (is_bytes) {
        store_u32(at, separator_offset);
        store_u32(at + 4, child->separator.length);
    } else {
        store_u64(at, child->separator.bits);
    }
    store_u64(at + 8, child->offset_bytes);
    store_u32(at + 16, child->length_bytes);
    store_u32(at + 20, child->crc);
    store_u32(at + 24, child->position);
    store_u32(at + 28, child->count);
    store_u32(at + 32, child->flags);
}

int column_refuse(const struct column_section *section, uint64_t offset_bytes, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the column index of segment %llu is damaged at byte %llu of its section (%s); rebuild the column index", (unsigned long long)section->identity->segment_id, (unsigned long long)offset_bytes, what);
}

static bool header_fits(const struct page_expected *expected, const uint8_t *page, uint32_t length_bytes)
{
    const struct section_identity *identity = expected->identity;
    return length_bytes >= COLUMN_HEADER_BYTES && load_u32(page) == expected->magic && load_u32(page + 4) == expected->crc && load_u64(page + 8) == identity->segment_id && load_u64(page + 16) == identity->section_id &&
           load_u64(page + 24) == expected->offset_bytes && load_u32(page + 32) == length_bytes && load_u16(page + 36) == COLUMN_VERSION && (expected->magic == COLUMN_MAGIC_ROOT || load_u16(page + 38) == expected->level);
}

static int check_page(const uint8_t *page, uint32_t length_bytes, void *context)
{
    const struct page_expected *expected = context;
    const struct section_identity *identity = expected->identity;
    if (!header_fits(expected, page, length_bytes) ||
        crc32c(crc32c_seed(identity->uuid, expected->magic, identity->segment_id, expected->offset_bytes), page + 8, length_bytes - 8) != expected->crc)
        return error_set(MOTE_EDAMAGED, "the column index of segment %llu fails its checksum at byte %llu of its section; rebuild the column index", (unsigned long long)identity->segment_id, (unsigned long long)expected->offset_bytes);
    return MOTE_OK;
}

static bool lies_inside(const struct column_section *section, uint64_t offset_bytes, uint32_t length_bytes)
{
    uint64_t section_bytes = section->root->length_bytes;
    return length_bytes >= COLUMN_HEADER_BYTES && length_bytes <= INDEX_PAGE_BYTES_MAX && offset_bytes <= section_bytes && length_bytes <= section_bytes - offset_bytes;
}

static int pin_page(const struct column_section *section, struct page_expected *expected, uint32_t length_bytes, const uint8_t **page, void **handle)
{
    if (!lies_inside(section, expected->offset_bytes, length_bytes))
        return column_refuse(section, expected->offset_bytes, "a page lies outside");
    int result = section->source->read(section->source->context, expected->offset_bytes, length_bytes, check_page, expected, page, handle);
    if (result)
        return result;
    if (!header_fits(expected, *page, length_bytes)) {
        section->source->release(section->source->context, *handle);
        return column_refuse(section, expected->offset_bytes, "another page is there");
    }
    return MOTE_OK;
}

/* What the root says of the section, once its length is known to hold its header. */
static bool read_root(struct column_reader *reader)
{
    const uint8_t *page = reader->root_page;
    uint32_t length_bytes = reader->section->root->root_bytes, at = COLUMN_ROOT_HEADER_BYTES;
    struct column_node *node = &reader->root;
    reader->type = load_u32(page + 44);
    reader->is_bytes = column_type_is_bytes(reader->type);
    reader->value_count = load_u32(page + 48);
    reader->null_count = load_u32(page + 52);
    reader->distinct_count = load_u32(page + 56);
    if (!column_type_is_indexed(reader->type) || (uint64_t)reader->value_count + reader->null_count >= UINT32_MAX || load_u32(page + 60) != 0 || reader->distinct_count > reader->value_count ||
        (reader->distinct_count == 0) != (reader->value_count == 0))
        return false;
    uint64_t min = load_u64(page + 64), max = load_u64(page + 72);
    if (reader->is_bytes) {
        if (min > COLUMN_KEY_BYTES_MAX || max > COLUMN_KEY_BYTES_MAX || min + max > length_bytes - at)
            return false;
        reader->min = (struct column_key){.bytes = page + at, .length = (uint32_t)min};
        reader->max = (struct column_key){.bytes = page + at + min, .length = (uint32_t)max};
        at += (uint32_t)(min + max);
    } else {
        reader->min.bits = min;
        reader->max.bits = max;
    }
    *node = (struct column_node){.entries = page + at, .child_count = load_u32(page + 40), .level = load_u16(page + 38), .count = reader->value_count + reader->null_count, .offset_bytes = reader->section->root->root_offset_bytes};
    if (node->child_count > (length_bytes - at) / COLUMN_CHILD_BYTES || node->level == 0 || node->level >= COLUMN_LEVELS_MAX || (node->child_count == 0) != (node->count == 0))
        return false;
    node->separators = node->entries + node->child_count * COLUMN_CHILD_BYTES;
    node->separator_bytes = length_bytes - at - node->child_count * COLUMN_CHILD_BYTES;
    return reader->is_bytes || node->separator_bytes == 0;
}

int column_reader_open(const struct column_section *section, struct column_reader *reader)
{
    const struct section_root *root = section->root;
    struct page_expected expected = {.identity = section->identity, .offset_bytes = root->root_offset_bytes, .magic = COLUMN_MAGIC_ROOT, .crc = root->root_crc};
    *reader = (struct column_reader){.section = section};
    int result = pin_page(section, &expected, root->root_bytes, &reader->root_page, &reader->root_handle);
    if (result) {
        reader->root_page = NULL;
        return result;
    }
    if (root->root_bytes < COLUMN_ROOT_HEADER_BYTES || !read_root(reader))
        return column_refuse(section, root->root_offset_bytes, "a root that contradicts itself");
    return MOTE_OK;
}

void column_reader_close(struct column_reader *reader)
{
    const struct section_source *source = reader->section->source;
    for (uint32_t level = 0; level < COLUMN_LEVELS_MAX; level++)
        if (reader->pins[level].page)
            source->release(source->context, reader->pins[level].handle);
    if (reader->root_page)
        source->release(source->context, reader->root_handle);
    reader->root_page = NULL;
    memset(reader->pins, 0, sizeof reader->pins);
}

int column_node_child(const struct column_reader *reader, const struct column_node *node, uint32_t number, struct column_child *child)
{
    assert(number < node->child_count);
    const uint8_t *at = node->entries + (size_t)number * COLUMN_CHILD_BYTES;
    child->separator = (struct column_key){0};
    if (reader->is_bytes) {
        uint32_t offset = load_u32(at), length = load_u32(at + 4);
        if (length > COLUMN_KEY_BYTES_MAX || offset > node->separator_bytes || length > node->separator_bytes - offset)
            return column_refuse(reader->section, node->offset_bytes, "a separator out of bounds");
        child->separator.bytes = node->separators + offset;
        child->separator.length = length;
    } else {
        child->separator.bits = load_u64(at);
    }
    child->offset_bytes = load_u64(at + 8);
    child->length_bytes = load_u32(at + 16);
    child->crc = load_u32(at + 20);
    child->position = load_u32(at + 24);
    child->count = load_u32(at + 28);
    child->flags = load_u32(at + 32);
    if (child->count == 0 || child->position < node->position || (uint64_t)child->position + child->count > (uint64_t)node->position + node->count || child->flags > (COLUMN_CONTINUES | COLUMN_NULLS))
        return column_refuse(reader->section, node->offset_bytes, "a child out of range");
    return MOTE_OK;
}

/* Pins the page of a child in its level's place, unless it lies there already. */
static int pin_child(struct column_reader *reader, const struct column_child *child, uint32_t level)
{
    const struct section_source *source = reader->section->source;
    struct column_pin *pin = &reader->pins[level];
    assert(level < COLUMN_LEVELS_MAX);
    if (pin->page && pin->offset_bytes == child->offset_bytes && pin->crc == child->crc && load_u32(pin->page + 32) == child->length_bytes)
        return MOTE_OK;
    if (pin->page)
        source->release(source->context, pin->handle);
    pin->page = NULL;
    struct page_expected expected = {.identity = reader->section->identity, .offset_bytes = child->offset_bytes, .magic = level ? COLUMN_MAGIC_INNER : COLUMN_MAGIC_LEAF, .crc = child->crc, .level = level};
    const uint8_t *page;
    int result = pin_page(reader->section, &expected, child->length_bytes, &page, &pin->handle);
    if (result)
        return result;
    pin->page = page;
    pin->offset_bytes = child->offset_bytes;
    pin->crc = child->crc;
    return MOTE_OK;
}

int column_reader_node(struct column_reader *reader, const struct column_child *child, uint32_t level, struct column_node *node)
{
    int result = pin_child(reader, child, level);
    if (result)
        return result;
    const uint8_t *page = reader->pins[level].page;
    uint32_t length_bytes = child->length_bytes;
    if (length_bytes < COLUMN_INNER_HEADER_BYTES)
        return column_refuse(reader->section, child->offset_bytes, "an inner page that is too short");
    *node = (struct column_node){.entries = page + COLUMN_INNER_HEADER_BYTES, .child_count = load_u32(page + 40), .level = level, .position = load_u32(page + 44), .count = load_u32(page + 48), .offset_bytes = child->offset_bytes};
    uint32_t body_bytes = length_bytes - COLUMN_INNER_HEADER_BYTES;
    if (node->child_count == 0 || node->child_count > body_bytes / COLUMN_CHILD_BYTES || node->position != child->position || node->count != child->count || load_u32(page + 52) != 0)
        return column_refuse(reader->section, child->offset_bytes, "an inner page that contradicts its parent");
    node->separators = node->entries + node->child_count * COLUMN_CHILD_BYTES;
    node->separator_bytes = body_bytes - node->child_count * COLUMN_CHILD_BYTES;
    if (!reader->is_bytes && node->separator_bytes != 0)
        return column_refuse(reader->section, child->offset_bytes, "an inner page that contradicts itself");
    return MOTE_OK;
}

/* The parts of a leaf, one after the other; false: they do not fit it. */
static bool read_leaf_parts(const struct column_reader *reader, const uint8_t *page, uint32_t length_bytes, struct column_leaf *leaf)
{
    uint64_t keys_bytes = load_u32(page + 56), ends_bytes = load_u32(page + 60), ordinals_bytes = load_u32(page + 64);
    bool nulls = leaf->flags & COLUMN_NULLS, repeats = !nulls && leaf->runs != leaf->count;
    if (keys_bytes + ends_bytes + ordinals_bytes + COLUMN_LEAF_HEADER_BYTES + COLUMN_TAIL_BYTES != length_bytes || load_u32(page + 68) != 0 || load_u64(page + length_bytes - COLUMN_TAIL_BYTES) != 0)
        return false;
    if (leaf->count == 0 || leaf->count > COLUMN_LEAF_ENTRIES_MAX || leaf->runs == 0 || leaf->runs > leaf->count || (nulls && (leaf->runs != 1 || keys_bytes)) || (ends_bytes != 0) != repeats)
        return false;
    leaf->keys = page + COLUMN_LEAF_HEADER_BYTES;
    leaf->keys_bytes = (uint32_t)keys_bytes;
    leaf->key_stream = (struct column_stream){.at = leaf->keys, .bytes = leaf->keys_bytes, .count = nulls || reader->is_bytes ? 0 : leaf->runs};
    leaf->ends = (struct column_stream){.at = leaf->keys + keys_bytes, .bytes = (uint32_t)ends_bytes, .count = repeats ? leaf->runs : 0, .narrow = true};
    leaf->ordinals = (struct column_stream){.at = leaf->ends.at + ends_bytes, .bytes = (uint32_t)ordinals_bytes, .count = leaf->count, .narrow = true};
    bool groups_fit = nulls || !reader->is_bytes || (leaf->runs + COLUMN_GROUP - 1) / COLUMN_GROUP * 2 <= keys_bytes;
    return groups_fit && column_stream_check(&leaf->key_stream) && column_stream_check(&leaf->ends) && column_stream_check(&leaf->ordinals);
}

int column_reader_leaf(struct column_reader *reader, const struct column_child *child, struct column_leaf *leaf)
{
    int result = pin_child(reader, child, 0);
    if (result)
        return result;
    const uint8_t *page = reader->pins[0].page;
    if (child->length_bytes < COLUMN_LEAF_HEADER_BYTES + COLUMN_TAIL_BYTES)
        return column_refuse(reader->section, child->offset_bytes, "a leaf that is too short");
    *leaf = (struct column_leaf){.count = load_u32(page + 40), .position = load_u32(page + 44), .runs = load_u32(page + 48), .flags = load_u32(page + 52), .offset_bytes = child->offset_bytes};
    if (leaf->count != child->count || leaf->position != child->position || leaf->flags != child->flags)
        return column_refuse(reader->section, child->offset_bytes, "a leaf that contradicts its parent");
    if (!read_leaf_parts(reader, page, child->length_bytes, leaf))
        return column_refuse(reader->section, child->offset_bytes, "a leaf that contradicts itself");
    return MOTE_OK;
}

uint32_t column_reader_announce(const struct column_reader *reader, const struct column_node *node, uint32_t first, uint32_t end)
{
    const struct section_source *source = reader->section->source;
    struct page_expected expected[AHEAD_PAGES];
    struct section_page pages[AHEAD_PAGES];
    uint32_t count = 0, reached = end;
    for (uint32_t number = first; count < AHEAD_PAGES && number < node->child_count; number++) {
        const uint8_t *at = node->entries + (size_t)number * COLUMN_CHILD_BYTES;
        uint64_t offset_bytes = load_u64(at + 8);
        uint32_t length_bytes = load_u32(at + 16);
        if (load_u32(at + 24) >= end || !lies_inside(reader->section, offset_bytes, length_bytes))
            break;
        reached = load_u32(at + 24) + load_u32(at + 28);
        expected[count] = (struct page_expected){.identity = reader->section->identity, .offset_bytes = offset_bytes, .magic = COLUMN_MAGIC_LEAF, .crc = load_u32(at + 20)};
        pages[count] = (struct section_page){.offset_bytes = offset_bytes, .length_bytes = length_bytes, .check_context = &expected[count]};
        count++;
    }
    if (count > 1 && source->prefetch)
        source->prefetch(source->context, pages, count, check_page);
    return reached;
}
