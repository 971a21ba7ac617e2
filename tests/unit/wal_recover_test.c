/* wal_recover_test.c: damage. A log whose frames are all durable is changed in one place; recovery must say exactly what is lost, or that nothing acknowledged is. Every frame of several logs, every kind of
 * loss. The oracle knows from the intact log which frames witness which (design: durable_lsn, or the largest window). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "include/mote.h"
#include "tests/support/wal_rig.h"
#include "wal/wal_format.h"

/* One frame as the intact image holds it, of any kind. */
struct placed {
    struct wal_frame frame;
    uint64_t offset_bytes;
};

struct intact {
    struct wal_rig *rig;
    uint8_t *image;
    uint64_t image_bytes;
    struct placed frames[400];
    uint32_t frame_count;
};

static void list_frames(struct intact *intact)
{
    struct wal_rig *rig = intact->rig;
    uint64_t lsn = 0;
    const uint64_t mapped_end = rig->ranges[rig->range_count - 1].lsn + rig->options.extent_bytes;
    while (lsn < mapped_end) {
        uint64_t offset = wal_rig_offset(rig, lsn);
        struct placed *placed = &intact->frames[intact->frame_count];
        if (wal_frame_decode(intact->image + offset, intact->image_bytes - offset, wal_rig_uuid, lsn, rig->options.frame_bytes_max, &placed->frame) != MOTE_OK)
            break;
        placed->offset_bytes = offset;
        intact->frame_count++;
        lsn += placed->frame.frame_bytes;
        cr_assert_lt(intact->frame_count, 400);
    }
}

static void make_log(struct intact *intact, const struct wal_rig_options *options, uint32_t append_count, bool mark, bool close)
{
    memset(intact, 0, sizeof *intact);
    struct wal_rig *rig = intact->rig = wal_rig_open(options);
    unsigned random = (unsigned)options->seed + append_count;
    uint64_t seq = 0, end_lsn;
    for (uint32_t i = 0; i < append_count; i++) {
        uint32_t size_bytes = 16 + (uint32_t)rand_r(&random) % 9000;
        uint32_t count = 1 + (uint32_t)rand_r(&random) % 3;
        cr_assert_eq(wal_rig_append(rig, size_bytes, count, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        if (rand_r(&random) % 3 == 0)
            wal_pump(rig->wal);
    }
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
    if (mark) {
        usleep(1500);
        wal_pump(rig->wal);
    }
    if (close)
        cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
    wal_rig_stop(rig);
    intact->image_bytes = blockdev_geometry(rig->sim)->size_bytes;
    intact->image = malloc(intact->image_bytes);
    sim_read_content(rig->sim, true, intact->image);
    list_frames(intact);
}

static void drop_log(struct intact *intact)
{
    free(intact->image);
    wal_rig_destroy(intact->rig);
}

static void recover_image(struct intact *intact, const uint8_t *image, bool continue_on_damage, struct wal_rig_found *found)
{
    struct blockdev *device;
    struct sim_options options = {.size_bytes = intact->image_bytes, .logical_block_bytes = intact->rig->options.logical_block_bytes, .initial = image, .initial_borrowed = true};
    cr_assert_eq(sim_create(&options, &device), MOTE_OK);
    wal_rig_recover(intact->rig, device, continue_on_damage, found);
    blockdev_close(device);
}

/* Everything below this is proved durable by the frames other than `lost`. */
static uint64_t proof_of(const struct intact *intact, uint32_t lost)
{
    uint64_t proof = 0;
    const uint64_t window = (uint64_t)intact->rig->options.inflight_max * intact->rig->options.frame_bytes_max;
    for (uint32_t i = 0; i < intact->frame_count; i++) {
        const struct wal_frame *frame = &intact->frames[i].frame;
        uint64_t end = frame->lsn + frame->frame_bytes;
        if (i == lost)
            continue;
        proof = frame->durable_lsn > proof ? frame->durable_lsn : proof;
        proof = end > window && end - window > proof ? end - window : proof;
    }
    return proof;
}

enum loss { LOSS_FLIP_HEADER, LOSS_FLIP_PAYLOAD, LOSS_ZERO, LOSS_FIRST_SECTOR, LOSS_STALE, LOSS_MISDIRECTED, LOSS_COUNT };

static void lose_frame(const struct intact *intact, uint32_t index, enum loss loss, uint8_t *image)
{
    const struct placed *placed = &intact->frames[index];
    uint8_t *at = image + placed->offset_bytes;
    const struct placed *other = &intact->frames[index ? index - 1 : 1];
    uint32_t written = placed->frame.kind == WAL_FRAME_PAD ? 512 : placed->frame.frame_bytes;
    switch (loss) {
    case LOSS_FLIP_HEADER:
        at[40] ^= 4;
        break;
    case LOSS_FLIP_PAYLOAD:
        at[placed->frame.payload_bytes ? 128 + placed->frame.payload_bytes - 1 : 90] ^= 1;
        break;
    case LOSS_ZERO:
        memset(at, 0, written);
        break;
    case LOSS_FIRST_SECTOR:
        memset(at, 0xFF, 512);
        break;
    case LOSS_STALE: /* What the place held before: a frame of an older lap. */
        store_u64(at + 24, placed->frame.lsn - 1048576);
        break;
    case LOSS_MISDIRECTED: /* Another frame's write landed here. */
        memcpy(at, image + other->offset_bytes, 512);
        break;
    default:
        abort();
    }
}

/* Loses frame `index` and compares the verdict with the oracle's. */
static void check_loss(struct intact *intact, uint32_t index, enum loss loss, uint8_t *scratch)
{
    static struct wal_rig_found found;
    const struct wal_frame *frame = &intact->frames[index].frame;
    const struct wal_frame *last = &intact->frames[intact->frame_count - 1].frame;
    const bool has_next = index + 1 < intact->frame_count;
    const uint64_t seq_to = has_next ? frame->first_seq + frame->count - 1 : UINT64_MAX;
    memcpy(scratch, intact->image, intact->image_bytes);
    lose_frame(intact, index, loss, scratch);
    bool damaged = proof_of(intact, index) > frame->lsn;
    recover_image(intact, scratch, false, &found);
    cr_assert(found.content_good);
    cr_assert_eq(found.last_seq, frame->first_seq > 1 ? frame->first_seq - 1 : 0, "frame %u loss %d: rows up to the hole", index, (int)loss);
    cr_assert_eq(found.recovery.end_lsn, frame->lsn);
    if (!damaged) {
        cr_assert_eq(found.result, MOTE_OK);
        cr_assert_eq(found.recovery.verdict, WAL_TORN_TAIL, "frame %u loss %d", index, (int)loss);
        cr_assert_eq(found.damage_count, 0);
        if (has_next)
            cr_assert_eq(found.recovery.next_seq, last->first_seq + last->count, "dropped seqs stay used");
        return;
    }
    struct mote_error error;
    cr_assert_eq(found.result, MOTE_ELOST, "frame %u of %u loss %d", index, intact->frame_count, (int)loss);
    mote_last_error(&error);
    cr_assert_eq(error.lsn, frame->lsn);
    cr_assert_eq(error.offset_bytes, intact->frames[index].offset_bytes);
    cr_assert_eq(found.recovery.verdict, WAL_DAMAGED);
    cr_assert_eq(found.recovery.damaged_lsn_from, frame->lsn);
    cr_assert_eq(found.recovery.damaged_lsn_to, frame->lsn + frame->frame_bytes);
    cr_assert_eq(found.damages[0].seq_from, index > 0 ? frame->first_seq : 0, "a lower bound");
    cr_assert_eq(found.damages[0].seq_to, seq_to);
    recover_image(intact, scratch, true, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.recovery.verdict, WAL_DAMAGED);
    cr_assert_eq(found.recovery.damage_count, 1);
    cr_assert(found.content_good);
    if (has_next) {
        cr_assert_eq(found.recovery.row_count, last->first_seq + last->count - 1 - frame->count, "all rows but the lost ones");
        cr_assert_eq(found.recovery.end_lsn, last->lsn + last->frame_bytes);
    }
}

Test(wal_recover, any_lost_frame_is_judged_by_its_witnesses)
{
    static struct intact intact;
    uint32_t damage_known = 0, tails = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct wal_rig_options options = {.seed = seed, .frame_align_bytes = seed % 2 ? 4096 : 512, .mark_delay_ms = seed % 3 == 0, .inflight_max = 1 + (uint32_t)seed % 4, .barrier = seed % 4 == 1 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH};
        make_log(&intact, &options, 40, seed % 3 == 0, seed % 5 == 0);
        cr_assert_gt(intact.frame_count, 5);
        uint8_t *scratch = malloc(intact.image_bytes);
        for (uint32_t i = 0; i < intact.frame_count; i++)
            for (int loss = 0; loss < LOSS_COUNT; loss++)
                check_loss(&intact, i, (enum loss)loss, scratch);
        for (uint32_t i = 0; i < intact.frame_count; i++)
            proof_of(&intact, i) > intact.frames[i].frame.lsn ? damage_known++ : tails++;
        free(scratch);
        drop_log(&intact);
    }
    cr_assert_gt(damage_known, 100);
    cr_assert_geq(tails, 12, "the last frame of an unmarked log has no witness");
}

Test(wal_recover, idle_mark_witnesses_the_last_frame)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.mark_delay_ms = 1}, 5, true, false);
    const struct placed *mark = &intact.frames[intact.frame_count - 1], *rows = mark - 1;
    cr_assert_eq(mark->frame.kind, (uint32_t)WAL_FRAME_MARK);
    intact.image[rows->offset_bytes + 200] ^= 1;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_ELOST);
    cr_assert_eq(found.recovery.damaged_lsn_from, rows->frame.lsn);
    intact.image[rows->offset_bytes + 200] ^= 1;
    intact.image[mark->offset_bytes + 20] ^= 1;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK, "a mark itself was never acknowledged to anyone");
    cr_assert_eq(found.last_seq, rows->frame.first_seq + rows->frame.count - 1);
    drop_log(&intact);
}

Test(wal_recover, several_damages_are_all_reported_and_crossed)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.mark_delay_ms = 1}, 40, true, false);
    const uint32_t lost[] = {0, 3, 4, 5, 9};
    uint64_t lost_rows = 0;
    for (int i = 0; i < 5; i++) {
        intact.image[intact.frames[lost[i]].offset_bytes + 64] ^= 1;
        lost_rows += intact.frames[lost[i]].frame.count;
    }
    recover_image(&intact, intact.image, true, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.damage_count, 3);
    const uint32_t from[] = {0, 3, 9}, to[] = {1, 6, 10};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(found.damages[i].lsn_from, intact.frames[from[i]].frame.lsn);
        cr_assert_eq(found.damages[i].lsn_to, intact.frames[to[i]].frame.lsn);
        cr_assert_eq(found.damages[i].seq_to, intact.frames[to[i]].frame.first_seq - 1);
        if (i > 0)
            cr_assert_eq(found.damages[i].seq_from, intact.frames[from[i]].frame.first_seq);
    }
    const struct wal_frame *last = &intact.frames[intact.frame_count - 1].frame;
    cr_assert_eq(found.recovery.row_count, last->first_seq - 1 - lost_rows);
    cr_assert(found.content_good);
    drop_log(&intact);
}

Test(wal_recover, window_alone_proves_damage)
{
    /* Without marks and with durable_lsn forged away nothing but the distance is left. */
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.inflight_max = 1, .extent_count = 16}, 40, false, false);
    const uint64_t window = 16384;
    uint32_t crc = 0;
    for (uint32_t i = 0; i < intact.frame_count; i++) {
        struct wal_frame frame = intact.frames[i].frame;
        frame.durable_lsn = 0;
        frame.previous_crc = crc;
        crc = wal_frame_encode(intact.image + intact.frames[i].offset_bytes, wal_rig_uuid, &frame);
    }
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.frame_count, found.recovery.frame_count - (intact.frame_count - found.frame_count));
    const struct wal_frame *last = &intact.frames[intact.frame_count - 1].frame;
    int damaged = 0, torn = 0;
    for (uint32_t i = 0; i < intact.frame_count; i++) {
        const struct wal_frame *frame = &intact.frames[i].frame;
        bool beyond = last->lsn + last->frame_bytes > frame->lsn + window && i + 1 < intact.frame_count;
        intact.image[intact.frames[i].offset_bytes + 33] ^= 1;
        recover_image(&intact, intact.image, false, &found);
        cr_assert_eq(found.result, beyond ? MOTE_ELOST : MOTE_OK, "frame %u", i);
        intact.image[intact.frames[i].offset_bytes + 33] ^= 1;
        beyond ? damaged++ : torn++;
    }
    cr_assert(damaged > 10 && torn > 0);
    drop_log(&intact);
}

Test(wal_recover, broken_chain_is_a_hole)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.mark_delay_ms = 1}, 24, true, false);
    cr_assert_gt(intact.frame_count, 5);
    const struct placed *placed = &intact.frames[3];
    struct wal_frame frame = placed->frame;
    frame.previous_crc ^= 1;
    wal_frame_encode(intact.image + placed->offset_bytes, wal_rig_uuid, &frame);
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_ELOST);
    cr_assert_eq(found.recovery.damaged_lsn_from, frame.lsn);
    drop_log(&intact);
}

Test(wal_recover, frames_of_an_unknown_owner_count_for_nothing)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){0}, 10, false, false);
    const struct wal_frame *last = &intact.frames[intact.frame_count - 1].frame;
    uint64_t end = last->lsn + last->frame_bytes;
    struct wal_frame late = {.lsn = end, .incarnation = 99, .first_seq = 1000000, .count = 1, .payload_bytes = 16, .frame_bytes = 4096, .kind = WAL_FRAME_ROWS, .durable_lsn = end, .superblock_generation = 1000};
    wal_frame_encode(intact.image + wal_rig_offset(intact.rig, end), wal_rig_uuid, &late);
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.recovery.end_lsn, end);
    cr_assert_eq(found.recovery.next_seq, last->first_seq + last->count);
    cr_assert_eq(found.recovery.highest_generation, 7);
    drop_log(&intact);
}

Test(wal_recover, ended_incarnation_must_be_whole_and_its_dropped_frames_stay_dropped)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.extent_count = 8}, 24, false, false);
    struct wal_rig *rig = intact.rig;
    cr_assert_gt(intact.frame_count, 8);
    const uint64_t id = rig->incarnations[0].id;
    const struct wal_frame *seventh = &intact.frames[7].frame, *last = &intact.frames[intact.frame_count - 1].frame;
    /* As if recovery had found the end before frame 7, and a second owner had written nothing yet. */
    rig->incarnations[0].end_lsn = seventh->lsn;
    rig->incarnations[1] = (struct wal_incarnation){id + 1, 6 * 65536, UINT64_MAX};
    rig->incarnation_count = 2;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.recovery.verdict, WAL_TORN_TAIL);
    cr_assert_eq(found.last_seq, seventh->first_seq - 1);
    cr_assert_eq(found.recovery.end_lsn, 6 * 65536, "where the live one would go on");
    cr_assert_eq(found.recovery.next_seq, last->first_seq + last->count);
    cr_assert_eq(found.recovery.highest_lsn, 8 * 65536);
    /* A bad frame below the known end is damage without any witness. */
    intact.image[intact.frames[6].offset_bytes + 12] ^= 1;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_ELOST);
    cr_assert_eq(found.recovery.damaged_lsn_from, intact.frames[6].frame.lsn);
    cr_assert_eq(found.recovery.damaged_lsn_to, seventh->lsn);
    recover_image(&intact, intact.image, true, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.damages[0].seq_to, UINT64_MAX);
    cr_assert_eq(found.last_seq, intact.frames[6].frame.first_seq - 1);
    /* All incarnations ended: clean, if whole. */
    intact.image[intact.frames[6].offset_bytes + 12] ^= 1;
    rig->incarnation_count = 1;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.recovery.verdict, WAL_CLEAN);
    cr_assert_eq(found.recovery.end_lsn, seventh->lsn);
    drop_log(&intact);
}

Test(wal_recover, loss_at_the_end_of_an_ended_incarnation_is_bounded_by_the_next_owner)
{
    static struct intact first, both;
    static struct wal_rig_found found;
    make_log(&first, &(struct wal_rig_options){.extents_first = 8}, 12, false, false);
    struct wal_rig *rig = first.rig;
    const struct placed *last = &first.frames[first.frame_count - 1];
    const uint64_t end_lsn = last->frame.lsn + last->frame.frame_bytes, next_seq = last->frame.first_seq + last->frame.count, next_lsn = rig->ranges[rig->range_count - 1].lsn + rig->ranges[rig->range_count - 1].length_bytes;
    rig->incarnations[0].end_lsn = end_lsn;
    struct blockdev *device;
    cr_assert_eq(sim_create(&(struct sim_options){.size_bytes = first.image_bytes, .logical_block_bytes = rig->options.logical_block_bytes, .initial = first.image}, &device), MOTE_OK);
    memset(&both, 0, sizeof both);
    both.rig = wal_rig_open_on(&rig->options, device, rig->incarnations, 1, rig->ranges, rig->range_count, next_lsn, next_seq);
    uint64_t seq;
    cr_assert_eq(wal_rig_append(both.rig, 100, 2, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
    cr_assert_eq(wal_wait(both.rig->wal, seq, INT64_MAX), MOTE_OK);
    wal_rig_stop(both.rig);
    both.image_bytes = first.image_bytes;
    both.image = malloc(both.image_bytes);
    sim_read_content(both.rig->sim, true, both.image);
    recover_image(&both, both.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.last_seq, seq);
    /* Of the first owner's last frame nothing is left: the rows below the second owner's first are lost, and no others. */
    memset(both.image + last->offset_bytes, 0, last->frame.frame_bytes);
    recover_image(&both, both.image, true, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.damage_count, 1);
    cr_assert_eq(found.damages[0].lsn_from, last->frame.lsn);
    cr_assert_eq(found.damages[0].seq_from, last->frame.first_seq);
    cr_assert_eq(found.damages[0].seq_to, next_seq - 1);
    cr_assert_eq(found.last_seq, seq);
    recover_image(&both, both.image, false, &found);
    cr_assert_eq(found.result, MOTE_ELOST);
    cr_assert_eq(found.recovery.damaged_lsn_from, last->frame.lsn);
    drop_log(&both);
    drop_log(&first);
}

Test(wal_recover, stale_laps_are_not_taken)
{
    /* The same device space, mapped a second time at higher LSNs, still full of the first lap's frames. */
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.extent_count = 4}, 30, false, false);
    struct wal_rig *rig = intact.rig;
    for (uint32_t i = 0; i < 4; i++)
        rig->ranges[i].lsn += 4 * 65536;
    rig->incarnations[0].first_lsn = 4 * 65536;
    rig->options.first_lsn = 4 * 65536;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.recovery.verdict, WAL_TORN_TAIL);
    cr_assert_eq(found.recovery.frame_count, 0);
    cr_assert_eq(found.recovery.next_seq, 0);
    cr_assert_eq(found.recovery.end_lsn, 4 * 65536);
    drop_log(&intact);
}

Test(wal_recover, head_hides_what_is_before_it)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){0}, 24, false, false);
    cr_assert_gt(intact.frame_count, 5);
    intact.image[intact.frames[1].offset_bytes] ^= 1;
    intact.rig->options.first_lsn = intact.frames[4].frame.lsn;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.first_seq, intact.frames[4].frame.first_seq);
    drop_log(&intact);
}

static int stop_at_third(void *context, const struct wal_frame *frame, const uint8_t *payload)
{
    (void)frame;
    (void)payload;
    return ++*(int *)context == 3 ? -77 : 0;
}

Test(wal_recover, callback_stops_the_scan)
{
    static struct intact intact;
    make_log(&intact, &(struct wal_rig_options){0}, 10, false, false);
    struct blockdev_queue *queue;
    int count = 0;
    cr_assert_eq(blockdev_queue_create(intact.rig->sim, &(struct blockdev_queue_options){.depth = 1}, &queue), MOTE_OK);
    struct wal_recovery recovery = {.queue = queue, .memory = intact.rig->recovery_memory, .ranges = intact.rig->ranges, .range_count = intact.rig->range_count, .incarnations = intact.rig->incarnations, .incarnation_count = 1, .window_bytes = 49152, .frame_bytes_max = 16384, .frame_align_bytes = 4096, .on_frame = stop_at_third, .context = &count};
    memcpy(recovery.uuid, wal_rig_uuid, 16);
    cr_assert_eq(wal_recover(&recovery), -77);
    cr_assert_eq(count, 3);
    blockdev_queue_destroy(queue);
    drop_log(&intact);
}

Test(wal_recover, contradictory_map_is_refused)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){0}, 3, false, false);
    struct wal_rig *rig = intact.rig;
    struct wal_range good = rig->ranges[1];
    rig->ranges[1].lsn -= 4096;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_EDAMAGED);
    rig->ranges[1] = good;
    rig->ranges[1].length_bytes = UINT64_MAX - 4095;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_EDAMAGED);
    rig->ranges[1] = good;
    rig->incarnations[1] = rig->incarnations[0];
    rig->incarnation_count = 2;
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_EDAMAGED, "only the last can be live");
    drop_log(&intact);
}

/* ---- A device that fails to read ---- */

static struct blockdev *failing_device(struct intact *intact, struct faulty_rule rule)
{
    struct blockdev *sim, *faulty;
    struct sim_options options = {.size_bytes = intact->image_bytes, .logical_block_bytes = 4096, .initial = intact->image, .initial_borrowed = true};
    cr_assert_eq(sim_create(&options, &sim), MOTE_OK);
    cr_assert_eq(faulty_create(sim, &faulty), MOTE_OK);
    cr_assert_geq(faulty_add(faulty, &rule), 0);
    return faulty;
}

Test(wal_recover, unreadable_blocks_are_an_error_or_damage)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){0}, 24, false, false);
    cr_assert_gt(intact.frame_count, 6);
    const struct placed *fifth = &intact.frames[5];
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .offset_bytes = fifth->offset_bytes, .length_bytes = 4096, .times = 1, .system_errno = EIO};
    struct blockdev *device = failing_device(&intact, rule);
    wal_rig_recover(intact.rig, device, false, &found);
    cr_assert_eq(found.result, MOTE_OK, "once: the read is repeated");
    const struct wal_frame *last = &intact.frames[intact.frame_count - 1].frame;
    cr_assert_eq(found.last_seq, last->first_seq + last->count - 1);
    blockdev_close(device);

    rule.times = UINT64_MAX;
    device = failing_device(&intact, rule);
    wal_rig_recover(intact.rig, device, false, &found);
    cr_assert_eq(found.result, MOTE_EIO, "for ever");
    struct mote_error error;
    mote_last_error(&error);
    cr_assert_eq(error.offset_bytes, fifth->offset_bytes);
    cr_assert_eq(error.lsn, fifth->frame.lsn);
    wal_rig_recover(intact.rig, device, true, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.recovery.verdict, WAL_DAMAGED);
    cr_assert_eq(found.damages[0].lsn_from, fifth->frame.lsn);
    cr_assert_eq(found.recovery.row_count, last->first_seq + last->count - 1 - fifth->frame.count);
    blockdev_close(device);

    rule.kind = FAULTY_REMOVED;
    device = failing_device(&intact, rule);
    wal_rig_recover(intact.rig, device, true, &found);
    cr_assert_eq(found.result, MOTE_ENODEV);
    blockdev_close(device);
    drop_log(&intact);
}

Test(wal_recover, memory_that_runs_out_is_an_error)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){0}, 3, false, false);
    for (int i = 0; i < 5; i++) {
        memory_fail_after(intact.rig->recovery_memory, i, false);
        recover_image(&intact, intact.image, false, &found);
        cr_assert_eq(found.result, MOTE_EBUDGET, "allocation %d", i);
    }
    memory_fail_after(intact.rig->recovery_memory, -1, false);
    recover_image(&intact, intact.image, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    drop_log(&intact);
}

/* ---- Hostile images ---- */

Test(wal_recover, random_changes_never_give_wrong_rows)
{
    static struct intact intact;
    static struct wal_rig_found found;
    make_log(&intact, &(struct wal_rig_options){.mark_delay_ms = 1, .frame_align_bytes = 512}, 30, true, false);
    uint8_t *scratch = malloc(intact.image_bytes);
    unsigned random = 77;
    for (int round = 0; round < 300; round++) {
        memcpy(scratch, intact.image, intact.image_bytes);
        int changes = 1 + rand_r(&random) % 20;
        for (int i = 0; i < changes; i++) {
            const struct placed *placed = &intact.frames[(uint32_t)rand_r(&random) % intact.frame_count];
            uint8_t *at = scratch + placed->offset_bytes + (uint32_t)rand_r(&random) % 160;
            if (rand_r(&random) % 2)
                *at = (uint8_t)rand_r(&random);
            else
                memmove(scratch + placed->offset_bytes, scratch + ((uint32_t)rand_r(&random) % (intact.image_bytes / 512)) * 512, 512);
        }
        recover_image(&intact, scratch, round % 2, &found);
        cr_assert(found.content_good, "round %d", round);
        cr_assert(found.result == MOTE_OK || found.result == MOTE_ELOST);
    }
    free(scratch);
    drop_log(&intact);
}
