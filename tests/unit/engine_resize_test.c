/* engine_resize_test.c: volumes that grow and shrink, on simulated disks and as image files; what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tests/support/backup.h"

static uint64_t file_bytes(const char *path)
{
    struct stat status;
    require(stat(path, &status) == 0);
    return (uint64_t)status.st_size;
}

static void expect_code(int found, int code, const char *words)
{
    struct mote_error error;
    mote_last_error(&error);
    cr_assert_eq(found, code, "%s: %s", mote_error_name(found), error.message);
    cr_assert(strstr(error.message, words) != NULL, "\"%s\" lacks \"%s\"", error.message, words);
}

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state state;
    uint64_t random;
};

static void make_world(struct world *world, uint64_t size_bytes, uint32_t rounds)
{
    memset(world, 0, sizeof *world);
    world->random = 5;
    fixture_image(&world->fixture, size_bytes);
    fixture_open(&world->fixture);
    backup_fill(world->fixture.db, &world->tables, rounds, &world->random, &world->state);
}

static int resize(struct world *world, uint64_t size_bytes, struct mote_resize_result *result)
{
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    options.sparse = 1;
    return mote_resize(world->fixture.path, size_bytes, &options, result);
}

static void expect_content(struct world *world)
{
    struct state found;
    must(mote_verify(world->fixture.path, NULL, NULL));
    fixture_open(&world->fixture);
    states_open(world->fixture.db, &world->tables);
    must(states_read(&world->tables, NULL, false, &found));
    cr_assert(states_equal(&found, &world->state));
    cr_assert(backup_frames_equal(world->fixture.db, &world->state));
}

Test(engine_resize, image_grows_and_shrinks_again_and_again)
{
    static const uint64_t sizes[] = {64, 33, 128, 127, 40, 300, 24};
    struct world world;
    struct mote_resize_result result;
    make_world(&world, 24 * MIB_BYTES, 12);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t before = fixture_stats(&world.fixture).extents_total;
        if (i % 2)
            fixture_kill(&world.fixture);
        else
            fixture_close(&world.fixture);
        must(resize(&world, sizes[i] * MIB_BYTES, &result));
        cr_assert_eq(result.new_bytes, sizes[i] * MIB_BYTES);
        cr_assert_leq(result.least_bytes, result.old_bytes);
        cr_assert_eq(file_bytes(world.fixture.path), sizes[i] * MIB_BYTES);
        expect_content(&world);
        cr_assert_eq(fixture_stats(&world.fixture).extents_total > before, result.new_bytes > result.old_bytes);
        backup_fill(world.fixture.db, &world.tables, 6, &world.random, &world.state);
    }
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

Test(engine_resize, too_small_is_refused_with_the_least_size_which_then_does)
{
    struct world world;
    struct mote_resize_result result;
    struct mote_error error;
    char least[32];
    make_world(&world, 64 * MIB_BYTES, 20);
    fixture_close(&world.fixture);
    expect_code(resize(&world, 8 * MIB_BYTES, &result), MOTE_ENOSPC, "is the least");
    mote_last_error(&error);
    snprintf(least, sizeof least, "%llu", (unsigned long long)result.least_bytes);
    cr_assert(strstr(error.message, least) != NULL);
    cr_assert_eq(file_bytes(world.fixture.path), 64 * MIB_BYTES);
    expect_content(&world);
    fixture_close(&world.fixture);
    must_fail(resize(&world, 8 * MIB_BYTES, &result), MOTE_ENOSPC);
    uint64_t smallest = result.least_bytes;
    expect_code(resize(&world, smallest - PAGE_BYTES, &result), MOTE_ENOSPC, "is the least");
    must(resize(&world, smallest, &result));
    cr_assert_gt(result.moved_bytes, 0);
    expect_content(&world);
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

Test(engine_resize, dry_run_writes_nothing)
{
    struct world world;
    struct mote_resize_result result;
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    make_world(&world, 48 * MIB_BYTES, 6);
    fixture_close(&world.fixture);
    options.dry_run = 1;
    must(mote_resize(world.fixture.path, 40 * MIB_BYTES, &options, &result));
    cr_assert_eq(result.new_bytes, 48 * MIB_BYTES);
    must(mote_resize(world.fixture.path, 80 * MIB_BYTES, &options, &result));
    cr_assert_eq(file_bytes(world.fixture.path), 48 * MIB_BYTES);
    expect_content(&world);
    expect_code(resize(&world, 40 * MIB_BYTES, &result), MOTE_EBUSY, "");
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

Test(engine_resize, file_that_was_enlarged_is_filled)
{
    struct world world;
    struct mote_resize_result result;
    make_world(&world, 32 * MIB_BYTES, 4);
    fixture_close(&world.fixture);
    require(truncate(world.fixture.path, 50 * MIB_BYTES) == 0);
    expect_content(&world);
    fixture_close(&world.fixture);
    must(resize(&world, 0, &result));
    cr_assert_eq(result.new_bytes, 50 * MIB_BYTES);
    expect_content(&world);
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

/* On a device that stays larger than the volume, nothing at its end may be taken for the volume's when the start is lost. */
Test(engine_resize, the_old_end_is_void_after_a_shrink)
{
    enum { OLD = 32 * 1024 * 1024, NEW = 20 * 1024 * 1024 };
    struct fixture fixture;
    struct state_tables tables = {0};
    struct state state = {0};
    uint64_t random = 3;
    uint8_t *image = malloc(OLD);
    mote_db *db;
    fixture_sim(&fixture, OLD, 2, false);
    fixture_open(&fixture);
    backup_fill(fixture.db, &tables, 9, &random, &state);
    fixture_close(&fixture);
    must(engine_resize(fixture.sim, NEW, false, NULL));
    backup_expect(fixture.sim, &fixture.options, true, &state);
    sim_read_content(fixture.sim, false, image);
    memset(image, 0, 4 * PAGE_BYTES);
    struct sim_options options = {.size_bytes = OLD, .logical_block_bytes = 512, .initial = image};
    struct blockdev *lost;
    must(sim_create(&options, &lost));
    expect_code(engine_open(lost, &fixture.options, &db, NULL), MOTE_EFOREIGN, "no mote volume");
    blockdev_close(lost);
    free(image);
    fixture_remove(&fixture);
}

/* Values fill more than what is to stay, and all go but the last. */
Test(engine_resize, large_values_move_with_their_files)
{
    enum { VALUES = 17, BYTES = 2 * 1024 * 1024 };
    struct world world;
    struct mote_resize_result result;
    mote_table *frames;
    mote_row *row = NULL;
    uint8_t *bytes = malloc(BYTES);
    make_world(&world, 64 * MIB_BYTES, 2);
    must(mote_table_open(world.fixture.db, "frames", &frames));
    struct mote_value values[] = {value_i64(0), value_bytes(MOTE_TYPE_BLOB, bytes, BYTES)}, found;
    for (int64_t i = 0; i < VALUES; i++) {
        values[0] = value_i64(100 + i);
        for (size_t k = 0; k < BYTES; k++)
            bytes[k] = (uint8_t)(fixture_random(&world.random) >> 9);
        must(mote_append(frames, values, 2, NULL, NULL));
    }
    for (int64_t i = 0; i + 1 < VALUES; i++) {
        struct mote_value id = value_i64(100 + i);
        must(mote_delete(frames, &id, 1, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, NULL));
    fixture_close(&world.fixture);
    must(resize(&world, 32 * MIB_BYTES, &result));
    cr_assert_geq(result.moved_bytes, BYTES);
    expect_content(&world);
    must(mote_table_open(world.fixture.db, "frames", &frames));
    must(mote_get(frames, values, 1, &row));
    must(mote_row_value(row, 1, &found));
    cr_assert_eq(found.as.bytes.size_bytes, BYTES);
    cr_assert_eq(memcmp(found.as.bytes.data, bytes, BYTES), 0);
    mote_row_free(row);
    free(bytes);
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

Test(engine_resize, received_volume_stays_one)
{
    struct world world;
    struct backup_stream stream, increment;
    struct mote_receive_options receive = MOTE_RECEIVE_OPTIONS_INIT;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_resize_result result;
    char path[TEMPDIR_PATH_BYTES + 32];
    make_world(&world, 32 * MIB_BYTES, 6);
    backup_send(world.fixture.db, NULL, "base", &stream, NULL);
    format.image_size_bytes = 64 * MIB_BYTES;
    format.sparse = 1;
    receive.format = &format;
    snprintf(path, sizeof path, "%s/copy", world.fixture.folder.path);
    must(mote_receive(path, &receive, backup_read, &stream, NULL));
    must(mote_resize(path, 40 * MIB_BYTES, NULL, &result));
    must(mote_resize(path, 48 * MIB_BYTES, NULL, &result));
    backup_fill(world.fixture.db, &world.tables, 6, &world.random, &world.state);
    backup_send(world.fixture.db, "base", NULL, &increment, NULL);
    must(mote_receive(path, &receive, backup_read, &increment, NULL));
    must(mote_verify(path, NULL, NULL));
    backup_free(&stream);
    backup_free(&increment);
    fixture_remove(&world.fixture);
}
