/* index.h: the one interface of the indexes: built from rows sorted by key, in the flush's callback or by a merge; searched; merged; verified. Rows are
 * known to an index only as ordinals (0, 1, 2, ... in key order within their segment) and column values handed over block by block; keys, seqs and tables are the engine's business.
 *
 * Storage: an index section is a sequence of pages (byte strings of at most INDEX_PAGE_BYTES_MAX, each with its own checksum) written one after the other through a sink, and read back by offset
 * through a source (the block cache behind it). The last thing that a builder emits is its root; the segment's footer keeps (kind, offset, length, root offset, root length, root checksum).
 *
 * Checksums: CRC32C seeded with the volume's UUID, the segment id, and the page's offset in the section. A page that fails is MOTE_EDAMAGED: the engine then answers without the index.
 *
 * Threads: a builder and a search belong to one thread; an open section may be searched by many. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET, and what sink or source return.
 */
#ifndef MOTE_INDEX_INDEX_H
#define MOTE_INDEX_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blockdev/base/codec.h"

#define INDEX_PAGE_BYTES_MAX (64u * 1024u)

struct memory;

enum index_kind { INDEX_TIMESTAMP = 1, INDEX_COLUMN = 2, INDEX_VECTOR = 3, INDEX_SPATIAL = 4, INDEX_TEXT = 5 };

/* What identifies a section's pages. */
struct index_identity {
    uint8_t uuid[16];
    uint64_t segment_id;
    uint64_t section_id; /* unique in the segment: a rebuilt section has a new one */
};

/* Pages need not follow each other without a gap: a segment skips the end of a run of extents that is too short for the next page. So a builder asks where the next page will lie, before it computes its checksum. */
struct index_sink {
    int (*place)(void *context, uint32_t length_bytes, uint64_t *offset_bytes); /* offset in the section at which the next write, of exactly this length, will lie */
    int (*write)(void *context, const void *data, uint32_t length_bytes);       /* writes what place was asked for; copies before it returns */
    void *context;
};

struct index_source {
    /* Pins the bytes [offset, offset + length) of the section; *handle goes to release. check is called once, when the bytes come from the device. A range outside the section is MOTE_EDAMAGED. */
    int (*read)(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context), void *check_context,
                const uint8_t **data, void **handle);
    void (*release)(void *context, void *handle);
    void *context;
};

struct index_root {
    uint32_t kind; /* enum index_kind */
    uint64_t length_bytes;      /* of the section, gaps included */
    uint64_t root_offset_bytes; /* in the section */
    uint32_t root_bytes;
    uint32_t root_crc;
};

/* ---- Timestamp index: ordinals by time. Format and source of the ideas: timestamp_format.h ---- */

struct timestamp_builder;
/* rows_max: the segment's rows at most; memory comes as rows do, 12 bytes a row in chunks of 64 Ki rows, and one chunk more. Chunks are radix-sorted as they fill and merged at the end; while times ascend with ordinals nothing is
 * sorted or merged. */
int timestamp_builder_create(struct memory *memory, uint64_t rows_max, struct timestamp_builder **builder);
/* Row `ordinal` (ascending) has this time. Rows without a time are not added. MOTE_EINVAL (out of order, or more than rows_max), MOTE_EBUDGET. */
int timestamp_builder_add(struct timestamp_builder *builder, uint32_t ordinal, int64_t time_ns);
/* Writes the section. An index over no rows is valid. */
int timestamp_builder_finish(struct timestamp_builder *builder, const struct index_identity *identity, const struct index_sink *sink, struct index_root *root);
void timestamp_builder_destroy(struct timestamp_builder *builder);
/* No section of so many rows is longer, gaps not included. */
uint64_t timestamp_bytes_bound(uint64_t rows);

/* Calls visit with the ordinals of all rows whose time is in [from_ns, to_ns], in time order, up to count_max entries each call; visit's non-zero result stops and is returned. */
int timestamp_search(const struct index_identity *identity, const struct index_root *root, const struct index_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns,
                     int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count), void *context);
/* How many rows are in the range: exact, from the page directory and at most two pages. */
int timestamp_count(const struct index_identity *identity, const struct index_root *root, const struct index_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns, uint64_t *count);
/* Walks every page: checksums, order, ordinals below row_count and none twice. */
int timestamp_verify(const struct index_identity *identity, const struct index_root *root, const struct index_source *source, struct memory *memory, uint64_t row_count);

#endif
