/* blockdev_cache_test.c: the block cache over a simulated disk whose every 8 bytes hold their own offset, so that a wrong byte is known for what it is. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/cache.h"
#include "blockdev/faulty.h"
#include "blockdev/sim_private.h"
#include "include/mote.h"
#include "tests/support/requests.h"

enum { DISK_BYTES = 4 * 1024 * 1024 };

static uint8_t disk[DISK_BYTES];
static struct blockdev *device;
static struct blockdev_queue *queue;
static struct memory *memory;
static struct cache *cache;

static void make(uint64_t region_bytes, uint32_t entries_max)
{
    for (uint64_t at = 0; at < DISK_BYTES; at += 8)
        store_u64(disk + at, at);
    struct sim_options options = {.size_bytes = DISK_BYTES, .logical_block_bytes = 512, .initial = disk, .initial_borrowed = true};
    struct blockdev *inner;
    cr_assert_eq(sim_create(&options, &inner), 0);
    cr_assert_eq(faulty_create(inner, &device), 0);
    queue = requests_queue(device, 4);
    cr_assert_eq(memory_create(region_bytes + 8 * MIB_BYTES, false, &memory), 0);
    void *region = memory_carve(memory, region_bytes, PAGE_BYTES);
    cr_assert_eq(memory_seal(memory), 0);
    cr_assert_eq(cache_create(memory, region, region_bytes, entries_max, &cache), 0);
}

static void drop(void)
{
    cache_destroy(cache);
    memory_destroy(memory);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

static int check_calls;

/* The check of the tests: the offsets in the data follow each other. context: the first one. */
static int check_offsets(const uint8_t *data, uint32_t length_bytes, void *context)
{
    uint64_t first = *(const uint64_t *)context;
    check_calls++;
    for (uint32_t at = 0; at + 8 <= length_bytes; at += 8) {
        if (load_u64(data + at) != first + at)
            return MOTE_EDAMAGED;
    }
    return 0;
}

/* Segment s begins at s * 64 KiB of the disk. */
static int get(uint64_t segment, uint64_t offset, uint32_t length, struct cache_entry **entry, const uint8_t **data)
{
    uint64_t at = segment * 65536 + offset;
    return cache_get(cache, (struct cache_key){segment, offset}, queue, at, length, check_offsets, &at, entry, data);
}

static void get_and_release(uint64_t segment, uint64_t offset, uint32_t length)
{
    struct cache_entry *entry;
    const uint8_t *data;
    cr_assert_eq(get(segment, offset, length, &entry, &data), 0);
    cr_assert_eq(load_u64(data), segment * 65536 + offset);
    cr_assert_eq(load_u64(data + length - 8), segment * 65536 + offset + length - 8);
    cache_release(cache, entry);
}

static struct cache_counters counters(void)
{
    struct cache_counters now;
    cache_get_counters(cache, &now);
    return now;
}

Test(blockdev_cache, second_get_is_a_hit_and_reads_nothing)
{
    make(256 * 1024, 64);
    get_and_release(1, 8, 1000); /* neither its start nor its end is aligned */
    get_and_release(1, 8, 1000);
    get_and_release(1, 8, 400);
    cr_expect_eq(counters().misses, 1);
    cr_expect_eq(counters().hits, 2);
    struct blockdev_counters io;
    blockdev_get_counters(device, &io);
    cr_expect_eq(io.read_bytes, 1024, "rounded out to logical blocks");
    get_and_release(1, 8, 9000); /* longer than what is cached: read anew, and the new one stays */
    get_and_release(1, 8, 9000);
    cr_expect_eq(counters().misses, 2);
    cr_expect_eq(counters().hits, 3);
    drop();
}

Test(blockdev_cache, least_recently_used_is_replaced_and_what_is_used_stays)
{
    make(64 * 1024, 64); /* 16 pages */
    for (uint64_t i = 0; i < 200; i++) {
        get_and_release(1, 0, 4096); /* used all the time */
        get_and_release(2 + i / 16, i % 16 * 4096, 4096);
    }
    cr_expect_eq(counters().misses, 201, "the page in use was never replaced");
    cr_expect_geq(counters().evictions, 201 - 16);
    drop();
}

Test(blockdev_cache, pinned_entries_stay_and_a_full_cache_says_so)
{
    struct cache_entry *pinned[16], *more;
    const uint8_t *data[16], *none;
    make(64 * 1024, 64);
    for (uint64_t i = 0; i < 16; i++)
        cr_assert_eq(get(1, i * 4096, 4096, &pinned[i], &data[i]), 0);
    cr_expect_eq(get(2, 0, 8, &more, &none), MOTE_EBUDGET);
    cache_release(cache, pinned[7]);
    for (uint64_t i = 0; i < 40; i++)
        get_and_release(3, i % 16 * 4096, 4096);
    cr_expect_eq(get(2, 0, 8192, &more, &none), MOTE_EBUDGET, "one page is free, not two");
    cr_expect_eq(get(2, 0, 128 * 1024, &more, &none), MOTE_EBUDGET, "larger than the cache");
    for (uint64_t i = 0; i < 16; i++) {
        if (i == 7)
            continue;
        cr_expect_eq(load_u64(data[i] + 4088), 65536 + i * 4096 + 4088);
        cache_release(cache, pinned[i]);
    }
    get_and_release(2, 0, 65536);
    drop();
}

Test(blockdev_cache, entries_max_bounds_the_table)
{
    make(64 * 1024, 4);
    for (uint64_t i = 0; i < 8; i++)
        get_and_release(1, i * 4096, 8);
    cr_expect_eq(counters().evictions, 4);
    struct cache_entry *pinned[4], *more;
    const uint8_t *data;
    for (uint64_t i = 0; i < 4; i++)
        cr_assert_eq(get(2, i * 4096, 8, &pinned[i], &data), 0);
    cr_expect_eq(get(3, 0, 8, &more, &data), MOTE_EBUDGET);
    for (uint64_t i = 0; i < 4; i++)
        cache_release(cache, pinned[i]);
    drop();
}

Test(blockdev_cache, failed_check_or_read_caches_nothing)
{
    struct cache_entry *entry = NULL;
    const uint8_t *data = NULL;
    make(64 * 1024, 64);
    struct faulty_rule rule = {.kind = FAULTY_BIT_FLIP, .op_mask = 1 << BLOCKDEV_READ, .times = 1, .bit = 77};
    faulty_add(device, &rule);
    rule = (struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1 << BLOCKDEV_READ, .skip = 1, .times = 1, .system_errno = EIO};
    faulty_add(device, &rule);
    cr_expect_eq(get(1, 0, 4096, &entry, &data), MOTE_EDAMAGED);
    cr_expect_eq(get(1, 0, 4096, &entry, &data), MOTE_EIO);
    cr_expect(!entry && !data);
    get_and_release(1, 0, 4096);
    cr_expect_eq(counters().misses, 3);
    cr_expect_eq(check_calls, 2);
    get_and_release(1, 4096, 61440); /* all pages are there again: the whole region can be had */
    get_and_release(2, 0, 65536);
    drop();
}

Test(blockdev_cache, forgotten_segment_is_read_again_and_its_pinned_entry_lives_on)
{
    struct cache_entry *entry;
    const uint8_t *data;
    make(64 * 1024, 64);
    cr_assert_eq(get(1, 0, 4096, &entry, &data), 0);
    get_and_release(1, 4096, 4096);
    get_and_release(2, 0, 4096);
    cache_forget_segment(cache, 1);
    cr_expect_eq(load_u64(data), 65536);
    for (uint64_t i = 0; i < 60; i++)
        get_and_release(3, i % 16 * 4096, 4096);
    cr_expect_eq(load_u64(data + 4088), 65536 + 4088);
    cr_expect_eq(check_offsets(data, 4096, &(uint64_t){65536}), 0);
    uint64_t misses = counters().misses;
    get_and_release(1, 0, 4096);
    cr_expect_eq(counters().misses, misses + 1);
    cache_release(cache, entry);
    get_and_release(4, 0, 65536); /* nothing is pinned any more */
    drop();
}

/* Entries of all sizes at random, several pinned at once: contents stay right, and the cache never claims to be full while a quarter is pinned. */
Test(blockdev_cache, random_sizes_fill_and_evict_soundly, .timeout = 30)
{
    uint64_t seed = requests_seed("random_sizes"), random = seed;
    struct cache_entry *pinned[8] = {0};
    const uint8_t *data[8];
    uint64_t first[8];
    uint32_t length[8];
    make(1024 * 1024, 256);
    for (int step = 0; step < 60000; step++) {
        uint64_t at = sim_random_below(&random, 8);
        if (pinned[at]) {
            cr_assert_eq(load_u64(data[at]), first[at]);
            cr_assert_eq(load_u64(data[at] + length[at] - 8), first[at] + length[at] - 8);
            cache_release(cache, pinned[at]);
            pinned[at] = NULL;
            continue;
        }
        uint64_t segment = sim_random_below(&random, 60), offset = sim_random_below(&random, 8) * 4096 + segment % 64 * 8;
        length[at] = 8 * (1 + (uint32_t)(segment * 31 + offset / 4096 * 17) % 3000);
        first[at] = segment * 65536 + offset;
        cr_assert_eq(get(segment, offset, length[at], &pinned[at], &data[at]), 0);
        cr_assert_eq(load_u64(data[at]), first[at]);
        if (step % 5000 == 0)
            cache_forget_segment(cache, segment);
    }
    cr_expect_gt(counters().hits, 1000);
    cr_expect_gt(counters().evictions, 1000);
    for (int i = 0; i < 8; i++)
        if (pinned[i])
            cache_release(cache, pinned[i]);
    drop();
}

enum { MISSERS = 4 };
static pthread_barrier_t barrier;
static const uint8_t *missed[MISSERS];

/* Waits in the check, which every thread reaches: all of them have missed before any can insert. */
static int check_together(const uint8_t *data, uint32_t length_bytes, void *context)
{
    (void)length_bytes, (void)context;
    pthread_barrier_wait(&barrier);
    return load_u64(data) == 3 * 65536 ? 0 : MOTE_EDAMAGED;
}

static void *miss(void *index)
{
    struct blockdev_queue *own = requests_queue(device, 2);
    struct cache_entry *entry;
    int result = cache_get(cache, (struct cache_key){3, 0}, own, 3 * 65536, 4096, check_together, NULL, &entry, &missed[(size_t)index]);
    pthread_barrier_wait(&barrier);
    if (result == 0)
        cache_release(cache, entry);
    blockdev_queue_destroy(own);
    return NULL;
}

Test(blockdev_cache, concurrent_misses_of_one_range_share_one_entry, .timeout = 10)
{
    pthread_t threads[MISSERS];
    make(64 * 1024, 64);
    pthread_barrier_init(&barrier, NULL, MISSERS);
    for (size_t i = 0; i < MISSERS; i++)
        pthread_create(&threads[i], NULL, miss, (void *)i);
    for (size_t i = 0; i < MISSERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < MISSERS; i++)
        cr_expect(missed[i] && missed[i] == missed[0]);
    cr_expect_eq(counters().misses, MISSERS);
    get_and_release(3, 0, 4096);
    cr_expect_eq(counters().hits, 1);
    get_and_release(4, 0, 65536); /* the losers' pages are free */
    drop();
}

Test(blockdev_cache, wrong_sizes_and_missing_memory_are_errors)
{
    struct cache *made;
    static uint8_t region[8192] __attribute__((aligned(4096)));
    cr_assert_eq(memory_create(256 * 1024, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    cr_expect_eq(cache_create(memory, region, 100, 4, &made), MOTE_EINVAL);
    cr_expect_eq(cache_create(memory, region, 8192, 0, &made), MOTE_EINVAL);
    for (int64_t n = 0; n < 3; n++) {
        memory_fail_after(memory, n, false);
        cr_expect_eq(cache_create(memory, region, 8192, 4, &made), MOTE_EBUDGET);
    }
    memory_fail_after(memory, -1, false);
    memory_destroy(memory);
}
