/* sst_world.c: see sst_world.h: the setting. Random tables and rows are in sst_model.c. */
#include "tests/support/sst_world.h"
#include "index/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "tests/support/requests.h"

void sst_world_check(int result, const char *what)
{
    struct mote_error error;
    if (result >= 0)
        return;
    error_get(&error);
    fprintf(stderr, "%s: %s: %s\n", what, mote_error_name(result), error.message);
    abort();
}

void sst_world_open(struct sst_world *world, const struct sst_world_options *options)
{
    struct sst_world_options o = *options;
    o.device_bytes = o.device_bytes ? o.device_bytes : 64 * MIB_BYTES;
    o.extent_bytes = o.extent_bytes ? o.extent_bytes : 65536;
    o.cache_bytes = o.cache_bytes ? o.cache_bytes : 16 * MIB_BYTES;
    struct sim_options sim = {.size_bytes = o.device_bytes, .logical_block_bytes = o.logical_block_bytes ? o.logical_block_bytes : 512, .seed = o.seed, .reorder = true};
    struct blockdev *inner;
    *world = (struct sst_world){.random = o.seed * 2 + 1, .cache_bytes = o.cache_bytes};
    sst_world_check(sim_create(&sim, &inner), "the simulated disk");
    sst_world_check(faulty_create(inner, &world->device), "the fault injector");
    world->queue = requests_queue(world->device, 16);
    sst_world_check(layout_compute(o.device_bytes, o.extent_bytes, 0, 0, &world->layout), "the layout");
    sst_world_check(memory_create(o.cache_bytes + 512 * MIB_BYTES, false, &world->memory), "memory");
    world->cache_region = memory_carve(world->memory, o.cache_bytes, 4096);
    sst_world_check(memory_seal(world->memory), "memory");
    sst_world_check(cache_create(world->memory, world->cache_region, o.cache_bytes, 4096, &world->cache), "the cache");
    sst_world_check(extents_create(world->memory, world->layout.extent_count, &world->extents), "extents");
    world->context = (struct sst_context){.device = world->device, .memory = world->memory, .cache = world->cache, .extents = world->extents, .layout = &world->layout, .timestamps = &timestamp_index_ops};
    for (uint8_t i = 0; i < 16; i++)
        world->context.uuid[i] = (uint8_t)(0x30 + i);
}

void sst_world_cold(struct sst_world *world)
{
    cache_destroy(world->cache);
    sst_world_check(cache_create(world->memory, world->cache_region, world->cache_bytes, 4096, &world->cache), "the cache");
    world->context.cache = world->cache;
}

void sst_world_close(struct sst_world *world)
{
    cache_destroy(world->cache);
    extents_destroy(world->extents);
    blockdev_queue_destroy(world->queue);
    blockdev_close(world->device);
    memory_destroy(world->memory);
}

struct sst_builder_options sst_world_builder(struct sst_world *world, const struct schema *schema, struct extent_reservation *reservation, uint64_t segment_id, uint32_t rows)
{
    struct extents_counts counts;
    extents_get_counts(world->extents, &counts);
    sst_world_check(extents_reserve(world->extents, counts.free - counts.reserved, false, reservation), "the reservation");
    return (struct sst_builder_options){.context = &world->context, .queue = world->queue, .schema = schema, .reservation = reservation, .source = BLOCKDEV_SOURCE_FLUSH, .segment_id = segment_id,
                                        .run_id = segment_id, .level = 0, .block_rows = 64, .block_bytes_max = 512 * 1024, .segment_bytes_max = 1ull << 30, .rows_max = rows, .compression = 0};
}

int sst_world_build(struct sst_world *world, const struct sst_builder_options *options, const struct model *model, uint32_t from, uint32_t to, bool copy, struct segment *segment)
{
    struct sst_builder *builder;
    int result = sst_builder_create(options, &builder);
    if (result)
        return result;
    for (uint32_t i = from; i < to && !result; i++) {
        const struct model_row *row = &model->rows[i];
        struct record record = {row->key, row->key_bytes, row->kind, row->seq};
        uint8_t *image = row->image;
        if (copy && image) { /* given away: nothing may be read from it after the call */
            image = malloc(row->image_bytes);
            memcpy(image, row->image, row->image_bytes);
        }
        result = sst_builder_add(builder, &record, row->schema, image, row->image_bytes, copy);
        if (copy && image) {
            memset(image, 0xEE, row->image_bytes);
            free(image);
        }
    }
    memset(segment, 0, sizeof *segment);
    if (!result)
        result = sst_builder_finish(builder, &segment->record);
    sst_builder_destroy(builder);
    (void)world;
    return result;
}

void sst_world_segment(struct sst_world *world, const struct schema *schema, const struct model *model, uint64_t segment_id, uint32_t block_rows, struct segment *segment)
{
    struct extent_reservation reservation;
    struct sst_builder_options options = sst_world_builder(world, schema, &reservation, segment_id, model->count);
    options.block_rows = block_rows;
    sst_world_check(sst_world_build(world, &options, model, 0, model->count, segment_id % 2, segment), "building a segment");
    extents_unreserve(world->extents, &reservation);
}
