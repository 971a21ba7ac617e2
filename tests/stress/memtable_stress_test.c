/* memtable_stress_test.c: four writers and two readers on the same memtables; a plain program, so that it also runs under ThreadSanitizer.
 *
 *     memtable_stress_test [rows]      rows of each writer and case, 1 to 60000, default 20000
 *
 * What must hold: the readers always see each list in strict order and each row whole; a row whose insert returned is found at once; in the end every row of every writer is there exactly once and the counts are exact.
 * Cases: each writer its own series, all writers in the same series (so that fingers and links collide), all keys equal (only seq orders), random keys; with fingers and without. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"
#include "engine/lsm/memtable.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { WRITERS = 4, READERS = 2, TABLES = 2, KEY_BYTES = 12, IMAGE_BYTES = 24, BATCH_ROWS_MAX = 20 };
enum shape { SHAPE_OWN_SERIES, SHAPE_SHARED_SERIES, SHAPE_EQUAL_KEYS, SHAPE_RANDOM, SHAPES };
static const char *const shape_names[SHAPES] = {"own series", "shared series", "equal keys", "random keys"};

struct run {
    struct memtable_generation *generation;
    const struct schema *schema;
    enum shape shape;
    uint64_t rows; /* of each writer */
    _Atomic uint64_t seq;
    _Atomic bool done;
    _Atomic uint32_t faults;
};

/* One thread. What a writer has inserted last is published for the readers. */
struct worker {
    struct run *run;
    pthread_t thread;
    uint32_t index;
    uint64_t random;
    struct worker *writers;
    _Atomic uint64_t last_seq; /* 0: none yet */
    _Atomic uint64_t last_key[2];
    _Atomic uint32_t last_version; /* odd: being written */
    uint8_t reserved[64];
};

static void fault(struct run *run, const char *what)
{
    if (atomic_fetch_add(&run->faults, 1) < 5)
        fprintf(stderr, "memtable_stress_test: %s: %s\n", shape_names[run->shape], what);
}

/* Keys are 12 bytes; the row's image repeats its seq, so that a torn or foreign image is seen. */
static void make_key(struct worker *worker, uint64_t i, uint8_t key[KEY_BYTES])
{
    uint32_t series = 0;
    uint64_t time = i;
    switch (worker->run->shape) {
    case SHAPE_OWN_SERIES:
        series = worker->index * 16 + (uint32_t)(i % 16);
        break;
    case SHAPE_SHARED_SERIES:
        series = (uint32_t)(i % 8);
        time = i / 8 * 4 + lsm_random_below(&worker->random, 40);
        break;
    case SHAPE_RANDOM:
        series = (uint32_t)lsm_random_below(&worker->random, 5);
        time = lsm_random(&worker->random);
        break;
    default:
        time = 7;
    }
    store_be32(key, series);
    store_be64(key + 4, time);
}

static void fill_image(uint64_t seq, uint8_t image[IMAGE_BYTES])
{
    for (uint32_t i = 0; i < IMAGE_BYTES; i += 8)
        store_u64(image + i, seq * (i + 1));
}

static uint64_t table_of(uint64_t seq) { return seq % TABLES; }

static void publish(struct worker *worker, uint64_t seq, const uint8_t key[KEY_BYTES])
{
    uint32_t version = atomic_load_explicit(&worker->last_version, memory_order_relaxed);
    atomic_store(&worker->last_version, version + 1);
    atomic_store(&worker->last_key[0], load_u64(key));
    atomic_store(&worker->last_key[1], load_u32(key + 8));
    atomic_store(&worker->last_seq, seq);
    atomic_store(&worker->last_version, version + 2);
}

static void *write_rows(void *context)
{
    struct worker *worker = context;
    struct run *run = worker->run;
    for (uint64_t i = 0; i < run->rows;) {
        uint64_t batch = 1 + lsm_random_below(&worker->random, BATCH_ROWS_MAX);
        if (batch > run->rows - i)
            batch = run->rows - i;
        struct memtable_room room;
        if (!memtable_reserve(run->generation, memtable_room_bytes(batch, batch * (KEY_BYTES + IMAGE_BYTES)), &room)) {
            fault(run, "the arena is full");
            return NULL;
        }
        for (uint64_t end = i + batch; i < end; i++) {
            uint8_t key[KEY_BYTES], image[IMAGE_BYTES];
            uint64_t seq = atomic_fetch_add(&run->seq, 1) + 1;
            make_key(worker, i, key);
            fill_image(seq, image);
            bool put = seq % 7 != 0;
            memtable_insert(memtable_of_table(run->generation, table_of(seq), true), &room, run->schema, key, KEY_BYTES, seq, put ? RECORD_PUT : RECORD_DELETE, put ? image : NULL, put ? IMAGE_BYTES : 0);
            publish(worker, seq, key);
        }
        if (room.at > room.end)
            fault(run, "an insert took more than its room");
        memtable_unreserve(run->generation, &room);
    }
    return NULL;
}

static void check_record(struct run *run, const struct memtable_iterator *iterator, struct record *record)
{
    const struct schema *schema;
    const uint8_t *image;
    uint32_t image_bytes;
    uint8_t expected[IMAGE_BYTES];
    memtable_record(iterator, record, &schema, &image, &image_bytes);
    fill_image(record->seq, expected);
    bool put = record->seq % 7 != 0;
    if (record->key_bytes != KEY_BYTES || schema != run->schema || record->kind != (put ? RECORD_PUT : RECORD_DELETE) || (image != NULL) != put || (put && (image_bytes != IMAGE_BYTES || memcmp(image, expected, IMAGE_BYTES) != 0)))
        fault(run, "a row is not whole");
}

/* Walks from the present record to the end. Returns how many it saw; seen (may be NULL) is counted up for each seq. */
static uint64_t walk(struct run *run, struct memtable_iterator *iterator, uint64_t rows_max, uint8_t *seen)
{
    struct record before, record;
    uint64_t count = 0;
    for (bool on = iterator->side != 0; on && count < rows_max; on = memtable_next(iterator), count++) {
        check_record(run, iterator, &record);
        if (count > 0) {
            int order = key_compare(before.key, before.key_bytes, record.key, record.key_bytes);
            if (order > 0 || (order == 0 && before.seq <= record.seq))
                fault(run, "the list is out of order");
        }
        if (seen)
            seen[record.seq]++;
        before = record;
    }
    return count;
}

/* The row that a writer published must be found. */
static void look_up(struct run *run, struct worker *writer)
{
    uint8_t key[16];
    uint32_t version = atomic_load(&writer->last_version);
    uint64_t low = atomic_load(&writer->last_key[0]), high = atomic_load(&writer->last_key[1]), seq = atomic_load(&writer->last_seq);
    if (version % 2 != 0 || atomic_load(&writer->last_version) != version || seq == 0)
        return;
    store_u64(key, low);
    store_u64(key + 8, high);
    struct memtable_iterator iterator;
    struct record record;
    memtable_iterate(memtable_of_table(run->generation, table_of(seq), false), &iterator);
    if (!memtable_seek(&iterator, key, KEY_BYTES, seq)) {
        fault(run, "a row is not found although its insert returned");
        return;
    }
    check_record(run, &iterator, &record);
    if (key_compare(record.key, record.key_bytes, key, KEY_BYTES) != 0 || record.seq != seq)
        fault(run, "another row is found in place of one whose insert returned");
    walk(run, &iterator, 50, NULL);
    if (memtable_seek_before(&iterator, key, KEY_BYTES, seq)) {
        check_record(run, &iterator, &record);
        int order = key_compare(record.key, record.key_bytes, key, KEY_BYTES);
        if (order > 0 || (order == 0 && record.seq <= seq))
            fault(run, "the row before comes after");
        memtable_previous(&iterator);
    }
}

static void *read_rows(void *context)
{
    struct worker *worker = context;
    struct run *run = worker->run;
    while (!atomic_load(&run->done)) {
        for (uint32_t i = 0; i < 200; i++)
            look_up(run, &worker->writers[lsm_random_below(&worker->random, WRITERS)]);
        struct memtable *table = memtable_of_table(run->generation, lsm_random_below(&worker->random, TABLES), false);
        struct memtable_iterator iterator;
        uint64_t known = table ? memtable_count(table) : 0;
        memtable_iterate(table, &iterator);
        memtable_first(&iterator);
        if (walk(run, &iterator, UINT64_MAX, NULL) < known)
            fault(run, "a walk saw fewer rows than were counted before it");
        memtable_last(&iterator);
        sched_yield();
    }
    return NULL;
}

static void check_end(struct run *run)
{
    uint64_t total = WRITERS * run->rows, count = 0;
    uint8_t *seen = calloc(total + 1, 1);
    for (uint64_t t = 0; t < TABLES && seen; t++) {
        struct memtable *table = memtable_of_table(run->generation, t, false);
        struct memtable_iterator iterator;
        memtable_iterate(table, &iterator);
        memtable_first(&iterator);
        uint64_t walked = walk(run, &iterator, UINT64_MAX, seen);
        if (!table || walked != memtable_count(table))
            fault(run, "the count is not exact");
        count += walked;
    }
    for (uint64_t seq = 1; seq <= total && seen; seq++)
        if (seen[seq] != 1)
            fault(run, "a row is missing or there twice");
    if (!seen || count != total || memtable_generation_count(run->generation) != total)
        fault(run, "the sum of the counts is not exact");
    free(seen);
}

static uint32_t run_case(struct run *run, uint64_t seed)
{
    static struct worker workers[WRITERS + READERS];
    memset(workers, 0, sizeof workers);
    memtable_generation_reset(run->generation);
    atomic_store(&run->seq, 0);
    atomic_store(&run->done, false);
    atomic_store(&run->faults, 0);
    for (uint32_t i = 0; i < WRITERS + READERS; i++) {
        workers[i].run = run;
        workers[i].index = i;
        workers[i].random = seed + i * 0x9E3779B97F4A7C15u + 1;
        workers[i].writers = workers;
        if (pthread_create(&workers[i].thread, NULL, i < WRITERS ? write_rows : read_rows, &workers[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(workers[i].thread, NULL);
    atomic_store(&run->done, true);
    for (uint32_t i = WRITERS; i < WRITERS + READERS; i++)
        pthread_join(workers[i].thread, NULL);
    check_end(run);
    return atomic_load(&run->faults);
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    if (rows < 1 || rows > 60000) { /* beyond, the case without fingers would need more slots than a generation can have */
        fprintf(stderr, "memtable_stress_test: rows are 1 to 60000\n");
        return 2;
    }
    uint64_t seed = lsm_seed("memtable_stress_test"), arena_bytes = round_up(WRITERS * rows * 200 + 8 * MIB_BYTES, PAGE_BYTES);
    struct memory *memory = lsm_memory(4 * MIB_BYTES);
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "x", .type = MOTE_TYPE_INT32}};
    const uint32_t key[] = {0, 1};
    struct schema *schema = lsm_schema(memory, columns, 3, key, 2, 1);
    if (schema->fixed_bytes != IMAGE_BYTES)
        return 2;
    void *arena = aligned_alloc(PAGE_BYTES, arena_bytes);
    uint32_t passed = 0, failed = 0;
    for (int fingers = 1; fingers >= 0; fingers--) {
        static struct run run;
        run.schema = schema;
        run.rows = rows;
        /* With as many slots no table's fingers fit a sixteenth of the arena. */
        uint32_t slots = fingers ? 4 : (uint32_t)(arena_bytes / 16 / 64 + 1);
        struct memory *many = lsm_memory(slots * 64ull + 2 * MIB_BYTES);
        if (!arena || memtable_generation_create(many, arena, arena_bytes, slots, &run.generation) != MOTE_OK)
            return 2;
        for (run.shape = SHAPE_OWN_SERIES; run.shape < SHAPES; run.shape++) {
            uint32_t faults = run_case(&run, seed);
            printf("%s, %s fingers: %u faults\n", shape_names[run.shape], fingers ? "with" : "without", faults);
            passed += faults == 0;
            failed += faults != 0;
        }
        memtable_generation_destroy(many, run.generation);
        memory_destroy(many);
    }
    free(arena);
    schema_free(memory, schema);
    memory_destroy(memory);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
