/* producer_drain.c: from the rings into the tables: the thread "mote-push", which looks at every ring at least each millisecond while there are any, and the same work done by whoever flushes, closes, or (inline) calls the engine anyhow.
 *
 * A batch is gathered column by column into buffers made at open and appended like any other; its records leave the ring when that succeeded. Errors, by what they are about:
 *   the records    (MOTE_EINVAL, MOTE_ESCHEMA, MOTE_ETOOBIG, MOTE_EEXISTS of a unique index) the batch is tried again in smaller pieces, and a single record that is refused is left out and counted
 *   want           (MOTE_ENOSPC, MOTE_EBUDGET, MOTE_ENOMEM) tried again after a while; the ring fills meanwhile
 *   everything else ends the producer: pushes return it.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/thread.h"
#include "engine/producer_private.h"

#define POLL_NS 800000      /* of one round, the append included where it is short: what a push waits is below a millisecond */
#define POLL_PAUSE_NS 50000 /* at least, so that others get the drain_mutex */
#define RETRY_NS (10 * NS_PER_MS)

/* ---- Tickets ---- */

uint32_t producer_settle(struct mote_producer *producer)
{
    pthread_mutex_lock(&producer->ticket_mutex);
    uint64_t durable_seq = wal_durable_seq(producer->db->wal);
    while (producer->ticket_count > 0 && producer->tickets[producer->ticket_first].seq <= durable_seq) {
        producer->durable = producer->tickets[producer->ticket_first].appended;
        producer->ticket_first = (producer->ticket_first + 1) % PRODUCER_TICKETS;
        producer->ticket_count--;
    }
    uint32_t count = producer->ticket_count;
    pthread_mutex_unlock(&producer->ticket_mutex);
    return count;
}

static void add_ticket(struct mote_producer *producer, uint64_t count, uint64_t seq)
{
    pthread_mutex_lock(&producer->ticket_mutex);
    assert(producer->ticket_count < PRODUCER_TICKETS);
    uint64_t appended = atomic_load_explicit(&producer->appended, memory_order_relaxed) + count;
    atomic_store_explicit(&producer->appended, appended, memory_order_relaxed);
    producer->tickets[(producer->ticket_first + producer->ticket_count) % PRODUCER_TICKETS] = (struct producer_ticket){appended, seq};
    producer->ticket_count++;
    pthread_mutex_unlock(&producer->ticket_mutex);
    producer->last_seq = seq;
}

/* false: as many batches as can be counted exactly are not durable yet; their commit is asked for, whatever their level. */
static bool has_ticket(struct mote_producer *producer)
{
    if (producer->ticket_count < PRODUCER_TICKETS || producer_settle(producer) < PRODUCER_TICKETS)
        return true;
    wal_commit(producer->db->wal, producer->last_seq);
    return false;
}

/* ---- One batch ---- */

static void gather_field(const struct producer_field *field, const uint8_t *records, uint32_t record_bytes, uint64_t count)
{
    const uint8_t *from = records + field->offset_bytes;
    uint8_t *to = field->gathered;
    switch (field->value_bytes) {
    case 8:
        for (uint64_t i = 0; i < count; i++, from += record_bytes, to += 8)
            memcpy(to, from, 8);
        break;
    case 4:
        for (uint64_t i = 0; i < count; i++, from += record_bytes, to += 4)
            memcpy(to, from, 4);
        break;
    default:
        for (uint64_t i = 0; i < count; i++, from += record_bytes, to += field->value_bytes)
            memcpy(to, from, field->value_bytes);
    }
}

static int append_records(struct mote_producer *producer, const uint8_t *records, uint64_t count)
{
    for (uint32_t i = 0; i < producer->field_count; i++)
        gather_field(&producer->fields[i], records, producer->record_bytes, count);
    const struct mote_batch batch = {.row_count = count, .column_count = producer->field_count, .columns = producer->columns, .column_index = producer->column_index};
    uint64_t seq;
    int result = append_columns(producer->table, &batch, &producer->level, true, &seq);
    if (result)
        return result;
    add_ticket(producer, count, seq);
    producer_ring_consume(producer, count);
    return MOTE_OK;
}

static bool is_about_records(int result) { return result == MOTE_EINVAL || result == MOTE_ESCHEMA || result == MOTE_ETOOBIG || result == MOTE_EEXISTS; }
static bool is_want(int result) { return result == MOTE_ENOSPC || result == MOTE_EBUDGET || result == MOTE_ENOMEM; }

static void note_error(struct mote_producer *producer, int result)
{
    error_get(&producer->cause);
    atomic_store_explicit(&producer->last_error, result, memory_order_relaxed);
}

static void reject_record(struct mote_producer *producer)
{
    atomic_store_explicit(&producer->rejected, atomic_load_explicit(&producer->rejected, memory_order_relaxed) + 1, memory_order_relaxed);
    producer_ring_consume(producer, 1);
}

/* The first `count` records of the ring. *one_by_one: the number of records that are to be tried singly, since there is one among them that the table refuses. */
static int take_batch(struct mote_producer *producer, const uint8_t *records, uint64_t count, uint64_t *one_by_one)
{
    int result = append_records(producer, records, count);
    if (!result)
        return MOTE_OK;
    note_error(producer, result);
    if (is_want(result)) {
        producer->retry_ns = now_ns() + RETRY_NS;
        return result;
    }
    if (!is_about_records(result)) {
        int32_t none = 0;
        atomic_compare_exchange_strong(&producer->failure, &none, result);
        return result;
    }
    if (count == 1)
        reject_record(producer);
    else if (result == MOTE_ETOOBIG)
        producer->batch_rows = (uint32_t)(count / 2);
    else
        *one_by_one = count;
    return MOTE_OK;
}

int producer_drain(struct mote_producer *producer, uint64_t target)
{
    int result = atomic_load(&producer->failure);
    uint64_t one_by_one = 0;
    while (!result && atomic_load_explicit(&producer->consumed, memory_order_relaxed) < target && has_ticket(producer)) {
        const uint8_t *records;
        uint64_t left = target - atomic_load_explicit(&producer->consumed, memory_order_relaxed);
        uint64_t count = producer_ring_peek(producer, &records);
        assert(count > 0);
        count = count < left ? count : left;
        count = count < producer->batch_rows ? count : producer->batch_rows;
        if (one_by_one > 0) {
            one_by_one--;
            count = 1;
        }
        result = take_batch(producer, records, count, &one_by_one);
    }
    return result;
}

int producer_end(struct mote_producer *producer)
{
    uint64_t target = atomic_load_explicit(&producer->pushed, memory_order_acquire);
    int result = producer_drain(producer, target);
    while (!result && atomic_load(&producer->consumed) < target) { /* no ticket was left */
        result = mote_wait(producer->db, producer->last_seq, MOTE_FOREVER);
        if (!result)
            result = producer_drain(producer, target);
    }
    uint64_t left = target - atomic_load(&producer->consumed);
    if (left == 0)
        return MOTE_OK;
    struct mote_error cause = producer->cause;
    error_set(result, "%llu records of producer %s could not be appended and are given up (%s: %.200s)", (unsigned long long)left, producer->name, mote_error_name(result), cause.code ? cause.message : "the handle is poisoned");
    error_add_device(blockdev_path(producer->db->device), cause.offset_bytes, cause.length_bytes);
    return result;
}

/* ---- The thread ---- */

static void drain_all(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    for (uint32_t i = 0; i < set->slot_count && !atomic_load_explicit(&set->stopping, memory_order_relaxed); i++) {
        struct mote_producer *producer = set->slots[i];
        if (!producer)
            continue;
        uint64_t pushed = atomic_load_explicit(&producer->pushed, memory_order_acquire);
        if (producer->ticket_count > 0)
            producer_settle(producer);
        if (pushed != atomic_load_explicit(&producer->consumed, memory_order_relaxed) && (producer->retry_ns == 0 || producer->retry_ns <= now_ns()))
            producer_drain(producer, pushed);
    }
}

static void pause_until(uint64_t until_ns)
{
    uint64_t least_ns = now_ns() + POLL_PAUSE_NS;
    if (until_ns < least_ns)
        until_ns = least_ns;
    struct timespec until = {(time_t)(until_ns / (uint64_t)NS_PER_S), (long)(until_ns % (uint64_t)NS_PER_S)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *drain_main(void *argument)
{
    struct mote_db *db = argument;
    struct producer_set *set = db->producers;
    thread_name("mote-push");
    thread_prefer_latency();
    pthread_mutex_lock(&set->drain_mutex);
    while (!atomic_load(&set->stopping)) {
        if (set->count == 0) {
            pthread_cond_wait(&set->drain_cond, &set->drain_mutex);
            continue;
        }
        uint64_t begin_ns = now_ns();
        producer_headroom_choose(db);
        drain_all(db);
        pthread_mutex_unlock(&set->drain_mutex);
        pause_until(begin_ns + POLL_NS);
        pthread_mutex_lock(&set->drain_mutex);
    }
    pthread_mutex_unlock(&set->drain_mutex);
    return NULL;
}

int producer_thread_start(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    if (set->started || db->options.inline_io)
        return MOTE_OK;
    int error = pthread_create(&set->thread, NULL, drain_main, db);
    if (error)
        return error_set_errno(MOTE_ENOMEM, error, "cannot start the thread that empties the producers' rings: %s", strerror(error));
    set->started = true;
    return MOTE_OK;
}

void producer_thread_stop(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    pthread_mutex_lock(&set->drain_mutex);
    bool started = set->started;
    set->started = false;
    atomic_store(&set->stopping, true);
    pthread_cond_signal(&set->drain_cond);
    pthread_mutex_unlock(&set->drain_mutex);
    if (started)
        pthread_join(set->thread, NULL);
    atomic_store(&set->stopping, false);
}

void producers_inline(struct mote_db *db)
{
    struct producer_set *set = db->producers;
    if (!set || !db->options.inline_io || pthread_mutex_trylock(&set->drain_mutex) != 0)
        return; /* somebody is at it, perhaps this very thread */
    drain_all(db);
    pthread_mutex_unlock(&set->drain_mutex);
}
