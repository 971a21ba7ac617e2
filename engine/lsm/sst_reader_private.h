/* sst_reader_private.h: the parts of the SSTable iterator and how they fit together.
 *
 *     sst_reader.c       life and positioning
 *     sst_index_read.c   footer and partitions: pinned, checked, searched
 *     sst_block_read.c   one block: pinned, columns decoded on demand, keys made, rows searched
 *     sst_parts.c        a block of which few columns are wanted: its streams read alone
 *     sst_page_read.c    blocks of row pages: point reads, and columns out of rows
 *     sst_want.c         what a point read would read next
 *     sst_ahead.c        reading ahead for scans
 *     sst_value.c        what a caller takes out of the present row and block
 *     sst_time_range.c   which blocks a time range needs
 *     sst_statistics.c   what the entry of a block tells of its rows
 *     sst_timestamp.c    the timestamp section: search, rebuild
 *     sst_index.c        sections of declared indexes
 *     sst_scratch.c      memory of the codecs, shared by all iterators
 *
 * Pins: footer, partition and block are pinned in the cache while the iterator uses them. sst_iterator_unpin lets go of them; each use pins again what is missing. Decoded columns are the iterator's own.
 * What a structure holds is validated once, when the cache reads it; what the iterator relies on and another structure could contradict is compared at each pin. */
#ifndef MOTE_ENGINE_LSM_SST_READER_PRIVATE_H
#define MOTE_ENGINE_LSM_SST_READER_PRIVATE_H

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst.h"
#include "engine/lsm/sst_format.h"

#define SST_NONE UINT32_MAX

struct sst_pin {
    struct cache_entry *entry; /* NULL: not pinned */
    const uint8_t *data;
};

/* A partition as the footer's directory has it. */
struct sst_directory_entry {
    struct sst_header partition, filter; /* filter.length_bytes 0: none */
    uint32_t first_block, block_count, untimed_delete_count, last_key_bytes;
    uint64_t first_ordinal, last_seq;
    int64_t time_min_ns, time_max_ns;
    const uint8_t *last_key;
};

/* A block as its partition has it. */
struct sst_block_entry {
    struct sst_header header;
    uint32_t row_count, delete_count, repeat_count, timed_count, untimed_delete_count, first_ordinal, first_key_bytes, last_key_bytes;
    uint64_t seq_min, seq_max, first_seq, last_seq;
    int64_t time_min_ns, time_max_ns;
    const uint8_t *zones, *first_key, *last_key;
    const uint8_t *streams; /* the stream directory; NULL: the block holds row pages */
    const uint8_t *pages;   /* their page directory; NULL: the block holds columns */
    uint32_t unit_count;
};

/* A unit of row pages as the page directory has it. */
struct sst_unit {
    uint64_t seq, offset_bytes; /* of its first row; in the segment */
    uint32_t crc, length_bytes, row_count, key_bytes;
    const uint8_t *key; /* of its first row */
};

/* Where the columns lie in the segment's row images. */
struct sst_row_layout {
    uint32_t *offsets; /* one for each column; NULL: not made yet */
    uint32_t *vars;    /* positions of text and blobs */
    uint32_t var_count, fixed_bytes;
};

/* A row of the present block of row pages: where its image begins in the block. */
struct sst_row_place {
    uint32_t start, deleted;
};

struct sst_footer {
    uint32_t column_count, partition_count, block_count, schema_version, level;
    uint64_t table_id, run_id, row_count, delete_count, seq_min, seq_max, timed_count, timestamp_offset_bytes, timestamp_length_bytes, timestamp_root_offset_bytes, section_id;
    uint32_t timestamp_root_bytes, timestamp_root_crc;
    int64_t time_min_ns, time_max_ns;
};

/* One decoded stream of the present block, in one piece of memory: offsets, bitmap, values. */
struct sst_slot {
    uint8_t *memory;
    size_t memory_bytes;
    uint64_t stamp; /* of the block that it was decoded for */
    uint64_t part_stamp; /* of the block of which the rows from part_first to before part_end alone were decoded, into their places; NULLs: none */
    uint32_t part_first, part_end;
    bool has_nulls;
    struct codec_vector vector;
};

/* Neighbouring streams of a block that are read and checked together. */
struct sst_group {
    uint32_t first, last;
};

#define SST_GROUPS_MAX 16u

/* What a reader said that it wants of each row. */
struct sst_projection {
    bool set;       /* else all columns */
    bool with_keys; /* the keys and seqs of each row too */
    bool keep;      /* all that is wanted of the table is small against the cache: it is kept there */
    uint32_t keys_left; /* blocks for which keys and seqs count as wanted, since they were asked for just now */
    uint64_t wanted[MOTE_COLUMNS_MAX / 64], keys[MOTE_COLUMNS_MAX / 64]; /* columns; keys: of the key */
};

struct sst_block {
    uint32_t number;    /* in the segment; SST_NONE: no block */
    uint32_t partition; /* and its place in it */
    uint32_t index;
    bool row_pages;
    bool in_parts; /* its streams are read by groups, unless it is pinned */
    uint32_t group_count, group_pinned; /* group_pinned: first stream of what stream_pin holds */
    struct sst_group groups[SST_GROUPS_MAX];
    uint32_t row_count, delete_count, repeat_count, column_count, length_bytes;
    uint64_t seq_min, seq_max;
    uint64_t stamp; /* new for each block, never 0 */
    struct sst_header header;
};

/* A place in the order of keys and seqs. */
struct sst_target {
    const uint8_t *key;
    uint32_t key_bytes;
    uint64_t seq;
    int64_t first; /* the first key column's value, if it is an int64 or a timestamp and whole in the key */
    bool has_first;
};

struct sst_time_range {
    bool active, index_tried;
    int64_t from_ns, to_ns;
    uint32_t passed_count;    /* blocks that the zone maps let through so far */
    uint64_t *marks;          /* by the timestamp index: a bit for each block that has a row in the range; NULL: not known */
    uint32_t mark_count;
};

struct sst_iterator {
    struct sst_context *context;
    struct blockdev_queue *queue;
    struct segment *segment; /* NULL: none */
    const struct schema *schema; /* NULL: only footer, partitions and sections are looked at */
    uint64_t segment_id;     /* that the rest belongs to */
    uint32_t footer_crc, schema_version;
    uint32_t stored_columns; /* of the schema's columns, the first so many are in the segment */
    struct sst_pin footer_pin, partition_pin, block_pin, unit_pin, stream_pin;
    struct sst_footer footer;
    uint32_t partition;      /* number of the pinned one */
    struct sst_block block;
    uint64_t stamps;
    struct sst_slot *slots;  /* columns of the schema, seqs, kinds */
    uint32_t slot_count;
    size_t slots_bytes; /* memory of all slots */
    uint32_t row;
    bool on_record, key_valid;
    uint64_t searched_stamp; /* of the block in which a search ended at searched_row */
    uint32_t searched_row;
    bool sought; /* the row was searched for: perhaps nothing else of its block is wanted */
    uint32_t run_count; /* rows that are about to be copied (sst_run_begin); 0: none */
    bool defers;   /* blocks are entered when something is asked that their entries do not tell */
    bool deferred; /* on the first row of a block that was not entered: number deferred_index of partition deferred_partition, which holds no tombstone. What `block` and the slots hold is of another */
    uint32_t deferred_partition, deferred_index;
    sst_wants wants; /* NULL: all blocks */
    void *wants_context;
    uint32_t key_bytes;
    struct sst_time_range range;
    struct sst_projection projection;
    /* Reading ahead. */
    struct sst_ahead *ahead;  /* NULL: never */
    struct sst_pin ahead_pin; /* a partition that is ahead of the present one */
    uint32_t ahead_pinned;    /* its number */
    uint32_t expected_rows;   /* 0: many */
    uint32_t streak;          /* blocks entered one after the other */
    uint32_t ahead_number, ahead_partition; /* the next block to be asked for, and where to look for it */
    uint32_t ahead_end;       /* where few rows are expected: none is asked for from this block on */
    bool ahead_begins;        /* another scan: the next block is its first one, however near to the last scan's */
    uint32_t ahead_grown;     /* windows asked for since the scan began */
    uint64_t ahead_checked;   /* offset of the block whose checksum held in its window */
    /* Row pages. */
    struct sst_row_layout layout;
    struct sst_row_place *rows; /* of the block whose stamp rows_stamp is */
    uint32_t rows_capacity, unit_image_bytes;
    uint64_t rows_stamp;
    const uint8_t *unit_image; /* what sst_get found, while unit_pin holds it; NULL: a tombstone */
    bool got_unit;             /* the last sst_get found its row in a row page */
    uint8_t key[MOTE_KEY_BYTES_MAX], probe[MOTE_KEY_BYTES_MAX];
};

/* ---- sst_index_read.c ---- */
const char *sst_table_name(const struct sst_iterator *iterator);
/* MOTE_EDAMAGED with segment, place and table. */
int sst_refuse(const struct sst_iterator *iterator, uint64_t offset_bytes, uint64_t length_bytes, const char *what);
/* Pins a structure; validate (may be NULL) is called once, after the checksum, when it comes from the device. */
int sst_pin_structure(struct sst_iterator *iterator, const struct sst_header *expected, bool (*validate)(const uint8_t *data, uint32_t length_bytes), struct sst_pin *pin);
void sst_unpin(struct sst_iterator *iterator, struct sst_pin *pin);
int sst_footer_pin(struct sst_iterator *iterator);
void sst_directory_load(const struct sst_iterator *iterator, uint32_t partition, struct sst_directory_entry *entry);
int sst_partition_pin(struct sst_iterator *iterator, uint32_t partition);
/* Of the pinned partition. */
uint32_t sst_partition_block_count(const struct sst_iterator *iterator);
void sst_block_entry_load(const struct sst_iterator *iterator, uint32_t index, struct sst_block_entry *entry);
/* The first block whose last row is at or behind the target: 1, or 0 if there is none. Pins its partition. */
int sst_locate(struct sst_iterator *iterator, const struct sst_target *target, uint32_t *partition, uint32_t *index);
/* Its partition alone: nothing but the footer is read. */
int sst_locate_partition(struct sst_iterator *iterator, const struct sst_target *target, uint32_t *partition);
/* Whether (key, seq) is before the target: key ascending, seq descending. */
bool sst_is_before(const uint8_t *key, uint32_t key_bytes, uint64_t seq, const struct sst_target *target);
void sst_target_make(const struct sst_iterator *iterator, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_target *target);
bool sst_footer_validate(const uint8_t *data, uint32_t length_bytes);
bool sst_partition_validate(const uint8_t *data, uint32_t length_bytes);

/* ---- sst_block_read.c ---- */
/* Makes the block of the pinned partition the present one. */
int sst_block_enter(struct sst_iterator *iterator, uint32_t index);
/* The present block itself, as long as the iterator is in it or until a column is decoded; entering a block does not pin it. */
int sst_block_pin(struct sst_iterator *iterator);
void sst_block_leave(struct sst_iterator *iterator);
/* Decodes a column of the schema, or its default where the segment lacks it. */
/* Of a row that was searched for, its value only; else the whole column. The slot is good for that row. The block may stay pinned: sst_unpin. */
int sst_row_decode(struct sst_iterator *iterator, uint32_t column, struct sst_slot **slot);
/* At least the values of these rows. */
int sst_part_decode(struct sst_iterator *iterator, uint32_t column, uint32_t first, uint32_t end, struct sst_slot **slot);
/* The values of these rows, of a fixed size and without NULLs, straight to `values`: 1. 0: not in this way, sst_part_decode serves; that is so where they are at hand already. */
int sst_part_copy(struct sst_iterator *iterator, uint32_t column, uint32_t first, uint32_t end, void *values);
int sst_column_decode(struct sst_iterator *iterator, uint32_t column, struct sst_slot **slot);
int sst_seqs_decode(struct sst_iterator *iterator, const uint64_t **seqs);
/* Of one row, if possible without the others. */
int sst_seq_of_row(struct sst_iterator *iterator, uint32_t row, uint64_t *seq);
/* NULL if no row is a tombstone. */
int sst_kinds_decode(struct sst_iterator *iterator, const uint8_t **kinds);
/* Decodes the key columns; before the three below. */
int sst_keys_decode(struct sst_iterator *iterator);
int sst_key_make(struct sst_iterator *iterator, uint32_t row, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes);
/* The first row from `from` on at or behind the target (row_count: none), galloping. */
int sst_row_search(struct sst_iterator *iterator, const struct sst_target *target, uint32_t from, uint32_t *row);
bool sst_same_key(struct sst_iterator *iterator, uint32_t row, uint32_t other_row);
int sst_slot_reserve(struct sst_iterator *iterator, struct sst_slot *slot, uint32_t type, uint32_t dimension, size_t values_bytes, uint32_t **offsets, uint8_t **validity, uint8_t **values);
void sst_slot_value(const struct sst_slot *slot, uint32_t row, struct mote_value *value);

/* ---- sst_parts.c ---- */
/* Whether reading the wanted streams of the block alone costs less than reading the block, and then by which groups. */
bool sst_parts_plan(const struct sst_iterator *iterator, const struct sst_block_entry *entry, struct sst_group groups[SST_GROUPS_MAX], uint32_t *group_count);
/* Where a group lies in the segment. */
void sst_group_range(const struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group, uint64_t *offset_bytes, uint32_t *length_bytes);
bool sst_group_fits(const struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group, const uint8_t *data);
/* The bytes of a stream of the present block, which is in parts, checked. They live until sst_parts_unpin, or the iterator enters another block. */
int sst_parts_stream(struct sst_iterator *iterator, uint32_t stream, const uint8_t **data, uint32_t *size_bytes);
void sst_parts_unpin(struct sst_iterator *iterator);
/* Compares the pinned block's streams with their directory. */
int sst_parts_verify(const struct sst_iterator *iterator, const struct sst_block_entry *entry);
/* The entry of the present block; pins its partition. */
int sst_block_entry_pin(struct sst_iterator *iterator, struct sst_block_entry *entry);

/* ---- sst_ahead.c ---- */
/* What was read beside the cache, and is good, enters it. Without room it does not. */
void sst_keep(struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes, const uint8_t *data);
/* Before block `number` is pinned, after `left` (SST_NONE: none): notices a scan and asks for what comes. */
void sst_ahead_enter(struct sst_iterator *iterator, uint32_t number, uint32_t left, uint64_t offset_bytes);
/* The structure out of a window, checked; NULL: it is in none. Lives until the iterator enters another block. */
const uint8_t *sst_ahead_take(struct sst_iterator *iterator, const struct sst_header *header);
/* The same of a group of streams of a block. */
const uint8_t *sst_ahead_take_group(struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group);
/* Gives all windows up. */
void sst_ahead_leave(struct sst_iterator *iterator);

/* ---- sst_page_read.c ---- */
void sst_layout_clear(struct sst_iterator *iterator);
bool sst_pages_validate(const uint8_t *pages, uint64_t size_bytes, uint64_t block_offset_bytes, uint32_t block_length_bytes, uint32_t block_rows);
void sst_unit_load(const struct sst_block_entry *entry, uint32_t index, struct sst_unit *unit);
/* The key's newest version at or below seq in the block: 1, 0 if it has none. */
int sst_pages_get(struct sst_iterator *iterator, const struct sst_block_entry *entry, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct record *record);
/* The unit that sst_pages_get reads first; false: none. */
bool sst_pages_place(const struct sst_block_entry *entry, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_unit *unit);
/* The image of the row that sst_pages_get found, as sst_row_image. */
int sst_pages_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes);
/* Of the present block, which is pinned: a column, the seqs or the kinds into the slot. */
int sst_pages_column(struct sst_iterator *iterator, uint32_t column, uint32_t type, uint32_t dimension, struct sst_slot *slot);
int sst_pages_numbers(struct sst_iterator *iterator, bool kinds, struct sst_slot *slot);
/* Compares the pinned block's pages with their directory. */
int sst_pages_verify(struct sst_iterator *iterator, const struct sst_block_entry *entry);

/* ---- sst_scratch.c ---- */
/* Scratch for one decoding; NULL with MOTE_EBUDGET. */
void *sst_scratch_take(struct sst_context *context, size_t size_bytes);
void sst_scratch_give(struct sst_context *context, void *scratch);

/* ---- sst_reader.c ---- */
int sst_enter(struct sst_iterator *iterator, uint32_t partition, uint32_t index);

/* Enters the block before whose first row the iterator stands deferred. A failure leaves it there, so that it is told again. */
int sst_settle(struct sst_iterator *iterator);

/* ---- sst_statistics.c ---- */
/* Whether whoever defers will probably read the block. */
bool sst_deferrer_wants(const struct sst_iterator *iterator, const struct sst_block_entry *entry);
/* The record under a deferred iterator, by the block's entry. */
int sst_deferred_record(struct sst_iterator *iterator, struct record *record);

/* ---- sst_value.c ---- */
/* As sst_record, but by the rows themselves, not by what the partition says of the block's first and last one. */
int sst_record_of_row(struct sst_iterator *iterator, struct record *record);

/* ---- sst_time_range.c ---- */
/* Whether the block may hold rows of the range, or tombstones that a reader must see. Also for a whole partition. */
bool sst_range_wants_partition(const struct sst_iterator *iterator, const struct sst_directory_entry *entry);
bool sst_range_wants_block(const struct sst_iterator *iterator, uint32_t number, const struct sst_block_entry *entry);
/* Called for each block that is entered, after `left` (SST_NONE: none): after a while it pays to ask the timestamp index. */
void sst_range_note_block(struct sst_iterator *iterator, uint32_t left);
void sst_range_clear(struct sst_iterator *iterator);

/* ---- sst_timestamp.c ---- */
struct section_identity;
struct section_root;
struct section_source;
/* Pages of sections in extents of their own lie beyond every segment in the cache's numbering; the section's id keeps them apart. */
#define SST_SECTION_KEY(section_id) (1ull << 63 | ((section_id) & 0x7FFFFFu) << 40)
/* What the timestamp section is read through. */
struct sst_section {
    struct sst_iterator *iterator;
    uint64_t segment_id, start_bytes, length_bytes, section_id;
    const struct segment_section *rebuilt; /* NULL: the one inside the segment */
};
/* MOTE_ENOTFOUND without a sentence: there is none. */
int sst_section_open(struct sst_iterator *iterator, struct sst_section *section, struct section_identity *identity, struct section_root *root, struct section_source *source);

#endif
