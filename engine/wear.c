/* wear.c: what was written to the device over the volume's life, by source, what the device says of its own wear, and how long it will last at this rate.
 *
 * The superblock keeps the sums. Each write of it (open, close, checkpoint, rotation of the manifest, calibration) carries them as of then, with its own two copies counted; what was written after the last of them is lost to the sums in a
 * crash, and no more: at most what one checkpoint_log_bytes of log and its flushes come to. The sums in db->superblock stay those that were read at open; this handle's part is the device's counters since.
 *
 * Time. Hours of use are counted by a clock that does not jump; the age by the calendar, from the time of format, where that is not less than the hours of use (a machine without a battery clock is in 1970 at first).
 *
 * Threads: any. Failures: MOTE_EINVAL.
 */
#include <string.h>
#include <time.h>

#include "blockdev/health.h"
#include "engine/engine_private.h"

static uint64_t boot_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t calendar_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > 0 ? (uint64_t)now.tv_sec : 0;
}

void wear_begin(struct wear_clock *clock, struct blockdev *device)
{
    clock->device = device;
    clock->opened_ns = boot_ns();
    blockdev_get_counters(device, &clock->before);
}

static uint64_t open_seconds(const struct wear_clock *clock)
{
    uint64_t now = boot_ns();
    return now > clock->opened_ns ? (now - clock->opened_ns) / NS_PER_S : 0;
}

/* What was written since; written_bytes[] and discarded_bytes. */
static void own_counters(const struct wear_clock *clock, struct blockdev_counters *counters)
{
    blockdev_get_counters(clock->device, counters);
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        counters->written_bytes[i] -= clock->before.written_bytes[i];
    counters->discarded_bytes -= clock->before.discarded_bytes;
}

void wear_complete(void *context, struct superblock *superblock)
{
    const struct wear_clock *clock = context;
    struct blockdev_counters counters;
    own_counters(clock, &counters);
    counters.written_bytes[BLOCKDEV_SOURCE_SUPERBLOCK] += 2 * SUPERBLOCK_SLOT_BYTES;
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        superblock->lifetime_written_bytes[i] += counters.written_bytes[i];
    superblock->lifetime_trimmed_bytes += counters.discarded_bytes;
    superblock->used_seconds += open_seconds(clock);
}

int wear_read_superblock(struct wear_clock *clock, struct blockdev *device, struct blockdev_queue *queue, struct superblock *superblock)
{
    bool heal;
    int result = superblock_read(queue, superblock, &heal);
    wear_begin(clock, device);
    return result;
}

int wear_write_first_superblock(struct wear_clock *clock, struct blockdev *device, struct blockdev_queue *queue, struct superblock *superblock)
{
    struct blockdev_counters counters;
    blockdev_get_counters(device, &counters);
    counters.written_bytes[BLOCKDEV_SOURCE_SUPERBLOCK] += 2 * SUPERBLOCK_SLOT_BYTES;
    memcpy(superblock->lifetime_written_bytes, counters.written_bytes, sizeof superblock->lifetime_written_bytes);
    superblock->lifetime_trimmed_bytes = counters.discarded_bytes;
    superblock->format_time_s = calendar_s();
    int result = superblock_write(queue, superblock);
    wear_begin(clock, device);
    return result;
}

/* ---- What is told ---- */

static void add_sums(struct mote_db *db, struct mote_wear *wear)
{
    struct blockdev_counters counters;
    uint64_t *const sums[BLOCKDEV_SOURCE_COUNT] = {&wear->written_other_bytes, &wear->written_superblock_bytes, &wear->written_manifest_bytes, &wear->written_wal_bytes,
                                                   &wear->written_flush_bytes, &wear->written_compaction_bytes, &wear->written_index_bytes, &wear->written_blob_bytes};
    own_counters(&db->wear, &counters);
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++) {
        wear->handle_written_bytes += counters.written_bytes[i];
        *sums[i] = db->superblock.lifetime_written_bytes[i] + counters.written_bytes[i];
        wear->written_bytes += *sums[i];
    }
    wear->trimmed_bytes = db->superblock.lifetime_trimmed_bytes + counters.discarded_bytes;
    wear->opens = db->superblock.opens;
}

static void add_times(struct mote_db *db, struct mote_wear *wear)
{
    uint64_t now_s = calendar_s();
    wear->format_time_s = db->superblock.format_time_s;
    wear->handle_seconds = open_seconds(&db->wear);
    wear->used_seconds = db->superblock.used_seconds + (db->read_only ? 0 : wear->handle_seconds);
    uint64_t age_s = wear->format_time_s && now_s > wear->format_time_s ? now_s - wear->format_time_s : 0;
    wear->age_seconds = age_s > wear->used_seconds ? age_s : wear->used_seconds;
}

static void add_health(struct mote_db *db, struct mote_wear *wear)
{
    struct blockdev_health health;
    blockdev_get_health(db->device, &health);
    memcpy(wear->health_source, health.source, sizeof wear->health_source < sizeof health.source ? sizeof wear->health_source : sizeof health.source);
    wear->health_source[sizeof wear->health_source - 1] = 0;
    wear->health_known = health.known;
    wear->device_used_percent = health.used_percent;
    wear->device_spare_percent = health.spare_percent;
    wear->device_written_bytes = health.written_bytes;
    wear->device_power_on_hours = health.power_on_hours;
    wear->device_media_errors = health.media_errors;
    wear->device_warnings = health.warnings;
}

/* left at a rate of bytes in seconds; UINT64_MAX: no rate. */
static uint64_t seconds_left(uint64_t left_bytes, uint64_t bytes, uint64_t seconds)
{
    if (bytes == 0 || seconds == 0)
        return UINT64_MAX;
    double left = (double)left_bytes * (double)seconds / (double)bytes;
    return left < 1e18 ? (uint64_t)left : UINT64_MAX;
}

static void project(struct mote_wear *wear)
{
    wear->left_seconds_at_life_rate = wear->left_seconds_at_use_rate = wear->left_seconds_at_handle_rate = wear->left_seconds_by_device = UINT64_MAX;
    if (wear->health_known && wear->device_used_percent > 0 && wear->device_power_on_hours > 0)
        wear->left_seconds_by_device = wear->device_used_percent >= 100 ? 0 : wear->device_power_on_hours * 3600 * (100 - wear->device_used_percent) / wear->device_used_percent;
    if (wear->rated_bytes == 0)
        return;
    /* Others may have written to the device before, or beside this volume: it knows better where it tells. */
    uint64_t gone = wear->device_written_bytes > wear->written_bytes ? wear->device_written_bytes : wear->written_bytes, left = wear->rated_bytes > gone ? wear->rated_bytes - gone : 0;
    wear->left_seconds_at_life_rate = seconds_left(left, wear->written_bytes, wear->age_seconds);
    wear->left_seconds_at_use_rate = seconds_left(left, wear->written_bytes, wear->used_seconds);
    wear->left_seconds_at_handle_rate = seconds_left(left, wear->handle_written_bytes, wear->handle_seconds);
}

int mote_get_wear(mote_db *db, uint64_t rated_bytes, struct mote_wear *out)
{
    int result = db_check(db);
    if (result)
        return result;
    if (!out || out->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "wear is NULL or its size_bytes is not set");
    struct mote_wear wear = {.size_bytes = sizeof wear, .rated_bytes = rated_bytes};
    add_sums(db, &wear);
    add_times(db, &wear);
    add_health(db, &wear);
    project(&wear);
    size_t wanted = out->size_bytes;
    memcpy(out, &wear, wanted < sizeof wear ? wanted : sizeof wear);
    out->size_bytes = wanted;
    return MOTE_OK;
}
