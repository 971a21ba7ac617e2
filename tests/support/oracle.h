/* oracle.h: whether an open volume is what its model says, read through the public API and, for free space and the log's frames, the engine's own structures.
 *
 * Checked: every table's definition and every row of a full scan, in key order, bit by bit, against the digests of the model's history from what was acknowledged on; gets of
 * present, replaced, deleted and never written keys with the seq of their change; scans by time range, key range and prefix, both ways, in small chunks, against the full scan;
 * pending_updates; the timestamp index against the rows; each extent used once and counted; statistics that promise (lost ranges, flushed rows, clean end); seqs and LSNs above everything
 * that lies on the device.
 *
 * Threads: one. Failures: MOTE_OK or -1 with a sentence in oracle->why. */
#ifndef MOTE_TESTS_SUPPORT_ORACLE_H
#define MOTE_TESTS_SUPPORT_ORACLE_H

#include "blockdev/blockdev.h"
#include "tests/support/model.h"

#define ORACLE_TABLES_MAX 16u

struct content_table {
    mote_table *handle;
    struct model_schema schema;
    uint32_t row_first, row_count;
};

/* Every table and row of a volume. */
struct content {
    uint32_t table_count;
    struct content_table tables[ORACLE_TABLES_MAX];
    uint32_t row_count, row_capacity;
    size_t *row_at; /* row_count + 1 offsets into bytes */
    uint8_t *bytes;
    size_t byte_capacity;
    struct digest digest;
};

struct oracle {
    uint64_t random; /* set it before each check: it chooses samples */
    struct content content;
    char why[2048];
};

/* What was told to the caller before the cut. */
struct promise {
    uint32_t point;       /* of the model: acknowledged */
    bool exact;           /* what an earlier open showed, and nothing was written since: exactly this point */
    uint64_t flushed_seq; /* a flush returned: no row up to here is pending */
    uint64_t head_lsn;    /* a checkpoint returned */
    bool clean;           /* a close returned, and nothing was written since */
};

/* What lies on a device: the newest of all valid log frames, wherever they are. */
struct frame_facts {
    uint64_t seq_max;     /* of any row */
    uint64_t lsn_end_max; /* where the last frame ends */
    uint32_t frame_count;
};

void oracle_free(struct oracle *oracle);
int oracle_fail(struct oracle *oracle, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With the engine's last error behind the sentence. */
int oracle_fail_code(struct oracle *oracle, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reads everything into oracle->content; rows must ascend by key. An engine's error is returned as it is (why is set). */
int oracle_read_content(struct oracle *oracle, mote_db *db, uint32_t chunk_rows);
/* Everything above; *point is where in the model's history the volume is. thorough: also the samples of reads. */
int oracle_check(struct oracle *oracle, mote_db *db, const struct model *model, const struct promise *promise, bool thorough, uint32_t *point);
/* The content alone equals the model's at its end (a live handle). */
int oracle_check_live(struct oracle *oracle, mote_db *db, const struct model *model);
/* Samples of reads against oracle->content; point: of the model. */
int oracle_check_reads(struct oracle *oracle, mote_db *db, const struct model *model, uint32_t point);
/* Searches of every index of every table, against oracle->content. */
int oracle_check_searches(struct oracle *oracle);
int oracle_check_column_index(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info);
/* Of one text index. */
int oracle_check_text(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info);
/* Extents: every reference counted once, free + used + ... = all. idle: nothing is in flight and nothing awaits its freeing. */
int oracle_check_space(struct oracle *oracle, mote_db *db);

/* Scans; the visitor's non-zero result ends the scan and is returned. */
typedef int (*oracle_visit)(void *context, const uint8_t *row, size_t row_bytes);
/* A row of a chunk of all columns as cells; the bytes. */
size_t oracle_row_from_chunk(const struct model_schema *schema, const struct mote_chunk *chunk, size_t row, uint8_t *cells);
int oracle_scan(mote_table *table, const struct model_schema *schema, const struct mote_scan_options *options, oracle_visit visit, void *context);

/* device: a simulated disk. */
void oracle_frame_facts(struct blockdev *device, const uint8_t uuid[16], struct frame_facts *facts);
/* The handle will use seqs and LSNs above all that lies on the device (facts taken before it was opened). */
int oracle_check_new_numbers(struct oracle *oracle, mote_db *db, const struct frame_facts *facts);

#endif
