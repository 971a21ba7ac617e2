/* engine_rocksdb.c: RocksDB through its C interface, plain and with LZ4 (peers.h). One column family for each table, so that a table is dropped as a whole.
 *
 * A durable put is a write with sync. Commits under way: writes without sync, and whoever waits for one syncs the log (FlushWAL with sync), which covers all that were written before; those
 * that are covered already return at once. That is how RocksDB itself would be driven for it.
 */
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peers/peers.h"

enum { TABLES_MAX = 1024, MULTI_MAX = 64 };

struct rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *durable, *lazy;
    rocksdb_readoptions_t *read, *scan_all;
    rocksdb_column_family_handle_t *tables[TABLES_MAX]; /* by number modulo TABLES_MAX */
    rocksdb_column_family_handle_t *standard;           /* "default", which every database has and nobody uses */
    unsigned first_table, table_count;
    _Atomic uint64_t written, synced;
    pthread_mutex_t sync_lock;
    char folder[4096];
};

/* Prints and frees. */
static int failed(char *error, const char *what)
{
    if (!error)
        return 0;
    bench_fail("rocksdb: cannot %s: %s", what, error);
    rocksdb_free(error);
    return -1;
}

static rocksdb_column_family_handle_t *table_of(const struct rocks *rocks)
{
    return rocks->tables[(rocks->table_count - 1) % TABLES_MAX];
}

static int rocks_next_table(void *opaque)
{
    struct rocks *rocks = opaque;
    char name[32], *error = NULL;
    snprintf(name, sizeof name, "sensor%u", rocks->table_count);
    rocksdb_column_family_handle_t *table = rocksdb_create_column_family(rocks->db, rocks->options, name, &error);
    if (failed(error, "create a column family"))
        return -1;
    rocks->tables[rocks->table_count++ % TABLES_MAX] = table;
    return 0;
}

static int rocks_drop_table(void *opaque)
{
    struct rocks *rocks = opaque;
    char *error = NULL;
    rocksdb_column_family_handle_t *oldest = rocks->tables[rocks->first_table++ % TABLES_MAX];
    rocksdb_drop_column_family(rocks->db, oldest, &error);
    rocksdb_column_family_handle_destroy(oldest);
    return failed(error, "drop a column family");
}

static void set_options(struct rocks *rocks, const struct engine_options *options, int compression)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocks->options = rocksdb_options_create();
    rocks->cache = rocksdb_cache_create_lru(peer_cache_bytes(options));
    rocksdb_block_based_options_set_block_cache(table, rocks->cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(rocks->options, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_set_compression(rocks->options, compression);
    rocksdb_options_set_write_buffer_size(rocks->options, peer_write_buffer_bytes(options));
    rocksdb_options_set_max_write_buffer_number(rocks->options, WRITE_BUFFERS);
    rocksdb_options_set_max_background_jobs(rocks->options, 2);
    rocksdb_options_set_enable_pipelined_write(rocks->options, 1);
    rocksdb_options_set_recycle_log_file_num(rocks->options, 4);
    rocksdb_options_set_bytes_per_sync(rocks->options, 1 << 20);
    rocksdb_options_set_create_if_missing(rocks->options, options->create);
    rocks->durable = rocksdb_writeoptions_create();
    rocks->lazy = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(rocks->durable, 1);
    rocks->read = rocksdb_readoptions_create();
    rocks->scan_all = rocksdb_readoptions_create();
    rocksdb_readoptions_set_readahead_size(rocks->scan_all, 1 << 20);
    rocksdb_readoptions_set_fill_cache(rocks->scan_all, 0);
}

static int rocks_close(void *opaque)
{
    struct rocks *rocks = opaque;
    for (unsigned i = rocks->first_table; i < rocks->table_count; i++)
        rocksdb_column_family_handle_destroy(rocks->tables[i % TABLES_MAX]);
    if (rocks->standard)
        rocksdb_column_family_handle_destroy(rocks->standard);
    if (rocks->db)
        rocksdb_close(rocks->db);
    rocksdb_readoptions_destroy(rocks->read);
    rocksdb_readoptions_destroy(rocks->scan_all);
    rocksdb_writeoptions_destroy(rocks->durable);
    rocksdb_writeoptions_destroy(rocks->lazy);
    rocksdb_options_destroy(rocks->options);
    rocksdb_cache_destroy(rocks->cache);
    pthread_mutex_destroy(&rocks->sync_lock);
    free(rocks);
    return 0;
}

static int open_rocks(const struct engine_options *options, int compression, void **opaque)
{
    static const char *const names[] = {"default", "sensor0"};
    struct rocks *rocks = calloc(1, sizeof *rocks);
    char *error = NULL;
    if (!rocks)
        return bench_fail("no memory");
    pthread_mutex_init(&rocks->sync_lock, NULL);
    snprintf(rocks->folder, sizeof rocks->folder, "%s/rocksdb", options->path);
    set_options(rocks, options, compression);
    int code;
    if (options->create) {
        rocks->db = rocksdb_open(rocks->options, rocks->folder, &error);
        code = failed(error, "create a database") ? -1 : rocks_next_table(rocks);
    } else {
        const rocksdb_options_t *both[2] = {rocks->options, rocks->options};
        rocksdb_column_family_handle_t *handles[2] = {NULL, NULL};
        rocks->db = rocksdb_open_column_families(rocks->options, rocks->folder, 2, names, both, handles, &error);
        code = failed(error, "open the database");
        rocks->standard = handles[0];
        rocks->tables[0] = handles[1];
        rocks->table_count = code ? 0 : 1;
    }
    if (code) {
        rocks_close(rocks);
        return -1;
    }
    *opaque = rocks;
    return 0;
}

static int rocks_open(const struct engine_options *options, void **opaque)
{
    return open_rocks(options, rocksdb_no_compression, opaque);
}

static int rocks_open_lz4(const struct engine_options *options, void **opaque)
{
    return open_rocks(options, rocksdb_lz4_compression, opaque);
}

static int rocks_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket)
{
    struct rocks *rocks = opaque;
    char *error = NULL, key[KEY_BYTES];
    (void)writer;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (uint32_t i = 0; i < count; i++) {
        key_store(&rows[i].key, (uint8_t *)key);
        rocksdb_writebatch_put_cf(batch, table_of(rocks), key, sizeof key, (const char *)rows[i].values, VALUE_BYTES);
    }
    rocksdb_write(rocks->db, level == PUT_DURABLE ? rocks->durable : rocks->lazy, batch, &error);
    rocksdb_writebatch_destroy(batch);
    uint64_t number = atomic_fetch_add(&rocks->written, 1) + 1;
    if (ticket)
        *ticket = number;
    return failed(error, "write");
}

static int rocks_wait(void *opaque, uint64_t ticket)
{
    struct rocks *rocks = opaque;
    char *error = NULL;
    if (ticket <= atomic_load(&rocks->synced))
        return 0;
    pthread_mutex_lock(&rocks->sync_lock);
    if (ticket > atomic_load(&rocks->synced)) {
        uint64_t covered = atomic_load(&rocks->written);
        rocksdb_flush_wal(rocks->db, 1, &error);
        atomic_store(&rocks->synced, covered);
    }
    pthread_mutex_unlock(&rocks->sync_lock);
    return failed(error, "sync the log");
}

static int rocks_sync(void *opaque)
{
    struct rocks *rocks = opaque;
    return rocks_wait(rocks, atomic_load(&rocks->written));
}

static bool is_quiet(struct rocks *rocks)
{
    static const char *const properties[] = {"rocksdb.num-running-flushes", "rocksdb.num-running-compactions", "rocksdb.compaction-pending", "rocksdb.mem-table-flush-pending"};
    for (unsigned table = rocks->first_table; table < rocks->table_count; table++) {
        for (unsigned i = 0; i < sizeof properties / sizeof properties[0]; i++) {
            uint64_t value = 0;
            if (rocksdb_property_int_cf(rocks->db, rocks->tables[table % TABLES_MAX], properties[i], &value) == 0 && value > 0)
                return false;
        }
    }
    return true;
}

static int rocks_settle(void *opaque, uint64_t *settled_ns)
{
    struct rocks *rocks = opaque;
    char *error = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flush, 1);
    for (unsigned table = rocks->first_table; table < rocks->table_count && !error; table++)
        rocksdb_flush_cf(rocks->db, flush, rocks->tables[table % TABLES_MAX], &error);
    rocksdb_flushoptions_destroy(flush);
    if (failed(error, "flush"))
        return -1;
    *settled_ns = clock_ns();
    while (clock_ns() - *settled_ns < 100000000) {
        if (!is_quiet(rocks))
            *settled_ns = clock_ns();
        usleep(2000);
    }
    return 0;
}

static int rocks_get(void *opaque, unsigned reader, const struct row_key *key, struct row *row)
{
    struct rocks *rocks = opaque;
    char *error = NULL, bytes[KEY_BYTES];
    (void)reader;
    key_store(key, (uint8_t *)bytes);
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(rocks->db, rocks->read, table_of(rocks), bytes, sizeof bytes, &error);
    size_t length = 0;
    const char *value = slice ? rocksdb_pinnableslice_value(slice, &length) : NULL;
    if (value && length == VALUE_BYTES)
        peer_load_row(bytes, value, row);
    rocksdb_pinnableslice_destroy(slice);
    return failed(error, "get") ? -1 : value && length == VALUE_BYTES;
}

static int rocks_multi_get(void *opaque, unsigned reader, const struct row_key *keys, uint32_t count, struct row *rows)
{
    struct rocks *rocks = opaque;
    char bytes[MULTI_MAX][KEY_BYTES], *errors[MULTI_MAX] = {NULL};
    const char *pointers[MULTI_MAX];
    size_t lengths[MULTI_MAX];
    rocksdb_pinnableslice_t *values[MULTI_MAX] = {NULL};
    int found = 0, code = 0;
    (void)reader;
    for (uint32_t i = 0; i < count; i++) {
        key_store(&keys[i], (uint8_t *)bytes[i]);
        pointers[i] = bytes[i];
        lengths[i] = KEY_BYTES;
    }
    rocksdb_batched_multi_get_cf(rocks->db, rocks->read, table_of(rocks), count, pointers, lengths, values, errors, false);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = 0;
        const char *value = values[i] ? rocksdb_pinnableslice_value(values[i], &length) : NULL;
        if (value && length == VALUE_BYTES) {
            peer_load_row(bytes[i], value, &rows[i]);
            found++;
        }
        rocksdb_pinnableslice_destroy(values[i]);
        code = failed(errors[i], "get") ? -1 : code;
    }
    return code ? code : found;
}

static int rocks_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    struct rocks *rocks = opaque;
    char from[KEY_BYTES], *error = NULL;
    rocksdb_iterator_t *iterator = rocksdb_create_iterator_cf(rocks->db, scan->series < 0 ? rocks->scan_all : rocks->read, table_of(rocks));
    struct row_key first = {.series = scan->series, .time_ns = scan->from_ns};
    key_store(&first, (uint8_t *)from);
    if (scan->series < 0)
        rocksdb_iter_seek_to_first(iterator);
    else
        rocksdb_iter_seek(iterator, from, sizeof from);
    for (; rocksdb_iter_valid(iterator) && (scan->limit == 0 || result->rows < scan->limit); rocksdb_iter_next(iterator)) {
        size_t key_length, value_length;
        const char *key = rocksdb_iter_key(iterator, &key_length), *value = rocksdb_iter_value(iterator, &value_length);
        struct row row;
        if (key_length != KEY_BYTES || value_length != VALUE_BYTES)
            break;
        peer_load_row(key, value, &row);
        if (scan->series >= 0 && row.key.series != scan->series)
            break;
        scan_take_row(scan, &row, result);
    }
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    return failed(error, "scan");
}

static int rocks_space(void *opaque, uint64_t *bytes)
{
    return peer_space(((struct rocks *)opaque)->folder, bytes);
}

#define ROCKSDB_TUNING "64 MiB write buffers, three of them; 128 MiB block cache; bloom filters of 10 bits; 2 background jobs; pipelined writes; 4 recycled log files; bytes_per_sync 1 MiB; else as it comes"
#define ROCKSDB_CALLS                                                                                                                                                          \
    .on_filesystem = true, .close = rocks_close, .put = rocks_put, .wait = rocks_wait, .sync = rocks_sync, .settle = rocks_settle, .next_table = rocks_next_table,             \
    .drop_table = rocks_drop_table, .get = rocks_get, .multi_get = rocks_multi_get, .scan = rocks_scan, .scans_series = true, .space = rocks_space

const struct engine_type engine_rocksdb = {.name = "rocksdb", .tuning = "no compression; " ROCKSDB_TUNING, .open = rocks_open, ROCKSDB_CALLS};
const struct engine_type engine_rocksdb_lz4 = {.name = "rocksdb-lz4", .tuning = "LZ4; " ROCKSDB_TUNING, .open = rocks_open_lz4, ROCKSDB_CALLS};
