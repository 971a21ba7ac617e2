/* manifest.h: the durable state of the volume and the sets of segments that readers see. manifest_format.h has the frames and records.
 *
 * On the device: two copies (layout.h), each of two areas. The area in use begins with a snapshot frame (the whole state), followed by edit frames, each a multiple of 4 KiB, with generation (the superblock's when the area was begun),
 * sequence (plus one each, never reused), kind, length, the previous frame's checksum, CRC32C seeded with UUID and (area, offset in the area): both copies hold the same bytes.
 *
 * Invariants
 *   1. A commit writes its frame to both copies, then one FLUSH; only then is it applied in memory and anything that it freed given to quarantine. Commits are serialised.
 *   2. A frame that is valid in either copy counts, and is written to the other (healed) and flushed before the state is used. The chain ends at the first sequence that is valid in neither; a later
 *      sequence of the same chain beyond it is damage (MOTE_EDAMAGED), since commits are serialised.
 *   3. When an edit does not fit any more, or at a checkpoint, the state is written as a snapshot to the other area, flushed, and then the superblock (generation + 1, clean as it is) points to it.
 *   4. The state never exceeds half an area: segments_max and the catalog's bounds see to that; a removal always fits.
 *   5. After a failed write or barrier the manifest is poisoned: no further commit succeeds.
 *   6. Segments in memory are freed, and their extents go to quarantine, when the last version that holds them is released after the removing edit became durable.
 *
 * Threads: commits and snapshots by any thread (one mutex held during the I/O; the manifest has its own queue, SHARED); versions are acquired by any thread (a short mutex). Fields of manifest_state are read under manifest_lock or by the committing thread.
 */
#ifndef MOTE_ENGINE_LSM_MANIFEST_H
#define MOTE_ENGINE_LSM_MANIFEST_H

#include "blockdev/cache.h"
#include "blockdev/extents.h"
#include "blockdev/section.h"
#include "blockdev/superblock.h"
#include "engine/lsm/segment.h"

#define MANIFEST_LOG_RANGES_MAX 1024u
#define MANIFEST_INCARNATIONS_MAX 64u
#define MANIFEST_LOST_RANGES_MAX 64u
#define MANIFEST_BAD_EXTENTS_MAX 4096u
#define MANIFEST_LEVEL_MAX 31u
#define MANIFEST_INDEXES_MAX 256u      /* of all tables */
#define MANIFEST_TABLE_INDEXES_MAX 16u /* of one */
#define MANIFEST_NAMED_MAX 64u          /* snapshots with names */
#define MANIFEST_BLOB_FILES_MAX 4096u
#define MANIFEST_PINS_MAX 64u          /* of all tables */
#define MANIFEST_TABLE_PINS_MAX 16u    /* of one */
#define MANIFEST_BASES_MAX 16u         /* states that were sent and have names */

struct manifest_log_range {
    uint64_t lsn;
    struct extent_run run;
};
struct manifest_incarnation {
    uint64_t id, first_lsn, end_lsn; /* end_lsn UINT64_MAX: live */
};
struct manifest_lost_range {
    uint64_t lsn_from, lsn_to, seq_from, seq_to;
};
/* How long a table's rows are kept (struct mote_retention, defaults filled in). */
struct manifest_retention {
    int64_t age_ns, window_ns, future_ns;
    uint64_t bytes_max, pin_bytes_max;
    uint32_t recycle;
};
/* What has expired; neither ever goes back. */
struct manifest_watermark {
    int64_t horizon_ns; /* rows with a time below are expired */
    int64_t newest_ns;  /* time of the newest row that counts, INT64_MIN: of none */
};
/* A range of a table's times that is kept. */
struct manifest_pin {
    uint64_t table_id;
    int64_t from_ns, to_ns; /* inclusive */
    uint64_t seq;           /* the newest when it was made */
    char name[MOTE_NAME_BYTES_MAX + 1]; /* of the table's pins only one has it; zeros behind it */
};
struct manifest_table {
    struct schema *schema;      /* newest */
    int64_t next_rowid;         /* not below any rowid ever given out in flushed rows */
    uint64_t created_seq;       /* seq of the latest DDL on it: replay of DDL at or below is skipped */
    bool has_retention, has_watermark;
    struct manifest_retention retention;
    struct manifest_watermark watermark;
};

/* A declared index. Its sections are with the segments; a segment that has none (yet) is answered from its rows, so there is no state beside them. */
struct manifest_index {
    uint64_t id, table_id; /* the id, from the counter of sections, is never reused */
    char name[MOTE_NAME_BYTES_MAX + 1]; /* of the table's indexes only one has it; zeros behind it */
    uint32_t kind;     /* as struct row_index_ops has it */
    uint32_t strategy; /* enum mote_index_strategy */
    uint32_t column_count;
    uint64_t column_ids[ROW_INDEX_COLUMNS_MAX];
    uint32_t options_bytes; /* the kind's own */
    uint8_t options[ROW_INDEX_OPTIONS_BYTES_MAX];
};

/* A snapshot with a name: flushes and compactions keep what its seq sees until it is dropped. */
struct manifest_named {
    uint64_t id; /* from the counter of sections, never reused */
    uint64_t seq;
    int64_t taken_ns; /* by the real-time clock; for people */
    char name[MOTE_NAME_BYTES_MAX + 1]; /* no other snapshot has it; zeros behind it */
};

/* A blob file, and what segments of the state use of it. */
struct manifest_blob {
    struct blob_file *file;
    uint32_t segment_count;
    uint64_t live_bytes; /* that they use together */
};

/* A state of a volume that was sent (engine/send.c): a later state's segments are in it unless their id is at or above segment_mark, or their seq_max above flushed_seq; sections likewise by section_mark, and blob files: those below it are in it and complete. */
struct manifest_point {
    uint8_t id[16]; /* random; all zero: none */
    uint64_t flushed_seq, segment_mark, section_mark;
};
struct manifest_base {
    char name[MOTE_NAME_BYTES_MAX + 1]; /* no other base has it; zeros behind it */
    struct manifest_point point;
    int64_t taken_ns; /* by the real-time clock; for people */
};
/* What a volume is to a stream (engine/receive.c). A read-write open ends it. */
enum manifest_receive_state {
    MANIFEST_RECEIVE_NONE,
    MANIFEST_RECEIVE_COMPLETE,   /* the volume is the state `point` of its source, untouched: an increment may come */
    MANIFEST_RECEIVE_INCREMENT,  /* the same, and an increment to `incoming` is under way */
    MANIFEST_RECEIVE_ANEW,       /* a first receive is under way: there is nothing to open yet */
};
struct manifest_receive {
    uint32_t state;      /* enum manifest_receive_state */
    uint32_t done_count; /* items of the stream that are durable here */
    uint8_t source_uuid[16];
    struct manifest_point point, incoming;
    struct extent_run journal; /* what the receive under way plans (engine/receive_plan.c); belongs to nobody else while it lasts */
    uint32_t journal_bytes, journal_crc;
};

/* One table's segments at one moment; shared by versions, immutable. */
struct segment_list {
    _Atomic uint32_t references;
    uint64_t table_id;
    uint32_t count;
    struct segment *segments[]; /* count by run, then key; then the same count once more by least key, and once more by least time */
};
/* All tables' segments at one moment. */
struct version {
    _Atomic uint32_t references;
    uint64_t number;
    uint64_t flushed_seq; /* every row at or below it is in these segments */
    uint32_t count;
    struct segment_list *lists[]; /* ascending table_id; tables without segments have none */
};

struct manifest_state {
    uint64_t sequence;          /* of the newest frame */
    uint64_t flushed_seq, head_lsn;
    uint64_t next_segment_id, next_table_id, next_column_id, next_run_id, next_section_id;
    uint64_t clean_end_lsn; /* recorded by close; 0: not closed cleanly */
    uint64_t clean_end_seq; /* recorded by open and close: no seq up to here is given out again */
    uint32_t log_range_count, incarnation_count, lost_range_count, bad_extent_count, table_count, segment_count, index_count, section_count, named_count;
    struct manifest_log_range log_ranges[MANIFEST_LOG_RANGES_MAX];       /* ascending lsn */
    struct manifest_incarnation incarnations[MANIFEST_INCARNATIONS_MAX]; /* ascending first_lsn */
    struct manifest_lost_range lost_ranges[MANIFEST_LOST_RANGES_MAX];
    uint32_t bad_extents[MANIFEST_BAD_EXTENTS_MAX];
    uint32_t tables_max;
    struct manifest_table *tables; /* tables_max, ascending table_id */
    struct manifest_index *indexes; /* MANIFEST_INDEXES_MAX, ascending id */
    struct manifest_named named[MANIFEST_NAMED_MAX]; /* ascending id */
    struct manifest_blob *blobs; /* MANIFEST_BLOB_FILES_MAX, on small devices one an extent; ascending id */
    uint32_t blob_count;
    uint64_t blob_record_bytes; /* of all records about blobs in a snapshot */
    uint32_t pin_count;
    struct manifest_pin pins[MANIFEST_PINS_MAX]; /* the oldest first */
    uint32_t base_count;
    struct manifest_base bases[MANIFEST_BASES_MAX]; /* the oldest first */
    struct manifest_receive receive;
};

struct manifest;
struct manifest_options {
    struct blockdev *device;
    struct memory *memory;
    struct superblock *superblock;  /* the engine's; generation, manifest_area and manifest_sequence are advanced by rotations */
    struct extents *extents;        /* marked from the state by manifest_open: segments, sections, log ranges, bad extents */
    struct cache *cache;            /* to forget dropped segments; may be NULL */
    uint32_t tables_max;
    bool read_only;                 /* heals nothing, commits nothing */
    void (*complete)(void *context, struct superblock *superblock); /* fills in what has grown since, in the copy that is about to be written; under the manifest's mutex. May be NULL */
    void *complete_context;
};

/* A fresh volume: writes the first snapshot (an empty state with nothing mapped) to area 0 of both copies, flushed. Before the superblock. */
int manifest_format(struct blockdev_queue *queue, const struct superblock *superblock);
int manifest_open(const struct manifest_options *options, struct manifest **manifest);
void manifest_close(struct manifest *manifest);
void manifest_lock(struct manifest *manifest);
void manifest_unlock(struct manifest *manifest);
const struct manifest_state *manifest_get_state(const struct manifest *manifest);
/* Highest superblock generation seen in any manifest frame at open. */
uint64_t manifest_generation_seen(const struct manifest *manifest);
/* Numbers that are never reused: durable with the next edit of any kind (each edit carries the counters). */
uint64_t manifest_take_segment_id(struct manifest *manifest);
uint64_t manifest_take_table_id(struct manifest *manifest);
uint64_t manifest_take_column_ids(struct manifest *manifest, uint32_t count);
uint64_t manifest_take_run_id(struct manifest *manifest);
uint64_t manifest_take_section_id(struct manifest *manifest);
/* Copies the indexes of a table (0: of all), at most index_max; their number. Takes the manifest's mutex. */
uint32_t manifest_get_indexes(struct manifest *manifest, uint64_t table_id, struct manifest_index *indexes, uint32_t index_max);

/* ---- Edits: begin, add records, commit (or abandon) ---- */
struct manifest_edit; /* a bounded buffer; grows within the budget */
int manifest_edit_begin(struct manifest *manifest, struct manifest_edit **edit);
void manifest_edit_abandon(struct manifest_edit *edit);
/* Errors of the adding calls are kept and returned by manifest_commit. */
void manifest_edit_add_segment(struct manifest_edit *edit, const struct segment_record *record);
void manifest_edit_remove_segment(struct manifest_edit *edit, uint64_t segment_id);
void manifest_edit_set_timestamp(struct manifest_edit *edit, uint64_t segment_id, const struct segment_section *section);
void manifest_edit_put_table(struct manifest_edit *edit, const struct schema *schema, int64_t next_rowid, uint64_t ddl_seq);
void manifest_edit_drop_table(struct manifest_edit *edit, uint64_t table_id); /* and its segments and indexes */
void manifest_edit_add_index(struct manifest_edit *edit, const struct manifest_index *index);
void manifest_edit_drop_index(struct manifest_edit *edit, uint64_t index_id); /* and its sections */
void manifest_edit_set_section(struct manifest_edit *edit, const struct index_section *section); /* replaces the segment's section of that index, if it has one */
/* Blob files (blob_file.h). The uses are one segment's, ascending by file, but those of no bytes; the segment is of this edit. */
void manifest_edit_add_blob_file(struct manifest_edit *edit, uint64_t file_id, uint64_t table_id, struct extent_run run);
void manifest_edit_drop_blob_file(struct manifest_edit *edit, uint64_t file_id);
void manifest_edit_set_blobs(struct manifest_edit *edit, uint64_t segment_id, const struct blob_use *uses, uint32_t count);
void manifest_edit_add_named(struct manifest_edit *edit, const struct manifest_named *named);
void manifest_edit_drop_named(struct manifest_edit *edit, uint64_t named_id);
void manifest_edit_set_retention(struct manifest_edit *edit, uint64_t table_id, const struct manifest_retention *retention);
void manifest_edit_add_pin(struct manifest_edit *edit, const struct manifest_pin *pin);
void manifest_edit_remove_pin(struct manifest_edit *edit, uint64_t table_id, const char *name);
void manifest_edit_set_watermark(struct manifest_edit *edit, uint64_t table_id, const struct manifest_watermark *watermark); /* what is there already stays where it is later */
void manifest_edit_add_base(struct manifest_edit *edit, const struct manifest_base *base);
void manifest_edit_drop_base(struct manifest_edit *edit, const char *name);
void manifest_edit_set_receive(struct manifest_edit *edit, const struct manifest_receive *receive); /* state NONE: ends it */
void manifest_edit_set_rowid(struct manifest_edit *edit, uint64_t table_id, int64_t next_rowid);
void manifest_edit_set_flushed_seq(struct manifest_edit *edit, uint64_t seq);
void manifest_edit_add_log_range(struct manifest_edit *edit, const struct manifest_log_range *range);
void manifest_edit_set_head(struct manifest_edit *edit, uint64_t head_lsn); /* log ranges wholly below it, and incarnations that end at or below it, are removed; their extents freed once durable */
void manifest_edit_begin_incarnation(struct manifest_edit *edit, uint64_t id, uint64_t first_lsn, uint64_t previous_end_lsn); /* previous_end_lsn: end of the one that was live; ranges mapped beyond it are removed and freed */
void manifest_edit_add_lost_range(struct manifest_edit *edit, const struct manifest_lost_range *range);
void manifest_edit_add_bad_extent(struct manifest_edit *edit, uint32_t extent);
void manifest_edit_set_clean_end(struct manifest_edit *edit, uint64_t end_lsn, uint64_t end_seq); /* end_lsn 0: not clean */
/* Durable in both copies on return; frees the edit, whatever it returns. Installs the new version. prepare_install / installed (may be NULL) run under the version mutex, just before readers can see the new version,
 * so that the engine can release the memtable generation in the same instant. */
int manifest_commit(struct manifest_edit *edit, void (*installed)(void *context), void *context);
/* Snapshot into the other area and superblock update (invariant 3). */
int manifest_snapshot(struct manifest *manifest);
/* Writes the superblock with the next generation (clean flag, counters as the caller set them in options->superblock under manifest_lock). */
int manifest_write_superblock(struct manifest *manifest);
/* The file of that id, or NULL; lives until the edit that drops it. Takes the manifest's mutex. */
struct blob_file *manifest_find_blob_file(struct manifest *manifest, uint64_t file_id);
/* Whether, since the last call, a blob file lost the last segment that named it. Any thread. */
bool manifest_take_blobs_unused(struct manifest *manifest);
/* Bytes used of the area in use, and its size. */
void manifest_usage(const struct manifest *manifest, uint64_t *used_bytes, uint64_t *area_bytes);
/* The error that poisoned it, or 0. */
int manifest_poisoned(const struct manifest *manifest, struct mote_error *error);

/* ---- The state as a whole (manifest_copy.c) ---- */
enum { MANIFEST_COUNTERS = 5 };
struct manifest_image {
    uint8_t *bytes; /* records of a snapshot (manifest_format.h) */
    uint32_t size_bytes, record_count;
    uint64_t counters[MANIFEST_COUNTERS];
    struct version *version; /* of the same moment, acquired; NULL in an image that was made otherwise */
};
void manifest_get_counters(const struct manifest *manifest, uint64_t counters[MANIFEST_COUNTERS]);
/* The present state. The caller frees bytes (from the manifest's memory) and releases the version. */
int manifest_capture(struct manifest *manifest, struct manifest_image *image);
/* A manifest in memory alone, of that state on that layout, to look at; any failure tells why it could not be a volume's. manifest_close frees it. */
int manifest_try(struct memory *memory, const struct layout *layout, uint32_t tables_max, const struct manifest_image *image, struct manifest **manifest);
/* The image becomes the volume's state, durably, in one step. It must have been tried. Nothing but manifest_close may follow. */
int manifest_replace(struct manifest *manifest, const struct manifest_image *image);
/* The same on another layout, of which only the device's end differs: the second copy is made anew at its new place, and the superblock that points to it has the new layout. manifest and *options->superblock have it from here on. */
int manifest_resize(struct manifest *manifest, const struct manifest_image *image, const struct layout *layout);
/* A larger volume while others commit; the layout differs in its end alone. Two steps, so that commits wait for the second only:
 *   manifest_clear_end  of the second copy's new place, and of the superblock's slots at the new end, what lies in [from_bytes, to_bytes) becomes zeros. Not a barrier. By the caller, on a queue of its own, for what lies behind the present end: nothing refers to that.
 *   manifest_grow       what lies before the present end is cleared as well (the old end is lost from here on: the first copies stand for both), then the snapshot and the superblock as by manifest_snapshot, in the new layout.
 * MOTE_EBUDGET: nothing changed. Any failure after the first write poisons; the layout is the old one. */
int manifest_clear_end(struct blockdev_queue *queue, const struct layout *layout, uint64_t from_bytes, uint64_t to_bytes);
int manifest_grow(struct manifest *manifest, const struct layout *layout);
/* The state's segment, or NULL. */
struct segment *manifest_find_segment(const struct manifest *manifest, uint64_t segment_id);

/* ---- Versions ---- */
struct version *version_acquire(struct manifest *manifest);
void version_release(struct manifest *manifest, struct version *version);
/* The table's list, or NULL. Lives as long as the version. */
const struct segment_list *version_find(const struct version *version, uint64_t table_id);
/* Keeps one segment, and what it lies in, beyond the version from which it was taken (and which is held at this moment); and gives it back. */
void segment_hold(struct segment *segment);
void segment_let_go(struct manifest *manifest, struct segment *segment);
/* Runs `body` under the version mutex: nothing is installed meanwhile. For acquiring a version and memtable pins as one. */
void version_exclusive(struct manifest *manifest, void (*body)(void *context), void *context);
/* As version_acquire, from inside version_exclusive. */
struct version *version_acquire_locked(struct manifest *manifest);

/* ---- For verify and dump, without opening: walks both copies of both areas. offset_bytes counts from the area's start. ---- */
int manifest_walk(struct blockdev_queue *queue, struct memory *memory, const struct superblock *superblock,
                  void (*visit)(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence, uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid), void *context);
/* Prints the records of the state readably. */
#include <stdio.h>
void manifest_dump(const struct manifest *manifest, FILE *out);

#endif
