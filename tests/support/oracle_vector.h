/* oracle_vector.h: the vector indexes' part of oracle_check_searches (oracle.h). */
#ifndef MOTE_TESTS_SUPPORT_ORACLE_VECTOR_H
#define MOTE_TESTS_SUPPORT_ORACLE_VECTOR_H

#include "tests/support/oracle.h"

int oracle_check_vectors(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info);

#endif
