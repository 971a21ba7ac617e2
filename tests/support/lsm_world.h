/* lsm_world.h: rows for tests of merge, flush and compaction: a volume with one table, versions of rows whose values follow from key and seq alone, memtables and segments of them, and the oracle that says what a snapshot must see.
 * Failures of the setting abort. */
#ifndef MOTE_TESTS_SUPPORT_LSM_WORLD_H
#define MOTE_TESTS_SUPPORT_LSM_WORLD_H

#include "engine/lsm/lsm.h"
#include "tests/support/lsm_volume.h"

struct lsm_change {
    int64_t key;
    uint64_t seq;
    bool deleted;
};
/* In order of seq. */
struct lsm_history {
    struct lsm_change *changes;
    uint32_t count, capacity;
};

struct lsm_world {
    struct lsm_volume volume;
    struct sst_context sst;
    struct schema *schema;
    uint64_t random;
    struct lsm_job_context job;
    void *arena;
    struct memtable_generation *generation;
    struct lsm_history history;
    uint64_t next_seq;
};

#define LSM_WORLD_ARENA_BYTES (16u << 20)

/* Opens a formatted device (as lsm_volume_format made it) and makes the table "rows" or finds it again. */
void lsm_world_open(struct lsm_world *world, struct blockdev *device, uint64_t seed);
void lsm_world_close(struct lsm_world *world);
uint64_t lsm_world_random(struct lsm_world *world);
uint32_t lsm_world_below(struct lsm_world *world, uint32_t bound);

void lsm_history_add(struct lsm_history *history, int64_t key, uint64_t seq, bool deleted);
/* What a snapshot sees of the key: its newest version at or below seq; NULL: none. */
const struct lsm_change *lsm_history_find(const struct lsm_history *history, int64_t key, uint64_t snapshot_seq);

/* Key bytes (8) of a key. */
void lsm_world_key(const struct lsm_world *world, int64_t key, uint8_t bytes[8]);
/* A row image of the version; *image_bytes its size. */
void lsm_world_image(const struct lsm_world *world, const struct lsm_change *change, uint8_t image[512], uint32_t *image_bytes);
/* Puts the version into a generation's memtable of the world's table. */
void lsm_world_insert(struct lsm_world *world, struct memtable_generation *generation, const struct lsm_change *change);
/* The same as the next change of the history, with the next seq, into world->generation. */
void lsm_world_change(struct lsm_world *world, int64_t key, bool deleted);
/* A new generation with an arena of its own (never given back: the volume's memory is). */
struct memtable_generation *lsm_world_generation(struct lsm_world *world);
/* Builds a segment of these versions (any order; sorted in place), not in the manifest. */
struct segment *lsm_world_build(struct lsm_world *world, struct lsm_change *changes, uint32_t count);

/* Flushes world->generation up to the newest seq and resets it. */
int lsm_world_flush(struct lsm_world *world);

/* Whether the merge's current record is this version with all its values; else prints why. */
bool lsm_world_is(struct lsm_world *world, struct merge *merge, const struct lsm_change *change);
/* Reads the table from its segments (and world->generation) at a snapshot, ascending and descending, and compares with the history; number of differences. */
unsigned lsm_world_compare(struct lsm_world *world, uint64_t snapshot_seq);

#endif
