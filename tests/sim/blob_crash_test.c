/* blob_crash_test.c: power cuts at every boundary of a script that writes large values by appends, batches, transactions and streams, deletes them, flushes, compacts and checkpoints. What is found afterwards is the state before the call
 * under way or the one after it, every value with its bytes; when all rows are deleted then, no blob file stays. The same enumeration must find values without bytes where the FLUSH between a value and its row is left out.
 *
 *     blob_crash_test [--seed N]   one seed alone
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/blob.h"
#include "tests/support/crash_visit.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

#define KEYS 12u
#define STATES_MAX 256u
#define BYTES_MAX (160u * 1024u)
#define MARK_STATE 1

/* What lies under each key: the number of its value, 0: no row. Size and bytes follow from it. */
struct state {
    uint64_t numbers[KEYS];
};

struct script {
    struct fixture fixture;
    mote_table *table;
    uint64_t seed, random, next_number;
    bool planted;
    uint32_t state_count;
    struct state states[STATES_MAX];
    uint64_t images, failures, damaged;
};

static uint64_t size_of(uint64_t number)
{
    uint64_t state = number * 77 + 5;
    uint64_t chance = fixture_random(&state) % 4;
    return chance == 0 ? fixture_random(&state) % 4096 : chance == 1 ? 4096 : 4096 + fixture_random(&state) % (BYTES_MAX - 4096);
}

static void fill(uint8_t *bytes, uint64_t number)
{
    uint64_t state = number * 2654435761u + 3, size_bytes = size_of(number);
    for (uint64_t i = 0; i < size_bytes; i += 8) {
        uint64_t word = fixture_random(&state);
        memcpy(bytes + i, &word, size_bytes - i < 8 ? size_bytes - i : 8);
    }
}

/* ---- The script ---- */

static void keep_state(struct script *script, const struct state *state)
{
    require(script->state_count < STATES_MAX);
    script->states[script->state_count] = *state;
    sim_mark(script->fixture.sim, MARK_STATE, script->state_count++);
}

static struct mote_write_options sync_options(void)
{
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    options.durability = MOTE_DURABILITY_SYNC;
    return options;
}

static void append_one(struct script *script, struct state *state, uint64_t kind)
{
    static _Alignas(4096) uint8_t memory[BYTES_MAX + 16];
    uint8_t *bytes = memory + script->next_number % 2 * 8; /* every other one goes to the device from where it is */
    struct mote_write_options options = sync_options();
    uint64_t number = ++script->next_number, size_bytes = size_of(number);
    uint32_t key = (uint32_t)(fixture_random(&script->random) % KEYS);
    struct mote_value row[2] = {value_i64(key), value_bytes(MOTE_TYPE_BLOB, bytes, size_bytes)};
    mote_blob_writer *writer = NULL;
    mote_transaction *transaction;
    fill(bytes, number);
    if (kind == 1) {
        must(mote_blob_writer_open(script->table, 0, &writer));
        must(mote_blob_write(writer, bytes, size_bytes / 3));
        must(mote_blob_write(writer, bytes + size_bytes / 3, size_bytes - size_bytes / 3));
        must(mote_blob_finish(writer, &row[1]));
    }
    if (kind == 2) {
        must(mote_transaction_begin(script->fixture.db, NULL, &transaction));
        must(mote_transaction_put(transaction, script->table, row, 2));
        must(mote_transaction_commit(transaction, &options, NULL));
    } else {
        must(mote_append(script->table, row, 2, &options, NULL));
    }
    mote_blob_writer_close(writer);
    memset(memory, 0xa5, sizeof memory); /* the caller's again */
    state->numbers[key] = number;
}

static void append_batch(struct script *script, struct state *state)
{
    static _Alignas(4096) uint8_t bytes[4 * BYTES_MAX + 8];
    struct mote_write_options options = sync_options();
    int64_t ids[4];
    uint32_t offsets[5] = {0}, first = (uint32_t)(fixture_random(&script->random) % KEYS);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t number = ++script->next_number;
        ids[i] = (first + i) % KEYS;
        fill(bytes + offsets[i], number);
        offsets[i + 1] = offsets[i] + (uint32_t)size_of(number);
        state->numbers[ids[i]] = number;
    }
    const struct mote_column columns[] = {{MOTE_TYPE_INT64, 1, ids, NULL, NULL}, {MOTE_TYPE_BLOB, 1, bytes, offsets, NULL}};
    const struct mote_batch batch = {4, 2, columns, NULL};
    must(mote_append_columns(script->table, &batch, &options, NULL));
    memset(bytes, 0xa5, sizeof bytes);
}

static void delete_one(struct script *script, struct state *state)
{
    struct mote_write_options options = sync_options();
    struct mote_value id = value_i64((int64_t)(fixture_random(&script->random) % KEYS));
    must(mote_delete(script->table, &id, 1, &options, NULL));
    state->numbers[id.as.i64] = 0;
}

static void step(struct script *script)
{
    struct state state = script->states[script->state_count - 1];
    uint64_t kind = fixture_random(&script->random) % 16;
    if (kind < 3)
        append_one(script, &state, 0);
    else if (kind < 6)
        append_one(script, &state, kind % 2 + 1);
    else if (kind < 9)
        append_batch(script, &state);
    else if (kind < 11)
        delete_one(script, &state);
    else if (kind < 13)
        must(mote_flush(script->fixture.db));
    else if (kind < 15)
        must(mote_compact(script->fixture.db, NULL));
    else
        must(mote_checkpoint(script->fixture.db));
    keep_state(script, &state);
}

static void play(struct script *script)
{
    const struct state empty = {{0}};
    fixture_sim(&script->fixture, 24 * MIB_BYTES, script->seed, true);
    script->fixture.options.inline_io = 1;
    script->fixture.options.memtable_bytes = 256 * 1024;
    script->fixture.options.blob_threshold_bytes = 4096;
    fixture_open(&script->fixture);
    script->fixture.db->blob_flush_left_out = script->planted;
    script->table = sample_table_frames(script->fixture.db, "cam");
    keep_state(script, &empty);
    for (uint32_t i = 0; i < 70; i++)
        step(script);
}

/* ---- The images ---- */

static char why[500];

/* What is found: the numbers of the values, whose bytes are theirs. */
static bool look(struct script *script, mote_table *table, const struct state *before, const struct state *after, struct state *found)
{
    static uint8_t expected[BYTES_MAX + 8];
    mote_row *row = NULL;
    bool good = true;
    for (uint32_t key = 0; key < KEYS && good; key++) {
        struct mote_value id = value_i64(key), value;
        struct mote_error error;
        found->numbers[key] = 0;
        int result = mote_get(table, &id, 1, &row);
        if (result == MOTE_ENOTFOUND)
            continue;
        if (!result)
            result = mote_row_value(row, 1, &value);
        if (result) {
            mote_last_error(&error);
            snprintf(why, sizeof why, "%s", error.message);
            script->damaged += result == MOTE_EDAMAGED;
            good = false;
            break;
        }
        for (int i = 0; i < 2 && !found->numbers[key]; i++) {
            uint64_t number = i ? after->numbers[key] : before->numbers[key];
            fill(expected, number);
            if (number && size_of(number) == value.as.bytes.size_bytes && !memcmp(expected, value.as.bytes.data, value.as.bytes.size_bytes))
                found->numbers[key] = number;
        }
        if (!found->numbers[key]) {
            snprintf(why, sizeof why, "key %u has a value of %llu bytes that neither state has", key, (unsigned long long)value.as.bytes.size_bytes);
            good = false;
        }
    }
    mote_row_free(row);
    return good;
}

static bool state_equal(const struct state *a, const struct state *b) { return memcmp(a, b, sizeof *a) == 0; }

/* Every value goes: so does every file. */
static bool ends_empty(mote_db *db, mote_table *table)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    for (uint32_t key = 0; key < KEYS; key++) {
        struct mote_value id = value_i64(key);
        must(mote_delete(table, &id, 1, NULL, NULL));
    }
    must(mote_flush(db));
    must(mote_compact(db, NULL));
    must(mote_checkpoint(db));
    while (blobs_reclaim(db, true))
        ;
    must(mote_get_stats(db, &stats));
    snprintf(why, sizeof why, "%llu blob files are left without a row", (unsigned long long)stats.blob_files);
    return stats.blob_files == 0;
}

static void visit(void *context, uint64_t event, enum sim_crash_policy policy, uint32_t index)
{
    struct script *script = context;
    struct blockdev *device;
    mote_db *db;
    mote_table *table;
    struct mote_error error;
    struct state found;
    uint64_t number = sim_mark_at(script->fixture.sim, event, MARK_STATE);
    const struct state *before = &script->states[number], *after = number + 1 < script->state_count ? before + 1 : before;
    must(sim_create_from_crash(script->fixture.sim, event, policy, index, script->seed ^ event, NULL, &device));
    script->images++;
    int result = engine_open(device, &script->fixture.options, &db, &error);
    bool good = result == MOTE_OK;
    if (good) {
        must(mote_table_open(db, "cam", &table));
        good = look(script, table, before, after, &found);
        if (good && !state_equal(&found, before) && !state_equal(&found, after)) {
            good = false;
            snprintf(why, sizeof why, "what is found is neither the state before nor the one after");
        }
        if (good && script->images % 4 == 0)
            good = ends_empty(db, table);
        engine_abandon(db);
    } else {
        snprintf(why, sizeof why, "%s", error.message);
    }
    if (!good && !script->planted)
        printf("FAILED seed %llu event %llu policy %d index %u, after state %llu: %s\n", (unsigned long long)script->seed, (unsigned long long)event, (int)policy, index, (unsigned long long)number, why);
    script->failures += !good;
    blockdev_close(device);
}

static struct script *run(uint64_t seed, bool planted)
{
    struct script *script = calloc(1, sizeof *script);
    script->seed = seed;
    script->random = seed * 7654321 + 1;
    script->planted = planted;
    play(script);
    crash_visit_all(script->fixture.sim, MARK_STATE, &script->failures, visit, script);
    return script;
}

int main(int argc, char **argv)
{
    uint64_t seeds = fixture_scale(6), images = 0, failures = 0, first = 1;
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        first = strtoull(argv[2], NULL, 0);
        seeds = 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct script *script = run(seed, false);
        images += script->images;
        failures += script->failures;
        fixture_remove(&script->fixture);
        free(script);
    }
    struct script *script = run(first, true);
    if (script->damaged == 0) {
        printf("FAILED seed %llu: the FLUSH before the rows was left out, and no image showed it\n", (unsigned long long)first);
        failures++;
    }
    fixture_remove(&script->fixture);
    free(script);
    printf("%llu passed, %llu failed\n", (unsigned long long)(images + 1 - failures), (unsigned long long)failures);
    return failures ? 1 : 0;
}
