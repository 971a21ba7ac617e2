/* retention_plan.c: which segments of a table go (retention.h).
 *
 * By age: those that lie whole below the horizon and outside of every pin.
 * By space: the window whose segments came first, by their seqs and not by any clock: so that rows of a wrong clock neither keep their place for ever nor lose it at once. If that window is most of the table, only its first segments go. With a
 * segment goes every other that may hold older versions of its keys: one with a lower seq that overlaps it in times and keys. Where a pin keeps one of these, all of them stay, and the next window's turn comes.
 * A pin keeps the segments that overlap its range: those with rows from before it was made, and, the first to come first, as many of the later ones as the pins' bytes allow: rows that come later into a pinned range never stop the ring.
 * Segments that hold nothing but tombstones without a time go when nothing older is left that they could hide.
 *
 * Memory: two bytes a segment. Threads: under retain_mutex, the version held. Failures: MOTE_EBUDGET.
 */
#include "engine/retention.h"

#include <stdlib.h>
#include <string.h>

static bool is_timed(const struct segment_record *record) { return record->time_min <= record->time_max; }

uint64_t segment_device_bytes(const struct segment *segment, uint64_t extent_bytes)
{
    uint64_t extents = segment->record.timestamp.run.count;
    for (uint32_t i = 0; i < segment->record.extent_run_count; i++)
        extents += segment->record.runs[i].count;
    for (uint32_t i = 0; i < segment->index_count; i++)
        extents += segment->indexes[i].section.run.count;
    uint64_t blob_bytes = 0;
    for (uint32_t i = 0; i < segment->blob_count; i++)
        blob_bytes += segment->blobs[i].bytes;
    return extents * extent_bytes + blob_bytes;
}

/* Whether `older` may hold an older version of one of the segment's keys, which would come to light without the segment. */
static bool may_hide(const struct drop_plan *plan, const struct segment_record *record, const struct segment_record *older)
{
    const struct schema *schema = atomic_load(&plan->table->schema);
    if (!schema->time_in_key || (schema->flags & MOTE_TABLE_APPEND_ONLY))
        return false; /* its keys come once, and tombstones lie by themselves */
    return older->seq_min < record->seq_max && segment_may_hold_times(older, record->time_min, record->time_max) && segment_overlap(older, record);
}

/* ---- Pins ---- */

static bool pin_overlaps(const struct manifest_pin *pin, const struct segment_record *record) { return is_timed(record) && segment_may_hold_times(record, pin->from_ns, pin->to_ns); }

static bool is_pinned(const struct manifest_pin *pins, uint32_t count, const struct segment_record *record)
{
    for (uint32_t i = 0; i < count; i++)
        if (pin_overlaps(&pins[i], record))
            return true;
    return false;
}

static uint32_t copy_pins(struct table_retention *retention, struct manifest_pin *pins)
{
    pthread_mutex_lock(&retention->mutex);
    uint32_t count = atomic_load(&retention->pin_count);
    memcpy(pins, retention->pins, count * sizeof *pins);
    pthread_mutex_unlock(&retention->mutex);
    return count;
}

uint64_t retention_pinned_bytes(struct table_retention *retention, const struct segment_list *list, uint64_t extent_bytes)
{
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX];
    uint32_t count = copy_pins(retention, pins);
    uint64_t bytes = 0;
    for (uint32_t i = 0; list && i < list->count; i++)
        if (is_pinned(pins, count, &list->segments[i]->record))
            bytes += segment_device_bytes(list->segments[i], extent_bytes);
    return bytes;
}

uint64_t drop_plan_blocked_bytes(const struct drop_plan *plan, const struct manifest_pin *pin)
{
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX + 1];
    uint32_t count = copy_pins(plan->retention, pins);
    uint64_t bytes = 0;
    pins[count++] = *pin;
    /* The plan's marks say here what has to stay. */
    for (uint32_t i = 0; i < plan->list->count; i++)
        plan->marks[i] = is_pinned(pins, count, &plan->list->segments[i]->record);
    for (bool grown = true; grown;) {
        grown = false;
        for (uint32_t i = 0; i < plan->list->count; i++) {
            const struct segment_record *record = &plan->list->segments[i]->record;
            bool stays = plan->marks[i] || !is_timed(record);
            for (uint32_t k = 0; k < plan->list->count && !stays; k++)
                stays = plan->marks[k] && may_hide(plan, record, &plan->list->segments[k]->record);
            grown = grown || (stays && is_timed(record) && !plan->marks[i]);
            plan->marks[i] = stays && is_timed(record);
        }
    }
    for (uint32_t i = 0; i < plan->list->count; i++)
        bytes += plan->marks[i] ? segment_device_bytes(plan->list->segments[i], plan->extent_bytes) : 0;
    return bytes;
}

static int compare_arrival(const void *a, const void *b, void *context)
{
    const struct segment_list *list = context;
    const struct segment_record *x = &list->segments[*(const uint32_t *)a]->record, *y = &list->segments[*(const uint32_t *)b]->record;
    if (x->seq_min != y->seq_min)
        return x->seq_min < y->seq_min ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Whether rows of the segment were there when a pin over them was made. */
static bool was_there(const struct manifest_pin *pins, uint32_t count, const struct segment_record *record)
{
    for (uint32_t i = 0; i < count; i++)
        if (pin_overlaps(&pins[i], record) && record->seq_min <= pins[i].seq)
            return true;
    return false;
}

static void protect(struct drop_plan *plan, uint32_t at)
{
    plan->protected[at] = 1;
    plan->bytes_protected += segment_device_bytes(plan->list->segments[at], plan->extent_bytes);
}

/* Against recycling. */
static int protect_pinned(struct drop_plan *plan)
{
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX];
    uint32_t count = copy_pins(plan->retention, pins);
    uint64_t bytes_max = atomic_load(&plan->retention->pin_bytes_max);
    if (count == 0)
        return MOTE_OK;
    uint32_t *order = memory_alloc(plan->table->db->memory, plan->list->count * sizeof *order);
    if (!order)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < plan->list->count; i++) {
        order[i] = i;
        if (was_there(pins, count, &plan->list->segments[i]->record))
            protect(plan, i);
    }
    qsort_r(order, plan->list->count, sizeof *order, compare_arrival, (void *)(uintptr_t)plan->list);
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment *segment = plan->list->segments[order[i]];
        bool fits = plan->bytes_protected + segment_device_bytes(segment, plan->extent_bytes) <= bytes_max;
        if (fits && !plan->protected[order[i]] && is_pinned(pins, count, &segment->record))
            protect(plan, order[i]);
    }
    memory_free(plan->table->db->memory, order);
    return MOTE_OK;
}

/* No append fails for the sake of a pin: where nothing else is left to go, the protected segment that came last is protected no longer. false: there is none. */
static bool unprotect_last(struct drop_plan *plan)
{
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < plan->list->count; i++)
        if (plan->protected[i] && (last == UINT32_MAX || plan->list->segments[i]->record.seq_max > plan->list->segments[last]->record.seq_max))
            last = i;
    if (last == UINT32_MAX)
        return false;
    plan->protected[last] = 0;
    plan->bytes_protected -= segment_device_bytes(plan->list->segments[last], plan->extent_bytes);
    return true;
}

/* ---- The plan ---- */

int drop_plan_make(struct mote_table *table, const struct segment_list *list, struct drop_plan *plan)
{
    struct mote_db *db = table->db;
    *plan = (struct drop_plan){.table = table, .retention = atomic_load(&table->retention), .list = list, .extent_bytes = db->superblock.layout.extent_bytes};
    plan->windows = retention_windows(db, table->id, list);
    if (plan->windows.window_ns == 0)
        plan->windows = window_frame_make(INT64_MAX, INT64_MIN, INT64_MAX); /* nothing is kept by windows any more */
    plan->marks = memory_alloc_zero(db->memory, list->count);
    plan->protected = memory_alloc_zero(db->memory, list->count);
    int result = plan->marks && plan->protected ? protect_pinned(plan) : MOTE_EBUDGET;
    if (result) {
        drop_plan_free(plan);
        return result;
    }
    for (uint32_t i = 0; i < list->count; i++)
        plan->bytes_kept += segment_device_bytes(list->segments[i], plan->extent_bytes);
    return MOTE_OK;
}

void drop_plan_free(struct drop_plan *plan)
{
    memory_free(plan->table->db->memory, plan->marks);
    memory_free(plan->table->db->memory, plan->protected);
    plan->marks = plan->protected = NULL;
}

static void mark(struct drop_plan *plan, uint32_t at, enum drop_mark how)
{
    plan->marks[at] = (uint8_t)how;
    plan->marked++;
    plan->bytes_kept -= segment_device_bytes(plan->list->segments[at], plan->extent_bytes);
}

/* Whether a segment that stays may hold older versions of the segment's keys. */
static bool hides_older(const struct drop_plan *plan, const struct segment_record *record)
{
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment_record *other = &plan->list->segments[i]->record;
        if (!plan->marks[i] && other->id != record->id && other->seq_min < record->seq_max && segment_overlap(other, record))
            return true;
    }
    return false;
}

void drop_plan_age(struct drop_plan *plan)
{
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX];
    uint32_t count = copy_pins(plan->retention, pins);
    int64_t horizon_ns = retention_horizon(plan->table);
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment_record *record = &plan->list->segments[i]->record;
        if (!plan->marks[i] && is_timed(record) && record->time_max < horizon_ns && !is_pinned(pins, count, record))
            mark(plan, i, DROP_AGE);
    }
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment_record *record = &plan->list->segments[i]->record;
        if (!plan->marks[i] && !is_timed(record) && record->delete_count == record->row_count && !hides_older(plan, record))
            mark(plan, i, DROP_AGE);
    }
}

/* ---- The oldest window ---- */

/* A set of segments, a byte for each of the list: 0: not in it, MEMBER, or BLOCKED: it cannot go at present. */
enum { MEMBER = 1, BLOCKED = 2 };

static bool is_candidate(const struct drop_plan *plan, const uint8_t *members, uint32_t at)
{
    const struct segment_record *record = &plan->list->segments[at]->record;
    return !plan->marks[at] && members[at] != BLOCKED && (is_timed(record) || record->delete_count < record->row_count);
}

static uint64_t middle_seq(const struct segment_record *record) { return record->seq_min + (record->seq_max - record->seq_min) / 2; }

/* The class whose rows came first, by the mean of their seqs; false: none is left. */
static bool find_oldest_class(const struct drop_plan *plan, const uint8_t *members, struct window_class *oldest, uint64_t *oldest_seq, uint64_t *oldest_bytes)
{
    bool found = false;
    for (uint32_t i = 0; i < plan->list->count; i++) {
        struct window_class class = window_classify(&plan->list->segments[i]->record, &plan->windows);
        bool seen = !is_candidate(plan, members, i);
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = is_candidate(plan, members, k) && window_same(class, window_classify(&plan->list->segments[k]->record, &plan->windows));
        if (seen)
            continue;
        unsigned __int128 weighted = 0;
        uint64_t weight = 0, bytes = 0;
        for (uint32_t k = i; k < plan->list->count; k++) {
            const struct segment_record *record = &plan->list->segments[k]->record;
            if (!is_candidate(plan, members, k) || !window_same(class, window_classify(record, &plan->windows)))
                continue;
            weighted += (unsigned __int128)record->row_count * middle_seq(record);
            weight += record->row_count;
            bytes += segment_device_bytes(plan->list->segments[k], plan->extent_bytes);
        }
        uint64_t seq = weight ? (uint64_t)(weighted / weight) : 0;
        if (!found || seq < *oldest_seq) {
            found = true;
            *oldest = class;
            *oldest_seq = seq;
            *oldest_bytes = bytes;
        }
    }
    return found;
}

static void add_first_segment(const struct drop_plan *plan, uint8_t *members, struct window_class class)
{
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment_record *record = &plan->list->segments[i]->record;
        if (is_candidate(plan, members, i) && window_same(class, window_classify(record, &plan->windows)) && (first == UINT32_MAX || record->seq_min < plan->list->segments[first]->record.seq_min))
            first = i;
    }
    assert(first != UINT32_MAX);
    members[first] = MEMBER;
}

/* Adds what may hold older versions of a member's keys. false: some of that stays. */
static bool complete(const struct drop_plan *plan, uint8_t *members)
{
    bool grown = true, good = true;
    while (grown) {
        grown = false;
        for (uint32_t i = 0; i < plan->list->count; i++) {
            const struct segment_record *older = &plan->list->segments[i]->record;
            if (plan->marks[i] || members[i] == MEMBER)
                continue;
            bool wanted = false;
            for (uint32_t k = 0; k < plan->list->count && !wanted; k++)
                wanted = members[k] == MEMBER && may_hide(plan, &plan->list->segments[k]->record, older);
            if (!wanted)
                continue;
            good = good && members[i] != BLOCKED && !plan->protected[i];
            members[i] = MEMBER;
            grown = true;
        }
    }
    for (uint32_t i = 0; i < plan->list->count; i++)
        good = good && !(members[i] == MEMBER && plan->protected[i]);
    return good;
}

/* members: out: MEMBER for those of the group. */
static bool find_group(const struct drop_plan *plan, uint8_t *members, uint64_t *seq)
{
    struct window_class class = {WINDOW_UNTIMED, 0};
    uint64_t bytes = 0;
    /* What a pin keeps, or keeps company with that, is out of the question. */
    for (uint32_t i = 0; i < plan->list->count; i++)
        members[i] = plan->protected[i] ? BLOCKED : 0;
    while (find_oldest_class(plan, members, &class, seq, &bytes)) {
        bool whole = bytes <= plan->bytes_kept / 2;
        for (uint32_t i = 0; i < plan->list->count && whole; i++)
            if (is_candidate(plan, members, i) && window_same(class, window_classify(&plan->list->segments[i]->record, &plan->windows)))
                members[i] = MEMBER;
        if (!whole)
            add_first_segment(plan, members, class);
        if (complete(plan, members))
            return true;
        for (uint32_t i = 0; i < plan->list->count; i++)
            members[i] = members[i] ? BLOCKED : 0;
    }
    return false;
}

bool drop_plan_oldest(struct drop_plan *plan, bool of_pins)
{
    uint64_t seq;
    uint8_t *members = memory_alloc_zero(plan->table->db->memory, plan->list->count);
    bool found = members && find_group(plan, members, &seq);
    while (!found && members && of_pins && unprotect_last(plan))
        found = find_group(plan, members, &seq);
    for (uint32_t i = 0; i < plan->list->count && found; i++)
        if (members[i] == MEMBER)
            mark(plan, i, DROP_SPACE);
    memory_free(plan->table->db->memory, members);
    return found;
}

uint64_t drop_plan_oldest_seq(struct drop_plan *plan, bool of_pins)
{
    uint64_t seq = UINT64_MAX;
    uint8_t *members = memory_alloc_zero(plan->table->db->memory, plan->list->count);
    bool found = members && find_group(plan, members, &seq);
    while (!found && members && of_pins && unprotect_last(plan))
        found = find_group(plan, members, &seq);
    if (!found)
        seq = UINT64_MAX;
    memory_free(plan->table->db->memory, members);
    return seq;
}
