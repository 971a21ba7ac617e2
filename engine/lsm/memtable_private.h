/* memtable_private.h: the insides of a generation, shared by memtable.c (arena, tables, inserts), memtable_iterator.c, runs.c (rows that arrive in order) and skiplist.c (all others).
 *
 * A row whose key lies above all earlier ones of its series is put at the end of the series' run: an array of offsets that grows by doubling blocks. Late rows, repeated keys, keys without a fixed tail, and whatever finds the run taken by
 * another writer or the arena full go into the skiplist. Each run is strictly ascending; two series differ in their keys' first bytes, so that runs never overlap, and a second skiplist, the directory, orders them. Both together are the
 * table's rows; iterators merge the two.
 *
 * Offsets count 8-byte units from the arena's start; 0 is no node. The arena begins with one unused unit, the tables' list heads, their fingers and the hash slots of their runs; rooms come after.
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
    RUN_FIRST_COUNT = 8,
    RUN_BLOCK_COUNT_MAX = 24,
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
    uint64_t reserved_line[3];
};
_Static_assert(sizeof(struct memtable) == 128, "whole cache lines, so that tables do not disturb each other");

/* Rows of one series, ascending. Block b holds RUN_FIRST_COUNT << b offsets of nodes (of height 0). Writers hold the lock; readers load count with acquire, which makes blocks, offsets and nodes below it visible. */
struct run {
    _Atomic uint32_t locked;
    _Atomic uint32_t count;
    uint64_t last_tail; /* first 8 bytes of the last key's tail, as a number: decides most comparisons */
    uint32_t blocks[RUN_BLOCK_COUNT_MAX];
};

struct memtable_generation {
    struct memory *memory;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint64_t rooms_at; /* where the rooms begin */
    uint32_t table_slots;
    _Alignas(64) _Atomic uint64_t used; /* end of the last room */
    _Alignas(64) struct memtable tables[];
};

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

/* Key ascending, seq descending: negative, 0 or positive as the node comes before the target, is it, or comes after it. */
static inline int node_compare(const struct skip_node *node, const struct skip_target *target)
{
    if (node->prefix != target->prefix)
        return node->prefix < target->prefix ? -1 : 1;
    /* Equal prefixes: the first 8 bytes agree, or those of the shorter key do and the longer goes on with zeros. */
    uint32_t key_bytes = node->key_bytes;
    uint32_t shared_bytes = key_bytes < target->key_bytes ? key_bytes : target->key_bytes;
    int order = shared_bytes > 8 ? memcmp(node_key(node) + 8, target->key + 8, shared_bytes - 8) : 0;
    if (order != 0)
        return order;
    if (key_bytes != target->key_bytes)
        return key_bytes < target->key_bytes ? -1 : 1;
    return (node->seq < target->seq) - (node->seq > target->seq);
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
/* The run of the key's series, locked, when the key lies above its last one and there is room for one offset more: run_append must follow. Else NULL. tail_bytes: the key without its series. */
struct run *run_enter(struct memtable *memtable, const struct skip_target *target, uint32_t tail_bytes);
/* Puts a filled node at the run's end, where readers see it, and lets go of the run. */
void run_append(struct memtable *memtable, struct run *run, const struct skip_target *target, uint32_t tail_bytes, uint32_t offset);

/* A place in the runs of a table; node 0: beyond the end (or before the beginning). */
struct run_place {
    uint32_t run;   /* the directory's node */
    uint32_t index; /* in the run */
    uint32_t node;
};
struct run_place runs_first(const struct memtable *memtable);
struct run_place runs_last(const struct memtable *memtable);
/* The first row at or after the target, and the last before it. */
struct run_place runs_seek(const struct memtable *memtable, const struct skip_target *target);
struct run_place runs_seek_before(const struct memtable *memtable, const struct skip_target *target);
/* The next row after a place with a node; those that follow are fetched ahead. */
struct run_place runs_next(const struct memtable *memtable, struct run_place place);

#endif
