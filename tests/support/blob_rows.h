/* blob_rows.h: a table of rows that nothing compresses, so that a device fills as one counts: k int64 (key), b a blob that follows from it. */
#ifndef MOTE_TESTS_SUPPORT_BLOB_ROWS_H
#define MOTE_TESTS_SUPPORT_BLOB_ROWS_H

#include "tests/support/engine_fixture.h"

enum { BLOB_ROW_BYTES = 8000, BLOB_ROWS_BATCH = 16 };

mote_table *blob_rows_create(mote_db *db, const char *name);
void blob_rows_fill(int64_t key, uint8_t blob[BLOB_ROW_BYTES]);
/* Rows first to first + BLOB_ROWS_BATCH in one batch: what mote_append_columns returns. */
int blob_rows_append(mote_table *table, int64_t first, uint64_t *ticket);

#endif
