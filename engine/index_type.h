/* index_type.h: what the engine knows of a kind of declared index: which columns and options it takes, and how it is built from rows. Each kind has one (engine/index_<kind>.c); index_types.c lists them. What a search does with an index:
 * search_term.h. */
#ifndef MOTE_ENGINE_INDEX_TYPE_H
#define MOTE_ENGINE_INDEX_TYPE_H

#include "engine/engine_private.h"

struct index_type {
    const struct row_index_ops *rows; /* rows->kind is the kind's number: enum mote_index_kind */
    const char *name;                 /* for sentences */
    /* Checks columns (positions that exist, column_count of them) and the kind's options; writes the latter to index->options. MOTE_EINVAL with a sentence that names the table and says what the kind needs. */
    int (*declare)(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index);
    /* Reads index->options back, into the info's fields of the kind. NULL: it has none. */
    void (*describe)(const struct manifest_index *index, struct mote_index_info *info);
};

/* NULL: there is no such kind. */
const struct index_type *index_type_find(uint32_t kind);

extern const struct index_type vector_index_type;
extern const struct index_type spatial_index_type;
extern const struct index_type column_index_type;
extern const struct index_type text_index_type;

#endif
