/* engine_leveldb.c: LevelDB through its C interface (peers.h). One database for each table, so that a table is dropped as a whole.
 *
 * A durable put is a write with sync. It has no commits under way: a write without sync may stand in a log file that LevelDB has closed since, and which no later sync reaches; the one sync at
 * the end of bulk ingest is therefore the filesystem's (syncfs).
 */
#include <leveldb/c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peers/peers.h"

enum { TABLES_MAX = 1024 };

struct level {
    leveldb_t *dbs[TABLES_MAX]; /* by number modulo TABLES_MAX; all live ones stay open, so that they go on compacting */
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *durable, *lazy;
    leveldb_readoptions_t *read, *scan_all;
    unsigned first_table, table_count;
    char path[3072];
};

static int failed(char *error, const char *what)
{
    if (!error)
        return 0;
    bench_fail("leveldb: cannot %s: %s", what, error);
    leveldb_free(error);
    return -1;
}

static leveldb_t *newest(const struct level *level)
{
    return level->dbs[(level->table_count - 1) % TABLES_MAX];
}

static int open_table(struct level *level, unsigned number)
{
    char folder[4096], *error = NULL;
    snprintf(folder, sizeof folder, "%s/leveldb%u", level->path, number);
    level->dbs[number % TABLES_MAX] = leveldb_open(level->options, folder, &error);
    return failed(error, "open a database");
}

static int level_close(void *opaque)
{
    struct level *level = opaque;
    for (unsigned i = 0; i < TABLES_MAX; i++) {
        if (level->dbs[i])
            leveldb_close(level->dbs[i]);
    }
    leveldb_readoptions_destroy(level->read);
    leveldb_readoptions_destroy(level->scan_all);
    leveldb_writeoptions_destroy(level->durable);
    leveldb_writeoptions_destroy(level->lazy);
    leveldb_options_destroy(level->options);
    leveldb_cache_destroy(level->cache);
    leveldb_filterpolicy_destroy(level->filter);
    free(level);
    return 0;
}

static int level_open(const struct engine_options *options, void **opaque)
{
    struct level *level = calloc(1, sizeof *level);
    if (!level)
        return bench_fail("no memory");
    snprintf(level->path, sizeof level->path, "%s", options->path);
    level->options = leveldb_options_create();
    level->cache = leveldb_cache_create_lru(peer_cache_bytes(options));
    level->filter = leveldb_filterpolicy_create_bloom(10);
    leveldb_options_set_cache(level->options, level->cache);
    leveldb_options_set_filter_policy(level->options, level->filter);
    leveldb_options_set_write_buffer_size(level->options, peer_write_buffer_bytes(options));
    leveldb_options_set_max_file_size(level->options, 16 << 20);
    leveldb_options_set_create_if_missing(level->options, options->create);
    level->durable = leveldb_writeoptions_create();
    level->lazy = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(level->durable, 1);
    level->read = leveldb_readoptions_create();
    level->scan_all = leveldb_readoptions_create();
    leveldb_readoptions_set_fill_cache(level->scan_all, 0);
    level->table_count = 1;
    if (open_table(level, 0)) {
        level_close(level);
        return -1;
    }
    *opaque = level;
    return 0;
}

static int level_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level put_level, uint64_t *ticket)
{
    struct level *level = opaque;
    char *error = NULL, key[KEY_BYTES];
    (void)writer;
    (void)ticket;
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    for (uint32_t i = 0; i < count; i++) {
        key_store(&rows[i].key, (uint8_t *)key);
        leveldb_writebatch_put(batch, key, sizeof key, (const char *)rows[i].values, VALUE_BYTES);
    }
    leveldb_write(newest(level), put_level == PUT_DURABLE ? level->durable : level->lazy, batch, &error);
    leveldb_writebatch_destroy(batch);
    return failed(error, "write");
}

static int level_sync(void *opaque)
{
    return peer_sync_filesystem(((struct level *)opaque)->path);
}

/* It tells neither whether it compacts nor lets one wait for it: settled is when its files have not changed for half a second. */
static int level_settle(void *opaque, uint64_t *settled_ns)
{
    struct level *level = opaque;
    uint64_t seen = 0; /* a sum over the names and ranges of all its tables */
    *settled_ns = clock_ns();
    while (clock_ns() - *settled_ns < 500000000) {
        uint64_t now_there = 0;
        for (unsigned table = level->first_table; table < level->table_count; table++) {
            char *text = leveldb_property_value(level->dbs[table % TABLES_MAX], "leveldb.sstables");
            for (const char *at = text; at && *at; at++)
                now_there = now_there * 31 + (unsigned char)*at;
            leveldb_free(text);
        }
        if (now_there != seen)
            *settled_ns = clock_ns();
        seen = now_there;
        usleep(5000);
    }
    return 0;
}

static int level_next_table(void *opaque)
{
    struct level *level = opaque;
    return open_table(level, level->table_count++);
}

static int level_drop_table(void *opaque)
{
    struct level *level = opaque;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/leveldb%u", level->path, level->first_table);
    leveldb_close(level->dbs[level->first_table % TABLES_MAX]);
    level->dbs[level->first_table++ % TABLES_MAX] = NULL;
    return peer_remove_folder(folder);
}

static int level_get(void *opaque, unsigned reader, const struct row_key *key, struct row *row)
{
    struct level *level = opaque;
    char *error = NULL, bytes[KEY_BYTES];
    size_t length = 0;
    (void)reader;
    key_store(key, (uint8_t *)bytes);
    char *value = leveldb_get(newest(level), level->read, bytes, sizeof bytes, &length, &error);
    bool found = value && length == VALUE_BYTES;
    if (found)
        peer_load_row(bytes, value, row);
    leveldb_free(value);
    return failed(error, "get") ? -1 : found;
}

static int level_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    struct level *level = opaque;
    char from[KEY_BYTES], *error = NULL;
    leveldb_iterator_t *iterator = leveldb_create_iterator(newest(level), scan->series < 0 ? level->scan_all : level->read);
    struct row_key first = {.series = scan->series, .time_ns = scan->from_ns};
    key_store(&first, (uint8_t *)from);
    if (scan->series < 0)
        leveldb_iter_seek_to_first(iterator);
    else
        leveldb_iter_seek(iterator, from, sizeof from);
    for (; leveldb_iter_valid(iterator) && (scan->limit == 0 || result->rows < scan->limit); leveldb_iter_next(iterator)) {
        size_t key_length, value_length;
        const char *key = leveldb_iter_key(iterator, &key_length), *value = leveldb_iter_value(iterator, &value_length);
        struct row row;
        if (key_length != KEY_BYTES || value_length != VALUE_BYTES)
            break;
        peer_load_row(key, value, &row);
        if (scan->series >= 0 && row.key.series != scan->series)
            break;
        scan_take_row(scan, &row, result);
    }
    leveldb_iter_get_error(iterator, &error);
    leveldb_iter_destroy(iterator);
    return failed(error, "scan");
}

static int level_space(void *opaque, uint64_t *bytes)
{
    return peer_space(((struct level *)opaque)->path, bytes);
}

const struct engine_type engine_leveldb = {.name = "leveldb",
                                           .tuning = "Snappy, as it comes; write buffer 64 MiB; 128 MiB block cache; bloom filters of 10 bits; files of 16 MiB; no commits under way, since no call syncs earlier writes; its last write buffer stays in its log, since no call flushes it",
                                           .on_filesystem = true,
                                           .open = level_open,
                                           .close = level_close,
                                           .put = level_put,
                                           .sync = level_sync,
                                           .settle = level_settle,
                                           .next_table = level_next_table,
                                           .drop_table = level_drop_table,
                                           .get = level_get,
                                           .scan = level_scan,
                                           .scans_series = true,
                                           .space = level_space};
