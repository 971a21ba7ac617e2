/* sim_test.c: the simulated disk under several threads, for ThreadSanitizer: writers with a queue each, one that takes crash devices of the running
 * record and reads them, and a thread that sleeps on an empty queue until it is woken. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/sim_private.h"
#include "tests/support/requests.h"

enum { WRITERS = 3, STEPS = 300, AREA_BYTES = 64 * 1024, DISK_BYTES = WRITERS * AREA_BYTES };

static struct blockdev *device;
static struct blockdev_queue *sleeper;
static uint64_t seed;
static _Atomic unsigned failed_count;
static _Atomic bool stop;

static void expect(bool holds)
{
    if (!holds)
        atomic_fetch_add(&failed_count, 1);
}

/* Writes rising numbers to its own area; what it has marked is durable. */
static void *write_area(void *index)
{
    uint64_t area = (uint64_t)(size_t)index;
    uint8_t *data = requests_buffer(PAGE_BYTES, 0);
    struct blockdev_queue *queue = requests_queue(device, 4);
    for (uint64_t step = 1; step <= STEPS; step++) {
        store_u64(data, step);
        expect(requests_write(queue, area * AREA_BYTES, data, PAGE_BYTES) == 0);
        expect(requests_flush(queue) == 0);
        sim_mark(device, area, step);
        blockdev_wake(sleeper);
    }
    blockdev_queue_destroy(queue);
    free(data);
    return NULL;
}

static void *crash(void *unused)
{
    uint64_t random = seed;
    uint8_t *data = requests_buffer(PAGE_BYTES, 0);
    for (int image_count = 0; image_count < 300 || !stop;) {
        struct blockdev *crashed;
        uint64_t count = sim_event_count(device);
        if (count == 0)
            continue;
        image_count++;
        uint64_t event = sim_random_below(&random, count);
        expect(sim_create_from_crash(device, event, SIM_CRASH_TORN, 0, sim_random(&random), NULL, &crashed) == 0);
        struct blockdev_queue *queue = requests_queue(crashed, 1);
        for (uint64_t area = 0; area < WRITERS; area++) {
            expect(requests_read(queue, area * AREA_BYTES, data, PAGE_BYTES) == 0);
            uint64_t marked = sim_mark_at(device, event, area), found = load_u64(data);
            expect(found == marked || found == marked + 1);
        }
        blockdev_queue_destroy(queue);
        blockdev_close(crashed);
    }
    free(data);
    return unused;
}

static void *sleep_and_wake(void *unused)
{
    struct blockdev_request *done;
    while (!stop)
        expect(blockdev_reap(sleeper, 1, 5 * NS_PER_MS, &done, 1) == 0);
    return unused;
}

int main(void)
{
    struct sim_options options = {.size_bytes = DISK_BYTES, .logical_block_bytes = 512, .record = true, .reorder = true};
    struct blockdev_queue_options waking = {.depth = 1, .flags = BLOCKDEV_QUEUE_WAKE};
    pthread_t writers[WRITERS], others[3];
    seed = requests_seed("sim_test");
    options.seed = seed;
    if (sim_create(&options, &device) != 0 || blockdev_queue_create(device, &waking, &sleeper) != 0)
        return 1;
    pthread_create(&others[0], NULL, crash, NULL);
    pthread_create(&others[1], NULL, crash, NULL);
    pthread_create(&others[2], NULL, sleep_and_wake, NULL);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, write_area, (void *)i);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    stop = true;
    for (size_t i = 0; i < 3; i++)
        pthread_join(others[i], NULL);
    blockdev_queue_destroy(sleeper);
    blockdev_close(device);
    printf("%u passed, %u failed\n", failed_count == 0 ? 1u : 0u, failed_count);
    return failed_count != 0;
}
