/* producer.c: producers as handles: layout of the record, open, stats, flush, close; and all producers of a handle at its open, poisoning and close. See mote.h and producer_private.h.
 *
 * Failures: a refused open has changed nothing. Memory: everything of a producer comes from the handle's budget when it is opened; all of it is written once, so that no push is the first to touch a page.
 */
#include <string.h>
#include <time.h>

#include "engine/producer_private.h"

#define RING_RECORDS_MAX (1u << 28)

/* ---- The record ---- */

static uint32_t type_align_bytes(uint32_t type)
{
    switch (type) {
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
    case MOTE_TYPE_VECTOR_F32:
        return 4;
    case MOTE_TYPE_VECTOR_F16:
        return 2;
    case MOTE_TYPE_BOOL:
    case MOTE_TYPE_VECTOR_U8:
        return 1;
    default:
        return 8;
    }
}

/* The record as it is laid out so far. */
struct record_plan {
    const struct schema *schema;
    struct producer_field *fields; /* of as many as the schema has columns */
    uint32_t count;
    uint64_t bytes;
    uint32_t align_bytes;
};

static void plan_field(struct record_plan *plan, uint32_t position)
{
    const struct schema_column *column = &plan->schema->columns[position];
    uint32_t align_bytes = type_align_bytes(column->type);
    plan->bytes = round_up(plan->bytes, align_bytes);
    plan->fields[plan->count++] = (struct producer_field){.column = position, .value_bytes = column->value_bytes, .offset_bytes = (uint32_t)plan->bytes};
    plan->bytes += column->value_bytes;
    if (align_bytes > plan->align_bytes)
        plan->align_bytes = align_bytes;
}

static int refuse_column(const struct schema *schema, uint32_t position, const char *why)
{
    error_set(MOTE_EINVAL, "a producer cannot serve table %s: column %s %s", schema->name, position < schema->column_count ? schema->columns[position].name : "?", why);
    error_add_table(schema->name);
    return MOTE_EINVAL;
}

static bool is_planned(const struct record_plan *plan, uint32_t position)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->fields[i].column == position)
            return true;
    }
    return false;
}

static int plan_named(struct record_plan *plan, const uint32_t *columns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t position = columns[i];
        if (position >= plan->schema->column_count || plan->schema->columns[position].hidden)
            return error_set(MOTE_EINVAL, "a producer's column %zu is for position %u of table %s, which cannot be written", i, position, plan->schema->name);
        if (type_is_var(plan->schema->columns[position].type))
            return refuse_column(plan->schema, position, "is text or blob, which a record cannot hold");
        if (is_planned(plan, position))
            return refuse_column(plan->schema, position, "is named twice");
        plan_field(plan, position);
    }
    return MOTE_OK;
}

static int plan_record(const struct mote_producer_options *options, struct record_plan *plan)
{
    const struct schema *schema = plan->schema;
    int result = options->columns ? plan_named(plan, options->columns, options->column_count) : MOTE_OK;
    for (uint32_t i = 0; i < schema->column_count && !result; i++) {
        const struct schema_column *column = &schema->columns[i];
        if (!options->columns && !type_is_var(column->type) && !column->hidden && !(column->flags & MOTE_COLUMN_AUTO_INCREMENT))
            plan_field(plan, i);
        else if ((column->flags & MOTE_COLUMN_NOT_NULL) && !(column->flags & (MOTE_COLUMN_HAS_DEFAULT | MOTE_COLUMN_AUTO_INCREMENT)) && !column->hidden && !is_planned(plan, i))
            result = refuse_column(schema, i, "is NOT NULL, has no default, and is not in the record");
    }
    if (result)
        return result;
    plan->bytes = round_up(plan->bytes, plan->align_bytes);
    if (plan->count == 0)
        return error_set(MOTE_EINVAL, "a record for table %s would be empty: the table has no column of fixed width", schema->name);
    if (options->record_bytes && options->record_bytes != plan->bytes)
        return error_set(MOTE_EINVAL, "a record for table %s has %llu bytes, the producer's options say %zu: compare the struct with mote_producer_layout", schema->name, (unsigned long long)plan->bytes,
                         options->record_bytes);
    return MOTE_OK;
}

/* What both public calls begin with. plan->fields belongs to the caller, by memory_free. */
static int prepare(mote_table *table, const struct mote_producer_options *given, struct mote_producer_options *options, struct record_plan *plan)
{
    *options = (struct mote_producer_options)MOTE_PRODUCER_OPTIONS_INIT;
    *plan = (struct record_plan){.align_bytes = 1};
    int result = table_check(table);
    if (result)
        return result;
    if (given && given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "producer options: begin with MOTE_PRODUCER_OPTIONS_INIT");
    if (given)
        memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    plan->schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    plan->fields = memory_alloc_zero(table->db->memory, plan->schema->column_count * sizeof *plan->fields);
    if (!plan->fields)
        return MOTE_EBUDGET;
    result = plan_record(options, plan);
    if (result) {
        memory_free(table->db->memory, plan->fields);
        plan->fields = NULL;
    }
    return result;
}

int mote_producer_layout(mote_table *table, const struct mote_producer_options *given, struct mote_producer_field *fields, size_t field_max, size_t *field_count, size_t *record_bytes)
{
    struct mote_producer_options options;
    struct record_plan plan;
    int result = prepare(table, given, &options, &plan);
    if (result)
        return result;
    for (uint32_t i = 0; fields && i < plan.count && i < field_max; i++)
        fields[i] = (struct mote_producer_field){plan.fields[i].column, plan.schema->columns[plan.fields[i].column].type, plan.fields[i].offset_bytes, plan.fields[i].value_bytes};
    if (field_count)
        *field_count = plan.count;
    if (record_bytes)
        *record_bytes = plan.bytes;
    memory_free(table->db->memory, plan.fields);
    return MOTE_OK;
}

/* ---- Open ---- */

static int check_options(const struct mote_db *db, struct mote_producer_options *options)
{
    if (options->ring_records == 0)
        options->ring_records = 4096;
    if (options->durability == MOTE_DURABILITY_DEFAULT)
        options->durability = MOTE_DURABILITY_PERIODIC;
    if (options->period_ms == 0)
        options->period_ms = db->options.period_ms;
    if (options->ring_records > RING_RECORDS_MAX)
        return error_set(MOTE_EINVAL, "a producer's ring of %u records is above %u", options->ring_records, RING_RECORDS_MAX);
    if (options->policy > MOTE_PRODUCER_REFUSE)
        return error_set(MOTE_EINVAL, "producer policy %u is unknown", options->policy);
    if (options->durability == MOTE_DURABILITY_SYNC || options->durability > MOTE_DURABILITY_NONE)
        return error_set(MOTE_EINVAL, "a push cannot wait for the device: a producer's durability is GROUP, PERIODIC or NONE");
    if (options->period_ms > 3600000)
        return error_set(MOTE_EINVAL, "a producer's period_ms is %u, above 3600000", options->period_ms);
    if (options->name && strlen(options->name) > MOTE_NAME_BYTES_MAX)
        return error_set(MOTE_ETOOBIG, "a producer's name is longer than %d bytes", MOTE_NAME_BYTES_MAX);
    return MOTE_OK;
}

/* As many rows as fit a commit and a memtable easily. */
static uint32_t choose_batch_rows(const struct mote_db *db, const struct schema *schema, uint32_t capacity)
{
    uint64_t row_bytes = round_up(schema->fixed_bytes, 8) + 8;
    uint64_t log_rows = wal_payload_bytes_max(db->wal) / 2 / row_bytes, table_rows = db->options.memtable_bytes / 16 / (row_bytes + MOTE_KEY_BYTES_MAX);
    uint64_t rows = log_rows < table_rows ? log_rows : table_rows;
    rows = rows < PRODUCER_BATCH_ROWS ? rows : PRODUCER_BATCH_ROWS;
    rows = rows < capacity ? rows : capacity;
    return rows ? (uint32_t)rows : 1;
}

/* The ring and the buffers for one batch. */
static int make_buffers(struct mote_producer *producer, const struct schema *schema)
{
    struct memory *memory = producer->db->memory;
    uint64_t ring_bytes = producer->capacity * producer->record_bytes;
    producer->records = memory_alloc_aligned(memory, ring_bytes, PRODUCER_LINE_BYTES);
    producer->columns = memory_alloc_zero(memory, producer->field_count * sizeof *producer->columns);
    producer->column_index = memory_alloc_zero(memory, producer->field_count * sizeof *producer->column_index);
    if (!producer->records || !producer->columns || !producer->column_index)
        return MOTE_EBUDGET;
    memset(producer->records, 0, ring_bytes);
    for (uint32_t i = 0; i < producer->field_count; i++) {
        struct producer_field *field = &producer->fields[i];
        field->gathered = memory_alloc_zero(memory, (size_t)producer->batch_rows * field->value_bytes);
        if (!field->gathered)
            return MOTE_EBUDGET;
        producer->column_index[i] = field->column;
        producer->columns[i] = (struct mote_column){.type = schema->columns[field->column].type, .dimension = schema->columns[field->column].dimension, .values = field->gathered};
    }
    return MOTE_OK;
}

static void free_parts(struct mote_producer *producer)
{
    struct memory *memory = producer->db->memory;
    for (uint32_t i = 0; i < producer->field_count; i++)
        memory_free(memory, producer->fields[i].gathered);
    memory_free(memory, producer->fields);
    memory_free(memory, producer->columns);
    memory_free(memory, producer->column_index);
    memory_free(memory, producer->records);
    pthread_mutex_destroy(&producer->ticket_mutex);
    memory_free(memory, producer);
}

/* Takes over plan->fields, whatever it returns. */
static int make_producer(mote_table *table, const struct mote_producer_options *options, const struct record_plan *plan, struct mote_producer **out)
{
    struct mote_db *db = table->db;
    struct mote_producer *producer = memory_alloc_aligned(db->memory, sizeof *producer, PRODUCER_LINE_BYTES);
    if (!producer) {
        memory_free(db->memory, plan->fields);
        return MOTE_EBUDGET;
    }
    memset(producer, 0, sizeof *producer);
    pthread_mutex_init(&producer->ticket_mutex, NULL);
    producer->capacity = options->ring_records;
    producer->record_bytes = (uint32_t)plan->bytes;
    producer->policy = options->policy;
    producer->db = db;
    producer->table = table;
    producer->fields = plan->fields;
    producer->field_count = plan->count;
    producer->row_room_bytes = producer_row_room_bytes(plan->schema);
    producer->batch_rows = choose_batch_rows(db, plan->schema, options->ring_records);
    producer->level = (struct mote_write_options){sizeof producer->level, options->durability, options->period_ms};
    const char *name = options->name ? options->name : plan->schema->name;
    memcpy(producer->name, name, strlen(name));
    int result = make_buffers(producer, plan->schema);
    if (result)
        free_parts(producer);
    else
        *out = producer;
    return result;
}

/* The caller holds drain_mutex. */
static int list_producer(struct mote_db *db, struct mote_producer *producer)
{
    struct producer_set *set = db->producers;
    if (set->count == set->slot_count)
        return error_set(MOTE_EBUDGET, "%u producers are open: close one, or raise producers_max", set->count);
    int result = producer_thread_start(db);
    if (result)
        return result;
    uint32_t slot = 0;
    while (set->slots[slot])
        slot++;
    pthread_mutex_lock(&set->list_mutex);
    set->slots[slot] = producer;
    set->count++;
    if (atomic_load(&db->poisoned)) /* since the check; later ones find it in the list */
        atomic_store(&producer->failure, MOTE_EPOISONED);
    pthread_mutex_unlock(&set->list_mutex);
    producer_headroom_choose(db);
    pthread_cond_signal(&set->drain_cond);
    return MOTE_OK;
}

int mote_producer_open(mote_table *table, const struct mote_producer_options *given, mote_producer **out)
{
    struct mote_producer_options options;
    struct record_plan plan;
    if (!out)
        return error_set(MOTE_EINVAL, "the result pointer is NULL");
    *out = NULL;
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result)
        result = prepare(table, given, &options, &plan);
    if (result)
        return result;
    struct mote_db *db = table->db;
    struct mote_producer *producer = NULL;
    result = check_options(db, &options);
    if (result)
        memory_free(db->memory, plan.fields);
    else
        result = make_producer(table, &options, &plan, &producer);
    if (result)
        return result;
    pthread_mutex_lock(&db->producers->drain_mutex);
    result = list_producer(db, producer);
    pthread_mutex_unlock(&db->producers->drain_mutex);
    if (result)
        free_parts(producer);
    else
        *out = producer;
    return result;
}

/* ---- Stats, flush, close ---- */

static int producer_check(const struct mote_producer *producer)
{
    return producer ? handle_check(producer->db) : error_set(MOTE_EINVAL, "the producer handle is NULL");
}

/* Fullest that the ring has been. */
static uint64_t ring_used_max(struct mote_producer *producer)
{
    uint64_t now = producer_ring_used(producer), before = atomic_load(&producer->used_max);
    return now > before ? now : before;
}

int mote_producer_stats(mote_producer *producer, struct mote_producer_stats *out)
{
    int result = producer_check(producer);
    if (result)
        return result;
    if (!out || out->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "stats is NULL or its size_bytes is not set");
    struct mote_producer_stats stats = {.size_bytes = out->size_bytes, .ring_records = (uint32_t)producer->capacity};
    memcpy(stats.name, producer->name, sizeof stats.name);
    producer_settle(producer);
    pthread_mutex_lock(&producer->ticket_mutex);
    stats.durable = producer->durable;
    stats.appended = atomic_load(&producer->appended);
    pthread_mutex_unlock(&producer->ticket_mutex);
    stats.rejected = atomic_load(&producer->rejected);
    stats.ring_used = (uint32_t)producer_ring_used(producer);
    stats.ring_used_max = ring_used_max(producer);
    stats.pushed = atomic_load(&producer->pushed);
    stats.dropped = atomic_load(&producer->dropped);
    stats.refused = atomic_load(&producer->refused);
    stats.failure = atomic_load(&producer->failure);
    stats.last_error = atomic_load(&producer->last_error);
    memcpy(out, &stats, out->size_bytes < sizeof stats ? out->size_bytes : sizeof stats);
    return MOTE_OK;
}

/* What keeps the records in the ring. */
static int tell_failure(struct mote_producer *producer, int result)
{
    if (producer->cause.code == result)
        return error_restore(&producer->cause);
    return atomic_load(&producer->db->poisoned) ? db_poison(producer->db, 0) : error_set(result, "the producer %s has failed; close it", producer->name);
}

static int64_t time_left(int64_t timeout_ns, uint64_t begin_ns)
{
    if (timeout_ns == MOTE_FOREVER)
        return timeout_ns;
    int64_t gone_ns = (int64_t)(now_ns() - begin_ns);
    return gone_ns < timeout_ns ? timeout_ns - gone_ns : 0;
}

/* Appends up to target; *seq is what then has to be durable. */
static int drain_for_flush(struct mote_producer *producer, uint64_t target, int64_t timeout_ns, uint64_t begin_ns, uint64_t *seq)
{
    int result = MOTE_OK;
    while (!result && atomic_load(&producer->consumed) < target) {
        result = producer_drain(producer, target);
        if (result)
            result = tell_failure(producer, result);
        else if (atomic_load(&producer->consumed) < target)
            result = mote_wait(producer->db, producer->last_seq, time_left(timeout_ns, begin_ns));
    }
    *seq = producer->last_seq;
    return result;
}

int mote_producer_flush(mote_producer *producer, int64_t timeout_ns)
{
    int result = producer_check(producer);
    if (result)
        return result;
    struct mote_db *db = producer->db;
    uint64_t begin_ns = now_ns(), seq;
    uint64_t target = atomic_load_explicit(&producer->pushed, memory_order_acquire);
    pthread_mutex_lock(&db->producers->drain_mutex);
    result = drain_for_flush(producer, target, timeout_ns, begin_ns, &seq);
    pthread_mutex_unlock(&db->producers->drain_mutex);
    return result || seq == 0 ? result : mote_wait(db, seq, time_left(timeout_ns, begin_ns));
}

static void raise_to(uint64_t *max, uint64_t value) { *max = value > *max ? value : *max; }

static void add_stats(struct mote_producer *producer, struct mote_stats *stats)
{
    uint64_t used_max = ring_used_max(producer);
    stats->producer_appended += atomic_load(&producer->appended);
    stats->producer_rejected += atomic_load(&producer->rejected);
    stats->producer_pushed += atomic_load(&producer->pushed); /* after these two: they are of what was pushed */
    stats->producer_dropped += atomic_load(&producer->dropped);
    stats->producer_refused += atomic_load(&producer->refused);
    raise_to(&stats->producer_ring_used_max, used_max);
    raise_to(&stats->producer_ring_percent_max, divide_up(used_max * 100, producer->capacity));
}

void producers_add_stats(struct mote_db *db, struct mote_stats *stats)
{
    struct producer_set *set = db->producers;
    if (!set)
        return;
    pthread_mutex_lock(&set->list_mutex);
    const struct mote_stats *closed = &set->closed;
    stats->producers_open = set->count;
    stats->producer_pushed = closed->producer_pushed;
    stats->producer_dropped = closed->producer_dropped;
    stats->producer_refused = closed->producer_refused;
    stats->producer_appended = closed->producer_appended;
    stats->producer_rejected = closed->producer_rejected;
    stats->producer_ring_used_max = closed->producer_ring_used_max;
    stats->producer_ring_percent_max = closed->producer_ring_percent_max;
    for (uint32_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i])
            add_stats(set->slots[i], stats);
    }
    pthread_mutex_unlock(&set->list_mutex);
    stats->producer_headroom_bytes = atomic_load(&db->headroom_bytes);
}

void producer_free(struct mote_producer *producer)
{
    struct producer_set *set = producer->db->producers;
    pthread_mutex_lock(&set->list_mutex);
    add_stats(producer, &set->closed);
    for (uint32_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i] == producer) {
            set->slots[i] = NULL;
            set->count--;
        }
    }
    pthread_mutex_unlock(&set->list_mutex);
    set->closed_wanted_bytes += producer_wanted(producer) * producer->row_room_bytes;
    free_parts(producer);
}

int mote_producer_close(mote_producer *producer)
{
    if (!producer)
        return MOTE_OK;
    int result = producer_check(producer);
    if (result)
        return result;
    struct mote_db *db = producer->db;
    struct producer_set *set = db->producers;
    pthread_mutex_lock(&set->drain_mutex);
    result = producer_end(producer);
    producer_free(producer);
    producer_headroom_choose(db);
    pthread_mutex_unlock(&set->drain_mutex);
    return result;
}

/* ---- All of a handle ---- */

int producers_create(struct mote_db *db)
{
    uint32_t slot_count = db->options.producers_max;
    struct producer_set *set = memory_alloc_zero(db->memory, sizeof *set + slot_count * sizeof(struct mote_producer *));
    if (!set)
        return MOTE_EBUDGET;
    pthread_mutex_init(&set->drain_mutex, NULL);
    pthread_mutex_init(&set->list_mutex, NULL);
    pthread_cond_init(&set->drain_cond, NULL);
    set->slot_count = slot_count;
    db->producers = set;
    return MOTE_OK;
}

void producers_fail(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    if (!set)
        return;
    pthread_mutex_lock(&set->list_mutex);
    for (uint32_t i = 0; i < set->slot_count; i++) {
        int32_t none = 0;
        if (set->slots[i])
            atomic_compare_exchange_strong(&set->slots[i]->failure, &none, MOTE_EPOISONED);
    }
    pthread_mutex_unlock(&set->list_mutex);
}

int producers_finish(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    struct mote_error cause;
    int result = MOTE_OK;
    if (!set)
        return MOTE_OK;
    producer_thread_stop(db);
    pthread_mutex_lock(&set->drain_mutex);
    for (uint32_t i = 0; i < set->slot_count; i++) {
        if (!set->slots[i])
            continue;
        int ended = producer_end(set->slots[i]);
        if (ended && !result) {
            result = ended;
            error_get(&cause);
        }
        producer_free(set->slots[i]);
    }
    pthread_mutex_unlock(&set->drain_mutex);
    return result ? error_restore(&cause) : MOTE_OK;
}

void producers_destroy(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    if (!set)
        return;
    producer_thread_stop(db);
    for (uint32_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i])
            producer_free(set->slots[i]);
    }
    pthread_mutex_destroy(&set->drain_mutex);
    pthread_mutex_destroy(&set->list_mutex);
    pthread_cond_destroy(&set->drain_cond);
    memory_free(db->memory, set);
    db->producers = NULL;
}
