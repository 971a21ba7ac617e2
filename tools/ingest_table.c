/* ingest_table.c: the table behind an ingest: found by name and matched with the header, or made from header and first
 * lines (ingest.h). */
#include <stdlib.h>
#include <string.h>

#include "tools/infer.h"
#include "tools/ingest.h"

static int find_header_column(const struct ingest *ingest, const char *name, size_t length)
{
    for (size_t i = 0; i < ingest->column_count; i++) {
        if (strlen(ingest->columns[i].name) == length && memcmp(ingest->columns[i].name, name, length) == 0)
            return (int)i;
    }
    return -1;
}

/* --header: the names are given, the input's first line is data. */
static int take_given_header(struct ingest *ingest)
{
    struct csv *names = tool_alloc(sizeof *names);
    csv_open(names, -1, ',');
    size_t length = strlen(ingest->header);
    int result = TOOL_USAGE;
    if (length < names->capacity) {
        memcpy(names->buffer, ingest->header, length);
        names->end = length;
        names->at_end = true;
        if (csv_next(names) == CSV_RECORD) {
            result = infer_header(&ingest->common, names, ingest->columns);
            ingest->column_count = names->field_count;
        } else {
            tool_refuse(&ingest->common, TOOL_USAGE, 0, "--header: expected names separated by commas");
        }
    }
    csv_close(names);
    free(names);
    return result;
}

static int take_header(struct ingest *ingest)
{
    if (ingest->header)
        return take_given_header(ingest);
    switch (csv_next(&ingest->csv)) {
    case CSV_RECORD:
        ingest->column_count = ingest->csv.field_count;
        return infer_header(&ingest->common, &ingest->csv, ingest->columns);
    case CSV_FAILED:
        return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "cannot read %s: %s", ingest->file,
                           strerror(ingest->csv.system_errno));
    case CSV_BAD:
        return tool_refuse(&ingest->common, TOOL_REFUSED, 1, "line 1: expected %s", ingest->csv.problem);
    default:
        return tool_refuse(&ingest->common, TOOL_REFUSED, 1,
                           "line 1: expected a header with the columns' names, found nothing");
    }
}

/* --key: positions in the header. */
static int parse_key(const struct ingest *ingest, uint32_t key[MOTE_KEY_COLUMNS_MAX], uint32_t *count)
{
    *count = 0;
    for (const char *at = ingest->key; at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        int column = find_header_column(ingest, at, length);
        if (column < 0)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "--key: the header has no column \"%.*s\"",
                               (int)length, at);
        if (*count == MOTE_KEY_COLUMNS_MAX)
            return tool_refuse(&ingest->common, TOOL_USAGE, 0, "--key: at most %d columns", MOTE_KEY_COLUMNS_MAX);
        key[(*count)++] = (uint32_t)column;
        at = comma ? comma + 1 : NULL;
    }
    return 0;
}

static bool may_be_time(uint32_t type)
{
    return type == MOTE_TYPE_TIMESTAMP || type == MOTE_TYPE_INT64 || type == MOTE_TYPE_FLOAT64;
}

/* Position of the time column in the header, or -1. Without --time-column it is the first one that holds timestamps,
 * once types are known. */
static int choose_time_column(const struct ingest *ingest, int32_t *time_column)
{
    *time_column = -1;
    if (ingest->time_column) {
        int column = find_header_column(ingest, ingest->time_column, strlen(ingest->time_column));
        if (column < 0)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "--time-column: the header has no column \"%s\"",
                               ingest->time_column);
        *time_column = column;
    }
    return 0;
}

static int create_table(struct ingest *ingest)
{
    uint32_t key[MOTE_KEY_COLUMNS_MAX], key_count = 0;
    int32_t time_column;
    uint64_t rows = 0;
    int result = parse_key(ingest, key, &key_count);
    if (!result)
        result = choose_time_column(ingest, &time_column);
    if (!result)
        result = infer_types(&ingest->common, &ingest->csv, ingest->columns, ingest->column_count, time_column, &rows);
    if (result)
        return result;
    if (rows == 0 && !ingest->types)
        return tool_refuse(
            &ingest->common, TOOL_REFUSED, 0,
            "table \"%s\" does not exist, and the input has no line to infer its columns' types from; give --types",
            ingest->table_name);
    for (size_t i = 0; !ingest->time_column && time_column < 0 && i < ingest->column_count; i++) {
        if (ingest->columns[i].type == MOTE_TYPE_TIMESTAMP)
            time_column = (int32_t)i;
    }
    if (time_column >= 0 && !may_be_time(ingest->columns[time_column].type))
        return tool_refuse(&ingest->common, TOOL_REFUSED, 0,
                           "the time column \"%s\" holds %s; expected whole nanoseconds, decimal seconds or RFC 3339",
                           ingest->columns[time_column].name, type_text(ingest->columns[time_column].type));
    struct mote_column_definition *definitions = tool_alloc(ingest->column_count * sizeof definitions[0]);
    for (size_t i = 0; i < ingest->column_count; i++) {
        const struct column_builder *column = &ingest->columns[i];
        definitions[i] =
            (struct mote_column_definition){.name = column->name, .type = column->type, .dimension = column->dimension};
    }
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = ingest->table_name;
    schema.columns = definitions;
    schema.column_count = (uint32_t)ingest->column_count;
    schema.flags = (ingest->append_only ? MOTE_TABLE_APPEND_ONLY : 0u) | (ingest->layout == LAYOUT_ROWS ? MOTE_TABLE_ROW_PAGES : 0u);
    schema.key_columns = key_count ? key : NULL;
    schema.key_column_count = key_count;
    schema.time_column = time_column;
    int code = mote_table_create(ingest->db, &schema, &ingest->table);
    free(definitions);
    ingest->created = code == MOTE_OK;
    return code ? tool_fail(&ingest->common, NULL) : 0;
}

/* --key and --time-column may be repeated for a table that exists, if they say what it is. */
static int check_options(struct ingest *ingest, const struct mote_table_info *info)
{
    if (ingest->time_column) {
        int position = mote_table_find_column(ingest->table, ingest->time_column);
        if (position != info->time_column || position < 0)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 0,
                               "table \"%s\" exists, and \"%s\" is not its time column", ingest->table_name,
                               ingest->time_column);
    }
    if (!ingest->key)
        return 0;
    uint32_t key[MOTE_KEY_COLUMNS_MAX], count;
    int result = parse_key(ingest, key, &count);
    if (result)
        return result;
    bool same = count == info->key_column_count;
    for (uint32_t i = 0; same && i < count; i++)
        same = mote_table_find_column(ingest->table, ingest->columns[key[i]].name) == (int)info->key_columns[i];
    return same ? 0
                : tool_refuse(&ingest->common, TOOL_REFUSED, 0, "table \"%s\" exists, and its key is not \"%s\"",
                              ingest->table_name, ingest->key);
}

static bool is_key(const struct mote_table_info *info, uint32_t position)
{
    for (uint32_t i = 0; i < info->key_column_count; i++) {
        if (info->key_columns[i] == position)
            return true;
    }
    return false;
}

/* Takes types from the table and finds each header column's position. */
static int match_columns(struct ingest *ingest)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    if (mote_table_describe(ingest->table, &info))
        return tool_fail(&ingest->common, NULL);
    int result = ingest->created ? 0 : check_options(ingest, &info);
    for (size_t i = 0; !result && i < ingest->column_count; i++) {
        struct column_builder *column = &ingest->columns[i];
        int position = mote_table_find_column(ingest->table, column->name);
        if (position < 0)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 1,
                               "line 1, column %zu: table \"%s\" has no column \"%s\"", i + 1, ingest->table_name,
                               column->name);
        struct mote_column_definition definition;
        if (mote_table_column(ingest->table, (uint32_t)position, &definition))
            return tool_fail(&ingest->common, NULL);
        if (column->type && column->type != definition.type)
            return tool_refuse(&ingest->common, TOOL_REFUSED, 0, "--types: column \"%s\" of table \"%s\" is %s, not %s",
                               column->name, ingest->table_name, type_text(definition.type), type_text(column->type));
        bool numbered = (definition.flags & MOTE_COLUMN_AUTO_INCREMENT) != 0;
        column->type = definition.type;
        column->dimension = definition.dimension;
        column->required =
            !numbered && ((definition.flags & MOTE_COLUMN_NOT_NULL) || is_key(&info, (uint32_t)position));
        ingest->positions[i] = (uint32_t)position;
    }
    return result;
}

int ingest_prepare_table(struct ingest *ingest)
{
    ingest->columns = tool_alloc(MOTE_COLUMNS_MAX * sizeof ingest->columns[0]);
    ingest->positions = tool_alloc(MOTE_COLUMNS_MAX * sizeof ingest->positions[0]);
    int result = take_header(ingest);
    if (!result)
        result = infer_apply_types(&ingest->common, ingest->types, ingest->columns, ingest->column_count);
    if (result)
        return result;
    int code = mote_table_open(ingest->db, ingest->table_name, &ingest->table);
    if (code == MOTE_ENOTABLE)
        result = create_table(ingest);
    else if (code)
        result = tool_fail(&ingest->common, NULL);
    return result ? result : match_columns(ingest);
}
