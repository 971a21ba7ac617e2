/* dump.h: what the printers of `mote dump` share: a volume opened for looking only, by the formats' own decoders,
 * without the engine: no recovery, no replay, nothing written. What is damaged is printed as far as it can be read.
 */
#ifndef MOTE_TOOLS_DUMP_H
#define MOTE_TOOLS_DUMP_H

#include "blockdev/base/memory.h"
#include "blockdev/blockdev.h"
#include "blockdev/cache.h"
#include "blockdev/extents.h"
#include "blockdev/superblock.h"
#include "engine/lsm/manifest.h"
#include "engine/lsm/sst.h"
#include "tools/tool.h"

struct dump {
    struct tool_common common;
    const char *path;
    uint64_t limit;    /* lines or frames, 0: no limit */
    uint64_t from_lsn; /* of dump wal */
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct memory *memory;
    struct superblock superblock;
    /* After dump_open_manifest: */
    struct cache *cache;
    struct extents *extents;
    struct manifest *manifest;
};

/* The manifest's state, on an open device. Returns 0 or an exit code. */
int dump_open_manifest(struct dump *dump);
int dump_superblock(struct dump *dump);
int dump_wal(struct dump *dump);
int dump_manifest(struct dump *dump);
/* segment_text NULL: a list of the segments. block: -1 for footer and index. */
int dump_sst(struct dump *dump, const char *segment_text, const char *block_text);

#endif
