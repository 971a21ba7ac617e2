/* turn.h: squares of values turned over in registers, rows to columns or columns to rows: four by four of 4 bytes, two by two of 8.
 *
 * Sixteen bytes are read at each of the `from` and written at each of the `to`; nothing need be aligned, and no `to` may overlap a `from`. Threads: pure functions. */
#ifndef MOTE_BLOCKDEV_BASE_TURN_H
#define MOTE_BLOCKDEV_BASE_TURN_H

#include <stdint.h>
#include <string.h>

typedef uint32_t turn_words __attribute__((vector_size(16)));
typedef uint64_t turn_pairs __attribute__((vector_size(16)));

static inline void turn_four(const uint8_t *const from[4], uint8_t *const to[4])
{
    turn_words in[4], half[4], out[4];
    for (int k = 0; k < 4; k++)
        memcpy(&in[k], from[k], sizeof in[k]);
    half[0] = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
    half[1] = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
    half[2] = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
    half[3] = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
    out[0] = __builtin_shufflevector(half[0], half[1], 0, 1, 4, 5);
    out[1] = __builtin_shufflevector(half[0], half[1], 2, 3, 6, 7);
    out[2] = __builtin_shufflevector(half[2], half[3], 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(half[2], half[3], 2, 3, 6, 7);
    for (int k = 0; k < 4; k++)
        memcpy(to[k], &out[k], sizeof out[k]);
}

static inline void turn_two(const uint8_t *const from[2], uint8_t *const to[2])
{
    turn_pairs in[2], out[2];
    for (int k = 0; k < 2; k++)
        memcpy(&in[k], from[k], sizeof in[k]);
    out[0] = __builtin_shufflevector(in[0], in[1], 0, 2);
    out[1] = __builtin_shufflevector(in[0], in[1], 1, 3);
    for (int k = 0; k < 2; k++)
        memcpy(to[k], &out[k], sizeof out[k]);
}

#endif
