/* dump.c: `mote dump`: opens the volume for looking only (dump.h) and calls the printer that was asked for. */
#include "tools/dump.h"

#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/probe.h"

enum { DUMP_MEMORY_BYTES = 256 << 20, DUMP_CACHE_BYTES = 32 << 20, DUMP_TABLES_MAX = 16384, DUMP_QUEUE_DEPTH = 32 };

static int open_device(struct dump *dump)
{
    struct blockdev_open_options options = {
        .read_only = true, .backend = dump->common.open.backend, .busy_timeout_ms = dump->common.open.open_timeout_ms};
    struct blockdev_queue_options queue = {.depth = DUMP_QUEUE_DEPTH, .flags = BLOCKDEV_QUEUE_SHARED};
    int code = blockdev_open(dump->path, &options, &dump->device);
    if (!code)
        code = blockdev_queue_create(dump->device, &queue, &dump->queue);
    return code ? tool_fail(&dump->common, NULL) : 0;
}

int dump_open_manifest(struct dump *dump)
{
    bool heal_needed;
    if (superblock_read(dump->queue, &dump->superblock, &heal_needed))
        return tool_fail(&dump->common, NULL);
    if (memory_create(DUMP_MEMORY_BYTES, false, &dump->memory))
        return tool_fail(&dump->common, NULL);
    void *cache_region = memory_carve(dump->memory, DUMP_CACHE_BYTES, PAGE_BYTES);
    int code = cache_region ? memory_seal(dump->memory) : MOTE_EBUDGET;
    if (!code)
        code = cache_create(dump->memory, cache_region, DUMP_CACHE_BYTES, DUMP_CACHE_BYTES / PAGE_BYTES, &dump->cache);
    if (!code)
        code = extents_create(dump->memory, dump->superblock.layout.extent_count, &dump->extents);
    struct manifest_options options = {
        .device = dump->device,
        .memory = dump->memory,
        .superblock = &dump->superblock,
        .extents = dump->extents,
        .cache = dump->cache,
        .tables_max = DUMP_TABLES_MAX,
        .read_only = true,
    };
    if (!code)
        code = manifest_open(&options, &dump->manifest);
    return code ? tool_fail(&dump->common, NULL) : 0;
}

static void close_all(struct dump *dump)
{
    if (dump->manifest)
        manifest_close(dump->manifest);
    if (dump->cache)
        cache_destroy(dump->cache);
    if (dump->extents)
        extents_destroy(dump->extents);
    if (dump->queue)
        blockdev_queue_destroy(dump->queue);
    if (dump->memory)
        memory_destroy(dump->memory);
    if (dump->device)
        blockdev_close(dump->device);
}

static int run(struct dump *dump, const char *const *operands, unsigned count)
{
    const char *what = operands[1];
    bool sst = strcmp(what, "sst") == 0, block = strcmp(what, "block") == 0;
    if (block && count != 4)
        return tool_refuse(&dump->common, TOOL_USAGE, 0, "block: expected the segment's id and the block's number");
    if (!sst && !block && count != 2)
        return tool_refuse(&dump->common, TOOL_USAGE, 0, "%s takes no further argument", what);
    if (sst && count > 3)
        return tool_refuse(&dump->common, TOOL_USAGE, 0,
                           "sst: expected the segment's id alone; `block` prints a block");
    int (*print)(struct dump *) = strcmp(what, "superblock") == 0 ? dump_superblock
                                  : strcmp(what, "wal") == 0      ? dump_wal
                                  : strcmp(what, "manifest") == 0 ? dump_manifest
                                                                  : NULL;
    if (!print && !sst && !block)
        return tool_refuse(&dump->common, TOOL_USAGE, 0, "\"%s\": expected superblock, wal, manifest, sst or block",
                           what);
    int result = open_device(dump);
    if (!result && print)
        result = print(dump);
    else if (!result)
        result = dump_sst(dump, count > 2 ? operands[2] : NULL, block ? operands[3] : NULL);
    close_all(dump);
    return result;
}

int command_dump(int argc, char **argv)
{
    struct dump *dump = tool_alloc(sizeof *dump);
    memset(dump, 0, sizeof *dump);
    struct option common[TOOL_COMMON_OPTIONS];
    tool_common_init(&dump->common, "dump", common);
    const struct option options[] = {
        {"limit", OPTION_COUNT, "N", "at most N frames", &dump->limit, NULL},
        {"from-lsn", OPTION_COUNT, "LSN", "wal: begin at this frame", &dump->from_lsn, NULL},
        {"json", OPTION_FLAG, NULL, "superblock, wal: one JSON object a line", &dump->common.json, NULL},
        {"backend", OPTION_CHOICE, "NAME", "how the device is driven", &dump->common.open.backend,
         (const char *const[]){"auto", "io_uring", "libaio", "threads", NULL}},
        {"timeout", OPTION_COUNT32, "MS", "how long to retry a busy device", &dump->common.open.open_timeout_ms, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote dump",
        .operands = "PATH superblock|wal|manifest|sst|block [SEGMENT [BLOCK]]",
        .summary =
            "Prints what is on the device, structure by structure, without opening the volume and without writing.",
        .details = "  superblock           all eight slots\n"
                   "  wal                  the frames of the log, to the first that does not count\n"
                   "  manifest             the frames of both copies, and the state that they make\n"
                   "  sst                  the segments; with SEGMENT its footer and block index\n"
                   "  block SEGMENT BLOCK  one block with its rows",
        .operand_min = 2,
        .operand_max = 4,
        .options = options,
    };
    const char *operands[4];
    unsigned count;
    int result = options_parse(&command, argc, argv, operands, &count);
    if (result == OPTIONS_RUN) {
        dump->path = operands[0];
        result = run(dump, operands, count);
    }
    free(dump);
    return result;
}
