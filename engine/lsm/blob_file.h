/* blob_file.h: a run of extents that holds values of large columns, one behind the other at multiples of 4 KiB (blob_format.h has their references).
 *
 * Invariants
 *   1. A blob file is in the manifest before a byte is written to it, so that an open knows all of them before it allocates anything.
 *   2. It is written from its beginning, once, by the handle that made it; nothing in it is ever written twice.
 *   3. A segment's record in the manifest names the blob files that its rows refer to, and how many bytes of each.
 *   4. The edit that drops it is made when nothing refers to it any more: no segment in any version that somebody holds (`segments`), no memtable generation (`generations`), no handle or write under way (`holds`). Its extents are free
 *      from then on, through the quarantine that all freed extents pass.
 *   5. References move in an order in which a look at holds, generations, segments, in this order and with holds stopped, misses none: a hold becomes a generation's before it is given up, a generation's a segment's before it is given
 *      up, and a reader turns what its view keeps into a hold while it has the view.
 * Threads: segments and generations are atomics; holds under the mutex of engine/blob.c.
 */
#ifndef MOTE_ENGINE_LSM_BLOB_FILE_H
#define MOTE_ENGINE_LSM_BLOB_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "blockdev/extents.h"

struct blob_file {
    uint64_t id;       /* from the counter of sections, never reused */
    uint64_t table_id; /* for whose rows it was made */
    struct extent_run run;
    _Atomic uint32_t segments;    /* struct segments that name it */
    _Atomic uint32_t generations; /* a bit for each generation of memtables */
    uint32_t holds;
    uint32_t used_pages; /* given out when somebody last looked, or when it was sealed; 0: not known. Under the mutex */
    bool stuck; /* a value in it is damaged: it is not moved */
};

/* How many bytes of a blob file the rows of one segment refer to. */
struct segment_blob {
    struct blob_file *file;
    uint64_t bytes;
};
/* The same for the manifest. */
struct blob_use {
    uint64_t segment_id, file_id, bytes;
};

#endif
