/* receive_private.h: what the files of a receive share: receive.c (the whole), receive_check.c (what came, as it can be read). */
#ifndef MOTE_ENGINE_RECEIVE_PRIVATE_H
#define MOTE_ENGINE_RECEIVE_PRIVATE_H

#include "engine/engine_private.h"
#include "engine/receive_plan.h"

struct receive {
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct memory *memory;
    struct cache *cache;
    struct mote_receive_options options;
    struct mote_format_options format;
    struct stream_reader reader;
    struct plan plan;
    struct superblock superblock;
    struct wear_clock wear;
    struct manifest *manifest; /* the volume's; NULL while there is none */
    struct manifest *tried;    /* what it will be */
    struct sst_context sst;
    bool anew;                 /* there is no usable state yet */
    bool created, begun;       /* the image file was made by this call; something was written */
    struct manifest_receive record;
    uint8_t *chunk;            /* STREAM_CHUNK_BYTES */
    uint32_t item_crc;         /* of the item last taken */
    uint64_t unsaved_bytes, step_bytes;
    struct mote_transfer transfer;
};

/* ---- receive_check.c ---- */
/* What the item completes, a segment with its sections or a blob file, as it can be read from the device: every checksum of it. */
int receive_check(struct receive *receive, const struct plan_item *item);

#endif
