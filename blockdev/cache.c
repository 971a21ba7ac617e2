/* cache.c: see cache.h. The region is split into shards, each with its mutex, its pages, its hash table and its CLOCK hand. An entry is a run of pages of one shard; its descriptor is that of its first page.
 *
 * A miss takes a run first: the hand walks over the pages and gathers neighbours that are free or neither pinned nor used since it last passed; when they
 * are enough it evicts what they hold. So there is no free list and no fragmentation that the hand does not sweep up. Then the range is read and checked without the lock, and only
 * a good one enters the hash table: nobody ever sees an unchecked byte.
 *
 * Invariants: a page belongs to at most one entry; an entry with pins is never evicted nor overwritten; an entry is in the hash table if and only if its state is CACHED.
 * Threads: any. Lock order: one shard at a time. */
#include "blockdev/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"

#define SHARDS_MAX 16u
#define SHARD_BYTES_MIN (4u * MIB_BYTES)
#define NONE UINT32_MAX

enum page_state {
    PAGE_FREE,
    PAGE_INSIDE, /* of the entry whose first page is before it */
    PAGE_FILLING,
    PAGE_CACHED,
    PAGE_FORGOTTEN, /* no longer to be found; free at its release */
};

/* One for each page; all but state counts for the first page of an entry only. */
struct cache_entry {
    struct cache_key key;
    uint32_t page_count;
    uint32_t pin_count;
    uint32_t hash_next; /* page in the shard, or NONE */
    uint32_t length_bytes;
    uint16_t head_bytes; /* from the first page's start to the first byte asked for */
    uint8_t state;       /* enum page_state */
    uint8_t used;        /* since the hand last passed */
};

struct shard {
    pthread_mutex_t lock;
    uint8_t *region;
    struct cache_entry *pages;
    uint32_t page_count, hand;
    uint32_t entry_count, entries_max;
    uint32_t *buckets;
    _Atomic uint64_t hits, misses, evictions;
} __attribute__((aligned(64)));

struct cache {
    struct memory *memory;
    uint32_t shard_count, pages_per_shard;
    uint32_t bucket_count; /* of a shard, a power of two */
    struct cache_entry *pages;
    uint32_t *buckets;
    struct shard shards[];
};

/* Mixes both words of the key (the finaliser of splitmix64). */
static uint64_t hash_key(struct cache_key key)
{
    uint64_t z = key.segment_id * 0x9E3779B97F4A7C15u + key.offset_bytes;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static struct shard *shard_of_key(struct cache *cache, uint64_t hash) { return &cache->shards[(hash >> 40) & (cache->shard_count - 1)]; }
static uint32_t *bucket_of(const struct cache *cache, struct shard *shard, uint64_t hash) { return &shard->buckets[hash & (cache->bucket_count - 1)]; }
static bool same_key(struct cache_key a, struct cache_key b) { return a.segment_id == b.segment_id && a.offset_bytes == b.offset_bytes; }
static uint32_t page_of(const struct shard *shard, const struct cache_entry *entry) { return (uint32_t)(entry - shard->pages); }
static void count_one(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* ---- Life ---- */

static void init_shards(struct cache *cache, uint8_t *region, uint32_t entries_max)
{
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        shard->region = region + (size_t)i * cache->pages_per_shard * PAGE_BYTES;
        shard->pages = cache->pages + (size_t)i * cache->pages_per_shard;
        shard->page_count = cache->pages_per_shard;
        shard->buckets = cache->buckets + (size_t)i * cache->bucket_count;
        shard->entries_max = entries_max / cache->shard_count > 0 ? entries_max / cache->shard_count : 1;
        for (uint32_t bucket = 0; bucket < cache->bucket_count; bucket++)
            shard->buckets[bucket] = NONE;
    }
}

int cache_create(struct memory *memory, void *region, uint64_t region_bytes, uint32_t entries_max, struct cache **cache)
{
    uint32_t shard_count = 1;
    assert((uintptr_t)region % PAGE_BYTES == 0);
    if (region_bytes < PAGE_BYTES || entries_max == 0 || region_bytes / PAGE_BYTES >= NONE)
        return error_set(MOTE_EINVAL, "a cache of %llu bytes for %u entries cannot be made", (unsigned long long)region_bytes, entries_max);
    while (shard_count < SHARDS_MAX && region_bytes / (shard_count * 2) >= SHARD_BYTES_MIN)
        shard_count *= 2;
    struct cache *made = memory_alloc_aligned(memory, sizeof *made + shard_count * sizeof made->shards[0], 64);
    if (!made)
        return MOTE_EBUDGET;
    memset(made, 0, sizeof *made + shard_count * sizeof made->shards[0]);
    made->memory = memory;
    made->shard_count = shard_count;
    made->pages_per_shard = (uint32_t)(region_bytes / PAGE_BYTES / shard_count);
    made->bucket_count = 1;
    while (made->bucket_count < made->pages_per_shard / 2 && made->bucket_count < entries_max / shard_count)
        made->bucket_count *= 2;
    made->pages = memory_alloc_zero(memory, (size_t)made->pages_per_shard * shard_count * sizeof *made->pages);
    made->buckets = memory_alloc(memory, (size_t)made->bucket_count * shard_count * sizeof *made->buckets);
    if (!made->pages || !made->buckets) {
        memory_free(memory, made->pages);
        memory_free(memory, made->buckets);
        memory_free(memory, made);
        return MOTE_EBUDGET;
    }
    init_shards(made, region, entries_max);
    *cache = made;
    return MOTE_OK;
}

void cache_destroy(struct cache *cache)
{
    if (!cache)
        return;
    for (uint32_t i = 0; i < cache->shard_count; i++)
        pthread_mutex_destroy(&cache->shards[i].lock);
    memory_free(cache->memory, cache->pages);
    memory_free(cache->memory, cache->buckets);
    memory_free(cache->memory, cache);
}

/* ---- The hash table; the shard's lock is held ---- */

static struct cache_entry *find_entry(const struct cache *cache, struct shard *shard, struct cache_key key, uint64_t hash)
{
    for (uint32_t at = *bucket_of(cache, shard, hash); at != NONE; at = shard->pages[at].hash_next) {
        if (same_key(shard->pages[at].key, key))
            return &shard->pages[at];
    }
    return NULL;
}

static void unlink_entry(const struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    uint32_t *link = bucket_of(cache, shard, hash_key(entry->key)), page = page_of(shard, entry);
    while (*link != page) {
        assert(*link != NONE);
        link = &shard->pages[*link].hash_next;
    }
    *link = entry->hash_next;
    entry->state = PAGE_FORGOTTEN;
}

/* ---- Runs of pages; the shard's lock is held ---- */

static void free_entry(struct shard *shard, struct cache_entry *entry)
{
    assert(entry->pin_count == 0 && entry->state != PAGE_CACHED);
    for (uint32_t i = 0, count = entry->page_count; i < count; i++)
        entry[i].state = PAGE_FREE;
    shard->entry_count--;
}

/* Not to be found any more; its pages are free now, or when its last pin goes. */
static void forget_entry(const struct cache *cache, struct shard *shard, struct cache_entry *entry)
{
    unlink_entry(cache, shard, entry);
    if (entry->pin_count == 0)
        free_entry(shard, entry);
}

static bool may_evict(struct cache_entry *entry)
{
    if (entry->pin_count > 0)
        return false;
    bool used = entry->used;
    entry->used = 0;
    return !used;
}

static void evict(const struct cache *cache, struct shard *shard, uint32_t from, uint32_t end)
{
    for (uint32_t at = from; at < end;) {
        struct cache_entry *entry = &shard->pages[at];
        at += entry->state == PAGE_FREE ? 1 : entry->page_count;
        if (entry->state != PAGE_FREE) {
            forget_entry(cache, shard, entry);
            count_one(&shard->evictions);
        }
    }
}

/* The hand goes round until it has gathered page_count neighbours (or, with page_count 0, one entry), and evicts them. Returns the first, or NONE. */
static uint32_t gather(const struct cache *cache, struct shard *shard, uint32_t page_count)
{
    uint32_t start = shard->hand;
    /* One round takes away what was used since the last, one finds room, and a part of a third makes up for the shard's end. */
    for (uint64_t walked = 0; walked < 3ull * shard->page_count;) {
        if (shard->hand >= shard->page_count) {
            shard->hand = 0;
            start = 0;
        }
        struct cache_entry *entry = &shard->pages[shard->hand];
        bool is_free = entry->state == PAGE_FREE;
        uint32_t step = is_free ? 1 : entry->page_count;
        bool gathered = is_free || may_evict(entry);
        shard->hand += step;
        walked += step;
        if (!gathered)
            start = shard->hand;
        else if (page_count > 0 ? shard->hand - start >= page_count : !is_free) {
            evict(cache, shard, page_count > 0 ? start : shard->hand - step, shard->hand);
            if (page_count > 0)
                shard->hand = start + page_count;
            return start;
        }
    }
    return NONE;
}

/* A run for a range, pinned, FILLING. NULL if everything is pinned. */
static struct cache_entry *take_run(const struct cache *cache, struct shard *shard, uint32_t page_count)
{
    if (page_count > shard->page_count)
        return NULL;
    if (shard->entry_count >= shard->entries_max && gather(cache, shard, 0) == NONE)
        return NULL;
    uint32_t first = gather(cache, shard, page_count);
    if (first == NONE)
        return NULL;
    struct cache_entry *entry = &shard->pages[first];
    *entry = (struct cache_entry){.page_count = page_count, .pin_count = 1, .hash_next = NONE, .state = PAGE_FILLING};
    for (uint32_t i = 1; i < page_count; i++)
        entry[i].state = PAGE_INSIDE;
    shard->entry_count++;
    return entry;
}

/* ---- Get and release ---- */

static const uint8_t *data_of(const struct shard *shard, const struct cache_entry *entry)
{
    return shard->region + (size_t)page_of(shard, entry) * PAGE_BYTES + entry->head_bytes;
}

/* A cached entry that holds the range, pinned, or NULL. The lock is held. */
static struct cache_entry *pin_cached(const struct cache *cache, struct shard *shard, struct cache_key key, uint64_t hash, uint32_t length_bytes)
{
    struct cache_entry *entry = find_entry(cache, shard, key, hash);
    if (!entry || entry->length_bytes < length_bytes)
        return NULL;
    entry->pin_count++;
    entry->used = 1;
    return entry;
}

/* Makes a filled entry findable, unless another thread was faster: then that one's is taken. The lock is held. */
static struct cache_entry *publish(const struct cache *cache, struct shard *shard, struct cache_entry *entry, uint64_t hash)
{
    struct cache_entry *other = pin_cached(cache, shard, entry->key, hash, entry->length_bytes);
    if (other) {
        entry->pin_count = 0;
        free_entry(shard, entry);
        return other;
    }
    other = find_entry(cache, shard, entry->key, hash);
    if (other) /* a shorter range of the same key */
        forget_entry(cache, shard, other);
    uint32_t *bucket = bucket_of(cache, shard, hash);
    entry->hash_next = *bucket;
    entry->state = PAGE_CACHED;
    *bucket = page_of(shard, entry);
    return entry;
}

static struct cache_entry *start_miss(const struct cache *cache, struct shard *shard, uint64_t bytes)
{
    count_one(&shard->misses);
    struct cache_entry *entry = take_run(cache, shard, (uint32_t)divide_up(bytes, PAGE_BYTES));
    if (!entry)
        error_set(MOTE_EBUDGET, "the block cache has no room for %llu bytes: everything is in use; raise cache_bytes or close cursors", (unsigned long long)bytes);
    return entry;
}

int cache_get(struct cache *cache, struct cache_key key, struct blockdev_queue *queue, uint64_t device_offset_bytes, uint32_t length_bytes,
              int (*check)(const uint8_t *data, uint32_t length_bytes, void *context), void *context, struct cache_entry **entry, const uint8_t **data)
{
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of_key(cache, hash);
    assert(length_bytes > 0);
    pthread_mutex_lock(&shard->lock);
    struct cache_entry *got = pin_cached(cache, shard, key, hash, length_bytes);
    if (got) {
        count_one(&shard->hits);
        pthread_mutex_unlock(&shard->lock);
        *entry = got;
        *data = data_of(shard, got);
        return MOTE_OK;
    }
    uint32_t block_bytes = blockdev_geometry(blockdev_queue_device(queue))->logical_block_bytes;
    uint64_t from_bytes = round_down(device_offset_bytes, block_bytes);
    uint64_t size_bytes = round_up(device_offset_bytes + length_bytes, block_bytes) - from_bytes;
    got = start_miss(cache, shard, size_bytes);
    pthread_mutex_unlock(&shard->lock);
    if (!got)
        return MOTE_EBUDGET;
    got->key = key; /* the entry is this thread's alone until it is published */
    got->length_bytes = length_bytes;
    got->head_bytes = (uint16_t)(device_offset_bytes - from_bytes);
    uint8_t *pages = shard->region + (size_t)page_of(shard, got) * PAGE_BYTES;
    int result = blockdev_read_range(queue, from_bytes, pages, size_bytes);
    if (result == MOTE_OK && check)
        result = check(pages + got->head_bytes, length_bytes, context);
    pthread_mutex_lock(&shard->lock);
    if (result == MOTE_OK) {
        got = publish(cache, shard, got, hash);
    } else {
        got->pin_count = 0;
        free_entry(shard, got);
    }
    pthread_mutex_unlock(&shard->lock);
    if (result == MOTE_OK) {
        *entry = got;
        *data = data_of(shard, got);
    }
    return result;
}

bool cache_try(struct cache *cache, struct cache_key key, uint32_t length_bytes, struct cache_entry **entry, const uint8_t **data)
{
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of_key(cache, hash);
    pthread_mutex_lock(&shard->lock);
    struct cache_entry *got = pin_cached(cache, shard, key, hash, length_bytes);
    pthread_mutex_unlock(&shard->lock);
    if (!got)
        return false;
    *entry = got;
    *data = data_of(shard, got);
    return true;
}

int cache_fill_begin(struct cache *cache, struct cache_key key, uint32_t logical_block_bytes, uint64_t device_offset_bytes, uint32_t length_bytes, struct cache_fill *fill)
{
    uint64_t hash = hash_key(key), from_bytes = round_down(device_offset_bytes, logical_block_bytes);
    uint64_t size_bytes = round_up(device_offset_bytes + length_bytes, logical_block_bytes) - from_bytes;
    struct shard *shard = shard_of_key(cache, hash);
    assert(length_bytes > 0);
    pthread_mutex_lock(&shard->lock);
    struct cache_entry *got = pin_cached(cache, shard, key, hash, length_bytes);
    bool cached = got != NULL;
    if (cached)
        got->pin_count--;
    else
        got = take_run(cache, shard, (uint32_t)divide_up(size_bytes, PAGE_BYTES));
    if (got && !cached)
        count_one(&shard->misses);
    pthread_mutex_unlock(&shard->lock);
    if (!got || cached)
        return got ? 0 : MOTE_EBUDGET;
    got->key = key;
    got->length_bytes = length_bytes;
    got->head_bytes = (uint16_t)(device_offset_bytes - from_bytes);
    uint8_t *pages = shard->region + (size_t)page_of(shard, got) * PAGE_BYTES;
    *fill = (struct cache_fill){.entry = got, .buffer = pages, .data = pages + got->head_bytes, .from_bytes = from_bytes, .size_bytes = size_bytes};
    return 1;
}

void cache_fill_end(struct cache *cache, struct cache_fill *fill, bool good)
{
    struct cache_entry *entry = fill->entry;
    struct shard *shard = &cache->shards[(size_t)(entry - cache->pages) / cache->pages_per_shard];
    pthread_mutex_lock(&shard->lock);
    assert(entry->state == PAGE_FILLING && entry->pin_count == 1);
    if (good) {
        entry = publish(cache, shard, entry, hash_key(entry->key));
        entry->used = 1; /* It was read for somebody who comes for it soon. */
        entry->pin_count--;
    } else {
        entry->pin_count = 0;
        free_entry(shard, entry);
    }
    pthread_mutex_unlock(&shard->lock);
    fill->entry = NULL;
}

void cache_release(struct cache *cache, struct cache_entry *entry)
{
    struct shard *shard = &cache->shards[(size_t)(entry - cache->pages) / cache->pages_per_shard];
    pthread_mutex_lock(&shard->lock);
    assert(entry->pin_count > 0);
    if (--entry->pin_count == 0 && entry->state == PAGE_FORGOTTEN)
        free_entry(shard, entry);
    pthread_mutex_unlock(&shard->lock);
}

void cache_forget_segment(struct cache *cache, uint64_t segment_id)
{
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (uint32_t at = 0; at < shard->page_count;) {
            struct cache_entry *entry = &shard->pages[at];
            at += entry->state == PAGE_FREE ? 1 : entry->page_count;
            if (entry->state == PAGE_CACHED && entry->key.segment_id == segment_id)
                forget_entry(cache, shard, entry);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

void cache_get_counters(const struct cache *cache, struct cache_counters *counters)
{
    *counters = (struct cache_counters){0};
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        counters->hits += atomic_load_explicit(&cache->shards[i].hits, memory_order_relaxed);
        counters->misses += atomic_load_explicit(&cache->shards[i].misses, memory_order_relaxed);
        counters->evictions += atomic_load_explicit(&cache->shards[i].evictions, memory_order_relaxed);
    }
}
