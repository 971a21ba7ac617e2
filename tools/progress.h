/* progress.h: progress on stderr: a bar that redraws itself on a terminal, else a line now and then. Never on stdout.
 */
#ifndef MOTE_TOOLS_PROGRESS_H
#define MOTE_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *title;
    const char *unit; /* of count: "rows", "MiB" */
    bool quiet, terminal, drawn;
    uint64_t total; /* of done, or 0: unknown */
    double started, shown;
};

void progress_begin(struct progress *progress, const char *title, const char *unit, uint64_t total, bool quiet);
/* done: towards total; count: what is shown and gives the rate. Cheap enough to be called for each batch. */
void progress_update(struct progress *progress, uint64_t done, uint64_t count);
/* Removes the bar. */
void progress_end(struct progress *progress);

#endif
