/* timestamp.c: collecting the rows of a timestamp index (index.h): (time, ordinal) pairs in chunks, each sorted when it is full.
 *
 * Invariants: ordinals come in ascending order, so that a stable sort by time within a chunk and a merge that prefers the earlier chunk give
 * (time, ordinal) order. A chunk that came in ascending order of time is never sorted. Memory grows with the rows.
 * Threads: one. Failures: MOTE_EBUDGET, MOTE_EINVAL (a row too many, or out of order); the builder then stays as it was.
 */
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "index/timestamp_private.h"

int timestamp_builder_create(struct memory *memory, uint64_t rows_max, struct ordinal_index **builder)
{
    *builder = NULL;
    if (rows_max > UINT32_MAX)
        return error_set(MOTE_EINVAL, "a timestamp index holds at most %u rows, not %llu; build smaller segments", UINT32_MAX, (unsigned long long)rows_max);
    struct ordinal_index *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->rows_max = rows_max;
    *builder = made;
    return MOTE_OK;
}

int timestamp_chunk_alloc(struct memory *memory, uint32_t capacity, struct timestamp_chunk *chunk)
{
    *chunk = (struct timestamp_chunk){0};
    chunk->times_ns = memory_alloc(memory, (size_t)capacity * (sizeof(int64_t) + sizeof(uint32_t)));
    if (!chunk->times_ns)
        return MOTE_EBUDGET;
    chunk->ordinals = (uint32_t *)(void *)(chunk->times_ns + capacity);
    chunk->sorted = true;
    return MOTE_OK;
}

void timestamp_chunk_free(struct memory *memory, struct timestamp_chunk *chunk)
{
    memory_free(memory, chunk->times_ns);
    *chunk = (struct timestamp_chunk){0};
}

static int add_chunk(struct ordinal_index *builder)
{
    if (builder->chunk_count > 0) {
        struct timestamp_chunk *full = &builder->chunks[builder->chunk_count - 1];
        int result = full->sorted ? MOTE_OK : timestamp_sort_chunk(builder, full);
        if (result)
            return result;
    }
    if (builder->chunk_count == builder->chunk_capacity) {
        uint32_t capacity = builder->chunk_capacity ? builder->chunk_capacity * 2 : 16;
        struct timestamp_chunk *grown = memory_realloc(builder->memory, builder->chunks, capacity * sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        builder->chunks = grown;
        builder->chunk_capacity = capacity;
    }
    uint64_t left = builder->rows_max - builder->count;
    uint32_t capacity = left < TIMESTAMP_CHUNK_ENTRIES ? (uint32_t)left : TIMESTAMP_CHUNK_ENTRIES;
    int result = timestamp_chunk_alloc(builder->memory, capacity, &builder->chunks[builder->chunk_count]);
    if (result)
        return result;
    builder->chunk_count++;
    builder->last_time_ns = INT64_MIN;
    return MOTE_OK;
}

int timestamp_builder_add(struct ordinal_index *builder, uint32_t ordinal, int64_t time_ns)
{
    if (builder->count >= builder->rows_max || ordinal < builder->next_ordinal)
        return error_set(MOTE_EINVAL, "row %u does not fit a timestamp index of at most %llu rows that expects row %llu or later", ordinal, (unsigned long long)builder->rows_max,
                         (unsigned long long)builder->next_ordinal);
    if (builder->count % TIMESTAMP_CHUNK_ENTRIES == 0) {
        int result = add_chunk(builder);
        if (result)
            return result;
    }
    struct timestamp_chunk *chunk = &builder->chunks[builder->chunk_count - 1];
    chunk->sorted = chunk->sorted && time_ns >= builder->last_time_ns;
    chunk->times_ns[chunk->count] = time_ns;
    chunk->ordinals[chunk->count] = ordinal;
    chunk->count++;
    builder->last_time_ns = time_ns;
    builder->next_ordinal = (uint64_t)ordinal + 1;
    builder->count++;
    return MOTE_OK;
}

void timestamp_builder_destroy(struct ordinal_index *builder)
{
    if (!builder)
        return;
    for (uint32_t i = 0; i < builder->chunk_count; i++)
        timestamp_chunk_free(builder->memory, &builder->chunks[i]);
    timestamp_chunk_free(builder->memory, &builder->spare);
    memory_free(builder->memory, builder->chunks);
    memory_free(builder->memory, builder);
}

uint64_t timestamp_bytes_bound(uint64_t rows)
{
    struct codec_vector times = {.type = MOTE_TYPE_TIMESTAMP, .dimension = 1, .count = TIMESTAMP_LEAF_ENTRIES};
    struct codec_vector ordinals = {.type = MOTE_TYPE_INT32, .dimension = 1, .count = TIMESTAMP_LEAF_ENTRIES};
    uint64_t leaf_bytes = TIMESTAMP_LEAF_HEADER_BYTES + codec_encode_bound(&times) + 8 + codec_encode_bound(&ordinals) + 64;
    uint64_t leaves = divide_up(rows, TIMESTAMP_LEAF_ENTRIES), pages = divide_up(leaves, TIMESTAMP_FANOUT);
    return leaves * (leaf_bytes + TIMESTAMP_ENTRY_BYTES) + pages * (TIMESTAMP_DIRECTORY_HEADER_BYTES + 64 + TIMESTAMP_ENTRY_BYTES) + TIMESTAMP_ROOT_HEADER_BYTES + 64;
}

const struct ordinal_index_ops timestamp_index_ops = {
    .kind = INDEX_TIMESTAMP,
    .bytes_bound = timestamp_bytes_bound,
    .create = timestamp_builder_create,
    .add = timestamp_builder_add,
    .finish = timestamp_builder_finish,
    .destroy = timestamp_builder_destroy,
    .search = timestamp_search,
    .count = timestamp_count,
    .verify = timestamp_verify,
};
