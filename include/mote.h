/* mote.h: the whole public C API of mote, an embedded storage engine that owns a raw block device.
 *
 * SPDX-License-Identifier: MIT
 *
 * The life of a program that uses mote:
 *
 *     mote_format("/dev/nvme0n1p3", NULL, NULL);            once, by an operator (or `mkfs.mote`)
 *     mote_open("/dev/nvme0n1p3", NULL, &db, NULL);         replays the log if the last owner died
 *     mote_table_create(db, &schema, &table);               or mote_table_open(db, "arm", &table)
 *     mote_append_columns(table, &batch, NULL, &ticket);    readable now, durable when the ticket says so
 *     mote_wait(db, ticket, MOTE_FOREVER);
 *     mote_scan(table, &options, &cursor); while (!mote_cursor_next(cursor, &chunk) && chunk.row_count) ...
 *     mote_close(db);                                       checkpoint and clean flag
 *
 * In this file
 *   Errors            what a call returns, and where to read why
 *   Types             column types, values, batches of columns, limits
 *   Format            making a device or an image file a volume
 *   Open, close       the options of a handle: memory, durability, threads
 *   Tables            schemas: create, find, list, drop, add a column
 *   Writing           append, insert, delete; tickets, and waiting until they are durable
 *   Producers         rows from a control loop, without lock, allocation or system call
 *   Reading           get by key, scan by key and time, the newest row of each series
 *   Aggregates        count, min, max, sum, mean, first, last by series and bucket of time
 *   Indexes           by value, place, vector and words
 *   Searching         any conditions together
 *   Snapshots         what was visible at one moment, for as long as you like
 *   Large values      camera frames and the like, whole or piece by piece
 *   Write batches     rows of several tables as one
 *   Transactions      snapshot isolation
 *   Retention         how long rows are kept: age, bytes, flight recorder, pins
 *   Maintenance       flush, checkpoint, compact, statistics, verify
 *   Trims and wear    the device's view: free space, and how much it has worn
 *   Backup            send, receive, clone
 *   Resize            another size of device, closed or open
 *   Calibration       which barrier the device does faster
 *
 * Conventions: they hold for every call, and comments do not repeat them.
 *   Result      0 (MOTE_OK) or one of the negative MOTE_E codes, one cause each. mote_last_error() tells the calling
 *               thread the sentence, the device, the place on it and the table. A failed call changed nothing, unless its
 *               comment says otherwise. Results that are a number (a seq, a count) are 0 where the handle is NULL or another
 *               process's.
 *   Errors      A comment lists what is particular to its call. Besides, any call may return MOTE_EINVAL (a pointer that is
 *               NULL, a size_bytes that is not set, an option out of its range), MOTE_EFORK and MOTE_EBUDGET; any call on a
 *               table MOTE_ENOTABLE, once it was dropped; what reads the device MOTE_EIO and MOTE_EDAMAGED; what writes
 *               MOTE_EIO, MOTE_EREADONLY, MOTE_EPOISONED and MOTE_ENOSPC.
 *   Strings     UTF-8, ended by NUL, copied by the call.
 *   Structs     Options, and structs that a call fills, begin with size_bytes = sizeof(struct ...): set it (or use the
 *               MOTE_..._INIT initialiser), so that a program built against an older header runs on a newer library. In
 *               options zero means "the default"; NULL in place of options means all defaults where they say nothing that
 *               must be said (not for schemas, indexes, retentions, aggregates and searches). reserved members are 0.
 *               struct mote_layout, mote_transfer and mote_resize_result are filled whole, whatever they held.
 *   Ownership   Handles are opaque; whoever got one gives it back with the matching close, free or release, which takes NULL
 *               too (a mote_table is its database's). Data that a call returns by pointer belongs to the handle that returned
 *               it and lives until the next call on that handle. What a call is given is the caller's again when it returns.
 *   Threads     A mote_db, a mote_table and a mote_snapshot may be used by any number of threads at once. Every other handle
 *               (cursor, row, aggregation, hits, write batch, transaction, blob writer and reader) belongs to one thread at a
 *               time; a producer's comment says which of its calls do. Calls that take a path open the device themselves: it
 *               must not be open elsewhere (an image file may be open read-only several times).
 *   Blocking    Calls may wait for the device and for locks, unless their comment says wait-free.
 *   Memory      Everything comes from the one budget given at open. A call that would exceed it fails with MOTE_EBUDGET.
 *   fork        A handle is unusable in the child of a fork: each call returns MOTE_EFORK.
 *   Durable     Survives a power cut. Only a completed barrier of the device makes a row durable; no call claims it before.
 *   seq, lsn    Every change of a row has a seq, plus one for each, never reused: it orders rows, and a ticket is one. An lsn
 *               is a position in the log. Both begin at format and never restart.
 *
 * Units: every quantity says its unit in its name (_bytes, _ns, _us, _ms, _count). Times are int64 nanoseconds since
 * 1970-01-01T00:00:00Z (or since whatever origin the application chose: mote orders nothing by a wall clock).
 */
#ifndef MOTE_H
#define MOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
template <typename Struct> inline Struct mote_init() /* of MOTE_INIT below */
{
    Struct made = Struct();
    made.size_bytes = sizeof made;
    return made;
}
extern "C" {
#endif

#if defined(__GNUC__)
#define MOTE_API __attribute__((visibility("default")))
#else
#define MOTE_API
#endif

/* Zeros but for size_bytes: what the MOTE_..._INIT initialisers below are. */
#ifdef __cplusplus
#define MOTE_INIT(type) mote_init<type>()
#else
#define MOTE_INIT(type) {.size_bytes = sizeof(type)}
#endif

#define MOTE_VERSION_MAJOR 0
#define MOTE_VERSION_MINOR 1
#define MOTE_VERSION_PATCH 0

/* The version of the library that is linked, for example "0.1.0". Never fails; static storage. */
MOTE_API const char *mote_version(void);

/* ---- Errors ---------------------------------------------------------------------------------------------------------- */

enum mote_result {
    MOTE_OK = 0,
    /* The caller's doing: refused before anything was written. */
    MOTE_EINVAL = -1,    /* an argument or an option is out of its range */
    MOTE_ESCHEMA = -2,   /* a row does not fit its table: wrong type, wrong count, NULL in a NOT NULL column */
    MOTE_ETOOBIG = -3,   /* a row, a value, a batch or a name exceeds its stated limit */
    MOTE_EEXISTS = -4,   /* a table, a column, (mote_insert) a key, or a value of a unique index exists already */
    MOTE_ENOTFOUND = -5, /* no row has this key; no index, snapshot, pin or base has this name */
    MOTE_ENOTABLE = -6,  /* no table has this name, or it was dropped */
    MOTE_ENOCOLUMN = -7, /* no column has this name */
    MOTE_EREADONLY = -8, /* the handle was opened read-only, or the table is append-only and the call would delete */
    MOTE_EFORK = -9,     /* the handle was opened by another process */
    MOTE_EBUDGET = -10,  /* the memory budget or a stated maximum (tables, cursors, producers, ...) is used up */
    MOTE_ENOSPC = -11,   /* the device has no room for this; what was acknowledged is safe */
    MOTE_ETIMEOUT = -12, /* the time limit given to the call passed; the work goes on */
    MOTE_ENOTSUP = -13,  /* this device, kernel or build cannot do that */
    MOTE_EAGAIN = -14,   /* a producer's ring is full and its policy refuses: push the record again later */
    MOTE_ERANGE = -15,   /* an aggregate's result does not fit its type */
    MOTE_ECONFLICT = -16, /* another write changed a row that the transaction writes, after its snapshot; nothing was written:
                             begin again */
    MOTE_ERECYCLED = -17, /* rows that a cursor had still to show were dropped by their table's retention since it was opened */
    /* The device's state: it cannot be used as asked. */
    MOTE_EBUSY = -20,    /* the device is mounted, or another process has it */
    MOTE_EFOREIGN = -21, /* the device holds something that is not mote's, or not this volume's */
    MOTE_EVERSION = -22, /* written by a newer mote: a feature that this one does not know */
    MOTE_ENODEV = -23,   /* the device does not exist, went away, or is too small */
    MOTE_EACCESS = -24,  /* permission denied by the operating system */
    MOTE_ESHRUNK = -25,  /* the device is smaller than its superblock says */
    MOTE_ERESTORING = -26, /* a receive into the volume is not complete: there is nothing to open yet */
    /* Faults. */
    MOTE_EIO = -30,        /* the device failed a read, a write or a barrier */
    MOTE_EDAMAGED = -31,   /* data on the device fails its checksum; the range is in the error's context */
    MOTE_ELOST = -32,      /* acknowledged data is missing from the log: see mote_options.on_damage */
    MOTE_EPOISONED = -33,  /* an earlier write or barrier failed: the handle is read-only until it is reopened */
    MOTE_ENOMEM = -34,     /* the operating system refused memory */
    MOTE_EINTERNAL = -35,  /* an invariant does not hold; please report it */
};

/* What went wrong. Fields that do not apply are 0 or empty (lsn: UINT64_MAX). */
struct mote_error {
    int32_t code;            /* MOTE_E... */
    int32_t system_errno;    /* errno of the operating system, or 0 */
    uint64_t offset_bytes;   /* byte offset on the device */
    uint64_t length_bytes;   /* length of the range concerned */
    uint64_t lsn;            /* log position concerned, or UINT64_MAX */
    uint64_t line;           /* line of an input, counted from 1 */
    char device[128];        /* path of the device */
    char table[64];          /* name of the table */
    char message[384];       /* one sentence: what, where, what to do */
};

/* Copies the calling thread's newest error to *error and returns its code (MOTE_OK if there was none). Each failing call
 * replaces it; a call that succeeds leaves it alone. Thread-local; does not block, allocate or enter the kernel. */
MOTE_API int mote_last_error(struct mote_error *error);

/* The name of a code, for example "MOTE_ENOSPC"; "MOTE_E?" for an unknown one. Static storage. */
MOTE_API const char *mote_error_name(int code);

/* ---- Types, values, columns ------------------------------------------------------------------------------------------ */

enum mote_type {
    MOTE_TYPE_INT64 = 1,
    MOTE_TYPE_INT32 = 2,
    MOTE_TYPE_FLOAT64 = 3,
    MOTE_TYPE_FLOAT32 = 4,
    MOTE_TYPE_BOOL = 5,        /* one byte, 0 or 1 */
    MOTE_TYPE_TIMESTAMP = 6,   /* int64, nanoseconds */
    MOTE_TYPE_TEXT = 7,        /* UTF-8, checked on append */
    MOTE_TYPE_BLOB = 8,        /* any bytes */
    MOTE_TYPE_VECTOR_F32 = 9,  /* `dimension` float32 */
    MOTE_TYPE_VECTOR_F16 = 10, /* `dimension` IEEE 754 binary16, stored as uint16 bit patterns */
    MOTE_TYPE_VECTOR_U8 = 11,  /* `dimension` uint8 */
    MOTE_TYPE_POINT3 = 12,     /* 3 float64: x, y, z */
};

enum {
    MOTE_NAME_BYTES_MAX = 63,          /* of a table or a column, without the NUL */
    MOTE_COLUMNS_MAX = 1024,           /* columns of a table */
    MOTE_KEY_COLUMNS_MAX = 8,          /* columns of a clustering key */
    MOTE_KEY_BYTES_MAX = 1024,         /* an encoded key; text and blob parts are escaped, so at most twice their length */
    MOTE_ROW_BYTES_MAX = 256 * 1024,   /* a row, all its values together */
    MOTE_VECTOR_DIMENSION_MAX = 16384, /* elements */
    MOTE_VALUE_WRITER = 256,           /* no limit: mote_value.type of what mote_blob_finish gave */
};

/* One value. Which member counts follows from the column's type: int64 and timestamp -> i64, int32 -> i32, float64 -> f64,
 * float32 -> f32, bool -> boolean, text, blob and the vectors -> bytes (size in bytes), point3 -> point. */
struct mote_value {
    uint32_t type;    /* enum mote_type; must be the column's */
    uint32_t is_null; /* 1: NULL, the rest is ignored */
    union {
        int64_t i64;
        int32_t i32;
        double f64;
        float f32;
        uint8_t boolean;
        double point[3];
        struct {
            const void *data;
            uint64_t size_bytes;
        } bytes;
    } as;
};

/* One column of a batch or of a chunk, laid out as in Apache Arrow.
 *   fixed types: values[row_count], contiguous (vectors: row_count * dimension elements; point3: row_count * 3 doubles;
 *     bool: one byte each)
 *   text, blob: offsets[row_count + 1] ascending byte offsets into values; offsets[0] may be above 0
 *   validity: NULL if no value is NULL, else a bitmap, bit i (least significant first) set = row i has a value
 */
struct mote_column {
    uint32_t type; /* enum mote_type */
    uint32_t dimension;
    const void *values;
    const uint32_t *offsets;
    const uint8_t *validity;
};

/* A batch of rows, column by column. */
struct mote_batch {
    size_t row_count;
    size_t column_count;
    const struct mote_column *columns;
    const uint32_t *column_index; /* column_index[i]: position of columns[i] in the table's schema. NULL: schema order */
};

/* ---- Format ---------------------------------------------------------------------------------------------------------- */

struct mote_format_options {
    size_t size_bytes;           /* sizeof(struct mote_format_options) */
    uint64_t image_size_bytes;   /* size of an image file to create where the path does not exist; 0: never create */
    uint64_t extent_bytes;       /* unit of allocation, a power of two from 64 KiB to 64 MiB; 0: 1 MiB, less below 128 MiB */
    uint64_t log_bytes_max;      /* the log is checkpointed before it grows beyond; 0: an eighth of the device, at most 4 GiB */
    uint32_t segments_max;       /* tables' segments that the manifest has room for; 0: chosen from the size */
    uint32_t sparse;             /* 1: an image file is not written in full (for tests; each first write then costs a metadata
                                    commit) */
    uint32_t dry_run;            /* 1: check and describe, write nothing */
    const char *force;           /* what is known to be on the device and may be overwritten: its signature's name ("ext4",
                                    "mote", "gpt", "data" for unknown non-zero bytes), as the refusal names it. NULL: refuse */
    uint8_t uuid[16];            /* the volume's UUID; all zero: random */
    uint32_t open_timeout_ms;    /* how long to retry a busy device, as in mote_options; default 5000 */
    uint32_t reserved;
};
#define MOTE_FORMAT_OPTIONS_INIT MOTE_INIT(struct mote_format_options)

/* What format made, or would make. Regions are byte ranges of the device in ascending order. */
struct mote_layout {
    uint8_t uuid[16];
    uint64_t device_size_bytes;
    uint32_t logical_block_bytes;
    uint32_t extent_count;
    uint64_t extent_bytes;
    uint64_t superblock_start_offset_bytes, superblock_end_offset_bytes, superblock_region_bytes;
    uint64_t manifest_first_offset_bytes, manifest_second_offset_bytes, manifest_copy_bytes;
    uint64_t extents_offset_bytes;
    uint64_t log_bytes_max;
    uint32_t segments_max;
    uint32_t reserved;
    char found[64]; /* signature that was found before, "" if the device was blank */
};

/* Makes the device (a block device, an image file, or a new image file) an empty volume. Destroys what is there: therefore it
 * refuses a device that is mounted, or in use after open_timeout_ms (MOTE_EBUSY), one with a signature or non-zero bytes in its
 * first or last MiB (MOTE_EFOREIGN; the message names it) unless options->force names it, one smaller than 8 MiB (MOTE_ENODEV),
 * a path below /dev that does not exist. layout may be NULL. Blocks; durable on return. */
MOTE_API int mote_format(const char *path, const struct mote_format_options *options, struct mote_layout *layout);

/* ---- Open, close ----------------------------------------------------------------------------------------------------- */

typedef struct mote_db mote_db;
typedef struct mote_table mote_table;
typedef struct mote_cursor mote_cursor;
typedef struct mote_row mote_row;
typedef struct mote_snapshot mote_snapshot;

enum mote_preset {
    /*                             memory   memtables     cache    workers  tables  cursors  for */
    MOTE_PRESET_ROBOTICS = 0,   /* 512 MiB  3 of 64 MiB   128 MiB  1        256     32       most; the default */
    MOTE_PRESET_EDGE = 1,       /*  96 MiB  3 of 12 MiB    24 MiB  1         64      8       machines of 256 MiB, or one core */
    MOTE_PRESET_THROUGHPUT = 2, /*   2 GiB  4 of 256 MiB  512 MiB  2        256     64       ingest at the device's pace */
};

/* What does the I/O. AUTO: io_uring, else libaio, else threads; struct mote_stats tells which it is. */
enum mote_backend { MOTE_BACKEND_AUTO = 0, MOTE_BACKEND_IO_URING = 1, MOTE_BACKEND_LIBAIO = 2, MOTE_BACKEND_THREADS = 3 };
/* What makes a completed write durable: a FLUSH after it, a write with FUA, or nothing: NONE, for a device without a volatile
 * cache, or else a power cut loses what was acknowledged. */
enum mote_barrier { MOTE_BARRIER_AUTO = 0, MOTE_BARRIER_FLUSH = 1, MOTE_BARRIER_FUA = 2, MOTE_BARRIER_NONE = 3 };
/* What open does where acknowledged rows are missing from the log. */
enum mote_on_damage { MOTE_DAMAGE_REFUSE = 0, MOTE_DAMAGE_CONTINUE = 1 };

/* How appended rows become durable. */
enum mote_durability {
    MOTE_DURABILITY_DEFAULT = 0,  /* the handle's */
    MOTE_DURABILITY_SYNC = 1,     /* the call returns when the rows are durable */
    MOTE_DURABILITY_GROUP = 2,    /* commit at once in the background; the ticket tells when */
    MOTE_DURABILITY_PERIODIC = 3, /* commit within period_ms */
    MOTE_DURABILITY_NONE = 4,     /* commit when something else does: another level's commit, a full stage, a flush */
};

enum mote_trim_mode {
    MOTE_TRIM_AUTO = 0, /* block devices that can: yes; image files: no */
    MOTE_TRIM_OFF = 1,
    MOTE_TRIM_ON = 2,   /* image files too: freed extents become holes, and writing them again costs the file system an
                           allocation, which may fail */
};

struct mote_options {
    size_t size_bytes;              /* sizeof(struct mote_options) */
    uint32_t preset;                /* enum mote_preset: the source of every 0 below */
    uint32_t read_only;             /* 1: nothing is ever written; the log is replayed into memory */
    uint32_t backend;               /* enum mote_backend; AUTO takes the first that the kernel allows */
    uint32_t barrier;               /* enum mote_barrier; AUTO: NONE where the kernel says write-through, else what calibration
                                       recorded for this device, else FLUSH */
    uint32_t on_damage;             /* enum mote_on_damage. REFUSE: open fails with MOTE_ELOST. CONTINUE: the lost range is
                                       recorded, reported in the stats, and open goes on */
    uint32_t durability;            /* enum mote_durability of appends that name none; default GROUP */
    uint32_t period_ms;             /* of PERIODIC; default 10 */
    uint64_t memory_bytes;          /* the one budget; at least 32 MiB for the usual block and batch sizes */
    uint64_t memtable_bytes;        /* size of one memtable; reaching it starts a flush */
    uint32_t memtable_count;        /* active and immutable ones together, at least 2 */
    uint32_t workers;               /* background workers for flush, compaction and checkpoint; MOTE_NO_THREADS: none; a writer
                                       that needs a flush does it, compactions and checkpoints are for mote_compact,
                                       mote_checkpoint and close */
    uint64_t cache_bytes;           /* block cache */
    uint64_t checkpoint_log_bytes;  /* log size that starts a checkpoint; default half of the log's maximum */
    uint32_t checkpoint_period_ms;  /* time that starts one, if anything was written; default 60000; MOTE_NEVER: by size only */
    uint32_t tables_max;            /* tables of the volume, dropped ones until the next open */
    uint32_t cursors_max;           /* cursors, aggregations and hits open at once */
    uint32_t wal_inflight_max;      /* commits under way at once; default 4 */
    uint32_t wal_frame_bytes_max;   /* one commit's largest size, at most 512 KiB */
    uint32_t block_rows;            /* rows of one SSTable block; default 1024 */
    uint32_t compaction_runs_max;   /* overlapping sorted runs of one size class before they are merged; default 4 */
    uint32_t compaction_spread_max; /* tables with the time in the key: segments of different times, which need no merging, lie
                                       at most so deep above each other by key, 4 to 4096; default 8 to 128 where memory_bytes
                                       is small, else up to 4096: an open scan keeps account of each, some 400 bytes */
    uint32_t compression;           /* of text and blobs: 0 default (LZ4), 1 none, 2 LZ4, 3 ZSTD */
    uint32_t background_mib_per_s;  /* limit of background writes; 0: none. It does not hold while a writer, a flush, a
                                       checkpoint or a close waits for them, or the log is three quarters full */
    uint32_t inline_io;             /* 1: no thread is created; whoever waits, flushes or closes does the I/O itself. For
                                       one-core machines and deterministic tests. Automatic flushes then happen within
                                       appends */
    uint32_t huge_pages;            /* 1: ask for transparent huge pages for the arena */
    uint32_t open_timeout_ms;       /* how long to retry a busy device; default 5000 */
    uint32_t producers_max;         /* producers open at once, 1 to 1024; default 16 (EDGE: 8, THROUGHPUT: 64) */
    uint32_t commit_thread;         /* 1: only the log's thread commits. 0: a SYNC append may commit its rows in the calling
                                       thread, where nothing else is under way: faster by two context switches, but others'
                                       commits then wait for that thread to be scheduled. For handles that threads of different
                                       priorities write to */
    uint32_t snapshots_max;         /* snapshots and transactions open at once, 1 to 4096; default 32 (EDGE: 16, THROUGHPUT:
                                       64) */
    uint32_t blob_threshold_bytes;  /* values of LARGE columns from this size on lie in extents of their own; default 65536;
                                       MOTE_NEVER: only those that no row can hold */
    uint32_t trim;                  /* enum mote_trim_mode: whether extents that came free are discarded in the background */
    uint32_t trim_mib_per_s;        /* limit of it; default 1024 */
};
#define MOTE_OPTIONS_INIT MOTE_INIT(struct mote_options)
#define MOTE_NO_THREADS UINT32_MAX
#define MOTE_NEVER UINT32_MAX
#define MOTE_FOREVER INT64_MAX

/* Opens a volume and recovers it if its last owner did not close it: afterwards every acknowledged row is readable. options may
 * be NULL. On failure *db is NULL and, where error is not NULL, *error tells why. Errors: MOTE_ENODEV, MOTE_EACCESS, MOTE_EBUSY
 * (after open_timeout_ms), MOTE_EFOREIGN, MOTE_EVERSION, MOTE_ESHRUNK, MOTE_EDAMAGED, MOTE_ELOST, MOTE_EBUDGET (a budget too
 * small for the options), MOTE_EIO, MOTE_EINVAL. Blocks. */
MOTE_API int mote_open(const char *path, const struct mote_options *options, mote_db **db, struct mote_error *error);

/* Checkpoints, records the clean end, stops the threads and frees the handle, always, whatever it returns: the first error that
 * the checkpoint met, if any. Every cursor, row, snapshot, batch and transaction of it must have been given back (tables are
 * freed with it). No other thread may be using the handle. NULL is allowed. */
MOTE_API int mote_close(mote_db *db);

/* The options in force, every default filled in. Set options->size_bytes. Does not block. */
MOTE_API int mote_get_options(const mote_db *db, struct mote_options *options);

/* ---- Tables ---------------------------------------------------------------------------------------------------------- */

enum mote_column_flags {
    MOTE_COLUMN_NOT_NULL = 1,
    MOTE_COLUMN_AUTO_INCREMENT = 2, /* the only key column, int64: NULL or absent on append takes the next number */
    MOTE_COLUMN_HAS_DEFAULT = 4,    /* default_value holds; an absent value reads as it, in old rows too */
    MOTE_COLUMN_HIDDEN = 8,         /* told by mote_table_column of the engine's own "rowid"; not to be set */
    MOTE_COLUMN_LARGE = 16,         /* a blob, not in the key: values of any size, see "Large values" */
};

struct mote_column_definition {
    const char *name;
    uint32_t type;      /* enum mote_type */
    uint32_t dimension; /* of a vector */
    uint32_t flags;     /* enum mote_column_flags */
    uint32_t reserved;
    struct mote_value default_value;
};

enum mote_table_flags {
    MOTE_TABLE_APPEND_ONLY = 1, /* rows are never deleted and keys never repeated by promise: mote_insert checks nothing, delete
                                   is refused */
    MOTE_TABLE_ROW_PAGES = 2,   /* rows lie row by row in pages of 4 KiB instead of column by column: a cold mote_get reads one
                                   page; not compressed, so it takes more room and scans read more */
};

struct mote_schema {
    size_t size_bytes; /* sizeof(struct mote_schema) */
    const char *name;
    const struct mote_column_definition *columns;
    uint32_t column_count;
    uint32_t flags;                   /* enum mote_table_flags */
    const uint32_t *key_columns;      /* positions of the clustering key's columns, most significant first */
    uint32_t key_column_count;        /* 0: a hidden int64 column "rowid", AUTO_INCREMENT, is put before the others and is the
                                         key */
    int32_t time_column;              /* position of the time column (timestamp; int64: nanoseconds; float64: seconds), or -1 */
};
#define MOTE_SCHEMA_INIT {sizeof(struct mote_schema), NULL, NULL, 0, 0, NULL, 0, -1}

/* Creates a table; durable on return, ordered with the rows. Key columns are NOT NULL by themselves and may be any of int64,
 * int32, timestamp, bool, text, blob, float64, float32 (NaN is refused in a key). Errors: MOTE_EEXISTS, MOTE_EINVAL,
 * MOTE_ETOOBIG, MOTE_EBUDGET. *table (may be NULL) is as by mote_table_open. */
MOTE_API int mote_table_create(mote_db *db, const struct mote_schema *schema, mote_table **table);
/* Finds a table by name. The handle lives until mote_close and is the same for each call; nothing is to be freed.
 * MOTE_ENOTABLE. */
MOTE_API int mote_table_open(mote_db *db, const char *name, mote_table **table);
/* Drops the table, its indexes, pins and large values, and frees their space; its handle then answers MOTE_ENOTABLE. Durable on
 * return. MOTE_ENOTABLE. */
MOTE_API int mote_table_drop(mote_db *db, const char *name);
/* Adds a column at the end; old rows read its default (or NULL). A NOT NULL column needs a default. Durable on return.
 * MOTE_EEXISTS (the name), MOTE_EINVAL (a LARGE column), MOTE_ETOOBIG (a row would not fit). */
MOTE_API int mote_table_add_column(mote_table *table, const struct mote_column_definition *column);

struct mote_table_info {
    size_t size_bytes; /* sizeof(struct mote_table_info) */
    uint64_t id;
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint32_t schema_version, column_count, key_column_count, flags;
    int32_t time_column;
    uint32_t segment_count;
    uint64_t pending_updates;     /* row changes not yet in a durable SSTable */
    uint64_t segment_rows;        /* row versions in SSTables */
    uint64_t segment_bytes;       /* bytes of its extents in use */
    int64_t time_min, time_max;   /* of the SSTables' rows; min > max: none */
    uint32_t key_columns[MOTE_KEY_COLUMNS_MAX];
};
/* The table as it is now; set info->size_bytes to the whole struct's. Does not read the device. */
MOTE_API int mote_table_describe(mote_table *table, struct mote_table_info *info);
/* Column `position`'s definition; name and default live until mote_close. MOTE_ENOCOLUMN. A table without a declared key has
 * column 0 "rowid". */
MOTE_API int mote_table_column(mote_table *table, uint32_t position, struct mote_column_definition *column);
/* Position of the column of that name (0 or more), or MOTE_ENOCOLUMN. */
MOTE_API int mote_table_find_column(mote_table *table, const char *name);
/* Calls visit for each table in name order until it returns non-zero, and returns that. visit must not call DDL. */
MOTE_API int mote_table_list(mote_db *db, int (*visit)(mote_table *table, const char *name, void *context), void *context);

/* ---- Writing --------------------------------------------------------------------------------------------------------- */

struct mote_write_options {
    size_t size_bytes;   /* sizeof(struct mote_write_options) */
    uint32_t durability; /* enum mote_durability */
    uint32_t period_ms;  /* of PERIODIC, 0: the handle's */
};
#define MOTE_WRITE_OPTIONS_INIT MOTE_INIT(struct mote_write_options)

/* Inserts the row, or replaces the one that has its key, without a read. values: one for each column in schema order, or for
 * the first value_count of them (the rest take their default); the hidden rowid is not given. Atomic, visible to reads at once,
 * durable by its level. *ticket (may be NULL) is the seq to wait for. May block while the memtables or the log are full and the
 * background catches up; takes no lock, allocates nothing and enters the kernel only to wake a sleeping committer or to wait
 * (with a unique index it reads, allocates, and waits for other writers of the table). Errors: MOTE_EEXISTS (a unique index),
 * MOTE_ESCHEMA, MOTE_ETOOBIG, MOTE_EINVAL, MOTE_ENOSPC, MOTE_EPOISONED, MOTE_EREADONLY, MOTE_ENOTABLE, MOTE_EFORK. */
MOTE_API int mote_append(mote_table *table, const struct mote_value *values, size_t value_count,
                         const struct mote_write_options *options, uint64_t *ticket);
/* The same for a batch; the whole batch is atomic: after a crash it is there entirely or not at all. A batch whose rows exceed
 * one commit's largest size is MOTE_ETOOBIG: split it. Rows of one batch with equal keys: the last wins. */
MOTE_API int mote_append_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options,
                                 uint64_t *ticket);
/* As mote_append and mote_append_columns, but MOTE_EEXISTS if a key has a row, or comes twice in the batch; reads first and
 * excludes other inserts to the table meanwhile. */
MOTE_API int mote_insert(mote_table *table, const struct mote_value *values, size_t value_count,
                         const struct mote_write_options *options, uint64_t *ticket);
MOTE_API int mote_insert_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options,
                                 uint64_t *ticket);
/* Deletes the row with this key (all key columns, in key order): MOTE_OK too where there is none, since it does not look.
 * Durability and ticket as of mote_append. MOTE_EREADONLY: the table is append-only. MOTE_ESCHEMA (the key). */
MOTE_API int mote_delete(mote_table *table, const struct mote_value *key, size_t key_count,
                         const struct mote_write_options *options, uint64_t *ticket);

/* Returns when the ticket's rows, and all with lesser tickets, are durable; with MOTE_ETIMEOUT after timeout_ns (0: at once,
 * MOTE_FOREVER: never; the commit goes on), or with the error that prevents it for ever (MOTE_EIO, MOTE_EPOISONED).
 * MOTE_EINVAL: no such ticket was given out. Any thread. */
MOTE_API int mote_wait(mote_db *db, uint64_t ticket, int64_t timeout_ns);
/* The newest seq up to which everything is durable. Wait-free. */
MOTE_API uint64_t mote_durable_seq(const mote_db *db);
/* The log position up to which everything is durable. Wait-free. */
MOTE_API uint64_t mote_durable_lsn(const mote_db *db);
/* The newest seq that reads see. Wait-free. */
MOTE_API uint64_t mote_visible_seq(const mote_db *db);
/* A file descriptor (eventfd) that becomes readable each time durable_seq advances or the handle fails; read 8 bytes to rearm.
 * Made at the first call; belongs to the handle: do not close it. Negative: MOTE_E... */
MOTE_API int mote_durable_eventfd(mote_db *db);

/* ---- Producers: rows from a control loop ----------------------------------------------------------------------------- */

/* A producer is a ring of records between one thread of the application (a control loop) and the engine. mote_producer_push
 * copies a record into the ring and returns: no lock, no allocation, no system call, a bounded number of instructions. The
 * thread "mote-push" looks at every ring at least each millisecond, appends what it finds, in order and each record exactly
 * once, as mote_append_columns does with the producer's durability, and gives the places back. A stalled engine shows as a ring
 * that fills; other writers that fill the memtables do not stall it: they leave producers a headroom, and wait.
 *   Record   a C struct of the table's fixed-width columns in schema order, each naturally aligned: int64, timestamp, float64 8
 *            bytes; int32, float32 4; bool uint8_t; point3 double[3]; vectors arrays of float, uint16_t or uint8_t. All have
 *            values. Text, blob and AUTO_INCREMENT columns are not in it and take NULL, their default or the next number: a
 *            text or blob that is NOT NULL without a default is MOTE_EINVAL. options.columns names fewer columns, or another
 *            order.
 *   Threads  mote_producer_push: one thread at a time. The other calls: any thread. close: no other call may be under way.
 *   Inline   With inline_io there is no thread: rings are emptied within the application's own calls on the same handle:
 *            appends, mote_flush, mote_checkpoint, mote_producer_flush, mote_producer_close, mote_close; a push alone appends
 *            nothing then.
 *   Failure  A record that its table refuses (NaN in a key, a bool above 1) is left out and counted. Want of space or memory
 *            (MOTE_ENOSPC, MOTE_EBUDGET) is waited out with the records in the ring. After any other failure of an append, for
 *            example a poisoned handle or a dropped table, every push returns its code; what is in the ring then stays
 *            there. */
typedef struct mote_producer mote_producer;

enum mote_producer_policy {
    MOTE_PRODUCER_DROP = 0,   /* ring full: the record is dropped and counted; push returns MOTE_DROPPED */
    MOTE_PRODUCER_REFUSE = 1, /* ring full: push returns MOTE_EAGAIN, the caller keeps the record; counted as refused */
};
enum { MOTE_DROPPED = 1 };

struct mote_producer_options {
    size_t size_bytes;       /* sizeof(struct mote_producer_options) */
    uint32_t ring_records;   /* the ring's size, exactly, 1 to 2^28; 0: 4096 */
    uint32_t policy;         /* enum mote_producer_policy */
    uint32_t durability;     /* GROUP, PERIODIC or NONE; 0: PERIODIC, since GROUP would write a commit each millisecond */
    uint32_t period_ms;      /* of PERIODIC; 0: the handle's */
    size_t record_bytes;     /* sizeof the record: another size than the layout's is MOTE_EINVAL. 0: not checked */
    const uint32_t *columns; /* positions of the columns that a record holds, in its order; NULL: as above */
    size_t column_count;
    const char *name;        /* told in the stats; NULL: the table's name */
};
#define MOTE_PRODUCER_OPTIONS_INIT MOTE_INIT(struct mote_producer_options)

/* A member of the record. */
struct mote_producer_field {
    uint32_t column; /* position in the schema */
    uint32_t type;   /* enum mote_type */
    size_t offset_bytes, value_bytes;
};
/* The record's layout (options may be NULL), to be compared with offsetof and sizeof. Fills at most field_max of fields (may be
 * NULL), and *field_count and *record_bytes (each may be NULL). MOTE_EINVAL as by mote_producer_open. */
MOTE_API int mote_producer_layout(mote_table *table, const struct mote_producer_options *options,
                                  struct mote_producer_field *fields, size_t field_max, size_t *field_count,
                                  size_t *record_bytes);
/* Opens a producer; options may be NULL. The ring and buffers for one batch come from the memory budget and are touched here,
 * so that no push meets a page fault (mlockall keeps them from being swapped). MOTE_EBUDGET: no room, or producers_max are
 * open. Blocks. */
MOTE_API int mote_producer_open(mote_table *table, const struct mote_producer_options *options, mote_producer **producer);
/* Copies *record into the ring. Wait-free: no lock, allocation or system call. MOTE_OK, MOTE_DROPPED, MOTE_EAGAIN, the failure
 * that ended the producer, MOTE_EFORK, MOTE_EINVAL (NULL). Leaves mote_last_error alone, since a sentence costs more than a
 * push. */
MOTE_API int mote_producer_push(mote_producer *producer, const void *record);

struct mote_producer_stats {
    size_t size_bytes;             /* sizeof(struct mote_producer_stats) */
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t pushed;               /* records taken into the ring = appended + rejected + ring_used */
    uint64_t dropped, refused;     /* pushes that found the ring full, by policy; refused counts those after a failure too */
    uint64_t appended, rejected;   /* rows readable; records that the table refused */
    uint64_t durable;              /* of appended */
    uint64_t ring_used_max;        /* fullest that it has been */
    uint32_t ring_records, ring_used;
    int32_t failure;               /* what every push returns now, or 0 */
    int32_t last_error;            /* of the last append that did not succeed, or 0 */
};
/* Each figure is exact as of some moment within the call; all together when nothing is under way. Takes a lock for an instant:
 * not for control loops. */
MOTE_API int mote_producer_stats(mote_producer *producer, struct mote_producer_stats *stats);
/* Returns when everything pushed before the call is durable, with MOTE_ETIMEOUT, or with what prevents it. Appends on the
 * calling thread; that may block as mote_append does, beyond timeout_ns. Not for control loops. */
MOTE_API int mote_producer_flush(mote_producer *producer, int64_t timeout_ns);
/* Appends what is in the ring (durable by its level) and frees the producer, always. The error, if records had to be given up,
 * tells how many. mote_close does the same with every producer that is still open. NULL is allowed. */
MOTE_API int mote_producer_close(mote_producer *producer);

/* ---- Reading --------------------------------------------------------------------------------------------------------- */

/* The newest row with this key (all key columns, in key order): *row is made if NULL, else reused; free it with mote_row_free.
 * It is a copy: later writes do not change it. MOTE_ENOTFOUND (a row that was made is freed, *row NULL), MOTE_ESCHEMA (the
 * key). Reads the device where the row is in no cache. */
MOTE_API int mote_get(mote_table *table, const struct mote_value *key, size_t key_count, mote_row **row);
/* The rows with `count` keys, all as of one moment, with many reads in flight at once. keys: key_count values for each key, one
 * key behind the other; the same key may come again. rows[i] is made if NULL, else reused; results[i] is MOTE_OK, or
 * MOTE_ENOTFOUND: rows[i] then stays NULL, or holds nothing of use. Returns MOTE_OK when each key was answered, else one error
 * for all: what rows were made is then the caller's to free all the same, and results say nothing. */
MOTE_API int mote_get_many(mote_table *table, const struct mote_value *keys, size_t key_count, size_t count, mote_row **rows,
                           int32_t *results);
/* Column `position` of the row; bytes live until the row is reused or freed. MOTE_ENOCOLUMN; MOTE_EDAMAGED: of a large value,
 * whose bytes are read when they are asked for. */
MOTE_API int mote_row_value(const mote_row *row, uint32_t position, struct mote_value *value);
/* The seq of the change that made this version of the row. */
MOTE_API uint64_t mote_row_seq(const mote_row *row);
/* NULL is allowed. Before mote_close. */
MOTE_API void mote_row_free(mote_row *row);

struct mote_scan_options {
    size_t size_bytes;                   /* sizeof(struct mote_scan_options) */
    const struct mote_value *key_prefix; /* the first key_prefix_count key columns must equal these */
    size_t key_prefix_count;
    const struct mote_value *key_from;   /* first key, a prefix of the key's columns, inclusive; NULL: from the first */
    size_t key_from_count;
    const struct mote_value *key_to;     /* last key, a prefix of the key's columns, inclusive; NULL: to the last */
    size_t key_to_count;
    const uint32_t *columns;             /* positions of the columns wanted; NULL: all but a hidden rowid */
    size_t column_count;
    uint32_t use_time_range;             /* 1: only rows whose time is in [time_from_ns, time_to_ns]; NULL times never are */
    uint32_t descending;                 /* 1: from the last key to the first */
    int64_t time_from_ns, time_to_ns;
    uint64_t limit;                      /* rows; 0: no limit */
    uint32_t chunk_rows;                 /* rows of a chunk at most; 0: 4096 */
    uint32_t flags;                      /* reserved, 0 */
    const mote_snapshot *snapshot;       /* the rows that it sees; it may be released while the cursor is open. NULL: those that
                                            are visible now */
};
#define MOTE_SCAN_OPTIONS_INIT MOTE_INIT(struct mote_scan_options)

/* Rows of a chunk, in key order. column i is options->columns[i]. */
struct mote_chunk {
    size_t row_count; /* 0: the end */
    size_t column_count;
    const struct mote_column *columns;
};

/* Opens a cursor on the rows that are visible now; writers, flushes and compactions go on and it does not see them. The cursor
 * holds memory for one chunk and keeps the versions that it may still need. options may be NULL: the whole table. Nothing is
 * read yet. MOTE_EINVAL (no time column; more values than the key has columns), MOTE_ENOCOLUMN, MOTE_ESCHEMA (a value of
 * another type), MOTE_EBUDGET (cursors_max). */
MOTE_API int mote_scan(mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor);
/* The next chunk; it belongs to the cursor and lives until the next call. The end is a chunk of 0 rows. MOTE_ERECYCLED: the
 * table's retention dropped rows that were still to come. */
MOTE_API int mote_cursor_next(mote_cursor *cursor, struct mote_chunk *chunk);
/* NULL is allowed. Before mote_close. */
MOTE_API void mote_cursor_close(mote_cursor *cursor);

/* The newest row of each series: of the rows that mote_scan yields with these options, the last of each series in key order,
 * and so the one with the greatest time. A series is what the key columns before the time column hold; the table's key must
 * hold its time column, a timestamp or int64 (MOTE_EINVAL). time_to_ns asks for the newest as of a moment; key_prefix for some
 * series, or one; limit counts rows of the result. The rows come in key order, as chunks of mote_cursor_next. Found by two
 * searches for each series (one, if key_prefix names the series), however many rows it has. Errors: as mote_scan. */
MOTE_API int mote_latest(mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor);

/* ---- Aggregates ------------------------------------------------------------------------------------------------------ */

/* What is asked of a column. The values that count are those that are not NULL. NaN counts as a value, but is left out of MIN,
 * MAX, SUM and MEAN. Where no value is left the result is NULL (COUNT: 0). */
enum mote_aggregate_function {
    MOTE_AGGREGATE_COUNT = 1, /* int64: how many values; a column of any type, or MOTE_AGGREGATE_ROWS */
    MOTE_AGGREGATE_MIN = 2,   /* the column's type; 0.0 stands for -0.0 too */
    MOTE_AGGREGATE_MAX = 3,
    MOTE_AGGREGATE_SUM = 4,   /* int64, int32, bool: int64, exact, or MOTE_ERANGE; floats: float64. Not of timestamps */
    MOTE_AGGREGATE_MEAN = 5,  /* float64: the exact sum of integers, or the sum of floats, divided by their number. Not of
                                 timestamps */
    MOTE_AGGREGATE_FIRST = 6, /* the column's type: the value with the least time, of those the first in key order; rows without
                                 a time have none. In a table without a time column: the first in key order */
    MOTE_AGGREGATE_LAST = 7,  /* the value with the greatest time, of those the last in key order */
};
#define MOTE_AGGREGATE_ROWS UINT32_MAX /* in place of a column, for COUNT: the rows */

struct mote_aggregate_value {
    uint32_t column;   /* position in the schema, or MOTE_AGGREGATE_ROWS */
    uint32_t function; /* enum mote_aggregate_function */
};

struct mote_aggregate_options {
    size_t size_bytes;                   /* sizeof(struct mote_aggregate_options) */
    const struct mote_value *key_prefix; /* which rows: as in mote_scan_options, up to time_to_ns */
    size_t key_prefix_count;
    const struct mote_value *key_from;
    size_t key_from_count;
    const struct mote_value *key_to;
    size_t key_to_count;
    uint32_t use_time_range;
    uint32_t by_series;                  /* 1: a result for each series, the values of the key columns before the time column,
                                            which must be in the key. 0: all together */
    int64_t time_from_ns, time_to_ns;
    int64_t bucket_ns;                   /* and for each bucket of time [origin_ns + n * bucket_ns, origin_ns + (n + 1) *
                                            bucket_ns); rows without a time are in none. 0: no buckets */
    int64_t origin_ns;
    const struct mote_aggregate_value *values; /* what is asked, at least one, at most 1024 */
    size_t value_count;
    uint32_t chunk_rows;                 /* rows of a chunk at most; 0: 4096 */
    uint32_t flags;                      /* reserved, 0 */
    const mote_snapshot *snapshot;       /* as in mote_scan_options */
};
#define MOTE_AGGREGATE_OPTIONS_INIT MOTE_INIT(struct mote_aggregate_options)

typedef struct mote_aggregation mote_aggregation;

/* Aggregates the rows that are visible now. The results equal those computed from the rows of a mote_scan at the same moment;
 * but blocks that lie wholly within the range, one series and one bucket, and that nothing newer overlaps, are answered by the
 * statistics kept of them, without being read, so that damage in them does not show either; all other rows are read, of the
 * columns that are asked for. FIRST and LAST may read one row more for each result.
 *   Floats   SUM and MEAN add as float64 in an order that is not told and may be another after a flush or a compaction. With n
 *            values the sum is within n * 2^-53 * (sum of |values|) of the exact one (to first order), as is any other order of
 *            adding. Infinities add as IEEE 754 says; the sum overflows only where the sum of |values| does. All other results
 *            are exact.
 *   Memory   For one chunk of results and what a scan needs. Only without by_series, with buckets, over several series (or in a
 *            table whose key does not begin with its time), all buckets are held until the end, some 200 bytes for each and
 *            each column: MOTE_EBUDGET if there are too many.
 * The aggregation counts as a cursor, belongs to one thread at a time, and keeps the versions that it may still need. Nothing
 * is read yet. Errors: MOTE_EINVAL (a function that the column's type does not have, bucket_ns below 0, no time column, no
 * series, chunk_rows above 1048576), MOTE_ENOCOLUMN, MOTE_ESCHEMA (a key's value of another type), MOTE_EBUDGET, MOTE_ENOTABLE,
 * MOTE_EFORK. */
MOTE_API int mote_aggregate(mote_table *table, const struct mote_aggregate_options *options, mote_aggregation **aggregation);
/* The next results: one row for each series and bucket that has rows, in this order. Its columns: with by_series the key
 * columns of the series; with bucket_ns a timestamp, the bucket's begin (INT64_MIN for one that begins before that); then the
 * values as they were asked for. The chunk belongs to the aggregation and lives until the next call; the end is a chunk of 0
 * rows. Blocks: a call reads until it has a chunk of results. Writers go on. Errors: as mote_cursor_next, MOTE_ERANGE,
 * MOTE_EBUDGET; after an error each later call returns it again. */
MOTE_API int mote_aggregation_next(mote_aggregation *aggregation, struct mote_chunk *chunk);
/* NULL is allowed. */
MOTE_API void mote_aggregation_close(mote_aggregation *aggregation);
/* How many rows mote_scan would yield with these options (may be NULL: all rows; columns, descending and chunk_rows say nothing
 * here). As mote_aggregate: rows are read only where the statistics of their block do not tell. */
MOTE_API int mote_count(mote_table *table, const struct mote_scan_options *options, uint64_t *count);

/* ---- Indexes --------------------------------------------------------------------------------------------------------- */

enum mote_index_kind {
    MOTE_INDEX_COLUMN = 2,  /* one int64, int32, timestamp, float64, float32, bool, text or blob column */
    MOTE_INDEX_VECTOR = 3,  /* one float32 vector column */
    MOTE_INDEX_SPATIAL = 4, /* one point3 column, or three float64 columns: x, y, z. Rows with a NULL or a NaN among them are
                               found by no search */
    MOTE_INDEX_TEXT = 5,    /* one text column */
};
/* How far apart two vectors are. */
enum mote_metric {
    MOTE_METRIC_L2 = 1,            /* the squared Euclidean distance */
    MOTE_METRIC_INNER_PRODUCT = 2, /* the negative inner product */
    MOTE_METRIC_COSINE = 3,        /* 1 - the cosine of the angle; of a vector of zeros: 1 */
};
/* When rows enter an index. Searches see every row at once, whatever the strategy: what is not in the index yet is looked at
 * row by row. */
enum mote_index_strategy {
    MOTE_INDEX_BATCH = 0,    /* with the flush that makes them a segment */
    MOTE_INDEX_REALTIME = 1, /* and before, in memory: by the writer whose row makes about a thousand of them, within its call.
                                Rows that a producer pushed: as HYBRID */
    MOTE_INDEX_HYBRID = 2,   /* and before, in memory: by a background worker, soon after; without workers by the writer */
};

struct mote_index_options {
    size_t size_bytes;       /* sizeof(struct mote_index_options) */
    const char *name;        /* of the table's indexes only one has it; at most MOTE_NAME_BYTES_MAX bytes */
    uint32_t kind;           /* enum mote_index_kind */
    uint32_t strategy;       /* enum mote_index_strategy */
    const uint32_t *columns; /* positions in the schema */
    size_t column_count;
    uint32_t unique;         /* COLUMN: 1: no two rows have the same value there, and a write that would make it so is
                                MOTE_EEXISTS; NULLs do not count (docs/indexes-column.md tells what it costs) */
    uint32_t metric;         /* VECTOR: enum mote_metric; 0: MOTE_METRIC_L2 */
    uint32_t degree;         /* VECTOR: neighbours of a node of the graph at most, 4 to 128; 0: 48 */
    uint32_t build_list;     /* VECTOR: candidates that the building of the graph looks at, 8 to 1,024; 0: 96 */
    const char *language;    /* TEXT: words are reduced to their stems by the Snowball stemmer of this name ("english",
                                "german", "porter", ...); NULL: as they are */
    uint32_t keep_diacritics; /* TEXT: 1: letters with accents differ from those without */
};
#define MOTE_INDEX_OPTIONS_INIT MOTE_INIT(struct mote_index_options)

/* Declares an index; durable on return, and kept by every flush and compaction from then on. What the table holds already is
 * indexed in the background, segment by segment (mote_index_describe tells how far it is; a crash in between loses nothing, the
 * next open goes on; mote_flush_all_indexes waits for it), or within the call where there are no workers. Searches may use it
 * at once; what there is no memory or space for is answered from the rows and built later. MOTE_EINVAL (kind, columns or
 * strategy), MOTE_ENOCOLUMN, MOTE_EEXISTS (the name; unique: two rows have the same value), MOTE_EBUDGET (16 of a table, 256 of
 * a volume), MOTE_ENOSPC. Blocks; unique: keeps writers of the table out until the index is built. */
MOTE_API int mote_index_create(mote_table *table, const struct mote_index_options *options);
/* Removes it and frees its extents, durably. MOTE_ENOTFOUND. */
MOTE_API int mote_index_drop(mote_table *table, const char *name);
/* Builds all of it anew from the table's rows. MOTE_ENOTFOUND. Blocks. */
MOTE_API int mote_index_rebuild(mote_table *table, const char *name);

struct mote_index_info {
    size_t size_bytes; /* sizeof(struct mote_index_info) */
    uint64_t id;       /* never reused */
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint32_t kind, strategy, column_count;
    uint32_t columns[4];           /* positions in the schema */
    uint64_t segments, rows;       /* of the table; row versions */
    uint64_t segments_indexed, rows_indexed; /* in the index: as many as above when it is complete */
    uint64_t segments_damaged;     /* of the indexed ones: a check failed, they are answered from their rows and will be
                                      rebuilt */
    uint64_t bytes;                /* of the index on the device */
    uint32_t unique, metric, degree, build_list, keep_diacritics; /* as in mote_index_options, defaults filled in; 0 where the
                                                                     kind has no such option */
    char language[32];
    uint64_t segments_waiting;     /* VECTOR: of the indexed ones, those that await their graph, which is built in the
                                      background; a search looks at all of their vectors until then */
};
/* MOTE_ENOTFOUND: the table has no index of that name. */
MOTE_API int mote_index_describe(mote_table *table, const char *name, struct mote_index_info *info);
/* Calls visit for each index of the table, the oldest first, until it returns non-zero, and returns that. */
MOTE_API int mote_index_list(mote_table *table, int (*visit)(const struct mote_index_info *info, void *context), void *context);

/* ---- Searching ------------------------------------------------------------------------------------------------------- */

typedef struct mote_hits mote_hits;

/* What one term of a search asks of a row. A NULL satisfies none but MOTE_TERM_NULL. */
enum mote_term_kind {
    /* Of a column's value, with an index of that column or without: int64, int32, timestamp, float64, float32, bool, text,
       blob. Order: numbers by value, -0.0 as 0.0, NaN equal to NaN and above infinity; text and blobs by their bytes. */
    MOTE_TERM_EQUAL = 1,    /* from */
    MOTE_TERM_RANGE = 2,    /* from and to, both included but for the flags; a NULL among them: no bound on that side */
    MOTE_TERM_IN = 3,       /* one of values */
    MOTE_TERM_PREFIX = 4,   /* text or blob: begins with from */
    MOTE_TERM_NULL = 5,
    MOTE_TERM_NOT_NULL = 6,
    /* Of a place, with a spatial index or without: one point3 column, or three float64 columns. */
    MOTE_TERM_BOX = 16,     /* min <= point <= max on each axis */
    MOTE_TERM_RADIUS = 17,  /* at most radius from the centre */
    MOTE_TERM_NEAREST = 18, /* ranks the rows by their distance from the centre; radius above 0: none beyond it */
    /* Of a vector, with a vector index. */
    MOTE_TERM_VECTOR = 32,  /* ranks the rows by their distance from the vector, in the index's metric */
    /* Of a text, with a text index. */
    MOTE_TERM_WORDS = 48,   /* matches the query `words` (docs/indexes-text.md: words, "phrases", prefix*, AND, OR, NOT,
                               parentheses); ranks by BM25, over all the table's rows */
};
enum mote_term_flags {
    MOTE_TERM_FROM_EXCLUDED = 1, /* RANGE */
    MOTE_TERM_TO_EXCLUDED = 2,   /* RANGE */
    MOTE_TERM_DESCENDING = 4,    /* of a column by which the hits are sorted: the greatest first */
    MOTE_TERM_ANY_WORD = 8,      /* WORDS: words side by side are alternatives; without it all of them are wanted */
    MOTE_TERM_EXACT = 16,        /* VECTOR: every vector is looked at, where the graph might miss one */
};

struct mote_term {
    uint32_t kind;           /* enum mote_term_kind */
    uint32_t flags;          /* enum mote_term_flags */
    const char *index;       /* its index by name, or NULL: that of the columns; where those are not given either, the table's
                                only one of the kind */
    const uint32_t *columns; /* positions in the schema */
    size_t column_count;
    struct mote_value from, to;
    const struct mote_value *values; /* IN, in any order */
    size_t value_count;
    double min[3], max[3];   /* BOX */
    double centre[3], radius; /* RADIUS, NEAREST */
    const float *vector;     /* VECTOR: dimension finite elements */
    uint32_t dimension;
    uint32_t list;           /* VECTOR: candidates that a search of a graph settles, up to 4,096: the more, the fewer are
                                missed; 0: the index's choice */
    const char *words;       /* WORDS: UTF-8, ended by a zero byte */
};

enum {
    MOTE_SEARCH_TERMS_MAX = 16,
};
#define MOTE_RANK_NONE UINT32_MAX

struct mote_search_options {
    size_t size_bytes;       /* sizeof(struct mote_search_options) */
    const struct mote_term *terms; /* a row is found if it satisfies all of them; none: every row */
    size_t term_count;       /* at most MOTE_SEARCH_TERMS_MAX */
    uint32_t rank_by;        /* what orders the hits. i + 1: terms[i]. 0: NEAREST or VECTOR if there is one, else the only
                                RADIUS or WORDS, else nothing. MOTE_RANK_NONE: nothing */
    uint32_t use_time_range; /* 1: only rows whose time is in [time_from_ns, time_to_ns] */
    int64_t time_from_ns, time_to_ns;
    uint64_t limit;          /* rows at most: the first in order, or where nothing ranks any so many. 0: no limit; with NEAREST
                                and VECTOR 10 */
    const uint32_t *columns; /* positions of the columns wanted; NULL: all but a hidden rowid */
    size_t column_count;
    uint32_t chunk_rows;     /* rows of a chunk at most; 0: 1024 */
    uint32_t flags;          /* reserved, 0 */
    const mote_snapshot *snapshot; /* as in mote_scan_options; the statistics of BM25 are those of all rows that the segments
                                      and memtables hold */
};
#define MOTE_SEARCH_OPTIONS_INIT MOTE_INIT(struct mote_search_options)

/* Searches the rows that are visible now, those that no segment holds yet included; deleted and replaced ones are not found.
 * Any terms may be combined; each segment is asked through those indexes that leave the fewest rows to look at, and what no
 * index tells, the rows tell (mote_hits_explain). The answer does not depend on which indexes there are, but for VECTOR without
 * MOTE_TERM_EXACT, which may miss rows.
 *   Order     NEAREST, RADIUS, VECTOR: the nearest first. WORDS: the best first. A column's term, which ranks on demand: by
 *             value, NULLs not among them but with MOTE_TERM_NULL. Nothing: by key. Among equals by key, with
 *             MOTE_TERM_DESCENDING the greatest key first.
 *   Indexes   A term names its index, or its columns (an index on just these is used if there is one), or neither: the table's
 *             only index of the kind. Named index and columns given as well must agree. VECTOR and WORDS need an index.
 *   Refused   (MOTE_EINVAL) two terms of NEAREST and VECTOR; rank_by another term, or nothing, beside one of them; rank_by BOX;
 *             a time range of a table without a time column; a NaN or a negative radius; terms and flags that do not exist;
 *             operands that a term lacks, or of another type than its column (MOTE_ESCHEMA); too many terms.
 * The search is made within the call. The hits' keys are kept in memory (some 50 bytes and the key each), their rows are read
 * by mote_hits_next, as of the moment of the search. A part of an index that is damaged is told from by its rows, and rebuilt
 * later; damaged rows are MOTE_EDAMAGED. Counts as a cursor. MOTE_EINVAL, MOTE_ESCHEMA, MOTE_ENOCOLUMN, MOTE_ETOOBIG (a query),
 * MOTE_ENOTFOUND (no such index), MOTE_EBUDGET (too many hits: narrow the search or set a limit), MOTE_EIO, MOTE_EDAMAGED. */
MOTE_API int mote_search(mote_table *table, const struct mote_search_options *options, mote_hits **hits);
struct mote_hit_chunk {
    size_t row_count; /* 0: the end */
    size_t column_count;
    const struct mote_column *columns;
    const double *scores; /* of each row, by the term that ranks: NEAREST, RADIUS: the distance from the centre; VECTOR: the
                             distance in the index's metric; WORDS: BM25, the greater the better; else 0 */
};
/* The next hits; they belong to the handle and live until the next call. */
MOTE_API int mote_hits_next(mote_hits *hits, struct mote_hit_chunk *chunk);
/* How many rows were found. */
MOTE_API uint64_t mote_hits_count(const mote_hits *hits);
/* How they were found, for people: a line for each fact (each term and its index; what was looked at; of the first segments in
 * which order the terms were applied, and by which estimates). The handle's, until it is closed; NULL: no memory. */
MOTE_API const char *mote_hits_explain(const mote_hits *hits);
/* NULL is allowed. */
MOTE_API void mote_hits_close(mote_hits *hits);

/* ---- Snapshots ------------------------------------------------------------------------------------------------------- */

/* A snapshot is what was visible at one moment, in all tables: rows that are written, replaced or deleted later do not change
 * what it sees. Flushes and compactions keep the row versions that it needs, so a snapshot that is held for long costs the
 * space of what was replaced since; it holds no memory but its handle, and nobody waits for it. A table that is dropped is gone
 * for snapshots too; a column that is added later reads as its default.
 *   Anonymous  lives until it is released, or its database closed.
 *   Named      is durable: it is there again after a crash or close, until it is dropped. At most 64 of a volume.
 * Threads: a snapshot may be used by any number of threads at once. Read through one with mote_get_at, or name it in the
 * options of a scan, an aggregate or a search; those may outlive its handle. */

/* Takes a snapshot of what is visible now. name NULL: an anonymous one. A name: 1 to MOTE_NAME_BYTES_MAX bytes; the snapshot,
 * and all rows that it sees, are durable on return (so the call blocks; an anonymous one takes a lock for an instant). snapshot
 * may be NULL where there is a name. MOTE_EEXISTS (the name), MOTE_ETOOBIG, MOTE_EBUDGET (snapshots_max are open, or 64 have
 * names), MOTE_ENOSPC, MOTE_EREADONLY (a name). */
MOTE_API int mote_snapshot_take(mote_db *db, const char *name, mote_snapshot **snapshot);
/* A handle on a named snapshot. It goes on seeing the same should the name be dropped meanwhile. MOTE_ENOTFOUND,
 * MOTE_EBUDGET. */
MOTE_API int mote_snapshot_open(mote_db *db, const char *name, mote_snapshot **snapshot);
/* Gives the handle back; a named snapshot stays. NULL is allowed. */
MOTE_API void mote_snapshot_release(mote_snapshot *snapshot);
/* Removes a name, durably. MOTE_ENOTFOUND. */
MOTE_API int mote_snapshot_drop(mote_db *db, const char *name);
/* The newest seq that it sees. */
MOTE_API uint64_t mote_snapshot_seq(const mote_snapshot *snapshot);

struct mote_snapshot_info {
    size_t size_bytes; /* sizeof(struct mote_snapshot_info) */
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t seq;      /* the newest that it sees */
    int64_t taken_ns;  /* by the real-time clock, for people */
};
/* Calls visit for each named snapshot, the oldest first, until it returns non-zero, and returns that. visit must not take or
 * drop one. */
MOTE_API int mote_snapshot_list(mote_db *db, int (*visit)(const struct mote_snapshot_info *info, void *context), void *context);
/* As mote_get, the row as the snapshot sees it. NULL: the present. */
MOTE_API int mote_get_at(mote_table *table, const mote_snapshot *snapshot, const struct mote_value *key, size_t key_count,
                         mote_row **row);

/* ---- Large values ---------------------------------------------------------------------------------------------------- */

/* A column with MOTE_COLUMN_LARGE holds blobs of any size, up to 16 GiB: camera frames, point clouds. Values of
 * mote_options.blob_threshold_bytes or more are written once, straight to extents of their own, before the row; the row, the
 * log and the segments carry their address and checksums. Appends, write batches, transactions, mote_get, scans and searches
 * take and give such values as any others; they are in memory as a whole then, MOTE_EBUDGET if they do not fit. A value whose
 * bytes fail their checksum is MOTE_EDAMAGED where it is asked for; rows and other values are not touched by that. They cannot
 * be in keys, indexes or search terms, have no default, and come with the table.
 *
 * Memory of a value that begins at a multiple of the device's logical block (512 or 4096 bytes: a multiple of 4096 always will
 * do) is given to the device as it is; other memory is copied. It is the caller's again when the call has returned, with
 * whatever result; until then nobody may change it, or the value may be MOTE_EDAMAGED when it is read. Values of a batch of
 * columns lie one behind the other: they are aligned if the first is and their sizes are such multiples.
 *
 * A writer takes a value piece by piece, a reader gives it so: for values larger than memory. Each takes about 1 MiB of the
 * budget. One thread at a time. A value that no row took, or whose append failed, is freed with the writer. */
typedef struct mote_blob_writer mote_blob_writer;
typedef struct mote_blob_reader mote_blob_reader;
/* length_bytes: about how many bytes will come; 0: unknown. Blocks for the device, as the next two do. MOTE_EINVAL: no large
 * column. */
MOTE_API int mote_blob_writer_open(mote_table *table, uint64_t length_bytes, mote_blob_writer **writer);
/* Takes the next bytes of the value; the memory is the caller's again on return. MOTE_ETOOBIG (16 GiB), MOTE_ENOSPC. After a
 * failure the writer can only be closed. */
MOTE_API int mote_blob_write(mote_blob_writer *writer, const void *bytes, size_t size_bytes);
/* Ends the value and makes it durable. *value stands for it in rows of this table, in any large column, until the writer is
 * closed; it cannot be in a batch of columns. */
MOTE_API int mote_blob_finish(mote_blob_writer *writer, struct mote_value *value);
/* What no row took is freed. NULL is allowed. */
MOTE_API void mote_blob_writer_close(mote_blob_writer *writer);
/* The value of that column of the row with this key, as the snapshot sees it (NULL: the present), for as long as the reader is
 * open. MOTE_ENOTFOUND: no such row, or NULL. */
MOTE_API int mote_blob_reader_open(mote_table *table, const mote_snapshot *snapshot, const struct mote_value *key,
                                   size_t key_count, uint32_t column, mote_blob_reader **reader);
/* In bytes. */
MOTE_API uint64_t mote_blob_size(const mote_blob_reader *reader);
/* Copies into buffer what the value has from offset_bytes on, size_bytes at most; *read: how many bytes that were, 0 at its
 * end. MOTE_EDAMAGED: a part fails its checksum; others can be read. */
MOTE_API int mote_blob_read(mote_blob_reader *reader, uint64_t offset_bytes, void *buffer, size_t size_bytes, size_t *read);
/* NULL is allowed. */
MOTE_API void mote_blob_reader_close(mote_blob_reader *reader);

/* ---- Write batches --------------------------------------------------------------------------------------------------- */

/* A write batch gathers rows of any tables in memory and writes them as one: every reader sees all of them or none, in all
 * tables at once, and after a crash all of them are there or none. Rows count in the order in which they were given.
 *   Size   At most a quarter of a memtable, a quarter of the log's largest size (but a commit's largest frame at least), and
 *          1,048,575 rows: the row that would exceed it is MOTE_ETOOBIG, and the batch stays as it was. A batch of more than
 *          one frame is logged in parts; others' commits go on between them.
 *   Memory The rows, encoded, from the budget.
 * Threads: a batch belongs to one thread at a time; others may write meanwhile. */
typedef struct mote_write mote_write;

/* An empty batch; give it back with mote_write_free. */
MOTE_API int mote_write_begin(mote_db *db, mote_write **write);
/* As mote_append, mote_insert, mote_append_columns and mote_delete, when the batch is committed. Values are checked and copied
 * here, numbers of AUTO_INCREMENT keys given out; keys of inserts and values of unique indexes are checked by the commit, in
 * the order of the rows: an insert may follow the deletion of its key. */
MOTE_API int mote_write_put(mote_write *write, mote_table *table, const struct mote_value *values, size_t value_count);
MOTE_API int mote_write_insert(mote_write *write, mote_table *table, const struct mote_value *values, size_t value_count);
MOTE_API int mote_write_columns(mote_write *write, mote_table *table, const struct mote_batch *batch);
MOTE_API int mote_write_delete(mote_write *write, mote_table *table, const struct mote_value *key, size_t key_count);
/* How many rows it holds, deletions included. */
MOTE_API uint64_t mote_write_rows(const mote_write *write);
/* Writes all of it; the batch is then empty and may be filled again. After a failure nothing was written and the batch is as it
 * was (but after one of a SYNC commit's wait: the rows are visible then, and the batch still holds them). Blocks as mote_append
 * does; keeps other inserts out of the tables that it inserts into. MOTE_EEXISTS, MOTE_ENOTABLE (one of its tables was
 * dropped), and the errors of mote_append. */
MOTE_API int mote_write_commit(mote_write *write, const struct mote_write_options *options, uint64_t *ticket);
/* Forgets what was given; the batch may be filled again. */
MOTE_API void mote_write_clear(mote_write *write);
/* Forgets what was given and frees the batch. NULL is allowed. */
MOTE_API void mote_write_free(mote_write *write);

/* ---- Transactions ---------------------------------------------------------------------------------------------------- */

/* A transaction reads what was visible when it began, in all tables, and its own writes, which nobody else sees before its
 * commit makes all of them visible at once. The commit is refused (MOTE_ECONFLICT) if anybody else, in a transaction or not,
 * has changed a row that it writes since it began: the first to commit wins. That is snapshot isolation: no dirty, fuzzy or
 * phantom read, no lost update. It is not serialisable: two transactions that each read what the other one writes, and write
 * different rows, may both commit (write skew; docs/transactions.md tells what to do).
 *   Cost     Nobody waits for an open transaction, and writers outside of transactions do nothing for them; row versions are
 *            kept for its snapshot, so a transaction that stays open for long costs space. It counts as a snapshot
 *            (snapshots_max).
 *   Size     As of a write batch; here every write counts, also one that a later write replaces.
 * Threads: a transaction belongs to one thread at a time, together with its cursors. */
typedef struct mote_transaction mote_transaction;

struct mote_transaction_options {
    size_t size_bytes; /* sizeof(struct mote_transaction_options) */
    uint32_t flags;    /* reserved, 0 */
    uint32_t reserved;
};
#define MOTE_TRANSACTION_OPTIONS_INIT MOTE_INIT(struct mote_transaction_options)

/* options may be NULL. On a read-only handle it can read. MOTE_EBUDGET (snapshots_max). */
MOTE_API int mote_transaction_begin(mote_db *db, const struct mote_transaction_options *options,
                                    mote_transaction **transaction);
/* As mote_get, mote_scan and mote_latest; options.snapshot must be NULL. A cursor sees the writes that were made before it was
 * opened; after mote_transaction_rollback_to, or the transaction's end, it can only be closed (MOTE_EINVAL). The seq of a row
 * of one's own is 0. */
MOTE_API int mote_transaction_get(mote_transaction *transaction, mote_table *table, const struct mote_value *key,
                                  size_t key_count, mote_row **row);
MOTE_API int mote_transaction_scan(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options,
                                   mote_cursor **cursor);
MOTE_API int mote_transaction_latest(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options,
                                     mote_cursor **cursor);
/* As mote_aggregate, mote_count and mote_search, of what the transaction reads: its snapshot, and its own writes until the
 * call. options.snapshot must be NULL. Aggregations and hits are the transaction's as its cursors are: once it has ended, or
 * taken back writes that were there when they were opened, they can only be closed. */
MOTE_API int mote_transaction_aggregate(mote_transaction *transaction, mote_table *table,
                                        const struct mote_aggregate_options *options, mote_aggregation **aggregation);
MOTE_API int mote_transaction_count(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options,
                                    uint64_t *count);
MOTE_API int mote_transaction_search(mote_transaction *transaction, mote_table *table,
                                     const struct mote_search_options *options, mote_hits **hits);
/* What it reads without its own writes; lives as long as the transaction and is not to be released. */
MOTE_API const mote_snapshot *mote_transaction_snapshot(const mote_transaction *transaction);
/* As mote_append, mote_insert (MOTE_EEXISTS if the key has a row, as the transaction sees it), mote_append_columns and
 * mote_delete. Values are checked and copied; unique indexes are checked by the commit. A failed call changed nothing. */
MOTE_API int mote_transaction_put(mote_transaction *transaction, mote_table *table, const struct mote_value *values,
                                  size_t value_count);
MOTE_API int mote_transaction_insert(mote_transaction *transaction, mote_table *table, const struct mote_value *values,
                                     size_t value_count);
MOTE_API int mote_transaction_columns(mote_transaction *transaction, mote_table *table, const struct mote_batch *batch);
MOTE_API int mote_transaction_delete(mote_transaction *transaction, mote_table *table, const struct mote_value *key,
                                     size_t key_count);
/* A point to which the transaction's writes can be taken back; at most 256 at a time. */
MOTE_API int mote_transaction_savepoint(mote_transaction *transaction, uint64_t *savepoint);
/* Takes back the writes, and the savepoints, that were made after it; the savepoint stays. MOTE_EINVAL (not a savepoint of this
 * transaction any more), MOTE_EBUDGET (nothing was taken back). */
MOTE_API int mote_transaction_rollback_to(mote_transaction *transaction, uint64_t savepoint);
/* Commits, and frees the handle, whatever it returns. MOTE_OK: all writes are visible, and durable by the options' level; after
 * any failure none of them is, but after one of a SYNC commit's wait. MOTE_ECONFLICT, MOTE_EEXISTS (a unique index),
 * MOTE_ENOTABLE (one of its tables was dropped), and the errors of mote_append. A transaction that wrote nothing never
 * conflicts. */
MOTE_API int mote_transaction_commit(mote_transaction *transaction, const struct mote_write_options *options, uint64_t *ticket);
/* Forgets the writes and frees the handle. NULL is allowed. */
MOTE_API void mote_transaction_abort(mote_transaction *transaction);

/* ---- Retention ------------------------------------------------------------------------------------------------------- */

/* How long a table keeps its rows; docs/retention.md tells it at length. Rows lie in windows of time and go window by window:
 * their space comes back at once, and nothing is rewritten.
 *   Age       A row whose time lies more than age_ns before now is expired: no read shows it from that moment on, and no write
 *             is refused for it. Now is the smaller of the real-time clock and the newest row's time, and never goes back: a
 *             wrong clock alone expires nothing, nor does a row from the future; rows further ahead of the clock than future_ns
 *             are counted and do not become the newest.
 *   Bytes     Above bytes_max the windows whose rows came first go, by the order in which they came and not by any clock.
 *   Recycle   A flight recorder: as bytes, and where the device has no room left the oldest windows go too, so that appends do
 *             not fail for want of space.
 *   Pins      A range of times that is kept, whatever its age, until it is unpinned (mote_pin).
 * A read that goes on over several calls sees what was there when it began; once something that it has still to show is dropped
 * its next call is MOTE_ERECYCLED. Retention goes before snapshots: neither a snapshot nor a transaction keeps rows from it; a
 * read of theirs that goes on through a drop gets MOTE_ERECYCLED, one that begins after it does not see the rows. A
 * transaction's own writes are shown to it as they are. */
struct mote_retention {
    size_t size_bytes;      /* sizeof(struct mote_retention) */
    uint32_t recycle;       /* 1: the oldest windows of this table also go where the device lacks space */
    uint32_t flags;         /* reserved, 0 */
    int64_t age_ns;         /* 0: none */
    uint64_t bytes_max;     /* of the table's segments and their indexes on the device; 0: none */
    int64_t window_ns;      /* least length of a window; 0: a sixteenth of the age, without an age a minute. Doubled while
                               segments lie in more windows than scans can cope with */
    int64_t future_ns;      /* 0: an hour */
    uint64_t pin_bytes_max; /* that pins may hold, at most half of bytes_max or of the device; 0: a quarter */
};
#define MOTE_RETENTION_INIT MOTE_INIT(struct mote_retention)

/* Sets the table's retention; durable on return. All zero: rows are kept from now on; what has expired stays so. The table's
 * key must hold its time column (timestamp or int64), or its keys must never be given twice (MOTE_TABLE_APPEND_ONLY, or the
 * hidden rowid) and the time column, a timestamp or int64, be NOT NULL: else MOTE_EINVAL, since an older row would come back
 * when a newer one expires. Flushes; segments from before may span windows, and go when all of their rows are due.
 * MOTE_EBUDGET, MOTE_ENOSPC. Blocks. */
MOTE_API int mote_table_set_retention(mote_table *table, const struct mote_retention *retention);

struct mote_retention_info {
    size_t size_bytes;         /* sizeof(struct mote_retention_info) */
    int64_t horizon_ns;        /* rows with a time below are expired; INT64_MIN: none are */
    int64_t newest_ns;         /* of the rows that count; INT64_MIN: there is none */
    int64_t window_ns;         /* at present; 0: no retention */
    uint64_t segment_bytes;    /* what bytes_max limits */
    uint64_t pin_count, pinned_bytes; /* of the segments in which pinned rows lie */
    uint64_t rows_expired, rows_recycled; /* row versions in the segments that went by age, and by bytes or for space; of this
                                             handle, as what follows */
    uint64_t segments_dropped;
    uint64_t rows_future;      /* appended further ahead of the clock than future_ns */
};
/* As it was set, defaults filled in, and where it stands; each may be NULL. */
MOTE_API int mote_table_get_retention(mote_table *table, struct mote_retention *retention, struct mote_retention_info *info);

/* Keeps the rows with times in [from_ns, to_ns] until mote_unpin: neither age nor want of space takes them, nor those that lie
 * in one segment with them. What has expired already does not come back. Pins have a budget, of which the pin's segments at
 * this moment are taken: MOTE_EBUDGET if that is too small, or 16 pins are there already; rows that come later into the range
 * are kept as far as it goes. MOTE_EEXISTS (the name), MOTE_EINVAL. Durable on return. Flushes; blocks. */
MOTE_API int mote_pin(mote_table *table, const char *name, int64_t from_ns, int64_t to_ns);
/* MOTE_ENOTFOUND. Durable on return. */
MOTE_API int mote_unpin(mote_table *table, const char *name);
struct mote_pin_info {
    size_t size_bytes; /* sizeof(struct mote_pin_info) */
    char name[MOTE_NAME_BYTES_MAX + 1];
    int64_t from_ns, to_ns;
    uint64_t bytes;    /* of the segments in which its rows lie; one that two pins share counts for both */
};
/* Calls visit for each pin, the oldest first, until it returns non-zero, and returns that. */
MOTE_API int mote_pin_list(mote_table *table, int (*visit)(const struct mote_pin_info *pin, void *context), void *context);
/* Flushes, and drops what is due, in all tables. Workers and checkpoints do so by themselves; handles without workers when they
 * flush. */
MOTE_API int mote_retain(mote_db *db);

/* ---- Maintenance ----------------------------------------------------------------------------------------------------- */

/* Calls that do something here block until it is done and fail as all that writes does (see Errors, above); writers and readers
 * go on meanwhile. */

/* Returns when every row appended before the call is in a durable SSTable with all its indexes. Joins a flush under way only if
 * that covers those rows. An empty memtable writes nothing. A flush that fails loses nothing: the rows stay in memory and in
 * the log. */
MOTE_API int mote_flush(mote_db *db);
/* Flush, rebuild of the timestamp index where it lags, flush of all indexes, manifest snapshot, barrier; then the log is cut
 * and freed extents may be reused. So the next open has nothing to replay. */
MOTE_API int mote_checkpoint(mote_db *db);
/* Makes all indexes complete and durable: what lacks or failed a check is built. Safe at any time. */
MOTE_API int mote_flush_all_indexes(mote_db *db);
/* Flushes, and builds the timestamp index of every table anew from its SSTables. */
MOTE_API int mote_rebuild_timestamp_index(mote_db *db);
/* Row changes not yet in a durable SSTable: of one table (name), or of all (NULL). Exact when no writer is at work. */
MOTE_API int mote_pending_updates(mote_db *db, const char *table, uint64_t *count);
/* Flushes, and merges the segments of every table (or of one, by name) until none overlap. MOTE_ENOTABLE. */
MOTE_API int mote_compact(mote_db *db, const char *table);

struct mote_stats {
    size_t size_bytes; /* sizeof(struct mote_stats) */
    char backend[16], barrier[16], device[128], model[64];
    uint8_t uuid[16];
    uint64_t device_bytes, extent_bytes, extents_total, extents_free, extents_bad;
    uint64_t memory_budget_bytes, memory_used_bytes;
    uint64_t visible_seq, durable_seq, flushed_seq, durable_lsn, head_lsn, tail_lsn;
    uint64_t log_bytes_in_use, pending_updates, segment_count;
    uint64_t rows_appended, rows_deleted, batches, commits, barriers;
    uint64_t bytes_wal, bytes_flush, bytes_compaction, bytes_index, bytes_manifest, bytes_superblock; /* written, this handle */
    uint64_t bytes_appended;                /* raw row bytes given to append */
    uint64_t flushes, compactions, checkpoints, manifest_edits, writer_stalls, writer_stall_ns;
    uint64_t cache_hits, cache_misses, bytes_read;
    uint64_t lost_range_count, lost_rows_at_least; /* recorded by on_damage = CONTINUE, over the volume's life */
    uint64_t commit_ns_p50, commit_ns_p99, commit_ns_p999, commit_ns_max; /* from sealing a frame to its durability */
    uint64_t recovery_ns, recovered_rows, recovered_log_bytes, clean_open; /* of this open */
    uint64_t opens, lifetime_bytes_written;
    int32_t poisoned;                       /* the MOTE_E... that poisoned the handle, or 0 */
    uint32_t rings_registered;              /* 1: registered buffers and files are in use */
    uint64_t producers_open;                /* now; what follows is of all producers of this handle, closed ones included, as in
                                               struct mote_producer_stats */
    uint64_t producer_pushed, producer_dropped, producer_refused, producer_appended, producer_rejected;
    uint64_t producer_ring_used_max;        /* records, of the ring that held most */
    uint64_t producer_ring_percent_max;     /* of its size, of the ring that was fullest, rounded up: 100 is a ring that was
                                               full */
    uint64_t producer_headroom_bytes;       /* of a memtable, that other writers leave to the producers' records now */
    uint64_t snapshots_open, snapshots_named; /* handles, those of transactions included; names */
    uint64_t transactions, transaction_conflicts; /* committed; refused with MOTE_ECONFLICT */
    uint64_t snapshot_seq_min;              /* the oldest seq that a cursor, a snapshot or a transaction sees; visible_seq where
                                               there is none */
    /* of all tables, as in struct mote_retention_info */
    uint64_t rows_expired, rows_recycled, rows_future, segments_dropped, pinned_bytes;
    uint64_t bytes_blob;                    /* written to blob files, this handle */
    uint64_t blob_files, blob_bytes;        /* now; the device bytes that they take */
    uint64_t bytes_other, bytes_trimmed;    /* written beside the sources above (calibration, receives, resizes); discarded.
                                               This handle */
};
/* Figures of now, and of this handle since it was opened where nothing else is said. Set stats->size_bytes. Reads no device;
 * for once a second, not for each row. */
MOTE_API int mote_get_stats(mote_db *db, struct mote_stats *stats);

/* Reads every structure and every checksum of a volume that is not open, without writing, and compares every section of an
 * index with its rows. report (may be NULL) is called with one sentence for each fault, in the calling thread; the fault lives
 * until it returns. MOTE_OK, MOTE_EDAMAGED if it reported any, or why it could not look: the errors of mote_open. */
MOTE_API int mote_verify(const char *path, void (*report)(const struct mote_error *fault, void *context), void *context);

/* ---- Trims and wear -------------------------------------------------------------------------------------------------- */

struct mote_trim_options {
    size_t size_bytes;  /* sizeof(struct mote_trim_options) */
    uint32_t dry_run;   /* 1: only counted */
    uint32_t mib_per_s; /* 0: as mote_options.trim_mib_per_s */
};
#define MOTE_TRIM_OPTIONS_INIT MOTE_INIT(struct mote_trim_options)
struct mote_trim_result {
    size_t size_bytes; /* sizeof(struct mote_trim_result) */
    uint64_t free_bytes, trimmed_bytes, range_count, granularity_bytes; /* free extents that were looked at; discarded; in so
                                                                           many runs; the device's unit */
};
/* Tells the device that all free space is unused, as fstrim does: for a volume whose trims were off, rate-limited or skipped
 * because space was short. Others go on meanwhile. result may be NULL. MOTE_ENOTSUP: the device has no discard; an image file
 * that was not opened with MOTE_TRIM_ON; MOTE_EREADONLY (not for a dry run), MOTE_EIO. */
MOTE_API int mote_trim(mote_db *db, const struct mote_trim_options *options, struct mote_trim_result *result);

/* What was written to the device over the volume's life, by source, and how long it will last. A crash loses to the sums what
 * was written after the last checkpoint, open or close, and no more. */
struct mote_wear {
    size_t size_bytes;      /* sizeof(struct mote_wear) */
    uint64_t written_bytes; /* over the volume's life, format included: the sum of the next eight */
    uint64_t written_wal_bytes, written_flush_bytes, written_compaction_bytes, written_index_bytes, written_manifest_bytes,
        written_superblock_bytes, written_other_bytes, written_blob_bytes;
    uint64_t trimmed_bytes, opens;
    uint64_t format_time_s; /* seconds since 1970, by the clock of then; 0: not recorded */
    uint64_t used_seconds;  /* open for writing, by a clock that does not jump; age_seconds: since the format by the calendar,
                               or used_seconds where that is more */
    uint64_t age_seconds;
    uint64_t handle_written_bytes, handle_seconds; /* of this handle */
    uint32_t health_known;  /* 1: the device told what follows */
    char health_source[28]; /* "NVMe", "eMMC"; else why it is not known */
    /* of its endurance, by its maker's estimate, above 100 when that is exceeded; spare blocks left; not 0: it warns */
    uint32_t device_used_percent, device_spare_percent, device_warnings, reserved;
    uint64_t device_written_bytes, device_power_on_hours, device_media_errors;
    uint64_t rated_bytes;   /* as given */
    /* Until rated_bytes are written, in seconds, at the rate over the volume's age, over its time in use, and of this handle;
       and until the device has used its endurance, by what it tells, in hours of power. UINT64_MAX: not known. */
    uint64_t left_seconds_at_life_rate, left_seconds_at_use_rate, left_seconds_at_handle_rate, left_seconds_by_device;
};
/* rated_bytes: what the device's maker promises can be written (its TBW, in bytes), for the projections; 0: not known. May ask
 * the device (milliseconds). MOTE_EINVAL. */
MOTE_API int mote_get_wear(mote_db *db, uint64_t rated_bytes, struct mote_wear *wear);

/* ---- Backup ---------------------------------------------------------------------------------------------------------- */

/* docs/backup.md tells it at length. A stream is the state of a volume at one moment: its tables, indexes, retention, named
 * snapshots and segments, checksummed record by record and as a whole. Writers go on while it is sent. What a stream makes is a
 * volume of its own, with its own UUID, on a device of any size that it fits, with extents of any size. Until it is opened
 * read-write such a volume takes *increments*: streams that hold what changed since a state that it is in. */

enum { MOTE_TOKEN_BYTES = 192 }; /* text and NUL */

struct mote_transfer {
    size_t size_bytes;         /* sizeof(struct mote_transfer) */
    uint64_t bytes_done;       /* of the segments' and sections' bytes that the stream carries */
    uint64_t bytes_total;
    uint64_t segments_total;   /* of the state */
    uint64_t segments_carried; /* by the stream: the others are in its base */
    uint64_t stream_bytes;     /* written or read so far */
    uint64_t flushed_seq;      /* every row up to it is in the state, and no other */
    uint32_t incremental;
    uint32_t resumed;          /* receive: it went on with one that was cut */
    uint64_t bytes_kept;       /* receive: of bytes_done, what the device had already */
    uint8_t state_id[16];      /* of the state that the stream leads to */
};

/* What a send leaves unchecked. What it does check, it reads through before the first byte of it goes: MOTE_EDAMAGED stops the
 * send. The receiver checks every segment and section as its device gives it back, whatever is chosen here, but it cannot check
 * large values against their rows. */
enum mote_no_verify {
    MOTE_NO_VERIFY_NONE = 0,     /* nothing: segments, sections of indexes and large values are checked */
    MOTE_NO_VERIFY_ALL = 1,      /* everything: a damaged large value is as damaged in the copy */
    MOTE_NO_VERIFY_SEGMENTS = 2, /* segments and sections, which their receiver checks in any case; large values are checked */
};

struct mote_send_options {
    size_t size_bytes;    /* sizeof(struct mote_send_options) */
    const char *from;     /* send what changed since: the name of a base, or a token (mote_receive_token). NULL: everything */
    const char *as;       /* remember the state as the base of this name. NULL: do not */
    uint32_t no_verify;   /* enum mote_no_verify */
    uint32_t reserved;
    int (*progress)(const struct mote_transfer *transfer, void *context); /* NULL: none; non-zero stops */
    void *progress_context;
};
#define MOTE_SEND_OPTIONS_INIT MOTE_INIT(struct mote_send_options)

/* Sends the present state: flushes, then has write take the stream's bytes one after the other; non-zero from write or progress
 * stops it and is returned. Segments that are still to be sent stay on the device meanwhile; nothing else waits, but for DDL
 * during the flush. A read-only handle sends what is flushed; where the log holds rows that are not, MOTE_EREADONLY.
 * MOTE_ENOTFOUND: no such base. MOTE_EEXISTS: `as` exists. MOTE_EINVAL: a token of another volume, or no such no_verify.
 * MOTE_EDAMAGED: a segment or a large value fails a check (no_verify sends it as it is). transfer may be NULL. Blocks. */
MOTE_API int mote_send(mote_db *db, const struct mote_send_options *options,
                       int (*write)(const void *data, size_t size_bytes, void *context), void *context,
                       struct mote_transfer *transfer);
struct mote_base_info {
    size_t size_bytes; /* sizeof(struct mote_base_info) */
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t flushed_seq;
    int64_t taken_ns;
    char token[MOTE_TOKEN_BYTES];
};
/* Calls visit for each base, the oldest first, until it returns non-zero, and returns that. */
MOTE_API int mote_base_list(mote_db *db, int (*visit)(const struct mote_base_info *base, void *context), void *context);
/* A base holds nothing on the device but its name; at most 16. MOTE_ENOTFOUND. Durable on return. */
MOTE_API int mote_base_drop(mote_db *db, const char *name);

struct mote_receive_options {
    size_t size_bytes;    /* sizeof(struct mote_receive_options) */
    const struct mote_format_options *format; /* of a stream that is not an increment: how the device is made a volume;
                                                 format->force allows what is on it to be destroyed. NULL: defaults */
    int (*progress)(const struct mote_transfer *transfer, void *context); /* NULL: none; non-zero stops */
    void *progress_context;
};
#define MOTE_RECEIVE_OPTIONS_INIT MOTE_INIT(struct mote_receive_options)

/* Makes the device (as for mote_format) the state of a stream, or brings it on to an increment's. read puts up to size_max
 * bytes, sets *size_bytes to their number (0: the stream ends) and returns 0; else it stops, and its result is returned.
 *   Nothing is written before the stream's beginning was read and fits: MOTE_EFOREIGN (the device holds something), MOTE_ENOSPC
 *   (too small), MOTE_EINVAL (an increment of a state that is not this volume's), MOTE_EDAMAGED, MOTE_EVERSION (the stream).
 *   The new state appears in one step, after all of the stream was read and each checksum in it and in the segments was checked
 *   on the device. Before it an increment's volume is what it was; one that is made anew cannot be opened (MOTE_ERESTORING).
 *   Where a receive was cut, another one of the same stream goes on behind the last segment that is durable, and so does one of
 *   a stream that was sent from mote_receive_token.
 * transfer may be NULL. Blocks. Durable on return. */
MOTE_API int mote_receive(const char *path, const struct mote_receive_options *options,
                          int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context), void *context,
                          struct mote_transfer *transfer);
/* Where the volume stands, as mote_send_options.from takes it: the state that it is in, or, where a receive was cut, as far as
 * it came. MOTE_ENOTFOUND: it was not received, or was opened read-write since. */
MOTE_API int mote_receive_token(const char *path, char token[MOTE_TOKEN_BYTES]);
/* mote_send into mote_receive in one process, with a thread. Options may be NULL. */
MOTE_API int mote_clone(mote_db *db, const char *path, const struct mote_send_options *send,
                        const struct mote_receive_options *receive, struct mote_transfer *transfer);

/* ---- Resize ---------------------------------------------------------------------------------------------------------- */

struct mote_resize_options {
    size_t size_bytes; /* sizeof(struct mote_resize_options) */
    uint32_t sparse;   /* 1: the new part of an image file is not written in full (for tests) */
    uint32_t dry_run;  /* 1: find out, write nothing */
};
#define MOTE_RESIZE_OPTIONS_INIT MOTE_INIT(struct mote_resize_options)
struct mote_resize_result {
    size_t size_bytes;    /* sizeof(struct mote_resize_result) */
    uint64_t old_bytes, new_bytes;
    uint64_t least_bytes; /* that the volume could be brought to as it lies now */
    uint64_t moved_bytes;
};
/* Makes the volume fill the first size_bytes bytes of its device, 0: all of it. Larger: a device that was enlarged before, or
 * an image file, which is enlarged, allocated and written. Smaller: what lies behind the new end moves; an image file is cut.
 * The volume must not be open. A power cut at any point leaves a whole volume of the old or of the new size. MOTE_ENOSPC: it
 * does not fit; the message, and least_bytes, tell the least size. MOTE_ENODEV: the device is smaller than that. MOTE_ENOTSUP:
 * its extents would have to lie elsewhere. MOTE_ERESTORING. outcome may be NULL. Blocks; durable on return. */
MOTE_API int mote_resize(const char *path, uint64_t size_bytes, const struct mote_resize_options *options,
                         struct mote_resize_result *outcome);

/* Makes an open volume fill the first size_bytes bytes of its device, 0: all that the device has now, which is looked up anew:
 * enlarge the partition, or the image file (truncate, fallocate; mote_resize would do it, but needs the volume closed), then
 * call. Writers, readers, flushes and the log go on; commits to the manifest wait for three barriers. On return the new size is
 * durable, its room is in use, and writes that were refused for want of space go on. A power cut at any point leaves a whole
 * volume of the old or of the new size. Of the options only dry_run counts: tell whether it would do; NULL: defaults. outcome
 * may be NULL; its least_bytes and moved_bytes are 0. MOTE_OK with nothing written: it has that size. MOTE_EBUSY: it would be
 * smaller: close it and call mote_resize. MOTE_ENODEV: the device is smaller than that, or gone; MOTE_ESHRUNK: smaller than the
 * volume. MOTE_ENOTSUP: its extents would have to lie elsewhere. MOTE_EBUDGET: the table of extents does not fit into
 * memory_bytes: close it and call mote_resize, or open it with more. MOTE_EREADONLY, MOTE_EPOISONED, MOTE_EFORK. MOTE_EIO:
 * either nothing happened and the volume stays as it was, or the handle is poisoned, and the next open finds the old or the new
 * size (mote_get_stats tells which). Any thread; several calls take turns. Blocks. */
MOTE_API int mote_grow(mote_db *db, uint64_t size_bytes, const struct mote_resize_options *options,
                       struct mote_resize_result *outcome);

/* ---- Calibration ----------------------------------------------------------------------------------------------------- */

enum mote_calibration_kind {
    MOTE_CALIBRATION_FLUSH = 1, /* durable writes: `depth` writes, then one FLUSH that covers them */
    MOTE_CALIBRATION_FUA = 2,   /* durable writes: `depth` FUA writes in flight (on an image file: O_DSYNC semantics) */
    MOTE_CALIBRATION_BULK = 3,  /* sequential writes without a barrier, then one FLUSH, whose time counts */
    MOTE_CALIBRATION_READ = 4,  /* random reads of what was written */
};
struct mote_calibration_case {
    uint32_t kind; /* enum mote_calibration_kind */
    uint32_t request_bytes, depth;
    uint32_t reserved;
    uint64_t operations;                /* done */
    double operations_per_s;
    uint64_t ns_p50, ns_p99, ns_max;    /* of one operation; FLUSH: until the FLUSH that covers it */
};
struct mote_calibrate_options {
    size_t size_bytes;         /* sizeof(struct mote_calibrate_options) */
    uint32_t case_ms;          /* time for each of the 23 cases; 0: 300 */
    uint32_t case_operations;  /* and its operations at most; 0: 100000 */
    uint64_t scratch_bytes;    /* free space to measure in, at most; 0: 256 MiB; at least 4 MiB */
    uint32_t dry_run;          /* 1: measure, record nothing */
    uint32_t reserved;
    const struct mote_options *open; /* options to open the volume with; NULL: defaults. inline_io is set */
};
#define MOTE_CALIBRATE_OPTIONS_INIT MOTE_INIT(struct mote_calibrate_options)
struct mote_calibration {
    size_t size_bytes; /* sizeof(struct mote_calibration) */
    char device[128], model[64], backend[16];
    uint32_t write_cache;             /* 0: write-through, the kernel says: no barrier is needed while that holds */
    uint32_t barrier_before, barrier; /* enum mote_barrier: recorded before (AUTO: none for this device); chosen now */
    uint32_t case_count;
    double fua_over_flush;            /* geometric mean of the eight ratios of durable writes per second */
    uint64_t scratch_bytes, written_bytes, duration_ns;
    char reason[512];                 /* why, in a few sentences with figures */
    struct mote_calibration_case cases[32];
};
/* Measures the device below a volume, chooses its barrier by the figures (FUA where it is at least 5 % faster, else FLUSH) and
 * records the choice with the device's model name in the superblock: the next open with MOTE_BARRIER_AUTO uses it where the
 * model is the same. Opens the volume as mote_open does, exclusively (recovering it if need be); measures in free extents only,
 * and gives them back. Cut short at any point, it leaves the rows and the recorded choice as they were, or the new choice.
 * Takes about eight seconds and writes some GB. Errors: as mote_open; MOTE_ENOSPC (less than 4 MiB free in one piece),
 * MOTE_EIO. calibration may be NULL. */
MOTE_API int mote_calibrate(const char *path, const struct mote_calibrate_options *options,
                            struct mote_calibration *calibration);

#ifdef __cplusplus
}
#endif

#endif /* MOTE_H */
