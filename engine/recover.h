/* recover.h: what the recovery of the log found out, for open.c. */
#ifndef MOTE_ENGINE_RECOVER_H
#define MOTE_ENGINE_RECOVER_H

#include "engine/lsm/manifest.h"
#include "wal/wal.h"

struct mote_db;

struct recovery {
    enum wal_verdict verdict;
    uint64_t end_lsn;  /* of what counts in the old log */
    uint64_t kept_end_lsn; /* of what the next recovery needs of it: without a last incarnation that wrote no row */
    uint64_t next_lsn; /* where a new incarnation may begin */
    uint64_t next_seq;
    uint64_t rows;     /* inserted into memtables */
    uint32_t generations_used;
    bool damaged;      /* the log has a hole that was accepted */
    uint32_t lost_count;
    struct manifest_lost_range lost[MANIFEST_LOST_RANGES_MAX];
};

/* See recover.c. MOTE_ELOST, MOTE_EDAMAGED, MOTE_EIO, MOTE_EBUDGET. */
int recover(struct mote_db *db, struct recovery *recovery);

/* Flushes what was replayed and moves the log's head behind it, so that the old log can be forgotten; before the new incarnation begins. */
int recover_flush(struct mote_db *db, struct recovery *recovery);

#endif
