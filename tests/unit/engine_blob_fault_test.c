/* engine_blob_fault_test.c: large values where the device refuses requests, is full, or lies; values larger than memory; input that is no good. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/faulty.h"
#include "tests/support/blob_world.h"
#include "tests/support/large_value.h"

static unsigned faults;
static void count_fault(const struct mote_error *fault, void *context)
{
    (void)context;
    cr_assert_eq(fault->code, MOTE_EDAMAGED);
    faults++;
}

/* A write that the device refuses fails its append, and nothing else; a FLUSH that it refuses ends the handle. Without threads: a checkpoint in the
 * background would meet the refused FLUSH first. */
Test(engine_blob_fault, device_refuses_writes_and_flush_reported)
{
    static struct blob_world world;
    static _Alignas(4096) uint8_t memory[BLOB_WORLD_BYTES_MAX + 8];
    uint8_t *bytes = memory + 8; /* copied, by buffers of 256 KiB */
    struct mote_value row[3];
    memset(&world, 0, sizeof world);
    fixture_image(&world.fixture, 96ull << 20);
    world.fixture.options.workers = MOTE_NO_THREADS;
    fixture_open_faulty(&world.fixture);
    blob_world_make_table(&world, "cam", 0);
    for (uint64_t skip = 0; skip < 4; skip++) {
        struct blob_content content = {.seed = skip + 1, .size_bytes = 1 << 20, .there = true};
        blob_content_row((int64_t)skip, &content, bytes, row);
        int rule = faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_BLOB, .skip = skip, .times = 1, .system_errno = 5});
        must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_EIO);
        cr_assert_eq(faulty_hits(world.fixture.faulty, rule), 1);
        must(mote_append(world.table, row, 3, NULL, NULL));
        world.rows[skip] = content;
        blob_world_check(&world);
        faulty_clear(world.fixture.faulty);
    }
    faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .times = UINT64_MAX, .system_errno = 5});
    mote_row *found = NULL;
    struct mote_value value;
    must(mote_get(world.table, row, 1, &found));
    must_fail(mote_row_value(found, 1, &value), MOTE_EIO);
    faulty_clear(world.fixture.faulty);
    must(mote_row_value(found, 1, &value));
    mote_row_free(found);
    faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .times = 1, .system_errno = 5});
    must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_EIO);
    must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_EPOISONED);
    faulty_clear(world.fixture.faulty);
    fixture_remove(&world.fixture);
}

Test(engine_blob_fault, device_full_refused_rest_intact)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    struct mote_value row[3];
    int result = MOTE_OK;
    blob_world_begin(&world, 48ull << 20, 13);
    int64_t key = 0;
    for (; key < BLOB_WORLD_KEYS && !result; key++) {
        struct blob_content content = {.seed = ++world.next_seed, .size_bytes = 2 << 20, .there = true};
        blob_content_row(key, &content, bytes, row);
        result = mote_append(world.table, row, 3, NULL, NULL);
        if (!result)
            world.rows[key] = content;
    }
    cr_assert_eq(result, MOTE_ENOSPC);
    blob_world_check(&world);
    for (int64_t gone = 0; gone < 6; gone++) {
        row[0] = value_i64(gone);
        must(mote_delete(world.table, row, 1, NULL, NULL));
        world.rows[gone].there = false;
    }
    blob_content_row(0, &world.rows[key - 2], bytes, row);
    must(mote_append(world.table, row, 3, NULL, NULL));
    world.rows[0] = world.rows[key - 2];
    blob_world_check(&world);
    fixture_reopen(&world.fixture);
    blob_world_reopen_table(&world);
    blob_world_check(&world);
    fixture_remove(&world.fixture);
}

/* Any bit of a value on the device: that value is refused, and everything else is there. */
Test(engine_blob_fault, bit_flipped_value_refused_others_read)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    struct mote_value row[3], value;
    blob_world_begin(&world, 96ull << 20, 9);
    for (int64_t key = 0; key < 4; key++) {
        world.rows[key] = (struct blob_content){.seed = ++world.next_seed, .size_bytes = 300000, .there = true};
        blob_content_row(key, &world.rows[key], bytes, row);
        must(mote_append(world.table, row, 3, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    for (unsigned round = 0; round < 60; round++) {
        uint64_t byte = blob_world_draw(&world, 300000);
        uint8_t mask = (uint8_t)(1u << blob_world_draw(&world, 8));
        int64_t damaged = (int64_t)blob_world_draw(&world, 4);
        large_value_flip(world.table, damaged, 1, byte, mask);
        for (int64_t key = 0; key < 4; key++) {
            mote_row *found = NULL;
            struct mote_value id = value_i64(key);
            must(mote_get(world.table, &id, 1, &found));
            must(mote_row_value(found, 2, &value));
            if (key == damaged) {
                must_fail(mote_row_value(found, 1, &value), MOTE_EDAMAGED);
            } else {
                must(mote_row_value(found, 1, &value));
                blob_content_check(&value, &world.rows[key]);
            }
            mote_row_free(found);
        }
        large_value_flip(world.table, damaged, 1, byte, mask);
    }
    blob_world_check(&world);
    large_value_flip(world.table, 2, 1, 77, 1);
    fixture_close(&world.fixture);
    faults = 0;
    must_fail(mote_verify(world.fixture.path, count_fault, NULL), MOTE_EDAMAGED);
    cr_assert_eq(faults, 1);
    fixture_remove(&world.fixture);
}

Test(engine_blob_fault, value_larger_than_memory_refused_but_streamed)
{
    static struct blob_world world;
    static uint8_t bytes[1 << 20];
    struct mote_value row[3] = {value_i64(1), value_null(MOTE_TYPE_BLOB), value_text("x")}, value;
    mote_blob_writer *writer;
    mote_blob_reader *reader;
    mote_row *found = NULL;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    size_t read;
    blob_world_begin(&world, 256ull << 20, 10);
    must(mote_blob_writer_open(world.table, 0, &writer));
    for (unsigned i = 0; i < 64; i++) {
        memset(bytes, (int)i, sizeof bytes);
        must(mote_blob_write(writer, bytes, sizeof bytes));
    }
    must(mote_blob_finish(writer, &row[1]));
    must(mote_append(world.table, row, 3, NULL, NULL));
    mote_blob_writer_close(writer);
    must(mote_get(world.table, row, 1, &found));
    must_fail(mote_row_value(found, 1, &value), MOTE_EBUDGET);
    must(mote_row_value(found, 2, &value));
    mote_row_free(found);
    must(mote_scan(world.table, NULL, &cursor));
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_EBUDGET);
    mote_cursor_close(cursor);
    must(mote_blob_reader_open(world.table, NULL, row, 1, 1, &reader));
    for (unsigned i = 0; i < 64; i++) {
        must(mote_blob_read(reader, (uint64_t)i << 20, bytes, sizeof bytes, &read));
        cr_assert(read == sizeof bytes && bytes[0] == i && bytes[read - 1] == i);
    }
    mote_blob_reader_close(reader);
    fixture_remove(&world.fixture);
}

Test(engine_blob_fault, bad_input_refused)
{
    static struct blob_world world;
    const uint32_t column = 1, id_column = 0;
    struct mote_index_options index = {.size_bytes = sizeof index, .name = "i", .kind = MOTE_INDEX_COLUMN, .columns = &column, .column_count = 1};
    struct mote_column_definition late = {.name = "late", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}, text = {.name = "t", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_LARGE};
    struct mote_value row[3] = {value_i64(1), value_text("not a blob"), value_text("x")};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_blob_writer *writer;
    mote_blob_reader *reader;
    mote_table *table;
    blob_world_begin(&world, 96ull << 20, 11);
    must_fail(mote_index_create(world.table, &index), MOTE_EINVAL);
    must_fail(mote_table_add_column(world.table, &late), MOTE_EINVAL);
    schema.name = "other";
    schema.columns = &text;
    schema.column_count = 1;
    must_fail(mote_table_create(world.fixture.db, &schema, &table), MOTE_EINVAL);
    late.flags = MOTE_COLUMN_LARGE;
    schema.columns = &late;
    schema.key_columns = &id_column;
    schema.key_column_count = 1;
    must_fail(mote_table_create(world.fixture.db, &schema, &table), MOTE_EINVAL);
    must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_ESCHEMA);
    row[1] = (struct mote_value){.type = MOTE_TYPE_BLOB, .as.bytes = {NULL, 5}};
    must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_EINVAL);
    must(mote_blob_writer_open(world.table, 0, &writer));
    row[1] = (struct mote_value){.type = MOTE_VALUE_WRITER, .as.bytes = {writer, 0}};
    must_fail(mote_append(world.table, row, 3, NULL, NULL), MOTE_EINVAL);
    mote_blob_writer_close(writer);
    row[1] = value_null(MOTE_TYPE_BLOB);
    must(mote_append(world.table, row, 3, NULL, NULL));
    must_fail(mote_blob_reader_open(world.table, NULL, row, 1, 1, &reader), MOTE_ENOTFOUND);
    must_fail(mote_blob_reader_open(world.table, NULL, row, 1, 2, &reader), MOTE_EINVAL);
    must_fail(mote_blob_reader_open(world.table, NULL, row, 1, 9, &reader), MOTE_ENOCOLUMN);
    cr_assert_eq(fixture_stats(&world.fixture).blob_files, 0);
    fixture_remove(&world.fixture);
}
