/* sim_record.c: the simulated disk's event log and what is read from it: marks, and the state that a power cut after any event could have left.
 *
 * A cursor is a replay of the log; there are a few, so that several threads that walk through different parts each find one near by. A step forward costs what the
 * events cost; a step back replays from the start. The durable content at a cursor is frozen once and shared by all devices made there.
 * Threads: the device's mutex is held inside; any thread may call. */
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/sim_private.h"

void sim_record_init(struct sim_record *record, struct sim_base *base, uint64_t size_bytes)
{
    assert(base && size_bytes > 0);
    memset(record, 0, sizeof *record);
    record->base = base;
    record->size_bytes = size_bytes;
}

static void close_cursor(struct sim_cursor *cursor)
{
    if (!cursor->in_use)
        return;
    sim_base_release(cursor->frozen);
    sim_model_destroy(&cursor->model);
    memset(cursor, 0, sizeof *cursor);
}

void sim_record_destroy(struct sim_record *record)
{
    for (uint32_t i = 0; i < SIM_CURSORS; i++)
        close_cursor(&record->cursors[i]);
    for (uint32_t i = 0; i < record->event_count; i++) {
        if (record->events[i].type == SIM_WRITE_SUBMITTED)
            free(record->events[i].write);
        if (record->events[i].type == SIM_CUT)
            sim_base_release(record->events[i].base);
    }
    free(record->events);
    free(record->marks);
    sim_base_release(record->base);
}

void sim_record_add(struct sim_record *record, struct sim_event event)
{
    if (event.type == SIM_MARK) {
        record->marks = sim_grow(record->marks, &record->mark_capacity, record->mark_count, sizeof *record->marks);
        record->marks[record->mark_count++] = record->event_count;
    }
    if (event.type == SIM_WRITE_SUBMITTED)
        event.write->kept = true;
    record->events = sim_grow(record->events, &record->event_capacity, record->event_count, sizeof *record->events);
    record->events[record->event_count++] = event;
}

static void thaw(struct sim_cursor *cursor)
{
    sim_base_release(cursor->frozen);
    cursor->frozen = NULL;
}

static void apply_event(struct sim_cursor *cursor, const struct sim_event *event, uint64_t size_bytes)
{
    switch (event->type) {
    case SIM_WRITE_SUBMITTED:
        if (event->write->discard)
            thaw(cursor);
        sim_model_submit(&cursor->model, event->write);
        break;
    case SIM_WRITE_COMPLETED:
        if (event->write->fua)
            thaw(cursor);
        sim_model_complete(&cursor->model, event->write);
        break;
    case SIM_FLUSH_COMPLETED:
        thaw(cursor);
        sim_model_flush(&cursor->model, event->words[0], event->words[1]);
        break;
    case SIM_CUT:
        thaw(cursor);
        sim_model_drop_cache(&cursor->model);
        sim_table_destroy(&cursor->model.durable);
        sim_table_init(&cursor->model.durable, sim_base_reference(event->base), NULL, size_bytes);
        break;
    case SIM_FLUSH_SUBMITTED:
    case SIM_MARK:
        break;
    }
}

/* A cursor at the state after event (after the last one, if event is beyond it). */
static struct sim_cursor *seek(struct sim_record *record, uint64_t event)
{
    assert(record->base); /* made with options.record */
    uint64_t wanted = event < record->event_count ? event + 1 : record->event_count;
    struct sim_cursor *best = NULL, *oldest = &record->cursors[0];
    for (uint32_t i = 0; i < SIM_CURSORS; i++) {
        struct sim_cursor *cursor = &record->cursors[i];
        if (cursor->in_use && cursor->applied_count <= wanted && (!best || cursor->applied_count > best->applied_count))
            best = cursor;
        if (cursor->used_at < oldest->used_at)
            oldest = cursor;
    }
    if (!best) {
        best = oldest;
        close_cursor(best);
        best->in_use = true;
        sim_model_init(&best->model, sim_base_reference(record->base), record->size_bytes, false);
    }
    best->used_at = ++record->use_count;
    while (best->applied_count < wanted)
        apply_event(best, &record->events[best->applied_count++], record->size_bytes);
    return best;
}

uint64_t sim_event_count(struct blockdev *device)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    uint64_t count = sim->record.event_count;
    pthread_mutex_unlock(&sim->lock);
    return count;
}

bool sim_event_is_cut(struct blockdev *device, uint64_t event, bool *is_barrier)
{
    struct sim_device *sim = sim_device_of(device);
    bool cut = false, barrier = false;
    pthread_mutex_lock(&sim->lock);
    if (event < sim->record.event_count) {
        const struct sim_event *at = &sim->record.events[event];
        cut = at->type != SIM_MARK;
        barrier = at->type == SIM_FLUSH_COMPLETED || (at->type == SIM_WRITE_COMPLETED && at->write->fua);
    }
    pthread_mutex_unlock(&sim->lock);
    if (is_barrier)
        *is_barrier = barrier;
    return cut;
}

bool sim_event_is_discard(struct blockdev *device, uint64_t event, uint64_t *offset_bytes, uint64_t *length_bytes)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    const struct sim_event *at = event < sim->record.event_count ? &sim->record.events[event] : NULL;
    bool discard = at && at->type == SIM_WRITE_SUBMITTED && at->write->discard;
    if (discard) {
        *offset_bytes = at->write->offset_bytes;
        *length_bytes = at->write->length_bytes;
    }
    pthread_mutex_unlock(&sim->lock);
    return discard;
}

void sim_mark(struct blockdev *device, uint64_t kind, uint64_t value)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    if (sim->record_on)
        sim_record_add(&sim->record, (struct sim_event){.type = SIM_MARK, .words = {kind, value}});
    pthread_mutex_unlock(&sim->lock);
}

uint64_t sim_mark_at(struct blockdev *device, uint64_t event, uint64_t kind)
{
    struct sim_device *sim = sim_device_of(device);
    uint64_t value = 0;
    pthread_mutex_lock(&sim->lock);
    const struct sim_record *record = &sim->record;
    uint32_t low = 0, high = record->mark_count; /* marks[0..low) are at or before event */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (record->marks[middle] <= event)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0) {
        const struct sim_event *mark = &record->events[record->marks[low]];
        if (mark->words[0] == kind) {
            value = mark->words[1];
            break;
        }
    }
    pthread_mutex_unlock(&sim->lock);
    return value;
}

uint32_t sim_unflushed_count(struct blockdev *device, uint64_t event)
{
    struct sim_device *sim = sim_device_of(device);
    pthread_mutex_lock(&sim->lock);
    const struct sim_cursor *cursor = seek(&sim->record, event);
    uint32_t count = cursor->model.done_count + cursor->model.flying_count;
    pthread_mutex_unlock(&sim->lock);
    return count;
}

/* The durable content at the cursor as a base that devices may stand on. */
static struct sim_base *freeze_cursor(struct sim_cursor *cursor)
{
    if (!cursor->frozen)
        cursor->frozen = sim_table_freeze(&cursor->model.durable);
    return sim_base_reference(cursor->frozen);
}

void sim_crash_image(struct blockdev *device, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed, uint8_t *image)
{
    struct sim_device *sim = sim_device_of(device);
    struct sim_table table;
    pthread_mutex_lock(&sim->lock);
    uint64_t size_bytes = sim->record.size_bytes;
    struct sim_cursor *cursor = seek(&sim->record, event);
    sim_table_init(&table, freeze_cursor(cursor), NULL, size_bytes);
    sim_model_survive(&cursor->model, policy, index, seed, &table);
    pthread_mutex_unlock(&sim->lock);
    sim_table_read(&table, 0, image, size_bytes);
    sim_table_destroy(&table);
}

int sim_create_from_crash(struct blockdev *device, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed,
                          const struct sim_options *options, struct blockdev **new_device)
{
    struct sim_device *sim = sim_device_of(device), *made;
    struct sim_options wanted = {0};
    if (options)
        wanted = *options;
    if (wanted.logical_block_bytes == 0)
        wanted.logical_block_bytes = sim->blockdev.geometry.logical_block_bytes;
    wanted.size_bytes = sim->blockdev.geometry.size_bytes;
    pthread_mutex_lock(&sim->lock);
    struct sim_cursor *cursor = seek(&sim->record, event);
    int result = sim_create_on_base(&wanted, freeze_cursor(cursor), &made);
    if (result == MOTE_OK) {
        sim_model_survive(&cursor->model, policy, index, seed, &made->model.durable);
        if (wanted.record)
            sim_record_init(&made->record, sim_table_freeze(&made->model.durable), wanted.size_bytes);
        *new_device = &made->blockdev;
    }
    pthread_mutex_unlock(&sim->lock);
    return result;
}
