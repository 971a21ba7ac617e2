/* text_rig.h: text sections in memory, for tests: a sink and a source (pages of their exact size, for the address sanitizer), and random documents and queries with an answer by brute force that knows nothing of terms, pairs or
 * postings: it compares words and characters one by one. */
#ifndef MOTE_TESTS_SUPPORT_TEXT_RIG_H
#define MOTE_TESTS_SUPPORT_TEXT_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/text.h"

struct text_rig {
    uint8_t *bytes;
    uint64_t length, capacity, random, reads, pinned;
    bool gaps; /* some pages are preceded by bytes that belong to nothing */
    struct section_identity identity;
    struct section_root root;
};
void text_rig_init(struct text_rig *rig, uint64_t segment_id, bool gaps);
void text_rig_free(struct text_rig *rig);
struct section_sink text_rig_sink(struct text_rig *rig);
struct section_source text_rig_source(struct text_rig *rig);
/* Every checksum is made good again, from the pages up to the root, as a hostile author would. */
void text_rig_reseal(struct text_rig *rig);

enum { TEXT_RIG_ELEMENTS_MAX = 60, TEXT_RIG_LEAVES_MAX = 12, TEXT_RIG_NODES_MAX = 32, TEXT_RIG_BYTES_MAX = 1024 };

/* A word or a character of a document or a phrase. */
struct text_rig_element {
    uint8_t word; /* number in the vocabulary; characters come behind the words */
    bool joined;  /* a character that follows the one before without a gap */
};
struct text_rig_text {
    struct text_rig_element elements[TEXT_RIG_ELEMENTS_MAX];
    uint32_t count;
    char bytes[TEXT_RIG_BYTES_MAX];
    uint32_t byte_count;
};
void text_rig_make_text(uint64_t *random, uint32_t elements_max, struct text_rig_text *text);

struct text_rig_node {
    char kind; /* 'l' leaf, '&', '|', '-' */
    uint32_t left, right, leaf;
};
struct text_rig_query {
    struct text_rig_text leaves[TEXT_RIG_LEAVES_MAX];
    bool prefix[TEXT_RIG_LEAVES_MAX];
    uint32_t leaf_count, node_count, root;
    struct text_rig_node nodes[TEXT_RIG_NODES_MAX];
    char bytes[8192];
};
void text_rig_make_query(uint64_t *random, struct text_rig_query *query);
uint32_t text_rig_occurrences(const struct text_rig_query *query, uint32_t leaf, const struct text_rig_text *text);
/* scores[d] of each text that matches, else -1. */
void text_rig_answer(const struct text_rig_query *query, const struct text_rig_text *texts, uint32_t count, double *scores);

#endif
