/* segment.h: a segment (an SSTable with the index sections built from the same rows) as the manifest records it, and the sets of segments that readers see.
 *
 * A segment lies in at most SEGMENT_RUNS_MAX runs of extents, thought of as one byte string of segment_bytes; sst_format.h says what is in it. The manifest's record repeats the footer's checksum.
 * Key bounds are kept as prefixes of SEGMENT_KEY_BYTES: min_key is a lower bound; max_key, if truncated, stands for itself and all its extensions.
 */
#ifndef MOTE_ENGINE_LSM_SEGMENT_H
#define MOTE_ENGINE_LSM_SEGMENT_H

#include <stdatomic.h>

#include "blockdev/extents.h"
#include "engine/lsm/blob_file.h"
#include "engine/lsm/schema.h"

#define SEGMENT_RUNS_MAX 8u
#define SEGMENT_KEY_BYTES 40u

struct segment_key {
    uint8_t bytes[SEGMENT_KEY_BYTES];
    uint8_t length;
    uint8_t truncated;
};

/* A rebuilt index section that lies in extents of its own; it replaces the one inside the segment. count 0: none. */
struct segment_section {
    struct extent_run run;
    uint64_t section_id, length_bytes, root_offset_bytes;
    uint32_t root_bytes, root_crc;
};

struct segment_record {
    uint64_t id; /* never reused */
    uint64_t table_id;
    uint32_t schema_version; /* newest of its rows; its blocks have the columns of this version */
    uint32_t level;          /* size class of the sorted run it belongs to; 0: from a flush */
    uint64_t run_id;         /* sorted run: segments of one run do not overlap */
    uint64_t row_count, delete_count; /* versions; of them tombstones */
    uint64_t seq_min, seq_max;
    int64_t time_min, time_max; /* min > max: no row has a time */
    uint64_t segment_bytes;
    uint64_t footer_offset_bytes;
    uint32_t footer_bytes, footer_crc;
    uint32_t block_count;
    uint32_t extent_run_count;
    struct extent_run runs[SEGMENT_RUNS_MAX];
    struct segment_key min_key, max_key;
    struct segment_section timestamp; /* rebuilt timestamp index */
};

/* One section of a declared index, for the manifest. */
struct index_section {
    uint64_t segment_id, index_id;
    struct segment_section section;
};

/* The same in a segment in use. */
struct segment_index {
    uint64_t index_id;
    struct segment_section section;
    _Atomic uint32_t unusable; /* 1: it failed a check; rebuild it */
    _Atomic uint32_t better;   /* of kinds that are built in steps: 0: nobody has looked; 1: there is no better section; 2: one is due */
};

/* A segment in use: immutable but for its counters; freed when no version holds it. */
struct segment {
    struct segment_record record;
    _Atomic uint32_t references;
    _Atomic uint32_t timestamp_unusable; /* 1: its timestamp section failed a check; rebuild it */
    bool dropped;                        /* removed by a durable edit: at the last release its extents go to quarantine (see version.h) */
    bool staged;                         /* of an edit under way: nobody else has seen it */
    struct segment *successor;           /* a copy with other sections, to which the extents belong then, but those of sections that it does not have; this one holds a reference on it */
    struct segment *next;                /* the manifest's */
    uint32_t blob_count;
    struct segment_blob *blobs;          /* what its rows refer to, ascending by file */
    uint32_t index_count;
    struct segment_index *indexes;       /* sections of declared indexes, each in extents of its own; an index without one here is answered from the rows */
};

/* The segment's section of that index, or NULL. */
struct segment_index *segment_find_index(const struct segment *segment, uint64_t index_id);

void segment_key_set(struct segment_key *bound, const uint8_t *key, uint32_t key_bytes);
/* Whether the key, or any key of [from, to] (NULL: open), may be in the segment's bounds. */
bool segment_may_hold(const struct segment_record *record, const uint8_t *from, uint32_t from_bytes, const uint8_t *to, uint32_t to_bytes);
/* Whether a row with a time in [from_ns, to_ns] may be in it; tombstones have a time only where the key holds it. */
bool segment_may_hold_times(const struct segment_record *record, int64_t from_ns, int64_t to_ns);
/* Whether the key ranges of two segments may overlap. */
bool segment_overlap(const struct segment_record *a, const struct segment_record *b);
/* Device offset of byte `offset_bytes` of the segment, and how many bytes follow it contiguously (at most length_bytes). */
struct layout;
uint64_t segment_device_offset(const struct segment_record *record, const struct layout *layout, uint64_t offset_bytes, uint64_t length_bytes, uint64_t *contiguous_bytes);

#endif
