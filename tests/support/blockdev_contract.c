/* blockdev_contract.c: the cases on requests and their results; those on queues and threads are in blockdev_contract_queue.c. */
#include "tests/support/blockdev_contract.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract_private.h"

enum { BATCH_MAX = 64 };

void contract_check(struct contract *contract, bool holds, const char *file, int line, const char *what)
{
    contract->check_count++;
    if (holds)
        return;
    contract->failure_count++;
    fprintf(stderr, "%s:%d: %s over %s, seed %" PRIu64 ": not true: %s\n", file, line, contract->case_name, blockdev_backend(contract->device),
            contract->seed, what);
}

uint64_t contract_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

void contract_fill(uint8_t *data, uint64_t size_bytes, uint64_t seed)
{
    for (uint64_t at = 0; at + 8 <= size_bytes; at += 8) {
        uint64_t value = contract_random(&seed);
        memcpy(data + at, &value, sizeof value);
    }
}

uint8_t *contract_buffer(uint64_t size_bytes, uint64_t seed)
{
    void *data = NULL;
    if (posix_memalign(&data, PAGE_BYTES, size_bytes) != 0)
        abort();
    contract_fill(data, size_bytes, seed);
    return data;
}

struct blockdev_request contract_request(enum blockdev_op op, uint64_t offset_bytes, uint32_t length_bytes, void *buffer, unsigned flags)
{
    return (struct blockdev_request){.op = (uint8_t)op, .flags = (uint8_t)flags, .offset_bytes = offset_bytes, .length_bytes = length_bytes, .buffer = buffer,
                                     .result = 77, .system_errno = 77};
}

struct blockdev_queue *contract_queue(struct contract *contract, unsigned depth, unsigned flags)
{
    struct blockdev_queue_options options = {.depth = depth, .flags = flags};
    struct blockdev_queue *queue = NULL;
    if (blockdev_queue_create(contract->device, &options, &queue) != MOTE_OK)
        abort();
    return queue;
}

void contract_do(struct contract *contract, struct blockdev_queue *queue, struct blockdev_request *requests, unsigned count)
{
    struct blockdev_request *all[BATCH_MAX], *done[BATCH_MAX];
    unsigned reaped = 0;
    for (unsigned i = 0; i < count; i++)
        all[i] = &requests[i];
    int taken = blockdev_submit(queue, all, count);
    CONTRACT_CHECK(contract, taken == (int)count);
    CONTRACT_CHECK(contract, blockdev_queue_inflight(queue) == (taken > 0 ? (unsigned)taken : 0));
    while (taken > 0 && reaped < (unsigned)taken) {
        int got = blockdev_reap(queue, (unsigned)taken - reaped, -1, done, BATCH_MAX);
        CONTRACT_CHECK(contract, got >= 0);
        if (got < 0)
            break;
        for (int i = 0; i < got; i++)
            CONTRACT_CHECK(contract, done[i] >= requests && done[i] < requests + count);
        reaped += (unsigned)got;
    }
    CONTRACT_CHECK(contract, blockdev_queue_inflight(queue) == 0);
}

static int do_one(struct contract *contract, struct blockdev_queue *queue, struct blockdev_request request)
{
    contract_do(contract, queue, &request, 1);
    return request.result;
}

/* Rule 4 and the plain way: what was written is read back, whatever the size, from registered and other memory. */
static void run_round_trip(struct contract *contract)
{
    uint64_t state = contract->seed;
    uint32_t block_bytes = blockdev_geometry(contract->device)->logical_block_bytes;
    uint32_t request_bytes_max = blockdev_geometry(contract->device)->request_bytes_max;
    uint8_t *written = contract_buffer(2 * MIB_BYTES, state), *read = contract_buffer(2 * MIB_BYTES, ~state);
    struct blockdev_queue_options options = {.depth = 8, .registered_base = written + MIB_BYTES / 2, .registered_bytes = MIB_BYTES};
    struct blockdev_queue *queue = NULL;
    CONTRACT_CHECK(contract, blockdev_queue_create(contract->device, &options, &queue) == MOTE_OK);
    for (int round = 0; round < 60; round++) {
        uint32_t length_bytes = (uint32_t)(1 + contract_random(&state) % (request_bytes_max / block_bytes)) * block_bytes;
        uint64_t offset_bytes = contract_random(&state) % ((CONTRACT_BYTES_MIN - length_bytes) / block_bytes + 1) * block_bytes;
        uint8_t *from = written + contract_random(&state) % ((2 * MIB_BYTES - length_bytes) / block_bytes + 1) * block_bytes;
        unsigned flags = round % 4 == 0 ? BLOCKDEV_FUA : 0;
        CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_WRITE, offset_bytes, length_bytes, from, flags)) == MOTE_OK);
        memset(read, 0, length_bytes);
        CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_READ, offset_bytes, length_bytes, read, 0)) == MOTE_OK);
        CONTRACT_CHECK(contract, memcmp(from, read, length_bytes) == 0);
    }
    CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_FLUSH, 12345, 1, NULL, 0)) == MOTE_OK);
    /* The last block of the device is as good as the others. */
    uint64_t last_bytes = blockdev_geometry(contract->device)->size_bytes - block_bytes;
    CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_WRITE, last_bytes, block_bytes, written, 0)) == MOTE_OK);
    CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_READ, last_bytes, block_bytes, read, 0)) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(written, read, block_bytes) == 0);
    blockdev_queue_destroy(queue);
    free(written);
    free(read);
}

/* Rule 5: refused with MOTE_EINVAL, counted as an error, and nothing is done. */
static void run_refusals(struct contract *contract)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(contract->device);
    uint32_t block_bytes = geometry->logical_block_bytes;
    uint64_t size_bytes = geometry->size_bytes;
    uint8_t *data = contract_buffer(2 * MIB_BYTES, 1), *kept = contract_buffer(MIB_BYTES, 2), *seen = contract_buffer(MIB_BYTES, 3);
    struct blockdev_queue *queue = contract_queue(contract, 4, 0);
    CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, kept, MIB_BYTES) == MOTE_OK);
    const struct blockdev_request bad[] = {
        contract_request(BLOCKDEV_WRITE, 1, block_bytes, data, 0),
        contract_request(BLOCKDEV_WRITE, block_bytes / 2, block_bytes, data, 0),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes / 2, data, 0),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes + 1, data, 0),
        contract_request(BLOCKDEV_WRITE, 0, 0, data, 0),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes, data + 8, 0),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes, data + geometry->buffer_align_bytes / 2, 0),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes, NULL, 0),
        contract_request(BLOCKDEV_WRITE, 0, geometry->request_bytes_max + block_bytes, data, 0),
        contract_request(BLOCKDEV_WRITE, size_bytes, block_bytes, data, 0),
        contract_request(BLOCKDEV_WRITE, size_bytes - block_bytes, 2 * block_bytes, data, 0), /* across the end */
        contract_request(BLOCKDEV_READ, size_bytes - block_bytes, 2 * block_bytes, data, 0),
        contract_request(BLOCKDEV_WRITE, UINT64_MAX - block_bytes + 1, block_bytes, data, 0),
        contract_request(BLOCKDEV_READ, 0, block_bytes, data, BLOCKDEV_FUA),
        contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, BLOCKDEV_FUA),
        contract_request(BLOCKDEV_WRITE, 0, block_bytes, data, 0x80),
        contract_request((enum blockdev_op)9, 0, block_bytes, data, 0),
        contract_request(BLOCKDEV_DISCARD, 1, block_bytes, NULL, 0),
        contract_request(BLOCKDEV_DISCARD, size_bytes, block_bytes, NULL, 0),
    };
    struct blockdev_counters before, after;
    blockdev_get_counters(contract->device, &before);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CONTRACT_CHECK(contract, do_one(contract, queue, bad[i]) == MOTE_EINVAL);
    struct blockdev_request source = contract_request(BLOCKDEV_WRITE, 0, block_bytes, data, 0);
    source.source = BLOCKDEV_SOURCE_COUNT;
    CONTRACT_CHECK(contract, do_one(contract, queue, source) == MOTE_EINVAL);
    blockdev_get_counters(contract->device, &after);
    CONTRACT_CHECK(contract, after.error_count - before.error_count == sizeof bad / sizeof *bad + 1);
    CONTRACT_CHECK(contract, after.write_count == before.write_count);
    CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, MIB_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(seen, kept, MIB_BYTES) == 0);
    blockdev_queue_destroy(queue);
    free(data);
    free(kept);
    free(seen);
}

/* A bad request among good ones: the good ones are done, wherever the bad one stands. */
static void run_mixed_batch(struct contract *contract)
{
    uint32_t block_bytes = blockdev_geometry(contract->device)->logical_block_bytes;
    struct blockdev_queue *queue = contract_queue(contract, 8, 0);
    for (unsigned bad = 0; bad < 6; bad++) {
        uint8_t *data = contract_buffer(6 * PAGE_BYTES, bad + 10), *seen = contract_buffer(PAGE_BYTES, 0);
        struct blockdev_request requests[6];
        for (unsigned i = 0; i < 6; i++)
            requests[i] = contract_request(BLOCKDEV_WRITE, (uint64_t)i * PAGE_BYTES + (i == bad), block_bytes, data + i * PAGE_BYTES, 0);
        contract_do(contract, queue, requests, 6);
        for (unsigned i = 0; i < 6; i++) {
            CONTRACT_CHECK(contract, requests[i].result == (i == bad ? MOTE_EINVAL : MOTE_OK));
            if (i == bad)
                continue;
            CONTRACT_CHECK(contract, do_one(contract, queue, contract_request(BLOCKDEV_READ, requests[i].offset_bytes, block_bytes, seen, 0)) == MOTE_OK);
            CONTRACT_CHECK(contract, memcmp(seen, data + i * PAGE_BYTES, block_bytes) == 0);
        }
        free(data);
        free(seen);
    }
    blockdev_queue_destroy(queue);
}

/* Rule 2: each link starts only after the one before. Linked overwrites of one page, read in between, must be seen in order. */
static void run_chain_order(struct contract *contract)
{
    enum { LINKS = 6, ROUNDS = 40 };
    struct blockdev_queue *queue = contract_queue(contract, 32, 0);
    uint8_t *data = contract_buffer(2 * LINKS * PAGE_BYTES, contract->seed);
    for (int round = 0; round < ROUNDS; round++) {
        /* Two chains in one batch, on their own pages. */
        struct blockdev_request requests[2 * LINKS];
        contract_fill(data, 2 * LINKS * PAGE_BYTES, contract->seed + (uint64_t)round);
        for (unsigned i = 0; i < 2 * LINKS; i++) {
            unsigned link = i % LINKS;
            requests[i] = contract_request(link % 2 == 0 ? BLOCKDEV_WRITE : BLOCKDEV_READ, (i < LINKS ? 1u : 2u) * MIB_BYTES, PAGE_BYTES, data + i * PAGE_BYTES,
                                           link + 1 < LINKS ? BLOCKDEV_LINK : 0);
        }
        contract_do(contract, queue, requests, 2 * LINKS);
        for (unsigned i = 0; i < 2 * LINKS; i++) {
            CONTRACT_CHECK(contract, requests[i].result == MOTE_OK && requests[i].system_errno == 0);
            if (i % 2 == 1)
                CONTRACT_CHECK(contract, memcmp(data + i * PAGE_BYTES, data + (i - 1) * PAGE_BYTES, PAGE_BYTES) == 0);
        }
    }
    /* The commit's own shape: write, flush; and a link on the last request of a submit, which means nothing. */
    struct blockdev_request commit[2] = {contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, BLOCKDEV_LINK), contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, 0)};
    contract_do(contract, queue, commit, 2);
    CONTRACT_CHECK(contract, commit[0].result == MOTE_OK && commit[1].result == MOTE_OK);
    struct blockdev_request last[2] = {contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0), contract_request(BLOCKDEV_WRITE, PAGE_BYTES, PAGE_BYTES, data, BLOCKDEV_LINK)};
    contract_do(contract, queue, last, 2);
    contract_do(contract, queue, last, 2);
    CONTRACT_CHECK(contract, last[0].result == MOTE_OK && last[1].result == MOTE_OK);
    blockdev_queue_destroy(queue);
    free(data);
}

/* Rule 5 within a chain: all of it is refused, only the culprit says MOTE_EINVAL, the others that they were cancelled. */
static void run_chain_refused(struct contract *contract)
{
    struct blockdev_queue *queue = contract_queue(contract, 8, 0);
    uint8_t *kept = contract_buffer(4 * PAGE_BYTES, 20), *data = contract_buffer(4 * PAGE_BYTES, 21), *seen = contract_buffer(4 * PAGE_BYTES, 22);
    CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, kept, 4 * PAGE_BYTES) == MOTE_OK);
    for (unsigned bad = 0; bad < 4; bad++) {
        struct blockdev_request requests[4];
        for (unsigned i = 0; i < 4; i++)
            requests[i] = contract_request(BLOCKDEV_WRITE, (uint64_t)i * PAGE_BYTES, PAGE_BYTES, data, i < 3 ? BLOCKDEV_LINK : 0);
        if (bad == 3)
            requests[bad].op = BLOCKDEV_DISCARD; /* never in a chain */
        else
            requests[bad].offset_bytes++;
        contract_do(contract, queue, requests, 4);
        for (unsigned i = 0; i < 4; i++) {
            CONTRACT_CHECK(contract, requests[i].result == (i == bad ? MOTE_EINVAL : MOTE_EIO));
            CONTRACT_CHECK(contract, requests[i].system_errno == (i == bad ? 0 : ECANCELED));
        }
    }
    CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, 4 * PAGE_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(seen, kept, 4 * PAGE_BYTES) == 0);
    blockdev_queue_destroy(queue);
    free(kept);
    free(data);
    free(seen);
}

/* Rule 7. */
static void run_counters(struct contract *contract)
{
    struct blockdev_counters before, after;
    struct blockdev_queue *queue = contract_queue(contract, 16, 0);
    uint8_t *data = contract_buffer(MIB_BYTES, 30);
    blockdev_get_counters(contract->device, &before);
    for (unsigned source = 0; source < BLOCKDEV_SOURCE_COUNT; source++)
        CONTRACT_CHECK(contract, blockdev_write_range(queue, (enum blockdev_source)source, 0, data, (source + 1) * PAGE_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_WAL, 0, data, MIB_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, data, MIB_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, blockdev_flush(queue) == MOTE_OK);
    blockdev_get_counters(contract->device, &after);
    for (unsigned source = 0; source < BLOCKDEV_SOURCE_COUNT; source++)
        CONTRACT_CHECK(contract, after.written_bytes[source] - before.written_bytes[source]
                                     == (source + 1) * PAGE_BYTES + (source == BLOCKDEV_SOURCE_WAL ? MIB_BYTES : 0));
    CONTRACT_CHECK(contract, after.read_bytes - before.read_bytes == MIB_BYTES);
    CONTRACT_CHECK(contract, after.flush_count - before.flush_count == 1);
    CONTRACT_CHECK(contract, after.error_count == before.error_count);
    uint64_t per_mib = MIB_BYTES / blockdev_geometry(contract->device)->request_bytes_max;
    CONTRACT_CHECK(contract, after.read_count - before.read_count == per_mib);
    CONTRACT_CHECK(contract, after.write_count - before.write_count == BLOCKDEV_SOURCE_COUNT + per_mib);
    blockdev_queue_destroy(queue);
    free(data);
}

/* The conveniences: larger than a request and than the depth, to the last block, refused beyond it or on a busy queue. */
static void run_ranges(struct contract *contract)
{
    uint64_t size_bytes = blockdev_geometry(contract->device)->size_bytes;
    uint32_t block_bytes = blockdev_geometry(contract->device)->logical_block_bytes;
    uint64_t length_bytes = 3 * MIB_BYTES + block_bytes;
    uint8_t *data = contract_buffer(4 * MIB_BYTES, contract->seed + 40), *seen = contract_buffer(4 * MIB_BYTES, 41);
    static const unsigned depths[] = {1, 2, 64};
    for (unsigned i = 0; i < 3; i++) {
        struct blockdev_queue *queue = contract_queue(contract, depths[i], 0);
        uint64_t offset_bytes = i == 2 ? size_bytes - length_bytes : block_bytes;
        contract_fill(data, length_bytes, contract->seed + i);
        CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_FLUSH, offset_bytes, data, length_bytes) == MOTE_OK);
        CONTRACT_CHECK(contract, blockdev_flush(queue) == MOTE_OK);
        CONTRACT_CHECK(contract, blockdev_read_range(queue, offset_bytes, seen, length_bytes) == MOTE_OK);
        CONTRACT_CHECK(contract, memcmp(data, seen, length_bytes) == 0);
        CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, 0) == MOTE_OK);
        CONTRACT_CHECK(contract, blockdev_read_range(queue, size_bytes - block_bytes, seen, 2 * block_bytes) == MOTE_EINVAL);
        CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, UINT64_MAX - 1, seen, 4 * MIB_BYTES) == MOTE_EINVAL);
        CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 1, seen, PAGE_BYTES) == MOTE_EINVAL);
        struct mote_error error;
        CONTRACT_CHECK(contract, mote_last_error(&error) == MOTE_EINVAL && error.message[0] != '\0');
        CONTRACT_CHECK(contract, error.offset_bytes == 1 && strcmp(error.device, blockdev_path(contract->device)) == 0);
        struct blockdev_request request = contract_request(BLOCKDEV_READ, 0, block_bytes, data, 0), *one = &request;
        CONTRACT_CHECK(contract, blockdev_submit(queue, &one, 1) == 1);
        CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, MIB_BYTES) == MOTE_EINVAL);
        CONTRACT_CHECK(contract, blockdev_flush(queue) == MOTE_EINVAL);
        CONTRACT_CHECK(contract, blockdev_reap(queue, 1, -1, &one, 1) == 1 && request.result == MOTE_OK);
        blockdev_queue_destroy(queue);
    }
    free(data);
    free(seen);
}

/* A discard is done, or refused with MOTE_ENOTSUP, as the geometry says; what surrounds it stays. */
static void run_discard(struct contract *contract)
{
    bool supported = blockdev_geometry(contract->device)->discard_granularity_bytes != 0;
    struct blockdev_counters before, after;
    struct blockdev_queue *queue = contract_queue(contract, 8, 0);
    uint8_t *data = contract_buffer(3 * MIB_BYTES, 50), *seen = contract_buffer(3 * MIB_BYTES, 51);
    CONTRACT_CHECK(contract, blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, data, 3 * MIB_BYTES) == MOTE_OK);
    blockdev_get_counters(contract->device, &before);
    CONTRACT_CHECK(contract, blockdev_discard_range(queue, MIB_BYTES, MIB_BYTES) == (supported ? MOTE_OK : MOTE_ENOTSUP));
    /* Several in one batch, among writes. */
    struct blockdev_request requests[4] = {
        contract_request(BLOCKDEV_DISCARD, MIB_BYTES, PAGE_BYTES * 4, NULL, 0), contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0),
        contract_request(BLOCKDEV_DISCARD, MIB_BYTES + PAGE_BYTES * 4, PAGE_BYTES * 4, NULL, 0), contract_request(BLOCKDEV_WRITE, PAGE_BYTES, PAGE_BYTES, data + PAGE_BYTES, 0)};
    contract_do(contract, queue, requests, 4);
    for (unsigned i = 0; i < 4; i++)
        CONTRACT_CHECK(contract, requests[i].result == (supported || i % 2 == 1 ? MOTE_OK : MOTE_ENOTSUP));
    blockdev_get_counters(contract->device, &after);
    CONTRACT_CHECK(contract, after.discarded_bytes - before.discarded_bytes == (supported ? MIB_BYTES + 8 * PAGE_BYTES : 0));
    CONTRACT_CHECK(contract, blockdev_read_range(queue, 0, seen, 3 * MIB_BYTES) == MOTE_OK);
    CONTRACT_CHECK(contract, memcmp(seen, data, MIB_BYTES) == 0);
    CONTRACT_CHECK(contract, memcmp(seen + 2 * MIB_BYTES, data + 2 * MIB_BYTES, MIB_BYTES) == 0);
    blockdev_queue_destroy(queue);
    free(data);
    free(seen);
}

const struct contract_case contract_cases[] = {
    {"round_trip", run_round_trip},
    {"refusals", run_refusals},
    {"mixed_batch", run_mixed_batch},
    {"chain_order", run_chain_order},
    {"chain_refused", run_chain_refused},
    {"counters", run_counters},
    {"ranges", run_ranges},
    {"discard", run_discard},
    {"depth", contract_run_depth},
    {"wake", contract_run_wake},
    {"timeouts", contract_run_timeouts},
    {"shared_queue", contract_run_shared_queue},
    {"destroy", contract_run_destroy},
    {"random_load", contract_run_random_load},
};
const unsigned contract_case_count = sizeof contract_cases / sizeof *contract_cases;

unsigned contract_run(struct blockdev *device, uint64_t seed)
{
    struct contract contract = {.device = device, .seed = seed, .case_name = "start"};
    CONTRACT_CHECK(&contract, blockdev_geometry(device)->size_bytes >= CONTRACT_BYTES_MIN);
    for (unsigned i = 0; i < contract_case_count && blockdev_geometry(device)->size_bytes >= CONTRACT_BYTES_MIN; i++) {
        contract.case_name = contract_cases[i].name;
        contract_cases[i].run(&contract);
    }
    return contract.failure_count;
}
