/* engine_blob_test.c: large values through appends, batches, write batches, transactions, gets, scans, snapshots, flushes, compactions, reopens and crashes, against a model of their contents; that they are freed with their rows; streams. Damage and limits: engine_blob_fault_test.c. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blob.h"
#include "tests/support/blob_world.h"

static void append_batch(struct blob_world *world, bool in_set)
{
    static uint8_t bytes[8 * (1 << 20)];
    int64_t ids[6];
    uint32_t offsets[7] = {3};
    uint8_t validity = 0;
    const uint32_t positions[] = {1, 0};
    struct blob_content contents[6];
    uint64_t at = 3;
    for (unsigned i = 0; i < 6; i++) {
        ids[i] = (int64_t)((blob_world_draw(world, BLOB_WORLD_KEYS / 6) * 6 + i) % BLOB_WORLD_KEYS);
        contents[i] = blob_world_draw_content(world);
        if (!contents[i].null) {
            blob_content_fill(bytes + at, &contents[i]);
            at += contents[i].size_bytes;
            validity = (uint8_t)(validity | 1u << i);
        }
        offsets[i + 1] = (uint32_t)at;
    }
    const struct mote_column columns[] = {{MOTE_TYPE_BLOB, 1, bytes, offsets, &validity}, {MOTE_TYPE_INT64, 1, ids, NULL, NULL}};
    const struct mote_batch batch = {6, 2, columns, positions};
    if (in_set) {
        mote_write *write;
        must(mote_write_begin(world->fixture.db, &write));
        must(mote_write_columns(write, world->table, &batch));
        must(mote_write_commit(write, NULL, NULL));
        mote_write_free(write);
    } else {
        must(mote_append_columns(world->table, &batch, NULL, NULL));
    }
    for (unsigned i = 0; i < 6; i++)
        world->rows[ids[i]] = contents[i];
}

static void append_some(struct blob_world *world)
{
    static _Alignas(4096) uint8_t memory[BLOB_WORLD_BYTES_MAX + 8];
    uint8_t *bytes = memory + blob_world_draw(world, 2) * 8;
    struct mote_value row[3];
    int64_t key = (int64_t)blob_world_draw(world, BLOB_WORLD_KEYS);
    struct blob_content content = blob_world_draw_content(world);
    blob_content_row(key, &content, bytes, row);
    switch (blob_world_draw(world, 6)) {
    case 0:
        append_batch(world, blob_world_draw(world, 2));
        return;
    case 1: {
        mote_transaction *transaction;
        mote_row *found = NULL;
        struct mote_value value;
        must(mote_transaction_begin(world->fixture.db, NULL, &transaction));
        must(mote_transaction_put(transaction, world->table, row, 3));
        must(mote_transaction_get(transaction, world->table, row, 1, &found));
        must(mote_row_value(found, 1, &value));
        blob_content_check(&value, &content);
        mote_row_free(found);
        if (blob_world_draw(world, 3) == 0) {
            mote_transaction_abort(transaction);
            return;
        }
        must(mote_transaction_commit(transaction, NULL, NULL));
        break;
    }
    case 2:
        if (world->rows[key].there) {
            must_fail(mote_insert(world->table, row, 3, NULL, NULL), MOTE_EEXISTS);
            return;
        }
        must(mote_insert(world->table, row, 3, NULL, NULL));
        break;
    case 3:
        must(mote_delete(world->table, row, 1, NULL, NULL));
        world->rows[key].there = false;
        return;
    default:
        must(mote_append(world->table, row, 3, NULL, NULL));
        break;
    }
    world->rows[key] = content;
}

static void live_through(uint64_t seed, unsigned rounds, uint64_t device_bytes)
{
    static struct blob_world world;
    blob_world_begin(&world, device_bytes, seed);
    for (unsigned round = 0; round < rounds; round++) {
        append_some(&world);
        if (blob_world_draw(&world, 8) == 0 && fixture_event(&world.fixture, "cam", &world.random))
            blob_world_reopen_table(&world);
        if (blob_world_draw(&world, 5) == 0)
            blob_world_check(&world);
    }
    blob_world_check(&world);
    fixture_remove(&world.fixture);
}

Test(engine_blob, written_and_read_through_all_events_same_bytes)
{
    for (uint64_t seed = 1; seed <= fixture_scale(4); seed++)
        live_through(seed, 250, 256ull << 20);
}

/* Many times the device's size goes through it. */
Test(engine_blob, rows_overwritten_for_ever_space_comes_back)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    blob_world_begin(&world, 96ull << 20, 5);
    for (unsigned i = 0; i < 400; i++) {
        struct mote_value row[3];
        int64_t key = (int64_t)(i % 8);
        struct blob_content content = {.seed = ++world.next_seed, .size_bytes = 1 << 20, .there = true};
        blob_content_row(key, &content, bytes, row);
        must(mote_append(world.table, row, 3, NULL, NULL));
        world.rows[key] = content;
    }
    blob_world_check(&world);
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, "cam"));
    fixture_reopen(&world.fixture);
    blob_world_reopen_table(&world);
    blob_world_check(&world);
    for (int64_t key = 0; key < 8; key++) {
        struct mote_value id = value_i64(key);
        must(mote_delete(world.table, &id, 1, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, "cam"));
    fixture_reopen(&world.fixture);
    require(blobs_reclaim(world.fixture.db, true) || true);
    struct mote_stats stats = fixture_stats(&world.fixture);
    cr_assert_eq(stats.blob_files, 0, "%llu files are left", (unsigned long long)stats.blob_files);
    fixture_remove(&world.fixture);
}

Test(engine_blob, table_dropped_files_go)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    struct mote_value row[3];
    struct blob_content content = {.seed = 1, .size_bytes = 1 << 20, .there = true};
    blob_world_begin(&world, 96ull << 20, 6);
    for (int64_t key = 0; key < 20; key++) {
        blob_content_row(key, &content, bytes, row);
        must(mote_append(world.table, row, 3, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    cr_assert_gt(fixture_stats(&world.fixture).blob_files, 10);
    must(mote_table_drop(world.fixture.db, "cam"));
    must(mote_checkpoint(world.fixture.db));
    blobs_reclaim(world.fixture.db, true);
    fixture_reopen(&world.fixture);
    blobs_reclaim(world.fixture.db, true);
    cr_assert_eq(fixture_stats(&world.fixture).blob_files, 0);
    fixture_remove(&world.fixture);
}

Test(engine_blob, snapshot_and_row_handle_and_reader_keep_old_values)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    struct blob_content old[BLOB_WORLD_KEYS] = {{0}};
    mote_snapshot *snapshot;
    mote_row *kept = NULL;
    mote_blob_reader *reader;
    struct mote_value row[3], id = value_i64(3), value;
    size_t read;
    blob_world_begin(&world, 96ull << 20, 7);
    for (int64_t key = 0; key < 8; key++) {
        world.rows[key] = (struct blob_content){.seed = ++world.next_seed, .size_bytes = 600000, .there = true};
        blob_content_row(key, &world.rows[key], bytes, row);
        must(mote_append(world.table, row, 3, NULL, NULL));
    }
    memcpy(old, world.rows, sizeof old);
    must(mote_snapshot_take(world.fixture.db, NULL, &snapshot));
    must(mote_get(world.table, &id, 1, &kept));
    must(mote_blob_reader_open(world.table, NULL, &id, 1, 1, &reader));
    for (unsigned round = 0; round < 3; round++) {
        for (int64_t key = 0; key < 8; key++) {
            world.rows[key] = (struct blob_content){.seed = ++world.next_seed, .size_bytes = 700000, .there = true};
            blob_content_row(key, &world.rows[key], bytes, row);
            must(mote_append(world.table, row, 3, NULL, NULL));
        }
        must(mote_flush(world.fixture.db));
        must(mote_compact(world.fixture.db, "cam"));
    }
    blob_world_check_gets(&world, snapshot, old);
    blob_world_check_scan(&world, snapshot, old);
    blob_world_check(&world);
    mote_snapshot_release(snapshot);
    must(mote_flush(world.fixture.db));
    must(mote_append(world.table, row, 3, NULL, NULL));
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, "cam"));
    blobs_reclaim(world.fixture.db, true);
    must(mote_row_value(kept, 1, &value));
    blob_content_check(&value, &old[3]);
    cr_assert_eq(mote_blob_size(reader), 600000);
    must(mote_blob_read(reader, 0, bytes, sizeof bytes, &read));
    cr_assert(blob_content_is(bytes, read, &old[3]));
    mote_blob_reader_close(reader);
    mote_row_free(kept);
    fixture_remove(&world.fixture);
}

Test(engine_blob, streamed_in_pieces_same_bytes)
{
    static struct blob_world world;
    static uint8_t bytes[24 << 20], back[1 << 20];
    struct mote_value row[3] = {value_i64(1), value_null(MOTE_TYPE_BLOB), value_text("x")};
    blob_world_begin(&world, 128ull << 20, 8);
    for (unsigned round = 0; round < 6; round++) {
        mote_blob_writer *writer, *given_up;
        mote_blob_reader *reader;
        uint64_t size_bytes = round == 0 ? 0 : round == 1 ? 1 : round == 2 ? sizeof bytes : blob_world_draw(&world, sizeof bytes), at = 0;
        struct blob_content content = {.seed = round + 1, .size_bytes = size_bytes};
        blob_content_fill(bytes, &content);
        must(mote_blob_writer_open(world.table, round % 2 ? size_bytes : 0, &writer));
        must(mote_blob_writer_open(world.table, 0, &given_up));
        while (at < size_bytes) {
            uint64_t part = 1 + blob_world_draw(&world, 700000);
            part = part < size_bytes - at ? part : size_bytes - at;
            must(mote_blob_write(writer, bytes + at, part));
            must(mote_blob_write(given_up, bytes + at, part / 8));
            at += part;
        }
        must(mote_blob_finish(writer, &row[1]));
        must_fail(mote_blob_write(writer, bytes, 1), MOTE_EINVAL);
        struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
        options.durability = MOTE_DURABILITY_SYNC;
        must(mote_append(world.table, row, 3, &options, NULL));
        mote_blob_writer_close(writer);
        mote_blob_writer_close(given_up);
        if (round % 2)
            fixture_crash(&world.fixture);
        else
            fixture_reopen(&world.fixture);
        blob_world_reopen_table(&world);
        must(mote_blob_reader_open(world.table, NULL, row, 1, 1, &reader));
        cr_assert_eq(mote_blob_size(reader), size_bytes);
        for (unsigned i = 0; i < 40; i++) {
            uint64_t from = blob_world_draw(&world, size_bytes + 10), wanted = blob_world_draw(&world, sizeof back);
            size_t read;
            must(mote_blob_read(reader, from, back, wanted, &read));
            cr_assert_eq(read, from >= size_bytes ? 0 : wanted < size_bytes - from ? wanted : size_bytes - from);
            cr_assert(read == 0 || memcmp(back, bytes + from, read) == 0);
        }
        mote_blob_reader_close(reader);
    }
    fixture_remove(&world.fixture);
}

/* One of four values of each file lives on: they are moved together. */
Test(engine_blob, most_of_each_file_dead_rest_moves)
{
    static struct blob_world world;
    static uint8_t bytes[BLOB_WORLD_BYTES_MAX];
    struct mote_value row[3];
    blob_world_begin(&world, 256ull << 20, 12);
    for (int64_t key = 0; key < BLOB_WORLD_KEYS; key++) {
        world.rows[key] = (struct blob_content){.seed = ++world.next_seed, .size_bytes = 60000, .there = true};
        blob_content_row(key, &world.rows[key], bytes, row);
        must(mote_append(world.table, row, 3, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    struct mote_stats before = fixture_stats(&world.fixture);
    for (int64_t key = 0; key < BLOB_WORLD_KEYS; key++) {
        if (key % 4 == 0)
            continue;
        row[0] = value_i64(key);
        must(mote_delete(world.table, row, 1, NULL, NULL));
        world.rows[key].there = false;
    }
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, "cam"));
    blobs_reclaim(world.fixture.db, true);
    struct mote_stats after = fixture_stats(&world.fixture);
    cr_assert_leq(after.blob_bytes, before.blob_bytes / 2, "%llu bytes before, %llu after", (unsigned long long)before.blob_bytes, (unsigned long long)after.blob_bytes);
    blob_world_check(&world);
    fixture_close(&world.fixture);
    must(mote_verify(world.fixture.path, NULL, NULL));
    fixture_open(&world.fixture);
    blob_world_reopen_table(&world);
    blob_world_check(&world);
    fixture_remove(&world.fixture);
}
