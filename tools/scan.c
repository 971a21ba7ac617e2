/* scan.c: `mote scan`: rows of a table in key order, as CSV or JSON lines on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/print.h"

static const char *const format_names[] = {"csv", "jsonl", NULL};
static const char *const time_names[] = {"ns", "rfc3339", NULL};

struct scan {
    struct tool_common common;
    const char *path, *table_name;
    const char *columns, *from, *to, *key, *key_from, *key_to;
    uint64_t limit;
    bool descending, no_header, count_only;
    struct print_style style;
};

static int set_time_range(const struct scan *scan, mote_table *table, const struct mote_table_info *info,
                          struct mote_scan_options *options)
{
    if (!scan->from && !scan->to)
        return 0;
    options->use_time_range = 1;
    options->time_from_ns = INT64_MIN;
    options->time_to_ns = INT64_MAX;
    int result = scan->from ? time_parse(&scan->common, table, info, scan->from, &options->time_from_ns) : 0;
    if (!result && scan->to)
        result = time_parse(&scan->common, table, info, scan->to, &options->time_to_ns);
    if (!result && info->time_column < 0)
        result = tool_refuse(&scan->common, TOOL_REFUSED, 0, "table \"%s\" has no time column", info->name);
    return result;
}

static int print_rows(const struct scan *scan, mote_table *table, const struct mote_scan_options *options,
                      const struct column_choice *choice)
{
    mote_cursor *cursor = NULL;
    if (mote_scan(table, options, &cursor))
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
    int result = 0;
    if (scan->count_only && !code)
        output_format(out, scan->common.json ? "{\"rows\":%llu}\n" : "%llu\n", (unsigned long long)rows);
    int write_errno = output_close(out);
    if (code) /* what was printed stays printed; the exit code says that it is not all */
        result = tool_fail(&scan->common, NULL);
    else if (write_errno)
        result = tool_refuse(&scan->common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno));
    mote_cursor_close(cursor);
    free(out);
    return result;
}

static int run(const struct scan *scan, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    struct column_choice choice = {0};
    struct key_values key = {0}, from = {0}, to = {0};
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    int result = table_find(&scan->common, db, scan->table_name, &table, &info);
    if (result)
        return result;
    result = columns_choose(&scan->common, table, &info, scan->columns, &choice);
    if (!result && scan->key)
        result = key_parse_list(&scan->common, table, &info, scan->key, &key);
    if (!result && scan->key_from)
        result = key_parse_list(&scan->common, table, &info, scan->key_from, &from);
    if (!result && scan->key_to)
        result = key_parse_list(&scan->common, table, &info, scan->key_to, &to);
    if (!result)
        result = set_time_range(scan, table, &info, &options);
    if (!result) {
        options.key_prefix = key.count ? key.values : NULL;
        options.key_prefix_count = key.count;
        options.key_from = from.count ? from.values : NULL;
        options.key_from_count = from.count;
        options.key_to = to.count ? to.values : NULL;
        options.key_to_count = to.count;
        options.columns = choice.positions;
        options.column_count = choice.count;
        options.descending = scan->descending;
        options.limit = scan->limit;
        result = print_rows(scan, table, &options, &choice);
    }
    key_free(&to);
    key_free(&from);
    key_free(&key);
    columns_free(&choice);
    return result;
}

int command_scan(int argc, char **argv)
{
    struct scan scan = {0};
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&scan.common, "scan", common);
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &scan.columns, NULL},
        {"from", OPTION_TEXT, "T", "only rows whose time is at or after T", &scan.from, NULL},
        {"to", OPTION_TEXT, "T", "only rows whose time is at or before T", &scan.to, NULL},
        {"key", OPTION_TEXT, "V,...", "only rows whose key begins with these values", &scan.key, NULL},
        {"key-from", OPTION_TEXT, "V,...", "only rows whose key is at or after this one", &scan.key_from, NULL},
        {"key-to", OPTION_TEXT, "V,...", "only rows whose key is at or before this one", &scan.key_to, NULL},
        {"limit", OPTION_COUNT, "N", "at most N rows", &scan.limit, NULL},
        {"desc", OPTION_FLAG, NULL, "from the last key to the first", &scan.descending, NULL},
        {"count", OPTION_FLAG, NULL, "print only how many rows there are", &scan.count_only, NULL},
        {"format", OPTION_CHOICE, "NAME", "of the output", &scan.style.format, format_names},
        {"time-format", OPTION_CHOICE, "NAME", "of timestamps", &scan.style.time, time_names},
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &scan.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote scan",
        .operands = "PATH TABLE",
        .summary = "Prints the rows of a table in key order, as CSV or JSON lines.",
        .details = "A time T is RFC 3339, or a number with s, ms, us or ns, or a bare number in the time column's own "
                   "unit (float64: seconds,\n"
                   "else nanoseconds). Values are printed in their shortest form that reads back to the same bits.",
        .operand_min = 2,
        .operand_max = 2,
        .options = options,
        .common = common,
    };
    const char *operands[2];
    unsigned count;
    int result = options_parse(&command, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    scan.path = operands[0];
    scan.table_name = operands[1];
    if (scan.common.json)
        scan.style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&scan.common, scan.path, &db);
    return result ? result : tool_close(&scan.common, db, run(&scan, db));
}
