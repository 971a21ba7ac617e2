/* unique_stress_test.c: several writers of one table, by rows and by batches, while a unique index is declared and dropped, rows are deleted and flushed: while the index is there no value is twice among the rows, and what was there before it is refused or
 * free of doubles. For ThreadSanitizer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/engine_fixture.h"

enum { WRITERS = 3, VALUES = 3000 };

struct writer {
    mote_table *table;
    uint64_t state;
    int64_t first_key;
    _Atomic bool *stop;
    uint64_t accepted, refused;
};

static uint64_t passed, failed;

static mote_table *make_table(mote_db *db)
{
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "value", .type = MOTE_TYPE_INT64}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key = 0;
    mote_table *table;
    schema.name = "things";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void *write_rows(void *context)
{
    struct writer *writer = context;
    for (int64_t key = writer->first_key; !atomic_load(writer->stop); key += 8) {
        int64_t ids[8], values[8];
        size_t count = fixture_random(&writer->state) % 8 + 1;
        for (size_t i = 0; i < count; i++) {
            ids[i] = key + (int64_t)i;
            values[i] = (int64_t)(fixture_random(&writer->state) % VALUES);
        }
        const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT64, .values = values}};
        const struct mote_batch batch = {.row_count = count, .column_count = 2, .columns = columns};
        struct mote_value row[] = {value_i64(ids[0]), value_i64(values[0])};
        int result = count == 1 ? mote_append(writer->table, row, 2, NULL, NULL) : mote_append_columns(writer->table, &batch, NULL, NULL);
        if (result != MOTE_EEXISTS)
            must(result);
        writer->accepted += result == MOTE_OK;
        writer->refused += result != MOTE_OK;
        if (key % 64 == 0)
            must(mote_delete(writer->table, row, 1, NULL, NULL));
    }
    return NULL;
}

static uint64_t count_doubled(mote_table *table)
{
    static bool seen[VALUES];
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t doubled = 0;
    memset(seen, 0, sizeof seen);
    must(mote_scan(table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            int64_t value = ((const int64_t *)chunk.columns[1].values)[i];
            doubled += seen[value];
            seen[value] = true;
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    return doubled;
}

/* Writers get on by so many rows, or find none that is not refused for a while. */
static void wait_for_rows(mote_db *db, uint64_t rows)
{
    uint64_t from = mote_visible_seq(db);
    for (unsigned i = 0; i < 2000 && mote_visible_seq(db) < from + rows; i++)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static void run_round(struct fixture *fixture, unsigned round)
{
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    _Atomic bool stop = false;
    uint64_t accepted = 0, refused = 0;
    mote_table *table = make_table(fixture->db);
    int result = round % 2 ? fixture_declare_unique(table, "u", 1) : MOTE_OK;
    must(result);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.table = table, .state = 1000 + WRITERS * round + i, .first_key = (int64_t)i * 1000000000, .stop = &stop};
        pthread_create(&threads[i], NULL, write_rows, &writers[i]);
    }
    if (round % 2 == 0) {
        wait_for_rows(fixture->db, round);
        result = fixture_declare_unique(table, "u", 1);
    }
    if (result != MOTE_EEXISTS)
        must(result);
    for (unsigned i = 0; i < 4; i++) {
        wait_for_rows(fixture->db, 200);
        must(mote_flush(fixture->db));
        if (!result && count_doubled(table) != 0)
            failed++;
    }
    if (!result && round % 3 == 0)
        must(mote_compact(fixture->db, "things"));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        accepted += writers[i].accepted;
        refused += writers[i].refused;
    }
    if (!result && count_doubled(table) != 0)
        failed++;
    else
        passed++;
    printf("round %u: declared %s, %llu writes accepted, %llu refused\n", round, result ? "refused" : "yes", (unsigned long long)accepted, (unsigned long long)refused);
    if (!result)
        must(mote_index_drop(table, "u"));
    must(mote_table_drop(fixture->db, "things"));
}

int main(void)
{
    struct fixture fixture;
    fixture_image(&fixture, 128 << 20);
    fixture_open(&fixture);
    uint64_t rounds = fixture_scale(20) < 4 ? 4 : fixture_scale(20);
    for (unsigned round = 0; round < rounds; round++)
        run_round(&fixture, round);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed != 0;
}
