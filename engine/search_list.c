/* search_list.c: the hits of a search (search_private.h). Keys, and what of a rank is bytes, lie in one piece of memory; what an evicted hit leaves there is given back when half of it is such. Threads: one. Failures: MOTE_EBUDGET. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/search_private.h"

#define BYTES_MIN 65536u

static const uint8_t *rank_bytes(const struct search_list *list, const struct search_hit *hit) { return list->bytes + hit->key_at - hit->rank_bytes; }

/* Of two keys whose ranks, of so many bytes, are the same. */
static int compare_tied(struct search_list *list, uint32_t rank_bytes, const uint8_t *a, uint32_t a_bytes, const uint8_t *b, uint32_t b_bytes)
{
    int order = 0;
    if (list->order && rank_bytes == list->cut_bytes && !list->failure)
        list->failure = list->order(list->order_context, a, a_bytes, b, b_bytes, &order);
    if (order)
        return order;
    order = key_compare(a, a_bytes, b, b_bytes);
    return list->keys_descending ? -order : order;
}

static int compare_hits(struct search_list *list, const struct search_hit *a, const struct search_hit *b)
{
    if (a->value < b->value || a->value > b->value)
        return a->value < b->value ? -1 : 1;
    int order = a->rank_bytes || b->rank_bytes ? key_compare(rank_bytes(list, a), a->rank_bytes, rank_bytes(list, b), b->rank_bytes) : 0;
    return order ? order : compare_tied(list, a->rank_bytes, list->bytes + a->key_at, a->key_bytes, list->bytes + b->key_at, b->key_bytes);
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

/* Only the bytes of present hits stay. */
static int compact_bytes(struct search_list *list, uint64_t live_bytes)
{
    uint8_t *bytes = memory_alloc(list->memory, 2 * live_bytes + BYTES_MIN);
    uint64_t at = 0;
    if (!bytes)
        return out_of_memory(list);
    for (uint64_t i = 0; i < list->count; i++) {
        struct search_hit *hit = &list->hits[i];
        memcpy(bytes + at, rank_bytes(list, hit), hit->rank_bytes + hit->key_bytes);
        hit->key_at = at + hit->rank_bytes;
        at += hit->rank_bytes + hit->key_bytes;
    }
    memory_free(list->memory, list->bytes);
    list->bytes = bytes;
    list->bytes_used = at;
    list->bytes_capacity = 2 * live_bytes + BYTES_MIN;
    return MOTE_OK;
}

static int bytes_reserve(struct search_list *list, uint32_t more_bytes)
{
    uint64_t live_bytes = 0;
    if (list->bytes_capacity - list->bytes_used >= more_bytes)
        return MOTE_OK;
    for (uint64_t i = 0; list->limit && i < list->count; i++)
        live_bytes += list->hits[i].rank_bytes + list->hits[i].key_bytes;
    if (list->limit && live_bytes < list->bytes_used / 2)
        return compact_bytes(list, live_bytes + more_bytes);
    uint64_t capacity = list->bytes_capacity ? 2 * list->bytes_capacity : BYTES_MIN;
    uint8_t *bytes = memory_realloc(list->memory, list->bytes, capacity);
    if (!bytes)
        return out_of_memory(list);
    list->bytes = bytes;
    list->bytes_capacity = capacity;
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

bool search_list_wants(struct search_list *list, const struct search_rank *rank, const uint8_t *key, uint32_t key_bytes)
{
    if (!list->limit || list->count < list->limit)
        return true;
    const struct search_hit *last = &list->hits[0];
    if (rank->value < last->value || rank->value > last->value)
        return rank->value < last->value;
    int order = key_compare(rank->bytes, rank->byte_count, rank_bytes(list, last), last->rank_bytes);
    if (order || !key)
        return order <= 0;
    return compare_tied(list, rank->byte_count, key, key_bytes, list->bytes + last->key_at, last->key_bytes) < 0;
}

int search_list_add(struct search_list *list, const struct search_rank *rank, uint64_t segment_id, const uint8_t *key, uint32_t key_bytes)
{
    assert(key_bytes <= MOTE_KEY_BYTES_MAX && rank->byte_count <= SEARCH_RANK_BYTES_MAX);
    bool full = list->limit && list->count == list->limit;
    if (!search_list_wants(list, rank, key, key_bytes))
        return list->failure;
    int result = bytes_reserve(list, rank->byte_count + key_bytes);
    if (!result && !full)
        result = hits_reserve(list);
    if (result)
        return result;
    struct search_hit hit = {rank->value, segment_id, list->bytes_used + rank->byte_count, key_bytes, rank->byte_count};
    memcpy(list->bytes + list->bytes_used, rank->bytes, rank->byte_count);
    memcpy(list->bytes + hit.key_at, key, key_bytes);
    list->bytes_used += rank->byte_count + key_bytes;
    if (full) {
        list->hits[0] = hit;
        sift_down(list, 0);
        return list->failure;
    }
    list->hits[list->count++] = hit;
    if (list->limit)
        sift_up(list, list->count - 1);
    return list->failure;
}

double search_list_bound(const struct search_list *list) { return list->limit && list->count == list->limit ? list->hits[0].value : (double)INFINITY; }

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

int search_list_sort(struct search_list *list)
{
    if (list->count)
        qsort_r(list->hits, list->count, sizeof *list->hits, compare_for_sort, list);
    return list->failure;
}

void search_list_free(struct search_list *list)
{
    memory_free(list->memory, list->hits);
    memory_free(list->memory, list->bytes);
    list->hits = NULL;
    list->bytes = NULL;
    list->count = list->capacity = list->bytes_used = list->bytes_capacity = 0;
}
