/* codec_floats.c: chunks of floats as integers: decimals (ALP: A. Afroozeh, L. Kuffo, P. Boncz, "ALP: Adaptive Lossless floating-Point
 * Compression", 2023, with an exact division in place of its two products), multiples of a scale, or their bit patterns.
 *
 * Exact for every value: each integer is turned back by the decoder's own expression while encoding, and a value whose bits differ (NaN,
 * -0.0, infinities, whatever is no decimal) becomes an exception.
 *
 * What a column was coded by is tried first in its next chunk (struct codec_hint) and kept until the values seem to have changed: the chunk is larger than it should be, or the values have fewer decimals. Then, and from time to time
 * in any case, all is tried anew. Where values change back and forth and that brings nothing, such signs are passed over for a while, twice as long each time. */
#include "blockdev/base/codec_private.h"

#include <assert.h>
#include <math.h>

const double codec_powers_of_ten[CODEC_ALP_POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

enum { SAMPLE_COUNT = 32, SAMPLE_COUNT_FEW = 16, SAMPLE_FIRST = 8, POWER_TRIED_MAX = 17, POWER_NONE = 255, PAUSE_FIRST = 2, PAUSE_UNSURE = 32, PATIENCE_MAX = 8, SCALE_PAUSE_MAX = 8, SECONDS_PAUSE = 4, PROBES = 3 };
enum { SIGN_DECIMALS = 1, SIGN_PATTERNS = 2 }; /* that RAW and PATTERNS may no longer be the best */
enum { METHOD_NONE, METHOD_RAW, METHOD_DECIMALS, METHOD_SCALED, METHOD_PATTERNS };

/* Chunks between two searches at most: the dearer one is for such values, the more. */
static const uint16_t pause_max[] = {[METHOD_RAW] = 32, [METHOD_DECIMALS] = 16, [METHOD_SCALED] = 64, [METHOD_PATTERNS] = 16};

/* The chunk that is being coded. */
struct float_chunk {
    struct codec_work *work;
    uint32_t count, groups, best_bytes;
    bool is_f64, narrow;
    bool like_decimals;      /* so it seemed to the search */
    bool scale_sought;       /* the search looked for a scale */
    uint32_t exceptions;     /* of the last SCALED tried */
    uint32_t inner;          /* the integers' codec of the chunk that was written last */
    enum plan_seconds seconds;
    struct codec_hint tried; /* the hint that was followed already */
    struct codec_hint found; /* what best_bytes was reached by */
};

void codec_store_chunk_header(uint8_t *out, const struct chunk_header *header)
{
    assert(header->payload_bytes <= UINT16_MAX && header->exception_count <= UINT16_MAX);
    store_u8(out, (uint8_t)header->codec);
    store_u8(out + 1, (uint8_t)(header->inner | (header->narrow ? CODEC_INNER_NARROW : 0) | (header->half ? CODEC_INNER_HALF : 0)));
    store_u8(out + 2, (uint8_t)header->power);
    store_u8(out + 3, 0);
    store_u16(out + 4, (uint16_t)header->exception_count);
    store_u16(out + 6, (uint16_t)header->payload_bytes);
}

/* Whether so many decimals give the value back, by the decoder's expression. What is further from an integer than rounding explains needs no division. */
static inline bool is_decimal(double scaled, uint32_t power, uint64_t bits, bool is_f64)
{
    double integer = (scaled + CODEC_SHIFTER) - CODEC_SHIFTER;
    if (fabs(scaled - integer) > fabs(scaled) * (is_f64 ? 0x1p-51 : 0x1p-23))
        return false;
    if (is_f64)
        return bits_of_double((double)nearest_integer(scaled) / codec_powers_of_ten[power]) == bits;
    return bits_of_float((float)((double)nearest_integer(scaled) / codec_powers_of_ten[power])) == (uint32_t)bits;
}

/* The fewest decimals that give the value back, or POWER_NONE. likely_least: if so many do not, fewer are not tried. */
static uint32_t count_decimals(double value, uint64_t bits, bool is_f64, uint32_t likely_least)
{
    double limit = is_f64 ? 0x1p51 : 0x1p31, likely = value * codec_powers_of_ten[likely_least];
    bool skip = fabs(likely) < limit && !is_decimal(likely, likely_least, bits, is_f64);
    for (uint32_t power = skip ? likely_least + 1 : 0; power <= POWER_TRIED_MAX; power++) {
        double scaled = value * codec_powers_of_ten[power];
        if (!(fabs(scaled) < limit))
            return POWER_NONE;
        if (is_decimal(scaled, power, bits, is_f64))
            return power;
    }
    return POWER_NONE;
}

/* The number of decimals that promises the smallest chunk, from a sample: each one costs log2(10) bits for every value, too few make
 * exceptions. POWER_NONE if the values do not look like decimals. */
static uint32_t choose_power(const struct float_chunk *chunk, uint32_t samples, uint32_t likely_least, double *largest)
{
    uint32_t histogram[POWER_TRIED_MAX + 1] = {0}, sampled = 0, found = 0, count = chunk->count;
    uint32_t step = count <= samples ? 1 : count / samples;
    bool is_f64 = chunk->is_f64;
    for (uint32_t i = 0; i < count && sampled < samples; i += step) {
        double value = codec_load_float(chunk->work, i, is_f64);
        uint32_t power = count_decimals(value, is_f64 ? chunk->work->floats[i] : ((const uint32_t *)chunk->work->floats)[i], is_f64, likely_least);
        sampled++;
        if (power != POWER_NONE) {
            histogram[power]++;
            found++;
            *largest = fabs(value) > *largest ? fabs(value) : *largest;
        }
        if (sampled == SAMPLE_FIRST && found == 0)
            return POWER_NONE;
    }
    if (found * 2 < sampled)
        return POWER_NONE;
    uint32_t best_power = POWER_NONE, covered = 0;
    double best_cost = INFINITY;
    for (uint32_t power = 0; power <= POWER_TRIED_MAX; power++) {
        covered += histogram[power];
        double cost = 3.33 * power * sampled + (is_f64 ? 80.0 : 48.0) * (sampled - covered);
        if (histogram[power] && cost < best_cost) {
            best_cost = cost;
            best_power = power;
        }
    }
    return best_power;
}

/* In plain arithmetic: without the processor's instruction, which the build need not have, the compiler calls a function. */
static inline uint32_t count_ones(uint64_t bits)
{
    bits -= bits >> 1 & 0x5555555555555555;
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
    return (uint32_t)(((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101 >> 56);
}

/* Lists the values that were missed and gives each the integer before it (those at the start the first good one), which costs the packing least; fills the last group up. Returns how many there are, or count if more than half. */
static uint32_t fill_exceptions(struct float_chunk *chunk, bool wide)
{
    struct codec_work *work = chunk->work;
    uint64_t *wides = work->integers;
    uint32_t *halves = (uint32_t *)wides, count = chunk->count, exceptions = 0, first_good = 0;
    if (count % CODEC_GROUP_VALUES)
        work->misses[chunk->groups - 1] &= (1ull << (count % CODEC_GROUP_VALUES)) - 1;
    for (uint32_t group = 0; group < chunk->groups; group++)
        exceptions += work->misses[group] ? count_ones(work->misses[group]) : 0;
    if (exceptions * 2 > count)
        return count;
    while (exceptions && work->misses[first_good / 64] >> (first_good % 64) & 1)
        first_good++;
    exceptions = 0;
    for (uint32_t group = 0; group < chunk->groups; group++) {
        for (uint64_t missed = work->misses[group]; missed; missed &= missed - 1) {
            uint32_t i = group * CODEC_GROUP_VALUES + (uint32_t)__builtin_ctzll(missed), from = i < first_good ? first_good : i - 1;
            work->exceptions[exceptions++] = (uint16_t)i;
            if (wide)
                wides[i] = wides[from];
            else
                halves[i] = halves[from];
        }
    }
    for (uint32_t i = count; i < chunk->groups * CODEC_GROUP_VALUES; i++) {
        if (wide)
            wides[i] = wides[count - 1];
        else
            halves[i] = halves[count - 1];
    }
    return exceptions;
}

/* Writes work->integers and the exceptions as a chunk, if that is smaller than the best one. Returns whether it is. scale: of SCALED only. */
static bool write_if_smaller(struct float_chunk *chunk, struct chunk_header header, double scale)
{
    struct codec_work *work = chunk->work;
    struct integer_plan plan;
    uint32_t value_bytes = chunk->is_f64 ? 8 : 4, scale_bytes = header.codec == CODEC_SCALED ? 8 : 0;
    codec_plan_integers(work, work->integers, chunk->is_f64 && !header.half, chunk->count, false, chunk->seconds, &plan);
    uint32_t payload_bytes = scale_bytes + plan.bytes + header.exception_count * (2 + value_bytes);
    if (payload_bytes + CODEC_CHUNK_HEADER_BYTES >= chunk->best_bytes)
        return false;
    chunk->inner = plan.codec;
    if (header.codec == CODEC_RAW) /* bit patterns: the integers' codec is the chunk's */
        header.codec = plan.codec;
    else
        header.inner = plan.codec;
    header.narrow = chunk->narrow;
    header.payload_bytes = payload_bytes;
    uint8_t *at = work->candidate;
    codec_store_chunk_header(at, &header);
    at += CODEC_CHUNK_HEADER_BYTES;
    if (scale_bytes) {
        store_u64(at, bits_of_double(scale));
        at += 8;
    }
    codec_write_integers(work, &plan, at);
    at += plan.bytes;
    for (uint32_t e = 0; e < header.exception_count; e++, at += 2)
        store_u16(at, work->exceptions[e]);
    for (uint32_t e = 0; e < header.exception_count; e++, at += value_bytes) {
        if (chunk->is_f64)
            store_u64(at, work->floats[work->exceptions[e]]);
        else
            store_u32(at, ((const uint32_t *)work->floats)[work->exceptions[e]]);
    }
    chunk->best_bytes = payload_bytes + CODEC_CHUNK_HEADER_BYTES;
    return true;
}

/* Whether more than half of the integers are multiples of ten, by a sample: then fewer decimals, and exceptions, might do. */
static bool ends_in_zeros(const struct float_chunk *chunk, bool half)
{
    const uint64_t *wides = chunk->work->integers;
    const uint32_t *halves = (const uint32_t *)wides;
    uint32_t step = chunk->count / 16 + 1, sampled = 0, multiples = 0;
    for (uint32_t i = 0; i < chunk->count; i += step, sampled++)
        multiples += half ? (int32_t)halves[i] % 10 == 0 : (int64_t)wides[i] % 10 == 0;
    return multiples * 2 > sampled;
}

/* half: of float64 values, 32-bit integers; of float32 values, integers beyond 2^24 or more decimals, by double arithmetic. Returns whether a chunk was written. */
static bool try_decimals(struct float_chunk *chunk, uint32_t power, bool half)
{
    struct codec_work *work = chunk->work;
    const struct codec_kernels *kernels = work->kernels;
    double ten_power = codec_powers_of_ten[power];
    uint32_t *halves = (uint32_t *)work->integers;
    if (!chunk->is_f64 && half)
        kernels->decimals_f32_exact((const uint32_t *)work->floats, chunk->groups, ten_power, halves, work->misses);
    else if (!chunk->is_f64)
        kernels->decimals_f32((const uint32_t *)work->floats, chunk->groups, (float)ten_power, halves, work->misses);
    else if (half)
        kernels->decimals_f64_half(work->floats, chunk->groups, ten_power, halves, work->misses);
    else
        kernels->decimals_f64(work->floats, chunk->groups, ten_power, work->integers, work->misses);
    struct chunk_header header = {.codec = CODEC_ALP, .power = power, .half = half, .exception_count = fill_exceptions(chunk, chunk->is_f64 && !half)};
    if (header.exception_count == chunk->count || !write_if_smaller(chunk, header, 0))
        return false;
    chunk->found = (struct codec_hint){.method = METHOD_DECIMALS, .power = (uint8_t)power, .half = half};
    return true;
}

static bool try_scaled(struct float_chunk *chunk, double scale, bool half)
{
    struct codec_work *work = chunk->work;
    uint32_t *halves = (uint32_t *)work->integers;
    if (!chunk->is_f64)
        work->kernels->scaled_f32((const uint32_t *)work->floats, chunk->groups, scale, halves, work->misses);
    else if (half)
        work->kernels->scaled_f64_half(work->floats, chunk->groups, scale, halves, work->misses);
    else
        work->kernels->scaled_f64(work->floats, chunk->groups, scale, work->integers, work->misses);
    struct chunk_header header = {.codec = CODEC_SCALED, .half = half, .exception_count = fill_exceptions(chunk, chunk->is_f64 && !half)};
    chunk->exceptions = header.exception_count;
    if (header.exception_count == chunk->count || !write_if_smaller(chunk, header, scale))
        return false;
    chunk->found = (struct codec_hint){.method = METHOD_SCALED, .half = half, .scale = scale};
    return true;
}

/* Bit patterns as integers that sort as the floats do; the low zero bits that all have in common are shifted out. */
static bool try_patterns(struct float_chunk *chunk)
{
    struct codec_work *work = chunk->work;
    const uint32_t *bits = (const uint32_t *)work->floats, places = chunk->groups * CODEC_GROUP_VALUES;
    uint32_t *integers = (uint32_t *)work->integers;
    uint64_t all = 0;
    for (uint32_t i = 0; i < (chunk->is_f64 ? places : places / 2); i++) /* float32: two at a time */
        all |= work->floats[i];
    all = chunk->is_f64 ? all : (uint32_t)(all | all >> 32);
    uint32_t shift = all ? (uint32_t)__builtin_ctzll(all) : 0;
    if (shift >= (chunk->is_f64 ? 63u : 31u))
        shift = 0;
    if (chunk->is_f64) {
        for (uint32_t i = 0; i < places; i++) {
            int64_t pattern = (int64_t)work->floats[i] >> shift;
            work->integers[i] = (uint64_t)(pattern ^ ((pattern >> 63) & (INT64_MAX >> shift)));
        }
    } else {
        for (uint32_t i = 0; i < places; i++) {
            int32_t pattern = (int32_t)bits[i] >> shift;
            integers[i] = (uint32_t)(pattern ^ ((pattern >> 31) & (INT32_MAX >> shift)));
        }
    }
    struct chunk_header header = {.codec = CODEC_RAW, .power = shift};
    if (!write_if_smaller(chunk, header, 0))
        return false;
    chunk->found = (struct codec_hint){.method = METHOD_PATTERNS};
    return true;
}

static void write_raw(struct float_chunk *chunk)
{
    struct codec_work *work = chunk->work;
    struct chunk_header header = {.codec = CODEC_RAW, .payload_bytes = chunk->count * (chunk->is_f64 ? 8 : 4), .narrow = chunk->narrow};
    codec_store_chunk_header(work->candidate, &header);
    uint8_t *at = work->candidate + CODEC_CHUNK_HEADER_BYTES;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(at, work->floats, header.payload_bytes);
#else
    for (uint32_t i = 0; i < chunk->count; i++)
        chunk->is_f64 ? store_u64(at + 8 * i, work->floats[i]) : store_u32(at + 4 * i, ((const uint32_t *)work->floats)[i]);
#endif
    chunk->best_bytes = CODEC_CHUNK_HEADER_BYTES + header.payload_bytes;
    chunk->found = (struct codec_hint){.method = METHOD_RAW};
}

/* Whether some of the values have so few decimals that this is no chance: any float32 below 2 has nine. */
static bool has_few_decimals(const struct float_chunk *chunk)
{
    const struct codec_work *work = chunk->work;
    uint32_t power_most = chunk->is_f64 ? 12 : 5;
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        uint32_t i = (2 * probe + 1) * chunk->count / (2 * PROBES), power = 0;
        uint64_t bits = chunk->is_f64 ? work->floats[i] : ((const uint32_t *)work->floats)[i];
        double value = codec_load_float(work, i, chunk->is_f64);
        if (!(fabs(value) < 0x1p20))
            return false;
        while (power <= power_most && !is_decimal(value * codec_powers_of_ten[power], power, bits, chunk->is_f64))
            power++;
        if (power > power_most)
            return false;
    }
    return true;
}

/* Whether bit patterns of neighbours are so much alike that they need not be stored raw, by one group of them. */
static bool has_narrow_patterns(const struct float_chunk *chunk)
{
    const struct codec_work *work = chunk->work;
    uint32_t first = chunk->groups / 2 * CODEC_GROUP_VALUES, bits = chunk->is_f64 ? 64 : 32;
    uint64_t *room = chunk->work->packs[0];
    struct codec_range values, deltas;
    if (first == 0)
        return false;
    if (chunk->is_f64)
        work->kernels->scan_64(work->floats + first, 1, room, &values, &deltas);
    else
        work->kernels->scan_32((const uint32_t *)work->floats + first, 1, (uint32_t *)room, &values, &deltas);
    uint64_t spread = deltas.most[0] - deltas.least;
    return spread >> (bits - bits / 16) == 0;
}

/* Codes the chunk as the hint says; RAW is left to the caller. False: these values cannot be coded so, or there is no hint. */
static bool follow_hint(struct float_chunk *chunk, const struct codec_hint *hint)
{
    if (hint->method == METHOD_NONE || hint->narrow != chunk->narrow || hint->is_f64 != chunk->is_f64)
        return false;
    chunk->tried = *hint;
    /* Differences of differences are looked at where they served, and else now and then. */
    chunk->seconds = hint->inner == CODEC_DOD ? SECONDS_ALWAYS : hint->wait % SECONDS_PAUSE ? SECONDS_NEVER : SECONDS_SAMPLED;
    if (hint->method == METHOD_DECIMALS)
        return try_decimals(chunk, hint->power, hint->half);
    if (hint->method == METHOD_SCALED)
        return try_scaled(chunk, hint->scale, hint->half);
    return hint->method == METHOD_RAW || try_patterns(chunk);
}

/* Signs that values coded by this method might better be coded by another one. */
static uint32_t read_signs(const struct float_chunk *chunk, uint32_t method)
{
    if (method != METHOD_RAW && method != METHOD_PATTERNS)
        return 0;
    return (has_few_decimals(chunk) ? SIGN_DECIMALS : 0u) | (method == METHOD_RAW && has_narrow_patterns(chunk) ? SIGN_PATTERNS : 0u);
}

/* Whether the values seem to be others than those that the hint was found with. */
static bool seems_changed(const struct float_chunk *chunk, const struct codec_hint *hint)
{
    uint64_t expected_bytes = (uint64_t)hint->chunk_bytes * chunk->count / CODEC_CHUNK_VALUES;
    expected_bytes += expected_bytes / 32 + 32;
    /* A scale that gives nearly all values back is the right one, however large the values have become. */
    if (hint->method == METHOD_SCALED)
        return chunk->exceptions > chunk->count / 16;
    if (hint->method != METHOD_RAW && chunk->best_bytes > expected_bytes)
        return true;
    if (hint->method == METHOD_DECIMALS)
        return ends_in_zeros(chunk, hint->half || !chunk->is_f64);
    return false;
}

/* By so many decimals as a sample of the values has, unless the hint led to that. */
static void try_sampled_decimals(struct float_chunk *chunk, uint32_t samples)
{
    const struct codec_hint *tried = &chunk->tried;
    uint32_t likely_least = tried->method == METHOD_DECIMALS && tried->power > 2 ? tried->power - 2u : 0;
    double largest = 0;
    uint32_t power = choose_power(chunk, samples, likely_least, &largest);
    chunk->like_decimals = power != POWER_NONE;
    if (power == POWER_NONE)
        return;
    double reach = largest * codec_powers_of_ten[power];
    bool half = chunk->is_f64 ? reach < 0x1p30 : reach > 0x1p24 || power > CODEC_ALP_POWER_F32_MAX;
    if (tried->method != METHOD_DECIMALS || tried->power != power || tried->half != half)
        try_decimals(chunk, power, half);
}

/* What the hint led to need not be tried again, and its scale may be more exact than the one that these values suggest. */
static void try_all(struct float_chunk *chunk, bool seek_scale, uint32_t raw_bytes)
{
    struct codec_work *work = chunk->work;
    const struct codec_hint *tried = &chunk->tried;
    double scale;
    try_sampled_decimals(chunk, SAMPLE_COUNT);
    chunk->scale_sought = tried->method == METHOD_SCALED || (chunk->best_bytes > raw_bytes / 2 && (seek_scale || codec_seems_scaled(work, chunk->count, chunk->is_f64)));
    if (chunk->scale_sought && codec_find_scale(work, chunk->count, chunk->is_f64, &scale)) {
        uint32_t before_bytes = chunk->best_bytes;
        if (!chunk->is_f64 || !try_scaled(chunk, scale, true))
            try_scaled(chunk, scale, false);
        else if (chunk->best_bytes > before_bytes / 2)
            try_scaled(chunk, scale, false); /* perhaps what 32 bits do not hold became exceptions */
    }
    if (chunk->best_bytes > raw_bytes / 2 && tried->method != METHOD_PATTERNS)
        try_patterns(chunk);
}

/* What the next chunks shall be coded by, after a search. hinted_bytes: what the hint had led to. */
static void update_hint(struct codec_hint *hint, const struct float_chunk *chunk, uint32_t hinted_bytes)
{
    struct codec_hint before = *hint;
    bool gained = chunk->best_bytes + chunk->best_bytes / 64 < hinted_bytes;
    uint32_t method = chunk->found.method, most = chunk->like_decimals && method == METHOD_PATTERNS ? PAUSE_UNSURE : pause_max[method];
    uint32_t pause = before.method == method || !gained ? before.pause * 2u : PAUSE_FIRST, patience = gained ? 0 : before.wait == 0 ? before.patience_set : before.patience_set * 2u + 1;
    uint32_t scale_pause = method == METHOD_SCALED || hinted_bytes == UINT32_MAX ? 0 : chunk->scale_sought ? before.scale_pause_set * 2u + 1 : before.scale_pause_set;
    *hint = chunk->found;
    hint->pause = hint->wait = (uint16_t)(pause > most ? most : pause < PAUSE_FIRST ? PAUSE_FIRST : pause);
    hint->patience = hint->patience_set = (uint8_t)(patience > PATIENCE_MAX ? PATIENCE_MAX : patience);
    hint->scale_pause_set = (uint8_t)(scale_pause > SCALE_PAUSE_MAX ? SCALE_PAUSE_MAX : scale_pause);
    hint->scale_pause = chunk->scale_sought || scale_pause == 0 ? hint->scale_pause_set : (uint8_t)(before.scale_pause - 1);
    hint->narrow = chunk->narrow;
    hint->is_f64 = chunk->is_f64;
    hint->signs = (uint8_t)read_signs(chunk, method);
    hint->inner = (uint8_t)chunk->inner;
    hint->chunk_bytes = (uint32_t)((uint64_t)chunk->best_bytes * CODEC_CHUNK_VALUES / chunk->count);
}

/* The chunk is coded by the method of the hint, without a search; where values seem to have changed, as decimals the number of these is looked at all the same. */
static void keep_hint(struct codec_hint *hint, struct float_chunk *chunk, bool changed)
{
    uint32_t hinted_bytes = chunk->best_bytes;
    hint->wait--;
    hint->inner = (uint8_t)chunk->inner;
    hint->patience = (uint8_t)(hint->patience - (hint->patience > 0));
    if (hint->method == METHOD_RAW)
        write_raw(chunk);
    if (!changed || hint->method != METHOD_DECIMALS)
        return;
    try_sampled_decimals(chunk, SAMPLE_COUNT_FEW);
    if (chunk->best_bytes < hinted_bytes) {
        hint->power = chunk->found.power;
        hint->half = chunk->found.half;
    }
}

uint32_t codec_encode_floats(struct codec_work *work, uint32_t count, bool is_f64, bool narrow, struct codec_hint *hint)
{
    struct float_chunk chunk = {.work = work, .count = count, .groups = (count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES, .is_f64 = is_f64, .narrow = narrow};
    uint32_t raw_bytes = count * (is_f64 ? 8 : 4), raw_chunk_bytes = CODEC_CHUNK_HEADER_BYTES + raw_bytes;
    /* What saves less than a thirty-second is not worth the decoding. */
    chunk.best_bytes = raw_chunk_bytes - raw_bytes / 32;
    bool served = follow_hint(&chunk, hint), waits = served && hint->wait > 0 && (read_signs(&chunk, hint->method) & ~(uint32_t)hint->signs) == 0;
    bool changed = waits && seems_changed(&chunk, hint);
    if (waits && (!changed || hint->patience > 0)) {
        keep_hint(hint, &chunk, changed);
        return chunk.best_bytes;
    }
    uint32_t hinted_bytes = !served ? UINT32_MAX : hint->method == METHOD_RAW ? raw_chunk_bytes : chunk.best_bytes;
    chunk.seconds = SECONDS_SAMPLED;
    try_all(&chunk, !served || hint->scale_pause == 0 || hint->method == METHOD_RAW, raw_bytes);
    if (chunk.found.method == METHOD_NONE)
        write_raw(&chunk);
    update_hint(hint, &chunk, hinted_bytes);
    return chunk.best_bytes;
}
