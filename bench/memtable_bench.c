/* memtable_bench.c: nanoseconds that a row costs on its way into memory: check and encode a batch, make keys, insert into the memtable.
 *
 *     memtable_bench [rows]        default 1,000,000; 1000 runs as a test in a moment
 *
 * Rows are (series int32, timestamp, 14 float64): 128 bytes of values. One thread. Prints for each case the best and the median of five runs. */
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/lsm/memtable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { COLUMNS = 16, KEY_BYTES = 12, RUNS = 5, BATCH_ROWS = 4096, IMAGE_BYTES = 136 };

enum order { ORDER_INTERLEAVED, ORDER_SPARSE_SERIES, ORDER_ASCENDING, ORDER_LATE, ORDER_RANDOM, ORDERS };
static const char *const order_names[ORDERS] = {"64 series, interleaved", "64 series of random ids, interleaved", "one ascending series", "64 series, one row in ten up to 50 rows late", "random keys"};

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "memtable_bench: %s failed\n", what);
        exit(1);
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct schema *make_schema(struct memory *memory)
{
    struct mote_column_definition columns[COLUMNS];
    char names[COLUMNS][8];
    for (int i = 0; i < COLUMNS; i++) {
        snprintf(names[i], sizeof names[i], "c%d", i);
        columns[i] = (struct mote_column_definition){names[i], i == 0 ? MOTE_TYPE_INT32 : i == 1 ? MOTE_TYPE_TIMESTAMP : MOTE_TYPE_FLOAT64, 0, 0, 0, {0}};
    }
    const uint32_t key[2] = {0, 1};
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    definition.name = "arm";
    definition.columns = columns;
    definition.column_count = COLUMNS;
    definition.key_columns = key;
    definition.key_column_count = 2;
    definition.time_column = 1;
    struct schema *schema;
    check(schema_create(memory, &definition, 1, 1, &schema) == MOTE_OK, "schema_create");
    return schema;
}

/* Series and time of the i-th row. */
static void make_row(enum order order, uint64_t i, uint64_t *random, int32_t *series, int64_t *time)
{
    static const int64_t start_ns = 1700000000000000000;
    *series = order == ORDER_ASCENDING ? 7 : (int32_t)(i % 64);
    *time = start_ns + (int64_t)i * 1000;
    if (order == ORDER_SPARSE_SERIES)
        *series = (int32_t)((uint32_t)*series * 2654435761u >> 7 ^ (uint32_t)*series << 20);
    if (order == ORDER_LATE && next_random(random) % 10 == 0)
        *time -= (int64_t)(next_random(random) % 50) * 64000 + 500;
    if (order == ORDER_RANDOM) {
        *series = (int32_t)(next_random(random) % 1000);
        *time = (int64_t)(next_random(random) >> 1);
    }
}

static int compare_doubles(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void print_runs(const char *name, double *ns)
{
    qsort(ns, RUNS, sizeof *ns, compare_doubles);
    printf("%-48s best %8.2f  median %8.2f ns a row\n", name, ns[0], ns[RUNS / 2]);
}

/* Inserts of keys and images made before, in batches as an append makes them. */
static void bench_insert(struct memtable_generation *generation, const struct schema *schema, enum order order, uint64_t rows, uint8_t *keys)
{
    uint8_t image[IMAGE_BYTES] = {1};
    uint64_t random = 88172645463325252u;
    for (uint64_t i = 0; i < rows; i++) {
        struct mote_value values[2] = {{.type = MOTE_TYPE_INT32}, {.type = MOTE_TYPE_TIMESTAMP}};
        uint32_t key_bytes;
        make_row(order, i, &random, &values[0].as.i32, &values[1].as.i64);
        check(key_from_values(schema, values, 2, keys + i * KEY_BYTES, &key_bytes) == MOTE_OK && key_bytes == KEY_BYTES, "key_from_values");
    }
    double ns[RUNS];
    for (int run = 0; run < RUNS; run++) {
        memtable_generation_reset(generation);
        struct memtable *table = memtable_of_table(generation, 1, true);
        double start = now_ns();
        for (uint64_t first = 0; first < rows; first += BATCH_ROWS) {
            uint64_t end = first + BATCH_ROWS < rows ? first + BATCH_ROWS : rows;
            struct memtable_room room;
            check(memtable_reserve(generation, memtable_room_bytes(end - first, (end - first) * (KEY_BYTES + IMAGE_BYTES)), &room), "memtable_reserve");
            for (uint64_t i = first; i < end; i++)
                memtable_insert(table, &room, schema, keys + i * KEY_BYTES, KEY_BYTES, i + 1, RECORD_PUT, image, schema->fixed_bytes);
            memtable_unreserve(generation, &room);
        }
        ns[run] = (now_ns() - start) / (double)rows;
        check(memtable_count(table) == rows, "the count");
    }
    print_runs(order_names[order], ns);
}

/* Check, encode and keys of one batch, again and again. */
static void bench_encode(const struct schema *schema, uint64_t rows)
{
    static uint64_t data[COLUMNS][BATCH_ROWS];
    static uint8_t images[BATCH_ROWS][IMAGE_BYTES];
    static struct row_batch prepared;
    struct mote_column columns[COLUMNS];
    for (uint32_t i = 0; i < COLUMNS; i++) {
        for (uint64_t row = 0; row < BATCH_ROWS; row++)
            data[i][row] = row * i;
        columns[i] = (struct mote_column){schema->columns[i].type, 1, data[i], NULL, NULL};
    }
    const struct mote_batch batch = {rows < BATCH_ROWS ? rows : BATCH_ROWS, COLUMNS, columns, NULL};
    uint64_t repeats = rows / batch.row_count;
    double check_ns[RUNS], encode_ns[RUNS], key_ns[RUNS], per = (double)(repeats * batch.row_count);
    uint64_t sum = 0;
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        for (uint64_t i = 0; i < repeats; i++)
            check(row_batch_check(schema, &batch, &prepared) == MOTE_OK, "row_batch_check");
        double checked = now_ns();
        for (uint64_t i = 0; i < repeats; i++)
            row_batch_encode_rows(&prepared, 0, batch.row_count, 0, images[0]);
        double encoded = now_ns();
        for (uint64_t i = 0; i < repeats; i++) {
            for (size_t row = 0; row < batch.row_count; row++) {
                uint8_t key[MOTE_KEY_BYTES_MAX];
                sum += key_from_row(schema, images[row], key) + key[7];
            }
        }
        key_ns[run] = (now_ns() - encoded) / per;
        encode_ns[run] = (encoded - checked) / per;
        check_ns[run] = (checked - start) / per;
    }
    check(sum != 0, "the keys");
    print_runs("row_batch_check", check_ns);
    print_runs("row_batch_encode, 16 columns", encode_ns);
    print_runs("key_from_row, int32 and timestamp", key_ns);
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    check(rows >= 1 && rows <= 100000000, "rows from 1 to 100000000");
    uint64_t arena_bytes = round_up(rows * 256 + MIB_BYTES, PAGE_BYTES);
    struct memory *memory;
    check(memory_create(arena_bytes + 8 * MIB_BYTES, false, &memory) == MOTE_OK, "memory_create");
    void *arena = memory_carve(memory, arena_bytes, PAGE_BYTES);
    check(arena && memory_seal(memory) == MOTE_OK, "memory_carve");
    uint8_t *keys = malloc(rows * KEY_BYTES);
    check(keys != NULL, "malloc");
    struct schema *schema = make_schema(memory);
    struct memtable_generation *generation;
    check(memtable_generation_create(memory, arena, arena_bytes, 64, &generation) == MOTE_OK, "memtable_generation_create");
    printf("%" PRIu64 " rows\n", rows);
    bench_encode(schema, rows);
    for (enum order order = ORDER_INTERLEAVED; order < ORDERS; order++)
        bench_insert(generation, schema, order, rows, keys);
    memtable_generation_destroy(memory, generation);
    schema_free(memory, schema);
    memory_destroy(memory);
    free(keys);
    return 0;
}
