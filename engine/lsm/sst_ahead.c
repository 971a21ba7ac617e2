/* sst_ahead.c: reading ahead for scans. While the rows of a block are consumed the blocks behind it are being read, several neighbours with one request, into *windows*: buffers beside the cache, which a scan of a whole table therefore does
 * not flush. Blocks that the cache holds are taken from there and not read again.
 *
 * An iterator reads ahead from the third block in a row on; its windows grow from WINDOW_BYTES_FIRST to the pool's size. Iterators of one reader share a pool: a few windows and a queue of their own, so that reads under way do not get
 * between others; who finds no free window reads block by block as ever. A pool takes no memory before it is used and at most 1/ BUDGET_SHARE of the budget, and none where the budget is nearly used up.
 *
 * Invariants
 *   1. A window belongs to one iterator from its request until the iterator has left it, moved elsewhere or is closed; a buffer is not given up while its read is in flight.
 *   2. What is in a window is used only after the block's checksum held. A read that failed or does not hold is forgotten: the block is then read alone, and its error told.
 * Threads: the iterators'. Failures: none that are told; without memory or queue there is no reading ahead.
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"

enum { WINDOWS_MAX = 8, WINDOWS_OF_ITERATOR = 4, WINDOW_BYTES_FIRST = 128 * 1024, GAP_BYTES_MAX = 96 * 1024 /* a partition and a filter may lie between */, BUDGET_SHARE = 48, STREAK_MIN = 2, STREAK_STEP_MAX = 16 };

enum window_state { WINDOW_FREE, WINDOW_READING, WINDOW_READY };

struct window {
    struct sst_iterator *owner;
    enum window_state state;
    uint8_t *data;
    uint64_t start_bytes, end_bytes; /* in the segment; whole logical blocks */
    struct blockdev_request request;
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
    struct blockdev_request *done[WINDOWS_MAX];
    int count = blockdev_reap(ahead->queue, wait_count, wait_count ? -1 : 0, done, WINDOWS_MAX);
    for (int i = 0; i < count; i++) {
        struct window *window = done[i]->user;
        assert(window->state == WINDOW_READING);
        window->state = done[i]->result == MOTE_OK && window->owner ? WINDOW_READY : WINDOW_FREE;
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
    iterator->ahead_number = 0;
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

static struct window *find_window(const struct sst_iterator *iterator, uint64_t offset_bytes, uint32_t length_bytes)
{
    struct sst_ahead *ahead = iterator->ahead;
    for (uint32_t i = 0; ahead && i < ahead->window_count; i++) {
        struct window *window = &ahead->windows[i];
        if (window->owner == iterator && window->start_bytes <= offset_bytes && window->end_bytes - offset_bytes >= length_bytes && window->end_bytes > offset_bytes)
            return window;
    }
    return NULL;
}

const uint8_t *sst_ahead_take(struct sst_iterator *iterator, const struct sst_header *header)
{
    struct window *window = find_window(iterator, header->offset_bytes, header->length_bytes);
    if (!window)
        return NULL;
    const uint8_t *data = wait_for(iterator->ahead, window) ? window->data + (header->offset_bytes - window->start_bytes) : NULL;
    bool holds = data && sst_header_fits(data, header) && (iterator->ahead_checked == header->offset_bytes || sst_crc(iterator->context->uuid, header, data) == header->crc);
    if (!holds) {
        give_up(window);
        return NULL;
    }
    iterator->ahead_checked = header->offset_bytes;
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
        struct blockdev_queue_options options = {.depth = WINDOWS_MAX, .flags = BLOCKDEV_QUEUE_SHARED};
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

static bool is_cached(const struct sst_iterator *iterator, const struct sst_header *header)
{
    struct cache_entry *entry;
    const uint8_t *data;
    if (!cache_try(iterator->context->cache, (struct cache_key){iterator->segment_id, header->offset_bytes}, header->length_bytes, &entry, &data))
        return false;
    cache_release(iterator->context->cache, entry);
    return true;
}

/* The next range worth a window: neighbouring blocks that are wanted and not cached, up to limit_bytes. false: there is none. */
static bool plan_window(struct sst_iterator *iterator, uint32_t limit_bytes, uint64_t *start_bytes, uint64_t *end_bytes, uint64_t *device_offset_bytes)
{
    uint32_t logical_bytes = blockdev_geometry(iterator->context->device)->logical_block_bytes;
    uint32_t skipped = 0;
    *start_bytes = *end_bytes = 0;
    while (iterator->ahead_number < iterator->footer.block_count && skipped < 64) {
        struct sst_block_entry entry;
        uint64_t contiguous_bytes, from, end;
        if (!load_ahead(iterator, iterator->ahead_number, &entry))
            break;
        from = round_down(entry.header.offset_bytes, logical_bytes);
        end = round_up(entry.header.offset_bytes + entry.header.length_bytes, logical_bytes);
        uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, from, end - from, &contiguous_bytes);
        bool usable = contiguous_bytes == end - from && end - from <= iterator->ahead->window_bytes && sst_range_wants_block(iterator, iterator->ahead_number, &entry) && sst_deferrer_wants(iterator, &entry) &&
                      !is_cached(iterator, &entry.header);
        if (*end_bytes == 0 && usable) {
            *start_bytes = from;
            *device_offset_bytes = device_offset;
        } else if (*end_bytes != 0 && (!usable || device_offset - *device_offset_bytes != from - *start_bytes || from > *end_bytes + GAP_BYTES_MAX || end - *start_bytes > limit_bytes)) {
            break;
        } else if (!usable) {
            skipped++;
            iterator->ahead_number++;
            continue;
        }
        *end_bytes = end;
        iterator->ahead_number++;
    }
    return *end_bytes != 0;
}

static bool ask_for_window(struct sst_iterator *iterator)
{
    struct sst_ahead *ahead = iterator->ahead;
    struct window *window = take_window(iterator);
    uint64_t device_offset_bytes = 0;
    uint32_t limit_bytes = (uint32_t)WINDOW_BYTES_FIRST << (iterator->ahead_grown < 4 ? iterator->ahead_grown : 4);
    if (!window || !plan_window(iterator, limit_bytes < ahead->window_bytes ? limit_bytes : ahead->window_bytes, &window->start_bytes, &window->end_bytes, &device_offset_bytes))
        return false;
    struct blockdev_request *request = &window->request;
    *request = (struct blockdev_request){.op = BLOCKDEV_READ, .length_bytes = (uint32_t)(window->end_bytes - window->start_bytes), .offset_bytes = device_offset_bytes, .buffer = window->data, .user = window};
    assert(request->length_bytes <= ahead->window_bytes);
    if (blockdev_submit(ahead->queue, &request, 1) != 1)
        return false;
    window->owner = iterator;
    window->state = WINDOW_READING;
    iterator->ahead_grown++;
    return true;
}

void sst_ahead_enter(struct sst_iterator *iterator, uint32_t number, uint32_t left, uint64_t offset_bytes)
{
    if (!iterator->ahead)
        return;
    if (left == SST_NONE || number <= left || number - left > STREAK_STEP_MAX) {
        sst_ahead_leave(iterator);
        return;
    }
    drop_windows(iterator, offset_bytes);
    if (++iterator->streak < STREAK_MIN)
        return;
    if (iterator->ahead_number <= number) {
        iterator->ahead_number = number;
        iterator->ahead_partition = iterator->partition;
    }
    while (ask_for_window(iterator))
        ;
}
