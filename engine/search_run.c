/* search_run.c: what a search looks at (search_private.h): each memtable row by row; each segment through its section of the index, or row by row where it has none, or one that fails a check.
 *
 * Invariants: each version is judged by the same snapshot; the view is the one of the whole search. A section that fails is never the end of a search: what it gave is put aside and the segment's rows answer. Rows that cannot be read are.
 * Memory: the hits; of one segment at a time the ordinals found, or a nearest-neighbour iterator; a bit a row where a time range is asked for.
 * Threads: the caller's. Failures: MOTE_EIO, MOTE_EDAMAGED (of rows), MOTE_EBUDGET.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/search_private.h"
#include "index/spatial.h"

#define NEAREST_WANTED_MAX 4096u

/* ---- What counts ---- */

static bool matches(const struct search *search, const double point[3], double *rank)
{
    const struct mote_search_options *options = search->options;
    *rank = 0;
    if (isnan(point[0]) || isnan(point[1]) || isnan(point[2]))
        return false;
    if (options->mode != MOTE_SEARCH_BOX) {
        *rank = spatial_distance(options->centre, point);
        return *rank <= search->squared_max;
    }
    for (unsigned i = 0; i < 3; i++)
        if (!(options->min[i] <= point[i] && point[i] <= options->max[i]))
            return false;
    return true;
}

static bool in_time(const struct search *search, int64_t time_ns) { return time_ns >= search->options->time_from_ns && time_ns <= search->options->time_to_ns; }

/* A box has as many as are wanted, whichever they are. */
static bool has_enough(const struct search *search) { return search->options->mode == MOTE_SEARCH_BOX && search->options->limit && search->list->count >= search->options->limit; }

/* ---- Memtables ---- */

static bool image_point(const struct search *search, const struct schema *image_schema, const uint8_t *image, double point[3])
{
    struct mote_value value;
    for (uint32_t i = 0; i < search->index.column_count; i++) {
        row_value(search->schema, image_schema, image, search->columns[i], &value);
        if (value.is_null)
            return false;
        if (search->index.column_count == 1)
            memcpy(point, value.as.point, sizeof value.as.point);
        else
            point[i] = value.as.f64;
    }
    return true;
}

static int offer_memtable_row(struct search *search, const struct record *record, const struct schema *image_schema, const uint8_t *image)
{
    double point[3], rank;
    int64_t time_ns;
    bool decided = false;
    struct found_row found = {false, 0};
    if (record->kind != RECORD_PUT || record->seq > search->snapshot || !image_point(search, image_schema, image, point) || !matches(search, point, &rank) || rank > search_list_bound(search->list))
        return MOTE_OK;
    if (search->options->use_time_range && (!row_time(image_schema, image, &time_ns) || !in_time(search, time_ns)))
        return MOTE_OK;
    const struct get_key key = {record->key, record->key_bytes, search->snapshot};
    int result = get_from_memtables(&search->view, search->table->id, &key, NULL, &found, &decided);
    if (result || !decided || found.seq != record->seq)
        return result;
    return search_list_add(search->list, rank, 0, record->key, record->key_bytes);
}

static int search_memtables(struct search *search)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < search->view.generation_count && !result; i++) {
        struct memtable *memtable = memtable_of_table(search->view.generations[i]->memtables, search->table->id, false);
        struct memtable_iterator iterator;
        if (!memtable)
            continue;
        memtable_iterate(memtable, &iterator);
        for (bool on = memtable_first(&iterator); on && !result && !has_enough(search); on = memtable_next(&iterator)) {
            struct record record;
            const struct schema *image_schema;
            const uint8_t *image;
            uint32_t image_bytes;
            memtable_record(&iterator, &record, &image_schema, &image, &image_bytes);
            result = offer_memtable_row(search, &record, image_schema, image);
        }
    }
    return result;
}

/* ---- One row of a segment ---- */

/* Whether nothing newer than the version, that the snapshot sees, is in memtables or segments. */
static int is_newest(struct search *search, const struct record *record, bool alone, bool *newest)
{
    const struct get_key key = {record->key, record->key_bytes, search->snapshot};
    struct found_row found = {true, record->seq};
    bool decided = false;
    int64_t time_ns = 0;
    *newest = false;
    int result = get_from_memtables(&search->view, search->table->id, &key, NULL, &found, &decided);
    if (result || decided)
        return result;
    if (search->schema->time_in_key)
        result = key_time(search->schema, record->key, record->key_bytes, &time_ns);
    for (uint32_t i = 0; i < search->rival_count && !result && found.seq == record->seq; i++) {
        struct segment *rival = search->rivals[i];
        struct sst_iterator *iterator;
        if ((rival == search->segment && alone) || !get_may_be_in(&rival->record, search->schema, &key, time_ns, &found))
            continue;
        result = get_iterator(search->table->db, search->reader, rival, search->schema, &iterator);
        if (!result)
            result = get_from_segment(iterator, search->schema, &key, NULL, &found);
    }
    *newest = found.seq == record->seq;
    return result;
}

static int offer_segment_row(struct search *search, uint32_t ordinal, double rank)
{
    struct record record;
    bool alone, newest;
    if (rank > search_list_bound(search->list))
        return MOTE_OK;
    int found = sst_seek_ordinal(search->iterator, ordinal, &alone);
    int result = found < 0 ? found : sst_record(search->iterator, &record);
    if (result || record.kind != RECORD_PUT || record.seq > search->snapshot)
        return result;
    if (search->options->use_time_range) {
        int64_t time_ns;
        bool has_time;
        result = sst_time(search->iterator, &time_ns, &has_time);
        if (result || !has_time || !in_time(search, time_ns))
            return result;
    }
    result = is_newest(search, &record, alone, &newest);
    return result || !newest ? result : search_list_add(search->list, rank, search->segment->record.id, record.key, record.key_bytes);
}

/* ---- A segment without a good section ---- */

static bool has_value(const struct codec_vector *column, uint32_t row) { return !column->validity || (column->validity[row / 8] >> row % 8 & 1); }

static bool block_point(const struct codec_vector *columns, uint32_t column_count, uint32_t row, double point[3])
{
    for (uint32_t i = 0; i < column_count; i++)
        if (!has_value(&columns[i], row))
            return false;
    if (column_count == 1)
        memcpy(point, (const double *)columns[0].values + 3 * (size_t)row, 3 * sizeof *point);
    for (uint32_t i = 0; i < 3 && column_count == 3; i++)
        point[i] = ((const double *)columns[i].values)[row];
    return true;
}

static int scan_block(struct search *search, uint32_t first_ordinal)
{
    struct codec_vector columns[ROW_INDEX_COLUMNS_MAX];
    const uint8_t *deleted;
    int result = sst_block_deleted(search->iterator, &deleted);
    for (uint32_t i = 0; i < search->index.column_count && !result; i++)
        result = sst_block_column(search->iterator, search->columns[i], &columns[i]);
    uint32_t count = sst_block_row_count(search->iterator);
    for (uint32_t row = 0; row < count && !result && !has_enough(search); row++) {
        double point[3], rank;
        if ((!deleted || !deleted[row]) && block_point(columns, search->index.column_count, row, point) && matches(search, point, &rank))
            result = offer_segment_row(search, first_ordinal + row, rank);
    }
    return result;
}

static int scan_segment(struct search *search)
{
    uint32_t ordinal = 0;
    int moved = sst_first(search->iterator);
    for (; moved > 0 && !has_enough(search); moved = sst_next_block(search->iterator)) {
        uint32_t count = sst_block_row_count(search->iterator);
        int result = scan_block(search, ordinal);
        if (result)
            return result;
        ordinal += count;
    }
    return moved < 0 ? moved : MOTE_OK;
}

/* ---- A segment with a section ---- */

static bool is_marked(const struct search *search, uint32_t ordinal)
{
    return !search->marks || (ordinal < search->segment->record.row_count && (search->marks[ordinal / 64] >> ordinal % 64 & 1));
}

static bool accept_marked(void *context, uint32_t ordinal, const double point[3])
{
    (void)point;
    return is_marked(context, ordinal);
}

static int collect_hits(void *context, const struct spatial_hits *hits)
{
    struct search *search = context;
    struct memory *memory = search->table->db->memory;
    if (search->found_capacity - search->found_count < hits->count) {
        uint64_t capacity = 2 * search->found_capacity + hits->count + 1024;
        uint32_t *ordinals = memory_realloc(memory, search->ordinals, capacity * sizeof *ordinals);
        if (ordinals)
            search->ordinals = ordinals;
        if (!ordinals)
            return error_set(MOTE_EBUDGET, "the search finds more than %llu rows in one segment and there is no memory for more; narrow it", (unsigned long long)search->found_count);
        search->found_capacity = capacity;
    }
    for (uint32_t i = 0; i < hits->count; i++)
        if (is_marked(search, hits->ordinals[i]))
            search->ordinals[search->found_count++] = hits->ordinals[i];
    return MOTE_OK;
}

static int compare_ordinals(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The row's point, to rank it by. */
static int rank_of(struct search *search, uint32_t ordinal, double *rank)
{
    struct mote_value value;
    double point[3] = {0};
    bool alone;
    *rank = 0;
    if (search->options->mode == MOTE_SEARCH_BOX)
        return MOTE_OK;
    int found = sst_seek_ordinal(search->iterator, ordinal, &alone);
    int result = found < 0 ? found : MOTE_OK;
    for (uint32_t i = 0; i < search->index.column_count && !result; i++) {
        result = sst_value(search->iterator, search->columns[i], &value);
        if (!result && search->index.column_count == 1)
            memcpy(point, value.as.point, sizeof point);
        else if (!result)
            point[i] = value.as.f64;
    }
    *rank = spatial_distance(search->options->centre, point);
    return result;
}

/* A box, or everything within a radius: all ordinals first, then their rows in the order in which they lie. *usable: the section answered. */
static int search_all(struct search *search, const struct spatial_section *section, bool *usable)
{
    const struct mote_search_options *options = search->options;
    search->found_count = 0;
    int result = options->mode == MOTE_SEARCH_BOX ? spatial_search_box(section, options->min, options->max, collect_hits, search)
                                                  : spatial_search_radius(section, options->centre, options->radius, collect_hits, search);
    *usable = result != MOTE_EIO && result != MOTE_EDAMAGED;
    if (result)
        return *usable ? result : MOTE_OK;
    if (search->found_count)
        qsort(search->ordinals, search->found_count, sizeof *search->ordinals, compare_ordinals);
    for (uint64_t i = 0; i < search->found_count && !result && !has_enough(search); i++) {
        double rank;
        result = rank_of(search, search->ordinals[i], &rank);
        if (!result)
            result = offer_segment_row(search, search->ordinals[i], rank);
    }
    return result;
}

static int search_nearest(struct search *search, const struct spatial_section *section, bool *usable)
{
    uint64_t limit = search->list->limit;
    double bound = search_list_bound(search->list);
    struct spatial_nearest_options options = {.wanted = limit < NEAREST_WANTED_MAX ? (uint32_t)limit : NEAREST_WANTED_MAX, .squared_distance_max = bound < search->squared_max ? bound : search->squared_max};
    struct spatial_nearest *nearest;
    if (search->marks) {
        options.accept = accept_marked;
        options.accept_context = search;
    }
    int result = spatial_nearest_create(section, search->options->centre, &options, &nearest);
    if (result) {
        *usable = result != MOTE_EIO && result != MOTE_EDAMAGED;
        return *usable ? result : MOTE_OK;
    }
    for (;;) {
        struct spatial_hit hit;
        int found = spatial_nearest_next(nearest, &hit);
        *usable = found != MOTE_EIO && found != MOTE_EDAMAGED;
        if (found < 0 && *usable)
            result = found;
        if (found <= 0 || hit.squared_distance > search_list_bound(search->list))
            break;
        result = offer_segment_row(search, hit.ordinal, hit.squared_distance);
        if (result)
            break;
    }
    spatial_nearest_destroy(nearest);
    return result;
}

static int mark_rows(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    struct search *search = context;
    (void)times_ns;
    for (uint32_t i = 0; i < count; i++) {
        if (ordinals[i] >= search->segment->record.row_count)
            return MOTE_EDAMAGED;
        search->marks[ordinals[i] / 64] |= 1ull << ordinals[i] % 64;
    }
    return MOTE_OK;
}

/* Which rows are in the time range, by the timestamp index; without it each hit's time is looked at, which is only slower. */
static void mark_times(struct search *search)
{
    struct mote_db *db = search->table->db;
    const struct segment_record *record = &search->segment->record;
    if (!search->options->use_time_range || (in_time(search, record->time_min) && in_time(search, record->time_max)))
        return;
    search->marks = memory_alloc_zero(db->memory, (record->row_count / 64 + 1) * sizeof *search->marks);
    if (!search->marks || sst_timestamp_search(&db->sst, search->reader->queue, search->segment, search->options->time_from_ns, search->options->time_to_ns, mark_rows, search) == MOTE_OK)
        return;
    memory_free(db->memory, search->marks);
    search->marks = NULL;
}

static int use_section(struct search *search, struct segment_index *index, bool *usable)
{
    struct mote_db *db = search->table->db;
    struct sst_index_section from;
    sst_index_open(&db->sst, search->reader->queue, search->segment, &index->section, search->index.kind, &from);
    struct spatial_section section = {&from.identity, &from.root, &from.source, db->memory};
    mark_times(search);
    int result = search->list->limit ? search_nearest(search, &section, usable) : search_all(search, &section, usable);
    memory_free(db->memory, search->marks);
    search->marks = NULL;
    if (*usable)
        return result;
    atomic_store(&index->unusable, 1);
    search_list_forget(search->list, search->segment->record.id);
    if (!db->read_only)
        indexes_want(db);
    return result;
}

/* ---- All ---- */

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

static int search_segment(struct search *search, struct segment *segment)
{
    const struct segment_record *record = &segment->record;
    struct segment_index *index = segment_find_index(segment, search->index.id);
    bool usable = index && !atomic_load(&index->unusable);
    if (record->row_count == record->delete_count || record->seq_min > search->snapshot)
        return MOTE_OK;
    if (search->options->use_time_range && !segment_may_hold_times(record, search->options->time_from_ns, search->options->time_to_ns))
        return MOTE_OK;
    search->segment = segment;
    find_rivals(search);
    int result = sst_iterator_open(search->iterator, segment, search->schema);
    if (!result && usable)
        result = use_section(search, index, &usable);
    if (!result && !usable)
        result = scan_segment(search);
    return result;
}

static int search_segments(struct search *search)
{
    struct mote_db *db = search->table->db;
    search->rivals = memory_alloc(db->memory, (search->segments->count + 1) * sizeof *search->rivals);
    search->reader = search->rivals ? reader_take(db, false) : NULL;
    int result = search->reader ? sst_iterator_create(&db->sst, search->reader->queue, &search->iterator) : MOTE_EBUDGET;
    for (uint32_t i = search->segments->count; i-- > 0 && !result && !has_enough(search);)
        result = search_segment(search, search->segments->segments[i]);
    if (search->iterator)
        sst_iterator_destroy(search->iterator);
    if (search->reader) {
        reader_rest(search->reader);
        reader_give(db, search->reader, false);
    }
    memory_free(db->memory, search->rivals);
    memory_free(db->memory, search->ordinals);
    return result;
}

int search_run(struct search *search)
{
    struct mote_db *db = search->table->db;
    view_acquire(db, &search->view);
    search->segments = version_find(search->view.version, search->table->id);
    int result = search_memtables(search);
    if (!result && search->segments && !has_enough(search))
        result = search_segments(search);
    view_release(db, &search->view);
    search_list_sort(search->list);
    return result;
}
