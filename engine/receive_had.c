/* receive_had.c: what a device has already of what a stream leads to: of its state, and of a receive that was cut (receive_plan.h). For receive_plan.c. */
#include "engine/receive_plan.h"

#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "engine/lsm/manifest_format.h"

void plan_take_run(struct plan *plan, struct extent_run run)
{
    for (uint32_t extent = run.first; extent < run.first + run.count && extent < plan->layout.extent_count; extent++)
        plan->taken[extent / 64] |= 1ull << (extent % 64);
}

static void have_segment(struct plan *plan, const struct segment_record *record, bool itself, bool timestamp)
{
    struct plan_segment *had = &plan->had_segments[plan->had_segment_count++];
    *had = (struct plan_segment){.record = *record, .had = itself, .timestamp_had = timestamp && record->timestamp.run.count > 0};
    for (uint32_t i = 0; itself && i < record->extent_run_count; i++)
        plan_take_run(plan, record->runs[i]);
    if (had->timestamp_had)
        plan_take_run(plan, record->timestamp.run);
}

static void have_section(struct plan *plan, const struct index_section *section)
{
    plan->had_sections[plan->had_section_count++] = (struct plan_section){.section = *section, .had = true};
    plan_take_run(plan, section->section.run);
}

static void have_blob(struct plan *plan, uint64_t id, struct extent_run run, bool had, bool of_journal)
{
    plan->had_blobs[plan->had_blob_count++] = (struct plan_blob){.id = id, .run = run, .had = had, .of_journal = of_journal};
    if (had)
        plan_take_run(plan, run);
}

static void have_state(struct plan *plan, struct manifest *manifest)
{
    const struct manifest_state *state = manifest_get_state(manifest);
    struct version *version = version_acquire(manifest);
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment *segment = version->lists[t]->segments[s];
            have_segment(plan, &segment->record, true, true);
            for (uint32_t k = 0; k < segment->index_count; k++)
                have_section(plan, &(struct index_section){segment->record.id, segment->indexes[k].index_id, segment->indexes[k].section});
        }
    version_release(manifest, version);
    for (uint32_t i = 0; i < state->blob_count; i++)
        have_blob(plan, state->blobs[i].file->id, state->blobs[i].file->run, true, false);
    for (uint32_t i = 0; i < state->log_range_count; i++)
        plan_take_run(plan, state->log_ranges[i].run);
    for (uint32_t i = 0; i < state->bad_extent_count; i++)
        plan_take_run(plan, (struct extent_run){state->bad_extents[i], 1});
    plan_take_run(plan, state->receive.journal); /* stays until the new one is durable */
}

/* The journal's image, record by record, beside its places: what is durable is there. */
static int have_journal(struct plan *plan, const uint8_t *journal, uint32_t journal_bytes, uint32_t done_count)
{
    struct byte_reader reader = byte_reader_make(journal, journal_bytes);
    uint32_t image_bytes = read_u32(&reader), place_count = read_u32(&reader);
    const uint8_t *image = read_bytes(&reader, image_bytes);
    struct byte_reader records = byte_reader_make(image, image ? image_bytes : 0);
    bool failed = byte_reader_left(&reader) != 4ull * place_count;
    while (byte_reader_left(&records) && !failed) {
        uint32_t kind = read_u16(&records);
        read_u16(&records);
        uint32_t length = read_u32(&records);
        const uint8_t *body = read_bytes(&records, length);
        struct byte_reader fields = byte_reader_make(body, body ? length : 0);
        if (kind == MANIFEST_RECORD_SEGMENT) {
            struct segment_record record;
            bool itself = read_u32(&reader) <= done_count, timestamp = read_u32(&reader) <= done_count;
            failed = !manifest_segment_decode(&fields, &record);
            if (!failed)
                have_segment(plan, &record, itself, timestamp);
        } else if (kind == MANIFEST_RECORD_SECTION) {
            struct index_section section = {.segment_id = read_u64(&fields), .index_id = read_u64(&fields)};
            manifest_section_decode(&fields, &section.section);
            if (read_u32(&reader) <= done_count && !fields.failed)
                have_section(plan, &section);
            failed = fields.failed;
        } else if (kind == MANIFEST_RECORD_BLOB_FILE) {
            uint64_t id = read_u64(&fields);
            struct extent_run run;
            read_u64(&fields);
            run.first = read_u32(&fields);
            run.count = read_u32(&fields);
            failed = fields.failed;
            if (!failed)
                have_blob(plan, id, run, read_u32(&reader) <= done_count, true);
        }
    }
    if (failed || reader.failed || records.failed || byte_reader_left(&reader))
        return error_set(MOTE_EDAMAGED, "the journal of the receive that was cut makes no sense; begin anew");
    return MOTE_OK;
}

static int compare_segments(const void *a, const void *b)
{
    uint64_t x = ((const struct plan_segment *)a)->record.id, y = ((const struct plan_segment *)b)->record.id;
    return x < y ? -1 : x > y;
}
static int compare_sections(const void *a, const void *b)
{
    uint64_t x = ((const struct plan_section *)a)->section.section.section_id, y = ((const struct plan_section *)b)->section.section.section_id;
    return x < y ? -1 : x > y;
}

/* What came last first. */
static int compare_blobs(const void *a, const void *b)
{
    const struct plan_blob *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : y->of_journal - x->of_journal;
}

int plan_device(struct plan *plan, const struct layout *layout, struct manifest *manifest, const uint8_t *journal, uint32_t journal_bytes, uint32_t done_count)
{
    uint32_t segments = journal_bytes / MANIFEST_SEGMENT_RECORD_BYTES + 1, sections = journal_bytes / MANIFEST_INDEX_SECTION_BYTES + 1, blobs = journal_bytes / MANIFEST_BLOB_FILE_RECORD_BYTES + 1;
    plan->layout = *layout;
    if (manifest) {
        segments += manifest_get_state(manifest)->segment_count;
        sections += manifest_get_state(manifest)->section_count;
        blobs += manifest_get_state(manifest)->blob_count;
    }
    plan->taken = memory_alloc_zero(plan->memory, divide_up(layout->extent_count, 64) * sizeof *plan->taken);
    plan->had_segments = memory_alloc_zero(plan->memory, segments * sizeof *plan->had_segments);
    plan->had_sections = memory_alloc_zero(plan->memory, sections * sizeof *plan->had_sections);
    plan->had_blobs = memory_alloc_zero(plan->memory, blobs * sizeof *plan->had_blobs);
    if (!plan->taken || !plan->had_segments || !plan->had_sections || !plan->had_blobs)
        return MOTE_EBUDGET;
    if (manifest)
        have_state(plan, manifest);
    int result = journal ? have_journal(plan, journal, journal_bytes, done_count) : MOTE_OK;
    qsort(plan->had_segments, plan->had_segment_count, sizeof *plan->had_segments, compare_segments);
    qsort(plan->had_sections, plan->had_section_count, sizeof *plan->had_sections, compare_sections);
    qsort(plan->had_blobs, plan->had_blob_count, sizeof *plan->had_blobs, compare_blobs);
    return result;
}

/* ---- Whether something is there ---- */

static bool same_section(const struct segment_section *a, const struct segment_section *b)
{
    return a->section_id == b->section_id && a->length_bytes == b->length_bytes && a->root_offset_bytes == b->root_offset_bytes && a->root_bytes == b->root_bytes && a->root_crc == b->root_crc;
}

static bool same_segment(const struct segment_record *a, const struct segment_record *b)
{
    return a->id == b->id && a->table_id == b->table_id && a->schema_version == b->schema_version && a->row_count == b->row_count && a->delete_count == b->delete_count && a->seq_min == b->seq_min && a->seq_max == b->seq_max &&
           a->segment_bytes == b->segment_bytes && a->footer_offset_bytes == b->footer_offset_bytes && a->footer_bytes == b->footer_bytes && a->footer_crc == b->footer_crc && a->block_count == b->block_count;
}

/* The one of them (the state's and the journal's may both be there) that has it whole. */
void plan_find_segment(const struct plan *plan, struct plan_segment *segment)
{
    uint32_t low = 0, high = plan->had_segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->had_segments[middle].record.id < segment->record.id)
            low = middle + 1;
        else
            high = middle;
    }
    struct segment_section timestamp = segment->record.timestamp;
    for (; low < plan->had_segment_count && plan->had_segments[low].record.id == segment->record.id; low++) {
        const struct plan_segment *had = &plan->had_segments[low];
        if (!segment->had && had->had && same_segment(&had->record, &segment->record)) {
            segment->had = true;
            segment->record.extent_run_count = had->record.extent_run_count;
            memcpy(segment->record.runs, had->record.runs, sizeof segment->record.runs);
        }
        if (!segment->timestamp_had && had->timestamp_had && timestamp.run.count && same_section(&had->record.timestamp, &timestamp)) {
            segment->timestamp_had = true;
            segment->record.timestamp = had->record.timestamp;
        }
    }
}

void plan_find_section(const struct plan *plan, struct plan_section *section)
{
    uint32_t low = 0, high = plan->had_section_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->had_sections[middle].section.section.section_id < section->section.section.section_id)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < plan->had_section_count && !section->had && plan->had_sections[low].section.section.section_id == section->section.section.section_id; low++) {
        const struct index_section *had = &plan->had_sections[low].section;
        if (had->segment_id == section->section.segment_id && had->index_id == section->section.index_id && same_section(&had->section, &section->section.section)) {
            section->had = true;
            section->section.section.run = had->section.run;
        }
    }
}

/* One that is carried has more bytes than what another stream brought, or not less. */
void plan_find_blob(const struct plan *plan, struct plan_blob *blob)
{
    uint32_t low = 0, high = plan->had_blob_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->had_blobs[middle].id < blob->id)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < plan->had_blob_count && !blob->had && plan->had_blobs[low].id == blob->id; low++) {
        const struct plan_blob *had = &plan->had_blobs[low];
        if (!had->had || (blob->carried && !(had->of_journal && plan->same_stream)))
            continue;
        blob->had = true;
        blob->run = had->run;
    }
}
