/* engine_wear_device_test.c: the engine's own count of what it wrote, by source, against the kernel's for the device (sectors written in /sys/block/.../stat), on a loop device that this program makes and destroys: format, rows, flushes,
 * compactions, indexes, checkpoints, clean and unclean ends, calibration, and trims. They agree within 1 %. Needs root and the loop driver; says SKIPPED and why without them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/probe.h"
#include "tests/support/engine_model.h"
#include "tests/support/loopdev.h"

static unsigned passed, failed;
static uint64_t kernel_bytes_before; /* the count outlives the device's former backing files */

#define EXPECT(holds) expect((holds), __LINE__, #holds)
static void expect(bool holds, int line, const char *what)
{
    *(holds ? &passed : &failed) += 1;
    if (!holds)
        fprintf(stderr, "line %d: not true: %s\n", line, what);
}

static uint64_t kernel_bytes(const struct loopdev *loop)
{
    char path[96];
    uint64_t fields[17] = {0};
    int count = 0;
    snprintf(path, sizeof path, "/sys/block/%s/stat", loop->name);
    FILE *statistics = fopen(path, "re");
    require(statistics != NULL);
    while (count < 17 && fscanf(statistics, "%" SCNu64, &fields[count]) == 1)
        count++;
    fclose(statistics);
    require(count > 6);
    return fields[6] * SECTOR_BYTES - kernel_bytes_before;
}

static mote_db *open_volume(const struct loopdev *loop)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    mote_db *db;
    options.preset = MOTE_PRESET_EDGE;
    options.memtable_bytes = 2 * MIB_BYTES;
    must(mote_open(loop->path, &options, &db, NULL));
    return db;
}

static uint64_t own_bytes(mote_db *db)
{
    struct mote_wear wear = {.size_bytes = sizeof wear};
    must(mote_get_wear(db, 0, &wear));
    return wear.written_bytes;
}

static void compare(const struct loopdev *loop, mote_db *db, const char *when)
{
    uint64_t own = own_bytes(db), kernel = kernel_bytes(loop);
    double ratio = (double)own / (double)kernel;
    printf("%-28s own %9" PRIu64 " KiB, kernel %9" PRIu64 " KiB, ratio %.5f\n", when, own / 1024, kernel / 1024, ratio);
    EXPECT(ratio > 0.99 && ratio < 1.01);
}

static void run(const struct loopdev *loop)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct model model = model_make(20000);
    kernel_bytes_before = 0;
    kernel_bytes_before = kernel_bytes(loop);
    must(mote_format(loop->path, &format, NULL));
    mote_db *db = open_volume(loop);
    compare(loop, db, "formatted and opened");
    mote_table *table = model_table_create(db, "arm");
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    const uint32_t column = 4;
    index.name = "n";
    index.kind = MOTE_INDEX_COLUMN;
    index.columns = &column;
    index.column_count = 1;
    must(mote_index_create(table, &index));
    for (uint32_t version = 1; version <= 120; version++) {
        model_put_batch(table, &model, version * 911 % 19000, 1000, version, NULL, NULL);
        if (version % 20 == 0)
            must(mote_checkpoint(db));
    }
    must(mote_wait(db, mote_visible_seq(db), MOTE_FOREVER));
    must(mote_compact(db, NULL));
    compare(loop, db, "rows, an index, compactions");
    for (uint32_t i = 0; i < 200; i++) {
        struct mote_write_options sync = MOTE_WRITE_OPTIONS_INIT;
        sync.durability = MOTE_DURABILITY_SYNC;
        model_put(table, &model, i, 200, &sync, NULL);
    }
    compare(loop, db, "single commits");
    must(mote_get_stats(db, &stats));
    printf("log %" PRIu64 ", flush %" PRIu64 ", compaction %" PRIu64 ", index %" PRIu64 ", manifest %" PRIu64 ", superblock %" PRIu64 " KiB; trimmed %" PRIu64 " KiB\n", stats.bytes_wal / 1024, stats.bytes_flush / 1024,
           stats.bytes_compaction / 1024, stats.bytes_index / 1024, stats.bytes_manifest / 1024, stats.bytes_superblock / 1024, stats.bytes_trimmed / 1024);
    EXPECT(stats.bytes_wal && stats.bytes_flush && stats.bytes_compaction && stats.bytes_index && stats.bytes_manifest && stats.bytes_superblock);
    must(mote_close(db));
    struct mote_calibrate_options calibrate = MOTE_CALIBRATE_OPTIONS_INIT;
    calibrate.case_ms = 20;
    calibrate.case_operations = 50;
    calibrate.scratch_bytes = 8 * MIB_BYTES;
    must(mote_calibrate(loop->path, &calibrate, NULL));
    db = open_volume(loop);
    compare(loop, db, "calibrated");
    struct mote_trim_result trimmed = {.size_bytes = sizeof trimmed};
    int result = mote_trim(db, NULL, &trimmed);
    EXPECT(result == MOTE_OK || result == MOTE_ENOTSUP);
    printf("trim: %s, %" PRIu64 " of %" PRIu64 " KiB in units of %" PRIu64 "\n", mote_error_name(result), trimmed.trimmed_bytes / 1024, trimmed.free_bytes / 1024, trimmed.granularity_bytes);
    table = model_table_open(db, "arm");
    model_check(table, &model);
    compare(loop, db, "trimmed");
    model_put_batch(table, &model, 0, 1000, 300, NULL, NULL);
    must(mote_wait(db, mote_visible_seq(db), MOTE_FOREVER));
    blockdev_close(engine_abandon(db)); /* killed */
    db = open_volume(loop);
    compare(loop, db, "killed and opened");
    table = model_table_open(db, "arm");
    model_check(table, &model);
    must(mote_close(db));
    db = open_volume(loop);
    compare(loop, db, "closed and opened");
    must(mote_close(db));
    model_free(&model);
}

int main(void)
{
    struct tempdir folder;
    struct loopdev loop;
    const char *why = loopdev_available();
    if (why) {
        printf("SKIPPED: %s\n0 passed, 0 failed\n", why);
        return 0;
    }
    tempdir_make(&folder);
    require(blockdev_image_create(tempdir_file(&folder, "image"), 192 * MIB_BYTES, true, NULL, NULL) == MOTE_OK);
    for (uint32_t block_bytes = 512; block_bytes <= 4096; block_bytes *= 8) {
        int error = loopdev_create(tempdir_file(&folder, "image"), &(struct loopdev_options){.block_bytes = block_bytes, .direct = false}, &loop);
        errno = error;
        EXPECT(error == 0);
        if (error)
            break;
        printf("%s, blocks of %u bytes\n", loop.path, block_bytes);
        run(&loop);
        EXPECT(loopdev_destroy(&loop) == 0);
        require(remove(tempdir_file(&folder, "image")) == 0);
        require(blockdev_image_create(tempdir_file(&folder, "image"), 192 * MIB_BYTES, true, NULL, NULL) == MOTE_OK);
    }
    tempdir_remove(&folder);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
