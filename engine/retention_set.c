/* retention_set.c: the public calls about retention: setting and telling it, pins (include/mote.h has their contracts; retention.h what stands behind them).
 *
 * A pin's range is cut at the horizon of the moment in which it is made: what has expired does not come back.
 * Threads: any; one change at a time by ddl_mutex. Failures: include/mote.h.
 */
#include "engine/retention.h"

#include <inttypes.h>
#include <string.h>

#define FUTURE_NS_DEFAULT (3600 * (int64_t)NS_PER_S)
#define WINDOW_NS_DEFAULT (60 * (int64_t)NS_PER_S) /* where no age tells: doubled as the table grows */
#define WINDOWS_OF_AGE 16

static const struct schema *schema_of(struct mote_table *table) { return atomic_load_explicit(&table->schema, memory_order_acquire); }

/* ---- Setting ---- */

static int check_table_fits(const struct schema *schema)
{
    if (schema->time_column < 0)
        return error_set(MOTE_EINVAL, "table %s has no time column: its rows have no age and belong to no window", schema->name);
    const struct schema_column *column = &schema->columns[schema->time_column];
    if (schema->time_in_key)
        return MOTE_OK;
    if (column->type != MOTE_TYPE_TIMESTAMP && column->type != MOTE_TYPE_INT64)
        return error_set(MOTE_EINVAL, "time column %s of table %s is %s: a table with retention keeps its times as timestamp or int64", column->name, schema->name, type_name(column->type));
    if (!(column->flags & MOTE_COLUMN_NOT_NULL))
        return error_set(MOTE_EINVAL, "time column %s of table %s may be NULL: declare it MOTE_COLUMN_NOT_NULL, or no row without a time would ever go", column->name, schema->name);
    if ((schema->flags & MOTE_TABLE_APPEND_ONLY) || schema->columns[0].hidden)
        return MOTE_OK;
    return error_set(MOTE_EINVAL, "rows of table %s may be replaced by rows of another time, and would come back when these expire: put its time column %s into the key, or make it MOTE_TABLE_APPEND_ONLY", schema->name, column->name);
}

static int check_settings(const struct mote_db *db, const struct mote_retention *given, struct manifest_retention *settings)
{
    const uint64_t device_bytes = (uint64_t)layout_extent_count(&db->superblock.layout) * db->superblock.layout.extent_bytes, room_bytes = given->bytes_max ? given->bytes_max : device_bytes;
    if (given->age_ns < 0 || given->window_ns < 0 || given->future_ns < 0 || given->recycle > 1 || given->flags)
        return error_set(MOTE_EINVAL, "retention: an age, a window or a limit is below 0, recycle is neither 0 nor 1, or flags are set that do not exist");
    if (given->pin_bytes_max > room_bytes / 2)
        return error_set(MOTE_EINVAL, "retention: pins may hold %" PRIu64 " bytes, more than half of the table's %" PRIu64 ": the other half is what the ring needs", given->pin_bytes_max, room_bytes);
    *settings = (struct manifest_retention){
        .age_ns = given->age_ns,
        .window_ns = given->window_ns ? given->window_ns : given->age_ns ? given->age_ns / WINDOWS_OF_AGE + 1 : WINDOW_NS_DEFAULT,
        .future_ns = given->future_ns ? given->future_ns : FUTURE_NS_DEFAULT,
        .bytes_max = given->bytes_max,
        .pin_bytes_max = given->pin_bytes_max ? given->pin_bytes_max : room_bytes / 4,
        .recycle = given->recycle,
    };
    return MOTE_OK;
}

/* The newest time of the rows that are there, as far as segments tell; one with rows too far ahead says only its least. */
static void find_newest(struct mote_table *table, struct table_retention *retention, int64_t future_ns)
{
    int64_t clock_ns = retention_clock(table->db), limit_ns, newest_ns = atomic_load(&retention->newest_ns);
    if (__builtin_add_overflow(clock_ns, future_ns, &limit_ns))
        limit_ns = INT64_MAX;
    struct version *version = version_acquire(table->db->manifest);
    const struct segment_list *list = version_find(version, table->id);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        int64_t time_ns = record->time_max <= limit_ns ? record->time_max : record->time_min;
        if (record->time_min <= record->time_max && time_ns <= limit_ns && time_ns > newest_ns)
            newest_ns = time_ns;
    }
    version_release(table->db->manifest, version);
    int64_t present = atomic_load(&retention->newest_ns);
    while (present < newest_ns && !atomic_compare_exchange_weak(&retention->newest_ns, &present, newest_ns))
        ;
}

static int commit_settings(struct mote_table *table, const struct manifest_retention *settings)
{
    struct manifest_edit *edit;
    struct manifest_watermark watermark;
    int result = manifest_edit_begin(table->db->manifest, &edit);
    if (result)
        return result;
    retention_watermark(table, &watermark);
    manifest_edit_set_retention(edit, table->id, settings);
    manifest_edit_set_watermark(edit, table->id, &watermark);
    return manifest_commit(edit, NULL, NULL);
}

static int set_locked(struct mote_table *table, const struct manifest_retention *settings)
{
    struct mote_db *db = table->db;
    struct table_retention *retention;
    bool first = atomic_load(&table->retention) == NULL;
    /* From here on appends note their times; what was appended before is in segments after the flush. */
    int result = retention_of(table, &retention);
    if (!result && first)
        atomic_store(&retention->future_ns, settings->future_ns);
    if (!result)
        result = flush_up_to(db, atomic_load(&db->visible_seq));
    if (result)
        return result;
    find_newest(table, retention, settings->future_ns);
    result = commit_settings(table, settings);
    if (!result)
        retention_take(table, settings);
    return result;
}

int mote_table_set_retention(mote_table *table, const struct mote_retention *given)
{
    struct mote_retention asked = MOTE_RETENTION_INIT;
    struct manifest_retention settings;
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result && (!given || given->size_bytes < sizeof(size_t)))
        result = error_set(MOTE_EINVAL, "the retention is NULL or its size_bytes is not set: begin with MOTE_RETENTION_INIT");
    if (result)
        return result;
    memcpy(&asked, given, given->size_bytes < sizeof asked ? given->size_bytes : sizeof asked);
    const struct schema *schema = schema_of(table);
    result = check_table_fits(schema);
    if (!result)
        result = check_settings(table->db, &asked, &settings);
    if (!result) {
        pthread_mutex_lock(&table->db->ddl_mutex);
        result = db_settle(table->db, set_locked(table, &settings));
        pthread_mutex_unlock(&table->db->ddl_mutex);
    }
    if (!result)
        result = retention_run(table->db, NULL);
    if (result)
        error_add_table(schema->name);
    return result;
}

/* ---- Telling ---- */

static void fill_info(struct mote_table *table, struct table_retention *retention, struct mote_retention_info *info)
{
    struct mote_db *db = table->db;
    const uint64_t extent_bytes = db->superblock.layout.extent_bytes;
    info->horizon_ns = retention_horizon(table);
    info->newest_ns = atomic_load(&retention->newest_ns);
    info->rows_expired = atomic_load(&retention->rows_expired);
    info->rows_recycled = atomic_load(&retention->rows_recycled);
    info->rows_future = atomic_load(&retention->rows_future);
    info->segments_dropped = atomic_load(&retention->segments_dropped);
    info->pin_count = atomic_load(&retention->pin_count);
    struct version *version = version_acquire(db->manifest);
    const struct segment_list *list = version_find(version, table->id);
    info->window_ns = retention_windows(db, table->id, list).window_ns;
    info->pinned_bytes = retention_pinned_bytes(retention, list, extent_bytes);
    for (uint32_t i = 0; list && i < list->count; i++)
        info->segment_bytes += segment_device_bytes(list->segments[i], extent_bytes);
    version_release(db->manifest, version);
}

int mote_table_get_retention(mote_table *table, struct mote_retention *out, struct mote_retention_info *info_out)
{
    int result = table_check(table);
    if (result)
        return result;
    if ((out && out->size_bytes < sizeof(size_t)) || (info_out && info_out->size_bytes < sizeof(size_t)))
        return error_set(MOTE_EINVAL, "the size_bytes of the retention or of the info is not set");
    struct table_retention *retention = atomic_load_explicit(&table->retention, memory_order_acquire);
    struct mote_retention told = MOTE_RETENTION_INIT;
    struct mote_retention_info info = {.size_bytes = sizeof info, .horizon_ns = INT64_MIN, .newest_ns = INT64_MIN};
    if (retention) {
        pthread_mutex_lock(&retention->mutex);
        const struct manifest_retention set = retention->set;
        pthread_mutex_unlock(&retention->mutex);
        told = (struct mote_retention){sizeof told, set.recycle, 0, set.age_ns, set.bytes_max, set.window_ns, set.future_ns, set.pin_bytes_max};
        if (info_out)
            fill_info(table, retention, &info);
    }
    if (out) {
        told.size_bytes = out->size_bytes;
        memcpy(out, &told, out->size_bytes < sizeof told ? out->size_bytes : sizeof told);
    }
    if (info_out) {
        info.size_bytes = info_out->size_bytes;
        memcpy(info_out, &info, info_out->size_bytes < sizeof info ? info_out->size_bytes : sizeof info);
    }
    return MOTE_OK;
}

/* ---- Pins ---- */

static int commit_pin(struct mote_table *table, const struct manifest_pin *pin)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(table->db->manifest, &edit);
    if (result)
        return result;
    manifest_edit_add_pin(edit, pin);
    retention_add_watermark(table->db, table->id, edit);
    return manifest_commit(edit, NULL, NULL);
}

/* Under retain_mutex: nothing of the range is dropped between the look at it and the pin. */
static int pin_locked(struct mote_table *table, struct table_retention *retention, struct manifest_pin *pin)
{
    struct mote_db *db = table->db;
    int64_t horizon_ns = retention_horizon(table);
    if (pin->to_ns < horizon_ns)
        return error_set(MOTE_EINVAL, "everything of table %s up to %" PRId64 " has expired: there is nothing left to pin", schema_of(table)->name, horizon_ns);
    pin->from_ns = pin->from_ns < horizon_ns ? horizon_ns : pin->from_ns;
    struct version *version = version_acquire(db->manifest);
    const struct segment_list *list = version_find(version, table->id);
    struct drop_plan plan;
    uint64_t bytes = 0, bytes_max = atomic_load(&retention->pin_bytes_max);
    int result = list ? drop_plan_make(table, list, &plan) : MOTE_OK;
    if (!result && list) {
        bytes = drop_plan_blocked_bytes(&plan, pin);
        drop_plan_free(&plan);
    }
    version_release(db->manifest, version);
    if (result)
        return result;
    if (bytes > bytes_max)
        return error_set(MOTE_EBUDGET, "the pins of table %s would hold %" PRIu64 " bytes with %s, and may hold %" PRIu64 ": pin a shorter range, unpin another, or raise pin_bytes_max", schema_of(table)->name, bytes, pin->name, bytes_max);
    result = commit_pin(table, pin);
    if (result)
        return result;
    pthread_mutex_lock(&retention->mutex);
    uint32_t count = atomic_load(&retention->pin_count);
    assert(count < MANIFEST_TABLE_PINS_MAX);
    retention->pins[count] = *pin;
    atomic_store(&retention->pin_count, count + 1);
    pthread_mutex_unlock(&retention->mutex);
    return MOTE_OK;
}

static int check_pin(mote_table *table, const char *name, struct table_retention **retention)
{
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (result)
        return result;
    if (!name || !name[0] || strnlen(name, MOTE_NAME_BYTES_MAX + 1) > MOTE_NAME_BYTES_MAX)
        return error_set(MOTE_EINVAL, "the name of a pin is NULL, empty or longer than %u bytes", MOTE_NAME_BYTES_MAX);
    *retention = atomic_load(&table->retention);
    return *retention ? MOTE_OK : error_set(MOTE_EINVAL, "table %s has no retention: nothing of it is ever recycled", schema_of(table)->name);
}

int mote_pin(mote_table *table, const char *name, int64_t from_ns, int64_t to_ns)
{
    struct table_retention *retention;
    struct manifest_pin pin = {.from_ns = from_ns, .to_ns = to_ns};
    int result = check_pin(table, name, &retention);
    if (!result && from_ns > to_ns)
        result = error_set(MOTE_EINVAL, "a pin cannot end at %" PRId64 ", before it begins", to_ns);
    if (result)
        return result;
    struct mote_db *db = table->db;
    pin.table_id = table->id;
    memcpy(pin.name, name, strlen(name) + 1);
    pthread_mutex_lock(&db->ddl_mutex);
    /* What is in memory only counts as well. */
    pin.seq = atomic_load(&db->visible_seq);
    result = flush_up_to(db, pin.seq);
    if (!result) {
        pthread_mutex_lock(&db->retain_mutex);
        result = db_settle(db, pin_locked(table, retention, &pin));
        pthread_mutex_unlock(&db->retain_mutex);
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    if (result)
        error_add_table(schema_of(table)->name);
    return result;
}

static int commit_unpin(struct mote_table *table, const char *name)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(table->db->manifest, &edit);
    if (result)
        return result;
    manifest_edit_remove_pin(edit, table->id, name);
    retention_add_watermark(table->db, table->id, edit);
    return manifest_commit(edit, NULL, NULL);
}

int mote_unpin(mote_table *table, const char *name)
{
    struct table_retention *retention;
    int result = check_pin(table, name, &retention);
    if (result)
        return result;
    struct mote_db *db = table->db;
    pthread_mutex_lock(&db->ddl_mutex);
    result = db_settle(db, commit_unpin(table, name));
    if (!result) {
        pthread_mutex_lock(&retention->mutex);
        uint32_t kept = 0, count = atomic_load(&retention->pin_count);
        for (uint32_t i = 0; i < count; i++)
            if (strcmp(retention->pins[i].name, name) != 0)
                retention->pins[kept++] = retention->pins[i];
        atomic_store(&retention->pin_count, kept);
        pthread_mutex_unlock(&retention->mutex);
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    if (!result)
        retention_want(db);
    else
        error_add_table(schema_of(table)->name);
    return result;
}

int mote_pin_list(mote_table *table, int (*visit)(const struct mote_pin_info *pin, void *context), void *context)
{
    int result = table_check(table);
    if (!result && !visit)
        result = error_set(MOTE_EINVAL, "visit is NULL");
    struct table_retention *retention = result ? NULL : atomic_load(&table->retention);
    if (!retention)
        return result;
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX];
    pthread_mutex_lock(&retention->mutex);
    uint32_t count = atomic_load(&retention->pin_count);
    memcpy(pins, retention->pins, count * sizeof *pins);
    pthread_mutex_unlock(&retention->mutex);
    const uint64_t extent_bytes = table->db->superblock.layout.extent_bytes;
    for (uint32_t i = 0; i < count && !result; i++) {
        struct mote_pin_info info = {.size_bytes = sizeof info, .from_ns = pins[i].from_ns, .to_ns = pins[i].to_ns};
        memcpy(info.name, pins[i].name, sizeof info.name);
        struct version *version = version_acquire(table->db->manifest);
        const struct segment_list *list = version_find(version, table->id);
        for (uint32_t k = 0; list && k < list->count; k++) {
            const struct segment_record *record = &list->segments[k]->record;
            if (record->time_min <= record->time_max && segment_may_hold_times(record, info.from_ns, info.to_ns))
                info.bytes += segment_device_bytes(list->segments[k], extent_bytes);
        }
        version_release(table->db->manifest, version);
        result = visit(&info, context);
    }
    return result;
}
