/* lsm_volume.c: see lsm_volume.h. */
#include "tests/support/lsm_volume.h"

#include "blockdev/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES (4u << 20)

void lsm_volume_check(int result, const char *what)
{
    struct mote_error error;
    if (!result)
        return;
    mote_last_error(&error);
    fprintf(stderr, "%s: %d, %s\n", what, result, error.message);
    abort();
}

struct blockdev *lsm_volume_sim(uint64_t size_bytes, uint64_t seed, bool record)
{
    struct sim_options options = {.size_bytes = size_bytes, .logical_block_bytes = 512, .seed = seed, .reorder = true, .record = record};
    struct blockdev *device;
    lsm_volume_check(sim_create(&options, &device), "sim_create");
    return device;
}

static struct blockdev_queue *create_queue(struct blockdev *device)
{
    struct blockdev_queue_options options = {.depth = 64, .flags = BLOCKDEV_QUEUE_SHARED};
    struct blockdev_queue *queue;
    lsm_volume_check(blockdev_queue_create(device, &options, &queue), "blockdev_queue_create");
    return queue;
}

void lsm_volume_format(struct blockdev *device, uint64_t extent_bytes, uint32_t segments_max)
{
    struct superblock superblock = {.generation = 1, .clean = 1, .logical_block_bytes = 512, .manifest_sequence = 1};
    memcpy(superblock.uuid, "mote test volume", 16);
    lsm_volume_check(layout_compute(blockdev_geometry(device)->size_bytes, extent_bytes, segments_max, 0, &superblock.layout), "layout_compute");
    struct blockdev_queue *queue = create_queue(device);
    lsm_volume_check(superblock_format_invalidate(queue, &superblock.layout), "superblock_format_invalidate");
    lsm_volume_check(manifest_format(queue, &superblock), "manifest_format");
    lsm_volume_check(superblock_write(queue, &superblock), "superblock_write");
    blockdev_queue_destroy(queue);
}

int lsm_volume_open(struct lsm_volume *volume, struct blockdev *device, uint32_t tables_max, bool read_only)
{
    bool heal_needed;
    *volume = (struct lsm_volume){.device = device};
    volume->queue = create_queue(device);
    lsm_volume_check(memory_create(256u << 20, false, &volume->memory), "memory_create");
    void *region = memory_carve(volume->memory, CACHE_BYTES, PAGE_BYTES);
    lsm_volume_check(memory_seal(volume->memory), "memory_seal");
    lsm_volume_check(cache_create(volume->memory, region, CACHE_BYTES, 256, &volume->cache), "cache_create");
    int result = superblock_read(volume->queue, &volume->superblock, &heal_needed);
    if (!result)
        result = extents_create(volume->memory, volume->superblock.layout.extent_count, &volume->extents);
    if (!result) {
        struct manifest_options options = {.device = device, .memory = volume->memory, .superblock = &volume->superblock, .extents = volume->extents, .cache = volume->cache, .tables_max = tables_max, .read_only = read_only};
        result = manifest_open(&options, &volume->manifest);
    }
    if (result)
        lsm_volume_close(volume);
    return result;
}

void lsm_volume_close(struct lsm_volume *volume)
{
    manifest_close(volume->manifest);
    extents_destroy(volume->extents);
    cache_destroy(volume->cache);
    memory_destroy(volume->memory);
    blockdev_queue_destroy(volume->queue);
    *volume = (struct lsm_volume){0};
}

char *lsm_volume_text(const struct manifest *manifest)
{
    char *text, *line = NULL, *kept;
    size_t text_bytes, line_bytes = 0, kept_bytes;
    FILE *out = open_memstream(&text, &text_bytes);
    manifest_dump(manifest, out);
    fclose(out);
    FILE *in = fmemopen(text, text_bytes, "r");
    out = open_memstream(&kept, &kept_bytes);
    while (getline(&line, &line_bytes, in) > 0)
        if (strncmp(line, "manifest ", 9) && strncmp(line, "next ", 5))
            fputs(line, out);
    fclose(out);
    fclose(in);
    free(line);
    free(text);
    return kept;
}

struct schema *lsm_volume_schema(struct lsm_volume *volume, const char *name)
{
    struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "s", .type = MOTE_TYPE_TEXT}};
    uint32_t key = 0;
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = name;
    definition.columns = columns;
    definition.column_count = 3;
    definition.key_columns = &key;
    definition.key_column_count = 1;
    definition.time_column = 1;
    struct schema *schema;
    lsm_volume_check(schema_create(volume->memory, &definition, manifest_take_table_id(volume->manifest), manifest_take_column_ids(volume->manifest, 4), &schema), "schema_create");
    return schema;
}

struct schema *lsm_volume_table(struct lsm_volume *volume, const char *name)
{
    struct schema *schema = lsm_volume_schema(volume, name);
    struct manifest_edit *edit;
    lsm_volume_check(manifest_edit_begin(volume->manifest, &edit), "manifest_edit_begin");
    manifest_edit_put_table(edit, schema, 1, 1);
    lsm_volume_check(manifest_commit(edit, NULL, NULL), "manifest_commit");
    return schema;
}

struct extent_run lsm_volume_extents(struct lsm_volume *volume, uint32_t extent_count)
{
    struct extent_reservation reservation;
    struct extent_run run;
    lsm_volume_check(extents_reserve(volume->extents, extent_count, true, &reservation), "extents_reserve");
    lsm_volume_check(extents_allocate(volume->extents, &reservation, extent_count, extent_count, &run), "extents_allocate");
    return run;
}

struct segment_record lsm_volume_segment(struct lsm_volume *volume, uint64_t table_id, uint32_t extent_count)
{
    uint64_t id = manifest_take_segment_id(volume->manifest);
    struct segment_record record = {.id = id, .table_id = table_id, .schema_version = 1, .level = 0, .row_count = 10 + id, .delete_count = id % 3, .seq_min = id, .seq_max = id + 9, .time_min = -1, .time_max = (int64_t)id};
    record.run_id = manifest_take_run_id(volume->manifest);
    record.segment_bytes = extent_count * volume->superblock.layout.extent_bytes;
    record.footer_bytes = 100;
    record.footer_offset_bytes = record.segment_bytes - 100;
    record.footer_crc = (uint32_t)(id * 0x9e3779b9u);
    record.block_count = 3;
    record.extent_run_count = 1;
    record.runs[0] = lsm_volume_extents(volume, extent_count);
    record.min_key = (struct segment_key){.length = 8};
    record.max_key = (struct segment_key){.length = 8};
    for (unsigned i = 0; i < 8; i++) {
        record.min_key.bytes[i] = (uint8_t)(id >> (56 - 8 * i));
        record.max_key.bytes[i] = record.min_key.bytes[i];
    }
    record.max_key.bytes[7] |= 0x0f;
    return record;
}

void lsm_volume_open_rw(struct lsm_volume *volume, struct blockdev *device) { lsm_volume_check(lsm_volume_open(volume, device, 8, false), "lsm_volume_open"); }

void lsm_volume_reopen(struct lsm_volume *volume, const char *when)
{
    struct blockdev *device = volume->device;
    char *before = lsm_volume_text(volume->manifest);
    lsm_volume_close(volume);
    lsm_volume_open_rw(volume, device);
    char *after = lsm_volume_text(volume->manifest);
    if (strcmp(before, after)) {
        fprintf(stderr, "%s: the reopened state differs\n%s---\n%s", when, before, after);
        abort();
    }
    free(before);
    free(after);
}

struct blockdev *lsm_volume_device(uint32_t segments_max)
{
    struct blockdev *device = lsm_volume_sim(LSM_VOLUME_DEVICE_BYTES, 1, false);
    lsm_volume_format(device, LSM_VOLUME_EXTENT_BYTES, segments_max);
    return device;
}

struct manifest_edit *lsm_volume_begin(struct lsm_volume *volume)
{
    struct manifest_edit *edit;
    lsm_volume_check(manifest_edit_begin(volume->manifest, &edit), "manifest_edit_begin");
    return edit;
}

void lsm_volume_commit(struct manifest_edit *edit) { lsm_volume_check(manifest_commit(edit, NULL, NULL), "manifest_commit"); }

uint64_t lsm_volume_make_table(struct lsm_volume *volume, const char *name)
{
    struct schema *schema = lsm_volume_table(volume, name);
    uint64_t table_id = schema->table_id;
    schema_free(volume->memory, schema);
    return table_id;
}

uint64_t lsm_volume_add(struct lsm_volume *volume, uint64_t table_id)
{
    struct segment_record record = lsm_volume_segment(volume, table_id, 1);
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_add_segment(edit, &record);
    lsm_volume_commit(edit);
    return record.id;
}

void lsm_volume_remove(struct lsm_volume *volume, uint64_t segment_id)
{
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_remove_segment(edit, segment_id);
    lsm_volume_commit(edit);
}

uint32_t lsm_volume_used(struct lsm_volume *volume)
{
    struct extents_counts counts;
    extents_get_counts(volume->extents, &counts);
    return counts.used;
}
