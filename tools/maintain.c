/* maintain.c: `mote flush` and `mote checkpoint`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

static void print_result(const struct tool_common *common, const struct mote_stats *before,
                         const struct mote_stats *after, double open_seconds, double seconds)
{
    if (!common->json) {
        if (common->quiet)
            return;
        printf("opened in %.3f s", open_seconds);
        if (!before->clean_open)
            printf(", recovered %llu rows from %llu bytes of log in %.3f s", (unsigned long long)before->recovered_rows,
                   (unsigned long long)before->recovered_log_bytes, (double)before->recovery_ns / 1e9);
        printf("\n%s: %llu row changes in %.3f s\n", common->command, (unsigned long long)before->pending_updates,
               seconds);
        return;
    }
    struct output out;
    struct json json;
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_bool(&json, "clean_open", before->clean_open != 0);
    json_real(&json, "open_seconds", open_seconds);
    json_u64(&json, "recovery_ns", before->recovery_ns);
    json_u64(&json, "recovered_rows", before->recovered_rows);
    json_u64(&json, "recovered_log_bytes", before->recovered_log_bytes);
    json_u64(&json, "pending_updates_before", before->pending_updates);
    json_u64(&json, "pending_updates", after->pending_updates);
    json_u64(&json, "flushed_seq", after->flushed_seq);
    json_u64(&json, "durable_seq", after->durable_seq);
    json_u64(&json, "log_bytes_in_use", after->log_bytes_in_use);
    json_real(&json, "seconds", seconds);
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

static int run(const struct tool_common *common, const char *path, int (*maintain)(mote_db *db))
{
    mote_db *db;
    double started = tool_seconds();
    int result = tool_open_writer(common, path, &db);
    if (result)
        return result;
    double opened = tool_seconds();
    struct mote_stats before = {.size_bytes = sizeof before}, after = {.size_bytes = sizeof after};
    int code = mote_get_stats(db, &before);
    if (!code)
        code = maintain(db);
    double done = tool_seconds();
    if (!code)
        code = mote_get_stats(db, &after);
    if (code)
        result = tool_fail(common, NULL);
    else
        print_result(common, &before, &after, opened - started, done - opened);
    return tool_close(common, db, result);
}

static int command(int argc, char **argv, const char *name, const char *summary, int (*maintain)(mote_db *db))
{
    struct tool_common shared;
    const struct option none = {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL};
    const struct tool_usage usage = {.command = name, .operands = "PATH", .summary = summary, .operand_min = 1};
    const char *path;
    int result = tool_parse(&shared, &usage, &none, argc, argv, &path, NULL);
    return result == OPTIONS_RUN ? run(&shared, path, maintain) : result;
}

int command_flush(int argc, char **argv)
{
    return command(argc, argv, "flush", "Writes every row that is only in the log to SSTables, with their indexes.", mote_flush);
}

int command_checkpoint(int argc, char **argv)
{
    return command(argc, argv, "checkpoint", "Flushes, brings all indexes up to date, writes a snapshot of the manifest and cuts the log.", mote_checkpoint);
}
