/* lsm_world.c: see lsm_world.h. */
#include "tests/support/lsm_world.h"
#include "index/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"

#define SOURCES_MAX 64u

uint64_t lsm_world_random(struct lsm_world *world)
{
    world->random += 0x9e3779b97f4a7c15ull;
    uint64_t z = world->random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint32_t lsm_world_below(struct lsm_world *world, uint32_t bound) { return (uint32_t)(lsm_world_random(world) % bound); }

/* The world's own schema object: one of the manifest's may be replaced. */
static struct schema *copy_schema(struct lsm_world *world)
{
    const struct manifest_state *state = manifest_get_state(world->volume.manifest);
    if (!state->table_count)
        return NULL;
    size_t size_bytes = schema_encoded_bytes(state->tables[0].schema);
    uint8_t *bytes = malloc(size_bytes);
    struct byte_writer writer = byte_writer_make(bytes, size_bytes);
    struct byte_reader reader = byte_reader_make(bytes, size_bytes);
    struct schema *schema;
    schema_encode(state->tables[0].schema, &writer);
    lsm_volume_check(schema_decode(world->volume.memory, &reader, &schema), "schema_decode");
    free(bytes);
    return schema;
}

struct memtable_generation *lsm_world_generation(struct lsm_world *world)
{
    struct memtable_generation *generation;
    void *arena = memory_alloc_aligned(world->volume.memory, LSM_WORLD_ARENA_BYTES, PAGE_BYTES);
    if (!arena)
        abort();
    lsm_volume_check(memtable_generation_create(world->volume.memory, arena, LSM_WORLD_ARENA_BYTES, 8, &generation), "memtable_generation_create");
    return generation;
}

void lsm_world_open(struct lsm_world *world, struct blockdev *device, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    lsm_volume_check(lsm_volume_open(&world->volume, device, 8, false), "lsm_volume_open");
    world->sst = (struct sst_context){.device = device, .memory = world->volume.memory, .cache = world->volume.cache, .extents = world->volume.extents, .layout = &world->volume.superblock.layout, .timestamps = &timestamp_index_ops};
    memcpy(world->sst.uuid, world->volume.superblock.uuid, 16);
    world->schema = copy_schema(world);
    if (!world->schema)
        world->schema = lsm_volume_table(&world->volume, "rows");
    world->job = (struct lsm_job_context){.sst = &world->sst, .manifest = world->volume.manifest, .queue = world->volume.queue, .block_rows = 32, .segment_bytes_max = 8 * world->volume.superblock.layout.extent_bytes};
    world->generation = lsm_world_generation(world);
    world->next_seq = 1;
}

void lsm_world_close(struct lsm_world *world)
{
    /* Generations and arenas go with the memory, which a test world gives back without counting. */
    free(world->history.changes);
    manifest_close(world->volume.manifest);
    world->volume.manifest = NULL;
    blockdev_queue_destroy(world->volume.queue);
}

void lsm_history_add(struct lsm_history *history, int64_t key, uint64_t seq, bool deleted)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? 2 * history->capacity : 64;
        history->changes = realloc(history->changes, history->capacity * sizeof *history->changes);
    }
    history->changes[history->count++] = (struct lsm_change){key, seq, deleted};
}

const struct lsm_change *lsm_history_find(const struct lsm_history *history, int64_t key, uint64_t snapshot_seq)
{
    for (uint32_t i = history->count; i-- > 0;)
        if (history->changes[i].key == key && history->changes[i].seq <= snapshot_seq)
            return &history->changes[i];
    return NULL;
}

/* ---- Rows ---- */

static void make_values(const struct lsm_change *change, struct mote_value values[3], char text[200])
{
    size_t length = (size_t)((change->seq * 37 + (uint64_t)change->key) % 150);
    memset(text, 'a' + (int)(change->seq % 26), length);
    values[0] = (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = change->key};
    values[1] = (struct mote_value){.type = MOTE_TYPE_TIMESTAMP, .as.i64 = change->key * 1000 + (int64_t)change->seq};
    values[2] = (struct mote_value){.type = MOTE_TYPE_TEXT, .is_null = change->seq % 11 == 0, .as.bytes = {text, length}};
    if (values[2].is_null)
        values[2].as.bytes.size_bytes = 0;
}

void lsm_world_key(const struct lsm_world *world, int64_t key, uint8_t bytes[8])
{
    struct mote_value value = {.type = MOTE_TYPE_INT64, .as.i64 = key};
    uint8_t room[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    lsm_volume_check(key_from_values(world->schema, &value, 1, room, &key_bytes), "key_from_values");
    memcpy(bytes, room, 8);
}

void lsm_world_image(const struct lsm_world *world, const struct lsm_change *change, uint8_t image[512], uint32_t *image_bytes)
{
    struct mote_value values[3];
    char text[200];
    make_values(change, values, text);
    lsm_volume_check(row_check_values(world->schema, values, 3, image_bytes), "row_check_values");
    row_encode_values(world->schema, values, 3, 0, image, *image_bytes);
}

void lsm_world_insert(struct lsm_world *world, struct memtable_generation *generation, const struct lsm_change *change)
{
    _Alignas(8) uint8_t image[512];
    uint8_t key[8];
    uint32_t image_bytes = 0;
    struct memtable_room room;
    struct memtable *memtable = memtable_of_table(generation, world->schema->table_id, true);
    lsm_world_key(world, change->key, key);
    if (!change->deleted)
        lsm_world_image(world, change, image, &image_bytes);
    if (!memtable_reserve(generation, memtable_room_bytes(1, 8 + round_up(image_bytes, 8)), &room))
        abort();
    memtable_insert(memtable, &room, world->schema, key, 8, change->seq, change->deleted ? RECORD_DELETE : RECORD_PUT, change->deleted ? NULL : image, image_bytes);
    memtable_unreserve(generation, &room);
}

void lsm_world_change(struct lsm_world *world, int64_t key, bool deleted)
{
    lsm_history_add(&world->history, key, world->next_seq++, deleted);
    lsm_world_insert(world, world->generation, &world->history.changes[world->history.count - 1]);
}

static int compare_changes(const void *a, const void *b)
{
    const struct lsm_change *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->seq < y->seq) - (x->seq > y->seq);
}

struct segment *lsm_world_build(struct lsm_world *world, struct lsm_change *changes, uint32_t count)
{
    struct sst_builder *builder;
    struct extent_reservation reservation;
    struct segment *segment = memory_alloc_zero(world->volume.memory, sizeof *segment);
    uint64_t bound = sst_bytes_bound(world->schema, 32, count, count * 256ull);
    qsort(changes, count, sizeof *changes, compare_changes);
    lsm_volume_check(extents_reserve(world->volume.extents, (uint32_t)(bound / world->sst.layout->extent_bytes) + 2, true, &reservation), "extents_reserve");
    struct sst_builder_options options = {.context = &world->sst, .queue = world->volume.queue, .schema = world->schema, .reservation = &reservation, .source = BLOCKDEV_SOURCE_FLUSH,
                                          .segment_id = manifest_take_segment_id(world->volume.manifest), .run_id = manifest_take_run_id(world->volume.manifest), .block_rows = 16, .block_bytes_max = 512 * 1024,
                                          .segment_bytes_max = 64u << 20, .rows_max = count};
    lsm_volume_check(sst_builder_create(&options, &builder), "sst_builder_create");
    for (uint32_t i = 0; i < count; i++) {
        _Alignas(8) uint8_t image[512];
        uint8_t key[8];
        uint32_t image_bytes = 0;
        lsm_world_key(world, changes[i].key, key);
        if (!changes[i].deleted)
            lsm_world_image(world, &changes[i], image, &image_bytes);
        struct record record = {.key = key, .key_bytes = 8, .kind = changes[i].deleted ? RECORD_DELETE : RECORD_PUT, .seq = changes[i].seq};
        lsm_volume_check(sst_builder_add(builder, &record, world->schema, changes[i].deleted ? NULL : image, image_bytes, true), "sst_builder_add");
    }
    lsm_volume_check(sst_builder_finish(builder, &segment->record), "sst_builder_finish");
    sst_builder_destroy(builder);
    extents_unreserve(world->volume.extents, &reservation);
    return segment;
}

/* ---- Flush ---- */

static const struct schema *find_schema(void *context, uint64_t table_id)
{
    struct lsm_world *world = context;
    return table_id == world->schema->table_id ? world->schema : NULL;
}

int lsm_world_flush(struct lsm_world *world)
{
    struct lsm_flush flush = {.generation = world->generation, .cut_seq = world->next_seq - 1, .find_schema = find_schema, .context = world};
    int result = lsm_flush_generation(&world->job, &flush);
    if (!result)
        memtable_generation_reset(world->generation);
    return result;
}

/* ---- Comparison ---- */

static bool differs(const struct lsm_change *change, const char *what)
{
    fprintf(stderr, "key %lld seq %llu: %s\n", (long long)change->key, (unsigned long long)change->seq, what);
    return false;
}

bool lsm_world_is(struct lsm_world *world, struct merge *merge, const struct lsm_change *change)
{
    struct record record;
    struct mote_value value, values[3];
    char text[200];
    uint8_t key[8];
    int64_t time_ns;
    bool has_time;
    make_values(change, values, text);
    lsm_world_key(world, change->key, key);
    if (merge_record(merge, &record) || record.key_bytes != 8 || memcmp(record.key, key, 8))
        return differs(change, "another key");
    if (record.seq != change->seq || (record.kind == RECORD_DELETE) != change->deleted)
        return differs(change, "another version");
    if (merge_value(merge, 0, &value) || value.as.i64 != change->key)
        return differs(change, "another key value");
    if (change->deleted)
        return true;
    if (merge_value(merge, 1, &value) || value.is_null || value.as.i64 != values[1].as.i64)
        return differs(change, "another time");
    if (merge_time(merge, &time_ns, &has_time) || !has_time || time_ns != values[1].as.i64)
        return differs(change, "another merge_time");
    if (merge_value(merge, 2, &value) || value.is_null != values[2].is_null)
        return differs(change, "another NULL");
    if (!value.is_null && (value.as.bytes.size_bytes != values[2].as.bytes.size_bytes || memcmp(value.as.bytes.data, text, value.as.bytes.size_bytes)))
        return differs(change, "another text");
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The versions that the snapshot sees, ascending by key. */
static uint32_t list_visible(const struct lsm_world *world, uint64_t snapshot_seq, struct lsm_change *visible)
{
    uint32_t count = 0, keys = 0;
    int64_t *all = malloc((world->history.count + 1) * sizeof *all);
    for (uint32_t i = 0; i < world->history.count; i++)
        all[keys++] = world->history.changes[i].key;
    qsort(all, keys, sizeof *all, compare_keys);
    for (uint32_t i = 0; i < keys; i++) {
        const struct lsm_change *change = i && all[i] == all[i - 1] ? NULL : lsm_history_find(&world->history, all[i], snapshot_seq);
        if (change && !change->deleted)
            visible[count++] = *change;
    }
    free(all);
    return count;
}

unsigned lsm_world_compare(struct lsm_world *world, uint64_t snapshot_seq)
{
    struct lsm_change *visible = malloc((world->history.count + 1) * sizeof *visible);
    uint32_t count = list_visible(world, snapshot_seq, visible), opened = 0;
    struct version *version = version_acquire(world->volume.manifest);
    const struct segment_list *list = version_find(version, world->schema->table_id);
    struct sst_iterator *iterators[SOURCES_MAX];
    struct merge *merge;
    unsigned differences = 0;
    lsm_volume_check(merge_create(world->volume.memory, SOURCES_MAX + 1, &merge), "merge_create");
    for (unsigned descending = 0; descending < 2; descending++) {
        merge_reset(merge, MERGE_VISIBLE, descending, snapshot_seq, world->schema);
        lsm_volume_check(merge_add_memtable(merge, memtable_of_table(world->generation, world->schema->table_id, true)), "merge_add_memtable");
        for (uint32_t i = 0; list && i < list->count; i++) {
            if (i >= SOURCES_MAX)
                abort();
            if (i >= opened)
                lsm_volume_check(sst_iterator_create(&world->sst, world->volume.queue, &iterators[opened++]), "sst_iterator_create");
            lsm_volume_check(sst_iterator_open(iterators[i], list->segments[i], world->schema), "sst_iterator_open");
            lsm_volume_check(merge_add_segment(merge, iterators[i]), "merge_add_segment");
        }
        uint32_t at = 0;
        int found = descending ? merge_seek_last(merge, NULL, 0, false) : merge_seek(merge, NULL, 0);
        for (; found == 1; found = merge_next(merge), at++)
            if (at >= count || !lsm_world_is(world, merge, &visible[descending ? count - 1 - at : at]))
                differences++;
        if (found < 0 || at != count) {
            fprintf(stderr, "snapshot %llu: %u rows instead of %u, result %d\n", (unsigned long long)snapshot_seq, at, count, found);
            differences++;
        }
    }
    for (uint32_t i = 0; i < opened; i++)
        sst_iterator_destroy(iterators[i]);
    merge_destroy(merge);
    version_release(world->volume.manifest, version);
    free(visible);
    return differences;
}
