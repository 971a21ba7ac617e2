/* keys.c: columns, keys and times from the command line (keys.h). */
#include "tools/keys.h"

#include <stdlib.h>
#include <string.h>

#include "tools/columns.h"
#include "tools/csv.h"
#include "tools/number.h"

int table_find(const struct tool_common *common, mote_db *db, const char *name, mote_table **table,
               struct mote_table_info *info)
{
    *info = (struct mote_table_info){.size_bytes = sizeof *info};
    if (mote_table_open(db, name, table) || mote_table_describe(*table, info))
        return tool_fail(common, NULL);
    return 0;
}

/* The row id that the library adds to a table without a key: column 0, numbered by itself, and the whole key. */
static bool is_hidden(const struct mote_table_info *info, uint32_t position,
                      const struct mote_column_definition *column)
{
    return position == 0 && info->key_column_count == 1 && info->key_columns[0] == 0 &&
           strcmp(column->name, "rowid") == 0 && (column->flags & MOTE_COLUMN_AUTO_INCREMENT);
}

static int choose_named(const struct tool_common *common, mote_table *table, const char *text,
                        struct column_choice *choice)
{
    for (const char *at = text; at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        char name[MOTE_NAME_BYTES_MAX + 1] = {0};
        if (choice->count == MOTE_COLUMNS_MAX || length == 0 || length > MOTE_NAME_BYTES_MAX)
            return tool_refuse(common, TOOL_USAGE, 0, "--columns: expected names separated by commas");
        memcpy(name, at, length);
        int position = mote_table_find_column(table, name);
        struct mote_column_definition definition;
        if (position < 0 || mote_table_column(table, (uint32_t)position, &definition))
            return tool_refuse(common, TOOL_REFUSED, 0, "--columns: the table has no column \"%s\"", name);
        choice->positions[choice->count] = (uint32_t)position;
        choice->names[choice->count++] = definition.name;
        at = comma ? comma + 1 : NULL;
    }
    return 0;
}

int columns_choose(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                   const char *text, struct column_choice *choice)
{
    *choice = (struct column_choice){0};
    choice->positions = tool_alloc((MOTE_COLUMNS_MAX + 1) * sizeof choice->positions[0]);
    choice->names = tool_alloc((MOTE_COLUMNS_MAX + 1) * sizeof choice->names[0]);
    if (text)
        return choose_named(common, table, text, choice);
    for (uint32_t i = 0; i < info->column_count && i <= MOTE_COLUMNS_MAX; i++) {
        struct mote_column_definition definition;
        if (mote_table_column(table, i, &definition))
            return tool_fail(common, NULL);
        if (is_hidden(info, i, &definition))
            continue;
        choice->positions[choice->count] = i;
        choice->names[choice->count++] = definition.name;
    }
    return 0;
}

void columns_free(struct column_choice *choice)
{
    free(choice->positions);
    free(choice->names);
    *choice = (struct column_choice){0};
}

static int add_key_value(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                         const char *text, size_t length, struct key_values *key)
{
    struct mote_column_definition definition;
    struct field_problem problem;
    if (key->count == info->key_column_count)
        return tool_refuse(common, TOOL_REFUSED, 0, "the key of table \"%s\" has %u columns, not more", info->name,
                           info->key_column_count);
    if (mote_table_column(table, info->key_columns[key->count], &definition))
        return tool_fail(common, NULL);
    size_t at = key->count++;
    if (!value_parse(definition.type, definition.dimension, text, length, &key->values[at], &key->bytes[at], &problem))
        return tool_refuse(common, TOOL_REFUSED, 0, "key column \"%s\": expected %s, found \"%.*s\"", definition.name,
                           problem.expected, length < 60 ? (int)length : 60, text);
    return 0;
}

int key_parse_list(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                   const char *text, struct key_values *key)
{
    *key = (struct key_values){0};
    if (info->key_column_count == 1 && text[0] != '"')
        return add_key_value(common, table, info, text, strlen(text), key);
    size_t length = strlen(text);
    struct csv *csv = tool_alloc(sizeof *csv);
    csv_open(csv, -1, ',');
    int result = TOOL_USAGE;
    if (length < csv->capacity) {
        memcpy(csv->buffer, text, length);
        csv->end = length;
        csv->at_end = true;
    }
    if (length > 0 && csv->at_end && csv_next(csv) == CSV_RECORD && csv->begin == csv->end) {
        result = 0;
        for (size_t i = 0; !result && i < csv->field_count; i++)
            result = add_key_value(common, table, info, csv->fields[i].data, csv->fields[i].length, key);
    } else {
        tool_refuse(common, TOOL_USAGE, 0, "a key: expected values separated by commas, found \"%.60s\"", text);
    }
    csv_close(csv);
    free(csv);
    return result;
}

int key_parse_words(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                    const char *const *words, size_t count, struct key_values *key)
{
    if (count == 1)
        return key_parse_list(common, table, info, words[0], key);
    *key = (struct key_values){0};
    int result = 0;
    for (size_t i = 0; !result && i < count; i++)
        result = add_key_value(common, table, info, words[i], strlen(words[i]), key);
    return result;
}

void key_free(struct key_values *key)
{
    for (size_t i = 0; i < key->count; i++)
        free(key->bytes[i]);
    key->count = 0;
}

static int refuse_time(const struct tool_common *common, const char *text)
{
    return tool_refuse(common, TOOL_USAGE, 0, "\"%s\": expected a time: RFC 3339, or a number with s, ms, us or ns",
                       text);
}

static bool read_duration(const char *text, int64_t *ns)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    size_t length = strlen(text);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t unit_length = strlen(units[i].name);
        double number;
        if (length <= unit_length || strcmp(text + length - unit_length, units[i].name) != 0 ||
            !number_parse_double(text, length - unit_length, &number))
            continue;
        if (number_seconds_to_ns(number * units[i].seconds, ns) && *ns > 0)
            return true;
    }
    return false;
}

int duration_parse(const struct tool_common *common, const char *name, const char *text, int64_t *ns)
{
    if (read_duration(text, ns))
        return 0;
    return tool_refuse(common, TOOL_USAGE, 0,
                       "--%s \"%s\": expected a length of time above 0: a number with ns, us, ms, s, m, h or d", name,
                       text);
}

int time_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
               const char *text, int64_t *ns)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    struct mote_column_definition definition;
    if (info->time_column < 0)
        return tool_refuse(common, TOOL_REFUSED, 0, "table \"%s\" has no time column", info->name);
    if (mote_table_column(table, (uint32_t)info->time_column, &definition))
        return tool_fail(common, NULL);
    size_t length = strlen(text);
    int64_t unit_ns = definition.type == MOTE_TYPE_FLOAT64 ? 1000000000 : 1;
    if (number_parse_rfc3339(text, length, ns))
        return 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t unit_length = strlen(units[i].name);
        if (length > unit_length && strcmp(text + length - unit_length, units[i].name) == 0) {
            unit_ns = units[i].ns;
            length -= unit_length;
            break;
        }
    }
    int64_t whole;
    if (number_parse_int64(text, length, &whole))
        return __builtin_mul_overflow(whole, unit_ns, ns) ? refuse_time(common, text) : 0;
    double number;
    if (!number_parse_double(text, length, &number))
        return refuse_time(common, text);
    double seconds = unit_ns == 1000000000 ? number : number * ((double)unit_ns / 1e9);
    return number_seconds_to_ns(seconds, ns) ? 0 : refuse_time(common, text);
}

int time_range_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info, const char *from, const char *to, uint32_t *use, int64_t *from_ns, int64_t *to_ns)
{
    if (!from && !to)
        return 0;
    *use = 1;
    *from_ns = INT64_MIN;
    *to_ns = INT64_MAX;
    int result = from ? time_parse(common, table, info, from, from_ns) : 0;
    return !result && to ? time_parse(common, table, info, to, to_ns) : result;
}
