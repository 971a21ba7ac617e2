/* receive_plan.h: what a receive is going to do, worked out in memory before a byte is written: which of a stream's items the device has already, where the others go, and the state that this leads to.
 *
 * The journal: the plan's image (the state's records, placed) with its items, in a run of extents that nothing else refers to; the manifest's record of the receive has its place, length and checksum, and how many items are durable. So a later receive, of this stream
 * or of one that goes on from it, finds what is there.
 *
 *   journal   offset size field
 *                  0    4 bytes of the image
 *                  4    4 places
 *                  8      the image: records as in a snapshot of the manifest
 *                         for each place u32: 0 it was there before this receive began; n it is there once n items of the stream are done. Two places for each segment of the image (itself, its timestamp section), one for each section and each blob file
 *
 * Items are in the order of the stream; those that it does not carry are not among them. A blob file that the stream carries is there only if it came with this very stream: another one's may be shorter. So it may be on the device twice for a while.
 * Threads: one. Failures: MOTE_EINVAL (an increment that does not fit), MOTE_ENOSPC, MOTE_EBUDGET, MOTE_EDAMAGED.
 */
#ifndef MOTE_ENGINE_RECEIVE_PLAN_H
#define MOTE_ENGINE_RECEIVE_PLAN_H

#include "engine/stream.h"

struct plan_segment {
    struct segment_record record;
    bool carried, had;
    bool timestamp_carried, timestamp_had;
};
struct plan_section {
    struct index_section section;
    bool carried, had;
};
struct plan_blob {
    uint64_t id, table_id, bytes;
    struct extent_run run;
    bool carried, had;
    bool of_journal; /* of what the device has: not in its state, or come again since */
};
struct plan_item {
    enum stream_item_type type;
    uint64_t segment_id, index_id, bytes; /* segment_id: or the blob file's */
    struct extent_run run; /* where it goes */
    bool had;
    bool last_of_segment;
};

struct plan {
    struct memory *memory;
    struct stream_begin begin;
    uint8_t *catalog;
    uint32_t catalog_records, catalog_bytes;
    struct plan_segment *segments;
    uint32_t segment_count;
    struct plan_section *sections;
    uint32_t section_count;
    struct plan_blob *blobs;
    uint32_t blob_count;
    struct blob_use *uses;
    uint32_t use_count;
    /* What the device has: segments, sections and blob files of its state, and of a receive that was cut. Ascending ids once sorted. */
    struct plan_segment *had_segments;
    uint32_t had_segment_count;
    struct plan_section *had_sections;
    uint32_t had_section_count;
    struct plan_blob *had_blobs;
    uint32_t had_blob_count;
    bool same_stream; /* the receive that was cut was of this stream: whoever calls plan_device says so before */
    struct plan_item *items;
    uint32_t item_count, had_item_count;
    struct layout layout;
    uint64_t *taken; /* a bit an extent */
    struct extent_run journal;
    struct manifest_image image;
};

void plan_free(struct plan *plan);
/* The stream's records up to PLANNED. */
int plan_read(struct plan *plan, struct stream_reader *reader);
/* The device: its layout, what its state holds (manifest NULL: nothing), and the journal of a receive that was cut (bytes NULL: none) with the number of items that were durable. */
int plan_device(struct plan *plan, const struct layout *layout, struct manifest *manifest, const uint8_t *journal, uint32_t journal_bytes, uint32_t done_count);
/* Places everything and makes the image; path is for sentences. */
int plan_make(struct plan *plan, struct manifest *manifest, const char *path);
/* The journal's bytes, memory_alloc_aligned, zeros up to a multiple of PAGE_BYTES. */
int plan_journal(const struct plan *plan, uint8_t **bytes, uint32_t *size_bytes);

/* ---- receive_had.c, for receive_plan.c ---- */
void plan_take_run(struct plan *plan, struct extent_run run);
/* What the device has of it goes into it. */
void plan_find_segment(const struct plan *plan, struct plan_segment *segment);
void plan_find_section(const struct plan *plan, struct plan_section *section);
void plan_find_blob(const struct plan *plan, struct plan_blob *blob);
#define PLAN_PLACE_NEVER UINT32_MAX

#endif
