/* sample_table.h: the tables that several tests make. What fails aborts (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_SAMPLE_TABLE_H
#define MOTE_TESTS_SUPPORT_SAMPLE_TABLE_H

#include "tests/support/engine_fixture.h"

/* Rows of series: series int32, time timestamp (both are the key), value int64, note text. flags: enum mote_table_flags. */
mote_table *sample_table_series(mote_db *db, const char *name, uint32_t flags);
/* Large values: id int64 (key), frame. */
mote_table *sample_table_frames(mote_db *db, const char *name);

#endif
