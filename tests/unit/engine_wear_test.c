/* engine_wear_test.c: trims, and the counters of a volume's life. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/health.h"
#include "engine/engine_private.h"
#include "tests/support/blob_rows.h"
#include "tests/support/engine_model.h"

TestSuite(engine_wear, .timeout = 120);

/* ---- Trim ---- */

/* Bytes of the simulated disk that were discarded, as far as they lie in extents. */
static uint64_t lost_bytes(struct fixture *fixture, const struct layout *layout)
{
    uint64_t size = layout->device_size_bytes, count = 0;
    uint8_t *image = malloc(size);
    require(image != NULL);
    sim_read_content(fixture->sim, false, image);
    for (uint64_t at = 0; at < size; at += SECTOR_BYTES) {
        bool lost = true;
        for (uint32_t i = 0; i < SECTOR_BYTES && lost; i++)
            lost = image[at + i] == SIM_LOST_BYTE;
        require(!lost || (at >= layout->extents_offset_bytes && at < layout_extent_offset(layout, layout->extent_count)));
        count += lost ? SECTOR_BYTES : 0;
    }
    free(image);
    return count;
}

static void trim_with(uint32_t granularity_bytes, uint32_t alignment_bytes, uint64_t seed)
{
    struct fixture fixture;
    struct model model = model_make(4000);
    struct mote_trim_options options = MOTE_TRIM_OPTIONS_INIT;
    struct mote_trim_result dry = {.size_bytes = sizeof dry}, wet = {.size_bytes = sizeof wet};
    struct sim_options disk = {.size_bytes = 48 * MIB_BYTES, .logical_block_bytes = 512, .seed = seed, .discard_granularity_bytes = granularity_bytes, .discard_alignment_bytes = alignment_bytes};
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    fixture_sim(&fixture, 48 * MIB_BYTES, seed, false);
    blockdev_close(fixture.sim);
    must(sim_create(&disk, &fixture.sim));
    must(engine_format(fixture.sim, &format, NULL));
    fixture.options.trim = MOTE_TRIM_OFF;
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t version = 1; version < 40; version++) {
        model_put_batch(table, &model, version * 97 % 3000, 1000, version, NULL, NULL);
        if (version % 8 == 0)
            must(mote_checkpoint(fixture.db));
    }
    must(mote_compact(fixture.db, NULL));
    struct layout layout = fixture.db->superblock.layout;
    cr_expect_eq(lost_bytes(&fixture, &layout), 0, "trim was off");
    options.dry_run = 1;
    must(mote_trim(fixture.db, &options, &dry));
    cr_expect_eq(lost_bytes(&fixture, &layout), 0, "a dry run discards nothing");
    cr_expect_eq(dry.granularity_bytes, granularity_bytes);
    options.dry_run = 0;
    must(mote_trim(fixture.db, &options, &wet));
    cr_expect_eq(wet.trimmed_bytes, dry.trimmed_bytes);
    cr_expect_eq(lost_bytes(&fixture, &layout), wet.trimmed_bytes);
    cr_expect_gt(wet.trimmed_bytes, 16 * MIB_BYTES);
    cr_expect_eq(fixture_stats(&fixture).bytes_trimmed, wet.trimmed_bytes);
    model_check(table, &model);
    must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
    fixture_crash(&fixture); /* nothing that the next open needs went */
    table = model_table_open(fixture.db, "arm");
    model_check(table, &model);
    /* Now as it goes along. */
    fixture_close(&fixture);
    fixture.options.trim = MOTE_TRIM_AUTO;
    fixture_open(&fixture);
    table = model_table_open(fixture.db, "arm");
    for (uint32_t version = 40; version < 60; version++) {
        model_put_batch(table, &model, version * 97 % 3000, 1000, version, NULL, NULL);
        if (version % 8 == 0)
            must(mote_checkpoint(fixture.db));
    }
    must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
    fixture_crash(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    lost_bytes(&fixture, &layout);
    model_free(&model);
    fixture_remove(&fixture);
}

Test(engine_wear, trim_discards_all_free_space_and_nothing_else)
{
    trim_with(4096, 0, 83);
    trim_with(64 * 1024, 0, 84);
    trim_with(1024 * 1024, 0, 85);
    trim_with(1024 * 1024, 12 * 4096, 86);
    trim_with(2 * 1024 * 1024, 4096, 87);
}

Test(engine_wear, trim_of_an_image_file_is_refused_unless_asked_for)
{
    struct fixture fixture;
    struct mote_trim_result result = {.size_bytes = sizeof result};
    struct mote_trim_options dry = MOTE_TRIM_OPTIONS_INIT;
    struct stat before, after;
    dry.dry_run = 1;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = blob_rows_create(fixture.db, "gone");
    for (int64_t i = 0; i < 64; i += BLOB_ROWS_BATCH)
        must(blob_rows_append(table, i, NULL));
    must(mote_checkpoint(fixture.db));
    must(mote_table_drop(fixture.db, "gone"));
    must(mote_checkpoint(fixture.db));
    must_fail(mote_trim(fixture.db, NULL, &result), MOTE_ENOTSUP);
    must(mote_trim(fixture.db, &dry, &result));
    cr_expect_gt(result.trimmed_bytes, 4 * MIB_BYTES);
    fixture_close(&fixture);
    cr_assert_eq(stat(fixture.path, &before), 0);
    fixture.options.trim = MOTE_TRIM_ON;
    fixture_open(&fixture);
    must(mote_trim(fixture.db, NULL, &result));
    fixture_reopen(&fixture);
    cr_assert_eq(stat(fixture.path, &after), 0);
    cr_expect_lt(after.st_blocks, before.st_blocks, "%ld blocks before, %ld after", (long)before.st_blocks, (long)after.st_blocks);
    fixture.options.read_only = 1;
    fixture_reopen(&fixture);
    must_fail(mote_trim(fixture.db, NULL, NULL), MOTE_EREADONLY);
    fixture_remove(&fixture);
}

/* ---- Trims of large values, and of what a resize brings ---- */

enum { LARGE_BYTES = 1000000, LARGE_COUNT = 6 };

static void fill_large(uint8_t *bytes, uint64_t seed)
{
    for (uint32_t i = 0; i < LARGE_BYTES; i += 8)
        store_u64(bytes + i, fixture_random(&seed));
}

static mote_table *large_create(mote_db *db, const char *name, uint64_t seed)
{
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "b", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    uint8_t *bytes = malloc(LARGE_BYTES);
    require(bytes != NULL);
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    for (uint32_t i = 0; i < LARGE_COUNT; i++) {
        fill_large(bytes, seed + i);
        const struct mote_value row[] = {value_i64(i), value_bytes(MOTE_TYPE_BLOB, bytes, LARGE_BYTES)};
        must(mote_append(table, row, 2, NULL, NULL));
    }
    free(bytes);
    return table;
}

static void large_check(mote_db *db, const char *name, uint64_t seed)
{
    mote_table *table;
    mote_row *row = NULL;
    struct mote_value value;
    uint8_t *bytes = malloc(LARGE_BYTES);
    require(bytes != NULL);
    must(mote_table_open(db, name, &table));
    for (uint32_t i = 0; i < LARGE_COUNT; i++) {
        struct mote_value key = value_i64(i);
        fill_large(bytes, seed + i);
        must(mote_get(table, &key, 1, &row));
        must(mote_row_value(row, 1, &value));
        cr_assert_eq(value.as.bytes.size_bytes, LARGE_BYTES);
        cr_assert_eq(memcmp(value.as.bytes.data, bytes, LARGE_BYTES), 0);
    }
    mote_row_free(row);
    free(bytes);
}

Test(engine_wear, extents_of_large_values_are_trimmed_when_they_come_free)
{
    struct fixture fixture;
    fixture_sim(&fixture, 48 * MIB_BYTES, 90, false);
    fixture.options.blob_threshold_bytes = 4096;
    fixture_open(&fixture);
    struct layout layout = fixture.db->superblock.layout;
    large_create(fixture.db, "kept", 1000);
    large_create(fixture.db, "gone", 2000);
    must(mote_checkpoint(fixture.db));
    struct mote_wear wear = {.size_bytes = sizeof wear};
    must(mote_get_wear(fixture.db, 0, &wear));
    cr_expect_geq(wear.written_blob_bytes, 2ull * LARGE_COUNT * LARGE_BYTES);
    uint64_t before = lost_bytes(&fixture, &layout), least = before + (uint64_t)LARGE_COUNT * LARGE_BYTES;
    must(mote_table_drop(fixture.db, "gone"));
    must(mote_checkpoint(fixture.db));
    for (int i = 0; i < 1000 && fixture_stats(&fixture).bytes_trimmed < least; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    cr_expect_geq(lost_bytes(&fixture, &layout), least);
    large_check(fixture.db, "kept", 1000);
    fixture_crash(&fixture);
    large_check(fixture.db, "kept", 1000);
    fixture_remove(&fixture);
}

Test(engine_wear, a_resize_keeps_the_sums_and_what_it_brings_is_trimmed)
{
    struct fixture fixture;
    struct model model = model_make(4000);
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    struct mote_resize_result resized = {.size_bytes = sizeof resized};
    struct mote_trim_result trimmed = {.size_bytes = sizeof trimmed};
    struct mote_wear before = {.size_bytes = sizeof before}, after = {.size_bytes = sizeof after};
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture.options.trim = MOTE_TRIM_ON;
    fixture_open(&fixture);
    model_put_batch(model_table_create(fixture.db, "arm"), &model, 0, 4000, 1, NULL, NULL);
    must(mote_get_wear(fixture.db, 0, &before));
    fixture_close(&fixture);
    static const uint64_t sizes[] = {96 * MIB_BYTES, 24 * MIB_BYTES};
    for (int i = 0; i < 2; i++) {
        must(mote_resize(fixture.path, sizes[i], &options, &resized));
        fixture_open(&fixture);
        must(mote_get_wear(fixture.db, 0, &after));
        cr_expect_eq(after.format_time_s, before.format_time_s);
        cr_expect_gt(after.written_bytes - after.handle_written_bytes, before.written_bytes, "the close and the resize are counted");
        must(mote_trim(fixture.db, NULL, &trimmed));
        cr_expect_gt(trimmed.trimmed_bytes, sizes[i] / 4);
        cr_expect_lt(trimmed.trimmed_bytes, sizes[i]);
        fixture_reopen(&fixture);
        model_check(model_table_open(fixture.db, "arm"), &model);
        must(mote_get_wear(fixture.db, 0, &before));
        cr_expect_geq(before.trimmed_bytes, trimmed.trimmed_bytes);
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
    }
    model_free(&model);
    fixture_remove(&fixture);
}

/* ---- Wear ---- */

static struct mote_wear wear_of(struct fixture *fixture, uint64_t rated_bytes)
{
    struct mote_wear wear = {.size_bytes = sizeof wear};
    must(mote_get_wear(fixture->db, rated_bytes, &wear));
    cr_expect_eq(wear.written_bytes, wear.written_wal_bytes + wear.written_flush_bytes + wear.written_compaction_bytes + wear.written_index_bytes + wear.written_manifest_bytes + wear.written_superblock_bytes +
                                         wear.written_other_bytes + wear.written_blob_bytes);
    return wear;
}

static uint64_t device_bytes_written(struct blockdev *device)
{
    struct blockdev_counters counters;
    uint64_t sum = 0;
    blockdev_get_counters(device, &counters);
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        sum += counters.written_bytes[i];
    return sum;
}

Test(engine_wear, sums_add_up_over_opens_and_lose_little_in_a_crash)
{
    struct fixture fixture;
    struct model model = model_make(1000);
    fixture_sim(&fixture, 48 * MIB_BYTES, 88, false);
    uint64_t true_bytes = device_bytes_written(fixture.sim); /* the format's; later ones go through gates to this same disk */
    fixture_open(&fixture);
    cr_expect_eq(wear_of(&fixture, 0).written_bytes - wear_of(&fixture, 0).handle_written_bytes, true_bytes, "the format counts");
    mote_table *table = model_table_create(fixture.db, "arm");
    for (int round = 1; round <= 5; round++) {
        for (uint32_t version = 0; version < 4; version++)
            model_put_batch(table, &model, 0, 1000, (uint32_t)round * 10 + version, NULL, NULL);
        fixture_reopen(&fixture);
        table = model_table_open(fixture.db, "arm");
        struct mote_wear wear = wear_of(&fixture, 0);
        cr_expect_eq(wear.written_bytes, device_bytes_written(fixture.sim), "clean ends lose nothing");
        cr_expect_eq(wear.opens, (uint64_t)round + 1);
        cr_expect_gt(wear.written_wal_bytes, 0);
        cr_expect_gt(wear.written_flush_bytes, 0);
    }
    must(mote_checkpoint(fixture.db));
    struct mote_wear before = wear_of(&fixture, 0);
    model_put_batch(table, &model, 0, 1000, 90, NULL, NULL);
    must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
    uint64_t lost_most = wear_of(&fixture, 0).written_bytes - before.written_bytes;
    fixture_crash(&fixture);
    struct mote_wear after = wear_of(&fixture, 0);
    cr_expect_geq(after.written_bytes, before.written_bytes);
    cr_expect_geq(after.written_bytes + lost_most + MIB_BYTES, device_bytes_written(fixture.sim));
    model_free(&model);
    fixture_remove(&fixture);
}

Test(engine_wear, projections_follow_from_the_rate)
{
    struct fixture fixture;
    fixture_sim(&fixture, 32 * MIB_BYTES, 89, false);
    fixture_open(&fixture);
    struct mote_wear wear = wear_of(&fixture, 1000 * (uint64_t)MIB_BYTES);
    cr_expect_eq(wear.health_known, 0);
    cr_expect_gt(strlen(wear.health_source), 0, "it says why");
    cr_expect_eq(wear.left_seconds_by_device, UINT64_MAX);
    cr_expect_gt(wear.format_time_s, 1600000000);
    cr_expect_geq(wear.age_seconds, wear.used_seconds);
    fixture.db->superblock.used_seconds = 1000; /* as if */
    fixture.db->superblock.format_time_s += 500000; /* a clock that was ahead when it was formatted */
    wear = wear_of(&fixture, 1000 * (uint64_t)MIB_BYTES);
    cr_expect_eq(wear.age_seconds, wear.used_seconds, "a calendar that makes no sense is left aside");
    uint64_t left = 1000 * (uint64_t)MIB_BYTES - wear.written_bytes;
    cr_expect_leq(llabs((long long)(wear.left_seconds_at_use_rate - left / (wear.written_bytes / wear.used_seconds))), (long long)wear.left_seconds_at_use_rate / 100);
    cr_expect_eq(wear_of(&fixture, 1).left_seconds_at_use_rate, 0, "more than rated is written");
    cr_expect_eq(wear_of(&fixture, 0).left_seconds_at_use_rate, UINT64_MAX);
    fixture_remove(&fixture);
}

Test(engine_wear, pages_of_devices_are_read_as_their_standards_say)
{
    struct blockdev_health health;
    uint8_t page[HEALTH_NVME_PAGE_BYTES] = {0};
    page[0] = 4;
    page[3] = 97;
    page[5] = 103;
    store_u64(page + 48, 1000000);
    store_u64(page + 128, 12345);
    store_u64(page + 160, 7);
    health_from_nvme(page, &health);
    cr_expect(health.known && strcmp(health.source, "NVMe") == 0);
    cr_expect_eq(health.warnings, 4);
    cr_expect_eq(health.spare_percent, 97);
    cr_expect_eq(health.used_percent, 103);
    cr_expect_eq(health.written_bytes, 512000000000ull);
    cr_expect_eq(health.power_on_hours, 12345);
    cr_expect_eq(health.media_errors, 7);
    store_u64(page + 56, 1);
    health_from_nvme(page, &health);
    cr_expect_eq(health.written_bytes, UINT64_MAX, "beyond 64 bits it is as much as there is");
    cr_expect(health_from_emmc("0x01 0x03", "0x01", &health));
    cr_expect_eq(health.used_percent, 30);
    cr_expect_eq(health.warnings, 0);
    cr_expect(health_from_emmc("0x0b 0x00", "0x03", &health));
    cr_expect_eq(health.used_percent, 110);
    cr_expect_eq(health.warnings, 2);
    const char *const none[] = {"", "0x00 0x00", "0x0c 0x01", "text"};
    for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++)
        cr_expect_not(health_from_emmc(none[i], "", &health), "%s", none[i]);
}
