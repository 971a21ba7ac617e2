/* sst_world.h: what SSTables stand on (a simulated disk behind a fault injector, memory, cache, extents), random tables, rows and segments, and the model that a segment is compared with. Failures of the setting itself abort. */
#ifndef MOTE_TESTS_SUPPORT_SST_WORLD_H
#define MOTE_TESTS_SUPPORT_SST_WORLD_H

#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/sim.h"
#include "engine/lsm/sst.h"

struct sst_world {
    struct blockdev *device; /* faulty around sim */
    struct blockdev_queue *queue;
    struct memory *memory;
    struct cache *cache;
    struct extents *extents;
    struct layout layout;
    struct sst_context context;
    uint64_t random; /* state of sst_random */
    uint64_t cache_bytes;
    void *cache_region;
};

struct sst_world_options {
    uint64_t device_bytes, extent_bytes, cache_bytes; /* 0: 64 MiB, 64 KiB, 16 MiB */
    uint32_t logical_block_bytes;                     /* 0: 512 */
    uint64_t seed;
};
void sst_world_open(struct sst_world *world, const struct sst_world_options *options);
void sst_world_close(struct sst_world *world);
/* Forgets what the cache holds. */
void sst_world_cold(struct sst_world *world);

uint64_t sst_random(struct sst_world *world);
uint32_t sst_random_below(struct sst_world *world, uint32_t bound);

/* A random table: 1 to 3 key columns of any key type, other columns of all types; perhaps a time column, perhaps in the key. */
struct schema *sst_random_schema(struct sst_world *world, uint64_t table_id);
/* The same and one column more, with or without a default. */
struct schema *sst_random_add_column(struct sst_world *world, const struct schema *old, uint32_t number);
/* int64 "series" (key), timestamp "t" (key, time column), `columns` float64 columns. */
struct schema *sst_plain_schema(struct sst_world *world, uint32_t columns);

struct model_row {
    uint8_t *key, *image;
    uint32_t key_bytes, image_bytes, kind;
    uint64_t seq;
    const struct schema *schema; /* of the image */
};
struct model {
    struct model_row *rows; /* sorted */
    uint32_t count;
};
/* Random rows: keys from about distinct_keys values, versions, tombstones (percent), rows of old (NULL: none). */
struct model sst_random_rows(struct sst_world *world, const struct schema *schema, const struct schema *old, uint32_t count, uint32_t distinct_keys, uint32_t tombstone_percent);
void sst_model_add(struct model *model, const struct schema *schema, const struct mote_value *values, size_t count, uint64_t seq, bool deleted);
/* Sorts by (key, seq descending) and drops repeated (key, seq). */
void sst_model_sort(struct model *model);
void sst_model_free(struct model *model);
/* The time of a row as the segment must have it. */
bool sst_model_time(const struct schema *schema, const struct model_row *row, int64_t *time_ns);

/* Options for one segment of this model, everything reserved. */
struct sst_builder_options sst_world_builder(struct sst_world *world, const struct schema *schema, struct extent_reservation *reservation, uint64_t segment_id, uint32_t rows);
/* Builds rows [from, to) into one segment; the result of the builder. copy: images given away at once. */
int sst_world_build(struct sst_world *world, const struct sst_builder_options *options, const struct model *model, uint32_t from, uint32_t to, bool copy, struct segment *segment);
/* The same with the usual options; aborts on failure. */
void sst_world_segment(struct sst_world *world, const struct schema *schema, const struct model *model, uint64_t segment_id, uint32_t block_rows, struct segment *segment);
void sst_world_check(int result, const char *what);

/* Whether the iterator stands on the row: record, every value, the row image. false: *error is what a call returned, or 0 and fault says what differs. */
bool sst_row_equals(struct sst_iterator *iterator, const struct schema *schema, const struct model_row *row, char fault[200], int *error);

/* Makes the bytes of a segment (of one run) a hostile image: changes some, chosen by `random`, and makes every checksum good again, the record's too. */
void sst_reseal(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, struct segment_record *record, uint64_t random);
/* Makes every checksum good. */
void sst_seal(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, struct segment_record *record);

#endif
