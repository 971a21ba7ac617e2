/* ceiling.c: what the device itself can do: direct writes of a given size, each made durable by the same barrier that
 * the log uses, one after the other (depth 1) and several under way (depth 4). No engine takes part; whatever durable
 * rate mote shows can be judged against this.
 *
 *     ceiling [--write-bytes N] [--seconds S] [--barrier flush|fua|none] [--backend NAME] [--size SIZE] [--overwrite
 * FOUND] PATH
 *
 * PATH is a block device, an image file, or a new image file (created with --size, written in full, and removed at the
 * end). Its content is lost: one that holds anything is refused unless --overwrite names what is there, as `mote format
 * --force` does. Writes go to the middle of the device in ascending order, like a log, round and round. The first and
 * last MiB stay as they are. Prints one JSON object. Exit codes as `mote`: 0 good, 2 usage, 3 the device cannot be
 * used.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/blockdev.h"
#include "blockdev/probe.h"

enum { DEPTH_MAX = 16, SAMPLES_MAX = 4 << 20, EXIT_USAGE = 2, EXIT_DEVICE = 3 };

struct ceiling {
    const char *path, *overwrite, *barrier;
    uint64_t write_bytes, image_bytes;
    double seconds;
    uint32_t backend;
    bool created;
    struct blockdev *device;
    struct blockdev_queue *queue;
    uint8_t *buffer;
    uint64_t first_bytes, room_bytes; /* where writes go */
    uint64_t *samples_ns;
};

/* A write and, unless FUA or none, the flush that is linked behind it; large writes take several requests. */
struct flight {
    struct blockdev_request writes[32], flush;
    unsigned pending;
    uint64_t submitted_ns;
};

struct result {
    uint64_t commits, p50_ns, p99_ns, p999_ns, max_ns;
    double seconds;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int fail(void)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    fprintf(stderr, "ceiling: %s [%s]\n", error.message, mote_error_name(error.code));
    return EXIT_DEVICE;
}

/* Submits one commit at the offset. */
static int launch(struct ceiling *ceiling, struct flight *flight, uint64_t offset_bytes)
{
    struct blockdev_request *requests[33];
    unsigned count = 0;
    bool fua = strcmp(ceiling->barrier, "fua") == 0, flush = strcmp(ceiling->barrier, "flush") == 0;
    uint32_t request_bytes = blockdev_geometry(ceiling->device)->request_bytes_max;
    for (uint64_t done = 0; done < ceiling->write_bytes; done += request_bytes) {
        uint64_t rest = ceiling->write_bytes - done;
        struct blockdev_request *write = &flight->writes[count];
        *write = (struct blockdev_request){.op = BLOCKDEV_WRITE,
                                           .source = BLOCKDEV_SOURCE_OTHER,
                                           .length_bytes = rest < request_bytes ? (uint32_t)rest : request_bytes,
                                           .offset_bytes = offset_bytes + done,
                                           .buffer = ceiling->buffer + done,
                                           .user = flight};
        write->flags = (uint8_t)(fua ? BLOCKDEV_FUA : flush ? BLOCKDEV_LINK : 0);
        requests[count++] = write;
    }
    flight->flush = (struct blockdev_request){.op = BLOCKDEV_FLUSH, .user = flight};
    if (flush)
        requests[count++] = &flight->flush;
    flight->pending = count;
    flight->submitted_ns = now_ns();
    int taken = blockdev_submit(ceiling->queue, requests, count);
    return taken == (int)count ? 0 : error_set(MOTE_EIO, "the queue took %d of %u requests", taken, count);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void summarise(struct ceiling *ceiling, uint64_t commits, double seconds, struct result *result)
{
    uint64_t count = commits < SAMPLES_MAX ? commits : SAMPLES_MAX;
    qsort(ceiling->samples_ns, count, sizeof ceiling->samples_ns[0], compare_u64);
    *result = (struct result){.commits = commits, .seconds = seconds};
    if (count == 0)
        return;
    result->p50_ns = ceiling->samples_ns[count / 2];
    result->p99_ns = ceiling->samples_ns[count - 1 - (count - 1) / 100];
    result->p999_ns = ceiling->samples_ns[count - 1 - (count - 1) / 1000];
    result->max_ns = ceiling->samples_ns[count - 1];
}

/* Keeps `depth` commits under way for the given time. */
static int measure(struct ceiling *ceiling, unsigned depth, struct result *result)
{
    static struct flight flights[DEPTH_MAX];
    uint64_t started = now_ns(), end = started + (uint64_t)(ceiling->seconds * 1e9), last = started;
    uint64_t next = 0, commits = 0;
    unsigned under_way = 0;
    int code = 0;
    for (unsigned i = 0; i < depth && !code; i++, under_way++, next += ceiling->write_bytes)
        code = launch(ceiling, &flights[i], ceiling->first_bytes + next % ceiling->room_bytes);
    while (!code && under_way > 0) {
        struct blockdev_request *done[64];
        int count = blockdev_reap(ceiling->queue, 1, -1, done, 64);
        code = count < 0 ? count : 0;
        for (int i = 0; i < count && !code; i++) {
            struct flight *flight = done[i]->user;
            if (done[i]->result)
                code = error_set_errno(done[i]->result, done[i]->system_errno, "a write to %s failed", ceiling->path);
            if (code || --flight->pending > 0)
                continue;
            last = now_ns();
            if (commits < SAMPLES_MAX)
                ceiling->samples_ns[commits] = last - flight->submitted_ns;
            commits++;
            under_way--;
            if (last >= end)
                continue;
            code = launch(ceiling, flight, ceiling->first_bytes + next % ceiling->room_bytes);
            next += ceiling->write_bytes;
            under_way++;
        }
    }
    summarise(ceiling, commits, (double)(last - started) / 1e9, result);
    return code ? fail() : 0;
}

static int open_device(struct ceiling *ceiling)
{
    if (ceiling->image_bytes && access(ceiling->path, F_OK) != 0) {
        if (blockdev_image_create(ceiling->path, ceiling->image_bytes, false, NULL, NULL))
            return fail();
        ceiling->created = true;
    }
    struct blockdev_open_options options = {.backend = ceiling->backend, .busy_timeout_ms = 5000};
    struct blockdev_content content;
    if (blockdev_open(ceiling->path, &options, &ceiling->device) || blockdev_probe_content(ceiling->device, &content))
        return fail();
    if (content.mounted ||
        (content.found[0] && (!ceiling->overwrite || strcmp(ceiling->overwrite, content.found) != 0))) {
        fprintf(stderr, "ceiling: %s holds %s; --overwrite with that name destroys it\n", ceiling->path,
                content.mounted ? "a mounted filesystem" : content.found);
        return EXIT_DEVICE;
    }
    struct blockdev_queue_options queue = {.depth = 1024};
    if (blockdev_queue_create(ceiling->device, &queue, &ceiling->queue))
        return fail();
    uint64_t size_bytes = blockdev_geometry(ceiling->device)->size_bytes;
    if (size_bytes < 8 * ceiling->write_bytes + 4 * (uint64_t)MIB_BYTES) {
        fprintf(stderr, "ceiling: %s is too small for writes of this size\n", ceiling->path);
        return EXIT_DEVICE;
    }
    ceiling->first_bytes = MIB_BYTES;
    ceiling->room_bytes = (size_bytes - 2 * (uint64_t)MIB_BYTES) / ceiling->write_bytes * ceiling->write_bytes;
    ceiling->buffer = aligned_alloc(PAGE_BYTES, round_up(ceiling->write_bytes, PAGE_BYTES));
    ceiling->samples_ns = malloc(SAMPLES_MAX * sizeof ceiling->samples_ns[0]);
    if (!ceiling->buffer || !ceiling->samples_ns) {
        fprintf(stderr, "ceiling: no memory\n");
        return EXIT_DEVICE;
    }
    uint64_t state = 1;
    for (uint64_t i = 0; i < ceiling->write_bytes; i++)
        ceiling->buffer[i] = (uint8_t)((state = state * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 56);
    return 0;
}

static void print_result(const struct ceiling *ceiling, unsigned depth, const struct result *result, bool last)
{
    double bytes_per_s = (double)result->commits * (double)ceiling->write_bytes / result->seconds;
    printf("{\"depth\":%u,\"commits\":%llu,\"seconds\":%.3f,\"commits_per_s\":%.1f,\"bytes_per_s\":%.0f,\"commit_ns_"
           "p50\":%llu,\"commit_ns_p99\":%llu,\"commit_ns_p999\":%llu,"
           "\"commit_ns_max\":%llu}%s",
           depth, (unsigned long long)result->commits, result->seconds, (double)result->commits / result->seconds,
           bytes_per_s, (unsigned long long)result->p50_ns, (unsigned long long)result->p99_ns,
           (unsigned long long)result->p999_ns, (unsigned long long)result->max_ns, last ? "" : ",");
}

static int run(struct ceiling *ceiling)
{
    static const unsigned depths[] = {1, 4};
    struct result results[2];
    int result = open_device(ceiling);
    for (unsigned i = 0; !result && i < 2; i++)
        result = measure(ceiling, depths[i], &results[i]);
    if (!result) {
        const struct blockdev_geometry *geometry = blockdev_geometry(ceiling->device);
        printf("{\"model\":\"%s\",\"backend\":\"%s\",\"direct\":%s,\"barrier\":\"%s\",\"write_bytes\":%llu,\"runs\":[",
               geometry->model, blockdev_backend(ceiling->device), geometry->direct ? "true" : "false",
               ceiling->barrier, (unsigned long long)ceiling->write_bytes);
        print_result(ceiling, depths[0], &results[0], false);
        print_result(ceiling, depths[1], &results[1], true);
        printf("]}\n");
    }
    if (ceiling->queue)
        blockdev_queue_destroy(ceiling->queue);
    if (ceiling->device)
        blockdev_close(ceiling->device);
    if (ceiling->created)
        unlink(ceiling->path);
    free(ceiling->buffer);
    free(ceiling->samples_ns);
    return result;
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    char *end;
    *bytes = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    *bytes <<= shift;
    return end != text && (*end == '\0' || (shift && end[1] == '\0'));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"write-bytes", required_argument, NULL, 'w'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"barrier", required_argument, NULL, 'b'},
                                            {"backend", required_argument, NULL, 'k'},
                                            {"size", required_argument, NULL, 'z'},
                                            {"overwrite", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    static const char *const backends[] = {"auto", "io_uring", "libaio", "threads"};
    struct ceiling ceiling = {.write_bytes = 64 * 1024, .seconds = 2, .barrier = "flush"};
    bool good = true;
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (letter) {
        case 'w':
            good &= parse_size(optarg, &ceiling.write_bytes);
            break;
        case 's':
            ceiling.seconds = strtod(optarg, NULL);
            break;
        case 'b':
            ceiling.barrier = optarg;
            break;
        case 'k':
            for (ceiling.backend = 3; ceiling.backend > 0 && strcmp(backends[ceiling.backend], optarg) != 0;)
                ceiling.backend--;
            break;
        case 'z':
            good &= parse_size(optarg, &ceiling.image_bytes);
            break;
        case 'o':
            ceiling.overwrite = optarg;
            break;
        default:
            good = false;
        }
    }
    bool known = strcmp(ceiling.barrier, "flush") == 0 || strcmp(ceiling.barrier, "fua") == 0 ||
                 strcmp(ceiling.barrier, "none") == 0;
    good = good && known && ceiling.seconds > 0 && ceiling.write_bytes >= SECTOR_BYTES &&
           ceiling.write_bytes % SECTOR_BYTES == 0 && ceiling.write_bytes <= 16 * (uint64_t)MIB_BYTES;
    if (!good || optind + 1 != argc) {
        fprintf(stderr, "usage: ceiling [--write-bytes N] [--seconds S] [--barrier flush|fua|none] [--backend NAME] "
                        "[--size SIZE] [--overwrite FOUND] PATH\n");
        return EXIT_USAGE;
    }
    ceiling.path = argv[optind];
    return run(&ceiling);
}
