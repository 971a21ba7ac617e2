/* column_words.h: the different keys of a text or blob column while its index is built: a hash table that numbers them in the order in which they come, and their ranks in the end. Private to the builder.
 *
 * Memory: of the struct memory given; each array doubles when it is full. Threads: one. Failures: MOTE_EBUDGET.
 */
#ifndef MOTE_INDEX_COLUMN_WORDS_H
#define MOTE_INDEX_COLUMN_WORDS_H

#include <stdint.h>

struct memory;

struct column_word {
    uint64_t place; /* in bytes */
    uint32_t hash, length;
};

struct column_words {
    struct memory *memory;
    uint8_t *bytes;
    uint64_t bytes_count, bytes_capacity;
    struct column_word *words; /* by number */
    uint32_t count, capacity;
    uint32_t *table; /* number + 1, or 0; capacity * 2 slots, a power of two */
    uint32_t last;   /* the word added last: rows that repeat the one before skip the table */
    uint32_t *ranks; /* after column_words_rank: by number; and the numbers by rank */
    uint32_t *by_rank;
};

/* The number of a key, which it gets now if it is new. */
int column_words_add(struct column_words *words, const uint8_t *key, uint32_t length, uint32_t *number);
/* Sorts the keys. Nothing is added any more. */
int column_words_rank(struct column_words *words);
const uint8_t *column_words_of_rank(const struct column_words *words, uint32_t rank, uint32_t *length);
void column_words_free(struct column_words *words);
/* What so many words take at most, the sort included. */
uint64_t column_words_bytes(uint64_t count, uint64_t bytes);

#endif
