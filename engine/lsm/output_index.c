/* output_index.c: the declared indexes of the segments that a flush or a compaction writes (lsm_private.h): given the rows as they are encoded, written as sections when their segment is complete, published in the same edit. In a compaction
 * sections of kinds that can be merged (row_index_ops.merge) come out of those of the inputs instead, if all of these have good ones.
 *
 * Invariant: nothing here fails a job. An index that lacks memory or space is given up for this segment; searches then look at its rows, and the section is built later. Where it is the job that lacks the memory which indexes have, it is
 * repeated without them.
 * Memory: the builders together take at most an eighth of the budget; a segment ends when they are full. Threads: the job's.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

#define SEGMENT_ROWS_MIN 16384u
#define MERGE_INPUTS_MAX 64u
#define MERGE_INPUT_BYTES (320u * 1024u) /* a window of its section, and pages */
#define LONG_ROWS_MIN 64u

/* The positions of the index's columns in the schema; false: it lacks one, or nobody knows this kind. */
static bool resolve_feed(const struct lsm_output *output, const struct manifest_index *definition, struct sst_index_feed *feed)
{
    *feed = (struct sst_index_feed){.ops = sst_index_ops(output->job->sst, definition->kind), .column_count = definition->column_count};
    for (uint32_t i = 0; i < definition->column_count; i++) {
        uint32_t position = 0;
        while (position < output->schema->column_count && output->schema->columns[position].id != definition->column_ids[i])
            position++;
        if (position == output->schema->column_count)
            return false;
        feed->columns[i] = position;
    }
    return feed->ops != NULL;
}

/* Whether the builders have room for so many rows: all of them, or those that do not tell when they are full, but take so much for each row. */
static bool builders_fit(const struct lsm_indexes *indexes, uint64_t rows, uint64_t share_bytes, bool all)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < indexes->count; i++)
        if (all || !indexes->feeds[i].ops->full)
            bytes += indexes->feeds[i].ops->builder_bytes(indexes->definitions[i].options, indexes->definitions[i].options_bytes, rows);
    return bytes <= share_bytes;
}

/* Of long rows (a vector may have 64 KiB) fewer than the least of short ones; to an eighth of the greatest number that fits, so that a memtable of them need not become a long segment and a short one. */
static uint64_t fit_long_rows(const struct lsm_indexes *indexes, uint64_t found, uint64_t share_bytes)
{
    uint64_t rows = found;
    while (rows > LONG_ROWS_MIN && !builders_fit(indexes, rows, share_bytes, false))
        rows /= 2;
    for (uint64_t step = rows / 8, end = 2 * rows; rows + step < end && builders_fit(indexes, rows + step, share_bytes, rows + step > found);)
        rows += step;
    return rows;
}

/* Whether the index's section of each input can be read, and all of them fit in memory. */
static bool can_merge(const struct lsm_output *output, const struct row_index_ops *ops, uint64_t index_id)
{
    const struct lsm_origins *origins = output->origins;
    uint64_t share_bytes = memory_budget_bytes(output->job->sst->memory) / SST_INDEX_BUDGET_SHARE;
    bool can = origins && ops->merge && origins->input_count <= MERGE_INPUTS_MAX && (uint64_t)origins->input_count * MERGE_INPUT_BYTES <= share_bytes;
    for (uint32_t i = 0; can && i < origins->input_count; i++) {
        struct segment_index *section = segment_find_index(origins->inputs[i].segment, index_id);
        can = section && !atomic_load(&section->unusable) && origins->inputs[i].segment->record.row_count < SECTION_ROW_DROPPED;
    }
    return can;
}

int lsm_indexes_begin(struct lsm_output *output)
{
    struct lsm_indexes *indexes = &output->indexes;
    struct memory *memory = output->job->sst->memory;
    *indexes = (struct lsm_indexes){.segment_rows_max = UINT64_MAX};
    if (!output->job->sst->indexes || output->unindexed)
        return MOTE_OK;
    indexes->definitions = memory_alloc(memory, MANIFEST_TABLE_INDEXES_MAX * sizeof *indexes->definitions);
    if (!indexes->definitions)
        return MOTE_EBUDGET;
    uint32_t found = manifest_get_indexes(output->job->manifest, output->schema->table_id, indexes->definitions, MANIFEST_TABLE_INDEXES_MAX);
    for (uint32_t i = 0; i < found; i++) {
        if (!resolve_feed(output, &indexes->definitions[i], &indexes->feeds[indexes->count]))
            continue;
        indexes->merged[indexes->count] = can_merge(output, indexes->feeds[indexes->count].ops, indexes->definitions[i].id);
        indexes->any_merged |= indexes->merged[indexes->count];
        indexes->definitions[indexes->count++] = indexes->definitions[i];
    }
    uint64_t share_bytes = memory_budget_bytes(memory) / SST_INDEX_BUDGET_SHARE, rows = 1u << 22;
    for (bool fits = indexes->count == 0; !fits && rows > SEGMENT_ROWS_MIN;) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < indexes->count; i++)
            bytes += indexes->feeds[i].ops->builder_bytes(indexes->definitions[i].options, indexes->definitions[i].options_bytes, rows);
        fits = bytes <= share_bytes;
        rows = fits ? rows : rows / 2;
    }
    if (indexes->count) {
        indexes->segment_rows_max = fit_long_rows(indexes, rows, share_bytes);
        if (indexes->any_merged)
            output->origins->rows_max = indexes->segment_rows_max;
    } else {
        memory_free(memory, indexes->definitions);
        indexes->definitions = NULL;
    }
    return MOTE_OK;
}

void lsm_indexes_open(struct lsm_output *output, uint64_t rows_max)
{
    struct lsm_indexes *indexes = &output->indexes;
    /* The segment's limit is looked at between blocks. */
    uint64_t limit = indexes->segment_rows_max + 2ull * output->job->block_rows;
    struct mote_error kept;
    int code = error_get(&kept);
    if (indexes->any_merged)
        lsm_origins_begin(output->origins);
    for (uint32_t i = 0; i < indexes->count; i++) {
        const struct manifest_index *definition = &indexes->definitions[i];
        assert(!indexes->feeds[i].builder);
        if (indexes->merged[i])
            continue;
        if (indexes->feeds[i].ops->create(output->job->sst->memory, definition->options, definition->options_bytes, rows_max < limit ? rows_max : limit, &indexes->feeds[i].builder))
            indexes->feeds[i].builder = NULL;
        else if (indexes->feeds[i].ops->set_limit)
            indexes->feeds[i].ops->set_limit(indexes->feeds[i].builder, memory_budget_bytes(output->job->sst->memory) / SST_INDEX_BUDGET_SHARE / indexes->count, NULL);
    }
    if (code)
        error_restore(&kept);
}

static void destroy_builders(struct lsm_indexes *indexes)
{
    for (uint32_t i = 0; i < indexes->count; i++) {
        if (indexes->feeds[i].builder)
            indexes->feeds[i].ops->destroy(indexes->feeds[i].builder);
        indexes->feeds[i].builder = NULL;
    }
}

static struct index_section *push_section(struct lsm_output *output)
{
    struct lsm_indexes *indexes = &output->indexes;
    if (indexes->section_count == indexes->section_capacity) {
        uint32_t capacity = indexes->section_capacity ? 2 * indexes->section_capacity : 4;
        struct index_section *sections = memory_realloc(output->job->sst->memory, indexes->sections, capacity * sizeof *sections);
        if (!sections)
            return NULL;
        indexes->sections = sections;
        indexes->section_capacity = capacity;
    }
    return &indexes->sections[indexes->section_count];
}

static int merge_section(struct lsm_output *output, uint32_t number, uint64_t section_id, struct index_section *section)
{
    const struct lsm_origins *origins = output->origins;
    const struct manifest_index *definition = &output->indexes.definitions[number];
    struct memory *memory = output->job->sst->memory;
    struct sst_index_merge merge = {.ops = output->indexes.feeds[number].ops, .options = definition->options, .options_bytes = definition->options_bytes, .segment_id = section->segment_id, .section_id = section_id};
    struct sst_index_origin *from = memory_alloc_zero(memory, (origins->input_count + 1) * sizeof *from);
    if (!from)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < origins->input_count; i++) {
        const struct lsm_origin *input = &origins->inputs[i];
        if (input->count == 0)
            continue;
        from[merge.origin_count++] = (struct sst_index_origin){.segment = input->segment, .place = segment_find_index(input->segment, definition->id)->section, .new_ordinals = input->new_ordinals, .first_ordinal = input->first,
                                                               .mapped_count = input->count};
    }
    merge.origins = from;
    int result = sst_index_merge(output->job->sst, output->job->queue, &merge, &section->section);
    memory_free(memory, from);
    return result;
}

void lsm_indexes_write(struct lsm_output *output, uint64_t segment_id)
{
    struct lsm_indexes *indexes = &output->indexes;
    struct mote_error kept;
    int code = error_get(&kept);
    for (uint32_t i = 0; i < indexes->count; i++) {
        struct sst_index_feed *feed = &indexes->feeds[i];
        bool merged = indexes->merged[i] && !output->origins->lost;
        struct index_section *section = feed->builder || merged ? push_section(output) : NULL;
        if (!section)
            continue;
        *section = (struct index_section){.segment_id = segment_id, .index_id = indexes->definitions[i].id};
        uint64_t section_id = manifest_take_section_id(output->job->manifest);
        int result = merged ? merge_section(output, i, section_id, section) : sst_index_write(output->job->sst, output->job->queue, segment_id, feed->ops, feed->builder, section_id, &section->section);
        indexes->section_count += result == MOTE_OK;
    }
    destroy_builders(indexes);
    if (code)
        error_restore(&kept);
}

void lsm_indexes_end(struct lsm_output *output, bool keep)
{
    struct lsm_indexes *indexes = &output->indexes;
    struct memory *memory = output->job->sst->memory;
    destroy_builders(indexes);
    for (uint32_t i = 0; i < indexes->section_count && !keep; i++)
        extents_release_unused(output->job->sst->extents, indexes->sections[i].section.run);
    memory_free(memory, indexes->sections);
    memory_free(memory, indexes->definitions);
    *indexes = (struct lsm_indexes){0};
}

bool lsm_indexes_lack_memory(const struct lsm_output *output, int result) { return result == MOTE_EBUDGET && output->indexes.count > 0; }

void lsm_add_segments(struct manifest_edit *edit, const struct lsm_output *output)
{
    const struct lsm_indexes *indexes = &output->indexes;
    for (uint32_t i = 0, k = 0, blob = 0; i < output->record_count; i++) {
        manifest_edit_add_segment(edit, &output->records[i]);
        lsm_blobs_add(edit, output, output->records[i].id, &blob);
        for (; k < indexes->section_count && indexes->sections[k].segment_id == output->records[i].id; k++)
            manifest_edit_set_section(edit, &indexes->sections[k]);
    }
}

bool lsm_has_indexes(struct manifest *manifest, uint64_t table_id)
{
    bool found = false;
    manifest_lock(manifest);
    const struct manifest_state *state = manifest_get_state(manifest);
    for (uint32_t i = 0; i < state->index_count && !found; i++)
        found = state->indexes[i].table_id == table_id;
    manifest_unlock(manifest);
    return found;
}

static bool is_declared(struct manifest *manifest, uint64_t index_id)
{
    bool found = false;
    manifest_lock(manifest);
    const struct manifest_state *state = manifest_get_state(manifest);
    for (uint32_t i = 0; i < state->index_count && !found; i++)
        found = state->indexes[i].id == index_id;
    manifest_unlock(manifest);
    return found;
}

bool lsm_indexes_give_up(struct lsm_output *output, int result)
{
    struct lsm_indexes *indexes = &output->indexes;
    uint32_t kept = 0;
    if ((result != MOTE_ENOTFOUND && result != MOTE_ENOSPC) || !indexes->section_count)
        return false;
    for (uint32_t i = 0; i < indexes->section_count; i++) {
        struct index_section *section = &indexes->sections[i];
        if (result == MOTE_ENOTFOUND && is_declared(output->job->manifest, section->index_id))
            indexes->sections[kept++] = *section;
        else
            extents_release_unused(output->job->sst->extents, section->section.run);
    }
    bool any = kept < indexes->section_count;
    indexes->section_count = kept;
    return any;
}
