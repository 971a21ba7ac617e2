/* number.c: parsing of numbers and of times (number.h). Printing is in number_print.c. */
#include "tools/number.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const double powers_of_ten[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                         1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#if LDBL_MANT_DIG == 64
static const long double long_powers_of_ten[28] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,
                                                   1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L,
                                                   1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
#endif

enum { DECIMAL_DIGITS_MAX = 19, DECIMAL_TEXT_MAX = 1023 };

struct decimal {
    uint64_t mantissa;
    int64_t exponent;
    bool negative;
    bool complete; /* every significant digit is in mantissa */
};

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Reads [sign] digits [. digits] [e [sign] digits]; at least one digit before or after the point. */
static bool scan_decimal(const char *text, size_t length, struct decimal *decimal)
{
    const char *at = text, *end = text + length;
    *decimal = (struct decimal){.complete = true};
    if (at < end && (*at == '-' || *at == '+'))
        decimal->negative = *at++ == '-';
    unsigned significant = 0;
    size_t digits = 0;
    bool point = false;
    for (; at < end; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(*at))
            break;
        digits++;
        decimal->exponent -= point;
        if (significant == 0 && *at == '0')
            continue;
        if (significant < DECIMAL_DIGITS_MAX) {
            decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*at - '0');
            significant++;
        } else {
            decimal->exponent++;
            decimal->complete = decimal->complete && *at == '0';
        }
    }
    if (digits == 0)
        return false;
    if (at == end)
        return true;
    if (*at != 'e' && *at != 'E')
        return false;
    at++;
    bool negative = false;
    if (at < end && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    if (at == end)
        return false;
    int64_t exponent = 0;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return false;
        if (exponent < 100000)
            exponent = exponent * 10 + (*at - '0');
    }
    decimal->exponent += negative ? -exponent : exponent;
    return true;
}

/* nan, nan(0x...), inf, infinity, with a sign. mantissa_bits: of the type asked for. The significand's bits go to
 * *payload. */
static bool scan_special(const char *text, size_t length, bool *negative, bool *is_nan, uint64_t *payload)
{
    *negative = false;
    *payload = 0;
    if (length > 0 && (*text == '-' || *text == '+')) {
        *negative = *text == '-';
        text++;
        length--;
    }
    *is_nan = length >= 3 && strncasecmp(text, "nan", 3) == 0;
    if (!*is_nan)
        return (length == 3 && strncasecmp(text, "inf", 3) == 0) ||
               (length == 8 && strncasecmp(text, "infinity", 8) == 0);
    if (length == 3)
        return true;
    if (length < 8 || length > 24 || strncasecmp(text, "nan(0x", 6) != 0 || text[length - 1] != ')')
        return false;
    char digits[24];
    memcpy(digits, text + 6, length - 7);
    digits[length - 7] = '\0';
    char *end = NULL;
    *payload = strtoull(digits, &end, 16);
    return *end == '\0' && *payload != 0;
}

static double double_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The fast paths of the file's header; false: strtod must decide. */
static bool decimal_to_double(const struct decimal *decimal, double *value)
{
    uint64_t mantissa = decimal->mantissa;
    int64_t exponent = decimal->exponent;
    if (!decimal->complete)
        return false;
    if (mantissa == 0) {
        *value = decimal->negative ? -0.0 : 0.0;
        return true;
    }
    if (mantissa <= (UINT64_C(1) << 53) && exponent >= -22 && exponent <= 22) {
        double exact = (double)mantissa;
        exact = exponent < 0 ? exact / powers_of_ten[-exponent] : exact * powers_of_ten[exponent];
        *value = decimal->negative ? -exact : exact;
        return true;
    }
#if LDBL_MANT_DIG == 64
    if (exponent >= -27 && exponent <= 27) {
        long double near = (long double)mantissa;
        near = exponent < 0 ? near / long_powers_of_ten[-exponent] : near * long_powers_of_ten[exponent];
        uint64_t bits;
        memcpy(&bits, &near, sizeof bits);
        if ((bits & 0x7FF) == 0x400)
            return false;
        *value = (double)(decimal->negative ? -near : near);
        return true;
    }
#endif
    return false;
}

static bool copy_text(const char *text, size_t length, char copy[DECIMAL_TEXT_MAX + 1])
{
    if (length > DECIMAL_TEXT_MAX)
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return true;
}

bool number_parse_double(const char *text, size_t length, double *value)
{
    struct decimal decimal;
    if (scan_decimal(text, length, &decimal)) {
        if (decimal_to_double(&decimal, value))
            return true;
        char copy[DECIMAL_TEXT_MAX + 1];
        if (!copy_text(text, length, copy))
            return false;
        *value = strtod(copy, NULL);
        return true;
    }
    bool negative, is_nan;
    uint64_t payload;
    if (!scan_special(text, length, &negative, &is_nan, &payload) || payload >> 52)
        return false;
    uint64_t significand = !is_nan ? 0 : payload ? payload : UINT64_C(1) << 51;
    *value = double_from_bits((uint64_t)negative << 63 | UINT64_C(0x7FF) << 52 | significand);
    return true;
}

/* A correctly rounded double rounds on to the correct float unless it lies half way between two floats, or among the
 * subnormal ones, whose spacing differs. */
static bool double_to_float(double wide, float *value)
{
    uint64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    double size = fabs(wide);
    if (size != 0 && (size < (double)FLT_MIN || size > 3.4e38 || (bits & 0x1FFFFFFF) == 0x10000000))
        return false;
    *value = (float)wide;
    return true;
}

bool number_parse_float(const char *text, size_t length, float *value)
{
    struct decimal decimal;
    if (scan_decimal(text, length, &decimal)) {
        double wide;
        if (decimal_to_double(&decimal, &wide) && double_to_float(wide, value))
            return true;
        char copy[DECIMAL_TEXT_MAX + 1];
        if (!copy_text(text, length, copy))
            return false;
        *value = strtof(copy, NULL);
        return true;
    }
    bool negative, is_nan;
    uint64_t payload;
    if (!scan_special(text, length, &negative, &is_nan, &payload) || payload >> 23)
        return false;
    uint32_t significand = !is_nan ? 0 : payload ? (uint32_t)payload : UINT32_C(1) << 22;
    *value = float_from_bits((uint32_t)negative << 31 | UINT32_C(0xFF) << 23 | significand);
    return true;
}

bool number_parse_int64(const char *text, size_t length, int64_t *value)
{
    size_t at = 0;
    bool negative = false;
    if (length > 0 && (text[0] == '-' || text[0] == '+')) {
        negative = text[0] == '-';
        at = 1;
    }
    if (at == length)
        return false;
    uint64_t limit = (uint64_t)INT64_MAX + negative, number = 0;
    for (; at < length; at++) {
        if (!is_digit(text[at]))
            return false;
        uint64_t digit = (uint64_t)(text[at] - '0');
        if (number > (limit - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *value = negative ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

bool number_parse_bool(const char *text, size_t length, bool *value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"1", true},   {"0", false},
                 {"t", true},    {"f", false},     {"yes", true}, {"no", false}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i].word) == length && strncasecmp(words[i].word, text, length) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

bool number_seconds_to_ns(double seconds, int64_t *ns)
{
    double scaled = nearbyint(seconds * 1e9);
    if (!(scaled >= -9223372036854775808.0 && scaled < 9223372036854775808.0))
        return false;
    *ns = (int64_t)scaled;
    return true;
}

/* Two, or four, digits at *at. */
static bool take_digits(const char *text, size_t length, size_t *at, unsigned count, int64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < count; i++, ++*at) {
        if (*at >= length || !is_digit(text[*at]))
            return false;
        *value = *value * 10 + (text[*at] - '0');
    }
    return true;
}

static bool take_char(const char *text, size_t length, size_t *at, const char *allowed)
{
    if (*at >= length || text[*at] == '\0' || !strchr(allowed, text[*at]))
        return false;
    ++*at;
    return true;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days since 1970-01-01 of a Gregorian date: the algorithm counts from 1 March of year 0, so that the leap day ends a
 * year. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* [.digits] to nanoseconds; finer digits must be zero, because they could not be kept. */
static bool take_fraction(const char *text, size_t length, size_t *at, int64_t *fraction_ns)
{
    *fraction_ns = 0;
    if (*at >= length || text[*at] != '.')
        return true;
    ++*at;
    int64_t unit = 100000000;
    size_t first = *at;
    for (; *at < length && is_digit(text[*at]); ++*at, unit /= 10) {
        if (unit == 0 && text[*at] != '0')
            return false;
        *fraction_ns += (text[*at] - '0') * unit;
    }
    return *at > first;
}

/* Z or +hh:mm, to the end of the text; the seconds to subtract. */
static bool take_zone(const char *text, size_t length, size_t *at, int64_t *offset_s)
{
    *offset_s = 0;
    if (take_char(text, length, at, "Zz"))
        return *at == length;
    if (*at >= length || (text[*at] != '+' && text[*at] != '-'))
        return false;
    int64_t sign = text[(*at)++] == '-' ? -1 : 1, hours, minutes;
    if (!take_digits(text, length, at, 2, &hours) || !take_char(text, length, at, ":") ||
        !take_digits(text, length, at, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = sign * (hours * 3600 + minutes * 60);
    return *at == length;
}

bool number_parse_rfc3339(const char *text, size_t length, int64_t *ns)
{
    static const int64_t days_of_month[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day, hour, minute, second, fraction_ns, offset_s;
    size_t at = 0;
    if (!take_digits(text, length, &at, 4, &year) || !take_char(text, length, &at, "-") ||
        !take_digits(text, length, &at, 2, &month) || !take_char(text, length, &at, "-") ||
        !take_digits(text, length, &at, 2, &day) || !take_char(text, length, &at, "Tt ") ||
        !take_digits(text, length, &at, 2, &hour) || !take_char(text, length, &at, ":") ||
        !take_digits(text, length, &at, 2, &minute) || !take_char(text, length, &at, ":") ||
        !take_digits(text, length, &at, 2, &second) || !take_fraction(text, length, &at, &fraction_ns) ||
        !take_zone(text, length, &at, &offset_s))
        return false;
    if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
        return false;
    if (day > days_of_month[month - 1] + (month == 2 && is_leap(year)))
        return false;
    int64_t seconds = days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    int64_t scaled;
    if (__builtin_mul_overflow(seconds, INT64_C(1000000000), &scaled) ||
        __builtin_add_overflow(scaled, fraction_ns, ns))
        return false;
    return true;
}

float number_from_half(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = (bits >> 10) & 31, significand = bits & 0x3FF;
    if (exponent == 31)
        return float_from_bits(sign | UINT32_C(0x7F800000) | significand << 13);
    if (exponent == 0) {
        float value = (float)significand * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_from_bits(sign | (exponent + 112) << 23 | significand << 13);
}

uint16_t number_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t size = bits & UINT32_C(0x7FFFFFFF);
    if (size > UINT32_C(0x7F800000))
        return (uint16_t)(sign | 0x7C00 | (size >> 13 & 0x3FF) | ((size >> 13 & 0x3FF) == 0));
    if (size >= UINT32_C(0x47800000))
        return sign | 0x7C00;
    if (size < UINT32_C(0x38800000)) {
        /* Subnormal: adding 0.5 leaves the rounded significand in the low bits. */
        float shifted = fabsf(value) + 0.5f;
        uint32_t low;
        memcpy(&low, &shifted, sizeof low);
        return (uint16_t)(sign | (low - UINT32_C(0x3F000000)));
    }
    uint32_t odd = size >> 13 & 1;
    size += UINT32_C(0xFFF) + odd - (UINT32_C(112) << 23);
    return (uint16_t)(sign | size >> 13);
}
