/* memtable_private.h: the insides of a generation, shared by memtable.c (arena, tables, iterators) and skiplist.c (the lists).
 *
 * Offsets count 8-byte units from the arena's start; 0 is no node. The arena begins with one unused unit, the tables' list heads and their fingers; rooms come after.
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

struct memtable {
    _Atomic uint64_t table_key; /* table id + 1; 0: the slot is free */
    uint8_t *arena;
    struct series_finger *fingers;
    uint32_t finger_count; /* a power of two, or 0 */
    uint32_t head;
    _Atomic uint32_t height; /* of the tallest tower */
    uint32_t reserved;
    _Atomic uint64_t count;
    uint64_t reserved_line[2];
};
_Static_assert(sizeof(struct memtable) == 64, "a cache line, so that tables do not disturb each other");

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

static inline struct skip_node *node_at(const struct memtable *memtable, uint32_t offset)
{
    return (struct skip_node *)(void *)(memtable->arena + (uint64_t)offset * NODE_UNIT_BYTES);
}
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

/* Empties the list: its head links to nothing, its fingers forget. */
void skiplist_reset(struct memtable *memtable);
/* Links a filled node (all but its links); series_tag names its series. */
void skiplist_link(struct memtable *memtable, const struct skip_target *target, uint32_t offset, uint32_t series_tag);
/* The last node before the target (the head if none) and the first that is not (0 if none). */
uint32_t skiplist_find(const struct memtable *memtable, const struct skip_target *target, uint32_t *at_or_after);
/* The last node, 0 if there is none. */
uint32_t skiplist_last(const struct memtable *memtable);

#endif
