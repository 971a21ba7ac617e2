/* recover.c: what the log holds after its owner is gone, and whether anything acknowledged is missing. Writes nothing; one thread.
 *
 * Each incarnation is read in order from its first LSN (or the head). A frame counts if it is valid where it lies (wal_format.h), of this incarnation, chained to the frame before it by that
 * frame's checksum, and continues its seqs. Stale laps and another volume's bytes fail already by LSN and seed. The first position without such a frame is a hole.
 *
 *   An ended incarnation's end is known: a hole below it is damage.
 *   In the live one the rest of the mapped log is surveyed, unit by unit. Each valid frame F of the incarnation proves that everything below
 *       max(F.durable_lsn, end of F - window_bytes)
 *   was durable when F was submitted (wal.h, invariants 3 and 4). Is the hole below the highest such proof, it is damage; else the log ends there. A power cut alone can never give the first: whatever
 *   it leaves of the frames in flight, their proofs are at or below the durable prefix, and that is whole.
 *
 * Past damage (continue_on_damage) reading goes on at the next valid frame of the incarnation whose seqs are not below the expected; its link to the lost ones cannot be checked. Damage up to the end of an
 * ended incarnation is held back until a frame of a later one shows where its seqs end at the latest. Damage whose end no frame shows is reported up to the proof, with seq_to UINT64_MAX; damage that lost
 * only marks or pads has seq_to = seq_from - 1.
 *
 * Frames behind the end are dropped, but their seqs and generations are noted, so that neither is used again. */
#include "blockdev/base/bytes.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "wal/recover_reader.h"
#include "wal/wal_format.h"

struct scan {
    struct wal_recovery *recovery;
    struct wal_reader reader;
    const struct wal_incarnation *incarnation;
    uint64_t limit_lsn;    /* the incarnation is read up to here */
    uint64_t proof_lsn;    /* everything of the live incarnation below this was durable, as far as seen */
    uint64_t expected_seq; /* of the next frame; exact if chained, else a lower bound */
    uint32_t chain_crc;
    bool chained;  /* chain_crc and expected_seq are those of the frame just before */
    bool surveyed; /* proof_lsn is final */
    bool ended;    /* the newest frame that counts is an end frame */
    bool held;     /* a damage is held back, because no frame has shown yet where its seqs end */
    uint64_t held_from_lsn, held_to_lsn, held_seq;
};

enum { FRAME_GOOD = 0, FRAME_BAD = 1 }; /* or a negative error */

static bool is_live(const struct wal_incarnation *incarnation)
{
    return incarnation->end_lsn == UINT64_MAX;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool is_known(const struct wal_recovery *recovery, uint64_t incarnation)
{
    for (uint32_t i = 0; i < recovery->incarnation_count; i++)
        if (recovery->incarnations[i].id == incarnation)
            return true;
    return false;
}

/* What a valid frame tells, wherever it is found. One of an owner that the manifest does not know tells nothing: the random incarnation keeps rows that imitate frames out. */
static void note_frame(struct scan *scan, const struct wal_frame *frame)
{
    struct wal_recovery *recovery = scan->recovery;
    const uint64_t end_lsn = frame->lsn + frame->frame_bytes;
    if (!is_known(recovery, frame->incarnation))
        return;
    recovery->highest_lsn = max_u64(recovery->highest_lsn, end_lsn);
    recovery->next_seq = max_u64(recovery->next_seq, frame->first_seq + frame->count);
    recovery->highest_generation = max_u64(recovery->highest_generation, frame->superblock_generation);
    recovery->durable_lsn_seen = max_u64(recovery->durable_lsn_seen, frame->durable_lsn);
    if (!is_live(scan->incarnation) || frame->incarnation != scan->incarnation->id)
        return;
    scan->proof_lsn = max_u64(scan->proof_lsn, frame->durable_lsn);
    if (end_lsn > recovery->window_bytes)
        scan->proof_lsn = max_u64(scan->proof_lsn, end_lsn - recovery->window_bytes);
}

/* The valid frame at lsn, of any incarnation. The cheap checks come first: most units that are looked at in a survey fail them. */
static int read_frame(struct scan *scan, uint64_t lsn, struct wal_frame *frame, const uint8_t **payload)
{
    const struct wal_recovery *recovery = scan->recovery;
    const uint8_t *data;
    int code = wal_reader_view(&scan->reader, lsn, recovery->frame_align_bytes, &data);
    if (code != MOTE_OK)
        return code < 0 ? code : FRAME_BAD;
    if (load_u32(data + WAL_FRAME_AT_MAGIC) != WAL_FRAME_MAGIC || load_u64(data + WAL_FRAME_AT_LSN) != lsn)
        return FRAME_BAD;
    uint32_t payload_bytes = load_u32(data + WAL_FRAME_AT_PAYLOAD_BYTES);
    if (payload_bytes > recovery->frame_bytes_max - WAL_FRAME_HEADER_BYTES)
        return FRAME_BAD;
    uint32_t size_bytes = WAL_FRAME_HEADER_BYTES + payload_bytes;
    if (size_bytes > recovery->frame_align_bytes) {
        code = wal_reader_view(&scan->reader, lsn, size_bytes, &data);
        if (code != MOTE_OK)
            return code < 0 ? code : FRAME_BAD;
    }
    if (wal_frame_decode(data, size_bytes, recovery->uuid, lsn, recovery->frame_bytes_max, frame) != MOTE_OK)
        return FRAME_BAD;
    if (frame->frame_bytes % recovery->frame_align_bytes != 0 || frame->durable_lsn > lsn)
        return FRAME_BAD;
    note_frame(scan, frame);
    *payload = data + WAL_FRAME_HEADER_BYTES;
    return FRAME_GOOD;
}

static bool belongs_here(const struct scan *scan, const struct wal_frame *frame)
{
    if (frame->incarnation != scan->incarnation->id || frame->lsn + frame->frame_bytes > scan->limit_lsn)
        return false;
    if (scan->chained)
        return frame->previous_crc == scan->chain_crc && frame->first_seq == scan->expected_seq;
    return frame->first_seq >= scan->expected_seq;
}

/* Looks at every unit of [from, to) for frames, for what they tell. */
static int survey(struct scan *scan, uint64_t from_lsn, uint64_t to_lsn)
{
    const uint32_t unit_bytes = scan->recovery->frame_align_bytes;
    uint64_t lsn = wal_reader_mapped_from(scan->recovery, from_lsn);
    int code = lsn < to_lsn ? wal_reader_seek(&scan->reader, lsn) : MOTE_OK;
    while (code == MOTE_OK && lsn < to_lsn) {
        struct wal_frame frame;
        const uint8_t *payload;
        int found = read_frame(scan, lsn, &frame, &payload);
        if (found < 0)
            return found;
        lsn = wal_reader_mapped_from(scan->recovery, lsn + (found == FRAME_GOOD ? frame.frame_bytes : unit_bytes));
    }
    return code;
}

/* The next frame of the incarnation at or behind from; limit_lsn: none. */
static int find_next(struct scan *scan, uint64_t from_lsn, uint64_t *next_lsn, uint64_t *next_seq)
{
    *next_lsn = scan->limit_lsn;
    *next_seq = UINT64_MAX;
    if (from_lsn >= scan->limit_lsn)
        return MOTE_OK;
    int code = wal_reader_seek(&scan->reader, from_lsn);
    for (uint64_t lsn = from_lsn; code == MOTE_OK && lsn < scan->limit_lsn; lsn += scan->recovery->frame_align_bytes) {
        struct wal_frame frame;
        const uint8_t *payload;
        int found = read_frame(scan, lsn, &frame, &payload);
        if (found < 0)
            return found;
        if (found == FRAME_GOOD && belongs_here(scan, &frame)) {
            *next_lsn = lsn;
            *next_seq = frame.first_seq;
            break;
        }
    }
    return code;
}

/* Whether what is missing at lsn was acknowledged. Surveys the rest of the log at the first hole of the live incarnation. */
static int judge_hole(struct scan *scan, uint64_t lsn, bool *damage)
{
    *damage = true;
    if (!is_live(scan->incarnation))
        return MOTE_OK;
    if (!scan->surveyed) {
        int code = survey(scan, lsn + scan->recovery->frame_align_bytes, scan->limit_lsn);
        if (code != MOTE_OK)
            return code;
        scan->surveyed = true;
    }
    /* A unit that cannot be read (continue_on_damage only) may have held anything: that is reported, never taken for the end in silence. */
    *damage = scan->proof_lsn > lsn || wal_reader_is_unreadable(&scan->reader, lsn, scan->recovery->frame_align_bytes);
    return MOTE_OK;
}

static int report_lost(struct scan *scan, uint64_t from_lsn, uint64_t to_lsn)
{
    error_set(MOTE_ELOST, "acknowledged rows from seq %llu on are missing from the log at LSN %llu to %llu; salvage with fsck, or open with on_damage = continue",
              (unsigned long long)scan->expected_seq, (unsigned long long)from_lsn, (unsigned long long)to_lsn);
    error_add_device(blockdev_path(blockdev_queue_device(scan->recovery->queue)), wal_reader_device_offset(scan->recovery, from_lsn), to_lsn - from_lsn);
    error_add_lsn(from_lsn);
    return MOTE_ELOST;
}

/* Reports a damage that is held back, now that the next frame's seq is known (UINT64_MAX: it is not). */
static void report_held(struct scan *scan, uint64_t next_seq)
{
    const struct wal_recovery *recovery = scan->recovery;
    if (!scan->held)
        return;
    scan->held = false;
    if (recovery->on_damage)
        recovery->on_damage(recovery->context, scan->held_from_lsn, scan->held_to_lsn, scan->held_seq, next_seq == UINT64_MAX ? UINT64_MAX : next_seq - 1);
}

/* At a hole: MOTE_OK with *lsn moved to where reading goes on (limit_lsn: the log ends), or an error. */
static int cross_hole(struct scan *scan, uint64_t *lsn)
{
    struct wal_recovery *recovery = scan->recovery;
    const uint64_t from_lsn = *lsn;
    bool damage;
    int code = judge_hole(scan, from_lsn, &damage);
    if (code != MOTE_OK)
        return code;
    *lsn = scan->limit_lsn;
    if (!damage)
        return MOTE_OK;
    uint64_t next_lsn, next_seq;
    scan->chained = false;
    code = find_next(scan, from_lsn + recovery->frame_align_bytes, &next_lsn, &next_seq);
    if (code != MOTE_OK)
        return code;
    uint64_t to_lsn = next_lsn;
    if (next_seq == UINT64_MAX && is_live(scan->incarnation))
        to_lsn = max_u64(scan->proof_lsn, from_lsn + recovery->frame_align_bytes);
    if (recovery->damage_count++ == 0) {
        recovery->damaged_lsn_from = from_lsn;
        recovery->damaged_lsn_to = to_lsn;
    }
    recovery->verdict = WAL_DAMAGED;
    report_held(scan, next_seq);
    scan->held = true;
    scan->held_from_lsn = from_lsn;
    scan->held_to_lsn = to_lsn;
    scan->held_seq = scan->expected_seq;
    if (next_seq != UINT64_MAX || is_live(scan->incarnation) || !recovery->continue_on_damage)
        report_held(scan, next_seq);
    if (!recovery->continue_on_damage)
        return report_lost(scan, from_lsn, to_lsn);
    *lsn = next_lsn;
    return next_seq == UINT64_MAX ? MOTE_OK : wal_reader_seek(&scan->reader, next_lsn);
}

/* A frame that counts. */
static int accept_frame(struct scan *scan, const struct wal_frame *frame, const uint8_t *payload)
{
    struct wal_recovery *recovery = scan->recovery;
    report_held(scan, frame->first_seq);
    recovery->frame_count++;
    recovery->end_lsn = frame->lsn + frame->frame_bytes;
    scan->chain_crc = frame->crc;
    scan->chained = true;
    scan->expected_seq = frame->first_seq + frame->count;
    scan->ended = frame->kind == WAL_FRAME_END;
    if (frame->kind != WAL_FRAME_ROWS)
        return MOTE_OK;
    recovery->row_count += frame->count;
    return recovery->on_frame ? recovery->on_frame(recovery->context, frame, payload) : MOTE_OK;
}

static int scan_incarnation(struct scan *scan, uint64_t mapped_end_lsn)
{
    struct wal_recovery *recovery = scan->recovery;
    const struct wal_incarnation *incarnation = scan->incarnation;
    uint64_t lsn = max_u64(incarnation->first_lsn, recovery->head_lsn);
    scan->limit_lsn = is_live(incarnation) ? mapped_end_lsn : incarnation->end_lsn;
    scan->proof_lsn = 0;
    scan->surveyed = false;
    scan->ended = false;
    scan->chained = false;
    if (lsn >= scan->limit_lsn && !is_live(incarnation))
        return MOTE_OK; /* Behind the head. */
    recovery->end_lsn = lsn;
    int code = lsn < scan->limit_lsn ? wal_reader_seek(&scan->reader, lsn) : MOTE_OK;
    while (code == MOTE_OK && lsn < scan->limit_lsn && !(scan->ended && is_live(incarnation))) {
        struct wal_frame frame;
        const uint8_t *payload;
        int found = read_frame(scan, lsn, &frame, &payload);
        /* The first frame of an incarnation has nothing before it. */
        if (found == FRAME_GOOD && lsn == incarnation->first_lsn && frame.previous_crc != 0)
            found = FRAME_BAD;
        if (found < 0) {
            code = found;
        } else if (found == FRAME_GOOD && belongs_here(scan, &frame)) {
            code = accept_frame(scan, &frame, payload);
            lsn += frame.frame_bytes;
        } else {
            code = cross_hole(scan, &lsn);
        }
    }
    return code;
}

static int check_arguments(const struct wal_recovery *recovery)
{
    const uint32_t unit_bytes = recovery->frame_align_bytes;
    bool good = is_power_of_two(unit_bytes) && unit_bytes >= SECTOR_BYTES && recovery->frame_bytes_max >= unit_bytes && recovery->frame_bytes_max <= REQUEST_BYTES_MAX &&
                recovery->head_lsn % unit_bytes == 0;
    uint64_t end_lsn = 0;
    for (uint32_t i = 0; good && i < recovery->range_count; i++) {
        const struct wal_range *range = &recovery->ranges[i];
        good = range->lsn >= end_lsn && range->length_bytes > 0 && range->length_bytes <= UINT64_MAX - range->lsn && range->lsn % unit_bytes == 0 &&
               range->length_bytes % unit_bytes == 0;
        end_lsn = range->lsn + range->length_bytes;
    }
    uint64_t first_lsn = 0;
    for (uint32_t i = 0; good && i < recovery->incarnation_count; i++) {
        const struct wal_incarnation *incarnation = &recovery->incarnations[i];
        bool last = i + 1 == recovery->incarnation_count;
        good = incarnation->first_lsn >= first_lsn && incarnation->end_lsn >= incarnation->first_lsn && incarnation->first_lsn % unit_bytes == 0 && (last || !is_live(incarnation));
        first_lsn = is_live(incarnation) ? incarnation->first_lsn : incarnation->end_lsn;
    }
    return good ? MOTE_OK
                : error_set(MOTE_EDAMAGED, "the manifest's map of the log contradicts itself (ranges, incarnations or frame sizes); restore the manifest with fsck");
}

int wal_recover(struct wal_recovery *recovery)
{
    recovery->verdict = WAL_CLEAN;
    recovery->end_lsn = recovery->highest_lsn = recovery->head_lsn;
    recovery->next_seq = recovery->highest_generation = recovery->durable_lsn_seen = 0;
    recovery->frame_count = recovery->row_count = recovery->bytes_read = 0;
    recovery->damage_count = 0;
    recovery->damaged_lsn_from = recovery->damaged_lsn_to = 0;
    int code = check_arguments(recovery);
    if (code != MOTE_OK)
        return code;
    const uint64_t mapped_end_lsn =
        recovery->range_count ? recovery->ranges[recovery->range_count - 1].lsn + recovery->ranges[recovery->range_count - 1].length_bytes : recovery->head_lsn;
    recovery->highest_lsn = max_u64(recovery->highest_lsn, mapped_end_lsn);
    struct scan scan = {.recovery = recovery};
    code = wal_reader_open(&scan.reader, recovery);
    if (code != MOTE_OK)
        return code;
    for (uint32_t i = 0; code == MOTE_OK && i < recovery->incarnation_count; i++) {
        scan.incarnation = &recovery->incarnations[i];
        recovery->highest_lsn = max_u64(recovery->highest_lsn, scan.incarnation->first_lsn);
        code = scan_incarnation(&scan, mapped_end_lsn);
        if (code != MOTE_OK)
            break;
        if (is_live(scan.incarnation)) {
            if (!scan.ended && recovery->verdict == WAL_CLEAN)
                recovery->verdict = WAL_TORN_TAIL;
        } else if (i + 1 < recovery->incarnation_count) {
            /* What an earlier recovery dropped behind the end is still there, and its seqs stay used. */
            code = survey(&scan, max_u64(scan.incarnation->end_lsn, recovery->head_lsn), recovery->incarnations[i + 1].first_lsn);
        }
    }
    report_held(&scan, UINT64_MAX);
    wal_reader_close(&scan.reader);
    return code;
}
