/* recent_private.h: what recent.c (who has batches, who sees them) and recent_work.c (who makes them) share. All of it under the mutex. */
#ifndef MOTE_ENGINE_RECENT_PRIVATE_H
#define MOTE_ENGINE_RECENT_PRIVATE_H

#include "engine/recent.h"

/* A table's rows in one life of a generation. */
struct recent_generation {
    uint64_t number; /* of that life; 0: none */
    struct memtable *memtable;
    uint32_t end_place, end_total; /* the last note whose rows are in batches */
    bool replayed_done;            /* the replayed rows are in batches */
    bool given_up;                 /* no more batches: memory lacked */
    bool merging_given_up;         /* a larger one would have lacked a section */
    bool building, merging;
    uint32_t batch_count;
    struct recent_batch *batches[RECENT_BATCHES_MAX];
};

struct recent_table {
    struct recent_table *next;
    struct mote_table *table;
    uint32_t definition_count;
    struct manifest_index definitions[MANIFEST_TABLE_INDEXES_MAX];
    bool realtime;
    uint64_t noted_after; /* rows of generations with greater numbers are all noted */
    struct recent_generation generations[GENERATIONS_MAX];
};

struct recents {
    struct mote_db *db;
    pthread_mutex_t mutex;
    pthread_cond_t built;
    struct recent_table *tables;
    uint64_t bytes, share_bytes, next_id;
    _Atomic uint32_t rows; /* that make a batch */
    _Atomic uint32_t wanted; /* a worker has something to do */
};

/* Frees the batch, or has its last pin do it. */
void recents_let_go(struct recents *recents, struct recent_batch *batch);
/* The same with all batches of a generation. */
void recents_empty(struct recents *recents, struct recent_generation *of);
/* The generation's entry, made anew for each life; NULL: it is none that batches are made of. */
struct recent_generation *recents_find(struct recent_table *at, const struct generation *generation);
struct recent_table *recents_find_table(struct recents *recents, const struct mote_table *table);
/* Not under the mutex: a worker has something to do. */
void recents_wake(struct recents *recents);

#endif
