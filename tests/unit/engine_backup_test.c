/* engine_backup_test.c: streams of volumes: sent, received, gone on with; increments; and everything that must be refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "engine/stream.h"
#include "tests/support/backup.h"

enum { SIZE = 24 * 1024 * 1024 };

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state state;
    uint64_t random;
};

static void make_world(struct world *world, uint32_t rounds)
{
    memset(world, 0, sizeof *world);
    world->random = 77;
    fixture_sim(&world->fixture, 2 * SIZE, 5, false);
    fixture_open(&world->fixture);
    backup_fill(world->fixture.db, &world->tables, rounds, &world->random, &world->state);
}

static void expect_code(int found, int code, const char *words)
{
    struct mote_error error;
    mote_last_error(&error);
    cr_assert_eq(found, code, "%s: %s", mote_error_name(found), error.message);
    cr_assert(strstr(error.message, words) != NULL, "\"%s\" lacks \"%s\"", error.message, words);
}

static void receive_well(struct blockdev *device, struct backup_stream *stream, struct mote_transfer *transfer)
{
    must(backup_receive(device, stream, transfer));
}

Test(engine_backup, received_volume_holds_what_was_sent)
{
    struct world world;
    struct backup_stream stream;
    struct mote_transfer sent, received;
    make_world(&world, 20);
    backup_send(world.fixture.db, NULL, NULL, &stream, &sent);
    cr_assert_eq(sent.bytes_done, sent.bytes_total);
    cr_assert_eq(sent.stream_bytes, stream.size_bytes);
    cr_assert_eq(sent.segments_carried, sent.segments_total);
    struct blockdev *device = backup_device(SIZE);
    receive_well(device, &stream, &received);
    cr_assert_eq(received.bytes_done, sent.bytes_total);
    cr_assert_eq(received.stream_bytes, stream.size_bytes);
    cr_assert_eq(memcmp(received.state_id, sent.state_id, 16), 0);
    cr_assert_not(received.resumed);
    backup_expect(device, &world.fixture.options, true, &world.state);
    backup_expect(device, &world.fixture.options, false, &world.state);
    blockdev_close(device);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

struct names {
    char names[16][MOTE_NAME_BYTES_MAX + 1];
    unsigned count;
};
static int note_name(const struct mote_snapshot_info *info, void *context)
{
    struct names *names = context;
    strcpy(names->names[names->count++], info->name);
    return 0;
}

Test(engine_backup, named_snapshots_read_the_same)
{
    struct world world;
    struct backup_stream stream;
    make_world(&world, 26);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    struct blockdev *device = backup_device(SIZE);
    receive_well(device, &stream, NULL);
    mote_db *copy;
    struct state_tables tables;
    struct names names = {0};
    must(engine_open(device, &world.fixture.options, &copy, NULL));
    states_open(copy, &tables);
    must(mote_snapshot_list(copy, note_name, &names));
    cr_assert_geq(names.count, 3);
    for (unsigned i = 0; i < names.count; i++) {
        struct state here, there;
        mote_snapshot *a, *b;
        must(mote_snapshot_open(world.fixture.db, names.names[i], &a));
        must(mote_snapshot_open(copy, names.names[i], &b));
        must(states_read(&world.tables, a, false, &here));
        must(states_read(&tables, b, true, &there));
        cr_assert(states_equal(&here, &there));
        mote_snapshot_release(a);
        mote_snapshot_release(b);
    }
    engine_abandon(copy);
    blockdev_close(device);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

/* A table with some MiB that nothing compresses. */
static void add_noise(mote_db *db, uint64_t *random, unsigned rows)
{
    enum { BYTES = 60000 };
    const uint32_t key = 0;
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "noise", .type = MOTE_TYPE_BLOB}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    static uint64_t noise[BYTES / 8];
    schema.name = "noise";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    for (unsigned i = 0; i < rows; i++) {
        for (unsigned k = 0; k < BYTES / 8; k++)
            noise[k] = fixture_random(random);
        struct mote_value row[] = {value_i64(i), value_bytes(MOTE_TYPE_BLOB, noise, BYTES)};
        must(mote_append(table, row, 2, NULL, NULL));
    }
}

Test(engine_backup, other_sizes_and_extents_fit_or_are_refused)
{
    static const struct {
        uint64_t size_bytes, extent_bytes;
        bool fits;
    } cases[] = {{160 * 1024 * 1024, 1024 * 1024, true}, {48 * 1024 * 1024, 0, true}, {20 * 1024 * 1024, 64 * 1024, true}, {9 * 1024 * 1024, 64 * 1024, false}};
    struct world world;
    struct backup_stream stream;
    make_world(&world, 12);
    add_noise(world.fixture.db, &world.random, 100);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct blockdev *device = backup_device(cases[i].size_bytes);
        struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
        struct mote_receive_options options = MOTE_RECEIVE_OPTIONS_INIT;
        format.extent_bytes = cases[i].extent_bytes;
        options.format = &format;
        stream.at = 0;
        int result = engine_receive(device, &options, backup_read, &stream, NULL);
        if (cases[i].fits) {
            must(result);
            backup_expect(device, &world.fixture.options, false, &world.state);
        } else {
            uint8_t *content = malloc(cases[i].size_bytes);
            expect_code(result, MOTE_ENOSPC, "Nothing was written");
            sim_read_content(device, false, content);
            for (size_t at = 0; at < cases[i].size_bytes; at += 512)
                cr_assert_eq(content[at], 0);
            free(content);
        }
        blockdev_close(device);
    }
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

static void expect_nothing_to_open(struct blockdev *device, const struct mote_options *options, size_t at)
{
    mote_db *db;
    int result = engine_open(device, options, &db, NULL);
    cr_assert(result == MOTE_ERESTORING || result == MOTE_EFOREIGN, "byte %zu: %s", at, mote_error_name(result));
}

/* Every byte of what is not rows, and many of the others. */
Test(engine_backup, a_flipped_byte_is_refused, .timeout = 300)
{
    struct world world;
    struct backup_stream stream;
    make_world(&world, 6);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    uint64_t random = 9, flips = 0, step = 1;
    for (size_t at = 0; at < stream.size_bytes; at += step) {
        bool dense = at < 700 || at + 100 > stream.size_bytes;
        step = dense ? 1 : 1 + fixture_random(&random) % (stream.size_bytes / fixture_scale(400) + 1);
        struct blockdev *device = backup_device(SIZE);
        uint8_t bit = (uint8_t)(1u << fixture_random(&random) % 8);
        stream.bytes[at] ^= bit;
        int result = backup_receive(device, &stream, NULL);
        cr_assert(result == MOTE_EDAMAGED || result == MOTE_EVERSION, "byte %zu: %s", at, mote_error_name(result));
        expect_nothing_to_open(device, &world.fixture.options, at);
        stream.bytes[at] ^= bit;
        blockdev_close(device);
        flips++;
    }
    cr_assert_gt(flips, 700);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, a_cut_stream_is_refused_and_gone_on_with, .timeout = 300)
{
    struct world world;
    struct backup_stream stream;
    struct mote_transfer transfer;
    make_world(&world, 24);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    size_t whole = stream.size_bytes, pieces = 24, resumed = 0;
    uint64_t kept = 0;
    for (size_t i = 0; i < pieces; i++) {
        struct blockdev *device = backup_device(SIZE);
        stream.size_bytes = i + 1 < pieces ? whole * i / pieces : whole - 1;
        expect_code(backup_receive(device, &stream, NULL), MOTE_EDAMAGED, i ? "ends before its end" : "ends");
        expect_nothing_to_open(device, &world.fixture.options, stream.size_bytes);
        stream.size_bytes = whole;
        receive_well(device, &stream, &transfer);
        resumed += transfer.resumed;
        kept += transfer.bytes_kept;
        backup_expect(device, &world.fixture.options, false, &world.state);
        blockdev_close(device);
    }
    cr_assert_geq(resumed, pieces / 2);
    cr_assert_geq(kept, transfer.bytes_total * pieces / 4);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, bytes_behind_the_end_are_refused)
{
    struct world world;
    struct backup_stream stream;
    make_world(&world, 3);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    must(backup_write("x", 1, &stream));
    struct blockdev *device = backup_device(SIZE);
    expect_code(backup_receive(device, &stream, NULL), MOTE_EDAMAGED, "behind its end");
    expect_nothing_to_open(device, &world.fixture.options, 0);
    blockdev_close(device);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, increments_bring_a_volume_on)
{
    struct world world;
    struct backup_stream stream;
    struct mote_transfer full, transfer;
    make_world(&world, 20);
    backup_send(world.fixture.db, NULL, "b0", &stream, &full);
    struct blockdev *device = backup_device(SIZE);
    receive_well(device, &stream, NULL);
    for (unsigned i = 0; i < 6; i++) {
        char from[8], as[8];
        snprintf(from, sizeof from, "b%u", i);
        snprintf(as, sizeof as, "b%u", i + 1);
        backup_free(&stream);
        backup_fill(world.fixture.db, &world.tables, i == 3 ? 0 : 3, &world.random, &world.state);
        if (i == 4)
            must(mote_compact(world.fixture.db, NULL));
        if (i == 2)
            fixture_reopen(&world.fixture), states_open(world.fixture.db, &world.tables);
        backup_send(world.fixture.db, from, as, &stream, &transfer);
        cr_assert(transfer.incremental);
        cr_assert(i == 4 || transfer.segments_carried < transfer.segments_total);
        receive_well(device, &stream, &transfer);
        backup_expect(device, &world.fixture.options, true, &world.state);
    }
    backup_expect(device, &world.fixture.options, false, &world.state);
    expect_code(backup_receive(device, &stream, NULL), MOTE_EINVAL, "send everything");
    blockdev_close(device);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, a_wrong_base_is_refused_and_nothing_written)
{
    struct world world;
    struct backup_stream first, second, third;
    make_world(&world, 10);
    backup_send(world.fixture.db, NULL, "b0", &first, NULL);
    struct state at_first = world.state;
    backup_fill(world.fixture.db, &world.tables, 3, &world.random, &world.state);
    backup_send(world.fixture.db, "b0", "b1", &second, NULL);
    backup_fill(world.fixture.db, &world.tables, 3, &world.random, &world.state);
    backup_send(world.fixture.db, "b1", NULL, &third, NULL);
    struct blockdev *device = backup_device(SIZE), *blank = backup_device(SIZE);
    receive_well(device, &first, NULL);
    uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
    sim_read_content(device, false, before);
    expect_code(backup_receive(device, &third, NULL), MOTE_EINVAL, "another state");
    sim_read_content(device, false, after);
    cr_assert_eq(memcmp(before, after, SIZE), 0);
    backup_expect(device, &world.fixture.options, true, &at_first);
    expect_code(backup_receive(blank, &second, NULL), MOTE_EFOREIGN, "no mote volume");
    receive_well(device, &second, NULL);
    receive_well(device, &third, NULL);
    backup_expect(device, &world.fixture.options, false, &world.state);
    free(before);
    free(after);
    blockdev_close(device);
    blockdev_close(blank);
    backup_free(&first);
    backup_free(&second);
    backup_free(&third);
    fixture_remove(&world.fixture);
}

Test(engine_backup, a_cut_increment_leaves_the_base_and_is_gone_on_with, .timeout = 300)
{
    struct world world;
    struct backup_stream first, second;
    struct mote_transfer transfer;
    make_world(&world, 12);
    backup_send(world.fixture.db, NULL, "b0", &first, NULL);
    struct state base = world.state;
    backup_fill(world.fixture.db, &world.tables, 24, &world.random, &world.state);
    backup_send(world.fixture.db, "b0", NULL, &second, NULL);
    size_t whole = second.size_bytes;
    for (unsigned i = 1; i < 8; i++) {
        struct blockdev *device = backup_device(SIZE);
        receive_well(device, &first, NULL);
        second.size_bytes = whole * i / 8;
        must_fail(backup_receive(device, &second, NULL), MOTE_EDAMAGED);
        backup_expect(device, &world.fixture.options, true, &base);
        second.size_bytes = whole;
        receive_well(device, &second, &transfer);
        backup_expect(device, &world.fixture.options, false, &world.state);
        blockdev_close(device);
    }
    backup_free(&first);
    backup_free(&second);
    fixture_remove(&world.fixture);
}

/* The sender's volume has gone on: what is sent is of a later state, and what has come before the cut need not come again. */
Test(engine_backup, a_cut_receive_is_gone_on_with_by_its_token, .timeout = 300)
{
    struct world world;
    struct backup_stream first, second, whole_again;
    struct mote_transfer transfer;
    char token[MOTE_TOKEN_BYTES];
    uint64_t carried = 0, total = 0;
    make_world(&world, 30);
    backup_send(world.fixture.db, NULL, NULL, &first, NULL);
    size_t whole = first.size_bytes;
    for (unsigned i = 1; i < 8; i++) {
        struct blockdev *device = backup_device(SIZE);
        first.size_bytes = whole * i / 8;
        must_fail(backup_receive(device, &first, NULL), MOTE_EDAMAGED);
        must(engine_receive_token(device, token));
        backup_fill(world.fixture.db, &world.tables, 2, &world.random, &world.state);
        backup_send(world.fixture.db, token, NULL, &second, &transfer);
        carried += transfer.bytes_total;
        backup_send(world.fixture.db, NULL, NULL, &whole_again, &transfer);
        total += transfer.bytes_total;
        backup_free(&whole_again);
        receive_well(device, &second, &transfer);
        cr_assert(transfer.resumed);
        backup_expect(device, &world.fixture.options, false, &world.state);
        must_fail(engine_receive_token(device, token), MOTE_ENOTFOUND);
        blockdev_close(device);
        backup_free(&second);
    }
    /* How much is spared varies: a compaction in between makes new segments of what had come. */
    cr_assert_lt(carried, total, "%llu of %llu, of %zu bytes", (unsigned long long)carried, (unsigned long long)total, whole);
    backup_free(&first);
    fixture_remove(&world.fixture);
}

Test(engine_backup, a_copy_of_a_copy_takes_increments_of_the_copy)
{
    struct world world;
    struct backup_stream stream;
    struct state_tables tables;
    mote_db *copy;
    make_world(&world, 12);
    struct blockdev *second = backup_device(SIZE), *third = backup_device(SIZE);
    backup_send(world.fixture.db, NULL, NULL, &stream, NULL);
    receive_well(second, &stream, NULL);
    backup_free(&stream);
    must(engine_open(second, &world.fixture.options, &copy, NULL));
    states_open(copy, &tables);
    backup_fill(copy, &tables, 6, &world.random, &world.state);
    backup_send(copy, NULL, "here", &stream, NULL);
    receive_well(third, &stream, NULL);
    backup_free(&stream);
    backup_fill(copy, &tables, 6, &world.random, &world.state);
    backup_send(copy, "here", NULL, &stream, NULL);
    receive_well(third, &stream, NULL);
    backup_expect(third, &world.fixture.options, false, &world.state);
    engine_abandon(copy);
    blockdev_close(second);
    blockdev_close(third);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

static int count_bases(const struct mote_base_info *base, void *context)
{
    struct manifest_point point;
    uint8_t uuid[16];
    cr_assert(stream_token_decode(base->token, &point, uuid));
    ++*(unsigned *)context;
    return 0;
}

Test(engine_backup, bases_are_kept_listed_and_dropped)
{
    struct world world;
    struct backup_stream stream;
    struct mote_send_options options = MOTE_SEND_OPTIONS_INIT;
    unsigned count = 0;
    make_world(&world, 3);
    for (unsigned i = 0; i < 16; i++) {
        char as[8];
        snprintf(as, sizeof as, "b%u", i);
        backup_send(world.fixture.db, NULL, as, &stream, NULL);
        backup_free(&stream);
    }
    options.as = "b3";
    expect_code(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_EEXISTS, "b3");
    options.as = "more";
    expect_code(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_EBUDGET, "maximum");
    must(mote_base_drop(world.fixture.db, "b3"));
    must_fail(mote_base_drop(world.fixture.db, "b3"), MOTE_ENOTFOUND);
    options.as = NULL;
    options.from = "b3";
    expect_code(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_ENOTFOUND, "b3");
    fixture_crash(&world.fixture);
    must(mote_base_list(world.fixture.db, count_bases, &count));
    cr_assert_eq(count, 15);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, a_writer_that_fails_stops_and_leaves_no_base)
{
    struct world world;
    struct backup_stream stream = {.fail_at = 5000};
    struct mote_send_options options = MOTE_SEND_OPTIONS_INIT;
    unsigned count = 0;
    make_world(&world, 8);
    options.as = "never";
    cr_assert_eq(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_EIO);
    must(mote_base_list(world.fixture.db, count_bases, &count));
    cr_assert_eq(count, 0);
    backup_free(&stream);
    fixture_remove(&world.fixture);
}

Test(engine_backup, clone_makes_an_image_and_refuses_what_is_there)
{
    struct fixture fixture;
    struct state_tables tables = {0};
    struct state state = {0};
    uint64_t random = 3;
    char path[TEMPDIR_PATH_BYTES + 32];
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_receive_options options = MOTE_RECEIVE_OPTIONS_INIT;
    struct mote_transfer transfer;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture_open(&fixture);
    backup_fill(fixture.db, &tables, 12, &random, &state);
    snprintf(path, sizeof path, "%s/copy", fixture.folder.path);
    expect_code(mote_clone(fixture.db, path, NULL, NULL, NULL), MOTE_ENODEV, "does not exist");
    format.image_size_bytes = 40 * MIB_BYTES;
    format.sparse = 1;
    options.format = &format;
    must(mote_clone(fixture.db, path, NULL, &options, &transfer));
    cr_assert_eq(transfer.bytes_done, transfer.bytes_total);
    must(mote_verify(path, NULL, NULL));
    expect_code(mote_clone(fixture.db, path, NULL, &options, NULL), MOTE_EFOREIGN, "holds \"mote\"");
    format.force = "mote";
    must(mote_clone(fixture.db, path, NULL, &options, NULL));
    mote_db *copy;
    struct state found;
    struct mote_stats a = {.size_bytes = sizeof a}, b = {.size_bytes = sizeof b};
    must(mote_open(path, &fixture.options, &copy, NULL));
    states_open(copy, &tables);
    must(states_read(&tables, NULL, false, &found));
    cr_assert(states_equal(&found, &state));
    cr_assert(backup_frames_equal(copy, &state));
    must(mote_get_stats(fixture.db, &a));
    must(mote_get_stats(copy, &b));
    cr_assert_neq(memcmp(a.uuid, b.uuid, 16), 0);
    must(mote_close(copy));
    must(mote_verify(path, NULL, NULL));
    fixture_remove(&fixture);
}

Test(engine_backup, token_of_another_volume_is_refused)
{
    struct world world;
    struct mote_send_options options = MOTE_SEND_OPTIONS_INIT;
    struct backup_stream stream = {0};
    struct manifest_point point = {.id = {1}, .segment_mark = 5, .section_mark = 5};
    uint8_t uuid[16] = {9};
    char token[MOTE_TOKEN_BYTES];
    make_world(&world, 2);
    stream_token_encode(&point, uuid, token);
    options.from = token;
    expect_code(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_EINVAL, "another volume");
    token[4] = token[4] == '0' ? '1' : '0';
    expect_code(mote_send(world.fixture.db, &options, backup_write, &stream, NULL), MOTE_ENOTFOUND, "nor is that a token");
    backup_free(&stream);
    fixture_remove(&world.fixture);
}
