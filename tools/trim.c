/* trim.c: `mote trim`: tells the device below a volume that all free space is unused, as fstrim does. */
#include <stdio.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

static void print_result(const struct tool_common *common, const struct mote_trim_result *result, bool dry_run)
{
    char trimmed[32], space[32], unit[32];
    if (common->json) {
        struct output out;
        struct json json;
        output_open(&out, STDOUT_FILENO);
        json_begin(&json, &out);
        json_open(&json, NULL, '{');
        json_bool(&json, "dry_run", dry_run);
        json_u64(&json, "free_bytes", result->free_bytes);
        json_u64(&json, "trimmed_bytes", result->trimmed_bytes);
        json_u64(&json, "range_count", result->range_count);
        json_u64(&json, "granularity_bytes", result->granularity_bytes);
        json_close(&json, '}');
        output_text(&out, "\n");
        output_close(&out);
        return;
    }
    tool_bytes_text(result->trimmed_bytes, trimmed);
    tool_bytes_text(result->free_bytes, space);
    tool_bytes_text(result->granularity_bytes, unit);
    printf("%s %s of %s free space, in %llu ranges of whole units of %s\n", dry_run ? "would trim" : "trimmed", trimmed, space, (unsigned long long)result->range_count, unit);
}

int command_trim(int argc, char **argv)
{
    struct tool_common shared;
    struct mote_trim_options options = MOTE_TRIM_OPTIONS_INIT;
    bool holes = false;
    const struct option own[] = {
        {"dry-run", OPTION_FLAG32, NULL, "only count what would be trimmed; opens read-only", &options.dry_run, NULL},
        {"rate", OPTION_COUNT32, "MIB", "at most so many MiB a second (1024)", &options.mib_per_s, NULL},
        {"punch-holes", OPTION_FLAG, NULL, "an image file too: its free blocks go back to the file system, and writing them again may fail when that is full", &holes, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "trim",
        .operands = "PATH",
        .summary = "Tells the device that all free space of the volume is unused.",
        .operand_min = 1,
    };
    const char *path;
    int result = tool_parse(&shared, &usage, own, argc, argv, &path, NULL);
    if (result != OPTIONS_RUN)
        return result;
    mote_db *db;
    if (holes)
        shared.open.trim = MOTE_TRIM_ON;
    result = options.dry_run ? tool_open_reader(&shared, path, &db) : tool_open_writer(&shared, path, &db);
    if (result)
        return result;
    struct mote_trim_result trimmed = {.size_bytes = sizeof trimmed};
    if (mote_trim(db, &options, &trimmed))
        result = tool_fail(&shared, NULL);
    else
        print_result(&shared, &trimmed, options.dry_run != 0);
    return tool_close(&shared, db, result);
}
