/* wal_rig.c: see wal_rig.h. A row group is a record: u32 size, u32 count, u64 first seq, then bytes that follow from the first seq and their place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "include/mote.h"
#include "tests/support/wal_spy.h"

const uint8_t wal_rig_uuid[16] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8};
enum { RECORD_HEADER_BYTES = 16 };
static const uint64_t first_incarnation = 0x1122334455667788;

static void require(int code, const char *what)
{
    struct mote_error error = {0};
    if (code >= 0)
        return;
    mote_last_error(&error);
    fprintf(stderr, "rig: %s: %d: %s\n", what, code, error.message);
    abort();
}

static void set_defaults(struct wal_rig_options *options)
{
    options->barrier = options->barrier ? options->barrier : MOTE_BARRIER_FLUSH;
    options->inflight_max = options->inflight_max ? options->inflight_max : 3;
    options->stage_count = options->stage_count ? options->stage_count : options->inflight_max + 2;
    options->frame_bytes_max = options->frame_bytes_max ? options->frame_bytes_max : 16384;
    options->frame_align_bytes = options->frame_align_bytes ? options->frame_align_bytes : PAGE_BYTES;
    options->extent_bytes = options->extent_bytes ? options->extent_bytes : 65536;
    options->extent_count = options->extent_count ? options->extent_count : 16;
    options->extents_first = options->extents_first ? options->extents_first : options->extent_count;
    if (options->logical_block_bytes == 0)
        options->logical_block_bytes = options->frame_align_bytes < PAGE_BYTES ? options->frame_align_bytes : PAGE_BYTES;
}

/* The i-th extent of the log lies at i or beside it: some neighbours follow each other on the device, some do not. */
static uint64_t extent_position(uint32_t index)
{
    return index % 4 >= 2 ? index ^ 1u : index;
}

bool wal_rig_add_extent(struct wal_rig *rig)
{
    if (rig->range_count == rig->options.extent_count)
        return false;
    struct wal_range *range = &rig->ranges[rig->range_count];
    uint64_t lsn = rig->options.first_lsn;
    if (rig->range_count > 0)
        lsn = rig->ranges[rig->range_count - 1].lsn + rig->ranges[rig->range_count - 1].length_bytes;
    *range = (struct wal_range){lsn, extent_position(rig->range_count) * rig->options.extent_bytes, rig->options.extent_bytes};
    rig->range_count++;
    require(wal_add_range(rig->wal, range), "wal_add_range");
    return true;
}

static void need_space(void *context)
{
    struct wal_rig *rig = context;
    atomic_fetch_add(&rig->need_space_calls, 1);
    if (!rig->options.keep_space && !wal_rig_add_extent(rig))
        wal_set_space_error(rig->wal, MOTE_ENOSPC);
}

static struct wal_rig *prepare(const struct wal_rig_options *options, struct blockdev *sim)
{
    struct wal_rig *rig = calloc(1, sizeof *rig);
    if (!rig)
        abort();
    rig->options = *options;
    set_defaults(&rig->options);
    struct wal_rig_options *o = &rig->options;
    if (!sim) {
        struct sim_options sim_options = {.size_bytes = o->extent_bytes * (o->extent_count + 2),
                                          .logical_block_bytes = o->logical_block_bytes,
                                          .seed = o->seed,
                                          .reorder = o->reorder,
                                          .record = o->record};
        require(sim_create(&sim_options, &sim), "sim_create");
    }
    rig->sim = sim;
    struct blockdev *below = sim;
    if (o->faulty) {
        require(faulty_create(sim, &rig->faulty), "faulty_create");
        below = rig->faulty;
    }
    rig->spy = wal_spy_create(below, o->inflight_max, (uint64_t)o->inflight_max * o->frame_bytes_max, &rig->device);
    require(memory_create(16 * MIB_BYTES, false, &rig->memory), "memory_create");
    require(memory_create(8 * MIB_BYTES, false, &rig->recovery_memory), "memory_create");
    require(memory_seal(rig->recovery_memory), "memory_seal");
    struct wal_options wal_options = {.device = rig->device,
                                      .memory = rig->memory,
                                      .superblock_generation = 7,
                                      .frame_bytes_max = o->frame_bytes_max,
                                      .frame_align_bytes = o->frame_align_bytes,
                                      .inflight_max = o->inflight_max,
                                      .stage_count = o->stage_count,
                                      .barrier = o->barrier,
                                      .mark_delay_ms = o->mark_delay_ms,
                                      .inline_io = !o->threaded,
                                      .thread_only = o->thread_only,
                                      .low_space_bytes = o->low_space_bytes,
                                      .need_space = need_space,
                                      .on_durable = o->on_durable,
                                      .context = rig};
    memcpy(wal_options.uuid, wal_rig_uuid, 16);
    require(wal_create(&wal_options, &rig->wal), "wal_create");
    require(memory_seal(rig->memory), "memory_seal");
    wal_spy_watch(rig->spy, rig->wal);
    return rig;
}

static void start(struct wal_rig *rig, uint64_t first_lsn, uint64_t next_seq)
{
    struct wal_incarnation *live = &rig->incarnations[rig->incarnation_count];
    *live = (struct wal_incarnation){first_incarnation + rig->incarnation_count, first_lsn, UINT64_MAX};
    rig->incarnation_count++;
    rig->next_seq = next_seq;
    rig->user = rig;
    struct wal_start wal_start_options = {.incarnation = live->id, .first_lsn = first_lsn, .next_seq = next_seq, .superblock_generation = 7, .user = rig};
    require(wal_start(rig->wal, &wal_start_options), "wal_start");
}

struct wal_rig *wal_rig_open(const struct wal_rig_options *options)
{
    struct wal_rig *rig = prepare(options, NULL);
    for (uint32_t i = 0; i < rig->options.extents_first; i++)
        wal_rig_add_extent(rig);
    start(rig, rig->options.first_lsn, 1);
    return rig;
}

struct wal_rig *wal_rig_open_on(const struct wal_rig_options *options, struct blockdev *sim, const struct wal_incarnation *ended, uint32_t ended_count, const struct wal_range *ranges,
                                uint32_t range_count, uint64_t first_lsn, uint64_t next_seq)
{
    struct wal_rig *rig = prepare(options, sim);
    memcpy(rig->incarnations, ended, ended_count * sizeof *ended);
    rig->incarnation_count = ended_count;
    memcpy(rig->ranges, ranges, range_count * sizeof *ranges);
    rig->range_count = range_count;
    for (uint32_t i = 0; i < range_count; i++)
        require(wal_add_range(rig->wal, &ranges[i]), "wal_add_range");
    if (range_count == 0 || ranges[range_count - 1].lsn + ranges[range_count - 1].length_bytes <= first_lsn)
        wal_rig_add_extent(rig);
    start(rig, first_lsn, next_seq);
    return rig;
}

void wal_rig_stop(struct wal_rig *rig)
{
    wal_spy_hold(rig->spy, false);
    wal_destroy(rig->wal);
    rig->wal = NULL;
}

void wal_rig_destroy(struct wal_rig *rig)
{
    if (rig->wal)
        wal_rig_stop(rig);
    blockdev_close(rig->device);
    memory_destroy(rig->memory);
    memory_destroy(rig->recovery_memory);
    free(rig);
}

/* ---- Rows ---- */

static uint8_t pattern_byte(uint64_t seq, uint32_t at)
{
    return (uint8_t)((seq * 0x9E3779B97F4A7C15u + at * 0xBF58476D1CE4E5B9u) >> 56);
}

void wal_rig_fill(const struct wal_slot *slot, uint32_t count)
{
    store_u32(slot->payload, slot->size_bytes);
    store_u32(slot->payload + 4, count);
    store_u64(slot->payload + 8, slot->first_seq);
    for (uint32_t i = RECORD_HEADER_BYTES; i < slot->size_bytes; i++)
        slot->payload[i] = pattern_byte(slot->first_seq, i);
}

static bool check_record(struct byte_reader *reader, uint64_t seq, uint32_t *count)
{
    uint32_t size_bytes = read_u32(reader);
    *count = read_u32(reader);
    uint64_t first_seq = read_u64(reader);
    if (reader->failed || first_seq != seq || size_bytes < RECORD_HEADER_BYTES)
        return false;
    const uint8_t *bytes = read_bytes(reader, size_bytes - RECORD_HEADER_BYTES);
    if (!bytes)
        return false;
    for (uint32_t i = RECORD_HEADER_BYTES; i < size_bytes; i++)
        if (bytes[i - RECORD_HEADER_BYTES] != pattern_byte(seq, i))
            return false;
    return true;
}

static bool check_payload(const uint8_t *payload, uint32_t payload_bytes, uint64_t first_seq, uint32_t count)
{
    struct byte_reader reader = byte_reader_make(payload, payload_bytes);
    uint64_t seq = first_seq;
    while (byte_reader_left(&reader) > 0) {
        uint32_t record_count;
        if (!check_record(&reader, seq, &record_count))
            return false;
        seq += record_count;
    }
    return seq == first_seq + count;
}

int wal_rig_reserve(struct wal_rig *rig, uint32_t size_bytes, uint32_t count, struct wal_slot *slot)
{
    int code;
    do
        code = wal_reserve(rig->wal, size_bytes, count, wal_active_user(rig->wal), slot);
    while (code == WAL_RETRY);
    if (code == MOTE_OK)
        wal_rig_fill(slot, count);
    return code;
}

int wal_rig_append(struct wal_rig *rig, uint32_t size_bytes, uint32_t count, enum wal_urgency urgency, uint32_t delay_ms, uint64_t *seq)
{
    struct wal_slot slot;
    int code = wal_rig_reserve(rig, size_bytes, count, &slot);
    if (code != MOTE_OK)
        return code;
    wal_publish(rig->wal, &slot, urgency, delay_ms);
    if (seq)
        *seq = slot.first_seq + count - 1;
    return MOTE_OK;
}

uint64_t wal_rig_append_durable(struct wal_rig *rig, uint32_t size_bytes, uint32_t count)
{
    uint64_t seq = 0;
    require(wal_rig_append(rig, size_bytes, count, WAL_URGENCY_NOW, 0, &seq), "append");
    require(wal_wait(rig->wal, seq, INT64_MAX), "wait");
    return seq;
}

/* ---- Recovery ---- */

static int take_frame(void *context, const struct wal_frame *frame, const uint8_t *payload)
{
    struct wal_rig_found *found = context;
    if (found->first_seq == 0)
        found->first_seq = frame->first_seq;
    else if (frame->first_seq != found->last_seq + 1)
        found->gap_count++;
    if (!check_payload(payload, frame->payload_bytes, frame->first_seq, frame->count))
        found->content_good = false;
    found->last_seq = frame->first_seq + frame->count - 1;
    if (found->frame_count < sizeof found->frame_lsn / sizeof *found->frame_lsn) {
        found->frame_lsn[found->frame_count] = frame->lsn;
        found->frame_bytes[found->frame_count] = frame->frame_bytes;
        found->frame_first_seq[found->frame_count] = frame->first_seq;
        found->frame_count++;
    }
    return MOTE_OK;
}

static void take_damage(void *context, uint64_t lsn_from, uint64_t lsn_to, uint64_t seq_from, uint64_t seq_to)
{
    struct wal_rig_found *found = context;
    if (found->damage_count < WAL_RIG_DAMAGES_MAX) {
        found->damages[found->damage_count].lsn_from = lsn_from;
        found->damages[found->damage_count].lsn_to = lsn_to;
        found->damages[found->damage_count].seq_from = seq_from;
        found->damages[found->damage_count].seq_to = seq_to;
    }
    found->damage_count++;
}

void wal_rig_recover(struct wal_rig *rig, struct blockdev *device, bool continue_on_damage, struct wal_rig_found *found)
{
    struct blockdev_queue *queue;
    struct blockdev_queue_options queue_options = {.depth = 8};
    require(blockdev_queue_create(device, &queue_options, &queue), "queue");
    memset(found, 0, sizeof *found);
    found->content_good = true;
    found->recovery = (struct wal_recovery){.queue = queue,
                                            .memory = rig->recovery_memory,
                                            .ranges = rig->ranges,
                                            .range_count = rig->range_count,
                                            .incarnations = rig->incarnations,
                                            .incarnation_count = rig->incarnation_count,
                                            .head_lsn = rig->options.first_lsn,
                                            .window_bytes = (uint64_t)rig->options.inflight_max * rig->options.frame_bytes_max,
                                            .frame_bytes_max = rig->options.frame_bytes_max,
                                            .frame_align_bytes = rig->options.frame_align_bytes,
                                            .continue_on_damage = continue_on_damage,
                                            .on_frame = take_frame,
                                            .on_damage = take_damage,
                                            .context = found};
    memcpy(found->recovery.uuid, wal_rig_uuid, 16);
    found->result = wal_recover(&found->recovery);
    blockdev_queue_destroy(queue);
}

uint64_t wal_rig_offset(const struct wal_rig *rig, uint64_t lsn)
{
    for (uint32_t i = 0; i < rig->range_count; i++)
        if (lsn >= rig->ranges[i].lsn && lsn < rig->ranges[i].lsn + rig->ranges[i].length_bytes)
            return rig->ranges[i].device_offset_bytes + (lsn - rig->ranges[i].lsn);
    abort();
}
