/* overlay.h: the rows that a transaction has written and nobody else sees: a memtable of its own, in which each write has a seq above all that a volume ever gives out, so that a merge finds it before every other version of its key.
 *
 * Savepoints are numbers of writes: going back to one makes the memtable anew without those after it. It is also made anew, larger, when it is full.
 * Cursors of the transaction keep the overlay beyond its end; epoch tells them that it is not what they were opened on. The numbers of writes tell what was there when they were.
 * Threads: the transaction's, one at a time, its cursors included. Memory: the database's heap. Failures: MOTE_EBUDGET, MOTE_ETOOBIG (write_set.h); the overlay stays as it was.
 */
#ifndef MOTE_ENGINE_OVERLAY_H
#define MOTE_ENGINE_OVERLAY_H

#include "engine/engine_private.h"

#define OVERLAY_SEQ (UINT64_C(1) << 62)

struct overlay {
    struct mote_db *db;
    uint32_t references;
    uint64_t epoch;
    uint64_t writes; /* the newest has the seq OVERLAY_SEQ + writes */
    uint64_t row_count, content_bytes, ops_bytes; /* as a set of rows would have them at most */
    struct memtable_generation *memtables;
    void *arena;
    uint64_t arena_bytes;
    uint32_t table_slots;
};

int overlay_create(struct mote_db *db, struct overlay **overlay);
void overlay_hold(struct overlay *overlay);
void overlay_release(struct overlay *overlay);
/* image NULL: the deletion of the key. */
int overlay_write(struct overlay *overlay, uint64_t table_id, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, const uint8_t *image, uint32_t image_bytes);
/* Forgets the writes after so many. */
int overlay_return(struct overlay *overlay, uint64_t writes);

#endif
