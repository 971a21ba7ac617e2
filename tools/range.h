/* range.h: which rows of a table, as the subcommands that read several rows are told: by time and by key. */
#ifndef MOTE_TOOLS_RANGE_H
#define MOTE_TOOLS_RANGE_H

#include "tools/keys.h"

/* The options' words; NULL: not given. */
struct range_words {
    const char *from, *to, *key, *key_from, *key_to;
};

/* The option table's entries for them. */
#define RANGE_OPTIONS(words)                                                                                           \
    {"from", OPTION_TEXT, "T", "only rows whose time is at or after T", &(words)->from, NULL},                         \
        {"to", OPTION_TEXT, "T", "only rows whose time is at or before T", &(words)->to, NULL},                        \
        {"key", OPTION_TEXT, "V,...", "only rows whose key begins with these values", &(words)->key, NULL},            \
        {"key-from", OPTION_TEXT, "V,...", "only rows whose key is at or after this one", &(words)->key_from, NULL},   \
        {"key-to", OPTION_TEXT, "V,...", "only rows whose key is at or before this one", &(words)->key_to, NULL}

/* What the options of the library point to. */
struct range {
    struct key_values key, from, to;
};

/* Fills the range's members of *options; they point into *range, which range_free frees, also after a failure. Returns
 * 0 or an exit code. */
int range_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                const struct range_words *words, struct range *range, struct mote_scan_options *options);
void range_free(struct range *range);

#endif
