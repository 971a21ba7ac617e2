/* lsm_volume.h: a formatted volume with an open manifest on any device, for tests of the LSM. Failures abort with the error's sentence: what a test sets up is not what it tests. */
#ifndef MOTE_TESTS_SUPPORT_LSM_VOLUME_H
#define MOTE_TESTS_SUPPORT_LSM_VOLUME_H

#include "blockdev/base/memory.h"
#include "blockdev/cache.h"
#include "blockdev/sim.h"
#include "engine/lsm/manifest.h"

struct lsm_volume {
    struct blockdev *device; /* the caller's */
    struct memory *memory;
    struct blockdev_queue *queue;
    struct superblock superblock;
    struct extents *extents;
    struct cache *cache;
    struct manifest *manifest;
};

/* A simulated disk. */
struct blockdev *lsm_volume_sim(uint64_t size_bytes, uint64_t seed, bool record);
/* Formats it: superblock and manifest. */
void lsm_volume_format(struct blockdev *device, uint64_t extent_bytes, uint32_t segments_max);
/* Opens it; the result of superblock_read or manifest_open. On a failure everything is closed again. */
int lsm_volume_open(struct lsm_volume *volume, struct blockdev *device, uint32_t tables_max, bool read_only);
void lsm_volume_close(struct lsm_volume *volume);
/* Opens it read-write with room for 8 tables; a failure aborts. */
void lsm_volume_open_rw(struct lsm_volume *volume, struct blockdev *device);
/* Closes and opens again; aborts unless the state is the same. */
void lsm_volume_reopen(struct lsm_volume *volume, const char *when);
/* The state as text (malloc'ed), without what differs between equal states: place in the ring, sequence, counters. */
char *lsm_volume_text(const struct manifest *manifest);
/* A table of int64 key "k", timestamp "t" (time column), text "s"; *schema belongs to the caller (schema_free). */
struct schema *lsm_volume_schema(struct lsm_volume *volume, const char *name);
/* Commits a new table with that schema. */
struct schema *lsm_volume_table(struct lsm_volume *volume, const char *name);
/* Allocates a run of extents. */
struct extent_run lsm_volume_extents(struct lsm_volume *volume, uint32_t extent_count);
/* A plausible record of a segment in one run of extents, allocated for it. */
struct segment_record lsm_volume_segment(struct lsm_volume *volume, uint64_t table_id, uint32_t extent_count);
#define LSM_VOLUME_DEVICE_BYTES (32u << 20)
#define LSM_VOLUME_EXTENT_BYTES 65536u
/* A formatted simulated disk of that size. */
struct blockdev *lsm_volume_device(uint32_t segments_max);
struct manifest_edit *lsm_volume_begin(struct lsm_volume *volume);
void lsm_volume_commit(struct manifest_edit *edit);
/* One commit each; the new id. */
uint64_t lsm_volume_make_table(struct lsm_volume *volume, const char *name);
uint64_t lsm_volume_add(struct lsm_volume *volume, uint64_t table_id);
void lsm_volume_remove(struct lsm_volume *volume, uint64_t segment_id);
/* Extents in use. */
uint32_t lsm_volume_used(struct lsm_volume *volume);
/* Aborts with the last error unless result is 0. */
void lsm_volume_check(int result, const char *what);

#endif
