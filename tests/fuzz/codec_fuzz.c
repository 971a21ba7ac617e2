/* codec_fuzz.c: fuzz target of the column codecs. The input's first four bytes choose: hostile bytes into the decoder, or values through
 * encode and decode, which must give them back.
 *
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a
 * seeded number of random inputs: codec_fuzz [-n count] [-s seed] [file ...]. */
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void round_trip_bytes(uint32_t type, uint32_t dimension, uint32_t compression, const uint8_t *data, size_t size_bytes)
{
    size_t value_bytes = codec_value_bytes(type, dimension);
    struct codec_vector v = {type, dimension, 0, data, NULL, NULL};
    uint32_t *offsets = NULL;
    if (value_bytes) {
        v.count = (uint32_t)(size_bytes / value_bytes);
        if (v.count >= 8) { /* the front serves as the bitmap, too */
            v.validity = data[0] & 1 ? data : NULL;
        }
    } else { /* each value's length is its first byte */
        offsets = calloc(size_bytes + 2, sizeof *offsets);
        for (size_t at = 0; offsets && at < size_bytes; v.count++) {
            size_t length = data[at] < size_bytes - at ? data[at] : size_bytes - at;
            at += length ? length : 1;
            offsets[v.count + 1] = (uint32_t)at;
        }
        v.offsets = offsets;
    }
    struct codec_check check;
    if (!codec_check_round_trip(&v, compression, &check)) {
        fprintf(stderr, "type %u, dimension %u, count %u: %s\n", type, dimension, v.count, check.fault);
        abort();
    }
    codec_check_free(&check);
    free(offsets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes < 4 || size_bytes > 1u << 16)
        return 0;
    uint32_t type = MOTE_TYPE_INT64 + data[1] % MOTE_TYPE_POINT3, dimension = 1 + data[2] % 40, compression = data[3] % 4;
    if (data[0] % 2) {
        round_trip_bytes(type, dimension, compression, data + 4, size_bytes - 4);
        return 0;
    }
    struct codec_info info;
    if (codec_inspect(data + 4, size_bytes - 4, &info) == MOTE_OK && info.count < 1u << 17)
        (void)codec_check_decode(data + 4, size_bytes - 4, info.type, dimension, info.count);
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 1 << 15 };

/* A random input: values to encode, or the encoding of random values with a few bytes changed, so that the decoder's depths are reached. */
static size_t make_input(uint64_t *state, uint8_t *data)
{
    uint64_t random = codec_check_random(state);
    size_t size_bytes = 4;
    memcpy(data, &random, 4);
    if (data[0] % 2) {
        size_bytes += codec_check_random(state) % 3000;
        for (size_t i = 4; i < size_bytes; i++)
            data[i] = (uint8_t)(codec_check_random(state) >> (i % 8 > (random >> 40) % 9 ? 60 : 0));
        return size_bytes;
    }
    struct codec_vector v;
    struct codec_check check;
    uint32_t type = MOTE_TYPE_INT64 + (uint32_t)(random >> 32) % MOTE_TYPE_POINT3, dimension = 1 + data[2] % 40;
    void *memory =
        codec_check_random_vector(state, type, dimension, (uint32_t)(random >> 48) % 200, (uint32_t)(random >> 36), random >> 63, &v);
    if (!codec_check_round_trip(&v, data[3] % 4, &check)) {
        fprintf(stderr, "%s\n", check.fault);
        abort();
    }
    size_t encoded_bytes = check.encoded_bytes < INPUT_BYTES_MAX - 4 ? check.encoded_bytes : INPUT_BYTES_MAX - 4;
    memcpy(data + 4, check.encoded, encoded_bytes);
    for (uint64_t changes = codec_check_random(state) % 6; changes > 0; changes--) {
        uint64_t where = codec_check_random(state);
        size_t at = where % (where >> 62 ? 64 : encoded_bytes); /* mostly the headers */
        if (at < encoded_bytes)
            data[4 + at] = (uint8_t)(where >> 40 & 1 ? where >> 41 : data[4 + at] ^ 1u << (where >> 41 & 7));
    }
    codec_check_free(&check);
    free(memory);
    return 4 + encoded_bytes;
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 3000, .bytes_max = 2 * INPUT_BYTES_MAX};
    return fuzz_run(&run, argc, argv);
}
#endif
