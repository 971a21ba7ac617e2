/* backup.h: a volume with states (states.h), indexes, a named snapshot and deletes on a simulated disk, its streams in memory, and volumes made of them. Failures of what is set up abort (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_BACKUP_H
#define MOTE_TESTS_SUPPORT_BACKUP_H

#include "tests/support/states.h"

/* Bytes of a stream; taking them begins at `at`, and stops (with MOTE_EIO) where `fail_at` is reached, if it is not 0. */
struct backup_stream {
    uint8_t *bytes;
    size_t size_bytes, capacity_bytes;
    size_t at, fail_at;
};

/* The table "frames" has a large value for each of the first keys of table 0 that have a row, which follows from that row's value: in its row, in one piece, or (extents of 64 KiB) in several. */
enum { BACKUP_FRAMES = 6, BACKUP_FRAME_BYTES_MAX = 150000 };
/* Whether the frames are those of the state, byte for byte. */
bool backup_frames_equal(mote_db *db, const struct state *state);

int backup_write(const void *data, size_t size_bytes, void *stream);
int backup_read(void *data, size_t size_max, size_t *size_bytes, void *stream);
void backup_free(struct backup_stream *stream);

/* Tables with a column index each, the frames, and `rounds` rounds of changes with flushes, compactions and a named snapshot "n<round>" in between. */
void backup_fill(mote_db *db, struct state_tables *tables, uint32_t rounds, uint64_t *random, struct state *state);
void backup_send(mote_db *db, const char *from, const char *as, struct backup_stream *stream, struct mote_transfer *transfer);
int backup_receive(struct blockdev *device, struct backup_stream *stream, struct mote_transfer *transfer);
/* The device, opened (read-only or not) and closed again, holds this; every checksum is right. */
void backup_expect(struct blockdev *device, const struct mote_options *options, bool read_only, const struct state *expected);
struct blockdev *backup_device(uint64_t size_bytes);

#endif
