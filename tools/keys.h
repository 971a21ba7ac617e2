/* keys.h: what scan and get share: a table's columns by name, keys and times given on the command line. */
#ifndef MOTE_TOOLS_KEYS_H
#define MOTE_TOOLS_KEYS_H

#include "tools/tool.h"

/* Values of the first `count` key columns; bytes[] holds their memory. */
struct key_values {
    size_t count;
    struct mote_value values[MOTE_KEY_COLUMNS_MAX];
    void *bytes[MOTE_KEY_COLUMNS_MAX];
};

/* A choice of columns: positions and names, in output order. Freed by columns_free. */
struct column_choice {
    size_t count;
    uint32_t *positions;
    const char **names; /* belong to the handle */
};

/* Opens the table and describes it. Returns 0 or an exit code. */
int table_find(const struct tool_common *common, mote_db *db, const char *name, mote_table **table,
               struct mote_table_info *info);
/* text: "a,b" or NULL for all columns but a hidden row id. */
int columns_choose(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                   const char *text, struct column_choice *choice);
void columns_free(struct column_choice *choice);
/* text: values separated by commas, quoted as in CSV; a prefix of the key. */
int key_parse_list(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                   const char *text, struct key_values *key);
/* One word for each key column. */
int key_parse_words(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                    const char *const *words, size_t count, struct key_values *key);
void key_free(struct key_values *key);
/* The length of time that option --name was given: above 0, a number with ns, us, ms, s, m, h or d. Returns 0 or an exit code. */
int duration_parse(const struct tool_common *common, const char *name, const char *text, int64_t *ns);
/* A time as the user writes it for this table's time column: RFC 3339; a number with s, ms, us or ns; a bare number in
 * the column's own unit (float64: seconds, else nanoseconds). */
int time_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
               const char *text, int64_t *ns);
/* --from and --to, of which at least one may be NULL: *use becomes 1, and the open end as far as times go, unless both are. Returns 0 or an exit code. */
int time_range_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info, const char *from, const char *to, uint32_t *use, int64_t *from_ns, int64_t *to_ns);

#endif
