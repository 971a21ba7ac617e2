/* version.c: segments by id, and the versions that readers hold.
 *
 * Invariants
 *   1. A segment's references: one of the manifest while the segment is in the state, one of each segment list, one of each predecessor (a copy with other sections), one of whoever holds it by itself.
 *   2. A list's references: one of each version; a version's: one of the manifest while it is the current one, one of each reader.
 *   3. `dropped` and `successor` are set before the last list that holds the segment can be released; so whoever gives back the last reference knows which extents to free: of a dropped one all, of
 *      a predecessor the sections that its successor has not, of any other (the manifest is being closed, an edit failed) none.
 * Threads: the table of segments under the manifest's mutex; versions are acquired under version_mutex and released by any thread without it. Failures: MOTE_EBUDGET while building; a release never fails.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <stdlib.h>

/* ---- Segments by id ---- */

static struct segment **find_bucket(const struct manifest *manifest, uint64_t segment_id)
{
    return &manifest->buckets[segment_id * 0x9e3779b97f4a7c15ull >> 32 & (manifest->bucket_count - 1)];
}

struct segment *manifest_find_segment(const struct manifest *manifest, uint64_t segment_id)
{
    struct segment *segment = *find_bucket(manifest, segment_id);
    while (segment && segment->record.id != segment_id)
        segment = segment->next;
    return segment;
}

void manifest_insert_segment(struct manifest *manifest, struct segment *segment)
{
    struct segment **bucket = find_bucket(manifest, segment->record.id);
    segment->next = *bucket;
    *bucket = segment;
}

void manifest_delete_segment(struct manifest *manifest, struct segment *segment)
{
    struct segment **at = find_bucket(manifest, segment->record.id);
    while (*at != segment) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = segment->next;
}

/* Whether the section's extents go with this segment: it was dropped, or its successor has another section, or none, in that place. */
static bool gives_up(const struct segment *segment, const struct segment_section *section, const struct segment_section *of_successor)
{
    if (!segment->successor)
        return segment->dropped;
    return !of_successor || !of_successor->run.count || of_successor->section_id != section->section_id;
}

static void free_extents(struct manifest *manifest, const struct segment *segment)
{
    const struct segment_record *record = &segment->record;
    if (!manifest->extents)
        return;
    if (segment->dropped)
        for (uint32_t i = 0; i < record->extent_run_count; i++)
            extents_free(manifest->extents, record->runs[i]);
    if (record->timestamp.run.count && gives_up(segment, &record->timestamp, segment->successor ? &segment->successor->record.timestamp : NULL))
        extents_free(manifest->extents, record->timestamp.run);
    for (uint32_t i = 0; i < segment->index_count; i++) {
        const struct segment_index *kept = segment->successor ? segment_find_index(segment->successor, segment->indexes[i].index_id) : NULL;
        if (gives_up(segment, &segment->indexes[i].section, kept ? &kept->section : NULL))
            extents_free(manifest->extents, segment->indexes[i].section.run);
    }
}

void manifest_release_segment(struct manifest *manifest, struct segment *segment)
{
    /* A loop, not a recursion: a segment whose section was rebuilt often has a chain of successors. */
    while (segment && atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel) == 1) {
        struct segment *successor = segment->successor;
        /* The cache first: once the extents are free, their place may be read under another id. */
        if (segment->dropped && manifest->cache)
            cache_forget_segment(manifest->cache, segment->record.id);
        free_extents(manifest, segment);
        manifest_free_segment(manifest, segment);
        segment = successor;
    }
}

void segment_hold(struct segment *segment) { atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed); }

void segment_let_go(struct manifest *manifest, struct segment *segment) { manifest_release_segment(manifest, segment); }

/* ---- Lists ---- */

static int compare_segments(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    if (x->run_id != y->run_id)
        return x->run_id < y->run_id ? -1 : 1;
    int order = key_compare(x->min_key.bytes, x->min_key.length, y->min_key.bytes, y->min_key.length);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static void release_list(struct manifest *manifest, struct segment_list *list)
{
    if (atomic_fetch_sub_explicit(&list->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < list->count; i++)
        manifest_release_segment(manifest, list->segments[i]);
    memory_free(manifest->memory, list);
}

static struct segment_list *create_list(struct manifest *manifest, uint64_t table_id, uint32_t count_max)
{
    struct segment_list *list = memory_alloc(manifest->memory, sizeof *list + 3 * (size_t)count_max * sizeof list->segments[0]);
    if (!list)
        return NULL;
    atomic_init(&list->references, 1);
    list->table_id = table_id;
    list->count = 0;
    return list;
}

static void add_to_list(struct segment_list *list, struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
    list->segments[list->count++] = segment;
}

static int compare_keys(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    int order = key_compare(x->min_key.bytes, x->min_key.length, y->min_key.bytes, y->min_key.length);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static int compare_times(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    if (x->time_min != y->time_min)
        return x->time_min < y->time_min ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void sort_list(struct segment_list *list)
{
    qsort(list->segments, list->count, sizeof list->segments[0], compare_segments);
    memcpy(list->segments + list->count, list->segments, list->count * sizeof list->segments[0]);
    qsort(list->segments + list->count, list->count, sizeof list->segments[0], compare_keys);
    memcpy(list->segments + 2 * (size_t)list->count, list->segments, list->count * sizeof list->segments[0]);
    qsort(list->segments + 2 * (size_t)list->count, list->count, sizeof list->segments[0], compare_times);
}

/* A new list of the table: what the old one (NULL: none) holds and the stage did not remove, and what the stage added. *list is NULL when that is nothing. */
static int build_list(struct manifest *manifest, const struct segment_list *old, const struct stage *stage, uint64_t table_id, struct segment_list **list)
{
    const struct change *changes = stage->changes.items;
    uint32_t count_max = old ? old->count : 0;
    for (uint32_t i = 0; i < stage->changes.count; i++)
        count_max += changes[i].added && changes[i].segment->record.table_id == table_id;
    *list = create_list(manifest, table_id, count_max);
    if (!*list)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; old && i < old->count; i++)
        if (manifest_find_segment(manifest, old->segments[i]->record.id) == old->segments[i])
            add_to_list(*list, old->segments[i]);
    for (uint32_t i = 0; i < stage->changes.count; i++) {
        struct segment *segment = changes[i].segment;
        if (changes[i].added && segment->record.table_id == table_id && manifest_find_segment(manifest, segment->record.id) == segment)
            add_to_list(*list, segment);
    }
    sort_list(*list);
    if ((*list)->count)
        return MOTE_OK;
    memory_free(manifest->memory, *list);
    *list = NULL;
    return MOTE_OK;
}

/* ---- Versions ---- */

static void destroy_version(struct manifest *manifest, struct version *version)
{
    for (uint32_t i = 0; i < version->count; i++)
        release_list(manifest, version->lists[i]);
    memory_free(manifest->memory, version);
}

static struct version *create_version(struct manifest *manifest, const struct manifest_state *state, uint32_t lists_max)
{
    struct version *version = memory_alloc(manifest->memory, sizeof *version + lists_max * sizeof version->lists[0]);
    if (!version)
        return NULL;
    atomic_init(&version->references, 1);
    version->number = manifest->current ? manifest->current->number + 1 : 1;
    version->flushed_seq = state->flushed_seq;
    version->count = 0;
    return version;
}

static bool is_touched(const struct stage *stage, uint64_t table_id)
{
    const struct change *changes = stage->changes.items;
    for (uint32_t i = 0; i < stage->changes.count; i++)
        if (changes[i].segment->record.table_id == table_id)
            return true;
    return false;
}

int manifest_build_version(struct manifest *manifest, const struct stage *stage, struct version **version)
{
    const struct version *old = manifest->current;
    struct version *new = create_version(manifest, stage->state, old->count + stage->state->table_count);
    if (!new)
        return MOTE_EBUDGET;
    /* Both the old lists and the state's tables ascend by table id: one merge of the two. A table that was dropped is in the old lists only, and the stage removed its segments. */
    uint32_t at = 0;
    for (uint32_t i = 0; i < stage->state->table_count; i++) {
        uint64_t table_id = stage->state->tables[i].schema->table_id;
        while (at < old->count && old->lists[at]->table_id < table_id)
            at++;
        struct segment_list *list = at < old->count && old->lists[at]->table_id == table_id ? old->lists[at] : NULL;
        if (!is_touched(stage, table_id)) {
            if (list)
                atomic_fetch_add_explicit(&list->references, 1, memory_order_relaxed);
        } else if (build_list(manifest, list, stage, table_id, &list)) {
            destroy_version(manifest, new);
            return MOTE_EBUDGET;
        }
        if (list)
            new->lists[new->count++] = list;
    }
    *version = new;
    return MOTE_OK;
}

static int compare_tables(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    return (x->table_id > y->table_id) - (x->table_id < y->table_id);
}

int manifest_build_first_version(struct manifest *manifest, struct version **version)
{
    const struct manifest_state *state = &manifest->state;
    struct segment **all = memory_alloc(manifest->memory, (state->segment_count + 1) * sizeof *all);
    struct version *new = create_version(manifest, state, state->table_count);
    int result = all && new ? MOTE_OK : MOTE_EBUDGET;
    uint32_t count = 0;
    for (uint32_t i = 0; !result && i < manifest->bucket_count; i++)
        for (struct segment *segment = manifest->buckets[i]; segment; segment = segment->next)
            all[count++] = segment;
    assert(result || count == state->segment_count);
    if (!result)
        qsort(all, count, sizeof *all, compare_tables);
    for (uint32_t from = 0, to; !result && from < count; from = to) {
        uint64_t table_id = all[from]->record.table_id;
        for (to = from; to < count && all[to]->record.table_id == table_id;)
            to++;
        struct segment_list *list = create_list(manifest, table_id, to - from);
        if (!list) {
            result = MOTE_EBUDGET;
            break;
        }
        for (uint32_t i = from; i < to; i++)
            add_to_list(list, all[i]);
        sort_list(list);
        new->lists[new->count++] = list;
    }
    memory_free(manifest->memory, all);
    if (!result)
        *version = new;
    else if (new)
        destroy_version(manifest, new);
    return result;
}

struct version *version_acquire_locked(struct manifest *manifest)
{
    atomic_fetch_add_explicit(&manifest->current->references, 1, memory_order_relaxed);
    return manifest->current;
}

struct version *version_acquire(struct manifest *manifest)
{
    pthread_mutex_lock(&manifest->version_mutex);
    struct version *version = version_acquire_locked(manifest);
    pthread_mutex_unlock(&manifest->version_mutex);
    return version;
}

void version_release(struct manifest *manifest, struct version *version)
{
    if (version && atomic_fetch_sub_explicit(&version->references, 1, memory_order_acq_rel) == 1)
        destroy_version(manifest, version);
}

const struct segment_list *version_find(const struct version *version, uint64_t table_id)
{
    uint32_t low = 0, high = version->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (version->lists[middle]->table_id < table_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < version->count && version->lists[low]->table_id == table_id ? version->lists[low] : NULL;
}

void version_exclusive(struct manifest *manifest, void (*body)(void *context), void *context)
{
    pthread_mutex_lock(&manifest->version_mutex);
    body(context);
    pthread_mutex_unlock(&manifest->version_mutex);
}
