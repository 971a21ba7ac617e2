/* compact.c: some segments of one table into one sorted run (lsm.h).
 *
 * The inputs are dealt into lanes, each a sequence of segments that do not overlap, so that a lane needs one iterator however many segments it has.
 * Space: the outputs are reserved at a little more than the inputs' size; should that not do (the rows compress worse in their new order), the job starts over with more.
 * Reading and writing go on at the same time and have a queue each: an iterator needs an idle one.
 * What is read is counted against the manifest before anything is committed: a segment that yields fewer rows than it had must not lose them for good.
 * Failures leave everything as it was, but for retired extents; MOTE_ENOTABLE, MOTE_ENOTFOUND: the table was dropped meanwhile.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "blockdev/base/units.h"

#define IMAGE_BYTES_MAX (MOTE_ROW_BYTES_MAX + SCHEMA_ENCODED_BYTES_MAX) /* a row of an older version, with the defaults of newer columns */

#define READ_DEPTH 16u
#define PACE_ROWS 8192u

struct compact_work {
    const struct lsm_job_context *job;
    struct lsm_compaction *compaction;
    struct extent_reservation reservation;
    struct lsm_bad bad;
    struct lsm_output output;
    struct merge *merge;
    struct sst_ahead *ahead; /* NULL: none */
    struct blockdev_queue *own_queue; /* for reading, if the caller gave none */
    struct lsm_origins *origins; /* of the segments in lanes; NULL: no index wants them */
    uint32_t lane_segments[LSM_INPUTS_MAX], lane_rows[LSM_INPUTS_MAX]; /* which of a lane's segments is read, and how many of its rows were */
    uint8_t *image; /* IMAGE_BYTES_MAX: one row */
    uint64_t rows_expected;
    uint32_t lane_count;
    uint32_t lane_sizes[LSM_INPUTS_MAX];
    struct segment *segments[LSM_INPUTS_MAX]; /* lane by lane */
    struct sst_iterator *iterators[LSM_INPUTS_MAX];
};

static int compare_keys(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    int order = key_compare(x->min_key.bytes, x->min_key.length, y->min_key.bytes, y->min_key.length);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Fills lane_count, lane_sizes and segments. Segments of one run follow each other even where their bounds, cut to a prefix, touch: their rows do not overlap. */
static void deal_lanes(struct compact_work *work)
{
    uint32_t count = work->compaction->input_count;
    struct segment *sorted[LSM_INPUTS_MAX], *last[LSM_INPUTS_MAX];
    uint32_t lane_of[LSM_INPUTS_MAX];
    memcpy(sorted, work->compaction->inputs, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_keys);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lane = 0;
        while (lane < work->lane_count && last[lane]->record.run_id != sorted[i]->record.run_id && segment_overlap(&last[lane]->record, &sorted[i]->record))
            lane++;
        if (lane == work->lane_count)
            work->lane_count++;
        last[lane] = sorted[i];
        lane_of[i] = lane;
        work->lane_sizes[lane]++;
    }
    for (uint32_t lane = 0, at = 0; lane < work->lane_count; lane++)
        for (uint32_t i = 0; i < count; i++)
            if (lane_of[i] == lane)
                work->segments[at++] = sorted[i];
}

static int allocate(struct compact_work *work)
{
    const struct lsm_job_context *job = work->job;
    struct memory *memory = job->sst->memory;
    int result = merge_create(memory, work->lane_count, &work->merge);
    if (!result && !job->read_queue) {
        struct blockdev_queue_options options = {.depth = READ_DEPTH};
        result = blockdev_queue_create(job->sst->device, &options, &work->own_queue);
    }
    struct blockdev_queue *read_queue = job->read_queue ? job->read_queue : work->own_queue;
    for (uint32_t i = 0; i < work->lane_count && !result; i++)
        result = sst_iterator_create(job->sst, read_queue, &work->iterators[i]);
    /* Without memory for it the inputs are read block by block, through the cache. */
    if (!result && sst_ahead_create(job->sst, &work->ahead))
        work->ahead = NULL;
    for (uint32_t i = 0; i < work->lane_count && !result; i++)
        sst_iterator_set_ahead(work->iterators[i], work->ahead);
    if (result)
        return result;
    work->image = memory_alloc_aligned(memory, IMAGE_BYTES_MAX, 16);
    if (work->image && lsm_has_indexes(job->manifest, work->compaction->schema->table_id))
        result = lsm_origins_create(memory, work->segments, work->compaction->input_count, &work->origins);
    return work->image ? result : MOTE_EBUDGET;
}

static void release(struct compact_work *work)
{
    lsm_origins_destroy(work->origins);
    memory_free(work->job->sst->memory, work->image);
    for (uint32_t i = 0; i < work->lane_count; i++)
        if (work->iterators[i])
            sst_iterator_destroy(work->iterators[i]);
    sst_ahead_destroy(work->ahead);
    if (work->own_queue)
        blockdev_queue_destroy(work->own_queue);
    merge_destroy(work->merge);
    extents_unreserve(work->job->sst->extents, &work->reservation);
}

/* Eighths of the inputs' size that the attempts reserve, one after the other. */
static const uint32_t reserve_eighths[] = {9, 16, 32};
#define RESERVE_STEPS (sizeof reserve_eighths / sizeof reserve_eighths[0])

static int reserve(struct compact_work *work, unsigned step)
{
    const struct lsm_job_context *job = work->job;
    struct extents *extents = job->sst->extents;
    uint64_t bytes = work->compaction->bytes_in / 8 * reserve_eighths[step];
    uint64_t segments = 1 + 2 * bytes / lsm_segment_bytes(job, work->compaction->schema);
    bytes += segments * sst_bytes_bound(work->compaction->schema, job->block_rows, 0, 0);
    uint64_t count = divide_up(bytes, job->sst->layout->extent_bytes) + segments;
    extents_unreserve(extents, &work->reservation);
    uint32_t wanted = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    int result = extents_reserve(extents, wanted, false, &work->reservation);
    /* Space comes from compaction at last: it may take of the standing reserve what nobody else may. */
    if (result)
        result = extents_reserve(extents, wanted, true, &work->reservation);
    work->compaction->extents_reserved = result ? work->compaction->extents_reserved : wanted;
    return result;
}

/* Tells the output which row of which input comes next: each lane's rows come one after the other, none is left out. */
static void follow_origin(struct compact_work *work)
{
    uint32_t lane = merge_source(work->merge), *at = &work->lane_segments[lane], *rows = &work->lane_rows[lane];
    uint64_t segment_id = sst_segment_id(work->iterators[lane]);
    for (; work->segments[*at]->record.id != segment_id; (*at)++) {
        assert(*at + 1 < work->compaction->input_count);
        *rows = 0;
    }
    work->origins->input = *at;
    work->origins->ordinal = (*rows)++;
}

static int move_row(const struct compact_work *work, const struct schema **image_schema, const uint8_t **image, uint32_t *image_bytes)
{
    const uint8_t *moved;
    uint32_t moved_bytes;
    int result = work->job->move_row(work->job->move_context, work->compaction->schema, *image_schema, *image, &moved, &moved_bytes);
    if (result || !moved)
        return result;
    *image = moved;
    *image_bytes = moved_bytes;
    *image_schema = work->compaction->schema;
    return MOTE_OK;
}

static int merge_rows(struct compact_work *work)
{
    struct merge *merge = work->merge;
    bool followed = work->output.indexes.any_merged;
    merge_reset(merge, MERGE_ALL, false, UINT64_MAX, work->compaction->schema);
    int result = MOTE_OK;
    for (uint32_t lane = 0, at = 0; lane < work->lane_count && !result; at += work->lane_sizes[lane], lane++) {
        result = merge_add_segments(merge, work->iterators[lane], work->segments + at, work->lane_sizes[lane]);
        work->lane_segments[lane] = at;
        work->lane_rows[lane] = 0;
    }
    int found = result ? result : merge_seek(merge, NULL, 0);
    uint32_t unpaced_rows = 0; /* rows that are left out are work as well, of which the output does not know */
    for (; found == 1 && !result; found = result ? 0 : merge_next(merge)) {
        struct record record;
        const struct schema *image_schema = NULL;
        const uint8_t *image = NULL;
        uint32_t image_bytes = 0;
        result = merge_record(merge, &record);
        if (!result && followed)
            follow_origin(work);
        if (!result && ++unpaced_rows >= PACE_ROWS && work->job->pace) {
            unpaced_rows = 0;
            result = work->job->pace(work->job->pace_context, 0);
        }
        if (result || !lsm_output_wants(&work->output, &record))
            continue;
        if (record.kind == RECORD_PUT)
            result = merge_image(merge, work->image, IMAGE_BYTES_MAX, &image_schema, &image, &image_bytes);
        if (!result && image && work->job->move_row && work->compaction->schema->has_large)
            result = move_row(work, &image_schema, &image, &image_bytes);
        if (!result)
            result = lsm_output_add(&work->output, &record, image_schema, image, image_bytes, true);
    }
    return result ? result : found;
}

static int write_once(struct compact_work *work, bool unindexed)
{
    struct lsm_output *output = &work->output;
    *output = (struct lsm_output){.job = work->job, .schema = work->compaction->schema, .reservation = &work->reservation, .source = BLOCKDEV_SOURCE_COMPACTION, .level = work->compaction->level,
                                  .rows_max = work->rows_expected, .bottom = work->compaction->bottom, .outside = work->compaction->outside, .outside_count = work->compaction->outside_count,
                                  .origins = work->origins, .unindexed = unindexed};
    int result = lsm_output_begin(output);
    if (!result)
        result = merge_rows(work);
    if (!result && output->rows_seen != work->rows_expected) {
        result = error_set(MOTE_EDAMAGED, "the segments of table %s hold %" PRIu64 " rows, and the manifest says %" PRIu64 "; run fsck.mote", work->compaction->schema->name, output->rows_seen,
                           work->rows_expected);
        error_add_table(work->compaction->schema->name);
    }
    return result ? result : lsm_output_finish(output);
}

static int write_outputs(struct compact_work *work)
{
    unsigned step = 0;
    bool unindexed = false;
    int result = reserve(work, step);
    while (!result) {
        result = write_once(work, unindexed);
        if (!result)
            return MOTE_OK;
        bool lacks_memory = lsm_indexes_lack_memory(&work->output, result);
        unindexed |= lacks_memory;
        lsm_output_end(&work->output, false);
        if (result == MOTE_ENOSPC && step + 1 < RESERVE_STEPS)
            step++;
        else if (!lacks_memory && !lsm_retire(work->job, &work->output, result, &work->bad))
            return result;
        result = reserve(work, step);
    }
    return result;
}

/* Of the rows; sections have reservations of their own. */
static uint64_t taken_extents(const struct lsm_output *output)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < output->record_count; i++)
        for (uint32_t k = 0; k < output->records[i].extent_run_count; k++)
            count += output->records[i].runs[k].count;
    return count;
}

static int commit_once(struct compact_work *work)
{
    assert(taken_extents(&work->output) <= work->compaction->extents_reserved);
    struct manifest_edit *edit;
    int result = manifest_edit_begin(work->job->manifest, &edit);
    if (result)
        return result;
    for (uint32_t i = 0; i < work->compaction->input_count; i++)
        manifest_edit_remove_segment(edit, work->compaction->inputs[i]->record.id);
    lsm_add_segments(edit, &work->output);
    lsm_add_bad(edit, &work->bad);
    return manifest_commit(edit, NULL, NULL);
}

static int commit(struct compact_work *work)
{
    int result = work->output.record_count ? blockdev_flush(work->job->queue) : MOTE_OK;
    if (result)
        return result;
    do
        result = commit_once(work);
    while (result && lsm_indexes_give_up(&work->output, result));
    return result;
}

static bool same_key(const struct segment_key *a, const struct segment_key *b) { return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0; }

/* Whether each output is what an input was: then the next job would be the same one. */
static bool is_in_vain(const struct compact_work *work)
{
    uint32_t same = 0;
    for (uint32_t i = 0; i < work->output.record_count; i++)
        for (uint32_t k = 0; k < work->compaction->input_count; k++) {
            const struct segment_record *made = &work->output.records[i], *input = &work->compaction->inputs[k]->record;
            same += made->row_count == input->row_count && same_key(&made->min_key, &input->min_key) && same_key(&made->max_key, &input->max_key);
        }
    return same >= work->compaction->input_count && work->output.record_count == work->compaction->input_count;
}

int lsm_compact(const struct lsm_job_context *job, struct lsm_compaction *compaction)
{
    assert(compaction->input_count && compaction->input_count <= LSM_INPUTS_MAX && compaction->schema);
    struct compact_work *work = memory_alloc_zero(job->sst->memory, sizeof *work);
    if (!work)
        return MOTE_EBUDGET;
    work->job = job;
    work->compaction = compaction;
    compaction->rows_in = compaction->rows_out = compaction->bytes_in = compaction->bytes_out = 0;
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        work->rows_expected += compaction->inputs[i]->record.row_count;
        compaction->bytes_in += compaction->inputs[i]->record.segment_bytes;
    }
    deal_lanes(work);
    int result = allocate(work);
    if (!result)
        result = write_outputs(work);
    if (!result)
        result = commit(work);
    if (!result) {
        compaction->rows_in = work->rows_expected;
        compaction->rows_out = work->output.rows_written;
        compaction->bytes_out = work->output.bytes_written;
        compaction->in_vain = is_in_vain(work);
    }
    /* After a commit that failed halfway the edit may be durable: its extents must not be written again. */
    if (work->output.job)
        lsm_output_end(&work->output, !result || manifest_poisoned(job->manifest, NULL));
    release(work);
    memory_free(job->sst->memory, work);
    return result;
}
