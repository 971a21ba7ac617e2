/* column_set.c: the answer of a column search as a set of ordinals, and what the root tells a planner (column_index.h).
 *
 * Threads: one for each call. Failures: MOTE_EINVAL, MOTE_EDAMAGED, MOTE_EBUDGET, and what the source returns; a set is then empty.
 */
#include <assert.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_private.h"

static int set_add(const struct column_section *section, struct column_set *set, uint64_t row_count, uint64_t expected, const struct column_hits *hits)
{
    if (hits->count > expected - set->count)
        return column_refuse(section, section->root->root_offset_bytes, "more rows than were counted");
    for (uint32_t i = 0; i < hits->count; i++) {
        uint32_t ordinal = hits->ordinals[i];
        if (ordinal >= row_count)
            return column_refuse(section, section->root->root_offset_bytes, "a row that does not exist");
        if (set->words)
            set->words[ordinal / 64] |= (uint64_t)1 << ordinal % 64;
        else
            set->ordinals[set->count + i] = ordinal;
    }
    set->count += hits->count;
    return MOTE_OK;
}

static int fill_set(struct column_search *search, uint64_t row_count, uint64_t expected, struct column_set *set)
{
    struct column_hits hits;
    int result;
    search->ordinals_only = true;
    while ((result = column_search_next(search, &hits)) > 0) {
        result = set_add(&search->section, set, row_count, expected, &hits);
        if (result)
            return result;
    }
    return result ? result : set->words ? MOTE_OK : column_sort_ordinals(search->section.memory, set->ordinals, set->count);
}

int column_search_set(const struct column_section *section, const struct column_query *query, uint64_t row_count, struct column_set *set)
{
    struct column_query ascending = *query;
    struct column_search *search = NULL;
    uint64_t expected;
    *set = (struct column_set){0};
    ascending.descending = false;
    int result = column_count(section, query, &expected, NULL);
    if (result)
        return result;
    bool is_list = expected <= row_count / 64;
    if (is_list)
        set->ordinals = memory_alloc(section->memory, (expected + 1) * sizeof *set->ordinals);
    else
        set->words = memory_alloc_zero(section->memory, (row_count / 64 + 1) * sizeof *set->words);
    result = set->ordinals || set->words ? column_search_create(section, &ascending, &search) : MOTE_EBUDGET;
    if (!result)
        result = fill_set(search, row_count, expected, set);
    column_search_destroy(search);
    if (result)
        column_set_destroy(section->memory, set);
    return result;
}

void column_set_destroy(struct memory *memory, struct column_set *set)
{
    memory_free(memory, set->ordinals);
    memory_free(memory, set->words);
    *set = (struct column_set){0};
}

/* The value of a key of the root; bytes are copied to at. */
static struct mote_value value_of(uint32_t type, const struct column_key *key, uint8_t *at, bool *inexact)
{
    struct mote_value value = {.type = type};
    *inexact = false;
    if (!column_type_is_bytes(type)) {
        column_keys_to(type, &key->bits, 1, &value.as);
        return value;
    }
    *inexact = key->length > COLUMN_KEPT_BYTES;
    value.as.bytes.size_bytes = *inexact ? COLUMN_KEPT_BYTES : key->length;
    value.as.bytes.data = at;
    if (value.as.bytes.size_bytes)
        memcpy(at, key->bytes, value.as.bytes.size_bytes);
    return value;
}

int column_read_statistics(const struct column_section *section, struct column_statistics *statistics)
{
    struct column_reader reader;
    int result = column_reader_open(section, &reader);
    memset(statistics, 0, sizeof *statistics);
    if (!result) {
        statistics->type = reader.type;
        statistics->rows = (uint64_t)reader.value_count + reader.null_count;
        statistics->nulls = reader.null_count;
        statistics->distinct = reader.distinct_count;
        statistics->min = value_of(reader.type, &reader.min, statistics->bytes, &statistics->min_inexact);
        statistics->max = value_of(reader.type, &reader.max, statistics->bytes + COLUMN_KEPT_BYTES, &statistics->max_inexact);
        statistics->min.is_null = statistics->max.is_null = reader.value_count == 0;
    }
    column_reader_close(&reader);
    return result;
}
