/* space.c: where in the mapped ranges the next frame goes, and the promise that there is room (wal.h, invariants 1 and 6). Everything here runs under the log's lock,
 * for microseconds at most: ranges are found by index, and each at least one largest frame long, so that a placement looks at two or three of them.
 *
 * place() is monotone: the smaller the frame and the earlier the position, the earlier it ends. So a trial run with largest frames is the worst case of whatever really
 * comes, and what it reserved is enough: a mark, the largest frame, a mark, the end frame. */
#include "blockdev/base/errors.h"
#include "wal/wal_private.h"

static const struct wal_range *range_at(const struct wal *wal, uint64_t index)
{
    assert(index >= wal->range_first && index < wal->range_end);
    return &wal->ranges[index % WAL_RANGES_MAX];
}

uint64_t wal_space_mapped_end(const struct wal *wal)
{
    if (wal->range_first == wal->range_end)
        return 0;
    const struct wal_range *last = range_at(wal, wal->range_end - 1);
    return last->lsn + last->length_bytes;
}

static bool range_continues(const struct wal_range *range, const struct wal_range *next)
{
    return range->lsn + range->length_bytes == next->lsn && range->device_offset_bytes + range->length_bytes == next->device_offset_bytes;
}

/* Contiguous bytes of the device from position on, counted no further than enough. */
static uint64_t run_bytes(const struct wal *wal, const struct wal_position *position, uint64_t enough)
{
    const struct wal_range *range = range_at(wal, position->range);
    uint64_t run = range->lsn + range->length_bytes - position->lsn;
    for (uint64_t i = position->range + 1; run < enough && i < wal->range_end && range_continues(range, range_at(wal, i)); i++) {
        range = range_at(wal, i);
        run += range->length_bytes;
    }
    return run;
}

static void advance(const struct wal *wal, struct wal_position *position, uint64_t bytes)
{
    position->lsn += bytes;
    while (position->range < wal->range_end) {
        const struct wal_range *range = range_at(wal, position->range);
        if (position->lsn < range->lsn + range->length_bytes)
            break;
        position->range++;
    }
}

bool wal_space_place(const struct wal *wal, struct wal_position *position, uint32_t frame_bytes, struct wal_placement *placement)
{
    assert(frame_bytes > 0 && frame_bytes <= wal->options.frame_bytes_max);
    *placement = (struct wal_placement){0};
    while (position->range < wal->range_end) {
        const struct wal_range *range = range_at(wal, position->range);
        assert(position->lsn >= range->lsn);
        uint64_t offset_bytes = range->device_offset_bytes + (position->lsn - range->lsn);
        uint64_t run = run_bytes(wal, position, frame_bytes);
        if (run >= frame_bytes) {
            placement->lsn = position->lsn;
            placement->device_offset_bytes = offset_bytes;
            advance(wal, position, frame_bytes);
            return true;
        }
        assert(placement->pad_bytes == 0); /* A whole range always holds a frame. */
        placement->pad_lsn = position->lsn;
        placement->pad_offset_bytes = offset_bytes;
        placement->pad_bytes = (uint32_t)run;
        advance(wal, position, run);
    }
    return false;
}

bool wal_space_set_aside(struct wal *wal)
{
    const uint32_t unit_bytes = wal->options.frame_align_bytes;
    const uint32_t sizes_bytes[] = {unit_bytes, wal->options.frame_bytes_max, unit_bytes, unit_bytes};
    struct wal_position position = wal->tail;
    struct wal_placement placement;
    for (unsigned i = 0; i < sizeof sizes_bytes / sizeof *sizes_bytes; i++)
        if (!wal_space_place(wal, &position, sizes_bytes[i], &placement))
            return false;
    wal->reserved_end_lsn = position.lsn;
    return true;
}

bool wal_space_seek(const struct wal *wal, uint64_t lsn, struct wal_position *position)
{
    for (uint64_t i = wal->range_first; i < wal->range_end; i++) {
        const struct wal_range *range = range_at(wal, i);
        if (lsn >= range->lsn && lsn < range->lsn + range->length_bytes) {
            *position = (struct wal_position){lsn, i};
            return true;
        }
    }
    *position = (struct wal_position){lsn, wal->range_end};
    return wal->range_first < wal->range_end && lsn == wal_space_mapped_end(wal);
}

static int check_range(const struct wal *wal, const struct wal_range *range)
{
    const uint64_t unit_bytes = wal->options.frame_align_bytes;
    uint64_t device_bytes = __atomic_load_n(&blockdev_geometry(wal->options.device)->size_bytes, __ATOMIC_RELAXED); /* blockdev_refresh, by a volume that grows */
    if (range->lsn % unit_bytes || range->device_offset_bytes % unit_bytes || range->length_bytes % unit_bytes ||
        range->length_bytes < wal->options.frame_bytes_max || range->length_bytes > UINT64_MAX - range->lsn)
        return error_set(MOTE_EINVAL, "a log range of %llu bytes at LSN %llu is not aligned to %llu bytes or shorter than a frame; map whole extents",
                         (unsigned long long)range->length_bytes, (unsigned long long)range->lsn, (unsigned long long)unit_bytes);
    if (range->device_offset_bytes > device_bytes || range->length_bytes > device_bytes - range->device_offset_bytes)
        return error_set(MOTE_EINVAL, "a log range of %llu bytes at offset %llu lies outside the device; map extents of this device only",
                         (unsigned long long)range->length_bytes, (unsigned long long)range->device_offset_bytes);
    uint64_t end = wal_space_mapped_end(wal);
    bool follows = wal->range_first == wal->range_end || (wal->started ? range->lsn == end : range->lsn >= end);
    if (!follows)
        return error_set(MOTE_EINVAL, "a log range begins at LSN %llu, the range before it ends at %llu; ranges follow each other without a gap",
                         (unsigned long long)range->lsn, (unsigned long long)end);
    if (wal->range_end - wal->range_first == WAL_RANGES_MAX)
        return error_set(MOTE_EBUDGET, "the log has %d ranges already; checkpoint, so that its head moves", (int)WAL_RANGES_MAX);
    return MOTE_OK;
}

int wal_add_range(struct wal *wal, const struct wal_range *range)
{
    assert(!wal->options.read_only);
    pthread_mutex_lock(&wal->lock);
    int code = check_range(wal, range);
    if (code == MOTE_OK) {
        wal->ranges[wal->range_end % WAL_RANGES_MAX] = *range;
        wal->range_end++;
        wal->space_epoch++;
        wal->space_asked = false;
        wal->space_error = MOTE_OK;
        wal_stage_try_open(wal);
    }
    pthread_mutex_unlock(&wal->lock);
    if (code == MOTE_OK) {
        wal_signal(wal, WAL_ROOM_MASK);
        if (atomic_load(&wal->space_wanted))
            wal_wake_committer(wal);
    }
    return code;
}

void wal_set_space_error(struct wal *wal, int code)
{
    assert(code <= 0);
    pthread_mutex_lock(&wal->lock);
    wal->space_error = code;
    wal->space_epoch++;
    if (code == MOTE_OK)
        wal->space_asked = false;
    pthread_mutex_unlock(&wal->lock);
    wal_signal(wal, WAL_ROOM_MASK);
}

void wal_set_head(struct wal *wal, uint64_t head_lsn)
{
    pthread_mutex_lock(&wal->lock);
    /* The range that the tail is in stays, and so does the last one: the next range must follow it. */
    while (wal->range_first < wal->tail.range && wal->range_first + 1 < wal->range_end) {
        const struct wal_range *range = range_at(wal, wal->range_first);
        if (range->lsn + range->length_bytes > head_lsn)
            break;
        wal->range_first++;
    }
    pthread_mutex_unlock(&wal->lock);
}
