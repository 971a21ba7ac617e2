/* w8_recordings.c: what real recordings take on the device: bytes a row after everything is flushed, merged and the log is cut, beside the raw bytes and what zstd makes of them. mote only,
 * through include/mote.h; extents of 64 KiB, so that a small recording is not measured in units of its extents.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "bench/bench.h"
#include "bench/engine.h"
#include "include/mote.h"

enum { COLUMNS_MAX = 64, BATCH = 1024, EXTENT_BYTES = 65536 };

struct recording {
    const char *pattern; /* below the data folder */
    unsigned columns;    /* of a .f32 file; 0: CSV with a header, values as float64 */
};

static const struct metric metrics[] = {{"bytes_per_row", "bytes/row", true}, {"zstd_bytes_per_row", "zstd -3 of the raw rows", true}, {"rows_per_s", "rows/s in", false}, {"rows", "rows", false}, {NULL, NULL, false}};
static const struct recording arm = {"arm-franka-1khz/panda_1khz.csv", 0}, ur10 = {"arm-ur10/ur10_joint_states.csv", 0}, bearing = {"vibration-cwru/12k_DE__IR007*x3*.f32", 3}, vibration = {"vibration-cwru/Normal_*x2*.f32", 2}, points = {"points-pcl/room_scan1.xyz.f32", 3};
static const struct bench_case cases[] = {{"arm, 1 kHz", &arm}, {"UR10, 125 Hz", &ur10}, {"bearing, 12 kHz", &bearing}, {"motor, 48 kHz", &vibration}, {"room, 3-D points", &points}};

struct table {
    unsigned columns, value_bytes;
    size_t rows, room;
    uint8_t *values; /* row by row */
};

static bool add_row(struct table *table, const void *row)
{
    size_t row_bytes = (size_t)table->columns * table->value_bytes;
    if (table->rows == table->room) {
        size_t room = table->room ? 2 * table->room : 4096;
        uint8_t *values = realloc(table->values, room * row_bytes);
        if (!values)
            return false;
        table->values = values;
        table->room = room;
    }
    memcpy(table->values + table->rows++ * row_bytes, row, row_bytes);
    return true;
}

static bool read_csv(FILE *file, struct table *table)
{
    char line[8192];
    double row[COLUMNS_MAX];
    if (!fgets(line, sizeof line, file))
        return false;
    table->value_bytes = sizeof(double);
    for (table->columns = 1, row[0] = 0; strchr(line, ',') && table->columns <= COLUMNS_MAX; table->columns++)
        *strchr(line, ',') = ';';
    if (table->columns > COLUMNS_MAX)
        return false;
    while (fgets(line, sizeof line, file)) {
        char *at = line, *end;
        for (unsigned c = 0; c < table->columns; c++, at = end + 1) {
            row[c] = strtod(at, &end);
            if (end == at)
                return false;
        }
        if (!add_row(table, row))
            return false;
    }
    return table->rows > 0;
}

static bool read_floats(FILE *file, unsigned columns, struct table *table)
{
    float row[COLUMNS_MAX];
    table->columns = columns;
    table->value_bytes = sizeof(float);
    while (fread(row, sizeof row[0], columns, file) == columns) {
        if (!add_row(table, row))
            return false;
    }
    return table->rows > 0;
}

/* 1: read; 0: not there; -1. */
static int read_recording(const struct run *run, struct table *table)
{
    const struct recording *recording = run->case_data;
    char pattern[4096];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/%s", run->options->data_path, recording->pattern);
    if (glob(pattern, 0, NULL, &found)) {
        fprintf(stderr, "mote-bench: w8, %s: SKIPPED, there is no %s\n", run->case_name, pattern);
        return 0;
    }
    FILE *file = fopen(found.gl_pathv[0], "re");
    bool good = file && (recording->columns ? read_floats(file, recording->columns, table) : read_csv(file, table));
    if (file)
        fclose(file);
    if (!good)
        bench_fail("cannot read %s", found.gl_pathv[0]);
    globfree(&found);
    return good ? 1 : -1;
}

static double zstd_bytes(const struct table *table)
{
    size_t raw_bytes = table->rows * table->columns * table->value_bytes, bound = ZSTD_compressBound(raw_bytes);
    void *packed = malloc(bound);
    size_t bytes = packed ? ZSTD_compress(packed, bound, table->values, raw_bytes, 3) : 0;
    free(packed);
    return ZSTD_isError(bytes) ? 0 : (double)bytes;
}

static int create(const struct run *run, const struct table *recording, mote_db **db, mote_table **table)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_layout layout = {{0}};
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_column_definition columns[COLUMNS_MAX];
    char names[COLUMNS_MAX][16];
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    format.extent_bytes = EXTENT_BYTES;
    int code = mote_format(run->path, &format, &layout);
    if (code == MOTE_EFOREIGN) {
        format.force = layout.found;
        code = mote_format(run->path, &format, NULL);
    }
    for (unsigned c = 0; c < recording->columns; c++) {
        snprintf(names[c], sizeof names[c], "c%u", c);
        columns[c] = (struct mote_column_definition){.name = names[c], .type = recording->value_bytes == sizeof(double) ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_FLOAT32};
    }
    schema.name = "recording";
    schema.columns = columns;
    schema.column_count = recording->columns;
    schema.time_column = recording->value_bytes == sizeof(double) ? 0 : -1;
    open.barrier = run->barrier;
    if (!code)
        code = mote_open(run->path, &open, db, NULL);
    if (!code && (code = mote_table_create(*db, &schema, table)) != 0) {
        bench_fail_mote("cannot create the table");
        mote_close(*db);
        return -1;
    }
    return code ? bench_fail_mote("cannot make the volume") : 0;
}

static int append_all(const struct table *recording, mote_table *table)
{
    size_t value_bytes = recording->value_bytes;
    uint8_t *values = malloc((size_t)BATCH * recording->columns * value_bytes);
    struct mote_column columns[COLUMNS_MAX];
    int code = values ? 0 : bench_fail("no memory");
    for (size_t first = 0; first < recording->rows && !code; first += BATCH) {
        size_t count = recording->rows - first < BATCH ? recording->rows - first : BATCH;
        for (unsigned c = 0; c < recording->columns; c++) {
            uint8_t *column = values + (size_t)c * BATCH * value_bytes;
            for (size_t i = 0; i < count; i++)
                memcpy(column + i * value_bytes, recording->values + ((first + i) * recording->columns + c) * value_bytes, value_bytes);
            columns[c] = (struct mote_column){.type = value_bytes == sizeof(double) ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_FLOAT32, .values = column};
        }
        struct mote_batch batch = {.row_count = count, .column_count = recording->columns, .columns = columns};
        if (mote_append_columns(table, &batch, NULL, NULL))
            code = bench_fail_mote("cannot append");
    }
    free(values);
    return code;
}

static int store(struct run *run, const struct table *recording)
{
    mote_db *db;
    mote_table *table;
    struct mote_table_info info = {.size_bytes = sizeof info};
    if (create(run, recording, &db, &table))
        return -1;
    uint64_t begin_ns = clock_ns();
    int code = append_all(recording, table);
    if (!code && (mote_flush(db) || mote_compact(db, NULL) || mote_checkpoint(db) || mote_table_describe(table, &info)))
        code = bench_fail_mote("cannot settle");
    if (!code && info.segment_rows != recording->rows) {
        run->outbox->refused = 1;
        code = bench_fail("%zu rows were appended, %llu are there", recording->rows, (unsigned long long)info.segment_rows);
    }
    if (!code) {
        run_emit(run, NULL, "bytes_per_row", (double)info.segment_bytes / (double)recording->rows, NULL);
        run_emit(run, NULL, "rows_per_s", (double)recording->rows / ((double)(clock_ns() - begin_ns) / 1e9), NULL);
        run_emit(run, NULL, "rows", (double)recording->rows, NULL);
    }
    return mote_close(db) ? bench_fail_mote("cannot close") : code;
}

static int run_device(struct run *run)
{
    struct table table = {0};
    int code = read_recording(run, &table);
    if (code == 1) {
        run_emit(run, NULL, "bytes_per_row", (double)table.columns * table.value_bytes, "raw values, row by row");
        run_emit(run, NULL, "zstd_bytes_per_row", zstd_bytes(&table) / (double)table.rows, NULL);
        run_emit(run, NULL, "rows", (double)table.rows, NULL);
    }
    free(table.values);
    return code < 0 ? -1 : 0;
}

static int run_engine(struct run *run)
{
    struct table table = {0};
    if (run->engine != &engine_mote)
        return 0; /* the other engines keep what they are given as bytes */
    int code = read_recording(run, &table);
    if (code == 1)
        code = store(run, &table);
    free(table.values);
    return code < 0 ? -1 : 0;
}

const struct workload workload_w8 = {.name = "w8",
                                     .title = "W8: real recordings",
                                     .about = "Bytes on the device for each row, in extents of 64 KiB, after flush, compaction and checkpoint. \"device\" is the raw values. A hidden row id is the key.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = 5,
                                     .device = run_device,
                                     .engine = run_engine};
