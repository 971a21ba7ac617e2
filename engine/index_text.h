/* index_text.h: what the building of a declared text index (index_text.c) and the searching (term_text.c) share. */
#ifndef MOTE_ENGINE_INDEX_TEXT_H
#define MOTE_ENGINE_INDEX_TEXT_H

#include "engine/engine_private.h"
#include "index/text.h"

/* Reads a declared index's options back: MOTE_EVERSION, MOTE_EDAMAGED. */
int text_index_options(const uint8_t *bytes, uint32_t byte_count, struct text_options *options);

#endif
