/* report_html.c: the report as one self-contained page: for each workload a bar chart of its leading figure (SVG, drawn here) and the table with all figures (bench.h). */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/engine.h"

enum { LABEL_WIDTH = 330, BAR_WIDTH = 520, VALUE_WIDTH = 260, LINE_HEIGHT = 20, CASE_GAP = 8 };

static const char *const colours[] = {"#9aa0a6", "#d9480f", "#1c7ed6", "#4dabf7", "#2f9e44", "#ae3ec9", "#f08c00", "#495057"};
enum { COLOURS = sizeof colours / sizeof colours[0] };

static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
    }
}

static const char *colour_of(const char *engine)
{
    if (strcmp(engine, "device") == 0)
        return colours[0];
    for (unsigned i = 0; engine_types[i]; i++) {
        if (strcmp(engine_types[i]->name, engine) == 0)
            return colours[1 + i % (COLOURS - 1)];
    }
    return colours[COLOURS - 1];
}

/* Figures of the workload's leading metric, those of a case together. Calls draw for each; first: it begins a case. */
static unsigned each_leading(const struct report *report, const struct workload *workload, void (*draw)(const struct report *, const struct figure *, unsigned line, bool first, void *), void *context)
{
    unsigned line = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        bool seen = figure->workload != workload || figure->metric != workload->metrics;
        for (size_t j = 0; j < i && !seen; j++)
            seen = report->figures[j].workload == workload && report->figures[j].metric == workload->metrics && strcmp(report->figures[j].case_name, figure->case_name) == 0;
        bool first = true;
        for (size_t j = i; j < report->count && !seen; j++) {
            const struct figure *other = &report->figures[j];
            if (other->workload != workload || other->metric != workload->metrics || strcmp(other->case_name, figure->case_name) != 0)
                continue;
            if (draw)
                draw(report, other, line, first, context);
            first = false;
            line++;
        }
    }
    return line;
}

/* A logarithmic axis: rates of one workload lie four orders of magnitude apart. */
struct axis {
    FILE *out;
    double low_log, high_log;
    unsigned cases;
};

static double x_of(const struct axis *axis, double value)
{
    double at = value > 0 ? (log10(value) - axis->low_log) / (axis->high_log - axis->low_log) : 0;
    return LABEL_WIDTH + BAR_WIDTH * fmin(fmax(at, 0), 1);
}

static void stretch_axis(const struct report *report, const struct figure *figure, unsigned line, bool first, void *context)
{
    struct axis *axis = context;
    double low, high;
    (void)report;
    (void)line;
    axis->cases += first;
    figure_spread(figure, &low, &high);
    if (low > 0)
        axis->low_log = fmin(axis->low_log, floor(log10(low) - 0.3));
    if (high > 0)
        axis->high_log = fmax(axis->high_log, ceil(log10(high)));
}

static void draw_bar(const struct report *report, const struct figure *figure, unsigned line, bool first, void *context)
{
    struct axis *axis = context;
    const struct figure *ceiling = figure_ceiling(report, figure);
    double median = figure_median(figure), low, high;
    axis->cases += first;
    unsigned top = line * LINE_HEIGHT + axis->cases * CASE_GAP;
    unsigned middle = top + LINE_HEIGHT / 2;
    figure_spread(figure, &low, &high);
    if (first) {
        fprintf(axis->out, "<text x=\"0\" y=\"%u\">", middle + 4);
        print_escaped(axis->out, figure->case_name);
        fputs("</text>", axis->out);
    }
    fprintf(axis->out, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">", LABEL_WIDTH - 8, middle + 4);
    print_escaped(axis->out, figure->engine);
    fprintf(axis->out, "</text><rect x=\"%d\" y=\"%u\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", LABEL_WIDTH, top + 3, x_of(axis, median) - LABEL_WIDTH, LINE_HEIGHT - 6, colour_of(figure->engine));
    fprintf(axis->out, "<path d=\"M%.1f %uH%.1f\" stroke=\"#000\"/>", x_of(axis, low), middle, x_of(axis, high));
    if (ceiling)
        fprintf(axis->out, "<path d=\"M%.1f %uV%u\" stroke=\"#c00\" stroke-width=\"2\"/>", x_of(axis, figure_median(ceiling)), top + 1, top + LINE_HEIGHT - 1);
    fprintf(axis->out, "<text x=\"%d\" y=\"%u\">%.4g", LABEL_WIDTH + BAR_WIDTH + 8, middle + 4, median);
    if (ceiling && figure_median(ceiling) > 0)
        fprintf(axis->out, " (%.2f of the ceiling)", median / figure_median(ceiling));
    fputs("</text>\n", axis->out);
}

static void print_plot(const struct report *report, const struct workload *workload, FILE *out)
{
    struct axis axis = {.out = out, .low_log = 300, .high_log = -300};
    unsigned lines = each_leading(report, workload, stretch_axis, &axis);
    if (lines == 0 || axis.low_log >= axis.high_log)
        return;
    unsigned height = lines * LINE_HEIGHT + (axis.cases + 1) * CASE_GAP;
    fprintf(out, "<p>%s (%s; logarithmic from 1e%.0f to 1e%.0f; red: the device's ceiling; black: least to most)</p>\n<svg viewBox=\"0 0 %d %u\" width=\"%d\">\n", workload->metrics[0].label,
            workload->metrics[0].lower_is_better ? "lower is better" : "higher is better", axis.low_log, axis.high_log, LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH, height, LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH);
    axis.cases = 0;
    each_leading(report, workload, draw_bar, &axis);
    fputs("</svg>\n", out);
}

/* ---- Percentiles of the paced run: one line for each engine, from p50 to the maximum. ---- */

static const char *const quantile_keys[] = {"us_p50", "us_p99", "us_p999", "us_p9999", "us_max"};
static const char *const quantile_names[] = {"p50", "p99", "p99.9", "p99.99", "max"};
enum { QUANTILES = 5, PLOT_WIDTH = 700, PLOT_HEIGHT = 300, PLOT_MARGIN = 60, LOG_MIN = 1, LOG_MAX = 7 };

static void print_percentiles(const struct report *report, const struct workload *workload, FILE *out)
{
    fprintf(out, "<p>Latency of a commit, us, logarithmic</p><svg viewBox=\"0 0 %d %d\" width=\"%d\">\n", PLOT_WIDTH + 160, PLOT_HEIGHT + 30, PLOT_WIDTH + 160);
    for (int power = LOG_MIN; power <= LOG_MAX; power++) {
        double y = PLOT_HEIGHT - (double)PLOT_HEIGHT * (power - LOG_MIN) / (LOG_MAX - LOG_MIN);
        fprintf(out, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"0\" y=\"%.1f\">1e%d</text>\n", PLOT_MARGIN, y, PLOT_WIDTH, y + 4, power);
    }
    for (unsigned q = 0; q < QUANTILES; q++)
        fprintf(out, "<text x=\"%u\" y=\"%d\">%s</text>", PLOT_MARGIN + q * (PLOT_WIDTH - PLOT_MARGIN) / QUANTILES, PLOT_HEIGHT + 20, quantile_names[q]);
    unsigned engines = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        if (figure->workload != workload || strcmp(figure->metric->key, quantile_keys[0]) != 0)
            continue;
        fputs("<polyline fill=\"none\" stroke-width=\"2\" points=\"", out);
        for (const struct metric *metric = workload->metrics; metric->key; metric++) {
            for (unsigned q = 0; q < QUANTILES; q++) {
                const struct figure *point = strcmp(metric->key, quantile_keys[q]) == 0 ? report_find(report, workload, figure->case_name, figure->engine, metric) : NULL;
                double at = point ? fmin(fmax(log10(fmax(figure_median(point), 1e-9)), LOG_MIN), LOG_MAX) : 0;
                if (point)
                    fprintf(out, "%u,%.1f ", PLOT_MARGIN + q * (PLOT_WIDTH - PLOT_MARGIN) / QUANTILES, PLOT_HEIGHT - PLOT_HEIGHT * (at - LOG_MIN) / (LOG_MAX - LOG_MIN));
            }
        }
        fprintf(out, "\" stroke=\"%s\"/><text x=\"%d\" y=\"%u\" fill=\"%s\">", colour_of(figure->engine), PLOT_WIDTH + 10, 20 + engines++ * LINE_HEIGHT, colour_of(figure->engine));
        print_escaped(out, figure->engine);
        fputs("</text>\n", out);
    }
    fputs("</svg>\n", out);
}

/* ---- Table ---- */

static void print_row(const struct report *report, const struct figure *first, FILE *out)
{
    const struct workload *workload = first->workload;
    fputs("<tr><td>", out);
    print_escaped(out, first->case_name);
    fputs("</td><td>", out);
    print_escaped(out, first->engine);
    fputs("</td>", out);
    for (const struct metric *metric = workload->metrics; metric->key; metric++) {
        const struct figure *figure = report_find(report, workload, first->case_name, first->engine, metric);
        const struct figure *ceiling = figure ? figure_ceiling(report, figure) : NULL;
        double low, high;
        if (!figure) {
            fputs("<td></td>", out);
            continue;
        }
        figure_spread(figure, &low, &high);
        fprintf(out, "<td title=\"%.6g to %.6g", low, high);
        if (figure->note[0]) {
            fputs("; ", out);
            print_escaped(out, figure->note);
        }
        fprintf(out, "\">%.4g", figure_median(figure));
        if (ceiling && figure_median(ceiling) > 0)
            fprintf(out, " <small>%.2fx</small>", figure_median(figure) / figure_median(ceiling));
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void print_table(const struct report *report, const struct workload *workload, FILE *out)
{
    fputs("<table><tr><th>case</th><th>engine</th>", out);
    for (const struct metric *metric = workload->metrics; metric->key; metric++) {
        fputs("<th>", out);
        print_escaped(out, metric->label);
        fputs("</th>", out);
    }
    fputs("</tr>\n", out);
    for (size_t i = 0; i < report->count; i++) {
        const struct figure *figure = &report->figures[i];
        bool seen = figure->workload != workload;
        for (size_t j = 0; j < i && !seen; j++) {
            const struct figure *other = &report->figures[j];
            seen = other->workload == workload && strcmp(other->case_name, figure->case_name) == 0 && strcmp(other->engine, figure->engine) == 0;
        }
        if (!seen)
            print_row(report, figure, out);
    }
    fputs("</table>\n", out);
}

static void print_head(const struct report *report, const struct bench_options *options, FILE *out)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mote: benchmark</title><style>\n"
          "body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:1150px}svg text{font:12px system-ui,sans-serif}\n"
          "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ddd;padding:2px 8px;text-align:right}td:nth-child(-n+2){text-align:left}small{color:#777}\n"
          "</style></head><body>\n<h1>mote: benchmark</h1>\n<p>",
          out);
    fprintf(out, "%u round%s, engines in turn; medians; the small figure is the ratio to the device's ceiling of the same case; point at a figure for its spread.</p>\n<ul><li>", options->rounds, options->rounds > 1 ? "s" : "");
    print_escaped(out, report->machine);
    fputs("</li><li>", out);
    print_escaped(out, report->device);
    fputs(", ", out);
    print_escaped(out, report->backend);
    fputs("</li><li>barrier: ", out);
    print_escaped(out, report->barrier_why);
    fputs("</li><li>", out);
    print_escaped(out, rows_origin());
    fprintf(out, "; zstd -3 ratio %.2f, of random floats %.2f</li>", rows_zstd_ratio(ROWS_RECORDED), rows_zstd_ratio(ROWS_RANDOM));
    for (unsigned i = 0; engine_types[i]; i++) {
        fputs("<li>", out);
        print_escaped(out, engine_types[i]->name);
        fputs(": ", out);
        print_escaped(out, engine_types[i]->tuning);
        fputs("</li>", out);
    }
    for (unsigned i = 0; i < report->failure_count; i++) {
        fputs("<li><b>FAILED</b>: ", out);
        print_escaped(out, report->failures[i]);
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
}

int report_html(const struct report *report, const struct bench_options *options, const char *path)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return bench_fail("cannot write %s: %s", path, strerror(errno));
    print_head(report, options, out);
    for (size_t i = 0; i < report->count; i++) {
        const struct workload *workload = report->figures[i].workload;
        bool shown = false;
        for (size_t j = 0; j < i && !shown; j++)
            shown = report->figures[j].workload == workload;
        if (shown)
            continue;
        fputs("<h2>", out);
        print_escaped(out, workload->title);
        fputs("</h2>\n<p>", out);
        print_escaped(out, workload->about);
        fputs("</p>\n", out);
        if (workload == &workload_w6)
            print_percentiles(report, workload, out);
        print_plot(report, workload, out);
        print_table(report, workload, out);
    }
    fputs("</body></html>\n", out);
    bool bad = ferror(out) != 0;
    return fclose(out) != 0 || bad ? bench_fail("cannot write %s: %s", path, strerror(errno)) : 0;
}
