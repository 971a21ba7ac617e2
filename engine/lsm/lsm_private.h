/* lsm_private.h: what flush and compaction share: rows in order in, segments of one table out.
 *
 *     flush.c     memtables -> lsm_output -> one edit
 *     compact.c   segments -> merge -> lsm_output -> one edit
 *     output_index.c  the declared indexes of what is written
 *     output_origin.c  from which rows of the inputs its rows came
 *     output_blob.c  which blob files the rows refer to
 *     output.c    which versions are kept, where a segment ends, what happens to an extent that cannot be written
 *     pick.c      which segments are compacted
 */
#ifndef MOTE_ENGINE_LSM_LSM_PRIVATE_H
#define MOTE_ENGINE_LSM_LSM_PRIVATE_H

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "engine/lsm/lsm.h"

/* From where the rows of the present segment came (output_origin.c). */
struct lsm_origin {
    struct segment *segment;
    uint32_t first, count, capacity; /* of the ordinals; count 0: none of its rows is in the present segment */
    uint32_t *new_ordinals;
};
struct lsm_origins {
    struct memory *memory;
    uint32_t input, ordinal; /* of the row that is passed next; set by the compaction */
    uint64_t rows, rows_max; /* entries, and how many are enough for one segment */
    bool lost;               /* those of the present segment are not known */
    uint32_t input_count;
    struct lsm_origin inputs[];
};
int lsm_origins_create(struct memory *memory, struct segment *const *segments, uint32_t count, struct lsm_origins **origins);
void lsm_origins_destroy(struct lsm_origins *origins);
/* For a new segment. */
void lsm_origins_begin(struct lsm_origins *origins);
bool lsm_origins_full(const struct lsm_origins *origins);
/* The row of origins->input and ->ordinal is in the present segment, as that row. */
void lsm_origins_note(struct lsm_origins *origins, uint64_t new_ordinal);

/* The declared indexes of the table that is written: built beside each segment, or out of the inputs' sections. One that fails (memory, space) leaves the segment without its section, to be built later from the rows: no flush fails for the sake of an index. */
struct lsm_indexes {
    uint32_t count;
    struct manifest_index *definitions; /* count */
    struct sst_index_feed feeds[MANIFEST_TABLE_INDEXES_MAX];
    bool merged[MANIFEST_TABLE_INDEXES_MAX]; /* all inputs have good sections, which become the new ones; their feeds have no builder */
    bool any_merged;
    uint64_t segment_rows_max;          /* a segment ends then, so that the builders' memory is bounded */
    struct index_section *sections;     /* of all segments so far */
    uint32_t section_count, section_capacity;
};

struct lsm_output {
    /* set by the caller */
    const struct lsm_job_context *job;
    const struct schema *schema;
    struct extent_reservation *reservation;
    enum blockdev_source source;
    uint32_t level;
    uint64_t rows_max; /* rows that will come at most */
    bool bottom;       /* tombstones with nothing kept below them vanish */
    struct segment *const *outside; /* not bottom: only these, by least key, may hold what a tombstone hides; count 0: any may */
    uint32_t outside_count;
    struct lsm_origins *origins; /* NULL: unknown, all sections are built from rows */
    bool unindexed;    /* without the declared indexes: an attempt with them had too little memory */
    uint64_t raw_bytes_max; /* of the images (tombstones: keys) that will come at most; 0: unknown, who wants for space tries again with a larger reservation */
    uint32_t extents_kept;  /* of the reservation: for what is written after */
    /* what came out: */
    struct segment_record *records;
    uint32_t record_count, record_capacity;
    uint64_t rows_written, bytes_written;
    uint32_t failed_extent; /* after MOTE_EIO: the one that could not be written; UINT32_MAX: none or unknown */
    /* its own: */
    struct sst_builder *builder;
    struct lsm_indexes indexes;
    uint64_t segment_rows; /* of the present segment */
    struct blob_use *blob_uses; /* of all segments so far: those of one together, ascending by file */
    uint32_t blob_use_count, blob_use_capacity, blob_use_first; /* of the present segment: from blob_use_first on */
    uint64_t segment_id;   /* of the present one */
    bool stays;            /* it does not end for the sake of an index */
    uint64_t raw_bytes;    /* so far */
    uint64_t run_id;
    uint64_t rows_seen;
    uint64_t unpaced_bytes;
    bool has_key;
    bool placed;         /* a version of the present key is in the present segment */
    uint64_t newer_seq;  /* of the version before, of the same key */
    uint32_t outside_first; /* those before it end before the present key */
    uint64_t *held;      /* seqs of tombstones of the present key that vanish unless an older version is kept */
    uint32_t held_count, held_capacity;
    uint32_t key_bytes;
    uint8_t key[MOTE_KEY_BYTES_MAX];
};

int lsm_output_begin(struct lsm_output *output);
/* Whether the record, next in (key, seq descending) order, must be passed to lsm_output_add. */
bool lsm_output_wants(struct lsm_output *output, const struct record *record);
int lsm_output_add(struct lsm_output *output, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy);
/* The same for records that lie side by side: takes *taken of them, from the front, as far as they need no look at each; 0: the first must be passed to lsm_output_wants. What they point to stays until the output is ended. */
int lsm_output_add_stretch(struct lsm_output *output, const struct record_stretch *stretch, uint32_t *taken);
/* Ends the last segment. The records are complete; nothing is flushed. */
int lsm_output_finish(struct lsm_output *output);
/* Frees everything; the segments' extents too, unless keep. */
void lsm_output_end(struct lsm_output *output, bool keep);
/* The size at which a segment ends: the job's, but never so small that what every segment has beside its rows (index, filter, footer, at their bounds) is most of it. */
uint64_t lsm_segment_bytes(const struct lsm_job_context *job, const struct schema *schema);
/* Extents that are certainly enough for rows of raw_bytes together, in segments of the job's size. */
uint32_t lsm_extents_bound(const struct lsm_job_context *job, const struct schema *schema, uint64_t rows, uint64_t raw_bytes);

/* ---- output_index.c ---- */
bool lsm_has_indexes(struct manifest *manifest, uint64_t table_id);
int lsm_indexes_begin(struct lsm_output *output);
/* For a new segment of at most rows_max rows. */
void lsm_indexes_open(struct lsm_output *output, uint64_t rows_max);
/* The segment is complete: writes the sections. */
void lsm_indexes_write(struct lsm_output *output, uint64_t segment_id);
void lsm_indexes_end(struct lsm_output *output, bool keep);
/* After a failed attempt: whether it lacked memory, some of which indexes had; then it may be repeated without them (unindexed). */
bool lsm_indexes_lack_memory(const struct lsm_output *output, int result);
/* Adds the segments and their sections to the edit. */
void lsm_add_segments(struct manifest_edit *edit, const struct lsm_output *output);
/* After an edit that was refused: gives up sections whose index is gone, after MOTE_ENOSPC all; true: there were any, so that the edit may be made again. */
bool lsm_indexes_give_up(struct lsm_output *output, int result);

/* ---- output_blob.c ---- */
/* Notes what a row's large values take; of tables with such columns only. */
int lsm_blobs_note(struct lsm_output *output, const struct schema *image_schema, const uint8_t *image);
/* Adds what the segment's rows refer to. *at: where its entries begin, and then those of the next segment. */
void lsm_blobs_add(struct manifest_edit *edit, const struct lsm_output *output, uint64_t segment_id, uint32_t *at);

/* Extents that could not be written, for the edit of the job. */
struct lsm_bad {
    uint32_t extents[LSM_RETRIES];
    uint32_t count;
};
/* After a failed attempt: true if a write failed and its extent is known and now retired, so that the attempt may be repeated. */
bool lsm_retire(const struct lsm_job_context *job, const struct lsm_output *output, int result, struct lsm_bad *bad);
void lsm_add_bad(struct manifest_edit *edit, const struct lsm_bad *bad);
/* Whether the manifest (still) has the table. */
bool lsm_table_exists(struct manifest *manifest, uint64_t table_id);

#endif
