/* section.h: index sections in a segment: what an index and the segments that carry it share, so that neither needs to know the other.
 *
 * A section is a sequence of pages (byte strings, each with its own checksum) written one after the other through a sink and read back by offset through a source (the block cache behind it). Its builder emits the root last; who
 * keeps the section keeps the root's place, length and checksum.
 *
 * Types only; no I/O here. Threads and failures: those of the functions behind the pointers.
 */
#ifndef MOTE_BLOCKDEV_SECTION_H
#define MOTE_BLOCKDEV_SECTION_H

#include <stdbool.h>
#include <stdint.h>

struct memory;

/* What identifies a section's pages. */
struct section_identity {
    uint8_t uuid[16];
    uint64_t segment_id;
    uint64_t section_id; /* unique in the segment: a rebuilt section has a new one */
};

/* Pages need not follow each other without a gap: a segment skips the end of a run of extents that is too short for the next page. So a builder asks where the next page will lie, before it computes its checksum. */
struct section_sink {
    int (*place)(void *context, uint32_t length_bytes, uint64_t *offset_bytes); /* offset in the section at which the next write, of exactly this length, will lie */
    int (*write)(void *context, const void *data, uint32_t length_bytes);       /* writes what place was asked for; copies before it returns */
    void *context;
};

/* A page that will be read; check_context: as for read. */
struct section_page {
    uint64_t offset_bytes;
    uint32_t length_bytes;
    void *check_context;
};

struct section_source {
    /* Pins the bytes [offset, offset + length) of the section; *handle goes to release. check is called once, when the bytes come from the device. A range outside the section is MOTE_EDAMAGED. */
    int (*read)(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context), void *check_context,
                const uint8_t **data, void **handle);
    void (*release)(void *context, void *handle);
    void *context;
    /* May be NULL. The caller is about to read these pages: what is not cached can be read from the device at once rather than one after the other. A hint: failures are those of the reads to come. Nothing of it is used after it returns. */
    void (*prefetch)(void *context, const struct section_page *pages, uint32_t count, int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context));
};

struct section_root {
    uint32_t kind; /* of the index, its own number */
    uint64_t length_bytes;      /* of the section, gaps included */
    uint64_t root_offset_bytes; /* in the section */
    uint32_t root_bytes;
    uint32_t root_crc;
};

/* What a builder puts down when its memory is full, to read it again at its end: sections of the same build, gone with it. On the device they are free space to everybody else. */
struct section_part {
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
};
struct section_scratch {
    /* Has fill write a section of at most bytes_max. Not within another write. */
    int (*write)(void *context, uint64_t bytes_max, int (*fill)(void *fill_context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root), void *fill_context,
                 struct section_part **part);
    void (*release)(void *context, struct section_part *part);
    void *context;
};

/* A section of which a merge takes rows. */
struct section_merge_input {
    const struct section_identity *identity;
    const struct section_root *root;
    const struct section_source *source;
    const uint32_t *new_ordinals; /* of the rows first_ordinal, + 1, ..., mapped_count of them: the row's ordinal in the output, ascending, or SECTION_ROW_DROPPED, as are all others */
    uint32_t row_count;           /* of the segment: its rows have lower ordinals */
    uint32_t first_ordinal, mapped_count;
};
#define SECTION_ROW_DROPPED UINT32_MAX

/* The operations of an index of 64-bit values over row ordinals, in the order in which a segment uses them: built with its rows, searched, verified. index/index.h documents each; the engine joins the two (sst_context). */
struct ordinal_index;
struct ordinal_index_ops {
    uint32_t kind; /* of its roots */
    uint64_t (*bytes_bound)(uint64_t rows); /* at most ordinal_index_bytes_max */
    int (*create)(struct memory *memory, uint64_t rows_max, struct ordinal_index **builder);
    int (*add)(struct ordinal_index *builder, uint32_t ordinal, int64_t value);
    int (*add_many)(struct ordinal_index *builder, uint32_t first_ordinal, const int64_t *values, uint32_t count); /* the same for rows one after the other */
    int (*finish)(struct ordinal_index *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
    void (*destroy)(struct ordinal_index *builder);
    int (*search)(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from, int64_t to,
                  int (*visit)(void *context, const int64_t *values, const uint32_t *ordinals, uint32_t count), void *context);
    int (*count)(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, int64_t from, int64_t to, uint64_t *count);
    int (*verify)(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count);
};

/* The operations of a declared index: of one or more columns of a table's rows, which are known as ordinals. Built with a segment's rows, block by block; verified. What it answers is the engine's business. */
#define ROW_INDEX_COLUMNS_MAX 4u
#define ROW_INDEX_OPTIONS_BYTES_MAX 64u
struct codec_vector;
struct row_index;
/* Of a kind whose best section takes too long for a flush: it is built afterwards, in the background, in steps. In place of create and finish; add, section_bytes_bound and destroy are those of the ops. */
struct row_index_steps {
    /* Whether a better section than this one, of a segment of row_count rows, can be made with memory_bytes_max: from little reading. */
    int (*due)(const uint8_t *options, uint32_t options_bytes, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count,
               uint64_t memory_bytes_max, bool *due);
    /* The best section that memory_bytes_max allows; 0: the one that is made soonest. fetch: rows that were added, again, mostly in order: their columns, and which row in these is meant; they live until the next call. */
    int (*create)(struct memory *memory, const uint8_t *options, uint32_t options_bytes, uint64_t rows_max, uint64_t memory_bytes_max, int (*fetch)(void *context, uint32_t ordinal, const struct codec_vector **columns, uint32_t *row),
                  void *fetch_context, struct row_index **builder);
    int (*begin)(struct row_index *builder, const struct section_identity *identity, const struct section_sink *sink); /* no more rows come; both stay until the end */
    int (*step)(struct row_index *builder, bool *finished); /* a piece of work of at most a millisecond or two */
    void (*root)(const struct row_index *builder, struct section_root *root); /* of a finished one */
};
/* What a section holds against what its rows say that it must: both sides are put into tallies (section_tally.h), which then are compared. */
struct section_tally;
struct row_audit;
struct row_index_audit {
    const char *entry; /* what it holds of a row, for sentences: "value", "place" */
    /* Adds all entries of a section that verify has found sound. MOTE_EDAMAGED also where it was made with other options. */
    int (*tally_section)(const uint8_t *options, uint32_t options_bytes, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, struct section_tally *tally);
    /* Adds the entries that a section must have of rows, which come as for row_index_ops.add, in any order. */
    int (*create)(struct memory *memory, const uint8_t *options, uint32_t options_bytes, struct row_audit **audit);
    int (*tally_rows)(struct row_audit *audit, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted, struct section_tally *tally);
    void (*destroy)(struct row_audit *audit); /* NULL is allowed */
};
struct row_index_ops {
    uint32_t kind;                              /* of its roots */
    uint64_t (*builder_bytes)(const uint8_t *options, uint32_t options_bytes, uint64_t rows_max); /* memory that a builder takes, the writing included */
    int (*create)(struct memory *memory, const uint8_t *options, uint32_t options_bytes, uint64_t rows_max, struct row_index **builder);
    /* May be NULL. Before the first add: how much the builder may take, finish included, where that is not a matter of the rows' number; and where it may put down what does not fit (NULL: nowhere; outlives the builder). */
    void (*set_limit)(struct row_index *builder, uint64_t memory_bytes_max, const struct section_scratch *scratch);
    /* The next rows, first_ordinal, + 1, ...: one vector for each indexed column. deleted: one byte a row, 1 for a tombstone, whose values do not count; NULL: none is. After a failure the builder can but be destroyed. */
    int (*add)(struct row_index *builder, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted);
    /* May be NULL. The builder has taken most of the memory that builder_bytes told of, by what the rows hold and not by how many they are: the segment ends between the next two keys. It is asked after each add, and must still take a block of rows
     * or two. */
    bool (*full)(const struct row_index *builder);
    /* May be NULL. All rows were added; the last chance to use the scratch. After a failure as add. */
    int (*complete)(struct row_index *builder);
    uint64_t (*section_bytes_bound)(const struct row_index *builder); /* of what was added */
    int (*finish)(struct row_index *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root);
    void (*destroy)(struct row_index *builder); /* NULL is allowed */
    int (*verify)(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count);
    /* May be NULL: a section is built from rows no slower than it would be out of others. One section out of those of several segments, of the same options, the same byte for byte as one built from the rows that stay; and at most how long. */
    int (*merge)(struct memory *memory, const uint8_t *options, uint32_t options_bytes, const struct section_merge_input *inputs, uint32_t input_count, const struct section_identity *identity, const struct section_sink *sink,
                 struct section_root *root);
    int (*merge_bytes_bound)(struct memory *memory, const uint8_t *options, uint32_t options_bytes, const struct section_merge_input *inputs, uint32_t input_count, uint64_t *bytes_max);
    const struct row_index_steps *steps; /* NULL: what a flush makes is the best there is */
    const struct row_index_audit *audit;
};

/* No section of an ordinal index takes more than this a row, and this in all beside. */
#define ORDINAL_INDEX_ROW_BYTES_MAX 13u
#define ORDINAL_INDEX_FIXED_BYTES_MAX (56u * 1024u)
static inline uint64_t ordinal_index_bytes_max(uint64_t rows) { return rows ? rows * ORDINAL_INDEX_ROW_BYTES_MAX + ORDINAL_INDEX_FIXED_BYTES_MAX : 256; }

#endif
