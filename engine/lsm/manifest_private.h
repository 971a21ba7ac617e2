/* manifest_private.h: what the files of the manifest share.
 *
 *   manifest_codec.c    frames and records, bytes and back; the snapshot
 *   manifest_edit.c     composing edits
 *   manifest_apply.c    the one code that applies records to a state, for commits (before anything is written) and recovery
 *   manifest_index.c    declared indexes and their sections: composing, applying
 *   manifest_named.c    snapshots with names: composing, applying
 *   manifest_retention.c tables' retention, pins and watermarks: composing, applying
 *   manifest_blob.c     blob files, and what segments use of them: composing, applying
 *   manifest_copy.c     bases and receives: composing, applying; the state as a whole
 *   manifest_stage.c    an edit under way: its beginning, installation, rollback
 *   manifest_recover.c  reading the chain of frames, healing; walking for verify
 *   manifest.c          open, commit, snapshot, superblock
 *   version.c           segments by id, lists, versions
 *
 * A *stage* is one edit under way: the state it would lead to, and what must be undone or completed. manifest_stage_apply changes the staged state, the table of
 * segments by id and the map of owned extents; then either manifest_stage_install (the edit is durable) or manifest_stage_rollback.
 */
#ifndef MOTE_ENGINE_LSM_MANIFEST_PRIVATE_H
#define MOTE_ENGINE_LSM_MANIFEST_PRIVATE_H

#include <pthread.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "engine/lsm/manifest_format.h"

struct vector {
    void *items;
    uint32_t count, capacity;
};
/* Room for one more item, or NULL (MOTE_EBUDGET). */
void *manifest_vector_push(struct memory *memory, struct vector *vector, size_t item_bytes);

struct change {
    struct segment *segment;
    struct segment *successor; /* of a removed one: its copy with another timestamp section */
    bool added;                /* else removed */
};

struct stage {
    struct manifest *manifest;
    struct manifest_state *state;
    bool recovering;           /* nobody has seen schemas and segments yet: what is replaced is freed at once */
    uint32_t kind;             /* enum manifest_frame_kind */
    uint32_t ranges_before;    /* log ranges that are not of this edit: the first so many */
    uint64_t catalog_bytes;
    struct vector changes;     /* struct change, in order */
    struct vector marked;      /* struct extent_run: owned from this edit on */
    struct vector cleared;     /* struct extent_run: owned no more */
    struct vector log_freed;   /* struct extent_run: to free once the edit is durable */
    struct vector fresh;       /* struct schema *: decoded for this edit */
    struct vector fresh_blobs, dropped_blobs; /* struct blob_file *: of this edit; no longer in the state */
    struct vector replaced;    /* struct schema *: no longer in the state */
};

struct manifest {
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct memory *memory;
    struct superblock *superblock;
    void (*complete)(void *context, struct superblock *superblock); /* as in struct manifest_options */
    void *complete_context;
    struct extents *extents;
    struct cache *cache;
    struct layout layout;
    uint8_t uuid[16];
    bool read_only;
    uint64_t frame_bytes_max;
    uint64_t catalog_bytes_max;
    uint32_t blob_files_max;
    uint8_t *frame; /* frame_bytes_max bytes, page-aligned */

    pthread_mutex_t mutex; /* commits, snapshots, the fields up to version_mutex */
    struct manifest_state state, staged;
    uint64_t catalog_bytes; /* of the tables' records */
    unsigned area;
    uint64_t next_offset_bytes; /* in the area */
    uint64_t generation;        /* of the area's frames */
    uint64_t generation_seen;
    uint32_t last_crc;
    int poison;
    struct mote_error poison_error;
    struct segment **buckets; /* by id, chained by segment->next */
    uint32_t bucket_count;
    uint64_t *owned; /* a bit an extent: something in the state refers to it */
    struct vector retired_schemas; /* struct schema *: readers may still hold them */

    pthread_mutex_t version_mutex; /* current, and its first reference */
    struct version *current;

    _Atomic uint32_t blobs_wanted; /* a blob file lost its last segment */
    _Atomic uint64_t counters[MANIFEST_COUNTER_COUNT];
};

struct manifest_edit {
    struct manifest *manifest;
    uint8_t *bytes;
    size_t size_bytes, capacity_bytes;
    uint32_t record_count;
    int error; /* of the first adding call that failed */
    struct mote_error error_context;
};

/* ---- manifest_codec.c ---- */
/* Bytes of the table's record with its header. */
uint64_t manifest_table_bytes(const struct schema *schema);
void manifest_table_encode(const struct schema *schema, int64_t next_rowid, uint64_t created_seq, struct byte_writer *writer);
/* The snapshot's payload; false if it does not fit. Returns the number of records in *record_count. */
bool manifest_snapshot_encode(const struct manifest_state *state, const struct version *version, struct byte_writer *writer, uint32_t *record_count);

/* ---- manifest_apply.c ---- */
void manifest_set_owned(struct manifest *manifest, struct extent_run run, bool owned);
/* Applies record_count records. MOTE_EINVAL, MOTE_ENOTABLE, MOTE_ENOTFOUND, MOTE_EEXISTS, MOTE_ENOSPC, MOTE_EBUDGET, MOTE_EDAMAGED (a record that no encoder makes); roll back then. */
int manifest_stage_apply(struct stage *stage, const uint8_t *payload, uint32_t payload_bytes, uint32_t record_count);

/* For manifest_index.c. Takes a run of extents for the state, or refuses it. */
int manifest_stage_own(struct stage *stage, struct extent_run run, const char *what);
int manifest_stage_push_run(struct stage *stage, struct vector *vector, struct extent_run run);
int manifest_stage_change(struct stage *stage, struct segment *segment, struct segment *successor, bool added);
struct manifest_table *manifest_stage_table(struct manifest_state *state, uint64_t table_id);
int manifest_stage_unknown_table(uint64_t table_id);
int manifest_stage_check_section(const struct stage *stage, const struct segment_section *section);
int manifest_stage_segment(struct stage *stage, uint64_t segment_id, struct segment **segment);
/* A writer over exactly the body of one more record (manifest_edit.c). */
struct byte_writer manifest_edit_record(struct manifest_edit *edit, enum manifest_record_kind kind, size_t length_bytes);

/* ---- manifest_index.c ---- */
int manifest_apply_index(struct stage *stage, struct byte_reader *reader);
int manifest_apply_drop_index(struct stage *stage, struct byte_reader *reader);
int manifest_apply_section(struct stage *stage, struct byte_reader *reader);
/* The table is dropped: so are its indexes; the sections go with their segments. */
void manifest_drop_table_indexes(struct stage *stage, uint64_t table_id);
/* A copy with the sections of `from` (NULL: none) but those of without_index; staged. */
int manifest_new_segment(struct stage *stage, const struct segment_record *record, const struct segment *from, uint64_t without_index, struct segment **segment);
void manifest_free_segment(struct manifest *manifest, struct segment *segment);
/* The extents of all sections are owned no more. */
int manifest_clear_sections(struct stage *stage, const struct segment *segment);
uint32_t manifest_sections_encode(const struct segment *segment, struct byte_writer *writer);

/* ---- manifest_named.c ---- */
int manifest_apply_named(struct stage *stage, struct byte_reader *reader);
int manifest_apply_drop_named(struct stage *stage, struct byte_reader *reader);
/* ---- manifest_blob.c ---- */
int manifest_apply_blob_file(struct stage *stage, struct byte_reader *reader);
int manifest_apply_drop_blob_file(struct stage *stage, struct byte_reader *reader);
int manifest_apply_segment_blobs(struct stage *stage, struct byte_reader *reader);
/* The segment leaves the state. */
void manifest_clear_blobs(struct stage *stage, const struct segment *segment);
int manifest_copy_blobs(struct manifest *manifest, const struct segment *from, struct segment *to);
void manifest_free_blobs(struct manifest *manifest, struct segment *segment);
uint32_t manifest_blob_files_encode(const struct manifest_state *state, struct byte_writer *writer);
uint32_t manifest_blobs_encode(const struct segment *segment, struct byte_writer *writer);
/* What the stage made or dropped is freed: after its segments, extents of dropped files with them. */
void manifest_stage_free_blobs(struct stage *stage, bool installed);
/* ---- manifest_retention.c ---- */
int manifest_apply_retention(struct stage *stage, struct byte_reader *reader);
int manifest_apply_pin(struct stage *stage, struct byte_reader *reader);
int manifest_apply_unpin(struct stage *stage, struct byte_reader *reader);
int manifest_apply_watermark(struct stage *stage, struct byte_reader *reader);
/* The table is dropped. */
void manifest_drop_table_retention(struct stage *stage, const struct manifest_table *table);
/* The snapshot's records, behind the tables'; their number. */
uint32_t manifest_retention_encode(const struct manifest_state *state, struct byte_writer *writer);

/* ---- manifest_copy.c ---- */
int manifest_apply_receive(struct stage *stage, struct byte_reader *reader);
int manifest_apply_base(struct stage *stage, struct byte_reader *reader);
int manifest_apply_drop_base(struct stage *stage, struct byte_reader *reader);
uint32_t manifest_copies_encode(const struct manifest_state *state, struct byte_writer *writer);
/* manifest.c: one without a device, for manifest_try. */
int manifest_make(struct memory *memory, const struct layout *layout, uint32_t tables_max, struct manifest **manifest);

/* ---- manifest_stage.c ---- */
void manifest_stage_begin(struct manifest *manifest, struct stage *stage, uint32_t kind, bool recovering, const uint64_t counters[MANIFEST_COUNTER_COUNT]);
void manifest_stage_rollback(struct stage *stage);
/* The edit counts from here on. version: what readers see next (its reference goes to the manifest); NULL while recovering. */
void manifest_stage_install(struct stage *stage, struct version *version, void (*installed)(void *context), void *context);

/* ---- manifest_recover.c ---- */
/* Reads the chain that the superblock names into manifest->state, heals it unless read-only, and sets area, next_offset_bytes, generation, last_crc. */
int manifest_recover(struct manifest *manifest);
/* Writes frame bytes to the copies in copy_mask (bit 0, bit 1) at an offset of an area, as one batch. Not a barrier. */
int manifest_write_copies(struct blockdev_queue *queue, const struct layout *layout, unsigned copy_mask, unsigned area, uint64_t offset_bytes, const uint8_t *bytes, uint64_t size_bytes);

/* ---- version.c ---- */
void manifest_insert_segment(struct manifest *manifest, struct segment *segment);
void manifest_delete_segment(struct manifest *manifest, struct segment *segment);
/* Gives back one reference. */
void manifest_release_segment(struct manifest *manifest, struct segment *segment);
/* The version after a stage: lists of tables that it does not touch are shared. MOTE_EBUDGET. */
int manifest_build_version(struct manifest *manifest, const struct stage *stage, struct version **version);
/* The version of everything in the table of segments. */
int manifest_build_first_version(struct manifest *manifest, struct version **version);

#endif
