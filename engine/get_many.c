/* get_many.c: many point reads at once. Each key goes its way through the segments that may hold it, newest first, as mote_get does; where it would have to read, it says what, and what many keys want is read with up to READS_MAX requests
 * in flight. Then each goes on from the cache. So a group of keys costs a few rounds: index pages, filters, pages.
 *
 * Invariants: all keys see one snapshot and one view. The reader's queue is idle whenever a key is looked for, since that may read by itself: what was wanted and has left the cache again, or what could not be read or was damaged, whose
 * error is told there.
 * Memory: a group's keys and states; what is read goes to the cache, a share of it at a time. Threads: any number. Failures: as mote_get.
 */
#include <string.h>

#include "engine/get_private.h"
#include "engine/retention.h"

enum { GROUP_KEYS = 256, READS_MAX = 32, WANTS_MAX = 128, ROUNDS_MAX = 6 /* of one key in one segment: partition, filter, page, and what was evicted meanwhile */ };

struct key_state {
    struct get_key key;
    int64_t time_ns;
    struct found_row found;
    uint32_t segments_left; /* those before it in the list are still to be asked */
    uint32_t rounds;        /* of wants in the present segment */
    bool done, made; /* the row was made here */
    size_t index;    /* the caller's */
};

struct many {
    struct mote_db *db;
    const struct schema *schema;
    const struct segment_list *list;
    struct reader *reader;
    const struct view *view;
    uint64_t snapshot;
    const struct time_filter *filter;
    mote_row **rows;
    int32_t *results;
    /* The group. */
    struct key_state *states;
    uint8_t *keys; /* GROUP_KEYS of key_bytes_max */
    uint32_t key_bytes_max, state_count;
    /* What the group wants. */
    struct sst_want wants[WANTS_MAX];
    struct cache_fill fills[WANTS_MAX];
    struct blockdev_request requests[WANTS_MAX];
    uint32_t want_count;
    uint64_t want_bytes, want_bytes_max;
};

/* ---- Reading what is wanted ---- */

static void end_fill(struct many *many, struct blockdev_request *request)
{
    uint32_t index = (uint32_t)(request - many->requests);
    bool good = request->result == MOTE_OK && sst_want_fits(&many->db->sst, &many->wants[index], many->fills[index].data);
    cache_fill_end(many->db->cache, &many->fills[index], good);
}

static int reap_some(struct many *many, unsigned wait_count)
{
    struct blockdev_request *done[READS_MAX];
    int count = blockdev_reap(many->reader->queue, wait_count, wait_count ? -1 : 0, done, READS_MAX);
    for (int i = 0; i < count; i++)
        end_fill(many, done[i]);
    return count < 0 ? count : MOTE_OK;
}

/* Reads everything that is wanted. A read that fails is no error here: whoever needs it reads it again and tells. */
static int read_wants(struct many *many)
{
    uint32_t submitted = 0;
    int result = MOTE_OK;
    if (many->want_count == 0)
        return MOTE_OK;
    struct blockdev_queue *queue = many->reader->queue;
    while (!result && (submitted < many->want_count || blockdev_queue_inflight(queue) > 0)) {
        struct blockdev_request *batch[READS_MAX];
        uint32_t count = 0, room = READS_MAX - blockdev_queue_inflight(queue);
        while (count < room && submitted + count < many->want_count) {
            batch[count] = &many->requests[submitted + count];
            count++;
        }
        int taken = count ? blockdev_submit(queue, batch, count) : 0;
        result = taken < 0 ? taken : MOTE_OK;
        submitted += taken > 0 ? (uint32_t)taken : 0;
        /* A quarter is refilled at a time, so that a system call serves several. */
        unsigned inflight = blockdev_queue_inflight(queue);
        if (!result && inflight > 0)
            result = reap_some(many, submitted < many->want_count ? READS_MAX / 4 : inflight);
    }
    for (uint32_t i = submitted; result && i < many->want_count; i++)
        cache_fill_end(many->db->cache, &many->fills[i], false);
    many->want_count = 0;
    many->want_bytes = 0;
    return result;
}

static bool wanted_already(const struct many *many, const struct sst_want *want)
{
    for (uint32_t i = many->want_count; i-- > 0;)
        if (many->wants[i].key.offset_bytes == want->key.offset_bytes && many->wants[i].key.segment_id == want->key.segment_id)
            return true;
    return false;
}

/* Notes what a key wants. false: it cannot be read here, the key reads it itself. */
static bool add_want(struct many *many, const struct sst_want *want)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(many->db->device);
    struct cache_fill *fill = &many->fills[many->want_count];
    if (wanted_already(many, want))
        return true;
    if (want->length_bytes + 2 * geometry->logical_block_bytes > geometry->request_bytes_max)
        return false;
    int begun = cache_fill_begin(many->db->cache, want->key, geometry->logical_block_bytes, want->device_offset_bytes, want->length_bytes, fill);
    if (begun <= 0)
        return begun == 0;
    many->wants[many->want_count] = *want;
    many->requests[many->want_count++] = (struct blockdev_request){.op = BLOCKDEV_READ, .length_bytes = (uint32_t)fill->size_bytes, .offset_bytes = fill->from_bytes, .buffer = fill->buffer};
    many->want_bytes += fill->size_bytes;
    return true;
}

/* ---- One key ---- */

static struct segment *next_segment(const struct many *many, struct key_state *state)
{
    while (state->segments_left > 0) {
        struct segment *segment = many->list->segments[state->segments_left - 1];
        if (get_may_be_in(&segment->record, many->schema, &state->key, state->time_ns, &state->found))
            return segment;
        state->segments_left--;
        state->rounds = 0;
    }
    return NULL;
}

static int finish_key(struct many *many, struct key_state *state)
{
    mote_row *row = many->rows[state->index];
    state->done = true;
    if (state->found.found && row && retention_hides_image(many->filter, many->schema, row->image_schema, row->image))
        state->found.found = false;
    if (state->made && !state->found.found) {
        /* An older version was met before the tombstone. */
        mote_row_free(many->rows[state->index]);
        many->rows[state->index] = NULL;
    }
    many->results[state->index] = state->found.found ? MOTE_OK : MOTE_ENOTFOUND;
    return MOTE_OK;
}

static int take_from(struct many *many, struct key_state *state, struct sst_iterator *iterator)
{
    bool made;
    int result = row_make(many->db, &many->rows[state->index], &made);
    state->made = state->made || made;
    if (!result)
        result = get_from_segment(iterator, many->schema, &state->key, many->rows[state->index], &state->found);
    if (!result)
        many->rows[state->index]->schema = many->schema;
    state->segments_left--;
    state->rounds = 0;
    return result;
}

/* As far as the cache goes; what is then wanted is noted. */
static int advance_key(struct many *many, struct key_state *state)
{
    struct segment *segment;
    int result = MOTE_OK;
    while (!result && (segment = next_segment(many, state)) != NULL) {
        struct sst_iterator *iterator;
        struct sst_want want;
        result = get_iterator(many->db, many->reader, segment, many->schema, &iterator);
        if (result)
            return result;
        if (state->rounds < ROUNDS_MAX && sst_get_want(iterator, state->key.key, state->key.key_bytes, state->key.snapshot, &want) > 0) {
            state->rounds++;
            if (add_want(many, &want))
                return MOTE_OK;
        }
        result = take_from(many, state, iterator);
    }
    return result ? result : finish_key(many, state);
}

/* ---- A group ---- */

/* The key outlives the group. */
static int begin_key(struct many *many, const uint8_t *key, uint32_t key_bytes, size_t index)
{
    struct key_state *state = &many->states[many->state_count];
    bool decided = false, made = false;
    *state = (struct key_state){.key = {key, key_bytes, many->snapshot}, .index = index, .segments_left = many->list ? many->list->count : 0};
    int result = many->schema->time_in_key ? key_time(many->schema, key, key_bytes, &state->time_ns) : MOTE_OK;
    if (!result && many->schema->time_in_key && time_filter_hides(many->filter, state->time_ns))
        return finish_key(many, state);
    if (!result)
        result = get_from_memtables(many->view, many->schema->table_id, &state->key, NULL, &state->found, &decided);
    if (!result && decided && state->found.found) {
        result = row_make(many->db, &many->rows[index], &made);
        if (!result)
            result = get_from_memtables(many->view, many->schema->table_id, &state->key, many->rows[index], &state->found, &decided);
        if (!result)
            many->rows[index]->schema = many->schema;
    }
    if (!result && (decided || !many->list))
        return finish_key(many, state);
    many->state_count++;
    return result;
}

static int run_group(struct many *many)
{
    int result = MOTE_OK;
    uint32_t first = 0; /* all before it are done */
    while (first < many->state_count && !result) {
        /* Whatever was read is used in the next pass, before more is wanted than the cache's share holds. */
        for (uint32_t i = first; i < many->state_count && !result && many->want_count < WANTS_MAX && many->want_bytes < many->want_bytes_max; i++) {
            /* A key may read by itself, through the same queue: nothing is in flight yet. */
            if (!many->states[i].done)
                result = advance_key(many, &many->states[i]);
        }
        int read = read_wants(many);
        result = result ? result : read;
        while (first < many->state_count && many->states[first].done)
            first++;
    }
    many->state_count = 0;
    return result;
}

/* own_keys: room for a group's keys is needed. */
static int prepare(struct many *many, bool own_keys)
{
    struct memory *memory = many->db->memory;
    many->key_bytes_max = many->schema->key_bytes_fixed ? (many->schema->key_bytes_fixed + 7) & ~7u : MOTE_KEY_BYTES_MAX;
    many->want_bytes_max = many->db->options.cache_bytes / 8;
    many->states = memory_alloc(memory, GROUP_KEYS * sizeof *many->states);
    many->keys = own_keys ? memory_alloc(memory, (size_t)GROUP_KEYS * many->key_bytes_max) : NULL;
    if (!many->states || (own_keys && !many->keys))
        return MOTE_EBUDGET;
    if (many->list)
        many->reader = reader_take(many->db, false);
    return many->list && !many->reader ? MOTE_EBUDGET : MOTE_OK;
}

static void release(struct many *many)
{
    struct memory *memory = many->db->memory;
    if (many->reader) {
        reader_rest(many->reader);
        reader_give(many->db, many->reader, false);
    }
    memory_free(memory, many->states);
    memory_free(memory, many->keys);
    memory_free(memory, many);
}

static struct many *create(struct mote_table *table, const struct view *view, uint64_t snapshot, const struct time_filter *filter, mote_row **rows, int32_t *results)
{
    struct many *many = memory_alloc(table->db->memory, sizeof *many);
    if (!many)
        return NULL;
    memset(many, 0, offsetof(struct many, wants));
    many->want_count = 0;
    many->want_bytes = 0;
    many->db = table->db;
    many->rows = rows;
    many->results = results;
    many->view = view;
    many->snapshot = snapshot;
    many->filter = filter;
    many->schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    many->list = version_find(view->version, table->id);
    return many;
}

static int get_all(struct many *many, const struct mote_value *values, size_t count)
{
    const struct schema *schema = many->schema;
    int result = prepare(many, true);
    for (size_t i = 0; i < count && !result; i++) {
        uint8_t *key = many->keys + (size_t)many->state_count * many->key_bytes_max;
        uint32_t key_bytes;
        result = key_from_values(schema, values + i * schema->key_column_count, schema->key_column_count, key, &key_bytes);
        if (!result)
            result = begin_key(many, key, key_bytes, i);
        if (!result && (many->state_count == GROUP_KEYS || i + 1 == count))
            result = run_group(many);
    }
    return result;
}

int get_many_at(struct mote_table *table, const struct view *view, uint64_t snapshot, const struct time_filter *filter, const struct get_key *keys, size_t count, mote_row **rows, int32_t *results)
{
    struct many *many = create(table, view, snapshot, filter, rows, results);
    if (!many)
        return MOTE_EBUDGET;
    int result = prepare(many, false);
    for (size_t i = 0; i < count && !result; i++) {
        result = begin_key(many, keys[i].key, keys[i].key_bytes, i);
        if (!result && (many->state_count == GROUP_KEYS || i + 1 == count))
            result = run_group(many);
    }
    release(many);
    return result;
}

int mote_get_many(mote_table *table, const struct mote_value *keys, size_t key_count, size_t count, mote_row **rows, int32_t *results)
{
    int result = table_check(table);
    if (!result && count > 0 && (!keys || !rows || !results))
        result = error_set(MOTE_EINVAL, "the keys, the rows or the results are NULL");
    if (result)
        return result;
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (key_count != schema->key_column_count)
        return error_set(MOTE_EINVAL, "the key of table %s has %u columns, %zu values were given for each", schema->name, schema->key_column_count, key_count);
    struct view view;
    struct time_filter filter;
    retention_filter(table, &filter);
    view_acquire(db, &view);
    /* As in mote_get: loaded after the view. */
    struct many *many = create(table, &view, atomic_load(&db->visible_seq), &filter, rows, results);
    result = many ? get_all(many, keys, count) : MOTE_EBUDGET;
    if (many)
        release(many);
    view_release(db, &view);
    if (result)
        error_add_table(schema->name);
    return result;
}
