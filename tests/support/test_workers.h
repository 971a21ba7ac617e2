/* test_workers.h: runs numbered pieces of work in a few forked processes and survives what dies or hangs in them. Each worker says in shared memory what it is at, so that the parent can
 * tell how to repeat it. */
#ifndef MOTE_TESTS_SUPPORT_TEST_WORKERS_H
#define MOTE_TESTS_SUPPORT_TEST_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#define TEST_WORKERS_MAX 8u

/* What one worker is at; written by it alone. */
struct test_worker {
    char at[512];                  /* how to repeat it */
    volatile uint64_t progress;    /* grows; a worker that stands still for a minute hangs */
    uint64_t counts[8];            /* the test's own, summed over all workers at the end */
    uint64_t failures;
};

/* Calls work(item) for every item of [first, first + count), in `workers` processes. A worker that dies or hangs counts as a failure of its item; the others go on. Stops handing
 * out work after failures_max. sums: counts of all workers. Returns the failures. */
uint64_t test_workers_run(uint64_t first, uint64_t count, uint32_t workers, uint64_t failures_max, void (*work)(struct test_worker *worker, uint64_t item), uint64_t sums[8]);
/* The arguments --first N and --seeds N; what is not given stays as it was. */
void test_workers_seeds(int count, char **arguments, uint64_t *first, uint64_t *seeds);
/* Processors that may be used, or MOTE_TEST_JOBS. */
uint32_t test_workers_default(void);
/* MOTE_TEST_SCALE percent of count, at least 1. */
uint64_t test_scale(uint64_t count);

#endif
