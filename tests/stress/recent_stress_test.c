/* recent_stress_test.c: searches beside several writers of a table whose rows of memtables are indexed in memory (realtime, then hybrid), with flushes now and then and an index that comes and goes. Each writer puts rows with ascending
 * values into two tables, one by one, in batches of a table or of both, and by transactions which meet on a row, and older ones again: a search for a value, or a range of them, finds each row that was written before it once. Run it under ThreadSanitizer. MOTE_TEST_SCALE: percent of the usual time. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/recent.h"
#include "tests/support/engine_fixture.h"

enum { WRITERS = 3, SEARCHERS = 2, STRIDE = 1 << 24, BATCH_ROWS = 40, RANGE = 60, TABLES = 2 };

struct stress {
    struct fixture fixture;
    mote_table *tables[TABLES];
    _Atomic bool stop;
    _Atomic int64_t written[WRITERS]; /* rows that are visible: values STRIDE * writer + 0, 1, ... */
    _Atomic uint64_t searches, failures, batches, turns, commits, refused;
};

static const uint32_t positions[] = {0, 1, 2};

struct writer {
    struct stress *stress;
    int64_t number;
};

static void put(struct stress *stress, int64_t id)
{
    struct mote_value values[] = {value_i64(id), value_i64(id), value_text(id % 2 ? "an odd thing" : "an even thing")};
    for (uint32_t t = 0; t < TABLES; t++)
        must(mote_append(stress->tables[t], values, 3, NULL, NULL));
}

static void put_batch(struct stress *stress, int64_t from)
{
    static const char text[] = "an even thing";
    int64_t ids[BATCH_ROWS];
    uint32_t offsets[BATCH_ROWS + 1];
    char bytes[BATCH_ROWS * sizeof text];
    struct mote_column columns[3] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_TEXT, .values = bytes, .offsets = offsets}};
    struct mote_batch batch = {.row_count = BATCH_ROWS, .column_count = 3, .columns = columns};
    for (uint32_t i = 0; i < BATCH_ROWS; i++) {
        ids[i] = from + i;
        offsets[i] = i * (uint32_t)(sizeof text - 1);
        memcpy(bytes + offsets[i], text, sizeof text - 1);
    }
    offsets[BATCH_ROWS] = BATCH_ROWS * (uint32_t)(sizeof text - 1);
    for (uint32_t t = 0; t < TABLES; t++)
        must(mote_append_columns(stress->tables[t], &batch, NULL, NULL));
}

/* Some rows for both tables at once, in turns. */
static void write_both(struct stress *stress, int64_t from, int64_t count)
{
    mote_write *write;
    must(mote_write_begin(stress->fixture.db, &write));
    for (int64_t id = from; id < from + count; id++) {
        struct mote_value values[] = {value_i64(id), value_i64(id), value_text("a thing of two")};
        for (uint32_t t = 0; t < TABLES; t++)
            must(mote_write_put(write, stress->tables[t], values, 3));
    }
    must(mote_write_commit(write, NULL, NULL));
    mote_write_free(write);
}

/* The same by a transaction that also writes what all writers write, until it is not refused. */
static void transact_both(struct stress *stress, int64_t from, int64_t count)
{
    mote_transaction *transaction;
    int result;
    do {
        struct mote_value shared[] = {value_i64(WRITERS * (int64_t)STRIDE), value_i64(WRITERS * (int64_t)STRIDE), value_text("everybody's")};
        must(mote_transaction_begin(stress->fixture.db, NULL, &transaction));
        must(mote_transaction_put(transaction, stress->tables[from % TABLES], shared, 3));
        for (int64_t id = from; id < from + count; id++) {
            struct mote_value values[] = {value_i64(id), value_i64(id), value_text("a thing of two")};
            for (uint32_t t = 0; t < TABLES; t++)
                must(mote_transaction_put(transaction, stress->tables[t], values, 3));
        }
        result = mote_transaction_commit(transaction, NULL, NULL);
        require(result == MOTE_OK || result == MOTE_ECONFLICT);
        atomic_fetch_add(result ? &stress->refused : &stress->commits, 1);
    } while (result && !atomic_load(&stress->stop));
    if (result)
        write_both(stress, from, count);
}

static void *write_rows(void *context)
{
    struct writer *writer = context;
    struct stress *stress = writer->stress;
    uint64_t random = (uint64_t)writer->number * 77 + 5;
    int64_t first = writer->number * STRIDE, next = 0;
    while (!atomic_load(&stress->stop) && next < STRIDE - BATCH_ROWS) {
        uint64_t drawn = fixture_random(&random) % 10;
        if (drawn == 0) {
            put_batch(stress, first + next);
            next += BATCH_ROWS;
        } else if (drawn >= 8) {
            int64_t count = 1 + (int64_t)(fixture_random(&random) % BATCH_ROWS);
            (drawn == 8 ? write_both : transact_both)(stress, first + next, count);
            next += count;
        } else if (drawn < 6 || next == 0) {
            put(stress, first + next++);
        } else {
            put(stress, first + (int64_t)(fixture_random(&random) % (uint64_t)next)); /* the same again */
        }
        atomic_store(&stress->written[writer->number], next);
    }
    return NULL;
}

static void *maintain(void *context)
{
    struct stress *stress = context;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    options.name = "by words";
    options.kind = MOTE_INDEX_TEXT;
    options.columns = &positions[2];
    options.column_count = 1;
    while (!atomic_load(&stress->stop)) {
        uint64_t turn = atomic_fetch_add(&stress->turns, 1);
        nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
        options.strategy = MOTE_INDEX_REALTIME + (uint32_t)(turn / 2 % 2);
        if (turn % 4 == 1)
            must(mote_index_create(stress->tables[turn / 8 % TABLES], &options));
        else if (turn % 4 == 3)
            must(mote_index_drop(stress->tables[turn / 8 % TABLES], options.name));
        else if (turn % 8 == 2)
            must(mote_flush(stress->fixture.db));
        if (turn % 16 == 6)
            recents_drop(stress->fixture.db); /* as who lacks memory does */
    }
    return NULL;
}

static void fail(struct stress *stress, const char *what, int64_t id)
{
    if (atomic_fetch_add(&stress->failures, 1) < 5)
        printf("FAILED %s: value %lld\n", what, (long long)id);
}

/* Every row of [from, from + RANGE) that was written before, once, in order. */
static void search_range(struct stress *stress, mote_table *table, int64_t from, int64_t written_end)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_RANGE, .columns = &positions[1], .column_count = 1, .from = value_i64(from), .to = value_i64(from + RANGE - 1)};
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    int64_t next = from;
    options.terms = &term;
    options.term_count = 1;
    options.rank_by = 1;
    must(mote_search(table, &options, &hits));
    atomic_fetch_add(&stress->batches, strstr(mote_hits_explain(hits), "in memory: ") != NULL);
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i], value = ((const int64_t *)chunk.columns[1].values)[i];
            if (id != value || id < next || id >= from + RANGE || (id > next && next < written_end))
                fail(stress, "a row is missing, double, out of order or another's", id);
            next = id + 1;
        }
    } while (chunk.row_count > 0);
    if (next < written_end && next < from + RANGE)
        fail(stress, "the last rows of a range are missing", next);
    mote_hits_close(hits);
}

static void search_value(struct stress *stress, mote_table *table, int64_t value)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_EQUAL, .columns = &positions[1], .column_count = 1, .from = value_i64(value)};
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    must(mote_search(table, &options, &hits));
    if (mote_hits_count(hits) != 1)
        fail(stress, "a row is not found once", value);
    mote_hits_close(hits);
}

static void *search_rows(void *context)
{
    struct stress *stress = context;
    uint64_t random = 9;
    while (!atomic_load(&stress->stop)) {
        int64_t writer = (int64_t)(fixture_random(&random) % WRITERS), written = atomic_load(&stress->written[writer]);
        if (written == 0)
            continue;
        int64_t one = (int64_t)(fixture_random(&random) % (uint64_t)written), newest = written > RANGE / 2 ? written - RANGE / 2 : 0;
        mote_table *table = stress->tables[fixture_random(&random) % TABLES];
        search_value(stress, table, writer * STRIDE + one);
        search_range(stress, table, writer * STRIDE + (fixture_random(&random) % 2 ? one : newest), writer * STRIDE + written);
        atomic_fetch_add(&stress->searches, 2);
    }
    return NULL;
}

static void create(struct stress *stress, uint32_t t, uint32_t strategy)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "value", .type = MOTE_TYPE_INT64}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = FIXTURE_INDEX_OPTIONS_INIT;
    schema.name = t ? "twins" : "things";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = positions;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(stress->fixture.db, &schema, &stress->tables[t]));
    index.name = "by value";
    index.kind = MOTE_INDEX_COLUMN;
    index.columns = &positions[1];
    index.column_count = 1;
    index.strategy = strategy;
    must(mote_index_create(stress->tables[t], &index));
}

static void run(struct stress *stress, uint32_t strategy)
{
    pthread_t threads[1 + WRITERS + SEARCHERS];
    struct writer writers[WRITERS];
    uint32_t count = 0;
    memset(stress->written, 0, sizeof stress->written);
    atomic_store(&stress->stop, false);
    atomic_store(&stress->turns, 0);
    fixture_image(&stress->fixture, 512 << 20);
    stress->fixture.options.memory_bytes = 128 << 20;
    stress->fixture.options.memtable_bytes = 8 << 20;
    fixture_open(&stress->fixture);
    recents_set_rows(stress->fixture.db, 100);
    for (uint32_t t = 0; t < TABLES; t++)
        create(stress, t, t ? MOTE_INDEX_REALTIME + MOTE_INDEX_HYBRID - strategy : strategy);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){stress, i};
        require(pthread_create(&threads[count++], NULL, write_rows, &writers[i]) == 0);
    }
    require(pthread_create(&threads[count++], NULL, maintain, stress) == 0);
    for (uint32_t i = 0; i < SEARCHERS; i++)
        require(pthread_create(&threads[count++], NULL, search_rows, stress) == 0);
    int64_t until_ns = fixture_now_ns() + (int64_t)fixture_scale(4000) * 1000000;
    while (fixture_now_ns() < until_ns && atomic_load(&stress->failures) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_store(&stress->stop, true);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    for (int64_t i = 0; i < WRITERS; i++)
        for (uint32_t t = 0; t < TABLES; t++)
            search_range(stress, stress->tables[t], i * STRIDE, i * STRIDE + atomic_load(&stress->written[i]));
    fixture_close(&stress->fixture);
    must(mote_verify(stress->fixture.path, NULL, NULL));
    fixture_remove(&stress->fixture);
}

int main(void)
{
    static struct stress stress;
    int64_t rows = 0;
    for (uint32_t strategy = MOTE_INDEX_REALTIME; strategy <= MOTE_INDEX_HYBRID; strategy++) {
        run(&stress, strategy);
        for (uint32_t i = 0; i < WRITERS; i++)
            rows += atomic_load(&stress.written[i]);
    }
    uint64_t failures = atomic_load(&stress.failures), searches = atomic_load(&stress.searches), batches = atomic_load(&stress.batches);
    printf("%llu searches, %llu of them through batches in memory, beside %lld rows\n", (unsigned long long)searches, (unsigned long long)batches, (long long)rows);
    printf("%llu transactions, %llu refused\n", (unsigned long long)atomic_load(&stress.commits), (unsigned long long)atomic_load(&stress.refused));
    printf("%llu passed, %llu failed\n", (unsigned long long)searches, (unsigned long long)failures);
    return failures != 0 || searches == 0 || batches == 0;
}
