/* recent.h: rows of memtables indexed in memory: what the strategies REALTIME and HYBRID of a declared index are.
 *
 * A table with such an index has the places of its rows noted as they come (memtable.h, notes). Rows that came one after the other are put into a *batch*: they are sorted by key and numbered, and for each index of the table a section is
 * built from them by the kind's own builder, in memory. A search looks at a batch as at a segment, through the same code (search_segment.c); the rows that are in no batch yet, the *tail*, it looks at one by one. Batches of about one size
 * are replaced by one that holds the rows of all, so that their number grows with the logarithm of the rows'.
 *
 *     REALTIME   the writer whose row makes RECENT_ROWS of them builds the batch, before its call returns
 *     HYBRID     a worker does, soon after (without workers: the writer)
 *
 * Invariants
 *   1. A row is noted before it is visible. So what a view sees of a generation is in its batches or behind them, if every row of the generation is noted; if not (it was begun before the first such index was declared), the memtable is
 *      looked at row by row. Rows that a recovery replayed are not noted: they are read from the memtable in order, and until that is done the memtable is looked at row by row.
 *   2. A batch changes no more once it is published. It is freed when nobody has it pinned, and with its generation at the latest.
 *   3. Nothing here fails a write: where memory lacks, what is not indexed is looked at row by row.
 *
 * Memory: of notes 8 bytes a row and 16 a write, in the memtable; of batches 8 bytes a row and the sections, at most a RECENT_SHARE-th of the budget. A build takes what its builders take, and 48 bytes a row, for its time.
 * Threads: one mutex, held for moments; it is a leaf. A build holds no lock: one thread at a time builds the tail of a memtable, and one merges.
 */
#ifndef MOTE_ENGINE_RECENT_H
#define MOTE_ENGINE_RECENT_H

#include "engine/engine_private.h"

#define RECENT_ROWS 1024u       /* that make a batch */
#define RECENT_FANOUT 4u        /* batches of about one size that become one */
#define RECENT_SHARE 8u
#define RECENT_BATCHES_MAX 64u
#define RECENT_BATCH_ROWS_MAX (1u << 20)

/* A section of a batch. */
struct recent_section {
    uint64_t index_id;
    uint8_t *bytes;
    uint64_t length_bytes;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
    _Atomic uint32_t unusable; /* 1: it failed a check */
};

struct recent_batch {
    uint64_t id; /* no segment has it */
    struct memtable *memtable;
    uint32_t row_count, section_count;
    struct memtable_ref *rows; /* by ordinal: key ascending, seq descending */
    uint64_t seq_min;
    int64_t time_min_ns, time_max_ns; /* of rows with a time */
    uint32_t timed_count;
    uint64_t bytes; /* of the share */
    uint32_t pins;  /* under the mutex; dead: replaced, freed with the last pin */
    bool dead;
    bool remade;    /* by a merge: what sections it lacks it lacks for want of memory */
    struct recent_section sections[MANIFEST_TABLE_INDEXES_MAX];
};

/* What a search sees of one memtable. */
struct recent_view {
    bool complete; /* false: look at the memtable row by row; the rest is empty */
    struct memtable *memtable;
    uint32_t batch_count;
    struct recent_batch *batches[RECENT_BATCHES_MAX];
    struct memtable_note last; /* the tail: from this note back, without the one at end_place and what came before it */
    uint32_t end_place;
};

int recents_create(struct mote_db *db);
void recents_destroy(struct mote_db *db); /* NULL is allowed; generations are not used any more */
/* After an open: what was replayed. */
void recents_begin(struct mote_db *db);
/* The table's indexes are those of db->indexes. After a declaration and a drop, under ddl_mutex; MOTE_EBUDGET: the rows answer. */
int recent_settle(struct mote_table *table);
/* Whether writers of the table note their rows: one relaxed load, after entering the generation. */
static inline bool recent_wanted(const struct mote_table *table) { return atomic_load_explicit(&((struct mote_table *)(uintptr_t)table)->recent_wanted, memory_order_relaxed) != 0; }
/* After a write of noted rows, which are visible: the last `count` of `total`; the caller is still in the generation. from_ring: by a thread that may not be held up. Keeps the thread's error. */
void recent_follow(struct mote_table *table, struct generation *generation, struct memtable *memtable, uint32_t total, uint32_t count, bool from_ring);
/* What a worker does of it at a time; whether it did something. */
bool recents_build_some(struct mote_db *db);
/* The generation is about to be recycled: nobody is on it. */
void recents_forget(struct mote_db *db, const struct generation *generation);
/* Gives all memory back that no search has; rows answer until the next generation. For whoever lacks memory. */
void recents_drop(struct mote_db *db);
/* The generation is pinned by the caller's view, until unpin. memtable: the table's. */
void recent_pin(struct mote_table *table, const struct generation *generation, struct memtable *memtable, struct recent_view *view);
void recent_unpin(struct mote_table *table, struct recent_view *view);
/* Of all batches. */
uint64_t recents_bytes(struct mote_db *db);
/* Test hook: so many rows make a batch. Before the first row. */
void recents_set_rows(struct mote_db *db, uint32_t rows);

/* ---- recent_build.c ---- */

struct recent_row {
    uint64_t prefix, seq; /* of the key, and the version: what decides most comparisons */
    struct memtable_ref ref;
};
/* A batch of these rows, in any order (they are sorted), which go with it. A section that memory does not suffice for is left out. NULL: no memory. rows: count of them, and room for as many more. */
struct recent_batch *recent_batch_make(struct mote_db *db, const struct schema *schema, struct memtable *memtable, struct recent_row *rows, uint32_t count, const struct manifest_index *definitions, uint32_t definition_count,
                                       uint64_t bytes_max, uint64_t first_section_id);
void recent_batch_free(struct mote_db *db, struct recent_batch *batch);
struct recent_row recent_row_of(const struct memtable *memtable, struct memtable_ref ref);
struct recent_section *recent_batch_find(struct recent_batch *batch, uint64_t index_id); /* NULL: it has none that is good */

#endif
