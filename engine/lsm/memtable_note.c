/* memtable_note.c: the rows of a memtable in the order of their coming (memtable.h).
 *
 *     note: u32 place of the one before | u32 count | u32 rows up to its last | u32 rows_max | refs, 8 bytes each
 *
 * Memory ordering: a note is filled by its writer alone, then published by a compare-and-swap with release; who follows it loads with acquire. A writer acquires the note that it links before its own, so that all earlier ones are seen whole.
 * Notes never go away before the generation is reset. Threads: any number of writers and readers. Never fails. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

enum { NOTE_PREVIOUS, NOTE_COUNT, NOTE_TOTAL, NOTE_ROWS_MAX, NOTE_WORDS };
_Static_assert(sizeof(struct memtable_ref) == 8, "two words");

uint64_t memtable_note_bytes(uint64_t rows) { return NOTE_WORDS * sizeof(uint32_t) + rows * sizeof(struct memtable_ref); }

static uint32_t *note_at(const struct memtable *memtable, uint32_t place) { return (uint32_t *)(void *)(memtable->list.arena + (uint64_t)place * NODE_UNIT_BYTES); }
static uint32_t place_of(const struct memtable *memtable, const void *at) { return (uint32_t)((uint64_t)((const uint8_t *)at - memtable->list.arena) / NODE_UNIT_BYTES); }

void memtable_note_begin(struct memtable *memtable, struct memtable_room *room, uint32_t rows_max)
{
    assert(room->note == 0 && memtable_note_bytes(rows_max) <= room->end - room->at);
    room->note = (uint32_t)(room->at / NODE_UNIT_BYTES);
    room->at += memtable_note_bytes(rows_max);
    uint32_t *note = note_at(memtable, room->note);
    note[NOTE_PREVIOUS] = note[NOTE_COUNT] = note[NOTE_TOTAL] = 0;
    note[NOTE_ROWS_MAX] = rows_max;
}

void memtable_note_add(const struct memtable *memtable, struct memtable_room *room, const uint8_t *row, const struct run *run)
{
    uint32_t *note = note_at(memtable, room->note);
    assert(note[NOTE_COUNT] < note[NOTE_ROWS_MAX]);
    uint32_t *ref = note + NOTE_WORDS + 2 * note[NOTE_COUNT]++;
    ref[0] = place_of(memtable, row);
    ref[1] = run ? place_of(memtable, run) : 0;
}

uint32_t memtable_note_end(struct memtable *memtable, struct memtable_room *room)
{
    uint32_t place = room->note, *note = place ? note_at(memtable, place) : NULL;
    room->note = 0;
    if (!note || note[NOTE_COUNT] == 0)
        return 0;
    uint32_t before = atomic_load_explicit(&memtable->notes, memory_order_acquire);
    do {
        note[NOTE_PREVIOUS] = before;
        note[NOTE_TOTAL] = note[NOTE_COUNT] + (before ? note_at(memtable, before)[NOTE_TOTAL] : 0);
    } while (!atomic_compare_exchange_weak_explicit(&memtable->notes, &before, place, memory_order_acq_rel, memory_order_acquire));
    return note[NOTE_TOTAL];
}

static void load_note(const struct memtable *memtable, uint32_t place, struct memtable_note *note)
{
    *note = (struct memtable_note){0};
    if (place == 0)
        return;
    const uint32_t *at = note_at(memtable, place);
    *note = (struct memtable_note){place, at[NOTE_COUNT], at[NOTE_TOTAL], (const struct memtable_ref *)(const void *)(at + NOTE_WORDS)};
}

void memtable_note_last(const struct memtable *memtable, struct memtable_note *note) { load_note(memtable, atomic_load_explicit(&memtable->notes, memory_order_acquire), note); }

void memtable_note_previous(const struct memtable *memtable, struct memtable_note *note)
{
    assert(note->place != 0);
    load_note(memtable, note_at(memtable, note->place)[NOTE_PREVIOUS], note);
}

void memtable_ref_record(const struct memtable *memtable, struct memtable_ref ref, struct record *record, const struct schema **schema, const uint8_t **image, uint32_t *image_bytes)
{
    if (ref.run == 0) {
        const struct skip_node *node = node_at(&memtable->list, ref.row);
        node_record(node, record, schema, image, image_bytes);
    } else {
        const struct run *run = (const struct run *)(const void *)(memtable->list.arena + (uint64_t)ref.run * NODE_UNIT_BYTES);
        run_row_record(memtable, run, memtable->list.arena + (uint64_t)ref.row * NODE_UNIT_BYTES, record, schema, image, image_bytes);
    }
}

struct memtable_ref memtable_iterator_ref(const struct memtable_iterator *iterator)
{
    const struct memtable *memtable = iterator->memtable;
    if (!memtable_iterator_on_run(iterator))
        return (struct memtable_ref){iterator->list_node, 0};
    return (struct memtable_ref){place_of(memtable, iterator->row), place_of(memtable, run_of(memtable, (struct run_place){iterator->row, iterator->run, iterator->run_index}))};
}
