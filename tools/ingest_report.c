/* ingest_report.c: what an ingest did, as a few lines on stderr or as JSON on stdout (ingest.h). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/ingest.h"
#include "tools/output.h"

static uint64_t written_bytes(const struct mote_stats *stats)
{
    return stats->bytes_wal + stats->bytes_flush + stats->bytes_compaction + stats->bytes_index +
           stats->bytes_manifest + stats->bytes_superblock;
}

static double divide(double value, double by)
{
    return by > 0 ? value / by : 0;
}

static int report_json(const struct ingest *ingest, const struct mote_stats *stats)
{
    struct output out;
    struct json json;
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "table", ingest->table_name);
    json_bool(&json, "created", ingest->created);
    json_u64(&json, "rows", ingest->rows);
    json_u64(&json, "rows_acknowledged", ingest->acknowledged);
    json_u64(&json, "lines_skipped", ingest->skipped);
    json_u64(&json, "batches", ingest->batches);
    json_u64(&json, "csv_bytes", ingest->csv.read_bytes);
    json_real(&json, "seconds", ingest->durable_seconds);
    json_real(&json, "seconds_with_checkpoint", ingest->total_seconds);
    json_real(&json, "rows_per_s", divide((double)ingest->rows, ingest->durable_seconds));
    json_u64(&json, "row_bytes", stats->bytes_appended);
    json_real(&json, "row_bytes_per_s", divide((double)stats->bytes_appended, ingest->durable_seconds));
    json_u64(&json, "commits", stats->commits);
    json_u64(&json, "barriers", stats->barriers);
    json_u64(&json, "commit_ns_p50", stats->commit_ns_p50);
    json_u64(&json, "commit_ns_p99", stats->commit_ns_p99);
    json_u64(&json, "commit_ns_p999", stats->commit_ns_p999);
    json_u64(&json, "commit_ns_max", stats->commit_ns_max);
    json_u64(&json, "bytes_wal", stats->bytes_wal);
    json_u64(&json, "bytes_flush", stats->bytes_flush);
    json_u64(&json, "bytes_compaction", stats->bytes_compaction);
    json_u64(&json, "bytes_index", stats->bytes_index);
    json_u64(&json, "bytes_manifest", stats->bytes_manifest);
    json_u64(&json, "bytes_superblock", stats->bytes_superblock);
    json_u64(&json, "bytes_written", written_bytes(stats));
    json_real(&json, "write_amplification", divide((double)written_bytes(stats), (double)stats->bytes_appended));
    json_u64(&json, "writer_stalls", stats->writer_stalls);
    json_u64(&json, "writer_stall_ns", stats->writer_stall_ns);
    json_text(&json, "backend", stats->backend);
    json_text(&json, "barrier", stats->barrier);
    json_close(&json, '}');
    output_text(&out, "\n");
    return output_close(&out) ? TOOL_REFUSED : 0;
}

int ingest_report(struct ingest *ingest)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    if (mote_get_stats(ingest->db, &stats))
        return tool_fail(&ingest->common, NULL);
    if (ingest->common.json)
        return report_json(ingest, &stats);
    if (ingest->common.quiet)
        return 0;
    fprintf(stderr, "%s: %llu rows durable in %.2f s (%.0f rows/s, %.1f MB/s of rows)", ingest->table_name,
            (unsigned long long)ingest->acknowledged, ingest->durable_seconds,
            divide((double)ingest->rows, ingest->durable_seconds),
            divide((double)stats.bytes_appended, ingest->durable_seconds) / 1e6);
    if (ingest->skipped)
        fprintf(stderr, ", %llu bad lines skipped", (unsigned long long)ingest->skipped);
    fprintf(
        stderr,
        "\n%s: %llu commits, p50 %.0f us, p99 %.0f us, p99.9 %.0f us, max %.0f us; wrote %.2f times the rows' bytes\n",
        ingest->table_name, (unsigned long long)stats.commits, (double)stats.commit_ns_p50 / 1e3,
        (double)stats.commit_ns_p99 / 1e3, (double)stats.commit_ns_p999 / 1e3, (double)stats.commit_ns_max / 1e3,
        divide((double)written_bytes(&stats), (double)stats.bytes_appended));
    return 0;
}
