/* control_loop.c: five seconds of a 1 kHz control loop that logs each of its cycles through a producer: the push never
 * blocks, allocates or enters the kernel, so that the loop keeps its time whatever the device does.
 *
 *     mote format --size 64M arm.img && ./control_loop arm.img
 */
#include <assert.h>
#include <math.h>
#include <mote.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

enum { CYCLES = 5000, JOINTS = 7, PERIOD_NS = 1000000 };

/* The table's columns in schema order, each naturally aligned. */
struct cycle {
    int64_t time_ns;
    int32_t mode;
    float temperature;
    double position[JOINTS];
    uint8_t braking;
};

static int fail(const char *what)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.message);
    return 1;
}

static int open_table(mote_db *db, mote_table **table)
{
    static const char *const joints[JOINTS] = {"q1", "q2", "q3", "q4", "q5", "q6", "q7"};
    struct mote_column_definition columns[3 + JOINTS + 1] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP},
                                                             {.name = "mode", .type = MOTE_TYPE_INT32},
                                                             {.name = "temperature", .type = MOTE_TYPE_FLOAT32},
                                                             [3 + JOINTS] = {.name = "braking", .type = MOTE_TYPE_BOOL}};
    for (int i = 0; i < JOINTS; i++)
        columns[3 + i] = (struct mote_column_definition){.name = joints[i], .type = MOTE_TYPE_FLOAT64};
    const uint32_t key = 0;
    struct mote_schema schema = {sizeof schema, "cycles", columns, 3 + JOINTS + 1, 0, &key, 1, 0};
    return mote_table_create(db, &schema, table);
}

/* The struct is what the table's record is: told at start-up, not found out in the data. */
static int check_layout(mote_table *table)
{
    struct mote_producer_field fields[3 + JOINTS + 1];
    size_t count, bytes;
    if (mote_producer_layout(table, NULL, fields, 3 + JOINTS + 1, &count, &bytes))
        return fail("layout");
    assert(count == 3 + JOINTS + 1 && bytes == sizeof(struct cycle));
    assert(fields[1].offset_bytes == offsetof(struct cycle, mode));
    assert(fields[3].offset_bytes == offsetof(struct cycle, position));
    assert(fields[3 + JOINTS].offset_bytes == offsetof(struct cycle, braking));
    return 0;
}

/* The loop itself: nothing in it may wait but for the next cycle. Returns the number of cycles that could not be logged. */
static uint64_t run_loop(mote_producer *producer)
{
    uint64_t lost = 0;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int64_t i = 0; i < CYCLES; i++) {
        struct cycle cycle = {.time_ns = i * PERIOD_NS, .mode = (int32_t)(i / 1000), .temperature = 36.5f};
        for (int j = 0; j < JOINTS; j++)
            cycle.position[j] = sin((double)i * 1e-3 + j);
        lost += mote_producer_push(producer, &cycle) != MOTE_OK; /* MOTE_DROPPED: the ring is full, the cycle goes on */
        next.tv_nsec += PERIOD_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return lost;
}

int main(int argc, char **argv)
{
    mote_db *db;
    mote_table *table;
    mote_producer *producer;
    if (argc != 2 || mote_open(argv[1], NULL, &db, NULL))
        return fail("open");
    if (open_table(db, &table) || check_layout(table))
        return fail("create");
    /* Two seconds of records in the ring outlast what a device or a flush may hold up. Durable within 20 ms. */
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    options.ring_records = 2000;
    options.record_bytes = sizeof(struct cycle);
    options.durability = MOTE_DURABILITY_PERIODIC;
    options.period_ms = 20;
    if (mote_producer_open(table, &options, &producer))
        return fail("producer");
    uint64_t lost = run_loop(producer);
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    if (mote_producer_flush(producer, MOTE_FOREVER) || mote_producer_stats(producer, &stats))
        return fail("flush");
    printf("%llu cycles durable, %llu dropped, ring at most %llu of %u\n", (unsigned long long)stats.durable,
           (unsigned long long)stats.dropped, (unsigned long long)stats.ring_used_max, stats.ring_records);
    if (stats.dropped != lost || mote_producer_close(producer))
        return fail("close");
    return mote_close(db) ? fail("close") : 0;
}
