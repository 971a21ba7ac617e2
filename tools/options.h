/* options.h: the command line of a subcommand as a table: one parser and one help text for all of them.
 *
 * Options may stand anywhere among the operands, as `--name value` or `--name=value`; `--` ends them. A word that
 * begins with a dash and a digit, and a single dash, are operands. Targets are written when the option is met; the last
 * one wins, but of a list all stay.
 */
#ifndef MOTE_TOOLS_OPTIONS_H
#define MOTE_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,    /* bool: true when present */
    OPTION_FLAG32,  /* uint32_t: 1 when present */
    OPTION_TEXT,    /* const char * */
    OPTION_LIST,    /* struct option_list: one text for each time that it is given */
    OPTION_BYTES,   /* uint64_t: a number with an optional K, M, G or T (powers of 1024) */
    OPTION_COUNT,   /* uint64_t */
    OPTION_COUNT32, /* uint32_t */
    OPTION_REAL,    /* double, above 0 */
    OPTION_CHOICE,  /* uint32_t: position in choices + choice_base */
};

enum { OPTION_LIST_MAX = 16 };

struct option_list {
    size_t count;
    const char *values[OPTION_LIST_MAX];
};

struct option {
    const char *name; /* without the dashes; NULL ends a table */
    enum option_kind kind;
    const char *argument; /* its name in the help; NULL for a flag */
    const char *help;
    void *target;
    const char *const *choices; /* ended by NULL */
};

struct option_command {
    const char *name;     /* "mote format" */
    const char *operands; /* "PATH TABLE [FILE]" */
    const char *summary;  /* one sentence */
    const char *details;  /* paragraphs, or NULL */
    unsigned operand_min, operand_max;
    const struct option *options; /* its own */
    const struct option *common;  /* those of all; NULL: none */
};

enum { OPTIONS_RUN = -1 };

/* Fills operands[0..operand_max) and *operand_count. Returns OPTIONS_RUN, or the exit code to end with: 0 after --help,
 * 2 after a message. */
int options_parse(const struct option_command *command, int argc, char **argv, const char **operands,
                  unsigned *operand_count);

/* A size with an optional suffix; false if it is none. */
bool options_parse_bytes(const char *text, uint64_t *bytes);

#endif
