/* index.c: `mote index create|list|drop|rebuild`: the declared indexes of a table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/output.h"

static const char *const kind_names[] = {"spatial", NULL};
static const uint32_t kinds[] = {MOTE_INDEX_SPATIAL};

struct index_command {
    struct tool_common common;
    const char *verb, *path, *table_name, *index_name;
    const char *columns;
    uint32_t kind; /* in kinds */
};

struct listing {
    const struct index_command *command;
    mote_table *table;
    struct output *out;
    struct json *json;
    uint64_t count;
};

static void print_json(struct listing *listing, const struct mote_index_info *info)
{
    struct json *json = listing->json;
    json_open(json, NULL, '{');
    json_text(json, "name", info->name);
    json_text(json, "kind", info->kind == MOTE_INDEX_SPATIAL ? "spatial" : "?");
    json_u64(json, "id", info->id);
    json_open(json, "columns", '[');
    for (uint32_t i = 0; i < info->column_count; i++) {
        struct mote_column_definition column;
        if (mote_table_column(listing->table, info->columns[i], &column) == MOTE_OK)
            json_text(json, NULL, column.name);
    }
    json_close(json, ']');
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
    output_format(listing->out, "%s spatial (", info->name);
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

static int create(const struct index_command *command, mote_db *db, mote_table *table, const struct mote_table_info *info)
{
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    struct column_choice choice = {0};
    if (!command->columns)
        return tool_refuse(&command->common, TOOL_USAGE, 0, "which columns? name them with --columns");
    int result = columns_choose(&command->common, table, info, command->columns, &choice);
    if (result)
        return result;
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
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&command.common, "index", common);
    const struct option options[] = {
        {"columns", OPTION_TEXT, "C,...", "create: of these columns", &command.columns, NULL},
        {"kind", OPTION_CHOICE, "NAME", "create: of this kind", &command.kind, kind_names},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command description = {
        .name = "mote index",
        .operands = "create|list|drop|rebuild PATH TABLE [INDEX]",
        .summary = "Declares, lists, removes or rebuilds the indexes of a table.",
        .details = "A spatial index is of one point3 column, or of three float64 columns.",
        .operand_min = 3,
        .operand_max = 4,
        .options = options,
        .common = common,
    };
    const char *operands[4] = {NULL};
    unsigned count;
    int result = options_parse(&description, argc, argv, operands, &count);
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
