/* retention.h: a table's retention and its pins, as `mote info` tells them too. */
#ifndef MOTE_TOOLS_RETENTION_H
#define MOTE_TOOLS_RETENTION_H

#include "include/mote.h"

struct json;
/* Nothing where there is none. Return MOTE_E. */
int retention_print(mote_table *table);
int retention_json(mote_table *table, struct json *json);

#endif
