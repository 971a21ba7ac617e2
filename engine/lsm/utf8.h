/* utf8.h: is this UTF-8? (Unicode 15, table 3-7: no surrogates, no overlong forms, nothing above U+10FFFF; U+0000 is a character.)
 *
 * Threads: pure function. Never fails. */
#ifndef MOTE_ENGINE_LSM_UTF8_H
#define MOTE_ENGINE_LSM_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_is_valid(const uint8_t *text, size_t size_bytes);
/* Length of the part at the start that is pure ASCII. */
size_t utf8_ascii_bytes(const uint8_t *text, size_t size_bytes);

#endif
