/* reader.c: one second out of what logger.c wrote: a scan by time, and a single row by its key.
 *
 *     ./reader arm.img
 */
#include <mote.h>
#include <stdio.h>

static int fail(const char *what)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.message);
    return 1;
}

int main(int argc, char **argv)
{
    mote_db *db;
    mote_table *joints;
    struct mote_options options = MOTE_OPTIONS_INIT;
    options.read_only = 1; /* looks at the volume without changing anything on it */
    if (argc != 2 || mote_open(argv[1], &options, &db, NULL))
        return fail("open");
    if (mote_table_open(db, "joints", &joints))
        return fail("table");

    struct mote_scan_options scan = MOTE_SCAN_OPTIONS_INIT;
    scan.use_time_range = 1;
    scan.time_from_ns = 2000000000;
    scan.time_to_ns = 2999999999;
    mote_cursor *cursor;
    if (mote_scan(joints, &scan, &cursor))
        return fail("scan");
    struct mote_chunk chunk;
    size_t rows = 0;
    double sum = 0;
    int result;
    while ((result = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0) {
        const double *q1 = chunk.columns[1].values;
        for (size_t i = 0; i < chunk.row_count; i++)
            sum += q1[i];
        rows += chunk.row_count;
    }
    if (result)
        return fail("next");
    mote_cursor_close(cursor);
    printf("%zu rows in the third second, mean q1 %.6f\n", rows, sum / (double)rows);

    struct mote_value key = {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 2500000000}, q1;
    mote_row *row = NULL;
    if (mote_get(joints, &key, 1, &row) || mote_row_value(row, 1, &q1))
        return fail("get");
    printf("q1 at 2.5 s: %.6f\n", q1.as.f64);
    mote_row_free(row);
    return mote_close(db) ? fail("close") : 0;
}
