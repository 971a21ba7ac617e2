/* column_search.c: finding ranks by value and rows by rank in a column section (column_index.h).
 *
 * A range of values becomes a range of ranks, by two paths from the root, which share their pages; rows are then decoded by rank, a block of 128 at most at a time. Each call pins the root and one page of each level and releases them
 * before it returns. Threads: a search belongs to one. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

enum { FEW_ROWS = 8 };

/* Whether a cut may lie in or behind a child: the last such child is the way to it. */
static int child_begins_before(const struct column_reader *reader, const struct column_node *node, uint32_t number, const struct column_cut *cut, bool *before)
{
    struct column_child child;
    int result = column_node_child(reader, node, number, &child);
    if (result)
        return result;
    int order = child.flags & COLUMN_NULLS ? 1 : column_key_compare(reader->is_bytes, &child.separator, &cut->key);
    *before = order < 0 || (order == 0 && (cut->above || !(child.flags & COLUMN_CONTINUES)));
    return MOTE_OK;
}

static int child_of_key(const struct column_reader *reader, const struct column_node *node, const struct column_cut *cut, struct column_child *child)
{
    uint32_t low = 0, high = node->child_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        bool before;
        int result = child_begins_before(reader, node, middle, cut, &before);
        if (result)
            return result;
        low = before ? middle : low;
        high = before ? high : middle - 1;
    }
    return column_node_child(reader, node, low, child);
}

static int child_of_rank(const struct column_reader *reader, const struct column_node *node, uint32_t rank, uint32_t *number, struct column_child *child)
{
    uint32_t low = 0, high = node->child_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        bool before = load_u32(node->entries + (size_t)middle * COLUMN_CHILD_BYTES + 24) <= rank;
        low = before ? middle : low;
        high = before ? high : middle - 1;
    }
    *number = low;
    int result = column_node_child(reader, node, low, child);
    if (!result && (rank < child->position || rank - child->position >= child->count))
        result = column_refuse(reader->section, node->offset_bytes, "children that leave out a rank");
    return result;
}

int column_find_leaf(struct column_reader *reader, uint32_t rank, uint32_t ahead_end, uint32_t *announced, struct column_child *leaf)
{
    struct column_node node = reader->root;
    assert(rank < node.count);
    for (;;) {
        uint32_t number;
        int result = child_of_rank(reader, &node, rank, &number, leaf);
        if (result)
            return result;
        if (node.level == 1) {
            if (announced && leaf->position >= *announced && reader->section->source->prefetch)
                *announced = column_reader_announce(reader, &node, number, ahead_end);
            return MOTE_OK;
        }
        result = column_reader_node(reader, leaf, node.level - 1, &node);
        if (result)
            return result;
    }
}

int column_find_rank(struct column_reader *reader, const struct column_cut *cut, bool without_leaf, uint32_t *least, uint32_t *most)
{
    uint32_t total = reader->value_count + reader->null_count;
    *least = *most = cut->kind == COLUMN_CUT_BEGIN ? 0 : cut->kind == COLUMN_CUT_END ? total : reader->value_count;
    if (cut->kind != COLUMN_CUT_KEY || reader->value_count == 0)
        return MOTE_OK;
    struct column_node node = reader->root;
    struct column_child child;
    int result = child_of_key(reader, &node, cut, &child);
    while (!result && node.level > 1) {
        result = column_reader_node(reader, &child, node.level - 1, &node);
        if (!result)
            result = child_of_key(reader, &node, cut, &child);
    }
    if (result)
        return result;
    *least = child.position;
    *most = child.position + child.count;
    if (!without_leaf) {
        struct column_leaf leaf;
        struct column_runs runs;
        uint32_t entries;
        result = column_reader_leaf(reader, &child, &leaf);
        if (result)
            return result;
        column_runs_start(&runs, &leaf, reader->is_bytes);
        if (!column_leaf_find(&runs, &cut->key, cut->above, &entries))
            return column_refuse(reader->section, child.offset_bytes, "a leaf that cannot be decoded");
        *least = *most = child.position + entries;
    }
    *least = *least < reader->value_count ? *least : reader->value_count;
    *most = *most < reader->value_count ? *most : reader->value_count;
    return MOTE_OK;
}

/* The ranks of a range; a hostile section may give them in any order. */
static int find_range(struct column_reader *reader, const struct column_range *range, uint32_t *low, uint32_t *high)
{
    uint32_t ignored;
    int result = column_find_rank(reader, &range->from, false, low, &ignored);
    if (!result)
        result = column_find_rank(reader, &range->to, false, high, &ignored);
    if (!result && *high < *low)
        result = column_refuse(reader->section, reader->root.offset_bytes, "values out of order");
    return result;
}

/* Opens the section and checks that it is of the type of the query, which the caller made ranges of. */
static int open_typed(const struct column_section *section, const struct column_query *query, struct column_reader *reader, struct column_ranges *ranges)
{
    *ranges = (struct column_ranges){.ranges = &ranges->single};
    int result = column_reader_open(section, reader);
    return result ? result : column_ranges_make(section->memory, query, reader->type, ranges);
}

int column_count(const struct column_section *section, const struct column_query *query, uint64_t *count, bool *inexact)
{
    struct column_reader reader;
    struct column_ranges ranges;
    uint64_t sum = 0;
    int result = open_typed(section, query, &reader, &ranges);
    *count = 0;
    for (uint32_t i = 0; !result && i < ranges.count; i++) {
        uint32_t low, high;
        result = find_range(&reader, &ranges.ranges[i], &low, &high);
        sum += result ? 0 : high - low;
    }
    if (inexact)
        *inexact = ranges.inexact;
    column_ranges_free(section->memory, &ranges);
    column_reader_close(&reader);
    *count = result ? 0 : sum;
    return result;
}

/* One range from the inner pages: how many rows at least, at most, and likely. */
static int estimate_range(struct column_reader *reader, const struct column_range *range, bool single_value, struct column_estimate *estimate)
{
    uint32_t from_least, from_most, to_least, to_most;
    int result = column_find_rank(reader, &range->from, true, &from_least, &from_most);
    if (!result)
        result = column_find_rank(reader, &range->to, true, &to_least, &to_most);
    if (result)
        return result;
    uint32_t least = to_least > from_most ? to_least - from_most : 0, most = to_most > from_least ? to_most - from_least : 0;
    double expected = ((double)to_least + (double)to_most - (double)from_least - (double)from_most) / 2;
    double of_a_value = reader->distinct_count ? (double)reader->value_count / (double)reader->distinct_count : 0;
    if (single_value && expected < of_a_value)
        expected = of_a_value; /* both ends are in one leaf, or in neighbours: what a value has on average */
    estimate->least += least;
    estimate->most += most;
    estimate->expected += expected < (double)least ? (double)least : expected > (double)most ? (double)most : expected;
    return MOTE_OK;
}

int column_estimate(const struct column_section *section, const struct column_query *query, struct column_estimate *estimate)
{
    struct column_reader reader;
    struct column_ranges ranges;
    int result = open_typed(section, query, &reader, &ranges);
    *estimate = (struct column_estimate){0};
    for (uint32_t i = 0; !result && i < ranges.count; i++)
        result = estimate_range(&reader, &ranges.ranges[i], query->kind == COLUMN_EQUAL || query->kind == COLUMN_IN, estimate);
    /* Neighbouring values of a list may share a leaf, and cannot have more rows than there are. */
    if (estimate->most > reader.value_count && query->kind == COLUMN_IN)
        estimate->most = reader.value_count;
    if (estimate->expected > (double)estimate->most)
        estimate->expected = (double)estimate->most;
    column_ranges_free(section->memory, &ranges);
    column_reader_close(&reader);
    return result;
}

int column_search_create(const struct column_section *section, const struct column_query *query, struct column_search **result_search)
{
    *result_search = NULL;
    struct column_search *search = memory_alloc_zero(section->memory, sizeof *search);
    if (!search)
        return MOTE_EBUDGET;
    struct column_reader reader;
    search->section = *section;
    search->descending = query->descending;
    search->ranges.ranges = &search->ranges.single;
    int result = column_reader_open(section, &reader);
    if (!result) {
        search->type = reader.type;
        search->is_bytes = reader.is_bytes;
        result = column_ranges_make(section->memory, query, reader.type, &search->ranges);
    }
    column_reader_close(&reader);
    if (!result && search->is_bytes) {
        search->bytes = memory_alloc(section->memory, COLUMN_BATCH_ROWS * COLUMN_KEPT_BYTES);
        result = search->bytes ? MOTE_OK : MOTE_EBUDGET;
    }
    if (result) {
        column_search_destroy(search);
        return result;
    }
    *result_search = search;
    return MOTE_OK;
}

void column_search_destroy(struct column_search *search)
{
    if (!search)
        return;
    struct memory *memory = search->section.memory;
    column_ranges_free(memory, &search->ranges);
    memory_free(memory, search->bytes);
    memory_free(memory, search);
}

/* Appends the row's value, or the value that row number i - 1 has. */
static void put_bytes(struct column_search *search, uint32_t i, const struct column_key *key)
{
    uint32_t inexact = key->length > COLUMN_KEPT_BYTES, length = inexact ? COLUMN_KEPT_BYTES : key->length, at = search->offsets[i];
    assert(at + length <= COLUMN_BATCH_ROWS * COLUMN_KEPT_BYTES);
    if (length)
        memcpy(search->bytes + at, key->bytes, length);
    search->offsets[i + 1] = at + length;
    search->inexact[i] = (uint8_t)inexact;
}

/* Keys of the entries [first, first + count) of a leaf; text and blob backwards if the answer descends. */
static bool decode_values(struct column_search *search, const struct column_leaf *leaf, uint32_t first, uint32_t count)
{
    struct column_runs runs;
    struct column_key key = {0};
    uint32_t run = 0, end = 0;
    bool backwards = search->descending && search->is_bytes;
    column_runs_start(&runs, leaf, search->is_bytes);
    runs.single = count < FEW_ROWS;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t entry = backwards ? first + count - 1 - i : first + i;
        uint32_t start = end; /* of the run, when descending: unknown until asked for */
        if (i == 0) {
            if (!column_runs_of(&runs, entry, &run))
                return false;
        } else if (!backwards && entry >= start) {
            run++;
        } else if (backwards && entry < start) {
            run--;
        }
        if (run >= leaf->runs)
            return false;
        bool begins = i == 0 || (backwards ? entry < start : entry >= start);
        if (begins) {
            end = 0;
            if (!column_runs_key(&runs, run, &key) || (backwards ? run > 0 && !column_runs_end(&runs, run - 1, &end) : !column_runs_end(&runs, run, &end)))
                return false;
            if (backwards ? end > entry : end <= entry)
                return false;
        }
        if (search->is_bytes)
            put_bytes(search, i, &key);
        else
            search->keys[i] = key.bits;
    }
    return true;
}

static void reverse_batch(struct column_search *search, uint32_t count)
{
    for (uint32_t i = 0, j = count - 1; i < j; i++, j--) {
        uint32_t ordinal = search->ordinals[i];
        uint64_t key = search->keys[i];
        search->ordinals[i] = search->ordinals[j];
        search->ordinals[j] = ordinal;
        search->keys[i] = search->keys[j];
        search->keys[j] = key;
    }
}

/* The entries [first, first + count), of one block, of a leaf. */
static int decode_batch(struct column_search *search, const struct column_leaf *leaf, uint32_t first, uint32_t count, struct column_hits *hits)
{
    uint64_t wide[COLUMN_BLOCK];
    bool nulls = leaf->flags & COLUMN_NULLS;
    bool whole = column_stream_decode(&leaf->ordinals, first / COLUMN_BLOCK, first % COLUMN_BLOCK, first % COLUMN_BLOCK + count, wide);
    for (uint32_t i = 0; whole && i < count; i++)
        search->ordinals[i] = (uint32_t)wide[first % COLUMN_BLOCK + i];
    if (whole && !nulls && !search->ordinals_only)
        whole = decode_values(search, leaf, first, count);
    if (!whole)
        return column_refuse(&search->section, leaf->offset_bytes, "a leaf that cannot be decoded");
    if (search->descending)
        reverse_batch(search, count);
    *hits = (struct column_hits){.count = count, .ordinals = search->ordinals, .is_null = nulls, .values = {.type = search->type, .dimension = 1, .count = count}};
    if (search->ordinals_only)
        return 1;
    if (nulls) {
        memset(search->values, 0, sizeof search->values);
        memset(search->offsets, 0, sizeof search->offsets);
    } else if (!search->is_bytes) {
        column_keys_to(search->type, search->keys, count, search->values);
    }
    hits->values.values = search->is_bytes ? (const void *)search->bytes : search->values;
    hits->values.offsets = search->is_bytes ? search->offsets : NULL;
    hits->inexact = search->is_bytes && !nulls && memchr(search->inexact, 1, count) ? search->inexact : NULL;
    return 1;
}

/* The next range with rows in it; 0: there is none, 1: there is. */
static int next_range(struct column_search *search, struct column_reader *reader)
{
    while (search->low == search->high) {
        if (search->range == search->ranges.count)
            return 0;
        uint32_t number = search->descending ? search->ranges.count - 1 - search->range : search->range;
        int result = find_range(reader, &search->ranges.ranges[number], &search->low, &search->high);
        if (result)
            return result;
        search->range++;
    }
    return 1;
}

static int search_next(struct column_search *search, struct column_reader *reader, struct column_hits *hits)
{
    int result = next_range(search, reader);
    if (result <= 0)
        return result;
    uint32_t rank = search->descending ? search->high - 1 : search->low;
    if (!search->has_leaf || rank < search->leaf.position || rank - search->leaf.position >= search->leaf.count) {
        search->has_leaf = false;
        result = column_find_leaf(reader, rank, search->high, search->descending ? NULL : &search->announced, &search->leaf);
        if (result)
            return result;
        search->leaf.separator = (struct column_key){0};
        search->has_leaf = true;
    }
    struct column_leaf leaf;
    result = column_reader_leaf(reader, &search->leaf, &leaf);
    if (result)
        return result;
    uint32_t entry = rank - leaf.position, block = entry / COLUMN_BLOCK * COLUMN_BLOCK;
    uint32_t low = search->low > leaf.position + block ? search->low - leaf.position : block, high = block + column_block_count(leaf.count, block / COLUMN_BLOCK);
    if (search->descending) {
        result = decode_batch(search, &leaf, low, entry + 1 - low, hits);
        search->high = result < 0 ? search->high : leaf.position + low;
    } else {
        high = search->high - leaf.position < high ? search->high - leaf.position : high;
        result = decode_batch(search, &leaf, low, high - low, hits);
        search->low = result < 0 ? search->low : leaf.position + high;
    }
    return result;
}

int column_search_next(struct column_search *search, struct column_hits *hits)
{
    struct column_reader reader;
    *hits = (struct column_hits){0};
    if (search->low == search->high && search->range == search->ranges.count)
        return 0;
    int result = column_reader_open(&search->section, &reader);
    if (!result)
        result = search_next(search, &reader, hits);
    column_reader_close(&reader);
    return result;
}
