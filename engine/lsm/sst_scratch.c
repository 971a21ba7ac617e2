/* sst_scratch.c: the codecs' scratch, about a MiB for each decoding under way. There may be hundreds of iterators and only as many decodings as threads, so that the iterators share it: a few idle pieces wait in the context.
 *
 * Invariants: a piece is in one slot or in one thread's hands. Before the payload lies its size. Idle pieces go back to the heap with the last iterator, so that a context needs no end of its own.
 * Threads: any, without locks. Failures: MOTE_EBUDGET.
 */
#include "engine/lsm/sst_reader_private.h"

enum { SCRATCH_HEAD_BYTES = 16, SCRATCH_STEP_BYTES = 64 * 1024 };

void *sst_scratch_take(struct sst_context *context, size_t size_bytes)
{
    for (uint32_t i = 0; i < SST_SCRATCH_IDLE; i++) {
        uint8_t *piece = atomic_load_explicit(&context->idle_scratch[i], memory_order_relaxed) ? atomic_exchange(&context->idle_scratch[i], NULL) : NULL;
        if (piece && load_u64(piece) >= size_bytes)
            return piece + SCRATCH_HEAD_BYTES;
        memory_free(context->memory, piece); /* too small: a larger one takes its place */
    }
    size_t rounded = round_up(size_bytes, SCRATCH_STEP_BYTES);
    uint8_t *piece = memory_alloc(context->memory, rounded + SCRATCH_HEAD_BYTES);
    if (!piece)
        return NULL;
    store_u64(piece, rounded);
    return piece + SCRATCH_HEAD_BYTES;
}

void sst_scratch_give(struct sst_context *context, void *scratch)
{
    uint8_t *piece = (uint8_t *)scratch - SCRATCH_HEAD_BYTES;
    for (uint32_t i = 0; i < SST_SCRATCH_IDLE; i++) {
        void *empty = NULL;
        if (atomic_compare_exchange_strong(&context->idle_scratch[i], &empty, piece))
            return;
    }
    memory_free(context->memory, piece);
}

void sst_scratch_drain(struct sst_context *context)
{
    for (uint32_t i = 0; i < SST_SCRATCH_IDLE; i++)
        memory_free(context->memory, atomic_exchange(&context->idle_scratch[i], NULL));
}
