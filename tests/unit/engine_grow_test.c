/* engine_grow_test.c: volumes that grow while they are open (mote_grow): beside writers and readers, step by step, out of want of space, under faults; what is refused. Power cuts: tests/sim/grow_crash_test.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "engine/engine_private.h"
#include "tests/support/backup.h"
#include "tests/support/engine_model.h"

static void expect_code(int found, int code, const char *words)
{
    struct mote_error error;
    mote_last_error(&error);
    cr_assert_eq(found, code, "%s: %s", mote_error_name(found), error.message);
    cr_assert(strstr(error.message, words) != NULL, "\"%s\" lacks \"%s\"", error.message, words);
}

static void enlarge(struct fixture *fixture, uint64_t size_bytes) { require(truncate(fixture->path, (off_t)size_bytes) == 0); }

static uint64_t grow_to(struct fixture *fixture, uint64_t size_bytes)
{
    struct mote_resize_result result;
    enlarge(fixture, size_bytes);
    must(mote_grow(fixture->db, 0, NULL, &result));
    require(result.new_bytes == size_bytes);
    return result.old_bytes;
}

static uint64_t superblock_bytes(struct fixture *fixture) { return fixture->db->superblock.layout.device_size_bytes; }

/* ---- Beside others ---- */

enum { WRITERS = 2, KEYS_EACH = 20000 };

struct party {
    struct fixture fixture;
    mote_table *table;
    _Atomic bool stop;
    _Atomic uint64_t scans;
};

struct writer {
    struct party *party;
    uint32_t number, done;
};

static void *write_rows(void *argument)
{
    struct writer *writer = argument;
    for (uint32_t i = 0; i < KEYS_EACH; i++, writer->done++)
        must(model_append(writer->party->table, writer->number * KEYS_EACH + i, 1, NULL, NULL));
    return NULL;
}

static void *scan_rows(void *argument)
{
    static uint32_t versions[WRITERS * KEYS_EACH];
    struct party *party = argument;
    while (!atomic_load(&party->stop)) {
        model_scan(party->table, WRITERS * KEYS_EACH, atomic_load(&party->scans) % 2, versions);
        atomic_fetch_add(&party->scans, 1);
    }
    return NULL;
}

static void *flush_rows(void *argument)
{
    struct party *party = argument;
    while (!atomic_load(&party->stop)) {
        must(mote_flush(party->fixture.db));
        must(mote_checkpoint(party->fixture.db));
    }
    return NULL;
}

Test(engine_grow, beside_writers_readers_flushes_and_checkpoints)
{
    static struct party party;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS], others[2];
    struct model model = model_make(WRITERS * KEYS_EACH);
    fixture_image(&party.fixture, 20 * MIB_BYTES);
    party.fixture.options.memtable_bytes = MIB_BYTES;
    fixture_open(&party.fixture);
    party.table = model_table_create(party.fixture.db, "arm");
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&party, i, 0};
        require(pthread_create(&threads[i], NULL, write_rows, &writers[i]) == 0);
    }
    require(pthread_create(&others[0], NULL, scan_rows, &party) == 0 && pthread_create(&others[1], NULL, flush_rows, &party) == 0);
    uint64_t size_bytes = 20 * MIB_BYTES, before = fixture_stats(&party.fixture).extents_total;
    for (uint32_t i = 0; i < 40; i++) {
        size_bytes += i % 3 == 0 ? PAGE_BYTES : i % 3 == 1 ? 300 * 1024 : 3 * MIB_BYTES;
        cr_assert_lt(grow_to(&party.fixture, size_bytes), size_bytes);
        cr_assert_eq(superblock_bytes(&party.fixture), size_bytes);
    }
    cr_assert_gt(fixture_stats(&party.fixture).extents_total, before + before);
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&party.stop, true);
    pthread_join(others[0], NULL);
    pthread_join(others[1], NULL);
    for (uint32_t key = 0; key < model.key_count; key++)
        model.version[key] = 1;
    must(mote_wait(party.fixture.db, mote_visible_seq(party.fixture.db), MOTE_FOREVER));
    uint64_t extents = fixture_stats(&party.fixture).extents_total;
    fixture_crash(&party.fixture);
    cr_assert_eq(fixture_stats(&party.fixture).extents_total, extents);
    cr_assert_eq(superblock_bytes(&party.fixture), size_bytes);
    model_check(model_table_open(party.fixture.db, "arm"), &model);
    fixture_close(&party.fixture);
    must(mote_verify(party.fixture.path, NULL, NULL));
    model_free(&model);
    fixture_remove(&party.fixture);
}

/* Where the new end lies over the old one, by a page, by less than a manifest, by a whole extent; closed, killed or neither in between. */
Test(engine_grow, small_steps_keep_all_there_is)
{
    static const uint64_t steps[] = {PAGE_BYTES, PAGE_BYTES, 16 * 1024, 64 * 1024, 1020 * 1024, MIB_BYTES, MIB_BYTES + PAGE_BYTES, 2 * MIB_BYTES, 5 * MIB_BYTES, PAGE_BYTES};
    struct fixture fixture;
    struct state_tables tables = {0};
    struct state state = {0}, found;
    uint64_t random = 11, size_bytes = 24 * MIB_BYTES;
    fixture_image(&fixture, size_bytes);
    fixture_open(&fixture);
    backup_fill(fixture.db, &tables, 6, &random, &state);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        size_bytes += steps[i];
        grow_to(&fixture, size_bytes);
        backup_fill(fixture.db, &tables, 3, &random, &state);
        if (i % 3 == 1)
            fixture_crash(&fixture);
        if (i % 3 == 2) {
            fixture_close(&fixture);
            must(mote_verify(fixture.path, NULL, NULL));
            fixture_open(&fixture);
        }
        states_open(fixture.db, &tables);
        must(states_read(&tables, NULL, false, &found));
        cr_assert(states_equal(&found, &state));
        cr_assert(backup_frames_equal(fixture.db, &state));
        cr_assert_eq(superblock_bytes(&fixture), size_bytes);
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Want of space ---- */

enum { PAYLOAD_BYTES = 1500 };

static struct mote_value payload_of(int64_t key, uint8_t bytes[PAYLOAD_BYTES])
{
    uint64_t random = (uint64_t)key * 2654435761u + 1;
    for (size_t i = 0; i < PAYLOAD_BYTES; i++)
        bytes[i] = (uint8_t)(fixture_random(&random) >> 17);
    return value_bytes(MOTE_TYPE_BLOB, bytes, PAYLOAD_BYTES);
}

static mote_table *make_payloads(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "payload", .type = MOTE_TYPE_BLOB}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "payloads";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static int append_payload(mote_table *table, int64_t key)
{
    uint8_t bytes[PAYLOAD_BYTES];
    const struct mote_value values[] = {value_i64(key), payload_of(key, bytes)};
    return mote_append(table, values, 2, NULL, NULL);
}

static void check_payloads(mote_table *table, int64_t count)
{
    uint8_t bytes[PAYLOAD_BYTES];
    cr_assert_eq(fixture_count_rows(table), (uint64_t)count);
    for (int64_t key = 0; key < count; key += 37) {
        struct mote_value wanted = value_i64(key), found;
        mote_row *row = NULL;
        must(mote_get(table, &wanted, 1, &row));
        must(mote_row_value(row, 1, &found));
        wanted = payload_of(key, bytes);
        cr_assert(value_equal(&found, &wanted));
        mote_row_free(row);
    }
}

static void check_full_volume_goes_on(uint32_t workers, uint32_t inline_io)
{
    struct fixture fixture;
    int64_t next = 0;
    uint64_t size_bytes = 16 * MIB_BYTES;
    fixture_image(&fixture, size_bytes);
    fixture.options.memtable_bytes = MIB_BYTES;
    fixture.options.workers = workers;
    fixture.options.inline_io = inline_io;
    fixture_open(&fixture);
    mote_table *table = make_payloads(fixture.db);
    for (uint32_t round = 0; round < 3; round++) {
        int64_t before = next;
        int result;
        while (!(result = append_payload(table, next)))
            next++;
        must_fail(result, MOTE_ENOSPC);
        cr_assert_gt(next, before + 1000);
        size_bytes += 8 * MIB_BYTES;
        grow_to(&fixture, size_bytes);
        must(append_payload(table, next++)); /* by the same handle, at once */
    }
    must(mote_flush(fixture.db));
    check_payloads(table, next);
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "payloads", &table));
    check_payloads(table, next);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

Test(engine_grow, full_volume_takes_rows_again) { check_full_volume_goes_on(0, 0); }
Test(engine_grow, full_volume_takes_rows_again_without_threads) { check_full_volume_goes_on(MOTE_NO_THREADS, 0); }
Test(engine_grow, full_volume_takes_rows_again_inline) { check_full_volume_goes_on(0, 1); }

/* ---- What is refused ---- */

Test(engine_grow, same_smaller_and_too_large_write_nothing)
{
    struct fixture fixture;
    struct mote_resize_result result;
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    fixture_image(&fixture, 24 * MIB_BYTES);
    fixture_open(&fixture);
    struct mote_stats before = fixture_stats(&fixture);
    must(mote_grow(fixture.db, 0, NULL, &result));
    cr_assert_eq(result.old_bytes, 24 * MIB_BYTES);
    cr_assert_eq(result.new_bytes, 24 * MIB_BYTES);
    must(mote_grow(fixture.db, 24 * MIB_BYTES + 7, NULL, NULL));
    expect_code(mote_grow(fixture.db, 20 * MIB_BYTES, NULL, &result), MOTE_EBUSY, "mote resize");
    expect_code(mote_grow(fixture.db, 32 * MIB_BYTES, NULL, &result), MOTE_ENODEV, "enlarge it first");
    cr_assert_eq(result.new_bytes, 24 * MIB_BYTES);
    enlarge(&fixture, 40 * MIB_BYTES);
    options.dry_run = 1;
    must(mote_grow(fixture.db, 0, &options, &result));
    cr_assert_eq(result.new_bytes, 24 * MIB_BYTES);
    options.size_bytes = 0;
    expect_code(mote_grow(fixture.db, 0, &options, NULL), MOTE_EINVAL, "size_bytes");
    expect_code(mote_grow(NULL, 0, NULL, NULL), MOTE_EINVAL, "NULL");
    struct mote_stats after = fixture_stats(&fixture);
    cr_assert_eq(after.bytes_superblock, before.bytes_superblock);
    cr_assert_eq(after.bytes_manifest, before.bytes_manifest);
    cr_assert_eq(after.extents_total, before.extents_total);
    must(mote_grow(fixture.db, 33 * MIB_BYTES + 5, NULL, &result));
    cr_assert_eq(result.new_bytes, 33 * MIB_BYTES);
    expect_code(mote_grow(fixture.db, 32 * MIB_BYTES, NULL, &result), MOTE_EBUSY, "mote resize");
    fixture_reopen(&fixture);
    cr_assert_eq(superblock_bytes(&fixture), 33 * MIB_BYTES);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_grow, device_that_was_cut_is_told)
{
    struct fixture fixture;
    fixture_image(&fixture, 24 * MIB_BYTES);
    fixture_open(&fixture);
    enlarge(&fixture, 20 * MIB_BYTES);
    expect_code(mote_grow(fixture.db, 0, NULL, NULL), MOTE_ESHRUNK, "as large again");
    enlarge(&fixture, 28 * MIB_BYTES);
    must(mote_grow(fixture.db, 0, NULL, NULL));
    cr_assert_eq(superblock_bytes(&fixture), 28 * MIB_BYTES);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_grow, read_only_poisoned_and_forked_handles_are_refused)
{
    struct fixture fixture;
    fixture_image(&fixture, 24 * MIB_BYTES);
    enlarge(&fixture, 32 * MIB_BYTES);
    fixture.options.read_only = 1;
    fixture_open(&fixture);
    expect_code(mote_grow(fixture.db, 0, NULL, NULL), MOTE_EREADONLY, "read-only");
    fixture_close(&fixture);
    fixture.options.read_only = 0;
    fixture_open(&fixture);
    pid_t child = fork();
    if (child == 0)
        _exit(mote_grow(fixture.db, 0, NULL, NULL) == MOTE_EFORK ? 0 : 1);
    int status = -1;
    require(child > 0 && waitpid(child, &status, 0) == child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    error_set(MOTE_EIO, "the test says so");
    db_poison(fixture.db, MOTE_EIO);
    expect_code(mote_grow(fixture.db, 0, NULL, NULL), MOTE_EPOISONED, "the test says so");
    fixture_kill(&fixture);
    fixture_open(&fixture);
    cr_assert_eq(superblock_bytes(&fixture), 24 * MIB_BYTES);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_grow, extents_that_would_lie_elsewhere_are_refused)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct fixture fixture;
    fixture_image(&fixture, 40 * MIB_BYTES);
    format.extent_bytes = MIB_BYTES;
    format.force = "mote";
    must(mote_format(fixture.path, &format, NULL));
    fixture_open(&fixture);
    enlarge(&fixture, 80 * MIB_BYTES);
    expect_code(mote_grow(fixture.db, 0, NULL, NULL), MOTE_ENOTSUP, "mote clone");
    must(mote_grow(fixture.db, 60 * MIB_BYTES, NULL, NULL));
    fixture_reopen(&fixture);
    cr_assert_eq(superblock_bytes(&fixture), 60 * MIB_BYTES);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Every allocation fails once: nothing changed then, and the handle goes on. */
Test(engine_grow, want_of_memory_changes_nothing)
{
    struct fixture fixture;
    struct model model = model_make(4000);
    uint32_t key = 0;
    int result;
    fixture_image(&fixture, 24 * MIB_BYTES);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    enlarge(&fixture, 200 * MIB_BYTES);
    uint64_t extents = fixture_stats(&fixture).extents_total;
    for (int64_t n = 0;; n++) {
        memory_fail_after(fixture.db->memory, n, true);
        result = mote_grow(fixture.db, 0, NULL, NULL);
        memory_fail_after(fixture.db->memory, -1, false);
        if (result != MOTE_EBUDGET)
            break;
        expect_code(result, MOTE_EBUDGET, "while it is open");
        cr_assert_eq(fixture_stats(&fixture).extents_total, extents);
        model_put(table, &model, key++, 1, NULL, NULL);
        must(mote_flush(fixture.db));
    }
    cr_assert_eq(result, MOTE_OK);
    cr_assert_geq(key, 4);
    cr_assert_gt(fixture_stats(&fixture).extents_total, extents * 5);
    model_check(table, &model);
    fixture_reopen(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    model_free(&model);
}

/* ---- Faults ---- */

enum { FAULT_OLD = 24 * 1024 * 1024, FAULT_FAR = 48 * 1024 * 1024, FAULT_NEAR = FAULT_OLD + 64 * 1024 };

/* One request of the growth fails; what it is told and what the next open finds agree. Returns the growth's result; MOTE_OK: there was no such request. */
static int grow_under_fault(uint64_t size_bytes, struct faulty_rule rule, bool *poisoned)
{
    struct fixture fixture;
    struct model model = model_make(3000);
    struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
    sync.durability = MOTE_DURABILITY_SYNC;
    fixture_image(&fixture, FAULT_OLD);
    fixture.options.inline_io = 1;
    fixture_open_faulty(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    model_put_batch(table, &model, 0, 1000, 1, &sync, NULL);
    must(mote_checkpoint(fixture.db));
    model_put_batch(table, &model, 1000, 500, 1, &sync, NULL);
    enlarge(&fixture, size_bytes);
    int number = faulty_add(fixture.faulty, &rule), result = mote_grow(fixture.db, 0, NULL, NULL);
    bool hit = faulty_hits(fixture.faulty, number) > 0;
    faulty_clear(fixture.faulty);
    *poisoned = fixture_stats(&fixture).poisoned != 0;
    cr_assert_eq(hit, result != MOTE_OK, "%s", mote_error_name(result));
    cr_assert(!*poisoned || result, "success in a poisoned handle");
    cr_assert_eq(superblock_bytes(&fixture), result ? FAULT_OLD : size_bytes);
    if (*poisoned) {
        expect_code(model_append(table, 2999, 1, &sync, NULL), MOTE_EPOISONED, "");
    } else {
        model_put_batch(table, &model, 1500, 500, 1, &sync, NULL);
        must(mote_checkpoint(fixture.db));
        if (result)
            must(mote_grow(fixture.db, 0, NULL, NULL)); /* at the second try */
    }
    fixture_kill(&fixture);
    fixture_open(&fixture);
    uint64_t found = superblock_bytes(&fixture);
    cr_assert(found == size_bytes || (*poisoned && found == FAULT_OLD));
    model_check(model_table_open(fixture.db, "arm"), &model);
    must(mote_grow(fixture.db, 0, NULL, NULL));
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
    model_free(&model);
    return result;
}

/* Each write and each barrier of a growth in turn. */
static void try_all_faults(uint64_t size_bytes, uint32_t op, uint32_t *harmless, uint32_t *fatal)
{
    for (uint64_t skip = 0;; skip++) {
        bool poisoned;
        struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << op, .system_errno = EIO, .skip = skip, .times = 1};
        if (grow_under_fault(size_bytes, rule, &poisoned) == MOTE_OK)
            return;
        *(poisoned ? fatal : harmless) += 1;
    }
}

Test(engine_grow, failed_write_is_harmless_before_anything_refers_to_it_and_poisons_from_there_on)
{
    uint32_t harmless = 0, fatal = 0;
    try_all_faults(FAULT_FAR, BLOCKDEV_WRITE, &harmless, &fatal);
    cr_assert_geq(harmless, 2); /* the second copy's place, the slots */
    cr_assert_geq(fatal, 3);    /* a copy each of the snapshot, the superblock twice */
}

Test(engine_grow, failed_write_of_a_small_step_poisons_once_it_touches_the_old_end)
{
    uint32_t harmless = 0, fatal = 0;
    try_all_faults(FAULT_NEAR, BLOCKDEV_WRITE, &harmless, &fatal);
    cr_assert_geq(fatal, 4);
}

Test(engine_grow, failed_barrier_poisons)
{
    uint32_t harmless = 0, fatal = 0;
    try_all_faults(FAULT_FAR, BLOCKDEV_FLUSH, &harmless, &fatal);
    try_all_faults(FAULT_NEAR, BLOCKDEV_FLUSH, &harmless, &fatal);
    cr_assert_eq(harmless, 0);
    cr_assert_geq(fatal, 6);
}
