/* output.c: rows in (key, seq descending) order into segments of one table (lsm_private.h).
 *
 * Version keeping. The newest version of a key is kept, and of the others those that a live snapshot sees: the ones with a snapshot in [own seq, seq of the next newer version). At the bottom (of all keys, or of this one) a tombstone says nothing that absence does
 * not say as well, as long as no older version of its key is kept: it is held back until one comes, or the key ends.
 * Segments end between keys, so that those of one run do not overlap; should there be no room for all versions of a key, the next segment begins a run of its own.
 * Threads: the job's. Failures: the builder's; MOTE_EBUDGET; what pace returns.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

#define PACE_BYTES (128u * 1024u) /* of row images: 100 to 200 us of encoding */
#define BLOCK_BYTES_MAX (512u * 1024u)

int lsm_output_begin(struct lsm_output *output)
{
    const struct lsm_job_context *job = output->job;
    output->failed_extent = UINT32_MAX;
    output->held_capacity = job->snapshot_count + 2;
    output->run_id = manifest_take_run_id(job->manifest);
    output->outside_first = 0;
    int result = lsm_indexes_begin(output);
    if (result || !(output->bottom || output->outside_count))
        return result;
    output->held = memory_alloc(job->sst->memory, output->held_capacity * sizeof *output->held);
    return output->held ? MOTE_OK : MOTE_EBUDGET;
}

/* Whether a snapshot sees the version of seq, given that the next newer one has newer_seq. */
static bool snapshot_sees(const struct lsm_job_context *job, uint64_t seq, uint64_t newer_seq)
{
    uint32_t low = 0, high = job->snapshot_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (job->snapshots[middle] < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < job->snapshot_count && job->snapshots[low] < newer_seq;
}

/* Whether nothing outside the job may hold an older version. Keys ascend. */
static bool is_bottom(struct lsm_output *output, const struct record *record)
{
    if (output->bottom)
        return true;
    for (; output->outside_first < output->outside_count; output->outside_first++)
        if (segment_may_hold(&output->outside[output->outside_first]->record, record->key, record->key_bytes, NULL, 0))
            break;
    for (uint32_t i = output->outside_first; i < output->outside_count; i++) {
        const struct segment_record *outside = &output->outside[i]->record;
        if (key_compare(outside->min_key.bytes, outside->min_key.length, record->key, record->key_bytes) > 0)
            break;
        if (outside->seq_min < record->seq && segment_may_hold(outside, record->key, record->key_bytes, record->key, record->key_bytes))
            return false;
    }
    return output->outside_count > 0;
}

bool lsm_output_wants(struct lsm_output *output, const struct record *record)
{
    assert(record->key_bytes <= sizeof output->key);
    output->rows_seen++;
    bool same = output->has_key && output->key_bytes == record->key_bytes && !memcmp(output->key, record->key, record->key_bytes);
    bool wanted = true;
    if (same) {
        assert(record->seq < output->newer_seq);
        wanted = snapshot_sees(output->job, record->seq, output->newer_seq);
    } else {
        output->has_key = true;
        output->placed = false;
        output->held_count = 0;
        output->key_bytes = record->key_bytes;
        memcpy(output->key, record->key, record->key_bytes);
    }
    output->newer_seq = record->seq;
    if (wanted && record->kind == RECORD_DELETE && is_bottom(output, record)) {
        /* Each version but the newest is kept for another snapshot, so that there is room for all of them. */
        assert(output->held_count < output->held_capacity);
        output->held[output->held_count++] = record->seq;
        wanted = false;
    }
    return wanted;
}

static int create_builder(struct lsm_output *output)
{
    const struct lsm_job_context *job = output->job;
    struct sst_builder_options options = {
        .context = job->sst,
        .queue = job->queue,
        .schema = output->schema,
        .reservation = output->reservation,
        .source = output->source,
        .segment_id = manifest_take_segment_id(job->manifest),
        .run_id = output->run_id,
        .level = output->level,
        .block_rows = job->block_rows,
        .block_bytes_max = BLOCK_BYTES_MAX,
        .segment_bytes_max = lsm_segment_bytes(job, output->schema),
        .compression = job->compression,
    };
    /* Held tombstones were counted when they were seen, and come after. */
    uint64_t left = output->rows_max - output->rows_seen + output->held_count + 1;
    options.rows_max = left < UINT32_MAX ? left : UINT32_MAX;
    lsm_indexes_open(output, options.rows_max);
    options.feeds = output->indexes.feeds;
    options.feed_count = output->indexes.count;
    output->segment_id = options.segment_id;
    output->blob_use_first = output->blob_use_count;
    output->segment_rows = 0;
    output->stays = false;
    return sst_builder_create(&options, &output->builder);
}

static int finish_builder(struct lsm_output *output)
{
    struct memory *memory = output->job->sst->memory;
    if (output->record_count == output->record_capacity) {
        uint32_t capacity = output->record_capacity ? 2 * output->record_capacity : 4;
        struct segment_record *records = memory_realloc(memory, output->records, capacity * sizeof *records);
        if (!records)
            return MOTE_EBUDGET;
        output->records = records;
        output->record_capacity = capacity;
    }
    struct segment_record *record = &output->records[output->record_count];
    int result = sst_builder_finish(output->builder, record);
    if (result) {
        output->failed_extent = sst_builder_failed_extent(output->builder);
        return result;
    }
    sst_builder_destroy(output->builder);
    output->builder = NULL;
    output->record_count++;
    lsm_indexes_write(output, record->id);
    output->rows_written += record->row_count;
    output->bytes_written += record->segment_bytes;
    return MOTE_OK;
}

/* Whether the segment ends for the sake of its indexes. Each that does needs more space than one that goes on, of which a flush has reserved so much only: where that is not there the segment goes on, and an index is given up. */
static bool indexes_full(struct lsm_output *output)
{
    bool full = output->segment_rows >= output->indexes.segment_rows_max || sst_builder_feeds_full(output->builder) || (output->indexes.any_merged && lsm_origins_full(output->origins));
    if (!output->indexes.count || output->stays || !full)
        return false;
    if (output->raw_bytes_max) {
        uint64_t raw_bytes = output->raw_bytes_max > output->raw_bytes ? output->raw_bytes_max - output->raw_bytes : 0, rows = output->rows_max - output->rows_seen + output->held_count + 1;
        uint64_t left = (uint64_t)output->reservation->count + sst_builder_spare_extents(output->builder);
        output->stays = left < (uint64_t)lsm_extents_bound(output->job, output->schema, rows, raw_bytes) + output->extents_kept;
    }
    return !output->stays;
}

static bool segment_full(struct lsm_output *output) { return sst_builder_full(output->builder) || indexes_full(output); }

static int place_row(struct lsm_output *output, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy)
{
    int result = MOTE_OK;
    if (output->builder && (output->placed ? sst_builder_must_end(output->builder) : segment_full(output))) {
        result = finish_builder(output);
        if (!result && output->placed)
            output->run_id = manifest_take_run_id(output->job->manifest);
    }
    if (!result && !output->builder)
        result = create_builder(output);
    if (!result && image && output->schema->has_large)
        result = lsm_blobs_note(output, image_schema, image);
    if (result)
        return result;
    result = sst_builder_add(output->builder, record, image_schema, image, image_bytes, copy);
    if (result)
        output->failed_extent = sst_builder_failed_extent(output->builder);
    else if (image && output->indexes.any_merged)
        lsm_origins_note(output->origins, output->segment_rows);
    output->placed = true;
    output->segment_rows++;
    output->raw_bytes += image ? image_bytes : record->key_bytes;
    output->unpaced_bytes += record->key_bytes + image_bytes;
    return result;
}

static int pace(struct lsm_output *output)
{
    uint64_t bytes = output->unpaced_bytes;
    if (bytes < PACE_BYTES)
        return MOTE_OK;
    output->unpaced_bytes = 0;
    return output->job->pace ? output->job->pace(output->job->pace_context, bytes) : MOTE_OK;
}

int lsm_output_add(struct lsm_output *output, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < output->held_count && !result; i++) {
        struct record tombstone = {.key = output->key, .key_bytes = output->key_bytes, .kind = RECORD_DELETE, .seq = output->held[i]};
        result = place_row(output, &tombstone, NULL, NULL, 0, true);
    }
    output->held_count = 0;
    if (!result)
        result = place_row(output, record, image_schema, image, image_bytes, copy);
    return result ? result : pace(output);
}

int lsm_output_add_stretch(struct lsm_output *output, const struct record_stretch *stretch, uint32_t *taken)
{
    *taken = 0;
    const uint8_t *first_key = stretch->rows + RECORD_STRETCH_KEY_AT;
    bool repeats = output->has_key && key_compare(output->key, output->key_bytes, first_key, stretch->key_bytes) == 0;
    if (!output->builder || output->schema->has_large || output->held_count > 0 || repeats || indexes_full(output))
        return MOTE_OK;
    int count = sst_builder_add_stretch(output->builder, stretch);
    if (count <= 0) {
        output->failed_extent = count < 0 ? sst_builder_failed_extent(output->builder) : output->failed_extent;
        return count;
    }
    *taken = (uint32_t)count;
    const uint8_t *last = stretch->rows + (uint64_t)(*taken - 1) * stretch->row_bytes;
    output->has_key = output->placed = true;
    output->key_bytes = stretch->key_bytes;
    memcpy(output->key, last + RECORD_STRETCH_KEY_AT, stretch->key_bytes);
    output->newer_seq = load_u64(last);
    output->rows_seen += *taken;
    output->segment_rows += *taken;
    output->raw_bytes += *taken * (uint64_t)stretch->image_bytes;
    output->unpaced_bytes += *taken * ((uint64_t)stretch->key_bytes + stretch->image_bytes);
    return pace(output);
}

int lsm_output_finish(struct lsm_output *output) { return output->builder ? finish_builder(output) : MOTE_OK; }

void lsm_output_end(struct lsm_output *output, bool keep)
{
    struct memory *memory = output->job->sst->memory;
    sst_builder_destroy(output->builder);
    lsm_indexes_end(output, keep);
    for (uint32_t i = 0; i < output->record_count && !keep; i++)
        for (uint32_t k = 0; k < output->records[i].extent_run_count; k++)
            extents_release_unused(output->job->sst->extents, output->records[i].runs[k]);
    memory_free(memory, output->records);
    memory_free(memory, output->held);
    memory_free(memory, output->blob_uses);
    output->blob_uses = NULL;
    output->blob_use_count = output->blob_use_capacity = output->blob_use_first = 0;
    output->builder = NULL;
    output->records = NULL;
    output->held = NULL;
    output->record_count = output->record_capacity = output->held_count = 0;
    output->rows_written = output->bytes_written = output->rows_seen = output->unpaced_bytes = output->raw_bytes = 0;
    output->has_key = output->placed = false;
}

uint64_t lsm_segment_bytes(const struct lsm_job_context *job, const struct schema *schema)
{
    uint64_t floor_bytes = 2 * sst_bytes_bound(schema, job->block_rows, 2ull * job->block_rows, 0);
    return job->segment_bytes_max > floor_bytes ? job->segment_bytes_max : floor_bytes;
}

uint32_t lsm_extents_bound(const struct lsm_job_context *job, const struct schema *schema, uint64_t rows, uint64_t raw_bytes)
{
    uint64_t extent_bytes = job->sst->layout->extent_bytes;
    uint64_t bytes = sst_bytes_bound(schema, job->block_rows, rows, raw_bytes);
    /* A segment may end at half its size when its extents lie scattered; each begins at an extent of its own. */
    uint64_t segments = 1 + 2 * bytes / lsm_segment_bytes(job, schema);
    bytes += (segments - 1) * sst_bytes_bound(schema, job->block_rows, 0, 0);
    uint64_t extents = divide_up(bytes, extent_bytes) + segments - 1;
    return extents < UINT32_MAX ? (uint32_t)extents : UINT32_MAX;
}

bool lsm_retire(const struct lsm_job_context *job, const struct lsm_output *output, int result, struct lsm_bad *bad)
{
    if (output->failed_extent == UINT32_MAX)
        return false;
    if (result != MOTE_EIO || bad->count == LSM_RETRIES) {
        /* The builder leaves the extent to us. When writes fail everywhere it is the device that is bad, not the extent. */
        extents_release_unused(job->sst->extents, (struct extent_run){output->failed_extent, 1});
        return false;
    }
    extents_retire(job->sst->extents, output->failed_extent);
    bad->extents[bad->count++] = output->failed_extent;
    return true;
}

void lsm_add_bad(struct manifest_edit *edit, const struct lsm_bad *bad)
{
    for (uint32_t i = 0; i < bad->count; i++)
        manifest_edit_add_bad_extent(edit, bad->extents[i]);
}

bool lsm_table_exists(struct manifest *manifest, uint64_t table_id)
{
    manifest_lock(manifest);
    const struct manifest_state *state = manifest_get_state(manifest);
    bool exists = false;
    for (uint32_t i = 0; i < state->table_count && !exists; i++)
        exists = state->tables[i].schema->table_id == table_id;
    manifest_unlock(manifest);
    return exists;
}
