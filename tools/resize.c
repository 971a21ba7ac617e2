/* resize.c: `mote resize`: a volume fills its device, or leaves the end of it (docs/resize.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

static void print_result(const struct tool_common *common, const struct mote_resize_result *result, bool dry_run)
{
    char old[32], new[32], moved[32];
    if (common->json) {
        printf("{\"old_bytes\":%llu,\"new_bytes\":%llu,\"least_bytes\":%llu,\"moved_bytes\":%llu}\n", (unsigned long long)result->old_bytes, (unsigned long long)result->new_bytes, (unsigned long long)result->least_bytes,
               (unsigned long long)result->moved_bytes);
        return;
    }
    if (common->quiet)
        return;
    tool_bytes_text(result->old_bytes, old);
    tool_bytes_text(result->new_bytes, new);
    tool_bytes_text(result->moved_bytes, moved);
    if (dry_run)
        printf("%s (%llu bytes); %llu bytes are the least as its segments lie now; nothing was written\n", old, (unsigned long long)result->old_bytes, (unsigned long long)result->least_bytes);
    else
        printf("resized from %s to %s, %s moved\n", old, new, moved);
}

int command_resize(int argc, char **argv)
{
    struct tool_common tool = {0};
    struct mote_resize_options resize = MOTE_RESIZE_OPTIONS_INIT;
    struct mote_resize_result outcome;
    const char *operands[2] = {NULL};
    uint64_t size_bytes = 0;
    unsigned count;
    const struct option options[] = {
        {"sparse", OPTION_FLAG32, NULL, "do not write the new part of an image file in full (for tests)", &resize.sparse, NULL},
        {"dry-run", OPTION_FLAG32, NULL, "tell the least size, and whether it would fit; write nothing", &resize.dry_run, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "resize",
        .operands = "PATH [SIZE]",
        .summary = "Makes a volume larger or smaller: SIZE, or as large as its device is now.",
        .details = "Enlarge a partition first, then run mote resize PATH; to shrink, run mote resize PATH SIZE first, then\n"
                   "make the partition smaller. An image file is enlarged and cut by the command itself.",
        .operand_min = 1,
        .operand_max = 2,
    };
    int result = tool_parse(&tool, &usage, options, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    if (count > 1 && (!options_parse_bytes(operands[1], &size_bytes) || size_bytes == 0))
        return tool_refuse(&tool, TOOL_USAGE, 0, "\"%s\" is no size; expected for example 512M", operands[1]);
    if (mote_resize(operands[0], size_bytes, &resize, &outcome))
        return tool_fail(&tool, NULL);
    print_result(&tool, &outcome, resize.dry_run != 0);
    return 0;
}
