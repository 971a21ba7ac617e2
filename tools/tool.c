/* tool.c: what the subcommands share (tool.h). */
#include "tools/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/output.h"

static const char *const preset_names[] = {"robotics", "edge", "throughput", NULL};
static const char *const backend_names[] = {"auto", "io_uring", "libaio", "threads", NULL};
static const char *const barrier_names[] = {"auto", "flush", "fua", "none", NULL};
static const char *const damage_names[] = {"refuse", "continue", NULL};
static const char *const compression_names[] = {"default", "none", "lz4", "zstd", NULL};

void tool_common_init(struct tool_common *common, const char *command, struct option options[TOOL_COMMON_OPTIONS])
{
    *common = (struct tool_common){.command = command, .open = MOTE_OPTIONS_INIT};
    struct mote_options *open = &common->open;
    const struct option table[] = {
        {"json", OPTION_FLAG, NULL, "print the result as JSON", &common->json, NULL},
        {"quiet", OPTION_FLAG, NULL, "no progress on stderr", &common->quiet, NULL},
        {"preset", OPTION_CHOICE, "NAME", "defaults for what is not given", &open->preset, preset_names},
        {"memory", OPTION_BYTES, "SIZE", "the memory budget", &open->memory_bytes, NULL},
        {"memtable", OPTION_BYTES, "SIZE", "size of one memtable", &open->memtable_bytes, NULL},
        {"cache", OPTION_BYTES, "SIZE", "size of the block cache", &open->cache_bytes, NULL},
        {"workers", OPTION_COUNT32, "N", "background workers", &open->workers, NULL},
        {"backend", OPTION_CHOICE, "NAME", "how the device is driven", &open->backend, backend_names},
        {"barrier", OPTION_CHOICE, "NAME", "what makes writes durable", &open->barrier, barrier_names},
        {"on-damage", OPTION_CHOICE, "POLICY", "when acknowledged rows are missing", &open->on_damage, damage_names},
        {"compression", OPTION_CHOICE, "NAME", "of texts and blobs", &open->compression, compression_names},
        {"block-rows", OPTION_COUNT32, "N", "rows of one SSTable block", &open->block_rows, NULL},
        {"frame", OPTION_COUNT32, "BYTES", "largest size of one commit", &open->wal_frame_bytes_max, NULL},
        {"inflight", OPTION_COUNT32, "N", "commits under way at once", &open->wal_inflight_max, NULL},
        {"inline-io", OPTION_FLAG32, NULL, "no threads: whoever waits does the I/O", &open->inline_io, NULL},
        {"read-only", OPTION_FLAG32, NULL, "never write to the device", &open->read_only, NULL},
        {"timeout", OPTION_COUNT32, "MS", "how long to retry a busy device", &open->open_timeout_ms, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    _Static_assert(sizeof table / sizeof table[0] <= TOOL_COMMON_OPTIONS, "room for the common options");
    memcpy(options, table, sizeof table);
}

int tool_parse(struct tool_common *common, const struct tool_usage *usage, const struct option *own, int argc, char **argv, const char **operands, unsigned *operand_count)
{
    struct option shared[TOOL_COMMON_OPTIONS];
    char name[32];
    unsigned count;
    tool_common_init(common, usage->command, shared);
    (void)snprintf(name, sizeof name, "mote %s", usage->command);
    const struct option_command command = {
        .name = name,
        .operands = usage->operands,
        .summary = usage->summary,
        .details = usage->details,
        .operand_min = usage->operand_min,
        .operand_max = usage->operand_max ? usage->operand_max : usage->operand_min,
        .options = own,
        .common = shared,
    };
    return options_parse(&command, argc, argv, operands, operand_count ? operand_count : &count);
}

int tool_exit_code(int code)
{
    switch (code) {
    case MOTE_OK:
        return TOOL_GOOD;
    case MOTE_EINVAL:
    case MOTE_EBUDGET:
        return TOOL_USAGE;
    case MOTE_ESCHEMA:
    case MOTE_ETOOBIG:
    case MOTE_EEXISTS:
    case MOTE_ENOTFOUND:
    case MOTE_ENOTABLE:
    case MOTE_ENOCOLUMN:
    case MOTE_EREADONLY:
    case MOTE_EDAMAGED:
    case MOTE_ELOST:
        return TOOL_REFUSED;
    default:
        return TOOL_DEVICE;
    }
}

static void print_json_error(const struct mote_error *error)
{
    struct output out;
    output_open(&out, 1);
    struct json json;
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "error", mote_error_name(error->code));
    json_text(&json, "message", error->message);
    if (error->device[0])
        json_text(&json, "device", error->device);
    if (error->table[0])
        json_text(&json, "table", error->table);
    if (error->length_bytes) {
        json_u64(&json, "offset_bytes", error->offset_bytes);
        json_u64(&json, "length_bytes", error->length_bytes);
    }
    if (error->lsn != UINT64_MAX && error->lsn != 0)
        json_u64(&json, "lsn", error->lsn);
    if (error->line)
        json_u64(&json, "line", error->line);
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

int tool_fail(const struct tool_common *common, const struct mote_error *error)
{
    struct mote_error newest;
    if (!error) {
        memset(&newest, 0, sizeof newest);
        mote_last_error(&newest);
        error = &newest;
    }
    const char *message = error->message[0] ? error->message : "the library gave no reason";
    fprintf(stderr, "mote %s: %s [%s]\n", common->command, message, mote_error_name(error->code));
    if (common->json)
        print_json_error(error);
    int exit_code = tool_exit_code(error->code);
    return exit_code ? exit_code : TOOL_DEVICE;
}

int tool_refuse(const struct tool_common *common, int exit_code, uint64_t line, const char *format, ...)
{
    struct mote_error error = {
        .code = exit_code == TOOL_USAGE ? MOTE_EINVAL : MOTE_ESCHEMA, .lsn = UINT64_MAX, .line = line};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error.message, sizeof error.message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "mote %s: %s\n", common->command, error.message);
    if (common->json)
        print_json_error(&error);
    return exit_code;
}

static int open_with(const struct tool_common *common, const char *path, const struct mote_options *options,
                     mote_db **db, struct mote_error *error)
{
    memset(error, 0, sizeof *error);
    int code = mote_open(path, options, db, error);
    if (code && !error->code)
        error->code = code;
    (void)common;
    return code;
}

int tool_open_reader(const struct tool_common *common, const char *path, mote_db **db)
{
    struct mote_options options = common->open;
    struct mote_error error;
    options.read_only = 1;
    int code = open_with(common, path, &options, db, &error);
    if (code == MOTE_EBUDGET && !common->open.read_only) {
        /* A log that does not fit into memory must be flushed to SSTables while it is replayed, and that writes. */
        fprintf(stderr, "mote %s: %s; recovering read-write\n", common->command, error.message);
        options.read_only = 0;
        code = open_with(common, path, &options, db, &error);
    }
    return code ? tool_fail(common, &error) : 0;
}

int tool_open_writer(const struct tool_common *common, const char *path, mote_db **db)
{
    struct mote_error error;
    int code = open_with(common, path, &common->open, db, &error);
    return code ? tool_fail(common, &error) : 0;
}

int tool_close(const struct tool_common *common, mote_db *db, int exit_code)
{
    int code = mote_close(db);
    if (code && !exit_code)
        return tool_fail(common, NULL);
    return exit_code;
}

double tool_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void tool_uuid_text(const uint8_t uuid[16], char text[37])
{
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        static const char digits[] = "0123456789abcdef";
        text[at++] = digits[uuid[i] >> 4];
        text[at++] = digits[uuid[i] & 15];
    }
    text[at] = '\0';
}

void tool_bytes_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    if (value >= 100 || unit == 0 || value == (double)(uint64_t)value)
        snprintf(text, 32, "%.0f %s", value, units[unit]);
    else
        snprintf(text, 32, "%.1f %s", value, units[unit]);
}

void *tool_alloc(size_t size_bytes)
{
    return tool_realloc(NULL, size_bytes);
}

void *tool_realloc(void *old, size_t size_bytes)
{
    void *memory = realloc(old, size_bytes ? size_bytes : 1);
    if (!memory) {
        fprintf(stderr, "mote: the operating system refuses %zu bytes of memory\n", size_bytes);
        exit(TOOL_DEVICE);
    }
    return memory;
}
