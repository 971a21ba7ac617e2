/* engine_api_open_test.c: opening and what it refuses: a second opener, a read-only handle that writes nothing, another version, a foreign, shrunk or missing device, options out of range, a budget too small, a handle in
 * the child of a fork, a killed process. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/units.h"
#include "blockdev/superblock.h"
#include "tests/support/engine_model.h"

TestSuite(open, .timeout = 60);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};

/* The open fails with this code, without a handle, and says why in the out-parameter. */
static void refuse(const char *path, const struct mote_options *options, int code)
{
    struct mote_error error = {0};
    mote_db *db = (mote_db *)&error;
    must_fail(mote_open(path, options, &db, &error), code);
    require(db == NULL);
    require(error.code == code);
    require(strlen(error.message) > 10);
}

static uint32_t checksum_of_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    require(fd >= 0);
    uint8_t *buffer = malloc(MIB_BYTES);
    require(buffer);
    uint32_t crc = 0;
    for (ssize_t got; (got = read(fd, buffer, MIB_BYTES)) > 0;)
        crc = crc32c(crc, buffer, (size_t)got);
    free(buffer);
    close(fd);
    return crc;
}

/* A volume that ended without a close, with rows in segments, in the log and deleted ones. */
static void leave_unclean(struct fixture *fixture, struct model *model)
{
    fixture_open(fixture);
    mote_table *table = model_table_create(fixture->db, "arm");
    model_put_batch(table, model, 0, 300, 1, NULL, NULL);
    must(mote_flush(fixture->db));
    for (uint32_t key = 100; key < 500; key += 3)
        model_put(table, model, key, 2, NULL, NULL);
    for (uint32_t key = 0; key < 300; key += 10)
        model_delete(table, model, key, NULL, NULL);
    must(mote_wait(fixture->db, mote_visible_seq(fixture->db), MOTE_FOREVER));
    fixture_kill(fixture);
}

Test(open, read_only_sees_everything_and_writes_nothing)
{
    struct fixture fixture;
    struct model model = model_make(500);
    fixture_image(&fixture, 32 * MIB_BYTES);
    leave_unclean(&fixture, &model);
    uint32_t before = checksum_of_file(fixture.path);
    fixture.options.read_only = 1;
    fixture_open(&fixture);
    mote_table *table = model_table_open(fixture.db, "arm");
    model_check(table, &model);
    struct mote_value key = value_i64(1);
    struct mote_column_definition column = {.name = "later", .type = MOTE_TYPE_INT32};
    must_fail(model_append(table, 1, 1, NULL, NULL), MOTE_EREADONLY);
    must_fail(model_append_batch(table, 1, 3, 1, NULL, NULL), MOTE_EREADONLY);
    must_fail(mote_insert(table, &key, 1, NULL, NULL), MOTE_EREADONLY);
    must_fail(mote_delete(table, &key, 1, NULL, NULL), MOTE_EREADONLY);
    must_fail(mote_table_add_column(table, &column), MOTE_EREADONLY);
    must_fail(mote_table_drop(fixture.db, "arm"), MOTE_EREADONLY);
    must_fail(mote_flush(fixture.db), MOTE_EREADONLY);
    must_fail(mote_checkpoint(fixture.db), MOTE_EREADONLY);
    must_fail(mote_compact(fixture.db, NULL), MOTE_EREADONLY);
    must_fail(mote_flush_all_indexes(fixture.db), MOTE_EREADONLY);
    must_fail(mote_rebuild_timestamp_index(fixture.db), MOTE_EREADONLY);
    must_fail(mote_durable_eventfd(fixture.db), MOTE_EREADONLY);
    fixture_close(&fixture);
    cr_expect_eq(checksum_of_file(fixture.path), before, "a read-only open wrote to the device");
    must(mote_verify(fixture.path, NULL, NULL));
    cr_expect_eq(checksum_of_file(fixture.path), before, "mote_verify wrote to the device");
    fixture.options.read_only = 0;
    fixture_open(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* A clean close says where the log ends: the next open looks for nothing behind it, and the one after a kill does. */
Test(open, clean_close_leaves_no_log_to_read)
{
    struct fixture fixture;
    struct model model = model_make(500);
    fixture_image(&fixture, 32 * MIB_BYTES);
    leave_unclean(&fixture, &model);
    for (uint32_t round = 0; round < 3; round++) {
        fixture_open(&fixture);
        struct mote_stats killed = fixture_stats(&fixture);
        cr_expect(killed.clean_open == 0 && killed.recovered_log_bytes > 0, "round %u: %llu bytes", round, (unsigned long long)killed.recovered_log_bytes);
        fixture_reopen(&fixture);
        struct mote_stats closed = fixture_stats(&fixture);
        cr_expect(closed.clean_open == 1 && closed.recovered_log_bytes == 0 && closed.recovered_rows == 0, "round %u: %llu bytes", round, (unsigned long long)closed.recovered_log_bytes);
        mote_table *table = model_table_open(fixture.db, "arm");
        model_check(table, &model);
        for (uint32_t key = 0; key < 20; key++)
            model_put(table, &model, key, 3 + round, NULL, NULL);
        must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
        fixture_kill(&fixture);
    }
    fixture_open(&fixture);
    cr_expect_geq(fixture_stats(&fixture).recovered_rows, 20);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

Test(open, second_opener_is_told_busy_until_the_first_closes)
{
    struct fixture fixture;
    struct mote_options options;
    mote_db *second;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture_open(&fixture);
    options = fixture.options;
    options.open_timeout_ms = 50;
    refuse(fixture.path, &options, MOTE_EBUSY);
    options.read_only = 1;
    refuse(fixture.path, &options, MOTE_EBUSY);
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.open_timeout_ms = 50;
    must_fail(mote_format(fixture.path, &format, NULL), MOTE_EBUSY);
    fixture_close(&fixture);
    must(mote_open(fixture.path, &options, &second, NULL)); /* two readers may */
    must(mote_open(fixture.path, &options, &fixture.db, NULL));
    options.read_only = 0;
    refuse(fixture.path, &options, MOTE_EBUSY);
    must(mote_close(second));
    fixture_remove(&fixture);
}

/* A child that has the volume open and closes it after a while. Returns when it has it. */
static pid_t occupy(struct fixture *fixture)
{
    int to_parent[2];
    char byte;
    require(pipe(to_parent) == 0);
    pid_t child = fork();
    if (child == 0) {
        fixture_open(fixture);
        require(write(to_parent[1], "x", 1) == 1);
        struct timespec pause = {0, 200 * NS_PER_MS};
        nanosleep(&pause, NULL);
        _exit(mote_close(fixture->db) ? 1 : 0);
    }
    require(read(to_parent[0], &byte, 1) == 1);
    close(to_parent[0]);
    close(to_parent[1]);
    return child;
}

/* An EBUSY that passes is waited for. */
Test(open, busy_device_is_retried)
{
    struct fixture fixture;
    int status;
    fixture_image(&fixture, 32 * MIB_BYTES);
    pid_t child = occupy(&fixture);
    fixture_open(&fixture);
    require(waitpid(child, &status, 0) == child && status == 0);
    fixture_remove(&fixture);
}

Test(open, format_retries_a_busy_device)
{
    struct fixture fixture;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    int status;
    fixture_image(&fixture, 32 * MIB_BYTES);
    pid_t child = occupy(&fixture);
    format.force = "mote";
    must(mote_format(fixture.path, &format, NULL));
    require(waitpid(child, &status, 0) == child && status == 0);
    fixture_remove(&fixture);
}

/* ---- Superblocks ---- */

/* Changes each valid slot of the image. */
static void change_superblocks(const char *path, uint64_t size_bytes, void (*change)(struct superblock *superblock))
{
    int fd = open(path, O_RDWR);
    require(fd >= 0);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t slot[SUPERBLOCK_SLOT_BYTES];
        uint64_t offset = (i / 4 ? size_bytes - MIB_BYTES : 0) + i % 4 * SUPERBLOCK_SLOT_BYTES;
        struct superblock superblock;
        require(pread(fd, slot, sizeof slot, (off_t)offset) == (ssize_t)sizeof slot);
        if (superblock_decode(slot, offset, &superblock))
            continue;
        change(&superblock);
        superblock_encode(&superblock, offset, slot);
        require(pwrite(fd, slot, sizeof slot, (off_t)offset) == (ssize_t)sizeof slot);
    }
    close(fd);
}

static void need_unknown_feature(struct superblock *superblock) { superblock->features_incompat = 1ull << 40; }

Test(open, newer_format_is_refused_and_left_alone)
{
    struct fixture fixture;
    fixture_image(&fixture, 32 * MIB_BYTES);
    change_superblocks(fixture.path, 32 * MIB_BYTES, need_unknown_feature);
    uint32_t before = checksum_of_file(fixture.path);
    refuse(fixture.path, &fixture.options, MOTE_EVERSION);
    fixture.options.read_only = 1;
    refuse(fixture.path, &fixture.options, MOTE_EVERSION);
    cr_expect_eq(checksum_of_file(fixture.path), before);
    fixture_remove(&fixture);
}

static void make_file(const char *path, uint64_t size_bytes, const char *content)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    require(fd >= 0 && ftruncate(fd, (off_t)size_bytes) == 0);
    require(!content || pwrite(fd, content, strlen(content), 100) == (ssize_t)strlen(content));
    close(fd);
}

Test(open, foreign_missing_and_shrunk_devices_are_refused)
{
    struct fixture fixture;
    struct mote_options options;
    fixture_image(&fixture, 32 * MIB_BYTES);
    options = fixture.options;
    options.open_timeout_ms = 50;
    const char *foreign = tempdir_file(&fixture.folder, "foreign"), *blank = tempdir_file(&fixture.folder, "blank");
    make_file(foreign, 32 * MIB_BYTES, "the holiday pictures");
    make_file(blank, 32 * MIB_BYTES, NULL);
    refuse(foreign, &options, MOTE_EFOREIGN);
    refuse(blank, &options, MOTE_EFOREIGN);
    must_fail(mote_format(foreign, NULL, NULL), MOTE_EFOREIGN);
    refuse(tempdir_file(&fixture.folder, "missing"), &options, MOTE_ENODEV);
    refuse(fixture.folder.path, &options, MOTE_ENODEV);
    refuse(NULL, &options, MOTE_EINVAL);
    must_fail(mote_open(fixture.path, &options, NULL, NULL), MOTE_EINVAL);
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    must_fail(mote_format(fixture.path, NULL, NULL), MOTE_EFOREIGN); /* a mote volume is not nothing */
    format.force = "ext4";
    must_fail(mote_format(fixture.path, &format, NULL), MOTE_EFOREIGN);
    fixture_open(&fixture);
    model_table_create(fixture.db, "kept");
    fixture_close(&fixture);
    require(truncate(fixture.path, 31 * MIB_BYTES) == 0);
    refuse(fixture.path, &options, MOTE_ESHRUNK);
    require(truncate(fixture.path, 32 * MIB_BYTES) == 0); /* the end's superblocks are gone, the start's are there */
    fixture_open(&fixture);
    model_table_open(fixture.db, "kept");
    fixture_close(&fixture);
    format.force = "mote";
    must(mote_format(fixture.path, &format, NULL));
    fixture_open(&fixture);
    mote_table *table;
    must_fail(mote_table_open(fixture.db, "kept", &table), MOTE_ENOTABLE);
    fixture_remove(&fixture);
}

Test(open, permission_denied_is_told)
{
    struct fixture fixture;
    int status;
    fixture_image(&fixture, 32 * MIB_BYTES);
    require(chmod(fixture.path, 0) == 0 && chmod(fixture.folder.path, 0755) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0)
            require(seteuid(65534) == 0);
        refuse(fixture.path, &fixture.options, MOTE_EACCESS);
        _exit(0);
    }
    require(waitpid(child, &status, 0) == child && status == 0);
    fixture_remove(&fixture);
}

/* ---- Format ---- */

Test(open, format_describes_refuses_and_dry_runs)
{
    struct fixture fixture;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_layout planned, made;
    struct stat status;
    fixture_image(&fixture, 32 * MIB_BYTES);
    const char *path = tempdir_file(&fixture.folder, "new");
    must_fail(mote_format(path, NULL, NULL), MOTE_ENODEV); /* no size, no file */
    format.image_size_bytes = 16 * MIB_BYTES;
    format.dry_run = 1;
    must(mote_format(path, &format, &planned));
    cr_expect_neq(stat(path, &status), 0, "a dry run made a file");
    format.dry_run = 0;
    must(mote_format(path, &format, &made));
    cr_expect_eq(made.extent_count, planned.extent_count);
    cr_expect_eq(made.extents_offset_bytes, planned.extents_offset_bytes);
    cr_expect_eq(made.device_size_bytes, 16 * MIB_BYTES);
    require(stat(path, &status) == 0 && status.st_size == 16 * MIB_BYTES);
    cr_expect_geq(status.st_blocks * 512, 16 * MIB_BYTES, "an image file is written in full");
    uint32_t before = checksum_of_file(path);
    format.force = "mote";
    format.dry_run = 1;
    must(mote_format(path, &format, &planned));
    cr_expect_str_eq(planned.found, "mote");
    cr_expect_eq(checksum_of_file(path), before, "a dry run wrote");
    const char *small = tempdir_file(&fixture.folder, "small");
    format = (struct mote_format_options)MOTE_FORMAT_OPTIONS_INIT;
    format.image_size_bytes = 7 * MIB_BYTES;
    must_fail(mote_format(small, &format, NULL), MOTE_ENODEV);
    format.image_size_bytes = 32 * MIB_BYTES;
    format.extent_bytes = 12345;
    must_fail(mote_format(small, &format, NULL), MOTE_EINVAL);
    cr_expect_neq(stat(small, &status), 0, "a refused format made a file");
    format.extent_bytes = 0;
    must_fail(mote_format("/dev/mote-test-image", &format, NULL), MOTE_EINVAL);
    format.size_bytes = 1;
    must_fail(mote_format(small, &format, NULL), MOTE_EINVAL);
    fixture_remove(&fixture);
}

/* ---- Options ---- */

static void set_field(struct mote_options *options, uint32_t which)
{
    switch (which) {
    case 0: options->preset = 9; break;
    case 1: options->backend = 77; break;
    case 2: options->barrier = 5; break;
    case 3: options->on_damage = 2; break;
    case 4: options->durability = 6; break;
    case 5: options->period_ms = UINT32_MAX; break;
    case 6: options->memory_bytes = 1; break;
    case 7: options->memory_bytes = UINT64_MAX; break;
    case 8: options->memtable_bytes = 1; break;
    case 9: options->memtable_bytes = UINT64_MAX; break;
    case 10: options->memtable_count = 1; break;
    case 11: options->memtable_count = UINT32_MAX; break;
    case 12: options->workers = 1000; break;
    case 13: options->cache_bytes = UINT64_MAX; break;
    case 14: options->tables_max = UINT32_MAX; break;
    case 15: options->cursors_max = UINT32_MAX; break;
    case 16: options->wal_inflight_max = UINT32_MAX; break;
    case 17: options->wal_frame_bytes_max = 5000; break;
    case 18: options->wal_frame_bytes_max = 1u << 30; break;
    case 19: options->block_rows = UINT32_MAX; break;
    case 20: options->compaction_runs_max = 1; break;
    case 21: options->compression = 4; break;
    case 22: options->size_bytes = 0; break;
    default: options->size_bytes = 3; break;
    }
}

Test(open, hostile_options_are_refused)
{
    struct fixture fixture;
    fixture_image(&fixture, 32 * MIB_BYTES);
    uint32_t before = checksum_of_file(fixture.path);
    for (uint32_t which = 0; which < 24; which++) {
        struct mote_options options = fixture.options;
        struct mote_error error;
        mote_db *db;
        set_field(&options, which);
        int result = mote_open(fixture.path, &options, &db, &error);
        cr_expect(result == MOTE_EINVAL || result == MOTE_EBUDGET, "option %u: %s", which, mote_error_name(result));
        cr_expect_eq(db, NULL);
    }
    cr_expect_eq(checksum_of_file(fixture.path), before);
    struct mote_options older = fixture.options; /* of a program that knew fewer options; what lies behind is not looked at */
    older.size_bytes = offsetof(struct mote_options, cache_bytes);
    older.cache_bytes = UINT64_MAX;
    older.block_rows = UINT32_MAX;
    older.memory_bytes = 0;
    older.memtable_bytes = 0;
    must(mote_open(fixture.path, &older, &fixture.db, NULL));
    fixture_close(&fixture);
    must(mote_open(fixture.path, NULL, &fixture.db, NULL)); /* all defaults */
    fixture_remove(&fixture);
}

Test(open, budget_too_small_is_told_at_open)
{
    struct fixture fixture;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture.options.memory_bytes = 16 * MIB_BYTES;
    refuse(fixture.path, &fixture.options, MOTE_EBUDGET);
    fixture.options.memory_bytes = 24 * MIB_BYTES;
    fixture.options.memtable_count = 16;
    refuse(fixture.path, &fixture.options, MOTE_EBUDGET);
    fixture.options = (struct mote_options)MOTE_OPTIONS_INIT;
    for (uint32_t preset = 0; preset <= MOTE_PRESET_THROUGHPUT; preset++) {
        fixture.options.preset = preset;
        fixture_open(&fixture);
        struct mote_stats stats = fixture_stats(&fixture);
        cr_expect_leq(stats.memory_used_bytes, stats.memory_budget_bytes);
        if (preset == MOTE_PRESET_EDGE)
            cr_expect_leq(stats.memory_budget_bytes, 256 * MIB_BYTES);
        fixture_close(&fixture);
    }
    fixture.options.preset = 0;
    fixture.options.memory_bytes = 32 * MIB_BYTES; /* the smallest that the manual promises */
    fixture_open(&fixture);
    struct model model = model_make(20000);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 20000; key += 500)
        model_put_batch(table, &model, key, 500, 1, NULL, NULL);
    must(mote_compact(fixture.db, NULL));
    model_check(table, &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* ---- Fork, kill ---- */

static void use_after_fork(struct fixture *fixture, mote_table *table, mote_cursor *cursor, mote_row *row, mote_hits *hits)
{
    struct mote_hit_chunk chunk_of_hits;
    mote_hits *found;
    struct mote_value key = value_i64(1), value;
    struct mote_chunk chunk;
    struct mote_options options = {.size_bytes = sizeof options};
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct mote_table_info info = {.size_bytes = sizeof info};
    struct mote_column_definition column = {.name = "later", .type = MOTE_TYPE_INT32};
    struct mote_error error;
    mote_table *other;
    mote_cursor *another;
    mote_row *made = NULL;
    uint64_t count;
    must_fail(model_append(table, 1, 1, NULL, NULL), MOTE_EFORK);
    must_fail(model_append_batch(table, 1, 2, 1, NULL, NULL), MOTE_EFORK);
    must_fail(mote_insert(table, &key, 1, NULL, NULL), MOTE_EFORK);
    must_fail(mote_delete(table, &key, 1, NULL, NULL), MOTE_EFORK);
    must_fail(mote_get(table, &key, 1, &made), MOTE_EFORK);
    must_fail(mote_scan(table, NULL, &another), MOTE_EFORK);
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_EFORK);
    must_fail(mote_row_value(row, 0, &value), MOTE_EFORK);
    must_fail(mote_index_create(table, NULL), MOTE_EFORK);
    must_fail(mote_index_drop(table, "none"), MOTE_EFORK);
    must_fail(mote_index_rebuild(table, "none"), MOTE_EFORK);
    must_fail(mote_index_describe(table, "none", NULL), MOTE_EFORK);
    must_fail(mote_index_list(table, NULL, NULL), MOTE_EFORK);
    must_fail(mote_search(table, NULL, &found), MOTE_EFORK);
    must_fail(mote_hits_next(hits, &chunk_of_hits), MOTE_EFORK);
    cr_assert_null(mote_hits_explain(hits));
    mote_hits_close(hits);
    (void)mote_row_seq(row);
    mote_cursor_close(cursor);
    mote_row_free(row);
    must_fail(mote_table_open(fixture->db, "arm", &other), MOTE_EFORK);
    must_fail(mote_table_create(fixture->db, NULL, NULL), MOTE_EFORK);
    must_fail(mote_table_drop(fixture->db, "arm"), MOTE_EFORK);
    must_fail(mote_table_add_column(table, &column), MOTE_EFORK);
    must_fail(mote_table_describe(table, &info), MOTE_EFORK);
    must_fail(mote_table_column(table, 0, &column), MOTE_EFORK);
    must_fail(mote_table_find_column(table, "k"), MOTE_EFORK);
    must_fail(mote_wait(fixture->db, 1, 0), MOTE_EFORK);
    must_fail(mote_flush(fixture->db), MOTE_EFORK);
    must_fail(mote_checkpoint(fixture->db), MOTE_EFORK);
    must_fail(mote_flush_all_indexes(fixture->db), MOTE_EFORK);
    must_fail(mote_rebuild_timestamp_index(fixture->db), MOTE_EFORK);
    must_fail(mote_compact(fixture->db, NULL), MOTE_EFORK);
    must_fail(mote_pending_updates(fixture->db, NULL, &count), MOTE_EFORK);
    must_fail(mote_get_stats(fixture->db, &stats), MOTE_EFORK);
    must_fail(mote_get_options(fixture->db, &options), MOTE_EFORK);
    must_fail(mote_durable_eventfd(fixture->db), MOTE_EFORK);
    (void)mote_durable_seq(fixture->db);
    (void)mote_durable_lsn(fixture->db);
    (void)mote_visible_seq(fixture->db);
    must_fail(mote_close(fixture->db), MOTE_EFORK);
    cr_assert_eq(mote_last_error(&error), MOTE_EFORK);
}

Test(open, handle_is_unusable_in_the_child_of_a_fork)
{
    struct fixture fixture;
    struct model model = model_make(100);
    struct mote_value key = value_i64(1);
    mote_cursor *cursor;
    mote_row *row = NULL;
    int status;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    model_put_batch(table, &model, 0, 100, 1, &SYNC, NULL);
    must(mote_scan(table, NULL, &cursor));
    must(mote_get(table, &key, 1, &row));
    struct mote_search_options search = MOTE_SEARCH_OPTIONS_INIT;
    mote_hits *hits;
    must(mote_search(table, &search, &hits));
    pid_t child = fork();
    if (child == 0) {
        use_after_fork(&fixture, table, cursor, row, hits);
        _exit(0);
    }
    require(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %d", status);
    struct mote_chunk chunk;
    must(mote_cursor_next(cursor, &chunk)); /* the parent goes on as if nothing was */
    cr_expect_eq(chunk.row_count, 100);
    mote_cursor_close(cursor);
    mote_row_free(row);
    cr_expect_eq(mote_hits_count(hits), 100);
    mote_hits_close(hits);
    model_put(table, &model, 5, 2, &SYNC, NULL);
    must(mote_flush(fixture.db));
    model_check(table, &model);
    fixture_close(&fixture);
    model_free(&model);
    fixture_remove(&fixture);
}

/* A child writes until it is killed, and tells each acknowledged key through a pipe; all of them are there, whatever the backend. */
Test(open, killed_process_loses_nothing_acknowledged)
{
    for (uint32_t backend = MOTE_BACKEND_IO_URING; backend <= MOTE_BACKEND_THREADS; backend++) {
        struct fixture fixture;
        struct model model = model_make(100000);
        int pipes[2], status;
        uint32_t key, count = 0;
        fixture_image(&fixture, 64 * MIB_BYTES);
        fixture.options.backend = backend;
        require(pipe(pipes) == 0);
        pid_t child = fork();
        if (child == 0) {
            mote_db *db;
            if (mote_open(fixture.path, &fixture.options, &db, NULL) == MOTE_ENOTSUP)
                _exit(3);
            mote_table *table = model_table_create(db, "arm");
            for (key = 0; key < 100000; key++) {
                must(model_append(table, key, 1 + key % 100, &SYNC, NULL));
                require(write(pipes[1], &key, sizeof key) == (ssize_t)sizeof key);
                if (key % 100 == 99)
                    must(key % 200 == 199 ? mote_checkpoint(db) : mote_flush(db));
            }
            _exit(4);
        }
        close(pipes[1]);
        while (count < 300 && read(pipes[0], &key, sizeof key) == (ssize_t)sizeof key)
            model.version[count++] = 1 + key % 100;
        kill(child, SIGKILL);
        while (read(pipes[0], &key, sizeof key) == (ssize_t)sizeof key)
            model.version[count++] = 1 + key % 100;
        close(pipes[0]);
        require(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
            fprintf(stderr, "SKIPPED backend %u: not available here\n", backend);
        } else {
            cr_expect(WIFSIGNALED(status), "the writer ended by itself: %d", status);
            fixture_open(&fixture);
            mote_table *table = model_table_open(fixture.db, "arm");
            for (key = 0; key < count; key++)
                cr_expect_eq(model_read(table, key), model.version[key], "key %u was acknowledged", key);
            cr_expect_geq(count, 300);
            must(engine_check_timestamp_index(fixture.db));
        }
        model_free(&model);
        fixture_remove(&fixture);
    }
}
