/* sst_builder_private.h: the parts of an SSTable's builder and how they fit together.
 *
 *     sst_builder.c      rows in; decides where blocks, partitions and the segment end
 *     sst_rows.c         struct sst_rows: the present block's rows, and their gathering into columns
 *     sst_block_write.c  columns -> an encoded block, and its entry in the partition
 *     sst_page_write.c   the same for row pages
 *     sst_index_write.c  partition, filter, timestamp section, footer
 *     sst_stream.c       struct sst_stream: the segment's bytes -> extents, aligned buffers, requests in flight
 *
 * After a failure (struct sst_builder.error) nothing more is written; every later call returns the same error. */
#ifndef MOTE_ENGINE_LSM_SST_BUILDER_PRIVATE_H
#define MOTE_ENGINE_LSM_SST_BUILDER_PRIVATE_H

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst.h"
#include "engine/lsm/sst_format.h"
#include "blockdev/section.h"

#define SST_STREAM_BUFFERS 4u /* writes in flight at most */

/* ---- sst_stream.c ---- */

struct sst_stream_buffer {
    uint8_t *data; /* buffer_bytes, aligned for I/O */
    struct blockdev_request request;
    bool busy;
};

struct sst_stream {
    struct sst_context *context;
    struct blockdev_queue *queue;
    struct extent_reservation *reservation;
    uint64_t segment_id;
    uint8_t source;         /* enum blockdev_source of what is written now */
    uint32_t logical_bytes, buffer_bytes;
    uint64_t wanted_bytes;  /* how long the segment will probably be: the extents asked for at a time follow from it */
    struct extent_run runs[SEGMENT_RUNS_MAX];
    uint32_t run_count;
    uint64_t run_start;     /* of the last run, in the segment */
    uint64_t end;           /* of all runs */
    uint64_t at;            /* where the next byte goes */
    struct sst_stream_buffer buffers[SST_STREAM_BUFFERS];
    struct sst_stream_buffer *buffer; /* the one being filled, or NULL */
    uint64_t buffer_start, buffer_limit; /* in the segment */
    uint32_t inflight;
    uint32_t failed_extent; /* UINT32_MAX: none, or unknown */
    int error;              /* of the first write that failed */
    struct mote_error error_detail;
};

int sst_stream_create(struct sst_stream *stream);
/* Fills up with zeros so that the next structure, of at most length_bytes, begins at a multiple of align_bytes (a power of two that divides the extent). Before sst_stream_place. */
int sst_stream_align(struct sst_stream *stream, uint32_t align_bytes);
/* Makes the next structure lie contiguously: *offset_bytes is a multiple of 64, and `length_bytes` from there on are in one run. tail_bytes: what should fit behind it, if the run is the last. */
int sst_stream_place(struct sst_stream *stream, uint64_t length_bytes, uint64_t tail_bytes, uint64_t *offset_bytes);
/* Appends; at most what was placed. */
int sst_stream_write(struct sst_stream *stream, const void *data, uint64_t length_bytes);
/* What follows is written under this source, from the next logical block on. */
int sst_stream_set_source(struct sst_stream *stream, enum blockdev_source source);
/* Bytes that can still be placed, by a cautious guess of how the reservation's extents lie. */
uint64_t sst_stream_room(const struct sst_stream *stream);
/* Writes the rest (padded to a logical block) and waits for all. */
int sst_stream_finish(struct sst_stream *stream);
/* Waits for what is in flight, so that the queue is idle. */
int sst_stream_wait(struct sst_stream *stream);
/* Gives surplus extents at the end back to the reservation. */
void sst_stream_trim(struct sst_stream *stream);
/* Waits for what is in flight, frees the buffers and, unless keep, the extents (not the failed one: it is to be retired). */
void sst_stream_destroy(struct sst_stream *stream, bool keep);

/* ---- sst_rows.c ---- */

/* A row that cannot be copied by offsets: a tombstone (its key bytes) or a row of an older schema (its image). */
struct sst_slow_row {
    uint32_t row, data_bytes;
    const uint8_t *data;
    const struct schema *schema; /* NULL: tombstone */
};

struct sst_rows {
    struct memory *memory;
    const struct schema *schema;
    uint32_t count, capacity;
    uint32_t delete_count, slow_count, null_row_count;
    uint64_t raw_bytes, raw_bytes_max; /* decoded size of the block, at most */
    const uint8_t **images;     /* slow rows: zero_image */
    uint64_t *seqs;
    uint8_t *kinds;             /* 1 = tombstone */
    struct sst_slow_row *slow;
    uint32_t *null_rows;        /* rows whose null bitmap is not zero, as found while gathering */
    uint8_t *zero_image;
    uint8_t *copies;            /* copied images and keys; made when the first row must be copied */
    uint64_t copied_bytes, copies_capacity;
    uint8_t *arena;             /* the gathered columns */
    size_t arena_bytes;
    struct codec_vector *vectors; /* column_count, valid after sst_rows_gather */
    bool *in_key;                 /* column_count */
    uint32_t fixed_count, var_count;
    struct sst_fixed_column {
        uint32_t position, row_offset, width;
        uint32_t together; /* of the first of so many neighbours that are copied together */
        uint8_t *values;
    } *fixed; /* in the order of row_offset */
    struct sst_var_column {
        uint32_t position;
        uint32_t *offsets; /* in the arena */
    } *var;
    uint8_t *var_bytes; /* in the arena: the bytes of all text and blobs */
    struct mote_value key_values[MOTE_KEY_COLUMNS_MAX];
    uint8_t key_scratch[MOTE_KEY_BYTES_MAX];
};

int sst_rows_create(struct sst_rows *rows, struct memory *memory, const struct schema *schema, uint32_t capacity, uint64_t raw_bytes_max);
void sst_rows_destroy(struct sst_rows *rows);
/* What the row adds to raw_bytes. */
uint64_t sst_rows_raw_bytes(const struct sst_rows *rows, const struct record *record, const struct schema *image_schema, uint32_t image_bytes);
int sst_rows_add(struct sst_rows *rows, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy, uint64_t raw_bytes);
/* The first rows of a stretch of the newest schema. */
void sst_rows_add_stretch(struct sst_rows *rows, const struct record_stretch *stretch, uint32_t count);
/* Fills vectors; they live until the next call of gather or clear. */
int sst_rows_gather(struct sst_rows *rows);
void sst_rows_clear(struct sst_rows *rows);

/* ---- the builder ---- */

/* A list of byte strings with their starts, as partitions and footers hold their entries. */
struct sst_entry_list {
    uint8_t *bytes;
    uint32_t *starts;
    uint32_t bytes_used, bytes_capacity, count, count_capacity;
};

/* What a partition says in sum of its blocks; the footer's directory entry is made of it. */
struct sst_partition_sums {
    uint32_t first_block, untimed_delete_count;
    uint64_t first_ordinal, row_count, seq_descent_count;
    int64_t time_min_ns, time_max_ns;
};

/* The page directory of the present block, in its parts. */
struct sst_pages {
    uint8_t *units; /* SST_UNIT_BYTES each */
    uint8_t *keys;
    uint32_t unit_count, units_capacity, keys_used_bytes, keys_capacity;
    uint32_t directory_bytes_bound, directory_bytes_most; /* what it can be, and what it was */
    uint8_t *image; /* of a row that is not there as an image of the newest schema */
    uint32_t image_capacity;
};

struct sst_builder {
    struct sst_builder_options options;
    struct memory *memory;
    const struct schema *schema;
    struct sst_stream stream;
    struct sst_rows rows;
    struct ordinal_index *timestamps; /* NULL: no time column */
    bool row_pages;                   /* blocks hold rows, not columns */
    struct sst_pages pages;
    uint8_t *staging;                     /* a structure while it is encoded */
    size_t staging_bytes;
    void *scratch;                        /* of the codecs */
    size_t scratch_bytes;
    struct codec_hint *hints;             /* of the columns and of the seqs */
    uint32_t *stream_crcs;                /* of the block that was emitted last */
    /* The present block. */
    uint8_t first_key[MOTE_KEY_BYTES_MAX], last_key[MOTE_KEY_BYTES_MAX];
    uint32_t first_key_bytes, last_key_bytes, repeat_count;
    uint64_t last_seq;
    /* The present partition. */
    struct sst_entry_list blocks;
    struct sst_partition_sums sums;
    uint64_t *hashes; /* of the partition's keys, while hashing */
    uint32_t hash_count, hash_capacity;
    bool hashing;     /* keys came out of order so far (or none came yet), or a filter was asked for */
    /* The segment. */
    struct sst_entry_list partitions;
    uint32_t block_count;
    uint64_t row_count, delete_count, timed_count, seq_min, seq_max;
    int64_t time_min_ns, time_max_ns;
    struct segment_key min_key, max_key;
    struct section_root timestamp_root;
    uint64_t timestamp_offset_bytes;
    uint64_t block_bytes_bound; /* no block is longer */
    uint32_t entry_bytes_bound; /* no partition entry is longer */
    uint64_t tail_bytes;        /* what follows the present block and one more, at most; as of the last block's end */
    bool feeds_full;            /* an index has no memory for many more rows */
    bool finished;
    int error;
    struct mote_error error_detail;
};

int sst_entry_list_grow(struct memory *memory, struct sst_entry_list *list, uint32_t entry_bytes, uint8_t **room);
void sst_entry_list_free(struct memory *memory, struct sst_entry_list *list);
/* Bytes of a table of starts and the entries behind it; and writing it at `at`, an offset in the structure. */
uint32_t sst_entry_list_bytes(const struct sst_entry_list *list, uint32_t at);
void sst_entry_list_store(const struct sst_entry_list *list, uint8_t *structure, uint32_t at);
int sst_builder_staging(struct sst_builder *builder, size_t size_bytes);
/* Completes the structure in staging and writes it. */
int sst_builder_emit(struct sst_builder *builder, uint32_t magic, uint32_t length_bytes, struct sst_header *header);
/* What remains to be written after the present block, at most. */
uint64_t sst_builder_tail_bytes(const struct sst_builder *builder);

/* sst_block_write.c */
uint64_t sst_block_bytes_bound(const struct schema *schema, uint32_t rows, uint64_t raw_bytes);
int sst_block_write(struct sst_builder *builder);
/* sst_index.c: the gathered rows to the declared indexes. */
void sst_feeds_add(struct sst_builder *builder);
/* A section into extents of its own, which are reserved and trimmed here. An extent that cannot be written is retired. */
struct sst_section_write {
    struct sst_context *context;
    struct blockdev_queue *queue;
    uint64_t segment_id, section_id, bytes_max;
    int (*fill)(void *context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
    void *fill_context;
    bool standing; /* the standing reserve may be used */
    struct sst_stream **stream; /* may be NULL: where it stands while fill is called, for who reads by the same queue */
};
int sst_section_write(const struct sst_section_write *write, struct segment_section *place);
/* sst_index_scratch.c: what one building of a section puts down. */
struct sst_scratch_sections {
    struct section_scratch scratch; /* for the builder */
    struct sst_context *context;
    struct blockdev_queue *queue;
    const struct segment *segment;
    const struct row_index_ops *ops;
    struct manifest *manifest;
    struct sst_stream *stream;      /* that is writing by the queue; NULL: none */
};
void sst_scratch_sections_open(struct sst_scratch_sections *sections, struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct sst_index_feed *feed);
/* sst_page_write.c */
/* Of a block, its page directory included or alone. */
uint64_t sst_pages_block_bound(const struct schema *schema, uint64_t rows, uint64_t raw_bytes);
uint64_t sst_pages_directory_bound(const struct schema *schema, uint64_t block_bytes);
/* Lays the gathered rows out in pages and writes them. */
int sst_pages_write(struct sst_builder *builder, uint64_t seq_min, uint64_t seq_max, struct sst_header *header);
uint32_t sst_pages_directory_bytes(const struct sst_builder *builder);
void sst_pages_directory_store(const struct sst_builder *builder, uint8_t *at);
void sst_pages_free(struct sst_builder *builder);
/* sst_index_write.c */
int sst_partition_write(struct sst_builder *builder);
int sst_timestamps_write(struct sst_builder *builder);
int sst_footer_write(struct sst_builder *builder, struct sst_header *header);
/* sst_filter.c */
uint32_t sst_filter_bytes(uint64_t key_count);
void sst_filter_build(uint8_t *filter, uint32_t filter_bytes, const uint64_t *hashes, uint32_t hash_count);

#endif
