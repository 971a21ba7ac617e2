/* vector_cache.h: open vector indexes of segments, kept for the searches to come: what vector_open reads is directory, model and codes, some 0.13 of the vectors' bytes.
 *
 * Memory: at most an eighth of the budget. Where an index does not fit with its codes, it is opened without them (they come through the block cache then); where it does not fit at all, one that was not used for longest goes. What belongs to
 * sections that are no more goes when the next one is opened, and at each sweep.
 * Threads: any. Failures: those of vector_open; MOTE_EDAMAGED where the section is not what the index says.
 */
#ifndef MOTE_ENGINE_VECTOR_CACHE_H
#define MOTE_ENGINE_VECTOR_CACHE_H

#include "engine/engine_private.h"
#include "index/vector.h"

struct vector_cache;
struct vector_cache_entry;
int vector_cache_create(struct mote_db *db, struct vector_cache **cache);
void vector_cache_destroy(struct vector_cache *cache); /* NULL is allowed */

/* An index in use: read through the source that it was taken with. */
struct vector_lease {
    struct vector_section section;
    struct vector_index *index;
    struct vector_cache_entry *entry; /* NULL: it is in no cache */
};
/* at must stay until the lease is given back, and so must the lease. */
int vector_cache_take(struct vector_cache *cache, const struct sst_index_section *at, struct vector_lease *lease);
void vector_cache_give(struct vector_cache *cache, struct vector_lease *lease);
/* Closes what nobody uses: all of it; what belongs to sections that no segment has any more. NULL is allowed. */
void vector_cache_drop_idle(struct vector_cache *cache);
void vector_cache_sweep(struct vector_cache *cache);
/* Of all that is open. */
uint64_t vector_cache_bytes(struct vector_cache *cache);

#endif
