/* vector_set.c: what a search of a vector index remembers: sets of node numbers, and hits in order of distance (vector_private.h).
 *
 * Invariants: a set is at most half full; a pool ascends. Threads: one. Failures: MOTE_EBUDGET; what was there stays.
 */
#include "blockdev/base/memory.h"
#include "index/vector_private.h"

enum { SLOTS_FIRST = 2048, HITS_FIRST = 64 };

static uint64_t slot_of(const struct vector_set *set, uint32_t node)
{
    uint64_t slot = (node * 0x9e3779b97f4a7c15ull >> 32) & (set->capacity - 1);
    while (set->slots[slot] != UINT32_MAX && set->slots[slot] != node)
        slot = (slot + 1) & (set->capacity - 1);
    return slot;
}

static int grow_set(struct vector_set *set)
{
    struct vector_set grown = {.memory = set->memory, .capacity = set->capacity ? set->capacity * 2 : SLOTS_FIRST, .count = set->count};
    grown.slots = memory_alloc(set->memory, grown.capacity * sizeof *grown.slots);
    if (!grown.slots)
        return MOTE_EBUDGET;
    memset(grown.slots, 0xff, grown.capacity * sizeof *grown.slots);
    for (uint64_t i = 0; i < set->capacity; i++)
        if (set->slots[i] != UINT32_MAX)
            grown.slots[slot_of(&grown, set->slots[i])] = set->slots[i];
    memory_free(set->memory, set->slots);
    *set = grown;
    return MOTE_OK;
}

int vector_set_add(struct vector_set *set, uint32_t node)
{
    if (set->count * 2 >= set->capacity) {
        int result = grow_set(set);
        if (result)
            return result;
    }
    uint64_t slot = slot_of(set, node);
    if (set->slots[slot] == node)
        return 0;
    set->slots[slot] = node;
    set->count++;
    return 1;
}

bool vector_set_has(const struct vector_set *set, uint32_t node) { return set->count > 0 && set->slots[slot_of(set, node)] == node; }

void vector_set_free(struct vector_set *set) { memory_free(set->memory, set->slots); }

int vector_pool_add(struct vector_pool *pool, const struct vector_hit *hit)
{
    if (pool->count == pool->capacity) {
        uint32_t capacity = pool->capacity ? pool->capacity * 2 : HITS_FIRST;
        struct vector_hit *grown = memory_realloc(pool->memory, pool->hits, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        pool->hits = grown;
        pool->capacity = capacity;
    }
    uint32_t low = pool->taken, high = pool->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (vector_hit_below(&pool->hits[middle], hit))
            low = middle + 1;
        else
            high = middle;
    }
    memmove(&pool->hits[low + 1], &pool->hits[low], (pool->count - low) * sizeof *pool->hits);
    pool->hits[low] = *hit;
    pool->count++;
    return MOTE_OK;
}

void vector_pool_free(struct vector_pool *pool) { memory_free(pool->memory, pool->hits); }
