/* report.c: the table of figures and its text form (bench.h). One thread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/engine.h"

static const struct metric *find_metric(const struct workload *workload, const char *key)
{
    for (const struct metric *metric = workload->metrics; metric->key; metric++) {
        if (strcmp(metric->key, key) == 0)
            return metric;
    }
    return NULL;
}

const struct figure *report_find(const struct report *report, const struct workload *workload, const char *case_name, const char *engine, const struct metric *metric)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        if (figure->workload == workload && figure->metric == metric && strcmp(figure->case_name, case_name) == 0 && strcmp(figure->engine, engine) == 0)
            return figure;
    }
    return NULL;
}

int report_add(struct report *report, const struct workload *workload, const char *case_name, const char *engine, const char *metric_key, double value, const char *note)
{
    const struct metric *metric = find_metric(workload, metric_key);
    if (!metric)
        return 0; /* measured by a helper that serves several workloads, and not shown in this one */
    struct figure *figure = NULL;
    for (size_t i = 0; i < report->count && !figure; i++) {
        struct figure *other = &report->figures[i];
        if (other->workload == workload && other->metric == metric && strcmp(other->case_name, case_name) == 0 && strcmp(other->engine, engine) == 0)
            figure = other;
    }
    if (!figure) {
        if (report->count == report->room) {
            size_t room = report->room ? 2 * report->room : 256;
            struct figure *figures = realloc(report->figures, room * sizeof figures[0]);
            if (!figures)
                return bench_fail("no memory for the report");
            report->figures = figures;
            report->room = room;
        }
        figure = &report->figures[report->count++];
        *figure = (struct figure){.workload = workload, .metric = metric};
        snprintf(figure->case_name, sizeof figure->case_name, "%s", case_name);
        snprintf(figure->engine, sizeof figure->engine, "%s", engine);
    }
    if (note[0])
        snprintf(figure->note, sizeof figure->note, "%s", note);
    if (figure->count < ROUNDS_MAX)
        figure->values[figure->count++] = value;
    return 0;
}

void report_failure(struct report *report, const struct workload *workload, const char *case_name, const char *engine, int exit_code)
{
    if (report->failure_count < FAILURES_MAX)
        snprintf(report->failures[report->failure_count++], NOTE_MAX_BYTES, "%s, %s, %s: %s", workload->name, case_name, engine, exit_code == EXIT_REFUSED ? "lost or damaged rows" : "did not finish");
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double figure_median(const struct figure *figure)
{
    double values[ROUNDS_MAX];
    if (figure->count == 0)
        return NAN;
    memcpy(values, figure->values, figure->count * sizeof values[0]);
    qsort(values, figure->count, sizeof values[0], compare_doubles);
    unsigned half = figure->count / 2;
    return figure->count % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void figure_spread(const struct figure *figure, double *low, double *high)
{
    *low = *high = figure->count ? figure->values[0] : NAN;
    for (unsigned i = 1; i < figure->count; i++) {
        *low = fmin(*low, figure->values[i]);
        *high = fmax(*high, figure->values[i]);
    }
}

const struct figure *figure_ceiling(const struct report *report, const struct figure *figure)
{
    if (strcmp(figure->engine, "device") == 0)
        return NULL;
    return report_find(report, figure->workload, figure->case_name, "device", figure->metric);
}

/* Three significant digits and thousands by comma. */
static void number_text(double value, char text[32])
{
    char plain[32];
    if (isnan(value)) {
        snprintf(text, 32, "-");
        return;
    }
    int digits = value == floor(value) && value < 100 ? 0 : fabs(value) >= 100 ? 0 : fabs(value) >= 10 ? 1 : fabs(value) >= 1 ? 2 : 4;
    snprintf(plain, sizeof plain, "%.*f", fabs(value) < 1e15 ? digits : 0, value);
    size_t length = strcspn(plain, "."), at = 0;
    for (size_t i = 0; plain[i] && at + 2 < 32; i++) {
        if (i > 0 && i < length && (length - i) % 3 == 0 && plain[i - 1] != '-')
            text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = '\0';
}

static void cell_text(const struct report *report, const struct figure *figure, bool spread, char *text, size_t text_bytes)
{
    char value[32], low_text[32], high_text[32], ratio[32] = "";
    if (!figure) {
        snprintf(text, text_bytes, "-");
        return;
    }
    const struct figure *ceiling = figure_ceiling(report, figure);
    double median = figure_median(figure), low, high;
    number_text(median, value);
    if (ceiling && figure_median(ceiling) > 0)
        snprintf(ratio, sizeof ratio, " (%.2fx)", median / figure_median(ceiling));
    figure_spread(figure, &low, &high);
    number_text(low, low_text);
    number_text(high, high_text);
    if (spread && figure->count > 1)
        snprintf(text, text_bytes, "%s%s [%s..%s]", value, ratio, low_text, high_text);
    else
        snprintf(text, text_bytes, "%s%s", value, ratio);
}

/* Whether the figure is the first of its case and engine: the one that its line is printed for. */
static bool begins_line(const struct report *report, size_t i)
{
    const struct figure *figure = &report->figures[i];
    for (size_t j = 0; j < i; j++) {
        const struct figure *other = &report->figures[j];
        if (other->workload == figure->workload && strcmp(other->case_name, figure->case_name) == 0 && strcmp(other->engine, figure->engine) == 0)
            return false;
    }
    return true;
}

/* Whether a figure of the same case precedes it. */
static bool continues_case(const struct report *report, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (report->figures[j].workload == report->figures[i].workload && strcmp(report->figures[j].case_name, report->figures[i].case_name) == 0)
            return true;
    }
    return false;
}

enum { COLUMNS_MAX = 12, CELL_BYTES = 160 };

static void measure_columns(const struct report *report, const struct workload *workload, int widths[COLUMNS_MAX])
{
    char text[CELL_BYTES];
    for (unsigned m = 0; m < COLUMNS_MAX && workload->metrics[m].key; m++)
        widths[m] = (int)strlen(workload->metrics[m].label);
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        if (figure->workload != workload)
            continue;
        cell_text(report, figure, figure->metric == workload->metrics, text, sizeof text);
        ptrdiff_t m = figure->metric - workload->metrics;
        if (m < COLUMNS_MAX && (int)strlen(text) > widths[m])
            widths[m] = (int)strlen(text);
    }
}

/* All engines of a case stand together, in the order in which they ran. */
static void print_case(const struct report *report, size_t first, const int widths[COLUMNS_MAX], FILE *out)
{
    const struct workload *workload = report->figures[first].workload;
    char text[CELL_BYTES];
    for (size_t i = first; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        if (figure->workload != workload || strcmp(figure->case_name, report->figures[first].case_name) != 0 || !begins_line(report, i))
            continue;
        fprintf(out, "%-31s %-12s", figure->case_name, figure->engine);
        for (unsigned m = 0; m < COLUMNS_MAX && workload->metrics[m].key; m++) {
            cell_text(report, report_find(report, workload, figure->case_name, figure->engine, &workload->metrics[m]), m == 0, text, sizeof text);
            fprintf(out, "  %*s", widths[m], text);
        }
        fputc('\n', out);
    }
}

static void print_workload(const struct report *report, const struct workload *workload, FILE *out)
{
    int widths[COLUMNS_MAX] = {0};
    measure_columns(report, workload, widths);
    fprintf(out, "\n%s\n%s\n%-31s %-12s", workload->title, workload->about, "case", "engine");
    for (unsigned m = 0; m < COLUMNS_MAX && workload->metrics[m].key; m++)
        fprintf(out, "  %*s", widths[m], workload->metrics[m].label);
    fputc('\n', out);
    for (size_t i = 0; i < report->count; i++) {
        if (report->figures[i].workload == workload && !continues_case(report, i))
            print_case(report, i, widths, out);
    }
}

/* A note that several engines or cases share is printed once, for its workload; the device's tell how each case was done, and stay with it. */
static void print_notes(const struct report *report, FILE *out)
{
    bool headed = false;
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        bool again = !figure->note[0], shared = false;
        for (size_t j = 0; j < report->count && !again; j++) {
            const struct figure *other = &report->figures[j];
            bool elsewhere = strcmp(other->case_name, figure->case_name) != 0;
            if (j == i || other->workload != figure->workload || strcmp(other->note, figure->note) != 0 || (elsewhere && strcmp(figure->engine, "device") == 0))
                continue;
            again = j < i;
            shared = shared || elsewhere || strcmp(other->engine, figure->engine) != 0;
        }
        if (again)
            continue;
        if (!headed)
            fprintf(out, "\nNotes\n");
        headed = true;
        if (shared)
            fprintf(out, "  %s: %s\n", figure->workload->name, figure->note);
        else
            fprintf(out, "  %s, %s, %s: %s\n", figure->workload->name, figure->case_name, figure->engine, figure->note);
    }
}

void report_text(const struct report *report, const struct bench_options *options, FILE *out)
{
    fprintf(out, "mote-bench, %u round%s, engines in turn; each figure: median, (ratio to the device's ceiling of the same case), [least..most]\n", options->rounds, options->rounds > 1 ? "s" : "");
    fprintf(out, "machine: %s\ndevice:  %s, %s\nbarrier: %s\nrows:    %s; zstd -3 takes the recorded rows to 1/%.2f, random floats to 1/%.2f\n", report->machine, report->device, report->backend, report->barrier_why,
            rows_origin(), rows_zstd_ratio(ROWS_RECORDED), rows_zstd_ratio(ROWS_RANDOM));
    for (unsigned i = 0; engine_types[i]; i++)
        fprintf(out, "%-8s %s: %s\n", i == 0 ? "engines:" : "", engine_types[i]->name, engine_types[i]->tuning);
    const struct workload *last = NULL;
    for (size_t i = 0; i < report->count; i++) {
        const struct workload *workload = report->figures[i].workload;
        bool shown = workload == last;
        for (size_t j = 0; j < i && !shown; j++)
            shown = report->figures[j].workload == workload;
        if (!shown)
            print_workload(report, workload, out);
        last = workload;
    }
    print_notes(report, out);
    for (unsigned i = 0; i < report->failure_count; i++)
        fprintf(out, "FAILED: %s\n", report->failures[i]);
}
