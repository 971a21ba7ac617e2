/* w10_years.c: what years of recording cost a device: the bytes written for each raw byte, by source, when everything is in its final place. The arm's rows of 64 series, with a key of (series, time, sequence): all in order, or one of twenty
 * late. A late row comes up to LATE_BATCHES batches (some 30 s of recorded time, a quarter of a GiB) after its turn, in random order: long after its neighbours left the memtable. mote only, by its own counters; on a block device the kernel's
 * count of the whole run, formatting not included, stands beside them.
 *
 * The run ends with a checkpoint: nothing that was given in is still to be written. Raw bytes: four fifths of what the image or device has, two thirds below 4 GiB, where log and reserves weigh
 * more; --quick: a sixteenth of that. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/engine.h"
#include "include/mote.h"

#define SMALL_BYTES (UINT64_C(4) << 30)
enum { COLUMNS = 3 + ROW_VALUES, LATE_BATCHES = 2048, QUICK_SHARE = 16 };

static const unsigned in_order = 0, late_percent = 5;
static const struct bench_case cases[] = {{"in order", &in_order}, {"5 % late", &late_percent}};
static const struct metric metrics[] = {{"total", "written/raw", true},
                                        {"wal", "log", true},
                                        {"flush", "flush", true},
                                        {"compaction", "compaction", true},
                                        {"index", "index", true},
                                        {"manifest", "manifest and superblock", true},
                                        {"written_per_raw", "kernel's count", true},
                                        {"stored_per_raw", "stored/raw", true},
                                        {"rows", "rows", false},
                                        {NULL, NULL, false}};

/* Rows that wait for a batch. */
struct waiting {
    struct row *rows;
    uint32_t count, capacity;
};
struct recording {
    struct run *run;
    mote_db *db;
    mote_table *table;
    struct row_source source;
    unsigned late_percent;
    uint64_t random, rows, batch;
    struct waiting waiting[LATE_BATCHES]; /* a ring: what comes with batch number n waits in n % LATE_BATCHES */
    /* A batch as columns. */
    uint32_t count;
    int32_t series[BATCH_ROWS_MAX], sequence[BATCH_ROWS_MAX];
    int64_t time_ns[BATCH_ROWS_MAX];
    float values[ROW_VALUES][BATCH_ROWS_MAX];
};

static int open_table(struct recording *recording)
{
    static const uint32_t key[] = {0, 1, 2};
    struct mote_column_definition columns[COLUMNS] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "sequence", .type = MOTE_TYPE_INT32}};
    char names[ROW_VALUES][16];
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_error error;
    for (unsigned v = 0; v < ROW_VALUES; v++) {
        snprintf(names[v], sizeof names[v], "v%u", v);
        columns[3 + v] = (struct mote_column_definition){.name = names[v], .type = MOTE_TYPE_FLOAT32};
    }
    open.barrier = recording->run->barrier;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = 3;
    schema.time_column = 1;
    if (mote_open(recording->run->path, &open, &recording->db, &error))
        return bench_fail("cannot open: %s", error.message);
    return mote_table_create(recording->db, &schema, &recording->table) ? bench_fail_mote("cannot create a table") : 0;
}

static int append(struct recording *recording)
{
    struct mote_column columns[COLUMNS] = {{.type = MOTE_TYPE_INT32, .values = recording->series}, {.type = MOTE_TYPE_TIMESTAMP, .values = recording->time_ns}, {.type = MOTE_TYPE_INT32, .values = recording->sequence}};
    struct mote_batch batch = {.row_count = recording->count, .column_count = COLUMNS, .columns = columns};
    struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
    how.durability = MOTE_DURABILITY_PERIODIC;
    for (unsigned v = 0; v < ROW_VALUES; v++)
        columns[3 + v] = (struct mote_column){.type = MOTE_TYPE_FLOAT32, .values = recording->values[v]};
    if (recording->count == 0)
        return 0;
    if (mote_append_columns(recording->table, &batch, &how, NULL))
        return bench_fail_mote("cannot append");
    recording->rows += recording->count;
    recording->count = 0;
    return 0;
}

static int take(struct recording *recording, const struct row *row)
{
    uint32_t at = recording->count++;
    recording->series[at] = row->key.series;
    recording->time_ns[at] = row->key.time_ns;
    recording->sequence[at] = row->key.sequence;
    for (unsigned v = 0; v < ROW_VALUES; v++)
        recording->values[v][at] = row->values[v];
    return recording->count == BATCH_ROWS_MAX ? append(recording) : 0;
}

static int hold(struct recording *recording, const struct row *row)
{
    struct waiting *waiting = &recording->waiting[(recording->batch + 1 + random_next(&recording->random) % (LATE_BATCHES - 1)) % LATE_BATCHES];
    if (waiting->count == waiting->capacity) {
        uint32_t capacity = waiting->capacity ? 2 * waiting->capacity : 64;
        struct row *rows = realloc(waiting->rows, capacity * sizeof *rows);
        if (!rows)
            return bench_fail("no memory for rows that are late");
        waiting->rows = rows;
        waiting->capacity = capacity;
    }
    waiting->rows[waiting->count++] = *row;
    return 0;
}

/* What is due with this batch. */
static int take_due(struct recording *recording)
{
    struct waiting *waiting = &recording->waiting[recording->batch % LATE_BATCHES];
    int code = 0;
    for (uint32_t i = 0; i < waiting->count && !code; i++)
        code = take(recording, &waiting->rows[i]);
    waiting->count = 0;
    return code;
}

static int record_all(struct recording *recording, uint64_t rows)
{
    int code = 0;
    for (uint64_t given = 0; given < rows && !code; given += BATCH_ROWS_MAX, recording->batch++) {
        const struct row *batch = rows_next(&recording->source, BATCH_ROWS_MAX);
        for (uint32_t i = 0; i < BATCH_ROWS_MAX && !code; i++) {
            bool late = random_next(&recording->random) % 100 < recording->late_percent;
            code = late ? hold(recording, &batch[i]) : take(recording, &batch[i]);
        }
        if (!code)
            code = take_due(recording);
    }
    for (unsigned i = 0; i < LATE_BATCHES && !code; i++, recording->batch++)
        code = take_due(recording);
    return code ? code : append(recording);
}

static int report(struct recording *recording)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct mote_table_info info = {.size_bytes = sizeof info};
    uint64_t settled_ns;
    if (engine_mote_settle(recording->db, &settled_ns))
        return -1;
    if (mote_checkpoint(recording->db) || mote_get_stats(recording->db, &stats) || mote_table_describe(recording->table, &info))
        return bench_fail_mote("cannot settle");
    if (info.segment_rows != recording->rows) {
        recording->run->outbox->refused = 1;
        return bench_fail("w10: %llu rows were appended, %llu are there", (unsigned long long)recording->rows, (unsigned long long)info.segment_rows);
    }
    double raw_bytes = (double)recording->rows * ROW_BYTES;
    uint64_t manifest_bytes = stats.bytes_manifest + stats.bytes_superblock;
    run_emit(recording->run, NULL, "total", (double)(stats.bytes_wal + stats.bytes_flush + stats.bytes_compaction + stats.bytes_index + manifest_bytes) / raw_bytes, NULL);
    run_emit(recording->run, NULL, "wal", (double)stats.bytes_wal / raw_bytes, NULL);
    run_emit(recording->run, NULL, "flush", (double)stats.bytes_flush / raw_bytes, NULL);
    run_emit(recording->run, NULL, "compaction", (double)stats.bytes_compaction / raw_bytes, NULL);
    run_emit(recording->run, NULL, "index", (double)stats.bytes_index / raw_bytes, "the timestamp index, part of the segments");
    run_emit(recording->run, NULL, "manifest", (double)manifest_bytes / raw_bytes, NULL);
    run_emit(recording->run, NULL, "stored_per_raw", (double)info.segment_bytes / raw_bytes, NULL);
    run_emit(recording->run, NULL, "rows", (double)recording->rows, NULL);
    run_emit_raw(recording->run, NULL, recording->rows * ROW_BYTES);
    return 0;
}

static uint64_t raw_bytes_of(const struct bench_options *options)
{
    uint64_t size_bytes = options->size_bytes / (options->quick ? QUICK_SHARE : 1);
    return options->size_bytes < SMALL_BYTES ? size_bytes / 3 * 2 : size_bytes / 5 * 4;
}

static int run_engine(struct run *run)
{
    if (run->engine != &engine_mote)
        return 0; /* no other engine tells its bytes by source */
    const struct bench_options *options = run->options;
    struct recording *recording = calloc(1, sizeof *recording);
    if (!recording)
        return bench_fail("no memory");
    recording->run = run;
    recording->late_percent = *(const unsigned *)run->case_data;
    recording->random = 10;
    int code = rows_open(&recording->source, ROWS_RECORDED, 0, SERIES_COUNT, 1);
    if (!code)
        code = open_table(recording);
    if (!code)
        code = record_all(recording, raw_bytes_of(options) / ROW_BYTES);
    if (!code)
        code = report(recording);
    if (recording->db && mote_close(recording->db) && !code)
        code = bench_fail_mote("cannot close");
    rows_close(&recording->source);
    for (unsigned i = 0; i < LATE_BATCHES; i++)
        free(recording->waiting[i].rows);
    free(recording);
    return code;
}

const struct workload workload_w10 = {.name = "w10",
                                      .title = "W10: years of recording",
                                      .about = "Bytes written for each raw byte, by source, until all is in its final place: rows of 64 series in order, or one of twenty up to 30 s of recorded time late. Raw bytes: four fifths of what the device has (two thirds below 4 GiB). "
                                               "By mote's own counters; beside them what the kernel counted, on a block device.",
                                      .metrics = metrics,
                                      .cases = cases,
                                      .case_count = sizeof cases / sizeof cases[0],
                                      .engine = run_engine};
