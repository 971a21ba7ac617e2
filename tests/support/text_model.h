/* text_model.h: a table with a text index beside a model in memory: the same random changes to both, and searches that must tell what brute force over the model's texts tells (text_rig.h, which knows nothing of terms or postings), scores
 * included. The model knows which versions lie in segments, since those that are dead count in the statistics until a compaction drops them. One thread; a difference aborts with the seed. */
#ifndef MOTE_TESTS_SUPPORT_TEXT_MODEL_H
#define MOTE_TESTS_SUPPORT_TEXT_MODEL_H

#include "tests/support/engine_fixture.h"
#include "tests/support/text_rig.h"

enum { TEXT_MODEL_KEYS = 500, TEXT_MODEL_DOCUMENTS_MAX = 8000 };

struct text_model_document {
    int64_t id, time_ns;
    bool alive, in_segment;
};
struct text_model {
    bool vanished; /* versions that no segment had were replaced since the last flush: where rows of memtables are indexed in memory they may count in the statistics until it */
    uint64_t seed, state;
    mote_table *table;
    struct text_rig_text *texts; /* TEXT_MODEL_DOCUMENTS_MAX, side by side with documents */
    struct text_model_document *documents;
    uint32_t count;
};

/* The table "texts": id int64 (key), at timestamp, body text, the last two nullable. Without an index. The volume compacts only when it is told to (see text_model_options). */
void text_model_create(struct text_model *model, mote_db *db, uint64_t seed);
void text_model_free(struct text_model *model);
/* What the model needs of the options: no worker, and no compaction by itself. */
void text_model_options(struct mote_options *options);
void text_model_open(struct text_model *model, mote_db *db); /* after an open */
void text_model_add_index(struct text_model *model, const char *name);
void text_model_change(struct text_model *model, uint32_t count); /* random upserts and deletes */
void text_model_insert(struct text_model *model, int64_t id);
void text_model_flush(struct text_model *model, mote_db *db);
void text_model_compact(struct text_model *model, mote_db *db);
/* Random queries: all hits, the best few, within a time range, unranked. */
void text_model_check(struct text_model *model, uint32_t searches);
/* The hits of a query, ids and scores as they come; returns their number. limit 0: all. */
uint32_t text_model_ask(struct text_model *model, const char *words, uint32_t flags, uint64_t limit, int64_t *ids, double *scores, uint32_t most);

#endif
