/* search_list.c: the hits of a search (search_private.h). Keys lie in one piece of memory; what an evicted hit leaves there is given back when half of it is such. Threads: one. Failures: MOTE_EBUDGET. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/search_private.h"

#define KEYS_BYTES_MIN 65536u

static int compare_hits(const struct search_list *list, const struct search_hit *a, const struct search_hit *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return key_compare(list->keys + a->key_at, a->key_bytes, list->keys + b->key_at, b->key_bytes);
}

static void sift_down(struct search_list *list, uint64_t at)
{
    for (;;) {
        uint64_t worst = at;
        for (uint64_t child = 2 * at + 1; child <= 2 * at + 2 && child < list->count; child++)
            if (compare_hits(list, &list->hits[child], &list->hits[worst]) > 0)
                worst = child;
        if (worst == at)
            return;
        struct search_hit hit = list->hits[at];
        list->hits[at] = list->hits[worst];
        list->hits[worst] = hit;
        at = worst;
    }
}

static void sift_up(struct search_list *list, uint64_t at)
{
    while (at > 0 && compare_hits(list, &list->hits[at], &list->hits[(at - 1) / 2]) > 0) {
        struct search_hit hit = list->hits[at];
        list->hits[at] = list->hits[(at - 1) / 2];
        list->hits[(at - 1) / 2] = hit;
        at = (at - 1) / 2;
    }
}

static int out_of_memory(const struct search_list *list)
{
    return error_set(MOTE_EBUDGET, "the search has found %llu rows and there is no memory for more; narrow it, set a limit, or raise memory_bytes", (unsigned long long)list->count);
}

/* Only the keys of present hits stay. */
static int compact_keys(struct search_list *list, uint64_t live_bytes)
{
    uint8_t *keys = memory_alloc(list->memory, 2 * live_bytes + KEYS_BYTES_MIN);
    uint64_t at = 0;
    if (!keys)
        return out_of_memory(list);
    for (uint64_t i = 0; i < list->count; i++) {
        memcpy(keys + at, list->keys + list->hits[i].key_at, list->hits[i].key_bytes);
        list->hits[i].key_at = at;
        at += list->hits[i].key_bytes;
    }
    memory_free(list->memory, list->keys);
    list->keys = keys;
    list->keys_bytes = at;
    list->keys_capacity = 2 * live_bytes + KEYS_BYTES_MIN;
    return MOTE_OK;
}

static int keys_reserve(struct search_list *list, uint32_t key_bytes)
{
    uint64_t live_bytes = 0;
    if (list->keys_capacity - list->keys_bytes >= key_bytes)
        return MOTE_OK;
    for (uint64_t i = 0; list->limit && i < list->count; i++)
        live_bytes += list->hits[i].key_bytes;
    if (list->limit && live_bytes < list->keys_bytes / 2)
        return compact_keys(list, live_bytes + key_bytes);
    uint64_t capacity = list->keys_capacity ? 2 * list->keys_capacity : KEYS_BYTES_MIN;
    uint8_t *keys = memory_realloc(list->memory, list->keys, capacity);
    if (!keys)
        return out_of_memory(list);
    list->keys = keys;
    list->keys_capacity = capacity;
    return MOTE_OK;
}

static int hits_reserve(struct search_list *list)
{
    if (list->count < list->capacity)
        return MOTE_OK;
    uint64_t capacity = list->capacity ? 2 * list->capacity : 64;
    struct search_hit *hits = memory_realloc(list->memory, list->hits, capacity * sizeof *hits);
    if (!hits)
        return out_of_memory(list);
    list->hits = hits;
    list->capacity = capacity;
    return MOTE_OK;
}

int search_list_add(struct search_list *list, double rank, uint64_t segment_id, const uint8_t *key, uint32_t key_bytes)
{
    assert(key_bytes <= MOTE_KEY_BYTES_MAX);
    bool full = list->limit && list->count == list->limit;
    if (full && rank > list->hits[0].rank)
        return MOTE_OK;
    int result = keys_reserve(list, key_bytes);
    if (!result && !full)
        result = hits_reserve(list);
    if (result)
        return result;
    struct search_hit hit = {rank, segment_id, list->keys_bytes, key_bytes};
    memcpy(list->keys + list->keys_bytes, key, key_bytes);
    if (full && compare_hits(list, &hit, &list->hits[0]) >= 0)
        return MOTE_OK;
    list->keys_bytes += key_bytes;
    if (full) {
        list->hits[0] = hit;
        sift_down(list, 0);
        return MOTE_OK;
    }
    list->hits[list->count++] = hit;
    if (list->limit)
        sift_up(list, list->count - 1);
    return MOTE_OK;
}

double search_list_bound(const struct search_list *list) { return list->limit && list->count == list->limit ? list->hits[0].rank : (double)INFINITY; }

void search_list_forget(struct search_list *list, uint64_t segment_id)
{
    uint64_t kept = 0;
    for (uint64_t i = 0; i < list->count; i++)
        if (list->hits[i].segment_id != segment_id)
            list->hits[kept++] = list->hits[i];
    list->count = kept;
    for (uint64_t i = list->limit ? kept / 2 : 0; i-- > 0;)
        sift_down(list, i);
}

static int compare_for_sort(const void *a, const void *b, void *list) { return compare_hits(list, a, b); }

void search_list_sort(struct search_list *list)
{
    if (list->count)
        qsort_r(list->hits, list->count, sizeof *list->hits, compare_for_sort, list);
}

void search_list_free(struct search_list *list)
{
    memory_free(list->memory, list->hits);
    memory_free(list->memory, list->keys);
    list->hits = NULL;
    list->keys = NULL;
    list->count = list->capacity = list->keys_bytes = list->keys_capacity = 0;
}
