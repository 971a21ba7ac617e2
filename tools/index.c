/* index.c: `mote index create|list|drop|rebuild`: the declared indexes of a table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/output.h"

static const char *const kind_names[] = {"spatial", "column", "vector", "text", NULL};
static const uint32_t kinds[] = {MOTE_INDEX_SPATIAL, MOTE_INDEX_COLUMN, MOTE_INDEX_VECTOR, MOTE_INDEX_TEXT};
/* By enum mote_metric, less one. */
static const char *const metric_names[] = {"l2", "inner-product", "cosine", NULL};

/* By enum mote_index_strategy. */
static const char *const strategy_names[] = {"batch", "realtime", "hybrid", NULL};

struct index_command {
    struct tool_common common;
    const char *verb, *path, *table_name, *index_name;
    const char *columns;
    uint32_t kind; /* in kinds */
    uint32_t strategy;
    const char *metric, *language;
    uint32_t unique, degree, build_list, keep_diacritics;
};

struct listing {
    const struct index_command *command;
    mote_table *table;
    struct output *out;
    struct json *json;
    uint64_t count;
};

static const char *kind_text(uint32_t kind)
{
    for (size_t i = 0; kind_names[i]; i++)
        if (kinds[i] == kind)
            return kind_names[i];
    return "?";
}

static const char *metric_text(uint32_t metric)
{
    return metric >= MOTE_METRIC_L2 && metric <= MOTE_METRIC_COSINE ? metric_names[metric - 1] : "?";
}

static const char *strategy_text(uint32_t strategy) { return strategy <= MOTE_INDEX_HYBRID ? strategy_names[strategy] : "?"; }

static void print_json_options(struct json *json, const struct mote_index_info *info)
{
    json_text(json, "strategy", strategy_text(info->strategy));
    if (info->kind == MOTE_INDEX_COLUMN)
        json_bool(json, "unique", info->unique != 0);
    if (info->kind == MOTE_INDEX_VECTOR) {
        json_text(json, "metric", metric_text(info->metric));
        json_u64(json, "degree", info->degree);
        json_u64(json, "build_list", info->build_list);
    }
    if (info->kind == MOTE_INDEX_TEXT) {
        json_text(json, "language", info->language);
        json_bool(json, "keep_diacritics", info->keep_diacritics != 0);
    }
}

static void print_options(struct output *out, const struct mote_index_info *info)
{
    if (info->strategy != MOTE_INDEX_BATCH)
        output_format(out, ", %s", strategy_text(info->strategy));
    if (info->unique)
        output_text(out, ", unique");
    if (info->kind == MOTE_INDEX_VECTOR)
        output_format(out, ", %s, degree %u, build list %u", metric_text(info->metric), info->degree, info->build_list);
    if (info->language[0])
        output_format(out, ", language %s", info->language);
    if (info->keep_diacritics)
        output_text(out, ", diacritics kept");
}

static void print_json(struct listing *listing, const struct mote_index_info *info)
{
    struct json *json = listing->json;
    json_open(json, NULL, '{');
    json_text(json, "name", info->name);
    json_text(json, "kind", kind_text(info->kind));
    json_u64(json, "id", info->id);
    json_open(json, "columns", '[');
    for (uint32_t i = 0; i < info->column_count; i++) {
        struct mote_column_definition column;
        if (mote_table_column(listing->table, info->columns[i], &column) == MOTE_OK)
            json_text(json, NULL, column.name);
    }
    json_close(json, ']');
    print_json_options(json, info);
    json_u64(json, "segments", info->segments);
    json_u64(json, "segments_indexed", info->segments_indexed);
    json_u64(json, "segments_damaged", info->segments_damaged);
    json_u64(json, "rows", info->rows);
    json_u64(json, "rows_indexed", info->rows_indexed);
    json_u64(json, "bytes", info->bytes);
    json_close(json, '}');
}

static int print_index(const struct mote_index_info *info, void *context)
{
    struct listing *listing = context;
    char bytes[32];
    listing->count++;
    if (listing->json) {
        print_json(listing, info);
        return 0;
    }
    tool_bytes_text(info->bytes, bytes);
    output_format(listing->out, "%s %s (", info->name, kind_text(info->kind));
    for (uint32_t i = 0; i < info->column_count; i++) {
        struct mote_column_definition column;
        if (mote_table_column(listing->table, info->columns[i], &column) == MOTE_OK)
            output_format(listing->out, "%s%s", i ? ", " : "", column.name);
    }
    output_format(listing->out, ") %llu of %llu segments, %llu of %llu rows, %s", (unsigned long long)info->segments_indexed,
                  (unsigned long long)info->segments, (unsigned long long)info->rows_indexed, (unsigned long long)info->rows,
                  bytes);
    if (info->segments_damaged)
        output_format(listing->out, ", %llu damaged", (unsigned long long)info->segments_damaged);
    print_options(listing->out, info);
    output_text(listing->out, "\n");
    return 0;
}

static int list(const struct index_command *command, mote_table *table)
{
    struct output *out = tool_alloc(sizeof *out);
    struct json json;
    struct listing listing = {command, table, out, command->common.json ? &json : NULL, 0};
    output_open(out, STDOUT_FILENO);
    if (listing.json) {
        json_begin(&json, out);
        json_open(&json, NULL, '[');
    }
    int code = mote_index_list(table, print_index, &listing);
    if (listing.json) {
        json_close(&json, ']');
        output_text(out, "\n");
    }
    output_close(out);
    free(out);
    return code ? tool_fail(&command->common, NULL) : 0;
}

/* An option that the kind does not have is a mistake, which the library would pass over. */
static int check_options(const struct index_command *command)
{
    const struct {
        const char *name;
        bool given;
        uint32_t kind;
    } given[] = {
        {"unique", command->unique != 0, MOTE_INDEX_COLUMN},
        {"metric", command->metric != NULL, MOTE_INDEX_VECTOR},
        {"degree", command->degree != 0, MOTE_INDEX_VECTOR},
        {"build-list", command->build_list != 0, MOTE_INDEX_VECTOR},
        {"language", command->language != NULL, MOTE_INDEX_TEXT},
        {"keep-diacritics", command->keep_diacritics != 0, MOTE_INDEX_TEXT},
    };
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        if (given[i].given && given[i].kind != kinds[command->kind])
            return tool_refuse(&command->common, TOOL_USAGE, 0, "--%s is an option of a %s index, not of a %s index", given[i].name,
                               kind_text(given[i].kind), kind_names[command->kind]);
    return 0;
}

static int set_metric(const struct index_command *command, uint32_t *metric)
{
    *metric = 0;
    if (!command->metric)
        return 0;
    for (uint32_t i = 0; metric_names[i]; i++)
        if (strcmp(metric_names[i], command->metric) == 0)
            *metric = i + 1;
    return *metric ? 0 : tool_refuse(&command->common, TOOL_USAGE, 0, "--metric is l2, inner-product or cosine, not \"%s\"", command->metric);
}

static int create(const struct index_command *command, mote_db *db, mote_table *table, const struct mote_table_info *info)
{
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    struct column_choice choice = {0};
    if (!command->columns)
        return tool_refuse(&command->common, TOOL_USAGE, 0, "which columns? name them with --columns");
    int result = check_options(command);
    if (!result)
        result = set_metric(command, &options.metric);
    if (!result)
        result = columns_choose(&command->common, table, info, command->columns, &choice);
    if (result)
        return result;
    options.strategy = command->strategy;
    options.unique = command->unique;
    options.degree = command->degree;
    options.build_list = command->build_list;
    options.language = command->language;
    options.keep_diacritics = command->keep_diacritics;
    options.name = command->index_name;
    options.kind = kinds[command->kind];
    options.columns = choice.positions;
    options.column_count = choice.count;
    /* The command waits for all of it: an index that is half built when the command ends would surprise. */
    if (mote_index_create(table, &options) || mote_flush_all_indexes(db))
        result = tool_fail(&command->common, NULL);
    columns_free(&choice);
    return result;
}

static int run(const struct index_command *command, mote_db *db)
{
    mote_table *table;
    struct mote_table_info info;
    int result = table_find(&command->common, db, command->table_name, &table, &info);
    if (result)
        return result;
    if (strcmp(command->verb, "list") == 0)
        return list(command, table);
    if (strcmp(command->verb, "create") == 0)
        return create(command, db, table, &info);
    int code = strcmp(command->verb, "drop") == 0 ? mote_index_drop(table, command->index_name)
                                                  : mote_index_rebuild(table, command->index_name);
    return code ? tool_fail(&command->common, NULL) : 0;
}

int command_index(int argc, char **argv)
{
    struct index_command command = {0};
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "create: of these columns", &command.columns, NULL},
        {"kind", OPTION_CHOICE, "NAME", "create: of this kind; spatial where it is not given", &command.kind, kind_names},
        {"strategy", OPTION_CHOICE, "NAME", "create: when rows enter it: batch (with a flush; default), realtime or hybrid", &command.strategy, strategy_names},
        {"unique", OPTION_FLAG32, NULL, "column: no two rows have the same value", &command.unique, NULL},
        {"metric", OPTION_TEXT, "NAME", "vector: l2 (default), inner-product or cosine", &command.metric, NULL},
        {"degree", OPTION_COUNT32, "N", "vector: neighbours of a node, 4 to 128", &command.degree, NULL},
        {"build-list", OPTION_COUNT32, "N", "vector: candidates while building, 8 to 1024", &command.build_list, NULL},
        {"language", OPTION_TEXT, "NAME", "text: words are reduced to their stems, as english", &command.language, NULL},
        {"keep-diacritics", OPTION_FLAG32, NULL, "text: letters with accents differ", &command.keep_diacritics, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "index",
        .operands = "create|list|drop|rebuild PATH TABLE [INDEX]",
        .summary = "Declares, lists, removes or rebuilds the indexes of a table.",
        .details = "A spatial index is of one point3 column or three float64 columns, a vector index of one vector_f32 column, a text\n"
                   "index of one text column, a column index of one column of numbers, times, bools, text or blobs.",
        .operand_min = 3,
        .operand_max = 4,
    };
    const char *operands[4] = {NULL};
    unsigned count;
    int result = tool_parse(&command.common, &usage, options, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    command.verb = operands[0];
    command.path = operands[1];
    command.table_name = operands[2];
    command.index_name = count > 3 ? operands[3] : NULL;
    bool listing = strcmp(command.verb, "list") == 0;
    if (!listing && strcmp(command.verb, "create") && strcmp(command.verb, "drop") && strcmp(command.verb, "rebuild"))
        return tool_refuse(&command.common, TOOL_USAGE, 0, "expected create, list, drop or rebuild, not \"%s\"",
                           command.verb);
    if (listing != !command.index_name)
        return tool_refuse(&command.common, TOOL_USAGE, 0,
                           listing ? "list takes no index name" : "%s takes the name of an index", command.verb);
    mote_db *db;
    result = listing ? tool_open_reader(&command.common, command.path, &db)
                     : tool_open_writer(&command.common, command.path, &db);
    return result ? result : tool_close(&command.common, db, run(&command, db));
}
