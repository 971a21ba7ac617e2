/* ingest.h: the parts of `mote ingest`: options and the loop (ingest.c), finding or making the table (ingest_table.c),
 * the report (ingest_report.c).
 *
 * Rows go in as batches of columns through mote_append_columns. A batch ends when it has --batch rows, when its rows
 * fill one commit of the log, when the input pauses, or at the input's end. Tickets are pipelined: reading and parsing
 * go on while earlier batches become durable. A line that does not parse ends the ingest before its batch is appended;
 * with --skip-bad only the line is left out, and counted.
 */
#ifndef MOTE_TOOLS_INGEST_H
#define MOTE_TOOLS_INGEST_H

#include "tools/ack.h"
#include "tools/columns.h"
#include "tools/csv.h"
#include "tools/progress.h"
#include "tools/tool.h"

enum ingest_layout { LAYOUT_COLUMNS, LAYOUT_ROWS };

struct ingest {
    struct tool_common common;
    /* What was asked for. */
    const char *path, *table_name, *file;
    const char *time_column, *key, *types, *header, *delimiter, *durability, *ack_file;
    uint64_t batch_rows; /* 0: chosen */
    double rate;         /* rows per second, 0: as fast as possible */
    bool skip_bad, append_only;
    uint32_t layout; /* enum ingest_layout */
    /* What is at work. */
    mote_db *db;
    mote_table *table;
    bool created;
    struct csv csv;
    struct column_builder *columns; /* MOTE_COLUMNS_MAX, as the header says */
    size_t column_count;
    uint32_t *positions; /* of columns in the table */
    struct batch_builder batch;
    uint64_t batch_bytes_max;
    struct mote_column *slices;
    uint8_t *scratch;
    struct mote_write_options write;
    struct ack *ack;
    struct progress progress;
    /* What happened. */
    uint64_t rows, skipped, batches, last_ticket, acknowledged;
    double started, durable_seconds, total_seconds;
};

/* Reads the header, opens or makes the table, fills columns and positions. Returns 0 or an exit code. */
int ingest_prepare_table(struct ingest *ingest);
/* Prints the result; the handle is still open. Returns 0 or an exit code. */
int ingest_report(struct ingest *ingest);

#endif
