/* bench.h: what all workloads of mote-bench share: its options, the rows, clock and percentiles, and the report.
 *
 * How a run goes. The parent process is single-threaded. For each round, each case of each workload and each engine in turn (so that engines are interleaved and a drifting device
 * hits all alike) it empties the target, forks, and lets the child do the work; the child puts its figures into an outbox in shared memory. A fresh process for each run means that no
 * engine inherits another's memory, threads or page tables, that CPU seconds are the run's own, and that a run can be confined to a memory cgroup or killed. The engine "device" is the
 * ceiling: direct writes and reads without any engine. A figure is the median over rounds, printed with its spread and as a ratio to the device's figure of the same case.
 *
 * Failures: functions return 0 or -1 after one printed sentence (bench_fail). A child that fails makes the program end with EXIT_DEVICE, or with EXIT_REFUSED if data were wrong.
 */
#ifndef MOTE_BENCH_BENCH_H
#define MOTE_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum bench_exit { EXIT_GOOD = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_DEVICE = 3 };

/* ---- Options ---- */

enum { ROUNDS_MAX = 32, ENGINES_MAX = 12, WORKLOADS_MAX = 16, NAME_MAX_BYTES = 64, NOTE_MAX_BYTES = 160, FAILURES_MAX = 64 };

struct bench_options {
    const char *path;       /* the device or image; DESTROYED */
    const char *json_path, *html_path;
    const char *data_path;  /* real recordings; "" where there are none */
    const char *cases;      /* only cases whose names contain this; NULL: all */
    const char *mount_path; /* where peers mount their ext4 */
    double seconds;         /* of one measured run */
    unsigned rounds;
    uint32_t barrier;        /* enum mote_barrier; AUTO: the one that was faster on this device, measured first */
    uint64_t size_bytes;     /* of an image that the program makes */
    uint64_t write_bytes;    /* of the ceiling workload's writes; 0: a list */
    uint64_t read_rows;      /* rows that the read workloads load */
    uint64_t memory_bytes;   /* of the cgroup of the read workloads */
    bool quick, destroy, keep, json_only;
    bool made;               /* the program made the image and removes it */
    const char *workloads[WORKLOADS_MAX], *engines[ENGINES_MAX];
    unsigned workload_count, engine_count;
};

/* ---- Rows (rows.c): 128 bytes: a key of 16 and 28 float32. ---- */

enum { ROW_VALUES = 28, ROW_BYTES = 128, SERIES_COUNT = 64, BATCH_ROWS_MAX = 1024 };

struct row_key {
    int32_t series, sequence;
    int64_t time_ns;
};
struct row {
    struct row_key key;
    float values[ROW_VALUES];
};
_Static_assert(sizeof(struct row) == ROW_BYTES, "a row is 128 bytes");

enum row_kind { ROWS_RECORDED, ROWS_RANDOM };

/* Reads the recording below data_path (or makes a seeded arm); once, before any fork. Tells which in rows_origin. */
int rows_load(const char *data_path);
const char *rows_origin(void);
/* zstd level 3: raw bytes / compressed bytes of 8 MiB of rows. */
double rows_zstd_ratio(enum row_kind kind);

/* Rows of series [series_first, +series_count) in turn, tick by tick. Only keys change while it runs: the values stand in a pool that covers the recording, made before the clock starts. */
struct row_source {
    struct row *pool;
    uint64_t next;     /* number of the next row */
    uint64_t step_scale; /* time between ticks, in recorded steps (1: about 1 kHz) */
    uint32_t series_first, series_count;
    enum row_kind kind;
};
int rows_open(struct row_source *source, enum row_kind kind, uint32_t series_first, uint32_t series_count, uint64_t step_scale);
void rows_close(struct row_source *source);
/* The next count (at most BATCH_ROWS_MAX) rows; valid until the pool comes round again (262,144 rows later for 64 series). */
const struct row *rows_next(struct row_source *source, uint32_t count);
/* Row number n of the source, computed anew. */
void rows_make(const struct row_source *source, uint64_t n, struct row *row);
/* Rows as columns. Between columns of values lies a gap: columns of 4 KiB would all fall into the same few sets of the first-level cache. */
enum { ROW_COLUMN_GAP = 80 };
struct row_columns {
    int32_t series[BATCH_ROWS_MAX], sequence[BATCH_ROWS_MAX];
    int64_t time_ns[BATCH_ROWS_MAX];
    float values[ROW_VALUES][BATCH_ROWS_MAX + ROW_COLUMN_GAP];
};
void rows_to_columns(const struct row *rows, uint32_t count, struct row_columns *columns);
/* A sum over all bits of the row that does not depend on the order of rows. */
uint64_t row_checksum(const struct row *row);
/* What the rows' 8-byte words number `word` add to the sum of the rows' checksums; word_sum: the sum of these words, modulo 2^64. */
uint64_t row_checksum_words(unsigned word, uint64_t word_sum);
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- Clock and percentiles (measure.c) ---- */

uint64_t clock_ns(void);
void sleep_until_ns(uint64_t time_ns);
/* User and kernel time of this process, all its threads, ended children. */
double cpu_seconds(void);
/* Busy time of the whole machine: kernel threads (loop, journal, writeback) too, and whatever else runs. */
double machine_cpu_seconds(void);

/* Exact samples up to a bound, then every second, fourth, ... one. */
struct recorder {
    uint64_t *samples_ns;
    size_t count, room;
    uint64_t seen, stride, max_ns;
};
int recorder_open(struct recorder *recorder);
void recorder_close(struct recorder *recorder);
void recorder_add(struct recorder *recorder, uint64_t ns);
/* Adds other's samples. */
void recorder_merge(struct recorder *recorder, const struct recorder *other);
/* 0.5, 0.99, ...; sorts. */
uint64_t recorder_quantile_ns(struct recorder *recorder, double quantile);

/* ---- Report (report.c, report_json.c, report_html.c) ---- */

struct metric {
    const char *key;   /* "rows_per_s" */
    const char *label; /* "rows/s" */
    bool lower_is_better;
};

/* One figure: a case and an engine of a workload. */
struct figure {
    char case_name[NAME_MAX_BYTES], engine[NAME_MAX_BYTES], note[NOTE_MAX_BYTES];
    const struct workload *workload;
    const struct metric *metric;
    unsigned count;
    double values[ROUNDS_MAX];
};
struct report {
    struct figure *figures;
    size_t count, room;
    char machine[512], device[256], backend[64], barrier_why[160];
    char failures[FAILURES_MAX][NOTE_MAX_BYTES]; /* runs of peers that did not come through: they are absent from the figures, and named */
    unsigned failure_count;
};
int report_add(struct report *report, const struct workload *workload, const char *case_name, const char *engine, const char *metric, double value, const char *note);
void report_failure(struct report *report, const struct workload *workload, const char *case_name, const char *engine, int exit_code);
double figure_median(const struct figure *figure);
void figure_spread(const struct figure *figure, double *low, double *high);
/* The device's figure for the same case and metric, or NULL. */
const struct figure *figure_ceiling(const struct report *report, const struct figure *figure);
const struct figure *report_find(const struct report *report, const struct workload *workload, const char *case_name, const char *engine, const struct metric *metric);
void report_text(const struct report *report, const struct bench_options *options, FILE *out);
int report_json(const struct report *report, const struct bench_options *options, const char *path);
int report_html(const struct report *report, const struct bench_options *options, const char *path);

/* ---- Running (run.c, target.c) ---- */

struct engine_type;

enum { OUTBOX_ITEMS = 512 };
/* What a child hands to its parent. */
struct outbox {
    uint32_t count;
    uint32_t refused;   /* data were wrong */
    uint64_t raw_bytes; /* given to the engine, for the bytes that the kernel counted; 0: no such figure wanted */
    char raw_case[NAME_MAX_BYTES];
    struct {
        char case_name[NAME_MAX_BYTES], metric[NAME_MAX_BYTES], note[NOTE_MAX_BYTES];
        double value;
    } items[OUTBOX_ITEMS];
};
struct run {
    const struct bench_options *options;
    const struct engine_type *engine; /* NULL: the device itself */
    const char *case_name;
    const void *case_data;
    const char *path; /* what the engine opens: the device, or a folder on ext4 */
    uint32_t barrier; /* never AUTO */
    struct outbox *outbox;
};
/* Hands a figure over. case_name NULL: the run's. note may be NULL. */
void run_emit(struct run *run, const char *case_name, const char *metric, double value, const char *note);
/* p50, p99, p99.9, p99.99 and max of the recorder, as metrics "us_p50", ... */
void run_emit_latency(struct run *run, const char *case_name, struct recorder *recorder);
/* Raw bytes that this run gave to its engine: the parent divides what the device wrote by it. */
void run_emit_raw(struct run *run, const char *case_name, uint64_t raw_bytes);

struct bench_case {
    const char *name;
    const void *data;
};
struct workload {
    const char *name, *title, *about;
    const struct metric *metrics; /* ended by an empty one; the first is the one that the tables and plots lead with */
    const struct bench_case *cases;
    unsigned case_count;
    bool small_memory; /* within the memory cgroup */
    /* The child's work. device: the ceiling's; NULL: there is none. Both return 0 or -1. */
    int (*device)(struct run *run);
    int (*engine)(struct run *run);
};
extern const struct workload workload_ceiling, workload_w1, workload_w2, workload_w3, workload_w4, workload_w5, workload_w6, workload_w7, workload_w8, workload_w9, workload_w10, workload_w11;

/* Prints "mote-bench: sentence" and returns -1. */
int bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with the library's newest error behind it. */
int bench_fail_mote(const char *what);

/* Checks the target, makes an image where there is none. Returns an exit code. */
int target_prepare(struct bench_options *options, struct report *report);
/* Waits until the kernel has let go of what an ended process had open: with io_uring that is some time after its end. */
int target_wait(const char *path);
void target_release(const struct bench_options *options);
bool target_is_block_device(const char *path);
/* Bytes that the kernel counted as written to the device; false for an image file. */
bool target_written_bytes(const char *path, uint64_t *bytes);
/* Runs one case of a workload with one engine (NULL: the device) and adds its figures. Returns an exit code. */
int run_case(const struct bench_options *options, const struct workload *workload, const struct bench_case *bench_case, const struct engine_type *engine, uint32_t barrier, struct report *report);
/* Moves the calling process into a new memory cgroup of that size; where none can be made, says so in why. */
bool cgroup_enter(uint64_t memory_bytes, char *why, size_t why_bytes);
void cgroup_remove(int pid);

#endif
