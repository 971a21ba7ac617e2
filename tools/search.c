/* search.c: `mote search`: rows of a table by what they hold (search_terms.h), as CSV or JSON lines on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/print.h"
#include "tools/search_terms.h"

struct search {
    struct tool_common common;
    const char *path, *table_name;
    const char *columns, *from, *to;
    struct search_words words;
    bool no_header, count_only, explain;
    struct print_style style;
};

/* The score is one more column behind the others. */
static void print_hits(const struct search *search, struct output *out, const struct mote_hit_chunk *chunk,
                       const char *const *names, size_t column_count)
{
    struct mote_column columns[MOTE_COLUMNS_MAX + 1];
    memcpy(columns, chunk->columns, chunk->column_count * sizeof *columns);
    columns[chunk->column_count] = (struct mote_column){.type = MOTE_TYPE_FLOAT64, .dimension = 1, .values = chunk->scores};
    for (size_t row = 0; row < chunk->row_count; row++)
        print_row(out, &search->style, columns, names, column_count, row);
}

/* On stderr; with --json as the last object of the output. */
static void print_explanation(const struct search *search, struct output *out, const char *text)
{
    if (!search->common.json) {
        fputs(text, stderr);
        return;
    }
    output_text(out, "{\"explain\":[");
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\n");
        if (at > text)
            output_text(out, ",");
        output_json_string(out, at, length);
        at += length + (at[length] == '\n');
    }
    output_text(out, "]}\n");
}

static int print_rows(const struct search *search, mote_table *table, const struct search_terms *terms,
                      const struct column_choice *choice)
{
    mote_hits *hits = NULL;
    if (mote_search(table, &terms->options, &hits))
        return tool_fail(&search->common, NULL);
    size_t count = choice->count + (terms->score_name != NULL);
    const char **names = tool_alloc((count + 1) * sizeof *names);
    struct output *out = tool_alloc(sizeof *out);
    struct mote_hit_chunk chunk;
    int code = MOTE_OK;
    memcpy(names, choice->names, choice->count * sizeof *names);
    names[choice->count] = terms->score_name;
    output_open(out, STDOUT_FILENO);
    if (search->count_only)
        output_format(out, search->common.json ? "{\"rows\":%llu}\n" : "%llu\n", (unsigned long long)mote_hits_count(hits));
    else if (!search->no_header)
        print_header(out, &search->style, names, count);
    while (!search->count_only && (code = mote_hits_next(hits, &chunk)) == MOTE_OK && chunk.row_count > 0 && !out->failed_errno)
        print_hits(search, out, &chunk, names, count);
    const char *explanation = search->explain && !code ? mote_hits_explain(hits) : NULL;
    if (explanation)
        print_explanation(search, out, explanation);
    int result = print_close(&search->common, out, code);
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
    struct search_terms terms = {0};
    int result = table_find(&search->common, db, search->table_name, &table, &info);
    if (result)
        return result;
    result = columns_choose(&search->common, table, &info, search->columns, &choice);
    if (!result)
        result = search_terms_parse(&search->common, table, &info, &search->words, &terms);
    if (!result)
        result = time_range_parse(&search->common, table, &info, search->from, search->to, &terms.options.use_time_range, &terms.options.time_from_ns, &terms.options.time_to_ns);
    if (!result && terms.count == 0 && !terms.options.use_time_range)
        result = tool_refuse(&search->common, TOOL_USAGE, 0, "what is searched for? see mote search --help");
    if (!result) {
        terms.options.columns = choice.positions;
        terms.options.column_count = choice.count;
        result = print_rows(search, table, &terms, &choice);
    }
    search_terms_free(&terms);
    columns_free(&choice);
    return result;
}

int command_search(int argc, char **argv)
{
    struct search search = {0};
    const struct option options[] = {
        {"where", OPTION_LIST, "CONDITION", "COLUMN = V, COLUMN < V (<= > >=), COLUMN in (V, ...), COLUMN prefix V, COLUMN is null, COLUMN is not null; again for more", &search.words.where, NULL},
        {"box", OPTION_TEXT, "X,Y,Z,X,Y,Z", "rows in the box from its least to its greatest corner", &search.words.box, NULL},
        {"centre", OPTION_TEXT, "X,Y,Z", "rows about this point, nearest first", &search.words.centre, NULL},
        {"radius", OPTION_TEXT, "R", "at most so far from the centre", &search.words.radius, NULL},
        {"nearest", OPTION_COUNT, "K", "the K nearest to the centre", &search.words.nearest, NULL},
        {"place", OPTION_TEXT, "C,...", "the column or columns of the place, where no index tells", &search.words.place, NULL},
        {"near-vector", OPTION_TEXT, "[...]|@FILE", "the rows nearest to this vector", &search.words.near_vector, NULL},
        {"k", OPTION_COUNT, "K", "so many of them (10)", &search.words.k, NULL},
        {"list", OPTION_COUNT, "N", "candidates that the search of the graph settles", &search.words.list, NULL},
        {"exact", OPTION_FLAG, NULL, "look at every vector", &search.words.exact, NULL},
        {"words", OPTION_TEXT, "QUERY", "rows whose text matches the query, best first", &search.words.words, NULL},
        {"any-word", OPTION_FLAG, NULL, "words side by side are alternatives", &search.words.any_word, NULL},
        {"order-by", OPTION_TEXT, "COLUMN", "rows that have a value there, by that value", &search.words.order_by, NULL},
        {"descending", OPTION_FLAG, NULL, "the greatest first", &search.words.descending, NULL},
        {"index", OPTION_LIST, "NAME", "through this index; the only one of a kind, or on a column, need not be named; again for more", &search.words.index, NULL},
        {"from", OPTION_TEXT, "T", "only rows whose time is at or after T", &search.from, NULL},
        {"to", OPTION_TEXT, "T", "only rows whose time is at or before T", &search.to, NULL},
        {"columns", OPTION_TEXT, "C,...", "only these columns, in this order", &search.columns, NULL},
        {"limit", OPTION_COUNT, "N", "at most N rows", &search.words.limit, NULL},
        {"count", OPTION_FLAG, NULL, "print only how many rows there are", &search.count_only, NULL},
        {"explain", OPTION_FLAG, NULL, "tell on stderr how the rows were found (JSON: as the last object)", &search.explain, NULL},
        PRINT_OPTIONS(&search.style),
        {"no-header", OPTION_FLAG, NULL, "CSV without the line of names", &search.no_header, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "search",
        .operands = "PATH TABLE",
        .summary = "Prints the rows of a table that satisfy all conditions, as CSV or JSON lines; ranked ones with their distance or score.",
        .operand_min = 2,
    };
    const char *operands[2];
    int result = tool_parse(&search.common, &usage, options, argc, argv, operands, NULL);
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
