/* backup_stress_test.c: volumes are sent, whole and incrementally, while writers, flushes, compactions, index builds and named snapshots go on.
 *
 * Each writer's batches put one number under the next key into two tables; the number of its newest batch is the same in both, whatever moment a stream is of. Every stream is received; the copy must hold, of each writer, a prefix of its
 * batches, the same in both tables, that reaches at least as far as what was visible when the send began; increments go onto the copy of their base. Ends with "N passed, N failed". */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/backup.h"

enum { WRITERS = 2, SIZE = 256 * 1024 * 1024, SENDS = 24, KEYS = 4000, PAD_BYTES = 200 };

struct writer {
    pthread_t thread;
    mote_db *db;
    mote_table *tables[2];
    int64_t number;
    _Atomic int64_t batches;
    _Atomic bool *stop;
};

static mote_table *make_table(mote_db *db, const char *name)
{
    const uint32_t keys[] = {0, 1}, indexed[] = {2};
    struct mote_column_definition columns[] = {{.name = "writer", .type = MOTE_TYPE_INT64}, {.name = "slot", .type = MOTE_TYPE_INT64}, {.name = "batch", .type = MOTE_TYPE_INT64}, {.name = "pad", .type = MOTE_TYPE_BLOB}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = keys;
    schema.key_column_count = 2;
    must(mote_table_create(db, &schema, &table));
    options.name = "by_batch";
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = indexed;
    options.column_count = 1;
    must(mote_index_create(table, &options));
    return table;
}

/* Batch n of a writer sets slot n mod KEYS in both tables. */
static void *write_batches(void *context)
{
    struct writer *writer = context;
    uint64_t random = (uint64_t)writer->number + 99, pad[PAD_BYTES / 8];
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    options.durability = MOTE_DURABILITY_NONE;
    for (int64_t n = 1; !atomic_load(writer->stop); n++) {
        mote_write *write;
        for (unsigned i = 0; i < PAD_BYTES / 8; i++)
            pad[i] = fixture_random(&random);
        struct mote_value row[] = {value_i64(writer->number), value_i64(n % KEYS), value_i64(n), value_bytes(MOTE_TYPE_BLOB, pad, PAD_BYTES)};
        must(mote_write_begin(writer->db, &write));
        for (unsigned t = 0; t < 2; t++)
            must(mote_write_put(write, writer->tables[t], row, 4));
        must(mote_write_commit(write, &options, NULL));
        mote_write_free(write);
        atomic_store(&writer->batches, n);
        if (n % 32 == 0)
            usleep(1000); /* the device is small */
    }
    return NULL;
}

struct churn {
    pthread_t thread;
    mote_db *db;
    _Atomic bool *stop;
};

static void *churn(void *context)
{
    struct churn *self = context;
    for (unsigned i = 0; !atomic_load(self->stop); i++) {
        must(mote_flush(self->db));
        if (i % 3 == 0)
            must(mote_compact(self->db, i % 2 ? "left" : "right"));
        if (i % 4 == 1)
            must(mote_snapshot_take(self->db, "now", NULL));
        if (i % 4 == 3)
            must(mote_snapshot_drop(self->db, "now"));
        if (i % 5 == 4)
            must(mote_checkpoint(self->db));
    }
    return NULL;
}

/* Of each writer the newest batch in a table; false: what is there is no prefix. */
static bool read_table(mote_db *db, const char *name, int64_t newest[WRITERS])
{
    static int64_t slots[WRITERS][KEYS];
    mote_table *table;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    memset(slots, 0, sizeof slots);
    memset(newest, 0, WRITERS * sizeof newest[0]);
    must(mote_table_open(db, name, &table));
    must(mote_scan(table, NULL, &cursor));
    for (must(mote_cursor_next(cursor, &chunk)); chunk.row_count > 0; must(mote_cursor_next(cursor, &chunk)))
        for (size_t i = 0; i < chunk.row_count; i++) {
            int64_t writer = chunk_value(&chunk, 0, i).as.i64, slot = chunk_value(&chunk, 1, i).as.i64, batch = chunk_value(&chunk, 2, i).as.i64;
            require(writer >= 0 && writer < WRITERS && slot >= 0 && slot < KEYS);
            slots[writer][slot] = batch;
            newest[writer] = batch > newest[writer] ? batch : newest[writer];
        }
    mote_cursor_close(cursor);
    for (unsigned w = 0; w < WRITERS; w++)
        for (int64_t n = newest[w]; n > 0 && n > newest[w] - KEYS; n--)
            if (slots[w][n % KEYS] != n)
                return false;
    return true;
}

static bool check_copy(struct blockdev *device, const struct mote_options *options, const int64_t least[WRITERS])
{
    struct mote_options how = *options;
    int64_t left[WRITERS], right[WRITERS];
    mote_db *db;
    how.read_only = 1;
    must(engine_open(device, &how, &db, NULL));
    bool good = read_table(db, "left", left) && read_table(db, "right", right) && memcmp(left, right, sizeof left) == 0;
    for (unsigned w = 0; w < WRITERS; w++)
        good = good && left[w] >= least[w];
    engine_abandon(db);
    return good;
}

int main(void)
{
    struct fixture fixture;
    struct writer writers[WRITERS] = {0};
    _Atomic bool stop = false;
    uint64_t passed = 0, failed = 0, increments = 0, sends = fixture_scale(SENDS) < 6 ? 6 : fixture_scale(SENDS);
    fixture_image(&fixture, SIZE);
    fixture.options.memory_bytes = 64 * 1024 * 1024;
    fixture_open(&fixture);
    mote_table *tables[2] = {make_table(fixture.db, "left"), make_table(fixture.db, "right")};
    struct churn churner = {.db = fixture.db, .stop = &stop};
    for (unsigned w = 0; w < WRITERS; w++) {
        writers[w] = (struct writer){.db = fixture.db, .tables = {tables[0], tables[1]}, .number = w, .stop = &stop};
        require(pthread_create(&writers[w].thread, NULL, write_batches, &writers[w]) == 0);
    }
    require(pthread_create(&churner.thread, NULL, churn, &churner) == 0);
    struct blockdev *device = NULL;
    for (uint64_t i = 0; i < sends; i++) {
        struct backup_stream stream;
        struct mote_transfer transfer;
        int64_t least[WRITERS];
        char from[16], as[16];
        snprintf(from, sizeof from, "b%llu", (unsigned long long)(i + 1) % 2);
        snprintf(as, sizeof as, "b%llu", (unsigned long long)i % 2);
        for (unsigned w = 0; w < WRITERS; w++)
            least[w] = atomic_load(&writers[w].batches);
        bool increment = i % 6 != 0;
        if (i >= 2)
            must(mote_base_drop(fixture.db, as));
        backup_send(fixture.db, increment ? from : NULL, as, &stream, &transfer);
        increments += increment && transfer.segments_carried < transfer.segments_total;
        if (!increment) {
            if (device)
                blockdev_close(device);
            device = backup_device(SIZE);
        }
        must(backup_receive(device, &stream, NULL));
        bool good = check_copy(device, &fixture.options, least);
        passed += good;
        failed += !good;
        if (!good)
            printf("FAILED send %llu\n", (unsigned long long)i);
        backup_free(&stream);
    }
    atomic_store(&stop, true);
    for (unsigned w = 0; w < WRITERS; w++)
        pthread_join(writers[w].thread, NULL);
    pthread_join(churner.thread, NULL);
    blockdev_close(device);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    printf("backup_stress_test: %llu streams, %llu increments that left segments out\n%llu passed, %llu failed\n", (unsigned long long)sends, (unsigned long long)increments, (unsigned long long)passed, (unsigned long long)failed);
    return failed != 0;
}
