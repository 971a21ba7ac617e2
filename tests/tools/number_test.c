/* number_test.c: numbers and times as text, against strtod and printf as the judges: what is parsed is the correctly
 * rounded value, what is printed is the shortest form that parses back to the same bits. The seed is printed; give
 * another one as argument.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/number.h"

static unsigned passed, failed;

static void check(bool good, const char *test, const char *detail)
{
    if (good) {
        passed++;
    } else if (failed++ < 20) {
        printf("FAILED %s: %s\n", test, detail);
    }
}

static unsigned scale_percent = 100; /* MOTE_TEST_SCALE */
static unsigned scaled(unsigned count)
{
    return count / 100 * scale_percent + 1;
}

static uint64_t random_state;
static uint64_t next_random(void)
{
    uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}
static bool same_float_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Parses `text` both ways and compares. */
static void parse_both(const char *text)
{
    double value, expected = strtod(text, NULL);
    bool good = number_parse_double(text, strlen(text), &value) && same_bits(value, expected);
    float narrow, narrow_expected = strtof(text, NULL);
    bool narrow_good = number_parse_float(text, strlen(text), &narrow) && same_float_bits(narrow, narrow_expected);
    check(good, "test_number_parse_double_is_correctly_rounded", text);
    check(narrow_good, "test_number_parse_float_is_correctly_rounded", text);
}

static void test_parse_decimals(void)
{
    static const char *const hard[] = {"0",
                                       "-0",
                                       "0.0",
                                       "-0.0e10",
                                       "1",
                                       "123456789012345678",
                                       "9007199254740993",
                                       "9007199254740992.5",
                                       "1e22",
                                       "1e23",
                                       "1e-22",
                                       "1e-23",
                                       "4.9e-324",
                                       "2.4e-324",
                                       "1e308",
                                       "1.8e308",
                                       "1e400",
                                       "1e-400",
                                       "2.2250738585072011e-308",
                                       "2.2250738585072014e-308",
                                       "179769313486231580793e289",
                                       "0.1",
                                       "3.4028235e38",
                                       "3.4028236e38",
                                       "1e-45",
                                       "7e-46",
                                       "1.17549435e-38",
                                       "1.1754943e-38",
                                       "16777217",
                                       "16777217.0000001",
                                       "0.000000000000000000000000000000000000000000001",
                                       "8.5899345925e9",
                                       "10000000000000000000000",
                                       "1.00000000000000011102230246251565404236316680908203125",
                                       "1.00000000000000011102230246251565404236316680908203124",
                                       "5e-324",
                                       "9223372036854775807",
                                       "18446744073709551615",
                                       "18446744073709551616",
                                       "1.e5",
                                       ".5",
                                       "+2.5",
                                       "12345678901234567890123456789"};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++)
        parse_both(hard[i]);
    for (unsigned i = 0; i < scaled(400000); i++) {
        char text[64];
        uint64_t digits = next_random() >> (next_random() % 64);
        int exponent = (int)(next_random() % 60) - 40;
        if (i % 3 == 0)
            snprintf(text, sizeof text, "%s%" PRIu64 "e%d", i & 1 ? "-" : "", digits, exponent);
        else
            snprintf(text, sizeof text, "%s%" PRIu64 ".%0*" PRIu64, i & 1 ? "-" : "", digits % 10000, 1 + (int)(i % 15),
                     next_random() % 1000000);
        parse_both(text);
    }
}

static void test_parse_refuses(void)
{
    static const char *const bad[] = {"",      "-",     "+",       ".",        "e5",    "1e",   "1e+",
                                      "1x",    "0x10",  "1 ",      " 1",       "1,5",   "--1",  "nano",
                                      "infin", "nan()", "nan(0x)", "nan(0xg)", "1.2.3", "1e5.5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value;
        float narrow;
        check(!number_parse_double(bad[i], strlen(bad[i]), &value), "test_number_parse_double_of_no_number_is_refused",
              bad[i]);
        check(!number_parse_float(bad[i], strlen(bad[i]), &narrow), "test_number_parse_float_of_no_number_is_refused",
              bad[i]);
    }
    int64_t whole;
    static const char *const bad_whole[] = {"",    "-",   "9223372036854775808", "-9223372036854775809",
                                            "1.0", "1e3", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad_whole / sizeof bad_whole[0]; i++)
        check(!number_parse_int64(bad_whole[i], strlen(bad_whole[i]), &whole),
              "test_number_parse_int64_of_no_number_is_refused", bad_whole[i]);
    check(number_parse_int64("-9223372036854775808", 20, &whole) && whole == INT64_MIN,
          "test_number_parse_int64_of_smallest_is_exact", "");
    check(number_parse_int64("9223372036854775807", 19, &whole) && whole == INT64_MAX,
          "test_number_parse_int64_of_largest_is_exact", "");
}

/* The shortest digits that printf needs for the value. */
static size_t shortest_digits(double value, int first, int last, bool narrow)
{
    char text[64];
    for (int precision = first; precision <= last; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (narrow ? same_float_bits(strtof(text, NULL), (float)value) : same_bits(strtod(text, NULL), value))
            return strlen(text);
    }
    return 0;
}

static void round_trip(double value)
{
    char text[NUMBER_TEXT_MAX + 1], detail[96];
    size_t length = number_print_double(value, text);
    text[length] = '\0';
    double back;
    bool good = number_parse_double(text, length, &back) && same_bits(back, value) &&
                (isnan(value) || same_bits(strtod(text, NULL), value));
    snprintf(detail, sizeof detail, "%.17g printed as %s", value, text);
    check(good, "test_number_print_double_parses_back_to_the_same_bits", detail);
    if (isfinite(value))
        check(length <= shortest_digits(value, 1, 17, false), "test_number_print_double_is_no_longer_than_printf",
              detail);
}

static void round_trip_float(float value)
{
    char text[NUMBER_TEXT_MAX + 1], detail[96];
    size_t length = number_print_float(value, text);
    text[length] = '\0';
    float back;
    bool good = number_parse_float(text, length, &back) && same_float_bits(back, value) &&
                (isnan(value) || same_float_bits(strtof(text, NULL), value));
    snprintf(detail, sizeof detail, "%.9g printed as %s", (double)value, text);
    check(good, "test_number_print_float_parses_back_to_the_same_bits", detail);
    if (isfinite(value))
        check(length <= shortest_digits((double)value, 1, 9, true), "test_number_print_float_is_no_longer_than_printf",
              detail);
}

static void test_round_trips(void)
{
    static const double values[] = {0,
                                    -0.0,
                                    1,
                                    -1,
                                    0.1,
                                    1e15,
                                    1e16,
                                    1e17,
                                    123456789012345680.0,
                                    1e22,
                                    1e23,
                                    1e-4,
                                    1e-5,
                                    9.9999e-5,
                                    8.83614e-05,
                                    5e-324,
                                    1.7976931348623157e308,
                                    2.2250738585072014e-308,
                                    0.3,
                                    2.0 / 3,
                                    999999999999999.9,
                                    1e14 + 0.5};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        round_trip(values[i]);
        round_trip_float((float)values[i]);
    }
    for (unsigned i = 0; i < scaled(300000); i++) {
        uint64_t bits = next_random();
        uint32_t narrow_bits = (uint32_t)next_random();
        double value;
        float narrow;
        memcpy(&value, &bits, sizeof value);
        memcpy(&narrow, &narrow_bits, sizeof narrow);
        round_trip(value);
        round_trip_float(narrow);
        double short_decimal =
            (double)((int64_t)(next_random() % 2000000) - 1000000) / pow(10, (double)(next_random() % 10));
        round_trip(short_decimal);
        round_trip_float((float)short_decimal);
    }
}

static void test_halves(void)
{
    unsigned wrong = 0;
    for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
        float value = number_from_half((uint16_t)bits);
        if (number_to_half(value) != bits)
            wrong++;
    }
    check(wrong == 0, "test_number_half_of_every_pattern_survives", "a pattern changed");
    check(number_to_half(65519.996f) == 0x7BFF && number_to_half(65520.0f) == 0x7C00,
          "test_number_to_half_at_the_limit_rounds_to_nearest", "");
    check(number_to_half(0x1p-25f) == 0 && number_to_half(0x1.8p-25f) == 1,
          "test_number_to_half_of_the_smallest_ties_to_even", "");
    check(number_to_half(2049.0f) == 0x6800 && number_to_half(2051.0f) == 0x6802,
          "test_number_to_half_of_a_tie_goes_to_even", "");
}

static void check_time(const char *text, bool good, int64_t expected)
{
    int64_t ns = 0;
    bool parsed = number_parse_rfc3339(text, strlen(text), &ns);
    check(parsed == good && (!good || ns == expected), "test_number_parse_rfc3339_by_table", text);
}

static void test_times(void)
{
    check_time("1970-01-01T00:00:00Z", true, 0);
    check_time("1970-01-01 00:00:00.000000001Z", true, 1);
    check_time("1969-12-31T23:59:59.5Z", true, -500000000);
    check_time("2000-02-29T12:00:00+01:00", true, INT64_C(951822000000000000));
    check_time("2026-11-22T18:21:56.123456789Z", true, INT64_C(1795371716123456789));
    check_time("2262-04-11T23:47:16.854775807Z", true, INT64_MAX);
    check_time("2262-04-11T23:47:16.854775808Z", false, 0);
    check_time("1900-02-29T00:00:00Z", false, 0);
    check_time("2001-13-01T00:00:00Z", false, 0);
    check_time("2001-01-01T24:00:00Z", false, 0);
    check_time("2001-01-01T00:00:00", false, 0);
    check_time("2001-01-01T00:00:00.Z", false, 0);
    check_time("2001-01-01T00:00:00.1234567891Z", false, 0);
    check_time("2001-01-01T00:00:00.1234567890Z", true, INT64_C(978307200123456789));
    check_time("2001-01-01T00:00:00Zx", false, 0);
    unsigned wrong = 0;
    for (unsigned i = 0; i < scaled(100000); i++) {
        int64_t ns = (int64_t)(next_random() % UINT64_C(16000000000000000000) - UINT64_C(8000000000000000000)), back;
        char text[NUMBER_TEXT_MAX];
        size_t length = number_print_rfc3339(ns, text);
        if (!number_parse_rfc3339(text, length, &back) || back != ns)
            wrong++;
    }
    check(wrong == 0, "test_number_rfc3339_of_any_time_survives", "a time changed");
}

int main(int argc, char **argv)
{
    random_state = argc > 1 ? strtoull(argv[1], NULL, 10) : 20260131;
    if (getenv("MOTE_TEST_SCALE") && atoi(getenv("MOTE_TEST_SCALE")) > 0)
        scale_percent = (unsigned)atoi(getenv("MOTE_TEST_SCALE"));
    printf("seed %" PRIu64 "\n", random_state);
    test_parse_decimals();
    test_parse_refuses();
    test_round_trips();
    test_halves();
    test_times();
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
