/* sized_volume.c: see sized_volume.h. */
#include "tests/support/sized_volume.h"

#include "blockdev/superblock.h"
#include "tests/support/engine_model.h"

void sized_volume_make(uint64_t seed, uint64_t size_bytes, uint32_t rounds, uint8_t *image, struct state *state, struct mote_options *options)
{
    struct fixture fixture;
    struct state_tables tables = {0};
    uint64_t random = seed * 31 + 7;
    fixture_sim(&fixture, size_bytes, seed, false);
    fixture_open(&fixture);
    backup_fill(fixture.db, &tables, rounds, &random, state);
    model_table_create(fixture.db, "arm");
    fixture_close(&fixture);
    sim_read_content(fixture.sim, true, image);
    *options = fixture.options;
    fixture_remove(&fixture);
}

uint64_t sized_volume_bytes(struct blockdev *device)
{
    struct blockdev_queue_options options = {.depth = 4};
    struct blockdev_queue *queue;
    struct superblock superblock;
    bool heal;
    must(blockdev_queue_create(device, &options, &queue));
    must(superblock_read(queue, &superblock, &heal));
    blockdev_queue_destroy(queue);
    return superblock.layout.device_size_bytes;
}
