/* text_build.c: a text section out of rows: an inverter in memory. A hash table finds a word's number; what is known of it goes, as varints, to a chain of chunks that double from 16 bytes to 4 KiB:
 * for the first occurrence in a document 2 * (ordinal - the last document's) + 1 and the position, for each further one 2 * (position - the last).
 *
 * Memory: slabs of 256 KiB for chunks and the words' bytes, taken as they are needed, the table of words and their hash table (each doubled when full), and 8 bytes a document (docs/indexes-text.md). With a limit, what a word more may
 * take at most is looked at before it is taken in; where it is too much, everything is handed over as a part (text_builder_set_limit), in the midst of a text too, and the builder begins anew. A text that is cut has a document in
 * each part, whose positions go on; its length there is the number of words so far, so that the last part has all of it.
 * Threads: one. Failures: MOTE_EINVAL (ordinals out of order), MOTE_EBUDGET: the builder can but be destroyed.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

enum { SLAB_BYTES = 256 * 1024, SLAB_UNIT = 8, CHUNK_BYTES_MIN = 16, CHUNK_CLASSES = 9, CHUNK_BYTES_MAX = CHUNK_BYTES_MIN << (CHUNK_CLASSES - 1), CHUNK_LINK_BYTES = 4 };
/* What finish takes: for each word, and beside. */
enum { FINISH_WORD_BYTES = 32, FINISH_BYTES = 448 * 1024 };

struct word {
    uint8_t *bytes;
    uint8_t *at, *end; /* where the next byte of its chain goes */
    uint32_t first_chunk, hash;
    uint32_t last_ordinal, last_position, documents;
    uint8_t length, chunk_class;
};
struct document {
    uint32_t ordinal, length;
};

struct text_builder {
    struct memory *memory;
    struct text_analyser *analyser;
    uint8_t **slabs;
    uint32_t slab_count, slab_capacity, slab_fill;
    struct word *words;
    uint32_t word_count, word_capacity;
    uint32_t *table; /* word number + 1, or 0; a power of two */
    uint32_t table_size;
    struct document *documents;
    uint32_t document_count, document_capacity;
    uint32_t ordinal; /* that is being added, or was the last */
    bool begun;       /* there is one */
    uint32_t noted;   /* words of it that are counted in tokens */
    uint64_t tokens, term_bytes, postings, memory_bytes;
    struct {
        uint64_t words, tokens, term_bytes, postings;
    } parted; /* what went to parts */
    uint64_t memory_bytes_max; /* 0: no limit */
    int (*full)(void *context);
    void *full_context;
};

int text_builder_create(struct memory *memory, struct text_analyser *analyser, struct text_builder **builder)
{
    struct text_builder *made = *builder = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->analyser = analyser;
    made->memory_bytes = sizeof *made;
    return MOTE_OK;
}

/* Forgets rows and words, and gives their memory back. */
static void clear(struct text_builder *builder)
{
    for (uint32_t i = 0; i < builder->slab_count; i++)
        memory_free(builder->memory, builder->slabs[i]);
    memory_free(builder->memory, builder->slabs);
    memory_free(builder->memory, builder->words);
    memory_free(builder->memory, builder->table);
    memory_free(builder->memory, builder->documents);
    builder->slabs = NULL;
    builder->words = NULL;
    builder->table = NULL;
    builder->documents = NULL;
    builder->slab_count = builder->slab_capacity = builder->slab_fill = builder->word_count = builder->word_capacity = builder->table_size = builder->document_count = builder->document_capacity = 0;
    builder->tokens = builder->term_bytes = builder->postings = 0;
    builder->memory_bytes = sizeof *builder;
}

void text_builder_destroy(struct text_builder *builder)
{
    if (!builder)
        return;
    clear(builder);
    memory_free(builder->memory, builder);
}

void text_builder_set_limit(struct text_builder *builder, uint64_t memory_bytes_max, int (*full)(void *context), void *context)
{
    builder->memory_bytes_max = memory_bytes_max > TEXT_BUILDER_BYTES_MIN ? memory_bytes_max : TEXT_BUILDER_BYTES_MIN;
    builder->full = full;
    builder->full_context = context;
}

/* With what finish takes. */
static uint64_t taken_bytes(const struct text_builder *builder) { return builder->memory_bytes + (uint64_t)builder->word_count * FINISH_WORD_BYTES + FINISH_BYTES; }

bool text_builder_is_half_full(const struct text_builder *builder) { return builder->memory_bytes_max && taken_bytes(builder) > builder->memory_bytes_max / 2; }

uint64_t text_builder_memory_bytes(const struct text_builder *builder) { return builder->memory_bytes; }

uint64_t text_builder_section_bytes_bound(const struct text_builder *builder)
{
    uint64_t ordinals = builder->document_count ? (uint64_t)builder->documents[builder->document_count - 1].ordinal + 1 : 0;
    return text_section_bytes_bound(ordinals, builder->word_count, builder->term_bytes, builder->postings, builder->tokens);
}

uint64_t text_builder_merged_bytes_bound(const struct text_builder *builder)
{
    uint64_t ordinals = builder->begun ? (uint64_t)builder->ordinal + 1 : 0;
    return text_section_bytes_bound(ordinals, builder->parted.words + builder->word_count, builder->parted.term_bytes + builder->term_bytes, builder->parted.postings + builder->postings,
                                    builder->parted.tokens + builder->tokens);
}

/* Twice the entries of an array, or `first` of them. */
static void *grow(struct text_builder *builder, void *array, uint32_t *capacity, uint32_t first, size_t entry_bytes)
{
    uint32_t larger = *capacity ? *capacity * 2 : first;
    void *grown = larger > *capacity ? memory_realloc(builder->memory, array, larger * entry_bytes) : NULL;
    if (!grown)
        return NULL;
    builder->memory_bytes += (larger - *capacity) * entry_bytes;
    *capacity = larger;
    return grown;
}

/* byte_count bytes, not zeroed, and the number by which chunk_at finds them again; NULL: MOTE_EBUDGET is set. */
static uint8_t *take_bytes(struct text_builder *builder, uint32_t byte_count, uint32_t *number)
{
    byte_count = (byte_count + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT;
    if (builder->slab_count == 0 || builder->slab_fill + byte_count > SLAB_BYTES) {
        if (builder->slab_count == builder->slab_capacity) {
            uint8_t **grown = grow(builder, builder->slabs, &builder->slab_capacity, 64, sizeof *grown);
            if (!grown)
                return NULL;
            builder->slabs = grown;
        }
        if (builder->slab_count >= UINT32_MAX / (SLAB_BYTES / SLAB_UNIT) || !(builder->slabs[builder->slab_count] = memory_alloc(builder->memory, SLAB_BYTES)))
            return NULL;
        builder->slab_count++;
        builder->slab_fill = 0;
        builder->memory_bytes += SLAB_BYTES;
    }
    uint8_t *bytes = builder->slabs[builder->slab_count - 1] + builder->slab_fill;
    *number = (builder->slab_count - 1) * (SLAB_BYTES / SLAB_UNIT) + builder->slab_fill / SLAB_UNIT;
    builder->slab_fill += byte_count;
    return bytes;
}

static uint8_t *chunk_at(const struct text_builder *builder, uint32_t number)
{
    return builder->slabs[number / (SLAB_BYTES / SLAB_UNIT)] + number % (SLAB_BYTES / SLAB_UNIT) * SLAB_UNIT;
}

static int append_bytes(struct text_builder *builder, struct word *word, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (word->at == word->end) {
            uint32_t number, old_bytes = (uint32_t)CHUNK_BYTES_MIN << word->chunk_class;
            uint8_t *old = word->end - old_bytes;
            word->chunk_class = (uint8_t)(word->chunk_class + 1 < CHUNK_CLASSES ? word->chunk_class + 1 : CHUNK_CLASSES - 1);
            uint32_t new_bytes = (uint32_t)CHUNK_BYTES_MIN << word->chunk_class;
            uint8_t *chunk = take_bytes(builder, new_bytes, &number);
            if (!chunk)
                return MOTE_EBUDGET;
            store_u32(old, number);
            word->at = chunk + CHUNK_LINK_BYTES;
            word->end = chunk + new_bytes;
        }
        *word->at++ = bytes[i];
    }
    return MOTE_OK;
}

static int grow_table(struct text_builder *builder)
{
    uint32_t size = builder->table_size ? builder->table_size * 2 : 1024;
    uint32_t *table = size > builder->table_size ? memory_alloc_zero(builder->memory, size * sizeof *table) : NULL;
    if (!table)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < builder->word_count; i++) {
        uint32_t slot = builder->words[i].hash & (size - 1);
        while (table[slot])
            slot = (slot + 1) & (size - 1);
        table[slot] = i + 1;
    }
    memory_free(builder->memory, builder->table);
    builder->memory_bytes += (size - builder->table_size) * sizeof *table;
    builder->table = table;
    builder->table_size = size;
    return MOTE_OK;
}

static int add_word(struct text_builder *builder, const uint8_t *term, uint32_t term_bytes, uint32_t hash, struct word **added)
{
    if (builder->word_count == builder->word_capacity) {
        struct word *grown = grow(builder, builder->words, &builder->word_capacity, 512, sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        builder->words = grown;
    }
    struct word *word = &builder->words[builder->word_count];
    uint32_t number;
    *word = (struct word){.hash = hash, .length = (uint8_t)term_bytes};
    word->bytes = take_bytes(builder, term_bytes, &number);
    uint8_t *chunk = word->bytes ? take_bytes(builder, CHUNK_BYTES_MIN, &word->first_chunk) : NULL;
    if (!chunk)
        return MOTE_EBUDGET;
    memcpy(word->bytes, term, term_bytes);
    word->at = chunk + CHUNK_LINK_BYTES;
    word->end = chunk + CHUNK_BYTES_MIN;
    builder->word_count++;
    builder->term_bytes += term_bytes;
    *added = word;
    return MOTE_OK;
}

static int find_word(struct text_builder *builder, const uint8_t *term, uint32_t term_bytes, struct word **found)
{
    uint32_t hash = crc32c(term_bytes, term, term_bytes) * 0x9E3779B1u;
    hash ^= hash >> 15;
    if (builder->word_count >= builder->table_size / 4 * 3) {
        int result = grow_table(builder);
        if (result)
            return result;
    }
    uint32_t slot = hash & (builder->table_size - 1);
    for (; builder->table[slot]; slot = (slot + 1) & (builder->table_size - 1)) {
        struct word *word = &builder->words[builder->table[slot] - 1];
        if (word->hash == hash && word->length == term_bytes && memcmp(word->bytes, term, term_bytes) == 0) {
            *found = word;
            return MOTE_OK;
        }
    }
    int result = add_word(builder, term, term_bytes, hash, found);
    if (!result)
        builder->table[slot] = builder->word_count;
    return result;
}

static int add_document(struct text_builder *builder, uint32_t length)
{
    if (builder->document_count == builder->document_capacity) {
        struct document *grown = grow(builder, builder->documents, &builder->document_capacity, 1024, sizeof *grown);
        if (!grown)
            return MOTE_EBUDGET;
        builder->documents = grown;
    }
    builder->documents[builder->document_count++] = (struct document){builder->ordinal, length};
    builder->tokens += length - builder->noted;
    builder->noted = length;
    return MOTE_OK;
}

/* What the next word may take beyond that: an array that is full is doubled, with the old one beside it meanwhile. */
static bool is_full(const struct text_builder *builder)
{
    uint64_t bytes = taken_bytes(builder) + FINISH_WORD_BYTES;
    if (builder->slab_count == 0 || builder->slab_fill + CHUNK_BYTES_MAX + TEXT_TERM_BYTES_MAX + CHUNK_BYTES_MIN > SLAB_BYTES)
        bytes += SLAB_BYTES + (builder->slab_count == builder->slab_capacity ? 2 * builder->slab_capacity * sizeof *builder->slabs : 0);
    if (builder->word_count == builder->word_capacity)
        bytes += 2 * builder->word_capacity * sizeof *builder->words;
    if (builder->word_count >= builder->table_size / 4 * 3)
        bytes += 2 * builder->table_size * sizeof *builder->table;
    if (builder->document_count == builder->document_capacity)
        bytes += 2 * builder->document_capacity * sizeof *builder->documents;
    return bytes > builder->memory_bytes_max;
}

/* Hands over what there is; `position` words of the present text are in it. */
static int make_room(struct text_builder *builder, uint32_t position)
{
    if (!builder->full)
        return error_set(MOTE_EBUDGET, "the words of a text index take more than the %llu bytes that they may take; build smaller segments", (unsigned long long)builder->memory_bytes_max);
    int result = position ? add_document(builder, position) : MOTE_OK;
    if (!result)
        result = builder->full(builder->full_context);
    if (result)
        return result;
    builder->parted.words += builder->word_count;
    builder->parted.tokens += builder->tokens;
    builder->parted.term_bytes += builder->term_bytes;
    builder->parted.postings += builder->postings;
    clear(builder);
    return MOTE_OK;
}

static int take_token(void *context, const struct text_token *token)
{
    struct text_builder *builder = context;
    struct word *word;
    uint8_t bytes[2 * TEXT_VARINT_BYTES_MAX], *at = bytes;
    int result = MOTE_OK;
    if (builder->memory_bytes_max && is_full(builder) && builder->word_count > 0)
        result = make_room(builder, token->position);
    if (!result)
        result = find_word(builder, token->term, token->term_bytes, &word);
    if (result)
        return result;
    if (word->documents == 0 || word->last_ordinal != builder->ordinal) {
        at = text_varint_store(at, (uint64_t)(builder->ordinal - word->last_ordinal) * 2 + 1);
        at = text_varint_store(at, token->position);
        word->documents++;
        word->last_ordinal = builder->ordinal;
        builder->postings++;
    } else {
        at = text_varint_store(at, (uint64_t)(token->position - word->last_position) * 2);
    }
    word->last_position = token->position;
    return append_bytes(builder, word, bytes, (uint32_t)(at - bytes));
}

int text_builder_add(struct text_builder *builder, uint32_t ordinal, const void *text, size_t text_bytes)
{
    uint32_t length;
    if (ordinal == UINT32_MAX || (builder->begun && ordinal <= builder->ordinal))
        return error_set(MOTE_EINVAL, "row %u does not fit a text index that takes rows in ascending order, below %u", ordinal, UINT32_MAX);
    bool full = builder->memory_bytes_max && builder->document_count > 0 && builder->document_count == builder->document_capacity && is_full(builder);
    int result = full ? make_room(builder, 0) : MOTE_OK;
    builder->ordinal = ordinal;
    builder->begun = true;
    builder->noted = 0;
    if (!result)
        result = text_analyse(builder->analyser, text, text_bytes, take_token, builder, &length);
    return result ? result : add_document(builder, length);
}

struct sorted {
    uint64_t head; /* the first eight bytes, so that most comparisons stay here */
    uint32_t word;
};

static bool is_before(const struct text_builder *builder, const struct sorted *a, const struct sorted *b)
{
    if (a->head != b->head)
        return a->head < b->head;
    const struct word *x = &builder->words[a->word], *y = &builder->words[b->word];
    return text_compare(x->bytes, x->length, y->bytes, y->length) < 0;
}

/* The words in the order of their bytes: runs of 1, 2, 4, ... merged from one half to the other. To be freed; *sorted points to the half that has the result. */
static struct sorted *sort_words(const struct text_builder *builder, const struct sorted **sorted)
{
    uint64_t count = builder->word_count;
    struct sorted *both = memory_alloc(builder->memory, (count * 2 + 1) * sizeof *both), *from = both, *to = both + count;
    if (!both)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t head[8] = {0};
        memcpy(head, builder->words[i].bytes, builder->words[i].length < 8 ? builder->words[i].length : 8);
        from[i] = (struct sorted){load_be64(head), i};
    }
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t start = 0; start < count; start += 2 * width) {
            uint64_t middle = start + width < count ? start + width : count, end = middle + width < count ? middle + width : count, a = start, b = middle;
            for (uint64_t i = start; i < end; i++)
                to[i] = a < middle && (b >= end || !is_before(builder, &from[b], &from[a])) ? from[a++] : from[b++];
        }
        struct sorted *swapped = from;
        from = to;
        to = swapped;
    }
    *sorted = from;
    return both;
}

struct chain {
    const struct text_builder *builder;
    const uint8_t *at, *end, *stop; /* stop: the word's end */
    uint32_t chunk_class;
};

static uint64_t chain_varint(struct chain *chain)
{
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        if (chain->at == chain->end) {
            const uint8_t *chunk = chunk_at(chain->builder, load_u32(chain->end - ((uint32_t)CHUNK_BYTES_MIN << chain->chunk_class)));
            chain->chunk_class += chain->chunk_class + 1 < CHUNK_CLASSES;
            chain->at = chunk + CHUNK_LINK_BYTES;
            chain->end = chunk + ((uint32_t)CHUNK_BYTES_MIN << chain->chunk_class);
        }
        uint8_t byte = *chain->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
        assert(shift < 56);
    }
}

static int write_word(const struct text_builder *builder, const struct word *word, struct text_writer *writer)
{
    const uint8_t *first = chunk_at(builder, word->first_chunk);
    struct chain chain = {.builder = builder, .at = first + CHUNK_LINK_BYTES, .end = first + CHUNK_BYTES_MIN, .stop = word->at};
    uint32_t ordinal = 0, position = 0, document = 0;
    int result = text_writer_term(writer, word->bytes, word->length);
    while (!result && chain.at != chain.stop) {
        uint64_t value = chain_varint(&chain);
        if (value & 1) {
            ordinal += (uint32_t)(value / 2);
            position = (uint32_t)chain_varint(&chain);
            /* Both ascend: the document's entry lies between here and as many entries on as ordinals were passed; just there if each row has a text. */
            uint64_t furthest = document + (uint64_t)(ordinal - builder->documents[document].ordinal);
            uint32_t low = document, high = furthest < builder->document_count ? (uint32_t)furthest : builder->document_count - 1;
            if (builder->documents[high].ordinal == ordinal)
                low = high;
            while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (builder->documents[middle].ordinal < ordinal)
                    low = middle + 1;
                else
                    high = middle;
            }
            document = low;
            assert(document < builder->document_count && builder->documents[document].ordinal == ordinal);
            result = text_writer_posting(writer, ordinal, builder->documents[document].length);
        } else {
            position += (uint32_t)(value / 2);
        }
        if (!result)
            result = text_writer_position(writer, position);
    }
    return result;
}

int text_builder_finish(struct text_builder *builder, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    struct text_writer *writer = NULL;
    const struct sorted *order = NULL;
    struct sorted *sorted = sort_words(builder, &order);
    int result = sorted ? text_writer_create(builder->memory, text_analyser_options(builder->analyser), identity, sink, &writer) : MOTE_EBUDGET;
    for (uint32_t i = 0; !result && i < builder->word_count; i++)
        result = write_word(builder, &builder->words[order[i].word], writer);
    for (uint32_t i = 0; !result && i < builder->document_count; i++)
        result = text_writer_length(writer, builder->documents[i].ordinal, builder->documents[i].length);
    if (!result)
        result = text_writer_finish(writer, root);
    text_writer_destroy(writer);
    memory_free(builder->memory, sorted);
    return result;
}
