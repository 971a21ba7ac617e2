/* blob_stress_test.c: several writers of large values, by rows, batches, streams and transactions, while others get, scan and stream them, rows are deleted, and a thread flushes and compacts: every value that is read has the bytes of its
 * number, whatever was freed, moved or dropped meanwhile; at the end the space of what is gone is free. For ThreadSanitizer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blob.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

enum { WRITERS = 3, READERS = 2, KEYS = 24, BYTES_MAX = 200000 };

struct shared {
    struct fixture fixture;
    mote_table *table;
    _Atomic bool stop;
    _Atomic uint64_t next_number, read, wrong;
};
struct actor {
    struct shared *shared;
    uint64_t random;
    uint64_t rounds;
};

/* The first 16 bytes are the number and the size, the rest follows from them. */
static uint64_t fill(uint8_t *bytes, uint64_t number, uint64_t size_bytes)
{
    uint64_t state = number * 31 + 7;
    size_bytes = size_bytes < 16 ? 16 : size_bytes & ~7ull;
    memcpy(bytes, &number, 8);
    memcpy(bytes + 8, &size_bytes, 8);
    for (uint64_t i = 16; i < size_bytes; i += 8) {
        uint64_t word = fixture_random(&state);
        memcpy(bytes + i, &word, 8);
    }
    return size_bytes;
}

static bool is_right(const uint8_t *bytes, uint64_t size_bytes)
{
    uint64_t number, size;
    uint8_t *expected = malloc(BYTES_MAX);
    bool right = size_bytes >= 16;
    if (right) {
        memcpy(&number, bytes, 8);
        memcpy(&size, bytes + 8, 8);
        right = size == size_bytes && fill(expected, number, size) == size && memcmp(expected, bytes, size) == 0;
    }
    free(expected);
    return right;
}

static void check(struct shared *shared, const void *bytes, uint64_t size_bytes)
{
    atomic_fetch_add(&shared->read, 1);
    if (!is_right(bytes, size_bytes))
        atomic_fetch_add(&shared->wrong, 1);
}

static void write_stream(struct shared *shared, struct mote_value *row, const uint8_t *bytes, uint64_t size_bytes)
{
    mote_blob_writer *writer;
    must(mote_blob_writer_open(shared->table, 0, &writer));
    must(mote_blob_write(writer, bytes, size_bytes / 2));
    must(mote_blob_write(writer, bytes + size_bytes / 2, size_bytes - size_bytes / 2));
    must(mote_blob_finish(writer, &row[1]));
    must(mote_append(shared->table, row, 2, NULL, NULL));
    mote_blob_writer_close(writer);
}

static void write_pair(struct shared *shared, struct actor *actor, uint8_t *bytes)
{
    int64_t ids[2] = {(int64_t)(fixture_random(&actor->random) % KEYS), 0};
    uint32_t offsets[3] = {0};
    ids[1] = (ids[0] + 1) % KEYS;
    for (unsigned i = 0; i < 2; i++)
        offsets[i + 1] = offsets[i] + (uint32_t)fill(bytes + offsets[i], atomic_fetch_add(&shared->next_number, 1), fixture_random(&actor->random) % BYTES_MAX);
    const struct mote_column columns[] = {{MOTE_TYPE_INT64, 1, ids, NULL, NULL}, {MOTE_TYPE_BLOB, 1, bytes, offsets, NULL}};
    const struct mote_batch batch = {2, 2, columns, NULL};
    must(mote_append_columns(shared->table, &batch, NULL, NULL));
}

static void *write_rows(void *context)
{
    struct actor *actor = context;
    struct shared *shared = actor->shared;
    uint8_t *memory = aligned_alloc(4096, (2 * BYTES_MAX / 4096 + 2) * 4096);
    for (uint64_t i = 0; i < actor->rounds; i++) {
        uint8_t *bytes = memory + i % 2 * 8; /* every other one goes to the device from where it is */
        uint64_t kind = fixture_random(&actor->random) % 6, size_bytes = fill(bytes, atomic_fetch_add(&shared->next_number, 1), fixture_random(&actor->random) % BYTES_MAX);
        struct mote_value row[2] = {value_i64((int64_t)(fixture_random(&actor->random) % KEYS)), value_bytes(MOTE_TYPE_BLOB, bytes, size_bytes)};
        if (kind == 0) {
            must(mote_delete(shared->table, row, 1, NULL, NULL));
        } else if (kind == 1) {
            write_stream(shared, row, bytes, size_bytes);
        } else if (kind == 2) {
            write_pair(shared, actor, bytes);
        } else if (kind == 3) {
            mote_transaction *transaction;
            must(mote_transaction_begin(shared->fixture.db, NULL, &transaction));
            must(mote_transaction_put(transaction, shared->table, row, 2));
            int result = mote_transaction_commit(transaction, NULL, NULL);
            if (result != MOTE_ECONFLICT) /* either way the transaction is over */
                must(result);
        } else {
            must(mote_append(shared->table, row, 2, NULL, NULL));
        }
        memset(memory, 0xa5, 2 * BYTES_MAX); /* the caller's again */
    }
    free(memory);
    return NULL;
}

static void read_stream(struct shared *shared, const struct mote_value *id)
{
    mote_blob_reader *reader;
    size_t count, all = 0;
    int result = mote_blob_reader_open(shared->table, NULL, id, 1, 1, &reader);
    if (result == MOTE_ENOTFOUND)
        return;
    must(result);
    uint64_t size_bytes = mote_blob_size(reader);
    uint8_t *bytes = malloc(size_bytes + 1);
    do {
        must(mote_blob_read(reader, all, bytes + all, size_bytes - all < 50000 ? size_bytes - all : 50000, &count));
        all += count;
    } while (count > 0 && all < size_bytes);
    check(shared, bytes, all);
    free(bytes);
    mote_blob_reader_close(reader);
}

static void read_scan(struct shared *shared)
{
    struct mote_chunk chunk;
    mote_cursor *cursor;
    must(mote_scan(shared->table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            struct mote_value value = chunk_value(&chunk, 1, i);
            check(shared, value.as.bytes.data, value.as.bytes.size_bytes);
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
}

static void *read_rows(void *context)
{
    struct actor *actor = context;
    struct shared *shared = actor->shared;
    mote_row *row = NULL;
    while (!atomic_load(&shared->stop)) {
        struct mote_value id = value_i64((int64_t)(fixture_random(&actor->random) % KEYS)), value;
        uint64_t kind = fixture_random(&actor->random) % 8;
        if (kind == 0) {
            read_scan(shared);
        } else if (kind < 3) {
            read_stream(shared, &id);
        } else {
            int result = mote_get(shared->table, &id, 1, &row);
            if (result == MOTE_ENOTFOUND)
                continue;
            must(result);
            must(mote_row_value(row, 1, &value));
            check(shared, value.as.bytes.data, value.as.bytes.size_bytes);
        }
    }
    mote_row_free(row);
    return NULL;
}

static void *work(void *context)
{
    struct actor *actor = context;
    struct shared *shared = actor->shared;
    while (!atomic_load(&shared->stop)) {
        uint64_t kind = fixture_random(&actor->random) % 3;
        must(kind == 0 ? mote_flush(shared->fixture.db) : kind == 1 ? mote_compact(shared->fixture.db, NULL) : mote_checkpoint(shared->fixture.db));
    }
    return NULL;
}

int main(void)
{
    struct shared *shared = calloc(1, sizeof *shared);
    pthread_t threads[WRITERS + READERS + 1];
    struct actor actors[WRITERS + READERS + 1];
    fixture_image(&shared->fixture, 256ull << 20);
    shared->fixture.options.blob_threshold_bytes = 4096;
    shared->fixture.options.memory_bytes = 96ull << 20;
    fixture_open(&shared->fixture);
    shared->table = sample_table_frames(shared->fixture.db, "cam");
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        actors[i] = (struct actor){shared, i * 7919 + 1, fixture_scale(400)};
        pthread_create(&threads[i], NULL, i < WRITERS ? write_rows : i < WRITERS + READERS ? read_rows : work, &actors[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&shared->stop, true);
    for (unsigned i = WRITERS; i < WRITERS + READERS + 1; i++)
        pthread_join(threads[i], NULL);
    uint64_t failed = atomic_load(&shared->wrong), passed = atomic_load(&shared->read) - failed;
    for (int64_t key = 0; key < KEYS; key++) {
        struct mote_value id = value_i64(key);
        must(mote_delete(shared->table, &id, 1, NULL, NULL));
    }
    must(mote_flush(shared->fixture.db));
    must(mote_compact(shared->fixture.db, NULL));
    must(mote_checkpoint(shared->fixture.db));
    while (blobs_reclaim(shared->fixture.db, true))
        ;
    struct mote_stats stats = fixture_stats(&shared->fixture);
    if (stats.blob_files) {
        printf("FAILED %llu blob files are left without a row\n", (unsigned long long)stats.blob_files);
        failed++;
    }
    passed++;
    fixture_remove(&shared->fixture);
    free(shared);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed ? 1 : 0;
}
