/* codec_lane.h: the integer codecs for one width, included by codec_integers.c with LANE 32 and 64: planning and writing of FOR, DELTA, DOD (codec_format.h). All arithmetic is modulo 2^LANE. */
#ifndef LANE
#error "codec_lane.h is included by codec_integers.c only"
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(name) PASTE(PASTE(name, _), LANE)
#define UINT PASTE(PASTE(uint, LANE), _t)
#define SINT PASTE(PASTE(int, LANE), _t)
enum { PASTE(LANE_BYTES_, LANE) = LANE / 8 };
#define LANE_BYTES PASTE(LANE_BYTES_, LANE)

/* The last group, if it is not full: what the kernels, which know whole groups only, left out. Its numbers are padded with the least, so that they pack as zeros. */
static void NAME(scan_tail)(const UINT *values, uint32_t count, uint32_t order, UINT *deltas, struct codec_range *value_range, struct codec_range *delta_range)
{
    uint32_t from = count / CODEC_GROUP_VALUES * CODEC_GROUP_VALUES, group = from / CODEC_GROUP_VALUES;
    if (from == count)
        return;
    SINT least = from ? (SINT)value_range->least : (SINT)values[0], most = (SINT)values[from];
    UINT delta_least = from ? (UINT)delta_range->least : (UINT)-1, delta_most = 0;
    for (const UINT *value = values + from; value < values + count; value++) {
        UINT delta = order == 1 ? value[0] - value[-1] : value[0] - 2 * value[-1] + value[-2];
        delta = NAME(zigzag)(delta);
        deltas[value - values] = delta;
        least = (SINT)*value < least ? (SINT)*value : least;
        most = (SINT)*value > most ? (SINT)*value : most;
        delta_least = delta < delta_least ? delta : delta_least;
        delta_most = delta > delta_most ? delta : delta_most;
    }
    value_range->least = (UINT)least;
    value_range->most[group] = (UINT)most;
    delta_range->least = delta_least;
    delta_range->most[group] = delta_most;
    for (uint32_t i = count; i % 8; i++)
        deltas[i] = delta_least;
}

/* Fills in widths and size. words: of LANE bits that are stored before the widths. */
static void NAME(size_plan)(struct integer_plan *plan, uint32_t words, const struct codec_range *range)
{
    uint32_t bytes = words * LANE_BYTES, group = 0;
    for (uint32_t i = 0; i < plan->count; i += CODEC_GROUP_VALUES, group++) {
        uint32_t in_group = plan->count - i < CODEC_GROUP_VALUES ? plan->count - i : CODEC_GROUP_VALUES;
        uint32_t width = width_of((UINT)(range->most[group] - range->least));
        plan->widths[group] = (uint8_t)width;
        bytes += 1 + (in_group * width + 7) / 8;
    }
    plan->base = range->least;
    plan->bytes = bytes;
}


/* Whether differences of differences promise less, by two groups of the first differences and the second. */
static bool NAME(second_promises)(const struct codec_kernels *kernels, const UINT *values, uint32_t count, const struct codec_range *delta_range, UINT *room)
{
    uint32_t groups = count / CODEC_GROUP_VALUES, at[2] = {groups / 4, groups * 3 / 4};
    if (groups < 4)
        return true;
    uint32_t first_widths = 0, second_widths = 0;
    for (int k = 0; k < 2; k++) {
        struct codec_range second;
        kernels->NAME(scan_second)(values + at[k] * CODEC_GROUP_VALUES, 1, room, &second);
        second_widths += width_of((UINT)(second.most[0] - second.least));
        first_widths += width_of((UINT)(delta_range->most[at[k]] - delta_range->least));
    }
    return second_widths <= first_widths;
}

/* values[-1] and [-2] are written: what makes the first differences (and the first two of these) equal to the ones that follow. */
static void NAME(plan_lane)(struct codec_work *work, UINT *values, uint32_t count, enum plan_seconds seconds_wanted, struct integer_plan *plan)
{
    const struct codec_kernels *kernels = work->kernels;
    struct codec_range value_range, first_range, second_range, unused;
    UINT *firsts = (UINT *)(void *)work->packs[0], *seconds = (UINT *)(void *)work->packs[1];
    struct integer_plan trial = {.codec = CODEC_DELTA, .count = count, .numbers = firsts};
    *plan = (struct integer_plan){.codec = CODEC_FOR, .count = count, .numbers = values};
    values[-1] = values[0] - (count > 1 ? values[1] - values[0] : 0);
    kernels->NAME(scan)(values, count / CODEC_GROUP_VALUES, firsts, &value_range, &first_range);
    NAME(scan_tail)(values, count, 1, firsts, &value_range, &first_range);
    NAME(size_plan)(plan, 1, &value_range);
    bool third = count >= 3 && seconds_wanted != SECONDS_NEVER;
    if (count < 2)
        return;
    trial.first = values[-1];
    NAME(size_plan)(&trial, 2, &first_range);
    /* Differences that are far wider than the values do not get narrower by differencing again. */
    if (third && seconds_wanted == SECONDS_SAMPLED)
        third = trial.bytes < plan->bytes + plan->bytes / 4 && NAME(second_promises)(kernels, values, count, &first_range, seconds);
    if (trial.bytes < plan->bytes)
        *plan = trial;
    if (!third)
        return;
    UINT first_delta = values[1] - values[0], second_delta = values[2] - 2 * values[1] + values[0];
    values[-1] = values[0] - (first_delta - second_delta);
    values[-2] = values[-1] - (first_delta - 2 * second_delta);
    kernels->NAME(scan_second)(values, count / CODEC_GROUP_VALUES, seconds, &second_range);
    unused = value_range;
    NAME(scan_tail)(values, count, 2, seconds, &unused, &second_range);
    trial = (struct integer_plan){.codec = CODEC_DOD, .count = count, .numbers = seconds, .first = values[-1], .first_delta = (UINT)(first_delta - 2 * second_delta)};
    NAME(size_plan)(&trial, 3, &second_range);
    if (trial.bytes < plan->bytes)
        *plan = trial;
}

static void NAME(store_lane)(uint8_t *at, uint64_t value)
{
    PASTE(store_u, LANE)(at, (UINT)value);
}

static uint8_t *NAME(write_lane)(const struct codec_work *work, const struct integer_plan *plan, uint8_t *at)
{
    if (plan->codec != CODEC_FOR) {
        NAME(store_lane)(at, plan->first);
        at += LANE_BYTES;
    }
    if (plan->codec == CODEC_DOD) {
        NAME(store_lane)(at, plan->first_delta);
        at += LANE_BYTES;
    }
    NAME(store_lane)(at, plan->base);
    at += LANE_BYTES;
    uint32_t groups = (plan->count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES;
    memcpy(at, plan->widths, groups);
    at += groups;
    UINT *numbers = plan->numbers;
    for (uint32_t i = plan->count; i % 8; i++)
        numbers[i] = (UINT)plan->base;
    for (uint32_t group = 0; group < groups; group++, numbers += CODEC_GROUP_VALUES) {
        uint32_t left = plan->count - group * CODEC_GROUP_VALUES, in_group = left < CODEC_GROUP_VALUES ? left : CODEC_GROUP_VALUES;
        work->kernels->NAME(pack)(numbers, (UINT)plan->base, (in_group + 7) / 8, plan->widths[group], at);
        at += (in_group * plan->widths[group] + 7) / 8;
    }
    return at;
}

#undef LANE_BYTES
#undef SINT
#undef UINT
#undef NAME
#undef PASTE
#undef PASTE_
#undef LANE
