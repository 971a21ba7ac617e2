/* vector_stress_test.c: searches of a vector index beside writers, flushes, compactions, rebuilds, and graphs that come in the background. Rows with an id below STEADY are moved about but never deleted, and lie near their id on the first
 * axis: whatever the moment, an exact search finds those about the place asked for, each once, at their distances, in order; a search of the graph finds as many, at their distances, in order. Rows above come and go, far away. Run it under
 * ThreadSanitizer. MOTE_TEST_SCALE: percent of the usual time. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/engine_fixture.h"
#include "tests/support/vector_world.h"

enum { STEADY = 2400, PASSING = 200, SEARCHERS = 2, DIMENSION = 8, LIMIT = 25 };

struct stress {
    struct fixture fixture;
    mote_table *table;
    _Atomic bool stop;
    _Atomic uint64_t searches, failures, writes, rounds, graphs;
};

static void put(struct stress *stress, int64_t id, uint64_t *random)
{
    float vector[DIMENSION];
    for (unsigned i = 0; i < DIMENSION; i++)
        vector[i] = (float)(fixture_random(random) % 300) / 1000;
    vector[0] = id < STEADY ? (float)id : (float)(100 * STEADY + id);
    struct mote_value values[] = {value_i64(id), value_bytes(MOTE_TYPE_VECTOR_F32, vector, sizeof vector)};
    must(mote_append(stress->table, values, 2, NULL, NULL));
}

static void *write_rows(void *context)
{
    struct stress *stress = context;
    uint64_t random = 77;
    while (!atomic_load(&stress->stop)) {
        put(stress, (int64_t)(fixture_random(&random) % STEADY), &random);
        int64_t passing = STEADY + (int64_t)(fixture_random(&random) % PASSING);
        struct mote_value key = value_i64(passing);
        if (fixture_random(&random) % 2)
            put(stress, passing, &random);
        else
            must(mote_delete(stress->table, &key, 1, NULL, NULL));
        atomic_fetch_add(&stress->writes, 2);
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return NULL;
}

static void note_graphs(struct stress *stress)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    must(mote_index_describe(stress->table, "near", &info));
    if (info.segments_indexed == info.segments && info.segments_waiting == 0)
        atomic_fetch_add(&stress->graphs, 1);
}

static void *maintain(void *context)
{
    struct stress *stress = context;
    while (!atomic_load(&stress->stop)) {
        uint64_t round = atomic_fetch_add(&stress->rounds, 1);
        must(mote_flush(stress->fixture.db));
        if (round % 3 == 0)
            must(mote_compact(stress->fixture.db, NULL));
        if (round % 5 == 1)
            must(mote_flush_all_indexes(stress->fixture.db));
        if (round % 11 == 3)
            must(mote_index_rebuild(stress->table, "near"));
        if (round % 7 == 2)
            must(mote_checkpoint(stress->fixture.db));
        note_graphs(stress);
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    return NULL;
}

static void fail(struct stress *stress, const char *what, int64_t id)
{
    if (atomic_fetch_add(&stress->failures, 1) < 5)
        printf("FAILED %s at id %lld\n", what, (long long)id);
}

static void search(struct stress *stress, bool exact, uint64_t *random)
{
    int64_t place = (int64_t)(fixture_random(random) % STEADY);
    float query[DIMENSION] = {(float)place};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {.kind = MOTE_TERM_VECTOR, .flags = exact ? MOTE_TERM_EXACT : 0, .vector = query, .dimension = DIMENSION};
    struct mote_hit_chunk chunk;
    bool seen[STEADY + PASSING] = {false};
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.limit = LIMIT;
    must(mote_search(stress->table, &options, &hits));
    must(mote_hits_next(hits, &chunk));
    if (chunk.row_count != LIMIT)
        fail(stress, "too few nearest rows", (int64_t)chunk.row_count);
    for (size_t i = 0; i < chunk.row_count; i++) {
        int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
        double distance = vector_world_distance(VECTOR_L2, query, (const float *)chunk.columns[1].values + i * DIMENSION, DIMENSION);
        if (distance < chunk.scores[i] || distance > chunk.scores[i] || (i > 0 && chunk.scores[i] < chunk.scores[i - 1]))
            fail(stress, "a wrong distance or order", id);
        if (seen[id])
            fail(stress, "a row twice", id);
        seen[id] = true;
    }
    for (int64_t id = place - 8; exact && id <= place + 8; id++)
        if (id >= 0 && id < STEADY && !seen[id])
            fail(stress, "a near row is missing", id);
    mote_hits_close(hits);
}

static void *search_rows(void *context)
{
    struct stress *stress = context;
    uint64_t random = 5;
    while (!atomic_load(&stress->stop)) {
        search(stress, true, &random);
        search(stress, false, &random);
        atomic_fetch_add(&stress->searches, 2);
    }
    return NULL;
}

static void create(struct stress *stress)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION}};
    const uint32_t key = 0, column = 1;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = FIXTURE_INDEX_OPTIONS_INIT;
    uint64_t random = 3;
    schema.name = "vectors";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(stress->fixture.db, &schema, &stress->table));
    for (int64_t id = 0; id < STEADY; id++)
        put(stress, id, &random);
    must(mote_flush(stress->fixture.db));
    index.name = "near";
    index.kind = MOTE_INDEX_VECTOR;
    index.columns = &column;
    index.column_count = 1;
    must(mote_index_create(stress->table, &index));
}

int main(void)
{
    static struct stress stress;
    pthread_t threads[2 + SEARCHERS];
    uint64_t random = 9;
    fixture_image(&stress.fixture, 64 << 20);
    stress.fixture.options.workers = 2;
    fixture_open(&stress.fixture);
    create(&stress);
    require(pthread_create(&threads[0], NULL, write_rows, &stress) == 0);
    require(pthread_create(&threads[1], NULL, maintain, &stress) == 0);
    for (unsigned i = 0; i < SEARCHERS; i++)
        require(pthread_create(&threads[2 + i], NULL, search_rows, &stress) == 0);
    int64_t until_ns = fixture_now_ns() + (int64_t)fixture_scale(8000) * 1000000;
    while (fixture_now_ns() < until_ns && atomic_load(&stress.failures) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_store(&stress.stop, true);
    for (unsigned i = 0; i < 2 + SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    search(&stress, true, &random);
    must(mote_flush_all_indexes(stress.fixture.db));
    search(&stress, true, &random);
    note_graphs(&stress);
    fixture_close(&stress.fixture);
    must(mote_verify(stress.fixture.path, NULL, NULL));
    fixture_remove(&stress.fixture);
    uint64_t failures = atomic_load(&stress.failures), searches = atomic_load(&stress.searches), graphs = atomic_load(&stress.graphs);
    printf("%llu searches beside %llu writes and %llu rounds of maintenance; all graphs were there %llu times\n", (unsigned long long)searches, (unsigned long long)atomic_load(&stress.writes), (unsigned long long)atomic_load(&stress.rounds),
           (unsigned long long)graphs);
    printf("%llu passed, %llu failed\n", (unsigned long long)searches, (unsigned long long)failures);
    return failures != 0 || searches == 0 || graphs == 0;
}
