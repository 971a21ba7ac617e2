/* engine_file.c: a plain append file with fdatasync (peers.h): what somebody would write instead of using an engine. One file for each table; each commit is a header of 64 bytes (magic, number of
 * rows, CRC32C of header and rows) and its rows, in one write. Whoever waits syncs the file once for all that was written before. Opening reads the file through and cuts a torn end off. There are
 * no keys: no point reads, no scan of one series.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/peers/peers.h"
#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"

enum { HEADER_BYTES = 64, MAGIC = 0x31676f6c, CHUNK_BYTES = HEADER_BYTES + BATCH_ROWS_MAX * ROW_BYTES };

struct plain {
    int fd;
    unsigned first_table, table_count;
    pthread_mutex_t write_lock, sync_lock;
    _Atomic uint64_t written, synced; /* commits */
    char path[3072];
};

static int failed(const char *what)
{
    return bench_fail("file: cannot %s: %s", what, strerror(errno));
}

static int open_table(struct plain *plain, unsigned number, int flags)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/sensor%u.log", plain->path, number);
    plain->fd = open(path, O_RDWR | O_CLOEXEC | O_APPEND | flags, 0600);
    if (plain->fd < 0)
        return failed("open");
    /* A file that is new must be found after a crash. */
    return flags & O_CREAT ? peer_sync_filesystem(plain->path) : 0;
}

/* Reads commits in order until the end or the first that is torn; visit may be NULL. Returns the bytes of whole commits, or -1. */
static int64_t read_commits(const struct plain *plain, const struct scan *scan, struct scan_result *result)
{
    static uint8_t chunk[CHUNK_BYTES];
    int64_t offset = 0;
    for (;;) {
        ssize_t got = pread(plain->fd, chunk, sizeof chunk, offset);
        if (got < 0)
            return failed("read");
        uint32_t count = got >= HEADER_BYTES ? load_u32(chunk + 4) : 0;
        if (got < HEADER_BYTES || load_u32(chunk) != MAGIC || count < 1 || count > BATCH_ROWS_MAX || (size_t)got < HEADER_BYTES + (size_t)count * ROW_BYTES)
            return offset;
        uint32_t expected = load_u32(chunk + 8);
        store_u32(chunk + 8, 0);
        if (crc32c(0, chunk, HEADER_BYTES + (size_t)count * ROW_BYTES) != expected)
            return offset;
        for (uint32_t i = 0; scan && i < count; i++) {
            struct row row;
            memcpy(&row, chunk + HEADER_BYTES + (size_t)i * ROW_BYTES, sizeof row);
            scan_take_row(scan, &row, result);
        }
        offset += HEADER_BYTES + (int64_t)count * ROW_BYTES;
    }
}

static int plain_close(void *opaque)
{
    struct plain *plain = opaque;
    int code = plain->fd >= 0 && (fdatasync(plain->fd) || close(plain->fd)) ? failed("close") : 0;
    pthread_mutex_destroy(&plain->write_lock);
    pthread_mutex_destroy(&plain->sync_lock);
    free(plain);
    return code;
}

static int plain_open(const struct engine_options *options, void **opaque)
{
    struct plain *plain = calloc(1, sizeof *plain);
    if (!plain)
        return bench_fail("no memory");
    plain->fd = -1;
    plain->table_count = 1;
    pthread_mutex_init(&plain->write_lock, NULL);
    pthread_mutex_init(&plain->sync_lock, NULL);
    snprintf(plain->path, sizeof plain->path, "%s", options->path);
    int code = open_table(plain, 0, options->create ? O_CREAT | O_TRUNC : 0);
    if (!code && !options->create) {
        int64_t whole = read_commits(plain, NULL, NULL);
        if (whole < 0 || ftruncate(plain->fd, whole))
            code = whole < 0 ? -1 : failed("cut the torn end off");
    }
    if (code) {
        plain_close(plain);
        return -1;
    }
    *opaque = plain;
    return 0;
}

static int plain_wait(void *opaque, uint64_t ticket)
{
    struct plain *plain = opaque;
    int code = 0;
    if (ticket <= atomic_load(&plain->synced))
        return 0;
    pthread_mutex_lock(&plain->sync_lock);
    if (ticket > atomic_load(&plain->synced)) {
        uint64_t covered = atomic_load(&plain->written);
        code = fdatasync(plain->fd) ? failed("sync") : 0;
        atomic_store(&plain->synced, covered);
    }
    pthread_mutex_unlock(&plain->sync_lock);
    return code;
}

static int plain_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket)
{
    struct plain *plain = opaque;
    uint8_t header[HEADER_BYTES] = {0};
    union {
        const void *given;
        void *taken;
    } payload = {.given = rows};
    size_t row_bytes = (size_t)count * ROW_BYTES;
    (void)writer;
    store_u32(header, MAGIC);
    store_u32(header + 4, count);
    store_u32(header + 8, crc32c(crc32c(0, header, sizeof header), rows, row_bytes));
    struct iovec parts[2] = {{header, sizeof header}, {payload.taken, row_bytes}};
    pthread_mutex_lock(&plain->write_lock);
    ssize_t done = writev(plain->fd, parts, 2);
    uint64_t number = atomic_fetch_add(&plain->written, 1) + 1;
    pthread_mutex_unlock(&plain->write_lock);
    if (done != (ssize_t)(sizeof header + row_bytes))
        return failed("write");
    if (ticket)
        *ticket = number;
    return level == PUT_DURABLE ? plain_wait(plain, number) : 0;
}

static int plain_sync(void *opaque)
{
    struct plain *plain = opaque;
    return plain_wait(plain, atomic_load(&plain->written));
}

static int plain_settle(void *opaque, uint64_t *settled_ns)
{
    int code = plain_sync(opaque);
    *settled_ns = clock_ns();
    return code;
}

static int plain_next_table(void *opaque)
{
    struct plain *plain = opaque;
    if (plain_sync(plain) || close(plain->fd))
        return failed("close");
    return open_table(plain, plain->table_count++, O_CREAT | O_TRUNC);
}

static int plain_drop_table(void *opaque)
{
    struct plain *plain = opaque;
    char path[4096];
    snprintf(path, sizeof path, "%s/sensor%u.log", plain->path, plain->first_table++);
    return unlink(path) ? failed("remove a file") : 0;
}

static int plain_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    return read_commits(opaque, scan, result) < 0 ? -1 : 0;
}

static int plain_space(void *opaque, uint64_t *bytes)
{
    return peer_space(((struct plain *)opaque)->path, bytes);
}

const struct engine_type engine_file = {.name = "file",
                                        .tuning = "a plain append file: one write of header and rows a commit, one fdatasync for all that wait; reads it through",
                                        .on_filesystem = true,
                                        .open = plain_open,
                                        .close = plain_close,
                                        .put = plain_put,
                                        .wait = plain_wait,
                                        .sync = plain_sync,
                                        .settle = plain_settle,
                                        .next_table = plain_next_table,
                                        .drop_table = plain_drop_table,
                                        .get = NULL,
                                        .scan = plain_scan,
                                        .scans_series = false,
                                        .space = plain_space};
