/* sample_table.c: see sample_table.h. */
#include "tests/support/sample_table.h"

mote_table *sample_table_series(mote_db *db, const char *name, uint32_t flags)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "value", .type = MOTE_TYPE_INT64}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    const struct mote_schema schema = {.size_bytes = sizeof schema, .name = name, .columns = columns, .column_count = 4, .flags = flags, .key_columns = key, .key_column_count = 2, .time_column = 1};
    mote_table *table;
    must(mote_table_create(db, &schema, &table));
    return table;
}

mote_table *sample_table_frames(mote_db *db, const char *name)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "frame", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}};
    const uint32_t key = 0;
    const struct mote_schema schema = {.size_bytes = sizeof schema, .name = name, .columns = columns, .column_count = 2, .key_columns = &key, .key_column_count = 1, .time_column = -1};
    mote_table *table;
    must(mote_table_create(db, &schema, &table));
    return table;
}
