/* send.c: mote_send: the state of a volume at one moment as a stream (stream.h), while writers go on; and the bases that increments begin at.
 *
 * The state is what one version of the manifest holds just after a flush, with no DDL in between: so every row, name and schema in it is at or below flushed_seq, and nothing of the log belongs to it.
 *
 * What an increment leaves out. A state that was sent is remembered as a point (struct manifest_point): its flushed_seq, and a mark below which no segment id was still to be published when its version was taken, but for those of flushes, whose rows all have
 * later seqs. Hence a segment of today is in that state unless its id is at or above the mark or its seq_max above the point's flushed_seq. What a compaction under way had numbered is above the mark, since that is taken from the compaction's beginning. A few
 * segments that were in the state may be sent again for that; the receiver takes them or leaves them. A section of an index that should be there and is not is built anew from the rows by the receiver's volume, once it is opened.
 *
 * Blob files are appended to while they are in a state that is sent. So a point's section_mark is also at or below the id of each blob file that its stream did not carry, or that more bytes might come to: an increment carries those at or above it.
 *
 * Before a blob file goes, the large values of each segment that refers to it were read and held against their checksums, and each segment before it goes (send_check.c).
 *
 * Invariants: segments and blob files that are still to be sent are held one by one, and let go as soon as they were sent, so that retention gets its space back; a base is made durable only when the stream's end was taken by the caller.
 * Threads: any, several at once. Locks: ddl_mutex during the flush and the capture. Failures: those of mote_send; nothing is changed by one.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/crc32c.h"
#include "engine/lsm/manifest_format.h"
#include "engine/send_private.h"

/* ---- Where it begins ---- */

static const struct manifest_base *find_base(const struct manifest_state *state, const char *name)
{
    for (uint32_t i = 0; i < state->base_count; i++)
        if (strcmp(state->bases[i].name, name) == 0)
            return &state->bases[i];
    return NULL;
}

/* Under ddl_mutex. */
static int resolve_from(struct send *send)
{
    uint8_t uuid[16];
    struct mote_db *db = send->db;
    const char *from = send->options.from, *as = send->options.as;
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    const struct manifest_base *base = from ? find_base(state, from) : NULL;
    if (base)
        send->from = base->point;
    bool exists = as && find_base(state, as), full = as && state->base_count == MANIFEST_BASES_MAX;
    manifest_unlock(db->manifest);
    if (exists)
        return error_set(MOTE_EEXISTS, "a base named %s exists already", as);
    if (full)
        return error_set(MOTE_EBUDGET, "%u bases have names, the maximum: drop one", MANIFEST_BASES_MAX);
    if (!from || base)
        return MOTE_OK;
    if (!stream_token_decode(from, &send->from, uuid))
        return error_set(MOTE_ENOTFOUND, "there is no base named %.80s, nor is that a token", from);
    if (memcmp(uuid, db->superblock.uuid, sizeof uuid) != 0 || send->from.flushed_seq > atomic_load(&db->flushed_seq))
        return error_set(MOTE_EINVAL, "the token is of another volume than %s, or of a state that it is not in any more; send everything", blockdev_path(db->device));
    return MOTE_OK;
}

/* ---- The state ---- */

static bool has_pending(struct mote_db *db)
{
    uint64_t count = 0;
    return mote_pending_updates(db, NULL, &count) != MOTE_OK || count > 0;
}

static int compare_segments(const void *a, const void *b)
{
    uint64_t x = ((const struct sending *)a)->segment->record.id, y = ((const struct sending *)b)->segment->record.id;
    return x < y ? -1 : x > y;
}

static bool is_incremental(const struct send *send)
{
    static const uint8_t none[16];
    return memcmp(send->from.id, none, sizeof none) != 0;
}

static bool is_carried(const struct send *send, const struct segment_record *record)
{
    return !is_incremental(send) || record->id >= send->from.segment_mark || record->seq_max > send->from.flushed_seq;
}

static bool is_section_carried(const struct send *send, const struct sending *sending, const struct segment_section *section)
{
    return sending->carried || section->section_id >= send->from.section_mark;
}

static void count_item(struct send *send, uint64_t bytes)
{
    send->begin.item_count++;
    send->begin.item_bytes += bytes;
}

/* Decided once: what of the segment goes along. */
static void choose_items(struct send *send, struct sending *sending)
{
    const struct segment *segment = sending->segment;
    const struct segment_section *timestamp = &segment->record.timestamp;
    sending->carried = is_carried(send, &segment->record);
    send->begin.segments_carried += sending->carried;
    if (sending->carried)
        count_item(send, segment->record.segment_bytes);
    sending->timestamp_carried = timestamp->run.count > 0 && is_section_carried(send, sending, timestamp);
    if (sending->timestamp_carried)
        count_item(send, timestamp->length_bytes);
    assert(segment->index_count <= 32);
    for (uint32_t k = 0; k < segment->index_count; k++) {
        const struct segment_section *section = &segment->indexes[k].section;
        if (atomic_load(&segment->indexes[k].unusable))
            continue; /* the receiver's volume builds it */
        sending->sections |= 1u << k;
        send->begin.section_count++;
        if (!is_section_carried(send, sending, section))
            continue;
        sending->sections_carried |= 1u << k;
        count_item(send, section->length_bytes);
    }
}

/* Each segment of the version is held; under ddl_mutex, so that the schemas are those of the state (and stay until the volume is closed). */
static int list_segments(struct send *send)
{
    const struct version *version = send->image.version;
    uint32_t count = 0;
    for (uint32_t t = 0; t < version->count; t++)
        count += version->lists[t]->count;
    send->segments = memory_alloc_zero(send->db->memory, (count + 1) * sizeof *send->segments);
    if (!send->segments)
        return MOTE_EBUDGET;
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            struct sending *sending = &send->segments[send->begin.segment_count++];
            sending->segment = version->lists[t]->segments[s];
            sending->schema = catalog_live_schema(send->db, version->lists[t]->table_id);
            segment_hold(sending->segment);
        }
    qsort(send->segments, count, sizeof *send->segments, compare_segments);
    for (uint32_t i = 0; i < count; i++) {
        choose_items(send, &send->segments[i]);
        send->begin.use_count += send->segments[i].segment->blob_count;
    }
    return MOTE_OK;
}

/* After the version was taken: a file's bytes are those that its rows may refer to. */
static int list_files(struct send *send)
{
    int result = blobs_hold_version(send->db, send->image.version, &send->files, &send->begin.blob_count, &send->begin.point.section_mark);
    for (uint32_t i = 0; i < send->begin.blob_count && !result; i++)
        if (send_is_file_carried(send, &send->files[i]))
            count_item(send, send->files[i].bytes);
    return result;
}

/* What of a snapshot's records belongs to the state and not to the device that it lies on: 1; what the receiver makes anew: 0; what streams do not know: -1. */
static int judge_record(uint32_t kind)
{
    switch (kind) {
    case MANIFEST_RECORD_LOST_RANGES:
    case MANIFEST_RECORD_TABLE:
    case MANIFEST_RECORD_INDEX:
    case MANIFEST_RECORD_NAMED:
    case MANIFEST_RECORD_RETENTION:
    case MANIFEST_RECORD_PIN:
    case MANIFEST_RECORD_WATERMARK:
        return 1;
    case MANIFEST_RECORD_STATE:
    case MANIFEST_RECORD_LOG_RANGES:
    case MANIFEST_RECORD_INCARNATIONS:
    case MANIFEST_RECORD_BAD_EXTENTS:
    case MANIFEST_RECORD_SEGMENT:
    case MANIFEST_RECORD_SECTION:
    case MANIFEST_RECORD_BLOB_FILE:
    case MANIFEST_RECORD_SEGMENT_BLOBS:
    case MANIFEST_RECORD_RECEIVE:
    case MANIFEST_RECORD_BASE:
        return 0;
    default:
        return -1;
    }
}

/* The catalog's records move to the image's beginning, one after the other. */
static int gather_catalog(struct send *send)
{
    struct manifest_image *image = &send->image;
    uint32_t at = 0, kept = 0;
    for (uint32_t i = 0; i < image->record_count; i++) {
        uint32_t kind = load_u16(image->bytes + at), length = MANIFEST_RECORD_HEADER_BYTES + load_u32(image->bytes + at + 4);
        int judged = judge_record(kind);
        if (judged < 0)
            return error_set(MOTE_ENOTSUP, "%s holds something (manifest records of kind %u) that streams cannot carry yet", blockdev_path(send->db->device), kind);
        if (judged > 0) {
            memmove(image->bytes + kept, image->bytes + at, length);
            kept += length;
            send->begin.catalog_records++;
            send->begin.table_count += kind == MANIFEST_RECORD_TABLE;
        }
        at += length;
    }
    assert(at == image->size_bytes);
    send->begin.catalog_bytes = kept;
    return MOTE_OK;
}

static int fill_begin(struct send *send)
{
    struct mote_db *db = send->db;
    struct stream_begin *begin = &send->begin;
    const struct layout *layout = &db->superblock.layout;
    struct timespec now;
    if (getrandom(begin->point.id, sizeof begin->point.id, 0) != (ssize_t)sizeof begin->point.id)
        return error_set(MOTE_EINTERNAL, "the kernel gives no random bytes");
    clock_gettime(CLOCK_REALTIME, &now);
    begin->taken_ns = (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
    memcpy(begin->from_id, send->from.id, sizeof begin->from_id);
    memcpy(begin->source_uuid, db->superblock.uuid, sizeof begin->source_uuid);
    memcpy(begin->data_uuid, superblock_data_uuid(&db->superblock), sizeof begin->data_uuid);
    begin->point.flushed_seq = send->image.version->flushed_seq;
    begin->next_seq = begin->point.flushed_seq + 1;
    if (db->read_only && begin->next_seq <= atomic_load(&db->visible_seq))
        begin->next_seq = atomic_load(&db->visible_seq) + 1;
    memcpy(begin->counters, send->image.counters, sizeof begin->counters);
    begin->extent_bytes = layout->extent_bytes;
    begin->log_bytes_max = layout->log_bytes_max;
    begin->segments_max = layout->segments_max;
    return MOTE_OK;
}

/* Under ddl_mutex. */
static int capture(struct send *send)
{
    struct mote_db *db = send->db;
    uint64_t counters[MANIFEST_COUNTERS];
    int result = resolve_from(send);
    if (!result && db->read_only && has_pending(db))
        result = error_set(MOTE_EREADONLY, "the log of %s holds rows that are in no segment yet; open it read-write to send it", blockdev_path(db->device));
    if (!result && !db->read_only)
        result = flush_up_to(db, atomic_load(&db->visible_seq));
    if (result)
        return result;
    /* In this order: what is numbered below the counter and still under way is of a compaction that has told its first number by now. */
    manifest_get_counters(db->manifest, counters);
    uint64_t first_id = atomic_load(&db->compact_first_id);
    send->begin.point.segment_mark = first_id && first_id < counters[MANIFEST_COUNTER_SEGMENT] ? first_id : counters[MANIFEST_COUNTER_SEGMENT];
    send->begin.point.section_mark = counters[MANIFEST_COUNTER_SECTION];
    result = manifest_capture(db->manifest, &send->image);
    if (!result)
        result = fill_begin(send);
    if (!result)
        result = list_segments(send);
    if (!result)
        result = list_files(send);
    return result ? result : gather_catalog(send);
}

/* ---- Sending ---- */

int send_tell(struct send *send)
{
    send->transfer.stream_bytes = send->writer.bytes;
    return send->options.progress ? send->options.progress(&send->transfer, send->options.progress_context) : MOTE_OK;
}

/* A piece of the item from the device into the buffer; *length_bytes: as much of it as lies in one place. */
static int read_piece(struct send *send, const struct segment *segment, const struct segment_section *section, uint64_t offset_bytes, uint64_t *length_bytes)
{
    const struct layout *layout = &send->db->superblock.layout;
    uint64_t at = section ? layout_extent_offset(layout, section->run.first) + offset_bytes : segment_device_offset(&segment->record, layout, offset_bytes, *length_bytes, length_bytes);
    if (*length_bytes == 0)
        return error_set(MOTE_EDAMAGED, "segment %llu reaches beyond its extents", (unsigned long long)segment->record.id);
    return blockdev_read_range(send->queue, at, send->buffer, round_up(*length_bytes, PAGE_BYTES));
}

/* section NULL: the segment itself. id: its own, or the blob file's. */
static int put_item(struct send *send, const struct segment *segment, const struct segment_section *section, enum stream_item_type type, uint64_t id, uint64_t index_id)
{
    uint64_t total = section ? section->length_bytes : segment->record.segment_bytes;
    uint32_t crc = 0;
    uint8_t item[STREAM_ITEM_BYTES] = {0}, end[STREAM_ITEM_END_BYTES] = {0};
    store_u32(item, type);
    store_u64(item + 8, id);
    store_u64(item + 16, index_id);
    store_u64(item + 24, total);
    int result = stream_put(&send->writer, STREAM_ITEM, item, sizeof item, NULL, 0);
    for (uint64_t at = 0; at < total && !result;) {
        uint8_t head[8];
        uint64_t length = total - at < STREAM_CHUNK_BYTES ? total - at : STREAM_CHUNK_BYTES;
        result = read_piece(send, segment, section, at, &length);
        if (result)
            return result;
        crc = crc32c(crc, send->buffer, length);
        store_u64(head, at);
        result = stream_put(&send->writer, STREAM_DATA, head, sizeof head, send->buffer, (uint32_t)length);
        at += length;
        send->transfer.bytes_done += length;
        if (!result)
            result = send_tell(send);
    }
    store_u64(end, total);
    store_u32(end + 8, crc);
    return result ? result : stream_put(&send->writer, STREAM_ITEM_END, end, sizeof end, NULL, 0);
}

static int put_one(struct send *send, struct sending *sending)
{
    struct segment *segment = sending->segment;
    int result = sending->carried ? send_check_segment(send, sending) : MOTE_OK;
    if (!result && sending->carried)
        result = put_item(send, segment, NULL, STREAM_ITEM_SEGMENT, segment->record.id, 0);
    if (!result && sending->timestamp_carried)
        result = put_item(send, segment, &segment->record.timestamp, STREAM_ITEM_TIMESTAMP, segment->record.id, 0);
    for (uint32_t k = 0; k < segment->index_count && !result; k++) {
        if (!(sending->sections_carried >> k & 1))
            continue;
        result = send_check_section(send, segment, &segment->indexes[k]);
        if (!result)
            result = put_item(send, segment, &segment->indexes[k].section, STREAM_ITEM_SECTION, segment->record.id, segment->indexes[k].index_id);
    }
    segment_let_go(send->db->manifest, segment);
    sending->segment = NULL;
    return result;
}

static int put_file(struct send *send, struct blob_copy *copy)
{
    struct segment_section all = {.run = copy->file->run, .length_bytes = copy->bytes};
    int result = send_is_file_carried(send, copy) ? put_item(send, NULL, &all, STREAM_ITEM_BLOB, copy->file->id, 0) : MOTE_OK;
    blobs_let_go_copy(send->db, copy);
    return result;
}

static int put_stream(struct send *send)
{
    uint8_t begin[STREAM_BEGIN_BYTES];
    stream_begin_encode(&send->begin, begin);
    memcpy(send->writer.id, send->begin.point.id, sizeof send->writer.id);
    int result = stream_put(&send->writer, STREAM_BEGIN, begin, sizeof begin, NULL, 0);
    if (!result)
        result = send_lists(send);
    if (!result)
        result = stream_put(&send->writer, STREAM_PLANNED, NULL, 0, NULL, 0);
    version_release(send->db->manifest, send->image.version); /* from here on each segment is held by itself */
    send->image.version = NULL;
    for (uint32_t i = 0; i < send->begin.blob_count && !result; i++) {
        result = send_check_file(send, &send->files[i]);
        if (!result)
            result = put_file(send, &send->files[i]);
    }
    for (uint32_t i = 0; i < send->begin.segment_count && !result; i++)
        result = put_one(send, &send->segments[i]);
    if (!result)
        result = stream_put_end(&send->writer, send->begin.item_count);
    return result ? result : send_tell(send);
}

static int keep_base(struct send *send)
{
    struct mote_db *db = send->db;
    struct manifest_base base = {.point = send->begin.point, .taken_ns = send->begin.taken_ns};
    struct manifest_edit *edit;
    memcpy(base.name, send->options.as, strlen(send->options.as));
    pthread_mutex_lock(&db->ddl_mutex);
    int result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        manifest_edit_add_base(edit, &base);
        result = db_settle(db, manifest_commit(edit, NULL, NULL));
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    return result;
}

static int run(struct send *send)
{
    struct mote_db *db = send->db;
    struct blockdev_queue_options shared = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    send->buffer = memory_alloc_aligned(db->memory, STREAM_CHUNK_BYTES, PAGE_BYTES);
    int result = send->buffer ? blockdev_queue_create(db->device, &shared, &send->queue) : MOTE_EBUDGET;
    if (result)
        return result;
    pthread_mutex_lock(&db->ddl_mutex);
    result = capture(send);
    pthread_mutex_unlock(&db->ddl_mutex);
    send->transfer = (struct mote_transfer){.size_bytes = sizeof send->transfer, .bytes_total = send->begin.item_bytes, .segments_total = send->begin.segment_count, .segments_carried = send->begin.segments_carried,
                                            .flushed_seq = send->begin.point.flushed_seq, .incremental = is_incremental(send)};
    memcpy(send->transfer.state_id, send->begin.point.id, sizeof send->transfer.state_id);
    if (!result)
        result = put_stream(send);
    if (!result && send->options.as)
        result = keep_base(send);
    return result;
}

static void finish(struct send *send)
{
    struct memory *memory = send->db->memory;
    for (uint32_t i = 0; send->segments && i < send->begin.segment_count; i++)
        if (send->segments[i].segment)
            segment_let_go(send->db->manifest, send->segments[i].segment);
    version_release(send->db->manifest, send->image.version);
    blobs_let_go_copies(send->db, send->files, send->begin.blob_count);
    memory_free(memory, send->segments);
    memory_free(memory, send->image.bytes);
    memory_free(memory, send->buffer);
    if (send->queue)
        blockdev_queue_destroy(send->queue);
}

int mote_send(mote_db *db, const struct mote_send_options *options, int (*write)(const void *data, size_t size_bytes, void *context), void *context, struct mote_transfer *transfer)
{
    struct send send = {.db = db, .options = MOTE_SEND_OPTIONS_INIT, .writer = {.write = write, .context = context}};
    int result = db_check(db);
    if (!result && !db->read_only)
        result = db_check_writable(db);
    if (!result && (!write || (options && options->size_bytes < sizeof(size_t))))
        result = error_set(MOTE_EINVAL, "write is NULL, or options.size_bytes is not set: begin with MOTE_SEND_OPTIONS_INIT");
    if (result)
        return result;
    if (options)
        memcpy(&send.options, options, options->size_bytes < sizeof send.options ? options->size_bytes : sizeof send.options);
    if (send.options.no_verify > MOTE_NO_VERIFY_SEGMENTS)
        return error_set(MOTE_EINVAL, "no_verify is %u: it is one of enum mote_no_verify", send.options.no_verify);
    size_t name_bytes = send.options.as ? strlen(send.options.as) : 1;
    if (name_bytes == 0 || name_bytes > MOTE_NAME_BYTES_MAX)
        return error_set(name_bytes ? MOTE_ETOOBIG : MOTE_EINVAL, "the name of a base has 1 to %d bytes, not %zu", MOTE_NAME_BYTES_MAX, name_bytes);
    if (send.options.as && db->read_only)
        return error_set(MOTE_EREADONLY, "a base cannot be remembered on %s: it was opened read-only", blockdev_path(db->device));
    if (!db->read_only)
        producers_inline(db);
    result = run(&send);
    struct mote_error cause;
    error_get(&cause);
    finish(&send);
    if (transfer)
        *transfer = send.transfer;
    if (result)
        error_restore(&cause);
    return result;
}

/* ---- Bases ---- */

int mote_base_list(mote_db *db, int (*visit)(const struct mote_base_info *base, void *context), void *context)
{
    struct manifest_base bases[MANIFEST_BASES_MAX];
    int result = db_check(db);
    if (!result && !visit)
        result = error_set(MOTE_EINVAL, "visit is NULL");
    if (result)
        return result;
    manifest_lock(db->manifest);
    uint32_t count = manifest_get_state(db->manifest)->base_count;
    memcpy(bases, manifest_get_state(db->manifest)->bases, count * sizeof bases[0]);
    manifest_unlock(db->manifest);
    for (uint32_t i = 0; i < count && !result; i++) {
        struct mote_base_info info = {.size_bytes = sizeof info, .flushed_seq = bases[i].point.flushed_seq, .taken_ns = bases[i].taken_ns};
        memcpy(info.name, bases[i].name, sizeof info.name);
        stream_token_encode(&bases[i].point, db->superblock.uuid, info.token);
        result = visit(&info, context);
    }
    return result;
}

int mote_base_drop(mote_db *db, const char *name)
{
    int result = db_check_writable(db);
    if (!result && (!name || strlen(name) > MOTE_NAME_BYTES_MAX))
        result = error_set(MOTE_EINVAL, "the name of the base is NULL or too long");
    if (result)
        return result;
    struct manifest_edit *edit;
    pthread_mutex_lock(&db->ddl_mutex);
    result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        manifest_edit_drop_base(edit, name);
        result = db_settle(db, manifest_commit(edit, NULL, NULL));
    }
    pthread_mutex_unlock(&db->ddl_mutex);
    return result;
}
