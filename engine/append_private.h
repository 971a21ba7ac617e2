/* append_private.h: what the writes of one row, of a batch of one table, and of a set of rows of several tables share: how durable, and the way through memtable and log (intake.c). */
#ifndef MOTE_ENGINE_APPEND_PRIVATE_H
#define MOTE_ENGINE_APPEND_PRIVATE_H

#include "engine/engine_private.h"

#define UNIQUE_AGAIN (WAL_RETRY + 1) /* a unique index was declared since the writer looked */

struct write_level {
    uint32_t durability; /* resolved */
    uint32_t period_ms;
    bool from_ring;      /* a producer's records */
};
int write_level_resolve(const struct mote_db *db, const struct mote_write_options *options, struct write_level *level);
enum wal_urgency write_level_urgency(const struct write_level *level);

/* Takes room for the same rows in the memtable and in the log, in one generation. */
struct intake {
    uint64_t memtable_bytes; /* room for nodes */
    uint32_t log_bytes;      /* payload */
    uint32_t count;          /* seqs */
    bool checked;            /* against the unique indexes */
    bool noted;              /* its rows are (recent.h) */
    bool deletes, from_ring; /* a delete is taken also when the device is full: what frees space must go on; it and a producer's rows may use the headroom */
    struct generation *generation;
    struct memtable *memtable;
    struct memtable_room room;
    struct wal_slot slot;
};

/* The generation that the log is filling, kept from being recycled until generation_leave. */
struct generation *generation_enter(struct mote_db *db);
void generation_leave(struct generation *generation);
/* MOTE_OK: the caller writes the slot's payload and inserts its rows; UNIQUE_AGAIN, or an error. */
int intake_take_room(struct mote_table *table, struct intake *intake);
/* Hands the encoded rows to the log: the commit may begin. The payload stays readable until intake_make_visible. */
void intake_publish(struct mote_db *db, struct intake *intake, const struct write_level *level);
/* The rows are in the memtable: lets go of the slot, waits for the turn of its seqs, and leaves the generation. Noted rows may be indexed by this call. */
void intake_make_visible(struct mote_table *table, struct intake *intake);
/* After the rows are visible: the ticket, the counters, the wait that SYNC promises. */
int intake_finish(struct mote_db *db, struct intake *intake, const struct write_level *level, uint64_t raw_bytes, uint64_t *ticket);
/* Whether the log, which found no memory to be extended with, is tried once more. */
bool intake_extend_again(struct mote_db *db, int result, uint32_t tries);
/* Returns when everything up to the seq is visible; its writers never block. */
void visible_wait(const struct mote_db *db, uint64_t before);
/* What a wait for the log returned; a failure that stopped the log stops the handle. */
int intake_settle_wait(struct mote_db *db, int result);

#endif
