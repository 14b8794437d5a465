#include "cli/words.h"

#include <inttypes.h>
#include <stdio.h>

flip_words flip_grouped(int64_t value) {
    char digits[32];
    flip_words out;
    int n = snprintf(digits, sizeof digits, "%" PRId64, value), at = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-') out.s[at++] = ',';
        out.s[at++] = digits[i];
    }
    out.s[at] = 0;
    return out;
}

flip_words flip_byte_words(double bytes) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    int unit = 0;
    flip_words out;
    while (bytes >= 999.5 && unit < 5)
        bytes /= 1000, unit++;
    snprintf(out.s, sizeof out.s, bytes < 9.95 && unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}
