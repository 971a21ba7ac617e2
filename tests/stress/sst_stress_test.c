/* sst_stress_test.c: several threads read the same segments at once, each with a queue and iterators of its own, through one small cache and the shared scratch of the codecs; iterators come and go. Every row must be the model's.
 * For ThreadSanitizer, too. Prints the seed: MOTE_SEED repeats it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "blockdev/base/errors.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

enum { THREADS = 4, SEGMENTS = 3, ROUNDS = 25 };

static struct sst_world world;
static struct schema *schema;
static struct model models[SEGMENTS];
static struct segment segments[SEGMENTS];
static _Atomic unsigned wrong, compared;

static void compare_row(struct sst_iterator *iterator, const struct model_row *row)
{
    char fault[200] = "";
    int error = 0;
    if (!sst_row_equals(iterator, schema, row, fault, &error)) {
        fprintf(stderr, "%s (%d)\n", fault, error);
        atomic_fetch_add(&wrong, 1);
    }
    atomic_fetch_add(&compared, 1);
}

static void *read_segments(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context * 77 + 1;
    struct blockdev_queue *queue = requests_queue(world.device, 8);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct sst_iterator *iterator;
        sst_world_check(sst_iterator_create(&world.context, queue, &iterator), "an iterator");
        for (uint32_t i = 0; i < 6; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint32_t which = (uint32_t)(random >> 33) % SEGMENTS, at = (uint32_t)(random >> 40) % models[which].count;
            const struct model_row *row = &models[which].rows[at];
            sst_world_check(sst_iterator_open(iterator, &segments[which], schema), "open");
            if (i % 3 == 2)
                sst_iterator_set_time_range(iterator, INT64_MIN, INT64_MAX);
            int on = sst_seek(iterator, row->key, row->key_bytes, row->seq);
            for (uint32_t step = 0; i % 3 != 2 && on > 0 && step < 40 && at < models[which].count; step++, at++) {
                compare_row(iterator, &models[which].rows[at]);
                on = sst_next(iterator);
            }
            sst_world_check(on, "reading");
            if (i == 3)
                sst_iterator_unpin(iterator);
        }
        sst_iterator_destroy(iterator);
    }
    blockdev_queue_destroy(queue);
    return NULL;
}

int main(void)
{
    struct sst_world_options options = {.seed = requests_seed("sst_stress"), .cache_bytes = 1u << 20};
    pthread_t threads[THREADS];
    sst_world_open(&world, &options);
    schema = sst_random_schema(&world, 4);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        models[i] = sst_random_rows(&world, schema, NULL, 1500, 4000, 10);
        sst_world_segment(&world, schema, &models[i], 1 + i, 64, &segments[i]);
    }
    uint64_t used = memory_used_bytes(world.memory);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, read_segments, (void *)(i + options.seed)) != 0)
            return 1;
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bool given_back = memory_used_bytes(world.memory) == used;
    if (!given_back)
        fprintf(stderr, "the iterators kept memory\n");
    for (uint32_t i = 0; i < SEGMENTS; i++)
        sst_model_free(&models[i]);
    schema_free(world.memory, schema);
    sst_world_close(&world);
    unsigned failed = atomic_load(&wrong) + !given_back + (atomic_load(&compared) < 1000);
    printf("%u passed, %u failed\n", atomic_load(&compared) - atomic_load(&wrong), failed);
    return failed != 0;
}
