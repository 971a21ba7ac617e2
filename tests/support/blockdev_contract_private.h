/* blockdev_contract_private.h: shared by the two files of the contract's cases. */
#ifndef MOTE_TESTS_BLOCKDEV_CONTRACT_PRIVATE_H
#define MOTE_TESTS_BLOCKDEV_CONTRACT_PRIVATE_H

#include "tests/support/blockdev_contract.h"

uint64_t contract_random(uint64_t *state);
void contract_fill(uint8_t *data, uint64_t size_bytes, uint64_t seed);
/* A queue without registered memory; aborts if it cannot be made. */
struct blockdev_queue *contract_queue(struct contract *contract, unsigned depth, unsigned flags);

void contract_run_depth(struct contract *contract);
void contract_run_wake(struct contract *contract);
void contract_run_timeouts(struct contract *contract);
void contract_run_shared_queue(struct contract *contract);
void contract_run_destroy(struct contract *contract);
void contract_run_random_load(struct contract *contract);

#endif
