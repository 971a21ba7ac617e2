/* pick.c: which segments are compacted (lsm.h). Nothing is allocated: the version's lists come sorted by least key as well.
 *
 * Size-tiered. A sweep by least key deals the segments of one level into lanes of segments that do not overlap; where no lane reaches the next segment a *cluster* ends. The number of lanes that a cluster needs is its depth: how many
 * segments of that level one key may be in. The deepest cluster of at least runs_max lanes is the most urgent job.
 * Else: of small segments that overlap nothing at all, SMALL_COUNT neighbours of one level become one (MIXED_COUNT of any: where levels alternate, a device would fill up with scraps), so that an append-only table that is flushed often does not exhaust the manifest.
 *
 * Where the time is part of the key (spread_max is set), segments of different times hold different keys, however wide their keys spread: rows that came in time order need no merging for being found. There the sweep goes by time, and segments
 * overlap if both their times and their keys do: in-order data is left where its flush put it, late data is merged with what it is late for. Only when segments of all times together lie spread_max deep by key, of which a scan in key order
 * keeps account, or SMALL_SPREAD small ones do, are the lanes of the level that has most of them merged (of the small ones these alone).
 *
 * A cluster that is too large for one job (in number or bytes) is merged in steps (lsm.h): first the lanes of its deepest place, then what follows in the sweep's order.
 *
 * Segments of one run never overlap, though bounds cut to a prefix may touch: taking them for overlapping would merge them again and again.
 * In a table with windows of time the inputs of a job are of one window (window.h): each window is looked at by itself, the deepest comes first. How deep segments lie by key counts over all windows, and is made less within one.
 * The inputs of a job are connected, so that its outputs lie where its inputs lay and overlap nothing that those did not.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

#define SMALL_BYTES (4u * MIB_BYTES)
#define SMALL_COUNT 16u
#define MIXED_COUNT 48u
#define DEPTH_MAX 256u /* lanes that are told apart */
#define SPREAD_PLACES 32u
#define SMALL_SPREAD 64u /* small segments that may lie above each other by key: each takes an extent at least, and a place in the manifest */

struct lanes {
    bool by_time;
    struct segment *last[DEPTH_MAX];
    uint32_t count;
};

static bool times_overlap(const struct segment_record *a, const struct segment_record *b) { return a->time_min <= b->time_max && b->time_min <= a->time_max; }

static bool overlaps(const struct lanes *lanes, const struct segment *a, const struct segment *b)
{
    return a->record.run_id != b->record.run_id && (!lanes->by_time || times_overlap(&a->record, &b->record)) && segment_overlap(&a->record, &b->record);
}

/* The segments by least key, or by least time. */
static struct segment *const *sorted(const struct segment_list *list, bool by_time) { return list->segments + (by_time ? 2 : 1) * (size_t)list->count; }

/* How many lanes the segment overlaps; *lane is one that it does not, or count. */
static uint32_t find_lane(const struct lanes *lanes, const struct segment *segment, uint32_t *lane)
{
    uint32_t overlapped = 0;
    *lane = lanes->count;
    for (uint32_t i = 0; i < lanes->count; i++) {
        if (overlaps(lanes, lanes->last[i], segment))
            overlapped++;
        else if (*lane == lanes->count)
            *lane = i;
    }
    return overlapped;
}

/* Puts the segment into a lane. Beyond DEPTH_MAX lanes the last is overwritten: a depth like that is urgent enough. */
static void put_in_lane(struct lanes *lanes, struct segment *segment, uint32_t lane)
{
    if (lane == DEPTH_MAX)
        lane--;
    lanes->last[lane] = segment;
    if (lane == lanes->count)
        lanes->count++;
}

uint32_t lsm_overlap_depth(const struct segment_list *list, bool by_time)
{
    struct lanes lanes = {.by_time = by_time};
    uint32_t depth = 0;
    for (uint32_t i = 0; list && i < list->count; i++) {
        struct segment *segment = sorted(list, by_time)[i];
        uint32_t lane;
        if (!find_lane(&lanes, segment, &lane)) {
            lanes.count = 0;
            lane = 0;
        }
        put_in_lane(&lanes, segment, lane);
        depth = lanes.count > depth ? lanes.count : depth;
    }
    return depth;
}

uint32_t lsm_spread(const struct segment_list *list, uint64_t bytes_max)
{
    uint32_t spread = 0;
    for (uint32_t k = 0; list && list->count && k <= SPREAD_PLACES; k++) {
        const struct segment_key *place = &sorted(list, false)[(uint64_t)(list->count - 1) * k / SPREAD_PLACES]->record.min_key;
        uint32_t depth = 0;
        for (uint32_t i = 0; i < list->count; i++) {
            const struct segment_record *record = &sorted(list, false)[i]->record;
            if (key_compare(record->min_key.bytes, record->min_key.length, place->bytes, place->length) > 0)
                break;
            depth += record->segment_bytes <= bytes_max && segment_may_hold(record, place->bytes, place->length, place->bytes, place->length);
        }
        spread = depth > spread ? depth : spread;
    }
    return spread;
}

#define ANY_LEVEL UINT32_MAX

struct pick {
    const struct segment_list *list;
    bool by_time;
    struct window_frame windows;
    bool small_only;   /* only small segments take part */
    bool in_class;     /* only segments of this class take part */
    struct window_class class;
    bool (*busy)(void *context, const struct segment *segment);
    void *context;
};

static bool takes_part(const struct pick *pick, const struct segment *segment, uint32_t level)
{
    if (pick->small_only && segment->record.segment_bytes > SMALL_BYTES)
        return false;
    if (pick->in_class && !window_same(window_classify(&segment->record, &pick->windows), pick->class))
        return false;
    return (level == ANY_LEVEL || segment->record.level == level) && !(pick->busy && pick->busy(pick->context, segment));
}

/* The deepest cluster of a level: its depth, and where (in the sweep's order) the lanes of its deepest place begin, and the cluster itself. */
struct cluster {
    uint32_t depth, level, count;
    uint32_t first, deepest_first, deepest_last;
    uint64_t bytes;
};

static void find_deepest(const struct pick *pick, uint32_t level, struct cluster *deepest)
{
    struct lanes lanes = {.by_time = pick->by_time};
    uint32_t starts[DEPTH_MAX]; /* in the sweep's order, of each lane's last segment */
    struct cluster cluster = {.level = level};
    for (uint32_t i = 0; i < pick->list->count; i++) {
        struct segment *segment = sorted(pick->list, pick->by_time)[i];
        uint32_t lane;
        if (!takes_part(pick, segment, level))
            continue;
        if (!find_lane(&lanes, segment, &lane)) {
            cluster = (struct cluster){.level = level, .first = i};
            lanes.count = 0;
            lane = 0;
        }
        starts[lane < DEPTH_MAX ? lane : DEPTH_MAX - 1] = i;
        put_in_lane(&lanes, segment, lane);
        cluster.count++;
        cluster.bytes += segment->record.segment_bytes;
        if (lanes.count > cluster.depth) {
            cluster.depth = lanes.count;
            cluster.deepest_first = cluster.deepest_last = i;
            for (uint32_t k = 0; k < lanes.count; k++)
                cluster.deepest_first = starts[k] < cluster.deepest_first ? starts[k] : cluster.deepest_first;
        }
        /* Copied as it grows, for its count. */
        if (cluster.depth > deepest->depth || (cluster.depth == deepest->depth && cluster.level == deepest->level && cluster.first == deepest->first))
            *deepest = cluster;
    }
}

/* The inputs: the cluster, or, if it is too large for one job, a step from its deepest place on: there only the segments that reach it, so that its lanes are among the first; at most lanes_max deep. What is left out waits for the next job. */
static void choose_inputs(const struct pick *pick, const struct cluster *cluster, struct lsm_compaction *compaction)
{
    struct lanes lanes = {.by_time = pick->by_time};
    uint64_t bytes = 0;
    uint32_t lanes_max = compaction->lanes_max ? compaction->lanes_max : LSM_LANES_MAX;
    bool whole = cluster->count <= LSM_INPUTS_MAX && (!compaction->bytes_max || cluster->bytes <= compaction->bytes_max);
    const struct segment *deepest = sorted(pick->list, pick->by_time)[cluster->deepest_last];
    for (uint32_t i = whole ? cluster->first : cluster->deepest_first; i < pick->list->count && compaction->input_count < LSM_INPUTS_MAX; i++) {
        struct segment *segment = sorted(pick->list, pick->by_time)[i];
        uint32_t lane, overlapped;
        if (!takes_part(pick, segment, cluster->level) || (!whole && i < cluster->deepest_last && !overlaps(&lanes, deepest, segment)))
            continue;
        overlapped = find_lane(&lanes, segment, &lane);
        bool too_large = compaction->bytes_max && compaction->input_count >= 2 && bytes + segment->record.segment_bytes > compaction->bytes_max;
        if (too_large && !whole && i > cluster->deepest_last)
            return;
        if (overlapped == lanes_max || too_large)
            continue;
        if (!overlapped && lanes.count > 1)
            return;
        if (!overlapped) {
            lanes.count = compaction->input_count = lane = 0; /* alone so far: it needs no company */
            bytes = 0;
        }
        put_in_lane(&lanes, segment, lane);
        bytes += segment->record.segment_bytes;
        compaction->inputs[compaction->input_count++] = segment;
    }
}

static bool of_one_window(const struct pick *pick, const struct segment *a, const struct segment *b)
{
    return !pick->windows.window_ns || window_same(window_classify(&a->record, &pick->windows), window_classify(&b->record, &pick->windows));
}

/* count_min or more neighbours, each small and overlapping nothing; of one level, so that a row is not merged again with each handful of new ones, or of any. */
static bool choose_small(const struct pick *pick, bool one_level, uint32_t count_min, struct lsm_compaction *compaction)
{
    struct lanes lanes = {.by_time = false};
    const struct segment_list *list = pick->list;
    compaction->input_count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct segment *segment = sorted(list, false)[i];
        const struct segment *next = i + 1 < list->count ? sorted(list, false)[i + 1] : NULL;
        uint32_t lane;
        bool alone = !find_lane(&lanes, segment, &lane);
        if (alone)
            lanes.count = lane = 0;
        put_in_lane(&lanes, segment, lane);
        alone = alone && !(next && overlaps(&lanes, segment, next));
        bool fits = alone && segment->record.segment_bytes <= SMALL_BYTES && takes_part(pick, segment, ANY_LEVEL);
        const struct segment *first = compaction->input_count ? compaction->inputs[0] : NULL;
        if (!fits || (first && ((one_level && segment->record.level != first->record.level) || !of_one_window(pick, first, segment)))) {
            if (compaction->input_count >= count_min)
                break;
            compaction->input_count = 0;
        }
        if (fits)
            compaction->inputs[compaction->input_count++] = segment;
        if (compaction->input_count == LSM_INPUTS_MAX)
            break;
    }
    return compaction->input_count >= count_min;
}

static bool is_input(const struct lsm_compaction *compaction, const struct segment *segment)
{
    for (uint32_t i = 0; i < compaction->input_count; i++)
        if (compaction->inputs[i] == segment)
            return true;
    return false;
}

/* Whether the segment, outside the job, may hold an older version of a key that the inputs have. */
static bool may_be_older(const struct lsm_compaction *compaction, const struct segment_record *outside)
{
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        const struct segment_record *input = &compaction->inputs[i]->record;
        if (outside->seq_min < input->seq_max && (!compaction->spread_max || times_overlap(outside, input)) && segment_overlap(outside, input))
            return true;
    }
    return false;
}

/* Fills in bottom and outside. */
static void find_outside(const struct segment_list *list, struct lsm_compaction *compaction)
{
    compaction->bottom = true;
    compaction->outside_count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct segment *segment = sorted(list, false)[i];
        if (is_input(compaction, segment) || !may_be_older(compaction, &segment->record))
            continue;
        compaction->bottom = false;
        if (compaction->outside_count == LSM_OUTSIDE_MAX) {
            compaction->outside_count = 0;
            return;
        }
        compaction->outside[compaction->outside_count++] = segment;
    }
}

static void complete(const struct pick *pick, struct lsm_compaction *compaction, uint32_t level)
{
    compaction->table_id = pick->list->table_id;
    compaction->level = level < MANIFEST_LEVEL_MAX ? level : MANIFEST_LEVEL_MAX;
    find_outside(pick->list, compaction);
    compaction->bytes_in = compaction->rows_in = compaction->bytes_out = compaction->rows_out = 0;
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        compaction->bytes_in += compaction->inputs[i]->record.segment_bytes;
        compaction->rows_in += compaction->inputs[i]->record.row_count;
    }
}

/* A segment whose tombstones hide nothing in other segments: one of nothing else, which written again is gone; everything: also one whose tombstones no snapshot needs, which has none then. */
static bool choose_tombstones(const struct pick *pick, bool everything, struct lsm_compaction *compaction)
{
    for (uint32_t i = 0; i < pick->list->count; i++) {
        struct segment *segment = pick->list->segments[i];
        const struct segment_record *record = &segment->record;
        bool vanish = record->delete_count && (record->delete_count == record->row_count || (everything && record->seq_max <= compaction->snapshot_min));
        if (!vanish || !takes_part(pick, segment, ANY_LEVEL))
            continue;
        compaction->inputs[0] = segment;
        compaction->input_count = 1;
        find_outside(pick->list, compaction);
        if (compaction->bottom)
            return true;
    }
    return false;
}

static uint32_t highest_level(struct segment *const *segments, uint32_t count)
{
    uint32_t level = 0;
    for (uint32_t i = 0; i < count; i++)
        level = segments[i]->record.level > level ? segments[i]->record.level : level;
    return level;
}

static void find_deepest_level(const struct pick *pick, struct cluster *deepest)
{
    uint32_t levels = highest_level(pick->list->segments, pick->list->count) + 1;
    for (uint32_t level = 0; level < levels; level++)
        find_deepest(pick, level, deepest);
}

/* One way to look for a cluster. */
struct sweep {
    bool by_time;
    bool each_level; /* else all levels together */
    uint32_t depth_min;
};

static void sweep_class(struct pick *pick, const struct sweep *sweep, struct cluster *deepest)
{
    *deepest = (struct cluster){.level = ANY_LEVEL};
    if (sweep->each_level)
        find_deepest_level(pick, deepest);
    else
        find_deepest(pick, ANY_LEVEL, deepest);
}

/* The deepest cluster of all windows, and in pick its class. */
static bool find_in(struct pick *pick, const struct sweep *sweep, struct cluster *deepest)
{
    struct window_class best = {WINDOW_UNTIMED, 0}, last = best;
    pick->by_time = sweep->by_time;
    pick->in_class = pick->windows.window_ns != 0;
    if (!pick->in_class) {
        sweep_class(pick, sweep, deepest);
        return deepest->depth >= sweep->depth_min;
    }
    *deepest = (struct cluster){.level = ANY_LEVEL};
    for (uint32_t i = 0; i < pick->list->count; i++) {
        struct cluster cluster;
        pick->class = window_classify(&sorted(pick->list, true)[i]->record, &pick->windows);
        if (i > 0 && window_same(pick->class, last))
            continue;
        last = pick->class;
        sweep_class(pick, sweep, &cluster);
        if (cluster.depth > deepest->depth) {
            *deepest = cluster;
            best = pick->class;
        }
    }
    pick->class = best;
    return deepest->depth >= sweep->depth_min;
}

/* The cluster that is to be merged, and the sweep that found it. */
static bool find_cluster(struct pick *pick, uint32_t runs_max, bool everything, const struct lsm_compaction *compaction, struct cluster *deepest)
{
    const struct sweep all = {.depth_min = 2}, usual = {.by_time = compaction->spread_max != 0, .each_level = true, .depth_min = runs_max};
    /* In a window there are few segments of each level. */
    const struct sweep spread = {.each_level = !pick->windows.window_ns, .depth_min = 2};
    if (everything)
        return find_in(pick, &all, deepest);
    if (find_in(pick, &usual, deepest))
        return true;
    const uint32_t spread_max = compaction->spread_max, small_max = spread_max < SMALL_SPREAD ? spread_max : SMALL_SPREAD;
    if (!spread_max || pick->list->count < small_max)
        return false;
    if (pick->list->count >= spread_max && lsm_spread(pick->list, UINT64_MAX) >= spread_max)
        return find_in(pick, &spread, deepest);
    pick->small_only = lsm_spread(pick->list, SMALL_BYTES) >= small_max && find_in(pick, &(struct sweep){.each_level = spread.each_level, .depth_min = 2}, deepest);
    return pick->small_only;
}

bool lsm_pick_compaction(const struct version *version, uint64_t table_id, uint32_t runs_max, bool everything, bool (*busy)(void *context, const struct segment *segment), void *context,
                         struct lsm_compaction *compaction)
{
    struct pick pick = {.list = version_find(version, table_id), .windows = compaction->windows, .busy = busy, .context = context};
    struct cluster deepest;
    compaction->input_count = 0;
    if (!pick.list)
        return false;
    if (find_cluster(&pick, runs_max < 2 ? 2 : runs_max, everything, compaction, &deepest)) {
        choose_inputs(&pick, &deepest, compaction);
        assert(compaction->input_count >= 2);
        /* Asked for everything again and again, a small table must not climb the classes. */
        uint32_t highest = highest_level(compaction->inputs, compaction->input_count);
        complete(&pick, compaction, everything && highest ? highest : highest + 1);
        return true;
    }
    pick.in_class = false;
    if (choose_tombstones(&pick, everything, compaction)) {
        complete(&pick, compaction, compaction->inputs[0]->record.level);
        return true;
    }
    if (!choose_small(&pick, true, SMALL_COUNT, compaction) && !choose_small(&pick, false, everything ? SMALL_COUNT : MIXED_COUNT, compaction)) {
        compaction->input_count = 0;
        return false;
    }
    complete(&pick, compaction, highest_level(compaction->inputs, compaction->input_count) + 1);
    return true;
}
