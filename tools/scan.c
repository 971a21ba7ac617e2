/* scan.c: `mote scan`: rows of a table in key order, and `mote latest`: the newest row of each series; as CSV or JSON lines
 * on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/print.h"
#include "tools/range.h"

struct scan {
    struct tool_common common;
    const char *path, *table_name;
    const char *columns, *snapshot_name;
    struct range_words range;
    uint64_t limit;
    bool descending, no_header, count_only;
    bool latest; /* mote latest */
    struct print_style style;
};

static int print_rows(const struct scan *scan, mote_table *table, const struct mote_scan_options *options,
                      const struct column_choice *choice)
{
    mote_cursor *cursor = NULL;
    if (scan->latest ? mote_latest(table, options, &cursor) : mote_scan(table, options, &cursor))
        return tool_fail(&scan->common, NULL);
    struct output *out = tool_alloc(sizeof *out);
    output_open(out, STDOUT_FILENO);
    if (!scan->no_header && !scan->count_only)
        print_header(out, &scan->style, choice->names, choice->count);
    struct mote_chunk chunk;
    uint64_t rows = 0;
    int code;
    while ((code = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0 && !out->failed_errno) {
        rows += chunk.row_count;
        for (size_t row = 0; row < chunk.row_count && !scan->count_only; row++)
            print_row(out, &scan->style, chunk.columns, choice->names, choice->count, row);
    }
    if (scan->count_only && !code)
        output_format(out, scan->common.json ? "{\"rows\":%llu}\n" : "%llu\n", (unsigned long long)rows);
    int result = print_close(&scan->common, out, code);
    mote_cursor_close(cursor);
    free(out);
    return result;
}

static int run(const struct scan *scan, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    struct column_choice choice = {0};
    struct range range = {0};
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_snapshot *snapshot = NULL;
    int result = table_find(&scan->common, db, scan->table_name, &table, &info);
    if (result)
        return result;
    result = columns_choose(&scan->common, table, &info, scan->columns, &choice);
    if (!result)
        result = range_parse(&scan->common, table, &info, &scan->range, &range, &options);
    if (!result)
        result = tool_snapshot_open(&scan->common, db, scan->snapshot_name, &snapshot);
    if (!result) {
        options.snapshot = snapshot;
        options.columns = choice.positions;
        options.column_count = choice.count;
        options.descending = scan->descending;
        options.limit = scan->limit;
        result = print_rows(scan, table, &options, &choice);
    }
    mote_snapshot_release(snapshot);
    range_free(&range);
    columns_free(&choice);
    return result;
}

static int run_command(struct scan *scan, const struct tool_usage *usage, const struct option *options, int argc, char **argv)
{
    const char *operands[2];
    int result = tool_parse(&scan->common, usage, options, argc, argv, operands, NULL);
    if (result != OPTIONS_RUN)
        return result;
    scan->path = operands[0];
    scan->table_name = operands[1];
    if (scan->common.json)
        scan->style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&scan->common, scan->path, &db);
    return result ? result : tool_close(&scan->common, db, run(scan, db));
}

int command_scan(int argc, char **argv)
{
    struct scan scan = {0};
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &scan.columns, NULL},
        RANGE_OPTIONS(&scan.range),
        {"limit", OPTION_COUNT, "N", "at most N rows", &scan.limit, NULL},
        {"desc", OPTION_FLAG, NULL, "from the last key to the first", &scan.descending, NULL},
        {"count", OPTION_FLAG, NULL, "print only how many rows there are", &scan.count_only, NULL},
        {"snapshot", OPTION_TEXT, "NAME", "the rows that this named snapshot sees", &scan.snapshot_name, NULL},
        PRINT_OPTIONS(&scan.style),
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &scan.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "scan",
        .operands = "PATH TABLE",
        .summary = "Prints the rows of a table in key order, as CSV or JSON lines.",
        .details = "A time T is RFC 3339, or a number with s, ms, us or ns, or a bare number in the time column's own "
                   "unit (float64: seconds,\n"
                   "else nanoseconds). Values are printed in their shortest form that reads back to the same bits.",
        .operand_min = 2,
    };
    return run_command(&scan, &usage, options, argc, argv);
}

int command_latest(int argc, char **argv)
{
    struct scan scan = {.latest = true};
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &scan.columns, NULL},
        RANGE_OPTIONS(&scan.range),
        {"limit", OPTION_COUNT, "N", "at most N rows", &scan.limit, NULL},
        {"desc", OPTION_FLAG, NULL, "from the last series to the first", &scan.descending, NULL},
        {"count", OPTION_FLAG, NULL, "print only how many series there are", &scan.count_only, NULL},
        {"snapshot", OPTION_TEXT, "NAME", "the rows that this named snapshot sees", &scan.snapshot_name, NULL},
        PRINT_OPTIONS(&scan.style),
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &scan.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "latest",
        .operands = "PATH TABLE",
        .summary = "Prints the newest row of each series: of each value of the key columns before the time column.",
        .details = "--to T asks for the newest at or before T. The rows are sought, not scanned for. The table's key must "
                   "hold its time column.\nTimes and values are as in mote scan.",
        .operand_min = 2,
    };
    return run_command(&scan, &usage, options, argc, argv);
}
