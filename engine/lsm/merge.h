/* merge.h: one sorted view over memtables and segments.
 *
 * Order: key ascending (or descending), within a key the newest version that the snapshot sees. MERGE_VISIBLE yields one record per key: the newest with seq <= snapshot, unless that is a tombstone. MERGE_ALL yields every version
 * (key ascending, seq descending; ascending only), for flush and compaction.
 *
 * k sources (at most sources_max, and any number of segments of the pool): a binary heap on (key, seq). Threads: one. Failures: those of the segments' iterators.
 */
#ifndef MOTE_ENGINE_LSM_MERGE_H
#define MOTE_ENGINE_LSM_MERGE_H

#include "engine/lsm/sst.h"

enum merge_mode { MERGE_VISIBLE, MERGE_ALL };

struct merge;
int merge_create(struct memory *memory, uint32_t sources_max, struct merge **merge);
void merge_destroy(struct merge *merge);
/* Begins anew: no sources. schema: the reader's. */
void merge_reset(struct merge *merge, enum merge_mode mode, bool descending, uint64_t snapshot_seq, const struct schema *schema);
int merge_add_memtable(struct merge *merge, struct memtable *memtable);
/* The same of rows that the snapshot does not cover: those with a seq up to limit_seq, in place of the snapshot, are seen. */
int merge_add_private(struct merge *merge, struct memtable *memtable, uint64_t limit_seq);
int merge_add_segment(struct merge *merge, struct sst_iterator *iterator);
/* Segments of the *pool* (merge_pool.c), any number, which share the caller's iterators: one is opened when the merge comes to it, and gives its iterator up when another needs it more; then it is opened again where it stood. In MERGE_VISIBLE
 * only; positioned once for each reset, else the bounds are of no use.
 * bound: the segment has nothing in this view, from the position on, before that key (descending: behind it), so it need not be opened before the merge comes there; at most MERGE_BOUND_BYTES, copied; 0 bytes: not known.
 * held: the caller's iterator that is on the segment already, which is taken; NULL: none. */
#define MERGE_BOUND_BYTES 64u
#define MERGE_POOL_FULL 1
struct merge_pool {
    /* An iterator on the segment, on no record (held: that one, if not NULL). MERGE_POOL_FULL: there is none, another must be closed first. */
    int (*open)(void *context, struct segment *segment, struct sst_iterator *held, struct sst_iterator **iterator);
    /* No longer used. parked: for want of iterators or memory. */
    void (*close)(void *context, struct sst_iterator *iterator, bool parked);
    void *context;
};
void merge_set_pool(struct merge *merge, const struct merge_pool *pool);
int merge_add_later(struct merge *merge, struct segment *segment, const uint8_t *bound, uint32_t bound_bytes, struct sst_iterator *held);
/* The sources are all that there is before the key (descending: from it on) only, which stays where it is: a merge that comes to a deleted key beyond it is at its end. */
void merge_set_end(struct merge *merge, const uint8_t *key, uint32_t key_bytes);
/* The last key since the reset that was passed over because it is deleted. What goes on from hints goes on behind it: its tombstone is not met again. false: none. */
bool merge_last_deleted(const struct merge *merge, const uint8_t **key, uint32_t *key_bytes);
/* Between two resets for the same view, direction and snapshot, where the second goes on from where the first has come to: what is known of the pool's segments. The iterators must not have moved since. */
void merge_remember(struct merge *merge);
struct merge_hint {
    bool ended; /* nothing more of it comes */
    const uint8_t *bound; /* until the next merge_remember */
    uint32_t bound_bytes; /* 0: not known */
    struct sst_iterator *iterator; /* that it had; NULL: none */
};
bool merge_recall(struct merge *merge, uint64_t segment_id, struct merge_hint *hint);
/* Forgets that, and gives memory back. The merge has no sources then. */
void merge_rest(struct merge *merge);
/* Segments that do not overlap, in key order, read one after the other through one iterator (which this opens): for compaction. Ascending only, and only from the first record on (merge_seek with NULL). The array lives as long as the
 * merge uses it. */
int merge_add_segments(struct merge *merge, struct sst_iterator *iterator, struct segment *const *segments, uint32_t count);
/* Ascending: to the first record with key >= from (NULL: the first of all). Descending: to the last with key <= to; to_is_prefix: or with a key that begins with it. 1 on a record, 0 at the end, negative MOTE_E. */
int merge_seek(struct merge *merge, const uint8_t *key, uint32_t key_bytes);
int merge_seek_last(struct merge *merge, const uint8_t *key, uint32_t key_bytes, bool to_is_prefix);
/* To the first record whose key is greater (descending: smaller) than `key`: where a cursor goes on. */
int merge_seek_after(struct merge *merge, const uint8_t *key, uint32_t key_bytes);
int merge_next(struct merge *merge);
int merge_record(struct merge *merge, struct record *record);
/* Which source has the current record, by the order in which they were added. */
uint32_t merge_source(const struct merge *merge);
/* The current record's column, as the reader's schema sees it; bytes live until the merge moves. */
int merge_value(struct merge *merge, uint32_t column, struct mote_value *value);
int merge_time(struct merge *merge, int64_t *time_ns, bool *has_time);
/* The current record's row image: a memtable's own (of *image_schema), a segment's made in room[capacity_bytes] (of the reader's schema). A tombstone has none: NULL, 0 bytes. */
int merge_image(struct merge *merge, uint8_t *room, uint32_t capacity_bytes, const struct schema **image_schema, const uint8_t **image, uint32_t *image_bytes);
/* The block that the current record begins, where its segment's iterator defers (sst_iterator_set_deferred) and the block is this view's up to its last key: all its rows are visible, each key comes once in it, and no other source has
 * a record from here to its last key. false: by rows. Then merge_skip_block passes over it, unread, as merge_next from its last row. */
bool merge_block(struct merge *merge, struct sst_statistics *statistics);
int merge_skip_block(struct merge *merge);
/* Where the current record lies, for copying without going through values: a segment's iterator (then *run_length rows from it on, ascending only, come next in this view without interruption by other sources), or a row image. */
struct merge_place {
    struct sst_iterator *iterator; /* NULL: in a memtable */
    uint32_t run_length;           /* at least 1 */
    const struct schema *image_schema;
    const uint8_t *image;
    uint32_t image_bytes;
};
int merge_place(struct merge *merge, struct merge_place *place);
/* To the last of `count` records of the run that merge_place reported. */
int merge_pass(struct merge *merge, uint32_t count);
/* Moves past `count` records of the run that merge_place reported. */
int merge_skip(struct merge *merge, uint32_t count);

#endif
