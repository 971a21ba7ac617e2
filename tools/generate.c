/* generate.c: `mote generate`: CSV for trying things out, always the same for the same seed.
 *
 *   arm                 a seven-joint arm on an exciting trajectory at about 1 kHz: position, velocity and torque of
 * each joint. Each joint follows a sum of sinusoids; velocity is its derivative, torque a rigid link's: inertia,
 * gravity, viscous and dry friction, and noise. Values are rounded as an encoder and a torque sensor round them, to
 * 1e-6. arm --from FILE     a real recording, repeated with its first column (seconds) shifted, so that the values stay
 * real. machine             this machine's own counters (processor time, context switches, interrupts, memory, load),
 * sampled at --rate.
 *
 * The last two have as many rows as are asked for, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/csv.h"
#include "tools/number.h"
#include "tools/output.h"
#include "tools/tool.h"

enum { JOINTS = 7, WAVES = 3, COLUMNS_MAX = 256 };

struct generate {
    struct tool_common common;
    uint64_t rows, seed;
    double rate;
    const char *from;
    struct output out;
};

struct wave {
    double amplitude, frequency, phase;
};

struct joint {
    struct wave waves[WAVES];
    double inertia, gravity, viscous, dry;
};

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 (Steele, Lea, Flood 2014): one addition and two mixing multiplications. */
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static double random_between(uint64_t *state, double low, double high)
{
    return low + (high - low) * (double)(next_random(state) >> 11) * 0x1p-53;
}

static void print_number(struct output *out, double value, char end)
{
    char *at = output_reserve(out);
    size_t length = number_print_double(value, at);
    at[length] = end;
    output_advance(out, length + 1);
}

static double rounded(double value, double unit)
{
    return nearbyint(value * unit) / unit;
}

static void make_joints(struct joint joints[JOINTS], uint64_t *state)
{
    for (size_t i = 0; i < JOINTS; i++) {
        struct joint *joint = &joints[i];
        for (size_t wave = 0; wave < WAVES; wave++)
            joint->waves[wave] =
                (struct wave){random_between(state, 0.1, 0.6), random_between(state, 0.05, 0.5) * (double)(wave + 1),
                              random_between(state, 0, 6.283185307179586)};
        double reach = 1.0 / (double)(i + 1);
        joint->inertia = random_between(state, 0.5, 1.5) * reach;
        joint->gravity = random_between(state, 10, 40) * reach;
        joint->viscous = random_between(state, 0.1, 0.6);
        joint->dry = random_between(state, 0.1, 0.4);
    }
}

static void print_joint_names(struct output *out, const char *prefix)
{
    for (int i = 1; i <= JOINTS; i++)
        output_format(out, ",%s%d", prefix, i);
}

static int generate_arm(struct generate *generate)
{
    struct output *out = &generate->out;
    struct joint joints[JOINTS];
    uint64_t state = generate->seed;
    make_joints(joints, &state);
    output_text(out, "time_s");
    print_joint_names(out, "q");
    print_joint_names(out, "dq");
    print_joint_names(out, "tau");
    output_char(out, '\n');
    double time = 0, period = 1 / generate->rate;
    for (uint64_t row = 0; row < generate->rows && !out->failed_errno; row++) {
        double position[JOINTS], velocity[JOINTS], torque[JOINTS];
        for (size_t i = 0; i < JOINTS; i++) {
            double q = 0, dq = 0, ddq = 0;
            for (size_t wave = 0; wave < WAVES; wave++) {
                const struct wave *w = &joints[i].waves[wave];
                double omega = 6.283185307179586 * w->frequency, angle = omega * time + w->phase;
                q += w->amplitude * sin(angle);
                dq += w->amplitude * omega * cos(angle);
                ddq -= w->amplitude * omega * omega * sin(angle);
            }
            position[i] = rounded(q, 1e6);
            velocity[i] = rounded(dq + random_between(&state, -1e-3, 1e-3), 1e6);
            torque[i] = rounded(joints[i].inertia * ddq + joints[i].gravity * sin(q) + joints[i].viscous * dq +
                                    joints[i].dry * tanh(100 * dq) + random_between(&state, -0.05, 0.05),
                                1e4);
        }
        print_number(out, rounded(time, 1e8), ',');
        for (size_t i = 0; i < 3 * (size_t)JOINTS; i++)
            print_number(out,
                         (i < JOINTS       ? position
                          : i < 2 * JOINTS ? velocity
                                           : torque)[i % JOINTS],
                         i + 1 < 3 * JOINTS ? ',' : '\n');
        time += period * random_between(&state, 0.98, 1.04);
    }
    return 0;
}

struct recording {
    double *values; /* rows * columns */
    size_t rows, columns;
    char *header;
};

static int read_recording(struct generate *generate, struct recording *recording)
{
    int fd = open(generate->from, O_RDONLY | O_CLOEXEC), result = 0;
    if (fd < 0)
        return tool_refuse(&generate->common, TOOL_REFUSED, 0, "cannot open %s: %s", generate->from, strerror(errno));
    struct csv *csv = tool_alloc(sizeof *csv);
    csv_open(csv, fd, ',');
    size_t capacity = 0;
    enum csv_result record = csv_next(csv);
    if (record == CSV_RECORD && csv->field_count <= COLUMNS_MAX) {
        recording->columns = csv->field_count;
        size_t length = (size_t)(csv->fields[csv->field_count - 1].data + csv->fields[csv->field_count - 1].length -
                                 csv->fields[0].data);
        recording->header = tool_alloc(length + 1);
        memcpy(recording->header, csv->fields[0].data, length);
        recording->header[length] = '\0';
    }
    while (recording->columns && !result && (record = csv_next(csv)) == CSV_RECORD) {
        if (recording->rows == capacity) {
            capacity = capacity ? capacity * 2 : 4096;
            recording->values = tool_realloc(recording->values, capacity * recording->columns * sizeof(double));
        }
        double *row = recording->values + recording->rows++ * recording->columns;
        for (size_t i = 0; i < recording->columns && !result; i++) {
            if (i >= csv->field_count || !number_parse_double(csv->fields[i].data, csv->fields[i].length, &row[i]))
                result = tool_refuse(&generate->common, TOOL_REFUSED, csv->line,
                                     "%s, line %llu, column %zu: expected a number", generate->from,
                                     (unsigned long long)csv->line, i + 1);
        }
    }
    if (!result && (recording->rows < 2 || record != CSV_END))
        result = tool_refuse(&generate->common, TOOL_REFUSED, 0,
                             "%s: expected a header and at least two rows of numbers", generate->from);
    csv_close(csv);
    free(csv);
    close(fd);
    return result;
}

static int generate_recording(struct generate *generate)
{
    struct output *out = &generate->out;
    struct recording recording = {0};
    int result = read_recording(generate, &recording);
    if (!result) {
        double first = recording.values[0], last = recording.values[(recording.rows - 1) * recording.columns];
        double lap = last - first + (last - first) / (double)(recording.rows - 1);
        output_text(out, recording.header);
        output_char(out, '\n');
        for (uint64_t row = 0; row < generate->rows && !out->failed_errno; row++) {
            const double *values = recording.values + (row % recording.rows) * recording.columns;
            double shift = (double)(row / recording.rows) * lap;
            /* Rounded to the recording's own resolution, so that a shifted time has as many digits as a recorded one.
             */
            print_number(out, rounded(values[0] + shift, 1e8), recording.columns > 1 ? ',' : '\n');
            for (size_t i = 1; i < recording.columns; i++)
                print_number(out, values[i], i + 1 < recording.columns ? ',' : '\n');
        }
    }
    free(recording.values);
    free(recording.header);
    return result;
}

/* The number behind `name` in a /proc file, or 0. */
static unsigned long long find_number(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void read_text(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, capacity - 1);
    text[length > 0 ? length : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static int generate_machine(struct generate *generate)
{
    struct output *out = &generate->out;
    static char text[65536];
    output_text(out, "timestamp_ns,cpu_user,cpu_nice,cpu_system,cpu_idle,cpu_iowait,context_switches,interrupts,"
                     "processes,memory_available_kib,load_1min\n");
    double started = tool_seconds();
    for (uint64_t row = 0; row < generate->rows && !out->failed_errno; row++) {
        double wait = started + (double)row / generate->rate - tool_seconds();
        if (wait > 0)
            nanosleep(&(struct timespec){.tv_sec = (time_t)wait, .tv_nsec = (long)((wait - floor(wait)) * 1e9)}, NULL);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        unsigned long long cpu[5] = {0};
        read_text("/proc/stat", text, sizeof text);
        char *at = strncmp(text, "cpu ", 4) == 0 ? text + 4 : NULL;
        for (size_t i = 0; at && i < 5; i++)
            cpu[i] = strtoull(at, &at, 10);
        unsigned long long switches = find_number(text, "ctxt "), interrupts = find_number(text, "intr "),
                           processes = find_number(text, "processes ");
        read_text("/proc/meminfo", text, sizeof text);
        unsigned long long available = find_number(text, "MemAvailable:");
        read_text("/proc/loadavg", text, sizeof text);
        output_format(out, "%lld,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,",
                      (long long)now.tv_sec * 1000000000 + now.tv_nsec, cpu[0], cpu[1], cpu[2], cpu[3], cpu[4],
                      switches, interrupts, processes, available);
        print_number(out, strtod(text, NULL), '\n');
    }
    return 0;
}

int command_generate(int argc, char **argv)
{
    struct generate *generate = tool_alloc(sizeof *generate);
    struct option unused[TOOL_COMMON_OPTIONS];
    tool_common_init(&generate->common, "generate", unused);
    generate->rows = 0;
    generate->seed = 1;
    generate->rate = 1000;
    generate->from = NULL;
    const struct option options[] = {
        {"rows", OPTION_COUNT, "N", "how many rows (default: arm 1000000, machine 1000)", &generate->rows, NULL},
        {"seed", OPTION_COUNT, "N", "of the arm (default 1)", &generate->seed, NULL},
        {"rate", OPTION_REAL, "HZ", "rows per second of recorded time (default 1000)", &generate->rate, NULL},
        {"from", OPTION_TEXT, "FILE.csv", "repeat this recording; its first column is seconds", &generate->from, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote generate",
        .operands = "arm|machine",
        .summary = "Prints rows of a seven-joint robot arm, or of this machine's own counters, as CSV.",
        .operand_min = 1,
        .operand_max = 1,
        .options = options,
    };
    const char *what;
    unsigned count;
    int result = options_parse(&command, argc, argv, &what, &count);
    if (result == OPTIONS_RUN) {
        bool machine = strcmp(what, "machine") == 0;
        generate->rows = generate->rows ? generate->rows : machine ? 1000 : 1000000;
        output_open(&generate->out, STDOUT_FILENO);
        if (machine)
            result = generate_machine(generate);
        else if (strcmp(what, "arm") == 0)
            result = generate->from ? generate_recording(generate) : generate_arm(generate);
        else
            result = tool_refuse(&generate->common, TOOL_USAGE, 0, "\"%s\": expected arm or machine", what);
        int write_errno = output_close(&generate->out);
        if (!result && write_errno)
            result =
                tool_refuse(&generate->common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno));
    }
    free(generate);
    return result;
}
