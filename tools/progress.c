/* progress.c: progress on stderr (progress.h). */
#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

enum { BAR_CELLS = 24, LINE_SECONDS = 10 };

void progress_begin(struct progress *progress, const char *title, const char *unit, uint64_t total, bool quiet)
{
    *progress = (struct progress){.title = title, .unit = unit, .total = total, .quiet = quiet};
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->started = progress->shown = tool_seconds();
}

void progress_update(struct progress *progress, uint64_t done, uint64_t count)
{
    if (progress->quiet)
        return;
    double now = tool_seconds();
    if (now - progress->shown < (progress->terminal ? 0.1 : LINE_SECONDS))
        return;
    progress->shown = now;
    double elapsed = now - progress->started, rate = (double)count / elapsed;
    double share = progress->total ? (double)done / (double)progress->total : 0;
    if (share > 1)
        share = 1;
    if (!progress->terminal) {
        fprintf(stderr, "%s: %llu %s, %.0f %s/s", progress->title, (unsigned long long)count, progress->unit, rate,
                progress->unit);
        if (progress->total)
            fprintf(stderr, ", %.0f %%", share * 100);
        fprintf(stderr, "\n");
        return;
    }
    fprintf(stderr, "\r%s ", progress->title);
    if (progress->total) {
        char bar[BAR_CELLS + 1];
        int filled = (int)(share * BAR_CELLS);
        memset(bar, '.', BAR_CELLS);
        memset(bar, '#', (size_t)filled);
        bar[BAR_CELLS] = '\0';
        fprintf(stderr, "[%s] %3.0f %%  ", bar, share * 100);
    }
    fprintf(stderr, "%llu %s  %.0f %s/s", (unsigned long long)count, progress->unit, rate, progress->unit);
    if (share > 0.01 && share < 1)
        fprintf(stderr, "  %.0f s left", elapsed * (1 - share) / share);
    fprintf(stderr, "\033[K");
    progress->drawn = true;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fprintf(stderr, "\r\033[K");
    progress->drawn = false;
}
