/* sst_ahead.c: reading ahead for scans. While the rows of a block are consumed the blocks behind it are being read, several neighbours with one request, into *windows*: buffers beside the cache, which a scan of a whole table therefore does
 * not flush. Blocks that the cache holds are taken from there and not read again.
 *
 * Where few columns are wanted (sst_parts.c) a window holds groups of streams instead, those of many blocks: it has *parts*, one for each group or, of whole blocks, one for all neighbours, and reads them all with one submit.
 *
 * An iterator reads ahead from the third block in a row on; its windows grow from WINDOW_BYTES_FIRST to the pool's size. Where few rows are expected, the blocks in which they probably lie are asked for at once, each in a window of its own so
 * that the first is decoded while the others are read, and are copied to the cache, since who reads few rows often reads their neighbours next. Iterators of one reader share a pool: a few windows and a queue of their own, so that reads under way do not get
 * between others; who finds no free window reads block by block as ever. A pool takes no memory before it is used and at most 1/ BUDGET_SHARE of the budget, and none where the budget is nearly used up.
 *
 * Invariants
 *   1. A window belongs to one iterator from its request until the iterator has left it, moved elsewhere or is closed; a buffer is not given up while its read is in flight.
 *   2. What is in a window is used only after the block's or the streams' checksums held. A read that failed or does not hold is forgotten: the block is then read alone, and its error told.
 * Threads: the iterators'. Failures: none that are told; without memory or queue there is no reading ahead.
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

enum { WINDOWS_MAX = 8, WINDOWS_OF_ITERATOR = 4, WINDOW_BYTES_FIRST = 128 * 1024, GAP_BYTES_MAX = 96 * 1024 /* a partition and a filter may lie between */, BUDGET_SHARE = 48, STREAK_MIN = 2, STREAK_STEP_MAX = 16, PARTS_MAX = 32, DEPTH = 128 };

enum window_state { WINDOW_FREE, WINDOW_READING, WINDOW_READY };

/* A range of the segment, whole logical blocks, in the window's buffer. */
struct part {
    uint64_t start_bytes, end_bytes, device_offset_bytes;
    uint32_t at_bytes; /* in the buffer */
    struct blockdev_request request;
};

struct window {
    struct sst_iterator *owner;
    enum window_state state;
    bool failed; /* some part of it */
    uint8_t *data;
    uint32_t part_count, pending_count, used_bytes;
    uint64_t end_bytes; /* of the last part */
    struct part parts[PARTS_MAX];
};

struct sst_ahead {
    struct sst_context *context;
    struct blockdev_queue *queue; /* NULL: not needed yet */
    bool unusable;
    uint32_t window_count, window_bytes, user_count; /* iterators that may ask */
    struct window windows[WINDOWS_MAX];
};

int sst_ahead_create(struct sst_context *context, struct sst_ahead **ahead)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(context->device);
    *ahead = memory_alloc_zero(context->memory, sizeof **ahead);
    if (!*ahead)
        return MOTE_EBUDGET;
    uint64_t share_bytes = memory_budget_bytes(context->memory) / BUDGET_SHARE, window_bytes = geometry->request_bytes_max;
    while (window_bytes > WINDOW_BYTES_FIRST && window_bytes * WINDOWS_OF_ITERATOR > share_bytes)
        window_bytes /= 2;
    (*ahead)->context = context;
    (*ahead)->window_bytes = (uint32_t)round_down(window_bytes, geometry->logical_block_bytes);
    (*ahead)->window_count = (uint32_t)(share_bytes / window_bytes < WINDOWS_MAX ? share_bytes / window_bytes : WINDOWS_MAX);
    return MOTE_OK;
}

/* ---- Windows ---- */

/* Waits for some read. false: the queue is gone. */
static bool reap_some(struct sst_ahead *ahead, unsigned wait_count)
{
    struct blockdev_request *done[PARTS_MAX];
    int count = blockdev_reap(ahead->queue, wait_count, wait_count ? -1 : 0, done, PARTS_MAX);
    for (int i = 0; i < count; i++) {
        struct window *window = done[i]->user;
        assert(window->state == WINDOW_READING && window->pending_count > 0);
        window->failed = window->failed || done[i]->result != MOTE_OK;
        if (--window->pending_count == 0)
            window->state = !window->failed && window->owner ? WINDOW_READY : WINDOW_FREE;
    }
    return count >= 0;
}

static bool wait_for(struct sst_ahead *ahead, const struct window *window)
{
    while (window->state == WINDOW_READING)
        if (!reap_some(ahead, 1))
            return false;
    return window->state == WINDOW_READY;
}

/* A read in flight goes on without an owner. */
static void give_up(struct window *window)
{
    window->owner = NULL;
    if (window->state == WINDOW_READY)
        window->state = WINDOW_FREE;
}

/* Lets go of the iterator's windows that end at or before the offset. */
static void drop_windows(struct sst_iterator *iterator, uint64_t before_bytes)
{
    struct sst_ahead *ahead = iterator->ahead;
    for (uint32_t i = 0; ahead && i < ahead->window_count; i++)
        if (ahead->windows[i].owner == iterator && ahead->windows[i].end_bytes <= before_bytes)
            give_up(&ahead->windows[i]);
}

void sst_ahead_leave(struct sst_iterator *iterator)
{
    drop_windows(iterator, UINT64_MAX);
    iterator->streak = iterator->ahead_grown = 0;
    iterator->ahead_number = iterator->ahead_end = 0;
}

void sst_iterator_set_ahead(struct sst_iterator *iterator, struct sst_ahead *ahead)
{
    if (iterator->ahead == ahead)
        return;
    sst_ahead_leave(iterator);
    if (iterator->ahead)
        iterator->ahead->user_count--;
    iterator->ahead = ahead;
    if (ahead)
        ahead->user_count++;
}

void sst_ahead_rest(struct sst_ahead *ahead)
{
    if (!ahead)
        return;
    for (uint32_t i = 0; i < ahead->window_count; i++) {
        struct window *window = &ahead->windows[i];
        assert(!window->owner);
        while (window->state == WINDOW_READING && reap_some(ahead, 1))
            ;
        if (window->state == WINDOW_READING)
            continue; /* The queue is gone: the kernel may still write there. */
        memory_free(ahead->context->memory, window->data);
        window->data = NULL;
    }
}

void sst_ahead_destroy(struct sst_ahead *ahead)
{
    if (!ahead)
        return;
    sst_ahead_rest(ahead);
    if (ahead->queue)
        blockdev_queue_destroy(ahead->queue);
    for (uint32_t i = 0; i < ahead->window_count; i++)
        memory_free(ahead->context->memory, ahead->windows[i].data); /* nothing is in flight any more */
    memory_free(ahead->context->memory, ahead);
}

/* The bytes of the segment in a window of the iterator, when they are there. NULL: they are in none, or could not be read. */
static const uint8_t *find_bytes(const struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes, struct window **found)
{
    struct sst_ahead *ahead = iterator->ahead;
    for (uint32_t i = 0; ahead && i < ahead->window_count; i++) {
        struct window *window = &ahead->windows[i];
        for (uint32_t j = 0; window->owner == iterator && j < window->part_count; j++) {
            const struct part *part = &window->parts[j];
            if (part->start_bytes > offset_bytes || part->end_bytes <= offset_bytes || part->end_bytes - offset_bytes < length_bytes)
                continue;
            *found = window;
            if (wait_for(ahead, window))
                return window->data + part->at_bytes + (offset_bytes - part->start_bytes);
            give_up(window);
            return NULL;
        }
    }
    return NULL;
}

void sst_keep(struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes, const uint8_t *data)
{
    struct cache_fill fill;
    struct cache_key key = {iterator->segment_id, offset_bytes};
    if (cache_fill_begin(iterator->context->cache, key, 1, 0, length_bytes, &fill) != 1) /* It is copied, not read: nothing need be rounded out to logical blocks. */
        return;
    memcpy(fill.buffer, data, length_bytes);
    cache_fill_end(iterator->context->cache, &fill, true);
}

const uint8_t *sst_ahead_take(struct sst_iterator *iterator, const struct sst_header *header)
{
    struct window *window;
    const uint8_t *data = find_bytes(iterator, header->offset_bytes, header->length_bytes, &window);
    if (!data)
        return NULL;
    bool holds = sst_header_fits(data, header) && (iterator->ahead_checked == header->offset_bytes || sst_crc(iterator->context->uuid, header, data, NULL) == header->crc);
    if (!holds) {
        give_up(window);
        return NULL;
    }
    if (iterator->expected_rows && iterator->ahead_checked != header->offset_bytes)
        sst_keep(iterator, header->offset_bytes, header->length_bytes, data);
    iterator->ahead_checked = header->offset_bytes;
    return data;
}

const uint8_t *sst_ahead_take_group(struct sst_iterator *iterator, const struct sst_block_entry *entry, const struct sst_group *group)
{
    struct window *window;
    uint64_t offset_bytes;
    uint32_t length_bytes;
    sst_group_range(iterator, entry, group, &offset_bytes, &length_bytes);
    const uint8_t *data = find_bytes(iterator, offset_bytes, length_bytes, &window);
    if (data && !sst_group_fits(iterator, entry, group, data)) {
        give_up(window);
        return NULL;
    }
    return data;
}

/* ---- Asking for windows ---- */

/* A free window with a buffer, or NULL. */
static struct window *take_window(struct sst_iterator *iterator)
{
    struct sst_ahead *ahead = iterator->ahead;
    struct memory *memory = ahead->context->memory;
    struct window *found = NULL;
    uint32_t owned = 0, share = ahead->window_count / (ahead->user_count ? ahead->user_count : 1);
    share = share < 2 ? 2 : share > WINDOWS_OF_ITERATOR ? WINDOWS_OF_ITERATOR : share;
    if (ahead->queue && blockdev_queue_inflight(ahead->queue) > 0)
        reap_some(ahead, 0);
    for (uint32_t i = 0; i < ahead->window_count; i++) {
        struct window *window = &ahead->windows[i];
        owned += window->owner == iterator;
        if (window->state == WINDOW_FREE && (!found || (!found->data && window->data)))
            found = window;
    }
    if (!found || owned >= share || ahead->unusable)
        return NULL;
    if (!ahead->queue) {
        struct blockdev_queue_options options = {.depth = DEPTH, .flags = BLOCKDEV_QUEUE_SHARED};
        ahead->unusable = blockdev_queue_create(ahead->context->device, &options, &ahead->queue) != MOTE_OK;
        if (ahead->unusable)
            ahead->queue = NULL;
    }
    uint64_t budget_bytes = memory_budget_bytes(memory);
    if (!found->data && memory_used_bytes(memory) + ahead->window_bytes <= budget_bytes - budget_bytes / 8) {
        uint32_t align_bytes = blockdev_geometry(ahead->context->device)->buffer_align_bytes;
        found->data = memory_alloc_aligned(memory, ahead->window_bytes, align_bytes > PAGE_BYTES ? align_bytes : PAGE_BYTES);
    }
    return ahead->queue && found->data ? found : NULL;
}

/* The header of block `number`, in the present partition or a later one. false: it is not known. */
static bool load_ahead(struct sst_iterator *iterator, uint32_t number, struct sst_block_entry *entry)
{
    struct sst_directory_entry directory;
    struct sst_pin kept = iterator->partition_pin;
    uint32_t kept_partition = iterator->partition, partition = iterator->ahead_partition;
    if (sst_footer_pin(iterator))
        return false;
    sst_directory_load(iterator, partition, &directory);
    while (number >= directory.first_block + directory.block_count)
        sst_directory_load(iterator, ++partition, &directory);
    iterator->ahead_partition = partition;
    if (partition == kept_partition && kept.entry) {
        sst_block_entry_load(iterator, number - directory.first_block, entry);
        return true;
    }
    /* The partition is looked into under another pin; the iterator's own stays. */
    iterator->partition_pin = iterator->ahead_pin;
    iterator->partition = iterator->ahead_pinned;
    bool loaded = sst_partition_pin(iterator, partition) == MOTE_OK;
    if (loaded)
        sst_block_entry_load(iterator, number - directory.first_block, entry);
    iterator->ahead_pin = iterator->partition_pin;
    iterator->ahead_pinned = iterator->partition;
    iterator->partition_pin = kept;
    iterator->partition = kept_partition;
    return loaded;
}

static bool is_cached(const struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes)
{
    struct cache_entry *entry;
    const uint8_t *data;
    if (!cache_try(iterator->context->cache, (struct cache_key){iterator->segment_id, offset_bytes}, length_bytes, &entry, &data))
        return false;
    cache_release(iterator->context->cache, entry);
    return true;
}

/* A range that a block needs, and how it may go with the one before: over a gap of at most gap_bytes. */
struct need {
    uint64_t offset_bytes;
    uint32_t length_bytes, gap_bytes;
};

/* What of the block must be read: 0 if nothing is wanted or all is cached. */
static uint32_t collect_needs(struct sst_iterator *iterator, const struct sst_block_entry *entry, struct need needs[SST_GROUPS_MAX])
{
    struct sst_group groups[SST_GROUPS_MAX];
    uint32_t group_count, count = 0;
    if (!sst_range_wants_block(iterator, iterator->ahead_number, entry) || !sst_deferrer_wants(iterator, entry) || is_cached(iterator, entry->header.offset_bytes, entry->header.length_bytes))
        return 0;
    if (!sst_parts_plan(iterator, entry, groups, &group_count)) {
        needs[0] = (struct need){entry->header.offset_bytes, entry->header.length_bytes, iterator->defers ? 0 : GAP_BYTES_MAX}; /* who defers passes over what lies between */
        return 1;
    }
    for (uint32_t i = 0; i < group_count; i++) {
        struct need *need = &needs[count];
        *need = (struct need){0};
        sst_group_range(iterator, entry, &groups[i], &need->offset_bytes, &need->length_bytes);
        count += need->length_bytes > 0 && !is_cached(iterator, need->offset_bytes, need->length_bytes);
    }
    return count;
}

/* Takes the range into the window: to the last part, if it is near behind it, or as a part more. false: it has no room there, or does not lie in one run. */
static bool add_need(const struct sst_iterator *iterator, struct window *window, const struct need *need, uint32_t limit_bytes)
{
    uint32_t logical_bytes = blockdev_geometry(iterator->context->device)->logical_block_bytes;
    uint64_t from = round_down(need->offset_bytes, logical_bytes), end = round_up(need->offset_bytes + need->length_bytes, logical_bytes), contiguous_bytes;
    uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, from, end - from, &contiguous_bytes);
    struct part *last = window->part_count ? &window->parts[window->part_count - 1] : NULL;
    limit_bytes = last ? limit_bytes : iterator->ahead->window_bytes; /* The first one may be larger than the windows of a scan that has just begun. */
    if (contiguous_bytes != end - from)
        return false;
    if (last && from >= last->start_bytes && from <= last->end_bytes + need->gap_bytes && device_offset - last->device_offset_bytes == from - last->start_bytes) {
        uint64_t more = end > last->end_bytes ? end - last->end_bytes : 0;
        if (window->used_bytes + more > limit_bytes)
            return false;
        last->end_bytes += more;
        window->used_bytes += (uint32_t)more;
    } else {
        if (window->part_count == PARTS_MAX || window->used_bytes + (end - from) > limit_bytes || (last && need->gap_bytes > 0))
            return false;
        window->parts[window->part_count++] = (struct part){.start_bytes = from, .end_bytes = end, .device_offset_bytes = device_offset, .at_bytes = window->used_bytes};
        window->used_bytes += (uint32_t)(end - from);
    }
    window->end_bytes = end > window->end_bytes ? end : window->end_bytes;
    return true;
}

/* Takes all that the block needs, or nothing. */
static bool add_needs(const struct sst_iterator *iterator, struct window *window, const struct need *needs, uint32_t count, uint32_t limit_bytes)
{
    uint32_t part_count = window->part_count, used_bytes = window->used_bytes;
    uint64_t end_bytes = window->end_bytes, last_end_bytes = part_count ? window->parts[part_count - 1].end_bytes : 0;
    for (uint32_t i = 0; i < count; i++)
        if (!add_need(iterator, window, &needs[i], limit_bytes)) {
            window->part_count = part_count;
            window->used_bytes = used_bytes;
            window->end_bytes = end_bytes;
            if (part_count)
                window->parts[part_count - 1].end_bytes = last_end_bytes;
            return false;
        }
    return true;
}

/* What is worth a window: what the next blocks need, up to limit_bytes. false: there is nothing. */
static bool plan_window(struct sst_iterator *iterator, struct window *window, uint32_t limit_bytes)
{
    uint32_t skipped = 0;
    window->part_count = window->used_bytes = 0;
    window->end_bytes = 0;
    uint32_t end = iterator->expected_rows ? iterator->ahead_end : iterator->footer.block_count;
    while (iterator->ahead_number < end && skipped < 64) {
        struct sst_block_entry entry;
        struct need needs[SST_GROUPS_MAX];
        if (!load_ahead(iterator, iterator->ahead_number, &entry))
            break;
        uint32_t count = collect_needs(iterator, &entry, needs);
        bool added = count > 0 && add_needs(iterator, window, needs, count, limit_bytes);
        /* A block that has no room is the next window's; one that has none in an empty window is nobody's. Among whole blocks one that is not needed ends the window. */
        if (!added && window->part_count > 0 && (count > 0 || !iterator->projection.set))
            break;
        skipped += !added;
        iterator->ahead_number++;
    }
    return window->part_count > 0;
}

/* Hands the parts of all these windows over with one submit. What the queue had no room for is read alone. */
static void submit_windows(struct sst_iterator *iterator, struct window *const *windows, uint32_t count)
{
    struct blockdev_request *requests[WINDOWS_OF_ITERATOR * PARTS_MAX] = {NULL};
    uint32_t request_count = 0;
    for (uint32_t w = 0; w < count; w++) {
        struct window *window = windows[w];
        assert(window->used_bytes <= iterator->ahead->window_bytes);
        for (uint32_t i = 0; i < window->part_count; i++) {
            struct part *part = &window->parts[i];
            part->request = (struct blockdev_request){.op = BLOCKDEV_READ, .length_bytes = (uint32_t)(part->end_bytes - part->start_bytes), .offset_bytes = part->device_offset_bytes, .buffer = window->data + part->at_bytes, .user = window};
            requests[request_count++] = &part->request;
        }
    }
    int taken = blockdev_submit(iterator->ahead->queue, requests, request_count);
    uint32_t left = taken > 0 ? (uint32_t)taken : 0;
    for (uint32_t w = 0; w < count; w++) {
        struct window *window = windows[w];
        window->part_count = window->pending_count = window->part_count < left ? window->part_count : left;
        left -= window->part_count;
        window->state = window->part_count ? WINDOW_READING : WINDOW_FREE;
        window->owner = window->part_count ? iterator : NULL;
    }
}

/* Asks for as many windows as the iterator may have, or what it will need takes. */
static void ask_for_windows(struct sst_iterator *iterator)
{
    struct sst_ahead *ahead = iterator->ahead;
    struct window *windows[WINDOWS_OF_ITERATOR], *window;
    uint32_t count = 0;
    while (count < WINDOWS_OF_ITERATOR && (!iterator->expected_rows || iterator->ahead_number < iterator->ahead_end) && (window = take_window(iterator)) != NULL) {
        uint32_t limit_bytes = iterator->expected_rows ? 1 : (uint32_t)WINDOW_BYTES_FIRST << (iterator->ahead_grown < 4 ? iterator->ahead_grown : 4);
        if (!plan_window(iterator, window, limit_bytes < ahead->window_bytes ? limit_bytes : ahead->window_bytes))
            break;
        window->owner = iterator; /* no longer free */
        window->state = WINDOW_READING;
        window->failed = false;
        iterator->ahead_grown++;
        windows[count++] = window;
    }
    if (count > 0)
        submit_windows(iterator, windows, count);
}

/* Few rows from some row of the block on lie in it and so many blocks behind it, rather more than fewer. */
static uint32_t end_of_few(const struct sst_iterator *iterator, uint32_t number)
{
    const struct sst_block *block = &iterator->block;
    uint32_t rows = block->row_count ? block->row_count : 1, left = iterator->footer.block_count - number;
    uint32_t wanted = 1 + (iterator->expected_rows + rows / 2) / rows;
    assert(number < iterator->footer.block_count);
    return number + (wanted < left ? wanted : left);
}

void sst_iterator_set_expected(struct sst_iterator *iterator, uint32_t rows)
{
    iterator->expected_rows = rows;
    iterator->ahead_begins = true;
}

void sst_ahead_enter(struct sst_iterator *iterator, uint32_t number, uint32_t left, uint64_t offset_bytes)
{
    if (!iterator->ahead)
        return;
    bool few = iterator->expected_rows > 0, begins = left == SST_NONE || number <= left || number - left > STREAK_STEP_MAX || (few && iterator->ahead_begins);
    iterator->ahead_begins = false;
    if (begins) {
        sst_ahead_leave(iterator);
        iterator->ahead_end = few && !iterator->block.row_pages ? end_of_few(iterator, number) : 0;
        if (iterator->ahead_end < number + 2)
            return; /* many, or no more than this block */
    }
    drop_windows(iterator, offset_bytes);
    if (!few && ++iterator->streak < STREAK_MIN)
        return;
    if (iterator->ahead_number <= number) {
        iterator->ahead_number = number;
        iterator->ahead_partition = iterator->partition;
    }
    ask_for_windows(iterator);
}
