/* aggregate.c: `mote aggregate`: functions of columns, for all rows, each series, each bucket of time; as CSV or JSON lines
 * on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/number.h"
#include "tools/print.h"
#include "tools/range.h"

static const char *const function_names[] = {NULL, "count", "min", "max", "sum", "mean", "first", "last"};

enum {
    FUNCTIONS = sizeof function_names / sizeof function_names[0],
    VALUES_MAX = 1024,
    NAME_BYTES = MOTE_NAME_BYTES_MAX + 16
};

struct aggregate {
    struct tool_common common;
    const char *path, *table_name;
    const char *columns, *functions, *bucket, *origin;
    struct range_words range;
    bool by_series, no_header;
    struct print_style style;
    const char *snapshot_name;
};

/* What is asked, and what the columns of the output are called. */
struct question {
    struct mote_aggregate_value values[VALUES_MAX];
    size_t value_count;
    char names[MOTE_KEY_COLUMNS_MAX + 1 + VALUES_MAX][NAME_BYTES];
    const char *name_list[MOTE_KEY_COLUMNS_MAX + 1 + VALUES_MAX];
    size_t name_count;
};

static void add_name(struct question *question, const char *column, const char *function)
{
    char *name = question->names[question->name_count];
    snprintf(name, NAME_BYTES, function ? "%s_%s" : "%s", column, function);
    question->name_list[question->name_count++] = name;
}

/* Functions by name, separated by commas. */
static int parse_functions(const struct aggregate *aggregate, uint32_t functions[FUNCTIONS], size_t *count)
{
    *count = 0;
    for (const char *at = aggregate->functions ? aggregate->functions : "count,min,max,mean"; at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        uint32_t found = 0;
        for (uint32_t i = 1; i < FUNCTIONS; i++)
            if (strlen(function_names[i]) == length && memcmp(function_names[i], at, length) == 0)
                found = i;
        if (found == 0 || *count == FUNCTIONS - 1)
            return tool_refuse(&aggregate->common, TOOL_USAGE, 0,
                               "--functions: expected some of count, min, max, sum, mean, first, last, each once");
        functions[(*count)++] = found;
        at = comma ? comma + 1 : NULL;
    }
    return 0;
}

/* Without --columns: every numeric column that is neither in the key nor the time. */
static bool is_wanted(const struct mote_table_info *info, uint32_t position, uint32_t type)
{
    bool numeric = type == MOTE_TYPE_INT64 || type == MOTE_TYPE_INT32 || type == MOTE_TYPE_FLOAT64 ||
                   type == MOTE_TYPE_FLOAT32 || type == MOTE_TYPE_BOOL;
    for (uint32_t i = 0; i < info->key_column_count; i++)
        numeric = numeric && info->key_columns[i] != position;
    return numeric && (int32_t)position != info->time_column;
}

static int ask(const struct aggregate *aggregate, mote_table *table, const struct mote_table_info *info,
               struct question *question)
{
    struct column_choice choice;
    uint32_t functions[FUNCTIONS];
    size_t function_count;
    int result = columns_choose(&aggregate->common, table, info, aggregate->columns, &choice);
    if (!result)
        result = parse_functions(aggregate, functions, &function_count);
    question->values[question->value_count++] =
        (struct mote_aggregate_value){MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT};
    add_name(question, "rows", NULL);
    for (size_t i = 0; i < choice.count && !result; i++) {
        struct mote_column_definition definition;
        if (mote_table_column(table, choice.positions[i], &definition))
            result = tool_fail(&aggregate->common, NULL);
        if (result || (!aggregate->columns && !is_wanted(info, choice.positions[i], definition.type)))
            continue;
        for (size_t f = 0; f < function_count && !result; f++) {
            if (question->value_count == VALUES_MAX) {
                result = tool_refuse(&aggregate->common, TOOL_USAGE, 0,
                                     "more than %d values are asked: choose --columns", VALUES_MAX);
                break;
            }
            question->values[question->value_count++] =
                (struct mote_aggregate_value){choice.positions[i], functions[f]};
            add_name(question, choice.names[i], function_names[functions[f]]);
        }
    }
    columns_free(&choice);
    return result;
}

static int print_results(const struct aggregate *aggregate, mote_table *table,
                         const struct mote_aggregate_options *options, const struct question *question)
{
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    if (mote_aggregate(table, options, &aggregation))
        return tool_fail(&aggregate->common, NULL);
    struct output *out = tool_alloc(sizeof *out);
    output_open(out, STDOUT_FILENO);
    if (!aggregate->no_header)
        print_header(out, &aggregate->style, question->name_list, question->name_count);
    int code;
    while ((code = mote_aggregation_next(aggregation, &chunk)) == MOTE_OK && chunk.row_count > 0 && !out->failed_errno)
        for (size_t row = 0; row < chunk.row_count; row++)
            print_row(out, &aggregate->style, chunk.columns, question->name_list, question->name_count, row);
    int result = print_close(&aggregate->common, out, code);
    mote_aggregation_close(aggregation);
    free(out);
    return result;
}

/* The columns that come before the values. */
static int name_groups(const struct aggregate *aggregate, mote_table *table, const struct mote_table_info *info,
                       const struct mote_aggregate_options *options, struct question *question)
{
    struct mote_column_definition definition;
    for (uint32_t i = 0; options->by_series && i < info->key_column_count; i++) {
        if ((int32_t)info->key_columns[i] == info->time_column)
            break;
        if (mote_table_column(table, info->key_columns[i], &definition))
            return tool_fail(&aggregate->common, NULL);
        add_name(question, definition.name, NULL);
    }
    if (options->bucket_ns == 0)
        return 0;
    if (info->time_column < 0)
        return tool_refuse(&aggregate->common, TOOL_REFUSED, 0, "table \"%s\" has no time column", info->name);
    if (mote_table_column(table, (uint32_t)info->time_column, &definition))
        return tool_fail(&aggregate->common, NULL);
    add_name(question, definition.name, NULL);
    return 0;
}

static int run(const struct aggregate *aggregate, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    struct range range = {0};
    mote_snapshot *snapshot = NULL;
    struct mote_scan_options scan = MOTE_SCAN_OPTIONS_INIT;
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    int result = table_find(&aggregate->common, db, aggregate->table_name, &table, &info);
    if (result)
        return result;
    struct question *question = tool_alloc(sizeof *question);
    question->value_count = question->name_count = 0;
    options.by_series = aggregate->by_series;
    if (aggregate->bucket)
        result = duration_parse(&aggregate->common, "bucket", aggregate->bucket, &options.bucket_ns);
    if (!result && aggregate->origin)
        result = time_parse(&aggregate->common, table, &info, aggregate->origin, &options.origin_ns);
    if (!result)
        result = range_parse(&aggregate->common, table, &info, &aggregate->range, &range, &scan);
    if (!result)
        result = name_groups(aggregate, table, &info, &options, question);
    if (!result)
        result = ask(aggregate, table, &info, question);
    if (!result)
        result = tool_snapshot_open(&aggregate->common, db, aggregate->snapshot_name, &snapshot);
    if (!result) {
        options.snapshot = snapshot;
        options.key_prefix = scan.key_prefix;
        options.key_prefix_count = scan.key_prefix_count;
        options.key_from = scan.key_from;
        options.key_from_count = scan.key_from_count;
        options.key_to = scan.key_to;
        options.key_to_count = scan.key_to_count;
        options.use_time_range = scan.use_time_range;
        options.time_from_ns = scan.time_from_ns;
        options.time_to_ns = scan.time_to_ns;
        options.values = question->values;
        options.value_count = question->value_count;
        result = print_results(aggregate, table, &options, question);
    }
    mote_snapshot_release(snapshot);
    range_free(&range);
    free(question);
    return result;
}

int command_aggregate(int argc, char **argv)
{
    struct aggregate aggregate = {0};
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "of these columns; default: all numeric ones", &aggregate.columns, NULL},
        {"functions", OPTION_TEXT, "F,...",
         "count, min, max, sum, mean, first, last; default: count,min,max,mean", &aggregate.functions, NULL},
        {"bucket", OPTION_TEXT, "D", "a result for each so long a time: 500ms, 1m, 24h", &aggregate.bucket, NULL},
        {"origin", OPTION_TEXT, "T", "where a bucket begins; default 0", &aggregate.origin, NULL},
        {"by-series", OPTION_FLAG, NULL, "a result for each value of the key columns before the time column",
         &aggregate.by_series, NULL},
        RANGE_OPTIONS(&aggregate.range),
        {"snapshot", OPTION_TEXT, "NAME", "of the rows that this named snapshot sees", &aggregate.snapshot_name, NULL},
        PRINT_OPTIONS(&aggregate.style),
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &aggregate.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "aggregate",
        .operands = "PATH TABLE",
        .summary = "Prints functions of columns over all rows, or for each series and each bucket of time, as CSV or "
                   "JSON lines.",
        .details = "Each line: with --by-series the series, with --bucket the bucket's begin, the number of rows, then "
                   "COLUMN_FUNCTION.\nNULLs are left out; NaN are counted, but left out of min, max, sum and mean; a "
                   "bucket without rows is not printed.\nBlocks whose kept statistics tell all are not read. Times and "
                   "values are as in mote scan.",
        .operand_min = 2,
    };
    const char *operands[2];
    int result = tool_parse(&aggregate.common, &usage, options, argc, argv, operands, NULL);
    if (result != OPTIONS_RUN)
        return result;
    aggregate.path = operands[0];
    aggregate.table_name = operands[1];
    if (aggregate.common.json)
        aggregate.style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&aggregate.common, aggregate.path, &db);
    return result ? result : tool_close(&aggregate.common, db, run(&aggregate, db));
}
