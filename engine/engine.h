/* engine.h: opening a volume on a device that is open already: what mote_open does after it opened the path, for tests on simulated devices. */
#ifndef MOTE_ENGINE_ENGINE_H
#define MOTE_ENGINE_ENGINE_H

#include "blockdev/blockdev.h"
#include "include/mote.h"

/* As mote_format, on an open device whose content has been checked. */
int engine_format(struct blockdev *device, const struct mote_format_options *options, struct mote_layout *layout);
/* As mote_open. The device belongs to the handle when this succeeds: mote_close closes it. On failure it stays the caller's. */
int engine_open(struct blockdev *device, const struct mote_options *options, struct mote_db **db, struct mote_error *error);
/* The same with another clock in place of CLOCK_REALTIME, by which rows expire (tests). */
int engine_open_at(struct blockdev *device, const struct mote_options *options, int64_t (*realtime_ns)(void *context), void *context, struct mote_db **db, struct mote_error *error);
/* As mote_calibrate, on an open handle (made with inline_io, or the engine's own threads disturb the figures). *calibration is filled. */
int engine_calibrate(struct mote_db *db, const struct mote_calibrate_options *options, struct mote_calibration *calibration);
/* As mote_receive, on an open device whose content may be destroyed (or is a volume that was received). It stays the caller's. */
int engine_receive(struct blockdev *device, const struct mote_receive_options *options, int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context), void *context, struct mote_transfer *transfer);
/* As mote_receive_token. */
int engine_receive_token(struct blockdev *device, char token[MOTE_TOKEN_BYTES]);
/* As mote_resize, on an open device; a volume that shrinks was closed cleanly. The device stays as it is, and the caller's. */
int engine_resize(struct blockdev *device, uint64_t size_bytes, bool dry_run, struct mote_resize_result *outcome);
/* Lets go of everything without writing: what a killed process would leave (tests; the device is not closed). */
struct blockdev *engine_abandon(struct mote_db *db);
/* The time index's answer and the brute force's, compared over every table (for tests): MOTE_OK, or MOTE_EDAMAGED with the first difference. */
int engine_check_timestamp_index(struct mote_db *db);

#endif
