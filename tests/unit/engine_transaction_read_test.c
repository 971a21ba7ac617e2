/* engine_transaction_read_test.c: aggregates, counts, newest rows and searches of a transaction against a model: its snapshot, changed by its own writes, beside writes of others, flushes and compactions; savepoints; retention; what ends them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/engine_fixture.h"

enum { TABLES = 2, SERIES = 3, NUMBERS = 20, ROWS = SERIES * NUMBERS, SECOND = 1000000000, WORDS = 6 };
/* Table 0 has its time in the key (a row's number tells it), table 1 beside it. */
enum { COLUMN_SERIES, COLUMN_NUMBER, COLUMN_TIME, COLUMN_VALUE, COLUMN_WORDS, COLUMNS };

struct cell {
    bool there;
    int64_t time_ns, value;
};
struct state {
    struct cell cells[TABLES][ROWS];
};
struct world {
    struct fixture fixture;
    mote_table *tables[TABLES];
    struct state now; /* committed */
    uint64_t random;
};

static const char *const words[WORDS] = {"red lamp", "green lamp on", "lamp", "red door", "door of the red house", "nothing"};
static const char *const names[TABLES] = {"inside", "beside"};

static uint64_t draw(struct world *world, uint64_t below) { return fixture_random(&world->random) % below; }

static const char *words_of(const struct cell *cell) { return words[(uint64_t)cell->value % WORDS]; }

static void make_table(struct world *world, unsigned t, uint32_t strategy, bool indexed)
{
    static const uint32_t keys[TABLES][2] = {{COLUMN_SERIES, COLUMN_TIME}, {COLUMN_SERIES, COLUMN_NUMBER}};
    static const uint32_t columns[] = {COLUMN_VALUE, COLUMN_WORDS}, kinds[] = {MOTE_INDEX_COLUMN, MOTE_INDEX_TEXT};
    struct mote_column_definition definitions[COLUMNS] = {
        {.name = "series", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},   {.name = "number", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "value", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "words", .type = MOTE_TYPE_TEXT},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = names[t];
    schema.columns = definitions;
    schema.column_count = COLUMNS;
    schema.key_columns = keys[t];
    schema.key_column_count = 2;
    schema.time_column = COLUMN_TIME;
    must(mote_table_create(world->fixture.db, &schema, &world->tables[t]));
    for (unsigned i = 0; i < 2 && indexed; i++) {
        struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
        options.kind = kinds[i];
        options.name = i == 0 ? "values" : "texts";
        options.columns = &columns[i];
        options.column_count = 1;
        options.strategy = strategy;
        must(mote_index_create(world->tables[t], &options));
    }
}

static void begin(struct world *world, uint64_t seed, uint32_t strategy)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    fixture_image(&world->fixture, 64 << 20);
    fixture_open(&world->fixture);
    for (unsigned t = 0; t < TABLES; t++)
        make_table(world, t, strategy, true);
}

static size_t key_of(unsigned t, uint32_t row, const struct cell *cell, struct mote_value key[2])
{
    key[0] = value_i64(row / NUMBERS);
    key[1] = t == 0 ? value_timestamp(cell->time_ns) : value_i64(row % NUMBERS);
    return 2;
}

/* A row of the state is changed, by the transaction or (NULL) at once. */
static void change(struct world *world, mote_transaction *transaction, struct state *state)
{
    unsigned t = (unsigned)draw(world, TABLES);
    uint32_t row = (uint32_t)draw(world, ROWS);
    struct cell cell = {draw(world, 4) > 0, t == 0 ? (int64_t)(row % NUMBERS) * SECOND : (int64_t)draw(world, NUMBERS) * SECOND, (int64_t)draw(world, 1000)};
    struct mote_value key[2];
    const struct mote_value values[COLUMNS] = {value_i64(row / NUMBERS), value_i64(row % NUMBERS), value_timestamp(cell.time_ns), value_i64(cell.value), value_text(words_of(&cell))};
    if (cell.there)
        must(transaction ? mote_transaction_put(transaction, world->tables[t], values, COLUMNS) : mote_append(world->tables[t], values, COLUMNS, NULL, NULL));
    else if (key_of(t, row, &cell, key))
        must(transaction ? mote_transaction_delete(transaction, world->tables[t], key, 2) : mote_delete(world->tables[t], key, 2, NULL, NULL));
    state->cells[t][row] = cell;
}

static int aggregate(struct world *world, mote_transaction *transaction, unsigned t, const struct mote_aggregate_options *options, mote_aggregation **aggregation)
{
    return transaction ? mote_transaction_aggregate(transaction, world->tables[t], options, aggregation) : mote_aggregate(world->tables[t], options, aggregation);
}

struct range {
    bool use;
    int64_t from_ns, to_ns;
};

static bool inside(const struct cell *cell, const struct range *range) { return cell->there && (!range->use || (cell->time_ns >= range->from_ns && cell->time_ns <= range->to_ns)); }

/* Count, sum, least and last value (table 0; of table 1 the greatest) of each series and bucket. */
static void expect_groups(struct world *world, mote_transaction *transaction, unsigned t, const struct state *state, const struct range *range)
{
    enum { BUCKETS = 5, BUCKET_SECONDS = NUMBERS / BUCKETS };
    const struct mote_aggregate_value values[] = {{MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT}, {COLUMN_VALUE, MOTE_AGGREGATE_SUM}, {COLUMN_VALUE, MOTE_AGGREGATE_MIN}, {COLUMN_VALUE, t == 0 ? MOTE_AGGREGATE_LAST : MOTE_AGGREGATE_MAX}};
    struct {
        int64_t count, sum, least, last;
    } groups[SERIES][BUCKETS] = {0};
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct cell *cell = &state->cells[t][i];
        if (!inside(cell, range))
            continue;
        int64_t count = groups[t == 0 ? i / NUMBERS : 0][cell->time_ns / SECOND / BUCKET_SECONDS].count++;
        groups[t == 0 ? i / NUMBERS : 0][cell->time_ns / SECOND / BUCKET_SECONDS].sum += cell->value;
        int64_t *least = &groups[t == 0 ? i / NUMBERS : 0][cell->time_ns / SECOND / BUCKET_SECONDS].least, *last = least + 1;
        *least = count == 0 || cell->value < *least ? cell->value : *least;
        *last = t == 0 || count == 0 || cell->value > *last ? cell->value : *last;
    }
    options.values = values;
    options.value_count = 4;
    options.by_series = t == 0;
    options.bucket_ns = (int64_t)BUCKET_SECONDS * SECOND;
    options.use_time_range = range->use;
    options.time_from_ns = range->from_ns;
    options.time_to_ns = range->to_ns;
    options.chunk_rows = 1 + (uint32_t)draw(world, 7);
    must(aggregate(world, transaction, t, &options, &aggregation));
    for (;;) {
        must(mote_aggregation_next(aggregation, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            size_t at = t == 0;
            int64_t series = t == 0 ? chunk_value(&chunk, 0, i).as.i64 : 0, bucket = chunk_value(&chunk, at, i).as.i64 / SECOND / BUCKET_SECONDS;
            cr_assert(series >= 0 && series < SERIES && bucket >= 0 && bucket < BUCKETS);
            cr_assert_gt(groups[series][bucket].count, 0, "a group that is not there, or twice");
            cr_assert_eq(chunk_value(&chunk, at + 1, i).as.i64, groups[series][bucket].count);
            cr_assert_eq(chunk_value(&chunk, at + 2, i).as.i64, groups[series][bucket].sum);
            cr_assert_eq(chunk_value(&chunk, at + 3, i).as.i64, groups[series][bucket].least);
            cr_assert_eq(chunk_value(&chunk, at + 4, i).as.i64, groups[series][bucket].last);
            groups[series][bucket].count = 0;
        }
        if (chunk.row_count == 0)
            break;
    }
    mote_aggregation_close(aggregation);
    for (unsigned s = 0; s < SERIES; s++)
        for (unsigned b = 0; b < BUCKETS; b++)
            cr_assert_eq(groups[s][b].count, 0, "series %u, bucket %u of table %u is missing", s, b, t);
}

static void expect_count(struct world *world, mote_transaction *transaction, unsigned t, const struct state *state, const struct range *range)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint64_t count, expected = 0;
    for (uint32_t i = 0; i < ROWS; i++)
        expected += inside(&state->cells[t][i], range);
    options.use_time_range = range->use;
    options.time_from_ns = range->from_ns;
    options.time_to_ns = range->to_ns;
    must(transaction ? mote_transaction_count(transaction, world->tables[t], &options, &count) : mote_count(world->tables[t], &options, &count));
    cr_assert_eq(count, expected);
}

/* Of table 0. */
static void expect_latest(struct world *world, mote_transaction *transaction, const struct state *state, const struct range *range)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    const uint64_t limit = draw(world, 3) ? UINT64_MAX : 1 + draw(world, SERIES);
    const int64_t only = draw(world, 3) ? -1 : (int64_t)draw(world, SERIES);
    const struct mote_value prefix = value_i64(only);
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t found = 0;
    options.use_time_range = range->use;
    options.time_from_ns = range->from_ns;
    options.time_to_ns = range->to_ns;
    options.chunk_rows = 1 + (uint32_t)draw(world, 4);
    options.limit = limit == UINT64_MAX ? 0 : limit;
    options.descending = (uint32_t)draw(world, 2);
    options.key_prefix = only < 0 ? NULL : &prefix;
    options.key_prefix_count = only >= 0;
    must(transaction ? mote_transaction_latest(transaction, world->tables[0], &options, &cursor) : mote_latest(world->tables[0], &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    size_t at = 0;
    for (int64_t i = 0; i < SERIES; i++) {
        int64_t series = options.descending ? SERIES - 1 - i : i, row = (series + 1) * NUMBERS - 1;
        while (row >= series * NUMBERS && !inside(&state->cells[0][row], range))
            row--;
        if (row < series * NUMBERS || (only >= 0 && series != only) || found == limit)
            continue;
        if (at == chunk.row_count) {
            must(mote_cursor_next(cursor, &chunk));
            at = 0;
        }
        cr_assert_lt(at, chunk.row_count, "the newest row of series %lld is missing", (long long)series);
        cr_assert_eq(chunk_value(&chunk, COLUMN_SERIES, at).as.i64, series);
        cr_assert_eq(chunk_value(&chunk, COLUMN_TIME, at).as.i64, state->cells[0][row].time_ns);
        cr_assert_eq(chunk_value(&chunk, COLUMN_VALUE, at).as.i64, state->cells[0][row].value);
        at++;
        found++;
    }
    cr_assert_eq(at, chunk.row_count, "a newest row too many");
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    mote_cursor_close(cursor);
}

/* Whether the row of the model satisfies the term, and its place in the order (smaller first). */
static bool satisfies(const struct mote_term *term, const struct cell *cell, double *rank)
{
    *rank = 0;
    if (term->kind == MOTE_TERM_WORDS)
        return strstr(words_of(cell), term->words) != NULL;
    if (term->kind != MOTE_TERM_RANGE)
        return true;
    *rank = (double)cell->value;
    return cell->value >= term->from.as.i64 && cell->value <= term->to.as.i64;
}

static void expect_hits(struct world *world, mote_transaction *transaction, unsigned t, const struct state *state, const struct range *range, const struct mote_term *term, uint32_t rank_by, uint64_t limit)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk hit;
    mote_hits *hits;
    bool seen[ROWS] = {false};
    uint64_t expected = 0, better = 0, found = 0;
    double rank = 0, last = -INFINITY, last_score = INFINITY;
    options.terms = term;
    options.term_count = term ? 1 : 0;
    options.rank_by = rank_by;
    options.limit = limit;
    options.use_time_range = range->use;
    options.time_from_ns = range->from_ns;
    options.time_to_ns = range->to_ns;
    options.chunk_rows = 1 + (uint32_t)draw(world, 30);
    must(transaction ? mote_transaction_search(transaction, world->tables[t], &options, &hits) : mote_search(world->tables[t], &options, &hits));
    for (;;) {
        must(mote_hits_next(hits, &hit));
        struct mote_chunk chunk = {hit.row_count, hit.column_count, hit.columns};
        for (size_t i = 0; i < hit.row_count; i++) {
            uint32_t row = (uint32_t)(chunk_value(&chunk, COLUMN_SERIES, i).as.i64 * NUMBERS + chunk_value(&chunk, COLUMN_NUMBER, i).as.i64);
            const struct cell *cell = &state->cells[t][row];
            cr_assert(inside(cell, range) && !seen[row], "row %u of table %u is no hit, or one twice", row, t);
            cr_assert_eq(cell->value, chunk_value(&chunk, COLUMN_VALUE, i).as.i64);
            cr_assert_eq(cell->time_ns, chunk_value(&chunk, COLUMN_TIME, i).as.i64);
            cr_assert(!term || satisfies(term, cell, &rank));
            seen[row] = true;
            if (rank_by && term->kind == MOTE_TERM_RANGE)
                cr_assert_geq(rank, last, "the hits are not in order");
            else if (rank_by != MOTE_RANK_NONE && term && term->kind == MOTE_TERM_WORDS)
                cr_assert_leq(hit.scores[i], last_score, "the hits are not in order");
            last = term ? rank : 0;
            last_score = hit.scores[i];
            found++;
        }
        if (hit.row_count == 0)
            break;
    }
    mote_hits_close(hits);
    for (uint32_t i = 0; i < ROWS; i++) {
        bool hits_it = inside(&state->cells[t][i], range) && (!term || satisfies(term, &state->cells[t][i], &rank));
        expected += hits_it;
        better += hits_it && !seen[i] && rank_by && term->kind == MOTE_TERM_RANGE && rank < last;
    }
    cr_assert_eq(better, 0, "better rows than the hits were left out");
    cr_assert_eq(found, limit && limit < expected ? limit : expected, "%llu hits of %llu", (unsigned long long)found, (unsigned long long)expected);
}

static void expect(struct world *world, mote_transaction *transaction, const struct state *state)
{
    for (unsigned t = 0; t < TABLES; t++) {
        struct range range = {draw(world, 2) > 0, (int64_t)draw(world, NUMBERS) * SECOND, 0};
        static const uint32_t value_column = COLUMN_VALUE, words_column = COLUMN_WORDS;
        int64_t from = (int64_t)draw(world, 1000);
        const struct mote_value bounds[2] = {value_i64(from), value_i64(from + (int64_t)draw(world, 500))};
        struct mote_term values = {.kind = MOTE_TERM_RANGE, .columns = &value_column, .column_count = 1, .from = bounds[0], .to = bounds[1]};
        struct mote_term text = {.kind = MOTE_TERM_WORDS, .columns = &words_column, .column_count = 1, .words = draw(world, 2) ? "red" : "lamp"};
        uint64_t limit = draw(world, 3) ? draw(world, 12) + 1 : 0;
        range.to_ns = range.from_ns + (int64_t)draw(world, NUMBERS) * SECOND;
        expect_groups(world, transaction, t, state, &range);
        expect_count(world, transaction, t, state, &range);
        if (t == 0)
            expect_latest(world, transaction, state, &range);
        expect_hits(world, transaction, t, state, &range, NULL, 0, limit);
        expect_hits(world, transaction, t, state, &range, &values, draw(world, 2) ? 1 : 0, limit);
        expect_hits(world, transaction, t, state, &range, &text, draw(world, 2) ? MOTE_RANK_NONE : 0, limit);
    }
}

static void run_one(struct world *world)
{
    struct state own = world->now, saved = {0};
    uint64_t savepoint = 0, steps = draw(world, 40);
    mote_transaction *transaction;
    must(mote_transaction_begin(world->fixture.db, NULL, &transaction));
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t what = draw(world, 14);
        if (what == 0 && !savepoint) {
            must(mote_transaction_savepoint(transaction, &savepoint));
            saved = own;
        } else if (what == 1 && savepoint) {
            must(mote_transaction_rollback_to(transaction, savepoint));
            own = saved;
        } else if (what == 2) {
            must(draw(world, 2) ? mote_flush(world->fixture.db) : mote_compact(world->fixture.db, NULL));
        } else if (what < 5) {
            change(world, NULL, &world->now);
        } else {
            change(world, transaction, &own);
        }
        if (draw(world, 8) == 0)
            expect(world, transaction, &own);
    }
    expect(world, transaction, &own);
    int result = mote_transaction_commit(transaction, NULL, NULL);
    if (result == MOTE_OK)
        return;
    cr_assert_eq(result, MOTE_ECONFLICT);
}

/* Of what a transaction and others did, the state that scans see. */
static void read_now(struct world *world)
{
    memset(&world->now, 0, sizeof world->now);
    for (unsigned t = 0; t < TABLES; t++) {
        mote_cursor *cursor;
        struct mote_chunk chunk;
        must(mote_scan(world->tables[t], NULL, &cursor));
        do {
            must(mote_cursor_next(cursor, &chunk));
            for (size_t i = 0; i < chunk.row_count; i++)
                world->now.cells[t][chunk_value(&chunk, COLUMN_SERIES, i).as.i64 * NUMBERS + chunk_value(&chunk, COLUMN_NUMBER, i).as.i64] =
                    (struct cell){true, chunk_value(&chunk, COLUMN_TIME, i).as.i64, chunk_value(&chunk, COLUMN_VALUE, i).as.i64};
        } while (chunk.row_count > 0);
        mote_cursor_close(cursor);
    }
}

Test(transaction_read, aggregates_and_searches_see_the_model)
{
    static const uint32_t strategies[] = {MOTE_INDEX_BATCH, MOTE_INDEX_REALTIME};
    for (unsigned s = 0; s < 2; s++) {
        struct world world;
        begin(&world, 77 + s, strategies[s]);
        for (unsigned i = 0; i < 60; i++) {
            run_one(&world);
            read_now(&world);
            expect(&world, NULL, &world.now);
        }
        struct mote_stats stats = fixture_stats(&world.fixture);
        cr_assert_eq(stats.snapshots_open, 0);
        fixture_remove(&world.fixture);
    }
}

/* What was opened shows what was there then, and nothing once that is taken back or the transaction is over. */
Test(transaction_read, hits_and_aggregations_see_the_writes_before_them)
{
    struct world world;
    struct state own, later;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_aggregate_options rows = MOTE_AGGREGATE_OPTIONS_INIT;
    const struct mote_aggregate_value count = {MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT};
    struct mote_hit_chunk chunk;
    struct mote_chunk results;
    mote_transaction *transaction;
    mote_hits *hits, *late;
    mote_aggregation *aggregation, *late_aggregation;
    mote_snapshot *snapshot;
    uint64_t savepoint, expected = 0, found = 0, counted;
    begin(&world, 5, MOTE_INDEX_BATCH);
    for (unsigned i = 0; i < 200; i++)
        change(&world, NULL, &world.now);
    must(mote_flush(world.fixture.db));
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    own = world.now;
    for (unsigned i = 0; i < 40; i++)
        change(&world, transaction, &own);
    for (uint32_t i = 0; i < ROWS; i++)
        expected += own.cells[1][i].there;
    rows.values = &count;
    rows.value_count = 1;
    options.chunk_rows = 3;
    must(mote_transaction_search(transaction, world.tables[1], &options, &hits));
    must(mote_transaction_aggregate(transaction, world.tables[1], &rows, &aggregation));
    later = own;
    for (unsigned i = 0; i < 100; i++) {
        change(&world, transaction, &later);
        change(&world, NULL, &world.now);
    }
    must(mote_compact(world.fixture.db, NULL));
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            const struct mote_chunk values = {chunk.row_count, chunk.column_count, chunk.columns};
            const struct cell *cell = &own.cells[1][chunk_value(&values, COLUMN_SERIES, i).as.i64 * NUMBERS + chunk_value(&values, COLUMN_NUMBER, i).as.i64];
            cr_assert(cell->there && cell->value == chunk_value(&values, COLUMN_VALUE, i).as.i64);
        }
        found += chunk.row_count;
    } while (chunk.row_count > 0);
    cr_assert_eq(found, expected);
    must(mote_aggregation_next(aggregation, &results));
    cr_assert_eq((uint64_t)chunk_value(&results, 0, 0).as.i64, expected);
    must(mote_transaction_savepoint(transaction, &savepoint));
    change(&world, transaction, &later);
    must(mote_transaction_search(transaction, world.tables[1], &options, &late));
    must(mote_transaction_aggregate(transaction, world.tables[1], &rows, &late_aggregation));
    must(mote_transaction_rollback_to(transaction, savepoint));
    must_fail(mote_hits_next(late, &chunk), MOTE_EINVAL);
    must_fail(mote_aggregation_next(late_aggregation, &results), MOTE_EINVAL);
    mote_hits_close(late);
    mote_aggregation_close(late_aggregation);
    must(mote_snapshot_take(world.fixture.db, NULL, &snapshot));
    options.snapshot = snapshot;
    rows.snapshot = snapshot;
    must_fail(mote_transaction_search(transaction, world.tables[1], &options, &late), MOTE_EINVAL);
    must_fail(mote_transaction_aggregate(transaction, world.tables[1], &rows, &late_aggregation), MOTE_EINVAL);
    must_fail(mote_transaction_count(NULL, world.tables[1], NULL, &counted), MOTE_EINVAL);
    mote_snapshot_release(snapshot);
    mote_transaction_abort(transaction);
    must_fail(mote_hits_next(hits, &chunk), MOTE_EINVAL);
    must_fail(mote_aggregation_next(aggregation, &results), MOTE_EINVAL);
    mote_hits_close(hits);
    mote_aggregation_close(aggregation);
    fixture_remove(&world.fixture);
}

Test(transaction_read, latest_rows_see_the_writes_before_them)
{
    struct world world;
    mote_transaction *transaction;
    mote_snapshot *snapshot;
    mote_cursor *cursor, *late;
    struct mote_chunk chunk;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    uint64_t savepoint;
    begin(&world, 6, MOTE_INDEX_BATCH);
    const struct mote_value mine[COLUMNS] = {value_i64(1), value_i64(7), value_timestamp(7ll * SECOND), value_i64(70), value_text("mine")};
    const struct mote_value next[COLUMNS] = {value_i64(1), value_i64(8), value_timestamp(8ll * SECOND), value_i64(80), value_text("next")};
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(mote_transaction_put(transaction, world.tables[0], mine, COLUMNS));
    must(mote_transaction_latest(transaction, world.tables[0], NULL, &cursor));
    must(mote_transaction_savepoint(transaction, &savepoint));
    must(mote_transaction_put(transaction, world.tables[0], next, COLUMNS));
    must(mote_transaction_latest(transaction, world.tables[0], NULL, &late));
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    cr_assert_eq(chunk_value(&chunk, COLUMN_VALUE, 0).as.i64, 70);
    mote_cursor_close(cursor);
    must(mote_latest(world.tables[0], NULL, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 0, "others see what is not committed");
    mote_cursor_close(cursor);
    must(mote_transaction_rollback_to(transaction, savepoint));
    must_fail(mote_cursor_next(late, &chunk), MOTE_EINVAL);
    mote_cursor_close(late);
    must(mote_snapshot_take(world.fixture.db, NULL, &snapshot));
    options.snapshot = snapshot;
    must_fail(mote_transaction_latest(transaction, world.tables[0], &options, &late), MOTE_EINVAL);
    must_fail(mote_transaction_latest(transaction, world.tables[1], NULL, &late), MOTE_EINVAL);
    mote_snapshot_release(snapshot);
    mote_transaction_abort(transaction);
    fixture_remove(&world.fixture);
}

/* Rows of the table that have expired are not shown, one's own are. */
Test(transaction_read, own_rows_do_not_expire)
{
    struct world world;
    struct mote_retention retention = MOTE_RETENTION_INIT;
    mote_transaction *transaction;
    struct state own;
    begin(&world, 9, MOTE_INDEX_BATCH);
    for (unsigned i = 0; i < 100; i++)
        change(&world, NULL, &world.now);
    retention.age_ns = SECOND;
    must(mote_table_set_retention(world.tables[0], &retention));
    memset(world.now.cells[0], 0, sizeof world.now.cells[0]);
    for (uint32_t i = 0; i < SERIES; i++) {
        const struct mote_value values[COLUMNS] = {value_i64(i), value_i64(0), value_timestamp(1000ll * SECOND), value_i64(1), value_null(MOTE_TYPE_TEXT)};
        const struct mote_value key[2] = {values[COLUMN_SERIES], values[COLUMN_TIME]};
        must(mote_append(world.tables[0], values, COLUMNS, NULL, NULL));
        must(mote_delete(world.tables[0], key, 2, NULL, NULL));
    }
    expect(&world, NULL, &world.now);
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    own = world.now;
    for (unsigned i = 0; i < 60; i++) {
        change(&world, transaction, &own);
        if (i % 6 == 0)
            expect(&world, transaction, &own);
    }
    mote_transaction_abort(transaction);
    fixture_remove(&world.fixture);
}
