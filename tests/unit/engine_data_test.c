/* engine_data_test.c: real recordings through the whole life of a row: appended through the log, flushed, checkpointed, reopened (closed and killed), compared value by value, bit for bit. Prints the bytes that a row
 * takes on the device beside the raw values and the CSV. The data lie outside the repository (../shared/data, or where MOTE_TEST_DATA says); a test whose file is not there prints SKIPPED. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

TestSuite(data, .timeout = 120);

enum { COLUMNS_MAX = 32, BATCH_ROWS = 1000, NAME_BYTES = 32 };

/* A recording: time column first, all others numbers. */
struct recording {
    uint32_t column_count, row_count;
    uint32_t type; /* of the columns behind the time: float64 or float32 */
    char names[COLUMNS_MAX][NAME_BYTES];
    int64_t *times_ns;
    void *columns[COLUMNS_MAX]; /* [0] unused */
    uint64_t file_bytes;
};

/* name: below ../shared/data beside the repository, or below MOTE_TEST_DATA. */
static char *read_file(const char *name, uint64_t *size_bytes)
{
    char path[1024];
    const char *folder = getenv("MOTE_TEST_DATA");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : MOTE_SOURCE_DIR "/../shared/data", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "SKIPPED: %s is not there\n", path);
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    *size_bytes = (uint64_t)ftell(file);
    rewind(file);
    char *text = malloc(*size_bytes + 1);
    require(text && fread(text, 1, *size_bytes, file) == *size_bytes);
    text[*size_bytes] = 0;
    fclose(file);
    return text;
}

static void allocate(struct recording *recording, uint32_t rows)
{
    size_t width = recording->type == MOTE_TYPE_FLOAT64 ? 8 : 4;
    recording->times_ns = calloc(rows, 8);
    require(recording->times_ns);
    for (uint32_t i = 1; i < recording->column_count; i++) {
        recording->columns[i] = calloc(rows, width);
        require(recording->columns[i]);
    }
}

static void free_recording(struct recording *recording)
{
    free(recording->times_ns);
    for (uint32_t i = 1; i < recording->column_count; i++)
        free(recording->columns[i]);
}

/* The header's names; returns the first line behind it. */
static char *read_header(struct recording *recording, char *text)
{
    char *end = strchr(text, '\n');
    require(end);
    *end = 0;
    if (end > text && end[-1] == '\r')
        end[-1] = 0;
    for (char *save, *name = strtok_r(text, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        require(recording->column_count < COLUMNS_MAX);
        snprintf(recording->names[recording->column_count++], NAME_BYTES, "%s", name);
    }
    return end + 1;
}

/* Numbers of every line; the first is the time, in seconds where seconds, else in nanoseconds. */
static bool load_csv(struct recording *recording, const char *path, bool seconds)
{
    *recording = (struct recording){.type = MOTE_TYPE_FLOAT64};
    char *text = read_file(path, &recording->file_bytes);
    if (!text)
        return false;
    char *at = read_header(recording, text);
    uint32_t rows = 0;
    for (const char *line = at; *line; line++)
        rows += *line == '\n';
    allocate(recording, rows + 1);
    while (*at && *at != '\n') {
        for (uint32_t column = 0; column < recording->column_count; column++) {
            char *end;
            if (column == 0)
                recording->times_ns[recording->row_count] = seconds ? (int64_t)(strtod(at, &end) * 1e9 + 0.5) : strtoll(at, &end, 10);
            else
                ((double *)recording->columns[column])[recording->row_count] = strtod(at, &end);
            require(end > at && (*end == ',' || *end == '\n' || *end == '\r' || *end == 0));
            at = *end ? end + 1 : end;
            if (end[0] == '\r' && *at == '\n')
                at++;
        }
        recording->row_count++;
    }
    free(text);
    return true;
}

static bool load_f32(struct recording *recording, const char *path, uint32_t channels, int64_t period_ns)
{
    *recording = (struct recording){.type = MOTE_TYPE_FLOAT32, .column_count = channels + 1};
    float *values = (float *)(void *)read_file(path, &recording->file_bytes);
    if (!values)
        return false;
    recording->row_count = (uint32_t)(recording->file_bytes / 4 / channels);
    require((uint64_t)recording->row_count * channels * 4 == recording->file_bytes);
    allocate(recording, recording->row_count);
    for (uint32_t column = 0; column <= channels; column++)
        snprintf(recording->names[column], NAME_BYTES, column ? "channel%u" : "t", column);
    for (uint32_t row = 0; row < recording->row_count; row++) {
        recording->times_ns[row] = row * period_ns;
        for (uint32_t channel = 0; channel < channels; channel++)
            ((float *)recording->columns[channel + 1])[row] = values[(size_t)row * channels + channel];
    }
    free(values);
    return true;
}

/* ---- Into the volume ---- */

static mote_table *create(mote_db *db, const struct recording *recording)
{
    struct mote_column_definition columns[COLUMNS_MAX] = {{0}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    for (uint32_t i = 0; i < recording->column_count; i++)
        columns[i] = (struct mote_column_definition){.name = recording->names[i], .type = i ? recording->type : (uint32_t)MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL};
    schema.name = "recording";
    schema.columns = columns;
    schema.column_count = recording->column_count;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 0;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void append_all(mote_db *db, mote_table *table, const struct recording *recording)
{
    size_t width = recording->type == MOTE_TYPE_FLOAT64 ? 8 : 4;
    uint64_t ticket = 0;
    for (uint32_t first = 0; first < recording->row_count; first += BATCH_ROWS) {
        struct mote_column columns[COLUMNS_MAX] = {{.type = MOTE_TYPE_TIMESTAMP, .values = recording->times_ns + first}};
        for (uint32_t i = 1; i < recording->column_count; i++)
            columns[i] = (struct mote_column){.type = recording->type, .values = (const uint8_t *)recording->columns[i] + first * width};
        uint32_t left = recording->row_count - first;
        const struct mote_batch batch = {left < BATCH_ROWS ? left : BATCH_ROWS, recording->column_count, columns, NULL};
        must(mote_append_columns(table, &batch, NULL, &ticket));
    }
    must(mote_wait(db, ticket, MOTE_FOREVER));
}

/* ---- And back ---- */

/* All rows from `first` to `end` of the recording, in order, each value the same bits; by a time range where there is one. */
static void check_rows(mote_table *table, const struct recording *recording, uint32_t first, uint32_t end, bool by_time)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    size_t width = recording->type == MOTE_TYPE_FLOAT64 ? 8 : 4;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint32_t row = first;
    options.use_time_range = by_time;
    options.time_from_ns = recording->times_ns[first];
    options.time_to_ns = recording->times_ns[end - 1];
    must(mote_scan(table, &options, &cursor));
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        if (chunk.row_count == 0)
            break;
        require(row + chunk.row_count <= end && chunk.column_count == recording->column_count);
        require(memcmp(chunk.columns[0].values, recording->times_ns + row, chunk.row_count * 8) == 0);
        for (uint32_t i = 1; i < recording->column_count; i++) {
            require(!chunk.columns[i].validity);
            require(memcmp(chunk.columns[i].values, (const uint8_t *)recording->columns[i] + row * width, chunk.row_count * width) == 0);
        }
        row += (uint32_t)chunk.row_count;
    }
    require(row == end);
    mote_cursor_close(cursor);
}

static void check_some_keys(mote_table *table, const struct recording *recording)
{
    mote_row *found = NULL;
    for (uint32_t row = 0; row < recording->row_count; row += recording->row_count / 50 + 1) {
        struct mote_value key = value_timestamp(recording->times_ns[row]), value;
        must(mote_get(table, &key, 1, &found));
        for (uint32_t i = 1; i < recording->column_count; i++) {
            struct mote_value expected = recording->type == MOTE_TYPE_FLOAT64 ? value_f64(((double *)recording->columns[i])[row]) : value_f32(((float *)recording->columns[i])[row]);
            must(mote_row_value(found, i, &value));
            require(value_equal(&value, &expected));
        }
    }
    mote_row_free(found);
}

static void check_all(struct fixture *fixture, const struct recording *recording)
{
    mote_table *table;
    must(mote_table_open(fixture->db, "recording", &table));
    check_rows(table, recording, 0, recording->row_count, false);
    check_rows(table, recording, recording->row_count / 3, recording->row_count / 3 * 2, true);
    check_some_keys(table, recording);
}

static void live(struct recording *recording, const char *what, uint64_t device_bytes)
{
    struct fixture fixture;
    struct mote_table_info info = {.size_bytes = sizeof info};
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    fixture_image(&fixture, device_bytes);
    format.force = "mote";
    format.extent_bytes = 64 * 1024; /* so that what a small recording takes is not rounded up by much */
    must(mote_format(fixture.path, &format, NULL));
    fixture.options.memory_bytes = 64 * MIB_BYTES;
    fixture.options.memtable_bytes = 8 * MIB_BYTES;
    fixture_open(&fixture);
    mote_table *table = create(fixture.db, recording);
    append_all(fixture.db, table, recording);
    check_all(&fixture, recording);
    fixture_crash(&fixture); /* through the log */
    check_all(&fixture, recording);
    must(mote_flush(fixture.db));
    must(mote_checkpoint(fixture.db));
    check_all(&fixture, recording);
    fixture_reopen(&fixture);
    check_all(&fixture, recording);
    must(engine_check_timestamp_index(fixture.db));
    must(mote_compact(fixture.db, NULL));
    check_all(&fixture, recording);
    fixture_crash(&fixture);
    check_all(&fixture, recording);
    must(mote_table_open(fixture.db, "recording", &table));
    must(mote_table_describe(table, &info));
    require(info.segment_rows == recording->row_count);
    double rows = recording->row_count, raw = 8.0 + (recording->column_count - 1) * (recording->type == MOTE_TYPE_FLOAT64 ? 8.0 : 4.0);
    fprintf(stderr, "%s: %u rows of %u columns; bytes a row: %.1f on the device (whole extents), %.1f raw, %.1f in the file\n", what, recording->row_count, recording->column_count,
            (double)info.segment_bytes / rows, raw, (double)recording->file_bytes / rows);
    cr_expect_lt((double)info.segment_bytes / rows, raw * 1.5);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
    free_recording(recording);
}

Test(data, franka_arm_is_identical)
{
    struct recording recording;
    if (load_csv(&recording, "arm-franka-1khz/panda_1khz.csv", true))
        live(&recording, "arm-franka-1khz", 128 * MIB_BYTES);
}

Test(data, ur10_arm_is_identical)
{
    struct recording recording;
    if (load_csv(&recording, "arm-ur10/ur10_joint_states.csv", false))
        live(&recording, "arm-ur10", 128 * MIB_BYTES);
}

Test(data, vibration_of_two_and_three_channels_is_identical)
{
    static const struct {
        const char *path;
        uint32_t channels;
        int64_t period_ns;
    } files[] = {{"vibration-cwru/48k_DE__B014_0_249146x2_DE-FE.f32", 2, 20833}, {"vibration-cwru/12k_DE__B007_0_122571x3_DE-FE-BA.f32", 3, 83333}};
    for (size_t i = 0; i < 2; i++) {
        struct recording recording;
        if (load_f32(&recording, files[i].path, files[i].channels, files[i].period_ns))
            live(&recording, "vibration-cwru", 256 * MIB_BYTES);
    }
}
