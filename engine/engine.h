/* engine.h: opening a volume on a device that is open already: what mote_open does after it opened the path, for tests on simulated devices. */
#ifndef MOTE_ENGINE_ENGINE_H
#define MOTE_ENGINE_ENGINE_H

#include "blockdev/blockdev.h"
#include "include/mote.h"

/* As mote_format, on an open device whose content has been checked. */
int engine_format(struct blockdev *device, const struct mote_format_options *options, struct mote_layout *layout);
/* As mote_open. The device belongs to the handle when this succeeds: mote_close closes it. On failure it stays the caller's. */
int engine_open(struct blockdev *device, const struct mote_options *options, struct mote_db **db, struct mote_error *error);
/* As mote_calibrate, on an open handle (made with inline_io, or the engine's own threads disturb the figures). *calibration is filled. */
int engine_calibrate(struct mote_db *db, const struct mote_calibrate_options *options, struct mote_calibration *calibration);
/* Lets go of everything without writing: what a killed process would leave (tests; the device is not closed). */
struct blockdev *engine_abandon(struct mote_db *db);
/* The time index's answer and the brute force's, compared over every table (for tests): MOTE_OK, or MOTE_EDAMAGED with the first difference. */
int engine_check_timestamp_index(struct mote_db *db);

#endif
