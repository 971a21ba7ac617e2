/* sealed.c: see sealed.h. Reads that may fail: tolerant.c. */
#include "tests/support/sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim.h"
#include "engine/engine_private.h"
#include "tests/support/workload_private.h"
#include "wal/wal_format.h"

static void check(int result, const struct run *run, const char *what)
{
    if (!result)
        return;
    fprintf(stderr, "sealed: %s: %s\n", what, run->oracle.why);
    abort();
}

/* ---- Regions ---- */

static struct region *add_region(struct sealed *sealed, enum region_kind kind, uint64_t offset_bytes, uint64_t length_bytes)
{
    if (sealed->region_count == sealed->region_capacity) {
        sealed->region_capacity = sealed->region_capacity ? sealed->region_capacity * 2 : 256;
        sealed->regions = realloc(sealed->regions, sealed->region_capacity * sizeof *sealed->regions);
        if (!sealed->regions)
            abort();
    }
    struct region *region = &sealed->regions[sealed->region_count++];
    *region = (struct region){.kind = kind, .offset_bytes = offset_bytes, .length_bytes = length_bytes, .seq_from = 1};
    return region;
}

static void find_superblocks(struct sealed *sealed, const struct layout *layout)
{
    static const uint8_t empty[SUPERBLOCK_SLOT_BYTES];
    for (uint32_t copy = 0; copy < 2; copy++) {
        for (uint64_t slot = 0; slot < SUPERBLOCK_SLOTS; slot++) {
            uint64_t at = layout_slot_offset(layout, copy, slot);
            if (memcmp(sealed->image + at, empty, sizeof empty) != 0)
                add_region(sealed, REGION_SUPERBLOCK, at, SUPERBLOCK_SLOT_BYTES)->copy = copy;
        }
    }
}

struct manifest_walker {
    struct sealed *sealed;
    const struct layout *layout;
    unsigned area;
    uint64_t first_sequence, last_sequence; /* below the first: of an older lap */
};

static void visit_frame(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence, uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid)
{
    struct manifest_walker *walker = context;
    (void)generation;
    (void)kind;
    if (!valid || area != walker->area || sequence < walker->first_sequence)
        return;
    struct region *region = add_region(walker->sealed, REGION_MANIFEST, layout_manifest_offset(walker->layout, copy, area) + offset_bytes, length_bytes);
    region->copy = copy;
    region->lsn = sequence; /* which frame: the same in both copies */
    if (sequence > walker->last_sequence)
        walker->last_sequence = sequence;
}

static void find_manifest(struct sealed *sealed, mote_db *db)
{
    struct manifest_walker walker = {.sealed = sealed, .layout = &db->superblock.layout, .area = db->superblock.manifest_area, .first_sequence = db->superblock.manifest_sequence};
    if (manifest_walk(db->queue, db->memory, &db->superblock, visit_frame, &walker))
        abort();
    for (uint32_t i = 0; i < sealed->region_count; i++) {
        if (sealed->regions[i].kind == REGION_MANIFEST)
            sealed->regions[i].last = sealed->regions[i].lsn == walker.last_sequence;
    }
}

static void find_segments(struct sealed *sealed, mote_db *db)
{
    const struct layout *layout = &db->superblock.layout;
    struct version *version = version_acquire(db->manifest);
    for (uint32_t t = 0; t < version->count; t++) {
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment_record *record = &version->lists[t]->segments[s]->record;
            uint64_t left_bytes = record->segment_bytes;
            for (uint32_t r = 0; r < record->extent_run_count && left_bytes; r++) {
                uint64_t run_bytes = record->runs[r].count * layout->extent_bytes, part = run_bytes < left_bytes ? run_bytes : left_bytes;
                add_region(sealed, REGION_SEGMENT, layout_extent_offset(layout, record->runs[r].first), part);
                left_bytes -= part;
            }
            if (record->timestamp.run.count)
                add_region(sealed, REGION_SECTION, layout_extent_offset(layout, record->timestamp.run.first), record->timestamp.length_bytes);
        }
    }
    version_release(db->manifest, version);
}

/* The live log's frames, from the head on. */
static void find_frames(struct sealed *sealed, mote_db *db)
{
    const struct manifest_state *state = manifest_get_state(db->manifest);
    struct region *newest = NULL;
    for (uint32_t i = 0; i < state->log_range_count; i++) {
        const struct manifest_log_range *range = &state->log_ranges[i];
        uint64_t start = layout_extent_offset(&db->superblock.layout, range->run.first), length = range->run.count * db->superblock.layout.extent_bytes;
        for (uint64_t at = 0; at < length; at += PAGE_BYTES) {
            struct wal_frame frame;
            uint64_t lsn = range->lsn + at;
            if (lsn < state->head_lsn || wal_frame_decode(sealed->image + start + at, length - at, db->superblock.uuid, lsn, REQUEST_BYTES_MAX, &frame))
                continue;
            struct region *region = add_region(sealed, REGION_FRAME, start + at, WAL_FRAME_HEADER_BYTES + frame.payload_bytes);
            region->lsn = lsn;
            region->seq_from = frame.first_seq;
            region->seq_to = frame.first_seq + frame.count - 1;
            newest = region;
        }
    }
    if (newest)
        newest->last = true;
}

static void find_regions(struct sealed *sealed)
{
    struct mote_options options;
    uint64_t random = 1;
    struct mote_db *db;
    struct blockdev *device = sealed_device(sealed);
    profile_options(&sealed->profile, &random, &options);
    options.read_only = 1;
    options.memtable_count = 16;
    options.memory_bytes = 48 * MIB_BYTES;
    if (engine_open(device, &options, &db, NULL)) {
        struct mote_error error;
        mote_last_error(&error);
        fprintf(stderr, "sealed: a good image cannot be opened: %s\n", error.message);
        abort();
    }
    sealed->flushed_seq = atomic_load(&db->flushed_seq);
    find_superblocks(sealed, &db->superblock.layout);
    find_manifest(sealed, db);
    find_segments(sealed, db);
    find_frames(sealed, db);
    blockdev_close(engine_abandon(db));
}

/* ---- Making ---- */

static void work_on(struct run *run, uint32_t steps)
{
    check(run_open(run), run, "open");
    check(run_create_tables(run), run, "tables");
    for (uint32_t i = 0; i < steps; i++)
        check(run_step(run), run, "step");
}

/* What is in memory becomes durable, and a mark frame bears witness to it. A history may have dropped the table: it comes back. */
static void settle(struct run *run)
{
    check(run_create_tables(run), run, "tables once more");
    check(run_append_rows(run, "arm", 3, MOTE_DURABILITY_SYNC), run, "the last rows");
    for (int i = 0; i < 8; i++) {
        if (run->advance_clock)
            run->advance_clock(20 * NS_PER_MS);
        wal_pump(run->db->wal);
    }
}

void sealed_make(struct sealed *sealed, uint64_t seed, uint32_t steps, bool closed, void (*advance_clock)(int64_t ns))
{
    struct run run;
    struct blockdev *device;
    struct model *empty = model_create();
    memset(sealed, 0, sizeof *sealed);
    profile_choose(&sealed->profile, seed);
    sealed->profile.weights[ACTION_REOPEN] = sealed->profile.weights[ACTION_KILL] = 1;
    sealed->size_bytes = sealed->profile.device_bytes;
    struct sim_options options = {.size_bytes = sealed->size_bytes, .logical_block_bytes = sealed->profile.logical_block_bytes, .seed = seed, .reorder = sealed->profile.reorder};
    if (sim_create(&options, &device) || workload_format(device, &sealed->profile))
        abort();
    run_begin(&run, device, &sealed->profile, empty, &(struct promise){.clean = true}, seed);
    run.advance_clock = advance_clock;
    work_on(&run, steps);
    settle(&run);
    if (closed)
        check(run_close(&run), &run, "close");
    sealed->model = model_create();
    for (uint32_t i = 0; i < run.model->op_count; i++) { /* the run keeps its epochs no longer than itself */
        const struct model_op *op = run.model->ops[i];
        if (op->kind == MODEL_CREATE)
            model_create_table(sealed->model, op->schema, op->seq_last);
        else if (op->kind == MODEL_DROP)
            model_drop_table(sealed->model, op->table, op->seq_last);
        else if (op->kind == MODEL_ADD_COLUMN)
            model_add_column(sealed->model, op->table, &op->column, op->seq_last);
        else
            model_apply(sealed->model, model_op_copy(sealed->model, op), op->seq_last);
    }
    run_kill(&run);
    sealed->image = malloc(sealed->size_bytes);
    if (!sealed->image)
        abort();
    sim_read_content(device, false, sealed->image);
    run_free(&run);
    model_destroy(empty);
    blockdev_close(device);
    find_regions(sealed);
}

void sealed_free(struct sealed *sealed)
{
    free(sealed->image);
    free(sealed->regions);
    model_destroy(sealed->model);
    memset(sealed, 0, sizeof *sealed);
}

/* ---- Damage ---- */

struct blockdev *sealed_device(const struct sealed *sealed)
{
    struct blockdev *device;
    struct sim_options options = {.size_bytes = sealed->size_bytes, .logical_block_bytes = sealed->profile.logical_block_bytes, .seed = 1, .initial = sealed->image, .initial_borrowed = true};
    if (sim_create(&options, &device))
        abort();
    return device;
}

/* Reads the blocks around the range, lets `bytes` (NULL: nothing) replace it, flips a bit of its first byte (-1: none), writes them. */
static void patch_blocks(struct blockdev *device, uint64_t offset_bytes, const void *bytes, uint32_t length_bytes, int bit)
{
    struct blockdev_queue *queue;
    uint64_t from = round_down(offset_bytes, PAGE_BYTES), to = round_up(offset_bytes + length_bytes, PAGE_BYTES);
    uint8_t *blocks = aligned_alloc(PAGE_BYTES, to - from);
    if (!blocks || blockdev_queue_create(device, &(struct blockdev_queue_options){.depth = 8}, &queue))
        abort();
    if (blockdev_read_range(queue, from, blocks, to - from))
        abort();
    if (bytes)
        memcpy(blocks + (offset_bytes - from), bytes, length_bytes);
    if (bit >= 0)
        blocks[offset_bytes - from] = (uint8_t)(blocks[offset_bytes - from] ^ 1u << bit);
    if (blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, from, blocks, to - from) || blockdev_flush(queue))
        abort();
    blockdev_queue_destroy(queue);
    free(blocks);
}

void device_patch(struct blockdev *device, uint64_t offset_bytes, const void *bytes, uint32_t length_bytes) { patch_blocks(device, offset_bytes, bytes, length_bytes, -1); }
void device_flip_bit(struct blockdev *device, uint64_t offset_bytes, uint32_t bit) { patch_blocks(device, offset_bytes, NULL, 1, (int)(bit % 8)); }

void device_fill(struct blockdev *device, uint64_t offset_bytes, uint32_t length_bytes, uint8_t with)
{
    uint8_t *bytes = malloc(length_bytes);
    if (!bytes)
        abort();
    memset(bytes, with, length_bytes);
    device_patch(device, offset_bytes, bytes, length_bytes);
    free(bytes);
}
