/* retained_reads.c: every kind of read against the model (retained_world.h). */
#include "tests/support/retained_world.h"

struct mote_retention_info retained_info(struct retained_world *world)
{
    struct mote_retention_info info = {.size_bytes = sizeof info};
    must(mote_table_get_retention(world->table, NULL, &info));
    return info;
}

void retained_learn_recycled(struct retained_world *world)
{
    struct retained_model *model = &world->model;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    const uint32_t columns[] = {0, 1};
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t before = retained_info(world).rows_recycled;
    if (!model->recycles || before == model->rows_recycled)
        return;
    model->rows_recycled = before;
    retained_list_shown(world);
    options.columns = columns;
    options.column_count = 2;
    must(mote_scan(world->table, &options, &cursor));
    uint32_t at = 0;
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            int32_t series = chunk_value(&chunk, 0, i).as.i32;
            int64_t time_ns = chunk_value(&chunk, 1, i).as.i64;
            for (; at < world->shown_count && (world->shown[at].series != series || world->shown[at].time_ns != time_ns); at++) {
                retained_check(!retained_is_kept(model, &world->shown[at]));
                retained_find(world, world->shown[at].series, world->shown[at].time_ns)->recycled = true;
            }
            retained_check(at < world->shown_count); /* else a row that nobody should see */
        }
    } while (chunk.row_count > 0);
    for (; at < world->shown_count; at++) {
        retained_check(!retained_is_kept(model, &world->shown[at]));
        retained_find(world, world->shown[at].series, world->shown[at].time_ns)->recycled = true;
    }
    mote_cursor_close(cursor);
}

/* A scan of some range, in either direction. */
static void check_scan(struct retained_world *world, bool descending, bool in_time, int64_t from_ns, int64_t to_ns)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint32_t at = 0;
    options.descending = descending;
    options.use_time_range = in_time;
    options.time_from_ns = from_ns;
    options.time_to_ns = to_ns;
    options.chunk_rows = 1 + (uint32_t)retained_below(world, 2000);
    must(mote_scan(world->table, &options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i <= chunk.row_count; i++) {
            const struct retained_entry *expected = NULL;
            if (i == chunk.row_count && i > 0)
                break;
            for (; at < world->shown_count && !expected; at++) {
                const struct retained_entry *entry = &world->shown[descending ? world->shown_count - 1 - at : at];
                expected = !in_time || (entry->time_ns >= from_ns && entry->time_ns <= to_ns) ? entry : NULL;
            }
            retained_check((expected == NULL) == (chunk.row_count == 0));
            if (!expected)
                break;
            retained_check(chunk_value(&chunk, 0, i).as.i32 == expected->series && chunk_value(&chunk, 1, i).as.i64 == expected->time_ns && chunk_value(&chunk, 2, i).as.i64 == expected->value);
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
}

static void check_aggregate(struct retained_world *world)
{
    const struct mote_aggregate_value asked[] = {{MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT}, {2, MOTE_AGGREGATE_SUM}, {2, MOTE_AGGREGATE_FIRST}, {2, MOTE_AGGREGATE_LAST}, {1, MOTE_AGGREGATE_MIN}};
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    uint32_t at = 0;
    bool bucketed = retained_below(world, 2) != 0;
    options.values = asked;
    options.value_count = 5;
    options.by_series = 1;
    options.bucket_ns = bucketed ? 1000 * RETAINED_SECOND : 0;
    must(mote_aggregate(world->table, &options, &aggregation));
    do {
        must(mote_aggregation_next(aggregation, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            retained_check(at < world->shown_count);
            const struct retained_entry *first = &world->shown[at];
            uint64_t count = 0, sum = 0;
            for (; at < world->shown_count && world->shown[at].series == first->series && (!bucketed || world->shown[at].time_ns / (1000 * RETAINED_SECOND) == first->time_ns / (1000 * RETAINED_SECOND)); at++) {
                count++;
                sum += (uint64_t)world->shown[at].value;
            }
            size_t column = bucketed ? 2 : 1;
            retained_check(chunk_value(&chunk, 0, i).as.i32 == first->series && (uint64_t)chunk_value(&chunk, column, i).as.i64 == count && (uint64_t)chunk_value(&chunk, column + 1, i).as.i64 == sum);
            retained_check(chunk_value(&chunk, column + 2, i).as.i64 == first->value && chunk_value(&chunk, column + 3, i).as.i64 == world->shown[at - 1].value && chunk_value(&chunk, column + 4, i).as.i64 == first->time_ns);
        }
    } while (chunk.row_count > 0);
    retained_check(at == world->shown_count);
    mote_aggregation_close(aggregation);
}

static void check_latest(struct retained_world *world)
{
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint32_t at = 0;
    must(mote_latest(world->table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            retained_check(at < world->shown_count);
            while (at + 1 < world->shown_count && world->shown[at + 1].series == world->shown[at].series)
                at++;
            retained_check(chunk_value(&chunk, 1, i).as.i64 == world->shown[at].time_ns && chunk_value(&chunk, 2, i).as.i64 == world->shown[at].value);
            at++;
        }
    } while (chunk.row_count > 0);
    retained_check(at == world->shown_count);
    mote_cursor_close(cursor);
}

/* Rows with a value in a range, through the index. */
static void check_search(struct retained_world *world)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t column = 2;
    int64_t from = (int64_t)retained_below(world, (uint64_t)world->next_value + 1), to = from + (int64_t)retained_below(world, 500);
    struct mote_term term = {.kind = MOTE_TERM_RANGE, .columns = &column, .column_count = 1, .from = value_i64(from), .to = value_i64(to)};
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    uint64_t expected = 0, found = 0;
    options.terms = &term;
    options.term_count = retained_below(world, 4) == 0 ? 0 : 1;
    options.rank_by = MOTE_RANK_NONE;
    for (uint32_t i = 0; i < world->shown_count; i++)
        expected += options.term_count == 0 || (world->shown[i].value >= from && world->shown[i].value <= to);
    must(mote_search(world->table, &options, &hits));
    retained_check(mote_hits_count(hits) == expected);
    do {
        must(mote_hits_next(hits, &chunk));
        found += chunk.row_count;
        for (size_t i = 0; i < chunk.row_count; i++) {
            const struct mote_chunk rows = {chunk.row_count, chunk.column_count, chunk.columns};
            const struct retained_entry *entry = retained_find(world, chunk_value(&rows, 0, i).as.i32, chunk_value(&rows, 1, i).as.i64);
            retained_check(retained_is_shown(&world->model, entry) && entry->value == chunk_value(&rows, 2, i).as.i64);
        }
    } while (chunk.row_count > 0);
    retained_check(found == expected);
    mote_hits_close(hits);
}

static void check_gets(struct retained_world *world)
{
    enum { COUNT = 64 };
    struct mote_value keys[COUNT * 2], value;
    struct retained_entry *entries[COUNT];
    mote_row *rows[COUNT] = {NULL}, *row = NULL;
    int32_t results[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        do
            entries[i] = &world->model.entries[retained_below(world, RETAINED_KEYS_MAX)];
        while (!entries[i]->used);
        keys[2 * i] = value_i32(entries[i]->series);
        keys[2 * i + 1] = value_timestamp(entries[i]->time_ns);
    }
    must(mote_get_many(world->table, keys, 2, COUNT, rows, results));
    for (uint32_t i = 0; i < COUNT; i++) {
        bool shown = retained_is_shown(&world->model, entries[i]);
        retained_check(results[i] == (shown ? MOTE_OK : MOTE_ENOTFOUND) && mote_get(world->table, &keys[2 * i], 2, &row) == results[i]);
        if (shown) {
            must(mote_row_value(rows[i], 2, &value));
            retained_check(value.as.i64 == entries[i]->value);
            must(mote_row_value(row, 2, &value));
            retained_check(value.as.i64 == entries[i]->value);
        }
        mote_row_free(rows[i]);
    }
    mote_row_free(row);
}

/* Of what it saw, all that has not gone by age, and nothing in another version; recycled rows are known by the present ones. */
static void check_snapshot(struct retained_world *world)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_snapshot *snapshot;
    mote_cursor *cursor;
    uint32_t at = 0;
    bool last = false;
    if (!world->has_snapshot)
        return;
    must(mote_snapshot_open(world->fixture.db, "saved", &snapshot));
    options.snapshot = snapshot;
    options.chunk_rows = 1 + (uint32_t)retained_below(world, 500);
    must(mote_scan(world->table, &options, &cursor));
    mote_snapshot_release(snapshot);
    while (!last) {
        must(mote_cursor_next(cursor, &chunk));
        last = chunk.row_count == 0;
        for (size_t i = 0; i < chunk.row_count + last; i++) {
            for (; at < world->saved_count; at++) {
                const struct retained_entry *saved = &world->saved[at], *now = retained_find(world, saved->series, saved->time_ns);
                const bool stays = retained_is_shown(&world->model, saved);
                if (!last && chunk_value(&chunk, 0, i).as.i32 == saved->series && chunk_value(&chunk, 1, i).as.i64 == saved->time_ns) {
                    retained_check(stays && chunk_value(&chunk, 2, i).as.i64 == saved->value);
                    break;
                }
                /* It is not shown. */
                retained_check(!stays || (world->model.recycles && (now->recycled || now->value != saved->value || !now->live)));
            }
            retained_check(last || at++ < world->saved_count);
        }
    }
    mote_cursor_close(cursor);
}

void retained_check_all(struct retained_world *world)
{
    uint64_t count;
    retained_learn_recycled(world);
    retained_list_shown(world);
    must(mote_count(world->table, NULL, &count));
    if (count != world->shown_count)
        fprintf(stderr, "%llu rows, %u expected; horizon %lld clock %lld newest %lld\n", (unsigned long long)count, world->shown_count, (long long)world->model.horizon_ns, (long long)world->model.clock_ns, (long long)world->model.newest_ns);
    retained_check(count == world->shown_count);
    check_scan(world, false, false, 0, 0);
    check_scan(world, true, retained_below(world, 2) != 0, world->front_ns - (int64_t)retained_below(world, 3000) * RETAINED_SECOND, world->front_ns);
    check_scan(world, false, true, world->front_ns - (int64_t)retained_below(world, 6000) * RETAINED_SECOND, world->front_ns - (int64_t)retained_below(world, 3000) * RETAINED_SECOND);
    check_aggregate(world);
    check_latest(world);
    check_search(world);
    check_snapshot(world);
    if (world->next_value > 0)
        check_gets(world);
}
