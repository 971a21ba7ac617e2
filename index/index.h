/* index.h: the one interface of the indexes: built from rows sorted by key, in a flush or a compaction, or merged out of others (text, vector); searched; verified. Rows are
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
#include "blockdev/section.h"

#define INDEX_PAGE_BYTES_MAX (64u * 1024u)

struct memory;

enum index_kind { INDEX_TIMESTAMP = 1, INDEX_COLUMN = 2, INDEX_VECTOR = 3, INDEX_SPATIAL = 4, INDEX_TEXT = 5 };

/* ---- Timestamp index: ordinals by time. Format and source of the ideas: timestamp_format.h ---- */

struct ordinal_index;
/* rows_max: the segment's rows at most; memory comes as rows do, 12 bytes a row in chunks of 64 Ki rows, and one chunk more where times come in no order. The runs of ascending times, one for each series of a block, are merged at
 * the end; while times ascend with ordinals nothing is merged. */
int timestamp_builder_create(struct memory *memory, uint64_t rows_max, struct ordinal_index **builder);
/* Row `ordinal` (ascending) has this time. Rows without a time are not added. MOTE_EINVAL (out of order, or more than rows_max), MOTE_EBUDGET. */
int timestamp_builder_add(struct ordinal_index *builder, uint32_t ordinal, int64_t time_ns);
/* The same for count rows, first_ordinal, + 1, + 2, ... After MOTE_EBUDGET some of them may be in: the builder can but be destroyed. */
int timestamp_builder_add_many(struct ordinal_index *builder, uint32_t first_ordinal, const int64_t *times_ns, uint32_t count);
/* Writes the section. An index over no rows is valid. */
int timestamp_builder_finish(struct ordinal_index *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
void timestamp_builder_destroy(struct ordinal_index *builder);
/* No section of so many rows is longer, gaps not included. */
uint64_t timestamp_bytes_bound(uint64_t rows);

/* Calls visit with the ordinals of all rows whose time is in [from_ns, to_ns], in time order, up to count_max entries each call; visit's non-zero result stops and is returned. */
int timestamp_search(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns,
                     int (*visit)(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count), void *context);
/* How many rows are in the range: exact, from the page directory and at most two pages. */
int timestamp_count(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from_ns, int64_t to_ns, uint64_t *count);
/* Walks every page: checksums, order, ordinals below row_count and none twice. */
int timestamp_verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count);

/* All of it, as a segment uses it. */
extern const struct ordinal_index_ops timestamp_index_ops;

/* ---- Text index: words to ordinals. Its rows are strings and its searches ranked, so that its contract is a header of its own: index/text.h ---- */

#endif
