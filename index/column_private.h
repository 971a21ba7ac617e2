/* column_private.h: what the parts of the column index share: keys, packed streams, children, the writer of sections, the reader of pages. */
#ifndef MOTE_INDEX_COLUMN_PRIVATE_H
#define MOTE_INDEX_COLUMN_PRIVATE_H

#include "blockdev/base/bytes.h"
#include "index/column_format.h"
#include "index/column_index.h"

/* ---- column_key.c: values as keys (column_format.h) ---- */

/* Of numbers bits; of text and blob bytes, which point somewhere. */
struct column_key {
    uint64_t bits;
    const uint8_t *bytes;
    uint32_t length;
};

static inline bool column_type_is_bytes(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }

static inline int column_bytes_compare(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length)
{
    uint32_t shared = a_length < b_length ? a_length : b_length;
    int order = shared ? memcmp(a, b, shared) : 0;
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static inline int column_key_compare(bool is_bytes, const struct column_key *a, const struct column_key *b)
{
    return is_bytes ? column_bytes_compare(a->bytes, a->length, b->bytes, b->length) : (a->bits > b->bits) - (a->bits < b->bits);
}

/* The keys of count numbers of a fixed type, and back: to is of that type. */
void column_keys_from(uint32_t type, const void *values, uint32_t count, uint64_t *keys);
void column_keys_to(uint32_t type, const uint64_t *keys, uint32_t count, void *values);
/* The key of the bytes of a text or blob, in room; its length. */
uint32_t column_key_cut(const void *value, uint64_t size_bytes, uint8_t room[COLUMN_KEY_BYTES_MAX]);

/* ---- column_pack.c: streams of numbers ---- */

struct column_block {
    uint64_t base, reference;
    uint32_t width;
    bool delta;
};

/* How up to 128 numbers (narrow: of 32 bits) are best stored. */
void column_block_plan(const uint64_t *numbers, uint32_t count, bool narrow, struct column_block *block);
static inline uint32_t column_block_bytes(const struct column_block *block, uint32_t count, bool narrow)
{
    return (narrow ? COLUMN_NARROW_HEADER_BYTES : COLUMN_WIDE_HEADER_BYTES) + (block->width * count + 7) / 8;
}
/* Writes a stream of count numbers (narrow: uint32_t, else uint64_t) with the blocks planned for them; its length. May write 8 bytes more. */
uint32_t column_stream_write(uint8_t *out, const void *numbers, uint32_t count, bool narrow, const struct column_block *blocks);

/* A stream in a page, 8 bytes of which follow it at least. */
struct column_stream {
    const uint8_t *at;
    uint32_t bytes, count;
    bool narrow;
};
/* False: it does not fit its bytes. Checks each block. */
bool column_stream_check(const struct column_stream *stream);
/* The first number of a block of a stream whose numbers ascend. The block lies inside the stream, here and below; damage in it gives false. */
uint64_t column_stream_base(const struct column_stream *stream, uint32_t block);
/* Numbers [from, to) of a block to their places in numbers; other places may be written too. */
bool column_stream_decode(const struct column_stream *stream, uint32_t block, uint32_t from, uint32_t to, uint64_t numbers[COLUMN_BLOCK]);
/* How many numbers of a block of a stream of 64-bit numbers that ascend are below (above: not above) limit. */
bool column_stream_find(const struct column_stream *stream, uint32_t block, uint64_t limit, bool above, uint32_t *below);
static inline uint32_t column_block_count(uint32_t count, uint32_t block) { return count - block * COLUMN_BLOCK < COLUMN_BLOCK ? count - block * COLUMN_BLOCK : COLUMN_BLOCK; }

/* ---- column_sort.c ---- */

/* Sorts (key, ordinal) pairs by key, stably. Where they are in order nothing is taken, else 12 bytes a pair of memory. */
int column_sort_pairs(struct memory *memory, uint64_t *keys, uint32_t *ordinals, uint64_t count);
/* Sorts ordinals; 4 bytes each of memory if they are not in order. */
int column_sort_ordinals(struct memory *memory, uint32_t *ordinals, uint64_t count);

/* ---- column_page.c ---- */

/* Completes a page whose body is there. */
struct column_child {
    struct column_key separator;
    uint64_t offset_bytes;
    uint32_t length_bytes, crc, position, count, flags;
};
int column_page_write(const struct section_identity *identity, const struct section_sink *sink, uint8_t *page, uint32_t magic, uint32_t level, uint32_t length_bytes, uint64_t *offset_bytes, uint32_t *crc);
void column_child_store(uint8_t *at, bool is_bytes, const struct column_child *child, uint32_t separator_offset);

/* ---- column_write.c: a section from keys in order ---- */

struct column_writer;
int column_writer_create(struct memory *memory, uint32_t type, uint32_t page_bytes, const struct section_identity *identity, const struct section_sink *sink, struct column_writer **writer);
/* Numbers: pairs in order of key, then ordinal. */
int column_writer_add(struct column_writer *writer, const uint64_t *keys, const uint32_t *ordinals, uint64_t count);
/* Text and blob: the next rows, all of this key. */
int column_writer_add_bytes(struct column_writer *writer, const uint8_t *key, uint32_t length, const uint32_t *ordinals, uint64_t count);
/* After all values. */
int column_writer_add_nulls(struct column_writer *writer, const uint32_t *ordinals, uint64_t count);
int column_writer_finish(struct column_writer *writer, struct section_root *root);
void column_writer_destroy(struct column_writer *writer);

/* ---- column_page.c: reading ---- */

/* The children of an inner page or of the root. */
struct column_node {
    const uint8_t *entries, *separators;
    uint32_t child_count, separator_bytes, level, position, count;
    uint64_t offset_bytes;
};

struct column_leaf {
    uint32_t count, position, runs, flags;
    const uint8_t *keys; /* numbers: see key_stream; else offsets of the groups */
    uint32_t keys_bytes;
    struct column_stream key_stream, ends, ordinals; /* ends.count 0: entries are runs, or NULLs */
    uint64_t offset_bytes;
};

struct column_pin {
    const uint8_t *page;
    void *handle;
    uint64_t offset_bytes;
    uint32_t crc;
};

/* Pages of a section during one call: the root, and one pinned page of each level, so that paths that share pages read them once. */
struct column_reader {
    const struct column_section *section;
    const uint8_t *root_page;
    void *root_handle;
    uint32_t type;
    bool is_bytes;
    uint32_t value_count, null_count, distinct_count;
    struct column_key min, max;
    struct column_node root;
    struct column_pin pins[COLUMN_LEVELS_MAX];
};

int column_refuse(const struct column_section *section, uint64_t offset_bytes, const char *what);
/* column_reader_close is to be called in any case. */
int column_reader_open(const struct column_section *section, struct column_reader *reader);
void column_reader_close(struct column_reader *reader);
/* Child number `number` of a node, checked against it. */
int column_node_child(const struct column_reader *reader, const struct column_node *node, uint32_t number, struct column_child *child);
/* Pins the page of a child and reads what it says of itself; valid until another page of its level is pinned. */
int column_reader_node(struct column_reader *reader, const struct column_child *child, uint32_t level, struct column_node *node);
int column_reader_leaf(struct column_reader *reader, const struct column_child *child, struct column_leaf *leaf);
/* Tells the source of the leaves under a node of level 1 from number `first` on that begin below rank `end`, a few of them; returns the rank up to which. */
uint32_t column_reader_announce(const struct column_reader *reader, const struct column_node *node, uint32_t first, uint32_t end);

/* ---- column_leaf.c ---- */

/* Walks the runs of a leaf. */
struct column_runs {
    const struct column_leaf *leaf;
    bool is_bytes;
    uint32_t run;              /* the present one */
    uint32_t ends_block, keys_block; /* decoded; UINT32_MAX: none */
    bool single;                     /* a few keys are asked for only: each is decoded by itself */
    uint64_t ends[COLUMN_BLOCK], keys[COLUMN_BLOCK];
    uint32_t next_key_run, key_place; /* front-coded keys: the run whose key comes next, and where it lies */
    uint8_t key[COLUMN_KEY_BYTES_MAX + 1];
    uint32_t key_length;
};
void column_runs_start(struct column_runs *runs, const struct column_leaf *leaf, bool is_bytes);
/* The number of entries up to the end of a run; the run that entry number `entry` belongs to; the key of a run. False: damaged. */
bool column_runs_end(struct column_runs *runs, uint32_t run, uint32_t *end);
bool column_runs_of(struct column_runs *runs, uint32_t entry, uint32_t *run);
bool column_runs_key(struct column_runs *runs, uint32_t run, struct column_key *key);
/* How many entries have keys below (above: not above) key. */
bool column_leaf_find(struct column_runs *runs, const struct column_key *key, bool above, uint32_t *entries);

/* ---- column_query.c: queries as ranges between cuts ---- */

enum column_cut_kind { COLUMN_CUT_BEGIN, COLUMN_CUT_KEY, COLUMN_CUT_VALUES_END, COLUMN_CUT_END };
struct column_cut {
    enum column_cut_kind kind;
    bool above; /* of a key: behind the rows that have it, not before */
    struct column_key key;
};
struct column_range {
    struct column_cut from, to;
};
struct column_ranges {
    struct column_range single, *ranges; /* ranges: &single or a list of its own */
    uint32_t count;
    bool inexact;
    uint8_t *bytes; /* of the keys */
    uint8_t room[2][COLUMN_KEY_BYTES_MAX];
};
/* The ranges of a query, ascending, without overlaps. May not be moved; column_ranges_free in any case. */
int column_ranges_make(struct memory *memory, const struct column_query *query, uint32_t type, struct column_ranges *ranges);
void column_ranges_free(struct memory *memory, struct column_ranges *ranges);

/* ---- column_search.c ---- */

/* The rank of the first entry behind a cut. leaf_only: no leaf is read, *least and *most are the ranks between which it lies; else both are the rank. */
int column_find_rank(struct column_reader *reader, const struct column_cut *cut, bool without_leaf, uint32_t *least, uint32_t *most);
/* The leaf that holds a rank. announced (may be NULL): where the leaf begins at or behind this rank, it and those after it that begin below ahead_end are announced to the source, and this becomes the rank up to which. */
int column_find_leaf(struct column_reader *reader, uint32_t rank, uint32_t ahead_end, uint32_t *announced, struct column_child *leaf);

struct column_search {
    struct column_section section;
    bool descending, is_bytes, ordinals_only, has_leaf;
    uint32_t type, range, low, high; /* ranges that were begun; the ranks of the present one that are still to come */
    uint32_t announced;              /* leaves that begin below this rank were announced */
    struct column_child leaf;        /* without separator */
    struct column_ranges ranges;
    uint32_t ordinals[COLUMN_BATCH_ROWS];
    uint64_t keys[COLUMN_BATCH_ROWS]; /* numbers; and the values made of them */
    uint64_t values[COLUMN_BATCH_ROWS];
    uint32_t offsets[COLUMN_BATCH_ROWS + 1];
    uint8_t inexact[COLUMN_BATCH_ROWS];
    uint8_t *bytes; /* text and blob */
};

#endif
