/* lsm_sst_golden_test.c: the bytes of a tiny segment, as version 2 of the format with columns of version 2 has them (sst_format.h, codec_format.h, timestamp_format.h): what this program writes today must be what every later one reads. A change here is a change of the format:
 * version, golden bytes, docs/format.md and changelog go along. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/lsm/sst_format.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

static const uint8_t golden[] = {
#include "tests/unit/lsm_sst_golden.inc"
};

static const struct sst_world_options options = {.device_bytes = 8 * MIB_BYTES, .cache_bytes = MIB_BYTES, .seed = 1};

/* int64 "k" (key), timestamp "t" (time), text "s", float64 "x": five versions of four keys, one of them a tombstone, keys out of order so that there is a filter. */
static void make_table(struct sst_world *world, struct schema **schema, struct model *model)
{
    struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "s", .type = MOTE_TYPE_TEXT}, {.name = "x", .type = MOTE_TYPE_FLOAT64}};
    static const int64_t keys[] = {5, -3, 5, 900, 7};
    static const char *const texts[] = {"alpha", "", "beta", "gamma", "delta"};
    uint32_t key[] = {0};
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = "golden";
    definition.columns = columns;
    definition.column_count = 4;
    definition.key_columns = key;
    definition.key_column_count = 1;
    definition.time_column = 1;
    sst_world_check(schema_create(world->memory, &definition, 0x1122334455667788, 0x100, schema), "schema");
    *model = (struct model){0};
    for (uint32_t i = 0; i < 5; i++) {
        struct mote_value values[4] = {{.type = MOTE_TYPE_INT64, .as.i64 = keys[i]}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 1000000 - (int64_t)i * 1000}, {.type = MOTE_TYPE_TEXT, .as.bytes = {texts[i], strlen(texts[i])}},
                                       {.type = MOTE_TYPE_FLOAT64, .is_null = i == 1, .as.f64 = i * 0.5}};
        sst_model_add(model, *schema, values, 4, 50 + i, i == 4);
    }
    sst_model_sort(model);
}

Test(lsm_sst_golden, segment_written_equals_the_golden_bytes)
{
    struct sst_world world;
    struct schema *schema;
    struct model model;
    struct segment segment;
    sst_world_open(&world, &options);
    make_table(&world, &schema, &model);
    sst_world_segment(&world, schema, &model, 0x0A0B0C0D, 3, &segment);
    uint8_t *bytes = requests_buffer(segment.record.segment_bytes, 0);
    sst_world_check(blockdev_read_range(world.queue, layout_extent_offset(&world.layout, segment.record.runs[0].first), bytes, segment.record.segment_bytes), "read");
    bool equal = segment.record.segment_bytes == sizeof golden && memcmp(bytes, golden, sizeof golden) == 0;
    for (uint64_t i = 0; !equal && i < segment.record.segment_bytes; i++)
        fprintf(stderr, "0x%02x,%s", bytes[i], i % 24 == 23 ? "\n" : " ");
    cr_assert(equal, "the segment's bytes (above) are not the golden ones");
    cr_assert_eq(segment.record.footer_crc, load_u32(golden + segment.record.footer_offset_bytes + 4));
    free(bytes);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_golden, golden_bytes_read_back)
{
    struct sst_world world;
    struct schema *schema;
    struct model model;
    struct segment segment = {0};
    sst_world_open(&world, &options);
    make_table(&world, &schema, &model);
    uint8_t *bytes = requests_buffer(round_up(sizeof golden, 512), 0);
    memcpy(bytes, golden, sizeof golden);
    sst_world_check(blockdev_write_range(world.queue, BLOCKDEV_SOURCE_OTHER, layout_extent_offset(&world.layout, 3), bytes, round_up(sizeof golden, 512)), "write");
    /* What the manifest would know: the footer is the last structure. */
    uint64_t footer = 0;
    for (uint64_t at = 0; at + 64 <= sizeof golden; at += 64)
        footer = load_u32(golden + at) == SST_MAGIC_FOOTER ? at : footer;
    segment.record = (struct segment_record){.id = 0x0A0B0C0D, .table_id = 0x1122334455667788, .schema_version = 1, .row_count = 5, .delete_count = 1, .seq_min = 50, .seq_max = 54, .time_min = 997000, .time_max = 1000000,
                                             .segment_bytes = sizeof golden, .footer_offset_bytes = footer, .footer_bytes = load_u32(golden + footer + 24), .footer_crc = load_u32(golden + footer + 4), .block_count = 2,
                                             .extent_run_count = 1, .runs = {{3, 1}}};
    segment_key_set(&segment.record.min_key, model.rows[0].key, model.rows[0].key_bytes);
    segment_key_set(&segment.record.max_key, model.rows[4].key, model.rows[4].key_bytes);
    struct sst_iterator *iterator;
    char fault[200] = "";
    int error;
    uint32_t at = 0;
    sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
    sst_world_check(sst_iterator_open(iterator, &segment, schema), "open");
    for (int on = sst_first(iterator); on > 0; on = sst_next(iterator), at++)
        cr_assert(sst_row_equals(iterator, schema, &model.rows[at], fault, &error), "%s %d", fault, error);
    cr_assert_eq(at, 5);
    cr_assert_eq(sst_may_contain(iterator, (const uint8_t *)"\x80\0\0\0\0\0\0\x06", 8), 0, "the filter denies key 6");
    sst_iterator_destroy(iterator);
    sst_world_check(sst_verify(&world.context, world.queue, &segment, schema, NULL, NULL), "verify");
    free(bytes);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

/* A few fields by the offset tables, so that code and tables cannot drift together. */
Test(lsm_sst_golden, first_block_follows_the_offset_table)
{
    static const uint8_t head[] = {'M', 'S', 'B', 'K'};
    cr_assert_arr_eq(golden, head, 4);
    cr_assert_eq(load_u64(golden + 8), 0x0A0B0C0D);  /* segment */
    cr_assert_eq(load_u64(golden + 16), 0);          /* own offset */
    cr_assert_eq(load_u16(golden + 28), 2);          /* version */
    cr_assert_eq(load_u32(golden + 32), 3);          /* rows: -3, 5, 5 */
    cr_assert_eq(load_u32(golden + 36), 0);          /* tombstones */
    cr_assert_eq(load_u32(golden + 40), 1);          /* repeats */
    cr_assert_eq(load_u32(golden + 44), 4);          /* columns */
    cr_assert_eq(load_u64(golden + 48), 50);         /* smallest seq */
    cr_assert_eq(load_u64(golden + 56), 52);         /* greatest */
    cr_assert_eq(load_u32(golden + 64), 96);         /* the first stream: 64 + 7 * 4, rounded up to 8 */
    cr_assert_eq(load_u32(golden + 64 + 5 * 4), load_u32(golden + 64 + 6 * 4), "no kinds");
    cr_assert_eq(load_u32(golden + 64 + 6 * 4), load_u32(golden + 24), "the end is the length");
    uint8_t uuid[16], seed[36];
    for (uint8_t i = 0; i < 16; i++)
        uuid[i] = (uint8_t)(0x30 + i);
    memcpy(seed, uuid, 16);
    store_u32(seed + 16, SST_MAGIC_BLOCK);
    store_u64(seed + 20, 0x0A0B0C0D);
    store_u64(seed + 28, 0);
    /* The block's checksum: its head, then the checksums of its streams, which its partition has too. */
    uint32_t crc = crc32c(crc32c(0, seed, 36), golden + 8, 96 - 8);
    uint64_t partition = 0;
    while (load_u32(golden + partition) != SST_MAGIC_PARTITION)
        partition += 64;
    const uint8_t *entry = golden + partition + load_u32(golden + partition + SST_PARTITION_HEADER_BYTES), *streams = entry + SST_ENTRY_BYTES + 4 * SST_ZONE_BYTES + 16;
    cr_assert_eq(load_u32(entry + 88), 1);           /* repeats */
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t start = load_u32(golden + 64 + i * 4), end = load_u32(golden + 64 + (i + 1) * 4);
        store_u32(seed + 16, SST_MAGIC_STREAM);
        store_u64(seed + 28, start);
        cr_assert_eq(load_u32(streams + i * 8), start, "stream %u", i);
        cr_assert_eq(load_u32(streams + i * 8 + 4), crc32c(crc32c(0, seed, 36), golden + start, end - start), "stream %u", i);
        crc = crc32c(crc, streams + i * 8 + 4, 4);
    }
    cr_assert_eq(load_u32(golden + 4), crc);
}

/* The same table row by row: two blocks of a page each (three rows, two rows); every field by the offset tables, images as the schema has them. */
Test(lsm_sst_golden, row_pages_follow_the_offset_tables)
{
    struct sst_world world;
    struct schema *schema;
    struct model model;
    struct segment segment;
    sst_world_open(&world, &options);
    make_table(&world, &schema, &model);
    schema->flags = MOTE_TABLE_ROW_PAGES;
    sst_world_segment(&world, schema, &model, 0x0A0B0C0D, 3, &segment);
    uint8_t *bytes = requests_buffer(segment.record.segment_bytes, 0);
    sst_world_check(blockdev_read_range(world.queue, layout_extent_offset(&world.layout, segment.record.runs[0].first), bytes, segment.record.segment_bytes), "read");
    cr_assert_eq(load_u32(bytes), SST_MAGIC_ROWS);
    cr_assert_eq(load_u32(bytes + 24), 4096);         /* length */
    cr_assert_eq(load_u32(bytes + 32), 3);            /* rows: -3, 5, 5 */
    cr_assert_eq(load_u32(bytes + 40), 1);            /* repeats */
    cr_assert_eq(load_u16(bytes + 64), 3);            /* the first unit: rows */
    cr_assert_eq(load_u16(bytes + 66), 1);            /* pages */
    uint32_t start = 80, image_bytes[3];              /* 64, 8, three slots rounded up to 8 */
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t slot = load_u16(bytes + 72 + i * 2);
        image_bytes[i] = model.rows[i].image_bytes;
        cr_assert_eq(slot & SST_SLOT_START, start, "row %u", i);
        cr_assert_eq(slot & ~(uint32_t)SST_SLOT_START, i < 2 ? (8 - image_bytes[i] % 8) % 8 : 0, "no tombstone, and its padding");
        cr_assert_eq(load_u64(bytes + start), model.rows[i].seq);
        cr_assert_arr_eq(bytes + start + 8, model.rows[i].image, image_bytes[i]);
        start += 8 + (uint32_t)round_up(image_bytes[i], 8);
    }
    cr_assert_eq(load_u32(bytes + 68), start - (uint32_t)round_up(image_bytes[2], 8) + image_bytes[2], "the end of the last row");
    cr_assert_eq(load_u32(bytes + 4096), SST_MAGIC_ROWS, "the second block begins with a page");
    cr_assert_eq(load_u16(bytes + 4096 + 72) & SST_SLOT_DELETED, SST_SLOT_DELETED, "key 7 is a tombstone");
    const uint8_t *deleted = bytes + 4096 + 80 + 8;
    cr_assert_eq(load_u64(deleted), 0xE, "of a tombstone all but the key is NULL");
    cr_assert_eq(load_u64(deleted + schema->columns[0].row_offset), 7);
    /* The page directory of the first block: behind the zone maps and the keys of its entry in the partition. */
    uint64_t partition = 8192;
    cr_assert_eq(load_u32(bytes + partition), SST_MAGIC_PARTITION);
    const uint8_t *entry = bytes + partition + load_u32(bytes + partition + SST_PARTITION_HEADER_BYTES), *pages = entry + SST_ENTRY_BYTES + 4 * SST_ZONE_BYTES + 16;
    cr_assert_eq(load_u16(entry + 84), SST_ENTRY_PAGES | 8);
    cr_assert_eq(load_u32(pages), 1);                 /* units */
    cr_assert_eq(load_u64(pages + 8), model.rows[0].seq);
    cr_assert_eq(load_u32(pages + 8 + 12), 8);        /* end of the key */
    cr_assert_eq(load_u16(pages + 8 + 16), 0);        /* first page */
    cr_assert_eq(load_u16(pages + 8 + 18), 3);        /* rows */
    cr_assert_arr_eq(pages + 8 + 20, model.rows[0].key, 8);
    uint8_t seed[36];
    memcpy(seed, world.context.uuid, 16);
    store_u32(seed + 16, SST_MAGIC_PAGE);
    store_u64(seed + 20, 0x0A0B0C0D);
    store_u64(seed + 28, 0);
    cr_assert_eq(load_u32(pages + 8 + 8), crc32c(crc32c(0, seed, 36), bytes, 4096));
    free(bytes);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}
