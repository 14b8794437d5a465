/* Scanners for numbers in text: the fast forms read straight from a block of lines (which ends with
 * a line end, so no bound is needed) and give up (NULL) on anything unusual; the careful forms take
 * a field and say what it is. No locale, no allocation. */
#ifndef FLIPBOOK_READ_NUMBER_H
#define FLIPBOOK_READ_NUMBER_H

#include <flipbook/base.h>

typedef enum flip_number {
    FLIP_NUMBER_OK,
    FLIP_NUMBER_TEXT,       /* not a number */
    FLIP_NUMBER_OVERFLOW,   /* an integer beyond 64 bits, or a float beyond its range */
    FLIP_NUMBER_NOT_FINITE, /* nan, inf, NA, null … */
} flip_number;

/* Careful forms: the field is text[length], blanks around it already gone. */
flip_number flip_parse_integer(const char *text, size_t length, int64_t *value); /* -?digits */
flip_number flip_parse_double(const char *text, size_t length, double *value);
/* An integer without leading zeros or plus: writing the value gives the same text. */
bool flip_is_plain_integer(const char *text, size_t length);
/* Words that stand for a missing value: nan, na, n/a, null, none, nil, inf … in any case. */
bool flip_is_missing(const char *text, size_t length);

/* "2010-11-08", "2010-11-08 18:45:11.5", "2010-11-08T18:45:11Z", "…+02:00": seconds since 1970 and
 * the fraction of a second in [0, 1). False if it is not such a date. */
bool flip_parse_date(const char *text, size_t length, int64_t *seconds, double *fraction);
/* A strptime pattern over the whole field. */
bool flip_parse_pattern(const char *text, size_t length, const char *pattern, int64_t *seconds);
/* "14d", "1200000s", "12h", "30min", "2w", "500ms": seconds; or a bare number in the file's own
 * unit
 * (*in_seconds = false). */
bool flip_parse_duration(const char *text, double *value, bool *in_seconds);

/* 1 to 18 digits without leading zeros. Returns the first byte after them. */
static inline const char *flip_scan_id(const char *p, int64_t *value) {
    const char *start = p;
    uint64_t x = (unsigned char)(*p - '0');
    unsigned digit;
    if (x > 9) return NULL;
    while ((digit = (unsigned char)(*++p - '0')) <= 9)
        x = 10 * x + digit;
    if (p - start > 18 || (*start == '0' && p - start > 1)) return NULL;
    *value = (int64_t)x;
    return p;
}

/* A decimal number whose value double arithmetic gives exactly rounded (Clinger's fast case: at
 * most 2^53 times or over a power of ten up to 10^22). *whole: it had neither point nor exponent,
 * and *integer is its value. */
static inline const char *flip_scan_number(const char *p, double *value, int64_t *integer,
                                           bool *whole) {
    static const double power[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    bool negative = *p == '-';
    p += negative;
    const char *start = p;
    uint64_t x = 0;
    unsigned digit;
    while ((digit = (unsigned char)(*p - '0')) <= 9) {
        x = 10 * x + digit;
        p++;
    }
    int64_t digits = p - start, exponent = 0;
    *whole = *p != '.' && *p != 'e' && *p != 'E';
    if (*p == '.') {
        const char *point = ++p;
        while ((digit = (unsigned char)(*p - '0')) <= 9) {
            x = 10 * x + digit;
            p++;
        }
        exponent = point - p;
        digits -= exponent;
    }
    if (digits == 0 || digits > 18) return NULL;
    if (*p == 'e' || *p == 'E') {
        int64_t e = 0;
        bool down = p[1] == '-';
        p += 1 + (p[1] == '-' || p[1] == '+');
        start = p;
        while ((digit = (unsigned char)(*p - '0')) <= 9) {
            e = 10 * e + digit;
            if (++p - start > 4) return NULL;
        }
        if (p == start) return NULL;
        exponent += down ? -e : e;
    }
    *integer = negative ? -(int64_t)x : (int64_t)x;
    if (exponent == 0) {
        *value = (double)*integer; /* one rounding */
        return p;
    }
    if (x > 1ull << 53 || exponent < -22 || exponent > 22) return NULL;
    double magnitude = exponent < 0 ? (double)x / power[-exponent] : (double)x * power[exponent];
    *value = negative ? -magnitude : magnitude;
    return p;
}

#endif
