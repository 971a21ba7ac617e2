/* base_codec_data_test.c: recorded sensor data through the codecs in blocks of 1024 rows, bit for bit, with ratios and times printed. The
 * data is not part of the repository: where it is missing the test says that it skipped. */
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK_ROWS = 1024, COLUMNS_MAX = 32 };

static uint8_t *load_data(const char *name, size_t *size_bytes)
{
    static const char *const roots[] = {MOTE_SOURCE_DIR "/../shared/data/", MOTE_SOURCE_DIR "/../../shared/data/"};
    for (size_t r = 0; r < 2; r++) {
        char path[1024];
        snprintf(path, sizeof path, "%s%s", roots[r], name);
        FILE *file = fopen(path, "rb");
        if (!file)
            continue;
        fseek(file, 0, SEEK_END);
        *size_bytes = (size_t)ftell(file);
        rewind(file);
        uint8_t *data = malloc(*size_bytes + 1);
        cr_assert_eq(fread(data, 1, *size_bytes, file), *size_bytes);
        data[*size_bytes] = 0;
        fclose(file);
        return data;
    }
    printf("SKIPPED: %s is not there\n", name);
    return NULL;
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Encodes and decodes one column in blocks, checks it, and returns the encoded size; adds the times. */
static size_t run_column(uint32_t type, uint32_t dimension, const void *values, size_t count, double *encode_ns, double *decode_ns,
                         uint32_t *codec)
{
    size_t value_bytes = codec_value_bytes(type, dimension), total_bytes = 0;
    uint32_t block_bytes = (uint32_t)(BLOCK_ROWS * value_bytes);
    size_t scratch_bytes = codec_scratch_bytes(BLOCK_ROWS, block_bytes), out_bytes = 2 * block_bytes + 1024;
    void *scratch = malloc(scratch_bytes), *out = malloc(out_bytes), *back = malloc(block_bytes);
    struct codec_hint hint = {0};
    for (size_t i = 0; i < count; i += BLOCK_ROWS) {
        uint32_t rows = count - i < BLOCK_ROWS ? (uint32_t)(count - i) : BLOCK_ROWS;
        const uint8_t *block = (const uint8_t *)values + i * value_bytes;
        struct codec_vector v = {type, dimension, rows, block, NULL, NULL};
        struct codec_info info;
        double start = now_ns();
        int64_t encoded = codec_encode_hinted(&v, 0, &hint, out, out_bytes, scratch, scratch_bytes);
        *encode_ns += now_ns() - start;
        cr_assert_gt(encoded, 0);
        start = now_ns();
        int result = codec_decode(out, (size_t)encoded, type, dimension, rows, back, block_bytes, NULL, NULL, NULL, NULL, scratch,
                                  scratch_bytes);
        *decode_ns += now_ns() - start;
        cr_assert_eq(result, MOTE_OK);
        cr_assert_eq(memcmp(back, block, rows * value_bytes), 0);
        cr_assert_eq(codec_inspect(out, (size_t)encoded, &info), MOTE_OK);
        *codec = info.codec;
        total_bytes += (size_t)encoded;
    }
    free(back);
    free(out);
    free(scratch);
    return total_bytes;
}

static void print_column(const char *name, size_t raw_bytes, size_t encoded_bytes, size_t count, double encode_ns, double decode_ns,
                         uint32_t codec)
{
    printf("%-10s %-8s %5.2fx  encode %6.2f ns/value  decode %5.2f ns/value\n", name, codec_name(codec),
           (double)raw_bytes / (double)encoded_bytes, encode_ns / (double)count, decode_ns / (double)count);
}

/* A CSV of numbers with one header line: columns[c][row]. Returns the rows. */
static size_t parse_csv(char *text, double **columns, char names[COLUMNS_MAX][32], size_t *column_count, size_t rows_max)
{
    size_t rows = 0;
    char *line = text;
    for (bool header = true; *line; header = false) {
        size_t c = 0;
        char *end = strchr(line, '\n');
        if (end)
            *end = 0;
        for (char *cell = line; cell && *cell; c++) {
            char *comma = strchr(cell, ',');
            if (comma)
                *comma = 0;
            if (header)
                snprintf(names[c], 32, "%.31s", cell);
            else
                columns[c][rows] = strtod(cell, NULL);
            cell = comma ? comma + 1 : NULL;
        }
        rows += header ? 0 : 1;
        *column_count = c;
        if (!end || rows == rows_max)
            break;
        line = end + 1;
    }
    return rows;
}

static double run_csv(const char *name)
{
    size_t size_bytes = 0, column_count = 0, rows_max = 30000;
    char *text = (char *)load_data(name, &size_bytes), names[COLUMNS_MAX][32];
    if (!text)
        return 0;
    double *columns[COLUMNS_MAX], encode_all_ns = 0, decode_all_ns = 0;
    for (size_t c = 0; c < COLUMNS_MAX; c++)
        columns[c] = calloc(rows_max, 8);
    size_t rows = parse_csv(text, columns, names, &column_count, rows_max), raw_all = 0, encoded_all = 0;
    for (size_t c = 0; c < column_count; c++) {
        double encode_ns = 0, decode_ns = 0;
        uint32_t codec = 0;
        size_t encoded = run_column(MOTE_TYPE_FLOAT64, 0, columns[c], rows, &encode_ns, &decode_ns, &codec);
        print_column(names[c], rows * 8, encoded, rows, encode_ns, decode_ns, codec);
        raw_all += rows * 8;
        encoded_all += encoded;
        encode_all_ns += encode_ns;
        decode_all_ns += decode_ns;
    }
    print_column("ALL", raw_all, encoded_all, rows * column_count, encode_all_ns, decode_all_ns, CODEC_ID_COUNT);
    for (size_t c = 0; c < COLUMNS_MAX; c++)
        free(columns[c]);
    free(text);
    return (double)raw_all / (double)encoded_all;
}

Test(base_codec_data, robot_arm_decimals_shrink_three_times)
{
    double ratio = run_csv("arm-franka-1khz/panda_1khz.csv");
    cr_assert(ratio == 0 || ratio > 3.0, "%.2f", ratio);
}

Test(base_codec_data, robot_arm_ur10_shrinks)
{
    double ratio = run_csv("arm-ur10/ur10_joint_states.csv");
    cr_assert(ratio == 0 || ratio > 1.2, "%.2f", ratio);
}

static void run_vibration(const char *file, size_t channels, bool as_f64)
{
    char name[160];
    size_t size_bytes = 0;
    snprintf(name, sizeof name, "vibration-cwru/%s", file);
    uint8_t *data = load_data(name, &size_bytes);
    if (!data)
        return;
    size_t rows = size_bytes / 4 / channels, raw_all = 0, encoded_all = 0, width = as_f64 ? 8 : 4;
    double encode_ns = 0, decode_ns = 0;
    uint32_t codec = 0;
    void *column = malloc(rows * width);
    for (size_t c = 0; c < channels; c++) {
        for (size_t i = 0; i < rows; i++) {
            float value;
            memcpy(&value, data + (i * channels + c) * 4, 4);
            double wide = (double)value;
            memcpy((uint8_t *)column + i * width, as_f64 ? (const void *)&wide : (const void *)&value, width);
        }
        encoded_all += run_column(as_f64 ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_FLOAT32, 0, column, rows, &encode_ns, &decode_ns, &codec);
        raw_all += rows * width;
    }
    print_column(file, raw_all, encoded_all, rows * channels, encode_ns, decode_ns, codec);
    cr_assert_gt((double)raw_all / (double)encoded_all, as_f64 ? 4.0 : 2.0);
    free(column);
    free(data);
}

Test(base_codec_data, vibration_counts_halve)
{
    run_vibration("48k_DE__B014_0_249146x2_DE-FE.f32", 2, false);
    run_vibration("Normal__Normal_0_243938x2_DE-FE.f32", 2, false);
    run_vibration("12k_DE__B007_0_122571x3_DE-FE-BA.f32", 3, false);
    run_vibration("12k_DE__IR007_0_121265x3_DE-FE-BA.f32", 3, false);
    run_vibration("48k_DE__B014_0_249146x2_DE-FE.f32", 2, true);
}

Test(base_codec_data, point_clouds_come_back)
{
    size_t size_bytes = 0;
    uint8_t *data = load_data("points-pcl/room_scan1.xyz.f32", &size_bytes);
    if (!data)
        return;
    size_t count = size_bytes / 12;
    double encode_ns = 0, decode_ns = 0, *points = malloc(count * 24);
    uint32_t codec = 0;
    for (size_t i = 0; i < count * 3; i++) {
        float value;
        memcpy(&value, data + i * 4, 4);
        points[i] = (double)value;
    }
    size_t encoded = run_column(MOTE_TYPE_VECTOR_F32, 3, data, count, &encode_ns, &decode_ns, &codec);
    print_column("xyz f32", count * 12, encoded, count * 3, encode_ns, decode_ns, codec);
    cr_assert_lt(encoded, count * 12);
    encode_ns = decode_ns = 0;
    encoded = run_column(MOTE_TYPE_POINT3, 0, points, count, &encode_ns, &decode_ns, &codec);
    print_column("point3", count * 24, encoded, count * 3, encode_ns, decode_ns, codec);
    cr_assert_lt(encoded, count * 24 / 2);
    free(points);
    free(data);
}

/* A made-up clock: 1 kHz with jitter, recorded in nanoseconds with a resolution of a microsecond. */
Test(base_codec_data, timestamps_shrink_eight_times)
{
    enum { ROWS = 100 * BLOCK_ROWS };
    int64_t *times = malloc(ROWS * sizeof *times);
    uint64_t state = 7;
    for (size_t i = 0; i < ROWS; i++)
        times[i] = 1700000000000000123 + (int64_t)i * 1000000 + (int64_t)(codec_check_random(&state) % 60) * 1000;
    double encode_ns = 0, decode_ns = 0;
    uint32_t codec = 0;
    size_t encoded = run_column(MOTE_TYPE_TIMESTAMP, 0, times, ROWS, &encode_ns, &decode_ns, &codec);
    print_column("clock", ROWS * 8, encoded, ROWS, encode_ns, decode_ns, codec);
    cr_assert_lt(encoded * 7, ROWS * 8u);
    free(times);
}
