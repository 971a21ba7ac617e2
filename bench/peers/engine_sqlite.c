/* engine_sqlite.c: SQLite in WAL mode with synchronous=FULL (peers.h). A table WITHOUT ROWID whose primary key is (series, time, sequence) and whose 28 values are one blob of 112 bytes, which is
 * its fastest form for whole rows. A durable put is one transaction. Writers share one connection behind a lock, since SQLite has one writer at a time; each reader has its own connection. Bulk
 * ingest runs with synchronous=NORMAL and ends in one sync of the filesystem. It has no commits under way.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peers/peers.h"

struct lite_reader {
    sqlite3 *db;
    sqlite3_stmt *get;
};
struct lite {
    sqlite3 *db;
    sqlite3_stmt *insert, *begin, *commit;
    struct lite_reader readers[ENGINE_THREADS_MAX];
    pthread_mutex_t lock;
    unsigned first_table, table_count;
    bool lazy; /* synchronous=NORMAL is set */
    uint64_t cache_bytes;
    char path[3072], file[4096];
};

static int failed(sqlite3 *db, int code, const char *what)
{
    return code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW ? 0 : bench_fail("sqlite: cannot %s: %s", what, sqlite3_errmsg(db));
}

static int run_sql(sqlite3 *db, const char *sql)
{
    return failed(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

static int prepare_insert(struct lite *lite)
{
    char sql[128];
    sqlite3_finalize(lite->insert);
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO sensor%u VALUES (?, ?, ?, ?)", lite->table_count - 1);
    return failed(lite->db, sqlite3_prepare_v2(lite->db, sql, -1, &lite->insert, NULL), "prepare");
}

static int lite_next_table(void *opaque)
{
    struct lite *lite = opaque;
    char sql[256];
    snprintf(sql, sizeof sql, "CREATE TABLE IF NOT EXISTS sensor%u (series INTEGER, time INTEGER, sequence INTEGER, payload BLOB, PRIMARY KEY (series, time, sequence)) WITHOUT ROWID", lite->table_count++);
    return run_sql(lite->db, sql) || prepare_insert(lite) ? -1 : 0;
}

static int lite_drop_table(void *opaque)
{
    struct lite *lite = opaque;
    char sql[64];
    snprintf(sql, sizeof sql, "DROP TABLE sensor%u", lite->first_table++);
    return run_sql(lite->db, sql);
}

static int open_connection(const struct lite *lite, sqlite3 **db)
{
    char sql[128];
    int code = sqlite3_open_v2(lite->file, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (failed(*db, code, "open"))
        return -1;
    snprintf(sql, sizeof sql, "PRAGMA cache_size = -%llu", (unsigned long long)(lite->cache_bytes >> 10));
    return run_sql(*db, "PRAGMA journal_mode = WAL") || run_sql(*db, "PRAGMA synchronous = FULL") || run_sql(*db, "PRAGMA wal_autocheckpoint = 8192") || run_sql(*db, sql) ? -1 : 0;
}

static int lite_close(void *opaque)
{
    struct lite *lite = opaque;
    for (unsigned i = 0; i < ENGINE_THREADS_MAX; i++) {
        sqlite3_finalize(lite->readers[i].get);
        sqlite3_close(lite->readers[i].db);
    }
    sqlite3_finalize(lite->insert);
    sqlite3_finalize(lite->begin);
    sqlite3_finalize(lite->commit);
    int code = sqlite3_close(lite->db);
    pthread_mutex_destroy(&lite->lock);
    free(lite);
    return code == SQLITE_OK ? 0 : bench_fail("sqlite: cannot close");
}

static int lite_open(const struct engine_options *options, void **opaque)
{
    struct lite *lite = calloc(1, sizeof *lite);
    if (!lite)
        return bench_fail("no memory");
    pthread_mutex_init(&lite->lock, NULL);
    lite->cache_bytes = peer_cache_bytes(options);
    snprintf(lite->path, sizeof lite->path, "%s", options->path);
    snprintf(lite->file, sizeof lite->file, "%s/sqlite.db", options->path);
    if (open_connection(lite, &lite->db) || lite_next_table(lite) ||
        failed(lite->db, sqlite3_prepare_v2(lite->db, "BEGIN IMMEDIATE", -1, &lite->begin, NULL), "prepare") ||
        failed(lite->db, sqlite3_prepare_v2(lite->db, "COMMIT", -1, &lite->commit, NULL), "prepare")) {
        lite_close(lite);
        return -1;
    }
    *opaque = lite;
    return 0;
}

static int step(struct lite *lite, sqlite3_stmt *statement, const char *what)
{
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return failed(lite->db, code, what);
}

static int put_locked(struct lite *lite, const struct row *rows, uint32_t count, bool lazy)
{
    if (lazy != lite->lazy) {
        if (run_sql(lite->db, lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL"))
            return -1;
        lite->lazy = lazy;
    }
    if (step(lite, lite->begin, "begin"))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        sqlite3_bind_int(lite->insert, 1, rows[i].key.series);
        sqlite3_bind_int64(lite->insert, 2, rows[i].key.time_ns);
        sqlite3_bind_int(lite->insert, 3, rows[i].key.sequence);
        sqlite3_bind_blob(lite->insert, 4, rows[i].values, VALUE_BYTES, SQLITE_STATIC);
        if (step(lite, lite->insert, "insert"))
            return -1;
    }
    return step(lite, lite->commit, "commit");
}

static int lite_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket)
{
    struct lite *lite = opaque;
    (void)writer;
    (void)ticket;
    pthread_mutex_lock(&lite->lock);
    int code = put_locked(lite, rows, count, level == PUT_LAZY);
    pthread_mutex_unlock(&lite->lock);
    return code;
}

static int lite_sync(void *opaque)
{
    return peer_sync_filesystem(((struct lite *)opaque)->path);
}

static int lite_settle(void *opaque, uint64_t *settled_ns)
{
    struct lite *lite = opaque;
    int code = run_sql(lite->db, "PRAGMA synchronous = FULL") ? -1 : run_sql(lite->db, "PRAGMA wal_checkpoint(TRUNCATE)");
    lite->lazy = false;
    *settled_ns = clock_ns();
    return code;
}

static struct lite_reader *reader_of(struct lite *lite, unsigned number)
{
    struct lite_reader *reader = &lite->readers[number];
    if (reader->get)
        return reader;
    if (open_connection(lite, &reader->db) ||
        failed(reader->db, sqlite3_prepare_v2(reader->db, "SELECT payload FROM sensor0 WHERE series = ? AND time = ? AND sequence = ?", -1, &reader->get, NULL), "prepare"))
        return NULL;
    return reader;
}

static int lite_get(void *opaque, unsigned number, const struct row_key *key, struct row *row)
{
    struct lite_reader *reader = reader_of(opaque, number);
    if (!reader)
        return -1;
    sqlite3_bind_int(reader->get, 1, key->series);
    sqlite3_bind_int64(reader->get, 2, key->time_ns);
    sqlite3_bind_int(reader->get, 3, key->sequence);
    int code = sqlite3_step(reader->get);
    bool found = code == SQLITE_ROW && sqlite3_column_bytes(reader->get, 0) == VALUE_BYTES;
    if (found) {
        row->key = *key;
        memcpy(row->values, sqlite3_column_blob(reader->get, 0), VALUE_BYTES);
    }
    sqlite3_reset(reader->get);
    return failed(reader->db, code, "get") ? -1 : found;
}

static int lite_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    struct lite_reader *reader = reader_of(opaque, 0);
    sqlite3_stmt *statement;
    if (!reader)
        return -1;
    const char *sql = scan->series < 0 ? "SELECT series, time, sequence, payload FROM sensor0"
                                       : "SELECT series, time, sequence, payload FROM sensor0 WHERE series = ? AND time >= ? ORDER BY time, sequence LIMIT ?";
    if (failed(reader->db, sqlite3_prepare_v3(reader->db, sql, -1, 0, &statement, NULL), "prepare"))
        return -1;
    if (scan->series >= 0) {
        sqlite3_bind_int(statement, 1, scan->series);
        sqlite3_bind_int64(statement, 2, scan->from_ns);
        sqlite3_bind_int64(statement, 3, scan->limit ? (int64_t)scan->limit : -1);
    }
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row = {.key = {.series = sqlite3_column_int(statement, 0), .time_ns = sqlite3_column_int64(statement, 1), .sequence = sqlite3_column_int(statement, 2)}};
        if (sqlite3_column_bytes(statement, 3) != VALUE_BYTES)
            break;
        memcpy(row.values, sqlite3_column_blob(statement, 3), VALUE_BYTES);
        scan_take_row(scan, &row, result);
    }
    sqlite3_finalize(statement);
    return failed(reader->db, code, "scan");
}

static int lite_space(void *opaque, uint64_t *bytes)
{
    return peer_space(((struct lite *)opaque)->path, bytes);
}

const struct engine_type engine_sqlite = {.name = "sqlite",
                                          .tuning = "WAL, synchronous=FULL (NORMAL and one syncfs for bulk ingest); 128 MiB cache; a checkpoint each 32 MiB of log; WITHOUT ROWID, the 28 values as one blob; prepared statements; no commits under way",
                                          .on_filesystem = true,
                                          .open = lite_open,
                                          .close = lite_close,
                                          .put = lite_put,
                                          .sync = lite_sync,
                                          .settle = lite_settle,
                                          .next_table = lite_next_table,
                                          .drop_table = lite_drop_table,
                                          .get = lite_get,
                                          .scan = lite_scan,
                                          .scans_series = true,
                                          .space = lite_space};
