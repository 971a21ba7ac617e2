/* large_value.h: damage to a large value where it lies on the device. Failures of what is set up abort (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_LARGE_VALUE_H
#define MOTE_TESTS_SUPPORT_LARGE_VALUE_H

#include "tests/support/engine_fixture.h"

/* Changes one byte of the value of a large column in the row with this (int64) key; the same call again puts it right. The value lies outside of its row. */
void large_value_flip(mote_table *table, int64_t key, uint32_t column, uint64_t byte, uint8_t mask);
/* The blob file that holds this byte of it. */
uint64_t large_value_file_id(mote_table *table, int64_t key, uint32_t column, uint64_t byte);

#endif
