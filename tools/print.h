/* print.h: rows as CSV or JSON lines, such that reading them back gives the same bits.
 *
 *                CSV                                   JSON
 *   NULL         an empty field                        null
 *   integers     decimal                               number
 *   floats       shortest exact decimal; nan, inf      number; "nan", "inf", "-inf", "nan(0x...)" as strings
 *   bool         true, false                           true, false
 *   timestamp    nanoseconds (or RFC 3339 on demand)   number (or string)
 *   text         RFC 4180; the empty text as ""        string
 *   blob         0x and hexadecimal digits             string of the same
 *   vector       "[1,2,3]"                             array
 *   point3       "[x,y,z]"                             array
 */
#ifndef MOTE_TOOLS_PRINT_H
#define MOTE_TOOLS_PRINT_H

#include "include/mote.h"
#include "tools/output.h"
#include "tools/tool.h"

enum print_format { PRINT_CSV, PRINT_JSONL };
enum print_time { PRINT_TIME_NS, PRINT_TIME_RFC3339 };

struct print_style {
    uint32_t format; /* enum print_format */
    uint32_t time;   /* enum print_time */
};

/* The option table's entries for a style. */
#define PRINT_OPTIONS(style) \
    {"format", OPTION_CHOICE, "NAME", "of the output", &(style)->format, print_format_names}, {"time-format", OPTION_CHOICE, "NAME", "of timestamps", &(style)->time, print_time_names}
extern const char *const print_format_names[], *const print_time_names[];

/* Row `row` of a chunk. names: of its columns. */
void print_row(struct output *out, const struct print_style *style, const struct mote_column *columns,
               const char *const *names, size_t column_count, size_t row);
/* The CSV header; nothing for JSON. */
void print_header(struct output *out, const struct print_style *style, const char *const *names, size_t column_count);
/* Points a column of one row at a value, so that print_row prints it. offsets: room for 2, validity: 1 byte. */
void print_column_of_value(const struct mote_value *value, uint32_t dimension, uint32_t offsets[2], uint8_t *validity,
                           struct mote_column *column);
/* Closes the output. code: of the reading, a MOTE_E or 0; what was printed stays printed, the exit code that is returned says where it is not all. */
int print_close(const struct tool_common *common, struct output *out, int code);

#endif
