/* lsm_sst_parts_test.c: blocks read in parts: the same values as of whole blocks, by fewer bytes; nothing that its checksum does not confirm: flipped bits, streams that were lost, or that landed elsewhere; a directory that contradicts the
 * block; a segment of another version. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "engine/lsm/sst_format.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

enum { FLOATS = 14, COLUMNS = FLOATS + 2, BLOCK_ROWS = 1000 };

struct setting {
    struct sst_world world;
    struct schema *schema;
    struct model model;
    struct segment segment;
    struct sst_ahead *ahead;
    uint8_t *bytes; /* of the segment */
    uint64_t size_bytes, device_offset;
};

static void open_setting(struct setting *setting, uint64_t seed, uint32_t rows, uint32_t tombstones)
{
    struct sst_world_options options = {.seed = seed, .extent_bytes = 8 * MIB_BYTES, .device_bytes = 192 * MIB_BYTES};
    sst_world_open(&setting->world, &options);
    setting->schema = sst_plain_schema(&setting->world, FLOATS);
    cr_assert_eq(setting->schema->column_count, COLUMNS);
    setting->model = sst_random_rows(&setting->world, setting->schema, NULL, rows, 1 << 30, tombstones);
    sst_world_segment(&setting->world, setting->schema, &setting->model, 9, BLOCK_ROWS, &setting->segment);
    sst_world_check(sst_ahead_create(&setting->world.context, &setting->ahead), "reading ahead");
    cr_assert_eq(setting->segment.record.extent_run_count, 1);
    setting->size_bytes = round_up(setting->segment.record.segment_bytes, 512);
    setting->device_offset = layout_extent_offset(&setting->world.layout, setting->segment.record.runs[0].first);
    setting->bytes = requests_buffer(setting->size_bytes, 0);
    sst_world_check(blockdev_read_range(setting->world.queue, setting->device_offset, setting->bytes, setting->size_bytes), "read");
    sst_world_cold(&setting->world);
}

static void close_setting(struct setting *setting)
{
    sst_ahead_destroy(setting->ahead);
    free(setting->bytes);
    sst_model_free(&setting->model);
    schema_free(setting->world.memory, setting->schema);
    sst_world_close(&setting->world);
}

static void write_back(struct setting *setting)
{
    sst_world_check(blockdev_write_range(setting->world.queue, BLOCKDEV_SOURCE_OTHER, setting->device_offset, setting->bytes, setting->size_bytes), "write");
    sst_world_cold(&setting->world);
}

/* Takes the wanted columns of all blocks, as a scan does: whole columns, no keys. A sum of all bits, or what failed. */
static int scan_columns(struct setting *setting, struct segment *segment, const uint32_t *columns, uint32_t count, bool parts, bool ahead, bool keep, uint64_t *sum)
{
    struct sst_iterator *iterator;
    *sum = 0;
    sst_world_check(sst_iterator_create(&setting->world.context, setting->world.queue, &iterator), "iterator");
    int result = sst_iterator_open(iterator, segment, setting->schema), on = 0;
    if (!result && parts)
        sst_iterator_set_columns(iterator, columns, count, false, keep);
    sst_iterator_set_ahead(iterator, ahead ? setting->ahead : NULL);
    on = result ? result : sst_first(iterator);
    while (on > 0 && !result) {
        uint32_t rows = sst_block_rows_left(iterator);
        for (uint32_t i = 0; i < count && !result; i++) {
            struct codec_vector values;
            result = sst_block_column(iterator, columns[i], &values);
            size_t width = result ? 0 : codec_value_bytes(values.type, values.dimension);
            for (size_t at = 0; at < rows * width; at++)
                *sum = *sum * 31 + ((const uint8_t *)values.values)[at];
        }
        if (!result) {
            sst_skip(iterator, rows - 1);
            on = sst_next(iterator);
        }
    }
    sst_iterator_destroy(iterator);
    sst_ahead_rest(setting->ahead);
    return result ? result : on;
}

static uint64_t bytes_read(const struct setting *setting)
{
    struct blockdev_counters counters;
    blockdev_get_counters(setting->world.device, &counters);
    return counters.read_bytes;
}

Test(lsm_sst_parts, any_columns_are_those_of_whole_blocks)
{
    struct setting setting;
    open_setting(&setting, requests_seed("lsm_sst_parts"), 16000, 0);
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t columns[COLUMNS], count = 1 + sst_random_below(&setting.world, round % 3 ? 3 : COLUMNS);
        uint64_t whole, parts, start;
        for (uint32_t i = 0; i < count; i++)
            columns[i] = round < COLUMNS && i == 0 ? round : sst_random_below(&setting.world, COLUMNS);
        sst_world_cold(&setting.world);
        start = bytes_read(&setting);
        cr_assert_eq(scan_columns(&setting, &setting.segment, columns, count, false, round % 2, false, &whole), 0);
        uint64_t whole_bytes = bytes_read(&setting) - start;
        sst_world_cold(&setting.world);
        start = bytes_read(&setting);
        cr_assert_eq(scan_columns(&setting, &setting.segment, columns, count, true, round % 2, round % 4 == 1, &parts), 0);
        uint64_t parts_bytes = bytes_read(&setting) - start;
        cr_assert_eq(parts, whole, "round %u", round);
        cr_assert(count > 1 || parts_bytes * 5 < whole_bytes, "round %u: %llu bytes of %llu for one column", round, (unsigned long long)parts_bytes, (unsigned long long)whole_bytes);
        /* What may stay in the cache does. */
        start = bytes_read(&setting);
        cr_assert_eq(scan_columns(&setting, &setting.segment, columns, count, true, round % 2, round % 4 == 1, &parts), 0);
        cr_assert_eq(parts, whole);
        cr_assert(round % 4 != 1 || count > 3 || bytes_read(&setting) == start, "round %u: %llu bytes of %u columns (the first: %u) were not kept", round, (unsigned long long)(bytes_read(&setting) - start), count, columns[0]);
    }
    close_setting(&setting);
}

/* Stream `stream` of block `number` counted in the segment: where it lies. Whole blocks lie one behind the other at the segment's beginning. */
static void find_stream(const struct setting *setting, uint32_t number, uint32_t stream, uint64_t *start, uint64_t *end)
{
    uint64_t block = 0;
    for (; number > 0; number--)
        block = round_up(block + load_u32(setting->bytes + block + 24), SST_ALIGN_BYTES);
    cr_assert_eq(load_u32(setting->bytes + block), SST_MAGIC_BLOCK);
    *start = block + load_u32(setting->bytes + block + SST_BLOCK_HEADER_BYTES + stream * 4);
    *end = block + load_u32(setting->bytes + block + SST_BLOCK_HEADER_BYTES + (stream + 1) * 4);
}

/* Scans one column of the damaged image: the same answer, or damage that names the place. true: damage. */
static bool is_refused(struct setting *setting, uint32_t column, bool ahead, bool keep, uint64_t good, const char *what, uint64_t at)
{
    struct mote_error error;
    uint64_t sum;
    sst_world_cold(&setting->world);
    int result = scan_columns(setting, &setting->segment, &column, 1, true, ahead, keep, &sum);
    cr_assert(result == MOTE_EDAMAGED || (result == 0 && sum == good), "%s, byte %llu: %d, or another answer", what, (unsigned long long)at, result);
    if (result == 0)
        return false;
    cr_assert_eq(error_get(&error), MOTE_EDAMAGED);
    cr_assert(strstr(error.message, "segment 9") && error.length_bytes > 0, "the place is not named: %s", error.message);
    return true;
}

Test(lsm_sst_parts, flipped_bits_are_damage_of_who_reads_them_and_of_nobody_else)
{
    struct setting setting;
    uint32_t column = 5, damaged = 0, tried = 0;
    uint64_t good, start, end;
    open_setting(&setting, requests_seed("lsm_sst_parts_flip"), 5000, 0);
    cr_assert_eq(scan_columns(&setting, &setting.segment, &column, 1, true, false, false, &good), 0);
    find_stream(&setting, 3, column, &start, &end);
    for (uint64_t at = 0; at < setting.segment.record.segment_bytes; at += at + 400 >= start && at < end ? 61 : 769, tried++) {
        uint64_t sector = round_down(at, 512);
        uint8_t bit = (uint8_t)(1u << sst_random_below(&setting.world, 8));
        setting.bytes[at] ^= bit;
        sst_world_check(blockdev_write_range(setting.world.queue, BLOCKDEV_SOURCE_OTHER, setting.device_offset + sector, setting.bytes + sector, 512), "write");
        bool refused = is_refused(&setting, column, at % 2, at % 3 == 0, good, "flipped", at);
        cr_assert(refused || at < start || at >= end, "byte %llu of the column was trusted", (unsigned long long)at);
        damaged += refused;
        setting.bytes[at] ^= bit;
        sst_world_check(blockdev_write_range(setting.world.queue, BLOCKDEV_SOURCE_OTHER, setting.device_offset + sector, setting.bytes + sector, 512), "write");
    }
    cr_assert(damaged > 30 && damaged < tried / 2, "%u of %u", damaged, tried);
    close_setting(&setting);
}

/* The columns are floats that do not pack: streams of one column have the same length in each block, and are whole in themselves. */
Test(lsm_sst_parts, lost_and_misdirected_streams_are_damage)
{
    struct setting setting;
    uint64_t good, from, from_end, to, to_end;
    uint32_t column = 7;
    open_setting(&setting, requests_seed("lsm_sst_parts_lost"), 5000, 0);
    uint8_t *original = requests_buffer(setting.size_bytes, 0);
    memcpy(original, setting.bytes, setting.size_bytes);
    cr_assert_eq(scan_columns(&setting, &setting.segment, &column, 1, true, false, false, &good), 0);
    for (uint32_t round = 0; round < 12; round++) {
        memcpy(setting.bytes, original, setting.size_bytes);
        find_stream(&setting, round % 4, round < 8 ? column : column + 1, &from, &from_end);
        find_stream(&setting, (round + 1) % 4, column, &to, &to_end);
        uint64_t size = to_end - to < from_end - from ? to_end - to : from_end - from;
        if (round < 4)
            memset(setting.bytes + to, 0, to_end - to); /* what was there before the write that was lost */
        else
            memcpy(setting.bytes + to, original + from, size); /* of another block, or of the neighbouring column */
        write_back(&setting);
        cr_assert(is_refused(&setting, column, round % 2, false, good, "lost or misdirected", to), "round %u", round);
        uint32_t other = 3;
        uint64_t sum;
        sst_world_cold(&setting.world);
        cr_assert_eq(scan_columns(&setting, &setting.segment, &other, 1, true, round % 2, false, &sum), 0, "another column is not concerned");
    }
    free(original);
    close_setting(&setting);
}

/* The first entry of the first partition, and the checksums above it made good after it was changed. */
static uint8_t *first_entry(const struct setting *setting, uint64_t *partition)
{
    const uint8_t *footer = setting->bytes + setting->segment.record.footer_offset_bytes;
    const uint8_t *entry = footer + load_u32(footer + SST_FOOTER_HEADER_BYTES + load_u32(footer + 120) * SST_FOOTER_COLUMN_BYTES);
    *partition = load_u64(entry);
    return setting->bytes + *partition + load_u32(setting->bytes + *partition + SST_PARTITION_HEADER_BYTES);
}

static uint32_t seal(const struct setting *setting, uint64_t at)
{
    struct sst_header header = {.magic = load_u32(setting->bytes + at), .length_bytes = load_u32(setting->bytes + at + 24), .segment_id = 9, .offset_bytes = at};
    uint32_t crc = sst_crc(setting->world.context.uuid, &header, setting->bytes + at, NULL);
    store_u32(setting->bytes + at + 4, crc);
    return crc;
}

static void seal_index(struct setting *setting, uint64_t partition)
{
    uint8_t *footer = setting->bytes + setting->segment.record.footer_offset_bytes;
    uint8_t *entry = footer + load_u32(footer + SST_FOOTER_HEADER_BYTES + load_u32(footer + 120) * SST_FOOTER_COLUMN_BYTES);
    store_u32(entry + 12, seal(setting, partition));
    setting->segment.record.footer_crc = seal(setting, setting->segment.record.footer_offset_bytes);
}

Test(lsm_sst_parts, verify_compares_the_streams_with_their_directory)
{
    struct setting setting;
    uint64_t partition;
    open_setting(&setting, 11, 3000, 5);
    cr_assert_eq(sst_verify(&setting.world.context, setting.world.queue, &setting.segment, setting.schema, NULL, NULL), 0);
    uint8_t *entry = first_entry(&setting, &partition);
    uint8_t *streams = entry + SST_ENTRY_BYTES + COLUMNS * SST_ZONE_BYTES + load_u16(entry + 84) + load_u16(entry + 86);
    streams = entry + round_up((uint64_t)(streams - entry), 8);
    for (uint32_t stream = 0; stream < COLUMNS + 2; stream++) {
        streams[stream * SST_STREAM_BYTES + 5] ^= 0x10;
        seal_index(&setting, partition);
        write_back(&setting);
        cr_assert_eq(sst_verify(&setting.world.context, setting.world.queue, &setting.segment, setting.schema, NULL, NULL), MOTE_EDAMAGED, "stream %u", stream);
        streams[stream * SST_STREAM_BYTES + 5] ^= 0x10;
    }
    /* Starts that leave the block are refused with the partition. */
    store_u32(streams + 3 * SST_STREAM_BYTES, 0x7FFFFFF8);
    seal_index(&setting, partition);
    write_back(&setting);
    uint32_t column = 2;
    uint64_t sum;
    cr_assert_eq(scan_columns(&setting, &setting.segment, &column, 1, true, false, false, &sum), MOTE_EDAMAGED);
    close_setting(&setting);
}

Test(lsm_sst_parts, segment_of_another_version_is_refused_with_its_number)
{
    struct setting setting;
    struct mote_error error;
    uint32_t column = 2;
    uint64_t sum;
    open_setting(&setting, 12, 500, 5);
    store_u16(setting.bytes + setting.segment.record.footer_offset_bytes + 28, 1);
    setting.segment.record.footer_crc = seal(&setting, setting.segment.record.footer_offset_bytes);
    write_back(&setting);
    cr_assert_eq(scan_columns(&setting, &setting.segment, &column, 1, true, false, false, &sum), MOTE_EVERSION);
    error_get(&error);
    cr_assert(strstr(error.message, "version 1 ") && strstr(error.message, "version 2 "), "%s", error.message);
    close_setting(&setting);
}
