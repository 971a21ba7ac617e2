/* section_tally.c: see section_tally.h. */
#include "blockdev/section_tally.h"

#include <assert.h>
#include <string.h>

#include "blockdev/base/bytes.h"

void section_tally_begin(struct section_tally *tally, uint64_t row_first, uint64_t row_end)
{
    assert(row_first <= row_end);
    memset(tally, 0, sizeof *tally);
    tally->row_first = row_first;
    tally->row_end = row_end;
    tally->bucket_rows = (row_end - row_first + SECTION_TALLY_BUCKETS - 1) / SECTION_TALLY_BUCKETS;
    tally->bucket_rows += tally->bucket_rows == 0;
}

uint32_t section_tally_compare(const struct section_tally *a, const struct section_tally *b)
{
    assert(a->row_first == b->row_first && a->row_end == b->row_end);
    uint32_t bucket = 0;
    while (bucket < SECTION_TALLY_BUCKETS && memcmp(&a->buckets[bucket], &b->buckets[bucket], sizeof a->buckets[bucket]) == 0)
        bucket++;
    return bucket;
}

void section_entry_add_bytes(struct section_entry *entry, const void *bytes, size_t byte_count)
{
    const uint8_t *at = bytes;
    uint64_t rest = 0;
    section_entry_add_number(entry, byte_count);
    for (; byte_count >= 8; at += 8, byte_count -= 8)
        section_entry_add_number(entry, load_u64(at));
    for (size_t i = 0; i < byte_count; i++)
        rest |= (uint64_t)at[i] << 8 * i;
    section_entry_add_number(entry, rest);
}

/* What a sum adds up must have no structure left. */
static uint64_t spread(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 33;
    hash *= 0xC4CEB9FE1A85EC53u;
    return hash ^ hash >> 33;
}

void section_tally_add(struct section_tally *tally, const struct section_entry *entry)
{
    if (!section_tally_wants(tally, entry->ordinal))
        return;
    struct section_tally_bucket *bucket = &tally->buckets[(entry->ordinal - tally->row_first) / tally->bucket_rows];
    bucket->count++;
    bucket->sums[0] += spread(entry->hashes[0]);
    bucket->sums[1] += spread(entry->hashes[1]);
}
