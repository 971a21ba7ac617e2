/* sim_model.c: the simulated disk's volatile write cache. It knows what is durable and which writes may or may not survive a power cut.
 *
 * Invariants
 *   1. A sector's durable content is that of the newest completed write to it that a barrier covered.
 *   2. A pending write's sector is dead once a write that completed later is durable there: a disk keeps the order of completed writes to one sector, so the
 *      old content cannot come back. A write in flight is never dead: it may land at any time.
 *   3. A write all of whose sectors are dead leaves the cache.
 * Threads: the caller holds the device's mutex. */
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim_private.h"

static bool is_dead(const struct sim_pending *pending, uint32_t sector)
{
    return pending->dead && (pending->dead[sector / 64] >> (sector % 64) & 1);
}

static void drop_pending(struct sim_model *model, struct sim_pending *pending)
{
    free(pending->dead);
    if (model->owns_writes && !pending->write->kept)
        free(pending->write);
}

/* Writes one run of sectors of a write, [first, first + count). */
static void write_sectors(struct sim_table *table, const struct sim_write *write, uint32_t first, uint32_t count)
{
    uint64_t offset_bytes = write->offset_bytes + (uint64_t)first * SECTOR_BYTES, length_bytes = (uint64_t)count * SECTOR_BYTES;
    if (write->discard)
        sim_table_lose(table, offset_bytes, length_bytes);
    else
        sim_table_write(table, offset_bytes, write->data + (size_t)first * SECTOR_BYTES, length_bytes);
}

static void write_live_sectors(struct sim_table *table, const struct sim_pending *pending)
{
    uint32_t sector_count = pending->write->length_bytes / SECTOR_BYTES;
    if (!pending->dead) {
        write_sectors(table, pending->write, 0, sector_count);
        return;
    }
    for (uint32_t i = 0; i < sector_count; i++) {
        if (!is_dead(pending, i))
            write_sectors(table, pending->write, i, 1);
    }
}

/* newer is durable: what it covers of an older completed write is dead. Returns whether nothing of the older one is left. */
static bool kill_overlap(struct sim_pending *older, const struct sim_write *newer)
{
    const struct sim_write *write = older->write;
    uint64_t from = write->offset_bytes > newer->offset_bytes ? write->offset_bytes : newer->offset_bytes;
    uint64_t write_end = write->offset_bytes + write->length_bytes, newer_end = newer->offset_bytes + newer->length_bytes;
    uint64_t to = write_end < newer_end ? write_end : newer_end;
    if (from >= to)
        return false;
    uint32_t sector_count = write->length_bytes / SECTOR_BYTES;
    if (!older->dead)
        older->dead = sim_allocate((sector_count / 64 + 1) * sizeof *older->dead);
    uint32_t last = (uint32_t)((to - write->offset_bytes) / SECTOR_BYTES);
    for (uint32_t i = (uint32_t)((from - write->offset_bytes) / SECTOR_BYTES); i < last; i++) {
        if (!is_dead(older, i)) {
            older->dead[i / 64] |= UINT64_C(1) << (i % 64);
            older->dead_count++;
        }
    }
    return older->dead_count == sector_count;
}

/* The first count entries of done completed before newer, which is durable now. Returns how many of them stay; they are moved together. */
static uint32_t kill_older(struct sim_model *model, uint32_t count, const struct sim_write *newer)
{
    uint32_t kept_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert(model->done[i].write->order < newer->order);
        if (kill_overlap(&model->done[i], newer))
            drop_pending(model, &model->done[i]);
        else
            model->done[kept_count++] = model->done[i];
    }
    return kept_count;
}

void sim_model_init(struct sim_model *model, struct sim_base *base, uint64_t size_bytes, bool owns_writes)
{
    memset(model, 0, sizeof *model);
    model->owns_writes = owns_writes;
    sim_table_init(&model->durable, base, NULL, size_bytes);
}

void sim_model_drop_cache(struct sim_model *model)
{
    for (uint32_t i = 0; i < model->done_count; i++)
        drop_pending(model, &model->done[i]);
    for (uint32_t i = 0; i < model->flying_count; i++)
        drop_pending(model, &model->flying[i]);
    model->done_count = 0;
    model->flying_count = 0;
}

void sim_model_destroy(struct sim_model *model)
{
    sim_model_drop_cache(model);
    free(model->done);
    free(model->flying);
    sim_table_destroy(&model->durable);
}

/* A discarded sector is lost at once, whatever becomes of the request: with it what was written there and is not durable. What is in flight may land after it. */
static void lose_sectors(struct sim_model *model, const struct sim_write *write)
{
    uint32_t kept_count = 0;
    sim_table_lose(&model->durable, write->offset_bytes, write->length_bytes);
    for (uint32_t i = 0; i < model->done_count; i++) {
        if (kill_overlap(&model->done[i], write))
            drop_pending(model, &model->done[i]);
        else
            model->done[kept_count++] = model->done[i];
    }
    model->done_count = kept_count;
}

void sim_model_submit(struct sim_model *model, struct sim_write *write)
{
    if (write->discard)
        lose_sectors(model, write);
    model->flying = sim_grow(model->flying, &model->flying_capacity, model->flying_count, sizeof *model->flying);
    model->flying[model->flying_count++] = (struct sim_pending){write, NULL, 0};
}

void sim_model_complete(struct sim_model *model, struct sim_write *write)
{
    uint32_t at = 0;
    while (at < model->flying_count && model->flying[at].write != write)
        at++;
    assert(at < model->flying_count && write->order > 0);
    struct sim_pending pending = model->flying[at];
    memmove(&model->flying[at], &model->flying[at + 1], (model->flying_count - at - 1) * sizeof *model->flying);
    model->flying_count--;
    if (write->discard) {
        drop_pending(model, &pending);
        return;
    }
    if (write->fua) {
        write_live_sectors(&model->durable, &pending);
        model->done_count = kill_older(model, model->done_count, write);
        drop_pending(model, &pending);
        return;
    }
    model->done = sim_grow(model->done, &model->done_capacity, model->done_count, sizeof *model->done);
    model->done[model->done_count++] = pending;
}

void sim_model_flush(struct sim_model *model, uint64_t cover_order, uint64_t chain)
{
    uint32_t kept_count = 0;
    for (uint32_t i = 0; i < model->done_count; i++) {
        struct sim_pending pending = model->done[i];
        bool covered = pending.write->order <= cover_order || (chain != 0 && pending.write->chain == chain);
        if (!covered) {
            model->done[kept_count++] = pending;
            continue;
        }
        write_live_sectors(&model->durable, &pending);
        kept_count = kill_older(model, kept_count, pending.write);
        drop_pending(model, &pending);
    }
    model->done_count = kept_count;
}

/* A random subset of the sectors of a random subset of the writes, in random order, so that of two writes to one sector either may win. The share that
 * survives is random too: nearly nothing and nearly everything are the likely ends of a real cut. */
static void survive_torn(const struct sim_model *model, uint64_t seed, struct sim_table *target)
{
    uint64_t random = seed;
    uint32_t count = model->done_count + model->flying_count;
    uint32_t *order = sim_allocate((count + 1) * sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = (uint32_t)sim_random_below(&random, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    uint64_t write_share = 32 + sim_random_below(&random, 224), sector_share = 16 + sim_random_below(&random, 240);
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_pending *pending = order[i] < model->done_count ? &model->done[order[i]] : &model->flying[order[i] - model->done_count];
        if (sim_random_below(&random, 256) >= write_share)
            continue;
        bool whole = sim_random_below(&random, 4) == 0;
        uint32_t sector_count = pending->write->length_bytes / SECTOR_BYTES;
        for (uint32_t sector = 0; sector < sector_count; sector++) {
            if ((whole || (sim_random(&random) & 255) < sector_share) && !is_dead(pending, sector))
                write_sectors(target, pending->write, sector, 1);
        }
    }
    free(order);
}

void sim_model_survive(const struct sim_model *model, enum sim_crash_policy policy, uint32_t index, uint64_t seed, struct sim_table *target)
{
    if (policy == SIM_CRASH_NONE)
        return;
    if (policy == SIM_CRASH_TORN) {
        survive_torn(model, seed, target);
        return;
    }
    uint32_t count = model->done_count + model->flying_count;
    for (uint32_t i = 0; i < count; i++) {
        if ((policy == SIM_CRASH_LOSE_ONE && i == index) || (policy == SIM_CRASH_KEEP_ONE && i != index))
            continue;
        write_live_sectors(target, i < model->done_count ? &model->done[i] : &model->flying[i - model->done_count]);
    }
}
