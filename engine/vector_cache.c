/* vector_cache.c: open vector indexes (vector_cache.h).
 *
 * Invariants: an entry in use is not closed; what its index takes is counted before it is opened, so that threads that open at once stay within the share together. The index of an entry has no source of its own: each lease brings one.
 * Threads: one mutex, not held while a section is read. Failures: as stated there.
 */
#include "engine/vector_cache.h"

#define BUDGET_SHARE 8u
#define ENTRIES_MAX 512u
#define RECENT_TICKS 4u /* what was used within so many times the number of entries does not make way for the codes of another */

struct vector_cache_entry {
    uint64_t segment_id, section_id, used, bytes;
    struct vector_index *index; /* NULL: the entry is unused */
    uint32_t leases;
};

struct vector_cache {
    struct mote_db *db;
    pthread_mutex_t mutex;
    uint64_t share_bytes, bytes, tick;
    uint32_t count;
    struct vector_cache_entry entries[ENTRIES_MAX];
};

int vector_cache_create(struct mote_db *db, struct vector_cache **cache)
{
    struct vector_cache *made = memory_alloc_zero(db->memory, sizeof *made);
    *cache = made;
    if (!made)
        return MOTE_EBUDGET;
    made->db = db;
    made->share_bytes = memory_budget_bytes(db->memory) / BUDGET_SHARE;
    pthread_mutex_init(&made->mutex, NULL);
    return MOTE_OK;
}

static void close_entry(struct vector_cache *cache, struct vector_cache_entry *entry)
{
    assert(entry->index && entry->leases == 0 && cache->bytes >= entry->bytes);
    vector_close(entry->index);
    cache->bytes -= entry->bytes;
    cache->count--;
    *entry = (struct vector_cache_entry){0};
}

void vector_cache_destroy(struct vector_cache *cache)
{
    if (!cache)
        return;
    vector_cache_drop_idle(cache);
    assert(cache->count == 0 && cache->bytes == 0);
    pthread_mutex_destroy(&cache->mutex);
    memory_free(cache->db->memory, cache);
}

void vector_cache_drop_idle(struct vector_cache *cache)
{
    if (!cache)
        return;
    pthread_mutex_lock(&cache->mutex);
    for (uint32_t i = 0; i < ENTRIES_MAX; i++)
        if (cache->entries[i].index && cache->entries[i].leases == 0)
            close_entry(cache, &cache->entries[i]);
    pthread_mutex_unlock(&cache->mutex);
}

uint64_t vector_cache_bytes(struct vector_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    uint64_t bytes = cache->bytes;
    pthread_mutex_unlock(&cache->mutex);
    return bytes;
}

static bool is_of(const struct version *version, const struct vector_cache_entry *entry)
{
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment *segment = version->lists[t]->segments[s];
            for (uint32_t i = 0; segment->record.id == entry->segment_id && i < segment->index_count; i++)
                if (segment->indexes[i].section.section_id == entry->section_id)
                    return true;
        }
    return false;
}

void vector_cache_sweep(struct vector_cache *cache)
{
    struct version *version = version_acquire(cache->db->manifest);
    pthread_mutex_lock(&cache->mutex);
    for (uint32_t i = 0; i < ENTRIES_MAX && cache->count > 0; i++)
        if (cache->entries[i].index && cache->entries[i].leases == 0 && !is_of(version, &cache->entries[i]))
            close_entry(cache, &cache->entries[i]);
    pthread_mutex_unlock(&cache->mutex);
    version_release(cache->db->manifest, version);
}

static struct vector_cache_entry *find_entry(struct vector_cache *cache, const struct section_identity *identity)
{
    for (uint32_t i = 0; i < ENTRIES_MAX; i++)
        if (cache->entries[i].index && cache->entries[i].segment_id == identity->segment_id && cache->entries[i].section_id == identity->section_id)
            return &cache->entries[i];
    return NULL;
}

/* The one that was not used for longest, and not within recent_ticks. */
static struct vector_cache_entry *find_oldest(struct vector_cache *cache, uint64_t recent_ticks)
{
    struct vector_cache_entry *oldest = NULL;
    for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
        struct vector_cache_entry *entry = &cache->entries[i];
        if (entry->index && entry->leases == 0 && cache->tick - entry->used >= recent_ticks && (!oldest || entry->used < oldest->used))
            oldest = entry;
    }
    return oldest;
}

/* Makes room for so many bytes, if it can be done so; then they are counted. */
static bool make_room(struct vector_cache *cache, uint64_t bytes, uint64_t recent_ticks)
{
    struct vector_cache_entry *oldest;
    while (bytes <= cache->share_bytes && cache->bytes > cache->share_bytes - bytes && (oldest = find_oldest(cache, recent_ticks)))
        close_entry(cache, oldest);
    bool fits = bytes <= cache->share_bytes && cache->bytes <= cache->share_bytes - bytes;
    cache->bytes += fits ? bytes : 0;
    return fits;
}

/* With the codes, if they have room; else without. 0: for neither is there room, and the index is nobody's but the caller's. */
static uint64_t count_bytes(struct vector_cache *cache, const struct vector_facts *facts, bool *with_codes)
{
    uint64_t small = facts->resident_bytes - facts->codes_bytes;
    pthread_mutex_lock(&cache->mutex);
    *with_codes = make_room(cache, facts->resident_bytes, (uint64_t)cache->count * RECENT_TICKS + 1);
    uint64_t bytes = *with_codes ? facts->resident_bytes : make_room(cache, small, 0) ? small : 0;
    pthread_mutex_unlock(&cache->mutex);
    return bytes;
}

static int open_index(struct vector_cache *cache, const struct vector_section *section, bool with_codes, struct vector_index **index)
{
    int result = vector_open(section, with_codes ? UINT64_MAX : 0, index);
    if (result != MOTE_EBUDGET)
        return result;
    vector_cache_drop_idle(cache);
    return vector_open(section, 0, index);
}

/* Puts an opened index among the entries, unless another thread was faster: then its entry is used. NULL: there is no place. */
static struct vector_cache_entry *enter(struct vector_cache *cache, const struct section_identity *identity, uint64_t bytes, struct vector_index *index)
{
    struct vector_cache_entry *entry = find_entry(cache, identity);
    if (entry) {
        entry->leases++;
        return entry;
    }
    for (uint32_t i = 0; i < ENTRIES_MAX && !entry; i++)
        entry = cache->entries[i].index ? NULL : &cache->entries[i];
    if (entry) {
        *entry = (struct vector_cache_entry){.segment_id = identity->segment_id, .section_id = identity->section_id, .used = ++cache->tick, .bytes = bytes, .index = index, .leases = 1};
        cache->count++;
    }
    return entry;
}

static int open_anew(struct vector_cache *cache, struct vector_lease *lease)
{
    struct vector_facts facts;
    bool with_codes;
    vector_cache_sweep(cache);
    int result = vector_peek(&lease->section, &facts);
    if (result)
        return result;
    uint64_t bytes = count_bytes(cache, &facts, &with_codes);
    result = open_index(cache, &lease->section, with_codes, &lease->index);
    struct vector_cache_entry *entry = NULL;
    pthread_mutex_lock(&cache->mutex);
    if (!result && bytes)
        entry = enter(cache, lease->section.identity, bytes, lease->index);
    bool entered = entry && entry->index == lease->index;
    if (!entered)
        cache->bytes -= bytes;
    pthread_mutex_unlock(&cache->mutex);
    if (result || !entry)
        return result; /* without an entry it is the lease's own */
    if (!entered)
        vector_close(lease->index);
    lease->entry = entry;
    return MOTE_OK;
}

int vector_cache_take(struct vector_cache *cache, const struct sst_index_section *at, struct vector_lease *lease)
{
    *lease = (struct vector_lease){.section = {&at->identity, &at->root, &at->source, cache->db->memory}};
    if (!at->context) /* in memory already (recent.h): it is nobody's but the caller's */
        return vector_open(&lease->section, UINT64_MAX, &lease->index);
    pthread_mutex_lock(&cache->mutex);
    lease->entry = find_entry(cache, &at->identity);
    if (lease->entry) {
        lease->entry->leases++;
        lease->entry->used = ++cache->tick;
    }
    pthread_mutex_unlock(&cache->mutex);
    int result = lease->entry ? MOTE_OK : open_anew(cache, lease);
    if (result || !lease->entry)
        return result;
    result = vector_share(lease->entry->index, &lease->section, &lease->index);
    if (result) {
        lease->index = NULL;
        vector_cache_give(cache, lease);
    }
    return result;
}

void vector_cache_give(struct vector_cache *cache, struct vector_lease *lease)
{
    vector_close(lease->index);
    lease->index = NULL;
    if (!lease->entry)
        return;
    pthread_mutex_lock(&cache->mutex);
    assert(lease->entry->leases > 0);
    lease->entry->leases--;
    pthread_mutex_unlock(&cache->mutex);
    lease->entry = NULL;
}
