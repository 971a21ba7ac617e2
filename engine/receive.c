/* receive.c: mote_receive: a stream becomes a volume, or brings one on.
 *
 * Order (each step may be cut by a power failure; a later receive goes on)
 *   1. the stream's beginning is read: catalog, segments, sections; everything is placed in memory, and the state that it leads to is tried as a manifest (receive_plan.c). Up to here nothing was written.
 *   2. a new volume: both superblock regions are cleared, FLUSH; an empty manifest. Then the journal into free extents, FLUSH, an edit that records the receive, and (a new volume) the superblock, last.
 *   3. item by item: its bytes into its extents; when a segment is whole, all its checksums, and those of its sections, are checked as they can be read from the device; every so often FLUSH, and an edit with the number of items done.
 *   4. the stream's end is checked; FLUSH; the planned state becomes the volume's by one snapshot of the manifest and one superblock.
 *
 * Invariants: what the volume's present state refers to is not written to, nor is the journal that its manifest names; an item counts as done only when it is durable and was checked; the new state is never seen in part.
 * Threads: one; the device is its own. Failures: those of mote_receive; after a failure the device is as a power cut would leave it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/probe.h"
#include "engine/lsm/manifest_format.h"
#include "engine/receive_private.h"
#include "index/index.h"

#define RECEIVE_MEMORY_BYTES (384u * MIB_BYTES)
#define RECEIVE_CACHE_BYTES (8u * MIB_BYTES)
#define RECEIVE_TABLES_MAX 16384u
#define STEP_BYTES_MIN (8u * 1024u)
#define STEP_BYTES_MAX (16u * MIB_BYTES) /* between two edits that tell how far it came, at most */

static bool is_zero(const uint8_t id[16])
{
    static const uint8_t none[16];
    return memcmp(id, none, sizeof none) == 0;
}

static bool same_id(const uint8_t a[16], const uint8_t b[16]) { return memcmp(a, b, 16) == 0; }

/* ---- The device ---- */

static int open_manifest(struct receive *receive)
{
    struct manifest_options options = {.device = receive->device, .memory = receive->memory, .superblock = &receive->superblock, .tables_max = RECEIVE_TABLES_MAX, .complete = wear_complete, .complete_context = &receive->wear};
    return manifest_open(&options, &receive->manifest);
}

/* The volume that is there, if one is: MOTE_EFOREIGN otherwise. */
static int open_volume(struct receive *receive)
{
    int result = wear_read_superblock(&receive->wear, receive->device, receive->queue, &receive->superblock);
    if (!result)
        result = open_manifest(receive);
    if (!result)
        receive->record = manifest_get_state(receive->manifest)->receive;
    return result;
}

static void close_volume(struct receive *receive)
{
    manifest_close(receive->manifest);
    receive->manifest = NULL;
    receive->record = (struct manifest_receive){0};
}

/* The journal of a receive that was cut; *bytes NULL: there is none to go on from. */
static int read_journal(struct receive *receive, uint8_t **bytes)
{
    const struct manifest_receive *record = &receive->record;
    *bytes = NULL;
    if (record->journal.count == 0)
        return MOTE_OK;
    uint64_t length = round_up(record->journal_bytes, PAGE_BYTES);
    *bytes = memory_alloc_aligned(receive->memory, length, PAGE_BYTES);
    if (!*bytes)
        return MOTE_EBUDGET;
    int result = blockdev_read_range(receive->queue, layout_extent_offset(&receive->superblock.layout, record->journal.first), *bytes, length);
    if (!result && crc32c(0, *bytes, record->journal_bytes) != record->journal_crc)
        result = error_set(MOTE_EDAMAGED, "the journal of the receive that was cut fails its checksum; format %s and begin anew", blockdev_path(receive->device));
    return result;
}

/* Goes on from what is there: an increment, or a stream of which a part has come. */
static int plan_onto(struct receive *receive)
{
    const struct stream_begin *begin = &receive->plan.begin;
    const struct manifest_receive *record = &receive->record;
    uint8_t *journal = NULL;
    bool cut = record->state == MANIFEST_RECEIVE_INCREMENT || record->state == MANIFEST_RECEIVE_ANEW;
    bool goes_on = cut && (same_id(record->incoming.id, begin->point.id) || same_id(record->incoming.id, begin->from_id));
    if (!same_id(superblock_data_uuid(&receive->superblock), begin->data_uuid))
        return error_set(MOTE_EINVAL, "the stream is of another volume than the one that %s was received from", blockdev_path(receive->device));
    receive->plan.same_stream = cut && same_id(record->incoming.id, begin->point.id);
    int result = goes_on ? read_journal(receive, &journal) : MOTE_OK;
    if (!result)
        result = plan_device(&receive->plan, &receive->superblock.layout, receive->manifest, journal, journal ? receive->record.journal_bytes : 0, receive->record.done_count);
    if (!result)
        result = plan_make(&receive->plan, receive->manifest, blockdev_path(receive->device));
    memory_free(receive->memory, journal);
    receive->transfer.resumed = goes_on;
    receive->anew = record->state == MANIFEST_RECEIVE_ANEW;
    return result;
}

static int refuse_base(const struct receive *receive)
{
    const char *path = blockdev_path(receive->device);
    if (receive->record.state == MANIFEST_RECEIVE_NONE)
        return error_set(MOTE_EINVAL, "the stream is an increment, and %s was not received from a stream, or was opened read-write since: send everything", path);
    return error_set(MOTE_EINVAL, "the stream is an increment of another state than the one that %s is in: send it from that one (its token tells it), or everything", path);
}

static int lay_out(struct receive *receive, uint64_t size_bytes, struct layout *layout)
{
    const struct stream_begin *begin = &receive->plan.begin;
    const struct mote_format_options *format = &receive->format;
    int result = layout_compute(size_bytes, format->extent_bytes, format->segments_max, format->log_bytes_max, layout);
    if (result || format->segments_max || layout->segments_max >= begin->segment_count + begin->segment_count / 4 + 16)
        return result;
    /* A smaller device, or one with larger extents, than the source's: room for as many segments as there are, and some more. */
    uint32_t segments_max = begin->segment_count + begin->segment_count / 4 + 16;
    return layout_compute(size_bytes, format->extent_bytes, segments_max, format->log_bytes_max, layout);
}

static int plan_anew(struct receive *receive)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(receive->device);
    struct superblock superblock = {.generation = 1, .clean = 1, .logical_block_bytes = geometry->logical_block_bytes, .manifest_sequence = 1, .features_incompat = SUPERBLOCK_INCOMPAT_DATA_UUID};
    int result = format_choose_uuid(&receive->format, superblock.uuid);
    if (!result)
        result = lay_out(receive, geometry->size_bytes, &superblock.layout);
    if (result)
        return result;
    memcpy(superblock.data_uuid, receive->plan.begin.data_uuid, sizeof superblock.data_uuid);
    receive->superblock = superblock;
    receive->anew = true;
    result = plan_device(&receive->plan, &superblock.layout, NULL, NULL, 0, 0);
    return result ? result : plan_make(&receive->plan, NULL, blockdev_path(receive->device));
}

/* Under which circumstances the device takes this stream; what is there is looked at, nothing is written but what heals its manifest. */
static int plan_for_device(struct receive *receive, bool may_destroy)
{
    const struct stream_begin *begin = &receive->plan.begin;
    const struct manifest_receive *record = &receive->record;
    bool increment = !is_zero(begin->from_id);
    int opened = open_volume(receive);
    if (opened && increment)
        return opened;
    bool cut = !opened && (record->state == MANIFEST_RECEIVE_INCREMENT || record->state == MANIFEST_RECEIVE_ANEW);
    if (cut && same_id(record->incoming.id, begin->point.id))
        return plan_onto(receive);
    if (increment) {
        bool fits = (cut && same_id(record->incoming.id, begin->from_id)) || (record->state && record->state != MANIFEST_RECEIVE_ANEW && same_id(record->point.id, begin->from_id));
        return fits ? plan_onto(receive) : refuse_base(receive);
    }
    close_volume(receive);
    int result = may_destroy ? MOTE_OK : format_refuse_content(receive->device, &receive->format, NULL);
    return result ? result : plan_anew(receive);
}

/* ---- Beginning ---- */

static int try_plan(struct receive *receive)
{
    int result = manifest_try(receive->memory, &receive->superblock.layout, receive->plan.begin.table_count + 1, &receive->plan.image, &receive->tried);
    if (result == MOTE_ENOSPC || result == MOTE_EBUDGET || !result)
        return result;
    struct mote_error cause;
    error_get(&cause);
    return error_set(MOTE_EDAMAGED, "the stream leads to no volume (%.200s); send it again", cause.message);
}

static int commit_record(struct receive *receive)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(receive->manifest, &edit);
    if (result)
        return result;
    manifest_edit_set_receive(edit, &receive->record);
    return manifest_commit(edit, NULL, NULL);
}

static int write_journal(struct receive *receive)
{
    uint8_t *bytes;
    uint32_t length;
    int result = plan_journal(&receive->plan, &bytes, &length);
    if (result)
        return result;
    receive->record.journal = receive->plan.journal;
    receive->record.journal_bytes = length;
    receive->record.journal_crc = crc32c(0, bytes, length);
    result = blockdev_write_range(receive->queue, BLOCKDEV_SOURCE_OTHER, layout_extent_offset(&receive->superblock.layout, receive->plan.journal.first), bytes, round_up(length, PAGE_BYTES));
    memory_free(receive->memory, bytes);
    return result ? result : blockdev_flush(receive->queue);
}

static int begin_writing(struct receive *receive)
{
    bool fresh = !receive->manifest;
    int result = MOTE_OK;
    receive->begun = true;
    if (fresh) {
        result = superblock_format_invalidate(receive->queue, &receive->superblock.layout);
        if (!result)
            result = manifest_format(receive->queue, &receive->superblock);
        if (!result)
            result = open_manifest(receive);
    }
    if (result)
        return result;
    receive->record.state = receive->anew ? MANIFEST_RECEIVE_ANEW : MANIFEST_RECEIVE_INCREMENT;
    receive->record.incoming = receive->plan.begin.point;
    receive->record.done_count = 0;
    memcpy(receive->record.source_uuid, receive->plan.begin.source_uuid, sizeof receive->record.source_uuid);
    result = write_journal(receive);
    if (!result)
        result = commit_record(receive);
    if (!result && fresh)
        result = wear_write_first_superblock(&receive->wear, receive->device, receive->queue, &receive->superblock);
    return result;
}

static int begin_checking(struct receive *receive)
{
    receive->sst = (struct sst_context){.device = receive->device, .memory = receive->memory, .cache = receive->cache, .layout = &receive->superblock.layout, .timestamps = &timestamp_index_ops, .indexes = engine_index_ops};
    memcpy(receive->sst.uuid, receive->plan.begin.data_uuid, sizeof receive->sst.uuid);
    uint64_t step = receive->plan.begin.item_bytes / 32;
    receive->step_bytes = step < STEP_BYTES_MIN ? STEP_BYTES_MIN : step > STEP_BYTES_MAX ? STEP_BYTES_MAX : step;
    return MOTE_OK;
}

/* ---- Items ---- */

static int tell(struct receive *receive)
{
    receive->transfer.stream_bytes = receive->reader.bytes;
    return receive->options.progress ? receive->options.progress(&receive->transfer, receive->options.progress_context) : MOTE_OK;
}

/* The record's bytes go to where they belong; written is how much of the item came before. */
static int put_data(struct receive *receive, const struct plan_item *item, uint64_t written, uint32_t *length_out)
{
    const struct stream_reader *reader = &receive->reader;
    uint32_t length = reader->payload_bytes - 8;
    if (reader->payload_bytes <= 8 || load_u64(reader->payload) != written || written % PAGE_BYTES || length > STREAM_CHUNK_BYTES || length > item->bytes - written)
        return stream_damaged(reader, "holds data of another place");
    *length_out = length;
    if (item->had)
        return MOTE_OK;
    uint64_t padded = round_up(length, PAGE_BYTES);
    memcpy(receive->chunk, reader->payload + 8, length);
    memset(receive->chunk + length, 0, padded - length);
    return blockdev_write_range(receive->queue, BLOCKDEV_SOURCE_OTHER, layout_extent_offset(&receive->superblock.layout, item->run.first) + written, receive->chunk, padded);
}

static int take_item(struct receive *receive, const struct plan_item *item)
{
    struct stream_reader *reader = &receive->reader;
    const uint8_t *payload = reader->payload;
    int result = stream_take(reader);
    if (result)
        return result;
    if (reader->kind != STREAM_ITEM || reader->payload_bytes != STREAM_ITEM_BYTES || load_u32(payload) != item->type || load_u64(payload + 8) != item->segment_id || load_u64(payload + 16) != item->index_id ||
        load_u64(payload + 24) != item->bytes)
        return stream_damaged(reader, "carries another item than it listed");
    uint32_t crc = 0, length = 0;
    for (uint64_t written = 0; written < item->bytes; written += length) {
        result = stream_take(reader);
        if (!result && reader->kind != STREAM_DATA)
            result = stream_damaged(reader, "lacks data of an item");
        if (!result)
            result = put_data(receive, item, written, &length);
        if (result)
            return result;
        crc = crc32c(crc, payload + 8, length);
        receive->transfer.bytes_done += length;
        receive->transfer.bytes_kept += item->had ? length : 0;
        receive->unsaved_bytes += item->had ? 0 : length;
        result = tell(receive);
        if (result)
            return result;
    }
    result = stream_take(reader);
    if (!result && (reader->kind != STREAM_ITEM_END || reader->payload_bytes != STREAM_ITEM_END_BYTES || load_u64(payload) != item->bytes || load_u32(payload + 8) != crc))
        result = stream_damaged(reader, "holds an item that fails its checksum");
    receive->item_crc = crc;
    return result;
}

static int save(struct receive *receive, uint32_t done_count)
{
    int result = blockdev_flush(receive->queue);
    receive->record.done_count = done_count;
    receive->unsaved_bytes = 0;
    return result ? result : commit_record(receive);
}

static int take_items(struct receive *receive)
{
    const struct plan *plan = &receive->plan;
    bool fresh = false;
    for (uint32_t i = 0; i < plan->item_count; i++) {
        const struct plan_item *item = &plan->items[i];
        int result = take_item(receive, item);
        fresh = fresh || !item->had;
        if (!result && item->last_of_segment && fresh) {
            result = receive_check(receive, item);
            fresh = false;
        }
        if (!result && item->last_of_segment && receive->unsaved_bytes >= receive->step_bytes)
            result = save(receive, i + 1);
        if (result)
            return result;
    }
    return MOTE_OK;
}

static int conclude(struct receive *receive)
{
    int result = stream_take(&receive->reader);
    if (!result && receive->reader.kind != STREAM_END)
        result = stream_damaged(&receive->reader, "goes on behind its last item");
    if (!result)
        result = stream_check_end(&receive->reader, receive->plan.item_count);
    if (!result)
        result = blockdev_flush(receive->queue);
    if (!result)
        result = manifest_replace(receive->manifest, &receive->plan.image);
    return result ? result : tell(receive);
}

/* ---- The whole ---- */

static int prepare(struct receive *receive)
{
    void *region;
    int result = memory_create(RECEIVE_MEMORY_BYTES, false, &receive->memory); /* of address space: what is not used is not there */
    if (result)
        return result;
    region = memory_carve(receive->memory, RECEIVE_CACHE_BYTES, PAGE_BYTES);
    result = region ? memory_seal(receive->memory) : MOTE_EBUDGET;
    if (!result)
        result = cache_create(receive->memory, region, RECEIVE_CACHE_BYTES, RECEIVE_CACHE_BYTES / PAGE_BYTES, &receive->cache);
    receive->plan.memory = receive->memory;
    if (!result && !(receive->chunk = memory_alloc_aligned(receive->memory, STREAM_CHUNK_BYTES, PAGE_BYTES)))
        result = MOTE_EBUDGET;
    if (!result && !(receive->reader.payload = memory_alloc(receive->memory, STREAM_PAYLOAD_BYTES_MAX)))
        result = MOTE_EBUDGET;
    return result;
}

static void fill_transfer(struct receive *receive)
{
    const struct stream_begin *begin = &receive->plan.begin;
    receive->transfer = (struct mote_transfer){.size_bytes = sizeof receive->transfer, .bytes_total = begin->item_bytes, .segments_total = begin->segment_count, .segments_carried = begin->segments_carried,
                                               .flushed_seq = begin->point.flushed_seq, .incremental = !is_zero(begin->from_id)};
    memcpy(receive->transfer.state_id, begin->point.id, sizeof receive->transfer.state_id);
}

/* The device is open; the beginning was read. */
static int receive_onto(struct receive *receive, bool may_destroy)
{
    struct blockdev_queue_options shared = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    int result = blockdev_queue_create(receive->device, &shared, &receive->queue);
    if (!result)
        result = plan_for_device(receive, may_destroy);
    if (!result)
        result = try_plan(receive);
    if (!result)
        result = begin_checking(receive);
    if (!result)
        result = begin_writing(receive);
    if (!result)
        result = take_items(receive);
    return result ? result : conclude(receive);
}

static void finish(struct receive *receive)
{
    manifest_close(receive->tried);
    manifest_close(receive->manifest);
    plan_free(&receive->plan);
    if (receive->memory) {
        memory_free(receive->memory, receive->chunk);
        memory_free(receive->memory, receive->reader.payload);
    }
    if (receive->cache)
        cache_destroy(receive->cache);
    if (receive->queue)
        blockdev_queue_destroy(receive->queue);
    if (receive->memory)
        memory_destroy(receive->memory);
}

static int take_options(struct receive *receive, const struct mote_receive_options *options)
{
    receive->options = (struct mote_receive_options)MOTE_RECEIVE_OPTIONS_INIT;
    receive->format = (struct mote_format_options)MOTE_FORMAT_OPTIONS_INIT;
    if (options && options->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options.size_bytes is not set: begin with MOTE_RECEIVE_OPTIONS_INIT");
    if (options)
        memcpy(&receive->options, options, options->size_bytes < sizeof receive->options ? options->size_bytes : sizeof receive->options);
    const struct mote_format_options *format = receive->options.format;
    if (format && format->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options.format->size_bytes is not set: begin with MOTE_FORMAT_OPTIONS_INIT");
    if (format)
        memcpy(&receive->format, format, format->size_bytes < sizeof receive->format ? format->size_bytes : sizeof receive->format);
    return MOTE_OK;
}

/* path NULL: the device is open. */
static int run(struct receive *receive, const char *path, struct blockdev *device)
{
    struct blockdev_open_options how = {.busy_timeout_ms = receive->format.open_timeout_ms ? receive->format.open_timeout_ms : BUSY_TIMEOUT_MS};
    struct stat status;
    bool create = path && stat(path, &status) != 0 && errno == ENOENT;
    struct layout layout;
    int result = prepare(receive);
    if (!result)
        result = plan_read(&receive->plan, &receive->reader);
    if (result)
        return result;
    fill_transfer(receive);
    if (create && receive->format.image_size_bytes == 0)
        return error_set(MOTE_ENODEV, "%s does not exist: give a size to create an image file there", path);
    if (create)
        result = lay_out(receive, receive->format.image_size_bytes, &layout);
    if (!result && create)
        result = blockdev_image_create(path, receive->format.image_size_bytes, receive->format.sparse != 0, NULL, NULL);
    if (!result && path)
        result = blockdev_open(path, &how, &device);
    if (result)
        return result;
    receive->created = create;
    receive->device = device;
    return receive_onto(receive, !path);
}

static int receive_any(const char *path, struct blockdev *device, const struct mote_receive_options *options, int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context), void *context,
                       struct mote_transfer *transfer)
{
    struct receive *receive = calloc(1, sizeof *receive);
    if (!receive)
        return error_set(MOTE_ENOMEM, "out of memory while receiving");
    receive->reader.read = read;
    receive->reader.context = context;
    int result = take_options(receive, options);
    if (!result)
        result = run(receive, path, device);
    struct mote_error cause;
    error_get(&cause);
    finish(receive);
    if (path && receive->device)
        blockdev_close(receive->device);
    if (receive->created && !receive->begun)
        unlink(path);
    receive->transfer.stream_bytes = receive->reader.bytes;
    if (transfer)
        *transfer = receive->transfer;
    free(receive);
    if (result)
        error_restore(&cause);
    return result;
}

int engine_receive(struct blockdev *device, const struct mote_receive_options *options, int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context), void *context, struct mote_transfer *transfer)
{
    return receive_any(NULL, device, options, read, context, transfer);
}

int mote_receive(const char *path, const struct mote_receive_options *options, int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context), void *context, struct mote_transfer *transfer)
{
    if (!path || !read)
        return error_set(MOTE_EINVAL, "the path or the read function is NULL");
    return receive_any(path, NULL, options, read, context, transfer);
}

/* ---- Tokens ---- */

/* Where a receive was cut: all segments and blob files below the first one that is not whole are there. */
static int describe_cut(struct receive *receive, struct manifest_point *point)
{
    uint8_t *journal;
    int result = read_journal(receive, &journal);
    if (!result)
        result = plan_device(&receive->plan, &receive->superblock.layout, receive->manifest, journal, receive->record.journal_bytes, receive->record.done_count);
    memory_free(receive->memory, journal);
    *point = receive->record.incoming;
    for (uint32_t i = 0; i < receive->plan.had_segment_count && !result; i++) {
        const struct plan_segment *had = &receive->plan.had_segments[i];
        bool twin = (i > 0 && had[-1].record.id == had->record.id && had[-1].had) || (i + 1 < receive->plan.had_segment_count && had[1].record.id == had->record.id && had[1].had);
        if (!had->had && !twin && had->record.id < point->segment_mark)
            point->segment_mark = had->record.id;
    }
    for (uint32_t i = 0; i < receive->plan.had_blob_count && !result; i++) {
        const struct plan_blob *had = &receive->plan.had_blobs[i];
        if (had->of_journal && !had->had && had->id < point->section_mark)
            point->section_mark = had->id;
    }
    return result;
}

static int find_token(struct receive *receive, char *token)
{
    struct blockdev_queue_options shared = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    struct manifest_point point;
    int result = prepare(receive);
    if (!result)
        result = blockdev_queue_create(receive->device, &shared, &receive->queue);
    if (!result)
        result = open_volume(receive);
    if (result)
        return result;
    point = receive->record.point;
    if (receive->record.state == MANIFEST_RECEIVE_NONE)
        return error_set(MOTE_ENOTFOUND, "%s was not received from a stream, or was opened read-write since", blockdev_path(receive->device));
    if (receive->record.state != MANIFEST_RECEIVE_COMPLETE)
        result = describe_cut(receive, &point);
    if (!result)
        stream_token_encode(&point, receive->record.source_uuid, token);
    return result;
}

int engine_receive_token(struct blockdev *device, char token[MOTE_TOKEN_BYTES])
{
    struct receive *receive = calloc(1, sizeof *receive);
    if (!receive)
        return error_set(MOTE_ENOMEM, "out of memory");
    receive->device = device;
    int result = find_token(receive, token);
    struct mote_error cause;
    error_get(&cause);
    finish(receive);
    free(receive);
    if (result)
        error_restore(&cause);
    return result;
}

int mote_receive_token(const char *path, char token[MOTE_TOKEN_BYTES])
{
    struct blockdev *device;
    struct blockdev_open_options how = {.busy_timeout_ms = BUSY_TIMEOUT_MS};
    if (!path || !token)
        return error_set(MOTE_EINVAL, "the path or the result pointer is NULL");
    int result = blockdev_open(path, &how, &device);
    if (result)
        return result;
    result = engine_receive_token(device, token);
    blockdev_close(device);
    return result;
}
