/* search_segment.c: one segment of a search, or one batch of rows that are indexed in memory: which terms are asked through their sections, in which order, and what is done with what they mark.
 *
 * Every term with a good section, and the time range by the timestamp section, is estimated. From the fewest rows on they mark their rows, and what all marked stays, as long as reading a section on costs less than looking at the rows
 * that it would take away. Then the rows that are marked are looked at, or the term that ranks gives them best first; where nothing could mark or rank, all blocks are scanned. What no section has answered each row answers.
 *
 * Invariants: marks never lack a row that belongs to the answer; a section that fails is given up (its hits forgotten, the segment's rows answer) and never the end of a search.
 * Memory: two bits a row, made when needed. Threads: the searching one. Failures: those of rows; MOTE_EBUDGET.
 */
#include <string.h>

#include "engine/search_private.h"

enum {
    /* What looking at rows of the segment costs, against reading one row's entry in a section: of each block that they lie in, of each row. */
    BLOCK_COST = 512,
    ROW_COST = 32,
    TIME = MOTE_SEARCH_TERMS_MAX, /* the time range, in the place of a term's number */
};

/* A term that could mark its rows, or the time range. */
struct choice {
    uint32_t step; /* the term's number, or TIME */
    uint64_t estimate;
};

/* ---- Sections ---- */

static bool is_section_fault(int result) { return result == MOTE_EIO || result == MOTE_EDAMAGED; }

void search_give_up(struct search *search, struct search_part *part)
{
    search_close_section(search, part);
    part->note->failed++;
    atomic_store(search->batch ? &part->recent->unusable : &part->index->unusable, 1);
    search_list_forget(search->list, search->unit_id);
    if (!search->batch && !search->table->db->read_only)
        indexes_want(search->table->db);
}

/* Where the section of the term's index is; false: there is none that is good. */
static bool find_section(struct search *search, struct search_part *part)
{
    struct mote_db *db = search->table->db;
    const struct search_term *term = &part->term;
    if (search->batch) {
        part->recent = recent_batch_find(search->batch, term->index.id);
        if (part->recent)
            part->at = (struct sst_index_section){.identity = part->recent->identity, .root = part->recent->root, .source = part->recent->source};
        return part->recent != NULL;
    }
    part->index = segment_find_index(search->segment, term->index.id);
    if (!part->index || atomic_load(&part->index->unusable))
        return false;
    sst_index_open(&db->sst, search->reader->queue, search->segment, &part->index->section, term->index.kind, &part->at);
    return true;
}

int search_open_section(struct search *search, struct search_part *part)
{
    struct search_term *term = &part->term;
    part->open = false;
    if (!term->has_index || !find_section(search, part))
        return MOTE_OK;
    part->section = (struct search_section){.at = &part->at, .row_count = search->row_count};
    int result = term->ops->open ? term->ops->open(term, &part->section) : MOTE_OK;
    part->open = !result;
    if (!is_section_fault(result))
        return result;
    search_give_up(search, part);
    return MOTE_OK;
}

void search_close_section(struct search *search, struct search_part *part)
{
    (void)search;
    if (part->open && part->term.ops->close)
        part->term.ops->close(&part->term, &part->section);
    part->open = false;
}

static int open_sections(struct search *search)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->part_count && !result; i++) {
        struct search_part *part = &search->parts[i];
        part->sure = false;
        part->estimate = search->row_count;
        result = search_open_section(search, part);
        if (result || !part->open || !part->term.ops->estimate)
            continue;
        result = part->term.ops->estimate(&part->term, &part->section, &part->estimate);
        if (is_section_fault(result)) {
            search_give_up(search, part);
            part->estimate = search->row_count;
            result = MOTE_OK;
        }
    }
    return result;
}

/* ---- Marks ---- */

static bool reserve_marks(struct search *search)
{
    search->word_count = search->row_count / 64 + 1;
    if (search->word_count <= search->words_capacity)
        return true;
    memory_free(search->memory, search->marks);
    memory_free(search->memory, search->more_marks);
    search->words_capacity = 0;
    search->marks = memory_alloc(search->memory, search->word_count * sizeof *search->marks);
    search->more_marks = memory_alloc(search->memory, search->word_count * sizeof *search->more_marks);
    if (search->marks && search->more_marks)
        search->words_capacity = search->word_count;
    return search->words_capacity > 0;
}

struct time_marking {
    uint64_t *marks;
    uint64_t row_count;
};

static int mark_times(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    struct time_marking *marking = context;
    (void)times_ns;
    for (uint32_t i = 0; i < count; i++) {
        if (ordinals[i] >= marking->row_count)
            return MOTE_EDAMAGED;
        marking->marks[ordinals[i] / 64] |= 1ull << ordinals[i] % 64;
    }
    return MOTE_OK;
}

/* Sets more_marks. *marked: the section answered. */
static int mark_step(struct search *search, uint32_t step, bool *marked)
{
    const struct mote_search_options *options = search->options;
    struct mote_db *db = search->table->db;
    memset(search->more_marks, 0, search->word_count * sizeof *search->more_marks);
    if (step == TIME) {
        struct time_marking marking = {search->more_marks, search->row_count};
        int result = sst_timestamp_search(&db->sst, search->reader->queue, search->segment, options->time_from_ns, options->time_to_ns, mark_times, &marking);
        *marked = search->time_sure = result == MOTE_OK;
        search->report->time_marked += *marked;
        return result == MOTE_EBUDGET ? result : MOTE_OK; /* a section that fails is noted in the segment */
    }
    struct search_part *part = &search->parts[step];
    bool exact = true;
    int result = part->term.ops->mark(&part->term, &part->section, search->more_marks, &exact);
    *marked = result == MOTE_OK;
    if (is_section_fault(result)) {
        search_give_up(search, part);
        return MOTE_OK;
    }
    part->sure = *marked && exact;
    *(search->batch ? &part->note->marked_recent : &part->note->marked) += *marked;
    return result;
}

static void take_marks(struct search *search)
{
    search->marked_count = 0;
    if (!search->has_marks) {
        uint64_t *marks = search->marks;
        search->marks = search->more_marks;
        search->more_marks = marks;
    }
    for (uint64_t i = 0; i < search->word_count; i++) {
        if (search->has_marks)
            search->marks[i] &= search->more_marks[i];
        search->marked_count += (uint64_t)__builtin_popcountll(search->marks[i]);
    }
    search->has_marks = true;
}

/* ---- Choosing ---- */

static bool can_rank(const struct search *search) { return search->ranking && search->ranking->open && search->ranking->term.ops->rank; }

static void add_choice(struct choice *choices, uint32_t *count, uint32_t step, uint64_t estimate)
{
    uint32_t at = (*count)++;
    for (; at > 0 && choices[at - 1].estimate > estimate; at--)
        choices[at] = choices[at - 1];
    choices[at] = (struct choice){step, estimate};
}

/* How many rows are in the time range, if the timestamp section tells. */
static bool count_times(struct search *search, uint64_t *count)
{
    const struct mote_search_options *options = search->options;
    struct mote_db *db = search->table->db;
    return !atomic_load(&search->segment->timestamp_unusable) &&
           sst_timestamp_count(&db->sst, search->reader->queue, search->segment, options->time_from_ns, options->time_to_ns, count) == MOTE_OK;
}

/* Whether time could mark, or need not. */
static void choose_time(struct search *search, struct choice *choices, uint32_t *count)
{
    const struct mote_search_options *options = search->options;
    const struct recent_batch *batch = search->batch;
    if (batch) { /* which has no section of times */
        search->time_sure = !options->use_time_range || (batch->timed_count == batch->row_count && batch->time_min_ns >= options->time_from_ns && batch->time_max_ns <= options->time_to_ns);
        return;
    }
    const struct segment_record *record = &search->segment->record;
    uint64_t in_time = 0;
    bool inside = record->time_min >= options->time_from_ns && record->time_max <= options->time_to_ns;
    search->time_sure = !options->use_time_range || (inside && search->schema->time_in_key);
    if (!search->time_sure && !inside && count_times(search, &in_time)) {
        search->time_sure = in_time == record->row_count;
        if (!search->time_sure)
            add_choice(choices, count, TIME, in_time);
    }
    search->report->time_inside += options->use_time_range && search->time_sure;
}

/* What could mark, the fewest rows first. */
static uint32_t list_choices(struct search *search, struct choice *choices)
{
    uint32_t count = 0;
    choose_time(search, choices, &count);
    for (uint32_t i = 0; i < search->part_count; i++) {
        const struct search_part *part = &search->parts[i];
        if (part->open && part->term.ops->mark && !(part == search->ranking && can_rank(search)))
            add_choice(choices, &count, i, part->estimate < search->row_count ? part->estimate : search->row_count);
    }
    return count;
}

/* Scattered: in no order of place, so that each row is in another block. */
static uint64_t cost_of_rows(const struct search *search, uint64_t rows, bool scattered)
{
    uint64_t blocks = search->batch ? 0 : search->segment->record.block_count;
    if (search->batch)
        return rows * ROW_COST;
    return (scattered || rows < blocks ? rows : blocks) * BLOCK_COST + rows * ROW_COST;
}

/* How many rows would be looked at without the marks of a term that has `estimate` rows. */
static uint64_t rows_without(const struct search *search, uint64_t estimate)
{
    uint64_t rows = search->row_count, wanted = search->list->limit, all = rows;
    if (search->has_marks)
        all = search->marked_count;
    if (can_rank(search) && search->ranking->estimate < all)
        all = search->ranking->estimate;
    if (wanted > 0 && wanted <= rows && (!search->ranking || can_rank(search)) && wanted * rows / (estimate + 1) < all)
        return wanted * rows / (estimate + 1);
    return all;
}

static int mark_rows(struct search *search, const struct choice *choices, uint32_t count, struct search_segment_note *note)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < count && !result; i++) {
        bool marked;
        if (choices[i].estimate > search->row_count / 2 || choices[i].estimate > cost_of_rows(search, rows_without(search, choices[i].estimate), can_rank(search)))
            break;
        /* A failed section may have been closed since it was listed. */
        if (choices[i].step != TIME && !search->parts[choices[i].step].open)
            continue;
        if (!reserve_marks(search))
            break; /* without memory for marks the rows tell */
        result = mark_step(search, choices[i].step, &marked);
        if (result || !marked)
            continue;
        take_marks(search);
        if (note)
            note->after[i] = search->marked_count;
    }
    return result;
}

/* ---- Looking ---- */

static int offer_ranked(void *context, uint32_t ordinal, const struct search_rank *rank, bool *enough)
{
    struct search *search = context;
    *enough = false;
    if (ordinal >= search->row_count)
        return error_set(MOTE_EDAMAGED, "a section of an index of table %s names a row that its segment does not have", search->schema->name);
    if (search->has_marks && !(search->marks[ordinal / 64] >> ordinal % 64 & 1))
        return MOTE_OK;
    if (rank && !search_list_wants(search->list, rank, NULL, 0)) {
        *enough = true;
        return MOTE_OK;
    }
    search->offer_result = search_offer(search, ordinal, rank, enough);
    search->ranks.bound = search_list_bound(search->list);
    return search->offer_result;
}

/* *usable: the section answered. */
static int look_ranked(struct search *search, bool *usable)
{
    struct search_part *part = search->ranking;
    uint64_t rows = search->row_count;
    search->offer_result = MOTE_OK;
    search->ranks = (struct search_ranking){.marks = search->has_marks ? search->marks : NULL, .marked_share = 1, .wanted = search->list->limit, .bound = search_list_bound(search->list), .offer = offer_ranked, .context = search};
    if (search->has_marks)
        search->ranks.marked_share = (double)search->marked_count / (double)rows;
    search_narrow(search);
    int result = part->term.ops->rank(&part->term, &part->section, &search->ranks);
    /* A row that cannot be read is no fault of the section. */
    *usable = search->offer_result || !is_section_fault(result);
    if (*usable) {
        *(search->batch ? &part->note->ranked_recent : &part->note->ranked) += !result;
        return search->offer_result ? search->offer_result : result;
    }
    search_give_up(search, part);
    return MOTE_OK;
}

static int look_marked(struct search *search)
{
    int result = MOTE_OK;
    for (uint64_t i = 0; i < search->word_count && !result; i++)
        for (uint64_t bits = search->marks[i]; bits && !result && !search_has_enough(search); bits &= bits - 1)
            result = search_offer(search, (uint32_t)(i * 64 + (uint64_t)__builtin_ctzll(bits)), NULL, NULL);
    return result;
}

/* Whether the term that ranks should give the rows, rather than that the marked ones are looked at. */
static bool should_rank(const struct search *search)
{
    uint64_t marked = search->marked_count, wanted = search->list->limit, rows = search->row_count;
    if (!can_rank(search))
        return false;
    if (!search->has_marks)
        return true;
    uint64_t examined = search->ranking->estimate, offered = wanted > 0 && wanted < marked ? wanted : marked;
    if (wanted > 0 && wanted <= rows && marked > 0 && wanted * rows / marked < examined)
        examined = wanted * rows / marked;
    offered = offered < examined ? offered : examined;
    return cost_of_rows(search, marked, false) > examined + cost_of_rows(search, offered, true);
}

static int look(struct search *search, enum search_way *way)
{
    bool usable = false;
    int result = MOTE_OK;
    *way = SEARCH_RANKED;
    if (should_rank(search))
        result = look_ranked(search, &usable);
    if (result || usable)
        return result;
    *way = search->has_marks ? SEARCH_MARKED : SEARCH_SCANNED;
    return search->has_marks ? look_marked(search) : search_scan(search);
}

/* ---- The segment ---- */

/* Segments that may hold a newer version of one of its keys, itself included. */
static void find_rivals(struct search *search)
{
    const struct segment_record *record = &search->segment->record;
    search->rival_count = 0;
    for (uint32_t i = search->segments->count; i-- > 0;) {
        struct segment *other = search->segments->segments[i];
        if (other->record.seq_max > record->seq_min && (other == search->segment || segment_overlap(&other->record, record)))
            search->rivals[search->rival_count++] = other;
    }
}

void search_enter(struct search *search, struct segment *segment)
{
    search->segment = segment;
    search->batch = NULL;
    search->unit_id = segment->record.id;
    search->row_count = segment->record.row_count;
    search->has_marks = false;
    search->marked_count = 0;
    search->time_sure = !search->options->use_time_range;
    find_rivals(search);
}

void search_enter_batch(struct search *search, struct recent_batch *batch)
{
    search->segment = NULL;
    search->batch = batch;
    search->unit_id = batch->id;
    search->row_count = batch->row_count;
    search->has_marks = false;
    search->marked_count = 0;
    search->time_sure = !search->options->use_time_range;
}

void search_leave_batch(struct search *search) { search->batch = NULL; }

static struct search_segment_note *begin_note(struct search *search, const struct choice *choices, uint32_t count)
{
    struct search_report *report = search->report;
    if (search->batch || report->note_count == SEARCH_NOTES_MAX)
        return NULL;
    struct search_segment_note *note = &report->notes[report->note_count++];
    *note = (struct search_segment_note){.segment_id = search->segment->record.id, .row_count = search->segment->record.row_count, .step_count = count};
    for (uint32_t i = 0; i < count; i++) {
        note->steps[i] = (uint8_t)choices[i].step;
        note->estimates[i] = choices[i].estimate;
        note->after[i] = SEARCH_NOT_MARKED;
    }
    return note;
}

static void end_note(struct search *search, struct search_segment_note *note, enum search_way way, uint64_t examined)
{
    struct search_report *report = search->report;
    if (search->batch)
        return;
    report->ways[way]++;
    for (uint32_t i = 0; i < search->part_count; i++)
        search->parts[i].note->by_rows += !search->parts[i].sure && !(way == SEARCH_RANKED && &search->parts[i] == search->ranking);
    report->time_by_rows += search->options->use_time_range && !search->time_sure;
    if (!note)
        return;
    note->way = way;
    note->marked_count = search->marked_count;
    note->examined = examined;
}

/* The sections of the present segment or batch are asked, and then its rows. */
static int look_through(struct search *search)
{
    struct choice choices[MOTE_SEARCH_TERMS_MAX + 1];
    uint64_t examined = search->report->examined;
    enum search_way way = SEARCH_SCANNED;
    int result = open_sections(search);
    if (!result) {
        uint32_t count = list_choices(search, choices);
        struct search_segment_note *note = begin_note(search, choices, count);
        result = mark_rows(search, choices, count, note);
        if (!result)
            result = look(search, &way);
        end_note(search, note, way, search->report->examined - examined);
    }
    for (uint32_t i = 0; i < search->part_count; i++)
        search_close_section(search, &search->parts[i]);
    return result;
}

int search_segment(struct search *search, struct segment *segment)
{
    const struct mote_search_options *options = search->options;
    const struct segment_record *record = &segment->record;
    if (record->row_count == record->delete_count || record->seq_min > search->snapshot)
        return MOTE_OK;
    if (options->use_time_range && !segment_may_hold_times(record, options->time_from_ns, options->time_to_ns)) {
        search->report->out_of_time++;
        return MOTE_OK;
    }
    search->report->segments++;
    search_enter(search, segment);
    int result = sst_iterator_open(search->iterator, segment, search->schema);
    return result ? result : look_through(search);
}

int search_batch(struct search *search, struct recent_batch *batch)
{
    const struct mote_search_options *options = search->options;
    bool out_of_time = options->use_time_range && (batch->timed_count == 0 || batch->time_min_ns > options->time_to_ns || batch->time_max_ns < options->time_from_ns);
    if (batch->seq_min > search->snapshot || out_of_time)
        return MOTE_OK;
    search->report->batches++;
    search->report->batch_rows += batch->row_count;
    search_enter_batch(search, batch);
    int result = look_through(search);
    search_leave_batch(search);
    return result;
}
