/* format.c: `mote format`, also as `mkfs.mote`: makes a device or an image file an empty volume. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

struct format {
    struct tool_common common;
    struct mote_format_options options;
    bool dry_run, sparse;
    uint64_t extent_bytes;
};

static void print_region(uint64_t offset_bytes, uint64_t length_bytes, const char *what)
{
    char size[32];
    tool_bytes_text(length_bytes, size);
    printf("  %16llu  %10s  %s\n", (unsigned long long)offset_bytes, size, what);
}

static void print_layout(const char *path, const struct mote_layout *layout, bool dry_run)
{
    char uuid[37], device[32], extent[32], log[32];
    tool_uuid_text(layout->uuid, uuid);
    tool_bytes_text(layout->device_size_bytes, device);
    tool_bytes_text(layout->extent_bytes, extent);
    tool_bytes_text(layout->log_bytes_max, log);
    printf("%s %s: %s, logical blocks of %u bytes\n", dry_run ? "would format" : "formatted", path, device,
           layout->logical_block_bytes);
    if (layout->found[0])
        printf("%s: %s\n", dry_run ? "would overwrite" : "overwrote", layout->found);
    if (!dry_run)
        printf("uuid %s\n", uuid);
    printf("%u extents of %s, log at most %s, at most %u segments\n", layout->extent_count, extent, log,
           layout->segments_max);
    printf("  %16s  %10s\n", "offset", "size");
    print_region(layout->superblock_start_offset_bytes, layout->superblock_region_bytes, "superblock");
    print_region(layout->manifest_first_offset_bytes, layout->manifest_copy_bytes, "manifest, first copy");
    print_region(layout->extents_offset_bytes, layout->extent_bytes * layout->extent_count, "extents");
    print_region(layout->manifest_second_offset_bytes, layout->manifest_copy_bytes, "manifest, second copy");
    print_region(layout->superblock_end_offset_bytes, layout->superblock_region_bytes, "superblock");
}

static void print_layout_json(const char *path, const struct mote_layout *layout, bool dry_run)
{
    struct output out;
    struct json json;
    char uuid[37];
    tool_uuid_text(layout->uuid, uuid);
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "path", path);
    json_bool(&json, "dry_run", dry_run);
    if (!dry_run)
        json_text(&json, "uuid", uuid);
    json_text(&json, "found", layout->found);
    json_u64(&json, "device_size_bytes", layout->device_size_bytes);
    json_u64(&json, "logical_block_bytes", layout->logical_block_bytes);
    json_u64(&json, "extent_bytes", layout->extent_bytes);
    json_u64(&json, "extent_count", layout->extent_count);
    json_u64(&json, "log_bytes_max", layout->log_bytes_max);
    json_u64(&json, "segments_max", layout->segments_max);
    json_u64(&json, "superblock_start_offset_bytes", layout->superblock_start_offset_bytes);
    json_u64(&json, "superblock_end_offset_bytes", layout->superblock_end_offset_bytes);
    json_u64(&json, "superblock_region_bytes", layout->superblock_region_bytes);
    json_u64(&json, "manifest_first_offset_bytes", layout->manifest_first_offset_bytes);
    json_u64(&json, "manifest_second_offset_bytes", layout->manifest_second_offset_bytes);
    json_u64(&json, "manifest_copy_bytes", layout->manifest_copy_bytes);
    json_u64(&json, "extents_offset_bytes", layout->extents_offset_bytes);
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

int command_format(int argc, char **argv)
{
    struct format format = {.options = MOTE_FORMAT_OPTIONS_INIT};
    struct option unused[TOOL_COMMON_OPTIONS];
    tool_common_init(&format.common, "format", unused);
    const struct option options[] = {
        {"size", OPTION_BYTES, "SIZE", "create an image file of this size where PATH does not exist",
         &format.options.image_size_bytes, NULL},
        {"force", OPTION_TEXT, "SIGNATURE", "overwrite what the refusal named (ext4, mote, data, ...)",
         &format.options.force, NULL},
        {"dry-run", OPTION_FLAG, NULL, "check and print the layout, write nothing", &format.dry_run, NULL},
        {"extent", OPTION_BYTES, "SIZE", "unit of allocation, 64K to 64M (default 1M)", &format.extent_bytes, NULL},
        {"log", OPTION_BYTES, "SIZE", "largest size of the log", &format.options.log_bytes_max, NULL},
        {"segments", OPTION_COUNT32, "N", "segments that the manifest has room for", &format.options.segments_max,
         NULL},
        {"sparse", OPTION_FLAG, NULL, "do not write a new image file in full (for tests)", &format.sparse, NULL},
        {"json", OPTION_FLAG, NULL, "print the result as JSON", &format.common.json, NULL},
        {"quiet", OPTION_FLAG, NULL, "print nothing", &format.common.quiet, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote format",
        .operands = "PATH",
        .summary = "Makes a block device, an image file or a new image file an empty volume. What is on it is lost.",
        .details = "Refused are a device that is mounted or in use, and one that holds anything: a known signature, a "
                   "mote volume, or bytes\n"
                   "other than zero in its first or last MiB. The refusal names what it found; --force with that name "
                   "overwrites it.\n"
                   "SIZE may end in K, M, G or T, powers of 1024.",
        .operand_min = 1,
        .operand_max = 1,
        .options = options,
    };
    const char *path;
    unsigned count;
    int result = options_parse(&command, argc, argv, &path, &count);
    if (result != OPTIONS_RUN)
        return result;
    format.options.extent_bytes = format.extent_bytes;
    format.options.dry_run = format.dry_run;
    format.options.sparse = format.sparse;
    struct mote_layout layout = {0};
    if (mote_format(path, &format.options, &layout))
        return tool_fail(&format.common, NULL);
    if (format.common.json)
        print_layout_json(path, &layout, format.dry_run);
    else if (!format.common.quiet)
        print_layout(path, &layout, format.dry_run);
    return TOOL_GOOD;
}
