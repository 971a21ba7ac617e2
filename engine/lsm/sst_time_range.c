/* sst_time_range.c: which blocks a time range needs. The zone maps (least and greatest time of each block) answer at first. Late rows widen them until they let everything through: so after some blocks the timestamp index is asked how
 * many rows the range holds, and if that is few against the rows of the blocks that pass, which blocks they are in.
 *
 * Invariants: a block that has a row or a tombstone with a time in the range, or a tombstone without a time, is wanted. Without the index (none, damaged, no memory) the zone maps stand alone: that is slower, never wrong.
 * Threads: the iterator's. Failures: none of its own; damage of the index is noted in the segment, so that it is rebuilt.
 */
#include <assert.h>

#include "engine/lsm/sst_reader_private.h"
#include "blockdev/section.h"

enum {
    BLOCKS_BEFORE_INDEX = 8, /* a scan of a few blocks does not pay for the question */
    ROWS_PER_HIT_MIN = 4,    /* the index must promise to skip most rows */
};

static bool overlaps(const struct sst_time_range *range, int64_t min_ns, int64_t max_ns) { return min_ns <= max_ns && min_ns <= range->to_ns && max_ns >= range->from_ns; }

bool sst_range_wants_partition(const struct sst_iterator *iterator, const struct sst_directory_entry *entry)
{
    return !iterator->range.active || entry->untimed_delete_count > 0 || overlaps(&iterator->range, entry->time_min_ns, entry->time_max_ns);
}

bool sst_range_wants_block(const struct sst_iterator *iterator, uint32_t number, const struct sst_block_entry *entry)
{
    const struct sst_time_range *range = &iterator->range;
    if (!range->active || entry->untimed_delete_count > 0)
        return true;
    if (!overlaps(range, entry->time_min_ns, entry->time_max_ns))
        return false;
    return !range->marks || number >= range->mark_count || (range->marks[number / 64] >> number % 64 & 1);
}

void sst_range_clear(struct sst_iterator *iterator)
{
    memory_free(iterator->context->memory, iterator->range.marks);
    iterator->range = (struct sst_time_range){0};
}

/* The blocks of the segment while the index is asked. */
struct marking {
    struct sst_iterator *iterator;
    uint64_t *marks;
    uint32_t *first_ordinals; /* of each block, and the row count */
    uint32_t block_count;
    uint32_t at;              /* the block found last: the next one is mostly the same */
    uint64_t passing_rows;    /* of blocks that the zone maps let through */
};

static int visit_partition(struct marking *marking, uint32_t partition, struct sst_iterator *walker)
{
    struct sst_directory_entry directory;
    int result = sst_partition_pin(walker, partition);
    if (result)
        return result;
    sst_directory_load(walker, partition, &directory);
    for (uint32_t i = 0; i < directory.block_count; i++) {
        struct sst_block_entry entry;
        sst_block_entry_load(walker, i, &entry);
        marking->first_ordinals[directory.first_block + i] = (uint32_t)directory.first_ordinal + entry.first_ordinal;
        if (overlaps(&marking->iterator->range, entry.time_min_ns, entry.time_max_ns))
            marking->passing_rows += entry.row_count;
    }
    return MOTE_OK;
}

/* Reads all partitions without moving the iterator's own pins. */
static int visit_partitions(struct marking *marking)
{
    struct sst_iterator *iterator = marking->iterator;
    struct sst_pin kept = iterator->partition_pin;
    uint32_t kept_number = iterator->partition;
    int result = MOTE_OK;
    iterator->partition_pin = (struct sst_pin){0};
    for (uint32_t i = 0; !result && i < iterator->footer.partition_count; i++)
        result = visit_partition(marking, i, iterator);
    sst_unpin(iterator, &iterator->partition_pin);
    iterator->partition_pin = kept;
    iterator->partition = kept_number;
    marking->first_ordinals[marking->block_count] = (uint32_t)iterator->footer.row_count;
    return result;
}

static int mark_blocks(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    struct marking *marking = context;
    const uint32_t *first = marking->first_ordinals;
    (void)times_ns;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ordinal = ordinals[i], low = 0, high = marking->block_count;
        if (ordinal >= first[high])
            return MOTE_EDAMAGED;
        if (ordinal < first[marking->at] || ordinal >= first[marking->at + 1]) {
            while (high - low > 1) {
                uint32_t middle = low + (high - low) / 2;
                if (first[middle] <= ordinal)
                    low = middle;
                else
                    high = middle;
            }
            marking->at = low;
        }
        marking->marks[marking->at / 64] |= 1ull << marking->at % 64;
    }
    return MOTE_OK;
}

/* Fills the marks if it pays: 1, or 0 if it does not. */
static int ask_index(struct marking *marking)
{
    struct sst_iterator *iterator = marking->iterator;
    const struct sst_time_range *range = &iterator->range;
    struct sst_section section;
    struct section_identity identity;
    struct section_root root;
    struct section_source source;
    uint64_t hits;
    int result = sst_section_open(iterator, &section, &identity, &root, &source);
    if (result)
        return result;
    result = iterator->context->timestamps->count(&identity, &root, &source, iterator->context->memory, range->from_ns, range->to_ns, &hits);
    if (!result && hits > marking->passing_rows / ROWS_PER_HIT_MIN)
        return 0;
    if (!result)
        result = iterator->context->timestamps->search(&identity, &root, &source, iterator->context->memory, range->from_ns, range->to_ns, mark_blocks, marking);
    return result ? result : 1;
}

static void mark_block(struct marking *marking, uint32_t number)
{
    if (number < marking->block_count)
        marking->marks[number / 64] |= 1ull << number % 64;
}

static void try_index(struct sst_iterator *iterator, uint32_t left)
{
    struct memory *memory = iterator->context->memory;
    struct marking marking = {.iterator = iterator, .block_count = iterator->footer.block_count};
    iterator->range.index_tried = true;
    if (atomic_load(&iterator->segment->timestamp_unusable) || sst_footer_pin(iterator))
        return;
    marking.marks = memory_alloc_zero(memory, divide_up(marking.block_count, 64) * sizeof *marking.marks);
    marking.first_ordinals = memory_alloc(memory, (marking.block_count + 1) * sizeof *marking.first_ordinals);
    int result = marking.marks && marking.first_ordinals ? visit_partitions(&marking) : MOTE_EBUDGET;
    if (!result) {
        result = ask_index(&marking);
        if (result == MOTE_EDAMAGED || result == MOTE_EIO)
            atomic_store(&iterator->segment->timestamp_unusable, 1);
    }
    if (result == 1) {
        /* Whoever went from the block that was left to the one that was entered may step back again: both must stay where they were. */
        mark_block(&marking, iterator->block.number);
        mark_block(&marking, left);
        iterator->range.marks = marking.marks;
        iterator->range.mark_count = marking.block_count;
    } else {
        memory_free(memory, marking.marks);
    }
    memory_free(memory, marking.first_ordinals);
}

void sst_range_note_block(struct sst_iterator *iterator, uint32_t left)
{
    struct sst_time_range *range = &iterator->range;
    if (!range->active || range->index_tried || ++range->passed_count < BLOCKS_BEFORE_INDEX)
        return;
    try_index(iterator, left);
}
