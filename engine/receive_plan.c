/* receive_plan.c: see receive_plan.h. */
#include "engine/receive_plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/lsm/manifest_format.h"

#define PLAN_SEGMENTS_MAX 65536u
#define PLAN_SECTIONS_MAX (PLAN_SEGMENTS_MAX * MANIFEST_TABLE_INDEXES_MAX)
#define PLAN_USES_MAX (4u * PLAN_SEGMENTS_MAX)
#define PLAN_CATALOG_BYTES_MAX (64u * MIB_BYTES)
#define PLAN_SPARE_BYTES (2u * MIB_BYTES) /* of free extents that a volume needs for its log when it is opened */

void plan_free(struct plan *plan)
{
    void *objects[] = {plan->catalog, plan->segments, plan->sections, plan->had_segments, plan->had_sections, plan->blobs, plan->uses, plan->had_blobs, plan->items, plan->taken, plan->image.bytes};
    for (size_t i = 0; plan->memory && i < sizeof objects / sizeof objects[0]; i++)
        memory_free(plan->memory, objects[i]);
}

/* ---- From the stream ---- */

static int allocate(struct plan *plan)
{
    const struct stream_begin *begin = &plan->begin;
    struct memory *memory = plan->memory;
    if (begin->segment_count > PLAN_SEGMENTS_MAX || begin->section_count > PLAN_SECTIONS_MAX || begin->catalog_bytes > PLAN_CATALOG_BYTES_MAX || begin->segments_carried > begin->segment_count ||
        begin->blob_count > MANIFEST_BLOB_FILES_MAX || begin->use_count > PLAN_USES_MAX || begin->item_count > 2ull * begin->segment_count + begin->section_count + begin->blob_count || begin->point.flushed_seq > UINT64_MAX / 2 || begin->next_seq <= begin->point.flushed_seq || begin->next_seq > UINT64_MAX / 2)
        return error_set(MOTE_EDAMAGED, "the stream's beginning makes no sense; send it again");
    plan->catalog = memory_alloc(memory, begin->catalog_bytes + 1);
    plan->segments = memory_alloc_zero(memory, (begin->segment_count + 1) * sizeof *plan->segments);
    plan->sections = memory_alloc_zero(memory, (begin->section_count + 1) * sizeof *plan->sections);
    plan->items = memory_alloc_zero(memory, (begin->item_count + 1) * sizeof *plan->items);
    plan->blobs = memory_alloc_zero(memory, (begin->blob_count + 1) * sizeof *plan->blobs);
    plan->uses = memory_alloc_zero(memory, (begin->use_count + 1) * sizeof *plan->uses);
    return plan->catalog && plan->segments && plan->sections && plan->items && plan->blobs && plan->uses ? MOTE_OK : MOTE_EBUDGET;
}

static int add_catalog(struct plan *plan, const struct stream_reader *reader)
{
    if (plan->catalog_bytes + (uint64_t)reader->payload_bytes > plan->begin.catalog_bytes)
        return stream_damaged(reader, "has more of a catalog than it says");
    memcpy(plan->catalog + plan->catalog_bytes, reader->payload, reader->payload_bytes);
    plan->catalog_bytes += reader->payload_bytes;
    return MOTE_OK;
}

static int count_catalog(struct plan *plan, const struct stream_reader *reader)
{
    struct byte_reader records = byte_reader_make(plan->catalog, plan->catalog_bytes);
    for (; byte_reader_left(&records) && !records.failed; plan->catalog_records++) {
        read_u32(&records);
        read_bytes(&records, read_u32(&records));
    }
    return records.failed ? stream_damaged(reader, "has a malformed catalog") : MOTE_OK;
}

static int add_segments(struct plan *plan, const struct stream_reader *reader)
{
    struct byte_reader records = byte_reader_make(reader->payload, reader->payload_bytes);
    while (byte_reader_left(&records)) {
        if (plan->segment_count == plan->begin.segment_count)
            return stream_damaged(reader, "has more segments than it says");
        struct plan_segment *segment = &plan->segments[plan->segment_count];
        segment->carried = (read_u32(&records) & STREAM_CARRIED) != 0;
        segment->timestamp_carried = (read_u32(&records) & STREAM_CARRIED) != 0;
        if (!manifest_segment_decode(&records, &segment->record))
            return stream_damaged(reader, "has a malformed segment");
        bool follows = plan->segment_count == 0 || segment->record.id > segment[-1].record.id;
        if (!follows || segment->record.segment_bytes == 0 || segment->record.segment_bytes > 1ull << 40 || segment->record.timestamp.length_bytes > 1ull << 40)
            return stream_damaged(reader, "has a malformed segment");
        plan->segment_count++;
    }
    return MOTE_OK;
}

static int add_sections(struct plan *plan, const struct stream_reader *reader)
{
    struct byte_reader records = byte_reader_make(reader->payload, reader->payload_bytes);
    while (byte_reader_left(&records)) {
        if (plan->section_count == plan->begin.section_count)
            return stream_damaged(reader, "has more sections than it says");
        struct plan_section *section = &plan->sections[plan->section_count];
        section->carried = (read_u32(&records) & STREAM_CARRIED) != 0;
        read_u32(&records);
        section->section.segment_id = read_u64(&records);
        section->section.index_id = read_u64(&records);
        manifest_section_decode(&records, &section->section.section);
        bool follows = plan->section_count == 0 || section->section.segment_id >= section[-1].section.segment_id;
        if (records.failed || !follows || section->section.section.length_bytes == 0 || section->section.section.length_bytes > 1ull << 40)
            return stream_damaged(reader, "has a malformed section");
        plan->section_count++;
    }
    return MOTE_OK;
}

static int add_blobs(struct plan *plan, const struct stream_reader *reader)
{
    struct byte_reader records = byte_reader_make(reader->payload, reader->payload_bytes);
    while (byte_reader_left(&records)) {
        if (plan->blob_count == plan->begin.blob_count)
            return stream_damaged(reader, "has more blob files than it says");
        struct plan_blob *blob = &plan->blobs[plan->blob_count];
        blob->carried = (read_u32(&records) & STREAM_CARRIED) != 0;
        read_u32(&records);
        blob->id = read_u64(&records);
        blob->table_id = read_u64(&records);
        blob->bytes = read_u64(&records);
        bool follows = plan->blob_count == 0 || blob->id > blob[-1].id;
        if (records.failed || !follows || blob->bytes == 0 || blob->bytes % PAGE_BYTES || blob->bytes > 1ull << 40)
            return stream_damaged(reader, "has a malformed blob file");
        plan->blob_count++;
    }
    return MOTE_OK;
}

static int add_uses(struct plan *plan, const struct stream_reader *reader)
{
    struct byte_reader records = byte_reader_make(reader->payload, reader->payload_bytes);
    while (byte_reader_left(&records)) {
        if (plan->use_count == plan->begin.use_count)
            return stream_damaged(reader, "has more uses of blob files than it says");
        struct blob_use *use = &plan->uses[plan->use_count];
        use->segment_id = read_u64(&records);
        use->file_id = read_u64(&records);
        use->bytes = read_u64(&records);
        bool follows = plan->use_count == 0 || use->segment_id > use[-1].segment_id || (use->segment_id == use[-1].segment_id && use->file_id > use[-1].file_id);
        if (records.failed || !follows)
            return stream_damaged(reader, "has a malformed use of a blob file");
        plan->use_count++;
    }
    return MOTE_OK;
}

static void add_item(struct plan *plan, enum stream_item_type type, uint64_t segment_id, uint64_t index_id, uint64_t bytes)
{
    if (plan->item_count < plan->begin.item_count)
        plan->items[plan->item_count] = (struct plan_item){.type = type, .segment_id = segment_id, .index_id = index_id, .bytes = bytes};
    plan->item_count++;
}

static int list_items(struct plan *plan, const struct stream_reader *reader)
{
    uint32_t k = 0, u = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->blob_count; i++) {
        if (plan->blobs[i].carried)
            add_item(plan, STREAM_ITEM_BLOB, plan->blobs[i].id, 0, plan->blobs[i].bytes);
        if (plan->item_count && plan->item_count <= plan->begin.item_count)
            plan->items[plan->item_count - 1].last_of_segment = true;
    }
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct plan_segment *segment = &plan->segments[i];
        uint32_t before = plan->item_count;
        if (segment->carried)
            add_item(plan, STREAM_ITEM_SEGMENT, segment->record.id, 0, segment->record.segment_bytes);
        if (segment->timestamp_carried)
            add_item(plan, STREAM_ITEM_TIMESTAMP, segment->record.id, 0, segment->record.timestamp.length_bytes);
        for (; k < plan->section_count && plan->sections[k].section.segment_id <= segment->record.id; k++) {
            if (plan->sections[k].section.segment_id != segment->record.id)
                return stream_damaged(reader, "has a section of no segment");
            if (plan->sections[k].carried)
                add_item(plan, STREAM_ITEM_SECTION, segment->record.id, plan->sections[k].section.index_id, plan->sections[k].section.section.length_bytes);
        }
        for (; u < plan->use_count && plan->uses[u].segment_id <= segment->record.id; u++)
            if (plan->uses[u].segment_id != segment->record.id)
                return stream_damaged(reader, "has uses of blob files by no segment");
        if (plan->item_count > before && plan->item_count <= plan->begin.item_count)
            plan->items[plan->item_count - 1].last_of_segment = true;
    }
    for (uint32_t i = 0; i < plan->item_count && i < plan->begin.item_count; i++)
        bytes += plan->items[i].bytes;
    if (k != plan->section_count || u != plan->use_count || plan->item_count != plan->begin.item_count || bytes != plan->begin.item_bytes)
        return stream_damaged(reader, "lists other items than it says");
    return MOTE_OK;
}

int plan_read(struct plan *plan, struct stream_reader *reader)
{
    int result = stream_take(reader);
    if (!result && (reader->kind != STREAM_BEGIN || reader->payload_bytes != STREAM_BEGIN_BYTES))
        result = error_set(MOTE_EDAMAGED, "the input is no stream of mote");
    if (!result)
        result = stream_begin_decode(reader->payload, &plan->begin);
    if (!result)
        memcpy(reader->id, plan->begin.point.id, sizeof reader->id);
    if (!result)
        result = allocate(plan);
    while (!result) {
        result = stream_take(reader);
        if (result || reader->kind == STREAM_PLANNED)
            break;
        if (reader->kind == STREAM_CATALOG)
            result = add_catalog(plan, reader);
        else if (reader->kind == STREAM_SEGMENTS)
            result = add_segments(plan, reader);
        else if (reader->kind == STREAM_SECTIONS)
            result = add_sections(plan, reader);
        else if (reader->kind == STREAM_BLOBS)
            result = add_blobs(plan, reader);
        else if (reader->kind == STREAM_USES)
            result = add_uses(plan, reader);
        else
            result = stream_damaged(reader, "is not in order");
    }
    if (!result)
        result = count_catalog(plan, reader);
    if (result)
        return result;
    if (plan->catalog_bytes != plan->begin.catalog_bytes || plan->catalog_records != plan->begin.catalog_records || plan->segment_count != plan->begin.segment_count ||
        plan->section_count != plan->begin.section_count || plan->blob_count != plan->begin.blob_count || plan->use_count != plan->begin.use_count)
        return stream_damaged(reader, "lists less than it says");
    return list_items(plan, reader);
}

/* ---- Placing ---- */

/* One run, first fit: structures of a segment must not lie across two. */
static bool place(struct plan *plan, uint64_t bytes, struct extent_run *run)
{
    uint64_t count = divide_up(bytes, plan->layout.extent_bytes), found = 0;
    for (uint32_t extent = 0; extent < plan->layout.extent_count; extent++) {
        found = plan->taken[extent / 64] >> (extent % 64) & 1 ? 0 : found + 1;
        if (found == count) {
            *run = (struct extent_run){extent + 1 - (uint32_t)count, (uint32_t)count};
            plan_take_run(plan, *run);
            return true;
        }
    }
    return false;
}

static int refuse_space(const struct plan *plan, const char *path)
{
    uint64_t needed = 0, free_count = 0;
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        needed += plan->segments[i].had ? 0 : divide_up(plan->segments[i].record.segment_bytes, plan->layout.extent_bytes);
        needed += plan->segments[i].timestamp_carried && !plan->segments[i].timestamp_had ? divide_up(plan->segments[i].record.timestamp.length_bytes, plan->layout.extent_bytes) : 0;
    }
    for (uint32_t i = 0; i < plan->section_count; i++)
        needed += plan->sections[i].had || !plan->sections[i].carried ? 0 : divide_up(plan->sections[i].section.section.length_bytes, plan->layout.extent_bytes);
    for (uint32_t i = 0; i < plan->blob_count; i++)
        needed += plan->blobs[i].had || !plan->blobs[i].carried ? 0 : divide_up(plan->blobs[i].bytes, plan->layout.extent_bytes);
    for (uint32_t extent = 0; extent < plan->layout.extent_count; extent++)
        free_count += !(plan->taken[extent / 64] >> (extent % 64) & 1);
    return error_set(MOTE_ENOSPC, "the stream does not fit %s: it needs %llu bytes in whole extents of %llu beside what is there, and %llu for the log; %llu more were free when the place ran out. Nothing was written; take a larger device", path,
                     (unsigned long long)(needed * plan->layout.extent_bytes), (unsigned long long)plan->layout.extent_bytes, (unsigned long long)PLAN_SPARE_BYTES, (unsigned long long)(free_count * plan->layout.extent_bytes));
}

static int place_segment(struct plan *plan, struct plan_segment *segment, const char *path)
{
    struct segment_record *record = &segment->record;
    plan_find_segment(plan, segment);
    if (!segment->had && !segment->carried)
        return error_set(MOTE_EINVAL, "the increment needs segment %llu, which %s does not have: it begins at another state", (unsigned long long)record->id, path);
    if (!segment->had) {
        record->extent_run_count = 1;
        memset(record->runs, 0, sizeof record->runs);
        if (!place(plan, record->segment_bytes, &record->runs[0]))
            return refuse_space(plan, path);
    }
    if (segment->timestamp_had)
        return MOTE_OK;
    if (!segment->timestamp_carried)
        record->timestamp = (struct segment_section){0};
    else if (!place(plan, record->timestamp.length_bytes, &record->timestamp.run))
        return refuse_space(plan, path);
    return MOTE_OK;
}

static int place_blob(struct plan *plan, struct plan_blob *blob, const char *path)
{
    plan_find_blob(plan, blob);
    if (blob->had)
        return MOTE_OK;
    if (!blob->carried)
        return error_set(MOTE_EINVAL, "the increment needs blob file %llu, which %s does not have: it begins at another state", (unsigned long long)blob->id, path);
    return place(plan, blob->bytes, &blob->run) ? MOTE_OK : refuse_space(plan, path);
}

/* Bytes that the image takes beside the state itself, at most. */
static uint64_t image_bytes(const struct plan *plan)
{
    return plan->begin.catalog_bytes + 320ull * plan->segment_count + 72ull * plan->section_count + 40ull * plan->blob_count + 32ull * plan->use_count + 4ull * MANIFEST_BAD_EXTENTS_MAX;
}

static int place_all(struct plan *plan, const char *path)
{
    uint64_t journal_bytes = 64u * 1024u + image_bytes(plan);
    struct extent_run spare;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < plan->blob_count && !result; i++)
        result = place_blob(plan, &plan->blobs[i], path);
    for (uint32_t i = 0; i < plan->segment_count && !result; i++)
        result = place_segment(plan, &plan->segments[i], path);
    for (uint32_t i = 0; i < plan->section_count && !result; i++) {
        struct plan_section *section = &plan->sections[i];
        plan_find_section(plan, section);
        if (!section->had && section->carried && !place(plan, section->section.section.length_bytes, &section->section.section.run))
            result = refuse_space(plan, path);
    }
    if (!result && (!place(plan, journal_bytes, &plan->journal) || !place(plan, PLAN_SPARE_BYTES, &spare)))
        result = refuse_space(plan, path);
    return result;
}

/* ---- The image ---- */

static void encode_state(struct plan *plan, struct manifest *manifest, struct byte_writer *writer)
{
    const struct manifest_state *state = manifest ? manifest_get_state(manifest) : NULL;
    struct manifest_receive receive = {.state = MANIFEST_RECEIVE_COMPLETE, .point = plan->begin.point};
    memcpy(receive.source_uuid, plan->begin.source_uuid, sizeof receive.source_uuid);
    manifest_record_begin(writer, MANIFEST_RECORD_STATE, 32);
    write_u64(writer, plan->begin.point.flushed_seq);
    write_u64(writer, state ? state->head_lsn : 0);
    write_u64(writer, 0);
    write_u64(writer, plan->begin.next_seq - 1);
    manifest_record_begin(writer, MANIFEST_RECORD_RECEIVE, MANIFEST_RECEIVE_RECORD_BYTES);
    manifest_receive_encode(&receive, writer);
    plan->image.record_count = 2 + plan->catalog_records;
    if (state && state->bad_extent_count) {
        manifest_record_begin(writer, MANIFEST_RECORD_BAD_EXTENTS, 4u * state->bad_extent_count);
        for (uint32_t i = 0; i < state->bad_extent_count; i++)
            write_u32(writer, state->bad_extents[i]);
        plan->image.record_count++;
    }
    write_bytes(writer, plan->catalog, plan->catalog_bytes);
}

static void encode_blobs(struct plan *plan, struct byte_writer *writer)
{
    for (uint32_t i = 0; i < plan->blob_count; i++, plan->image.record_count++) {
        manifest_record_begin(writer, MANIFEST_RECORD_BLOB_FILE, MANIFEST_BLOB_FILE_RECORD_BYTES);
        write_u64(writer, plan->blobs[i].id);
        write_u64(writer, plan->blobs[i].table_id);
        write_u32(writer, plan->blobs[i].run.first);
        write_u32(writer, plan->blobs[i].run.count);
    }
}

/* The segment's, from *at on. */
static void encode_uses(struct plan *plan, uint64_t segment_id, uint32_t *at, struct byte_writer *writer)
{
    uint32_t first = *at;
    while (*at < plan->use_count && plan->uses[*at].segment_id == segment_id)
        ++*at;
    if (*at == first)
        return;
    manifest_record_begin(writer, MANIFEST_RECORD_SEGMENT_BLOBS, 8u + (size_t)16 * (*at - first));
    write_u64(writer, segment_id);
    for (uint32_t i = first; i < *at; i++) {
        write_u64(writer, plan->uses[i].file_id);
        write_u64(writer, plan->uses[i].bytes);
    }
    plan->image.record_count++;
}

static int make_image(struct plan *plan, struct manifest *manifest)
{
    size_t room = 1024u + image_bytes(plan);
    plan->image.bytes = memory_alloc(plan->memory, room);
    if (!plan->image.bytes)
        return MOTE_EBUDGET;
    struct byte_writer writer = byte_writer_make(plan->image.bytes, room);
    encode_state(plan, manifest, &writer);
    encode_blobs(plan, &writer);
    uint32_t k = 0, u = 0;
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct plan_segment *segment = &plan->segments[i];
        manifest_record_begin(&writer, MANIFEST_RECORD_SEGMENT, MANIFEST_SEGMENT_RECORD_BYTES);
        manifest_segment_encode(&segment->record, &writer);
        plan->image.record_count++;
        for (; k < plan->section_count && plan->sections[k].section.segment_id == segment->record.id; k++) {
            const struct index_section *section = &plan->sections[k].section;
            if (!plan->sections[k].had && !plan->sections[k].carried)
                continue; /* the volume builds it when it is opened */
            manifest_record_begin(&writer, MANIFEST_RECORD_SECTION, MANIFEST_INDEX_SECTION_BYTES);
            write_u64(&writer, section->segment_id);
            write_u64(&writer, section->index_id);
            manifest_section_encode(&section->section, &writer);
            plan->image.record_count++;
        }
        encode_uses(plan, segment->record.id, &u, &writer);
    }
    assert(!writer.failed);
    plan->image.size_bytes = (uint32_t)byte_writer_size(&writer);
    memcpy(plan->image.counters, plan->begin.counters, sizeof plan->image.counters);
    return MOTE_OK;
}

/* Where each item goes, or that it is there. */
static void direct_items(struct plan *plan)
{
    uint32_t at = 0, k = 0;
    for (uint32_t i = 0; i < plan->blob_count; i++) {
        if (!plan->blobs[i].carried)
            continue;
        plan->items[at].had = plan->blobs[i].had;
        plan->items[at++].run = plan->blobs[i].run;
    }
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct plan_segment *segment = &plan->segments[i];
        struct plan_item *items = plan->items;
        if (segment->carried) {
            items[at].had = segment->had;
            items[at++].run = segment->record.runs[0];
        }
        if (segment->timestamp_carried) {
            items[at].had = segment->timestamp_had;
            items[at++].run = segment->record.timestamp.run;
        }
        for (; k < plan->section_count && plan->sections[k].section.segment_id == segment->record.id; k++) {
            if (!plan->sections[k].carried)
                continue;
            items[at].had = plan->sections[k].had;
            items[at++].run = plan->sections[k].section.section.run;
        }
    }
    assert(at == plan->item_count);
    for (at = 0; at < plan->item_count; at++)
        plan->had_item_count += plan->items[at].had;
}

int plan_make(struct plan *plan, struct manifest *manifest, const char *path)
{
    int result = place_all(plan, path);
    if (!result)
        result = make_image(plan, manifest);
    if (!result)
        direct_items(plan);
    return result;
}

/* The number of the item (from 1), 0 if it is there. */
static void put_place(struct byte_writer *writer, bool had, bool carried, uint32_t *item)
{
    if (carried)
        ++*item;
    write_u32(writer, had ? 0 : carried ? *item : PLAN_PLACE_NEVER);
}

int plan_journal(const struct plan *plan, uint8_t **bytes, uint32_t *size_bytes)
{
    uint64_t room = round_up(16ull + plan->image.size_bytes + 8ull * plan->segment_count + 4ull * plan->section_count + 4ull * plan->blob_count, PAGE_BYTES);
    *bytes = memory_alloc_aligned(plan->memory, room, PAGE_BYTES);
    if (!*bytes)
        return MOTE_EBUDGET;
    memset(*bytes, 0, room);
    struct byte_writer writer = byte_writer_make(*bytes, room);
    uint32_t item = 0, place_count = 0, k = 0;
    write_u32(&writer, plan->image.size_bytes);
    write_u32(&writer, 0);
    write_bytes(&writer, plan->image.bytes, plan->image.size_bytes);
    for (uint32_t i = 0; i < plan->blob_count; i++, place_count++)
        put_place(&writer, plan->blobs[i].had, plan->blobs[i].carried, &item);
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct plan_segment *segment = &plan->segments[i];
        put_place(&writer, segment->had, segment->carried, &item);
        put_place(&writer, segment->timestamp_had, segment->timestamp_carried, &item);
        place_count += 2;
        for (; k < plan->section_count && plan->sections[k].section.segment_id == segment->record.id; k++) {
            if (!plan->sections[k].had && !plan->sections[k].carried)
                continue;
            put_place(&writer, plan->sections[k].had, plan->sections[k].carried, &item);
            place_count++;
        }
    }
    assert(!writer.failed && item == plan->item_count);
    store_u32(*bytes + 4, place_count);
    *size_bytes = (uint32_t)byte_writer_size(&writer);
    return MOTE_OK;
}
