/* get.c: `mote get`: one row by its key. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/print.h"

static const char *const format_names[] = {"csv", "jsonl", NULL};
static const char *const time_names[] = {"ns", "rfc3339", NULL};

enum { OPERANDS_MAX = 2 + MOTE_KEY_COLUMNS_MAX };

struct get {
    struct tool_common common;
    const char *columns;
    bool no_header;
    struct print_style style;
    const char *operands[OPERANDS_MAX];
    unsigned operand_count;
};

struct cell {
    struct mote_value value;
    uint32_t offsets[2];
    uint8_t validity;
};

/* Lays the row out as a chunk of one row, so that get prints exactly what scan would. */
static int print_found(const struct get *get, mote_table *table, const mote_row *row,
                       const struct column_choice *choice)
{
    struct mote_column *columns = tool_alloc(choice->count * sizeof columns[0]);
    struct cell *cells = tool_alloc(choice->count * sizeof cells[0]);
    int code = 0;
    for (size_t i = 0; i < choice->count && !code; i++) {
        struct mote_column_definition definition;
        code = mote_table_column(table, choice->positions[i], &definition);
        if (!code)
            code = mote_row_value(row, choice->positions[i], &cells[i].value);
        if (!code) {
            cells[i].value.type = definition.type;
            print_column_of_value(&cells[i].value, definition.dimension, cells[i].offsets, &cells[i].validity,
                                  &columns[i]);
        }
    }
    int result = code ? tool_fail(&get->common, NULL) : 0;
    if (!result) {
        struct output *out = tool_alloc(sizeof *out);
        output_open(out, STDOUT_FILENO);
        if (!get->no_header)
            print_header(out, &get->style, choice->names, choice->count);
        print_row(out, &get->style, columns, choice->names, choice->count, 0);
        int write_errno = output_close(out);
        if (write_errno)
            result = tool_refuse(&get->common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno));
        free(out);
    }
    free(cells);
    free(columns);
    return result;
}

static int run(const struct get *get, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    struct column_choice choice = {0};
    struct key_values key = {0};
    mote_row *row = NULL;
    int result = table_find(&get->common, db, get->operands[1], &table, &info);
    if (result)
        return result;
    result = columns_choose(&get->common, table, &info, get->columns, &choice);
    if (!result)
        result = key_parse_words(&get->common, table, &info, get->operands + 2, get->operand_count - 2, &key);
    if (!result && key.count != info.key_column_count)
        result = tool_refuse(&get->common, TOOL_USAGE, 0, "the key of table \"%s\" has %u columns, not %zu", info.name,
                             info.key_column_count, key.count);
    if (!result) {
        int code = mote_get(table, key.values, key.count, &row);
        if (code == MOTE_ENOTFOUND)
            result = tool_refuse(&get->common, TOOL_REFUSED, 0, "table \"%s\" has no row with this key", info.name);
        else
            result = code ? tool_fail(&get->common, NULL) : print_found(get, table, row, &choice);
    }
    mote_row_free(row);
    key_free(&key);
    columns_free(&choice);
    return result;
}

int command_get(int argc, char **argv)
{
    struct get get = {0};
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&get.common, "get", common);
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &get.columns, NULL},
        {"format", OPTION_CHOICE, "NAME", "of the output", &get.style.format, format_names},
        {"time-format", OPTION_CHOICE, "NAME", "of timestamps", &get.style.time, time_names},
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &get.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote get",
        .operands = "PATH TABLE KEY...",
        .summary = "Prints the row with this key: one word for each key column, or one word with commas. Exit code 1 "
                   "if there is none.",
        .operand_min = 3,
        .operand_max = OPERANDS_MAX,
        .options = options,
        .common = common,
    };
    int result = options_parse(&command, argc, argv, get.operands, &get.operand_count);
    if (result != OPTIONS_RUN)
        return result;
    if (get.common.json)
        get.style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&get.common, get.operands[0], &db);
    return result ? result : tool_close(&get.common, db, run(&get, db));
}
