/* main.c: the command `mote`: finds the subcommand by its name, or by the name the program was called by (mkfs.mote,
 * fsck.mote). */
#include <stdio.h>
#include <string.h>

#include "tools/tool.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"format", command_format, "make a device or an image file an empty volume"},
    {"info", command_info, "what a volume is, holds, and with which options it runs"},
    {"ingest", command_ingest, "append the rows of a CSV file, or of stdin, to a table"},
    {"get", command_get, "one row by its key"},
    {"scan", command_scan, "rows in key order, as CSV or JSON lines"},
    {"latest", command_latest, "the newest row of each series"},
    {"aggregate", command_aggregate, "count, least, most, sum and mean by series and by time"},
    {"index", command_index, "declare, list, drop or rebuild the indexes of a table"},
    {"search", command_search, "rows by value, place, vector and words together"},
    {"blob", command_blob, "write or read a large value, piece by piece"},
    {"snapshot", command_snapshot, "take, list or drop the named snapshots of a volume"},
    {"send", command_send, "write the state of a volume, or what changed, as a stream"},
    {"receive", command_receive, "make a device what a stream holds, or bring it on"},
    {"clone", command_clone, "make a device a copy of a volume"},
    {"base", command_base, "list or drop the states that increments begin at"},
    {"resize", command_resize, "make a volume larger or smaller, with its device"},
    {"retention", command_retention, "how long a table keeps its rows, by age and by bytes"},
    {"pin", command_pin, "keep the rows of a range of time, whatever comes"},
    {"unpin", command_unpin, "give a pin up"},
    {"verify", command_verify, "check every structure and checksum, without writing"},
    {"dump", command_dump, "superblock, log, manifest, SSTables and blocks, readably"},
    {"flush", command_flush, "write what is only in the log to SSTables"},
    {"checkpoint", command_checkpoint, "flush, and cut the log"},
    {"calibrate", command_calibrate, "measure the device, and record the cheaper barrier"},
    {"trim", command_trim, "tell the device which space is unused"},
    {"generate", command_generate, "rows of a robot arm or of this machine, as CSV"},
    {"bench", command_bench, "measure mote beside what the device can do; destroys PATH"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out)
{
    fprintf(out,
            "Usage: mote COMMAND [OPTION]... PATH ...\n\nmote %s, an embedded storage engine that owns a raw block "
            "device.\n\nCommands\n",
            mote_version());
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(
        out,
        "\n`mote COMMAND --help` tells a command's options; mote(1) is the manual.\n"
        "Exit codes: 0 good; 1 the data is damaged or the input was refused; 2 usage; 3 the device cannot be used.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* fsck(8) passes flags about repairing (-a, -p, -n, -y, -f); fsck.mote never repairs, so they change nothing. Returns
 * the new count. */
static int drop_fsck_flags(int argc, char **argv)
{
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        bool flag = i > 0 && argv[i][0] == '-' && argv[i][1] && strspn(argv[i] + 1, "apnyf") == strlen(argv[i] + 1);
        if (!flag)
            argv[kept++] = argv[i];
    }
    return kept;
}

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *called = slash ? slash + 1 : argc > 0 ? argv[0] : "mote";
    if (strcmp(called, "mkfs.mote") == 0)
        return command_format(argc, argv);
    if (strcmp(called, "fsck.mote") == 0)
        return command_verify(drop_fsck_flags(argc, argv), argv);
    if (argc < 2) {
        print_usage(stderr);
        return TOOL_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("mote %s\n", mote_version());
        return TOOL_GOOD;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        const struct command *topic = argc > 2 ? find_command(argv[2]) : NULL;
        if (topic) {
            char help[] = "--help";
            char *words[] = {argv[2], help, NULL};
            return topic->run(2, words);
        }
        print_usage(stdout);
        return TOOL_GOOD;
    }
    const struct command *command = find_command(name);
    if (!command) {
        fprintf(stderr, "mote: there is no command \"%s\"; see mote --help\n", name);
        return TOOL_USAGE;
    }
    return command->run(argc - 1, argv + 1);
}
