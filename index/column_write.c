/* column_write.c: writing a column section from keys in order: leaves as they fill, inner pages as they fill, the root at the end (column_format.h).
 *
 * A leaf is cut where the upper bound of its length, which is exact but for the blocks still open, would pass the page. Each level has one inner page under construction. Memory: that of create, and for each level two bodies at most.
 * Threads: one. Failures: MOTE_EBUDGET, MOTE_EINVAL (out of order), and what the sink returns; what was written by then is garbage that nothing refers to.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

enum {
    BLOCKS_MAX = COLUMN_LEAF_ENTRIES_MAX / COLUMN_BLOCK,
    ENTRY_BYTES_MAX = 4 + COLUMN_NARROW_HEADER_BYTES,                                  /* an ordinal, and a block that begins with it */
    RUN_BYTES_MAX = 8 + COLUMN_WIDE_HEADER_BYTES + 4 + COLUMN_NARROW_HEADER_BYTES + 4, /* a number or the lengths of front coding, an end, and blocks or a group that begin with them */
};

/* An inner page under construction. */
struct level {
    uint8_t *entries, *separators;
    uint32_t child_count, separator_bytes, position, count;
    struct column_child first; /* its separator lies at the begin of separators */
};

struct column_writer {
    struct memory *memory;
    const struct section_identity *identity;
    const struct section_sink *sink;
    uint32_t type, page_bytes, body_bytes_max;
    bool is_bytes;
    uint8_t *page; /* INDEX_PAGE_BYTES_MAX, and what packing may write behind */
    /* The leaf that is being filled. */
    uint32_t *ordinals, *ends;
    uint64_t *keys;
    uint8_t *key_bytes; /* front-coded */
    uint32_t key_bytes_count;
    uint16_t *groups;
    struct column_block *ordinal_blocks, *end_blocks, *key_blocks;
    uint32_t count, runs, flags, bound_bytes;
    struct column_key separator;
    uint8_t separator_room[COLUMN_KEY_BYTES_MAX];
    /* The last key of all. */
    uint64_t last_bits;
    uint8_t last_bytes[COLUMN_KEY_BYTES_MAX];
    uint32_t last_length;
    uint32_t last_ordinal;
    /* The whole. */
    uint64_t position, end_bytes;
    uint32_t value_count, null_count, distinct_count;
    struct column_key min;
    uint8_t min_room[COLUMN_KEY_BYTES_MAX];
    struct level levels[COLUMN_LEVELS_MAX];
    uint8_t up_room[2][COLUMN_KEY_BYTES_MAX];
};

static void leaf_reset(struct column_writer *writer)
{
    writer->count = writer->runs = writer->flags = writer->key_bytes_count = 0;
    writer->bound_bytes = COLUMN_LEAF_HEADER_BYTES + COLUMN_TAIL_BYTES;
}

int column_writer_create(struct memory *memory, uint32_t type, uint32_t page_bytes, const struct section_identity *identity, const struct section_sink *sink, struct column_writer **result)
{
    *result = NULL;
    struct column_writer *writer = memory_alloc_zero(memory, sizeof *writer);
    if (!writer)
        return MOTE_EBUDGET;
    assert(page_bytes >= COLUMN_PAGE_BYTES_MIN && page_bytes <= INDEX_PAGE_BYTES_MAX && column_type_is_indexed(type));
    writer->memory = memory;
    writer->identity = identity;
    writer->sink = sink;
    writer->type = type;
    writer->is_bytes = column_type_is_bytes(type);
    writer->page_bytes = page_bytes;
    writer->body_bytes_max = page_bytes - COLUMN_INNER_HEADER_BYTES < COLUMN_BODY_BYTES_MAX ? page_bytes - COLUMN_INNER_HEADER_BYTES : COLUMN_BODY_BYTES_MAX;
    writer->page = memory_alloc(memory, INDEX_PAGE_BYTES_MAX + 16);
    writer->ordinals = memory_alloc(memory, 2 * COLUMN_LEAF_ENTRIES_MAX * sizeof *writer->ordinals);
    writer->keys = memory_alloc(memory, COLUMN_LEAF_ENTRIES_MAX * sizeof *writer->keys);
    writer->ordinal_blocks = memory_alloc(memory, 3 * BLOCKS_MAX * sizeof *writer->ordinal_blocks);
    if (writer->is_bytes)
        writer->key_bytes = memory_alloc(memory, INDEX_PAGE_BYTES_MAX);
    if (writer->is_bytes)
        writer->groups = memory_alloc(memory, COLUMN_LEAF_ENTRIES_MAX / COLUMN_GROUP * sizeof *writer->groups);
    if (!writer->page || !writer->ordinals || !writer->keys || !writer->ordinal_blocks || (writer->is_bytes && (!writer->key_bytes || !writer->groups))) {
        column_writer_destroy(writer);
        return MOTE_EBUDGET;
    }
    writer->ends = writer->ordinals + COLUMN_LEAF_ENTRIES_MAX;
    writer->end_blocks = writer->ordinal_blocks + BLOCKS_MAX;
    writer->key_blocks = writer->end_blocks + BLOCKS_MAX;
    leaf_reset(writer);
    *result = writer;
    return MOTE_OK;
}

void column_writer_destroy(struct column_writer *writer)
{
    if (!writer)
        return;
    struct memory *memory = writer->memory;
    for (uint32_t level = 0; level < COLUMN_LEVELS_MAX; level++) {
        memory_free(memory, writer->levels[level].entries);
        memory_free(memory, writer->levels[level].separators);
    }
    memory_free(memory, writer->groups);
    memory_free(memory, writer->key_bytes);
    memory_free(memory, writer->ordinal_blocks);
    memory_free(memory, writer->keys);
    memory_free(memory, writer->ordinals);
    memory_free(memory, writer->page);
    memory_free(memory, writer);
}

static int write_page(struct column_writer *writer, uint32_t magic, uint32_t level, uint32_t length_bytes, uint64_t *offset_bytes, uint32_t *crc)
{
    int result = column_page_write(writer->identity, writer->sink, writer->page, magic, level, length_bytes, offset_bytes, crc);
    writer->end_bytes = *offset_bytes + length_bytes;
    return result;
}

static void level_append(const struct column_writer *writer, struct level *level, const struct column_child *child)
{
    if (level->child_count == 0) {
        level->first = *child;
        level->position = child->position;
        level->count = 0;
    }
    column_child_store(level->entries + level->child_count * COLUMN_CHILD_BYTES, writer->is_bytes, child, level->separator_bytes);
    if (writer->is_bytes && child->separator.length) {
        memcpy(level->separators + level->separator_bytes, child->separator.bytes, child->separator.length);
        level->separator_bytes += child->separator.length;
    }
    level->child_count++;
    level->count += child->count;
}

/* Writes the inner page of a level and empties it; *up is its entry in the level above. */
static int write_inner(struct column_writer *writer, uint32_t number, struct column_child *up)
{
    struct level *level = &writer->levels[number];
    uint8_t *page = writer->page;
    uint32_t entries_bytes = level->child_count * COLUMN_CHILD_BYTES, length_bytes = COLUMN_INNER_HEADER_BYTES + entries_bytes + level->separator_bytes;
    assert(level->child_count > 0 && length_bytes <= writer->page_bytes);
    store_u32(page + 40, level->child_count);
    store_u32(page + 44, level->position);
    store_u32(page + 48, level->count);
    store_u32(page + 52, 0);
    memcpy(page + COLUMN_INNER_HEADER_BYTES, level->entries, entries_bytes);
    if (level->separator_bytes)
        memcpy(page + COLUMN_INNER_HEADER_BYTES + entries_bytes, level->separators, level->separator_bytes);
    *up = (struct column_child){.separator = level->first.separator, .position = level->position, .count = level->count, .flags = level->first.flags, .length_bytes = length_bytes};
    if (writer->is_bytes && up->separator.length) {
        memcpy(writer->up_room[number % 2], level->separators, up->separator.length);
        up->separator.bytes = writer->up_room[number % 2];
    }
    level->child_count = level->separator_bytes = 0;
    return write_page(writer, COLUMN_MAGIC_INNER, number, length_bytes, &up->offset_bytes, &up->crc);
}

/* Appends a child to a level; where it does not fit, the page that is full goes to the level above, and so on. */
static int add_child(struct column_writer *writer, uint32_t number, struct column_child child)
{
    for (;; number++) {
        assert(number < COLUMN_LEVELS_MAX);
        struct level *level = &writer->levels[number];
        if (!level->entries) {
            level->entries = memory_alloc(writer->memory, writer->body_bytes_max);
            level->separators = writer->is_bytes ? memory_alloc(writer->memory, writer->body_bytes_max) : NULL;
            if (!level->entries || (writer->is_bytes && !level->separators))
                return MOTE_EBUDGET;
        }
        if ((level->child_count + 1) * COLUMN_CHILD_BYTES + level->separator_bytes + child.separator.length <= writer->body_bytes_max) {
            level_append(writer, level, &child);
            return MOTE_OK;
        }
        struct column_child up;
        int result = write_inner(writer, number, &up);
        if (result)
            return result;
        level_append(writer, level, &child);
        child = up;
    }
}

/* Plans the blocks that were still open; the lengths of keys and ends follow from the blocks. */
static void plan_open_blocks(struct column_writer *writer)
{
    uint64_t wide[COLUMN_BLOCK];
    uint32_t last = (writer->count - 1) / COLUMN_BLOCK, in_block = column_block_count(writer->count, last);
    for (uint32_t i = 0; i < in_block; i++)
        wide[i] = writer->ordinals[last * COLUMN_BLOCK + i];
    column_block_plan(wide, in_block, true, &writer->ordinal_blocks[last]);
    if (writer->flags & COLUMN_NULLS)
        return;
    last = (writer->runs - 1) / COLUMN_BLOCK;
    in_block = column_block_count(writer->runs, last);
    writer->ends[writer->runs - 1] = writer->count;
    for (uint32_t i = 0; i < in_block; i++)
        wide[i] = writer->ends[last * COLUMN_BLOCK + i];
    column_block_plan(wide, in_block, true, &writer->end_blocks[last]);
    if (!writer->is_bytes)
        column_block_plan(writer->keys + last * COLUMN_BLOCK, in_block, false, &writer->key_blocks[last]);
}

static uint32_t write_keys(const struct column_writer *writer, uint8_t *at)
{
    if (!writer->is_bytes)
        return column_stream_write(at, writer->keys, writer->runs, false, writer->key_blocks);
    uint32_t groups = (writer->runs + COLUMN_GROUP - 1) / COLUMN_GROUP;
    for (uint32_t i = 0; i < groups; i++)
        store_u16(at + 2 * (size_t)i, writer->groups[i]);
    memcpy(at + 2 * (size_t)groups, writer->key_bytes, writer->key_bytes_count);
    return 2 * groups + writer->key_bytes_count;
}

static int flush_leaf(struct column_writer *writer)
{
    if (writer->count == 0)
        return MOTE_OK;
    uint8_t *page = writer->page, *at = page + COLUMN_LEAF_HEADER_BYTES;
    bool nulls = writer->flags & COLUMN_NULLS;
    plan_open_blocks(writer);
    uint32_t keys_bytes = nulls ? 0 : write_keys(writer, at);
    uint32_t ends_bytes = nulls || writer->runs == writer->count ? 0 : column_stream_write(at + keys_bytes, writer->ends, writer->runs, true, writer->end_blocks);
    uint32_t ordinals_bytes = column_stream_write(at + keys_bytes + ends_bytes, writer->ordinals, writer->count, true, writer->ordinal_blocks);
    uint32_t body_bytes = keys_bytes + ends_bytes + ordinals_bytes, length_bytes = COLUMN_LEAF_HEADER_BYTES + body_bytes + COLUMN_TAIL_BYTES;
    assert(length_bytes <= writer->page_bytes);
    store_u64(at + body_bytes, 0);
    store_u32(page + 40, writer->count);
    store_u32(page + 44, (uint32_t)writer->position);
    store_u32(page + 48, nulls ? 1 : writer->runs);
    store_u32(page + 52, writer->flags);
    store_u32(page + 56, keys_bytes);
    store_u32(page + 60, ends_bytes);
    store_u32(page + 64, ordinals_bytes);
    store_u32(page + 68, 0);
    struct column_child child = {.separator = writer->separator, .length_bytes = length_bytes, .position = (uint32_t)writer->position, .count = writer->count, .flags = writer->flags};
    int result = write_page(writer, COLUMN_MAGIC_LEAF, 0, length_bytes, &child.offset_bytes, &child.crc);
    if (result)
        return result;
    writer->position += writer->count;
    leaf_reset(writer);
    return add_child(writer, 1, child);
}

static inline void append_ordinal(struct column_writer *writer, uint32_t ordinal)
{
    writer->bound_bytes += writer->count % COLUMN_BLOCK ? 4 : ENTRY_BYTES_MAX;
    writer->ordinals[writer->count++] = ordinal;
    if (writer->count % COLUMN_BLOCK)
        return;
    uint64_t wide[COLUMN_BLOCK];
    struct column_block *block = &writer->ordinal_blocks[writer->count / COLUMN_BLOCK - 1];
    const uint32_t *from = writer->ordinals + writer->count - COLUMN_BLOCK;
    for (uint32_t i = 0; i < COLUMN_BLOCK; i++)
        wide[i] = from[i];
    column_block_plan(wide, COLUMN_BLOCK, true, block);
    writer->bound_bytes -= COLUMN_NARROW_HEADER_BYTES + 4 * COLUMN_BLOCK - column_block_bytes(block, COLUMN_BLOCK, true);
}

/* The end of the run before becomes known when a run begins. */
static void end_run(struct column_writer *writer)
{
    writer->ends[writer->runs - 1] = writer->count;
    if (writer->runs % COLUMN_BLOCK)
        return;
    uint64_t wide[COLUMN_BLOCK];
    struct column_block *block = &writer->end_blocks[writer->runs / COLUMN_BLOCK - 1];
    const uint32_t *from = writer->ends + writer->runs - COLUMN_BLOCK;
    for (uint32_t i = 0; i < COLUMN_BLOCK; i++)
        wide[i] = from[i];
    column_block_plan(wide, COLUMN_BLOCK, true, block);
    writer->bound_bytes -= COLUMN_NARROW_HEADER_BYTES + 4 * COLUMN_BLOCK - column_block_bytes(block, COLUMN_BLOCK, true);
}

static void begin_run(struct column_writer *writer, uint64_t bits)
{
    if (writer->runs)
        end_run(writer);
    else
        writer->separator.bits = bits;
    writer->bound_bytes += 8 + 4 + (writer->runs % COLUMN_BLOCK ? 0u : COLUMN_WIDE_HEADER_BYTES + COLUMN_NARROW_HEADER_BYTES);
    writer->keys[writer->runs++] = bits;
    writer->last_bits = bits;
    if (writer->runs % COLUMN_BLOCK)
        return;
    struct column_block *block = &writer->key_blocks[writer->runs / COLUMN_BLOCK - 1];
    column_block_plan(writer->keys + writer->runs - COLUMN_BLOCK, COLUMN_BLOCK, false, block);
    writer->bound_bytes -= COLUMN_WIDE_HEADER_BYTES + 8 * COLUMN_BLOCK - column_block_bytes(block, COLUMN_BLOCK, false);
}

static int out_of_order(uint32_t ordinal) { return error_set(MOTE_EINVAL, "row %u comes out of order for a column index; hand rows over in ascending order", ordinal); }

int column_writer_add(struct column_writer *writer, const uint64_t *keys, const uint32_t *ordinals, uint64_t count)
{
    assert(!writer->is_bytes && writer->null_count == 0);
    for (uint64_t i = 0; i < count; i++) {
        bool repeats = writer->value_count > 0 && keys[i] == writer->last_bits;
        if (repeats ? ordinals[i] <= writer->last_ordinal : writer->value_count > 0 && keys[i] < writer->last_bits)
            return out_of_order(ordinals[i]);
        if (writer->bound_bytes + ENTRY_BYTES_MAX + RUN_BYTES_MAX > writer->page_bytes || writer->count == COLUMN_LEAF_ENTRIES_MAX) {
            int result = flush_leaf(writer);
            if (result)
                return result;
        }
        if (writer->count == 0 && repeats)
            writer->flags = COLUMN_CONTINUES;
        if (writer->value_count++ == 0)
            writer->min.bits = keys[i];
        writer->distinct_count += !repeats;
        if (!repeats || writer->count == 0)
            begin_run(writer, keys[i]);
        append_ordinal(writer, ordinals[i]);
        writer->last_ordinal = ordinals[i];
    }
    return MOTE_OK;
}

static uint32_t shared_bytes(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length)
{
    uint32_t most = a_length < b_length ? a_length : b_length, shared = 0;
    while (shared < most && a[shared] == b[shared])
        shared++;
    return shared;
}

/* The least that separates the leaf that begins with key from the one before. */
static void set_separator(struct column_writer *writer, const uint8_t *key, uint32_t length)
{
    uint32_t kept = length;
    if (writer->value_count == 0)
        kept = 0;
    else if (!(writer->flags & COLUMN_CONTINUES))
        kept = shared_bytes(writer->last_bytes, writer->last_length, key, length) + 1;
    assert(kept <= length);
    memcpy(writer->separator_room, key, kept);
    writer->separator = (struct column_key){.bytes = writer->separator_room, .length = kept};
}

static void begin_run_of_bytes(struct column_writer *writer, const uint8_t *key, uint32_t length)
{
    uint32_t shared = 0;
    if (writer->runs)
        end_run(writer);
    else
        set_separator(writer, key, length);
    if (writer->runs % COLUMN_GROUP)
        shared = shared_bytes(writer->last_bytes, writer->last_length, key, length);
    else
        writer->groups[writer->runs / COLUMN_GROUP] = (uint16_t)writer->key_bytes_count;
    uint8_t *at = writer->key_bytes + writer->key_bytes_count;
    at[0] = (uint8_t)shared;
    at[1] = (uint8_t)(length - shared);
    memcpy(at + 2, key + shared, length - shared);
    writer->key_bytes_count += 2 + length - shared;
    writer->bound_bytes += 2 + length - shared + 4 + (writer->runs % COLUMN_GROUP ? 0 : 2) + (writer->runs % COLUMN_BLOCK ? 0 : COLUMN_NARROW_HEADER_BYTES);
    writer->runs++;
    memcpy(writer->last_bytes, key, length);
    writer->last_length = length;
}

int column_writer_add_bytes(struct column_writer *writer, const uint8_t *key, uint32_t length, const uint32_t *ordinals, uint64_t count)
{
    assert(writer->is_bytes && writer->null_count == 0 && length <= COLUMN_KEY_BYTES_MAX);
    for (uint64_t i = 0; i < count; i++) {
        int order = writer->value_count == 0 ? 1 : i > 0 ? 0 : column_bytes_compare(key, length, writer->last_bytes, writer->last_length);
        if (order < 0 || (order == 0 && ordinals[i] <= writer->last_ordinal))
            return out_of_order(ordinals[i]);
        if (writer->bound_bytes + ENTRY_BYTES_MAX + RUN_BYTES_MAX + length > writer->page_bytes || writer->count == COLUMN_LEAF_ENTRIES_MAX) {
            int result = flush_leaf(writer);
            if (result)
                return result;
        }
        if (writer->count == 0 && order == 0)
            writer->flags = COLUMN_CONTINUES;
        if (order > 0 || writer->count == 0)
            begin_run_of_bytes(writer, key, length);
        if (writer->value_count++ == 0) {
            memcpy(writer->min_room, key, length);
            writer->min = (struct column_key){.bytes = writer->min_room, .length = length};
        }
        writer->distinct_count += order > 0;
        append_ordinal(writer, ordinals[i]);
        writer->last_ordinal = ordinals[i];
    }
    return MOTE_OK;
}

int column_writer_add_nulls(struct column_writer *writer, const uint32_t *ordinals, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (writer->null_count > 0 && ordinals[i] <= writer->last_ordinal)
            return out_of_order(ordinals[i]);
        if (writer->null_count == 0 || writer->bound_bytes + ENTRY_BYTES_MAX > writer->page_bytes || writer->count == COLUMN_LEAF_ENTRIES_MAX) {
            int result = flush_leaf(writer);
            if (result)
                return result;
        }
        if (writer->count == 0) {
            writer->flags = writer->null_count > 0 ? COLUMN_NULLS | COLUMN_CONTINUES : COLUMN_NULLS;
            writer->separator = (struct column_key){0};
        }
        writer->null_count++;
        append_ordinal(writer, ordinals[i]);
        writer->last_ordinal = ordinals[i];
    }
    return MOTE_OK;
}

/* The header of the root, and of text and blob the least and greatest key behind it; where its children begin. */
static uint32_t write_root_header(struct column_writer *writer, uint32_t child_count)
{
    uint8_t *page = writer->page;
    store_u32(page + 40, child_count);
    store_u32(page + 44, writer->type);
    store_u32(page + 48, writer->value_count);
    store_u32(page + 52, writer->null_count);
    store_u32(page + 56, writer->distinct_count);
    store_u32(page + 60, 0);
    if (!writer->is_bytes) {
        store_u64(page + 64, writer->min.bits);
        store_u64(page + 72, writer->last_bits);
        return COLUMN_ROOT_HEADER_BYTES;
    }
    store_u64(page + 64, writer->min.length);
    store_u64(page + 72, writer->last_length);
    if (writer->min.length)
        memcpy(page + COLUMN_ROOT_HEADER_BYTES, writer->min.bytes, writer->min.length);
    memcpy(page + COLUMN_ROOT_HEADER_BYTES + writer->min.length, writer->last_bytes, writer->last_length);
    return COLUMN_ROOT_HEADER_BYTES + writer->min.length + writer->last_length;
}

int column_writer_finish(struct column_writer *writer, struct section_root *root)
{
    uint32_t number = 1;
    int result = flush_leaf(writer);
    while (!result && number + 1 < COLUMN_LEVELS_MAX && writer->levels[number + 1].child_count > 0) {
        struct column_child up;
        result = write_inner(writer, number++, &up);
        if (!result)
            result = add_child(writer, number, up);
    }
    if (result)
        return result;
    const struct level *top = &writer->levels[number];
    uint32_t at = write_root_header(writer, top->child_count), entries_bytes = top->child_count * COLUMN_CHILD_BYTES;
    if (entries_bytes)
        memcpy(writer->page + at, top->entries, entries_bytes);
    if (top->separator_bytes)
        memcpy(writer->page + at + entries_bytes, top->separators, top->separator_bytes);
    *root = (struct section_root){.kind = INDEX_COLUMN, .root_bytes = at + entries_bytes + top->separator_bytes};
    result = write_page(writer, COLUMN_MAGIC_ROOT, number, root->root_bytes, &root->root_offset_bytes, &root->root_crc);
    root->length_bytes = writer->end_bytes;
    return result;
}
