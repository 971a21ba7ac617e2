/* engine_mote.c: mote behind the benchmark's interface (engine.h), through include/mote.h alone.
 *
 * A row becomes 31 columns: series, time, sequence (the key) and v0 to v27. Batches are turned into columns here, within the measured time. Tables are named sensor0, sensor1, ...
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/engine.h"
#include "include/mote.h"

enum { KEY_COLUMNS = 3, COLUMNS = KEY_COLUMNS + ROW_VALUES };

#define LOG_MEMTABLE_BYTES_MAX (UINT64_C(1) << 30)

enum { MULTI_MAX = 32 };

struct mote_state {
    mote_db *db;
    mote_table *table;
    uint32_t table_flags;
    unsigned first_table, table_count; /* numbers of the oldest and behind the newest */
    struct row_columns *batches[ENGINE_THREADS_MAX]; /* of each writer */
    mote_row *rows[ENGINE_THREADS_MAX];
    mote_row *many[ENGINE_THREADS_MAX][MULTI_MAX];
};

static int make_table(struct mote_state *state)
{
    struct mote_column_definition columns[COLUMNS] = {{"series", MOTE_TYPE_INT32, 0, 0, 0, {0}}, {"time", MOTE_TYPE_TIMESTAMP, 0, 0, 0, {0}}, {"sequence", MOTE_TYPE_INT32, 0, 0, 0, {0}}};
    static const uint32_t key[KEY_COLUMNS] = {0, 1, 2};
    char names[ROW_VALUES][16], name[32];
    for (unsigned v = 0; v < ROW_VALUES; v++) {
        snprintf(names[v], sizeof names[v], "v%u", v);
        columns[KEY_COLUMNS + v] = (struct mote_column_definition){.name = names[v], .type = MOTE_TYPE_FLOAT32};
    }
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    snprintf(name, sizeof name, "sensor%u", state->table_count);
    schema.name = name;
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = KEY_COLUMNS;
    schema.time_column = 1;
    schema.flags = state->table_flags;
    if (mote_table_create(state->db, &schema, &state->table))
        return bench_fail_mote("cannot create a table");
    state->table_count++;
    return 0;
}

static int format_volume(const char *path)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_layout layout = {{0}};
    int code = mote_format(path, &format, &layout);
    if (code == MOTE_EFOREIGN) {
        format.force = layout.found; /* what is there may be destroyed: the caller of the program said so */
        code = mote_format(path, &format, NULL);
    }
    return code ? bench_fail_mote("cannot format") : 0;
}

static int mote_bench_close(void *opaque)
{
    struct mote_state *state = opaque;
    for (unsigned i = 0; i < ENGINE_THREADS_MAX; i++) {
        mote_row_free(state->rows[i]);
        for (unsigned j = 0; j < MULTI_MAX; j++)
            mote_row_free(state->many[i][j]);
        free(state->batches[i]);
    }
    int code = mote_close(state->db);
    free(state);
    return code ? bench_fail_mote("cannot close") : 0;
}

static int open_with(const struct engine_options *options, uint32_t table_flags, uint64_t memtable_bytes, void **opaque)
{
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_error error;
    struct mote_state *state = calloc(1, sizeof *state);
    if (!state)
        return bench_fail("no memory");
    open.barrier = options->barrier;
    open.cache_bytes = options->cache_bytes;
    open.memory_bytes = options->memory_bytes;
    if (memtable_bytes) {
        open.memtable_bytes = memtable_bytes;
        open.memtable_count = 2;
        open.memory_bytes = 2 * memtable_bytes + (UINT64_C(512) << 20);
    }
    if (mote_open(options->path, &open, &state->db, &error)) {
        free(state);
        return bench_fail("cannot open: %s", error.message);
    }
    *opaque = state;
    state->table_flags = table_flags;
    if (options->create ? make_table(state) != 0 : mote_table_open(state->db, "sensor0", &state->table) != 0) {
        mote_bench_close(state);
        return options->create ? -1 : bench_fail_mote("cannot open the table");
    }
    state->table_count = 1;
    return 0;
}

static int mote_bench_open(const struct engine_options *options, void **opaque) { return open_with(options, 0, 0, opaque); }

static int mote_pages_open(const struct engine_options *options, void **opaque) { return open_with(options, MOTE_TABLE_ROW_PAGES, 0, opaque); }

static int mote_log_open(const struct engine_options *options, void **opaque)
{
    uint64_t share_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 16;
    return open_with(options, 0, share_bytes < LOG_MEMTABLE_BYTES_MAX ? share_bytes : LOG_MEMTABLE_BYTES_MAX, opaque);
}

static const uint32_t durability_of[] = {[PUT_DURABLE] = MOTE_DURABILITY_SYNC, [PUT_TICKET] = MOTE_DURABILITY_GROUP, [PUT_LAZY] = MOTE_DURABILITY_NONE};

static int put_row(struct mote_state *state, const struct row *row, const struct mote_write_options *how, uint64_t *ticket)
{
    struct mote_value values[COLUMNS] = {{.type = MOTE_TYPE_INT32, .as.i32 = row->key.series}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = row->key.time_ns}, {.type = MOTE_TYPE_INT32, .as.i32 = row->key.sequence}};
    for (unsigned v = 0; v < ROW_VALUES; v++)
        values[KEY_COLUMNS + v] = (struct mote_value){.type = MOTE_TYPE_FLOAT32, .as.f32 = row->values[v]};
    return mote_append(state->table, values, COLUMNS, how, ticket) ? bench_fail_mote("cannot append") : 0;
}

static int mote_bench_put(void *opaque, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket)
{
    struct mote_state *state = opaque;
    struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
    how.durability = durability_of[level];
    if (count == 1)
        return put_row(state, rows, &how, ticket);
    struct row_columns *batch = state->batches[writer];
    if (!batch) {
        batch = state->batches[writer] = malloc(sizeof *batch);
        if (!batch)
            return bench_fail("no memory");
    }
    rows_to_columns(rows, count, batch);
    struct mote_column columns[COLUMNS] = {{MOTE_TYPE_INT32, 0, batch->series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 0, batch->time_ns, NULL, NULL}, {MOTE_TYPE_INT32, 0, batch->sequence, NULL, NULL}};
    for (unsigned v = 0; v < ROW_VALUES; v++)
        columns[KEY_COLUMNS + v] = (struct mote_column){MOTE_TYPE_FLOAT32, 0, batch->values[v], NULL, NULL};
    struct mote_batch given = {.row_count = count, .column_count = COLUMNS, .columns = columns};
    return mote_append_columns(state->table, &given, &how, ticket) ? bench_fail_mote("cannot append") : 0;
}

static int mote_bench_wait(void *opaque, uint64_t ticket)
{
    struct mote_state *state = opaque;
    return mote_wait(state->db, ticket, MOTE_FOREVER) ? bench_fail_mote("cannot wait") : 0;
}

static int mote_bench_sync(void *opaque)
{
    struct mote_state *state = opaque;
    return mote_wait(state->db, mote_visible_seq(state->db), MOTE_FOREVER) ? bench_fail_mote("cannot wait") : 0;
}

int engine_mote_settle(mote_db *db, uint64_t *settled_ns)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    if (mote_flush(db) || mote_get_stats(db, &stats))
        return bench_fail_mote("cannot flush");
    uint64_t seen_bytes = stats.bytes_compaction;
    *settled_ns = clock_ns();
    while (clock_ns() - *settled_ns < 100000000) {
        usleep(2000);
        if (mote_get_stats(db, &stats))
            return bench_fail_mote("no statistics");
        if (stats.bytes_compaction != seen_bytes)
            *settled_ns = clock_ns();
        seen_bytes = stats.bytes_compaction;
    }
    return 0;
}

static int mote_bench_settle(void *opaque, uint64_t *settled_ns) { return engine_mote_settle(((struct mote_state *)opaque)->db, settled_ns); }

static int mote_bench_next_table(void *opaque)
{
    return make_table(opaque);
}

static int mote_bench_drop_table(void *opaque)
{
    struct mote_state *state = opaque;
    char name[32];
    snprintf(name, sizeof name, "sensor%u", state->first_table++);
    return mote_table_drop(state->db, name) ? bench_fail_mote("cannot drop a table") : 0;
}

/* The values of a row that was got; 1, or -1. */
static int take_row(const mote_row *from, const struct row_key *key, struct row *row)
{
    struct mote_value value;
    row->key = *key;
    for (uint32_t v = 0; v < ROW_VALUES; v++) {
        if (mote_row_value(from, KEY_COLUMNS + v, &value))
            return bench_fail_mote("cannot get a value");
        row->values[v] = value.as.f32;
    }
    return 1;
}

static int mote_bench_get(void *opaque, unsigned reader, const struct row_key *key, struct row *row)
{
    struct mote_state *state = opaque;
    struct mote_value parts[KEY_COLUMNS] = {{.type = MOTE_TYPE_INT32, .as.i32 = key->series}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = key->time_ns}, {.type = MOTE_TYPE_INT32, .as.i32 = key->sequence}};
    int code = mote_get(state->table, parts, KEY_COLUMNS, &state->rows[reader]);
    if (code == MOTE_ENOTFOUND)
        return 0;
    return code ? bench_fail_mote("cannot get") : take_row(state->rows[reader], key, row);
}

static int mote_bench_multi_get(void *opaque, unsigned reader, const struct row_key *keys, uint32_t count, struct row *rows)
{
    struct mote_state *state = opaque;
    struct mote_value parts[MULTI_MAX * KEY_COLUMNS] = {{0}};
    int32_t results[MULTI_MAX];
    int found = 0;
    if (count > MULTI_MAX)
        return bench_fail("mote: %u rows were asked for at once, at most %d are provided for", count, MULTI_MAX);
    for (uint32_t i = 0; i < count; i++) {
        parts[i * KEY_COLUMNS] = (struct mote_value){.type = MOTE_TYPE_INT32, .as.i32 = keys[i].series};
        parts[i * KEY_COLUMNS + 1] = (struct mote_value){.type = MOTE_TYPE_TIMESTAMP, .as.i64 = keys[i].time_ns};
        parts[i * KEY_COLUMNS + 2] = (struct mote_value){.type = MOTE_TYPE_INT32, .as.i32 = keys[i].sequence};
    }
    if (mote_get_many(state->table, parts, KEY_COLUMNS, count, state->many[reader], results))
        return bench_fail_mote("cannot get many");
    for (uint32_t i = 0; i < count; i++) {
        if (results[i] == MOTE_OK && take_row(state->many[reader][i], &keys[i], &rows[i]) < 0)
            return -1;
        found += results[i] == MOTE_OK;
    }
    return found;
}

static uint64_t sum_bits(const void *values, size_t count)
{
    const uint32_t *bits = values;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += bits[i];
    return sum;
}

/* Every value is read, column by column as they lie there; the sum is the same as over whole rows. */
static void take_rows(const struct mote_chunk *chunk, struct scan_result *result)
{
    const struct mote_column *columns = chunk->columns;
    const size_t rows = chunk->row_count;
    const int64_t *times = columns[1].values;
    uint64_t time_sum = 0;
    for (size_t i = 0; i < rows; i++)
        time_sum += (uint64_t)times[i];
    result->checksum += row_checksum_words(0, sum_bits(columns[0].values, rows) + (sum_bits(columns[2].values, rows) << 32)) + row_checksum_words(1, time_sum);
    for (unsigned v = 0; v < ROW_VALUES; v += 2)
        result->checksum += row_checksum_words(2 + v / 2, sum_bits(columns[KEY_COLUMNS + v].values, rows) + (sum_bits(columns[KEY_COLUMNS + v + 1].values, rows) << 32));
    result->rows += rows;
}

static void take_column(const struct mote_chunk *chunk, struct scan_result *result)
{
    const uint32_t *bits = chunk->columns[0].values;
    for (size_t i = 0; i < chunk->row_count; i++)
        result->checksum += bits[i];
    result->rows += chunk->row_count;
}

/* By the call that is there for it. */
static int mote_bench_minutes(struct mote_state *state, const struct scan *scan, struct scan_result *result)
{
    const uint32_t column = KEY_COLUMNS + (uint32_t)scan->column;
    const struct mote_aggregate_value values[] = {{column, MOTE_AGGREGATE_COUNT}, {column, MOTE_AGGREGATE_SUM}};
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    int code;
    options.values = values;
    options.value_count = 2;
    options.bucket_ns = INT64_C(60000000000);
    if (mote_aggregate(state->table, &options, &aggregation))
        return bench_fail_mote("cannot aggregate");
    while (!(code = mote_aggregation_next(aggregation, &chunk)) && chunk.row_count > 0) {
        for (size_t i = 0; i < chunk.row_count; i++) {
            struct scan_minute *minute = &result->minutes[scan_minute(((const int64_t *)chunk.columns[0].values)[i])];
            minute->count += ((const uint64_t *)chunk.columns[1].values)[i];
            minute->sum += ((const double *)chunk.columns[2].values)[i];
            result->rows += ((const uint64_t *)chunk.columns[1].values)[i];
        }
    }
    mote_aggregation_close(aggregation);
    return code ? bench_fail_mote("cannot aggregate") : 0;
}

static int mote_bench_scan(void *opaque, const struct scan *scan, struct scan_result *result)
{
    struct mote_state *state = opaque;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint32_t wanted = KEY_COLUMNS + (uint32_t)(scan->column < 0 ? 0 : scan->column);
    struct mote_value series = {.type = MOTE_TYPE_INT32, .as.i32 = scan->series};
    struct mote_value from[2] = {series, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = scan->from_ns}};
    mote_cursor *cursor;
    struct mote_chunk chunk;
    if (scan->by_minute)
        return mote_bench_minutes(state, scan, result);
    options.limit = scan->limit;
    if (scan->series >= 0) {
        options.key_prefix = &series;
        options.key_prefix_count = 1;
        options.key_from = from;
        options.key_from_count = 2;
    }
    if (scan->column >= 0) {
        options.columns = &wanted;
        options.column_count = 1;
    }
    if (mote_scan(state->table, &options, &cursor))
        return bench_fail_mote("cannot scan");
    int code;
    while (!(code = mote_cursor_next(cursor, &chunk)) && chunk.row_count > 0) {
        if (scan->column < 0)
            take_rows(&chunk, result);
        else
            take_column(&chunk, result);
    }
    mote_cursor_close(cursor);
    return code ? bench_fail_mote("cannot scan") : 0;
}

static int mote_bench_space(void *opaque, uint64_t *bytes)
{
    struct mote_state *state = opaque;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    /* What is freed is free only after the next checkpoint: the log's old extents, the inputs of compactions. */
    if (mote_checkpoint(state->db) || mote_get_stats(state->db, &stats))
        return bench_fail_mote("no statistics");
    *bytes = (stats.extents_total - stats.extents_free) * stats.extent_bytes;
    return 0;
}

#define MOTE_CALLS \
    .format = format_volume, .close = mote_bench_close, .put = mote_bench_put, .wait = mote_bench_wait, .sync = mote_bench_sync, .settle = mote_bench_settle, .next_table = mote_bench_next_table, \
    .drop_table = mote_bench_drop_table, .get = mote_bench_get, .multi_get = mote_bench_multi_get, .scan = mote_bench_scan, .scans_series = true, .space = mote_bench_space

const struct engine_type engine_mote = {
    .name = "mote",
    .tuning = "defaults (512 MiB budget, one background worker), but for the cache and the memory limit of the read workloads; 31 columns in column chunks, each with the codec that the engine picks",
    .open = mote_bench_open,
    MOTE_CALLS,
};

const struct engine_type engine_mote_pages = {
    .name = "mote-pages",
    .tuning = "the same, the table made with MOTE_TABLE_ROW_PAGES: whole rows in pages of 4 KiB; in w3 and w4 only, since the ways in are the same",
    .workloads = "w3 w4",
    .open = mote_pages_open,
    MOTE_CALLS,
};

const struct engine_type engine_mote_log = {
    .name = "mote-log",
    .tuning = "the same with two memtables of 1 GiB (or a sixteenth of the machine's memory), which a short run does not fill: the log alone, without flush and tables; in w1 only",
    .workloads = "w1",
    .open = mote_log_open,
    MOTE_CALLS,
};
