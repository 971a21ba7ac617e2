/* counters.c: what the log counts. Written by the committer with relaxed atomics, read by anyone at any time; a set of counters read while it works is not one moment's.
 *
 * Commit latency (sealed to durable) goes into a log-scaled histogram: 64 linear buckets for each power of two, the upper bound of the bucket is reported, so a quantile is never
 * understated and at most 1/64 too high. The largest is exact. */
#include "wal/wal_private.h"

static uint32_t bucket_of(uint64_t value)
{
    if (value < (UINT64_C(1) << WAL_HISTOGRAM_SHIFT))
        return (uint32_t)value;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(value);
    uint32_t shift = power - WAL_HISTOGRAM_SHIFT;
    uint32_t bucket = ((shift + 1) << WAL_HISTOGRAM_SHIFT) + (uint32_t)((value >> shift) - (UINT64_C(1) << WAL_HISTOGRAM_SHIFT));
    return bucket < WAL_HISTOGRAM_BUCKETS ? bucket : WAL_HISTOGRAM_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t bucket_limit(uint32_t bucket)
{
    if (bucket < (1u << WAL_HISTOGRAM_SHIFT))
        return bucket;
    uint32_t shift = (bucket >> WAL_HISTOGRAM_SHIFT) - 1;
    uint64_t mantissa = (UINT64_C(1) << WAL_HISTOGRAM_SHIFT) + (bucket & ((1u << WAL_HISTOGRAM_SHIFT) - 1));
    return ((mantissa + 1) << shift) - 1;
}

void wal_counters_commit(struct wal *wal, const struct wal_flight *flight, int64_t now_ns)
{
    uint64_t ns = now_ns > flight->sealed_ns ? (uint64_t)(now_ns - flight->sealed_ns) : 0;
    atomic_fetch_add_explicit(&wal->histogram[bucket_of(ns)], 1, memory_order_relaxed);
    if (ns > atomic_load_explicit(&wal->commit_ns_max, memory_order_relaxed))
        atomic_store_explicit(&wal->commit_ns_max, ns, memory_order_relaxed);
}

static uint64_t load_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Fills the three quantiles in one walk. */
static void read_quantiles(const struct wal *wal, struct wal_counters *counters)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < WAL_HISTOGRAM_BUCKETS; i++)
        total += load_counter(&wal->histogram[i]);
    const uint64_t ranks[] = {divide_up(total * 50, 100), divide_up(total * 99, 100), divide_up(total * 999, 1000)};
    uint64_t *const quantiles[] = {&counters->commit_ns_p50, &counters->commit_ns_p99, &counters->commit_ns_p999};
    uint64_t below = 0;
    unsigned next = 0;
    for (uint32_t i = 0; i < WAL_HISTOGRAM_BUCKETS && total > 0; i++) {
        below += load_counter(&wal->histogram[i]);
        while (next < 3 && below >= ranks[next])
            *quantiles[next++] = bucket_limit(i) < counters->commit_ns_max ? bucket_limit(i) : counters->commit_ns_max;
    }
}

void wal_get_counters(const struct wal *wal, struct wal_counters *counters)
{
    *counters = (struct wal_counters){.frames = load_counter(&wal->frames),
                                      .marks = load_counter(&wal->marks),
                                      .pads = load_counter(&wal->pads),
                                      .rows = load_counter(&wal->rows),
                                      .payload_bytes = load_counter(&wal->payload_bytes),
                                      .frame_bytes = load_counter(&wal->frame_bytes),
                                      .barriers = load_counter(&wal->barriers),
                                      .writer_stalls = load_counter(&wal->writer_stalls),
                                      .writer_stall_ns = load_counter(&wal->writer_stall_ns),
                                      .commit_ns_max = load_counter(&wal->commit_ns_max),
                                      .registered = wal->queue && blockdev_queue_registered(wal->queue)};
    if (wal->histogram)
        read_quantiles(wal, counters);
}
