/* send_check.c: what a send holds against its checksums before the first byte of it goes: segments, sections of indexes, and large values. For send.c.
 *
 * Of blob files the volume has no checksum as a whole: rows have those of their values. So before a file goes, the values of every segment that refers to it are read and checked, each segment's once, by the first of its files that is carried; values that lie in no
 * carried file are passed over. Blob files go before the segments: nothing that a row of the state refers to goes unchecked.
 *
 * Threads: the send's. Failures: MOTE_EDAMAGED (the stream stops, and is refused by its receiver as cut), MOTE_EIO, MOTE_EBUDGET after some patience.
 */
#include <unistd.h>

#include "engine/send_private.h"

#define BUDGET_PATIENCE_NS (10 * NS_PER_S)

/* Memory that a compaction or a flush has comes back. until_ns: 0 at first. */
static bool is_worth_waiting(int result, uint64_t *until_ns)
{
    uint64_t now = now_ns();
    if (*until_ns == 0)
        *until_ns = now + BUDGET_PATIENCE_NS;
    if (result != MOTE_EBUDGET || now >= *until_ns)
        return false;
    usleep(10000);
    return true;
}

static int check_schema(const struct sending *sending)
{
    if (sending->schema)
        return MOTE_OK;
    return error_set(MOTE_EINTERNAL, "segment %llu is of a table without a schema; please report it", (unsigned long long)sending->segment->record.id);
}

int send_check_segment(struct send *send, const struct sending *sending)
{
    if (send->options.no_verify != MOTE_NO_VERIFY_NONE)
        return MOTE_OK;
    uint64_t until_ns = 0;
    int result = check_schema(sending);
    if (result)
        return result;
    do
        result = sst_verify(&send->db->sst, send->queue, sending->segment, sending->schema, NULL, NULL);
    while (is_worth_waiting(result, &until_ns));
    return result;
}

int send_check_section(struct send *send, struct segment *segment, struct segment_index *index)
{
    struct manifest_index definition;
    bool found = false;
    for (uint32_t i = 0; !found && index_get(send->db, i, &definition); i++)
        found = definition.id == index->index_id;
    const struct row_index_ops *ops = found ? sst_index_ops(&send->db->sst, definition.kind) : NULL;
    if (send->options.no_verify != MOTE_NO_VERIFY_NONE || !ops)
        return MOTE_OK; /* dropped meanwhile: its receiver checks it */
    int result = sst_index_verify(&send->db->sst, send->queue, segment, &index->section, ops);
    if (result == MOTE_EDAMAGED || result == MOTE_EIO)
        atomic_store(&index->unusable, 1);
    return result;
}

/* ---- Large values ---- */

static int tell_value(void *context) { return send_tell(context); }

static bool refers_to(const struct segment *segment, const struct blob_file *file)
{
    for (uint32_t i = 0; i < segment->blob_count; i++)
        if (segment->blobs[i].file == file)
            return true;
    return false;
}

int send_check_file(struct send *send, const struct blob_copy *copy)
{
    int result = MOTE_OK;
    if (send->options.no_verify == MOTE_NO_VERIFY_ALL || !send_is_file_carried(send, copy))
        return MOTE_OK;
    for (uint32_t i = 0; i < send->begin.segment_count && !result; i++) {
        struct sending *sending = &send->segments[i];
        uint64_t until_ns = 0;
        assert(sending->segment);
        if (sending->values_checked || !refers_to(sending->segment, copy->file))
            continue;
        result = check_schema(sending);
        if (result)
            return result;
        do
            result = blobs_check_segment(send->db, send->queue, sending->segment, sending->schema, send_first_file(send), tell_value, send);
        while (is_worth_waiting(result, &until_ns));
        sending->values_checked = !result;
    }
    return result;
}
