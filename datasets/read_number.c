/* The careful side of number scanning: whole fields, dates, durations. */
#include "datasets/read_number.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

flip_number flip_parse_integer(const char *text, size_t length, int64_t *value) {
    bool negative = length > 0 && text[0] == '-';
    size_t i = negative;
    int64_t x = 0;
    if (i == length) return FLIP_NUMBER_TEXT;
    bool overflow = false;
    for (; i < length; i++) {
        int digit = text[i] - '0';
        if (digit < 0 || digit > 9) return FLIP_NUMBER_TEXT;
        overflow = overflow || __builtin_mul_overflow(x, 10, &x) ||
                   __builtin_sub_overflow(x, digit, &x); /* negative: reaches -2^63 */
    }
    overflow = overflow || (!negative && x == INT64_MIN);
    if (overflow) return FLIP_NUMBER_OVERFLOW;
    *value = negative ? x : -x;
    return FLIP_NUMBER_OK;
}

bool flip_is_plain_integer(const char *text, size_t length) {
    size_t i = length > 0 && text[0] == '-';
    if (i == length) return false;
    if (text[i] == '0' && (length > i + 1 || i == 1)) return false; /* 007, -0 */
    for (; i < length; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}

bool flip_is_missing(const char *text, size_t length) {
    static const char *const words[] = {"nan",  "na",  "n/a", "null",
                                        "none", "nil", "inf", "infinity"};
    if (length > 1 && (text[0] == '-' || text[0] == '+')) text++, length--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == length && !strncasecmp(words[i], text, length)) return true;
    return false;
}

static locale_t plain_locale;
static void make_locale(void) {
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

flip_number flip_parse_double(const char *text, size_t length, double *value) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char copy[512], *end;
    if (flip_is_missing(text, length)) return FLIP_NUMBER_NOT_FINITE;
    if (length == 0 || length >= sizeof copy) return FLIP_NUMBER_TEXT;
    bool digit = false;
    for (size_t i = 0; i < length; i++) {
        if (!strchr("0123456789+-.eE", text[i]) || !text[i]) return FLIP_NUMBER_TEXT;
        digit = digit || (text[i] >= '0' && text[i] <= '9');
    }
    if (!digit) return FLIP_NUMBER_TEXT;
    memcpy(copy, text, length);
    copy[length] = '\0';
    pthread_once(&once, make_locale);
    *value = strtod_l(copy, &end, plain_locale);
    if (*end) return FLIP_NUMBER_TEXT;
    return isfinite(*value) ? FLIP_NUMBER_OK : FLIP_NUMBER_OVERFLOW;
}

/* ---- dates ---- */

/* Days from 1970-01-01 in the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
 * algorithms", days_from_civil). */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

/* Exactly n digits at *p; -1 if not. */
static int fixed_digits(const char **p, const char *end, int n) {
    int value = 0;
    if (end - *p < n) return -1;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9') return -1;
        value = 10 * value + (**p - '0');
    }
    return value;
}

static bool parse_zone(const char *p, const char *end, int64_t *offset) {
    *offset = 0;
    if (p < end && *p == ' ') p++;
    if (p == end) return true;
    if ((*p == 'Z' || *p == 'z') && p + 1 == end) return true;
    if (end - p == 3 && !strncmp(p, "UTC", 3)) return true;
    if (*p != '+' && *p != '-') return false;
    int sign = *p++ == '-' ? -1 : 1, hour = fixed_digits(&p, end, 2), minute = 0;
    if (p < end && *p == ':') p++;
    if (p < end) minute = fixed_digits(&p, end, 2);
    if (hour < 0 || hour > 18 || minute < 0 || minute > 59) return false;
    *offset = sign * (hour * 3600 + minute * 60);
    return p == end;
}

static bool parse_clock(const char *p, const char *end, int64_t *seconds, double *fraction) {
    int64_t offset;
    int second = 0, hour = fixed_digits(&p, end, 2);
    if (hour < 0 || hour > 24 || p == end || *p++ != ':') return false;
    int minute = fixed_digits(&p, end, 2);
    if (minute < 0 || minute > 59) return false;
    if (p < end && *p == ':') {
        p++;
        second = fixed_digits(&p, end, 2);
        if (second < 0 || second > 60) return false;
        if (p < end && *p == '.') {
            double unit = 0.1;
            for (p++; p < end && *p >= '0' && *p <= '9'; p++, unit *= 0.1)
                *fraction += unit * (*p - '0');
        }
    }
    if (!parse_zone(p, end, &offset)) return false;
    *seconds += hour * 3600 + minute * 60 + second - offset;
    return true;
}

bool flip_parse_date(const char *text, size_t length, int64_t *seconds, double *fraction) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *p = text, *end = text + length;
    int year = fixed_digits(&p, end, 4);
    if (year < 0 || p == end || (*p != '-' && *p != '/')) return false;
    char separator = *p++;
    int month = fixed_digits(&p, end, 2);
    if (month < 1 || month > 12 || p == end || *p++ != separator) return false;
    int day = fixed_digits(&p, end, 2);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || day > days[month - 1] + (month == 2 && leap)) return false;
    *seconds = days_from_civil(year, month, day) * 86400;
    *fraction = 0;
    if (p == end) return true;
    if (*p != ' ' && *p != 'T' && *p != 't') return false;
    if (!parse_clock(p + 1, end, seconds, fraction)) return false;
    if (*fraction >= 1) *fraction = 0.999999999;
    return true;
}

bool flip_parse_pattern(const char *text, size_t length, const char *pattern, int64_t *seconds) {
    char copy[128];
    struct tm when = {.tm_mday = 1};
    if (length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    const char *end = strptime(copy, pattern, &when);
    if (!end || *end) return false;
    long offset = when.tm_gmtoff; /* %z sets it; days_from_civil keeps the local zone out */
    *seconds = days_from_civil(when.tm_year + 1900, when.tm_mon + 1, when.tm_mday) * 86400 +
               when.tm_hour * 3600 + when.tm_min * 60 + when.tm_sec - offset;
    return true;
}

bool flip_parse_duration(const char *text, double *value, bool *in_seconds) {
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1},       {"m", 60},       {"min", 60},
                 {"h", 3600},  {"d", 86400}, {"day", 86400}, {"days", 86400}, {"w", 604800}};
    size_t length = strspn(text, "0123456789.eE+-");
    while (length > 0 && (text[length - 1] == 'e' || text[length - 1] == 'E'))
        length--;
    if (flip_parse_double(text, length, value) != FLIP_NUMBER_OK) return false;
    *in_seconds = text[length] != '\0';
    if (!*in_seconds) return true;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(text + length, units[i].name)) {
            *value *= units[i].seconds;
            return true;
        }
    return false;
}
