/* lsm_merge_test.c: the merge (engine/lsm/merge.h) of random memtables and segments against a plain model: snapshots, tombstones, both directions, positions, runs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/lsm_rows.h"
#include "tests/support/lsm_world.h"

#define SOURCES 7u
#define KEYS 60
#define KEY_MIN (-40) /* no key of open_setting lies outside */
#define KEY_MAX 80

struct setting {
    struct blockdev *device;
    struct lsm_world world;
    struct memtable_generation *generations[SOURCES];
    struct segment *segments[SOURCES];
    struct sst_iterator *iterators[SOURCES];
    uint32_t memtable_count, segment_count;
    struct merge *merge;
};

/* Versions of few keys, each in some source: memtables and segments in any order of age. */
static void open_setting(struct setting *setting, uint64_t seed, uint32_t changes)
{
    struct lsm_world *world = &setting->world;
    struct lsm_change *of_source[SOURCES];
    uint32_t counts[SOURCES] = {0};
    setting->device = lsm_volume_sim(32u << 20, seed, false);
    lsm_volume_format(setting->device, 65536, 0);
    lsm_world_open(world, setting->device, seed);
    setting->memtable_count = lsm_world_below(world, 4);
    setting->segment_count = 1 + lsm_world_below(world, SOURCES - setting->memtable_count - 1);
    uint32_t sources = setting->memtable_count + setting->segment_count;
    for (uint32_t i = 0; i < SOURCES; i++)
        of_source[i] = malloc(changes * sizeof *of_source[i]);
    for (uint32_t i = 0; i < setting->memtable_count; i++)
        setting->generations[i] = lsm_world_generation(world);
    /* Some sources cover a narrow range of keys, so that runs are long. */
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t source = lsm_world_below(world, sources);
        int64_t key = (int64_t)lsm_world_below(world, KEYS) - KEYS / 2;
        if (source % 2)
            key = key / 4 + (int64_t)source * 10;
        lsm_history_add(&world->history, key, world->next_seq++, lsm_world_below(world, 5) == 0);
        const struct lsm_change *change = &world->history.changes[i];
        if (source < setting->memtable_count)
            lsm_world_insert(world, setting->generations[source], change);
        else
            of_source[source][counts[source]++] = *change;
    }
    uint32_t built = 0;
    for (uint32_t i = setting->memtable_count; i < sources; i++)
        if (counts[i]) {
            setting->segments[built] = lsm_world_build(world, of_source[i], counts[i]);
            lsm_volume_check(sst_iterator_create(&world->sst, world->volume.queue, &setting->iterators[built]), "sst_iterator_create");
            built++;
        }
    setting->segment_count = built;
    for (uint32_t i = 0; i < SOURCES; i++)
        free(of_source[i]);
    lsm_volume_check(merge_create(world->volume.memory, SOURCES, &setting->merge), "merge_create");
}

static void close_setting(struct setting *setting)
{
    for (uint32_t i = 0; i < setting->segment_count; i++)
        sst_iterator_destroy(setting->iterators[i]);
    lsm_world_close(&setting->world);
    blockdev_close(setting->device);
}

static void reset_merge(struct setting *setting, enum merge_mode mode, bool descending, uint64_t snapshot_seq)
{
    struct lsm_world *world = &setting->world;
    merge_reset(setting->merge, mode, descending, snapshot_seq, world->schema);
    for (uint32_t i = 0; i < setting->memtable_count; i++)
        cr_assert_eq(merge_add_memtable(setting->merge, memtable_of_table(setting->generations[i], world->schema->table_id, true)), MOTE_OK);
    for (uint32_t i = 0; i < setting->segment_count; i++) {
        lsm_volume_check(sst_iterator_open(setting->iterators[i], setting->segments[i], world->schema), "sst_iterator_open");
        cr_assert_eq(merge_add_segment(setting->merge, setting->iterators[i]), MOTE_OK);
    }
}

/* The newest visible version of the smallest key at or above `from` (descending: largest at or below), or NULL. */
static const struct lsm_change *expect(const struct setting *setting, int64_t from, bool descending, uint64_t snapshot_seq)
{
    if (descending ? from > KEY_MAX : from < KEY_MIN)
        from = descending ? KEY_MAX : KEY_MIN;
    for (int64_t key = from; key >= KEY_MIN && key <= KEY_MAX; key += descending ? -1 : 1) {
        const struct lsm_change *change = lsm_history_find(&setting->world.history, key, snapshot_seq);
        if (change && !change->deleted)
            return change;
    }
    return NULL;
}

/* Walks on from a position to the end. */
static void check_walk(struct setting *setting, int found, int64_t from, bool descending, uint64_t snapshot_seq, uint64_t seed)
{
    const struct lsm_change *change;
    while ((change = expect(setting, from, descending, snapshot_seq))) {
        cr_assert_eq(found, 1, "seed %llu: end before key %lld", (unsigned long long)seed, (long long)change->key);
        cr_assert(lsm_world_is(&setting->world, setting->merge, change), "seed %llu snapshot %llu", (unsigned long long)seed, (unsigned long long)snapshot_seq);
        from = change->key + (descending ? -1 : 1);
        found = merge_next(setting->merge);
    }
    cr_assert_eq(found, 0, "seed %llu: more rows than there are (%d)", (unsigned long long)seed, found);
    cr_assert_eq(merge_next(setting->merge), 0);
}

Test(lsm_merge, visible_equals_model_in_both_directions)
{
    uint64_t seed = lsm_seed("lsm_merge_visible");
    for (unsigned round = 0; round < 8; round++, seed++) {
        struct setting setting = {0};
        open_setting(&setting, seed, 40 + 70 * round);
        struct lsm_world *world = &setting.world;
        for (unsigned i = 0; i < 20; i++) {
            uint64_t snapshot = i == 0 ? UINT64_MAX : lsm_world_random(world) % (world->next_seq + 1);
            bool descending = i % 2;
            int64_t key = (int64_t)lsm_world_below(world, 140) - 60;
            uint8_t bytes[8];
            lsm_world_key(world, key, bytes);
            reset_merge(&setting, MERGE_VISIBLE, descending, snapshot);
            check_walk(&setting, descending ? merge_seek_last(setting.merge, NULL, 0, false) : merge_seek(setting.merge, NULL, 0), descending ? 150 : -150, descending, snapshot, seed);
            check_walk(&setting, descending ? merge_seek_last(setting.merge, bytes, 8, i % 4 == 1) : merge_seek(setting.merge, bytes, 8), key, descending, snapshot, seed);
            check_walk(&setting, merge_seek_after(setting.merge, bytes, 8), key + (descending ? -1 : 1), descending, snapshot, seed);
            if (descending) {
                /* A prefix of 7 bytes stands for 256 keys. */
                int64_t last = (int64_t)((uint64_t)key | 255);
                check_walk(&setting, merge_seek_last(setting.merge, bytes, 7, true), last < 150 ? last : 150, true, snapshot, seed);
            }
        }
        close_setting(&setting);
    }
}

Test(lsm_merge, skipping_runs_equals_model)
{
    uint64_t seed = lsm_seed("lsm_merge_runs");
    unsigned long_runs = 0;
    for (unsigned round = 0; round < 12; round++, seed++) {
        struct setting setting = {0};
        open_setting(&setting, seed, 30 + 15 * round);
        struct lsm_world *world = &setting.world;
        for (unsigned i = 0; i < 10; i++) {
            uint64_t snapshot = world->next_seq - lsm_world_random(world) % (world->next_seq / 2 + 1);
            int64_t from = -150;
            reset_merge(&setting, MERGE_VISIBLE, false, snapshot);
            int found = merge_seek(setting.merge, NULL, 0);
            while (found == 1) {
                struct merge_place place;
                const struct lsm_change *change = expect(&setting, from, false, snapshot);
                cr_assert(change && lsm_world_is(world, setting.merge, change), "seed %llu", (unsigned long long)seed);
                cr_assert_eq(merge_place(setting.merge, &place), MOTE_OK);
                cr_assert_geq(place.run_length, 1u);
                cr_assert(place.iterator || (place.image && place.image_schema == world->schema && place.run_length == 1));
                long_runs += place.run_length > 1;
                /* Every row of the run is what the view has there. */
                uint32_t count = 1 + (uint32_t)(lsm_world_random(world) % place.run_length);
                struct codec_vector keys = {0};
                uint32_t row = 0;
                if (place.iterator) {
                    cr_assert_eq(sst_block_column(place.iterator, 0, &keys), MOTE_OK);
                    row = sst_block_row(place.iterator);
                }
                for (uint32_t k = 0; k < count; k++) {
                    change = expect(&setting, from, false, snapshot);
                    cr_assert(change);
                    if (place.iterator)
                        cr_assert_eq(((const int64_t *)keys.values)[row + k], change->key, "seed %llu", (unsigned long long)seed);
                    from = change->key + 1;
                }
                found = merge_skip(setting.merge, count);
            }
            cr_assert_eq(found, 0);
            cr_assert_null(expect(&setting, from, false, snapshot), "seed %llu", (unsigned long long)seed);
        }
        close_setting(&setting);
    }
    cr_assert_gt(long_runs, 20u, "%u", long_runs);
}

static int compare_changes(const void *a, const void *b)
{
    const struct lsm_change *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->seq < y->seq) - (x->seq > y->seq);
}

Test(lsm_merge, all_yields_every_version_in_order)
{
    uint64_t seed = lsm_seed("lsm_merge_all");
    for (unsigned round = 0; round < 8; round++, seed++) {
        struct setting setting = {0};
        open_setting(&setting, seed, 20 + 80 * round);
        struct lsm_world *world = &setting.world;
        reset_merge(&setting, MERGE_ALL, false, 0);
        qsort(world->history.changes, world->history.count, sizeof *world->history.changes, compare_changes);
        int found = merge_seek(setting.merge, NULL, 0);
        for (uint32_t i = 0; i < world->history.count; i++, found = merge_next(setting.merge)) {
            const struct lsm_change *change = &world->history.changes[i];
            _Alignas(8) uint8_t room[512], expected[512];
            const struct schema *image_schema;
            const uint8_t *image;
            uint32_t image_bytes, expected_bytes;
            cr_assert_eq(found, 1);
            cr_assert(lsm_world_is(world, setting.merge, change), "seed %llu", (unsigned long long)seed);
            cr_assert_eq(merge_image(setting.merge, room, sizeof room, &image_schema, &image, &image_bytes), MOTE_OK);
            cr_assert_eq(image == NULL, change->deleted);
            if (!image)
                continue;
            lsm_world_image(world, change, expected, &expected_bytes);
            cr_assert(image_bytes == expected_bytes && !memcmp(image, expected, image_bytes), "seed %llu", (unsigned long long)seed);
        }
        cr_assert_eq(found, 0);
        close_setting(&setting);
    }
}

Test(lsm_merge, segments_in_a_lane_follow_each_other)
{
    struct setting setting = {0};
    open_setting(&setting, 77, 10);
    struct lsm_world *world = &setting.world;
    struct segment *lane[4];
    struct sst_iterator *iterator;
    for (unsigned i = 0; i < 4; i++) {
        struct lsm_change changes[40];
        for (unsigned k = 0; k < 40; k++)
            changes[k] = (struct lsm_change){(int64_t)(1000 * i + k), 100000 + i * 40 + k, k % 7 == 3};
        lane[i] = lsm_world_build(world, changes, 40);
    }
    lsm_volume_check(sst_iterator_create(&world->sst, world->volume.queue, &iterator), "sst_iterator_create");
    merge_reset(setting.merge, MERGE_ALL, false, 0, world->schema);
    cr_assert_eq(merge_add_segments(setting.merge, iterator, lane, 4), MOTE_OK);
    for (unsigned pass = 0; pass < 2; pass++) {
        int found = merge_seek(setting.merge, NULL, 0);
        for (unsigned i = 0; i < 160; i++, found = merge_next(setting.merge)) {
            struct lsm_change change = {(int64_t)(1000 * (i / 40) + i % 40), 100000 + i, i % 40 % 7 == 3};
            cr_assert_eq(found, 1);
            cr_assert(lsm_world_is(world, setting.merge, &change));
        }
        cr_assert_eq(found, 0);
    }
    sst_iterator_destroy(iterator);
    close_setting(&setting);
}

Test(lsm_merge, too_many_sources_are_refused_and_an_empty_merge_ends)
{
    struct setting setting = {0};
    struct record record;
    open_setting(&setting, 5, 10);
    merge_reset(setting.merge, MERGE_VISIBLE, false, 10, setting.world.schema);
    cr_assert_eq(merge_seek(setting.merge, NULL, 0), 0);
    cr_assert_eq(merge_next(setting.merge), 0);
    cr_assert_eq(merge_record(setting.merge, &record), MOTE_EINTERNAL);
    for (uint32_t i = 0; i < SOURCES; i++)
        cr_assert_eq(merge_add_memtable(setting.merge, NULL), MOTE_OK);
    cr_assert_eq(merge_add_memtable(setting.merge, NULL), MOTE_EBUDGET);
    cr_assert_eq(merge_seek(setting.merge, NULL, 0), 0);
    close_setting(&setting);
}
