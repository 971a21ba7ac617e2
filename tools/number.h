/* number.h: numbers and times as text, exactly: what is printed parses back to the same bits, and what is parsed is the
 * correctly rounded value.
 *
 * Parsing a decimal: up to 19 significant digits are gathered as an integer m with a power of ten. Where m <= 2^53 and
 * the power is at most 22, one multiplication or division of two exact doubles is correctly rounded (Clinger, "How to
 * read floating point numbers accurately", 1990). Where long double has 64 bits, the same holds for m < 2^64 and powers
 * to 27, and rounding its result again to double is right unless it lies exactly half way. All else goes to strtod.
 * Text that is not a whole number of that grammar (hexadecimal, blanks, "1.") is refused or accepted as the functions
 * say.
 *
 * Not-a-number and infinity are written nan, -nan, inf, -inf (any case is read, also "infinity"); a NaN with another
 * payload than the usual one is written nan(0xDIGITS), the significand's bits, so that it too survives a round trip.
 *
 * Pure functions; no allocation; the C locale is assumed for strtod (no program here calls setlocale).
 */
#ifndef MOTE_TOOLS_NUMBER_H
#define MOTE_TOOLS_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NUMBER_TEXT_MAX = 48 };

bool number_parse_int64(const char *text, size_t length, int64_t *value);
bool number_parse_double(const char *text, size_t length, double *value);
bool number_parse_float(const char *text, size_t length, float *value);
/* true, false, t, f, yes, no, 1, 0 in any case. */
bool number_parse_bool(const char *text, size_t length, bool *value);
/* RFC 3339: 2026-01-31T12:34:56[.fraction](Z|+01:00); a blank or 't' instead of T. Fractions beyond nanoseconds are
 * refused unless zero. */
bool number_parse_rfc3339(const char *text, size_t length, int64_t *ns);
/* Decimal seconds (or another unit of unit_ns nanoseconds) to the nearest nanosecond, ties to even. */
bool number_seconds_to_ns(double seconds, int64_t *ns);

/* Each writes at most NUMBER_TEXT_MAX bytes, no NUL, and returns how many. */
size_t number_print_int64(int64_t value, char *text);
size_t number_print_double(double value, char *text);
size_t number_print_float(float value, char *text);
size_t number_print_rfc3339(int64_t ns, char *text);

/* IEEE 754 binary16 bits to float (exact) and back (rounded to nearest, ties to even). */
float number_from_half(uint16_t bits);
uint16_t number_to_half(float value);

#endif
