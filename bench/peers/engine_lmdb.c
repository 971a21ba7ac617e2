/* engine_lmdb.c: LMDB (peers.h). One named database for each table. A durable put is one write transaction with a synchronous commit. It has no commits under way: without its sync a crash may
 * damage the file, so that nothing weaker than a synchronous commit is equal; bulk ingest uses MDB_NOSYNC and one mdb_env_sync at the end, as its manual says.
 */
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "bench/peers/peers.h"

struct lightning {
    MDB_env *env;
    MDB_dbi table;
    MDB_txn *readers[ENGINE_THREADS_MAX];
    unsigned first_table, table_count;
    bool lazy; /* MDB_NOSYNC is set */
    char folder[4096];
};

static int failed(int code, const char *what)
{
    return code ? bench_fail("lmdb: cannot %s: %s", what, mdb_strerror(code)) : 0;
}

static int open_table(struct lightning *lightning, unsigned number, unsigned flags)
{
    char name[32];
    MDB_txn *txn;
    snprintf(name, sizeof name, "sensor%u", number);
    int code = mdb_txn_begin(lightning->env, NULL, 0, &txn);
    if (code)
        return failed(code, "begin");
    code = mdb_dbi_open(txn, name, flags, &lightning->table);
    if (code)
        mdb_txn_abort(txn);
    else
        code = mdb_txn_commit(txn);
    return failed(code, "open a database");
}

static int lightning_close(void *opaque)
{
    struct lightning *lightning = opaque;
    for (unsigned i = 0; i < ENGINE_THREADS_MAX; i++) {
        if (lightning->readers[i])
            mdb_txn_abort(lightning->readers[i]);
    }
    if (lightning->env)
        mdb_env_close(lightning->env);
    free(lightning);
    return 0;
}

static int lightning_open(const struct engine_options *options, void **opaque)
{
    struct lightning *lightning = calloc(1, sizeof *lightning);
    struct statvfs space;
    if (!lightning)
        return bench_fail("no memory");
    snprintf(lightning->folder, sizeof lightning->folder, "%s/lmdb", options->path);
    if (options->create)
        mkdir(lightning->folder, 0700);
    int code = statvfs(options->path, &space) ? -1 : mdb_env_create(&lightning->env);
    if (!code)
        code = mdb_env_set_maxdbs(lightning->env, 1024);
    if (!code)
        code = mdb_env_set_mapsize(lightning->env, space.f_blocks * space.f_frsize / 100 * 95 / 4096 * 4096);
    if (!code)
        code = mdb_env_open(lightning->env, lightning->folder, MDB_NORDAHEAD | MDB_NOTLS, 0600);
    if (failed(code, "open the environment") || open_table(lightning, 0, options->create ? MDB_CREATE : 0)) {
        lightning_close(lightning);
        return -1;
    }
    lightning->table_count = 1;
    *opaque = lightning;
    return 0;
}

static int lightning_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket)
{
    struct lightning *lightning = opaque;
    MDB_txn *txn;
    uint8_t key[KEY_BYTES];
    (void)writer;
    (void)ticket;
    if (level == PUT_LAZY && !lightning->lazy) {
        mdb_env_set_flags(lightning->env, MDB_NOSYNC, 1);
        lightning->lazy = true;
    }
    int code = mdb_txn_begin(lightning->env, NULL, 0, &txn);
    if (code)
        return failed(code, "begin");
    for (uint32_t i = 0; i < count && !code; i++) {
        /* LMDB takes pointers that are not const and does not write through them. */
        union {
            const void *given;
            void *taken;
        } payload = {.given = rows[i].values};
        MDB_val name = {KEY_BYTES, key}, value = {VALUE_BYTES, payload.taken};
        key_store(&rows[i].key, key);
        code = mdb_put(txn, lightning->table, &name, &value, 0);
    }
    if (code) {
        mdb_txn_abort(txn);
        return failed(code, "put");
    }
    return failed(mdb_txn_commit(txn), "commit");
}

static int lightning_sync(void *opaque)
{
    struct lightning *lightning = opaque;
    return failed(mdb_env_sync(lightning->env, 1), "sync");
}

static int lightning_settle(void *opaque, uint64_t *settled_ns)
{
    int code = lightning_sync(opaque); /* what is committed is in its final place */
    *settled_ns = clock_ns();
    return code;
}

static int lightning_next_table(void *opaque)
{
    struct lightning *lightning = opaque;
    mdb_dbi_close(lightning->env, lightning->table);
    return open_table(lightning, lightning->table_count++, MDB_CREATE);
}

static int lightning_drop_table(void *opaque)
{
    struct lightning *lightning = opaque;
    char name[32];
    MDB_txn *txn;
    MDB_dbi oldest;
    snprintf(name, sizeof name, "sensor%u", lightning->first_table++);
    int code = mdb_txn_begin(lightning->env, NULL, 0, &txn);
    if (code)
        return failed(code, "begin");
    code = mdb_dbi_open(txn, name, 0, &oldest);
    if (!code)
        code = mdb_drop(txn, oldest, 1);
    if (code)
        mdb_txn_abort(txn);
    else
        code = mdb_txn_commit(txn);
    return failed(code, "drop a database");
}

/* Each reader keeps its transaction and renews it for each call. */
static int begin_reading(struct lightning *lightning, unsigned reader, MDB_txn **txn)
{
    int code = lightning->readers[reader] ? mdb_txn_renew(lightning->readers[reader]) : mdb_txn_begin(lightning->env, NULL, MDB_RDONLY, &lightning->readers[reader]);
    *txn = lightning->readers[reader];
    return failed(code, "begin reading");
}

static int lightning_get(void *opaque, unsigned reader, const struct row_key *key, struct row *row)
{
    struct lightning *lightning = opaque;
    MDB_txn *txn;
    uint8_t bytes[KEY_BYTES];
    MDB_val name = {KEY_BYTES, bytes}, value;
    if (begin_reading(lightning, reader, &txn))
        return -1;
    key_store(key, bytes);
    int code = mdb_get(txn, lightning->table, &name, &value);
    bool found = !code && value.mv_size == VALUE_BYTES;
    if (found)
        peer_load_row(bytes, value.mv_data, row);
    mdb_txn_reset(txn);
    return code && code != MDB_NOTFOUND ? failed(code, "get") : found;
}

static int lightning_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    struct lightning *lightning = opaque;
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint8_t from[KEY_BYTES];
    MDB_val name = {KEY_BYTES, from}, value;
    struct row_key first = {.series = scan->series, .time_ns = scan->from_ns};
    if (begin_reading(lightning, 0, &txn))
        return -1;
    int code = mdb_cursor_open(txn, lightning->table, &cursor);
    if (code) {
        mdb_txn_reset(txn);
        return failed(code, "open a cursor");
    }
    key_store(&first, from);
    code = mdb_cursor_get(cursor, &name, &value, scan->series < 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (!code && (scan->limit == 0 || result->rows < scan->limit) && name.mv_size == KEY_BYTES && value.mv_size == VALUE_BYTES) {
        struct row row;
        peer_load_row(name.mv_data, value.mv_data, &row);
        if (scan->series >= 0 && row.key.series != scan->series)
            break;
        scan_take_row(scan, &row, result);
        code = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_reset(txn);
    return code && code != MDB_NOTFOUND ? failed(code, "scan") : 0;
}

static int lightning_space(void *opaque, uint64_t *bytes)
{
    return peer_space(((struct lightning *)opaque)->folder, bytes);
}

const struct engine_type engine_lmdb = {.name = "lmdb",
                                        .tuning = "MDB_NORDAHEAD; synchronous commits, MDB_NOSYNC and one mdb_env_sync for bulk ingest; its cache is the page cache; no commits under way, since it has none that are crash-safe",
                                        .on_filesystem = true,
                                        .open = lightning_open,
                                        .close = lightning_close,
                                        .put = lightning_put,
                                        .sync = lightning_sync,
                                        .settle = lightning_settle,
                                        .next_table = lightning_next_table,
                                        .drop_table = lightning_drop_table,
                                        .get = lightning_get,
                                        .scan = lightning_scan,
                                        .scans_series = true,
                                        .space = lightning_space};
