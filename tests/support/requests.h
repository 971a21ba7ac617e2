/* requests.h: one request at a time, for tests of what stands on a device. Plain helpers; a failure to submit aborts the program. */
#ifndef MOTE_TESTS_SUPPORT_REQUESTS_H
#define MOTE_TESTS_SUPPORT_REQUESTS_H

#include "blockdev/blockdev.h"

struct blockdev_queue *requests_queue(struct blockdev *device, uint32_t depth);
/* Submits one request on an idle queue and waits for it. Returns its result. */
int requests_do(struct blockdev_queue *queue, enum blockdev_op op, uint8_t flags, uint64_t offset_bytes, void *buffer, uint32_t length_bytes);
int requests_write(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint32_t length_bytes);
int requests_read(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint32_t length_bytes);
int requests_flush(struct blockdev_queue *queue);
/* Page-aligned memory filled with one byte; free() it. */
uint8_t *requests_buffer(size_t size_bytes, uint8_t fill);
/* The seed of this run: the environment's MOTE_SEED, else one from the clock. Printed with the name, so that a failure can be repeated. */
uint64_t requests_seed(const char *test);

#endif
