/* memtable_private.h: the insides of a generation, shared by memtable.c (arena, rooms, tables), memtable_write.c (a row's way in), memtable_iterator.c, runs.c (rows that arrive in order) and skiplist.c (all others).
 *
 * A row whose key lies above all earlier ones of its series is put at the end of the series' run: blocks of rows of one size, side by side, so that it is copied nowhere, searched for nowhere, and read by a flush as an array. Late rows,
 * repeated keys, tombstones, keys without a fixed tail, rows of another schema version than the run's first, and whatever finds the run taken by another writer or the arena full go into the skiplist. Each run is strictly ascending; two
 * series differ in their keys' first bytes, so that runs never overlap, and a second skiplist, the directory, orders them. Both together are the table's rows; iterators merge the two.
 *
 *     row of a run:  u64 seq | key, rounded up to 8 | image, rounded up to 8 (or, if it varies or is large: u32 offset, u32 bytes of the image in the writer's room)
 *     block b of a run holds 4, 8, 16, 32 and from then on 64 rows; where the blocks are is in lists of 8, 16, 32, ... offsets
 *
 * Offsets count 8-byte units from the arena's start; 0 is no node. The arena begins with one unused unit, the tables' list heads, their fingers and the hash slots of their runs; rooms and the runs' blocks come after.
 *
 * Memory ordering: a node is filled, then published by a compare-and-swap with release on the link before it, level by level from the bottom. Whoever follows a link loads it with acquire, hence sees the node whole. A node's link at a
 * level is set before the node is reachable at that level. A finger holds, for each level, a node that is linked at that level (or the head); it is stored with release and loaded with acquire, for the same reason. Fingers are hints: several
 * threads may mix their entries, so that each is compared with the key before it is used. Since nodes never go away, an old entry is as good a starting point as it was. */
#ifndef MOTE_ENGINE_LSM_MEMTABLE_PRIVATE_H
#define MOTE_ENGINE_LSM_MEMTABLE_PRIVATE_H

#include "engine/lsm/memtable.h"

enum {
    TOWER_HEIGHT_MAX = 12,  /* one node in four has the next level: good for 16 million nodes */
    FINGER_COUNT_MAX = 256, /* of a table */
    RUN_SLOT_COUNT_MAX = 2048, /* of a table; three quarters of them are used at most */
    RUN_FIRST_ROWS = 4,     /* of a run's first block; the next ones double */
    RUN_BLOCK_ROWS = 64,    /* of the largest */
    RUN_GROWING_BLOCKS = 4, /* smaller ones before it */
    RUN_LIST_FIRST = 8,     /* offsets in the first list of blocks */
    RUN_LIST_COUNT_MAX = 24,
    RUN_KEY_AT = 8,         /* in a row */
    RUN_IMAGE_BYTES_MAX = 512, /* a larger image stays in its room */
    SPARE_COUNT = 6,        /* pieces of rooms that could not be given back */
    NODE_UNIT_BYTES = 8,
};

struct skip_node {
    uint64_t prefix; /* first 8 key bytes, big-endian, padded with zeros: decides most comparisons */
    uint64_t seq;
    const struct schema *schema;
    uint32_t image_bytes;
    uint16_t key_bytes;
    uint8_t kind;
    uint8_t height;
    _Atomic uint32_t next[]; /* [height]; then the key, then (8-byte aligned) the image */
};
_Static_assert(sizeof(struct skip_node) == 32, "memtable_room_bytes counts on it");

/* Where a series' last insert was: at each level the node before the place. One cache line. */
struct series_finger {
    _Atomic uint32_t tag; /* of the series, never 0; 0: unused */
    _Atomic uint32_t before[TOWER_HEIGHT_MAX];
    uint32_t reserved[3];
};
_Static_assert(sizeof(struct series_finger) == 64, "a cache line");

struct skiplist {
    uint8_t *arena;
    struct series_finger *fingers;
    uint32_t finger_count; /* a power of two, or 0 */
    uint32_t head;
    _Atomic uint32_t height; /* of the tallest tower */
    uint32_t reserved;
};

struct memtable {
    _Atomic uint64_t table_key; /* table id + 1; 0: the slot is free */
    _Atomic uint64_t count;
    struct memtable_generation *generation;
    struct skiplist list;      /* rows that are in no run */
    struct skiplist directory; /* the runs: a node's key is the series, its image the struct run */
    _Atomic uint32_t *run_slots; /* hash of a series -> the directory's node; open addressing */
    uint32_t run_slot_count;     /* a power of two, or 0: no runs */
    _Atomic uint32_t run_count;
    _Atomic uint32_t notes; /* place of the last; 0: none */
    uint32_t reserved;
    uint64_t reserved_line[2];
};
_Static_assert(sizeof(struct memtable) == 128, "whole cache lines, so that tables do not disturb each other");

/* Rows of one series, ascending. `owner` is the write (its address) that may place rows; readers load `count` with acquire, which makes the blocks, the lists and the rows below it visible. What a run's rows look like is set before it is
 * in the directory. */
struct run {
    _Atomic uint64_t owner; /* 0: nobody */
    _Atomic uint32_t count; /* rows that readers see */
    uint32_t placed;        /* and those that the owner is filling */
    uint64_t last_tail;     /* first 8 bytes of the last placed key's tail, as a number: decides most comparisons */
    const uint8_t *last_row;
    const struct schema *schema;
    uint32_t row_bytes, key_bytes, image_at, image_bytes; /* image_bytes 0: the row holds its image's offset and size */
    uint32_t lists[RUN_LIST_COUNT_MAX];
};

struct memtable_generation {
    struct memory *memory;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint64_t rooms_at; /* where the rooms begin */
    uint32_t table_slots;
    _Alignas(64) _Atomic uint64_t used; /* end of the last room */
    _Atomic uint64_t spares[SPARE_COUNT]; /* offset in the upper half, size in the lower, in units; 0: none */
    _Alignas(64) struct memtable tables[];
};

/* ---- memtable_note.c ---- */

/* Notes a row that was placed from a room with a note. run NULL: a node. */
void memtable_note_add(const struct memtable *memtable, struct memtable_room *room, const uint8_t *row, const struct run *run);

/* What is searched for or inserted. */
struct skip_target {
    const uint8_t *key;
    uint32_t key_bytes;
    uint64_t prefix;
    uint64_t seq;
};

static inline struct skip_node *node_at(const struct skiplist *list, uint32_t offset) { return (struct skip_node *)(void *)(list->arena + (uint64_t)offset * NODE_UNIT_BYTES); }
/* Where the key begins in the node, and the image. */
static inline uint32_t node_key_at(uint32_t height) { return (uint32_t)sizeof(struct skip_node) + height * (uint32_t)sizeof(uint32_t); }
static inline uint32_t node_image_at(uint32_t height, uint32_t key_bytes) { return (node_key_at(height) + key_bytes + NODE_UNIT_BYTES - 1) & ~(uint32_t)(NODE_UNIT_BYTES - 1); }
static inline const uint8_t *node_key(const struct skip_node *node) { return (const uint8_t *)node + node_key_at(node->height); }

static inline uint64_t key_prefix(const uint8_t *key, uint32_t key_bytes)
{
    if (key_bytes >= 8)
        return load_be64(key);
    uint64_t prefix = 0;
    for (uint32_t i = 0; i < key_bytes; i++)
        prefix |= (uint64_t)key[i] << (56 - 8 * i);
    return prefix;
}
static inline struct skip_target skip_target_make(const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    return (struct skip_target){key, key_bytes, key_prefix(key, key_bytes), seq};
}

/* Spreads the bits of a number over all of it. */
static inline uint64_t mix_bits(uint64_t value)
{
    value *= 0x9E3779B97F4A7C15u;
    value ^= value >> 32;
    value *= 0xD6E8FEB86659FD93u;
    return value ^ value >> 32;
}
static inline uint64_t hash_bytes(const uint8_t *at, uint32_t size_bytes)
{
    uint64_t hash = 0;
    for (; size_bytes > 8; size_bytes -= 8, at += 8)
        hash = mix_bits(hash ^ load_u64(at));
    return size_bytes > 0 ? mix_bits(hash ^ key_prefix(at, size_bytes) ^ size_bytes) : hash;
}

/* Key ascending, seq descending: negative, 0 or positive as a comes before b, is it, or comes after it. */
static inline int target_compare(const struct skip_target *a, const struct skip_target *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    /* Equal prefixes: the first 8 bytes agree, or those of the shorter key do and the longer goes on with zeros. */
    uint32_t shared_bytes = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    int order = shared_bytes > 8 ? memcmp(a->key + 8, b->key + 8, shared_bytes - 8) : 0;
    if (order != 0)
        return order;
    if (a->key_bytes != b->key_bytes)
        return a->key_bytes < b->key_bytes ? -1 : 1;
    return (a->seq < b->seq) - (a->seq > b->seq);
}
static inline struct skip_target node_target(const struct skip_node *node) { return (struct skip_target){node_key(node), node->key_bytes, node->prefix, node->seq}; }
static inline int node_compare(const struct skip_node *node, const struct skip_target *target)
{
    struct skip_target own = node_target(node);
    return target_compare(&own, target);
}

/* Names the series of a key for the fingers: the key without its tail. A key that is all tail, or whose tail varies, is cut in half: far keys are different series then. */
static inline uint32_t series_tag(const struct skip_target *target, uint32_t tail_bytes)
{
    uint32_t series_bytes = tail_bytes != 0 && target->key_bytes > tail_bytes ? target->key_bytes - tail_bytes : target->key_bytes / 2;
    return (uint32_t)(hash_bytes(target->key, series_bytes) >> 16) | 1;
}

/* ---- skiplist.c ---- */

/* Empties the list: its head links to nothing, its fingers forget. */
void skiplist_reset(struct skiplist *list);
/* Links a filled node (all but its links); series_tag, not 0, names its series. */
void skiplist_link(struct skiplist *list, const struct skip_target *target, uint32_t offset, uint32_t series_tag);
/* The last node before the target (the head if none) and the first that is not (0 if none). */
uint32_t skiplist_find(const struct skiplist *list, const struct skip_target *target, uint32_t *at_or_after);
/* The last node, 0 if there is none. */
uint32_t skiplist_last(const struct skiplist *list);

/* ---- runs.c ---- */

void runs_reset(struct memtable *memtable);
/* The place of a row at the end of its series' run, with seq and key filled in: *image is where the image goes (if the run keeps images: run->image_bytes; else 8 bytes for its offset and size). NULL: the row must go to the skiplist. The run
 * belongs to `owner` from then on, until run_publish; *entered is set if it did not before (also when NULL is returned). tail_bytes: the key without its series. */
uint8_t *run_place(struct memtable *memtable, const struct schema *schema, const struct skip_target *target, uint32_t tail_bytes, uint64_t owner, struct run **run, bool *entered);
/* Readers see all placed rows, and other writers may enter. */
void run_publish(struct run *run);

/* A place in the runs of a table; row NULL: beyond the end (or before the beginning). */
struct run_place {
    const uint8_t *row;
    uint32_t run;   /* the directory's node */
    uint32_t index; /* in the run */
};
struct run_place runs_first(const struct memtable *memtable);
struct run_place runs_last(const struct memtable *memtable);
/* The first row at or after the target, and the last before it. */
struct run_place runs_seek(const struct memtable *memtable, const struct skip_target *target);
struct run_place runs_seek_before(const struct memtable *memtable, const struct skip_target *target);
/* The row `distance` (from 1, at most up to the run's end) after a place with a row. */
struct run_place runs_next(const struct memtable *memtable, struct run_place place, uint32_t distance);
/* Rows from the place on that lie side by side, at least the one that is there. */
uint32_t runs_side_by_side(const struct memtable *memtable, struct run_place place);
/* Fetches the rows of the block after the place's into the second-level cache: from block to block the processor sees no order. */
void runs_prefetch_after(const struct memtable *memtable, struct run_place place);
const struct run *run_of(const struct memtable *memtable, struct run_place place);
struct skip_target run_target(const struct run *run, const uint8_t *row);


/* ---- memtable_iterator.c ---- */

/* The record of a row of a run, and of a node. */
void run_row_record(const struct memtable *memtable, const struct run *run, const uint8_t *row, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes);
void node_record(const struct skip_node *node, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes);
bool memtable_iterator_on_run(const struct memtable_iterator *iterator);

#endif
