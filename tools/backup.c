/* backup.c: `mote send`, `mote receive`, `mote clone` and `mote base`: streams of volumes (docs/backup.md). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/progress.h"
#include "tools/tool.h"

struct channel {
    int fd;
    const char *path; /* for sentences */
    const struct tool_common *common;
    struct progress bar;
};

/* What a caller's function returns for a file that fails; the sentence is printed at once. */
enum { CHANNEL_FAILED = -1000 };

static int channel_fail(const struct channel *channel, const char *verb)
{
    tool_refuse(channel->common, TOOL_DEVICE, 0, "%s cannot be %s: %s", channel->path, verb, strerror(errno));
    return CHANNEL_FAILED;
}

static int channel_write(const void *data, size_t size_bytes, void *context)
{
    const struct channel *channel = context;
    for (const char *at = data; size_bytes > 0;) {
        ssize_t written = write(channel->fd, at, size_bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return channel_fail(channel, "written");
        at += written;
        size_bytes -= (size_t)written;
    }
    return 0;
}

static int channel_read(void *data, size_t size_max, size_t *size_bytes, void *context)
{
    const struct channel *channel = context;
    ssize_t got;
    do
        got = read(channel->fd, data, size_max);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return channel_fail(channel, "read");
    *size_bytes = (size_t)got;
    return 0;
}

static int show_progress(const struct mote_transfer *transfer, void *context)
{
    struct progress *bar = context;
    bar->total = transfer->bytes_total;
    progress_update(bar, transfer->bytes_done, transfer->bytes_done >> 20);
    return 0;
}

static int finish(const struct channel *channel, int code) { return code == CHANNEL_FAILED ? TOOL_DEVICE : tool_fail(channel->common, NULL); }

/* To stdout for receive and clone, whose result it is; send's stdout is the stream, so that it is stderr there. */
static void print_transfer(const struct tool_common *common, const struct mote_transfer *transfer, const char *verb, FILE *out)
{
    char bytes[32], id[37];
    tool_bytes_text(transfer->stream_bytes, bytes);
    tool_uuid_text(transfer->state_id, id);
    if (common->json)
        fprintf(out, "{\"state\":\"%s\",\"incremental\":%s,\"resumed\":%s,\"flushed_seq\":%llu,\"segments\":%llu,\"segments_carried\":%llu,\"bytes\":%llu,\"bytes_kept\":%llu,\"stream_bytes\":%llu}\n", id, transfer->incremental ? "true" : "false",
                transfer->resumed ? "true" : "false", (unsigned long long)transfer->flushed_seq, (unsigned long long)transfer->segments_total, (unsigned long long)transfer->segments_carried, (unsigned long long)transfer->bytes_done,
                (unsigned long long)transfer->bytes_kept, (unsigned long long)transfer->stream_bytes);
    else if (!common->quiet)
        fprintf(out, "%s %s%s: %llu of %llu segments, %s\n", verb, transfer->incremental ? "an increment to state " : "state ", id, (unsigned long long)transfer->segments_carried, (unsigned long long)transfer->segments_total, bytes);
}

/* ---- send ---- */

/* Read-only where nothing need be written: a volume that was received stays one, and one that was closed cleanly is not touched. */
static int open_to_send(const struct tool_common *common, const char *path, bool writes, mote_db **db)
{
    uint64_t pending = 0;
    if (writes)
        return tool_open_writer(common, path, db);
    int result = tool_open_reader(common, path, db);
    if (result || (mote_pending_updates(*db, NULL, &pending) == 0 && pending == 0))
        return result;
    result = tool_close(common, *db, 0);
    return result ? result : tool_open_writer(common, path, db);
}

static int send_to(const struct tool_common *common, mote_db *db, struct mote_send_options *options, const char *file)
{
    struct channel channel = {.fd = STDOUT_FILENO, .path = file ? file : "stdout", .common = common};
    struct mote_transfer transfer;
    if (!file && isatty(STDOUT_FILENO))
        return tool_refuse(common, TOOL_USAGE, 0, "a stream is not for a terminal: give --output FILE, or a pipe");
    if (file)
        channel.fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (channel.fd < 0)
        return tool_refuse(common, TOOL_DEVICE, 0, "%s cannot be created: %s", file, strerror(errno));
    progress_begin(&channel.bar, "sending", "MiB", 0, common->quiet);
    options->progress = show_progress;
    options->progress_context = &channel.bar;
    int code = mote_send(db, options, channel_write, &channel, &transfer);
    progress_end(&channel.bar);
    int result = code ? finish(&channel, code) : 0;
    if (file && !result && fsync(channel.fd) != 0 && errno != EINVAL)
        result = tool_refuse(common, TOOL_DEVICE, 0, "%s cannot be made durable: %s", file, strerror(errno));
    if (file && close(channel.fd) != 0 && !result)
        result = tool_refuse(common, TOOL_DEVICE, 0, "%s cannot be written: %s", file, strerror(errno));
    if (!result)
        print_transfer(common, &transfer, "sent", file ? stdout : stderr);
    return result;
}

int command_send(int argc, char **argv)
{
    struct tool_common tool = {0};
    const char *file = NULL, *path, *resume = NULL;
    struct mote_send_options send = MOTE_SEND_OPTIONS_INIT;
    const struct option options[] = {
        {"output", OPTION_TEXT, "FILE", "write the stream to a new file, durably, instead of stdout", &file, NULL},
        {"as", OPTION_TEXT, "NAME", "remember the state as a base of this name", &send.as, NULL},
        {"from", OPTION_TEXT, "BASE", "send what changed since that base, or since a token (mote receive --token)", &send.from, NULL},
        {"resume", OPTION_TEXT, "TOKEN", "go on where a receive was cut: its token", &resume, NULL},
        {"no-verify", OPTION_FLAG32, NULL, "do not check segments and large values before they are sent", &send.no_verify, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "send",
        .operands = "PATH",
        .summary = "Writes the state of a volume as a stream, for mote receive.",
        .details = "mote send A | mote receive B makes B a copy of A. With --as monday, and later --from monday,\n"
                   "only what changed goes. The stream is checksummed throughout: one that is cut or damaged is refused.",
        .operand_min = 1,
    };
    int result = tool_parse(&tool, &usage, options, argc, argv, &path, NULL);
    if (result != OPTIONS_RUN)
        return result;
    if (resume && send.from)
        return tool_refuse(&tool, TOOL_USAGE, 0, "--from and --resume exclude each other");
    if (resume)
        send.from = resume;
    mote_db *db;
    result = open_to_send(&tool, path, send.as != NULL, &db);
    return result ? result : tool_close(&tool, db, send_to(&tool, db, &send, file));
}

/* ---- receive ---- */

static int receive_from(const struct tool_common *common, const char *path, const struct mote_format_options *format, const char *file)
{
    struct channel channel = {.fd = STDIN_FILENO, .path = file ? file : "stdin", .common = common};
    struct mote_receive_options options = MOTE_RECEIVE_OPTIONS_INIT;
    struct mote_transfer transfer;
    if (file)
        channel.fd = open(file, O_RDONLY | O_CLOEXEC);
    if (channel.fd < 0)
        return tool_refuse(common, TOOL_DEVICE, 0, "%s cannot be opened: %s", file, strerror(errno));
    progress_begin(&channel.bar, "receiving", "MiB", 0, common->quiet);
    options.format = format;
    options.progress = show_progress;
    options.progress_context = &channel.bar;
    int code = mote_receive(path, &options, channel_read, &channel, &transfer);
    progress_end(&channel.bar);
    if (file)
        close(channel.fd);
    if (code)
        return finish(&channel, code);
    print_transfer(common, &transfer, "received", stdout);
    return 0;
}

static int print_token(const struct tool_common *common, const char *path)
{
    char token[MOTE_TOKEN_BYTES];
    if (mote_receive_token(path, token))
        return tool_fail(common, NULL);
    printf("%s\n", token);
    return 0;
}

#define FORMAT_OPTIONS(format) \
    {"size", OPTION_BYTES, "BYTES", "create an image file of this size where PATH does not exist", &(format).image_size_bytes, NULL}, \
        {"extent", OPTION_BYTES, "BYTES", "unit of allocation of the new volume", &(format).extent_bytes, NULL}, \
        {"sparse", OPTION_FLAG32, NULL, "do not write the new image file in full (for tests)", &(format).sparse, NULL}, \
        {"destroy", OPTION_TEXT, "WHAT", "overwrite what is known to be on the device: its name, as the refusal tells it", &(format).force, NULL}

int command_receive(int argc, char **argv)
{
    struct tool_common tool = {0};
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    const char *file = NULL, *path;
    bool token = false;
    const struct option options[] = {
        {"input", OPTION_TEXT, "FILE", "read the stream from a file instead of stdin", &file, NULL},
        FORMAT_OPTIONS(format),
        {"token", OPTION_FLAG, NULL, "receive nothing: print where the volume stands, for mote send --from or --resume", &token, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "receive",
        .operands = "PATH",
        .summary = "Makes a device the volume that a stream holds, or brings it on by an increment.",
        .details = "A receive that was cut goes on when the same stream is received again, or one of mote send --resume.",
        .operand_min = 1,
    };
    int result = tool_parse(&tool, &usage, options, argc, argv, &path, NULL);
    if (result != OPTIONS_RUN)
        return result;
    return token ? print_token(&tool, path) : receive_from(&tool, path, &format, file);
}

/* ---- clone ---- */

int command_clone(int argc, char **argv)
{
    struct tool_common tool = {0};
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_send_options send = MOTE_SEND_OPTIONS_INIT;
    struct mote_receive_options receive = MOTE_RECEIVE_OPTIONS_INIT;
    const char *paths[2];
    send.no_verify = MOTE_NO_VERIFY_SEGMENTS; /* the receiving side checks them, but not what rows say of their large values */
    const struct option options[] = {
        FORMAT_OPTIONS(format),
        {"no-verify", OPTION_FLAG32, NULL, "do not check large values before they are sent", &send.no_verify, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "clone",
        .operands = "FROM TO",
        .summary = "Makes the device TO a copy of the volume FROM, with a UUID of its own.",
        .operand_min = 2,
    };
    int result = tool_parse(&tool, &usage, options, argc, argv, paths, NULL);
    if (result != OPTIONS_RUN)
        return result;
    mote_db *db;
    struct mote_transfer transfer;
    struct progress bar;
    result = open_to_send(&tool, paths[0], false, &db);
    if (result)
        return result;
    progress_begin(&bar, "cloning", "MiB", 0, tool.quiet);
    receive.format = &format;
    receive.progress = show_progress;
    receive.progress_context = &bar;
    int code = mote_clone(db, paths[1], &send, &receive, &transfer);
    progress_end(&bar);
    if (code)
        result = tool_fail(&tool, NULL);
    else
        print_transfer(&tool, &transfer, "cloned", stdout);
    return tool_close(&tool, db, result);
}

/* ---- base ---- */

static int print_base(const struct mote_base_info *base, void *context)
{
    const struct tool_common *common = context;
    if (common->json)
        printf("{\"name\":\"%s\",\"flushed_seq\":%llu,\"taken_ns\":%lld,\"token\":\"%s\"}\n", base->name, (unsigned long long)base->flushed_seq, (long long)base->taken_ns, base->token);
    else
        printf("%s seq %llu taken_ns %lld\n", base->name, (unsigned long long)base->flushed_seq, (long long)base->taken_ns);
    return 0;
}

int command_base(int argc, char **argv)
{
    struct tool_common tool = {0};
    const char *operands[3] = {NULL};
    unsigned count;
    const struct option options[] = {{NULL, OPTION_FLAG, NULL, NULL, NULL, NULL}};
    const struct tool_usage usage = {
        .command = "base",
        .operands = "list|drop PATH [NAME]",
        .summary = "Lists or drops the bases that mote send --as made.",
        .operand_min = 2,
        .operand_max = 3,
    };
    int result = tool_parse(&tool, &usage, options, argc, argv, operands, &count);
    if (result != OPTIONS_RUN)
        return result;
    bool list = strcmp(operands[0], "list") == 0;
    if ((!list && strcmp(operands[0], "drop") != 0) || list != (count == 2))
        return tool_refuse(&tool, TOOL_USAGE, 0, "expected list PATH, or drop PATH NAME");
    mote_db *db;
    result = list ? tool_open_reader(&tool, operands[1], &db) : tool_open_writer(&tool, operands[1], &db);
    if (result)
        return result;
    int code = list ? mote_base_list(db, print_base, &tool) : mote_base_drop(db, operands[2]);
    return tool_close(&tool, db, code ? tool_fail(&tool, NULL) : 0);
}
