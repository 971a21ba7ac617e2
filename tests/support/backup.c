/* backup.c: see backup.h. */
#include "tests/support/backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sample_table.h"

int backup_write(const void *data, size_t size_bytes, void *context)
{
    struct backup_stream *stream = context;
    if (stream->size_bytes + size_bytes > stream->capacity_bytes) {
        stream->capacity_bytes = (stream->size_bytes + size_bytes) * 2;
        stream->bytes = realloc(stream->bytes, stream->capacity_bytes);
        require(stream->bytes != NULL);
    }
    if (size_bytes)
        memcpy(stream->bytes + stream->size_bytes, data, size_bytes);
    stream->size_bytes += size_bytes;
    return stream->fail_at && stream->size_bytes > stream->fail_at ? MOTE_EIO : MOTE_OK;
}

int backup_read(void *data, size_t size_max, size_t *size_bytes, void *context)
{
    struct backup_stream *stream = context;
    size_t left = stream->size_bytes - stream->at;
    if (stream->fail_at && stream->at >= stream->fail_at)
        return MOTE_EIO;
    *size_bytes = size_max < left ? size_max : left;
    if (*size_bytes)
        memcpy(data, stream->bytes + stream->at, *size_bytes);
    stream->at += *size_bytes;
    return MOTE_OK;
}

void backup_free(struct backup_stream *stream)
{
    free(stream->bytes);
    *stream = (struct backup_stream){0};
}

/* ---- Frames ---- */

static size_t make_frame(int64_t value, uint8_t bytes[BACKUP_FRAME_BYTES_MAX + 8])
{
    static const size_t sizes[] = {100, 4097, 20000, BACKUP_FRAME_BYTES_MAX};
    uint64_t random = (uint64_t)value * 2654435761u + 3;
    size_t size_bytes = sizes[value % 4] - (size_t)value % 90;
    for (size_t i = 0; i < size_bytes; i += 8) {
        uint64_t word = fixture_random(&random);
        memcpy(bytes + i, &word, sizeof word);
    }
    return size_bytes;
}

static void put_frame(mote_table *frames, int64_t key, int64_t value)
{
    uint8_t *bytes = malloc(BACKUP_FRAME_BYTES_MAX + 8);
    require(bytes != NULL);
    struct mote_value row[] = {value_i64(key), value_bytes(MOTE_TYPE_BLOB, bytes, value ? make_frame(value, bytes) : 0)};
    must(value ? mote_append(frames, row, 2, NULL, NULL) : mote_delete(frames, row, 1, NULL, NULL));
    free(bytes);
}

bool backup_frames_equal(mote_db *db, const struct state *state)
{
    uint8_t *bytes = malloc(BACKUP_FRAME_BYTES_MAX + 8);
    mote_table *frames;
    mote_row *row = NULL;
    bool equal = true;
    require(bytes != NULL);
    must(mote_table_open(db, "frames", &frames));
    for (int64_t key = 0; key < BACKUP_FRAMES && equal; key++) {
        struct mote_value id = value_i64(key), value;
        int64_t expected = state->values[0][key];
        int result = mote_get(frames, &id, 1, &row);
        if (!result)
            result = mote_row_value(row, 1, &value);
        if (result || !expected) {
            equal = result == MOTE_ENOTFOUND && !expected;
            continue;
        }
        size_t size_bytes = make_frame(expected, bytes);
        equal = value.as.bytes.size_bytes == size_bytes && memcmp(value.as.bytes.data, bytes, size_bytes) == 0;
    }
    mote_row_free(row);
    free(bytes);
    return equal;
}

/* ---- Volumes ---- */

static void change_rows(mote_db *db, const struct state_tables *tables, uint64_t *random, struct state *state)
{
    mote_table *frames;
    must(mote_table_open(db, "frames", &frames));
    for (unsigned i = 0; i < 40; i++) {
        unsigned t = (unsigned)(fixture_random(random) % STATE_TABLES);
        int64_t key = (int64_t)(fixture_random(random) % STATE_KEYS), value = (int64_t)(fixture_random(random) % 100000) + 1;
        char text[STATE_TEXT_BYTES];
        struct mote_value row[3];
        if (fixture_random(random) % 5 == 0)
            value = 0;
        size_t count = states_row(t, key, value, text, row);
        must(value ? mote_append(tables->tables[t], row, count, NULL, NULL) : mote_delete(tables->tables[t], row, 1, NULL, NULL));
        state->values[t][key] = value;
        if (t == 0 && key < BACKUP_FRAMES)
            put_frame(frames, key, value);
    }
}

void backup_fill(mote_db *db, struct state_tables *tables, uint32_t rounds, uint64_t *random, struct state *state)
{
    if (!tables->tables[0]) {
        states_create(db, tables);
        sample_table_frames(db, "frames");
        for (unsigned t = 0; t < STATE_TABLES; t++) {
            const uint32_t columns[] = {1};
            struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
            options.name = "by_value";
            options.kind = MOTE_INDEX_COLUMN;
            options.columns = columns;
            options.column_count = 1;
            must(mote_index_create(tables->tables[t], &options));
        }
    }
    for (uint32_t i = 0; i < rounds; i++) {
        char name[32];
        change_rows(db, tables, random, state);
        if (i % 3 == 1)
            must(mote_flush(db));
        if (i % 7 == 5)
            must(mote_compact(db, state_names[i % STATE_TABLES]));
        if (i % 8 != 2)
            continue;
        snprintf(name, sizeof name, "n%llu", (unsigned long long)mote_visible_seq(db));
        must(mote_snapshot_take(db, name, NULL));
    }
}

void backup_send(mote_db *db, const char *from, const char *as, struct backup_stream *stream, struct mote_transfer *transfer)
{
    struct mote_send_options options = MOTE_SEND_OPTIONS_INIT;
    options.from = from;
    options.as = as;
    *stream = (struct backup_stream){0};
    must(mote_send(db, &options, backup_write, stream, transfer));
}

int backup_receive(struct blockdev *device, struct backup_stream *stream, struct mote_transfer *transfer)
{
    stream->at = 0;
    return engine_receive(device, NULL, backup_read, stream, transfer);
}

struct blockdev *backup_device(uint64_t size_bytes)
{
    struct blockdev *device;
    struct sim_options options = {.size_bytes = size_bytes, .logical_block_bytes = 4096, .seed = 1};
    must(sim_create(&options, &device));
    return device;
}

void backup_expect(struct blockdev *device, const struct mote_options *options, bool read_only, const struct state *expected)
{
    struct mote_options how = *options;
    struct state_tables tables;
    struct state found;
    mote_db *db;
    how.read_only = read_only;
    must(engine_open(device, &how, &db, NULL));
    states_open(db, &tables);
    must(states_read(&tables, NULL, false, &found));
    if (!states_equal(&found, expected)) {
        char text[600];
        states_describe(&found, expected, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        require(false);
    }
    require(backup_frames_equal(db, expected));
    if (!read_only)
        must(mote_flush_all_indexes(db));
    engine_abandon(db);
}
