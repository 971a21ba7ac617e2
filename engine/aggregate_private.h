/* aggregate_private.h: the parts of an aggregation and how they fit together.
 *
 *     aggregate.c         the calls, and the walk over blocks and rows
 *     aggregate_open.c    what is asked, checked
 *     aggregate_cell.c    one column's figures in one group: values, slices of columns and zone maps go in, results come out
 *     aggregate_group.c   the groups: found by series and bucket, closed, put out
 *
 * A *group* is one row of the result: one series, one bucket. Where rows come group by group (the series is asked for or given, or the key begins with the time, or there are no buckets) the groups are *ordered*: only the last one is open,
 * and the walk stops when a chunk of them is full. Else they are found by a hash of their bucket, and put out in order at the end.
 *
 * Edges (FIRST and LAST). Where the rows of a group come in the order of time, a block that is taken by its statistics leaves an edge *pending*: the key of its first, or last, row is kept, and the row is looked up when the group closes.
 *
 * Threads: the aggregation's. Failures: those of cursors; MOTE_ERANGE of a sum. */
#ifndef MOTE_ENGINE_AGGREGATE_PRIVATE_H
#define MOTE_ENGINE_AGGREGATE_PRIVATE_H

#include "engine/cursor_private.h"

#define AGGREGATE_VALUES_MAX 1024u

/* A column that something is asked of. */
struct aggregate_column {
    uint32_t position, type, value_bytes;
    bool is_float;
    bool scalar;   /* more than the count can be asked */
    bool figures;  /* more than the count is asked */
    bool sum, mean, first, last;
    bool never_null; /* and only counted: it need not be read */
};

struct aggregate_output {
    uint32_t function, column; /* column: number in columns, or MOTE_AGGREGATE_ROWS */
};

enum edge_state { EDGE_NONE, EDGE_KNOWN, EDGE_PENDING };
struct aggregate_edge {
    enum edge_state state;
    int64_t time_ns;
    uint64_t bits; /* the value's bytes */
};

struct aggregate_cell {
    uint64_t value_count;  /* not NULL */
    uint64_t number_count; /* and not NaN; exact where the mean is asked, else only 0 or not */
    __int128 sum_int;
    double sum_float;
    int64_t min_i64, max_i64;
    double min_f64, max_f64;
    struct aggregate_edge first, last;
};

struct aggregate_group {
    int64_t bucket_ns; /* begin */
    uint64_t row_count;
    uint32_t series_at, series_bytes; /* in series_keys */
};

/* A stretch of rows of a block. */
struct aggregate_slice {
    struct sst_iterator *iterator;
    struct codec_vector times;  /* count 0: not needed */
    const int64_t *times_ns;    /* where they are that already and none is NULL */
    uint32_t first, count;      /* rows of the block */
};

#define GROUP_NONE UINT32_MAX
#define GROUP_FULL (UINT32_MAX - 1)

struct mote_aggregation {
    struct mote_cursor cursor;
    int failure; /* MOTE_E that every further call returns */
    /* What is asked. */
    bool by_series, bucketed;
    bool ordered;      /* as above */
    bool time_ordered; /* within a group rows come in the order of their times, and all have one; or the table has no times */
    bool edges;        /* some FIRST or LAST is asked */
    bool timed;        /* rows' times are needed to find their group, or their place in the range */
    int64_t bucket_length_ns, origin_ns;
    uint32_t series_columns, series_bytes_fixed; /* of the key; bytes 0: it varies */
    uint32_t column_count, output_count, groups_max; /* groups_max: of the array, where they are ordered */
    struct aggregate_column *columns;
    struct aggregate_output *outputs;
    struct chunk_buffer chunk;
    struct mote_value *row; /* of the result, while it is made */
    /* Groups. */
    struct aggregate_group *groups;
    struct aggregate_cell *cells; /* column_count for each group */
    uint32_t group_count, group_capacity;
    uint32_t *slots; /* by hash of the bucket: number + 1, 0: free; not ordered only */
    uint32_t slot_count;
    uint8_t *series_keys;
    uint32_t series_keys_bytes, series_keys_capacity;
    uint32_t put_out;     /* groups of the array that are in chunks already */
    bool putting;         /* the groups are complete and go into chunks */
    bool closed;          /* the last group takes no more rows */
    uint64_t left_rows;   /* quantum of the present view */
    /* Where the walk is. */
    struct bound series;  /* of the present row */
    int64_t bucket_first_ns, bucket_last_ns; /* the bucket found last, inclusive; first > last: none */
    int64_t bucket_ns;
    struct bound first_key, last_key; /* of pending edges, both of the last group */
};

/* ---- aggregate_open.c ---- */
/* The options are complete and so far unchecked. overlay: of a transaction, whose writes count too; NULL: none. */
int aggregate_open(mote_table *table, const struct mote_aggregate_options *options, struct overlay *overlay, mote_aggregation **aggregation);
/* mote_aggregate and mote_count; of a transaction, at its snapshot, which the options must not name. */
int aggregate_run(mote_table *table, const struct mote_aggregate_options *given, const mote_snapshot *snapshot, struct overlay *overlay, mote_aggregation **out);
int aggregate_count(mote_table *table, const struct mote_scan_options *given, const mote_snapshot *snapshot, struct overlay *overlay, uint64_t *count);

/* ---- aggregate.c ---- */
/* sst_wants of the segments' iterators. */
bool aggregate_wants_block(void *context, const struct sst_statistics *statistics);

/* ---- aggregate_cell.c ---- */
void aggregate_cell_init(struct aggregate_cell *cell);
/* One row's value. has_time false: it is no edge, unless the table has no times. */
void aggregate_cell_add(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct mote_value *value, int64_t time_ns, bool has_time, struct aggregate_cell *cell);
/* The rows [first, first + count) of a decoded column. */
void aggregate_cell_add_slice(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct codec_vector *values, const struct aggregate_slice *slice, uint32_t first, uint32_t count, struct aggregate_cell *cell);
/* Whether a block's statistics say all that is asked; cell NULL: it is the group's first. Then it may be added. */
bool aggregate_cell_fits(const mote_aggregation *aggregation, const struct aggregate_column *column, const struct sst_statistics *statistics, const struct aggregate_cell *cell);
void aggregate_cell_add_block(const struct aggregate_column *column, const struct sst_statistics *statistics, struct aggregate_cell *cell);
int aggregate_cell_result(const mote_aggregation *aggregation, const struct aggregate_output *output, const struct aggregate_group *group, const struct aggregate_cell *cell, struct mote_value *value);
bool aggregate_time_at(const mote_aggregation *aggregation, const struct aggregate_slice *slice, uint32_t row, int64_t *time_ns);

/* ---- aggregate_group.c ---- */
/* The group of the present series and this bucket; make: a new one where there is none. GROUP_NONE; GROUP_FULL: ordered, and a chunk is full. A group that a new one follows is closed. */
int aggregate_group_find(mote_aggregation *aggregation, int64_t bucket_ns, bool make, uint32_t *group);
/* Whether two times are in one bucket. */
bool aggregate_same_bucket(const mote_aggregation *aggregation, int64_t time_ns, int64_t other_ns);
/* The bucket of a time, with what is remembered of it. */
void aggregate_bucket_find(mote_aggregation *aggregation, int64_t time_ns);
/* Looks up what is pending in the last group. */
int aggregate_group_close(mote_aggregation *aggregation);
/* Puts groups into the chunk until it is full or there are none left; clears the array then. */
int aggregate_groups_put_out(mote_aggregation *aggregation);
static inline struct aggregate_cell *aggregate_cells_of(const mote_aggregation *aggregation, uint32_t group) { return aggregation->cells + (size_t)group * aggregation->column_count; }

#endif
