/* cache_test.c: the block cache under many threads, for ThreadSanitizer: gets of overlapping sets of ranges, pins held across other gets, forgotten segments, counters, on a region
 * much smaller than the data. Every byte that a thread sees is compared with what the disk holds. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/cache.h"
#include "blockdev/sim_private.h"
#include "tests/support/requests.h"

enum { THREADS = 4, STEPS = 6000, DISK_BYTES = 4 * 1024 * 1024, REGION_BYTES = 1024 * 1024 };

static struct blockdev *device;
static struct cache *cache;
static uint64_t seed;
static _Atomic unsigned failed_count;

static int check_first(const uint8_t *data, uint32_t length_bytes, void *context)
{
    return load_u64(data) == *(uint64_t *)context && length_bytes >= 8 ? 0 : -1;
}

struct held {
    struct cache_entry *entry;
    const uint8_t *data;
    uint64_t first;
    uint32_t length;
};

static void let_go(struct held *held)
{
    for (uint32_t at = 0; at + 8 <= held->length; at += 8) {
        if (load_u64(held->data + at) != held->first + at) {
            atomic_fetch_add(&failed_count, 1);
            break;
        }
    }
    cache_release(cache, held->entry);
    held->entry = NULL;
}

static void *work(void *index)
{
    uint64_t random = seed + (uint64_t)(size_t)index;
    struct held held[4] = {0};
    struct blockdev_queue *queue = requests_queue(device, 4);
    for (int step = 0; step < STEPS; step++) {
        struct held *slot = &held[sim_random_below(&random, 4)];
        if (slot->entry)
            let_go(slot);
        uint64_t segment = sim_random_below(&random, 40), offset = sim_random_below(&random, 8) * 8192;
        slot->length = 8 * (1 + (uint32_t)(segment * 37 + offset / 64) % 1000);
        slot->first = segment * 65536 + offset;
        if (cache_get(cache, (struct cache_key){segment, offset}, queue, slot->first, slot->length, check_first, &slot->first, &slot->entry, &slot->data) != 0) {
            slot->entry = NULL;
            atomic_fetch_add(&failed_count, 1);
        }
        if (step % 97 == 0)
            cache_forget_segment(cache, segment);
        struct cache_counters counters;
        cache_get_counters(cache, &counters);
    }
    for (int i = 0; i < 4; i++)
        if (held[i].entry)
            let_go(&held[i]);
    blockdev_queue_destroy(queue);
    return NULL;
}

int main(void)
{
    static uint8_t disk[DISK_BYTES];
    struct sim_options options = {.size_bytes = DISK_BYTES, .logical_block_bytes = 512, .initial = disk, .initial_borrowed = true};
    struct memory *memory;
    pthread_t threads[THREADS];
    seed = requests_seed("cache_test");
    for (uint64_t at = 0; at < DISK_BYTES; at += 8)
        store_u64(disk + at, at);
    if (sim_create(&options, &device) != 0 || memory_create(REGION_BYTES + MIB_BYTES, false, &memory) != 0)
        return 1;
    void *region = memory_carve(memory, REGION_BYTES, PAGE_BYTES);
    if (memory_seal(memory) != 0 || cache_create(memory, region, REGION_BYTES, 200, &cache) != 0)
        return 1;
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct cache_counters counters;
    cache_get_counters(cache, &counters);
    if (counters.hits == 0 || counters.evictions == 0 || counters.hits + counters.misses != (uint64_t)THREADS * STEPS)
        atomic_fetch_add(&failed_count, 1);
    cache_destroy(cache);
    memory_destroy(memory);
    blockdev_close(device);
    printf("%u passed, %u failed\n", failed_count == 0 ? 1u : 0u, failed_count);
    return failed_count != 0;
}
