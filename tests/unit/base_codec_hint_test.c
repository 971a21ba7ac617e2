/* base_codec_hint_test.c: what a hint costs when it is wrong: columns whose values change their nature, for long, for a while and from block to block, are little larger by a hint than by a full search of each block. */
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1024, BLOCK_BYTES_MAX = ROWS * 8 + 1024 };
enum nature { CONSTANT, RANDOM, DECIMALS_2, DECIMALS_5, SCALED, SMOOTH, NATURE_COUNT };
static const char *const names[NATURE_COUNT] = {"constant", "random", "2 decimals", "5 decimals", "scaled", "smooth"};

static double make_value(enum nature nature, uint64_t row, uint64_t *random)
{
    double noise = (double)(int64_t)codec_check_random(random) * 0x1p-63, swing = 1.3 * sin((double)row * 0.001) + 0.2 * sin((double)row * 0.0061);
    switch (nature) {
    case CONSTANT: return 20.5;
    case DECIMALS_2: return nearbyint((swing + 0.1 * noise) * 1e2) / 1e2;
    case DECIMALS_5: return nearbyint((swing + 0.001 * noise) * 1e5) / 1e5;
    case SCALED: return nearbyint(3000 * swing + 100 * noise) * 0.000208615;
    case SMOOTH: return swing * 1000 / 3;
    default: return noise * 1e7;
    }
}

struct coder {
    uint32_t type;
    uint64_t row, random;
    struct codec_hint hint;
    uint8_t out[BLOCK_BYTES_MAX];
    size_t scratch_bytes;
    void *scratch;
};

static void encode_block(struct coder *coder, enum nature nature, size_t *hinted_bytes, size_t *alone_bytes)
{
    float narrow[ROWS];
    double wide[ROWS];
    uint64_t back[ROWS];
    bool is_f64 = coder->type == MOTE_TYPE_FLOAT64;
    for (int i = 0; i < ROWS; i++) {
        wide[i] = make_value(nature, coder->row++, &coder->random);
        narrow[i] = (float)wide[i];
    }
    struct codec_vector v = {.type = coder->type, .count = ROWS, .values = is_f64 ? (const void *)wide : narrow};
    int64_t alone = codec_encode(&v, 0, coder->out, sizeof coder->out, coder->scratch, coder->scratch_bytes);
    int64_t hinted = codec_encode_hinted(&v, 0, &coder->hint, coder->out, sizeof coder->out, coder->scratch, coder->scratch_bytes);
    cr_assert(alone > 0 && hinted > 0);
    cr_assert_eq(codec_decode(coder->out, (size_t)hinted, coder->type, 1, ROWS, back, sizeof back, NULL, NULL, NULL, NULL, coder->scratch, coder->scratch_bytes), MOTE_OK);
    cr_assert_eq(memcmp(back, v.values, codec_vector_bytes(&v)), 0);
    *alone_bytes += (size_t)alone;
    *hinted_bytes += (size_t)hinted;
}

static struct coder *make_coder(uint32_t type)
{
    struct coder *coder = calloc(1, sizeof *coder);
    coder->type = type;
    coder->random = 20240229;
    coder->scratch_bytes = codec_scratch_bytes(ROWS, ROWS * 8);
    coder->scratch = malloc(coder->scratch_bytes);
    return coder;
}

static void free_coder(struct coder *coder)
{
    free(coder->scratch);
    free(coder);
}

/* From each nature to each other one. */
Test(base_codec_hint, lasting_changes_cost_little)
{
    enum { BLOCKS = 150 };
    for (uint32_t is_f64 = 0; is_f64 < 2; is_f64++) {
        for (uint32_t from = 0; from < NATURE_COUNT; from++) {
            for (uint32_t to = 0; to < NATURE_COUNT; to++) {
                struct coder *coder = make_coder(is_f64 ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_FLOAT32);
                size_t hinted = 0, alone = 0, before = 0;
                for (int block = 0; block < BLOCKS; block++)
                    encode_block(coder, from, &before, &before);
                for (int block = 0; block < BLOCKS; block++)
                    encode_block(coder, to, &hinted, &alone);
                cr_expect_leq((double)hinted, 1.10 * (double)alone, "float%u, %s to %s: %zu bytes by a hint, %zu without", is_f64 ? 64 : 32, names[from], names[to], hinted, alone);
                free_coder(coder);
            }
        }
    }
}

/* Two natures in turn, for 1 to 50 blocks each. */
Test(base_codec_hint, changes_back_and_forth_cost_little)
{
    static const int lengths[] = {1, 2, 5, 17, 50};
    for (uint32_t is_f64 = 0; is_f64 < 2; is_f64++) {
        for (uint32_t a = 0; a < NATURE_COUNT; a++) {
            for (uint32_t b = 0; b < a; b++) {
                for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                    struct coder *coder = make_coder(is_f64 ? MOTE_TYPE_FLOAT64 : MOTE_TYPE_FLOAT32);
                    size_t hinted = 0, alone = 0;
                    for (int block = 0; block < 200; block++)
                        encode_block(coder, block / lengths[l] % 2 ? a : b, &hinted, &alone);
                    cr_expect_leq((double)hinted, 1.15 * (double)alone, "float%u, %s and %s for %d blocks each: %zu bytes by a hint, %zu without", is_f64 ? 64 : 32, names[a], names[b], lengths[l], hinted, alone);
                    free_coder(coder);
                }
            }
        }
    }
}
