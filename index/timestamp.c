/* timestamp.c: collecting the rows of a timestamp index (index.h): (time, ordinal) pairs in chunks, with a note of where a run of ascending times begins.
 *
 * Invariants: ordinals come in ascending order, so that a merge that prefers the earlier run gives (time, ordinal) order. Only a chunk of very many runs is sorted, stably, when it is full. Memory grows with the rows.
 * Threads: one. Failures: MOTE_EINVAL (rows too many, or out of order): the builder stays as it was; MOTE_EBUDGET: some of the rows may be in.
 */
#include <assert.h>

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
        int result = timestamp_chunk_needs_sorting(full) ? timestamp_sort_chunk(builder, full) : MOTE_OK;
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
    return MOTE_OK;
}

/* Notes where the times that were put behind the chunk's rows descend. */
static void note_runs(struct timestamp_chunk *chunk, int64_t last_time_ns, uint32_t count)
{
    uint32_t first = chunk->count;
    for (uint32_t i = first; i < first + count; i++) {
        int64_t time_ns = chunk->times_ns[i];
        if (time_ns < last_time_ns || i == 0) {
            if (chunk->run_count < TIMESTAMP_CHUNK_RUNS_MAX)
                chunk->run_starts[chunk->run_count] = i;
            else if (chunk->run_count > TIMESTAMP_CHUNK_RUNS_MAX)
                return;
            chunk->run_count++;
        }
        last_time_ns = time_ns;
    }
}

int timestamp_builder_add_many(struct ordinal_index *builder, uint32_t first_ordinal, const int64_t *times_ns, uint32_t count)
{
    if (count > builder->rows_max - builder->count || first_ordinal < builder->next_ordinal || count > (uint64_t)UINT32_MAX + 1 - first_ordinal)
        return error_set(MOTE_EINVAL, "%u rows from %u on do not fit a timestamp index of at most %llu rows that expects row %llu or later", count, first_ordinal, (unsigned long long)builder->rows_max,
                         (unsigned long long)builder->next_ordinal);
    while (count > 0) {
        uint32_t filled = (uint32_t)(builder->count % TIMESTAMP_CHUNK_ENTRIES), room = TIMESTAMP_CHUNK_ENTRIES - filled, taken = count < room ? count : room;
        int result = filled == 0 ? add_chunk(builder) : MOTE_OK;
        if (result)
            return result;
        struct timestamp_chunk *chunk = &builder->chunks[builder->chunk_count - 1];
        assert(chunk->count == filled);
        memcpy(chunk->times_ns + filled, times_ns, taken * sizeof *times_ns);
        for (uint32_t i = 0; i < taken; i++)
            chunk->ordinals[filled + i] = first_ordinal + i;
        note_runs(chunk, builder->last_time_ns, taken);
        chunk->count += taken;
        builder->last_time_ns = times_ns[taken - 1];
        builder->next_ordinal = (uint64_t)first_ordinal + taken;
        builder->count += taken;
        first_ordinal += taken;
        times_ns += taken;
        count -= taken;
    }
    return MOTE_OK;
}

int timestamp_builder_add(struct ordinal_index *builder, uint32_t ordinal, int64_t time_ns) { return timestamp_builder_add_many(builder, ordinal, &time_ns, 1); }

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
    .add_many = timestamp_builder_add_many,
    .finish = timestamp_builder_finish,
    .destroy = timestamp_builder_destroy,
    .search = timestamp_search,
    .count = timestamp_count,
    .verify = timestamp_verify,
};
