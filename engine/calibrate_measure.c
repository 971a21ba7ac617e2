/* calibrate_measure.c: durable writes, bulk writes and reads in the scratch space of a calibration, timed. See calibrate_private.h.
 *
 * An operation is one request, or as many as it takes where it is larger than a request may be. FUA, bulk and read cases keep `depth` operations in flight; a FLUSH case writes `depth` operations, waits for them and flushes (at depth 1 the FLUSH is linked
 * behind the write), as the log's committer does. Failures: MOTE_EIO and what else the device says; nothing is in flight on return. */
#include <string.h>

#include "engine/calibrate_private.h"

static void gather(struct measure_case *one, uint64_t latency_ns)
{
    unsigned power = latency_ns ? 63u - (unsigned)__builtin_clzll(latency_ns) : 0;
    unsigned step = power >= 5 ? (unsigned)(latency_ns >> (power - 5)) & (MEASURE_STEPS - 1) : 0;
    one->classes[power * MEASURE_STEPS + step]++;
    one->figures.operations++;
    if (latency_ns > one->figures.ns_max)
        one->figures.ns_max = latency_ns;
}

static uint64_t percentile(const struct measure_case *one, double part)
{
    uint64_t wanted = (uint64_t)((double)one->figures.operations * part), seen = 0;
    for (unsigned i = 0; i < 64 * MEASURE_STEPS; i++) {
        seen += one->classes[i];
        if (seen > wanted) {
            uint64_t base = 1ull << (i / MEASURE_STEPS);
            uint64_t value = base + base / MEASURE_STEPS * (i % MEASURE_STEPS);
            return value < one->figures.ns_max ? value : one->figures.ns_max;
        }
    }
    return one->figures.ns_max;
}

void measure_conclude(struct measure_case *one)
{
    one->figures.ns_p50 = percentile(one, 0.5);
    one->figures.ns_p99 = percentile(one, 0.99);
    one->figures.operations_per_s = one->duration_ns ? (double)one->figures.operations * 1e9 / (double)one->duration_ns : 0;
}

/* ---- Requests ---- */

struct loop {
    struct measure *measure;
    struct measure_case *one;
    uint64_t begin_ns, until_ns, left;
    uint32_t inflight;
    int result;
};

/* A place for the operation: sequential for writes, random for reads. */
static uint64_t choose_place(struct measure *measure, const struct mote_calibration_case *figures)
{
    uint64_t bytes = figures->request_bytes;
    if (figures->kind == MOTE_CALIBRATION_READ) {
        measure->random ^= measure->random << 13;
        measure->random ^= measure->random >> 7;
        measure->random ^= measure->random << 17;
        return measure->random % (measure->length_bytes / bytes) * bytes;
    }
    if (measure->next_bytes + bytes > measure->length_bytes)
        measure->next_bytes = 0;
    uint64_t at = measure->next_bytes;
    measure->next_bytes += bytes;
    return at;
}

static void submit(struct loop *loop, struct blockdev_request *const *requests, unsigned count)
{
    int taken = blockdev_submit(loop->measure->queue, requests, count);
    if (taken != (int)count)
        loop->result = taken < 0 ? taken : error_set(MOTE_EINTERNAL, "the queue took %d of %u requests", taken, count);
    loop->inflight += taken > 0 ? (unsigned)taken : 0;
}

/* Fills in the operation's next request. */
static void prepare(struct loop *loop, struct measure_operation *operation)
{
    struct measure *measure = loop->measure;
    const struct mote_calibration_case *figures = &loop->one->figures;
    uint32_t most = blockdev_geometry(measure->db->device)->request_bytes_max, left = figures->request_bytes - operation->done_bytes;
    uint32_t index = (uint32_t)(operation - loop->measure->operations), bytes = left < most ? left : most;
    bool read = figures->kind == MOTE_CALIBRATION_READ;
    uint64_t from = (uint64_t)index * bytes % (MEASURE_BUFFER_BYTES / 2);
    from = from + bytes <= MEASURE_BUFFER_BYTES / 2 ? from : 0;
    uint64_t place = operation->at_bytes + operation->done_bytes;
    assert(place + bytes <= measure->length_bytes);
    operation->request = (struct blockdev_request){
        .op = read ? BLOCKDEV_READ : BLOCKDEV_WRITE,
        .flags = figures->kind == MOTE_CALIBRATION_FUA ? BLOCKDEV_FUA : 0,
        .length_bytes = bytes,
        .offset_bytes = measure->offset_bytes + place,
        .buffer = measure->buffer + from + (read ? MEASURE_BUFFER_BYTES / 2 : 0),
        .user = operation,
    };
    measure->written_bytes += read ? 0 : bytes;
}

static void begin_operation(struct loop *loop, struct measure_operation *operation)
{
    operation->done_bytes = 0;
    operation->at_bytes = choose_place(loop->measure, &loop->one->figures);
    operation->begin_ns = now_ns();
    prepare(loop, operation);
}

static int fail(struct loop *loop, const struct blockdev_request *request)
{
    error_set_errno(request->result, request->system_errno, "the device failed a request of the calibration: %s", mote_error_name(request->result));
    error_add_device(blockdev_path(loop->measure->db->device), request->offset_bytes, request->length_bytes);
    return request->result;
}

/* Waits for at least one completion. Returns how many there are in done[]. */
static unsigned reap(struct loop *loop, struct blockdev_request **done)
{
    int count = blockdev_reap(loop->measure->queue, 1, -1, done, MEASURE_DEPTH_MAX);
    if (count < 0) {
        loop->result = count;
        loop->inflight = 0; /* the queue gives nothing any more; destroying it waits for what is in flight */
        return 0;
    }
    loop->inflight -= (unsigned)count;
    for (int i = 0; i < count; i++) {
        if (done[i]->result && !loop->result)
            loop->result = fail(loop, done[i]);
    }
    return (unsigned)count;
}

/* ---- Loops ---- */

static bool goes_on(const struct loop *loop) { return !loop->result && loop->left > 0 && now_ns() < loop->until_ns; }

static void complete(struct loop *loop, struct measure_operation *operation)
{
    struct blockdev_request *request = &operation->request;
    operation->done_bytes += operation->request.length_bytes;
    if (loop->result)
        return;
    if (operation->done_bytes < loop->one->figures.request_bytes) {
        prepare(loop, operation);
        submit(loop, &request, 1);
        return;
    }
    gather(loop->one, now_ns() - operation->begin_ns);
    if (!goes_on(loop))
        return;
    loop->left--;
    begin_operation(loop, operation);
    submit(loop, &request, 1);
}

static void run_pipelined(struct loop *loop)
{
    struct blockdev_request *done[MEASURE_DEPTH_MAX];
    for (uint32_t i = 0; i < loop->one->figures.depth && (i == 0 || goes_on(loop)); i++) {
        struct blockdev_request *request = &loop->measure->operations[i].request;
        loop->left--;
        begin_operation(loop, &loop->measure->operations[i]);
        submit(loop, &request, 1);
    }
    while (loop->inflight > 0) {
        unsigned count = reap(loop, done);
        for (unsigned i = 0; i < count; i++)
            complete(loop, done[i]->user);
    }
}

/* One round: `depth` writes and the FLUSH that covers them. */
static void run_flush_round(struct loop *loop, uint32_t depth)
{
    struct blockdev_request *requests[MEASURE_DEPTH_MAX + 1], *done[MEASURE_DEPTH_MAX], *flush = &loop->measure->flush;
    uint64_t begin_ns = now_ns();
    for (uint32_t i = 0; i < depth; i++) {
        begin_operation(loop, &loop->measure->operations[i]);
        requests[i] = &loop->measure->operations[i].request;
    }
    *flush = (struct blockdev_request){.op = BLOCKDEV_FLUSH};
    requests[depth] = flush;
    if (depth == 1)
        requests[0]->flags |= BLOCKDEV_LINK;
    submit(loop, requests, depth == 1 ? 2 : depth);
    while (loop->inflight > 0)
        reap(loop, done);
    if (depth > 1 && !loop->result) {
        submit(loop, &flush, 1);
        while (loop->inflight > 0)
            reap(loop, done);
    }
    uint64_t latency_ns = now_ns() - begin_ns;
    for (uint32_t i = 0; i < depth && !loop->result; i++)
        gather(loop->one, latency_ns);
}

int measure_slice(struct measure *measure, struct measure_case *one, uint64_t slice_ns, uint64_t operations_max)
{
    struct loop loop = {.measure = measure, .one = one, .begin_ns = now_ns(), .left = operations_max};
    uint32_t depth = one->figures.depth;
    assert(operations_max > 0 && depth > 0 && depth <= MEASURE_DEPTH_MAX && one->figures.request_bytes <= measure->length_bytes);
    loop.until_ns = loop.begin_ns + slice_ns;
    if (one->figures.kind == MOTE_CALIBRATION_FLUSH) {
        do {
            run_flush_round(&loop, depth);
            loop.left -= loop.left < depth ? loop.left : depth;
        } while (goes_on(&loop));
    } else {
        run_pipelined(&loop);
    }
    if (one->figures.kind == MOTE_CALIBRATION_BULK && !loop.result)
        loop.result = blockdev_flush(measure->queue);
    one->duration_ns += now_ns() - loop.begin_ns;
    return loop.result;
}

int measure_fill(struct measure *measure, uint64_t limit_ns, uint64_t bytes_min)
{
    uint64_t begin_ns = now_ns(), done_bytes = 0;
    int result = MOTE_OK;
    while (!result && done_bytes < measure->length_bytes && (done_bytes < bytes_min || now_ns() - begin_ns < limit_ns)) {
        uint64_t bytes = measure->length_bytes - done_bytes < MEASURE_BUFFER_BYTES / 2 ? measure->length_bytes - done_bytes : MEASURE_BUFFER_BYTES / 2;
        result = blockdev_write_range(measure->queue, BLOCKDEV_SOURCE_OTHER, measure->offset_bytes + done_bytes, measure->buffer, bytes);
        done_bytes += bytes;
    }
    measure->written_bytes += done_bytes;
    measure->length_bytes = done_bytes;
    return result ? result : blockdev_flush(measure->queue);
}
