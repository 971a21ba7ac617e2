/* codec_bench.c: what a value costs in the column codecs, by type and kind of data.
 *
 *     codec_bench [values [recording.csv]]        values of each column, default 262,144; 1000 runs as a test in a moment
 *
 * With a recording (a line of names; then time and values, by commas): what a row of its float32 columns costs, by the hints that a table keeps, as it lies in a table's blocks (one of 64 series after the other) and in the batches that
 * the log takes (64 series in turn), each series reading the recording from another place; and how many of the columns' chunks each codec took.
 *
 * Columns are encoded in blocks of 1,024 rows, as a table does, with the hint that a table keeps, and once more without; then decoded, and summed up for the zone map; every block is compared with what it was. Figures are CPU time of the
 * one thread, the best of seven runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/codec.h"
#include "include/mote.h"

enum { BLOCK_ROWS = 1024, RUNS = 7, BLOCK_BYTES_MAX = BLOCK_ROWS * 8 + 1024 };

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A joint of an arm that swings, read out with noise. */
static double joint(size_t row, uint64_t *random)
{
    double t = (double)row * 0.001, noise = (double)(int64_t)next_random(random) * 0x1p-63;
    return 1.2 * sin(1.3 * t) + 0.4 * sin(5.1 * t + 1) + 0.00002 * noise;
}

static double decimals(double value, double ten_power) { return nearbyint(value * ten_power) / ten_power; }

struct data {
    const char *name;
    uint32_t type;
    int kind;
};

enum { SERIES, SEQUENCE, COUNTS, CLOCK_NS, CLOCK_US, SMOOTH, WIDE, JOINT_4, JOINT_6, JOINT_ALL, ADC, RANDOM, STEADY };

static const struct data all_data[] = {
    {"int32 series (64 rows each)", MOTE_TYPE_INT32, SERIES},
    {"int32 sequence", MOTE_TYPE_INT32, SEQUENCE},
    {"int32 counts with noise", MOTE_TYPE_INT32, COUNTS},
    {"int64 counter", MOTE_TYPE_INT64, SEQUENCE},
    {"int64 noisy, 40 bits", MOTE_TYPE_INT64, WIDE},
    {"timestamp 1 kHz, ns, jitter", MOTE_TYPE_TIMESTAMP, CLOCK_NS},
    {"timestamp 1 kHz, us in ns", MOTE_TYPE_TIMESTAMP, CLOCK_US},
    {"float32 joint, 4 decimals", MOTE_TYPE_FLOAT32, JOINT_4},
    {"float32 joint, 6 decimals", MOTE_TYPE_FLOAT32, JOINT_6},
    {"float32 joint, all bits", MOTE_TYPE_FLOAT32, JOINT_ALL},
    {"float32 ADC counts times a scale", MOTE_TYPE_FLOAT32, ADC},
    {"float32 random", MOTE_TYPE_FLOAT32, RANDOM},
    {"float32 constant", MOTE_TYPE_FLOAT32, STEADY},
    {"float64 joint, 4 decimals", MOTE_TYPE_FLOAT64, JOINT_4},
    {"float64 joint, 6 decimals", MOTE_TYPE_FLOAT64, JOINT_6},
    {"float64 joint, all bits", MOTE_TYPE_FLOAT64, JOINT_ALL},
    {"float64 ADC counts times a scale", MOTE_TYPE_FLOAT64, ADC},
    {"float64 random", MOTE_TYPE_FLOAT64, RANDOM},
};

static int64_t make_integer(int kind, size_t i, uint64_t *random)
{
    uint64_t r = next_random(random);
    switch (kind) {
    case SERIES:
        return (int64_t)(i / 64 % 16);
    case SEQUENCE:
        return (int64_t)i + (r % 512 == 0);
    case COUNTS:
        return (int64_t)(2000 * sin((double)i * 0.01)) + (int64_t)(r % 64);
    case WIDE:
        return (int64_t)(r >> 24);
    case CLOCK_NS:
        return 1700000000000000000 + (int64_t)i * 1000000 + (int64_t)(r % 20000);
    default:
        return 1700000000000000000 + (int64_t)i * 1000000 + (int64_t)(r % 60) * 1000;
    }
}

static double make_float(int kind, size_t i, uint64_t *random)
{
    switch (kind) {
    case JOINT_4:
        return decimals(joint(i, random), 1e4);
    case JOINT_6:
        return decimals(joint(i, random), 1e6);
    case JOINT_ALL:
        return joint(i, random);
    case ADC:
        return nearbyint(3000 * joint(i, random) + (double)(next_random(random) % 200)) * 0.000208615;
    case STEADY:
        return 20.5;
    default:
        return (double)(int64_t)next_random(random) * 0x1p-63;
    }
}

static uint8_t *make_column(const struct data *data, size_t count)
{
    size_t width = codec_value_bytes(data->type, 1);
    uint8_t *values = malloc(count * width);
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; values && i < count; i++) {
        union {
            int32_t i32;
            int64_t i64;
            float f32;
            double f64;
        } value;
        if (data->type == MOTE_TYPE_INT32)
            value.i32 = (int32_t)make_integer(data->kind, i, &random);
        else if (data->type == MOTE_TYPE_FLOAT32)
            value.f32 = (float)make_float(data->kind, i, &random);
        else if (data->type == MOTE_TYPE_FLOAT64)
            value.f64 = make_float(data->kind, i, &random);
        else
            value.i64 = make_integer(data->kind, i, &random);
        memcpy(values + i * width, &value, width);
    }
    return values;
}

struct times {
    double encode, encode_alone, decode, stats;
    size_t bytes;
    uint32_t codec;
};

static void fail(const char *what)
{
    fprintf(stderr, "codec_bench: %s\n", what);
    exit(1);
}

static double run_once(const struct data *data, const uint8_t *values, size_t count, bool hinted, uint8_t *encoded, uint32_t *sizes, void *scratch, size_t scratch_bytes)
{
    size_t width = codec_value_bytes(data->type, 1), blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    struct codec_hint hint = {0};
    double start = now_ns();
    for (size_t block = 0; block < blocks; block++) {
        uint32_t rows = block + 1 < blocks ? BLOCK_ROWS : (uint32_t)(count - block * BLOCK_ROWS);
        struct codec_vector vector = {.type = data->type, .count = rows, .values = values + block * BLOCK_ROWS * width};
        int64_t bytes = codec_encode_hinted(&vector, 0, hinted ? &hint : NULL, encoded + block * BLOCK_BYTES_MAX, BLOCK_BYTES_MAX, scratch, scratch_bytes);
        if (bytes < 0)
            fail("a block was not encoded");
        sizes[block] = (uint32_t)bytes;
    }
    return now_ns() - start;
}

static double decode_once(const struct data *data, const uint8_t *values, size_t count, const uint8_t *encoded, const uint32_t *sizes, void *scratch, size_t scratch_bytes, bool compare)
{
    size_t width = codec_value_bytes(data->type, 1), blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    uint64_t back[BLOCK_ROWS];
    double start = now_ns();
    for (size_t block = 0; block < blocks; block++) {
        uint32_t rows = block + 1 < blocks ? BLOCK_ROWS : (uint32_t)(count - block * BLOCK_ROWS);
        if (codec_decode(encoded + block * BLOCK_BYTES_MAX, sizes[block], data->type, 1, rows, back, sizeof back, NULL, NULL, NULL, NULL, scratch, scratch_bytes))
            fail("a block was not decoded");
        if (compare && memcmp(back, values + block * BLOCK_ROWS * width, rows * width) != 0)
            fail("a block did not come back");
    }
    return now_ns() - start;
}

static double stats_once(const struct data *data, const uint8_t *values, size_t count, double *sink)
{
    size_t width = codec_value_bytes(data->type, 1);
    double start = now_ns();
    for (size_t i = 0; i < count; i += BLOCK_ROWS) {
        struct codec_stats stats;
        struct codec_vector vector = {.type = data->type, .count = count - i < BLOCK_ROWS ? (uint32_t)(count - i) : BLOCK_ROWS, .values = values + i * width};
        codec_stats(&vector, &stats);
        *sink += stats.max_f64 + (double)stats.max_i64;
    }
    return now_ns() - start;
}

static void measure(const struct data *data, size_t count, double *sink)
{
    size_t blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS, scratch_bytes = codec_scratch_bytes(BLOCK_ROWS, BLOCK_ROWS * 8);
    uint8_t *values = make_column(data, count), *encoded = malloc(blocks * BLOCK_BYTES_MAX);
    uint32_t *sizes = malloc(blocks * sizeof *sizes);
    void *scratch = malloc(scratch_bytes);
    struct times best = {.encode = INFINITY, .encode_alone = INFINITY, .decode = INFINITY, .stats = INFINITY};
    struct codec_info info;
    if (!values || !encoded || !sizes || !scratch)
        fail("out of memory");
    for (int run = 0; run < RUNS; run++) {
        best.encode_alone = fmin(best.encode_alone, run_once(data, values, count, false, encoded, sizes, scratch, scratch_bytes));
        best.encode = fmin(best.encode, run_once(data, values, count, true, encoded, sizes, scratch, scratch_bytes));
        best.decode = fmin(best.decode, decode_once(data, values, count, encoded, sizes, scratch, scratch_bytes, false));
        best.stats = fmin(best.stats, stats_once(data, values, count, sink));
    }
    (void)decode_once(data, values, count, encoded, sizes, scratch, scratch_bytes, true);
    for (size_t block = 0; block < blocks; block++)
        best.bytes += sizes[block];
    if (codec_inspect(encoded, sizes[0], &info))
        fail("a block was not readable");
    double n = (double)count;
    printf("%-34s %-8s %6.2fx  encode %6.2f  alone %6.2f  decode %5.2f  zone map %5.2f\n", data->name, codec_name(info.codec), n * (double)codec_value_bytes(data->type, 1) / (double)best.bytes, best.encode / n,
           best.encode_alone / n, best.decode / n, best.stats / n);
    free(scratch);
    free(sizes);
    free(encoded);
    free(values);
}

enum { COLUMNS_MAX = 32, RECORDED_ROWS_MAX = 65536, SERIES_COUNT = 64, LINE_BYTES_MAX = 1024 };

struct recording {
    float *columns[COLUMNS_MAX];
    uint32_t column_count, row_count;
};

static void read_recording(const char *path, struct recording *recording)
{
    char line[LINE_BYTES_MAX];
    FILE *file = fopen(path, "re");
    if (!file || !fgets(line, sizeof line, file))
        fail("the recording cannot be read");
    while (recording->row_count < RECORDED_ROWS_MAX && fgets(line, sizeof line, file)) {
        uint32_t column = 0;
        for (char *at = strchr(line, ','); at && column < COLUMNS_MAX; column++) {
            if (!recording->columns[column])
                recording->columns[column] = calloc(RECORDED_ROWS_MAX, sizeof(float));
            if (!recording->columns[column])
                fail("out of memory");
            recording->columns[column][recording->row_count] = strtof(at + 1, &at);
            at = *at == ',' ? at : NULL;
        }
        if (column == 0 || (recording->row_count > 0 && column != recording->column_count))
            fail("a line of the recording is not as the first one");
        recording->column_count = column;
        recording->row_count++;
    }
    fclose(file);
    if (recording->row_count < SERIES_COUNT)
        fail("the recording is too short");
}

/* The recording's column for `count` rows of 64 series: one after the other, or in turn. */
static void arrange_column(const struct recording *recording, uint32_t column, bool in_turn, size_t count, float *values)
{
    size_t ticks = count / SERIES_COUNT;
    for (size_t i = 0; i < count; i++) {
        size_t series = in_turn ? i % SERIES_COUNT : i / ticks, tick = in_turn ? i / SERIES_COUNT : i % ticks;
        values[i] = recording->columns[column][(tick + series * (recording->row_count / SERIES_COUNT)) % recording->row_count];
    }
}

/* The blocks of all columns, encoded: those of one range of rows beside each other, as in a segment. */
struct encoded_rows {
    uint8_t *room;
    size_t *starts; /* one for each column of each block, and the end */
};

static double encode_rows(float *const *columns, uint32_t column_count, size_t count, struct encoded_rows *rows, void *scratch, size_t scratch_bytes)
{
    struct codec_hint hints[COLUMNS_MAX] = {0};
    double start = now_ns();
    size_t at = 0, n = 0;
    for (size_t i = 0; i < count; i += BLOCK_ROWS) {
        for (uint32_t c = 0; c < column_count; c++) {
            struct codec_vector vector = {.type = MOTE_TYPE_FLOAT32, .count = count - i < BLOCK_ROWS ? (uint32_t)(count - i) : BLOCK_ROWS, .values = columns[c] + i};
            int64_t encoded = codec_encode_hinted(&vector, 0, &hints[c], rows->room + at, BLOCK_BYTES_MAX, scratch, scratch_bytes);
            if (encoded < 0)
                fail("a block was not encoded");
            rows->starts[n++] = at;
            at += (size_t)encoded;
        }
    }
    rows->starts[n] = at;
    return now_ns() - start;
}

/* Into one buffer for all columns of a block, as a scan's chunk has them. */
static double decode_rows(float *const *columns, uint32_t column_count, size_t count, const struct encoded_rows *rows, float *back, void *scratch, size_t scratch_bytes, bool compare)
{
    double start = now_ns();
    const size_t *at = rows->starts;
    for (size_t i = 0; i < count; i += BLOCK_ROWS) {
        uint32_t in_block = count - i < BLOCK_ROWS ? (uint32_t)(count - i) : BLOCK_ROWS;
        for (uint32_t c = 0; c < column_count; c++, at++) {
            float *to = back + (size_t)c * BLOCK_ROWS;
            if (codec_decode(rows->room + at[0], at[1] - at[0], MOTE_TYPE_FLOAT32, 1, in_block, to, BLOCK_ROWS * sizeof *to, NULL, NULL, NULL, NULL, scratch, scratch_bytes))
                fail("a block was not decoded");
            if (compare && memcmp(to, columns[c] + i, in_block * sizeof *to) != 0)
                fail("a block did not come back");
        }
    }
    return now_ns() - start;
}

static void print_codecs(const struct encoded_rows *rows, size_t chunks)
{
    size_t counts[CODEC_ID_COUNT] = {0};
    struct codec_info info;
    for (size_t n = 0; n < chunks; n++) {
        if (codec_inspect(rows->room + rows->starts[n], rows->starts[n + 1] - rows->starts[n], &info))
            fail("a block was not readable");
        counts[info.codec < CODEC_ID_COUNT ? info.codec : CODEC_RAW]++;
    }
    printf("   chunks:");
    for (uint32_t codec = 0; codec < CODEC_ID_COUNT; codec++)
        if (counts[codec])
            printf(" %s %zu", codec_name(codec), counts[codec]);
    printf("\n");
}

static void measure_rows(const char *order, float *const *columns, uint32_t column_count, size_t count)
{
    size_t scratch_bytes = codec_scratch_bytes(BLOCK_ROWS, BLOCK_ROWS * 8), chunks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS * column_count;
    struct encoded_rows rows = {.room = malloc((chunks + 1) * BLOCK_BYTES_MAX), .starts = malloc((chunks + 1) * sizeof *rows.starts)};
    float *back = malloc(COLUMNS_MAX * BLOCK_ROWS * sizeof *back);
    void *scratch = malloc(scratch_bytes);
    double encode = INFINITY, decode = INFINITY, n = (double)count;
    if (!rows.room || !rows.starts || !back || !scratch)
        fail("out of memory");
    for (int run = 0; run < RUNS; run++) {
        encode = fmin(encode, encode_rows(columns, column_count, count, &rows, scratch, scratch_bytes));
        decode = fmin(decode, decode_rows(columns, column_count, count, &rows, back, scratch, scratch_bytes, false));
    }
    (void)decode_rows(columns, column_count, count, &rows, back, scratch, scratch_bytes, true);
    printf("recorded rows, %2u float32, 64 series %-20s %6.2f bytes a row, encode %6.1f ns a row, decode %5.1f ns\n", column_count, order, (double)rows.starts[chunks] / n, encode / n, decode / n);
    print_codecs(&rows, chunks);
    free(scratch);
    free(back);
    free(rows.starts);
    free(rows.room);
}

static void measure_recording(const char *path, size_t count)
{
    struct recording recording = {0};
    float *columns[COLUMNS_MAX] = {0};
    read_recording(path, &recording);
    count = count < SERIES_COUNT ? SERIES_COUNT : count / SERIES_COUNT * SERIES_COUNT;
    for (int in_turn = 0; in_turn < 2; in_turn++) {
        for (uint32_t c = 0; c < recording.column_count; c++) {
            columns[c] = columns[c] ? columns[c] : malloc(count * sizeof(float));
            if (!columns[c])
                fail("out of memory");
            arrange_column(&recording, c, in_turn, count, columns[c]);
        }
        measure_rows(in_turn ? "in turn" : "one after the other", columns, recording.column_count, count);
    }
    for (uint32_t c = 0; c < COLUMNS_MAX; c++) {
        free(columns[c]);
        free(recording.columns[c]);
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 262144;
    double sink = 0;
    if (count == 0)
        fail("values is a number above 0");
    if (argc > 2) {
        measure_recording(argv[2], count);
        return 0;
    }
    printf("ns a value, %zu values in blocks of %d; alone: without a hint\n", count, BLOCK_ROWS);
    for (size_t i = 0; i < sizeof all_data / sizeof *all_data; i++)
        measure(&all_data[i], count, &sink);
    return isnan(sink) ? 1 : 0; /* the sums are used */
}
