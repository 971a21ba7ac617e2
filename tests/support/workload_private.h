/* workload_private.h: what the files of the workload share. */
#ifndef MOTE_TESTS_SUPPORT_WORKLOAD_PRIVATE_H
#define MOTE_TESTS_SUPPORT_WORKLOAD_PRIVATE_H

#include "tests/support/workload.h"
#include "tests/support/workload_rows.h"

/* A result that is not one of the good ones: a failure, but with run->faults a failure of device or memory is only noted. */
int run_judge(struct run *run, int result, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A failure of the device or of memory. */
bool run_is_fault(int result);
bool run_is_poisoned(const struct run *run);
/* Marks what is acknowledged by now. */
void run_mark(struct run *run);
void run_mark_flushed(struct run *run, uint64_t seq);
void run_mark_head(struct run *run);
int run_create_table(struct run *run, const struct model_schema *schema);

int act_append_one(struct run *run);
int act_append_batch(struct run *run);
int act_burst(struct run *run);
int act_insert_one(struct run *run);
int act_insert_batch(struct run *run);
int act_delete(struct run *run);
int act_wait(struct run *run);
int act_create_table(struct run *run);
int act_add_column(struct run *run);
int act_drop_table(struct run *run);
int act_compact(struct run *run);
int act_indexes(struct run *run);

enum workload_action {
    ACTION_APPEND_ONE, ACTION_APPEND_BATCH, ACTION_BURST, ACTION_INSERT_ONE, ACTION_INSERT_BATCH, ACTION_DELETE, ACTION_WAIT, ACTION_FLUSH, ACTION_CHECKPOINT, ACTION_COMPACT, ACTION_INDEXES, ACTION_CREATE,
    ACTION_ADD_COLUMN, ACTION_DROP, ACTION_IDLE, ACTION_READ, ACTION_CURSOR, ACTION_REOPEN, ACTION_KILL, ACTION_COUNT
};

#endif
