/* sst_bench.c: what a row costs on its way into an SSTable and out of it.
 *
 *     sst_bench [rows [build [table]]]        default 500,000; 1000 runs as a test in a moment. build: nothing else, of table 1 or 2 only (for a profiler)
 *
 * Two tables: rows of (series int64, timestamp, 14 float64), 128 bytes of values, of 64 series interleaved; and rows of (series int32, timestamp, sequence int32, 28 float32), 128 bytes too, as an arm records them. Images lie in memory in the order of their arrival, as in a memtable, and are taken in the order of their keys. The device is the simulated
 * disk: its copying is part of the figures, waiting for a device is not. Figures are CPU time of the one thread; for each the best and the median of five runs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/sim.h"
#include "engine/lsm/sst.h"
#include "index/index.h"

enum { COLUMNS_MAX = 31, SERIES_MAX = 64, RUNS = 5, NODE_BYTES = 192 /* key, image, and what a memtable keeps with them */ };

/* The simulated disk copies what is written to memory that it allocates: pages that come and go are not what is measured. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1";

static const struct shape {
    const char *name;
    uint32_t columns, series;
    uint32_t types[4], more; /* of the first columns, and of all that follow */
} shapes[] = {
    {"int64, timestamp, 14 float64", 16, 64, {MOTE_TYPE_INT64, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT64}, MOTE_TYPE_FLOAT64},
    {"int32, timestamp, int32, 28 float32", 31, 4, {MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_INT32, MOTE_TYPE_FLOAT32}, MOTE_TYPE_FLOAT32},
};

static uint32_t column_type(const struct shape *shape, uint32_t column) { return column < 4 ? shape->types[column] : shape->more; }

struct bench {
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct memory *memory;
    struct cache *cache;
    struct extents *extents;
    struct layout layout;
    struct sst_context context;
    const struct shape *shape;
    struct schema *schema;
    uint32_t rows, image_bytes, key_bytes;
    uint8_t *nodes; /* in arrival order: key, image */
};

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(int result, const char *what)
{
    struct mote_error error;
    if (result >= 0)
        return;
    error_get(&error);
    fprintf(stderr, "sst_bench: %s: %s\n", what, error.message);
    exit(1);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct schema *make_schema(const struct shape *shape, struct memory *memory)
{
    struct mote_column_definition columns[COLUMNS_MAX];
    char names[COLUMNS_MAX][16];
    for (uint32_t i = 0; i < shape->columns; i++) {
        snprintf(names[i], sizeof names[i], "c%u", i);
        columns[i] = (struct mote_column_definition){.name = names[i], .type = column_type(shape, i)};
    }
    const uint32_t key[2] = {0, 1};
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    struct schema *schema;
    definition.name = "arm";
    definition.columns = columns;
    definition.column_count = shape->columns;
    definition.key_columns = key;
    definition.key_column_count = 2;
    definition.time_column = 1;
    check(schema_create(memory, &definition, 1, 1, &schema), "the schema");
    return schema;
}

/* Sensor readings: some with few decimals, some that repeat, some with every bit of noise. */
static double reading(uint32_t column, uint64_t row, uint64_t *random)
{
    uint64_t r = next_random(random);
    switch (column % 4) {
    case 0:
        return (double)(int64_t)(r % 20000) / 1000.0 - 10;
    case 1:
        return 20.0 + (double)(row / 4096 % 50) * 0.1;
    case 2:
        return (double)(row % 100000) * 0.001 + (double)(r % 64) * 0.0001;
    default:
        return (double)(int64_t)r * 1e-19;
    }
}

/* Joints of an arm: positions with 4 and 6 decimals, torques with noise and 3, and values with all their bits. */
static float arm_reading(uint32_t column, uint64_t row, uint64_t *random)
{
    double t = (double)row * 0.001, noise = (double)(int64_t)next_random(random) * 0x1p-63, value = sin((0.7 + 0.05 * column) * t + column);
    switch (column % 4) {
    case 0:
        return (float)(nearbyint((value + 0.00005 * noise) * 1e4) / 1e4);
    case 1:
        return (float)(nearbyint((value + 0.00002 * noise) * 1e6) / 1e6);
    case 2:
        return (float)(nearbyint((20 * value + 0.2 * noise) * 1e3) / 1e3);
    default:
        return (float)(value + 0.00002 * noise);
    }
}

static struct mote_value make_value(const struct bench *bench, uint32_t column, uint32_t row, uint64_t *random)
{
    uint32_t type = column_type(bench->shape, column), series = bench->shape->series;
    struct mote_value value = {.type = type};
    if (type == MOTE_TYPE_TIMESTAMP)
        value.as.i64 = 1700000000000000000 + (int64_t)row * (1000000 / (int)series) + (int64_t)(next_random(random) % 2000);
    else if (type == MOTE_TYPE_INT64)
        value.as.i64 = row % series;
    else if (type == MOTE_TYPE_INT32)
        value.as.i32 = (int32_t)(column == 0 ? row % series : row / series);
    else if (type == MOTE_TYPE_FLOAT32)
        value.as.f32 = arm_reading(column, row / series, random);
    else
        value.as.f64 = reading(column, row / series, random);
    return value;
}

static void make_rows(struct bench *bench)
{
    uint64_t random = 88172645463325252u;
    uint32_t columns = bench->shape->columns;
    bench->nodes = malloc((size_t)bench->rows * NODE_BYTES);
    bench->key_bytes = bench->schema->key_bytes_fixed;
    for (uint32_t i = 0; i < bench->rows; i++) {
        struct mote_value values[COLUMNS_MAX];
        for (uint32_t c = 0; c < columns; c++)
            values[c] = make_value(bench, c, i, &random);
        check(row_check_values(bench->schema, values, columns, &bench->image_bytes), "a row");
        if (bench->image_bytes + bench->key_bytes > NODE_BYTES)
            check(error_set(MOTE_EINTERNAL, "a row of %u bytes", bench->image_bytes), "a row");
        uint8_t *node = bench->nodes + (size_t)i * NODE_BYTES;
        row_encode_values(bench->schema, values, columns, 0, node + bench->key_bytes, bench->image_bytes);
        key_from_row(bench->schema, node + bench->key_bytes, node);
    }
}

static void open_bench(struct bench *bench)
{
    uint64_t device_bytes = round_up((uint64_t)bench->rows * 160 + 64 * MIB_BYTES, MIB_BYTES), cache_bytes = device_bytes;
    struct sim_options sim = {.size_bytes = device_bytes, .logical_block_bytes = 4096, .seed = 1};
    struct blockdev_queue_options queue = {.depth = 16};
    check(sim_create(&sim, &bench->device), "the simulated disk");
    check(blockdev_queue_create(bench->device, &queue, &bench->queue), "a queue");
    check(layout_compute(device_bytes, MIB_BYTES, 0, 0, &bench->layout), "the layout");
    check(memory_create(cache_bytes + 256 * MIB_BYTES, false, &bench->memory), "memory");
    void *region = memory_carve(bench->memory, cache_bytes, PAGE_BYTES);
    check(memory_seal(bench->memory), "memory");
    check(cache_create(bench->memory, region, cache_bytes, 65536, &bench->cache), "the cache");
    check(extents_create(bench->memory, bench->layout.extent_count, &bench->extents), "extents");
    bench->context = (struct sst_context){.device = bench->device, .memory = bench->memory, .cache = bench->cache, .extents = bench->extents, .layout = &bench->layout, .timestamps = &timestamp_index_ops};
    bench->schema = make_schema(bench->shape, bench->memory);
}

static void close_bench(struct bench *bench)
{
    schema_free(bench->memory, bench->schema);
    cache_destroy(bench->cache);
    extents_destroy(bench->extents);
    blockdev_queue_destroy(bench->queue);
    blockdev_close(bench->device);
    memory_destroy(bench->memory);
    free(bench->nodes);
}

/* Row number n in key order. */
static uint32_t arrival(const struct bench *bench, uint32_t n)
{
    uint32_t series = bench->shape->series, whole = bench->rows / series, extra = bench->rows % series, big = (whole + 1) * extra;
    return n < big ? n % (whole + 1) * series + n / (whole + 1) : (n - big) % whole * series + extra + (n - big) / whole;
}

static double build(struct bench *bench, uint64_t segment_id, struct segment *segment)
{
    struct extent_reservation reservation;
    struct extents_counts counts;
    struct sst_builder *builder;
    extents_get_counts(bench->extents, &counts);
    check(extents_reserve(bench->extents, counts.free, false, &reservation), "the reservation");
    struct sst_builder_options options = {.context = &bench->context, .queue = bench->queue, .schema = bench->schema, .reservation = &reservation, .source = BLOCKDEV_SOURCE_FLUSH, .segment_id = segment_id,
                                          .run_id = 1, .block_rows = 1024, .block_bytes_max = 512 * 1024, .segment_bytes_max = 1ull << 40, .rows_max = bench->rows};
    double start = now_ns();
    check(sst_builder_create(&options, &builder), "the builder");
    for (uint32_t n = 0; n < bench->rows; n++) {
        uint32_t i = arrival(bench, n);
        const uint8_t *node = bench->nodes + (size_t)i * NODE_BYTES;
        struct record record = {node, bench->key_bytes, RECORD_PUT, i + 1};
        check(sst_builder_add(builder, &record, bench->schema, node + bench->key_bytes, bench->image_bytes, false), "a row");
    }
    check(sst_builder_finish(builder, &segment->record), "finish");
    double spent = now_ns() - start;
    sst_builder_destroy(builder);
    extents_unreserve(bench->extents, &reservation);
    return spent;
}

static double scan_columns(const struct shape *shape, struct sst_iterator *iterator, double *sum)
{
    double start = now_ns();
    int on = sst_first(iterator);
    while (on > 0) {
        struct codec_vector vector;
        uint32_t run = sst_run_length(iterator, UINT64_MAX, NULL, 0), row = sst_block_row(iterator);
        for (uint32_t c = 0; c < shape->columns; c++) {
            check(sst_block_column(iterator, c, &vector), "a column");
            *sum += ((const uint8_t *)vector.values)[(size_t)(row + run - 1) * 4];
        }
        for (uint32_t i = 0; i < run && on > 0; i++)
            on = sst_next(iterator);
    }
    check(on, "the scan");
    return now_ns() - start;
}

static double scan_rows(const struct shape *shape, struct sst_iterator *iterator, double *sum)
{
    double start = now_ns();
    int on = sst_first(iterator);
    for (; on > 0; on = sst_next(iterator)) {
        struct record record;
        struct mote_value value;
        check(sst_record(iterator, &record), "a record");
        for (uint32_t c = 0; c < shape->columns; c++) {
            check(sst_value(iterator, c, &value), "a value");
            *sum += value.type == MOTE_TYPE_FLOAT64 ? value.as.f64 : value.type == MOTE_TYPE_FLOAT32 ? (double)value.as.f32 : 0;
        }
    }
    check(on, "the scan");
    return now_ns() - start;
}

static double seek_rows(struct bench *bench, struct sst_iterator *iterator, uint32_t count, bool image, double *sum)
{
    uint64_t random = 77;
    uint8_t room[NODE_BYTES];
    double start = now_ns();
    for (uint32_t n = 0; n < count; n++) {
        const uint8_t *key = bench->nodes + next_random(&random) % bench->rows * NODE_BYTES;
        uint32_t bytes;
        struct record record;
        check(sst_may_contain(iterator, key, bench->key_bytes) > 0 && sst_seek(iterator, key, bench->key_bytes, UINT64_MAX) > 0 ? 0 : MOTE_EINTERNAL, "a seek");
        check(sst_record(iterator, &record), "a record");
        check(memcmp(record.key, key, bench->key_bytes) == 0 ? 0 : MOTE_EINTERNAL, "a seek");
        if (image)
            check(sst_row_image(iterator, room, sizeof room, &bytes), "an image");
        if (image)
            check(bytes == bench->image_bytes && memcmp(room, key + bench->key_bytes, bytes) == 0 ? 0 : MOTE_EINTERNAL, "an image");
        *sum += (double)record.seq;
    }
    return now_ns() - start;
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void print(const char *what, double *times, double count)
{
    qsort(times, RUNS, sizeof *times, compare);
    printf("%-44s best %9.1f ns, median %9.1f ns\n", what, times[0] / count, times[RUNS / 2] / count);
}

static void run_shape(const struct shape *shape, uint32_t rows, bool build_only)
{
    struct bench bench = {.rows = rows < SERIES_MAX ? SERIES_MAX : rows, .shape = shape};
    struct segment segment = {0};
    double times[5][RUNS], sum = 0;
    uint32_t seeks = bench.rows < 20000 ? bench.rows : 20000;
    open_bench(&bench);
    make_rows(&bench);
    struct sst_iterator *iterator;
    check(sst_iterator_create(&bench.context, bench.queue, &iterator), "an iterator");
    for (uint32_t run = 0; run < RUNS; run++) {
        for (uint32_t i = 0; i < segment.record.extent_run_count; i++)
            extents_release_unused(bench.extents, segment.record.runs[i]);
        times[0][run] = build(&bench, 1 + run, &segment);
        if (build_only)
            continue;
        check(sst_iterator_open(iterator, &segment, bench.schema), "open");
        (void)scan_columns(shape, iterator, &sum); /* warms the cache */
        times[1][run] = scan_columns(shape, iterator, &sum);
        times[2][run] = scan_rows(shape, iterator, &sum);
        times[3][run] = seek_rows(&bench, iterator, seeks, false, &sum);
        times[4][run] = seek_rows(&bench, iterator, seeks, true, &sum);
    }
    printf("%s: %u rows, %.1f bytes a row on the device (checksum %g)\n", shape->name, bench.rows, (double)segment.record.segment_bytes / bench.rows, sum);
    print("build, a row", times[0], bench.rows);
    if (!build_only) {
        print("scan of all columns block by block, a row", times[1], bench.rows);
        print("scan row by row, all values, a row", times[2], bench.rows);
        print("seek with a warm cache, key and seq", times[3], seeks);
        print("seek with a warm cache, whole row", times[4], seeks);
    }
    sst_iterator_destroy(iterator);
    close_bench(&bench);
}

int main(int argc, char **argv)
{
    uint32_t rows = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 500000;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (argc < 4 || strtoul(argv[3], NULL, 10) == i + 1)
            run_shape(&shapes[i], rows, argc > 2);
    return 0;
}
