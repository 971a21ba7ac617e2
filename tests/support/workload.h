/* workload.h: a seeded owner of a volume: it does everything that the API offers, in an order and with sizes that follow from the seed, and keeps the model of what it did. Small sizes
 * everywhere, so that frames fill, memtables rotate, the log's ring wraps and compactions run within some dozens of calls.
 *
 * On the simulated disk it marks what it was told, so that each point of the event log knows what must survive a cut there:
 *   MARK_POINT    ops of the present model that were acknowledged as durable
 *   MARK_EPOCH    which model holds: a new one begins when an open after a crash (or a killed owner) showed what was left
 *   MARK_FLUSHED  a flush returned: seq up to which no row may be pending
 *   MARK_HEAD     a checkpoint returned: the log's head
 *   MARK_CLOSED   number of events when a close returned
 *
 * Threads: one. Failures: run_... return -1 with the sentence in run->oracle.why: something did not behave as its contract says. */
#ifndef MOTE_TESTS_SUPPORT_WORKLOAD_H
#define MOTE_TESTS_SUPPORT_WORKLOAD_H

#include "blockdev/blockdev.h"
#include "tests/support/model.h"
#include "tests/support/oracle.h"

enum workload_mark { MARK_POINT = 1, MARK_EPOCH, MARK_FLUSHED, MARK_HEAD, MARK_CLOSED };

#define WORKLOAD_EPOCHS_MAX 32u

struct profile {
    uint64_t device_bytes, memtable_bytes, cache_bytes, log_bytes_max, checkpoint_log_bytes;
    uint32_t logical_block_bytes, barrier, frame_bytes_max, memtable_count, inflight_max, block_rows, runs_max, compression;
    bool reorder;
    bool constant; /* every owner gets the same options */
    uint32_t weights[32]; /* of the actions, enum in workload.c */
    uint32_t step_count;
};

/* A cursor that stays open while other things happen. */
struct held_cursor {
    mote_cursor *cursor;
    struct model_schema schema;
    uint32_t table;
    struct digest left; /* of what it has still to yield */
};

struct run {
    struct blockdev *device; /* simulated; outlives the handles on it */
    struct blockdev *(*wrap)(void *context, struct blockdev *device); /* what the engine gets; NULL: a kept device */
    void *wrap_context;
    struct profile profile;
    uint64_t random;
    uint64_t serial; /* of the next row: unique over all runs of a seed */
    struct mote_db *db;
    struct model *model; /* of the present epoch */
    struct model *epochs[WORKLOAD_EPOCHS_MAX];
    uint32_t epoch_count;
    uint32_t borrowed_epochs;  /* the first epochs belong to somebody else */
    uint32_t point;            /* acknowledged */
    int64_t clock_ns;          /* of the rows */
    uint64_t flushed_seq, head_lsn; /* promised by flushes and checkpoints */
    bool closed;               /* the last owner closed, and nobody opened since */
    bool faults;               /* failures of the device and of memory are allowed */
    int failure;               /* the last one that was met, or 0 */
    struct mote_error failure_cause;
    bool unread;               /* an open checks nothing: reads may fail (only for an open that finds just what was acknowledged) */
    void (*advance_clock)(int64_t ns);
    struct held_cursor held;
    struct oracle oracle;
};

/* What the seed chooses. */
void profile_choose(struct profile *profile, uint64_t seed);
void profile_describe(const struct profile *profile, char *text, size_t text_bytes);
/* Options for an open of this run; small things vary with *random. */
void profile_options(const struct profile *profile, uint64_t *random, struct mote_options *options);

void workload_uuid(uint8_t uuid[16]);
/* Formats the simulated disk. */
int workload_format(struct blockdev *device, const struct profile *profile);
/* Begins on a device: with the model of what is on it, of which everything up to `promise` must be there. The model is borrowed. random: the seed of what happens. */
void run_begin(struct run *run, struct blockdev *device, const struct profile *profile, struct model *model, const struct promise *promise, uint64_t random);
/* Opens and checks what is found; a new epoch begins there. With run->faults an engine's error is returned as it is, and nothing is open. */
int run_open(struct run *run);
/* A reader that may write nothing looks at the device and goes. What it showed must survive every later cut: a new epoch begins there. */
int run_look_read_only(struct run *run);
/* One action, chosen by the seed. Opens and closes too. */
int run_step(struct run *run);
/* Closes; the marks say so. */
int run_close(struct run *run);
/* The owner is killed. */
void run_kill(struct run *run);
void run_free(struct run *run);

/* Single actions, for tests that want one. durability: enum mote_durability. */
int run_append_rows(struct run *run, const char *table, uint32_t row_count, uint32_t durability);
int run_create_tables(struct run *run);
int run_flush(struct run *run);
int run_checkpoint(struct run *run);

#endif
