/* lsm_sst_ahead_test.c: reading ahead: the same rows, with fewer requests, without flushing the cache, whatever becomes of the reads; nothing for a short look; several iterators in turn; an end in the middle of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

struct setting {
    struct sst_world world;
    struct schema *schema;
    struct model model;
    struct segment segment;
    struct sst_ahead *ahead;
    struct sst_iterator *iterator;
};

static void open_setting(struct setting *setting, uint64_t seed, uint32_t rows, uint64_t cache_bytes, uint32_t flags)
{
    struct sst_world_options options = {.seed = seed, .cache_bytes = cache_bytes, .extent_bytes = MIB_BYTES, .device_bytes = 128 * MIB_BYTES};
    sst_world_open(&setting->world, &options);
    setting->schema = sst_plain_schema(&setting->world, 10);
    setting->schema->flags = flags;
    setting->model = sst_random_rows(&setting->world, setting->schema, NULL, rows, 1 << 30, 3);
    sst_world_segment(&setting->world, setting->schema, &setting->model, 9, 100, &setting->segment);
    sst_world_cold(&setting->world);
    sst_world_check(sst_ahead_create(&setting->world.context, &setting->ahead), "reading ahead");
    sst_world_check(sst_iterator_create(&setting->world.context, setting->world.queue, &setting->iterator), "iterator");
    sst_world_check(sst_iterator_open(setting->iterator, &setting->segment, setting->schema), "open");
}

static void close_setting(struct setting *setting)
{
    sst_iterator_destroy(setting->iterator);
    sst_ahead_destroy(setting->ahead);
    sst_model_free(&setting->model);
    schema_free(setting->world.memory, setting->schema);
    sst_world_close(&setting->world);
}

/* A new iterator that reads ahead, and nothing cached. */
static void start_cold(struct setting *setting)
{
    sst_iterator_destroy(setting->iterator);
    sst_world_cold(&setting->world);
    sst_world_check(sst_iterator_create(&setting->world.context, setting->world.queue, &setting->iterator), "iterator");
    sst_world_check(sst_iterator_open(setting->iterator, &setting->segment, setting->schema), "open");
    sst_iterator_unpin(setting->iterator);
    sst_iterator_set_ahead(setting->iterator, setting->ahead);
}

static uint64_t reads(const struct setting *setting)
{
    struct blockdev_counters counters;
    blockdev_get_counters(setting->world.device, &counters);
    return counters.read_count;
}

/* Walks from the present record on; the number of rows, or what failed. Rests now and then, as a cursor does. */
static int64_t walk(struct setting *setting, struct sst_iterator *iterator, int on, uint32_t at, uint32_t count)
{
    char fault[200];
    int error;
    uint32_t walked = 0;
    for (; on > 0 && walked < count; on = sst_next(iterator), at++, walked++) {
        bool equal = sst_row_equals(iterator, setting->schema, &setting->model.rows[at], fault, &error);
        if (error)
            return error;
        cr_assert(equal, "row %u: %s", at, fault);
        if (walked % 777 == 776)
            sst_iterator_unpin(iterator);
    }
    return on < 0 ? on : (int64_t)walked;
}

Test(lsm_sst_ahead, scan_reads_the_same_rows_with_fewer_requests_and_leaves_the_cache_alone)
{
    uint64_t seed = requests_seed("lsm_sst_ahead");
    for (uint32_t layout = 0; layout < 2; layout++) {
        struct setting setting;
        struct cache_counters before, after;
        open_setting(&setting, seed, 30000, MIB_BYTES, layout ? MOTE_TABLE_ROW_PAGES : 0);
        uint64_t start = reads(&setting);
        cr_assert_eq(walk(&setting, setting.iterator, sst_first(setting.iterator), 0, UINT32_MAX), setting.model.count);
        uint64_t alone = reads(&setting) - start;
        start_cold(&setting);
        cache_get_counters(setting.world.cache, &before);
        start = reads(&setting);
        cr_assert_eq(walk(&setting, setting.iterator, sst_first(setting.iterator), 0, UINT32_MAX), setting.model.count);
        uint64_t ahead = reads(&setting) - start;
        cache_get_counters(setting.world.cache, &after);
        cr_assert_lt(ahead, alone / 2, "%llu requests ahead, %llu without", (unsigned long long)ahead, (unsigned long long)alone);
        cr_assert_eq(after.evictions, before.evictions, "the scan flushed the cache");
        close_setting(&setting);
    }
}

Test(lsm_sst_ahead, short_looks_and_backward_walks_read_nothing_ahead)
{
    struct setting setting;
    open_setting(&setting, 5, 20000, 4 * MIB_BYTES, 0);
    sst_iterator_set_ahead(setting.iterator, setting.ahead);
    uint64_t start = reads(&setting);
    cr_assert_eq(walk(&setting, setting.iterator, sst_first(setting.iterator), 0, 150), 150);
    cr_assert_leq(reads(&setting) - start, 3, "footer was there; a partition and two blocks");
    start = reads(&setting);
    uint32_t blocks = 0;
    for (int on = sst_last(setting.iterator); on > 0 && blocks < 1000; on = sst_previous(setting.iterator))
        blocks++;
    cr_assert_leq(reads(&setting) - start, 13, "ten blocks back");
    close_setting(&setting);
}

Test(lsm_sst_ahead, failed_and_damaged_reads_are_read_again_and_told)
{
    uint64_t seed = requests_seed("lsm_sst_ahead_faults");
    struct setting setting;
    uint32_t failures = 0, silent = 0;
    open_setting(&setting, seed, 8000, MIB_BYTES, seed % 2 ? MOTE_TABLE_ROW_PAGES : 0);
    sst_iterator_set_ahead(setting.iterator, setting.ahead);
    for (uint32_t skip = 0; skip < 40; skip++) {
        struct faulty_rule rule = {.kind = skip % 2 ? FAULTY_ERRNO : FAULTY_BIT_FLIP, .op_mask = 1u << BLOCKDEV_READ, .skip = skip / 2, .times = skip % 3 == 2 ? 1000 : 1, .system_errno = EIO, .bit = sst_random(&setting.world) % 100000};
        start_cold(&setting);
        faulty_clear(setting.world.device);
        faulty_add(setting.world.device, &rule);
        int64_t got = walk(&setting, setting.iterator, sst_first(setting.iterator), 0, UINT32_MAX);
        cr_assert(got == setting.model.count || got == MOTE_EIO || got == MOTE_EDAMAGED, "%lld", (long long)got);
        failures += got < 0;
        silent += got >= 0;
        faulty_clear(setting.world.device);
    }
    cr_assert(failures > 0 && silent > 0, "%u failures, %u not noticed", failures, silent);
    close_setting(&setting);
}

Test(lsm_sst_ahead, iterators_share_the_windows_and_end_anywhere)
{
    struct setting setting;
    struct sst_iterator *iterators[6];
    uint32_t places[6];
    open_setting(&setting, 77, 30000, 2 * MIB_BYTES, MOTE_TABLE_ROW_PAGES);
    for (uint32_t i = 0; i < 6; i++) {
        sst_world_check(sst_iterator_create(&setting.world.context, setting.world.queue, &iterators[i]), "iterator");
        sst_world_check(sst_iterator_open(iterators[i], &setting.segment, setting.schema), "open");
        sst_iterator_set_ahead(iterators[i], setting.ahead);
        places[i] = i * 3000;
        const struct model_row *row = &setting.model.rows[places[i]];
        cr_assert_eq(sst_seek(iterators[i], row->key, row->key_bytes, row->seq), 1);
    }
    for (uint32_t step = 0; step < 300; step++) {
        uint32_t which = sst_random_below(&setting.world, 6), count = 1 + sst_random_below(&setting.world, 500);
        if (places[which] + count >= setting.model.count || step % 50 == 49) {
            places[which] = sst_random_below(&setting.world, 5000);
            const struct model_row *row = &setting.model.rows[places[which]];
            cr_assert_eq(sst_seek(iterators[which], row->key, row->key_bytes, row->seq), 1);
        }
        cr_assert_eq(walk(&setting, iterators[which], 1, places[which], count), count);
        places[which] += count;
    }
    for (uint32_t i = 0; i < 6; i++)
        sst_iterator_destroy(iterators[i]);
    sst_ahead_rest(setting.ahead);
    close_setting(&setting);
}

Test(lsm_sst_ahead, short_scans_near_each_other_in_segments_of_different_length_stay_within_them)
{
    struct setting setting;
    struct segment shorter;
    open_setting(&setting, 41, 30000, 64 * MIB_BYTES, 0);
    struct model few = sst_random_rows(&setting.world, setting.schema, NULL, 3000, 1 << 30, 3), many = setting.model;
    sst_world_segment(&setting.world, setting.schema, &few, 10, 100, &shorter);
    uint32_t place = 0;
    for (uint32_t step = 0; step < 600; step++) {
        bool in_shorter = sst_random_below(&setting.world, 4) != 0;
        setting.model = in_shorter ? few : many;
        uint32_t count = 1 + sst_random_below(&setting.world, 400), last = setting.model.count - count;
        place = step % 2 && place + 500 < last ? place + sst_random_below(&setting.world, 500) : sst_random_below(&setting.world, last);
        const struct model_row *row = &setting.model.rows[place];
        sst_world_check(sst_iterator_open(setting.iterator, in_shorter ? &shorter : &setting.segment, setting.schema), "open");
        sst_iterator_set_ahead(setting.iterator, step % 3 ? setting.ahead : NULL);
        if (step % 3)
            sst_iterator_set_expected(setting.iterator, count);
        cr_assert_eq(sst_seek(setting.iterator, row->key, row->key_bytes, row->seq), 1);
        cr_assert_eq(walk(&setting, setting.iterator, 1, place, count), count);
        sst_iterator_set_ahead(setting.iterator, NULL); /* as a cursor that is closed */
        sst_iterator_unpin(setting.iterator);
    }
    sst_model_free(&few);
    setting.model = many;
    close_setting(&setting);
}
