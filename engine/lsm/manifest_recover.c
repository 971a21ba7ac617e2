/* manifest_recover.c: reads the chain of frames that the superblock names, heals what is valid in one copy only, and tells a torn tail from damage.
 *
 * Verdicts, for the place where the next frame of the chain would be:
 *   valid in both copies        it counts
 *   valid in one                it counts, and is written to the other
 *   valid in neither            the chain ends, unless a frame with a later sequence of the same chain lies somewhere behind it: commits are serialised, so that frame was only written because
 *                               the missing one was durable: MOTE_EDAMAGED. If neither copy can even be read: MOTE_EIO
 * What an older lap left behind has a lower generation; an aborted snapshot lies in the other area. A frame that lost its power cut in both copies was never acknowledged.
 *
 * Memory: two windows of WINDOW_BYTES while it runs. Threads: one. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define WINDOW_BYTES (256u * 1024u)

/* What of an area is in memory, for each copy. */
struct scan {
    struct blockdev_queue *queue;
    const struct layout *layout;
    const uint8_t *uuid;
    uint64_t frame_bytes_max;
    uint8_t *window[2];
    unsigned area[2];
    uint64_t from_bytes[2], to_bytes[2]; /* of the area */
    uint64_t unreadable[2];              /* bit i: page i of the window could not be read and stands as zeros */
    bool failed[2];                      /* a page that could not be read was asked for, since cleared */
};
_Static_assert(WINDOW_BYTES / PAGE_BYTES <= 64, "a bit for each page of the window");

int manifest_write_copies(struct blockdev_queue *queue, const struct layout *layout, unsigned copy_mask, unsigned area, uint64_t offset_bytes, const uint8_t *bytes, uint64_t size_bytes)
{
    enum { BATCH = 16 };
    struct blockdev_request requests[BATCH], *pointers[BATCH], *done[BATCH];
    uint32_t request_bytes = blockdev_geometry(blockdev_queue_device(queue))->request_bytes_max;
    unsigned copies = (copy_mask & 1) + (copy_mask >> 1 & 1);
    assert(copies && blockdev_queue_inflight(queue) == 0);
    int result = MOTE_OK;
    for (uint64_t at = 0; at < size_bytes && !result;) {
        unsigned count = 0;
        for (; at < size_bytes && count + copies <= BATCH; at += requests[count - 1].length_bytes)
            for (unsigned copy = 0; copy < 2; copy++)
                if (copy_mask >> copy & 1) {
                    uint64_t left_bytes = size_bytes - at;
                    requests[count] = (struct blockdev_request){.op = BLOCKDEV_WRITE, .source = BLOCKDEV_SOURCE_MANIFEST};
                    requests[count].length_bytes = left_bytes < request_bytes ? (uint32_t)left_bytes : request_bytes;
                    requests[count].offset_bytes = layout_manifest_offset(layout, copy, area) + offset_bytes + at;
                    requests[count].buffer = (uint8_t *)(uintptr_t)(bytes + at);
                    pointers[count] = &requests[count];
                    count++;
                }
        for (unsigned submitted = 0, reaped = 0; reaped < count;) {
            int taken = submitted < count && !result ? blockdev_submit(queue, pointers + submitted, count - submitted) : 0;
            if (taken < 0)
                result = taken;
            else
                submitted += (unsigned)taken;
            if (reaped == submitted)
                break;
            int got = blockdev_reap(queue, 1, -1, done, BATCH);
            if (got < 0)
                return got;
            reaped += (unsigned)got;
        }
        for (unsigned i = 0; i < count && !result; i++)
            if (requests[i].result) {
                result = error_set_errno(requests[i].result, requests[i].system_errno, "cannot write %u bytes of the manifest at offset %" PRIu64 "; reopen the volume", requests[i].length_bytes,
                                         requests[i].offset_bytes);
                error_add_device(blockdev_path(blockdev_queue_device(queue)), requests[i].offset_bytes, requests[i].length_bytes);
            }
    }
    return result;
}

/* ---- Windows ---- */

static int scan_begin(struct scan *scan, struct blockdev_queue *queue, struct memory *memory, const struct superblock *superblock)
{
    *scan = (struct scan){.queue = queue, .layout = &superblock->layout, .uuid = superblock->uuid, .frame_bytes_max = manifest_frame_bytes_max(&superblock->layout)};
    for (unsigned copy = 0; copy < 2; copy++) {
        scan->window[copy] = memory_alloc_aligned(memory, WINDOW_BYTES, PAGE_BYTES);
        if (!scan->window[copy])
            return MOTE_EBUDGET;
    }
    return MOTE_OK;
}

static void scan_end(struct scan *scan, struct memory *memory)
{
    memory_free(memory, scan->window[0]);
    memory_free(memory, scan->window[1]);
}

/* Fills the copy's window from offset_bytes of the area on. Pages that cannot be read stand as zeros. MOTE_ENODEV and the like, never MOTE_EIO. */
static int fill_window(struct scan *scan, unsigned copy, unsigned area, uint64_t offset_bytes)
{
    uint64_t left_bytes = scan->layout->manifest_area_bytes - offset_bytes;
    uint64_t length_bytes = left_bytes < WINDOW_BYTES ? left_bytes : WINDOW_BYTES;
    uint64_t device_bytes = layout_manifest_offset(scan->layout, copy, area) + offset_bytes;
    scan->area[copy] = area;
    scan->from_bytes[copy] = offset_bytes;
    scan->to_bytes[copy] = offset_bytes + length_bytes;
    scan->unreadable[copy] = 0;
    int result = blockdev_read_range(scan->queue, device_bytes, scan->window[copy], length_bytes);
    if (result != MOTE_EIO)
        return result;
    for (uint64_t at = 0; at < length_bytes; at += PAGE_BYTES) {
        result = blockdev_read_range(scan->queue, device_bytes + at, scan->window[copy] + at, PAGE_BYTES);
        if (result && result != MOTE_EIO)
            return result;
        if (result) {
            memset(scan->window[copy] + at, 0, PAGE_BYTES);
            scan->unreadable[copy] |= 1ull << (at / PAGE_BYTES);
        }
    }
    return MOTE_OK;
}

/* length_bytes (whole pages, at most WINDOW_BYTES) of an area. */
static int scan_bytes(struct scan *scan, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t length_bytes, const uint8_t **bytes)
{
    assert(length_bytes <= WINDOW_BYTES && offset_bytes + length_bytes <= scan->layout->manifest_area_bytes);
    if (scan->area[copy] != area || offset_bytes < scan->from_bytes[copy] || offset_bytes + length_bytes > scan->to_bytes[copy]) {
        int result = fill_window(scan, copy, area, offset_bytes);
        if (result)
            return result;
    }
    uint64_t first = offset_bytes - scan->from_bytes[copy];
    for (uint64_t at = first; at < first + length_bytes; at += PAGE_BYTES)
        scan->failed[copy] |= scan->unreadable[copy] >> (at / PAGE_BYTES) & 1;
    *bytes = scan->window[copy] + first;
    return MOTE_OK;
}

/* Whether a valid frame of any chain begins at an offset of an area of one copy: 1, 0, or a negative MOTE_E. header_seen: the header alone is right. Its bytes go to target (may be NULL). */
static int read_frame(struct scan *scan, unsigned copy, unsigned area, uint64_t offset_bytes, struct manifest_frame *frame, bool *header_seen, uint8_t *target)
{
    const uint8_t *bytes;
    uint64_t room_bytes = scan->layout->manifest_area_bytes - offset_bytes;
    int result = scan_bytes(scan, copy, area, offset_bytes, PAGE_BYTES, &bytes);
    if (result)
        return result;
    *header_seen = manifest_frame_header(bytes, room_bytes < scan->frame_bytes_max ? room_bytes : scan->frame_bytes_max, frame);
    if (!*header_seen)
        return 0;
    uint32_t crc = manifest_frame_crc_begin(scan->uuid, area, offset_bytes);
    for (uint64_t at = 0, piece_bytes; at < frame->frame_bytes; at += piece_bytes) {
        piece_bytes = frame->frame_bytes - at < WINDOW_BYTES ? frame->frame_bytes - at : WINDOW_BYTES;
        result = scan_bytes(scan, copy, area, offset_bytes + at, piece_bytes, &bytes);
        if (result)
            return result;
        crc = manifest_frame_crc_add(crc, bytes, at, piece_bytes);
        if (target)
            memcpy(target + at, bytes, piece_bytes);
    }
    return crc == frame->crc;
}

/* ---- The chain ---- */

struct chain {
    uint64_t generation; /* of the frames after the first */
    uint64_t sequence;   /* of the frame that is looked for */
    uint64_t offset_bytes;
    uint32_t previous_crc;
    unsigned area;
};

static int report_damage(const struct manifest *manifest, const struct chain *chain, const char *what)
{
    uint64_t offset_bytes = layout_manifest_offset(&manifest->layout, 0, chain->area) + chain->offset_bytes;
    error_set(MOTE_EDAMAGED, "the manifest's frame %" PRIu64 " at offset %" PRIu64 " %s; salvage the volume with fsck", chain->sequence, offset_bytes, what);
    error_add_device(blockdev_path(manifest->device), offset_bytes, PAGE_BYTES);
    return MOTE_EDAMAGED;
}

static bool is_expected(const struct chain *chain, const struct manifest_frame *frame)
{
    if (frame->sequence != chain->sequence)
        return false;
    return chain->offset_bytes ? frame->kind == MANIFEST_FRAME_EDIT && frame->generation == chain->generation : frame->kind == MANIFEST_FRAME_SNAPSHOT;
}

/* The frame that comes next, into manifest->frame, healed: 1; 0: valid in neither copy. */
static int next_frame(struct manifest *manifest, struct scan *scan, const struct chain *chain, struct manifest_frame *frame)
{
    struct manifest_frame found[2];
    bool valid[2], header_seen;
    scan->failed[0] = scan->failed[1] = false;
    for (unsigned copy = 0; copy < 2; copy++) {
        /* A frame of an older lap is as good as none. The bytes are taken from the first copy that has the frame. */
        int result = read_frame(scan, copy, chain->area, chain->offset_bytes, &found[copy], &header_seen, copy == 1 && valid[0] ? NULL : manifest->frame);
        if (result < 0)
            return result;
        valid[copy] = result == 1 && is_expected(chain, &found[copy]);
    }
    if (!valid[0] && !valid[1]) {
        if (scan->failed[0] && scan->failed[1])
            return error_set(MOTE_EIO, "neither copy of the manifest's frame %" PRIu64 " can be read; salvage the volume with fsck", chain->sequence);
        return 0;
    }
    if (valid[0] && valid[1] && found[0].crc != found[1].crc)
        return report_damage(manifest, chain, "differs between its two valid copies");
    *frame = found[valid[0] ? 0 : 1];
    if (chain->offset_bytes && frame->previous_crc != chain->previous_crc)
        return report_damage(manifest, chain, "does not follow the frame before it");
    if (valid[0] && valid[1])
        return 1;
    if (manifest->read_only)
        return 1;
    int result = manifest_write_copies(manifest->queue, &manifest->layout, valid[0] ? 2 : 1, chain->area, chain->offset_bytes, manifest->frame, frame->frame_bytes);
    return result ? result : 1;
}

static int apply_frame(struct manifest *manifest, const struct chain *chain, const struct manifest_frame *frame)
{
    struct stage stage;
    manifest_stage_begin(manifest, &stage, frame->kind, true, frame->counters);
    int result = manifest_stage_apply(&stage, manifest->frame + MANIFEST_HEADER_BYTES, frame->payload_bytes, frame->record_count);
    if (!result) {
        stage.state->sequence = frame->sequence;
        manifest_stage_install(&stage, NULL, NULL, NULL);
        return MOTE_OK;
    }
    manifest_stage_rollback(&stage);
    if (result == MOTE_EBUDGET)
        return result;
    struct mote_error cause;
    error_get(&cause);
    char what[sizeof cause.message];
    snprintf(what, sizeof what, "makes no sense: %.300s", cause.message);
    return report_damage(manifest, chain, what);
}

/* MOTE_EDAMAGED if a later frame of the chain lies at or behind the place where the chain ends. */
static int check_nothing_follows(struct manifest *manifest, struct scan *scan, const struct chain *chain)
{
    for (unsigned copy = 0; copy < 2; copy++)
        for (uint64_t at = chain->offset_bytes; at < manifest->layout.manifest_area_bytes; at += PAGE_BYTES) {
            struct manifest_frame frame;
            const uint8_t *bytes;
            bool header_seen;
            int result = scan_bytes(scan, copy, chain->area, at, PAGE_BYTES, &bytes);
            if (!result && (!manifest_frame_header(bytes, manifest->layout.manifest_area_bytes - at, &frame) || frame.generation != chain->generation || frame.sequence < chain->sequence))
                continue;
            if (!result)
                result = read_frame(scan, copy, chain->area, at, &frame, &header_seen, NULL);
            if (result < 0)
                return result;
            if (result)
                return report_damage(manifest, chain, "is valid in neither copy, but later ones are");
        }
    return MOTE_OK;
}

/* The area that is not in use: it may hold a snapshot whose superblock was never written, but no edit that follows one of this superblock's generation or above: that superblock would be lost. */
static int check_other_area(struct manifest *manifest, struct scan *scan)
{
    uint64_t generation = manifest->superblock->generation;
    struct chain chain = {.area = 1 - manifest->superblock->manifest_area};
    for (unsigned copy = 0; copy < 2; copy++) {
        struct manifest_frame first, second;
        bool header_seen;
        int result = read_frame(scan, copy, chain.area, 0, &first, &header_seen, NULL);
        if (result < 0)
            return result;
        if (!result || first.kind != MANIFEST_FRAME_SNAPSHOT)
            continue;
        chain.sequence = first.sequence;
        manifest->generation_seen = first.generation > manifest->generation_seen ? first.generation : manifest->generation_seen;
        if (first.generation > generation)
            return report_damage(manifest, &chain, "is newer than the superblock");
        if (first.generation < generation || first.frame_bytes >= manifest->layout.manifest_area_bytes)
            continue;
        result = read_frame(scan, copy, chain.area, first.frame_bytes, &second, &header_seen, NULL);
        if (result < 0)
            return result;
        if (result && second.kind == MANIFEST_FRAME_EDIT && second.generation == first.generation && second.sequence == first.sequence + 1)
            return report_damage(manifest, &chain, "is newer than the superblock");
    }
    return MOTE_OK;
}

static int recover_chain(struct manifest *manifest, struct scan *scan)
{
    const struct superblock *superblock = manifest->superblock;
    struct chain chain = {.sequence = superblock->manifest_sequence, .area = superblock->manifest_area};
    struct manifest_frame frame;
    int result;
    while ((result = chain.offset_bytes < manifest->layout.manifest_area_bytes ? next_frame(manifest, scan, &chain, &frame) : 0) == 1) {
        if (!chain.offset_bytes && frame.generation > superblock->generation)
            return report_damage(manifest, &chain, "is newer than the superblock");
        result = apply_frame(manifest, &chain, &frame);
        if (result)
            return result;
        chain.generation = frame.generation;
        chain.previous_crc = frame.crc;
        chain.offset_bytes += frame.frame_bytes;
        chain.sequence++;
    }
    if (result < 0)
        return result;
    if (!chain.offset_bytes)
        return report_damage(manifest, &chain, "is valid in neither copy, and the superblock points to it");
    manifest->area = chain.area;
    manifest->next_offset_bytes = chain.offset_bytes;
    manifest->generation = chain.generation;
    manifest->generation_seen = chain.generation;
    manifest->last_crc = chain.previous_crc;
    return check_nothing_follows(manifest, scan, &chain);
}

int manifest_recover(struct manifest *manifest)
{
    struct manifest_state *state = &manifest->state;
    if (manifest->superblock->manifest_area > 1)
        return error_set(MOTE_EDAMAGED, "the superblock names manifest area %u of two", manifest->superblock->manifest_area);
    state->next_segment_id = state->next_table_id = state->next_column_id = state->next_run_id = state->next_section_id = 1;
    struct scan scan;
    int result = scan_begin(&scan, manifest->queue, manifest->memory, manifest->superblock);
    if (!result)
        result = recover_chain(manifest, &scan);
    if (!result)
        result = check_other_area(manifest, &scan);
    scan_end(&scan, manifest->memory);
    /* What was healed, and what was read but may be in the device's cache only, must outlive every later crash once it was used. */
    if (!result && !manifest->read_only)
        result = blockdev_flush(manifest->queue);
    atomic_init(&manifest->counters[MANIFEST_COUNTER_SEGMENT], state->next_segment_id);
    atomic_init(&manifest->counters[MANIFEST_COUNTER_TABLE], state->next_table_id);
    atomic_init(&manifest->counters[MANIFEST_COUNTER_COLUMN], state->next_column_id);
    atomic_init(&manifest->counters[MANIFEST_COUNTER_RUN], state->next_run_id);
    atomic_init(&manifest->counters[MANIFEST_COUNTER_SECTION], state->next_section_id);
    return result;
}

int manifest_walk(struct blockdev_queue *queue, struct memory *memory, const struct superblock *superblock,
                  void (*visit)(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence, uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid), void *context)
{
    struct scan scan;
    int result = scan_begin(&scan, queue, memory, superblock);
    for (unsigned i = 0; i < 4 && !result; i++)
        for (uint64_t at = 0; at < superblock->layout.manifest_area_bytes && !result;) {
            struct manifest_frame frame;
            bool header_seen = false;
            int valid = read_frame(&scan, i / 2, i % 2, at, &frame, &header_seen, NULL);
            if (valid < 0)
                result = valid;
            else if (header_seen)
                visit(context, i / 2, i % 2, at, frame.sequence, frame.generation, frame.kind, frame.frame_bytes, valid == 1);
            at += valid == 1 ? frame.frame_bytes : PAGE_BYTES;
        }
    scan_end(&scan, memory);
    return result;
}
