/* engine_backup_blob_test.c: large values in streams: a value that is being written while a base is taken, what an increment leaves out, bytes that were changed on the way or lie damaged in the source, files that nothing uses any more in a copy. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "engine/blob.h"
#include "engine/stream.h"
#include "tests/support/backup.h"
#include "tests/support/large_value.h"

enum { SIZE = 24 * 1024 * 1024, VALUE_BYTES = 700000, KEY = 100, CHUNK_BYTES = 128 << 10 };

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state state;
    uint64_t random;
    char copy[TEMPDIR_PATH_BYTES + 32];
    uint8_t *value; /* VALUE_BYTES */
};

static void make_world(struct world *world, uint32_t rounds)
{
    memset(world, 0, sizeof *world);
    world->random = 21;
    fixture_image(&world->fixture, SIZE);
    fixture_open(&world->fixture);
    backup_fill(world->fixture.db, &world->tables, rounds, &world->random, &world->state);
    snprintf(world->copy, sizeof world->copy, "%s/copy", world->fixture.folder.path);
    world->value = malloc(VALUE_BYTES);
    require(world->value != NULL);
    for (size_t i = 0; i < VALUE_BYTES; i++)
        world->value[i] = (uint8_t)(fixture_random(&world->random) >> 9);
}

static void end_world(struct world *world)
{
    free(world->value);
    fixture_remove(&world->fixture);
}

/* What changed since `from` (NULL: everything) goes to the copy. The bytes that the stream carried. */
static uint64_t bring_on(struct world *world, const char *from, const char *as)
{
    struct mote_receive_options receive = MOTE_RECEIVE_OPTIONS_INIT;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct backup_stream stream;
    struct mote_transfer transfer;
    format.image_size_bytes = SIZE;
    format.sparse = 1;
    receive.format = &format;
    backup_send(world->fixture.db, from, as, &stream, &transfer);
    must(mote_receive(world->copy, &receive, backup_read, &stream, NULL));
    must(mote_verify(world->copy, NULL, NULL));
    backup_free(&stream);
    return transfer.bytes_total;
}

static void open_copy(const struct world *world, bool read_only, mote_db **db, mote_table **frames)
{
    struct mote_options options = world->fixture.options;
    options.read_only = read_only;
    must(mote_open(world->copy, &options, db, NULL));
    must(mote_table_open(*db, "frames", frames));
}

Test(engine_backup_blob, value_written_while_a_base_is_taken_is_whole_in_the_increment)
{
    struct world world;
    mote_table *frames, *copied;
    mote_blob_writer *writer;
    mote_db *copy;
    mote_row *row = NULL;
    make_world(&world, 8);
    must(mote_table_open(world.fixture.db, "frames", &frames));
    struct mote_value values[2] = {value_i64(KEY)}, found;
    must(mote_blob_writer_open(frames, 0, &writer));
    must(mote_blob_write(writer, world.value, VALUE_BYTES / 2));
    uint64_t whole = bring_on(&world, NULL, "b0");
    must(mote_blob_write(writer, world.value + VALUE_BYTES / 2, VALUE_BYTES - VALUE_BYTES / 2));
    must(mote_blob_finish(writer, &values[1]));
    must(mote_append(frames, values, 2, NULL, NULL));
    mote_blob_writer_close(writer);
    uint64_t increment = bring_on(&world, "b0", "b1"), nothing = bring_on(&world, "b1", "b2");
    cr_assert_geq(increment, VALUE_BYTES);
    cr_assert_lt(nothing, VALUE_BYTES / 4, "%llu bytes of %llu", (unsigned long long)nothing, (unsigned long long)whole);
    open_copy(&world, true, &copy, &copied);
    must(mote_get(copied, values, 1, &row));
    must(mote_row_value(row, 1, &found));
    cr_assert_eq(found.as.bytes.size_bytes, VALUE_BYTES);
    cr_assert_eq(memcmp(found.as.bytes.data, world.value, VALUE_BYTES), 0);
    cr_assert(backup_frames_equal(copy, &world.state));
    mote_row_free(row);
    must(mote_close(copy));
    end_world(&world);
}

Test(engine_backup_blob, files_that_no_row_uses_are_freed_in_a_copy)
{
    struct world world;
    mote_table *frames;
    mote_db *copy;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    make_world(&world, 2); /* no snapshot with a name keeps anything */
    struct mote_value values[] = {value_i64(KEY), value_bytes(MOTE_TYPE_BLOB, world.value, VALUE_BYTES)};
    must(mote_table_open(world.fixture.db, "frames", &frames));
    must(mote_append(frames, values, 2, NULL, NULL));
    bring_on(&world, NULL, NULL);
    open_copy(&world, false, &copy, &frames);
    must(mote_get_stats(copy, &stats));
    cr_assert_gt(stats.blob_files, 0);
    for (int64_t key = 0; key < BACKUP_FRAMES; key++) {
        struct mote_value id = value_i64(key);
        must(mote_delete(frames, &id, 1, NULL, NULL));
    }
    must(mote_delete(frames, values, 1, NULL, NULL));
    must(mote_flush(copy));
    must(mote_compact(copy, NULL));
    must(mote_checkpoint(copy));
    while (blobs_reclaim(copy, true))
        ;
    must(mote_get_stats(copy, &stats));
    cr_assert_eq(stats.blob_files, 0);
    must(mote_close(copy));
    must(mote_verify(world.copy, NULL, NULL));
    end_world(&world);
}

/* The record's checksum is made to fit what was changed: the item's does not. */
static void seal_record(struct backup_stream *stream, size_t at, const uint8_t id[16])
{
    uint8_t *header = stream->bytes + at;
    uint32_t crc = crc32c(crc32c_seed(id, STREAM_MAGIC, load_u64(header + 16), 0), header + 8, STREAM_HEADER_BYTES - 8);
    store_u32(header + 4, crc32c(crc, header + STREAM_HEADER_BYTES, load_u32(header + 12)));
}

Test(engine_backup_blob, flipped_bytes_of_blob_files_are_refused)
{
    struct world world;
    struct backup_stream stream;
    bool of_blob = false;
    unsigned flips = 0;
    uint8_t id[16];
    make_world(&world, 4);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    memcpy(id, stream.bytes + STREAM_HEADER_BYTES + 8, sizeof id);
    for (size_t at = 0, next; at < stream.size_bytes; at = next) {
        uint32_t kind = load_u16(stream.bytes + at + 8), length = load_u32(stream.bytes + at + 12);
        next = at + STREAM_HEADER_BYTES + length;
        if (kind == STREAM_ITEM)
            of_blob = load_u32(stream.bytes + at + STREAM_HEADER_BYTES) == STREAM_ITEM_BLOB;
        bool lists = kind == STREAM_BLOBS || kind == STREAM_USES;
        if (!lists && !(kind == STREAM_DATA && of_blob))
            continue;
        for (unsigned sealed = 0; sealed < (lists ? 1u : 2u); sealed++) {
            struct blockdev *device = backup_device(SIZE);
            size_t byte = at + STREAM_HEADER_BYTES + 8 + fixture_random(&world.random) % (length - 8);
            uint8_t crc[4];
            mote_db *db;
            memcpy(crc, stream.bytes + at + 4, sizeof crc);
            stream.bytes[byte] ^= 4;
            if (sealed)
                seal_record(&stream, at, id);
            must_fail(backup_receive(device, &stream, NULL), MOTE_EDAMAGED);
            int result = engine_open(device, &world.fixture.options, &db, NULL);
            cr_assert(result == MOTE_ERESTORING || result == MOTE_EFOREIGN, "%s", mote_error_name(result));
            stream.bytes[byte] ^= 4;
            memcpy(stream.bytes + at + 4, crc, sizeof crc);
            blockdev_close(device);
            flips++;
        }
    }
    cr_assert_geq(flips, 10);
    struct blockdev *device = backup_device(SIZE);
    must(backup_receive(device, &stream, NULL));
    backup_expect(device, &world.fixture.options, true, &world.state);
    blockdev_close(device);
    backup_free(&stream);
    end_world(&world);
}

/* ---- A value that is damaged in the source ---- */

static void put_value(struct world *world, mote_table *frames, int64_t key)
{
    struct mote_value values[] = {value_i64(key), value_bytes(MOTE_TYPE_BLOB, world->value, VALUE_BYTES)};
    must(mote_append(frames, values, 2, NULL, NULL));
}

static int send_with(struct world *world, enum mote_no_verify no_verify, const char *from, struct backup_stream *stream)
{
    struct mote_send_options options = MOTE_SEND_OPTIONS_INIT;
    options.no_verify = no_verify;
    options.from = from;
    *stream = (struct backup_stream){0};
    return mote_send(world->fixture.db, &options, backup_write, stream, NULL);
}

/* The send stops with a sentence that tells which value it is, and what came of it is nothing whole. */
static void expect_refusal(struct world *world, enum mote_no_verify no_verify, uint64_t file_id)
{
    struct backup_stream stream;
    struct mote_error error;
    struct blockdev *device = backup_device(SIZE);
    char file[40];
    mote_db *db;
    must_fail(send_with(world, no_verify, NULL, &stream), MOTE_EDAMAGED);
    mote_last_error(&error);
    snprintf(file, sizeof file, " of blob file %llu:", (unsigned long long)file_id);
    cr_assert(strstr(error.message, "table frames, key 100, column frame: ") && strstr(error.message, file) && strstr(error.message, ", at byte "), "%s", error.message);
    cr_assert_str_eq(error.table, "frames");
    cr_assert_gt(error.offset_bytes, 0);
    must_fail(backup_receive(device, &stream, NULL), MOTE_EDAMAGED);
    int result = engine_open(device, &world->fixture.options, &db, NULL);
    cr_assert(result == MOTE_ERESTORING || result == MOTE_EFOREIGN, "%s", mote_error_name(result));
    blockdev_close(device);
    backup_free(&stream);
}

/* It can be sent all the same, and then is as damaged in the copy; nothing else is. */
static void expect_passed_on(struct world *world)
{
    struct backup_stream stream;
    struct blockdev *device = backup_device(SIZE);
    struct mote_value id = value_i64(KEY), value;
    mote_table *frames;
    mote_row *row = NULL;
    mote_db *db;
    must(send_with(world, MOTE_NO_VERIFY_ALL, NULL, &stream));
    must(backup_receive(device, &stream, NULL));
    must(engine_open(device, &world->fixture.options, &db, NULL));
    must(mote_table_open(db, "frames", &frames));
    must(mote_get(frames, &id, 1, &row));
    must_fail(mote_row_value(row, 1, &value), MOTE_EDAMAGED);
    cr_assert(backup_frames_equal(db, &world->state));
    mote_row_free(row);
    engine_abandon(db);
    blockdev_close(device);
    backup_free(&stream);
}

Test(engine_backup_blob, damaged_value_stops_the_send)
{
    struct world world;
    struct backup_stream stream;
    mote_table *frames;
    make_world(&world, 8);
    must(mote_table_open(world.fixture.db, "frames", &frames));
    for (int64_t key = KEY; key < KEY + 4; key++)
        put_value(&world, frames, key);
    bring_on(&world, NULL, "b0");
    for (unsigned round = 0; round < 12; round++) {
        uint64_t byte = fixture_random(&world.random) % VALUE_BYTES;
        uint8_t mask = (uint8_t)(1u << fixture_random(&world.random) % 8);
        large_value_flip(frames, KEY, 1, byte, mask);
        expect_refusal(&world, round % 2 ? MOTE_NO_VERIFY_SEGMENTS : MOTE_NO_VERIFY_NONE, large_value_file_id(frames, KEY, 1, byte - byte % CHUNK_BYTES)); /* a chunk that goes on in the next file is told by its beginning */
        large_value_flip(frames, KEY, 1, byte, mask);
    }
    large_value_flip(frames, KEY, 1, 5000, 1);
    expect_passed_on(&world);
    put_value(&world, frames, KEY + 9);
    must(send_with(&world, MOTE_NO_VERIFY_NONE, "b0", &stream)); /* the copy has the value already */
    backup_free(&stream);
    must_fail(send_with(&world, MOTE_NO_VERIFY_NONE, NULL, &stream), MOTE_EDAMAGED);
    backup_free(&stream);
    must_fail(send_with(&world, MOTE_NO_VERIFY_SEGMENTS + 1, NULL, &stream), MOTE_EINVAL);
    cr_assert_eq(stream.size_bytes, 0);
    large_value_flip(frames, KEY, 1, 5000, 1);
    bring_on(&world, "b0", "b1");
    end_world(&world);
}
