/* recover_reader.h: the log as one sequence of bytes by LSN, read ahead by large requests. Private to wal/.
 *
 * READER_CHUNKS requests of at most 512 KiB are kept in flight or waiting in front of the position that is looked at, so that decoding and device work at the same time. A view is a pointer into
 * a chunk, or, where it crosses chunks, into one assembly buffer. Views go forward; going back is a seek, which reads anew.
 *
 * A failed read is repeated once, unit by unit (reads may be repeated; writes and barriers never are). Units that fail again are the error MOTE_EIO with their place, or, for a recovery that
 * continues on damage, read as zeros and are remembered. Threads: one at a time. */
#ifndef MOTE_WAL_RECOVER_READER_H
#define MOTE_WAL_RECOVER_READER_H

#include "wal/wal.h"

enum { READER_CHUNKS = 4, READER_UNREADABLE_MAX = 256 };
enum { READER_UNMAPPED = 1 };

struct wal_reader_chunk {
    struct blockdev_request request;
    uint8_t *buffer;
    uint64_t lsn;
    uint32_t length_bytes;
    bool done;
};

struct wal_reader {
    struct wal_recovery *recovery; /* whose queue, memory, ranges and bytes_read are used */
    struct wal_reader_chunk chunks[READER_CHUNKS]; /* ring; [first, end) in LSN order */
    uint64_t first, end;
    uint32_t next_range; /* where the next chunk is read from */
    uint64_t next_lsn;
    uint32_t chunk_bytes;
    uint32_t inflight_count;
    uint8_t *assembly;
    uint64_t unreadable_lsn[READER_UNREADABLE_MAX];
    uint32_t unreadable_count;
};

int wal_reader_open(struct wal_reader *reader, struct wal_recovery *recovery);
void wal_reader_close(struct wal_reader *reader);
/* The next view is at lsn or behind it. */
int wal_reader_seek(struct wal_reader *reader, uint64_t lsn);
/* size_bytes bytes (at most the largest frame) at lsn. READER_UNMAPPED: they are not all in ranges that follow each other. MOTE_EIO, MOTE_ENODEV. The view lives until the next call. */
int wal_reader_view(struct wal_reader *reader, uint64_t lsn, uint32_t size_bytes, const uint8_t **data);
/* Whether any unit of [lsn, lsn + length) could not be read. */
bool wal_reader_is_unreadable(const struct wal_reader *reader, uint64_t lsn, uint64_t length_bytes);
/* The first mapped LSN at or above lsn; UINT64_MAX: none. */
uint64_t wal_reader_mapped_from(const struct wal_recovery *recovery, uint64_t lsn);
/* Where lsn lies on the device; 0 if it is not mapped. */
uint64_t wal_reader_device_offset(const struct wal_recovery *recovery, uint64_t lsn);

#endif
