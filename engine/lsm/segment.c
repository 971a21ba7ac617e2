/* segment.c: key bounds and places of segments (segment.h). Pure functions. */
#include "engine/lsm/segment.h"

#include <assert.h>

#include "blockdev/layout.h"

void segment_key_set(struct segment_key *bound, const uint8_t *key, uint32_t key_bytes)
{
    *bound = (struct segment_key){.truncated = key_bytes > SEGMENT_KEY_BYTES};
    bound->length = (uint8_t)(key_bytes < SEGMENT_KEY_BYTES ? key_bytes : SEGMENT_KEY_BYTES);
    memcpy(bound->bytes, key, bound->length);
}

/* Whether the key is above the bound; a truncated bound stands for all its extensions. */
static bool key_above(const uint8_t *key, uint32_t key_bytes, const struct segment_key *bound)
{
    uint32_t compared = bound->truncated && key_bytes > bound->length ? bound->length : key_bytes;
    return key_compare(key, compared, bound->bytes, bound->length) > 0;
}

bool segment_may_hold(const struct segment_record *record, const uint8_t *from, uint32_t from_bytes, const uint8_t *to, uint32_t to_bytes)
{
    if (from && key_above(from, from_bytes, &record->max_key))
        return false;
    if (!to)
        return true;
    /* `to` may be the prefix of a key: it then stands for all its extensions, so that only as much of the least key counts. */
    uint32_t compared = record->min_key.length < to_bytes ? record->min_key.length : to_bytes;
    return key_compare(record->min_key.bytes, compared, to, to_bytes) <= 0;
}

bool segment_may_hold_times(const struct segment_record *record, int64_t from_ns, int64_t to_ns) { return record->time_min <= to_ns && record->time_max >= from_ns; }

bool segment_overlap(const struct segment_record *a, const struct segment_record *b)
{
    return !key_above(a->min_key.bytes, a->min_key.length, &b->max_key) && !key_above(b->min_key.bytes, b->min_key.length, &a->max_key);
}

uint64_t segment_device_offset(const struct segment_record *record, const struct layout *layout, uint64_t offset_bytes, uint64_t length_bytes, uint64_t *contiguous_bytes)
{
    assert(record->extent_run_count <= SEGMENT_RUNS_MAX);
    uint64_t start = 0;
    for (uint32_t i = 0; i < record->extent_run_count; i++) {
        uint64_t run_bytes = record->runs[i].count * layout->extent_bytes;
        if (offset_bytes - start < run_bytes) {
            uint64_t left = run_bytes - (offset_bytes - start);
            *contiguous_bytes = left < length_bytes ? left : length_bytes;
            return layout_extent_offset(layout, record->runs[i].first) + (offset_bytes - start);
        }
        start += run_bytes;
    }
    *contiguous_bytes = 0; /* outside of the segment */
    return 0;
}

struct segment_index *segment_find_index(const struct segment *segment, uint64_t index_id)
{
    for (uint32_t i = 0; i < segment->index_count; i++)
        if (segment->indexes[i].index_id == index_id)
            return &segment->indexes[i];
    return NULL;
}
