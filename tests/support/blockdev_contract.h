/* blockdev_contract.h: the contract of blockdev.h as a list of cases that any open device must pass: each backend on an image file and on loop devices, the
 * simulated disk, the fault injector without rules. The device is overwritten. It must be at least CONTRACT_BYTES_MIN large. */
#ifndef MOTE_TESTS_BLOCKDEV_CONTRACT_H
#define MOTE_TESTS_BLOCKDEV_CONTRACT_H

#include "blockdev/blockdev.h"

enum { CONTRACT_BYTES_MIN = 8 * 1024 * 1024 };

struct contract {
    struct blockdev *device;
    uint64_t seed;
    unsigned check_count, failure_count;
    const char *case_name;
};

struct contract_case {
    const char *name;
    void (*run)(struct contract *contract);
};

extern const struct contract_case contract_cases[];
extern const unsigned contract_case_count;

/* Runs all cases; prints each failed check with the seed. Returns the number of failed checks. */
unsigned contract_run(struct blockdev *device, uint64_t seed);

/* For tests that add cases of their own: counts a check and prints it when it fails. */
void contract_check(struct contract *contract, bool holds, const char *file, int line, const char *what);
#define CONTRACT_CHECK(contract, holds) contract_check(contract, (holds), __FILE__, __LINE__, #holds)

/* Page-aligned memory filled with a pattern of seed; aborts without memory. */
uint8_t *contract_buffer(uint64_t size_bytes, uint64_t seed);
/* A request ready to be submitted. */
struct blockdev_request contract_request(enum blockdev_op op, uint64_t offset_bytes, uint32_t length_bytes, void *buffer, unsigned flags);
/* Submits count requests at once and reaps them all; checks that all were taken and came back. */
void contract_do(struct contract *contract, struct blockdev_queue *queue, struct blockdev_request *requests, unsigned count);

#endif
