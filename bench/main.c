/* main.c: mote-bench, which `mote bench` runs: options, the order of the runs, the reports. The help text below tells the rest. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/ceiling.h"
#include "bench/engine.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

static const struct workload *const workloads[] = {&workload_ceiling, &workload_w1, &workload_w2, &workload_w3, &workload_w4, &workload_w5, &workload_w6, &workload_w7, &workload_w8, &workload_w9, &workload_w10, &workload_w11, NULL};

static void print_help(FILE *out)
{
    fputs("Usage: mote bench [OPTION]... PATH\n\n"
          "Measures mote on the device or image file PATH, beside what the device itself can do.\n"
          "PATH IS DESTROYED. A file that does not exist is made (--size) and removed at the end; anything that exists needs --destroy.\n\n"
          "  --workloads LIST     of ceiling, w1 (durable ingest), w2 (bulk ingest), w3 (point reads), w4 (scans), w5 (kill and reopen),\n"
          "                       w6 (paced ingest), w7 (pushes of a control loop), w8 (real recordings), w9 (ingest with indexes), w10 (years), w11 (camera frames);\n"
          "                       default: all\n"
          "  --cases TEXT         only cases whose name contains TEXT\n"
          "  --engines LIST       of those that are built in; default: all\n"
          "  --rounds N           rounds, engines in turn; medians are of these (3)\n"
          "  --seconds S          of one measured run (2)\n"
          "  --size SIZE          of the image that is made (2G)\n"
          "  --read-rows N        rows that w3 and w4 load (4,000,000, or what fits)\n"
          "  --memory SIZE        of the memory cgroup of w3 and w4 (256M); block caches take a quarter of it: with 8G all is cached\n"
          "  --write-bytes SIZE   the ceiling workload measures durable writes of this size only\n"
          "  --barrier NAME       flush, fua, none, or auto: the faster of the first two, measured first (auto)\n"
          "  --json FILE          also as JSON; - is stdout, and then nothing else goes there\n"
          "  --html FILE          also as a page with plots\n"
          "  --data FOLDER        real recordings (../shared/data, or $MOTE_DATA)\n"
          "  --mount FOLDER       where peers mount their ext4 (a temporary folder)\n"
          "  --quick              a smoke run of seconds: tiny runs, one round\n"
          "  --destroy            PATH exists and may be destroyed\n"
          "  --keep               leave the image that was made\n"
          "  --list               the workloads, their cases and the engines; then end\n\n"
          "Exit codes: 0 good; 1 an engine lost or damaged data; 2 usage; 3 the device cannot be used.\n",
          out);
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    char *end;
    *bytes = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : *end == 'T' ? 40 : 0;
    *bytes <<= shift;
    return end != text && (*end == '\0' || (shift && end[1] == '\0'));
}

static unsigned split(char *list, const char **words, unsigned max)
{
    unsigned count = 0;
    for (char *rest = NULL, *word = strtok_r(list, ",", &rest); word && count < max; word = strtok_r(NULL, ",", &rest))
        words[count++] = word;
    return count;
}

static bool listed(const char *name, const char *const *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(words[i], name) == 0)
            return true;
    }
    return count == 0;
}

static bool known_words(const struct bench_options *options)
{
    for (unsigned i = 0; i < options->workload_count; i++) {
        bool known = false;
        for (unsigned w = 0; workloads[w]; w++)
            known = known || strcmp(workloads[w]->name, options->workloads[i]) == 0;
        if (!known)
            return bench_fail("there is no workload \"%s\"; --list names them", options->workloads[i]) == 0;
    }
    for (unsigned i = 0; i < options->engine_count; i++) {
        bool known = strcmp(options->engines[i], "device") == 0;
        for (unsigned e = 0; engine_types[e]; e++)
            known = known || strcmp(engine_types[e]->name, options->engines[i]) == 0;
        if (!known)
            return bench_fail("this build has no engine \"%s\"; --list names those it has", options->engines[i]) == 0;
    }
    return true;
}

static bool parse_barrier(const char *text, uint32_t *barrier)
{
    for (*barrier = MOTE_BARRIER_AUTO; *barrier <= MOTE_BARRIER_NONE; ++*barrier) {
        if (strcmp(text, barrier_name(*barrier)) == 0)
            return true;
    }
    return false;
}

enum option_letter { OPTION_WORKLOADS = 256, OPTION_CASES, OPTION_ENGINES, OPTION_ROUNDS, OPTION_SECONDS, OPTION_SIZE, OPTION_READ_ROWS, OPTION_MEMORY, OPTION_WRITE_BYTES, OPTION_BARRIER, OPTION_JSON, OPTION_HTML, OPTION_DATA, OPTION_MOUNT, OPTION_QUICK, OPTION_DESTROY, OPTION_KEEP, OPTION_LIST, OPTION_HELP };
static const struct option long_options[] = {{"workloads", 1, NULL, OPTION_WORKLOADS}, {"cases", 1, NULL, OPTION_CASES},     {"engines", 1, NULL, OPTION_ENGINES},
                                             {"rounds", 1, NULL, OPTION_ROUNDS},       {"seconds", 1, NULL, OPTION_SECONDS}, {"size", 1, NULL, OPTION_SIZE},
                                             {"read-rows", 1, NULL, OPTION_READ_ROWS}, {"memory", 1, NULL, OPTION_MEMORY},   {"write-bytes", 1, NULL, OPTION_WRITE_BYTES},
                                             {"barrier", 1, NULL, OPTION_BARRIER},     {"json", 1, NULL, OPTION_JSON},       {"html", 1, NULL, OPTION_HTML},
                                             {"data", 1, NULL, OPTION_DATA},           {"mount", 1, NULL, OPTION_MOUNT},     {"quick", 0, NULL, OPTION_QUICK},
                                             {"destroy", 0, NULL, OPTION_DESTROY},     {"keep", 0, NULL, OPTION_KEEP},       {"list", 0, NULL, OPTION_LIST},
                                             {"help", 0, NULL, OPTION_HELP},           {NULL, 0, NULL, 0}};

/* Returns false for a value that cannot be. */
static bool take_option(struct bench_options *options, int letter, char *value)
{
    switch (letter) {
    case OPTION_WORKLOADS: options->workload_count = split(value, options->workloads, WORKLOADS_MAX); return options->workload_count > 0;
    case OPTION_CASES: options->cases = value; return true;
    case OPTION_ENGINES: options->engine_count = split(value, options->engines, ENGINES_MAX); return options->engine_count > 0;
    case OPTION_ROUNDS: options->rounds = (unsigned)strtoul(value, NULL, 10); return options->rounds >= 1 && options->rounds <= ROUNDS_MAX;
    case OPTION_SECONDS: options->seconds = strtod(value, NULL); return options->seconds > 0 && options->seconds <= 3600;
    case OPTION_SIZE: return parse_size(value, &options->size_bytes) && options->size_bytes >= 64 * MIB_BYTES;
    case OPTION_READ_ROWS: options->read_rows = strtoull(value, NULL, 10); return options->read_rows >= BATCH_ROWS_MAX;
    case OPTION_MEMORY: return parse_size(value, &options->memory_bytes) && options->memory_bytes >= 128 * MIB_BYTES;
    case OPTION_WRITE_BYTES: return parse_size(value, &options->write_bytes) && options->write_bytes >= PAGE_BYTES && options->write_bytes % PAGE_BYTES == 0 && options->write_bytes <= 8 * MIB_BYTES;
    case OPTION_BARRIER: return parse_barrier(value, &options->barrier);
    case OPTION_JSON: options->json_path = value; return true;
    case OPTION_HTML: options->html_path = value; return true;
    case OPTION_DATA: options->data_path = value; return true;
    case OPTION_MOUNT: options->mount_path = value; return true;
    case OPTION_QUICK: options->quick = true; return true;
    case OPTION_DESTROY: options->destroy = true; return true;
    case OPTION_KEEP: options->keep = true; return true;
    default: return false;
    }
}

static int print_list(void)
{
    for (unsigned w = 0; workloads[w]; w++) {
        printf("%s\t%s\n", workloads[w]->name, workloads[w]->title);
        for (unsigned c = 0; c < workloads[w]->case_count; c++)
            printf("\t\t%s\n", workloads[w]->cases[c].name);
    }
    for (unsigned e = 0; engine_types[e]; e++)
        printf("engine\t%s: %s\n", engine_types[e]->name, engine_types[e]->tuning);
    return EXIT_GOOD;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct bench_options *options)
{
    int letter;
    while ((letter = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (letter == 'h' || letter == OPTION_HELP) {
            print_help(stdout);
            return EXIT_GOOD;
        }
        if (letter == OPTION_LIST)
            return print_list();
        if (letter == '?')
            return EXIT_USAGE;
        if (!take_option(options, letter, optarg)) {
            bench_fail("\"%s\" cannot be the value of that option; see mote bench --help", optarg ? optarg : "");
            return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc) {
        bench_fail("one device or image file is wanted; see mote bench --help");
        return EXIT_USAGE;
    }
    options->path = argv[optind];
    return known_words(options) ? -1 : EXIT_USAGE;
}

static void describe_machine(struct report *report)
{
    struct utsname name;
    char line[256], model[128] = "";
    unsigned long long memory_kib = 0;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && !model[0] && fgets(line, sizeof line, file))
        sscanf(line, "model name : %127[^\n]", model);
    if (file)
        fclose(file);
    file = fopen("/proc/meminfo", "re");
    if (file && fscanf(file, "MemTotal: %llu", &memory_kib) != 1)
        memory_kib = 0;
    if (file)
        fclose(file);
    uname(&name);
    snprintf(report->machine, sizeof report->machine, "%ld processors%s%s, %.0f GiB, %s %s, mote %s", sysconf(_SC_NPROCESSORS_ONLN), model[0] ? ", " : "", model, (double)memory_kib / 1048576, name.sysname,
             name.release, mote_version());
}

static bool wanted(const struct bench_options *options, const struct workload *workload, const struct bench_case *bench_case, const struct engine_type *engine)
{
    if (!listed(workload->name, options->workloads, options->workload_count) || (options->cases && !strstr(bench_case->name, options->cases)))
        return false;
    if (!engine)
        return workload->device != NULL;
    if (engine->workloads && !strstr(engine->workloads, workload->name))
        return false;
    return workload->engine && listed(engine->name, options->engines, options->engine_count);
}

static int run_round(const struct bench_options *options, struct report *report)
{
    for (unsigned w = 0; workloads[w]; w++) {
        for (unsigned c = 0; c < workloads[w]->case_count; c++) {
            const struct bench_case *bench_case = &workloads[w]->cases[c];
            int code = wanted(options, workloads[w], bench_case, NULL) ? run_case(options, workloads[w], bench_case, NULL, options->barrier, report) : EXIT_GOOD;
            for (unsigned e = 0; engine_types[e] && !code; e++) {
                if (!wanted(options, workloads[w], bench_case, engine_types[e]))
                    continue;
                code = run_case(options, workloads[w], bench_case, engine_types[e], options->barrier, report);
                if (code && engine_types[e]->on_filesystem) { /* a peer's failure is a result, and the others go on */
                    report_failure(report, workloads[w], bench_case->name, engine_types[e]->name, code);
                    code = EXIT_GOOD;
                }
            }
            if (code)
                return code;
        }
    }
    return EXIT_GOOD;
}

static bool wants_peers(const struct bench_options *options)
{
    for (unsigned e = 0; engine_types[e]; e++) {
        if (engine_types[e]->on_filesystem && listed(engine_types[e]->name, options->engines, options->engine_count))
            return true;
    }
    return false;
}

static int run_all(struct bench_options *options, struct report *report)
{
    int code = target_prepare(options, report);
    if (code)
        return code;
    if (wants_peers(options) && !target_is_block_device(options->path)) {
        bench_fail("%s is no block device, and the other engines need one for their ext4: bench/peers/run makes a loop device, --engines mote leaves them out", options->path);
        return EXIT_USAGE;
    }
    snprintf(report->barrier_why, sizeof report->barrier_why, "%s, as asked", barrier_name(options->barrier));
    if (options->barrier == MOTE_BARRIER_AUTO && ceiling_choose_barrier(options->path, options->quick ? 0.02 : 0.5, &options->barrier, report->barrier_why, sizeof report->barrier_why))
        return EXIT_DEVICE;
    for (unsigned round = 0; round < options->rounds; round++) {
        code = run_round(options, report);
        if (code)
            return code;
        fprintf(stderr, "mote-bench: round %u of %u done\n", round + 1, options->rounds);
    }
    if (!options->json_path || strcmp(options->json_path, "-") != 0)
        report_text(report, options, stdout);
    if (options->json_path && report_json(report, options, options->json_path))
        return EXIT_DEVICE;
    if (options->html_path && report_html(report, options, options->html_path))
        return EXIT_DEVICE;
    return EXIT_GOOD;
}

int main(int argc, char **argv)
{
    const char *data = getenv("MOTE_DATA"), *folder = getenv("TMPDIR");
    char mount_path[4096];
    snprintf(mount_path, sizeof mount_path, "%s/mote-bench-%d", folder ? folder : "/tmp", (int)getpid());
    struct bench_options options = {.data_path = data ? data : "../shared/data", .mount_path = mount_path, .memory_bytes = 256 * MIB_BYTES};
    struct report report = {0};
    int code = parse(argc, argv, &options);
    if (code >= 0)
        return code;
    options.rounds = options.rounds ? options.rounds : options.quick ? 1 : 3;
    options.seconds = options.seconds > 0 ? options.seconds : options.quick ? 0.05 : 2;
    options.size_bytes = options.size_bytes ? options.size_bytes : (options.quick ? 256u : 2048u) * (uint64_t)MIB_BYTES;
    if (rows_load(options.data_path))
        return EXIT_DEVICE;
    describe_machine(&report);
    code = run_all(&options, &report);
    target_release(&options);
    free(report.figures);
    return code;
}
