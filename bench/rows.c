/* rows.c: the rows that all workloads write (bench.h): 64 series of 28 float32 joint values. Recorded ones where a recording is there: its 21 columns (position, velocity, torque of
 * seven joints) and then its first seven again, each series reading it from another place, so that the values stay real; times are the recording's own, with their jitter, laid end to
 * end. Without a recording a seeded arm: sines with an encoder's resolution and noise. The random variant has random bits as mantissas: nothing can compress it.
 *
 * The table of recorded values is read-only after rows_load; a source belongs to one thread.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "bench/bench.h"
#include "blockdev/base/turn.h"

enum { RECORDED_COLUMNS = 21, RECORDED_ROWS_MAX = 65536, MADE_ROWS = 20544, POOL_TICKS = 4096, RATIO_ROWS = 65536 };

struct recording {
    float (*values)[RECORDED_COLUMNS];
    int64_t *time_ns; /* since its first row */
    uint32_t count;
    int64_t length_ns; /* from one copy's first row to the next one's */
    char origin[NOTE_MAX_BYTES];
};
static struct recording recording;

static void make_recording(void)
{
    uint64_t state = 20240229;
    for (uint32_t i = 0; i < MADE_ROWS; i++) {
        double t = i * 1e-3;
        for (unsigned j = 0; j < 7; j++) {
            double w = 0.4 + 0.23 * j, noise = (double)(random_next(&state) >> 11) / 9007199254740992.0 - 0.5;
            double q = 0.8 * sin(w * t + j) + 0.3 * sin(2.7 * w * t), dq = 0.8 * w * cos(w * t + j) + 0.81 * w * cos(2.7 * w * t);
            recording.values[i][j] = (float)(round(q * 1e4) / 1e4);
            recording.values[i][7 + j] = (float)(dq + noise * 2e-3);
            recording.values[i][14 + j] = (float)(12 * sin(q) + 1.5 * dq + noise * 0.05);
        }
        recording.time_ns[i] = (int64_t)(t * 1e9) + (int64_t)(random_next(&state) % 20000);
    }
    recording.count = MADE_ROWS;
    snprintf(recording.origin, sizeof recording.origin, "a seeded seven-joint arm (no recording found), %u rows", MADE_ROWS);
}

static bool parse_line(char *line, uint32_t i)
{
    char *end, *at = line;
    double time_s = strtod(at, &end);
    if (end == at)
        return false;
    recording.time_ns[i] = (int64_t)(time_s * 1e9);
    for (unsigned c = 0; c < RECORDED_COLUMNS; c++) {
        if (*end != ',')
            return false;
        at = end + 1;
        recording.values[i][c] = strtof(at, &end);
        if (end == at)
            return false;
    }
    return true;
}

static bool read_recording(const char *data_path)
{
    char path[4096], line[1024];
    snprintf(path, sizeof path, "%s/arm-franka-1khz/panda_1khz.csv", data_path);
    FILE *file = data_path[0] ? fopen(path, "re") : NULL;
    if (!file)
        return false;
    bool good = fgets(line, sizeof line, file) != NULL;
    while (good && recording.count < RECORDED_ROWS_MAX && fgets(line, sizeof line, file)) {
        good = parse_line(line, recording.count) && (recording.count == 0 || recording.time_ns[recording.count] >= recording.time_ns[recording.count - 1]);
        recording.count += good;
    }
    fclose(file);
    good = good && recording.count >= POOL_TICKS;
    snprintf(recording.origin, sizeof recording.origin, "a real seven-joint arm at 1 kHz (arm-franka-1khz), %u rows", recording.count);
    return good;
}

int rows_load(const char *data_path)
{
    recording.values = calloc(RECORDED_ROWS_MAX, sizeof recording.values[0]);
    recording.time_ns = calloc(RECORDED_ROWS_MAX, sizeof recording.time_ns[0]);
    if (!recording.values || !recording.time_ns)
        return bench_fail("no memory for the recording");
    if (!read_recording(data_path)) {
        recording.count = 0;
        make_recording();
    }
    int64_t first_ns = recording.time_ns[0];
    for (uint32_t i = 0; i < recording.count; i++)
        recording.time_ns[i] -= first_ns;
    recording.length_ns = recording.time_ns[recording.count - 1] + 1000000;
    return 0;
}

const char *rows_origin(void)
{
    return recording.origin;
}

static void fill_values(enum row_kind kind, uint32_t series, uint64_t tick, float values[ROW_VALUES])
{
    uint64_t at = (tick % POOL_TICKS + (uint64_t)series * (recording.count / SERIES_COUNT)) % recording.count;
    if (kind == ROWS_RECORDED) {
        memcpy(values, recording.values[at], sizeof recording.values[at]);
        memcpy(values + RECORDED_COLUMNS, recording.values[(at + recording.count / 2) % recording.count], (ROW_VALUES - RECORDED_COLUMNS) * sizeof values[0]);
        return;
    }
    uint64_t state = (tick % POOL_TICKS) * SERIES_COUNT + series;
    for (unsigned i = 0; i < ROW_VALUES; i++)
        values[i] = (float)((double)(random_next(&state) >> 11) / 9007199254740992.0);
}

static void fill_key(const struct row_source *source, uint64_t n, struct row_key *key)
{
    uint64_t tick = n / source->series_count;
    key->series = (int32_t)(source->series_first + n % source->series_count);
    key->sequence = (int32_t)tick;
    key->time_ns = ((int64_t)(tick / recording.count) * recording.length_ns + recording.time_ns[tick % recording.count]) * (int64_t)source->step_scale;
}

int rows_open(struct row_source *source, enum row_kind kind, uint32_t series_first, uint32_t series_count, uint64_t step_scale)
{
    *source = (struct row_source){.series_first = series_first, .series_count = series_count, .step_scale = step_scale, .kind = kind};
    uint64_t rows = (uint64_t)POOL_TICKS * series_count;
    /* The pool's beginning stands once more behind its end, so that a batch is always contiguous. */
    source->pool = calloc(rows + BATCH_ROWS_MAX, sizeof source->pool[0]);
    if (!source->pool)
        return bench_fail("no memory for %llu rows", (unsigned long long)rows);
    for (uint64_t n = 0; n < rows + BATCH_ROWS_MAX; n++)
        fill_values(kind, series_first + (uint32_t)(n % series_count), n % rows / series_count, source->pool[n].values);
    return 0;
}

void rows_close(struct row_source *source)
{
    free(source->pool);
    source->pool = NULL;
}

const struct row *rows_next(struct row_source *source, uint32_t count)
{
    struct row *rows = source->pool + source->next % ((uint64_t)POOL_TICKS * source->series_count);
    for (uint32_t i = 0; i < count; i++)
        fill_key(source, source->next + i, &rows[i].key);
    source->next += count;
    return rows;
}

void rows_make(const struct row_source *source, uint64_t n, struct row *row)
{
    fill_key(source, n, &row->key);
    fill_values(source->kind, (uint32_t)row->key.series, n / source->series_count, row->values);
}

void rows_to_columns(const struct row *rows, uint32_t count, struct row_columns *columns)
{
    enum { SQUARE = 4 };
    uint32_t first = 0;
    for (; first + SQUARE <= count; first += SQUARE) {
        for (unsigned v = 0; v < ROW_VALUES; v += SQUARE) {
            const uint8_t *from[SQUARE];
            uint8_t *to[SQUARE];
            for (unsigned k = 0; k < SQUARE; k++) {
                from[k] = (const uint8_t *)&rows[first + k].values[v];
                to[k] = (uint8_t *)&columns->values[v + k][first];
            }
            turn_four(from, to);
        }
    }
    for (unsigned left = 0; left < SQUARE - 1 && first < count; left++, first++)
        for (unsigned v = 0; v < ROW_VALUES; v++)
            columns->values[v][first] = rows[first].values[v];
    for (uint32_t i = 0; i < count; i++) {
        columns->series[i] = rows[i].key.series;
        columns->time_ns[i] = rows[i].key.time_ns;
        columns->sequence[i] = rows[i].key.sequence;
    }
}

uint64_t row_checksum_words(unsigned word, uint64_t word_sum) { return word_sum * (2 * word + UINT64_C(0x9e3779b97f4a7c15)); }

uint64_t row_checksum(const struct row *row)
{
    uint64_t words[ROW_BYTES / 8], sum = 0;
    memcpy(words, row, sizeof words);
    for (unsigned i = 0; i < ROW_BYTES / 8; i++)
        sum += row_checksum_words(i, words[i]);
    return sum;
}

double rows_zstd_ratio(enum row_kind kind)
{
    struct row_source source;
    if (rows_open(&source, kind, 0, SERIES_COUNT, 1))
        return 0;
    for (uint64_t n = 0; n < RATIO_ROWS; n += BATCH_ROWS_MAX)
        rows_next(&source, BATCH_ROWS_MAX);
    size_t raw_bytes = (size_t)RATIO_ROWS * sizeof(struct row), bound_bytes = ZSTD_compressBound(raw_bytes);
    void *packed = malloc(bound_bytes);
    size_t packed_bytes = packed ? ZSTD_compress(packed, bound_bytes, source.pool, raw_bytes, 3) : 0;
    free(packed);
    rows_close(&source);
    return packed_bytes && !ZSTD_isError(packed_bytes) ? (double)raw_bytes / (double)packed_bytes : 0;
}
