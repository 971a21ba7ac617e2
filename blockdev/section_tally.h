/* section_tally.h: whether an index section holds what the rows of its segment say that it must, told without keeping either: both sides put their entries, in any order, into a tally, and the tallies are compared.
 *
 * A tally counts entries by row, in buckets of rows that follow each other, and sums up two 64-bit hashes of each (ordinal, entry), so that no order changes it; an entry that is missing, there twice, or another is a difference of its row's
 * bucket. Where two tallies differ, one of that bucket's rows alone tells more: after at most four looks a single row is left. Two sides that differ agree in a tally by chance only, once in 2^128.
 * Memory: 24 KiB a tally, whatever there is to count. Threads: each tally is one thread's. No failures.
 */
#ifndef MOTE_BLOCKDEV_SECTION_TALLY_H
#define MOTE_BLOCKDEV_SECTION_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTION_TALLY_BUCKETS 1024u

struct section_tally_bucket {
    uint64_t count, sums[2];
};
struct section_tally {
    uint64_t row_first, row_end, bucket_rows; /* only these rows count */
    struct section_tally_bucket buckets[SECTION_TALLY_BUCKETS];
};

/* An entry on its way into a tally: its ordinal, then all that a search could be told of it. */
struct section_entry {
    uint32_t ordinal;
    uint64_t hashes[2];
};

void section_tally_begin(struct section_tally *tally, uint64_t row_first, uint64_t row_end);
/* The first bucket in which they differ; SECTION_TALLY_BUCKETS: they agree. Both begun alike. */
uint32_t section_tally_compare(const struct section_tally *a, const struct section_tally *b);

static inline void section_entry_add_number(struct section_entry *entry, uint64_t number)
{
    entry->hashes[0] = (entry->hashes[0] ^ number) * 0x9E3779B97F4A7C15u;
    entry->hashes[0] ^= entry->hashes[0] >> 32;
    entry->hashes[1] = (entry->hashes[1] ^ number) * 0xD6E8FEB86659FD93u;
    entry->hashes[1] ^= entry->hashes[1] >> 29;
}
/* Its length is part of it. */
void section_entry_add_bytes(struct section_entry *entry, const void *bytes, size_t byte_count);

static inline struct section_entry section_entry_of(uint32_t ordinal)
{
    struct section_entry entry = {ordinal, {0x243F6A8885A308D3u, 0x13198A2E03707344u}};
    section_entry_add_number(&entry, ordinal);
    return entry;
}
/* Whether entries of the row count: if not, it need not be made. */
static inline bool section_tally_wants(const struct section_tally *tally, uint32_t ordinal) { return ordinal >= tally->row_first && ordinal < tally->row_end; }
void section_tally_add(struct section_tally *tally, const struct section_entry *entry);

#endif
