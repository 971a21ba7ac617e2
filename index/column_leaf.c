/* column_leaf.c: inside a leaf: its runs of equal values, their keys and ends, and where a key falls (column_format.h).
 *
 * Blocks of 128 numbers are decoded as they are needed, of front-coded keys the groups of 16. A leaf comes from a page that was checked for its lengths only: what the streams say is bounded here. Pure functions on the caller's
 * memory; nothing fails but for damage, which gives false.
 */
#include <assert.h>

#include "index/column_private.h"

void column_runs_start(struct column_runs *runs, const struct column_leaf *leaf, bool is_bytes)
{
    runs->leaf = leaf;
    runs->is_bytes = is_bytes;
    runs->run = 0;
    runs->single = false;
    runs->ends_block = runs->keys_block = UINT32_MAX;
    runs->next_key_run = UINT32_MAX;
    runs->key_place = runs->key_length = 0;
}

static bool load_ends(struct column_runs *runs, uint32_t block)
{
    if (runs->ends_block == block)
        return true;
    runs->ends_block = UINT32_MAX;
    if (!column_stream_decode(&runs->leaf->ends, block, 0, column_block_count(runs->leaf->runs, block), runs->ends))
        return false;
    runs->ends_block = block;
    return true;
}

bool column_runs_end(struct column_runs *runs, uint32_t run, uint32_t *end)
{
    const struct column_leaf *leaf = runs->leaf;
    assert(run < leaf->runs);
    if (leaf->ends.count == 0) {
        *end = leaf->flags & COLUMN_NULLS ? leaf->count : run + 1;
        return true;
    }
    if (!load_ends(runs, run / COLUMN_BLOCK))
        return false;
    *end = (uint32_t)runs->ends[run % COLUMN_BLOCK];
    return *end > run && *end <= leaf->count && (run + 1 < leaf->runs || *end == leaf->count);
}

bool column_runs_of(struct column_runs *runs, uint32_t entry, uint32_t *run)
{
    const struct column_leaf *leaf = runs->leaf;
    assert(entry < leaf->count);
    if (leaf->ends.count == 0) {
        *run = leaf->flags & COLUMN_NULLS ? 0 : entry;
        return true;
    }
    /* The last block whose first end is not behind the entry; the run may be the first of the next. */
    uint32_t low = 0, high = (leaf->runs - 1) / COLUMN_BLOCK;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (column_stream_base(&leaf->ends, middle) <= entry)
            low = middle;
        else
            high = middle - 1;
    }
    if (!load_ends(runs, low))
        return false;
    uint32_t in_block = column_block_count(leaf->runs, low), from = 0, to = in_block;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (runs->ends[middle] > entry)
            to = middle;
        else
            from = middle + 1;
    }
    *run = low * COLUMN_BLOCK + from;
    return *run < leaf->runs;
}

/* The front-coded key at runs->key_place, which is that of run number next_key_run. */
static bool decode_next_key(struct column_runs *runs)
{
    const struct column_leaf *leaf = runs->leaf;
    uint32_t groups_bytes = (leaf->runs + COLUMN_GROUP - 1) / COLUMN_GROUP * 2, body_bytes = leaf->keys_bytes - groups_bytes;
    const uint8_t *body = leaf->keys + groups_bytes;
    if (runs->next_key_run % COLUMN_GROUP == 0) {
        runs->key_place = load_u16(leaf->keys + (size_t)(runs->next_key_run / COLUMN_GROUP) * 2);
        runs->key_length = 0;
    }
    if (runs->key_place > body_bytes || body_bytes - runs->key_place < 2)
        return false;
    uint32_t shared = body[runs->key_place], further = body[runs->key_place + 1];
    if (shared > runs->key_length || shared + further > COLUMN_KEY_BYTES_MAX || further > body_bytes - runs->key_place - 2)
        return false;
    memcpy(runs->key + shared, body + runs->key_place + 2, further);
    runs->key_length = shared + further;
    runs->key_place += 2 + further;
    runs->next_key_run++;
    return true;
}

bool column_runs_key(struct column_runs *runs, uint32_t run, struct column_key *key)
{
    const struct column_leaf *leaf = runs->leaf;
    assert(run < leaf->runs && !(leaf->flags & COLUMN_NULLS));
    if (!runs->is_bytes) {
        uint32_t block = run / COLUMN_BLOCK, in_block = run % COLUMN_BLOCK;
        if (runs->keys_block != block || runs->single) {
            runs->keys_block = UINT32_MAX;
            if (!column_stream_decode(&leaf->key_stream, block, runs->single ? in_block : 0, runs->single ? in_block + 1 : column_block_count(leaf->runs, block), runs->keys))
                return false;
            runs->keys_block = block;
        }
        key->bits = runs->keys[run % COLUMN_BLOCK];
        return true;
    }
    /* From the begin of the group, unless the run lies ahead in the present one. */
    bool present = runs->next_key_run != UINT32_MAX && runs->next_key_run % COLUMN_GROUP != 0 && runs->next_key_run / COLUMN_GROUP == run / COLUMN_GROUP && run + 1 >= runs->next_key_run;
    if (!present)
        runs->next_key_run = run / COLUMN_GROUP * COLUMN_GROUP;
    while (runs->next_key_run <= run)
        if (!decode_next_key(runs)) {
            runs->next_key_run = UINT32_MAX;
            return false;
        }
    *key = (struct column_key){.bytes = runs->key, .length = runs->key_length};
    return true;
}

static bool find_run_of_number(struct column_runs *runs, uint64_t bits, bool above, uint32_t *below)
{
    const struct column_leaf *leaf = runs->leaf;
    uint32_t low = 0, high = (leaf->runs - 1) / COLUMN_BLOCK;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (column_stream_base(&leaf->key_stream, middle) <= bits)
            low = middle;
        else
            high = middle - 1;
    }
    if (!column_stream_find(&leaf->key_stream, low, bits, above, below))
        return false;
    *below += low * COLUMN_BLOCK;
    return true;
}

static bool find_run_of_bytes(struct column_runs *runs, const struct column_key *key, bool above, uint32_t *below)
{
    const struct column_leaf *leaf = runs->leaf;
    uint32_t low = 0, high = (leaf->runs - 1) / COLUMN_GROUP;
    struct column_key here;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (!column_runs_key(runs, middle * COLUMN_GROUP, &here))
            return false;
        if (column_key_compare(true, &here, key) <= 0)
            low = middle;
        else
            high = middle - 1;
    }
    for (*below = low * COLUMN_GROUP; *below < leaf->runs; (*below)++) {
        if (!column_runs_key(runs, *below, &here))
            return false;
        int order = column_key_compare(true, &here, key);
        if (above ? order > 0 : order >= 0)
            break;
    }
    return true;
}

bool column_leaf_find(struct column_runs *runs, const struct column_key *key, bool above, uint32_t *entries)
{
    uint32_t below = 0;
    *entries = 0;
    if (runs->leaf->flags & COLUMN_NULLS)
        return true;
    bool whole = runs->is_bytes ? find_run_of_bytes(runs, key, above, &below) : find_run_of_number(runs, key->bits, above, &below);
    if (!whole || below == 0)
        return whole;
    return column_runs_end(runs, below - 1, entries);
}
