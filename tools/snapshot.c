/* snapshot.c: `mote snapshot take|list|drop`: the named snapshots of a volume, and the option --snapshot of the
 * subcommands that read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

struct listing {
    struct output *out;
    struct json *json; /* NULL: text */
};

int tool_snapshot_open(const struct tool_common *common, mote_db *db, const char *name, mote_snapshot **snapshot)
{
    *snapshot = NULL;
    return name && mote_snapshot_open(db, name, snapshot) ? tool_fail(common, NULL) : 0;
}

static int print_snapshot(const struct mote_snapshot_info *info, void *context)
{
    struct listing *listing = context;
    if (!listing->json) {
        output_format(listing->out, "%s seq %llu taken_ns %lld\n", info->name, (unsigned long long)info->seq,
                      (long long)info->taken_ns);
        return 0;
    }
    json_open(listing->json, NULL, '{');
    json_text(listing->json, "name", info->name);
    json_u64(listing->json, "seq", info->seq);
    json_i64(listing->json, "taken_ns", info->taken_ns);
    json_close(listing->json, '}');
    return 0;
}

static int list(const struct tool_common *common, mote_db *db)
{
    struct output *out = tool_alloc(sizeof *out);
    struct json json;
    struct listing listing = {out, common->json ? &json : NULL};
    output_open(out, STDOUT_FILENO);
    if (listing.json) {
        json_begin(&json, out);
        json_open(&json, NULL, '[');
    }
    int code = mote_snapshot_list(db, print_snapshot, &listing);
    if (listing.json) {
        json_close(&json, ']');
        output_text(out, "\n");
    }
    output_close(out);
    free(out);
    return code ? tool_fail(common, NULL) : 0;
}

static int run(const struct tool_common *common, mote_db *db, const char *verb, const char *name)
{
    if (strcmp(verb, "list") == 0)
        return list(common, db);
    int code = strcmp(verb, "take") == 0 ? mote_snapshot_take(db, name, NULL) : mote_snapshot_drop(db, name);
    return code ? tool_fail(common, NULL) : 0;
}

int command_snapshot(int argc, char **argv)
{
    struct tool_common tool = {0};
    const struct option options[] = {{NULL, OPTION_FLAG, NULL, NULL, NULL, NULL}};
    const struct tool_usage usage = {
        .command = "snapshot",
        .operands = "take|list|drop PATH [NAME]",
        .summary = "Takes, lists or drops the named snapshots of a volume.",
        .details = "A named snapshot sees what was there when it was taken, until it is dropped: read it with\n"
                   "mote scan --snapshot NAME. While it is there the volume keeps the versions of rows that it sees.",
        .operand_min = 2,
        .operand_max = 3,
    };
    const char *operands[3] = {NULL};
    unsigned count;
    int result = tool_parse(&tool, &usage, options, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    const char *verb = operands[0], *name = count > 2 ? operands[2] : NULL;
    bool listing = strcmp(verb, "list") == 0;
    if (!listing && strcmp(verb, "take") && strcmp(verb, "drop"))
        return tool_refuse(&tool, TOOL_USAGE, 0, "expected take, list or drop, not \"%s\"", verb);
    if (listing != !name)
        return tool_refuse(&tool, TOOL_USAGE, 0, listing ? "list takes no name" : "%s takes the name of a snapshot", verb);
    mote_db *db;
    result = listing ? tool_open_reader(&tool, operands[1], &db) : tool_open_writer(&tool, operands[1], &db);
    return result ? result : tool_close(&tool, db, run(&tool, db, verb, name));
}
