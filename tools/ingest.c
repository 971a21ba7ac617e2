/* ingest.c: `mote ingest`: CSV into a table (ingest.h has the rules). */
#include "tools/ingest.h"

static const char *const layout_names[] = {"columns", "rows", NULL}; /* enum ingest_layout */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/number.h"

enum {
    BATCH_ROWS_DEFAULT = 1024,
    BATCH_ROWS_MAX = 1 << 20,
    PAUSE_MS = 100,
    BAD_LINES_SHOWN = 10,
    FRAME_BYTES_USUAL = 512 * 1024
};

static int parse_durability(struct ingest *ingest)
{
    const char *text = ingest->durability;
    struct mote_write_options *write = &ingest->write;
    *write = (struct mote_write_options)MOTE_WRITE_OPTIONS_INIT;
    if (!text || strcmp(text, "group") == 0) {
        write->durability = MOTE_DURABILITY_GROUP;
    } else if (strcmp(text, "sync") == 0) {
        write->durability = MOTE_DURABILITY_SYNC;
    } else if (strcmp(text, "none") == 0) {
        write->durability = MOTE_DURABILITY_NONE;
    } else if (strncmp(text, "periodic", 8) == 0 && (text[8] == ':' || text[8] == '\0')) {
        int64_t period_ms = 0;
        if (text[8] == ':' &&
            (!number_parse_int64(text + 9, strlen(text + 9), &period_ms) || period_ms < 1 || period_ms > 3600000))
            return tool_refuse(&ingest->common, TOOL_USAGE, 0,
                               "--durability %s: expected periodic:MS with 1 to 3600000", text);
        write->durability = MOTE_DURABILITY_PERIODIC;
        write->period_ms = (uint32_t)period_ms;
    } else {
        return tool_refuse(&ingest->common, TOOL_USAGE, 0, "--durability %s: expected sync, group, periodic:MS or none",
                           text);
    }
    return 0;
}

static int open_input(struct ingest *ingest)
{
    int fd = STDIN_FILENO;
    uint64_t size_bytes = 0;
    if (strcmp(ingest->file, "-") != 0) {
        fd = open(ingest->file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "cannot open %s: %s", ingest->file, strerror(errno));
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        size_bytes = (uint64_t)status.st_size;
    csv_open(&ingest->csv, fd, ingest->delimiter ? ingest->delimiter[0] : ',');
    progress_begin(&ingest->progress, ingest->table_name, "rows", size_bytes, ingest->common.quiet);
    return 0;
}

static void close_input(struct ingest *ingest)
{
    csv_close(&ingest->csv);
    if (ingest->csv.fd != STDIN_FILENO)
        close(ingest->csv.fd);
}

/* Room for the batch: no more rows than one commit holds, so that a batch stays atomic and its buffers small. */
static int prepare_batch(struct ingest *ingest)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    if (mote_get_options(ingest->db, &options))
        return tool_fail(&ingest->common, NULL);
    uint64_t frame_bytes = options.wal_frame_bytes_max ? options.wal_frame_bytes_max : FRAME_BYTES_USUAL;
    ingest->batch_bytes_max = frame_bytes - frame_bytes / 8;
    if (ingest->batch_rows == 0) {
        ingest->batch_rows = BATCH_ROWS_DEFAULT;
        if (ingest->rate > 0 && ingest->rate < 100.0 * BATCH_ROWS_DEFAULT)
            ingest->batch_rows = ingest->rate < 200 ? 1 : (uint64_t)(ingest->rate / 100);
    }
    if (ingest->batch_rows > BATCH_ROWS_MAX)
        ingest->batch_rows = BATCH_ROWS_MAX;
    batch_init(&ingest->batch, ingest->columns, ingest->column_count, ingest->batch_rows);
    ingest->slices = tool_alloc(ingest->column_count * sizeof ingest->slices[0]);
    ingest->scratch = tool_alloc(ingest->column_count * ((ingest->batch_rows + 7) / 8 + 1));
    return 0;
}

/* Sleeps until row number `rows` is due. */
static void pace(const struct ingest *ingest, uint64_t rows)
{
    if (ingest->rate <= 0)
        return;
    double wait = ingest->started + (double)rows / ingest->rate - tool_seconds();
    if (wait <= 0)
        return;
    struct timespec time = {.tv_sec = (time_t)wait, .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        continue;
}

/* The library refused rows [first, first + count): says which lines they were. */
static int fail_rows(struct ingest *ingest, size_t first, size_t count)
{
    struct mote_error error;
    mote_last_error(&error);
    error.line = ingest->batch.lines[first];
    char message[sizeof error.message];
    memcpy(message, error.message, sizeof message);
    snprintf(error.message, sizeof error.message, "lines %llu to %llu: %.300s", (unsigned long long)error.line,
             (unsigned long long)ingest->batch.lines[first + count - 1], message);
    int exit_code = tool_fail(&ingest->common, &error);
    return error.code == MOTE_EINVAL ? TOOL_REFUSED : exit_code;
}

/* Appends what the batch holds, in pieces where it is larger than one commit, and empties it. */
static int append_batch(struct ingest *ingest)
{
    struct batch_builder *batch = &ingest->batch;
    size_t piece = batch->row_count;
    pace(ingest, ingest->rows + batch->row_count);
    for (size_t first = 0; first < batch->row_count;) {
        size_t count = piece < batch->row_count - first ? piece : batch->row_count - first;
        batch_slice(batch, first, count, ingest->slices, ingest->scratch);
        struct mote_batch columns = {.row_count = count,
                                     .column_count = batch->column_count,
                                     .columns = ingest->slices,
                                     .column_index = ingest->positions};
        int code = mote_append_columns(ingest->table, &columns, &ingest->write, &ingest->last_ticket);
        if (code == MOTE_ETOOBIG && count > 1) {
            piece = (count + 1) / 2;
            continue;
        }
        if (code)
            return fail_rows(ingest, first, count);
        first += count;
        ingest->rows += count;
        ingest->batches++;
        ack_push(ingest->ack, ingest->last_ticket, ingest->rows);
        /* Without threads it is the waiter that commits. */
        if (ingest->common.open.inline_io && ingest->write.durability == MOTE_DURABILITY_GROUP &&
            mote_wait(ingest->db, ingest->last_ticket, MOTE_FOREVER))
            return tool_fail(&ingest->common, NULL);
    }
    batch_clear(batch);
    progress_update(&ingest->progress, ingest->csv.read_bytes, ingest->rows);
    return 0;
}

/* A line is bad: passes over it with --skip-bad (0), else says why the ingest ends. */
static int bad_line(struct ingest *ingest, const char *message)
{
    unsigned long long line = ingest->csv.line;
    unsigned long long first = ingest->batch.row_count ? ingest->batch.lines[0] : line;
    if (ingest->skip_bad) {
        if (ingest->skipped++ < BAD_LINES_SHOWN && !ingest->common.quiet) {
            progress_end(&ingest->progress);
            fprintf(stderr, "mote ingest: line %llu%s; skipped\n", line, message);
        }
        return 0;
    }
    progress_end(&ingest->progress);
    return tool_refuse(&ingest->common, TOOL_REFUSED, line,
                       "line %llu%s; nothing of its batch (from line %llu) was appended, %llu rows before it were",
                       line, message, first, (unsigned long long)ingest->rows);
}

/* Where a field begins in messages; long ones are cut. */
static int bad_field(struct ingest *ingest, const struct field_problem *problem)
{
    char message[256];
    const struct csv_field *field = &ingest->csv.fields[problem->column];
    int shown = field->length < 40 ? (int)field->length : 40;
    snprintf(message, sizeof message, ", column %zu (%s): expected %s, found \"%.*s\"%s", problem->column + 1,
             ingest->columns[problem->column].name, problem->expected, shown, field->data,
             field->length > 40 ? "..." : "");
    return bad_line(ingest, message);
}

static int take_record(struct ingest *ingest)
{
    struct csv *csv = &ingest->csv;
    bool blank = csv->field_count == 1 && csv->fields[0].length == 0 && !csv->fields[0].quoted;
    if (blank && ingest->column_count > 1)
        return 0;
    if (csv->field_count != ingest->column_count) {
        char message[128];
        snprintf(message, sizeof message, ", column %zu: expected %zu fields, found %zu",
                 csv->field_count < ingest->column_count ? csv->field_count + 1 : ingest->column_count + 1,
                 ingest->column_count, csv->field_count);
        return bad_line(ingest, message);
    }
    struct field_problem problem;
    if (!batch_add(&ingest->batch, csv->fields, csv->line, &problem))
        return bad_field(ingest, &problem);
    if (ingest->batch.row_count == ingest->batch_rows || ingest->batch.used_bytes >= ingest->batch_bytes_max)
        return append_batch(ingest);
    return 0;
}

static int run_loop(struct ingest *ingest)
{
    struct csv *csv = &ingest->csv;
    for (;;) {
        csv->idle_ms = ingest->batch.row_count ? PAUSE_MS : -1;
        int result = 0;
        switch (csv_next(csv)) {
        case CSV_RECORD:
            result = take_record(ingest);
            break;
        case CSV_IDLE:
            result = append_batch(ingest);
            break;
        case CSV_END:
            return append_batch(ingest);
        case CSV_BAD: {
            char message[128];
            snprintf(message, sizeof message, ", column %zu: expected %s", csv->field_count + 1, csv->problem);
            result = bad_line(ingest, message);
            break;
        }
        case CSV_FAILED:
            return tool_refuse(&ingest->common, TOOL_REFUSED, csv->next_line, "cannot read %s: %s", ingest->file,
                               strerror(csv->system_errno));
        }
        if (result)
            return result;
    }
}

/* From an open volume and input to the end of the input. */
static int run(struct ingest *ingest)
{
    int result = ingest_prepare_table(ingest);
    if (!result)
        result = prepare_batch(ingest);
    if (result)
        return result;
    int system_errno;
    if (!ack_start(ingest->db, ingest->ack_file, &ingest->ack, &system_errno)) {
        if (!system_errno)
            return tool_fail(&ingest->common, NULL);
        return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "cannot open %s: %s",
                           ingest->ack_file ? ingest->ack_file : "a thread", strerror(system_errno));
    }
    ingest->started = tool_seconds();
    result = run_loop(ingest);
    /* What was appended is made durable and acknowledged, also when the ingest ends early. */
    if (ingest->rows && mote_wait(ingest->db, ingest->last_ticket, MOTE_FOREVER) && !result)
        result = tool_fail(&ingest->common, NULL);
    ingest->durable_seconds = tool_seconds() - ingest->started;
    int ack_errno = ack_finish(ingest->ack, &ingest->acknowledged);
    progress_end(&ingest->progress);
    if (ack_errno && !result)
        result =
            tool_refuse(&ingest->common, TOOL_REFUSED, 0, "cannot write %s: %s", ingest->ack_file, strerror(ack_errno));
    if (!result && mote_checkpoint(ingest->db))
        result = tool_fail(&ingest->common, NULL);
    ingest->total_seconds = tool_seconds() - ingest->started;
    return result ? result : ingest_report(ingest);
}

static int parse_options(struct ingest *ingest, int argc, char **argv)
{
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&ingest->common, "ingest", common);
    const struct option options[] = {
        {"time-column", OPTION_TEXT, "C", "the column with the rows' time", &ingest->time_column, NULL},
        {"key", OPTION_TEXT, "C,...", "the clustering key's columns (default: a row id)", &ingest->key, NULL},
        {"types", OPTION_TEXT, "C:TYPE,...", "types that are not to be inferred", &ingest->types, NULL},
        {"header", OPTION_TEXT, "C,...", "the columns' names; the first line is data then", &ingest->header, NULL},
        {"delimiter", OPTION_TEXT, "CHAR", "instead of the comma", &ingest->delimiter, NULL},
        {"append-only", OPTION_FLAG, NULL, "make an append-only table", &ingest->append_only, NULL},
        {"layout", OPTION_CHOICE, "NAME", "how a new table lies on the device: columns for scans (default), rows for single reads", &ingest->layout, layout_names},
        {"durability", OPTION_TEXT, "LEVEL", "sync, group (default), periodic:MS or none", &ingest->durability, NULL},
        {"batch", OPTION_COUNT, "N", "rows of one append (default 1024)", &ingest->batch_rows, NULL},
        {"rate", OPTION_REAL, "ROWS", "rows per second, to pace like the real sensor", &ingest->rate, NULL},
        {"ack", OPTION_TEXT, "FILE", "append the number of durable rows after each commit", &ingest->ack_file, NULL},
        {"skip-bad", OPTION_FLAG, NULL, "leave out lines that do not parse, and count them", &ingest->skip_bad, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote ingest",
        .operands = "PATH TABLE [FILE.csv|-]",
        .summary = "Appends the rows of a CSV file (or of stdin) to a table, and makes the table if it does not exist.",
        .details = "The first line names the columns; a new table's types are inferred from the lines that follow. An "
                   "empty field is NULL,\n"
                   "an empty one in quotes an empty text. Columns of an existing table are matched by name; those that "
                   "the input lacks\n"
                   "take their default. A bad line ends the ingest with its number, column and what was expected; its "
                   "batch is not\n"
                   "appended, earlier ones are, durably.",
        .operand_min = 2,
        .operand_max = 3,
        .options = options,
        .common = common,
    };
    const char *operands[3] = {NULL, NULL, "-"};
    unsigned count;
    int result = options_parse(&command, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    ingest->path = operands[0];
    ingest->table_name = operands[1];
    ingest->file = operands[2];
    if (ingest->delimiter && (strlen(ingest->delimiter) != 1 || strchr("\"\r\n", ingest->delimiter[0])))
        return tool_refuse(&ingest->common, TOOL_USAGE, 0,
                           "--delimiter: expected one character, no quote and no line end");
    if (ingest->common.open.read_only)
        return tool_refuse(&ingest->common, TOOL_USAGE, 0, "--read-only: an ingest writes");
    result = parse_durability(ingest);
    return result ? result : OPTIONS_RUN;
}

int command_ingest(int argc, char **argv)
{
    struct ingest *ingest = tool_alloc(sizeof *ingest);
    memset(ingest, 0, sizeof *ingest);
    int result = parse_options(ingest, argc, argv);
    if (result == OPTIONS_RUN)
        result = open_input(ingest);
    else
        goto freed;
    if (result)
        goto freed;
    result = tool_open_writer(&ingest->common, ingest->path, &ingest->db);
    if (!result) {
        result = run(ingest);
        result = tool_close(&ingest->common, ingest->db, result);
    }
    close_input(ingest);
    if (ingest->slices)
        batch_free(&ingest->batch);
    free(ingest->slices);
    free(ingest->scratch);
    free(ingest->columns);
    free(ingest->positions);
freed:
    free(ingest);
    return result;
}
