/* tool.h: what the subcommands of `mote` share: the options that every one of them takes, opening a volume with them,
 * reporting a failure, and the exit codes that scripts rely on.
 *
 *   0  good
 *   1  the data is damaged, or the input was refused (a bad line, an unknown table or column, no such key)
 *   2  usage: an option or an argument is wrong
 *   3  the device cannot be used (busy, foreign, full, gone, failing)
 *
 * Results go to stdout, everything else to stderr. One command runs in a process, so nothing here is thread-safe.
 */
#ifndef MOTE_TOOLS_TOOL_H
#define MOTE_TOOLS_TOOL_H

#include "include/mote.h"
#include "tools/options.h"

enum tool_exit { TOOL_GOOD = 0, TOOL_REFUSED = 1, TOOL_USAGE = 2, TOOL_DEVICE = 3 };

enum { TOOL_COMMON_OPTIONS = 20 };

struct tool_common {
    const char *command; /* name of the subcommand, for messages */
    bool json;           /* results as JSON on stdout */
    bool quiet;          /* no progress on stderr */
    struct mote_options open;
};

/* Sets the defaults and fills options[] with the options that all subcommands share, ended by an empty one. */
void tool_common_init(struct tool_common *common, const char *command, struct option options[TOOL_COMMON_OPTIONS]);

/* What a subcommand takes; operand_max 0: exactly operand_min. */
struct tool_usage {
    const char *command;  /* "trim" */
    const char *operands; /* "PATH TABLE [FILE]" */
    const char *summary, *details; /* one sentence; paragraphs, or NULL */
    unsigned operand_min, operand_max;
};
/* Both in one: tool_common_init, then the command line by its own options and the common ones. Returns as options_parse. operand_count may be NULL. */
int tool_parse(struct tool_common *common, const struct tool_usage *usage, const struct option *own, int argc, char **argv, const char **operands, unsigned *operand_count);

/* The exit code that a MOTE_E code stands for. */
int tool_exit_code(int code);

/* Prints the calling thread's newest error of the library (or *error, if not NULL) and returns its exit code. */
int tool_fail(const struct tool_common *common, const struct mote_error *error);

/* Prints a sentence of our own and returns exit_code. line: line of the input concerned, or 0. */
int tool_refuse(const struct tool_common *common, int exit_code, uint64_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Opens for reading: without writing anything where that is possible; a log that is too large to be replayed into
 * memory is recovered read-write, with a note. Returns 0 or an exit code, the failure printed. */
int tool_open_reader(const struct tool_common *common, const char *path, mote_db **db);
/* Opens read-write. Returns 0 or an exit code, the failure printed. */
int tool_open_writer(const struct tool_common *common, const char *path, mote_db **db);
/* Closes; a failure of the final checkpoint is printed. exit_code is returned if it is not 0 already. */
int tool_close(const struct tool_common *common, mote_db *db, int exit_code);

/* The snapshot of --snapshot NAME; NULL where no name was given. Returns 0 or an exit code, the failure printed. */
int tool_snapshot_open(const struct tool_common *common, mote_db *db, const char *name, mote_snapshot **snapshot);

/* Seconds of the monotonic clock. */
double tool_seconds(void);

/* Text of 36 characters and NUL. */
void tool_uuid_text(const uint8_t uuid[16], char text[37]);
/* 1536 -> "1.5 KiB". */
void tool_bytes_text(uint64_t bytes, char text[32]);
/* malloc, or the process ends with exit code 3 and a message: a tool has nothing to save when memory is gone. */
void *tool_alloc(size_t size_bytes);
void *tool_realloc(void *old, size_t size_bytes);

/* ---- The subcommands: argv[0] is the subcommand's name; each returns the exit code. ---- */
int command_format(int argc, char **argv);
int command_info(int argc, char **argv);
int command_ingest(int argc, char **argv);
int command_get(int argc, char **argv);
int command_scan(int argc, char **argv);
int command_latest(int argc, char **argv);
int command_aggregate(int argc, char **argv);
int command_index(int argc, char **argv);
int command_search(int argc, char **argv);
int command_snapshot(int argc, char **argv);
int command_blob(int argc, char **argv);
int command_send(int argc, char **argv);
int command_receive(int argc, char **argv);
int command_clone(int argc, char **argv);
int command_base(int argc, char **argv);
int command_resize(int argc, char **argv);
int command_retention(int argc, char **argv);
int command_pin(int argc, char **argv);
int command_unpin(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_checkpoint(int argc, char **argv);
int command_flush(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_calibrate(int argc, char **argv);
int command_trim(int argc, char **argv);
/* Does not return where it succeeds: another program takes over. */
int command_bench(int argc, char **argv);

#endif
