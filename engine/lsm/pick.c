/* pick.c: which segments are compacted (lsm.h). Nothing is allocated: the version's lists come sorted by least key as well.
 *
 * Size-tiered. A sweep by least key deals the segments of one level into lanes of segments that do not overlap; where no lane reaches the next segment a *cluster* ends. The number of lanes that a cluster needs is its depth: how many
 * segments of that level one key may be in. The deepest cluster of at least runs_max lanes is the most urgent job.
 * Else: of small segments that overlap nothing at all, SMALL_COUNT neighbours of one level become one, so that an append-only table that is flushed often does not exhaust the manifest.
 *
 * Segments of one run never overlap, though bounds cut to a prefix may touch: taking them for overlapping would merge them again and again.
 * The inputs of a job are connected, so that its outputs lie where its inputs lay and overlap nothing that those did not.
 */
#include "engine/lsm/lsm_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

#define SMALL_BYTES (4u * MIB_BYTES)
#define SMALL_COUNT 16u
#define DEPTH_MAX 256u /* lanes that are told apart */

struct lanes {
    struct segment *last[DEPTH_MAX];
    uint32_t count;
};

static bool overlaps(const struct segment *a, const struct segment *b)
{
    return a->record.run_id != b->record.run_id && segment_overlap(&a->record, &b->record);
}

/* The segments by least key. */
static struct segment *const *by_key(const struct segment_list *list) { return list->segments + list->count; }

/* How many lanes the segment overlaps; *lane is one that it does not, or count. */
static uint32_t find_lane(const struct lanes *lanes, const struct segment *segment, uint32_t *lane)
{
    uint32_t overlapped = 0;
    *lane = lanes->count;
    for (uint32_t i = 0; i < lanes->count; i++) {
        if (overlaps(lanes->last[i], segment))
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

uint32_t lsm_overlap_depth(const struct segment_list *list)
{
    struct lanes lanes = {.count = 0};
    uint32_t depth = 0;
    for (uint32_t i = 0; list && i < list->count; i++) {
        struct segment *segment = by_key(list)[i];
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

#define ANY_LEVEL UINT32_MAX

struct pick {
    const struct segment_list *list;
    bool (*busy)(void *context, const struct segment *segment);
    void *context;
};

static bool takes_part(const struct pick *pick, const struct segment *segment, uint32_t level)
{
    return (level == ANY_LEVEL || segment->record.level == level) && !(pick->busy && pick->busy(pick->context, segment));
}

/* The deepest cluster of a level: its depth, and where (by key) the lanes of its deepest place begin, and the cluster itself. */
struct cluster {
    uint32_t depth, level, count;
    uint32_t first, deepest_first;
};

static void find_deepest(const struct pick *pick, uint32_t level, struct cluster *deepest)
{
    struct lanes lanes = {.count = 0};
    uint32_t starts[DEPTH_MAX]; /* by key, of each lane's last segment */
    struct cluster cluster = {.level = level};
    for (uint32_t i = 0; i < pick->list->count; i++) {
        struct segment *segment = by_key(pick->list)[i];
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
        if (lanes.count > cluster.depth) {
            cluster.depth = lanes.count;
            cluster.deepest_first = i;
            for (uint32_t k = 0; k < lanes.count; k++)
                cluster.deepest_first = starts[k] < cluster.deepest_first ? starts[k] : cluster.deepest_first;
        }
        /* Copied as it grows, for its count. */
        if (cluster.depth > deepest->depth || (cluster.depth == deepest->depth && cluster.level == deepest->level && cluster.first == deepest->first))
            *deepest = cluster;
    }
}

/* The inputs: the cluster, from its beginning or, if it is too large for one job, from its deepest place; at most lanes_max deep. What is left out waits for the next job. */
static void choose_inputs(const struct pick *pick, const struct cluster *cluster, struct lsm_compaction *compaction)
{
    struct lanes lanes = {.count = 0};
    uint64_t bytes = 0;
    uint32_t lanes_max = compaction->lanes_max ? compaction->lanes_max : LSM_LANES_MAX;
    uint32_t first = cluster->count <= LSM_INPUTS_MAX ? cluster->first : cluster->deepest_first;
    for (uint32_t i = first; i < pick->list->count && compaction->input_count < LSM_INPUTS_MAX; i++) {
        struct segment *segment = by_key(pick->list)[i];
        uint32_t lane, overlapped;
        if (!takes_part(pick, segment, cluster->level))
            continue;
        overlapped = find_lane(&lanes, segment, &lane);
        if (overlapped == lanes_max || (compaction->bytes_max && compaction->input_count >= 2 && bytes + segment->record.segment_bytes > compaction->bytes_max))
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

/* SMALL_COUNT or more neighbours of one level, each small and overlapping nothing. */
static bool choose_small(const struct pick *pick, struct lsm_compaction *compaction)
{
    struct lanes lanes = {.count = 0};
    const struct segment_list *list = pick->list;
    compaction->input_count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct segment *segment = by_key(list)[i];
        const struct segment *next = i + 1 < list->count ? by_key(list)[i + 1] : NULL;
        uint32_t lane;
        bool alone = !find_lane(&lanes, segment, &lane);
        if (alone)
            lanes.count = lane = 0;
        put_in_lane(&lanes, segment, lane);
        alone = alone && !(next && overlaps(segment, next));
        bool fits = alone && segment->record.segment_bytes <= SMALL_BYTES && takes_part(pick, segment, ANY_LEVEL);
        if (!fits || (compaction->input_count && segment->record.level != compaction->inputs[0]->record.level)) {
            if (compaction->input_count >= SMALL_COUNT)
                break;
            compaction->input_count = 0;
        }
        if (fits)
            compaction->inputs[compaction->input_count++] = segment;
        if (compaction->input_count == LSM_INPUTS_MAX)
            break;
    }
    return compaction->input_count >= SMALL_COUNT;
}

static bool is_input(const struct lsm_compaction *compaction, const struct segment *segment)
{
    for (uint32_t i = 0; i < compaction->input_count; i++)
        if (compaction->inputs[i] == segment)
            return true;
    return false;
}

/* Whether no segment outside the job may hold an older version of a key that the inputs have. */
static bool is_bottom(const struct segment_list *list, const struct lsm_compaction *compaction)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct segment *outside = list->segments[i];
        if (is_input(compaction, outside))
            continue;
        for (uint32_t k = 0; k < compaction->input_count; k++) {
            const struct segment_record *input = &compaction->inputs[k]->record;
            if (outside->record.seq_min < input->seq_max && segment_overlap(&outside->record, input))
                return false;
        }
    }
    return true;
}

static void complete(const struct pick *pick, struct lsm_compaction *compaction, uint32_t level)
{
    compaction->table_id = pick->list->table_id;
    compaction->level = level < MANIFEST_LEVEL_MAX ? level : MANIFEST_LEVEL_MAX;
    compaction->bottom = is_bottom(pick->list, compaction);
    compaction->bytes_in = compaction->rows_in = compaction->bytes_out = compaction->rows_out = 0;
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        compaction->bytes_in += compaction->inputs[i]->record.segment_bytes;
        compaction->rows_in += compaction->inputs[i]->record.row_count;
    }
}

static uint32_t highest_level(struct segment *const *segments, uint32_t count)
{
    uint32_t level = 0;
    for (uint32_t i = 0; i < count; i++)
        level = segments[i]->record.level > level ? segments[i]->record.level : level;
    return level;
}

bool lsm_pick_compaction(const struct version *version, uint64_t table_id, uint32_t runs_max, bool everything, bool (*busy)(void *context, const struct segment *segment), void *context,
                         struct lsm_compaction *compaction)
{
    struct pick pick = {version_find(version, table_id), busy, context};
    runs_max = runs_max < 2 ? 2 : runs_max;
    compaction->input_count = 0;
    if (!pick.list)
        return false;
    struct cluster deepest = {.level = ANY_LEVEL};
    if (everything) {
        find_deepest(&pick, ANY_LEVEL, &deepest);
    } else {
        uint32_t levels = highest_level(pick.list->segments, pick.list->count) + 1;
        for (uint32_t level = 0; level < levels; level++)
            find_deepest(&pick, level, &deepest);
    }
    if (deepest.depth >= (everything ? 2 : runs_max)) {
        choose_inputs(&pick, &deepest, compaction);
        assert(compaction->input_count >= 2);
        /* Asked for everything again and again, a small table must not climb the classes. */
        uint32_t highest = highest_level(compaction->inputs, compaction->input_count);
        complete(&pick, compaction, everything && highest ? highest : highest + 1);
        return true;
    }
    if (!choose_small(&pick, compaction)) {
        compaction->input_count = 0;
        return false;
    }
    complete(&pick, compaction, compaction->inputs[0]->record.level + 1);
    return true;
}
