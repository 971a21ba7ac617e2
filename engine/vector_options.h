/* vector_options.h: what the manifest keeps of a declared vector index (index_vector.c). */
#ifndef MOTE_ENGINE_VECTOR_OPTIONS_H
#define MOTE_ENGINE_VECTOR_OPTIONS_H

#include "index/vector.h"

/* Size, seed and what was declared; the rest is zero. false: they are of another version, or out of bounds. */
bool vector_options_load(const uint8_t *bytes, uint32_t byte_count, struct vector_options *options);

#endif
