/* engine_grow_device_test.c: an open volume grows on a loop device that this program makes, enlarges under it (ftruncate of its own backing file, then LOOP_SET_CAPACITY, what losetup -c does) and destroys: by little and by much, with each backend, rows being
 * appended meanwhile; closed and killed. Needs root and the loop driver; says SKIPPED and why without them. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/probe.h"
#include "tests/support/engine_model.h"
#include "tests/support/loopdev.h"

enum { KEYS = 400000 };

static unsigned passed, failed;

#define EXPECT(holds) expect((holds), __LINE__, #holds)
static void expect(bool holds, int line, const char *what)
{
    struct mote_error error;
    *(holds ? &passed : &failed) += 1;
    mote_last_error(&error);
    if (!holds)
        fprintf(stderr, "line %d: not true: %s (%s)\n", line, what, error.message);
}

struct writer {
    mote_db *db;
    mote_table *table;
    struct model *model;
    uint32_t next;
    _Atomic uint32_t rows;
    _Atomic bool stop;
};

static void *append_rows(void *argument)
{
    struct writer *writer = argument;
    while (!atomic_load(&writer->stop) && writer->next + 50 <= KEYS) {
        model_put_batch(writer->table, writer->model, writer->next, 50, 1, NULL, NULL);
        writer->next += 50;
        atomic_store(&writer->rows, writer->next);
        if (writer->next % 5000 == 0)
            must(mote_flush(writer->db));
    }
    return NULL;
}

static mote_db *open_volume(const struct loopdev *loop, uint32_t backend)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    mote_db *db;
    options.preset = MOTE_PRESET_EDGE;
    options.memtable_bytes = 2 * MIB_BYTES;
    options.backend = backend;
    must(mote_open(loop->path, &options, &db, NULL));
    return db;
}

static uint64_t extents_of(mote_db *db)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    must(mote_get_stats(db, &stats));
    return stats.extents_total;
}

static void run(const struct loopdev *loop, const char *backing, uint32_t backend)
{
    static const uint64_t steps[] = {PAGE_BYTES, MIB_BYTES, 40 * MIB_BYTES, 3 * PAGE_BYTES, 100 * MIB_BYTES};
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_resize_result result;
    struct model model = model_make(KEYS);
    uint64_t size_bytes = 64 * MIB_BYTES;
    pthread_t thread;
    format.force = "mote";
    must(mote_format(loop->path, &format, NULL));
    struct writer writer = {.db = open_volume(loop, backend), .model = &model};
    writer.table = model_table_create(writer.db, "arm");
    EXPECT(mote_grow(writer.db, 0, NULL, &result) == MOTE_OK && result.new_bytes == size_bytes);
    uint64_t before = extents_of(writer.db);
    require(pthread_create(&thread, NULL, append_rows, &writer) == 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint32_t rows = atomic_load(&writer.rows);
        size_bytes += steps[i];
        require(truncate(backing, (off_t)size_bytes) == 0);
        EXPECT(mote_grow(writer.db, size_bytes, NULL, NULL) == MOTE_ENODEV); /* the loop device does not know yet */
        EXPECT(loopdev_resize(loop) == 0);
        EXPECT(mote_grow(writer.db, 0, NULL, &result) == MOTE_OK);
        EXPECT(result.old_bytes == size_bytes - steps[i] && result.new_bytes == size_bytes);
        while (atomic_load(&writer.rows) < rows + 500 && atomic_load(&writer.rows) + 50 <= KEYS)
            usleep(1000);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    EXPECT(extents_of(writer.db) > 2 * before);
    printf("%u rows beside it\n", writer.next);
    model_check(writer.table, &model);
    must(mote_wait(writer.db, mote_visible_seq(writer.db), MOTE_FOREVER));
    uint64_t extents = extents_of(writer.db);
    blockdev_close(engine_abandon(writer.db)); /* killed */
    writer.db = open_volume(loop, backend);
    EXPECT(extents_of(writer.db) == extents);
    model_check(model_table_open(writer.db, "arm"), &model);
    must(mote_close(writer.db));
    EXPECT(mote_verify(loop->path, NULL, NULL) == MOTE_OK);
    model_free(&model);
}

int main(void)
{
    static const uint32_t backends[] = {MOTE_BACKEND_AUTO, MOTE_BACKEND_LIBAIO, MOTE_BACKEND_THREADS};
    struct tempdir folder;
    struct loopdev loop;
    const char *why = loopdev_available();
    if (why) {
        printf("SKIPPED: %s\n0 passed, 0 failed\n", why);
        return 0;
    }
    tempdir_make(&folder);
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        require(blockdev_image_create(tempdir_file(&folder, "image"), 64 * MIB_BYTES, true, NULL, NULL) == MOTE_OK);
        errno = loopdev_create(tempdir_file(&folder, "image"), &(struct loopdev_options){.block_bytes = i == 1 ? 4096 : 512}, &loop);
        EXPECT(loop.path[0] != 0);
        if (!loop.path[0])
            break;
        printf("%s, backend %u\n", loop.path, backends[i]);
        run(&loop, tempdir_file(&folder, "image"), backends[i]);
        EXPECT(loopdev_destroy(&loop) == 0);
        require(remove(tempdir_file(&folder, "image")) == 0);
    }
    tempdir_remove(&folder);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
