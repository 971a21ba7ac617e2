/* engine_api_errors_test.c: every error code of mote.h has a test that provokes it. The table at the end lists them all: a code that mote_error_name knows and the table does not is a failure, and so is one whose
 * provocation gives another. Each runs on a volume of its own. Failing devices are the fault injector's, damaged ones are image files changed behind the engine's back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/superblock.h"
#include "tests/support/backup.h"
#include "tests/support/deny.h"
#include "tests/support/engine_model.h"
#include "tests/support/gate.h"
#include "wal/wal_format.h"

TestSuite(errors, .timeout = 120);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};

/* Opens the fixture's volume with its options; the error comes back. */
static int try_open(struct fixture *fixture)
{
    mote_db *db;
    int result = mote_open(fixture->path, &fixture->options, &db, NULL);
    if (result == MOTE_OK)
        fixture->db = db;
    return result;
}

static mote_table *open_with_table(struct fixture *fixture)
{
    fixture_open(fixture);
    return model_table_create(fixture->db, "arm");
}

/* ---- The caller's doing ---- */

static int invalid(struct fixture *fixture) { return mote_open(fixture->path, NULL, NULL, NULL); }

static int misfit(struct fixture *fixture)
{
    const struct mote_value text = value_text("not a key");
    return mote_append(open_with_table(fixture), &text, 1, NULL, NULL);
}

static int too_big(struct fixture *fixture)
{
    static char text[MOTE_ROW_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    const struct mote_value values[] = {value_i64(1), value_null(MOTE_TYPE_TIMESTAMP), value_null(MOTE_TYPE_FLOAT64), value_bytes(MOTE_TYPE_TEXT, text, sizeof text)};
    return mote_append(open_with_table(fixture), values, 4, NULL, NULL);
}

static int exists(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    const struct mote_value key = value_i64(1);
    must(mote_insert(table, &key, 1, NULL, NULL));
    return mote_insert(table, &key, 1, NULL, NULL);
}

static int not_found(struct fixture *fixture)
{
    const struct mote_value key = value_i64(1);
    mote_row *row = NULL;
    int result = mote_get(open_with_table(fixture), &key, 1, &row);
    require(row == NULL);
    return result;
}

static int no_table(struct fixture *fixture)
{
    mote_table *table;
    fixture_open(fixture);
    return mote_table_open(fixture->db, "arm", &table);
}

static int no_column(struct fixture *fixture) { return mote_table_find_column(open_with_table(fixture), "missing"); }

static int read_only(struct fixture *fixture)
{
    fixture->options.read_only = 1;
    fixture_open(fixture);
    return mote_flush(fixture->db);
}

static int forked(struct fixture *fixture)
{
    int status;
    fixture_open(fixture);
    pid_t child = fork();
    if (child == 0)
        _exit(-mote_flush(fixture->db));
    require(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static int over_budget(struct fixture *fixture)
{
    mote_cursor *cursors[9];
    mote_table *table = open_with_table(fixture);
    int result = MOTE_OK;
    uint32_t count = 0;
    while (count < 9 && !(result = mote_scan(table, NULL, &cursors[count])))
        count++;
    for (uint32_t i = 0; i < count; i++)
        mote_cursor_close(cursors[i]);
    return result;
}

static int no_space(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    int result = MOTE_OK;
    for (uint32_t key = 0; key < 50000000 && !result; key += 1000)
        result = model_append_batch(table, key, 1000, 1, NULL, NULL);
    return result;
}

static int timed_out(struct fixture *fixture)
{
    uint64_t ticket;
    fixture_open_gated(fixture);
    mote_table *table = model_table_create(fixture->db, "arm");
    gate_hold(fixture->gate, 1u << BLOCKDEV_WRITE, 0);
    must(model_append(table, 1, 1, NULL, &ticket));
    int result = mote_wait(fixture->db, ticket, NS_PER_MS);
    gate_release(fixture->gate);
    return result;
}

static int ring_full(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    mote_producer *producer;
    size_t record_bytes;
    uint64_t record[64] = {0};
    options.ring_records = 1;
    options.policy = MOTE_PRODUCER_REFUSE;
    must(mote_producer_layout(table, &options, NULL, 0, NULL, &record_bytes));
    require(record_bytes <= sizeof record);
    must(mote_producer_open(table, &options, &producer));
    int result;
    do /* far faster than the engine looks at the ring */
        result = mote_producer_push(producer, record);
    while (result == MOTE_OK);
    must(mote_producer_close(producer));
    return result;
}

static int not_supported(struct fixture *fixture)
{
    require(deny_io_uring(EPERM) == 0);
    fixture->options.backend = MOTE_BACKEND_IO_URING;
    return try_open(fixture);
}

/* ---- The device's state ---- */

static int busy(struct fixture *fixture)
{
    mote_db *second;
    struct mote_options options = fixture->options;
    fixture_open(fixture);
    options.open_timeout_ms = 20;
    return mote_open(fixture->path, &options, &second, NULL);
}

static void change_byte(const char *path, uint64_t offset_bytes)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    require(fd >= 0 && pread(fd, &byte, 1, (off_t)offset_bytes) == 1);
    byte ^= 0x10;
    require(pwrite(fd, &byte, 1, (off_t)offset_bytes) == 1);
    close(fd);
}

static int foreign(struct fixture *fixture)
{
    require(truncate(fixture->path, 0) == 0 && truncate(fixture->path, 32 * MIB_BYTES) == 0);
    return try_open(fixture);
}

static int newer_version(struct fixture *fixture)
{
    int fd = open(fixture->path, O_RDWR);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t slot[SUPERBLOCK_SLOT_BYTES];
        uint64_t offset = (i / 4 ? 31 * MIB_BYTES : 0) + i % 4 * SUPERBLOCK_SLOT_BYTES;
        struct superblock superblock;
        require(pread(fd, slot, sizeof slot, (off_t)offset) == (ssize_t)sizeof slot);
        if (superblock_decode(slot, offset, &superblock))
            continue;
        superblock.features_incompat |= 1ull << 63;
        superblock_encode(&superblock, offset, slot);
        require(pwrite(fd, slot, sizeof slot, (off_t)offset) == (ssize_t)sizeof slot);
    }
    close(fd);
    return try_open(fixture);
}

static int no_device(struct fixture *fixture)
{
    require(unlink(fixture->path) == 0);
    return try_open(fixture);
}

static int no_access(struct fixture *fixture)
{
    require(chmod(fixture->path, 0) == 0 && chmod(fixture->folder.path, 0755) == 0);
    if (geteuid() == 0)
        require(seteuid(65534) == 0);
    int result = try_open(fixture);
    (void)!seteuid(getuid());
    return result;
}

static int shrunk(struct fixture *fixture)
{
    require(truncate(fixture->path, 30 * MIB_BYTES) == 0);
    return try_open(fixture);
}

/* ---- Faults ---- */

/* Rows in a segment; then each read of the device fails. A flipped bit where flip. */
static int damaged_read(struct fixture *fixture, bool flip)
{
    fixture_open(fixture);
    mote_table *table = model_table_create(fixture->db, "arm");
    must(model_append_batch(table, 0, 1000, 1, NULL, NULL));
    must(mote_flush(fixture->db));
    fixture_close(fixture);
    fixture_open_faulty(fixture);
    struct faulty_rule rule = {.kind = flip ? FAULTY_BIT_FLIP : FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .times = UINT64_MAX, .system_errno = EIO, .bit = 8 * 100 + 3};
    require(faulty_add(fixture->faulty, &rule) >= 0);
    const struct mote_value key = value_i64(5);
    mote_row *row = NULL;
    int result = mote_get(model_table_open(fixture->db, "arm"), &key, 1, &row);
    faulty_clear(fixture->faulty);
    return result;
}

static int io_error(struct fixture *fixture) { return damaged_read(fixture, false); }
static int damaged(struct fixture *fixture) { return damaged_read(fixture, true); }

/* Acknowledged frames with later ones behind them; one in the middle is damaged on the device. */
static void damage_log(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    for (uint32_t key = 0; key < 64; key++)
        must(model_append(table, key, 1, &SYNC, NULL));
    fixture_kill(fixture);
    int fd = open(fixture->path, O_RDONLY);
    uint8_t block[4096];
    uint32_t frames = 0;
    uint64_t at = 0, target = 0;
    for (; pread(fd, block, sizeof block, (off_t)at) == (ssize_t)sizeof block; at += sizeof block) {
        uint32_t magic;
        memcpy(&magic, block, 4);
        if (magic == WAL_FRAME_MAGIC && block[WAL_FRAME_AT_KIND] == WAL_FRAME_ROWS && ++frames == 20)
            target = at;
    }
    close(fd);
    require(target > 0 && frames >= 60);
    change_byte(fixture->path, target + 200);
}

static int lost(struct fixture *fixture)
{
    damage_log(fixture);
    return try_open(fixture);
}

static int poisoned(struct fixture *fixture)
{
    fixture_open_faulty(fixture);
    mote_table *table = model_table_create(fixture->db, "arm");
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_WAL, .times = 1, .system_errno = EIO};
    require(faulty_add(fixture->faulty, &rule) >= 0);
    int result = model_append(table, 1, 1, &SYNC, NULL);
    require(result == MOTE_EIO || result == MOTE_EPOISONED);
    return model_append(table, 2, 1, NULL, NULL);
}

/* What the process has mapped; a sanitizer's shadow is most of it. */
static uint64_t mapped_bytes(void)
{
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    require(statm && fscanf(statm, "%llu", &pages) == 1);
    fclose(statm);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int no_memory(struct fixture *fixture)
{
    uint64_t bytes = mapped_bytes() + 600 * MIB_BYTES;
    struct rlimit limit = {bytes, bytes};
    require(setrlimit(RLIMIT_AS, &limit) == 0);
    fixture->options.memory_bytes = 1ull << 40;
    return try_open(fixture);
}

static int no_randomness(struct fixture *fixture)
{
    const int getrandom_number = SYS_getrandom;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.force = "mote";
    require(deny_syscalls(&getrandom_number, 1, ENOSYS) == 0);
    return mote_format(fixture->path, &format, NULL);
}

static int sum_too_large(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    const struct mote_aggregate_value sum = {0, MOTE_AGGREGATE_SUM};
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    for (int64_t i = 0; i < 2; i++) {
        const struct mote_value values[] = {value_i64(INT64_MAX - i), value_null(MOTE_TYPE_TIMESTAMP), value_null(MOTE_TYPE_FLOAT64), value_null(MOTE_TYPE_TEXT)};
        must(mote_append(table, values, 4, NULL, NULL));
    }
    options.values = &sum;
    options.value_count = 1;
    must(mote_aggregate(table, &options, &aggregation));
    int result = mote_aggregation_next(aggregation, &chunk);
    mote_aggregation_close(aggregation);
    return result;
}

static int conflict(struct fixture *fixture)
{
    mote_table *table = open_with_table(fixture);
    const struct mote_value values[] = {value_i64(1), value_null(MOTE_TYPE_TIMESTAMP), value_null(MOTE_TYPE_FLOAT64), value_null(MOTE_TYPE_TEXT)};
    mote_transaction *transaction;
    must(mote_transaction_begin(fixture->db, NULL, &transaction));
    must(mote_transaction_put(transaction, table, values, 4));
    must(mote_append(table, values, 4, NULL, NULL));
    return mote_transaction_commit(transaction, NULL, NULL);
}

static int recycled(struct fixture *fixture)
{
    const struct mote_column_definition column = {.name = "time", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_retention retention = MOTE_RETENTION_INIT;
    struct mote_chunk chunk;
    mote_table *table;
    mote_cursor *cursor;
    fixture_open(fixture);
    schema.name = "ring";
    schema.columns = &column;
    schema.column_count = 1;
    schema.time_column = 0;
    must(mote_table_create(fixture->db, &schema, &table));
    retention.bytes_max = 1;
    must(mote_table_set_retention(table, &retention));
    for (int64_t i = 0; i < 2; i++) {
        const struct mote_value time = value_timestamp(i * 3600000000000);
        must(mote_append(table, &time, 1, NULL, NULL));
        must(mote_flush(fixture->db));
        if (i == 0)
            must(mote_scan(table, NULL, &cursor));
    }
    must(mote_retain(fixture->db));
    int result = mote_cursor_next(cursor, &chunk);
    mote_cursor_close(cursor);
    return result;
}

/* A receive of a stream that is cut. */
static int restoring(struct fixture *fixture)
{
    struct backup_stream stream;
    struct mote_receive_options options = MOTE_RECEIVE_OPTIONS_INIT;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    mote_db *db;
    fixture_open(fixture);
    backup_send(fixture->db, NULL, NULL, &stream, NULL);
    stream.size_bytes -= 10;
    format.image_size_bytes = 32 * MIB_BYTES;
    format.sparse = 1;
    options.format = &format;
    must_fail(mote_receive(tempdir_file(&fixture->folder, "copy"), &options, backup_read, &stream, NULL), MOTE_EDAMAGED);
    backup_free(&stream);
    return mote_open(tempdir_file(&fixture->folder, "copy"), &fixture->options, &db, NULL);
}

/* ---- The table ---- */

static const struct {
    int code;
    int (*provoke)(struct fixture *fixture);
} CASES[] = {
    {MOTE_EINVAL, invalid},      {MOTE_ESCHEMA, misfit},       {MOTE_ETOOBIG, too_big},    {MOTE_EEXISTS, exists},   {MOTE_ENOTFOUND, not_found}, {MOTE_ENOTABLE, no_table},      {MOTE_ENOCOLUMN, no_column},
    {MOTE_EREADONLY, read_only}, {MOTE_EFORK, forked},         {MOTE_EBUDGET, over_budget}, {MOTE_ENOSPC, no_space}, {MOTE_ETIMEOUT, timed_out},  {MOTE_ENOTSUP, not_supported},  {MOTE_EBUSY, busy},
    {MOTE_EFOREIGN, foreign},    {MOTE_EVERSION, newer_version}, {MOTE_ENODEV, no_device}, {MOTE_EACCESS, no_access}, {MOTE_ESHRUNK, shrunk},    {MOTE_EIO, io_error},           {MOTE_EDAMAGED, damaged},
    {MOTE_ELOST, lost},          {MOTE_EPOISONED, poisoned},   {MOTE_ENOMEM, no_memory},   {MOTE_EINTERNAL, no_randomness}, {MOTE_EAGAIN, ring_full},
    {MOTE_ERANGE, sum_too_large}, {MOTE_ECONFLICT, conflict}, {MOTE_ERECYCLED, recycled}, {MOTE_ERESTORING, restoring},
};
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };

/* In a process of its own, since some take system calls or memory away for good. */
static void provoke_apart(unsigned number)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct fixture fixture;
        struct mote_error error;
        fixture_image(&fixture, 32 * MIB_BYTES);
        fixture_must(CASES[number].provoke(&fixture), CASES[number].code, mote_error_name(CASES[number].code), __FILE__, __LINE__);
        if (CASES[number].code != MOTE_EFORK && CASES[number].code != MOTE_EAGAIN) { /* the one's is the grandchild's; a push makes no sentence */
            require(mote_last_error(&error) == CASES[number].code);
            require(strlen(error.message) > 10);
        }
        fixture_remove(&fixture);
        _exit(0);
    }
    require(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: its provocation ended with status %d", mote_error_name(CASES[number].code), status);
}

Test(errors, every_code_is_provoked)
{
    for (unsigned i = 0; i < CASE_COUNT; i++)
        provoke_apart(i);
}

Test(errors, every_code_is_in_the_table)
{
    unsigned named = 0;
    for (int code = -1; code > -200; code--) {
        if (strcmp(mote_error_name(code), "MOTE_E?") == 0)
            continue;
        named++;
        bool listed = false;
        for (unsigned i = 0; i < CASE_COUNT; i++)
            listed = listed || CASES[i].code == code;
        cr_expect(listed, "%s has no test", mote_error_name(code));
    }
    cr_expect_eq(named, CASE_COUNT);
    cr_expect_str_eq(mote_error_name(MOTE_OK), "MOTE_OK");
}

/* ---- What faults leave behind ---- */

/* After a failed barrier nothing is ever acknowledged, reads go on, and a reopen finds all that was acknowledged before. */
Test(errors, failed_barrier_poisons_until_reopen)
{
    struct fixture fixture;
    struct model model = model_make(100);
    uint64_t ticket;
    fixture_sim(&fixture, 64 * MIB_BYTES, 81, false);
    fixture_open_faulty(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 50; key++)
        model_put(table, &model, key, 1, &SYNC, NULL);
    /* The barrier that fails is to be the next row's: what the background has still to do (log space, the log's mark) comes first. A barrier of others after that row would make it durable, acknowledged or not. */
    must(mote_checkpoint(fixture.db));
    nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .times = 1, .system_errno = EIO};
    require(faulty_add(fixture.faulty, &rule) >= 0);
    must(model_append(table, 90, 1, NULL, &ticket));
    int result = mote_wait(fixture.db, ticket, MOTE_FOREVER);
    cr_expect(result == MOTE_EIO || result == MOTE_EPOISONED, "%s", mote_error_name(result));
    for (int i = 0; i < 3; i++) {
        result = mote_wait(fixture.db, ticket, NS_PER_S);
        cr_expect(result == MOTE_EIO || result == MOTE_EPOISONED, "%s", mote_error_name(result));
        must_fail(model_append(table, 91, 1, NULL, NULL), MOTE_EPOISONED);
        must_fail(mote_flush(fixture.db), MOTE_EPOISONED);
        must_fail(mote_checkpoint(fixture.db), MOTE_EPOISONED);
        must_fail(mote_table_drop(fixture.db, "arm"), MOTE_EPOISONED);
        cr_expect_lt(mote_durable_seq(fixture.db), ticket);
        cr_expect_eq(model_read(table, 10), 1, "a poisoned handle still reads");
    }
    cr_expect_neq(fixture_stats(&fixture).poisoned, 0);
    cr_expect_lt(mote_close(fixture.db), 0, "the close of a poisoned handle says so");
    fixture.db = NULL;
    fixture.gate = fixture.faulty = NULL;
    sim_power_cut(fixture.sim, SIM_CRASH_NONE, 0, 1);
    sim_power_on(fixture.sim);
    fixture_open(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* on_damage = continue: the lost range is told, kept in the stats for ever, and what lies around it is there. */
Test(errors, damaged_log_is_refused_or_continued)
{
    struct fixture fixture;
    struct mote_error error;
    fixture_image(&fixture, 32 * MIB_BYTES);
    damage_log(&fixture);
    mote_db *db;
    must_fail(mote_open(fixture.path, &fixture.options, &db, &error), MOTE_ELOST);
    cr_expect_neq(error.lsn, UINT64_MAX, "the error names no place in the log");
    cr_expect_gt(error.length_bytes, 0);
    must_fail(mote_verify(fixture.path, NULL, NULL), MOTE_EDAMAGED);
    fixture.options.on_damage = MOTE_DAMAGE_CONTINUE;
    for (int round = 0; round < 3; round++) {
        fixture_open(&fixture);
        struct mote_stats stats = fixture_stats(&fixture);
        cr_expect_eq(stats.lost_range_count, 1);
        cr_expect_geq(stats.lost_rows_at_least, 1);
        mote_table *table = model_table_open(fixture.db, "arm");
        uint32_t found = 0;
        for (uint32_t key = 0; key < 64; key++)
            found += model_read(table, key) == 1;
        cr_expect_geq(found, 19);
        cr_expect_lt(found, 64);
        must(model_append(table, 100, 1, &SYNC, NULL)); /* it goes on */
        if (round == 0)
            fixture_kill(&fixture);
        else
            fixture_close(&fixture);
        fixture.options.on_damage = MOTE_DAMAGE_REFUSE; /* what is recorded is no new damage */
    }
    fixture_remove(&fixture);
}
