/* info.c: `mote info`: what a volume is, what it holds, and the options in force. Opens read-only. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/retention.h"
#include "tools/columns.h"
#include "tools/info_wear.h"
#include "tools/output.h"
#include "tools/tool.h"

static const char *choice(const char *const *names, size_t count, uint32_t value)
{
    return value < count ? names[value] : "?";
}

static const char *const presets[] = {"robotics", "edge", "throughput"};
static const char *const backends[] = {"auto", "io_uring", "libaio", "threads"};
static const char *const barriers[] = {"auto", "flush", "fua", "none"};
static const char *const damages[] = {"refuse", "continue"};
static const char *const durabilities[] = {"default", "sync", "group", "periodic", "none"};
static const char *const compressions[] = {"default", "none", "lz4", "zstd"};
#define CHOICE(names, value) choice(names, sizeof names / sizeof names[0], value)

static void json_options(struct json *json, const struct mote_options *options)
{
    json_open(json, "options", '{');
    json_text(json, "preset", CHOICE(presets, options->preset));
    json_bool(json, "read_only", options->read_only != 0);
    json_text(json, "backend", CHOICE(backends, options->backend));
    json_text(json, "barrier", CHOICE(barriers, options->barrier));
    json_text(json, "on_damage", CHOICE(damages, options->on_damage));
    json_text(json, "durability", CHOICE(durabilities, options->durability));
    json_u64(json, "period_ms", options->period_ms);
    json_u64(json, "memory_bytes", options->memory_bytes);
    json_u64(json, "memtable_bytes", options->memtable_bytes);
    json_u64(json, "memtable_count", options->memtable_count);
    json_u64(json, "workers", options->workers);
    json_u64(json, "cache_bytes", options->cache_bytes);
    json_u64(json, "checkpoint_log_bytes", options->checkpoint_log_bytes);
    json_u64(json, "checkpoint_period_ms", options->checkpoint_period_ms);
    json_u64(json, "tables_max", options->tables_max);
    json_u64(json, "cursors_max", options->cursors_max);
    json_u64(json, "producers_max", options->producers_max);
    json_u64(json, "wal_inflight_max", options->wal_inflight_max);
    json_u64(json, "wal_frame_bytes_max", options->wal_frame_bytes_max);
    json_u64(json, "block_rows", options->block_rows);
    json_u64(json, "compaction_runs_max", options->compaction_runs_max);
    json_u64(json, "compaction_spread_max", options->compaction_spread_max);
    json_text(json, "compression", CHOICE(compressions, options->compression));
    json_u64(json, "background_mib_per_s", options->background_mib_per_s);
    json_bool(json, "inline_io", options->inline_io != 0);
    json_bool(json, "commit_thread", options->commit_thread != 0);
    json_bool(json, "huge_pages", options->huge_pages != 0);
    json_u64(json, "open_timeout_ms", options->open_timeout_ms);
    json_u64(json, "trim", options->trim);
    json_u64(json, "trim_mib_per_s", options->trim_mib_per_s);
    json_close(json, '}');
}

static void json_stats(struct json *json, const struct mote_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"device_bytes", stats->device_bytes},
        {"extent_bytes", stats->extent_bytes},
        {"extents_total", stats->extents_total},
        {"extents_free", stats->extents_free},
        {"extents_bad", stats->extents_bad},
        {"memory_budget_bytes", stats->memory_budget_bytes},
        {"memory_used_bytes", stats->memory_used_bytes},
        {"visible_seq", stats->visible_seq},
        {"durable_seq", stats->durable_seq},
        {"flushed_seq", stats->flushed_seq},
        {"durable_lsn", stats->durable_lsn},
        {"head_lsn", stats->head_lsn},
        {"tail_lsn", stats->tail_lsn},
        {"log_bytes_in_use", stats->log_bytes_in_use},
        {"pending_updates", stats->pending_updates},
        {"segment_count", stats->segment_count},
        {"lost_range_count", stats->lost_range_count},
        {"lost_rows_at_least", stats->lost_rows_at_least},
        {"recovery_ns", stats->recovery_ns},
        {"recovered_rows", stats->recovered_rows},
        {"recovered_log_bytes", stats->recovered_log_bytes},
        {"clean_open", stats->clean_open},
        {"opens", stats->opens},
        {"lifetime_bytes_written", stats->lifetime_bytes_written},
        {"rings_registered", stats->rings_registered},
    };
    char uuid[37];
    tool_uuid_text(stats->uuid, uuid);
    json_text(json, "device", stats->device);
    json_text(json, "model", stats->model);
    json_text(json, "uuid", uuid);
    json_text(json, "backend", stats->backend);
    json_text(json, "barrier", stats->barrier);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_u64(json, numbers[i].name, numbers[i].value);
}

static void json_column(struct json *json, mote_table *table, uint32_t position)
{
    struct mote_column_definition column;
    if (mote_table_column(table, position, &column))
        return;
    json_open(json, NULL, '{');
    json_text(json, "name", column.name);
    json_text(json, "type", type_text(column.type));
    if (column.dimension && vector_element_bytes(column.type))
        json_u64(json, "dimension", column.dimension);
    json_bool(json, "not_null", (column.flags & MOTE_COLUMN_NOT_NULL) != 0);
    json_bool(json, "auto_increment", (column.flags & MOTE_COLUMN_AUTO_INCREMENT) != 0);
    json_bool(json, "has_default", (column.flags & MOTE_COLUMN_HAS_DEFAULT) != 0);
    json_close(json, '}');
}

static int json_table(mote_table *table, const char *name, void *context)
{
    struct json *json = context;
    struct mote_table_info info = {.size_bytes = sizeof info};
    int code = mote_table_describe(table, &info);
    if (code)
        return code;
    json_open(json, NULL, '{');
    json_text(json, "name", name);
    json_u64(json, "id", info.id);
    json_u64(json, "schema_version", info.schema_version);
    json_bool(json, "append_only", (info.flags & MOTE_TABLE_APPEND_ONLY) != 0);
    json_text(json, "layout", info.flags & MOTE_TABLE_ROW_PAGES ? "rows" : "columns");
    json_u64(json, "pending_updates", info.pending_updates);
    json_u64(json, "segment_count", info.segment_count);
    json_u64(json, "segment_rows", info.segment_rows);
    json_u64(json, "segment_bytes", info.segment_bytes);
    if (info.time_min <= info.time_max) {
        json_i64(json, "time_min_ns", info.time_min);
        json_i64(json, "time_max_ns", info.time_max);
    }
    json_i64(json, "time_column", info.time_column);
    json_open(json, "key_columns", '[');
    for (uint32_t i = 0; i < info.key_column_count; i++)
        json_u64(json, NULL, info.key_columns[i]);
    json_close(json, ']');
    json_open(json, "columns", '[');
    for (uint32_t i = 0; i < info.column_count; i++)
        json_column(json, table, i);
    json_close(json, ']');
    code = retention_json(table, json);
    json_close(json, '}');
    return code;
}

static int print_json(mote_db *db, const struct mote_stats *stats, const struct mote_options *options, const struct mote_wear *wear)
{
    struct output out;
    struct json json;
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "version", mote_version());
    json_stats(&json, stats);
    info_wear_json(&json, wear);
    json_options(&json, options);
    json_open(&json, "tables", '[');
    int code = mote_table_list(db, json_table, &json);
    json_close(&json, ']');
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
    return code;
}

static int print_table(mote_table *table, const char *name, void *context)
{
    (void)context;
    struct mote_table_info info = {.size_bytes = sizeof info};
    int code = mote_table_describe(table, &info);
    if (code)
        return code;
    char bytes[32];
    tool_bytes_text(info.segment_bytes, bytes);
    printf("\ntable %s: %llu row versions in %u segments (%s), %llu row changes not yet flushed%s%s\n", name,
           (unsigned long long)info.segment_rows, info.segment_count, bytes, (unsigned long long)info.pending_updates,
           info.flags & MOTE_TABLE_APPEND_ONLY ? ", append-only" : "", info.flags & MOTE_TABLE_ROW_PAGES ? ", row pages" : "");
    for (uint32_t i = 0; i < info.column_count; i++) {
        struct mote_column_definition column;
        if (mote_table_column(table, i, &column))
            continue;
        printf("  %-24s %s", column.name, type_text(column.type));
        if (vector_element_bytes(column.type))
            printf("[%u]", column.dimension);
        for (uint32_t key = 0; key < info.key_column_count; key++) {
            if (info.key_columns[key] == i)
                printf(", key %u", key + 1);
        }
        printf("%s%s%s%s\n", (int32_t)i == info.time_column ? ", time" : "",
               column.flags & MOTE_COLUMN_NOT_NULL ? ", not null" : "",
               column.flags & MOTE_COLUMN_AUTO_INCREMENT ? ", auto increment" : "",
               column.flags & MOTE_COLUMN_HAS_DEFAULT ? ", default" : "");
    }
    return retention_print(table);
}

static void print_size(const char *name, uint64_t bytes)
{
    char text[32];
    tool_bytes_text(bytes, text);
    printf("%-24s %s\n", name, text);
}

static void print_options(const struct mote_options *options)
{
    printf("\noptions in force\n");
    printf("%-24s %s\n", "preset", CHOICE(presets, options->preset));
    print_size("memory", options->memory_bytes);
    printf("%-24s %u of ", "memtables", options->memtable_count);
    print_size("", options->memtable_bytes);
    print_size("block cache", options->cache_bytes);
    if (options->workers == MOTE_NO_THREADS)
        printf("%-24s none\n", "workers");
    else
        printf("%-24s %u%s\n", "workers", options->workers, options->inline_io ? " (inline I/O: no threads)" : "");
    printf("%-24s %s, period %u ms\n", "durability", CHOICE(durabilities, options->durability), options->period_ms);
    printf("%-24s at most %u under way, of at most %u bytes\n", "commits", options->wal_inflight_max,
           options->wal_frame_bytes_max);
    print_size("checkpoint at log size", options->checkpoint_log_bytes);
    if (options->checkpoint_period_ms != MOTE_NEVER)
        printf("%-24s %u ms\n", "checkpoint period", options->checkpoint_period_ms);
    printf("%-24s %u rows, compression %s\n", "blocks", options->block_rows,
           CHOICE(compressions, options->compression));
    printf("%-24s %s\n", "on damage", CHOICE(damages, options->on_damage));
}

static int print_text(mote_db *db, const struct mote_stats *stats, const struct mote_options *options, const struct mote_wear *wear)
{
    char uuid[37], extent[32];
    tool_uuid_text(stats->uuid, uuid);
    tool_bytes_text(stats->extent_bytes, extent);
    printf("%-24s %s (%s)\n", "device", stats->device, stats->model);
    printf("%-24s %s\n", "uuid", uuid);
    print_size("size", stats->device_bytes);
    printf("%-24s %llu of %llu free, %s each, %llu bad\n", "extents", (unsigned long long)stats->extents_free,
           (unsigned long long)stats->extents_total, extent, (unsigned long long)stats->extents_bad);
    printf("%-24s %s, barrier %s\n", "backend", stats->backend, stats->barrier);
    printf("%-24s %llu times; last end: %s\n", "opened", (unsigned long long)stats->opens,
           stats->clean_open ? "clean" : "not clean (the log is replayed at each open until a checkpoint)");
    if (!stats->clean_open)
        printf("%-24s %llu rows in %.3f s\n", "recovery", (unsigned long long)stats->recovered_rows,
               (double)stats->recovery_ns / 1e9);
    print_size("log in use", stats->log_bytes_in_use);
    info_wear_print(wear);
    printf("%-24s visible %llu, durable %llu, flushed %llu\n", "seq", (unsigned long long)stats->visible_seq,
           (unsigned long long)stats->durable_seq, (unsigned long long)stats->flushed_seq);
    printf("%-24s %llu\n", "pending updates", (unsigned long long)stats->pending_updates);
    if (stats->lost_range_count)
        printf("%-24s %llu ranges of the log, at least %llu rows\n", "LOST",
               (unsigned long long)stats->lost_range_count, (unsigned long long)stats->lost_rows_at_least);
    print_options(options);
    return mote_table_list(db, print_table, NULL);
}

int command_info(int argc, char **argv)
{
    struct tool_common shared;
    double rated_tbw = 0;
    const struct option own[] = {
        {"rated-tbw", OPTION_REAL, "TB", "terabytes that the device's maker promises can be written: how long it will last", &rated_tbw, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "info",
        .operands = "PATH",
        .summary = "Prints what a volume is, the options in force, and its tables. Opens it read-only.",
        .operand_min = 1,
    };
    const char *path;
    int result = tool_parse(&shared, &usage, own, argc, argv, &path, NULL);
    if (result != OPTIONS_RUN)
        return result;
    mote_db *db;
    result = tool_open_reader(&shared, path, &db);
    if (result)
        return result;
    struct mote_stats stats = {.size_bytes = sizeof stats};
    struct mote_options options = MOTE_OPTIONS_INIT;
    struct mote_wear wear = {.size_bytes = sizeof wear};
    int code = mote_get_stats(db, &stats);
    if (!code)
        code = mote_get_options(db, &options);
    if (!code)
        code = mote_get_wear(db, rated_tbw < 1e6 ? (uint64_t)(rated_tbw * 1e12) : UINT64_MAX, &wear);
    if (!code)
        code = shared.json ? print_json(db, &stats, &options, &wear) : print_text(db, &stats, &options, &wear);
    if (code)
        result = tool_fail(&shared, NULL);
    return tool_close(&shared, db, result);
}
