/* codec_check.h: round trips of the column codecs in buffers of exactly the promised sizes, so that the address sanitizer sees each byte
 * written beyond them. */
#ifndef MOTE_TESTS_SUPPORT_CODEC_CHECK_H
#define MOTE_TESTS_SUPPORT_CODEC_CHECK_H

#include "blockdev/base/codec.h"
#include "include/mote.h"

struct codec_check {
    uint8_t *encoded; /* of encoded_bytes, by malloc; codec_check_free */
    size_t encoded_bytes;
    uint32_t codec; /* of the first chunk */
    char fault[160];
};

/* Encodes, decodes and compares bit for bit (NULLs by the bitmap). True: equal; false: check->fault says what is not. */
bool codec_check_round_trip(const struct codec_vector *v, uint32_t compression, struct codec_check *check);
void codec_check_free(struct codec_check *check);

/* Decodes hostile bytes as the given type into exactly sized buffers. Returns codec_decode's result. */
int codec_check_decode(const void *bytes, size_t size_bytes, uint32_t type, uint32_t dimension, uint32_t count);

/* xorshift64*; *state must not be 0. */
uint64_t codec_check_random(uint64_t *state);

/* A random vector of this type and count, malloc'ed as one block that `v` points into; free what it returns. shape picks how the values
 * are distributed (any number). */
void *codec_check_random_vector(uint64_t *state, uint32_t type, uint32_t dimension, uint32_t count, uint32_t shape, bool nulls,
                                struct codec_vector *v);

#endif
