/* aggregate_cell.c: the figures of one column in one group (aggregate_private.h).
 *
 * Least and greatest begin at the wrong ends, so that any value moves them. Sums of integers take 128 bits, which no number of rows fills. Floats: NaN are counted as values and not as numbers.
 * Threads: pure functions on the aggregation's memory. Failures: MOTE_ERANGE.
 */
#include <math.h>

#include "engine/aggregate_private.h"

void aggregate_cell_init(struct aggregate_cell *cell) { *cell = (struct aggregate_cell){.min_i64 = INT64_MAX, .max_i64 = INT64_MIN, .min_f64 = INFINITY, .max_f64 = -INFINITY}; }

static int64_t integer_of(const struct mote_value *value)
{
    if (value->type == MOTE_TYPE_BOOL)
        return value->as.boolean;
    return value->type == MOTE_TYPE_INT32 ? value->as.i32 : value->as.i64;
}

static double float_of(const struct mote_value *value) { return value->type == MOTE_TYPE_FLOAT32 ? (double)value->as.f32 : value->as.f64; }

static bool not_null(const struct codec_vector *values, uint32_t row) { return !values->validity || (values->validity[row / 8] >> row % 8 & 1); }

static void set_edge(struct aggregate_edge *edge, const void *value, uint32_t value_bytes, int64_t time_ns)
{
    edge->state = EDGE_KNOWN;
    edge->time_ns = time_ns;
    edge->bits = 0;
    memcpy(&edge->bits, value, value_bytes);
}

static bool is_first(const mote_aggregation *aggregation, const struct aggregate_cell *cell, int64_t time_ns) { return cell->first.state == EDGE_NONE || (!aggregation->time_ordered && time_ns < cell->first.time_ns); }

static bool is_last(const mote_aggregation *aggregation, const struct aggregate_cell *cell, int64_t time_ns) { return cell->last.state == EDGE_NONE || aggregation->time_ordered || time_ns >= cell->last.time_ns; }

static void add_number(const struct aggregate_column *column, const struct mote_value *value, struct aggregate_cell *cell)
{
    if (column->is_float) {
        double number = float_of(value);
        if (isnan(number))
            return;
        cell->min_f64 = number < cell->min_f64 ? number : cell->min_f64;
        cell->max_f64 = number > cell->max_f64 ? number : cell->max_f64;
        cell->sum_float += number;
    } else {
        int64_t number = integer_of(value);
        cell->min_i64 = number < cell->min_i64 ? number : cell->min_i64;
        cell->max_i64 = number > cell->max_i64 ? number : cell->max_i64;
        cell->sum_int += number;
    }
    cell->number_count++;
}

void aggregate_cell_add(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct mote_value *value, int64_t time_ns, bool has_time, struct aggregate_cell *cell)
{
    if (value->is_null)
        return;
    cell->value_count++;
    if (!column->figures)
        return;
    add_number(column, value, cell);
    bool edge = aggregation->time_ordered || has_time;
    if (column->first && edge && is_first(aggregation, cell, time_ns))
        set_edge(&cell->first, &value->as, column->value_bytes, time_ns);
    if (column->last && edge && is_last(aggregation, cell, time_ns))
        set_edge(&cell->last, &value->as, column->value_bytes, time_ns);
}

/* ---- Slices ---- */

static struct mote_value scalar_at(const struct aggregate_column *column, const struct codec_vector *values, uint32_t row)
{
    struct mote_value value = {.type = column->type};
    memcpy(&value.as, (const uint8_t *)values->values + (size_t)row * column->value_bytes, column->value_bytes);
    return value;
}

static void add_stats(const struct codec_stats *stats, struct aggregate_cell *cell)
{
    cell->number_count += stats->count - stats->nan_count;
    if (stats->is_float) {
        cell->min_f64 = stats->min_f64 < cell->min_f64 ? stats->min_f64 : cell->min_f64;
        cell->max_f64 = stats->max_f64 > cell->max_f64 ? stats->max_f64 : cell->max_f64;
        cell->sum_float += stats->sum_f64;
    } else {
        cell->min_i64 = stats->min_i64 < cell->min_i64 ? stats->min_i64 : cell->min_i64;
        cell->max_i64 = stats->max_i64 > cell->max_i64 ? stats->max_i64 : cell->max_i64;
        cell->sum_int += stats->sum_i64;
    }
}

static void add_numbers(const struct aggregate_column *column, const struct codec_vector *values, uint32_t first, uint32_t count, struct aggregate_cell *cell)
{
    struct codec_vector part = *values;
    struct codec_stats stats = {.sum_overflow = true};
    part.values = (const uint8_t *)values->values + (size_t)first * column->value_bytes;
    part.count = count;
    if (!values->validity)
        codec_stats(&part, &stats);
    if (!stats.sum_overflow) {
        add_stats(&stats, cell);
        return;
    }
    for (uint32_t row = first; row < first + count; row++) {
        if (not_null(values, row)) {
            struct mote_value value = scalar_at(column, values, row);
            add_number(column, &value, cell);
        }
    }
}

bool aggregate_time_at(const mote_aggregation *aggregation, const struct aggregate_slice *slice, uint32_t row, int64_t *time_ns)
{
    if (slice->times_ns) {
        *time_ns = slice->times_ns[row];
        return true;
    }
    const struct schema *schema = aggregation->cursor.schema;
    const struct schema_column *column = &schema->columns[schema->time_column];
    if (slice->times.count == 0 || !not_null(&slice->times, row))
        return false;
    struct mote_value value = {.type = column->type};
    memcpy(&value.as, (const uint8_t *)slice->times.values + (size_t)row * column->value_bytes, column->value_bytes);
    return value_time(column, &value, time_ns);
}

/* In the order of time only the outermost values count. */
static void add_outer_edges(const struct aggregate_column *column, const struct codec_vector *values, uint32_t first, uint32_t count, struct aggregate_cell *cell)
{
    const uint8_t *bytes = values->values;
    uint32_t end = first + count, at = first;
    while (column->first && cell->first.state == EDGE_NONE && at < end) {
        if (not_null(values, at))
            set_edge(&cell->first, bytes + (size_t)at * column->value_bytes, column->value_bytes, 0);
        at++;
    }
    for (at = end; column->last && at > first; at--) {
        if (not_null(values, at - 1)) {
            set_edge(&cell->last, bytes + (size_t)(at - 1) * column->value_bytes, column->value_bytes, 0);
            break;
        }
    }
}

static void add_edges(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct codec_vector *values, const struct aggregate_slice *slice, uint32_t first, uint32_t count, struct aggregate_cell *cell)
{
    const uint8_t *bytes = values->values;
    int64_t time_ns;
    if (aggregation->time_ordered) {
        add_outer_edges(column, values, first, count, cell);
        return;
    }
    for (uint32_t row = first; row < first + count; row++) {
        if (!not_null(values, row) || !aggregate_time_at(aggregation, slice, row, &time_ns))
            continue;
        if (column->first && is_first(aggregation, cell, time_ns))
            set_edge(&cell->first, bytes + (size_t)row * column->value_bytes, column->value_bytes, time_ns);
        if (column->last && is_last(aggregation, cell, time_ns))
            set_edge(&cell->last, bytes + (size_t)row * column->value_bytes, column->value_bytes, time_ns);
    }
}

void aggregate_cell_add_slice(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct codec_vector *values, const struct aggregate_slice *slice, uint32_t first, uint32_t count, struct aggregate_cell *cell)
{
    uint32_t present = count;
    for (uint32_t row = first; values->validity && row < first + count; row++)
        present -= !not_null(values, row);
    cell->value_count += present;
    if (!column->figures || present == 0)
        return;
    add_numbers(column, values, first, count, cell);
    if (column->first || column->last)
        add_edges(aggregation, column, values, slice, first, count, cell);
}

/* ---- Blocks ---- */

static bool edges_fit(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct sst_statistics *statistics, const struct sst_zone *zone, const struct aggregate_cell *cell)
{
    bool has_first = cell && cell->first.state != EDGE_NONE, has_last = cell && cell->last.state != EDGE_NONE;
    if (aggregation->time_ordered)
        return ((!column->first || has_first) && !column->last) || zone->value_count == statistics->row_count;
    if (statistics->timed_count == 0)
        return true;
    return (!column->first || (has_first && cell->first.time_ns <= statistics->time_min_ns)) && (!column->last || (has_last && cell->last.time_ns > statistics->time_max_ns));
}

bool aggregate_cell_fits(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct sst_statistics *statistics, const struct aggregate_cell *cell)
{
    struct sst_zone zone;
    if (!column->figures)
        return true;
    sst_statistics_zone(statistics, column->position, &zone);
    if (zone.value_count == 0)
        return true;
    if (column->is_float ? !zone.has_range && !zone.has_nan : !zone.has_range)
        return false;
    if ((column->sum || column->mean) && !zone.has_sum)
        return false;
    if (column->mean && zone.has_nan)
        return false; /* how many they are is not told */
    return (!column->first && !column->last) || edges_fit(aggregation, column, statistics, &zone, cell);
}

void aggregate_cell_add_block(const struct aggregate_column *column, const struct sst_statistics *statistics, struct aggregate_cell *cell)
{
    struct sst_zone zone;
    sst_statistics_zone(statistics, column->position, &zone);
    cell->value_count += zone.value_count;
    if (!column->figures || zone.value_count == 0)
        return;
    if (zone.has_range) {
        cell->number_count += zone.value_count;
        cell->min_i64 = zone.min_i64 < cell->min_i64 ? zone.min_i64 : cell->min_i64;
        cell->max_i64 = zone.max_i64 > cell->max_i64 ? zone.max_i64 : cell->max_i64;
    }
    if (zone.has_range && zone.is_float) {
        cell->min_f64 = zone.min_f64 < cell->min_f64 ? zone.min_f64 : cell->min_f64;
        cell->max_f64 = zone.max_f64 > cell->max_f64 ? zone.max_f64 : cell->max_f64;
        cell->sum_float += zone.sum_f64;
    } else if (zone.has_sum) {
        cell->sum_int += zone.sum_i64;
    }
}

/* ---- Results ---- */

/* The NaN that infinity - infinity gives has its sign set on x86-64 and not on aarch64: results have one for all. */
static double one_nan(double value) { return isnan(value) ? (double)NAN : value; }

static int sum_result(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct aggregate_cell *cell, struct mote_value *value)
{
    const struct schema *schema = aggregation->cursor.schema;
    if (column->is_float) {
        value->as.f64 = one_nan(cell->sum_float);
        return MOTE_OK;
    }
    if (cell->sum_int < INT64_MIN || cell->sum_int > INT64_MAX)
        return error_set(MOTE_ERANGE, "a sum of column %s of table %s does not fit an int64: ask for its mean, or for smaller buckets", schema->columns[column->position].name, schema->name);
    value->as.i64 = (int64_t)cell->sum_int;
    return MOTE_OK;
}

static void range_result(const struct aggregate_column *column, bool least, const struct aggregate_cell *cell, struct mote_value *value)
{
    int64_t integer = least ? cell->min_i64 : cell->max_i64;
    double number = (least ? cell->min_f64 : cell->max_f64) + 0.0; /* -0.0 + 0.0 is 0.0 */
    switch (column->type) {
    case MOTE_TYPE_FLOAT64:
        value->as.f64 = number;
        break;
    case MOTE_TYPE_FLOAT32:
        value->as.f32 = (float)number;
        break;
    case MOTE_TYPE_INT32:
        value->as.i32 = (int32_t)integer;
        break;
    case MOTE_TYPE_BOOL:
        value->as.boolean = (uint8_t)integer;
        break;
    default:
        value->as.i64 = integer;
    }
}

int aggregate_cell_result(const mote_aggregation *aggregation, const struct aggregate_output *output, const struct aggregate_group *group, const struct aggregate_cell *cell, struct mote_value *value)
{
    const struct aggregate_column *column = output->column == MOTE_AGGREGATE_ROWS ? NULL : &aggregation->columns[output->column];
    const struct aggregate_edge *edge = output->function == MOTE_AGGREGATE_FIRST ? &cell->first : &cell->last;
    *value = (struct mote_value){.type = MOTE_TYPE_INT64};
    if (output->function == MOTE_AGGREGATE_COUNT) {
        value->as.i64 = (int64_t)(column && !column->never_null ? cell->value_count : group->row_count);
        return MOTE_OK;
    }
    value->is_null = cell->number_count == 0;
    switch (output->function) {
    case MOTE_AGGREGATE_SUM:
        return value->is_null ? MOTE_OK : sum_result(aggregation, column, cell, value);
    case MOTE_AGGREGATE_MEAN:
        if (!value->is_null)
            value->as.f64 = one_nan((column->is_float ? cell->sum_float : (double)cell->sum_int) / (double)cell->number_count);
        return MOTE_OK;
    case MOTE_AGGREGATE_MIN:
    case MOTE_AGGREGATE_MAX:
        if (!value->is_null)
            range_result(column, output->function == MOTE_AGGREGATE_MIN, cell, value);
        return MOTE_OK;
    default:
        assert(edge->state != EDGE_PENDING);
        value->is_null = edge->state == EDGE_NONE;
        memcpy(&value->as, &edge->bits, sizeof edge->bits);
        return MOTE_OK;
    }
}
