/* window.c: see window.h. */
#include "engine/lsm/window.h"

#include <assert.h>

static int64_t clamp(__int128 time_ns) { return time_ns < INT64_MIN ? INT64_MIN : time_ns > INT64_MAX ? INT64_MAX : (int64_t)time_ns; }

static int64_t window_begin(int64_t number, int64_t window_ns) { return clamp((__int128)number * window_ns); }
static int64_t window_end(int64_t number, int64_t window_ns) { return clamp(((__int128)number + 1) * window_ns - 1); }

struct window_frame window_frame_make(int64_t window_ns, int64_t least_ns, int64_t greatest_ns)
{
    assert(window_ns > 0);
    greatest_ns = greatest_ns < least_ns ? least_ns : greatest_ns;
    return (struct window_frame){window_ns, window_begin(window_number(least_ns, window_ns), window_ns), window_end(window_number(greatest_ns, window_ns), window_ns)};
}

struct window_class window_classify(const struct segment_record *record, const struct window_frame *frame)
{
    if (record->time_min > record->time_max)
        return (struct window_class){WINDOW_UNTIMED, 0};
    if (record->time_max < frame->from_ns || record->time_min > frame->to_ns)
        return (struct window_class){record->time_max < frame->from_ns ? WINDOW_BEFORE : WINDOW_BEYOND, 0};
    int64_t first = window_number(record->time_min, frame->window_ns), last = window_number(record->time_max, frame->window_ns);
    return (struct window_class){first == last ? WINDOW_INSIDE : WINDOW_SPANNING, last};
}

/* Windows of the frame that hold segments. One that spans some counts as so many, as it did before it was merged from them; but not one from 1970 to today. */
static uint32_t count_windows(const struct segment_list *list, const struct window_frame *frame, int64_t window_ns)
{
    struct segment *const *by_time = list->segments + 2 * (size_t)list->count;
    uint32_t count = 0;
    int64_t last = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct segment_record *record = &by_time[i]->record;
        if (record->time_min > record->time_max || record->time_max < frame->from_ns || record->time_min > frame->to_ns)
            continue;
        int64_t from = window_number(record->time_min > frame->from_ns ? record->time_min : frame->from_ns, window_ns);
        int64_t to = window_number(record->time_max < frame->to_ns ? record->time_max : frame->to_ns, window_ns);
        if (count > 0 && from <= last)
            from = last + 1;
        if (from > to)
            continue;
        uint64_t more = (uint64_t)to - (uint64_t)from;
        count += more < WINDOW_PARTS_MAX ? (uint32_t)more + 1 : WINDOW_PARTS_MAX;
        if (more < WINDOW_PARTS_MAX)
            last = to;
    }
    return count;
}

int64_t window_widen(const struct segment_list *list, const struct window_frame *frame, uint32_t count_max)
{
    int64_t window_ns = frame->window_ns;
    assert(window_ns > 0 && count_max > 0);
    while (list && window_ns < INT64_MAX / 4 && count_windows(list, frame, window_ns) > count_max)
        window_ns *= 2;
    return window_ns;
}

/* ---- Rows ---- */

static bool record_time(const struct schema *schema, const struct record *record, const struct schema *image_schema, const uint8_t *image, int64_t *time_ns)
{
    if (schema->time_in_key)
        return key_time(schema, record->key, record->key_bytes, time_ns) == MOTE_OK;
    return image && row_time(image_schema, image, time_ns);
}

/* The times of a stretch; false: some row has none. Rows of a stretch are of one series, so that a time in the key ascends. */
static bool stretch_times(const struct schema *schema, const struct record_stretch *stretch, int64_t *first_ns, int64_t *last_ns)
{
    const uint8_t *last = stretch->rows + (uint64_t)(stretch->count - 1) * stretch->row_bytes;
    if (schema->time_in_key)
        return key_time(schema, stretch->rows + RECORD_STRETCH_KEY_AT, stretch->key_bytes, first_ns) == MOTE_OK && key_time(schema, last + RECORD_STRETCH_KEY_AT, stretch->key_bytes, last_ns) == MOTE_OK;
    *first_ns = INT64_MAX;
    *last_ns = INT64_MIN;
    for (uint32_t i = 0; i < stretch->count; i++) {
        int64_t time_ns;
        if (!row_time(stretch->schema, stretch->rows + (uint64_t)i * stretch->row_bytes + stretch->image_at, &time_ns))
            return false;
        *first_ns = time_ns < *first_ns ? time_ns : *first_ns;
        *last_ns = time_ns > *last_ns ? time_ns : *last_ns;
    }
    return true;
}

/* ---- Dealing ---- */

/* Ranges of window numbers, ascending. */
struct dealing {
    const struct window_frame *frame;
    uint32_t count, last; /* last: the one that was hit last */
    struct {
        int64_t first, last;
        uint64_t rows, raw_bytes;
    } ranges[WINDOW_PARTS_MAX + 1];
    uint64_t untimed_rows, untimed_bytes;
};

/* All before the frame, and all beyond it, count as one window each. */
static int64_t number_of(const struct window_frame *frame, int64_t time_ns)
{
    if (time_ns < frame->from_ns || time_ns > frame->to_ns)
        return time_ns < frame->from_ns ? INT64_MIN : INT64_MAX;
    return window_number(time_ns, frame->window_ns);
}

static void join_with_next(struct dealing *dealing, uint32_t at)
{
    dealing->ranges[at].last = dealing->ranges[at + 1].last;
    dealing->ranges[at].rows += dealing->ranges[at + 1].rows;
    dealing->ranges[at].raw_bytes += dealing->ranges[at + 1].raw_bytes;
    dealing->count--;
    for (uint32_t i = at + 1; i < dealing->count; i++)
        dealing->ranges[i] = dealing->ranges[i + 1];
    dealing->last = 0;
}

/* Small ones; what lies before or beyond the frame stays by itself. */
static void join_small(struct dealing *dealing, uint64_t small_bytes)
{
    for (uint32_t i = 0; i + 1 < dealing->count;) {
        bool inside = dealing->ranges[i].first != INT64_MIN && dealing->ranges[i + 1].last != INT64_MAX;
        if (inside && dealing->ranges[i].raw_bytes < small_bytes && dealing->ranges[i + 1].raw_bytes < small_bytes)
            join_with_next(dealing, i);
        else
            i++;
    }
}

/* The two neighbours with the least between them become one. */
static void join_closest(struct dealing *dealing)
{
    uint32_t best = 0;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i + 1 < dealing->count; i++) {
        uint64_t between = (uint64_t)dealing->ranges[i + 1].first - (uint64_t)dealing->ranges[i].last;
        if (between < least) {
            least = between;
            best = i;
        }
    }
    join_with_next(dealing, best);
}

static void deal(struct dealing *dealing, int64_t time_ns, uint64_t rows, uint64_t raw_bytes)
{
    int64_t number = number_of(dealing->frame, time_ns);
    uint32_t at = dealing->last;
    if (at >= dealing->count || number < dealing->ranges[at].first || number > dealing->ranges[at].last) {
        at = 0;
        while (at < dealing->count && dealing->ranges[at].last < number)
            at++;
        if (at == dealing->count || dealing->ranges[at].first > number) {
            for (uint32_t i = dealing->count++; i > at; i--)
                dealing->ranges[i] = dealing->ranges[i - 1];
            dealing->ranges[at].first = dealing->ranges[at].last = number;
            dealing->ranges[at].rows = dealing->ranges[at].raw_bytes = 0;
        }
    }
    dealing->ranges[at].rows += rows;
    dealing->ranges[at].raw_bytes += raw_bytes;
    dealing->last = at;
    if (dealing->count > WINDOW_PARTS_MAX)
        join_closest(dealing);
}

static void deal_record(struct dealing *dealing, const struct schema *schema, const struct memtable_iterator *iterator)
{
    struct record record;
    const struct schema *image_schema;
    const uint8_t *image;
    uint32_t image_bytes;
    int64_t time_ns;
    memtable_record(iterator, &record, &image_schema, &image, &image_bytes);
    uint64_t raw_bytes = image ? image_bytes : record.key_bytes;
    if (record_time(schema, &record, image_schema, image, &time_ns)) {
        deal(dealing, time_ns, 1, raw_bytes);
    } else {
        dealing->untimed_rows++;
        dealing->untimed_bytes += raw_bytes;
    }
}

static int64_t part_begin(const struct window_frame *frame, int64_t number) { return number == INT64_MIN ? INT64_MIN : number == INT64_MAX ? frame->to_ns + 1 : window_begin(number, frame->window_ns); }

static int64_t part_end(const struct window_frame *frame, int64_t number) { return number == INT64_MAX ? INT64_MAX : number == INT64_MIN ? frame->from_ns - 1 : window_end(number, frame->window_ns); }

uint32_t window_deal(struct memtable *memtable, const struct schema *schema, const struct window_frame *frame, uint64_t small_bytes, struct window_part *parts)
{
    struct dealing dealing = {.frame = frame};
    struct memtable_iterator iterator;
    memtable_iterate(memtable, &iterator);
    for (bool found = memtable_first(&iterator); found;) {
        struct record_stretch stretch;
        int64_t first_ns, last_ns;
        if (memtable_stretch(&iterator, &stretch) && stretch_times(schema, &stretch, &first_ns, &last_ns) && number_of(frame, first_ns) == number_of(frame, last_ns)) {
            deal(&dealing, first_ns, stretch.count, (uint64_t)stretch.count * stretch.image_bytes);
            found = memtable_skip(&iterator, stretch.count);
        } else {
            deal_record(&dealing, schema, &iterator);
            found = memtable_next(&iterator);
        }
    }
    uint32_t count = 0;
    join_small(&dealing, small_bytes);
    for (uint32_t i = 0; i < dealing.count; i++)
        parts[count++] = (struct window_part){.from_ns = part_begin(frame, dealing.ranges[i].first), .to_ns = part_end(frame, dealing.ranges[i].last), .rows = dealing.ranges[i].rows,
                                              .raw_bytes = dealing.ranges[i].raw_bytes};
    if (dealing.untimed_rows)
        parts[count++] = (struct window_part){.untimed = true, .rows = dealing.untimed_rows, .raw_bytes = dealing.untimed_bytes};
    return count;
}

bool window_holds(const struct window_part *part, const struct schema *schema, const struct record *record, const struct schema *image_schema, const uint8_t *image)
{
    int64_t time_ns;
    if (part->all)
        return true;
    if (!record_time(schema, record, image_schema, image, &time_ns))
        return part->untimed;
    return !part->untimed && time_ns >= part->from_ns && time_ns <= part->to_ns;
}

enum window_share window_holds_stretch(const struct window_part *part, const struct schema *schema, const struct record_stretch *stretch)
{
    int64_t first_ns, last_ns;
    if (part->all)
        return WINDOW_ALL;
    if (!stretch_times(schema, stretch, &first_ns, &last_ns))
        return WINDOW_SOME;
    if (part->untimed || last_ns < part->from_ns || first_ns > part->to_ns)
        return WINDOW_NONE;
    return first_ns >= part->from_ns && last_ns <= part->to_ns ? WINDOW_ALL : WINDOW_SOME;
}
