/* column_words.c: see column_words.h. Open addressing with linear probing, at most half full; the sort is one by radix on the eight bytes behind what all have in common, then a merge
 * sort of those that are alike there. */
#include "index/column_words.h"

#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

enum { CAPACITY_FIRST = 256, BYTES_FIRST = 4096 };

/* FNV-like over words of eight bytes, mixed at the end; quality, not secrecy, is wanted: a table of keys made to collide is slow, not wrong. */
static uint32_t hash_of(const uint8_t *key, uint32_t length)
{
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length;
    for (; length >= 8; key += 8, length -= 8) {
        hash = (hash ^ load_u64(key)) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    for (uint32_t i = 0; i < length; i++)
        rest |= (uint64_t)key[i] << 8 * i;
    hash = (hash ^ rest) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 29;
    hash *= 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(hash >> 32);
}

static void put_in_table(uint32_t *table, uint32_t mask, uint32_t hash, uint32_t number)
{
    uint32_t slot = hash & mask;
    while (table[slot])
        slot = (slot + 1) & mask;
    table[slot] = number + 1;
}

static int grow_words(struct column_words *words)
{
    if (words->count < words->capacity)
        return MOTE_OK;
    if (words->capacity >= 1u << 30)
        return error_set(MOTE_EBUDGET, "a column index is built over at most 2^30 different values; build smaller segments");
    uint32_t capacity = words->capacity ? 2 * words->capacity : CAPACITY_FIRST, mask = 2 * capacity - 1;
    struct column_word *grown = memory_realloc(words->memory, words->words, capacity * sizeof *grown);
    if (!grown)
        return MOTE_EBUDGET;
    words->words = grown;
    uint32_t *table = memory_alloc_zero(words->memory, 2 * (size_t)capacity * sizeof *table);
    if (!table)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < words->count; i++)
        put_in_table(table, mask, words->words[i].hash, i);
    memory_free(words->memory, words->table);
    words->table = table;
    words->capacity = capacity;
    return MOTE_OK;
}

static int append_word(struct column_words *words, const uint8_t *key, uint32_t length, uint32_t hash)
{
    int result = grow_words(words);
    if (result)
        return result;
    if (words->bytes_count + length > words->bytes_capacity) {
        uint64_t capacity = words->bytes_capacity ? 2 * words->bytes_capacity : BYTES_FIRST;
        uint8_t *grown = memory_realloc(words->memory, words->bytes, capacity);
        if (!grown)
            return MOTE_EBUDGET;
        words->bytes = grown;
        words->bytes_capacity = capacity;
    }
    if (length)
        memcpy(words->bytes + words->bytes_count, key, length);
    words->words[words->count] = (struct column_word){.place = words->bytes_count, .hash = hash, .length = length};
    words->bytes_count += length;
    put_in_table(words->table, 2 * words->capacity - 1, hash, words->count++);
    return MOTE_OK;
}

static bool is_word(const struct column_words *words, uint32_t number, const uint8_t *key, uint32_t length)
{
    const struct column_word *word = &words->words[number];
    return word->length == length && (length == 0 || memcmp(words->bytes + word->place, key, length) == 0);
}

int column_words_add(struct column_words *words, const uint8_t *key, uint32_t length, uint32_t *number)
{
    assert(length <= COLUMN_KEY_BYTES_MAX);
    if (words->count && is_word(words, words->last, key, length)) {
        *number = words->last;
        return MOTE_OK;
    }
    uint32_t hash = hash_of(key, length);
    for (uint32_t mask = 2 * words->capacity - 1, slot = hash & mask; words->count && words->table[slot]; slot = (slot + 1) & mask) {
        uint32_t found = words->table[slot] - 1;
        if (words->words[found].hash == hash && is_word(words, found, key, length)) {
            *number = words->last = found;
            return MOTE_OK;
        }
    }
    int result = append_word(words, key, length, hash);
    *number = words->last = words->count - (result ? 0 : 1);
    return result;
}

/* How many bytes all words begin with in common. */
static uint32_t common_bytes(const struct column_words *words)
{
    const uint8_t *first = words->bytes + words->words[0].place;
    uint32_t common = words->words[0].length;
    for (uint32_t i = 1; i < words->count && common > 0; i++) {
        const uint8_t *bytes = words->bytes + words->words[i].place;
        uint32_t most = words->words[i].length < common ? words->words[i].length : common;
        for (common = 0; common < most && bytes[common] == first[common]; common++)
            ;
    }
    return common;
}

/* Eight bytes from `from` on as a number that ascends with them; what is missing counts as 0, which the comparison of whole words tells from a byte 0. */
static uint64_t eight_bytes(const struct column_words *words, uint32_t number, uint32_t from)
{
    uint8_t eight[8] = {0};
    const struct column_word *word = &words->words[number];
    uint32_t left = word->length - from;
    if (left)
        memcpy(eight, words->bytes + word->place + from, left < 8 ? left : 8);
    return load_be64(eight);
}

static bool word_above(const struct column_words *words, uint32_t a, uint32_t b)
{
    const struct column_word *x = &words->words[a], *y = &words->words[b];
    return column_bytes_compare(words->bytes + x->place, x->length, words->bytes + y->place, y->length) > 0;
}

/* Merges ascending runs of width, 2 * width, ... numbers, through the room of spare. */
static void sort_alike(const struct column_words *words, uint32_t *numbers, uint64_t count, uint32_t *spare)
{
    uint32_t *from = numbers, *to = spare;
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t begin = 0; begin < count; begin += 2 * width) {
            uint64_t a = begin, a_end = a + width < count ? a + width : count, b = a_end, b_end = b + width < count ? b + width : count;
            for (uint64_t i = begin; i < b_end; i++) {
                bool takes_a = a < a_end && (b == b_end || !word_above(words, from[a], from[b]));
                to[i] = takes_a ? from[a++] : from[b++];
            }
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != numbers)
        memcpy(numbers, from, count * sizeof *numbers);
}

int column_words_rank(struct column_words *words)
{
    uint64_t count = words->count;
    if (count == 0)
        return MOTE_OK;
    words->ranks = memory_alloc(words->memory, count * sizeof *words->ranks);
    words->by_rank = memory_alloc(words->memory, count * sizeof *words->by_rank);
    uint32_t common = words->bytes ? common_bytes(words) : 0;
    uint64_t *firsts = memory_alloc(words->memory, count * sizeof *firsts);
    int result = words->ranks && words->by_rank && firsts ? MOTE_OK : MOTE_EBUDGET;
    for (uint32_t i = 0; !result && i < count; i++) {
        firsts[i] = eight_bytes(words, i, common);
        words->by_rank[i] = i;
    }
    if (!result)
        result = column_sort_pairs(words->memory, firsts, words->by_rank, count);
    for (uint64_t from = 0, to; !result && from < count; from = to) {
        for (to = from + 1; to < count && firsts[to] == firsts[from]; to++)
            ;
        if (to - from > 1)
            sort_alike(words, words->by_rank + from, to - from, words->ranks); /* ranks are not in use yet */
    }
    for (uint32_t i = 0; !result && i < count; i++)
        words->ranks[words->by_rank[i]] = i;
    memory_free(words->memory, firsts);
    return result;
}

const uint8_t *column_words_of_rank(const struct column_words *words, uint32_t rank, uint32_t *length)
{
    assert(rank < words->count);
    const struct column_word *word = &words->words[words->by_rank[rank]];
    *length = word->length;
    return words->bytes ? words->bytes + word->place : (const uint8_t *)""; /* the empty word alone has no bytes */
}

void column_words_free(struct column_words *words)
{
    memory_free(words->memory, words->bytes);
    memory_free(words->memory, words->words);
    memory_free(words->memory, words->table);
    memory_free(words->memory, words->ranks);
    memory_free(words->memory, words->by_rank);
}

/* Arrays are up to twice as large as what they hold, and while one grows the old one is there too; ranks and their sort take 28 bytes a word. */
uint64_t column_words_bytes(uint64_t count, uint64_t bytes)
{
    uint64_t capacity = count < CAPACITY_FIRST ? CAPACITY_FIRST : 2 * count, bytes_capacity = bytes < BYTES_FIRST ? BYTES_FIRST : 2 * bytes;
    return capacity * (sizeof(struct column_word) + 8) * 3 / 2 + bytes_capacity * 3 / 2 + count * 28;
}
