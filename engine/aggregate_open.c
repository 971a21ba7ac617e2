/* aggregate_open.c: what is asked of an aggregation, checked and made ready (aggregate_private.h).
 *
 * Threads: the caller's. Failures: MOTE_EINVAL, MOTE_ENOCOLUMN, MOTE_ESCHEMA, MOTE_EBUDGET. */
#include "engine/aggregate_private.h"

#define CHUNK_ROWS_DEFAULT 4096u
#define CELLS_BYTES_MAX (1u << 20) /* of the groups before a chunk of them is full, where they are ordered */

static bool is_scalar(uint32_t type) { return type == MOTE_TYPE_INT64 || type == MOTE_TYPE_INT32 || type == MOTE_TYPE_FLOAT64 || type == MOTE_TYPE_FLOAT32 || type == MOTE_TYPE_BOOL || type == MOTE_TYPE_TIMESTAMP; }

/* Number of the column of that position, made at its first use. */
static uint32_t take_column(mote_aggregation *aggregation, const struct schema *schema, uint32_t position)
{
    for (uint32_t i = 0; i < aggregation->column_count; i++)
        if (aggregation->columns[i].position == position)
            return i;
    const struct schema_column *definition = &schema->columns[position];
    struct aggregate_column *column = &aggregation->columns[aggregation->column_count];
    *column = (struct aggregate_column){.position = position, .type = definition->type, .value_bytes = definition->value_bytes, .never_null = definition->flags & MOTE_COLUMN_NOT_NULL};
    column->is_float = definition->type == MOTE_TYPE_FLOAT64 || definition->type == MOTE_TYPE_FLOAT32;
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        column->never_null = column->never_null || schema->key_columns[i] == position;
    return aggregation->column_count++;
}

static int take_value(mote_aggregation *aggregation, const struct schema *schema, const struct mote_aggregate_value *value, struct chunk_shape *shape)
{
    struct aggregate_output *output = &aggregation->outputs[aggregation->output_count++];
    *output = (struct aggregate_output){value->function, MOTE_AGGREGATE_ROWS};
    *shape = (struct chunk_shape){.type = MOTE_TYPE_INT64, .dimension = 1};
    if (value->function < MOTE_AGGREGATE_COUNT || value->function > MOTE_AGGREGATE_LAST)
        return error_set(MOTE_EINVAL, "%u is no aggregate function", value->function);
    if (value->column == MOTE_AGGREGATE_ROWS)
        return value->function == MOTE_AGGREGATE_COUNT ? MOTE_OK : error_set(MOTE_EINVAL, "MOTE_AGGREGATE_ROWS can only be counted");
    if (value->column >= schema->column_count)
        return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, value->column);
    output->column = take_column(aggregation, schema, value->column);
    struct aggregate_column *column = &aggregation->columns[output->column];
    const char *name = schema->columns[value->column].name;
    if (value->function == MOTE_AGGREGATE_COUNT)
        return MOTE_OK;
    if (!is_scalar(column->type))
        return error_set(MOTE_EINVAL, "column %s of table %s is %s, whose values can only be counted", name, schema->name, type_name(column->type));
    column->figures = true;
    column->sum = column->sum || value->function == MOTE_AGGREGATE_SUM;
    column->mean = column->mean || value->function == MOTE_AGGREGATE_MEAN;
    column->first = column->first || value->function == MOTE_AGGREGATE_FIRST;
    column->last = column->last || value->function == MOTE_AGGREGATE_LAST;
    if (value->function != MOTE_AGGREGATE_SUM && value->function != MOTE_AGGREGATE_MEAN)
        shape->type = column->type;
    else if (column->type == MOTE_TYPE_TIMESTAMP)
        return error_set(MOTE_EINVAL, "column %s of table %s holds timestamps, of which there is no sum and no mean", name, schema->name);
    else if (column->is_float || value->function == MOTE_AGGREGATE_MEAN)
        shape->type = MOTE_TYPE_FLOAT64;
    return MOTE_OK;
}

/* Which key columns name the series, and in what order rows come. */
static int set_order(mote_aggregation *aggregation, const struct schema *schema, const struct mote_aggregate_options *options)
{
    uint32_t before = 0;
    while (before < schema->key_column_count && (int32_t)schema->key_columns[before] != schema->time_column)
        before++;
    bool in_key = before < schema->key_column_count;
    if (options->bucket_ns < 0)
        return error_set(MOTE_EINVAL, "bucket_ns is %lld: a bucket cannot be shorter than a nanosecond", (long long)options->bucket_ns);
    if (options->bucket_ns > 0 && schema->time_column < 0)
        return error_set(MOTE_EINVAL, "table %s has no time column: there are no buckets of time", schema->name);
    if (options->by_series && !in_key)
        return error_set(MOTE_EINVAL, "the key of table %s holds no time column: it has no series", schema->name);
    aggregation->by_series = options->by_series != 0;
    aggregation->bucketed = options->bucket_ns > 0;
    aggregation->bucket_length_ns = options->bucket_ns;
    aggregation->origin_ns = options->origin_ns;
    aggregation->series_columns = aggregation->by_series ? before : 0;
    bool in_time = in_key && (aggregation->by_series || before == 0 || aggregation->cursor.series.set);
    aggregation->ordered = !aggregation->bucketed || in_time;
    aggregation->time_ordered = schema->time_column < 0 || (schema->time_in_key && in_time);
    for (uint32_t i = 0; i < aggregation->column_count; i++) {
        struct aggregate_column *column = &aggregation->columns[i];
        column->never_null = column->never_null && !column->figures;
        aggregation->edges = aggregation->edges || column->first || column->last;
    }
    aggregation->timed = aggregation->bucketed || aggregation->cursor.use_time || (aggregation->edges && !aggregation->time_ordered);
    aggregation->bucket_first_ns = 1; /* none yet */
    return MOTE_OK;
}

static int make_chunk(mote_aggregation *aggregation, const struct schema *schema, const struct mote_aggregate_options *options, struct chunk_shape *shapes)
{
    struct memory *memory = aggregation->cursor.table->db->memory;
    struct chunk_shape all[MOTE_KEY_COLUMNS_MAX + 1 + AGGREGATE_VALUES_MAX];
    uint32_t count = 0, rows = options->chunk_rows ? options->chunk_rows : CHUNK_ROWS_DEFAULT;
    if (rows > 1u << 20)
        return error_set(MOTE_EINVAL, "chunk_rows is %u, above 1048576", rows);
    for (uint32_t i = 0; i < aggregation->series_columns; i++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[i]];
        all[count++] = (struct chunk_shape){.type = column->type, .dimension = column->dimension};
    }
    if (aggregation->bucketed)
        all[count++] = (struct chunk_shape){.type = MOTE_TYPE_TIMESTAMP, .dimension = 1};
    memcpy(all + count, shapes, aggregation->output_count * sizeof *shapes);
    count += aggregation->output_count;
    uint32_t cells_bytes = (uint32_t)(aggregation->column_count * sizeof(struct aggregate_cell)), fitting = cells_bytes ? CELLS_BYTES_MAX / cells_bytes : rows;
    aggregation->groups_max = fitting < 1 ? 1 : fitting < rows ? fitting : rows;
    aggregation->row = memory_alloc_zero(memory, count * sizeof *aggregation->row);
    return aggregation->row ? chunk_create_shaped(memory, all, count, rows, &aggregation->chunk) : MOTE_EBUDGET;
}

/* Everything but the cursor, which is open; what was made is freed with the aggregation. */
static int prepare(mote_aggregation *aggregation, const struct mote_aggregate_options *options)
{
    const struct schema *schema = atomic_load_explicit(&aggregation->cursor.table->schema, memory_order_acquire);
    struct memory *memory = aggregation->cursor.table->db->memory;
    struct chunk_shape shapes[AGGREGATE_VALUES_MAX];
    if (!options->values || options->value_count == 0 || options->value_count > AGGREGATE_VALUES_MAX)
        return error_set(MOTE_EINVAL, "an aggregate asks for 1 to %u values, not %zu", AGGREGATE_VALUES_MAX, options->values ? options->value_count : 0);
    aggregation->columns = memory_alloc_zero(memory, options->value_count * sizeof *aggregation->columns);
    aggregation->outputs = memory_alloc_zero(memory, options->value_count * sizeof *aggregation->outputs);
    int result = aggregation->columns && aggregation->outputs ? MOTE_OK : MOTE_EBUDGET;
    for (size_t i = 0; i < options->value_count && !result; i++)
        result = take_value(aggregation, schema, &options->values[i], &shapes[i]);
    if (!result)
        result = set_order(aggregation, schema, options);
    if (result)
        return result;
    struct mote_cursor *cursor = &aggregation->cursor;
    cursor->projects = cursor->wants_keys = true;
    for (uint32_t i = 0; i < aggregation->column_count; i++)
        cursor_want(cursor, aggregation->columns[i].position);
    if (schema->time_column >= 0 && (aggregation->timed || aggregation->edges))
        cursor_want(cursor, (uint32_t)schema->time_column);
    return make_chunk(aggregation, schema, options, shapes);
}

static void free_parts(mote_aggregation *aggregation, struct memory *memory)
{
    chunk_destroy(&aggregation->chunk);
    memory_free(memory, aggregation->row);
    memory_free(memory, aggregation->columns);
    memory_free(memory, aggregation->outputs);
    memory_free(memory, aggregation->groups);
    memory_free(memory, aggregation->cells);
    memory_free(memory, aggregation->slots);
    memory_free(memory, aggregation->series_keys);
    memory_free(memory, aggregation);
}

int aggregate_open(mote_table *table, const struct mote_aggregate_options *options, struct overlay *overlay, mote_aggregation **out)
{
    struct mote_scan_options scan = MOTE_SCAN_OPTIONS_INIT, complete;
    scan.key_prefix = options->key_prefix;
    scan.key_prefix_count = options->key_prefix_count;
    scan.key_from = options->key_from;
    scan.key_from_count = options->key_from_count;
    scan.key_to = options->key_to;
    scan.key_to_count = options->key_to_count;
    scan.use_time_range = options->use_time_range;
    scan.time_from_ns = options->time_from_ns;
    scan.time_to_ns = options->time_to_ns;
    scan.snapshot = options->snapshot;
    int result = cursor_check(table, &scan, out, &complete);
    if (result) {
        error_add_table(atomic_load_explicit(&table->schema, memory_order_acquire)->name);
        return result;
    }
    struct memory *memory = table->db->memory;
    mote_aggregation *aggregation = memory_alloc_zero(memory, sizeof *aggregation);
    if (!aggregation)
        return MOTE_EBUDGET;
    aggregation->closed = true;
    result = cursor_open(table, &complete, &aggregation->cursor);
    if (!result) {
        aggregation->cursor.deferred = true;
        aggregation->cursor.wants = aggregate_wants_block;
        aggregation->cursor.wants_context = aggregation;
        result = prepare(aggregation, options);
        if (result)
            cursor_shut(&aggregation->cursor);
    }
    if (result) {
        error_add_table(atomic_load_explicit(&table->schema, memory_order_acquire)->name);
        free_parts(aggregation, memory);
        return result;
    }
    cursor_add_overlay(&aggregation->cursor, overlay);
    *out = aggregation;
    return MOTE_OK;
}

void mote_aggregation_close(mote_aggregation *aggregation)
{
    if (!aggregation || handle_check(aggregation->cursor.table->db))
        return;
    cursor_shut(&aggregation->cursor);
    free_parts(aggregation, aggregation->cursor.table->db->memory);
}
