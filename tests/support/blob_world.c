/* blob_world.c: see blob_world.h. */
#include "tests/support/blob_world.h"

#include <string.h>

uint64_t blob_world_draw(struct blob_world *world, uint64_t below) { return fixture_random(&world->random) % below; }

void blob_content_fill(uint8_t *bytes, const struct blob_content *content)
{
    uint64_t state = content->seed * 2654435761u + 1;
    for (uint64_t i = 0; i < content->size_bytes; i += 8) {
        uint64_t word = fixture_random(&state);
        memcpy(bytes + i, &word, content->size_bytes - i < 8 ? content->size_bytes - i : 8);
    }
}

bool blob_content_is(const uint8_t *bytes, uint64_t size_bytes, const struct blob_content *content)
{
    static uint8_t expected[BLOB_WORLD_BYTES_MAX + 8];
    if (size_bytes != content->size_bytes)
        return false;
    blob_content_fill(expected, content);
    return size_bytes == 0 || memcmp(bytes, expected, size_bytes) == 0;
}

void blob_world_make_table(struct blob_world *world, const char *name, uint32_t flags)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "frame", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.flags = flags;
    must(mote_table_create(world->fixture.db, &schema, &world->table));
}

void blob_world_begin(struct blob_world *world, uint64_t device_bytes, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    fixture_image(&world->fixture, device_bytes);
    world->fixture.options.blob_threshold_bytes = 4096;
    world->random = seed;
    fixture_open(&world->fixture);
    blob_world_make_table(world, "cam", 0);
}

void blob_world_reopen_table(struct blob_world *world) { must(mote_table_open(world->fixture.db, "cam", &world->table)); }

struct blob_content blob_world_draw_content(struct blob_world *world)
{
    static const uint64_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 100000, 131072, 262144, 1 << 20, (1 << 20) + 5};
    struct blob_content content = {.seed = ++world->next_seed, .there = true, .null = blob_world_draw(world, 12) == 0};
    content.size_bytes = blob_world_draw(world, 3) ? sizes[blob_world_draw(world, sizeof sizes / sizeof sizes[0])] : blob_world_draw(world, 300000);
    return content;
}

void blob_content_row(int64_t key, const struct blob_content *content, uint8_t *bytes, struct mote_value *row)
{
    blob_content_fill(bytes, content);
    row[0] = value_i64(key);
    row[1] = content->null ? value_null(MOTE_TYPE_BLOB) : value_bytes(MOTE_TYPE_BLOB, bytes, content->size_bytes);
    row[2] = value_text("a note");
}

void blob_content_check(const struct mote_value *value, const struct blob_content *content)
{
    require((value->is_null != 0) == content->null);
    if (!content->null)
        require(blob_content_is(value->as.bytes.data, value->as.bytes.size_bytes, content));
}

void blob_world_check_gets(struct blob_world *world, const mote_snapshot *snapshot, const struct blob_content *rows)
{
    mote_row *row = NULL;
    for (int64_t key = 0; key < BLOB_WORLD_KEYS; key++) {
        struct mote_value id = value_i64(key), value;
        if (!rows[key].there) {
            must_fail(mote_get_at(world->table, snapshot, &id, 1, &row), MOTE_ENOTFOUND);
            continue;
        }
        must(mote_get_at(world->table, snapshot, &id, 1, &row));
        must(mote_row_value(row, 1, &value));
        blob_content_check(&value, &rows[key]);
        must(mote_row_value(row, 1, &value)); /* from what was read */
        blob_content_check(&value, &rows[key]);
    }
    mote_row_free(row);
}

void blob_world_check_scan(struct blob_world *world, const mote_snapshot *snapshot, const struct blob_content *rows)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    int64_t key = 0;
    options.snapshot = snapshot;
    must(mote_scan(world->table, &options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, key++) {
            struct mote_value value = chunk_value(&chunk, 1, i);
            while (key < BLOB_WORLD_KEYS && !rows[key].there)
                key++;
            require(chunk_value(&chunk, 0, i).as.i64 == key);
            blob_content_check(&value, &rows[key]);
        }
    } while (chunk.row_count > 0);
    while (key < BLOB_WORLD_KEYS && !rows[key].there)
        key++;
    require(key == BLOB_WORLD_KEYS);
    mote_cursor_close(cursor);
}

void blob_world_check(struct blob_world *world)
{
    blob_world_check_gets(world, NULL, world->rows);
    blob_world_check_scan(world, NULL, world->rows);
}
