/* index_stress_test.c: searches beside writers, flushes, compactions and rebuilds. Rows with an id below STEADY are moved about but never deleted: whatever the moment, a box around everything holds each of them once, in key order, and
 * the nearest rows come nearest first; a word holds each of them once, and a value one. Rows above come and go. Run it under ThreadSanitizer. MOTE_TEST_SCALE: percent of the usual time. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/engine_fixture.h"

enum { STEADY = 600, PASSING = 200, SEARCHERS = 2 };

struct stress {
    struct fixture fixture;
    mote_table *table;
    _Atomic bool stop;
    _Atomic uint64_t searches, failures, writes, rounds;
};

static void put(struct stress *stress, int64_t id, uint64_t *random)
{
    double spread = (double)(fixture_random(random) % 1000) / 10.0;
    struct mote_value values[] = {value_i64(id), value_point(spread, (double)id, (double)(fixture_random(random) % 7)), value_i64(-id), value_text(id < STEADY ? "a steady thing" : "a passing thing")};
    must(mote_append(stress->table, values, 4, NULL, NULL));
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
    }
    return NULL;
}

static void *maintain(void *context)
{
    struct stress *stress = context;
    while (!atomic_load(&stress->stop)) {
        uint64_t round = atomic_fetch_add(&stress->rounds, 1);
        must(mote_flush(stress->fixture.db));
        if (round % 3 == 0)
            must(mote_compact(stress->fixture.db, NULL));
        static const char *const names[] = {"near", "said", "value"};
        if (round % 5 == 1)
            must(mote_index_rebuild(stress->table, names[round / 5 % 3]));
        if (round % 7 == 2)
            must(mote_checkpoint(stress->fixture.db));
    }
    return NULL;
}

static void fail(struct stress *stress, const char *what, int64_t id)
{
    if (atomic_fetch_add(&stress->failures, 1) < 5)
        printf("FAILED %s at id %lld\n", what, (long long)id);
}

static void search_box(struct stress *stress)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    int64_t next = 0, last = -1;
    mote_hits *hits;
    struct mote_term term = {.kind = MOTE_TERM_BOX};
    options.terms = &term;
    options.term_count = 1;
    for (unsigned i = 0; i < 3; i++) {
        term.min[i] = -(double)INFINITY;
        term.max[i] = (double)INFINITY;
    }
    must(mote_search(stress->table, &options, &hits));
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
            double y = ((const double *)chunk.columns[1].values)[3 * i + 1];
            if (id <= last || (int64_t)y != id || (id < STEADY && id != next))
                fail(stress, "a row is missing, double or another's", id);
            next = id < STEADY ? id + 1 : next;
            last = id;
        }
    } while (chunk.row_count > 0);
    if (next != STEADY)
        fail(stress, "the last steady rows are missing", next);
    mote_hits_close(hits);
}

static void search_nearest(struct stress *stress, uint64_t *random)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    struct mote_term term = {.kind = MOTE_TERM_NEAREST};
    options.terms = &term;
    options.term_count = 1;
    options.limit = 25;
    term.centre[1] = (double)(fixture_random(random) % STEADY);
    must(mote_search(stress->table, &options, &hits));
    must(mote_hits_next(hits, &chunk));
    if (chunk.row_count != 25)
        fail(stress, "too few nearest rows", (int64_t)chunk.row_count);
    for (size_t i = 0; i < chunk.row_count; i++) {
        const double *point = (const double *)chunk.columns[1].values + 3 * i;
        double y = point[1] - term.centre[1], distance = sqrt(point[0] * point[0] + y * y + point[2] * point[2]);
        if (fabs(distance - chunk.scores[i]) > 1e-9 || (i > 0 && chunk.scores[i] < chunk.scores[i - 1]))
            fail(stress, "a wrong distance or order", ((const int64_t *)chunk.columns[0].values)[i]);
    }
    mote_hits_close(hits);
}

/* All steady rows by their word, in any order; one of them by its word and its value. */
static void search_words(struct stress *stress, uint64_t *random)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t value = 2;
    const int64_t wanted = (int64_t)(fixture_random(random) % STEADY);
    const struct mote_term terms[] = {{.kind = MOTE_TERM_WORDS, .words = "steady"}, {.kind = MOTE_TERM_EQUAL, .columns = &value, .column_count = 1, .from = value_i64(-wanted)}};
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    uint8_t seen[STEADY] = {0};
    uint64_t count = 0;
    options.terms = terms;
    for (options.term_count = 1; options.term_count <= 2; options.term_count++) {
        must(mote_search(stress->table, &options, &hits));
        do {
            must(mote_hits_next(hits, &chunk));
            for (size_t i = 0; i < chunk.row_count; i++, count++) {
                int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
                if (id >= STEADY || seen[id]++ != (options.term_count == 1 ? 0 : 1) || (options.term_count == 2 && id != wanted))
                    fail(stress, "a row of a word is double or another's", id);
            }
        } while (chunk.row_count > 0);
        mote_hits_close(hits);
    }
    if (count != STEADY + 1)
        fail(stress, "rows of a word or a value are missing, so many there are", (int64_t)count);
}

static void *search_rows(void *context)
{
    struct stress *stress = context;
    uint64_t random = 5;
    while (!atomic_load(&stress->stop)) {
        search_box(stress);
        search_nearest(stress, &random);
        search_words(stress, &random);
        atomic_fetch_add(&stress->searches, 4);
    }
    return NULL;
}

static void create(struct stress *stress)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "place", .type = MOTE_TYPE_POINT3}, {.name = "value", .type = MOTE_TYPE_INT64}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    static const struct {
        const char *name;
        uint32_t kind, column;
    } indexes[] = {{"near", MOTE_INDEX_SPATIAL, 1}, {"value", MOTE_INDEX_COLUMN, 2}, {"said", MOTE_INDEX_TEXT, 3}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = FIXTURE_INDEX_OPTIONS_INIT;
    uint64_t random = 3;
    schema.name = "places";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(stress->fixture.db, &schema, &stress->table));
    for (int64_t id = 0; id < STEADY; id++)
        put(stress, id, &random);
    must(mote_flush(stress->fixture.db));
    for (unsigned i = 0; i < 3; i++) {
        index.name = indexes[i].name;
        index.kind = indexes[i].kind;
        index.columns = &indexes[i].column;
        index.column_count = 1;
        must(mote_index_create(stress->table, &index));
    }
}

int main(void)
{
    static struct stress stress;
    pthread_t threads[2 + SEARCHERS];
    fixture_image(&stress.fixture, 64 << 20);
    stress.fixture.options.memory_bytes = 128 << 20; /* a rebuild beside four searches, a flush and a compaction may be refused in the fixture's 40 MiB */
    fixture_open(&stress.fixture);
    create(&stress);
    require(pthread_create(&threads[0], NULL, write_rows, &stress) == 0);
    require(pthread_create(&threads[1], NULL, maintain, &stress) == 0);
    for (unsigned i = 0; i < SEARCHERS; i++)
        require(pthread_create(&threads[2 + i], NULL, search_rows, &stress) == 0);
    int64_t until_ns = fixture_now_ns() + (int64_t)fixture_scale(6000) * 1000000;
    while (fixture_now_ns() < until_ns && atomic_load(&stress.failures) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_store(&stress.stop, true);
    for (unsigned i = 0; i < 2 + SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    search_box(&stress);
    fixture_close(&stress.fixture);
    must(mote_verify(stress.fixture.path, NULL, NULL));
    fixture_remove(&stress.fixture);
    uint64_t failures = atomic_load(&stress.failures), searches = atomic_load(&stress.searches);
    printf("%llu searches beside %llu writes and %llu rounds of maintenance\n", (unsigned long long)searches, (unsigned long long)atomic_load(&stress.writes), (unsigned long long)atomic_load(&stress.rounds));
    printf("%llu passed, %llu failed\n", (unsigned long long)searches, (unsigned long long)failures);
    return failures != 0 || searches == 0;
}
