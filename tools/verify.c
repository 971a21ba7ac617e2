/* verify.c: `mote verify`, also as `fsck.mote`: reads every structure and every checksum of a volume, and never writes.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/output.h"
#include "tools/tool.h"

struct verify {
    struct tool_common common;
    uint64_t faults;
    struct output out;
    struct json json;
};

static void report_fault(const struct mote_error *fault, void *context)
{
    struct verify *verify = context;
    verify->faults++;
    if (!verify->common.json) {
        printf("%s", fault->message);
        if (fault->length_bytes)
            printf(" (%llu bytes at offset %llu)", (unsigned long long)fault->length_bytes,
                   (unsigned long long)fault->offset_bytes);
        printf(" [%s]\n", mote_error_name(fault->code));
        return;
    }
    struct json *json = &verify->json;
    json_open(json, NULL, '{');
    json_text(json, "error", mote_error_name(fault->code));
    json_text(json, "message", fault->message);
    json_text(json, "table", fault->table);
    json_u64(json, "offset_bytes", fault->offset_bytes);
    json_u64(json, "length_bytes", fault->length_bytes);
    json_close(json, '}');
}

static int run(struct verify *verify, const char *path)
{
    if (verify->common.json) {
        output_open(&verify->out, STDOUT_FILENO);
        json_begin(&verify->json, &verify->out);
        json_open(&verify->json, NULL, '{');
        json_text(&verify->json, "path", path);
        json_open(&verify->json, "faults", '[');
    }
    double started = tool_seconds();
    int code = mote_verify(path, report_fault, verify);
    double seconds = tool_seconds() - started;
    if (verify->common.json) {
        json_close(&verify->json, ']');
        json_u64(&verify->json, "fault_count", verify->faults);
        json_text(&verify->json, "result", mote_error_name(code));
        json_real(&verify->json, "seconds", seconds);
        json_close(&verify->json, '}');
        output_text(&verify->out, "\n");
        output_close(&verify->out);
    }
    if (code == MOTE_OK) {
        if (!verify->common.json && !verify->common.quiet)
            printf("%s: good\n", path);
        return TOOL_GOOD;
    }
    if (code == MOTE_EDAMAGED && verify->faults) {
        fprintf(stderr, "mote verify: %s is damaged: %llu faults\n", path, (unsigned long long)verify->faults);
        return TOOL_REFUSED;
    }
    /* The JSON object is complete; the reason goes to stderr alone. */
    struct tool_common plain = verify->common;
    plain.json = false;
    return tool_fail(&plain, NULL);
}

int command_verify(int argc, char **argv)
{
    struct verify verify = {0};
    struct option unused[TOOL_COMMON_OPTIONS];
    tool_common_init(&verify.common, "verify", unused);
    const struct option options[] = {
        {"json", OPTION_FLAG, NULL, "print the result as JSON", &verify.common.json, NULL},
        {"quiet", OPTION_FLAG, NULL, "print faults only", &verify.common.quiet, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct option_command command = {
        .name = "mote verify",
        .operands = "PATH",
        .summary = "Reads every structure and every checksum of a volume, without writing, and prints one line for "
                   "each fault.",
        .details = "The volume must not be open elsewhere. Exit code 1 if there is any fault.",
        .operand_min = 1,
        .operand_max = 1,
        .options = options,
    };
    const char *path;
    unsigned count;
    int result = options_parse(&command, argc, argv, &path, &count);
    return result == OPTIONS_RUN ? run(&verify, path) : result;
}
