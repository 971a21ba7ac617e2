/* blob_rows.c: see blob_rows.h. */
#include "tests/support/blob_rows.h"

#include <string.h>

mote_table *blob_rows_create(mote_db *db, const char *name)
{
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "b", .type = MOTE_TYPE_BLOB}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

void blob_rows_fill(int64_t key, uint8_t blob[BLOB_ROW_BYTES])
{
    uint64_t random = (uint64_t)key * 7919 + 1;
    for (size_t i = 0; i < BLOB_ROW_BYTES; i += 8) {
        uint64_t word = fixture_random(&random);
        memcpy(blob + i, &word, 8);
    }
}

int blob_rows_append(mote_table *table, int64_t first, uint64_t *ticket)
{
    static uint8_t blobs[BLOB_ROWS_BATCH * BLOB_ROW_BYTES];
    int64_t keys[BLOB_ROWS_BATCH];
    uint32_t offsets[BLOB_ROWS_BATCH + 1] = {0};
    for (uint32_t i = 0; i < BLOB_ROWS_BATCH; i++) {
        keys[i] = first + i;
        blob_rows_fill(keys[i], blobs + i * BLOB_ROW_BYTES);
        offsets[i + 1] = (i + 1) * BLOB_ROW_BYTES;
    }
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = keys}, {.type = MOTE_TYPE_BLOB, .values = blobs, .offsets = offsets}};
    const struct mote_batch batch = {BLOB_ROWS_BATCH, 2, columns, NULL};
    return mote_append_columns(table, &batch, NULL, ticket);
}
