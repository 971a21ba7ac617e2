/* number_print.c: numbers and times as text (number.h), the shortest decimal that parses back to the same bits. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/number.h"

static const double powers_of_ten[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                         1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static size_t print_u64(uint64_t value, char *text)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < count; i++)
        text[i] = digits[count - 1 - i];
    return count;
}

size_t number_print_int64(int64_t value, char *text)
{
    if (value >= 0)
        return print_u64((uint64_t)value, text);
    text[0] = '-';
    return 1 + print_u64(0 - (uint64_t)value, text + 1);
}

/* mantissa * 10^-places the way %g writes it: fixed, or with an exponent below 1e-4. mantissa > 0. */
static size_t print_decimal(uint64_t mantissa, unsigned places, char *text)
{
    char digits[20];
    size_t count = print_u64(mantissa, digits);
    if (places == 0) {
        memcpy(text, digits, count);
        return count;
    }
    int exponent = (int)count - 1 - (int)places; /* of the first digit */
    size_t at = 0;
    if (exponent < -4) {
        text[at++] = digits[0];
        if (count > 1) {
            text[at++] = '.';
            memcpy(text + at, digits + 1, count - 1);
            at += count - 1;
        }
        text[at++] = 'e';
        text[at++] = '-';
        if (exponent > -10)
            text[at++] = '0';
        return at + print_u64((uint64_t)-exponent, text + at);
    }
    if (exponent < 0) {
        memcpy(text, "0.0000", 6);
        at = (size_t)(1 - exponent);
        memcpy(text + at, digits, count);
        return at + count;
    }
    size_t whole = count - places;
    memcpy(text, digits, whole);
    text[whole] = '.';
    memcpy(text + whole + 1, digits + whole, places);
    return count + 1;
}

static size_t print_special(bool negative, uint64_t significand, uint64_t usual_nan, char *text)
{
    const char *sign = negative ? "-" : "";
    int length;
    if (significand == 0)
        length = snprintf(text, NUMBER_TEXT_MAX, "%sinf", sign);
    else if (significand == usual_nan)
        length = snprintf(text, NUMBER_TEXT_MAX, "%snan", sign);
    else
        length = snprintf(text, NUMBER_TEXT_MAX, "%snan(0x%llx)", sign, (unsigned long long)significand);
    return (size_t)length;
}

/* The fewest decimal places (at most 15 digits in all) that give back exactly value > 0: mantissa / 10^places is one
 * correctly rounded division, the same that parsing does. Returns 0 when there are none. */
static size_t print_short_double(double value, char *text)
{
    if (value >= 1e15 || value < 1e-7)
        return 0;
    for (unsigned places = 0; places <= 22; places++) {
        double scaled = value * powers_of_ten[places];
        if (scaled >= 1e15)
            return 0;
        double whole = (double)(uint64_t)(scaled + 0.5);
        /* The product is off by half a unit in its last place at most: anything farther from a whole number needs no
         * division. */
        if (fabs(scaled - whole) > scaled * 0x1p-51 || whole == 0)
            continue;
        if (whole / powers_of_ten[places] == value)
            return print_decimal((uint64_t)whole, places, text);
    }
    return 0;
}

size_t number_print_double(double value, char *text)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool negative = bits >> 63;
    if (!isfinite(value))
        return print_special(negative, bits & ((UINT64_C(1) << 52) - 1), UINT64_C(1) << 51, text);
    size_t at = 0;
    if (negative)
        text[at++] = '-';
    double size = fabs(value);
    if (size == 0) {
        text[at] = '0';
        return at + 1;
    }
    size_t length = print_short_double(size, text + at);
    if (length)
        return at + length;
    /* Fifteen digits tell any two normal numbers of that length apart; subnormal ones have fewer significant bits. */
    for (int precision = size < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
        double back;
        length = (size_t)snprintf(text + at, NUMBER_TEXT_MAX - 1, "%.*g", precision, size);
        if (number_parse_double(text + at, length, &back) && back == size)
            break;
    }
    return at + length;
}

static size_t print_short_float(float value, char *text)
{
    double wide = (double)value;
    if (wide >= 1e9 || wide < 1e-7)
        return 0;
    for (unsigned places = 0; places <= 16; places++) {
        double scaled = wide * powers_of_ten[places];
        if (scaled >= 1e9)
            return 0;
        double whole = (double)(uint64_t)(scaled + 0.5);
        if (fabs(scaled - whole) > scaled * 0x1p-23 || whole == 0)
            continue;
        double back = whole / powers_of_ten[places];
        uint64_t bits;
        memcpy(&bits, &back, sizeof bits);
        /* Exactly half way between two floats: leave it to the slow path. */
        if ((float)back == value && (bits & 0x1FFFFFFF) != 0x10000000)
            return print_decimal((uint64_t)whole, places, text);
    }
    return 0;
}

size_t number_print_float(float value, char *text)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool negative = bits >> 31;
    if (!isfinite(value))
        return print_special(negative, bits & 0x7FFFFF, 0x400000, text);
    size_t at = 0;
    if (negative)
        text[at++] = '-';
    float size = fabsf(value);
    if (size == 0) {
        text[at] = '0';
        return at + 1;
    }
    size_t length = print_short_float(size, text + at);
    if (length)
        return at + length;
    for (int precision = size < FLT_MIN ? 1 : 6; precision <= 9; precision++) {
        float back;
        length = (size_t)snprintf(text + at, NUMBER_TEXT_MAX - 1, "%.*g", precision, (double)size);
        if (number_parse_float(text + at, length, &back) && back == size)
            break;
    }
    return at + length;
}

size_t number_print_rfc3339(int64_t ns, char *text)
{
    int64_t seconds = ns / 1000000000, fraction = ns % 1000000000;
    if (fraction < 0) {
        fraction += 1000000000;
        seconds--;
    }
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    /* The inverse of days_from_date in number.c: eras of 400 years that begin on 1 March. int64 nanoseconds span the
     * years 1677 to 2262. */
    days += 719468;
    int64_t era = days / 146097, day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    int length = snprintf(text, NUMBER_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, (int)month, (int)day,
                          (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
    if (fraction) {
        length += snprintf(text + length, NUMBER_TEXT_MAX - (size_t)length, ".%09d", (int)fraction);
        while (text[length - 1] == '0')
            length--;
    }
    text[length++] = 'Z';
    return (size_t)length;
}
