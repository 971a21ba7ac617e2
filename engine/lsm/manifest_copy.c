/* manifest_copy.c: a volume's state taken along as the records of a snapshot, tried out in memory, and put in the place of another; and what the manifest knows of copies: bases, receives. For engine/send.c and engine/receive.c.
 *
 * Invariants
 *   1. manifest_capture yields records, counters and a version of one moment.
 *   2. manifest_replace changes what the superblock points to in one step: before it the old state holds, after it the new one, which was tried (manifest_try) on the same layout.
 *   3. At most MANIFEST_BASES_MAX bases, no two of one name; at most one receive record.
 * Threads: capture by any thread; the other calls by whoever has the manifest for himself. Failures: as manifest_commit; manifest_replace poisons once it wrote.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

#define BASE_CATALOG_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_BASE_RECORD_BYTES)
#define RECEIVE_CATALOG_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_RECEIVE_RECORD_BYTES)

/* ---- Bytes ---- */

static void encode_point(const struct manifest_point *point, struct byte_writer *writer)
{
    write_bytes(writer, point->id, sizeof point->id);
    write_u64(writer, point->flushed_seq);
    write_u64(writer, point->segment_mark);
    write_u64(writer, point->section_mark);
}

static void decode_point(struct byte_reader *reader, struct manifest_point *point)
{
    const uint8_t *id = read_bytes(reader, sizeof point->id);
    if (id)
        memcpy(point->id, id, sizeof point->id);
    point->flushed_seq = read_u64(reader);
    point->segment_mark = read_u64(reader);
    point->section_mark = read_u64(reader);
}

void manifest_receive_encode(const struct manifest_receive *receive, struct byte_writer *writer)
{
    write_u32(writer, receive->state);
    write_u32(writer, receive->done_count);
    write_bytes(writer, receive->source_uuid, sizeof receive->source_uuid);
    encode_point(&receive->point, writer);
    encode_point(&receive->incoming, writer);
    write_u32(writer, receive->journal.first);
    write_u32(writer, receive->journal.count);
    write_u32(writer, receive->journal_bytes);
    write_u32(writer, receive->journal_crc);
}

bool manifest_receive_decode(struct byte_reader *reader, struct manifest_receive *receive)
{
    *receive = (struct manifest_receive){.state = read_u32(reader), .done_count = read_u32(reader)};
    const uint8_t *uuid = read_bytes(reader, sizeof receive->source_uuid);
    if (uuid)
        memcpy(receive->source_uuid, uuid, sizeof receive->source_uuid);
    decode_point(reader, &receive->point);
    decode_point(reader, &receive->incoming);
    receive->journal.first = read_u32(reader);
    receive->journal.count = read_u32(reader);
    receive->journal_bytes = read_u32(reader);
    receive->journal_crc = read_u32(reader);
    return !reader->failed && receive->state <= MANIFEST_RECEIVE_ANEW;
}

void manifest_base_encode(const struct manifest_base *base, struct byte_writer *writer)
{
    char name[MOTE_NAME_BYTES_MAX + 1] = {0};
    memcpy(name, base->name, strnlen(base->name, MOTE_NAME_BYTES_MAX));
    write_bytes(writer, name, sizeof name);
    encode_point(&base->point, writer);
    write_u64(writer, (uint64_t)base->taken_ns);
}

bool manifest_base_decode(struct byte_reader *reader, struct manifest_base *base)
{
    *base = (struct manifest_base){0};
    const uint8_t *name = read_bytes(reader, sizeof base->name);
    if (!name)
        return false;
    memcpy(base->name, name, sizeof base->name);
    decode_point(reader, &base->point);
    base->taken_ns = (int64_t)read_u64(reader);
    size_t length = strnlen(base->name, sizeof base->name);
    for (size_t i = length; i < sizeof base->name; i++)
        if (base->name[i])
            return false;
    return !reader->failed && length > 0 && length < sizeof base->name;
}

/* ---- Edits ---- */

void manifest_edit_set_receive(struct manifest_edit *edit, const struct manifest_receive *receive)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_RECEIVE, MANIFEST_RECEIVE_RECORD_BYTES);
    manifest_receive_encode(receive, &writer);
}

void manifest_edit_add_base(struct manifest_edit *edit, const struct manifest_base *base)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_BASE, MANIFEST_BASE_RECORD_BYTES);
    manifest_base_encode(base, &writer);
}

void manifest_edit_drop_base(struct manifest_edit *edit, const char *name)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_DROP_BASE, MOTE_NAME_BYTES_MAX + 1);
    char bytes[MOTE_NAME_BYTES_MAX + 1] = {0};
    memcpy(bytes, name, strnlen(name, MOTE_NAME_BYTES_MAX));
    write_bytes(&writer, bytes, sizeof bytes);
}

int manifest_apply_receive(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_receive receive;
    const struct layout *layout = &stage->manifest->layout;
    if (!manifest_receive_decode(reader, &receive))
        return error_set(MOTE_EINVAL, "the record of a receive is malformed");
    if (receive.journal.count && (receive.journal.first >= layout->extent_count || receive.journal.count > layout->extent_count - receive.journal.first ||
                                  receive.journal_bytes > receive.journal.count * layout->extent_bytes))
        return error_set(MOTE_EINVAL, "the journal of a receive lies outside the device");
    if (!stage->state->receive.state && receive.state)
        stage->catalog_bytes += RECEIVE_CATALOG_BYTES;
    if (stage->state->receive.state && !receive.state)
        stage->catalog_bytes -= RECEIVE_CATALOG_BYTES;
    stage->state->receive = receive;
    return MOTE_OK;
}

static uint32_t find_base(const struct manifest_state *state, const char *name)
{
    uint32_t at = 0;
    while (at < state->base_count && strcmp(state->bases[at].name, name) != 0)
        at++;
    return at;
}

int manifest_apply_base(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_base base;
    if (!manifest_base_decode(reader, &base))
        return error_set(MOTE_EINVAL, "the record of a base is malformed");
    if (find_base(state, base.name) < state->base_count)
        return error_set(MOTE_EEXISTS, "a base named %s exists already", base.name);
    if (state->base_count == MANIFEST_BASES_MAX)
        return error_set(MOTE_EBUDGET, "%u bases have names, the maximum: drop one", MANIFEST_BASES_MAX);
    state->bases[state->base_count++] = base;
    stage->catalog_bytes += BASE_CATALOG_BYTES;
    return MOTE_OK;
}

int manifest_apply_drop_base(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    char name[MOTE_NAME_BYTES_MAX + 1] = {0};
    const uint8_t *bytes = read_bytes(reader, sizeof name);
    if (bytes)
        memcpy(name, bytes, sizeof name - 1);
    uint32_t at = find_base(state, name);
    if (at == state->base_count)
        return error_set(MOTE_ENOTFOUND, "no base is named %s", name);
    state->base_count--;
    memmove(&state->bases[at], &state->bases[at + 1], (state->base_count - at) * sizeof state->bases[0]);
    assert(stage->catalog_bytes >= BASE_CATALOG_BYTES);
    stage->catalog_bytes -= BASE_CATALOG_BYTES;
    return MOTE_OK;
}

uint32_t manifest_copies_encode(const struct manifest_state *state, struct byte_writer *writer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->base_count; i++, count++) {
        manifest_record_begin(writer, MANIFEST_RECORD_BASE, MANIFEST_BASE_RECORD_BYTES);
        manifest_base_encode(&state->bases[i], writer);
    }
    if (state->receive.state) {
        manifest_record_begin(writer, MANIFEST_RECORD_RECEIVE, MANIFEST_RECEIVE_RECORD_BYTES);
        manifest_receive_encode(&state->receive, writer);
        count++;
    }
    return count;
}

/* ---- The state as a whole ---- */

void manifest_get_counters(const struct manifest *manifest, uint64_t counters[MANIFEST_COUNTER_COUNT])
{
    for (unsigned i = 0; i < MANIFEST_COUNTER_COUNT; i++)
        counters[i] = atomic_load(&manifest->counters[i]);
}

int manifest_capture(struct manifest *manifest, struct manifest_image *image)
{
    *image = (struct manifest_image){0};
    pthread_mutex_lock(&manifest->mutex);
    struct byte_writer writer = byte_writer_make(manifest->frame, manifest->frame_bytes_max);
    int result = manifest_snapshot_encode(&manifest->state, manifest->current, &writer, &image->record_count) ? MOTE_OK : error_set(MOTE_EINTERNAL, "the manifest's state does not fit half an area; please report it");
    image->size_bytes = (uint32_t)byte_writer_size(&writer);
    if (!result && !(image->bytes = memory_alloc(manifest->memory, image->size_bytes)))
        result = MOTE_EBUDGET;
    if (!result) {
        memcpy(image->bytes, manifest->frame, image->size_bytes);
        manifest_get_counters(manifest, image->counters);
        image->version = version_acquire(manifest);
    }
    pthread_mutex_unlock(&manifest->mutex);
    return result;
}

int manifest_try(struct memory *memory, const struct layout *layout, uint32_t tables_max, const struct manifest_image *image, struct manifest **out)
{
    *out = NULL;
    struct manifest *manifest;
    int result = manifest_make(memory, layout, tables_max, &manifest);
    if (result)
        return result;
    struct stage stage;
    manifest_stage_begin(manifest, &stage, MANIFEST_FRAME_SNAPSHOT, true, image->counters);
    result = image->size_bytes + MANIFEST_HEADER_BYTES > manifest->frame_bytes_max
                 ? error_set(MOTE_ENOSPC, "the manifest has room for %" PRIu64 " bytes and %u are needed; format with a larger segments_max", manifest->frame_bytes_max, image->size_bytes)
                 : manifest_stage_apply(&stage, image->bytes, image->size_bytes, image->record_count);
    if (result)
        manifest_stage_rollback(&stage);
    else
        manifest_stage_install(&stage, NULL, NULL, NULL);
    if (result)
        manifest_close(manifest);
    else
        *out = manifest;
    return result;
}
