/* sst_fuzz.c: fuzz target of segments: the input changes bytes of a good segment (of one of a few tables), every checksum is made good again as a hostile author would, and then everything is read: forward, backward, by seeks, by time,
 * verified and dumped. Whatever comes out is fine but for a crash, an access out of bounds or an error that is none of a damaged image's.
 *
 * Input: byte 0 chooses the table; then records of 6 bytes: where (4 bytes, modulo the segment) and what (xor, 1 byte; if 0, the next byte is stored). A last byte of odd value: no checksum is made good.
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: sst_fuzz [-n count] [-s seed] [file ...]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst_format.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { TABLES = 6 };

struct table {
    struct schema *schema;
    struct model model;
    struct segment segment;
    uint64_t size_bytes, device_offset;
    uint8_t *good, *bytes;
};

static struct sst_world world;
static struct table tables[TABLES];

static void prepare(void)
{
    struct sst_world_options options = {.device_bytes = 8 * MIB_BYTES, .cache_bytes = MIB_BYTES, .seed = 4711};
    if (tables[0].schema)
        return;
    sst_world_open(&world, &options);
    for (uint32_t i = 0; i < TABLES; i++) {
        struct table *table = &tables[i];
        table->schema = i == 0 ? sst_plain_schema(&world, 3) : sst_random_schema(&world, 5 + i);
        table->model = sst_random_rows(&world, table->schema, NULL, 60 + 20 * i, 50, 12);
        sst_world_segment(&world, table->schema, &table->model, 40 + i, 10, &table->segment);
        table->size_bytes = round_up(table->segment.record.segment_bytes, 512);
        table->device_offset = layout_extent_offset(&world.layout, table->segment.record.runs[0].first);
        table->good = requests_buffer(table->size_bytes, 0);
        table->bytes = requests_buffer(table->size_bytes, 0);
        sst_world_check(blockdev_read_range(world.queue, table->device_offset, table->good, table->size_bytes), "read");
    }
}

static void expect(int result)
{
    if (result == 0 || result == 1 || result == MOTE_EDAMAGED || result == MOTE_EVERSION || result == MOTE_EBUDGET || result == MOTE_ETOOBIG || result == MOTE_ENOTFOUND)
        return;
    fprintf(stderr, "%s is no error of a damaged image\n", mote_error_name(result));
    abort();
}

static int ignore_times(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        *(uint64_t *)context += (uint64_t)times_ns[i] ^ ordinals[i];
    return 0;
}

static void use_row(struct sst_iterator *iterator, const struct schema *schema)
{
    static uint8_t image[65536];
    uint32_t image_bytes;
    struct record record;
    bool has_time;
    int64_t time_ns;
    expect(sst_record(iterator, &record));
    expect(sst_time(iterator, &time_ns, &has_time));
    expect(sst_row_image(iterator, image, sizeof image, &image_bytes));
    for (uint32_t i = 0; i < schema->column_count; i++) {
        struct mote_value value;
        expect(sst_value(iterator, i, &value));
    }
    (void)sst_run_length(iterator, 1u << 20, image, 8);
}

/* Blocks by their statistics, every third one by its rows as well. */
static void read_deferred(struct sst_iterator *iterator, struct segment *segment, const struct schema *schema, uint32_t budget)
{
    struct sst_statistics statistics;
    struct sst_zone zone;
    expect(sst_iterator_open(iterator, segment, schema));
    sst_iterator_set_deferred(iterator, NULL, NULL);
    for (int on = sst_first(iterator); on > 0 && budget > 0; budget--) {
        bool skip = sst_statistics(iterator, &statistics) && budget % 3 != 0;
        for (uint32_t i = 0; skip && i < schema->column_count; i++)
            sst_statistics_zone(&statistics, i, &zone);
        if (!skip)
            use_row(iterator, schema);
        on = skip ? sst_skip_block(iterator) : sst_next(iterator);
        expect(on);
    }
}

static void read_everything(struct table *table, struct segment *segment, FILE *out)
{
    struct sst_iterator *iterator;
    uint64_t sum = 0;
    uint32_t budget = 3000; /* rows: a lying count must not keep the fuzzer busy */
    sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
    int result = sst_iterator_open(iterator, segment, table->schema);
    expect(result);
    for (int on = result ? 0 : sst_first(iterator); on && budget > 0; on = sst_next(iterator), budget--) {
        expect(on);
        if (on < 0)
            break;
        use_row(iterator, table->schema);
    }
    for (int on = result ? 0 : sst_last(iterator); on > 0 && budget > 0; on = sst_previous(iterator), budget--)
        use_row(iterator, table->schema);
    for (uint32_t i = 0; !result && i < table->model.count; i += 7) {
        const struct model_row *row = &table->model.rows[i];
        expect(sst_may_contain(iterator, row->key, row->key_bytes));
        int on = sst_seek(iterator, row->key, row->key_bytes, row->seq);
        expect(on);
        if (on > 0)
            use_row(iterator, table->schema);
        expect(sst_seek_before(iterator, row->key, row->key_bytes, row->seq));
    }
    if (!result && sst_iterator_open(iterator, segment, table->schema) == 0) { /* a few columns alone, as scans take them */
        uint32_t columns[2] = {table->schema->column_count - 1, table->schema->column_count / 2};
        sst_iterator_set_columns(iterator, columns, 2, false, true);
        for (int on = sst_first(iterator); on > 0 && budget > 0; budget--) {
            struct codec_vector values;
            expect(sst_block_column(iterator, columns[0], &values));
            expect(sst_block_column(iterator, columns[1], &values));
            sst_skip(iterator, sst_block_rows_left(iterator) - 1);
            on = sst_next(iterator);
            expect(on);
        }
    }
    if (!result) {
        sst_iterator_set_time_range(iterator, 1000, 90000);
        for (int on = sst_first(iterator); on > 0 && budget > 0; on = sst_next(iterator), budget--)
            ;
    }
    if (!result)
        read_deferred(iterator, segment, table->schema, budget);
    sst_iterator_destroy(iterator);
    expect(sst_timestamp_search(&world.context, world.queue, segment, INT64_MIN, INT64_MAX, ignore_times, &sum));
    expect(sst_verify(&world.context, world.queue, segment, table->schema, NULL, NULL));
    expect(sst_dump(&world.context, world.queue, segment, table->schema, -1, out));
    result = sst_dump(&world.context, world.queue, segment, table->schema, 1, out);
    expect(result == MOTE_EINVAL ? 0 : result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static FILE *out;
    if (size_bytes < 8 || size_bytes > 4096)
        return 0;
    prepare();
    if (!out)
        out = fopen("/dev/null", "w");
    struct table *table = &tables[data[0] % TABLES];
    struct segment segment = {.record = table->segment.record};
    memcpy(table->bytes, table->good, table->size_bytes);
    for (size_t at = 1; at + 6 < size_bytes; at += 6) {
        uint64_t place = load_u32(data + at) % segment.record.segment_bytes;
        table->bytes[place] = data[at + 4] ? (uint8_t)(table->bytes[place] ^ data[at + 4]) : data[at + 5];
    }
    if (data[size_bytes - 1] % 2 == 0)
        sst_seal(&world, table->bytes, table->size_bytes, &segment.record);
    sst_world_check(blockdev_write_range(world.queue, BLOCKDEV_SOURCE_OTHER, table->device_offset, table->bytes, table->size_bytes), "write");
    sst_world_cold(&world);
    read_everything(table, &segment, out);
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 4096 };

/* A few changes: anywhere, or in one of the heads, where the numbers are. */
static size_t make_input(uint64_t *random, uint8_t *data)
{
    world.random = *random;
    uint32_t changes = 1 + sst_random_below(&world, 4);
    data[0] = (uint8_t)sst_random(&world);
    const struct segment_record *record = &tables[data[0] % TABLES].segment.record;
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t where = sst_random_below(&world, (uint32_t)record->segment_bytes), kind = sst_random_below(&world, 3);
        if (kind == 0)
            where = (uint32_t)record->footer_offset_bytes + 28 + sst_random_below(&world, record->footer_bytes - 28);
        if (kind == 1)
            where = where / 64 * 64 + 28 + sst_random_below(&world, 100);
        store_u32(data + 1 + i * 6, where);
        data[5 + i * 6] = (uint8_t)(sst_random_below(&world, 2) ? 1u << sst_random_below(&world, 8) : 0);
        data[6 + i * 6] = (uint8_t)(sst_random_below(&world, 2) ? sst_random(&world) : sst_random_below(&world, 2) ? 0xFF : 0);
    }
    data[1 + changes * 6] = sst_random_below(&world, 20) == 0;
    data[2 + changes * 6] = data[1 + changes * 6];
    *random = world.random;
    return 3 + changes * 6;
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 500, .bytes_max = INPUT_BYTES_MAX, .prepare = prepare};
    return fuzz_run(&run, argc, argv);
}
#endif
