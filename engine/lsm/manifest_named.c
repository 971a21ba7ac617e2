/* manifest_named.c: snapshots with names in the manifest: composing the records, applying them.
 *
 * Invariants: no two have one name; there are at most MANIFEST_NAMED_MAX; ids ascend. What a snapshot sees is kept by whoever drops row versions (lsm.h), not here.
 * Threads: the committing thread, under the manifest's mutex; an edit belongs to one thread. Failures: as manifest_stage_apply.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

#define NAMED_CATALOG_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_NAMED_RECORD_BYTES)

void manifest_edit_add_named(struct manifest_edit *edit, const struct manifest_named *named)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_NAMED, MANIFEST_NAMED_RECORD_BYTES);
    manifest_named_encode(named, &writer);
}

void manifest_edit_drop_named(struct manifest_edit *edit, uint64_t named_id)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_DROP_NAMED, 8);
    write_u64(&writer, named_id);
}

int manifest_apply_named(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_named named;
    if (!manifest_named_decode(reader, &named))
        return error_set(MOTE_EINVAL, "the record of snapshot %" PRIu64 " is malformed", named.id);
    if (!named.id || named.id >= state->next_section_id || named.seq > UINT64_MAX / 2)
        return error_set(MOTE_EINVAL, "snapshot id %" PRIu64 " or its seq was never given out", named.id);
    for (uint32_t i = 0; i < state->named_count; i++)
        if (state->named[i].id == named.id || !strcmp(state->named[i].name, named.name))
            return error_set(MOTE_EEXISTS, "a snapshot named %s exists already", named.name);
    if (state->named_count == MANIFEST_NAMED_MAX)
        return error_set(MOTE_EBUDGET, "%u snapshots have names, the maximum: drop one", MANIFEST_NAMED_MAX);
    uint32_t at = state->named_count++;
    for (; at > 0 && state->named[at - 1].id > named.id; at--)
        state->named[at] = state->named[at - 1];
    state->named[at] = named;
    stage->catalog_bytes += NAMED_CATALOG_BYTES;
    return MOTE_OK;
}

int manifest_apply_drop_named(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    uint64_t id = read_u64(reader);
    uint32_t at = 0;
    while (at < state->named_count && state->named[at].id != id)
        at++;
    if (at == state->named_count)
        return error_set(MOTE_ENOTFOUND, "the manifest has no snapshot of id %" PRIu64 "; it was dropped", id);
    state->named_count--;
    memmove(&state->named[at], &state->named[at + 1], (state->named_count - at) * sizeof state->named[0]);
    assert(stage->catalog_bytes >= NAMED_CATALOG_BYTES);
    stage->catalog_bytes -= NAMED_CATALOG_BYTES;
    return MOTE_OK;
}
