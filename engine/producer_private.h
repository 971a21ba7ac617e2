/* producer_private.h: what a producer is made of, for producer*.c alone. mote.h has the contract.
 *
 * The ring: `capacity` records one behind the other. `pushed` counts what the producer put in, `consumed` what the engine took out; both only grow, so that pushed - consumed is what is in it, and full is exactly `capacity`. Each is written by
 * one side and lies on cache lines of its own with what else that side writes; the producer asks for `consumed` only when the copy that it remembers says full.
 *
 * Invariants
 *   1. pushed - consumed <= capacity; the records in between belong to the consumer, all others to the producer.
 *   2. A record is consumed (its place given back) when it is appended or was refused by its table, never before: what an append could not take is still in the ring.
 *   3. pushed = consumed + in the ring; consumed = appended + rejected; durable <= appended.
 *   4. A push reads and writes nothing that any other writer of the engine writes, but for `consumed`.
 *
 * Locks: producer_set.drain_mutex excludes consumers and changes of the list; it is taken after a table's insert_mutex and before all other locks of the engine, since appends are made under it. list_mutex, for who
 * must not wait for an append (db_poison), is a leaf, and so is a producer's ticket_mutex. The list changes under drain_mutex and list_mutex together.
 */
#ifndef MOTE_ENGINE_PRODUCER_PRIVATE_H
#define MOTE_ENGINE_PRODUCER_PRIVATE_H

#include "engine/engine_private.h"

#define PRODUCER_LINE_BYTES 128u /* two lines of 64: the processor fetches them in pairs */
#define PRODUCER_TICKETS 1024u   /* appended batches that are not durable yet, at most */
#define PRODUCER_BATCH_ROWS 1024u

/* A column of the record. */
struct producer_field {
    uint32_t column; /* position in the schema */
    uint32_t value_bytes;
    uint32_t offset_bytes; /* in the record */
    uint8_t *gathered;     /* the column's values for one batch */
};

/* All rows appended up to `appended` are durable when seq is. */
struct producer_ticket {
    uint64_t appended, seq;
};

struct mote_producer {
    /* All that a push reads and writes beside the record, in one line, since a control loop comes with cold caches: written by the producer, or hardly ever. */
    _Alignas(PRODUCER_LINE_BYTES) uint8_t *records; /* NULL in the child of a fork, where this memory reads as zero */
    uint64_t capacity;
    uint32_t record_bytes;
    uint32_t policy;
    _Atomic int32_t failure; /* every push's result from now on, or 0 */
    _Atomic uint64_t pushed;
    uint64_t push_index;    /* place of the next record: pushed modulo capacity */
    uint64_t consumed_seen; /* copy of consumed */
    _Atomic uint64_t dropped;
    _Atomic uint64_t refused; /* the first of the next line */

    /* Written by the consumer, under drain_mutex. */
    _Alignas(PRODUCER_LINE_BYTES) _Atomic uint64_t consumed;
    uint64_t consume_index;
    _Atomic uint64_t appended, rejected, used_max;
    _Atomic int32_t last_error;
    uint64_t retry_ns; /* no append before: the last one found no space or memory */
    uint64_t last_seq; /* of the newest row appended */

    _Alignas(PRODUCER_LINE_BYTES) struct mote_db *db;
    struct mote_table *table;
    struct producer_field *fields;
    struct mote_column *columns; /* of a batch */
    uint32_t *column_index;
    uint32_t field_count;
    uint32_t batch_rows; /* of one append at most */
    uint32_t row_room_bytes; /* that a record takes in a memtable, at most */
    struct mote_write_options level;
    char name[MOTE_NAME_BYTES_MAX + 1];
    struct mote_error cause; /* of last_error; under drain_mutex */

    /* Batches on their way to the device, oldest at ticket_first; under ticket_mutex. */
    pthread_mutex_t ticket_mutex;
    uint32_t ticket_first;
    _Atomic uint32_t ticket_count; /* may be read without it */
    uint64_t durable;
    struct producer_ticket tickets[PRODUCER_TICKETS];
};

_Static_assert(offsetof(struct mote_producer, refused) == 64, "a push touches one line of 64 bytes");

/* The producers of a handle. */
struct producer_set {
    pthread_mutex_t drain_mutex, list_mutex;
    pthread_cond_t drain_cond; /* the first producer came, or the end */
    pthread_t thread;
    bool started;
    _Atomic bool stopping;
    uint32_t count, slot_count;
    uint64_t window_begin_ns, window_bytes, rate_bytes_per_s; /* of what the producers want of the memtables (producer_headroom.c) */
    uint64_t closed_wanted_bytes;                             /* by producers that are closed */
    struct mote_stats closed;                                 /* the sums of those, under list_mutex */
    struct mote_producer *slots[]; /* producers_max */
};

/* ---- producer_ring.c: the consumer's side of the ring ---- */
/* What is in the ring without a wrap: its first record and their number. */
uint64_t producer_ring_peek(struct mote_producer *producer, const uint8_t **records);
void producer_ring_consume(struct mote_producer *producer, uint64_t count);
static inline uint64_t producer_ring_used(struct mote_producer *producer)
{
    uint64_t consumed = atomic_load_explicit(&producer->consumed, memory_order_acquire); /* first: the difference is never below 0 */
    return atomic_load_explicit(&producer->pushed, memory_order_acquire) - consumed;
}

/* Records that were pushed or would have been, had there been room. */
static inline uint64_t producer_wanted(const struct mote_producer *producer)
{
    return atomic_load_explicit(&producer->pushed, memory_order_relaxed) + atomic_load_explicit(&producer->dropped, memory_order_relaxed);
}

/* ---- producer_headroom.c ---- */
uint32_t producer_row_room_bytes(const struct schema *schema);
/* Chooses db->headroom_bytes anew: now and then, and when a producer comes or goes. The caller holds drain_mutex. */
void producer_headroom_choose(struct mote_db *db);

/* ---- producer_drain.c ---- */
/* Appends records until `consumed` reaches target, on the calling thread, which holds drain_mutex. Nothing is appended while batches before it wait for their durability in too great a number: MOTE_OK then, short of the target. */
int producer_drain(struct mote_producer *producer, uint64_t target);
/* Tickets that became durable are counted. Returns the number of batches that are not. */
uint32_t producer_settle(struct mote_producer *producer);
int producer_thread_start(struct mote_db *db);
void producer_thread_stop(struct mote_db *db);
/* Drains to the end (tickets are waited for) and frees what belongs to it; the caller holds drain_mutex. The error tells how many records were given up. */
int producer_end(struct mote_producer *producer);

/* ---- producer.c ---- */
/* Frees it and takes it off the list; the caller holds drain_mutex. */
void producer_free(struct mote_producer *producer);

#endif
