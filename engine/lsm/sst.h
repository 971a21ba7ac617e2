/* sst.h: writing and reading SSTables. sst_format.h is the on-device format:
 *
 *   blocks          each: header (own offset, segment id, row count, column directory), then each column of the schema encoded (blockdev/base/codec.h), the seqs (FOR/DELTA), the kinds (only when there is a tombstone).
 *                   Checksum seeded with UUID, segment id, and offset. Block starts are 64-byte aligned; a block never straddles two extent runs (the rest of a run is skipped).
 *   block index     partitions of at most 64 blocks: first key, last key, offset, length, rows, tombstones, seq range, block checksum; zone maps per column: min, max, sum, non-null count (scalars)
 *   filter          a blocked Bloom filter over key hashes, where keys do not arrive in order (more than one key in 100 was out of order within the table) or an option asks for it
 *   timestamp index section (index/timestamp_format.h), if the table has a time column
 *   footer          partition directory (first keys), sections, schema version, counts; its checksum is in the manifest's record
 *
 * Order: (key ascending, seq descending); several versions of one key may follow each other.
 * A tombstone has its key columns' values and NULL for the others (also NOT NULL ones), so its time is known when the time column is in the key.
 *
 * Threads: a builder and an iterator belong to one thread each, with a queue of their own. Failures: MOTE_EIO (write: nothing refers to the extents yet, sst_builder_failed_extent tells which one), MOTE_ENOSPC, MOTE_EBUDGET,
 * MOTE_EDAMAGED with device, offset, table.
 */
#ifndef MOTE_ENGINE_LSM_SST_H
#define MOTE_ENGINE_LSM_SST_H

#include "blockdev/base/codec.h"
#include "blockdev/blockdev.h"
#include "blockdev/cache.h"
#include "blockdev/extents.h"
#include "blockdev/layout.h"
#include "blockdev/section.h"
#include "engine/lsm/memtable.h"
#include "engine/lsm/segment.h"

#define SST_SCRATCH_IDLE 4u
#define SST_INDEX_KINDS_MAX 8u
#define SST_INDEX_BUDGET_SHARE 8u /* the builders of one segment's indexes take together at most this part of the memory budget */

/* What readers and writers of SSTables share; one per open volume. Zeros but for what the opener sets. */
struct sst_context {
    struct blockdev *device;
    struct memory *memory;
    struct cache *cache;
    struct extents *extents;
    const struct layout *layout;
    const struct ordinal_index_ops *timestamps; /* the timestamp index: index/ and lsm/ do not know each other */
    const struct row_index_ops *const *indexes; /* the declared indexes' kinds, ended by NULL; NULL: none */
    uint8_t uuid[16];
    /* The readers' own: scratch of the codecs that nobody uses at the moment, given back with the last iterator. */
    _Atomic uint32_t iterator_count;
    _Atomic(void *) idle_scratch[SST_SCRATCH_IDLE];
};

/* An index that is built beside a segment: it is given the rows block by block, as they are written. */
struct sst_index_feed {
    const struct row_index_ops *ops;
    struct row_index *builder; /* NULL: given up */
    uint32_t column_count;
    uint32_t columns[ROW_INDEX_COLUMNS_MAX]; /* positions in the schema */
    struct manifest *manifest; /* for sst_index_build: numbers what the builder puts down meanwhile; NULL: it cannot */
};
/* The operations of that kind, or NULL. */
const struct row_index_ops *sst_index_ops(const struct sst_context *context, uint32_t kind);

/* ---- Building ---- */

struct sst_builder;

struct sst_builder_options {
    struct sst_context *context;
    struct blockdev_queue *queue;       /* idle, this thread's */
    const struct schema *schema;        /* newest; rows of older versions are brought to it */
    struct extent_reservation *reservation;
    enum blockdev_source source;        /* FLUSH or COMPACTION */
    uint64_t segment_id, run_id;
    uint32_t level;
    uint32_t block_rows;                /* at most 65536; a block also ends at block_bytes_max raw bytes */
    uint32_t block_bytes_max;           /* 512 KiB */
    uint64_t segment_bytes_max;         /* sst_builder_full says true near it */
    uint64_t rows_max;                  /* rows that will come at most (sizes the filter and the timestamp builder) */
    uint32_t compression;               /* of text and blobs: as in mote_options */
    bool filter;                        /* build one whatever the order */
    struct sst_index_feed *feeds;       /* may be NULL. One that fails is given up (builder destroyed and NULL): a segment is never lost for the sake of an index */
    uint32_t feed_count;
};

/* Upper bound of the device bytes of one segment with so many rows, whose images (tombstones: keys) have raw_bytes together, for reservations. Split into several segments the rows need a little more: add the bound of no rows for each. */
uint64_t sst_bytes_bound(const struct schema *schema, uint32_t block_rows, uint64_t rows, uint64_t raw_bytes);

int sst_builder_create(const struct sst_builder_options *options, struct sst_builder **builder);
/* The next version in (key, seq descending) order. image (of image_schema's layout) must stay valid until sst_builder_finish or, with copy, only during the call. Blocks are encoded when full and written asynchronously in requests of up to
 * 512 KiB; at most a fixed number of buffers is in flight. */
int sst_builder_add(struct sst_builder *builder, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy);
/* Adds rows from the front of a stretch, as many as go into the present block without ending it or the segment; their images stay until the builder is destroyed or finished. Returns how many: 0 where sst_builder_add must be used, or an error. */
int sst_builder_add_stretch(struct sst_builder *builder, const struct record_stretch *stretch);
/* No further row should be added (size or run limit near): finish this one and begin another. */
bool sst_builder_full(const struct sst_builder *builder);
/* An index that is built beside has no memory for many rows more (row_index_ops.full). */
bool sst_builder_feeds_full(const struct sst_builder *builder);
/* Extents that it has taken and, should it end now, will not need. */
uint32_t sst_builder_spare_extents(const struct sst_builder *builder);
/* The part of it that is no wish: one row more may have no room. Between versions of one key only this ends a segment. */
bool sst_builder_must_end(const struct sst_builder *builder);
/* Writes what is left, the index, filter, timestamp section and footer, and waits for all writes. NOT durable: the caller flushes the device, then commits the record. Surplus extents are given back to the reservation. */
int sst_builder_finish(struct sst_builder *builder, struct segment_record *record);
/* After a MOTE_EIO of a write: the extent that failed. UINT32_MAX: unknown. It stays allocated, also after destroy: the caller retires it (extents_retire). */
uint32_t sst_builder_failed_extent(const struct sst_builder *builder);
/* Frees the builder; before finish succeeded also its extents, which go back to the reservation (nothing refers to them). Waits for writes in flight. */
void sst_builder_destroy(struct sst_builder *builder);

/* ---- Reading ---- */

/* An iterator over one segment. Big: allocate with sst_iterator_create, reuse with sst_iterator_open. */
struct sst_iterator;
int sst_iterator_create(struct sst_context *context, struct blockdev_queue *queue, struct sst_iterator **iterator);
void sst_iterator_destroy(struct sst_iterator *iterator);
/* On another segment, or again on the same (what was read and decoded is then kept); on no record. The caller keeps the segment alive while it calls anything but destroy and open. schema: the reader's (newest), for columns and
 * defaults. */
int sst_iterator_open(struct sst_iterator *iterator, struct segment *segment, const struct schema *schema);
/* Lets go of what the iterator holds in the cache (a footer, a partition, a block); it stays where it is and takes it again when needed. For iterators that rest. */
void sst_iterator_unpin(struct sst_iterator *iterator);
/* Frees the codecs' scratch that nobody uses at the moment: some MiB, for whoever lacks memory. */
void sst_scratch_drain(struct sst_context *context);
/* Gives the memory of decoded columns back where it is more than a little: for iterators that nobody uses for now. Such a one is on no record then. */
void sst_iterator_shrink(struct sst_iterator *iterator);
/* Reading ahead: what the iterators of one thread share; iterators without read block by block through the cache. An iterator gives its part up when it is closed, destroyed or set to NULL. */
struct sst_ahead;
int sst_ahead_create(struct sst_context *context, struct sst_ahead **ahead);
/* No iterator uses it any more; it may be used again. Gives its memory back. */
void sst_ahead_rest(struct sst_ahead *ahead);
void sst_ahead_destroy(struct sst_ahead *ahead);
void sst_iterator_set_ahead(struct sst_iterator *iterator, struct sst_ahead *ahead);
/* About how many rows will be taken, one after the other, from where the iterator is put next; 0: many, or not known. Until the next open. The blocks in which few lie are all read at once where something is shared for reading ahead, and
 * enter the cache. */
void sst_iterator_set_expected(struct sst_iterator *iterator, uint32_t rows);
/* Rows outside [from, to] may be left out from now on (by zone maps, and by the timestamp index where that skips more); rows inside never are. The caller decides when that is safe (an older version must not come to light). */
void sst_iterator_set_time_range(struct sst_iterator *iterator, int64_t from_ns, int64_t to_ns);
/* Blocks without tombstones are from now on read when something is asked of them that their entries in the index do not tell: so whoever finds sst_statistics enough passes over them unread. Off after sst_iterator_open. wants (may be NULL): whether a block
 * that is still ahead will probably be read: only such are read ahead. */
struct sst_statistics;
typedef bool (*sst_wants)(void *context, const struct sst_statistics *statistics);
void sst_iterator_set_deferred(struct sst_iterator *iterator, sst_wants wants, void *context);
/* Which columns of each row will be asked for from now on; with_keys: key and seq of each row too. Until the next open. Others may be asked for as well, but where few are wanted the iterator reads these alone, and others cost a read each.
 * keep: what is read ahead of them enters the cache. */
void sst_iterator_set_columns(struct sst_iterator *iterator, const uint32_t *columns, uint32_t count, bool with_keys, bool keep);
/* Positioning: 1 on a record, 0 at the end, negative MOTE_E. After 0 or an error the iterator is on no record: only seek, seek_before, first and last move it again (next and previous: 0). */
int sst_seek(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
int sst_seek_before(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq);
int sst_first(struct sst_iterator *iterator);
int sst_last(struct sst_iterator *iterator);
int sst_next(struct sst_iterator *iterator);
int sst_previous(struct sst_iterator *iterator);
/* Forward by so many rows, all in the present block. */
void sst_skip(struct sst_iterator *iterator, uint32_t count);
uint64_t sst_segment_id(const struct sst_iterator *iterator);
/* The number of the present block in the segment; and a row of a block by its number: MOTE_EINTERNAL if there is none. */
uint32_t sst_block_number(const struct sst_iterator *iterator);
int sst_stand(struct sst_iterator *iterator, uint32_t block, uint32_t row);
/* The record under the iterator; key bytes live until it moves. */
int sst_record(struct sst_iterator *iterator, struct record *record);
/* A column's value in the record under the iterator (decoding the column for the whole block at the first call); bytes live until the iterator moves to another block. */
int sst_value(struct sst_iterator *iterator, uint32_t column, struct mote_value *value);
/* The whole decoded column of the present block, the row's index in it, and how many rows from it on are in this block: for copying runs of rows. */
int sst_block_column(struct sst_iterator *iterator, uint32_t column, struct codec_vector *values);
/* Between these two, sst_block_column need only decode the next `count` rows, from the present one on, and the block stays where it is. */
void sst_run_begin(struct sst_iterator *iterator, uint32_t count);
void sst_run_end(struct sst_iterator *iterator);
/* Between these two: the values of the run's rows straight to `values`, where they are of a fixed size and none is NULL. 1: done; 0: not in this way, sst_block_column tells. */
int sst_run_copy(struct sst_iterator *iterator, uint32_t column, void *values);
uint32_t sst_block_row(const struct sst_iterator *iterator);
uint32_t sst_block_rows_left(const struct sst_iterator *iterator);
/* Whether every row of the present block has a time, by what its partition says, and the least and the greatest. */
bool sst_block_times(struct sst_iterator *iterator, int64_t *min_ns, int64_t *max_ns);
/* Number of rows, from the present one on in ascending order (in this block), that are PUTs with pairwise different keys, with seq <= snapshot_seq and key below `bound` (NULL: none): the rows that a scan may take over in one copy. At least 0. */
uint32_t sst_run_length(struct sst_iterator *iterator, uint64_t snapshot_seq, const uint8_t *bound, uint32_t bound_bytes);
/* What the index says of the block whose first row the iterator stands on; false: the block was entered already, or nothing is known that would save reading it. The pointers live until the iterator moves. Every row is a PUT. */
struct sst_statistics {
    const struct sst_iterator *iterator;
    uint32_t row_count, timed_count; /* rows; rows with a time */
    uint64_t seq_max;
    int64_t time_min_ns, time_max_ns; /* of those with a time */
    const uint8_t *first_key, *last_key, *zones;
    uint32_t first_key_bytes, last_key_bytes;
    bool distinct; /* no key comes twice */
};
bool sst_statistics(struct sst_iterator *iterator, struct sst_statistics *statistics);
/* Of one scalar column in all the block's rows. Integers, timestamps, bools: the i64 members; floats: the f64 members. A column that is newer than the segment: of its default. */
struct sst_zone {
    uint32_t value_count;               /* not NULL */
    bool is_float, has_range, has_sum;  /* has_sum: false where the sum of integers exceeds an int64 */
    bool has_nan;                       /* some values are NaN and not in min, max and sum */
    int64_t min_i64, max_i64, sum_i64;
    double min_f64, max_f64, sum_f64;   /* sum: codec_stats tells the order of its additions */
};
void sst_statistics_zone(const struct sst_statistics *statistics, uint32_t column, struct sst_zone *zone);
/* Past that block, unread; as sst_next from its last row. */
int sst_skip_block(struct sst_iterator *iterator);
/* Time of the record; false when it has none. A tombstone has one if the time column is in the key. */
int sst_time(struct sst_iterator *iterator, int64_t *time_ns, bool *has_time);
/* The row image (of the reader's schema) of the record under the iterator, into room[capacity]; MOTE_ETOOBIG if it does not fit (*image_bytes: what it needs). Of a tombstone: 0 bytes. For compaction. */
int sst_row_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes);
/* false: the key is certainly not in the segment (bounds and filter). Negative: MOTE_E. */
int sst_may_contain(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes);
/* The point read: the key's newest version at or below seq, with the filter asked: 1, 0 if the segment has none, negative MOTE_E. Of row pages only the page that holds it is read. The iterator is on no record for any other call but
 * sst_get_image (as sst_row_image), which holds until the iterator moves, rests or is opened. */
int sst_get(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct record *record);
int sst_get_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes);
/* What a point read would have to read next: for callers who read for many keys at once. */
struct sst_want {
    struct cache_key key;
    uint64_t device_offset_bytes;
    uint32_t length_bytes, magic, crc;
    bool (*validate)(const uint8_t *data, uint32_t length_bytes); /* NULL: the checksum is enough */
};
/* 1: *want is not in the cache; 0: sst_get would find all that it needs there (or fails as this call does: it tells); reads nothing but a footer. */
int sst_get_want(struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_want *want);
/* Whether what was read is right: it may enter the cache. */
bool sst_want_fits(const struct sst_context *context, const struct sst_want *want, const uint8_t *data);

/* To the row of that number in the segment: 1, or negative MOTE_E (MOTE_EDAMAGED: it has no such row). *alone: no other version of its key comes before it in the segment, as far as can be told without looking. */
int sst_seek_ordinal(struct sst_iterator *iterator, uint32_t ordinal, bool *alone);
/* From the first row of a block to that of the next one: as sst_next. The present block: how many rows it has, and which of them are tombstones (NULL: none). */
int sst_next_block(struct sst_iterator *iterator);
uint32_t sst_block_row_count(const struct sst_iterator *iterator);
int sst_block_deleted(struct sst_iterator *iterator, const uint8_t **deleted);

/* ---- Sections of declared indexes ---- */

/* What such a section is read through. The caller keeps segment and struct where they are; the queue is this thread's and idle. */
struct sst_index_section {
    struct sst_context *context;
    struct blockdev_queue *queue;
    const struct segment *segment;
    struct segment_section place;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
};
void sst_index_open(struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct segment_section *place, uint32_t kind, struct sst_index_section *section);
/* Writes what the builder holds as a section of a segment that is complete, into extents of its own, which it reserves, never from the standing reserve. NOT durable. An extent that cannot be written is retired until the next open. */
int sst_index_write(struct sst_context *context, struct blockdev_queue *queue, uint64_t segment_id, const struct row_index_ops *ops, struct row_index *builder, uint64_t section_id, struct segment_section *place);
/* The same from the rows of a segment. feed: its builder is made and destroyed here. */
int sst_index_build(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, const uint8_t *options, uint32_t options_bytes, struct sst_index_feed *feed, uint64_t section_id,
                    struct segment_section *place);
/* The same from the sections of the segments whose rows were merged, by kinds that can (row_index_ops.merge). origins: at most 2^32 - 1 rows each; the queue is idle. */
struct sst_index_origin {
    const struct segment *segment;
    struct segment_section place;
    const uint32_t *new_ordinals; /* as in struct section_merge_input */
    uint32_t first_ordinal, mapped_count;
};
struct sst_index_merge {
    const struct row_index_ops *ops;
    const uint8_t *options;
    uint32_t options_bytes;
    uint64_t segment_id, section_id; /* of the new one */
    const struct sst_index_origin *origins;
    uint32_t origin_count;
};
int sst_index_merge(struct sst_context *context, struct blockdev_queue *queue, const struct sst_index_merge *merge, struct segment_section *place);
/* The same in steps, by kinds that have them (struct row_index_steps): may take minutes, holds no lock, and may be given up at any moment. Caller: keeps the segment; two queues of its own, both idle at first, which one thread at a time
 * uses (BLOCKDEV_QUEUE_SHARED). */
struct sst_index_work_options {
    struct sst_context *context;
    struct blockdev_queue *read_queue, *write_queue;
    struct segment *segment;
    const struct schema *schema;
    const uint8_t *options; /* of the index; copied */
    uint32_t options_bytes;
    const struct sst_index_feed *feed; /* ops and columns */
    uint64_t section_id;
    uint64_t memory_bytes_max; /* 0: the section that is made soonest */
};
struct sst_index_work;
int sst_index_work_create(const struct sst_index_work_options *options, struct sst_index_work **work);
/* A piece: some rows read, or a millisecond or two of building. After a failure it can but be destroyed. */
int sst_index_work_step(struct sst_index_work *work, bool *finished);
/* Between steps: it holds nothing of the cache until the next one. */
void sst_index_work_rest(struct sst_index_work *work);
/* Of a finished one: the section, whose extents are the caller's from here on. NOT durable. */
void sst_index_work_take(struct sst_index_work *work, struct segment_section *place);
/* Waits for writes in flight; what was not taken is given back. */
void sst_index_work_destroy(struct sst_index_work *work);
/* Checks every page. */
int sst_index_verify(struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct segment_section *place, const struct row_index_ops *ops);

/* ---- Checking, rebuilding, printing ---- */

/* Reads everything: footer, partitions, every block (decoded: order of keys and seqs, counts, zone maps), filter, timestamp section. report as in mote_verify. */
int sst_verify(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, void (*report)(const struct mote_error *fault, void *context), void *report_context);
/* Builds the timestamp section anew from the rows into extents of its own, from the standing reserve if need be. */
int sst_rebuild_timestamp(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, uint64_t section_id, struct segment_section *section);
/* Searches the segment's timestamp section (the rebuilt one if there is one): ordinals in the segment, of tombstones with a time too. MOTE_ENOTFOUND without a sentence: the table has no time column. MOTE_EDAMAGED or MOTE_EIO set
 * segment->timestamp_unusable. */
int sst_timestamp_search(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, int64_t from_ns, int64_t to_ns, int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count), void *visit_context);
/* How many rows it has in the range, tombstones included. Results as above. */
int sst_timestamp_count(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, int64_t from_ns, int64_t to_ns, uint64_t *count);
/* Prints footer and index (block < 0), or one block with its rows, readably (plain lines). */
#include <stdio.h>
int sst_dump(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, int64_t block, FILE *out);

#endif
