/* get.c: `mote get`: rows by their keys, one or several, all as of one moment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/print.h"

enum { KEYS_MAX = 1024, OPERANDS_MAX = 2 + KEYS_MAX };

struct get {
    struct tool_common common;
    const char *columns;
    bool no_header, many;
    struct print_style style;
    const char *operands[OPERANDS_MAX];
    unsigned operand_count;
};

struct cell {
    struct mote_value value;
    uint32_t offsets[2];
    uint8_t validity;
};

/* What is asked for, and what was found. */
struct lookup {
    mote_table *table;
    struct mote_table_info info;
    struct column_choice choice;
    size_t count;
    struct key_values *keys;    /* count */
    const char *const *words;   /* count: each key as it was given */
    struct mote_value *values;  /* of all keys, one behind the other */
    mote_row **rows;            /* count */
    int32_t *results;           /* count */
};

/* Lays the row out as a chunk of one row, so that get prints exactly what scan would. */
static int print_found(const struct get *get, const struct lookup *lookup, const mote_row *row, struct output *out)
{
    const struct column_choice *choice = &lookup->choice;
    struct mote_column *columns = tool_alloc(choice->count * sizeof columns[0]);
    struct cell *cells = tool_alloc(choice->count * sizeof cells[0]);
    int code = 0;
    for (size_t i = 0; i < choice->count && !code; i++) {
        struct mote_column_definition definition;
        code = mote_table_column(lookup->table, choice->positions[i], &definition);
        if (!code)
            code = mote_row_value(row, choice->positions[i], &cells[i].value);
        if (!code) {
            cells[i].value.type = definition.type;
            print_column_of_value(&cells[i].value, definition.dimension, cells[i].offsets, &cells[i].validity,
                                  &columns[i]);
        }
    }
    if (!code)
        print_row(out, &get->style, columns, choice->names, choice->count, 0);
    free(cells);
    free(columns);
    return code ? tool_fail(&get->common, NULL) : 0;
}

/* The rows in the order of the keys. A single key without a row prints nothing but the refusal. */
static int print_all(const struct get *get, const struct lookup *lookup)
{
    size_t missing = 0;
    for (size_t i = 0; i < lookup->count; i++)
        missing += lookup->results[i] == MOTE_ENOTFOUND;
    if (lookup->count == 1 && missing == 1)
        return tool_refuse(&get->common, TOOL_REFUSED, 0, "table \"%s\" has no row with this key", lookup->info.name);
    struct output *out = tool_alloc(sizeof *out);
    int result = 0;
    output_open(out, STDOUT_FILENO);
    if (!get->no_header)
        print_header(out, &get->style, lookup->choice.names, lookup->choice.count);
    for (size_t i = 0; i < lookup->count && !result; i++) {
        if (lookup->results[i] == MOTE_OK) {
            result = print_found(get, lookup, lookup->rows[i], out);
            continue;
        }
        fprintf(stderr, "mote get: table \"%s\" has no row with the key %s\n", lookup->info.name, lookup->words[i]);
        if (get->style.format == PRINT_JSONL)
            output_text(out, "null\n");
    }
    int write_errno = output_close(out);
    free(out);
    if (write_errno && !result)
        result = tool_refuse(&get->common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno));
    return result ? result : missing ? TOOL_REFUSED : 0;
}

/* One key of all words, or each word a key. */
static int parse_keys(const struct get *get, struct lookup *lookup)
{
    const char *const *words = get->operands + 2;
    unsigned word_count = get->operand_count - 2, key_columns = lookup->info.key_column_count;
    bool each = get->many || key_columns == 1;
    lookup->count = each ? word_count : 1;
    lookup->words = words;
    lookup->keys = tool_alloc(lookup->count * sizeof lookup->keys[0]);
    lookup->rows = tool_alloc(lookup->count * sizeof lookup->rows[0]);
    lookup->results = tool_alloc(lookup->count * sizeof lookup->results[0]);
    lookup->values = tool_alloc(lookup->count * key_columns * sizeof lookup->values[0]);
    memset(lookup->keys, 0, lookup->count * sizeof lookup->keys[0]);
    memset(lookup->rows, 0, lookup->count * sizeof lookup->rows[0]);
    int result = 0;
    for (size_t i = 0; i < lookup->count && !result; i++) {
        struct key_values *key = &lookup->keys[i];
        result = each ? key_parse_list(&get->common, lookup->table, &lookup->info, words[i], key)
                      : key_parse_words(&get->common, lookup->table, &lookup->info, words, word_count, key);
        if (!result && key->count != key_columns)
            result = tool_refuse(&get->common, TOOL_USAGE, 0, "the key of table \"%s\" has %u columns, not %zu",
                                 lookup->info.name, key_columns, key->count);
        if (!result)
            memcpy(lookup->values + i * key_columns, key->values, key_columns * sizeof key->values[0]);
    }
    return result;
}

static void lookup_free(struct lookup *lookup)
{
    for (size_t i = 0; i < lookup->count; i++) {
        mote_row_free(lookup->rows[i]);
        key_free(&lookup->keys[i]);
    }
    free(lookup->keys);
    free(lookup->rows);
    free(lookup->results);
    free(lookup->values);
    columns_free(&lookup->choice);
}

static int run(const struct get *get, mote_db *db)
{
    struct lookup lookup = {0};
    int result = table_find(&get->common, db, get->operands[1], &lookup.table, &lookup.info);
    if (!result)
        result = columns_choose(&get->common, lookup.table, &lookup.info, get->columns, &lookup.choice);
    if (!result)
        result = parse_keys(get, &lookup);
    if (!result && mote_get_many(lookup.table, lookup.values, lookup.info.key_column_count, lookup.count, lookup.rows, lookup.results))
        result = tool_fail(&get->common, NULL);
    else if (!result)
        result = print_all(get, &lookup);
    lookup_free(&lookup);
    return result;
}

int command_get(int argc, char **argv)
{
    struct get get = {0};
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &get.columns, NULL},
        PRINT_OPTIONS(&get.style),
        {"many", OPTION_FLAG, NULL, "each KEY word is a whole key, its columns separated by commas", &get.many, NULL},
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &get.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "get",
        .operands = "PATH TABLE KEY...",
        .summary = "Prints the row with this key: one word for each key column, or one word with commas. Exit code 1 "
                   "if there is none.",
        .details = "Several keys are looked up together, as of one moment: where the key has one column, each KEY word is a "
                   "key; with --many, each is a whole key. Their rows come in the order of the keys; a key without a row "
                   "is named on stderr (JSON: a line with null), and the exit code is 1.",
        .operand_min = 3,
        .operand_max = OPERANDS_MAX,
    };
    int result = tool_parse(&get.common, &usage, options, argc, argv, get.operands, &get.operand_count);
    if (result != OPTIONS_RUN)
        return result;
    if (get.common.json)
        get.style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&get.common, get.operands[0], &db);
    return result ? result : tool_close(&get.common, db, run(&get, db));
}
