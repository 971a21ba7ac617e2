/* producer_rows.c: see producer_rows.h. */
#include "tests/support/producer_rows.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 3 + SAMPLE_CHANNELS + 2 };

mote_table *samples_create(mote_db *db, const char *name)
{
    static const char *const names[SAMPLE_CHANNELS] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};
    struct mote_column_definition columns[COLUMNS] = {{.name = "source", .type = MOTE_TYPE_INT32}, {.name = "sequence", .type = MOTE_TYPE_INT64}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP}};
    for (unsigned i = 0; i < SAMPLE_CHANNELS; i++)
        columns[3 + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT32};
    columns[COLUMNS - 2] = (struct mote_column_definition){.name = "flag", .type = MOTE_TYPE_BOOL};
    columns[COLUMNS - 1] = (struct mote_column_definition){.name = "point", .type = MOTE_TYPE_POINT3};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.time_column = 2;
    must(mote_table_create(db, &schema, &table));
    return table;
}

mote_table *samples_open(mote_db *db, const char *name)
{
    mote_table *table;
    must(mote_table_open(db, name, &table));
    return table;
}

struct sample sample_make(int32_t source, int64_t sequence)
{
    struct sample sample;
    memset(&sample, 0, sizeof sample);
    sample.source = source;
    sample.sequence = sequence;
    sample.time_ns = sequence * 1000 + source;
    for (int i = 0; i < SAMPLE_CHANNELS; i++)
        sample.channels[i] = (float)((sequence * 31 + source * 7 + i) % 100003);
    sample.flag = (uint8_t)(sequence % 3 == 0);
    for (int i = 0; i < 3; i++)
        sample.point[i] = (double)sequence / 8 + i;
    return sample;
}

static void check_row(const struct mote_chunk *chunk, size_t row, int32_t *source, int64_t *sequence)
{
    *source = ((const int32_t *)chunk->columns[0].values)[row];
    *sequence = ((const int64_t *)chunk->columns[1].values)[row];
    struct sample sample = sample_make(*source, *sequence);
    require(((const int64_t *)chunk->columns[2].values)[row] == sample.time_ns);
    for (unsigned i = 0; i < SAMPLE_CHANNELS; i++)
        require(((const float *)chunk->columns[3 + i].values)[row] == sample.channels[i]);
    require(((const uint8_t *)chunk->columns[COLUMNS - 2].values)[row] == sample.flag);
    require(memcmp((const double *)chunk->columns[COLUMNS - 1].values + 3 * row, sample.point, sizeof sample.point) == 0);
    for (unsigned i = 0; i < COLUMNS; i++)
        require(!chunk->columns[i].validity || (chunk->columns[i].validity[row / 8] >> (row % 8) & 1));
}

uint64_t samples_scan(mote_table *table, void (*visit)(void *context, int32_t source, int64_t sequence), void *context)
{
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t count = 0;
    must(mote_scan(table, NULL, &cursor));
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t row = 0; row < chunk.row_count; row++) {
            int32_t source;
            int64_t sequence;
            check_row(&chunk, row, &source, &sequence);
            if (visit)
                visit(context, source, sequence);
        }
        count += chunk.row_count;
    }
    mote_cursor_close(cursor);
    return count;
}

struct prefix {
    int32_t source;
    int64_t next;
};

static void visit_prefix(void *context, int32_t source, int64_t sequence)
{
    struct prefix *prefix = context;
    if (source != prefix->source)
        return;
    if (sequence != prefix->next)
        fprintf(stderr, "source %d: sequence %lld follows, %lld was expected\n", source, (long long)sequence, (long long)prefix->next);
    require(sequence == prefix->next);
    prefix->next++;
}

uint64_t samples_prefix(mote_table *table, int32_t source)
{
    struct prefix prefix = {source, 0};
    samples_scan(table, visit_prefix, &prefix);
    return (uint64_t)prefix.next;
}

struct mote_producer_options samples_options(uint32_t ring_records, uint32_t policy, uint32_t durability)
{
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    options.ring_records = ring_records;
    options.policy = policy;
    options.durability = durability;
    options.record_bytes = sizeof(struct sample);
    return options;
}

struct mote_producer_stats producer_stats_of(mote_producer *producer)
{
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    must(mote_producer_stats(producer, &stats));
    return stats;
}
