/* sst_filter.h: the blocked Bloom filter of a partition's keys: each key sets SST_FILTER_PROBES bits in one line of 64 bytes, so that a question costs one cache line (F. Putze et al., "Cache-, hash- and space-efficient Bloom
 * filters", 2009). With 10 bits a key about one absent key in 80 passes. The header is in sst_format.h.
 *
 *   h     = hash of the key (below)
 *   line  = ((h >> 32) * line_count) >> 32
 *   bits  = the seven 9-bit numbers from bit 0, 9, 18, ... 54 of h * 0x9E3779B97F4A7C15 mod 2^64; bit b of a line is bit b % 8 of its byte b / 8
 *   hash  = for each 8 bytes of the key as a little-endian word, the last one filled with zeros: h = fold(h ^ word, 0xD6E8FEB86659FD93), from h = length * 0xA0761D6478BD642F;
 *           at the end fold(h, 0xE7037ED1A0B428DB); fold(a, b) = the low and the high half of the 128-bit product of a ^ 0x2545F4914F6CDD1D and b, combined by xor
 *
 * Pure functions; a checked filter of any content gives an answer. */
#ifndef MOTE_ENGINE_LSM_SST_FILTER_H
#define MOTE_ENGINE_LSM_SST_FILTER_H

#include "engine/lsm/sst_format.h"

static inline uint64_t sst_hash_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x2545F4914F6CDD1Du) * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t sst_key_hash(const uint8_t *key, uint32_t key_bytes)
{
    uint64_t hash = key_bytes * 0xA0761D6478BD642Fu;
    for (; key_bytes >= 8; key += 8, key_bytes -= 8)
        hash = sst_hash_fold(hash ^ load_u64(key), 0xD6E8FEB86659FD93u);
    if (key_bytes > 0) {
        uint8_t rest[8] = {0};
        for (uint32_t i = 0; i < key_bytes; i++)
            rest[i] = key[i];
        hash = sst_hash_fold(hash ^ load_u64(rest), 0xD6E8FEB86659FD93u);
    }
    return sst_hash_fold(hash, 0xE7037ED1A0B428DBu);
}

/* filter: a structure whose header was checked, filter_bytes long. */
bool sst_filter_may_hold(const uint8_t *filter, uint32_t filter_bytes, uint64_t hash);

#endif
