/* kept_device.h: a device that stands before another and leaves it open when it is closed, so that a simulated disk and its event log outlive the volume handles
 * that a test opens on it one after the other. It passes every request on unchanged; a watcher may look at each before it goes.
 *
 * Threads: as the inner device. Failures: those of the inner device; memory that runs out aborts (test code). */
#ifndef MOTE_TESTS_SUPPORT_KEPT_DEVICE_H
#define MOTE_TESTS_SUPPORT_KEPT_DEVICE_H

#include "blockdev/blockdev.h"

typedef void (*kept_device_watch)(void *context, const struct blockdev_request *request);

/* watch may be NULL. */
struct blockdev *kept_device_create(struct blockdev *inner, kept_device_watch watch, void *context);

#endif
