/* search_explain.c: what a search did, in words: a line for each fact. Threads: any. Failures: no memory. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/search_private.h"

#define TEXT_BYTES 16384u

struct text {
    char *at, *end;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    size_t room = (size_t)(text->end - text->at);
    va_start(arguments, format);
    int count = vsnprintf(text->at, room, format, arguments);
    va_end(arguments);
    text->at += count < 0 ? 0 : (size_t)count < room ? (size_t)count : room - 1;
}

static const char *kind_name(const struct search_term_note *note)
{
    static const char *const of_values[] = {"equal", "range", "in", "prefix", "null", "not null"};
    return note->kind >= MOTE_TERM_EQUAL && note->kind <= MOTE_TERM_NOT_NULL ? of_values[note->kind - MOTE_TERM_EQUAL] : note->name;
}

static void add_columns(struct text *text, const struct search_term_note *note, const struct schema *schema)
{
    for (uint32_t i = 0; i < note->column_count; i++)
        add(text, "%s%s", i ? ", " : "", schema->columns[note->columns[i]].name);
}

static void add_term(struct text *text, uint32_t number, const struct search_term_note *note, const struct schema *schema)
{
    add(text, "term %u: %s(", number + 1, kind_name(note));
    add_columns(text, note, schema);
    add(text, ")%s, ", note->ranks ? ", ranks" : "");
    if (!note->has_index) {
        add(text, "no index: asked of the rows\n");
        return;
    }
    add(text, "index %s: marked in %" PRIu64 " segments, ranked in %" PRIu64 ", asked of the rows in %" PRIu64, note->index, note->marked, note->ranked, note->by_rows);
    if (note->marked_recent || note->ranked_recent)
        add(text, "; in memory marked in %" PRIu64 " batches, ranked in %" PRIu64, note->marked_recent, note->ranked_recent);
    if (note->failed)
        add(text, ", failed a check in %" PRIu64, note->failed);
    add(text, "\n");
}

static void add_step(struct text *text, const struct search_report *report, const struct search_segment_note *note, uint32_t index)
{
    uint32_t step = note->steps[index];
    add(text, "%s%s", index ? "; " : "", step < report->term_count ? kind_name(&report->terms[step]) : "time");
    if (step < report->term_count)
        add(text, " (term %u)", step + 1);
    add(text, " about %" PRIu64 " rows", note->estimates[index]);
    if (note->after[index] == SEARCH_NOT_MARKED)
        add(text, ", left to the rows");
    else
        add(text, ", marked: %" PRIu64 " rows left", note->after[index]);
}

static void add_segment(struct text *text, const struct search_report *report, const struct search_segment_note *note)
{
    static const char *const ways[] = {"", "best first by the index of the term that ranks", "row by row where marked", "block by block"};
    add(text, "segment %" PRIu64 " (%" PRIu64 " rows): ", note->segment_id, note->row_count);
    for (uint32_t i = 0; i < note->step_count; i++)
        add_step(text, report, note, i);
    add(text, "%slooked at %s, %" PRIu64 " rows examined\n", note->step_count ? "; " : "", ways[note->way], note->examined);
}

char *search_explain(struct memory *memory, const struct search_report *report, const struct schema *schema, uint64_t hit_count)
{
    char *bytes = memory_alloc(memory, TEXT_BYTES);
    if (!bytes)
        return NULL;
    struct text text = {bytes, bytes + TEXT_BYTES};
    bytes[0] = 0;
    for (uint32_t i = 0; i < report->term_count; i++)
        add_term(&text, i, &report->terms[i], schema);
    if (report->use_time_range)
        add(&text, "time range: marked in %" PRIu64 " segments, all rows inside in %" PRIu64 ", asked of the rows in %" PRIu64 "\n", report->time_marked, report->time_inside, report->time_by_rows);
    add(&text, "segments: %" PRIu64 " looked at (%" PRIu64 " best first, %" PRIu64 " where marked, %" PRIu64 " block by block), %" PRIu64 " out of the time range\n", report->segments, report->ways[SEARCH_RANKED],
        report->ways[SEARCH_MARKED], report->ways[SEARCH_SCANNED], report->out_of_time);
    for (uint32_t i = 0; i < report->note_count; i++)
        add_segment(&text, report, &report->notes[i]);
    if (report->segments > report->note_count)
        add(&text, "and %" PRIu64 " more segments\n", report->segments - report->note_count);
    if (report->batches)
        add(&text, "in memory: %" PRIu64 " batches of together %" PRIu64 " indexed rows\n", report->batches, report->batch_rows);
    if (report->surveyed)
        add(&text, "survey: %" PRIu64 " rows that no section holds\n", report->surveyed);
    add(&text, "rows examined: %" PRIu64 " in memtables, %" PRIu64 " in segments, %" PRIu64 " blocks excluded by their zone maps\n", report->memtable_rows, report->examined, report->blocks_excluded);
    add(&text, "hits: %" PRIu64 "\n", hit_count);
    return bytes;
}
