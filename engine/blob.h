/* blob.h: values of large columns (MOTE_COLUMN_LARGE): written once, straight to extents of their own; rows, log and segments carry a reference with addresses and checksums (lsm/blob_format.h). docs/blobs.md tells the whole.
 *
 *   blob.c          blob files: making, dropping, who refers to them
 *   blob_io.c       a queue and four buffers, with several requests in flight
 *   blob_write.c    bytes in, a reference out
 *   blob_read.c     a reference in, bytes out, each chunk against its checksum
 *   blob_values.c   the values of a row or a batch before it is appended
 *   blob_garbage.c  files of which most is dead
 *   blob_verify.c   every value read, for mote_verify and mote_send
 *   blob_row.c      the values of a row that was read
 *   blob_stream.c   mote_blob_writer_*, mote_blob_reader_*
 *
 * Order of a write: room in a blob file that is in the manifest -> the bytes, several requests in flight -> all completed -> FLUSH -> the row is appended as any other. So a frame of the log that carries a reference is submitted after its
 * bytes are durable, and a reference whose bytes fail their checksum is damage, never a torn write.
 *
 * Holds. Whoever has a reference that neither a memtable nor a segment in a view keeps holds its blob files: a write from its first byte until its row is inserted (blobs_note_image), a set of writes until it is freed, a row handle until
 * it is freed, a reader until it is closed.
 *
 * Threads: any; the mutex is a leaf. Failures: MOTE_ENOSPC, MOTE_EBUDGET, MOTE_EIO (nothing refers to what was written; its room is free again with its file), MOTE_EDAMAGED (reads). A FLUSH that fails poisons the handle.
 */
#ifndef MOTE_ENGINE_BLOB_H
#define MOTE_ENGINE_BLOB_H

#include "engine/engine_private.h"
#include "engine/lsm/blob_format.h"

#define BLOB_SLOTS 4u
#define BLOB_SLOT_REQUESTS 8u
#define BLOB_THRESHOLD_BYTES (64u << 10) /* the default */
#define BLOB_INLINE_BYTES_MAX (128u << 10) /* larger ones are never in a row */

/* ---- blob.c ---- */

/* Blob files that are kept, once for each time that they are named. */
struct blob_holds {
    struct blob_file **files;
    uint32_t count, capacity;
};

/* After the manifest, before the log is replayed. */
int blobs_create(struct mote_db *db);
void blobs_destroy(struct mote_db *db);
/* Room of up to page_count pages in the table's blob file: a piece, held. MOTE_ENOSPC after all was tried, which must not be called with a lock; may_make_space: false: at once. */
int blobs_allocate(struct mote_table *table, uint32_t page_count, bool may_make_space, struct blob_holds *holds, struct blob_piece *piece);
/* Nothing more is written to the table's present file: a write to it failed, or the table is dropped. */
void blobs_seal(struct mote_table *table);
/* Where a piece lies. MOTE_EDAMAGED: nowhere. */
int blobs_locate(struct mote_db *db, const struct blob_piece *piece, uint64_t *device_bytes);
/* The row's references are kept by this generation of memtables from now on; something keeps them at this moment. */
void blobs_note_image(struct mote_db *db, const struct schema *schema, const uint8_t *image, const struct generation *generation);
/* The generation is empty. */
void blobs_forget(struct mote_db *db, const struct generation *generation);
/* Holds what the row refers to, as seen in a view that keeps it. */
int blobs_hold_image(struct mote_db *db, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, struct blob_holds *holds);
int blobs_hold_reference(struct mote_db *db, const struct blob_reference *reference, struct blob_holds *holds);
void blobs_release(struct mote_db *db, struct blob_holds *holds);
/* Moves all of them; on failure none. */
int blobs_move_holds(struct mote_db *db, struct blob_holds *from, struct blob_holds *to);
/* Whether nothing but segments uses the file, and all of it may be moved. */
bool blobs_is_settled(struct mote_db *db, const struct blob_file *file);
void blobs_set_stuck(struct mote_db *db, uint64_t file_id);
/* A blob file that somebody copies (engine/send.c), held. */
struct blob_copy {
    struct blob_file *file; /* NULL: let go */
    uint64_t bytes; /* from its beginning: what the version's rows refer to is among them */
};
/* The files that the version's segments use, ascending. Tables go on in another file where more than half of the present one is used. *mark becomes at most the id of any file that is not among them or that is still in use by writers or
 * readers: those below it never change. blobs_let_go_copies in any case. */
int blobs_hold_version(struct mote_db *db, const struct version *version, struct blob_copy **copies, uint32_t *count, uint64_t *mark);
void blobs_let_go_copy(struct mote_db *db, struct blob_copy *copy);
void blobs_let_go_copies(struct mote_db *db, struct blob_copy *copies, uint32_t count);
/* How many files there are, and the bytes of the device that they take. */
void blobs_count(struct mote_db *db, uint64_t *file_count, uint64_t *device_bytes);
/* Drops the files that nothing refers to any more; everything: also those that tables have begun and that hold nothing. Whether there were any. */
bool blobs_reclaim(struct mote_db *db, bool everything);

/* ---- blob_io.c ---- */

struct blob_slot {
    uint8_t *buffer; /* slot_bytes, aligned; unused while the slot's requests are of bytes that lie elsewhere */
    uint32_t request_count, pending;
    bool refused; /* a request of bytes that lie elsewhere: the device cannot read them there */
    int result;
    struct blockdev_request requests[BLOB_SLOT_REQUESTS], again;
};
struct blob_io {
    struct mote_db *db;
    struct blockdev_queue *queue;
    uint8_t *buffers;
    uint32_t slot_bytes;
    bool wrote; /* since the last FLUSH */
    int result; /* of the first request that failed since then */
    struct blob_slot slots[BLOB_SLOTS];
    struct blob_io *next;
};
/* With the database: those that calls share. */
void blob_io_pool_create(struct mote_db *db);
void blob_io_pool_destroy(struct mote_db *db);
/* One of a few that calls share; it may wait for another call's end. NULL with MOTE_EBUDGET. */
struct blob_io *blob_io_take(struct mote_db *db);
void blob_io_give(struct blob_io *io);
/* One's own, for streams. */
int blob_io_create(struct mote_db *db, struct blob_io **io);
void blob_io_destroy(struct blob_io *io);
/* One request more of the slot; waits where it has too many. bytes: from the slot's buffer, or anywhere else for as long as blob_io_wait has not returned, aligned as the device wants it. */
int blob_io_read(struct blob_io *io, struct blob_slot *slot, uint64_t device_bytes, uint8_t *bytes, uint32_t length_bytes);
int blob_io_write(struct blob_io *io, struct blob_slot *slot, uint64_t device_bytes, const uint8_t *bytes, uint32_t length_bytes);
/* Until the slot's requests are complete; the first failure of them. Bytes of elsewhere from which the device cannot read (memory of another device) are written once more through the buffer. */
int blob_io_wait(struct blob_io *io, struct blob_slot *slot);
/* All that was written is complete and durable. */
int blob_io_sync(struct blob_io *io);

/* ---- blob_write.c ---- */

struct blob_sink {
    struct mote_table *table;
    struct blob_io *io;
    struct blob_holds holds;
    struct blob_piece *pieces;
    uint32_t piece_count, piece_capacity;
    uint32_t piece_at, page_at; /* what is written next */
    uint64_t pages_left;        /* allocated and not written */
    uint32_t *crcs; /* seeded at the end */
    uint32_t crc_count, crc_capacity;
    uint32_t chunk_bytes, chunk_filled, crc;
    uint32_t slot, slot_filled;
    uint64_t length_bytes;
    bool in_job;    /* of a compaction: space is not made, since that is what it does */
    int result; /* of the first failure: all later calls return it */
};
/* length_bytes: what will come, 0: unknown. */
int blob_sink_begin(struct blob_sink *sink, struct mote_table *table, struct blob_io *io, uint64_t length_bytes);
int blob_sink_write(struct blob_sink *sink, const uint8_t *bytes, uint64_t size_bytes);
/* The same, at the value's beginning, with bytes that stay as they are until blob_io_sync or blob_io_give has returned: what is suitably aligned is not copied. */
int blob_sink_write_lent(struct blob_sink *sink, const uint8_t *bytes, uint64_t size_bytes);
/* Everything is submitted, nothing is durable before blob_io_sync; the stored form of the value, memory_alloc'ed. */
int blob_sink_finish(struct blob_sink *sink, uint8_t **stored, uint64_t *stored_bytes);
/* Frees it; holds that were not moved elsewhere are released. Its requests must be complete. */
void blob_sink_end(struct blob_sink *sink);

/* ---- blob_read.c ---- */

/* Bytes [offset_bytes, offset_bytes + size_bytes) of the value, which has them. Something must keep the blob files. */
int blob_read(struct blob_io *io, const struct blob_reference *reference, uint64_t offset_bytes, uint8_t *out, uint64_t size_bytes);
/* How long the value of this stored form is. MOTE_EDAMAGED. */
int blob_length(const uint8_t *stored, uint64_t stored_bytes, uint64_t *length_bytes);
/* The whole value, whose length is known. */
int blob_fetch(struct mote_db *db, const uint8_t *stored, uint64_t stored_bytes, uint8_t *out);

/* ---- blob_values.c ---- */

/* Values or a batch in their stored form. */
struct blob_stored {
    struct mote_db *db;
    struct blob_holds holds;
    struct mote_value *values; /* all of them; NULL: the caller's are as good */
    uint8_t **made;            /* memory_alloc'ed bytes */
    uint32_t made_count, made_capacity;
    struct mote_batch batch;   /* of blob_store_batch */
    struct mote_column *columns;
};
static inline bool table_has_large(const struct mote_table *table) { return atomic_load_explicit(&table->schema, memory_order_acquire)->has_large; }
/* The large ones of values are written and durable; stored->values is to be appended in their place. blob_stored_free in any case. */
int blob_store_values(struct mote_table *table, const struct mote_value *values, size_t value_count, struct blob_stored *stored);
int blob_store_batch(struct mote_table *table, const struct mote_batch *batch, struct blob_stored *stored);
void blob_stored_free(struct blob_stored *stored);

/* ---- blob_garbage.c ---- */

/* Moves what lives in the emptiest file, out of one segment; wanted: however little garbage there is. Whether it did something. */
bool blobs_collect_garbage(struct mote_db *db, bool wanted);
/* The same by a worker, when files came or went since the last look. */
bool blobs_collect_some(struct mote_db *db);

/* ---- blob_verify.c ---- */

/* The large values of the segment that lie in blob files from first_file on, read: the first that fails its checksum is MOTE_EDAMAGED, and so is a use of a file that the manifest does not know. tell is called after each; non-zero stops, and is returned. */
int blobs_check_segment(struct mote_db *db, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, uint64_t first_file, int (*tell)(void *context), void *context);
/* Every large value of it, read; note: the thread's present error is a fault. */
int blobs_verify_segment(struct mote_db *db, struct segment *segment, const struct schema *schema, void (*note)(void *context), void *context);
int blobs_verify_memtable(struct mote_db *db, struct memtable *memtable, const struct schema *schema, void (*note)(void *context), void *context);

/* ---- blob_row.c ---- */

struct row_blobs;
/* What a row handle needs to read its large values when they are asked for: holds, made while the view keeps the row. *blobs is made or used again. */
int row_blobs_hold(struct mote_db *db, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, struct row_blobs **blobs);
/* The value in place of its stored form; its bytes belong to blobs. */
int row_blobs_value(struct row_blobs *blobs, uint32_t position, struct mote_value *value);
void row_blobs_free(struct mote_db *db, struct row_blobs *blobs);

/* ---- blob_stream.c ---- */

/* value is what mote_blob_writer_value gave: its stored form, and its holds once more. */
int blob_writer_store(const struct mote_table *table, const struct mote_value *value, struct blob_holds *holds, const uint8_t **stored, uint64_t *stored_bytes);

#endif
