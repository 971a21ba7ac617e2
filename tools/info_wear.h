/* info_wear.h: the lines of `mote info` on wear, as text and as members of a JSON object. */
#ifndef MOTE_TOOLS_INFO_WEAR_H
#define MOTE_TOOLS_INFO_WEAR_H

#include "tools/output.h"
#include "tools/tool.h"

void info_wear_json(struct json *json, const struct mote_wear *wear);
void info_wear_print(const struct mote_wear *wear);

#endif
