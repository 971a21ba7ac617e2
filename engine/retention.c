/* retention.c: a table's retention in memory (retention.h). Threads: any. Failures: MOTE_EBUDGET, MOTE_ERECYCLED. */
#include "engine/retention.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define WINDOWS_MIN 4u
#define WINDOWS_MAX 64u /* picking a compaction looks at each of them */

/* ---- Making ---- */

void retention_free(struct mote_db *db)
{
    for (uint32_t i = 0; i < db->dropping_count; i++)
        segment_let_go(db->manifest, db->dropping[i]);
    memory_free(db->memory, db->dropping);
    db->dropping = NULL;
    db->dropping_count = 0;
    if (db->retain_queue)
        blockdev_queue_destroy(db->retain_queue);
    db->retain_queue = NULL;
    for (uint32_t i = 0; db->tables && i < db->table_count; i++) {
        struct table_retention *retention = atomic_load(&db->tables[i].retention);
        if (retention)
            pthread_mutex_destroy(&retention->mutex);
        memory_free(db->memory, retention);
        atomic_store(&db->tables[i].retention, NULL);
    }
}

int retention_of(struct mote_table *table, struct table_retention **out)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    if (!retention) {
        struct blockdev_queue_options shared = {.depth = 8, .flags = BLOCKDEV_QUEUE_SHARED};
        int result = table->db->retain_queue ? MOTE_OK : blockdev_queue_create(table->db->device, &shared, &table->db->retain_queue);
        if (result)
            return result;
        retention = memory_alloc_zero(table->db->memory, sizeof *retention);
        if (!retention)
            return MOTE_EBUDGET;
        pthread_mutex_init(&retention->mutex, NULL);
        atomic_init(&retention->horizon_ns, INT64_MIN);
        atomic_init(&retention->newest_ns, INT64_MIN);
        atomic_store_explicit(&table->retention, retention, memory_order_release);
        atomic_fetch_add(&table->db->retained_count, 1);
    }
    *out = retention;
    return MOTE_OK;
}

void retention_take(struct mote_table *table, const struct manifest_retention *settings)
{
    struct table_retention *retention = atomic_load(&table->retention);
    pthread_mutex_lock(&retention->mutex);
    retention->set = *settings;
    bool kept = settings->age_ns || settings->bytes_max || settings->recycle; /* else only what expired before stays so */
    atomic_store(&retention->future_ns, settings->future_ns);
    atomic_store(&retention->window_ns, kept ? settings->window_ns : 0);
    atomic_store(&retention->bytes_max, settings->bytes_max);
    atomic_store(&retention->pin_bytes_max, settings->pin_bytes_max);
    atomic_store(&retention->recycle, settings->recycle);
    atomic_store(&retention->age_ns, settings->age_ns);
    atomic_store(&retention->recorded, 1);
    pthread_mutex_unlock(&retention->mutex);
}

int retention_load(struct mote_table *table, const struct manifest_state *state, const struct manifest_table *recorded)
{
    struct table_retention *retention;
    if (!recorded->has_retention && !recorded->has_watermark)
        return MOTE_OK;
    int result = retention_of(table, &retention);
    if (result)
        return result;
    if (recorded->has_watermark) {
        atomic_store(&retention->horizon_ns, recorded->watermark.horizon_ns);
        atomic_store(&retention->newest_ns, recorded->watermark.newest_ns);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->pin_count && count < MANIFEST_TABLE_PINS_MAX; i++)
        if (state->pins[i].table_id == table->id)
            retention->pins[count++] = state->pins[i];
    atomic_store(&retention->pin_count, count);
    if (recorded->has_retention)
        retention_take(table, &recorded->retention);
    return MOTE_OK;
}

/* ---- The newest row ---- */

int64_t retention_clock(const struct mote_db *db)
{
    struct timespec now;
    if (db->realtime_ns)
        return db->realtime_ns(db->realtime_context);
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

static int64_t add_clamped(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

static void raise_to(_Atomic int64_t *value, int64_t at_least)
{
    int64_t present = atomic_load_explicit(value, memory_order_relaxed);
    while (present < at_least && !atomic_compare_exchange_weak(value, &present, at_least))
        ;
}

static void note_times(struct mote_table *table, struct table_retention *retention, const int64_t *times_ns, size_t count)
{
    const int64_t limit_ns = add_clamped(retention_clock(table->db), atomic_load_explicit(&retention->future_ns, memory_order_relaxed));
    int64_t newest_ns = INT64_MIN;
    uint64_t future = 0;
    for (size_t i = 0; i < count; i++) {
        if (times_ns[i] > limit_ns)
            future++;
        else
            newest_ns = times_ns[i] > newest_ns ? times_ns[i] : newest_ns;
    }
    raise_to(&retention->newest_ns, newest_ns);
    if (future)
        atomic_fetch_add_explicit(&retention->rows_future, future, memory_order_relaxed);
}

void retention_note_row(struct mote_table *table, const struct schema *schema, const uint8_t *image)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    int64_t time_ns;
    if (retention && row_time(schema, image, &time_ns))
        note_times(table, retention, &time_ns, 1);
}

void retention_note_batch(struct mote_table *table, const struct row_batch *prepared)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    if (!retention)
        return;
    const struct schema *schema = prepared->schema;
    const struct mote_column *times = prepared->by_position[schema->time_column];
    if (times)
        note_times(table, retention, times->values, prepared->batch->row_count);
    else
        note_times(table, retention, &schema->columns[schema->time_column].default_value.as.i64, 1);
}

/* ---- The horizon ---- */

int64_t retention_horizon(struct mote_table *table)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    if (!retention)
        return INT64_MIN;
    const int64_t age_ns = atomic_load(&retention->age_ns), newest_ns = atomic_load(&retention->newest_ns);
    if (age_ns > 0 && newest_ns != INT64_MIN) {
        const int64_t clock_ns = retention_clock(table->db);
        raise_to(&retention->horizon_ns, add_clamped(clock_ns < newest_ns ? clock_ns : newest_ns, -age_ns));
    }
    return atomic_load(&retention->horizon_ns);
}

struct span {
    int64_t from_ns, to_ns;
};

/* The pins' ranges below the horizon, ascending, those that touch joined. */
static uint32_t pinned_spans(struct table_retention *retention, int64_t horizon_ns, struct span *spans)
{
    uint32_t count = 0, joined = 0;
    pthread_mutex_lock(&retention->mutex);
    for (uint32_t i = 0; i < atomic_load(&retention->pin_count); i++) {
        const struct manifest_pin *pin = &retention->pins[i];
        if (pin->from_ns >= horizon_ns)
            continue;
        struct span span = {pin->from_ns, pin->to_ns < horizon_ns ? pin->to_ns : horizon_ns - 1};
        uint32_t at = count++;
        for (; at > 0 && spans[at - 1].from_ns > span.from_ns; at--)
            spans[at] = spans[at - 1];
        spans[at] = span;
    }
    pthread_mutex_unlock(&retention->mutex);
    for (uint32_t i = 0; i < count; i++) {
        if (joined > 0 && (spans[joined - 1].to_ns == INT64_MAX || spans[i].from_ns <= spans[joined - 1].to_ns + 1))
            spans[joined - 1].to_ns = spans[i].to_ns > spans[joined - 1].to_ns ? spans[i].to_ns : spans[joined - 1].to_ns;
        else
            spans[joined++] = spans[i];
    }
    return joined;
}

void retention_filter(struct mote_table *table, struct time_filter *filter)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    filter->active = retention != NULL;
    filter->gap_count = 0;
    filter->drop_count = 0;
    filter->from_ns = INT64_MIN;
    if (!retention)
        return;
    /* Before the horizon: what is dropped later is not forgotten. */
    filter->drop_count = atomic_load(&retention->drop_count);
    const int64_t horizon_ns = filter->from_ns = retention_horizon(table);
    if (horizon_ns == INT64_MIN || atomic_load(&retention->pin_count) == 0)
        return;
    struct span spans[MANIFEST_TABLE_PINS_MAX];
    uint32_t count = pinned_spans(retention, horizon_ns, spans);
    if (count == 0)
        return;
    filter->from_ns = spans[0].from_ns;
    for (uint32_t i = 0; i < count; i++) {
        int64_t next_ns = i + 1 < count ? spans[i + 1].from_ns : horizon_ns;
        if (spans[i].to_ns + 1 >= next_ns)
            continue;
        filter->gaps[filter->gap_count].from_ns = spans[i].to_ns + 1;
        filter->gaps[filter->gap_count++].to_ns = next_ns - 1;
    }
}

bool retention_hides_key(const struct time_filter *filter, const struct schema *schema, const uint8_t *key, uint32_t key_bytes)
{
    int64_t time_ns;
    return filter->active && schema->time_in_key && key_time(schema, key, key_bytes, &time_ns) == MOTE_OK && time_filter_hides(filter, time_ns);
}

bool retention_hides_image(const struct time_filter *filter, const struct schema *schema, const struct schema *image_schema, const uint8_t *image)
{
    int64_t time_ns;
    return filter->active && !schema->time_in_key && row_time(image_schema, image, &time_ns) && time_filter_hides(filter, time_ns);
}

/* ---- What was dropped under a cursor ---- */

static bool may_hold(const struct retention_drop *drop, uint64_t snapshot, const struct recycled_range *range)
{
    if (drop->seq_min > snapshot || drop->time_min > range->to_ns || drop->time_max < range->from_ns)
        return false;
    const struct segment_record record = {.min_key = drop->min_key, .max_key = drop->max_key};
    return segment_may_hold(&record, range->from, range->from_bytes, range->to, range->to_bytes);
}

int retention_check_recycled(struct mote_table *table, uint64_t snapshot, const struct recycled_range *range, struct time_filter *filter)
{
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    if (!retention || atomic_load(&retention->drop_count) == filter->drop_count)
        return MOTE_OK;
    pthread_mutex_lock(&retention->mutex);
    uint64_t count = atomic_load(&retention->drop_count);
    bool lost = count - filter->drop_count > RETENTION_DROPS_KEPT;
    for (uint64_t i = filter->drop_count; i < count && !lost; i++)
        lost = may_hold(&retention->drops[i % RETENTION_DROPS_KEPT], snapshot, range);
    pthread_mutex_unlock(&retention->mutex);
    if (!lost) {
        filter->drop_count = count;
        return MOTE_OK;
    }
    const char *name = atomic_load(&table->schema)->name;
    error_set(MOTE_ERECYCLED, "rows of table %s that this read had still to show were recycled since it began: begin another, read faster, or pin their times", name);
    error_add_table(name);
    return MOTE_ERECYCLED;
}

/* ---- For edits, flushes, compactions ---- */

void retention_watermark(struct mote_table *table, struct manifest_watermark *watermark)
{
    struct table_retention *retention = atomic_load(&table->retention);
    watermark->horizon_ns = retention_horizon(table);
    watermark->newest_ns = atomic_load(&retention->newest_ns);
}

void retention_add_watermark(struct mote_db *db, uint64_t table_id, struct manifest_edit *edit)
{
    struct mote_table *table = catalog_find_id(db, table_id);
    struct table_retention *retention = table ? atomic_load(&table->retention) : NULL;
    struct manifest_watermark watermark;
    if (!retention || !atomic_load(&retention->recorded))
        return;
    retention_watermark(table, &watermark);
    manifest_edit_set_watermark(edit, table_id, &watermark);
}

void retention_add_watermarks(struct mote_db *db, struct manifest_edit *edit)
{
    for (uint32_t i = 0; i < __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE); i++)
        if (!atomic_load(&db->tables[i].dropped))
            retention_add_watermark(db, db->tables[i].id, edit);
}

struct window_frame retention_windows(struct mote_db *db, uint64_t table_id, const struct segment_list *list)
{
    struct mote_table *table = catalog_find_id(db, table_id);
    struct table_retention *retention = table ? atomic_load(&table->retention) : NULL;
    int64_t window_ns = retention ? atomic_load(&retention->window_ns) : 0;
    uint32_t count_max = db->options.compaction_spread_max / 2 < WINDOWS_MAX ? db->options.compaction_spread_max / 2 : WINDOWS_MAX;
    count_max = count_max > WINDOWS_MIN ? count_max : WINDOWS_MIN;
    if (window_ns <= 0)
        return (struct window_frame){0};
    const int64_t newest_ns = atomic_load(&retention->newest_ns), greatest_ns = newest_ns == INT64_MIN ? INT64_MAX : add_clamped(newest_ns, atomic_load(&retention->future_ns));
    const int64_t least_ns = atomic_load(&retention->age_ns) ? retention_horizon(table) : INT64_MIN;
    struct window_frame frame = window_frame_make(window_ns, least_ns, greatest_ns);
    int64_t widened_ns = window_widen(list, &frame, count_max);
    if (widened_ns == window_ns)
        return frame;
    atomic_compare_exchange_strong(&retention->window_ns, &window_ns, widened_ns);
    return window_frame_make(widened_ns, least_ns, greatest_ns);
}

struct window_frame retention_windows_now(struct mote_db *db, uint64_t table_id)
{
    struct version *version = version_acquire(db->manifest);
    struct window_frame frame = retention_windows(db, table_id, version_find(version, table_id));
    version_release(db->manifest, version);
    return frame;
}

void retention_add_stats(struct mote_db *db, struct mote_stats *stats)
{
    struct version *version = version_acquire(db->manifest);
    for (uint32_t i = 0; i < __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE); i++) {
        struct table_retention *retention = atomic_load_explicit(&db->tables[i].retention, memory_order_acquire);
        if (!retention)
            continue;
        stats->rows_expired += atomic_load(&retention->rows_expired);
        stats->rows_recycled += atomic_load(&retention->rows_recycled);
        stats->segments_dropped += atomic_load(&retention->segments_dropped);
        stats->rows_future += atomic_load(&retention->rows_future);
        if (!atomic_load(&db->tables[i].dropped))
            stats->pinned_bytes += retention_pinned_bytes(retention, version_find(version, db->tables[i].id), db->superblock.layout.extent_bytes);
    }
    version_release(db->manifest, version);
}
