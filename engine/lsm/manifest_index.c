/* manifest_index.c: declared indexes and their sections in the manifest: composing the records, applying them.
 *
 * Invariants: an index has a table; a section has an index of its segment's table, and extents of its own; a segment has at most one section of an index. What readers hold is never changed: a segment that gets or loses a section is
 * replaced by a copy (its successor), unless the edit itself brought it.
 * Threads: the committing thread, under the manifest's mutex; an edit belongs to one thread. Failures: as manifest_stage_apply.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

#define INDEX_CATALOG_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_INDEX_RECORD_BYTES)

/* ---- Composing ---- */

void manifest_edit_add_index(struct manifest_edit *edit, const struct manifest_index *index)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_INDEX, MANIFEST_INDEX_RECORD_BYTES);
    manifest_index_encode(index, &writer);
}

void manifest_edit_drop_index(struct manifest_edit *edit, uint64_t index_id)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_DROP_INDEX, 8);
    write_u64(&writer, index_id);
}

static void encode_section(const struct index_section *section, struct byte_writer *writer)
{
    write_u64(writer, section->segment_id);
    write_u64(writer, section->index_id);
    manifest_section_encode(&section->section, writer);
}

void manifest_edit_set_section(struct manifest_edit *edit, const struct index_section *section)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_SECTION, MANIFEST_INDEX_SECTION_BYTES);
    encode_section(section, &writer);
}

uint32_t manifest_sections_encode(const struct segment *segment, struct byte_writer *writer)
{
    for (uint32_t i = 0; i < segment->index_count; i++) {
        struct index_section section = {segment->record.id, segment->indexes[i].index_id, segment->indexes[i].section};
        manifest_record_begin(writer, MANIFEST_RECORD_SECTION, MANIFEST_INDEX_SECTION_BYTES);
        encode_section(&section, writer);
    }
    return segment->index_count;
}

uint32_t manifest_get_indexes(struct manifest *manifest, uint64_t table_id, struct manifest_index *indexes, uint32_t index_max)
{
    uint32_t count = 0;
    manifest_lock(manifest);
    for (uint32_t i = 0; i < manifest->state.index_count && count < index_max; i++)
        if (!table_id || manifest->state.indexes[i].table_id == table_id)
            indexes[count++] = manifest->state.indexes[i];
    manifest_unlock(manifest);
    return count;
}

/* ---- Segments with sections ---- */

void manifest_free_segment(struct manifest *manifest, struct segment *segment)
{
    if (!segment)
        return;
    manifest_free_blobs(manifest, segment);
    memory_free(manifest->memory, segment->indexes);
    memory_free(manifest->memory, segment);
}

/* Room for one section more than there are: a segment has few. */
static int copy_sections(struct stage *stage, const struct segment *from, uint64_t without_index, struct segment *to)
{
    to->indexes = memory_alloc_zero(stage->manifest->memory, (from->index_count + 1) * sizeof *to->indexes);
    if (!to->indexes)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < from->index_count; i++) {
        const struct segment_index *index = &from->indexes[i];
        if (index->index_id == without_index)
            continue;
        struct segment_index *copy = &to->indexes[to->index_count++];
        copy->index_id = index->index_id;
        copy->section = index->section;
        atomic_init(&copy->unusable, atomic_load(&index->unusable));
        atomic_init(&copy->better, atomic_load(&index->better));
    }
    return MOTE_OK;
}

int manifest_new_segment(struct stage *stage, const struct segment_record *record, const struct segment *from, uint64_t without_index, struct segment **segment)
{
    struct manifest *manifest = stage->manifest;
    struct segment *made = memory_alloc_zero(manifest->memory, sizeof *made);
    *segment = NULL;
    if (!made)
        return MOTE_EBUDGET;
    made->record = *record;
    made->staged = true;
    atomic_init(&made->references, 1);
    atomic_init(&made->timestamp_unusable, from ? atomic_load(&from->timestamp_unusable) : 0);
    int result = from ? copy_sections(stage, from, without_index, made) : MOTE_OK;
    if (!result && from)
        result = manifest_copy_blobs(manifest, from, made);
    if (result) {
        manifest_free_segment(manifest, made);
        return result;
    }
    *segment = made;
    return MOTE_OK;
}

int manifest_clear_sections(struct stage *stage, const struct segment *segment)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; !result && i < segment->index_count; i++)
        result = manifest_stage_push_run(stage, &stage->cleared, segment->indexes[i].section.run);
    return result;
}

/* Replaces the segment in the state by a copy without that index (0: with all). */
static int replace_segment(struct stage *stage, struct segment *old, uint64_t without_index, struct segment **segment)
{
    int result = manifest_new_segment(stage, &old->record, old, without_index, segment);
    if (result)
        return result;
    result = manifest_stage_change(stage, old, *segment, false);
    if (!result) {
        result = manifest_stage_change(stage, *segment, NULL, true);
        if (!result)
            return MOTE_OK;
    }
    manifest_free_segment(stage->manifest, *segment);
    *segment = NULL;
    return result;
}

/* ---- Applying ---- */

static uint32_t find_index(const struct manifest_state *state, uint64_t index_id)
{
    uint32_t at = 0;
    while (at < state->index_count && state->indexes[at].id < index_id)
        at++;
    return at;
}

static bool has_index(const struct manifest_state *state, uint64_t index_id)
{
    uint32_t at = find_index(state, index_id);
    return at < state->index_count && state->indexes[at].id == index_id;
}

static bool has_column(const struct schema *schema, uint64_t column_id)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].id == column_id)
            return true;
    return false;
}

static int check_index(const struct stage *stage, const struct manifest_index *index)
{
    struct manifest_state *state = stage->state;
    const struct manifest_table *table = manifest_stage_table(state, index->table_id);
    uint32_t of_table = 0;
    if (!table)
        return manifest_stage_unknown_table(index->table_id);
    if (!index->id || index->id >= state->next_section_id || !index->kind)
        return error_set(MOTE_EINVAL, "index id %" PRIu64 " was never given out", index->id);
    for (uint32_t i = 0; i < index->column_count; i++)
        if (!has_column(table->schema, index->column_ids[i]))
            return error_set(MOTE_EINVAL, "table %s has no column of id %" PRIu64 " for index %s", table->schema->name, index->column_ids[i], index->name);
    for (uint32_t i = 0; i < state->index_count; i++) {
        of_table += state->indexes[i].table_id == index->table_id;
        if (state->indexes[i].id == index->id || (state->indexes[i].table_id == index->table_id && !strcmp(state->indexes[i].name, index->name)))
            return error_set(MOTE_EEXISTS, "table %s has an index named %s already", table->schema->name, index->name);
    }
    if (state->index_count == MANIFEST_INDEXES_MAX || of_table == MANIFEST_TABLE_INDEXES_MAX)
        return error_set(MOTE_EBUDGET, "table %s has %u indexes and the volume %u: at most %u and %u are possible; drop one", table->schema->name, of_table, state->index_count, MANIFEST_TABLE_INDEXES_MAX,
                         MANIFEST_INDEXES_MAX);
    return MOTE_OK;
}

int manifest_apply_index(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_index index;
    if (!manifest_index_decode(reader, &index))
        return error_set(MOTE_EINVAL, "the record of index %" PRIu64 " is malformed", index.id);
    int result = check_index(stage, &index);
    if (result)
        return result;
    uint32_t at = find_index(state, index.id);
    memmove(&state->indexes[at + 1], &state->indexes[at], (state->index_count - at) * sizeof index);
    state->indexes[at] = index;
    state->index_count++;
    stage->catalog_bytes += INDEX_CATALOG_BYTES;
    return MOTE_OK;
}

static void remove_index(struct stage *stage, uint32_t at)
{
    struct manifest_state *state = stage->state;
    state->index_count--;
    memmove(&state->indexes[at], &state->indexes[at + 1], (state->index_count - at) * sizeof state->indexes[0]);
    stage->catalog_bytes -= INDEX_CATALOG_BYTES;
}

void manifest_drop_table_indexes(struct stage *stage, uint64_t table_id)
{
    for (uint32_t i = stage->state->index_count; i-- > 0;)
        if (stage->state->indexes[i].table_id == table_id)
            remove_index(stage, i);
}

/* The segments that have a section of it, gathered before the first is replaced, since that changes the chains. */
static int collect_indexed(const struct stage *stage, uint64_t index_id, struct vector *found)
{
    const struct manifest *manifest = stage->manifest;
    for (uint32_t i = 0; i < manifest->bucket_count; i++)
        for (struct segment *segment = manifest->buckets[i]; segment; segment = segment->next) {
            struct segment **item = segment_find_index(segment, index_id) ? manifest_vector_push(manifest->memory, found, sizeof *item) : NULL;
            if (item)
                *item = segment;
            else if (segment_find_index(segment, index_id))
                return MOTE_EBUDGET;
        }
    return MOTE_OK;
}

int manifest_apply_drop_index(struct stage *stage, struct byte_reader *reader)
{
    uint64_t index_id = read_u64(reader);
    struct vector found = {0};
    if (!has_index(stage->state, index_id))
        return error_set(MOTE_ENOTFOUND, "the manifest has no index of id %" PRIu64 "; it was dropped", index_id);
    int result = collect_indexed(stage, index_id, &found);
    for (uint32_t i = 0; !result && i < found.count; i++) {
        struct segment *old = ((struct segment **)found.items)[i], *copy;
        result = manifest_stage_push_run(stage, &stage->cleared, segment_find_index(old, index_id)->section.run);
        if (!result)
            result = replace_segment(stage, old, index_id, &copy);
    }
    memory_free(stage->manifest->memory, found.items);
    if (!result)
        remove_index(stage, find_index(stage->state, index_id));
    return result;
}

static int check_new_section(const struct stage *stage, const struct index_section *section, const struct segment *segment)
{
    const struct manifest_state *state = stage->state;
    uint32_t at = find_index(state, section->index_id);
    if (at == state->index_count || state->indexes[at].id != section->index_id)
        return error_set(MOTE_ENOTFOUND, "the manifest has no index of id %" PRIu64 "; it was dropped", section->index_id);
    if (state->indexes[at].table_id != segment->record.table_id || !section->section.section_id)
        return error_set(MOTE_EINVAL, "section %" PRIu64 " of index %s is of another table than segment %" PRIu64, section->section.section_id, state->indexes[at].name, section->segment_id);
    return manifest_stage_check_section(stage, &section->section);
}

int manifest_apply_section(struct stage *stage, struct byte_reader *reader)
{
    struct index_section section;
    struct segment *segment;
    section.segment_id = read_u64(reader);
    section.index_id = read_u64(reader);
    manifest_section_decode(reader, &section.section);
    int result = manifest_stage_segment(stage, section.segment_id, &segment);
    if (!result)
        result = check_new_section(stage, &section, segment);
    if (!result)
        result = manifest_stage_own(stage, section.section.run, "an index section");
    struct segment_index *index = result ? NULL : segment_find_index(segment, section.index_id);
    if (!result && index)
        result = manifest_stage_push_run(stage, &stage->cleared, index->section.run);
    if (result)
        return result;
    if (!segment->staged) {
        result = replace_segment(stage, segment, section.index_id, &segment);
    } else {
        struct segment grown = {0};
        result = copy_sections(stage, segment, section.index_id, &grown);
        if (result)
            return result;
        stage->state->section_count -= segment->index_count - grown.index_count;
        memory_free(stage->manifest->memory, segment->indexes);
        segment->indexes = grown.indexes;
        segment->index_count = grown.index_count;
    }
    if (result)
        return result;
    index = &segment->indexes[segment->index_count++];
    index->index_id = section.index_id;
    index->section = section.section;
    atomic_init(&index->unusable, 0);
    atomic_init(&index->better, 0);
    stage->state->section_count++;
    return MOTE_OK;
}
