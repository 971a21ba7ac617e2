/* get_private.h: what mote_get and mote_get_many share: the row handle, and looking for one key in memtables and in one segment. */
#ifndef MOTE_ENGINE_GET_PRIVATE_H
#define MOTE_ENGINE_GET_PRIVATE_H

#include "engine/engine_private.h"

struct row_blobs;

struct mote_row {
    struct mote_db *db;
    const struct schema *schema, *image_schema;
    uint64_t seq;
    uint8_t *image;
    uint32_t image_bytes, capacity_bytes;
    struct row_blobs *blobs; /* of a table with large columns (blob.h); else NULL */
};

/* One key under one snapshot. */
struct get_key {
    const uint8_t *key;
    uint32_t key_bytes;
    uint64_t snapshot;
};

/* *row is made if NULL; *made tells. */
int row_make(struct mote_db *db, mote_row **row, bool *made);
/* Generations are ordered by seq: the first that has the key decides. row may be NULL. */
int get_from_memtables(const struct view *view, uint64_t table_id, const struct get_key *key, struct mote_row *row, struct found_row *found, bool *decided);
/* Whether the segment may hold a version of the key that is newer than what was found. */
bool get_may_be_in(const struct segment_record *record, const struct schema *schema, const struct get_key *key, int64_t time_ns, const struct found_row *found);
/* The reader's iterator, on the segment. */
int get_iterator(struct mote_db *db, struct reader *reader, struct segment *segment, const struct schema *schema, struct sst_iterator **iterator);
/* Asks one segment for the key's newest version under the snapshot; a newer one than *found replaces it. */
int get_from_segment(struct sst_iterator *iterator, const struct schema *schema, const struct get_key *key, struct mote_row *row, struct found_row *found);
/* Asks all of them, the newest first. */
int get_look_in_segments(struct mote_db *db, struct reader *reader, const struct segment_list *list, const struct schema *schema, const struct get_key *key, struct mote_row *row, struct found_row *found);

/* Several keys under a registered snapshot, in any order, ascending ones the fastest: rows[i] is made or used again, results[i] is MOTE_OK or MOTE_ENOTFOUND. As the filter shows them. The keys' own snapshots do not count. An error ends it: which rows were read is not told. */
int get_many_at(struct mote_table *table, const struct view *view, uint64_t snapshot, const struct time_filter *filter, const struct get_key *keys, size_t count, mote_row **rows, int32_t *results);

#endif
