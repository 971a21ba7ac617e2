/* merge.c: the merge of merge.h: a binary heap of sources on (key, seq).
 *
 * Each source keeps its present record beside it, the first eight bytes of the key as an integer, so that most comparisons touch no key bytes.
 *   A segment of the pool (merge_pool.c) may have no iterator; its source then stands on a bound beside all its records, or on a copy of its next key, and is opened when that comes to the top.
 *   Ascending: a source stands on its next record in (key ascending, seq descending) order; records above the snapshot and older versions of a key that was yielded are stepped over when they reach the top.
 *   Descending: a source always stands on its newest version, at or below the snapshot, of some key: stepping back meets a key's oldest version first, so it goes on back to the newest that the snapshot sees.
 *
 * Invariants: heap[0..live) are the sources that stand on a record; in MERGE_VISIBLE current_key is the key last yielded, or last found deleted, and no record of it is yielded again.
 * Threads: one. Failures: those of the segments' iterators; after one the merge yields nothing but that error until it is positioned anew.
 */
#include "engine/lsm/merge_private.h"

#include <assert.h>

#include "blockdev/base/errors.h"

#define PASSED_OVER_MAX 6u

int merge_create(struct memory *memory, uint32_t sources_max, struct merge **merge)
{
    assert(sources_max);
    *merge = memory_alloc_zero(memory, sizeof **merge);
    if (!*merge)
        return MOTE_EBUDGET;
    (*merge)->memory = memory;
    (*merge)->sources_max = sources_max;
    int result = merge_reserve(*merge, sources_max);
    if (result) {
        memory_free(memory, *merge);
        *merge = NULL;
    }
    return result;
}

void merge_destroy(struct merge *merge)
{
    if (!merge)
        return;
    merge_pool_clear(merge);
    memory_free(merge->memory, merge->hints);
    memory_free(merge->memory, merge->sources);
    memory_free(merge->memory, merge);
}

void merge_reset(struct merge *merge, enum merge_mode mode, bool descending, uint64_t snapshot_seq, const struct schema *schema)
{
    assert(mode == MERGE_VISIBLE || !descending);
    merge_pool_clear(merge);
    merge->mode = mode;
    merge->descending = descending;
    merge->snapshot_seq = snapshot_seq;
    merge->schema = schema;
    merge->count = merge->live = 0;
    merge->has_current = false;
    merge->failed = MOTE_OK;
    merge->end = NULL;
    merge->deleted_key_bytes = 0;
}

struct source *merge_add_source(struct merge *merge)
{
    if (merge->count == merge->capacity) {
        error_set(MOTE_EBUDGET, "a merge of more than %u memtables and segments was asked for; compact the table", merge->capacity);
        return NULL;
    }
    struct source *source = &merge->sources[merge->count++];
    *source = (struct source){.limit_seq = merge->snapshot_seq};
    return source;
}

int merge_add_private(struct merge *merge, struct memtable *memtable, uint64_t limit_seq)
{
    struct source *source = merge_add_source(merge);
    if (!source)
        return MOTE_EBUDGET;
    memtable_iterate(memtable, &source->memtable);
    source->limit_seq = limit_seq;
    return MOTE_OK;
}

int merge_add_memtable(struct merge *merge, struct memtable *memtable) { return merge_add_private(merge, memtable, merge->snapshot_seq); }

int merge_add_segment(struct merge *merge, struct sst_iterator *iterator)
{
    struct source *source = merge_add_source(merge);
    if (!source)
        return MOTE_EBUDGET;
    source->segment = iterator;
    return MOTE_OK;
}

int merge_add_segments(struct merge *merge, struct sst_iterator *iterator, struct segment *const *segments, uint32_t count)
{
    assert(!merge->descending && count);
    int result = merge_add_segment(merge, iterator);
    if (result)
        return result;
    struct source *source = &merge->sources[merge->count - 1];
    source->segments = segments;
    source->segment_count = count;
    source->reader_schema = merge->schema;
    return MOTE_OK;
}

/* ---- Sources: 1 on a record, 0 at the end, negative MOTE_E ---- */

/* Takes over the record that the iterator stands on, if found says that it stands on one. */
static int load_source(struct source *source, int found)
{
    if (found <= 0)
        return found;
    if (source->segment) {
        int result = sst_record(source->segment, &source->record);
        if (result < 0)
            return result;
    } else {
        memtable_record(&source->memtable, &source->record, &source->image_schema, &source->image, &source->image_bytes);
    }
    source->key_prefix = load_prefix(source->record.key, source->record.key_bytes);
    return 1;
}

/* The first record of the next segment that has one. */
static int open_next(struct source *source)
{
    int found = 0;
    while (found == 0 && source->segment_next < source->segment_count) {
        int result = sst_iterator_open(source->segment, source->segments[source->segment_next++], source->reader_schema);
        if (result)
            return result;
        found = sst_first(source->segment);
    }
    return load_source(source, found);
}

static int step_next(struct source *source)
{
    int found = load_source(source, source->segment ? sst_next(source->segment) : memtable_next(&source->memtable));
    return found || !source->segments ? found : open_next(source);
}

static int step_previous(struct source *source) { return load_source(source, source->segment ? sst_previous(source->segment) : memtable_previous(&source->memtable)); }

static int seek_forward(struct source *source, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    if (source->segments) {
        assert(!key);
        source->segment_next = 0;
        return open_next(source);
    }
    if (!key)
        return load_source(source, source->segment ? sst_first(source->segment) : memtable_first(&source->memtable));
    return load_source(source, source->segment ? sst_seek(source->segment, key, key_bytes, seq) : memtable_seek(&source->memtable, key, key_bytes, seq));
}

static int seek_back(struct source *source, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    if (!key)
        return load_source(source, source->segment ? sst_last(source->segment) : memtable_last(&source->memtable));
    return load_source(source, source->segment ? sst_seek_before(source->segment, key, key_bytes, seq) : memtable_seek_before(&source->memtable, key, key_bytes, seq));
}

static bool has_key(const struct source *source, uint64_t prefix, const uint8_t *key, uint32_t key_bytes)
{
    return source->key_prefix == prefix && source->record.key_bytes == key_bytes && !memcmp(source->record.key, key, key_bytes);
}

/* Descending, from the oldest version of a key that is older than what was passed: to the newest version of it that the snapshot sees, or, if it sees none, on to smaller keys. */
static int settle_back(struct source *source, int found)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    while (found == 1) {
        uint64_t prefix = source->key_prefix;
        uint32_t key_bytes = source->record.key_bytes;
        memcpy(key, source->record.key, key_bytes);
        /* In a memtable the newest is looked for: there may be very many versions, and a step forward from the one before could meet a newer one that a writer has put in between just now, which would hide it. */
        if (!source->segment && source->record.seq <= source->limit_seq)
            return seek_forward(source, key, key_bytes, source->limit_seq);
        bool visible = false;
        while (found == 1 && source->record.seq <= source->limit_seq && has_key(source, prefix, key, key_bytes)) {
            visible = true;
            found = step_previous(source);
        }
        if (found < 0)
            return found;
        if (visible) /* one step too far: off the key, off the snapshot, or off the beginning */
            return found ? step_next(source) : seek_forward(source, NULL, 0, 0);
        found = seek_back(source, key, key_bytes, UINT64_MAX);
    }
    return found;
}

/* To the first record at or after (key, seq), or, descending, to the newest visible version of the last key before it. */
static int seek_source(const struct merge *merge, struct source *source, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    return merge->descending ? settle_back(source, seek_back(source, key, key_bytes, seq)) : seek_forward(source, key, key_bytes, seq);
}

/* The same of a segment of the pool, which gets an iterator for it. Without memory for what that decodes others give theirs up. */
static int open_source(struct merge *merge, struct source *source, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    int found;
    do {
        found = merge_pool_open(merge, source);
        if (found == MOTE_OK)
            found = seek_source(merge, source, key, key_bytes, seq);
    } while (found == MOTE_EBUDGET && merge_park_last(merge, source));
    source->waiting = false;
    source->standing = found > 0;
    if (found == 0)
        merge_pool_end(merge, source);
    return found;
}

/* The source has come up to what it waits at. */
static int open_waiting(struct merge *merge, struct source *source)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes = source->record.key_bytes;
    memcpy(key, source->record.key, key_bytes);
    return open_source(merge, source, key, key_bytes, merge->descending ? 0 : source->record.seq);
}

/* ---- The heap ---- */

static void sift_down(struct merge *merge, uint32_t at)
{
    uint32_t *heap = merge->heap, moving = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= merge->live)
            break;
        if (child + 1 < merge->live && compare_sources(merge, &merge->sources[heap[child + 1]], &merge->sources[heap[child]]) < 0)
            child++;
        if (compare_sources(merge, &merge->sources[moving], &merge->sources[heap[child]]) <= 0)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* After the top source moved: found as from its step. */
static int settle_top(struct merge *merge, int found)
{
    if (found < 0)
        return merge->failed = found;
    if (found == 0) {
        merge_pool_end(merge, &merge->sources[merge->heap[0]]);
        merge->heap[0] = merge->heap[--merge->live];
    }
    if (merge->live > 1)
        sift_down(merge, 0);
    return MOTE_OK;
}

static struct source *top_source(struct merge *merge)
{
    assert(merge->live);
    return &merge->sources[merge->heap[0]];
}

/* The source whose record comes after the top's, or NULL. */
static const struct source *second_source(const struct merge *merge)
{
    if (merge->live < 2)
        return NULL;
    const struct source *left = &merge->sources[merge->heap[1]];
    const struct source *right = merge->live > 2 ? &merge->sources[merge->heap[2]] : NULL;
    return right && compare_sources(merge, right, left) < 0 ? right : left;
}

static int advance_top(struct merge *merge)
{
    struct source *top = top_source(merge);
    int found;
    if (!merge->descending) {
        found = step_next(top);
    } else {
        /* Newer versions of the key, which the snapshot does not see, lie before it. */
        uint8_t key[MOTE_KEY_BYTES_MAX];
        uint64_t prefix = top->key_prefix;
        uint32_t key_bytes = top->record.key_bytes;
        memcpy(key, top->record.key, key_bytes);
        found = step_previous(top);
        if (found == 1 && has_key(top, prefix, key, key_bytes))
            found = seek_back(top, key, key_bytes, UINT64_MAX);
        found = settle_back(top, found);
    }
    return settle_top(merge, found);
}

static void keep_key(struct merge *merge, uint64_t prefix, const uint8_t *key, uint32_t key_bytes)
{
    merge->has_current = true;
    merge->current_prefix = prefix;
    merge->current_key_bytes = key_bytes;
    memcpy(merge->current_key, key, key_bytes);
}

static void keep_current(struct merge *merge, const struct source *source) { keep_key(merge, source->key_prefix, source->record.key, source->record.key_bytes); }

/* Away from a record that is not yielded. Past the first few versions of a key in a memtable, which may have very many, the next record that counts is looked for. */
static int pass_over(struct merge *merge, bool passed)
{
    struct source *top = top_source(merge);
    if (merge->descending || top->segment || ++top->passed_over < PASSED_OVER_MAX)
        return advance_top(merge);
    top->passed_over = 0;
    return settle_top(merge, seek_forward(top, top->record.key, top->record.key_bytes, passed ? 0 : top->limit_seq));
}

/* Deleted keys are not passed over beyond the end: sources that are not in this merge may have older versions of them. */
static bool is_beyond_end(const struct merge *merge, const struct record *record)
{
    if (!merge->end)
        return false;
    int order = key_compare(record->key, record->key_bytes, merge->end, merge->end_bytes);
    return merge->descending ? order < 0 : order >= 0;
}

static void keep_deleted(struct merge *merge, const struct source *source)
{
    merge->deleted_key_bytes = source->record.key_bytes;
    memcpy(merge->deleted_key, source->record.key, source->record.key_bytes);
}

/* From the heap as it is to the next record that is to be yielded. */
static int find_record(struct merge *merge)
{
    while (merge->live) {
        struct source *top = top_source(merge);
        if (top->waiting) {
            int result = settle_top(merge, open_waiting(merge, top));
            if (result)
                return result;
            continue;
        }
        if (merge->mode == MERGE_ALL)
            return 1;
        bool passed = merge->has_current && has_key(top, merge->current_prefix, merge->current_key, merge->current_key_bytes);
        if (!passed && top->record.seq <= top->limit_seq) {
            if (top->record.kind == RECORD_DELETE && is_beyond_end(merge, &top->record))
                return 0;
            keep_current(merge, top);
            if (top->record.kind == RECORD_PUT)
                return 1;
            keep_deleted(merge, top);
            passed = true;
        }
        int result = pass_over(merge, passed);
        if (result)
            return result;
    }
    return 0;
}

/* ---- Positioning ---- */

/* Every source to the first record at or after (key, seq), or, descending, to the last before it; NULL: from the very end. */
static int position(struct merge *merge, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    merge->live = 0;
    merge->has_current = false;
    merge->failed = MOTE_OK;
    merge_stand_at_bounds(merge);
    for (uint32_t i = 0; i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        int found = 1;
        if (!source->later)
            found = seek_source(merge, source, key, key_bytes, seq);
        else if (!merge_may_wait(merge, source, key, key_bytes))
            found = open_source(merge, source, key, key_bytes, seq);
        if (found < 0) {
            merge->live = 0;
            return merge->failed = found;
        }
        if (found)
            merge->heap[merge->live++] = i;
    }
    for (uint32_t i = merge->live / 2; i-- > 0;)
        sift_down(merge, i);
    return find_record(merge);
}

int merge_seek(struct merge *merge, const uint8_t *key, uint32_t key_bytes)
{
    assert(!merge->descending);
    return position(merge, key, key_bytes, UINT64_MAX);
}

int merge_seek_last(struct merge *merge, const uint8_t *key, uint32_t key_bytes, bool to_is_prefix)
{
    assert(merge->descending);
    if (!key || !to_is_prefix)
        return position(merge, key, key_bytes, 0); /* no record has seq 0: the last before it has a key at or below the given one */
    /* The smallest key above all that begin with the prefix: its last byte that is not 0xff, plus one. */
    uint8_t above[MOTE_KEY_BYTES_MAX];
    assert(key_bytes <= sizeof above);
    memcpy(above, key, key_bytes);
    while (key_bytes && above[key_bytes - 1] == 0xff)
        key_bytes--;
    if (!key_bytes)
        return position(merge, NULL, 0, 0);
    above[key_bytes - 1]++;
    return position(merge, above, key_bytes, UINT64_MAX);
}

int merge_seek_after(struct merge *merge, const uint8_t *key, uint32_t key_bytes)
{
    assert(merge->mode == MERGE_VISIBLE);
    return position(merge, key, key_bytes, merge->descending ? UINT64_MAX : 0);
}

int merge_next(struct merge *merge)
{
    if (merge->failed || !merge->live)
        return merge->failed;
    int result = advance_top(merge);
    return result ? result : find_record(merge);
}

/* ---- The current record ---- */

static int check_current(const struct merge *merge)
{
    if (merge->failed)
        return merge->failed;
    return merge->live ? MOTE_OK : error_set(MOTE_EINTERNAL, "a merge at its end has no record; please report it");
}

int merge_record(struct merge *merge, struct record *record)
{
    int result = check_current(merge);
    if (!result)
        *record = top_source(merge)->record;
    return result;
}

uint32_t merge_source(const struct merge *merge) { return merge->heap[0]; }

/* A tombstone in a memtable has no image: of its values the key alone is known. */
static int tombstone_value(struct merge *merge, const struct record *record, uint32_t column, struct mote_value *value)
{
    struct mote_value values[MOTE_KEY_COLUMNS_MAX];
    *value = (struct mote_value){.type = merge->schema->columns[column].type, .is_null = 1};
    for (uint32_t i = 0; i < merge->schema->key_column_count; i++)
        if (merge->schema->key_columns[i] == column) {
            int result = key_decode(merge->schema, record->key, record->key_bytes, values, merge->scratch);
            if (!result)
                *value = values[i];
            return result;
        }
    return MOTE_OK;
}

int merge_value(struct merge *merge, uint32_t column, struct mote_value *value)
{
    int result = check_current(merge);
    if (result)
        return result;
    assert(column < merge->schema->column_count);
    const struct source *top = top_source(merge);
    if (top->segment)
        return sst_value(top->segment, column, value);
    if (!top->image)
        return tombstone_value(merge, &top->record, column, value);
    row_value(merge->schema, top->image_schema, top->image, column, value);
    return MOTE_OK;
}

int merge_time(struct merge *merge, int64_t *time_ns, bool *has_time)
{
    int result = check_current(merge);
    if (result)
        return result;
    const struct source *top = top_source(merge);
    if (top->segment)
        return sst_time(top->segment, time_ns, has_time);
    if (top->image) {
        *has_time = row_time(top->image_schema, top->image, time_ns);
        return MOTE_OK;
    }
    struct mote_value value = {.is_null = 1};
    int32_t column = merge->schema->time_column;
    if (column >= 0)
        result = tombstone_value(merge, &top->record, (uint32_t)column, &value);
    *has_time = !result && !value.is_null && value_time(&merge->schema->columns[column], &value, time_ns);
    return result;
}

int merge_image(struct merge *merge, uint8_t *room, uint32_t capacity_bytes, const struct schema **image_schema, const uint8_t **image, uint32_t *image_bytes)
{
    int result = check_current(merge);
    if (result)
        return result;
    const struct source *top = top_source(merge);
    *image_schema = top->segment ? merge->schema : top->image_schema;
    *image = NULL;
    *image_bytes = 0;
    if (top->record.kind == RECORD_DELETE)
        return MOTE_OK;
    *image = top->segment ? room : top->image;
    *image_bytes = top->image_bytes;
    return top->segment ? sst_row_image(top->segment, room, capacity_bytes, image_bytes) : MOTE_OK;
}

int merge_place(struct merge *merge, struct merge_place *place)
{
    int result = check_current(merge);
    if (result)
        return result;
    const struct source *top = top_source(merge);
    *place = (struct merge_place){.iterator = top->segment, .run_length = 1, .image_schema = top->image_schema, .image = top->image, .image_bytes = top->image_bytes};
    if (!top->segment || merge->descending)
        return MOTE_OK;
    const struct source *second = second_source(merge);
    /* A neighbour with the very same key ends the run at once, and asking would cost more than it gives. */
    if (second && second->key_prefix == top->key_prefix && !key_compare(second->record.key, second->record.key_bytes, top->record.key, top->record.key_bytes))
        return MOTE_OK;
    uint32_t run_length = sst_run_length(top->segment, merge->mode == MERGE_ALL ? UINT64_MAX : merge->snapshot_seq, second ? second->record.key : NULL, second ? second->record.key_bytes : 0);
    if (run_length > 1)
        place->run_length = run_length;
    return MOTE_OK;
}

bool merge_block(struct merge *merge, struct sst_statistics *statistics)
{
    assert(merge->mode == MERGE_VISIBLE && !merge->descending);
    if (merge->failed || !merge->live)
        return false;
    const struct source *top = top_source(merge), *second = second_source(merge);
    if (!top->segment || !sst_statistics(top->segment, statistics) || !statistics->distinct || statistics->seq_max > merge->snapshot_seq)
        return false;
    return !second || key_compare(second->record.key, second->record.key_bytes, statistics->last_key, statistics->last_key_bytes) > 0;
}

int merge_skip_block(struct merge *merge)
{
    struct sst_statistics statistics;
    int result = check_current(merge);
    if (result)
        return result;
    struct source *top = top_source(merge);
    if (!top->segment || !sst_statistics(top->segment, &statistics))
        return error_set(MOTE_EINTERNAL, "a merge that is on no block was to pass over one; please report it");
    /* Older versions of its last key may follow, in the next block. */
    keep_key(merge, load_prefix(statistics.last_key, statistics.last_key_bytes), statistics.last_key, statistics.last_key_bytes);
    result = settle_top(merge, load_source(top, sst_skip_block(top->segment)));
    return result ? result : find_record(merge);
}

int merge_pass(struct merge *merge, uint32_t count)
{
    int result = check_current(merge);
    if (result || count < 2)
        return result;
    struct source *top = top_source(merge);
    assert(top->segment && !merge->descending);
    if (count > sst_block_rows_left(top->segment))
        return merge->failed = error_set(MOTE_EINTERNAL, "a run of rows ended early; please report it");
    sst_skip(top->segment, count - 1);
    /* The last record of the run is the current one now: older versions of its key may follow. */
    int found = load_source(top, 1);
    if (found < 0)
        return merge->failed = found;
    if (merge->mode == MERGE_VISIBLE)
        keep_current(merge, top);
    return MOTE_OK;
}

int merge_skip(struct merge *merge, uint32_t count)
{
    int result = merge_pass(merge, count);
    return result ? result : count ? merge_next(merge) : 1;
}
