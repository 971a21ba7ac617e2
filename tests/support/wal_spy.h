/* wal_spy.h: making the spy that wal_rig.h tells about; used by the rig only. */
#ifndef MOTE_TESTS_SUPPORT_WAL_SPY_H
#define MOTE_TESTS_SUPPORT_WAL_SPY_H

#include "tests/support/wal_rig.h"

/* Takes inner over. */
struct wal_spy *wal_spy_create(struct blockdev *inner, uint32_t inflight_max, uint64_t window_bytes, struct blockdev **device);
/* The log whose durable_lsn is compared with; before anything is submitted. */
void wal_spy_watch(struct wal_spy *spy, struct wal *wal);

#endif
