/* infer.h: the columns of a table from a CSV header and the first lines.
 *
 * Of each column, over the lines looked at, the narrowest type that fits every non-empty field: bool (true, false),
 * int64, float64, timestamp (RFC 3339), text. Numbers are only taken for numbers where nothing of the text is lost:
 * whole numbers with leading zeros, or beyond int64, make a text column; so do columns without any value. The time
 * column, if one is named, holds whole nanoseconds (then timestamp), RFC 3339 (timestamp), or decimal seconds (float64:
 * kept bit for bit). A later line that does not fit is an error of that line; --types settles a column beforehand.
 */
#ifndef MOTE_TOOLS_INFER_H
#define MOTE_TOOLS_INFER_H

#include "tools/columns.h"
#include "tools/csv.h"
#include "tools/tool.h"

enum { INFER_BYTES = 4 << 20, INFER_ROWS = 20000, INFER_PAUSE_MS = 200 };

/* Checks the header record under the cursor of csv and fills columns[] names. Returns 0 or an exit code. */
int infer_header(const struct tool_common *common, const struct csv *csv, struct column_builder *columns);

/* Reads ahead and sets the types of columns[0..count). Columns whose type is set already (--types) are left alone.
 * *rows: lines looked at. time_column: position, or -1. Returns 0 or an exit code. */
int infer_types(const struct tool_common *common, struct csv *csv, struct column_builder *columns, size_t count,
                int32_t time_column, uint64_t *rows);

/* Applies "name:type,name:type[dimension],..." to columns. Returns 0 or an exit code. */
int infer_apply_types(const struct tool_common *common, const char *types, struct column_builder *columns,
                      size_t count);

#endif
