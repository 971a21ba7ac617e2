/* report_json.c: the report as JSON: one object, one line for each figure, so that line-based tools can read it too (bench.h). */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/ceiling.h"
#include "bench/engine.h"

static void print_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void print_member(FILE *out, const char *key, const char *value)
{
    fprintf(out, "\"%s\":", key);
    print_string(out, value);
    fputs(",", out);
}

static void print_number(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, "%.9g", value);
    else
        fputs("null", out);
}

static void print_figure(const struct report *report, const struct figure *figure, FILE *out)
{
    const struct figure *ceiling = figure_ceiling(report, figure);
    double low, high;
    fputs("{", out);
    print_member(out, "workload", figure->workload->name);
    print_member(out, "case", figure->case_name);
    print_member(out, "engine", figure->engine);
    print_member(out, "metric", figure->metric->key);
    fputs("\"median\":", out);
    print_number(out, figure_median(figure));
    figure_spread(figure, &low, &high);
    fputs(",\"min\":", out);
    print_number(out, low);
    fputs(",\"max\":", out);
    print_number(out, high);
    fputs(",\"ceiling\":", out);
    print_number(out, ceiling ? figure_median(ceiling) : NAN);
    fputs(",\"ratio\":", out);
    print_number(out, ceiling && figure_median(ceiling) > 0 ? figure_median(figure) / figure_median(ceiling) : NAN);
    fprintf(out, ",\"lower_is_better\":%s,\"note\":", figure->metric->lower_is_better ? "true" : "false");
    print_string(out, figure->note);
    fputs(",\"values\":[", out);
    for (unsigned i = 0; i < figure->count; i++) {
        fputs(i ? "," : "", out);
        print_number(out, figure->values[i]);
    }
    fputs("]}", out);
}

int report_json(const struct report *report, const struct bench_options *options, const char *path)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    if (!out)
        return bench_fail("cannot write %s: %s", path, strerror(errno));
    fputs("{", out);
    print_member(out, "machine", report->machine);
    print_member(out, "device", report->device);
    print_member(out, "backend", report->backend);
    print_member(out, "barrier", barrier_name(options->barrier));
    print_member(out, "barrier_why", report->barrier_why);
    print_member(out, "rows", rows_origin());
    fprintf(out, "\"row_bytes\":%d,\"rounds\":%u,\"seconds\":%.3f,\"zstd_ratio\":%.4f,\"zstd_ratio_random\":%.4f,\"quick\":%s,\n\"engines\":{", ROW_BYTES, options->rounds, options->seconds,
            rows_zstd_ratio(ROWS_RECORDED), rows_zstd_ratio(ROWS_RANDOM), options->quick ? "true" : "false");
    for (unsigned i = 0; engine_types[i]; i++) {
        fputs(i ? "," : "", out);
        print_string(out, engine_types[i]->name);
        fputc(':', out);
        print_string(out, engine_types[i]->tuning);
    }
    fputs("},\n\"failures\":[", out);
    for (unsigned i = 0; i < report->failure_count; i++) {
        fputs(i ? "," : "", out);
        print_string(out, report->failures[i]);
    }
    fputs("],\n\"figures\":[\n", out);
    for (size_t i = 0; i < report->count; i++) {
        print_figure(report, &report->figures[i], out);
        fputs(i + 1 < report->count ? ",\n" : "\n", out);
    }
    fputs("]}\n", out);
    bool bad = ferror(out) != 0;
    if (out == stdout)
        bad = fflush(out) != 0 || bad;
    else
        bad = fclose(out) != 0 || bad;
    return bad ? bench_fail("cannot write %s: %s", path, strerror(errno)) : 0;
}
