/* calibrate_private.h: the measuring of a device in free space, for calibrate*.c alone. */
#ifndef MOTE_ENGINE_CALIBRATE_PRIVATE_H
#define MOTE_ENGINE_CALIBRATE_PRIVATE_H

#include "engine/engine_private.h"

#define MEASURE_DEPTH_MAX 32u
#define MEASURE_BUFFER_BYTES (4u * MIB_BYTES)
#define MEASURE_STEPS 32u /* classes of latency in one power of two: percentiles are within 3 % */

struct measure_operation {
    struct blockdev_request request;
    uint64_t begin_ns, at_bytes;
    uint32_t done_bytes; /* of an operation in several requests */
};

/* One owner, one thread; requests only ever go to [offset_bytes, offset_bytes + length_bytes). */
struct measure {
    struct mote_db *db;
    struct blockdev_queue *queue;
    uint64_t offset_bytes, length_bytes; /* the scratch space */
    uint8_t *buffer;                     /* MEASURE_BUFFER_BYTES of noise; reads go to its second half */
    uint64_t next_bytes;                 /* where the next sequential write goes, in the scratch space */
    uint64_t random;
    uint64_t written_bytes;
    struct measure_operation operations[MEASURE_DEPTH_MAX]; /* here, so that they outlive whatever a broken queue keeps in flight */
    struct blockdev_request flush;
};

/* A case under way: it may be continued in several slices. */
struct measure_case {
    struct mote_calibration_case figures;
    uint64_t duration_ns, classes[64 * MEASURE_STEPS];
};

/* Writes the scratch space once in full, so that nothing measured later is the first write to a place; after limit_ns it is cut to what was written (at least bytes_min). */
int measure_fill(struct measure *measure, uint64_t limit_ns, uint64_t bytes_min);
/* Runs a slice of the case: operations until slice_ns or operations_max of them are over. */
int measure_slice(struct measure *measure, struct measure_case *one, uint64_t slice_ns, uint64_t operations_max);
/* Rates and percentiles out of what was gathered. */
void measure_conclude(struct measure_case *one);

#endif
