/* send_private.h: what the files of a send share: send.c (the state, its items), send_check.c (what is held against its checksums before it goes), send_list.c (what the stream lists before its items). */
#ifndef MOTE_ENGINE_SEND_PRIVATE_H
#define MOTE_ENGINE_SEND_PRIVATE_H

#include <string.h>

#include "engine/blob.h"
#include "engine/stream.h"

struct sending {
    struct segment *segment; /* NULL: let go */
    const struct schema *schema;
    bool carried, timestamp_carried;
    bool values_checked; /* those in blob files that are carried */
    uint32_t sections, sections_carried; /* a bit for each of the segment's: sent along; those that failed a check are not */
};

struct send {
    struct mote_db *db;
    struct mote_send_options options;
    struct blockdev_queue *queue;
    struct manifest_image image;
    struct stream_begin begin;
    struct manifest_point from;
    struct stream_writer writer;
    struct mote_transfer transfer;
    struct sending *segments;
    struct blob_copy *files; /* begin.blob_count: held, until each was sent */
    uint8_t *buffer; /* STREAM_CHUNK_BYTES */
};

/* The least id of a blob file that an increment's receiver lacks, or to which something was written since; a whole stream carries all. */
static inline uint64_t send_first_file(const struct send *send)
{
    static const uint8_t none[16];
    return memcmp(send->from.id, none, sizeof none) == 0 ? 0 : send->from.section_mark;
}

static inline bool send_is_file_carried(const struct send *send, const struct blob_copy *copy) { return copy->file->id >= send_first_file(send); }

/* ---- send.c ---- */
/* The caller's progress function; non-zero stops. */
int send_tell(struct send *send);

/* ---- send_check.c ---- */
/* Everything that the volume says of the segment is held against it before its first byte goes. */
int send_check_segment(struct send *send, const struct sending *sending);
/* A section that fails is not sent by the next attempt, but built anew by either side. */
int send_check_section(struct send *send, struct segment *segment, struct segment_index *index);
/* The large values of the segments that refer to the file, if it is carried. MOTE_EDAMAGED tells the value and its row. */
int send_check_file(struct send *send, const struct blob_copy *copy);

/* ---- send_list.c ---- */
/* The catalog, segments, sections, blob files and their uses. */
int send_lists(struct send *send);

#endif
