/* aggregate_oracle.h: what an aggregate, a count and the latest rows must be, computed from the rows of a mote_scan, value by value and as plainly as possible.
 *
 * Failures of the calls abort; a difference is described in text (false is returned). Threads: one. */
#ifndef MOTE_TESTS_SUPPORT_AGGREGATE_ORACLE_H
#define MOTE_TESTS_SUPPORT_AGGREGATE_ORACLE_H

#include "tests/support/engine_fixture.h"

enum { ORACLE_TEXT_BYTES = 512 };

/* The results that the options must have now, kept. */
struct aggregate_oracle;
struct aggregate_oracle *aggregate_oracle_make(mote_table *table, const struct mote_aggregate_options *options);
void aggregate_oracle_free(struct aggregate_oracle *oracle);
/* Whether some sum exceeds an int64, so that MOTE_ERANGE is the answer. */
bool aggregate_oracle_overflows(const struct aggregate_oracle *oracle);
/* Takes the aggregation's next chunk (chunk->row_count 0: the end) and compares it with what comes next. */
bool aggregate_oracle_check(struct aggregate_oracle *oracle, const struct mote_chunk *chunk, char *text);

/* Opens, reads to the end and closes an aggregation beside its oracle. */
bool aggregate_agrees(mote_table *table, const struct mote_aggregate_options *options, char *text);
bool count_agrees(mote_table *table, const struct mote_scan_options *options, char *text);
bool latest_agrees(mote_table *table, const struct mote_scan_options *options, char *text);

#endif
