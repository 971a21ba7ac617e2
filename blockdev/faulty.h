/* faulty.h: a device around another that injects faults by rule, for tests. Deterministic: rules count matching requests in the order of their submission. Each rule
 * counts each request that matches it; the first rule that is due hits, so that a request suffers one fault at most. Threads: any (one mutex over the rules).
 *
 * Faults: EIO (or any errno) on read, write, flush, discard, once, n times or for ever; lost writes (reported good, not done); misdirected writes (done at another offset); bit flips in
 * what is read or written; short I/O (part is done, then EIO); delay (completes only after later requests); removal (ENODEV for everything from then on); shrink (refresh reports less, ranges beyond fail with EIO).
 *
 * In detail: a lost FLUSH or DISCARD is reported good and not done, a lost read leaves the buffer as it is. Misdirection beyond the device's end is a loss. A short request does the first half, in whole
 * logical blocks. A delayed request is handed to the inner device only after a later request of its queue completed, or when nothing else is in flight there: a FLUSH
 * in between does not cover it. Removal also fails what was in flight.
 */
#ifndef MOTE_BLOCKDEV_FAULTY_H
#define MOTE_BLOCKDEV_FAULTY_H

#include "blockdev/blockdev.h"

enum faulty_kind { FAULTY_ERRNO, FAULTY_LOST, FAULTY_MISDIRECTED, FAULTY_BIT_FLIP, FAULTY_SHORT, FAULTY_DELAY, FAULTY_REMOVED };

struct faulty_rule {
    enum faulty_kind kind;
    uint32_t op_mask;            /* 1 << enum blockdev_op; 0: any */
    uint32_t source_mask;        /* 1 << enum blockdev_source; 0: any */
    uint64_t offset_bytes, length_bytes; /* range that a request must touch; length 0: any */
    uint64_t skip;               /* matching requests that pass unharmed first */
    uint64_t times;              /* then so many are hit; UINT64_MAX: for ever */
    int system_errno;            /* of FAULTY_ERRNO */
    int64_t shift_bytes;         /* of FAULTY_MISDIRECTED */
    uint64_t bit;                /* of FAULTY_BIT_FLIP: bit number in the request's data */
};

/* Takes over inner: closing the faulty device closes it. */
int faulty_create(struct blockdev *inner, struct blockdev **device);
/* Adds a rule; returns its number (>= 0), MOTE_EBUDGET beyond 32. */
int faulty_add(struct blockdev *device, const struct faulty_rule *rule);
/* Forgets all rules and their counts, and a removal (the device is back). The size stays. */
void faulty_clear(struct blockdev *device);
/* How often a rule hit. */
uint64_t faulty_hits(struct blockdev *device, int rule);
/* geometry.size_bytes changes at the next blockdev_refresh. */
void faulty_shrink(struct blockdev *device, uint64_t size_bytes);
struct blockdev *faulty_inner(struct blockdev *device);

#endif
