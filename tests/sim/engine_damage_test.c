/* engine_damage_test.c: bit rot. Sealed volumes of seeded owners (tests/support/sealed.h) are damaged in every kind of structure: bits flipped, sectors lost, overwritten by garbage or by other sectors of
 * the device. Whatever is read afterwards is the same answer or an error that names the range: never a wrong answer, never "not found".
 *
 *   one copy of superblock or manifest     everything is read as before, and is healed: the other copy may then be damaged instead
 *   both copies of a manifest frame        an error, unless it was the newest frame of all
 *   an acknowledged log frame              MOTE_ELOST with the range; with on_damage = continue the volume opens, has all other rows, and remembers what was lost
 *   a segment                              what it held is answered rightly or with MOTE_EDAMAGED
 *   a timestamp section                    time ranges are answered all the same
 *   anything at all                        several places at once, at random
 *
 *     engine_damage_test [--first N] [--seeds N]      MOTE_TEST_SCALE, MOTE_TEST_JOBS as usual */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim.h"
#include "engine/engine_private.h"
#include "tests/support/sealed.h"
#include "tests/support/test_workers.h"
#include "tests/support/virtual_clock.h"

#define SEEDS_DEFAULT 12u

enum { COUNT_IMAGES, COUNT_ANSWERS, COUNT_ERRORS, COUNT_REFUSED, COUNT_LOST, COUNT_HEALED };

struct bench {
    struct test_worker *worker;
    uint64_t seed, random;
    struct sealed sealed;
    struct content wanted;
    struct oracle oracle;
    char what[300]; /* the damage, for a person */
};

enum damage_kind { DAMAGE_BIT, DAMAGE_ZERO_SECTOR, DAMAGE_GARBAGE, DAMAGE_OTHER_SECTOR, DAMAGE_KINDS };
static const char *const DAMAGE_NAMES[] = {"a flipped bit", "a lost sector", "garbage in a sector", "another sector's content"};
static const char *const REGION_NAMES[] = {"superblock", "manifest", "log frame", "segment", "timestamp section"};

static int fail(struct bench *bench)
{
    printf("FAILED seed %" PRIu64 ", %s: %s\n", bench->seed, bench->what, bench->oracle.why);
    fflush(stdout);
    bench->worker->failures++;
    return -1;
}

/* Damages one place of the region. Returns whether that changed anything. */
static bool damage(struct bench *bench, struct blockdev *device, const struct region *region, enum damage_kind kind)
{
    uint64_t at = region->offset_bytes + random_next(&bench->random) % region->length_bytes, sector = round_down(at, SECTOR_BYTES);
    uint8_t other[SECTOR_BYTES], before[SECTOR_BYTES];
    memcpy(before, bench->sealed.image + sector, sizeof before);
    uint64_t from = round_down(random_next(&bench->random) % (bench->sealed.size_bytes - SECTOR_BYTES), SECTOR_BYTES);
    snprintf(bench->what, sizeof bench->what, "%s at byte %" PRIu64 " of a %s (device offset %" PRIu64 ", copy %u)", DAMAGE_NAMES[kind], at - region->offset_bytes, REGION_NAMES[region->kind], at, region->copy);
    snprintf(bench->worker->at, sizeof bench->worker->at, "engine_damage_test --first %" PRIu64 " --seeds 1, %s", bench->seed, bench->what);
    bench->worker->progress++;
    switch (kind) {
    case DAMAGE_BIT:
        device_flip_bit(device, at, random_below(&bench->random, 8));
        return true;
    case DAMAGE_ZERO_SECTOR: memset(other, 0, sizeof other); break;
    case DAMAGE_GARBAGE:
        for (uint32_t i = 0; i < sizeof other; i++)
            other[i] = (uint8_t)random_next(&bench->random);
        break;
    default: memcpy(other, bench->sealed.image + from, sizeof other); break;
    }
    device_patch(device, sector, other, sizeof other);
    return memcmp(other, before, sizeof other) != 0;
}

static int open_volume(struct bench *bench, struct blockdev *device, uint32_t on_damage, struct mote_db **db)
{
    struct mote_options options;
    profile_options(&bench->sealed.profile, &bench->random, &options);
    options.on_damage = on_damage;
    return engine_open(device, &options, db, NULL);
}

/* Reads everything of an open volume, counts answers and errors. */
static int read_all(struct bench *bench, struct mote_db *db, const struct content *wanted, uint32_t gets, bool errors_allowed)
{
    struct tolerance tolerance = {0};
    int result = tolerant_check(&bench->oracle, db, wanted, gets, &tolerance);
    bench->worker->counts[COUNT_ANSWERS] += tolerance.answers;
    bench->worker->counts[COUNT_ERRORS] += tolerance.errors;
    if (!result && tolerance.errors && !errors_allowed) {
        struct mote_error error;
        mote_last_error(&error);
        result = oracle_fail(&bench->oracle, "%u reads fail, although another copy is good (%s)", tolerance.errors, error.message);
    }
    return result;
}

static const struct region *random_region(struct bench *bench, enum region_kind kind)
{
    const struct region *found = NULL;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < bench->sealed.region_count; i++) {
        if (bench->sealed.regions[i].kind == kind && random_below(&bench->random, ++seen) == 0)
            found = &bench->sealed.regions[i];
    }
    return found;
}

/* ---- Superblock and manifest: one of two copies ---- */

static const struct region *twin_of(const struct bench *bench, const struct region *region)
{
    for (uint32_t i = 0; i < bench->sealed.region_count; i++) {
        const struct region *other = &bench->sealed.regions[i];
        if (other->kind == region->kind && other->copy != region->copy && other->lsn == region->lsn)
            return other;
    }
    return NULL;
}

static int test_one_copy(struct bench *bench, enum region_kind kind)
{
    const struct region *region = random_region(bench, kind);
    struct mote_db *db;
    struct blockdev *device = sealed_device(&bench->sealed);
    damage(bench, device, region, (enum damage_kind)random_below(&bench->random, DAMAGE_KINDS));
    int result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (result) {
        blockdev_close(device);
        return oracle_fail_code(&bench->oracle, result, "the open fails although another copy is good");
    }
    result = read_all(bench, db, &bench->wanted, 4, false);
    engine_abandon(db);
    /* What was damaged is healed: now the other copy may go. */
    const struct region *twin = kind == REGION_MANIFEST ? twin_of(bench, region) : NULL;
    if (!result && twin) {
        damage(bench, device, twin, DAMAGE_GARBAGE);
        result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
        if (result)
            result = oracle_fail_code(&bench->oracle, result, "the first copy was not healed: after the other one's damage the open fails");
        else {
            result = read_all(bench, db, &bench->wanted, 2, false);
            engine_abandon(db);
        }
        bench->worker->counts[COUNT_HEALED]++;
    }
    blockdev_close(device);
    return result;
}

static int test_both_copies(struct bench *bench)
{
    const struct region *region = random_region(bench, REGION_MANIFEST), *twin = twin_of(bench, region);
    struct mote_db *db;
    if (region->last || !twin)
        return MOTE_OK; /* the newest frame in both copies is what a power cut may take, too */
    struct blockdev *device = sealed_device(&bench->sealed);
    bool changed = damage(bench, device, region, DAMAGE_GARBAGE);
    changed = damage(bench, device, twin, DAMAGE_GARBAGE) && changed;
    int result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (!result) {
        result = oracle_fail(&bench->oracle, "the volume opens without a frame of its manifest (sequence %" PRIu64 ")", region->lsn);
        engine_abandon(db);
    } else {
        bench->worker->counts[COUNT_REFUSED]++;
        result = result == MOTE_EDAMAGED ? tolerant_error(&bench->oracle, result, "the open") : oracle_fail_code(&bench->oracle, result, "the open fails with the wrong error");
    }
    blockdev_close(device);
    return result;
}

/* ---- Segments ---- */

static int test_segment(struct bench *bench, enum region_kind kind)
{
    const struct region *region = random_region(bench, kind);
    struct mote_db *db;
    if (!region)
        return MOTE_OK;
    struct blockdev *device = sealed_device(&bench->sealed);
    damage(bench, device, region, (enum damage_kind)random_below(&bench->random, DAMAGE_KINDS));
    int result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (result) {
        bench->worker->counts[COUNT_REFUSED]++;
        result = tolerant_error(&bench->oracle, result, "the open");
    } else {
        result = read_all(bench, db, &bench->wanted, 12, kind == REGION_SEGMENT);
        engine_abandon(db);
    }
    blockdev_close(device);
    return result;
}

/* ---- The log ---- */

/* The model without the rows that a lost frame alone had. */
static struct model *without_rows(const struct bench *bench, uint64_t seq_from, uint64_t seq_to)
{
    const struct model *from = bench->sealed.model;
    struct model *model = model_create();
    for (uint32_t i = 0; i < from->op_count; i++) {
        const struct model_op *op = from->ops[i];
        bool lost = op->row_count && op->seq_first >= seq_from && op->seq_last <= seq_to && op->seq_last > bench->sealed.flushed_seq;
        if (op->kind == MODEL_CREATE)
            model_create_table(model, op->schema, op->seq_last);
        else if (op->kind == MODEL_DROP)
            model_drop_table(model, op->table, op->seq_last);
        else if (op->kind == MODEL_ADD_COLUMN)
            model_add_column(model, op->table, &op->column, op->seq_last);
        else if (!lost)
            model_apply(model, model_op_copy(model, op), op->seq_last);
    }
    return model;
}

/* The lost range that the open volume remembers; from > to: none. */
static int lost_range(struct bench *bench, struct mote_db *db, uint64_t *seq_from, uint64_t *seq_to)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    mote_get_stats(db, &stats);
    *seq_from = 1;
    *seq_to = 0;
    if (stats.lost_range_count > 1)
        return oracle_fail(&bench->oracle, "%" PRIu64 " lost ranges are recorded, not one", stats.lost_range_count);
    if (stats.lost_range_count == 0)
        return MOTE_OK;
    manifest_lock(db->manifest);
    const struct manifest_lost_range *lost = &manifest_get_state(db->manifest)->lost_ranges[0];
    *seq_from = lost->seq_from;
    *seq_to = lost->seq_to;
    manifest_unlock(db->manifest);
    return MOTE_OK;
}

/* Exactly the rows of the frame that no segment has are lost, and everything else is there. */
static int check_lost(struct bench *bench, struct mote_db *db, const struct region *region, uint64_t seq_from, uint64_t seq_to)
{
    struct content wanted = {0};
    uint64_t from = region->seq_from > bench->sealed.flushed_seq ? region->seq_from : bench->sealed.flushed_seq + 1;
    bool rows = region->seq_to >= from;
    if (rows ? seq_from != from || seq_to != region->seq_to : seq_from <= seq_to)
        return oracle_fail(&bench->oracle, "seqs %" PRIu64 " to %" PRIu64 " were lost, %" PRIu64 " to %" PRIu64 " are recorded (flushed: %" PRIu64 ")", from, region->seq_to, seq_from, seq_to, bench->sealed.flushed_seq);
    struct model *model = without_rows(bench, seq_from, seq_to);
    content_of_model(model, &wanted);
    int result = read_all(bench, db, &wanted, 6, false);
    free(wanted.row_at);
    free(wanted.bytes);
    model_destroy(model);
    return result;
}

/* With on_damage = continue: opens, has everything else, remembers, goes on. */
static int continue_after_loss(struct bench *bench, struct blockdev *device, const struct region *region)
{
    struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
    struct mote_value key[3] = {{.type = MOTE_TYPE_INT32, .as.i32 = 77}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 5}, {.type = MOTE_TYPE_INT64, .as.i64 = -1}};
    struct mote_db *db;
    mote_table *table;
    mote_row *row = NULL;
    uint64_t seq_from, seq_to, again_from, again_to;
    int result = open_volume(bench, device, MOTE_DAMAGE_CONTINUE, &db);
    if (result)
        return oracle_fail_code(&bench->oracle, result, "the open with on_damage = continue");
    bench->worker->counts[COUNT_LOST]++;
    result = lost_range(bench, db, &seq_from, &seq_to);
    if (!result)
        result = check_lost(bench, db, region, seq_from, seq_to);
    sync.durability = MOTE_DURABILITY_SYNC;
    if (!result && (mote_table_open(db, "arm", &table) || mote_append(table, key, 3, &sync, NULL)))
        result = oracle_fail_code(&bench->oracle, -1, "an append after the loss");
    engine_abandon(db);
    if (result)
        return result;
    /* Another open needs no leave any more, and the record is still there. */
    result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (result)
        return oracle_fail_code(&bench->oracle, result, "the open after one with on_damage = continue");
    result = lost_range(bench, db, &again_from, &again_to);
    if (!result && (again_from != seq_from || again_to != seq_to))
        result = oracle_fail(&bench->oracle, "the record of the lost range changed");
    if (!result && (mote_table_open(db, "arm", &table) || mote_get(table, key, 2, &row)))
        result = oracle_fail_code(&bench->oracle, -1, "the row appended after the loss");
    mote_row_free(row);
    engine_abandon(db);
    return result;
}

static int test_frame(struct bench *bench)
{
    const struct region *region = random_region(bench, REGION_FRAME);
    struct mote_db *db;
    if (!region)
        return MOTE_OK;
    struct blockdev *device = sealed_device(&bench->sealed);
    bool changed = damage(bench, device, region, (enum damage_kind)random_below(&bench->random, DAMAGE_KINDS));
    int result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (!result) {
        /* Nothing acknowledged was in it: the last mark, or bytes that were the same. */
        result = region->last || !changed ? read_all(bench, db, &bench->wanted, 6, false) : oracle_fail(&bench->oracle, "an acknowledged frame (seq %" PRIu64 " to %" PRIu64 ") is damaged, and the volume opens", region->seq_from, region->seq_to);
        engine_abandon(db);
    } else if (result != MOTE_ELOST) {
        result = oracle_fail_code(&bench->oracle, result, "the open after damage of an acknowledged frame");
    } else {
        bench->worker->counts[COUNT_REFUSED]++;
        result = tolerant_error(&bench->oracle, result, "the open");
        if (!result)
            result = continue_after_loss(bench, device, region);
    }
    blockdev_close(device);
    return result;
}

/* ---- Anything ---- */

static int test_anything(struct bench *bench)
{
    struct mote_db *db;
    struct blockdev *device = sealed_device(&bench->sealed);
    uint32_t count = 2 + random_below(&bench->random, 6);
    bool framed = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct region *region = random_region(bench, (enum region_kind)random_below(&bench->random, REGION_KINDS));
        /* Both copies of the newest manifest frame, or the newest rows and the mark behind them, are beyond what can be told from a power cut. */
        if (region && region->kind == REGION_FRAME && framed)
            continue;
        framed = framed || (region && region->kind == REGION_FRAME);
        if (region && !(region->kind == REGION_MANIFEST && region->copy == 1) && !(region->kind == REGION_SUPERBLOCK && region->copy == 1))
            damage(bench, device, region, (enum damage_kind)random_below(&bench->random, DAMAGE_KINDS));
    }
    int result = open_volume(bench, device, MOTE_DAMAGE_REFUSE, &db);
    if (result) {
        bench->worker->counts[COUNT_REFUSED]++;
        result = tolerant_error(&bench->oracle, result, "the open");
    } else {
        result = read_all(bench, db, &bench->wanted, 4, true);
        engine_abandon(db);
    }
    blockdev_close(device);
    return result;
}

/* ---- One seed ---- */

static int test_once(struct bench *bench, uint32_t which)
{
    switch (which) {
    case 0: return test_one_copy(bench, REGION_SUPERBLOCK);
    case 1: return test_one_copy(bench, REGION_MANIFEST);
    case 2: return test_both_copies(bench);
    case 3:
    case 4: return test_frame(bench);
    case 5:
    case 6: return test_segment(bench, REGION_SEGMENT);
    case 7: return test_segment(bench, REGION_SECTION);
    default: return test_anything(bench);
    }
}

static void work(struct test_worker *worker, uint64_t seed)
{
    struct bench bench = {.worker = worker, .seed = seed, .random = seed};
    uint64_t images = worker->counts[COUNT_IMAGES], failures = worker->failures;
    double begin = real_seconds();
    snprintf(worker->at, sizeof worker->at, "engine_damage_test --first %" PRIu64 " --seeds 1, making the volume", seed);
    virtual_clock_reset(seed);
    sealed_make(&bench.sealed, seed, 25 + (uint32_t)(seed % 4) * 10, seed % 3 == 0, virtual_clock_advance);
    content_of_model(bench.sealed.model, &bench.wanted);
    for (uint32_t i = 0; i < 400 && worker->failures < failures + 3; i++) {
        bench.oracle.random = bench.random = seed * 1000003 + i;
        virtual_clock_reset(bench.random);
        worker->counts[COUNT_IMAGES]++;
        if (test_once(&bench, i % 9))
            fail(&bench);
    }
    printf("seed %" PRIu64 ": %u rows in %u tables, %u structures, %" PRIu64 " damaged images, %.1f s\n", seed, bench.wanted.row_count, bench.wanted.table_count, bench.sealed.region_count, worker->counts[COUNT_IMAGES] - images,
           real_seconds() - begin);
    fflush(stdout);
    free(bench.wanted.row_at);
    free(bench.wanted.bytes);
    oracle_free(&bench.oracle);
    sealed_free(&bench.sealed);
}

int main(int argument_count, char **arguments)
{
    uint64_t first = 1, seeds = test_scale(SEEDS_DEFAULT), sums[8] = {0};
    test_workers_seeds(argument_count, arguments, &first, &seeds);
    printf("damage: seeds %" PRIu64 " to %" PRIu64 "\n", first, first + seeds - 1);
    uint64_t failures = test_workers_run(first, seeds, test_workers_default(), 12, work, sums);
    printf("%" PRIu64 " damaged images: %" PRIu64 " right answers, %" PRIu64 " errors that name the range, %" PRIu64 " opens refused, %" PRIu64 " opens with lost rows, %" PRIu64 " copies healed\n", sums[COUNT_IMAGES], sums[COUNT_ANSWERS],
           sums[COUNT_ERRORS], sums[COUNT_REFUSED], sums[COUNT_LOST], sums[COUNT_HEALED]);
    uint64_t missing = (uint64_t)(sums[COUNT_ERRORS] == 0) + (uint64_t)(sums[COUNT_LOST] == 0) + (uint64_t)(sums[COUNT_HEALED] == 0);
    if (missing && seeds >= 3) {
        printf("FAILED a kind of damage was never met\n");
        failures += missing;
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_IMAGES] - (failures < sums[COUNT_IMAGES] ? failures : sums[COUNT_IMAGES]), failures);
    return failures != 0;
}
