/* calibrate.c: `mote calibrate`: measures the device below a volume and records which barrier is the cheaper one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

static const char *barrier_name(uint32_t barrier)
{
    static const char *const names[] = {"none recorded", "flush", "fua", "none"};
    return barrier < sizeof names / sizeof names[0] ? names[barrier] : "?";
}

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {"?", "flush", "fua", "bulk", "read"};
    return kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

static void print_case(const struct mote_calibration_case *one)
{
    char size[32];
    tool_bytes_text(one->request_bytes, size);
    printf("  %-6s %10s x %-2u %10.0f /s %9.1f MiB/s %9.0f %9.0f %9.0f us\n", kind_name(one->kind), size, one->depth,
           one->operations_per_s, one->operations_per_s * one->request_bytes / (1024 * 1024),
           (double)one->ns_p50 / 1e3, (double)one->ns_p99 / 1e3, (double)one->ns_max / 1e3);
}

static void print_text(const struct mote_calibration *calibration, bool dry_run)
{
    char scratch[32], written[32];
    tool_bytes_text(calibration->scratch_bytes, scratch);
    tool_bytes_text(calibration->written_bytes, written);
    printf("%s: model \"%s\", %s, %s; measured in %s of free space, wrote %s in %.1f s\n", calibration->device,
           calibration->model, calibration->backend, calibration->write_cache ? "volatile write cache" : "write-through",
           scratch, written, (double)calibration->duration_ns / 1e9);
    printf("  %-6s %10s   %-2s %10s    %9s       %9s %9s %9s\n", "", "size", "depth", "rate", "bytes", "p50", "p99", "max");
    for (uint32_t i = 0; i < calibration->case_count; i++)
        print_case(&calibration->cases[i]);
    printf("%s\n", calibration->reason);
    printf("%s: %s (before: %s)\n", dry_run ? "would record" : "recorded", barrier_name(calibration->barrier),
           barrier_name(calibration->barrier_before));
}

static void print_json(const struct mote_calibration *calibration, bool dry_run)
{
    struct output out;
    struct json json;
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "device", calibration->device);
    json_text(&json, "model", calibration->model);
    json_text(&json, "backend", calibration->backend);
    json_bool(&json, "write_cache", calibration->write_cache != 0);
    json_text(&json, "barrier", barrier_name(calibration->barrier));
    json_text(&json, "barrier_before", barrier_name(calibration->barrier_before));
    json_bool(&json, "recorded", !dry_run);
    json_real(&json, "fua_over_flush", calibration->fua_over_flush);
    json_text(&json, "reason", calibration->reason);
    json_u64(&json, "scratch_bytes", calibration->scratch_bytes);
    json_u64(&json, "written_bytes", calibration->written_bytes);
    json_u64(&json, "duration_ns", calibration->duration_ns);
    json_open(&json, "cases", '[');
    for (uint32_t i = 0; i < calibration->case_count; i++) {
        const struct mote_calibration_case *one = &calibration->cases[i];
        json_open(&json, NULL, '{');
        json_text(&json, "kind", kind_name(one->kind));
        json_u64(&json, "request_bytes", one->request_bytes);
        json_u64(&json, "depth", one->depth);
        json_u64(&json, "operations", one->operations);
        json_real(&json, "operations_per_s", one->operations_per_s);
        json_u64(&json, "ns_p50", one->ns_p50);
        json_u64(&json, "ns_p99", one->ns_p99);
        json_u64(&json, "ns_max", one->ns_max);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

int command_calibrate(int argc, char **argv)
{
    struct tool_common shared;
    struct mote_calibrate_options given = MOTE_CALIBRATE_OPTIONS_INIT;
    struct mote_calibration calibration = {.size_bytes = sizeof calibration};
    const struct option options[] = {
        {"dry-run", OPTION_FLAG32, NULL, "measure and print, record nothing", &given.dry_run, NULL},
        {"case-ms", OPTION_COUNT32, "MS", "time for each of the 23 cases (300)", &given.case_ms, NULL},
        {"scratch", OPTION_BYTES, "SIZE", "free space to measure in, at most (256M)", &given.scratch_bytes, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "calibrate",
        .operands = "PATH",
        .summary = "Measures FUA against FLUSH, bulk writes and random reads on the device below a volume, and records "
                   "the cheaper barrier.",
        .details = "Opens the volume exclusively and measures in its free space only; the rows stay as they are. The next "
                   "open uses the choice on a device of the same model (--barrier overrides it). On an image file FUA is "
                   "a write with O_DSYNC semantics, FLUSH is fdatasync.",
        .operand_min = 1,
    };
    const char *path;
    int result = tool_parse(&shared, &usage, options, argc, argv, &path, NULL);
    if (result != OPTIONS_RUN)
        return result;
    given.open = &shared.open;
    if (mote_calibrate(path, &given, &calibration))
        return tool_fail(&shared, NULL);
    if (shared.json)
        print_json(&calibration, given.dry_run != 0);
    else
        print_text(&calibration, given.dry_run != 0);
    return TOOL_GOOD;
}
