/* producer_ring.c: the ring between a control loop and the engine: mote_producer_push, and the consumer's side. See producer_private.h for its invariants.
 *
 * Order of memory. The producer writes a record, then publishes it by a release store of `pushed`; the consumer's acquire load of that sees the record. The consumer reads the records, then gives their places back by a release store of `consumed`;
 * the producer writes a place again only after an acquire load that saw it. No read-modify-write is needed: every counter has one writer.
 */
#include <string.h>

#include "engine/producer_private.h"

#define COPY_INLINE_BYTES_MAX 512u

static inline void count_one(_Atomic uint64_t *counter) { atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed); }

/* Apart from the usual way, which it keeps short. */
static __attribute__((noinline)) int push_full(struct mote_producer *producer)
{
    if (producer->policy == MOTE_PRODUCER_DROP) {
        count_one(&producer->dropped);
        return MOTE_DROPPED;
    }
    count_one(&producer->refused);
    return MOTE_EAGAIN;
}

/* As memcpy, in place: a control loop comes with cold caches, where the way into the C library costs more than the copy. The empty asm keeps the compiler from making it a call again. */
static inline __attribute__((always_inline)) void copy_record(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    if (bytes < 8 || bytes > COPY_INLINE_BYTES_MAX) {
        memcpy(to, from, bytes);
        return;
    }
    uint64_t word;
    for (uint32_t at = 0; at + 8 < bytes; at += 8) {
        memcpy(&word, from + at, 8);
        memcpy(to + at, &word, 8);
        __asm__ volatile("" : "+r"(at));
    }
    memcpy(&word, from + bytes - 8, 8); /* may overlap the one before */
    memcpy(to + bytes - 8, &word, 8);
}

__attribute__((aligned(64))) int mote_producer_push(mote_producer *producer, const void *record)
{
    if (!producer || !record)
        return MOTE_EINVAL;
    uint8_t *records = producer->records;
    if (!records)
        return MOTE_EFORK;
    int failure = atomic_load_explicit(&producer->failure, memory_order_relaxed);
    if (__builtin_expect(failure != 0, 0)) {
        count_one(&producer->refused);
        return failure;
    }
    uint64_t pushed = atomic_load_explicit(&producer->pushed, memory_order_relaxed);
    if (pushed - producer->consumed_seen >= producer->capacity) {
        producer->consumed_seen = atomic_load_explicit(&producer->consumed, memory_order_acquire);
        if (pushed - producer->consumed_seen >= producer->capacity)
            return push_full(producer);
    }
    uint64_t index = producer->push_index;
    copy_record(records + index * producer->record_bytes, record, producer->record_bytes);
    producer->push_index = index + 1 < producer->capacity ? index + 1 : 0;
    atomic_store_explicit(&producer->pushed, pushed + 1, memory_order_release);
    return MOTE_OK;
}

uint64_t producer_ring_peek(struct mote_producer *producer, const uint8_t **records)
{
    uint64_t used = producer_ring_used(producer);
    uint64_t to_end = producer->capacity - producer->consume_index;
    assert(used <= producer->capacity);
    *records = producer->records + producer->consume_index * producer->record_bytes;
    return used < to_end ? used : to_end;
}

void producer_ring_consume(struct mote_producer *producer, uint64_t count)
{
    uint64_t consumed = atomic_load_explicit(&producer->consumed, memory_order_relaxed);
    /* Just before places are given back the ring is as full as it gets. */
    uint64_t used = producer_ring_used(producer);
    if (used > atomic_load_explicit(&producer->used_max, memory_order_relaxed))
        atomic_store_explicit(&producer->used_max, used, memory_order_relaxed);
    assert(count <= producer->capacity - producer->consume_index);
    producer->consume_index += count;
    if (producer->consume_index == producer->capacity)
        producer->consume_index = 0;
    atomic_store_explicit(&producer->consumed, consumed + count, memory_order_release);
}
