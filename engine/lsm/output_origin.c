/* output_origin.c: from where the rows of a segment that a compaction writes came, for indexes whose sections are merged (lsm_private.h).
 *
 * Of each input that has rows in the present segment: the stretch of its ordinals from the first to the last such row, and for each of these the ordinal in the new segment. Inputs are read in order, and so are the outputs: the stretches of one
 * input in the segments of a job follow each other. Tombstones count as dropped, since no section knows them.
 * Memory: 4 bytes for each row of a stretch, while arrays grow twice that; a segment ends when stretches are long (full), and beyond twice as much, where very many rows in a row are dropped, they are given up (lost): its sections are then built
 * from rows, later. Threads: the job's.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#define ROWS_FIRST 1024u

int lsm_origins_create(struct memory *memory, struct segment *const *segments, uint32_t count, struct lsm_origins **out)
{
    struct lsm_origins *origins = memory_alloc_zero(memory, sizeof *origins + count * sizeof origins->inputs[0]);
    if (!origins)
        return MOTE_EBUDGET;
    origins->memory = memory;
    origins->rows_max = UINT64_MAX / 4;
    origins->input_count = count;
    for (uint32_t i = 0; i < count; i++)
        origins->inputs[i].segment = segments[i];
    *out = origins;
    return MOTE_OK;
}

void lsm_origins_begin(struct lsm_origins *origins)
{
    for (uint32_t i = 0; i < origins->input_count; i++) {
        struct lsm_origin *input = &origins->inputs[i];
        memory_free(origins->memory, input->new_ordinals);
        *input = (struct lsm_origin){.segment = input->segment};
    }
    origins->rows = 0;
    origins->lost = false;
}

void lsm_origins_destroy(struct lsm_origins *origins)
{
    if (!origins)
        return;
    lsm_origins_begin(origins);
    memory_free(origins->memory, origins);
}

bool lsm_origins_full(const struct lsm_origins *origins) { return origins->rows >= origins->rows_max; }

/* Room for so many entries; false: there is none. */
static bool grow(struct lsm_origins *origins, struct lsm_origin *input, uint64_t count)
{
    uint64_t capacity = input->capacity ? input->capacity : ROWS_FIRST;
    while (capacity < count)
        capacity *= 2;
    if (capacity == input->capacity)
        return true;
    struct mote_error kept;
    int code = error_get(&kept);
    uint32_t *grown = origins->rows + count - input->count > 2 * origins->rows_max || capacity > UINT32_MAX ? NULL : memory_realloc(origins->memory, input->new_ordinals, capacity * sizeof *grown);
    if (!grown && code)
        error_restore(&kept);
    if (!grown)
        return false;
    input->new_ordinals = grown;
    input->capacity = (uint32_t)capacity;
    return true;
}

void lsm_origins_note(struct lsm_origins *origins, uint64_t new_ordinal)
{
    struct lsm_origin *input = &origins->inputs[origins->input];
    uint32_t ordinal = origins->ordinal;
    if (origins->lost)
        return;
    assert(origins->input < origins->input_count && (input->count == 0 || ordinal >= input->first + input->count));
    if (input->count == 0)
        input->first = ordinal;
    uint32_t count = ordinal - input->first + 1;
    if (new_ordinal >= SECTION_ROW_DROPPED || !grow(origins, input, count)) {
        lsm_origins_begin(origins);
        origins->lost = true;
        return;
    }
    for (uint32_t i = input->count; i + 1 < count; i++)
        input->new_ordinals[i] = SECTION_ROW_DROPPED;
    input->new_ordinals[count - 1] = (uint32_t)new_ordinal;
    origins->rows += count - input->count;
    input->count = count;
}
