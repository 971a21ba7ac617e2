/* states.h: three tables of few keys whose whole content is a small array, for tests of what is seen together: by a snapshot, a batch, a transaction, after a crash.
 *
 * Table 0 has rows of one size, table 1 texts, table 2 texts in row pages. Key k of table t has the value state.values[t][k]; 0: no row. A text follows from its value, some 16 to 700 bytes, so that a few rows fill a small frame. Failures of
 * what is set up abort (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_STATES_H
#define MOTE_TESTS_SUPPORT_STATES_H

#include "tests/support/engine_fixture.h"

enum { STATE_TABLES = 3, STATE_KEYS = 24, STATE_TEXT_BYTES = 704 };

struct state {
    int64_t values[STATE_TABLES][STATE_KEYS];
};
struct state_tables {
    mote_table *tables[STATE_TABLES];
};
extern const char *const state_names[STATE_TABLES];

void states_create(mote_db *db, struct state_tables *tables);
void states_open(mote_db *db, struct state_tables *tables);
/* The row's values; text is room for its text. The number of values. */
size_t states_row(unsigned table, int64_t key, int64_t value, char text[STATE_TEXT_BYTES], struct mote_value row[3]);
/* What scans see, up or down, at the present (NULL) or in a snapshot; a row whose text is not its value's, or a key twice, aborts. */
int states_read(const struct state_tables *tables, const mote_snapshot *snapshot, bool descending, struct state *state);
/* Adds the cursor's rows of one table to the state; closes it. */
int states_read_cursor(unsigned table, mote_cursor *cursor, struct state *state);
/* The value of one key by a point read; 0: none. */
int states_get(const struct state_tables *tables, const mote_snapshot *snapshot, unsigned table, int64_t key, int64_t *value);
int64_t states_row_value(const mote_row *row);
bool states_equal(const struct state *a, const struct state *b);
/* Where they differ, for a person. */
void states_describe(const struct state *found, const struct state *expected, char *text, size_t text_bytes);

#endif
