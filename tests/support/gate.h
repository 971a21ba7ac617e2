/* gate.h: a device around another that can hold requests back until the test lets them go: so a test stands in the middle of a flush or before a barrier, without sleeping.
 *
 * A held chain is held as a whole. Threads: any. The gate does not own the inner device: closing it leaves that open, so that what a closed volume left behind can be looked at again. */
#ifndef MOTE_TESTS_SUPPORT_GATE_H
#define MOTE_TESTS_SUPPORT_GATE_H

#include "blockdev/blockdev.h"

struct blockdev *gate_create(struct blockdev *inner);
/* From now on a request is held if its op is in op_mask (1 << enum blockdev_op) and, when source_mask is not 0, its source in source_mask (1 << enum blockdev_source). */
void gate_hold(struct blockdev *gate, uint32_t op_mask, uint32_t source_mask);
/* Lets everything go, and holds nothing more. */
void gate_release(struct blockdev *gate);
/* Returns when at least one request is held; aborts after 20 s. */
void gate_wait_held(struct blockdev *gate);
/* How many are held now. */
uint32_t gate_held(struct blockdev *gate);
/* From now on each request of this op (enum blockdev_op) that has all of these flags (enum blockdev_flags) takes so much longer; 0: none does. */
void gate_slow(struct blockdev *gate, uint32_t op, uint32_t flags, uint32_t microseconds);
struct blockdev *gate_inner(struct blockdev *gate);

#endif
