/* producer_rows.h: a table whose rows tell who pushed them and as which, and the record to push; the table has no declared key, so that it keeps the order of the appends, and a row that came twice is there twice. */
#ifndef MOTE_TESTS_SUPPORT_PRODUCER_ROWS_H
#define MOTE_TESTS_SUPPORT_PRODUCER_ROWS_H

#include "tests/support/engine_fixture.h"

enum { SAMPLE_CHANNELS = 8 };

/* As mote.h lays the record out. */
struct sample {
    int32_t source;
    int64_t sequence;
    int64_t time_ns;
    float channels[SAMPLE_CHANNELS]; /* eight columns */
    uint8_t flag;
    double point[3];
};

mote_table *samples_create(mote_db *db, const char *name);
mote_table *samples_open(mote_db *db, const char *name);
/* All of it follows from the two numbers. */
struct sample sample_make(int32_t source, int64_t sequence);
/* Rows of the table in the order of their appends, every column of each checked against sample_make; visit may be NULL. Returns their number. */
uint64_t samples_scan(mote_table *table, void (*visit)(void *context, int32_t source, int64_t sequence), void *context);
/* The rows of this source are exactly sequences 0, 1, ... in order; their number. Aborts otherwise. */
uint64_t samples_prefix(mote_table *table, int32_t source);

/* Options with the size of the record set. */
struct mote_producer_options samples_options(uint32_t ring_records, uint32_t policy, uint32_t durability);
struct mote_producer_stats producer_stats_of(mote_producer *producer);

#endif
