/* sst_index_steps.c: a section of a declared index that is built in steps (sst.h): from the rows of a segment, block by block; then by the index itself, which may ask for rows again; written as it comes.
 *
 * Invariants: extents are reserved when the first page is placed, not before, and the section lies in one run. Nothing refers to them before the caller takes the section.
 * Threads: one at a time. Failures: MOTE_EIO (a write: the extent is retired), MOTE_EDAMAGED (rows), MOTE_EBUDGET, MOTE_ENOSPC.
 */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"
#include "engine/lsm/sst_reader_private.h"

struct sst_index_work {
    struct sst_context *context;
    struct segment *segment;
    const struct row_index_ops *ops;
    struct row_index *builder;
    uint32_t column_count, columns[ROW_INDEX_COLUMNS_MAX];
    struct sst_iterator *iterator;
    bool reading, begun, placed, finished, taken;
    uint32_t next_ordinal;
    /* The block whose columns fetch gives: */
    struct codec_vector held[ROW_INDEX_COLUMNS_MAX];
    uint32_t held_first, held_count;
    struct section_identity identity;
    struct section_sink sink;
    struct extent_reservation reservation;
    struct sst_stream stream;
    struct segment_section place;
};

/* ---- Rows ---- */

static int hold_block(struct sst_index_work *work, uint32_t first_ordinal)
{
    int result = MOTE_OK;
    work->held_count = 0;
    for (uint32_t k = 0; k < work->column_count && !result; k++)
        result = sst_block_column(work->iterator, work->columns[k], &work->held[k]);
    if (result)
        return result;
    work->held_first = first_ordinal;
    work->held_count = sst_block_row_count(work->iterator);
    return MOTE_OK;
}

static int fetch_row(void *context, uint32_t ordinal, const struct codec_vector **columns, uint32_t *row)
{
    struct sst_index_work *work = context;
    if (ordinal < work->held_first || ordinal - work->held_first >= work->held_count) {
        bool alone;
        int found = sst_seek_ordinal(work->iterator, ordinal, &alone);
        int result = found < 0 ? found : hold_block(work, ordinal - sst_block_row(work->iterator));
        if (result)
            return result;
    }
    *columns = work->held;
    *row = ordinal - work->held_first;
    return MOTE_OK;
}

/* The next block to the builder. *end: there is none. */
static int feed_block(struct sst_index_work *work, bool *end)
{
    const uint8_t *deleted;
    int moved = work->reading ? sst_next_block(work->iterator) : sst_first(work->iterator);
    work->reading = true;
    *end = moved == 0;
    if (moved <= 0)
        return moved;
    int result = sst_block_deleted(work->iterator, &deleted);
    if (!result)
        result = hold_block(work, work->next_ordinal);
    if (!result)
        result = work->ops->add(work->builder, work->next_ordinal, work->held, work->column_count, deleted);
    work->next_ordinal += sst_block_row_count(work->iterator);
    return result;
}

/* ---- Pages ---- */

/* One run for all of it, before the first page. */
static int take_run(struct sst_index_work *work)
{
    uint64_t bound_bytes = work->ops->section_bytes_bound(work->builder) + PAGE_BYTES, extents = divide_up(bound_bytes, work->context->layout->extent_bytes) + 1, start;
    int result = extents_reserve(work->context->extents, extents < UINT32_MAX ? (uint32_t)extents : UINT32_MAX, false, &work->reservation);
    if (!result)
        result = sst_stream_create(&work->stream);
    if (!result)
        result = sst_stream_place(&work->stream, bound_bytes, 0, &start);
    assert(result || (start == 0 && work->stream.run_count == 1));
    work->placed = true;
    return result;
}

static int place_page(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct sst_index_work *work = context;
    int result = work->placed ? MOTE_OK : take_run(work);
    return result ? result : sst_stream_place(&work->stream, length_bytes, 0, offset_bytes);
}

static int write_page(void *context, const void *data, uint32_t length_bytes)
{
    struct sst_index_work *work = context;
    return sst_stream_write(&work->stream, data, length_bytes);
}

static int end_section(struct sst_index_work *work)
{
    struct section_root root;
    int result = sst_stream_finish(&work->stream);
    if (result)
        return result;
    assert(work->stream.run_count == 1);
    sst_stream_trim(&work->stream);
    work->ops->steps->root(work->builder, &root);
    work->place = (struct segment_section){.run = work->stream.runs[0], .section_id = work->identity.section_id, .length_bytes = root.length_bytes, .root_offset_bytes = root.root_offset_bytes, .root_bytes = root.root_bytes};
    work->place.root_crc = root.root_crc;
    work->finished = true;
    return MOTE_OK;
}

/* ---- The work ---- */

int sst_index_work_create(const struct sst_index_work_options *options, struct sst_index_work **work)
{
    struct sst_context *context = options->context;
    struct sst_index_work *made = memory_alloc_zero(context->memory, sizeof *made);
    *work = made;
    if (!made)
        return MOTE_EBUDGET;
    assert(options->feed->ops->steps);
    made->context = context;
    made->segment = options->segment;
    made->ops = options->feed->ops;
    made->column_count = options->feed->column_count;
    memcpy(made->columns, options->feed->columns, sizeof made->columns);
    made->identity = (struct section_identity){.segment_id = options->segment->record.id, .section_id = options->section_id};
    memcpy(made->identity.uuid, context->uuid, sizeof made->identity.uuid);
    made->sink = (struct section_sink){.place = place_page, .write = write_page, .context = made};
    made->stream = (struct sst_stream){.context = context, .queue = options->write_queue, .reservation = &made->reservation, .segment_id = options->segment->record.id, .source = BLOCKDEV_SOURCE_INDEX, .failed_extent = UINT32_MAX};
    int result = sst_iterator_create(context, options->read_queue, &made->iterator);
    if (!result)
        result = sst_iterator_open(made->iterator, options->segment, options->schema);
    if (!result)
        result = made->ops->steps->create(context->memory, options->options, options->options_bytes, options->segment->record.row_count, options->memory_bytes_max, fetch_row, made, &made->builder);
    if (result) {
        sst_index_work_destroy(made);
        *work = NULL;
    }
    return result;
}

int sst_index_work_step(struct sst_index_work *work, bool *finished)
{
    bool end = false, built = false;
    int result;
    *finished = false;
    if (work->begun) {
        result = work->ops->steps->step(work->builder, &built);
        if (!result && built)
            result = end_section(work);
        *finished = work->finished;
        return result;
    }
    result = feed_block(work, &end);
    if (!result && end) {
        result = work->ops->steps->begin(work->builder, &work->identity, &work->sink);
        work->begun = true;
    }
    return result;
}

void sst_index_work_rest(struct sst_index_work *work)
{
    work->held_count = 0;
    sst_iterator_unpin(work->iterator);
}

void sst_index_work_take(struct sst_index_work *work, struct segment_section *place)
{
    assert(work->finished && !work->taken);
    work->taken = true;
    *place = work->place;
}

void sst_index_work_destroy(struct sst_index_work *work)
{
    if (!work)
        return;
    if (work->builder)
        work->ops->destroy(work->builder);
    if (work->iterator)
        sst_iterator_destroy(work->iterator);
    if (work->placed) {
        sst_stream_destroy(&work->stream, work->taken);
        /* Nobody else learns of the extent that failed: it is out of use until the next open, which may try it again. */
        if (!work->taken && work->stream.failed_extent != UINT32_MAX)
            extents_retire(work->context->extents, work->stream.failed_extent);
        extents_unreserve(work->context->extents, &work->reservation);
    }
    memory_free(work->context->memory, work);
}
