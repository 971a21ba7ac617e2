/* search.c: `mote search`: rows of a table by place, through a spatial index, as CSV or JSON lines on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/print.h"

static const char *const format_names[] = {"csv", "jsonl", NULL};
static const char *const time_names[] = {"ns", "rfc3339", NULL};

struct search {
    struct tool_common common;
    const char *path, *table_name;
    const char *index, *columns, *box, *centre, *radius, *from, *to;
    uint64_t nearest, limit;
    bool no_header, count_only;
    struct print_style style;
};

/* count numbers separated by commas. */
static int parse_numbers(const struct search *search, const char *option, const char *text, size_t count, double *numbers)
{
    const char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end;
        numbers[i] = strtod(at, &end);
        if (end == at || *end != (i + 1 < count ? ',' : 0))
            return tool_refuse(&search->common, TOOL_USAGE, 0, "--%s: expected %zu numbers separated by commas, not \"%s\"",
                               option, count, text);
        at = end + 1;
    }
    return 0;
}

static int set_place(const struct search *search, struct mote_search_options *options, struct mote_term *term)
{
    double box[6];
    int result = 0;
    bool about = search->centre && (search->radius || search->nearest);
    if (!!search->box == about || (!search->centre && (search->radius || search->nearest)))
        return tool_refuse(&search->common, TOOL_USAGE, 0,
                           "give --box, or --centre with --radius, with --nearest, or with both");
    if (search->box) {
        term->kind = MOTE_TERM_BOX;
        result = parse_numbers(search, "box", search->box, 6, box);
        for (size_t i = 0; i < 3 && !result; i++) {
            term->min[i] = box[i];
            term->max[i] = box[i + 3];
        }
        options->limit = search->limit;
        return result;
    }
    term->kind = search->nearest ? MOTE_TERM_NEAREST : MOTE_TERM_RADIUS;
    options->limit = search->nearest ? search->nearest : search->limit;
    result = parse_numbers(search, "centre", search->centre, 3, term->centre);
    if (!result && search->radius)
        result = parse_numbers(search, "radius", search->radius, 1, &term->radius);
    return result;
}

static int set_times(const struct search *search, mote_table *table, const struct mote_table_info *info,
                     struct mote_search_options *options)
{
    if (!search->from && !search->to)
        return 0;
    options->use_time_range = 1;
    options->time_from_ns = INT64_MIN;
    options->time_to_ns = INT64_MAX;
    int result = search->from ? time_parse(&search->common, table, info, search->from, &options->time_from_ns) : 0;
    return !result && search->to ? time_parse(&search->common, table, info, search->to, &options->time_to_ns) : result;
}

/* The distance is one more column behind the others. */
static void print_hits(const struct search *search, struct output *out, const struct mote_hit_chunk *chunk,
                       const char *const *names, size_t column_count)
{
    struct mote_column columns[MOTE_COLUMNS_MAX + 1];
    memcpy(columns, chunk->columns, chunk->column_count * sizeof *columns);
    columns[chunk->column_count] = (struct mote_column){.type = MOTE_TYPE_FLOAT64, .dimension = 1, .values = chunk->scores};
    for (size_t row = 0; row < chunk->row_count; row++)
        print_row(out, &search->style, columns, names, column_count, row);
}

static int print_rows(const struct search *search, mote_table *table, const struct mote_search_options *options,
                      const struct column_choice *choice)
{
    mote_hits *hits = NULL;
    if (mote_search(table, options, &hits))
        return tool_fail(&search->common, NULL);
    size_t count = choice->count + (options->terms[0].kind != MOTE_TERM_BOX);
    const char **names = tool_alloc((count + 1) * sizeof *names);
    struct output *out = tool_alloc(sizeof *out);
    struct mote_hit_chunk chunk;
    int code = MOTE_OK;
    memcpy(names, choice->names, choice->count * sizeof *names);
    names[choice->count] = "distance";
    output_open(out, STDOUT_FILENO);
    if (search->count_only)
        output_format(out, search->common.json ? "{\"rows\":%llu}\n" : "%llu\n", (unsigned long long)mote_hits_count(hits));
    else if (!search->no_header)
        print_header(out, &search->style, names, count);
    while (!search->count_only && (code = mote_hits_next(hits, &chunk)) == MOTE_OK && chunk.row_count > 0 && !out->failed_errno)
        print_hits(search, out, &chunk, names, count);
    int write_errno = output_close(out), result = 0;
    if (code)
        result = tool_fail(&search->common, NULL);
    else if (write_errno)
        result = tool_refuse(&search->common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno));
    mote_hits_close(hits);
    free(out);
    free(names);
    return result;
}

static int run(const struct search *search, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    struct column_choice choice = {0};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {0};
    int result = table_find(&search->common, db, search->table_name, &table, &info);
    if (result)
        return result;
    result = columns_choose(&search->common, table, &info, search->columns, &choice);
    if (!result)
        result = set_place(search, &options, &term);
    if (!result)
        result = set_times(search, table, &info, &options);
    if (!result) {
        term.index = search->index;
        options.terms = &term;
        options.term_count = 1;
        options.columns = choice.positions;
        options.column_count = choice.count;
        result = print_rows(search, table, &options, &choice);
    }
    columns_free(&choice);
    return result;
}

int command_search(int argc, char **argv)
{
    struct search search = {0};
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&search.common, "search", common);
    const struct option options[] = {
        {"index", OPTION_TEXT, "NAME", "through this index; the table's only one need not be named", &search.index, NULL},
        {"box", OPTION_TEXT, "X,Y,Z,X,Y,Z", "rows in the box from its least to its greatest corner", &search.box, NULL},
        {"centre", OPTION_TEXT, "X,Y,Z", "rows about this point, nearest first", &search.centre, NULL},
        {"radius", OPTION_TEXT, "R", "at most so far from the centre", &search.radius, NULL},
        {"nearest", OPTION_COUNT, "K", "the K nearest to the centre", &search.nearest, NULL},
        {"from", OPTION_TEXT, "T", "only rows whose time is at or after T", &search.from, NULL},
        {"to", OPTION_TEXT, "T", "only rows whose time is at or before T", &search.to, NULL},
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &search.columns, NULL},
        {"limit", OPTION_COUNT, "N", "at most N rows", &search.limit, NULL},
        {"count", OPTION_FLAG, NULL, "print only how many rows there are", &search.count_only, NULL},
        {"format", OPTION_CHOICE, "NAME", "of the output", &search.style.format, format_names},
        {"time-format", OPTION_CHOICE, "NAME", "of timestamps", &search.style.time, time_names},
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &search.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote search",
        .operands = "PATH TABLE",
        .summary = "Prints the rows of a table by place, as CSV or JSON lines; those about a centre with their distance.",
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
    search.path = operands[0];
    search.table_name = operands[1];
    if (search.common.json)
        search.style.format = PRINT_JSONL;
    mote_db *db;
    result = tool_open_reader(&search.common, search.path, &db);
    return result ? result : tool_close(&search.common, db, run(&search, db));
}
