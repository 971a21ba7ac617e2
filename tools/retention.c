/* retention.c: `mote retention`, `mote pin` and `mote unpin`: how long a table's rows are kept, and ranges of time that are
 * kept whatever comes. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"
#include "tools/output.h"
#include "tools/retention.h"

struct retention_command {
    struct tool_common common;
    const char *path, *table_name;
    const char *age, *window, *future;
    uint64_t bytes, pin_bytes;
    bool recycle, none;
};

struct pin_command {
    struct tool_common common;
    const char *path, *table_name, *pin_name;
    const char *from, *to;
};

/* An option that was not given leaves what is set. */
static int take_lengths(const struct retention_command *command, struct mote_retention *retention)
{
    const struct {
        const char *name, *text;
        int64_t *target;
    } lengths[] = {{"age", command->age, &retention->age_ns}, {"window", command->window, &retention->window_ns}, {"future", command->future, &retention->future_ns}};
    int result = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && !result; i++)
        if (lengths[i].text)
            result = duration_parse(&command->common, lengths[i].name, lengths[i].text, lengths[i].target);
    return result;
}

static int set(const struct retention_command *command, mote_table *table)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    if (!command->none && mote_table_get_retention(table, &retention, NULL))
        return tool_fail(&command->common, NULL);
    /* A window that followed from the age follows from the new one, and so does what pins may hold. */
    if (command->age && !command->window)
        retention.window_ns = 0;
    if (command->bytes && !command->pin_bytes)
        retention.pin_bytes_max = 0;
    int result = take_lengths(command, &retention);
    if (result)
        return result;
    retention.bytes_max = command->bytes ? command->bytes : retention.bytes_max;
    retention.pin_bytes_max = command->pin_bytes ? command->pin_bytes : retention.pin_bytes_max;
    retention.recycle = command->recycle || retention.recycle;
    return mote_table_set_retention(table, &retention) ? tool_fail(&command->common, NULL) : 0;
}

static int print_pin(const struct mote_pin_info *pin, void *context)
{
    char bytes[32];
    (void)context;
    tool_bytes_text(pin->bytes, bytes);
    printf("  pin %s: %lld to %lld ns, %s\n", pin->name, (long long)pin->from_ns, (long long)pin->to_ns, bytes);
    return 0;
}

static int json_pin(const struct mote_pin_info *pin, void *context)
{
    struct json *json = context;
    json_open(json, NULL, '{');
    json_text(json, "name", pin->name);
    json_i64(json, "from_ns", pin->from_ns);
    json_i64(json, "to_ns", pin->to_ns);
    json_u64(json, "bytes", pin->bytes);
    json_close(json, '}');
    return 0;
}

int retention_print(mote_table *table)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    struct mote_retention_info info = {.size_bytes = sizeof info};
    char bytes[32], most[32];
    int code = mote_table_get_retention(table, &retention, &info);
    if (code || (!retention.window_ns && info.horizon_ns == INT64_MIN))
        return code;
    printf("  retention:");
    if (retention.age_ns)
        printf(" age %.9g s,", (double)retention.age_ns / 1e9);
    tool_bytes_text(retention.bytes_max, most);
    if (retention.bytes_max)
        printf(" at most %s,", most);
    if (retention.recycle)
        printf(" recycled,");
    tool_bytes_text(info.segment_bytes, bytes);
    printf(" windows of %.9g s, %s on the device", (double)info.window_ns / 1e9, bytes);
    if (info.horizon_ns != INT64_MIN)
        printf(", expired before %lld ns", (long long)info.horizon_ns);
    if (info.rows_future)
        printf(", %llu rows from the future", (unsigned long long)info.rows_future);
    printf("\n");
    return mote_pin_list(table, print_pin, NULL);
}

int retention_json(mote_table *table, struct json *json)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    struct mote_retention_info info = {.size_bytes = sizeof info};
    int code = mote_table_get_retention(table, &retention, &info);
    if (code || (!retention.window_ns && info.horizon_ns == INT64_MIN))
        return code;
    json_open(json, "retention", '{');
    json_i64(json, "age_ns", retention.age_ns);
    json_u64(json, "bytes_max", retention.bytes_max);
    json_bool(json, "recycle", retention.recycle != 0);
    json_i64(json, "window_ns", info.window_ns);
    json_i64(json, "future_ns", retention.future_ns);
    json_u64(json, "pin_bytes_max", retention.pin_bytes_max);
    if (info.horizon_ns != INT64_MIN)
        json_i64(json, "horizon_ns", info.horizon_ns);
    json_u64(json, "bytes", info.segment_bytes);
    json_u64(json, "pinned_bytes", info.pinned_bytes);
    json_u64(json, "rows_future", info.rows_future);
    json_open(json, "pins", '[');
    code = mote_pin_list(table, json_pin, json);
    json_close(json, ']');
    json_close(json, '}');
    return code;
}

static int show(const struct tool_common *common, mote_table *table, const char *name)
{
    struct output out;
    struct json json;
    if (!common->json) {
        printf("table %s\n", name);
        return retention_print(table) ? tool_fail(common, NULL) : 0;
    }
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    int code = retention_json(table, &json);
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
    return code ? tool_fail(common, NULL) : 0;
}

int command_retention(int argc, char **argv)
{
    struct retention_command command = {0};
    const struct option options[] = {
        {"age", OPTION_TEXT, "D", "rows older than this expire: 12h, 7d", &command.age, NULL},
        {"bytes", OPTION_BYTES, "N", "the oldest windows go above so many bytes", &command.bytes, NULL},
        {"window", OPTION_TEXT, "D", "length of a window at least", &command.window, NULL},
        {"future", OPTION_TEXT, "D", "rows further ahead of the clock do not count as the newest; 1h", &command.future, NULL},
        {"pin-bytes", OPTION_BYTES, "N", "what pins may hold", &command.pin_bytes, NULL},
        {"recycle", OPTION_FLAG, NULL, "a flight recorder: the oldest windows go where the device is full", &command.recycle, NULL},
        {"none", OPTION_FLAG, NULL, "rows are kept from now on", &command.none, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "retention",
        .operands = "PATH TABLE",
        .summary = "Sets how long a table keeps its rows, or without options tells it.",
        .details = "What an option does not name stays as it was; --none forgets all of it first.",
        .operand_min = 2,
    };
    const char *operands[2];
    int result = tool_parse(&command.common, &usage, options, argc, argv, operands, NULL);
    if (result != OPTIONS_RUN)
        return result;
    command.path = operands[0];
    command.table_name = operands[1];
    bool sets = command.age || command.bytes || command.window || command.future || command.pin_bytes || command.recycle || command.none;
    mote_db *db;
    mote_table *table;
    struct mote_table_info info;
    result = sets ? tool_open_writer(&command.common, command.path, &db) : tool_open_reader(&command.common, command.path, &db);
    if (result)
        return result;
    result = table_find(&command.common, db, command.table_name, &table, &info);
    if (!result && sets)
        result = set(&command, table);
    else if (!result)
        result = show(&command.common, table, command.table_name);
    return tool_close(&command.common, db, result);
}

static int pin(const struct pin_command *command, mote_table *table, const struct mote_table_info *info)
{
    int64_t from_ns, to_ns;
    uint32_t given = 0;
    int result = time_range_parse(&command->common, table, info, command->from, command->to, &given, &from_ns, &to_ns);
    if (result)
        return result;
    assert(given);
    return mote_pin(table, command->pin_name, from_ns, to_ns) ? tool_fail(&command->common, NULL) : 0;
}

static int run_pin(int argc, char **argv, bool pins)
{
    struct pin_command command = {0};
    const struct option options[] = {
        {"from", OPTION_TEXT, "T", "the first time that is kept", &command.from, NULL},
        {"to", OPTION_TEXT, "T", "the last time that is kept", &command.to, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = pins ? "pin" : "unpin",
        .operands = "PATH TABLE NAME",
        .summary = pins ? "Keeps the rows of a range of time until the pin is given up." : "Gives a pin up: its rows go as all others do.",
        .operand_min = 3,
    };
    const char *operands[3];
    int result = tool_parse(&command.common, &usage, pins ? options : options + 2, argc, argv, operands, NULL);
    if (result != OPTIONS_RUN)
        return result;
    command.path = operands[0];
    command.table_name = operands[1];
    command.pin_name = operands[2];
    if (pins && !command.from && !command.to)
        return tool_refuse(&command.common, TOOL_USAGE, 0, "which times? name them with --from, --to or both");
    mote_db *db;
    mote_table *table;
    struct mote_table_info info;
    result = tool_open_writer(&command.common, command.path, &db);
    if (result)
        return result;
    result = table_find(&command.common, db, command.table_name, &table, &info);
    if (!result && pins)
        result = pin(&command, table, &info);
    else if (!result)
        result = mote_unpin(table, command.pin_name) ? tool_fail(&command.common, NULL) : 0;
    return tool_close(&command.common, db, result);
}

int command_pin(int argc, char **argv) { return run_pin(argc, argv, true); }
int command_unpin(int argc, char **argv) { return run_pin(argc, argv, false); }
