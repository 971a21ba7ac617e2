/* column_verify.c: walks a whole column section, leaf by leaf and on the way to each the inner pages above it, and holds every claim against what is there (column_index.h).
 *
 * Threads: one. Failures: MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

struct verifier {
    struct column_reader reader;
    uint64_t row_count;
    uint8_t *seen; /* a bit for each ordinal */
    uint32_t distinct_count;
    struct column_key last; /* of the leaves so far; bytes lie in room */
    uint8_t room[COLUMN_KEY_BYTES_MAX];
    bool has_last;
    uint32_t last_ordinal; /* of that value, or of the NULLs */
};

static int refuse(const struct verifier *verifier, uint64_t offset_bytes, const char *what) { return column_refuse(verifier->reader.section, offset_bytes, what); }

/* The children of a node follow each other without a gap, on to its end. */
static int verify_node(const struct verifier *verifier, const struct column_node *node)
{
    uint64_t position = node->position;
    for (uint32_t i = 0; i < node->child_count; i++) {
        struct column_child child;
        int result = column_node_child(&verifier->reader, node, i, &child);
        if (result)
            return result;
        if (child.position != position)
            return refuse(verifier, node->offset_bytes, "children that leave out a rank");
        position += child.count;
    }
    return position == (uint64_t)node->position + node->count ? MOTE_OK : refuse(verifier, node->offset_bytes, "children of another number of rows");
}

/* On each level above a leaf that is the first below it: the node, and its separator against the leaf's first key and the key before. The separators of later children are seen with the leaves that they begin with. */
static int verify_separator(const struct verifier *verifier, const struct column_child *child, const struct column_leaf *leaf, const struct column_key *first)
{
    bool is_bytes = verifier->reader.is_bytes;
    if (child->flags != leaf->flags)
        return refuse(verifier, child->offset_bytes, "a page whose parent tells other flags");
    if (leaf->flags & COLUMN_NULLS)
        return child->separator.bits || child->separator.length ? refuse(verifier, child->offset_bytes, "NULLs with a separator") : MOTE_OK;
    int before = verifier->has_last ? column_key_compare(is_bytes, &verifier->last, &child->separator) : -1;
    bool continues = leaf->flags & COLUMN_CONTINUES;
    if (column_key_compare(is_bytes, &child->separator, first) > 0 || (continues ? before != 0 : before >= 0))
        return refuse(verifier, child->offset_bytes, "a separator that does not separate");
    return MOTE_OK;
}

static int verify_path(struct verifier *verifier, uint32_t rank, const struct column_leaf *leaf, const struct column_key *first)
{
    struct column_node node = verifier->reader.root;
    for (;;) {
        struct column_child child;
        uint32_t number = 0;
        int result = node.position == rank ? verify_node(verifier, &node) : MOTE_OK;
        while (!result && number < node.child_count) {
            result = column_node_child(&verifier->reader, &node, number, &child);
            if (child.position + child.count > rank)
                break;
            number++;
        }
        if (!result && (number == node.child_count || child.position > rank))
            result = refuse(verifier, node.offset_bytes, "children that leave out a rank");
        if (!result && child.position == rank)
            result = verify_separator(verifier, &child, leaf, first);
        if (result || node.level == 1)
            return result;
        result = column_reader_node(&verifier->reader, &child, node.level - 1, &node);
        if (result)
            return result;
    }
}

static int verify_ordinals(struct verifier *verifier, const struct column_leaf *leaf, const uint64_t *ordinals, uint32_t count, uint32_t after)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ordinal = ordinals[i];
        if (ordinal >= verifier->row_count || (verifier->seen[ordinal / 8] >> ordinal % 8 & 1))
            return refuse(verifier, leaf->offset_bytes, "a row that does not exist, or twice");
        if ((i > 0 || after) && ordinal <= verifier->last_ordinal)
            return refuse(verifier, leaf->offset_bytes, "rows of a value out of order");
        verifier->seen[ordinal / 8] = (uint8_t)(verifier->seen[ordinal / 8] | 1u << ordinal % 8);
        verifier->last_ordinal = (uint32_t)ordinal;
    }
    return MOTE_OK;
}

/* The ordinals of the entries [from, to) of a leaf, which are of one value. continues: of that of the entry before. */
static int verify_run(struct verifier *verifier, const struct column_leaf *leaf, uint32_t from, uint32_t to, bool continues, uint64_t *ordinals, uint32_t *block)
{
    for (uint32_t at = from; at < to;) {
        uint32_t here = at / COLUMN_BLOCK, end = (here + 1) * COLUMN_BLOCK < to ? (here + 1) * COLUMN_BLOCK : to;
        if (here != *block && !column_stream_decode(&leaf->ordinals, here, 0, column_block_count(leaf->count, here), ordinals))
            return refuse(verifier, leaf->offset_bytes, "a leaf that cannot be decoded");
        *block = here;
        int result = verify_ordinals(verifier, leaf, ordinals + at % COLUMN_BLOCK, end - at, continues || at > from);
        if (result)
            return result;
        at = end;
    }
    return MOTE_OK;
}

static void keep_last(struct verifier *verifier, const struct column_key *key)
{
    verifier->last = *key;
    verifier->has_last = true;
    if (!verifier->reader.is_bytes)
        return;
    if (key->length)
        memmove(verifier->room, key->bytes, key->length);
    verifier->last.bytes = verifier->room;
}

static int verify_leaf(struct verifier *verifier, const struct column_leaf *leaf)
{
    struct column_runs runs;
    uint64_t ordinals[COLUMN_BLOCK];
    uint32_t block = UINT32_MAX, from = 0, to;
    bool nulls = leaf->flags & COLUMN_NULLS, continues = leaf->flags & COLUMN_CONTINUES, is_bytes = verifier->reader.is_bytes;
    if (nulls != (leaf->position >= verifier->reader.value_count) || (!nulls && leaf->position + leaf->count > verifier->reader.value_count) || (nulls && continues != (leaf->position > verifier->reader.value_count)))
        return refuse(verifier, leaf->offset_bytes, "values among NULLs, or NULLs among values");
    column_runs_start(&runs, leaf, is_bytes);
    for (uint32_t run = 0; run < leaf->runs; run++, from = to) {
        struct column_key key = {0};
        if (!column_runs_end(&runs, run, &to) || to <= from || (!nulls && !column_runs_key(&runs, run, &key)))
            return refuse(verifier, leaf->offset_bytes, "a leaf that cannot be decoded");
        if (key.length > COLUMN_KEPT_BYTES && key.bytes[COLUMN_KEPT_BYTES] != 0)
            return refuse(verifier, leaf->offset_bytes, "a key that is none");
        bool goes_on = run == 0 && continues;
        int result = run == 0 ? verify_path(verifier, leaf->position, leaf, &key) : MOTE_OK;
        int order = nulls || !verifier->has_last ? 1 : column_key_compare(is_bytes, &key, &verifier->last);
        if (!result && !nulls && (goes_on ? order != 0 || !verifier->has_last : order <= 0))
            result = refuse(verifier, leaf->offset_bytes, "values out of order");
        if (!result && !nulls && !verifier->has_last && column_key_compare(is_bytes, &key, &verifier->reader.min) != 0)
            result = refuse(verifier, verifier->reader.root.offset_bytes, "a least value that is not the least");
        if (!result)
            result = verify_run(verifier, leaf, from, to, goes_on, ordinals, &block);
        if (result)
            return result;
        if (!nulls)
            keep_last(verifier, &key);
        verifier->distinct_count += !nulls && !goes_on;
    }
    return from == leaf->count ? MOTE_OK : refuse(verifier, leaf->offset_bytes, "runs of another number of entries");
}

static int verify_all(struct verifier *verifier)
{
    struct column_reader *reader = &verifier->reader;
    uint32_t total = reader->root.count;
    if (total > verifier->row_count)
        return refuse(verifier, reader->root.offset_bytes, "more rows than there are");
    for (uint32_t rank = 0; rank < total;) {
        struct column_child child;
        struct column_leaf leaf;
        int result = column_find_leaf(reader, rank, 0, NULL, &child);
        if (!result && child.position != rank)
            result = refuse(verifier, child.offset_bytes, "leaves that overlap");
        if (!result)
            result = column_reader_leaf(reader, &child, &leaf);
        if (!result)
            result = verify_leaf(verifier, &leaf);
        if (result)
            return result;
        rank += leaf.count;
    }
    if (verifier->distinct_count != reader->distinct_count)
        return refuse(verifier, reader->root.offset_bytes, "another number of different values");
    if (verifier->has_last && column_key_compare(reader->is_bytes, &verifier->last, &reader->max) != 0)
        return refuse(verifier, reader->root.offset_bytes, "a greatest value that is not the greatest");
    return MOTE_OK;
}

int column_verify(const struct column_section *section, uint64_t row_count)
{
    struct verifier *verifier = memory_alloc_zero(section->memory, sizeof *verifier);
    uint8_t *seen = memory_alloc_zero(section->memory, (size_t)(row_count / 8 + 1));
    int result = MOTE_EBUDGET;
    if (verifier && seen) {
        verifier->row_count = row_count;
        verifier->seen = seen;
        result = column_reader_open(section, &verifier->reader);
        if (!result)
            result = verify_all(verifier);
        column_reader_close(&verifier->reader);
    }
    memory_free(section->memory, seen);
    memory_free(section->memory, verifier);
    return result;
}
