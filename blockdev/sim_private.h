/* sim_private.h: the parts of the simulated disk.
 *
 *   sim_pages.c   content as tables of 4 KiB pages, shared copy-on-write between devices, cursors and crash images
 *   sim_model.c   the volatile write cache: which writes are durable, which may or may not survive
 *   sim_record.c  the event log, marks, and the states that a power cut could have left after each event
 *   sim.c         the backend: queues, chains, order of completion
 *
 * Locking: a device's mutex guards everything below it. A frozen base is immutable and counted, so that devices on other threads read it without a lock.
 */
#ifndef MOTE_BLOCKDEV_SIM_PRIVATE_H
#define MOTE_BLOCKDEV_SIM_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockdev/base/units.h"
#include "blockdev/blockdev_private.h"
#include "blockdev/sim.h"

/* ---- Pages ---- */

struct sim_page {
    _Atomic uint32_t refs;
    uint8_t data[PAGE_BYTES];
};

/* Immutable content that tables stand on: pages where they are set, else the parent, else the flat image, else zeros. */
struct sim_base {
    _Atomic uint32_t refs;
    struct sim_base *parent;
    struct sim_page **pages;
    uint32_t page_count;
    const uint8_t *flat;
    uint8_t *flat_owned; /* a mapping to be given back, or NULL */
    uint64_t flat_bytes;
};

/* Changeable content: own pages, else the table below, else the base. */
struct sim_table {
    struct sim_base *base;
    const struct sim_table *below;
    struct sim_page **own;
    uint32_t page_count;
};

void *sim_allocate(size_t size_bytes); /* zeroed; aborts when there is none */
void *sim_grow(void *array, uint32_t *capacity, uint32_t count, size_t item_bytes); /* room for one more than count */

int sim_base_create(const struct sim_options *options, struct sim_base **base);
struct sim_base *sim_base_reference(struct sim_base *base);
void sim_base_release(struct sim_base *base);

/* Takes over one reference to base; below may be NULL. */
void sim_table_init(struct sim_table *table, struct sim_base *base, const struct sim_table *below, uint64_t size_bytes);
void sim_table_destroy(struct sim_table *table);
/* Forgets the own pages. */
void sim_table_reset(struct sim_table *table);
/* data NULL: zeros. */
void sim_table_write(struct sim_table *table, uint64_t offset_bytes, const uint8_t *data, uint64_t length_bytes);
/* What a discard leaves. */
void sim_table_lose(struct sim_table *table, uint64_t offset_bytes, uint64_t length_bytes);
void sim_table_read(const struct sim_table *table, uint64_t offset_bytes, uint8_t *data, uint64_t length_bytes);
/* The present content as an immutable base; the table copies a page before it changes it next. Only for a table that stands on a base alone. */
struct sim_base *sim_table_freeze(struct sim_table *table);

/* ---- The volatile cache ---- */

struct sim_write {
    uint64_t offset_bytes;
    uint32_t length_bytes;
    bool fua;
    bool discard;   /* there is no data */
    bool kept;      /* belongs to the event log, which frees it */
    uint64_t chain; /* of linked requests, 0: none */
    uint64_t order; /* number of its completion, counted from 1; 0 before */
    uint8_t data[];
};

/* A write that is not durable. dead: one bit for each of its sectors that a later, durable write has replaced (NULL: none). */
struct sim_pending {
    struct sim_write *write;
    uint64_t *dead;
    uint32_t dead_count;
};

struct sim_model {
    struct sim_table durable;
    struct sim_pending *done; /* completed, in order of completion */
    uint32_t done_count, done_capacity;
    struct sim_pending *flying; /* submitted, in order of submission */
    uint32_t flying_count, flying_capacity;
    bool owns_writes; /* free a write that is not kept when it leaves the cache */
};

void sim_model_init(struct sim_model *model, struct sim_base *base, uint64_t size_bytes, bool owns_writes);
void sim_model_destroy(struct sim_model *model);
/* Everything in the cache is forgotten. */
void sim_model_drop_cache(struct sim_model *model);
void sim_model_submit(struct sim_model *model, struct sim_write *write);
/* write->order is set. The write may be freed. */
void sim_model_complete(struct sim_model *model, struct sim_write *write);
/* A flush completes: it covers what had completed up to cover_order, and what is linked before it in its chain. */
void sim_model_flush(struct sim_model *model, uint64_t cover_order, uint64_t chain);
/* Writes what survives a power cut over target, which holds the durable content. */
void sim_model_survive(const struct sim_model *model, enum sim_crash_policy policy, uint32_t index, uint64_t seed, struct sim_table *target);

/* ---- The record ---- */

enum sim_event_type { SIM_WRITE_SUBMITTED, SIM_WRITE_COMPLETED, SIM_FLUSH_SUBMITTED, SIM_FLUSH_COMPLETED, SIM_MARK, SIM_CUT };

struct sim_event {
    enum sim_event_type type;
    struct sim_write *write; /* of SIM_WRITE_... */
    struct sim_base *base;   /* of SIM_CUT: what was left */
    uint64_t words[2];       /* SIM_FLUSH_COMPLETED: cover_order, chain. SIM_MARK: kind, value */
};

/* A state of the device at an event, moved forward by replay. */
struct sim_cursor {
    bool in_use;
    struct sim_model model;
    uint64_t applied_count;  /* events replayed */
    struct sim_base *frozen; /* the durable content, while nothing changed it */
    uint64_t used_at;
};
#define SIM_CURSORS 4u

struct sim_record {
    struct sim_event *events;
    uint32_t event_count, event_capacity;
    uint64_t *marks; /* event numbers of the marks, ascending */
    uint32_t mark_count, mark_capacity;
    struct sim_base *base; /* the content at the start */
    uint64_t size_bytes;
    struct sim_cursor cursors[SIM_CURSORS];
    uint64_t use_count;
};

void sim_record_init(struct sim_record *record, struct sim_base *base, uint64_t size_bytes);
void sim_record_destroy(struct sim_record *record);
void sim_record_add(struct sim_record *record, struct sim_event event);

/* ---- The device ---- */

struct sim_device {
    struct blockdev blockdev;
    pthread_mutex_t lock;
    bool record_on, reorder, powered;
    uint64_t random;
    uint64_t order;      /* completions so far */
    uint64_t chain_last; /* newest chain number */
    struct sim_model model;
    struct sim_table visible; /* stands on model.durable */
    struct sim_queue *queues;
    struct sim_record record;
};

static inline struct sim_device *sim_device_of(struct blockdev *device) { return (struct sim_device *)device; }

/* Takes over a reference to base. */
int sim_create_on_base(const struct sim_options *options, struct sim_base *base, struct sim_device **device);

/* splitmix64: small, seeded by any number, good enough for choosing (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). */
static inline uint64_t sim_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline uint64_t sim_random_below(uint64_t *state, uint64_t limit) { return limit ? sim_random(state) % limit : 0; }

#endif
