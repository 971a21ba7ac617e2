/* aggregate_group.c: the groups of an aggregation: found, closed, put out (aggregate_private.h).
 *
 * Threads: the aggregation's. Failures: MOTE_EBUDGET; MOTE_ERANGE of a result; those of a point read, of a pending edge.
 */
#include "engine/aggregate_private.h"
#include "engine/get_private.h"

#define GROUPS_MIN 16u

/* ---- Buckets ---- */

static int64_t clamp_time(__int128 time_ns) { return time_ns < INT64_MIN ? INT64_MIN : time_ns > INT64_MAX ? INT64_MAX : (int64_t)time_ns; }

static __int128 bucket_number(const mote_aggregation *aggregation, int64_t time_ns)
{
    const __int128 length = aggregation->bucket_length_ns, since = (__int128)time_ns - aggregation->origin_ns;
    return since / length - (since % length < 0);
}

bool aggregate_same_bucket(const mote_aggregation *aggregation, int64_t time_ns, int64_t other_ns)
{
    return !aggregation->bucketed || bucket_number(aggregation, time_ns) == bucket_number(aggregation, other_ns);
}

void aggregate_bucket_find(mote_aggregation *aggregation, int64_t time_ns)
{
    if (time_ns >= aggregation->bucket_first_ns && time_ns <= aggregation->bucket_last_ns)
        return;
    if (!aggregation->bucketed) {
        aggregation->bucket_first_ns = aggregation->bucket_ns = INT64_MIN;
        aggregation->bucket_last_ns = INT64_MAX;
        return;
    }
    const __int128 length = aggregation->bucket_length_ns, begin = aggregation->origin_ns + bucket_number(aggregation, time_ns) * length;
    aggregation->bucket_first_ns = aggregation->bucket_ns = clamp_time(begin);
    aggregation->bucket_last_ns = clamp_time(begin + length - 1);
    assert(time_ns >= aggregation->bucket_first_ns && time_ns <= aggregation->bucket_last_ns);
}

/* ---- Pending edges ---- */

static int refuse_block(const mote_aggregation *aggregation)
{
    return error_set(MOTE_EDAMAGED, "the statistics of a block of table %s tell of a row or a value that is not there: run fsck.mote", aggregation->cursor.schema->name);
}

/* The columns' values in the row with this key. */
static int look_up(mote_aggregation *aggregation, const struct bound *key, bool first, mote_row *row)
{
    struct found_row found;
    struct aggregate_cell *cells = aggregate_cells_of(aggregation, aggregation->group_count - 1);
    struct mote_cursor *cursor = &aggregation->cursor;
    int result = lookup_at(cursor->table, key->bytes, key->length, cursor->snapshot, &cursor->filter, row, &found);
    if (!result && !found.found) {
        const struct recycled_range range = {key->bytes, key->bytes, key->length, key->length, INT64_MIN, INT64_MAX};
        struct time_filter filter = cursor->filter; /* of this key alone */
        result = retention_check_recycled(cursor->table, cursor->snapshot, &range, &filter);
        result = result ? result : refuse_block(aggregation);
    }
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++) {
        struct aggregate_edge *edge = first ? &cells[i].first : &cells[i].last;
        struct mote_value value;
        if (edge->state != EDGE_PENDING)
            continue;
        result = mote_row_value(row, aggregation->columns[i].position, &value);
        if (!result && value.is_null)
            result = refuse_block(aggregation);
        edge->state = EDGE_KNOWN;
        edge->bits = 0;
        memcpy(&edge->bits, &value.as, aggregation->columns[i].value_bytes);
    }
    return result;
}

int aggregate_group_close(mote_aggregation *aggregation)
{
    bool first = false, last = false, made;
    if (!aggregation->edges || !aggregation->time_ordered || aggregation->group_count == 0)
        return MOTE_OK;
    const struct aggregate_cell *cells = aggregate_cells_of(aggregation, aggregation->group_count - 1);
    for (uint32_t i = 0; i < aggregation->column_count; i++) {
        first = first || cells[i].first.state == EDGE_PENDING;
        last = last || cells[i].last.state == EDGE_PENDING;
    }
    if (!first && !last)
        return MOTE_OK;
    mote_row *row = NULL;
    int result = row_make(aggregation->cursor.table->db, &row, &made);
    if (!result && first)
        result = look_up(aggregation, &aggregation->first_key, true, row);
    if (!result && last)
        result = look_up(aggregation, &aggregation->last_key, false, row);
    mote_row_free(row);
    return result;
}

/* ---- Finding ---- */

static uint32_t slot_of(const mote_aggregation *aggregation, int64_t bucket_ns)
{
    return (uint32_t)((uint64_t)bucket_ns * 0x9E3779B97F4A7C15u >> 32) & (aggregation->slot_count - 1);
}

static void link_group(mote_aggregation *aggregation, uint32_t group)
{
    uint32_t slot = slot_of(aggregation, aggregation->groups[group].bucket_ns);
    while (aggregation->slots[slot] != 0)
        slot = (slot + 1) & (aggregation->slot_count - 1);
    aggregation->slots[slot] = group + 1;
}

/* Twice as many slots as groups at least. */
static int grow_slots(mote_aggregation *aggregation)
{
    struct memory *memory = aggregation->cursor.table->db->memory;
    uint32_t count = aggregation->group_capacity * 2;
    uint32_t *slots = memory_alloc_zero(memory, count * sizeof *slots);
    if (!slots)
        return MOTE_EBUDGET;
    memory_free(memory, aggregation->slots);
    aggregation->slots = slots;
    aggregation->slot_count = count;
    for (uint32_t i = 0; i < aggregation->group_count; i++)
        link_group(aggregation, i);
    return MOTE_OK;
}

static int grow_groups(mote_aggregation *aggregation)
{
    struct memory *memory = aggregation->cursor.table->db->memory;
    uint32_t capacity = aggregation->group_capacity ? aggregation->group_capacity * 2 : GROUPS_MIN;
    int result = capacity < 1u << 30 ? MOTE_OK : MOTE_EBUDGET;
    struct aggregate_group *groups = result ? NULL : memory_realloc(memory, aggregation->groups, capacity * sizeof *groups);
    if (groups)
        aggregation->groups = groups;
    struct aggregate_cell *cells = groups ? memory_realloc(memory, aggregation->cells, ((size_t)capacity * aggregation->column_count + 1) * sizeof *cells) : NULL;
    if (cells) {
        aggregation->cells = cells;
        aggregation->group_capacity = capacity;
        result = aggregation->ordered ? MOTE_OK : grow_slots(aggregation);
    } else {
        result = MOTE_EBUDGET;
    }
    return result ? error_set(MOTE_EBUDGET, "%u results of an aggregate of table %s do not fit the memory budget: ask for longer buckets, a shorter range or one series", capacity, aggregation->cursor.schema->name) : MOTE_OK;
}

/* Keeps the series' key for the results. */
static int keep_series(mote_aggregation *aggregation, struct aggregate_group *group)
{
    const struct bound *series = &aggregation->series;
    const struct aggregate_group *before = aggregation->group_count > 0 ? group - 1 : NULL;
    group->series_at = group->series_bytes = 0;
    if (!aggregation->by_series || series->length == 0)
        return MOTE_OK; /* none is asked, or the key begins with the time */
    group->series_bytes = series->length;
    if (before && before->series_bytes == series->length && memcmp(aggregation->series_keys + before->series_at, series->bytes, series->length) == 0) {
        group->series_at = before->series_at;
        return MOTE_OK;
    }
    uint32_t needed = aggregation->series_keys_bytes + series->length;
    if (needed > aggregation->series_keys_capacity) {
        uint8_t *grown = memory_realloc(aggregation->cursor.table->db->memory, aggregation->series_keys, needed * 2);
        if (!grown)
            return MOTE_EBUDGET;
        aggregation->series_keys = grown;
        aggregation->series_keys_capacity = needed * 2;
    }
    memcpy(aggregation->series_keys + aggregation->series_keys_bytes, series->bytes, series->length);
    group->series_at = aggregation->series_keys_bytes;
    aggregation->series_keys_bytes = needed;
    return MOTE_OK;
}

static int make_group(mote_aggregation *aggregation, int64_t bucket_ns, uint32_t *group)
{
    int result = aggregation->ordered && !aggregation->closed ? aggregate_group_close(aggregation) : MOTE_OK;
    if (!result && aggregation->group_count == aggregation->group_capacity)
        result = grow_groups(aggregation);
    uint32_t number = aggregation->group_count;
    if (!result) {
        aggregation->groups[number] = (struct aggregate_group){.bucket_ns = bucket_ns};
        result = keep_series(aggregation, &aggregation->groups[number]);
    }
    if (result)
        return result;
    for (uint32_t i = 0; i < aggregation->column_count; i++)
        aggregate_cell_init(&aggregate_cells_of(aggregation, number)[i]);
    aggregation->group_count++;
    aggregation->closed = false;
    if (!aggregation->ordered)
        link_group(aggregation, number);
    *group = number;
    return MOTE_OK;
}

int aggregate_group_find(mote_aggregation *aggregation, int64_t bucket_ns, bool make, uint32_t *group)
{
    uint32_t count = aggregation->group_count;
    *group = GROUP_NONE;
    if (count > 0 && !aggregation->closed && aggregation->groups[count - 1].bucket_ns == bucket_ns) {
        *group = count - 1;
        return MOTE_OK;
    }
    if (!aggregation->ordered && count > 0) {
        for (uint32_t slot = slot_of(aggregation, bucket_ns); aggregation->slots[slot] != 0; slot = (slot + 1) & (aggregation->slot_count - 1)) {
            if (aggregation->groups[aggregation->slots[slot] - 1].bucket_ns == bucket_ns) {
                *group = aggregation->slots[slot] - 1;
                return MOTE_OK;
            }
        }
    }
    if (!make)
        return MOTE_OK;
    if (aggregation->ordered && count == aggregation->groups_max) {
        *group = GROUP_FULL;
        return MOTE_OK;
    }
    return make_group(aggregation, bucket_ns, group);
}

/* ---- Putting out ---- */

static void sift_down(const mote_aggregation *aggregation, uint32_t *order, uint32_t at, uint32_t count)
{
    uint32_t moving = order[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && aggregation->groups[order[child + 1]].bucket_ns > aggregation->groups[order[child]].bucket_ns)
            child++;
        if (aggregation->groups[moving].bucket_ns >= aggregation->groups[order[child]].bucket_ns)
            break;
        order[at] = order[child];
    }
    order[at] = moving;
}

/* The slots, which are of no use any more, become the order of the groups by their buckets (a heap sort: qsort may ask the C library for memory). */
static void sort_groups(mote_aggregation *aggregation)
{
    uint32_t *order = aggregation->slots, count = aggregation->group_count;
    assert(aggregation->slot_count >= count);
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count / 2; i-- > 0;)
        sift_down(aggregation, order, i, count);
    for (uint32_t end = count; end-- > 1;) {
        uint32_t greatest = order[0];
        order[0] = order[end];
        order[end] = greatest;
        sift_down(aggregation, order, 0, end);
    }
}

static int put_out(mote_aggregation *aggregation, uint32_t number)
{
    const struct aggregate_group *group = &aggregation->groups[number];
    const struct aggregate_cell *cells = aggregate_cells_of(aggregation, number);
    const struct schema *schema = aggregation->cursor.schema;
    uint8_t scratch[MOTE_KEY_BYTES_MAX];
    uint32_t at = 0;
    int result = MOTE_OK;
    if (aggregation->series_columns > 0) {
        result = key_decode_prefix(schema, aggregation->series_keys + group->series_at, group->series_bytes, aggregation->series_columns, aggregation->row, scratch);
        at = aggregation->series_columns;
    }
    if (aggregation->bucketed)
        aggregation->row[at++] = (struct mote_value){.type = MOTE_TYPE_TIMESTAMP, .as.i64 = group->bucket_ns};
    for (uint32_t i = 0; i < aggregation->output_count && !result; i++) {
        const struct aggregate_output *output = &aggregation->outputs[i];
        result = aggregate_cell_result(aggregation, output, group, output->column == MOTE_AGGREGATE_ROWS ? cells : &cells[output->column], &aggregation->row[at++]);
    }
    return result ? result : chunk_add_values(&aggregation->chunk, aggregation->row);
}

int aggregate_groups_put_out(mote_aggregation *aggregation)
{
    int result = MOTE_OK;
    if (!aggregation->ordered && aggregation->put_out == 0 && aggregation->group_count > 0)
        sort_groups(aggregation);
    while (!result && aggregation->put_out < aggregation->group_count && !chunk_full(&aggregation->chunk)) {
        uint32_t number = aggregation->put_out++;
        result = put_out(aggregation, aggregation->ordered ? number : aggregation->slots[number]);
    }
    if (aggregation->put_out == aggregation->group_count) {
        aggregation->group_count = aggregation->put_out = aggregation->series_keys_bytes = 0;
        aggregation->putting = false;
        aggregation->closed = true;
    }
    return result;
}
